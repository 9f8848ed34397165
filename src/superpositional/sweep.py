"""Which runs make a comparison, and how are they run?

Two Hydra plugins. ``ArmsSweeper`` lays out named arms times seeds times whatever else is swept, the arms of a seed side by
side, so that an unfinished sweep holds whole pairs. ``LocalLauncher`` checks every job before any starts, leaves finished
ones alone, and runs the rest, so many at once, each in a process of its own.

Why a launcher of ours: hydra-submitit's local one starts all jobs at once, hydra-joblib's reuses workers, so that one run's
random state, W&B run and threads leak into the next, and loses the log of a job that failed. Here a fork server imports
torch and Lightning once, and each run is a fresh fork of it.
"""

import itertools
import json
import multiprocessing
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from superpositional import config as configs
from superpositional import records

# Imported once, by the fork server; every run starts with them and with nothing done to them.
MODULES = ("train", "callbacks", "tasks", "data", "nets", "optimizer", "controls", "tracking")
PRELOADED = [*(f"superpositional.{name}" for name in MODULES), "wandb"]


class ArmsSweeper(Sweeper):
    """Arms times seeds times swept values.

    Args:
        arms: name of each arm, with its overrides; the first is the baseline. None: no arms but the swept values.
        params: further swept or fixed values, as Hydra's basic sweeper has them; the command line goes before them.
    """

    def __init__(self, arms: dict[str, list[str]] | None = None, params: dict[str, str] | None = None) -> None:
        self.arms = {str(name): list(overrides) for name, overrides in (arms or {}).items()}
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from superpositional.train import refuse

        try:
            jobs = self.jobs(arguments)
        except configs.ConfigError as error:
            refuse(error)
        return self.launcher.launch(jobs, initial_job_idx=0)

    def jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of every run, seeds outermost; each ends with its ``arm`` and ``seed``."""
        given = [f"{key}={value}" for key, value in self.params.items()]
        parsed = {_key(override): override for override in OverridesParser.create().parse_overrides([*given, *arguments])}
        taken = {_key(override) for overrides in self.arms.values() for override in _parse(overrides)} & set(parsed)
        if taken:
            raise configs.ConfigError(
                [f"{key} is set by this sweep's arms; leave it out, or write a sweep of your own" for key in sorted(taken)]
            )
        fixed = [override.input_line for override in parsed.values() if not override.is_sweep_override()]
        swept = {key: _values(override) for key, override in parsed.items() if override.is_sweep_override()}
        seeds = swept.pop("seed", None) or [str(parsed["seed"].value()) if "seed" in parsed else str(self.config.seed)]
        fixed = [text for text in fixed if text.lstrip("+").split("=", 1)[0] != "seed"]
        arms = {}
        for name, overrides in (self.arms or {"": []}).items():
            for values in itertools.product(*swept.values()):
                choices = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
                slug = re.sub(r"[^\w.=,+-]", "_", ",".join([*filter(None, [name]), *choices])) or "run"
                if slug in arms:
                    raise configs.ConfigError([f"two arms would share the folder {slug}; give one another name"])
                arms[slug] = [*(f"++{choice}" if "." in choice else choice for choice in choices), *overrides]
        return [[*fixed, *overrides, f"arm='{slug}'", f"seed={seed}"] for seed in seeds for slug, overrides in arms.items()]


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def _values(override: Override) -> list[str]:
    return list(dict.fromkeys(str(value) for value in override.sweep_string_iterator()))


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
            if not isinstance(self.at_once, int) or self.at_once < 1:
                raise configs.ConfigError([f"hydra.launcher.jobs must be an integer >= 1, got {self.at_once!r}"])
            planned = self._plan(job_overrides, console)
        except configs.ConfigError as error:
            refuse(error)
        folder = Path(self.config.hydra.sweep.dir)
        _write_plan(folder, planned)
        waiting = [job for job in planned if not job.finished()]
        if len(waiting) < len(planned):
            console.print(f"{len(planned) - len(waiting)} of {len(planned)} runs are there already")
        _run_all(waiting, self.at_once, console)
        statuses = _summarise(planned, folder, console)
        if set(statuses) != {"done"}:
            sys.exit(1)
        return [_returned(job) for job in planned]

    def _plan(self, job_overrides: Sequence[Sequence[str]], console: Console) -> list["_Job"]:
        """Compose every job, and check one of each arm: seeds differ by a number that Hydra has parsed."""
        loader = self.hydra_context.config_loader
        code = records.code_version()
        planned, mistakes, checked = [], [], set()
        with console.status(f"checking {len(job_overrides)} runs"):
            for number, overrides in enumerate(job_overrides):
                overrides = configs.lift(overrides, loader)
                cfg = loader.load_sweep_config(self.config, overrides)
                with open_dict(cfg):
                    cfg.hydra.job.id, cfg.hydra.job.num = f"job_{number}", number
                arm = cfg.arm
                if arm not in checked:
                    checked.add(arm)
                    try:
                        configs.check(cfg, loader)
                    except configs.ConfigError as error:
                        mistakes += [f"{arm}: {mistake}" for mistake in error.mistakes]
                        continue
                if not mistakes:
                    config = configs.compose_job(cfg)
                    run_folder = Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir
                    planned.append(_Job(config, run_folder, code))
        # What is wrong in every arm is said once.
        common = [text.split(": ", 1)[1] for text in mistakes]
        mistakes = [
            text.split(": ", 1)[1] if common.count(text.split(": ", 1)[1]) == len(checked) else text for text in mistakes
        ]
        if mistakes:
            raise configs.ConfigError(list(dict.fromkeys(mistakes)))
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

    def make_room(self) -> None:
        """Set aside what another config or code version left in this folder; nothing computed is ever lost."""
        record = self.record()
        if record is not None and record["identity"] != self.identity:
            aside = self.folder.parent.parent / "superseded" / self.folder.parent.name
            aside.mkdir(parents=True, exist_ok=True)
            self.folder.rename(aside / f"{self.folder.name}-{record['identity']}-{time.time_ns()}")


def _write_plan(folder: Path, planned: Sequence[_Job]) -> None:
    """``sweep.json``: what was asked for, and what earlier calls left here."""
    arms = [job.config["arm"] for job in planned]
    seeds = [job.config["seed"] for job in planned]
    path = folder / "sweep.json"
    if path.exists():
        before = json.loads(path.read_text())
        there = {(path.parent.parent.name, int(path.parent.name[5:])) for path in folder.glob("*/seed-*/record.json")}
        arms += [arm for arm in before["arms"] if arm in {arm for arm, _ in there}]
        seeds += [seed for seed in before["seeds"] if seed in {seed for _, seed in there}]
    plan = {
        "sweep": planned[0].config["sweep"],
        "question": planned[0].config["question"] or "",
        "arms": list(dict.fromkeys(arms)),
        "seeds": sorted(set(seeds)),
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
                        times = f"{ended}/{len(waiting)}, about {left / 60:.0f} min left"
                        progress.console.print(
                            f"{job.name}: {record['status']} in {record['wall_seconds'] or 0:.0f} s ({times})"
                        )
        except KeyboardInterrupt:
            progress.console.print("stopping: the runs at work record where they are; call the sweep again to go on")
            for process, job in running.values():
                process.join()
                _close(job, process.exitcode)
            raise SystemExit(1) from None


def _work(job: _Job, environment: dict[str, str]) -> None:
    """A worker's whole life: one run, with its output in ``run.log``."""
    from superpositional.train import run

    # A fork server keeps the environment of whoever started it first.
    os.environ.clear()
    os.environ.update(environment)
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
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
