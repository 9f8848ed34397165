"""Controls of quantum attention: the same module with a different Phi in eq. (4) of Pamuk et al. 2025.

``QuantumAttention`` differs from softmax attention in more than a circuit: code path, a term in the scores, parameters.
Initial values are drawn in the same order too, so that arms of one seed share every tensor that they have in common:

=================  ================================================  ==============================================
``NoTerm``         0                                                 the code path alone
``ConstantTerm``   a free number per head, which softmax cancels     the placebo: rounding alone
``FrozenCircuit``  the circuit at the angles drawn, never trained    a circuit, but nothing learned in it
``ClassicalTwin``  a Fourier series with free coefficients           as many ways to learn, but no circuit
=================  ================================================  ==============================================

Entanglement's own control needs no class: ``circuit.entanglement=none``.

Shapes: A sets of coefficients (H heads, or 1 if shared), F free ones, J frequencies; else as in ``attention.module``.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from superpositional.attention import QuantumAttention
from superpositional.attention.inputs import wide
from superpositional.circuits import Ansatz, measures, series


class FrozenCircuit(QuantumAttention):
    """Quantum attention whose angles stay as they were drawn.

    What it has over ``NoTerm``, a random function of the score has; what quantum attention has over it is learned.
    """

    trained = False


class NoTerm(QuantumAttention):
    """Phi = 0: softmax attention by quantum attention's own code, its series with coefficients 0.

    Differs from ``nn.MultiheadAttention`` by rounding. ``ansatz`` and ``readout`` name the circuit that it replaces.
    """

    circuits = 0

    def term(self, angles_ALRQ: Tensor) -> dict[str, Tensor]:
        return {}

    def coefficients(self) -> Tensor:
        return wide(self.in_proj_weight.new_zeros(self.sets, 2, len(self.frequencies)))

    def reference(self, x_AT: Tensor) -> Tensor:
        """What the series should be at these inputs: itself, as it is written."""
        return series.series_reference(self.ansatz, self.readout, self.coefficients()[:, None], x_AT)

    def notes(self) -> dict[str, Any]:
        return {"term": type(self).__name__}


class ConstantTerm(NoTerm):
    """Phi = one free number per head, or one for all if ``shared_angles``: attention's placebo.

    Softmax does not see a number that is added to all its logits. So outputs differ from those of ``NoTerm``, and the
    gradient of this number from 0, by rounding alone: the least noise that a paired comparison of attentions can have. It
    starts at 1, Phi's order of magnitude, and Adam, which divides a gradient by its own size, makes it wander.
    """

    def term(self, angles_ALRQ: Tensor) -> dict[str, Tensor]:
        return {"constant": torch.ones_like(angles_ALRQ[:, 0, 0, 0])}

    def phi(self, raw_BHNM: Tensor) -> Tensor:
        phi_BHNM = super().phi(raw_BHNM)
        return phi_BHNM + self.constant.to(phi_BHNM.dtype)[:, None, None]

    def notes(self) -> dict[str, Any]:
        return super().notes() | {"free": 1, "sets": self.sets}


class ClassicalTwin(NoTerm):
    """Phi = a Fourier series over the circuit's frequencies, with as many free coefficients as the circuit has ways to move
    Phi (``circuits.measures.rank``), fewer than angles as a rule.

    They are those of the lowest frequencies that the circuit's angles move, in the order constant, cos w1, sin w1, cos w2,
    ...; all others are 0. The constant, which softmax does not see, is one of them where the circuit can move it by itself.
    They start as the circuit's at the angles that quantum attention would have drawn, the only time that it runs. Where the
    rank is the number of all coefficients, as for the paper's circuit and amplitudes, the twin is the circuit's family of
    functions near almost every point of it. Its parameter is ``coefficients_free``, ``(A, F)``; it has no ``angles``.
    """

    @torch.no_grad()
    def term(self, angles_ALRQ: Tensor) -> dict[str, Tensor]:
        """The free coefficients of the circuit at these angles."""
        self.rank = generic_rank(self.ansatz, self.readout)
        start_AC = self.fitted_at(angles_ALRQ)[0].mT.flatten(1).to(angles_ALRQ.dtype)
        # Column by column: a list as an index is a tensor on the host.
        columns = [start_AC[:, place] for place in self.free]
        return {"coefficients_free": torch.stack(columns, 1) if columns else start_AC[:, :0]}

    @property
    def free(self) -> tuple[int, ...]:
        """The free coefficients, as places in the order constant, its sine (which is 0), cos w1, sin w1, ..."""
        others = [place for place in self.rank.moved if place or self.frequencies[0]]
        return (*[0] * (self.rank.whole - self.rank.seen), *others[: self.rank.seen])

    def coefficients(self) -> Tensor:
        free_AF = wide(self.coefficients_free)
        zero_A = free_AF.new_zeros(self.sets)
        columns = dict(zip(self.free, free_AF.unbind(1), strict=True))
        count = len(self.frequencies)
        coefficient_AC = torch.stack([columns.get(place, zero_A) for place in range(2 * count)], 1)
        return coefficient_AC.unflatten(1, (count, 2)).mT

    def notes(self) -> dict[str, Any]:
        """The angles and ways of one circuit, and the free coefficients of one series in its place."""
        return super().notes() | {
            "ansatz": self.ansatz.plain(),
            "readout": self.readout,
            "score": self.score,
            "angles": self.ansatz.num_parameters,
            "rank": self.rank.whole,
            "rank_without_constant": self.rank.seen,
            "free": len(self.free),
            "sets": self.sets,
        }


@functools.cache
def generic_rank(ansatz: Ansatz, readout: str) -> measures.Rank:
    """``measures.rank``, from dice of its own: the same for every layer, and no one else's draws are shifted."""
    return measures.rank(ansatz, readout, torch.Generator().manual_seed(0))
