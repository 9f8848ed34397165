"""What does a reader of the whole study get?

``index.html``, one page that opens from disk; the figures and tables of a paper; ``claims.json``, every verdict with every
digit; and the words that README and the logbook hold between their markers. Same records, same bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional import format
from superpositional.evidence import analysis, curves, tuning
from superpositional.evidence.analysis import VALIDATION_ACCURACY
from superpositional.format import Rows
from superpositional.records import write_json
from superpositional.report import backend_curves, figures, interactive, page, style, tables
from superpositional.report import words as wording
from superpositional.report.findings import Findings
from superpositional.report.study import figures as drawings
from superpositional.report.study import words
from superpositional.report.study.along import along
from superpositional.report.study.gather import CALIBRATION, Study, commits, extent, gather

# The settings that sweeps went along: their axis, and whether it is logarithmic.
SETTINGS = {
    "optimizer.quantum_weight": ("λ", True),
    "circuit.depth": ("depth of the circuit", False),
    "circuit.n_qubits": ("qubits of the circuit", False),
}
COLUMNS = 3
# The sweeps of the paper's own figures.
FIG1, FIG2 = "paper_classification", "paper_gsm8k"
AGAIN = (
    "`superpositional sweep NAME` makes the records of a sweep, `superpositional rerun outputs/published/NAME ARM SEED` "
    "one run, held to its record bit for bit, and `superpositional report outputs/published` this page from the records; "
    "`superpositional.records.published.fingerprint(load_sweep(FOLDER))` gives a sweep's SHA-256, which `claims.json` has "
    "in full."
)


@dataclass(frozen=True)
class StudyReport:
    """The study in words, ``blocks`` for files with markers of these names, and the files that show it."""

    text: str
    blocks: dict[str, str]
    files: tuple[Path, ...]


def write_study(folder: str | Path, out: str | Path | None = None) -> StudyReport:
    """Write the page, figures, tables and verdicts of all sweeps of a folder to ``out`` (default: ``<folder>/report``).

    Raises:
        ReportError: there is no sweep, or one of them cannot be reported; nothing is written then.
    """
    folder = Path(folder)
    study = gather(folder)
    out = folder / "report" if out is None else Path(out)
    with style.style():
        drawn = draw(study)
        provenance = {"study": ", ".join(sweep.name for sweep in study.sweeps), "code": ", ".join(study.codes)}
        files = [
            path for name, (figure, _) in drawn.items() for path in style.save(figure, out / "figures" / name, provenance)
        ]
        shown = {
            name: {
                "image": page.image(style.svg(figure, f"study-{name}")),
                "says": says,
                "wide": figure.get_figwidth() > style.COLUMN_INCHES,
            }
            for name, (figure, says) in drawn.items()
        }
    own, besides = words.claim_rows(study.of_the_paper), words.besides_rows(study)
    texts = {"index.html": _page(study, shown, own, besides)}
    for name, rows, says in (("claims", own, "The paper's claims."), ("besides", besides, "What else was asked.")):
        if len(rows) > 1:
            texts[f"tables/{name}.md"] = format.markdown(rows)
            texts[f"tables/{name}.tex"] = tables.tex(_plainly(rows), f"{says} {wording.RULE}", f"study-{name}")
    if study.planted is not None:
        caption, rows = study.planted
        texts["tables/planted.md"] = f"{caption}\n\n{format.markdown(rows)}"
        texts["tables/planted.tex"] = tables.tex(rows, caption.replace("`", ""), "study-planted")
    if study.verdicts:
        texts["tables/verdicts.csv"] = tables.claims_csv([verdict for _, verdict in study.verdicts])
    for name, text in texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        files.append(path)
    files.append(interactive.write_script(out))
    found = [{"sweep": name, **verdict.plain()} for name, verdict in study.verdicts]
    listing = out / "claims.json"
    files.append(listing)
    written = sorted(path.relative_to(out).as_posix() for path in files)
    # What an earlier call wrote and this one does not must not stand beside it; what somebody else put there stays.
    before = json.loads(listing.read_text()).get("files", []) if listing.exists() else []
    for stale in set(before) - set(written):
        (out / stale).unlink(missing_ok=True)
    write_json(listing, {"files": written, "records_sha256": study.fingerprints, "verdicts": found})
    blocks = {"study": _summary(study, own), "logbook": format.markdown(words.logbook_rows(study))}
    blocks |= {name: words.block(said) for name, said in study.said.items()}
    text = "\n\n".join([blocks["study"].strip(), "\n".join(map(str, files))])
    return StudyReport(text, blocks, tuple(files))


def _plainly(rows: Rows) -> Rows:
    return [tuple(cell.replace("`", "") for cell in row) for row in rows]


def _summary(study: Study, own: Rows) -> str:
    """What README says."""
    said = [words.paper(study)]
    said += [format.markdown(own), words.PAIRS] if len(own) > 1 else []
    said += [words.elsewhere(study), words.broken(study), words.planted(study), *words.limits(study), words.made(study)]
    return "\n\n".join(part.strip() for part in said if part) + "\n"


# Figures -----------------------------------------------------------------------------------------------------------


def draw(study: Study) -> dict[str, tuple[Any, str]]:
    """Every figure by its file's name with what it shows, in the order in which a reader meets them."""
    drawn: dict[str, tuple[Any, str]] = {}
    if judged := [verdict for _, verdict in study.of_the_paper]:
        figure, ax = style.column_figure(1.0 + 0.36 * len(judged))
        figures.claims_forest(ax, judged)
        drawn["claims"] = (
            figure,
            "The paper's claims, each in units of its margin with its 95 % interval; an open diamond is the value as "
            "published, at the edge where it lies beyond.",
        )
    for name, said in study.said.items():
        drawn |= _of_sweep(name, said)
    blocks = [
        drawings.Block(name, table)
        for name, said in study.said.items()
        if (table := said.comparisons.get(analysis.TEST_ACCURACY)) and name != CALIBRATION
    ]
    if blocks:
        columns = drawings.blocks_in_columns(blocks, min(COLUMNS, len(blocks)))
        rows = max(sum(len(block.table) + 1.5 for block in column) for column in columns)
        figure, axes = style.page_figure(len(columns))
        figure.set_figheight(0.6 + rows / drawings.ROWS_PER_INCH)
        of_accuracy = [v.claim for _, v in study.verdicts if v.claim.metric == analysis.TEST_ACCURACY.metric]
        published = next((claim.published for claim in of_accuracy if claim.source), None)
        margin = max((claim.margin for claim in of_accuracy), default=0.0)
        for ax, column in zip(axes, columns, strict=True):
            drawings.all_arms(ax, column, published, margin, rows)
        drawn["all_arms"] = (
            figure,
            "Every arm of every sweep of the classification task: mean paired difference in test accuracy to its baseline, "
            "95 % intervals, not corrected; blue squares exclude 0 by themselves, (n) pairs, † where pairs ended without a "
            "value. Grey: less than matters."
            + ("" if published is None else " Orange: the effect that the paper has for λ = 0.5 (C1)."),
        )
    if times := [v for _, v in study.of_the_paper if v.claim.of_time and v.effect.n]:
        figure, ax = style.column_figure(0.9 + 0.4 * len(times))
        drawings.cost(ax, times)
        drawn["cost"] = (
            figure,
            "What the term costs: runs made one at a time, arms interleaved; ratios with Fieller's interval.",
        )
    return drawn


def _of_sweep(name: str, said: Findings) -> dict[str, tuple[Any, str]]:
    """The figures that one sweep is there for."""
    drawn: dict[str, tuple[Any, str]] = {}
    sweep, note = said.sweep, wording.note(said.sweep)
    shown = wording.shown(said.found[0], said.measures[0], said.apart)
    if name == FIG1:
        above = 0.14 * figures.legend_rows([format.label(arm) for arm in sweep.arms])
        figure, ax = style.column_figure(2.55 + above + 0.15 * (note.count("\n") + bool(note)))
        figures.learning_curves(ax, said.found, VALIDATION_ACCURACY, note)
        drawn["fig1"] = (figure, shown["fig1"])
    if said.measures[0].along == analysis.LOSS_BY_STEP:
        figure, axes = style.page_figure(len(said.found))
        figures.seed_bands(axes, said.found, curves.seed_curves(sweep, analysis.LOSS_BY_STEP), analysis.LOSS_BY_STEP)
        drawn["fig2" if name == FIG2 else f"{name}_losses"] = (figure, shown["fig2"])
        if any(each.seeds for each in said.apart):
            figure, axes = style.page_figure(len(said.apart))
            figures.departures(axes, said.apart, sweep.arms)
            drawn[f"{name}_departures"] = (figure, shown["departures"])
    for setting, (axis, log) in SETTINGS.items():
        if lines := along(sweep, setting):
            what = ("accuracy", "epochs", "broken")
            kinds = what if any(point.mean for line in lines for point in line.broken) else what[:2]
            figure, axes = style.page_figure(len(kinds))
            for ax, kind in zip(axes, kinds, strict=True):
                drawings.by_value(ax, lines, kind, log=log).set_xlabel(axis)
            drawn[_free(drawn, name, setting.rsplit(".", 1)[-1])] = (
                figure,
                f"{sweep.question} Mean paired differences to {wording.against(sweep)} with 95 % intervals, by "
                f"{axis}; in brackets pairs. A ring: of the pairs that both gave a value, for epochs that both reached "
                "the target. Training broke: diverged, or ended no better than by guessing. Intervals of shares are "
                f"Clopper and Pearson's. Arms as `sweeps/{name}.yaml` names them.",
            )
    if any(verdict.attribution for verdict in said.judged) and name != FIG1 and not said.terms:
        table = said.comparisons[said.measures[0]]
        figure, ax = style.column_figure(0.9 + 0.33 * len(table) + 0.15 * note.count("\n"))
        figures.paired_differences(ax, table, note=note, arms=sweep.arms)
        drawn[_free(drawn, name, "differences")] = (figure, f"{sweep.question} {shown['paired_differences']}")
    told = backend_curves.lines(sweep)
    for backend in dict.fromkeys(line.backend for line in told):
        figure, axes = style.page_figure(3)
        backend_curves.draw(axes, [line for line in told if line.backend == backend])
        drawn[_free(drawn, name, backend)] = (figure, f"{sweep.question} {shown[f'by_{backend}']}")
    return drawn


def _free(drawn: dict[str, Any], name: str, kind: str) -> str:
    """The sweep's own name for its first figure; more have their kind in it."""
    return name if name not in drawn else f"{name}_{kind}"


# The page ----------------------------------------------------------------------------------------------------------


def _page(study: Study, shown: dict[str, Any], own: Rows, besides: Rows) -> str:
    return page.render(
        "study",
        lead=list(filter(None, (words.paper(study), words.elsewhere(study), words.broken(study)))),
        drawn=shown,
        claims=_plainly(own),
        besides=_plainly(besides),
        pairs=words.PAIRS,
        sweeps=[_section(study, sweep.name, shown) for sweep in study.sweeps],
        limits=words.limits(study),
        rule=wording.RULE,
        again=AGAIN,
        made=words.made(study),
    )


def _section(study: Study, name: str, shown: dict[str, Any]) -> dict[str, Any]:
    sweep = next(each for each in study.sweeps if each.name == name)
    told = {"name": name, "question": sweep.question, "extent": f"{extent(sweep)}, commit {commits(sweep)}."}
    told["figures"] = [key for key in shown if key == name or key.startswith(f"{name}_")]
    if name in study.searches:
        found = study.searches[name]
        table = (tuning.caption(*found), tuning.rows(found[1]))
        return told | {"lead": [tuning.lead(*found)], "tables": [table], "plots": {}, "sentences": []}
    said = study.said[name]
    several = [(said.caption, said.rows)] + ([study.planted] if name == CALIBRATION else [])
    several += [each for kind, each in said.captioned.items() if kind != "claims"]
    plots = interactive.swept(sweep)
    return told | {"lead": [said.lead], "tables": several, "plots": plots, "sentences": said.sentences}
