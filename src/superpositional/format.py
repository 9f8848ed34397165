"""Numbers, names and tables as text: intervals, signed numbers, seeds, arms, Markdown."""

import difflib
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpositional.evidence.inference import Estimate

Rows = list[tuple[str, ...]]


# Below this, four decimals lose what is there.
SMALL = 1e-3


def bounds(estimate: "Estimate", unit: str = "") -> str:
    """``−0.15 points [−0.47, +0.17]``; without an interval the mean alone, and it says so; a bound: ``at least +40.62 %``.

    Two decimals, or as many, up to four, as give the interval's half-width, or where it has none the mean, two digits:
    −0.00 [−0.00, +0.00] says nothing. What is below a thousandth altogether has an exponent: ``−2.1e−6 [−4.2e−6, 0]``.
    """
    if estimate.mean is None:
        ends = {"at least": estimate.low, "at most": estimate.high}
        known = [f"{words} {signed(end)} {unit}".rstrip() for words, end in ends.items() if end is not None]
        return known[0] if known else "–"
    half = 0.0 if estimate.low is None else (estimate.high - estimate.low) / 2
    finest, size = half or abs(estimate.mean), max(abs(estimate.mean), half)
    decimals = 2 if finest == 0 else max(2, 1 - math.floor(math.log10(finest)))
    write = signed
    if size >= SMALL:
        decimals = min(4, decimals)
    elif size:
        write = _with_exponent
    first = -math.floor(math.log10(abs(estimate.mean))) if estimate.mean else 0
    # A mean far within its interval keeps its first digit.
    mean = (_with_exponent if write is signed and first > 4 else write)(estimate.mean, max(decimals, first))
    mean = f"{mean} {unit}".rstrip()
    if estimate.low is None:
        return f"{mean} (no interval)"
    return f"{mean} [{write(estimate.low, decimals)}, {write(estimate.high, decimals)}]"


def signed(value: float, decimals: int = 2) -> str:
    """A number with a sign, a true minus; exactly 0 has no sign."""
    return f"{value:.{decimals}f}" if value == 0 else f"{value:+.{decimals}f}".replace("-", "−")


def as_given(value: float) -> str:
    """A number that somebody else gave, with its sign and no more digits than it had; exactly 0 has no sign."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def _with_exponent(value: float, decimals: int) -> str:
    """As many digits as reach so far behind the point, one at least."""
    if value == 0:
        return "0"
    digits = min(6, max(0, decimals + math.floor(math.log10(abs(value)))))
    mantissa, exponent = f"{value:+.{digits}e}".split("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def number(count: int, noun: str) -> str:
    """``1 run``, ``1,200 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def name_seeds(seeds: Iterable[int]) -> str:
    """``seeds 3, 7, 20–29``."""
    seeds, spans = sorted(seeds), []
    for seed in seeds:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    words = [f"{span[0]}–{span[-1]}" if len(span) > 2 else ", ".join(map(str, span)) for span in spans]
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(words)}"


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """``did you mean this?``, of the known name that is the closest to a given one; else the names that there are."""
    known = list(known)
    close = difflib.get_close_matches(str(given), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def label(arm: str) -> str:
    """An arm's name for readers: ``lambda_0.5`` is "λ = 0.5", ``quantum_moments`` is "quantum moments", AdamW is itself."""
    # A setting keeps its own name: circuit.n_qubits=2.
    parts = [part if "=" in part else _plainly(part) for part in arm.split(",")]
    return ", ".join(parts)


def _plainly(name: str) -> str:
    name = re.sub(r"(?<![^_])adamw(?![^_])", "AdamW", name)
    return re.sub(r"(?<![^_:])lambda_(-?\d[\d.]*(?:e-?\d+)?)(?![^_])", r"λ = \1", name).replace("_", " ")


def markdown(rows: Rows) -> str:
    """Rows, the first of them the headings, as a Markdown table."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows]
    return "".join([lines[0], f"|{' --- |' * len(rows[0])}\n", *lines[1:]])


def inert(cell: Any) -> Any:
    """The cell, behind an apostrophe if it is a text that a spreadsheet would run (OWASP, CSV injection)."""
    formula = isinstance(cell, str) and re.match(r"\s*[=+@-]", cell)
    number = formula and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell)
    return f"'{cell}" if formula and not number else cell
