"""What does it look like?

A figure function takes ``ax`` and a table that `analysis` prepared and returns ``ax``; it neither loads nor averages
nor saves. The style is made for an IEEE column (3.5 in wide, 8 pt) without TeX. Colours are Okabe and Ito's; every
arm also has its own dashes and marker, so a grey print or a colour-blind reader loses nothing. `report` calls these.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpositional.analysis import Comparison, Curve, bounds, label
from superpositional.ledger import COMPLETE, LOST, UNFINISHED

COLUMN_INCHES = 3.5
PAGE_INCHES = 7.16
PANELS_PER_ROW = 3
STYLE = {
    # STIX is drawn like IEEE's Times and ships with matplotlib, so a laptop without fonts draws the same bytes.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "text.usetex": False,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,  # TrueType, which IEEE's checker asks for; the default (3) is refused
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "savefig.dpi": 400,
}
# Neighbours differ in luminance too: black, mid blue, light orange, dark green, light sky blue, vermillion, pink.
COLOURS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7")
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1, 1)), (0, (7, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
INSET_EPOCHS = 3
INSET_BOX = (0.46, 0.13, 0.52, 0.50)  # axes fractions: left, bottom, width, height


@contextmanager
def style() -> Iterator[None]:
    """This module's style on matplotlib's own defaults, whatever the reader's matplotlibrc says; undone on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


# Fewer seeds than this, and Student's interval says more of t than of the runs.
BAND_SEEDS = 5


def column_figure(height: float) -> tuple[Figure, Axes]:
    """A figure of one column's width, outside of pyplot's global list of figures."""
    figure = Figure(figsize=(COLUMN_INCHES, height), layout="constrained")
    return figure, figure.add_subplot()


def page_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure of both columns' width with so many panels, a third of it each."""
    rows = math.ceil(panels / PANELS_PER_ROW)
    figure = Figure(figsize=(PAGE_INCHES, 0.45 + 2.1 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, min(panels, PANELS_PER_ROW))
    return figure, [figure.add_subplot(grid[divmod(index, PANELS_PER_ROW)]) for index in range(panels)]


def learning_curves(ax: Axes, table: Sequence[Curve], quantity: str = "validation accuracy (%)", note: str = "") -> Axes:
    """Mean over seeds by epoch, one line per arm, with the baseline's 95 % Student-t band (Pamuk et al. 2025, Fig. 1).

    Arms a fraction of a point apart lie on each other at this scale, so an inset shows the last epochs with the arms
    side by side. There is no epoch 0: nothing is measured before training.
    """
    for index, curve in enumerate(table):
        look = _look(index)
        # Staggered markers: on shared epochs the last arm would hide the others'.
        every = (index % max(1, min(len(table), len(curve.epochs))), max(1, min(len(table), len(curve.epochs))))
        ax.plot(curve.epochs, curve.mean, label=_name(curve, table), markevery=every, **look)
    # One band: five on one another have the colour of none. The others' intervals stand in the inset. And none for a
    # handful of seeds, whose intervals reach beyond any accuracy.
    baseline = table[0]
    banded = baseline.n >= BAND_SEEDS
    if banded:
        ax.fill_between(baseline.epochs, baseline.low, baseline.high, color="0.82", linewidth=0, zorder=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel(quantity)
    ax.xaxis.get_major_locator().set_params(integer=True)
    what = f"mean, 95 % $t$ interval ({label(baseline.arm)}: band)" if banded else "mean, too few seeds for a band,"
    ns, longest = {curve.n for curve in table}, max(len(_name(curve, table)) for curve in table)
    seeds = f"$n$ = {ns.pop()} seeds" if len(ns) == 1 else f"($n$) of {table[0].planned} seeds"
    ax.legend(
        title="\n".join(filter(None, [note, f"{what} over {seeds}"])),
        loc="lower left",
        bbox_to_anchor=(-0.14, 1.0),
        ncols=1 if longest > 24 else 2 if longest > 17 or len(table) < 5 else 3,
        columnspacing=1.0,
        borderpad=0.1,
        alignment="left",
    )
    _last_epochs(ax, table)
    return ax


def paired_differences(ax: Axes, table: Sequence[Comparison], note: str = "") -> Axes:
    """Forest plot: each arm's mean paired difference to the baseline with its 95 % interval, and the zero line.

    An open marker is conditional: some pairs ended without a value. A row without a pair says so instead of a point.
    """
    ax.axvline(0, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    for row, comparison in enumerate(table):
        estimate, look = comparison.estimate, _look(row + 1)
        if estimate.low is not None:
            ax.plot([estimate.low, estimate.high], [row, row], color=look["color"], linewidth=1.4, marker="|")
        if estimate.mean is not None:
            face = "white" if comparison.conditional else look["color"]
            ax.plot(estimate.mean, row, marker=look["marker"], color=look["color"], markerfacecolor=face, markersize=5)
        words = bounds(estimate) if estimate.n else "no finished pair"
        ax.annotate(
            f"{words}, $n$ = {estimate.n}{'†' if comparison.conditional else ''}",
            (1, row),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            zorder=1,  # over the zero line, under the markers
            xycoords=("axes fraction", "data"),
            xytext=(0, 7),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7,
        )
    ax.set_yticks(range(len(table)), [label(comparison.arm.arm) for comparison in table])
    ax.set_ylim(len(table) - 0.5, -0.75)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    # Zero and air around the outermost interval, the same on both sides so that the eye compares fairly.
    ends = [abs(v) for c in table for v in (c.estimate.low, c.estimate.high, c.estimate.mean) if v is not None]
    reach = 1.15 * max(ends, default=0) or 1.0
    ax.set_xlim(-reach, reach)
    measure = table[0].measure
    baselines = dict.fromkeys(label(comparison.baseline.arm) for comparison in table)
    baseline = next(iter(baselines)) if len(baselines) == 1 else "the baseline at the same values"
    dagger = "\n† conditional on the pairs that gave a value" if any(c.conditional for c in table) else ""
    # A long name has a line of its own, or the page would cut it.
    between = "\n" if len(measure.name) + len(baseline) > 35 else " "
    ax.set_xlabel(f"{measure.name}, difference to{between}{baseline} ({measure.unit}){dagger}")
    title = "\n".join(filter(None, [note, "mean paired difference, 95 % $t$ interval, $n$ seeds"]))
    # Held at the right so that a long note runs over the arms' labels instead of off the page.
    ax.set_title(title, loc="right", multialignment="left")
    return ax


def searched(ax: Axes, table: Mapping[str, Any], key: str) -> Axes:
    """Every trial of a search (a ledger): its metric against one setting, for the arms that search it.

    A ring is an arm's best, an open marker a trial whose runs have not all ended. A cross at the worse edge is a trial that
    lost a run: it has no value, and is neither left out nor given one.
    """
    upwards = table["goal"] == "max"
    for index, entry in enumerate(table["arms"].values()):
        if key not in entry["space"]:
            continue
        dimension, look = entry["space"][key], _look(index)
        # Arms share their points, and often their values: the later ones are smaller and leave the earlier ones to be seen.
        look |= {"linestyle": "none", "markersize": max(2.4, 5.6 - 0.9 * index)}
        for trial in entry["trials"]:
            place = _place(dimension, trial["values"][key], index, len(table["arms"]))
            if trial["outcome"] == LOST:
                edge = 0.02 + 0.04 * index
                cross = {**look, "marker": "x", "markersize": 3.4, "markeredgewidth": 0.9, "clip_on": False}
                ax.plot(place, edge if upwards else 1 - edge, transform=ax.get_xaxis_transform(), **cross)
            elif trial["mean"] is not None:
                face = look["color"] if trial["outcome"] == COMPLETE else "white"
                ax.plot(place, trial["mean"], markerfacecolor=face, **look)
            if trial["trial"] == entry["best"]:
                ax.plot(place, trial["mean"], "o", **_RING, color=look["color"])
    declared = next(entry["space"][key] for entry in table["arms"].values() if key in entry["space"])
    if "choices" in declared:
        ax.set_xticks(range(len(declared["choices"])), [_typed(choice) for choice in declared["choices"]])
        ax.set_xlim(-0.6, len(declared["choices"]) - 0.4)
    elif declared["log"]:
        ax.set_xscale("log")
    # Room for the ring of the best, and for crosses that are away from the values.
    low, high = ax.get_ylim()
    better = 0.04 * (high - low)
    worse = (0.06 + 0.04 * len(table["arms"])) * (high - low) if _lost(table) else 0.0
    ax.set_ylim((low - worse, high + better) if upwards else (low - better, high + worse))
    ax.set_xlabel(key)
    ax.set_ylabel(table["metric"])
    return ax


def best_of_k(ax: Axes, table: Mapping[str, Any]) -> Axes:
    """What k trials can be expected to find, by arm, from a search's own trials (Dodge et al. 2019).

    A line begins where at most one draw in twenty would lose all its k trials: before that, a mean over the draws that did
    find something would praise an arm that mostly diverges.
    """
    for index, entry in enumerate(table["arms"].values()):
        points = [point for point in entry["best_of_k"] if point["expected"] is not None and point["none"] <= 0.05]
        every = max(1, len(points) // 8)
        offset = index % every if points else 0
        ks, expected = [point["k"] for point in points], [point["expected"] for point in points]
        ax.plot(ks, expected, markevery=(offset, every), **_look(index))
    ax.set_xlabel("expected best of $k$ trials, $k$")
    ax.set_ylabel(table["metric"])
    ax.set_xlim(left=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def search_legend(figure: Figure, table: Mapping[str, Any], note: str = "") -> None:
    """One legend over all panels of a search: n, its arms, and those signs that are drawn."""
    n = len(table["tuning_seeds"])
    handles = [Line2D([], [], label=label(arm), **_look(index)) for index, arm in enumerate(table["arms"])]
    grey = {"linestyle": "none", "color": "0.35"}
    if any(entry["best"] for entry in table["arms"].values()):
        handles.append(Line2D([], [], label="an arm's best", marker="o", **_RING, **grey))
    if _lost(table):
        handles.append(Line2D([], [], label="trial with a diverged or failed run", marker="x", markersize=4, **grey))
    if any(trial["outcome"] == UNFINISHED and trial["n"] for entry in table["arms"].values() for trial in entry["trials"]):
        handles.append(Line2D([], [], label="unfinished", marker="o", markerfacecolor="white", **grey))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(4, len(handles)),
        title="\n".join(
            filter(None, [note, f"a point is a trial's mean over $n$ = {n} tuning seed{'' if n == 1 else 's'}"])
        ),
        alignment="left",
        columnspacing=1.2,
        borderpad=0.1,
    )


def save(figure: Figure, path: Path, provenance: Mapping[str, str]) -> list[Path]:
    """Write ``path`` as .pdf and .png. No dates and no versions go in, so the same table gives the same bytes."""
    words = "; ".join(f"{key}: {value}" for key, value in provenance.items())
    files = [path.with_suffix(".pdf"), path.with_suffix(".png")]
    path.parent.mkdir(parents=True, exist_ok=True)
    nothing = {"Creator": None, "Producer": None, "CreationDate": None}
    figure.savefig(files[0], metadata={**nothing, "Title": path.stem, "Subject": words})
    figure.savefig(files[1], metadata={"Software": None, "Title": path.stem, "Description": words})
    return files


_RING = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.9}


def _place(dimension: Mapping[str, Any], value: Any, index: int, arms: int) -> float:
    """Where a value stands on its axis; choices have a slot each, with the arms side by side in it."""
    if "choices" not in dimension:
        return value
    # By their text, as they were declared: True == 1.
    slot = [repr(choice) for choice in dimension["choices"]].index(repr(value))
    return slot + 0.7 * ((index + 0.5) / arms - 0.5)


def _typed(choice: Any) -> str:
    """As it is typed on the command line: ``true``, not ``True``."""
    return choice if isinstance(choice, str) else json.dumps(choice)


def _lost(table: Mapping[str, Any]) -> bool:
    return any(trial["outcome"] == LOST for entry in table["arms"].values() for trial in entry["trials"])


def _look(index: int) -> dict:
    """Colour, dashes and marker of the index-th arm; the same in every figure. 7 × 5 lines before any two agree."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markeredgewidth": 0.7,
    }


def _name(curve: Curve, table: Sequence[Curve]) -> str:
    """The arm, and its n where the legend cannot give one n for all."""
    return label(curve.arm) + (f" ({curve.n})" if len({c.n for c in table}) > 1 else "")


def _last_epochs(ax: Axes, table: Sequence[Curve]) -> None:
    """Zoom on the last epochs in the corner that rising curves leave empty; nothing where there is no room for it."""
    drawn = [curve for curve in table if curve.n]
    epochs = sorted(set.intersection(*(set(curve.epochs) for curve in drawn)))
    left, bottom, _, height = INSET_BOX
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    top = y0 + (bottom + height + 0.1) * (y1 - y0)
    under = [
        value
        for curve in drawn
        for value in np.interp(np.linspace(x0 + left * (x1 - x0), x1, 50), curve.epochs, np.fmin(curve.mean, curve.low))
    ]
    if len(epochs) <= INSET_EPOCHS + 1 or min(under) < top:
        return
    inset = ax.inset_axes(INSET_BOX)
    shown = epochs[-INSET_EPOCHS:]
    for index, curve in enumerate(table):
        if not curve.n:
            continue
        at = np.isin(curve.epochs, shown)
        mean, low, high = curve.mean[at], curve.low[at], curve.high[at]
        # Side by side within an epoch's slot; the epoch is the slot's middle.
        dodge = 0.7 * (shown[-1] - shown[-2]) * ((index + 0.5) / len(table) - 0.5)
        spread = np.nan_to_num([mean - low, high - mean])
        look = {**_look(index), "linestyle": "none", "markersize": 3}
        inset.errorbar(np.array(shown) + dodge, mean, yerr=spread, elinewidth=0.8, **look)
    for before, after in pairwise(shown):
        inset.axvline((before + after) / 2, color="0.85", linewidth=0.6, zorder=0)
    inset.set_xticks(shown, [f"{epoch:g}" for epoch in shown])
    inset.tick_params(labelsize=7, pad=2, length=2)
    inset.tick_params(axis="x", length=0)
    inset.set_title("last epochs, arms side by side", fontsize=7, pad=2)
