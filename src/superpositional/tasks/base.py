"""What all tasks share: a LightningModule that owns the pairing of arms.

Weights come from the seed's ``init`` stream, random angles of an optimizer's circuit from its ``circuit`` stream and
dropout masks from its ``dropout`` stream, one start per step, so that every arm of a seed sees the same ones whatever else
draws random numbers.

Shapes: B batch, N tokens, C classes.
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from superpositional.optim.schedules import QuantumWeightScheduler
from superpositional.seeds import drawing_from, start_torch, stream
from superpositional.tasks.batches import Loader

STAGES = ("train", "val", "test")


class SeededTask(LightningModule):
    """What every task has: a net made on the ``init`` stream, an optimizer and its schedules, dropout by step.

    Args:
        net: makes the net; called once, on the ``init`` stream.
        optimizer: makes the optimizer from the net's named parameters; any of torch.optim's kind.
        seed: the run's seed.
        lr_schedule: makes the multiplier of lr from nothing, called by step, as for LambdaLR; None keeps lr. One that has
            ``over`` is first told the run's number of steps (``schedules.WarmupShare``).
        quantum_weight_schedule: the same for the optimizer's quantum_weight.
    """

    def __init__(
        self,
        *,
        net: Callable[[], nn.Module],
        optimizer: Callable[..., Optimizer],
        seed: int,
        lr_schedule: Callable[[int], float] | None = None,
        quantum_weight_schedule: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.seed = seed
        with drawing_from(seed, "init"):
            self.net = net()
        if wrong := self.bad_net():
            raise ValueError(wrong)
        self.make_optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.quantum_weight_schedule = quantum_weight_schedule
        # By default torchmetrics leaves NaN out of a mean, and a diverged evaluation would look finite.
        self.val_loss, self.test_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def bad_net(self) -> str | None:
        """What is wrong with the net for this task."""

    def configure_optimizers(self) -> dict[str, Any] | Optimizer:
        # Its circuit may have random angles; they must neither follow nor shift what else is drawn.
        with drawing_from(self.seed, "circuit"):
            optimizer = self.make_optimizer(self.optimized())
        if self.quantum_weight_schedule is not None:
            self.quantum_weight_scheduler = QuantumWeightScheduler(optimizer, self._over(self.quantum_weight_schedule))
        if self.lr_schedule is None:
            return optimizer
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._over(self.lr_schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def optimized(self) -> list[tuple[str, nn.Parameter]]:
        """The named parameters that the optimizer gets."""
        return list(self.net.named_parameters())

    def _over(self, schedule: Callable[[int], float]) -> Callable[[int], float]:
        if not hasattr(schedule, "over"):
            return schedule
        # Without a Trainer, where only the settings are being checked, any number will do.
        return schedule.over(1000 if self._trainer is None else self.trainer.estimated_stepping_batches)

    def start_dropout(self, batch_idx: int) -> None:
        """Start this step's dropout; to be called first in ``training_step``.

        Dropout can only draw from torch's global generator. Starting it anew from (seed, step) gives every arm, and a
        resumed run, the same masks. Here and no earlier: Lightning calls this from within optimizer.step, and an arm's
        optimizer may have drawn by then.
        """
        # Batches and ranks that share a step must not share masks.
        part = (batch_idx % self.trainer.accumulate_grad_batches, self.global_rank)
        start_torch(stream(self.seed, "dropout", self.global_step, *(part if any(part) else ())), self.device)

    def start_shots(self, stage: str, batch_idx: int) -> None:
        """Give this pass's shots their seed; to be called first in ``training_step`` and wherever else the net is.

        From (seed, stage, step, batch) of the ``circuit`` stream: a resumed run measures what an uninterrupted one would.
        """
        # One seed for all layers: their circuits differ, and a layer that is computed again alone measures the same.
        seed = stream(self.seed, "circuit", STAGES.index(stage), self.global_step, batch_idx, self.global_rank)
        for module in self.net.modules():
            if hasattr(module, "shot_seed"):
                module.shot_seed = seed if module.backend.stochastic else None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Not every batch ends in a step: gradients may be accumulated, or hold an inf.
        if self.quantum_weight_schedule is not None and self.global_step > self.quantum_weight_scheduler.last_step:
            self.quantum_weight_scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.quantum_weight_schedule is not None:
            checkpoint["quantum_weight_schedule"] = self.quantum_weight_scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._saved_schedule = checkpoint.get("quantum_weight_schedule")
        self._saved_loader = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader")

    def on_train_start(self) -> None:
        # Lightning hands a loader its state when it makes it: too early where the schedule asks for the run's length.
        if getattr(self, "_saved_loader", None) and isinstance(self.trainer.train_dataloader, Loader):
            self.trainer.train_dataloader.load_state_dict(self._saved_loader[0])
        # Lightning restores the optimizer after configure_optimizers and before this hook.
        if getattr(self, "_saved_schedule", None) is not None:
            self.quantum_weight_scheduler.load_state_dict(self._saved_schedule)
