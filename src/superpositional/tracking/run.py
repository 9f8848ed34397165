"""Log a training run to Weights & Biases while it runs.

W&B mirrors the files on disk, offline where no key is set or no server answers. Its run has an explicit id, is opened
before training and closed with the true end. Losing W&B never costs a step: the run says so once, and ``sync``
sends what is missing. Nothing of wandb is imported until a run is opened.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from superpositional.tracking import contents, sync
from superpositional.tracking.contents import STEP
from superpositional.tracking.server import abandon, address, heed, reachable, staged, told, within

MODES = ("auto", "online", "offline")
EVERY = 2  # seconds from one handing over of rows to the next
GRACE = 3  # seconds beyond finish_within, which W&B itself does not keep where a server is gone
Say = Callable[[str], None]


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
        self.run_id: str | None = None
        self.mirror: Mirror | None = None

    def open(
        self, folder: Path, record: dict[str, Any], *, say: Say, run_id: str | None = None, resumed_from: int | None = None
    ) -> "Mirror | None":
        """Start the run, or resume one; return Lightning's logger on it, None if W&B is disabled.

        Args:
            folder: the run's; what W&B writes goes to ``wandb/`` in it.
            record: what is known of the run so far; what WANDB_ variables say of it is added, for ``sync``.
            say: gets one line that says where the run goes, and later one if W&B is lost.
            run_id, resumed_from: the id, and the step, of the session that this one resumes.

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
        settings = {"finish_timeout": float(self.finish_within), "finish_timeout_raises": True}
        settings["x_disable_stats"] = not self.system_metrics
        options = {"tags": self.tags, "settings": settings, "project": self.project, "entity": self.entity}
        while self.run is None:
            resume = "allow" if resumed_from is not None and mode == "online" else None
            try:
                run = contents.start(folder, record, run_id, mode, resume=resume, **options)
                if resumed_from is not None:
                    run.summary["resumed_from_step"] = resumed_from
                self.run = run
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
        self.run_id, self.mirror = run_id, Mirror(self.run, say)
        # The server may lack an earlier session of a resumed run, so that sync has to compare.
        self.mirror.whole = resumed_from is None
        return self.mirror

    def close(self, folder: Path, record: Mapping[str, Any], say: Say) -> None:
        """End the run with its record: as finished if it is done, else as failed.

        Online, its data, circuit and record are sent as artifacts; ``superpositional sync`` sends those of an offline run.
        """
        if self.run is None:
            return
        run, self.run = self.run, None
        assert self.mirror is not None
        self.mirror.finalize(record["status"])
        try:
            with staged():
                contents.conclude(run, folder, record, checkpoints=self.checkpoints)
                within(self.finish_within + GRACE, lambda: run.finish(exit_code=contents.exit_code(record)))
            if not run.offline and not self.mirror.lost and self.mirror.whole:
                sync.mark(folder, {"server": address(), "project": None, "entity": None})
        except Exception as error:  # whatever W&B's own process dies of: the run is recorded
            if not self.mirror.lost:
                say(_lost(error))
            abandon()
        except BaseException:
            abandon()
            raise


class Mirror(WandbLogger):
    """Lightning's logger of an open run, which gives up when W&B is lost, and lets the run go on."""

    def __init__(self, run: Any, say: Say) -> None:
        super().__init__(experiment=run)
        self.run, self.say, self.lost, self.whole = run, say, False, True
        self.rows: dict[int, dict[str, float]] = {}
        self.sent = time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is None:
            raise ValueError(f"a row needs a step, got none for {', '.join(metrics)}")
        self.rows.setdefault(step, {}).update(metrics)

    def save(self) -> None:
        """Hand over the rows of the last seconds, one for each step: the number of rows is what W&B costs a run."""
        if time.monotonic() - self.sent >= EVERY:
            self.finalize("")

    def finalize(self, status: str) -> None:
        """Give W&B the rows that it does not have, unless it is lost; at the end of training and of testing."""
        rows, self.rows = self.rows, {}
        self.sent = time.monotonic()
        try:
            for step in sorted(rows) if not self.lost else ():
                self.run.log({**rows[step], STEP: step})
        except Exception as error:  # whatever W&B's own process dies of: the record on disk goes on
            self.lost = True
            self.say(_lost(error))

    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: the run has the resolved config from its start."""


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
