"""What is left of a run?

A folder of plain files, the one seam between the bank that trains (torch, Lightning, Hydra) and the bank that judges
(NumPy, SciPy, matplotlib). The left bank writes through this module, the right bank reads through it, and neither
imports the other::

    <sweep>/sweep.json                  what was planned: arms (each with the identity its runs share), seeds, question,
                                        and of a search its declaration and every trial's values
    <sweep>/ledger.json                 of a search: what each arm was given and spent
    <sweep>/<arm>/seed-<n>/record.json  status, identity, seeds, versions, summary; written last and atomically
                           curves.csv   every logged scalar: step, metric, value
                           config.yaml  the resolved config
                           run.log, error.txt
                           running.json   while the run goes on, or after it was killed; lock: whose it is
                           checkpoints/last.ckpt
    <sweep>/superseded/<arm>/           what made room: runs of another config or code version, or begun anew

A published sweep is the same content in two files (``published``): ``runs.jsonl``, a JSON line per run with its curves
thinned, and ``sweep.json`` with what the runs of an arm, or all of them, have in common. No torch here: records are read
on any laptop.
"""

import csv
import hashlib
import io
import json
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from superpositional.places import read_text
from superpositional.records import integrity

SCHEMA = 1
STATUSES = ("done", "diverged", "failed", "interrupted")
# A run's last checkpoint, and the one before it.
CHECKPOINTS = (Path("checkpoints/last.ckpt"), Path("checkpoints/previous.ckpt"))
GENERATIONS = "generations.jsonl"
RUNNING = "running.json"
SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Run:
    """One run as the right bank sees it. ``curves[metric]`` is ``(steps, values)``, two arrays of equal length."""

    sweep: str
    arm: str
    seed: int
    status: str
    record: Mapping[str, Any]
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(repr=False)

    def summary(self, metric: str) -> float | None:
        """The run's final value of a metric, or None where the run has none; a missing value is never zero."""
        return self.record["summary"].get(metric)


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep beside what was planned. ``missing`` lists (arm, seed) pairs with no record yet.

    ``baselines`` names the arm that each is held to where that is not the first: the one at the same swept values.
    ``tuned`` is the ledger of the search that chose the arms' settings, where one did. ``left_out[arm]`` counts the records
    in the folder that are no part of the sweep, for their config or code version is another or their arm was not planned.
    ``claims`` are those declared with it (``claims.read``), None where none were.

    Of a search there is also its plan, as ``search.plan`` has it, and what else its arms were run for: ``set_aside[arm]``
    holds the number and seconds of the runs that another config or code version left under that arm's name.
    """

    name: str
    question: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    families: Mapping[str, str] = field(default_factory=dict, repr=False)
    search: Mapping[str, Any] | None = field(default=None, repr=False)
    set_aside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    baselines: Mapping[str, str] = field(default_factory=dict, repr=False)
    tuned: Mapping[str, Any] | None = field(default=None, repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict, repr=False)
    claims: Mapping[str, Any] | None = field(default=None, repr=False)

    def baseline(self, arm: str) -> str:
        """The arm that this one is held to; a baseline is its own."""
        return self.baselines.get(arm, self.arms[0])

    @property
    def missing(self) -> list[tuple[str, int]]:
        have = {(run.arm, run.seed) for run in self.runs}
        return [(arm, seed) for arm in self.arms for seed in self.seeds if (arm, seed) not in have]


# Writing -----------------------------------------------------------------------------------------------------------


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of either.

    A number that is not finite has no JSON; it becomes null, which readers take as "no value".
    """
    replace_file(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Close a run folder. The status is out of ``STATUSES``; the summary holds only values that exist."""
    if record["status"] not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {record['status']!r}")
    write_json(folder / "record.json", {"schema": SCHEMA, **record})


def append_curves(path: Path, rows: Iterable[tuple[int, str, float]]) -> None:
    """Append (step, metric, value) rows to a ``curves.csv``; values keep every digit."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(("step", "metric", "value"))
        writer.writerows((step, metric, repr(float(value))) for step, metric, value in rows)


def truncate_curves(path: Path, step: int) -> None:
    """Keep the rows of the first ``step`` steps: a run resumed from that step writes the later ones again."""
    if not path.exists():
        return
    header, *lines = path.read_text().splitlines(keepends=True) or [""]
    # A crash may have torn the last line.
    kept = [line for line in lines if line.endswith("\n") and int(line.split(",", 1)[0]) <= step]
    replace_file(path, "".join([header, *kept]))


def last_step(path: Path) -> int:
    """Return the last step of which a ``curves.csv`` has a whole row; 0 where it has none."""
    lines = path.read_text().splitlines(keepends=True)[1:] if path.is_file() else []
    return max((int(line.split(",", 1)[0]) for line in lines if line.endswith("\n")), default=0)


def vouch(path: Path) -> dict[str, Any]:
    """Return the length and hash of a run's curves, as its record keeps them."""
    content = path.read_bytes() if path.is_file() else b""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def unlike_its_record(path: Path, record: Mapping[str, Any]) -> str | None:
    """Return what is wrong with curves that are not those a record was written with; None for older records."""
    kept, found = record.get("curves"), vouch(path)
    if kept is None or kept == found:
        return None
    return f"{path} is not what its record was written with: {found['bytes']} bytes for {kept['bytes']}, or other ones"


def replace_file(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            # Else a power cut may leave the new name with nothing in it.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# Reading -----------------------------------------------------------------------------------------------------------


class Unreadable(ValueError):
    """Files that cannot be what a sweep left, a line for each mistake."""


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """What ``write_json`` wrote; it holds the keys that are needed.

    Raises:
        Unreadable: somebody or something else has been at it.
    """
    try:
        found = _object(read_text(path))
        if lacking := [key for key in needed if key not in found]:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        return found
    except (OSError, ValueError, RecursionError) as error:
        text = f"{path} is damaged ({error}); move it away and call again: what it recorded is then run again"
        raise Unreadable(text) from None


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text, parse_constant=_no_number)
    if not isinstance(found, dict):
        raise ValueError(f"it must hold a JSON object, got {type(found).__name__}")
    return found


def _no_number(token: str) -> None:
    raise ValueError(f"{token} is not a JSON number")


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds something to go on from."""
    return any((folder / path).is_file() for path in CHECKPOINTS)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run folder, or None while the run has not ended."""
    path = folder / "record.json"
    return read_json(path, "identity", "status") if path.exists() else None


def left_in(folder: Path) -> dict[str, Any] | None:
    """What the last process in a run folder left: its record or, if it was killed, what it wrote when it started."""
    running = folder / RUNNING
    return read_record(folder) or (read_json(running, "identity") if running.exists() else None)


def read_curves(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``curves.csv`` as ``{metric: (steps, values)}``; a run that logged nothing has none."""
    points: dict[str, tuple[list[int], list[float]]] = {}
    try:
        text = read_text(path) if path.exists() else ""
        for step, metric, value in list(csv.reader(io.StringIO(text, newline="")))[1:]:
            steps, values = points.setdefault(metric, ([], []))
            steps.append(int(step))
            values.append(float(value))
    except (OSError, ValueError, csv.Error) as error:
        raise Unreadable(f"{path} is damaged ({error}); move the run's folder away and run it again") from None
    return {metric: (np.array(steps), np.array(values)) for metric, (steps, values) in points.items()}


def _read_runs(folder: Path, plan: Mapping[str, Any]) -> tuple[list[tuple[str, Run]], list[str]]:
    """Every run of a folder with the file, or line of one, that it stands in; and what is wrong with any of them."""
    listing, found, wrong = folder / "runs.jsonl", [], []
    sources: list[tuple[str, Callable[[], Run]]] = []
    if listing.exists():
        try:
            lines = read_text(listing).splitlines()
        except (OSError, ValueError) as error:
            raise Unreadable(f"{listing} is damaged ({error}); get the published file again") from None
        for number, line in enumerate(lines, 1):
            where = f"{listing}, line {number}"
            sources.append((where, partial(_published_run, where, line, plan)))
    else:
        for path in sorted(folder.glob("*/seed-*/record.json")):
            sources.append((str(path), partial(_run_in, path.parent)))
    for where, read in sources:
        try:
            run = read()
        except Unreadable as error:
            wrong.append(str(error))
        else:
            wrong += integrity.of_record(where, run.record, SCHEMA, STATUSES)
            found.append((where, run))
    return found, wrong


def load_sweep(folder: str | Path) -> Sweep:
    """Read a sweep's folder, finished, unfinished or published.

    Raises:
        FileNotFoundError: the folder is not a sweep's (it holds no ``sweep.json``).
        Unreadable: its files are damaged, or their records cannot be (``integrity``); a line for each mistake.
    """
    folder = Path(folder)
    if not (folder / "sweep.json").exists():
        raise FileNotFoundError(
            f"no sweep in {folder}: it holds no sweep.json; give the folder that `superpositional sweep` wrote"
        )
    plan = read_json(folder / "sweep.json")
    _refuse(integrity.of_plan(str(folder / "sweep.json"), plan))
    read, wrong = _read_runs(folder, plan)
    _refuse(wrong)
    order = {arm: index for index, arm in enumerate(plan["arms"])}
    families = plan.get("families", {})
    there = Counter(run.arm for _, run in read)
    own = [(at, run) for at, run in read if run.record.get("family") == families.get(run.arm, run.record.get("family"))]
    # A record of an arm that the plan does not hold, or of another config or code version under the same name, stays on
    # disk but is not part of this sweep. One of another seed is: another machine's, copied in with its folder.
    own = sorted(((at, run) for at, run in own if run.arm in order), key=lambda each: (order[each[1].arm], each[1].seed))
    paired = [(at, run.record) for at, run in own]
    _refuse(integrity.of_runs(paired, plan["arms"][0], plan.get("baselines") or {}))
    runs = [run for _, run in own]
    seeds = tuple(sorted({*plan["seeds"], *(run.seed for run in runs)}))
    left_out = dict(there - Counter(run.arm for run in runs))
    search = plan.get("search")
    set_aside = {}
    if search is not None:
        # A published search brings the count; its folder holds no more than the runs themselves.
        set_aside = plan["set_aside"] if "set_aside" in plan else _set_aside(folder, runs, families)
    return Sweep(
        name=plan["sweep"],
        question=str(plan.get("question") or ""),
        arms=tuple(plan["arms"]),
        seeds=seeds,
        runs=tuple(runs),
        families=families,
        search=search,
        set_aside=set_aside,
        baselines=plan.get("baselines", {}),
        tuned=plan.get("tuned"),
        left_out=left_out,
        claims=plan.get("claims"),
    )


def _set_aside(folder: Path, runs: Iterable[Run], families: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What a search's folder holds of runs that are not part of it, by arm: looked at once, they are part of its cost."""
    within = {(run.arm, run.seed) for run in runs}
    found: dict[str, dict[str, Any]] = {}
    for path in sorted([*folder.glob("*/seed-*/record.json"), *folder.glob(f"{SUPERSEDED}/*/seed-*/record.json")]):
        record = read_json(path)
        if path.parents[2] == folder and (record["arm"], record["seed"]) in within:
            continue
        counted = found.setdefault(record["arm"], {"runs": 0, "wall_seconds": 0.0, "without_wall_seconds": 0})
        # What was interrupted or failed and then run again cost its time, but has shown nothing that its successor has not.
        counted["runs"] += record.get("family") != families.get(record["arm"])
        if record.get("wall_seconds") is None:
            counted["without_wall_seconds"] += 1
        else:
            counted["wall_seconds"] += record["wall_seconds"]
    return found


def _refuse(mistakes: Iterable[str]) -> None:
    if lines := list(mistakes):
        raise Unreadable("\n".join(lines))


def _run_in(folder: Path) -> Run:
    record, path = read_json(folder / "record.json"), folder / "curves.csv"
    if wrong := unlike_its_record(path, record):
        raise Unreadable(f"{wrong}; restore it, or move {folder} away and run it again")
    return _run(record, read_curves(path))


def _run(record: dict[str, Any], curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> Run:
    # What a record lacks is told by ``integrity``.
    return Run(*(record.get(key) for key in ("sweep", "arm", "seed", "status")), record, curves)


def _published_run(where: str, text: str, plan: Mapping[str, Any]) -> Run:
    try:
        line = _object(text)
        record = merged(merged(plan["common"], plan["common_of_arms"][line["record"]["arm"]]), line["record"])
        curves = {}
        for name, (grid, values) in line["curves"].items():
            steps = np.array(plan["steps"][grid])
            array = np.array([math.nan if value is None else value for value in values], dtype=None if values else float)
            if array.dtype.kind not in "fi" or steps.dtype.kind not in "fi" or array.shape != steps.shape:
                raise ValueError(f"{name} must be {len(steps)} numbers")
            curves[name] = steps, array.astype(float)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{where} is damaged ({error!r}); get the published file again") from None
    return _run(record, curves)


def merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both, mappings within too; ``own`` where both say something."""
    both = {key for key in common if isinstance(common[key], Mapping) and isinstance(own.get(key), Mapping)}
    return {**common, **own, **{key: merged(common[key], own[key]) for key in both}}


def plain(value: Any) -> Any:
    """JSON's own types: mappings, lists, strings, finite numbers; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
