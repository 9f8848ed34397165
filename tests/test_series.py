"""Is the fast Fourier series the one that is written, with its derivatives, and does a fit find it from fewest values?"""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.graph import saved_tensors_hooks

from superpositional.circuits import Ansatz
from superpositional.circuits.series import doubled_frequencies, fit, node_count, nodes, series, series_reference
from superpositional.circuits.statevector import statevector

EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}
# (J, 2w of the lowest frequency): how many frequencies, whole or half-integer. J = 65, w = 64 is 16 qubits at depth 4.
SERIES = [(1, 1), (2, 0), (2, 1), (3, 0), (8, 1), (33, 0), (33, 1), (65, 0), (65, 1)]
# (degree, readout): a fit of every parity.
FITS = [(degree, readout) for degree in (1, 2, 3, 8, 13, 63, 64) for readout in ("amplitude", "z")]
# Where a recurrence in cos x alone is badly conditioned, and where sines and cosines vanish.
HARD = [0.0, 1e-6, -1e-3, math.pi / 2, math.pi, -math.pi + 1e-4, 2 * math.pi, 10.0]


def of_degree(degree: int) -> Ansatz:
    """The smallest circuit with so many encoding gates."""
    return Ansatz(n_qubits=1, depth=degree, rotations=("ry",))


def with_series(count: int, first: int) -> tuple[Ansatz, str]:
    """A circuit and a readout whose series has these frequencies."""
    ansatz, readout = (of_degree(2 * count - 1), "amplitude") if first else (of_degree(count - 1), "z")
    assert list(doubled_frequencies(ansatz, readout)) == list(range(first, first + 2 * count, 2))
    return ansatz, readout


def random(count: int, heads: int = 3, scores: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Coefficients ``(H, 2, J)`` whose absolute values add up to 1 in each series, and x ``(H, T)`` up to 10 in size."""
    numbers = torch.Generator().manual_seed(count)
    coefficients = torch.randn(heads, 2, count, generator=numbers, dtype=torch.float64)
    coefficients /= coefficients.abs().sum((1, 2), keepdim=True)
    x = torch.rand(heads, scores, generator=numbers, dtype=torch.float64) * 20 - 10
    x[:, : len(HARD)] = torch.tensor(HARD)[: x.shape[1]]
    return coefficients.to(dtype), x.to(dtype)


def reference(coefficients: Tensor, x: Tensor, first: int) -> Tensor:
    return series_reference(*with_series(coefficients.shape[-1], first), coefficients[:, None], x)


# Fast against readable ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "first"), SERIES)
def test_horner_s_rule_gives_the_series_and_its_gradients(count: int, first: int) -> None:
    coefficients, x = (tensor.requires_grad_() for tensor in random(count))
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = {}
    for name, function in (("series", series), ("reference", reference)):
        value = function(coefficients, x, first)
        found[name] = (value, *torch.autograd.grad((value * weights).sum(), (coefficients, x)))
    highest = count - 1 + first / 2
    # Horner's rule: each of J steps rounds a cosine, a sine and two products, 3 eps. Written out: the phase w x is rounded
    # by w |x| eps / 2, the sum by less than J eps. All times the coefficients, which add up to 1.
    atol = (4 * count + 10 * highest) * EPS[torch.float64]
    # A coefficient's gradient adds up 40 scores; a score's has the coefficients times w.
    for ours, theirs, size in zip(found["series"], found["reference"], (1, x.shape[1], max(highest, 1)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=size * atol)


@pytest.mark.parametrize(("count", "first"), [(1, 1), (2, 0), (4, 0), (4, 1)])
def test_first_and_second_derivatives_are_those_of_finite_differences(count: int, first: int) -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in random(count, heads=2, scores=3))

    def call(coefficients: Tensor, x: Tensor) -> Tensor:
        return series(coefficients, x, first)

    assert gradcheck(call, inputs)
    assert gradgradcheck(call, inputs)


@pytest.mark.parametrize("first", [0, 1])
def test_torch_func_transforms_it(first: int) -> None:
    coefficients, x = random(5, heads=2, scores=3)
    # By torch's code, and by the kernel: 5 terms of size 1, each with a few roundings.
    torch.testing.assert_close(
        torch.func.vmap(lambda each: series(coefficients, each, first))(torch.stack([x, 2 * x])),
        torch.stack([series(coefficients, x, first), series(coefficients, 2 * x, first)]),
        rtol=0,
        atol=20 * EPS[torch.float64],
    )

    def loss(x: Tensor) -> Tensor:
        return series(coefficients, x, first).sin().sum()

    # The same sums in another order: a few roundings of second derivatives up to w^2 = 25.
    plain = torch.autograd.functional.hessian(loss, x)
    assert torch.allclose(torch.func.jacrev(torch.func.jacrev(loss))(x), plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("first", [0, 1])
def test_derivatives_of_any_order_are_those_of_the_series_as_written(first: int) -> None:
    count, highest = 5, 4 + first / 2
    coefficients, x = (tensor.requires_grad_() for tensor in random(count, heads=1))
    ours, theirs = series(coefficients, x, first), reference(coefficients, x, first)
    for order in range(1, 5):
        ours, theirs = (torch.autograd.grad(value.sum(), x, create_graph=True)[0] for value in (ours, theirs))
        # As above, with another w for each order.
        atol = (4 * count + 10 * highest) * EPS[torch.float64] * highest**order
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
        mixed = [torch.autograd.grad(value.sum(), coefficients, retain_graph=True)[0] for value in (ours, theirs)]
        torch.testing.assert_close(*mixed, rtol=0, atol=x.numel() * atol)


@pytest.mark.parametrize("first", [0, 1])
def test_gradients_come_for_either_argument_alone(first: int) -> None:
    coefficients, x = random(4)
    c, y = coefficients.clone().requires_grad_(), x.clone().requires_grad_()
    both = torch.autograd.grad(series(c, y, first).sum(), (c, y))
    (of_coefficients,) = torch.autograd.grad(series(c, x, first).sum(), c)
    (of_x,) = torch.autograd.grad(series(coefficients, y, first).sum(), y)
    assert torch.equal(of_coefficients, both[0])
    assert torch.equal(of_x, both[1])


# Rounding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [2, 8, 16, 32, 65])
def test_the_error_in_float32_grows_with_j_and_not_with_its_square(count: int, first: int) -> None:
    coefficients, x = random(count, scores=400, dtype=torch.float32)
    # Also the highest frequency alone, which takes every step of Horner's rule.
    coefficients[0] = 0
    coefficients[0, 1, -1] = 1
    found = series(coefficients, x, first)
    assert found.dtype == torch.float32
    exact = reference(coefficients.double(), x.double(), first)
    # e^{ix} is rounded by less than an eps in length and direction, each of J products by it by sqrt(5) / 2 of one (Brent,
    # Percival, Zimmermann 2007), and each sum by 1 / 2: 3 J eps at most, whatever x. A recurrence in cos x (Clenshaw's,
    # Chebyshev's) has J^2 eps near 0 and pi, and phases w x have J |x| eps.
    assert (found.double() - exact).abs().max() < 3 * count * EPS[torch.float32]


def test_the_error_in_float32_does_not_grow_with_x() -> None:
    # Twice: the phase w x, as written, would be off by 64 * 1e4 * eps / 2 = 0.04.
    coefficients, x = random(65, scores=400, dtype=torch.float32)
    x = x * 1000
    exact = reference(coefficients.double(), x.double(), 0)
    assert (series(coefficients, x, 0).double() - exact).abs().max() < 3 * 65 * EPS[torch.float32]
    assert (reference(coefficients, x, 0).double() - exact).abs().max() > 10 * 3 * 65 * EPS[torch.float32]


# What is kept, and shapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [1, 9, 65])
def test_nothing_but_x_and_the_coefficients_is_kept_for_the_gradient(count: int, first: int) -> None:
    coefficients, x = (tensor.requires_grad_() for tensor in random(count, heads=2, scores=100))
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append((tensor.data_ptr(), tensor.numel()))
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        value = series(coefficients, x, first)
    # Their own memory, no copies of it, and so no more for 65 frequencies than for one.
    assert sorted(kept) == sorted((tensor.data_ptr(), tensor.numel()) for tensor in (coefficients, x))
    value.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("heads", "scores"), [(3, 0), (0, 5), (0, 0)])
def test_no_scores_or_no_heads_give_no_values_and_a_gradient_of_0(heads: int, scores: int, first: int) -> None:
    coefficients = torch.ones(heads, 2, 4, requires_grad=True)
    x = torch.ones(heads, scores, requires_grad=True)
    value = series(coefficients, x, first)
    assert value.shape == (heads, scores)
    value.sum().backward()
    assert torch.equal(coefficients.grad, torch.zeros(heads, 2, 4))
    assert x.grad.shape == (heads, scores)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [1, 5])
def test_its_arguments_are_left_as_found_and_may_have_any_memory_layout(count: int, first: int) -> None:
    coefficients, x = random(count)
    before = coefficients.clone(), x.clone()
    value = series(coefficients, x, first)
    assert torch.equal(coefficients, before[0])
    assert torch.equal(x, before[1])
    strided = series(coefficients.mT.contiguous().mT, x.T.contiguous().T, first)
    # A vectorised cosine and one of the loop's rest may differ by the last bit, J times.
    torch.testing.assert_close(strided, value, rtol=0, atol=2 * count * EPS[torch.float64])
    spread = series(coefficients, x[:, :1].expand(-1, 7), first)
    torch.testing.assert_close(spread, value[:, :1].expand(-1, 7), rtol=0, atol=2 * count * EPS[torch.float64])


# The fit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degree", "readout", "doubled", "count"),
    [
        (1, "amplitude", [1], 2),
        (2, "amplitude", [0, 2], 3),
        (3, "amplitude_one_hot", [1, 3], 4),
        (4, "amplitude_little_endian", [0, 2, 4], 5),
        (1, "z", [0, 2], 3),
        (2, "probability", [0, 2, 4], 5),
        (3, "probability_one_hot", [0, 2, 4, 6], 7),
    ],
)
def test_frequencies_and_nodes_are_those_of_the_paper_s_identity(degree, readout, doubled, count) -> None:
    # D gates of e^{+-ix/2}: an amplitude has D/2, D/2 - 1, ..., a probability or <Z> the differences of two of these.
    ansatz = of_degree(degree)
    assert list(doubled_frequencies(ansatz, readout)) == doubled
    assert node_count(ansatz, readout) == count


@pytest.mark.parametrize(("degree", "readout"), FITS)
def test_there_is_a_node_for_each_free_coefficient(degree: int, readout: str) -> None:
    ansatz = of_degree(degree)
    doubled = list(doubled_frequencies(ansatz, readout))
    # A cosine and a sine for each frequency; frequency 0 has no sine.
    assert node_count(ansatz, readout) == 2 * len(doubled) - (0 in doubled)
    found = nodes(ansatz, readout, dtype=torch.float64, device=torch.device("cpu"))
    count = node_count(ansatz, readout)
    expected = torch.tensor([2 * math.pi * k / count for k in range(count)], dtype=torch.float64)
    # Two ways to round the same quotient, below 2 pi.
    torch.testing.assert_close(found, expected, rtol=2 * EPS[torch.float64], atol=0)


def samples(degree: int, readout: str, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Coefficients ``(rows, 2, J)`` that add up to 1 in absolute value, and their series at the nodes, in float64."""
    ansatz = of_degree(degree)
    doubled = list(doubled_frequencies(ansatz, readout))
    coefficients, _ = random(len(doubled), heads=rows)
    if 0 in doubled:
        coefficients[:, 1, 0] = 0
    count = node_count(ansatz, readout)
    # Phases w x_k reach 64 * 2 pi: written with Python's integers, they are exact to the last rounding.
    phases = [[math.pi * (w * k % (2 * count)) / count for w in doubled] for k in range(count)]
    phase_KJ = torch.tensor(phases, dtype=torch.float64)
    return coefficients, coefficients[:, 0] @ phase_KJ.cos().T + coefficients[:, 1] @ phase_KJ.sin().T


@pytest.mark.parametrize("dtype", list(EPS), ids=str)
@pytest.mark.parametrize(("degree", "readout"), FITS)
def test_a_fit_gives_back_the_coefficients(degree: int, readout: str, dtype: torch.dtype) -> None:
    coefficients, values = samples(degree, readout)
    found = fit(of_degree(degree), readout, values.to(dtype))
    assert (found.shape, found.dtype) == (coefficients.shape, dtype)
    # A coefficient is twice the mean of samples times cosines. A sample is rounded by eps / 2 and a phase of up to 2 pi by
    # 2 pi eps, the sum's roundings average out: at most 2 (2 pi + 1) eps of the samples' mean size, plus the sum's.
    atol = 16 * EPS[dtype] * values.abs().mean().item()
    torch.testing.assert_close(found.double(), coefficients, rtol=0, atol=atol)


@pytest.mark.parametrize(("degree", "readout"), FITS)
def test_one_node_fewer_does_not_see_the_highest_sine(degree: int, readout: str) -> None:
    highest = max(doubled_frequencies(of_degree(degree), readout)) / 2
    count = node_count(of_degree(degree), readout)
    fewer, enough = (2 * torch.pi * torch.arange(n, dtype=torch.float64) / n for n in (count - 1, count))
    # With K - 1 = 2 w nodes sin(w x_k) = sin(pi k): 0 everywhere. The phases are pi k, rounded.
    assert (highest * fewer).sin().abs().max() <= torch.pi * count * EPS[torch.float64]
    # With K nodes it is seen, and its square has the mean 1/2 that an orthogonal function has.
    assert (highest * enough).sin().square().mean().item() == pytest.approx(0.5, rel=1e-12)


def test_eq_2_s_own_circuit_would_be_0_for_a_fit_with_two_nodes() -> None:
    ansatz = of_degree(1)
    angles = torch.zeros(ansatz.angles_shape, dtype=torch.float64)
    # <Z> = -sin x vanishes at 0 and pi; the three nodes find it.
    two = statevector(ansatz, torch.tensor([[0.0], [torch.pi]], dtype=torch.float64), angles, "z")
    assert two.abs().max() <= 4 * EPS[torch.float64]
    node_K = nodes(ansatz, "z", dtype=torch.float64, device=torch.device("cpu"))
    found = fit(ansatz, "z", statevector(ansatz, node_K[:, None], angles, "z").mT)
    minus_sine = torch.tensor([[[0.0, 0.0], [0.0, -1.0]]], dtype=torch.float64)
    torch.testing.assert_close(found, minus_sine, rtol=0, atol=8 * EPS[torch.float64])


def test_a_fit_is_linear_so_that_gradients_pass_through_it() -> None:
    _, values = samples(3, "amplitude")
    assert gradcheck(lambda values: fit(of_degree(3), "amplitude", values), values.requires_grad_())


@pytest.mark.parametrize("readout", ["amplitude", "amplitude_one_hot", "probability", "z"])
@pytest.mark.parametrize("degree", [(1, 3), (2, 2), (3, 2)], ids=str)
def test_fit_and_series_together_are_the_circuit_at_every_score(degree: tuple[int, int], readout: str) -> None:
    n_qubits, depth = degree
    ansatz = Ansatz(n_qubits=n_qubits, depth=depth)
    angles, x = random(12 * n_qubits * depth, heads=1)
    angles = 100 * angles.flatten()[: ansatz.num_parameters].reshape(ansatz.angles_shape)
    node_K = nodes(ansatz, readout, dtype=torch.float64, device=torch.device("cpu"))
    coefficients_Q2J = fit(ansatz, readout, statevector(ansatz, node_K[:, None], angles, readout).mT)
    first = doubled_frequencies(ansatz, readout)[0]
    found = series(coefficients_Q2J, x.expand(n_qubits, -1), first)
    # The promise of ``evaluate``.
    torch.testing.assert_close(found, statevector(ansatz, x.mT, angles, readout).mT, rtol=0, atol=1e-12)
