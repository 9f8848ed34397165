"""What ``superpositional report`` writes for a folder of sweeps: ``index.html``, the figures and tables of a paper,
``claims.json`` with every verdict and every digit, and the blocks that README and the logbook hold between markers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from superpositional.records import write_json
from superpositional.records.measures import TEST_ACCURACY
from superpositional.report import forests, interactive, page, pictures, style, words
from superpositional.report import tables as of_sweep
from superpositional.report.study import tables
from superpositional.report.study.gather import CALIBRATION, Study, gather
from superpositional.report.tables import Table
from superpositional.report.write import write_texts

# The sweeps of the paper's own figures, and the columns of the figure of every arm.
FIG1, FIG2, COLUMNS = "paper_classification", "paper_gsm8k", 3
Drawn = dict[str, tuple[Figure, str]]


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
    study = gather(Path(folder))
    out = Path(folder) / "report" if out is None else Path(out)
    found, files, images = tables.of(study), [], {}
    codes = dict.fromkeys(str(run.record.get("code")) for sweep in study.sweeps for run in sweep.runs)
    provenance = {"study": ", ".join(sweep.name for sweep in study.sweeps), "code": ", ".join(codes)}
    with style.style():
        for name, (figure, says) in draw(study).items():
            files += style.save(figure, out / "figures" / name, provenance)
            images[name] = page.image(style.svg(figure, f"study-{name}"), says, style.is_wide(figure))
    texts = {"index.html": _page(study, found, images)}
    for name in ("claims", "besides", "planted"):
        if name in found and found[name].rows:
            texts[f"tables/{name}.md"] = found[name].text if name == "planted" else found[name].markdown
            texts[f"tables/{name}.tex"] = found[name].plain().tex(f"study-{name}")
    texts |= {"tables/verdicts.csv": found["verdicts"].csv} if study.verdicts else {}
    listing = out / "claims.json"
    files += [*write_texts(out, texts), interactive.write_script(out), listing]
    written = sorted(path.relative_to(out).as_posix() for path in files)
    # What an earlier call wrote and this one does not must not stand beside it; what somebody else put there stays.
    before = json.loads(listing.read_text()).get("files", []) if listing.exists() else []
    for stale in set(before) - set(written):
        (out / stale).unlink(missing_ok=True)
    verdicts = [{"sweep": name, **verdict.plain()} for name, verdict in study.verdicts]
    write_json(listing, {"files": written, "records_sha256": study.fingerprints, "verdicts": verdicts})
    blocks = {"study": _summary(study, found), "logbook": found["logbook"].markdown}
    for name, said in study.said.items():
        own = of_sweep.of(said)
        parts = [" ".join(words.lead(said)), own["results"].text, own["term"].markdown if "term" in own else ""]
        blocks[name] = "\n\n".join(part.strip() for part in parts if part) + "\n"
    text = "\n\n".join([blocks["study"].strip(), "\n".join(map(str, files))])
    return StudyReport(text, blocks, tuple(files))


def _summary(study: Study, found: dict[str, Table]) -> str:
    """What README says."""
    parts = [*words.paper(study.of_the_paper), found["claims"].markdown, words.PAIRS] if study.of_the_paper else []
    parts = parts or words.paper([])
    parts.append(words.elsewhere(study.besides))
    parts += [found[name].text for name in ("found", "broken", "planted") if name in found and found[name].rows]
    parts += [*_limits(study), words.made(study.sweeps, study.missing, study.fingerprints)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _limits(study: Study) -> tuple[str, ...]:
    return words.limits(study.sweeps, study.verdicts, any(each.sweep.tuned is not None for each in study.said.values()))


def _page(study: Study, found: dict[str, Table], images: dict[str, Any]) -> str:
    return page.render(
        "study",
        lead=[*words.paper(study.of_the_paper), words.elsewhere(study.besides)],
        drawn=images,
        found={name: table.plain() for name, table in found.items() if table.rows},
        pairs=words.PAIRS,
        sweeps=[_part(study, sweep, images) for sweep in study.sweeps],
        limits=_limits(study),
        rule=words.RULE,
        again=words.AGAIN,
        made=words.made(study.sweeps, study.missing, study.fingerprints),
    )


def _part(study: Study, sweep: Any, images: dict[str, Any]) -> dict[str, Any]:
    """A sweep's part of the page."""
    name, shown = sweep.name, [key for key in images if key == sweep.name or key.startswith(f"{sweep.name}_")]
    part = {"name": name, "question": sweep.question, "figures": shown, "lead": [], "plots": {}, "sentences": []}
    part["extent"] = f"{words.extent(sweep)}, commit {words.commits(sweep)}."
    if name in study.searches:
        return part | {"tables": [of_sweep.of_search(sweep, study.searches[name])]}
    said = study.said[name]
    several = [table for kind, table in of_sweep.of(said).items() if kind != "claims"]
    part |= {"lead": words.lead(said), "sentences": words.sentences(said), "plots": interactive.swept(sweep)}
    return part | {"tables": several + [study.planted] * (name == CALIBRATION)}


def draw(study: Study) -> Drawn:
    """Return every figure by its file's name with what it shows, in the order in which a reader meets them."""
    drawn: Drawn = {}
    if judged := [verdict for _, verdict in study.of_the_paper]:
        says = (
            "The paper's claims, each in units of its margin with its 95 % interval; an open diamond is the value as "
            "published, at the edge where it lies beyond."
        )
        drawn["claims"] = style.column(1.0 + 0.36 * len(judged), forests.claims_forest, judged), says
    for name, said in study.said.items():
        sweep, shown, made = said.sweep, words.shown(said), pictures.of(said)
        names = {"fig1": "fig1"} if name == FIG1 else {}
        if said.of_loss:
            names |= {"fig2": "fig2" if name == FIG2 else f"{name}_losses", "departures": f"{name}_departures"}
        drawn |= {own: (made[each](), shown[each]) for each, own in names.items() if each in made}
        for setting, figure in pictures.by_setting(said).items():
            says = f"{sweep.question} {words.BY_SETTING.format(pictures.SETTINGS[setting][0])}"
            drawn[_free(drawn, name, setting.rpartition(".")[2])] = figure(), says
        if any(verdict.attribution for verdict in said.judged) and name != FIG1 and not said.terms:
            says = f"{sweep.question} {shown['paired_differences']}"
            drawn[_free(drawn, name, "differences")] = made["paired_differences"](), says
        for each in (each for each in made if each.startswith("by_")):
            drawn[_free(drawn, name, each.removeprefix("by_"))] = made[each](), f"{sweep.question} {shown[each]}"
    held = {name: said.comparisons.get(TEST_ACCURACY) for name, said in study.said.items() if name != CALIBRATION}
    if blocks := {name: table for name, table in held.items() if table}:
        columns = forests.in_columns(blocks, min(COLUMNS, len(blocks)))
        asked = [verdict.claim for _, verdict in study.verdicts if verdict.claim.metric == TEST_ACCURACY.metric]
        published = next((claim.published for claim in asked if claim.source), None)
        margin = max((claim.margin for claim in asked), default=0.0)
        says = (
            "Every arm of every sweep of the classification task: mean paired difference in test accuracy to its baseline, "
            "95 % intervals, not corrected; blue squares exclude 0 by themselves, (n) pairs, † where pairs ended without a "
            "value. Grey: less than matters."
            + ("" if published is None else " Orange: the effect that the paper has for λ = 0.5 (C1).")
        )
        drawn["all_arms"] = style.page(len(columns), forests.all_arms, columns, published, margin), says
    if times := [verdict for _, verdict in study.of_the_paper if verdict.claim.of_time and verdict.effect.n]:
        says = "What the term costs: runs made one at a time, arms interleaved; ratios with Fieller's interval."
        drawn["cost"] = style.column(0.9 + 0.4 * len(times), forests.cost, times), says
    return drawn


def _free(drawn: Drawn, name: str, kind: str) -> str:
    """The sweep's own name for its first figure; more have their kind in it."""
    return name if name not in drawn else f"{name}_{kind}"
