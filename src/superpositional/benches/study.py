"""How long does the paper's first study take?

Its four arms over 30 seeds by ``superpositional sweep paper_classification``, the placebo left out, all cores: a part of it
is run by the same launcher and the whole worked out from it, or the whole is run (``--full``). The peer is a loop in a
shell, a fresh process for each run, one after the other. Read by ``command``.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from superpositional import config as configs
from superpositional.benches.measuring import Asked, Book, Step
from superpositional.launch import cores

ARMS = ("adam", "quantum_moments", "lambda_0.1", "lambda_0.5")
# What the arms of sweeps/paper_classification.yaml choose.
CHOSEN = {
    "adam": ["optimizer=adam"],
    "quantum_moments": ["optimizer=superpositional", "optimizer.inject=moments"],
    "lambda_0.1": ["optimizer=superpositional", "optimizer.quantum_weight=0.1"],
    "lambda_0.5": ["optimizer=superpositional", "optimizer.quantum_weight=0.5"],
}
SEEDS = 30
FIRST = 100
MOST_SECONDS = 480.0
PEER = "a loop in a shell, a fresh process per run, one after the other"
QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "data.n_test=64")


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    repeats, part = asked.times(1), functools.partial
    made = [Step("a part, by the launcher", 60, part(_part, asked)) for _ in range(0 if asked.full else repeats)]
    return made + ([Step("every run", 480, part(_full, asked))] if asked.full else [])


def sweep(seeds: Sequence[int], words: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the command, and the records of its runs.

    Raises:
        ConfigError: it, or a run of it, did not end well.
    """
    # After Ctrl-C its runs may still be writing their records there.
    with tempfile.TemporaryDirectory(prefix="superpositional-", ignore_cleanup_errors=True) as folder:
        command = [
            "sweep",
            "paper_classification",
            f"seed={','.join(map(str, seeds))}",
            "~hydra.sweeper.arms.placebo",
            "claims=every_arm",
        ]
        seconds = timed([*command, "logger=none", f"hydra.sweep.dir='{folder}'", *words])
        found = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/seed-*/record.json"))]
    if len(found) != len(ARMS) * len(seeds):
        raise configs.ConfigError([f"{len(ARMS) * len(seeds)} runs were to be made, got {len(found)} records"])
    return seconds, found


def by_hand(arms: Sequence[str], seeds: Sequence[int], words: Sequence[str]) -> float:
    """Seconds of the same runs, each by ``superpositional train``."""
    seconds = 0.0
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        for arm in arms:
            for seed in seeds:
                where = f"hydra.run.dir='{folder}/{arm}-{seed}'"
                chosen = ["callbacks.checkpoint=null", "logger=none", *CHOSEN[arm], *words, f"seed={seed}"]
                seconds += timed(["train", *chosen, where])
    return seconds


def timed(words: Sequence[str]) -> float:
    """Seconds of a command of ours in a process of its own, which has to end well."""
    command = [sys.executable, "-m", "superpositional.cli", *words]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise configs.ConfigError(
            [f"superpositional {words[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}"]
        )
    return seconds


def whole(part: float, first: float, runs: int, wanted: int) -> float:
    """Seconds of all runs from those of a part: what is paid once stays, the rest grows with the runs."""
    return first + (part - first) * wanted / runs


def _part(asked: Asked, book: Book) -> None:
    seeds = list(range(FIRST, FIRST + (asked.runs or (1 if asked.quick else 2))))
    words = [*asked.overrides, *(QUICK if asked.quick else ())]
    wanted, runs = len(ARMS) * SEEDS, len(ARMS) * len(seeds)
    found, records = sweep(seeds, words)
    # What is paid once: the same command where every run is three steps, less those runs' own time at so many a time.
    short, of_short = (found, records) if asked.quick else sweep(seeds, [*asked.overrides, *QUICK])
    once = max(0.0, short - sum(record["wall_seconds"] for record in of_short) / min(cores(), runs))
    arms = ARMS[:1] if asked.quick else ARMS
    theirs = by_hand(arms, seeds[:1], words) / len(arms)
    book.keep("seconds", {"part": found, "three steps each": short, "a run by hand": theirs, "runs": runs})
    book.keep("fit_seconds", [record["fit_seconds"] for record in records])
    minutes, peers = whole(found, once, runs, wanted) / 60, theirs * wanted / 60
    what = f"the study, {wanted} runs, worked out from {runs}"
    row = book.again(what, PEER, unit="min", ours_most=None if asked.quick else MOST_SECONDS / 60)
    row.ours.append(minutes)
    row.theirs.append(peers)
    row.note = (
        f"extrapolated from {found:.1f} s for {runs} runs, {cores()} at a time, of which {once:.1f} s are paid once: "
        f"{short:.1f} s for as many runs of three steps"
    )
    each = book.again("seconds a run takes of the wall", PEER)
    each.ours.append((found - once) / runs)
    each.theirs.append(theirs)
    book.note(_runs(records))


def _full(asked: Asked, book: Book) -> None:
    wanted = len(ARMS) * SEEDS
    seconds, records = sweep(range(FIRST, FIRST + SEEDS), asked.overrides)
    row = book.compare(f"the study, {wanted} runs", PEER, unit="min", ours_most=MOST_SECONDS / 60)
    row.ours.append(seconds / 60)
    row.theirs.append(by_hand(ARMS, [FIRST], asked.overrides) / len(ARMS) * wanted / 60)
    row.note = "the peer worked out from a run of each arm"
    book.note(_runs(records))


def _runs(records: Sequence[dict[str, Any]]) -> str:
    wall, fit = (sum(record[name] for record in records) / len(records) for name in ("wall_seconds", "fit_seconds"))
    return f"A run's own wall time is {wall:.1f} s on average, {fit:.1f} s of it training."
