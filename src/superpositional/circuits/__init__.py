"""The ansatz, and all that runs or measures it.

A circuit is data (``ansatz``); ``backends`` run it behind one signature; a circuit of one scalar is a short Fourier series
(``series``). Importing this package is light: torch and Qiskit come with the modules that use them.
"""

import sys

from superpositional.circuits.ansatz import Ansatz

# So that checkpoints whose hyper-parameters hold one load with weights_only; torch is not imported for it.
if "torch" in sys.modules:
    sys.modules["torch"].serialization.add_safe_globals([Ansatz])

__all__ = ["Ansatz"]
