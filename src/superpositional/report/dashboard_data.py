"""What numbers does the dashboard's page draw?

For each panel of the spec and each arm: the mean over its finished runs with Student's 95 % interval, n, every seed's own
values, and the mean difference to the baseline over the pairs of a seed, as JSON's own types for the page to embed. Only
what ended well is averaged; a run that diverged, failed or was interrupted keeps its own curve and is named by its end.
Read by `dashboard_page`.

A page must stay small: single seeds' curves share a budget of points, means have their own, and what was thinned is said.
"""

import math
from collections import Counter
from functools import reduce
from typing import Any

import numpy as np
from scipy import stats

from superpositional.evidence.inference import LEVEL
from superpositional.records import Run, Sweep
from superpositional.report.dashboard import Dashboard, Panel, Setting
from superpositional.report.style import drawn_as

# Of a mean's line; of all lines of single seeds together; and of one of those at the most and the least.
MEAN_POINTS, BUDGET, SEED_POINTS, FEWEST = 200, 160_000, 64, 12
# Digits that a screen can show, and one for the reader.
MEAN_DIGITS, SEED_DIGITS = 6, 4
# matplotlib's dashes are in widths of the line.
LINE_WIDTH = 1.6


def data(sweep: Sweep, board: Dashboard) -> dict[str, Any]:
    """All that the page draws; ``thinned`` says in words what it leaves out."""
    lines = sum(len(_having(run, panel.metric)) > 0 for panel in board.panels for run in sweep.runs if panel.kind == "line")
    points = min(SEED_POINTS, BUDGET // max(lines, 1))
    points = points if points >= FEWEST else 0
    grids = _Grids()
    longest = max(
        (len(run.curves[panel.metric][0]) for panel in board.panels for run in sweep.runs if panel.metric in run.curves),
        default=0,
    )
    panels = [
        {"kind": panel.kind, "title": panel.title, "unit": panel.unit, "log": panel.log, "metric": panel.metric}
        | (_lines(sweep, panel, grids, points) if panel.kind == "line" else _points(sweep, panel, board))
        for panel in board.panels
        if panel.kind in ("line", "bar", "scatter")
    ]
    return {
        "arms": [_arm(sweep, board, place) for place in range(len(board.arms))],
        "groups": [_group(board, setting) for setting in board.settings],
        "panels": panels,
        "grids": grids.found,
        "thinned": _thinned(longest, points),
    }


class _Grids:
    """Steps, kept once however many lines are over them."""

    def __init__(self) -> None:
        self.found: list[list[int]] = []
        self.places: dict[tuple[int, ...], int] = {}

    def place(self, steps: np.ndarray) -> int:
        key = tuple(int(step) for step in steps)
        if key not in self.places:
            self.places[key] = len(self.found)
            self.found.append(list(key))
        return self.places[key]


def _thinned(longest: int, points: int) -> str:
    said = []
    if longest > MEAN_POINTS:
        said.append(f"means are drawn at {MEAN_POINTS} of up to {longest:,} logged steps")
    if not points:
        said.append("single seeds' curves are left out, there are too many")
    elif longest > points:
        said.append(
            f"single seeds at {points} of them" if said else f"single seeds are drawn at {points} of {longest} steps"
        )
    return f"Thinned: {'; '.join(said)}; the first and the last are always among them." if said else ""


# Arms --------------------------------------------------------------------------------------------------------------


def _arm(sweep: Sweep, board: Dashboard, place: int) -> dict[str, Any]:
    arm, look = board.arms[place], drawn_as(place)
    ends = Counter(run.status for run in sweep.runs if run.arm == arm.name)
    planned = len(sweep.seeds)
    others = [f"{ends[end]} {end}" for end in ("diverged", "failed", "interrupted") if ends[end]]
    if missing := planned - sum(ends.values()):
        others.append(f"{missing} not run")
    return {
        "label": arm.label,
        "method": arm.method,
        "color": look["color"],
        "dash": _dash(place),
        "marker": look["marker"],
        "n": ends["done"],
        "planned": planned,
        "ends": ", ".join(others),
    }


def _dash(place: int) -> str:
    """SVG's dashes for matplotlib's."""
    dashes = drawn_as(place)["linestyle"]
    return "" if dashes == "-" else " ".join(f"{LINE_WIDTH * length:g}" for length in dashes[1])


def _group(board: Dashboard, setting: Setting) -> dict[str, Any]:
    """Of each arm which value of the setting it has and which series it is of; None where it was not swept in."""
    within = {
        arm: (setting.values.index(value), index)
        for index, series in enumerate(setting.series)
        for value, arm in series.arms.items()
    }
    return {
        "name": setting.name,
        "key": setting.key,
        "values": [f"{value:g}" for value in setting.values],
        "series": [series.name for series in setting.series],
        "colors": [drawn_as(index)["color"] for index in range(len(setting.values))],
        "dashes": [_dash(index) for index in range(len(setting.series))],
        "arms": [within.get(arm.name) for arm in board.arms],
    }


# Numbers -----------------------------------------------------------------------------------------------------------


def _having(run: Run, metric: str) -> np.ndarray:
    return np.asarray(run.curves.get(metric, ((), ()))[0])


def _lines(sweep: Sweep, panel: Panel, grids: _Grids, points: int) -> dict[str, Any]:
    lines = []
    done = {
        (run.arm, run.seed): _curve(run, panel)
        for run in sweep.runs
        if run.status == "done" and len(_having(run, panel.metric))
    }
    for place, arm in enumerate(sweep.arms):
        runs = [run for run in sweep.runs if run.arm == arm and len(_having(run, panel.metric))]
        if not runs:
            continue
        own = {seed: done[arm, seed] for seed in sweep.seeds if (arm, seed) in done}
        line = {"arm": place, "n": 0} | _mean_line(list(own.values()), grids)
        if points:
            line["seeds"] = [_seed(run, panel, grids, points) for run in runs]
        if (baseline := sweep.baseline(arm)) != arm:
            pairs = [_difference(own[seed], done[baseline, seed]) for seed in own if (baseline, seed) in done]
            if pairs and (paired := _mean_line(pairs, grids)):
                line["paired"] = {"to": sweep.arms.index(baseline), **paired}
        lines.append(line)
    return {"lines": lines}


def _mean_line(curves: list[tuple[np.ndarray, np.ndarray]], grids: _Grids) -> dict[str, Any]:
    """Only over steps that every curve has: a mean whose members change along the way shows a step that no run took."""
    steps = _thin(reduce(np.intersect1d, [at for at, _ in curves]), MEAN_POINTS) if curves else ()
    if not len(steps):
        return {}
    values = np.array([each[np.searchsorted(at, steps)] for at, each in curves])
    return {"n": len(curves), "at": grids.place(steps), **mean_and_interval(values)}


def _difference(
    curve: tuple[np.ndarray, np.ndarray], baseline: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Of two runs of a seed, at the steps that both have."""
    steps, left, right = np.intersect1d(curve[0], baseline[0], return_indices=True)
    with np.errstate(invalid="ignore"):
        return steps, curve[1][left] - baseline[1][right]


def _seed(run: Run, panel: Panel, grids: _Grids, points: int) -> list[Any]:
    at, values = _curve(run, panel)
    steps = _thin(at, points)
    return [run.seed, "" if run.status == "done" else run.status, grids.place(steps), _row(values[np.isin(at, steps)])]


def _curve(run: Run, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """A resumed run may have logged a step twice: the last counts."""
    steps, values = run.curves[panel.metric]
    at, last = np.unique(np.asarray(steps)[::-1], return_index=True)
    return at, panel.scale * np.asarray(values, dtype=float)[::-1][last]


def _points(sweep: Sweep, panel: Panel, board: Dashboard) -> dict[str, Any]:
    """Of every arm the summary's mean; a setting's own arms know where they stand along it, others have no place."""
    at = {}
    setting = next((each for each in board.settings if each.key == panel.against), None)
    if setting is not None:
        for index, series in enumerate(setting.series):
            at |= {arm: (setting.values.index(value), index) for value, arm in series.arms.items()}
    found = []
    by_arm: dict[str, dict[int, float]] = {arm: {} for arm in sweep.arms}
    for run in sweep.runs:
        if run.status == "done" and (value := run.summary(panel.metric)) is not None:
            by_arm[run.arm][run.seed] = panel.scale * value
    for place, arm in enumerate(sweep.arms):
        if not (values := by_arm[arm]):
            continue
        seeds = [list(values), _row(np.array(list(values.values())))]
        point = {"arm": place, "place": at.get(arm), "seeds": seeds, **_mean_point(list(values.values()))}
        baseline = sweep.baseline(arm)
        differences = [values[seed] - by_arm[baseline][seed] for seed in values if seed in by_arm[baseline]]
        if differences and baseline != arm:
            point["paired"] = {"to": sweep.arms.index(baseline), **_mean_point(differences)}
        found.append(point)
    if setting is None:
        return {"points": found}
    along = {"xs": [f"{value:g}" for value in setting.values], "x": setting.name, "group": board.settings.index(setting)}
    return {"points": found, **along}


def _mean_point(values: list[float]) -> dict[str, Any]:
    row = mean_and_interval(np.array(values, dtype=float)[:, None])
    return {"n": len(values), **{name: each[0] for name, each in row.items()}}


def mean_and_interval(values_RT: np.ndarray) -> dict[str, list[float | None]]:
    """Over R runs at T steps; `inference.student_interval` is the reference, one step at a time."""
    n = len(values_RT)
    mean = values_RT.mean(axis=0)
    if n < 2:
        return {"mean": _row(mean, MEAN_DIGITS), "low": [None] * len(mean), "high": [None] * len(mean)}
    # What is not finite stays so, and is a gap.
    with np.errstate(invalid="ignore"):
        half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values_RT.std(axis=0, ddof=1) / math.sqrt(n)
    return {name: _row(each, MEAN_DIGITS) for name, each in (("mean", mean), ("low", mean - half), ("high", mean + half))}


def _thin(steps: np.ndarray, points: int) -> np.ndarray:
    """At most so many of them, the first and the last included."""
    if len(steps) <= points:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, points).round().astype(int))]


def _row(values: np.ndarray, digits: int = SEED_DIGITS) -> list[float | None]:
    """Rounded for the page; what is not finite has no JSON, and is a gap."""
    return [_short(float(f"{value:.{digits}g}")) if math.isfinite(value) else None for value in values]


def _short(value: float) -> float:
    return int(value) if value == int(value) and abs(value) < 1e15 else value
