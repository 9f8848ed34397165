"""Compare a step of the paper's classifier, as ``superpositional train logger=none`` makes it, with a plain training loop.

The loop is forty lines around torch.optim.AdamW that record the same scalars at the same steps; both are first shown to
give the same losses. What the paper's arms cost beside AdamW (claims C3 and C4) is measured by ``sweep paper_time``.
"""

import functools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.functional import cross_entropy

from superpositional.bench.measuring import Asked, Book, Disagreement, Step, devices
from superpositional.places import ConfigError
from superpositional.records import append_curves, read_curves
from superpositional.training import config as configs
from superpositional.training.throughput import peak_bytes

# A run's own intervals (conf/callbacks/default.yaml).
EVERY = 50
# The first epoch pays for what is set up once.
WARM = 1
ALONE = ("logger=none", "callbacks.checkpoint=null")
LOOP = "a plain loop with torch.optim.AdamW, same scalars recorded"
RUNS = {"torch.optim.AdamW": "adamw", "superpositional AdamW, λ = 0.5": "superpositional"}
MOST_OF_LOOP = 1.10
SCALARS = ("train/loss", "train/lr", "gradient/norm", "throughput/steps_per_second", "throughput/rows_per_second")
SCALARS = (*SCALARS, "memory/peak_bytes")


class Epochs(Callback):
    """Seconds of the training batches of each epoch, and how many there were: no validation, no checkpoint."""

    def __init__(self) -> None:
        self.started = 0.0
        self.found: list[tuple[float, int]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # After all others, whose recording is part of a step.
        if trainer.is_last_batch:
            self.found.append((time.perf_counter() - self.started, batch_idx + 1))

    def notes(self) -> dict[str, Any]:
        return {"epochs": self.found}


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    part, repeats = functools.partial, asked.times(5)
    made = [Step("the plain loop gives the same losses", 12, part(_same_losses, asked))]
    for device in devices():
        if not asked.quick:
            made.append(Step("warm-up", 15, part(_warm_up, device, asked)))
        for repeat in range(repeats):
            made.append(Step(f"a step, {repeat + 1} of {repeats}", 25, part(_against_loop, repeat, device, asked)))
    return made


def _on(device: str) -> str:
    return " on the GPU" * (device == "cuda")


def composed(words: Sequence[str], asked: Asked, seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """The config of a run, with the clock of its epochs."""
    short = ("trainer.max_epochs=2", "data.n_train=128", "data.n_validation=64", "data.n_test=64") if asked.quick else ()
    words = [*words, *ALONE, *short, f"trainer.accelerator={device}", *asked.overrides, f"seed={seed}"]
    config = configs.compose_job(configs.composed(words)[0])
    config["callbacks"]["epochs"] = {"_target_": "superpositional.bench.training.Epochs"}
    return config


def alone(call: Callable, *arguments: Any) -> Any:
    """What a call gives in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(call, *arguments).result()


def run(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record, and its losses by step.

    Raises:
        ConfigError: it did not end as done.
    """
    from superpositional.training import ranks
    from superpositional.training.run import run as run_into

    ranks.keep_memory()
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        record = run_into(config, Path(folder))
        if record["status"] != "done":
            raise ConfigError([f"a run of the benchmark did not end as done: {record['error']}; choose other overrides"])
        curves = read_curves(Path(folder) / "curves.csv")
    return {
        "epochs": record["epochs"],
        "losses": curves["train/loss"][1].tolist(),
        "scalars": {name: len(curves[name][0]) for name in SCALARS},
    }


def loop(config: Mapping[str, Any], paired_dropout: bool) -> dict[str, Any]:
    """The same by hand. ``paired_dropout``: with the run's own masks, to show that it computes the same."""
    from superpositional.seeds import drawing_from, stream

    torch.set_num_threads(config["threads"])
    torch.use_deterministic_algorithms(config["trainer"]["deterministic"])
    seed = config["seed"]
    data = configs.make("data", config["data"])(seed=seed)
    data.setup("fit")
    with drawing_from(seed, "init"):
        net = configs.make("net", config["net"])()
    device = "cuda" if config["trainer"]["accelerator"] == "cuda" else "cpu"
    net.to(device).train()
    settings = config["optimizer"]
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
    loader, epochs, losses, step = data.train_dataloader(), [], [], 0
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        curves = Path(folder) / "curves.csv"
        for epoch in range(config["trainer"]["max_epochs"]):
            loader.sampler.set_epoch(epoch)
            started = since = time.perf_counter()
            waiting, rows, last = [], 0, len(loader)
            for index, (tokens_BN, labels_B) in enumerate(loader, start=1):
                if paired_dropout:
                    torch.manual_seed(stream(seed, "dropout", step))
                step += 1
                tokens_BN, labels_B = tokens_BN.to(device), labels_B.to(device)
                loss = cross_entropy(net(tokens_BN), labels_B)
                optimizer.zero_grad()
                loss.backward()
                due = step % EVERY == 0 or index == last
                norm = torch.nn.utils.get_total_norm([each.grad for each in net.parameters()]) if due else None
                optimizer.step()
                waiting.append((step, loss.detach()))
                rows += len(tokens_BN)
                if norm is not None:
                    append_curves(curves, [(step, "gradient/norm", float(norm))])
                if len(waiting) == EVERY or index == last:
                    values = torch.stack([value for _, value in waiting]).tolist()
                    told = [(at, "train/loss", value) for (at, _), value in zip(waiting, values, strict=True)]
                    now = time.perf_counter()
                    told += [
                        (step, "train/lr", optimizer.param_groups[0]["lr"]),
                        (step, "throughput/steps_per_second", len(waiting) / (now - since)),
                        (step, "throughput/rows_per_second", rows / (now - since)),
                        (step, "memory/peak_bytes", float(peak_bytes())),
                    ]
                    append_curves(curves, told)
                    waiting, rows, since = [], 0, now
                    losses += values
            epochs.append((time.perf_counter() - started, index))
        found = read_curves(curves)
    return {"epochs": epochs, "losses": losses, "scalars": {name: len(found[name][0]) for name in SCALARS}}


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Raises Disagreement unless the losses of both agree bit for bit, and both recorded as many of each scalar."""
    for name in ("losses", "scalars"):
        if a[name] != b[name]:
            raise Disagreement(f"the plain loop is no peer: its {name} are not those of the run")


def _same_losses(asked: Asked, book: Book) -> None:
    config = composed(["optimizer=adamw"], asked)
    same(alone(run, config), alone(loop, config, True))


def _against_loop(repeat: int, device: str, asked: Asked, book: Book) -> None:
    seconds: list[float] = []
    for index, (name, optimizer) in enumerate(RUNS.items()):
        what = f"a training step of the paper's classifier, {name}{_on(device)}"
        most = None if asked.quick else MOST_OF_LOOP
        found = book.compare(what, LOOP, most=most, interval=True, note="each a process; medians of its epochs")
        if index == 0:
            by_hand = alone(loop, composed(["optimizer=adamw"], asked, repeat, device), False)
            seconds.append(_a_step(book.keep(f"epochs (s, steps), {LOOP}{_on(device)}", by_hand["epochs"])))
        told = alone(run, composed([f"optimizer={optimizer}"], asked, repeat, device))
        found.theirs.append(seconds[0])
        found.ours.append(_a_step(book.keep(f"epochs (s, steps), {name}{_on(device)}", told["epochs"])))


def _warm_up(device: str, asked: Asked, book: Book) -> None:
    """Leave what is made once on a machine out of what is measured."""
    for optimizer in RUNS.values():
        alone(run, composed([f"optimizer={optimizer}"], replace(asked, quick=True), 0, device))


def _a_step(epochs: Sequence[tuple[float, int]]) -> float:
    """Seconds of a step: the median over epochs, the first left out."""
    return statistics.median(seconds / count for seconds, count in epochs[WARM:])
