"""What does a sweep say?

All that its records bear, before any of it is drawn or written: verdicts, comparisons, tables, sentences. Read by
``report`` for one sweep and by ``study`` for several.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional.evidence import analysis, curves, questions, verdicts
from superpositional.evidence.analysis import Comparison
from superpositional.evidence.verdicts import Verdict
from superpositional.format import Rows
from superpositional.records import Sweep, claims
from superpositional.records.measures import LOSS_BY_STEP, VALIDATION_ACCURACY, Measure
from superpositional.report import tables, words

# What the figures of curves can be made of.
ALONG = " or ".join(each.metric for each in (VALIDATION_ACCURACY, LOSS_BY_STEP))
# The arm against which the others are held too: Adam but for one bit.
CONTROL = "placebo"


class ReportError(ValueError):
    """A sweep, or a file to write to, that cannot be reported; the message names the cure."""


@dataclass(frozen=True)
class Findings:
    """What a sweep's records say, before any of it is drawn or written.

    ``rows`` are the table of arms; ``captioned`` the others that there are, by name, each with its caption; ``content`` the
    claims as declared, ``judged`` their verdicts; ``apart`` and ``terms`` of losses; ``answered`` question by question.
    """

    sweep: Sweep
    measures: tuple[Measure, ...]
    arms: dict[Measure, list[analysis.Outcomes]]
    comparisons: dict[Measure, list[Comparison]]
    found: list[curves.Curve]
    content: dict[str, Any] | None
    judged: list[Verdict]
    apart: list[curves.Departure]
    terms: list[curves.Term]
    answered: list[questions.Paired]
    caption: str
    lead: str
    rows: Rows
    captioned: dict[str, tuple[str, Rows]]

    @property
    def sentences(self) -> list[str]:
        """Each verdict and comparison in one, with n; those against the placebo too."""
        said = [verdict.sentence for verdict in self.judged]
        said += [comparison.sentence for measure in self.measures for comparison in self.comparisons[measure]]
        # The control of each baseline, at the same swept values.
        held = [arm for arm in self.sweep.arms if self.sweep.baseline(arm) != arm]
        controls = {self.sweep.baseline(arm): arm for arm in held if arm.split(",")[0] == CONTROL}
        rest = [(arm, controls.get(self.sweep.baseline(arm), arm)) for arm in held]
        said += [analysis.compare(self.sweep, arm, self.measures[0], to).sentence for arm, to in rest if to != arm]
        return said + questions.sentences(self.answered)


def findings(sweep: Sweep, folder: str | Path, *, declared: str | Path | None = None) -> Findings:
    """Everything that the records of a sweep, which is no search and was read from this folder, say.

    Raises:
        ReportError: no run has finished, none has what the figures show, or the claims cannot be judged.
    """
    check_begun(sweep, folder)
    measures = analysis.measures(sweep)
    found = curves.learning_curves(sweep, measures[0].along)
    try:
        content, asked = claims.of(sweep, declared)
    except claims.ClaimError as error:
        raise ReportError(str(error)) from None
    judged = verdicts.judge(sweep, asked, claims.digest(content))
    _check(judged, found, folder)
    try:
        answered = questions.compare(sweep, questions.read(Path(folder), sweep))
    except ValueError as error:
        raise ReportError(str(error)) from None
    arms = {measure: [analysis.outcomes(sweep, arm, measure) for arm in sweep.arms] for measure in measures}
    held = [arm for arm in sweep.arms if sweep.baseline(arm) != arm]
    comparisons = {measure: [analysis.compare(sweep, arm, measure) for arm in held] for measure in measures}
    # Where the loss is what counts, whether it is the baseline's own comes first.
    of_loss = measures[0].along == LOSS_BY_STEP
    apart = curves.departures(sweep) if of_loss else []
    terms = curves.terms(sweep, apart) if of_loss else []
    captioned = {
        "claims": (words.claims_caption(sweep, judged, content), tables.claim_rows(judged)),
        "attribution": (words.ATTRIBUTION, tables.attribution_rows(judged)),
        "term": (words.TERM, tables.term_rows(terms)),
        "questions": (questions.RULE, questions.rows(answered)),
    }
    return Findings(
        sweep,
        measures,
        arms,
        comparisons,
        found,
        content,
        judged,
        apart,
        terms,
        answered,
        caption=words.caption(sweep, comparisons),
        lead=words.lead(sweep, comparisons, judged, terms, answered),
        rows=tables.arm_rows(arms, comparisons),
        captioned={name: each for name, each in captioned.items() if len(each[1]) > 1},
    )


def check_begun(sweep: Sweep, folder: str | Path) -> None:
    """Refuse a sweep of which no run is done.

    Raises:
        ReportError: so it is.
    """
    if not any(run.status == "done" for run in sweep.runs):
        raise ReportError(
            f"nothing to show in {folder}: {analysis.progress(sweep)}; start or resume it with "
            f"`superpositional sweep {sweep.name}` and report again once a run has finished"
        )


def _check(judged: list[Verdict], found: list, folder: str | Path) -> None:
    if not any(curve.n for curve in found) and all(verdict.verdict == verdicts.NONE for verdict in judged):
        why = next((f" ({verdict.refusals[0]})" for verdict in judged), "")
        raise ReportError(
            f"nothing to show in {folder}: no finished run logged {ALONG}, and no claim has a verdict{why}; "
            "report a sweep of a task that validates its accuracy at each epoch's end or logs its training loss, or name "
            "claims about what it has"
        )
