"""Interactive figures of a sweep: Plotly's JSON for the panels of its dashboard, which the page draws.

Lines and points are means over an arm's finished runs, not smoothed, with Student's 95 % interval, which is drawn from five
seeds on.
"""

import html
import math
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from scipy import stats

from superpositional.evidence.inference import LEVEL, student_interval
from superpositional.format import label
from superpositional.records import Run, Sweep
from superpositional.report import dashboard
from superpositional.report.dashboard import Dashboard, Panel, Setting
from superpositional.report.style import BAND_SEEDS, LINEAR_SPAN, drawn_as

SCRIPT = "plotly.min.js"
# Points of one line at the most and the least, and of all lines of a page.
MOST, LEAST, BUDGET = 200, 30, 24_000
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x"}
GRID = {"gridcolor": "rgba(128,128,128,.25)", "zerolinecolor": "rgba(128,128,128,.6)", "automargin": True}
MENU = {"y": 1.02, "yanchor": "bottom", "bgcolor": "#f5f5f3", "font": {"color": "#1a1a1a", "size": 11}, "x": 0}
MENU |= {"xanchor": "left", "type": "dropdown", "direction": "down", "pad": {"l": -50}}
LAYOUT = {"legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}, "margin": {"t": 50, "r": 15}}
Spec = dict[str, Any]


def write_script(folder: Path) -> Path:
    """Copy Plotly's script, which its package brings, beside a page."""
    source, script = Path(find_spec("plotly").submodule_search_locations[0], "package_data", SCRIPT), folder / SCRIPT
    if not script.exists() or script.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, script)
    return script


def figures(sweep: Sweep, board: Dashboard, main: str) -> dict[str, tuple[str, Spec]]:
    """Return every interactive figure by its metric or setting, with its title; ``main`` first."""
    lines = sorted((panel for panel in board.panels if panel.kind == "line"), key=lambda panel: panel.metric != main)
    points = min(MOST, max(LEAST, BUDGET // max(1, len(lines) * len(sweep.arms))))
    found = {panel.metric: (panel.title, curves(sweep, panel, points)) for panel in lines}
    return {name: each for name, each in (found | swept(sweep, board)).items() if each[1]["data"]}


def swept(sweep: Sweep, board: Dashboard | None = None) -> dict[str, tuple[str, Spec]]:
    board = board or dashboard.of(sweep)
    return {each.key: (f"final values by {each.name}", along(sweep, board, each)) for each in board.settings}


def curves(sweep: Sweep, panel: Panel, points: int = MOST) -> Spec:
    """Draw the arms' means of a logged scalar by step or epoch, with bands."""
    per_epoch = {run.record.get("steps_per_epoch") for run in sweep.runs} if panel.metric.startswith("val/") else {None}
    epoch = next(iter(per_epoch)) if len(per_epoch) == 1 else None
    runs = [run for run in sweep.runs if run.status == "done" and len(run.curves.get(panel.metric, ((), ()))[0])]
    own = {arm: [_curve(run, panel, epoch or 1) for run in runs if run.arm == arm] for arm in sweep.arms}
    data = [trace for arm, found in own.items() for trace in _line(sweep, arm, found, points)]
    axis = {"title": {"text": "epoch" if epoch else "step"}}
    return {"data": data, "layout": _layout(axis, panel, "x unified")}


def along(sweep: Sweep, board: Dashboard, setting: Setting) -> Spec:
    """Draw final values against a swept setting, a line for each series of arms, beside the baseline's mean.

    A menu chooses the metric.
    """
    values = sorted({value for each in setting.series for value in each.arms})
    drawn: list[tuple[Panel, Spec]] = []
    for panel in (panel for panel in board.panels if panel.against == setting.key):
        for place, series in enumerate(setting.series):
            drawn += [(panel, trace) for trace in _points(sweep, panel, series.name, place + 1, series.arms)]
        if baseline := dashboard.finals(sweep, panel.metric, sweep.arms[:1]):
            line = {"x": [values[0], values[-1]], "y": _row([panel.scale * np.mean(baseline)] * 2), "mode": "lines"}
            line["hovertemplate"] = f"%{{y:.5g}}, n = {len(baseline)}"
            drawn.append((panel, _named(label(sweep.arms[0]), 0) | line))
    panels = list(dict.fromkeys(panel for panel, _ in drawn))
    if not panels:
        return {"data": [], "layout": {}}
    axis = {"title": {"text": setting.name}, "tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    axis["type"] = "log" if 0 < LINEAR_SPAN * values[0] < values[-1] else "linear"
    buttons = []
    for panel in panels:
        layout = {"yaxis.title.text": panel.axis, "yaxis.type": "log" if panel.log else "linear"}
        visible = {"visible": [owner == panel for owner, _ in drawn]}
        buttons.append({"label": panel.title, "method": "update", "args": [visible, layout]})
    data = [trace | ({} if owner == panels[0] else {"visible": False}) for owner, trace in drawn]
    layout = _layout(axis, panels[0], "closest") | {"updatemenus": [MENU | {"buttons": buttons}]}
    return {"data": data, "layout": layout}


# Parts of a figure -------------------------------------------------------------------------------------------------


def _layout(axis: Spec, panel: Panel, hover: str) -> Spec:
    y = GRID | {"type": "log" if panel.log else "linear", "title": {"text": panel.axis}}
    return LAYOUT | {"xaxis": GRID | axis, "yaxis": y, "hovermode": hover}


def _named(name: str, place: int) -> Spec:
    look = drawn_as(place)
    dash = "solid" if look["linestyle"] == "-" else ",".join(f"{1.8 * length:g}px" for length in look["linestyle"][1])
    line = {"color": look["color"], "dash": dash, "width": 2}
    return {"type": "scatter", "name": html.escape(name), "line": line, "legendgroup": str(place)}


def _line(sweep: Sweep, arm: str, found: Sequence[pandas.Series], points: int) -> list[Spec]:
    """Return the mean, with its band behind it, over steps that every curve has: no mean changes its members."""
    frame = _thinned(pandas.concat(found, axis=1, join="inner").dropna(), points) if found else pandas.DataFrame()
    if frame.empty:
        return []
    n, mean = len(found), frame.mean(axis=1)
    of = f"n = {n}" if n == len(sweep.seeds) else f"n = {n} of {len(sweep.seeds)}"
    line = _named(label(arm), sweep.arms.index(arm)) | {"mode": "lines", "x": _row(frame.index), "y": _row(mean)}
    if n < 2:
        return [line | {"hovertemplate": f"%{{y:.5g}}, {of}"}]
    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * frame.std(axis=1) / math.sqrt(n)
    low, high = _row(mean - half), _row(mean + half)
    line["customdata"] = list(zip(low, high, strict=True))
    line["hovertemplate"] = f"%{{y:.5g}} [%{{customdata[0]:.5g}}, %{{customdata[1]:.5g}}], {of}"
    red, green, blue = (int(line["line"]["color"][i : i + 2], 16) for i in (1, 3, 5))
    band = {"type": "scatter", "showlegend": False, "legendgroup": line["legendgroup"], "hoverinfo": "skip", "mode": "none"}
    band |= {"fill": "toself", "fillcolor": f"rgba({red},{green},{blue},{min(0.15, 0.6 / len(sweep.arms)):.3g})"}
    band |= {"x": line["x"] + line["x"][::-1], "y": high + low[::-1]}
    return [band, line] if n >= BAND_SEEDS else [line]


def _points(sweep: Sweep, panel: Panel, name: str, place: int, arms: Mapping[float, str]) -> list[Spec]:
    values = {x: [panel.scale * value for value in dashboard.finals(sweep, panel.metric, [arm])] for x, arm in arms.items()}
    found = {x: student_interval(each) for x, each in values.items() if each}
    up = [0 if each.high is None else each.high - each.mean for each in found.values()]
    ends = {"type": "data", "array": _row(up)}
    shape = {"mode": "lines+markers", "marker": {"symbol": SYMBOLS.get(drawn_as(place)["marker"], "circle"), "size": 8}}
    shape |= {"customdata": [each.n for each in found.values()], "hovertemplate": "%{x}: %{y:.5g}, n = %{customdata}"}
    y = _row(each.mean for each in found.values())
    return [_named(name, place) | shape | {"x": list(found), "y": y, "error_y": ends}] if found else []


def _curve(run: Run, panel: Panel, epoch: float) -> pandas.Series:
    """Return a run's curve; a resumed run may have logged a step twice: the last counts."""
    steps, values = run.curves[panel.metric]
    found = pandas.Series(panel.scale * np.asarray(values, dtype=float), index=np.asarray(steps) / epoch)
    return found[~found.index.duplicated(keep="last")].replace([math.inf, -math.inf], math.nan)


def _thinned(found: Any, points: int) -> Any:
    """Return at most this many rows, the first and the last among them."""
    return found.iloc[np.unique(np.linspace(0, len(found) - 1, min(points, len(found))).round().astype(int))]


def _row(values: Any) -> list[float | None]:
    """Keep six digits; JSON has no value for what is not finite."""
    found = [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
    return [int(each) if each is not None and each.is_integer() and abs(each) < 1e15 else each for each in found]
