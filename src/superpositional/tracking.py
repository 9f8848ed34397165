"""Where does Weights & Biases hear of a run?

Here alone. One run at a time, under an explicit id, opened before training and closed with the run's true end, so that two
jobs of one process never share a W&B run and a failed job never shows as finished. The files on disk are the source of
truth; W&B mirrors them, offline where no key is set. Read by train; nothing of wandb is imported until a run is opened.
"""

import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

MODES = ("auto", "online", "offline")
ANSWER_WITHIN = 5  # seconds


class WandbTracking:
    """One run's life on W&B.

    Args:
        project, entity: where the run goes; an entity of None is the key's own.
        mode: ``online``, ``offline``, or ``auto``: as ``WANDB_MODE`` says, else online if a key is set and the server
            answers within 5 s, else offline.
        tags: tags of the run.
    """

    def __init__(
        self,
        *,
        project: str = "superpositional",
        entity: str | None = None,
        mode: str = "auto",
        tags: tuple[str, ...] | list[str] = (),
    ) -> None:
        environment = os.environ.get("WANDB_MODE", "offline")
        wrong = []
        if mode not in MODES:
            wrong.append(f"mode must be one of {', '.join(MODES)}, got {mode!r}; logger=none leaves W&B out")
        if environment not in ("online", "offline", "disabled"):
            wrong.append(f"WANDB_MODE must be online, offline or disabled, got {environment!r}; unset it")
        if wrong:
            raise ValueError("\n".join(wrong))
        self.project, self.entity, self.mode, self.tags = project, entity, mode, tuple(tags)
        self.run: Any = None

    def open(
        self, folder: Path, record: Mapping[str, Any], config: Mapping[str, Any], *, run_id: str | None = None
    ) -> tuple[WandbLogger | None, str]:
        """Start the run, or go on with one; returns Lightning's logger on it and a line to say where it goes."""
        import wandb

        if wandb.run is not None:
            raise RuntimeError(
                f"a W&B run is already open in this process ({wandb.run.id}); finish it first, or its curves would "
                f"swallow this run's"
            )
        mode, why = self._resolve()
        if mode == "disabled":
            return None, f"W&B disabled ({why})"
        group = record["sweep"]
        self.run = wandb.init(
            project=self.project,
            entity=self.entity,
            dir=str(folder),
            # Two runs of one config are two runs; only a resumed one is the same.
            id=run_id or f"{record['identity']}-{secrets.token_hex(3)}",
            resume="allow" if run_id and mode == "online" else None,
            name="/".join(str(part) for part in (group, record["arm"], f"seed-{record['seed']}") if part),
            group=group,
            job_type=record["arm"],
            notes=record["question"],
            tags=list(self.tags),
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(console="off", quiet=True, silent=True, x_disable_stats=True),
        )
        where = self.run.url if mode == "online" else f"`wandb sync {self.run.settings.sync_dir}` uploads it"
        return WandbLogger(experiment=self.run), f"W&B {mode} ({why}): {where}"

    @property
    def run_id(self) -> str | None:
        """The open run's id."""
        return self.run.id if self.run is not None else None

    def close(self, status: str, summary: Mapping[str, Any]) -> None:
        """End the run: as finished if it is done, else as failed."""
        if self.run is not None:
            self.run.summary.update({**summary, "status": status})
            self.run.finish(exit_code=0 if status == "done" else 1)
            self.run = None

    def _resolve(self) -> tuple[str, str]:
        import wandb

        if self.mode != "auto":
            return self.mode, f"logger.mode={self.mode}"
        if "WANDB_MODE" in os.environ:
            return os.environ["WANDB_MODE"], f"WANDB_MODE={os.environ['WANDB_MODE']}"
        try:
            # Looks in WANDB_API_KEY, the settings and the netrc file; asks neither the user nor the server.
            if not wandb.login(prompt=False, verify=False):
                return "offline", "no key is set; `wandb login` sets one"
        except (ValueError, wandb.Error) as error:
            return "offline", f"the key that is set is none: {str(error).splitlines()[0]}"
        server = wandb.setup().settings.base_url
        try:
            urllib.request.urlopen(server, timeout=ANSWER_WITHIN).close()
        except urllib.error.HTTPError:
            pass  # a refusal is an answer too
        except OSError as error:
            return "offline", f"{server} did not answer: {getattr(error, 'reason', error)}"
        return "online", "a key is set"
