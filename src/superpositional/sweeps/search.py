"""Which settings does a search try?

Quasirandom trials of a declared space: the same number for every arm, and of what all arms search the very same points, so
that no arm gets a longer or a luckier look. ``sweep`` lays the trials out as arms on tuning seeds, ``records`` keep the
declaration, ``ledger`` counts what was spent. A search chooses settings; seeds of their own, never seen here, compare arms.
"""

import difflib
import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from superpositional import records
from superpositional.places import ConfigError
from superpositional.records import identity
from superpositional.training import config as configs

PATH = "hydra.sweeper.search"
# Drawn whatever is searched: one more dimension, or an arm with one, moves no point of those before it.
DIMENSIONS = 64
# What a reader can take in and type; 16 trials over ten decades are further apart.
DIGITS = 4
GOALS = ("max", "min")
# The seed pairs runs; the others name or show them.
NEVER_SEARCHED = ("seed", *identity.PRESENTATION)


@dataclass(frozen=True)
class Dimension:
    """One searched setting: a range, or a list of choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] | None = None

    def at(self, point: float) -> Any:
        """The value at a point of [0, 1), as plain Python has it."""
        if self.choices is not None:
            return self.choices[int(point * len(self.choices))]
        # An integer is the floor of a number in [low, high + 1), so that both ends are as likely as the rest.
        low, high = self.low, self.high + self.integer
        if self.log:
            value = math.exp(math.log(low) + point * (math.log(high) - math.log(low)))
        else:
            value = low + point * (high - low)
        value = math.floor(value) if self.integer else float(f"{value:.{DIGITS}g}")
        # Rounded, a value may lie beyond a bound that has more digits.
        return min(max(value, self.low), self.high)

    @property
    def declared(self) -> dict[str, Any]:
        if self.choices is not None:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log, "integer": self.integer}


class Search:
    """Trials of one space, drawn once for all arms.

    One scrambled Sobol sequence gives every trial a point; the shared dimensions take its first coordinates and an arm's
    own the next ones. So trial k has the same shared values in every arm, and more trials begin with those of fewer.

    Args:
        trials: how many, of every arm; a power of 2, for Sobol's balance.
        space: what all arms search: of each setting ``{low, high, log: false, integer: false}`` or ``{choices: [...]}``.
        own: further settings of single arms. Such an arm has more to find with as many trials; the records say so.
        seed: of the scrambling.
        metric: the summary value that trials are ranked by, and never one of the test set.
        goal: ``"max"`` or ``"min"``.

    Raises:
        ConfigError: every mistake, each with the key, the value and the cure.
    """

    def __init__(
        self,
        *,
        trials: int,
        space: Mapping[str, Mapping[str, Any]],
        own: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        seed: int = 0,
        metric: str = "val/accuracy/last",
        goal: str = "max",
    ) -> None:
        mistakes = [*_bad_numbers(trials, seed), *_bad_aim(metric, goal)]
        self.trials, self.seed, self.metric, self.goal = trials, seed, metric, goal
        self.space = _dimensions(f"{PATH}.space", space, mistakes)
        self.own = {}
        if own is not None and not isinstance(own, Mapping):
            mistakes.append(f"{PATH}.own must hold a space per arm, got {own!r}; write own.ARM.KEY: {{low: .., high: ..}}")
            own = None
        for arm, dimensions in (own or {}).items():
            self.own[arm] = _dimensions(f"{PATH}.own.{arm}", dimensions, mistakes)
            mistakes += [
                f"{PATH}.own.{arm}.{key} stands in {PATH}.space too; leave it in one of them"
                for key in self.own[arm]
                if key in self.space
            ]
        needed = len(self.space) + max(map(len, self.own.values()), default=0)
        if needed == 0 and not mistakes:
            mistakes.append(f"{PATH}.space must hold a setting, got none; write space.KEY: {{low: .., high: ..}}")
        if needed > DIMENSIONS:
            mistakes.append(
                f"{PATH} must have at most {DIMENSIONS} dimensions, got {needed}; search fewer settings at once"
            )
        if mistakes:
            raise ConfigError(mistakes)

    def dimensions(self, arm: str) -> dict[str, Dimension]:
        """What an arm searches, the shared settings first."""
        return {**self.space, **self.own.get(arm, {})}

    def of(self, arm: str) -> dict[str, dict[str, Any]]:
        """The settings of each of an arm's trials: ``{"trial-0000": {"optimizer.lr": 0.001234}, ...}``."""
        dimensions = self.dimensions(arm)
        return {
            # As wide for few trials as for many: the first ones of more are those of fewer, by name too.
            f"trial-{number:04}": {
                key: dimension.at(float(coordinate))
                for (key, dimension), coordinate in zip(dimensions.items(), point, strict=False)
            }
            for number, point in enumerate(self._points())
        }

    def overrides(self, arm: str) -> dict[str, list[str]]:
        """The same as Hydra's overrides."""
        return {trial: [_override(key, value) for key, value in values.items()] for trial, values in self.of(arm).items()}

    def declared(self) -> dict[str, Any]:
        """The declaration as plain values, defaults filled in."""
        spaces = {arm: {key: each.declared for key, each in space.items()} for arm, space in self.own.items()}
        return {
            "trials": self.trials,
            "seed": self.seed,
            "metric": self.metric,
            "goal": self.goal,
            "space": {key: each.declared for key, each in self.space.items()},
            "own": spaces,
        }

    def _points(self) -> np.ndarray:
        from scipy.stats import qmc

        # By the name that SciPy 1.11 has for it and later ones still take.
        engine = qmc.Sobol(DIMENSIONS, scramble=True, seed=np.random.default_rng(self.seed))
        return engine.random_base2(self.trials.bit_length() - 1)


def read(node: Any, arms: Mapping[str, Any] | None) -> Search:
    """The search that ``hydra.sweeper.search`` declares for these arms.

    Raises:
        ConfigError: every mistake in it.
    """
    if OmegaConf.is_config(node):
        try:
            node = OmegaConf.to_container(node, resolve=True)
        except OmegaConfBaseException as error:
            raise ConfigError([f"{PATH}: {configs.in_short(error)}"]) from None
    if not isinstance(node, Mapping):
        raise ConfigError([f"{PATH} must hold trials and space, got {node!r}; or leave it null"])
    parameters = {name: each for name, each in inspect.signature(Search).parameters.items() if name != "self"}
    mistakes = [_unknown(PATH, key, parameters) for key in node if key not in parameters]
    if not arms:
        mistakes.append(f"{PATH} needs hydra.sweeper.arms, got none; name the arms whose settings are searched")
    own = node.get("own")
    for arm in own if isinstance(own, Mapping) else ():
        if arms and arm not in arms:
            mistakes.append(f"{PATH}.own.{arm} must name an arm of this sweep, one of {', '.join(arms)}, got {arm!r}")
    lacking = [name for name, each in parameters.items() if each.default is each.empty and name not in node]
    mistakes += [f"{PATH} lacks {name}" for name in lacking]
    given = {name: node[name] for name in parameters if name in node}
    # What is lacking has been said; the rest is still to be looked at.
    stand_ins = {"trials": 1, "space": {}}
    try:
        search = Search(**{name: stand_ins[name] for name in lacking}, **given)
    except ConfigError as error:
        lacks = [f"{PATH}.space must hold"] if "space" in lacking else []
        mistakes += [text for text in error.mistakes if not text.startswith(tuple(lacks))]
    if mistakes:
        raise ConfigError(mistakes)
    return search


def plan(sweeper: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a sweep's ``sweep.json`` keeps of its search: the declaration, and of every arm its trials' values.

    None where the sweeper, Hydra's node of it, has no search.
    """
    if sweeper is None or sweeper.get("search") is None:
        return None
    search = read(sweeper["search"], sweeper.get("arms"))
    values = {slug(arm): {slug(arm, trial): drawn for trial, drawn in search.of(arm).items()} for arm in sweeper["arms"]}
    declared = search.declared()
    # By the names that the records have.
    return {**declared, "own": {slug(arm): space for arm, space in declared["own"].items()}, "values": values}


def tuned(folder: str, arms: Iterable[str], seeds: Iterable[int]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The settings that a search chose for each arm, as Hydra's overrides, and the search's ledger.

    Args:
        folder: the search's, which holds its ledger.
        arms: all that are compared: one that was not searched would be held to those that were.
        seeds: those of the comparison, which must not be those that chose.

    Raises:
        ConfigError: every reason why the comparison would not be fair.
    """
    key = "hydra.sweeper.tuned"
    path = Path(str(folder)) / "ledger.json"
    if not path.is_file():
        raise ConfigError([f"{key} must be the folder of a search with its ledger.json, got {str(folder)!r}; run it"])
    try:
        found = records.read_json(path, "equal_budget", "arms", "tuning_seeds")
    except records.Unreadable as error:
        raise ConfigError([f"{key}: {error}"]) from None
    mistakes = (
        [] if found["equal_budget"] else [f"{key}: budgets are not equal in {path}: {why}" for why in found["why_not"]]
    )
    chosen = {}
    for arm in arms:
        entry = found["arms"].get(slug(arm))
        if entry is None:
            mistakes.append(f"{key}: {arm} was not searched in {folder}; search it with the same budget, or leave it out")
        elif entry["best"] is None:
            mistakes.append(f"{key}: no trial of {arm} is complete in {folder}; finish the search, or widen its space")
        else:
            (best,) = [trial for trial in entry["trials"] if trial["trial"] == entry["best"]]
            chosen[arm] = [_override(name, value) for name, value in best["values"].items()]
    if both := sorted({*seeds} & {*found["tuning_seeds"]}):
        mistakes.append(f"seed {both[0]} chose the settings in {folder}, so it cannot compare them; take other seeds")
    if mistakes:
        raise ConfigError(mistakes)
    return chosen, found


def slug(*names: str) -> str:
    """Names as one folder's."""
    return re.sub(r"[^\w.=,+-]", "_", ",".join(names))


def _override(key: str, value: Any) -> str:
    # A group's choice is no value that could be added; without ++ Hydra tells which it is.
    force = "++" if "." in key and "/" not in key else ""
    if isinstance(value, str):
        return f"{force}{key}={QuotedString(text=value, quote=Quote.single).with_quotes()}"
    return f"{force}{key}={json.dumps(value)}"


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad_numbers(trials: Any, seed: Any) -> list[str]:
    mistakes = []
    if not _is_whole(trials) or trials < 1:
        mistakes.append(f"{PATH}.trials must be an integer >= 1, got {trials!r}; 16 is usual")
    elif trials & (trials - 1):
        below = 1 << (trials.bit_length() - 1)
        mistakes.append(
            f"{PATH}.trials must be a power of 2, for Sobol's balance, got {trials}; {below} or {2 * below}",
        )
    if not _is_whole(seed) or seed < 0:
        mistakes.append(f"{PATH}.seed must be an integer >= 0, got {seed!r}; 0 is a seed")
    return mistakes


def _bad_aim(metric: Any, goal: Any) -> list[str]:
    mistakes = []
    if not isinstance(metric, str) or not metric:
        mistakes.append(f"{PATH}.metric must name a value of a run's summary, got {metric!r}; val/accuracy/last is one")
    elif metric.startswith("test/"):
        mistakes.append(
            f"{PATH}.metric must not be of the test set, which is for what a search has chosen, got {metric!r}; "
            "val/accuracy/last is of the validation set"
        )
    if goal not in GOALS:
        mistakes.append(f"{PATH}.goal must be one of {', '.join(GOALS)}, got {goal!r}")
    return mistakes


def _dimensions(path: str, space: Any, mistakes: list[str]) -> dict[str, Dimension]:
    """The dimensions of a space; what is wrong in it is added to ``mistakes``."""
    if not isinstance(space, Mapping):
        mistakes.append(f"{path} must hold settings, got {space!r}; write KEY: {{low: .., high: ..}}")
        return {}
    dimensions = {}
    for key, node in space.items():
        place = f"{path}.{key}"
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_]\w*([./]\w+)*", key):
            mistakes.append(f"{place} must be a setting's key, without +, ~ or @, got {key!r}; optimizer.lr is one")
            continue
        if key in NEVER_SEARCHED:
            mistakes.append(f"{place} cannot be searched: it tells runs apart; search what changes them, as optimizer.lr")
            continue
        wrong = list(_wrong(place, node))
        mistakes += wrong
        if not wrong:
            given = {**node, "choices": tuple(node["choices"])} if "choices" in node else node
            dimensions[key] = Dimension(**given)
    return dimensions


def _wrong(path: str, node: Any) -> Sequence[str]:
    """What is wrong with the declaration of one dimension."""
    if not isinstance(node, Mapping) or not ("choices" in node or {"low", "high"} <= set(node)):
        return [f"{path} must be {{low: .., high: ..}} or {{choices: [..]}}, got {node!r}"]
    takes = ("choices",) if "choices" in node else ("low", "high", "log", "integer")
    if mistakes := [_unknown(path, key, takes) for key in node if key not in takes]:
        return mistakes
    if "choices" in node:
        choices = node["choices"]
        if not isinstance(choices, Sequence) or isinstance(choices, str) or len(choices) < 2:
            return [f"{path}.choices must be a list of two or more, got {choices!r}; a single value belongs to the arms"]
        odd = [each for each in choices if not (_is_word(each) or isinstance(each, str) or _is_number(each))]
        if odd:
            return [f"{path}.choices must be texts, finite numbers, true, false or null, got {odd[0]!r}"]
        # As Hydra's grammar tells them apart: 1 is no true.
        twice = [each for each in choices if [repr(other) for other in choices].count(repr(each)) > 1]
        return [f"{path}.choices must differ, got {twice[0]!r} twice; every choice is as likely"] if twice else []
    low, high, log, integer = node["low"], node["high"], node.get("log", False), node.get("integer", False)
    mistakes = [
        f"{path}.{name} must be true or false, got {flag!r}"
        for name, flag in (("log", log), ("integer", integer))
        if not isinstance(flag, bool)
    ]
    fits, kind = (_is_whole, "an integer") if integer is True else (_is_number, "a finite number")
    bounds = [
        f"{path}.{name} must be {kind}, got {bound!r}" for name, bound in (("low", low), ("high", high)) if not fits(bound)
    ]
    if bounds:
        return [*mistakes, *bounds]
    if low >= high:
        mistakes.append(f"{path}.low must be below high, got {low!r} and {high!r}; a single value belongs to the arms")
    elif log is True and low <= 0:
        mistakes.append(f"{path}.low must be > 0 on a logarithmic axis, got {low!r}; leave log out, or start above 0")
    return mistakes


def _unknown(path: str, key: Any, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(key), list(known), n=1)
    cure = f"did you mean {path}.{close[0]}?" if close else f"it takes {', '.join(known)}"
    return f"{path}.{key} is no setting; {cure}"
