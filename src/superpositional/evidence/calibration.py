"""How often "equivalent" is false where the true effect is as large as the margin.

Effects are planted: differences of several shapes, and those of a sweep whose arms differ by nothing that could matter
(Adam and the placebo), are moved to the margin, drawn again and judged by the rule of ``verdicts``. The rate is 5 % where
the assumptions of Student's t hold, and tells what a long tail does where they do not.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from superpositional import format
from superpositional.evidence import analysis, verdicts
from superpositional.evidence.inference import false_equivalence
from superpositional.format import Rows
from superpositional.records import Sweep, claims, load_sweep
from superpositional.records.claims import Claim

# Shapes of differences beside a sweep's own, as their quantiles; all with an sd that is small beside the margin.
_Q = (np.arange(20_000) + 0.5) / 20_000
SHAPES = {"normal": stats.norm.ppf(_Q), "Student t, 3 degrees of freedom": stats.t(3).ppf(_Q)}
SHAPES |= {"exponential": stats.expon.ppf(_Q), "log-normal": stats.lognorm(1).ppf(_Q)}
SIZES = (6, 10, 15, 30)
PLANTED = (
    "How often equivalent is false where the true effect is as large as the margin, by the number of pairs; nominally in "
    "5 % of cases. 20,000 draws each, less their mean; own: from {n} pairs that differ by one bit of one weight ({name}). "
    "Where nearly all differences are 0 the mean rests on few pairs, which a small sample misses. "
    "`superpositional calibrate outputs/published/{name} --out outputs/{name}` makes it again."
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


def write_calibration(folder: str | Path, out: str | Path | None = None, *, declared: str | None = None) -> str:
    """Write ``calibration.md`` to ``out`` (default: ``<folder>/report``) and return it in words.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ValueError: claims that cannot be judged.
    """
    sweep = load_sweep(folder)
    out = Path(folder) / "report" if out is None else Path(out)
    _, asked = claims.of(sweep, declared)
    if not asked:
        raise claims.ClaimError(
            f"no claim to judge in {sweep.name}: none was declared, or it has one arm; name others with --claims"
        )
    caption, rows = planted(sweep, asked)
    whole = "".join(f"- {verdict.sentence}\n" for verdict in verdicts.judge(sweep, asked))
    text = f"{caption}\n\n{format.markdown(rows)}\n{analysis.progress(sweep).capitalize()}; all seeds together:\n\n{whole}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "calibration.md").write_text(text, encoding="utf-8", newline="\n")
    return f"{text}\n{out / 'calibration.md'}"
