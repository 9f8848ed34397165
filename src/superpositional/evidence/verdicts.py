"""Judge claims (``records.claims``) from the paired runs of a sweep, by one rule that no result can bend.

- ``superior`` or ``inferior``: there are at least 6 pairs, and the paired t test and the sign-flip test, each adjusted
  after Holm over the claim's family, both reject "no effect" at 5 %; where one alone does, the direction is undecided;
- otherwise ``equivalent``: there are at least 6 pairs, 15 to say it without a caution, and the 90 % interval lies within ±
  the margin (two one-sided tests, Schuirmann 1987), which is not corrected over the family;
- otherwise ``inconclusive``, which never means equal.

Shares of runs that diverged are judged by exact tests (McNemar's is the sign-flip test of 0s and 1s). In any other metric a
run that diverged has the worst rank (``pairing.worst_ranks``), and such a claim is never equivalent. Where more than a
quarter of an arm's runs never reached the target, sign flips alone decide, a time is a bound and never equivalent. ``no
verdict`` is what a claim gets whose pairs are incomplete or whose runs cannot be compared; it still counts in its family.
With every verdict go n, the effect that n pairs could have found, and how many pairs would decide.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from superpositional.evidence import analysis, inference
from superpositional.evidence.inference import Estimate, differences
from superpositional.evidence.pairing import (
    discordant,
    incomplete,
    machines,
    one_at_a_time,
    pairs,
    sides,
    telltale,
    unlike,
    unmeasured,
    worst_ranks,
)
from superpositional.evidence.verdict_data import (
    ALPHA,
    LEAST_PAIRS,
    NARROW,
    NONE,
    POWER,
    SURE_PAIRS,
    Attribution,
    Verdict,
    lead,
    least_pairs,
)
from superpositional.format import label, number
from superpositional.records import Sweep
from superpositional.records.claims import DIVERGED, Claim

__all__ = ["ALPHA", "LEAST_PAIRS", "NARROW", "NONE", "POWER", "SURE_PAIRS", "Verdict", "declared_after"]
__all__ += ["judge", "lead", "least_pairs", "seen", "spread"]


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
    arms = claim.arm, claim.baseline
    arm, baseline = sides(sweep, claim, arms)
    a, b = pairs(arm, baseline)
    refusals = list(unmeasured(sweep, claim)) or [*incomplete(sweep, arm, baseline), *telltale(claim, arm, baseline)]
    refusals += _unfit(sweep, claim, arms)
    both = {claim.arm: arm, claim.baseline: baseline}
    lost = {name: len(side.diverged) for name, side in both.items() if side.diverged}
    mostly = {name: side for name, side in both.items() if side.mostly_censored}
    effect, narrow = _effect(claim, a, b, (arm.mostly_censored, baseline.mostly_censored))
    each, resolution = differences(a, b, claim.scale)
    tested = each
    if lost:
        tested, narrow = worst_ranks(arm, baseline, each, claim.better), (None, None)
    elif not refusals and effect.low is None and not mostly:
        refusals.append(_no_interval(effect.n, b))
    # Ranks, shares and censored times have no spread that t could use.
    by_t = not (lost or mostly or claim.metric == DIVERGED)
    usable = not refusals and len(tested) > 0
    runs = [run for run in sweep.runs if run.arm in arms]
    cautions = [f"the runs compared differ in {words}" for words in [*analysis.mixed_versions(runs), *machines(runs)]]
    sd = inference.student_interval(each).sd / _unit(claim, b) if usable and (by_t or claim.metric == DIVERGED) else None
    if sd == 0:
        more = f"; {LEAST_PAIRS} pairs would do" if effect.n < LEAST_PAIRS else ""
        cautions.append(f"all {effect.n} differences are the same up to rounding, no spread to judge by{more}")
        if claim.metric != DIVERGED:
            # An interval of no width would say more than n runs can.
            effect = replace(effect, low=None, high=None)
    all_seeds = len(sweep.seeds)
    cautions += [f"{n} of {all_seeds} runs of {label(name)} diverged and rank last" for name, n in lost.items()]
    if mostly:
        shares = [f"{label(name)} ({mostly[name].censored} of {len(mostly[name].values)})" for name in sorted(mostly)]
        what = "no size" if effect.low is effect.high is None else "a bound, no estimate"
        cautions.append(f"{what}: more than a quarter of the runs of {', '.join(shares)} never reached the target")
    if usable and claim.published is not None and (missed := arm.censored + baseline.censored):
        censored = f"{number(missed, 'run')} {'is' if missed == 1 else 'are'} censored here"
        cautions.append(f"{censored}, and the published value is not of restricted means")
    if usable and (late := arm.late + baseline.late):
        cautions.append(
            f"{number(late, 'run')} reached the target after the shortest run of the comparison had ended, and "
            f"{'stands' if late == 1 else 'stand'} with that"
        )
    flips = inference.sign_flip(tested, 0.0 if lost else resolution) if usable else None
    attribution = []
    for control in claim.controls:
        mixed = _unfit(sweep, claim, (*arms, control)) if usable else []
        cautions += [f"beside {label(control)}, {words}" for words in mixed]
        attribution.append(_attribution(sweep, claim, control, comparable=usable and not mixed))
    return Verdict(
        claim=claim,
        refusals=tuple(refusals),
        cautions=tuple(cautions),
        planned=all_seeds,
        effect=effect,
        narrow=narrow,
        n=len(tested),
        direction=int(np.sign(tested.sum())),
        p=(inference.paired_t(each) if by_t else flips.p) if usable else None,
        family_size=size,
        sign_flip=flips,
        sd=sd,
        missed={claim.arm: arm.missed, claim.baseline: baseline.missed} if claim.to_target else {},
        diverged=lost,
        attribution=tuple(attribution),
    )


def _unfit(sweep: Sweep, claim: Claim, arms: Sequence[str]) -> list[str]:
    runs = [run for run in sweep.runs if run.arm in arms]
    return [*unlike(sweep, runs), *(one_at_a_time(sweep, runs) if claim.of_time else [])]


def _no_interval(n: int, baseline: np.ndarray) -> str:
    if n < 2:
        return "1 pair allows no interval; run more seeds" if n else "no pair to compare"
    mean = f"{baseline.mean():.3g}"
    if n < LEAST_PAIRS and baseline.mean() > 0:
        return f"{n} pairs give no interval of a ratio (the baseline's mean is {mean}); run at least {LEAST_PAIRS} seeds"
    return f"the baseline's mean must be clearly above 0 for a ratio, got {mean}; compare differences"


def _decide(found: Verdict, p_holm: float | None, flip_holm: float | None) -> Verdict:
    # An effect that is not established has no share to give.
    without_shares = tuple(replace(each, share=None) for each in found.attribution)
    if found.refusals:
        return replace(found, attribution=without_shares)
    claim, enough = found.claim, found.n >= LEAST_PAIRS
    within = enough and found.narrow[0] is not None and -claim.margin < found.narrow[0] <= found.narrow[1] < claim.margin
    by_t, by_flips = p_holm < ALPHA, flip_holm < ALPHA
    # A time of which not even a bound is known has no direction either.
    sized = found.sd is not None or found.diverged or not found.effect.low is found.effect.high is None
    verdict, small, disagreement = "inconclusive", False, ""
    if enough and by_t and by_flips and sized:
        good = (found.direction > 0) == (claim.better == "higher")
        verdict, small = ("superior" if good else "inferior"), within
    elif enough and by_t != by_flips:
        small = within
    elif within:
        verdict = "equivalent"
    if enough and by_t != by_flips:
        cannot = found.n < least_pairs(found.family_size)
        why = f", which cannot with {found.n} pairs and {found.family_size} claims" if cannot else ""
        disagreement = f"after Holm the t test and the sign-flip test disagree at 5 %{why}"
    # It has decided; to show an interval of no width would say more than n runs can.
    narrow = (None, None) if found.sd == 0 and claim.metric != DIVERGED else found.narrow
    changed = {"verdict": verdict, "small": small, "p_holm": p_holm, "narrow": narrow, "disagreement": disagreement}
    decided = replace(found, **changed)
    few = f"{found.n} pairs are few: below {SURE_PAIRS} pairs a small effect is stated with this caution"
    cautions = (*found.cautions, *filter(None, [disagreement, few * decided.few_pairs]))
    return replace(decided, cautions=cautions, attribution=found.attribution if decided.established else without_shares)


def _effect(
    claim: Claim, a: np.ndarray, b: np.ndarray, mostly: tuple[bool, bool] = (False, False)
) -> tuple[Estimate, tuple[float | None, float | None]]:
    """Arm against baseline with its 95 % interval, and the 90 % interval, in the claim's unit.

    ``mostly`` says which of them is mostly censored: its mean time is longer than the restricted one, so of the interval
    only the end holds that lies nearer to 0, where it still says which is slower.
    """
    levels = inference.LEVEL, NARROW
    estimates = [inference.student_interval(a - b, level) for level in levels]
    if claim.metric == DIVERGED and len(a):
        exact = [discordant(a, b, claim.scale, level) for level in levels]
        estimates = [replace(each, low=low, high=high) for each, (low, high) in zip(estimates, exact, strict=True)]
    if claim.compare == "ratio":
        estimates = [analysis.relative(a, b, level) for level in levels]
    if not any(mostly):
        return estimates[0], (estimates[1].low, estimates[1].high)
    low, high = estimates[0].low, estimates[0].high
    at_least = low if mostly == (True, False) and low is not None and low > 0 else None
    at_most = high if mostly == (False, True) and high is not None and high < 0 else None
    return Estimate(len(a), None, None, at_least, at_most), (None, None)


def _unit(claim: Claim, baseline: np.ndarray) -> float:
    """One unit of the effect in the metric's: a percent of the baseline's mean, for a ratio."""
    return float(baseline.mean()) / 100 if claim.compare == "ratio" else 1.0


def _attribution(sweep: Sweep, claim: Claim, control: str, *, comparable: bool) -> Attribution:
    """Over the seeds that all three arms have."""
    three = sides(sweep, claim, (claim.arm, claim.baseline, control))
    arm, baseline, other = pairs(*three)
    most, most_baseline, most_other = (side.mostly_censored for side in three)
    effect, _ = _effect(claim, arm, baseline)
    there = effect.low is not None and not effect.low <= 0 <= effect.high
    share = None  # and withdrawn where the verdict establishes no effect
    # Runs that are equal in every pair, as those that all miss a target, would give a share of no width.
    whole = effect.n == len(sweep.seeds) and not (most or most_baseline or most_other)
    if there and comparable and whole and not np.array_equal(other, arm):
        share = inference.ratio(other - baseline, arm - baseline)
    beside = _effect(claim, other, baseline, (most_other, most_baseline))[0]
    return Attribution(control, beside, _effect(claim, arm, other, (most, most_other))[0], share)


def seen(sweep: Sweep, claim: Claim) -> np.ndarray:
    """A claim's paired differences in its own unit; none where they tell nothing."""
    both = sides(sweep, claim, (claim.arm, claim.baseline))
    a, b = pairs(*both)
    if any(telltale(claim, *both)) or len(a) < 2 or _unit(claim, b) <= 0 or any(side.mostly_censored for side in both):
        return np.zeros(0)
    return differences(a, b, claim.scale)[0] / _unit(claim, b)


def spread(sweep: Sweep, claim: Claim) -> tuple[float, int] | None:
    """The sd of a claim's paired differences in its own unit, over n pairs; None where there is none."""
    each = seen(sweep, claim)
    return (inference.student_interval(each).sd, len(each)) if len(each) else None


def declared_after(sweep: Sweep, digest: str | None) -> int:
    """How many of the runs were made without these very claims being declared with them."""
    return sum(run.record.get("claims") != digest for run in sweep.runs)
