"""What does a reader get?

From a sweep's folder (running, finished or published) two figures, one table in three formats, one sentence per arm and
measure, and one per arm against the placebo. From a search's folder what its trials cost and found, and no comparison:
tuning seeds select, they do not test. Everything is rebuilt from records alone: same records, same bytes. Tables use the
runs' summaries, which publishing keeps exact; only Fig. 1 reads curves, which publishing thins.

The command line prints ``Report.text``; `update_readme` puts the same words where readers look first.
"""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from superpositional import analysis, figures, tuning
from superpositional.analysis import EPOCHS_TO_TARGET, TEST_ACCURACY, Comparison, Estimate, Outcomes
from superpositional.ledger import ledger
from superpositional.records import Sweep, load_sweep

HEADER = ("arm", "n", "test accuracy (%)", "difference (points)", "epochs to target", "difference (epochs)")
STATUS = "ended otherwise"
# The arm against which the others are held too: Adam but for one bit.
CONTROL = "placebo"
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


class ReportError(ValueError):
    """A sweep, or a file to write to, that cannot be reported; the message names the cure."""


@dataclass(frozen=True)
class Report:
    """A sweep's results in words, and the files that show them. ``table`` is Markdown, ``lead`` the answer in short."""

    name: str
    caption: str
    table: str
    lead: str
    sentences: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def markdown(self) -> str:
        bullets = "".join(f"- {sentence}\n" for sentence in self.sentences)
        details = f"<details><summary>Each comparison in a sentence</summary>\n\n{bullets}\n</details>\n" if bullets else ""
        return f"{self.lead}\n\n{self.caption}\n\n{self.table}\n{details}"

    @property
    def text(self) -> str:
        """What a terminal shows."""
        bullets = "".join(f"- {sentence}\n" for sentence in self.sentences)
        files = "".join(f"{path}\n" for path in self.files)
        return f"{self.caption}\n\n{self.table}\n{bullets}\n{self.lead}\n\n{files}"


def write_report(folder: str | Path, out: str | Path | None = None) -> Report:
    """Write figures and tables of a sweep to ``out`` (default: ``<folder>/report``) and return them in words.

    An unfinished sweep is reported as unfinished, on every figure and table. A search gets a report of its own kind.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ReportError: no run has finished, or none has what the figures show; nothing is written then.
    """
    sweep = load_sweep(folder)
    out = Path(folder) / "report" if out is None else Path(out)
    if sweep.search is not None:
        return _search_report(sweep, folder, out)
    curves = analysis.learning_curves(sweep)
    _check(sweep, curves, folder)
    arms = {
        measure: [analysis.outcomes(sweep, arm, measure) for arm in sweep.arms]
        for measure in (TEST_ACCURACY, EPOCHS_TO_TARGET)
    }
    held = [arm for arm in sweep.arms if sweep.baseline(arm) != arm]
    comparisons = {measure: [analysis.compare(sweep, arm, measure) for arm in held] for measure in arms}
    caption = _caption(sweep, comparisons)
    rows = _rows(arms, comparisons)
    table = _markdown(rows)
    files = _write_figures(sweep, curves, comparisons[TEST_ACCURACY], out / "figures")
    texts = {"md": f"{caption}\n\n{table}", "csv": _csv(arms, comparisons), "tex": _tex(sweep, caption, rows)}
    for suffix, text in texts.items():
        path = out / "tables" / f"results.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    sentences = [comparison.sentence for measure in comparisons for comparison in comparisons[measure]]
    # The control of each baseline, at the same swept values.
    controls = {sweep.baseline(arm): arm for arm in held if arm.split(",")[0] == CONTROL}
    rest = [(arm, controls.get(sweep.baseline(arm), arm)) for arm in held]
    sentences += [analysis.compare(sweep, arm, TEST_ACCURACY, to).sentence for arm, to in rest if to != arm]
    return Report(sweep.name, caption, table, _lead(sweep, comparisons), tuple(sentences), tuple(files))


def update_readme(readme: str | Path, report: Report) -> None:
    """Replace what stands between ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->`` by the report's words.

    Raises:
        ReportError: the file does not hold exactly one such pair of markers.
    """
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    start, end = f"<!-- results:{report.name} -->", f"<!-- /results:{report.name} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(end) < text.index(start):
        raise ReportError(f"{readme} must hold the line {start} once and after it {end} once; add them where results go")
    before, rest = text.split(start)
    after = rest.split(end)[1]
    readme.write_text(f"{before}{start}\n{report.markdown}{end}{after}", encoding="utf-8", newline="\n")


def _lead(sweep: Sweep, comparisons: dict) -> str:
    """The answer in short, and no more than the intervals allow."""
    if not any(comparisons.values()):
        return "One arm: nothing to compare."
    baseline = _baseline(sweep)
    parts = []
    for measure, table in comparisons.items():
        apart = [c for c in table if c.verdict.startswith("The interval excludes 0:")]
        named = [f"{analysis.label(c.arm.arm)} {analysis.bounds(c.estimate, measure.unit)}" for c in apart]
        # An interval of some pairs speaks of those alone, and says so.
        some_pairs = [c for c in table if c.verdict.startswith("The interval excludes 0 over these pairs only")]
        named += [
            f"{analysis.label(c.arm.arm)} {analysis.bounds(c.estimate, measure.unit)} over {c.estimate.n} of "
            f"{c.arm.planned} pairs alone"
            for c in some_pairs
        ]
        some = any(c.estimate.low is not None for c in table)
        none = f"no arm's interval against {baseline} excludes 0" if some else f"no interval against {baseline} to speak of"
        parts.append(f"{measure.name}: {', '.join(named) or none}")
    # What has no pair left has no interval either, and that may be the result.
    lost = Counter((run.arm, run.status) for run in sweep.runs if run.status in ("diverged", "failed"))
    ended = [f"{analysis.label(arm)} {status} in {n} of {len(sweep.seeds)} runs" for (arm, status), n in lost.items()]
    ends = f" Ended otherwise: {'; '.join(ended)}." if ended else ""
    waiting = " The sweep is unfinished, so this is an interim look." if sweep.missing else ""
    return f"**In short.** {'; '.join(parts).capitalize()}.{ends}{waiting}"


def _baseline(sweep: Sweep) -> str:
    """What the arms are held to, in words."""
    found = {sweep.baseline(arm) for arm in sweep.arms}
    first = analysis.label(sweep.arms[0])
    return first if len(found) == 1 else f"{first.split(',')[0]} at the same values"


def _check_begun(sweep: Sweep, folder: str | Path) -> None:
    if not any(run.status == "done" for run in sweep.runs):
        raise ReportError(
            f"nothing to show in {folder}: {analysis.progress(sweep)}; start or resume it with "
            f"`superpositional sweep {sweep.name}` and report again once a run has finished"
        )


def _check(sweep: Sweep, curves: list, folder: str | Path) -> None:
    _check_begun(sweep, folder)
    if not any(curve.n for curve in curves):
        raise ReportError(
            f"nothing to draw in {folder}: no finished run logged val/accuracy; "
            "report a sweep of a task that validates its accuracy at each epoch's end"
        )


def _write_figures(sweep: Sweep, curves: list, comparisons: list[Comparison], out: Path) -> list[Path]:
    provenance, note = _provenance(sweep), _note(sweep)
    with figures.style():
        figure, ax = figures.column_figure(2.6 + 0.06 * len(curves) + 0.15 * (note.count("\n") + bool(note)))
        figures.learning_curves(ax, curves, note=note)
        files = figures.save(figure, out / "fig1", provenance)
        if comparisons:
            figure, ax = figures.column_figure(0.9 + 0.33 * len(comparisons) + 0.15 * note.count("\n"))
            figures.paired_differences(ax, comparisons, note=note)
            files += figures.save(figure, out / "paired_differences", provenance)
    return files


def _provenance(sweep: Sweep) -> dict[str, str]:
    codes = sorted({str(run.record.get("code")) for run in sweep.runs if run.status == "done"})
    return {"sweep": sweep.name, "runs": analysis.progress(sweep), "code": ", ".join(codes)}


def _note(sweep: Sweep) -> str:
    """What a figure must say of runs that are not done, in lines; nothing where all are."""
    complete = not sweep.missing and all(run.status == "done" for run in sweep.runs)
    return "" if complete else analysis.progress(sweep).replace("; ", "\n")


def _title(sweep: Sweep) -> str:
    question = " ".join(sweep.question.split())
    if not question:
        return f"Sweep {sweep.name}."
    return f"Sweep {sweep.name}: {question}{'' if question.endswith(('?', '.')) else '.'}"


def _caption(sweep: Sweep, comparisons: dict) -> str:
    every = [comparison for table in comparisons.values() for comparison in table]
    parts = [_title(sweep)]
    parts.append(f"{analysis.progress(sweep).capitalize()}. Mean ± sd over finished runs.")
    if sweep.left_out:
        named = ", ".join(f"{count} of {analysis.label(arm)}" for arm, count in sweep.left_out.items())
        parts.append(f"Left out, of another config or code version or an arm not planned: records in the folder, {named}.")
    if every:
        baseline, n = _baseline(sweep), len(every)
        parts.append(f"Differences to {baseline} are paired by seed; brackets are Student-t 95 % intervals,")
        parts.append(f"not corrected for multiple comparisons ({n} of them).")
    if (found := sweep.tuned) is not None:
        parts.append(f"Each arm's settings: the best of its {found['trials']} trials in {found['sweep']}, by")
        parts.append(f"{found['metric']} on {len(found['tuning_seeds'])} other seeds, listed in sweep.json.")
    if targets := sorted({run.summary("convergence/target") for run in sweep.runs if run.status == "done"} - {None}):
        listed = ", ".join(f"{100 * target:g} %" for target in targets)
        parts.append(f"Target: {listed} validation accuracy.")
    if any(comparison.conditional for comparison in every):
        parts.append("†: conditional, over the pairs that gave a value; others ended without one, as listed.")
    if mixed := analysis.mixed_versions(sweep.runs):
        parts.append(f"Caution, the runs differ in {'; '.join(mixed)}.")
    return " ".join(parts)


def _rows(arms: dict, comparisons: dict) -> list[tuple[str, ...]]:
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


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows]
    return "".join([lines[0], f"|{' --- |' * len(rows[0])}\n", *lines[1:]])


def _csv(arms: dict, comparisons: dict) -> str:
    """One row per arm and measure with every digit, for machines; an empty cell is "no value"."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    estimate = ("n", "mean", "sd", "low", "high")
    reasons = (*analysis.CENSORED, *analysis.UNFINISHED)
    columns = [f"{prefix}_{key}" for prefix in ("arm", "difference") for key in estimate]
    writer.writerow(("metric", "unit", "arm", "baseline", "planned", *columns, "conditional", *reasons))
    for measure, table in arms.items():
        by_arm = {comparison.arm.arm: comparison for comparison in comparisons[measure]}
        for outcomes in table:
            comparison = by_arm.get(outcomes.arm)
            baseline = comparison.baseline.arm if comparison else outcomes.arm
            cells = [getattr(outcomes.estimate, key) for key in estimate]
            cells += [getattr(comparison.estimate, key) if comparison else None for key in estimate]
            cells.append(comparison.conditional if comparison else None)
            cells += [len(outcomes.without.get(reason, ())) for reason in reasons]
            writer.writerow((measure.metric, measure.unit, outcomes.arm, baseline, outcomes.planned, *cells))
    return file.getvalue()


def _tex(sweep: Sweep, caption: str, rows: list[tuple[str, ...]]) -> str:
    """A two-column table for IEEEtran with booktabs; every cell is escaped, so no arm's name can break the paper."""
    head, *body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in rows]
    lines = [
        "% Written by `superpositional report`; needs \\usepackage{booktabs}.",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(caption)}}}",
        rf"\label{{tab:{sweep.name}}}",
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


# Searches ----------------------------------------------------------------------------------------------------------


def _search_report(sweep: Sweep, folder: str | Path, out: Path) -> Report:
    """What a search cost and found. It names each arm's best trial and no best arm."""
    _check_begun(sweep, folder)
    found = ledger(sweep)
    if not any(trial["n"] for entry in found["arms"].values() for trial in entry["trials"]):
        had = sorted({name for run in sweep.runs for name in run.record["summary"] if not name.startswith("test/")})
        raise ReportError(
            f"nothing to rank in {folder}: no finished run has {found['metric']}, which the search selects by; "
            f"choose hydra.sweeper.search.metric of {', '.join(had) or 'what the runs record'}"
        )
    caption, table = f"{_title(sweep)} {tuning.caption(sweep, found)}", _markdown(tuning.rows(found))
    files = []
    for name, text in (("trials.csv", tuning.trials_csv(found)), ("search.md", f"{caption}\n\n{table}")):
        path = out / "tables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    keys = list(dict.fromkeys(key for entry in found["arms"].values() for key in entry["space"]))
    with figures.style():
        figure, axes = figures.page_figure(len(keys) + 1)
        for ax, key in zip(axes, keys, strict=False):
            figures.searched(ax, found, key)
        figures.best_of_k(axes[-1], found)
        figures.search_legend(figure, found, _note(sweep))
        files = figures.save(figure, out / "figures" / "search", _provenance(sweep)) + files
    lead, sentences = tuning.lead(sweep, found), tuple(tuning.sentence(found, arm) for arm in found["arms"])
    return Report(sweep.name, caption, table, lead, sentences, tuple(files))
