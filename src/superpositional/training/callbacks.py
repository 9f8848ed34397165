"""What happened during training?

Callbacks that measure and never steer: the curves of a run, and the numbers of the quantum term (Pamuk et al. 2025, eq. 2).
All go through Lightning's loggers, so the record on disk and W&B see the same. A step costs what it must: values stay
tensors on their device and are read once per interval. Read by train; a callback's ``summary`` goes to the record.
"""

import itertools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from superpositional.optim.term import describe, scoped
from superpositional.optim.tracer import Tracer
from superpositional.training.curves import interval, log

Curve = tuple[np.ndarray, np.ndarray]


def scaler_of(trainer: Trainer) -> Any:
    """Its GradScaler, of float16's; None without one."""
    return getattr(trainer.precision_plugin, "scaler", None)


def meets_scaled_gradients(trainer: Trainer, optimizer: Optimizer) -> bool:
    """Whether gradients are still scaled before the optimizer's step: those that unscale for themselves, fused ones."""
    return scaler_of(trainer) is not None and getattr(optimizer, "_step_supports_amp_scaling", False)


class GradientNorm(Callback):
    """Logs ``gradient/norm`` per interval: the Euclidean norm of all of a step's gradient, before clipping.

    Args:
        every_n_steps: how often; the norm is read from the device.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = interval(every_n_steps)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step + 1
        if step % self.every_n_steps and not trainer.is_last_batch:
            return
        gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
        if not gradients:
            return
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        scaler = scaler_of(trainer)
        if meets_scaled_gradients(trainer, optimizer):
            norm /= scaler.get_scale()
        # Not a number where float16 overflowed: GradScaler leaves that step out, and so does the curve.
        if math.isfinite(norm) or scaler is None:
            log(trainer, {step: {"gradient/norm": norm}}, check=False)


class PerturbationStatistics(Callback):
    """The numbers that ``SuperpositionalAdamW`` keeps in ``statistics``; silent for an optimizer without them.

    Logs ``perturbation/{norm,touched,nonzero_gradient,changed}`` per interval and
    ``perturbation/{step_norm,ratio,cosine,share,angle}`` whenever the optimizer has measured them; with a suffix
    ``/group<i>`` where several groups have the term. Summary: in how many steps the term met a gradient, and changed a
    number; how many scalars it was applied to and how many came out other in floating point, over all steps; the means of
    the rest but the norm over the measured steps. ``notes`` names the touched scalars.

    Args:
        every_n_steps: how often the numbers are read from the device.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = interval(every_n_steps)
        self.taken = self.told = 0
        self.steps = 0
        self.with_gradient: Tensor | int = 0
        self.with_change: Tensor | int = 0
        self.scalars_changed: Tensor | int = 0
        self.scalars_touched = 0
        self.measured: dict[str, list[float]] = {}
        self.touched: list[str] = []
        self.counts: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.taken = self.told = 0
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._count)
        # A resumed run samples the steps that it would have, those counted that a device left out because of an overflow.
        kept = [each for optimizer in trainer.optimizers for each in _statistics(optimizer)]
        for statistics, count in zip(kept, self.counts, strict=False):  # none at first
            statistics["step"] = count

    def _count(self, *_: Any) -> None:
        self.taken += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A batch that only accumulates gradients, or whose step GradScaler leaves out, leaves the numbers as they were.
        if self.taken == self.told:
            return
        self.told = self.taken
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        kept = [each for optimizer in trainer.optimizers for each in _statistics(optimizer)]
        on = [_is_on(group.get("quantum_weight", 0)) for group in groups]
        wanted = list(itertools.compress(groups, on))
        if not wanted:
            return
        self.steps += 1
        self.counts = [each.get("step", 0) for each in kept]
        if not self.touched:
            self.touched = _names(groups, wanted, pl_module)
        present = {index: each for index, each in enumerate(itertools.compress(kept, on)) if "changed" in each}
        if not present:
            return
        self.with_gradient = self.with_gradient + sum(each["nonzero_gradient"] for each in present.values()).sign()
        changed = sum(each["changed"] for each in present.values())
        self.with_change = self.with_change + changed.sign()
        self.scalars_changed = self.scalars_changed + changed
        self.scalars_touched += sum(each["touched"] for each in present.values())
        due = self.steps % self.every_n_steps == 0 or trainer.is_last_batch
        metrics = {}
        for index, statistics in present.items():
            suffix = f"/group{index}" if len(wanted) > 1 else ""
            if due:
                metrics[f"perturbation/norm{suffix}"] = float(statistics["perturbation_norm"])
                for key in ("touched", "nonzero_gradient", "changed"):
                    metrics[f"perturbation/{key}{suffix}"] = float(statistics[key])
            for key in [key for key in ("step_norm", "ratio", "cosine", "share", "angle") if key in statistics]:
                name = f"perturbation/{key}{suffix}"
                metrics[name] = float(statistics[key])
                if key != "step_norm":
                    self.measured.setdefault(name, []).append(metrics[name])
        if metrics:
            log(trainer, {trainer.global_step: metrics}, check=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Of sharded weights each process has counted its own part; of whole ones all have counted the same.
        if any(hasattr(parameter, "placements") for parameter in pl_module.parameters()):
            counts = torch.tensor([float(self.scalars_touched), float(self.scalars_changed)], dtype=torch.float64)
            counts = trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").tolist()
            self.scalars_touched, self.scalars_changed = (round(count) for count in counts)

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
        """Empty for an optimizer without the term."""
        if not self.steps:
            return {}
        if not int(self.with_gradient):
            warnings.warn(
                f"the quantum term never met a gradient: {', '.join(self.touched)} had none in {self.steps} steps, "
                f"so this run is AdamW; choose optimizer.scope=tensor or all",
                stacklevel=2,
            )
        # A term of exactly 0 has no direction, so some measured cosines are not numbers.
        finite = {name: [value for value in values if math.isfinite(value)] for name, values in self.measured.items()}
        return {
            "perturbation/steps": self.steps,
            "perturbation/steps_with_gradient": int(self.with_gradient),
            "perturbation/steps_with_change": int(self.with_change),
            "perturbation/scalars_touched": self.scalars_touched,
            "perturbation/scalars_changed": int(self.scalars_changed),
            **{name: float(np.mean(values)) for name, values in finite.items() if values},
        }

    def notes(self) -> dict[str, Any]:
        """``touched``: the scalars in scope, in NumPy's notation."""
        return {"touched": self.touched} if self.touched else {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "with_gradient": int(self.with_gradient),
            "with_change": int(self.with_change),
            "scalars_changed": int(self.scalars_changed),
            "scalars_touched": self.scalars_touched,
            "measured": self.measured,
            "touched": self.touched,
            "counts": self.counts,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


class UpdateTracer(Callback):
    """What AdamW alone would have done at sampled steps (``tracer.Tracer``), for optimizers with Adam's state.

    Logs ``tracer/share``, ``tracer/angle`` (degrees), ``tracer/changed`` and ``tracer/touched``; summary: their means
    over the traced steps in which AdamW alone would have moved.
    Costs a copy of the model at the sampled steps.

    Args:
        every_n_steps: steps from one sampled step to the next; the first is one.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = interval(every_n_steps)
        self.found: dict[str, list[float]] = {}
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tracer = Tracer(trainer.optimizers[0], every=self.every_n_steps).__enter__()
        # A resumed run samples the steps that it would have.
        self.tracer.steps = self.steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for trace in self.tracer.traces:
            metrics = trace.metrics()
            # Where AdamW alone would not have moved, at a rate of 0, whatever moves is the whole of the update.
            for name, value in metrics.items() if "angle" in metrics else ():
                self.found.setdefault(name, []).append(value)
            log(trainer, {trainer.global_step: {f"tracer/{name}": value for name, value in metrics.items()}}, check=False)
        self.tracer.traces.clear()
        self.steps = self.tracer.steps

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and hasattr(self, "tracer"):
            self.tracer.__exit__()

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
        """Empty where nothing was sampled."""
        return {f"tracer/{name}": float(np.mean(values)) for name, values in self.found.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


def _statistics(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The optimizer's numbers of the last step, a dictionary per group, which is empty without any."""
    return getattr(optimizer, "statistics", None) or [{} for _ in optimizer.param_groups]


def _is_on(quantum_weight: float | Tensor) -> bool:
    """Whether the term is there; a tensor weight is not read, which would wait for the device."""
    return isinstance(quantum_weight, Tensor) or quantum_weight != 0


def _names(groups: list[dict[str, Any]], wanted: list[dict[str, Any]], pl_module: LightningModule) -> list[str]:
    names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
    return [
        # A complex number is two scalars.
        describe(names[id(parameter)], (*parameter.shape, 2) if parameter.is_complex() else tuple(parameter.shape), count)
        for group in wanted
        for parameter, count in scoped(groups, group)
    ]
