"""What ``superpositional report`` writes for one sweep.

``index.html`` opens from disk, with ``plotly.min.js`` beside it; figures are PDF and PNG, tables Markdown, CSV and LaTeX,
``claims.json`` has every verdict with every digit. A search gets a report of its trials and no comparison: tuning seeds
select, they do not test. Everything is rebuilt from records alone: same records, same bytes.
"""

import base64
import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from superpositional.evidence import analysis, curves, tuning, verdicts
from superpositional.evidence.verdicts import Verdict
from superpositional.format import label
from superpositional.records import Sweep, claims, load_sweep, write_json
from superpositional.records.published import fingerprint
from superpositional.report import along, dashboard, figures, findings, forests, interactive, style, tables, words
from superpositional.report.dashboard import Dashboard
from superpositional.report.findings import Findings, ReportError
from superpositional.report.style import column, page
from superpositional.report.tables import Table

# The settings that sweeps went along: their axis, and whether it is logarithmic.
SETTINGS = {
    "optimizer.quantum_weight": ("λ", True),
    "circuit.depth": ("depth of the circuit", False),
    "circuit.n_qubits": ("qubits of the circuit", False),
}
TABLES = ("results", "claims", "attribution", "beside", "term", "answers")
# The tables that stand below the answer where losses are what counts.
BELOW = ("results", "term")


@dataclass(frozen=True)
class Report:
    """A sweep's results in words, and the files that show them.

    ``lead`` is the answer in short; ``tables`` are by name; ``verdicts`` is empty for a search, and where nothing is
    claimed; ``declared`` are the claims as they were judged; ``board`` is what W&B shows, None for a search.
    """

    name: str
    lead: str
    tables: Mapping[str, Table]
    sentences: tuple[str, ...]
    files: tuple[Path, ...]
    verdicts: tuple[Verdict, ...] = ()
    declared: dict[str, Any] | None = None
    board: Dashboard | None = None

    @property
    def markdown(self) -> str:
        bullets = "".join(f"- {sentence}\n" for sentence in self.sentences)
        details = f"<details><summary>Each verdict in a sentence</summary>\n\n{bullets}\n</details>\n" if bullets else ""
        return "\n\n".join([self.lead, *self._told, details])

    @property
    def text(self) -> str:
        parts = [*self._told, "\n".join(self.sentences), self.lead, "\n".join(map(str, self.files))]
        return "\n\n".join(filter(None, parts))

    @property
    def _told(self) -> list[str]:
        return [table.text.strip() for table in self.tables.values()]


def write_report(folder: str | Path, out: str | Path | None = None, *, declared: str | Path | None = None) -> Report:
    """Write a sweep's page, figures, tables and verdicts to ``out`` (default: ``<folder>/report``); return them in words.

    An unfinished sweep is reported as unfinished, on every figure and table.

    Args:
        declared: claims to judge instead of those that were declared with the sweep: a name of ``conf/claims``, or a file.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ReportError: no run has finished, none has what the figures show, or the claims cannot be judged; nothing is
            written then.
    """
    sweep = load_sweep(folder)
    out = Path(folder) / "report" if out is None else Path(out)
    if sweep.search is None:
        return _write(findings.findings(sweep, folder, declared=declared), out)
    if declared is not None:
        raise ReportError(f"{sweep.name} is a search, whose seeds select and do not test; judge claims on other seeds")
    return _write_search(sweep, findings.trials(sweep, folder), out)


def _write(said: Findings, out: Path) -> Report:
    sweep, lead, sentences, found = said.sweep, words.lead(said), [each.sentence for each in said.judged], tables.of(said)
    provenance, says = words.provenance(sweep), words.shown(said)
    told = {dashboard.VERDICTS: found.get("claims"), dashboard.DIFFERENCES: found["results"]}
    told = {name: (table.caption, table.rows) for name, table in told.items() if table}
    board = dashboard.of(sweep, lead=" ".join(lead), tables=told, provenance=provenance)
    says_of = {verdict.claim.id: f"{verdict.claim.says}. {verdict.claim.source}".strip() for verdict in said.judged}
    files, images = [], {}
    with style.style():
        for name, draw in pictures(said).items():
            figure = draw()
            files += style.save(figure, out / "figures" / name, provenance)
            images[name] = image(style.svg(figure, f"{sweep.name}-{name}"), says[name], style.is_wide(figure))
    texts = {}
    for name, table in found.items():
        texts[f"tables/{name}.md"] = table.text
        texts[f"tables/{name}.tex"] = table.tex(sweep.name if name == "results" else f"{sweep.name}-{name}")
        texts |= {f"tables/{name}.csv": table.csv} if table.csv else {}
    if said.of_loss:
        texts["tables/results.md"] = "\n\n".join([" ".join(lead), *(found[name].text for name in BELOW if name in found)])
    texts["index.html"] = render(
        "sweep",
        said=said,
        lead=lead,
        claimed=[f"**{name}**: {text}" for name, text in says_of.items()],
        sentences=sentences,
        heading=f"{words.title(sweep)} {analysis.progress(sweep).capitalize()}.",
        tables=found,
        drawn=images,
        plots=interactive.figures(sweep, board, said.main.along.metric),
        settings=[setting.key for setting in board.settings],
        runs=tables.runs(sweep, said.measures),
        environment=tables.environment(sweep),
    )
    files += write_texts(out, texts)
    write_json(out / "claims.json", _claims_json(said))
    files += [out / "claims.json", interactive.write_script(out)]
    # What an earlier report said and this one does not, of other claims, must not stand beside it.
    possible = [f"tables/{name}.{suffix}" for name in TABLES for suffix in ("md", "csv", "tex")]
    possible += [f"figures/{name}.{suffix}" for name in says for suffix in ("pdf", "png")]
    for stale in {out / name for name in possible} - set(files):
        stale.unlink(missing_ok=True)
    last = (tuple(said.judged), said.content, board)
    return Report(sweep.name, board.lead, found, tuple(sentences), tuple(files), *last)


def _write_search(sweep: Sweep, found: Mapping[str, Any], out: Path) -> Report:
    table = tables.of_search(sweep, found)
    files = write_texts(out, {"tables/trials.csv": table.csv, "tables/search.md": table.text})
    return Report(sweep.name, tuning.lead(sweep, found), {"search": table}, (), tuple(files))


def pictures(said: Findings) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure, in the order in which a reader meets them."""
    sweep, judged, of_main = said.sweep, said.judged, said.comparisons[said.main]
    note, names = words.note(sweep), [label(arm) for arm in sweep.arms]
    lines, above = 0.15 * (note.count("\n") + bool(note)), 0.14 * figures.legend_rows(names)
    by_epoch = said.main.along.by == "epoch"
    found: dict[str, Callable[[], Figure]] = {}
    if judged:
        found["claims"] = partial(column, 1.0 + 0.36 * len(judged) + lines, forests.claims_forest, judged, note)
    logged = any(curve.n for curve in said.curves)
    if logged and by_epoch:
        found["fig1"] = partial(column, 2.55 + above + lines, figures.learning_curves, said.curves, said.main.along, note)
    if any(each.arm.values or each.baseline.values for each in of_main):
        height = 0.9 + 0.33 * len(of_main) + 0.15 * note.count("\n")
        found["paired_differences"] = partial(column, height, forests.paired_differences, of_main, note, sweep.arms)
    if logged:
        drawn = partial(page, len(said.curves), figures.seed_bands, said.curves, said.main.along)
        found["seed_bands" if by_epoch else "fig2"] = drawn
    if any(each.seeds for each in said.apart):
        found["departures"] = partial(page, len(said.apart), figures.departures, said.apart, sweep.arms)
    times = curves.reached(sweep)
    if any(len(each.epochs) for each in times):
        found["time_to_target"] = partial(column, 2.3 + above + lines, figures.time_to_target, times, note)
    told = along.by_backend(sweep)
    for backend in dict.fromkeys(line.backend for line in told):
        found[f"by_{backend}"] = partial(page, 3, figures.by_backend, [each for each in told if each.backend == backend])
    return found


def by_setting(said: Findings) -> dict[str, Callable[[], Figure]]:
    """Return what draws the effect along each swept setting; with where training broke, if it did."""
    found = {}
    for setting, (axis, log) in SETTINGS.items():
        if lines := along.by_setting(said.sweep, setting):
            broke = any(point.mean for line in lines for point in line.points["broken"])
            found[setting] = partial(page, 2 + broke, figures.by_setting, lines, axis, log)
    return found


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    files = [out / name for name in texts]
    for path, text in zip(files, texts.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return files


def update_readme(readme: str | Path, blocks: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- results:NAME -->`` and ``<!-- /results:NAME -->`` by the block of that name.

    Raises:
        ReportError: the file holds no block's pair of markers, or not exactly one of each that it does hold.
    """
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    marks = {name: (f"<!-- results:{name} -->", f"<!-- /results:{name} -->") for name in blocks}
    for name in [name for name, pair in marks.items() if any(mark in text for mark in pair)] or list(marks):
        start, end = marks[name]
        if text.count(start) != 1 or text.count(end) != 1 or text.index(end) < text.index(start):
            cure = "add them where results go"
            raise ReportError(f"{readme} must hold the line {start} once and after it {end} once; {cure}")
        before, rest = text.split(start)
        text = f"{before}{start}\n{blocks[name]}{end}{rest.split(end)[1]}"
    readme.write_text(text, encoding="utf-8", newline="\n")


def _claims_json(said: Findings) -> dict[str, Any]:
    digest = claims.digest(said.content)
    return {
        "sweep": said.sweep.name,
        "runs": analysis.progress(said.sweep),
        "records_sha256": fingerprint(said.sweep),
        "declared": said.content,
        "declared_digest": digest,
        "runs_before_declaration": verdicts.declared_after(said.sweep, digest),
        "verdicts": [verdict.plain() for verdict in said.judged],
    }


TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Fill ``<template>.html.j2``; the same values give the same text."""
    return _environment().get_template(f"{template}.html.j2").render(**values)


def image(svg: str, says: str, wide: bool) -> dict[str, Any]:
    """Return a figure as an image with its words; within an image an SVG can load and run nothing."""
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    return {"image": address, "says": says, "wide": wide}


def marked(text: str) -> Markup:
    """Escape a text; Markdown's ``**bold**`` and `` `code` `` become marks."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", text))


def breakable(text: str) -> Markup:
    """Escape a cell; a long name may break between its parts, a number may not."""
    name = len(text) > 12 and " " not in text
    return Markup(re.sub(r"([/_:,])", r"\1<wbr>", html.escape(text))) if name else marked(text)


def anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    made.filters |= {"marked": marked, "breakable": breakable, "anchor": anchor}
    made.globals["file"] = lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))
    return made
