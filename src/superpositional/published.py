"""What is left of a sweep for those who did not run it?

Its records in one file, with curves thinned to what figures need: enough to rebuild every published figure, table and
verdict. Read by cli, which publishes; ``records.load_sweep`` reads it like the runs' own folders.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from superpositional import records
from superpositional.records import Sweep

THINNED_POINTS = 64


def publish(sweep: Sweep, folder: Path, *, source: Path | None = None) -> None:
    """Write a sweep's records as ``sweep.json`` and ``runs.jsonl``, curves thinned to ``THINNED_POINTS`` points.

    Args:
        source: the sweep's own folder, for what its runs have left in files: answers of language models are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for run in sweep.runs if source is not None else ():
        place = Path(run.arm, f"seed-{run.seed}", records.GENERATIONS)
        if (source / place).is_file() and (source / place).resolve() != (folder / place).resolve():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / place, folder / place)
    lines = []
    for run in sweep.runs:
        curves = {name: _thin(steps, values) for name, (steps, values) in run.curves.items()}
        lines.append(json.dumps(records.plain({"record": run.record, "curves": curves}), allow_nan=False) + "\n")
    records.replace_file(folder / "runs.jsonl", "".join(lines))
    plan = {"sweep": sweep.name, "question": sweep.question, "arms": sweep.arms, "seeds": sweep.seeds}
    plan |= {"families": sweep.families}
    if sweep.baselines:
        plan |= {"baselines": sweep.baselines}
    for key in ("tuned", "claims"):
        if (value := getattr(sweep, key)) is not None:
            plan |= {key: value}
    if sweep.search is not None:
        plan |= {"search": sweep.search, "set_aside": sweep.set_aside}
    records.write_json(folder / "sweep.json", plan)


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[list[int], list[float]]:
    """At most ``THINNED_POINTS`` points of a curve, first and last included; nine significant digits tell any two float32
    numbers apart."""
    index = np.unique(np.linspace(0, len(steps) - 1, THINNED_POINTS).round().astype(int)) if len(steps) else []
    return [int(steps[i]) for i in index], [float(f"{values[i]:.9g}") for i in index]
