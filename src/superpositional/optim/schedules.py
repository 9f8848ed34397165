"""Schedules of ``quantum_weight`` and of the learning rate.

torch's schedulers drive ``lr`` alone; ``QuantumWeightScheduler`` drives ``group["quantum_weight"]`` as LambdaLR drives lr.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from superpositional.places import not_integers


class QuantumWeightScheduler(LRScheduler):
    """``quantum_weight = initial * multiplier(step)`` for every group that has one.

    A scheduler as Lightning and others take it, beside one of ``lr``. torch's constructor, which would write ``initial_lr``
    into groups and wrap the optimizer's step, is not called.

    Args:
        optimizer: a ``SuperpositionalAdamW``, whose groups' ``quantum_weight`` are the initial values. Tensor weights are
            filled in place, so compiled and captured steps see it.
        multiplier: from the number of calls of ``step`` so far to a factor >= 0.
    """

    def __init__(self, optimizer: Optimizer, multiplier: Callable[[int], float]) -> None:
        self.optimizer, self.multiplier = optimizer, multiplier
        self.groups = [group for group in optimizer.param_groups if "quantum_weight" in group]
        if not self.groups:
            raise ValueError(
                f"QuantumWeightScheduler needs an optimizer with a quantum_weight, got {type(optimizer).__name__}; "
                f"choose SuperpositionalAdamW or drop the schedule"
            )
        self.initial = [float(group["quantum_weight"]) for group in self.groups]
        self.last_step = 0
        self._set()

    @property
    def last_epoch(self) -> int:
        """``last_step`` under torch's name."""
        return self.last_step

    def get_last_lr(self) -> list[Any]:
        """The groups' learning rates, which this scheduler leaves alone."""
        return [group["lr"] for group in self.optimizer.param_groups]

    get_lr = get_last_lr

    def step(self, epoch: None = None) -> None:
        """Set the weights for the next optimizer step; call it after each ``optimizer.step()``."""
        self.last_step += 1
        self._set()

    def get_last_weight(self) -> list[float]:
        """The weights now in force, one per group."""
        return [float(group["quantum_weight"]) for group in self.groups]

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers; the multiplier is code and is not saved."""
        return {"last_step": self.last_step, "initial": self.initial}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a saved scheduler was."""
        self.last_step, self.initial = state["last_step"], list(state["initial"])
        self._set()

    @torch.no_grad()
    def _set(self) -> None:
        factor = self.multiplier(self.last_step)
        if not factor >= 0:
            raise ValueError(f"multiplier must return a number >= 0, got {factor} at step {self.last_step}")
        for group, initial in zip(self.groups, self.initial, strict=True):
            if isinstance(group["quantum_weight"], Tensor):
                group["quantum_weight"].fill_(initial * factor)
            else:
                group["quantum_weight"] = initial * factor


class WarmupDecay:
    """Linear from 0 to 1 over ``warmup_steps``, then linearly to 0 at ``total_steps``, if given.

    A multiplier for ``QuantumWeightScheduler`` and for torch's LambdaLR alike (Pamuk et al. 2025, Table III: 500 warm-up
    steps, then linear decay to 0).
    """

    def __init__(self, warmup_steps: int = 0, total_steps: int | None = None) -> None:
        if warmup_steps < 0 or (total_steps is not None and total_steps <= warmup_steps):
            raise ValueError(
                f"warmup_steps must be >= 0 and below total_steps, got {warmup_steps} and {total_steps}; "
                f"the paper warms up for 500"
            )
        self.warmup_steps, self.total_steps = warmup_steps, total_steps

    def __call__(self, step: int) -> float:
        """The factor after ``step`` steps."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        return max(0.0, (self.total_steps - step) / (self.total_steps - self.warmup_steps))


class WarmupShare:
    """``WarmupDecay`` over a run of any length: warm-up of ``most`` steps or this share of the run, whichever is less.

    Tasks tell it the run's length (``over``): runs shorter than the paper's would never leave a warm-up of 500 steps.
    """

    def __init__(self, share: float = 0.1, most: int = 500) -> None:
        if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 <= share < 1:
            raise ValueError(f"share must be in [0, 1), got {share!r}; 0.1 warms up for a tenth of the run")
        if mistakes := not_integers({"most": (most, 0, "the paper warms up for 500 steps")}):
            raise ValueError(*mistakes)
        self.share, self.most = share, most

    def over(self, total_steps: int | float) -> WarmupDecay:
        """The multiplier of a run of this many steps."""
        if not math.isfinite(total_steps):
            raise ValueError(f"the run must have a known length, got {total_steps} steps; set trainer.max_steps")
        return WarmupDecay(min(self.most, int(self.share * total_steps)), int(total_steps))

    def __call__(self, step: int) -> float:
        raise TypeError("WarmupShare must be told the run's length first; call over(total_steps)")
