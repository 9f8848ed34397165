"""Sequence classification (Pamuk et al. 2025, Table II). Shapes: B batch, N tokens, C classes."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from superpositional.records.measures import ACCURACY_FIRST
from superpositional.tasks.base import SeededTask


class ClassificationTask(SeededTask):
    """Sequence classification by cross-entropy (Pamuk et al. 2025, Table II).

    Computes ``val/loss``, ``val/accuracy`` after each epoch and ``test/loss``, ``test/accuracy`` at the end. Neither these
    nor the loss of a training step are sent to loggers from here: ``callbacks.Curves`` gathers them, without waiting for
    the device at every step.

    Args:
        net: maps ``tokens_BN`` to ``logits_BC``; this and the rest as for ``SeededTask``.
        n_classes: number of classes.
    """

    measures = ACCURACY_FIRST

    def __init__(
        self,
        *,
        net: Callable[[], nn.Module],
        optimizer: Callable[..., Optimizer],
        n_classes: int,
        seed: int,
        lr_schedule: Callable[[int], float] | None = None,
        quantum_weight_schedule: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__(
            net=net,
            optimizer=optimizer,
            seed=seed,
            lr_schedule=lr_schedule,
            quantum_weight_schedule=quantum_weight_schedule,
        )
        self.val_accuracy = MulticlassAccuracy(n_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(n_classes, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.start_dropout(batch_idx)
        self.start_shots("train", batch_idx)
        tokens_BN, labels_B = batch
        return cross_entropy(self.net(tokens_BN), labels_B)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.start_shots("val", batch_idx)
        self._evaluate(batch, "val", self.val_loss, self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.start_shots("test", batch_idx)
        self._evaluate(batch, "test", self.test_loss, self.test_accuracy)

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, loss: MeanMetric, accuracy: MulticlassAccuracy) -> None:
        tokens_BN, labels_B = batch
        logits_BC = self.net(tokens_BN)
        loss.update(cross_entropy(logits_BC, labels_B), weight=len(labels_B))
        accuracy.update(logits_BC, labels_B)
        self.log(f"{stage}/loss", loss, on_step=False, on_epoch=True, logger=False)
        self.log(f"{stage}/accuracy", accuracy, on_step=False, on_epoch=True, logger=False)
