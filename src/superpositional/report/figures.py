"""Figures of courses: learning curves, single seeds, departures, time to target, effects along a setting.

A figure takes axes and a table that ``evidence`` or ``along`` prepared; it neither loads nor averages nor saves.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from superpositional.evidence.curves import Curve, Departure, Reached
from superpositional.format import label
from superpositional.records.measures import VALIDATION_ACCURACY, Along
from superpositional.report.along import BACKENDS, Line
from superpositional.report.style import BAND_SEEDS, LINEAR_SPAN, ZERO, drawn_as

INSET_EPOCHS = 3
INSET_BOX = (0.46, 0.13, 0.52, 0.50)  # axes fractions: left, bottom, width, height
# Beyond this many points a difference would flatten all others, so the axis is logarithmic there.
FLATTENS = 20.0
SMALL_LEGEND = {"title": "($n$)", "fontsize": "x-small", "title_fontsize": "x-small"}


def learning_curves(ax: Axes, table: Sequence[Curve], along: Along = VALIDATION_ACCURACY, note: str = "") -> Axes:
    """Draw the mean over seeds by epoch, with the baseline's 95 % Student-t band (Pamuk et al. 2025, Fig. 1).

    Arms a fraction of a point apart lie on each other at this scale, so an inset shows the last epochs with the arms
    side by side. There is no epoch 0: nothing is measured before training.
    """
    same_n = len({curve.n for curve in table}) == 1
    for index, curve in enumerate(table):
        # Staggered markers: on shared epochs the last arm would hide the others'.
        every = max(1, min(len(table), len(curve.at)))
        name = label(curve.arm) + ("" if same_n else f" ({curve.n})")
        ax.plot(curve.at, curve.mean, label=name, markevery=(index % every, every), **drawn_as(index))
    # One band: five on one another have the colour of none. The others' intervals stand in the inset.
    baseline = table[0]
    if banded := baseline.n >= BAND_SEEDS:
        ax.fill_between(baseline.at, baseline.low, baseline.high, color="0.82", linewidth=0, zorder=0)
    ax.set_xlabel(along.by)
    ax.set_ylabel(along.quantity)
    ax.xaxis.get_major_locator().set_params(integer=True)
    what = f"mean, 95 % $t$ interval ({label(baseline.arm)}: band)" if banded else "mean, too few seeds for a band,"
    seeds = f"$n$ = {baseline.n} seeds" if same_n else f"($n$) of {baseline.planned} seeds"
    legend_above(ax, note, f"{what} over {seeds}")
    _last_epochs(ax, table)
    return ax


def seed_bands(axes: Sequence[Axes], table: Sequence[Curve], along: Along = VALIDATION_ACCURACY) -> Sequence[Axes]:
    """Draw a panel for each arm: every seed's curve, the mean with its 95 % Student-t band, and the baseline's mean.

    All panels have one y-axis (by step: Pamuk et al. 2025, Fig. 2).
    """
    few = max(curve.n for curve in table) < BAND_SEEDS
    thin = {"linewidth": 0.6, "alpha": 0.6} if few else {"linewidth": 0.4, "alpha": 0.35}
    baseline = table[0]
    for index, (ax, curve) in enumerate(zip(axes, table, strict=True)):
        color = drawn_as(index)["color"]
        for epochs, values in curve.seeds:
            ax.plot(epochs, values, color=color, zorder=1, **thin)
        if curve.n >= BAND_SEEDS:
            ax.fill_between(curve.at, curve.low, curve.high, color=color, alpha=0.3, linewidth=0, zorder=2)
        ax.plot(curve.at, curve.mean, color=color, linestyle="-", linewidth=1.3, zorder=3)
        if index:
            name = f"{label(baseline.arm)}, mean" if index == 1 and along.by == "step" else None
            dashed = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.9}
            ax.plot(baseline.at, baseline.mean, zorder=4, label=name, **dashed)
            if name:
                ax.legend(loc="best")
        ax.set_title(f"{label(curve.arm)}, $n$ = {curve.n} of {curve.planned}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel(along.by)
        ax.set_ylabel(along.quantity if ax.get_subplotspec().is_first_col() else "")
    drawn = [values for curve in table for _, values in curve.seeds]
    if drawn and 0 < LINEAR_SPAN * min(each.min() for each in drawn) < max(each.max() for each in drawn):
        for ax in axes:
            ax.set_yscale("log")
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))
    return axes


def departures(axes: Sequence[Axes], table: Sequence[Departure], arms: Sequence[str]) -> Sequence[Axes]:
    """Draw a panel for each arm: how far each seed's loss is from its baseline's, by step, all on one log axis.

    A step at which they do not differ has no mark, and a panel in which they never do says so.
    """
    courses = {each.arm: each.courses for each in table}
    sizes = np.concatenate([*(size[np.isfinite(size)] for each in courses.values() for _, size in each), []])
    steps = [step for each in courses.values() for at, _ in each for step in (at[0], at[-1])]
    to = label(table[0].baseline) if len({each.baseline for each in table}) == 1 else "the baseline"
    for ax, each in zip(axes, table, strict=True):
        # A step that stands alone has no line to be part of.
        line = {"linewidth": 0.7, "alpha": 0.8, "marker": "." if each.block == 1 else None, "markersize": 2}
        for at, size in courses[each.arm]:
            ax.plot(at, size, color=drawn_as(arms.index(each.arm))["color"], **line)
        if each.first:
            ax.axvline(float(np.median(list(each.first.values()))), linewidth=0.8, **ZERO)
        ax.set_title(f"{label(each.arm)}, $n$ = {len(each.seeds)} of {each.planned}")
        if not each.first:
            words = each.words.replace(" in ", "\nin ", 1).replace(", over", ",\nover")
            ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
        ax.set_yscale("log")
        if sizes.size:
            # Whole decades, so that few of them have labels too.
            ax.set_ylim(10.0 ** np.floor(np.log10(sizes.min())), 10.0 ** np.ceil(np.log10(1.01 * sizes.max())))
        else:
            ax.set_yticks([])
        if steps:
            margin = 0.03 * (max(steps) - min(steps)) or 0.5
            ax.set_xlim(min(steps) - margin, max(steps) + margin)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("step")
        ax.set_ylabel(f"|loss − {to}'s|" * ax.get_subplotspec().is_first_col())
    return axes


def time_to_target(ax: Axes, table: Sequence[Reached], note: str = "") -> Axes:
    """Draw the share of each arm's runs that have reached the target by an epoch; those that never do are in n.

    All runs are as long, so this is the Kaplan-Meier curve of reaching it.
    """
    horizon = max((each.horizon for each in table if each.horizon is not None), default=1.0)
    for index, each in enumerate(table):
        if each.n:
            x = np.concatenate([[0.0], each.epochs, [horizon]])
            y = np.concatenate([np.arange(len(each.epochs) + 1), [len(each.epochs)]]) / each.n
            every = max(1, len(x) // 6)
            marks = {"markevery": (index * max(1, every // len(table)) % every, every)}
            ax.step(x, 100 * y, where="post", label=f"{label(each.arm)} ({each.n})", **marks, **drawn_as(index))
    ax.set(xlim=(0, horizon), ylim=(0, 102), xlabel="epoch", ylabel="reached the target (%)")
    legend_above(ax, note, "($n$) runs, those that never reach it included")
    return ax


# Along a setting ---------------------------------------------------------------------------------------------------


def by_setting(axes: Sequence[Axes], lines: Sequence[Line], name: str, log: bool) -> Sequence[Axes]:
    """Draw differences in accuracy and in epochs by a setting's value and, of a third axes, where training broke."""
    words = ("test accuracy, difference (points)", "epochs to target, difference", "runs whose training broke (%)")
    every = sorted({point.x for line in lines for kind in ("accuracy", "broken") for point in line.points[kind]})
    for ax, kind, said in zip(axes, lines[0].points, words, strict=False):
        if kind != "broken":
            ax.axhline(0, linewidth=0.7, **ZERO)
        for index, line in enumerate(lines):
            aside = index - (len(lines) - 1) / 2
            x = np.array([point.x * 1.07**aside if log else point.x + 0.07 * aside for point in line.points[kind]])
            _with_intervals(ax, line, kind, x, index + 1, capsize=1.5)
            # Some pairs ended without a value: what stands here is of the others alone.
            part = [(at, point.mean) for at, point in zip(x, line.points[kind], strict=True) if point.n < point.of]
            if kind != "broken" and part:
                ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "color": "0.3"}
                ax.plot(*zip(*part, strict=True), linestyle="none", **ring)
        if log:
            ax.set_xscale("log")
        else:
            ax.set_xticks(every, [f"{value:g}" for value in every])
        ax.set_ylabel(said)
        means = [point.mean for line in lines for point in line.points["accuracy"]]
        if kind == "accuracy" and max(map(abs, means), default=0) > FLATTENS:
            ax.set_yscale("symlog", linthresh=1)
            ax.set_ylim(bottom=1.6 * min(means))
        if kind == "broken":
            ax.set_ylim(-3, 103)  # so that an empty interval at 0 can be seen
        if ax.get_legend_handles_labels()[0]:
            ax.legend(**SMALL_LEGEND)
        ax.set_xlabel(name)
    return axes


def by_backend(axes: Sequence[Axes], lines: Sequence[Line]) -> Sequence[Axes]:
    """Draw accuracy, epochs and errors of the lines of one backend, each against its setting."""
    for index, line in enumerate(lines):
        for ax, (kind, points) in zip(axes, line.points.items(), strict=True):
            # Beside one another where lines share their places.
            x = np.array([point.x for point in points]) * 1.06 ** (2 * index - (len(lines) - 1))
            if points:
                _with_intervals(ax, line, kind, x, index + 1, capsize=2)
            else:
                ax.plot([], [], label=f"{line.name} (0)", **drawn_as(index + 1))
    words = ("test accuracy − exact (points)", "epochs to target − exact", "error of gradient, of modulation")
    for ax, said in zip(axes, words, strict=True):
        ax.set(xscale="log", xlabel=BACKENDS[lines[0].backend][1], ylabel=said)
    for ax in axes[:2]:
        ax.axhline(0, color="0.5", linewidth=0.7, zorder=0)
    axes[2].set_yscale("log")
    if lines[0].backend == "shots" and (points := lines[0].points["error"]):
        x = np.array([points[0].x, points[-1].x])
        dashed = {"color": "0.5", "linewidth": 0.7, "linestyle": "--"}
        axes[2].plot(x, points[0].mean * np.sqrt(points[0].x / x), label="1/√shots", **dashed)
    for ax in axes:
        if ax.get_legend_handles_labels()[0]:
            # Above: inside it would cover some interval.
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "alignment": "left"}
            ax.legend(**SMALL_LEGEND, **place, labelspacing=0.25, borderaxespad=0.2)
    return axes


def _with_intervals(ax: Axes, line: Line, kind: str, x: np.ndarray, place: int, capsize: float) -> None:
    if points := line.points[kind]:
        mean = np.array([point.mean for point in points])
        low, high = np.array([(p.low, p.high) if p.low is not None else (p.mean, p.mean) for p in points]).T
        n = sorted({point.n for point in points})
        name = f"{line.name} ({n[0] if len(n) == 1 else f'{n[0]} to {n[-1]}'})"
        bars = {"yerr": [mean - low, high - mean], "capsize": capsize, "elinewidth": 0.7}
        ax.errorbar(x, mean, label=name, **bars, **drawn_as(place))


# Parts -------------------------------------------------------------------------------------------------------------


def legend_rows(names: Sequence[str]) -> int:
    """How many rows ``legend_above`` needs for arms of these names, each with its n."""
    return -(-len(names) // _columns([f"{name} (00)" for name in names]))


def _columns(names: Sequence[str]) -> int:
    longest = max(map(len, names), default=0)
    return 1 if longest > 22 else 2 if longest > 17 or len(names) < 5 else 3


def legend_above(ax: Axes, *title: str) -> None:
    """Put a legend of all that is drawn above the axes, from where the axis label begins."""
    ax.legend(
        title="\n".join(filter(None, title)),
        loc="lower left",
        bbox_to_anchor=(0.012, 1.0),
        bbox_transform=blended_transform_factory(ax.figure.transFigure, ax.transAxes),
        borderaxespad=0.4,
        ncols=_columns(ax.get_legend_handles_labels()[1]),
        columnspacing=1.0,
        labelspacing=0.25,  # a row is then 0.14 in high, with which the figure's height is reckoned
        borderpad=0.1,
        alignment="left",
    )


def _last_epochs(ax: Axes, table: Sequence[Curve]) -> None:
    """Zoom on the last epochs in the corner that rising curves leave empty; nothing where there is no room for it."""
    drawn = [curve for curve in table if curve.n]
    epochs = sorted(set.intersection(*(set(curve.at) for curve in drawn)))
    left, bottom, _, height = INSET_BOX
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    top = y0 + (bottom + height + 0.1) * (y1 - y0)
    over = np.linspace(x0 + left * (x1 - x0), x1, 50)
    under = [np.interp(over, curve.at, np.fmin(curve.mean, curve.low)).min() for curve in drawn]
    if len(epochs) <= INSET_EPOCHS + 1 or min(under) < top:
        return
    inset = ax.inset_axes(INSET_BOX)
    shown = epochs[-INSET_EPOCHS:]
    for index, curve in enumerate(table):
        if curve.n:
            at = np.isin(curve.at, shown)
            mean, low, high = curve.mean[at], curve.low[at], curve.high[at]
            # Side by side within an epoch's slot; the epoch is the slot's middle.
            x = np.array(shown) + 0.7 * (shown[-1] - shown[-2]) * ((index + 0.5) / len(table) - 0.5)
            look = drawn_as(index) | {"linestyle": "none", "markersize": 3, "elinewidth": 0.8}
            inset.errorbar(x, mean, yerr=np.nan_to_num([mean - low, high - mean]), **look)
    for before, after in pairwise(shown):
        inset.axvline((before + after) / 2, color="0.85", linewidth=0.6, zorder=0)
    inset.set_xticks(shown, [f"{epoch:g}" for epoch in shown])
    inset.tick_params(labelsize=7, pad=2, length=2)
    inset.tick_params(axis="x", length=0)
    inset.set_title("last epochs, arms side by side", fontsize=7, pad=2)
