"""Arms that differ in one number of their configs alone, lined up by it: circuit depth, qubits, quantum weight."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from superpositional.format import label
from superpositional.records import Sweep
from superpositional.records.identity import PRESENTATION

# What a config holds beside settings.
NAMES = (*PRESENTATION, "seed")


@dataclass(frozen=True)
class Series:
    """Arms that differ in one setting alone, by its value, ascending."""

    name: str
    arms: Mapping[float, str]


def series(sweep: Sweep, key: str) -> tuple[Series, ...]:
    """Group the arms that agree in all but one setting and have at least two values of it.

    A setting goes to several places of a config, so keys that end alike count as the same setting.
    """
    alike: dict[str, dict[float, str]] = {}
    leaf = key.rpartition(".")[2]
    for arm in sweep.arms:
        leaves = dict(_leaves(config(sweep, arm)))
        value = leaves.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            rest = sorted((name, repr(each)) for name, each in leaves.items() if name.rpartition(".")[2] != leaf)
            alike.setdefault(repr(rest), {}).setdefault(value, arm)
    several = [dict(sorted(arms.items())) for arms in alike.values() if len(arms) > 1]
    names = [_common(list(arms.values())) for arms in several]
    unique = len(set(names)) == len(names)
    return tuple(
        Series(name if unique else f"{name} ({label(next(iter(arms.values())))})", arms)
        for name, arms in zip(names, several, strict=True)
    )


def config(sweep: Sweep, arm: str) -> Mapping[str, Any]:
    """Return the config of one of the arm's runs: they share all but the seed."""
    return next((run.record["config"] for run in sweep.runs if run.arm == arm and run.record.get("config")), {})


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if path or key not in NAMES:
            yield from _leaves(value, f"{path}{key}.") if isinstance(value, Mapping) else [(f"{path}{key}", value)]


def _common(arms: list[str]) -> str:
    """Return what the names have in common: ``circuit`` of circuit_L1 and circuit_L2."""
    parts = zip(*(arm.split(",")[0].split("_") for arm in arms), strict=False)
    shared = [same[0] for same in itertools.takewhile(lambda same: len(set(same)) == 1, parts)]
    return label("_".join(shared)) if shared else " / ".join(map(label, arms))
