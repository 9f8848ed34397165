"""How often "equivalent" is false where the true effect is as large as the margin.

Effects are planted: differences of several shapes, and those of a sweep whose arms differ by nothing that could matter
(Adam and the placebo), are moved to the margin, drawn again and judged by the rule of ``verdicts``. The rate is 5 % where
the assumptions of Student's t hold, and tells what a long tail does where they do not.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from superpositional.evidence import verdicts
from superpositional.evidence.inference import false_equivalence
from superpositional.format import Rows
from superpositional.records import Sweep
from superpositional.records.claims import Claim

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
