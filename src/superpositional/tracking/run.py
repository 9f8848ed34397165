"""How does a run live on Weights & Biases?

One run at a time, under an explicit id, opened before training and closed with the run's true end, so that two jobs of one
process never share a W&B run and a failed job never shows as finished. The files on disk are the source of truth; W&B
mirrors them, offline where no key is set or no server answers. Losing W&B costs a run its mirror, never a step: it is said
once, and ``superpositional sync`` sends what is missing. Read by train; nothing of wandb is imported until a run is opened.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from superpositional.tracking.server import address, heed, reachable

MODES = ("auto", "online", "offline")
EVERY = 2  # seconds from one handing over of rows to the next
GRACE = 3  # seconds that W&B gets beyond its limit to keep it by itself
# The step that a row belongs to, under Lightning's own name for it.
STEP = "trainer/global_step"
# What of a metric's way is worth a glance, for those whose last value is not all.
FITS = {
    "train/loss": "min,last",
    "val/loss": "min,last",
    "val/accuracy": "max,last",
    "perturbation/ratio": "max,mean,last",
    "gradient/norm": "max,last",
    "memory/peak_bytes": "max",
}


class WandbTracking:
    """One run's life on W&B.

    Args:
        project, entity: where the run goes; an entity of None is the key's own.
        mode: ``online``, ``offline``, or ``auto``: as ``WANDB_MODE`` says, else online if a key is set and the server
            answers within 5 s, else offline.
        tags: tags of the run.
        checkpoints: whether the last checkpoint goes along, as an artifact.
        system_metrics: whether W&B samples the machine's load too.
        finish_within: seconds that an online run may spend at its end on sending the rest; what is left then,
            ``superpositional sync`` sends.
    """

    def __init__(
        self,
        *,
        project: str = "superpositional",
        entity: str | None = None,
        mode: str = "auto",
        tags: tuple[str, ...] | list[str] = (),
        checkpoints: bool = False,
        system_metrics: bool = False,
        finish_within: float = 60,
    ) -> None:
        wrong = []
        if mode not in MODES:
            wrong.append(f"mode must be one of {', '.join(MODES)}, got {mode!r}; logger=none leaves W&B out")
        for name, value in (("project", project), ("entity", entity)):
            if (value is None and name == "project") or not (value is None or re.fullmatch(r"[^/\\#?%:]+", str(value))):
                wrong.append(f"{name} must be a name without any of / \\ # ? % :, got {value!r}")
        if isinstance(finish_within, bool) or not isinstance(finish_within, int | float) or not finish_within > 0:
            wrong.append(f"finish_within must be seconds > 0, got {finish_within!r}; mode=offline waits for nothing")
        if wrong:
            raise ValueError("\n".join(wrong))
        self.project, self.entity, self.mode, self.tags = project, entity, mode, tuple(tags)
        self.checkpoints, self.system_metrics, self.finish_within = checkpoints, system_metrics, finish_within
        self.run: Any = None
        self.mirror: Mirror | None = None
        self.resumed = False

    def open(
        self,
        folder: Path,
        record: Mapping[str, Any],
        *,
        say: Callable[[str], None],
        run_id: str | None = None,
        resumed_from: int | None = None,
    ) -> "Mirror | None":
        """Start the run, or go on with one; returns Lightning's logger on it, None if W&B is disabled.

        Args:
            folder: the run's; what W&B writes goes to ``wandb/`` in it.
            record: what is known of the run (``run.opening``).
            say: hears in one line where the run goes, and later if W&B is lost.
            run_id: that of the session before, if this one goes on from it; ``resumed_from`` is its step.

        Raises:
            RuntimeError: a W&B run is open already, or ``mode=online`` and there is no going online.
        """
        import wandb

        if wandb.run is not None:
            raise RuntimeError(
                f"a W&B run is already open in this process ({wandb.run.id}); finish it first, or its curves would "
                f"swallow this run's"
            )
        mode, why = resolve(self.mode)
        if self.mode == "online":
            server, why = reachable()
            if server is None:
                raise RuntimeError(f"W&B cannot be online: {why}; or take logger.mode=offline, and send it later")
        if mode == "disabled":
            say(f"W&B disabled ({why})")
            return None
        # Two runs of one config are two runs; only a resumed one is the same.
        run_id = run_id or f"{record['identity']}-{secrets.token_hex(3)}"
        while self.run is None:
            try:
                self.run = self._init(folder, record, run_id, mode, resumed_from)
            except Exception as error:  # whatever W&B's own process dies of
                _abandon()  # it would go on asking
                if self.mode == "online":
                    raise RuntimeError(
                        f"W&B refused the run: {_told(error)}; see `wandb login`, or take logger.mode=offline"
                    ) from None
                if mode == "offline":
                    say(_lost(error))
                    return None
                mode, why = "offline", f"the server refused the run: {_told(error)}"
        where = self.run.url if mode == "online" else "`superpositional sync` uploads it"
        say(f"W&B {mode} ({why}): {where}")
        self.mirror = Mirror(self.run, say)
        self.resumed = resumed_from is not None
        return self.mirror

    def _init(self, folder: Path, record: Mapping[str, Any], run_id: str, mode: str, resumed_from: int | None) -> Any:
        run = start(
            folder,
            record,
            run_id,
            mode,
            project=self.project,
            entity=self.entity,
            tags=list(self.tags),
            resume="allow" if resumed_from is not None and mode == "online" else None,
            settings={
                "finish_timeout": float(self.finish_within),
                "finish_timeout_raises": True,
                "x_disable_stats": not self.system_metrics,
            },
        )
        if resumed_from is not None:
            run.summary["resumed_from_step"] = resumed_from
        return run

    @property
    def run_id(self) -> str | None:
        """The open run's id."""
        return self.run.id if self.run is not None else None

    def close(self, folder: Path, record: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """End the run with the record of its end: as finished if it is done, else as failed.

        Online, its data, circuit and record go along as artifacts; of an offline run ``superpositional sync`` sends them.
        """
        if self.run is None:
            return
        from superpositional.tracking import arrivals, artifacts

        run, self.run = self.run, None
        assert self.mirror is not None
        self.mirror.hand_over()
        try:
            conclude(run, record)
            with artifacts.staged():
                if not run.offline:
                    artifacts.attach(run, folder, record, checkpoints=self.checkpoints)
                _finish(run, exit_code(record), self.finish_within)
            # Of a resumed one the server may lack an earlier session, or have some of its steps twice.
            if not run.offline and not self.mirror.lost and not self.resumed:
                arrivals.mark(folder, arrivals.here(address()), arrivals.state(folder))
        except Exception as error:  # whatever W&B's own process dies of: the run is recorded
            if not self.mirror.lost:
                say(_lost(error))
            _abandon()
        except BaseException:
            _abandon()
            raise


def start(
    folder: Path,
    record: Mapping[str, Any],
    run_id: str,
    mode: str,
    *,
    project: str,
    entity: str | None,
    tags: list[str] | None = None,
    resume: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Open a W&B run of a record: its name, group, arm, config and metrics; nothing of the machine or its user."""
    import wandb

    heed()
    # A sweep names its runs; a single one may be named by whoever starts it.
    stated = {} if record["arm"] else {name: os.environ.get(f"WANDB_{name}") for name in ("NAME", "RUN_GROUP", "JOB_TYPE")}
    group = stated.get("RUN_GROUP") or record["sweep"]
    run = wandb.init(
        project=project,
        entity=entity,
        dir=str(folder),
        id=run_id,
        resume=resume,
        name=stated.get("NAME") or "/".join(str(part) for part in (group, record["arm"], f"seed-{record['seed']}") if part),
        group=group,
        job_type=stated.get("JOB_TYPE") or record["arm"],
        notes=record["question"],
        tags=[*(tags or []), *filter(None, os.environ.get("WANDB_TAGS", "").split(","))],
        config={**record["config"], "provenance": {name: record[name] for name in ("code", "versions", "git")}},
        mode=mode,
        settings=wandb.Settings(**(QUIET | dict(settings or {}))),
    )
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    for metric, summary in FITS.items():
        run.define_metric(metric, step_metric=STEP, summary=summary)
    return run


# Silent, bounded, and without a word on the machine: host, user, paths, installed packages, the state of a checkout.
QUIET = {
    "console": "off",
    "quiet": True,
    "silent": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "host": "",
    "username": "",
    "program": "superpositional",
    "init_timeout": 10.0,
}


def conclude(run: Any, record: Mapping[str, Any]) -> None:
    """What came out, into the run's summary: the record's, and how the run ended."""
    ended = ("status", "identity", "family", "steps", "wall_seconds", "fit_seconds", "sessions", "peak_memory_bytes")
    found = {name: record[name] for name in ended if record.get(name) is not None}
    run.summary.update({**record["summary"], **found})


def exit_code(record: Mapping[str, Any]) -> int:
    """What W&B makes ``finished`` or ``failed`` of."""
    return 0 if record["status"] == "done" else 1


class Mirror(WandbLogger):
    """Lightning's logger of an open run, which gives up by itself when W&B is lost, and lets the run go on."""

    def __init__(self, run: Any, say: Callable[[str], None]) -> None:
        super().__init__(experiment=run)
        self.run, self.say, self.lost = run, say, False
        self.rows: dict[int, dict[str, float]] = {}
        self.handed_over = time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            raise ValueError(f"a row needs a step, got none for {', '.join(metrics)}")
        self.rows.setdefault(step, {}).update(metrics)

    def save(self) -> None:
        """Hand over what has come together in the last seconds, a row for each step: rows are what W&B costs a run."""
        if time.monotonic() - self.handed_over >= EVERY:
            self.hand_over()

    def finalize(self, status: str) -> None:
        """At the end of training, and of testing."""
        self.hand_over()

    def hand_over(self) -> None:
        """Give W&B what it has not got, unless it is lost."""
        rows, self.rows = self.rows, {}
        self.handed_over = time.monotonic()
        try:
            for step in sorted(rows) if not self.lost else ():
                self.run.log({**rows[step], STEP: step})
        except Exception as error:  # whatever W&B's own process dies of: the record on disk goes on
            self.lost = True
            self.say(_lost(error))

    def log_hyperparams(self, params: Any) -> None:
        """Nothing: the run has the resolved config from its start."""


def _finish(run: Any, code: int, within: float) -> None:
    """``run.finish``, for no longer than told: W&B's own limit does not hold where a server is gone.

    Raises:
        TimeoutError: it has not ended; whatever W&B's process died of is raised too.
    """
    raised: list[BaseException] = []

    def finish() -> None:
        try:
            run.finish(exit_code=code)
        except BaseException as error:
            raised.append(error)

    ending = threading.Thread(target=finish, daemon=True)
    ending.start()
    ending.join(within + GRACE)
    if ending.is_alive():
        raise TimeoutError(f"the server took nothing for {within:g} s")
    if raised:
        raise raised[0]


def _abandon() -> None:
    """End W&B's own process, which would hold up ours at its end for as long as the server is gone."""
    import psutil
    import wandb
    from wandb.sdk.lib import module

    process = getattr(getattr(wandb.setup(), "_connection", None), "_proc", None)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("wandb-core"):
                child.kill()
    # It takes its hook out of our own end, and then fails to reach the process.
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()
    if process is not None:
        process.join()  # it is dead, and shall be no zombie
    module.unset_globals()  # else wandb.run were the lost one


def _lost(error: Exception) -> str:
    return f"W&B is lost ({_told(error)}); the record is whole, and `superpositional sync` sends what is missing"


def _told(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def resolve(mode: str) -> tuple[str, str]:
    """``online``, ``offline`` or ``disabled``, and why; what ``auto`` becomes here and now."""
    if wrong := heed():
        return "offline", wrong
    if mode != "auto":
        return mode, f"logger.mode={mode}"
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"], f"WANDB_MODE={os.environ['WANDB_MODE']}"
    server, why = reachable()
    return ("offline" if server is None else "online"), why


def settle(nodes: list[Mapping[str, Any]]) -> tuple[dict[str, str], str]:
    """For many runs at once what ``auto`` becomes, decided once: variables of their environment, and a line to say.

    Args:
        nodes: the ``logger`` of each run's config, those that have one.
    """
    ours = f"{WandbTracking.__module__}.{WandbTracking.__qualname__}"
    wrong = heed() if nodes else ""
    asked = any(n["_target_"] == ours and n.get("mode", "auto") == "auto" for n in nodes)
    if not wrong and ("WANDB_MODE" in os.environ or not asked):
        return {}, ""
    mode, why = ("offline", wrong) if wrong else resolve("auto")
    return {"WANDB_MODE": mode}, f"W&B {mode} ({why})"
