"""Where do conf/ and sweeps/ lie?

Beside ``src`` in a checkout or an editable install, inside the package in a wheel; found from here alone.
"""

from pathlib import Path


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
