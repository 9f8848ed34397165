"""A tracer of what an optimizer's step has over AdamW's.

At a sampled step ``Tracer`` keeps the weights, gradients and moments from before it, takes AdamW's own step on the copies
(torch's code, the same settings), and compares what the optimizer really did: the norm of the rest (for Pamuk et al. 2025,
eq. 1, the quantum term) against the update's, how far it turns the update, and how many scalars it changed in floating
point. That costs a copy of the model; ``SuperpositionalAdamW.statistics``, which are held to it, have most of this cheaply.
"""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from superpositional.optim.fused import OnePass
from superpositional.optim.optimizer import SuperpositionalAdamW
from superpositional.places import not_integers

MOMENTS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
# What changes the numbers of an Adam step; a group that lacks one has torch's default.
SETTINGS = ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "foreach", "capturable", "fused")


@dataclass(frozen=True)
class Trace:
    """One sampled step.

    Attributes:
        step: how many steps were taken with it, from 1.
        share: norm of (update - AdamW's update) over the norm of the update; NaN where nothing moved.
        angle: degrees between the update and AdamW's; NaN where either is 0.
        touched: scalars the term was applied to, where the optimizer says so.
        changed: scalars that came out other than AdamW alone would have left them.
        scalars: all that had a gradient.
    """

    step: int
    share: float
    angle: float
    touched: int | None
    changed: int
    scalars: int

    def metrics(self) -> dict[str, float]:
        """What there is of share, angle, changed and touched, for a logger."""
        found = {name: getattr(self, name) for name in ("share", "angle", "changed", "touched")}
        return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


class Tracer:
    """Trace an optimizer while the block lasts::

        with Tracer(optimizer, every=10) as tracer:
            train()
        print(tracer.traces[-1].share)

    Args:
        optimizer: torch's Adam or AdamW, or a subclass: ``SuperpositionalAdamW``, the placebo.
        every: steps from one sampled step to the next; the first is one.

    Raises:
        ValueError: the optimizer is not an Adam, or parameters are sharded.
    """

    def __init__(self, optimizer: Optimizer, *, every: int = 1) -> None:
        if mistakes := not_integers({"every": (every, 1, "1 traces each step")}):
            raise ValueError(*mistakes)
        if not isinstance(optimizer, Adam):
            raise ValueError(
                f"optimizer must be torch's Adam or AdamW to be traced, or a subclass, got {type(optimizer).__name__}"
            )
        for group in optimizer.param_groups:
            if any(hasattr(parameter, "placements") for parameter in group["params"]):
                raise ValueError("parameters must be whole to be traced, got sharded ones; trace on one device")
        self.optimizer, self.every = optimizer, every
        self.steps = 0
        self.traces: list[Trace] = []
        self.before: list[list[tuple[Tensor, Tensor, dict[str, Tensor]]]] = []
        self.hooks: list[Any] = []

    def __enter__(self) -> "Tracer":
        self.hooks = [
            self.optimizer.register_step_pre_hook(self._keep),
            self.optimizer.register_step_post_hook(self._compare),
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks, self.before = [], []

    @torch.no_grad()
    def _keep(self, optimizer: Optimizer, *_: Any) -> None:
        """Copy each parameter and its moments, at sampled steps."""
        if getattr(optimizer, "grad_scale", None) is not None:
            raise ValueError("fused must be false to be traced under GradScaler, got true: it unscales within the step")
        groups = optimizer.param_groups if self.steps % self.every == 0 else ()
        self.before = [
            [(each, each.detach().clone(), _moments(optimizer, each)) for each in group["params"]] for group in groups
        ]
        self.steps += 1

    @torch.no_grad()
    def _compare(self, optimizer: Optimizer, *_: Any) -> None:
        if not self.before:
            return
        changed = scalars = 0
        sums = torch.zeros(4, dtype=torch.float64)
        for group, kept in zip(optimizer.param_groups, self.before, strict=True):
            moved = [each for each in kept if each[0].grad is not None]
            for real, start, alone in _adam_step(optimizer, group, moved) if moved else ():
                after, before, pure = (_numbers(each) for each in (real, start, alone))
                # Not the difference's count: it may be a denormal that is flushed.
                changed += int(torch.count_nonzero(after != pure))
                scalars += after.numel()
                after, before, pure = (each.double() for each in (after, before, pure))
                update, adamw, rest = after - before, pure - before, after - pure
                sums += torch.stack([update @ update, adamw @ adamw, rest @ rest, rest @ adamw]).cpu()
        whole, adamw, rest, product = sums.tolist()
        said = [each["touched"] for each in getattr(optimizer, "statistics", ()) if "touched" in each]
        share = math.sqrt(rest / whole) if whole else math.nan
        angle = _angle(adamw, rest, product) if whole and adamw else math.nan
        self.traces.append(Trace(self.steps, share, angle, sum(said) if said else None, changed, scalars))
        self.before = []


def _moments(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in optimizer.state.get(parameter, {}).items() if name in MOMENTS}


def _adam_step(
    optimizer: Optimizer, group: dict[str, Any], moved: list[tuple[Tensor, Tensor, dict[str, Tensor]]]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """AdamW's step on copies, from the state that was: each parameter as it is now, as it was, as AdamW would have it."""
    copies = [torch.nn.Parameter(start.clone()) for _, start, _ in moved]
    settings = {key: group[key] for key in SETTINGS if key in group}
    ours = isinstance(optimizer, SuperpositionalAdamW) and OnePass.serves(optimizer, group)
    in_one_pass = ours and group["quantum_weight"] != 0
    if in_one_pass:
        # By the same pass: its roundings are not torch's, and what is looked for may be smaller.
        own = {"bias_correction": group["bias_correction"], "scope": "all", "quantum_weight": 0.0}
        alone = SuperpositionalAdamW(copies, **settings, **own)
    elif group.get("bias_correction", True):
        alone = Adam(copies, **settings, decoupled_weight_decay=group.get("decoupled_weight_decay", False))
    else:
        alone = SuperpositionalAdamW(copies, **settings, bias_correction=False, quantum_weight=0.0)
    for copy, (real, _, state) in zip(copies, moved, strict=True):
        # Every Adam leaves the gradient as it found it; before the step a closure had not made it yet.
        copy.grad = real.grad.detach().clone()
        if state:
            alone.state[copy] = state
    if in_one_pass:
        OnePass(alone.param_groups[0], 0).step(alone)
    else:
        # Without torch's hooks: those on all optimizers would count a step that nobody took.
        inspect.unwrap(type(alone).step)(alone)
    return [(real, start, copy) for copy, (real, start, _) in zip(copies, moved, strict=True)]


def _numbers(tensor: Tensor) -> Tensor:
    """Its real scalars in one row."""
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().reshape(-1)


def _angle(adamw: float, rest: float, product: float) -> float:
    """Degrees between AdamW's update p and p + q, from p.p, q.q and q.p: the part of q across p against the part along it.

    An arc cosine of the two updates would lose angles below 1e-6 degrees.
    """
    across = math.sqrt(max(0.0, rest - product**2 / adamw))
    return math.degrees(math.atan2(across, (adamw + product) / math.sqrt(adamw)))
