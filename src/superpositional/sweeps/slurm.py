"""Run a sweep's jobs on Slurm, as one job array, by submitit: a Hydra launcher.

The launcher only watches: records appear in the sweep's folder, which all nodes share, and the array goes on without it;
the same command attends to it again. A task that Slurm preempts or that runs out of time is requeued and resumes from its
last checkpoint. hydra-submitit-launcher does none of this: it submits again what is done and waits for all jobs.
"""

import math
import multiprocessing
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from superpositional import records
from superpositional.places import ConfigError, not_integers
from superpositional.sweeps import plan as plans
from superpositional.sweeps import worker
from superpositional.sweeps.launch import FINISH, GO_ON, GRACE, KILL, STOP, Launcher
from superpositional.sweeps.plan import Job
from superpositional.sweeps.progress import View
from superpositional.training import config as configs

LOOK_EVERY = 2  # seconds
NOTICE = 90  # seconds before the time limit at which a task is told, to record where it is and be requeued


class SlurmLauncher(Launcher):
    """Runs as one job array of Slurm's, a task each. Needs submitit, and a folder that all nodes share.

    Args:
        jobs: tasks at once; null: as many as Slurm grants.
        retry_failed, dry_run: as for ``Launcher``.
        timeout_min: time limit of a task; one that needs longer is requeued and resumes from its last checkpoint.
        requeues: how often that may happen to a task. Preemption does not count.
        cpus_per_task: null: the ``threads`` of a run.
        gpus_per_node, mem_gb, partition, account, qos, constraint: as ``sbatch`` has them; null: the cluster's defaults.
        setup: lines of shell before a task, such as ``module load cuda``.
        additional_parameters: any other options of ``sbatch``, by name.
    """

    at_the_end: ClassVar[int] = KILL  # the array goes on without us
    answers: ClassVar = {
        FINISH: "no more tasks are started; those that run go on to their end. Ctrl-C again stops them now",
        STOP: "stopping: the runs at work record where they are; call the sweep again to go on",
        KILL: "left to Slurm; call the sweep again to attend to what still runs",
    }

    def __init__(
        self,
        *,
        timeout_min: int = 60,
        requeues: int = 10,
        cpus_per_task: int | None = None,
        gpus_per_node: int | None = None,
        mem_gb: float | None = None,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        setup: Sequence[str] = (),
        additional_parameters: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        retry_failed: bool = False,
        dry_run: bool = False,
    ) -> None:
        super().__init__(jobs=jobs, retry_failed=retry_failed, dry_run=dry_run)
        self.timeout_min, self.requeues, self.mem_gb = timeout_min, requeues, mem_gb
        asked = {"cpus_per_task": cpus_per_task, "gpus_per_node": gpus_per_node, "partition": partition}
        asked |= {"account": account, "qos": qos, "constraint": constraint, "setup": list(setup)}
        self.asked = asked | {"additional_parameters": dict(additional_parameters or {})}

    def mistakes(self) -> list[str]:
        sizes = {"timeout_min": (self.timeout_min, 1, "60 is usual"), "requeues": (self.requeues, 0, "10 is usual")}
        wrong = super().mistakes() + not_integers({f"hydra.launcher.{name}": each for name, each in sizes.items()})
        if self.mem_gb is not None and (type(self.mem_gb) not in (int, float) or not self.mem_gb > 0):
            wrong.append(f"hydra.launcher.mem_gb must be a number > 0, got {self.mem_gb!r}; null is the cluster's default")
        if not self.dry_run:
            if shutil.which("sbatch") is None or shutil.which("squeue") is None:
                wrong.append(
                    "hydra/launcher=slurm needs Slurm's sbatch and squeue on PATH; call it on a node of the cluster"
                )
            try:
                import submitit  # noqa: F401
            except ModuleNotFoundError:
                wrong.append("hydra/launcher=slurm needs submitit; pip install '.[slurm]'")
        return wrong

    def slots(self, planned: Sequence[Job]) -> int:
        return self.jobs or len(planned)

    def refuse_what_runs(self, waiting: Sequence[Job], folder: Path) -> None:
        # What is in the queue is attended to.
        queued = plans.in_queue(folder, waiting)
        super().refuse_what_runs([job for job in waiting if job not in queued], folder)

    def run_all(self, waiting: Sequence[Job], folder: Path, view: View) -> None:
        tasks = plans.in_queue(folder, waiting)
        if tasks:
            view.say(f"{len(tasks)} runs are in Slurm's queue already and are attended to")
        tasks |= self._submit([job for job in waiting if job not in tasks], folder, view)
        missed: set[Job] = set()
        asked_for, trouble = GO_ON, None
        while tasks:
            time.sleep(LOOK_EVERY)
            try:
                states = {task.id: task.state for task in plans.slurm_tasks()}
            except ConfigError as error:
                # The array goes on while Slurm's controller restarts.
                if str(error) != trouble:
                    view.say(f"{error} Asking again.")
                    trouble = str(error)
                continue
            # As many at once as Slurm has granted, for the time that is left.
            view.at_once = max(1, sum(states.get(task) == "RUNNING" for task in tasks.values()))
            for job, task in list(tasks.items()):
                if job.status() in ("done", "diverged"):
                    # Whatever Slurm still does with the task, nothing of the run is left to do.
                    del tasks[job]
                    view.ended(job, job.record())
                elif task in states:
                    missed.discard(job)
                    if states[task] == "RUNNING" and job in view.queue:
                        view.started(job)
                # Gone from two looks in a row: one may fall between a task's end and its place in the queue again, and
                # a record takes its time through a network file system.
                elif job not in missed:
                    missed.add(job)
                else:
                    del tasks[job]
                    self._end(job, task, folder, view)
            self.heed(view)
            if self.told == KILL:
                return
            wanted = STOP if self.told == STOP else FINISH if self.told or self.given_up else GO_ON
            if wanted > asked_for and (alive := [task for task in tasks.values() if task in states]):
                asked_for = wanted
                waiting_ones = ["--state=PENDING"] if wanted == FINISH else []
                # Its return code speaks of tasks that have ended meanwhile, too; the queue tells at the next look.
                subprocess.run(["scancel", *waiting_ones, *alive], check=False, capture_output=True)
            view.refresh()

    def _submit(self, fresh: Sequence[Job], folder: Path, view: View) -> dict[Job, str]:
        """One job array of these jobs."""
        if not fresh:
            return {}
        import submitit

        log = (folder / plans.SUBMITTED).parent.resolve()
        executor = submitit.SlurmExecutor(folder=log, max_num_timeout=self.requeues)
        asked = {name: value for name, value in self.asked.items() if value is not None}
        if self.mem_gb is not None:
            asked["mem"] = f"{math.ceil(1024 * self.mem_gb)}M"  # Slurm takes whole numbers
        asked.setdefault("cpus_per_task", max(job.config["threads"] for job in fresh))
        name = f"superpositional-{fresh[0].config['sweep']}-{secrets.token_hex(4)}"
        executor.update_parameters(
            job_name=name,
            time=self.timeout_min,
            signal_delay_s=NOTICE,
            array_parallelism=self.jobs or len(fresh),
            **asked,
        )
        for job in fresh:
            job.folder = job.folder.resolve()
        # Written before Slurm hears of it, so that a launcher that is killed in between leaves no array unknown.
        path = folder / plans.SUBMITTED
        path.parent.mkdir(exist_ok=True)
        known = records.read_json(path) if path.exists() else {}
        # Of a single one submitit makes no array.
        places = {job: {"name": name, "index": index if len(fresh) > 1 else None} for index, job in enumerate(fresh)}
        records.write_json(path, known | {job.identity: place for job, place in places.items()})
        try:
            with executor.batch():
                sent = [executor.submit(Task(job)) for job in fresh]
        except submitit.core.utils.FailedJobError as error:
            told = str(error).strip().splitlines()[-1]
            raise ConfigError([f"Slurm does not take the job array: {told}"]) from None
        tasks = {job: handle.job_id for job, handle in zip(fresh, sent, strict=True)}
        array = sent[0].job_id.split("_")[0]
        view.say(
            f"{len(fresh)} runs are Slurm's job array {array}; it goes on without this terminal, call again to attend to it"
        )
        return tasks

    def _end(self, job: Job, task: str, folder: Path, view: View) -> None:
        """A task has left the queue: its run has a record, or gets one if it had begun."""
        if job.record() is None and not (job.folder / records.RUNNING).exists():
            logs = (folder / plans.SUBMITTED).parent / f"{task}_*_log.err"
            view.say(
                f"{job.name}: task {task} ended before its run began; {logs} may say why, call the sweep again to run it"
            )
            return
        how = f"its Slurm task {task} ended before the run's record was written; see run.log"
        job.close(how, "interrupted" if self.told >= STOP else "failed")
        view.ended(job, job.record())


class Task:
    """One run as a task of Slurm's: the run in a process of its own, as on any machine, and this one to see it end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "process": None}

    def __call__(self) -> str:
        if not self.job.waits(retry_failed=True):
            # Requeued by somebody although it had ended.
            return self.job.record()["status"]
        if configs.code(self.job.config) != self.job.code:
            raise RuntimeError(f"{self.job.name}: the code has changed since the sweep was submitted; call it again")
        quiet = {signal.SIGTERM, signal.SIGUSR2}
        signal.pthread_sigmask(signal.SIG_BLOCK, quiet)
        from superpositional.training.run import build_kernels

        # The node's processor may differ from that of the machine that submitted.
        build_kernels()
        # This process has imported all that a run needs and done nothing with it, as a fork server has.
        self.process = worker.start(self.job, multiprocessing.get_context("fork"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, quiet)
        return worker.close(self.job, self.process)["status"]

    def checkpoint(self) -> Any:
        """What submitit calls when Slurm says that the task will end: let the run record where it is, and be requeued."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            self.process.join(GRACE)
            self.process.kill()
        return DelayedSubmission(Task(self.job))
