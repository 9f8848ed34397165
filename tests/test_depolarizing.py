"""Is the noisy circuit in the Pauli basis the noisy circuit?

``test_backends`` holds what users call to Aer; here the simulator stands alone, and its peers are built here from Qiskit's
own pieces, so that a mistake shared with our way of calling Aer would show.

Shapes: B circuits, L, R, Q as in ``Ansatz.angles_shape``, S = 2**Q outcomes.
"""

import itertools

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from torch import Tensor

from superpositional.bench.measuring import peak_bytes
from superpositional.circuits import Ansatz
from superpositional.circuits.ansatz import ENTANGLEMENTS
from superpositional.circuits.backends import depolarizing
from superpositional.circuits.readouts import read
from superpositional.circuits.statevector import encode, state

# A dozen roundings of 1e-16 a gate, and at most some sixty gates, on numbers of at most 1.
EXACT = 1e-12
NOISE = {"one_qubit": 0.03, "two_qubit": 0.08}
ROTATIONS = (("ry", "rz"), ("ry",), ("rx", "ry"), ("rz", "rx", "ry", "rz"))
CIRCUITS = [
    Ansatz(n, depth, rotations, entanglement, reupload)
    for (n, depth), entanglement, (rotations, reupload) in itertools.product(
        ((1, 2), (2, 1), (3, 3), (5, 2)), ENTANGLEMENTS, zip(ROTATIONS, (True, False, True, False), strict=True)
    )
]


def drawn(ansatz: Ansatz, circuits: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Gates' angles of so many circuits, an input for each qubit."""
    dice = torch.Generator().manual_seed(ansatz.n_qubits)
    inputs_BQ = torch.randn(circuits, ansatz.n_qubits, generator=dice, dtype=torch.float64)
    angles_LRQ = torch.rand(ansatz.angles_shape, generator=dice, dtype=torch.float64) * 2 * torch.pi
    return encode(ansatz, inputs_BQ, angles_LRQ).to(dtype)


def signs(n: int) -> Tensor:
    """``(S, Q)``: +1 where the outcome's bit of a qubit is 0, -1 where it is 1."""
    bits = torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return 1.0 - 2.0 * bits.double()


def by_aer(ansatz: Ansatz, angles_LRQ: Tensor, one_qubit: float, two_qubit: float) -> Tensor:
    """The probability of each outcome from Aer's density matrix, before any readout error."""
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(one_qubit, 1), ["h", "rx", "ry", "rz"])
    noise.add_all_qubit_quantum_error(depolarizing_error(two_qubit, 2), ["cx"])
    circuit = QuantumCircuit(ansatz.n_qubits)
    for gate in ansatz.gates():
        angle = [] if gate.angle is None else [float(angles_LRQ[gate.angle])]
        getattr(circuit, gate.name)(*angle, *gate.qubits)
    # In this order our qubit 0 is the most significant bit.
    circuit.save_probabilities(list(range(ansatz.n_qubits))[::-1])
    simulator = AerSimulator(method="density_matrix", noise_model=noise, max_parallel_threads=1)
    return torch.from_numpy(np.asarray(simulator.run(circuit).result().data()["probabilities"]))


def flipped(probability_S: Tensor, n: int, rate: float) -> Tensor:
    """What is read where each bit is the other one with this probability: the flip of one bit, once for each qubit."""
    flip = torch.tensor([[1 - rate, rate], [rate, 1 - rate]], dtype=torch.float64)
    whole = flip
    for _ in range(n - 1):
        whole = torch.kron(whole, flip)
    return probability_S @ whole.T


# Against others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ansatz", CIRCUITS, ids=str)
def test_without_noise_it_is_the_statevector(ansatz: Ansatz) -> None:
    angles_BLRQ = drawn(ansatz)
    state_BS = state(ansatz, angles_BLRQ)
    probability_BS = depolarizing.probabilities(ansatz, angles_BLRQ)
    assert (probability_BS - state_BS.abs().square()).abs().max() < EXACT
    assert (depolarizing.z(ansatz, angles_BLRQ) - read(state_BS, "z", ansatz.n_qubits)).abs().max() < EXACT


@pytest.mark.parametrize("ansatz", CIRCUITS, ids=str)
def test_with_noise_it_is_aers_density_matrix_with_a_readers_flips(ansatz: Ansatz) -> None:
    angles_BLRQ, n, rate = drawn(ansatz, 2), ansatz.n_qubits, 0.07
    aer_BS = torch.stack([by_aer(ansatz, angles_LRQ, **NOISE) for angles_LRQ in angles_BLRQ])
    assert (depolarizing.probabilities(ansatz, angles_BLRQ, **NOISE) - aer_BS).abs().max() < EXACT
    assert (depolarizing.z(ansatz, angles_BLRQ, **NOISE) - aer_BS @ signs(n)).abs().max() < EXACT
    read_BS = flipped(aer_BS, n, rate)
    assert (depolarizing.probabilities(ansatz, angles_BLRQ, **NOISE, readout_error=rate) - read_BS).abs().max() < EXACT
    z_BQ = depolarizing.z(ansatz, angles_BLRQ, **NOISE, readout_error=rate)
    assert (z_BQ - read_BS @ signs(n)).abs().max() < EXACT


@pytest.mark.parametrize("which", ["one_qubit", "two_qubit"])
def test_either_noise_alone_is_aers(which: str) -> None:
    # At strengths of two kinds at once, one in the other's place could be made up for.
    ansatz = Ansatz(3, 2, ("rx", "ry"), "ring")
    (angles_LRQ,) = drawn(ansatz, 1)
    noise = {"one_qubit": 0.0, "two_qubit": 0.0, which: 0.2}
    found_S = depolarizing.probabilities(ansatz, angles_LRQ, **noise)
    assert (found_S - by_aer(ansatz, angles_LRQ, **noise)).abs().max() < EXACT


# What theory says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("rotations", ROTATIONS, ids=str)
def test_depolarising_contracts_a_qubits_z_once_for_each_gate(p: float, rotations: tuple[str, ...]) -> None:
    # The Hadamard is a gate too. Without CNOTs every one of several qubits is such a qubit.
    for n, depth in ((1, 1), (1, 3), (3, 2)):
        ansatz = Ansatz(n, depth, rotations, "none")
        angles_BLRQ = drawn(ansatz, 5)
        factor = (1 - p) ** (1 + depth * len(rotations))
        exact_BQ = read(state(ansatz, angles_BLRQ), "z", n)
        assert (depolarizing.z(ansatz, angles_BLRQ, one_qubit=p) - factor * exact_BQ).abs().max() < EXACT


def test_what_is_depolarised_wholly_is_uniform_and_so_is_a_reading_that_guesses() -> None:
    for ansatz in CIRCUITS:
        angles_BLRQ, uniform = drawn(ansatz), 2.0**-ansatz.n_qubits
        # Nothing is left to round: all but the identity are multiplied by 0, and powers of two are exact.
        ends = [{"one_qubit": 1.0}, {"readout_error": 0.5}, *([{"two_qubit": 1.0}] if ansatz.cnots else [])]
        for end in ends:
            assert (depolarizing.probabilities(ansatz, angles_BLRQ, **end) == uniform).all()
            assert (depolarizing.z(ansatz, angles_BLRQ, **end) == 0).all()


def test_a_reading_that_is_always_wrong_is_the_complement() -> None:
    ansatz = Ansatz(3, 2)
    angles_BLRQ = drawn(ansatz)
    wrong_BS = depolarizing.probabilities(ansatz, angles_BLRQ, **NOISE, readout_error=1.0)
    assert (wrong_BS - depolarizing.probabilities(ansatz, angles_BLRQ, **NOISE).flip(-1)).abs().max() < EXACT


def test_probabilities_are_a_distribution_and_z_its_marginals() -> None:
    for ansatz in CIRCUITS:
        angles_BLRQ = drawn(ansatz)
        probability_BS = depolarizing.probabilities(ansatz, angles_BLRQ, **NOISE, readout_error=0.02)
        assert (probability_BS.sum(-1) - 1).abs().max() < EXACT
        # Some hundred gates' noise away from 0, so no rounding makes one negative.
        assert (probability_BS > 0).all()
        z_BQ = depolarizing.z(ansatz, angles_BLRQ, **NOISE, readout_error=0.02)
        assert (z_BQ - probability_BS @ signs(ansatz.n_qubits)).abs().max() < EXACT


# Gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entanglement", ENTANGLEMENTS)
@pytest.mark.parametrize("reading", [depolarizing.z, depolarizing.probabilities])
def test_gradients_are_those_of_the_parameter_shift_rule(reading, entanglement: str) -> None:
    # Noise is linear in the state, so each angle still enters as cos a and sin a, and the rule stays exact.
    ansatz = Ansatz(3, 2, ("rx", "ry", "rz"), entanglement)
    (angles_LRQ,) = drawn(ansatz, 1)

    def run(each: Tensor) -> Tensor:
        return reading(ansatz, each, **NOISE, readout_error=0.05)

    jacobian = torch.autograd.functional.jacobian(run, angles_LRQ).flatten(1)
    step_PLRQ = torch.eye(ansatz.num_parameters, dtype=torch.float64).unflatten(-1, ansatz.angles_shape) * torch.pi / 2
    shift = (run(angles_LRQ + step_PLRQ) - run(angles_LRQ - step_PLRQ)) / 2
    assert (jacobian - shift.mT).abs().max() < EXACT


def test_second_derivatives_are_differences_of_first_ones() -> None:
    ansatz = Ansatz(2, 2)
    angles_BLRQ = drawn(ansatz, 2).requires_grad_()
    for reading in (depolarizing.z, depolarizing.probabilities):
        # With torch's own steps and tolerances for float64.
        assert torch.autograd.gradgradcheck(lambda each, r=reading: r(ansatz, each, **NOISE), angles_BLRQ)


def test_what_was_evaluated_without_gradients_can_be_trained_next() -> None:
    # Lightning validates in inference mode before it trains, and the CNOTs' table is kept from the first call.
    ansatz = Ansatz(2, 1, entanglement="ring")
    depolarizing._cnots.cache_clear()
    angles_BLRQ = drawn(ansatz)
    with torch.inference_mode():
        before_BQ = depolarizing.z(ansatz, angles_BLRQ, **NOISE)
    trained_BLRQ = angles_BLRQ.clone().requires_grad_()
    after_BQ = depolarizing.z(ansatz, trained_BLRQ, **NOISE)
    after_BQ.sum().backward()
    assert (after_BQ == before_BQ).all()
    assert trained_BLRQ.grad.abs().max() > 0


# Batches, precision, size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [depolarizing.z, depolarizing.probabilities])
def test_a_batch_is_its_circuits_one_by_one(reading) -> None:
    for ansatz in CIRCUITS:
        angles_BLRQ = drawn(ansatz, 6)
        together = reading(ansatz, angles_BLRQ.unflatten(0, (2, 3)), **NOISE, readout_error=0.01)
        alone = torch.stack([reading(ansatz, each, **NOISE, readout_error=0.01) for each in angles_BLRQ])
        # Not bit for bit: a product of matrices may add up in another order where there are more of them.
        assert (together.flatten(0, 1) - alone).abs().max() < EXACT
        assert reading(ansatz, angles_BLRQ[:0], **NOISE).shape == (0, alone.shape[-1])


def test_float32_is_float64_but_for_its_roundings() -> None:
    for ansatz in CIRCUITS:
        angles_BLRQ = drawn(ansatz, dtype=torch.float32)
        gates = ansatz.statistics()["gates"]
        for reading in (depolarizing.z, depolarizing.probabilities):
            narrow = reading(ansatz, angles_BLRQ, **NOISE, readout_error=0.05)
            wide = reading(ansatz, angles_BLRQ.double(), **NOISE, readout_error=0.05)
            assert narrow.dtype == torch.float32
            # The angles are the same numbers; each gate adds up at most three products of numbers of at most 1.
            assert (narrow - wide).abs().max() < 4 * gates * torch.finfo(torch.float32).eps


def test_another_strength_of_noise_or_precision_is_not_answered_from_what_is_kept() -> None:
    ansatz = Ansatz(3, 2)
    wide_BLRQ = drawn(ansatz)
    found = [depolarizing.z(ansatz, wide_BLRQ, two_qubit=p) for p in (0.0, 0.1, 0.2, 0.0)]
    assert (found[0] == found[3]).all()
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.pairwise(found))
    assert depolarizing.z(ansatz, wide_BLRQ.float(), two_qubit=0.1).dtype == torch.float32


@pytest.mark.parametrize("n", [20, 30, 200, 600])
@pytest.mark.parametrize("reading", [depolarizing.z, depolarizing.probabilities])
def test_more_than_memory_holds_is_refused_before_anything_is_allocated(reading, n: int) -> None:
    # 600: 4 ** 600 is no float.
    ansatz = Ansatz(n, 1)
    wanted = rf"n_qubits={n} needs .* GiB .* are free; choose fewer qubits, or backend=aer with shots"
    with pytest.raises(MemoryError, match=wanted):
        reading(ansatz, torch.zeros(ansatz.angles_shape), **NOISE)


def test_the_memory_asked_for_is_that_of_the_cnots_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of one circuit the tables are most of it, so this is what stands between 14 qubits and a process that is killed.
    ansatz = Ansatz(9, 2)
    bytes_each = peak_bytes(lambda: depolarizing._cnots.__wrapped__(ansatz, 0.1, torch.float64, torch.device("cpu"))) / 4**9
    # To the few bytes of what does not grow.
    assert abs(bytes_each - depolarizing.TABLES) < 1

    class Free:
        available = 100 * 4**13

    monkeypatch.setattr(depolarizing.psutil, "virtual_memory", Free)
    monkeypatch.setattr(depolarizing, "_cnots", lambda *_: pytest.fail("allocated"))
    ansatz = Ansatz(13, 1)
    with pytest.raises(MemoryError):
        depolarizing.z(ansatz, torch.zeros(ansatz.angles_shape))
