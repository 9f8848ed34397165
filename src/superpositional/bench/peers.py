"""Other packages that compute Phi, as peers.

Every peer is a function of scores ``(T,)`` and angles ``(L, R, Q)`` to Phi ``(T,)``, sum_k psi_k of the circuit of each
score (Pamuk et al. 2025, eq. 4), written as that package's own manual would have it. PennyLane and Qiskit Machine Learning
are optional: ``pip install '.[bench]'``.

Shapes: T scores; L, R, Q as in ``Ansatz.angles_shape``.
"""

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from superpositional.circuits import Ansatz, series
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.readouts import read

Phi = Callable[[Tensor, Tensor], Tensor]

MISSING = "not installed: pip install '.[bench]'"


class Missing(Exception):
    """A peer cannot be asked; the message says why."""


def load(module: str) -> ModuleType:
    """An optional package's module.

    Raises:
        Missing: the package is not installed. An error within an installed one is its own.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise Missing(MISSING) from None


def pennylane(ansatz: Ansatz, readout: str) -> Phi:
    """``default.qubit``, all scores in one broadcast execution, gradients by backpropagation through torch."""
    qml = load("pennylane")
    gates = {"h": qml.Hadamard, "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT}
    n = ansatz.n_qubits

    @qml.qnode(qml.device("default.qubit", wires=n), interface="torch", diff_method="backprop")
    def circuit(x_T: Tensor, angles_LRQ: Tensor):
        for gate in ansatz.gates():
            if gate.angle is None:
                gates[gate.name](wires=gate.qubits)
            else:
                angle = angles_LRQ[gate.angle]
                gates[gate.name](angle + x_T if gate.encodes else angle, wires=gate.qubits)
        return [qml.expval(qml.PauliZ(q)) for q in range(n)] if readout == "z" else qml.state()

    def phi(x_T: Tensor, angles_LRQ: Tensor) -> Tensor:
        found = circuit(x_T, angles_LRQ)
        return sum(found) if readout == "z" else read(found, readout, n).sum(-1)

    return phi


def ours(method: str) -> Callable[[Ansatz, str], Phi]:
    """A peer that goes through our own door to an exact method: our batched statevector, Aer's, Qiskit's."""

    def made(ansatz: Ansatz, readout: str) -> Phi:
        def phi(x_T: Tensor, angles_LRQ: Tensor) -> Tensor:
            return evaluate(ansatz, x_T[:, None], angles_LRQ, readout, method=method).sum(-1)

        return phi

    return made


def qiskit_machine_learning(ansatz: Ansatz, readout: str) -> Phi:
    """``TorchConnector`` around ``EstimatorQNN``, exact (by default its error is 0.0156); gradients by parameter shift.

    Raises:
        Missing: for a readout that is no observable, too.
    """
    networks = load("qiskit_machine_learning.neural_networks")
    connectors = load("qiskit_machine_learning.connectors")
    if readout != "z":
        raise Missing(f"cannot: {readout} is not the expectation of an observable, which EstimatorQNN gives")
    n = ansatz.n_qubits
    circuit = ansatz.to_qiskit()
    (x,) = (each for each in circuit.parameters if each.name == "x")
    theta = [each for each in circuit.parameters if each.name != "x"]
    total_z = load("qiskit.quantum_info").SparsePauliOp(["I" * q + "Z" + "I" * (n - 1 - q) for q in range(n)])
    network = networks.EstimatorQNN(
        circuit=circuit,
        observables=total_z,
        input_params=[x],
        weight_params=theta,
        input_gradients=True,
        default_precision=0.0,
    )
    connector = connectors.TorchConnector(network)

    def phi(x_T: Tensor, angles_LRQ: Tensor) -> Tensor:
        return torch.func.functional_call(connector, {"weight": angles_LRQ.flatten()}, (x_T[:, None],))[:, 0]

    return phi


def at_nodes(make: Callable[[Ansatz, str], Phi]) -> Callable[[Ansatz, str], Phi]:
    """A peer given our algorithm and not our code: it runs the circuit at the nodes of the series, and the series of every
    score is written out in plain torch, with autograd's gradients. What is left between it and ours is code."""

    def made(ansatz: Ansatz, readout: str) -> Phi:
        at = make(ansatz, readout)

        def phi(x_T: Tensor, angles_LRQ: Tensor) -> Tensor:
            node_K = series.nodes(ansatz, readout, dtype=x_T.dtype, device=x_T.device)
            coefficients_2J = series.fit(ansatz, readout, at(node_K, angles_LRQ).to(x_T.dtype))
            return series.series_reference(ansatz, readout, coefficients_2J, x_T)

        return phi

    return made


STATEVECTOR = "batched torch statevector"
PENNYLANE = "PennyLane default.qubit, broadcast, backprop"
PLAIN = "the same nodes and series in plain torch"
# Those that take all scores at once, with gradients.
BATCHED: dict[str, Callable[[Ansatz, str], Phi]] = {
    STATEVECTOR: ours("statevector"),
    PENNYLANE: pennylane,
    f"torch statevector, {PLAIN}": at_nodes(ours("statevector")),
    f"PennyLane, {PLAIN}": at_nodes(pennylane),
}
# What our time should be at most of theirs, at full size; given our own algorithm, they should not be faster.
MOST = {
    STATEVECTOR: 1 / 50,
    PENNYLANE: 1 / 150,
    f"torch statevector, {PLAIN}": 1.0,
    f"PennyLane, {PLAIN}": 1.0,
    "Aer statevector, one call with parameter binds": 1 / 5000,
    "Qiskit Machine Learning, TorchConnector(EstimatorQNN)": 1e-6,
}
# Those that take one circuit after another: whether gradients are compared too, and at how many scores.
SLOW: dict[str, tuple[Callable[[Ansatz, str], Phi], bool, tuple[int, int]]] = {
    "Aer statevector, one call with parameter binds": (ours("aer"), False, (512, 2048)),
    "Qiskit Statevector": (ours("qiskit"), False, (64, 256)),
    "Qiskit Machine Learning, TorchConnector(EstimatorQNN)": (qiskit_machine_learning, True, (8, 32)),
}
