"""How are the runs of a comparison run?

A Hydra plugin: ``LocalLauncher`` checks every job before any starts, leaves finished ones alone, and runs the rest, so many
at once, each in a process of its own.

Why a launcher of ours: hydra-submitit's local one starts all jobs at once, hydra-joblib's reuses workers, so that one run's
random state, W&B run and threads leak into the next, and loses the log of a job that failed. Here a fork server imports
torch and Lightning once, and each run is a fresh fork of it.
"""

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from superpositional import check, records
from superpositional import config as configs

# Imported once, by the fork server; every run starts with them and with nothing done to them.
MODULES = (
    "launch",
    "train",
    "callbacks",
    "circuit_statistics",
    "tasks",
    "data",
    "nets",
    "optimizer",
    "controls",
    "tracking",
)
PRELOADED = [*(f"superpositional.{name}" for name in MODULES), "wandb", "qiskit", "matplotlib.pyplot"]


class LocalLauncher(Launcher):
    """Runs on this machine, ``jobs`` at once.

    Args:
        jobs: how many runs at once; each takes ``threads`` cores.
    """

    def __init__(self, jobs: int = 2) -> None:
        self.at_once = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from superpositional.train import refuse

        console = Console(highlight=False)
        try:
            planned = self._plan(job_overrides, console)
        except configs.ConfigError as error:
            refuse(error)
        folder = Path(self.config.hydra.sweep.dir)
        try:
            with _alone_in(folder, planned):
                statuses = self._work_off(planned, folder, console)
        except configs.ConfigError as error:
            refuse(error)
        if set(statuses) != {"done"}:
            sys.exit(1)
        return [_returned(job) for job in planned]

    def _work_off(self, planned: Sequence["_Job"], folder: Path, console: Console) -> list[str]:
        """Run what is not finished and say how all ended."""
        _write_plan(folder, planned)
        waiting = [job for job in planned if not job.finished()]
        if len(waiting) < len(planned):
            console.print(f"{len(planned) - len(waiting)} of {len(planned)} runs are there already")
        if replaced := sum(job.made_otherwise() for job in waiting):
            console.print(f"{replaced} runs of another config or code version make room in {folder / 'superseded'}")
        _run_all(waiting, self.at_once, console)
        return _summarise(planned, folder, console)

    def _plan(self, job_overrides: Sequence[Sequence[str]], console: Console) -> list["_Job"]:
        """Compose every job and check it: one of each arm in full, the others for their seed."""
        loader = self.hydra_context.config_loader
        planned, codes, mistakes, unread = [], {}, {}, {}
        if not isinstance(self.at_once, int) or self.at_once < 1:
            mistakes[""] = [f"hydra.launcher.jobs must be an integer >= 1, got {self.at_once!r}; one per core is usual"]
        with console.status(f"checking {len(job_overrides)} runs"):
            for number, overrides in enumerate(job_overrides):
                arm = overrides[-2].removeprefix("arm=").strip("'")
                if arm in mistakes:
                    continue
                try:
                    cfg = loader.load_sweep_config(self.config, configs.lift(overrides, loader))
                    with open_dict(cfg):
                        cfg.hydra.job.id, cfg.hydra.job.num = f"job_{number}", number
                    if arm not in codes:
                        try:
                            check.check(cfg, loader)
                        except configs.ConfigError as error:
                            if set(error.mistakes) != set(error.unread):
                                raise
                            unread[arm] = error.unread
                    elif wrong := list(check.bad_scalars(cfg)):
                        raise configs.ConfigError(wrong)
                    config = configs.compose_job(cfg)
                    if arm not in codes:
                        codes[arm] = configs.code_version(config)
                    folder = Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir
                    planned.append(_Job(config, folder, codes[arm]))
                except configs.ConfigError as error:
                    mistakes[arm] = error.mistakes
                except (HydraException, OmegaConfBaseException) as error:
                    mistakes[arm] = [configs.in_short(error)]
        circuits = {job.config["arm"]: job.config.get("circuit") or {} for job in planned}
        for arm, texts in unread.items():
            for text, (key, value) in texts.items():
                # A setting of the whole sweep, which another arm reads, is none of this arm's.
                others = [name for name, circuit in circuits.items() if circuit.get(key) == value]
                if all(text in unread.get(name, {}) for name in others):
                    mistakes.setdefault(arm, []).append(text)
        if mistakes:
            arms = len({overrides[-2] for overrides in job_overrides})
            said: dict[str, list[str]] = {}
            for arm, texts in mistakes.items():
                for text in texts:
                    said.setdefault(text, []).append(arm)
            # What is wrong in several arms is said once, with their names unless they are all.
            raise configs.ConfigError(
                [
                    text if names == [""] or len(names) == arms else f"{' and '.join(names)}: {text}"
                    for text, names in said.items()
                ]
            )
        return planned


class _Job:
    """One run of a sweep: its config, its folder and the identity it must have to count as done."""

    def __init__(self, config: dict[str, Any], folder: Path, code: str) -> None:
        self.config, self.folder, self.code = config, folder, code
        self.identity = records.identity(config, code)

    @property
    def name(self) -> str:
        return f"{self.config['arm']} seed {self.config['seed']}"

    def record(self) -> dict[str, Any] | None:
        return records.read_record(self.folder)

    def finished(self) -> bool:
        """Done or diverged, by this very config and code: nothing that runs again would give another number."""
        record = self.record()
        return record is not None and record["identity"] == self.identity and record["status"] in ("done", "diverged")

    def made_otherwise(self) -> bool:
        """Whether the folder holds a run of another config or code version."""
        record = self.record()
        return record is not None and record["identity"] != self.identity

    def make_room(self) -> None:
        """Set aside what another config or code version left in this folder; nothing computed is ever lost."""
        record = self.record()
        if record is None:
            return
        if record["identity"] == self.identity:
            # To be run again. If the worker dies early, this record must not pass for its own.
            (self.folder / "record.json").unlink()
            return
        aside = self.folder.parent.parent / "superseded" / self.folder.parent.name
        aside.mkdir(parents=True, exist_ok=True)
        self.folder.rename(aside / f"{self.folder.name}-{record['identity']}-{time.time_ns()}")


@contextlib.contextmanager
def _alone_in(folder: Path, planned: Sequence[_Job]) -> Iterator[None]:
    """Hold the sweep's folder against a second call, here or on another machine that shares it.

    The system lets go of a lock when its process ends, however it ends, so that none is ever left behind.

    Raises:
        ConfigError: another call is at work there, or a run that a killed call has left running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+") as file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise configs.ConfigError(
                [f"{folder} is at work already: {file.read().strip()}; wait for it, or choose hydra.sweep.dir=..."]
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        if left := [job.folder for job in planned if not job.finished() and _is_running(job.folder / "run.log")]:
            raise configs.ConfigError(
                [f"{each} is still being run, by a process that a killed call has left; wait for its end" for each in left]
            )
        yield


def _locked(descriptor: int) -> bool:
    """Take the lock of an open file, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_running(log: Path) -> bool:
    """Whether a worker holds its log."""
    if not log.exists():
        return False
    with open(log) as file:
        return not _locked(file.fileno())


def _write_plan(folder: Path, planned: Sequence[_Job]) -> None:
    """``sweep.json``: what was asked for, and what earlier calls left here of the same arms, or of others."""
    families = {job.config["arm"]: records.family(job.config, job.code) for job in planned}
    seeds = {job.config["seed"] for job in planned}
    path = folder / "sweep.json"
    if path.exists():
        before = json.loads(path.read_text())
        there = [json.loads(record.read_text()) for record in folder.glob("*/seed-*/record.json")]
        families |= {arm: family for arm, family in before["families"].items() if arm not in families}
        seeds |= {record["seed"] for record in there if record["family"] == families.get(record["arm"])}
    plan = {
        "sweep": planned[0].config["sweep"],
        "question": planned[0].config["question"] or "",
        "arms": list(families),
        "seeds": sorted(seeds),
        "families": families,
    }
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(path, plan)


def _run_all(waiting: Sequence[_Job], at_once: int, console: Console) -> None:
    """Run the jobs, ``at_once`` at a time; on Ctrl-C start no more and let the running ones record their end."""
    if not waiting:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    running: dict[int, tuple[BaseProcess, _Job]] = {}
    queue = list(waiting)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    started, ended = time.monotonic(), 0
    # A scheduler's SIGTERM is a Ctrl-C that only we get.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A run's length is known after the first few; the default averages over 30 seconds, shorter than some runs.
    with Progress(*columns, console=console, speed_estimate_period=3600, disable=not console.is_terminal) as progress:
        bar = progress.add_task("runs", total=len(queue))
        try:
            while queue or running:
                while queue and len(running) < at_once:
                    job = queue.pop(0)
                    job.make_room()
                    process = context.Process(target=_work, args=(job, dict(os.environ)), name=job.name)
                    process.start()
                    running[process.sentinel] = (process, job)
                for sentinel in wait(list(running)):
                    process, job = running.pop(sentinel)
                    process.join()
                    _close(job, process.exitcode)
                    ended += 1
                    progress.advance(bar)
                    left = (time.monotonic() - started) / ended * (len(waiting) - ended)
                    record = job.record()
                    if record["status"] != "done" or not console.is_terminal:
                        left_in_words = f"{left / 60:.0f} min" if left > 120 else f"{left:.0f} s"
                        times = f"{ended}/{len(waiting)}, about {left_in_words} left"
                        took = "" if record["wall_seconds"] is None else f" in {record['wall_seconds']:.0f} s"
                        progress.console.print(f"{job.name}: {record['status']}{took} ({times})")
        except KeyboardInterrupt:
            progress.console.print("stopping: the runs at work record where they are; call the sweep again to go on")
            for process, job in running.values():
                process.join()
                _close(job, process.exitcode)
            raise SystemExit(1) from None
        finally:
            signal.signal(signal.SIGTERM, before)


def _work(job: _Job, environment: dict[str, str]) -> None:
    """A worker's whole life: one run, with its output in ``run.log``."""
    from superpositional.train import run

    # A fork server keeps the environment of whoever started it first.
    os.environ.clear()
    os.environ.update(environment)
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    # Tells a later call that this run goes on, should the call that started it be killed. By a descriptor of its own, which
    # no child process inherits: W&B's may outlive the run.
    fcntl.flock(os.open(job.folder / "run.log", os.O_RDONLY), fcntl.LOCK_EX)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        record = run(job.config, job.folder, code=job.code)
    except Exception:
        traceback.print_exc()
        raise
    # Without the interpreter's teardown, which waits for what torch and wandb have registered: a second per run.
    sys.stdout.flush()
    os._exit(0 if record["status"] == "done" else 1)


def _close(job: _Job, exit_code: int | None) -> None:
    """A worker that died before it could write its record still has one, and its log."""
    record = job.record()
    if record is not None and record["identity"] == job.identity:
        return
    from superpositional.train import opening

    job.folder.mkdir(parents=True, exist_ok=True)
    error = f"the process ended with exit code {exit_code} before its record was written; see run.log"
    lost = {"status": "failed", "error": error, "summary": {}, "wall_seconds": None}
    records.write_record(job.folder, opening(job.config, job.code) | lost)
    (job.folder / "error.txt").write_text(error + "\n")


def _summarise(planned: Sequence[_Job], folder: Path, console: Console) -> list[str]:
    """A table of statuses by arm; the errors of what failed."""
    table = Table(title=f"{planned[0].config['sweep']}: {len(planned)} runs")
    table.add_column("arm")
    for status in records.STATUSES:
        table.add_column(status, justify="right")
    found = [(job, job.record()) for job in planned]
    statuses = [record["status"] if record else "missing" for _, record in found]
    for arm in dict.fromkeys(job.config["arm"] for job in planned):
        own = [status for (job, _), status in zip(found, statuses, strict=True) if job.config["arm"] == arm]
        table.add_row(arm, *(str(own.count(status) or "–") for status in records.STATUSES))
    console.print(table)
    for job, record in found:
        if record and record["status"] != "done":
            console.print(f"{job.name}: {record['status']}: {record['error']} ({job.folder})")
    console.print(f"records in {folder}; `superpositional report {folder}` makes figures and tables of them")
    return statuses


def _returned(job: _Job) -> JobReturn:
    result = JobReturn(cfg=OmegaConf.create(job.config), working_dir=str(job.folder), status=JobStatus.COMPLETED)
    result.return_value = job.record()
    return result
