"""The report over all sweeps of a folder, a study: one page, the figures and tables of a paper, README's blocks.

``index.html`` holds all of it, ``claims.json`` every verdict with every digit, and the blocks stand in README and the
logbook between markers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from superpositional.evidence import analysis, power, tuning
from superpositional.evidence.verdicts import Verdict
from superpositional.format import as_given, label
from superpositional.records import Sweep, claims, load_sweep, write_json
from superpositional.records.ledger import ledger
from superpositional.records.measures import TEST_ACCURACY, spoken
from superpositional.records.published import fingerprint
from superpositional.report import forests, interactive, style, tables, words, write
from superpositional.report.findings import Findings, ReportError, findings
from superpositional.report.tables import NONE, Cells, Table, csv, rows, values
from superpositional.report.write import image, render, write_texts

# The order in which a reader meets them; others follow by name.
ORDER = ("paper_classification", "paper_time", "paper_gsm8k", "quantum_weight", "scope", "controls", "tune_classification")
ORDER += ("tuned_classification", "circuit_depth", "qubits", "paper_attention", "attention_controls", "shots", "noise")
# Of arms that differ by nothing: it tells how often the rule errs, and asks nothing about any arm.
CALIBRATION = "calibration"
ORDER += (CALIBRATION,)


@dataclass(frozen=True)
class Study:
    """The sweeps of a folder in order, the findings of each, and the ledgers of searches."""

    sweeps: tuple[Sweep, ...]
    said: Mapping[str, Findings]
    searches: Mapping[str, Mapping[str, Any]]

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Every verdict with its sweep, except the calibrating ones."""
        return [(name, each) for name, said in self.said.items() if name != CALIBRATION for each in said.judged]

    @property
    def of_the_paper(self) -> list[tuple[str, Verdict]]:
        """The paper's own claims, in its order: those that say where it claims them."""
        found = [each for each in self.verdicts if each[1].claim.source]
        return sorted(found, key=lambda each: each[1].claim.id.split("_")[0])

    @property
    def besides(self) -> list[tuple[str, Verdict]]:
        return [each for each in self.verdicts if not each[1].claim.source]

    @cached_property
    def planted(self) -> Table | None:
        """How often equivalent is false with the effect at the margin."""
        sweep = self.said[CALIBRATION].sweep if CALIBRATION in self.said else None
        return sweep and Table(*power.planted(sweep, claims.of(sweep)[1]))

    @property
    def missing(self) -> list[str]:
        """Sweeps of ``ORDER`` that are not there."""
        return [name for name in ORDER if name not in self.fingerprints]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        return {sweep.name: fingerprint(sweep) for sweep in self.sweeps}


def is_study(folder: Path) -> bool:
    """Whether a folder holds sweeps and is not itself one."""
    return not (folder / "sweep.json").exists() and any(folder.glob("*/sweep.json"))


def gather(folder: Path) -> Study:
    """Read every sweep of a folder.

    Raises:
        ReportError: there is none, or one cannot be reported.
    """
    found: dict[str, tuple[Sweep, Path]] = {}
    for path in sorted(folder.glob("*/sweep.json")):
        sweep = load_sweep(path.parent)
        if sweep.name in found:
            raise ReportError(f"{path.parent} and {found[sweep.name][1]} are both of {sweep.name}; take one out")
        found[sweep.name] = (sweep, path.parent)
    if not found:
        raise ReportError(f"no sweep in {folder}: none of its folders holds a sweep.json")
    names = [name for name in ORDER if name in found] + sorted(found.keys() - {*ORDER})
    said = {name: findings(*found[name]) for name in names if found[name][0].search is None}
    searches = {name: ledger(found[name][0]) for name in names if name not in said}
    return Study(tuple(found[name][0] for name in names), said, searches)


# Tables ------------------------------------------------------------------------------------------------------------


def tabled(study: Study) -> dict[str, Table]:
    """Return every table by its file's name; those of verdicts with every digit."""
    every = csv(values([verdict for _, verdict in study.verdicts]))
    besides = [(_asked(study.said[name], name, verdict), verdict) for name, verdict in study.besides]
    broke = [
        {"sweep": f"`{name}`", "arm": arm, "runs that broke": lost, "of them diverged": str(diverged)}
        for name, said in study.said.items()
        for arm, lost, diverged in words.broken(said.sweep)
    ]
    tables = {
        "claims": Table(f"The paper's claims. {words.RULE}", rows(_claim(*each) for each in study.of_the_paper)),
        "besides": Table(f"What else was asked. {words.RULE}", rows(row for row, _ in besides)),
        "verdicts": Table("Every verdict.", [], every),
        "found": Table(
            "Differences found beside the paper's claims.", rows(row for row, each in besides if each.established)
        ),
        "broken": Table(f"{words.BROKE}.", rows(broke)),
        "logbook": Table("The logbook.", rows(_row(study, sweep) for sweep in study.sweeps)),
    }
    return tables | ({"planted": study.planted} if study.planted else {})


def _claim(name: str, verdict: Verdict) -> Cells:
    claim, unit = verdict.claim, verdict.claim.effect_unit
    outside = ", outside" if verdict.published_within is False else ""
    return {
        "claim": f"{claim.id}: {claim.says}",
        "published": NONE if claim.published is None else f"{as_given(claim.published)} {unit}{outside}",
        "ours, 95 % interval": verdict.shown,
        "margin": f"± {claim.margin:g} {unit}",
        "n": words.pairs(verdict),
        "verdict": words.decided(verdict),
        "as claimed?": verdict.answer,
        "command": f"`superpositional sweep {name}`",
    }


def _asked(said: Findings, name: str, verdict: Verdict) -> Cells:
    claim = verdict.claim
    return {
        "sweep": f"`{name}`",
        "arm": label(claim.arm),
        "against": label(claim.baseline),
        "metric": spoken(claim.metric),
        "ours, 95 % interval": verdict.shown + words.against_first(said, verdict),
        "margin": f"± {claim.margin:g} {claim.effect_unit}",
        "n": words.pairs(verdict),
        "verdict": words.decided(verdict),
    }


def _row(study: Study, sweep: Sweep) -> Cells:
    if sweep.search is not None:
        told = tuning.lead(sweep, study.searches[sweep.name])
    elif sweep.name == CALIBRATION:
        own = [row for row in study.planted.rows[1:] if row[0].startswith("own")]
        shares = "; ".join(f"{row[0].removeprefix('own, ')} {', '.join(row[1:])}" for row in own)
        sizes = ", ".join(study.planted.rows[0][1:])
        told = f"With an effect as large as the margin equivalent is false (nominal: 5 %), at {sizes}: {shares}."
    else:
        said = study.said[sweep.name]
        lost = [f"{arm} in {runs} runs, {n} of them by diverging" for arm, runs, n in words.broken(sweep)]
        told = " ".join(words.lead(said)) + words.beyond(said.judged)
        told += f" {words.BROKE}: {'; '.join(lost)}." if lost else ""
    return {
        "sweep": f"`{sweep.name}`",
        "question": sweep.question,
        "n": words.extent(sweep),
        "what came of it": f"{analysis.progress(sweep).capitalize()}. {told.removeprefix('**In short.** ')}",
        "commit": words.commits(sweep),
    }


# Page and figures --------------------------------------------------------------------------------------------------


# The sweeps of the paper's own figures, and the columns of the figure of every arm.
FIG1, FIG2, COLUMNS = "paper_classification", "paper_gsm8k", 3


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
    found, files, images = tabled(study), [], {}
    codes = dict.fromkeys(str(run.record.get("code")) for sweep in study.sweeps for run in sweep.runs)
    provenance = {"study": ", ".join(sweep.name for sweep in study.sweeps), "code": ", ".join(codes)}
    with style.style():
        for name, (figure, says) in draw(study).items():
            files += style.save(figure, out / "figures" / name, provenance)
            images[name] = image(style.svg(figure, f"study-{name}"), says, style.is_wide(figure))
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
        own = tables.of(said)
        parts = [" ".join(words.lead(said)), own["results"].text, own["term"].markdown if "term" in own else ""]
        blocks[name] = "\n\n".join(part.strip() for part in parts if part) + "\n"
    text = "\n\n".join([blocks["study"].strip(), "\n".join(map(str, files))])
    return StudyReport(text, blocks, tuple(files))


def _summary(study: Study, found: dict[str, Table]) -> str:
    parts = [*words.paper(study.of_the_paper), found["claims"].markdown, words.PAIRS] if study.of_the_paper else []
    parts = parts or words.paper([])
    parts.append(words.elsewhere(study.besides))
    parts += [found[name].text for name in ("found", "broken", "planted") if name in found and found[name].rows]
    parts += [*words.limits(study.sweeps, study.verdicts), words.made(study.sweeps, study.missing, study.fingerprints)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _page(study: Study, found: dict[str, Table], images: dict[str, Any]) -> str:
    return render(
        "study",
        lead=[*words.paper(study.of_the_paper), words.elsewhere(study.besides)],
        drawn=images,
        found={name: table.plain() for name, table in found.items() if table.rows},
        pairs=words.PAIRS,
        sweeps=[_part(study, sweep, images) for sweep in study.sweeps],
        limits=words.limits(study.sweeps, study.verdicts),
        rule=words.RULE,
        again=words.AGAIN,
        made=words.made(study.sweeps, study.missing, study.fingerprints),
    )


def _part(study: Study, sweep: Any, images: dict[str, Any]) -> dict[str, Any]:
    name, shown = sweep.name, [key for key in images if key == sweep.name or key.startswith(f"{sweep.name}_")]
    part = {"name": name, "question": sweep.question, "figures": shown, "lead": [], "plots": {}, "sentences": []}
    part["extent"] = f"{words.extent(sweep)}, commit {words.commits(sweep)}."
    if name in study.searches:
        return part | {"tables": [tables.of_search(sweep, study.searches[name])]}
    said = study.said[name]
    several = [table for kind, table in tables.of(said).items() if kind != "claims"]
    part |= {"lead": words.lead(said), "plots": interactive.swept(sweep)}
    part["sentences"] = [each.sentence for each in said.judged]
    return part | {"tables": several + [study.planted] * (name == CALIBRATION)}


def draw(study: Study) -> dict[str, tuple[Figure, str]]:
    """Return every figure by its file's name with what it shows, in the order in which a reader meets them."""
    drawn: dict[str, tuple[Figure, str]] = {}
    if judged := [verdict for _, verdict in study.of_the_paper]:
        says = (
            "The paper's claims, each in units of its margin with its 95 % interval; an open diamond is the value as "
            "published, at the edge where it lies beyond."
        )
        drawn["claims"] = style.column(1.0 + 0.36 * len(judged), forests.claims_forest, judged), says
    for name, said in study.said.items():
        sweep, shown, made = said.sweep, words.shown(said), write.pictures(said)
        names = {"fig1": "fig1"} if name == FIG1 else {}
        if said.of_loss:
            names |= {"fig2": "fig2" if name == FIG2 else f"{name}_losses", "departures": f"{name}_departures"}
        drawn |= {own: (made[each](), shown[each]) for each, own in names.items() if each in made}
        for setting, figure in write.by_setting(said).items():
            says = f"{sweep.question} {words.BY_SETTING.format(write.SETTINGS[setting][0])}"
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


def _free(drawn: Mapping[str, Any], name: str, kind: str) -> str:
    """The sweep's own name for its first figure; more have their kind in it."""
    return name if name not in drawn else f"{name}_{kind}"
