"""What a task's results are called: the measures that travel in a run's record.

A task declares its measures (any LightningModule's ``measures``), a run writes them into its
record, and evidence, report and W&B read them there. The first one decides.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Along:
    """A metric logged along the way, its name and its factor; it is drawn against ``by``, ``"epoch"`` or ``"step"``."""

    metric: str
    quantity: str
    scale: float = 1.0
    by: str = "epoch"


@dataclass(frozen=True)
class Measure:
    """A summary metric and its names for readers.

    Attributes:
        metric: its key in the summary, e.g. ``test/accuracy``.
        name, unit: for sentences; values are shown times ``scale``.
        more, fewer: what a larger and a smaller value is called: ``higher`` and ``lower``.
        requires: the metric that says that this one was measured: a run that has it and no value missed the target.
        heading, decimals: of a table.
        relative: whether a ratio of means is shown too.
        along: what shows the measure on its way.
        evaluated: it comes from answers to a split's questions; of fewer questions than there are it is not a result.
    """

    metric: str
    name: str
    unit: str
    more: str
    fewer: str
    scale: float = 1.0
    requires: str | None = None
    heading: str = ""
    decimals: int = 2
    relative: bool = False
    along: Along | None = None
    evaluated: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the declaration as a record holds it."""
        given = dataclasses.asdict(self)
        return {each.name: given[each.name] for each in dataclasses.fields(self) if given[each.name] != each.default}


def declared(plain: Iterable[Mapping[str, Any]]) -> tuple[Measure, ...]:
    """Return the measures of a record's plain values."""
    return tuple(Measure(**{**each, "along": Along(**each["along"]) if each.get("along") else None}) for each in plain)


# Title, unit and scale of a metric, in the order of the panels. The title of any other is its own name.
SPOKEN = {
    "train/loss": ("training loss", "", 1.0),
    "val/loss": ("validation loss", "", 1.0),
    "val/accuracy": ("validation accuracy", "%", 100.0),
    "test/accuracy": ("test accuracy", "%", 100.0),
    "test/exact_match": ("exact match", "%", 100.0),
    "test/exact_match_flexible": ("flexible match", "%", 100.0),
    "train/loss/last_epoch": ("mean training loss of the last epoch", "", 1.0),
    "val/loss/last": ("last validation loss", "", 1.0),
    "train/lr": ("learning rate", "", 1.0),
    "gradient/norm": ("norm of the gradient, before clipping", "", 1.0),
    "perturbation/ratio": ("size of the term over that of AdamW's step", "", 1.0),
    "perturbation/share": ("share of the term in the update", "%", 100.0),
    "perturbation/angle": ("angle between the update with and without the term", "°", 1.0),
    "perturbation/norm": ("norm of the term", "", 1.0),
    "memory/peak_bytes": ("peak memory", "MiB", 2.0**-20),
    "convergence/epochs_to_target": ("epochs to target", "", 1.0),
    "diverged": ("share of runs that diverged", "%", 100.0),
    "convergence/area": ("mean height of the validation curve", "", 1.0),
    "convergence/loss_variance": ("variance of the loss from step to step", "", 1.0),
}
# The measures of records that declare none: those of the two tasks of the published study.
VALIDATION_ACCURACY = Along("val/accuracy", "validation accuracy (%)", 100.0)
LOSS_BY_STEP = Along("train/loss", "training loss", by="step")
POINTS = {"unit": "points", "more": "higher", "fewer": "lower", "scale": 100.0}
# A loss is compared by factors too, and differences of a millionth of it are no rounding.
LOSS = {"unit": "", "more": "higher", "fewer": "lower", "decimals": 6, "relative": True}
TEST_ACCURACY = Measure("test/accuracy", "test accuracy", **POINTS, heading="test accuracy (%)", along=VALIDATION_ACCURACY)
EPOCHS_TO_TARGET = Measure(
    "convergence/epochs_to_target", "epochs to target", "epochs", "more", "fewer", requires="convergence/target"
)
TRAINING_LOSS = Measure("train/loss/last_epoch", "mean training loss", **LOSS, along=LOSS_BY_STEP)
VALIDATION_LOSS = Measure("val/loss/last", "validation loss", **LOSS)
EXACT_MATCH = Measure("test/exact_match", "exact match", **POINTS, heading="exact match (%)", evaluated=True)
FLEXIBLE_MATCH = Measure(
    "test/exact_match_flexible", "flexible match", **POINTS, heading="flexible match (%)", evaluated=True
)
ACCURACY_FIRST = (TEST_ACCURACY, EPOCHS_TO_TARGET)
LOSS_FIRST = (TRAINING_LOSS, VALIDATION_LOSS, EXACT_MATCH, FLEXIBLE_MATCH)


def undeclared(had: Iterable[str]) -> tuple[Measure, ...]:
    """Return the measures of records that declare none, by the metrics that their summaries have."""
    had = list(had)
    if TEST_ACCURACY.metric in had:
        return ACCURACY_FIRST
    if TRAINING_LOSS.metric in had and VALIDATION_LOSS.metric in had:
        return LOSS_FIRST
    own = [name for name in had if name.startswith("test/")] or [name for name in had if name.startswith("val/")]
    return tuple(Measure(name, name, "", "higher", "lower") for name in own) or ACCURACY_FIRST


def spoken(metric: str) -> str:
    """Return the title of a metric for readers; that of an unknown one is its own name."""
    return SPOKEN.get(metric, (metric,))[0]
