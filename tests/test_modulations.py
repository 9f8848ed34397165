"""Does each control keep what it should of eq. (2), and take away what it should?"""

import copy
import math

import pytest
import torch
from torch.nn import Parameter

from superpositional import SuperpositionalAdamW
from superpositional.optim.circuit_perturbation import PERTURBATIONS
from superpositional.optim.perturbations import DRAWN, Drawn, constant, cosine, sine

ULP = torch.finfo(torch.float64).eps
CONTROLS = ["cosine", "constant", "random_sign", "shuffled"]


def blocks(seed: int = 0) -> list[list[torch.Tensor]]:
    """Two blocks of 11 and 30 scalars in tensors of several shapes."""
    dice = torch.Generator().manual_seed(seed)
    shapes = [[(2, 3), (5,)], [(1,), (29,)]]
    return [[torch.randn(shape, generator=dice, dtype=torch.float64) for shape in block] for block in shapes]


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def test_every_control_of_the_documentation_is_there_and_no_other() -> None:
    assert {*PERTURBATIONS, *DRAWN} == {"sine", *CONTROLS}


def test_cosine_is_math_cos_and_with_the_sine_has_length_1() -> None:
    found, other = flat(cosine(blocks())), flat(sine(blocks()))
    theta = flat([tensor for block in blocks() for tensor in block])
    expected = torch.tensor([math.cos(math.pi * x) for x in theta.tolist()], dtype=torch.float64)
    # The angle, at most 3 turns here, is rounded once on either side.
    torch.testing.assert_close(found, expected, rtol=0, atol=20 * ULP)
    torch.testing.assert_close(found**2 + other**2, torch.ones_like(found), rtol=0, atol=4 * ULP)


def test_constant_is_1_whatever_the_weight() -> None:
    assert torch.equal(flat(constant(blocks())), torch.ones(41, dtype=torch.float64))


def test_random_sign_has_the_size_of_the_sine_and_half_of_its_signs() -> None:
    drawn = Drawn("random_sign", seed=0)
    size, n, agree = flat(sine(blocks())), 0, 0
    for step in range(500):
        s = flat(drawn(blocks(), (step, 0)))
        assert torch.equal(s.abs(), size.abs())
        agree += int((s.sign() == size.sign()).sum())
        n += len(s)
    # 20,500 fair coins: within 4 standard errors of a half.
    assert abs(agree / n - 0.5) < 4 * 0.5 / math.sqrt(n)


def test_random_sign_is_drawn_anew_at_each_step_and_group_and_again_the_same_for_a_seed() -> None:
    drawn = Drawn("random_sign", seed=0)
    calls = [(0, 0), (1, 0), (0, 1)]
    found = [flat(drawn(blocks(), call)) for call in calls]
    assert all(
        torch.equal(s, flat(Drawn("random_sign", seed=0)(blocks(), call))) for s, call in zip(found, calls, strict=True)
    )
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], flat(Drawn("random_sign", seed=1)(blocks(), calls[0])))


def test_shuffled_has_the_sines_of_its_block_each_at_another_place_and_the_same_at_every_step() -> None:
    drawn = Drawn("shuffled", seed=3)
    for given, found, later in zip(
        [flat(sine([block])) for block in blocks()],
        [flat(drawn([block], (0, 0))) for block in blocks()],
        [flat(drawn([block], (7, 0))) for block in blocks()],
        strict=True,
    ):
        assert torch.equal(given.sort().values, found.sort().values)
        assert not (given == found).any()
        assert torch.equal(found, later)


def test_shuffled_keeps_blocks_apart() -> None:
    together = Drawn("shuffled", seed=3)(blocks(), (0, 0))
    assert torch.equal(flat(together[:2]).sort().values, flat(sine(blocks()[:1])).sort().values)


@pytest.mark.parametrize("kind", sorted(DRAWN))
def test_shapes_and_dtypes_are_those_of_the_weights(kind: str) -> None:
    thetas = [tensor.float() for block in blocks() for tensor in block]
    assert [(s.shape, s.dtype) for s in Drawn(kind, seed=0)([thetas], (0, 0))] == [(t.shape, t.dtype) for t in thetas]


@pytest.mark.parametrize("kind", sorted(DRAWN))
def test_without_a_seed_it_says_so(kind: str) -> None:
    with pytest.raises(ValueError, match=f"seed must be given, got None with perturbation='{kind}'; pass seed=0"):
        Drawn(kind)(blocks(), (0, 0))


def weights() -> list[Parameter]:
    return [Parameter(tensor) for tensor in blocks()[0]]


def take_steps(optimizer: torch.optim.Optimizer, parameters: list[Parameter], steps: range) -> None:
    for t in steps:
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.cos(3 * parameter.detach() + t + index)
        optimizer.step()


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
@pytest.mark.parametrize("inject", ["update", "moments"])
@pytest.mark.parametrize("control", CONTROLS)
def test_in_the_optimizer_a_control_touches_what_the_sine_touches(control: str, inject: str, scope: str) -> None:
    touched = []
    for perturbation in ("sine", control):
        parameters = weights()
        optimizer = SuperpositionalAdamW(parameters, perturbation=perturbation, inject=inject, scope=scope)
        take_steps(optimizer, parameters, range(2))
        touched.append(optimizer.statistics[0]["touched"])
    assert touched[0] == touched[1]


def test_the_constant_is_lambda_g_beside_adamw() -> None:
    one, other = weights(), weights()
    a = SuperpositionalAdamW(one, perturbation="constant", scope="all", quantum_weight=0.3, lr=0.01)
    b = torch.optim.AdamW(other, lr=0.01)
    for t in range(3):
        for parameters in (one, other):
            for index, parameter in enumerate(parameters):
                parameter.grad = torch.full_like(parameter, math.cos(t + index))
        a.step()
        b.step()
    moved = sum(0.01 * 0.3 * math.cos(t) for t in range(3))
    # Weight decay, 1e-4 a step, acts on weights that differ by 1e-3: 1e-7 of the difference.
    torch.testing.assert_close(other[0] - one[0], torch.full_like(one[0], moved), rtol=1e-3, atol=0)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_checkpoint_continues_a_control_bit_for_bit_and_holds_plain_values(control: str, tmp_path) -> None:
    parameters = weights()
    optimizer = SuperpositionalAdamW(parameters, perturbation=control, scope="all")
    take_steps(optimizer, parameters, range(3))
    torch.save({"optimizer": optimizer.state_dict(), "weights": parameters}, tmp_path / "checkpoint")
    there = torch.load(tmp_path / "checkpoint", weights_only=True)
    resumed = [Parameter(weight.detach().clone()) for weight in there["weights"]]
    # Made with another seed, which the checkpoint's replaces.
    again = SuperpositionalAdamW(resumed, perturbation=control, scope="all")
    again.load_state_dict(copy.deepcopy(there["optimizer"]))
    take_steps(optimizer, parameters, range(3, 6))
    take_steps(again, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(parameters, resumed, strict=True))


@pytest.mark.parametrize("kind", sorted(DRAWN))
def test_the_seed_comes_from_torchs_generator_once(kind: str) -> None:
    seeds = []
    for _ in range(2):
        torch.manual_seed(5)
        seeds.append(SuperpositionalAdamW(weights(), perturbation=kind).param_groups[0]["perturbation"]["seed"])
    assert seeds[0] == seeds[1]
    assert SuperpositionalAdamW(weights(), perturbation=kind).param_groups[0]["perturbation"]["seed"] != seeds[0]
