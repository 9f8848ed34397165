"""Is a claim so, by our own runs?

A verdict on a claim (``claims``) from the paired runs of a sweep, by one rule that no result can bend:

- ``superior`` or ``inferior``: there are at least 6 pairs and the paired t test, adjusted after Holm over the claim's
  family, rejects "no effect" at 5 %;
- otherwise ``equivalent``: the 90 % interval lies within ± the margin (two one-sided tests, Schuirmann 1987);
- otherwise ``inconclusive``, which never means equal.

``no verdict`` is what a claim gets whose pairs are incomplete or whose runs cannot be compared; it still counts in its
family. With every verdict go n, the effect that n pairs could have found, and how many pairs would decide. ``report`` tells
them, ``claims.json`` holds them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from superpositional import analysis, inference
from superpositional.analysis import Measure, bounds, label, name_seeds
from superpositional.claims import DIVERGED, Claim
from superpositional.comparable import one_at_a_time, unlike
from superpositional.inference import Estimate, SignFlip
from superpositional.records import Run, Sweep

ALPHA, POWER, LEAST_PAIRS = 0.05, 0.8, 6
NARROW = 1 - 2 * ALPHA  # the interval that the two one-sided tests amount to
NONE = "no verdict"


@dataclass(frozen=True)
class Attribution:
    """What stays of an effect with an arm that has not the quantum part.

    ``control`` is its effect against the same baseline, ``beyond`` the claim's arm against it, both in the claim's unit and
    not corrected for multiplicity. ``share`` is control effect over the arm's effect with its 95 % interval, None where the
    arm's own effect cannot be told from 0 or a pair is missing.
    """

    arm: str
    control: Estimate
    beyond: Estimate
    share: inference.Ratio | None


@dataclass(frozen=True)
class Verdict:
    """A claim and what our runs say of it. Effects are arm against baseline in ``claim.effect_unit``.

    Attributes:
        verdict: ``superior``, ``inferior``, ``equivalent``, ``inconclusive`` or ``no verdict``.
        refusals: why there is none, in words.
        cautions: what a reader should know besides.
        planned: pairs of the sweep.
        effect: over the n pairs, with its 95 % interval. Without a verdict, of the pairs that there are.
        narrow: the 90 % interval.
        p, p_holm, family_size: of the paired t test; adjusted over so many tests.
        sign_flip: the exact randomisation test, as a cross-check.
        small: the 90 % interval of a superior or inferior effect lies within the margin.
        detectable: the effect that n pairs find in 80 of 100 cases, at the family's strictest level.
        pairs: how many would decide in 80 of 100 cases, be the effect as large as the margin or 0; None if too many.
        missed: runs of either arm that never reached the target and stand with the length of training.
    """

    claim: Claim
    verdict: str
    refusals: tuple[str, ...]
    cautions: tuple[str, ...]
    planned: int
    effect: Estimate
    narrow: tuple[float | None, float | None]
    p: float | None
    p_holm: float | None
    family_size: int
    sign_flip: SignFlip | None
    small: bool
    detectable: float | None
    pairs: int | None
    missed: Mapping[str, int]
    attribution: tuple[Attribution, ...] = ()

    @property
    def words(self) -> str:
        """``superior, smaller than matters``."""
        return f"{self.verdict}, smaller than matters" if self.small else self.verdict

    @property
    def answer(self) -> str:
        """The verdict against what was claimed: ``as claimed``, ``not as claimed``, ``undecided``, or ``no verdict``."""
        if self.verdict == NONE:
            return NONE
        if self.verdict == "inconclusive":
            return "undecided"
        if self.claim.claimed is None:
            return "–"
        return "as claimed" if self.verdict == self.claim.claimed else "not as claimed"

    @property
    def published_within(self) -> bool | None:
        """Whether the 95 % interval holds the published value."""
        if self.claim.published is None or self.effect.low is None:
            return None
        return self.effect.low <= self.claim.published <= self.effect.high

    @property
    def sentence(self) -> str:
        """All of it in words, with n."""
        claim, effect = self.claim, self.effect
        head = f"{claim.id}, {label(claim.arm)} vs {label(claim.baseline)}, {claim.metric}: {self.words}"
        if self.answer in ("as claimed", "not as claimed"):
            head += f" ({self.answer})"
        if self.refusals:
            return f"{head}: {'; '.join(self.refusals)}.{self._of_some_pairs}"
        kind = "mean paired difference" if claim.compare == "difference" else "change of the mean"
        parts = [f"{head}. {kind.capitalize()} {bounds(effect, claim.effect_unit)}, n = {effect.n} seeds"]
        parts.append(f"margin ± {claim.margin:g} {claim.effect_unit}")
        if claim.published is not None and self.published_within is not None:
            where = "inside" if self.published_within else "outside"
            parts.append(
                f"the published {analysis.signed(claim.published, 1)} {claim.effect_unit} lies {where} the interval"
            )
        parts.append(f"p = {self.p:.2g}, after Holm over {self.family_size} {self.p_holm:.2g}")
        exact = "exact sign-flip" if self.sign_flip.exact else "sign-flip"
        parts.append(f"{exact} p = {self.sign_flip.p:.2g}")
        if self.detectable is not None:
            parts.append(f"{effect.n} pairs find {self.detectable:.2g} {claim.effect_unit} with 80 % power")
        parts.append("no number of pairs would decide" if self.pairs is None else f"about {self.pairs} pairs would decide")
        parts += [f"{label(arm)}: {count} censored" for arm, count in self.missed.items() if count]
        return "; ".join(parts) + "." + "".join(f" Caution: {caution}." for caution in self.cautions)

    @property
    def _of_some_pairs(self) -> str:
        if not self.effect.n:
            return ""
        there = f"{self.effect.n} {'pair' if self.effect.n == 1 else 'pairs'}"
        return f" Of the {there} there are: {bounds(self.effect, self.claim.effect_unit)}."

    def plain(self) -> dict[str, Any]:
        """For ``claims.json``: every digit, None where there is no value."""
        claim = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.claim).items()}
        found = {key: value for key, value in vars(self).items() if key not in ("claim", "effect", "narrow", "sign_flip")}
        found |= {"refusals": list(self.refusals), "cautions": list(self.cautions), "missed": dict(self.missed)}
        found |= {"effect": vars(self.effect) | {"unit": self.claim.effect_unit}, "interval_90": list(self.narrow)}
        found |= {"sign_flip": self.sign_flip and vars(self.sign_flip), "words": self.words, "answer": self.answer}
        found |= {"published_within_interval": self.published_within, "sentence": self.sentence}
        found["attribution"] = [
            {
                "arm": each.arm,
                "control": vars(each.control),
                "beyond": vars(each.beyond),
                "share": each.share and vars(each.share),
            }
            for each in self.attribution
        ]
        return {"claim": claim, **found}


def judge(sweep: Sweep, claims: Sequence[Claim]) -> list[Verdict]:
    """A verdict on each claim, families adjusted after Holm; the claims are of this sweep's arms."""
    sizes = Counter(claim.family for claim in claims)
    first = [_look(sweep, claim, sizes[claim.family]) for claim in claims]
    adjusted: dict[int, float | None] = {}
    for family in sizes:
        places = [index for index, claim in enumerate(claims) if claim.family == family]
        found = inference.holm([first[index].p for index in places], sizes[family])
        adjusted |= dict(zip(places, found, strict=True))
    return [_decide(verdict, adjusted[index]) for index, verdict in enumerate(first)]


def _look(sweep: Sweep, claim: Claim, size: int) -> Verdict:
    """All that can be said of one claim without the rest of its family."""
    sides = _sides(sweep, claim)
    arm, baseline = (sides[name] for name in (claim.arm, claim.baseline))
    pairs = [seed for seed in arm.values if seed in baseline.values]
    a, b = (np.array([side.values[seed] for seed in pairs]) for side in (arm, baseline))
    compared = [run for run in sweep.runs if run.arm in (claim.arm, claim.baseline)]
    refusals = [*_incomplete(sweep, arm, baseline), *unlike(sweep, compared)]
    refusals += one_at_a_time(sweep, compared) if claim.of_time else []
    effect, narrow = _effect(claim, a, b)
    no_interval = effect.low is None
    if not refusals and no_interval:
        short = "1 pair allows no interval" if effect.n == 1 else "the baseline's mean is too near 0 for a ratio"
        refusals.append(short if effect.n else "no pair to compare")
    usable = not refusals
    p = inference.paired_t(a - b) if usable else None
    return Verdict(
        claim=claim,
        verdict=NONE,
        refusals=tuple(refusals),
        cautions=tuple(f"the runs compared differ in {words}" for words in analysis.mixed_versions(compared)),
        planned=len(sweep.seeds),
        effect=effect,
        narrow=narrow,
        p=p,
        p_holm=None,
        family_size=size,
        sign_flip=inference.sign_flip(a - b) if usable else None,
        small=False,
        **(_planned(claim, a, b, size) if usable else {"detectable": None, "pairs": None}),
        missed={claim.arm: arm.missed, claim.baseline: baseline.missed} if claim.to_target else {},
        attribution=tuple(_attribution(claim, sides, name) for name in claim.controls),
    )


def _decide(found: Verdict, p_holm: float | None) -> Verdict:
    """The rule of this module's docstring."""
    if found.refusals:
        return found
    claim, effect = found.claim, found.effect
    within = -claim.margin < found.narrow[0] and found.narrow[1] < claim.margin
    if p_holm < ALPHA and effect.n >= LEAST_PAIRS:
        good = (effect.mean > 0) == (claim.better == "higher")
        verdict, small = ("superior" if good else "inferior"), within
    else:
        verdict, small = ("equivalent" if within else "inconclusive"), False
    cautions = list(found.cautions)
    if (found.p < ALPHA) != (found.sign_flip.p < ALPHA):
        cautions.append("the t test and the sign-flip test disagree at 5 %")
    return replace(found, verdict=verdict, small=small, p_holm=p_holm, cautions=tuple(cautions))


@dataclass(frozen=True)
class _Side:
    """An arm's value for each seed that has one, and the seeds that have none by reason."""

    values: Mapping[int, float]
    without: Mapping[str, tuple[int, ...]]
    missed: int = 0


def _sides(sweep: Sweep, claim: Claim) -> dict[str, _Side]:
    """Of every arm that the claim speaks of."""
    arms = list(dict.fromkeys([claim.arm, claim.baseline, *claim.controls]))
    requires = "convergence/target" if claim.to_target else None
    measure = Measure(claim.metric, claim.metric, claim.unit, "", "", claim.scale, requires)
    found = {arm: analysis.outcomes(sweep, arm, measure) for arm in arms}
    if claim.metric == DIVERGED:
        return {arm: _diverged(sweep, arm, claim.scale) for arm in arms}
    if not claim.to_target:
        return {arm: _Side(each.values, each.without) for arm, each in found.items()}
    horizon = _horizon([run for run in sweep.runs if run.arm in arms and run.status == "done"], claim.metric)
    sides = {}
    for arm, each in found.items():
        # A run that diverged never reached it either, whatever it passed on the way.
        misses = sorted(each.seeds(("missed the target", "diverged")))
        if horizon is None:
            sides[arm] = _Side({}, each.without)
            continue
        seeds = [*each.values, *misses]
        times = inference.censored([*each.values.values(), *[None] * len(misses)], claim.scale * horizon)
        without = {
            reason: seeds for reason, seeds in each.without.items() if reason not in ("missed the target", "diverged")
        }
        sides[arm] = _Side(dict(zip(seeds, map(float, times), strict=True)), without, len(misses))
    return sides


def _diverged(sweep: Sweep, arm: str, scale: float) -> _Side:
    status = {run.seed: run.status for run in sweep.runs if run.arm == arm}
    values = {seed: scale * (status[seed] == "diverged") for seed in status if status[seed] in ("done", "diverged")}
    without: dict[str, tuple[int, ...]] = {}
    for seed in sweep.seeds:
        if seed not in values:
            reason = status.get(seed, "not run")
            without[reason] = (*without.get(reason, ()), seed)
    return _Side(values, without)


def _horizon(runs: Sequence[Run], metric: str) -> float | None:
    """How long training lasted, in the metric's unit: the shortest of the runs, so that all are censored alike."""
    lengths = []
    for run in runs:
        if "seconds" in metric:
            clock = run.curves.get("time/train_seconds", ((), ()))[1]
            lengths.append(float(clock[-1]) if len(clock) else None)
        else:
            per = run.record.get("steps_per_epoch") if "epochs" in metric else 1
            lengths.append(run.record["steps"] / per if per and run.record.get("steps") else None)
    return None if not lengths or None in lengths else min(lengths)


def _incomplete(sweep: Sweep, arm: _Side, baseline: _Side) -> Iterable[str]:
    """Pairs without two values, named; there is no verdict on a part of what was planned."""
    for reason in sorted({*arm.without, *baseline.without}):
        seeds = {*arm.without.get(reason, ()), *baseline.without.get(reason, ())}
        yield f"{len(seeds)} of {len(sweep.seeds)} pairs are incomplete, {reason} ({name_seeds(seeds)})"


def _effect(claim: Claim, a: np.ndarray, b: np.ndarray) -> tuple[Estimate, tuple[float | None, float | None]]:
    """Arm against baseline with its 95 % interval, and the 90 % interval, in the claim's unit."""
    estimates = [inference.student_interval(a - b, level) for level in (inference.LEVEL, NARROW)]
    if claim.compare == "ratio" and len(a):
        ratios = [inference.ratio(a, b, level) for level in (inference.LEVEL, NARROW)]
        estimates = [
            replace(estimate, mean=_percent(each.value), sd=None, low=_percent(each.low), high=_percent(each.high))
            for estimate, each in zip(estimates, ratios, strict=True)
        ]
    return estimates[0], (estimates[1].low, estimates[1].high)


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (ratio - 1)


def _planned(claim: Claim, a: np.ndarray, b: np.ndarray, size: int) -> dict[str, Any]:
    """What n pairs can find and how many would decide, were the sd as observed; at the strictest level Holm may ask for."""
    n, sd, alpha = len(a), inference.student_interval(a - b).sd, ALPHA / size
    one = _unit(claim, b)
    detectable = inference.detectable(sd, n, alpha, POWER)
    margin = claim.margin * one
    needed = [
        inference.pairs_to_detect(margin, sd, alpha, POWER, LEAST_PAIRS),
        inference.pairs_for_equivalence(margin, sd, alpha=ALPHA, power=POWER),
    ]
    return {
        "detectable": None if detectable is None else detectable / one,
        "pairs": None if None in needed else max(needed),
    }


def _unit(claim: Claim, baseline: np.ndarray) -> float:
    """One unit of the effect in the metric's: a percent of the baseline's mean, for a ratio."""
    return abs(float(baseline.mean())) / 100 if claim.compare == "ratio" else 1.0


def _attribution(claim: Claim, sides: Mapping[str, _Side], control: str) -> Attribution:
    """Over the seeds that all three arms have."""
    values = [sides[name].values for name in (claim.arm, claim.baseline, control)]
    seeds = [seed for seed in values[0] if all(seed in each for each in values)]
    arm, baseline, other = (np.array([each[seed] for seed in seeds]) for each in values)
    effect, _ = _effect(claim, arm, baseline)
    there = effect.low is not None and not effect.low <= 0 <= effect.high
    return Attribution(
        arm=control,
        control=_effect(claim, other, baseline)[0],
        beyond=_effect(claim, arm, other)[0],
        share=inference.ratio(other - baseline, arm - baseline) if there else None,
    )


def spread(sweep: Sweep, claim: Claim) -> tuple[float, int] | None:
    """The sd of a claim's paired differences in its own unit, over n pairs; None below two."""
    sides = _sides(sweep, claim)
    arm, baseline = (sides[name].values for name in (claim.arm, claim.baseline))
    pairs = [seed for seed in arm if seed in baseline]
    a, b = (np.array([side[seed] for seed in pairs]) for side in (arm, baseline))
    sd = inference.student_interval(a - b).sd
    return None if sd is None else (sd / _unit(claim, b), len(pairs))


def lead(verdicts: Sequence[Verdict]) -> str:
    """The answer in short: how many claims of which kind, and which."""
    if not verdicts:
        return "No claim was declared, so there is no verdict."
    kinds: dict[str, list[str]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.words, []).append(verdict.claim.id)
    named = [f"{kind}: {', '.join(ids)}" for kind, ids in kinds.items()]
    total = f"{len(verdicts)} claim{'' if len(verdicts) == 1 else 's'}"
    text = f"Of {total}, {'; '.join(named)}."
    if "inconclusive" in kinds:
        text += " Inconclusive is not equal: the intervals allow an effect that matters."
    return text


def declared_after(sweep: Sweep, digest: str | None) -> int:
    """How many of the runs were made without these very claims being declared with them."""
    return sum(run.record.get("claims") != digest for run in sweep.runs)
