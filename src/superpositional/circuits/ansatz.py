"""The circuit as data: every simulator walks over the same gates, and Qiskit gets them too.

Pamuk et al. 2025, eq. (5): ``C(x) = U_ent prod_i Rz(phi_i) Ry(theta_i) H_i |0...0>``, a Hadamard on each qubit, then layers
of rotations with learned angles and CNOTs between neighbours.
"""

import numbers
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from qiskit import QuantumCircuit

ROTATIONS = ("rx", "ry", "rz")
ENTANGLEMENTS = ("linear", "ring", "none")


class Gate(NamedTuple):
    """A gate: ``h``, ``rx``, ``ry``, ``rz`` on one qubit, or ``cx`` on (control, target).

    ``angle`` is where a rotation's stands in the circuit's angles, (layer, rotation, qubit); with ``encodes`` the input is
    added to it.
    """

    name: str
    qubits: tuple[int, ...]
    angle: tuple[int, int, int] | None = None
    encodes: bool = False


@dataclass(frozen=True)
class Ansatz:
    """The paper's circuit and its neighbours (Pamuk et al. 2025, eq. 5).

    Args:
        n_qubits: width; the paper's is 4.
        depth: layers of rotations and CNOTs; the paper's is 2. The Hadamards come once, at the start.
        rotations: the rotations of each qubit in a layer, first applied first, out of rx, ry, rz. The input is added to the
            angle of every ry, so one has to be there.
        entanglement: the CNOTs after each layer's rotations, in this order: ``"linear"``, (0,1), (1,2), ...; ``"ring"``,
            the same and then (n-1,0), from three qubits on; ``"none"``.
        reupload: whether the input enters every layer, or only the first.

    Angles have shape ``angles_shape = (depth, len(rotations), n_qubits)``; gates are ``R(a) = exp(-i a P / 2)``. Qubit 0 is
    the most significant bit of a basis state's index (Qiskit counts from the other side).
    """

    n_qubits: int = 4
    depth: int = 2
    rotations: Sequence[str] = ("ry", "rz")
    entanglement: str = "linear"
    reupload: bool = True

    def __post_init__(self) -> None:
        mistakes = []
        for name, cure in (("n_qubits", "the paper has 4"), ("depth", "the paper has 2")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
                mistakes.append(f"{name} must be an integer >= 1, got {value!r}; {cure}")
        rotations = self.rotations
        listed = isinstance(rotations, Sequence) and not isinstance(rotations, str)
        if not listed or not all(name in ROTATIONS for name in rotations):
            mistakes.append(f"rotations must be a list out of {', '.join(ROTATIONS)}, got {rotations!r}; try [ry, rz]")
        elif "ry" not in rotations:
            mistakes.append(f"rotations must hold ry, which the input enters, got {list(rotations)}; try [ry, rz]")
        if self.entanglement not in ENTANGLEMENTS:
            mistakes.append(f"entanglement must be one of {', '.join(ENTANGLEMENTS)}, got {self.entanglement!r}")
        if not isinstance(self.reupload, bool):
            mistakes.append(f"reupload must be true or false, got {self.reupload!r}")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        # From YAML and checkpoints it comes as a list, which could not be hashed; NumPy's integers could not be written.
        for name, kind in (("rotations", tuple), ("n_qubits", int), ("depth", int)):
            object.__setattr__(self, name, kind(getattr(self, name)))

    @property
    def angles_shape(self) -> tuple[int, int, int]:
        return self.depth, len(self.rotations), self.n_qubits

    @property
    def num_parameters(self) -> int:
        """Angles of the circuit, without the input."""
        return self.depth * len(self.rotations) * self.n_qubits

    @property
    def degree(self) -> int:
        """D, how many gates the input enters (``series``)."""
        # Counted gate by gate it would take as long as a small attention, at each of its calls.
        return self.n_qubits * self.rotations.count("ry") * (self.depth if self.reupload else 1)

    @property
    def cnots(self) -> list[tuple[int, int]]:
        """(control, target) of one layer's CNOTs, in the order they are applied."""
        n = self.n_qubits
        line = [(q, q + 1) for q in range(n - 1)]
        return {"linear": line, "ring": line + [(n - 1, 0)] * (n > 2), "none": []}[self.entanglement]

    def gates(self) -> Iterator[Gate]:
        """Every gate, in the order of time."""
        qubits = range(self.n_qubits)
        yield from (Gate("h", (q,)) for q in qubits)
        for layer in range(self.depth):
            for index, name in enumerate(self.rotations):
                encodes = name == "ry" and (self.reupload or layer == 0)
                yield from (Gate(name, (q,), (layer, index, q), encodes) for q in qubits)
            yield from (Gate("cx", pair) for pair in self.cnots)

    def statistics(self) -> dict[str, int]:
        """Counts of the circuit as it is written, before any transpiler; ``gate_depth``: gates on the longest path."""
        reached = [0] * self.n_qubits
        kinds: Counter[int] = Counter()
        for gate in self.gates():
            kinds[len(gate.qubits)] += 1
            moment = 1 + max(reached[q] for q in gate.qubits)
            for q in gate.qubits:
                reached[q] = moment
        return {
            "n_qubits": self.n_qubits,
            "layers": self.depth,
            "gate_depth": max(reached),
            "gates": kinds.total(),
            "one_qubit_gates": kinds[1],
            "two_qubit_gates": kinds[2],
            "parameters": self.num_parameters,
            "encoding_gates": self.degree,
        }

    def plain(self) -> dict[str, Any]:
        """The arguments as plain values, for records and checkpoints: ``Ansatz(**plain)`` is this again."""
        return asdict(self) | {"rotations": list(self.rotations)}

    def to_qiskit(self, inputs: str = "scalar") -> "QuantumCircuit":
        """The circuit in Qiskit, with free parameters ``theta[i]`` (row-major over ``angles_shape``) and the input.

        ``inputs``: ``"scalar"``, one ``x`` for all qubits, as in attention; ``"register"``, an ``x[q]`` for each, as in the
        optimizer. Qiskit's qubit 0 is the least significant bit of a basis state's index, ours the most significant.
        """
        from qiskit import QuantumCircuit
        from qiskit.circuit import Parameter, ParameterVector

        if inputs not in ("scalar", "register"):
            raise ValueError(f"inputs must be scalar or register, got {inputs!r}")
        theta = ParameterVector("theta", self.num_parameters)
        x = [Parameter("x")] * self.n_qubits if inputs == "scalar" else ParameterVector("x", self.n_qubits)
        circuit = QuantumCircuit(self.n_qubits, name="superpositional")
        angles = iter(theta)
        for gate in self.gates():
            if gate.angle is None:
                getattr(circuit, gate.name)(*gate.qubits)
            else:
                (q,), angle = gate.qubits, next(angles)
                getattr(circuit, gate.name)(angle + x[q] if gate.encodes else angle, q)
        return circuit

    def to_qasm(self, inputs: str = "scalar") -> str:
        """The circuit as OpenQASM 3, its angles and input declared as ``input``."""
        from qiskit import qasm3

        version, rest = qasm3.dumps(self.to_qiskit(inputs)).split("\n", 1)
        # Its identifiers have no brackets, and x is a gate.
        names = "x is x_0" if inputs == "scalar" else "x[q] is _x_q_"
        return f"{version}\n// theta[i] is _theta_i_, row-major over (layer, rotation, qubit); {names}\n{rest}"

    def draw(self, output: str = "text", inputs: str = "scalar") -> "str | Figure":
        """The circuit as text, or with ``output="mpl"`` as a matplotlib figure (both drawn by Qiskit)."""
        circuit = self.to_qiskit(inputs)
        return str(circuit.draw("text", fold=120)) if output == "text" else circuit.draw(output, style="bw")
