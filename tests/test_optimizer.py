"""Does SuperpositionalAdamW keep torch's optimizer contract and the paper's equations?

One table of inputs and one of error inputs drive every test, in the manner of torch's own OptimizerInfo.
"""

import copy
import io
import json
import math
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from superpositional import SuperpositionalAdamW
from superpositional.optim.placebo import PlaceboAdamW
from superpositional.optim.reference import SuperpositionalAdamWReference
from superpositional.optim.schedules import QuantumWeightScheduler, WarmupDecay

# Every claim here holds for both.
pytestmark = pytest.mark.usefixtures("either_way")
OURS = ("quantum_weight", "n_qubits", "scope", "perturbation", "inject", "bias_correction", "stats_every")


@dataclass(frozen=True)
class Input:
    """One row of the table: keyword arguments under a name."""

    name: str
    kwargs: dict = field(default_factory=dict)


INPUTS = [
    Input("default"),
    Input("lambda_0.1", {"quantum_weight": 0.1, "lr": 0.01}),
    Input("scope_tensor", {"scope": "tensor"}),
    Input("scope_all", {"scope": "all"}),
    Input("one_qubit", {"n_qubits": 1}),
    Input("across_tensors", {"n_qubits": 9}),
    Input("moments", {"inject": "moments"}),
    Input("moments_all", {"inject": "moments", "scope": "all"}),
    Input("no_bias_correction", {"bias_correction": False}),
    Input("no_bias_correction_beta_0", {"bias_correction": False, "betas": (0.0, 0.999)}),
    Input("moments_no_bias_correction", {"inject": "moments", "bias_correction": False, "scope": "tensor"}),
    Input("weight_decay", {"weight_decay": 0.3, "scope": "all"}),
    Input("amsgrad", {"amsgrad": True}),
    Input("maximize", {"maximize": True}),
    Input("maximize_moments", {"maximize": True, "inject": "moments", "scope": "tensor"}),
    Input("everything", {"amsgrad": True, "maximize": True, "bias_correction": False, "scope": "all", "weight_decay": 0.1}),
]
IMPLEMENTATIONS = [{"foreach": False}, {"foreach": True}, {"fused": True}]

ERROR_INPUTS = [
    ({"quantum_weight": -1}, "quantum_weight must be a finite number >= 0, got -1; 0 recovers AdamW"),
    ({"quantum_weight": math.nan}, "quantum_weight must be a finite number >= 0, got nan"),
    ({"quantum_weight": "high"}, "quantum_weight must be a finite number >= 0, got 'high'"),
    ({"quantum_weight": True}, "quantum_weight must be a finite number >= 0, got True"),
    ({"lr": -0.1}, "lr must be a finite number >= 0, got -0.1"),
    ({"eps": -1e-8}, "eps must be a finite number >= 0, got -1e-08"),
    ({"weight_decay": -1}, "weight_decay must be a finite number >= 0, got -1"),
    ({"betas": (1.0, 0.9)}, "betas must be two numbers in [0, 1), got (1.0, 0.9)"),
    ({"betas": (0.9,)}, "betas must be two numbers in [0, 1), got (0.9,)"),
    ({"betas": 0.9}, "betas must be two numbers in [0, 1), got 0.9"),
    ({"n_qubits": 0}, "n_qubits must be an integer >= 1, got 0"),
    ({"n_qubits": 2.0}, "n_qubits must be an integer >= 1, got 2.0"),
    ({"n_qubits": 12}, "n_qubits must be at most the number of scalars to optimize, 11, got 12"),
    ({"n_qubits": 12, "scope": "tensor"}, "n_qubits must be at most the number of scalars to optimize, 11, got 12"),
    ({"scope": "layer"}, "scope must be one of model, tensor, all, got 'layer'"),
    (
        {"perturbation": "tangent"},
        "perturbation must be one of sine, cosine, constant, random_sign, shuffled, a CircuitPerturbation or a callable "
        "(theta, gradient, generator) -> Q, got 'tangent'",
    ),
    ({"perturbation": {"kind": "sheared"}}, "a modulation that draws must be one of random_sign, shuffled, got 'sheared'"),
    ({"perturbation": {"kind": "shuffled", "seed": -1}}, "seed must be an integer >= 0, got -1"),
    ({"perturbation": "random_sign", "capturable": True}, "capturable must be false with perturbation='random_sign'"),
    ({"inject": "gradient"}, "inject must be one of update, moments, got 'gradient'"),
    ({"bias_correction": "yes"}, "bias_correction must be true or false, got 'yes'"),
    ({"stats_every": 0}, "stats_every must be an integer >= 1, got 0"),
]


def parameters(dtype: torch.dtype = torch.float64) -> list[Parameter]:
    """Two tensors of 6 and 5 scalars, whose rows are shorter than some registers."""
    numbers = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, generator=numbers, dtype=torch.float64).to(dtype)) for shape in ((2, 3), (5,))]


def set_gradients(weights: list[Parameter], t: int) -> None:
    """A gradient that depends on the weights, so that a difference in one step shows in the next."""
    for index, weight in enumerate(weights):
        weight.grad = torch.cos(3 * weight.detach() + t + index)


def train(optimizer: torch.optim.Optimizer, weights: list[Parameter], steps: int, start: int = 0) -> None:
    for t in range(start, start + steps):
        set_gradients(weights, t)
        optimizer.step()


def bits(tensor: Tensor) -> Tensor:
    """The integer view: tells -0.0 from +0.0 and one NaN from another."""
    return tensor.detach().contiguous().view({8: torch.int64, 4: torch.int32, 2: torch.int16}[tensor.dtype.itemsize])


def assert_same_bits(one: list[Tensor], other: list[Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        assert torch.equal(bits(a), bits(b))


def state_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [tensor for state in optimizer.state.values() for _, tensor in sorted(state.items())]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=str)
@pytest.mark.parametrize("row", INPUTS, ids=lambda row: row.name)
def test_equals_the_readable_reference(row: Input, implementation: dict) -> None:
    fast, plain = parameters(), parameters()
    train(SuperpositionalAdamW(fast, **row.kwargs, **implementation), fast, 50)
    train(SuperpositionalAdamWReference(plain, **row.kwargs), plain, 50)
    # float64 throughout: 50 steps of a few roundings each on weights of order 1.
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"amsgrad": True}, {"maximize": True}, {"weight_decay": 0.1}, {"lr": 0.3}], ids=str)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=str)
@pytest.mark.parametrize("inject", ["update", "moments"])
def test_quantum_weight_0_is_torch_adamw_bit_for_bit(inject: str, implementation: dict, kwargs: dict, dtype) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    for weights in (ours, theirs):
        # What an added 0 * Q would destroy.
        weights[0].data[0, 0] = -0.0
        weights[0].data[0, 1] = math.inf

    def groups(weights: list[Parameter]) -> list[dict]:
        return [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.01}]

    a = SuperpositionalAdamW(groups(ours), quantum_weight=0, scope="all", inject=inject, **kwargs, **implementation)
    b = torch.optim.AdamW(groups(theirs), **kwargs, **implementation)
    train(a, ours, 100)
    train(b, theirs, 100)
    assert_same_bits(ours, theirs)
    assert_same_bits(state_tensors(a), state_tensors(b))


def test_a_tensor_quantum_weight_of_0_is_torch_adamw_bit_for_bit() -> None:
    for inject in ("update", "moments"):
        ours, theirs = parameters(), parameters()
        for weights in (ours, theirs):
            weights[0].data[0, 0] = -0.0
            weights[0].data[0, 1] = math.inf
        train(SuperpositionalAdamW(ours, quantum_weight=torch.tensor(0.0), scope="all", inject=inject), ours, 20)
        train(torch.optim.AdamW(theirs), theirs, 20)
        assert_same_bits(ours, theirs)


def test_the_first_step_without_bias_correction_is_sqrt_10_times_lr() -> None:
    weight = Parameter(torch.zeros(1, dtype=torch.float64))
    weight.grad = torch.ones_like(weight)
    SuperpositionalAdamW([weight], lr=1e-3, eps=0, n_qubits=1, bias_correction=False).step()
    # (1 - .9) / sqrt(1 - .999), paper.md: "its first step is about 3.16 lr". A zero weight has sin(0) = 0.
    torch.testing.assert_close(weight.item(), -1e-3 * 0.1 / math.sqrt(0.001), rtol=1e-12, atol=0)


def test_one_step_is_equation_1() -> None:
    weight = Parameter(torch.tensor([0.25, 0.5, -1.5, 0.1], dtype=torch.float64))
    weight.grad = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64)
    before = weight.detach().clone()
    SuperpositionalAdamW([weight], lr=0.1, eps=0, weight_decay=0, quantum_weight=0.5, n_qubits=3).step()
    # Adam's first bias-corrected step is lr * sign(g); sin(pi theta) = 1/sqrt(2), 1, 1 and the fourth is out of scope.
    q = torch.tensor([1 / math.sqrt(2) * 1, 1 * -2, 1 * 3, 0], dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(weight.detach(), before - 0.1 * (sign + 0.5 * q), rtol=1e-12, atol=0)


def test_moments_leave_the_gradient_as_found() -> None:
    weights = parameters()
    set_gradients(weights, 0)
    found = [weight.grad.clone() for weight in weights]
    optimizer = SuperpositionalAdamW(weights, inject="moments", scope="all")
    optimizer.step()
    assert_same_bits([weight.grad for weight in weights], found)
    g, theta = found[1], parameters()[1].detach()
    # m after one step: (1 - beta1) of the modulated gradient; two roundings.
    torch.testing.assert_close(
        optimizer.state[weights[1]]["exp_avg"], 0.1 * (1 + 0.5 * torch.sin(math.pi * theta)) * g, rtol=1e-14, atol=1e-16
    )


def test_moments_restore_the_gradient_when_the_step_raises() -> None:
    weights = parameters()
    set_gradients(weights, 0)
    found = [weight.grad.clone() for weight in weights]
    optimizer = SuperpositionalAdamW(weights, inject="moments", scope="all", bias_correction=False)
    optimizer.param_groups[0]["betas"] = None
    with pytest.raises(TypeError):
        optimizer.step()
    assert_same_bits([weight.grad for weight in weights], found)


@pytest.mark.parametrize("row", INPUTS, ids=lambda row: row.name)
def test_a_state_dict_round_trip_continues_bit_for_bit(row: Input) -> None:
    straight, stopped = parameters(), parameters()
    whole = SuperpositionalAdamW(straight, **row.kwargs)
    train(whole, straight, 30)
    first = SuperpositionalAdamW(stopped, **row.kwargs)
    train(first, stopped, 10)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = SuperpositionalAdamW(stopped, lr=7.0, quantum_weight=7.0)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(second, stopped, 20, start=10)
    assert_same_bits(straight, stopped)
    assert_same_bits(state_tensors(whole), state_tensors(second))
    assert whole.statistics[0]["step"] == second.statistics[0]["step"] == 30


def test_takes_over_a_checkpoint_of_torch_adamw() -> None:
    weights = parameters()
    theirs = torch.optim.AdamW(weights, lr=0.02)
    train(theirs, weights, 5)
    ours = SuperpositionalAdamW(weights, quantum_weight=0.25, scope="tensor")
    ours.load_state_dict(theirs.state_dict())
    assert {key: ours.param_groups[0][key] for key in OURS} == {key: ours.defaults[key] for key in OURS}
    assert ours.param_groups[0]["lr"] == 0.02
    before = [weight.detach().clone() for weight in weights]
    train(ours, weights, 1, start=5)
    assert all(not torch.equal(a, b) for a, b in zip(before, weights, strict=True))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_steps_as_the_original_does(clone) -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights, scope="tensor", bias_correction=False)
    train(optimizer, weights, 3)
    other = clone(optimizer)
    copied = other.param_groups[0]["params"]
    train(optimizer, weights, 3, start=3)
    train(other, copied, 3, start=3)
    assert_same_bits(weights, copied)


def test_groups_added_later_have_their_own_settings_and_never_move_the_scope_of_the_first() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights[:1], quantum_weight=0.5)
    optimizer.add_param_group({"params": weights[1:], "lr": 0.5})
    train(optimizer, weights, 1)
    assert optimizer.statistics[0]["touched"] == 4
    assert optimizer.statistics[1] == {"step": 1}
    assert {key: optimizer.param_groups[1][key] for key in OURS} == {key: optimizer.defaults[key] for key in OURS}
    for settings, message in (
        ({"quantum_weight": -2}, "quantum_weight must be a finite number >= 0, got -2"),
        ({"n_qubits": 100}, "n_qubits must be at most the number of scalars to optimize, 13, got 100"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.add_param_group({"params": [Parameter(torch.ones(2))], **settings})
        assert len(optimizer.param_groups) == 2


def test_numpy_scalars_are_numbers() -> None:
    one, other = parameters(), parameters()
    a = SuperpositionalAdamW(one, lr=np.float64(0.01), quantum_weight=np.float32(0.5), n_qubits=np.int64(3))
    train(a, one, 5)
    train(SuperpositionalAdamW(other, lr=0.01, quantum_weight=0.5, n_qubits=3), other, 5)
    assert_same_bits(one, other)


def test_quantum_weight_0_asks_for_no_register() -> None:
    weight = Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    SuperpositionalAdamW([weight], quantum_weight=0, n_qubits=4).step()
    assert (weight < 1).all()


def test_each_group_has_its_own_weight_and_scope() -> None:
    ours, plain = parameters(), parameters()

    def groups(weights: list[Parameter]) -> list[dict]:
        return [
            {"params": weights[:1], "quantum_weight": 0.9, "scope": "all"},
            {"params": weights[1:], "quantum_weight": 0.1, "scope": "tensor", "inject": "moments"},
        ]

    train(SuperpositionalAdamW(groups(ours)), ours, 20)
    train(SuperpositionalAdamWReference(groups(plain)), plain, 20)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("scope", "expected"), [("model", [3, 1]), ("tensor", [3, 2]), ("all", [3, 2])])
def test_scope_counts_the_first_scalars_of_the_model_of_each_tensor_or_all(scope: str, expected: list[int]) -> None:
    weights = [Parameter(torch.full((size,), 0.5)) for size in (3, 2)]
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer = SuperpositionalAdamW(weights, lr=1.0, weight_decay=0, eps=0, quantum_weight=0.5, scope=scope, n_qubits=4)
    optimizer.step()
    # Adam moves each by exactly lr = 1, the term by another 0.5 * sin(pi / 2).
    moved = [int((before - after.detach() > 1.25).sum()) for before, after in zip(before, weights, strict=True)]
    assert moved == expected
    assert optimizer.statistics[0]["touched"] == sum(expected)


def test_the_first_scalars_are_logical_whatever_the_memory_layout() -> None:
    for layout in (torch.channels_last, torch.contiguous_format):
        weight = Parameter(torch.full((2, 3, 2, 2), 0.5).to(memory_format=layout))
        weight.grad = torch.ones_like(weight)
        SuperpositionalAdamW([weight], lr=1.0, weight_decay=0, n_qubits=7).step()
        moved = (0.5 - weight.detach() > 1.25).reshape(-1)
        assert moved.nonzero().reshape(-1).tolist() == list(range(7))


def test_zero_and_missing_gradients_are_counted_and_skipped() -> None:
    weights = parameters()
    set_gradients(weights, 0)
    weights[0].grad = None
    weights[1].grad[0] = 0
    optimizer = SuperpositionalAdamW(weights, scope="tensor")
    before = weights[0].detach().clone()
    optimizer.step()
    statistics = optimizer.statistics[0]
    assert torch.equal(weights[0], before)
    assert statistics["touched"] == 4
    assert statistics["nonzero_gradient"] == 3
    for weight in weights:
        weight.grad = None
    optimizer.step()
    assert optimizer.statistics[0]["step"] == 1


def test_a_closure_is_evaluated_once_with_gradients_and_its_loss_returned() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights)
    calls = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((weight**2).sum() for weight in weights)
        loss.backward()
        calls.append(loss)
        return loss

    assert optimizer.step(closure) is calls[0]
    assert len(calls) == 1


def test_step_hooks_run_once_even_after_torch_has_wrapped_adamw() -> None:
    torch.optim.AdamW([Parameter(torch.ones(1))])
    for make in (SuperpositionalAdamW, PlaceboAdamW):
        weights = parameters()
        optimizer = make(weights)
        calls = []
        optimizer.register_step_pre_hook(lambda *_, calls=calls: calls.append("pre"))
        optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append("post"))
        train(optimizer, weights, 1)
        assert calls == ["pre", "post"]


def test_sparse_gradients_are_refused_by_name() -> None:
    weight = Parameter(torch.ones(4, 2))
    weight.grad = torch.sparse_coo_tensor([[0], [1]], [1.0], (4, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        SuperpositionalAdamW([weight]).step()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        SuperpositionalAdamW([weight], quantum_weight=0).step()


def test_a_refused_gradient_leaves_the_step_counts_of_other_groups() -> None:
    weights, embedding = parameters(), Parameter(torch.ones(4, 2, dtype=torch.float64))
    optimizer = SuperpositionalAdamW([{"params": weights}, {"params": [embedding]}], bias_correction=False)
    train(optimizer, weights, 2)
    embedding.grad = torch.sparse_coo_tensor([[0], [1]], [1.0], (4, 2), dtype=torch.float64, check_invariants=True)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer.step()
    assert [float(optimizer.state[weight]["step"]) for weight in weights] == [2, 2]


@pytest.mark.parametrize("inject", ["update", "moments"])
def test_a_complex_parameter_is_two_real_ones(inject: str) -> None:
    real = Parameter(torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    compound = Parameter(torch.view_as_complex(real.detach().clone()))
    a = SuperpositionalAdamW([real], n_qubits=3, inject=inject, stats_every=1)
    b = SuperpositionalAdamW([compound], n_qubits=3, inject=inject, stats_every=1)
    for t in range(10):
        real.grad = torch.cos(real.detach() + t)
        compound.grad = torch.view_as_complex(torch.cos(torch.view_as_real(compound.detach()) + t))
        a.step()
        b.step()
    # The same arithmetic on the same numbers; Adam's complex kernels may contract multiply-adds differently.
    torch.testing.assert_close(torch.view_as_real(compound), real, rtol=1e-14, atol=1e-14)
    for key in ("ratio", "cosine", "step_norm", "perturbation_norm"):
        one, other = (optimizer.statistics[0][key] for optimizer in (a, b))
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_tensor_lr_equals_the_same_float() -> None:
    one, other = parameters(), parameters()
    train(SuperpositionalAdamW(one, lr=torch.tensor(0.01, dtype=torch.float64), foreach=False), one, 20)
    train(SuperpositionalAdamW(other, lr=0.01, foreach=False), other, 20)
    # A 0-dim tensor takes part in the same float64 products.
    torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-14)


def test_torch_schedulers_drive_lr_and_ours_drives_quantum_weight() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(
        [{"params": weights[:1]}, {"params": weights[1:], "quantum_weight": torch.tensor(0.25)}],
        lr=0.1,
        quantum_weight=0.5,
    )
    lr = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupDecay(total_steps=4))
    schedule = QuantumWeightScheduler(optimizer, WarmupDecay(warmup_steps=2, total_steps=4))
    seen = [schedule.get_last_weight()]
    for t in range(4):
        train(optimizer, weights, 1, start=t)
        lr.step()
        schedule.step()
        seen.append(schedule.get_last_weight())
    assert seen == [[0, 0], [0.25, 0.125], [0.5, 0.25], [0.25, 0.125], [0, 0]]
    assert optimizer.param_groups[0]["lr"] == 0
    state = schedule.state_dict()
    again = QuantumWeightScheduler(optimizer, WarmupDecay(warmup_steps=2, total_steps=5))
    again.load_state_dict(state)
    assert again.get_last_weight() == [pytest.approx(0.5 / 3), pytest.approx(0.25 / 3)]
    with pytest.raises(ValueError, match="needs an optimizer with a quantum_weight, got AdamW"):
        QuantumWeightScheduler(torch.optim.AdamW(weights), WarmupDecay())
    with pytest.raises(ValueError, match="warmup_steps must be >= 0 and below total_steps, got 5 and 5"):
        WarmupDecay(5, 5)


@pytest.mark.parametrize(("kwargs", "message"), ERROR_INPUTS, ids=lambda value: str(value)[:50])
def test_bad_input_is_refused_with_value_and_cure(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SuperpositionalAdamW(parameters(), **kwargs)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"^lr .*\nquantum_weight .*\nn_qubits .*\nscope .*$"):
        SuperpositionalAdamW(parameters(), lr=-1, quantum_weight=-2, scope="rows", n_qubits=0)


def test_half_precision_weights_take_the_term_of_a_float32_angle() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        half = Parameter(torch.tensor([0.3, 0.7, 1.1, -0.4], dtype=dtype))
        half.grad = torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=dtype)
        twin = Parameter(half.detach().float())
        twin.grad = half.grad.float()
        SuperpositionalAdamW([half], lr=0.1, stats_every=1).step()
        SuperpositionalAdamW([twin], lr=0.1).step()
        # Two roundings to half precision, of AdamW's step and of the term, to weights below 2.
        torch.testing.assert_close(half.detach().float(), twin.detach(), rtol=0, atol=2 * torch.finfo(dtype).eps)


# Statistics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=str)
@pytest.mark.parametrize("row", INPUTS, ids=lambda row: row.name)
def test_statistics_equal_what_copies_of_the_weights_show(row: Input, implementation: dict) -> None:
    weights, shadow = parameters(), parameters()
    optimizer = SuperpositionalAdamW(weights, **{"weight_decay": 0.05, "stats_every": 1, **row.kwargs}, **implementation)
    for t in range(3):
        set_gradients(weights, t)
        before = copy.deepcopy(optimizer)
        for original, clone, twin in zip(weights, before.param_groups[0]["params"], shadow, strict=True):
            clone.grad = original.grad.clone()
            twin.data.copy_(original.data)
        optimizer.step()
        pure = before
        group = pure.param_groups[0]
        update = group["inject"] == "update"
        if update:
            group["quantum_weight"] = 0.0
        pure.step()
        statistics = optimizer.statistics[0]
        gradient = torch.cat([weight.grad.reshape(-1) for weight in weights])
        start = torch.cat([twin.detach().reshape(-1) for twin in shadow])
        adamw = torch.cat([clone.detach().reshape(-1) for clone in group["params"]]) - start
        count = {"model": group["n_qubits"], "all": 11, "tensor": None}[group["scope"]]
        mask = (torch.arange(11) < count) if count else torch.cat([torch.arange(6) < 4, torch.arange(5) < 4])
        q = group_weight(row) * torch.sin(math.pi * start) * gradient * mask
        if update:
            term, against = -group["lr"] * q * (-1 if group["maximize"] else 1), adamw
        else:
            term, against = q, gradient
        # Norms are float32 sums of a few float64 numbers; the displacement is worked back through one division.
        close = {"rtol": 2e-6, "atol": 1e-9}
        assert statistics["touched"] == int(mask.sum())
        assert statistics["nonzero_gradient"] == int(mask.sum())
        assert statistics["changed"] == int(mask.sum())
        torch.testing.assert_close(float(statistics["perturbation_norm"]), float(q.norm()), **close)
        torch.testing.assert_close(float(statistics["step_norm"]), float(adamw.norm()), **close)
        torch.testing.assert_close(float(statistics["ratio"]), float(term.norm() / against.norm()), **close)
        cosine = torch.dot(term, against) / (term.norm() * against.norm())
        torch.testing.assert_close(float(statistics["cosine"]), float(cosine), **close)


def group_weight(row: Input) -> float:
    return row.kwargs.get("quantum_weight", 0.5)


def test_a_term_below_the_rounding_of_the_weights_is_seen_to_change_none() -> None:
    weight = Parameter(torch.full((4,), 0.5))
    weight.grad = torch.full((4,), 1e-12)
    optimizer = SuperpositionalAdamW([weight], lr=1e-3)
    optimizer.step()
    statistics = optimizer.statistics[0]
    # lr * lambda * g = 5e-16 against a float32 spacing of 6e-8 at 0.5.
    assert (statistics["nonzero_gradient"], statistics["changed"]) == (4, 0)


def test_the_whole_step_is_measured_every_stats_every_steps() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights, stats_every=3)
    sampled = []
    for t in range(7):
        train(optimizer, weights, 1, start=t)
        sampled.append({"step_norm", "ratio", "cosine"} <= set(optimizer.statistics[0]))
    assert sampled == [True, False, False, True, False, False, True]


def test_statistics_tell_of_the_last_step_alone() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights)
    train(optimizer, weights, 2)
    assert "changed" in optimizer.statistics[0]
    optimizer.param_groups[0]["quantum_weight"] = 0.0
    train(optimizer, weights, 1, start=2)
    assert optimizer.statistics[0] == {"step": 3}


def test_statistics_stay_on_the_device_as_tensors() -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights)
    train(optimizer, weights, 1)
    statistics = optimizer.statistics[0]
    tensors = {key for key, value in statistics.items() if isinstance(value, Tensor) and value.device == weights[0].device}
    assert tensors == {
        "nonzero_gradient", "changed", "perturbation_norm", "step_norm", "ratio", "cosine", "share", "angle",
    }  # fmt: skip


# Mixed precision and compilation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("inject", ["update", "moments"])
@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=str)
def test_under_grad_scaler_q_uses_unscaled_gradients_and_skips_overflows(
    implementation: dict, maximize: bool, bias_correction: bool, inject: str, either_way: str
) -> None:
    kwargs = {
        "bias_correction": bias_correction,
        "inject": inject,
        "scope": "all",
        "stats_every": 1,
        "maximize": maximize,
    }
    scaled, plain = parameters(torch.float32), parameters(torch.float32)
    a = SuperpositionalAdamW(scaled, **kwargs, **implementation)
    b = SuperpositionalAdamW(plain, **kwargs, **implementation)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    # Scaled and fused, it is torch's step in any case, whose roundings are not those of the kernel's one pass.
    exact = not (either_way == "kernels" and implementation.get("fused") and inject == "update")
    for t in range(12):
        overflow = t == 5
        for weights in (scaled, plain):
            set_gradients(weights, t)
        # A loss whose gradient is the one just set, scaled as GradScaler scales it.
        loss = scaler.scale(sum((weight * weight.grad).sum() for weight in scaled))
        gradients = torch.autograd.grad(loss, scaled)
        for weight, gradient in zip(scaled, gradients, strict=True):
            weight.grad = torch.full_like(gradient, math.inf) if overflow else gradient
        scaler.step(a)
        scaler.update()
        if not overflow:
            b.step()
            if exact:
                assert_same_bits([weight.grad for weight in scaled], [weight.grad for weight in plain])
    if not exact:
        # A few roundings in each of 11 steps; the gradients here follow the weights.
        assert all(torch.allclose(x, y, rtol=0, atol=11 * 8 * 2**-24) for x, y in zip(scaled, plain, strict=True))
        return
    # Scaling by a power of two is exact.
    assert_same_bits(scaled, plain)
    assert_same_bits(state_tensors(a), state_tensors(b))


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [row for row in INPUTS if row.name in ("default", "moments", "everything")], ids=lambda row: row.name
)
def test_a_compiled_step_equals_the_eager_one(row: Input) -> None:
    torch.compiler.reset()
    compiled, eager = parameters(), parameters()
    a = SuperpositionalAdamW(compiled, **row.kwargs, stats_every=4)
    b = SuperpositionalAdamW(eager, **row.kwargs, stats_every=4)
    step = torch.compile(a.step)
    for t in range(10):
        set_gradients(compiled, t)
        step()
        train(b, eager, 1, start=t)
    # Compiled, torch's own AdamW takes its bias corrections in float32: 1 - 0.999 is off by 6e-5, its root by half of
    # that, in each of 10 steps of about lr. Without them the rounding of lr itself to float32 is left.
    relative = 3e-5 if row.kwargs.get("bias_correction", True) else 2**-23
    torch.testing.assert_close(compiled, eager, rtol=0, atol=10 * 1e-3 * relative)
    for key, value in b.statistics[0].items():
        torch.testing.assert_close(float(a.statistics[0][key]), float(value), rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_a_compiled_step_follows_a_tensor_weight_and_a_tensor_lr_without_recompiling() -> None:
    torch.compiler.reset()
    compiled, eager = parameters(), parameters()
    weight, lr = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64)
    a = SuperpositionalAdamW(compiled, lr=lr, quantum_weight=weight, foreach=False)
    b = SuperpositionalAdamW(eager, lr=0.01, foreach=False)
    step = torch.compile(a.step)
    for t in range(6):
        weight.fill_(0.1 * t)
        lr.fill_(0.01 * (t + 1))
        b.param_groups[0].update(quantum_weight=0.1 * t, lr=0.01 * (t + 1))
        set_gradients(compiled, t)
        if t < 3:
            step()
        else:
            with torch.compiler.set_stance("fail_on_recompile"):
                step()
        train(b, eager, 1, start=t)
    # As above, with learning rates up to 0.06.
    torch.testing.assert_close(compiled, eager, rtol=0, atol=6 * 3e-5 * 0.06)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="capturable needs a CUDA device")
def test_a_captured_graph_equals_the_eager_step() -> None:
    captured = [Parameter(weight.detach().cuda()) for weight in parameters()]
    eager = [Parameter(weight.detach().cuda()) for weight in parameters()]
    a = SuperpositionalAdamW(captured, capturable=True)
    b = SuperpositionalAdamW(eager, capturable=True)
    set_gradients(captured, 0)
    fixed = [weight.grad.clone() for weight in captured]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        a.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        a.step()
    for _ in range(3):
        graph.replay()
    for weight, gradient in zip(eager, fixed, strict=True):
        weight.grad = gradient.clone()
    # One eager step and three replays; capturing itself runs nothing.
    for _ in range(4):
        b.step()
    torch.testing.assert_close(captured, eager, rtol=1e-12, atol=1e-12)


def test_capturable_on_a_device_that_cannot_capture_is_torchs_own_error() -> None:
    weights = parameters()
    set_gradients(weights, 0)
    with pytest.raises(AssertionError, match="capturable=True"):
        SuperpositionalAdamW(weights, capturable=True).step()


# The placebo -------------------------------------------------------------------------------------------------------


def test_the_placebo_moves_one_weight_by_one_unit_in_the_last_place_once() -> None:
    placebo, plain = parameters(torch.float32), parameters(torch.float32)
    for weights in (placebo, plain):
        weights[0].data[0, 0] = 0
    a, b = PlaceboAdamW(placebo), torch.optim.AdamW(plain)
    for t in range(2):
        for weights in (placebo, plain):
            for index, weight in enumerate(weights):
                weight.grad = torch.zeros_like(weight) if t == 0 else torch.full_like(weight, float(index))
            if t == 0:
                weights[0].grad[0, 0] = 0
        a.step()
        b.step()
        difference = [(bits(one) - bits(other)).abs() for one, other in zip(placebo, plain, strict=True)]
        if t == 0:
            # The first weight is 0 and stays so; the second is the one that moves.
            assert difference[0].reshape(-1).tolist() == [0, 1, 0, 0, 0, 0]
            assert difference[1].sum() == 0
    assert difference[0].reshape(-1)[2:].sum() == 0
    assert difference[1].sum() == 0


# Statistics stand beside groups and state --------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_groups_and_state_have_adamws_keys_and_our_settings_after_every_step(scope: str) -> None:
    weights, theirs = parameters(), parameters()
    optimizer, adamw = SuperpositionalAdamW(weights, scope=scope, stats_every=2), torch.optim.AdamW(theirs)
    for t in range(5):
        train(optimizer, weights, 1, start=t)
        train(adamw, theirs, 1, start=t)
        mine, other = optimizer.state_dict(), adamw.state_dict()
        assert set(mine) == set(other)
        assert set(mine["param_groups"][0]) == {*other["param_groups"][0], *OURS}
        assert [set(state) for state in mine["state"].values()] == [set(state) for state in other["state"].values()]
        assert "changed" in optimizer.statistics[0]


def test_checkpoints_with_statistics_in_their_groups_still_load() -> None:
    weights, others = parameters(), parameters()
    optimizer, other = SuperpositionalAdamW(weights, stats_every=4), SuperpositionalAdamW(others, stats_every=4)
    train(optimizer, weights, 6)
    train(other, others, 6)
    old = copy.deepcopy(other.state_dict())
    # As a compiled step of an older version left it.
    old["param_groups"][0].update(statistics={"step": 6, "changed": torch.tensor(4)}, capturable=True)
    other.load_state_dict(old)
    assert "statistics" not in other.param_groups[0]
    assert other.statistics == [{"step": 6}]
    for t in range(6, 10):
        train(optimizer, weights, 1, start=t)
        train(other, others, 1, start=t)
        assert optimizer.statistics == other.statistics
    assert_same_bits(weights, others)


def test_draws_follow_adamws_count_of_steps() -> None:
    """A term that is absent at first, as in a warm-up, meets the same draws after a checkpoint as without one."""
    weights, others = parameters(), parameters()
    settings = {"perturbation": {"kind": "random_sign", "seed": 3}, "scope": "all"}
    whole, stopped = SuperpositionalAdamW(weights, **settings), SuperpositionalAdamW(others, **settings)
    for optimizer in (whole, stopped):
        optimizer.param_groups[0]["quantum_weight"] = 0.0
    train(whole, weights, 3)
    train(stopped, others, 3)
    again = SuperpositionalAdamW(others, **settings)
    again.load_state_dict(stopped.state_dict())
    for optimizer in (whole, again):
        optimizer.param_groups[0]["quantum_weight"] = 0.5
    train(whole, weights, 4, start=3)
    train(again, others, 4, start=3)
    assert_same_bits(weights, others)
    assert whole.statistics[0]["step"] == again.statistics[0]["step"] == 7


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # which no_dist asks for
@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_torch_distributed_checkpoints_load_after_every_step(scope: str, tmp_path) -> None:
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def made() -> tuple[torch.nn.Module, SuperpositionalAdamW]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, SuperpositionalAdamW(net.parameters(), scope=scope, stats_every=2)

    net, optimizer = made()
    for t in range(5):
        train(optimizer, list(net.parameters()), 1, start=t)
        state = get_optimizer_state_dict(net, optimizer)
        checkpoint.save({"optimizer": state}, checkpoint_id=tmp_path / str(t), no_dist=True)
        other_net, other = made()
        other_net.load_state_dict(net.state_dict())
        found = {"optimizer": get_optimizer_state_dict(other_net, other)}
        checkpoint.load(found, checkpoint_id=tmp_path / str(t), no_dist=True)
        set_optimizer_state_dict(other_net, other, found["optimizer"])
        assert_same_bits(state_tensors(optimizer), state_tensors(other))
        straight = copy.deepcopy(net)
        again = SuperpositionalAdamW(straight.parameters(), scope=scope, stats_every=2)
        again.load_state_dict(optimizer.state_dict())
        train(again, list(straight.parameters()), 1, start=t + 1)
        train(other, list(other_net.parameters()), 1, start=t + 1)
        assert_same_bits(list(straight.parameters()), list(other_net.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("quantum_weight", [0.5, 0.0])
def test_an_eager_step_and_an_eager_resumption_follow_a_compiled_step(quantum_weight: float) -> None:
    torch.compiler.reset()
    weights, others = parameters(), parameters()
    optimizer = SuperpositionalAdamW(weights, quantum_weight=quantum_weight, stats_every=2)
    step = torch.compile(optimizer.step)
    for t in range(3):
        set_gradients(weights, t)
        step()
    assert optimizer.param_groups[0]["capturable"] is False
    assert optimizer.statistics[0]["step"] == 3
    for weight, other in zip(weights, others, strict=True):
        other.data.copy_(weight.data)
    resumed = SuperpositionalAdamW(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(optimizer, weights, 2, start=3)
    train(resumed, others, 2, start=3)
    assert_same_bits(weights, others)
    assert optimizer.statistics[0]["step"] == resumed.statistics[0]["step"] == 5


# What reaches nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", ["requires_grad", "no gradient"])
def test_one_warning_says_that_the_term_touches_nothing_and_names_the_cure(frozen: str) -> None:
    """A frozen embedding, or a PEFT model whose first tensors are the frozen base."""
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights)
    if frozen == "requires_grad":
        weights[0].requires_grad_(False)
    message = "no scalar in scope had a gradient, so this step was AdamW's alone, with scope='model' and n_qubits=4; "
    message += "choose scope='tensor' or 'all', or pass the optimizer only the parameters that are trained"
    weights[1].grad = torch.ones_like(weights[1])
    with pytest.warns(UserWarning, match=re.escape(message)) as warned:
        optimizer.step()
    assert len(warned) == 1
    # Once: warnings are errors here.
    optimizer.step()
    assert optimizer.statistics[0] == {"step": 2}


def test_steps_that_leave_nothing_out_warn_of_nothing() -> None:
    weights = parameters()
    set_gradients(weights, 0)
    weights[0].grad = None
    for settings in ({"quantum_weight": 0}, {"scope": "tensor"}, {"scope": "all"}):
        SuperpositionalAdamW(weights, **settings).step()
    # A gradient of 0 is one, the second group is out of scope, and without any gradient there is no step.
    weights[0].grad = torch.zeros_like(weights[0])
    SuperpositionalAdamW(weights).step()
    SuperpositionalAdamW([{"params": weights[:1]}, {"params": weights[1:]}]).step()
    for weight in weights:
        weight.grad = None
    SuperpositionalAdamW(weights).step()


# As torch.optim.AdamW takes them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_lazy_parameters_are_taken_before_they_have_a_shape(scope: str) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.Linear(3, 2))
    other = copy.deepcopy(net)
    optimizer = SuperpositionalAdamW(net.parameters(), scope=scope)
    set_gradients(list(net[1].parameters()), 0)
    if scope != "model":
        optimizer.step()  # those without a shape have no gradient either
        set_gradients(list(other[1].parameters()), 0)
    x = torch.ones(2, 4)
    for each in (net, other):
        torch.manual_seed(1)
        each(x)
    made = SuperpositionalAdamW(other.parameters(), scope=scope)
    if scope != "model":
        made.step()
    for each, own in ((net, optimizer), (other, made)):
        for _ in range(2):
            own.zero_grad()
            each(x).square().sum().backward()
            own.step()
    assert_same_bits(list(net.parameters()), list(other.parameters()))


def test_differentiable_is_refused_by_name() -> None:
    message = "differentiable must be false, got True: the step goes without autograd; use torch.optim.AdamW"
    with pytest.raises(ValueError, match=message):
        SuperpositionalAdamW(parameters(), differentiable=True)
    SuperpositionalAdamW(parameters(), differentiable=False)


@pytest.mark.parametrize("inject", ["update", "moments"])
@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_lr_and_quantum_weight_may_be_tensors_of_one_element(shape: tuple, fused: bool, scope: str, inject: str) -> None:
    weights, others = parameters(), parameters()
    weights.append(Parameter(torch.tensor(0.3, dtype=torch.float64)))
    others.append(Parameter(torch.tensor(0.3, dtype=torch.float64)))
    settings = {"scope": scope, "inject": inject, "fused": fused, "stats_every": 1}
    given = {
        "lr": torch.full(shape, 0.01, dtype=torch.float64),
        "quantum_weight": torch.full(shape, 0.5, dtype=torch.float64),
    }
    optimizer = SuperpositionalAdamW(weights, **given, **settings)
    train(optimizer, weights, 3)
    plain = SuperpositionalAdamW(others, lr=0.01, quantum_weight=0.5, **settings)
    train(plain, others, 3)
    # A tensor is multiplied in another order than a number, and by torch's code.
    torch.testing.assert_close(weights, others, rtol=1e-13, atol=1e-14)
    assert float(optimizer.statistics[0]["ratio"]) == pytest.approx(float(plain.statistics[0]["ratio"]), rel=1e-6)


def test_the_schedulers_of_quantum_weight_are_torchs_to_others(tmp_path) -> None:
    weights = parameters()
    optimizer = SuperpositionalAdamW(weights, quantum_weight=0.5)
    keys = set(optimizer.param_groups[0])
    schedule = QuantumWeightScheduler(optimizer, WarmupDecay(warmup_steps=2))
    assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
    assert set(optimizer.param_groups[0]) == keys
    assert schedule.get_last_lr() == [1e-3]
    # As older versions saved it.
    schedule.load_state_dict({"last_step": 1, "initial": [0.4]})
    assert (schedule.last_epoch, schedule.get_last_weight()) == (1, [0.2])
    assert schedule.state_dict() == {"last_step": 1, "initial": [0.4]}


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # Lightning's own
def test_lightning_takes_the_scheduler_of_quantum_weight_beside_one_of_lr(tmp_path) -> None:
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.layer(batch).square().mean()

        def configure_optimizers(self):
            optimizer = SuperpositionalAdamW(self.parameters(), lr=0.1, quantum_weight=0.5)
            lr = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupDecay(total_steps=4))
            schedule = QuantumWeightScheduler(optimizer, WarmupDecay(total_steps=4))
            return [optimizer], [{"scheduler": each, "interval": "step"} for each in (lr, schedule)]

    trainer = Trainer(
        max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(3, 3)))
    (group,) = trainer.optimizers[0].param_groups
    assert (group["lr"], group["quantum_weight"]) == (pytest.approx(0.025), pytest.approx(0.125))


# Any callable as Q ---------------------------------------------------------------------------------------------------


class Noise:
    """Q is the gradient times noise and a count that a checkpoint must bring back."""

    def __init__(self, size: float = 1.0) -> None:
        self.size, self.calls = size, 0

    def __call__(self, theta: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        self.calls += 1
        return self.size * self.calls * gradient * torch.randn(theta.shape, generator=generator)

    def state_dict(self) -> dict[str, int]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def a_model(perturbation, **rest) -> tuple[list[torch.nn.Parameter], SuperpositionalAdamW]:
    dice = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(3, 4, generator=dice)), torch.nn.Parameter(torch.randn(5, generator=dice))]
    torch.manual_seed(1)
    return weights, SuperpositionalAdamW(weights, perturbation=perturbation, stats_every=1, **rest)


def go_on(weights, optimizer: SuperpositionalAdamW, first: int, last: int) -> None:
    for step in range(first, last):
        for index, each in enumerate(weights):
            dice = torch.Generator().manual_seed(10 * step + index)
            each.grad = torch.randn(each.shape, generator=dice)
        optimizer.step()


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
@pytest.mark.parametrize("inject", ["update", "moments"])
def test_a_callable_that_returns_the_gradient_is_the_constant_control_bit_for_bit(scope: str, inject: str) -> None:
    ours, mine = a_model(lambda theta, gradient, generator: gradient, scope=scope, inject=inject)
    theirs, named = a_model("constant", scope=scope, inject=inject)
    go_on(ours, mine, 0, 5)
    go_on(theirs, named, 0, 5)
    assert all(map(torch.equal, ours, theirs))
    assert mine.statistics[0]["touched"] == named.statistics[0]["touched"]
    assert torch.equal(mine.statistics[0]["perturbation_norm"], named.statistics[0]["perturbation_norm"])


def test_a_callable_reads_the_weights_from_before_the_step() -> None:
    seen = []

    def q(theta: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(theta.clone())
        return torch.sin(torch.pi * theta) * gradient

    weights, optimizer = a_model(q, scope="all")
    before = [each.detach().clone() for each in weights]
    go_on(weights, optimizer, 0, 1)
    assert all(map(torch.equal, seen, before))
    others, sine = a_model("sine", scope="all", fused=False, foreach=True)
    go_on(others, sine, 0, 1)
    # By another path for "sine": two roundings of float32 apart, 2.4e-7 of weights in [2, 4).
    assert all(torch.allclose(a, b, rtol=0, atol=5e-7) for a, b in zip(weights, others, strict=True))


def test_a_callables_draws_and_state_go_through_the_state_dict(tmp_path: Path) -> None:
    whole, reference = a_model(Noise(), scope="all")
    go_on(whole, reference, 0, 6)
    weights, optimizer = a_model(Noise(), scope="all")
    go_on(weights, optimizer, 0, 3)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again, resumed = a_model(Noise(), scope="all")
    torch.manual_seed(2)  # the seed is the checkpoint's
    with torch.no_grad():
        for a, b in zip(again, weights, strict=True):
            a.copy_(b)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    go_on(again, resumed, 3, 6)
    assert all(map(torch.equal, again, whole))
    assert not torch.equal(whole[0], weights[0])


def test_a_state_dict_of_a_different_callable_is_refused_and_nothing_taken_over() -> None:
    _, optimizer = a_model(Noise(), scope="all")
    weights, other = a_model(lambda theta, gradient, generator: gradient, scope="all")
    with pytest.raises(ValueError, match=r"perturbation must be .*\.Noise, as in the state_dict, got .*lambda"):
        other.load_state_dict(optimizer.state_dict())
    _, sine = a_model("sine")
    with pytest.raises(ValueError, match="perturbation must be one of sine"):
        sine.load_state_dict(optimizer.state_dict())
    go_on(weights, other, 0, 1)


@pytest.mark.parametrize(
    ("returned", "message"),
    [(lambda g: g[:1], r"the gradient's shape \(3, 4\), got shape \(1, 4\)"), (lambda g: 1.0, "got 1.0")],
)
def test_a_callable_that_returns_no_tensor_of_the_gradients_shape_is_named(returned, message: str) -> None:
    weights, optimizer = a_model(lambda theta, gradient, generator: returned(gradient), scope="all")
    with pytest.raises(ValueError, match=message):
        go_on(weights, optimizer, 0, 1)


def test_a_callable_is_chosen_in_a_config(door, monkeypatch, workplace: Path) -> None:
    (workplace / "my_q.py").write_text(
        "class Gradient:\n    def __call__(self, theta, gradient, generator):\n        return gradient\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "my_q")
    common = ["train", "trainer=smoke", "logger=none", "optimizer=superpositional"]
    for name, choice in (("mine", "{_target_: my_q.Gradient}"), ("named", "constant")):
        code, _, err = door(*common, f"optimizer.perturbation={choice}", f"hydra.run.dir={name}")
        assert code == 0, err
    records = [json.loads((workplace / name / "record.json").read_text()) for name in ("mine", "named")]
    assert records[0]["summary"]["train/loss/last_epoch"] == records[1]["summary"]["train/loss/last_epoch"]
    assert "my_q" in records[0]["sources"]
