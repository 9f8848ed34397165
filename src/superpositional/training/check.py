"""Can what was asked for be done?

``check`` names every mistake of a composed config at once, before anything long starts: keys that nobody reads, values that
their reader refuses, settings that would have no effect. The constructors are the schema: it binds a node's keys to its
target's signature, and then calls the constructors on the meta device, which costs nothing and hears all they have to say.
Read by train and sweep.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
from hydra.core.config_loader import ConfigLoader
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from superpositional.circuits import Ansatz
from superpositional.circuits.backends import Exact
from superpositional.places import ConfigError
from superpositional.records import claims
from superpositional.training import config as configs
from superpositional.training import trainers
from superpositional.training.hints import groups, guess
from superpositional.training.hints import places as places_of

MOST_THREADS = 1024
# Of instantiate's keys, those that would change what a node's own ones mean.
HYDRAS = ("_args_", "_convert_", "_recursive_")
# What the run itself hands to the object of each group.
SUPPLIED = {
    "data": ("seed",),
    "task": ("net", "optimizer", "seed"),
    "net": (),
    "optimizer": ("params",),
    "trainer": (
        "logger",
        "callbacks",
        "plugins",
        "default_root_dir",
        "enable_progress_bar",
        "enable_model_summary",
        "enable_checkpointing",
        "num_sanity_val_steps",
    ),
    "logger": (),
}


def check(cfg: DictConfig, loader: ConfigLoader, *, circuit_is_read: bool = False) -> None:
    """See that every key has a reader and every value is one its reader takes.

    Args:
        cfg: a composed config, its ``hydra`` node included.
        loader: Hydra's, for what the chosen groups hold.
        circuit_is_read: somebody reads the circuit whatever else is chosen.

    Raises:
        configs.ConfigError: every mistake, each with the key, the value and the cure.
    """
    config = configs.own(cfg)
    choices = [
        f"{group}={choice}"
        for group, choice in cfg.hydra.runtime.choices.items()
        if choice is not None and not group.startswith("hydra")
    ]
    # What the same choices compose to by themselves: the keys that exist.
    baseline = _baseline(loader, tuple(choices))
    places = functools.cache(lambda: places_of(config))  # asked for by mistakes alone
    unnamed = configs.odd_keys(config)
    mistakes = [*unnamed, *([] if unnamed else _unknown_keys(config, baseline, places)), *bad_scalars(config)]
    mistakes += _seed_followers(config)
    # What they are not there for, or too large for, could only be told of again and worse.
    lacking = [*_removed(config, baseline), *too_large(config), *unnamed]
    mistakes += lacking
    try:
        plain = configs.resolved(config)
    except ConfigError as error:
        raise ConfigError([*mistakes, *([] if lacking else error.mistakes)]) from None
    if lacking:
        raise ConfigError(mistakes)
    mistakes += _bad_claims(plain.get("claims"))
    unread = {} if circuit_is_read else _unread_circuit(cfg, plain, baseline)
    known = copy.deepcopy(plain)
    broken = set()
    for path, node in configs.nodes(plain):
        if "_target_" in node:
            found, unknown, is_broken = _unbound(path, node, supplied(path, plain), places)
            # The circuit stands again wherever it is read; it is spoken of once.
            mistakes += found if path == "circuit" or node != plain.get("circuit") else []
            broken |= {path} if is_broken else set()
            # The rest of the node can still be told.
            for key in unknown:
                del _at(known, path)[key]
    for group in ("data", "task", "net", "circuit", "backend", "optimizer", "trainer"):
        if not isinstance(plain.get(group), dict) or "_target_" not in plain[group]:
            mistakes.append(f"{group} needs a _target_, got {plain.get(group)!r}; choose {group}=...")
            broken.add(group)
    if plain.get("logger") and "_target_" not in plain["logger"]:
        mistakes.append(f"logger needs a _target_, got {plain['logger']!r}; choose logger=wandb or logger=none")
        broken.add("logger")
    mistakes += _refused(known, {path.split(".")[0] if not path.startswith("callbacks.") else path for path in broken})
    if mistakes or unread:
        raise ConfigError([*unread, *mistakes], unread=unread)


@functools.lru_cache(maxsize=8)  # trials of one arm make the same choices
def _baseline(loader: ConfigLoader, choices: tuple[str, ...]) -> DictConfig:
    return loader.load_configuration("train", list(choices), RunMode.RUN)


def _unknown_keys(config: DictConfig, baseline: DictConfig, places: Callable[[], Sequence[str]]) -> Iterator[str]:
    """Keys of nodes that no constructor reads."""
    known = [key for key in baseline if key != "hydra"]
    yield from (f"{key} is no setting; {guess('', key, known, places)}" for key in config if key not in known)
    for name, node in (config.get("callbacks") or {}).items():
        if node is not None and (not isinstance(node, DictConfig) or "_target_" not in node):
            yield f"callbacks.{name} has no _target_, so nothing reads it; {guess('callbacks', name, baseline.callbacks)}"


def _removed(config: DictConfig, baseline: DictConfig) -> Iterator[str]:
    """Keys that a run cannot do without; it can without W&B."""
    for key in baseline:
        if key not in config and key not in ("hydra", "logger"):
            yield f"{key} must stay in the config, got ~{key}; leave that out, or set another {key}=..."


def _unread_circuit(cfg: DictConfig, plain: Mapping[str, Any], baseline: DictConfig) -> dict[str, tuple[str, Any]]:
    """Circuit settings that were asked for, on the command line or in a file, and that nothing built would read: what is to
    be said, with the setting and its value."""
    rest = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [key for key in cfg if key not in ("circuit", "hydra")]))
    given = {text.lstrip("+~").split("=", 1)[0] for text in cfg.hydra.overrides.task}
    circuit, usual = plain.get("circuit"), OmegaConf.to_container(baseline, resolve=False).get("circuit")
    if not isinstance(circuit, dict) or not isinstance(usual, dict):
        return {}
    unread = {}
    for field in dataclasses.fields(Ansatz):
        key, value = f"circuit.{field.name}", circuit.get(field.name)
        # The whole circuit is read by whoever builds it; a single number of it by whoever needs no more.
        ways = ("${circuit}", f"${{{key}}}")
        asked = key in given or value != usual.get(field.name)
        if asked and not any(way in rest for way in ways):
            readers = [f"{group}={option}" for group, option, text in groups() if any(way in text for way in ways)]
            text = f"{key}={value} has no effect: nothing chosen reads it; {' or '.join(readers)} would"
            unread[text] = key, value
    backend = plain.get("backend") or {}
    exact = backend.get("_target_") == f"{Exact.__module__.rpartition('.')[0]}.{Exact.__name__}"
    if not (exact and backend.get("method", "auto") == "auto") and "${backend}" not in rest:
        chosen = cfg.hydra.runtime.choices.get("backend")
        readers = "net/attention=quantum or optimizer=circuit would"
        text = f"backend={chosen} has no effect: nothing chosen runs a circuit; {readers}"
        unread[text] = "backend", backend
    return unread


def _seed_followers(config: DictConfig) -> Iterator[str]:
    """Settings that follow the run's seed: every seed would be an arm of its own, and none a pair."""
    for path, node in configs.nodes(OmegaConf.to_container(config, resolve=False)):
        for key, value in node.items():
            texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
            if any("${seed}" in text for text in texts):
                name = f"{path}.{key}" if path else key
                yield f"{name} must not follow the run's seed, got {value}; remove it: data, task, circuit have it anyway"


def _bad_claims(named: Any) -> list[str]:
    """What is wrong with the claims, whatever the arms are."""
    try:
        claims.read(named)
    except claims.ClaimError as error:
        return str(error).splitlines()
    return []


def bad_scalars(config: DictConfig) -> Iterator[str]:
    """What is wrong with the settings that no constructor takes."""
    for key, least, cure in (("seed", 0, "0 is a seed"), ("threads", 1, "1 keeps runs reproducible")):
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            yield f"{key} must be an integer >= {least}, got {value!r}; {cure}"
        elif key == "threads" and value > MOST_THREADS:
            yield f"threads must be at most {MOST_THREADS}, got {value}; {cure}"
    for key, pattern in (("sweep", r"[\w.-]*\w"), ("arm", r"[\w.,=+-]*\w|None"), ("question", r"(?s).*")):
        value = config.get(key)
        if not (value is None and key != "sweep") and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            yield f"{key} must be a plain text, got {value!r}; sweep and arm name folders"


def too_large(config: DictConfig) -> Iterator[str]:
    """Integers that torch cannot hold. A seed is hashed, however long."""
    for path, node in configs.nodes(OmegaConf.to_container(config, resolve=False)):
        for key, value in node.items():
            numbers = [each for each in (value if isinstance(value, list) else [value]) if type(each) is int]
            if any(abs(each) >= 2**63 for each in numbers) and key != "seed":
                yield f"{f'{path}.{key}'.lstrip('.')} must be an integer of 64 bits, got {value}; give a smaller one"


def supplied(path: str, plain: Mapping[str, Any]) -> tuple[str, ...]:
    """What the run hands to the object of a group, or an object of a class that says so to one of its parts."""
    if path in SUPPLIED:
        return SUPPLIED[path]
    whole, _, part = path.rpartition(".")
    with contextlib.suppress(ConfigError, KeyError, TypeError):  # spoken of elsewhere, or no node of its own
        return getattr(configs.locate(_at(plain, whole)["_target_"], whole), "SUPPLIES", {}).get(part, ())
    return ()


def _unbound(
    path: str, node: Mapping[str, Any], supplied: Sequence[str], places: Callable[[], Sequence[str]]
) -> tuple[list[str], list[str], bool]:
    """Hold the keys of one node to the signature of its target: mistakes, keys to leave out, whether it can be called."""
    try:
        target = configs.locate(node["_target_"], path)
    except ConfigError as error:
        return [f"{path}: {mistake}" for mistake in error.mistakes], [], True
    keys = [key for key in node if key not in ("_target_", "_partial_")]
    whose = path.rpartition(".")[0] or "the run"
    parameters = dict(inspect.signature(target).parameters)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [name for name, parameter in parameters.items() if parameter.kind not in variadic]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    free = [name for name in named if name not in supplied]
    mistakes, unknown = [], []
    if not isinstance(node.get("_partial_", True), bool):
        mistakes.append(f"{path}._partial_ must be true or false, got {node['_partial_']!r}")
        unknown.append("_partial_")
    for key in keys:
        if key in HYDRAS:
            mistakes.append(f"{path}.{key} is not a setting, got {node[key]!r}; write arguments by their names")
            unknown.append(key)
        elif key in supplied:
            own = " itself" if whose == "the run" else ", from its own settings"
            mistakes.append(f"{path}.{key} is set by {whose}{own}; remove it")
            unknown.append(key)
        elif key not in named and not takes_any:
            mistakes.append(f"{path}.{key} is no argument of {target.__name__}; {guess(path, key, free, places)}")
            unknown.append(key)
        elif (wanted := _ill_typed(target, key, node[key])) is not None:
            mistakes.append(f"{path}.{key} must be {wanted}, got {node[key]!r}")
            unknown.append(key)
    broken = [
        f"{path}: {node['_target_']} must take {name}, which {whose} hands it; it takes {', '.join(named) or 'nothing'}"
        for name in supplied
        if name not in named and not takes_any
    ]
    missing = [name for name in free if parameters[name].default is inspect.Parameter.empty and name not in keys]
    # A partial node awaits the rest from whoever calls it; for the run's own groups that is known.
    if missing and (path in SUPPLIED or not node.get("_partial_")):
        broken.append(f"{path} lacks {', '.join(missing)}, which {target.__name__} needs")
    return [*mistakes, *broken], unknown, bool(broken)


def _ill_typed(target: Callable[..., Any], key: str, value: Any) -> str | None:
    """What a constructor's annotation wants instead, where it is plain; of ours, of a switch: the others they check."""
    import torch

    try:
        annotation = typing.get_type_hints(target.__init__ if isinstance(target, type) else target).get(key)
    except (NameError, TypeError):  # written for type checkers alone
        return None
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    words = [word for kind in kinds if typing.get_origin(kind) is typing.Literal for word in typing.get_args(kind)]
    kinds = [each for kind in kinds for each in typing.get_args(kind) or (kind,) if each not in words]
    if not all(kind in (int, float, bool, str, type(None), torch.Tensor) for kind in kinds):
        return None
    if configs.inside(target.__module__, ("superpositional",)) and {*kinds} - {bool, type(None)}:
        return None
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    fits = type(value) in kinds or (type(value) is int and float in kinds) or value in words
    named = ["null" if kind is type(None) else kind.__name__ for kind in kinds]
    return None if fits else " or ".join([*named, *map(repr, words)])


def _bad_data(path: str, reader: Any, data: Any) -> list[str]:
    """What a part of the run that reads the data has against them."""
    wrong = reader.bad_data(data) if data is not None and hasattr(reader, "bad_data") else None
    return [] if wrong is None else [f"{path}: {wrong}"]


def _is_width(value: Any) -> bool:
    return type(value) is int and value >= 1


def _at(config: Any, path: str) -> Any:
    """The node at a path as ``_nodes`` writes it."""
    for key in re.findall(r"[^.\[\]]+", path):
        config = config[int(key)] if isinstance(config, list) else config[key]
    return config


def _refused(plain: dict[str, Any], broken: set[str]) -> list[str]:
    """What the constructors say, on the meta device: all their checks and none of their work.

    Groups in ``broken`` cannot be called at all and have been spoken of.
    """
    import torch

    configs.quieten_lightning()
    mistakes = []

    def attempt(group: str, make: Callable[[], Any]) -> Any:
        if group in broken:
            return None
        try:
            return make()
        # Every constructor's refusal is a mistake in the config, whatever its type.
        except Exception as error:
            # Hydra wraps what the constructor of a nested node says.
            told = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
            for line in filter(str.strip, str(told).splitlines()):
                # A number of the circuit is refused by all who read it, in the same words; one of them will do.
                if not any(mistake.partition(": ")[2] == line for mistake in mistakes):
                    mistakes.append(f"{group}: {line}")
            return None

    if attempt("circuit", lambda: configs.make("circuit", plain["circuit"])()) is None:
        # Spoken of; whoever builds it could only say the same, so that the rest of them is told with another.
        width = plain["circuit"].get("n_qubits") if isinstance(plain.get("circuit"), dict) else None
        other = {"_target_": "superpositional.circuits.Ansatz"} | ({"n_qubits": width} if _is_width(width) else {})
        for path, node in list(configs.nodes(plain)):
            if node == plain["circuit"] and path != "circuit":
                node.clear()
                node.update(other)
    # A seed that is none has been spoken of; the rest is told with another.
    seed = plain["seed"] if type(plain["seed"]) is int and plain["seed"] >= 0 else 0
    for group in ("data", "net"):
        node = plain[group] if isinstance(plain.get(group), dict) else {}
        with contextlib.suppress(ConfigError, KeyError):  # reported elsewhere
            # A packaged model is converted when it is first asked for, which takes a real device.
            if (prepare := getattr(configs.locate(node["_target_"], group), "prepare_files", None)) is not None:
                attempt(group, lambda node=node, prepare=prepare: prepare(node))
    with torch.device("meta"):
        data = attempt("data", lambda: configs.make("data", plain["data"])(seed=seed))
        net = attempt("net", lambda: configs.make("net", plain["net"])())
        weights = [each for each in net.parameters() if not torch.nn.parameter.is_lazy(each)] if net is not None else []
        size = sum(each.numel() * each.element_size() for each in weights)
        if size > (there := psutil.virtual_memory().total):
            mistakes.append(
                f"net must fit into memory, {there / 2**30:.3g} GiB, got {size / 2**30:.3g} GiB; make it smaller"
            )
        optimizer = attempt("optimizer", lambda: configs.make("optimizer", plain["optimizer"])) or torch.optim.Adam
        # Without a net the optimizer's own settings can still be told: on a parameter larger than any register.
        parameters = list(net.named_parameters()) if net is not None else [torch.nn.Parameter(torch.empty(2**40))]
        if attempt("optimizer", lambda: optimizer(parameters)) is not None and net is not None:
            given = {"net": lambda: net, "optimizer": optimizer, "seed": seed}
            task = attempt("task", lambda: configs.make("task", plain["task"])(**given))
            attempt("task", task.configure_optimizers if task is not None else lambda: None)
            mistakes += _bad_data("data", task, data)
    for name, node in (plain.get("callbacks") or {}).items():
        if isinstance(node, dict) and "_target_" in node:
            made = attempt(f"callbacks.{name}", lambda name=name, node=node: configs.make(f"callbacks.{name}", node)())
            mistakes += _bad_data(f"callbacks.{name}", made, data)
    if plain.get("logger"):
        attempt("logger", lambda: configs.make("logger", plain["logger"])())
    if "trainer" not in broken:
        said = trainers.mistakes(plain)
        mistakes += [text for texts in said.values() for text in texts]
        # Lightning need not speak of them too.
        settings = {key: value for key, value in plain["trainer"].items() if key not in said}
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        attempt("trainer", lambda: configs.make("trainer", settings)(**quiet))
    for group in ("net", "task"):
        for key in ("vocabulary_size", "max_length", "n_classes"):
            has, needs = plain[group].get(key) if group not in broken else None, getattr(data, key, None)
            if type(has) is int and type(needs) is int and has < needs:
                mistakes.append(f"{group}.{key} must be at least the data's, {needs}, got {has}")
    return mistakes
