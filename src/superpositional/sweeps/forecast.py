"""How long will a sweep take, and how much will it leave on disk?

By the runs of it that are done. Where there is none yet, by a trial: the same config for a few batches of each kind, timed
and drawn out to its full length. Read by live, which says it, and by the launchers, which run the trials.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superpositional.records import identity
from superpositional.sweeps.plan import Job

# Batches of a trial. The first ones of a process are slower, so the median is taken.
TRIAL = {"limit_train_batches": 10, "limit_val_batches": 5, "limit_test_batches": 5}
LIMITS = {"train": "limit_train_batches", "val": "limit_val_batches", "test": "limit_test_batches"}


class Pace:
    """How long a run of each arm takes and how many bytes it leaves: by its runs, else by a trial, else by all runs."""

    def __init__(self, planned: Sequence[Job]) -> None:
        self.runs: dict[str, list[tuple[float, int]]] = {}
        self.trials: dict[str, tuple[float, float]] = {}
        for job in planned:
            if (record := job.record()) is not None:
                self.add(job, record)

    def add(self, job: Job, record: Mapping[str, Any]) -> None:
        """Learn from a run that ended; one that diverged or failed was shorter than it would have been."""
        if record["status"] == "done" and record["wall_seconds"] is not None:
            self.runs.setdefault(job.arm, []).append((record["wall_seconds"], size(job.folder)))

    def seconds(self, arm: str) -> float | None:
        """A run of this arm; None while nothing is known."""
        return self._typical(arm, 0)

    def bytes(self, arm: str) -> float | None:
        return self._typical(arm, 1)

    def _typical(self, arm: str, which: int) -> float | None:
        if arm in self.runs:
            return statistics.fmean(run[which] for run in self.runs[arm])
        if arm in self.trials:
            return self.trials[arm][which]
        runs = [run[which] for own in self.runs.values() for run in own]
        return statistics.fmean(runs) if runs else None


def kinds(waiting: Sequence[Job], pace: Pace) -> dict[str, list[Job]]:
    """The first job of each arm that no run tells of, those together that differ in the optimizer's numbers alone."""
    first = {job.arm: job for job in reversed(waiting) if job.arm not in pace.runs}
    found: dict[str, list[Job]] = {}
    for job in reversed(first.values()):
        kept = {key: value for key, value in job.config.items() if key not in (*identity.PRESENTATION, "seed")}
        kept["optimizer"] = _without_numbers(kept["optimizer"])
        found.setdefault(json.dumps(kept, sort_keys=True, default=str), []).append(job)
    return found


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    return None if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def trial(job: Job, folder: Path) -> Job:
    """A job's trial: a few batches of each kind, without W&B, in a folder of its own."""
    trainer = {**job.config["trainer"], "max_epochs": 1}
    for key, batches in TRIAL.items():
        given = trainer.get(key)
        # A limit of its own may be shorter still; 0 leaves that kind out.
        trainer[key] = min(given, batches) if type(given) is int else batches
    stopwatch = {"stopwatch": {"_target_": "superpositional.training.throughput.Stopwatch"}}
    config = {**job.config, "trainer": trainer, "logger": None}
    config["callbacks"] = {**(job.config["callbacks"] or {}), **stopwatch}
    return Job(config, folder, job.code)


def drawn_out(tried: Job, job: Job) -> tuple[float, float] | None:
    """Seconds and bytes of the whole job, from its trial; None if its length has no bound that is known."""
    record, trainer = tried.record(), job.config["trainer"]
    watch = record["stopwatch"]
    batches = {kind: _limited(watch[kind]["batches"], trainer.get(LIMITS[kind], 1.0)) for kind in watch}
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    if None in batches.values() or not batches.get("train") or (epochs in (None, -1) and steps == -1):
        return None
    per_epoch = math.ceil(batches["train"] / trainer.get("accumulate_grad_batches", 1))
    bounds = [epochs] if epochs not in (None, -1) else []
    epochs = min([*bounds, steps / per_epoch] if steps != -1 else bounds)
    often = trainer.get("val_check_interval") or 1.0
    times = {
        "train": epochs,
        "val": epochs / (trainer.get("check_val_every_n_epoch") or 1) / (often if often <= 1 else often / batches["train"]),
        "test": 1,
    }
    # Imports, data, the folder's writing: once, however long the run.
    once = record["wall_seconds"] - sum(watch[kind]["spent"] for kind in watch)
    seconds = once + sum(times[kind] * batches[kind] * watch[kind]["median"] for kind in watch if batches[kind])
    curves = tried.folder / "curves.csv"
    lengthened = curves.stat().st_size * epochs * per_epoch / max(1, record["steps"])
    return seconds, size(tried.folder) - curves.stat().st_size + lengthened


def _limited(there: int | None, limit: float | int) -> int | None:
    """How many batches of a kind a run takes, as Lightning reads its limits: a number, or a share of them."""
    if type(limit) is int:
        return limit if there is None else min(there, limit)
    return None if there is None else int(there * limit)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
