"""How much circuit is there in the circuit?

Entanglement after Meyer and Wallach, the variance of gradients whose vanishing is a barren plateau, angles that do nothing,
and the frequencies that are really reached. Read by the statistics callback, by ``portrait`` and by reports.

Shapes: S = 2**Q basis states; L, R, Q as in ``Ansatz.angles_shape``; what stands before is batch.
"""

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.simulators import evaluate
from superpositional.circuits.statevector import encode, state

# Below it a slope in float64 is rounding: exact zeros come out around 1e-16, live angles at random places far above.
NOTHING = 1e-10
# Wide circuits are measured a few draws at a time: autograd keeps every gate's state.
AMPLITUDES_AT_ONCE = 2**18


def meyer_wallach(state_S: Tensor, n_qubits: int) -> Tensor:
    """Entanglement in [0, 1]: ``2 (1 - mean_k Tr rho_k^2)``, 0 for product states, 1 for GHZ states.

    Meyer, Wallach 2002 (arXiv quant-ph/0108104), in the form of Brennen 2003 (quant-ph/0305094).

    Args:
        state_S: ``(..., S)``, normalised amplitudes.
        n_qubits: Q; one qubit has nothing to be entangled with.
    """
    purities = []
    for q in range(n_qubits):
        halves = state_S.unflatten(-1, (2**q, 2, -1)).transpose(-3, -2).flatten(-2)
        density_22 = halves @ halves.mH
        purities.append((density_22.real.square() + density_22.imag.square()).sum((-2, -1)))
    # Rounding can carry a product state's purity past 1.
    return (2 * (1 - torch.stack(purities).mean(0))).clamp(0, 1)


def entanglement(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor) -> Tensor:
    """Meyer-Wallach entanglement of the circuit's states: ``(...)`` for inputs ``(..., Q)`` or ``(..., 1)``."""
    return meyer_wallach(state(ansatz, encode(ansatz, inputs, angles_LRQ)), ansatz.n_qubits)


def gradient_variance(ansatz: Ansatz, readout: str, generator: torch.Generator, draws: int = 200) -> Tensor:
    """Variance of dPhi/d(angle) over random circuits, ``(L, R, Q)``; Phi = sum_k psi_k of one input for all qubits.

    Angles and input are uniform over a turn. Exponentially small in the width is a barren plateau (McClean et al. 2018,
    arXiv 1803.11173).
    """
    return _slopes(ansatz, readout, generator, draws).var(0)


def dead_angles(ansatz: Ansatz, readout: str, generator: torch.Generator) -> list[tuple[int, int, int]]:
    """The angles, as (layer, rotation, qubit), that Phi does not depend on at all."""
    slopes = _slopes(ansatz, readout, generator, draws=16)
    return [tuple(place) for place in (slopes.abs().amax(0) < NOTHING).nonzero().tolist()]


def spectrum(ansatz: Ansatz, readout: str, angles_LRQ: Tensor) -> list[tuple[float, float]]:
    """(frequency, amplitude) of Phi as a function of one scalar input at these angles."""
    node_K = series.nodes(ansatz, readout, dtype=angles_LRQ.dtype, device=angles_LRQ.device)
    sample_K = evaluate(ansatz, node_K[:, None], angles_LRQ, readout).sum(-1)
    amplitude_J = torch.linalg.vector_norm(series.fit(ansatz, readout, sample_K), dim=-2)
    doubled = series.doubled_frequencies(ansatz, readout)
    return [(twice / 2, amplitude) for twice, amplitude in zip(doubled, amplitude_J.tolist(), strict=True)]


def random_angles(ansatz: Ansatz, generator: torch.Generator, *batch: int) -> Tensor:
    """``(*batch, L, R, Q)``, uniform over [-pi, pi), float64."""
    return _uniform(generator, *batch, *ansatz.angles_shape)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    # On the host, as the generator is, whatever the default device.
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") - 1) * torch.pi


def _slopes(ansatz: Ansatz, readout: str, generator: torch.Generator, draws: int) -> Tensor:
    """dPhi/d(angle) at random angles and inputs: ``(draws, L, R, Q)``."""
    angles = random_angles(ansatz, generator, draws).requires_grad_()
    inputs = _uniform(generator, draws, 1)
    at_once = max(1, AMPLITUDES_AT_ONCE >> ansatz.n_qubits)
    with torch.enable_grad():
        for some in torch.arange(draws, device="cpu").split(at_once):
            evaluate(ansatz, inputs[some], angles[some], readout).sum().backward()
    return angles.grad
