"""Are entanglement, gradient variance, dead angles and spectrum what their definitions say, where values are known?"""

import math

import pytest
import torch
from torch import Tensor

from superpositional.circuits import Ansatz, portrait, series
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.measures import (
    coefficient_slopes,
    dead_angles,
    entanglement,
    facts,
    gradient_variance,
    meyer_wallach,
    random_angles,
    rank,
    spectrum,
)
from superpositional.circuits.statevector import encode, state
from superpositional.optim.circuit_perturbation import sine


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ghz(n: int) -> Tensor:
    psi = torch.zeros(2**n, dtype=torch.complex128)
    psi[0] = psi[-1] = 1 / math.sqrt(2)
    return psi


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_product_states_have_meyer_wallach_0(n: int) -> None:
    ansatz = Ansatz(n_qubits=n, entanglement="none")
    psi = state(ansatz, random_angles(ansatz, dice(), 5))
    assert torch.allclose(meyer_wallach(psi, n), torch.zeros(5, dtype=torch.float64), atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_ghz_states_have_meyer_wallach_1(n: int) -> None:
    assert meyer_wallach(ghz(n), n).item() == pytest.approx(1, abs=1e-14)


def test_w_states_and_pairs_have_their_known_meyer_wallach() -> None:
    # W of three qubits: each purity is 5/9, so Q = 2 (1 - 5/9) = 8/9 (Meyer, Wallach 2002).
    w = torch.zeros(8, dtype=torch.complex128)
    w[[1, 2, 4]] = 1 / math.sqrt(3)
    assert meyer_wallach(w, 3).item() == pytest.approx(8 / 9, abs=1e-14)
    # A Bell pair and a free qubit: purities 1/2, 1/2, 1.
    bell = torch.kron(ghz(2), torch.tensor([1, 0], dtype=torch.complex128))
    assert meyer_wallach(bell, 3).item() == pytest.approx(2 / 3, abs=1e-14)


def test_entanglement_does_not_depend_on_which_qubit_is_which() -> None:
    psi = torch.randn(2**4, dtype=torch.complex128, generator=dice())
    psi /= torch.linalg.vector_norm(psi)
    turned = psi.reshape(2, 2, 2, 2).permute(2, 0, 3, 1).flatten()
    assert meyer_wallach(psi, 4).item() == pytest.approx(meyer_wallach(turned, 4).item(), abs=1e-14)


def test_entanglement_is_that_of_the_circuits_state() -> None:
    ansatz, x = Ansatz(), torch.randn(7, 1, dtype=torch.float64, generator=dice())
    angles = random_angles(ansatz, dice(1))
    found = entanglement(ansatz, x, angles)
    assert torch.equal(found, meyer_wallach(state(ansatz, encode(ansatz, x, angles)), 4))
    assert found.shape == (7,)
    assert (found > 0).all()


def test_gradient_variance_of_one_qubit_is_one_half_for_ry_and_0_for_rz() -> None:
    # <Z> = -sin(x + theta): the mean square of its slope over a turn is 1/2. 4 standard errors of 4,000 squares of a
    # cosine, whose variance is 1/8.
    ry, rz = gradient_variance(Ansatz(n_qubits=1, depth=1), "z", dice(), draws=4000).flatten().tolist()
    assert ry == pytest.approx(0.5, abs=4 * math.sqrt(1 / 8 / 4000))
    assert rz == pytest.approx(0, abs=1e-30)


def test_gradient_variance_of_an_amplitude_has_its_mean_taken_off() -> None:
    # Re psi_0 = cos(a/2 + pi/4) of one qubit, a the sum of angle and input, both uniform on [-pi, pi): the slope
    # -sin(a/2 + pi/4) / 2 has the mean square 1/8 and the mean -sqrt(2) / pi^2. Its fourth moment is 3/128, so the
    # variance's standard error over 20,000 draws is below sqrt(3/128 / 20000).
    ansatz = Ansatz(n_qubits=1, depth=1, rotations=("ry",))
    found = gradient_variance(ansatz, "amplitude", dice(), draws=20000).item()
    assert found == pytest.approx(1 / 8 - 2 / math.pi**4, abs=4 * math.sqrt(3 / 128 / 20000))


def test_gradient_variance_of_a_chains_last_qubit_falls_by_half_per_qubit() -> None:
    # At depth 1 Phi = sum_k prod_{j<=k} (-sin); its slope in the last angle has the mean square (1/2)^n exactly.
    for n in (2, 4, 6):
        found = gradient_variance(Ansatz(n_qubits=n, depth=1, rotations=("ry",)), "z", dice(n), draws=20000)[
            0, 0, -1
        ].item()
        # cos^2 prod sin^2 of n independent angles: second moment (3/8)^n, so the mean's standard error follows.
        error = math.sqrt(((3 / 8) ** n - (1 / 4) ** n) / 20000)
        assert found == pytest.approx(0.5**n, abs=4 * error)


@pytest.mark.parametrize(
    ("readout", "dead"),
    [
        # Rz before the last CNOTs and the readout of Z is a phase that nobody sees.
        ("z", {(1, 1, q) for q in range(4)}),
        # Of the first four states qubits 0 and 1 are 00 and the others anything: what qubits 2 and 3 do last drops out too,
        # and all that qubit 3 ever does, whom no CNOT lets speak to another.
        ("probability", {(1, 1, q) for q in range(4)} | {(1, 0, 2), (1, 0, 3), (0, 0, 3), (0, 1, 3)}),
        ("amplitude", set()),
    ],
)
def test_dead_angles_of_the_papers_circuit_are_these(readout: str, dead: set) -> None:
    assert set(dead_angles(Ansatz(), readout, dice())) == dead


@pytest.mark.parametrize("readout", ["amplitude", "probability_one_hot", "z"])
def test_dead_angles_are_those_whose_change_changes_nothing(readout: str) -> None:
    ansatz = Ansatz(n_qubits=3, depth=2, entanglement="ring")
    dead = set(dead_angles(ansatz, readout, dice()))
    angles, x = random_angles(ansatz, dice(1)), torch.linspace(-7, 7, 50, dtype=torch.float64)[:, None]
    before = evaluate(ansatz, x, angles, readout).sum(-1)
    for place in [(layer, rotation, q) for layer in range(2) for rotation in range(2) for q in range(3)]:
        moved = angles.clone()
        moved[place] += 0.7
        difference = (evaluate(ansatz, x, moved, readout).sum(-1) - before).abs().max()
        assert (difference < 1e-12) == (place in dead), place


def test_the_spectrum_of_one_qubit_is_one_frequency_of_amplitude_1() -> None:
    ansatz = Ansatz(n_qubits=1, depth=1)
    pairs = dict(spectrum(ansatz, "z", random_angles(ansatz, dice())))
    assert pairs == {0.0: pytest.approx(0, abs=1e-15), 1.0: pytest.approx(1, abs=1e-15)}


def test_odd_degrees_have_half_integer_frequencies() -> None:
    ansatz = Ansatz(n_qubits=3, depth=1)
    assert [frequency for frequency, _ in spectrum(ansatz, "amplitude", random_angles(ansatz, dice()))] == [0.5, 1.5]


RANKS = [
    # Re psi_0 = cos((x + theta) / 2 + pi / 4) cos(phi / 2), of Ry(theta) Rz(phi): a phase and a size.
    (Ansatz(n_qubits=1, depth=1), "amplitude", 2, 2),
    # <Z> = -sin(x + theta): a phase.
    (Ansatz(n_qubits=1, depth=1), "z", 1, 1),
    # Sums of such sines are one sine: phase and size.
    (Ansatz(n_qubits=4, depth=1, entanglement="none"), "z", 2, 2),
    # Two layers of one qubit: <Z> = A - B sin(2x + c), and A moves by itself.
    (Ansatz(n_qubits=4, entanglement="none"), "z", 3, 2),
    (Ansatz(), "amplitude", 9, 8),
    (Ansatz(entanglement="none"), "amplitude", 9, 8),
    # As many as there are live angles.
    (Ansatz(), "z", 12, 12),
    (Ansatz(), "probability", 8, 8),
    (Ansatz(entanglement="ring"), "probability_one_hot", 12, 12),
    (Ansatz(n_qubits=3, depth=2, reupload=False), "probability_little_endian", 7, 6),
    (Ansatz(n_qubits=2, depth=2, rotations=("rx", "ry"), entanglement="ring"), "amplitude_one_hot", 5, 4),
]


@pytest.mark.parametrize(("ansatz", "readout", "whole", "seen"), RANKS, ids=str)
def test_the_rank_is_that_of_finite_differences_of_phi_simulated_at_random_scores(ansatz, readout, whole, seen) -> None:
    found = rank(ansatz, readout, dice())
    assert (found.whole, found.seen) == (whole, seen)
    angles, count = random_angles(ansatz, dice(7)), ansatz.num_parameters
    # More scores than coefficients, 2 D + 1 of them at most.
    x = 20 * torch.rand(4 * ansatz.degree + 8, 1, dtype=torch.float64, generator=dice(8)) - 10
    step = 1e-4 * torch.eye(count, dtype=torch.float64).reshape(count, 1, *ansatz.angles_shape)
    ahead, behind = (evaluate(ansatz, x, angles + by * step, readout).sum(-1) for by in (1, -1))
    slope_PX = (ahead - behind) / 2e-4
    # A central difference is 1e-4**2 / 6 off, and rounding 1e-15 / 1e-4; the least way of these circuits is above 1e-4.
    assert torch.linalg.matrix_rank(slope_PX, rtol=1e-6) == whole
    # Without a constant: the constant added as a way of its own makes one more of what is left.
    with_constant = torch.cat([slope_PX, torch.ones(1, len(x), dtype=torch.float64)])
    assert torch.linalg.matrix_rank(with_constant, rtol=1e-6) == seen + 1


@pytest.mark.parametrize("readout", ["amplitude", "z"])
def test_slopes_of_the_coefficients_are_finite_differences_of_the_fitted_series(readout: str) -> None:
    ansatz, step = Ansatz(n_qubits=3, depth=2), 1e-5
    angles = random_angles(ansatz, dice(), 2)
    found = coefficient_slopes(ansatz, readout, angles)
    for place in [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 0)]:
        moved = torch.zeros(ansatz.angles_shape, dtype=torch.float64)
        moved[place] = step
        for draw in range(2):
            ahead, behind = (
                series.fit(ansatz, readout, evaluate(ansatz, node_K[:, None], angles[draw] + by * moved, readout).sum(-1))
                for node_K in [series.nodes(ansatz, readout, dtype=torch.float64, device="cpu")]
                for by in (1, -1)
            )
            # step**2 / 6 and rounding over step: some 1e-11.
            expected = (ahead - behind) / (2 * step)
            torch.testing.assert_close(found[(draw, ..., *place)], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("ansatz", "readout", "whole", "seen"), RANKS, ids=str)
def test_ranks_are_bounded_by_live_angles_and_moved_coefficients_and_these_are_the_spectrums(
    ansatz, readout, whole, seen
) -> None:
    found = rank(ansatz, readout, dice(5))
    assert whole <= min(len(found.moved), ansatz.num_parameters - len(dead_angles(ansatz, readout, dice())))
    frequencies = [frequency for frequency, _ in spectrum(ansatz, readout, random_angles(ansatz, dice()))]
    reached = [
        frequency for frequency, amplitude in spectrum(ansatz, readout, random_angles(ansatz, dice(1))) if amplitude > 1e-12
    ]
    moved = sorted({frequencies[place // 2] for place in found.moved})
    # A constant that no angle moves, such as half a probability, is there all the same.
    assert [frequency for frequency in reached if frequency] == [frequency for frequency in moved if frequency]
    assert set(moved) <= set(reached)


def test_the_rank_does_not_depend_on_the_dice() -> None:
    assert len({rank(Ansatz(), "z", dice(seed)) for seed in range(5)}) == 1


def test_wide_circuits_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradient_variance(Ansatz(), "z", dice())
    monkeypatch.setattr("superpositional.circuits.measures.AMPLITUDES_AT_ONCE", 16 * 7)
    assert torch.allclose(gradient_variance(Ansatz(), "z", dice()), whole, rtol=1e-12, atol=0)
    assert rank(Ansatz(), "z", dice())[:2] == (12, 12)


def test_the_portrait_says_what_the_circuit_has() -> None:
    ansatz = Ansatz()
    text = portrait.text(ansatz, "z", random_angles(ansatz, dice()), facts(ansatz))
    assert "n qubits 4, layers 2, gate depth 10, gates 26, one qubit gates 20, two qubit gates 6" in text
    assert "angles that do nothing to Phi, 4 of 16: theta[12], theta[13], theta[14], theta[15]" in text
    assert "circuits that give Phi for every score: 17 per set of angles" in text
    assert (
        "expressibility at random angles: 0.0191 ± 0.0033 nats (lower reaches more; Haar-random states show 0.0037" in text
    )
    assert "transpiled to rz, sx, x, cx on a line coupling map: depth 17, two qubit gates 6 (Qiskit" in text
    ranks = "dPhi/d(angles) has rank 12 (12 without the constant): the classical twin has 12 free ones"
    assert f"Phi has 17 coefficients; {ranks}" in text
    assert max(map(len, text.splitlines())) <= 127  # Qiskit folds at 120 and adds its margin


def test_the_portraits_curves_are_the_circuits() -> None:
    ansatz, angles = Ansatz(n_qubits=3), random_angles(Ansatz(n_qubits=3), dice(), 2)
    x, phi = portrait.response(ansatz, "amplitude", angles[0], points=9)
    direct = evaluate(ansatz, torch.from_numpy(x)[:, None], angles[0], "amplitude").sum(-1)
    assert torch.allclose(torch.from_numpy(phi), direct, rtol=0, atol=1e-12)
    figure = portrait.draw(ansatz, "amplitude", angles, sine)
    response, spectrum_ax, modulation = figure.axes
    # Two sets of angles, with the amplitudes of 0, 1, 2, 3 of them as bars; three qubits beside the sine.
    assert (len(response.lines), len(spectrum_ax.patches), len(modulation.lines)) == (2, 8, 4)
    theta, curve = modulation.lines[1].get_data()
    assert torch.allclose(torch.from_numpy(curve), torch.sin(math.pi * torch.from_numpy(theta)), atol=1e-12)
