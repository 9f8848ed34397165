"""What does it cost to measure, and to log?

A run as ``superpositional train`` makes it, of the paper's classifier with quantum attention unless overrides say
otherwise, against the same run with less: without the circuits' statistics, without W&B. Each is a process of its own, one
after the other and in turns, so that whatever else the machine does touches all of them. Read by ``command``.
"""

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from superpositional import config as configs
from superpositional.attention import QuantumAttention
from superpositional.circuit_statistics import CircuitStatistics

# What is chosen beside the overrides of each way to run.
WAYS = {
    "plain": ("logger=none",),
    "no statistics": ("logger=none", "callbacks.circuit=null"),
    "offline": ("logger=wandb", "logger.mode=offline"),
    "refused": ("logger=wandb", "logger.mode=auto"),
}
# What, ours, its peer, the most that it may cost of training's time.
COMPARISONS = (
    ("circuit statistics; peer: without them", "plain", "no statistics", 1.01),
    ("W&B offline; peer: no logger", "offline", "plain", 1.02),
    ("W&B auto, its server refusing; peer: no logger", "refused", "plain", 1.02),
)
# A clock of each, and what its seconds are of.
CLOCKS = {
    "fit_seconds": "training",
    "cpu_seconds": "training, CPU",
    "process_seconds": "from the process's start to its end",
}
# Where the circuits' statistics take their time, beside attention's own sums.
HOOKS = ("on_train_start", "on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")
# Of the right length, and nobody's.
KEY = "0" * 40


class Spent(Callback):
    """CPU seconds of training, all threads of the process: what else the machine does touches them less than any clock. And
    those that the circuits' statistics take of them, by a clock around each of their calls."""

    def __init__(self) -> None:
        self.since, self.spent, self.of_statistics = 0.0, 0.0, 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, CircuitStatistics):
                for name in HOOKS:
                    setattr(callback, name, self._clocked(getattr(callback, name)))
        for module in pl_module.modules():
            if isinstance(module, QuantumAttention):
                module._measure = self._clocked(module._measure)
        self.since = time.process_time()

    def _clocked(self, call: Callable) -> Callable:
        def clocked(*arguments: Any) -> Any:
            started = time.process_time()
            try:
                return call(*arguments)
            finally:
                self.of_statistics += time.process_time() - started

        return clocked

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.spent = time.process_time() - self.since

    def notes(self) -> dict[str, Any]:
        return {"cpu_seconds": self.spent, "statistics_seconds": self.of_statistics}


def measure(overrides: Sequence[str], runs: int, repeats: int, track: Callable[[Sequence], Any]) -> dict[str, Any]:
    """Seconds of ``runs`` runs, summed, of each of ``WAYS`` in turn, ``repeats`` times.

    Raises:
        ConfigError: the overrides cannot be composed, or a run of them does not end as done.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    # There and back, so that a machine that warms up or slows down favours none.
    rounds = [name for repeat in range(repeats) for name in (WAYS if repeat % 2 == 0 else reversed(WAYS))]
    with socket.socket() as closed:
        # Bound and not listening: it refuses, and nobody else can take its place.
        closed.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"
        # Fills the system's caches, and ours with what is known of the circuit.
        _timed(_config(overrides, "plain", 0), server)
        for name in track(rounds):
            each = [_timed(_config(overrides, name, seed), server) for seed in range(runs)]
            found[name].append({clock: sum(seconds[clock] for seconds in each) for clock in each[0]})
    ways = {name: list(way) for name, way in WAYS.items()}
    return {"runs": runs, "repeats": repeats, "ways": ways, "measurements": found}


def rows(measured: Mapping[str, Any]) -> list[tuple[str, list[float], list[float], str]]:
    """What, ours, the peer's, unit: of each comparison its measurements, side by side."""
    found = measured["measurements"]
    own = "circuit statistics' own time; peer: the training that it is part of, CPU (at most 0.01)"
    shares = [[each[clock] for each in found["plain"]] for clock in ("statistics_seconds", "cpu_seconds")]
    return [(own, *shares, " s")] + [
        (
            f"{what}: {of}{f' (at most {most})' * (clock == 'fit_seconds')}",
            *([each[clock] for each in found[name]] for name in (ours, peer)),
            " s",
        )
        for what, ours, peer, most in COMPARISONS
        for clock, of in CLOCKS.items()
    ]


def _config(overrides: Sequence[str], name: str, seed: int) -> dict[str, Any]:
    words = ["net/attention=quantum", *overrides, *WAYS[name], f"seed={seed}"]
    config = configs.compose_job(configs.composed(words)[0])
    config["callbacks"]["spent"] = {"_target_": "superpositional.benches.logging.Spent"}
    return config


def _timed(config: dict[str, Any], server: str) -> dict[str, float]:
    """The seconds of one run, by each clock."""
    started = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        record = process.submit(_run, config, server).result()
    seconds = time.perf_counter() - started
    if record["status"] != "done":
        raise configs.ConfigError(
            [f"a run of the benchmark did not end as done: {record['error']}; choose other overrides"]
        )
    return {clock: record[clock] for clock in ("fit_seconds", "cpu_seconds", "wall_seconds", "statistics_seconds")} | {
        "process_seconds": seconds
    }


def _run(config: dict[str, Any], server: str) -> dict[str, Any]:
    from superpositional.run import run

    # The developer's own key and mode would send these runs somewhere.
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ |= {"WANDB_BASE_URL": server, "WANDB_API_KEY": KEY}
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        return run(config, Path(folder))
