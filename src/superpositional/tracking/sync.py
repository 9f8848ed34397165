"""Send finished runs to Weights & Biases from their records.

Every record below a folder is replayed as one W&B run, with config, every scalar at its step, summary, artifacts and how
it ended, whether it was trained online, offline or without W&B. To a run that W&B has in part, what is missing is added.
What has arrived is marked beside the run, and sent again only when its record changes.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from superpositional import places, records
from superpositional.records import locks
from superpositional.tracking import contents
from superpositional.tracking.server import abandon, address, reachable, staged, told

MARK = Path("wandb/synced.json")
SHOWN_WITHIN = 20  # seconds that a server may take to show what it has received
# W&B's own attempts at one request, which where the network is lost would go on for hours.
RETRIES = dict.fromkeys(("x_graphql_retry_max", "x_file_stream_retry_max", "x_file_transfer_retry_max"), 4)


class SyncError(places.UserError):
    """Nothing can be sent; the message names the cure."""


class Shipment(NamedTuple):
    """One run to send, and the fingerprint of its record."""

    folder: Path
    run_id: str
    state: str
    record: Mapping[str, Any]


def sync(
    folder: str | Path,
    *,
    jobs: int = 4,
    project: str | None = None,
    entity: str | None = None,
    dry_run: bool = False,
    again: bool = False,
    console: Console | None = None,
) -> int:
    """Send the runs below a folder that have not arrived, or ``again`` all; return how many could not be sent.

    ``project`` and ``entity`` say where to, instead of each run's config. A ``dry_run`` only says what would be sent.

    Raises:
        SyncError: there is no record below the folder, no key, or no server that answers.
    """
    console = console or Console(highlight=False, markup=False, soft_wrap=True)
    if jobs < 1:
        raise SyncError(f"--jobs must be an integer >= 1, got {jobs}")
    found = list(_found(Path(folder), console))
    if not found:
        raise SyncError(f"no finished run below {folder}; name a run's folder, a sweep's, or outputs")
    place = {"server": address(**RETRIES), "project": project, "entity": entity}
    due = [each for each in found if again or {**place, "state": each.state} not in _marks(each.folder)]
    if len(due) < len(found):
        console.print(f"{len(found) - len(due)} of {len(found)} runs are there already; --again sends them too")
    if dry_run:
        for each in due:
            console.print(f"would send {each.folder} as {each.run_id} ({each.record['status']})")
        console.print(f"{len(due)} of {len(found)} runs would be sent")
    if dry_run or not due:
        return 0
    server, why = reachable()
    if server is None:
        raise SyncError(f"nothing can be sent: {why}")
    try:
        # Two at once would both add what the server lacks.
        with locks.alone_in(places.cache() / "sync"):
            failed = _send_all(due, jobs, place, console)
    except places.ConfigError:
        raise SyncError("another `superpositional sync` is at work; wait for its end") from None
    cure = "; call sync again, which sends only what is missing" if failed else ""
    console.print(f"{len(due) - failed} of {len(due)} runs sent{cure}")
    return failed


def mark(folder: Path, place: Mapping[str, Any]) -> None:
    """Note that a run's record, as it is now, has arrived at a place; notes on an earlier record are dropped."""
    (folder / MARK).parent.mkdir(exist_ok=True)
    new = {**place, "state": _state(folder)}
    arrived = [each for each in _marks(folder) if each.get("state") == new["state"] and each != new]
    records.write_json(folder / MARK, {"arrived": [*arrived, new]})


def _marks(folder: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8"))["arrived"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _state(folder: Path) -> str:
    return hashlib.sha256((folder / "record.json").read_bytes()).hexdigest()[:16]


def _found(folder: Path, console: Console) -> Iterator[Shipment]:
    """Give every finished run below a folder, in the order of its path; say which are left out."""
    if not folder.is_dir():
        raise SyncError(f"{folder} is not there; name a run's folder, a sweep's, or outputs")
    for place in sorted({path.parent for name in ("record.json", records.RUNNING) for path in folder.rglob(name)}):
        if records.SUPERSEDED in place.parts:
            continue
        try:
            record = records.read_record(place)
        except records.Unreadable as error:
            console.print(f"{place} is left out: {error}")
            continue
        if record is None:
            console.print(f"{place} is left out: it is at work, or was killed and has no record yet; resume it, then sync")
            continue
        # From the record alone, so that the id is the same whenever the run is sent.
        origin = f"{record['identity']} {record['started']} {record['machine']}"
        run_id = record.get("wandb_id") or f"{record['identity']}-{hashlib.sha256(origin.encode()).hexdigest()[:6]}"
        yield Shipment(place, run_id, _state(place), record)


def _send_all(due: Sequence[Shipment], jobs: int, place: Mapping[str, Any], console: Console) -> int:
    """Send many at a time; return how many did not arrive."""
    copies: dict[str, list[Shipment]] = {}
    for each in due:
        copies.setdefault(each.run_id, []).append(each)
    failed, lost = 0, threading.Event()
    with staged() as scratch, ThreadPoolExecutor(jobs) as pool:
        try:
            sending = {pool.submit(_send, same, scratch, place, lost): same for same in copies.values()}
            for done in track(
                as_completed(sending), "sending", len(sending), console=console, disable=not console.is_terminal
            ):
                if (error := done.exception()) is not None:
                    failed += len(sending[done])
                    console.print(f"{sending[done][0].folder}: {told(error)}")
                    if reachable()[0] is None:
                        lost.set()
        except BaseException:
            lost.set()
            failed += 1
            raise
        finally:
            if failed:
                abandon()
    return failed


def _send(copies: Sequence[Shipment], scratch: Path, place: Mapping[str, Any], lost: threading.Event) -> None:
    """Replay a record, which may lie in more than one folder, and wait until the server shows its end."""
    import wandb

    if lost.is_set():
        raise OSError("W&B no longer answers")
    folder, run_id, state, record = copies[0]
    if other := next((each.folder for each in copies if each.state != state), None):
        raise ValueError(f"its record differs from that of the same run in {other}; move one of them away")
    node = record["config"].get("logger") or {}
    where = {name: place[name] or node.get(name) for name in ("project", "entity")}
    options = {"project": where["project"] or "superpositional", "entity": where["entity"], "resume": "allow"}
    (scratch / run_id).mkdir()
    tags = node.get("tags") or ()
    run = contents.start(
        scratch / run_id, record, run_id, "online", tags=tags, settings={**RETRIES, "reinit": "create_new"}, **options
    )
    there: set[tuple[Any, str]] = set()
    if run.resumed:
        there = {(row.get(contents.STEP), name) for row in wandb.Api().run(run.path).scan_history() for name in row}
    rows: dict[int, dict[str, float]] = {}
    for name, (steps, values) in records.read_curves(folder / "curves.csv").items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            if (step, name) not in there:
                rows.setdefault(step, {})[name] = value
    for step, row in sorted(rows.items()):
        run.log({**row, contents.STEP: step})
    drawn = contents.DRAWING in {name for _, name in there}
    contents.conclude(run, folder, record, checkpoints=bool(node.get("checkpoints")), panels=not drawn)
    run.summary["record"] = state
    path = run.path
    run.finish(exit_code=contents.exit_code(record))
    # W&B ends a run whose rows it could not deliver without an error.
    deadline = time.monotonic() + SHOWN_WITHIN
    while wandb.Api().run(path).summary_metrics.get("record") != state:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server does not show the run's end after {SHOWN_WITHIN} s")
        time.sleep(1)
    for each in copies:
        mark(each.folder, place)
