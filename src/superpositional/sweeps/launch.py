"""Run a sweep's jobs on this machine: a Hydra launcher, and the base class that it shares with Slurm's.

All jobs are checked before any starts; those that have ended are left alone; each of the rest runs in a process of its own,
a fresh fork of a server that has imported torch and Lightning once. Hydra itself cannot resume a multirun (hydra #3328),
and the launchers of hydra-joblib and hydra-ray reuse workers, so that one run's random state leaks into the next.
"""

import multiprocessing
import signal
import sys
import tempfile
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher as HydraLauncher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from superpositional import places, records
from superpositional.places import ConfigError, not_integers
from superpositional.records import ledger, locks
from superpositional.sweeps import plan as plans
from superpositional.sweeps import progress, worker
from superpositional.sweeps.plan import Job
from superpositional.sweeps.progress import Pace, View, in_words
from superpositional.sweeps.worker import cores, gpus, takes_gpu
from superpositional.training import config as configs

# What the fork server imports, once.
PRELOADED = [
    "superpositional.sweeps.worker",
    "superpositional.tasks.classification.task",
    "superpositional.tasks.classification.net",
    "superpositional.tasks.classification.data",
    "superpositional.training.run",
    "superpositional.training.circuit_statistics",
    "superpositional.training.convergence",
    "superpositional.training.throughput",
    "superpositional.training.checkpoints",
    "superpositional.optim.optimizer",
    "superpositional.optim.placebo",
    "superpositional.tracking.run",
    "superpositional.tracking.contents",
    "wandb",
    "wandb.sdk.launch.inputs.internal",
    "qiskit",
    "matplotlib.pyplot",
]
GRACE = 30  # seconds that a run has to record where it is, once it is told to end
GO_ON, FINISH, STOP, KILL = range(4)  # what the sweep has been told, by as many times Ctrl-C


@dataclass(kw_only=True, eq=False)
class Launcher(HydraLauncher):
    """Check all jobs, leave alone what has ended, run the rest, and say how all ended.

    Args:
        jobs: how many runs at once.
        retry_failed: run again what has failed; without it, only what is missing, interrupted or changed.
        dry_run: only say what would run, how long it would take and how much it would write.
        run: runs a job, whose folder it must leave a record in, in the place of a process that trains; for tests.
    """

    at_the_end: ClassVar[int] = STOP  # what SIGTERM and SIGHUP mean
    answers: ClassVar = {
        FINISH: "no more runs are started; those at work go on to their end. Ctrl-C again stops them now",
        STOP: "stopping: the runs at work record where they are; call the sweep again to go on",
        KILL: "killing the runs at work; call the sweep again to go on",
    }
    jobs: int | None = None
    retry_failed: bool = False
    dry_run: bool = False
    run: Callable[[Job], None] | None = None

    def __post_init__(self) -> None:
        self.told, self.heard, self.given_up, self.hung_up = GO_ON, GO_ON, False, False

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from superpositional.training.run import build_kernels
        from superpositional.training.train import cannot_write, refuse

        # Messages are others' and may hold what rich takes for markup.
        console = Console(highlight=False, markup=False)
        folder = Path(self.config.hydra.sweep.dir)
        try:
            if wrong := self.mistakes():
                raise ConfigError(wrong)
            if not console.is_terminal:
                console.print(f"checking {len(job_overrides)} runs")
            with console.status(f"checking {len(job_overrides)} runs"):
                planned = plans.plan(self.hydra_context.config_loader, self.config, job_overrides)
            if not self.dry_run:
                places.check_writable(folder)
            progress.say_stand_in(planned, console)
            at_once = self.slots(planned)
            if self.run is None:
                build_kernels()
            if self.dry_run:
                waiting, pace = self._waiting(planned), Pace(planned)
                with console.status("trying a few batches of each kind of run"):
                    self.try_out(waiting, pace)
                progress.say_dry_run(planned, waiting, folder, at_once, pace, console)
                return []
            with locks.alone_in(folder):
                # What another call has finished up to now is not to be run.
                waiting = self._waiting(planned)
                self.refuse_what_runs(waiting, folder)
                if back := [job for job in waiting if job.take_back()]:
                    waiting = [job for job in waiting if job not in back]
                    console.print(
                        f"{len(back)} runs of these very settings are taken back from {folder / records.SUPERSEDED}"
                    )
                sought = plans.write_plan(folder, planned, self.config.hydra.sweeper).get("search")
                try:
                    self._work_off(planned, waiting, folder, at_once, console)
                finally:
                    if sought is not None:
                        ledger.write(folder)
                metric = None if sought is None else sought["metric"]
                statuses = progress.say_summary(planned, folder, console, metric=metric)
        except ConfigError as error:
            refuse(error)
        except OSError as error:
            # Perhaps after some runs: they are recorded, and the next call goes on.
            cannot_write(error)
        except records.Unreadable as error:
            sys.stderr.write(f"superpositional: {error}\n")
            sys.exit(2)
        if self.told:
            sys.exit(130)
        if set(statuses) != {"done"}:
            sys.exit(1)
        return [_returned(job) for job in planned]

    def _waiting(self, planned: Sequence[Job]) -> list[Job]:
        return [job for job in planned if job.waits(retry_failed=self.retry_failed)]

    def mistakes(self) -> list[str]:
        """What is wrong with the launcher's own settings, and where it is called."""
        wrong = []
        if threading.current_thread() is not threading.main_thread():
            wrong.append("a sweep must be started from the main thread, which alone can heed Ctrl-C; got another one")
        if self.jobs is not None:
            wrong += not_integers({"hydra.launcher.jobs": (self.jobs, 1, "null is one per core or GPU")})
        if self.run is not None and not callable(self.run):
            wrong.append(f"hydra.launcher.run must be a callable, given in Python alone, got {self.run!r}; remove it")
        for name in ("retry_failed", "dry_run"):
            if type(value := getattr(self, name)) is not bool:
                wrong.append(f"hydra.launcher.{name} must be true or false, got {value!r}")
        return wrong

    def try_out(self, waiting: Sequence[Job], pace: Pace) -> None:
        """Learn how long runs take of which no record tells. Nothing is tried where runs would not run.

        Raises:
            ConfigError: a trial did not end well, and nor would its runs.
        """

    @abstractmethod
    def slots(self, planned: Sequence[Job]) -> int:
        """How many runs at once."""

    def refuse_what_runs(self, waiting: Sequence[Job], folder: Path) -> None:
        """Raise ConfigError if runs of an earlier call are still going on, for nobody may run them a second time."""
        if left := [job.folder for job in waiting if job.is_running()]:
            raise ConfigError(
                [f"{each} is still being run, by a process that a killed call has left; wait for its end" for each in left]
            )

    @abstractmethod
    def run_all(self, waiting: Sequence[Job], folder: Path, view: View) -> None:
        """Run the jobs; ``self.told`` says, at any time, what the user wants of them."""

    def heed(self, view: View) -> bool:
        """Answer what the user has said since; returns whether more runs may be started."""
        if self.hung_up:
            view.mute()
            self.hung_up = False
        if self.told != self.heard:
            self.heard = self.told
            view.say(self.answers[self.told])
        return self.told == GO_ON and not self.given_up

    def _work_off(
        self, planned: Sequence[Job], waiting: Sequence[Job], folder: Path, at_once: int, console: Console
    ) -> None:
        """Run what waits."""
        if len(waiting) < len(planned):
            console.print(f"{len(planned) - len(waiting)} of {len(planned)} runs are there already")
        if failed := sum(job.status() == "failed" for job in planned if job not in waiting):
            console.print(f"{failed} of them failed and are left as they are; --retry-failed runs them again")
        if replaced := sum(job.made_otherwise() for job in waiting):
            console.print(
                f"{replaced} runs of another config or code version make room in {folder / records.SUPERSEDED}; called by "
                "the words they were made with, the sweep takes them back"
            )
        if not waiting:
            return
        started = time.monotonic()
        # SIGTERM is a scheduler's way to say that it will kill us soon, SIGHUP a terminal's to say that it is gone; under
        # nohup it is ignored, and stays so.
        heeded = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        handlers = {number: signal.getsignal(number) for number in heeded}
        for number in heeded:
            if handlers[number] != signal.SIG_IGN:
                signal.signal(number, self._tell)
        try:
            with View(planned, waiting, at_once, console) as view:
                (self.run_all if self.run is None else self._run_here)(waiting, folder, view)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        console.print(f"{in_words(time.monotonic() - started)}, {at_once} at once")

    def _run_here(self, waiting: Sequence[Job], folder: Path, view: View) -> None:
        """Run the jobs by ``run``, one after another."""
        for job in waiting:
            if not self.heed(view):
                break
            job.prepare()
            view.started(job)
            self.run(job)
            view.ended(job, job.record())

    def _tell(self, number: int, _: Any) -> None:
        # No more than noted here, for a signal may come in the middle of a line that is being written.
        self.hung_up |= number == signal.SIGHUP
        self.told = min(self.told + 1, KILL) if number == signal.SIGINT else max(self.at_the_end, self.told)


@dataclass(kw_only=True, eq=False)
class LocalLauncher(Launcher):
    """Runs on this machine. Args as for ``Launcher``, and:

    Args:
        jobs: how many runs at once; null: as many as the cores hold of ``threads`` each, or ``per_gpu`` for each GPU.
        per_gpu: how many runs share one GPU.
    """

    per_gpu: int = 1

    def mistakes(self) -> list[str]:
        return super().mistakes() + not_integers({"hydra.launcher.per_gpu": (self.per_gpu, 1, "1 shares no GPU")})

    def slots(self, planned: Sequence[Job]) -> int:
        self.gpus = gpus() if any(takes_gpu(job.config["trainer"]) for job in planned) else []
        threads = max(job.config["threads"] for job in planned)
        return self.jobs or len(self.gpus) * self.per_gpu or max(1, cores() // threads)

    def refuse_what_runs(self, waiting: Sequence[Job], folder: Path) -> None:
        super().refuse_what_runs(waiting, folder)
        if queued := plans.in_queue(folder, waiting):
            raise ConfigError(
                [
                    f"{job.folder} is in Slurm's queue as {task}; hydra/launcher=slurm attends to it, scancel removes it"
                    for job, task in queued.items()
                ]
            )

    def run_all(self, waiting: Sequence[Job], folder: Path, view: View) -> None:
        from superpositional.tracking import run as tracking

        running: dict[int, tuple[Any, Job, int]] = {}
        # Asked once: where no server answers, each of the runs would wait for it.
        tracked, line = tracking.settle([job.config["logger"] for job in waiting if job.config.get("logger")])
        if line:
            view.say(line)
        queue, free = list(waiting), list(range(view.at_once))
        deadline, changed = None, False
        while running or (queue and self.heed(view)):
            while queue and free and self.heed(view):
                job, slot = queue.pop(0), free.pop(0)
                try:
                    process = worker.start(job, _server(), {**tracked, **self._gpu(slot)})
                except (OSError, EOFError, ConfigError) as error:
                    # A full disk, a fork server that could not import. What is at work goes on to its end.
                    self.given_up = True
                    view.say(f"{job.name} cannot be started: {_told(error)}")
                    break
                if len(queue) == len(waiting) - 1 and configs.code(job.config) != job.code:
                    # Between the planning and the server's imports.
                    self.given_up = changed = True
                    view.say("the code has changed since the sweep was planned; call it again")
                running[process.sentinel] = process, job, slot
                view.started(job)
            for sentinel in wait(list(running), timeout=0.5):
                process, job, slot = running.pop(sentinel)
                free.append(slot)
                try:
                    view.ended(job, worker.close(job, process, stopped=self.told >= STOP or changed))
                except OSError as error:
                    self.given_up = True
                    view.say(f"{job.name} cannot be recorded: {error}; free some space and call the sweep again")
            if (self.told >= STOP or changed) and deadline is None:
                deadline = time.monotonic() + GRACE
                for process, _, _ in running.values():
                    process.terminate()
            if self.told == KILL or (deadline is not None and time.monotonic() > deadline):
                for process, _, _ in running.values():
                    process.kill()
            self.heed(view)
            view.refresh()

    def try_out(self, waiting: Sequence[Job], pace: Pace) -> None:
        failed = []
        context = _server()
        with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
            for number, alike in enumerate(progress.kinds(waiting, pace).values()):
                tried = progress.trial(alike[0], Path(folder) / str(number))
                # One after the other, for side by side they would slow each other down in another way than runs do.
                record = worker.close(tried, worker.start(tried, context, self._gpu(0)))
                if record["status"] in ("done", "diverged"):
                    if (known := progress.extrapolated(tried, alike[0])) is not None:
                        pace.trials |= {job.arm: known for job in alike}
                else:
                    failed.append(f"{alike[0].arm}: a trial of it failed: {record['error']}")
        if failed:
            raise ConfigError(failed)

    def _gpu(self, slot: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}


def _server() -> BaseContext:
    """The fork server, started such that what a terminal sends to it and to the runs too is for us alone to heed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return context


def _told(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the fork server ended while it imported; `python -c 'import superpositional.training.train'` may say why"
    return str(error)


def _returned(job: Job) -> JobReturn:
    result = JobReturn(cfg=OmegaConf.create(job.config), working_dir=str(job.folder), status=JobStatus.COMPLETED)
    result.return_value = job.record()
    return result
