"""A sweep's folder, finished, unfinished or published, as one object; its records are checked as they are read."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from superpositional.places import read_text
from superpositional.records import integrity
from superpositional.records.run import (
    SCHEMA,
    STATUSES,
    SUPERSEDED,
    Run,
    Unreadable,
    json_object,
    merged,
    read_curves,
    read_json,
    unlike_its_record,
)


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
        line = json_object(text)
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
