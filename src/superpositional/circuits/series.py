"""The Fourier series of a circuit of one scalar: Phi of every score from a few executions.

Every gate that x enters contributes e^{+-ix/2} (Schuld, Sweke, Meyer, Phys. Rev. A 103, 032430, 2021), so with D of them
(``Ansatz.degree``) the real part of an amplitude is::

    f(x) = sum_j alpha_j cos(w_j x) + beta_j sin(w_j x),    w = D/2, D/2 - 1, ... >= 0

and a probability or <Z> the same with w = 0, 1, ..., D. So D+1 (or 2D+1) evaluations at equispaced nodes give it exactly,
for a batch of any size. Odd D has half-integer frequencies: f(x + 2 pi) = -f(x). The fit is linear, so where nodes are
measured their standard errors, which are independent, give that of Phi at every score.

Shapes: K nodes, J frequencies, H series (one per head), T scores; A sets of angles; 2 holds (alpha, beta); what stands
before is batch.
"""

import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.kernels import build
from superpositional.circuits.readouts import is_amplitude

BLOCK = 2048  # of series.h: scores that share a sum in single precision


def doubled_frequencies(ansatz: Ansatz, readout: str) -> range:
    """2w for every frequency w >= 0 that the readout can have, rising: integers also where w is half of one."""
    return range(ansatz.degree % 2, ansatz.degree + 1, 2) if is_amplitude(readout) else range(0, 2 * ansatz.degree + 1, 2)


def node_count(ansatz: Ansatz, readout: str) -> int:
    """K: how many evaluations determine the series; also its number of free coefficients."""
    return ansatz.degree + 1 if is_amplitude(readout) else 2 * ansatz.degree + 1


def nodes(ansatz: Ansatz, readout: str, *, dtype: torch.dtype, device: torch.device, count: int | None = None) -> Tensor:
    """``x_K = 2 pi k / K``, K = ``node_count``, or ``count`` of them, if more."""
    count = count or node_count(ansatz, readout)
    return torch.arange(count, dtype=dtype, device=device) * (2 * torch.pi / count)


def fit(ansatz: Ansatz, readout: str, samples_K: Tensor) -> Tensor:
    """Coefficients ``(..., 2, J)`` from the values at ``nodes``, ``(..., K)``: a discrete Fourier transform.

    The 2J - 1 or 2J functions are orthogonal over K >= ``node_count`` nodes, half-integer frequencies included, because the
    sum of two of them stays below K. With more nodes than coefficients it is the least-squares fit, and averages noise.
    """
    count, least = samples_K.shape[-1], node_count(ansatz, readout)
    if count < least:
        raise ValueError(f"samples must be at >= {least} nodes, got {count}: so many coefficients has readout={readout}")
    doubled_J = _as_tensor(doubled_frequencies(ansatz, readout), samples_K.device)
    # w_j x_k = pi (2 w_j k mod 2K) / K: reduced in integers, so that high frequencies keep their digits in float32.
    turns_KJ = torch.arange(count, device=samples_K.device)[:, None] * doubled_J % (2 * count)
    phase_KJ = turns_KJ.to(samples_K.dtype) * (torch.pi / count)
    weight_J = torch.where(doubled_J == 0, 1, 2).to(samples_K.dtype) / count
    basis_K2J = torch.stack([phase_KJ.cos() * weight_J, phase_KJ.sin() * weight_J], 1)
    # Multiplied and summed, not a matrix product: autocast would do that in half precision.
    return (samples_K[..., None, None] * basis_K2J).sum(-3)


def series_reference(ansatz: Ansatz, readout: str, coefficients_2J: Tensor, x: Tensor) -> Tensor:
    """The series as it is written, for ``x`` of shape ``(...)``; batch dimensions broadcast."""
    doubled_J = _as_tensor(doubled_frequencies(ansatz, readout), x.device)
    phase_J = x[..., None] * (doubled_J / 2).to(x.dtype)
    return (coefficients_2J[..., 0, :] * phase_J.cos() + coefficients_2J[..., 1, :] * phase_J.sin()).sum(-1)


def series(coefficients_H2J: Tensor, x_HT: Tensor, first: int) -> Tensor:
    """The series of each row, fast: values ``(H, T)``.

    Horner's rule in e^{ix} instead of a cosine and a sine per frequency, with a derivative that is again such a series; on
    the CPU in one pass each way (``kernels``). Differentiable any number of times in both, in reverse mode. ``first`` is 2w
    of the lowest frequency, 0 or 1 (``doubled_frequencies``); the others follow in steps of 2.
    """
    return _Series.apply(coefficients_H2J, x_HT, first)


def shares(ansatz: Ansatz, readout: str, count: int, x: Tensor) -> Tensor:
    """What each of ``count`` nodes adds to Phi, ``(..., K)`` for ``x`` of shape ``(...)``."""
    one_KK = torch.eye(count, dtype=x.dtype, device=x.device)
    return series_reference(ansatz, readout, fit(ansatz, readout, one_KK), x[..., None])


def phi_error(ansatz: Ansatz, readout: str, error_AK: Tensor, x_AT: Tensor) -> Tensor:
    """Standard error of the fitted Phi at each score, ``(A, T)``, from those at the nodes, ``(A, K)``.

    At a node it is the node's own only if there are no more nodes than coefficients: with more, the others help.
    """
    share_ATK = shares(ansatz, readout, error_AK.shape[-1], x_AT)
    return (share_ATK * error_AK[:, None]).square().sum(-1).sqrt()


class _Series(torch.autograd.Function):
    """sum_j alpha_j cos(w_j x) + beta_j sin(w_j x), linear in the coefficients."""

    generate_vmap_rule = True

    @staticmethod
    def forward(coefficients_H2J: Tensor, x_HT: Tensor, first: int) -> Tensor:
        if _kernels_serve(coefficients_H2J, x_HT):
            out_HT = torch.empty(x_HT.shape, dtype=x_HT.dtype, device=x_HT.device)
            given = coefficients_H2J.contiguous(), x_HT.contiguous()
            pointers = (each.data_ptr() for each in (*given, out_HT))
            forward = build.kernel("series_forward", x_HT.dtype)
            forward(*pointers, *x_HT.shape, coefficients_H2J.shape[-1], first, torch.get_num_threads())
            return out_HT
        cos_HT, sin_HT = x_HT.cos(), x_HT.sin()
        alpha_JH1, beta_JH1 = coefficients_H2J.permute(1, 2, 0).unsqueeze(-1).unbind(0)
        # The real part of sum_j (alpha_j - i beta_j) e^{i w_j x}: Horner's rule in u + iv, highest frequency first.
        u_HT = alpha_JH1[-1].expand_as(x_HT).clone()
        v_HT = -beta_JH1[-1].expand_as(x_HT)
        for j in range(len(alpha_JH1) - 2, -1, -1):
            u_next = torch.addcmul(alpha_JH1[j], u_HT, cos_HT)
            v_next = torch.addcmul(-beta_JH1[j], u_HT, sin_HT)
            u_HT = torch.addcmul(u_next, v_HT, sin_HT, value=-1)
            v_HT = torch.addcmul(v_next, v_HT, cos_HT)
        if first == 0:
            return u_HT
        half_HT = x_HT / 2
        return torch.addcmul(u_HT * half_HT.cos(), v_HT, half_HT.sin(), value=-1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        coefficients_H2J, x_HT, ctx.first = inputs
        ctx.save_for_backward(coefficients_H2J, x_HT)

    @staticmethod
    def backward(ctx, grad_HT: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        coefficients_H2J, x_HT = ctx.saved_tensors
        wants_coefficients, wants_x, _ = ctx.needs_input_grad
        first, count = ctx.first, coefficients_H2J.shape[-1]
        # Not where the derivative is to be differentiated again (create_graph).
        if not torch.is_grad_enabled() and _kernels_serve(coefficients_H2J, x_HT, grad_HT):
            return *_both_by_kernel(coefficients_H2J, x_HT, grad_HT, first, wants_x), None
        return (
            _Projection.apply(grad_HT, x_HT, first, count) if wants_coefficients else None,
            grad_HT * _Series.apply(_derivative(coefficients_H2J, first), x_HT, first) if wants_x else None,
            None,
        )


class _Projection(torch.autograd.Function):
    """The adjoint in the coefficients: ``(H, 2, J)`` of sum_t g_t cos(w_j x_t) and sum_t g_t sin(w_j x_t)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad_HT: Tensor, x_HT: Tensor, first: int, count: int) -> Tensor:
        cos_HT, sin_HT = x_HT.cos(), x_HT.sin()
        start = x_HT / 2
        u_HT, v_HT = (start.cos(), start.sin()) if first else (torch.ones_like(x_HT), torch.zeros_like(x_HT))
        sums = []
        for j in range(count):
            if j:
                u_HT, v_HT = (
                    torch.addcmul(u_HT * cos_HT, v_HT, sin_HT, value=-1),
                    torch.addcmul(u_HT * sin_HT, v_HT, cos_HT),
                )
            # Not vecdot: autocast would do that in half precision.
            sums.append(torch.stack([(grad_HT * u_HT).sum(-1), (grad_HT * v_HT).sum(-1)], -1))
        return torch.stack(sums, -1)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        grad_HT, x_HT, ctx.first, _ = inputs
        ctx.save_for_backward(grad_HT, x_HT)

    @staticmethod
    def backward(ctx, above_H2J: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_HT, x_HT = ctx.saved_tensors
        wants_grad, wants_x = ctx.needs_input_grad[:2]
        return (
            _Series.apply(above_H2J, x_HT, ctx.first) if wants_grad else None,
            grad_HT * _Series.apply(_derivative(above_H2J, ctx.first), x_HT, ctx.first) if wants_x else None,
            None,
            None,
        )


def _kernels_serve(coefficients_H2J: Tensor, *others_HT: Tensor) -> bool:
    first, count = others_HT[0], coefficients_H2J.shape[-1]
    fits = first.dim() == 2 and first.numel() > 0 and all(each.shape == first.shape for each in others_HT)
    fits = fits and coefficients_H2J.shape == (len(first), 2, count) and count <= build.MOST
    return fits and build.serves(coefficients_H2J, *others_HT)


def _both_by_kernel(
    coefficients_H2J: Tensor, x_HT: Tensor, grad_HT: Tensor, first: int, wants_x: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients to the coefficients and to x, in one pass."""
    given = [each.contiguous() for each in (coefficients_H2J, x_HT, grad_HT)]
    (series, length), count = x_HT.shape, coefficients_H2J.shape[-1]
    x_grad_HT = torch.empty_like(given[1]) if wants_x else None
    sums_H2J = torch.zeros_like(given[0], dtype=torch.float64)
    partial = x_HT.new_empty(series, -(-length // BLOCK), 2 * count, dtype=torch.float64)
    pointers = (None if each is None else each.data_ptr() for each in (*given, x_grad_HT, sums_H2J, partial))
    backward = build.kernel("series_backward", x_HT.dtype)
    backward(*pointers, series, length, count, first, torch.get_num_threads())
    return sums_H2J.to(coefficients_H2J.dtype), x_grad_HT


def _as_tensor(numbers: range, device: torch.device) -> Tensor:
    return torch.arange(numbers.start, numbers.stop, numbers.step, device=device)


def _derivative(coefficients_H2J: Tensor, first: int) -> Tensor:
    """Coefficients of the derivative: alpha cos(wx) + beta sin(wx) becomes w beta cos(wx) - w alpha sin(wx)."""
    count = coefficients_H2J.shape[-1]
    frequency_J = torch.arange(count, dtype=coefficients_H2J.dtype, device=coefficients_H2J.device) + first / 2
    alpha_HJ, beta_HJ = coefficients_H2J.unbind(-2)
    return torch.stack([frequency_J * beta_HJ, -frequency_J * alpha_HJ], -2)
