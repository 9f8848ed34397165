"""How much of the update would the quantum term be, before any long run?

A few real steps of a config, traced (``tracer``): the share of the update's norm that the term makes, how far it turns it,
how many scalars it touches and really changes; beside it the placebo's, the least that any change amounts to. It tells of
updates alone and bounds neither loss nor accuracy. Read by the command line's ``plan``.
"""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from superpositional.places import ConfigError
from superpositional.training import config as configs

PLACEBO = "superpositional.optim.placebo.PlaceboAdamW"


def probe(config: Mapping[str, Any], steps: int) -> dict[str, list[Any]]:
    """Traces of ``steps`` steps from the start: of the config's optimizer, and of the placebo with its settings.

    Raises:
        ConfigError: the optimizer has no Adam's state to be traced.
    """
    return {
        "arm": _traced(config, steps),
        "placebo": _traced({**config, "optimizer": _placebo(config["optimizer"])}, steps),
    }


def rows(traces: Mapping[str, Sequence[Any]]) -> list[tuple[str, ...]]:
    """Means over the steps, a row for each of the two; the first row holds the headings."""
    table = [("", "share of the update", "largest", "angle (degrees)", "scalars touched", "changed a step", "of")]
    for name, each in traces.items():
        share, angle = ([getattr(trace, key) for trace in each] for key in ("share", "angle"))
        touched = each[0].touched
        table.append(
            (
                name,
                _of_numbers(np.mean, share),
                _of_numbers(np.max, share),
                _of_numbers(np.mean, angle),
                "–" if touched is None else f"{touched:,}",
                f"{np.mean([trace.changed for trace in each]):,.4g}",
                f"{each[0].scalars:,}",
            )
        )
    return table


def _traced(config: Mapping[str, Any], steps: int) -> list[Any]:
    import torch

    from superpositional.optim.tracer import Tracer

    configs.quieten_lightning()
    torch.set_num_threads(config["threads"])
    parts = configs.build(config)
    tracers = []

    def start(optimizer: Any) -> None:
        try:
            tracers.append(Tracer(optimizer).__enter__())
        except ValueError as error:
            raise ConfigError([f"{error}; plan traces Adam's kin, such as optimizer=adamw"]) from None

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer = parts.trainer(
            max_epochs=-1,
            max_steps=steps,
            limit_val_batches=0,
            logger=False,
            callbacks=[_callback(start)],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(parts.task, parts.data)
    return tracers[0].traces


def _callback(start: Any) -> Any:
    from lightning.pytorch import Callback

    class Start(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            start(trainer.optimizers[0])

    return Start()


def _placebo(node: Mapping[str, Any]) -> dict[str, Any]:
    """The placebo with the optimizer's own settings, as far as AdamW has them."""
    from torch.optim import AdamW

    known = [name for name in inspect.signature(AdamW).parameters if name != "params"]
    # Adam decays nothing where it does not say so, AdamW does.
    decay = {"weight_decay": 0.0} if node["_target_"].endswith(".Adam") else {}
    return {"_target_": PLACEBO, "_partial_": True} | decay | {key: node[key] for key in known if key in node}


def _of_numbers(what: Callable[[Any], float], values: Sequence[float]) -> str:
    """Of a step in which nothing moved there is no number."""
    there = [value for value in values if not np.isnan(value)]
    return f"{what(there):.3g}" if there else "–"
