"""Where circuits run, behind one signature: exactly, with shots, with noise, on Aer, on an imitated device, on IBM's, on
any V2 primitive of Qiskit. Importing it brings torch, and Qiskit only with the devices that use it."""

from torch.serialization import add_safe_globals

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.aer import Aer, Noisy
from superpositional.circuits.backends.base import Backend, BackendError, Estimate, backend_from
from superpositional.circuits.backends.gradients import estimate
from superpositional.circuits.backends.primitives import IBM, Primitive
from superpositional.circuits.backends.simulated import Depolarizing, Exact, Shots

KINDS = (Exact, Shots, Depolarizing, Aer, Noisy, IBM, Primitive)
BACKENDS: dict[str, type[Backend]] = {kind.__name__.lower(): kind for kind in KINDS}

# Plain values, so that checkpoints whose hyper-parameters hold them load with weights_only.
add_safe_globals([Ansatz, *BACKENDS.values()])

__all__ = [
    "BACKENDS", "IBM", "Aer", "Backend", "BackendError", "Depolarizing", "Estimate", "Exact", "Noisy",
    "Primitive", "Shots", "backend_from", "estimate",
]  # fmt: skip
