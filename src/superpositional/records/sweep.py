"""A sweep's folder, finished, unfinished or published, as one object; its records are checked as they are read."""

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superpositional.places import read_text
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

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep beside what was planned. ``missing`` lists (arm, seed) pairs with no record yet.

    ``baselines`` names the arm that each is held to where that is not the first: the one at the same swept values.
    ``tuned`` is the ledger of the search that chose the arms' settings, where one did. ``left_out[arm]`` counts the records
    in the folder that are no part of the sweep, for their config or code version is another or their arm was not planned.
    ``claims`` are those declared with it (``claims.read``), None where none were.

    Of a search there is also its plan, as ``search.draw`` gives it, and what else its arms were run for: ``set_aside[arm]``
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
            wrong += of_record(where, run.record)
            found.append((where, run))
    return found, wrong


def load_sweep(folder: str | Path) -> Sweep:
    """Read a sweep's folder, finished, unfinished or published.

    Raises:
        FileNotFoundError: the folder is not a sweep's (it holds no ``sweep.json``).
        Unreadable: its files are damaged, or their records cannot be; a line for each mistake.
    """
    folder = Path(folder)
    if not (folder / "sweep.json").exists():
        raise FileNotFoundError(
            f"no sweep in {folder}: it holds no sweep.json; give the folder that `superpositional sweep` wrote"
        )
    plan = read_json(folder / "sweep.json")
    _refuse(of_plan(str(folder / "sweep.json"), plan))
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
    _refuse(of_runs(paired, plan["arms"][0], plan.get("baselines") or {}))
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
    # What a record lacks is told by ``of_record``.
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


CURE = "move the run's folder away and run it again, or get the published file again"
PLAN_CURE = "restore the file, or start the sweep again"
SHARE = re.compile(r"(^|/)(accuracy|exact_match\w*)(/|$)")
TIME = re.compile(r"_to_target$|(^|/)seconds")
NEEDED = ("sweep", "arm", "status", "seed", "summary")


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _set(record: Mapping[str, Any], key: str) -> Any:
    return (_asked(record, "trainer") or {}).get(key)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _instant(value: Any) -> bool:
    try:
        return bool(datetime.datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


# What a record's fields must be, where they are there.
FIELDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("sweep arm status code family execution device machine processor kernels claims digest", _is(str), "a text"),
    ("seed", lambda value: type(value) is int, "a whole number"),
    ("steps sessions wall_seconds load", lambda value: _number(value) and value >= 0, "a finite number >= 0"),
    ("steps_per_epoch", lambda value: _number(value) and value > 0, "a finite number > 0"),
    ("config seeds batches sources versions git data model evaluation summary", _is(Mapping), "an object"),
    ("started", _instant, "a date and time (ISO 8601)"),
)


def of_plan(where: str, plan: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with ``sweep.json``."""
    if not isinstance(plan.get("sweep"), str):
        yield f"{where}: sweep must be a text, got {plan.get('sweep')!r}; {PLAN_CURE}"
    for key, kind, name in (("arms", str, "a list of texts"), ("seeds", int, "a list of whole numbers")):
        values = plan.get(key)
        fits = isinstance(values, list) and values and all(type(value) is kind for value in values)
        if not fits:
            yield f"{where}: {key} must be {name}, got {values!r}; {PLAN_CURE}"
        elif twice := sorted({value for value in values if values.count(value) > 1}):
            yield f"{where}: {key} must differ from each other, got {twice[0]!r} twice; remove one"
    for key in ("families", "baselines", "claims", "tuned", "search", "set_aside", "common", "common_of_arms"):
        if not isinstance(plan.get(key), (Mapping, type(None))):
            yield f"{where}: {key} must be an object, got {plan[key]!r}; {PLAN_CURE}"


def of_record(where: str, record: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one run's record."""
    where = f"{where}: arm {record.get('arm')}, seed {record.get('seed')}"
    if record.get("schema", SCHEMA) != SCHEMA:
        yield f"{where}: schema must be {SCHEMA}, got {record['schema']!r}; read it with the version that wrote it"
    for names, fits, allowed in FIELDS:
        for key in names.split():
            value = record.get(key)
            if (value is not None or key in NEEDED) and not fits(value):
                yield f"{where}: {key} must be {allowed}, got {value!r}; {CURE}"
    if isinstance(record.get("status"), str) and record["status"] not in STATUSES:
        yield f"{where}: status must be one of {', '.join(STATUSES)}, got {record['status']!r}; {CURE}"
    summary = record.get("summary")
    for name, value in summary.items() if isinstance(summary, Mapping) else ():
        if value is not None and not _number(value):
            yield f"{where}: {name} must be a finite number or null, got {value!r}; {CURE}"
        elif value is not None and SHARE.search(name) and not 0 <= value <= 1:
            yield f"{where}: {name} must lie in [0, 1], got {value!r}; log it as a share of 1"
        elif value is not None and TIME.search(name) and value < 0:
            yield f"{where}: {name} must be >= 0, got {value!r}; {CURE}"


def of_runs(runs: Sequence[tuple[str, Mapping[str, Any]]], first: str, baselines: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with a sweep's records together: ``runs`` are their files and contents, ``first`` the first arm."""
    by_run: dict[tuple[str, int], tuple[str, Mapping[str, Any]]] = {}
    for where, record in runs:
        key = record["arm"], record["seed"]
        if key in by_run:
            yield f"{where}: arm {key[0]}, seed {key[1]} stands in {by_run[key][0]} too; each run once, remove one"
        by_run.setdefault(key, (where, record))
    for (arm, seed), (where, record) in by_run.items():
        baseline = baselines.get(arm, first)
        if arm != baseline and (baseline, seed) in by_run:
            for what, one, other in _unpaired(record, by_run[baseline, seed][1]):
                yield (
                    f"{where}: the arms of seed {seed} {what}: {arm} {one}, {baseline} {other}; a pair must share them, "
                    "run both again"
                )


def _unpaired(record: Mapping[str, Any], baseline: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """What a run and its baseline of the same seed must share and do not; what is not recorded is not compared."""
    both = record, baseline
    streams = [each.get("seeds") or {} for each in both]
    for name in streams[0].keys() & streams[1].keys():
        if streams[0][name] != streams[1][name]:
            yield f"have different stream seeds ({name})", streams[0][name], streams[1][name]
    # Kernels and torch's code may differ in the last bits.
    told = [each.get("kernels") for each in both]
    paths = ["torch's code" if str(each).startswith("torch's") else "kernels" for each in told]
    if None not in told and paths[0] != paths[1]:
        yield "were computed by different code", *paths
    # Arms that train on other data or for longer on purpose differ there: the verdicts say that they cannot be compared.
    if _asked(record, "data") != _asked(baseline, "data"):
        return
    batches = [each.get("batches") or {} for each in both]
    # Another precision or number of processes hands over the same batches in other types and parts.
    if any(_set(record, key) != _set(baseline, key) for key in ("precision", "devices")):
        batches = [{}, {}]
    for name in sorted(batches[0].keys() & batches[1].keys()):
        if batches[0][name] != batches[1][name]:
            yield f"saw different batches (epoch/batch {name})", batches[0][name], batches[1][name]
    if _asked(record, "trainer") != _asked(baseline, "trainer") or {each["status"] for each in both} != {"done"}:
        return
    # A clock, or a callback of somebody else's such as EarlyStopping, may end runs where it will.
    callbacks = [node for each in both for node in (_asked(each, "callbacks") or {}).values() if isinstance(node, Mapping)]
    if _set(record, "max_time") or any(not str(node.get("_target_")).startswith("superpositional.") for node in callbacks):
        return
    if None not in (steps := [each.get("steps") for each in both]) and steps[0] != steps[1]:
        yield "were trained for different numbers of steps", *steps


def _asked(record: Mapping[str, Any], node: str) -> Any:
    found = (record.get("config") or {}).get(node)
    # Where the rows lie is no matter.
    return {key: value for key, value in found.items() if key != "path"} if isinstance(found, Mapping) else found


COLUMNS = ("arm", "seed", "status", "identity", "code", "wall_seconds", "steps")


class Frames:
    """A sweep's folder, finished, unfinished or published.

    Example:
        >>> found = load("outputs/published/paper_classification")
        >>> found.runs.groupby("arm")["test/accuracy"].mean()
        >>> found.curves("val/accuracy").pivot_table("value", "step", "arm")
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    @property
    def runs(self) -> "pandas.DataFrame":
        """Return a row per run: arm, seed, status, identity, code, seconds, steps, and a column per summary metric.

        A value that a run does not have is NaN, never zero.
        """
        import pandas

        rows = [{name: run.record.get(name) for name in COLUMNS} | dict(run.record["summary"]) for run in self.sweep.runs]
        return pandas.DataFrame(rows, columns=None if rows else list(COLUMNS))

    def curves(self, metric: str | None = None) -> "pandas.DataFrame":
        """Return a row per logged value: arm, seed, metric, step, value; of one metric if it is named.

        Raises:
            KeyError: no run logged that metric.
        """
        import pandas

        known = sorted({name for run in self.sweep.runs for name in run.curves})
        if metric is not None and metric not in known:
            raise KeyError(f"metric must be one of {', '.join(known) or 'none'}, got {metric!r}")
        parts = [
            pandas.DataFrame({"arm": run.arm, "seed": run.seed, "metric": name, "step": steps, "value": values})
            for run in self.sweep.runs
            for name, (steps, values) in run.curves.items()
            if metric in (None, name)
        ]
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()


def load(folder: str | Path) -> Frames:
    """Read a sweep's folder.

    Raises:
        FileNotFoundError: the folder holds no sweep.
        Unreadable: its files are damaged; a line for each mistake.
    """
    return Frames(load_sweep(folder))
