"""Follow runs along their way, for figures and for the table of the quantum term.

The mean of a metric by epoch or step and each seed's own, the share of runs that have reached the target, when an arm's
losses leave its baseline's, and what the term (Pamuk et al. 2025, eq. 1) did to get them there. Only runs that ended well
are averaged; n says how many.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from superpositional.evidence.analysis import outcomes
from superpositional.evidence.inference import student_interval
from superpositional.format import number
from superpositional.records import Run, Sweep
from superpositional.records.measures import (
    EPOCHS_TO_TARGET,
    LOSS_BY_STEP,
    TRAINING_LOSS,
    VALIDATION_ACCURACY,
    VALIDATION_LOSS,
    Along,
)

# A loss of single batches jumps more from step to step than it falls in a long while: its running mean is over this part of
# the points, and no line has more points than these.
WINDOW, DRAWN_POINTS = 1 / 20, 400
# Losses of a summary, which publishing keeps exact: weights that differ after the last step show in those alone.
LOSSES = (TRAINING_LOSS.metric, VALIDATION_LOSS.metric, "test/loss")
# What Lightning's precisions keep parameters in; float32 for all others.
PARAMETERS = {"bf16-true": "bfloat16", "16-true": "float16", "64-true": "float64"}


@dataclass(frozen=True)
class Curve:
    """One arm's mean over its finished runs by epoch or step; ``low`` and ``high`` are NaN where n < 2 allows no interval.
    Of a curve by step ``window`` is the number of points that its running mean is over; ``seeds`` are the runs' own
    curves, (epochs or steps, values)."""

    arm: str
    n: int
    planned: int
    at: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    window: int = 1
    seeds: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


@dataclass(frozen=True)
class Reached:
    """When the runs of an arm reached the target: sorted epochs of those that did, n of all that ended, and how long
    training was (None where nothing tells)."""

    arm: str
    n: int
    epochs: np.ndarray
    horizon: float | None


@dataclass(frozen=True)
class Departure:
    """How far an arm's runs are from its baseline's of the same seeds: ``seeds[seed]`` is (steps, difference).

    ``steps`` is how many were taken where every pair took as many, else None; ``exact`` is false where the curves were
    thinned, so that equal is so at the steps kept. ``elsewhere`` names the losses of the summary that differ in some pair.
    """

    arm: str
    baseline: str
    planned: int
    seeds: Mapping[int, tuple[np.ndarray, np.ndarray]]
    steps: int | None
    exact: bool
    elsewhere: tuple[str, ...] = ()

    @property
    def first(self) -> dict[int, int]:
        """The step at which each seed's pair first differs; those that never do are not in it."""
        apart = {seed: steps[differences != 0] for seed, (steps, differences) in self.seeds.items()}
        return {seed: int(steps[0]) for seed, steps in apart.items() if len(steps)}

    @property
    def block(self) -> int:
        """Of so many steps ``courses`` has one."""
        return max((-(-len(steps) // DRAWN_POINTS) for steps, _ in self.seeds.values()), default=1)

    @property
    def courses(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For a figure each seed's (steps, size of the difference), of a block of steps the largest; NaN where it is 0."""
        found = []
        for steps, differences in self.seeds.values():
            begins = np.arange(0, len(steps), self.block)
            size = np.maximum.reduceat(np.abs(differences), begins)
            found.append((steps[begins], np.where(size == 0, np.nan, size)))
        return found

    @property
    def never(self) -> bool:
        return bool(self.seeds) and not self.first

    @property
    def differing(self) -> str:
        """``val/loss/last differs``."""
        return f"{' and '.join(self.elsewhere)} differ{'s' if len(self.elsewhere) == 1 else ''}"

    @property
    def complete(self) -> bool:
        """Whether every planned pair was looked at in every step."""
        return len(self.seeds) == self.planned and all(len(steps) == self.steps for steps, _ in self.seeds.values())

    @property
    def words(self) -> str:
        """``equal bit for bit in 3 of 3 seeds, over all 60 steps`` or when they part."""
        if not self.seeds:
            return f"no pair to compare of {self.planned}"
        equal = "equal bit for bit" if self.exact else "equal at the steps kept here"
        alike, points = len(self.seeds) - len(self.first), min(len(steps) for steps, _ in self.seeds.values())
        of = "" if self.steps is None else f" of {self.steps:,}"
        over = f"all {number(points, 'step')}" if points == self.steps else f"{points:,} recorded{of} steps"
        said = f"{equal} in {alike} of {number(self.planned, 'seed')}, over {over}"
        if self.never:
            return f"{said}; {self.differing}" if self.elsewhere else said
        steps = sorted(self.first.values())
        # Of a curve that was not logged at every step the first that shows it need not be the first that has it.
        first = "first differ" if points == self.steps else "first seen to differ"
        seeds, middle = number(len(steps), "seed"), f"{first} at step {np.median(steps):,.10g}"
        parted = f"{middle} (median of {seeds}; {steps[0]:,}–{steps[-1]:,})"
        if steps[0] == steps[-1]:
            parted = f"{middle} in {seeds}"
        return f"{parted}; {said}" if alike else parted


@dataclass(frozen=True)
class Term:
    """What the quantum term did in an arm's ``runs`` finished runs.

    Counts are sums over those runs that have them (``counted``), ``share``, ``angle`` and ``ratio`` means over runs; None
    where no run has one. ``length`` is the steps of a run where all took as many. ``traced`` is the mean number of scalars
    changed at a step where all were looked at. ``departure`` is None for a baseline.
    """

    arm: str
    precision: str
    runs: int
    length: int | None
    counted: int
    touched: int | None
    changed: int | None
    steps: int | None
    steps_with_gradient: int | None
    steps_with_change: int | None
    share: float | None
    angle: float | None
    ratio: float | None
    traced: float | None
    departure: Departure | None

    @property
    def dtype(self) -> str:
        return "/".join(dict.fromkeys(PARAMETERS.get(each, "float32") for each in self.precision.split(", ")))


def learning_curves(sweep: Sweep, along: Along = VALIDATION_ACCURACY) -> list[Curve]:
    """Mean and 95 % interval of a metric by epoch or step, over each arm's finished runs; an arm without any has n = 0.

    A run that diverged part-way is not averaged in: the mean would jump where it leaves. The curve's n shows it.
    """
    curves, window = [], running(sweep, along)
    for arm in sweep.arms:
        series = [_points(run, along, window) for run in sweep.runs if run.arm == arm and run.status == "done"]
        series = [points for points in series if points]
        # Only epochs that every run has: a mean whose members change along the way shows a step that no run took.
        at = sorted(set.intersection(*map(set, series))) if series else []
        estimates = [student_interval(along.scale * points[x] for points in series) for x in at]
        bands = [np.array([getattr(e, key) for e in estimates], dtype=float) for key in ("mean", "low", "high")]
        seeds = tuple((np.array([*each]), along.scale * np.array([*each.values()])) for each in series)
        curves.append(Curve(arm, len(series), len(sweep.seeds), np.array(at), *bands, window, seeds))
    return curves


def running(sweep: Sweep, along: Along) -> int:
    """Over how many points a metric's running mean is, an odd number; 1 by epoch, where there is none."""
    lengths = [len(run.curves[along.metric][0]) for run in sweep.runs if along.metric in run.curves]
    return 1 + 2 * int(max(lengths, default=0) * WINDOW / 2) if along.by == "step" else 1


def _points(run: Run, along: Along, window: int) -> dict[float, float]:
    steps, values = run.curves.get(along.metric, ((), ()))
    if along.by == "epoch":
        if (per_epoch := run.record.get("steps_per_epoch")) is None:
            return {}
        return {round(int(s) / per_epoch, 6): float(v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)}
    steps, values = np.asarray(steps), np.asarray(values, dtype=float)
    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    # Centred; at the ends over what there is.
    sums, index, half = np.append(0.0, np.cumsum(values)), np.arange(len(values)), window // 2
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    means = (sums[last] - sums[first]) / (last - first)
    every = -(-len(steps) // DRAWN_POINTS) or 1
    return dict(zip(steps[::every].tolist(), means[::every].tolist(), strict=True))


def departures(sweep: Sweep, along: Along = LOSS_BY_STEP) -> list[Departure]:
    """Of every arm but the baselines its difference to its baseline by step, over the pairs of finished runs."""
    runs = {(run.arm, run.seed): run for run in sweep.runs if run.status == "done" and along.metric in run.curves}
    found = []
    for arm in sweep.arms:
        if (baseline := sweep.baseline(arm)) == arm:
            continue
        both = [seed for seed in sweep.seeds if {(arm, seed), (baseline, seed)} <= runs.keys()]
        pairs = {seed: (runs[arm, seed], runs[baseline, seed]) for seed in both}
        seeds = {seed: _difference(*pair, along) for seed, pair in pairs.items()}
        seeds = {seed: each for seed, each in seeds.items() if len(each[0])}
        steps = _steps(run for pair in pairs.values() for run in pair)
        elsewhere = [name for name in LOSSES if any(a.summary(name) != b.summary(name) for a, b in pairs.values())]
        # A long run's curves are thinned when it is published.
        whole = [len(run.curves[along.metric][0]) == run.record.get("steps") for pair in pairs.values() for run in pair]
        found.append(Departure(arm, baseline, len(sweep.seeds), seeds, steps, all(whole), tuple(elsewhere)))
    return found


def _difference(arm: Run, baseline: Run, along: Along) -> tuple[np.ndarray, np.ndarray]:
    (steps, values), (others, reference) = arm.curves[along.metric], baseline.curves[along.metric]
    both, left, right = np.intersect1d(steps, others, return_indices=True)
    difference = along.scale * (values[left] - reference[right])
    # Neither is a number: they do not differ in that. One alone is as far as can be.
    nan = np.isnan(values[left]), np.isnan(reference[right])
    difference[nan[0] & nan[1]] = 0.0
    difference[nan[0] ^ nan[1]] = np.inf
    return both, difference


def terms(sweep: Sweep, apart: list[Departure]) -> list[Term]:
    """Of every arm with a finished run what the term did; ``apart`` are its ``departures``."""
    found, of_arms = [], {each.arm: each for each in apart}
    for arm in sweep.arms:
        runs = [run for run in sweep.runs if run.arm == arm and run.status == "done"]
        if not runs:
            continue
        counted = [run for run in runs if run.summary("perturbation/scalars_changed") is not None]
        settings = [((run.record.get("config") or {}).get("trainer") or {}).get("precision") for run in runs]
        sums = ("steps", "steps_with_gradient", "steps_with_change")
        told = {name: _over(runs, f"perturbation/{name}", _count) for name in sums}
        told |= {name: _over(runs, f"perturbation/{name}", _mean) for name in ("share", "angle", "ratio")}
        told |= {name: _over(counted, f"perturbation/scalars_{name}", _count) for name in ("touched", "changed")}
        if told["share"] is None:
            told["share"] = _traced_share(runs)
        precision = ", ".join(dict.fromkeys(str(each or "32-true") for each in settings))
        told |= {"traced": _over(runs, "tracer/changed", _mean), "departure": of_arms.get(arm)}
        found.append(Term(arm, precision, len(runs), _steps(runs), len(counted), **told))
    return found


def _traced_share(runs: list[Run]) -> float | None:
    """Mean over the traced steps in which AdamW alone would have moved: there is an angle to its step in those alone."""
    found = []
    for run in runs:
        (steps, shares), moving = (run.curves.get(f"tracer/{name}", ((), ())) for name in ("share", "angle"))
        found += [share for step, share in zip(steps, shares, strict=True) if step in set(moving[0])]
    return _mean(found) if found else None


def _over(runs: list[Run], metric: str, reduced: Callable[[list[float]], float]) -> float | None:
    values = [value for run in runs if (value := run.summary(metric)) is not None]
    return reduced(values) if values else None


def _count(values: list[float]) -> int:
    return round(sum(values))


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _steps(runs: Iterable[Run]) -> int | None:
    lengths = {run.record.get("steps") for run in runs}
    return lengths.pop() if len(lengths) == 1 else None


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
