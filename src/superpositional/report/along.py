"""Arms that differ in one number alone, lined up by it: circuit depth, qubits, quantum weight, shots, noise.

Along a setting of the config every point is a paired difference to the arm's own baseline; along the number of shots or the
noise of a backend to the same circuit run exactly.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from superpositional.evidence.analysis import compare
from superpositional.evidence.inference import Estimate, clopper_pearson, student_interval
from superpositional.format import label
from superpositional.records import Run, Sweep
from superpositional.records.identity import PRESENTATION
from superpositional.records.measures import EPOCHS_TO_TARGET, TEST_ACCURACY, Measure

# What a config holds beside settings.
NAMES = (*PRESENTATION, "seed")
# Two values are a difference, which tables have.
LEAST_VALUES = 3
# Accuracy by chance, up to this factor, is that of a net that has learnt nothing.
GUESSED = 1.1
# The setting of a backend that goes along the x-axis, and its name.
BACKENDS = {"shots": ("shots", "shots"), "depolarizing": ("two_qubit", "depolarising p of a CNOT")}
ERRORS = ("gradient_error", "modulation_error")


@dataclass(frozen=True)
class Series:
    """Arms that differ in one setting alone, by its value, ascending."""

    name: str
    arms: Mapping[float, str]


class Point(NamedTuple):
    """A mean over ``n`` of ``of`` seeds, with its 95 % interval; the ends are None for fewer than two."""

    x: float
    mean: float
    low: float | None
    high: float | None
    n: int
    of: int


@dataclass(frozen=True)
class Line:
    """The points of a series by kind: ``accuracy``, ``epochs``, and ``broken`` (%) or, along a backend's, ``error``."""

    name: str
    points: Mapping[str, tuple[Point, ...]]
    backend: str = ""


def series(sweep: Sweep, key: str) -> tuple[Series, ...]:
    """Group the arms that agree in all but one setting and have at least two values of it.

    A setting goes to several places of a config, so keys that end alike count as the same setting.
    """
    alike: dict[str, dict[float, str]] = {}
    leaf = key.rpartition(".")[2]
    for arm in sweep.arms:
        leaves = dict(_leaves(config(sweep, arm)))
        value = leaves.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            rest = sorted((name, repr(each)) for name, each in leaves.items() if name.rpartition(".")[2] != leaf)
            alike.setdefault(repr(rest), {}).setdefault(value, arm)
    several = [dict(sorted(arms.items())) for arms in alike.values() if len(arms) > 1]
    names = [_common(list(arms.values())) for arms in several]
    unique = len(set(names)) == len(names)
    return tuple(
        Series(name if unique else f"{name} ({label(next(iter(arms.values())))})", arms)
        for name, arms in zip(names, several, strict=True)
    )


def by_setting(sweep: Sweep, key: str) -> list[Line]:
    """Return a line for each series of at least three values of a setting."""
    found = []
    for each in series(sweep, key):
        if len(each.arms) >= LEAST_VALUES:
            found.append(_line(sweep, each.name, each.arms, {arm: sweep.baseline(arm) for arm in each.arms.values()}))
    return found


def by_backend(sweep: Sweep) -> list[Line]:
    """Return a line for each place of circuits and each backend of which the sweep went along a setting."""
    backends = {arm: found for arm in sweep.arms if (found := _backends(sweep, arm))}
    exact = {
        tuple(found): arm
        for arm, found in reversed(backends.items())
        if {each["backend"] for each in found.values()} == {"exact"}
    }
    groups: dict[tuple[str, tuple[str, ...]], dict[float, str]] = {}
    for arm, found in backends.items():
        backend = next(iter(found.values()))  # a config has one backend for all circuits
        setting, _ = BACKENDS.get(backend["backend"], (None, ""))
        counted = backend["backend"] == "depolarizing" and backend["shots"] is not None
        if setting is not None and not counted and tuple(found) in exact:
            groups.setdefault((backend["backend"], tuple(found)), {})[float(backend[setting])] = arm
    made = []
    for (backend, places), arms in groups.items():
        if len(arms) > 1:
            where = "optimizer" if all(place.startswith("optimizer") for place in places) else "attention"
            to = dict.fromkeys(arms.values(), exact[places])
            made.append(_line(sweep, where, dict(sorted(arms.items())), to, backend))
    return made


def config(sweep: Sweep, arm: str) -> Mapping[str, Any]:
    """Return the config of one of the arm's runs: they share all but the seed."""
    return next((run.record["config"] for run in sweep.runs if run.arm == arm and run.record.get("config")), {})


def ended(sweep: Sweep, arm: str) -> list[Run]:
    """Return an arm's runs that came to an end of their own: done, or diverged."""
    return [run for run in sweep.runs if run.arm == arm and run.status in ("done", "diverged")]


def broke(run: Run) -> bool:
    """Whether training broke: it diverged, or ended no better than by guessing classes, up to a tenth."""
    classes = ((run.record.get("config") or {}).get("task") or {}).get("n_classes")
    accuracy = run.summary(TEST_ACCURACY.metric)
    return run.status == "diverged" or bool(classes and accuracy is not None and accuracy <= GUESSED / classes)


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if path or key not in NAMES:
            yield from _leaves(value, f"{path}{key}.") if isinstance(value, Mapping) else [(f"{path}{key}", value)]


def _common(arms: list[str]) -> str:
    """Return what the names have in common: ``circuit`` of circuit_L1 and circuit_L2."""
    parts = zip(*(arm.split(",")[0].split("_") for arm in arms), strict=False)
    shared = [same[0] for same in itertools.takewhile(lambda same: len(set(same)) == 1, parts)]
    return label("_".join(shared)) if shared else " / ".join(map(label, arms))


def _backends(sweep: Sweep, arm: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the backend of each place of a circuit; nothing where there is none, or none was recorded."""
    told = next((run.record["circuits"] for run in sweep.runs if run.arm == arm and run.record.get("circuits")), {})
    return {place: each["backend"] for place, each in told.items() if "backend" in each}


def _line(sweep: Sweep, name: str, arms: Mapping[float, str], to: Mapping[str, str], backend: str = "") -> Line:
    """Return the points of arms by value, differences each to its own; an arm without a value has none."""

    def difference(measure: Measure) -> Callable[[str], Estimate]:
        return lambda arm: compare(sweep, arm, measure, to[arm]).estimate

    kinds = {"accuracy": difference(TEST_ACCURACY), "epochs": difference(EPOCHS_TO_TARGET)}
    kinds |= {"error": partial(_error, sweep)} if backend else {"broken": partial(_broken, sweep)}
    found = {kind: [(value, estimate(arm)) for value, arm in arms.items()] for kind, estimate in kinds.items()}
    points = {
        kind: tuple(Point(value, each.mean, each.low, each.high, each.n, len(sweep.seeds)) for value, each in own if each.n)
        for kind, own in found.items()
    }
    return Line(name, points, backend)


def _broken(sweep: Sweep, arm: str) -> Estimate:
    """The share of runs whose training broke, with Clopper and Pearson's interval."""
    broken = [broke(run) for run in ended(sweep, arm)]
    count, n = sum(broken), len(broken)
    low, high = clopper_pearson(count, n)
    return Estimate(n, 100 * count / n if n else None, None, 100 * low, 100 * high)


def _error(sweep: Sweep, arm: str) -> Estimate:
    """The root mean square over a run's circuits and measured steps, averaged over runs."""
    squares = [
        [
            value**2
            for name, (_, values) in run.curves.items()
            if name.startswith("circuit/") and name.rpartition("/")[2] in ERRORS
            for value in values
            if math.isfinite(value)
        ]
        for run in sweep.runs
        if run.arm == arm and run.status == "done"
    ]
    errors = [math.sqrt(np.mean(each)) for each in squares if each]
    found = student_interval(errors)
    # A logarithm is drawn of it.
    return found if found.low is None else replace(found, low=max(found.low, min(errors) / 10))
