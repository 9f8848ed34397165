"""How do the runs go along their way?

Tables of whole courses for `figures`: the mean of a metric by epoch and each seed's own, the share of runs that have
reached the target, the size of the quantum term (Pamuk et al. 2025, eq. 1) by step. Only what ended well is averaged; n
says how many.
"""

import math
from dataclasses import dataclass

import numpy as np

from superpositional.analysis import EPOCHS_TO_TARGET, outcomes
from superpositional.inference import student_interval
from superpositional.records import Run, Sweep


@dataclass(frozen=True)
class Curve:
    """One arm's mean over its finished runs by epoch; ``low`` and ``high`` are NaN where n < 2 allows no interval."""

    arm: str
    n: int
    planned: int
    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Reached:
    """When the runs of an arm reached the target: sorted epochs of those that did, n of all that ended, and how long
    training was (None where nothing tells)."""

    arm: str
    n: int
    epochs: np.ndarray
    horizon: float | None


@dataclass(frozen=True)
class Course:
    """A metric of one arm by step over its finished runs: median, smallest and largest."""

    arm: str
    n: int
    steps: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_curves(sweep: Sweep, metric: str = "val/accuracy", scale: float = 100.0) -> list[Curve]:
    """Mean and 95 % interval of a metric by epoch, over each arm's finished runs; an arm without any has n = 0.

    A run that diverged part-way is not averaged in: the mean would jump where it leaves. The curve's n shows it.
    """
    curves = []
    for arm in sweep.arms:
        series = [_by_epoch(run, metric) for run in sweep.runs if run.arm == arm and run.status == "done"]
        series = [points for points in series if points]
        # Only epochs that every run has: a mean whose members change along the way shows a step that no run took.
        epochs = sorted(set.intersection(*map(set, series))) if series else []
        estimates = [student_interval(scale * points[epoch] for points in series) for epoch in epochs]
        bands = [np.array([getattr(e, key) for e in estimates], dtype=float) for key in ("mean", "low", "high")]
        curves.append(Curve(arm, len(series), len(sweep.seeds), np.array(epochs), *bands))
    return curves


def _by_epoch(run: Run, metric: str) -> dict[float, float]:
    steps, values = run.curves.get(metric, ((), ()))
    per_epoch = run.record["steps_per_epoch"]
    return {round(int(s) / per_epoch, 6): float(v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)}


def seed_curves(
    sweep: Sweep, metric: str = "val/accuracy", scale: float = 100.0
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Of every arm each finished run's own curve, as (epochs, values)."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {arm: [] for arm in sweep.arms}
    for run in sweep.runs:
        if run.status == "done" and (points := _by_epoch(run, metric)):
            found[run.arm].append((np.array(list(points)), scale * np.array(list(points.values()))))
    return found


def reached(sweep: Sweep) -> list[Reached]:
    """Of every arm when its runs reached the target. A run that diverged counts among those that never did."""
    found = []
    for arm in sweep.arms:
        ended = outcomes(sweep, arm, EPOCHS_TO_TARGET)
        missed = ended.seeds(("missed the target", "diverged"))
        runs = [run for run in sweep.runs if run.arm == arm and run.record.get("steps_per_epoch")]
        lengths = [run.record["steps"] / run.record["steps_per_epoch"] for run in runs if run.record.get("steps")]
        times = np.sort(np.array(list(ended.values.values())))
        found.append(Reached(arm, len(times) + len(missed), times, max(lengths, default=None)))
    return found


def courses(sweep: Sweep, metric: str = "perturbation/ratio") -> list[Course]:
    """Of every arm that logged it the metric's course over its finished runs, at the steps that all of them have."""
    found = []
    for arm in sweep.arms:
        runs = [
            run.curves[metric] for run in sweep.runs if run.arm == arm and run.status == "done" and metric in run.curves
        ]
        series = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in runs]
        series = [{step: value for step, value in each.items() if math.isfinite(value)} for each in series]
        steps = sorted(set.intersection(*map(set, series))) if series else []
        if steps:
            values = np.array([[each[step] for step in steps] for each in series])
            bands = np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
            found.append(Course(arm, len(series), np.array(steps), *bands))
    return found
