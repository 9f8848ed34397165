"""What is there to run, and what is there already?

From the overrides of every run of a sweep to ``Job``s: each composed and checked before any starts, each with a folder and
the identity that a record there must have to be its own. Read by the launchers.
"""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from superpositional import check, records, search
from superpositional import config as configs

SUBMITTED = "slurm/tasks.json"  # in a sweep's folder: identity of each run that was sent to Slurm, and its task
SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i %T")


class Job:
    """One run of a sweep: its config, its folder and the identity it must have to count as done."""

    def __init__(self, config: dict[str, Any], folder: Path, code: str) -> None:
        self.config, self.folder, self.code = config, folder, code
        self.identity = records.identity(config, code)

    @property
    def arm(self) -> str:
        return self.config["arm"]

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.config['seed']}"

    def record(self) -> dict[str, Any] | None:
        """The record of this very config and code, if the folder holds it."""
        record = records.read_record(self.folder)
        return record if record is not None and record["identity"] == self.identity else None

    def status(self) -> str | None:
        record = self.record()
        return record and record["status"]

    def waits(self, *, retry_failed: bool) -> bool:
        """Whether it is to be run: nothing that ended by itself is, unless failed runs are asked for."""
        status = self.status()
        return status in (None, "interrupted") or (retry_failed and status == "failed")

    def left(self) -> dict[str, Any] | None:
        """What the last process in this folder left: its record or, if it was killed, what it wrote when it started."""
        running = self.folder / records.RUNNING
        return records.read_record(self.folder) or (json.loads(running.read_text()) if running.exists() else None)

    def made_otherwise(self) -> bool:
        """Whether the folder holds a run of another config or code version."""
        left = self.left()
        return left is not None and left["identity"] != self.identity

    def prepare(self) -> bool:
        """Make the folder ready for another process and say whether that process goes on from a checkpoint.

        What another config or code version left is set aside, and so is a failed run that starts from nothing again:
        nothing computed is ever lost.
        """
        left = self.left()
        if left is None:
            return False
        same = left["identity"] == self.identity
        resume = same and (self.folder / records.CHECKPOINT).is_file() and (self.folder / "config.yaml").is_file()
        if not same or (left.get("status") == "failed" and not resume):
            aside = self.folder.parent.parent / records.SUPERSEDED / self.arm
            aside.mkdir(parents=True, exist_ok=True)
            self.folder.rename(aside / f"{self.folder.name}-{left['identity']}-{time.time_ns()}")
            return False
        # Should the next process die early, this record must not pass for its own.
        record = self.folder / "record.json"
        if resume and record.exists():
            record.replace(self.folder / records.RUNNING)
        record.unlink(missing_ok=True)
        return resume

    def close(self, how: str, status: str = "failed") -> None:
        """See that a process that ended leaves a record: one that was killed could not write its own.

        Args:
            how: how it ended.
            status: what that makes of the run.
        """
        if self.record() is not None:
            return
        from superpositional.train import opening

        self.folder.mkdir(parents=True, exist_ok=True)
        error = f"{how} before the run's record was written; see run.log"
        running = self.folder / records.RUNNING
        known = json.loads(running.read_text()) if running.exists() else {}
        lost = {"status": status, "error": error, "summary": {}, "wall_seconds": None}
        records.write_record(self.folder, opening(self.config, self.code) | known | lost)
        (self.folder / "error.txt").write_text(error + "\n")


# Planning ----------------------------------------------------------------------------------------------------------


def plan(loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]]) -> list[Job]:
    """Compose every job and check it: one of each arm in full, the others for their seed.

    Raises:
        ConfigError: all that is wrong, a line each; what is wrong in several arms once, with their names.
    """
    planned, composed, codes, mistakes, unread = [], {}, {}, {}, {}
    for overrides in job_overrides:
        arm, seed = overrides[-2].removeprefix("arm=").strip("'"), configs.parse_override(overrides[-1]).value()
        if arm in mistakes:
            continue
        try:
            if arm not in composed:
                cfg = composed[arm] = loader.load_sweep_config(config, configs.lift(overrides, loader))
                # Hydra's names for a job, which nobody reads.
                with open_dict(cfg):
                    cfg.hydra.job.id, cfg.hydra.job.num = "job", 0
                try:
                    check.check(cfg, loader)
                except configs.ConfigError as error:
                    if set(error.mistakes) != set(error.unread):
                        raise
                    unread[arm] = error.unread
            # To compose takes Hydra a tenth of a second, and ``check`` has seen to it that only the seed differs.
            cfg = composed[arm]
            cfg.seed = seed
            if wrong := list(check.bad_scalars(cfg)):
                raise configs.ConfigError(wrong)
            plain = configs.compose_job(cfg)
            if arm not in codes:
                if wrong := _several_devices(plain["trainer"]):
                    raise configs.ConfigError([wrong])
                codes[arm] = configs.code_version(plain)
            planned.append(Job(plain, Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir, codes[arm]))
        except configs.ConfigError as error:
            mistakes[arm] = error.mistakes
        except (HydraException, OmegaConfBaseException) as error:
            mistakes[arm] = [configs.in_short(error)]
    circuits = {job.arm: job.config.get("circuit") or {} for job in planned}
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
        raise configs.ConfigError(
            [text if len(names) == arms else f"{' and '.join(names)}: {text}" for text, names in said.items()]
        )
    return planned


def _several_devices(trainer: Mapping[str, Any]) -> str | None:
    for key in ("devices", "num_nodes"):
        value = trainer.get(key, 1)
        if (isinstance(value, int) and value > 1) or (isinstance(value, list) and len(value) > 1):
            return f"trainer.{key} must be 1 in a sweep, got {value}: its runs go side by side, one device each"
    return None


def write_plan(folder: Path, planned: Sequence[Job], sweeper: Mapping[str, Any]) -> dict[str, Any]:
    """``sweep.json``: what was asked for, and what earlier calls left here of the same arms, or of others.

    ``sweeper`` is Hydra's node: the first of its arms is the baseline at the same swept values, its search is kept, and so
    is the ledger of one that chose the settings.

    Raises:
        ConfigError: a search and an ordinary sweep would share the folder.
    """
    sought, names = search.plan(sweeper), list(sweeper.get("arms") or {})
    families = {job.arm: records.family(job.config, job.code) for job in planned}
    seeds = {job.config["seed"] for job in planned}
    path = folder / "sweep.json"
    if path.exists():
        before = json.loads(path.read_text())
        if (sought is None) != (before.get("search") is None):
            there, here = ("an ordinary sweep", "a search") if sought else ("a search", "an ordinary sweep")
            raise configs.ConfigError([f"{folder} holds {there} and this is {here}; choose hydra.sweep.dir=..."])
        there = [json.loads(record.read_text()) for record in folder.glob("*/seed-*/record.json")]
        families |= {arm: family for arm, family in before["families"].items() if arm not in families}
        seeds |= {record["seed"] for record in there if record["family"] == families.get(record["arm"])}
    written = {
        "sweep": planned[0].config["sweep"],
        "question": planned[0].config["question"] or "",
        "arms": list(families),
        "seeds": sorted(seeds),
        "families": families,
    }
    if baselines := _baselines(list(families), [search.slug(name) for name in names]):
        written["baselines"] = baselines
    if sought is not None:
        written["search"] = sought
    if sweeper.get("tuned") is not None:
        _, written["tuned"] = search.tuned(sweeper["tuned"], names, seeds)
    records.write_json(path, written)
    return written


def _baselines(arms: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Which arm each is held to, where swept values make of every named arm several; else nothing: the first."""
    found = {}
    for arm in arms:
        own = [name for name in names if arm == name or arm.startswith(f"{name},")]
        # Of two names, one the beginning of the other, the longer one is meant.
        baseline = names[0] + arm.removeprefix(max(own, key=len)) if own else arms[0]
        found[arm] = baseline if baseline in arms else arms[0]
    return found if set(found.values()) - {arms[0]} else {}


# One call at a time ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the sweep's folder against a second call, here or on another machine that shares it.

    The system lets go of a lock when its process ends, however it ends, so that none is ever left behind.

    Raises:
        ConfigError: another call is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+") as file:
        if not locked(file.fileno()):
            file.seek(0)
            raise configs.ConfigError(
                [f"{folder} is at work already: {file.read().strip()}; wait for it, or choose hydra.sweep.dir=..."]
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def locked(descriptor: int) -> bool:
    """Take the lock of an open file, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_running(job: Job) -> bool:
    """Whether a process of an earlier call holds this run's log."""
    log = job.folder / "run.log"
    if not log.exists():
        return False
    with open(log) as file:
        return not locked(file.fileno())


def in_queue(folder: Path, waiting: Sequence[Job]) -> dict[Job, str]:
    """Which jobs Slurm still has to run or is running, each with the task that an earlier call submitted it as.

    Raises:
        ConfigError: tasks were submitted from here and Slurm cannot be asked about them.
    """
    path = folder / SUBMITTED
    tasks = json.loads(path.read_text()) if path.exists() else {}
    sent = {job: tasks[job.identity] for job in waiting if job.identity in tasks}
    if not sent:
        return {}
    alive = slurm_tasks()
    return {job: task for job, task in sent.items() if task in alive}


def slurm_tasks() -> dict[str, str]:
    """This user's tasks that wait or run, each with its state; what has ended is not listed. A task of an array is
    ``12_3``; of a single one Slurm makes no array, and it is ``12``."""
    try:
        done = subprocess.run(SQUEUE, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise configs.ConfigError([f"Slurm's queue cannot be read: {told}; is this a node of the cluster?"]) from None
    return dict(line.split() for line in done.stdout.splitlines())
