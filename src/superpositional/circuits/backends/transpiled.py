"""What would a device have to run?

An ansatz in a device's own gates and between its neighbours alone, by Qiskit's transpiler: its depth and its two-qubit
gates, which are what noise grows with. Neither means anything without the basis, the coupling map and the level beside it.
Read by ``facts``. Qiskit comes with the first call.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from superpositional.circuits.ansatz import Ansatz

if TYPE_CHECKING:
    from qiskit.providers import BackendV2
    from qiskit.transpiler import CouplingMap

BASIS = ("rz", "sx", "x", "cx")
COUPLINGS = ("line", "ring", "grid", "full")
# Of the transpiler's own dice: where it tries layouts, the same ones every time.
SEED = 0


@dataclass(frozen=True)
class Device:
    """What to transpile for.

    Args:
        basis: names of its gates, as Qiskit has them; the default is that of IBM's devices up to 2023.
        coupling: between which qubits two-qubit gates can be: ``"line"``, neighbours, as many qubits as the circuit has;
            ``"ring"``, the same and the ends; ``"grid"``, a rectangle, as square as the circuit fits in; ``"full"``, all.
        level: Qiskit's ``optimization_level``, 0 to 3. 1 is the lowest that looks for a layout, and the higher ones trade
            depth for gates that errors come from: on a line they make the paper's ring deeper.

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
    """

    basis: Sequence[str] = BASIS
    coupling: str = "line"
    level: int = 1

    def __post_init__(self) -> None:
        mistakes = []
        listed = isinstance(self.basis, Sequence) and not isinstance(self.basis, str)
        if not listed or not self.basis or not all(isinstance(name, str) for name in self.basis):
            mistakes.append(f"basis must be a list of names of gates, got {self.basis!r}; try [{', '.join(BASIS)}]")
        if self.coupling not in COUPLINGS:
            mistakes.append(f"coupling must be one of {', '.join(COUPLINGS)}, got {self.coupling!r}")
        if isinstance(self.level, bool) or self.level not in range(4):
            mistakes.append(f"level must be 0, 1, 2 or 3, got {self.level!r}; 1 is the default")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        object.__setattr__(self, "basis", tuple(self.basis))
        if self.basis != BASIS:
            # Asked now, before anything trains: a circuit with every gate there is.
            transpiled(Ansatz(n_qubits=2, depth=1, rotations=("rx", "ry", "rz")), self)


class Transpiled(NamedTuple):
    """Of the circuit with free angles: ``depth``, gates on its longest path, and ``two_qubit_gates``."""

    depth: int
    two_qubit_gates: int


def transpiled(ansatz: Ansatz, device: Device) -> Transpiled:
    """The ansatz on a device; the same every time, with one release of Qiskit.

    Raises:
        ValueError: the basis cannot make the ansatz's gates.
    """
    from qiskit.transpiler import TranspilerError, generate_preset_pass_manager

    try:
        passes = generate_preset_pass_manager(
            optimization_level=device.level,
            basis_gates=list(device.basis),
            coupling_map=coupling_map(device.coupling, ansatz.n_qubits),
            seed_transpiler=SEED,
        )
        circuit = passes.run(ansatz.to_qiskit())
    except (TranspilerError, ValueError) as error:
        raise ValueError(
            f"basis must make h, cx and every rotation, got {list(device.basis)} ({str(error).splitlines()[0]}); try "
            f"[{', '.join(BASIS)}]"
        ) from None
    return Transpiled(circuit.depth(), sum(len(each.qubits) == 2 for each in circuit.data))


class OnDevice(NamedTuple):
    """Of the circuit on a device: ``depth`` and ``two_qubit_gates`` before the measurement, and ``seconds`` of one
    execution, measurement included, by the device's own durations; None where it states none."""

    depth: int
    two_qubit_gates: int
    seconds: float | None


def on_device(ansatz: Ansatz, device: "BackendV2", level: int = 1) -> OnDevice:
    """The ansatz on a device of Qiskit's, real or imitated; the same every time, with one release of Qiskit.

    Raises:
        ValueError: the device is too narrow.
    """
    from qiskit.circuit import ClassicalRegister, QuantumCircuit
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import generate_preset_pass_manager

    if ansatz.n_qubits > device.num_qubits:
        raise ValueError(
            f"n_qubits={ansatz.n_qubits} is more than {device.name} has, {device.num_qubits}; choose a wider one"
        )
    passes = generate_preset_pass_manager(optimization_level=level, backend=device, seed_transpiler=SEED)
    plain = ansatz.to_qiskit()
    measured = QuantumCircuit(plain.num_qubits)
    measured.compose(plain, inplace=True)
    measured.add_register(ClassicalRegister(plain.num_qubits))
    measured.measure(range(plain.num_qubits), range(plain.num_qubits))
    circuit, whole = passes.run([plain, measured])
    try:
        seconds = whole.estimate_duration(device.target, "s")
    except QiskitError:
        # A gate without a duration: nothing is known of the sum.
        seconds = None
    return OnDevice(circuit.depth(), sum(len(each.qubits) == 2 for each in circuit.data), seconds)


def coupling_map(coupling: str, n_qubits: int) -> "CouplingMap | None":
    """Between which qubits there are two-qubit gates, in both directions; None is between all."""
    from qiskit.transpiler import CouplingMap

    if coupling == "full":
        return None
    if coupling == "grid":
        rows = math.isqrt(n_qubits)
        return CouplingMap.from_grid(rows, -(-n_qubits // rows))
    # Two qubits, or one, have no other end.
    return CouplingMap.from_ring(n_qubits) if coupling == "ring" and n_qubits > 2 else CouplingMap.from_line(n_qubits)
