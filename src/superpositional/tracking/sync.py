"""How do runs get to Weights & Biases that are not there, or not whole?

``superpositional sync [DIR]``: finds every record below a folder, makes of each run one ``.wandb`` file (its offline
segments merged; its record told again where there are none), and has W&B's own ``wandb sync`` send them, so many at a
time. What has arrived is marked beside the run and is not sent again until the record, or where it goes, changes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from superpositional import places, records
from superpositional.records import locks
from superpositional.tracking import arrivals, artifacts
from superpositional.tracking.run import exit_code
from superpositional.tracking.server import address, lines, reachable

REPORTED = Path("synced.json")  # the mark of a report, beside it
ATTEMPTS = 3
COUNTED_WITHIN = 20  # seconds that a server may take to count what it has been sent
WAIT = 2.0  # seconds before the second attempt; four times as long before the third
# W&B's own attempts at one request; its default goes on for hours.
ATTEMPTS_AT_ONE = 4
RETRIES = ("WANDB__GRAPHQL_RETRY_MAX", "WANDB__FILE_STREAM_RETRY_MAX", "WANDB__FILE_TRANSFER_RETRY_MAX")


class SyncError(ValueError):
    """Nothing can be sent; the message names the cure."""


@dataclass(frozen=True)
class Shipment:
    """One run to send: a training run, or a sweep's report.

    ``how`` says what is sent: ``offline`` (the file of its one session), ``merged`` (of several), ``record`` (told again
    from the record), ``report``. ``state`` is the fingerprint of what lies there now.
    """

    folder: Path
    run_id: str
    how: str
    state: str
    record: Mapping[str, Any]
    segments: tuple[Path, ...] = ()
    runs: Mapping[str, tuple[Path, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def mark(self) -> Path:
        """Where it is noted that this has arrived."""
        return REPORTED if self.how == "report" else arrivals.MARK


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
    """Send what has not arrived; returns how many runs could not be sent.

    Args:
        folder: of one run, a sweep, or many sweeps.
        jobs: runs at a time.
        project, entity: where to, instead of what each run's config says.
        dry_run: only say what would be sent, and how.
        again: also what has arrived.

    Raises:
        SyncError: there is no record below the folder, no key, or no server that answers.
    """
    console = console or Console(highlight=False, markup=False)
    folder = Path(folder)
    if jobs < 1:
        raise SyncError(f"--jobs must be an integer >= 1, got {jobs}")
    found, skipped = _found(folder)
    for line in skipped:
        console.print(line, soft_wrap=True)
    if not found:
        raise SyncError(f"no finished run below {folder}; name a run's folder, a sweep's, or outputs")
    place = arrivals.here(address(x_graphql_retry_max=ATTEMPTS_AT_ONE), project, entity)
    due = [each for each in found if again or not arrivals.marked(each.folder, place, each.state, each.mark)]
    if len(due) < len(found):
        console.print(f"{len(found) - len(due)} of {len(found)} runs are there already; --again sends them too")
    if dry_run:
        for each in due:
            console.print(f"would send {each.folder} as {each.run_id} ({_words(each)})", soft_wrap=True)
        console.print(f"{len(due)} of {len(found)} runs would be sent")
        return 0
    if not due:
        return 0
    server, why = reachable()
    if server is None:
        raise SyncError(f"nothing can be sent: {why}")
    try:
        # Two at once would both add what the server lacks.
        with locks.alone_in(places.cache() / "sync"):
            return _send_all(due, jobs, place, console)
    except locks.ConfigError:
        raise SyncError("another `superpositional sync` is at work; wait for its end") from None


def _send_all(due: Sequence[Shipment], jobs: int, place: Mapping[str, Any], console: Console) -> int:
    """In as many attempts as it takes; returns how many did not arrive."""
    failed = list(due)
    with tempfile.TemporaryDirectory(prefix="superpositional-sync-") as scratch:
        for attempt in range(ATTEMPTS):
            if attempt:
                seconds = WAIT * 4 ** (attempt - 1)
                console.print(f"{len(failed)} of {len(due)} runs did not arrive; trying again in {seconds:.0f} s")
                time.sleep(seconds)
            failed = _attempt(failed, Path(scratch) / str(attempt), jobs, place, console)
            if not failed:
                break
    console.print(f"{len(due) - len(failed)} of {len(due)} runs sent")
    for each in failed:
        console.print(f"{each.folder} did not arrive; call sync again, which sends only what is missing", soft_wrap=True)
    return len(failed)


def _found(folder: Path) -> tuple[list[Shipment], list[str]]:
    """Every run below a folder in the order of its path, then each sweep's report; and what is left out, in words."""
    if not folder.is_dir():
        raise SyncError(f"{folder} is not there; name a run's folder, a sweep's, or outputs")
    found, skipped, sweeps = [], [], {}
    there = {path.parent for name in ("record.json", "running.json") for path in folder.rglob(name)}
    for place in sorted(there):
        if records.SUPERSEDED in place.parts:
            continue
        if not (place / "record.json").is_file():
            skipped.append(f"{place} is left out: it is at work, or was killed and has no record yet; resume it, then sync")
            continue
        try:
            record = records.read_record(place)
        except records.Unreadable as error:
            skipped.append(f"{place} is left out: {error}")
            continue
        shipment = _shipment(place, record)
        found.append(shipment)
        if record["arm"] is not None:
            sweeps.setdefault((place.parent.parent, record["sweep"]), {})[shipment.run_id] = (place, record)
    for (home, sweep), runs in sweeps.items():
        report = home / "report"
        if (report / "claims.json").is_file():
            # Of this sweep of this name: by the first of its runs.
            name = artifacts.named(f"report-{sweep}-{next(iter(runs))[-6:]}")
            files = [path for path in sorted(report.rglob("*")) if path.is_file() and path.name != REPORTED.name]
            found.append(Shipment(report, name, "report", arrivals.fingerprint(files), {"config": {}}, runs=runs))
    return found, skipped


def _shipment(place: Path, record: Mapping[str, Any]) -> Shipment:
    run_id = record.get("wandb_id")
    # By the start in its name; a session of another id is of another run, whose folder this was before.
    files = place.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb") if run_id else ()
    segments = tuple(sorted(files, key=lambda path: (re.search(r"run-(\d+_\d+)", path.parent.name)[1], path)))
    if run_id is None:
        # Of the record alone, so that it is the same whenever it is sent.
        told = f"{record['identity']} {record['started']} {record['machine']}"
        run_id = f"{record['identity']}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"
    how = ("record", "offline")[len(segments)] if len(segments) < 2 else "merged"
    if len(segments) > 1 and not all(map(_is_offline, segments)):
        # What a server has of an online session is neither whole nor in order, and it only adds to that.
        run_id = f"{run_id}-whole"
    return Shipment(place, run_id, how, arrivals.state(place), record, segments)


def _is_offline(segment: Path) -> bool:
    return segment.parent.name.startswith("offline-")


def _words(each: Shipment) -> str:
    return {
        "offline": "as it was logged offline, with its artifacts",
        "merged": f"{len(each.segments)} sessions made one, with its artifacts",
        "record": "never logged: told from its record",
        "report": f"the report, with its {len(each.runs)} runs as inputs",
    }[each.how]


@dataclass(frozen=True)
class Ready:
    """A file to send, where to, and how many rows of history the server then has."""

    path: Path
    project: str
    entity: str | None
    rows: int


def _attempt(
    due: Sequence[Shipment], scratch: Path, jobs: int, place: Mapping[str, Any], console: Console
) -> list[Shipment]:
    """Prepare and send; returns those that did not arrive."""
    ready: dict[str, tuple[Ready, Shipment]] = {}
    log = scratch / "log.txt"
    scratch.mkdir()
    with artifacts.staged(), _bar(console) as bar:
        preparing = bar.add_task("preparing", total=len(due))
        for number, each in enumerate(due):
            try:
                if each.run_id not in ready:
                    ready[each.run_id] = prepare(each, scratch / str(number), place), each
            except (OSError, ValueError) as error:
                console.print(f"{each.folder}: {error}", soft_wrap=True)
            bar.advance(preparing)
        sending = bar.add_task("sending", total=len(ready))
        paths = [found.path for found, _ in ready.values()]
        _send(paths, jobs, place, log, lambda: bar.update(sending, completed=sum(map(_is_sent, paths))))
        arrived = {run_id for run_id, (found, _) in ready.items() if _is_sent(found.path) and _is_there(run_id, found)}
    # A copy of a run is that run.
    there = [each for each in due if each.run_id in arrived and each.state == ready[each.run_id][1].state]
    for each in there:
        try:
            arrivals.mark(each.folder, place, each.state, each.mark)
        except OSError as error:
            console.print(f"{each.folder} has arrived, which cannot be noted: {error}", soft_wrap=True)
    if len(arrived) < len(ready):
        # In W&B's words.
        said = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
        console.print("\n".join(dict.fromkeys(said[-5:])), soft_wrap=True)
    return [each for each in due if each not in there]


def prepare(each: Shipment, scratch: Path, place: Mapping[str, Any]) -> Ready:
    """One ``.wandb`` file of all that the server lacks of a run, with the files that it names beside it.

    Raises:
        OSError, ValueError: a file cannot be read, or the server does not say what it has.
    """
    from superpositional.tracking import replay, segments

    node = each.record["config"].get("logger") or {}
    project = place["project"] or node.get("project") or next(_projects(each.runs), "superpositional")
    entity = place["entity"] or node.get("entity")
    there = lines(each.run_id, project, entity)
    scratch.mkdir()
    if each.how == "report":
        # Another row of panels, of which W&B shows the last.
        path = replay.report(each.folder, each.runs, each.run_id, scratch, project, entity)
        return Ready(path, project, entity, there + 1)
    parts = [*each.segments, replay.rest(each.folder, each.record, each.run_id, scratch, project, entity)]
    path = scratch / "merged" / f"run-{each.run_id}.wandb"
    path.parent.mkdir()
    for folder in replay.files_beside(parts):
        shutil.copytree(folder, path.parent / "files", dirs_exist_ok=True)
    # What of an online run has arrived are its first rows as it logged them; of others, as they were sent before.
    in_order = len(each.segments) != 1 or _is_offline(each.segments[0])
    curves = records.read_curves(each.folder / "curves.csv")
    told = segments.merged(parts, exit_code(each.record), curves, run_id=each.run_id, in_order=in_order)
    segments.write(path, segments.after(told, there))
    return Ready(path, project, entity, max(there, segments.rows_of(told)))


def _is_there(run_id: str, ready: Ready) -> bool:
    deadline = time.monotonic() + COUNTED_WITHIN
    try:
        while lines(run_id, ready.project, ready.entity) < ready.rows:
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
    except OSError:
        return False
    return True


def _projects(runs: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> Iterator[str]:
    for _, record in runs.values():
        if project := (record["config"].get("logger") or {}).get("project"):
            yield project


def _send(paths: Sequence[Path], jobs: int, place: Mapping[str, Any], log: Path, tick: Callable[[], Any]) -> None:
    """By ``wandb sync``, which marks what it has sent; ``tick`` is called meanwhile."""
    if not paths:
        return
    where = [f"--{name}={place[name]}" for name in ("project", "entity") if place[name]]
    # A process of W&B's own for the sending: it shall not take ours along, should it die.
    own = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_MODE")}
    bounds = dict.fromkeys(RETRIES, str(ATTEMPTS_AT_ONE))
    command = [sys.executable, "-m", "wandb", "sync", "--yes", "--include-online", "-n", str(jobs), *where]
    with log.open("ab") as out:
        sending = subprocess.Popen([*command, *map(str, paths)], stdout=out, stderr=out, env=own | bounds, cwd=log.parent)
        try:
            while sending.poll() is None:
                tick()
                time.sleep(0.2)
        finally:
            sending.kill()
            sending.wait()
    tick()


def _is_sent(path: Path) -> bool:
    return path.with_name(f"{path.name}.synced").exists()


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
