"""Which runs make a comparison?

A Hydra plugin: ``ArmsSweeper`` lays out named arms times seeds times whatever else is swept, the arms of a seed side by
side, so that an unfinished sweep holds whole pairs. ``launch`` runs them.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from superpositional import records
from superpositional.places import ConfigError
from superpositional.sweeps import search as searches
from superpositional.training import check
from superpositional.training import config as configs

# What else lies in a sweep's folder; file systems hold 255 bytes, and what is set aside has longer names.
RESERVED = ("lock", "report", "slurm", records.SUPERSEDED, "sweep.json", "ledger.json")
LONGEST = 180
WHOLE = "Hydra's own settings are the whole sweep's: give them on the command line or under hydra:"


class ArmsSweeper(Sweeper):
    """Arms times seeds times swept values.

    Args:
        arms: name of each arm, with its overrides; the first is the baseline, null leaves one out. None: no arms but the
            swept values.
        params: further swept or fixed values, as Hydra's basic sweeper has them; the command line goes before them.
        search: the arguments of ``search.Search``; every arm is then laid out as its trials, each an arm of its own.
        tuned: the folder of a search; every arm then has the settings of its best trial there.
    """

    loader: ConfigLoader | None = None

    def __init__(
        self,
        arms: dict[str, list[str]] | None = None,
        params: dict[str, str] | None = None,
        search: dict[str, Any] | None = None,
        tuned: str | None = None,
    ) -> None:
        # An arm set to null is left out.
        self.arms = {name: overrides for name, overrides in (arms or {}).items() if overrides is not None}
        self.params, self.search, self.tuned = params or {}, search, tuned

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config, self.loader = config, hydra_context.config_loader
        self.ours = str(config.hydra.launcher._target_).startswith("hydra_plugins.superpositional.")
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from superpositional.training.train import refuse

        try:
            jobs = self.jobs(arguments)
            if not self.ours:
                # Hydra's other launchers compose each job themselves, by Hydra's stricter words.
                for overrides in {job[-2]: job for job in jobs}.values():
                    check.compose_job(self.loader, self.config, overrides)
                jobs = [configs.lift(overrides, self.loader) for overrides in jobs]
        except ConfigError as error:
            refuse(error)
        return self.launcher.launch(jobs, initial_job_idx=0)

    def jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of every run, seeds outermost; each ends with its ``arm`` and ``seed``."""
        mistakes = []
        parsed: dict[str, Override] = {}
        for text in [*(f"{key}={value}" for key, value in self.params.items()), *arguments]:
            parsed |= {_key(override): override for override in self._parse(text, mistakes)}
        search = self._search(mistakes)
        arms_keys = set()
        for name, overrides in self.arms.items():
            if not isinstance(overrides, Sequence) or isinstance(overrides, str):
                mistakes.append(f"hydra.sweeper.arms.{name} must be a list of overrides, got {overrides!r}; put it in []")
                continue
            own = [override for text in overrides for override in self._parse(text, mistakes)]
            mistakes += [
                f"hydra.sweeper.arms.{name} must have one value of each setting, got {each.input_line}; make an arm of each"
                for each in own
                if each.is_sweep_override()
            ]
            keys = {_key(override) for override in own}
            mistakes += [f"{key} is set by hydra.sweeper.arms.{name}; {WHOLE}" for key in sorted(keys) if is_hydras(key)]
            arms_keys |= keys
            if search:
                mistakes += [
                    f"{key} is searched, and set by hydra.sweeper.arms.{name}; leave it in one of them"
                    for key in search.dimensions(name)
                    if key in keys
                ]
        mistakes += [f"{key} is set by hydra.sweeper.params; {WHOLE}" for key in self.params if is_hydras(key)]
        mistakes += [
            f"{key} is set by this sweep's arms; leave it out, or write a sweep of your own"
            for key in sorted(arms_keys & set(parsed))
        ]
        if search:
            mistakes += _beside(search, parsed, self.arms)
            if self.tuned is not None:
                mistakes.append("hydra.sweeper.tuned takes settings from a search and cannot stand beside one; remove it")
        many = math.prod([*map(configs.sweep_size, parsed.values()), len(self.arms) or 1, search.trials if search else 1])
        if many > configs.MOST_RUNS:
            mistakes.append(f"a sweep must have at most {configs.MOST_RUNS:,} runs, got {many:,}; split it into several")
        if mistakes:
            raise ConfigError(mistakes)
        fixed = [override.input_line for override in parsed.values() if not override.is_sweep_override()]
        swept = {key: _values(override) for key, override in parsed.items() if override.is_sweep_override()}
        seeds = swept.pop("seed", None) or [str(parsed["seed"].value()) if "seed" in parsed else str(self.config.seed)]
        fixed = [text for text in fixed if text.lstrip("+").split("=", 1)[0] != "seed"]
        chosen = {}
        if self.tuned is not None:
            chosen, _ = searches.tuned(self.tuned, self.arms, [int(seed) for seed in seeds if seed.isdigit()])
        arms = {}
        for name, overrides in (self.arms or {"": []}).items():
            trials = search.overrides(name) if search else {"": chosen.get(name, [])}
            for (trial, drawn), values in itertools.product(trials.items(), itertools.product(*swept.values())):
                choices = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
                slug = searches.slug(*filter(None, [name, trial]), *choices) or "run"
                if slug in RESERVED or len(slug.encode()) > LONGEST:
                    mistakes.append(
                        f"an arm must not be called {slug}: it names a folder of at most {LONGEST} bytes, and "
                        f"{', '.join(RESERVED)} are the sweep's own"
                    )
                if slug in arms:
                    raise ConfigError([f"two arms would share the folder {slug}; give one another name"])
                arms[slug] = [*(f"++{choice}" if "." in choice else choice for choice in choices), *overrides, *drawn]
        if mistakes:
            raise ConfigError(mistakes)
        return [[*fixed, *overrides, f"arm='{slug}'", f"seed={seed}"] for seed in seeds for slug, overrides in arms.items()]

    def _parse(self, text: Any, mistakes: list[str]) -> list[Override]:
        try:
            return [configs.parse_override(text, self.loader)]
        except ConfigError as error:
            mistakes += error.mistakes
            return []

    def _search(self, mistakes: list[str]) -> searches.Search | None:
        if self.search is None:
            return None
        try:
            return searches.read(self.search, self.arms)
        except ConfigError as error:
            mistakes += error.mistakes
            return None


def _beside(search: searches.Search, parsed: Mapping[str, Override], arms: Iterable[str]) -> Iterator[str]:
    """What is set or swept for all arms and does not go with a search."""
    searched = {key for arm in arms for key in search.dimensions(arm)}
    for key, override in parsed.items():
        if key in searched:
            yield f"{key} is searched by this sweep; leave {override.input_line} out, or take {key} out of the search"
        elif override.is_sweep_override() and key != "seed":
            yield f"{key} cannot be swept beside a search; make an arm of each value, got {override.input_line}"


def is_hydras(key: str) -> bool:
    """Whether a setting is Hydra's own, which says where runs go and what is run beside them."""
    # Behind an @ stands where a group's choice goes.
    return any(re.split("[./]", part)[0] == "hydra" for part in re.split("[@:]", key.lstrip("+~")))


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _values(override: Override) -> list[str]:
    return list(dict.fromkeys(str(value) for value in override.sweep_string_iterator()))
