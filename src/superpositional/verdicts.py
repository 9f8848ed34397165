"""Is a claim so, by our own runs?

A verdict on a claim (``claims``) from the paired runs of a sweep, by one rule that no result can bend:

- ``superior`` or ``inferior``: there are at least 6 pairs and the paired t test, adjusted after Holm over the claim's
  family, rejects "no effect" at 5 %;
- otherwise ``equivalent``: the 90 % interval lies within ± the margin (two one-sided tests, Schuirmann 1987), which is not
  corrected over the family; differences that are all the same have no spread and need 6 pairs here too;
- otherwise ``inconclusive``, which never means equal.

Shares of runs that diverged are judged by exact tests (McNemar's is the sign-flip test of 0s and 1s). ``no verdict`` is
what a claim gets whose pairs are incomplete or whose runs cannot be compared; it still counts in its family. With every
verdict go n, the effect that n pairs could have found, and how many pairs would decide. ``report`` tells them,
``claims.json`` holds them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from superpositional import analysis, inference
from superpositional.analysis import as_given, bounds, label, number
from superpositional.claims import DIVERGED, Claim
from superpositional.comparable import machines, one_at_a_time, unlike
from superpositional.inference import Estimate, SignFlip
from superpositional.pairing import differences, discordant, incomplete, pairs, sides, telltale, unmeasured
from superpositional.records import Sweep

ALPHA, POWER, LEAST_PAIRS = 0.05, 0.8, 6
NARROW = 1 - 2 * ALPHA  # the interval that the two one-sided tests amount to
NONE = "no verdict"


@dataclass(frozen=True)
class Attribution:
    """What stays of an effect with an arm that has not the quantum part.

    ``control`` is its effect against the same baseline, ``beyond`` the claim's arm against it, both in the claim's unit and
    not corrected for multiplicity. ``share`` is control effect over the arm's effect with its 95 % interval, None where the
    arm's own effect cannot be told from 0, a pair is missing, or the runs cannot be compared.
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
        sd: of the paired differences; of a ratio in percent of the baseline's mean. None without a verdict.
        missed: runs of either arm that had not reached the target within the length of training, and stand with that.
        attribution: what each control does.
        exploratory: in words, that the claim was declared or changed after runs were made; it is a caution too.
        detectable: the effect that n pairs find in 80 of 100 cases, at the family's strictest level.
        pairs: how many would decide in 80 of 100 cases, be the effect as large as the margin or 0; None if too many.
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
    sd: float | None
    missed: Mapping[str, int]
    attribution: tuple[Attribution, ...] = ()
    exploratory: str = ""

    @cached_property
    def detectable(self) -> float | None:
        if not self.sd or self.effect.n < LEAST_PAIRS:
            return None
        return inference.detectable(self.sd, self.effect.n, ALPHA / self.family_size, POWER)

    @cached_property
    def pairs(self) -> int | None:
        if not self.sd:
            return None
        needed = [
            inference.pairs_to_detect(self.claim.margin, self.sd, ALPHA / self.family_size, POWER, LEAST_PAIRS),
            inference.pairs_for_equivalence(self.claim.margin, self.sd, alpha=ALPHA, power=POWER),
        ]
        return None if None in needed else max(needed)

    @property
    def words(self) -> str:
        """``superior, smaller than matters``."""
        return f"{self.verdict}, smaller than matters" if self.small else self.verdict

    @property
    def answer(self) -> str:
        """The verdict against what was claimed, its size too: ``as claimed``, ``as claimed, but not in size``, ``not by as
        much as matters``, ``not as claimed``, ``undecided``, ``undecided, but not in size``, ``no verdict``; – where
        nothing was claimed."""
        claimed = self.claim.claimed
        if self.verdict == NONE or claimed is None:
            return NONE if self.verdict == NONE else "–"
        if self.verdict == "inconclusive":
            return "undecided, but not in size" if self.published_within is False else "undecided"
        if claimed == "equivalent":
            return "as claimed" if self.verdict == claimed or self.small else "not as claimed"
        if self.verdict == "equivalent" and self.claim.published is None:
            # The claim names no size, and a smaller effect than matters is not excluded.
            return "not by as much as matters"
        if self.verdict != claimed:
            return "not as claimed"
        return "as claimed, but not in size" if self.small or self.published_within is False else "as claimed"

    @property
    def censored(self) -> str:
        """``never reached: z 30, softmax 2 of 30``, whose times count as training's length; empty without such runs."""
        told = ", ".join(f"{label(arm)} {count}" for arm, count in self.missed.items() if count)
        return f"never reached: {told} of {self.planned}" if told else ""

    @property
    def published_within(self) -> bool | None:
        """Whether the 95 % interval holds the published value; None where there is no interval of all pairs."""
        if self.refusals or self.claim.published is None or self.effect.low is None:
            return None
        return self.effect.low <= self.claim.published <= self.effect.high

    @property
    def sentence(self) -> str:
        """All of it in words, with n."""
        claim, effect = self.claim, self.effect
        unit = f" {claim.effect_unit}".rstrip()
        head = f"{claim.id}, {label(claim.arm)} vs {label(claim.baseline)}, {claim.metric}: {self.words}"
        if self.answer not in ("–", "undecided", NONE):
            head += f" ({self.answer})"
        if self.refusals:
            said = "; ".join(self.refusals)
            return f"{head}: {said}{'' if said.endswith('?') else '.'}{self._of_some_pairs}"
        kind = "mean paired difference" if claim.compare == "difference" else "change of the mean"
        parts = [f"{head}. {kind.capitalize()} {bounds(effect, claim.effect_unit)}, n = {effect.n} seeds"]
        inside = ""
        if self.verdict == "equivalent" and self.narrow[0] is not None:
            low, high = (f"{end:+.2g}".replace("-", "−") for end in self.narrow)
            inside = f", 90 % interval [{low}, {high}]"
        parts.append(f"margin ± {claim.margin:g}{unit}{inside}")
        if claim.published is not None and self.published_within is not None:
            where = "inside" if self.published_within else "outside"
            parts.append(f"the published {as_given(claim.published)}{unit} lies {where} the interval")
        over = number(self.family_size, "claim")
        parts.append(f"p = {self.p:.2g}, {self.p_holm:.2g} after Holm over {over}")
        exact = "exact sign-flip" if self.sign_flip.exact else "sign-flip"
        parts.append(f"{exact} p = {self.sign_flip.p:.2g}")
        if self.detectable is not None:
            parts.append(f"{effect.n} pairs find {self.detectable:.2g}{unit} with 80 % power")
        if self.pairs is not None:
            parts.append(f"about {self.pairs:,} pairs decide with 80 % power if the effect is 0 or as large as the margin")
        elif self.sd:
            parts.append("no number of pairs would decide")
        parts += [f"{label(arm)}: {count} censored" for arm, count in self.missed.items() if count]
        return "; ".join(parts) + "." + "".join(f" Caution: {caution}." for caution in self.cautions)

    @property
    def _of_some_pairs(self) -> str:
        if self.effect.mean is None:
            return ""
        return f" Of the {number(self.effect.n, 'pair')} there are: {bounds(self.effect, self.claim.effect_unit)}."

    def plain(self) -> dict[str, Any]:
        """For ``claims.json``: every digit, None where there is no value."""
        claim = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.claim).items()}
        # Of the report, not of a claim: `runs_before_declaration`.
        own = ("claim", "effect", "narrow", "sign_flip", "exploratory")
        found = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}
        found |= {"detectable": self.detectable, "pairs": self.pairs}
        found |= {"refusals": list(self.refusals), "cautions": list(self.cautions), "missed": dict(self.missed)}
        found |= {"effect": vars(self.effect) | {"unit": self.claim.effect_unit}, "interval_90": list(self.narrow)}
        found |= {"sign_flip": self.sign_flip and vars(self.sign_flip), "words": self.words, "answer": self.answer}
        found |= {"published_within_interval": self.published_within, "sentence": self.sentence}
        found["attribution"] = [
            {key: value if key == "arm" else value and vars(value) for key, value in vars(each).items()}
            for each in self.attribution
        ]
        return {"claim": claim, **found}


def judge(sweep: Sweep, claims: Sequence[Claim], declared: str | None = None) -> list[Verdict]:
    """A verdict on each claim, families adjusted after Holm; the claims are of this sweep's arms.

    ``declared`` is the claims' ``digest``: verdicts say how many runs were made without them. None: not asked.
    """
    sizes = Counter(claim.family for claim in claims)
    first = [_look(sweep, claim, sizes[claim.family]) for claim in claims]
    adjusted: dict[int, tuple[float | None, float | None]] = {}
    for family in sizes:
        places = [index for index, claim in enumerate(claims) if claim.family == family]
        tests = [first[index].p for index in places], [(flip := first[index].sign_flip) and flip.p for index in places]
        adjusted |= dict(zip(places, zip(*(inference.holm(p, sizes[family]) for p in tests), strict=True), strict=True))
    judged = [_decide(verdict, *adjusted[index]) for index, verdict in enumerate(first)]
    late = 0 if declared is None else declared_after(sweep, declared)
    if not late:
        return judged
    caution = f"exploratory, declared or changed after {late} of {number(len(sweep.runs), 'run')}"
    return [replace(verdict, cautions=(*verdict.cautions, caution), exploratory=caution) for verdict in judged]


def _look(sweep: Sweep, claim: Claim, size: int) -> Verdict:
    """All that can be said of one claim without the rest of its family."""
    arms = claim.arm, claim.baseline
    arm, baseline = sides(sweep, claim, arms)
    a, b = pairs(arm, baseline)
    refusals = list(unmeasured(sweep, claim)) or [*incomplete(sweep, arm, baseline), *telltale(claim, arm, baseline)]
    refusals += _unfit(sweep, claim, arms)
    effect, narrow = _effect(claim, a, b)
    if not refusals and effect.low is None:
        refusals.append(_no_interval(effect.n, b))
    each, resolution = differences(a, b)
    usable = not refusals
    runs = [run for run in sweep.runs if run.arm in arms]
    cautions = [f"the runs compared differ in {words}" for words in [*analysis.mixed_versions(runs), *machines(runs)]]
    sd = inference.student_interval(each).sd / _unit(claim, b) if usable else None
    if sd == 0:
        more = f"; {LEAST_PAIRS} pairs would do" if effect.n < LEAST_PAIRS else ""
        cautions.append(f"all {effect.n} differences are the same in single precision, no spread to judge by{more}")
        if claim.metric != DIVERGED:
            # An interval of no width would say more than n runs can.
            effect = replace(effect, low=None, high=None)
    if usable and claim.published is not None and (missed := arm.missed + baseline.missed + arm.late + baseline.late):
        censored = f"{number(missed, 'run')} {'is' if missed == 1 else 'are'} censored here"
        cautions.append(f"{censored}, and the published value is not of restricted means")
    if usable and (late := arm.late + baseline.late):
        cautions.append(
            f"{number(late, 'run')} reached the target after the shortest run of the comparison had ended, and "
            f"{'stands' if late == 1 else 'stand'} with that"
        )
    attribution = []
    for control in claim.controls:
        mixed = _unfit(sweep, claim, (*arms, control)) if usable else []
        cautions += [f"beside {label(control)}, {words}" for words in mixed]
        attribution.append(_attribution(sweep, claim, control, comparable=usable and not mixed))
    return Verdict(
        claim=claim,
        verdict=NONE,
        refusals=tuple(refusals),
        cautions=tuple(cautions),
        planned=len(sweep.seeds),
        effect=effect,
        narrow=narrow,
        p=_p(claim, each, resolution) if usable else None,
        p_holm=None,
        family_size=size,
        sign_flip=inference.sign_flip(each, resolution) if usable else None,
        small=False,
        sd=sd,
        missed={claim.arm: arm.missed, claim.baseline: baseline.missed} if claim.to_target else {},
        attribution=tuple(attribution),
    )


def _unfit(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[str]:
    """Why the runs of these arms cannot be compared."""
    runs = [run for run in sweep.runs if run.arm in arms]
    return [*unlike(sweep, runs), *(one_at_a_time(sweep, runs) if claim.of_time else [])]


def _no_interval(n: int, baseline: np.ndarray) -> str:
    if n < 2:
        return "1 pair allows no interval; run more seeds" if n else "no pair to compare"
    return f"the baseline's mean must be clearly above 0 for a ratio, got {baseline.mean():.3g}; compare differences"


def _p(claim: Claim, each: np.ndarray, resolution: float) -> float:
    if claim.metric == DIVERGED:
        return inference.sign_flip(each, resolution).p
    return inference.paired_t(each)


def _decide(found: Verdict, p_holm: float | None, flip_holm: float | None) -> Verdict:
    """The rule of this module's docstring."""
    if found.refusals:
        # An effect that is not established has no share to give.
        return replace(found, attribution=tuple(replace(each, share=None) for each in found.attribution))
    claim, effect = found.claim, found.effect
    within = -claim.margin < found.narrow[0] and found.narrow[1] < claim.margin
    if p_holm < ALPHA and effect.n >= LEAST_PAIRS:
        good = (effect.mean > 0) == (claim.better == "higher")
        verdict, small = ("superior" if good else "inferior"), within
    else:
        spread = found.sd > 0 or claim.metric == DIVERGED or effect.n >= LEAST_PAIRS
        verdict, small = ("equivalent" if within and spread else "inconclusive"), False
    cautions = list(found.cautions)
    attribution = found.attribution
    if verdict not in ("superior", "inferior"):
        attribution = tuple(replace(each, share=None) for each in attribution)
    if (p_holm < ALPHA) != (flip_holm < ALPHA) and effect.n >= LEAST_PAIRS:
        least = found.family_size * 2.0 ** (1 - effect.n)
        why = f", which cannot with {effect.n} pairs and {found.family_size} claims" if least >= ALPHA else ""
        cautions.append(f"after Holm the t test and the sign-flip test disagree at 5 %{why}")
    # It has decided; to show an interval of no width would say more than n runs can.
    narrow = (None, None) if found.sd == 0 and claim.metric != DIVERGED else found.narrow
    changed = {"verdict": verdict, "small": small, "p_holm": p_holm, "narrow": narrow}
    return replace(found, **changed, cautions=tuple(cautions), attribution=attribution)


def _effect(claim: Claim, a: np.ndarray, b: np.ndarray) -> tuple[Estimate, tuple[float | None, float | None]]:
    """Arm against baseline with its 95 % interval, and the 90 % interval, in the claim's unit."""
    levels = inference.LEVEL, NARROW
    estimates = [inference.student_interval(a - b, level) for level in levels]
    if claim.metric == DIVERGED and len(a):
        exact = [discordant(a, b, claim.scale, level) for level in levels]
        estimates = [replace(each, low=low, high=high) for each, (low, high) in zip(estimates, exact, strict=True)]
    if claim.compare == "ratio":
        estimates = [analysis.relative(a, b, level) for level in levels]
    return estimates[0], (estimates[1].low, estimates[1].high)


def _unit(claim: Claim, baseline: np.ndarray) -> float:
    """One unit of the effect in the metric's: a percent of the baseline's mean, for a ratio."""
    return float(baseline.mean()) / 100 if claim.compare == "ratio" else 1.0


def _attribution(sweep: Sweep, claim: Claim, control: str, *, comparable: bool) -> Attribution:
    """Over the seeds that all three arms have."""
    arm, baseline, other = pairs(*sides(sweep, claim, (claim.arm, claim.baseline, control)))
    effect, _ = _effect(claim, arm, baseline)
    there = effect.low is not None and not effect.low <= 0 <= effect.high
    share = None  # and withdrawn where the verdict establishes no effect
    # Runs that are equal in every pair, as those that all miss a target, would give a share of no width.
    if there and comparable and effect.n == len(sweep.seeds) and not np.array_equal(other, arm):
        share = inference.ratio(other - baseline, arm - baseline)
    return Attribution(control, _effect(claim, other, baseline)[0], _effect(claim, arm, other)[0], share)


def spread(sweep: Sweep, claim: Claim) -> tuple[float, int] | None:
    """The sd of a claim's paired differences in its own unit, over n pairs; None where there is none."""
    both = sides(sweep, claim, (claim.arm, claim.baseline))
    if any(telltale(claim, *both)):
        return None
    a, b = pairs(*both)
    sd = inference.student_interval(differences(a, b)[0]).sd
    return None if sd is None or _unit(claim, b) <= 0 else (sd / _unit(claim, b), len(a))


def lead(verdicts: Sequence[Verdict]) -> str:
    """The answer in short: how many claims of which kind, and which."""
    if not verdicts:
        return "No claim was declared, so there is no verdict."
    kinds: dict[str, list[str]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.words, []).append(verdict.claim.id)
    named = [f"{kind}: {', '.join(ids)}" for kind, ids in kinds.items()]
    text = f"Of {number(len(verdicts), 'claim')}, {'; '.join(named)}."
    undecided = [verdict for verdict in verdicts if verdict.words.startswith("inconclusive")]
    if any(verdict.effect.low is not None for verdict in undecided):
        text += " Inconclusive is not equal: the intervals allow an effect that matters."
    if same := [verdict for verdict in undecided if verdict.effect.low is None]:
        pairs = ", ".join(f"{verdict.claim.id} ({verdict.effect.n} pairs)" for verdict in same)
        text += f" Without any spread there is no interval, and {LEAST_PAIRS} pairs are asked for: {pairs}."
    return text


def declared_after(sweep: Sweep, digest: str | None) -> int:
    """How many of the runs were made without these very claims being declared with them."""
    return sum(run.record.get("claims") != digest for run in sweep.runs)
