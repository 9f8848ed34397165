"""Does the tracer say what AdamW alone would have done, and what the arm did beyond it?"""

import copy
import math

import pytest
import torch
from torch.nn import Parameter
from torch.optim.optimizer import register_optimizer_step_post_hook

from superpositional import SuperpositionalAdamW
from superpositional.optim.placebo import PlaceboAdamW
from superpositional.optim.tracer import Tracer, _angle


def weights(dtype: torch.dtype = torch.float64) -> list[Parameter]:
    dice = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, generator=dice, dtype=torch.float64).to(dtype)) for shape in ((2, 3), (5,))]


def take_steps(optimizer: torch.optim.Optimizer, parameters: list[Parameter], steps: int, *, closure: bool = False) -> None:
    for t in range(steps):

        def backward(t: int = t) -> float:
            for index, parameter in enumerate(parameters):
                parameter.grad = torch.cos(3 * parameter.detach() + t + index)
            return 0.0

        if closure:
            optimizer.step(backward)
        else:
            backward()
            optimizer.step()


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        torch.optim.Adam,
        lambda params: torch.optim.Adam(params, weight_decay=0.1, amsgrad=True, foreach=True),
        torch.optim.AdamW,
        lambda params: torch.optim.AdamW(params, maximize=True, lr=0.1),
        lambda params: torch.optim.AdamW(params, fused=True),
        lambda params: SuperpositionalAdamW(params, quantum_weight=0.0),
        lambda params: SuperpositionalAdamW(params, quantum_weight=0.0, bias_correction=False),
    ],
)
def test_an_adam_differs_from_itself_by_nothing_bit_for_bit(make, closure: bool) -> None:
    parameters = weights(torch.float32)
    optimizer = make(parameters)
    with Tracer(optimizer) as tracer:
        take_steps(optimizer, parameters, 4, closure=closure)
    assert [(trace.step, trace.share, trace.angle, trace.changed, trace.scalars) for trace in tracer.traces] == [
        (step, 0.0, 0.0, 0, 11) for step in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_the_numbers_that_the_optimizer_leaves_are_the_tracers(scope: str, bias_correction: bool) -> None:
    parameters = weights()
    optimizer = SuperpositionalAdamW(parameters, scope=scope, stats_every=1, bias_correction=bias_correction, lr=0.01)
    for _ in range(5):
        with Tracer(optimizer) as tracer:
            take_steps(optimizer, parameters, 1)
        (trace,), statistics = tracer.traces, optimizer.statistics[0]
        # Norms are summed in float32 there.
        assert trace.share == pytest.approx(float(statistics["share"]), rel=2e-6)
        assert trace.angle == pytest.approx(float(statistics["angle"]), rel=1e-5)
        assert (trace.touched, trace.changed) == (statistics["touched"], int(statistics["changed"]))


def test_for_moments_it_is_the_step_of_a_copy_without_the_term() -> None:
    parameters = weights()
    optimizer = SuperpositionalAdamW(parameters, inject="moments", scope="all", lr=0.01, quantum_weight=2.0)
    take_steps(optimizer, parameters, 3)
    before = [parameter.detach().clone() for parameter in parameters]
    pure = copy.deepcopy(optimizer)
    pure.param_groups[0]["quantum_weight"] = 0.0
    with Tracer(optimizer) as tracer:
        take_steps(optimizer, parameters, 1)
    take_steps(pure, pure.param_groups[0]["params"], 1)
    update, adamw = (
        torch.cat([(after.detach() - start).reshape(-1) for after, start in zip(group, before, strict=True)])
        for group in (parameters, pure.param_groups[0]["params"])
    )
    (trace,) = tracer.traces
    assert trace.share == pytest.approx(float((update - adamw).norm() / update.norm()), rel=1e-9)
    cosine = float(update @ adamw / (update.norm() * adamw.norm()))
    # An arc cosine near 1 loses half of the digits.
    assert trace.angle == pytest.approx(math.degrees(math.acos(cosine)), rel=1e-6)


def test_a_term_below_the_rounding_of_the_weights_changes_none_of_them() -> None:
    parameters = weights(torch.float32)
    optimizer = SuperpositionalAdamW(parameters, scope="all", quantum_weight=1e-9)
    with Tracer(optimizer) as tracer:
        take_steps(optimizer, parameters, 2)
    assert [(trace.touched, trace.changed, trace.share) for trace in tracer.traces] == [(11, 0, 0.0)] * 2


def test_the_placebo_is_one_scalar_in_one_step() -> None:
    parameters = weights(torch.float32)
    optimizer = PlaceboAdamW(parameters)
    with Tracer(optimizer) as tracer:
        take_steps(optimizer, parameters, 3)
    assert [trace.changed for trace in tracer.traces] == [1, 0, 0]
    # One unit in the last place of a weight below 2, over a first step of sqrt(11) lr.
    assert 0 < tracer.traces[0].share < 2 * torch.finfo(torch.float32).eps / (1e-3 * math.sqrt(11))


def test_it_samples_every_so_many_steps_and_leaves_the_run_as_it_was() -> None:
    one, other = weights(), weights()
    a, b = SuperpositionalAdamW(one), SuperpositionalAdamW(other)
    with Tracer(a, every=3) as tracer:
        take_steps(a, one, 8)
    take_steps(b, other, 8)
    assert [trace.step for trace in tracer.traces] == [1, 4, 7]
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    take_steps(a, one, 1)
    assert len(tracer.traces) == 3


def test_a_hook_on_all_optimizers_hears_of_no_other_step() -> None:
    parameters = weights()
    optimizer = SuperpositionalAdamW(parameters, bias_correction=False)
    heard = []
    hook = register_optimizer_step_post_hook(lambda *_: heard.append(1))
    try:
        with Tracer(optimizer) as tracer:
            take_steps(optimizer, parameters, 3)
    finally:
        hook.remove()
    assert len(heard) == len(tracer.traces) == 3


def test_a_weight_without_a_gradient_counts_for_nothing() -> None:
    parameters = [*weights(), Parameter(torch.ones(7, dtype=torch.float64))]
    optimizer = SuperpositionalAdamW(parameters)
    with Tracer(optimizer) as tracer:
        take_steps(optimizer, parameters[:2], 1)
    assert tracer.traces[0].scalars == 11


@pytest.mark.parametrize("degrees", [1e-9, 1e-3, 30.0, 90.0, 150.0])
def test_angles_keep_their_digits_however_small(degrees: float) -> None:
    turn = math.radians(degrees)
    # p = (1, 0), p + q at the angle: q.q and q.p in closed form, without cancellation.
    product = -2 * math.sin(turn / 2) ** 2
    assert _angle(1.0, 4 * math.sin(turn / 2) ** 2, product) == pytest.approx(degrees, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: Tracer(torch.optim.SGD(p, lr=0.1)), "optimizer must be torch's Adam or AdamW to be traced, .* got SGD"),
        (lambda p: Tracer(torch.optim.NAdam(p)), "optimizer must be torch's Adam or AdamW to be traced, .* got NAdam"),
        (lambda p: Tracer(torch.optim.AdamW(p), every=0), "every must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_its_cure(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(weights())
