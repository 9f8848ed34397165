"""What does Phi look like when it has to be measured?

The response curve of a circuit fitted from its nodes on one backend after another, each with the band that its standard
errors give. Read by ``show``.

Shapes: T scores, K nodes; L, R, Q as in ``Ansatz.angles_shape``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.base import Backend
from superpositional.circuits.backends.gradients import estimate
from superpositional.circuits.fitting import phi_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Curve(NamedTuple):
    """Phi over one turn of the score, and its standard error: ``x_T``, ``phi_T``, ``error_T``."""

    x_T: np.ndarray
    phi_T: np.ndarray
    error_T: np.ndarray


def response(
    backend: Backend,
    ansatz: Ansatz,
    readout: str,
    angles_LRQ: Tensor,
    *,
    seed: int,
    nodes: int | None = None,
    points: int = 241,
) -> Curve:
    """The curve as this backend has it."""
    x_T = torch.linspace(-torch.pi, torch.pi, points, dtype=torch.float64)
    node_K = series.nodes(ansatz, readout, dtype=torch.float64, device=x_T.device, count=nodes)
    found = estimate(backend, ansatz, node_K[:, None], angles_LRQ.double(), readout, total=True, seed=seed)
    coefficients_2J = series.fit(ansatz, readout, found.mean_BC[:, 0])
    error_T = phi_error(ansatz, readout, found.error_BC.mT, x_T[None])[0]
    return Curve(*(each.numpy() for each in (x_T, series.series_reference(ansatz, readout, coefficients_2J, x_T), error_T)))


def rms(values_T: np.ndarray) -> float:
    """Root mean square over the turn, whose two ends are one point."""
    return float(np.sqrt(np.mean(values_T[:-1] ** 2)))


def draw(ax: "Axes", curves: Mapping[str, Curve]) -> "Axes":
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
    return ax
