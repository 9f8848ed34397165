"""What does a step of fine-tuning cost, against a plain loop?

Ours is a run as ``superpositional train`` makes it: Lightning, our optimizer, our callbacks and curves. The peers are loops
as one writes them by hand: transformers' model and torch.optim.AdamW, on the same batches, with the same schedule and
clipping, recording the same loss and rate at each step. Each measurement is a process of its own, so that its peak memory
is known. Read by ``command``.
"""

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from superpositional import config as configs
from superpositional.stopwatch import peak_bytes

# The first steps of a process allocate what the others use again.
WARM = 2
# Without what is no part of a step: validation, answers, checkpoints, copies of the model.
STEPS_ALONE = (
    "logger=none",
    "callbacks.tracer=null",
    "callbacks.exact_match=null",
    "callbacks.checkpoint=null",
    "callbacks.convergence=null",
    "trainer.limit_val_batches=0",
    "trainer.limit_test_batches=0",
)
PEERS = {
    "transformers": "a plain loop with transformers' own loss",
    "ours": "a plain loop with our loss, which makes no logits of the prompt",
}


class Laps(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.ends.append(time.perf_counter())

    def notes(self) -> dict[str, Any]:
        return {"laps": self.ends}


def measure(overrides: Sequence[str], steps: int, repeats: int, track: Callable[[Sequence], Any]) -> dict[str, Any]:
    """Seconds of each step and peak bytes, of ours and each peer, one after the other ``repeats`` times.

    Raises:
        ConfigError: the overrides cannot be composed, or a run of them does not end as done.
    """
    if steps <= WARM:
        raise configs.ConfigError([f"--runs must be above {WARM} steps, which are left out as warm-up, got {steps}"])
    words = ["scale=small", *overrides, *STEPS_ALONE, f"trainer.limit_train_batches={steps}", "trainer.max_epochs=1"]
    config = configs.compose_job(configs.composed(words)[0])
    config["callbacks"]["laps"] = {"_target_": "superpositional.benches.fine_tuning.Laps"}
    found: dict[str, list[dict[str, Any]]] = {"run": [], **{name: [] for name in PEERS}}
    for _, how in track(list(itertools.product(range(repeats), found))):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            found[how].append(process.submit(_run if how == "run" else _loop, config, how, steps).result())
    return {"steps": steps, "repeats": repeats, "measurements": found}


def rows(measured: Mapping[str, Any]) -> list[tuple[str, list[float], list[float], str]]:
    """What, ours, the peer's, unit: of each comparison its measurements, side by side."""
    found = measured["measurements"]

    def medians(how: str) -> list[float]:
        return [statistics.median(each["seconds"][WARM:]) for each in found[how]]

    def peaks(how: str) -> list[float]:
        return [each["peak_bytes"] / 1e9 for each in found[how]]

    steps = [(f"a step of fine-tuning; peer: {text}", medians("run"), medians(name), " s") for name, text in PEERS.items()]
    return [*steps, (f"peak memory; peer: {PEERS['ours']}", peaks("run"), peaks("ours"), " GB")]


def _run(config: dict[str, Any], how: str, steps: int) -> dict[str, Any]:
    import tempfile

    from superpositional.run import run

    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        record = run(config, Path(folder))
    if record["status"] != "done":
        raise configs.ConfigError(
            [f"a run of the benchmark did not end as done: {record['error']}; choose other overrides"]
        )
    return _told(record["laps"])


def _loop(config: dict[str, Any], how: str, steps: int) -> dict[str, Any]:
    from superpositional.llm.fine_tuning import summed_loss
    from superpositional.schedules import WarmupShare

    torch.set_num_threads(config["threads"])
    data = configs.make("data", config["data"])(seed=config["seed"])
    data.setup()
    net = configs.make("net", config["net"])()
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config["optimizer"]["lr"], weight_decay=config["optimizer"]["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupShare().over(steps))
    clip, losses, rates, ends = config["trainer"]["gradient_clip_val"], [], [], []
    for batch in itertools.islice(data.train_dataloader(), steps):
        if how == "ours":
            loss = summed_loss(net, batch) * batch.weight
        else:
            labels_BN = batch.tokens_BN.masked_fill(~batch.supervised_BN, -100)
            loss = net.language_model(
                input_ids=batch.tokens_BN, attention_mask=batch.attends_BN, labels=labels_BN, use_cache=False
            ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        ends.append(time.perf_counter())
    return _told(ends)


def _told(ends: Sequence[float]) -> dict[str, Any]:
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return {"seconds": seconds, "peak_bytes": peak_bytes()}
