"""Where do the coefficients of Phi come from?

From circuits at the nodes of its series (``circuits.series``), and nowhere else are attention's circuits run. Exactly, as a
rule; or on a ``backends.Backend``, where an execution has a price: then the circuits of all layers, and the shifted ones
that give their gradients, which depend on the angles alone, are one call of a step (``attention.run_together``).

Shapes: A sets of angles; L, R, Q as in ``Ansatz.angles_shape``; K nodes, J frequencies.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends import Backend, Exact, estimate
from superpositional.circuits.backends.exact import coefficients, coefficients_reference

if TYPE_CHECKING:
    from superpositional.attention.module import QuantumAttention


class Fitted(NamedTuple):
    """``coefficients_A2J`` of Phi, and the standard error of what was found at each node, ``error_AK``; None is exact."""

    coefficients_A2J: Tensor
    error_AK: Tensor | None


def fitted(
    ansatz: Ansatz,
    readout: str,
    angles_ALRQ: Tensor,
    *,
    backend: Backend,
    nodes: int | None = None,
    seed: int | None = None,
) -> Fitted:
    """The series of Phi at these angles, differentiable in them.

    Args:
        ansatz, readout: of Phi.
        angles_ALRQ: float32 or float64.
        backend: where the circuits run.
        nodes: K; None is as many as there are coefficients.
        seed: of the shots.
    """
    if isinstance(backend, Exact):
        if backend.differentiates and nodes is None:
            return Fitted(coefficients(ansatz, readout, angles_ALRQ), None)
        method = "statevector" if backend.differentiates else backend.method
        return Fitted(coefficients_reference(ansatz, readout, angles_ALRQ, method, nodes), None)
    node_K = series.nodes(ansatz, readout, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device, count=nodes)
    found = estimate(backend, ansatz, node_K[:, None], angles_ALRQ[:, None], readout, total=True, seed=seed)
    return Fitted(series.fit(ansatz, readout, found.mean_BC.squeeze(-1)), found.error_BC.squeeze(-1))


def run_together(attentions: "Iterable[QuantumAttention]") -> None:
    """Run the circuits of several layers in one call, for the next forward pass of each.

    Layers whose circuits are of one kind and on one backend; those that share their angles have them run once.
    """
    kinds: dict[tuple, dict[int, list[Any]]] = {}
    for each in attentions:
        if each.circuits and not isinstance(each.backend, Exact):
            angles = each.angles
            kind = each.backend, each.ansatz, each.readout, each.nodes, angles.device, angles.dtype, angles.requires_grad
            kinds.setdefault(kind, {}).setdefault(id(angles), []).append(each)
    for users in kinds.values():
        firsts = [same[0] for same in users.values()]
        angles_ALRQ = torch.cat([each.angles for each in firsts])
        found = firsts[0].fitted_at(angles_ALRQ, seed=firsts[0].next_seed())
        sizes = [each.sets for each in firsts]
        parts = zip(users.values(), found.coefficients_A2J.split(sizes), found.error_AK.split(sizes), strict=True)
        for index, (same, coefficients_A2J, error_AK) in enumerate(parts):
            for place, each in enumerate(same):
                job = int(index == place == 0)
                each.prepared = Fitted(coefficients_A2J, error_AK), place == 0, job, each.angles._version
