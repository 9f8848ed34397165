"""Log a training run to Weights & Biases while it runs.

One W&B run at a time, under an explicit id, opened before training and closed with the run's true end, so that two runs of
one process never share a W&B run and a failed one never shows as finished. The files on disk are the source of truth; W&B
mirrors them, offline where no key is set or no server answers. Losing W&B never costs a run a step: the run says so once,
and ``superpositional sync`` sends what is missing. Nothing of wandb is imported until a run is opened.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from superpositional.tracking import contents
from superpositional.tracking.contents import STEP
from superpositional.tracking.server import abandon, address, heed, reachable, staged, told

MODES = ("auto", "online", "offline")
EVERY = 2  # seconds from one handing over of rows to the next
GRACE = 3  # seconds beyond finish_within, which W&B itself does not keep where a server is gone


class WandbTracking:
    """One run's life on W&B.

    Args:
        project, entity: where the run goes; an entity of None is the key's own.
        mode: ``online``, ``offline``, or ``auto``: as ``WANDB_MODE`` says, else online if a key is set and the server
            answers within 5 s, else offline.
        tags: tags of the run.
        checkpoints: whether the last checkpoint is sent as an artifact.
        system_metrics: whether W&B samples the machine's load too.
        finish_within: seconds that an online run may spend at its end on sending the rest; ``superpositional sync`` sends
            what is left then.
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
        record: dict[str, Any],
        *,
        say: Callable[[str], None],
        run_id: str | None = None,
        resumed_from: int | None = None,
    ) -> "Mirror | None":
        """Start the run, or resume one; return Lightning's logger on it, None if W&B is disabled.

        Args:
            folder: the run's; what W&B writes goes to ``wandb/`` in it.
            record: what is known of the run before it starts; gets what WANDB_ variables say of it, for ``sync``.
            say: gets one line that says where the run goes, and later one if W&B is lost.
            run_id: that of the session before, if this one resumes it; ``resumed_from`` is its step.

        Raises:
            RuntimeError: a W&B run is open already, or ``mode=online`` and W&B cannot be online.
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
        if stated := _stated(record["arm"]):
            record["wandb"] = stated
        while self.run is None:
            try:
                self.run = self._start(folder, record, run_id, mode, resumed_from)
            except Exception as error:  # whatever W&B's own process dies of
                abandon()  # it would go on asking
                if self.mode == "online":
                    raise RuntimeError(
                        f"W&B refused the run: {told(error)}; see `wandb login`, or take logger.mode=offline"
                    ) from None
                if mode == "offline":
                    say(_lost(error))
                    return None
                mode, why = "offline", f"the server refused the run: {told(error)}"
        where = self.run.url if mode == "online" else "`superpositional sync` uploads it"
        say(f"W&B {mode} ({why}): {where}")
        self.mirror = Mirror(self.run, say)
        self.resumed = resumed_from is not None
        return self.mirror

    def _start(self, folder: Path, record: Mapping[str, Any], run_id: str, mode: str, resumed_from: int | None) -> Any:
        settings = {
            "finish_timeout": float(self.finish_within),
            "finish_timeout_raises": True,
            "x_disable_stats": not self.system_metrics,
        }
        resume = "allow" if resumed_from is not None and mode == "online" else None
        place = {"project": self.project, "entity": self.entity}
        run = contents.start(folder, record, run_id, mode, tags=self.tags, settings=settings, resume=resume, **place)
        if resumed_from is not None:
            run.summary["resumed_from_step"] = resumed_from
        return run

    @property
    def run_id(self) -> str | None:
        """The open run's id."""
        return self.run.id if self.run is not None else None

    def close(self, folder: Path, record: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """End the run with its record: as finished if it is done, else as failed.

        Online, its data, circuit and record are sent as artifacts; ``superpositional sync`` sends those of an offline run.
        """
        if self.run is None:
            return
        from superpositional.tracking import sync

        run, self.run = self.run, None
        assert self.mirror is not None
        self.mirror.hand_over()
        try:
            contents.conclude(run, record)
            with staged():
                if not run.offline:
                    contents.attach(run, folder, record, checkpoints=self.checkpoints)
                _finish(run, contents.exit_code(record), self.finish_within)
            # Of a resumed run the server may lack an earlier session, so sync compares it with the record.
            if not run.offline and not self.mirror.lost and not self.resumed:
                sync.mark(folder / sync.MARK, {"server": address(), "project": None, "entity": None}, sync.state(folder))
        except Exception as error:  # whatever W&B's own process dies of: the run is recorded
            if not self.mirror.lost:
                say(_lost(error))
            abandon()
        except BaseException:
            abandon()
            raise


class Mirror(WandbLogger):
    """Lightning's logger of an open run, which gives up when W&B is lost, and lets the run go on."""

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
        """Hand over the rows of the last seconds, one for each step: the number of rows is what W&B costs a run."""
        if time.monotonic() - self.handed_over >= EVERY:
            self.hand_over()

    def finalize(self, status: str) -> None:
        """Hand over the rest, at the end of training and of testing."""
        self.hand_over()

    def hand_over(self) -> None:
        """Give W&B the rows that it does not have, unless it is lost."""
        rows, self.rows = self.rows, {}
        self.handed_over = time.monotonic()
        try:
            for step in sorted(rows) if not self.lost else ():
                self.run.log({**rows[step], STEP: step})
        except Exception as error:  # whatever W&B's own process dies of: the record on disk goes on
            self.lost = True
            self.say(_lost(error))

    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: the run has the resolved config from its start."""


def _finish(run: Any, code: int, within: float) -> None:
    """End the run within so many seconds.

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


def _lost(error: Exception) -> str:
    return f"W&B is lost ({told(error)}); the record is whole, and `superpositional sync` sends what is missing"


def _stated(arm: str | None) -> dict[str, Any]:
    """Return what WANDB_ variables say of a run; a sweep names its runs itself."""
    own = ("name", "run_group", "job_type") if arm is None else ()
    found = {name.removeprefix("run_"): os.environ.get(f"WANDB_{name.upper()}") for name in (*own, "notes")}
    found["tags"] = [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]
    return {name: value for name, value in found.items() if value}


def resolve(mode: str) -> tuple[str, str]:
    """Return ``online``, ``offline`` or ``disabled``, and why: what ``auto`` becomes here and now."""
    if wrong := heed():
        return "offline", wrong
    if mode != "auto":
        return mode, f"logger.mode={mode}"
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"], f"WANDB_MODE={os.environ['WANDB_MODE']}"
    server, why = reachable()
    return ("offline" if server is None else "online"), why


def settle(nodes: list[Mapping[str, Any]]) -> tuple[dict[str, str], str]:
    """Decide once for many runs what ``auto`` becomes; return variables for their environment, and a line to say.

    Args:
        nodes: the ``logger`` of each run's config, for those that have one.
    """
    ours = f"{WandbTracking.__module__}.{WandbTracking.__qualname__}"
    wrong = heed() if nodes else ""
    asked = any(n["_target_"] == ours and n.get("mode", "auto") == "auto" for n in nodes)
    if not wrong and ("WANDB_MODE" in os.environ or not asked):
        return {}, ""
    mode, why = ("offline", wrong) if wrong else resolve("auto")
    return {"WANDB_MODE": mode}, f"W&B {mode} ({why})"
