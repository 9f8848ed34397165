"""How often is a verdict given where there is nothing to find?

Takes a sweep of many seeds whose arms differ by nothing that could matter (Adam and the placebo), cuts the seeds into
disjoint groups, judges every claim in each group by itself, and counts: the share of ``superior`` and ``inferior`` among
them is the rate of false verdicts, 5 % if all assumptions hold, with its exact interval (Clopper and Pearson 1934). One
sweep of real runs says more of the whole chain, pairing and censoring included, than any simulation. Read by the command
line.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from superpositional import analysis, claims, figures, ink, tables, verdicts
from superpositional.claims import Claim
from superpositional.inference import clopper_pearson, false_equivalence
from superpositional.records import Sweep, load_sweep, write_json
from superpositional.verdicts import Verdict


@dataclass(frozen=True)
class Calibration:
    """One claim over disjoint groups of seeds. ``judged`` leaves out groups without a verdict, which are ``refused``.

    In ``same`` of them all differences are 0: there no other verdict was possible.
    """

    claim: Claim
    size: int
    counts: Counter
    p_values: tuple[float, ...]
    same: int

    @property
    def judged(self) -> int:
        return sum(self.counts.values()) - self.refused

    @property
    def refused(self) -> int:
        return self.counts[verdicts.NONE]

    @property
    def false(self) -> int:
        return self.counts["superior"] + self.counts["inferior"]

    @property
    def fallible(self) -> int:
        """Groups in which a false verdict was possible."""
        return self.judged - self.same

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, of the share of false verdicts."""
        return clopper_pearson(self.false, self.judged) if self.judged else None

    @property
    def sentence(self) -> str:
        name = f"{self.claim.id} ({self.claim.metric})"
        if self.interval is None:
            return f"{name}: no group of {self.size} pairs could be judged."
        refused = f", {self.refused} group{'' if self.refused == 1 else 's'} without a verdict" if self.refused else ""
        return (
            f"{name}: {self.false} of {self.judged} groups of {self.size} pairs were called superior or inferior, "
            f"{rate(self.false, self.judged)} (nominal: 5 %); "
            f"{self.counts['equivalent']} equivalent, {self.counts['inconclusive']} inconclusive{refused}; in {self.same} "
            "groups all differences are exactly 0."
        )


def rate(false: int, of: int) -> str:
    """``0.0 % [0.0, 10.6]``, with its exact 95 % interval."""
    low, high = clopper_pearson(false, of)
    return f"{100 * false / of:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


# Shapes of differences beside a sweep's own, as their quantiles; all with an sd that is small beside the margin.
_Q = (np.arange(20_000) + 0.5) / 20_000
SHAPES = {"normal": stats.norm.ppf(_Q), "Student t, 3 degrees of freedom": stats.t(3).ppf(_Q)}
SHAPES |= {"exponential": stats.expon.ppf(_Q), "log-normal": stats.lognorm(1).ppf(_Q)}
SIZES = (6, 10, 15, 30)
PLANTED = (
    "How often equivalent is false where the true effect is as large as the margin, by the number of pairs; nominally in "
    "5 % of cases. 20,000 draws each, less their mean; own: from {n} pairs that differ by one bit of one weight ({name}). "
    "Where nearly all differences are 0 the mean rests on few pairs, which a small sample misses. "
    "`superpositional calibrate outputs/published/{name}` makes it again."
)


def planted_rows(sweep: Sweep, declared: Sequence[Claim]) -> tables.Rows:
    """How often an effect of exactly the margin is called equivalent, for several shapes and a sweep's own differences."""
    shapes = [(name, values, 10 * float(values.std())) for name, values in SHAPES.items()]
    own = []
    for claim in declared:
        each = verdicts.seen(sweep, claim)
        zeros = f"{100 * np.mean(each == 0):.0f} % of them 0" if len(each) else ""
        own.append((f"own, {claim.id} ({claim.metric}, {zeros})", each, claim.margin))
    rows: tables.Rows = [("differences", *(f"{n} pairs" for n in SIZES))]
    for name, values, margin in shapes + [each for each in own if len(each[1])]:
        rows.append((name, *(f"{100 * false_equivalence(values, margin, n):.1f} %" for n in SIZES)))
    return rows


def groups(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Disjoint groups of so many seeds, in their order; what is left over at the end is in none.

    Raises:
        ValueError: fewer seeds than one group, or groups in which nothing could be found.
    """
    if size < verdicts.LEAST_PAIRS:
        raise ValueError(f"--size must be >= {verdicts.LEAST_PAIRS}, got {size}; fewer pairs never give such a verdict")
    if len(seeds) < size:
        raise ValueError(f"--size must be at most the number of seeds, {len(seeds)}, got {size}; run more seeds")
    return [tuple(seeds[start : start + size]) for start in range(0, len(seeds) - size + 1, size)]


def calibrate(sweep: Sweep, declared: Sequence[Claim], size: int = verdicts.LEAST_PAIRS) -> list[Calibration]:
    """Judge every claim alone in every group."""
    parts = groups(sweep.seeds, size)
    found = []
    for claim in declared:
        judged = [verdicts.judge(_only(sweep, seeds), [claim])[0] for seeds in parts]
        found.append(_count(claim, size, judged))
    return found


def write_calibration(folder: str | Path, out: str | Path | None = None, *, size: int, declared: str | None = None) -> str:
    """Write ``calibration.md``, ``.json`` and a figure to ``out`` (default: ``<folder>/report``); return them in words.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ValueError: too few seeds, or claims that cannot be judged.
    """
    sweep = load_sweep(folder)
    out = Path(folder) / "report" if out is None else Path(out)
    _, asked = claims.of(sweep, declared)
    if not asked:
        raise claims.ClaimError(
            f"no claim to judge in {sweep.name}: none was declared, or it has one arm; name others with --claims"
        )
    found = calibrate(sweep, asked, size)
    whole = verdicts.judge(sweep, asked)
    parts = groups(sweep.seeds, size)
    rows = [
        (
            "claim",
            "groups",
            "superior",
            "inferior",
            "equivalent",
            "inconclusive",
            "no verdict",
            "superior or inferior",
            "all differences 0",
        )
    ]
    for each in found:
        share = rate(each.false, each.judged) if each.judged else "–"
        counts = [str(each.counts[name]) for name in ("superior", "inferior", "equivalent", "inconclusive", verdicts.NONE)]
        rows.append((each.claim.id, str(len(parts)), *counts, share, str(each.same)))
    over = sweep.seeds[size * len(parts) :]
    rest = f", {len(over)} left over ({analysis.name_seeds(over)})" if over else ""
    head = (
        f"{analysis.progress(sweep).capitalize()}. {len(sweep.seeds)} seeds of {sweep.name} in {len(parts)} disjoint "
        f"groups of {size}{rest}; each claim judged in each group by itself. Where the arms differ by nothing, superior "
        "or inferior is a false verdict, at a nominal rate of 5 %. Brackets: Clopper and Pearson, 95 %. All seeds together:"
    )
    bullets = "".join(f"- {text}\n" for text in [each.sentence for each in found] + [verdict.sentence for verdict in whole])
    planted = PLANTED.format(n=len(sweep.seeds), name=sweep.name)
    text = f"{head}\n\n{tables.markdown(rows)}\n{bullets}\n{planted}\n\n{tables.markdown(planted_rows(sweep, asked))}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "calibration.md").write_text(text, encoding="utf-8", newline="\n")
    write_json(out / "calibration.json", {"sweep": sweep.name, "size": size, "claims": [_plain(each) for each in found]})
    with ink.style():
        figure, ax = ink.column_figure(2.4 + 0.14 * figures.legend_rows([each.claim.id for each in found]))
        p_values(ax, found)
        files = ink.save(figure, out / "figures" / "calibration", {"sweep": sweep.name, "runs": analysis.progress(sweep)})
    return "\n".join([text, *map(str, [out / "calibration.md", out / "calibration.json", *files])])


def p_values(ax: Axes, table: Sequence[Calibration]) -> Axes:
    """The share of groups with a p of at most so much; the diagonal is what nothing but chance gives."""
    ax.plot([0, 1], [0, 1], color="0.45", linewidth=0.8, linestyle=(0, (4, 2)))
    for index, each in enumerate(table):
        p = np.sort(each.p_values)
        if len(p):
            look = ink.drawn_as(index)
            x, y = np.concatenate([[0], p, [1]]), np.concatenate([[0], np.arange(1, len(p) + 1), [len(p)]]) / len(p)
            every = max(1, len(x) // 8)
            ax.step(
                x, y, where="post", label=f"{each.claim.id} ({len(p)} groups)", markevery=(index % every, every), **look
            )
    ax.axvline(verdicts.ALPHA, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="p of the paired $t$ test", ylabel="share of groups with at most that")
    title = f"groups of {table[0].size} pairs"
    if any(each.p_values for each in table):
        figures.legend_above(ax, title)
    else:
        ax.set_title(f"{title}: none could be judged", loc="left")
    return ax


def _only(sweep: Sweep, seeds: Sequence[int]) -> Sweep:
    return replace(sweep, seeds=tuple(seeds), runs=tuple(run for run in sweep.runs if run.seed in seeds))


def _count(claim: Claim, size: int, judged: Sequence[Verdict]) -> Calibration:
    p_values = tuple(verdict.p for verdict in judged if verdict.p is not None)
    same = sum(verdict.sd == 0 and verdict.effect.mean == 0 for verdict in judged)
    return Calibration(claim, size, Counter(verdict.verdict for verdict in judged), p_values, same)


def _plain(found: Calibration) -> dict:
    low_high = None if found.interval is None else list(found.interval)
    counts = {name: found.counts[name] for name in ("superior", "inferior", "equivalent", "inconclusive", verdicts.NONE)}
    return {
        "claim": found.claim.id,
        "counts": counts,
        "false": found.false,
        "judged": found.judged,
        "interval_95": low_high,
    }
