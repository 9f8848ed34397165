"""Where the classes that older configs name are now, so that published and older records are rerun, resumed and reported.

An identity keeps the names of the first table's left side, which the published study's runs have.
"""

from collections.abc import Mapping
from typing import Any

# {old: new}: of a class, or of a module with all its classes.
MOVED = {
    "superpositional.attention_controls": "superpositional.attention.controls",
    "superpositional.backends": "superpositional.circuits.backends",
    "superpositional.callbacks": "superpositional.training.callbacks",
    "superpositional.checkpoints": "superpositional.training.checkpoints",
    "superpositional.circuit_statistics": "superpositional.training.circuit_statistics",
    "superpositional.controls": "superpositional.optim.placebo",
    "superpositional.convergence": "superpositional.training.convergence",
    "superpositional.data": "superpositional.tasks.classification.data",
    "superpositional.llm.exact_match": "superpositional.tasks.gsm8k.exact_match",
    "superpositional.llm.fine_tuning": "superpositional.tasks.gsm8k.task",
    "superpositional.llm.gsm8k": "superpositional.tasks.gsm8k.data",
    "superpositional.llm.models": "superpositional.tasks.gsm8k.net",
    "superpositional.nets": "superpositional.tasks.classification.net",
    "superpositional.perturbation": "superpositional.optim.circuit_perturbation",
    "superpositional.schedules": "superpositional.optim.schedules",
    "superpositional.stopwatch": "superpositional.training.throughput",
    "superpositional.tasks": "superpositional.tasks.classification.task",
}
FIRST = {new: old for old, new in MOVED.items()}


def moved(value: Any) -> Any:
    """Return plain values of a config with every ``_target_`` where it is now."""
    return _renamed(value, MOVED)


def as_first_named(value: Any) -> Any:
    """Return plain values of a config with every ``_target_`` where it was when the study was published."""
    return _renamed(value, FIRST)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        found = {key: _renamed(each, names) for key, each in value.items()}
        if isinstance(target := found.get("_target_"), str):
            module, _, name = target.rpartition(".")
            found["_target_"] = f"{names[module]}.{name}" if module in names else target
        return found
    return [_renamed(each, names) for each in value] if isinstance(value, list) else value
