"""Plan numbers of pairs, and measure how often the rule of ``verdicts`` errs.

``rows`` gives the pairs needed to find an effect of a given size, or to show that it is smaller, from the spread of the
paired differences: by the noncentral t distribution, at the level that Holm's correction asks of a family's hardest claim.
Effects are in units of the spread, or in the claims' own where a sweep's records tell the spread. ``planted`` gives how
often "equivalent" is false where the true effect is as large as the margin: 5 % where the assumptions of Student's t hold,
and more or less under a long tail.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from superpositional.evidence import inference, verdicts
from superpositional.evidence.inference import false_equivalence
from superpositional.evidence.verdicts import ALPHA, LEAST_PAIRS
from superpositional.format import Rows
from superpositional.records import Sweep, claims
from superpositional.records.claims import Claim

EFFECTS = (0.3, 0.5, 0.8, 1.0, 1.5)


@dataclass(frozen=True)
class Spread:
    """The sd of a claim's paired differences over n pairs, and the effects to plan for, in the claim's unit.

    ``family`` is the number of claims that are judged together with it.
    """

    name: str
    sd: float
    n: int
    unit: str
    effects: tuple[float, ...]
    family: int = 1


def spreads(sweep: Sweep, declared: str | None = None) -> list[Spread]:
    """Of every claim of a sweep whose pairs tell one; the effects are its margin and what was published.

    Raises:
        ClaimError: the sweep has no claims, or none whose pairs tell a spread.
    """
    _, asked = claims.of(sweep, declared)
    sizes = Counter(claim.family for claim in asked)
    found = []
    for claim in asked:
        spread = verdicts.spread(sweep, claim)
        # Fewer pairs, or differences that are all the same, are no pilot.
        if spread is not None and spread[0] > 0 and spread[1] >= LEAST_PAIRS:
            # A published 0 is an effect that no number of pairs finds.
            effects = sorted({claim.margin, abs(claim.published or claim.margin)})
            found.append(Spread(claim.id, *spread, claim.effect_unit, tuple(effects), sizes[claim.family]))
    if not found:
        raise claims.ClaimError(
            f"no claim of {sweep.name} has {LEAST_PAIRS} pairs whose differences are not all the same, so none tells a "
            "spread to plan with; run more seeds, or name others with --claims"
        )
    return found


def rows(effects: Sequence[float], powers: Sequence[float], family: int | None, found: Sequence[Spread] = ()) -> Rows:
    """A row for each effect: pairs to find it with each power, and to show that it is smaller, at the level of a family.

    ``family`` None is that of each spread.
    """
    to_find = [f"pairs to find it, {100 * power:g} %" for power in powers]
    to_exclude = [f"to show it is smaller, {100 * power:g} %" for power in powers]
    table: Rows = [("claim", "family of", "sd of differences", "effect", *to_find, *to_exclude)]
    # In units of the sd where nothing tells it.
    for spread in found or [Spread("any", 1.0, 0, "sd", tuple(effects))]:
        size = family or spread.family
        alpha, least = ALPHA / size, verdicts.least_pairs(size)
        unit = f" {spread.unit}".rstrip()
        sd = f"{spread.sd:.3g}{unit} (n = {spread.n})" if spread.n else "1 sd"
        for effect in spread.effects:
            find = [inference.pairs_to_detect(effect, spread.sd, alpha, power, least) for power in powers]
            fixed = {"alpha": ALPHA, "least": LEAST_PAIRS}
            exclude = [inference.pairs_for_equivalence(effect, spread.sd, power=power, **fixed) for power in powers]
            counts = ["> 1,000,000" if pairs is None else str(pairs) for pairs in (*find, *exclude)]
            table.append((spread.name, str(size), sd, f"{effect:g}{unit}", *counts))
    return table


def check(effects: Sequence[float], powers: Sequence[float], family: int | None) -> list[str]:
    wrong = [
        f"--effects must be finite and > 0, got {value:g}; 0.5 is half the sd of the differences"
        for value in effects
        if not 0 < value < math.inf
    ]
    wrong += [
        f"--power must lie between {ALPHA}, which the tests find where nothing is, and 1, got {value:g}; 0.8 is usual"
        for value in powers
        if not ALPHA < value < 1
    ]
    if family is not None and family < 1:
        wrong.append(f"--family must be >= 1, got {family}; it is the number of claims")
    return wrong


# Shapes of differences beside a sweep's own, as their quantiles; all with an sd that is small beside the margin.
_Q = (np.arange(20_000) + 0.5) / 20_000
SHAPES = {"normal": stats.norm.ppf(_Q), "Student t, 3 degrees of freedom": stats.t(3).ppf(_Q)}
SHAPES |= {"exponential": stats.expon.ppf(_Q), "log-normal": stats.lognorm(1).ppf(_Q)}
SIZES = (6, 10, 15, 30)
PLANTED = (
    "How often equivalent is false where the true effect is as large as the margin, by the number of pairs; nominally in "
    "5 % of cases. 20,000 draws each, less their mean; own: from {n} pairs that differ by one bit of one weight ({name}). "
    "Where nearly all differences are 0 the mean rests on few pairs, which a small sample misses."
)


def planted(sweep: Sweep, declared: Sequence[Claim]) -> tuple[str, Rows]:
    """How often an effect of exactly the margin is called equivalent: a caption, and a row for each shape and claim."""
    shapes = [(name, values, 10 * float(values.std())) for name, values in SHAPES.items()]
    for claim in declared:
        if len(each := verdicts.seen(sweep, claim)):
            zeros = f"{100 * np.mean(each == 0):.0f} % of them 0"
            shapes.append((f"own, {claim.id} ({claim.metric}, {zeros})", each, claim.margin))
    rows: Rows = [("differences", *(f"{n} pairs" for n in SIZES))]
    for name, values, margin in shapes:
        rows.append((name, *(f"{100 * false_equivalence(values, margin, n):.1f} %" for n in SIZES)))
    return PLANTED.format(n=len(sweep.seeds), name=sweep.name), rows
