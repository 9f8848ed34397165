"""Checks of a sweep's records as they are read: types, ranges, runs listed twice, pairs that are not pairs.

Each check yields a line for each mistake: the file, the run, the value, what is allowed and the cure.
``records.load_sweep`` raises them all at once.
"""

import datetime
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

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


def of_record(where: str, record: Mapping[str, Any], schema: int, statuses: Sequence[str]) -> Iterator[str]:
    """What is wrong with one run's record."""
    where = f"{where}: arm {record.get('arm')}, seed {record.get('seed')}"
    if record.get("schema", schema) != schema:
        yield f"{where}: schema must be {schema}, got {record['schema']!r}; read it with the version that wrote it"
    for names, fits, allowed in FIELDS:
        for key in names.split():
            value = record.get(key)
            if (value is not None or key in NEEDED) and not fits(value):
                yield f"{where}: {key} must be {allowed}, got {value!r}; {CURE}"
    if isinstance(record.get("status"), str) and record["status"] not in statuses:
        yield f"{where}: status must be one of {', '.join(statuses)}, got {record['status']!r}; {CURE}"
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
