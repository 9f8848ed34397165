"""What attention takes: its settings, its inputs, and masks in all the shapes of ``torch.nn.MultiheadAttention``.

Shapes: as in ``attention.module``.
"""

import math
from typing import Any

import torch
from torch import Tensor

from superpositional.circuits import Ansatz, series
from superpositional.circuits.backends import Backend, Exact
from superpositional.circuits.readouts import READOUTS
from superpositional.places import not_integers

# Without a series, but with the circuit for every score.
PER_SCORE = Exact("statevector")
SCORES = ("raw", "scaled")


def check_settings(settings: dict[str, Any], *, circuits: bool, module: str) -> None:
    """Raise ValueError with every argument of a ``module`` that is out of range, and its cure.

    ``circuits``: whether the module runs any; controls do not.
    """
    width, heads = settings["embed_dim"], settings["num_heads"]
    cure = "the paper has 64 and 4 heads"
    mistakes = not_integers({"embed_dim": (width, 1, cure), "num_heads": (heads, 1, cure)})
    if not mistakes and width % heads:
        mistakes.append(f"embed_dim must be a multiple of num_heads, got {width} and {heads}; try 64 and 4")
    dropout = settings["dropout"]
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        mistakes.append(f"dropout must be in [0, 1), got {dropout!r}; 0 switches it off")
    for name, choices in (("readout", READOUTS), ("score", SCORES)):
        if settings[name] not in choices:
            mistakes.append(f"{name} must be one of {', '.join(choices)}, got {settings[name]!r}")
    for name in ("bias", "shared_angles", "batch_first"):
        if not isinstance(settings[name], bool):
            mistakes.append(f"{name} must be true or false, got {settings[name]!r}")
    if not isinstance(settings["ansatz"], Ansatz):
        mistakes.append(
            f"ansatz must be a superpositional.circuits.Ansatz, got {settings['ansatz']!r}; in a config, set circuit.*"
        )
    mistakes += [] if mistakes else _bad_nodes(settings, circuits, module)
    if settings["dtype"] is not None and not settings["dtype"].is_floating_point:
        mistakes.append(f"dtype must be a floating-point one, got {settings['dtype']}")
    if mistakes:
        raise ValueError("\n".join(mistakes))


def _bad_nodes(settings: dict[str, Any], circuits: bool, module: str) -> list[str]:
    """What is wrong with where the circuits run, and how many."""
    ansatz, readout, backend, nodes = (settings[name] for name in ("ansatz", "readout", "backend", "nodes"))
    if not isinstance(backend, Backend):
        return [
            f"backend must be one of superpositional.circuits.backends, got {backend!r}; in a config, choose backend=..."
        ]
    least = series.node_count(ansatz, readout)
    cure = f"None runs the {least} that the coefficients of readout={readout} take"
    mistakes = [] if nodes is None else not_integers({"nodes": (nodes, least, cure)})
    if nodes is not None and backend == PER_SCORE:
        mistakes.append(f"nodes={nodes} has no effect: backend.method=statevector has no series; choose auto")
    if not circuits and backend != Exact():
        got = f"method {backend.method}" if isinstance(backend, Exact) else backend.name
        mistakes.append(f"backend must be exact with method auto, got {got}: {module} runs no circuit")
    elif isinstance(backend, Exact) and backend.method == "closed_form":
        mistakes.append("backend.method=closed_form is the optimizer's alone; choose auto")
    elif (wrong := backend.refusal(ansatz, readout)) is not None:
        mistakes.append(wrong)
    return mistakes


def check_inputs(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, *, batch_first: bool) -> None:
    """Raise ValueError where queries, keys and values do not fit together."""
    if query.is_nested:
        raise ValueError(
            "nested tensors must be query, key and value in one, without masks and need_weights, got others; pad them"
        )
    fit = key.shape == value.shape and query.dim() == key.dim() in (2, 3)
    fit = fit and query.shape[-1] == key.shape[-1] == embed_dim
    batch = 0 if batch_first else 1
    if not fit or (query.dim() == 3 and query.shape[batch] != key.shape[batch]):
        raise ValueError(
            f"query must have shape (..., N, {embed_dim}), key and value (..., M, {embed_dim}) with the same "
            f"batch or none, got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )


def mask_of(
    q_BHNE: Tensor, m: int, key_padding_mask: Tensor | None, attn_mask: Tensor | None, is_causal: bool
) -> Tensor | None:
    """All masks as numbers to add, in a shape that broadcasts against ``(B, H, N, M)``."""
    batch, heads, n, _ = q_BHNE.shape
    masks = []
    for name, mask in (("attn_mask", attn_mask), ("key_padding_mask", key_padding_mask)):
        if mask is not None and mask.dtype != torch.bool and not mask.is_floating_point():
            raise ValueError(f"{name} must be of bool, True to ignore, or of floats to add, got {mask.dtype}")
    if attn_mask is not None:
        if attn_mask.shape not in ((n, m), (batch * heads, n, m)):
            raise ValueError(f"attn_mask must have shape {(n, m)} or {(batch * heads, n, m)}, got {tuple(attn_mask.shape)}")
        masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, (batch, heads)))
    elif is_causal:
        masks.append(torch.ones(n, m, dtype=torch.bool, device=q_BHNE.device).triu(1))
    if key_padding_mask is not None:
        if key_padding_mask.shape != (batch, m):
            raise ValueError(f"key_padding_mask must have shape {(batch, m)}, got {tuple(key_padding_mask.shape)}")
        masks.append(key_padding_mask[:, None, None, :])
    if not masks:
        return None
    return sum(
        torch.zeros_like(mask, dtype=q_BHNE.dtype).masked_fill_(mask, -math.inf)
        if mask.dtype == torch.bool
        else mask.to(q_BHNE.dtype)
        for mask in masks
    )


def wide(tensor: Tensor) -> Tensor:
    """At least float32: half precision cannot hold an angle."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor
