"""How does one run go, from a checked config to a closed record?

It trains, tests once at the end, and writes the record last, whatever ended it. Importing this module is light; torch and
Lightning come with the run. Read by ``train``'s doors and by ``worker``.
"""

import contextlib
import ctypes
import datetime
import gc
import hashlib
import json
import math
import os
import platform
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from superpositional import claims, locks, records
from superpositional import config as configs
from superpositional.records import RUNNING
from superpositional.seeds import STREAMS, stream

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "wandb", "qiskit", "qiskit-aer")
# glibc's names for numbers of mallopt, and bytes for each.
TRIM_THRESHOLD, MMAP_THRESHOLD = (-1, 1 << 27), (-3, 1 << 25)
# The folders of an absolute path, of POSIX or Windows; a URL's are none.
ABSOLUTE = re.compile(r"(?<![\w:/.~])(?:[A-Za-z]:)?[/\\](?:[^/\\\s'\":,;()]+[/\\])+")
EXTRAS = ("transformers", "tokenizers", "peft")  # of those who fine-tune


def run(config: Mapping[str, Any], folder: Path, *, code: str, resume: bool = False) -> dict[str, Any]:
    """Train one resolved, checked config into ``folder`` and return its record.

    ``code`` is ``config.code_version`` from when the process, or its fork server, imported the code: the files may
    have been edited since. With ``resume`` the run goes on from the folder's checkpoint, to the same end as if it had
    never stopped.

    Whatever ends the run, the record says so: ``done``, ``diverged`` (a value was not finite), ``interrupted``, or
    ``failed``, with the traceback in ``error.txt``.

    Raises:
        ConfigError: another process is at work in the folder.
    """
    with locks.alone_in(folder):
        return run_alone(config, folder, code=code, resume=resume)


def run_alone(config: Mapping[str, Any], folder: Path, *, code: str, resume: bool = False) -> dict[str, Any]:
    """``run`` for who holds the folder already."""
    import torch

    from superpositional import checkpoints
    from superpositional.kernels import build
    from superpositional.stopwatch import peak_bytes

    # What need not be done again, None if all must be.
    found, broken = checkpoints.newest(folder) if resume else (None, [])
    for path in broken:
        since = "starts from nothing" if found is None else f"goes on from {found[0].name}"
        say(f"{path} cannot be read and is now {path.name}.broken; the run {since}")
    resume = found is not None
    torch.set_num_threads(config["threads"])
    # Compiled here if they have not been on this machine, so that no training waits for it.
    record = opening(config, code) | {"processor": _processor(), "kernels": build.told()}
    measured: dict[str, Any] = {"summary": {}, "sessions": 1, "fit_seconds": 0.0}
    seconds_before, peak_before = 0.0, 0
    if resume:
        # A session that was killed has left no record, and nobody knows how long it took.
        before = records.left_in(folder)
        record |= {"started": before["started"], "wandb_id": before["wandb_id"]}
        measured |= {"sessions": before["sessions"] + 1, "fit_seconds": before["fit_seconds"]}
        peak_before = before.get("peak_memory_bytes", 0)
        seconds_before = before["wall_seconds"]
    for stale in ("record.json", "error.txt"):
        (folder / stale).unlink(missing_ok=True)
    if not resume:
        checkpoints.remove(folder)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(dict(config))))
    # Stands while the run does, and after it where nothing could be recorded any more.
    running = {key: record[key] for key in ("identity", "code", "started", "wandb_id")}
    running |= {"sessions": measured["sessions"], "wall_seconds": None, "fit_seconds": None}
    records.write_json(folder / RUNNING, running)
    status, error = "failed", None
    started = time.perf_counter()
    tracking = parts = None
    try:
        parts = configs.build(config)
        tracking = parts.tracking
        status, error = _train(parts, folder, record, measured, found)
    except KeyboardInterrupt:
        status, error = "interrupted", how_to_go_on(config["arm"])
    except (Exception, SystemExit):
        # Recorded, and shown by whoever called: a failed run must leave its traceback and not take a sweep down.
        # Of what no encoding can write, such as a file name's stray bytes, the number.
        error = traceback.format_exc().encode(errors="backslashreplace").decode()
    finally:
        record |= measured | {
            "status": status,
            "error": error and _without_paths(error.strip().splitlines()[-1]),
            "wall_seconds": _more(seconds_before, time.perf_counter() - started),
            "peak_memory_bytes": max(peak_before, peak_bytes()),
        }
        if torch.cuda.is_available():
            record["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
        # Before anything else that could fail: the files on disk are the source of truth.
        records.write_record(folder, record)
        (folder / RUNNING).unlink()
        if status == "done" and (points := _resume_points(parts)):
            # Nobody goes on from a run that is done.
            checkpoints.remove(folder, but_the_last=any(point.keep for point in points))
        if error:
            (folder / "error.txt").write_text(error.rstrip() + "\n", encoding="utf-8")
        if tracking is not None:
            tracking.close(folder, record, say)
    return record


def _resume_points(parts: configs.Parts) -> list[Any]:
    from superpositional.checkpoints import ResumePoint

    return [callback for callback in parts.callbacks.values() if isinstance(callback, ResumePoint)]


def how_to_go_on(arm: str | None) -> str:
    """What somebody does whose run was interrupted."""
    if arm is None:
        return "`superpositional train resume=<this folder>` goes on if there is a checkpoint"
    return "call the sweep again to go on"


def _more(before: float | None, seconds: float) -> float | None:
    """A sum of sessions, unknown if one of them is."""
    return None if before is None else before + seconds


def opening(config: Mapping[str, Any], code: str) -> dict[str, Any]:
    """What is known of a run before it starts."""
    import importlib.metadata
    import importlib.util

    return {
        "sweep": config["sweep"],
        "arm": config["arm"],
        "seed": config["seed"],
        "question": config["question"],
        "identity": records.identity(config, code),
        "family": records.family(config, code),
        "wandb_id": None,
        "code": code,
        "execution": "eager",
        "seeds": {name: stream(config["seed"], name) for name in STREAMS},
        "config": _portable({key: value for key, value in config.items() if key != "claims"}),
        # Of what was claimed before the run: claims that were changed since are told by it.
        "claims": claims.digest(config["claims"]),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES}
        | {name: importlib.metadata.version(name) for name in EXTRAS if importlib.util.find_spec(name) is not None},
        "git": records.git_state(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        # Which machine, without its name; and how busy it was: processes that ran or waited, over the last minute.
        "machine": hashlib.sha256(platform.node().encode()).hexdigest()[:8],
        "load": _load(),
    }


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the machine's own paths, for records that others read; ``config.yaml`` keeps them to resume by."""

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shown(each) for key, each in value.items()}
        if isinstance(value, list):
            return [shown(each) for each in value]
        return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

    return shown(config)


def _without_paths(text: str) -> str:
    """An error's last line with what stands before each file's name left out: where it lay is this machine's."""
    return ABSOLUTE.sub("", text)


def _processor() -> str:
    """Whose instructions computed, for a result's last bits depend on them: its name, and the widest that torch uses."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on every system
        return None


def _train(
    parts: configs.Parts,
    folder: Path,
    record: dict[str, Any],
    measured: dict[str, Any],
    found: tuple[Path, int] | None,
) -> tuple[str, str | None]:
    """Fit, test once, and leave in ``measured`` what was measured, however far it got.

    ``found``: go on from this checkpoint, which was written after so many steps.
    """
    from superpositional import ranks
    from superpositional.callbacks import Diverged, RecordLogger

    configs.quieten_lightning()
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

    with _quiet_lightning(), _memory_kept():
        trainer, callbacks = _trainer(parts, folder, loggers, interactive=sys.stdout.isatty())
        measured["device"] = _device(trainer.strategy.root_device)
        measured["processes"] = trainer.num_devices
        status, error = "done", None
        started = time.perf_counter()
        try:
            checkpoint = None if found is None else found[0]
            with ranks.joined(trainer, folder, checkpoint, lost):
                # What is there now stays: looking through all of it for garbage, which new objects set off, takes as long
                # as many steps.
                gc.freeze()
                trainer.fit(parts.task, parts.data, ckpt_path=checkpoint, weights_only=True)
                measured["fit_seconds"] = _more(measured["fit_seconds"], time.perf_counter() - started)
                started = None
                # The one use of the test set: the weights at the end of the completed schedule.
                trainer.test(parts.task, parts.data, verbose=False)
        except Diverged as divergence:
            status, error = "diverged", str(divergence)
        except SystemExit as end:
            # Lightning turns Ctrl-C into this after its own shutdown.
            if not isinstance(end.__context__, KeyboardInterrupt):
                raise
            status, error = "interrupted", how_to_go_on(record["arm"])
        finally:
            gc.unfreeze()
            if started is not None:
                measured["fit_seconds"] = _more(measured["fit_seconds"], time.perf_counter() - started)
            measured |= {
                name: part.notes()
                for name, part in (("data", parts.data), ("model", parts.task.net))
                if hasattr(part, "notes")
            }
            _measure(trainer, callbacks, curves, measured)
    return status, error


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    with warnings.catch_warnings():
        # The data lies in memory and a batch is one indexing: a worker process would only slow it down.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Losses reach the loggers through callbacks.Curves, whatever Lightning's interval.
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        # Lightning's own use of torch.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # Of the means that a task logs: torchmetrics has summed them over the processes already.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        yield


@contextlib.contextmanager
def _memory_kept() -> Iterator[None]:
    """What a step frees the next one takes: a tenth of a small model's time on a CPU, and no number changes."""
    import torch

    # Else glibc returns memory to the system at every step and evaluation, and the next one waits for each page.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD) if hasattr(libc, "mallopt") else ():
        libc.mallopt(*setting)
    # Deterministic torch fills memory before it is written, to show who reads it unwritten; nothing of ours does.
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before


def _trainer(parts: configs.Parts, folder: Path, loggers: Sequence[Any], *, interactive: bool) -> tuple[Any, list[Any]]:
    """The run's Trainer and what measures."""
    from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar

    from superpositional.callbacks import Curves
    from superpositional.checkpoints import WholeCheckpoints

    # Always there: it is what writes the curves and sees that a run diverges.
    callbacks = [Curves(), *parts.callbacks.values()]
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
        # Seconds matter in sweeps: without it, a second pass over the validation set.
        num_sanity_val_steps=0,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        **own,
    )
    return trainer, callbacks


def follow(folder: Path, checkpoint: Path | None) -> None:
    """Train along in another process of the run in ``folder``, and keep no record (``ranks``)."""
    import torch

    from superpositional import ranks
    from superpositional.callbacks import Diverged

    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    torch.set_num_threads(config["threads"])
    configs.quieten_lightning()
    parts = configs.build(config)
    with _quiet_lightning(), _memory_kept(), contextlib.suppress(Diverged):
        trainer, _ = _trainer(parts, folder, [], interactive=False)
        trainer.fit(parts.task, parts.data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(parts.task, parts.data, verbose=False)
    ranks.part()


def _measure(trainer: Any, callbacks: Sequence[Any], curves: Path, measured: dict[str, Any]) -> None:
    points = records.read_curves(curves)
    summary: dict[str, float] = {}
    for name, (_, values) in points.items():
        if name.startswith("test/"):
            summary[name] = float(values[-1])
        elif name.startswith("val/"):
            summary[f"{name}/last"] = float(values[-1])
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
    measured["warnings"] = [_without_paths(str(warning.message)) for warning in caught]
    for text in measured["warnings"]:
        say(f"Warning: {text}")
    measured["summary"] = summary


def _device(device: Any) -> str:
    """What the numbers were made on."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def say(text: str) -> None:
    """Tell whoever looks, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    follow(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
