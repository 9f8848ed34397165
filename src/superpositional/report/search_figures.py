"""What does a search look like?

Every trial against each setting, and what k trials can be expected to find, from a `ledger`. A figure function takes ``ax``
and a table and returns ``ax``. `report` calls these.
"""

import json
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from superpositional.format import label
from superpositional.records.ledger import COMPLETE, LOST, UNFINISHED
from superpositional.report.style import drawn_as

_RING = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 0.9}


def searched(ax: Axes, table: Mapping[str, Any], key: str) -> Axes:
    """Every trial of a search (a ledger): its metric against one setting, for the arms that search it.

    A ring is an arm's best, an open marker a trial whose runs have not all ended. A cross at the worse edge is a trial that
    lost a run: it has no value, and is neither left out nor given one.
    """
    upwards = table["goal"] == "max"
    for index, entry in enumerate(table["arms"].values()):
        if key not in entry["space"]:
            continue
        dimension, look = entry["space"][key], drawn_as(index)
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
        ax.plot(ks, expected, markevery=(offset, every), **drawn_as(index))
    ax.set_xlabel("expected best of $k$ trials, $k$")
    ax.set_ylabel(table["metric"])
    ax.set_xlim(left=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def search_legend(figure: Figure, table: Mapping[str, Any], note: str = "") -> None:
    """One legend over all panels of a search: n, its arms, and those signs that are drawn."""
    n = len(table["tuning_seeds"])
    handles = [Line2D([], [], label=label(arm), **drawn_as(index)) for index, arm in enumerate(table["arms"])]
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
