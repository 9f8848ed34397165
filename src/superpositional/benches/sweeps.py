"""What does a run of a sweep cost beyond its training?

Against a fresh Python process for each run, as a loop in a shell has it; and what two runs at a time gain over one. Read by
``command``.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from superpositional import config as configs
from superpositional import records
from superpositional.jobs import Job
from superpositional.launch import LocalLauncher
from superpositional.live import View


def measure(overrides: Sequence[str], runs: int, repeats: int, track: Callable[[Sequence], Any]) -> dict[str, Any]:
    """Seconds of ``runs`` runs in each of three ways in turn, ``repeats`` times.

    Raises:
        ConfigError: the overrides cannot be composed, or a run of them does not end as done.
    """
    cfg, _ = configs.composed(overrides)
    plain = configs.compose_job(cfg) | {"sweep": "bench", "arm": "bench"}
    code = configs.code(plain)
    found: dict[str, list[dict[str, float]]] = {"one at a time": [], "two at a time": [], "a process per run": []}
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        place = Path(folder)
        # Starts the fork server, which every sweep does once, and lets the system's caches fill.
        started = time.perf_counter()
        _by_launcher([Job(plain, place / "warm", code)], 1)
        first = time.perf_counter() - started
        rounds = list(itertools.product(range(repeats), found))
        for repeat, how in track(rounds):
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


def rows(measured: Mapping[str, Any]) -> list[tuple[str, list[float], list[float], str]]:
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
