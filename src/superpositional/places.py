"""Find conf/, sweeps/ and the cache, and say whose code may be run.

The first two lie beside ``src`` in a checkout or an editable install, under ``shipped`` in a wheel. The cache is the
user's, and what is in it can be made again. Code named by a config or a checkpoint is run only if its package is one of
those that each reader of names lists, or that the user trusts (``trusted``).
"""

import errno
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ALLOW = "SUPERPOSITIONAL_ALLOW"
# Values of a YAML file, its aliases written out; the largest of ours has some 500.
LARGEST = 100_000


def directory(name: str) -> Path:
    """``conf`` or ``sweeps``.

    Raises:
        FileNotFoundError: neither place has it.
    """
    package = Path(__file__).resolve().parent
    for parent in (package / "shipped", package.parent.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"no {name}/ beside {package}; reinstall superpositional")


def cache() -> Path:
    """Our folder for what is made once: ``$SUPERPOSITIONAL_CACHE``, else in the user's cache folder."""
    if own := os.environ.get("SUPERPOSITIONAL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "superpositional"


def cache_folder(name: str) -> Path:
    """A folder in the cache. What is created for it, no other user can write.

    Raises:
        RuntimeError: the user has no home folder, and no cache is set.
        OSError: it cannot be created.
    """
    folder = cache() / name
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def read_text(path: Path) -> str:
    """Return the text of a file that somebody else may have put there.

    Raises:
        OSError: it cannot be read, or is not a regular file: a FIFO would be waited for.
        UnicodeDecodeError: it is not text.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_text(encoding="utf-8")


def check_yaml(path: Path) -> None:
    """See that a YAML file that somebody else may have written can be loaded.

    Raises:
        ValueError: it is not a YAML file, or does not end where its aliases are written out.
    """
    import yaml

    sizes: dict[int, float] = {}

    def size(node: yaml.Node) -> float:
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # of a node within itself
            parts = node.value if isinstance(node, yaml.CollectionNode) else ()
            pairs = [part if isinstance(part, tuple) else (part,) for part in parts]
            sizes[id(node)] = 1 + sum(size(each) for pair in pairs for each in pair)
        return sizes[id(node)]

    try:
        many = size(yaml.compose(read_text(path), yaml.SafeLoader))
    except RecursionError:
        many = math.inf
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} must be a YAML file: {' '.join(str(error).split())}") from None
    if many > LARGEST:
        raise ValueError(
            f"{path} must hold at most {LARGEST:,} values, got {many:,}: it nests deeply or refers to itself; write it out"
        )


def check_writable(folder: Path) -> None:
    """See that files can be written to a folder, there or yet to be made; nothing is left behind.

    Raises:
        OSError: they cannot be.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def trusted() -> tuple[str, ...]:
    """The packages that the user has named in ``$SUPERPOSITIONAL_ALLOW``."""
    return tuple(filter(None, re.split(r"[,\s]+", os.environ.get(ALLOW, ""))))


def not_integers(sizes: Mapping[str, tuple[Any, int, str]]) -> list[str]:
    """Return a line for each value that is not an integer of at least its bound; ``sizes`` holds (value, bound, cure)."""
    return [
        f"{name} must be an integer >= {least}, got {value!r}; {cure}"
        for name, (value, least, cure) in sizes.items()
        if type(value) is not int or value < least
    ]


class UserError(ValueError):
    """What a user can mend: a line for each mistake, with the value and the cure. A command prints it and exits with 2."""


class ConfigError(Exception):
    """All that is wrong with a config, a line each.

    ``unread``: those of them that say a circuit setting is read by nothing, with the setting and its value. In a sweep they
    are none if another arm with the same value reads it.
    """

    def __init__(self, mistakes: Sequence[str], unread: Mapping[str, tuple[str, Any]] | None = None) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = list(dict.fromkeys(mistakes))
        self.unread = dict(unread or {})
