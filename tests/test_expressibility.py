"""Is expressibility what Sim, Johnson and Aspuru-Guzik define, and are its error and its bias what they are said to be?"""

import math

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from superpositional.circuits import Ansatz
from superpositional.circuits.measures import (
    BINS,
    PAIRS,
    Expressibility,
    divergence,
    expressibility,
    haar_bias,
    log_haar,
    of_states,
)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def qubits(*gates: str):
    """Draws of one qubit after a Hadamard and these rotations, each about a random angle; written out by hand."""

    def draws(generator: torch.Generator):
        def draw(count: int) -> Tensor:
            state = torch.full((count, 2), math.sqrt(0.5), dtype=torch.complex128)
            for name in gates:
                half = torch.pi * torch.rand(count, generator=generator, dtype=torch.float64)
                cos, sin = half.cos(), half.sin()
                zero, one = state.T
                if name == "rz":
                    phase = torch.complex(cos, -sin)
                    state = torch.stack([phase * zero, phase.conj() * one], 1)
                else:
                    state = torch.stack([cos * zero - 1j * sin * one, cos * one - 1j * sin * zero], 1)
            return state

        return draw

    return draws


def haar(dimension: int):
    """Draws of Haar-random states: normalised complex Gaussians."""

    def draws(generator: torch.Generator):
        def draw(count: int) -> Tensor:
            parts = torch.randn(count, dimension, 2, generator=generator, dtype=torch.float64)
            states = torch.view_as_complex(parts)
            return states / torch.linalg.vector_norm(states, dim=1, keepdim=True)

        return draw

    return draws


def measured(draws, seed: int = 0, **settings) -> Expressibility:
    generator = dice(seed)
    return of_states(draws(generator), generator, **settings)


@pytest.mark.parametrize(
    ("draws", "published"),
    [(qubits("rz"), 0.22), (qubits("rz", "rx"), 0.02), (haar(2), 0.007)],
    ids=["circuit A: H, Rz", "circuit B: H, Rz, Rx", "an arbitrary unitary"],
)
def test_single_qubits_have_their_published_expressibility(draws, published: float) -> None:
    found = measured(draws)
    assert (found.pairs, found.bins) == (5000, 75)
    # Both are draws with an error; the published one is rounded, besides, to its last digit.
    rounding = 0.5 * 10.0 ** -len(str(published).split(".")[1])
    assert found.nats == pytest.approx(published, abs=rounding + 3 * math.sqrt(2) * found.standard_error)


def test_an_idle_qubit_has_the_logarithm_of_the_bins_and_no_error() -> None:
    def idle(count: int) -> Tensor:
        return torch.eye(2, dtype=torch.complex128)[0].expand(count, 2)

    found = of_states(idle, dice())
    assert found.nats == pytest.approx(math.log(75), rel=1e-15)
    assert found.standard_error == 0
    # Figure 1 of the paper says 4.30, which is that of 74 bins, as 75 edges make them.
    assert of_states(idle, dice(), bins=74).nats == pytest.approx(4.30, abs=0.005)


@pytest.mark.parametrize("dimension", [2, 4, 16, 64])
def test_haar_random_states_show_their_bias_and_nothing_else(dimension: int) -> None:
    found = [measured(haar(dimension), seed) for seed in range(4)]
    bias = haar_bias(dimension, PAIRS)
    assert {each.haar for each in found} == {bias}
    # 2 T D is a chi square of at most bins - 1 degrees of freedom.
    spread = math.sqrt(2 * (BINS - 1)) / (2 * PAIRS)
    assert sum(each.nats for each in found) / 4 == pytest.approx(bias, abs=4 * spread / math.sqrt(4))


def test_the_bias_is_the_mean_over_binomial_counts_and_half_a_count_per_bin_where_bins_are_full() -> None:
    # 75 equal bins of 5000 / 75 pairs each: the next term of the expansion in 1 / T is 1 / 100 of it.
    assert haar_bias(2, PAIRS) == pytest.approx((BINS - 1) / (2 * PAIRS), rel=0.02)
    masses = log_haar(8, 5).exp().tolist()
    expected = 0.0
    for mass in masses:
        for count in range(1, 41):
            share = count / 40
            expected += stats.binom.pmf(count, 40, mass) * share * math.log(share / mass)
    # Of sums of 200 terms in float64, with logarithms of factorials of 40.
    assert haar_bias(8, 40, 5) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("dimension", [2, 4, 16])
def test_haars_share_of_each_bin_is_the_integral_of_its_density(dimension: int) -> None:
    masses = log_haar(dimension, 10).exp()
    for index, mass in enumerate(masses.tolist()):
        density = integrate.quad(lambda f: (dimension - 1) * (1 - f) ** (dimension - 2), index / 10, (index + 1) / 10)[0]
        assert mass == pytest.approx(density, rel=1e-9)
    assert float(masses.sum()) == pytest.approx(1, abs=1e-14)


def test_haars_share_of_a_bin_that_no_float_holds_is_kept_as_its_logarithm() -> None:
    log_mass = log_haar(2**12)
    assert torch.isfinite(log_mass).all()
    # (1 / 75)^4095 for the last bin.
    assert float(log_mass[-1]) == pytest.approx(-4095 * math.log(75), rel=1e-12)
    idle = torch.zeros(BINS)
    idle[-1] = 1
    assert float(divergence(idle, log_mass)) == pytest.approx(4095 * math.log(75), rel=1e-12)


def test_the_standard_error_is_the_spread_over_seeds() -> None:
    found = [measured(qubits("rz"), seed, pairs=1000) for seed in range(40)]
    spread = torch.tensor([each.nats for each in found]).std()
    # Of 40 draws the spread is known to 1 / sqrt(80), and the bootstrap's bias near Haar widens it a little.
    mean = sum(each.standard_error for each in found) / 40
    assert mean == pytest.approx(float(spread), rel=4 / math.sqrt(80))


def test_an_ansatz_of_one_qubit_is_the_circuit_of_its_rotations() -> None:
    ansatz = Ansatz(n_qubits=1, depth=1, rotations=("ry",))
    # H, Ry turns within a plane as H, Rz does within another.
    ours, theirs = expressibility(ansatz, dice(1)), measured(qubits("rz"), 2)
    assert ours.nats == pytest.approx(theirs.nats, abs=4 * math.hypot(ours.standard_error, theirs.standard_error))


def test_the_same_dice_give_the_same_value_and_others_another() -> None:
    first, again, other = (expressibility(Ansatz(), dice(seed), pairs=500) for seed in (0, 0, 1))
    assert first == again
    assert first.nats != other.nats


def test_deeper_circuits_with_cnots_reach_more_than_shallow_ones_without() -> None:
    product, paper, deep = (
        expressibility(ansatz, dice(), pairs=2000) for ansatz in (Ansatz(entanglement="none"), Ansatz(), Ansatz(depth=5))
    )
    assert product.nats - paper.nats > 4 * math.hypot(product.standard_error, paper.standard_error)
    assert paper.nats - deep.nats > 2 * math.hypot(paper.standard_error, deep.standard_error)


def test_wide_and_deep_circuits_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from superpositional.circuits import measures as module

    sizes = []
    state = module.state

    def counted(ansatz: Ansatz, angles: Tensor) -> Tensor:
        sizes.append((len(angles) * 2**ansatz.n_qubits, angles.numel()))
        return state(ansatz, angles)

    monkeypatch.setattr(module, "state", counted)
    for ansatz in (Ansatz(n_qubits=10), Ansatz(n_qubits=2, depth=300)):
        found = expressibility(ansatz, dice(), pairs=300)
        assert math.isfinite(found.nats)
    # 4 MB of amplitudes in complex128, and as much of angles.
    assert max(amplitudes for amplitudes, _ in sizes) <= 2**18
    assert max(angles for _, angles in sizes) <= 2**18
    assert len(sizes) > 4


def test_torchs_own_dice_stay_where_they_were() -> None:
    before = torch.random.get_rng_state()
    expressibility(Ansatz(), dice(), pairs=100)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("settings", "message"), [({"pairs": 1}, "pairs must be"), ({"bins": 1.5}, "bins must be")])
def test_pairs_and_bins_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expressibility(Ansatz(), dice(), **settings)
