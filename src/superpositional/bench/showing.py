"""How are measurements told?

The same rows as a table of the terminal and of Markdown: ours, the peer's, the ratio, and what was aimed at. Read by
``command``.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from superpositional.bench.measuring import Book, Comparison, Growth

HEADINGS = ("what", "peer", "ours", "peer's", "ratio", "aim")
NONE = "–"


def rows(book: Book) -> list[tuple[str, ...]]:
    """A row of every comparison, missing peers too, under ``HEADINGS``."""
    made, before = [], None
    for found in book.comparisons:
        what, *rest = _row(found)
        # What is the same as in the row above is not said again.
        made.append((what if what != before else "", *rest))
        before = what
    return made


def growth_rows(book: Book) -> list[tuple[str, ...]]:
    """Of every growth and contestant the fitted exponent and the points that it is of."""
    return [
        (growth.y, growth.x, name, _law(growth, name), ", ".join(f"{x:g}: {y:.3g}" for x, y in growth.points(name)))
        for growth in book.growths
        for name in growth.series
    ]


GROWTH_HEADINGS = ("cost", "against", "contestant", "grows as", "medians")


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """For the terminal."""
    made = Table()
    for heading in headings:
        made.add_column(
            heading, justify="right" if heading in ("ours", "peer's", "ratio", "aim") else "left", overflow="fold"
        )
    for line in lines:
        made.add_row(*line)
    return made


def said(value: float, unit: str) -> str:
    """A measurement with three digits and a unit one reads: 1.23 ms; 45.6 ns/score."""
    if not unit.startswith("s"):
        return f"{value:.3g} {unit}"
    scales = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    factor, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    return f"{value / factor:.3g} {name}{unit[1:]}"


def _law(growth: Growth, name: str) -> str:
    slope = growth.slope(name)
    if slope is None:
        return NONE
    # A slope of nothing has no sign.
    slope = round(slope, 2) + 0.0
    return f"2^({slope:.2f} x)" if growth.exponential else f"x^{slope:.2f}"


def _row(found: Comparison) -> tuple[str, ...]:
    what = f"{found.what} ({found.note})" if found.note else found.what
    ours = said(statistics.median(found.ours), found.unit) if found.ours else NONE
    if found.missing:
        return what, found.peer, ours, found.missing, NONE, _aim(found)
    theirs = said(statistics.median(found.theirs), found.unit) if found.theirs else NONE
    return what, found.peer, ours, theirs, _ratio(found), _aim(found)


def _ratio(found: Comparison) -> str:
    bounds = found.bounds
    if bounds is not None and bounds.low is not None:
        return f"{bounds.value:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"
    return NONE if found.ratio is None else part(found.ratio)


def part(ratio: float) -> str:
    """A ratio, where it is small as one to so many."""
    return f"{ratio:.3g}" if ratio >= 0.1 else f"1/{float(f'{1 / ratio:.3g}'):,.0f}"


def _aim(found: Comparison) -> str:
    parts = [] if found.most is None else [f"≤ {part(found.most)}"]
    parts += [] if found.ours_most is None else [f"ours ≤ {said(found.ours_most, found.unit)}"]
    if parts and found.ours:
        parts.append({True: "met", False: "not met", None: "not settled"}[found.met])
    return ", ".join(parts)


def markdown(subject: str, book: Book, words: Mapping[str, Any], last_line: str) -> str:
    """The tables as a file."""
    from superpositional.format import markdown as as_table

    text = f"# superpositional bench {subject}\n\n{as_table([HEADINGS, *rows(book)])}"
    if book.growths:
        text += f"\n{as_table([GROWTH_HEADINGS, *growth_rows(book)])}"
    return text + "".join(f"\n{note}\n" for note in (*book.notes, *words.values(), last_line))
