"""Compare arms by paired differences: Student's intervals, and every run that gives no value counted with its reason.

Runs of one seed share their initial weights, batches and dropout masks, so arms are compared by the paired difference
arm − baseline of each seed, d_s. Over n pairs the 95 % interval is Student's, mean(d) ± t_{0.975, n−1} · sd(d) / √n: a
percentile bootstrap of five seeds covers 84 % where it says 95 %.

A pair that has not run yet is unfinished. A run that diverged or failed is neither dropped nor zero: what remains is
conditional on the pairs that finished. A run that never reached the target has no time to it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from superpositional.evidence import inference
from superpositional.evidence.inference import LEVEL, Estimate, ratio, student_interval
from superpositional.format import bounds
from superpositional.records import Run, Sweep
from superpositional.records.measures import Measure, declared, undeclared

# What became of a planned run that gives no value. The first four say something about the arm, so leaving them out
# would bias the rest; the last two only say that the sweep goes on.
CENSORED = ("diverged", "failed", "missed the target", "gave no value")
UNFINISHED = ("interrupted", "not run")


def measures(sweep: Sweep) -> tuple[Measure, ...]:
    """Return what a sweep's tables and figures show, as its runs' task declared it; the first measure decides.

    The others are shown if a finished run recorded them, and matches if a whole split was answered: a smoke's are not a
    result.
    """
    done = [run.record for run in sweep.runs if run.status == "done"]
    had = dict.fromkeys(name for record in done for name in record["summary"])
    told = next((record["measures"] for record in done if record.get("measures")), None)
    first, *others = undeclared(had) if told is None else declared(told)
    small = smoke(sweep) is not None
    there = [each for each in others if {each.metric, each.requires} & had.keys()]
    return first, *(each for each in there if not (each.evaluated and small))


def smoke(sweep: Sweep) -> int | None:
    """Of how many questions the smallest evaluation was that asked fewer than there are; None where none did."""
    asked = [run.record.get("evaluation") for run in sweep.runs if run.status == "done"]
    return min((each["questions"] for each in asked if each and is_smoke(each)), default=None)


def is_smoke(evaluation: Mapping[str, Any]) -> bool:
    return bool(evaluation.get("smoke")) or evaluation["questions"] < evaluation["of"]


@dataclass(frozen=True)
class Outcomes:
    """What every planned seed of an arm came to: a value, or the reason why there is none.

    For a claim (``pairing.sides``) runs that ``missed`` the target stand with the length of training, and so do ``late``
    ones, which reached it after another's end: up to there all runs were watched, so the mean of what each has by then is
    one of all (restricted). ``diverged`` runs of any other metric have no value, and the worst rank.
    """

    arm: str
    planned: int
    values: Mapping[int, float]
    without: Mapping[str, tuple[int, ...]]
    missed: int = 0
    late: int = 0
    diverged: tuple[int, ...] = ()

    @property
    def estimate(self) -> Estimate:
        return student_interval(list(self.values.values()))

    @property
    def censored(self) -> int:
        return self.missed + self.late

    @property
    def mostly_censored(self) -> bool:
        """Whether more than a quarter of the runs are censored, where a restricted mean is no estimate of a time."""
        return 4 * self.censored > len(self.values)

    def seeds(self, reasons: Iterable[str]) -> set[int]:
        return {seed for reason in reasons for seed in self.without.get(reason, ())}


@dataclass(frozen=True)
class Comparison:
    """The paired differences arm − baseline of one measure.

    ``rounded`` says that they are the same but for the rounding of the values, which is taken away.
    """

    measure: Measure
    arm: Outcomes
    baseline: Outcomes
    differences: Mapping[int, float]
    estimate: Estimate
    rounded: bool = False

    @property
    def conditional(self) -> bool:
        """Whether the estimate stands only for the pairs that gave a value, because others ended without one."""
        return bool(self._seeds(CENSORED))

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Seeds whose pair may still come; a pair with a run that is lost for good is not among them."""
        return tuple(sorted(self._seeds(UNFINISHED) - self._seeds(CENSORED)))

    @property
    def same(self) -> bool:
        """Whether every difference is 0: an interval from 0 to 0 could be taken for a rounded one."""
        return self.estimate.n > 1 and self.estimate.sd == 0 and self.estimate.mean == 0

    def shown(self, unit: str = "") -> str:
        """The mean difference with its interval; where all are 0 ``0 in every pair``, and whether that is exact."""
        zeros = f"0{' up to rounding' if self.rounded else ''} in every pair"
        return zeros if self.same else bounds(self.estimate, unit)

    @property
    def change(self) -> Estimate | None:
        """The same in percent of the baseline's mean; None of a measure that is no ratio's."""
        if not self.measure.relative:
            return None
        sides = (np.array([side.values[seed] for seed in self.differences]) for side in (self.arm, self.baseline))
        return relative(*sides)

    def _seeds(self, reasons: Iterable[str]) -> set[int]:
        return self.arm.seeds(reasons) | self.baseline.seeds(reasons)


def outcomes(sweep: Sweep, arm: str, measure: Measure) -> Outcomes:
    """Every planned seed of an arm, sorted into values (scaled to the measure's unit) and reasons for having none.

    Raises:
        ValueError: the sweep has no such arm.
    """
    if arm not in sweep.arms:
        raise ValueError(f"no arm {arm!r} in sweep {sweep.name}; it has {', '.join(sweep.arms)}")

    def value_or_reason(run: Run) -> float | str:
        if run.status != "done":
            return run.status
        if (value := run.summary(measure.metric)) is not None:
            return measure.scale * value
        measured = measure.requires and run.summary(measure.requires) is not None
        return "missed the target" if measured else "gave no value"

    return sort(sweep, arm, value_or_reason)


def sort(sweep: Sweep, arm: str, value_or_reason: Callable[[Run], float | str]) -> Outcomes:
    """Every planned seed of an arm, sorted into the values that its runs are given and the reasons for having none."""
    runs = {run.seed: run for run in sweep.runs if run.arm == arm}
    values, without = {}, {}
    for seed in sweep.seeds:
        found = value_or_reason(runs[seed]) if seed in runs else "not run"
        if isinstance(found, str):
            without[found] = (*without.get(found, ()), seed)
        else:
            values[seed] = found
    return Outcomes(arm, len(sweep.seeds), values, without)


def compare(sweep: Sweep, arm: str, measure: Measure, baseline: str | None = None) -> Comparison:
    """The paired differences of an arm to another, by default the sweep's baseline of it."""
    baseline = baseline or sweep.baseline(arm)
    sides = outcomes(sweep, arm, measure), outcomes(sweep, baseline, measure)
    seeds = [seed for seed in sides[0].values if seed in sides[1].values]
    a, b = (np.array([side.values[seed] for seed in seeds]) for side in sides)
    # What counts as rounding is what does in a verdict.
    found = inference.differences(a, b, measure.scale)[0]
    differences = dict(zip(seeds, found.tolist(), strict=True))
    return Comparison(measure, *sides, differences, student_interval(found), rounded=not np.array_equal(found, a - b))


def mixed_versions(runs: Iterable[Run]) -> tuple[str, ...]:
    """In words, what differs between finished runs and ought not to: the code, a version, the target, data, weights."""
    done = [run for run in runs if run.status == "done"]
    stamps = [{"code version": code(run), "target accuracy": run.summary("convergence/target")} for run in done]
    stamps = [stamp | material(run) | run.record.get("versions", {}) for stamp, run in zip(stamps, done, strict=True)]
    words = []
    for name, counts in sorted(differing(stamps)):
        listed = ", ".join(f"{value} ({n} of {len(done)} runs)" for value, n in sorted(counts.items()))
        words.append(f"{name}: {listed}")
    return tuple(words)


def differing(stamps: Sequence[Mapping[str, Any]], lacking: str = "None") -> Iterator[tuple[str, Counter]]:
    """Yield each name of which the stamps have several values, with how often each value stands there, as text."""
    for name in dict.fromkeys(name for stamp in stamps for name in stamp):
        counts = Counter(str(stamp.get(name, lacking)) for stamp in stamps)
        if len(counts) > 1:
            yield name, counts


def code(run: Run) -> str:
    """Return the package's own code version: behind a + stand the user's sources, which belong to an arm."""
    return str(run.record.get("code")).split("+")[0]


def material(run: Run) -> dict[str, str]:
    """What a config only names, downloaded data and weights, by the hash and revision that the run recorded."""
    stamps = [(what, stamp) for what in ("data", "model") for stamp in ("revision", "hash")]
    found = {f"the {what}'s {stamp}": (run.record.get(what) or {}).get(stamp) for what, stamp in stamps}
    return {name: str(value) for name, value in found.items() if value is not None}


def progress(sweep: Sweep) -> str:
    """``150 of 150 runs done``, or how far the sweep is and what ended otherwise, in words."""
    planned, counts = len(sweep.arms) * len(sweep.seeds), Counter(run.status for run in sweep.runs)
    ended = [f"{counts[status]} {status}" for status in ("diverged", "failed", "interrupted") if counts[status]]
    text = ", ".join([f"{counts['done']} of {planned} runs done", *ended])
    if sweep.missing or counts["interrupted"]:
        return f"unfinished: {len(sweep.missing)} of {planned} runs missing; {text}"
    return text


def relative(arm: np.ndarray, baseline: np.ndarray, level: float = LEVEL) -> Estimate:
    """The change of the mean, 100 (mean(arm) / mean(baseline) − 1) in percent over pairs, with Fieller's interval."""
    estimate = replace(student_interval(arm - baseline, level), mean=None, sd=None, low=None, high=None)
    # Of a baseline below 0, more percent would be less.
    if not len(baseline) or baseline.mean() <= 0:
        return estimate
    found = ratio(arm, baseline, level)
    ends = {"mean": found.value, "low": found.low, "high": found.high}
    return replace(estimate, **{key: None if value is None else 100 * (value - 1) for key, value in ends.items()})
