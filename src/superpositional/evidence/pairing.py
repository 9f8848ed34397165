"""What is the value of each run of a pair, for a claim's metric?

A summary's value; 1 or 0 for having diverged; a time to a target, where a run that missed it stands with the length of
training. What has no value is named with its reason. Read by ``verdicts``.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from superpositional.evidence import analysis, inference
from superpositional.evidence.analysis import Outcomes
from superpositional.format import name_seeds
from superpositional.records import Run, Sweep
from superpositional.records.claims import DIVERGED, Claim
from superpositional.records.measures import Measure


@dataclass(frozen=True)
class Side:
    """An arm's value for each seed that has one, and the seeds that have none by reason.

    Of times to a target: ``missed`` runs stand with the length of training, and so do ``late`` ones, which reached it after
    another's end: up to there all runs were watched, so the mean of what each has by then is one of all (restricted).
    ``diverged`` runs of any other metric have no value, and the worst rank.
    """

    values: Mapping[int, float]
    without: Mapping[str, tuple[int, ...]]
    missed: int = 0
    late: int = 0
    diverged: tuple[int, ...] = ()

    @property
    def mostly_censored(self) -> bool:
        """Whether more than a quarter of the runs are censored, where a restricted mean is no estimate of a time."""
        return 4 * (self.missed + self.late) > len(self.values)


def sides(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[Side]:
    """Of each of these arms."""
    if claim.metric == DIVERGED:
        return [_diverged(sweep, arm, claim.scale) for arm in arms]
    requires = "convergence/target" if claim.to_target else None
    measure = Measure(claim.metric, claim.metric, claim.unit, "", "", claim.scale, requires)
    found = [analysis.outcomes(sweep, arm, measure) for arm in arms]
    if not claim.to_target:
        return [_ranked(each) for each in found]
    horizon = _horizon([run for run in sweep.runs if run.arm in arms and run.status == "done"], claim.metric)
    return [_censored(each, None if horizon is None else claim.scale * horizon) for each in found]


def _ranked(found: Outcomes) -> Side:
    rest = {reason: seeds for reason, seeds in found.without.items() if reason != "diverged"}
    return Side(found.values, rest, diverged=found.without.get("diverged", ()))


def _censored(found: Outcomes, horizon: float | None) -> Side:
    """Times to a target, where a run that missed it stands with the length of training."""
    # A run that diverged never reached it either, whatever it passed on the way.
    ended = ("missed the target", "diverged")
    misses = sorted(found.seeds(ended))
    without = {reason: seeds for reason, seeds in found.without.items() if reason not in ended}
    if horizon is None:
        there = tuple(sorted([*found.values, *misses]))
        return Side({}, without | ({"length of training unknown": there} if there else {}))
    times = inference.censored([*found.values.values(), *[None] * len(misses)], horizon)
    # Beyond rounding: a run may reach it with its last validation.
    late = sum(time > horizon * (1 + 1e-6) for time in found.values.values())
    return Side(dict(zip([*found.values, *misses], map(float, times), strict=True)), without, len(misses), late)


def _diverged(sweep: Sweep, arm: str, scale: float) -> Side:
    status = {run.seed: run.status for run in sweep.runs if run.arm == arm}
    values = {seed: scale * (status[seed] == "diverged") for seed in status if status[seed] in ("done", "diverged")}
    without: dict[str, tuple[int, ...]] = {}
    for seed in sweep.seeds:
        if seed not in values:
            reason = status.get(seed, "not run")
            without[reason] = (*without.get(reason, ()), seed)
    return Side(values, without)


def _horizon(runs: Sequence[Run], metric: str) -> float | None:
    """How long training lasted, in the metric's unit: the shortest of the runs, so that all are censored alike."""
    lengths = []
    for run in runs:
        if "seconds" in metric:
            clock = run.curves.get("time/train_seconds", ((), ()))[1]
            # Seven digits, as a published sweep keeps them, so that it is judged alike.
            lengths.append(float(f"{clock[-1]:.7g}") if len(clock) else 0.0)
        else:
            per = run.record.get("steps_per_epoch") if "epochs" in metric else 1
            lengths.append((run.record.get("steps") or 0) / per if per else 0.0)
    return min(lengths) if lengths and all(length > 0 for length in lengths) else None


def incomplete(sweep: Sweep, arm: Side, baseline: Side) -> Iterable[str]:
    """Pairs without two values, named; there is no verdict on a part of what was planned."""
    for reason in sorted({*arm.without, *baseline.without}):
        seeds = {*arm.without.get(reason, ()), *baseline.without.get(reason, ())}
        yield f"{len(seeds)} of {len(sweep.seeds)} pairs are incomplete, {reason} ({name_seeds(seeds)})"


def unmeasured(sweep: Sweep, claim: Claim) -> Iterable[str]:
    """That no finished run has the metric at all, with what may have been meant."""
    summaries = [run.record["summary"] for run in sweep.runs if run.status == "done"]
    if claim.metric == DIVERGED or claim.to_target or any(claim.metric in each for each in summaries) or not summaries:
        return
    known = sorted({name for each in summaries for name in each})
    close = difflib.get_close_matches(claim.metric, known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"they have {', '.join(known) or 'none'}"
    yield f"no run has {claim.metric}; {meant}"


def telltale(claim: Claim, arm: Side, baseline: Side) -> Iterable[str]:
    """Why times to a target cannot tell these arms apart, whatever a test says."""
    if not claim.to_target or not arm.values or not baseline.values:
        return
    if len({*arm.values.values(), *baseline.values.values()}) == 1:
        what = "no run reached the target" if arm.missed else "every run reached the target at the same moment"
        yield f"{what}: this tells nothing of the arms; choose callbacks.convergence.target or validate more often"


def discordant(a: np.ndarray, b: np.ndarray, scale: float, level: float) -> tuple[float, float]:
    """An interval of a difference of paired shares, from 0s and ``scale``s: exact bounds of both kinds of unequal pairs.

    Each kind's share gets its Clopper-Pearson interval at level (1 + level) / 2, so that both hold at once at ``level`` or
    more (Bonferroni): without a single unequal pair it is not 0 wide, as Student's would be, but as wide as n allows.
    """
    more, less = int((a > b).sum()), int((a < b).sum())
    (low_more, high_more), (low_less, high_less) = (
        inference.clopper_pearson(k, len(a), (1 + level) / 2) for k in (more, less)
    )
    return scale * (low_more - high_less), scale * (high_more - low_less)


def pairs(*sides: Side) -> list[np.ndarray]:
    """The values of the seeds that all of them have, each side's in one order."""
    seeds = [seed for seed in sides[0].values if all(seed in side.values for side in sides)]
    return [np.array([side.values[seed] for seed in seeds]) for side in sides]


def worst_ranks(arm: Side, baseline: Side, differences: np.ndarray, better: str) -> np.ndarray:
    """Signed ranks of the differences (Wilcoxon 1945), those of pairs with a run that diverged among them.

    Such a run has no value but is worse than any that finished: it takes the worst rank (Lachin 1999, Controlled Clinical
    Trials 20), as a run that never succeeds costs infinitely much in performance profiles (Dolan & Moré 2002; so AlgoPerf,
    Dahl et al. 2023). A pair of which both diverged is a tie. `sign_flip` of these ranks is the exact signed-rank test.
    """
    worse = -math.inf if better == "higher" else math.inf
    lost = [worse for seed in arm.diverged if seed in baseline.values]
    lost += [-worse for seed in baseline.diverged if seed in arm.values]
    lost += [0.0 for seed in arm.diverged if seed in baseline.diverged]
    every = np.concatenate([differences, lost])
    return stats.rankdata(np.abs(every)) * np.sign(every)
