"""One run's folder: its record, its curves, and how they are written so that a reader never sees half a file.

The files are listed in ``records``.
"""

import csv
import hashlib
import io
import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from superpositional.places import UserError, read_text

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


class Unreadable(UserError):
    """Files that cannot be what a sweep left, a line for each mistake."""


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """What ``write_json`` wrote; it holds the keys that are needed.

    Raises:
        Unreadable: somebody or something else has been at it.
    """
    try:
        found = json_object(read_text(path))
        if lacking := [key for key in needed if key not in found]:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        return found
    except (OSError, ValueError, RecursionError) as error:
        text = f"{path} is damaged ({error}); move it away and call again: what it recorded is then run again"
        raise Unreadable(text) from None


def json_object(text: str) -> dict[str, Any]:
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
