"""Hold a config's nodes to what their constructors take.

A node's keys are held to its target's signature (``unbound``). Then all is built on the meta device, which costs nothing
and hears what the constructors say (``refused``), with what Lightning takes though it gives a run without a result.
"""

import contextlib
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
from hydra.errors import InstantiationException

from superpositional.places import ConfigError, not_integers
from superpositional.training import config as configs

# Of instantiate's keys, those that would change what a node's own ones mean.
HYDRAS = ("_args_", "_convert_", "_recursive_")
# What the run itself hands to the object of each group.
SUPPLIED = {
    "data": ("seed",),
    "task": ("net", "optimizer", "seed"),
    "net": (),
    "optimizer": ("params",),
    "trainer": (
        *("logger", "callbacks", "plugins", "default_root_dir", "enable_progress_bar", "enable_model_summary"),
        *("enable_checkpointing", "num_sanity_val_steps"),
    ),
    "logger": (),
}
# Settings of the Trainer of which 0 makes no step, no evaluation or no result; -1 stands for all, or for no limit.
ABOVE_ZERO = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "max_epochs", "max_steps", "overfit_batches"),
    *("val_check_interval", "check_val_every_n_epoch"),
)
OR_ALL = ("max_epochs", "max_steps", "devices")
# Settings of the Trainer with the one value that they may have, and why.
ONLY = {
    "num_nodes": (1, "processes start on one machine"),
    "fast_dev_run": (False, "it records nothing; trainer=smoke is quick"),
    "barebones": (False, "it records nothing; trainer=smoke is quick"),
}
# Strategies that can write a checkpoint in pieces: the setting that decides it, its value for a whole one, Lightning's own.
IN_PIECES = {
    "FSDPStrategy": ("state_dict_type", "full", "full"),
    "ModelParallelStrategy": ("save_distributed_checkpoint", False, True),
}


def guess(path: str, key: str, known: Sequence[str], elsewhere: Callable[[], Sequence[str]] = tuple) -> str:
    """Return what may have been meant by ``path.key``: another spelling of it there, or the same name in another place."""
    if close := difflib.get_close_matches(key, list(known), n=1):
        return f"did you mean {f'{path}.{close[0]}'.lstrip('.')}?"
    same = [place for place in elsewhere() if re.split(r"[./]", place)[-1] == key]
    # First what is chosen already, then what another choice would take: in the same place, or anywhere.
    here = [place for place in same if " " not in place]
    there = [place for place in same if place.endswith(f" {path}.{key}")]
    found = here or there or same
    return f"did you mean {' or '.join(found)}?" if found else "see superpositional train --help"


def supplied(path: str, plain: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the run hands to the object of a group, or an object of a class that says so to one of its parts."""
    if path in SUPPLIED:
        return SUPPLIED[path]
    whole, _, part = path.rpartition(".")
    with contextlib.suppress(ConfigError, KeyError, TypeError):  # reported elsewhere, or no node of its own
        return getattr(configs.locate(at(plain, whole)["_target_"], whole), "SUPPLIES", {}).get(part, ())
    return ()


def unbound(
    path: str, node: Mapping[str, Any], supplied: Sequence[str], places: Callable[[], Sequence[str]]
) -> tuple[list[str], list[str], bool]:
    """Hold a node's keys to the signature of its target: mistakes, keys to leave out, whether it cannot be called."""
    try:
        target = configs.locate(node["_target_"], path)
    except ConfigError as error:
        return [f"{path}: {mistake}" for mistake in error.mistakes], [], True
    whose = path.rpartition(".")[0] or "the run"
    parameters = inspect.signature(target).parameters
    named = [name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    free = [name for name in named if name not in supplied]
    wrong = {}
    for key, value in node.items():
        if key == "_partial_" and not isinstance(value, bool):
            wrong[key] = f"must be true or false, got {value!r}"
        elif key in HYDRAS:
            wrong[key] = f"is not a setting, got {value!r}; write arguments by their names"
        elif key in supplied:
            wrong[key] = f"is set by {whose}{' itself' if whose == 'the run' else ', from its own settings'}; remove it"
        elif key not in ("_target_", "_partial_", *named) and not takes_any:
            wrong[key] = f"is no argument of {target.__name__}; {guess(path, key, free, places)}"
        elif (wanted := _ill_typed(target, key, value)) is not None:
            wrong[key] = f"must be {wanted}, got {value!r}"
    broken = [
        f"{path}: {node['_target_']} must take {name}, which {whose} hands it; it takes {', '.join(named) or 'nothing'}"
        for name in supplied
        if name not in named and not takes_any
    ]
    missing = [name for name in free if parameters[name].default is inspect.Parameter.empty and name not in node]
    # A partial node awaits the rest from whoever calls it; for the run's own groups that is known.
    if missing and (path in SUPPLIED or not node.get("_partial_")):
        broken.append(f"{path} lacks {', '.join(missing)}, which {target.__name__} needs")
    return [*(f"{path}.{key} {text}" for key, text in wrong.items()), *broken], list(wrong), bool(broken)


def _ill_typed(target: Callable[..., Any], key: str, value: Any) -> str | None:
    """Return what a constructor's annotation wants instead, where it is plain; of ours only switches."""
    import torch

    try:
        annotation = typing.get_type_hints(target.__init__ if isinstance(target, type) else target).get(key)
    except (NameError, TypeError):  # written for type checkers alone
        return None
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = typing.get_args(annotation) if union else (annotation,)
    words = [word for kind in kinds if typing.get_origin(kind) is typing.Literal for word in typing.get_args(kind)]
    kinds = [each for kind in kinds for each in typing.get_args(kind) or (kind,) if each not in words]
    ours = configs.inside(target.__module__, ("superpositional",))
    if not all(kind in (bool, type(None)) or (not ours and kind in (int, float, str, torch.Tensor)) for kind in kinds):
        return None
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    fits = type(value) in kinds or (type(value) is int and float in kinds) or value in words
    named = ["null" if kind is type(None) else kind.__name__ for kind in kinds]
    return None if fits else " or ".join([*named, *map(repr, words)])


def at(config: Any, path: str) -> Any:
    """Return the node at a path as ``config.nodes`` writes it."""
    for key in re.findall(r"[^.\[\]]+", path):
        config = config[int(key)] if isinstance(config, list) else config[key]
    return config


def refused(plain: dict[str, Any], broken: set[str]) -> list[str]:
    """Build everything on the meta device, and return what the constructors say: all their checks and none of their work.

    Groups in ``broken`` cannot be called at all and are reported already.
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

    def hear(path: str, reader: Any, data: Any) -> None:
        """Add what a part of the run that reads the data has against them."""
        if data is not None and hasattr(reader, "bad_data") and (wrong := reader.bad_data(data)) is not None:
            mistakes.append(f"{path}: {wrong}")

    def build(group: str, **given: Any) -> Any:
        return attempt(group, lambda: configs.make(group, plain[group])(**given))

    if build("circuit") is None:
        # Whoever builds it could only say the same, so that the rest of them is told with another.
        width = plain["circuit"].get("n_qubits") if isinstance(plain.get("circuit"), dict) else None
        width = {"n_qubits": width} if type(width) is int and width >= 1 else {}
        for path, node in list(configs.nodes(plain)):
            if node == plain["circuit"] and path != "circuit":
                node.clear()
                node.update({"_target_": "superpositional.circuits.Ansatz"} | width)
    # A wrong seed is reported already; the rest is told with another.
    seed = plain["seed"] if type(plain["seed"]) is int and plain["seed"] >= 0 else 0
    for group in ("data", "net"):
        node = plain[group] if isinstance(plain.get(group), dict) else {}
        with contextlib.suppress(ConfigError, KeyError):  # reported elsewhere
            # A packaged model is converted when it is first asked for, which takes a real device.
            if (prepare := getattr(configs.locate(node["_target_"], group), "prepare_files", None)) is not None:
                attempt(group, lambda node=node, prepare=prepare: prepare(node))
    with torch.device("meta"):
        data, net = build("data", seed=seed), build("net")
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
            task = build("task", net=lambda: net, optimizer=optimizer, seed=seed)
            attempt("task", task.configure_optimizers if task is not None else lambda: None)
            hear("data", task, data)
    for name, node in (plain.get("callbacks") or {}).items():
        if isinstance(node, dict) and "_target_" in node:
            path = f"callbacks.{name}"
            hear(path, attempt(path, lambda path=path, node=node: configs.make(path, node)()), data)
    if plain.get("logger"):
        build("logger")
    if "trainer" not in broken:
        said = _trainer_mistakes(plain)
        mistakes += [text for texts in said.values() for text in texts]
        # Lightning need not speak of them too.
        plain["trainer"] = {key: value for key, value in plain["trainer"].items() if key not in said}
        build("trainer", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    for group in ("net", "task"):
        for key in ("vocabulary_size", "max_length", "n_classes"):
            has, needs = plain[group].get(key) if group not in broken else None, getattr(data, key, None)
            if type(has) is int and type(needs) is int and has < needs:
                mistakes.append(f"{group}.{key} must be at least the data's, {needs}, got {has}")
    return mistakes


def _trainer_mistakes(plain: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what Lightning takes without a word, or refuses only where it trains, by the Trainer's setting."""
    trainer, found = plain["trainer"], {}
    for key, value in trainer.items():
        least, cure = ("> 0", "leave it out for Lightning's own") if key in ABOVE_ZERO else (">= 0", "null leaves it out")
        number = isinstance(value, int | float) and not isinstance(value, bool) and not (value == -1 and key in OR_ALL)
        if number and (not math.isfinite(value) or value < 0 or (value == 0 and key in ABOVE_ZERO)):
            found[key] = [f"trainer.{key} must be a finite number {least}, got {value!r}; {cure}"]
        if key in ONLY and value not in (ONLY[key][0], None):
            found[key] = [f"trainer.{key} must be {str(ONLY[key][0]).lower()}, got {value!r}: {ONLY[key][1]}"]
    if trainer.get("max_epochs") == -1 and all(trainer.get(key, -1) in (-1, None) for key in ("max_steps", "max_time")):
        found["max_epochs"] = ["trainer.max_epochs must have an end, got -1; give a number, max_steps or max_time"]
    together = (trainer.get("accumulate_grad_batches", 1), 1, "1 accumulates nothing")
    if wrong := not_integers({"trainer.accumulate_grad_batches": together}):
        found["accumulate_grad_batches"] = wrong
    found["precision"] = list(_imprecise(trainer, plain.get("optimizer")))
    found["strategy"] = list(_sharded(trainer.get("strategy"), plain.get("callbacks") or {}))
    return {key: texts for key, texts in found.items() if texts}


def _sharded(strategy: Any, callbacks: Mapping[str, Any]) -> Iterator[str]:
    """Name what goes with no sharded weights: a checkpoint in pieces, and callbacks that need whole weights."""
    kind = str(strategy.get("_target_")).rpartition(".")[2] if isinstance(strategy, dict) else ""
    if kind in IN_PIECES:
        key, whole, usual = IN_PIECES[kind]
        if (value := strategy.get(key, usual)) != whole:
            shown = str(whole).lower()
            yield f"trainer.strategy.{key} must be {shown}, got {value!r}: no run resumes from a checkpoint in pieces"
    for name, node in callbacks.items() if kind == "ModelParallelStrategy" else ():
        if isinstance(node, dict) and str(node.get("_target_")).endswith("UpdateTracer"):
            yield f"callbacks.{name} needs whole weights, and trainer.strategy shards them; set callbacks.{name}=null"


def _imprecise(trainer: Mapping[str, Any], optimizer: Any) -> Iterator[str]:
    """Name what is wrong with mixed float16: on a CPU Lightning would take another precision and warn."""
    import torch

    precision = str(trainer.get("precision"))
    if precision.startswith("16"):
        if trainer.get("accelerator", "auto") == "cpu" or not torch.cuda.is_available():
            yield (
                f"trainer.precision={precision} needs a GPU, and this run would be on a CPU, which does no float16; "
                "choose bf16-mixed or 32-true"
            )
        if trainer.get("gradient_clip_val") is not None and isinstance(optimizer, dict) and optimizer.get("fused"):
            yield (
                f"optimizer.fused must be false with trainer.precision={precision} and gradient_clip_val, got true: a "
                "fused step unscales the gradients itself, after they should have been clipped"
            )
