"""How long does a batch take?

A callback for trials of a few batches, from which ``forecast`` says how long a sweep will take.
"""

import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """How long a batch of each kind takes, and how many there are.

    It waits for the device after each.
    """

    def __init__(self) -> None:
        self.since = 0.0
        self.took: dict[str, list[float]] = {}
        self.batches: dict[str, int | None] = {}

    def _start(self, kind: str, loaders: Any) -> None:
        try:
            self.batches[kind] = sum(len(loader) for loader in (loaders if isinstance(loaders, list) else [loaders]))
        except TypeError:  # an iterable dataset has no length
            self.batches[kind] = None
        self.took.setdefault(kind, [])
        self.since = time.perf_counter()

    def _end(self, kind: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.took[kind].append(now - self.since)
        self.since = now

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("train", trainer.train_dataloader)

    def on_train_batch_end(self, *_: Any) -> None:
        self._end("train")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("val", trainer.val_dataloaders)

    def on_validation_batch_end(self, *_: Any) -> None:
        self._end("val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start("test", trainer.test_dataloaders)

    def on_test_batch_end(self, *_: Any) -> None:
        self._end("test")

    def notes(self) -> dict[str, Any]:
        """``stopwatch``: of each kind its batches, a batch's median seconds, and the seconds spent on them."""
        return {
            "stopwatch": {
                kind: {"batches": self.batches[kind], "median": float(np.median(took)), "spent": sum(took)}
                for kind, took in self.took.items()
                if took
            }
        }
