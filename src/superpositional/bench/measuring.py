"""Measure one thing against a named peer: in turns, there and back, after a warm-up, once both are shown to agree.

What is measured goes into a ``Book`` at once, so that an interrupted benchmark keeps it.
"""

import logging
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from superpositional.evidence.inference import Ratio
from superpositional.evidence.inference import ratio as fieller

# torch's benchmark imports its builder of extensions, which logs that there is no CUDA.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
from torch.utils.benchmark import Timer  # noqa: E402

# Shorter calls are repeated within a measurement until they take this many seconds.
SHORTEST = 0.02


class Disagreement(Exception):
    """What was to be a peer computes something else."""


@dataclass
class Comparison:
    """Measurements of ours and of a named peer, pair by pair.

    Attributes:
        ours, theirs: measurements in ``unit``, the i-th of both taken one after the other.
        most: the largest ratio aimed at; ``ours_most``: the largest value of ours aimed at.
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
        """The complete pairs; an interruption may leave half of one."""
        return list(zip(self.ours, self.theirs, strict=False))

    @property
    def ratio(self) -> float | None:
        """Ours over theirs, the median over the pairs; None without pairs and where theirs is 0."""
        return statistics.median(a / b for a, b in self.pairs) if self.pairs and all(self.theirs) else None

    @property
    def bounds(self) -> Ratio | None:
        """The ratio of means with its 95 % interval, if ``interval`` and there are two pairs."""
        return fieller(*zip(*self.pairs, strict=True)) if self.interval and len(self.pairs) > 1 else None

    @property
    def met(self) -> bool | None:
        """Whether the aims are met; None without aims or measurements, and where the interval holds the aim."""
        bounds = self.bounds
        if bounds is not None and self.most is not None:
            if bounds.low is None or bounds.low <= self.most < bounds.high:
                return None
            return bounds.high <= self.most
        asked = [(self.ratio, self.most), (statistics.median(self.ours) if self.ours else None, self.ours_most)]
        judged = [value <= most for value, most in asked if value is not None and most is not None]
        return all(judged) if judged else None

    def plain(self) -> dict[str, Any]:
        """Return every measurement and what follows from them, for JSON."""
        bounds = self.bounds
        return {
            **{name: getattr(self, name) for name in ("what", "peer", "unit", "ours", "theirs", "ratio")},
            **({} if bounds is None else {"ratio_of_means": bounds.value, "interval": [bounds.low, bounds.high]}),
            **{name: value for name in ("most", "ours_most", "missing", "note") if (value := getattr(self, name))},
            **({} if self.met is None else {"met": self.met}),
        }


@dataclass
class Book:
    """All that a subject has measured so far.

    ``notes``: what readers of the tables must know. ``raw``: measurements that comparisons were computed from.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, list[Any]] = field(default_factory=dict)

    def compare(self, what: str, peer: str, **rest: Any) -> Comparison:
        """Return the comparison of this name, new or begun."""
        for each in self.comparisons:
            if (each.what, each.peer) == (what, peer):
                return each
        self.comparisons.append(Comparison(what, peer, **rest))
        return self.comparisons[-1]

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)

    def keep(self, name: str, value: Any) -> Any:
        """Return the value, kept among the raw ones of this name."""
        self.raw.setdefault(name, []).append(value)
        return value

    def plain(self) -> dict[str, Any]:
        """Return everything measured, for JSON."""
        return {"comparisons": [each.plain() for each in self.comparisons], "raw": self.raw, "notes": self.notes}


@dataclass(frozen=True)
class Asked:
    """The command line's settings; ``repeats`` is None where the subject chooses."""

    repeats: int | None = None
    quick: bool = False
    overrides: Sequence[str] = ()

    def times(self, usual: int) -> int:
        """Return how many measurements of each kind to take."""
        return self.repeats or (1 if self.quick else usual)


@dataclass(frozen=True)
class Step:
    """One part of a subject: it measures into the book; ``seconds`` is its expected time, for the progress bar."""

    name: str
    seconds: float
    run: Callable[[Book], None]


def timed(way: Callable[[], Any], calls: int) -> float:
    """Return the mean seconds of a call over ``calls`` of them; ``torch.utils.benchmark`` waits for the GPU."""
    return Timer("way()", globals={"way": way}, num_threads=torch.get_num_threads()).timeit(calls).mean


def alternate(
    ways: Mapping[str, Callable[[], Any]],
    into: Mapping[str, list[float]],
    repeats: int,
    per: Mapping[str, float] | None = None,
) -> None:
    """Time a call of each way ``repeats`` times in turns, there and back, each appended to its list at once.

    Args:
        ways: the calls, by name.
        into: where their seconds go.
        per: divides a way's seconds, e.g. by the scores or steps of a call.
    """
    calls = {name: max(1, math.ceil(SHORTEST / max(timed(way, 1), 1e-9))) for name, way in ways.items()}
    for repeat in range(repeats):
        for name in ways if repeat % 2 == 0 else reversed(ways):
            into[name].append(timed(ways[name], calls[name]) / (per or {}).get(name, 1))


def devices() -> list[str]:
    """Return the devices to measure on: the CPU, and a GPU if there is one."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def agree(what: str, ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float = 1e-4) -> None:
    """Check that both computed the same output and gradients.

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
    "beyond what was allocated before. What C++ code allocates itself is not counted."
)


def peak_bytes(call: Callable[[], Any], device: str = "cpu") -> int:
    """Return the most bytes that torch held at once during a call, beyond what it held before."""
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


def profiled_on_cpu(call: Callable[[], Any]) -> torch.profiler.profile:
    """Return the profile of a call with its memory; the profiler's notices on stderr are dropped."""
    shown = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            activities = [torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profiled:
                call()
        finally:
            os.dup2(shown, 2)
            os.close(shown)
    return profiled
