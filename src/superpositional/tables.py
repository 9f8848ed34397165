"""What stands in a report's tables?

The arms with their means and differences, and the claims with their verdicts, each as Markdown for readers, LaTeX for
papers (booktabs, two columns of IEEEtran) and CSV with every digit for machines; the runs, their environment and what
tuned them. Functions of what `analysis` and `verdicts` prepared; `report` writes them, `page` shows them.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from superpositional import analysis
from superpositional.analysis import EPOCHS_TO_TARGET, TEST_ACCURACY, Comparison, Measure, Outcomes
from superpositional.inference import Estimate
from superpositional.records import Sweep
from superpositional.verdicts import Verdict

Rows = list[tuple[str, ...]]

HEADER = ("arm", "n", "test accuracy (%)", "difference (points)", "epochs to target", "difference (epochs)")
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
}


def arm_rows(
    arms: Mapping[Measure, list[Outcomes]], comparisons: Mapping[Measure, list[Comparison]]
) -> list[tuple[str, ...]]:
    """The table's cells as readers see them; the last column exists only if some run did not simply end well."""
    rows = []
    by_arm = [{comparison.arm.arm: _difference(comparison) for comparison in table} for table in comparisons.values()]
    for accuracy, epochs in zip(*arms.values(), strict=True):
        differences = [table.get(accuracy.arm, "baseline") for table in by_arm]
        reasons = {**accuracy.without, **{k: v for k, v in epochs.without.items() if k not in accuracy.without}}
        ended = ", ".join(f"{len(seeds)} {reason}" for reason, seeds in reasons.items())
        n = f"{_done(accuracy)} of {accuracy.planned}"
        means = _mean(accuracy.estimate), _mean(epochs.estimate) + _reached(epochs)
        rows.append((analysis.label(accuracy.arm), n, means[0], differences[0], means[1], differences[1], ended))
    if not any(row[-1] for row in rows):
        return [HEADER, *(row[:-1] for row in rows)]
    return [(*HEADER, STATUS), *((*row[:-1], row[-1] or "–") for row in rows)]


def _done(outcomes: Outcomes) -> int:
    return outcomes.planned - len(outcomes.seeds(("diverged", "failed", *analysis.UNFINISHED)))


def _mean(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "–"
    return f"{estimate.mean:.2f}" + (" (one run)" if estimate.sd is None else f" ± {estimate.sd:.2f}")


def _reached(epochs: Outcomes) -> str:
    """A mean over the runs that reached the target is not the arm's mean: say how many those are."""
    if "missed the target" not in epochs.without:
        return ""
    return f" ({len(epochs.values)} of {_done(epochs)} reached it)"


def _difference(comparison: Comparison) -> str:
    n, dagger = comparison.estimate.n, "†" if comparison.conditional else ""
    if n == comparison.arm.planned:
        return analysis.bounds(comparison.estimate)
    return f"{analysis.bounds(comparison.estimate)}{dagger} ({n} pair{'' if n == 1 else 's'})"


def markdown(rows: Rows) -> str:
    """Rows, the first of them the headings, as a Markdown table."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows]
    return "".join([lines[0], f"|{' --- |' * len(rows[0])}\n", *lines[1:]])


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
    return _written(rows)


def _written(rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def tex(rows: Rows, caption: str, name: str) -> str:
    """A two-column table for IEEEtran with booktabs; every cell is escaped, so no arm's name can break the paper."""
    head, *body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
    lines = [
        "% Written by `superpositional report`; needs \\usepackage{booktabs}.",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(caption)}}}",
        rf"\label{{tab:{name}}}",
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
    return "".join(TEX.get(character, character) for character in text)


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
    rows: Rows = [(*heads, "found with 80 % power", "pairs to decide")]
    for verdict in verdicts:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        published = "–" if claim.published is None else f"{analysis.signed(claim.published, 2)} {unit}"
        if verdict.published_within is not None:
            published += " (inside)" if verdict.published_within else " (outside)"
        found = "–" if verdict.detectable is None else f"{verdict.detectable:.2g} {unit}"
        # Where there is a spread, no number of pairs is more than a million.
        pairs = str(verdict.pairs) if verdict.pairs is not None else "> 1,000,000" if verdict.sd else "–"
        rows.append(
            (
                claim.id,
                verdict.words,
                verdict.answer,
                analysis.bounds(verdict.effect, unit),
                published,
                f"± {claim.margin:g} {unit}",
                f"{verdict.effect.n} of {verdict.planned}",
                analysis.label(claim.arm),
                analysis.label(claim.baseline),
                claim.metric,
                found,
                pairs,
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
    rows: list[tuple[Any, ...]] = [(*heads, *tail, "small", "detectable", "pairs", "refusals")]
    for verdict in verdicts:
        claim, effect = verdict.claim, verdict.effect
        rows.append(
            (
                *(claim.id, claim.arm, claim.baseline, claim.metric, claim.compare, claim.effect_unit, claim.published),
                *(claim.margin, claim.family, verdict.family_size, verdict.planned),
                *(effect.n, effect.mean, effect.low, effect.high, *verdict.narrow, verdict.p, verdict.p_holm),
                *(verdict.sign_flip and verdict.sign_flip.p, verdict.verdict, verdict.answer),
                *(verdict.small, verdict.detectable, verdict.pairs, "; ".join(verdict.refusals)),
            )
        )
    return _written(rows)


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
                    analysis.label(verdict.claim.arm),
                    analysis.bounds(verdict.effect, unit),
                    analysis.label(each.arm),
                    analysis.bounds(each.control, unit),
                    analysis.bounds(each.beyond, unit),
                    str(each.beyond.n),
                    stays,
                )
            )
    return rows


# Runs --------------------------------------------------------------------------------------------------------------


def run_rows(sweep: Sweep) -> Rows:
    """A row for each planned run, those that are missing too."""
    rows: Rows = [("arm", "seed", "status", "test accuracy (%)", "epochs to target", "seconds", "what ended it")]
    runs = {(run.arm, run.seed): run for run in sweep.runs}
    for arm in sweep.arms:
        for seed in sweep.seeds:
            run = runs.get((arm, seed))
            if run is None:
                rows.append((analysis.label(arm), str(seed), "not run", "–", "–", "–", "–"))
                continue
            accuracy, epochs = (run.summary(measure.metric) for measure in (TEST_ACCURACY, EPOCHS_TO_TARGET))
            seconds = run.record.get("wall_seconds")
            rows.append(
                (
                    analysis.label(arm),
                    str(seed),
                    run.status,
                    "–" if accuracy is None else f"{100 * accuracy:.2f}",
                    "–" if epochs is None else f"{epochs:.2f}",
                    "–" if seconds is None else f"{seconds:.1f}",
                    run.record.get("error") or "–",
                )
            )
    return rows


def environment_rows(sweep: Sweep) -> Rows:
    """What the runs were made with; several values of one thing stand side by side with their counts."""
    found: dict[str, Counter] = {}
    for run in sweep.runs:
        record = run.record
        stamp = {"code version": record.get("code"), "execution": record.get("execution"), "device": record.get("device")}
        stamp |= {"threads": (record.get("config") or {}).get("threads"), "machine": record.get("machine")}
        git = record.get("git") or {}
        stamp |= {"commit": git.get("commit"), "commit had changes": git.get("dirty")}
        for name, value in (stamp | record.get("versions", {})).items():
            if value is not None:
                found.setdefault(name, Counter())[str(value)] += 1
    rows: Rows = [("what", "value")]
    for name, counts in found.items():
        several = [f"{value} ({count} runs)" for value, count in counts.items()]
        rows.append((name, next(iter(counts)) if len(counts) == 1 else ", ".join(several)))
    seconds = [run.record["wall_seconds"] for run in sweep.runs if run.record.get("wall_seconds") is not None]
    if seconds:
        rows.append(("time of all runs", f"{sum(seconds):.0f} s over {len(seconds)} of {len(sweep.runs)} runs"))
    return rows


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
                analysis.label(arm),
                str(entry["trials_recorded"]),
                str(entry["runs_recorded"]),
                "unknown" if seconds is None else f"{seconds:.0f}",
                entry["best"] or "–",
                values,
            )
        )
    return rows
