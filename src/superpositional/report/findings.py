"""Everything that a sweep's records say, as numbers: one pass, before any of it is worded, tabled or drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superpositional.evidence import analysis, curves, verdicts
from superpositional.evidence.analysis import Comparison
from superpositional.evidence.verdicts import Verdict
from superpositional.places import UserError
from superpositional.records import Sweep, claims
from superpositional.records.ledger import ledger
from superpositional.records.measures import LOSS_BY_STEP, VALIDATION_ACCURACY, Measure

# What the figures of curves can be made of.
ALONG = " or ".join(each.metric for each in (VALIDATION_ACCURACY, LOSS_BY_STEP))
# The arm against which the others are held too: Adam but for one bit.
CONTROL = "placebo"


class ReportError(UserError):
    """A sweep, or a file to write to, that cannot be reported; the message names the cure."""


@dataclass(frozen=True)
class Findings:
    """The numbers of a sweep.

    ``comparisons`` are to each arm's baseline by measure, ``beside`` to the placebo of the same baseline; ``content`` are
    the claims as declared, ``judged`` their verdicts; ``apart`` and ``terms`` are of losses.
    """

    sweep: Sweep
    measures: tuple[Measure, ...]
    arms: Mapping[Measure, list[analysis.Outcomes]]
    comparisons: Mapping[Measure, list[Comparison]]
    beside: list[Comparison]
    curves: list[curves.Curve]
    content: dict[str, Any] | None
    judged: list[Verdict]
    apart: list[curves.Departure]
    terms: list[curves.Term]

    @property
    def main(self) -> Measure:
        return self.measures[0]

    @property
    def of_loss(self) -> bool:
        """Whether the loss is what counts: then whether it is the baseline's own comes first."""
        return self.main.along == LOSS_BY_STEP


def findings(sweep: Sweep, folder: str | Path, *, declared: str | Path | None = None) -> Findings:
    """Return the numbers of a sweep, which is not a search and was read from this folder.

    Raises:
        ReportError: no run has finished, none has what the figures show, or the claims cannot be judged.
    """
    _check_begun(sweep, folder)
    measures = analysis.measures(sweep)
    found = curves.learning_curves(sweep, measures[0].along)
    try:
        content, asked = claims.of(sweep, declared)
    except claims.ClaimError as error:
        raise ReportError(str(error)) from None
    judged = verdicts.judge(sweep, asked, claims.digest(content))
    if not any(curve.n for curve in found) and all(verdict.verdict == verdicts.NONE for verdict in judged):
        why = next((f" ({verdict.refusals[0]})" for verdict in judged), "")
        raise ReportError(
            f"nothing to show in {folder}: no finished run logged {ALONG}, and no claim has a verdict{why}; "
            "report a sweep of a task that validates its accuracy at each epoch's end or logs its training loss, or name "
            "claims about what it has"
        )
    held = [arm for arm in sweep.arms if sweep.baseline(arm) != arm]
    controls = {sweep.baseline(arm): arm for arm in held if arm.split(",")[0] == CONTROL}
    rest = [(arm, controls.get(sweep.baseline(arm), arm)) for arm in held]
    of_loss = measures[0].along == LOSS_BY_STEP
    apart = curves.departures(sweep) if of_loss else []
    return Findings(
        sweep,
        measures,
        arms={measure: [analysis.outcomes(sweep, arm, measure) for arm in sweep.arms] for measure in measures},
        comparisons={measure: [analysis.compare(sweep, arm, measure) for arm in held] for measure in measures},
        beside=[analysis.compare(sweep, arm, measures[0], to) for arm, to in rest if to != arm],
        curves=found,
        content=content,
        judged=judged,
        apart=apart,
        terms=curves.terms(sweep, apart) if of_loss else [],
    )


def trials(sweep: Sweep, folder: str | Path) -> Mapping[str, Any]:
    """Return the ledger of a search.

    Raises:
        ReportError: no run has finished, or none has what the search selects by.
    """
    _check_begun(sweep, folder)
    found = ledger(sweep)
    if not any(trial["n"] for entry in found["arms"].values() for trial in entry["trials"]):
        had = sorted({name for run in sweep.runs for name in run.record["summary"] if not name.startswith("test/")})
        raise ReportError(
            f"nothing to rank in {folder}: no finished run has {found['metric']}, which the search selects by; "
            f"choose hydra.sweeper.search.metric of {', '.join(had) or 'what the runs record'}"
        )
    return found


def _check_begun(sweep: Sweep, folder: str | Path) -> None:
    if not any(run.status == "done" for run in sweep.runs):
        raise ReportError(
            f"nothing to show in {folder}: {analysis.progress(sweep)}; start or resume it with "
            f"`superpositional sweep {sweep.name}` and report again once a run has finished"
        )
