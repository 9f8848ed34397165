"""Checks of Hydra's own node: a file that somebody else wrote must start no plugin, command or logging of its choice."""

import inspect
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from superpositional.places import ConfigError
from superpositional.training import config as configs
from superpositional.training.hints import guess

# Where records are looked for in the folder of a sweep.
SUBDIR = "${arm}/seed-${seed}"


def compose_job(loader: ConfigLoader, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Compose a run of a sweep, whose overrides may change nothing of Hydra's: not by a group's package either.

    Raises:
        ConfigError: every mistake in its node of Hydra's.
    """
    cfg = loader.load_sweep_config(config, configs.lift(overrides, loader))
    # Hydra's names for a job, which nobody reads.
    with open_dict(cfg):
        cfg.hydra.job.id, cfg.hydra.job.num = "job", 0
    check_hydra(cfg)
    if (folder := str(cfg.hydra.sweep.dir)) != str(config.hydra.sweep.dir):
        raise ConfigError([f"hydra.sweep.dir is the whole sweep's, {config.hydra.sweep.dir}, got {folder} of an arm"])
    return cfg


def check_hydra(cfg: DictConfig) -> None:
    """See that Hydra's own node runs none but Hydra's own and our plugins, and leaves files and environment alone.

    Raises:
        ConfigError: every mistake in it.
    """
    node, mistakes = cfg.hydra, configs.odd_keys(cfg)
    if (subdir := OmegaConf.to_container(node.sweep, resolve=False)["subdir"]) != SUBDIR:
        mistakes.append(
            f"hydra.sweep.subdir must stay {SUBDIR}, got {subdir!r}: each run has a folder; set hydra.sweep.dir"
        )
    if node.callbacks:
        mistakes.append(f"hydra.callbacks must stay empty, got {list(node.callbacks)}; callbacks holds Lightning's")
    if node.job.env_set:
        mistakes.append(f"hydra.job.env_set must stay empty, got {list(node.job.env_set)}; set variables in the shell")
    for key in ("job_logging", "hydra_logging"):
        # Whatever else stands there, Python's logging.config would call.
        stated = {name: value for name, value in (node[key] or {}).items() if value is not None}
        if node.runtime.choices[f"hydra/{key}"] != "none" or set(stated) - {"version", "disable_existing_loggers"}:
            mistakes.append(f"hydra/{key} must stay none: a run's output goes to the terminal or its run.log")
    for plugin in ("sweeper", "launcher"):
        if not isinstance(node[plugin], DictConfig):
            mistakes.append(f"hydra.{plugin} must be a Hydra plugin, got {node[plugin]!r}; choose hydra/{plugin}=...")
            continue
        # A file may be somebody else's. What runs shell commands or jobs by other means, the user asks for.
        given = " ".join(text.lstrip("+") for text in cfg.hydra.overrides.hydra)
        choice = node.runtime.choices[f"hydra/{plugin}"]
        if choice not in ("arms", "local", "slurm") and f"hydra/{plugin}=" not in given:
            mistakes.append(f"hydra/{plugin}={choice} must be chosen on the command line, not by a file")
        mistakes += [
            f"hydra.{plugin}.{key} is run by a shell: give it on the command line, not in a file; got {node[plugin][key]}"
            for key in ("setup", "additional_parameters", "srun_args", "python")
            if node[plugin].get(key) and f"hydra.{plugin}.{key}" not in given
        ]
        # Hydra would build them before anybody has looked at them.
        try:
            plain = configs.resolved(node[plugin])
        except ConfigError as error:
            mistakes += [f"hydra.{plugin}: {mistake}" for mistake in error.mistakes]
            continue
        for key in ("arms", "params") if plugin == "sweeper" else ():
            if not isinstance(plain.get(key), dict | None):
                mistakes.append(f"hydra.sweeper.{key} must hold KEY: VALUE, got {plain[key]!r}")
        target = str(plain.get("_target_"))
        mistakes += [
            f"{path} may hold no _target_, got {inner['_target_']}; plugins take plain values"
            for path, inner in configs.nodes(plain, f"hydra.{plugin}")
            if "_target_" in inner and path != f"hydra.{plugin}"
        ]
        if target.startswith("hydra_plugins.superpositional."):
            keys = list(inspect.signature(get_class(target)).parameters)
            mistakes += [
                f"hydra.{plugin}.{key} is no setting; {guess(f'hydra.{plugin}', key, keys)}"
                for key in node[plugin]
                if key not in ("_target_", *keys)
            ]
        elif not configs.inside(target, ("hydra_plugins", "hydra._internal.core_plugins")):
            mistakes.append(f"hydra.{plugin} must be a Hydra plugin, got {target}; choose hydra/{plugin}=...")
    if mistakes:
        raise ConfigError(mistakes)
