"""What may have been meant?

For a key that nobody reads: another spelling of it there, or the same name in another place. Read by check.
"""

import contextlib
import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from superpositional.places import ConfigError
from superpositional.training import config as configs


def guess(path: str, key: str, known: Sequence[str], elsewhere: Callable[[], Sequence[str]] = tuple) -> str:
    """What may have been meant by ``path.key``: another spelling of it there, or the same name in another place."""
    close = difflib.get_close_matches(key, list(known), n=1)
    if close:
        return f"did you mean {path}.{close[0]}?" if path else f"did you mean {close[0]}?"
    same = [place for place in elsewhere() if re.split(r"[./]", place)[-1] == key]
    # First what is chosen already, then what another choice would take: in the same place, or anywhere.
    here, there = (
        [place for place in same if " " not in place],
        [place for place in same if place.endswith(f" {path}.{key}")],
    )
    if found := here or there or same:
        return f"did you mean {' or '.join(found)}?"
    return "see superpositional train --help"


def places(config: DictConfig) -> list[str]:
    """Every setting that could be meant, by its full name: constructors' arguments, and groups."""
    plain = OmegaConf.to_container(config, resolve=False)
    found = [group for group, _, _ in groups()]
    for path, node in configs.nodes(plain):
        with contextlib.suppress(ConfigError):  # spoken of elsewhere
            if "_target_" in node:
                found += [f"{path}.{name}" for name in inspect.signature(configs.locate(node["_target_"], path)).parameters]
    # Of a circuit perturbation also where the sine is chosen: somebody who asks for its angles has it in mind.
    if "optimizer.perturbation.angles" not in found:
        found.append("optimizer=circuit optimizer.perturbation.angles")
    # And what the other choices of each group take: "optimizer=superpositional optimizer.quantum_weight".
    for group, option, text in groups():
        # A choice that builds on another of its group takes what that one takes: one of them will do.
        if re.search(r"^  - (?!_self_)\w+( |$)", text, re.MULTILINE):
            continue
        for target in re.findall(r"^_target_: (\S+)", text, re.MULTILINE):
            names = inspect.signature(configs.locate(target, group.replace("/", "."))).parameters
            found += [f"{group}={option} {group.replace('/', '.')}.{name}" for name in names]
    return list(dict.fromkeys(found))


def groups() -> Iterator[tuple[str, str, str]]:
    """Every group of ours but the circuit's own and Hydra's, each of its choices, ``net/attention``, ``quantum``, and what
    stands in it."""
    conf = configs.directory("conf")
    for file in sorted(conf.rglob("*.yaml")):
        group = file.parent.relative_to(conf).as_posix()
        if group != "." and group.split("/")[0] not in ("circuit", "claims", "hydra"):
            yield group, file.stem, file.read_text()
