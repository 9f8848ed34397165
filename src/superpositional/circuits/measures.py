"""How much circuit is there in the circuit?

Entanglement after Meyer and Wallach, the variance of gradients whose vanishing is a barren plateau, angles that do nothing,
the frequencies that are really reached, and in how many ways Phi can be changed at all. Read by the statistics callback, by
``portrait``, by attention's controls and by reports.

Shapes: S = 2**Q basis states; L, R, Q as in ``Ansatz.angles_shape``, P = L * R * Q; T draws, K nodes, J frequencies,
C = 2 * J coefficients; what stands before is batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.exact import evaluate
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


class Rank(NamedTuple):
    """In how many independent ways the angles move Phi, at almost every place.

    Attributes:
        whole: ways to move Phi, a function of the score.
        seen: those that are left of it up to a constant, which softmax does not see: as many, or one fewer.
        moved: the coefficients of Phi that any angle moves, as places in the order constant, its sine (which is 0), cos w1,
            sin w1, cos w2, ...; or cos w0, sin w0, ... where the frequencies are half-integers.
    """

    whole: int
    seen: int
    moved: tuple[int, ...]


def rank(ansatz: Ansatz, readout: str, generator: torch.Generator, draws: int = 2) -> Rank:
    """Of dPhi/d(angles), and so of its Fourier coefficients, which determine Phi: the largest over some random angles.

    Generic: lower only where angles happen to make it so, which has probability 0. Numerical: a way that moves Phi by less
    than 1e-10 of the strongest one counts as none. Rounding comes out at 1e-16, the ways of circuits of up to four qubits
    and three layers above 1e-4; in very deep ones the highest frequencies sink below any tolerance.
    """
    slope_T2JLRQ = coefficient_slopes(ansatz, readout, random_angles(ansatz, generator, draws))
    slope_TCP = slope_T2JLRQ.transpose(1, 2).flatten(1, 2).flatten(2)
    seen_TCP = slope_TCP[:, 2:] if series.doubled_frequencies(ansatz, readout)[0] == 0 else slope_TCP
    least_T = NOTHING * torch.linalg.matrix_norm(slope_TCP, ord=2).clamp(min=1)
    counts_T = [(torch.linalg.svdvals(each) > least_T[:, None]).sum(1).tolist() for each in (slope_TCP, seen_TCP)]
    whole, seen = max(zip(*counts_T, strict=True))
    # Far below the tolerance: what is left out could not make up one way, however many coefficients that are.
    size_C = torch.linalg.vector_norm(slope_TCP, dim=(0, 2))
    moved = (size_C > 1e-3 * least_T.min()).nonzero().flatten().tolist()
    return Rank(whole, seen, tuple(moved))


def coefficient_slopes(ansatz: Ansatz, readout: str, angles_TLRQ: Tensor) -> Tensor:
    """d(coefficients of Phi)/d(angles), ``(T, 2, J, L, R, Q)``: the fit, which is linear, of Phi's slopes at the nodes."""
    node_K = series.nodes(ansatz, readout, dtype=angles_TLRQ.dtype, device=angles_TLRQ.device)
    draws, count = len(angles_TLRQ), len(node_K)
    # A copy of the angles for each node, so that one backward pass gives the slopes of all.
    angles = angles_TLRQ.repeat_interleave(count, 0)
    slope_TKLRQ = _slopes_at(ansatz, readout, angles, node_K.repeat(draws)[:, None]).unflatten(0, (draws, count))
    fitted_TLRQ2J = series.fit(ansatz, readout, slope_TKLRQ.movedim(1, -1))
    return fitted_TLRQ2J.movedim((-2, -1), (1, 2))


def random_angles(ansatz: Ansatz, generator: torch.Generator, *batch: int) -> Tensor:
    """``(*batch, L, R, Q)``, uniform over [-pi, pi), float64."""
    return _uniform(generator, *batch, *ansatz.angles_shape)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    # On the host, as the generator is, whatever the default device.
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu") - 1) * torch.pi


def _slopes(ansatz: Ansatz, readout: str, generator: torch.Generator, draws: int) -> Tensor:
    """dPhi/d(angle) at random angles and inputs: ``(draws, L, R, Q)``."""
    return _slopes_at(ansatz, readout, random_angles(ansatz, generator, draws), _uniform(generator, draws, 1))


def _slopes_at(ansatz: Ansatz, readout: str, angles_TLRQ: Tensor, inputs_T1: Tensor) -> Tensor:
    """dPhi/d(angle) of each pair of angles and input: ``(T, L, R, Q)``."""
    angles = angles_TLRQ.detach().requires_grad_()
    at_once = max(1, AMPLITUDES_AT_ONCE >> ansatz.n_qubits)
    with torch.enable_grad():
        for some in torch.arange(len(angles), device="cpu").split(at_once):
            evaluate(ansatz, inputs_T1[some], angles[some], readout).sum().backward()
    return angles.grad
