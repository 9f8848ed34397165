"""Train a run's parts, test once at the end, and measure.

The one module that drives Lightning's Trainer, and so a part of every run's identity; what is kept of a run is ``run``'s.
"""

import contextlib
import gc
import json
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from superpositional import records, seeds
from superpositional.records import RUNNING
from superpositional.training import config as configs

# The folders of an absolute path, of POSIX or Windows; not a URL's.
ABSOLUTE = re.compile(r"(?<![\w:/.~])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'\":,;()]+[/\\])+")

# Warnings that do not apply here.
NOT_HERE = (
    "does not have many workers",  # the data lies in memory and a batch is one indexing
    "smaller than the logging interval",  # losses reach the loggers through callbacks.Curves, whatever Lightning's interval
    "exists and is not empty",  # a run's folder
    "LeafSpec",  # Lightning's own use of torch
    "sync_dist=True",  # torchmetrics has summed a task's means over the processes already
)


def train(
    parts: configs.Parts,
    folder: Path,
    record: dict[str, Any],
    measured: dict[str, Any],
    found: tuple[Path, int] | None,
) -> tuple[str, str | None]:
    """Fit, test once, and leave in ``measured`` what was measured, however far it got. Return the status and the error.

    ``found``: the checkpoint to resume from, and the number of steps after which it was written.
    """
    from superpositional.training import ranks
    from superpositional.training.callbacks import Diverged, RecordLogger

    curves = folder / "curves.csv"
    if found is None:
        curves.unlink(missing_ok=True)
    else:
        records.truncate_curves(curves, found[1])
    if record["config"]["data"].get("source") == "stand_in":
        say("problems of our own making stand in for GSM8K, which is neither at data.path nor on the hub")
    loggers = [RecordLogger(curves)]
    if parts.tracking is not None:
        since = None if found is None else found[1]
        mirror = parts.tracking.open(folder, record, say=say, run_id=record["wandb_id"], resumed_from=since)
        loggers += [mirror] if mirror is not None else []
        measured["wandb_id"] = parts.tracking.run_id
        # A run that is killed goes on as the same one there.
        running = json.loads((folder / RUNNING).read_text()) | {"wandb_id": parts.tracking.run_id}
        records.write_json(folder / RUNNING, running)

    def lost(reason: str) -> None:
        records.write_record(folder, record | measured | {"status": "failed", "error": reason, "wall_seconds": None})
        say(f"failed: {reason}")
        os._exit(1)

    with undisturbed():
        trainer, callbacks = _trainer(parts, folder, loggers, record["seed"], interactive=sys.stdout.isatty())
        measured["device"] = _device(trainer.strategy.root_device)
        measured["processes"] = trainer.num_devices
        status, error = "done", None
        checkpoint, started = None if found is None else found[0], time.perf_counter()
        try:
            with ranks.joined(trainer, folder, checkpoint, lost):
                # Looking through all that is there now for garbage takes as long as many steps.
                gc.freeze()
                seeds.start(record["seed"], "data")
                trainer.fit(parts.task, parts.data, ckpt_path=checkpoint, weights_only=True)
                measured["fit_seconds"] = more(measured["fit_seconds"], time.perf_counter() - started)
                started = None
                _test(trainer, parts, record["seed"])
        except Diverged as divergence:
            status, error = "diverged", str(divergence)
        except SystemExit as end:
            # Lightning turns Ctrl-C into this after its own shutdown.
            if not isinstance(end.__context__, KeyboardInterrupt):
                raise
            status = "interrupted"
        finally:
            gc.unfreeze()
            if started is not None:
                measured["fit_seconds"] = more(measured["fit_seconds"], time.perf_counter() - started)
            noted = (("data", parts.data), ("model", getattr(parts.task, "net", None)))
            measured |= {name: part.notes() for name, part in noted if hasattr(part, "notes")}
            _measure(trainer, callbacks, curves, measured)
    return status, error


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Train without the warnings that do not apply, and leave uninitialized memory as it is; no number changes."""
    import torch

    configs.quieten_lightning()
    # Deterministic torch fills memory before it is written, to show who reads it unwritten; our code does not.
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        with warnings.catch_warnings():
            for message in NOT_HERE:
                warnings.filterwarnings("ignore", message=f".*{message}.*")
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before


def _test(trainer: Any, parts: configs.Parts, seed: int) -> None:
    """The one use of the test set: the weights at the end of the completed schedule."""
    from lightning.pytorch import LightningDataModule, LightningModule

    needed = ((parts.data, LightningDataModule, "test_dataloader"), (parts.task, LightningModule, "test_step"))
    if lacking := [name for part, kind, name in needed if getattr(type(part), name) is getattr(kind, name)]:
        say(f"not tested, for there is no {' and no '.join(lacking)}")
        return
    # A data module that splits its rows at random for each stage must find the same ones.
    seeds.start(seed, "data")
    trainer.test(parts.task, parts.data, verbose=False)


def _trainer(
    parts: configs.Parts, folder: Path, loggers: Sequence[Any], seed: int, *, interactive: bool
) -> tuple[Any, list[Any]]:
    """The run's Trainer, and its callbacks but the progress bar."""
    from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar

    from superpositional.training import ranks
    from superpositional.training.callbacks import Curves
    from superpositional.training.checkpoints import Streams, WholeCheckpoints

    callbacks = [Streams(seed), Curves(), *parts.callbacks.values()]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder / records.CHECKPOINTS[0].parent)
    # Our data give each process its own rows; others get Lightning's sampler.
    own = {"use_distributed_sampler": False} if getattr(parts.data, "spreads_over_ranks", False) else {}
    trainer = parts.trainer(
        logger=list(loggers),
        plugins=[WholeCheckpoints()],
        callbacks=[*callbacks, *([RichProgressBar(refresh_rate=10)] if interactive else [])],
        default_root_dir=folder,
        enable_progress_bar=interactive,
        enable_model_summary=False,
        # It would be a second pass over the validation set.
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        **own,
    )
    ranks.leave_sigterm_alone(trainer)
    return trainer, callbacks


def follow(folder: Path, checkpoint: Path | None) -> None:
    """Train in a further process of the run in ``folder``, and keep no record (``ranks``)."""
    import torch

    from superpositional.training import ranks
    from superpositional.training.callbacks import Diverged

    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    torch.set_num_threads(config["threads"])
    parts = configs.build(config)
    with undisturbed(), contextlib.suppress(Diverged):
        trainer, _ = _trainer(parts, folder, [], config["seed"], interactive=False)
        seeds.start(config["seed"], "data")
        trainer.fit(parts.task, parts.data, ckpt_path=checkpoint, weights_only=True)
        _test(trainer, parts, config["seed"])
    ranks.part()


def _measure(trainer: Any, callbacks: Sequence[Any], curves: Path, measured: dict[str, Any]) -> None:
    points = records.read_curves(curves)
    last = {name: float(values[-1]) for name, (_, values) in points.items() if name.startswith(("test/", "val/"))}
    summary = {name if name.startswith("test/") else f"{name}/last": value for name, value in last.items()}
    batches = trainer.num_training_batches  # inf before training, and for a loader without a length
    steps_per_epoch = math.ceil(batches / trainer.accumulate_grad_batches) if math.isfinite(batches) else None
    measured |= {"steps_per_epoch": steps_per_epoch, "steps": trainer.global_step}
    if "train/loss" in points and steps_per_epoch:
        summary["train/loss/last_epoch"] = float(points["train/loss"][1][-steps_per_epoch:].mean())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for callback in callbacks:
            if hasattr(callback, "summary"):
                summary |= callback.summary(points, steps_per_epoch)
            if hasattr(callback, "notes"):
                measured |= callback.notes()
    measured |= {"summary": summary, "warnings": [without_paths(str(warning.message)) for warning in caught]}
    for text in measured["warnings"]:
        say(f"Warning: {text}")


def _device(device: Any) -> str:
    """The name of what the numbers were made on."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def more(before: float | None, seconds: float) -> float | None:
    """Return a sum of sessions, None if one of them is unknown."""
    return None if before is None else before + seconds


def without_paths(text: str) -> str:
    """Return a text without the folders of the files in it, which are this machine's."""
    return ABSOLUTE.sub("", text)


def say(text: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    from superpositional.training import ranks

    ranks.keep_memory()
    follow(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
