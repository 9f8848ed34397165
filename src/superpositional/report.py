"""What does a reader get?

From a sweep's folder (running, finished or published): ``index.html``, a page that opens from disk; figures; tables in
three formats; ``claims.json``, every verdict with every digit. From a search's folder what its trials cost and found, and
no comparison: tuning seeds select, they do not test. Everything is rebuilt from records alone: same records, same bytes.
Verdicts and tables use the runs' summaries, which publishing keeps exact; figures of curves use those, which it thins.

The command line prints ``Report.text``; `update_readme` puts the same words where readers look first.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional import analysis, claims, curves, figures, ink, page, search_figures, tables, tuning, verdicts, wording
from superpositional.analysis import EPOCHS_TO_TARGET, TEST_ACCURACY, Comparison
from superpositional.ledger import ledger
from superpositional.records import Sweep, load_sweep, write_json
from superpositional.verdicts import Verdict

TABLES = ("results", "claims", "attribution")
# The arm against which the others are held too: Adam but for one bit.
CONTROL = "placebo"


class ReportError(ValueError):
    """A sweep, or a file to write to, that cannot be reported; the message names the cure."""


@dataclass(frozen=True)
class Report:
    """A sweep's results in words, and the files that show them.

    ``table`` is Markdown, ``lead`` the answer in short; ``verdicts`` is empty for a search, and where nothing is claimed;
    ``declared`` are the claims as they were judged.
    """

    name: str
    caption: str
    table: str
    lead: str
    sentences: tuple[str, ...]
    files: tuple[Path, ...]
    claims: str = ""
    attribution: str = ""
    verdicts: tuple[Verdict, ...] = ()
    declared: dict[str, Any] | None = None

    @property
    def markdown(self) -> str:
        bullets = "".join(f"- {sentence}\n" for sentence in self.sentences)
        details = f"<details><summary>Each comparison in a sentence</summary>\n\n{bullets}\n</details>\n" if bullets else ""
        parts = [self.lead, self.claims, self.attribution, self.caption, self.table]
        return "\n\n".join(part.strip() for part in parts if part) + f"\n\n{details}"

    @property
    def text(self) -> str:
        files = "\n".join(str(path) for path in self.files)
        said = "\n".join(self.sentences)
        parts = [self.claims, self.attribution, self.caption, self.table, said, self.lead, files]
        return "\n\n".join(part.strip() for part in parts if part)


def write_report(folder: str | Path, out: str | Path | None = None, *, declared: str | Path | None = None) -> Report:
    """Write a sweep's page, figures, tables and verdicts to ``out`` (default: ``<folder>/report``); return them in words.

    An unfinished sweep is reported as unfinished, on every figure and table. A search gets a report of its own kind.

    Args:
        declared: claims to judge instead of those that were declared with the sweep: a name of ``conf/claims``, or a file.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ReportError: no run has finished, none has what the figures show, or the claims cannot be judged; nothing is
            written then.
    """
    sweep = load_sweep(folder)
    out = Path(folder) / "report" if out is None else Path(out)
    if sweep.search is not None:
        if declared is not None:
            raise ReportError(f"{sweep.name} is a search, whose seeds select and do not test; judge claims on other seeds")
        return _search_report(sweep, folder, out)
    _check_begun(sweep, folder)
    found = curves.learning_curves(sweep)
    try:
        content, asked = claims.of(sweep, declared)
    except claims.ClaimError as error:
        raise ReportError(str(error)) from None
    judged = verdicts.judge(sweep, asked, claims.digest(content))
    _check(judged, found, folder)
    arms = {
        measure: [analysis.outcomes(sweep, arm, measure) for arm in sweep.arms]
        for measure in (TEST_ACCURACY, EPOCHS_TO_TARGET)
    }
    held = [arm for arm in sweep.arms if sweep.baseline(arm) != arm]
    comparisons = {measure: [analysis.compare(sweep, arm, measure) for arm in held] for measure in arms}
    caption = wording.caption(sweep, comparisons)
    rows = tables.arm_rows(arms, comparisons)
    drawn = _draw(sweep, found, comparisons[TEST_ACCURACY], judged)
    files = _save(drawn, out / "figures", wording.provenance(sweep))
    said = wording.claims_caption(sweep, judged, content)
    texts = {
        "tables/results.md": f"{caption}\n\n{tables.markdown(rows)}",
        "tables/results.csv": tables.arms_csv(arms, comparisons),
        "tables/results.tex": tables.tex(rows, caption, sweep.name),
    }
    rows_claimed, attributed = tables.claim_rows(judged), tables.attribution_rows(judged)
    claimed = f"{said}\n\n{tables.markdown(rows_claimed)}" if judged else ""
    if judged:
        texts |= {
            "tables/claims.md": claimed,
            "tables/claims.csv": tables.claims_csv(judged),
            "tables/claims.tex": tables.tex(rows_claimed, said, f"{sweep.name}-claims"),
        }
    attribution = f"{wording.ATTRIBUTION}\n\n{tables.markdown(attributed)}" if len(attributed) > 1 else ""
    if attribution:
        texts |= {
            "tables/attribution.md": attribution,
            "tables/attribution.tex": tables.tex(attributed, wording.ATTRIBUTION, f"{sweep.name}-attribution"),
        }
    sentences = [verdict.sentence for verdict in judged]
    sentences += [comparison.sentence for measure in comparisons for comparison in comparisons[measure]]
    # The control of each baseline, at the same swept values.
    controls = {sweep.baseline(arm): arm for arm in held if arm.split(",")[0] == CONTROL}
    rest = [(arm, controls.get(sweep.baseline(arm), arm)) for arm in held]
    sentences += [analysis.compare(sweep, arm, TEST_ACCURACY, to).sentence for arm, to in rest if to != arm]
    lead = wording.lead(sweep, comparisons, judged)
    texts["index.html"] = _page(sweep, lead, said, judged, rows, caption, drawn, sentences)
    for name, text in texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    write_json(out / "claims.json", _claims_json(sweep, judged, content))
    files.append(out / "claims.json")
    # What an earlier report said and this one does not, of other claims, must not stand beside it.
    possible = [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("md", "csv", "tex")]
    possible += [f"figures/{name}.{suffix}" for name in SHOWN for suffix in ("pdf", "png")]
    for stale in {out / name for name in possible} - set(files):
        stale.unlink(missing_ok=True)
    return Report(
        sweep.name,
        caption,
        tables.markdown(rows),
        lead,
        tuple(sentences),
        tuple(files),
        claims=claimed,
        attribution=attribution,
        verdicts=tuple(judged),
        declared=content,
    )


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


def _check_begun(sweep: Sweep, folder: str | Path) -> None:
    if not any(run.status == "done" for run in sweep.runs):
        raise ReportError(
            f"nothing to show in {folder}: {analysis.progress(sweep)}; start or resume it with "
            f"`superpositional sweep {sweep.name}` and report again once a run has finished"
        )


def _check(judged: list[Verdict], found: list, folder: str | Path) -> None:
    if not any(curve.n for curve in found) and all(verdict.verdict == verdicts.NONE for verdict in judged):
        why = next((f" ({verdict.refusals[0]})" for verdict in judged), "")
        raise ReportError(
            f"nothing to show in {folder}: no finished run logged val/accuracy, and no claim has a verdict{why}; report a "
            "sweep of a task that validates its accuracy at each epoch's end, or name claims about what it has"
        )


def _claims_json(sweep: Sweep, judged: list[Verdict], content: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "sweep": sweep.name,
        "runs": analysis.progress(sweep),
        "declared": content,
        "declared_digest": claims.digest(content),
        "runs_before_declaration": verdicts.declared_after(sweep, claims.digest(content)),
        "verdicts": [verdict.plain() for verdict in judged],
    }


def _draw(sweep: Sweep, found: list, comparisons: list[Comparison], judged: list[Verdict]) -> dict[str, Any]:
    """Every figure by its file's name, in the order in which a reader meets them."""
    note = wording.note(sweep)
    lines = 0.15 * (note.count("\n") + bool(note))
    names = [analysis.label(arm) for arm in sweep.arms]
    above = 0.14 * figures.legend_rows(names)
    drawn: dict[str, Any] = {}
    with ink.style():
        if judged:
            drawn["claims"], ax = ink.column_figure(1.0 + 0.36 * len(judged) + lines)
            figures.claims_forest(ax, judged, note)
        logged = any(curve.n for curve in found)
        if logged:
            drawn["fig1"], ax = ink.column_figure(2.55 + above + lines)
            figures.learning_curves(ax, found, note=note)
        if any(each.arm.values or each.baseline.values for each in comparisons):
            drawn["paired_differences"], ax = ink.column_figure(0.9 + 0.33 * len(comparisons) + 0.15 * note.count("\n"))
            figures.paired_differences(ax, comparisons, note=note, arms=sweep.arms)
        if logged:
            drawn["seed_bands"], axes = ink.page_figure(len(found))
            figures.seed_bands(axes, found, curves.seed_curves(sweep))
        times = curves.reached(sweep)
        if any(len(each.epochs) for each in times):
            drawn["time_to_target"], ax = ink.column_figure(2.3 + above + lines)
            figures.time_to_target(ax, times, note)
        if ratios := curves.courses(sweep):
            drawn["perturbation_ratio"], ax = ink.column_figure(
                2.3 + 0.14 * figures.legend_rows(names[: len(ratios)]) + lines
            )
            figures.perturbation_ratio(ax, ratios, sweep.arms, note)
    return drawn


def _save(drawn: dict[str, Any], out: Path, provenance: dict[str, str]) -> list[Path]:
    with ink.style():
        return [path for name, figure in drawn.items() for path in ink.save(figure, out / name, provenance)]


# What a figure shows, for the page.
SHOWN = {
    "claims": "Each claim's effect in units of its margin with its 95 % interval; a diamond is the value as published.",
    "fig1": "Learning curves: mean over seeds by epoch (Pamuk et al. 2025, Fig. 1).",
    "paired_differences": "Test accuracy: mean paired difference of each arm to its baseline, with its 95 % interval.",
    "seed_bands": "Each seed's learning curve by arm (thin), mean and 95 % band; dashed, the first arm's mean.",
    "time_to_target": "Share of runs that have reached the target by each epoch; runs that never do are in n.",
    "perturbation_ratio": "Size of the quantum term over that of what it is added to, by step: AdamW's step, or for "
    "quantum moments the gradient.",
}


def _page(
    sweep: Sweep,
    lead: str,
    said: str,
    judged: list[Verdict],
    rows: tables.Rows,
    caption: str,
    drawn: dict[str, Any],
    sentences: list[str],
) -> str:
    with ink.style():
        shown = {
            name: page.figure(ink.svg(figure, f"{sweep.name}-{name}"), SHOWN[name], wide=name == "seed_bands")
            for name, figure in drawn.items()
        }
    attributed = page.table(tables.attribution_rows(judged))
    says = [(verdict.claim.id, f"{verdict.claim.says}. {verdict.claim.source}".strip()) for verdict in judged]
    claimed = page.bullets([f"**{name}**: {text}" for name, text in dict(says).items()], "What is claimed")
    head = page.paragraph(lead, "lead") + page.paragraph(
        f"{wording.title(sweep)} {analysis.progress(sweep).capitalize()}.", "dim"
    )
    environment = page.table(tables.environment_rows(sweep))
    command = f"`superpositional sweep {sweep.name}` makes the records, `superpositional report` this page from them."
    sections = [
        (
            "Verdicts",
            page.table(tables.claim_rows(judged)) + shown.get("claims", "") + claimed + page.paragraph(said, "dim")
            if judged
            else page.paragraph("No claim was declared with this sweep."),
        ),
        ("Attribution", attributed and page.paragraph(wording.ATTRIBUTION) + attributed),
        ("Learning curves", shown.get("fig1", "") + shown.get("seed_bands", "")),
        ("Paired differences", shown.get("paired_differences", "") + page.table(rows) + page.paragraph(caption, "dim")),
        ("Time to target", shown.get("time_to_target", "")),
        ("The quantum term", shown.get("perturbation_ratio", "")),
        ("In sentences", page.bullets(sentences, "Each comparison in a sentence, with n")),
        ("Runs", page.table(tables.run_rows(sweep))),
        ("Tuning ledger", page.table(tables.tuning_rows(sweep))),
        ("Environment", environment + page.paragraph(command, "dim")),
    ]
    return page.page(f"superpositional: {sweep.name}", sections, head)


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
    caption, table = f"{wording.title(sweep)} {tuning.caption(sweep, found)}", tables.markdown(tuning.rows(found))
    files = []
    for name, text in (("trials.csv", tuning.trials_csv(found)), ("search.md", f"{caption}\n\n{table}")):
        path = out / "tables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    keys = list(dict.fromkeys(key for entry in found["arms"].values() for key in entry["space"]))
    with ink.style():
        figure, axes = ink.page_figure(len(keys) + 1)
        for ax, key in zip(axes, keys, strict=False):
            search_figures.searched(ax, found, key)
        search_figures.best_of_k(axes[-1], found)
        search_figures.search_legend(figure, found, wording.note(sweep))
        files = ink.save(figure, out / "figures" / "search", wording.provenance(sweep)) + files
    lead, sentences = tuning.lead(sweep, found), tuple(tuning.sentence(found, arm) for arm in found["arms"])
    return Report(sweep.name, caption, table, lead, sentences, tuple(files))
