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
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from superpositional import analysis, inference
from superpositional.analysis import Measure, Outcomes, bounds, label, name_seeds
from superpositional.claims import DIVERGED, Claim
from superpositional.comparable import one_at_a_time, unlike
from superpositional.inference import Estimate, SignFlip
from superpositional.records import Run, Sweep

ALPHA, POWER, LEAST_PAIRS = 0.05, 0.8, 6
NARROW = 1 - 2 * ALPHA  # the interval that the two one-sided tests amount to
NONE = "no verdict"
NO_RATIO = inference.Ratio(None, None, None)


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

    @cached_property
    def detectable(self) -> float | None:
        return None if self.sd is None else inference.detectable(self.sd, self.effect.n, ALPHA / self.family_size, POWER)

    @cached_property
    def pairs(self) -> int | None:
        if self.sd is None:
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
        if self.answer in ("as claimed", "not as claimed"):
            head += f" ({self.answer})"
        if self.refusals:
            return f"{head}: {'; '.join(self.refusals)}.{self._of_some_pairs}"
        kind = "mean paired difference" if claim.compare == "difference" else "change of the mean"
        parts = [f"{head}. {kind.capitalize()} {bounds(effect, claim.effect_unit)}, n = {effect.n} seeds"]
        parts.append(f"margin ± {claim.margin:g}{unit}")
        if claim.published is not None and self.published_within is not None:
            where = "inside" if self.published_within else "outside"
            published = f"{claim.published:+g}".replace("-", "−") if claim.published else "0"
            parts.append(f"the published {published}{unit} lies {where} the interval")
        parts.append(f"p = {self.p:.2g}, after Holm over {self.family_size} {self.p_holm:.2g}")
        exact = "exact sign-flip" if self.sign_flip.exact else "sign-flip"
        parts.append(f"{exact} p = {self.sign_flip.p:.2g}")
        if self.detectable is not None:
            parts.append(f"{effect.n} pairs find {self.detectable:.2g}{unit} with 80 % power")
        parts.append("no number of pairs would decide" if self.pairs is None else f"about {self.pairs} pairs would decide")
        parts += [f"{label(arm)}: {count} censored" for arm, count in self.missed.items() if count]
        return "; ".join(parts) + "." + "".join(f" Caution: {caution}." for caution in self.cautions)

    @property
    def _of_some_pairs(self) -> str:
        if self.effect.mean is None:
            return ""
        there = f"{self.effect.n} {'pair' if self.effect.n == 1 else 'pairs'}"
        return f" Of the {there} there are: {bounds(self.effect, self.claim.effect_unit)}."

    def plain(self) -> dict[str, Any]:
        """For ``claims.json``: every digit, None where there is no value."""
        claim = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.claim).items()}
        own = ("claim", "effect", "narrow", "sign_flip")
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
    arms = claim.arm, claim.baseline
    arm, baseline = _sides(sweep, claim, arms)
    a, b = _pairs(arm, baseline)
    refusals = [*_incomplete(sweep, arm, baseline), *_unfit(sweep, claim, arms)]
    effect, narrow = _effect(claim, a, b)
    if not refusals and effect.low is None:
        refusals.append(_no_interval(effect.n, b))
    differences, resolution = _differences(a, b)
    usable = not refusals
    versions = analysis.mixed_versions(run for run in sweep.runs if run.arm in arms)
    cautions = [f"the runs compared differ in {words}" for words in versions]
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
        p=inference.paired_t(differences) if usable else None,
        p_holm=None,
        family_size=size,
        sign_flip=inference.sign_flip(differences, resolution) if usable else None,
        small=False,
        sd=inference.student_interval(differences).sd / _unit(claim, b) if usable else None,
        missed={claim.arm: arm.missed, claim.baseline: baseline.missed} if claim.to_target else {},
        attribution=tuple(attribution),
    )


def _pairs(*sides: "_Side") -> list[np.ndarray]:
    """The values of the seeds that all of them have, each side's in one order."""
    seeds = [seed for seed in sides[0].values if all(seed in side.values for side in sides)]
    return [np.array([side.values[seed] for seed in seeds]) for side in sides]


def _differences(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """a - b, and how far off each may be: summaries keep what torch measured, in single precision.

    Differences that are equal but for that are made so, lest the t test take rounding for their spread.
    """
    resolution = float(np.finfo(np.float32).eps / 2 * (np.abs(a) + np.abs(b)).max(initial=0.0))
    differences = a - b
    if differences.size and np.ptp(differences) <= 2 * resolution:
        middle = np.median(differences)
        differences = np.full(differences.size, middle if abs(middle) > resolution else 0.0)
    return differences, resolution


def _unfit(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[str]:
    """Why the runs of these arms cannot be compared."""
    runs = [run for run in sweep.runs if run.arm in arms]
    return [*unlike(sweep, runs), *(one_at_a_time(sweep, runs) if claim.of_time else [])]


def _no_interval(n: int, baseline: np.ndarray) -> str:
    if n < 2:
        return "1 pair allows no interval; run more seeds" if n else "no pair to compare"
    return f"the baseline's mean must be clearly above 0 for a ratio, got {baseline.mean():.3g}; compare differences"


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


def _sides(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[_Side]:
    """Of each of these arms."""
    if claim.metric == DIVERGED:
        return [_diverged(sweep, arm, claim.scale) for arm in arms]
    requires = "convergence/target" if claim.to_target else None
    measure = Measure(claim.metric, claim.metric, claim.unit, "", "", claim.scale, requires)
    found = [analysis.outcomes(sweep, arm, measure) for arm in arms]
    if not claim.to_target:
        return [_Side(each.values, each.without) for each in found]
    horizon = _horizon([run for run in sweep.runs if run.arm in arms and run.status == "done"], claim.metric)
    return [_censored(each, None if horizon is None else claim.scale * horizon) for each in found]


def _censored(found: Outcomes, horizon: float | None) -> _Side:
    """Times to a target, where a run that missed it stands with the length of training."""
    # A run that diverged never reached it either, whatever it passed on the way.
    ended = ("missed the target", "diverged")
    misses = sorted(found.seeds(ended))
    without = {reason: seeds for reason, seeds in found.without.items() if reason not in ended}
    if horizon is None:
        there = tuple(sorted([*found.values, *misses]))
        return _Side({}, without | ({"length of training unknown": there} if there else {}))
    times = inference.censored([*found.values.values(), *[None] * len(misses)], horizon)
    # Beyond rounding: a run may reach it with its last validation.
    late = sum(time > horizon * (1 + 1e-6) for time in found.values.values())
    return _Side(dict(zip([*found.values, *misses], map(float, times), strict=True)), without, len(misses) + late)


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
            # Seven digits, as a published sweep keeps them, so that it is judged alike.
            lengths.append(float(f"{clock[-1]:.7g}") if len(clock) else 0.0)
        else:
            per = run.record.get("steps_per_epoch") if "epochs" in metric else 1
            lengths.append((run.record.get("steps") or 0) / per if per else 0.0)
    return min(lengths) if lengths and all(length > 0 for length in lengths) else None


def _incomplete(sweep: Sweep, arm: _Side, baseline: _Side) -> Iterable[str]:
    """Pairs without two values, named; there is no verdict on a part of what was planned."""
    for reason in sorted({*arm.without, *baseline.without}):
        seeds = {*arm.without.get(reason, ()), *baseline.without.get(reason, ())}
        yield f"{len(seeds)} of {len(sweep.seeds)} pairs are incomplete, {reason} ({name_seeds(seeds)})"


def _effect(claim: Claim, a: np.ndarray, b: np.ndarray) -> tuple[Estimate, tuple[float | None, float | None]]:
    """Arm against baseline with its 95 % interval, and the 90 % interval, in the claim's unit."""
    estimates = [inference.student_interval(a - b, level) for level in (inference.LEVEL, NARROW)]
    if claim.compare == "ratio":
        # Of a baseline below 0, more percent would be less.
        above = len(b) and b.mean() > 0
        ratios = [inference.ratio(a, b, each) if above else NO_RATIO for each in (inference.LEVEL, NARROW)]
        estimates = [
            replace(estimate, mean=_percent(each.value), sd=None, low=_percent(each.low), high=_percent(each.high))
            for estimate, each in zip(estimates, ratios, strict=True)
        ]
    return estimates[0], (estimates[1].low, estimates[1].high)


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (ratio - 1)


def _unit(claim: Claim, baseline: np.ndarray) -> float:
    """One unit of the effect in the metric's: a percent of the baseline's mean, for a ratio."""
    return float(baseline.mean()) / 100 if claim.compare == "ratio" else 1.0


def _attribution(sweep: Sweep, claim: Claim, control: str, *, comparable: bool) -> Attribution:
    """Over the seeds that all three arms have."""
    arm, baseline, other = _pairs(*_sides(sweep, claim, (claim.arm, claim.baseline, control)))
    effect, _ = _effect(claim, arm, baseline)
    there = effect.low is not None and not effect.low <= 0 <= effect.high
    share = None
    if there and comparable and effect.n == len(sweep.seeds):
        share = inference.ratio(other - baseline, arm - baseline)
    return Attribution(control, _effect(claim, other, baseline)[0], _effect(claim, arm, other)[0], share)


def spread(sweep: Sweep, claim: Claim) -> tuple[float, int] | None:
    """The sd of a claim's paired differences in its own unit, over n pairs; None where there is none."""
    a, b = _pairs(*_sides(sweep, claim, (claim.arm, claim.baseline)))
    sd = inference.student_interval(_differences(a, b)[0]).sd
    return None if sd is None or _unit(claim, b) <= 0 else (sd / _unit(claim, b), len(a))


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
