"""Lay out the runs of a comparison: a Hydra sweeper of named arms times seeds times whatever else is swept.

The arms of a seed come side by side, so that an unfinished sweep holds whole pairs.
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
from omegaconf import DictConfig, OmegaConf, open_dict

from superpositional import records
from superpositional.places import ConfigError
from superpositional.sweeps import search
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
        search: of ``search.draw``; what is swept is then searched, and every arm is laid out as its trials, each an arm.
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
        mistakes: list[str] = []
        searches = self.search is not None
        texts = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed = {_key(each): each for each in self._parsed(texts, mistakes)}
        of_arms = {name: self._arm(name, overrides, mistakes) for name, overrides in self.arms.items()}
        mistakes += [f"{key} is set by hydra.sweeper.params; {WHOLE}" for key in self.params if is_hydras(key)]
        both = {*parsed} & {key for own in of_arms.values() for key in own}
        mistakes += [
            f"{key} is set by this sweep's arms; leave it out, or write a sweep of your own" for key in sorted(both)
        ]
        if searches and self.tuned is not None:
            mistakes.append("hydra.sweeper.tuned takes settings from a search and cannot stand beside one; remove it")
        swept = _swept(parsed)
        seeds = _values(swept.pop("seed")) if "seed" in swept else [_value(parsed, "seed", self.config.seed)]
        drawn: dict[str, Any] = {}
        if searches:
            own = {name: _swept(overrides) for name, overrides in of_arms.items()}
            try:
                drawn = search.draw(_plain(self.search), swept, own)
            except ConfigError as error:
                mistakes += error.mistakes
            swept = {}
        many = math.prod(
            [*map(configs.sweep_size, swept.values()), len(seeds), len(self.arms) or 1, drawn.get("trials", 1)]
        )
        if many > configs.MOST_RUNS:
            mistakes.append(f"a sweep must have at most {configs.MOST_RUNS:,} runs, got {many:,}; split it into several")
        if mistakes:
            raise ConfigError(mistakes)
        if searches:
            # Where the launcher, which has the same config, finds the plan.
            with open_dict(self.config):
                OmegaConf.update(self.config, "hydra.sweeper.search", drawn, merge=False, force_add=True)
        fixed = [each.input_line for key, each in parsed.items() if not each.is_sweep_override() and key != "seed"]
        chosen = {}
        if self.tuned is not None:
            chosen, _ = search.tuned(self.tuned, self.arms, [int(seed) for seed in seeds if seed.isdigit()])
        arms: dict[str, list[str]] = {}
        for name in self.arms or [""]:
            own = [each.input_line for each in of_arms.get(name, {}).values() if not each.is_sweep_override()]
            trials = {name: chosen.get(name, [])}
            if searches:
                trials = {trial: search.overrides(values) for trial, values in drawn["values"][search.slug(name)].items()}
            cells = [*itertools.product(*map(_values, swept.values()))]
            for (trial, settings), values in itertools.product(trials.items(), cells):
                choices = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
                slug = search.slug(*filter(None, [trial]), *choices) or "run"
                if slug in arms:
                    raise ConfigError([f"two arms would share the folder {slug}; give one another name"])
                arms[slug] = [*(f"++{choice}" if "." in choice else choice for choice in choices), *own, *settings]
        if wrong := [slug for slug in arms if slug in RESERVED or len(slug.encode()) > LONGEST]:
            why = f"it names a folder of at most {LONGEST} bytes, and {', '.join(RESERVED)} are the sweep's own"
            raise ConfigError([f"an arm must not be called {slug}: {why}" for slug in wrong])
        return [[*fixed, *overrides, f"arm='{slug}'", f"seed={seed}"] for seed in seeds for slug, overrides in arms.items()]

    def _arm(self, name: str, overrides: Any, mistakes: list[str]) -> dict[str, Override]:
        """An arm's overrides by their keys."""
        path = f"hydra.sweeper.arms.{name}"
        if not isinstance(overrides, Sequence) or isinstance(overrides, str):
            mistakes.append(f"{path} must be a list of overrides, got {overrides!r}; put it in []")
            return {}
        own = {_key(each): each for each in self._parsed(overrides, mistakes)}
        several = _swept(own).values() if self.search is None else ()
        mistakes += [
            f"{path} must have one value of each setting, got {each.input_line}; make an arm of each" for each in several
        ]
        mistakes += [f"{key} is set by {path}; {WHOLE}" for key in sorted(own) if is_hydras(key)]
        return own

    def _parsed(self, texts: Iterable[Any], mistakes: list[str]) -> Iterator[Override]:
        for text in texts:
            try:
                yield configs.parse_override(text, self.loader, intervals=self.search is not None)
            except ConfigError as error:
                mistakes += error.mistakes


def _plain(node: Any) -> Any:
    with configs.composing("hydra.sweeper.search"):
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _swept(overrides: Mapping[str, Override]) -> dict[str, Override]:
    return {key: each for key, each in overrides.items() if each.is_sweep_override()}


def _value(parsed: Mapping[str, Override], key: str, default: Any) -> str:
    return str(parsed[key].value() if key in parsed else default)


def is_hydras(key: str) -> bool:
    """Whether a setting is Hydra's own, which says where runs go and what is run beside them."""
    # Behind an @ stands where a group's choice goes.
    return any(re.split("[./]", part)[0] == "hydra" for part in re.split("[@:]", key.lstrip("+~")))


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _values(override: Override) -> list[str]:
    return list(dict.fromkeys(str(value) for value in override.sweep_string_iterator()))
