"""softmax( Q K^T / sqrt(d_k) + Phi ) V without its matrix of scores (Pamuk et al. 2025, eqs. 3 and 4).

``attention_reference`` is the formula, with Phi as a Fourier series of the score. ``quantum_attention`` gives the same, a
tile of scores at a time: torch's matrix products, and between them two kernels, scores to weights and gradients of weights
to gradients of scores. Backward computes the scores again, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135), so
that memory is linear in the length.

Shapes: B batch, H heads, N queries, M keys, E width of a head, T = B * H matrices; A sets of coefficients (H or 1), J
frequencies.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.kernels import build

# Scores of a tile, 1 MiB of them in float32: large enough for the matrix products, small enough for the caches.
TILE = 2**18


def attention_reference(
    q_BHNE: Tensor,
    k_BHME: Tensor,
    v_BHME: Tensor,
    coefficients_A2J: Tensor,
    first: int,
    scale_in: float,
    mask: Tensor | None = None,
    kept_BHNM: Tensor | None = None,
    keep_scale: float = 1.0,
) -> Tensor:
    """The formula, all scores at once; arguments as for ``quantum_attention``."""
    batch, heads, n, e = q_BHNE.shape
    score_BHNM = q_BHNE @ k_BHME.mT
    x_AT = (score_BHNM * scale_in).transpose(0, 1).reshape(len(coefficients_A2J), -1)
    phi_BHNM = series.series(coefficients_A2J, x_AT, first).view(heads, batch, n, -1).transpose(0, 1)
    weight_BHNM = softmax(score_BHNM / math.sqrt(e) + phi_BHNM, mask)
    if kept_BHNM is not None:
        weight_BHNM = weight_BHNM * kept_BHNM * keep_scale
    return weight_BHNM @ v_BHME


def softmax(logits_BHNM: Tensor, mask: Tensor | None) -> Tensor:
    """Of logits plus mask; a row that is -inf throughout gets 0s, and neither NaN nor a gradient of NaN."""
    if mask is None:
        return logits_BHNM.softmax(-1)
    mask = mask.to(logits_BHNM.dtype)
    masked_out = (mask == -math.inf).all(-1, keepdim=True)
    logits_BHNM = logits_BHNM + mask.masked_fill(masked_out, 0.0)
    return logits_BHNM.softmax(-1).masked_fill(masked_out, 0.0)


def serves(q_BHNE: Tensor, k_BHME: Tensor, v_BHME: Tensor, mask: Tensor | None, frequencies: int) -> bool:
    """Whether ``quantum_attention`` can take these, with coefficients of that many frequencies in their dtype;
    ``attention_reference`` takes all."""
    masks = () if mask is None else (mask,)
    return (
        q_BHNE.dim() == 4
        and k_BHME.shape == v_BHME.shape == (*q_BHNE.shape[:2], *k_BHME.shape[2:3], q_BHNE.shape[3])
        and not any(each.requires_grad for each in masks)
        and not torch.is_autocast_enabled("cpu")
        and min(q_BHNE.numel(), k_BHME.numel()) > 0
        and frequencies <= build.MOST
        and build.serves(q_BHNE, k_BHME, v_BHME, *masks)
    )


def quantum_attention(
    q_BHNE: Tensor,
    k_BHME: Tensor,
    v_BHME: Tensor,
    coefficients_A2J: Tensor,
    first: int,
    scale_in: float,
    mask: Tensor | None = None,
    kept_BHNM: Tensor | None = None,
    keep_scale: float = 1.0,
) -> Tensor:
    """``(B, H, N, E)``, by kernels of what they take; derivatives of any order, in reverse mode.

    Args:
        q_BHNE: queries; keys and values ``(B, H, M, E)``.
        coefficients_A2J: Phi's series, ``(A, 2, J)``.
        first: 2w of its lowest frequency (``circuits.series.doubled_frequencies``).
        scale_in: Phi's input is this times Q K^T.
        mask: added after Phi, broadcasts against ``(B, H, N, M)``. A row of nothing but -inf gives 0.
        kept_BHNM: bool, which weights dropout keeps; those are times ``keep_scale``.
    """
    count, shape = coefficients_A2J.shape[-1], (*q_BHNE.shape[:3], k_BHME.shape[2])
    fits = coefficients_A2J.shape in ((1, 2, count), (q_BHNE.shape[1], 2, count))
    fits = fits and (kept_BHNM is None or (kept_BHNM.shape == shape and kept_BHNM.dtype is torch.bool and kept_BHNM.is_cpu))
    if not (fits and serves(q_BHNE, k_BHME, v_BHME, mask, count) and build.serves(coefficients_A2J, q_BHNE)):
        return attention_reference(q_BHNE, k_BHME, v_BHME, coefficients_A2J, first, scale_in, mask, kept_BHNM, keep_scale)
    return _Attention.apply(q_BHNE, k_BHME, v_BHME, coefficients_A2J, first, scale_in, mask, kept_BHNM, keep_scale)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q_BHNE, k_BHME, v_BHME, coefficients_A2J, first, scale_in, mask, kept_BHNM, keep_scale) -> Tensor:
        batch, heads, n, e = q_BHNE.shape
        m = k_BHME.shape[2]
        q_TNE, k_TME, v_TME = (each.reshape(batch * heads, -1, e) for each in (q_BHNE, k_BHME, v_BHME))
        settings = _Settings(coefficients_A2J, mask, kept_BHNM, (batch, heads, n, m))
        tile = _tile(q_BHNE, m, coefficients_A2J, first, scale_in, keep_scale)
        out_TNE = torch.empty_like(q_TNE, memory_format=torch.contiguous_format)
        lse_TN = q_TNE.new_empty(batch * heads, n)
        if _small(tile, q_TNE):
            forward = build.kernel("small_forward", q_BHNE.dtype)
            given = [each.contiguous() for each in (q_TNE, k_TME, v_TME)]
            pointers = (each.data_ptr() for each in given)
            forward(*settings.pointers, *pointers, e, out_TNE.data_ptr(), lse_TN.data_ptr(), tile)
        else:
            _forward_by_tiles(q_TNE, k_TME, v_TME, settings, tile, out_TNE, lse_TN)
        ctx.save_for_backward(q_BHNE, k_BHME, v_BHME, coefficients_A2J, mask, kept_BHNM, out_TNE, lse_TN)
        ctx.plain = first, scale_in, keep_scale
        return out_TNE.view(batch, heads, n, e)

    @staticmethod
    def backward(ctx, grad_BHNE: Tensor) -> tuple[Tensor | None, ...]:
        q_BHNE, k_BHME, v_BHME, coefficients_A2J, mask, kept_BHNM, out_TNE, lse_TN = ctx.saved_tensors
        first, scale_in, keep_scale = ctx.plain
        if torch.is_grad_enabled():  # of create_graph: the formula can be differentiated again
            given = q_BHNE, k_BHME, v_BHME, coefficients_A2J
            wanted = list(itertools.compress(given, ctx.needs_input_grad))
            out = attention_reference(*given, first, scale_in, mask, kept_BHNM, keep_scale)
            found = iter(torch.autograd.grad(out, wanted, grad_BHNE, create_graph=True))
            return *(next(found) if wants else None for wants in ctx.needs_input_grad[:4]), *(None,) * 5
        batch, heads, n, e = q_BHNE.shape
        m, count = k_BHME.shape[2], coefficients_A2J.shape[-1]
        q_TNE, k_TME, v_TME = (each.reshape(batch * heads, -1, e) for each in (q_BHNE, k_BHME, v_BHME))
        above_TNE = grad_BHNE.resolve_neg().reshape(batch * heads, n, e).contiguous()
        settings = _Settings(coefficients_A2J, mask, kept_BHNM, (batch, heads, n, m))
        tile = _tile(q_BHNE, m, coefficients_A2J, first, scale_in, keep_scale)
        grads = [torch.empty_like(each, memory_format=torch.contiguous_format) for each in (q_TNE, k_TME, v_TME)]
        partial_TGC = q_TNE.new_empty(batch * heads, -(-n // GROUP), 2 * count, dtype=torch.float64)
        if _small(tile, q_TNE):
            given = [each.contiguous() for each in (q_TNE, k_TME, v_TME)]
            backward = build.kernel("small_backward", q_BHNE.dtype)
            rest = (each.data_ptr() for each in (out_TNE, lse_TN, above_TNE, *grads, partial_TGC))
            backward(*settings.pointers, *(each.data_ptr() for each in given), e, *rest, tile)
        else:
            _backward_by_tiles(q_TNE, k_TME, v_TME, settings, tile, out_TNE, lse_TN, above_TNE, grads, partial_TGC)
        coefficients_grad = torch.empty_like(coefficients_A2J, memory_format=torch.contiguous_format)
        sums = build.kernel("attention_sums", q_BHNE.dtype)
        sums(partial_TGC.data_ptr(), coefficients_grad.data_ptr(), batch * heads, partial_TGC.shape[1], tile)
        shaped = (grad.view_as(each) for grad, each in zip(grads, (q_BHNE, k_BHME, v_BHME), strict=True))
        return *shaped, coefficients_grad, *(None,) * 5


def _forward_by_tiles(
    q_TNE, k_TME, v_TME, settings: "_Settings", tile: build.Tile, out_TNE: Tensor, lse_TN: Tensor
) -> None:
    """Fills the last two."""
    forward = build.kernel("attention_forward", q_TNE.dtype)
    for matrices, rows, (scores,) in _tiles(q_TNE, tile.M, 1):
        torch.bmm(q_TNE[matrices, rows], k_TME[matrices].mT, out=scores)
        forward(*settings.pointers, scores.data_ptr(), lse_TN.data_ptr(), _at(tile, matrices, rows))
        torch.bmm(scores, v_TME[matrices], out=out_TNE[matrices, rows])


def _backward_by_tiles(
    q_TNE, k_TME, v_TME, settings: "_Settings", tile: build.Tile, out_TNE, lse_TN, above_TNE, grads, partial_TGC
) -> None:
    """Fills the gradients to queries, keys and values, and ``partial_TGC``."""
    q_grad_TNE, k_grad_TME, v_grad_TME = grads
    backward = build.kernel("attention_backward", q_TNE.dtype)
    read = (lse_TN.data_ptr(), out_TNE.data_ptr(), above_TNE.data_ptr(), q_TNE.shape[2])
    for matrices, rows, (scores, score_grads) in _tiles(q_TNE, tile.M, 2):
        q, k, above = q_TNE[matrices, rows], k_TME[matrices], above_TNE[matrices, rows]
        torch.bmm(q, k.mT, out=scores)
        torch.bmm(above, v_TME[matrices].mT, out=score_grads)
        written = (scores.data_ptr(), score_grads.data_ptr(), partial_TGC.data_ptr())
        backward(*settings.pointers, *read, *written, _at(tile, matrices, rows))
        torch.bmm(score_grads, k, out=q_grad_TNE[matrices, rows])
        if rows.start == 0:
            torch.bmm(score_grads.mT, q, out=k_grad_TME[matrices])
            torch.bmm(scores.mT, above, out=v_grad_TME[matrices])
        else:
            k_grad_TME[matrices].baddbmm_(score_grads.mT, q)
            v_grad_TME[matrices].baddbmm_(scores.mT, above)


# Of attention.h: this many rows share a sum in single precision, and a tile starts at a multiple of it.
GROUP = 8


class _Settings:
    """What every call of a kernel gets first; holds on to what the pointers point to."""

    def __init__(self, coefficients_A2J: Tensor, mask: Tensor | None, kept_BHNM: Tensor | None, shape: tuple) -> None:
        mask = None if mask is None else mask.expand(shape)
        kept_BHNM = None if kept_BHNM is None else kept_BHNM.contiguous()
        self.held = coefficients_A2J.contiguous(), mask, kept_BHNM
        self.pointers = (
            self.held[0].data_ptr(),
            None if mask is None else mask.data_ptr(),
            build.Strides(*((0,) * 4 if mask is None else mask.stride())),
            None if kept_BHNM is None else kept_BHNM.data_ptr(),
        )


def _tiles(q_TNE: Tensor, m: int, buffers: int) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Every tile: which matrices, which rows, and buffers of its shape, which the tiles share.

    Whole matrices if one fits, else a matrix for each thread and as many rows as fit.
    """
    matrices, n = q_TNE.shape[:2]
    if n * m <= TILE:
        at_once, rows = min(matrices, TILE // (n * m)), n
    else:
        at_once = min(matrices, torch.get_num_threads())
        rows = min(n, max(GROUP, TILE // (m * at_once) // GROUP * GROUP))
    memory = q_TNE.new_empty(buffers, at_once * rows * m)
    for matrix in range(0, matrices, at_once):
        for row in range(0, n, rows):
            some, part = slice(matrix, min(matrix + at_once, matrices)), slice(row, min(row + rows, n))
            shape = some.stop - some.start, part.stop - part.start, m
            yield some, part, [each[: math.prod(shape)].view(shape) for each in memory]


def _tile(q_BHNE: Tensor, m: int, coefficients: Tensor, first: int, scale_in: float, keep_scale: float) -> build.Tile:
    batch, heads, n, e = q_BHNE.shape
    sizes = {"N": n, "M": m, "heads": heads, "sets": len(coefficients), "J": coefficients.shape[-1], "rows": n}
    scales = {"scale": 1 / math.sqrt(e), "scale_in": scale_in, "keep_scale": keep_scale}
    return build.Tile(**sizes, **scales, first=first, matrices=batch * heads, threads=torch.get_num_threads())


def _small(tile: build.Tile, q_TNE: Tensor) -> bool:
    """Whether matrices are done whole; a row of the values is a number of whole vectors of 64 bytes then."""
    e, lanes = q_TNE.shape[2], 64 // q_TNE.element_size()
    return tile.N <= 64 and tile.M <= 64 and e <= 64 and e % lanes == 0


def _at(tile: build.Tile, matrices: slice, rows: slice) -> build.Tile:
    """The tile, moved there."""
    tile.first_matrix, tile.matrices = matrices.start, matrices.stop - matrices.start
    tile.first_row, tile.rows = rows.start, rows.stop - rows.start
    return tile
