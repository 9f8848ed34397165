"""Pictures and plain text of one ansatz: its gates, its counts, its spectrum, x -> Phi(x), exactly and as backends have it.

Shapes: T points, K nodes; L, R, Q as in ``Ansatz.angles_shape``; C curves.
"""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits import measures, series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.base import Backend
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.backends.gradients import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = 500  # gates


def response(ansatz: Ansatz, readout: str, angles_LRQ: Tensor, points: int = 241) -> tuple[np.ndarray, np.ndarray]:
    """x over two turns, which an odd degree needs, and Phi(x): both ``(T,)``."""
    x_T = torch.linspace(-2 * torch.pi, 2 * torch.pi, points, dtype=angles_LRQ.dtype)
    return x_T.numpy(), evaluate(ansatz, x_T[:, None], angles_LRQ, readout, method="fourier").sum(-1).numpy()


def text(ansatz: Ansatz, readout: str, angles_LRQ: Tensor, known: Mapping[str, Any]) -> str:
    """All there is to say about the circuit in plain text; ``known`` are its facts (``measures.facts``)."""
    dice = torch.Generator().manual_seed(0)
    draws = min(1000, max(1, measures.AMPLITUDES_AT_ONCE >> ansatz.n_qubits))
    # An input is one more angle to every ry, so random angles alone are as random.
    angles_TLRQ = measures.random_angles(ansatz, dice, draws)
    tangled = float(measures.entanglement(ansatz, torch.zeros(1, dtype=torch.float64), angles_TLRQ).mean())
    dead = measures.dead_angles(ansatz, readout, dice)
    variance_LRQ = measures.gradient_variance(ansatz, readout, dice)
    ways = measures.rank(ansatz, readout, dice)
    pairs = measures.spectrum(ansatz, readout, angles_LRQ)
    largest = max(amplitude for _, amplitude in pairs) or 1.0
    # What is rounding is nothing.
    pairs = [(frequency, amplitude if amplitude > 1e-12 * largest else 0.0) for frequency, amplitude in pairs]
    names = [f"theta[{np.ravel_multi_index(place, ansatz.angles_shape)}]" for place in dead]
    nodes = series.node_count(ansatz, readout)
    told = [
        ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in ansatz.statistics().items()),
        *in_words(known),
        f"Meyer-Wallach entanglement at random angles: {tangled:.3f} (0 product state, 1 GHZ state)",
        f"variance of the angles' gradient at random angles: {float(variance_LRQ.mean()):.3g}",
        f"angles that do nothing to Phi, {len(dead)} of {ansatz.num_parameters}: {', '.join(names) or 'none'}",
        f"circuits that give Phi for every score: {nodes} per set of angles",
        f"Phi has {nodes} coefficients; dPhi/d(angles) has rank {ways.whole} ({ways.seen} without the constant): the "
        f"classical twin has {ways.whole} free ones",
    ]
    lines = [
        *(str(ansatz.draw()), ""),
        *(line for each in told for line in textwrap.wrap(each, 120, subsequent_indent="  ")),
        *("", f"Spectrum of Phi (readout {readout}), first set of angles:"),
        *(f"  {frequency:5g}  {amplitude:9.2e}  {'█' * round(40 * amplitude / largest)}" for frequency, amplitude in pairs),
    ]
    return "\n".join(lines) + "\n"


def in_words(known: Mapping[str, Any]) -> list[str]:
    """The facts of a circuit as sentences."""
    reach, device = known["expressibility"], known["transpiled"]
    if "missing" in reach:
        told = f"expressibility: missing, for {reach['missing']}"
    else:
        haar = f"{reach['haar']:.4f} at {reach['pairs']} pairs and {reach['bins']} bins"
        found = f"{reach['nats']:.4f} ± {reach['standard_error']:.4f} nats"
        told = f"expressibility at random angles: {found} (lower reaches more; Haar-random states show {haar})"
    if "missing" in device:
        return [told, f"transpiled: missing, for {device['missing']}"]
    basis = ", ".join(device["basis"])
    return [
        told,
        f"transpiled to {basis} on a {device['coupling']} coupling map: depth {device['depth']}, two qubit gates "
        f"{device['two_qubit_gates']} (Qiskit {device['qiskit']}, level {device['level']}, seed {device['seed']})",
    ]


def draw(ansatz: Ansatz, readout: str, angles_CLRQ: Tensor, perturb: Callable[..., list[Tensor]]) -> "Figure":
    """Phi(x) and its spectrum for every set of angles, and the modulation of a perturbation of the optimizer."""
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    spectra = [measures.spectrum(ansatz, readout, angles_LRQ) for angles_LRQ in angles_CLRQ]
    frequencies = [frequency for frequency, _ in spectra[0]]
    width = 0.8 * (frequencies[1] - frequencies[0] if len(frequencies) > 1 else 1) / len(spectra)
    for number, (angles_LRQ, pairs) in enumerate(zip(angles_CLRQ, spectra, strict=True)):
        left.plot(*response(ansatz, readout, angles_LRQ), linewidth=1)
        places = [frequency + (number - (len(spectra) - 1) / 2) * width for frequency in frequencies]
        middle.bar(places, [amplitude for _, amplitude in pairs], width, label=f"angles {number}")
    left.set_xticks([-2 * np.pi, -np.pi, 0, np.pi, 2 * np.pi], ["−2π", "−π", "0", "π", "2π"])
    if len(frequencies) <= 6:
        middle.set_xticks(frequencies)
        middle.set_xlim(frequencies[0] - 0.75, frequencies[-1] + 0.75)
    middle.set_ylim(bottom=0)
    middle.legend(fontsize="x-small")
    # Of a register all of whose weights are theta.
    theta = torch.linspace(-1, 1, 241, dtype=torch.float64)
    (s,) = perturb([[theta[:, None].expand(-1, ansatz.n_qubits)]], (0, 0))
    theta_T, s_TQ = theta.numpy(), s.numpy()
    right.plot(theta_T, np.sin(np.pi * theta_T), color="0.6", linestyle="--", linewidth=1, label="sin πθ")
    shades = np.linspace(0.15, 0.85, s_TQ.shape[1])  # no colour of the sets of angles beside it
    for q, (s_T, shade) in enumerate(zip(s_TQ.T, shades, strict=True)):
        right.plot(theta_T, s_T, color=plt.colormaps["viridis"](shade), linewidth=1, label=f"qubit {q}")
    right.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))
    titles = f"attention: Φ(x), readout {readout}", "the spectrum of Φ", "optimizer: all weights θ"
    labels = ("score x", "Φ(x)"), ("frequency", "amplitude"), ("weight θ", "−⟨Z⟩")
    for ax, title, (x, y) in zip((left, middle, right), titles, labels, strict=True):
        ax.set_title(title, fontsize="small")
        ax.set_xlabel(x)
        ax.set_ylabel(y)
    return figure


class Curve(NamedTuple):
    """Phi over one turn of the score, and its standard error: ``x_T``, ``phi_T``, ``error_T``."""

    x_T: np.ndarray
    phi_T: np.ndarray
    error_T: np.ndarray


def measured(
    backend: Backend, ansatz: Ansatz, readout: str, angles_LRQ: Tensor, *, seed: int, nodes: int | None = None
) -> Curve:
    """The curve fitted from its nodes on a backend."""
    x_T = torch.linspace(-torch.pi, torch.pi, 241, dtype=torch.float64)
    node_K = series.nodes(ansatz, readout, dtype=torch.float64, device=x_T.device, count=nodes)
    found = estimate(backend, ansatz, node_K[:, None], angles_LRQ.double(), readout, total=True, seed=seed)
    coefficients_2J = series.fit(ansatz, readout, found.mean_BC[:, 0])
    error_T = series.phi_error(ansatz, readout, found.error_BC.mT, x_T[None])[0]
    return Curve(*(each.numpy() for each in (x_T, series.series_reference(ansatz, readout, coefficients_2J, x_T), error_T)))


def rms(values_T: np.ndarray) -> float:
    """Root mean square over the turn, whose two ends are one point."""
    return float(np.sqrt(np.mean(values_T[:-1] ** 2)))


def draw_measured(ax: "Axes", curves: Mapping[str, Curve]) -> None:
    """Each curve with a band of two standard errors, some 95 %; the first one dashed, over all others."""
    for number, (name, curve) in enumerate(curves.items()):
        style = {"color": "black", "linestyle": "--", "zorder": 5} if number == 0 else {"color": f"C{number - 1}"}
        ax.plot(curve.x_T, curve.phi_T, linewidth=1, label=name, **style)
        if curve.error_T.any():
            low, high = curve.phi_T - 2 * curve.error_T, curve.phi_T + 2 * curve.error_T
            ax.fill_between(curve.x_T, low, high, color=style["color"], alpha=0.25, linewidth=0)
    ax.set_xticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    ax.set_xlabel("score x")
    ax.set_ylabel("Φ(x)")
    ax.legend(fontsize="x-small")


def write(folder: Path, ansatz: Ansatz, inputs: str) -> None:
    """``circuit.txt``, the gates as text and OpenQASM 3, and ``circuit.svg``; of large circuits OpenQASM 3 alone, for they
    take minutes to draw."""
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
