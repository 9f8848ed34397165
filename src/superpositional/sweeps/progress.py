"""Show a sweep: before it runs what would run and how long that would take, while it runs its state, afterwards its end.

How long is known from runs that are done. Where there are none, from a trial: the same config for a few batches of each
kind, timed and extrapolated to the full length.
"""

import csv
import json
import math
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from superpositional import records
from superpositional.records import identity
from superpositional.sweeps.plan import Job

# Batches of a trial. The first ones of a process are slower, so the median is taken.
TRIAL = {"limit_train_batches": 10, "limit_val_batches": 5, "limit_test_batches": 5}
TAIL = 16384  # bytes at the end of curves.csv that hold the last value of every metric
MISSING = "–"


class View:
    """The state of a sweep: on a terminal a bar per arm, elsewhere a line per run that ended.

    Args:
        planned: all runs.
        waiting: those that this call runs.
        at_once: how many of them go side by side.
        console: where to print.
    """

    def __init__(self, planned: Sequence[Job], waiting: Sequence[Job], at_once: int, console: Console) -> None:
        self.at_once, self.console = at_once, console
        self.pace = Pace(planned)
        self.queue, self.running = list(waiting), dict[Job, float]()
        self.total, self.ended_now, self.looked = len(waiting), 0, 0.0
        self.live = console.is_terminal
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not self.live,
        )
        self.all = self.bars.add_task("runs", total=self.total, state="")
        counts, to_run = (Counter(job.arm for job in jobs) for jobs in (planned, waiting))
        # Where they are more than the terminal has lines, only arms at work have a bar.
        self.crowded = len(counts) > max(1, console.height - 4)
        self.arms = {
            arm: self.bars.add_task(arm, total=count, completed=count - to_run[arm], state="", visible=not self.crowded)
            for arm, count in counts.items()
        }
        self.badly: dict[str, Counter[str]] = {arm: Counter() for arm in self.arms}
        self.last: dict[str, str | None] = {}

    def __enter__(self) -> "View":
        self.bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bars.stop()

    def started(self, job: Job) -> None:
        self.queue.remove(job)
        self.running[job] = time.monotonic()
        self._show(job)

    def ended(self, job: Job, record: Mapping[str, Any]) -> None:
        """Show how a run ended: on a terminal the bars speak for those that are done."""
        self.running.pop(job, None)
        self.ended_now += 1
        self.pace.add(job, record)
        self.bars.advance(self.all)
        self.bars.advance(self.arms[job.arm])
        if record["status"] != "done":
            self.badly[job.arm][record["status"]] += 1
        self._show(job)
        if record["status"] != "done" or not self.live:
            took = "" if record["wall_seconds"] is None else f" in {in_words(record['wall_seconds'])}"
            self.say(f"{job.name}: {record['status']}{took} ({self.ended_now}/{self.total}{self._left()})")

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def mute(self) -> None:
        """Say no more: the terminal is gone, and writing to it would fail."""
        self.bars.stop()
        self.live = False
        self.console.file = open(os.devnull, "w")  # noqa: SIM115 (as long as the console)

    def refresh(self) -> None:
        """Look at what the runs have written, once a second."""
        if not self.live or time.monotonic() - self.looked < 1:
            return
        self.looked = time.monotonic()
        for job in self.running:
            self._show(job)
        self.bars.update(self.all, state=self._left().removeprefix(", ") or "time left unknown until one has ended")
        self.bars.refresh()

    def _show(self, job: Job) -> None:
        if not self.live:
            return
        arm = job.arm
        self.last[arm] = _last_metric(job) or self.last.get(arm)
        at_work = sum(each.arm == arm for each in self.running)
        parts = [f"{at_work} running" if at_work else "", *(f"{many} {how}" for how, many in self.badly[arm].items())]
        state = "  ".join(filter(None, [", ".join(filter(None, parts)), self.last[arm]]))
        self.bars.update(self.arms[arm], state=state, visible=at_work > 0 or not self.crowded)

    def _left(self) -> str:
        """By how long runs of each arm took so far; nothing as long as none has ended."""
        spent = {job: time.monotonic() - since for job, since in self.running.items()}
        needed = {job: self.pace.seconds(job.arm) for job in [*self.queue, *spent]}
        if None in needed.values():
            return ""
        rest = [max(0.0, seconds - spent.get(job, 0.0)) for job, seconds in needed.items()]
        return f", about {in_words(round(max([sum(rest) / self.at_once, *rest], default=0.0)))} left"


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
    planned: Sequence[Job], waiting: Sequence[Job], folder: Path, at_once: int, pace: "Pace", console: Console
) -> None:
    """Print what would run, how long it would take and how much it would write."""
    table = Table(
        title=f"{planned[0].config['sweep']}: {len(waiting)} of {len(planned)} runs would run", title_justify="left"
    )
    table.add_column("arm", overflow="fold")
    for heading in ("done", "failed", "to run", "a run takes", "and leaves"):
        table.add_column(heading, justify="right")
    for arm in dict.fromkeys(job.arm for job in planned):
        own = Counter(job.status() for job in planned if job.arm == arm)
        counts = (own["done"] + own["diverged"], own["failed"], sum(job.arm == arm for job in waiting))
        seconds, size = pace.of(arm)
        takes = (MISSING, MISSING) if seconds is None else (in_words(seconds), decimal(round(size)))
        table.add_row(arm, *(str(count or MISSING) for count in counts), *takes)
    console.print(table)
    if replaced := sum(job.made_otherwise() for job in waiting):
        console.print(f"{replaced} runs of another config or code version would make room in {folder / records.SUPERSEDED}")
    known = [pace.of(job.arm) for job in waiting]
    if unknown := known.count((None, None)):
        text = f"how long {unknown} of them take and how much they leave is not known before one of their arm is done"
    elif waiting:
        seconds, size = (sum(values) for values in zip(*known, strict=True))
        by = f"trials of a few batches{'; W&B adds its own files' if planned[0].config.get('logger') else ''}"
        by = by if pace.trials else f"{sum(map(len, pace.runs.values()))} runs that are done"
        text = f"about {in_words(round(seconds / at_once))}, {at_once} at once, and {decimal(round(size))}, by {by}"
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


# How long ----------------------------------------------------------------------------------------------------------


class Pace:
    """How long a run of each arm takes and how many bytes it leaves: by its runs, else by a trial, else by all runs."""

    def __init__(self, planned: Sequence[Job]) -> None:
        self.runs: dict[str, list[tuple[float, int]]] = {}
        self.trials: dict[str, tuple[float, float]] = {}
        for job in planned:
            if (record := job.record()) is not None:
                self.add(job, record)

    def add(self, job: Job, record: Mapping[str, Any]) -> None:
        """Learn from a run that ended; one that diverged or failed was shorter than it would have been."""
        if record["status"] == "done" and record["wall_seconds"] is not None:
            self.runs.setdefault(job.arm, []).append((record["wall_seconds"], size(job.folder)))

    def seconds(self, arm: str) -> float | None:
        """A run of this arm; None while nothing is known."""
        return self.of(arm)[0]

    def of(self, arm: str) -> tuple[float, float] | tuple[None, None]:
        """Seconds and bytes of a run of this arm."""
        if arm in self.trials and arm not in self.runs:
            return self.trials[arm]
        runs = self.runs.get(arm) or [run for own in self.runs.values() for run in own]
        return tuple(statistics.fmean(values) for values in zip(*runs, strict=True)) if runs else (None, None)


def kinds(waiting: Sequence[Job], pace: Pace) -> dict[str, list[Job]]:
    """The first job of each arm that no run tells of, those together that differ in the optimizer's numbers alone."""
    first = {job.arm: job for job in reversed(waiting) if job.arm not in pace.runs}
    found: dict[str, list[Job]] = {}
    for job in reversed(first.values()):
        kept = {key: value for key, value in job.config.items() if key not in (*identity.PRESENTATION, "seed", "optimizer")}
        optimizer = re.sub(r"(?<=[ \[])-?\d[\d.e+-]*", "", json.dumps(job.config["optimizer"], default=str))
        found.setdefault(json.dumps(kept, sort_keys=True, default=str) + optimizer, []).append(job)
    return found


def trial(job: Job, folder: Path) -> Job:
    """A job's trial: a few batches of each kind, without W&B, in a folder of its own."""
    trainer = {**job.config["trainer"], "max_epochs": 1}
    for key, batches in TRIAL.items():
        given = trainer.get(key)
        # A limit of its own may be shorter still; 0 leaves that kind out.
        trainer[key] = min(given, batches) if type(given) is int else batches
    stopwatch = {"stopwatch": {"_target_": "superpositional.training.throughput.Stopwatch"}}
    config = {**job.config, "trainer": trainer, "logger": None}
    config["callbacks"] = {**(job.config["callbacks"] or {}), **stopwatch}
    return Job(config, folder, job.code)


def extrapolated(tried: Job, job: Job) -> tuple[float, float] | None:
    """Seconds and bytes of the whole job, from its trial; None if its length has no bound that is known."""
    record, trainer = tried.record(), job.config["trainer"]
    watch = record["stopwatch"]
    batches = {kind: _limited(watch[kind]["batches"], trainer.get(f"limit_{kind}_batches", 1.0)) for kind in watch}
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    if None in batches.values() or not batches.get("train") or (epochs in (None, -1) and steps == -1):
        return None
    per_epoch = math.ceil(batches["train"] / trainer.get("accumulate_grad_batches", 1))
    bounds = [epochs] if epochs not in (None, -1) else []
    epochs = min([*bounds, steps / per_epoch] if steps != -1 else bounds)
    often = trainer.get("val_check_interval") or 1.0
    times = {
        "train": epochs,
        "val": epochs / (trainer.get("check_val_every_n_epoch") or 1) / (often if often <= 1 else often / batches["train"]),
        "test": 1,
    }
    # Imports, data, the folder's writing: once, however long the run.
    once = record["wall_seconds"] - sum(watch[kind]["spent"] for kind in watch)
    seconds = once + sum(times[kind] * batches[kind] * watch[kind]["median"] for kind in watch if batches[kind])
    curves = tried.folder / "curves.csv"
    lengthened = curves.stat().st_size * epochs * per_epoch / max(1, record["steps"])
    return seconds, size(tried.folder) - curves.stat().st_size + lengthened


def _limited(there: int | None, limit: float | int) -> int | None:
    """How many batches of a kind a run takes, as Lightning reads its limits: a number, or a share of them."""
    if type(limit) is int:
        return limit if there is None else min(there, limit)
    return None if there is None else int(there * limit)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
