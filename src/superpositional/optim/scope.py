"""Which scalars does the perturbation touch?

Pamuk et al. 2025, eq. (2), speaks of the parameters ``i < n_qubits`` and leaves open what ``i`` counts. The readings:

- ``model``: the first n scalars of the optimizer, its groups and their tensors in the order of construction (literal);
- ``tensor``: the first n scalars of each tensor;
- ``all``: every scalar.

"First" is the logical, row-major order of the unsharded tensor, whatever its memory layout. Read by the optimizer and by
the callback that names the touched scalars in the record.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

SCOPES = ("model", "tensor", "all")


def scalars(tensor: Tensor) -> int:
    """Number of real scalars; a complex number is two of them, as it is for torch's own Adam. A lazy parameter has none."""
    # Torch's compiler cannot look into the question.
    if not torch.compiler.is_compiling() and torch.nn.parameter.is_lazy(tensor):
        return 0
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def scoped(groups: list[dict], group: dict) -> list[tuple[Tensor, int]]:
    """The parameters of ``group`` in scope, each with how many of its leading scalars are.

    ``groups`` are all the optimizer's groups, for ``model`` counts across them. Groups are only ever appended, so one
    added after construction cannot move what was counted before.
    """
    n = group["n_qubits"]
    if group["scope"] == "all":
        return [(parameter, scalars(parameter)) for parameter in group["params"]]
    if group["scope"] == "tensor":
        return [(parameter, min(n, scalars(parameter))) for parameter in group["params"]]
    found = []
    position = 0
    for other in groups:
        for parameter in other["params"]:
            if position >= n:
                return found
            if other is group:
                found.append((parameter, min(n - position, scalars(parameter))))
            position += scalars(parameter)
    return found


def leading(tensor: Tensor, count: int) -> list[Tensor]:
    """Views that together hold the first ``count`` scalars of this process's part of ``tensor``.

    Views, not copies: writing to them writes to the tensor. A strided tensor needs one view per dimension at most; a
    row of one scalar or more than ``count`` scalars, the usual case, needs one.
    """
    # Asked this way because importing DTensor costs 0.8 s, and a tensor of that type means somebody has done it.
    if hasattr(tensor, "placements"):
        tensor, count = _local(tensor, count)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return list(_leading(tensor, count))


def describe(name: str, shape: Sequence[int], count: int) -> str:
    """The first ``count`` scalars of a tensor in NumPy's notation: ``embedding.weight[0,0:4]``, blocks joined by +."""
    if count >= math.prod(shape):
        return name
    prefix, blocks = [], []
    for dim in range(len(shape)):
        whole, count = divmod(count, math.prod(shape[dim + 1 :]))
        if whole:
            blocks.append(",".join([*prefix, f"0:{whole}"]))
        if not count:
            break
        prefix.append(str(whole))
    return name + "+".join(f"[{block}]" for block in blocks)


def _leading(tensor: Tensor, count: int) -> Iterator[Tensor]:
    if count >= tensor.numel():
        if tensor.numel():
            yield tensor
    elif count > 0:
        inner = tensor[0].numel()
        rows, rest = divmod(count, inner)
        if rows:
            yield tensor[:rows]
        yield from _leading(tensor[rows], rest)


def _local(tensor: Tensor, count: int) -> tuple[Tensor, int]:
    """This rank's part of a sharded tensor and how many of the first ``count`` scalars lie in it.

    FSDP2 shards rows (dimension 0), so a rank's part of the leading scalars is the head of its own part.
    """
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    if any(placement != Shard(0) and placement != Replicate() for placement in tensor.placements):
        raise ValueError(
            f"quantum_weight needs parameters that are replicated or sharded by rows, got placements "
            f"{tensor.placements}; shard dimension 0 (FSDP2's default) or set quantum_weight=0"
        )
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    before = offset[0] * math.prod(tensor.shape[1:]) * (2 if tensor.is_complex() else 1) if offset else 0
    return tensor.to_local(), max(0, count - before)
