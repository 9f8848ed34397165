"""Does every backend give what the circuit gives, up to the errors it states?

One suite over all of them: noiseless ones are held to the statevector, exactly or within their own standard errors, noisy
ones to one another, and a guard fails where one is missing. Gradients under shots are held to the exact ones as
statisticians would: unbiased within 4 standard errors, of the variance that is predicted.
"""

import copy
import dataclasses
import itertools
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from superpositional import SuperpositionalAdamW
from superpositional.circuits import Ansatz
from superpositional.circuits.backends import (
    BACKENDS,
    IBM,
    Aer,
    Backend,
    Depolarizing,
    Exact,
    Noisy,
    Primitive,
    Shots,
    backend_from,
    base,
    estimate,
)
from superpositional.circuits.backends.base import weights
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.backends.gradients import circuits_of_gradient, with_shifts
from superpositional.circuits.measures import random_angles
from superpositional.circuits.readouts import READOUTS, read_probabilities
from superpositional.circuits.statevector import encode, state
from superpositional.optim.circuit_perturbation import CircuitPerturbation, perturbation_from

MEASURABLE = [readout for readout in READOUTS if not readout.startswith("amplitude")]
ESTIMATOR = "qiskit.primitives.StatevectorEstimator"
MPS = {"method": "matrix_product_state"}
# How each backend is held to the exact circuit.
EXACT = [Exact(), Depolarizing(0, 0), Aer(), Aer(**MPS), Aer(method="density_matrix")]
COUNTED = [Shots(2000), Depolarizing(0, 0, shots=2000), Aer(shots=2000), Aer(shots=2000, **MPS), Primitive(shots=2000)]
ESTIMATED = [Primitive(ESTIMATOR, shots=2000)]
NOISY = [Noisy(shots=2000), Noisy("FakeManilaV2", shots=2000), IBM(local="FakeManilaV2", shots=2000)]
SEEDED = [*COUNTED, *NOISY]
CIRCUITS = [Ansatz(), Ansatz(3, 1, entanglement="ring"), Ansatz(2, 3, ["rz", "ry", "rx"], reupload=False), Ansatz(1, 2)]


def named(backend: Backend) -> str:
    return f"{backend.name}-{'-'.join(str(value) for value in vars(backend).values())}"[:60]


def drawn(ansatz: Ansatz, count: int = 3, *, register: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    inputs = 6 * torch.rand(count, ansatz.n_qubits if register else 1, generator=dice, dtype=torch.float64) - 3
    return inputs, random_angles(ansatz, dice, count)


def variance(ansatz: Ansatz, inputs: Tensor, angles: Tensor, readout: str, *, total: bool) -> Tensor:
    """Of one shot, from the exact state."""
    weight_SC = weights(readout, ansatz.n_qubits, total=total)
    amplitude_S = state(ansatz, encode(ansatz, inputs, angles))
    probability_S = amplitude_S.real.square() + amplitude_S.imag.square()
    return probability_S @ weight_SC.square() - (probability_S @ weight_SC).square()


def test_every_backend_is_held_to_something() -> None:
    assert {backend.name for backend in [*EXACT, *COUNTED, *ESTIMATED, *NOISY]} == set(BACKENDS)


def test_weights_of_outcomes_are_the_readouts() -> None:
    for n, readout in itertools.product((1, 2, 3), MEASURABLE):
        probability = torch.rand(5, 2**n, dtype=torch.float64)
        each = read_probabilities(probability, readout, n)
        assert torch.allclose(probability @ weights(readout, n, total=False), each, rtol=0, atol=1e-14)
        assert torch.allclose(probability @ weights(readout, n, total=True), each.sum(-1, keepdim=True), rtol=0, atol=1e-14)


# Held to the exact circuit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", EXACT, ids=named)
def test_without_noise_and_shots_it_is_the_exact_circuit(backend: Backend) -> None:
    # Some thirty gates in another order. Matrix product states: Aer drops singular values whose squares sum to 1e-16, so
    # amplitudes are right to 1e-8, and numbers that are quadratic in them to about the square.
    tolerance = 1e-10 if getattr(backend, "method", "") == "matrix_product_state" else 1e-12
    readouts = READOUTS if backend == Exact() else MEASURABLE
    for ansatz, readout, register, total in itertools.product(CIRCUITS, readouts, (False, True), (False, True)):
        inputs, angles = drawn(ansatz, register=register)
        should = evaluate(ansatz, inputs, angles, readout)
        found = estimate(backend, ansatz, inputs, angles, readout, total=total)
        assert (found.mean_BC - (should.sum(-1, keepdim=True) if total else should)).abs().max() < tolerance
        assert (found.error_BC == 0).all()


@pytest.mark.parametrize("backend", [*COUNTED, *ESTIMATED], ids=named)
def test_shots_are_within_their_standard_errors_and_state_them(backend: Backend) -> None:
    for ansatz, readout, total in itertools.product(CIRCUITS, ("z", "probability_one_hot"), (False, True)):
        inputs, angles = drawn(ansatz)
        should = evaluate(ansatz, inputs, angles, readout)
        should = should.sum(-1, keepdim=True) if total else should
        found = estimate(backend, ansatz, inputs, angles, readout, total=total, seed=11)
        if backend in ESTIMATED:
            assert (found.error_BC == 2000**-0.5).all()
            error = found.error_BC
        else:
            error = (variance(ansatz, inputs, angles, readout, total=total).clamp(min=0) / 2000).sqrt()
            # A standard deviation of 2000 shots is known to some 5 %, of rare outcomes to 1 / sqrt(their number): where
            # fewer than 20 are expected nothing is said.
            told = error > 0.1 * 2000**-0.5
            assert ((found.error_BC - error).abs() <= 0.35 * error)[told].all()
        # Some 60 numbers a backend: beyond 5 standard errors lies one in 1.7 million. 1e-12: outcomes that are certain.
        assert ((found.mean_BC - should).abs() <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("shots", [1, 2])
def test_one_shot_says_nothing_of_its_error(shots: int) -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz)
    for backend in (Shots(shots), Aer(shots=shots)):
        error = estimate(backend, ansatz, inputs, angles, seed=0).error_BC
        assert error.isnan().all() if shots == 1 else error.isfinite().all()


def test_wide_circuits_are_counted_outcome_by_outcome() -> None:
    # No product state of 70 qubits fits anywhere but in Aer's matrix product states: depth 1, whose <Z> has a closed form.
    ansatz = Ansatz(70, 1)
    inputs, angles = drawn(ansatz, 1)
    exact = evaluate(ansatz, inputs, angles, "z", method="closed_form")
    found = estimate(Aer(shots=500, **MPS), ansatz, inputs, angles, seed=2)
    error = ((1 - exact.square()) / 500).sqrt()
    assert ((found.mean_BC - exact).abs() <= 5 * error + 1e-12).all()
    assert (estimate(Aer(**MPS), ansatz, inputs, angles).mean_BC - exact).abs().max() < 1e-12


def test_with_more_shots_the_error_falls_by_one_over_the_root() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 300)
    exact = evaluate(ansatz, inputs, angles, "z").sum(-1, keepdim=True)
    shots = np.array([10, 100, 1000, 10_000, 100_000])
    found = [estimate(Shots(int(count)), ansatz, inputs, angles, total=True, seed=1).mean_BC for count in shots]
    rms = [float((each - exact).square().mean().sqrt()) for each in found]
    slope = np.polyfit(np.log(shots), np.log(rms), 1)[0]
    # Each rms of 300 is known to 1 / sqrt(600) = 4 %, so over four decades the slope to 0.006.
    assert abs(slope + 0.5) < 0.05
    predicted = [float(estimate(Shots(int(n)), ansatz, inputs, angles, total=True, seed=1).error_BC.mean()) for n in shots]
    assert np.allclose(np.polyfit(np.log(shots[1:]), np.log(predicted[1:]), 1)[0], -0.5, atol=0.05)


# Noise -----------------------------------------------------------------------------------------------------------


def test_depolarising_noise_is_that_of_aers_density_matrix() -> None:
    for ansatz, register, readout in itertools.product(CIRCUITS, (False, True), ("z", "probability")):
        inputs, angles = drawn(ansatz, register=register)
        ours = estimate(Depolarizing(0.03, 0.07), ansatz, inputs, angles, readout).mean_BC
        aer = Aer(method="density_matrix", one_qubit=0.03, two_qubit=0.07)
        assert (ours - estimate(aer, ansatz, inputs, angles, readout).mean_BC).abs().max() < 1e-12


def test_readout_errors_and_shots_on_noise_are_aers() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 8)
    noise = {"one_qubit": 0.02, "two_qubit": 0.05, "readout_error": 0.1}
    for readout, total in itertools.product(("z", "probability"), (False, True)):
        exact = estimate(Depolarizing(**noise), ansatz, inputs, angles, readout, total=total).mean_BC
        for backend in (Depolarizing(**noise, shots=4000), Aer(**noise, shots=4000, method="density_matrix")):
            found = estimate(backend, ansatz, inputs, angles, readout, total=total, seed=3)
            # 40 numbers each; an outcome so rare that none was counted has an estimated error of 0, hence 1 / 4000 more.
            assert ((found.mean_BC - exact).abs() <= 5 * found.error_BC + 1e-3).all()


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_depolarising_channel_contracts_z_by_the_predicted_factor(p: float, depth: int) -> None:
    # One qubit, a Hadamard and two rotations a layer: (1 - p) for each, whatever the angles.
    ansatz = Ansatz(1, depth)
    inputs, angles = drawn(ansatz, 20)
    exact = evaluate(ansatz, inputs, angles, "z")
    factor = (1 - p) ** (1 + 2 * depth)
    for backend in (Depolarizing(p, 0), Aer(method="density_matrix", one_qubit=p)):
        assert (estimate(backend, ansatz, inputs, angles).mean_BC - factor * exact).abs().max() < 1e-14
    # A bit that flips with probability r keeps 1 - 2r of its Z.
    flipped = estimate(Depolarizing(p, 0, readout_error=0.2), ansatz, inputs, angles).mean_BC
    assert (flipped - 0.6 * factor * exact).abs().max() < 1e-14


def test_noise_of_two_qubit_gates_contracts_what_they_touch() -> None:
    # Depth 1: CNOTs (0,1), (1,2), each followed by noise on its qubits. Backwards from what is measured:
    ansatz = Ansatz(3, 1)
    inputs, angles = drawn(ansatz, 20, register=True)
    exact = evaluate(ansatz, inputs, angles, "z")
    found = estimate(Depolarizing(0, 0.1), ansatz, inputs, angles).mean_BC
    # Z_0 is on the first gate's qubits alone; Z_1 on both gates', and so is Z_2, which is Z_1 Z_2 before the second.
    assert (found - exact * torch.tensor([0.9, 0.81, 0.81], dtype=torch.float64)).abs().max() < 1e-14


def test_fully_depolarised_every_outcome_is_as_likely() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz)
    assert (estimate(Depolarizing(1, 1), ansatz, inputs, angles, "probability").mean_BC - 1 / 16).abs().max() < 1e-15
    assert (estimate(Depolarizing(1, 1), ansatz, inputs, angles).mean_BC == 0).all()


def test_noise_in_single_precision_is_that_in_double() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz)
    wide = estimate(Depolarizing(0.01, 0.02), ansatz, inputs, angles).mean_BC
    narrow = estimate(Depolarizing(0.01, 0.02), ansatz, inputs.float(), angles.float()).mean_BC
    assert narrow.dtype == torch.float32
    # 26 gates of a few roundings each, on numbers of at most 1, and angles of up to 2 pi rounded to 24 bits.
    assert (narrow - wide).abs().max() < 26 * 8 * torch.finfo(torch.float32).eps


def test_noise_of_more_qubits_than_memory_holds_is_refused_with_what_would_do() -> None:
    ansatz = Ansatz(25, 1)
    with pytest.raises(MemoryError, match=r"n_qubits=25 needs .* GiB for 4\*\*n_qubits numbers of 1 circuits.*backend=aer"):
        estimate(Depolarizing(), ansatz, torch.zeros(1, 1), torch.zeros(ansatz.angles_shape))


@pytest.mark.parametrize("backend", NOISY, ids=named)
def test_an_imitated_device_has_noise_of_its_own(backend: Backend) -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 12)
    many = dataclasses.replace(backend, shots=40_000)
    found = estimate(many, ansatz, inputs, angles, total=True, seed=5)
    exact = evaluate(ansatz, inputs, angles, "z").sum(-1, keepdim=True)
    # Biased, by more than shots would do (one in 500 million), and yet the same circuit.
    away = (found.mean_BC - exact).abs() / found.error_BC
    assert away.max() > 6
    assert torch.corrcoef(torch.stack([found.mean_BC[:, 0], exact[:, 0]]))[0, 1] > 0.9


def test_ibms_local_mode_is_the_snapshot_by_aer() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 12)
    by_ibm, by_aer = (
        estimate(backend, ansatz, inputs, angles, seed=5).mean_BC
        for backend in (IBM(local="FakeManilaV2", shots=500), Noisy("FakeManilaV2", shots=500))
    )
    assert torch.equal(by_ibm, by_aer)


def test_ibms_estimator_gives_values_with_errors() -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 2)
    found = estimate(
        IBM(local="FakeManilaV2", primitive="estimator", shots=2000), ansatz, inputs, angles, total=True, seed=1
    )
    counted = estimate(IBM(local="FakeManilaV2", shots=20_000), ansatz, inputs, angles, total=True, seed=1)
    assert (found.error_BC > 0).all()
    together = (found.error_BC.square() + counted.error_BC.square()).sqrt()
    assert ((found.mean_BC - counted.mean_BC).abs() < 5 * together).all()


# Seeds and places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", SEEDED, ids=named)
def test_a_circuits_counts_do_not_depend_on_its_place(backend: Backend) -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 6)

    def counts(places: list[int], seed: int = 7) -> Tensor:
        return estimate(backend, ansatz, inputs[places], angles[places], seed=seed).mean_BC

    first = counts([0, 1, 2, 3, 4, 5])
    assert torch.equal(counts([0, 1, 2, 3, 4, 5]), first)
    assert torch.equal(counts([5, 3, 1, 0, 2, 4]), first[[5, 3, 1, 0, 2, 4]])
    assert torch.equal(counts([0, 1, 1, 2, 3, 4, 5, 0]), first[[0, 1, 1, 2, 3, 4, 5, 0]])
    assert not torch.equal(counts([0, 1, 2, 3, 4, 5], seed=8), first)


@pytest.mark.parametrize("backend", [Shots(500), Depolarizing(shots=500)], ids=named)
def test_nor_do_ours_on_what_else_is_in_the_batch(backend: Backend) -> None:
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 6)
    together = estimate(backend, ansatz, inputs, angles, seed=7).mean_BC
    for place in range(6):
        assert torch.equal(estimate(backend, ansatz, inputs[place], angles[place], seed=7).mean_BC, together[place])


@pytest.mark.parametrize("backend", SEEDED, ids=named)
def test_shots_come_from_their_seed_and_from_nothing_else(backend: Backend) -> None:
    ansatz = Ansatz(2, 1)
    inputs, angles = drawn(ansatz, 2)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        found.append(estimate(backend, ansatz, inputs, angles, seed=2**62 + 5).mean_BC)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(*found)


@pytest.mark.parametrize("backend", SEEDED, ids=named)
def test_shots_without_a_seed_are_refused(backend: Backend) -> None:
    inputs, angles = drawn(Ansatz())
    with pytest.raises(ValueError, match=r"seed must be given with shots=2000, got None"):
        estimate(backend, Ansatz(), inputs, angles)


@pytest.mark.parametrize("backend", SEEDED, ids=named)
def test_circuits_of_a_call_are_independent(backend: Backend) -> None:
    # <Z> = -sin(x + tiny) of circuits that differ by nothing that matters: independent draws have the variance of one, and
    # neighbours no correlation.
    ansatz, count, shots = Ansatz(1, 1), 400, 100
    inputs = 0.5 + torch.arange(count, dtype=torch.float64)[:, None] * 1e-9
    angles = torch.zeros(ansatz.angles_shape, dtype=torch.float64)
    found = estimate(dataclasses.replace(backend, shots=shots), ansatz, inputs, angles, seed=3).mean_BC[:, 0]
    # A noisy device's mean is its own.
    mean = float(found.mean()) if backend in NOISY else -math.sin(0.5)
    predicted = (1 - mean**2) / shots
    # The variance of n independent draws has a relative standard error of sqrt(2 / (n - 1)).
    assert abs(found.var() / predicted - 1) < 4 * (2 / (count - 1)) ** 0.5
    assert abs(found.mean() - mean) < 4 * (predicted / count) ** 0.5
    assert torch.corrcoef(torch.stack([found[:-1], found[1:]]))[0, 1].abs() < 4 / count**0.5


@pytest.mark.parametrize("backend", [*EXACT, *COUNTED, *ESTIMATED, *NOISY], ids=named)
def test_an_angle_that_is_not_finite_has_no_value_and_takes_no_other_along(backend: Backend) -> None:
    ansatz = Ansatz(2, 1)
    inputs = torch.tensor([[0.3], [torch.nan], [1.2], [torch.inf]], dtype=torch.float64)
    angles = torch.zeros(ansatz.angles_shape, dtype=torch.float64, requires_grad=True)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            found = estimate(backend, ansatz, inputs, angles, total=True, seed=0).mean_BC
            alone = estimate(backend, ansatz, inputs[::2], angles, total=True, seed=0).mean_BC
        assert found.isnan().squeeze(1).tolist() == [False, True, False, True]
        assert torch.equal(found[::2], alone)
    # With nothing to run, nothing is sent: a device would refuse an empty job.
    assert estimate(backend, ansatz, inputs[1:2], angles, seed=0).mean_BC.isnan().all()


@pytest.mark.parametrize("backend", [*EXACT, *COUNTED[:2]], ids=named)
def test_autocast_takes_no_digit(backend: Backend) -> None:
    inputs, angles = (each.float() for each in drawn(Ansatz()))
    should = estimate(backend, Ansatz(), inputs, angles, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = estimate(backend, Ansatz(), inputs, angles, seed=0)
    assert found.mean_BC.dtype == torch.float32
    assert torch.equal(found.mean_BC, should.mean_BC)


# Gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backend", [Depolarizing(0.02, 0.05), Aer(), Aer(method="density_matrix", one_qubit=0.02, two_qubit=0.05)], ids=named
)
def test_gradients_of_exact_values_are_exact(backend: Backend) -> None:
    ansatz = Ansatz(3, 2)
    for readout, register in itertools.product(("z", "probability"), (False, True)):
        inputs, angles = (each.requires_grad_() for each in drawn(ansatz, 2, register=register))
        above = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.2, -0.7]], dtype=torch.float64)
        found = torch.autograd.grad(
            (estimate(backend, ansatz, inputs, angles, readout).mean_BC * above).sum(), (inputs, angles)
        )
        noise = (0, 0) if backend == Aer() else (0.02, 0.05)
        reference = estimate(Depolarizing(*noise), ansatz, inputs, angles, readout).mean_BC
        should = torch.autograd.grad((reference * above).sum(), (inputs, angles))
        for one, other in zip(found, should, strict=True):
            assert (one - other).abs().max() < 1e-12


def test_gradients_under_shots_are_unbiased_and_of_the_predicted_variance() -> None:
    ansatz, shots, repeats = Ansatz(2, 2), 50, 400
    inputs, angles = drawn(ansatz, 1)
    angles.requires_grad_()
    exact_value = evaluate(ansatz, inputs, angles, "z").sum()
    (exact,) = torch.autograd.grad(exact_value, angles)
    found = []
    for seed in range(repeats):
        value = estimate(Shots(shots), ansatz, inputs, angles, total=True, seed=seed).mean_BC.sum()
        found.append(torch.autograd.grad(value, angles)[0])
    found = torch.stack(found)
    moved = with_shifts(ansatz, encode(ansatz, inputs, angles.detach()), "z")[1:]
    zero = torch.zeros(1, dtype=torch.float64)
    one_shot = variance(ansatz, zero, moved, "z", total=True).reshape(2, *angles.shape)
    predicted = one_shot.sum(0) / 4 / shots
    deviation = (found.mean(0) - exact).abs()
    # 8 angles, each within 4 standard errors of its mean: one in 2,000 seeds' choices would fail.
    assert (deviation <= 4 * (predicted / repeats).sqrt() + 1e-12).all()
    live = predicted > 1e-6
    assert live.sum() >= 6
    # Sums of two binomials of 50 are near enough to normal: the variance of 400 is known to sqrt(2 / 399) = 7 %.
    assert ((found.var(0) / predicted - 1).abs() < 4 * (2 / (repeats - 1)) ** 0.5)[live].all()


def test_a_gradient_is_one_call_with_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], Shots.run
    monkeypatch.setattr(
        Shots, "run", lambda self, a, g, *rest, **more: calls.append(len(g)) or run(self, a, g, *rest, **more)
    )
    ansatz = Ansatz()
    inputs, angles = drawn(ansatz, 5)
    value = estimate(Shots(10), ansatz, inputs, angles.requires_grad_(), total=True, seed=0).mean_BC
    value.sum().backward()
    assert calls == [5 * (1 + circuits_of_gradient(ansatz, "z"))] == [5 * 33]
    # The values are those of a call without gradients.
    assert torch.equal(value.detach(), estimate(Shots(10), ansatz, inputs, angles.detach(), total=True, seed=0).mean_BC)
    assert calls[1:] == [5]


def test_what_is_measured_is_differentiated_once() -> None:
    inputs, angles = drawn(Ansatz(2, 1))
    value = estimate(Shots(10), Ansatz(2, 1), inputs, angles.requires_grad_(), seed=0).mean_BC.square().sum()
    (gradient,) = torch.autograd.grad(value, angles, create_graph=True)
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("backend", [Exact(), Shots(10), Aer(), Depolarizing()], ids=named)
def test_an_empty_batch_is_empty_and_part_of_the_graph(backend: Backend) -> None:
    angles = torch.zeros(0, *Ansatz().angles_shape, requires_grad=True)
    for total in (False, True):
        found = estimate(backend, Ansatz(), torch.zeros(1), angles, total=total, seed=0)
        assert found.mean_BC.shape == found.error_BC.shape == (0, 1 if total else 4)
        found.mean_BC.sum().backward()
        assert angles.grad.shape == angles.shape


# In the optimizer ------------------------------------------------------------------------------------------------


def test_a_perturbation_has_shots_of_all_its_registers_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], Shots.run
    monkeypatch.setattr(
        Shots, "run", lambda self, a, g, *rest, **more: calls.append(len(g)) or run(self, a, g, *rest, **more)
    )
    perturbation = CircuitPerturbation(Ansatz(), backend=Shots(100), seed=0)
    perturbation([[torch.randn(40), torch.randn(3)], [torch.randn(9)]])
    assert calls == [10 + 2, 1, 1]  # full registers; three scalars; one


def test_a_checkpoint_brings_its_backend_back() -> None:
    weight = nn.Parameter(torch.randn(8))
    perturbation = CircuitPerturbation(Ansatz(), backend=Depolarizing(0.01, 0.02, shots=10), seed=4)
    optimizer = SuperpositionalAdamW([weight], scope="all", perturbation=perturbation)
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    other = SuperpositionalAdamW([nn.Parameter(torch.randn(8))], scope="all")
    other.load_state_dict(saved)
    assert perturbation_from(other.param_groups[0]["perturbation"]) == perturbation
    # One of before there were backends.
    plain = {key: value for key, value in CircuitPerturbation(Ansatz()).plain().items() if key != "backend"}
    assert perturbation_from(plain) == CircuitPerturbation(Ansatz())


@pytest.mark.parametrize(
    "backend", [*EXACT, *COUNTED, *ESTIMATED, *NOISY, Primitive(options={"default_shots": 3})], ids=named
)
def test_a_backend_is_its_plain_values(backend: Backend) -> None:
    assert backend_from(backend.plain()) == backend
    assert hash(backend_from(backend.plain())) == hash(backend)
    assert pickle.loads(pickle.dumps(backend)) == copy.deepcopy(backend) == backend
    assert backend != Shots(3)


# Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [*EXACT[1:], *COUNTED, *ESTIMATED, *NOISY], ids=named)
def test_amplitudes_are_refused_with_what_gives_them(backend: Backend) -> None:
    inputs, angles = drawn(Ansatz())
    message = (
        f"readout=amplitude cannot be measured, so backend={backend.name} cannot give it; choose readout=probability or z, "
        "or backend=exact"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        estimate(backend, Ansatz(), inputs, angles, "amplitude", seed=0)


WRONG = [
    (Shots, {"shots": 0}, "shots must be an integer >= 1, got 0"),
    (Shots, {"shots": True}, "shots must be an integer >= 1, got True"),
    (Depolarizing, {"shots": 1.5}, "shots must be an integer >= 1 or None, got 1.5; None is exact"),
    (Depolarizing, {"one_qubit": -0.1}, "one_qubit must be a probability in [0, 1], got -0.1; 0 is none"),
    (Depolarizing, {"readout_error": "no"}, "readout_error must be a probability in [0, 1], got 'no'; 0 is none"),
    (Aer, {"method": "fast"}, "method must be one of automatic, statevector, density_matrix, matrix_product_state"),
    (Aer, {"device": "TPU"}, "device must be CPU or GPU, got 'TPU'"),
    (
        Aer,
        {"one_qubit": 0.1},
        "method=statevector has no exact values of noisy circuits; choose density_matrix, or give shots",
    ),
    (Aer, {"readout_error": 0.1}, "readout_error=0.1 needs shots here, got None; backend=depolarizing has it exactly"),
    (Aer, {"retries": -1}, "retries must be an integer >= 0, got -1; 0 gives up at the first failure"),
    (Aer, {"backoff": math.inf}, "backoff must be a number of seconds >= 0, got inf; it doubles with each attempt"),
    (Noisy, {"level": 4}, "level must be 0, 1, 2 or 3, got 4; 1 is the default"),
    (
        Noisy,
        {"device": "FakeNowhere"},
        "device must be one of qiskit-ibm-runtime's fake devices, got 'FakeNowhere'; it has",
    ),
    (Noisy, {"device": "FakeManilaV2", "n_qubits": 5}, "n_qubits is of device=generic, got n_qubits=5 and device=FakeMan"),
    (Noisy, {"n_qubits": 0}, "n_qubits must be an integer >= 1 or None, got 0"),
    (IBM, {"primitive": "both"}, "primitive must be sampler or estimator, got 'both'"),
    (IBM, {"options": {"nonsense": 1}}, "options must be those of IBM's sampler, got {'nonsense': 1}: 1 valid"),
    (IBM, {"device": "ibm_x", "local": "FakeManilaV2"}, "device and local exclude each other"),
    (
        Primitive,
        {"target_class": "os.system"},
        "target_class=os.system is outside qiskit, qiskit_aer, qiskit_ibm_runtime; if",
    ),
    (Primitive, {"target_class": "qiskit.primitives.Nothing"}, "target_class=qiskit.primitives.Nothing cannot be imported"),
    (Primitive, {"target_class": "qiskit.QuantumCircuit"}, "offers neither BaseSamplerV2 nor BaseEstimatorV2"),
    (Primitive, {"options": 3}, "options must be a mapping, got 3"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), WRONG, ids=str)
def test_a_wrong_argument_is_refused_with_value_and_cure(kind: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(**arguments)


def test_the_generic_device_takes_a_single_qubit_too() -> None:
    inputs, angles = drawn(Ansatz(1, 1))
    found = estimate(Noisy(shots=100), Ansatz(1, 1), inputs, angles, seed=0)
    assert found.mean_BC.shape == (3, 1)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)one_qubit.*two_qubit.*shots"):
        Depolarizing(2, 3, shots=0)


def test_a_gpu_is_asked_for_before_anything_runs() -> None:
    from qiskit_aer import AerSimulator

    if "GPU" in AerSimulator().available_devices():
        pytest.skip("this Aer has a GPU")
    with pytest.raises(ValueError, match=r"device=GPU is not among this Aer's \(CPU\); install qiskit-aer-gpu, or choose"):
        Aer(device="GPU")


def test_without_an_account_the_way_to_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QISKIT_IBM_TOKEN", raising=False)
    with pytest.raises(ValueError, match=r"finds no account: save one by .*save_account.*backend.local=FakeManilaV2"):
        IBM()


def test_a_circuit_wider_than_the_device_is_refused() -> None:
    for backend in (Noisy("FakeManilaV2"), IBM(local="FakeManilaV2")):
        message = f"n_qubits=6 is more than backend={backend.name}'s device has, 5; choose a wider one"
        assert backend.refusal(Ansatz(6), "z") == message
    wide = "readout=probability takes 2**n_qubits Paulis of an estimator, got n_qubits=11 > 10"
    assert Primitive(ESTIMATOR).refusal(Ansatz(11), "probability") == f"{wide}; choose readout=z, or a sampler"
    assert Aer().refusal(Ansatz(11), "probability") == f"{wide}; choose readout=z, or give shots"
    assert Primitive().refusal(Ansatz(11), "probability") is None


@pytest.mark.parametrize("value", [None, "shots", {"backend": "cloud"}, {}])
def test_what_stands_for_no_backend_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"backend must be one of superpositional.circuits.backends \(exact, shots, .*got"):
        backend_from(value)


@pytest.mark.parametrize(
    ("made", "advice"),
    [
        (lambda: Noisy("FakeManilaV2"), "device=FakeManilaV2 .*: pip install '.\\[ibm\\]'; or choose device=generic"),
        (
            lambda: IBM(local="FakeManilaV2"),
            "backend=ibm needs qiskit-ibm-runtime, which is not installed: pip install '.\\[ibm",
        ),
    ],
)
def test_without_its_extra_a_device_names_what_to_install_and_another_choice(made, advice: str, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=advice):
        made()


def test_extras_are_named_as_a_checkout_installs_them() -> None:
    source = Path(base.__file__).parent.parent
    assert not [path for path in source.rglob("*.py") if "superpositional[" in path.read_text()]
