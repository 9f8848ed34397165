"""What does somebody see who looks at a sweep?

While it runs: how many runs of each arm are done, at work, failed, the last value of its metric, the time left; a line for
each run where there is no terminal. Before it runs: what would. Afterwards: how all ended. The launchers' only voice.
"""

import csv
import os
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from superpositional import records
from superpositional.sweeps.forecast import Pace
from superpositional.sweeps.plan import Job

TAIL = 16384  # bytes at the end of curves.csv that hold the last value of every metric
MISSING = "–"


class View:
    """The state of a sweep, on a terminal as a picture that changes, elsewhere as a line per run.

    Args:
        planned: all runs.
        waiting: those that this call runs.
        at_once: how many of them go side by side.
        console: where to speak.
    """

    def __init__(self, planned: Sequence[Job], waiting: Sequence[Job], at_once: int, console: Console) -> None:
        self.planned, self.at_once, self.console = planned, at_once, console
        self.pace = Pace(planned)
        self.queue = list(waiting)
        self.running: dict[Job, float] = {}
        self.ended_now = 0
        self.statuses = {job: job.status() for job in planned}
        self.last = {job.arm: _last_metric(job) for job in planned if self.statuses[job] == "done"}
        self.total = len(waiting)
        self.started_at = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self.looked = 0.0

    def __enter__(self) -> "View":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.stop()

    def started(self, job: Job) -> None:
        self.queue.remove(job)
        self.running[job] = time.monotonic()

    def ended(self, job: Job, record: Mapping[str, Any]) -> None:
        """Show how a run ended: on a terminal the others speak for themselves."""
        self.running.pop(job, None)
        self.statuses[job] = record["status"]
        self.ended_now += 1
        self.pace.add(job, record)
        self.last[job.arm] = _last_metric(job) or self.last.get(job.arm)
        if record["status"] != "done" or self.live is None:
            took = "" if record["wall_seconds"] is None else f" in {in_words(record['wall_seconds'])}"
            left = self.seconds_left()
            about = f", about {in_words(round(left))} left" if left is not None else ""
            self.say(f"{job.name}: {record['status']}{took} ({self.ended_now}/{self.total}{about})")

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def mute(self) -> None:
        """Say no more: the terminal is gone, and writing to it would fail."""
        if self.live:
            self.live.stop()
            self.live = None
        self.console.file = open(os.devnull, "w")  # noqa: SIM115 (as long as the console)

    def refresh(self) -> None:
        """Look at what the runs have written, once a second."""
        if self.live is None or time.monotonic() - self.looked < 1:
            return
        self.looked = time.monotonic()
        for job in self.running:
            self.last[job.arm] = _last_metric(job) or self.last.get(job.arm)
        self.live.update(Group(self._bar(), self._table()), refresh=True)

    def seconds_left(self) -> float | None:
        """By how long runs of each arm took so far; None as long as none has ended."""
        spent = {job: time.monotonic() - since for job, since in self.running.items()}
        needed = [self.pace.seconds(job.arm) for job in [*self.queue, *spent]]
        if None in needed:
            return None
        already = [0.0] * len(self.queue) + list(spent.values())
        rest = [max(0.0, all_of_it - done) for all_of_it, done in zip(needed, already, strict=True)]
        return max([sum(rest) / self.at_once, *rest], default=0.0)

    def _bar(self) -> Table:
        line = Table.grid(padding=(0, 1))
        left = self.seconds_left()
        line.add_row(
            f"{self.ended_now}/{self.total} runs",
            ProgressBar(total=self.total, completed=self.ended_now, width=30),
            f"{in_words(time.monotonic() - self.started_at)} so far,",
            "time left unknown until one has ended" if left is None else f"about {in_words(round(left))} left",
        )
        return line

    def _table(self) -> Table:
        arms = list(dict.fromkeys(job.arm for job in self.planned))
        at_work = Counter(job.arm for job in self.running)
        # Where they are more than the terminal has lines, those at work are looked at.
        room = max(1, self.console.height - 8)
        shown = arms if len(arms) <= room else sorted(arms, key=lambda arm: not at_work[arm])[:room]
        table = Table(caption=f"and {len(arms) - room} more arms" if len(arms) > room else None)
        table.add_column("arm", overflow="fold")
        ended = Counter(self.statuses.values())
        odd = [status for status in ("failed", "diverged", "interrupted") if ended[status]]
        for heading in ("done", "running", "to run", *odd):
            table.add_column(heading, justify="right")
        table.add_column("last value", overflow="fold")
        for arm in shown:
            own = Counter(status for job, status in self.statuses.items() if job.arm == arm)
            to_run = sum(job.arm == arm for job in self.queue)
            numbers = (own["done"], at_work[arm], to_run, *(own[status] for status in odd))
            table.add_row(arm, *(str(number or MISSING) for number in numbers), self.last.get(arm) or MISSING)
        return table


def _last_metric(job: Job) -> str | None:
    """The last value that a run has written of what it is judged by while it trains."""
    path = job.folder / "curves.csv"
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    # The first one may be half a line or the heading, and the last one is perhaps being written.
    rows = {row[1]: row for row in csv.reader(line for line in lines[1:] if line.endswith("\n"))}
    watched = ((job.config.get("callbacks") or {}).get("convergence") or {}).get("metric")
    for name in (watched, *sorted(name for name in rows if name.startswith("val/")), "train/loss"):
        if name in rows:
            return f"{name} {float(rows[name][2]):.4g} (step {rows[name][0]})"
    return None


# Before and after --------------------------------------------------------------------------------------------------


def say_stand_in(planned: Sequence[Job], console: Console) -> None:
    """Say so where what was asked for is not to be had and something else stands in."""
    if any(job.config["data"].get("source") == "stand_in" for job in planned):
        console.print(
            "no data.path, and the hub does not answer: problems of our own making stand in for GSM8K, and records say so",
            soft_wrap=True,
        )


def say_dry_run(
    planned: Sequence[Job], waiting: Sequence[Job], folder: Path, at_once: int, pace: Pace, console: Console
) -> None:
    """What would run, how long it would take, how much it would write."""
    table = Table(
        title=f"{planned[0].config['sweep']}: {len(waiting)} of {len(planned)} runs would run", title_justify="left"
    )
    table.add_column("arm", overflow="fold")
    for heading in ("done", "failed", "to run", "a run takes", "and leaves"):
        table.add_column(heading, justify="right")
    for arm in dict.fromkeys(job.arm for job in planned):
        own = Counter(job.status() for job in planned if job.arm == arm)
        to_run = sum(job.arm == arm for job in waiting)
        seconds, size = pace.seconds(arm), pace.bytes(arm)
        table.add_row(
            arm,
            *(str(number or MISSING) for number in (own["done"] + own["diverged"], own["failed"], to_run)),
            MISSING if seconds is None else in_words(seconds),
            MISSING if size is None else _in_bytes(size),
        )
    console.print(table)
    if replaced := sum(job.made_otherwise() for job in waiting):
        console.print(f"{replaced} runs of another config or code version would make room in {folder / records.SUPERSEDED}")
    known = [(pace.seconds(job.arm), pace.bytes(job.arm)) for job in waiting]
    if unknown := sum(None in pair for pair in known):
        text = f"how long {unknown} of them take and how much they leave is not known before one of their arm is done"
    elif waiting:
        seconds, size = (sum(values) for values in zip(*known, strict=True))
        done = sum(map(len, pace.runs.values()))
        by = [f"{done} run{'s that are' if done > 1 else ' that is'} done"] if done else []
        more = "; W&B's own files come on top" if any(job.config.get("logger") for job in waiting) else ""
        by += [f"trials of a few batches{more}"] if pace.trials else []
        text = (
            f"about {in_words(round(seconds / at_once))}, {at_once} at once, and {_in_bytes(size)}, by {' and '.join(by)}"
        )
    else:
        text = "nothing is left to run"
    console.print(f"{text}; records in {folder}", soft_wrap=True)


def say_summary(planned: Sequence[Job], folder: Path, console: Console, *, metric: str | None = None) -> list[str | None]:
    """A table of statuses by arm, the errors of what did not end well, where the records are; returns the statuses.

    ``metric`` is what to show of each arm; None: what it is tested by.
    """
    found = {job: job.record() for job in planned}
    if metric is None:
        results = {name for record in found.values() if record for name in record["summary"] if name.startswith("test/")}
        metric = min(results, key=lambda name: ("accuracy" not in name, "loss" not in name, name), default=None)
    total = Counter(record["status"] if record else "not run" for record in found.values())
    shown = [status for status in (*records.STATUSES, "not run") if total[status] or status == "done"]
    table = Table(title=f"{planned[0].config['sweep']}: {len(planned)} runs")
    table.add_column("arm", overflow="fold")
    for status in shown:
        table.add_column(status, justify="right")
    if metric is not None:
        table.add_column(f"{metric}\nmean ± sd of done", justify="right")
    for arm in dict.fromkeys(job.arm for job in planned):
        own = [record for job, record in found.items() if job.arm == arm]
        count = Counter(record["status"] if record else "not run" for record in own)
        cells = [str(count[status] or MISSING) for status in shown]
        values = [record["summary"].get(metric) for record in own if record and record["status"] == "done"]
        values = [value for value in values if value is not None]
        spread = f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else ""
        table.add_row(arm, *cells, *([f"{statistics.fmean(values):.4g}{spread}" if values else MISSING] if metric else []))
    console.print(table)
    for job, record in found.items():
        if record and record["status"] != "done":
            console.print(f"{job.name}: {record['status']}: {record['error']} ({job.folder})", soft_wrap=True)
    console.print(f"records in {folder}; figures and tables of them:\nsuperpositional report {folder}", soft_wrap=True)
    return [record and record["status"] for record in found.values()]


def in_words(seconds: float) -> str:
    """A duration as one says it: 4.1 s, 48 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; an estimate comes as an integer."""
    for unit, smaller, name, rest in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if seconds >= unit:
            more = round(seconds % unit / smaller)
            return f"{int(seconds // unit)} {name}" + (f" {more} {rest}" if 0 < more < unit // smaller else "")
    return f"{seconds:.1f} s" if isinstance(seconds, float) and seconds < 10 else f"{seconds:.0f} s"


def _in_bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError
