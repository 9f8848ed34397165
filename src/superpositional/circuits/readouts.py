"""The readouts: which numbers psi_k are.

Eq. (4) of Pamuk et al. 2025 adds up the amplitudes psi_k, k = 1 ... n_qubits, "that the circuit gives for a score", and
leaves open which. The readings:

=============================  ========================================================================================
``amplitude``                  Re psi of basis states 0 ... n-1, qubit 0 the most significant bit (the first reading)
``amplitude_little_endian``    the same with qubit 0 the least significant bit, as Qiskit counts
``amplitude_one_hot``          Re psi of the states in which only qubit k-1 is 1
``probability...``             |psi|^2 of the same three sets of states
``z``                          <Z> of qubit k-1
=============================  ========================================================================================

Probabilities and ``z`` can be measured on hardware.

Shapes: Q qubits, S = 2**Q basis states; what stands before is batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ORDERS: dict[str, Callable[[int, int], int]] = {
    "": lambda k, n: k,
    "_little_endian": lambda k, n: int(f"{k:0{n}b}"[::-1], 2),
    "_one_hot": lambda k, n: 1 << (n - 1 - k),
}
READOUTS = (*(kind + order for kind in ("amplitude", "probability") for order in ORDERS), "z")


def is_amplitude(readout: str) -> bool:
    """Whether the state enters linearly: half the frequencies, no measurement."""
    return readout.startswith("amplitude")


def basis_states(readout: str, n_qubits: int) -> list[int]:
    """Indices of the n basis states that an ``amplitude`` or ``probability`` readout looks at."""
    order = ORDERS[readout.removeprefix("amplitude").removeprefix("probability")]
    # One qubit has the states 0 and 1 and k = 1 alone: its first state, or the state in which it is 1.
    return [order(k, n_qubits) for k in range(n_qubits)]


def read(state_S: Tensor, readout: str, n_qubits: int) -> Tensor:
    """``(..., S)`` complex amplitudes to ``(..., Q)`` real numbers psi_k."""
    if is_amplitude(readout):
        return _pick(state_S, readout, n_qubits).real
    # Not abs().square(): the absolute value has no derivative at 0, where many amplitudes are.
    return read_probabilities(state_S.real.square() + state_S.imag.square(), readout, n_qubits)


def read_probabilities(probability_S: Tensor, readout: str, n_qubits: int) -> Tensor:
    """``(..., S)`` probabilities, exact or counted, to ``(..., Q)``; not for amplitudes."""
    if readout != "z":
        return _pick(probability_S, readout, n_qubits)
    # How much more probable each qubit's 0 is than its 1; each is summed out once it is read.
    z = []
    for _ in range(n_qubits):
        zero, one = probability_S.unflatten(-1, (2, -1)).unbind(-2)
        z.append((zero - one).sum(-1))
        probability_S = zero + one
    return torch.stack(z, -1)


def _pick(tensor_S: Tensor, readout: str, n_qubits: int) -> Tensor:
    # One by one: a list as an index is a tensor on the host, which a captured CUDA graph does not take.
    return torch.stack([tensor_S[..., index] for index in basis_states(readout, n_qubits)], -1)
