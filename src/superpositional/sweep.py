"""Which runs make a comparison?

A Hydra plugin: ``ArmsSweeper`` lays out named arms times seeds times whatever else is swept, the arms of a seed side by
side, so that an unfinished sweep holds whole pairs. ``launch`` runs them.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from superpositional import config as configs


class ArmsSweeper(Sweeper):
    """Arms times seeds times swept values.

    Args:
        arms: name of each arm, with its overrides; the first is the baseline. None: no arms but the swept values.
        params: further swept or fixed values, as Hydra's basic sweeper has them; the command line goes before them.
    """

    def __init__(self, arms: dict[str, list[str]] | None = None, params: dict[str, str] | None = None) -> None:
        self.arms, self.params = arms or {}, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from superpositional.train import refuse

        try:
            jobs = self.jobs(arguments)
        except configs.ConfigError as error:
            refuse(error)
        return self.launcher.launch(jobs, initial_job_idx=0)

    def jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of every run, seeds outermost; each ends with its ``arm`` and ``seed``."""
        mistakes = []
        parsed = {}
        for text in [*(f"{key}={value}" for key, value in self.params.items()), *arguments]:
            parsed |= {_key(override): override for override in _parse(text, mistakes)}
        arms_keys = set()
        for name, overrides in self.arms.items():
            if not isinstance(overrides, Sequence) or isinstance(overrides, str):
                mistakes.append(f"hydra.sweeper.arms.{name} must be a list of overrides, got {overrides!r}; put it in []")
                continue
            arms_keys |= {_key(override) for text in overrides for override in _parse(text, mistakes)}
        mistakes += [
            f"{key} is set by this sweep's arms; leave it out, or write a sweep of your own"
            for key in sorted(arms_keys & set(parsed))
        ]
        if mistakes:
            raise configs.ConfigError(mistakes)
        fixed = [override.input_line for override in parsed.values() if not override.is_sweep_override()]
        swept = {key: _values(override) for key, override in parsed.items() if override.is_sweep_override()}
        seeds = swept.pop("seed", None) or [str(parsed["seed"].value()) if "seed" in parsed else str(self.config.seed)]
        fixed = [text for text in fixed if text.lstrip("+").split("=", 1)[0] != "seed"]
        arms = {}
        for name, overrides in (self.arms or {"": []}).items():
            for values in itertools.product(*swept.values()):
                choices = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
                slug = re.sub(r"[^\w.=,+-]", "_", ",".join([*filter(None, [name]), *choices])) or "run"
                if slug in arms:
                    raise configs.ConfigError([f"two arms would share the folder {slug}; give one another name"])
                arms[slug] = [*(f"++{choice}" if "." in choice else choice for choice in choices), *overrides]
        return [[*fixed, *overrides, f"arm='{slug}'", f"seed={seed}"] for seed in seeds for slug, overrides in arms.items()]


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _parse(text: Any, mistakes: list[str]) -> list[Override]:
    try:
        return [configs.parse_override(text)]
    except configs.ConfigError as error:
        mistakes += error.mistakes
        return []


def _values(override: Override) -> list[str]:
    return list(dict.fromkeys(str(value) for value in override.sweep_string_iterator()))
