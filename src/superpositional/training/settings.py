"""What can be set besides what the files state?

A YAML file states choices and never copies a constructor's signature, so the rest of ``superpositional train --help`` comes
from the constructors themselves. Read by train.
"""

import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from superpositional.places import ConfigError
from superpositional.training import config as configs
from superpositional.training.check import supplied


def further(overrides: Sequence[str]) -> str:
    """The part of --help that Hydra does not know of: what the chosen constructors take besides.

    Raises:
        ConfigError: choices that cannot be composed.
    """
    single = [text for text in overrides if not configs.parse_override(text).is_sweep_override()]
    config = configs.compose_job(configs.composed(single)[0])
    lines = [
        textwrap.fill(line, 120, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
        for line in _unstated(config)
    ]
    return "\n".join(
        [
            "Settings that no file states, of the choices above, with their defaults; KEY=VALUE sets them too:",
            *lines,
            "What they mean: python -m pydoc superpositional.optim.optimizer.SuperpositionalAdamW",
            "Those of other choices: superpositional train --help optimizer=circuit net/attention=quantum",
            "",
        ]
    )


def _unstated(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for each node of ours or of torch.optim: the constructor's arguments that no file states, with defaults."""
    for path, node in configs.nodes(dict(config)):
        read_elsewhere = path != "circuit" and node == config.get("circuit")
        if "_target_" in node and not read_elsewhere:
            try:
                target = configs.locate(node["_target_"], path)
            except ConfigError:
                continue  # for a run to refuse
            free = [
                f"{each.name}={getattr(each.default, '__name__', repr(each.default))}"
                for each in inspect.signature(target).parameters.values()
                if each.default is not each.empty and each.name not in (*node, *supplied(path, config))
            ]
            if free and configs.inside(str(node["_target_"]), ("superpositional", "torch.optim")):
                yield f"{path} ({target.__name__}): {', '.join(free)}"
