"""Send finished runs, and sweeps' reports, to Weights & Biases from their records.

``superpositional sync [DIR]`` finds every record below a folder and replays it as one W&B run: config, every scalar at its
step, summary, artifacts, and how it ended. Of a run that W&B has in part it adds what is missing. It does not matter
whether a run was trained online, offline or without W&B. What has arrived is marked beside the run, and sent again only when
the record changes.
"""

import csv
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from superpositional import places, records
from superpositional.records import locks
from superpositional.tracking import contents
from superpositional.tracking.server import abandon, address, reachable, staged, told

MARK, REPORTED = "wandb/synced.json", "synced.json"  # beside a run, beside a report
SHOWN_WITHIN = 20  # seconds that a server may take to show what it has received
# Beside others of this process, and with an end where the network is lost: W&B's default is to try for hours.
SETTINGS = {"x_graphql_retry_max": 4, "x_file_stream_retry_max": 4, "x_file_transfer_retry_max": 4, "reinit": "create_new"}


class SyncError(ValueError):
    """Nothing can be sent; the message names the cure."""


@dataclass(frozen=True)
class Shipment:
    """One run to send, or a sweep's report, with the folder and record of each of its runs by id."""

    folder: Path
    run_id: str
    state: str
    record: Mapping[str, Any]
    runs: Mapping[str, tuple[Path, Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def mark(self) -> Path:
        return self.folder / (REPORTED if self.runs else MARK)


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
    """Send what has not arrived; return how many runs could not be sent.

    Args:
        folder: of one run, a sweep, or many sweeps.
        jobs: runs at a time.
        project, entity: where to, instead of what each run's config says.
        dry_run: only say what would be sent.
        again: also send what has arrived.

    Raises:
        SyncError: there is no record below the folder, no key, or no server that answers.
    """
    console = console or Console(highlight=False, markup=False, soft_wrap=True)
    if jobs < 1:
        raise SyncError(f"--jobs must be an integer >= 1, got {jobs}")
    found = list(_found(Path(folder), console))
    if not found:
        raise SyncError(f"no finished run below {folder}; name a run's folder, a sweep's, or outputs")
    place = {"server": address(), "project": project, "entity": entity}
    due = [each for each in found if again or {**place, "state": each.state} not in _marks(each.mark)]
    if len(due) < len(found):
        console.print(f"{len(found) - len(due)} of {len(found)} runs are there already; --again sends them too")
    if dry_run:
        for each in due:
            what = f"a report, with its {len(each.runs)} runs as inputs" if each.runs else each.record["status"]
            console.print(f"would send {each.folder} as {each.run_id} ({what})")
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
    except locks.ConfigError:
        raise SyncError("another `superpositional sync` is at work; wait for its end") from None
    cure = "; call sync again, which sends only what is missing" if failed else ""
    console.print(f"{len(due) - failed} of {len(due)} runs sent{cure}")
    return failed


def state(folder: Path) -> str:
    """Return a fingerprint of a run's record."""
    return _fingerprint([folder / "record.json"])


def mark(path: Path, place: Mapping[str, Any], state: str) -> None:
    """Note that what lies in a folder has arrived at a place; notes on what lay there before are dropped."""
    path.parent.mkdir(exist_ok=True)
    new = {**place, "state": state}
    records.write_json(path, {"arrived": [*(each for each in _marks(path) if each["state"] == state and each != new), new]})


def _marks(path: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["arrived"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _fingerprint(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _found(folder: Path, console: Console) -> Iterator[Shipment]:
    """Every run below a folder in the order of its path, then each sweep's report; says what it leaves out."""
    if not folder.is_dir():
        raise SyncError(f"{folder} is not there; name a run's folder, a sweep's, or outputs")
    sweeps: dict[tuple[Path, str], dict[str, tuple[Path, Mapping[str, Any]]]] = {}
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
        yield Shipment(place, run_id, state(place), record)
        if record["arm"] is not None:
            sweeps.setdefault((place.parent.parent, record["sweep"]), {})[run_id] = (place, record)
    for (home, sweep), runs in sweeps.items():
        report, (first, (_, record)) = home / "report", next(iter(runs.items()))
        if (report / "claims.json").is_file():
            files = [path for path in sorted(report.rglob("*")) if path.is_file() and path.name != REPORTED]
            # The id of one of its runs tells this sweep from others of its name.
            yield Shipment(report, contents.named(f"report-{sweep}-{first[-6:]}"), _fingerprint(files), record, runs)


def _send_all(due: Sequence[Shipment], jobs: int, place: Mapping[str, Any], console: Console) -> int:
    """Send many at a time; return how many did not arrive."""
    by_id: dict[str, list[Shipment]] = {}
    for each in due:
        by_id.setdefault(each.run_id, []).append(each)
    failed = 0
    with staged() as scratch, ThreadPoolExecutor(jobs) as pool:
        sending = {pool.submit(_send, copies[0], scratch, place): copies for copies in by_id.values()}
        try:
            for done in track(as_completed(sending), "sending", len(sending), console=console, disable=not console.is_terminal):
                error = OSError("W&B no longer answers") if done.cancelled() else done.exception()
                for each in sending[done]:
                    failed += not _is_noted(each, sending[done][0], error, place, console)
                if error is not None and reachable()[0] is None:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            abandon()
            raise
        if failed:
            abandon()
    return failed


def _is_noted(each: Shipment, sent: Shipment, error: BaseException | None, place: Mapping[str, Any], console: Console) -> bool:
    """Mark a run as arrived, whether it was sent or is a copy of the one that was; say what kept it from arriving."""
    if each.state != sent.state:
        error = OSError(f"its record differs from that of the same run in {sent.folder}; move one of them away")
    if error is not None:
        console.print(f"{each.folder} did not arrive: {told(error)}")
        return False
    try:
        mark(each.mark, place, each.state)
    except OSError as refused:
        console.print(f"{each.folder} has arrived, which cannot be noted: {refused}")
    return True


def _send(each: Shipment, scratch: Path, place: Mapping[str, Any]) -> None:
    """Replay one record, without the scalars that the server has, and wait until the server shows its end."""
    import wandb

    node = each.record["config"].get("logger") or {}
    where = {name: place[name] or node.get(name) for name in ("project", "entity")}
    options = {"project": where["project"] or "superpositional", "entity": where["entity"], "resume": "allow"}
    folder = scratch / each.run_id
    folder.mkdir()
    if each.runs:
        run, code = _report(each, folder, options), 0
    else:
        run, code = _run(each, folder, node, options), contents.exit_code(each.record)
    run.summary["record"] = each.state
    path = run.path
    run.finish(exit_code=code)
    # W&B ends a run whose rows it could not deliver without an error.
    deadline = time.monotonic() + SHOWN_WITHIN
    while wandb.Api().run(path).summary_metrics.get("record") != each.state:
        if time.monotonic() > deadline:
            raise OSError(f"the server does not show its end after {SHOWN_WITHIN} s")
        time.sleep(1)


def _run(each: Shipment, folder: Path, node: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Open the W&B run of a record, and log what the server lacks of it."""
    import wandb

    tags = node.get("tags") or ()
    run = contents.start(folder, each.record, each.run_id, "online", tags=tags, settings=SETTINGS, **options)
    there: set[tuple[Any, str]] = set()
    if run.resumed:
        there = {(row.get(contents.STEP), name) for row in wandb.Api().run(run.path).scan_history() for name in row}
    rows: dict[int, dict[str, float]] = {}
    for name, (steps, values) in records.read_curves(each.folder / "curves.csv").items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            if (step, name) not in there:
                rows.setdefault(step, {})[name] = value
    for step, row in sorted(rows.items()):
        run.log({**row, contents.STEP: step})
    panels = contents.DRAWING not in {name for _, name in there}
    contents.attach(run, each.folder, each.record, checkpoints=bool(node.get("checkpoints")), panels=panels)
    contents.conclude(run, each.record)
    return run


def _report(each: Shipment, folder: Path, options: Mapping[str, Any]) -> Any:
    """Open and fill the W&B run of a sweep's report, of job type ``report``, whose inputs are the runs' records."""
    import wandb

    sweep = each.record["sweep"]
    arms = sorted({str(record["arm"]) for _, record in each.runs.values()})
    names = {"id": each.run_id, "name": f"{sweep}/report", "group": sweep, "job_type": "report"}
    settings = wandb.Settings(**contents.QUIET, **SETTINGS)
    config = {"sweep": sweep, "runs": len(each.runs), "arms": arms}
    run = wandb.init(**options, **names, dir=str(folder), notes=each.record["question"], config=config, settings=settings)
    panels: dict[str, Any] = {}
    for figure in sorted(each.folder.glob("figures/*.png")):
        panels[f"figures/{figure.stem}"] = wandb.Image(str(figure))
    for table in sorted(each.folder.glob("tables/*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            heads, *rows = csv.reader(file)
        panels[f"tables/{table.stem}"] = wandb.Table(columns=heads, data=rows)
    for page in sorted(each.folder.glob("*.html")):
        panels[f"pages/{page.stem}"] = wandb.Html(page.read_text(encoding="utf-8"), inject=False)
    run.log(panels)
    claims = json.loads((each.folder / "claims.json").read_text(encoding="utf-8"))
    verdicts = {claim["claim"]["id"]: claim["verdict"] for claim in claims["verdicts"]}
    run.summary.update({f"verdict/{name}": verdict for name, verdict in verdicts.items()})
    for run_id, (place, record) in each.runs.items():
        contents.publish(run, contents.recorded(run_id, place, record), used=True)
    output = wandb.Artifact(contents.named(f"report-{sweep}"), "report", metadata=verdicts)
    output.add_dir(str(each.folder))
    contents.publish(run, output)
    return run
