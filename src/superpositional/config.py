"""What exactly was asked for, and can it be done?

From Hydra's composed config to objects, in two steps: ``check`` names every mistake at once, before anything long starts;
``build`` makes the objects. The constructors are the schema: a YAML file states choices and never repeats a signature.
Only targets under an allow-list are ever built, so that a config from a stranger cannot run code. Read by train and sweep.
"""

import difflib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PACKAGES = ("superpositional", "torch", "lightning", "torchmetrics")
ALLOW = "SUPERPOSITIONAL_ALLOW"
# What the run itself hands to the object of each group.
SUPPLIED = {
    "data": ("seed",),
    "task": ("net", "optimizer", "seed"),
    "net": (),
    "optimizer": ("params",),
    "trainer": (
        "logger",
        "callbacks",
        "default_root_dir",
        "enable_progress_bar",
        "enable_model_summary",
        "enable_checkpointing",
        "num_sanity_val_steps",
    ),
    "logger": (),
}

# A length that counts the class token is one more than one that does not.
OmegaConf.register_new_resolver("add", lambda *terms: sum(int(term) for term in terms), replace=True)


class ConfigError(Exception):
    """All that is wrong with a config, a line each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = list(dict.fromkeys(mistakes))


def directory(name: str) -> Path:
    """``conf`` or ``sweeps``: beside ``src`` in a checkout or an editable install, inside the package in a wheel."""
    package = Path(__file__).resolve().parent
    for parent in (package, package.parent.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"no {name}/ beside {package}; reinstall superpositional")


# Overrides ---------------------------------------------------------------------------------------------------------


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
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            mistakes.append(f"{text!r} is no override: {str(error).splitlines()[0]}; write KEY=VALUE or GROUP=CHOICE")
            continue
        group = override.key_or_group
        options = loader.get_group_options(group)
        if options and not group.startswith("hydra"):
            mistakes += [
                f"{group} must be one of {', '.join(options)}, got {choice!r}"
                for choice in _choices(override)
                if choice not in options and not override.is_delete()
            ]
        plain = not (override.is_add() or override.is_force_add() or override.is_delete())
        is_value = plain and not options and not group.startswith("hydra")
        lifted.append(f"++{text}" if is_value else text)
    if mistakes:
        raise ConfigError(mistakes)
    return lifted


def _choices(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [str(override.value())]


# Checking ----------------------------------------------------------------------------------------------------------


def check(cfg: DictConfig, loader: ConfigLoader) -> None:
    """See that every key has a reader and every value is one its reader takes.

    Args:
        cfg: a composed config, its ``hydra`` node included.
        loader: Hydra's, for what the chosen groups hold.

    Raises:
        ConfigError: every mistake, each with the key, the value and the cure.
    """
    config = _own(cfg)
    choices = [
        f"{group}={choice}"
        for group, choice in cfg.hydra.runtime.choices.items()
        if choice is not None and not group.startswith("hydra")
    ]
    # What the same choices compose to by themselves: the keys that exist.
    baseline = loader.load_configuration("train", choices, RunMode.RUN)
    mistakes = [*_unknown_keys(config, baseline), *_unread_circuit(cfg, baseline, loader), *_bad_scalars(config)]
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError([*mistakes, str(error).splitlines()[0]]) from None
    broken = set()
    for path, node in _nodes(plain):
        if "_target_" in node:
            found = list(_unbound(path, node))
            mistakes += found
            broken |= {path.split(".")[0]} if found else set()
    for group in ("data", "task", "net", "optimizer", "trainer"):
        if not isinstance(plain.get(group), dict) or "_target_" not in plain[group]:
            mistakes.append(f"{group} needs a _target_, got {plain.get(group)!r}; choose {group}=...")
            broken.add(group)
    mistakes += _refused(plain, broken)
    if mistakes:
        raise ConfigError(mistakes)


def _own(cfg: DictConfig) -> DictConfig:
    """The config without Hydra's own node."""
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def _unknown_keys(config: DictConfig, baseline: DictConfig) -> Iterator[str]:
    """Keys of nodes that no constructor reads."""
    yield from _suggest("", config, [key for key in baseline if key != "hydra"])
    if isinstance(config.get("circuit"), DictConfig) and "_target_" not in config.circuit:
        yield from _suggest("circuit.", config.circuit, baseline.circuit)
    for name, node in (config.get("callbacks") or {}).items():
        if node is not None and "_target_" not in node:
            closest = _closest(name, baseline.callbacks)
            yield f"callbacks.{name} has no _target_, so nothing reads it; did you mean callbacks.{closest}?"


def _unread_circuit(cfg: DictConfig, baseline: DictConfig, loader: ConfigLoader) -> Iterator[str]:
    """Circuit settings that were asked for and that nothing built would read."""
    readers = OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("circuit", "hydra")])
    rest = OmegaConf.to_yaml(readers, resolve=False)
    for text in cfg.hydra.overrides.task:
        key = text.lstrip("+~").split("=", 1)[0]
        if key.startswith("circuit.") and f"${{{key}}}" not in rest and key[len("circuit.") :] in baseline.circuit:
            readers = [
                f"{group}={option}"
                for group in loader.list_groups("")
                if group not in ("circuit", "hydra")
                for option in loader.get_group_options(group)
                if f"${{{key}}}" in _source(group, option)
            ]
            yield f"{text.lstrip('+')} has no effect: nothing chosen reads it; {', '.join(readers) or 'no choice'} would"


def _source(group: str, option: str) -> str:
    path = directory("conf") / group / f"{option}.yaml"
    return path.read_text() if path.exists() else ""


def _bad_scalars(config: DictConfig) -> Iterator[str]:
    for key, least, cure in (("seed", 0, "0 is a seed"), ("threads", 1, "1 keeps runs reproducible")):
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            yield f"{key} must be an integer >= {least}, got {value!r}; {cure}"


def _suggest(prefix: str, keys: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for key in keys:
        if key not in known:
            yield f"{prefix}{key} is no setting; did you mean {prefix}{_closest(key, known)}?"


def _closest(key: str, known: Sequence[str]) -> str:
    return (difflib.get_close_matches(key, list(known), n=1, cutoff=0.0) or [""])[0]


def _nodes(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from _nodes(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nodes(item, f"{path}[{index}]")


def _unbound(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    """Hold the keys of one node to the signature of its target."""
    try:
        target = locate(node["_target_"])
    except ConfigError as error:
        yield f"{path}: {error}"
        return
    keys = [key for key in node if key not in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")]
    supplied = SUPPLIED.get(path, ())
    parameters = dict(inspect.signature(target).parameters)
    named = [
        name
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    free = [name for name in named if name not in supplied]
    for key in keys:
        if key in supplied:
            yield f"{path}.{key} is set by the run itself; remove it"
        elif key not in named and not takes_any:
            yield f"{path}.{key} is no argument of {target.__name__}; did you mean {path}.{_closest(key, free)}?"
    for name in supplied:
        if name not in named and not takes_any:
            takes = ", ".join(named) or "nothing"
            yield f"{path}: {node['_target_']} must take {name}, which the run hands it; it takes {takes}"
    missing = [name for name in free if parameters[name].default is inspect.Parameter.empty and name not in keys]
    # A partial node awaits the rest from whoever calls it; for the run's own groups that is known.
    if missing and (path in SUPPLIED or not node.get("_partial_")):
        yield f"{path} lacks {', '.join(missing)}, which {target.__name__} needs"


def locate(name: str) -> Callable[..., Any]:
    """The class a ``_target_`` names, if it may be built.

    Raises:
        ConfigError: outside the allow-list, not there, or no class. Functions are refused but for those of packages that
            the user has named: ours and torch's hold some that load, write and run files.
    """
    from hydra.utils import get_object

    allowed = (*PACKAGES, *filter(None, re.split(r"[,\s]+", os.environ.get(ALLOW, ""))))

    def inside(module: str) -> bool:
        return any(module == package or module.startswith(f"{package}.") for package in allowed)

    refusal = f"_target_ {name} is outside {', '.join(allowed)}; if you trust it, set {ALLOW}={name.split('.')[0]}"
    if not inside(str(name)):
        raise ConfigError([refusal])
    try:
        target = get_object(name)
    # Hydra raises one of several, and an ImportError from inside the module is as much the user's to read.
    except Exception as error:
        raise ConfigError([f"_target_ {name} cannot be imported: {str(error).splitlines()[-1]}"]) from None
    # By where it is defined, not by the path that leads there: superpositional.records.os.system is not ours.
    if not inside(getattr(target, "__module__", None) or ""):
        raise ConfigError([refusal])
    trusted = target.__module__.split(".")[0] not in PACKAGES
    if not (isinstance(target, type) or (trusted and inspect.isfunction(target))):
        raise ConfigError([f"_target_ {name} is no class"])
    return target


def _refused(plain: dict[str, Any], broken: set[str]) -> list[str]:
    """What the constructors say, on the meta device: all their checks and none of their work.

    Groups in ``broken`` cannot be called at all and have been spoken of.
    """
    import torch

    quieten_lightning()
    mistakes = []

    def attempt(group: str, make: Callable[[], Any]) -> Any:
        if group.split(".")[0] in broken:
            return None
        try:
            return make()
        # Every constructor's refusal is a mistake in the config, whatever its type.
        except Exception as error:
            mistakes.extend(f"{group}: {line}" for line in str(error).splitlines() if line.strip())
            return None

    # A seed that is none has been spoken of; the rest is told with another.
    seed = plain["seed"] if type(plain["seed"]) is int and plain["seed"] >= 0 else 0
    with torch.device("meta"):
        attempt("data", lambda: _make(plain["data"])(seed=seed))
        net = attempt("net", lambda: _make(plain["net"])())
        optimizer = attempt("optimizer", lambda: _make(plain["optimizer"])) or torch.optim.Adam
        # Without a net the optimizer's own settings can still be told: on a parameter larger than any register.
        parameters = list(net.named_parameters()) if net is not None else [torch.nn.Parameter(torch.empty(2**40))]
        if attempt("optimizer", lambda: optimizer(parameters)) is not None and net is not None:
            given = {"net": lambda: net, "optimizer": optimizer, "seed": seed}
            attempt("task", lambda: _make(plain["task"])(**given).configure_optimizers())
    for name, node in (plain.get("callbacks") or {}).items():
        if node is not None and "_target_" in node:
            attempt(f"callbacks.{name}", lambda node=node: _make(node)())
    if plain.get("logger"):
        attempt("logger", lambda: _make(plain["logger"])())
    attempt("trainer", lambda: _make(plain["trainer"])(logger=False, enable_progress_bar=False, enable_checkpointing=False))
    return mistakes


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
    """Make the objects of a checked, resolved config."""
    return Parts(
        task=_make(config["task"])(net=_make(config["net"]), optimizer=_make(config["optimizer"]), seed=config["seed"]),
        data=_make(config["data"])(seed=config["seed"]),
        callbacks={name: _make(node)() for name, node in (config.get("callbacks") or {}).items() if node is not None},
        tracking=_make(config["logger"])() if config.get("logger") else None,
        trainer=_make(config["trainer"]),
    )


def _make(node: Mapping[str, Any]) -> Callable[..., Any]:
    """A node's class with its settings filled in, awaiting the rest. The only caller of Hydra's ``instantiate``."""
    from hydra.utils import instantiate

    for _, inner in _nodes(dict(node)):
        if "_target_" in inner:
            locate(inner["_target_"])
    return instantiate({**node, "_partial_": True}, _convert_="all")


def quieten_lightning() -> None:
    """Leave out Lightning's notices about accelerators and its own products; its warnings and errors stay."""
    import logging

    import lightning.pytorch  # noqa: F401  (sets its loggers up, so it has to come first)

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def compose_job(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config of a run as plain values, without Hydra's own node."""
    return OmegaConf.to_container(_own(cfg), resolve=True)
