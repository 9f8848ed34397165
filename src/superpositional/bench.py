"""How fast is it, against what?

Every figure is a ratio to a named peer, measured in the same call, alternating, as the median of repeated measurements.
``sweep``: what a run of a sweep costs beyond its training, against a fresh Python process for each run, as a loop in a
shell has it; and what two runs at a time gain over one. ``fine_tuning``: a step against plain loops (``step_bench``).
``logging``: a run with circuit statistics, or with W&B, against the same without (``logging_bench``). Nothing here is a
test: times depend on the machine.
"""

import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from superpositional import config as configs
from superpositional import records
from superpositional.jobs import Job
from superpositional.launch import LocalLauncher, cores
from superpositional.live import View

# How many runs, or steps, a measurement has unless it is told.
USUAL = {"sweep": 4, "fine_tuning": 20, "logging": 1}


def main(subject: str, overrides: Sequence[str], *, runs: int | None, repeats: int, out: Path) -> dict[str, Any]:
    """Measure, say it, and write ``<out>/<subject>.json`` with every single measurement.

    Args:
        runs: runs of a measurement of ``sweep`` or ``logging``, or steps of one of ``fine_tuning``.

    Raises:
        ConfigError: the overrides cannot be composed, or a run of them does not end as done.
    """
    runs = USUAL[subject] if runs is None else runs
    for name, value in (("runs", runs), ("repeats", repeats)):
        if value < 1:
            raise configs.ConfigError([f"--{name} must be an integer >= 1, got {value}"])
    console = Console(highlight=False, markup=False)
    if subject == "sweep":
        measured = _sweep(overrides, runs, repeats, console)
        rows = _sweep_rows(measured)
    else:
        from superpositional import logging_bench, step_bench

        def progress(rounds: Sequence) -> Any:
            return track(rounds, "measuring", console=console, transient=True)

        room = {"fine_tuning": step_bench, "logging": logging_bench}[subject]
        measured = room.measure(overrides, runs, repeats, progress)
        rows = room.rows(measured)
    measured |= {
        "overrides": list(overrides),
        "machine": f"{platform.processor() or platform.machine()}, {cores()} cores",
        "python": platform.python_version(),
        "git": records.git_state(),
    }
    out.mkdir(parents=True, exist_ok=True)
    records.write_json(out / f"{subject}.json", measured)
    # Of logging a hundredth is what is asked about.
    console.print(_table(rows, digits=3 if subject == "logging" else 2))
    what = "steps" if subject == "fine_tuning" else "runs"
    text = f"medians of {repeats} repeats with {runs} {what} each; every measurement in {out / subject}.json"
    console.print(text, soft_wrap=True)
    return measured


def _sweep(overrides: Sequence[str], runs: int, repeats: int, console: Console) -> dict[str, Any]:
    cfg, _ = configs.composed(overrides)
    plain = configs.compose_job(cfg) | {"sweep": "bench", "arm": "bench"}
    code = configs.code_version(plain)
    found: dict[str, list[dict[str, float]]] = {"one at a time": [], "two at a time": [], "a process per run": []}
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        place = Path(folder)
        # Starts the fork server, which every sweep does once, and lets the system's caches fill.
        started = time.perf_counter()
        _by_launcher([Job(plain, place / "warm", code)], 1)
        first = time.perf_counter() - started
        rounds = list(itertools.product(range(repeats), found))
        for repeat, how in track(rounds, "measuring", console=console, transient=True):
            where = place / f"{repeat}-{how.replace(' ', '-')}"
            planned = [Job(plain | {"seed": seed}, where / f"seed-{seed}", code) for seed in range(runs)]
            started = time.perf_counter()
            if how == "a process per run":
                _by_processes(overrides, planned)
            else:
                _by_launcher(planned, 1 if how == "one at a time" else 2)
            seconds = time.perf_counter() - started
            ended = [records.read_record(job.folder) for job in planned]
            if wrong := [record for record in ended if record is None or record["status"] != "done"]:
                told = wrong[0] and wrong[0]["error"]
                raise configs.ConfigError([f"a run of the benchmark did not end as done: {told}; choose other overrides"])
            fitted = sum(record["fit_seconds"] for record in ended)
            found[how].append({"seconds": seconds, "fit_seconds": fitted})
            if how != "two at a time":  # whose trainings overlap
                found[how][-1]["beyond"] = (seconds - fitted) / runs
    return {"runs": runs, "repeats": repeats, "first_run_seconds": first, "measurements": found}


def _by_launcher(planned: Sequence[Job], at_once: int) -> None:
    launcher = LocalLauncher(jobs=at_once)
    view = View(planned, planned, launcher.slots(planned), Console(file=StringIO()))
    launcher.run_all(planned, planned[0].folder.parent, view)


def _by_processes(overrides: Sequence[str], planned: Sequence[Job]) -> None:
    """One run after the other by ``superpositional train``."""
    for job in planned:
        words = [*overrides, f"seed={job.config['seed']}", f"hydra.run.dir='{job.folder}'"]
        command = [sys.executable, "-m", "superpositional.cli", "train", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            raise configs.ConfigError([f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}"])


def _sweep_rows(measured: dict[str, Any]) -> list[tuple[str, list[float], list[float], str]]:
    """What, ours, the peer's, unit: of each comparison its measurements, side by side."""
    found = measured["measurements"]
    one, two, alone = (found[how] for how in ("one at a time", "two at a time", "a process per run"))
    seconds = [[each["seconds"] for each in how] for how in (two, one)]
    return [
        (
            "a run beyond its training; peer: a fresh process per run",
            [each["beyond"] for each in one],
            [each["beyond"] for each in alone],
            " s",
        ),
        (f"{measured['runs']} runs two at a time; peer: one at a time", *seconds, " s"),
    ]


def _table(rows: Sequence[tuple[str, list[float], list[float], str]], *, digits: int) -> Table:
    table = Table()
    for heading in ("what", "ours", "peer", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right", overflow="fold")
    for what, ours, peer, unit in rows:
        # Of pairs measured one after the other, so that what else the machine does touches both.
        ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
        table.add_row(
            what, f"{statistics.median(ours):.2f}{unit}", f"{statistics.median(peer):.2f}{unit}", f"{ratio:.{digits}f}"
        )
    return table
