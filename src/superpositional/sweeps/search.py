"""Draw the trials of a hyper-parameter search, and take up what one chose.

A sweep with ``hydra.sweeper.search`` searches every setting that it sweeps, but for the seed, in Hydra's own sweep syntax:
``interval(1e-4, 1e-2)``, ``tag(log, interval(1e-4, 1e-2))``, ``choice(a, b)``, ``range(1, 9)``. All arms search what stands
in ``params`` or on the command line; an arm alone searches what stands in that arm. One scrambled Sobol sequence gives
every trial a point: the shared settings take its first coordinates and an arm's own the next ones, so trial k has the same
shared values in every arm, and more trials begin with those of fewer. Every arm gets the same number of trials.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString

from superpositional import records
from superpositional.format import did_you_mean
from superpositional.places import ConfigError, not_integers
from superpositional.records import identity

PATH = "hydra.sweeper.search"
DEFAULTS = {"trials": 16, "seed": 0, "metric": "val/accuracy/last", "goal": "max"}
# Drawn whatever is searched: one more dimension, or an arm with one, moves no point of those before it.
DIMENSIONS = 64
# What a reader can take in and type; 16 trials over ten decades are further apart.
DIGITS = 4
Space = Mapping[str, Override]


def draw(node: Any, shared: Space, own: Mapping[str, Space]) -> dict[str, Any]:
    """Return what ``sweep.json`` keeps of a search: how it was declared, and the values of every trial of every arm.

    Args:
        node: ``trials`` (a power of 2), ``seed`` (of Sobol's scrambling), ``metric`` (of a run's summary) and ``goal``, by
            which trials are ranked.
        shared: the settings that all arms search.
        own: of every arm those that it alone searches, on top.

    Raises:
        ConfigError: every mistake, each with the value and the cure.
    """
    mistakes = _mistakes(node, shared, own)
    if mistakes:
        raise ConfigError(mistakes)
    from scipy.stats import qmc

    node = {**DEFAULTS, **node}
    space = {key: _declared(override) for key, override in shared.items()}
    of_arms = {arm: {key: _declared(override) for key, override in each.items()} for arm, each in own.items()}
    # By the name that SciPy 1.11 has for it and later ones still take.
    engine = qmc.Sobol(DIMENSIONS, scramble=True, seed=np.random.default_rng(node["seed"]))
    points = engine.random_base2(node["trials"].bit_length() - 1)
    values = {}
    for arm, alone in of_arms.items():
        dimensions = {**space, **alone}
        values[slug(arm)] = {
            slug(arm, f"trial-{number:04}"): {
                key: _at(dimension, float(coordinate))
                for (key, dimension), coordinate in zip(dimensions.items(), point, strict=False)
            }
            for number, point in enumerate(points)
        }
    return {**node, "space": space, "own": {slug(arm): each for arm, each in of_arms.items() if each}, "values": values}


def _mistakes(node: Any, shared: Space, own: Mapping[str, Space]) -> list[str]:
    if not isinstance(node, Mapping):
        return [f"{PATH} must hold {', '.join(DEFAULTS)}, got {node!r}; or leave it null"]
    wrong = [f"{PATH}.{key} is not a setting; {did_you_mean(key, DEFAULTS)}" for key in node if key not in DEFAULTS]
    node = {**DEFAULTS, **node}
    trials, seed, metric = node["trials"], node["seed"], node["metric"]
    if type(trials) is not int or trials < 1 or trials & (trials - 1):
        wrong.append(f"{PATH}.trials must be a power of 2, for Sobol's balance, got {trials!r}; 16 is usual")
    wrong += not_integers({f"{PATH}.seed": (seed, 0, "0 is a seed")})
    if not isinstance(metric, str) or metric.startswith("test/"):
        wrong.append(f"{PATH}.metric must name a summary value that is not of the test set, got {metric!r}; val/ ones are")
    if node["goal"] not in ("max", "min"):
        wrong.append(f"{PATH}.goal must be one of max, min, got {node['goal']!r}")
    if not own:
        wrong.append(f"{PATH} needs hydra.sweeper.arms, got none; name the arms whose settings are searched")
    wide = len(shared) + max(map(len, own.values()), default=0)
    if not 1 <= wide <= DIMENSIONS:
        cure = "sweep a setting, KEY: interval(LOW, HIGH)" if wide == 0 else "search fewer settings at once"
        wrong.append(f"{PATH} must have 1 to {DIMENSIONS} searched settings, got {wide}; {cure}")
    overrides = {each.input_line: (key, each) for space in (shared, *own.values()) for key, each in space.items()}
    for text, (key, override) in overrides.items():
        value = override.value()
        if key in identity.PRESENTATION:
            wrong.append(f"{text} cannot be searched: {key} tells runs apart; search what changes them, as optimizer.lr")
        elif isinstance(value, IntervalSweep):
            if not (math.isfinite(value.start) and math.isfinite(value.end) and value.start < value.end):
                wrong.append(f"{text} must have finite bounds, the lower one first; a single value needs no interval")
            elif "log" in value.tags and value.start <= 0:
                wrong.append(f"{text} must begin above 0 on a logarithmic axis; leave log out, or start above 0")
    return wrong


def _declared(override: Override) -> dict[str, Any]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return {"low": value.start, "high": value.end, "log": "log" in value.tags}
    return {"choices": [each.text if isinstance(each, QuotedString) else each for each in override.sweep_iterator()]}


def _at(dimension: Mapping[str, Any], point: float) -> Any:
    """The value at a point of [0, 1), as plain Python has it."""
    if "choices" in dimension:
        return dimension["choices"][int(point * len(dimension["choices"]))]
    low, high = dimension["low"], dimension["high"]
    if dimension["log"]:
        value = math.exp(math.log(low) + point * (math.log(high) - math.log(low)))
    else:
        value = low + point * (high - low)
    # Rounded, a value may lie beyond a bound that has more digits.
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


def tuned(folder: str, arms: Iterable[str], seeds: Iterable[int]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return the settings that a search chose for each arm, as Hydra's overrides, and the search's ledger.

    Args:
        folder: the search's, which holds its ledger.
        arms: all that are compared: one that was not searched would be held to those that were.
        seeds: those of the comparison, which must not be those that chose.

    Raises:
        ConfigError: every reason why the comparison would not be fair.
    """
    key, path = "hydra.sweeper.tuned", Path(str(folder)) / "ledger.json"
    if not path.is_file():
        raise ConfigError([f"{key} must be the folder of a search with its ledger.json, got {str(folder)!r}; run it"])
    try:
        found = records.read_json(path, "why_not", "arms", "tuning_seeds")
    except records.Unreadable as error:
        raise ConfigError([f"{key}: {error}"]) from None
    mistakes = [f"{key}: budgets are not equal in {path}: {why}" for why in found["why_not"]]
    chosen = {}
    for arm in arms:
        entry = found["arms"].get(slug(arm))
        if entry is None:
            mistakes.append(f"{key}: {arm} was not searched in {folder}; search it with the same budget, or leave it out")
        elif entry["best"] is None:
            mistakes.append(f"{key}: no trial of {arm} is complete in {folder}; finish the search, or widen its space")
        else:
            (best,) = [trial for trial in entry["trials"] if trial["trial"] == entry["best"]]
            chosen[arm] = overrides(best["values"])
    if both := sorted({*seeds} & {*found["tuning_seeds"]}):
        mistakes.append(f"seed {both[0]} chose the settings in {folder}, so it cannot compare them; take other seeds")
    if mistakes:
        raise ConfigError(mistakes)
    return chosen, found


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return a trial's values as Hydra's overrides."""
    found = []
    for key, value in values.items():
        # A group's choice is no value that could be added; without ++ Hydra tells which it is.
        force = "++" if "." in key and "/" not in key else ""
        text = QuotedString(text=value, quote=Quote.single).with_quotes() if isinstance(value, str) else json.dumps(value)
        found.append(f"{force}{key}={text}")
    return found


def slug(*names: str) -> str:
    """Names as one folder's."""
    return re.sub(r"[^\w.=,+-]", "_", ",".join(names))
