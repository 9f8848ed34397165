"""How is one thing measured against another?

In turns, there and back, so that whatever else the machine does touches both; after a warm-up; waiting for the device. What
is measured goes into a ``Book`` at once, so that whoever is interrupted keeps it. Read by every subject.
"""

import functools
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superpositional.evidence.inference import Ratio
from superpositional.evidence.inference import ratio as fieller

# Shorter calls are repeated within a measurement until they are as long as this, in seconds.
SHORTEST = 0.02
# A call of so many seconds needs no second one to warm up.
LONG = 1.0


class Disagreement(Exception):
    """What was to be a peer computes something else."""


@dataclass
class Comparison:
    """What was measured of ours and of a named peer, pair by pair.

    Attributes:
        ours, theirs: measurements in ``unit``, the i-th of both taken one after the other.
        most: what the ratio should be at most; ``ours_most``: what ours alone should be at most.
        interval: whether the pairs are repeats whose spread matters: the ratio is then of means, with Fieller's interval.
        missing: why there is nothing of the peer.
        note: what a reader must know to read the numbers.
    """

    what: str
    peer: str
    unit: str = "s"
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    most: float | None = None
    ours_most: float | None = None
    interval: bool = False
    missing: str = ""
    note: str = ""

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Those that are whole: an interruption may have come between."""
        return list(zip(self.ours, self.theirs, strict=False))

    @property
    def ratio(self) -> float | None:
        """Ours over theirs, the median over the pairs; None without any, and where theirs is nothing at all."""
        return statistics.median(a / b for a, b in self.pairs) if self.pairs and all(self.theirs) else None

    @property
    def bounds(self) -> Ratio | None:
        """The ratio of means with its 95 % interval, where that was asked for and there are two pairs."""
        return fieller(*zip(*self.pairs, strict=True)) if self.interval and len(self.pairs) > 1 else None

    @property
    def met(self) -> bool | None:
        """Whether what it should be at most was kept; None where nothing was asked, or measured, or where its interval lies
        on both sides."""
        bounds = self.bounds
        if bounds is not None and self.most is not None:
            if bounds.low is None or bounds.low <= self.most < bounds.high:
                return None
            return bounds.high <= self.most
        asked = [(self.ratio, self.most), (statistics.median(self.ours) if self.ours else None, self.ours_most)]
        judged = [value <= most for value, most in asked if value is not None and most is not None]
        return all(judged) if judged else None

    def plain(self) -> dict[str, Any]:
        """For JSON: every measurement, and what follows from them."""
        bounds = self.bounds
        return {
            **{name: getattr(self, name) for name in ("what", "peer", "unit", "ours", "theirs", "ratio")},
            **({} if bounds is None else {"ratio_of_means": bounds.value, "interval": [bounds.low, bounds.high]}),
            **{name: value for name in ("most", "ours_most", "missing", "note") if (value := getattr(self, name))},
            **({} if self.met is None else {"met": self.met}),
        }


@dataclass
class Growth:
    """How a cost grows.

    Attributes:
        name: of its figure's file.
        x, y: what grows, and the cost with its unit.
        exponential: whether cost ~ 2^(b x) is fitted, as for qubits, instead of x^b.
        series: of each contestant, the measurements at each x.
        since: the exponent is fitted from this x on; below, what is paid once a call covers it.
    """

    name: str
    x: str
    y: str
    exponential: bool = False
    series: dict[str, dict[float, list[float]]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def at(self, contestant: str, x: float, since: float = 0.0) -> list[float]:
        """The list that measurements at x go into."""
        self.since[contestant] = since
        return self.series.setdefault(contestant, {}).setdefault(x, [])

    def points(self, contestant: str) -> list[tuple[float, float]]:
        """(x, median), rising in x."""
        return sorted((x, statistics.median(found)) for x, found in self.series[contestant].items() if found)

    def slope(self, contestant: str) -> float | None:
        """The exponent b, by least squares on the logarithms; None below two points."""
        points = [(x, y) for x, y in self.points(contestant) if x >= self.since[contestant]]
        if len(points) < 2:
            return None
        x, log_y = np.array(points).T[0], np.log2(np.array(points).T[1])
        return float(np.polyfit(x if self.exponential else np.log2(x), log_y, 1)[0])

    def plain(self) -> dict[str, Any]:
        contestants = {
            name: {
                "exponent": self.slope(name),
                "fitted_from": self.since[name] if math.isfinite(self.since[name]) else None,
                "points": [{"x": x, "measured": found[x]} for x in sorted(found)],
            }
            for name, found in self.series.items()
        }
        law = "2^(exponent x)" if self.exponential else "x^exponent"
        return {"name": self.name, "x": self.x, "y": self.y, "law": law, "contestants": contestants}


@dataclass
class Book:
    """All that a subject has measured so far."""

    comparisons: list[Comparison] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the tables' readers must know: how memory was counted, what was extrapolated."""
    raw: dict[str, list[Any]] = field(default_factory=dict)
    """Measurements that comparisons were made from, where those are not the measurements themselves."""

    def compare(self, what: str, peer: str, **rest: Any) -> Comparison:
        self.comparisons.append(Comparison(what, peer, **rest))
        return self.comparisons[-1]

    def again(self, what: str, peer: str, **rest: Any) -> Comparison:
        """The comparison of this name, new or begun."""
        return next((each for each in self.comparisons if (each.what, each.peer) == (what, peer)), None) or self.compare(
            what, peer, **rest
        )

    def growth(self, name: str, x: str, y: str, *, exponential: bool = False) -> Growth:
        """The growth of this name, new or begun."""
        found = next((growth for growth in self.growths if growth.name == name), None)
        if found is None:
            found = Growth(name, x, y, exponential)
            self.growths.append(found)
        return found

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def keep(self, name: str, value: Any) -> Any:
        """The value, kept among the raw ones of this name."""
        self.raw.setdefault(name, []).append(value)
        return value

    def plain(self) -> dict[str, Any]:
        return {
            "comparisons": [each.plain() for each in self.comparisons],
            "growths": [each.plain() for each in self.growths],
            "raw": self.raw,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Asked:
    """What the command line says: ``repeats`` is None where the subject shall choose."""

    repeats: int | None = None
    quick: bool = False
    overrides: Sequence[str] = ()

    def times(self, usual: int) -> int:
        """Measurements of each kind."""
        return self.repeats or (1 if self.quick else usual)


@dataclass(frozen=True)
class Step:
    """One part of a subject: it measures into the book. ``seconds``: about how long, for the bar."""

    name: str
    seconds: float
    run: Callable[[Book], None]


def alternate(
    ways: Mapping[str, Callable[[], Any]],
    into: Mapping[str, list[float]],
    repeats: int,
    *,
    device: str = "cpu",
    per: Mapping[str, float] | None = None,
) -> None:
    """Seconds of a call of each way, ``repeats`` times in turns, there and back, each appended to its list at once.

    Args:
        ways: the calls, by name.
        into: where their seconds go.
        device: what to wait for.
        per: divide a way's seconds by this, scores or steps of a call.
    """
    calls = {}
    for name, way in ways.items():
        seconds = timed(way, 1, device)
        seconds = seconds if seconds > LONG else timed(way, 1, device)
        calls[name] = max(1, math.ceil(SHORTEST / max(seconds, 1e-9)))
    for repeat in range(repeats):
        for name in ways if repeat % 2 == 0 else reversed(ways):
            into[name].append(timed(ways[name], calls[name], device) / (per or {}).get(name, 1))


def on_one_thread(measure: Callable[..., None]) -> Callable[..., None]:
    """The same with torch on one thread: how a cost grows does not depend on it, and two threads of which one waits for a
    core that others use take as long as that wait."""

    @functools.wraps(measure)
    def measured(*arguments: Any) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            measure(*arguments)
        finally:
            torch.set_num_threads(before)

    return measured


def timed(way: Callable[[], Any], calls: int, device: str = "cpu") -> float:
    """Seconds of one of so many calls."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(calls):
        way()
    _wait(device)
    return (time.perf_counter() - started) / calls


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def devices() -> list[str]:
    """Where tables are made: on the CPU, and on a GPU if there is one."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def agree(what: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float = 1e-4) -> None:
    """See that both computed the same, output and gradients, before either is timed.

    Args:
        tolerance: largest difference over the largest value of ours; float32's rounding is some 1e-6 of it.

    Raises:
        Disagreement: with what differs and by how much.
    """
    for name, a, b in zip(("output", *(f"gradient {index}" for index in range(len(ours)))), ours, theirs, strict=False):
        if a.shape != b.shape:
            raise Disagreement(f"{what} is no peer: its {name} has shape {tuple(b.shape)}, ours {tuple(a.shape)}")
        largest, apart = (float(each.detach().abs().max()) for each in (a, a - b.to(a)))
        # Written so that NaN fails.
        if not apart <= tolerance * largest:
            raise Disagreement(f"{what} is no peer: its {name} differs by {apart:.2g} of {largest:.2g}")
    if len(ours) != len(theirs):
        raise Disagreement(f"{what} is no peer: it gives {len(theirs)} tensors, ours {len(ours)}")


MEMORY = (
    "Peak memory: torch's allocations during one call, replayed in order (torch.profiler; on a GPU max_memory_allocated), "
    "beyond what was there before, of which nothing is taken off. What C++ code takes for itself is not in it."
)


def peak_bytes(call: Callable[[], Any], device: str = "cpu") -> int:
    """The most bytes that torch held at once during a call, beyond what it held before: what is returned included."""
    call()  # what is set up once is not the call's
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    profiled = profiled_on_cpu(call)
    changes = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        live += change.nbytes()
        most = max(most, live)
    return most


# Its word that it starts and stops; and that what was there before is freed, which MEMORY says.
OF_THE_PROFILER = ("USDT:", "Memory block of unknown size was allocated before the profiling started")


def profiled_on_cpu(call: Callable[[], Any]) -> torch.profiler.profile:
    """The profile of a call, memory included, without the profiler's own words to stderr."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            with torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
            ) as profiled:
                call()
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            said.seek(0)
            # Whatever else was said is not the profiler's, and is passed on.
            lines = said.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.writelines(line for line in lines if not any(word in line for word in OF_THE_PROFILER))
    return profiled
