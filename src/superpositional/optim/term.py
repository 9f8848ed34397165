"""The quantum term within one step.

``Term`` is one group's ``quantum_weight * Q`` (Pamuk et al. 2025, eqs. 1 and 2): it reads the weights before any of them
moves, goes into the gradients or the update, and leaves the numbers that tell what it did.
"""

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from superpositional.optim.circuit_perturbation import CircuitPerturbation, perturbation_from
from superpositional.optim.perturbations import Called
from superpositional.optim.scope import leading, scalars


class Term:
    """One group's ``quantum_weight * Q`` within one step.

    Lists of views of the scalars in scope, this rank's part; all lists are aligned.
    """

    def __init__(self, group: dict[str, Any], scope: list[tuple[Tensor, int]], index: int, steps: int) -> None:
        """``scope``: the group's parameters in scope, with how many of their leading scalars are (``scope.scoped``).
        ``index``: the group's place among the optimizer's. ``steps``: how many were taken before."""
        self.group = group
        self.touched = [(parameter, n) for parameter, n in scope if parameter.grad is not None]
        self.sampled = steps % group["stats_every"] == 0
        perturbation = perturbation_from(group["perturbation"])
        self.call, self.called = (steps, index), perturbation if isinstance(perturbation, Called) else None
        # A weight without a gradient is still part of its register, and lends its angle; the sine need not hear of it.
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
        weight = as_scalar(self.group["quantum_weight"])
        if self.called:
            quantities = self.called.terms(self.before, self.grads, self.call)
        else:
            quantities = torch._foreach_mul(self.modulation, self.grads)
        weighted = torch._foreach_mul(quantities, weight)
        if isinstance(weight, Tensor):
            # As for a float 0: the term is absent, not multiplied by 0.
            return [torch.where(weight == 0, 0.0, term) for term in weighted]
        return list(weighted)

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

    def enter_update(
        self, overflow: Tensor | None, displacements: Iterator[tuple[Tensor, list[Tensor]]]
    ) -> dict[str, int | Tensor]:
        """Subtract ``lr * quantum_weight * Q`` from the weights, where the term goes there; returns the statistics.

        ``displacements``: AdamW's own step of each parameter, worked out as it is asked for: on sampled steps."""
        group = self.group
        if group["inject"] == "update":
            self.extra = self.weighted()
            if group["maximize"]:
                torch._foreach_neg_(self.extra)
            deltas = torch._foreach_mul(self.extra, as_scalar(group["lr"]))
            if overflow is not None:
                deltas = [torch.where(overflow.reshape(()) == 0, delta, 0.0) for delta in deltas]
            comparison = self.compare(displacements, torch._foreach_neg(deltas)) if self.sampled else {}
            self.changed = _subtract(self.thetas, deltas)
        else:
            comparison = self.compare(displacements, self.extra) if self.sampled else {}
        return {
            "touched": sum(theta.numel() for theta in self.thetas),
            "nonzero_gradient": _total([torch.count_nonzero(grad) for grad in self.grads]),
            "changed": self.changed,
            "perturbation_norm": _norm_of(torch._foreach_norm(self.extra)),
            **({} if self.circuits is None else {"circuits": self.circuits}),
            **comparison,
        }

    def compare(self, displacements: Iterator[tuple[Tensor, list[Tensor]]], term: list[Tensor]) -> dict[str, int | Tensor]:
        """The whole AdamW step's norm; ratio and cosine of the term to that step, or to the gradient for moments."""
        counts = {id(parameter): sum(view.numel() for view in leading(parameter, n)) for parameter, n in self.touched}
        parts = iter(term)
        step_norms, norms, products = [], [], []
        for parameter, displacement in displacements:
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


def in_blocks(group: dict[str, Any], views: list[list[Tensor]]) -> list[list[Tensor]]:
    """The views of each parameter in scope, put into the blocks that registers run through: the group, or each tensor."""
    blocks = views if group["scope"] == "tensor" else [[view for each in views for view in each]]
    return [block for block in blocks if block]


def as_scalar(value: float | Tensor) -> float | Tensor:
    """A setting of a group, whose tensors may have any shape of one element, as AdamW's lr."""
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
