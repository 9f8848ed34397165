"""What Weights & Biases gets of a run beside its curves: names, config, summary, artifacts, and how it ended.

The same for a run that is logged live and for one that ``sync`` sends from its record.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superpositional import records

# The step that a row belongs to, under Lightning's own name for it.
STEP = "trainer/global_step"
# For metrics whose last value does not say enough: what W&B keeps of them in the summary.
FITS = {"train/loss": "min,last", "val/loss": "min,last", "val/accuracy": "max,last", "gradient/norm": "max,last"}
FITS |= {"perturbation/ratio": "max,mean,last", "memory/peak_bytes": "max"}
# Silent, bounded, and nothing about the machine: host, user, paths, installed packages, the state of a checkout.
YES = ("quiet", "silent", "x_disable_stats", "x_disable_meta", "x_disable_machine_info", "disable_git", "disable_code")
QUIET = {**dict.fromkeys(YES, True), "x_save_requirements": False, "save_code": False, "console": "off"}
QUIET |= {"host": "", "username": "", "program": "superpositional", "init_timeout": 10.0}
# The record's files; config.yaml keeps the machine's paths, and error.txt may.
RECORDED = ("record.json", "curves.csv", records.GENERATIONS)
DRAWING = "circuit/drawing"
ENDED = ("status", "identity", "family", "steps", "wall_seconds", "fit_seconds", "sessions", "peak_memory_bytes")


def start(folder: Path, record: Mapping[str, Any], run_id: str, mode: str, **options: Any) -> Any:
    """Open the W&B run of a record: its name, group (sweep), job type (arm), config and metrics.

    ``options`` are those of ``wandb.init``. Names and tags that WANDB_ variables gave the run stand in the record.
    """
    import wandb

    stated = record.get("wandb") or {}
    group = stated.get("group") or record["sweep"]
    parts = (group, record["arm"], f"seed-{record['seed']}")
    options["tags"] = [*options.get("tags", ()), *stated.get("tags", ())]
    options["settings"] = wandb.Settings(**(QUIET | options.get("settings", {})))
    run = wandb.init(
        dir=str(folder),
        id=run_id,
        mode=mode,
        name=stated.get("name") or "/".join(str(part) for part in parts if part),
        group=group,
        job_type=stated.get("job_type") or record["arm"],
        notes=record["question"] or stated.get("notes"),
        config={**record["config"], "provenance": {name: record[name] for name in ("code", "versions", "git")}},
        **options,
    )
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    for metric, summary in FITS.items():
        run.define_metric(metric, step_metric=STEP, summary=summary)
    return run


def exit_code(record: Mapping[str, Any]) -> int:
    """Return 0 for a run that is done, which W&B shows as finished, else 1, which it shows as failed."""
    return 0 if record["status"] == "done" else 1


def conclude(run: Any, folder: Path, record: Mapping[str, Any], *, checkpoints: bool = False, panels: bool = True) -> None:
    """Write the record's summary, and how the run ended, into the run's; online, log its artifacts and circuit.

    The data are an input, so that W&B's lineage shows which runs learned from the same rows. Contents decide an artifact's
    version, so a thousand runs of one circuit share one.
    """
    import wandb

    run.summary.update({**record["summary"], **{name: record[name] for name in ENDED if record.get(name) is not None}})
    if run.offline:
        return
    drawing, text, last = folder / "circuit.svg", folder / "circuit.txt", folder / records.CHECKPOINTS[0]
    shown = {}
    if drawing.is_file():
        shown[DRAWING] = wandb.Html(drawing.read_text(encoding="utf-8"), inject=False)
    if text.is_file():
        plain = text.read_text(encoding="utf-8").replace("&", "&amp;").replace("<", "&lt;")
        shown["circuit/openqasm3"] = wandb.Html(f"<pre>{plain}</pre>", inject=False)
    if shown and panels:
        run.log(shown)
    publish(run, _data(record), used=True)
    if text.is_file():
        publish(run, _of_files("circuit", "circuit", [drawing, text]))
    known = {name: record[name] for name in ("status", "arm", "seed")}
    publish(run, _of_files(f"record-{run.id}", "run", [folder / name for name in RECORDED], known))
    if checkpoints and last.is_file():
        publish(run, _of_files(f"checkpoint-{run.id}", "model", [last]))


def publish(run: Any, artifact: Any, *, used: bool = False) -> None:
    """Log an artifact as an output of the run or, if ``used``, as an input, without waiting for the server.

    The interface is private: ``Run.log_artifact`` first asks the server for the artifact's type and ``Run.use_artifact``
    waits until it is stored, so a network that is lost would hold up the end of a training run. This is what both do next.
    """
    artifact.finalize()
    run._interface.publish_artifact(run, artifact, [] if used else ["latest"], is_user_created=True, use_after_commit=used)


def _data(record: Mapping[str, Any]) -> Any:
    """Return the artifact of the data's settings and of what the data module found (source, revision, counts)."""
    import wandb

    node, found = record["config"]["data"], record.get("data")
    kind = node["_target_"].rpartition(".")[2].lower()
    known = {"settings": node, "seed": record["seed"], "found": found}
    artifact = wandb.Artifact(f"data-{kind}", "dataset", metadata={"source": (found or {}).get("source", kind)})
    with artifact.new_file("data.json") as file:
        json.dump(known, file, indent=1, sort_keys=True)
    return artifact


def _of_files(name: str, kind: str, files: Sequence[Path], metadata: Mapping[str, Any] | None = None) -> Any:
    import wandb

    artifact = wandb.Artifact(name, kind, metadata=dict(metadata or {}))
    for file in files:
        if file.is_file():
            artifact.add_file(str(file), name=file.name)
    return artifact
