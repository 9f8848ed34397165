"""The dashboard of a sweep as plain data: sections of panels, and how its arms are named and grouped.

``interactive`` draws the panels for the report's page, ``tracking.workspaces`` sends them to Weights & Biases. Metrics keep
the names of ``curves.csv`` and the summaries. A metric that no run logged has no panel, an empty section is left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from superpositional.evidence import analysis
from superpositional.format import Rows, label
from superpositional.records import Sweep
from superpositional.records.identity import moved
from superpositional.records.measures import SPOKEN
from superpositional.report.along import Series, config, series
from superpositional.report.style import LINEAR_SPAN, drawn_as

# What an optimizer's target is for readers.
METHODS = {f"torch.optim.{name}": f"torch's {name}" for name in ("Adam", "AdamW", "SGD")}
METHODS["superpositional.SuperpositionalAdamW"] = "superpositional AdamW"
METHODS["superpositional.optim.placebo.PlaceboAdamW"] = "AdamW but for one bit"
# The settings along which a sweep is shown.
SETTINGS = {"circuit.depth": "depth", "circuit.n_qubits": "qubits", "optimizer.quantum_weight": "quantum weight"}
SETTINGS["optimizer.lr"] = "learning rate"
VERDICTS, DIFFERENCES, LEARNING, OTHER = "Verdicts", "Paired differences", "Loss and accuracy", "Other scalars"
# The section of a metric, by its first part or by all of it; the order is that of the sections.
SECTIONS = dict.fromkeys(("train", "val", "test"), LEARNING) | {"train/lr": "Optimization", "gradient": "Optimization"}
SECTIONS |= {"perturbation": "The quantum term", "tracer": "The quantum term", "circuit": "Circuits"}
SECTIONS |= dict.fromkeys(("throughput", "memory", "time"), "Speed and memory") | {"convergence": "Convergence"}
# Summaries that no curve shows, one of them a constant, and what else is shown along a setting.
IN_BARS, CONSTANT = ("test/", "convergence/", "circuit/"), "convergence/target"
ALONG_SETTINGS = ("train/loss/last_epoch", "val/loss/last", "convergence/area", "perturbation/ratio")


@dataclass(frozen=True)
class Arm:
    """An arm and what it trains with."""

    name: str
    label: str
    method: str
    colour: str


@dataclass(frozen=True)
class Setting:
    """A key of the config that was swept, its name for readers, and the series of arms along it."""

    key: str
    name: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Panel:
    """One panel. Each arm's values are averaged over its seeds.

    ``kind``: ``line``, a logged scalar by step; ``bar``, a summary by arm; ``scatter``, a summary against the setting
    ``against``; ``table``, of ``rows``, under ``words``. Values are shown times ``scale``, in ``unit``.
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

    @property
    def axis(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """The whole spec; ``project`` and ``entity`` are where W&B mirrors the sweep's runs."""

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


def of(
    sweep: Sweep,
    *,
    lead: str = "",
    tables: Mapping[str, tuple[str, Rows]] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Dashboard:
    """Return the dashboard of what a sweep's records have, finished or not.

    Args:
        lead: the answer in short.
        tables: (words, rows) of ``VERDICTS`` and ``DIFFERENCES``.
        provenance: which records it is made of.
    """
    settings = tuple(Setting(key, name, found) for key, name in SETTINGS.items() if (found := series(sweep, key)))
    sections: dict[str, list[Panel]] = {LEARNING: []}
    sections |= {f"By {setting.name}": list(_along(sweep, setting)) for setting in settings}
    for name, (words, rows) in (tables or {}).items():
        sections[name] = [Panel("table", name, words=words, rows=tuple(rows))] if len(rows) > 1 else []
    sections |= {name: [] for name in (*dict.fromkeys(SECTIONS.values()), OTHER) if name != LEARNING}
    lines = list(_lines(sweep))
    for panel in (*lines, *_bars(sweep, {panel.metric for panel in lines})):
        part = panel.metric.partition("/")[0]
        sections[SECTIONS.get(panel.metric) or SECTIONS.get(part, OTHER)].append(panel)
    mirror = next((each for arm in sweep.arms if "project" in (each := config(sweep, arm).get("logger") or {})), {})
    return Dashboard(
        sweep=sweep.name,
        question=" ".join(sweep.question.split()),
        lead=lead,
        progress=analysis.progress(sweep),
        arms=tuple(
            Arm(arm, label(arm), _method(config(sweep, arm)), drawn_as(place)["color"])
            for place, arm in enumerate(sweep.arms)
        ),
        settings=settings,
        sections=tuple(Section(name, tuple(panels)) for name, panels in sections.items() if panels),
        provenance=dict(provenance or {}),
        project=mirror.get("project") or "superpositional",
        entity=mirror.get("entity"),
    )


def _lines(sweep: Sweep) -> Iterator[Panel]:
    logged = {name for run in sweep.runs for name, (steps, _) in run.curves.items() if len(np.unique(steps)) > 1}
    for metric in sorted(logged, key=_order):
        values = [run.curves[metric][1] for run in sweep.runs if run.status == "done" and metric in run.curves]
        yield _panel("line", metric, np.concatenate([*values, np.empty(0)]))


def _bars(sweep: Sweep, drawn: set[str]) -> Iterator[Panel]:
    """A panel for each summary that no curve shows: main measures, tests, convergence, numbers of circuits."""
    main = [measure.metric for measure in analysis.measures(sweep)]
    found = {name for name in _summaries(sweep) if name in main or name.startswith(IN_BARS)} - {CONSTANT} - drawn
    return (_panel("bar", metric, finals(sweep, metric, sweep.arms)) for metric in sorted(found, key=_order))


def _along(sweep: Sweep, setting: Setting) -> Iterator[Panel]:
    arms = {arm for each in setting.series for arm in each.arms.values()}
    wanted = [measure.metric for measure in analysis.measures(sweep)] + list(ALONG_SETTINGS)
    wanted += [name for name in _summaries(sweep) if name.startswith("circuit/")]
    values = {metric: finals(sweep, metric, arms) for metric in wanted}
    return (_panel("scatter", metric, each, against=setting.key) for metric, each in values.items() if each)


def _panel(kind: str, metric: str, values: Iterable[float], against: str = "") -> Panel:
    finite = [value for value in values if np.isfinite(value)]
    log = len(finite) > 0 and bool(0 < LINEAR_SPAN * min(finite) < max(finite))
    above, _, last = metric.rpartition("/")
    title, unit, scale = SPOKEN.get(metric) or SPOKEN.get(above) or (last.replace("_", " "), "", 1.0)
    if metric not in SPOKEN:  # perturbation/norm/group1, circuit/optimizer/entanglement
        place = last if above in SPOKEN else above.partition("/")[2]
        title += f", {place}" * bool(place)
    return Panel(kind, title, metric, unit, scale, log=log, against=against)


def _order(metric: str) -> tuple[int, str]:
    known = metric if metric in SPOKEN else metric.rpartition("/")[0]
    return (list(SPOKEN).index(known) if known in SPOKEN else len(SPOKEN), metric)


def _summaries(sweep: Sweep) -> list[str]:
    """The names that some finished run has a number for."""
    done = [run.record["summary"] for run in sweep.runs if run.status == "done"]
    return list(dict.fromkeys(name for each in done for name, value in each.items() if type(value) in (int, float)))


def finals(sweep: Sweep, metric: str, arms: Iterable[str]) -> list[float]:
    runs = [run for run in sweep.runs if run.status == "done" and run.arm in set(arms)]
    return [float(value) for run in runs if (value := run.summary(metric)) is not None]


def _method(config: Mapping) -> str:
    """``torch's SGD``; nothing for an arm that has not begun."""
    if "_target_" not in (config.get("optimizer") or {}):
        return ""
    target = moved(config["optimizer"])["_target_"]
    attention = (config.get("net") or {}).get("attention")
    own = attention.get("_target_", "") if isinstance(attention, Mapping) else "torch."
    words = [METHODS.get(target, target.rpartition(".")[2]), "" if own.startswith("torch.") else own.rpartition(".")[2]]
    return ", ".join(filter(None, words))
