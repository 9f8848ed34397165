"""What does a comparison look like?

A figure function takes ``ax`` and a table that `analysis`, `curves` or `verdicts` prepared and returns ``ax``; it neither
loads nor averages nor saves. The style is ``ink``'s. `report` calls these.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from superpositional.evidence import inference
from superpositional.evidence.analysis import Comparison
from superpositional.evidence.curves import Course, Curve, Departure, Reached
from superpositional.evidence.verdicts import ALPHA, LEAST_PAIRS, NONE, Verdict
from superpositional.format import bounds, label
from superpositional.records.measures import VALIDATION_ACCURACY, Along
from superpositional.report.style import drawn_as

INSET_EPOCHS = 3
INSET_BOX = (0.46, 0.13, 0.52, 0.50)  # axes fractions: left, bottom, width, height


# Where the axis of claims ends at the latest; what is further off is an arrow.
WIDEST_MARGINS = 12.0
PUBLISHED = "#D55E00"
# Fewer seeds than this, and Student's interval says more of t than of the runs.
BAND_SEEDS = 5
# Below this, numbers on an axis in decimals would run into one another.
SHORT_LABELS = 0.01
# Means that span more than this are drawn on a log axis.
LINEAR_SPAN = 30


def learning_curves(ax: Axes, table: Sequence[Curve], along: Along = VALIDATION_ACCURACY, note: str = "") -> Axes:
    """Mean over seeds by epoch, one line per arm, with the baseline's 95 % Student-t band (Pamuk et al. 2025, Fig. 1).

    Arms a fraction of a point apart lie on each other at this scale, so an inset shows the last epochs with the arms
    side by side. There is no epoch 0: nothing is measured before training.
    """
    for index, curve in enumerate(table):
        look = drawn_as(index)
        # Staggered markers: on shared epochs the last arm would hide the others'.
        every = (index % max(1, min(len(table), len(curve.at))), max(1, min(len(table), len(curve.at))))
        ax.plot(curve.at, curve.mean, label=_name(curve, table), markevery=every, **look)
    # One band: five on one another have the colour of none. The others' intervals stand in the inset. And none for a
    # handful of seeds, whose intervals reach beyond any accuracy.
    baseline = table[0]
    banded = baseline.n >= BAND_SEEDS
    if banded:
        ax.fill_between(baseline.at, baseline.low, baseline.high, color="0.82", linewidth=0, zorder=0)
    ax.set_xlabel(along.by)
    ax.set_ylabel(along.quantity)
    ax.xaxis.get_major_locator().set_params(integer=True)
    what = f"mean, 95 % $t$ interval ({label(baseline.arm)}: band)" if banded else "mean, too few seeds for a band,"
    ns = {curve.n for curve in table}
    seeds = f"$n$ = {ns.pop()} seeds" if len(ns) == 1 else f"($n$) of {table[0].planned} seeds"
    legend_above(ax, "\n".join(filter(None, [note, f"{what} over {seeds}"])))
    _last_epochs(ax, table)
    return ax


def paired_differences(ax: Axes, table: Sequence[Comparison], note: str = "", arms: Sequence[str] = ()) -> Axes:
    """Forest plot: each arm's mean paired difference to the baseline with its 95 % interval, and the zero line.

    ``arms``: all of the sweep, so that each is drawn as in its other figures.

    An open marker is conditional: some pairs ended without a value. A row without a pair says so instead of a point.
    """
    ax.axvline(0, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    for row, comparison in enumerate(table):
        place = arms.index(comparison.arm.arm) if arms else row + 1
        estimate, look = comparison.estimate, drawn_as(place)
        if estimate.low is not None:
            ax.plot([estimate.low, estimate.high], [row, row], color=look["color"], linewidth=1.4, marker="|")
        if estimate.mean is not None:
            face = "white" if comparison.conditional else look["color"]
            ax.plot(estimate.mean, row, marker=look["marker"], color=look["color"], markerfacecolor=face, markersize=5)
        words = bounds(estimate) if estimate.n else "no finished pair"
        words = comparison.zeros if comparison.same else words
        _row_words(ax, row, f"{words}, $n$ = {estimate.n}{'†' if comparison.conditional else ''}", above=7)
    _name_rows(ax, [label(comparison.arm.arm) for comparison in table], top=-0.75)
    # Zero and air around the outermost interval, the same on both sides so that the eye compares fairly.
    ends = [abs(v) for c in table for v in (c.estimate.low, c.estimate.high, c.estimate.mean) if v is not None]
    reach = 1.15 * max(ends, default=0) or 1.0
    ax.set_xlim(-reach, reach)
    if reach < SHORT_LABELS:
        ax.xaxis.get_major_locator().set_params(nbins=4)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2), useMathText=True)
    measure = table[0].measure
    baselines = dict.fromkeys(label(comparison.baseline.arm) for comparison in table)
    baseline = next(iter(baselines)) if len(baselines) == 1 else "the baseline at the same values"
    dagger = "\n† conditional on the pairs that gave a value" if any(c.conditional for c in table) else ""
    # A long name has a line of its own, and so where long names of arms leave the axis little room: or the page cuts it.
    longest = max(len(label(comparison.arm.arm)) for comparison in table)
    between = "\n" if len(measure.name) + len(baseline) > min(35, 48 - longest) else " "
    unit = f" ({measure.unit})" if measure.unit else ""
    ax.set_xlabel(f"{measure.name}, difference to{between}{baseline}{unit}{dagger}")
    title = "\n".join(filter(None, [note, "mean paired difference, 95 % $t$ interval, $n$ seeds"]))
    # Held at the right so that a long note runs over the arms' labels instead of off the page.
    ax.set_title(title, loc="right", multialignment="left")
    return ax


def claims_forest(ax: Axes, table: Sequence[Verdict], note: str = "") -> Axes:
    """Forest plot of claims in units of their margins, so that points, percent and epochs share an axis.

    Within a row's grey strip, ±1, an effect does not matter. The bar is the 95 % interval, an open diamond the published
    value; what lies beyond the axis stands at its edge as an arrow. An open marker has no verdict.
    """
    # A strip for each row and none between them: there the row's words stand, on white. Few rows are taller.
    height = 0.36 if len(table) > 2 else 0.24
    ax.barh(range(len(table)), 2, left=-1, height=height, color="0.88", linewidth=0, zorder=0)
    ax.axvline(0, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    ends = [
        abs(value) / verdict.claim.margin
        for verdict in table
        for value in (verdict.claim.published, verdict.effect.low, verdict.effect.high, verdict.effect.mean)
        if value is not None
    ]
    reach = min(WIDEST_MARGINS, max(2.0, 1.15 * max(ends, default=0.0)))
    for row, verdict in enumerate(table):
        claim, effect = verdict.claim, verdict.effect
        if not effect.low is effect.high is None:
            # A bound is open to the other side.
            ends = (-np.inf if effect.low is None else effect.low, np.inf if effect.high is None else effect.high)
            low, high = (float(np.clip(end / claim.margin, -reach, reach)) for end in ends)
            ax.plot([low, high], [row, row], color="black", linewidth=1.4, solid_capstyle="butt")
        if effect.mean is not None:
            face = "black" if verdict.verdict != NONE else "white"
            _at_or_beyond(ax, effect.mean / claim.margin, row, reach, marker="o", color="black", markerfacecolor=face)
        if claim.published is not None:
            _at_or_beyond(
                ax, claim.published / claim.margin, row, reach, marker="D", color=PUBLISHED, markerfacecolor="white"
            )
        words = f"{bounds(effect, claim.effect_unit)}, $n$ = {verdict.n}: {verdict.words}" if effect.n else verdict.words
        words = words.replace(" (few pairs)", "*")
        _row_words(ax, row, words, above=9)
    _name_rows(ax, [label(verdict.claim.id) for verdict in table], top=-0.8)
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("effect in margins (grey: smaller than matters)")
    said = "95 % interval" + (
        "; open diamond: as published" if any(verdict.claim.published is not None for verdict in table) else ""
    )
    said += "; *: few pairs" if any("few pairs" in verdict.words for verdict in table) else ""
    ax.set_title("\n".join(filter(None, [note, said])), loc="right", multialignment="left")
    return ax


def seed_bands(
    axes: Sequence[Axes], table: Sequence[Curve], seeds: Mapping[str, Sequence], along: Along = VALIDATION_ACCURACY
) -> Sequence[Axes]:
    """A panel for each arm: every seed's own curve, the mean with its 95 % Student-t band, and the baseline's mean.

    All on one y-axis (by step: Pamuk et al. 2025, Fig. 2).

    Args:
        axes: one for each curve of ``table``.
        seeds: of each arm its runs' (epochs or steps, values).
    """
    thin = {"linewidth": 0.4, "alpha": 0.35}
    if max((len(each) for each in seeds.values()), default=0) < BAND_SEEDS:
        thin = {"linewidth": 0.6, "alpha": 0.6}  # few lines hide nothing
    baseline = table[0]
    for index, (ax, curve) in enumerate(zip(axes, table, strict=True)):
        look = drawn_as(index)
        for epochs, values in seeds[curve.arm]:
            ax.plot(epochs, values, color=look["color"], zorder=1, **thin)
        if curve.n >= BAND_SEEDS:
            ax.fill_between(curve.at, curve.low, curve.high, color=look["color"], alpha=0.3, linewidth=0, zorder=2)
        ax.plot(curve.at, curve.mean, color=look["color"], linestyle="-", linewidth=1.3, zorder=3)
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
    drawn = [values for each in seeds.values() for _, values in each]
    least, most = min((v.min() for v in drawn), default=0.0), max((v.max() for v in drawn), default=0.0)
    if 0 < LINEAR_SPAN * least < most:
        for ax in axes:
            ax.set_yscale("log")
    limits = [ax.get_ylim() for ax in axes]
    for ax in axes:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    return axes


def departures(axes: Sequence[Axes], table: Sequence[Departure], arms: Sequence[str]) -> Sequence[Axes]:
    """A panel for each arm: how far each seed's loss is from its baseline's, by step, all on one log axis.

    A step at which they do not differ has no mark, and a panel in which they never do says so.
    """
    courses = {each.arm: each.courses for each in table}
    sizes = np.concatenate([*(size[np.isfinite(size)] for each in courses.values() for _, size in each), []])
    steps = [step for each in courses.values() for at, _ in each for step in (at[0], at[-1])]
    for ax, each in zip(axes, table, strict=True):
        look = drawn_as(arms.index(each.arm))
        for at, size in courses[each.arm]:
            # A step that stands alone has no line to be part of.
            ax.plot(
                at,
                size,
                color=look["color"],
                linewidth=0.7,
                alpha=0.8,
                marker="." if each.block == 1 else None,
                markersize=2,
            )
        if each.first:
            begins = float(np.median(list(each.first.values())))
            ax.axvline(begins, color="0.45", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
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
        left = ax.get_subplotspec().is_first_col()
        ax.set_ylabel(
            f"|loss − {'the baseline' if len({d.baseline for d in table}) > 1 else label(each.baseline)}'s|" * left
        )
    return axes


def time_to_target(ax: Axes, table: Sequence[Reached], note: str = "") -> Axes:
    """The share of each arm's runs that have reached the target by an epoch; those that never do are in n.

    All runs are as long, so this is the Kaplan-Meier curve of reaching it.
    """
    horizon = max((each.horizon for each in table if each.horizon is not None), default=1.0)
    for index, each in enumerate(table):
        if not each.n:
            continue
        look = drawn_as(index)
        x = np.concatenate([[0.0], each.epochs, [horizon]])
        y = np.concatenate([np.arange(len(each.epochs) + 1), [len(each.epochs)]]) / each.n
        every = max(1, len(x) // 6)
        offset = index * max(1, every // len(table)) % every
        ax.step(x, 100 * y, where="post", label=f"{label(each.arm)} ({each.n})", markevery=(offset, every), **look)
    ax.set_xlim(0, horizon)
    ax.set_ylim(0, 102)
    ax.set_xlabel("epoch")
    ax.set_ylabel("reached the target (%)")
    legend_above(ax, "\n".join(filter(None, [note, "($n$) runs, those that never reach it included"])))
    return ax


def perturbation_ratio(ax: Axes, table: Sequence[Course], arms: Sequence[str], note: str = "") -> Axes:
    """The quantum term's size over that of what it is added to, by step: median over the seeds, from smallest to largest.

    It is added to AdamW's step, or with ``inject=moments`` to the gradient.
    """
    for course in table:
        look = drawn_as(arms.index(course.arm))
        ax.fill_between(course.steps, course.low, course.high, color=look["color"], alpha=0.18, linewidth=0)
        ax.plot(course.steps, course.median, label=f"{label(course.arm)} ({course.n})", **look)
    if all((course.low > 0).all() for course in table):
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("step")
    ax.set_ylabel("relative size of the term")
    legend_above(ax, "\n".join(filter(None, [note, "median over ($n$) seeds, band from smallest to largest"])))
    return ax


def legend_rows(names: Sequence[str]) -> int:
    """How many rows ``learning_curves`` and its kin need above the axes for arms of these names, each with its n."""
    return -(-len(names) // _columns([f"{name} (00)" for name in names]))


def _columns(names: Sequence[str]) -> int:
    longest = max(map(len, names), default=0)
    return 1 if longest > 22 else 2 if longest > 17 or len(names) < 5 else 3


def legend_above(ax: Axes, title: str) -> None:
    """A legend of all that is drawn, above the axes, from where the axis label begins."""
    names = ax.get_legend_handles_labels()[1]
    ax.legend(
        title=title,
        loc="lower left",
        bbox_to_anchor=(0.012, 1.0),
        bbox_transform=blended_transform_factory(ax.figure.transFigure, ax.transAxes),
        borderaxespad=0.4,
        ncols=_columns(names),
        columnspacing=1.0,
        labelspacing=0.25,  # a row is then 0.14 in high, with which the figure's height is reckoned
        borderpad=0.1,
        alignment="left",
    )


def _name_rows(ax: Axes, names: Sequence[str], top: float) -> None:
    """A forest plot's rows, from the top, by their names instead of an axis."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, top)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _row_words(ax: Axes, row: int, words: str, above: float) -> None:
    """What a forest plot's row says, at the right, so many points above it."""
    ax.annotate(
        words,
        (1, row),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        zorder=1,  # over the zero line, under the markers
        xycoords=("axes fraction", "data"),
        xytext=(0, above),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7,
    )


def _at_or_beyond(ax: Axes, x: float, row: int, reach: float, *, marker: str, **look) -> None:
    """A marker where it belongs, or an arrow at the edge it lies beyond."""
    if abs(x) <= reach:
        ax.plot(x, row, marker=marker, markersize=4.5, linestyle="none", **look)
    else:
        ax.plot(
            np.sign(x) * reach, row, marker=">" if x > 0 else "<", markersize=5, linestyle="none", clip_on=False, **look
        )


def _name(curve: Curve, table: Sequence[Curve]) -> str:
    """The arm, and its n where the legend cannot give one n for all."""
    return label(curve.arm) + (f" ({curve.n})" if len({c.n for c in table}) > 1 else "")


def _last_epochs(ax: Axes, table: Sequence[Curve]) -> None:
    """Zoom on the last epochs in the corner that rising curves leave empty; nothing where there is no room for it."""
    drawn = [curve for curve in table if curve.n]
    epochs = sorted(set.intersection(*(set(curve.at) for curve in drawn)))
    left, bottom, _, height = INSET_BOX
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    top = y0 + (bottom + height + 0.1) * (y1 - y0)
    under = [
        value
        for curve in drawn
        for value in np.interp(np.linspace(x0 + left * (x1 - x0), x1, 50), curve.at, np.fmin(curve.mean, curve.low))
    ]
    if len(epochs) <= INSET_EPOCHS + 1 or min(under) < top:
        return
    inset = ax.inset_axes(INSET_BOX)
    shown = epochs[-INSET_EPOCHS:]
    for index, curve in enumerate(table):
        if not curve.n:
            continue
        at = np.isin(curve.at, shown)
        mean, low, high = curve.mean[at], curve.low[at], curve.high[at]
        # Side by side within an epoch's slot; the epoch is the slot's middle.
        dodge = 0.7 * (shown[-1] - shown[-2]) * ((index + 0.5) / len(table) - 0.5)
        spread = np.nan_to_num([mean - low, high - mean])
        look = {**drawn_as(index), "linestyle": "none", "markersize": 3}
        inset.errorbar(np.array(shown) + dodge, mean, yerr=spread, elinewidth=0.8, **look)
    for before, after in pairwise(shown):
        inset.axvline((before + after) / 2, color="0.85", linewidth=0.6, zorder=0)
    inset.set_xticks(shown, [f"{epoch:g}" for epoch in shown])
    inset.tick_params(labelsize=7, pad=2, length=2)
    inset.tick_params(axis="x", length=0)
    inset.set_title("last epochs, arms side by side", fontsize=7, pad=2)


def power_curves(ax: Axes, effects: Sequence[float], family: int) -> Axes:
    """Power against pairs, a line for each effect in units of the sd of the paired differences."""
    pairs = np.unique(np.geomspace(LEAST_PAIRS, 200, 60).round().astype(int))
    for index, effect in enumerate(effects):
        power = [100 * inference.power_t(effect, 1.0, int(n), ALPHA / family) for n in pairs]
        ax.plot(pairs, power, label=f"{effect:g} sd", markevery=(index % 10, 10), **drawn_as(index))
    ax.axhline(80, color="0.6", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    ax.set_xscale("log")
    ticks = [6, 10, 20, 50, 100, 200]
    ax.set_xticks(ticks, map(str, ticks))
    ax.minorticks_off()
    ax.set(xlim=(LEAST_PAIRS, 200), ylim=(0, 102), xlabel="pairs (seeds)", ylabel="power (%)")
    ax.legend(title="effect", loc="lower right")
    ax.set_title(f"paired $t$ at 5 %, {family} claim{'' if family == 1 else 's'} in the family", loc="left")
    return ax
