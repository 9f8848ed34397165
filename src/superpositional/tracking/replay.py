"""How does what is on disk become a run of Weights & Biases?

A run's record folder, or a sweep's report, is told again to W&B's own library, offline, which leaves one file to send. For
runs that were never logged, for what offline runs leave out (artifacts, whose files a node may not keep), and for reports.
Read by sync.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superpositional.tracking import artifacts, segments
from superpositional.tracking.run import QUIET, conclude, exit_code, start


def rest(folder: Path, record: Mapping[str, Any], run_id: str, into: Path, project: str, entity: str | None) -> Path:
    """All of a run but the numbers of its curves: config, summary, circuit, artifacts, end; returns the ``.wandb`` file."""
    run = start(into, record, run_id, "offline", project=project, entity=entity)
    artifacts.attach(run, folder, record)
    conclude(run, record)
    path = Path(run.settings.sync_file)
    run.finish(exit_code=exit_code(record))
    return segments.await_end(path)


def report(
    folder: Path,
    runs: Mapping[str, tuple[Path, Mapping[str, Any]]],
    run_id: str,
    into: Path,
    project: str,
    entity: str | None,
) -> Path:
    """A sweep's report as a run of its own, of the job type ``report``, that has the runs' records as its inputs.

    Args:
        folder: the report's, with ``claims.json``, ``index.html``, ``figures/`` and ``tables/``.
        runs: of each W&B id of the sweep's runs the folder and record.
    """
    import wandb

    first = next(iter(runs.values()))[1]
    run = wandb.init(
        project=project,
        entity=entity,
        dir=str(into),
        id=run_id,
        name=f"{first['sweep']}/report",
        group=first["sweep"],
        job_type="report",
        notes=first["question"],
        config={
            "sweep": first["sweep"],
            "runs": len(runs),
            "arms": sorted({str(each["arm"]) for _, each in runs.values()}),
        },
        mode="offline",
        settings=wandb.Settings(**QUIET),
    )
    panels: dict[str, Any] = {}
    for figure in sorted(folder.glob("figures/*.png")):
        panels[f"figures/{figure.stem}"] = wandb.Image(str(figure))
    for table in sorted(folder.glob("tables/*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            heads, *rows = csv.reader(file)
        panels[f"tables/{table.stem}"] = wandb.Table(columns=heads, data=rows)
    for page in sorted(folder.glob("*.html")):
        panels[f"pages/{page.stem}"] = wandb.Html(page.read_text(encoding="utf-8"), inject=False)
    run.log(panels)
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    verdicts = {each["claim"]["id"]: each["verdict"] for each in claims["verdicts"]}
    run.summary.update({f"verdict/{name}": verdict for name, verdict in verdicts.items()})
    for name, (place, record) in runs.items():
        artifacts.used(run, artifacts.recorded(name, place, record))
    output = wandb.Artifact(artifacts.named(f"report-{first['sweep']}"), "report", metadata=verdicts)
    output.add_dir(str(folder))
    artifacts.logged(run, output)
    path = Path(run.settings.sync_file)
    run.finish()
    return segments.await_end(path)


def files_beside(paths: Sequence[Path]) -> list[Path]:
    """The folders in which segments keep the files that their records name."""
    return [folder for folder in (path.parent / "files" for path in paths) if folder.is_dir()]
