"""The quantum term within one step, and the scalars that it touches.

Pamuk et al. 2025, eq. (2), speaks of the parameters ``i < n_qubits`` and leaves open what ``i`` counts. The readings:

- ``model``: the first n scalars of the optimizer, its groups and their tensors in the order of construction (literal);
- ``tensor``: the first n scalars of each tensor;
- ``all``: every scalar.

"First" is the logical, row-major order of the unsharded tensor, whatever its memory layout.
"""

import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from superpositional.optim.circuit_perturbation import CircuitPerturbation, perturbation_from
from superpositional.optim.perturbations import Called

SCOPES = ("model", "tensor", "all")


def scalars(tensor: Tensor) -> int:
    """Number of real scalars; a complex number is two of them, as it is for torch's own Adam. A lazy parameter has none."""
    # Torch's compiler cannot look into is_lazy.
    if not torch.compiler.is_compiling() and torch.nn.parameter.is_lazy(tensor):
        return 0
    return tensor.numel() * (2 if tensor.is_complex() else 1)


def scoped(groups: list[dict], group: dict) -> list[tuple[Tensor, int]]:
    """The parameters of ``group`` in scope, each with how many of its leading scalars are; ``model`` counts across
    ``groups``, which are only ever appended to."""
    n = group["n_qubits"]
    if group["scope"] != "model":
        sizes = ((parameter, scalars(parameter)) for parameter in group["params"])
        return [(parameter, size if group["scope"] == "all" else min(n, size)) for parameter, size in sizes]
    found, position = [], 0
    for other in groups:
        for parameter in other["params"]:
            if position >= n:
                return found
            if other is group:
                found.append((parameter, min(n - position, scalars(parameter))))
            position += scalars(parameter)
    return found


def leading(tensor: Tensor, count: int) -> list[Tensor]:
    """Views that together hold the first ``count`` scalars of this process's part of ``tensor``; usually one."""
    # Importing DTensor to ask for the type costs 0.8 s.
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
    """This rank's part of a tensor that is sharded by rows, and how many of the first ``count`` scalars lead it."""
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


class Term:
    """One group's ``quantum_weight * Q`` (eqs. 1 and 2) within one step.

    It reads the weights before any of them moves, enters the gradients or the update, and returns what it did in numbers.

    Args:
        state: the optimizer's.
        scope: the group's parameters in scope, with how many of their leading scalars are (``scoped``).
        index: the group's place among the optimizer's.
        steps: how many were taken before.
    """

    def __init__(
        self, group: dict[str, Any], state: Mapping[Tensor, Any], scope: list[tuple[Tensor, int]], index: int, steps: int
    ) -> None:
        # Lists of views of the scalars in scope, this rank's part; all lists are aligned.
        self.group, self.state = group, state
        self.touched = [(parameter, n) for parameter, n in scope if parameter.grad is not None]
        self.sampled = steps % group["stats_every"] == 0
        perturbation = perturbation_from(group["perturbation"])
        self.call, self.called = (steps, index), perturbation if isinstance(perturbation, Called) else None
        # A weight without a gradient is still part of its register.
        read = self.touched if self.called or inspect.isfunction(perturbation) else scope
        views = [leading(parameter, n) for parameter, n in read]
        wanted = [parameter.grad is not None for (parameter, _), each in zip(read, views, strict=True) for _ in each]
        blocks = in_blocks(group, views)
        # Half precision cannot hold an angle. The weights are read here, before any of them moves.
        exact = [[view.float() if view.dtype.itemsize < 4 else view for view in block] for block in blocks]
        self.thetas = list(itertools.compress(itertools.chain(*views), wanted))
        if self.called:
            self.before = [theta.clone() for block in exact for theta in block]
        else:
            self.modulation = list(itertools.compress(perturbation(exact, self.call), wanted))
        self.grads = [view for parameter, n in self.touched for view in leading(parameter.grad, n)]
        sizes = [sum(view.numel() for view in block) for block in blocks]
        self.circuits = perturbation.registers(sizes) if isinstance(perturbation, CircuitPerturbation) else None

    def weighted(self) -> list[Tensor]:
        """``quantum_weight * Q``, of the gradients as they stand."""
        if self.called:
            quantities = self.called.terms(self.before, self.grads, self.call)
        else:
            quantities = torch._foreach_mul(self.modulation, self.grads)
        weight = as_scalar(self.group["quantum_weight"])
        weighted = list(torch._foreach_mul(quantities, weight))
        # As for a float 0: the term is absent, not multiplied by 0.
        return [torch.where(weight == 0, 0.0, term) for term in weighted] if isinstance(weight, Tensor) else weighted

    def enter_moments(self) -> None:
        if self.group["inject"] == "moments":
            self.found = [grad.clone() for grad in self.grads]
            self.extra = self.weighted()
            self.changed = _subtract(self.grads, torch._foreach_neg(self.extra))

    def leave_moments(self, scale: Tensor | None, overflow: Tensor | None) -> None:
        """Leave the gradients as torch's own step would have: as found, or unscaled by a fused step."""
        if self.group["inject"] == "moments":
            if scale is not None:
                divisor = torch.where(overflow.reshape(()) == 0, scale.reshape(()), 1.0)
                self.found = [found / divisor for found in self.found]
                self.extra = [extra / divisor for extra in self.extra]
            for grad, found in zip(self.grads, self.found, strict=True):
                grad.copy_(found)

    def enter_update(self, overflow: Tensor | None) -> dict[str, int | Tensor]:
        """Subtract ``lr * quantum_weight * Q`` from the weights, where the term goes there; returns the statistics."""
        group = self.group
        if group["inject"] == "update":
            self.extra = self.weighted()
            if group["maximize"]:
                torch._foreach_neg_(self.extra)
            deltas = torch._foreach_mul(self.extra, as_scalar(group["lr"]))
            if overflow is not None:
                deltas = [torch.where(overflow.reshape(()) == 0, delta, 0.0) for delta in deltas]
            comparison = self.compare(torch._foreach_neg(deltas)) if self.sampled else {}
            self.changed = _subtract(self.thetas, deltas)
        else:
            comparison = self.compare(self.extra) if self.sampled else {}
        return {
            "touched": sum(theta.numel() for theta in self.thetas),
            "nonzero_gradient": _total([torch.count_nonzero(grad) for grad in self.grads]),
            "changed": self.changed,
            "perturbation_norm": _norm_of(torch._foreach_norm(self.extra)),
            **({} if self.circuits is None else {"circuits": self.circuits}),
            **comparison,
        }

    def compare(self, term: Sequence[Tensor]) -> dict[str, Tensor]:
        """The whole AdamW step's norm; ratio and cosine of the term to that step, or to the gradient for moments."""
        counts = {id(parameter): sum(view.numel() for view in leading(parameter, n)) for parameter, n in self.touched}
        parts = iter(term)
        step_norms, norms, products = [], [], []
        for parameter, displacement in _displacements(self.group, self.state):
            if not displacement:  # a tensor, or this rank's part of one, without scalars
                continue
            step_norms += torch._foreach_norm(displacement)
            against = displacement if self.group["inject"] == "update" else whole(parameter.grad)
            norms += torch._foreach_norm(against)
            for each in against:
                for view in leading(each, counts.get(id(parameter), 0)):
                    products.append((view * next(parts)).sum())
        size, inject = _norm_of(torch._foreach_norm(term)), self.group["inject"]
        return {"step_norm": _norm_of(step_norms), **compared(inject, _norm_of(norms), size, _total(products))}


def compared(inject: str, norm: Tensor, size: Tensor, product: Tensor) -> dict[str, Tensor]:
    """The term against what it is added to, from their norms and their product; for ``update`` that is the whole step."""
    ratio, cosine = size / norm, product / (size * norm)
    if inject != "update":
        return {"ratio": ratio, "cosine": cosine}
    # The whole step in units of AdamW's: along it 1 + ratio cos, across it ratio sin.
    along, across = 1 + ratio * cosine, ratio * (1 - cosine.square()).clamp(min=0).sqrt()
    share, angle = ratio / torch.hypot(along, across), torch.atan2(across, along).rad2deg()
    found = {"step_norm": norm, "ratio": ratio, "cosine": cosine, "share": share, "angle": angle}
    return {name: value.float() for name, value in found.items()}


def _displacements(group: dict[str, Any], states: Mapping[Tensor, Any]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """AdamW's own step of each parameter of a group, weight decay included, a tensor at a time.

    Worked out from the state after the step: keeping the weights from before it would cost a copy of the model.
    """
    (beta1, beta2), lr, decay = group["betas"], as_scalar(group["lr"]), group["weight_decay"]
    for parameter in group["params"]:
        if parameter.grad is None:
            continue
        state = states[parameter]
        second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        step = state["step"] if group["bias_correction"] else torch.full_like(state["step"], math.inf)
        displacements = []
        for theta, m, v in zip(whole(parameter), whole(state["exp_avg"]), whole(second), strict=True):
            denominator = v.sqrt() / _one_minus_power(beta2, step).sqrt() + group["eps"]
            adam = lr * (m / _one_minus_power(beta1, step)) / denominator
            before = (theta + adam) / (1 - lr * decay)
            displacements.append(-adam - lr * decay * before)
        yield parameter, displacements


def _one_minus_power(beta: float, step: Tensor) -> Tensor:
    """``1 - beta ** step`` with every digit: the step count is float32, and 1 - 0.999 in it is off by 6e-5."""
    return -torch.expm1(step * (math.log(beta) if beta > 0 else -math.inf))


def in_blocks(group: dict[str, Any], views: list[list[Tensor]]) -> list[list[Tensor]]:
    """The views of each parameter in scope, put into the blocks that registers run through: the group, or each tensor."""
    blocks = views if group["scope"] == "tensor" else [list(itertools.chain(*views))]
    return [block for block in blocks if block]


def as_scalar(value: float | Tensor) -> float | Tensor:
    """A setting of a group, whose tensors may have any shape of one element."""
    return value.reshape(()) if isinstance(value, Tensor) else value


def whole(tensor: Tensor) -> list[Tensor]:
    """All real scalars of this rank's part of a tensor, as one view (none where the part is empty)."""
    return leading(tensor, scalars(tensor))


def _total(values: Sequence[Tensor]) -> Tensor:
    """A sum of 0-dim tensors; a group may live on several devices."""
    return torch.stack([value.to(values[0].device) for value in values]).sum()


def _norm_of(norms: Sequence[Tensor]) -> Tensor:
    """The norm of tensors whose norms these are."""
    return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms]))


def _subtract(targets: list[Tensor], deltas: Sequence[Tensor]) -> Tensor:
    """``target -= delta`` in place; returns how many scalars changed in floating point."""
    changed = []
    for target, delta in zip(targets, deltas, strict=True):
        before = target.clone()
        target.sub_(delta)
        changed.append(torch.count_nonzero(target != before))
    return _total(changed)
