"""What a run needs to be resumed, and repeated, bit for bit: whole checkpoints, and random streams.

Lightning writes a checkpoint to the system's temporary folder and moves the file, which is a copy if that folder is another
file system: a process killed meanwhile leaves a torn one. Ours is written beside its place and renamed.

Code of ours takes its random numbers from the named streams of ``seeds``. A user's own draws from the global generators of
Python, NumPy and torch, where one arm's draws would shift those of the next batch. So these start anew at each batch.
"""

import errno
import hashlib
import inspect
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from superpositional.records import CHECKPOINTS
from superpositional.seeds import start
from superpositional.training.callbacks import Kept, integer

# Epochs, and batches of each, whose hashes a record keeps: enough to tell whether two arms saw the same.
EPOCHS, BATCHES = 2, 2
# What ``callbacks.Curves`` hands to the loggers, once and at the step that it belongs to, beside evaluations.
CURVES = ("train/loss", "train/lr")


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, the old one or the new one and never a part; of a run's last one, the one before it too."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        path = Path(path)
        part = path.with_name(f"{path.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        if path.name == CHECKPOINTS[0].name and path.is_file():
            path.replace(path.with_name(CHECKPOINTS[1].name))
        part.replace(path)


class ResumePoint(Checkpoint):
    """The checkpoint that an interrupted run is resumed from: at every epoch's end, and every few steps within.

    Removed once the run is done. A model of 135 million parameters takes 1.6 GB with Adam's moments, twice, since the one
    before the last is kept too.

    Args:
        every_n_steps: optimizer steps from one to the next within an epoch; None, and for data modules of your own: at the
            ends of epochs alone.
        keep: leave the last one when the run is done.
    """

    def __init__(self, *, every_n_steps: int | None = None, keep: bool = False) -> None:
        if every_n_steps is not None:
            integer("every_n_steps", every_n_steps, cure="null is at epochs' ends")
        if not isinstance(keep, bool):
            raise ValueError(f"keep must be true or false, got {keep!r}")
        self.every_n_steps, self.keep = every_n_steps, keep
        self.saved_at = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        # Of other loaders nobody can say which batches a resumed epoch has left.
        due = due and getattr(trainer.datamodule, "spreads_over_ranks", False)
        # A batch that only accumulates gradients has not made a step; at the epoch's end validation comes first.
        if due and trainer.global_step > self.saved_at and not trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: Trainer, *_: Any) -> None:
        self.saved_at = trainer.global_step
        trainer.save_checkpoint(Path(trainer.default_root_dir) / CHECKPOINTS[0])

    on_train_epoch_end = _save


def newest(folder: Path) -> tuple[tuple[Path, int] | None, list[Path]]:
    """Return a run's newest checkpoint that can be read, with the optimizer steps before it, and those that cannot be read.

    The latter are renamed, so that nobody tries them again.
    """
    broken = []
    for path in (folder / name for name in CHECKPOINTS):
        if not path.is_file():
            continue
        try:
            # Mapped, not read: a large model's is as large as the memory may be.
            return (path, torch.load(path, weights_only=True, map_location="cpu", mmap=True)["global_step"]), broken
        # What torch says of a file that is empty, torn (early: an invalid place in it), or something else.
        except (RuntimeError, EOFError, LookupError, TypeError, ValueError, OSError, pickle.UnpicklingError) as error:
            if "memory" in str(error) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
                raise
            path.rename(path.with_name(f"{path.name}.broken"))
            broken.append(path)
    return None, broken


def remove(folder: Path, *, but_the_last: bool = False) -> None:
    """Remove a run's checkpoints, all or all but the last, and their folder if nothing else is in it."""
    for name in CHECKPOINTS[but_the_last:]:
        (folder / name).unlink(missing_ok=True)
    place = (folder / CHECKPOINTS[0]).parent
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()


class Streams(Kept):
    """Starts the global generators at points of the run's streams, and hashes the first batches.

    Notes: ``batches``, ``{"epoch/batch": SHA-256 of the batch's tensors}``.
    """

    KEPT = ("batches",)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.batches: dict[str, str] = {}
        self.foreign, self.fresh = True, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        log = type(pl_module).log

        def once(*arguments: Any, **settings: Any) -> None:
            """Lightning's ``log``: a module's own evaluations reach the loggers through ``Curves``, like all others."""
            given = inspect.signature(log).bind(pl_module, *arguments, **settings)
            asked = given.arguments
            of_steps = asked.get("on_step") and asked.get("on_epoch") is False
            if asked["name"] in CURVES or (asked["name"].startswith(("val/", "test/")) and not of_steps):
                asked["logger"] = False
            log(*given.args, **given.kwargs)

        pl_module.log = once
        # Here, so that each stage splits rows alike; after it, an arm's net or optimizer may draw.
        data = trainer.datamodule
        self.foreign = data is not None and not getattr(data, "spreads_over_ranks", False)
        for name in ("train_dataloader", "val_dataloader", "test_dataloader") if self.foreign else ():
            if (method := getattr(type(data), name)) is not getattr(LightningDataModule, name):
                setattr(data, name, self._started(method, trainer))

    def _started(self, method: Any, trainer: Trainer) -> Any:
        def loader() -> Any:
            start(self.seed, "data", 0)
            made, self.fresh = method(trainer.datamodule), True
            # Not current_epoch: of a resumed run it is still the one that has ended.
            start(self.seed, "order", trainer.fit_loop.epoch_progress.current.ready)
            return made

        return loader

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start(self.seed, "order", trainer.current_epoch)
        if self.fresh:
            # Lightning has asked a new loader for its iterator already, which drew a seed for its workers; in later epochs
            # it asks after this. So a resumed run shuffles as one that never stopped.
            torch.empty((), dtype=torch.int64).random_()
        self.fresh = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch < EPOCHS and batch_idx < BATCHES:
            digest = hashlib.sha256(b"".join(_bytes(batch)))
            self.batches[f"{trainer.current_epoch}/{batch_idx}"] = digest.hexdigest()[:16]
        # Batches and ranks that share a step must not share masks.
        part = (batch_idx % trainer.accumulate_grad_batches, trainer.global_rank)
        start(self.seed, "dropout", trainer.global_step, *(part if any(part) else ()), device=pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        # Of the batch that is fetched next.
        if self.foreign:
            start(self.seed, "data", 1, trainer.fit_loop.total_batch_idx)

    def on_validation_batch_end(
        self, trainer: Trainer, _: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.foreign:
            start(self.seed, "data", 2, trainer.global_step, dataloader_idx, batch_idx)

    on_test_batch_end = on_validation_batch_end

    def notes(self) -> dict[str, Any]:
        return {"batches": self.batches} if self.batches else {}


def _bytes(value: Any) -> Iterator[bytes]:
    """The numbers and texts of a batch, in order, with the shape and type of each array."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key).encode()
            yield from _bytes(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _bytes(item)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
    elif isinstance(value, torch.Tensor) and value.is_nested:
        yield from _bytes(list(value.unbind()))
    elif isinstance(value, torch.Tensor):
        array = (value if value.layout is torch.strided else value.to_dense()).detach().cpu().contiguous()
        yield f"{array.dtype}{tuple(array.shape)}".encode()
        yield array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b""
    else:
        yield repr(value).encode() if isinstance(value, str | int | float | bool | None) else type(value).__name__.encode()
