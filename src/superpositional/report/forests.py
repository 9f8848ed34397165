"""Forest plots: claims, paired differences, every arm of a study, and what the term costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from superpositional.evidence.analysis import Comparison
from superpositional.evidence.verdicts import NONE, Verdict
from superpositional.format import bounds, label, signed
from superpositional.report.style import PUBLISHED, ZERO, drawn_as

# Where the axis of claims ends at the latest; what is further off is an arrow.
WIDEST_MARGINS = 12.0
# Below this, numbers on an axis in decimals would run into one another.
SHORT_LABELS = 0.01
# Of the figure of every arm: rows in an inch, and where its axis turns logarithmic and ends, in points.
ROWS_PER_INCH, LINEAR, REACH = 8.5, 1.0, 30.0


def claims_forest(ax: Axes, table: Sequence[Verdict], note: str = "") -> Axes:
    """Draw claims in units of their margins, so that points, percent and epochs share an axis.

    Within a row's grey strip, ±1, an effect does not matter. The bar is the 95 % interval, an open diamond the published
    value; what lies beyond the axis stands at its edge as an arrow. An open marker has no verdict.
    """
    # A strip for each row and none between them: there the row's words stand, on white. Few rows are taller.
    height = 0.36 if len(table) > 2 else 0.24
    ax.barh(range(len(table)), 2, left=-1, height=height, color="0.88", linewidth=0, zorder=0)
    ax.axvline(0, linewidth=0.8, **ZERO)
    shown = [(v.claim.margin, (v.claim.published, v.effect.low, v.effect.high, v.effect.mean)) for v in table]
    ends = [abs(value) / margin for margin, values in shown for value in values if value is not None]
    reach = min(WIDEST_MARGINS, max(2.0, 1.15 * max(ends, default=0.0)))
    for row, verdict in enumerate(table):
        claim, effect = verdict.claim, verdict.effect
        if not effect.low is effect.high is None:
            # A bound is open to the other side.
            ends = (-np.inf if effect.low is None else effect.low, np.inf if effect.high is None else effect.high)
            ax.plot(np.clip(np.array(ends) / claim.margin, -reach, reach), [row, row], **_bar("black", 1.4))
        if effect.mean is not None:
            face = "black" if verdict.verdict != NONE else "white"
            _at_or_beyond(ax, effect.mean / claim.margin, row, reach, marker="o", color="black", markerfacecolor=face)
        if claim.published is not None:
            look = {"marker": "D", "color": PUBLISHED, "markerfacecolor": "white"}
            _at_or_beyond(ax, claim.published / claim.margin, row, reach, **look)
        words = f"{bounds(effect, claim.effect_unit)}, $n$ = {verdict.n}: " * bool(effect.n) + verdict.kind
        _row_words(ax, row, words + "*" * verdict.few_pairs, above=9)
    _name_rows(ax, [label(verdict.claim.id) for verdict in table], top=-0.8)
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("effect in margins (grey: smaller than matters)")
    said = "95 % interval" + "; open diamond: as published" * any(v.claim.published is not None for v in table)
    said += "; *: few pairs" * any(verdict.few_pairs for verdict in table)
    ax.set_title("\n".join(filter(None, [note, said])), loc="right", multialignment="left")
    return ax


def paired_differences(ax: Axes, table: Sequence[Comparison], note: str = "", arms: Sequence[str] = ()) -> Axes:
    """Draw each arm's mean paired difference to the baseline with its 95 % interval, and the zero line.

    ``arms``: all of the sweep, so that each is drawn as in its other figures. An open marker is conditional: some pairs
    ended without a value. A row without a pair says so instead of a point.
    """
    ax.axvline(0, linewidth=0.8, **ZERO)
    for row, each in enumerate(table):
        estimate, look = each.estimate, drawn_as(arms.index(each.arm.arm) if arms else row + 1)
        color = look["color"]
        if estimate.low is not None:
            ax.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=1.4, marker="|")
        if estimate.mean is not None:
            face = "white" if each.conditional else color
            ax.plot(estimate.mean, row, marker=look["marker"], color=color, markerfacecolor=face, markersize=5)
        words = each.shown() if estimate.n else "no finished pair"
        _row_words(ax, row, f"{words}, $n$ = {estimate.n}{'†' if each.conditional else ''}", above=7)
    _name_rows(ax, [label(each.arm.arm) for each in table], top=-0.75)
    # Zero and air around the outermost interval, the same on both sides so that the eye compares fairly.
    ends = [abs(v) for c in table for v in (c.estimate.low, c.estimate.high, c.estimate.mean) if v is not None]
    reach = 1.15 * max(ends, default=0) or 1.0
    ax.set_xlim(-reach, reach)
    if reach < SHORT_LABELS:
        ax.xaxis.get_major_locator().set_params(nbins=4)
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2), useMathText=True)
    measure, baselines = table[0].measure, {label(each.baseline.arm) for each in table}
    baseline = next(iter(baselines)) if len(baselines) == 1 else "the baseline at the same values"
    dagger = "\n† conditional on the pairs that gave a value" if any(each.conditional for each in table) else ""
    # A long name has a line of its own, and so where long names of arms leave the axis little room: or the page cuts it.
    longest = max(len(label(each.arm.arm)) for each in table)
    between = "\n" if len(measure.name) + len(baseline) > min(35, 48 - longest) else " "
    unit = f" ({measure.unit})" if measure.unit else ""
    ax.set_xlabel(f"{measure.name}, difference to{between}{baseline}{unit}{dagger}")
    title = "\n".join(filter(None, [note, "mean paired difference, 95 % $t$ interval, $n$ seeds"]))
    # Held at the right so that a long note runs over the arms' labels instead of off the page.
    ax.set_title(title, loc="right", multialignment="left")
    return ax


def in_columns(blocks: Mapping[str, Sequence[Comparison]], columns: int) -> list[dict[str, Sequence[Comparison]]]:
    """Share the blocks among columns of about one height, in their order."""
    heights = {name: len(table) + 1.5 for name, table in blocks.items()}
    target, height, found = sum(heights.values()) / columns, 0.0, [{}]
    for name, table in blocks.items():
        if found[-1] and len(found) < columns and height + heights[name] / 2 > target:
            found.append({})
            height = 0.0
        found[-1][name] = table
        height += heights[name]
    return found


def all_arms(
    axes: Sequence[Axes], columns: Sequence[Mapping[str, Sequence[Comparison]]], published: float | None, margin: float
) -> Sequence[Axes]:
    """Draw every arm's mean paired difference in test accuracy with its 95 % interval, sweep by sweep.

    The axis is linear up to ``LINEAR`` points and logarithmic beyond; what is cut at its end has an arrow there. A line
    is the paper's effect (``published``), a grey strip what does not matter (``margin``).
    """
    rows = max(sum(len(table) + 1.5 for table in column.values()) for column in columns)
    axes[0].figure.set_figheight(0.6 + rows / ROWS_PER_INCH)
    for ax, column in zip(axes, columns, strict=True):
        _column_of_arms(ax, column, published, margin)
        ax.set_ylim(rows, -0.4)
    return axes


def _column_of_arms(ax: Axes, blocks: Mapping[str, Sequence[Comparison]], published: float | None, margin: float) -> None:
    ax.axvline(0, linewidth=0.7, **ZERO)
    ax.axvspan(-margin, margin, color="0.9", linewidth=0, zorder=-1)
    if published is not None:
        ax.axvline(published, color=PUBLISHED, linewidth=0.9, zorder=0)
    row, names, places = 0.0, [], []
    for name, table in blocks.items():
        row += 0.4
        head = {"ha": "right", "va": "center", "weight": "bold", "fontsize": 6.5}
        ax.text(-0.02, row, name, transform=ax.get_yaxis_transform(), **head)
        for each in table:
            row += 1
            estimate = each.estimate
            names.append(f"{label(each.arm.arm)}{'†' if each.conditional else ''} ({estimate.n})")
            places.append(row)
            if estimate.mean is None:
                ax.text(0.1, row, "no pair", va="center", fontsize=6)
                continue
            # Apart from 0 by itself, at 95 %, uncorrected: the eye finds these first.
            apart = estimate.low is not None and not estimate.low <= 0 <= estimate.high
            color = "#0072B2" if apart else "black"
            if estimate.low is not None:
                shown = np.clip([estimate.low, estimate.high], -REACH, REACH)
                ax.plot(shown, [row, row], **_bar(color, 0.9))
                for end, cut in zip((estimate.low, estimate.high), shown, strict=True):
                    if end != cut:
                        _arrow(ax, cut, row, color)
            if abs(estimate.mean) <= REACH:
                look = {"marker": "s" if apart else "o", "markersize": 2.2, "color": color}
                ax.plot(estimate.mean, row, markerfacecolor="white" if each.conditional else color, **look)
            else:
                _arrow(ax, np.copysign(REACH, estimate.mean), row, color)
                text = {"fontsize": 6, "va": "center", "ha": "right" if estimate.mean > 0 else "left"}
                text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
                ax.text(np.copysign(REACH / 2, estimate.mean), row, signed(estimate.mean, 1), **text)
        row += 1.1
    ax.set_yticks(places, names, fontsize=6.5)
    ax.tick_params(axis="y", length=0, pad=2)
    ax.spines["left"].set_visible(False)
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
    ax.set_xlim(-1.15 * REACH, 1.15 * REACH)
    ax.set_xticks([-10, -1, 0, 1, 10], ["−10", "−1", "0", "1", "10"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("difference (points)")


def cost(ax: Axes, table: Sequence[Verdict]) -> Axes:
    """Draw ratios of times to the baseline's in percent with 95 % intervals; an open diamond is the published value."""
    ax.axvline(0, linewidth=0.7, **ZERO)
    for row, verdict in enumerate(table):
        effect, claim = verdict.effect, verdict.claim
        ax.barh(row, 2 * claim.margin, left=-claim.margin, height=0.3, color="0.88", linewidth=0, zorder=0)
        if None not in (effect.low, effect.high):
            ax.plot([effect.low, effect.high], [row, row], **_bar("black", 1.4))
        if effect.mean is not None:
            ax.plot(effect.mean, row, marker="o", color="black", markersize=4)
        if claim.published is not None:
            ax.plot(claim.published, row, marker="D", color=PUBLISHED, markerfacecolor="white", markersize=4.5)
    names = {"convergence/seconds_per_epoch": "an epoch", "convergence/seconds_to_target": "until 90 %"}
    what = [f"{names.get(v.claim.metric, v.claim.metric)}, {label(v.claim.arm)}\n($n$ = {v.n})" for v in table]
    _name_rows(ax, what, top=-0.5)
    ax.set_xlabel("time, change against Adam (%)")
    ax.set_title("95 % interval; grey: smaller than matters; open diamond: as published", loc="right", fontsize=7)
    return ax


# Parts of a forest plot --------------------------------------------------------------------------------------------


def _bar(color: str, width: float) -> dict[str, Any]:
    return {"color": color, "linewidth": width, "solid_capstyle": "butt"}


def _name_rows(ax: Axes, names: Sequence[str], top: float) -> None:
    """Name the rows, from the top, in the place of an axis."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, top)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _row_words(ax: Axes, row: int, words: str, above: float) -> None:
    """Write a row's result at the right, this many points above it; over the zero line, under the markers."""
    where = {"xycoords": ("axes fraction", "data"), "xytext": (0, above), "textcoords": "offset points", "zorder": 1}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.annotate(words, (1, row), bbox=box, ha="right", va="center", fontsize=7, **where)


def _at_or_beyond(ax: Axes, x: float, row: int, reach: float, *, marker: str, **look: Any) -> None:
    if abs(x) <= reach:
        ax.plot(x, row, marker=marker, markersize=4.5, linestyle="none", **look)
    else:
        _arrow(ax, np.sign(x) * reach, row, markersize=5, clip_on=False, **look)


def _arrow(ax: Axes, x: float, row: float, color: str, markersize: float = 3.2, **look: Any) -> None:
    ax.plot(x, row, marker=">" if x > 0 else "<", color=color, markersize=markersize, linestyle="none", **look)
