"""What does a setting do, from value to value?

The arms of a sweep that differ in one number of their configs, lined up by it: depth, qubits, λ. Each point is a paired
difference to the sweep's own baseline.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from superpositional.evidence.inference import clopper_pearson
from superpositional.format import label
from superpositional.records import Run, Sweep
from superpositional.records.identity import PRESENTATION
from superpositional.records.measures import EPOCHS_TO_TARGET, TEST_ACCURACY
from superpositional.report.backend_curves import Point, differences_along

# What names a run and sets nothing.
NAMES = (*PRESENTATION, "seed")


# Accuracy by chance, up to this factor, is that of a net that has learnt nothing.
GUESSED = 1.1
# Two are a difference, which tables have.
LEAST_VALUES = 3


@dataclass(frozen=True)
class Line:
    """Arms that differ in one setting alone, by its value: differences in test accuracy (points) and in epochs to the
    target, each with n of how many seeds, and the share of runs whose training broke (%, ``broke``)."""

    name: str
    arms: tuple[str, ...]
    accuracy: tuple[Point, ...]
    epochs: tuple[Point, ...]
    broken: tuple[Point, ...]


def along(sweep: Sweep, setting: str) -> list[Line]:
    """The lines of a setting, ``circuit.depth``; arms that no other shares a line with have none."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for arm in sweep.arms:
        config = next((found for run in sweep.runs if run.arm == arm and (found := run.record.get("config"))), None)
        if config is None:
            continue
        leaves = dict(_leaves(config))
        value = leaves.get(setting)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        # One setting goes to several places: what is called the same is the same.
        name = setting.rsplit(".", 1)[-1]
        rest = {key: each for key, each in leaves.items() if key.rsplit(".", 1)[-1] != name}
        groups.setdefault(repr(sorted(rest.items(), key=lambda each: each[0])), []).append((float(value), arm))
    found = []
    for arms in groups.values():
        arms = sorted(arms)
        if len({value for value, _ in arms}) < LEAST_VALUES:
            continue
        names = tuple(arm for _, arm in arms)
        accuracy, epochs = (
            tuple(
                point
                for value, arm in arms
                for point in differences_along(sweep, [(value, arm)], measure, sweep.baseline(arm))
            )
            for measure in (TEST_ACCURACY, EPOCHS_TO_TARGET)
        )
        found.append(Line(_common(names), names, accuracy, epochs, _broken(sweep, arms)))
    return found


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if not path and key in NAMES:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _common(arms: tuple[str, ...]) -> str:
    """What the arms' names have in common, for readers: ``circuit_all_L1`` and ``circuit_all_L4`` are "circuit all"."""
    shared = itertools.takewhile(lambda each: len(set(each)) == 1, zip(*arms, strict=False))
    return label("".join(each[0] for each in shared).rpartition("_")[0]) or label(arms[0])


def ended(sweep: Sweep, arm: str) -> list[Run]:
    """An arm's runs that came to an end of their own: done, or diverged."""
    return [run for run in sweep.runs if run.arm == arm and run.status in ("done", "diverged")]


def broke(run: Run) -> bool:
    """Whether training broke: it diverged, or ended no better than by guessing classes, up to a tenth."""
    classes = ((run.record.get("config") or {}).get("task") or {}).get("n_classes")
    accuracy = run.summary(TEST_ACCURACY.metric)
    return run.status == "diverged" or bool(classes and accuracy is not None and accuracy <= GUESSED / classes)


def _broken(sweep: Sweep, arms: list[tuple[float, str]]) -> tuple[Point, ...]:
    found = []
    for value, arm in arms:
        if runs := ended(sweep, arm):
            count = sum(map(broke, runs))
            low, high = clopper_pearson(count, len(runs))
            share = 100 * count / len(runs)
            found.append(Point(value, share, 100 * low, 100 * high, len(runs), len(sweep.seeds)))
    return tuple(found)
