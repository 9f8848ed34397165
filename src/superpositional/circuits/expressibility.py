"""How much of Hilbert space do random angles reach?

Expressibility after Sim, Johnson, Aspuru-Guzik 2019 (arXiv 1905.10876): draw pairs of states at random angles, take the
histogram of their fidelities ``F = |<psi|phi>|^2``, and compare it with that of Haar-random pairs::

    D_KL( P_circuit(F) || P_Haar(F) ),    P_Haar(F_l <= F < F_u) = (1 - F_l)^(S-1) - (1 - F_u)^(S-1)

in nats; 0 would be all of Hilbert space evenly, larger is less of it. An idle qubit has log(bins). Read by ``facts``.

Shapes: T pairs, K bins, Q qubits, S = 2**Q basis states; L, R, Q as in ``Ansatz.angles_shape``; B resamples.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.measures import AMPLITUDES_AT_ONCE, random_angles
from superpositional.circuits.statevector import state

# As in the paper.
BINS = 75
PAIRS = 5000
# The error of a bootstrap's error is a twentieth of it.
RESAMPLES = 200


class Expressibility(NamedTuple):
    """An estimate of it; lower is more expressive.

    Attributes:
        nats: the divergence of the histogram. It is biased upwards, by about (bins - 1) / (2 pairs) where every bin
            expects several pairs: a circuit that shows ``haar`` cannot be told from Haar-random by so many.
        standard_error: of ``nats``, by bootstrap over the pairs; where ``nats`` is near ``haar`` up to sqrt(3) too large.
        haar: what Haar-random states show at so many pairs, in the mean: all of it is bias.
        pairs, bins: of the estimate.
    """

    nats: float
    standard_error: float
    haar: float
    pairs: int
    bins: int


def expressibility(ansatz: Ansatz, generator: torch.Generator, pairs: int = PAIRS, bins: int = BINS) -> Expressibility:
    """Of an ansatz whose angles are uniform over a turn; an input is one more angle to every ry, which changes nothing.

    Note:
        The wider, the less it tells: Haar-random fidelities are about 1 / S, and from 10 qubits on all of 5000 lie in the
        first of 75 bins, as those of many a circuit do. What then comes out is 0 without error, and no finding.
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
    """Of whatever makes random states.

    Args:
        draw: how many to so many states, independent ones: ``(count, S)``, complex, normalised.
        generator: of the bootstrap.
        pairs: T, pairs of states; each state is in one alone.
        bins: K, of equal width over [0, 1].
        at_once: at most so many states are drawn in one call.
    """
    for name, value, least in (("pairs", pairs, 2), ("bins", bins, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"{name} must be an integer >= {least}, got {value!r}; the paper has {PAIRS} pairs, {BINS} bins"
            )
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
    offset_B1 = bins * torch.arange(RESAMPLES, device="cpu")[:, None]
    again_BK = torch.bincount((drawn_BT + offset_B1).flatten(), minlength=RESAMPLES * bins).view(RESAMPLES, bins)
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
