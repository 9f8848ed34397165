"""How is a checkpoint kept such that nobody ever finds half of one?

Lightning writes to the system's temporary folder and moves the file, which is a copy where that folder is another file
system: a process killed meanwhile leaves a torn one. Ours is written beside its place and renamed, and the one before it
stays until then. Read by run.
"""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from superpositional.records import CHECKPOINTS


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
    """The checkpoint that an interrupted run goes on from: at every epoch's end, and every so many steps within.

    Removed once the run is done. A model of 135 million parameters takes 1.6 GB with Adam's moments, twice, since the one
    before the last is kept too.

    Args:
        every_n_steps: optimizer steps from one to the next within an epoch; None, and for data modules of your own: at the
            ends of epochs alone.
        keep: leave the last one when the run is done.
    """

    def __init__(self, *, every_n_steps: int | None = None, keep: bool = False) -> None:
        number = isinstance(every_n_steps, int) and not isinstance(every_n_steps, bool)
        if every_n_steps is not None and not (number and every_n_steps >= 1):
            raise ValueError(
                f"every_n_steps must be an integer >= 1 or null, got {every_n_steps!r}; null is at epochs' ends"
            )
        if not isinstance(keep, bool):
            raise ValueError(f"keep must be true or false, got {keep!r}")
        self.every_n_steps, self.keep = every_n_steps, keep
        self.saved_at = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_at = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # At the epoch's end validation comes first, and then the other one.
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        # Of other loaders nobody can say which batches a resumed epoch has left.
        due = due and getattr(trainer.datamodule, "spreads_over_ranks", False)
        # A batch that only accumulates gradients has not made a step.
        if due and trainer.global_step > self.saved_at and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self.saved_at = trainer.global_step
        trainer.save_checkpoint(Path(trainer.default_root_dir) / CHECKPOINTS[0])


def newest(folder: Path) -> tuple[tuple[Path, int] | None, list[Path]]:
    """A run's newest checkpoint that can be read, and after how many optimizer steps it was written; those that cannot.

    They are renamed, so that nobody tries them again.
    """
    broken = []
    for name in CHECKPOINTS:
        path = folder / name
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
    """Take a run's checkpoints away, all or all but the last, and their folder if nothing else is in it."""
    for name in CHECKPOINTS[but_the_last:]:
        (folder / name).unlink(missing_ok=True)
    place = (folder / CHECKPOINTS[0]).parent
    if place.is_dir() and not any(place.iterdir()):
        place.rmdir()
