"""Is the modulation sin(pi theta), at every size of theta (Pamuk et al. 2025, eq. 2)?"""

import math

import pytest
import torch

from superpositional.optim.circuit_perturbation import PERTURBATIONS, sine

# 2**-23 and 2**-52: the distance of 1 to its neighbour.
ULP = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}


def one(theta: torch.Tensor) -> torch.Tensor:
    (modulation,) = sine([[theta]])
    return modulation


def exact(theta: torch.Tensor) -> torch.Tensor:
    """sin(pi theta) of the very numbers given, in float64; math.fmod is exact, so no digit of theta is lost."""
    return torch.tensor([math.sin(math.pi * math.fmod(x, 2)) for x in theta.double().tolist()], dtype=torch.float64)


def random(size: float, dtype: torch.dtype) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    return (torch.randn(1000, generator=numbers, dtype=torch.float64) * size).to(dtype)


def test_sine_is_the_default_reading_of_equation_2():
    assert PERTURBATIONS["sine"] is sine


@pytest.mark.parametrize(
    ("theta", "expected"),
    [(0.0, 0.0), (0.5, 1.0), (-0.5, -1.0), (1 / 6, 0.5), (2.5, 1.0), (-7.5, 1.0), (1.25, -math.sqrt(0.5))],
)
def test_sine_has_the_values_known_by_heart(theta, expected):
    # Two roundings, of pi * theta with |pi * theta| <= pi and of the sine: under pi + 1 half ulps of 1.
    assert one(torch.tensor([theta], dtype=torch.float64)).item() == pytest.approx(
        expected, rel=0, abs=3 * ULP[torch.float64]
    )


def test_sine_is_math_sin_in_float64():
    theta = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    expected = torch.tensor([math.sin(math.pi * x) for x in theta.tolist()], dtype=torch.float64)
    # Both round pi * theta alike; torch's vectorised sine is good to 1 ulp of its value, which is at most 1.
    torch.testing.assert_close(one(theta), expected, rtol=0, atol=2 * ULP[torch.float64])


@pytest.mark.parametrize("dtype", list(ULP), ids=str)
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e3, 1e6, 1e9])
def test_no_digit_is_lost_at_any_size_of_the_weight(size, dtype):
    theta = random(size, dtype)
    # The reduction is exact. What is left: pi is off by up to half an ulp, so is the product, each at most pi * ulp / 2
    # where the angle is pi, and 1 ulp for the sine itself: pi + 1 ulps.
    torch.testing.assert_close(one(theta).double(), exact(theta), rtol=0, atol=(math.pi + 1) * ULP[dtype])


def test_without_the_reduction_float32_would_have_lost_its_digits():
    # Why the reduction is there: the claim above is not one that torch.sin meets by itself.
    theta = random(1e6, torch.float32)
    assert (torch.sin(torch.pi * theta).double() - exact(theta)).abs().max() > 0.01


@pytest.mark.parametrize("dtype", list(ULP), ids=str)
def test_small_weights_keep_their_relative_precision(dtype):
    theta = random(1e-3, dtype)
    # Roundings of pi, of the product and of the sine, all relative to the value when the angle is small.
    torch.testing.assert_close(one(theta).double(), exact(theta), rtol=3 * ULP[dtype], atol=0)


@pytest.mark.parametrize("dtype", list(ULP), ids=str)
def test_whole_weights_give_0_within_rounding(dtype):
    theta = torch.cat([torch.arange(-50.0, 51.0), torch.tensor([1e3 + 1, 1e6 + 1, 2.0**23 + 1])]).to(dtype)
    found = one(theta)
    # Odd ones: sin of the rounded pi is how far pi was rounded, at most 2 ulps of 1.
    assert found.abs().max() <= 2 * ULP[dtype]
    assert (found[theta % 2 == 0] == 0).all()


@pytest.mark.parametrize("dtype", list(ULP), ids=str)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_sine_is_odd_exactly(size, dtype):
    # Halves and whole numbers too, where the reduction rounds ties.
    theta = torch.cat([random(size, dtype), torch.arange(-20, 21).to(dtype) / 2])
    assert torch.equal(one(-theta), -one(theta))


def test_sine_never_leaves_the_interval_from_minus_1_to_1():
    theta = torch.cat([random(1.0, torch.float32), torch.arange(-99.5, 100)])
    assert one(theta).abs().max() <= 1


def test_sine_leaves_its_input_as_found():
    thetas = [random(3.0, torch.float32), torch.tensor(0.3), torch.ones(2, 3).t()]
    before = [theta.clone() for theta in thetas]
    sine([thetas])
    for theta, found in zip(thetas, before, strict=True):
        assert torch.equal(theta, found)


def test_sine_keeps_shapes_and_dtypes_and_acts_on_each_scalar_alone():
    theta = random(3.0, torch.float64)[:12]
    thetas = [theta.reshape(3, 4), theta.reshape(4, 3).t(), theta[0], theta.float()]
    found = sine([thetas])
    for before, after in zip(thetas, found, strict=True):
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        # A vectorised sine and one scalar at a time may differ by the last bit.
        alone = torch.stack([one(x) for x in before.reshape(-1)]).reshape(before.shape)
        torch.testing.assert_close(after, alone, rtol=0, atol=ULP[before.dtype])


@pytest.mark.parametrize("n_qubits", [1, 4, 100])
def test_the_number_of_qubits_does_not_change_the_sine(n_qubits):
    theta = random(1.0, torch.float32)
    assert torch.equal(sine([[theta]])[0], one(theta))
