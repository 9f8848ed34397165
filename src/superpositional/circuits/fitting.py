"""How well is Phi known, for every score, and with it attention, when its nodes are measured?

The fit of ``circuits.series`` is linear: ``Phi(x) = sum_k h_k(x) y_k``, y_k what was measured at node k, with standard
errors that are independent. So the standard error of Phi follows at every score, at measured nodes or between, and through
the softmax that of each attention weight, to first order: errors of the weights of one row are one error in common, for all
scores share the nodes.

Shapes: A sets of angles, K nodes, T scores; N queries, M keys; J frequencies; what stands before is batch.
"""

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz


def shares(ansatz: Ansatz, readout: str, count: int, x: Tensor) -> Tensor:
    """h_k(x): what each of ``count`` nodes adds to Phi, ``(..., K)`` for ``x`` of shape ``(...)``."""
    one_KK = torch.eye(count, dtype=x.dtype, device=x.device)
    return series.series_reference(ansatz, readout, series.fit(ansatz, readout, one_KK), x[..., None])


def phi_error(ansatz: Ansatz, readout: str, error_AK: Tensor, x_AT: Tensor) -> Tensor:
    """Standard error of the fitted Phi at each score, ``(A, T)``, from those at the nodes, ``(A, K)``.

    At a node it is the node's own only if there are no more nodes than coefficients: with more, the others help.
    """
    share_ATK = shares(ansatz, readout, error_AK.shape[-1], x_AT)
    return (share_ATK * error_AK[:, None]).square().sum(-1).sqrt()


def weight_error(ansatz: Ansatz, readout: str, error_AK: Tensor, x_ANM: Tensor, weight_ANM: Tensor) -> Tensor:
    """Standard error of each attention weight, ``(A, N, M)``, to first order in Phi's.

    ``d w_m = w_m (d Phi_m - sum_l w_l d Phi_l)``, with d Phi from the nodes that all scores share.

    Args:
        ansatz, readout: of Phi.
        error_AK: standard errors at the nodes.
        x_ANM: the scores as they enter the circuit.
        weight_ANM: the attention weights there, before dropout.
    """
    share_ANMK = shares(ansatz, readout, error_AK.shape[-1], x_ANM)
    common_AN1K = (weight_ANM[..., None] * share_ANMK).sum(-2, keepdim=True)
    slope_ANMK = weight_ANM[..., None] * (share_ANMK - common_AN1K)
    return (slope_ANMK * error_AK[:, None, None]).square().sum(-1).sqrt()
