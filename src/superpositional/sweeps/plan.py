"""Plan a sweep: from the overrides of its runs to ``Job``s, all composed and checked before any starts.

A job has a folder and the identity that a record there must have to be its own.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from superpositional import records
from superpositional.places import ConfigError
from superpositional.records import claims, identity, locks
from superpositional.sweeps import search
from superpositional.training import check
from superpositional.training import config as configs

SUBMITTED = "slurm/tasks.json"  # in a sweep's folder: the array's name and the index of each run that was sent to Slurm
SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i %T %K %j")


class Job:
    """One run of a sweep: its config, its folder and the identity it must have to count as done."""

    def __init__(self, config: dict[str, Any], folder: Path, code: identity.Code) -> None:
        self.config, self.folder, self.code = config, folder, code
        self.identity = identity.identity(config, code.version)

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
        return records.left_in(self.folder)

    def made_otherwise(self) -> bool:
        """Whether the folder holds a run of another config or code version."""
        left = self.left()
        return left is not None and left["identity"] != self.identity

    def is_running(self) -> bool:
        """Whether a process, of an earlier call or another, is at work in this folder."""
        return locks.is_held(self.folder)

    def prepare(self) -> bool:
        """Make the folder ready for another process and say whether that process goes on from a checkpoint.

        What does not go on is set aside, be it of another config or code version or of this one: nothing is ever lost.

        Raises:
            ConfigError: the run is going on, or has ended for good.
        """
        if self.is_running():
            raise ConfigError([f"{self.folder} is being run by another process; wait for its end"])
        if not self.waits(retry_failed=True):
            raise ConfigError([f"{self.folder} has ended as {self.status()} meanwhile; call the sweep again"])
        left = self.left()
        if left is None:
            return False
        same = left["identity"] == self.identity
        if same and records.has_checkpoint(self.folder) and (self.folder / "config.yaml").is_file():
            # Should the next process die early, this record must not pass for its own.
            if (record := self.folder / "record.json").exists():
                record.replace(self.folder / records.RUNNING)
            return True
        self._set_aside()
        return False

    def take_back(self) -> bool:
        """Put a run of this very config and code, which had been set aside and has ended for good, in its place again."""
        for there in sorted(self._aside.glob(f"{self.folder.name}-{self.identity}-*")):
            record = records.read_record(there)
            if record is not None and record["identity"] == self.identity and record["status"] in ("done", "diverged"):
                if self.left() is not None:
                    self._set_aside()
                if not self.folder.exists():
                    there.rename(self.folder)
                    return True
        return False

    @property
    def _aside(self) -> Path:
        return self.folder.parent.parent / records.SUPERSEDED / self.arm

    def _set_aside(self) -> None:
        self._aside.mkdir(parents=True, exist_ok=True)
        self.folder.rename(self._aside / f"{self.folder.name}-{self.left()['identity']}-{time.time_ns()}")

    def close(self, error: str, status: str = "failed") -> None:
        """See that a process that ended leaves a record: one that was killed could not write its own.

        Args:
            error: how it ended.
            status: what that makes of the run.
        """
        if self.record() is not None:
            return
        from superpositional.training.run import opening

        self.folder.mkdir(parents=True, exist_ok=True)
        running = self.folder / records.RUNNING
        known = records.read_json(running) if running.exists() else {}
        lost = {"status": status, "error": error, "summary": {}, "wall_seconds": None}
        records.write_record(self.folder, opening(self.config, self.code) | known | lost)
        running.unlink(missing_ok=True)
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
                cfg = composed[arm] = check.compose_job(loader, config, overrides)
                try:
                    check.check(cfg, loader)
                except ConfigError as error:
                    if set(error.mistakes) != set(error.unread):
                        raise
                    unread[arm] = error.unread
            # To compose takes Hydra a tenth of a second, and ``check`` has seen to it that only the seed differs.
            cfg = composed[arm]
            cfg.seed = seed
            if wrong := list(check.bad_scalars(cfg)):
                raise ConfigError(wrong)
            plain = configs.compose_job(cfg)
            if arm not in codes:
                if wrong := _several_devices(plain["trainer"]):
                    raise ConfigError([wrong])
                codes[arm] = configs.code(plain)
            planned.append(Job(plain, Path(cfg.hydra.sweep.dir) / cfg.hydra.sweep.subdir, codes[arm]))
        except ConfigError as error:
            mistakes[arm] = error.mistakes
        except (HydraException, OmegaConfBaseException) as error:
            mistakes[arm] = [configs.in_short(error)]
    by_arm = {job.arm: job.config for job in planned}
    for arm, texts in unread.items():
        for text, (key, value) in texts.items():
            # A setting of the whole sweep, which another arm reads, is none of this arm's.
            others = [name for name, each in by_arm.items() if OmegaConf.select(OmegaConf.create(each), key) == value]
            if all(text in unread.get(name, {}) for name in others):
                mistakes.setdefault(arm, []).append(text)
    if mistakes:
        arms = len({overrides[-2] for overrides in job_overrides})
        said: dict[str, list[str]] = {}
        for arm, texts in mistakes.items():
            for text in texts:
                said.setdefault(text, []).append(arm)
        raise ConfigError(
            [text if len(names) == arms else f"{' and '.join(names)}: {text}" for text, names in said.items()]
        )
    if config.hydra.sweeper.get("search") is None:
        _check_claims(planned, Path(config.hydra.sweep.dir) / "sweep.json")
    return planned


def _check_claims(planned: Sequence[Job], plan: Path) -> None:
    """See that the claims speak of arms that there are, or were in an earlier call, before any of them is run."""
    there = records.read_json(plan, "arms")["arms"] if plan.exists() else []
    try:
        claims.read(planned[0].config["claims"], list(dict.fromkeys([*there, *(job.arm for job in planned)])))
    except claims.ClaimError as error:
        raise ConfigError(str(error).splitlines()) from None


def _several_devices(trainer: Mapping[str, Any]) -> str | None:
    for key in ("devices", "num_nodes"):
        value = trainer.get(key, 1)
        # -1 and auto are all there are.
        several = value in ("auto", -1, "-1") or (str(value).isdigit() and int(value) > 1)
        if several or (isinstance(value, list) and len(value) > 1):
            return f"trainer.{key} must be 1 in a sweep, got {value}: its runs go side by side, one device each"
    return None


def write_plan(folder: Path, planned: Sequence[Job], sweeper: Mapping[str, Any]) -> dict[str, Any]:
    """``sweep.json``: what was asked for, and what earlier calls left here of the same arms, or of others.

    ``sweeper`` is Hydra's node: the first of its arms is the baseline at the same swept values, its search is kept, and so
    is the ledger of one that chose the settings.

    Raises:
        ConfigError: a search and an ordinary sweep would share the folder.
    """
    sought, names = sweeper.get("search"), list(sweeper.get("arms") or {})
    families = {job.arm: identity.family(job.config, job.code.version) for job in planned}
    seeds = {job.config["seed"] for job in planned}
    path = folder / "sweep.json"
    if path.exists():
        before = records.read_json(path, "families")
        if (sought is None) != (before.get("search") is None):
            there, here = ("an ordinary sweep", "a search") if sought else ("a search", "an ordinary sweep")
            raise ConfigError([f"{folder} holds {there} and this is {here}; choose hydra.sweep.dir=..."])
        there = [records.read_json(record, "arm", "seed", "family") for record in folder.glob("*/seed-*/record.json")]
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
        written["search"] = OmegaConf.to_container(sought)
    elif planned[0].config["claims"] is not None:
        written["claims"] = planned[0].config["claims"]
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


# On Slurm ---------------------------------------------------------------------------------------------------------


def in_queue(folder: Path, waiting: Sequence[Job]) -> dict[Job, str]:
    """Which jobs Slurm still has to run or is running, each with its task, ``12_3``.

    Raises:
        ConfigError: tasks were submitted from here and Slurm cannot be asked about them.
    """
    path = folder / SUBMITTED
    known = records.read_json(path) if path.exists() else {}
    sent = {job: known[job.identity] for job in waiting if job.identity in known}
    if not sent:
        return {}
    try:
        there = {(task.name, task.index): task.id for task in slurm_tasks()}
    except ConfigError as error:
        cure = f"if nothing of it is in a queue any more, remove {path}"
        raise ConfigError([f"{mistake}; {cure}" for mistake in error.mistakes]) from None
    places = {job: (entry["name"], entry["index"]) for job, entry in sent.items()}
    return {job: there[place] for job, place in places.items() if place in there}


class SlurmTask(NamedTuple):
    """One line of Slurm's queue. ``index`` is None for a task that is no array's."""

    id: str
    state: str
    index: int | None
    name: str


def slurm_tasks() -> list[SlurmTask]:
    """This user's tasks that wait or run; what has ended is not listed.

    Raises:
        ConfigError: there is no Slurm here, or it does not answer.
    """
    try:
        done = subprocess.run(SQUEUE, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise ConfigError([f"Slurm's queue cannot be read: {told}"]) from None
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    return [SlurmTask(id, state, int(index) if index.isdigit() else None, name) for id, state, index, name in lines]
