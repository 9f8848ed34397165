"""Circuits on Qiskit's simulators and primitives; the only file that imports these.

One call runs all the circuits of a batch.

Shapes: B circuits, U different ones, L, R, Q as in ``Ansatz.angles_shape``, P = L * R * Q, S = 2**Q, C observables.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, ParameterVector
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2, StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import CouplingMap, PassManager, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from qiskit_aer.primitives import EstimatorV2
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.aer import SEED, Call
from superpositional.circuits.backends.base import counted
from superpositional.circuits.readouts import basis_states, read
from superpositional.circuits.statevector import require_memory

Values = tuple[np.ndarray, np.ndarray]  # means and standard errors, ``(U, C)``


def run_qiskit(ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str) -> Tensor:
    """psi_k, ``(B, Q)``, exact, by ``qiskit.quantum_info.Statevector``."""
    require_memory(ansatz, 1, torch.float64)
    circuit, parameters = template(ansatz)
    values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True)
    bound = (circuit.assign_parameters(dict(zip(parameters, row, strict=True))) for row in values_BP)
    return _read(ansatz, (Statevector(each).data for each in bound), readout).to(gate_angles_BLRQ)


def run_aer(ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str) -> Tensor:
    """psi_k, ``(B, Q)``, exact, by ``AerSimulator``."""
    require_memory(ansatz, len(gate_angles_BLRQ), torch.float64)
    circuit, parameters = template(ansatz)
    circuit.save_statevector()
    values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True)
    simulator = AerSimulator(**_threaded({"method": "statevector"}))
    result = simulator.run([circuit], parameter_binds=_binds(parameters, values_BP)).result()
    states = (np.asarray(result.get_statevector(index)) for index in range(len(values_BP)))
    return _read(ansatz, states, readout).to(gate_angles_BLRQ)


def template(ansatz: Ansatz, *, measured: bool = False) -> tuple[QuantumCircuit, ParameterVector]:
    """The circuit with one parameter for each angle that a gate gets, inputs already added.

    ``measured``: into a register ``meas`` whose number has qubit 0 as its most significant bit.
    """
    parameters, n = ParameterVector("a", ansatz.num_parameters), ansatz.n_qubits
    circuit, angles = QuantumCircuit(n), iter(parameters)
    for gate in ansatz.gates():  # rotations come in the order of their angles
        angle = [] if gate.angle is None else [next(angles)]
        getattr(circuit, gate.name)(*angle, *gate.qubits)
    if measured:
        circuit.add_register(ClassicalRegister(n, "meas"))
        circuit.measure(range(n), range(n - 1, -1, -1))
    return circuit, parameters


def noise_model(one_qubit: float, two_qubit: float, readout_error: float) -> NoiseModel | None:
    """Depolarising noise after every gate of an ansatz and bits that flip at the measurement; None where there is none."""
    model = NoiseModel()
    if one_qubit:
        model.add_all_qubit_quantum_error(depolarizing_error(one_qubit, 1), ["h", "rx", "ry", "rz"])
    if two_qubit:
        model.add_all_qubit_quantum_error(depolarizing_error(two_qubit, 2), ["cx"])
    if readout_error:
        right = 1 - readout_error
        model.add_all_qubit_readout_error(ReadoutError([[right, readout_error], [readout_error, right]]))
    return None if model.is_ideal() else model


@lru_cache(maxsize=8)
def generic_device(n_qubits: int, seed: int) -> BackendV2:
    """A made-up device of so many qubits in a line, with Qiskit's usual gates and calibrations drawn from the seed."""
    n_qubits = max(n_qubits, 2)  # Qiskit makes none of one
    return GenericBackendV2(n_qubits, coupling_map=CouplingMap.from_line(n_qubits), noise_info=True, seed=seed)


def aer_counts(call: Call, options: Mapping[str, Any], device: BackendV2 | None = None, level: int = 1) -> Values:
    """By ``AerSimulator`` with shots; with the noise, gates and coupling map of a device where one is given.

    Not by Aer's own SamplerV2, which keeps every single shot: ten times the time at 10,000 of them.
    """
    circuit, parameters = template(call.ansatz, measured=True)
    options = _threaded(options)
    if device is None:
        simulator = AerSimulator(**options)
    else:
        simulator = AerSimulator.from_backend(device, **options)
        circuit = _passes(device, level).run(circuit)
    binds = _binds(parameters, call.values_UP)
    # Aer's seeds have 32 bits.
    seed = call.seed % 2**32
    result = simulator.run([circuit], parameter_binds=binds, shots=call.shots, seed_simulator=seed).result()
    if not result.success:
        raise RuntimeError(result.status)
    counts = (result.data(index)["counts"] for index in range(len(call.values_UP)))
    return _from_counts(({int(outcome, 16): count for outcome, count in each.items()} for each in counts), call)


def aer_estimator(options: Mapping[str, Any]) -> EstimatorV2:
    """Aer's estimator, of any method, with gate noise too; exact without shots."""
    return EstimatorV2(options={"backend_options": _threaded(options)})


def dice(kind: type, seed: int) -> np.random.Generator | int:
    """What the constructor of a primitive takes for a seed: 32 bits, as a rule; of Qiskit's own sampler a generator, for it
    starts an integer's dice anew for each circuit of a job, so that all of them would err alike."""
    return np.random.default_rng(seed) if issubclass(kind, StatevectorSampler) else seed % 2**32


def by_primitive(
    primitive: BaseSamplerV2 | BaseEstimatorV2, call: Call, device: BackendV2 | None = None, level: int = 1
) -> Values:
    """By one job of a V2 sampler or estimator: one circuit with an array of angles."""
    samples = isinstance(primitive, BaseSamplerV2)
    circuit, _ = template(call.ansatz, measured=samples)
    if device is not None:
        circuit = _passes(device, level).run(circuit)
    if samples:
        outcomes = primitive.run([(circuit, call.values_UP)], shots=call.shots).result()[0].data.meas
        return _from_counts((outcomes.get_int_counts(index) for index in range(len(call.values_UP))), call)
    observables_C = [each.apply_layout(circuit.layout) for each in observables(call)]
    precision = 0.0 if call.shots is None else 1 / math.sqrt(call.shots)
    data = primitive.run([(circuit, observables_C, call.values_UP[:, None])], precision=precision).result()[0].data
    shape = len(call.values_UP), len(observables_C)
    # Aer's states the precision asked for, 0 where it is exact. Qiskit's own StatevectorEstimator adds noise of that
    # precision and states no error: that precision is it.
    errors = data.stds if np.any(data.stds) else np.full_like(data.evs, precision)
    return np.broadcast_to(data.evs, shape), np.broadcast_to(errors, shape)


def observables(call: Call) -> Sequence[SparsePauliOp]:
    """What is measured, as Paulis: Z of each qubit, or projectors on states, each a product of (1 +- Z) / 2."""
    n = call.ansatz.n_qubits
    if call.readout == "z":
        each = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], n) for q in range(n)]
    else:
        each = []
        for index in basis_states(call.readout, n):
            projector = SparsePauliOp("", 1.0)
            # Qiskit's tensor product puts its first factor at the highest qubit.
            for bit in reversed(f"{index:0{n}b}"):
                projector = projector.tensor(SparsePauliOp(["I", "Z"], [0.5, -0.5 if bit == "1" else 0.5]))
            each.append(projector)
    return [SparsePauliOp.sum(each).simplify()] if call.total else each


def _from_counts(counts: Iterable[Mapping[int, int]], call: Call) -> Values:
    """From how often each outcome came, qubit 0 the most significant bit of its number, for circuits of any width."""
    n, found = call.ansatz.n_qubits, []
    for each in counts:
        # Python's integers: an outcome may have more bits than torch's.
        if call.readout == "z":
            weight_MQ = torch.tensor([[1 - 2 * (outcome >> n - 1 - q & 1) for q in range(n)] for outcome in each])
        else:
            weight_MQ = torch.tensor([[outcome == state for state in basis_states(call.readout, n)] for outcome in each])
        weight_MC = (weight_MQ.sum(1, keepdim=True) if call.total else weight_MQ).double()
        count_1M = torch.tensor([list(each.values())], dtype=torch.float64)
        found.append(counted(count_1M, weight_MC, int(count_1M.sum())))
    return tuple(torch.cat(parts).numpy() for parts in zip(*found, strict=True))


def _threaded(options: Mapping[str, Any]) -> dict[str, Any]:
    """With the threads that this process has: several runs at a time keep to their shares."""
    return {**options, "max_parallel_threads": torch.get_num_threads()}


@lru_cache(maxsize=8)
def _passes(device: BackendV2, level: int) -> PassManager:
    return generate_preset_pass_manager(optimization_level=level, backend=device, seed_transpiler=SEED)


def _binds(parameters: ParameterVector, values_BP: np.ndarray) -> list[dict[Any, list[float]]]:
    return [{parameter: list(column) for parameter, column in zip(parameters, values_BP.T, strict=True)}]


def _read(ansatz: Ansatz, states: Iterable[np.ndarray], readout: str) -> Tensor:
    n = ansatz.n_qubits
    # Qiskit's qubit 0 is the least significant bit: turn the axes round.
    ours = (np.ascontiguousarray(state_S.reshape([2] * n).T).reshape(-1) for state_S in states)
    return torch.stack([read(torch.from_numpy(state_S), readout, n) for state_S in ours])
