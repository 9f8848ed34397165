"""What a circuit can do, in numbers: entanglement, gradients, spectrum, rank, expressibility, and its facts.

Expressibility is after Sim, Johnson, Aspuru-Guzik 2019 (arXiv 1905.10876): draw pairs of states at random angles, take the
histogram of their fidelities ``F = |<psi|phi>|^2``, and compare it with that of Haar-random pairs::

    D_KL( P_circuit(F) || P_Haar(F) ),    P_Haar(F_l <= F < F_u) = (1 - F_l)^(S-1) - (1 - F_u)^(S-1)

in nats; 0 would be all of Hilbert space evenly, larger is less of it. An idle qubit has log(bins).

Shapes: S = 2**Q basis states; L, R, Q as in ``Ansatz.angles_shape``, P = L * R * Q; T draws, K nodes or bins,
J frequencies, C = 2 * J coefficients, B resamples.
"""

import functools
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.aer import SEED, Device, transpiled
from superpositional.circuits.backends.base import bad_integer, refuse
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.statevector import encode, state

# Below it a slope in float64 is rounding: exact zeros come out around 1e-16, live angles at random places far above.
NOTHING = 1e-10
AMPLITUDES_AT_ONCE = 2**18  # autograd keeps every gate's state
BINS, PAIRS = 75, 5000  # as in the paper of expressibility
RESAMPLES = 200  # the error of a bootstrap's error is a twentieth of it
# No run waits longer than some seconds: 12 qubits take two or three at the paper's depth.
AMPLITUDE_UPDATES, GATES = 2.5e9, 20_000
ROTATION = 256  # a rotation's own matrix costs as much as so many amplitudes


def random_angles(ansatz: Ansatz, generator: torch.Generator, *batch: int) -> Tensor:
    """``(*batch, L, R, Q)``, uniform over [-pi, pi), float64."""
    return _uniform(generator, *batch, *ansatz.angles_shape)


def meyer_wallach(state_S: Tensor, n_qubits: int) -> Tensor:
    """Entanglement in [0, 1]: ``2 (1 - mean_k Tr rho_k^2)``, 0 for product states, 1 for GHZ states.

    Meyer, Wallach 2002 (arXiv quant-ph/0108104), in the form of Brennen 2003 (quant-ph/0305094).
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
    """Variance of dPhi/d(angle) over random angles and inputs, ``(L, R, Q)``, Phi = sum_k psi_k of one input for all.
    Exponentially small in the width is a barren plateau (McClean et al. 2018, arXiv 1803.11173)."""
    return _slopes(ansatz, readout, generator, draws).var(0)


def dead_angles(ansatz: Ansatz, readout: str, generator: torch.Generator) -> list[tuple[int, int, int]]:
    """The angles, as (layer, rotation, qubit), that Phi does not depend on at all."""
    found = _slopes(ansatz, readout, generator, draws=16)
    return [tuple(place) for place in (found.abs().amax(0) < NOTHING).nonzero().tolist()]


def spectrum(ansatz: Ansatz, readout: str, angles_LRQ: Tensor) -> list[tuple[float, float]]:
    """(frequency, amplitude) of Phi as a function of one scalar input at these angles."""
    node_K = series.nodes(ansatz, readout, dtype=angles_LRQ.dtype, device=angles_LRQ.device)
    sample_K = evaluate(ansatz, node_K[:, None], angles_LRQ, readout).sum(-1)
    amplitude_J = torch.linalg.vector_norm(series.fit(ansatz, readout, sample_K), dim=-2)
    doubled = series.doubled_frequencies(ansatz, readout)
    return [(twice / 2, amplitude) for twice, amplitude in zip(doubled, amplitude_J.tolist(), strict=True)]


class Rank(NamedTuple):
    """In how many independent ways the angles move Phi, at almost every place: ``whole``; and ``seen``, up to a constant,
    which softmax does not see. ``moved``: the coefficients that any angle moves, as places in the order constant, its sine
    (which is 0), cos w1, sin w1, cos w2, ...; or cos w0, sin w0, ... where the frequencies are half-integers."""

    whole: int
    seen: int
    moved: tuple[int, ...]


def rank(ansatz: Ansatz, readout: str, generator: torch.Generator, draws: int = 2) -> Rank:
    """Of dPhi/d(angles), and so of its Fourier coefficients, which determine Phi: the largest over some random angles.

    A way that moves Phi by less than 1e-10 of the strongest one counts as none: rounding comes out at 1e-16, the ways of
    circuits of up to four qubits and three layers above 1e-4; in very deep ones the highest frequencies sink below it.
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


class Expressibility(NamedTuple):
    """An estimate; lower is more expressive.

    Attributes:
        nats: the divergence of the histogram, biased upwards by about (bins - 1) / (2 pairs).
        standard_error: of ``nats``, by bootstrap over the pairs; where ``nats`` is near ``haar`` up to sqrt(3) too large.
        haar: what Haar-random states show at so many pairs, in the mean: all of it is bias.
    """

    nats: float
    standard_error: float
    haar: float
    pairs: int
    bins: int


def expressibility(ansatz: Ansatz, generator: torch.Generator, pairs: int = PAIRS, bins: int = BINS) -> Expressibility:
    """Of an ansatz whose angles are uniform over a turn; an input is one more angle to every ry, which changes nothing.

    The wider, the less it tells: from 10 qubits on all of 5000 fidelities, Haar-random ones too, lie in the first of 75
    bins. What then comes out is 0 without error, and no finding.
    """

    def draw(count: int) -> Tensor:
        return state(ansatz, random_angles(ansatz, generator, count))

    # A deep narrow circuit has more numbers in its gates than in its state.
    numbers = max(2**ansatz.n_qubits, 8 * ansatz.num_parameters)
    return of_states(draw, generator, pairs, bins, at_once=max(1, AMPLITUDES_AT_ONCE // numbers))


@torch.no_grad()
def of_states(
    draw: Callable[[int], Tensor],
    generator: torch.Generator,
    pairs: int = PAIRS,
    bins: int = BINS,
    *,
    at_once: int = AMPLITUDES_AT_ONCE,
) -> Expressibility:
    """Of whatever makes random states: ``draw`` makes so many independent ones, ``(count, S)``, complex, normalised, at
    most ``at_once`` in one call; each is in one of the pairs. ``generator`` is the bootstrap's."""
    usual = f"; the paper has {PAIRS} pairs, {BINS} bins"
    refuse([bad_integer("pairs", pairs, 2, usual), bad_integer("bins", bins, 2, usual)])
    count_K = torch.zeros(bins, dtype=torch.int64, device="cpu")
    left, dimension = pairs, 0
    while left:
        some = min(left, max(1, at_once // 2))
        first_TS, second_TS = draw(some), draw(some)
        fidelity_T = (first_TS.conj() * second_TS).sum(-1).abs().square().cpu()
        # The last bin holds 1, and what rounding carries past it.
        count_K += torch.bincount((fidelity_T * bins).long().clamp(0, bins - 1), minlength=bins)
        left, dimension = left - some, first_TS.shape[-1]
    log_haar_K = log_haar(dimension, bins)
    share_K = count_K / pairs
    drawn_BT = torch.multinomial(share_K.expand(RESAMPLES, bins), pairs, replacement=True, generator=generator)
    again_BK = torch.stack([drawn_T.bincount(minlength=bins) for drawn_T in drawn_BT])
    nats = float(divergence(share_K, log_haar_K))
    error = float(divergence(again_BK / pairs, log_haar_K).std())
    # Where all pairs are in one bin, so are those of each resample, and what spread there is is rounding.
    error = error if error > 1e-12 * max(1, nats) else 0.0
    return Expressibility(nats, error, haar_bias(dimension, pairs, bins), pairs, bins)


def log_haar(dimension: int, bins: int = BINS) -> Tensor:
    """log P_Haar of each bin, ``(K,)``: in logarithms, for that of high fidelities in many dimensions is no float."""
    edge = torch.arange(bins + 1, dtype=torch.float64, device="cpu") / bins
    # log (1 - F)^(S-1), at the last edge that of 0.
    log_above = (dimension - 1) * torch.log1p(-edge)
    return log_above[:-1] + torch.log(-torch.expm1(log_above[1:] - log_above[:-1]))


def divergence(share_K: Tensor, log_haar_K: Tensor) -> Tensor:
    """D_KL of histograms ``(..., K)`` from Haar's, in nats: ``(...)``."""
    share_K = share_K.double()
    return (torch.xlogy(share_K, share_K) - share_K * log_haar_K).sum(-1)


def haar_bias(dimension: int, pairs: int, bins: int = BINS) -> float:
    """The mean divergence of so many Haar-random pairs, which is 0 for infinitely many: exact, over binomial counts."""
    log_haar_K = log_haar(dimension, bins)
    # Of the first bin, which may hold nearly all, by what is above it.
    log_rest_K = torch.log1p(-log_haar_K.exp())
    log_rest_K[0] = (dimension - 1) * math.log1p(-1 / bins)
    count = torch.arange(1, pairs + 1, dtype=torch.float64, device="cpu")
    log_ways = math.lgamma(pairs + 1) - torch.lgamma(count + 1) - torch.lgamma(pairs - count + 1)
    mean = 0.0
    for log_mass, log_rest in zip(log_haar_K.tolist(), log_rest_K.tolist(), strict=True):
        chance = (log_ways + count * log_mass + (pairs - count) * log_rest).exp()
        mean += float((chance * count / pairs * (torch.log(count / pairs) - log_mass)).sum())
    return mean


def facts(ansatz: Ansatz, *, pairs: int = PAIRS, device: Device | None = None) -> dict[str, Any]:
    """What is true whatever the angles are: ``expressibility`` and ``transpiled`` for a device, in plain values, each with
    how it was found or with why it is ``missing``. Found once per process."""
    return {"expressibility": dict(_reach(ansatz, pairs)), "transpiled": dict(_counts(ansatz, device or Device()))}


@functools.cache
def _reach(ansatz: Ansatz, pairs: int) -> dict[str, Any]:
    updates = 2 * pairs * (2**ansatz.n_qubits + ROTATION) * ansatz.n_qubits * ansatz.depth
    if updates > AMPLITUDE_UPDATES:
        what = f"{pairs} pairs at n_qubits={ansatz.n_qubits}, depth={ansatz.depth}"
        return {"missing": f"{what} are more than {AMPLITUDE_UPDATES:.2g} updates of an amplitude, which no run waits for"}
    found = expressibility(ansatz, torch.Generator().manual_seed(0), pairs)
    if found.standard_error == 0 and found.nats < 1 / pairs:
        return {"missing": f"all {pairs} pairs lie in the first of {BINS} bins, as Haar-random ones do: none is told apart"}
    return found._asdict()


@functools.cache
def _counts(ansatz: Ansatz, device: Device) -> dict[str, Any]:
    gates = ansatz.statistics()["gates"]
    if gates > GATES:
        return {"missing": f"the circuit has {gates} gates, above the {GATES} that a run waits for"}
    depth, two_qubit_gates, _ = transpiled(ansatz, device)
    counts = {"depth": depth, "two_qubit_gates": two_qubit_gates}
    method = {"basis": list(device.basis), "coupling": device.coupling, "level": device.level, "seed": SEED}
    return counts | method | {"qiskit": importlib.metadata.version("qiskit")}


def slopes(ansatz: Ansatz, readout: str) -> dict[str, Any]:
    """``dead_angles`` of Phi, and ``gradient_variance_at_random_angles``, their mean, in plain values."""
    dice = torch.Generator().manual_seed(0)
    return {
        "dead_angles": [list(place) for place in dead_angles(ansatz, readout, dice)],
        "gradient_variance_at_random_angles": float(gradient_variance(ansatz, readout, dice).mean()),
    }


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the facts, by the names that a summary has for them; what is missing has none."""
    names = {
        "expressibility": ("expressibility", "nats"),
        "expressibility_standard_error": ("expressibility", "standard_error"),
        "transpiled_depth": ("transpiled", "depth"),
        "transpiled_two_qubit_gates": ("transpiled", "two_qubit_gates"),
    }
    return {
        name: found[fact][part] for name, (fact, part) in names.items() if fact in found and "missing" not in found[fact]
    }
