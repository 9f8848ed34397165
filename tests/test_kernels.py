"""Do the kernels compute what torch's code beside them says, and is it said where there are none?"""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from superpositional import SuperpositionalAdamW
from superpositional.attention import QuantumAttention, core
from superpositional.attention.core import attention_reference, quantum_attention
from superpositional.circuits import Ansatz
from superpositional.circuits.backends import Exact, exact
from superpositional.circuits.kernels import build
from superpositional.circuits.readouts import READOUTS
from superpositional.circuits.series import series
from superpositional.optim.circuit_perturbation import CircuitPerturbation

EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
DTYPES = list(EPS)
# Frequencies with a loop of their own, with the general one, and as many as there may be.
COUNTS = [1, 2, 5, 6, 9, 13, 64]


@pytest.fixture(autouse=True)
def a_compiler() -> None:
    # `make test` promises to need Python and make alone; but where there is a compiler, it must have made them.
    if "no C++ compiler" in build.told():
        pytest.skip(f"kernels are {build.told()}")
    assert build.library() is not None, build.told()


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


# Phi's series ------------------------------------------------------------------------------------------------------


def written_out(coefficients: Tensor, x: Tensor, above: Tensor, first: int) -> tuple[np.ndarray, ...]:
    """Value, gradient to x, gradients to the coefficients, in 64 bits of mantissa where the machine has them."""
    c, at, g = (np.asarray(each.double().numpy(), dtype=np.longdouble) for each in (coefficients, x, above))
    w = np.arange(c.shape[-1], dtype=np.longdouble) + np.longdouble(first) / 2
    cos, sin = np.cos(at[..., None] * w), np.sin(at[..., None] * w)
    alpha, beta = c[:, None, 0], c[:, None, 1]
    slope = (w * (beta * cos - alpha * sin)).sum(-1)
    sums = np.stack([(g[..., None] * cos).sum(1), (g[..., None] * sin).sum(1)], 1)
    return (alpha * cos + beta * sin).sum(-1), g * slope, sums


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("scale", [1.0, 3e3, 1e6])
def test_the_series_and_its_gradients_are_those_written_out(dtype, first: int, count: int, scale: float) -> None:
    heads, scores = 3, 2 * 2048 + 37
    coefficients, x = random(heads, 2, count, dtype=dtype), random(heads, scores, seed=1, dtype=dtype, scale=scale)
    x[:, :3] = torch.tensor([0.0, 1e4, -1e4], dtype=dtype)
    above = random(heads, scores, seed=2, dtype=dtype)
    given = coefficients.clone().requires_grad_(), x.clone().requires_grad_()
    value = series(*given, first)
    found = value, *reversed(torch.autograd.grad(value, given, above))
    # Each turn of e^{ix} adds a rounding or two to both its parts: j terms of size |coefficient| are off by 2 j eps,
    # whatever the score, because the score is reduced first; derivatives by the largest frequency times that.
    size = coefficients.abs().sum((1, 2)).max()
    highest = count - 1 + first / 2
    allowed = [
        4 * count * size,
        4 * count * size * max(highest, 1) * above.abs().max(),
        4 * count * above.abs().sum(1).max(),
    ]
    for ours, true, most in zip(found, written_out(coefficients, x, above, first), allowed, strict=True):
        error = np.abs(np.asarray(ours.detach().double().numpy(), dtype=np.longdouble) - true).max()
        assert error <= EPS[dtype] * float(most)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scores_up_to_1e4_cost_a_cosine_no_digits(dtype) -> None:
    # cos(x) and sin(x) themselves: within 2 roundings of numbers of size 1, for every score.
    x = random(1, 100_000, dtype=dtype, scale=1.0).fmod(1) * 1e4
    for row, true in ((0, np.cos), (1, np.sin)):
        coefficients = torch.zeros(1, 2, 2, dtype=dtype)
        coefficients[0, row, 1] = 1
        error = series(coefficients, x, 0).double().numpy() - true(np.asarray(x.double().numpy(), dtype=np.longdouble))
        assert np.abs(error).max() <= 2 * EPS[dtype]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_spoils_itself_alone(bad: float) -> None:
    coefficients, x = random(1, 2, 5), random(1, 40, seed=1)
    x[0, 7] = bad
    x.requires_grad_()
    value = series(coefficients, x, 0)
    value.sum().backward()
    assert value.isnan().nonzero().tolist() == x.grad.isnan().nonzero().tolist() == [[0, 7]]


def test_a_series_takes_views_and_nothing_at_all() -> None:
    wide = random(6, 2, 14)[::2, :, ::2]
    x = random(50, 3, seed=1).mT
    assert torch.equal(series(wide, x, 0), series(wide.contiguous(), x.contiguous(), 0))
    empty = torch.empty(3, 0, dtype=torch.float64, requires_grad=True)
    coefficients = wide.clone().requires_grad_()
    series(coefficients, empty, 0).sum().backward()
    assert empty.grad.shape == (3, 0)
    assert torch.equal(coefficients.grad, torch.zeros_like(coefficients))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threads_change_no_bit_of_a_series(dtype) -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            given = random(2, 2, 5, dtype=dtype).requires_grad_(), random(2, 9999, seed=1, dtype=dtype).requires_grad_()
            value = series(*given, 0)
            found.append([value, *torch.autograd.grad(value.square().sum(), given)])
        finally:
            torch.set_num_threads(1)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


# Circuits ----------------------------------------------------------------------------------------------------------

ANSATZES = [
    Ansatz(),
    Ansatz(n_qubits=1, depth=1),
    Ansatz(n_qubits=3, depth=3, rotations=("rx", "ry", "rz"), entanglement="ring"),
    Ansatz(n_qubits=5, depth=2, entanglement="none", reupload=False),
    Ansatz(n_qubits=2, depth=4, rotations=("ry", "ry", "rx")),
]


@pytest.mark.parametrize("ansatz", ANSATZES, ids=str)
@pytest.mark.parametrize("readout", READOUTS)
def test_coefficients_and_the_angles_gradients_are_the_statevectors(ansatz: Ansatz, readout: str) -> None:
    angles = random(3, *ansatz.angles_shape, scale=3.0).requires_grad_()
    found = []
    for function in (exact.coefficients, exact.coefficients_reference):
        value = function(ansatz, readout, angles)
        found.append([value, *torch.autograd.grad(value, angles, random(*value.shape, seed=1))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    # Worked out in double, and rounded once.
    single = angles.detach().float()
    assert torch.equal(
        exact.coefficients(ansatz, readout, single), exact.coefficients(ansatz, readout, single.double()).float()
    )


def test_coefficients_can_be_differentiated_twice() -> None:
    ansatz = Ansatz(n_qubits=2, depth=1)
    angles = random(2, *ansatz.angles_shape).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda each: exact.coefficients(ansatz, "z", each), angles)


@pytest.mark.parametrize("ansatz", [*ANSATZES, Ansatz(depth=1), Ansatz(n_qubits=3, depth=1, entanglement="ring")], ids=str)
@pytest.mark.parametrize("count", [1, 4, 37, 1000])
def test_registers_are_the_statevectors_and_small_ones_keep_their_digits(ansatz: Ansatz, count: int) -> None:
    perturbation = CircuitPerturbation(ansatz, angles="random", seed=0)
    theta = random(count, scale=2.0)
    (found,) = perturbation([[theta]])
    (true,) = CircuitPerturbation(ansatz, angles="random", seed=0, backend=Exact("statevector"))([[theta]])
    torch.testing.assert_close(found, true, rtol=0, atol=1e-12)
    if perturbation.method == "closed_form":
        small = CircuitPerturbation(ansatz)
        (found,) = small([[theta * 1e-6]])
        (true,) = CircuitPerturbation(ansatz, backend=Exact("closed_form"))([[theta * 1e-6]])
        torch.testing.assert_close(found, true, rtol=1e-12, atol=0)


def test_a_weight_that_is_no_number_spoils_its_register_alone() -> None:
    theta = random(40)
    theta[9] = math.nan
    (found,) = CircuitPerturbation(Ansatz())([[theta]])
    assert found.isnan().nonzero().flatten().tolist() == [8, 9, 10, 11]


# Attention ---------------------------------------------------------------------------------------------------------

SHAPES = {
    "small": (2, 4, 5, 7, 3),
    "one key": (1, 2, 3, 1, 4),
    "one head": (3, 1, 4, 16, 5),
    "whole vectors": (2, 2, 32, 32, 16),
    "rows left over": (2, 3, 9, 33, 8),
    # These are done whole, without torch's products.
    "a class token": (2, 2, 17, 17, 16),
    "as large as small ones may be": (1, 2, 64, 64, 64),
    "beyond": (1, 2, 65, 64, 16),
}


def attention_inputs(shape: tuple[int, ...], dtype, sets: int | None = None, count: int = 5) -> list[Tensor]:
    batch, heads, n, m, e = shape
    shapes = [(batch, heads, n, e), (batch, heads, m, e), (batch, heads, m, e), (sets or heads, 2, count)]
    return [random(*each, seed=index, dtype=dtype).requires_grad_() for index, each in enumerate(shapes)]


def gradients(function, inputs: list[Tensor], above: Tensor, *rest, **settings) -> list[Tensor]:
    out = function(*inputs, *rest, **settings)
    return [out, *torch.autograd.grad(out, inputs, above)]


def assert_as_reference(inputs: list[Tensor], first: int = 0, **settings) -> None:
    """As the formula in float64: to 1e-12; in float32 within a few roundings of the largest score for each frequency,
    because Phi's slope multiplies a score's rounding, times the largest number of the kind."""
    above = random(*inputs[0].shape, seed=9, dtype=inputs[0].dtype)
    settings = {"scale_in": 1.0, **settings}
    assert core.serves(*inputs[:3], settings.get("mask"), inputs[3].shape[-1])
    ours = gradients(quantum_attention, inputs, above, first, **settings)
    wide = [each.detach().double().requires_grad_() for each in inputs]
    mask = settings.get("mask")
    exact = {**settings, "mask": None if mask is None else mask.double()}
    theirs = gradients(attention_reference, wide, above.double(), first, **exact)
    score = max(4.0, float((wide[0] @ wide[1].mT).detach().abs().max()))
    for one, other in zip(ours, theirs, strict=True):
        allowed = 1e-12 if one.dtype == torch.float64 else 4 * score * inputs[3].shape[-1] * EPS[torch.float32]
        torch.testing.assert_close(one.double(), other, rtol=0, atol=allowed * max(1.0, float(other.detach().abs().max())))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("first", "count"), [(0, 5), (1, 4), (0, 9), (0, 13)])
def test_attention_and_its_gradients_are_the_formulas(shape, dtype, first: int, count: int) -> None:
    assert_as_reference(attention_inputs(shape, dtype, count=count), first)
    assert_as_reference(attention_inputs(shape, dtype, sets=1, count=count), first, scale_in=0.5)


MASKS = {
    "causal": lambda b, h, n, m: torch.full((n, m), -math.inf).triu(1),
    "padding": lambda b, h, n, m: torch.where(torch.arange(m) < m - 2, 0.0, -math.inf).expand(b, 1, 1, m),
    "by head": lambda b, h, n, m: random(b, h, n, m, seed=5),
    "strided": lambda b, h, n, m: random(m, n, seed=5).mT,
    "rows of nothing": lambda b, h, n, m: torch.where(torch.arange(n) == 1, -math.inf, 0.0)[:, None].expand(n, m),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [SHAPES["small"], SHAPES["whole vectors"], SHAPES["rows left over"], SHAPES["a class token"]], ids=str
)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_attention_takes_every_mask(shape, dtype, mask) -> None:
    assert_as_reference(attention_inputs(shape, dtype), mask=mask(*shape[:4]).to(dtype))


@pytest.mark.parametrize("shape", [SHAPES["small"], SHAPES["whole vectors"]], ids=str)
def test_attention_drops_what_it_is_told_to(shape) -> None:
    kept = torch.rand(shape[:4], generator=torch.Generator().manual_seed(3)) < 0.7
    assert_as_reference(attention_inputs(shape, torch.float64), kept_BHNM=kept, keep_scale=1 / 0.7)
    assert_as_reference(
        attention_inputs(shape, torch.float64),
        kept_BHNM=kept,
        keep_scale=1 / 0.7,
        mask=MASKS["rows of nothing"](*shape[:4]).double(),
    )


@pytest.mark.parametrize("tile", [1, 100, 2**10])
@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_of_any_size_give_the_same(tile: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "TILE", tile)
    torch.set_num_threads(threads)
    try:
        assert_as_reference(attention_inputs((2, 3, 29, 31, 4), torch.float64), mask=random(29, 31))
    finally:
        torch.set_num_threads(1)


def test_large_scores_lose_nothing_that_their_product_has_not_lost() -> None:
    # Scores of up to 1e4 and weights that are 0 but for one: exp, sine and cosine at their limits.
    inputs = attention_inputs((1, 2, 16, 16, 4), torch.float64)
    with torch.no_grad():
        inputs[0] *= 1e3
    above = random(1, 2, 16, 16, seed=9)[..., :4]
    ours = gradients(quantum_attention, inputs, above, 0, scale_in=1.0)
    theirs = gradients(attention_reference, inputs, above, 0, scale_in=1.0)
    score = float((inputs[0] @ inputs[1].mT).detach().abs().max())
    assert 3e3 < score < 2e4
    # A product's last rounding is score * eps, and Phi's slope is some 20.
    allowed = 100 * score * EPS[torch.float64]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=allowed * max(1.0, float(other.detach().abs().max())))


@pytest.mark.parametrize("place", ["query", "key", "value", "coefficient"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_goes_where_the_formula_takes_it(place: str, bad: float) -> None:
    inputs = attention_inputs((1, 2, 4, 20, 3), torch.float64)
    with torch.no_grad():
        inputs[["query", "key", "value", "coefficient"].index(place)].view(-1)[0] = bad
    ours = quantum_attention(*inputs, 0, scale_in=1.0)
    theirs = attention_reference(*inputs, 0, scale_in=1.0)
    assert theirs.isnan().any() or not theirs.isfinite().all()
    assert torch.equal(ours.isfinite(), theirs.isfinite())


def test_attention_can_be_differentiated_twice() -> None:
    inputs = attention_inputs((1, 2, 3, 4, 2), torch.float64, count=3)
    assert torch.autograd.gradgradcheck(lambda *given: quantum_attention(*given, 0, scale_in=1.0), inputs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_the_module_gives_the_same_with_weights_asked_for_and_without(dtype, training: bool) -> None:
    torch.manual_seed(0)
    module = QuantumAttention(16, 4, dropout=0.2, dtype=dtype).train(training)
    x = random(3, 11, 16, dtype=dtype)
    found = []
    for need_weights in (False, True):
        torch.manual_seed(1)
        module.zero_grad()
        out, weights = module(x, x, x, need_weights=need_weights)
        out.square().sum().backward()
        assert (weights is not None) == need_weights
        found.append([out.detach(), *(parameter.grad for parameter in module.parameters())])
    for unseen, seen in zip(*found, strict=True):
        torch.testing.assert_close(unseen, seen, rtol=0, atol=64 * EPS[dtype] * max(1.0, float(seen.abs().max())))


def test_attentions_memory_is_linear_in_the_length() -> None:
    from torch.profiler import ProfilerActivity, profile

    def largest(n: int) -> int:
        inputs = attention_inputs((1, 1, n, n, 8), torch.float32)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            quantum_attention(*inputs, 0, scale_in=1.0).sum().backward()
        allocated = [event.cpu_memory_usage for event in found.events() if event.name == "aten::empty"]
        return max(allocated)

    # One tile of scores, twice in backward, whatever the length.
    assert largest(1024) == largest(2048) == 2 * 4 * core.TILE


# The optimizer -----------------------------------------------------------------------------------------------------


def trained(dtype, shapes=((7, 5), (3,), (1, 1), (5000,)), steps: int = 5, **settings) -> tuple[list[Tensor], list[dict]]:
    parameters = [torch.nn.Parameter(random(*shape, seed=index, dtype=dtype)) for index, shape in enumerate(shapes)]
    optimizer = SuperpositionalAdamW(parameters, lr=1e-2, stats_every=2, **settings)
    told = []
    for step in range(steps):
        for index, parameter in enumerate(parameters):
            parameter.grad = random(*parameter.shape, seed=50 * step + index, dtype=dtype)
        optimizer.step()
        told.append({name: float(value) for name, value in optimizer.statistics[0].items()})
    state = [value for parameter in parameters for value in optimizer.state[parameter].values()]
    return [*(parameter.detach() for parameter in parameters), *state], told


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"maximize": True, "weight_decay": 0.3}, {"amsgrad": True}, {"bias_correction": False}, {"fused": True}],
    ids=str,
)
@pytest.mark.parametrize(
    "circuit", [None, Ansatz(), Ansatz(n_qubits=3, depth=1), Ansatz(depth=3, entanglement="ring")], ids=str
)
def test_steps_and_statistics_are_torchs(dtype, scope: str, settings: dict, circuit, request) -> None:
    settings = {"scope": scope, **settings}
    if circuit is not None:
        settings["perturbation"] = CircuitPerturbation(circuit, angles="random", seed=0)
    ours, told = trained(dtype, **settings)
    request.getfixturevalue("by_torch")
    theirs, said = trained(dtype, **settings)
    for one, other in zip(ours, theirs, strict=True):
        # Some 20 roundings of numbers of size 3 in each of five steps.
        torch.testing.assert_close(one, other, rtol=0, atol=300 * EPS[dtype])
    assert [list(each) for each in told] == [list(each) for each in said]
    for one, other in zip(told, said, strict=True):
        for name, value in other.items():
            # Norms are float32; angle and cosine of a term across the step lose half of a product's digits.
            exact = name in ("step", "touched", "circuits", "nonzero_gradient")
            assert one[name] == value if exact else one[name] == pytest.approx(value, rel=2e-5, abs=2e-5), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_torchs_own_fused_step_is_taken_bit_for_bit(dtype) -> None:
    shapes, found = ((7, 5), (3,), (5000,)), []
    for amsgrad, maximize in ((False, False), (True, True)):
        for make in (torch.optim.AdamW, SuperpositionalAdamW):
            own = {} if make is torch.optim.AdamW else {"quantum_weight": 0.0}
            parameters = [torch.nn.Parameter(random(*shape, seed=index, dtype=dtype)) for index, shape in enumerate(shapes)]
            optimizer = make(parameters, lr=1e-2, fused=True, amsgrad=amsgrad, maximize=maximize, **own)
            for step in range(4):
                for index, parameter in enumerate(parameters):
                    parameter.grad = None if index == step else random(*parameter.shape, seed=9 * step + index, dtype=dtype)
                optimizer.step()
            found.append([*parameters, *(value for each in parameters for value in optimizer.state[each].values())])
        assert all(map(torch.equal, found[-2], found[-1]))


def test_one_pass_keeps_nothing_of_the_models_size() -> None:
    from torch.profiler import ProfilerActivity, profile

    parameter = torch.nn.Parameter(random(2**20, dtype=torch.float32))
    optimizer = SuperpositionalAdamW([parameter], scope="all", stats_every=1)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        optimizer.step()
    allocated = [event.cpu_memory_usage for event in found.events()]
    # Sums of chunks of 4096 scalars.
    assert max(allocated) < 0.02 * 4 * 2**20


@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0, 1e3 + 0.25, 1e6 + 0.5, 3e7, -2.75, 1e30])
def test_the_sine_of_a_large_weight_keeps_its_digits(theta: float) -> None:
    at = torch.tensor([theta], dtype=torch.float32)
    parameter = torch.nn.Parameter(at.clone())
    optimizer = SuperpositionalAdamW([parameter], lr=1.0, quantum_weight=1.0, n_qubits=1, scope="all", weight_decay=0.0)
    parameter.grad = torch.ones(1)
    optimizer.step()
    true = abs(math.sin(math.pi * math.fmod(float(at.double()), 2)))
    assert float(optimizer.statistics[0]["perturbation_norm"]) == pytest.approx(true, abs=2 * EPS[torch.float32])


def test_a_step_marks_what_it_changed_for_autograd() -> None:
    parameter = torch.nn.Parameter(random(4))
    loss = parameter.square().sum()
    optimizer = SuperpositionalAdamW([parameter], scope="all")
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# Where there are none ----------------------------------------------------------------------------------------------


def told(**environment: str) -> subprocess.CompletedProcess:
    code = (
        "import torch; from superpositional.circuits.kernels import build\n"
        "from superpositional.attention import QuantumAttention\n"
        "build.make(lambda text: None)\n"
        "print(build.told(), '|', build.library() is not None)\n"
        "torch.manual_seed(0); m = QuantumAttention(8, 2); x = torch.ones(1, 3, 8); m(x, x, x)[0].sum().backward()"
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("word", ["off", "0", "False", "no"])
def test_kernels_can_be_switched_off(word: str) -> None:
    assert told(SUPERPOSITIONAL_KERNELS=word).stdout.strip() == "torch's (SUPERPOSITIONAL_KERNELS=off) | False"


def test_a_compiler_that_another_calls_is_used(tmp_path: Path) -> None:
    done = told(CXX="env g++", SUPERPOSITIONAL_CACHE=str(tmp_path / "cache"))
    assert done.stdout.strip().endswith("| True"), done.stdout + done.stderr


def test_a_misspelt_switch_is_refused() -> None:
    done = told(SUPERPOSITIONAL_KERNELS="nope")
    assert done.returncode
    assert "SUPERPOSITIONAL_KERNELS must be on or off, got 'nope'" in done.stderr


def test_without_a_compiler_torch_does_it_and_says_so(tmp_path: Path) -> None:
    done = told(CXX="no-such-compiler", SUPERPOSITIONAL_CACHE=str(tmp_path / "cache"))
    assert done.stdout.strip() == "torch's (no C++ compiler: no-such-compiler) | False"


def test_a_compiler_that_fails_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "cxx"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo broken 1.0 && exit\necho 'x.h:1: error: no' >&2; exit 1\n")
    broken.chmod(0o755)
    done = told(CXX=str(broken), SUPERPOSITIONAL_CACHE=str(tmp_path / "cache"))
    assert done.stdout.strip() == "torch's (cxx failed: x.h:1: error: no) | False"
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_a_first_step_compiles_nothing_writes_nothing_and_gives_one_hint(tmp_path: Path) -> None:
    code = (
        "import torch; from superpositional import QuantumAttention, SuperpositionalAdamW\n"
        "m = QuantumAttention(8, 2); o = SuperpositionalAdamW(m.parameters(), scope='all'); x = torch.ones(1, 3, 8)\n"
        "for _ in range(2):\n    m(x, x, x)[0].sum().backward(); o.step()"
    )
    environment = os.environ | {"SUPERPOSITIONAL_CACHE": str(tmp_path / "cache"), "CXX": "false"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("superpositional: torch's code computes; `superpositional kernels` builds faster")
    assert not list(tmp_path.iterdir())


def test_what_is_made_is_made_once(tmp_path: Path) -> None:
    counting = tmp_path / "cxx"
    counting.write_text(f'#!/bin/sh\n[ $1 = --version ] || echo made >> {tmp_path}/log\nexec c++ "$@"\n')
    counting.chmod(0o755)
    given = {"CXX": str(counting), "SUPERPOSITIONAL_CACHE": str(tmp_path / "cache")}
    assert told(**given).stdout.strip().endswith("| True")
    assert told(**given).stdout.strip().endswith("| True")
    assert (tmp_path / "log").read_text() == "made\n"


class Cache:
    """A cache folder with a planted library in the place of ours, and a compiler that makes an empty one in no time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # A name of its own, for a library of a name that has been loaded is not loaded again.
        compiler, self.trace, self.version = folder / "cxx", folder / "loaded", "C++"
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, folder.name))
        compiler.write_text('#!/bin/sh\nwhile [ $1 != -o ]; do shift; done\nexec cc -shared -fPIC -o "$2" -x c /dev/null\n')
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(folder / "cache"))
        self.cache, self.folder = folder / "cache", folder / "cache" / "kernels"
        with monkeypatch.context() as without_loading:
            without_loading.setattr(build.ctypes, "CDLL", str)
            assert self.load() == (True, self.version)
        (self.library,) = self.folder.glob("*.so")
        run = f'void __attribute__((constructor)) run(void) {{ fclose(fopen("{self.trace}", "w")); }}'
        (folder / "planted.c").write_text(f"#include <stdio.h>\n{run}\n")
        self.library.unlink()
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, folder / "planted.c"], check=True)

    @property
    def refused(self) -> tuple[bool, str]:
        why = "the cache must belong to this user, and others must not write it; chmod go-w it"
        return False, f"torch's (cxx failed: {why})"

    def load(self) -> tuple[bool, str]:
        """What a new process would do."""
        for each in (build._built, build.kernel):
            each.cache_clear()
        build._why.clear()
        said = build.make(lambda text: None)
        return build.library() is not None, said


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    yield Cache(tmp_path, monkeypatch)
    monkeypatch.undo()
    for each in (build._built, build.kernel):
        each.cache_clear()
    build._why.clear()


def test_a_library_of_the_users_own_is_loaded(kept: Cache) -> None:
    assert kept.load() == (True, kept.version)
    assert kept.trace.exists()


@pytest.mark.parametrize("place", ["cache", "folder"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777], ids=oct)
def test_no_library_is_loaded_from_a_folder_that_others_can_write(kept: Cache, place: str, mode: int) -> None:
    getattr(kept, place).chmod(mode)
    assert kept.load() == kept.refused
    assert not kept.trace.exists()


def test_a_library_that_others_can_write_is_compiled_anew(kept: Cache) -> None:
    kept.library.chmod(0o777)
    assert kept.load() == (True, kept.version)
    assert not kept.trace.exists()
    assert not kept.library.stat().st_mode & 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("place", ["library", "folder", "cache"])
def test_what_belongs_to_another_user_is_not_loaded(kept: Cache, place: str) -> None:
    os.chown(getattr(kept, place), 12345, 12345)
    assert kept.load() == ((True, kept.version) if place == "library" else kept.refused)
    assert not kept.trace.exists()


@pytest.mark.parametrize("place", ["library", "folder"])
def test_symbolic_links_in_the_cache_are_not_followed(kept: Cache, place: str) -> None:
    at = getattr(kept, place)
    at.rename(kept.cache.parent / "elsewhere")
    at.symlink_to(kept.cache.parent / "elsewhere")
    kept.load()
    assert not kept.trace.exists()


def test_what_is_created_in_the_cache_no_one_else_can_write(kept: Cache) -> None:
    shutil.rmtree(kept.cache)
    before = os.umask(0)
    try:
        assert kept.load() == (True, kept.version)
    finally:
        os.umask(before)
    assert not any(path.stat().st_mode & 0o022 for path in (kept.cache, *kept.cache.rglob("*")))


def test_the_default_cache_of_an_older_version_is_closed_to_others_and_used(kept: Cache, monkeypatch) -> None:
    monkeypatch.delenv("SUPERPOSITIONAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept.cache))
    for folder in (kept.cache / "superpositional", kept.cache / "superpositional" / "kernels"):
        folder.mkdir()
        folder.chmod(0o775)
    assert kept.load() == (True, kept.version)
    assert not any(path.stat().st_mode & 0o022 for path in kept.cache.rglob("*"))


HOMELESS = """
import pathlib, torch
from superpositional import SuperpositionalAdamW
from superpositional.circuits.kernels import build

def nowhere():
    raise RuntimeError("Could not determine home directory.")

pathlib.Path.home = nowhere
for scope in ("model", "tensor", "all"):
    weight = torch.nn.Parameter(torch.ones(5))
    weight.grad = torch.ones(5)
    SuperpositionalAdamW([weight], scope=scope).step()
print(build.make(lambda text: None))
"""


def test_steps_need_no_home_folder(tmp_path: Path) -> None:
    def outcome(**given: str) -> str:
        absent = ("SUPERPOSITIONAL_CACHE", "XDG_CACHE_HOME", "HOME")
        environment = {name: value for name, value in os.environ.items() if name not in absent} | given
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", HOMELESS], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert outcome() == "torch's (the user has no home folder; set SUPERPOSITIONAL_CACHE)"
    assert not outcome(SUPERPOSITIONAL_CACHE=str(tmp_path / "cache")).startswith("torch's")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, device="meta"),
        torch.ones(2).as_subclass(type("Mine", (Tensor,), {})),
    ],
    ids=["bfloat16", "complex", "meta", "subclass"],
)
def test_what_kernels_cannot_take_they_are_not_given(tensor: Tensor) -> None:
    assert build.serves(torch.ones(2))
    assert not build.serves(tensor)
    assert not build.serves(torch.ones(2, dtype=torch.float64), torch.ones(2))


# Odd tensors: pointers are passed for none of them -----------------------------------------------------------------

ODD = """
import itertools, sys, torch
from superpositional import SuperpositionalAdamW

def alter(weights, state, what):
    first = state[weights[0]]
    if what == "grown":  # a resized embedding
        weights[0].data = torch.randn(60000, 5)
    elif what == "grown with its gradient":
        weights[0].data, weights[0].grad = torch.randn(60000, 5), torch.randn(60000, 5)
    elif what == "stale gradient":
        weights[0].data = torch.randn(60000, 5)
        first.update(exp_avg=torch.zeros(60000, 5), exp_avg_sq=torch.zeros(60000, 5))
    elif what == "smaller":
        first.update(exp_avg=torch.zeros(2, 5), exp_avg_sq=torch.zeros(2, 5))
    elif what == "steps":
        first["step"] = torch.ones(2)
    elif what == "no step":
        first["step"] = torch.ones(0)
    else:
        name, made = what.split(": ")
        first[name] = {
            "one": torch.zeros(1),
            "flat": torch.zeros(30),
            "wide": torch.zeros(6, 5, dtype=torch.float64),
            "half": torch.zeros(6, 5, dtype=torch.float16),
            "expanded": torch.zeros(1, 5).expand(6, 5),
            "meta": torch.zeros(6, 5, device="meta"),
        }[made]

whole = ["grown", "grown with its gradient", "stale gradient", "smaller", "steps", "no step"]
moments = itertools.product(["exp_avg", "exp_avg_sq"], ["one", "flat", "wide", "half", "expanded", "meta"])
for what in [*whole, *(f"{name}: {made}" for name, made in moments)]:
    raised = {}
    for kind in (torch.optim.AdamW, SuperpositionalAdamW):
        for fused, weight in itertools.product([False, True], [0.5, 0.0]):
            ours = kind is SuperpositionalAdamW
            if fused and not ours:
                continue  # writes where it should not
            weights = [torch.nn.Parameter(torch.randn(6, 5)), torch.nn.Parameter(torch.randn(3))]
            settings = {"scope": sys.argv[1], "stats_every": 1, "quantum_weight": weight} if ours else {}
            optimizer = kind(weights, fused=fused, **settings)
            for changed in (False, True):
                for each in weights:
                    each.grad = torch.randn_like(each)
                if changed:
                    alter(weights, optimizer.state, what)
                try:
                    optimizer.step()
                except RuntimeError as error:
                    raised[kind, fused, weight] = str(error)
    # Fused, torch's own step writes out of bounds or ignores it, and ours must merely not do the former.
    raises = {(kind, weight) for kind, fused, weight in raised if not fused}
    assert len(raises) in (0, 4), (what, raised)
    assert raises or what in ("exp_avg_sq: wide", "exp_avg_sq: half"), what
print("no crash")
"""


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_state_and_gradients_of_other_sizes_raise_as_in_adamw_and_no_memory_is_written(scope: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ODD, scope], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no crash\n"), done.stderr


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_state_of_another_memory_format_gives_the_steps_and_statistics_of_the_weights_own(scope: str, fused: bool) -> None:
    told, weights = [], []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = torch.nn.Parameter(random(2, 3, 4, 4, dtype=torch.float32).contiguous(memory_format=layout))
        weight.grad = random(2, 3, 4, 4, seed=1, dtype=torch.float32).contiguous(memory_format=layout)
        before = SuperpositionalAdamW([weight], scope=scope, stats_every=1, fused=fused)
        before.step()
        loaded = torch.nn.Parameter(weight.detach().contiguous())
        after = SuperpositionalAdamW([loaded], scope=scope, stats_every=1, fused=fused)
        after.load_state_dict(before.state_dict())
        loaded.grad = random(2, 3, 4, 4, seed=2, dtype=torch.float32)
        after.step()
        weights.append(loaded.detach())
        told.append({name: float(value) for name, value in after.statistics[0].items()})
    # The first step was torch's or a kernel's: a rounding of a weight and of each moment.
    torch.testing.assert_close(*weights, rtol=0, atol=4 * EPS[torch.float32])
    assert told[0] == pytest.approx(told[1], rel=1e-4)


def test_negated_views_count_as_what_they_show() -> None:
    weights = [torch.nn.Parameter(random(3, 4)) for _ in range(2)]
    for weight, negated in zip(weights, (False, True), strict=True):
        gradient = random(3, 4, seed=1)
        weight.grad = torch._neg_view(-gradient) if negated else gradient
        SuperpositionalAdamW([weight], scope="all").step()
    # By a kernel, and by torch's code, whose roundings are its own.
    torch.testing.assert_close(*weights, rtol=0, atol=4 * EPS[torch.float64])


def test_shapes_that_do_not_fit_are_left_to_torchs_code() -> None:
    # One series of coefficients broadcasts, as in torch's code; two for three rows are an error there.
    one, x = random(1, 2, 3), random(3, 7)
    # Values of up to 5: 16 roundings of them.
    expected = series(one.expand(3, 2, 3).contiguous(), x, 0)
    torch.testing.assert_close(series(one, x, 0), expected, rtol=0, atol=5 * 16 * EPS[torch.float64])
    with pytest.raises(RuntimeError):
        series(random(2, 2, 3), x, 0)
    q, k = random(1, 2, 5, 4), random(1, 2, 3, 4)
    with pytest.raises(RuntimeError):
        quantum_attention(q, k, random(1, 2, 2, 4), random(2, 2, 3), 0, scale_in=1.0)
    with pytest.raises(RuntimeError):
        quantum_attention(q, k[:, :1, :, :2], k, random(2, 2, 3), 0, scale_in=1.0)
    kept = torch.ones(1, 2, 5, 2, dtype=torch.bool)
    with pytest.raises(RuntimeError):
        quantum_attention(q, k, k, random(2, 2, 3), 0, scale_in=1.0, kept_BHNM=kept)
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        exact.coefficients(Ansatz(), "amplitude", random(1, 1, 1, 1))


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("gradient", ["expanded", "transposed"])
def test_a_gradient_of_another_layout_is_refused_at_every_fused_step(weight: float, gradient: str) -> None:
    """Also after steps that were as usual, whose tensors of state are known."""
    parameter = torch.nn.Parameter(random(6, 6, dtype=torch.float32))
    optimizer = SuperpositionalAdamW([parameter], fused=True, quantum_weight=weight)
    for _ in range(2):
        parameter.grad = random(6, 6, seed=1, dtype=torch.float32)
        optimizer.step()
    parameter.grad = torch.ones(1, 1).expand(6, 6) if gradient == "expanded" else random(6, 6, dtype=torch.float32).T
    with pytest.raises(RuntimeError, match="grad must be dense"):
        optimizer.step()
    parameter.grad = None
    parameter.data = torch.ones(1).expand(6, 6)
    parameter.grad = random(6, 6, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="parameter must be dense"):
        optimizer.step()


def test_weights_in_channels_last_take_a_fused_step_as_any_others() -> None:
    weights = [torch.nn.Parameter(random(2, 3, 4, 4, dtype=torch.float32)) for _ in range(2)]
    weights[1].data = weights[1].data.contiguous(memory_format=torch.channels_last)
    optimizers = [SuperpositionalAdamW([each], fused=True, quantum_weight=0.5) for each in weights]
    for step in range(3):
        for each, optimizer in zip(weights, optimizers, strict=True):
            each.grad = torch.empty_like(each).copy_(random(2, 3, 4, 4, seed=step, dtype=torch.float32))
            optimizer.step()
    torch.testing.assert_close(*(each.detach().contiguous() for each in weights), rtol=0, atol=3 * 4 * EPS[torch.float32])
