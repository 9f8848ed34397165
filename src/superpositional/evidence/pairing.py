"""Pair the runs of two arms for a claim's metric, and refuse what cannot be compared.

A run's value is that of its summary, 1 or 0 for having diverged, or its time to a target, where a run that missed it stands
with the length of training. What has no value is named with its reason. What must be the same in all runs of a comparison
and is not is named too; for times, so is whatever kept a run from having the machine to itself.
"""

import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from superpositional.evidence import analysis, inference
from superpositional.evidence.analysis import Outcomes, code, differing, material
from superpositional.format import did_you_mean, name_seeds, number
from superpositional.records import Run, Sweep
from superpositional.records.claims import DIVERGED, Claim
from superpositional.records.measures import Measure


def sides(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[Outcomes]:
    """The values of each of these arms, as the claim's metric asks."""
    if claim.metric == DIVERGED:
        shares = {"done": 0.0, "diverged": claim.scale}
        return [analysis.sort(sweep, arm, lambda run: shares.get(run.status, run.status)) for arm in arms]
    requires = "convergence/target" if claim.to_target else None
    measure = Measure(claim.metric, claim.metric, claim.unit, "", "", claim.scale, requires)
    found = [analysis.outcomes(sweep, arm, measure) for arm in arms]
    if not claim.to_target:
        lost = [(each, dict(each.without)) for each in found]
        return [replace(each, diverged=rest.pop("diverged", ()), without=rest) for each, rest in lost]
    horizon = _horizon([run for run in sweep.runs if run.arm in arms and run.status == "done"], claim.metric)
    return [_censored(each, None if horizon is None else claim.scale * horizon) for each in found]


def _censored(found: Outcomes, horizon: float | None) -> Outcomes:
    # A run that diverged never reached it either, whatever it passed on the way.
    ended = ("missed the target", "diverged")
    misses = sorted(found.seeds(ended))
    without = {reason: seeds for reason, seeds in found.without.items() if reason not in ended}
    if horizon is None:
        there = tuple(sorted([*found.values, *misses]))
        return replace(found, values={}, without=without | ({"length of training unknown": there} if there else {}))
    times = inference.censored([*found.values.values(), *[None] * len(misses)], horizon)
    # Beyond rounding: a run may reach it with its last validation.
    late = sum(time > horizon * (1 + 1e-6) for time in found.values.values())
    values = dict(zip([*found.values, *misses], map(float, times), strict=True))
    return replace(found, values=values, without=without, missed=len(misses), late=late)


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


def incomplete(sweep: Sweep, arm: Outcomes, baseline: Outcomes) -> Iterable[str]:
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
    yield f"no run has {claim.metric}; {did_you_mean(claim.metric, known)}"


def telltale(claim: Claim, arm: Outcomes, baseline: Outcomes) -> Iterable[str]:
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


def pairs(*sides: Outcomes) -> list[np.ndarray]:
    """The values of the seeds that all of them have, each side's in one order."""
    seeds = [seed for seed in sides[0].values if all(seed in side.values for side in sides)]
    return [np.array([side.values[seed] for seed in seeds]) for side in sides]


def worst_ranks(arm: Outcomes, baseline: Outcomes, differences: np.ndarray, better: str) -> np.ndarray:
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


# Nodes of a config that a method has no part in: to change them is to change the task.
TASK = ("data", "task", "trainer", "threads")
# The most that two runs may seem to overlap: a start is stamped before its seconds are counted.
SLACK_SECONDS = 0.05
# Processes beside the run itself that a machine may have had to run when it started, on average over the last minute.
OTHERS = 0.5


def unlike(sweep: Sweep, runs: Iterable[Run]) -> list[str]:
    """What differs between runs that have ended, each in words with its cure; nothing if they can be compared."""
    ended = [run for run in runs if run.status in ("done", "diverged")]
    # A run that diverged may have ended before it could say its target.
    targets = [{"targets": json.dumps(run.summary("convergence/target"))} for run in ended if run.status == "done"]
    words = []
    for name, counts in (*differing([_stamp(run) for run in ended], "none"), *differing(targets)):
        shown = ", ".join(f"{count} with {value}" for value, count in counts.items())
        words.append(f"the runs differ in {name} ({shown}); run the sweep again under one")
    return [*words, *_unequally_tuned(sweep, {run.arm for run in ended})]


def _stamp(run: Run) -> dict[str, str]:
    """What must be the same in all runs of a comparison, by what it is called."""
    found = {"code versions": code(run), "execution modes": str(run.record.get("execution"))} | material(run)
    config = run.record.get("config") or {}
    for key in TASK:
        found |= {f"the setting {path}": text for path, text in _settings(key, config.get(key))}
    if "the data's hash" in found:
        # Where rows lie that are known by their hash is no matter.
        found.pop("the setting data.path", None)
    return found


def machines(runs: Iterable[Run]) -> Iterable[str]:
    """What the runs were made on and by, where that differs: numbers come out a little otherwise on another device."""
    records = [run.record for run in runs if run.status in ("done", "diverged")]
    keys = {"devices": "device", "processors": "processor", "kernels": "kernels"}
    for name, counts in differing([{name: each.get(key) or "not said" for name, key in keys.items()} for each in records]):
        shown = [f"{value} ({number(count, 'run')})" for value, count in counts.items()]
        yield f"{name}: {', '.join(shown)}"


def _settings(path: str, value: Any) -> Iterable[tuple[str, str]]:
    """Every single value of a config's node, with its path: ``data.length``, ``16``.

    Not the schedules of a task: λ's belongs to the method, and a learning rate's to its settings.
    """
    if path.endswith("_schedule"):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _settings(f"{path}.{key}", item)
    elif value is not None:
        yield path, json.dumps(value)


def _unequally_tuned(sweep: Sweep, arms: set[str]) -> Iterable[str]:
    if sweep.tuned is None:
        return
    named = {arm: any(arm == own or arm.startswith(f"{own},") for own in sweep.tuned["arms"]) for arm in arms}
    if untuned := sorted(arm for arm, tuned in named.items() if not tuned):
        yield f"{', '.join(untuned)} had no share in the search that tuned the others; search for every arm"
    if not sweep.tuned.get("equal_budget", True):
        yield f"the arms were tuned with unequal budgets: {'; '.join(sweep.tuned['why_not'])}"


def one_at_a_time(sweep: Sweep, runs: Sequence[Run]) -> list[str]:
    """Why times of these runs are no measurement, in words; nothing if they are one."""
    cure = "run such a sweep with hydra.launcher.jobs=1, one call, nothing else at work (sweeps/paper_time.yaml)"
    every = [run for run in sweep.runs if run.record.get("started") and run.record.get("wall_seconds") is not None]
    if any(run not in every for run in runs):
        return [f"some runs do not say when they ran; {cure}"]
    words = []
    spans = sorted((_span(run), run.arm, run.seed) for run in every)
    overlapping = sum(one[0][1] > other[0][0] + SLACK_SECONDS for one, other in pairwise(spans))
    if overlapping:
        words.append(f"runs went side by side {overlapping} time{'' if overlapping == 1 else 's'}; {cure}")
    # Each seed's runs one after the other: a machine that slows down in an hour slows both arms.
    order, places = [run.seed for run in sorted(every, key=_span)], {}
    for index, run in enumerate(sorted(every, key=_span)):
        if run in runs:
            places.setdefault(run.seed, []).append(index)
    if scattered := {seed for seed, at in places.items() if {*order[at[0] : at[-1] + 1]} != {seed}}:
        words.append(f"the arms were not interleaved at {name_seeds(scattered)}; {cure}")
    if resumed := sorted({run.seed for run in runs if run.record.get("sessions", 1) > 1}):
        words.append(f"runs were interrupted and resumed ({name_seeds(resumed)}); run them again")
    for key, name in (("device", "devices"), ("machine", "machines")):
        if len(found := {str(run.record.get(key)) for run in runs}) > 1:
            words.append(f"the runs differ in {name} ({len(found)}); {cure}")
    if any(run.record.get("load") is None for run in runs):
        return [*words, f"some runs do not say how busy the machine was; {cure}"]
    for arm in sorted({run.arm for run in runs}):
        own = [run for run in runs if run.arm == arm]
        busy = [run for run in own if run.record["load"] > (run.record.get("config") or {}).get("threads", 1) + OTHERS]
        if len(busy) > len(own) / 2:
            words.append(f"the machine had other work at the start of {len(busy)} of {len(own)} runs of {arm}; {cure}")
    return words


def _span(run: Run) -> tuple[float, float]:
    start = datetime.datetime.fromisoformat(run.record["started"]).timestamp()
    return start, start + run.record["wall_seconds"]
