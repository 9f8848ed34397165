"""Interactive figures of a sweep: Plotly's JSON for the panels of its dashboard.

Lines and points are means over an arm's finished runs, not smoothed, with Student's 95 % interval, which is drawn from five
seeds on. A paired difference is arm − baseline of the same seed, over the pairs of finished runs. The specs are plain data,
so the page needs ``plotly.min.js`` beside it and this module needs no Plotly.
"""

import html
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from superpositional.evidence.inference import LEVEL
from superpositional.format import label
from superpositional.records import Run, Sweep
from superpositional.report import dashboard
from superpositional.report.dashboard import LINEAR_SPAN, Dashboard, Panel, Setting
from superpositional.report.style import drawn_as

SCRIPT = "plotly.min.js"
# Points of one line at the most and the least, of all lines of a page, and of all single seeds of one figure.
MOST, LEAST, BUDGET, SEEDS = 200, 30, 24_000, 12_000
# Fewer seeds than this, and Student's interval says more of t than of the runs.
BAND_SEEDS = 5
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x"}
GRID = {"gridcolor": "rgba(128,128,128,.25)", "zerolinecolor": "rgba(128,128,128,.6)", "automargin": True}
Curve = tuple[np.ndarray, np.ndarray]


def write_script(folder: Path) -> Path:
    """Copy Plotly's script, which its package brings, beside a page."""
    source, script = Path(find_spec("plotly").submodule_search_locations[0], "package_data", SCRIPT), folder / SCRIPT
    if not script.exists() or script.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, script)
    return script


def figures(sweep: Sweep, board: Dashboard, main: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every interactive figure by its metric or setting, with its title; ``main``, which shows seeds too, first."""
    lines = sorted((panel for panel in board.panels if panel.kind == "line"), key=lambda panel: panel.metric != main)
    points = min(MOST, max(LEAST, BUDGET // max(1, len(lines) * len(sweep.arms))))
    found = {p.metric: (p.title, curves(sweep, p, points, seeds=p.metric == main)) for p in lines}
    return {name: (title, spec) for name, (title, spec) in (found | swept(sweep, board)).items() if spec["data"]}


def swept(sweep: Sweep, board: Dashboard | None = None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the figures along swept settings alone."""
    board = board or dashboard.of(sweep)
    return {each.key: (f"final values by {each.name}", along(sweep, board, each)) for each in board.settings}


def curves(sweep: Sweep, panel: Panel, points: int = MOST, *, seeds: bool = False) -> dict[str, Any]:
    """Draw a logged scalar by step or epoch: means with bands, seeds, or paired differences to the baseline."""
    epoch = _steps_per_epoch(sweep) if panel.metric.startswith("val/") else None
    runs = {(run.arm, run.seed): run for run in sweep.runs if len(run.curves.get(panel.metric, ((), ()))[0])}
    own = {pair: _curve(run, panel, epoch or 1) for pair, run in runs.items()}
    done = {pair: curve for pair, curve in own.items() if runs[pair].status == "done"}
    each: dict[str, list[dict[str, Any]]] = {"mean": [], "seeds": [], "difference": []}
    for arm in sweep.arms:
        baseline = sweep.baseline(arm)
        mine = {seed: done[arm, seed] for seed in sweep.seeds if (arm, seed) in done}
        pairs = [_difference(mine[s], done[baseline, s]) for s in mine if arm != baseline and (baseline, s) in done]
        each["mean"] += _line(sweep, arm, list(mine.values()), points)
        each["difference"] += _line(sweep, arm, pairs, points)
        if seeds:
            each["seeds"] += _seeds(sweep, arm, [own[arm, s] for s in sweep.seeds if (arm, s) in own], len(own))
    title, unit = panel.title, f" ({panel.unit})" if panel.unit else ""
    points_of = f" ({'points' if panel.unit == '%' else panel.unit})" if panel.unit else ""
    names = {"mean": (f"{title}{unit}", "mean"), "seeds": (f"{title}{unit}", "seeds")}
    names["difference"] = (f"{title}, difference to the baseline{points_of}", "difference")
    menus = [_menu([_choice(each, kind, *names[kind]) for kind in names if each[kind]], "buttons", 0.0)]
    if panel.log or _positive(each["mean"]):
        scales = ("log", "linear") if panel.log else ("linear", "log")
        menus.append(_menu([_button(scale, "relayout", {"yaxis.type": scale}) for scale in scales], "buttons", 1.0))
    axes = {"yaxis": {"type": "log" if panel.log else "linear"}, "xaxis": {"title": {"text": "epoch" if epoch else "step"}}}
    return _figure(each, names["mean"][0], menus, axes, {"hovermode": "x unified"})


def along(sweep: Sweep, board: Dashboard, setting: Setting) -> dict[str, Any]:
    """Draw final values against a swept setting, a line for each series of arms; the baseline's mean is dashed."""
    panels = [panel for panel in board.panels if panel.against == setting.key]
    values = sorted({value for each in setting.series for value in each.arms})
    each: dict[str, list[dict[str, Any]]] = {}
    for panel in panels:
        kind = each.setdefault(panel.metric, [])
        for place, series in enumerate(setting.series):
            rows = [(value, *_interval(_finals(sweep, panel, arm))) for value, arm in series.arms.items()]
            kind += _points(series.name, place + 1, [row for row in rows if row[1] is not None])
        mean, _, _, n = _interval(_finals(sweep, panel, sweep.arms[0]))
        if mean is not None:
            line = {"x": [values[0], values[-1]], "y": [mean] * 2, "mode": "lines", "hovertemplate": f"%{{y:.5g}}, n = {n}"}
            kind.append(_named(label(sweep.arms[0]), 0) | line)
    names = {p.metric: p.title + (f" ({p.unit})" if p.unit else "") for p in panels}
    menu = _menu([_choice(each, p.metric, names[p.metric], p.title, p.log) for p in panels], "dropdown", 0.0)
    log = values[0] > 0 and values[-1] > LINEAR_SPAN * values[0]
    ticks = {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    axes = {"xaxis": {"title": {"text": setting.name}, "type": "log" if log else "linear", **ticks}}
    axes["yaxis"] = {"type": "log" if panels and panels[0].log else "linear"}
    return _figure(each, next(iter(names.values()), ""), [menu], axes, {"hovermode": "closest"})


# Parts of a figure -------------------------------------------------------------------------------------------------


def _figure(each: Mapping[str, list], title: str, menus: list, axes: Mapping[str, dict], layout: dict) -> dict[str, Any]:
    """All traces, of which the first kind is visible."""
    kinds = [kind for kind, traces in each.items() if traces]
    data = [trace | ({} if kind == kinds[0] else {"visible": False}) for kind in kinds for trace in each[kind]]
    axes = {name: {**GRID, **axis} for name, axis in axes.items()}
    axes["yaxis"] |= {"title": {"text": title}}
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
    return {
        "data": data,
        "layout": {**axes, **layout, "updatemenus": menus, "legend": legend, "margin": {"t": 50, "r": 15}},
    }


def _menu(buttons: list[dict[str, Any]], kind: str, x: float) -> dict[str, Any]:
    place = {
        "x": x,
        "xanchor": "left" if x == 0 else "right",
        "y": 1.02,
        "yanchor": "bottom",
        "bgcolor": "#f5f5f3",
        "font": {"color": "#1a1a1a", "size": 11},
    }
    return {"type": kind, "direction": "right" if kind == "buttons" else "down", "buttons": buttons, **place}


def _choice(each: Mapping[str, list], kind: str, title: str, name: str, log: bool | None = None) -> dict[str, Any]:
    """A button that shows one kind of traces alone; only values that are positive keep a logarithmic axis."""
    shown = [other == kind for other, traces in each.items() for _ in traces]
    layout: dict[str, Any] = {"yaxis.title.text": title}
    if log is not None or kind == "difference":
        layout["yaxis.type"] = "log" if log else "linear"
    return _button(name, "update", {"visible": shown}, layout)


def _button(name: str, method: str, *changes: dict[str, Any]) -> dict[str, Any]:
    return {"label": name, "method": method, "args": list(changes)}


def _named(name: str, place: int) -> dict[str, Any]:
    look = drawn_as(place)
    dash = "solid" if look["linestyle"] == "-" else ",".join(f"{1.8 * length:g}px" for length in look["linestyle"][1])
    style = {"line": {"color": look["color"], "dash": dash, "width": 2}, "legendgroup": str(place)}
    return {"type": "scatter", "name": html.escape(name), **style}


def _line(sweep: Sweep, arm: str, found: Sequence[Curve], points: int) -> list[dict[str, Any]]:
    """The mean over steps that every curve has: one whose members change along the way shows a step that no run took."""
    at = reduce(np.intersect1d, [steps for steps, _ in found]) if found else np.empty(0)
    at = _thinned(at, points)
    if not len(at):
        return []
    values = np.array([each[np.searchsorted(steps, at)] for steps, each in found])
    mean, low, high = mean_and_interval(values)
    n = len(found) if len(found) == len(sweep.seeds) else f"{len(found)} of {len(sweep.seeds)}"
    line = _named(label(arm), sweep.arms.index(arm)) | {"mode": "lines", "x": _row(at), "y": _row(mean)}
    line["hovertemplate"] = f"%{{y:.5g}}, n = {n}"
    if low is None:
        return [line]
    line["customdata"] = list(zip(_row(low), _row(high), strict=True))
    line["hovertemplate"] = f"%{{y:.5g}} [%{{customdata[0]:.5g}}, %{{customdata[1]:.5g}}], n = {n}"
    there = np.isfinite(low) & np.isfinite(high)
    if len(found) < BAND_SEEDS or not there.any():
        return [line]
    edge = {"x": _row(np.append(at[there], at[there][::-1])), "y": _row(np.append(high[there], low[there][::-1]))}
    red, green, blue = (int(line["line"]["color"][i : i + 2], 16) for i in (1, 3, 5))
    band = {
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},{min(0.15, 0.6 / len(sweep.arms)):.3g})",
        "mode": "none",
        "hoverinfo": "skip",
    }
    return [{"type": "scatter", "showlegend": False, "legendgroup": line["legendgroup"], **band, **edge}, line]


def _seeds(sweep: Sweep, arm: str, found: Sequence[Curve], lines: int) -> list[dict[str, Any]]:
    """Every run's own curve, one that diverged or failed too, as one line with gaps."""
    x: list[Any] = []
    y: list[Any] = []
    for at, values in found:
        kept = np.isin(at, _thinned(at, max(LEAST, min(MOST, SEEDS // lines))))
        x, y = [*x, *_row(at[kept]), None], [*y, *_row(values[kept]), None]
    thin = _named(label(arm), sweep.arms.index(arm)) | {"mode": "lines", "x": x, "y": y, "opacity": 0.6}
    return [thin | {"line": thin["line"] | {"width": 0.8, "dash": "solid"}, "hovertemplate": "%{y:.5g}"}] if x else []


def _points(name: str, place: int, rows: Sequence[tuple]) -> list[dict[str, Any]]:
    if not rows:
        return []
    x, mean, low, high, n = ([row[i] for row in rows] for i in range(5))
    ends = {"type": "data", "symmetric": False}
    ends["array"] = _row(np.array([0 if h is None else h - m for h, m in zip(high, mean, strict=True)]))
    ends["arrayminus"] = _row(np.array([0 if lo is None else m - lo for lo, m in zip(low, mean, strict=True)]))
    shape = {"mode": "lines+markers", "marker": {"symbol": SYMBOLS.get(drawn_as(place)["marker"], "circle"), "size": 8}}
    told = {"customdata": n, "hovertemplate": "%{x}: %{y:.5g}, n = %{customdata}"}
    return [_named(name, place) | shape | told | {"x": x, "y": _row(np.array(mean)), "error_y": ends}]


def _positive(traces: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a logarithmic axis can show every mean."""
    values = [value for trace in traces if trace["mode"] == "lines" for value in trace["y"] if value is not None]
    return bool(values) and min(values) > 0


# Numbers -----------------------------------------------------------------------------------------------------------


def mean_and_interval(values_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Over R runs at T steps; ``inference.student_interval`` is the reference, one step at a time."""
    n, mean = len(values_RT), values_RT.mean(axis=0)
    if n < 2:
        return mean, None, None
    with np.errstate(invalid="ignore"):  # what is not finite stays so, and is a gap
        half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values_RT.std(axis=0, ddof=1) / math.sqrt(n)
    return mean, mean - half, mean + half


def _interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None, int]:
    if not values:
        return None, None, None, 0
    ends = mean_and_interval(np.array(values)[:, None])
    return *(None if each is None else float(each[0]) for each in ends), len(values)


def _finals(sweep: Sweep, panel: Panel, arm: str) -> list[float]:
    done = [run for run in sweep.runs if run.arm == arm and run.status == "done"]
    return [panel.scale * value for run in done if (value := run.summary(panel.metric)) is not None]


def _steps_per_epoch(sweep: Sweep) -> float | None:
    """Return it where all runs have the same."""
    found = {run.record.get("steps_per_epoch") for run in sweep.runs}
    return next(iter(found)) if len(found) == 1 else None


def _curve(run: Run, panel: Panel, epoch: float) -> Curve:
    """Read a run's curve; a resumed run may have logged a step twice: the last counts."""
    steps, values = run.curves[panel.metric]
    at, last = np.unique(np.asarray(steps)[::-1], return_index=True)
    return at / epoch, panel.scale * np.asarray(values, dtype=float)[::-1][last]


def _difference(curve: Curve, baseline: Curve) -> Curve:
    """Of two runs of a seed, at the steps that both have."""
    steps, left, right = np.intersect1d(curve[0], baseline[0], return_indices=True)
    with np.errstate(invalid="ignore"):
        return steps, curve[1][left] - baseline[1][right]


def _thinned(steps: np.ndarray, points: int) -> np.ndarray:
    """At most this many of them, the first and the last included."""
    if len(steps) <= points:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, points).round().astype(int))]


def _row(values: np.ndarray) -> list[float | None]:
    """Six digits; JSON has no value for what is not finite."""
    found = [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
    return [int(each) if each is not None and each.is_integer() and abs(each) < 1e15 else each for each in found]
