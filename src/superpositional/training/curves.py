"""What a run logs, kept without waiting for the device at every step, and how it is seen to diverge."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor

from superpositional import records


class Diverged(RuntimeError):
    """A logged value is not finite: the run ends here, as ``diverged``, with all it measured."""


def interval(every_n_steps: Any) -> int:
    """A callback's ``every_n_steps``, checked."""
    if isinstance(every_n_steps, bool) or not isinstance(every_n_steps, int) or every_n_steps < 1:
        raise ValueError(f"every_n_steps must be an integer >= 1, got {every_n_steps!r}; 50 costs next to nothing")
    return every_n_steps


class RecordLogger(Logger):
    """Lightning's way into ``curves.csv``. ``step`` is the number of optimizer steps done."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[tuple[int, str, float]] = []

    @property
    def name(self) -> str:
        return "record"

    @property
    def version(self) -> str:
        return ""

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


class Curves(Callback):
    """Hands every scalar to the loggers: each step's loss per interval, ``val/`` and ``test/`` metrics after evaluations.

    A task logs those two with ``logger=False``: Lightning would put them at one step less than were done.

    Args:
        every_n_steps: how often losses are read from the device, and checked.

    Raises:
        Diverged: at the end of the interval, or after the evaluation, in which a value was not finite.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = interval(every_n_steps)
        self.losses: list[tuple[int, Tensor]] = []
        self.step = 0
        self.taken = 0

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
        skipped = getattr(self, "skipped", None)
        if skipped:
            warnings.warn(f"GradScaler left out {skipped} of the steps, whose gradients held an inf", stacklevel=2)
        return {} if skipped is None else {"skipped_steps": skipped}

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.taken = state_dict["taken"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # The step this batch is part of, also if it only accumulates gradients towards it.
        self.step = trainer.global_step + 1
        # Of this step; after it, its scheduler has set the next one's.
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A step without a loss skips its batch, or optimizes by itself.
        if isinstance(outputs, Mapping) and outputs.get("loss") is not None:
            self.losses.append((self.step, outputs["loss"].detach()))
        if len(self.losses) >= self.every_n_steps or trainer.is_last_batch:
            self._flush(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_evaluation(trainer, "val/")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_evaluation(trainer, "test/")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A run that goes on from there finds its curves whole up to there.
        self._flush(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # What the other processes measured cannot be asked for any more.
        if trainer.world_size == 1:
            self._flush(trainer, check=False)

    def _log_evaluation(self, trainer: Trainer, prefix: str) -> None:
        if trainer.sanity_checking:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(prefix)}
        log(trainer, {trainer.global_step: metrics})

    def _flush(self, trainer: Trainer, *, check: bool = True) -> None:
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


def log(trainer: Trainer, rows: Mapping[int, Mapping[str, float]], *, check: bool = True) -> None:
    """Give rows of ``{step: {metric: value}}`` to every logger, then see that all is finite."""
    for logger in trainer.loggers:
        for step, metrics in rows.items():
            logger.log_metrics(dict(metrics), step=step)
        logger.save()
    for step, metrics in rows.items() if check else ():
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {step}")
