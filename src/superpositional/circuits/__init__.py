"""What does the quantum half of the method compute, and how can it be trusted?

A circuit is data (``ansatz``); several simulators run it behind one signature (``simulators``), exact ones to 1e-12 of each
other; a circuit of one scalar is a short Fourier series (``series``). Read by perturbation and attention.

    ansatz ◄─ readouts ◄─ statevector, closed_form ◄─ series ◄─ qiskit_backend ◄─ simulators ◄─ measures
           ◄─ expressibility, transpiled ◄─ kept, facts ◄─ portrait

Importing this package is light: torch and Qiskit come with the modules that use them.
"""

import sys

from superpositional.circuits.ansatz import Ansatz

# So that checkpoints whose hyper-parameters hold one load with weights_only; torch is not imported for it.
if "torch" in sys.modules:
    sys.modules["torch"].serialization.add_safe_globals([Ansatz])

__all__ = ["Ansatz"]
