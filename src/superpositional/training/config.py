"""Compose a config, resolve it and build its objects.

A YAML file states choices and never repeats a constructor's signature. Only targets under an allow-list are built, so that
a stranger's config cannot run code (``locate``). ``check`` says what is wrong with a config.
"""

import contextlib
import functools
import importlib
import inspect
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import YAMLError

from superpositional.places import ALLOW, ConfigError, directory, trusted
from superpositional.records import identity
from superpositional.records.identity import moved
from superpositional.seeds import start

PACKAGES = ("superpositional", "torch", "lightning", "torchmetrics")
# The class that each group takes; any other node takes a class of superpositional or a torch module.
KINDS = {
    "net": "torch.nn.Module",
    "optimizer": "torch.optim.Optimizer",
    "data": "lightning.pytorch.LightningDataModule",
    "task": "lightning.pytorch.LightningModule",
    "trainer": "lightning.pytorch.Trainer",
    "trainer.strategy": "lightning.pytorch.strategies.Strategy",
    "callbacks": "lightning.pytorch.Callback",
}
PLUGINS = ("hydra.launcher.", "hydra.sweeper.")
SEARCH = "hydra.sweeper.search"
# Of a sweep; the published ones have 2,972 runs together.
MOST_RUNS = 10_000


def _source(module: str, path: str | None) -> str:
    """Where a data module's rows are, with a revision, so that a run's identity holds it: ``${source:MODULE,${data.path}}``
    calls ``MODULE.source(path)``."""
    if not inside(module, ("superpositional.tasks", *trusted())):
        raise ValueError(f"{module} is outside superpositional.tasks; if you trust it, set {ALLOW}={module.split('.')[0]}")
    return importlib.import_module(module).source(path)


def _add(*terms: Any) -> Any:
    """The sum of integers; of anything else a text, for the constructor that gets it to refuse."""
    return sum(terms) if all(type(term) is int for term in terms) else "+".join(str(term) for term in terms)


# A length that counts the class token is one more than one that does not.
OmegaConf.register_new_resolver("add", _add, replace=True)
# An arm of a sweep at one scale alone; null leaves it out at the others.
OmegaConf.register_new_resolver("only", lambda wanted, chosen, value: value if wanted == chosen else None, replace=True)
# One answer for a process: the runs of a sweep must not differ in it.
OmegaConf.register_new_resolver("source", functools.cache(_source), replace=True)


# Overrides ---------------------------------------------------------------------------------------------------------


def parse_override(text: Any, loader: ConfigLoader | None = None, *, intervals: bool = False) -> Override:
    """Return one override as Hydra reads it; ``loader`` knows the choices that a ``glob`` stands for.

    Raises:
        ConfigError: what Hydra cannot parse, and a sweep whose values cannot be enumerated or are too many.
    """
    try:
        override = OverridesParser.create().parse_override(str(text))
    except HydraException as error:
        told = str(error).splitlines()[0]
        raise ConfigError([f"{text!r} is no override: {told}; write KEY=VALUE or GROUP=CHOICE"]) from None
    override.config_loader = loader
    if override.is_interval_sweep() and not intervals:
        raise ConfigError([f"{text} has no values to enumerate; write KEY=A,B,C or range(..), or search with {SEARCH}"])
    many = sweep_size(override)
    if not 1 <= many <= MOST_RUNS:
        cure = "sweep fewer; a range has a step, a glob chooses from a group"
        raise ConfigError([f"{text} must stand for 1 to {MOST_RUNS:,} values, got {many:,}; {cure}"])
    return override


def sweep_size(override: Override) -> int:
    """Return how many values an override sweeps, without listing them; 1 for one that sweeps nothing."""
    value = override.value()
    if isinstance(value, RangeSweep):
        steps = (value.stop - value.start) / value.step if value.step else 0
        return max(0, math.ceil(steps)) if math.isfinite(steps) else sys.maxsize
    if isinstance(value, Glob):
        # Only a loader knows the choices.
        return len(list(override.sweep_iterator())) if override.config_loader else 1
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


@contextlib.contextmanager
def composing(name: str = "the config") -> Iterator[None]:
    """Turn all that is raised where files are read and composed to a config into a ``ConfigError``."""
    try:
        yield
    except RecursionError:
        raise ConfigError([f"{name} includes itself or nests too deeply; see its defaults"]) from None
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError, TypeError) as error:
        raise ConfigError([in_short(error)]) from None


def lift(overrides: Sequence[str], loader: ConfigLoader) -> list[str]:
    """Let a plain ``key=value`` set what no YAML file states, and name every unknown choice of a group.

    Hydra refuses a key it has not seen, one at a time, and wants ``+`` before a constructor's argument. ``++`` is its way
    to say "either"; whether the key exists is then for ``check``, which knows the constructors.

    Raises:
        ConfigError: overrides that Hydra cannot parse, and choices that do not exist.
    """
    lifted, mistakes = [], []
    for text in overrides:
        try:
            override = parse_override(text, loader)
        except ConfigError as error:
            mistakes += error.mistakes
            continue
        group = override.key_or_group
        options = loader.get_group_options(group)
        if options and not override.is_delete():
            wrong = [choice for choice in choices(override) if choice not in options]
            mistakes += [f"{group} must be one of {', '.join(options)}, got {choice!r}" for choice in wrong]
        plain = not (override.is_add() or override.is_force_add() or override.is_delete())
        # Of Hydra's own node, the settings of our plugins.
        is_value = plain and not options and (not group.startswith("hydra") or group.startswith(PLUGINS))
        lifted.append(f"++{text}" if is_value else text)
    if mistakes:
        raise ConfigError(mistakes)
    return lifted


def choices(override: Override) -> list[str]:
    """Return the values of an override as texts: one, or those it sweeps."""
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(override.value())]


def in_short(error: Exception) -> str:
    """Return what Hydra or OmegaConf has to say, without the rest of it."""
    return " ".join(str(error).split("\n")[:2])


def composed(overrides: Sequence[str]) -> tuple[DictConfig, ConfigLoader]:
    """Return what ``superpositional train`` composes from these overrides, Hydra's own node included, and Hydra's loader.

    Raises:
        ConfigError: what cannot be composed.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with composing(), initialize_config_dir(str(directory("conf")), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return compose("train", lift(overrides, loader), return_hydra_config=True), loader


# Plain values ------------------------------------------------------------------------------------------------------


def own(cfg: DictConfig) -> DictConfig:
    """Return the config without Hydra's own node."""
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def compose_job(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved config of a run as plain values, without Hydra's own node."""
    return resolved(own(cfg))


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return a config's plain values.

    Raises:
        ConfigError: an interpolation that cannot be resolved, that reads an environment variable of somebody else's, or
            that resolves to another one, which would be read only where objects are built.
    """
    # A record holds what this returns, and W&B what a record holds.
    OmegaConf.register_new_resolver("oc.env", _variable, replace=True)
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([in_short(error)]) from None
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    if left := list(_interpolations(plain)):
        raise ConfigError(left)
    return plain


def _variable(name: str, *default: Any) -> Any:
    if not (name.startswith("SUPERPOSITIONAL_") or name == "WANDB_PROJECT"):
        cure = "records keep what is read; write the value itself"
        raise ValueError(f"a config may read environment variables named SUPERPOSITIONAL_... alone, got {name}: {cure}")
    # Compose files leave variables empty that nobody has set.
    return default[0] if default and not os.environ.get(name) else oc.env(name, *default)


def _interpolations(value: Any, path: str = "") -> Iterator[str]:
    """Name the values that still hold an interpolation."""
    if isinstance(value, str) and "${" in value:
        yield f"{path} must hold no interpolation of its own, got {value!r}; write what it stands for"
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from _interpolations(item, f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}".lstrip("."))


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict within plain values, outermost first, with its path: ``optimizer.perturbation``, ``items[2].name``."""
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from nodes(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, f"{path}[{index}]")


# Targets ---------------------------------------------------------------------------------------------------------


def locate(name: str, role: str = "") -> Callable[..., Any]:
    """Return what a ``_target_`` names, if it may be built there.

    Args:
        name: the dotted path.
        role: the path of its node in the config: ``net``, ``callbacks.curves``, ``task.lr_schedule``.

    Raises:
        ConfigError: not there, or not to be built. "A class of torch" would not do: some of those start processes. So
            each group takes classes of its own kind, a nested node takes ours and ``nn.Module``, and packages that the
            user has named may be anything.
    """
    from hydra.utils import get_object

    name = moved({"_target_": str(name)})["_target_"]
    own, cure = trusted(), f"if you trust it, set {ALLOW}="
    if not inside(name, (*PACKAGES, *own)):
        raise ConfigError([f"_target_ {name} is outside {', '.join(PACKAGES)}; {cure}{name.split('.')[0]}"])
    try:
        target = get_object(name)
    # Hydra raises one of several, and an ImportError from inside the module is as much the user's to read.
    except (Exception, SystemExit) as error:
        told = str(error).splitlines()[-1]
        raise ConfigError([f"_target_ {name} cannot be imported; is it on PYTHONPATH? {told}"]) from None
    # By where it is defined, not by the path that leads there: superpositional.records.os.system is not ours.
    home = getattr(target, "__module__", None) or ""
    if role == "logger" and not all(hasattr(target, name) for name in ("open", "close")):
        wanted = "a tracker as superpositional.tracking.run.WandbTracking is; choose logger=wandb or logger=none"
        raise ConfigError([f"_target_ {name} is not {wanted}; records hold every curve anyway"])
    if inside(home, own) and (isinstance(target, type) or inspect.isfunction(target)):
        return target
    group = "callbacks" if role.startswith("callbacks.") and role.count(".") == 1 else role
    kind = KINDS.get(group, "torch.nn.Module")
    if isinstance(target, type) and inside(home, PACKAGES):
        ours = group not in KINDS and inside(home, ("superpositional",))
        if ours or (role != "logger" and issubclass(target, get_object(kind))):
            return target
    wanted = "class of superpositional" if role == "logger" else kind.rpartition(".")[2]
    raise ConfigError([f"_target_ {name} may not be built here, which takes a {wanted}; {cure}{home or name}"])


def targets(config: Mapping[str, Any], path: str = "") -> set[Callable[..., Any]]:
    """Return all that a resolved config would have built, once it is known that each may be and that no other can follow.

    Raises:
        ConfigError: targets that may not be built, and interpolations, which would be resolved while objects are built.
    """
    mistakes, found = list(_interpolations(config, path)), set()
    for place, node in nodes(dict(config), path):
        if "_target_" in node:
            try:
                found.add(locate(node["_target_"], place))
            except ConfigError as error:
                mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return found


def inside(module: str, packages: Sequence[str]) -> bool:
    """Return whether a dotted name is one of the packages or within one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def code(config: Mapping[str, Any]) -> identity.Code:
    """Return what computes a run of this config: what its targets import, but for those that only show it."""
    targets(config)
    found = {each.__module__ for each in targets({key: config[key] for key in config if key not in identity.PRESENTATION})}
    libraries = (*(name for name in PACKAGES if name != "superpositional"), "builtins")
    return identity.code(sorted(name for name in found if not inside(name, libraries)))


# Building ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """The objects of one run. ``trainer`` awaits what only the run knows: loggers, callbacks, folder."""

    task: Any
    data: Any
    callbacks: dict[str, Any]
    tracking: Any
    trainer: Callable[..., Any]


def build(config: Mapping[str, Any]) -> Parts:
    """Make the objects of a checked, resolved config, whatever global generators their constructors draw from."""
    seed = config["seed"]
    start(seed, "init")
    task = make("task", config["task"])
    task = task(net=make("net", config["net"]), optimizer=make("optimizer", config["optimizer"]), seed=seed)
    # Arms whose nets draw other numbers of random values must have the same data.
    start(seed, "data")
    data = make("data", config["data"])(seed=seed)
    chosen = {name: node for name, node in config["callbacks"].items() if node is not None}
    callbacks = {name: make(f"callbacks.{name}", node)() for name, node in chosen.items()}
    tracking = make("logger", config["logger"])() if config.get("logger") else None
    return Parts(task, data, callbacks, tracking, make("trainer", config["trainer"]))


def make(path: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a node's class with its settings filled in, awaiting the rest. The only caller of Hydra's ``instantiate``."""
    from hydra.utils import instantiate

    targets(node, path)
    return instantiate({**moved(node), "_partial_": True}, _convert_="all")


def quieten_lightning() -> None:
    """Leave out Lightning's notices about accelerators and its own products; its warnings and errors stay."""
    import lightning.pytorch  # noqa: F401  (sets its loggers up, so it has to come first)

    # Wherever Slurm is installed Lightning would have one process per device of a run; ours have one device each.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
