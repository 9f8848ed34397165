"""Publish a sweep's records in two files, small enough for git.

What all runs of the sweep, or of an arm, have in common stands once, and curves are thinned to what figures need. From them
every figure, table and verdict is rebuilt, and each run's ``digest`` tells whether a rerun gives the same numbers bit for
bit. ``records.load_sweep`` reads them like the runs' own folders.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from superpositional import records
from superpositional.records import Run, Sweep

# A curve of so many points at most is kept whole, so that losses that are equal bit for bit still are; a longer one is
# thinned to what a figure shows.
WHOLE_POINTS = 64
THINNED_POINTS = 40
# Metrics that a clock or the machine's memory made: no two runs have the same.
CLOCKS = ("time/", "throughput/", "memory/")
# Curves that no figure, table or verdict shows; their last values are in the summaries.
UNSHOWN = (
    "throughput/",
    "memory/",
    "gradient/",
    "test/",
    "train/lr",
    "circuit/executions",
    "circuit/jobs",
    "circuit/shots",
)


def publish(sweep: Sweep, folder: Path, *, source: Path | None = None) -> None:
    """Write a sweep's records as ``sweep.json`` and ``runs.jsonl``, long curves thinned to ``THINNED_POINTS`` points.

    Args:
        source: the sweep's own folder, for what its runs have left in files: answers of language models are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for run in sweep.runs if source is not None else ():
        place = Path(run.arm, f"seed-{run.seed}", records.GENERATIONS)
        if (source / place).is_file() and (source / place).resolve() != (folder / place).resolve():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / place, folder / place)
    told = [_told(run) for run in sweep.runs]
    by_arm = {arm: [each for each in told if each["arm"] == arm] for arm in sweep.arms}
    of_arms = {arm: common(each) for arm, each in by_arm.items() if each}
    everywhere = common(list(of_arms.values()))
    grids: list[list[int]] = []
    lines = []
    for run, record in zip(sweep.runs, told, strict=True):
        curves = {}
        for name, (steps, values) in run.curves.items():
            if name.startswith(UNSHOWN):
                continue
            grid, kept = _thin(steps, values)
            if grid not in grids:
                grids.append(grid)
            curves[name] = (grids.index(grid), kept)
        own = {"arm": run.arm} | without(record, of_arms[run.arm])
        line = records.plain({"record": own, "curves": curves})
        lines.append(json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n")
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
    shared = {"common": everywhere, "common_of_arms": {arm: without(each, everywhere) for arm, each in of_arms.items()}}
    # Steps on a line each: a list of numbers down a page helps nobody.
    text = json.dumps(records.plain(plan | shared), indent=1, allow_nan=False)
    rows = ",\n  ".join(json.dumps(grid) for grid in grids)
    records.replace_file(folder / "sweep.json", f'{text[:-2]},\n "steps": [\n  {rows}\n ]\n}}\n')


def fingerprint(sweep: Sweep) -> str:
    """Return the SHA-256 of a sweep's records, each with its run's ``digest``; the same before and after publishing."""
    found = hashlib.sha256()
    for run in sweep.runs:
        found.update(json.dumps(_told(run), sort_keys=True, allow_nan=False).encode() + b"\n")
    return found.hexdigest()


def _told(run: Run) -> dict[str, Any]:
    # Sorted, so that what is read back is published again byte for byte.
    return dict(sorted(records.plain({"digest": digest(run), **run.record}).items()))


def digest(run: Run) -> str:
    """SHA-256 of every number that a run logged, in full, but for those of clocks and memory; of a published run, the one
    that it was published with."""
    if "digest" in run.record:
        return run.record["digest"]
    found = hashlib.sha256()
    for name in sorted(run.curves):
        if not name.startswith(CLOCKS):
            steps, values = run.curves[name]
            found.update(name.encode() + b"\0" + np.asarray(steps, "<i8").tobytes() + np.asarray(values, "<f8").tobytes())
    return found.hexdigest()


def common(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of these say, mappings within too."""
    if not each:
        return {}
    first, *others = each
    found = {}
    for key, value in first.items():
        if all(key in other and _same(other[key], value) for other in others):
            found[key] = value
        elif isinstance(value, Mapping) and all(isinstance(other.get(key), Mapping) for other in others):
            found[key] = common([value, *(other[key] for other in others)])
    return found


def without(record: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beyond what is known: ``records.merged(known, without(record, known)) == record``."""
    found = {}
    for key, value in record.items():
        if key not in known:
            found[key] = value
        elif not _same(value, known[key]):
            found[key] = without(value, known[key]) if isinstance(value, Mapping) else value
    return found


def _same(one: Any, other: Any) -> bool:
    """Of 1, 1.0 and True, and of 0.0 and -0.0, none is another."""
    return one == other and json.dumps(one) == json.dumps(other)


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[list[int], list[float | None]]:
    """A short curve with the nine significant digits that tell any two float32 numbers apart; of a longer one some points,
    first and last included, with seven."""
    if len(steps) <= WHOLE_POINTS:
        return [int(step) for step in steps], [float(f"{value:.9g}") for value in values]
    index = np.unique(np.linspace(0, len(steps) - 1, THINNED_POINTS).round().astype(int))
    return [int(steps[i]) for i in index], [float(f"{values[i]:.7g}") for i in index]
