"""The tables of a study: the paper's claims, what else was asked, the logbook, and where training broke."""

from superpositional.evidence import analysis, tuning
from superpositional.evidence.verdicts import Verdict
from superpositional.format import as_given, label
from superpositional.records import Sweep
from superpositional.report import words
from superpositional.report.dashboard import SPOKEN
from superpositional.report.findings import Findings
from superpositional.report.study.gather import CALIBRATION, Study
from superpositional.report.tables import NONE, Cells, Table, csv, rows, values


def of(study: Study) -> dict[str, Table]:
    """Return every table by its file's name; those of verdicts with every digit."""
    every = csv(values([verdict for _, verdict in study.verdicts]))
    besides = [_asked(study.said[name], name, verdict) for name, verdict in study.besides]
    found = [row for row, (_, each) in zip(besides, study.besides, strict=True) if each.verdict in ("superior", "inferior")]
    broke = [
        {"sweep": f"`{sweep.name}`", "arm": arm, "runs that broke": lost, "of them diverged": str(diverged)}
        for sweep in study.sweeps
        if sweep.search is None
        for arm, lost, diverged in words.broken(sweep)
    ]
    tables = {
        "claims": Table(f"The paper's claims. {words.RULE}", rows([_claim(*each) for each in study.of_the_paper])),
        "besides": Table(f"What else was asked. {words.RULE}", rows(besides)),
        "verdicts": Table("Every verdict.", [], every),
        "found": Table("Differences found beside the paper's claims.", rows(found)),
        "broken": Table(f"{words.BROKE}.", rows(broke)),
        "logbook": Table("The logbook.", rows([_row(study, sweep) for sweep in study.sweeps])),
    }
    return tables | ({"planted": study.planted} if study.planted else {})


def _claim(name: str, verdict: Verdict) -> Cells:
    """What was published, what came out, and how to run it again."""
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
        "metric": SPOKEN.get(claim.metric, [claim.metric])[0],
        "ours, 95 % interval": verdict.shown + words.against_first(said, verdict),
        "margin": f"± {claim.margin:g} {claim.effect_unit}",
        "n": words.pairs(verdict),
        "verdict": words.decided(verdict),
    }


def _row(study: Study, sweep: Sweep) -> Cells:
    """What a sweep asked, of how many runs, and what came of it."""
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
        told = (
            " ".join(words.lead(said)) + words.beyond(said.judged) + (f" {words.BROKE}: {'; '.join(lost)}." if lost else "")
        )
    return {
        "sweep": f"`{sweep.name}`",
        "question": sweep.question,
        "n": words.extent(sweep),
        "what came of it": f"{analysis.progress(sweep).capitalize()}. {told.removeprefix('**In short.** ')}",
        "commit": words.commits(sweep),
    }
