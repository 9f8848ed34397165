"""What does a study look like?

As in ``report.figures``: each takes axes and a table and returns the axes. In print: a column or a page of IEEE's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from superpositional.evidence.analysis import Comparison
from superpositional.evidence.verdicts import Verdict
from superpositional.format import label
from superpositional.report.backend_curves import Point
from superpositional.report.figures import PUBLISHED
from superpositional.report.study.along import Line
from superpositional.report.style import drawn_as

# Rows of arms in an inch, and the reach of their axis in points: what is further off is an arrow.
ROWS_PER_INCH = 8.5
LINEAR, REACH = 1.0, 30.0
# Beyond this many points a difference would flatten all others, so the axis is logarithmic there.
FLATTENS = 20.0
# Zero on an axis of shares, so that an empty interval can be seen.
SHARE_FLOOR = -3


@dataclass(frozen=True)
class Block:
    """A sweep's arms against their baseline."""

    name: str
    table: Sequence[Comparison]


def blocks_in_columns(blocks: Sequence[Block], columns: int) -> list[list[Block]]:
    """The blocks in so many columns of about one height, in their order."""
    heights = [len(block.table) + 1.5 for block in blocks]
    target, found = sum(heights) / columns, [[]]
    height = 0.0
    for block, tall in zip(blocks, heights, strict=True):
        if found[-1] and len(found) < columns and height + tall / 2 > target:
            found.append([])
            height = 0.0
        found[-1].append(block)
        height += tall
    return found


def all_arms(ax: Axes, blocks: Sequence[Block], published: float | None, margin: float, rows: float) -> Axes:
    """Every arm's mean paired difference in test accuracy to its baseline with its 95 % interval, sweep by sweep.

    The axis is linear up to ``LINEAR`` points and logarithmic beyond; what is cut at its end has an arrow there.

    Args:
        published: the paper's effect (C1), a line of its own.
        margin: what matters, a grey strip.
        rows: how many the column holds, so that columns of a figure stand line by line.
    """
    ax.axvline(0, color="0.45", linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    ax.axvspan(-margin, margin, color="0.9", linewidth=0, zorder=-1)
    if published is not None:
        ax.axvline(published, color=PUBLISHED, linewidth=0.9, zorder=0)
    row, names, places = 0.0, [], []
    for block in blocks:
        row += 0.4
        ax.text(
            -0.02, row, block.name, transform=ax.get_yaxis_transform(), ha="right", va="center", weight="bold", fontsize=6.5
        )
        for comparison in block.table:
            row += 1
            estimate = comparison.estimate
            names.append(f"{label(comparison.arm.arm)}{'†' if comparison.conditional else ''} ({estimate.n})")
            places.append(row)
            if estimate.mean is None:
                ax.text(0.1, row, "no pair", va="center", fontsize=6)
                continue
            # Apart from 0 by itself, at 95 %, uncorrected: the eye finds these first.
            apart = estimate.low is not None and not estimate.low <= 0 <= estimate.high
            color = "#0072B2" if apart else "black"
            if estimate.low is not None:
                low, high = np.clip([estimate.low, estimate.high], -REACH, REACH)
                ax.plot([low, high], [row, row], color=color, linewidth=0.9, solid_capstyle="butt")
                for end, shown in ((estimate.low, low), (estimate.high, high)):
                    if end != shown:
                        _arrow(ax, shown, row, color)
            if abs(estimate.mean) <= REACH:
                look = {"marker": "s" if apart else "o", "markersize": 2.2, "color": color}
                ax.plot(estimate.mean, row, markerfacecolor="white" if comparison.conditional else color, **look)
            else:
                _arrow(ax, np.copysign(REACH, estimate.mean), row, color)
                ax.text(
                    *(np.copysign(REACH / 2, estimate.mean), row, f"{estimate.mean:+.1f}".replace("-", "−")),
                    fontsize=6,
                    va="center",
                    ha="right" if estimate.mean > 0 else "left",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
                )
        row += 1.1
    ax.set_yticks(places, names, fontsize=6.5)
    ax.tick_params(axis="y", length=0, pad=2)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(rows, -0.4)
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
    ax.set_xlim(-1.15 * REACH, 1.15 * REACH)
    ax.set_xticks([-10, -1, 0, 1, 10], ["−10", "−1", "0", "1", "10"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("difference (points)")
    return ax


def _arrow(ax: Axes, x: float, row: float, color: str) -> None:
    """That something goes on beyond the axis."""
    ax.plot(x, row, marker=">" if x > 0 else "<", color=color, markersize=3.2, linestyle="none")


def by_value(ax: Axes, lines: Sequence[Line], what: str, *, log: bool) -> Axes:
    """Differences, or shares of runs whose training broke, by a setting's value; a line for each kind of arm.

    Args:
        what: ``accuracy``, ``epochs`` or ``broken``.
        log: whether the setting's axis is logarithmic.
    """
    if what != "broken":
        ax.axhline(0, color="0.45", linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    every = sorted({point.x for line in lines for point in line.accuracy + line.broken})
    for index, line in enumerate(lines):
        points: tuple[Point, ...] = getattr(line, what)
        if not points:
            continue
        look = drawn_as(index + 1)
        aside = index - (len(lines) - 1) / 2
        x = np.array([point.x * 1.07**aside if log else point.x + 0.07 * aside for point in points])
        mean = np.array([point.mean for point in points])
        ends = [(p.low, p.high) if p.low is not None else (p.mean, p.mean) for p in points]
        low, high = np.array(ends).T
        n = sorted({point.n for point in points})
        name = f"{line.name} ({n[0] if len(n) == 1 else f'{n[0]} to {n[-1]}'})"
        ax.errorbar(x, mean, yerr=[mean - low, high - mean], capsize=1.5, elinewidth=0.7, label=name, **look)
        # Some pairs ended without a value: what stands here is of the others alone.
        part = np.array([point.n < point.of for point in points])
        if what != "broken" and part.any():
            ax.plot(x[part], mean[part], linestyle="none", marker="o", markersize=7, markerfacecolor="none", color="0.3")
    if log:
        ax.set_xscale("log")
    else:
        ax.set_xticks(every, [f"{value:g}" for value in every])
    words = {
        "accuracy": "test accuracy, difference (points)",
        "epochs": "epochs to target, difference",
        "broken": "runs whose training broke (%)",
    }
    ax.set_ylabel(words[what])
    if what == "accuracy" and max((abs(point.mean) for line in lines for point in line.accuracy), default=0) > FLATTENS:
        # What breaks training would flatten all else.
        ax.set_yscale("symlog", linthresh=1)
        ax.set_ylim(bottom=1.6 * min(point.mean for line in lines for point in line.accuracy))
    if what == "broken":
        ax.set_ylim(SHARE_FLOOR, 103)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(title="($n$)", fontsize="x-small", title_fontsize="x-small")
    return ax


def cost(ax: Axes, table: Sequence[Verdict]) -> Axes:
    """Ratios of times to the baseline's in percent, with 95 % intervals; an open diamond is the value as published."""
    ax.axvline(0, color="0.45", linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    for row, verdict in enumerate(table):
        effect, claim = verdict.effect, verdict.claim
        ax.barh(row, 2 * claim.margin, left=-claim.margin, height=0.3, color="0.88", linewidth=0, zorder=0)
        if None not in (effect.low, effect.high):
            ax.plot([effect.low, effect.high], [row, row], color="black", linewidth=1.4, solid_capstyle="butt")
        if effect.mean is not None:
            ax.plot(effect.mean, row, marker="o", color="black", markersize=4)
        if claim.published is not None:
            ax.plot(claim.published, row, marker="D", color=PUBLISHED, markerfacecolor="white", markersize=4.5)
    names = {"convergence/seconds_per_epoch": "an epoch", "convergence/seconds_to_target": "until 90 %"}
    ax.set_yticks(
        range(len(table)),
        [f"{names.get(v.claim.metric, v.claim.metric)}, {label(v.claim.arm)}\n($n$ = {v.n})" for v in table],
    )
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("time, change against Adam (%)")
    ax.set_title("95 % interval; grey: smaller than matters; open diamond: as published", loc="right", fontsize=7)
    return ax
