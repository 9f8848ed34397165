"""The style of every static figure, and how figures are kept.

Made for an IEEE column (3.5 in wide, 8 pt) without TeX. Colours are Okabe and Ito's; every arm also has its own dashes and
marker, the same in every figure of a report, so a grey print or a colour-blind reader loses nothing.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLUMN_INCHES, PAGE_INCHES = 3.5, 7.16
PANELS_PER_ROW = 3
SMALL_TEXT = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
STYLE = dict.fromkeys(SMALL_TEXT, 8) | {
    # STIX is drawn like IEEE's Times and ships with matplotlib, so a laptop without fonts draws the same bytes.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "text.usetex": False,
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
# The line at zero, and the colour of a value as published.
ZERO = {"color": "0.45", "linestyle": (0, (4, 2)), "zorder": 0}
PUBLISHED = "#D55E00"
# Fewer seeds than this, and Student's interval says more of t than of the runs.
BAND_SEEDS = 5
# Positive values that span more than this factor are drawn on a log axis.
LINEAR_SPAN = 30


@contextmanager
def style() -> Iterator[None]:
    """Set this module's style on matplotlib's own defaults, whatever the reader's matplotlibrc says; undo it on leaving."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def column(height: float, draw: Callable, *arguments: Any) -> Figure:
    """Return a figure of one column's width, which is in no global list, that ``draw(ax, *arguments)`` has drawn."""
    figure = Figure(figsize=(COLUMN_INCHES, height), layout="constrained")
    draw(figure.add_subplot(), *arguments)
    return figure


def page(panels: int, draw: Callable, *arguments: Any) -> Figure:
    """Return a figure of both columns' width, a third for each panel, that ``draw(axes, *arguments)`` has drawn."""
    rows = math.ceil(panels / PANELS_PER_ROW)
    figure = Figure(figsize=(PAGE_INCHES, 0.45 + 2.1 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, min(panels, PANELS_PER_ROW))
    draw([figure.add_subplot(grid[divmod(index, PANELS_PER_ROW)]) for index in range(panels)], *arguments)
    return figure


def drawn_as(index: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the index-th arm. 7 × 5 lines before any two agree."""
    look = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
    return look | {"marker": MARKERS[index % len(MARKERS)], "markeredgewidth": 0.7}


def save(figure: Figure, path: Path, provenance: Mapping[str, str]) -> list[Path]:
    """Write ``path`` as .pdf and .png. No dates and no versions go in, so the same table gives the same bytes."""
    words = "; ".join(f"{key}: {value}" for key, value in provenance.items())
    files = [path.with_suffix(".pdf"), path.with_suffix(".png")]
    path.parent.mkdir(parents=True, exist_ok=True)
    nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    figure.savefig(files[0], metadata={**nothing, "Title": path.stem, "Subject": words})
    # A page is looked at, a column is printed.
    dpi = 200 if is_wide(figure) else STYLE["savefig.dpi"]
    figure.savefig(files[1], dpi=dpi, metadata={"Software": None, "Title": path.stem, "Description": words})
    return files


def svg(figure: Figure, name: str) -> str:
    """Return the figure as text for a page; the same figure gives the same text."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": name})
    return file.getvalue()


def is_wide(figure: Figure) -> bool:
    return figure.get_figwidth() > COLUMN_INCHES
