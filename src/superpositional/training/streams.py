"""Give all arms of a seed the same batches and dropout masks, whoever wrote the module and the data.

Code of ours takes its random numbers from the named streams of ``seeds``. A user's own draws from the global generators of
Python, NumPy and torch, where one arm's draws would shift those of the next batch. So these start anew at each batch.
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from superpositional.seeds import start

# Epochs, and batches of each, whose hashes a record keeps: enough to tell whether two arms saw the same.
EPOCHS, BATCHES = 2, 2
# What ``callbacks.Curves`` hands to the loggers, once and at the step that it belongs to, beside evaluations.
CURVES = ("train/loss", "train/lr")


class Streams(Callback):
    """Starts the global generators at points of the run's streams, and hashes the first batches.

    Notes: ``batches``, ``{"epoch/batch": SHA-256 of the batch's tensors}``.
    """

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
        if self.foreign:
            for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
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
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.foreign:
            start(self.seed, "data", 2, trainer.global_step, dataloader_idx, batch_idx)

    on_test_batch_end = on_validation_batch_end

    def notes(self) -> dict[str, Any]:
        """``batches``, where any was seen."""
        return {"batches": self.batches} if self.batches else {}

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches = state_dict["batches"]


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
