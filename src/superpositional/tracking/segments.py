"""What does a ``.wandb`` file say, and how do several of one run become one?

W&B writes a run's records to a file of its own: 7 bytes of heading, then LevelDB's framing of protocol-buffer records
(``wandb_internal_pb2.Record``). A run that is resumed offline leaves one such file, a segment, per session; a killed
session has logged steps that the next one makes again. Read by sync, which sends one file per run, and by the tests.
"""

import json
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from wandb.proto import wandb_internal_pb2

from superpositional.tracking.run import STEP

HEADING = b":W&B\xe1\xbe\x00"
BLOCK = 32768  # bytes, of LevelDB's log format
FULL, FIRST, MIDDLE, LAST = range(1, 5)
Record = wandb_internal_pb2.Record
Curve = tuple[np.ndarray, np.ndarray]
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


@dataclass(frozen=True)
class Told:
    """A run as W&B's records tell it.

    ``history`` holds each scalar as (step, value) in the order logged; ``exit_code`` is None of a run that was killed.
    """

    run_id: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    project: str | None = None
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[tuple[int | None, Any]]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    exit_code: int | None = None


def records_of(path: Path) -> Iterator[Record]:
    """The records of a file, up to where a killed process has left it torn.

    Raises:
        ValueError: it is no file of W&B's.
    """
    content, place, pieces = path.read_bytes(), len(HEADING), b""
    if content[: len(HEADING)] != HEADING:
        raise ValueError(f"{path} is no file of W&B's that this version can read; `wandb sync` may")
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        checksum, length = int.from_bytes(content[place : place + 4], "little"), content[place + 4 : place + 6]
        kind, chunk = content[place + 6], content[place + 7 : place + 7 + int.from_bytes(length, "little")]
        if len(chunk) < int.from_bytes(length, "little") or zlib.crc32(bytes([kind]) + chunk) != checksum:
            return
        place += 7 + len(chunk)
        pieces = chunk if kind in (FULL, FIRST) else pieces + chunk
        if kind in (FULL, LAST):
            yield Record.FromString(pieces)


def write(path: Path, records: Iterable[Record]) -> None:
    """A file of these records, as W&B's own process writes it."""
    content = bytearray(HEADING)
    for number, record in enumerate(records, 1):
        record.num = number
        rest, first = record.SerializeToString(), True
        while first or rest:
            room = BLOCK - len(content) % BLOCK
            if room < 7:
                content += bytes(room)
                continue
            chunk, rest = rest[: room - 7], rest[room - 7 :]
            kind = (LAST if not rest else MIDDLE) if not first else (FIRST if rest else FULL)
            first = False
            content += zlib.crc32(bytes([kind]) + chunk).to_bytes(4, "little")
            content += len(chunk).to_bytes(2, "little") + bytes([kind]) + chunk
    path.write_bytes(bytes(content))


def await_end(path: Path, seconds: float = 60) -> Path:
    """A file once it has its run's end: ``Run.finish`` offline does not wait for W&B's process to have written all.

    Raises:
        TimeoutError: it has not got it in this time.
    """
    deadline = time.monotonic() + seconds
    while not (path.is_file() and any(record.HasField("exit") for record in records_of(path))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"W&B's process has not written {path.name} whole in {seconds:g} s")
        time.sleep(0.02)
    return path


def tell(path: Path) -> Told:
    """What a file says of its run."""
    found: dict[str, Any] = {}
    config, history, summary, metrics, artifacts, inputs = {}, {}, {}, {}, {}, []
    for record in records_of(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found = {"run_id": run.run_id, "name": run.display_name, "group": run.run_group, "job_type": run.job_type}
            found |= {"notes": run.notes, "project": run.project, "tags": tuple(run.tags)}
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "history":
            row = _items(record.history.item)
            for key, value in row.items():
                history.setdefault(key, []).append((row.get(STEP), value))
        elif kind == "summary":
            summary |= _items(record.summary.update)
        elif kind == "metric":
            metric = record.metric
            fits = metric.summary
            summaries = [name for name in ("min", "max", "mean", "last", "best", "none") if getattr(fits, name)]
            metrics[metric.name or metric.glob_name] = {"step": metric.step_metric, "summary": summaries}
        elif kind == "artifact":
            artifacts[record.artifact.name] = record.artifact.type
            inputs += [record.artifact.name] if record.artifact.use_after_commit else []
        elif kind == "exit":
            found["exit_code"] = record.exit.exit_code
    return Told(
        **found, config=config, history=history, summary=summary, metrics=metrics, artifacts=artifacts, inputs=tuple(inputs)
    )


def merged(
    segments: Sequence[Path],
    exit_code: int,
    curves: Mapping[str, Curve],
    *,
    run_id: str | None = None,
    in_order: bool = True,
) -> list[Record]:
    """The records of one run that one or more sessions have written: one start, one end, each step once, in order.

    Rows of steps that a later session made again are left out: it says from which step it went on. What W&B's process had
    not written when a session was killed, or when it died itself, comes from the record's curves.

    Args:
        segments: the sessions' files, in the order of their start; what else there is to say of the run comes last.
        exit_code: of the run's end.
        curves: every scalar of the record, as (steps, values).
        run_id: of the run that they become; None: the one they are of.
        in_order: sort rows by step; else they stay in the order in which they were logged, which is that of a server that
            has heard a part of them already.
    """
    read = [list(records_of(path)) for path in segments]
    resumed = [_resumed_from(each) for each in read]
    head: list[Record] = []
    rows: list[tuple[float, Record]] = []
    rest: list[Record] = []
    for number, found in enumerate(read):
        # The first step that a later session makes anew.
        again = min((step + 1 for step in resumed[number + 1 :] if step is not None), default=float("inf"))
        step: float = -1.0
        for record in found:
            kind = record.WhichOneof("record_type")
            if kind == "history":
                # What has no step of its own, a picture for one, belongs to the step before it.
                step = _items(record.history.item).get(STEP, step)
                if step < again:
                    rows.append((step, record))
            elif kind in ("header", "run"):
                # A session killed early has left not even these.
                if all(each.WhichOneof("record_type") != kind for each in head):
                    head.append(record)
                    if kind == "run" and run_id is not None:
                        record.run.run_id = run_id
            elif kind not in ("exit", "final", "footer", "request"):
                # Files of an earlier session may be gone; what it said of a metric or its summary stands.
                rest.append(record)
    rows += _missing(rows, curves)
    if in_order:
        rows.sort(key=lambda row: row[0])
    for place, (_, record) in enumerate(rows):
        record.history.step.num = place
        for item in record.history.item:
            if (item.key or "/".join(item.nested_key)) == "_step":
                item.value_json = str(place)
    end = Record()
    end.exit.exit_code = exit_code
    defined = [record for record in rest if record.WhichOneof("record_type") == "metric"]
    others = [record for record in rest if record.WhichOneof("record_type") != "metric"]
    return [*head, *defined, *(record for _, record in rows), *others, end]


def rows_of(records: Iterable[Record]) -> int:
    """How many rows of history there are."""
    return sum(record.WhichOneof("record_type") == "history" for record in records)


def after(records: Sequence[Record], there: int) -> list[Record]:
    """The records without the first rows of history, which a server has: it adds what it is sent to what it has."""
    kept, seen = [], 0
    for record in records:
        seen += (row := record.WhichOneof("record_type") == "history")
        if not row or seen > there:
            kept.append(record)
    return kept


def _missing(rows: Sequence[tuple[float, Record]], curves: Mapping[str, Curve]) -> list[tuple[float, Record]]:
    """Rows of those scalars of the curves that are in no row."""
    there = {(int(step), name) for step, record in rows for name in _items(record.history.item) if step >= 0}
    lacking: dict[int, dict[str, float]] = {}
    for name, (steps, values) in curves.items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            if (int(step), name) not in there:
                lacking.setdefault(int(step), {})[name] = value
    found = []
    for step, scalars in sorted(lacking.items()):
        record = Record()
        for name, value in {**scalars, STEP: step, "_step": 0}.items():
            item = record.history.item.add()
            # What JSON has no number for, W&B writes as text.
            item.key, item.value_json = name, json.dumps(value if math.isfinite(value) else NOT_FINITE[str(value)])
        found.append((float(step), record))
    return found


def _resumed_from(records: Iterable[Record]) -> int | None:
    for record in records:
        if record.WhichOneof("record_type") == "summary":
            found = _items(record.summary.update).get("resumed_from_step")
            if found is not None:
                return int(found)
    return None


def _items(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
