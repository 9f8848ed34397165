"""<Z> of each qubit where no state has to be simulated; the cost is linear in the qubits.

At depth 1, or without CNOTs at any depth, the qubits never interact before they are read: each is a Bloch vector of its
own. With ``Ry(x) H |0>``, <Z> = -sin x: eq. (2) of Pamuk et al. 2025 is this circuit. After CNOTs in the order (0,1),
(1,2), ..., <Z_k> = prod_{j<=k} (-sin x_j).

Shapes: L layers, R rotations of a layer, Q qubits; what stands before is batch.
"""

import math

import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.statevector import encode


def has_closed_form(ansatz: Ansatz) -> bool:
    """Whether the qubits never interact before they are read."""
    return ansatz.depth == 1 or not ansatz.cnots


def closed_form(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str = "z") -> Tensor:
    """<Z> of each qubit, ``(..., Q)``, of an ansatz that ``has_closed_form``: the Bloch vector of H|0>, which is (1, 0, 0),
    turned by each rotation.

    Not from amplitudes: |a|^2 - |b|^2 loses the digits of a small <Z>, and weights are small.
    """
    gate_angles_LRQ = encode(ansatz, inputs, angles_LRQ)
    cos_LRQ, sin_LRQ = gate_angles_LRQ.cos(), gate_angles_LRQ.sin()
    x = torch.ones_like(cos_LRQ[..., 0, 0, :])
    y = z = torch.zeros_like(x)
    for layer in range(ansatz.depth):
        for index, name in enumerate(ansatz.rotations):
            cos, sin = cos_LRQ[..., layer, index, :], sin_LRQ[..., layer, index, :]
            if name == "rx":
                y, z = y * cos - z * sin, z * cos + y * sin
            elif name == "ry":
                z, x = z * cos - x * sin, x * cos + z * sin
            else:
                x, y = x * cos - y * sin, y * cos + x * sin
    return torch.stack(_after_cnots(ansatz, list(z.unbind(-1))), -1)


def _after_cnots(ansatz: Ansatz, before: list[Tensor]) -> list[Tensor]:
    """<Z> of each qubit after the last CNOTs, from those of independent qubits before: a CNOT makes its target the parity
    of both, whose <Z> is the product of theirs; a qubit that comes in twice drops out."""
    after = list(before)
    parities = [{q} for q in range(ansatz.n_qubits)]
    for control, target in ansatz.cnots:
        independent = parities[target].isdisjoint(parities[control])
        parities[target] = parities[target] ^ parities[control]
        factors = [after[control], after[target]] if independent else [before[q] for q in sorted(parities[target])]
        after[target] = math.prod(factors[1:], start=factors[0])
    return after
