"""What stands in a report's tables?

The arms with their means and differences, what the term did, and the claims with their verdicts, each as Markdown for
readers, LaTeX for papers (booktabs, two columns of IEEEtran) and CSV with every digit for machines; the runs, their
environment and what tuned them. Functions of what `analysis`, `curves` and `verdicts` prepared; `report` writes them,
`page` shows them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from superpositional import format
from superpositional.evidence import analysis
from superpositional.evidence.analysis import Comparison, Outcomes
from superpositional.evidence.curves import Term
from superpositional.evidence.verdicts import Verdict
from superpositional.format import Rows, number, written
from superpositional.records import Sweep
from superpositional.records.measures import Measure
from superpositional.records.published import fingerprint

STATUS = "ended otherwise"
TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
    "−": "$-$",
    "+": "$+$",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$^\dagger$",
    "°": r"$^\circ$",
    "√": r"$\surd$",
}


def arm_rows(
    arms: Mapping[Measure, list[Outcomes]], comparisons: Mapping[Measure, list[Comparison]]
) -> list[tuple[str, ...]]:
    """The table's cells as readers see them; the last column exists only if some run did not simply end well."""
    header = ["arm", "n"]
    for measure in arms:
        header += [_heading(measure), f"difference ({measure.unit})" if measure.unit else "difference"]
        header += ["change (%)"] if measure.relative else []
    rows = []
    by_arm = {measure: {each.arm.arm: each for each in table} for measure, table in comparisons.items()}
    for every in zip(*arms.values(), strict=True):
        arm, reasons, cells = every[0].arm, {}, []
        for measure, outcomes in zip(arms, every, strict=True):
            comparison = by_arm[measure].get(arm)
            reasons |= {reason: seeds for reason, seeds in outcomes.without.items() if reason not in reasons}
            cells += [_mean(outcomes, measure.decimals) + _reached(outcomes)]
            cells += [_difference(comparison) if comparison else "baseline"]
            if measure.relative:
                cells.append(_percent(comparison) if comparison else "baseline")
        said = ", ".join(f"{len(seeds)} {reason}" for reason, seeds in reasons.items())
        rows.append((format.label(arm), f"{_done(every[0])} of {every[0].planned}", *cells, said))
    if not any(row[-1] for row in rows):
        return [tuple(header), *(row[:-1] for row in rows)]
    return [(*header, STATUS), *((*row[:-1], row[-1] or "–") for row in rows)]


def _heading(measure: Measure) -> str:
    return measure.heading or measure.name


def _done(outcomes: Outcomes) -> int:
    return outcomes.planned - len(outcomes.seeds(("diverged", "failed", *analysis.UNFINISHED)))


def _mean(outcomes: Outcomes, decimals: int) -> str:
    estimate = outcomes.estimate
    if estimate.mean is None:
        return "–"
    spread = " (one run)" if estimate.sd is None else f" ± {estimate.sd:.{decimals}f}"
    return f"{estimate.mean:.{decimals}f}{spread}"


def _reached(epochs: Outcomes) -> str:
    """A mean over the runs that reached the target is not the arm's mean: say how many those are."""
    if "missed the target" not in epochs.without:
        return ""
    return f" ({len(epochs.values)} of {_done(epochs)} reached it)"


def _difference(comparison: Comparison) -> str:
    estimate = comparison.estimate
    n, dagger = estimate.n, "†" if comparison.conditional else ""
    shown = comparison.zeros if comparison.same else format.bounds(estimate)
    return shown if n == comparison.arm.planned else f"{shown}{dagger} ({number(n, 'pair')})"


def _percent(comparison: Comparison) -> str:
    return "0" if comparison.same else format.bounds(comparison.change) + "†" * comparison.conditional


def arms_csv(arms: Mapping[Measure, list[Outcomes]], comparisons: Mapping[Measure, list[Comparison]]) -> str:
    """One row per arm and measure with every digit, for machines; an empty cell is "no value"."""
    estimate = ("n", "mean", "sd", "low", "high")
    reasons = (*analysis.CENSORED, *analysis.UNFINISHED)
    columns = [f"{prefix}_{key}" for prefix in ("arm", "difference") for key in estimate]
    rows: list[tuple[Any, ...]] = [("metric", "unit", "arm", "baseline", "planned", *columns, "conditional", *reasons)]
    for measure, table in arms.items():
        by_arm = {comparison.arm.arm: comparison for comparison in comparisons[measure]}
        for outcomes in table:
            comparison = by_arm.get(outcomes.arm)
            baseline = comparison.baseline.arm if comparison else outcomes.arm
            cells = [getattr(outcomes.estimate, key) for key in estimate]
            cells += [getattr(comparison.estimate, key) if comparison else None for key in estimate]
            cells.append(comparison.conditional if comparison else None)
            cells += [len(outcomes.without.get(reason, ())) for reason in reasons]
            rows.append((measure.metric, measure.unit, outcomes.arm, baseline, outcomes.planned, *cells))
    return written(rows)


def tex(rows: Rows, caption: str, name: str) -> str:
    """A two-column table for IEEEtran with booktabs; every cell is escaped, so no arm's name can break the paper."""
    head, *body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
    lines = [
        "% Written by `superpositional report`; needs \\usepackage{booktabs}.",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(caption)}}}",
        # A label takes no escapes.
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9._:-]+', '-', name)}}}",
        rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    # A blank line would end a caption's paragraph, and a bracket behind \\ be its argument.
    escaped = "".join(TEX.get(character, character) for character in " ".join(text.split()))
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


# The term ----------------------------------------------------------------------------------------------------------


def term_rows(terms: Sequence[Term]) -> Rows:
    """What the term did, a row for each arm: its size, the scalars it really changed, and when the losses part."""
    heads = ("arm", "runs", "precision", "share of the update (%)", "angle (°)", "scalars changed of touched")
    rows: Rows = [(*heads, "steps with a gradient", "steps with a change", "losses beside the baseline's")]
    for each in terms:
        changed = _of(each.changed, each.touched)
        if each.counted not in (0, each.runs):
            changed += f" (in {each.counted} of {each.runs} runs)"
        if each.changed is None and each.traced is not None:
            changed = f"{each.traced:.3g} in a traced step"
        rows.append(
            (
                format.label(each.arm),
                str(each.runs),
                each.precision,
                "–" if each.share is None else f"{100 * each.share:.3g}",
                "–" if each.angle is None else f"{each.angle:.3g}",
                changed,
                _of(each.steps_with_gradient, each.steps),
                _of(each.steps_with_change, each.steps),
                "baseline" if each.departure is None else each.departure.words,
            )
        )
    return rows


def terms_csv(terms: Sequence[Term]) -> str:
    """Every number of it, for machines; ``first`` holds ``seed:step`` for each pair that parts."""
    own = [field.name for field in fields(Term) if field.name != "departure"]
    rows: list[tuple[Any, ...]] = [(*own, "baseline", "pairs", "planned", "exact", "first")]
    for each in terms:
        cells: tuple[Any, ...] = (None,) * 5
        if (apart := each.departure) is not None:
            first = " ".join(f"{seed}:{step}" for seed, step in apart.first.items())
            cells = apart.baseline, len(apart.seeds), apart.planned, apart.exact, first
        rows.append((*(getattr(each, name) for name in own), *cells))
    return written(rows)


def _of(some: int | None, whole: int | None) -> str:
    if some is None:
        return "–"
    return f"{some:,}" + ("" if whole is None else f" of {whole:,}")


# Claims ------------------------------------------------------------------------------------------------------------


def claim_rows(verdicts: Sequence[Verdict]) -> Rows:
    """A row for each claim: what was published, what came out, what is to be said."""
    heads = (
        "claim",
        "verdict",
        "as claimed?",
        "ours, 95 % interval",
        "published",
        "margin",
        "n",
        "arm",
        "against",
        "metric",
    )
    rows: Rows = [(*heads, "found with 80 % power", "pairs for the margin", "pairs for the effect seen")]
    for verdict in verdicts:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        published = "–" if claim.published is None else f"{format.signed(claim.published, 2)} {unit}"
        if verdict.published_within is not None:
            published += " (inside)" if verdict.published_within else " (outside)"
        found = "–" if verdict.detectable is None else f"{verdict.detectable:.2g} {unit}"
        # Where there is a spread, no number of pairs is more than a million.
        none = "> 1,000,000" if verdict.decide else "–"
        pairs = [none if count is None else f"{count:,}" for count in (verdict.pairs, verdict.pairs_seen)]
        rows.append(
            (
                claim.id,
                verdict.words,
                verdict.answer,
                verdict.shown,
                published,
                f"± {claim.margin:g} {unit}",
                f"{verdict.n} of {verdict.planned}",
                format.label(claim.arm),
                format.label(claim.baseline),
                claim.metric,
                found,
                *pairs,
            )
        )
    return rows


def claims_csv(verdicts: Sequence[Verdict]) -> str:
    """Every number of every verdict, for machines; an empty cell is "no value"."""
    heads = (
        "claim",
        "arm",
        "baseline",
        "metric",
        "compare",
        "unit",
        "published",
        "margin",
        "family",
        "family_size",
        "planned",
    )
    tail = ("n", "effect", "low_95", "high_95", "low_90", "high_90", "p", "p_holm", "p_sign_flip", "verdict", "answer")
    last = ("small", "detectable", "pairs", "pairs_seen", "rare_failures", "smallest_margin", "diverged")
    rows: list[tuple[Any, ...]] = [(*heads, *tail, *last, "refusals")]
    for verdict in verdicts:
        claim, effect = verdict.claim, verdict.effect
        rows.append(
            (
                *(claim.id, claim.arm, claim.baseline, claim.metric, claim.compare, claim.effect_unit, claim.published),
                *(claim.margin, claim.family, verdict.family_size, verdict.planned),
                *(verdict.n, effect.mean, effect.low, effect.high, *verdict.narrow, verdict.p, verdict.p_holm),
                *(verdict.sign_flip and verdict.sign_flip.p, verdict.verdict, verdict.answer),
                *(getattr(verdict, name) for name in last[:-1]),
                *(sum(verdict.diverged.values()), "; ".join(verdict.refusals)),
            )
        )
    return written(rows)


def attribution_rows(verdicts: Sequence[Verdict]) -> Rows:
    """A row for each claim and control: what the control does by itself, and what the claim's arm does beyond it."""
    rows: Rows = [("claim", "arm", "its effect", "control", "control's effect", "arm beyond control", "n", "what stays")]
    for verdict in verdicts:
        unit = verdict.claim.effect_unit
        for each in verdict.attribution:
            share = each.share
            stays = "no finite interval"
            if verdict.verdict not in ("superior", "inferior"):
                stays = "no effect established"
            elif share is None:
                stays = "control incomplete or not comparable"
            elif share.low is not None:
                stays = f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]".replace("-", "−")
            rows.append(
                (
                    verdict.claim.id,
                    format.label(verdict.claim.arm),
                    verdict.shown,
                    format.label(each.arm),
                    format.bounds(each.control, unit),
                    format.bounds(each.beyond, unit),
                    str(each.beyond.n),
                    stays,
                )
            )
    return rows


# Runs --------------------------------------------------------------------------------------------------------------


def run_rows(sweep: Sweep, measures: Sequence[Measure]) -> Rows:
    """A row for each planned run, those that are missing too."""
    rows: Rows = [("arm", "seed", "status", *map(_heading, measures), "seconds", "what ended it")]
    runs = {(run.arm, run.seed): run for run in sweep.runs}
    for arm in sweep.arms:
        for seed in sweep.seeds:
            run = runs.get((arm, seed))
            if run is None:
                rows.append((format.label(arm), str(seed), "not run", *["–"] * (len(measures) + 2)))
                continue
            values = [(run.summary(measure.metric), measure) for measure in measures]
            cells = ["–" if v is None else f"{each.scale * v:.{each.decimals}f}" for v, each in values]
            seconds = run.record.get("wall_seconds")
            cells.append("–" if seconds is None else f"{seconds:.1f}")
            rows.append((format.label(arm), str(seed), run.status, *cells, run.record.get("error") or "–"))
    return rows


def environment_rows(sweep: Sweep) -> Rows:
    """What the runs were made with and of; several values of one thing stand side by side with their counts."""
    found: dict[str, Counter] = {}
    for run in sweep.runs:
        record = run.record
        stamp = {"code version": record.get("code"), "execution": record.get("execution"), "device": record.get("device")}
        stamp |= {"threads": (record.get("config") or {}).get("threads"), "machine": record.get("machine")}
        git = record.get("git") or {}
        stamp |= {"commit": git.get("commit"), "commit had changes": git.get("dirty")}
        stamp |= {"precision": ((record.get("config") or {}).get("trainer") or {}).get("precision")}
        for what in ("model", "data"):
            stamp |= {f"{what}: {key.replace('_', ' ')}": _listed(v) for key, v in (record.get(what) or {}).items()}
        for name, value in (stamp | record.get("versions", {})).items():
            if value is not None:
                found.setdefault(name, Counter())[str(value)] += 1
    rows: Rows = [("what", "value"), ("records judged, SHA-256", fingerprint(sweep))]
    for name, counts in found.items():
        several = [f"{value} ({number(count, 'run')})" for value, count in counts.items()]
        rows.append((name, next(iter(counts)) if len(counts) == 1 else ", ".join(several)))
    seconds = [run.record["wall_seconds"] for run in sweep.runs if run.record.get("wall_seconds") is not None]
    if seconds:
        rows.append(("time of all runs", f"{sum(seconds):.0f} s over {len(seconds)} of {len(sweep.runs)} runs"))
    return rows


def _listed(value: Any) -> Any:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, Mapping) else value


def tuning_rows(sweep: Sweep) -> Rows:
    """What the arms' settings were chosen from, where a search chose them."""
    rows: Rows = [("arm", "trials", "runs", "seconds", "best trial", "its settings")]
    for arm, entry in (sweep.tuned or {}).get("arms", {}).items():
        best = next((trial for trial in entry["trials"] if trial["trial"] == entry["best"]), None)
        values = (
            " ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in best["values"].items()
            )
            if best
            else "–"
        )
        seconds = entry["wall_seconds"]
        rows.append(
            (
                format.label(arm),
                str(entry["trials_recorded"]),
                str(entry["runs_recorded"]),
                "unknown" if seconds is None else f"{seconds:.0f}",
                entry["best"] or "–",
                values,
            )
        )
    return rows
