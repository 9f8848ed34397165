"""The exact state under depolarising noise after every gate, in the Pauli basis.

A state of Q qubits is the vector of its 4**Q Pauli expectations, all real. There a rotation turns two of a qubit's X, Y, Z
into one another; a CNOT renames Pauli strings, up to a sign; and depolarising noise (``E(rho) = (1 - p) rho + p I / 2**n``)
only scales what it touches by 1 - p. So a layer is one 4 x 4 matrix per qubit and one permutation with weights.

Shapes: L layers, R rotations of a layer, Q qubits; D = 4**Q Pauli strings, qubit 0 the most significant digit out of I, X,
Y, Z; S = 2**Q outcomes; what stands before is batch.
"""

from decimal import Decimal
from functools import lru_cache

import psutil
import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz

# Which two of X, Y, Z a rotation turns: the first becomes cos of itself and -sin of the second.
TURNS = {"rx": (2, 3), "ry": (3, 1), "rz": (1, 2)}
# Peak bytes for each Pauli string while ``_cnots`` is made, mostly int64; measured, the same at 8, 9 and 10 qubits.
TABLES = 153


def z(
    ansatz: Ansatz, gate_angles_LRQ: Tensor, *, one_qubit: float = 0.0, two_qubit: float = 0.0, readout_error: float = 0.0
) -> Tensor:
    """<Z> of each qubit, ``(..., Q)``, of the circuit whose gates have these angles (``statevector.encode``).

    ``one_qubit`` and ``two_qubit`` are p after each one-qubit gate, and after each CNOT on both its qubits;
    ``readout_error`` is the probability that a measured bit is the other one.
    """
    pauli_D = _paulis(ansatz, gate_angles_LRQ, one_qubit, two_qubit)
    z_Q = torch.stack([pauli_D[..., 3 * 4**place] for place in reversed(range(ansatz.n_qubits))], -1)
    return z_Q * (1 - 2 * readout_error)


def probabilities(
    ansatz: Ansatz, gate_angles_LRQ: Tensor, *, one_qubit: float = 0.0, two_qubit: float = 0.0, readout_error: float = 0.0
) -> Tensor:
    """The probability of each outcome, ``(..., S)``, qubit 0 its most significant bit; arguments as for ``z``."""
    n = ansatz.n_qubits
    pauli_D = _paulis(ansatz, gate_angles_LRQ, one_qubit, two_qubit)
    kept = pauli_D.unflatten(-1, (4,) * n)
    for q in range(n):
        # Of a string of I and Z an outcome sees the parity; a bit that flips with probability r keeps 1 - 2r of its Z.
        identity, own_z = (kept.select(kept.dim() - n + q, digit) for digit in (0, 3))
        own_z = own_z * (1 - 2 * readout_error)
        kept = torch.stack([(identity + own_z) / 2, (identity - own_z) / 2], kept.dim() - n + q)
    return kept.flatten(-n)


def _paulis(ansatz: Ansatz, gate_angles_LRQ: Tensor, one_qubit: float, two_qubit: float) -> Tensor:
    """The expectation of every Pauli string at the end, ``(..., D)``."""
    n = ansatz.n_qubits
    _require_memory(ansatz, gate_angles_LRQ)
    map_LQ44 = _maps(ansatz, gate_angles_LRQ, one_qubit)
    # H|0> has <X> = 1, and a gate's noise: up to the first CNOTs the state is a product of single qubits.
    start_4 = torch.tensor([1.0, 1.0 - one_qubit, 0.0, 0.0], dtype=map_LQ44.dtype, device=map_LQ44.device)
    qubit_Q4 = map_LQ44[..., 0, :, :, :] @ start_4
    pauli_D = qubit_Q4[..., 0, :]
    for q in range(1, n):
        pauli_D = (pauli_D[..., :, None] * qubit_Q4[..., q, None, :]).flatten(-2)
    source_D, weight_D = _cnots(ansatz, two_qubit, pauli_D.dtype, pauli_D.device)
    pauli_D = pauli_D[..., source_D] * weight_D
    for layer in range(1, ansatz.depth):
        for q in range(n):
            # On the most significant digit, which then becomes the least: after n of these the order is back.
            quarters = pauli_D.unflatten(-1, (4, 4 ** (n - 1)))
            pauli_D = (map_LQ44[..., layer, q, :, :] @ quarters).mT.flatten(-2)
        pauli_D = pauli_D[..., source_D] * weight_D
    return pauli_D


def _maps(ansatz: Ansatz, gate_angles_LRQ: Tensor, one_qubit: float) -> Tensor:
    """Each qubit's rotations of a layer with their noise, on (I, X, Y, Z): ``(..., L, Q, 4, 4)``."""
    cos_LRQ, sin_LRQ = gate_angles_LRQ.cos() * (1 - one_qubit), gate_angles_LRQ.sin() * (1 - one_qubit)
    product = None
    for index, name in enumerate(ansatz.rotations):
        cos_LQ, sin_LQ = cos_LRQ[..., index, :], sin_LRQ[..., index, :]
        zero, one = torch.zeros_like(cos_LQ), torch.ones_like(cos_LQ)
        rows = [[one if i == j == 0 else one * (1 - one_qubit) if i == j else zero for j in range(4)] for i in range(4)]
        first, second = TURNS[name]
        rows[first][first] = rows[second][second] = cos_LQ
        rows[first][second], rows[second][first] = -sin_LQ, sin_LQ
        factor = torch.stack([torch.stack(row, -1) for row in rows], -2)
        product = factor if product is None else factor @ product
    return product


# Kept for training, though validation in inference mode may ask first: its tensors could not be saved for backward.
@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _cnots(ansatz: Ansatz, two_qubit: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """One layer's CNOTs and their noise: string i after them is ``weight[i]`` times string ``source[i]`` before."""
    n = ansatz.n_qubits
    source_D = torch.arange(4**n)
    weight_D = torch.ones(4**n, dtype=torch.float64)
    for control, target in ansatz.cnots:
        new_D = torch.arange(4**n)
        shift_c, shift_t = 2 * (n - 1 - control), 2 * (n - 1 - target)
        digit_c, digit_t = new_D >> shift_c & 3, new_D >> shift_t & 3
        # A string's X part is its bit of X or Y, its Z part that of Z or Y. X spreads from control to target, Z back.
        x_c, z_c = ((digit_c == 1) | (digit_c == 2)).long(), (digit_c >= 2).long()
        x_t, z_t = ((digit_t == 1) | (digit_t == 2)).long(), (digit_t >= 2).long()
        # A CNOT is its own inverse: what is carried here is where this would be carried.
        old_c, old_t = _digit(x_c, z_c ^ z_t), _digit(x_t ^ x_c, z_t)
        old_D = new_D + ((old_c - digit_c) << shift_c) + ((old_t - digit_t) << shift_t)
        # XZ becomes -YY and YY -XZ; all others keep their sign.
        sign_D = 1.0 - 2.0 * (x_c & z_t & (1 ^ x_t ^ z_c)).double()
        touched = (digit_c + digit_t > 0).double()
        weight_D = sign_D * (1 - two_qubit * touched) * weight_D[old_D]
        source_D = source_D[old_D]
    return source_D.to(device), weight_D.to(device, dtype)


def _digit(x: Tensor, z: Tensor) -> Tensor:
    """I, X, Y, Z = 0, 1, 2, 3 from the X and the Z part."""
    return torch.where(x == 1, 1 + z, 3 * z)


def _require_memory(ansatz: Ansatz, gate_angles_LRQ: Tensor) -> None:
    # A layer's input, output and copies between; under autograd those of every qubit's map are kept.
    kept = 4 + (ansatz.n_qubits * ansatz.depth if gate_angles_LRQ.requires_grad and torch.is_grad_enabled() else 0)
    circuits = gate_angles_LRQ[..., 0, 0, 0].numel()
    need = (kept * circuits * gate_angles_LRQ.dtype.itemsize + TABLES) * 4**ansatz.n_qubits
    if need >= 2**28 and gate_angles_LRQ.device.type == "cpu" and need > (free := psutil.virtual_memory().available):
        # In Decimal: 4 ** 600 is no float.
        raise MemoryError(
            f"n_qubits={ansatz.n_qubits} needs {Decimal(need) / 2**30:.3g} GiB for 4**n_qubits numbers of {circuits} "
            f"circuits, and {free / 2**30:.3g} are free; choose fewer qubits, or backend=aer with shots, whose noise takes "
            "2**n_qubits"
        )
