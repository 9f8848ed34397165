"""One run, from a checked config to a closed record.

It trains, tests once at the end, and writes the record last, whatever ended it. Importing this module is light; torch and
Lightning come with the run.
"""

import datetime
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from superpositional import records
from superpositional.records import RUNNING, claims, identity, locks
from superpositional.seeds import STREAMS, stream
from superpositional.training import config as configs
from superpositional.training import fit
from superpositional.training.fit import more, say, without_paths

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "numpy", "wandb", "qiskit", "qiskit-aer")
EXTRAS = ("transformers", "tokenizers", "peft")  # of those who fine-tune


def run(
    config: Mapping[str, Any], folder: Path, *, code: identity.Code | None = None, resume: bool = False
) -> dict[str, Any]:
    """Train one resolved, checked config into ``folder`` and return its record.

    ``code`` is ``config.code`` from when the process, or its fork server, imported the code, where the files may have been
    edited since. With ``resume`` the run starts from the folder's checkpoint, to the same end as if it had never stopped.

    Whatever ends the run, the record says so: ``done``, ``diverged`` (a value was not finite), ``interrupted``, or
    ``failed``, with the traceback in ``error.txt``.

    Raises:
        ConfigError: another process is at work in the folder.
    """
    build_kernels()
    with locks.alone_in(folder):
        return run_alone(config, folder, code=code or configs.code(config), resume=resume)


@functools.cache
def build_kernels() -> None:
    """Compile the C++ kernels if they are not there, and say so at once: no training waits for it. Once per process."""
    from superpositional.circuits.kernels import build

    build.make(say)


def run_alone(config: Mapping[str, Any], folder: Path, *, code: identity.Code, resume: bool = False) -> dict[str, Any]:
    """``run`` for a process that holds the folder's lock already."""
    import torch

    from superpositional.circuits.kernels import build
    from superpositional.training import checkpoints
    from superpositional.training.throughput import peak_bytes

    found = _resumable(folder) if resume else None
    torch.set_num_threads(config["threads"])
    record = opening(config, code) | {"processor": processor_name(), "kernels": build.told()}
    measured: dict[str, Any] = {"summary": {}, "sessions": 1, "fit_seconds": 0.0}
    seconds_before, peak_before = 0.0, 0
    if found is not None:
        # A session that was killed has left no record, and nobody knows how long it took.
        before = records.left_in(folder)
        record |= {"started": before["started"], "wandb_id": before["wandb_id"]}
        measured |= {"sessions": before["sessions"] + 1, "fit_seconds": before["fit_seconds"]}
        seconds_before, peak_before = before["wall_seconds"], before.get("peak_memory_bytes", 0)
    for stale in ("record.json", "error.txt"):
        (folder / stale).unlink(missing_ok=True)
    if found is None:
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
        record["measures"] = [each.plain() for each in getattr(parts.task, "measures", ())]
        status, error = fit.train(parts, folder, record, measured, found)
    except KeyboardInterrupt:
        status = "interrupted"
    except (Exception, SystemExit):
        # Recorded, and shown by whoever called: a failed run must leave its traceback and not take a sweep down.
        # Of what no encoding can write, such as a file name's stray bytes, the number.
        error = traceback.format_exc().encode(errors="backslashreplace").decode()
    finally:
        if status == "interrupted":
            again = "call the sweep again to go on"
            alone = "`superpositional train resume=<this folder>` goes on if there is a checkpoint"
            error = alone if config["arm"] is None else again
        record |= measured | {
            "status": status,
            "error": error and without_paths(error.strip().splitlines()[-1]),
            "wall_seconds": more(seconds_before, time.perf_counter() - started),
            "peak_memory_bytes": max(peak_before, peak_bytes()),
        }
        if torch.cuda.is_available():
            record["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
        record["curves"] = records.vouch(folder / "curves.csv")
        # Before anything else that could fail: the files on disk are the source of truth.
        records.write_record(folder, record)
        (folder / RUNNING).unlink()
        callbacks = parts.callbacks.values() if status == "done" else ()
        if points := [each for each in callbacks if isinstance(each, checkpoints.ResumePoint)]:
            checkpoints.remove(folder, but_the_last=any(point.keep for point in points))
        if error:
            (folder / "error.txt").write_text(error.rstrip() + "\n", encoding="utf-8")
        if tracking is not None:
            tracking.close(folder, record, say)
    return record


def _resumable(folder: Path) -> tuple[Path, int] | None:
    """Return the checkpoint to resume from and the number of steps before it; None if the run starts from nothing."""
    from superpositional.training import checkpoints

    found, broken = checkpoints.newest(folder)
    for path in broken:
        since = "starts from nothing" if found is None else f"goes on from {found[0].name}"
        say(f"{path} cannot be read and is now {path.name}.broken; the run {since}")
    if found is None or (last := records.last_step(folder / "curves.csv")) >= found[1]:
        return found
    aside = folder / f"without-curves-{time.time_ns()}"
    found[0].parent.rename(aside)
    say(
        f"curves.csv ends at step {last} and {found[0].name} is of step {found[1]}, so the run starts from nothing; "
        f"the checkpoints are in {aside.name}"
    )
    return None


def opening(config: Mapping[str, Any], code: identity.Code) -> dict[str, Any]:
    """Return what is known of a run before it starts."""
    extras = [name for name in EXTRAS if importlib.util.find_spec(name) is not None]
    return {
        "sweep": config["sweep"],
        "arm": config["arm"],
        "seed": config["seed"],
        "question": config["question"],
        "identity": identity.identity(config, code.version),
        "family": identity.family(config, code.version),
        "wandb_id": None,
        "code": code.version,
        "sources": dict(code.sources),
        "execution": "eager",
        "seeds": {name: stream(config["seed"], name) for name in STREAMS},
        "config": _portable({key: value for key, value in config.items() if key != "claims"}),
        # Of what was claimed before the run: claims that were changed since are told by it.
        "claims": claims.digest(config["claims"]),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in (*PACKAGES, *extras)},
        "git": identity.git_state(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        # Which machine, without its name; and how busy it was: processes that ran or waited, over the last minute.
        "machine": hashlib.sha256(platform.node().encode()).hexdigest()[:8],
        "load": os.getloadavg()[0],
    }


def _portable(value: Any) -> Any:
    """The config without the machine's own paths, for records that others read; ``config.yaml`` keeps them to resume by."""
    if isinstance(value, dict):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_portable(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def processor_name() -> str:
    """Whose instructions computed, for a result's last bits depend on them: its name, and the widest that torch uses."""
    import torch

    info = Path("/proc/cpuinfo")  # on Linux alone
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
