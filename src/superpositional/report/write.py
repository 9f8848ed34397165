"""What does a reader get?

From a sweep's folder (running, finished or published): ``index.html``, a page that opens from disk, with
``plotly.min.js`` beside it for its interactive figures; figures; tables in three formats; ``claims.json``, every
verdict with every digit. From a search's folder what its trials cost and found, and
no comparison: tuning seeds select, they do not test. Everything is rebuilt from records alone: same records, same bytes.
Verdicts and tables use the runs' summaries, which publishing keeps exact; figures of curves use those, which it thins.

The command line prints ``Report.text``; `update_readme` puts the same words where readers look first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional import format
from superpositional.evidence import analysis, curves, questions, tuning, verdicts
from superpositional.evidence.verdicts import Verdict
from superpositional.records import Sweep, claims, load_sweep, write_json
from superpositional.records.ledger import ledger
from superpositional.records.published import fingerprint
from superpositional.report import backend_curves, dashboard, figures, interactive, page, search_figures, style, tables
from superpositional.report import words as wording
from superpositional.report.dashboard import Dashboard
from superpositional.report.findings import Findings, ReportError, check_begun, findings

TABLES = ("results", "claims", "attribution", "term", "questions")
FIGURES = (
    *("claims", "fig1", "fig2", "paired_differences", "seed_bands", "departures", "time_to_target"),
    *("perturbation_ratio", *(f"by_{backend}" for backend in backend_curves.ALONG)),
)
EXTRA = ("term", "questions")
WIDE = ("fig2", "seed_bands", "departures", *(f"by_{backend}" for backend in backend_curves.ALONG))


@dataclass(frozen=True)
class Report:
    """A sweep's results in words, and the files that show them.

    ``table`` is Markdown, ``lead`` the answer in short; ``verdicts`` is empty for a search, and where nothing is claimed;
    ``declared`` are the claims as they were judged; ``board`` is what the dashboard shows, None for a search.
    """

    name: str
    caption: str
    table: str
    lead: str
    sentences: tuple[str, ...]
    files: tuple[Path, ...]
    claims: str = ""
    attribution: str = ""
    term: str = ""
    answers: str = ""
    verdicts: tuple[Verdict, ...] = ()
    declared: dict[str, Any] | None = None
    board: Dashboard | None = None

    @property
    def markdown(self) -> str:
        bullets = "".join(f"- {sentence}\n" for sentence in self.sentences)
        details = f"<details><summary>Each comparison in a sentence</summary>\n\n{bullets}\n</details>\n" if bullets else ""
        parts = [self.lead, self.claims, self.attribution, self.caption, self.table, self.term, self.answers]
        return "\n\n".join(part.strip() for part in parts if part) + f"\n\n{details}"

    @property
    def text(self) -> str:
        files = "\n".join(str(path) for path in self.files)
        said = "\n".join(self.sentences)
        tables = [self.claims, self.attribution, self.caption, self.table, self.term, self.answers]
        parts = [*tables, said, self.lead, files]
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
    return _write(findings(sweep, folder, declared=declared), out)


def _write(said: Findings, out: Path) -> Report:
    sweep, rows, caption, captioned, judged = said.sweep, said.rows, said.caption, said.captioned, said.judged
    drawn = _draw(said)
    files = _save(drawn, out / "figures", wording.provenance(sweep))
    shown = {name: f"{words}\n\n{format.markdown(each)}" for name, (words, each) in captioned.items()}
    results = f"{caption}\n\n{format.markdown(rows)}"
    of_loss = said.measures[0].along == analysis.LOSS_BY_STEP
    texts = {
        "tables/results.md": "\n\n".join([said.lead, results, *(shown[n] for n in EXTRA if n in shown)])
        if of_loss
        else results,
        "tables/results.csv": tables.arms_csv(said.arms, said.comparisons),
        "tables/results.tex": tables.tex(rows, caption, sweep.name),
    }
    for name, (words, each) in captioned.items():
        texts[f"tables/{name}.md"] = shown[name]
        texts[f"tables/{name}.tex"] = tables.tex(each, words, f"{sweep.name}-{name}")
    if judged:
        texts["tables/claims.csv"] = tables.claims_csv(judged)
    if said.terms:
        texts["tables/term.csv"] = tables.terms_csv(said.terms)
    if "questions" in captioned:
        texts["tables/questions.csv"] = questions.to_csv(said.answered)
    told = {dashboard.VERDICTS: captioned.get("claims", ("", [])), dashboard.DIFFERENCES: (caption, rows)}
    board = dashboard.of(sweep, lead=said.lead, tables=told, provenance=wording.provenance(sweep))
    texts["index.html"] = _page(said, drawn, board)
    for name, text in texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    write_json(out / "claims.json", _claims_json(sweep, judged, said.content))
    files += [out / "claims.json", interactive.write_script(out)]
    # What an earlier report said and this one does not, of other claims, must not stand beside it.
    possible = [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("md", "csv", "tex")]
    possible += [f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")]
    for stale in {out / name for name in possible} - set(files):
        stale.unlink(missing_ok=True)
    return Report(
        sweep.name,
        caption,
        format.markdown(rows),
        said.lead,
        tuple(said.sentences),
        tuple(files),
        claims=shown.get("claims", ""),
        attribution=shown.get("attribution", ""),
        term=shown.get("term", ""),
        answers=shown.get("questions", "\n".join(questions.sentences(said.answered))),
        verdicts=tuple(judged),
        declared=said.content,
        board=board,
    )


def update_readme(readme: str | Path, blocks: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->`` by the block of that name.

    Raises:
        ReportError: the file holds no block's pair of markers, or not exactly one of each that it does hold.
    """
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    marks = {name: (f"<!-- results:{name} -->", f"<!-- /results:{name} -->") for name in blocks}
    there = [name for name, pair in marks.items() if any(mark in text for mark in pair)] or list(marks)
    for name in there:
        start, end = marks[name]
        if text.count(start) != 1 or text.count(end) != 1 or text.index(end) < text.index(start):
            raise ReportError(
                f"{readme} must hold the line {start} once and after it {end} once; add them where results go"
            )
        before, rest = text.split(start)
        text = f"{before}{start}\n{blocks[name]}{end}{rest.split(end)[1]}"
    readme.write_text(text, encoding="utf-8", newline="\n")


def _claims_json(sweep: Sweep, judged: list[Verdict], content: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "sweep": sweep.name,
        "runs": analysis.progress(sweep),
        "records_sha256": fingerprint(sweep),
        "declared": content,
        "declared_digest": claims.digest(content),
        "runs_before_declaration": verdicts.declared_after(sweep, claims.digest(content)),
        "verdicts": [verdict.plain() for verdict in judged],
    }


def _draw(said: Findings) -> dict[str, Any]:
    """Every figure by its file's name, in the order in which a reader meets them."""
    sweep, found, judged, apart = said.sweep, said.found, said.judged, said.apart
    comparisons = said.comparisons[said.measures[0]]
    along = said.measures[0].along
    note = wording.note(sweep)
    lines = 0.15 * (note.count("\n") + bool(note))
    names = [format.label(arm) for arm in sweep.arms]
    above = 0.14 * figures.legend_rows(names)
    drawn: dict[str, Any] = {}
    with style.style():
        if judged:
            drawn["claims"], ax = style.column_figure(1.0 + 0.36 * len(judged) + lines)
            figures.claims_forest(ax, judged, note)
        logged = any(curve.n for curve in found)
        by_epoch = along.by == "epoch"
        if logged and by_epoch:
            drawn["fig1"], ax = style.column_figure(2.55 + above + lines)
            figures.learning_curves(ax, found, along, note)
        if any(each.arm.values or each.baseline.values for each in comparisons):
            drawn["paired_differences"], ax = style.column_figure(0.9 + 0.33 * len(comparisons) + 0.15 * note.count("\n"))
            figures.paired_differences(ax, comparisons, note=note, arms=sweep.arms)
        if logged:
            name = "seed_bands" if by_epoch else "fig2"
            drawn[name], axes = style.page_figure(len(found))
            figures.seed_bands(axes, found, curves.seed_curves(sweep, along), along)
        if any(each.seeds for each in apart):
            drawn["departures"], axes = style.page_figure(len(apart))
            figures.departures(axes, apart, sweep.arms)
        times = curves.reached(sweep)
        if any(len(each.epochs) for each in times):
            drawn["time_to_target"], ax = style.column_figure(2.3 + above + lines)
            figures.time_to_target(ax, times, note)
        if ratios := curves.courses(sweep):
            rows = 0.14 * figures.legend_rows(names[: len(ratios)])
            drawn["perturbation_ratio"], ax = style.column_figure(2.3 + rows + lines)
            figures.perturbation_ratio(ax, ratios, sweep.arms, note)
        told = backend_curves.lines(sweep)
        for backend in dict.fromkeys(line.backend for line in told):
            name = f"by_{backend}"
            drawn[name], axes = style.page_figure(3)
            backend_curves.draw(axes, [line for line in told if line.backend == backend])
    return drawn


def _save(drawn: dict[str, Any], out: Path, provenance: dict[str, str]) -> list[Path]:
    with style.style():
        return [path for name, figure in drawn.items() for path in style.save(figure, out / name, provenance)]


def _page(said: Findings, drawn: dict[str, Any], board: Dashboard) -> str:
    sweep = said.sweep
    says = wording.shown(said.found[0], said.measures[0], said.apart)
    main = said.measures[0].along.metric
    with style.style():
        images = {
            name: {"image": page.image(style.svg(figure, f"{sweep.name}-{name}")), "says": says[name], "wide": name in WIDE}
            for name, figure in drawn.items()
        }
    return page.render(
        "sweep",
        said=said,
        lead=[said.lead],
        answers=questions.sentences(said.answered),
        heading=f"{wording.title(sweep)} {analysis.progress(sweep).capitalize()}.",
        drawn=images,
        plots=interactive.figures(sweep, board, main),
        main=main,
        settings=[setting.key for setting in board.settings],
        runs=tables.run_rows(sweep, said.measures),
        tuning=tables.tuning_rows(sweep),
        environment=tables.environment_rows(sweep),
    )


# Searches ----------------------------------------------------------------------------------------------------------


def _search_report(sweep: Sweep, folder: str | Path, out: Path) -> Report:
    """What a search cost and found. It names each arm's best trial and no best arm."""
    check_begun(sweep, folder)
    found = ledger(sweep)
    if not any(trial["n"] for entry in found["arms"].values() for trial in entry["trials"]):
        had = sorted({name for run in sweep.runs for name in run.record["summary"] if not name.startswith("test/")})
        raise ReportError(
            f"nothing to rank in {folder}: no finished run has {found['metric']}, which the search selects by; "
            f"choose hydra.sweeper.search.metric of {', '.join(had) or 'what the runs record'}"
        )
    caption, table = f"{wording.title(sweep)} {tuning.caption(sweep, found)}", format.markdown(tuning.rows(found))
    files = []
    for name, text in (("trials.csv", tuning.trials_csv(found)), ("search.md", f"{caption}\n\n{table}")):
        path = out / "tables" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    keys = list(dict.fromkeys(key for entry in found["arms"].values() for key in entry["space"]))
    with style.style():
        figure, axes = style.page_figure(len(keys) + 1)
        for ax, key in zip(axes, keys, strict=False):
            search_figures.searched(ax, found, key)
        search_figures.best_of_k(axes[-1], found)
        search_figures.search_legend(figure, found, wording.note(sweep))
        files = style.save(figure, out / "figures" / "search", wording.provenance(sweep)) + files
    lead, sentences = tuning.lead(sweep, found), tuple(tuning.sentence(found, arm) for arm in found["arms"])
    return Report(sweep.name, caption, table, lead, sentences, tuple(files))
