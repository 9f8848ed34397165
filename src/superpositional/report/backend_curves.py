"""What do shots and noise do, by how many there are?

Of a sweep whose circuits ran on backends: accuracy and epochs to the target against the same circuit run exactly, seed by
seed, and how wrong gradients and modulations were meanwhile. A figure function takes axes and a table and returns them.
Read by report.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from superpositional.evidence.analysis import compare, outcomes
from superpositional.evidence.inference import student_interval
from superpositional.records import Run, Sweep
from superpositional.records.measures import EPOCHS_TO_TARGET, TEST_ACCURACY, Measure
from superpositional.report.style import drawn_as

# What is told of an arm's backend: the setting that goes along the x-axis, and its name.
ALONG = {"shots": ("shots", "shots"), "depolarizing": ("two_qubit", "depolarising p of a CNOT")}
ERRORS = ("gradient_error", "modulation_error")


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
    """The arms that differ in one setting of their backend alone: where their circuits are, and points by it."""

    backend: str
    where: str
    accuracy: tuple[Point, ...]
    epochs: tuple[Point, ...]
    error: tuple[Point, ...]


def lines(sweep: Sweep) -> list[Line]:
    """A line for each place of circuits and each backend that the sweep went along; none where it did not."""
    backends = {arm: found for arm in sweep.arms if (found := _backends(sweep, arm))}
    exact = {
        tuple(found): arm
        for arm, found in reversed(backends.items())
        if {each["backend"] for each in found.values()} == {"exact"}
    }
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[float, str]]] = {}
    for arm, found in backends.items():
        # One backend for all circuits of a run is all that a config has.
        backend = next(iter(found.values()))
        setting, _ = ALONG.get(backend["backend"], (None, ""))
        measured = backend["backend"] == "depolarizing" and backend["shots"] is not None
        if setting is not None and not measured and tuple(found) in exact:
            groups.setdefault((backend["backend"], tuple(found)), []).append((float(backend[setting]), arm))
    made = []
    for (backend, places), arms in groups.items():
        if len(arms) < 2:
            continue
        arms, to = sorted(arms), exact[places]
        points = [differences_along(sweep, arms, measure, to) for measure in (TEST_ACCURACY, EPOCHS_TO_TARGET)]
        where = "optimizer" if all(place.startswith("optimizer") for place in places) else "attention"
        made.append(Line(backend, where, *points, _errors(sweep, arms)))
    return made


def draw(axes: Sequence[Axes], table: Sequence[Line]) -> Sequence[Axes]:
    """Accuracy, epochs and errors of the lines of one backend, each against its setting."""
    backend = table[0].backend
    for index, line in enumerate(table):
        look = drawn_as(index + 1)
        for ax, points in zip(axes, (line.accuracy, line.epochs, line.error), strict=True):
            if not points:
                ax.plot([], [], label=f"{line.where} (0)", **look)
                continue
            x, mean = np.array([point.x for point in points]), np.array([point.mean for point in points])
            # Beside one another where lines share their places.
            x = x * 1.06 ** (2 * index - (len(table) - 1))
            ends = [(p.low, p.high) if p.low is not None else (p.mean, p.mean) for p in points]
            low, high = np.array(ends).T
            n = sorted({point.n for point in points})
            label = f"{line.where} ({n[0] if len(n) == 1 else f'{n[0]} to {n[-1]}'})"
            ax.errorbar(x, mean, yerr=[mean - low, high - mean], capsize=2, elinewidth=0.7, label=label, **look)
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel(ALONG[backend][1])
    for ax, words in zip(axes, ("test accuracy − exact (points)", "epochs to target − exact"), strict=False):
        ax.axhline(0, color="0.5", linewidth=0.7, zorder=0)
        ax.set_ylabel(words)
    axes[2].set_yscale("log")
    axes[2].set_ylabel("error of gradient, of modulation")
    if backend == "shots" and (points := table[0].error):
        first = points[0]
        x = np.array([first.x, points[-1].x])
        axes[2].plot(x, first.mean * np.sqrt(first.x / x), color="0.5", linewidth=0.7, linestyle="--", label="1/√shots")
    for ax in axes:
        if ax.get_legend_handles_labels()[0]:
            # Above: inside it would cover some interval.
            small = {"fontsize": "x-small", "title_fontsize": "x-small", "labelspacing": 0.25, "borderaxespad": 0.2}
            ax.legend(title="($n$)", loc="lower left", bbox_to_anchor=(0, 1), alignment="left", **small)
    return axes


def _backends(sweep: Sweep, arm: str) -> Mapping[str, Mapping[str, Any]]:
    """Of each place of a circuit its backend; nothing where there is none, or none was recorded."""
    for run in sweep.runs:
        circuits = run.record.get("circuits") if run.arm == arm else None
        if circuits:
            return {place: told["backend"] for place, told in circuits.items() if "backend" in told}
    return {}


def differences_along(sweep: Sweep, arms: Sequence[tuple[float, str]], measure: Measure, to: str) -> tuple[Point, ...]:
    """Of (value, arm) pairs the paired differences to an arm; those without a pair are left out."""
    found = []
    for x, arm in arms:
        comparison = compare(sweep, arm, measure, to)
        if comparison.differences:
            estimate = comparison.estimate
            ends = estimate.low, estimate.high
            found.append(Point(x, estimate.mean, *ends, len(comparison.differences), outcomes(sweep, arm, measure).planned))
    return tuple(found)


def _errors(sweep: Sweep, arms: Sequence[tuple[float, str]]) -> tuple[Point, ...]:
    found = []
    for x, arm in arms:
        runs = [run for run in sweep.runs if run.arm == arm and run.status == "done"]
        values = [value for run in runs if (value := _error(run)) is not None]
        if values:
            estimate = student_interval(values)
            low = None if estimate.low is None else max(estimate.low, min(values) / 10)  # a logarithm is drawn of it
            found.append(Point(x, estimate.mean, low, estimate.high, len(values), len(sweep.seeds)))
    return tuple(found)


def _error(run: Run) -> float | None:
    """Of a run, over its circuits and the steps that were measured: the root mean square."""
    squares = [
        value**2
        for name, (_, values) in run.curves.items()
        if name.startswith("circuit/") and name.rsplit("/", 1)[-1] in ERRORS
        for value in values
        if math.isfinite(value)
    ]
    return math.sqrt(np.mean(squares)) if squares else None
