"""Superpositional gradient descent (Pamuk et al. 2025, arXiv 2511.01918), implemented faithfully and measured honestly.

Importing the package is light: torch is imported when one of its classes is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpositional.attention import QuantumAttention as QuantumAttention
    from superpositional.circuits import Ansatz as Ansatz
    from superpositional.optim.optimizer import SuperpositionalAdamW as SuperpositionalAdamW

__version__ = "0.1.0"
__all__ = ["Ansatz", "QuantumAttention", "SuperpositionalAdamW", "__version__"]
PLACES = {
    "Ansatz": "superpositional.circuits",
    "QuantumAttention": "superpositional.attention",
    "SuperpositionalAdamW": "superpositional.optim.optimizer",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)
