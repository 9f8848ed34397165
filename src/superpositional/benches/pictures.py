"""How does a growth look?

One figure of each: costs on a logarithmic axis against what grows, every contestant's fitted exponent in the legend. Saved
beside the numbers by ``command``.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from superpositional import ink
from superpositional.benches.measuring import Growth

# More would not fit below a column.
MOST_TICKS = 11


def cost(ax: Axes, growth: Growth) -> Axes:
    """Medians as marks, the fit as a line over the points that it is of."""
    for index, name in enumerate(growth.series):
        points = growth.points(name)
        if not points:
            continue
        drawn = ink.drawn_as(index)
        line = drawn.pop("linestyle")
        x, y = np.array(points).T
        slope, label = growth.slope(name), name
        if slope is not None:
            slope = round(slope, 2) + 0.0  # no -0.00
            label += rf"  $\propto 2^{{{slope:.2f}\,x}}$" if growth.exponential else rf"  $\propto x^{{{slope:.2f}}}$"
            fitted = x >= growth.since[name]
            moved = x if growth.exponential else np.log2(x)
            # Through the middle of the points, which a least-squares line goes through.
            level = (np.log2(y) - slope * moved)[fitted].mean()
            ax.plot(x[fitted], 2 ** (level + slope * moved[fitted]), linestyle=line, color=drawn["color"], linewidth=0.9)
        ax.plot(x, y, linestyle="none", label=label, **drawn)
    ax.set_yscale("log")
    at = sorted({x for name in growth.series for x, _ in growth.points(name)})
    if not growth.exponential:
        ax.set_xscale("log")
    if len(at) <= MOST_TICKS and at[-1] < 1e4:
        # What was measured is named, and no power of ten between.
        ax.set_xticks(at, [f"{x:g}" for x in at])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(growth.x)
    ax.set_ylabel(growth.y)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handlelength=1.2)
    return ax


def draw(growth: Growth, path: Path, provenance: dict[str, str]) -> list[Path]:
    """``path`` as .pdf and .png."""
    with ink.style():
        figure, ax = ink.column_figure(2.4 + 0.16 * len(growth.series))
        cost(ax, growth)
        return ink.save(figure, path, provenance)
