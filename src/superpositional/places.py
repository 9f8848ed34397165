"""Where do conf/, sweeps/ and the cache lie, and whose code may be run?

The first two beside ``src`` in a checkout or an editable install, inside the package in a wheel; found from here alone. The
cache is the user's: what is in it can be made again. Code named by a config or a checkpoint is run only if its package is
one of those that each reader of names lists, or that the user trusts (``trusted``).
"""

import os
import re
from pathlib import Path

ALLOW = "SUPERPOSITIONAL_ALLOW"


def directory(name: str) -> Path:
    """``conf`` or ``sweeps``.

    Raises:
        FileNotFoundError: neither place has it.
    """
    package = Path(__file__).resolve().parent
    for parent in (package, package.parent.parent):
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
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    return folder


def trusted() -> tuple[str, ...]:
    """The packages that the user has named in ``$SUPERPOSITIONAL_ALLOW``."""
    return tuple(filter(None, re.split(r"[,\s]+", os.environ.get(ALLOW, ""))))
