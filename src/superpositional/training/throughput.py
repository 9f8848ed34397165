"""Callbacks that time batches: ``Stopwatch`` for trials of a few batches (``forecast``), ``Throughput`` for whole runs."""

import functools
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from superpositional.training.callbacks import Kept, integer, log


class Stopwatch(Callback):
    """Times every batch of each kind, waiting for the device after each.

    Notes: ``stopwatch``, for each kind its batches, a batch's median seconds, and the seconds spent on them.
    """

    def __init__(self) -> None:
        self.since = 0.0
        self.took: dict[str, list[float]] = {}
        self.batches: dict[str, int | None] = {}

    def _start(self, kind: str, name: str, trainer: Trainer, *_: Any) -> None:
        loaders = getattr(trainer, name)
        try:
            self.batches[kind] = sum(len(loader) for loader in (loaders if isinstance(loaders, list) else [loaders]))
        except TypeError:  # an iterable dataset has no length
            self.batches[kind] = None
        self.took.setdefault(kind, [])
        self.since = time.perf_counter()

    def _end(self, kind: str, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.took[kind].append(now - self.since)
        self.since = now

    on_train_epoch_start = functools.partialmethod(_start, "train", "train_dataloader")
    on_validation_epoch_start = functools.partialmethod(_start, "val", "val_dataloaders")
    on_test_epoch_start = functools.partialmethod(_start, "test", "test_dataloaders")
    on_train_batch_end = functools.partialmethod(_end, "train")
    on_validation_batch_end = functools.partialmethod(_end, "val")
    on_test_batch_end = functools.partialmethod(_end, "test")

    def notes(self) -> dict[str, Any]:
        found = {
            kind: {"batches": self.batches[kind], "median": float(np.median(took)), "spent": sum(took)}
            for kind, took in self.took.items()
            if took
        }
        return {"stopwatch": found}


class Throughput(Kept):
    """Steps, rows and tokens per second of training, validation and checkpoints left out, and the memory it takes.

    Logs ``throughput/{steps,rows,tokens}_per_second`` over each interval and ``memory/peak_bytes`` (of the device, or of
    the process on a CPU) at its end; summary: the rates over all intervals but the first of each session, which pays for
    what is set up once. Tokens are counted where batches say which positions hold one (``attends_BN``).

    Args:
        every_n_steps: batches of an interval.
    """

    KEPT = ("total",)

    def __init__(self, *, every_n_steps: int = 10) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)
        self.total: dict[str, float] = {}
        self.first = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        if hasattr(batch, "attends_BN"):
            self.rows, self.tokens = self.rows + len(batch.attends_BN), self.tokens + batch.attends_BN.sum()
        elif isinstance(batch, Sequence) and hasattr(batch[0], "__len__"):
            self.rows += len(batch[0])
        # Of a mapping, or of whatever else a data module hands over, rows are not counted.
        self.batches += 1
        if self.batches >= self.every_n_steps or trainer.is_last_batch:
            self._close(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if hasattr(self, "since"):
            self.since += time.perf_counter() - self.paused

    def summary(self, curves: Mapping[str, Any], steps_per_epoch: int | None) -> dict[str, float]:
        """Empty for a run too short for a second interval."""
        counts = {name: value for name, value in self.total.items() if name != "seconds" and value}
        return {f"throughput/{name}_per_second": value / self.total["seconds"] for name, value in counts.items()}

    def _restart(self, trainer: Trainer, *_: Any) -> None:
        self.batches, self.rows, self.tokens = 0, 0, torch.zeros((), dtype=torch.int64, device=trainer.strategy.root_device)
        self.since, self.steps = time.perf_counter(), trainer.global_step

    # A run that is resumed within an epoch has no start of it. How long a checkpoint takes, nobody says: what the interval
    # has so far is left out.
    on_train_start = on_train_epoch_start = on_save_checkpoint = _restart

    def _close(self, trainer: Trainer) -> None:
        tokens = int(self.tokens)  # waits for the device
        seconds = time.perf_counter() - self.since
        # Each process has as many rows; of tokens the others have about as many.
        processes, device = trainer.world_size, trainer.strategy.root_device
        found = {
            "steps": trainer.global_step - self.steps,
            "rows": self.rows * processes,
            "tokens": tokens * processes,
        }
        metrics = {f"throughput/{name}_per_second": value / seconds for name, value in found.items() if value}
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
        log(trainer, {trainer.global_step: metrics | {"memory/peak_bytes": float(peak)}}, check=False)
        if not self.first:
            for name, value in {**found, "seconds": seconds}.items():
                self.total[name] = self.total.get(name, 0) + value
        self.first = False
        self._restart(trainer)


def peak_bytes() -> int:
    """Return the most memory that this process has taken."""
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
