"""Superpositional gradient descent (Pamuk et al. 2025, arXiv 2511.01918), implemented faithfully and measured honestly.

Importing the package is light: torch is imported when ``SuperpositionalAdamW`` is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpositional.optim.optimizer import SuperpositionalAdamW as SuperpositionalAdamW

__version__ = "0.1.0"
__all__ = ["SuperpositionalAdamW", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "SuperpositionalAdamW":
        from superpositional.optim.optimizer import SuperpositionalAdamW

        return SuperpositionalAdamW
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
