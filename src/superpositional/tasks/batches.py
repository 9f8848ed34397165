"""Batches whose order follows from (seed, epoch), shared by the ranks of a run, resumable within an epoch."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from superpositional.seeds import generator


class EpochBatches(Sampler[Tensor]):
    """Batches of one epoch as index tensors; the order depends on ``(seed, epoch)`` alone.

    Lightning calls ``set_epoch`` before every epoch. ``position`` counts the batches that were handed out; set to that of
    a checkpoint, the epoch goes on from there. Of several ranks each has its own part of every ``ranks * batch_size`` rows,
    and what is left over at an epoch's end, too little for all of them, is left out.
    """

    def __init__(self, *, size: int, batch_size: int, seed: int, ranks: int = 1, rank: int = 0) -> None:
        if ranks > 1 and size < ranks * batch_size:
            raise ValueError(f"{ranks} ranks of batch_size {batch_size} need {ranks * batch_size} rows, got {size}")
        self.size, self.batch_size, self.seed, self.ranks, self.rank = size, batch_size, seed, ranks, rank
        self.epoch, self.position = 0, 0

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def __iter__(self) -> Iterator[Tensor]:
        # yield, not return: resuming, Lightning calls iter() before set_epoch(), so read the epoch at the first batch.
        parts = list(self.steps())
        if self.position >= len(parts):
            self.position = 0
        for part in parts[self.position :]:
            self.position += 1
            yield part[self.rank]

    def steps(self) -> Iterator[tuple[Tensor, ...]]:
        """Of every batch the rows of each rank."""
        order = torch.randperm(self.size, generator=generator(self.seed, "order", self.epoch))
        for rows in order.split(self.batch_size * self.ranks):
            if self.ranks == 1 or len(rows) == self.batch_size * self.ranks:
                yield rows.split(self.batch_size)

    def __len__(self) -> int:
        whole = self.batch_size * self.ranks
        return math.ceil(self.size / whole) if self.ranks == 1 else self.size // whole


class Loader(DataLoader):
    """A DataLoader that hands a sampler's elements to the data set as they are, and can go on within an epoch.

    Lightning keeps ``state_dict`` in its checkpoints (loaders have it that torchdata calls stateful).
    """

    def __init__(self, dataset: Any, batches: Any, collate: Callable[[Any], Any] = tuple) -> None:
        # A generator of its own: a DataLoader without one draws from torch's global generator at every epoch.
        super().__init__(dataset, sampler=batches, batch_size=None, collate_fn=collate, generator=torch.Generator())

    def state_dict(self) -> dict[str, int]:
        """Where the sampler is: plain numbers; nothing for a sampler without an order of its own."""
        return {name: getattr(self.sampler, name) for name in ("epoch", "position") if hasattr(self.sampler, name)}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there."""
        vars(self.sampler).update(state_dict)


def of_ranks(data: lightning.LightningDataModule) -> tuple[int, int]:
    """How many processes train together, and which of them this is."""
    return (data.trainer.world_size, data.trainer.global_rank) if data.trainer is not None else (1, 0)
