"""Callbacks that measure a run and never steer it: curves, gradients, the quantum term (Pamuk et al. 2025, eq. 2).

All values go through Lightning's loggers, so the record on disk and W&B hold the same. They stay tensors on their device
and are read once per interval. A callback's ``summary`` and ``notes`` go to the record.
"""

import functools
import itertools
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.optim import Optimizer

from superpositional import records
from superpositional.optim.term import describe, scoped
from superpositional.optim.tracer import Tracer

Curve = tuple[np.ndarray, np.ndarray]


class Diverged(RuntimeError):
    """A logged value is not finite: the run ends here, as ``diverged``, with all it measured."""


def integer(name: str, value: Any, least: int = 1, cure: str = "50 costs next to nothing") -> int:
    """Return a setting once it is known to be an integer and at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}; {cure}")
    return value


def log(trainer: Trainer, rows: Mapping[int, Mapping[str, float]], *, check: bool = True) -> None:
    """Give rows of ``{step: {metric: value}}`` to every logger, then see that all is finite.

    Raises:
        Diverged: a value is not finite, unless ``check`` is False.
    """
    for logger in trainer.loggers:
        for step, metrics in rows.items():
            logger.log_metrics(dict(metrics), step=step)
        logger.save()
    for step, metrics in rows.items() if check else ():
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {step}")


class RecordLogger(Logger):
    """Lightning's way into ``curves.csv``. ``step`` is the number of optimizer steps done."""

    name, version = "record", ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[tuple[int, str, float]] = []

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved config lies in ``config.yaml``."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            raise ValueError(f"a curve needs a step, got none for {', '.join(metrics)}")
        # Lightning adds the epoch to what a module logs itself; it follows from the step.
        self.rows += [(step, name, float(value)) for name, value in metrics.items() if name != "epoch"]

    def save(self) -> None:
        records.append_curves(self.path, self.rows)
        self.rows = []

    def finalize(self, status: str) -> None:
        self.save()


class Kept(Callback):
    """A callback whose attributes in ``KEPT`` go through checkpoints; counts kept on a device are read then."""

    KEPT: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in self.KEPT}
        return {name: int(value) if isinstance(value, Tensor) else value for name, value in kept.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


class Curves(Kept):
    """Hands every scalar to the loggers: each step's loss per interval, ``val/`` and ``test/`` metrics after evaluations.

    A task logs those two with ``logger=False``: Lightning would put them at one step less than were done.

    Args:
        every_n_steps: how often losses are read from the device, and checked.

    Raises:
        Diverged: at the end of the interval, or after the evaluation, in which a value was not finite.
    """

    KEPT = ("taken",)

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)
        self.losses: list[tuple[int, Tensor]] = []
        self.step = self.taken = 0
        self.skipped: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # GradScaler leaves out steps whose gradients hold an inf; Lightning counts them all the same.
        trainer.optimizers[0].register_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.taken += 1

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Also where a resumed run had nothing left to train.
        self.skipped = trainer.global_step - self.taken

    def notes(self) -> dict[str, Any]:
        """``skipped_steps``: those that GradScaler left out, once training has ended."""
        if self.skipped:
            warnings.warn(f"GradScaler left out {self.skipped} of the steps, whose gradients held an inf", stacklevel=2)
        return {} if self.skipped is None else {"skipped_steps": self.skipped}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # The step this batch is part of, also if it only accumulates gradients towards it.
        self.step = trainer.global_step + 1
        # Of this step; after it, its scheduler has set the next one's.
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        # A step without a loss skips its batch, or optimizes by itself.
        if isinstance(outputs, Mapping) and outputs.get("loss") is not None:
            self.losses.append((self.step, outputs["loss"].detach()))
        if len(self.losses) >= self.every_n_steps or trainer.is_last_batch:
            self._flush(trainer)

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        # What the other processes measured cannot be asked for any more.
        if trainer.world_size == 1:
            self._flush(trainer, check=False)

    def _evaluated(self, prefix: str, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
            log(trainer, {trainer.global_step: metrics})

    on_validation_end = functools.partialmethod(_evaluated, "val/")
    on_test_end = functools.partialmethod(_evaluated, "test/")

    def _flush(self, trainer: Trainer, *_: Any, check: bool = True) -> None:
        if not self.losses:
            return
        # Of several processes the mean: each has its part of the batch.
        values = trainer.strategy.reduce(torch.stack([loss for _, loss in self.losses]), reduce_op="mean").tolist()
        # Batches whose gradients are accumulated share a step: its loss is their mean, which is the sum of what Lightning
        # hands over, divided by their number.
        rows: dict[int, dict[str, float]] = {}
        for (step, _), value in zip(self.losses, values, strict=True):
            row = rows.setdefault(step, {"train/loss": 0.0})
            row["train/loss"] += value
        self.losses = []
        rows[step]["train/lr"] = float(self.lr)
        log(trainer, rows, check=check)

    on_save_checkpoint = _flush  # a run that is resumed from there finds its curves whole up to there


def scaler_of(trainer: Trainer) -> Any:
    """Return the trainer's GradScaler, of float16's; None without one."""
    return getattr(trainer.precision_plugin, "scaler", None)


def meets_scaled_gradients(trainer: Trainer, optimizer: Optimizer) -> bool:
    """Return whether the optimizer, a fused one, unscales the gradients itself, so that they are scaled before its step."""
    return scaler_of(trainer) is not None and getattr(optimizer, "_step_supports_amp_scaling", False)


class GradientNorm(Callback):
    """Logs ``gradient/norm`` per interval: the Euclidean norm of all of a step's gradient, before clipping.

    Args:
        every_n_steps: how often; the norm is read from the device.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)

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


class PerturbationStatistics(Kept):
    """The numbers that ``SuperpositionalAdamW`` keeps in ``statistics``; silent for an optimizer without them.

    Logs ``perturbation/{norm,touched,nonzero_gradient,changed}`` per interval and
    ``perturbation/{step_norm,ratio,cosine,share,angle}`` whenever the optimizer has measured them; with a suffix
    ``/group<i>`` where several groups have the term. Summary: in how many steps the term met a gradient, and changed a
    number; how many scalars it was applied to and how many came out different in floating point, over all steps; the means
    of the last four over the measured steps. ``notes``: ``touched``, the scalars in scope, in NumPy's notation.

    Args:
        every_n_steps: how often the numbers are read from the device.
    """

    KEPT = ("steps", "with_gradient", "with_change", "scalars_changed", "scalars_touched", "measured", "touched", "counts")

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)
        self.taken = self.told = self.steps = self.scalars_touched = 0
        # Tensors once there is a step.
        self.with_gradient = self.with_change = self.scalars_changed = 0
        self.measured: dict[str, list[float]] = {}
        self.touched: list[str] = []
        self.counts: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.taken = self.told = 0
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._count)
        # A resumed run samples the steps that it would have; a GPU counts none that it left out because of an overflow.
        for statistics, count in zip(_statistics(trainer), self.counts, strict=False):  # none at first
            statistics["step"] = count

    def _count(self, *_: Any) -> None:
        self.taken += 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # A batch that only accumulates gradients, or whose step GradScaler leaves out, leaves the numbers as they were.
        if self.taken == self.told:
            return
        self.told = self.taken
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        kept = _statistics(trainer)
        # A weight that is a tensor is not read, which would wait for the device.
        weights = [group.get("quantum_weight", 0) for group in groups]
        on = [isinstance(weight, Tensor) or weight != 0 for weight in weights]
        wanted = list(itertools.compress(groups, on))
        if not wanted:
            return
        self.steps += 1
        self.counts = [each.get("step", 0) for each in kept]
        self.touched = self.touched or _names(groups, wanted, pl_module)
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
        return {"touched": self.touched} if self.touched else {}


class UpdateTracer(Kept):
    """What AdamW alone would have done at sampled steps (``tracer.Tracer``), for optimizers with Adam's state.

    Logs ``tracer/share``, ``tracer/angle`` (degrees), ``tracer/changed`` and ``tracer/touched``; summary: their means
    over the traced steps in which AdamW alone would have moved. Costs a copy of the model at the sampled steps.

    Args:
        every_n_steps: steps from one sampled step to the next; the first is one.
    """

    KEPT = ("found", "steps")

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)
        self.found: dict[str, list[float]] = {}
        self.steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tracer = Tracer(trainer.optimizers[0], every=self.every_n_steps).__enter__()
        # A resumed run samples the steps that it would have.
        self.tracer.steps = self.steps

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
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
        return {f"tracer/{name}": float(np.mean(values)) for name, values in self.found.items()}


def _statistics(trainer: Trainer) -> list[dict[str, Any]]:
    """The optimizers' numbers of the last step, a dictionary per group, which is empty without any."""
    found = [getattr(each, "statistics", None) or [{} for _ in each.param_groups] for each in trainer.optimizers]
    return list(itertools.chain(*found))


def _names(groups: list[dict[str, Any]], wanted: list[dict[str, Any]], pl_module: LightningModule) -> list[str]:
    names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
    return [
        # A complex number is two scalars.
        describe(names[id(parameter)], (*parameter.shape, 2) if parameter.is_complex() else tuple(parameter.shape), count)
        for group in wanted
        for parameter, count in scoped(groups, group)
    ]
