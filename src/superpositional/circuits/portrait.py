"""What does a circuit look like, and which curves can it draw?

Pictures and plain text of one ansatz: its gates, its counts, the frequencies it reaches and x -> Phi(x). Read by the run
record (``circuit.txt``, ``circuit.svg``) and by ``superpositional circuit``.

Shapes: T points; L, R, Q as in ``Ansatz.angles_shape``; C curves.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits import facts, series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.measures import (
    AMPLITUDES_AT_ONCE,
    dead_angles,
    entanglement,
    gradient_variance,
    random_angles,
    rank,
    spectrum,
)

# A perturbation of the optimizer: blocks of weights to the modulation of each.
Modulation = Callable[[list[list[Tensor]], tuple[int, ...]], list[Tensor]]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DRAWN = 500  # gates


def response(ansatz: Ansatz, readout: str, angles_LRQ: Tensor, points: int = 241) -> tuple[np.ndarray, np.ndarray]:
    """x over two turns, which an odd degree needs, and Phi(x): both ``(T,)``."""
    x_T = torch.linspace(-2 * torch.pi, 2 * torch.pi, points, dtype=angles_LRQ.dtype)
    return x_T.numpy(), evaluate(ansatz, x_T[:, None], angles_LRQ, readout, method="fourier").sum(-1).numpy()


def modulation(perturb: Modulation, n_qubits: int, points: int = 241) -> tuple[np.ndarray, np.ndarray]:
    """theta over one turn, ``(T,)``, and ``s(theta)`` of a register all of whose weights are theta, ``(T, Q)``."""
    theta_T = torch.linspace(-1, 1, points, dtype=torch.float64)
    (s_TQ,) = perturb([[theta_T[:, None].expand(-1, n_qubits)]], (0, 0))
    return theta_T.numpy(), s_TQ.numpy()


def text(
    ansatz: Ansatz, readout: str, angles_CLRQ: Tensor, perturb: Modulation, known: Mapping[str, Any] | None = None
) -> str:
    """All there is to say about the circuit in plain text; Phi is that of the first set of angles.

    ``known`` are its facts (``facts.facts``), the usual ones if None.
    """
    dice = torch.Generator().manual_seed(0)
    counts = ansatz.statistics()
    draws = min(1000, max(1, AMPLITUDES_AT_ONCE >> ansatz.n_qubits))
    # An input is one more angle to every ry, so random angles alone are as random.
    tangled = float(entanglement(ansatz, torch.zeros(1, dtype=torch.float64), random_angles(ansatz, dice, draws)).mean())
    dead = dead_angles(ansatz, readout, dice)
    variance_LRQ = gradient_variance(ansatz, readout, dice)
    ways = rank(ansatz, readout, dice)
    pairs = spectrum(ansatz, readout, angles_CLRQ[0])
    largest = max(amplitude for _, amplitude in pairs) or 1.0
    # What is rounding is nothing.
    pairs = [(frequency, amplitude if amplitude > 1e-12 * largest else 0.0) for frequency, amplitude in pairs]
    theta_T, s_TQ = modulation(perturb, ansatz.n_qubits, points=97)
    names = [f"theta[{np.ravel_multi_index(place, ansatz.angles_shape)}]" for place in dead]
    lines = [
        str(ansatz.draw()),
        "",
        *_wrap(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())),
        *(line for fact in facts.lines(facts.facts(ansatz) if known is None else known) for line in _wrap(fact)),
        f"Meyer-Wallach entanglement at random angles: {tangled:.3f} (0 product state, 1 GHZ state)",
        f"variance of the angles' gradient at random angles: {float(variance_LRQ.mean()):.3g}",
        *_wrap(f"angles that do nothing to Phi, {len(dead)} of {ansatz.num_parameters}: {', '.join(names) or 'none'}"),
        f"circuits that give Phi for every score: {series.node_count(ansatz, readout)} per set of angles",
        *_wrap(
            f"Phi has {series.node_count(ansatz, readout)} coefficients; dPhi/d(angles) has rank {ways.whole} ({ways.seen} "
            f"without the constant): the classical twin has {ways.whole} free ones"
        ),
        "",
        f"Spectrum of Phi (readout {readout}), first set of angles:",
        *(f"  {frequency:5g}  {amplitude:9.2e}  {'█' * round(40 * amplitude / largest)}" for frequency, amplitude in pairs),
        "",
        "Phi(x), first set of angles:",
        *_plot(*response(ansatz, readout, angles_CLRQ[0], points=97), ("−2π", "0", "+2π")),
        "",
        "In the optimizer (eq. 2): -<Z> of a register's last qubit, when all its weights are theta:",
        *_plot(theta_T, s_TQ[:, -1], ("−1", "0", "+1")),
    ]
    return "\n".join(lines) + "\n"


def draw(ansatz: Ansatz, readout: str, angles_CLRQ: Tensor, perturb: Modulation) -> "Figure":
    """Phi(x) and its spectrum for every set of angles, and the optimizer's modulation."""
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    curves = [response(ansatz, readout, angles_LRQ) for angles_LRQ in angles_CLRQ]
    draw_response(left, curves[0][0], [phi_T for _, phi_T in curves])
    left.set_title(f"attention: Φ(x), readout {readout}", fontsize="small")
    draw_spectrum(middle, [spectrum(ansatz, readout, angles_LRQ) for angles_LRQ in angles_CLRQ])
    middle.set_title("the spectrum of Φ", fontsize="small")
    draw_modulation(right, *modulation(perturb, ansatz.n_qubits))
    right.set_title("optimizer: all weights θ", fontsize="small")
    return figure


def draw_response(ax: "Axes", x_T: np.ndarray, phi_CT: Sequence[np.ndarray]) -> "Axes":
    """A curve of Phi for each set of angles."""
    for number, phi_T in enumerate(phi_CT):
        ax.plot(x_T, phi_T, linewidth=1, label=f"angles {number}")
    ax.set_xticks([-2 * np.pi, -np.pi, 0, np.pi, 2 * np.pi], ["−2π", "−π", "0", "π", "2π"])
    ax.set_xlabel("score x")
    ax.set_ylabel("Φ(x)")
    return ax


def draw_spectrum(ax: "Axes", pairs_C: Sequence[Sequence[tuple[float, float]]]) -> "Axes":
    """The amplitude of every frequency, for each set of angles."""
    width = 0.8 * (pairs_C[0][1][0] - pairs_C[0][0][0] if len(pairs_C[0]) > 1 else 1) / len(pairs_C)
    for number, pairs in enumerate(pairs_C):
        places = [frequency + (number - (len(pairs_C) - 1) / 2) * width for frequency, _ in pairs]
        ax.bar(places, [amplitude for _, amplitude in pairs], width, label=f"angles {number}")
    ax.legend(fontsize="x-small")
    frequencies = [frequency for frequency, _ in pairs_C[0]]
    if len(frequencies) <= 6:
        ax.set_xticks(frequencies)
        ax.set_xlim(frequencies[0] - 0.75, frequencies[-1] + 0.75)
    ax.set_xlabel("frequency")
    ax.set_ylabel("amplitude")
    ax.set_ylim(bottom=0)
    return ax


def draw_modulation(ax: "Axes", theta_T: np.ndarray, s_TQ: np.ndarray) -> "Axes":
    """s(theta) of every qubit of a register, beside the sine of eq. (2)."""
    import matplotlib.pyplot as plt

    ax.plot(theta_T, np.sin(np.pi * theta_T), color="0.6", linestyle="--", linewidth=1, label="sin πθ")
    shades = np.linspace(0.15, 0.85, s_TQ.shape[1])  # no colour of the sets of angles beside it
    for q, (s_T, shade) in enumerate(zip(s_TQ.T, shades, strict=True)):
        ax.plot(theta_T, s_T, color=plt.colormaps["viridis"](shade), linewidth=1, label=f"qubit {q}")
    ax.set_xlabel("weight θ")
    ax.set_ylabel("−⟨Z⟩")
    ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def write(folder: Path, ansatz: Ansatz, inputs: str) -> None:
    """``circuit.txt``, the gates as text and OpenQASM 3, and ``circuit.svg``, as a picture; of circuits too large to be
    looked at, which take minutes to draw, OpenQASM 3 alone."""
    if ansatz.statistics()["gates"] > DRAWN:
        (folder / "circuit.txt").write_text(ansatz.to_qasm(inputs))
        return
    (folder / "circuit.txt").write_text(f"{ansatz.draw(inputs=inputs)}\n\n{ansatz.to_qasm(inputs)}")
    save(ansatz.draw("mpl", inputs=inputs), folder / "circuit.svg")


def save(figure: "Figure", *paths: Path) -> None:
    """Write a figure, to the same bytes every time, and close it."""
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "circuit"}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=150, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, 120, subsequent_indent="  ")


def _plot(x_T: np.ndarray, y_T: np.ndarray, ends: tuple[str, str, str], height: int = 11) -> list[str]:
    """A curve in plain characters; ``ends`` are the names of x's first, middle and last value."""
    low, high = float(y_T.min()), float(y_T.max())
    span = high - low or 1.0
    rows = np.rint((high - y_T) / span * (height - 1)).astype(int)
    grid = [[" "] * len(x_T) for _ in range(height)]
    for column, row in enumerate(rows):
        grid[row][column] = "•"
    labels = [f"{high:+.3f}", *[""] * (height - 2), f"{low:+.3f}"]
    lines = [f"{label:>8} │{''.join(row)}".rstrip() for label, row in zip(labels, grid, strict=True)]
    first, middle, last = ends
    rest = middle.center(len(x_T) - len(first) - len(last))
    return [*lines, f"{'':8} └{'─' * len(x_T)}", f"{'':10}{first}{rest}{last}"]
