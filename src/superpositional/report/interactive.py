"""Interactive figures of a sweep: Plotly's JSON for the panels of its dashboard, which the page draws.

Lines and points are means over an arm's finished runs, not smoothed, with Student's 95 % interval, which is drawn from five
seeds on. A paired difference is arm − baseline of the same seed, over the pairs of finished runs.
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
from superpositional.report.dashboard import LINEAR_SPAN, Dashboard, Panel, Setting
from superpositional.report.figures import BAND_SEEDS
from superpositional.report.style import drawn_as

SCRIPT = "plotly.min.js"
# Points of one line at the most and the least, of all lines of a page, and of all single seeds of one figure.
MOST, LEAST, BUDGET, SEEDS = 200, 30, 24_000, 12_000
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x"}
GRID = {"gridcolor": "rgba(128,128,128,.25)", "zerolinecolor": "rgba(128,128,128,.6)", "automargin": True}
MENU = {"y": 1.02, "yanchor": "bottom", "bgcolor": "#f5f5f3", "font": {"color": "#1a1a1a", "size": 11}}
LAYOUT = {"legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}, "margin": {"t": 50, "r": 15}}
Spec = dict[str, Any]


def write_script(folder: Path) -> Path:
    """Copy Plotly's script, which its package brings, beside a page."""
    source, script = Path(find_spec("plotly").submodule_search_locations[0], "package_data", SCRIPT), folder / SCRIPT
    if not script.exists() or script.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, script)
    return script


def figures(sweep: Sweep, board: Dashboard, main: str) -> dict[str, tuple[str, Spec]]:
    """Return every interactive figure by its metric or setting, with its title; ``main``, which shows seeds too, first."""
    lines = sorted((panel for panel in board.panels if panel.kind == "line"), key=lambda panel: panel.metric != main)
    points = min(MOST, max(LEAST, BUDGET // max(1, len(lines) * len(sweep.arms))))
    found = {panel.metric: (panel.title, curves(sweep, panel, points, seeds=panel.metric == main)) for panel in lines}
    return {name: each for name, each in (found | swept(sweep, board)).items() if each[1]["data"]}


def swept(sweep: Sweep, board: Dashboard | None = None) -> dict[str, tuple[str, Spec]]:
    """Return the figures along swept settings alone."""
    board = board or dashboard.of(sweep)
    return {each.key: (f"final values by {each.name}", along(sweep, board, each)) for each in board.settings}


def curves(sweep: Sweep, panel: Panel, points: int = MOST, *, seeds: bool = False) -> Spec:
    """Draw a logged scalar by step or epoch: means with bands, seeds, or paired differences to the baseline."""
    per_epoch = {run.record.get("steps_per_epoch") for run in sweep.runs} if panel.metric.startswith("val/") else {None}
    epoch = next(iter(per_epoch)) if len(per_epoch) == 1 else None
    runs = {(run.arm, run.seed): run for run in sweep.runs if len(run.curves.get(panel.metric, ((), ()))[0])}
    own = {pair: _curve(run, panel, epoch or 1) for pair, run in runs.items()}
    done = {pair: own[pair] for pair, run in runs.items() if run.status == "done"}
    unit = f" ({panel.unit})" * bool(panel.unit)
    kinds: dict[str, tuple[str, list[Spec]]] = {
        "mean": (panel.title + unit, []),
        "seeds": (panel.title + unit, []),
        "difference": (f"{panel.title}, difference to the baseline{unit.replace('%', 'points')}", []),
    }
    for arm in sweep.arms:
        to = sweep.baseline(arm)
        kinds["mean"][1].extend(_line(sweep, arm, [done[arm, s] for s in sweep.seeds if (arm, s) in done], points))
        pairs = [done[arm, s] - done[to, s] for s in sweep.seeds if arm != to and {(arm, s), (to, s)} <= {*done}]
        kinds["difference"][1].extend(_line(sweep, arm, pairs, points))
        if seeds:
            every = [own[arm, seed] for seed in sweep.seeds if (arm, seed) in own]
            kinds["seeds"][1].extend(_seeds(sweep, arm, every, max(LEAST, min(MOST, SEEDS // len(own)))))
    menus = [_choices(kinds, {"difference": False})]
    means = [y for trace in kinds["mean"][1] if trace["mode"] == "lines" for y in trace["y"]]
    if means and min(means) > 0:
        scales = ("log", "linear") if panel.log else ("linear", "log")
        buttons = [{"label": scale, "method": "relayout", "args": [{"yaxis.type": scale}]} for scale in scales]
        menus.append(MENU | {"type": "buttons", "direction": "right", "buttons": buttons, "x": 1, "xanchor": "right"})
    return _figure(kinds, menus, {"title": {"text": "epoch" if epoch else "step"}}, panel.log, "x unified")


def along(sweep: Sweep, board: Dashboard, setting: Setting) -> Spec:
    """Draw final values against a swept setting, a line for each series of arms, beside the baseline's mean."""
    panels = [panel for panel in board.panels if panel.against == setting.key]
    values = sorted({value for each in setting.series for value in each.arms})
    kinds: dict[str, tuple[str, list[Spec]]] = {}
    for panel in panels:
        _, kind = kinds[panel.title] = (panel.title + f" ({panel.unit})" * bool(panel.unit), [])
        for place, series in enumerate(setting.series):
            kind += _points(sweep, panel, series.name, place + 1, series.arms)
        if baseline := dashboard.finals(sweep, panel.metric, sweep.arms[:1]):
            line = {"x": [values[0], values[-1]], "y": _row([panel.scale * np.mean(baseline)] * 2), "mode": "lines"}
            kind.append(_named(label(sweep.arms[0]), 0) | line | {"hovertemplate": f"%{{y:.5g}}, n = {len(baseline)}"})
    axis = {"title": {"text": setting.name}, "tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    axis["type"] = "log" if 0 < LINEAR_SPAN * values[0] < values[-1] else "linear"
    menu = _choices(kinds, {panel.title: panel.log for panel in panels}) | {
        "type": "dropdown",
        "direction": "down",
        "pad": {"l": -50},
    }
    return _figure(kinds, [menu], axis, bool(panels and panels[0].log), "closest")


# Parts of a figure -------------------------------------------------------------------------------------------------


def _figure(kinds: Mapping[str, tuple[str, list[Spec]]], menus: list[Spec], axis: Spec, log: bool, hover: str) -> Spec:
    """Return all traces, of which those of the first kind are visible."""
    there = [(title, traces) for title, traces in kinds.values() if traces]
    data = [trace | ({"visible": False} if place else {}) for place, (_, each) in enumerate(there) for trace in each]
    y = GRID | {"type": "log" if log else "linear", "title": {"text": there[0][0] if there else ""}}
    return {"data": data, "layout": {**LAYOUT, "xaxis": GRID | axis, "yaxis": y, "updatemenus": menus, "hovermode": hover}}


def _choices(kinds: Mapping[str, tuple[str, list[Spec]]], logs: Mapping[str, bool]) -> Spec:
    """Return a button for each kind of traces, which shows those alone."""
    buttons = []
    for name, (title, traces) in kinds.items():
        if traces:
            shown = [other == name for other, (_, each) in kinds.items() for _ in each]
            layout = {"yaxis.title.text": title}
            layout |= {"yaxis.type": "log" if logs[name] else "linear"} if name in logs else {}
            buttons.append({"label": name, "method": "update", "args": [{"visible": shown}, layout]})
    return MENU | {"type": "buttons", "direction": "right", "buttons": buttons, "x": 0, "xanchor": "left"}


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


def _seeds(sweep: Sweep, arm: str, found: Sequence[pandas.Series], points: int) -> list[Spec]:
    """Return every run's own curve, one that diverged or failed too, as one line with gaps."""
    thinned = [_thinned(each, points) for each in found]
    x = [value for each in thinned for value in [*_row(each.index), None]]
    y = [value for each in thinned for value in [*_row(each), None]]
    line = _named(label(arm), sweep.arms.index(arm)) | {"mode": "lines", "opacity": 0.6, "hovertemplate": "%{y:.5g}"}
    return [line | {"x": x, "y": y, "line": line["line"] | {"width": 0.8, "dash": "solid"}}] if x else []


def _points(sweep: Sweep, panel: Panel, name: str, place: int, arms: Mapping[float, str]) -> list[Spec]:
    """Return the means of a series of arms by value, with their intervals."""
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
