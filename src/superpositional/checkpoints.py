"""How is a checkpoint kept such that nobody ever finds half of one?

Lightning writes to the system's temporary folder and moves the file, which is a copy where that folder is another file
system: a process killed meanwhile leaves a torn one. Ours is written beside its place and renamed. Read by train.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, the old one or the new one and never a part."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        part = Path(f"{path}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def steps_done(path: Path) -> int | None:
    """After how many optimizer steps a checkpoint was written; None if it cannot be read, and then it is renamed."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")["global_step"]
    # What torch says of a file that is empty, torn, or something else.
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        path.rename(path.with_name(f"{path.name}.broken"))
        return None
