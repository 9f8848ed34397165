"""Do the settings of Lightning's trainer give a run with a result?

What Lightning takes without a word, or refuses where it trains, in a message with the cure. Read by check.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

# What none of makes no step, no evaluation or no result.
ABOVE_ZERO = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "max_epochs", "max_steps", "overfit_batches"),
    *("val_check_interval", "check_val_every_n_epoch"),
)
# -1 stands for all of them, or for no such limit.
OR_ALL = ("max_epochs", "max_steps", "devices")


def mistakes(plain: Mapping[str, Any]) -> dict[str, list[str]]:
    """All that is wrong with the trainer of a config, by its setting."""
    trainer, found = plain["trainer"], {}
    for key, value in trainer.items():
        least, cure = ("> 0", "leave it out for Lightning's own") if key in ABOVE_ZERO else (">= 0", "null leaves it out")
        if (
            key == "accumulate_grad_batches"
            or isinstance(value, bool)
            or not isinstance(value, int | float)
            or (value == -1 and key in OR_ALL)
        ):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and key in ABOVE_ZERO):
            found[key] = [f"trainer.{key} must be a finite number {least}, got {value!r}; {cure}"]
    if trainer.get("max_epochs") == -1 and not any(
        trainer.get(key, -1) not in (-1, None) for key in ("max_steps", "max_time")
    ):
        found["max_epochs"] = ["trainer.max_epochs must have an end, got -1; give a number, max_steps or max_time"]
    if trainer.get("num_nodes", 1) != 1:
        found["num_nodes"] = [f"trainer.num_nodes must be 1, got {trainer['num_nodes']!r}: processes start on one machine"]
    for key in ("fast_dev_run", "barebones"):
        if trainer.get(key):
            found[key] = [f"trainer.{key} must be false, got {trainer[key]!r}: it records nothing; trainer=smoke is quick"]
    if type(together := trainer.get("accumulate_grad_batches", 1)) is not int or together < 1:
        text = f"trainer.accumulate_grad_batches must be an integer >= 1, got {together!r}; 1 accumulates nothing"
        found["accumulate_grad_batches"] = [text]
    found["precision"] = list(_imprecise(trainer, plain.get("optimizer")))
    found["strategy"] = [*_untraceable(plain), *_in_pieces(trainer.get("strategy"))]
    return {key: texts for key, texts in found.items() if texts}


def _in_pieces(strategy: Any) -> Iterator[str]:
    """Strategies whose checkpoint is a folder, a piece for each process, from which no run can be resumed."""
    target = str(strategy.get("_target_")) if isinstance(strategy, dict) else ""
    key, whole = "save_distributed_checkpoint", False
    if target.endswith("FSDPStrategy"):
        key, whole = "state_dict_type", "full"
    elif not target.endswith("ModelParallelStrategy"):
        return
    # Lightning's own are in pieces with the one, whole with the other.
    if (value := strategy.get(key, True if whole is False else whole)) != whole:
        shown = str(whole).lower()
        yield f"trainer.strategy.{key} must be {shown}, got {value!r}: no run resumes from a checkpoint in pieces"


def _untraceable(plain: Mapping[str, Any]) -> Iterator[str]:
    """Callbacks that need whole weights where they will be sharded."""
    strategy = plain["trainer"].get("strategy")
    if isinstance(strategy, dict) and str(strategy.get("_target_")).endswith("ModelParallelStrategy"):
        for name, node in (plain.get("callbacks") or {}).items():
            if isinstance(node, dict) and str(node.get("_target_")).endswith("UpdateTracer"):
                yield f"callbacks.{name} needs whole weights, and trainer.strategy shards them; set callbacks.{name}=null"


def _imprecise(trainer: Mapping[str, Any], optimizer: Any) -> Iterator[str]:
    """What is wrong with mixed float16: on a CPU Lightning would take another precision and warn."""
    import torch

    precision = str(trainer.get("precision"))
    if precision.startswith("16"):
        if trainer.get("accelerator", "auto") == "cpu" or not torch.cuda.is_available():
            yield (
                f"trainer.precision={precision} needs a GPU, and this run would be on a CPU, which does no float16; "
                "choose bf16-mixed or 32-true"
            )
        if trainer.get("gradient_clip_val") is not None and isinstance(optimizer, dict) and optimizer.get("fused"):
            yield (
                f"optimizer.fused must be false with trainer.precision={precision} and gradient_clip_val, got true: a "
                "fused step unscales the gradients itself, after they should have been clipped"
            )
