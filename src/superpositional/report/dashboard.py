"""What is on the dashboard of a sweep?

One spec, as plain data: sections of panels, and how the arms are named and grouped. Two show it and add nothing to it:
``dashboard_page`` as a page that opens from disk, ``tracking.workspaces`` as a workspace and a report on W&B.
`of` chooses what the sweep's records have: a metric that no run logged has no panel, a section without panels is none.

Metrics are named exactly as ``curves.csv`` and the summaries name them, and nothing is smoothed. Arms are never averaged
with one another: "by depth" is the arms that differ in the depth alone, side by side. The verdicts and the table of
differences are those of `report`, handed in.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from superpositional.evidence import analysis
from superpositional.format import Rows, label
from superpositional.records import Sweep
from superpositional.records.identity import PRESENTATION
from superpositional.records.moved import moved
from superpositional.report.style import drawn_as

# What an optimizer's target is for readers: the baselines are torch's own.
METHODS = {
    "torch.optim.Adam": "torch's Adam",
    "torch.optim.AdamW": "torch's AdamW",
    "torch.optim.SGD": "torch's SGD",
    "superpositional.SuperpositionalAdamW": "superpositional AdamW",
    "superpositional.optim.placebo.PlaceboAdamW": "AdamW but for one bit",
}
# Settings along which a sweep can be looked at, where it has arms that differ in one of them and in nothing else.
SETTINGS = {
    "circuit.depth": "depth",
    "circuit.n_qubits": "qubits",
    "optimizer.quantum_weight": "quantum weight",
    "optimizer.lr": "learning rate",
}
VERDICTS, DIFFERENCES = "Verdicts", "Paired differences"
LEARNING, QUANTUM, CIRCUITS = "Loss and accuracy", "The quantum term", "Circuits"
OPTIMIZATION, SPEED, CONVERGENCE, OTHER = "Optimization", "Speed and memory", "Convergence", "Other scalars"
# By a metric's first part, or by all of its name.
SECTIONS = {
    **dict.fromkeys(("train", "val", "test"), LEARNING),
    **dict.fromkeys(("train/lr", "gradient"), OPTIMIZATION),
    **dict.fromkeys(("perturbation", "tracer"), QUANTUM),
    **dict.fromkeys(("throughput", "memory", "time"), SPEED),
    "circuit": CIRCUITS,
    "convergence": CONVERGENCE,
}
# How to speak of a metric: title, unit, scale. The order is that of the panels; others follow by their own names.
SPOKEN = {
    "train/loss": ("training loss", "", 1.0),
    "val/loss": ("validation loss", "", 1.0),
    "val/accuracy": ("validation accuracy", "%", 100.0),
    "test/accuracy": ("test accuracy", "%", 100.0),
    "test/exact_match": ("exact match", "%", 100.0),
    "test/exact_match_flexible": ("flexible match", "%", 100.0),
    "test/answers_finished": ("answers that end", "%", 100.0),
    "train/loss/last_epoch": ("mean training loss of the last epoch", "", 1.0),
    "val/loss/last": ("last validation loss", "", 1.0),
    "test/loss": ("test loss", "", 1.0),
    "train/lr": ("learning rate", "", 1.0),
    "gradient/norm": ("norm of the gradient, before clipping", "", 1.0),
    "perturbation/ratio": ("size of the term over that of AdamW's step", "", 1.0),
    "perturbation/cosine": ("cosine of the term to AdamW's step", "", 1.0),
    "perturbation/share": ("share of the term in the update", "%", 100.0),
    "perturbation/angle": ("angle between the update with and without it", "°", 1.0),
    "perturbation/norm": ("norm of the term", "", 1.0),
    "perturbation/step_norm": ("norm of AdamW's step", "", 1.0),
    "perturbation/touched": ("scalars touched in a step", "", 1.0),
    "perturbation/nonzero_gradient": ("touched scalars with a gradient", "", 1.0),
    "perturbation/changed": ("scalars changed in a step", "", 1.0),
    "tracer/share": ("share of the term in the update, traced", "%", 100.0),
    "tracer/angle": ("angle between the update with and without it, traced", "°", 1.0),
    "tracer/touched": ("scalars touched, of all traced", "", 1.0),
    "tracer/changed": ("scalars changed, of all traced", "", 1.0),
    "throughput/steps_per_second": ("steps per second", "", 1.0),
    "throughput/rows_per_second": ("rows per second", "", 1.0),
    "throughput/tokens_per_second": ("tokens per second", "", 1.0),
    "memory/peak_bytes": ("peak memory", "MiB", 2.0**-20),
    "time/train_seconds": ("time since the start of training", "s", 1.0),
    "convergence/epochs_to_target": ("epochs to target, of runs that reach it", "", 1.0),
    "convergence/steps_to_target": ("steps to target, of runs that reach it", "", 1.0),
    "convergence/seconds_to_target": ("seconds to target, of runs that reach it", "s", 1.0),
    "convergence/seconds_per_epoch": ("seconds per epoch", "s", 1.0),
    "convergence/area": ("mean height of the validation curve", "", 1.0),
    "convergence/mean_last_k": ("mean of the last validations", "", 1.0),
    "convergence/loss_variance": ("variance of the loss from step to step", "", 1.0),
    "circuit/executions": ("circuits run in a step", "", 1.0),
    "circuit/expressibility": ("expressibility: divergence from Haar", "", 1.0),
    "circuit/gate_depth": ("depth of the circuit in gates", "", 1.0),
    "circuit/two_qubit_gates": ("two-qubit gates", "", 1.0),
    "circuit/transpiled_depth": ("depth in gates, transpiled", "", 1.0),
    "circuit/transpiled_two_qubit_gates": ("two-qubit gates, transpiled", "", 1.0),
}
# Summaries that stand for no curve, and what is also looked at along a setting.
IN_BARS = ("test/", "convergence/")
CONSTANT = ("convergence/target",)
ALONG_SETTINGS = ("train/loss/last_epoch", "val/loss/last", "convergence/area", "perturbation/ratio")
# Of a circuit what it does in training, and what it is: facts of its ansatz, the same in every run of an arm.
MEASURED = ("entanglement", "phi_ratio", "gradient_variance")
FACTS = ("expressibility", "transpiled_depth", "transpiled_two_qubit_gates")
COUNTS = ("gate_depth", "two_qubit_gates")
# Positive values that span more than this are shown on a log axis.
LINEAR_SPAN = 30


@dataclass(frozen=True)
class Arm:
    """An arm and what it trains with; ``place`` is where it stands in the sweep, which its colour follows from."""

    name: str
    label: str
    method: str
    place: int

    @property
    def colour(self) -> str:
        return drawn_as(self.place)["color"]


@dataclass(frozen=True)
class Series:
    """Arms that differ in one setting alone, by its value, ascending."""

    name: str
    arms: Mapping[float, str]


@dataclass(frozen=True)
class Setting:
    """Something that was swept: a key of the config, its name for readers, and what to look at along it."""

    key: str
    name: str
    series: tuple[Series, ...]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(sorted({value for each in self.series for value in each.arms}))


@dataclass(frozen=True)
class Panel:
    """One panel. Each arm's values are averaged over its seeds.

    ``kind``: ``line``, a logged scalar by step; ``bar``, a summary by arm; ``scatter``, a summary against the setting
    ``against``; ``table``, of ``rows``, under ``words``. Shown are ``scale`` times the metric's values, in ``unit``.
    """

    kind: str
    title: str
    metric: str = ""
    unit: str = ""
    scale: float = 1.0
    log: bool = False
    against: str = ""
    words: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """The whole spec; ``project`` and ``entity`` are where the sweep's runs have W&B mirror them."""

    sweep: str
    question: str
    lead: str
    progress: str
    arms: tuple[Arm, ...]
    settings: tuple[Setting, ...]
    sections: tuple[Section, ...]
    provenance: Mapping[str, str]
    project: str = "superpositional"
    entity: str | None = None

    @property
    def panels(self) -> list[Panel]:
        return [panel for section in self.sections for panel in section.panels]

    @property
    def learning(self) -> list[Panel]:
        """The learning curves."""
        of = [section.panels for section in self.sections if section.name == LEARNING]
        return [panel for panels in of for panel in panels if panel.kind == "line"]


def of(
    sweep: Sweep,
    *,
    lead: str = "",
    tables: Mapping[str, tuple[str, Rows]] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Dashboard:
    """The dashboard of what a sweep's records have, finished or not.

    Args:
        lead: the answer in short, as `wording` has it.
        tables: (words, rows) of ``VERDICTS`` and ``DIFFERENCES``, as `report` has them.
        provenance: what the records are of, as `wording` has it.
    """
    settings = tuple(_settings(sweep))
    sections: dict[str, list[Panel]] = {LEARNING: []}
    sections |= {f"By {setting.name}": list(_along(sweep, setting)) for setting in settings}
    for name, (words, rows) in (tables or {}).items():
        if len(rows) > 1:
            sections[name] = [Panel("table", name, words=words, rows=tuple(rows))]
    for name in (OPTIMIZATION, QUANTUM, CIRCUITS, SPEED, CONVERGENCE, OTHER):
        sections[name] = []
    lines = list(_lines(sweep))
    for panel in (*lines, *_bars(sweep, {panel.metric for panel in lines})):
        sections[_section(panel.metric)].append(panel)
    loggers = (_config(sweep, arm).get("logger") or {} for arm in sweep.arms)
    mirror = next((logger for logger in loggers if "project" in logger), {})
    return Dashboard(
        sweep=sweep.name,
        question=" ".join(sweep.question.split()),
        lead=lead,
        progress=analysis.progress(sweep),
        arms=tuple(Arm(arm, label(arm), _method(sweep, arm), place) for place, arm in enumerate(sweep.arms)),
        settings=settings,
        sections=tuple(Section(name, tuple(panels)) for name, panels in sections.items() if panels),
        provenance=dict(provenance or {}),
        project=mirror.get("project") or "superpositional",
        entity=mirror.get("entity"),
    )


# Panels ------------------------------------------------------------------------------------------------------------


def _lines(sweep: Sweep) -> Iterator[Panel]:
    """Of each scalar that some run logged more than once."""
    logged = dict.fromkeys(
        metric for run in sweep.runs for metric, (steps, _) in run.curves.items() if len(np.unique(steps)) > 1
    )
    for metric in sorted(logged, key=_order):
        values = [run.curves[metric][1] for run in sweep.runs if run.status == "done" and metric in run.curves]
        yield _panel("line", metric, np.concatenate([*values, np.empty(0)]))


def _bars(sweep: Sweep, drawn: set[str]) -> Iterator[Panel]:
    """Of each summary that no curve shows: the main measures, tests, convergence, and numbers of single circuits."""
    measured = [measure.metric for measure in analysis.measures(sweep)]
    found = [name for name in _summaries(sweep) if name in measured or name.startswith(IN_BARS)]
    found += [name for name in _summaries(sweep) if _of_a_circuit(name, (*MEASURED, *FACTS, "certificate"))]
    for metric in sorted({*found} - {*CONSTANT} - drawn, key=_order):
        yield _panel("bar", metric, _finals(sweep, metric, sweep.arms))


def _along(sweep: Sweep, setting: Setting) -> Iterator[Panel]:
    """The main measures, and what else a circuit's size may move, against the setting."""
    arms = {arm for series in setting.series for arm in series.arms.values()}
    there = [name for name in _summaries(sweep) if len(_finals(sweep, name, arms))]
    wanted = [measure.metric for measure in analysis.measures(sweep)] + list(ALONG_SETTINGS)
    wanted += [name for name in there if _of_a_circuit(name, (*MEASURED, *FACTS, *COUNTS))]
    for metric in dict.fromkeys(wanted):
        if metric in there:
            yield _panel("scatter", metric, _finals(sweep, metric, arms), against=setting.key)


def _panel(kind: str, metric: str, values: np.ndarray, against: str = "") -> Panel:
    title, unit, scale = _spoken(metric)
    values = values[np.isfinite(values)]
    log = len(values) > 0 and bool(0 < LINEAR_SPAN * values.min() < values.max())
    return Panel(kind, title, metric, unit, scale, log, against)


def _spoken(metric: str) -> tuple[str, str, float]:
    if metric in SPOKEN:
        return SPOKEN[metric]
    first, *places, last = metric.split("/") if "/" in metric else ("", metric)
    # perturbation/norm/group1
    known = f"{first}/{'/'.join(places)}"
    if last.startswith("group") and known in SPOKEN:
        title, unit, scale = SPOKEN[known]
        return f"{title}, {last}", unit, scale
    words = last.replace("_", " ")
    return (f"{words}, {'/'.join(places)}" if places else words), "", 1.0


def _order(metric: str) -> tuple[int, str]:
    places = list(SPOKEN)
    known = metric if metric in SPOKEN else metric.rpartition("/")[0]
    return (places.index(known) if known in SPOKEN else len(places), metric)


def _section(metric: str) -> str:
    return SECTIONS.get(metric) or SECTIONS.get(metric.partition("/")[0], OTHER)


def _of_a_circuit(name: str, what: tuple[str, ...]) -> bool:
    """``circuit/<what>`` or, where there are several, ``circuit/<place>/<what>``."""
    return name.startswith("circuit/") and name.rpartition("/")[2] in what


def _summaries(sweep: Sweep) -> list[str]:
    """The names that some finished run has a number for."""
    numbers = (int, float)
    found = (
        name
        for run in sweep.runs
        if run.status == "done"
        for name, value in run.record["summary"].items()
        if isinstance(value, numbers) and not isinstance(value, bool)
    )
    return list(dict.fromkeys(found))


def _finals(sweep: Sweep, metric: str, arms: Iterable[str]) -> np.ndarray:
    runs = [run for run in sweep.runs if run.status == "done" and run.arm in set(arms)]
    return np.array([value for run in runs if (value := run.summary(metric)) is not None], dtype=float)


# Arms --------------------------------------------------------------------------------------------------------------


def _config(sweep: Sweep, arm: str) -> Mapping[str, Any]:
    """That of one of the arm's runs: they share all but the seed."""
    return next((run.record["config"] for run in sweep.runs if run.arm == arm and run.record.get("config")), {})


def _method(sweep: Sweep, arm: str) -> str:
    """``torch's SGD``; of an arm that has not begun, nothing."""
    config = _config(sweep, arm)
    target = (config.get("optimizer") or {}).get("_target_")
    if target is None:
        return ""
    words = [METHODS.get(moved(config["optimizer"])["_target_"], target.rpartition(".")[2])]
    attention = (config.get("net") or {}).get("attention")
    if isinstance(attention, Mapping) and not str(attention.get("_target_")).startswith("torch."):
        words.append(str(attention.get("_target_")).rpartition(".")[2])
    return ", ".join(words)


def _settings(sweep: Sweep) -> Iterator[Setting]:
    for key, name in SETTINGS.items():
        if series := _series(sweep, key):
            yield Setting(key, name, series)


def _series(sweep: Sweep, key: str) -> tuple[Series, ...]:
    """Arms whose configs agree in all but this setting, wherever it is repeated, and have at least two values of it."""
    alike: dict[str, dict[float, str]] = {}
    for arm in sweep.arms:
        config = _config(sweep, arm)
        value = _value(config, key)
        if value is not None:
            rest = {name: each for name, each in config.items() if name not in (*PRESENTATION, "seed")}
            text = json.dumps(_without(rest, key.rpartition(".")[2]), sort_keys=True, default=str)
            alike.setdefault(text, {}).setdefault(value, arm)
    several = [dict(sorted(each.items())) for each in alike.values() if len(each) > 1]
    names = [_common(list(each.values())) for each in several]
    unique = len(set(names)) == len(names)
    return tuple(
        Series(name if unique else f"{name} ({label(next(iter(each.values())))})", each)
        for name, each in zip(names, several, strict=True)
    )


def _value(config: Mapping[str, Any], key: str) -> float | None:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _without(value: Any, leaf: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(each, leaf) for key, each in value.items() if key != leaf}
    return value


def _common(arms: list[str]) -> str:
    """What names of a series have in common: ``circuit`` of circuit_L1 and circuit_L2."""
    parts = [arm.split(",")[0].split("_") for arm in arms]
    shared = []
    for same in zip(*parts, strict=False):
        if len(set(same)) > 1:
            break
        shared.append(same[0])
    return label("_".join(shared)) if shared else " / ".join(map(label, arms))
