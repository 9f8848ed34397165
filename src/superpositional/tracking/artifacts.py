"""What of a run, beside its numbers, goes to Weights & Biases?

Its data (as an input, so that lineage shows which runs learned from the same rows), its circuit, its record. Contents
decide an artifact's version, so a thousand runs of one circuit share one. Read by the run's life and by sync.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from superpositional import records

# Of a run's folder; config.yaml keeps the machine's paths, and error.txt may.
RECORDED = ("record.json", "curves.csv", records.GENERATIONS)
CIRCUIT = ("circuit.svg", "circuit.txt")


@contextlib.contextmanager
def staged() -> Iterator[Path]:
    """A folder for the copies that W&B makes of artifacts' files, until they are sent: their paths go along in manifests,
    and W&B's usual place is in the home of a user, by name."""
    names = ("WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR", "WANDB_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        os.environ |= dict.fromkeys(names, folder)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def attach(run: Any, folder: Path, record: Mapping[str, Any], *, checkpoints: bool = False) -> None:
    """Log the run's artifacts, and its circuit's drawing and OpenQASM 3 as panels. Waits for no server."""
    import wandb

    drawing, text = (folder / name for name in CIRCUIT)
    panels = {}
    if drawing.is_file():
        panels["circuit/drawing"] = wandb.Html(drawing.read_text(encoding="utf-8"), inject=False)
    if text.is_file():
        plain = text.read_text(encoding="utf-8").replace("&", "&amp;").replace("<", "&lt;")
        panels["circuit/openqasm3"] = wandb.Html(f"<pre>{plain}</pre>", inject=False)
    if panels:
        run.log(panels)
    used(run, data(record))
    if text.is_file():
        logged(run, of_files("circuit", "circuit", [path for path in (drawing, text) if path.is_file()]))
    logged(run, recorded(run.id, folder, record))
    last = folder / records.CHECKPOINTS[0]
    if checkpoints and last.is_file():
        logged(run, of_files(f"checkpoint-{run.id}", "model", [last]))


def data(record: Mapping[str, Any]) -> Any:
    """What a run learned from: its settings and what the data module said of it (source, revision, counts)."""
    import wandb

    node = record["config"]["data"]
    kind = node["_target_"].rpartition(".")[2].lower()
    known = {"settings": node, "seed": record["seed"], "found": record.get("data")}
    artifact = wandb.Artifact(
        f"data-{kind}", "dataset", metadata={"source": (record.get("data") or {}).get("source", kind)}
    )
    with artifact.new_file("data.json") as file:
        json.dump(known, file, indent=1, sort_keys=True)
    return artifact


def recorded(run_id: str, folder: Path, record: Mapping[str, Any]) -> Any:
    """The files of a run's record: the same files make the same version, whoever logs them."""
    files = [folder / name for name in RECORDED if (folder / name).is_file()]
    return of_files(f"record-{run_id}", "run", files, {name: record[name] for name in ("status", "arm", "seed")})


def named(text: str) -> str:
    """A text as W&B takes it for the name of an artifact, or a run's id."""
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)


def of_files(name: str, kind: str, files: list[Path], metadata: Mapping[str, Any] | None = None) -> Any:
    """An artifact of files, each under its own name."""
    import wandb

    artifact = wandb.Artifact(name, kind, metadata=dict(metadata or {}))
    for file in files:
        artifact.add_file(str(file), name=file.name)
    return artifact


def used(run: Any, artifact: Any) -> None:
    """Log an artifact as something that the run began with.

    ``Run.use_artifact`` waits for the server, and refuses offline. This is what it does but for the waiting: the flag asks
    W&B to declare the use once the artifact is stored.
    """
    artifact.finalize()
    run._interface.publish_artifact(run, artifact, [], is_user_created=True, use_after_commit=True)


def logged(run: Any, artifact: Any) -> None:
    """Log an artifact as something that the run left. As ``Run.log_artifact``, which first asks the server, does."""
    artifact.finalize()
    run._interface.publish_artifact(run, artifact, ["latest"], is_user_created=True)
