"""What do Qiskit and Aer say?

The same circuits on the simulators the paper used: Qiskit's ``Statevector`` and ``AerSimulator``, exact or with shots. One
call runs all the circuits of a batch. The only file that imports Qiskit's simulators. Read by ``simulators``.

Shapes: B circuits, L, R, Q as in ``Ansatz.angles_shape``, S = 2**Q.
"""

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.readouts import read, read_probabilities
from superpositional.circuits.statevector import require_memory


def run_qiskit(ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str) -> Tensor:
    """psi_k, ``(B, Q)``, exact, by ``qiskit.quantum_info.Statevector``."""
    require_memory(ansatz, 1, torch.float64)
    circuit, parameters = _template(ansatz)
    values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True)
    bound = (circuit.assign_parameters(dict(zip(parameters, row, strict=True))) for row in values_BP)
    return torch.stack([_read(ansatz, Statevector(each).data, readout) for each in bound]).to(gate_angles_BLRQ)


def run_aer(ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, shots: int | None, seed: int | None) -> Tensor:
    """psi_k, ``(B, Q)``, by ``AerSimulator``: exact, or counted from ``shots`` of each circuit, drawn from ``seed``."""
    require_memory(ansatz, len(gate_angles_BLRQ) if shots is None else 1, torch.float64)
    circuit, parameters = _template(ansatz)
    values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True)
    binds = [{parameter: list(column) for parameter, column in zip(parameters, values_BP.T, strict=True)}]
    simulator = AerSimulator(method="statevector")
    if shots is None:
        circuit.save_statevector()
        result = simulator.run([circuit], parameter_binds=binds).result()
        states = (np.asarray(result.get_statevector(index)) for index in range(len(values_BP)))
        return torch.stack([_read(ansatz, each, readout) for each in states]).to(gate_angles_BLRQ)
    circuit.measure_all()
    result = simulator.run([circuit], parameter_binds=binds, shots=shots, seed_simulator=seed).result()
    frequency_BS = np.zeros((len(values_BP), 2**ansatz.n_qubits))
    for index, row in enumerate(frequency_BS):
        for bits, count in result.get_counts(index).items():
            # Qiskit writes qubit 0 last; here it comes first.
            row[int(bits[::-1], 2)] = count / shots
    return read_probabilities(torch.from_numpy(frequency_BS), readout, ansatz.n_qubits).to(gate_angles_BLRQ)


def _template(ansatz: Ansatz) -> tuple[QuantumCircuit, ParameterVector]:
    """The circuit with one parameter for each angle that a gate gets, inputs already added."""
    parameters = ParameterVector("a", ansatz.num_parameters)
    circuit = QuantumCircuit(ansatz.n_qubits)
    strides = np.array(ansatz.angles_shape)
    for gate in ansatz.gates():
        angle = [] if gate.angle is None else [parameters[int(np.ravel_multi_index(gate.angle, strides))]]
        getattr(circuit, gate.name)(*angle, *gate.qubits)
    return circuit, parameters


def _read(ansatz: Ansatz, state_S: np.ndarray, readout: str) -> Tensor:
    n = ansatz.n_qubits
    # Qiskit's qubit 0 is the least significant bit: turn the axes round.
    ours_S = np.ascontiguousarray(state_S.reshape([2] * n).T).reshape(-1)
    return read(torch.from_numpy(ours_S), readout, n)
