"""Name every mistake of a composed config at once, before anything long starts.

The constructors are the schema (``check_values``). Here are the keys, settings that would have no effect, and Hydra's own
node, in which a file that somebody else wrote must start no plugin, command or logging of its choice.
"""

import contextlib
import copy
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from superpositional.circuits import Ansatz
from superpositional.places import ConfigError, not_integers
from superpositional.records import claims
from superpositional.training import config as configs
from superpositional.training.check_values import at, guess, refused, supplied, unbound

# Where records are looked for in the folder of a sweep.
SUBDIR = "${arm}/seed-${seed}"
MOST_THREADS = 1024
# Settings that no constructor takes: integers with their least value and the cure, texts with their pattern.
INTEGERS = {"seed": (0, "0 is a seed"), "threads": (1, "1 keeps runs reproducible")}
TEXTS = {"sweep": r"[\w.-]*\w", "arm": r"[\w.,=+-]*\w|None", "question": r"(?s).*"}


def check(cfg: DictConfig, loader: ConfigLoader, *, circuit_is_read: bool = False) -> None:
    """See that every key has a reader and every value is one its reader takes.

    Args:
        cfg: a composed config, its ``hydra`` node included.
        loader: Hydra's, for what the chosen groups hold.
        circuit_is_read: somebody reads the circuit whatever else is chosen.

    Raises:
        ConfigError: every mistake, each with the key, the value and the cure.
    """
    config = configs.own(cfg)
    chosen = cfg.hydra.runtime.choices.items()
    choices = (f"{group}={choice}" for group, choice in chosen if choice is not None and not group.startswith("hydra"))
    # What the same choices compose to by themselves: the keys that exist.
    baseline = _baseline(loader, tuple(choices))
    places = functools.cache(lambda: settings(config))  # asked for by mistakes alone
    if typos := _typos(cfg, baseline, places):
        raise ConfigError(typos)
    # A run cannot do without these keys; it can without W&B.
    removed = [key for key in baseline if key not in config and key not in ("hydra", "logger")]
    lacking = [f"{key} must stay in the config, got ~{key}; leave that out, or set another {key}=..." for key in removed]
    lacking += [*odd_keys(config), *_too_large(config)]
    mistakes = [*_unknown_keys(config, baseline, places), *bad_scalars(config), *_seed_followers(config), *lacking]
    # What all else would say of these is the same, and worse.
    if lacking:
        raise ConfigError(mistakes)
    try:
        plain = configs.resolved(config)
    except ConfigError as error:
        raise ConfigError([*mistakes, *error.mistakes]) from None
    try:
        claims.read(plain.get("claims"))
    except claims.ClaimError as error:
        mistakes += str(error).splitlines()
    unread = {} if circuit_is_read else _unread_circuit(cfg, plain, baseline)
    known = copy.deepcopy(plain)
    broken = set()
    for path, node in configs.nodes(plain):
        if "_target_" in node:
            found, unknown, is_broken = unbound(path, node, supplied(path, plain), places)
            # The circuit stands again wherever it is read; it is named once.
            mistakes += found if path == "circuit" or node != plain.get("circuit") else []
            broken |= {path} if is_broken else set()
            # The rest of the node can still be told.
            for key in unknown:
                del at(known, path)[key]
    for group in ("data", "task", "net", "circuit", "backend", "optimizer", "trainer", "logger"):
        node, cure = plain.get(group), "logger=wandb or logger=none" if group == "logger" else f"{group}=..."
        if (node or group != "logger") and not (isinstance(node, dict) and "_target_" in node):
            mistakes.append(f"{group} needs a _target_, got {node!r}; choose {cure}")
            broken.add(group)
    mistakes += refused(known, {path.split(".")[0] if not path.startswith("callbacks.") else path for path in broken})
    if mistakes or unread:
        raise ConfigError([*unread, *mistakes], unread=unread)


@functools.lru_cache(maxsize=8)  # trials of one arm make the same choices
def _baseline(loader: ConfigLoader, choices: tuple[str, ...]) -> DictConfig:
    return loader.load_configuration("train", list(choices), RunMode.RUN)


# Keys --------------------------------------------------------------------------------------------------------------


def settings(config: DictConfig) -> list[str]:
    """Return every setting that could be meant, by its full name: constructors' arguments, and groups."""
    found = [group for group, _, _ in _groups()]
    for path, node in configs.nodes(OmegaConf.to_container(config, resolve=False)):
        with contextlib.suppress(ConfigError):  # reported elsewhere
            if "_target_" in node:
                found += [f"{path}.{name}" for name in inspect.signature(configs.locate(node["_target_"], path)).parameters]
    # Of a circuit perturbation also where the sine is chosen: somebody who asks for its angles has it in mind.
    if "optimizer.perturbation.angles" not in found:
        found.append("optimizer=circuit optimizer.perturbation.angles")
    # And what the other choices of each group take: "optimizer=superpositional optimizer.quantum_weight".
    for group, option, text in _groups():
        # A choice that builds on another of its group takes what that one takes: one of them will do.
        if not re.search(r"^  - (?!_self_)\w+( |$)", text, re.MULTILINE):
            place = group.replace("/", ".")
            for target in re.findall(r"^_target_: (\S+)", text, re.MULTILINE):
                names = inspect.signature(configs.locate(target, place)).parameters
                found += [f"{group}={option} {place}.{name}" for name in names]
    return list(dict.fromkeys(found))


def _groups() -> Iterator[tuple[str, str, str]]:
    """Every group of ours but the circuit's own and Hydra's, each of its choices, ``net/attention``, ``quantum``, and what
    stands in it."""
    conf = configs.directory("conf")
    for file in sorted(conf.rglob("*.yaml")):
        group = file.parent.relative_to(conf).as_posix()
        if group != "." and group.split("/")[0] not in ("circuit", "claims", "hydra"):
            yield group, file.stem, file.read_text()


def _typos(cfg: DictConfig, baseline: DictConfig, places: Callable[[], Sequence[str]]) -> list[str]:
    """Name the overrides of a run if none has a reader: the rest is as the files have it, and Lightning is not imported."""
    plain, mistakes = OmegaConf.to_container(configs.own(baseline), resolve=False), []
    given = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    nodes = dict(configs.nodes(plain))
    for text in given if cfg.hydra.job.config_name == "train" else ():
        path, _, key = text.lstrip("+").partition("=")[0].rpartition(".")
        target = nodes.get(path, {}).get("_target_")
        if re.fullmatch(r"\w+", key) and not path and key not in plain:
            mistakes.append(_unknown_key(key, plain, places))
        elif target is not None and "${" not in text:
            one = {"_target_": target, "_partial_": True, key: None}
            found, _, _ = unbound(path, one, supplied(path, plain), places)
            mistakes += [each for each in found if " is no argument " in each]
    return mistakes if len(mistakes) == len(given) else []


def odd_keys(config: DictConfig) -> list[str]:
    """Name the keys of a config that are not texts: YAML reads 1, true and null as values, and nothing is named by them."""
    return [
        f"{f'{path}.{key}'.lstrip('.')} must have a text as its key, got {key!r}; put it in quotes"
        for path, node in configs.nodes(OmegaConf.to_container(config, resolve=False))
        for key in node
        if not isinstance(key, str) and path != "claims"  # reported with the claims
    ]


def _unknown_key(key: str, known: Mapping[str, Any], places: Callable[[], Sequence[str]]) -> str:
    return f"{key} is no setting; {guess('', key, [name for name in known if name != 'hydra'], places)}"


def _unknown_keys(config: DictConfig, baseline: DictConfig, places: Callable[[], Sequence[str]]) -> Iterator[str]:
    """Name keys of nodes that no constructor reads."""
    yield from (_unknown_key(key, baseline, places) for key in config if isinstance(key, str) and key not in baseline)
    for name, node in (config.get("callbacks") or {}).items():
        if isinstance(name, str) and node is not None and not (isinstance(node, DictConfig) and "_target_" in node):
            yield f"callbacks.{name} has no _target_, so nothing reads it; {guess('callbacks', name, baseline.callbacks)}"


def _unread_circuit(cfg: DictConfig, plain: Mapping[str, Any], baseline: DictConfig) -> dict[str, tuple[str, Any]]:
    """Name circuit settings that were asked for, on the command line or in a file, and that nothing built would read, each
    with the setting and its value."""
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
        if (key in given or value != usual.get(field.name)) and not any(way in rest for way in ways):
            readers = [f"{group}={option}" for group, option, text in _groups() if any(way in text for way in ways)]
            unread[f"{key}={value} has no effect: nothing chosen reads it; {' or '.join(readers)} would"] = key, value
    backend = plain.get("backend") or {}
    exact = backend.get("_target_") == "superpositional.circuits.backends.Exact"
    if not (exact and backend.get("method", "auto") == "auto") and "${backend}" not in rest:
        text = f"backend={cfg.hydra.runtime.choices.get('backend')} has no effect: nothing chosen runs a circuit"
        unread[f"{text}; net/attention=quantum or optimizer=circuit would"] = "backend", backend
    return unread


# Values ------------------------------------------------------------------------------------------------------------


def _listed(config: DictConfig) -> Iterator[tuple[str, Any, list[Any]]]:
    """Every setting of a config, unresolved: its full name, its value, and the value, or a list's, as a list."""
    for path, node in configs.nodes(OmegaConf.to_container(config, resolve=False)):
        for key, value in node.items():
            yield f"{path}.{key}".lstrip("."), value, value if isinstance(value, list) else [value]


def _seed_followers(config: DictConfig) -> Iterator[str]:
    """Name settings that follow the run's seed: every seed would be an arm of its own, and none a pair."""
    for name, value, each in _listed(config):
        if any(isinstance(text, str) and "${seed}" in text for text in each):
            yield f"{name} must not follow the run's seed, got {value}; remove it: data, task, circuit have it anyway"


def _too_large(config: DictConfig) -> Iterator[str]:
    """Name integers that torch cannot hold. A seed is hashed, however long."""
    for name, value, each in _listed(config):
        if any(type(number) is int and abs(number) >= 2**63 for number in each) and name.rpartition(".")[2] != "seed":
            yield f"{name} must be an integer of 64 bits, got {value}; give a smaller one"


def bad_scalars(config: DictConfig) -> Iterator[str]:
    """Name what is wrong with the settings that no constructor takes."""
    yield from not_integers({key: (config.get(key), *rest) for key, rest in INTEGERS.items()})
    if type(threads := config.get("threads")) is int and threads > MOST_THREADS:
        yield f"threads must be at most {MOST_THREADS}, got {threads}; {INTEGERS['threads'][1]}"
    for key, pattern in TEXTS.items():
        value = config.get(key)
        if not (value is None and key != "sweep") and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            yield f"{key} must be a plain text, got {value!r}; sweep and arm name folders"


# Hydra's own node ---------------------------------------------------------------------------------------------------


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
    node, mistakes = cfg.hydra, odd_keys(cfg)
    given = " ".join(text.lstrip("+") for text in cfg.hydra.overrides.hydra)
    if (subdir := OmegaConf.to_container(node.sweep, resolve=False)["subdir"]) != SUBDIR:
        mistakes.append(
            f"hydra.sweep.subdir must stay {SUBDIR}, got {subdir!r}: each run has a folder; set hydra.sweep.dir"
        )
    for key, cure in (("callbacks", "callbacks holds Lightning's"), ("job.env_set", "set variables in the shell")):
        if there := OmegaConf.select(node, key):
            mistakes.append(f"hydra.{key} must stay empty, got {list(there)}; {cure}")
    for key in ("job_logging", "hydra_logging"):
        # Whatever else stands there, Python's logging.config would call.
        stated = {name: value for name, value in (node[key] or {}).items() if value is not None}
        if node.runtime.choices[f"hydra/{key}"] != "none" or set(stated) - {"version", "disable_existing_loggers"}:
            mistakes.append(f"hydra/{key} must stay none: a run's output goes to the terminal or its run.log")
    for plugin in ("sweeper", "launcher"):
        path, choice = f"hydra.{plugin}", node.runtime.choices[f"hydra/{plugin}"]
        if not isinstance(node[plugin], DictConfig):
            mistakes.append(f"{path} must be a Hydra plugin, got {node[plugin]!r}; choose hydra/{plugin}=...")
            continue
        # A file may be somebody else's. What runs shell commands or jobs by other means, the user asks for.
        if choice not in ("arms", "local", "slurm") and f"hydra/{plugin}=" not in given:
            mistakes.append(f"hydra/{plugin}={choice} must be chosen on the command line, not by a file")
        mistakes += [
            f"{path}.{key} is run by a shell: give it on the command line, not in a file; got {node[plugin][key]}"
            for key in ("setup", "additional_parameters", "srun_args", "python")
            if node[plugin].get(key) and f"{path}.{key}" not in given
        ]
        # Hydra would build them before anybody has looked at them.
        try:
            plain = configs.resolved(node[plugin])
        except ConfigError as error:
            mistakes += [f"{path}: {mistake}" for mistake in error.mistakes]
            continue
        for key in ("arms", "params") if plugin == "sweeper" else ():
            if not isinstance(plain.get(key), dict | None):
                mistakes.append(f"{path}.{key} must hold KEY: VALUE, got {plain[key]!r}")
        mistakes += [
            f"{place} may hold no _target_, got {inner['_target_']}; plugins take plain values"
            for place, inner in configs.nodes(plain, path)
            if "_target_" in inner and place != path
        ]
        target = str(plain.get("_target_"))
        if target.startswith("hydra_plugins.superpositional."):
            keys = list(inspect.signature(get_class(target)).parameters)
            unknown = [key for key in plain if key not in ("_target_", *keys)]
            mistakes += [f"{path}.{key} is no setting; {guess(path, key, keys)}" for key in unknown]
        elif not configs.inside(target, ("hydra_plugins", "hydra._internal.core_plugins")):
            mistakes.append(f"{path} must be a Hydra plugin, got {target}; choose hydra/{plugin}=...")
    if mistakes:
        raise ConfigError(mistakes)
