"""Is quantum attention equations (3) to (5), and otherwise torch's own?

Without its quantum term it is held to ``nn.MultiheadAttention`` and ``scaled_dot_product_attention``; with it, to the three
equations written out score by score. Every evaluator is held to ``statevector``, which runs the circuit for every score.
"""

import copy
import io
import itertools
import math
import pickle
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn.functional import linear, scaled_dot_product_attention

from superpositional.attention import QuantumAttention
from superpositional.attention.controls import ClassicalTwin, ConstantTerm, FrozenCircuit, NoTerm
from superpositional.attention.inputs import PER_SCORE, SCORES
from superpositional.circuits import Ansatz
from superpositional.circuits import statevector as statevector_module
from superpositional.circuits.backends import Exact, exact, qiskit
from superpositional.circuits.backends.base import METHODS
from superpositional.circuits.backends.exact import EXACT, evaluate
from superpositional.circuits.readouts import READOUTS, is_amplitude

# B batch, H heads, N queries, M keys, D embed.
B, H, N, M, D = 2, 2, 3, 5, 8
EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}
BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
# Two orders of summation of the same numbers, all of order 1: at most some dozens of roundings apart.
ROUNDINGS = 64
# The degree, which decides whether frequencies are whole or half, is even in the first three and odd in the others.
ANSATZES = {
    "paper": Ansatz(),
    "ring": Ansatz(n_qubits=3, depth=2, entanglement="ring"),
    "none": Ansatz(n_qubits=2, depth=2, entanglement="none", rotations=("rx", "ry")),
    "first_layer": Ansatz(n_qubits=3, depth=2, reupload=False),
    "odd": Ansatz(n_qubits=3, depth=1, rotations=("ry", "rz", "ry")),
    "one_qubit": Ansatz(n_qubits=1, depth=1),
}
SMALL = Ansatz(n_qubits=2, depth=2)
# float64, two ways to run a circuit: scores below 10 in up to 8 gates of 4 qubits are some 1e-14 off, and a gradient adds
# up to B * H * N * M = 60 of them.
AGREE = 1e-12
FOREIGN = ["qiskit", "aer"]
EVALUATORS = ["auto", "statevector", *FOREIGN]


def build(seed: int = 0, **changes) -> QuantumAttention:
    torch.manual_seed(seed)
    return QuantumAttention(D, H, **{"dtype": torch.float64, "ansatz": SMALL, **changes})


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inputs(dtype: torch.dtype = torch.float64, batch: int = B) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of cross attention, with gradients."""
    shapes = (batch, N, D), (batch, M, D), (batch, M, D)
    return tuple(randn(*shape, seed=seed, dtype=dtype).requires_grad_() for seed, shape in enumerate(shapes))


def silent(module: QuantumAttention) -> QuantumAttention:
    """The same module with Phi = 0."""
    zeros = torch.zeros_like(module.coefficients())
    module.coefficients = lambda: zeros
    return module


def softmax_twin(module: QuantumAttention) -> nn.MultiheadAttention:
    """torch's module with the same weights."""
    dtype, bias = module.in_proj_weight.dtype, module.in_proj_bias is not None
    twin = nn.MultiheadAttention(D, H, module.dropout, bias=bias, batch_first=module.batch_first, dtype=dtype)
    twin.load_state_dict({name: value for name, value in module.state_dict().items() if name != "angles"})
    return twin


def projections(module: QuantumAttention, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """Queries, keys and values by head, of batch-first input."""
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    given = zip((query, key, value), module.in_proj_weight.chunk(3), biases, strict=True)
    return [linear(*each).unflatten(-1, (H, D // H)).transpose(1, 2) for each in given]


def gradients(output: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Of a sum with weights of order 1, that no symmetry makes 0."""
    return torch.autograd.grad((output * randn(*output.shape, seed=9, dtype=output.dtype)).sum(), leaves)


def assert_close(ours, theirs, atol: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


# Without Phi it is torch's -----------------------------------------------------------------------------------------


def boolean(*shape: int, seed: int = 5) -> Tensor:
    """Half of it True, but the first column, so that no row is masked throughout."""
    mask = randn(*shape, seed=seed) > 0
    mask[..., 0] = False
    return mask


def infinite(mask: Tensor) -> Tensor:
    """Floats: -inf where masked, numbers of order 1 elsewhere."""
    return randn(*mask.shape, seed=6).masked_fill(mask, -math.inf)


def as_float(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask, -math.inf)


MASKS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "none": dict,
    "attn_bool": lambda: {"attn_mask": boolean(N, M)},
    "attn_float": lambda: {"attn_mask": infinite(boolean(N, M))},
    "attn_bool_by_head": lambda: {"attn_mask": boolean(B * H, N, M)},
    "attn_float_by_head": lambda: {"attn_mask": infinite(boolean(B * H, N, M))},
    "padding_bool": lambda: {"key_padding_mask": boolean(B, M)},
    "padding_float": lambda: {"key_padding_mask": infinite(boolean(B, M))},
    "both_bool": lambda: {"attn_mask": boolean(N, M), "key_padding_mask": boolean(B, M, seed=7)},
    "both_float": lambda: {"attn_mask": infinite(boolean(N, M)), "key_padding_mask": infinite(boolean(B, M, seed=7))},
    "both_by_head": lambda: {"attn_mask": boolean(B * H, N, M), "key_padding_mask": boolean(B, M, seed=7)},
    "nothing_masked": lambda: {"attn_mask": torch.zeros(N, M).bool(), "key_padding_mask": torch.zeros(B, M).bool()},
}
every_mask = pytest.mark.parametrize("mask", MASKS)


def masks(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: mask if mask.dtype == torch.bool else mask.to(dtype) for key, mask in MASKS[name]().items()}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@BOTH
@every_mask
def test_without_phi_outputs_and_gradients_are_those_of_multihead_attention(mask, dtype, bias) -> None:
    ours = silent(build(dtype=dtype, bias=bias))
    theirs = softmax_twin(ours)
    given, options = inputs(dtype), masks(mask, dtype)
    output, weights = ours(*given, **options)
    expected, _ = theirs(*given, **options, need_weights=False)
    assert weights is None
    assert_close(output, expected, ROUNDINGS * EPS[dtype])
    leaves = [parameter for name, parameter in ours.named_parameters() if name != "angles"]
    assert_close(
        gradients(output, *given, *leaves),
        gradients(expected, *given, *theirs.parameters()),
        # Sums over B * N = 6 rows of D = 8.
        8 * ROUNDINGS * EPS[dtype],
    )


@pytest.mark.parametrize("average", [True, False], ids=["averaged", "by_head"])
@every_mask
def test_without_phi_the_weights_returned_are_those_of_multihead_attention(mask, average) -> None:
    ours = silent(build())
    options = {**masks(mask, torch.float64), "need_weights": True, "average_attn_weights": average}
    output, weights = ours(*inputs(), **options)
    expected, expected_weights = softmax_twin(ours)(*inputs(), **options)
    assert weights.shape == ((B, N, M) if average else (B, H, N, M))
    assert_close((output, weights), (expected, expected_weights), ROUNDINGS * EPS[torch.float64])


def test_masks_of_two_kinds_at_once_are_the_same_masks_in_one_kind() -> None:
    module, attn, padding = build(), boolean(N, M), boolean(B, M, seed=7)
    expected = module(*inputs(), attn_mask=attn, key_padding_mask=padding)[0]
    # torch's module warns here. The same numbers are added in the same order: no rounding.
    assert torch.equal(module(*inputs(), attn_mask=as_float(attn), key_padding_mask=padding)[0], expected)
    assert torch.equal(module(*inputs(), attn_mask=attn, key_padding_mask=as_float(padding))[0], expected)


@BOTH
@pytest.mark.parametrize("lengths", [(4, 4), (N, M), (M, N)], ids=str)
def test_without_phi_the_causal_flag_is_that_of_scaled_dot_product_attention(lengths, dtype) -> None:
    module = silent(build(dtype=dtype))
    query, key, value = (randn(B, lengths[i > 0], D, seed=i, dtype=dtype) for i in range(3))
    heads = scaled_dot_product_attention(*projections(module, query, key, value), is_causal=True)
    expected = module.out_proj(heads.transpose(1, 2).flatten(2))
    assert_close(module(query, key, value, is_causal=True)[0], expected, ROUNDINGS * EPS[dtype])


def test_the_causal_flag_is_the_causal_mask_also_together_with_it_and_with_padding() -> None:
    module, (query, _, _) = build(), inputs()
    mask = torch.ones(N, N, dtype=torch.bool).triu(1)
    padding = {"key_padding_mask": torch.tensor([[False, False, True], [False, False, False]])}
    for options in ({}, padding):
        expected = module(query, query, query, attn_mask=mask, **options)[0]
        assert torch.equal(module(query, query, query, is_causal=True, **options)[0], expected)
        assert torch.equal(module(query, query, query, attn_mask=mask, is_causal=True, **options)[0], expected)
    plain = module(query, query, query)[0]
    assert not torch.allclose(module(query, query, query, is_causal=True)[0], plain)


FULLY_MASKED = {
    "a_row": {"attn_mask": torch.tensor([[False] * M, [True] * M, [True] * (M - 1) + [False]])},
    "a_row_float": {"attn_mask": torch.zeros(N, M).index_fill(0, torch.tensor([1]), -math.inf)},
    "a_row_of_a_head": {"attn_mask": (torch.arange(B * H * N) == 5).reshape(B * H, N, 1).expand(-1, -1, M)},
    "a_sequence": {"key_padding_mask": torch.tensor([[True] * M, [False] * M])},
    "a_sequence_float": {"key_padding_mask": torch.tensor([[-math.inf] * M, [0.0] * M])},
    # Neither alone masks a whole row.
    "by_both": {
        "attn_mask": torch.tensor([[False] * M, [True] * 2 + [False] * (M - 2), [False] * M]),
        "key_padding_mask": torch.tensor([[False] * 2 + [True] * (M - 2), [False] * M]),
    },
    "everything": {"attn_mask": torch.ones(N, M).bool()},
}


def merged(options: dict[str, Tensor]) -> Tensor:
    """Both masks as one, of floats, (B, H, N, M)."""
    total = torch.zeros(B, H, N, M, dtype=torch.float64)
    for name, mask in options.items():
        numbers = as_float(mask) if mask.dtype == torch.bool else mask
        if name == "key_padding_mask":
            numbers = numbers[:, None, None]
        elif numbers.dim() == 3:
            numbers = numbers.unflatten(0, (B, H))
        total = total + numbers
    return total


@pytest.mark.parametrize("case", FULLY_MASKED)
def test_without_phi_a_fully_masked_row_is_that_of_scaled_dot_product_attention(case) -> None:
    module, given = silent(build()), inputs()
    output, _ = module(*given, **FULLY_MASKED[case])
    heads = scaled_dot_product_attention(*projections(module, *given), attn_mask=merged(FULLY_MASKED[case]))
    expected = module.out_proj(heads.transpose(1, 2).flatten(2))
    assert_close(output, expected, ROUNDINGS * EPS[torch.float64])
    leaves = [*given, module.in_proj_weight, module.out_proj.weight]
    assert_close(gradients(output, *leaves), gradients(expected, *leaves), 8 * ROUNDINGS * EPS[torch.float64])


@pytest.mark.parametrize("case", FULLY_MASKED)
def test_a_fully_masked_row_has_weights_0_and_every_gradient_is_finite(case) -> None:
    module, given, options = build(), inputs(), FULLY_MASKED[case]
    # Anomaly detection also sees a NaN that a later step hides.
    with torch.autograd.set_detect_anomaly(True):
        output, weights = module(*given, **options, need_weights=True, average_attn_weights=False)
        found = gradients(output, *given, *module.parameters())
    full = (merged(options) == -math.inf).all(-1)
    assert full.any()
    assert not weights[full].any()
    assert_close(weights[~full].sum(-1), torch.ones_like(weights[~full].sum(-1)), 4 * EPS[torch.float64])
    assert output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in found)


def test_a_learned_float_mask_gets_the_gradient_that_multihead_attention_gives_it() -> None:
    ours, mask = silent(build()), randn(N, M, seed=6).requires_grad_()
    output, _ = ours(*inputs(), attn_mask=mask)
    expected, _ = softmax_twin(ours)(*inputs(), attn_mask=mask, need_weights=False)
    assert_close(gradients(output, mask), gradients(expected, mask), 8 * ROUNDINGS * EPS[torch.float64])


@pytest.mark.parametrize("batch_first", [True, False])
def test_without_phi_sequence_first_and_unbatched_input_are_as_in_multihead_attention(batch_first) -> None:
    ours = silent(build(batch_first=batch_first))
    theirs = softmax_twin(ours)
    given = inputs() if batch_first else [each.transpose(0, 1) for each in inputs()]
    padding, by_head = boolean(B, M), boolean(B * H, N, M, seed=7)
    options = {"need_weights": True, "attn_mask": by_head, "key_padding_mask": padding}
    found = ours(*given, **options)
    assert found[0].shape == given[0].shape
    assert_close(found, theirs(*given, **options), ROUNDINGS * EPS[torch.float64])
    one = [each[0] for each in inputs()]
    options = {"need_weights": True, "attn_mask": by_head[:H], "key_padding_mask": padding[0]}
    for average in (True, False):
        found = ours(*one, **options, average_attn_weights=average)
        assert found[0].shape == (N, D)
        assert_close(found, theirs(*one, **options, average_attn_weights=average), ROUNDINGS * EPS[torch.float64])


@BOTH
def test_without_phi_the_same_seed_drops_out_the_same_weights_as_in_multihead_attention(dtype) -> None:
    ours = silent(build(dtype=dtype, dropout=0.4))
    theirs = softmax_twin(ours)
    both = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        with_weights = module(*inputs(dtype), need_weights=True, average_attn_weights=False)
        torch.manual_seed(3)
        without_weights = module(*inputs(dtype), need_weights=False)[0]
        torch.manual_seed(3)
        both.append((*with_weights, without_weights, module(*inputs(dtype), need_weights=True)[1]))
    dropped, expected = both[0][1], both[1][1]
    assert torch.equal(dropped == 0, expected == 0)
    assert 0 < (dropped == 0).double().mean() < 1
    # Scores are summed in another order than there, so that bits differ; kept weights are divided by 0.6.
    assert_close(*both, 2 * ROUNDINGS * EPS[dtype])


def test_dropout_is_for_training() -> None:
    module, given = build(dropout=0.4), inputs()
    trained = module(*given)[0]
    without = build(dropout=0.0)
    assert not torch.allclose(trained, without(*given)[0])
    assert torch.equal(module.eval()(*given)[0], without(*given)[0])


# Weights and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "by_head"])
def test_the_same_seed_gives_the_initial_weights_of_multihead_attention_bit_for_bit(bias, shared) -> None:
    torch.manual_seed(7)
    ours = QuantumAttention(D, H, bias=bias, shared_angles=shared)
    torch.manual_seed(7)
    theirs = nn.MultiheadAttention(D, H, bias=bias)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys() | {"angles"}
    for name, value in expected.items():
        assert torch.equal(state[name], value)
        assert state[name].dtype == value.dtype
    found = ours.load_state_dict(expected, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["angles"], [])


def test_angles_are_drawn_from_the_whole_circle_one_set_per_head_or_one_for_all() -> None:
    by_head = QuantumAttention(64, 16, ansatz=Ansatz(n_qubits=5, depth=6)).angles
    assert by_head.shape == (16, 6, 2, 5)
    assert by_head.unique().numel() == by_head.numel()
    # 960 draws: the largest of them misses pi by more than 0.1 once in e^15 times.
    assert math.pi - 0.1 < by_head.max() < math.pi
    assert -math.pi <= by_head.min() < 0.1 - math.pi
    assert build(shared_angles=True).angles.shape == (1, 2, 2, 2)


# Equations (3) to (5) ----------------------------------------------------------------------------------------------


def written_out(
    module: QuantumAttention, query: Tensor, key: Tensor, value: Tensor, mask_BHNM: Tensor
) -> tuple[Tensor, Tensor]:
    """Eqs. (3) to (5) as they stand, the circuit run for one score after the other: output, and weights by head."""
    q, k, v = projections(module, query, key, value)
    raw = torch.einsum("bhne,bhme->bhnm", q, k)
    entering = {"raw": raw, "scaled": raw / math.sqrt(D // H)}[module.score]
    phi = torch.empty_like(raw)
    for b, h, n, m in itertools.product(*map(range, raw.shape)):
        angles = module.angles[0 if module.shared_angles else h]
        phi[b, h, n, m] = evaluate(module.ansatz, entering[b, h, n, m].reshape(1), angles, module.readout).sum()
    power = (raw / math.sqrt(D // H) + phi + mask_BHNM).exp()
    weights = power / power.sum(-1, keepdim=True)
    heads = torch.einsum("bhnm,bhme->bnhe", weights, v).flatten(2)
    return linear(heads, module.out_proj.weight, module.out_proj.bias), weights


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ansatz", ANSATZES)
def test_it_is_the_equations_written_out(ansatz, score, shared) -> None:
    readout = READOUTS[list(ANSATZES).index(ansatz)]
    module = build(ansatz=ANSATZES[ansatz], readout=readout, score=score, shared_angles=shared)
    given, options = inputs(), masks("both_float", torch.float64)
    expected = written_out(module, *given, merged(options))
    found = module(*given, **options, need_weights=True, average_attn_weights=False)
    # The values of order 1 go through D <= 8 gates and as many frequencies.
    assert_close(found, expected, 4 * ROUNDINGS * EPS[torch.float64])
    leaves = [*given, *module.parameters()]
    assert_close(gradients(found[0], *leaves), gradients(expected[0], *leaves), AGREE)
    # So far a term that is 0 would pass.
    assert not torch.allclose(found[0], silent(module)(*given, **options)[0], atol=1e-3)


def test_every_readout_is_another_attention() -> None:
    # On three qubits: the readings of "the first basis states" are three different sets there.
    outputs = [build(ansatz=ANSATZES["ring"], readout=readout)(*inputs())[0] for readout in READOUTS]
    for one, other in itertools.combinations(outputs, 2):
        assert not torch.allclose(one, other, atol=1e-4)


def test_a_mask_is_added_after_the_quantum_term_and_never_enters_the_circuit() -> None:
    module, seen = build(), []
    compute = module.phi
    module.phi = lambda raw: seen.append(raw.detach()) or compute(raw)
    plain = module(*inputs(), need_weights=True, average_attn_weights=False)[1]
    bias = randn(N, M, seed=6)
    biased = module(*inputs(), attn_mask=bias, need_weights=True, average_attn_weights=False)[1]
    hidden = module(*inputs(), attn_mask=infinite(boolean(N, M)), need_weights=True)[0]
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    assert hidden.isfinite().all()
    # So a bias multiplies the weights by its exponential.
    power = plain * bias.exp()
    assert_close(biased, power / power.sum(-1, keepdim=True), ROUNDINGS * EPS[torch.float64])


def test_permuted_keys_and_values_permute_the_weights_and_leave_the_output() -> None:
    module, (query, key, value) = build(), inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    output, weights = module(query, key, value, need_weights=True)
    permuted, permuted_weights = module(query, key[:, order], value[:, order], need_weights=True)
    # Blocks of a matrix product are summed in another order.
    assert_close(permuted_weights, weights[..., order], ROUNDINGS * EPS[torch.float64])
    assert_close(permuted, output, ROUNDINGS * EPS[torch.float64])
    assert not torch.allclose(weights, weights[..., order], atol=1e-3)


# Evaluators --------------------------------------------------------------------------------------------------------


def everything(module: QuantumAttention, scale: float = 1.0) -> tuple[Tensor, ...]:
    """Output, weights by head, and every gradient."""
    query, key, value = inputs()
    output, weights = module(scale * query, key, value, **masks("both_bool", torch.float64), need_weights=True)
    return output, weights, *gradients(output, query, key, value, *module.parameters())


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ansatz", ANSATZES)
@pytest.mark.parametrize("readout", READOUTS)
def test_fourier_gives_the_outputs_and_gradients_of_a_circuit_per_score(readout, ansatz, score, shared) -> None:
    settings = {"ansatz": ANSATZES[ansatz], "readout": readout, "score": score, "shared_angles": shared}
    fast = everything(build(**settings))
    assert_close(fast, everything(build(**settings, backend=PER_SCORE)), AGREE)
    assert fast[-1].any()  # the angles' gradient: two zeros would agree too


@pytest.mark.parametrize(("ansatz", "score", "shared"), [("small", "raw", False), ("first_layer", "scaled", True)])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("evaluator", FOREIGN)
def test_foreign_simulators_give_the_outputs_and_gradients_of_a_circuit_per_score(
    evaluator, readout, ansatz, score, shared
) -> None:
    chosen = {**ANSATZES, "small": SMALL}[ansatz]
    settings = {"ansatz": chosen, "readout": readout, "score": score, "shared_angles": shared}
    foreign = everything(build(**settings, backend=Exact(evaluator)))
    assert_close(foreign, everything(build(**settings, backend=PER_SCORE)), AGREE)


def test_no_evaluator_is_missing_from_these_tests() -> None:
    assert {*EVALUATORS, "closed_form", "fourier"} == set(METHODS)


@pytest.mark.parametrize("ansatz", ["paper", "odd"])
@pytest.mark.parametrize("readout", ["amplitude", "z"])
def test_scores_of_a_thousand_give_what_a_circuit_per_score_gives(readout, ansatz) -> None:
    settings = {"ansatz": ANSATZES[ansatz], "readout": readout}
    module, reference = build(**settings), build(**settings, backend=PER_SCORE)
    raw = 1e3 * randn(B, H, N, M, seed=3)
    assert raw.abs().max() > 1e3
    angle = 3e3
    # A score this large has an absolute rounding of its own, which each of D gates on each of n qubits sees.
    allowed = angle * module.ansatz.degree * module.ansatz.n_qubits * EPS[torch.float64]
    assert_close(module.phi(raw), reference.phi(raw), allowed)
    output = module(*(1e2 * each for each in inputs()))[0]
    assert output.isfinite().all()


def flat(module: QuantumAttention) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The module as a function of its input and all its parameters."""
    names, values = zip(*module.named_parameters(), strict=True)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x, x, x), {"is_causal": True})[0]

    return call, [value.detach().clone().requires_grad_() for value in values]


def tiny(**changes) -> QuantumAttention:
    torch.manual_seed(0)
    return QuantumAttention(4, 2, **{"dtype": torch.float64, "ansatz": Ansatz(n_qubits=2, depth=1), **changes})


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize("ansatz", [Ansatz(n_qubits=2, depth=1), Ansatz(n_qubits=1, depth=1)], ids=["even", "odd"])
@pytest.mark.parametrize("readout", ["amplitude", "probability", "z"])
def test_first_and_second_derivatives_are_those_of_finite_differences(readout, ansatz, shared) -> None:
    call, values = flat(tiny(readout=readout, ansatz=ansatz, shared_angles=shared))
    x = randn(1, 2, 4).requires_grad_()
    assert gradcheck(call, (x, *values))
    assert gradgradcheck(call, (x, *values))


@pytest.mark.parametrize("ansatz", ["paper", "odd"])
def test_second_derivatives_are_those_of_a_circuit_per_score(ansatz) -> None:
    found = []
    for evaluator in ("auto", "statevector"):
        module = build(ansatz=ANSATZES[ansatz], backend=Exact(evaluator))
        leaves = [*inputs(), *module.parameters()]
        output = module(*leaves[:3])[0]
        first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(each.square().sum() for each in first), leaves))
    # As for the first ones, with another factor of up to D = 8 and 100 summands.
    assert_close(*found, 100 * AGREE)
    assert found[0][-1].any()


# How often the circuit runs ----------------------------------------------------------------------------------------


@pytest.fixture
def runs(by_torch, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Circuits run so far by each simulator, counted where it runs them."""
    count = dict.fromkeys(["statevector", *FOREIGN], 0)

    def counted(name: str, run: Callable) -> Callable:
        def counting(ansatz: Ansatz, gate_angles_LRQ: Tensor, *rest, **options) -> Tensor:
            count[name] += math.prod(gate_angles_LRQ.shape[:-3])
            return run(ansatz, gate_angles_LRQ, *rest, **options)

        return counting

    monkeypatch.setattr(statevector_module, "state", counted("statevector", statevector_module.state))
    for name in FOREIGN:
        attribute = f"run_{name}"
        monkeypatch.setattr(qiskit, attribute, counted(name, getattr(qiskit, attribute)))
    return count


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize("readout", ["amplitude", "probability", "z"])
@pytest.mark.parametrize("evaluator", ["auto", *FOREIGN])
def test_a_forward_pass_runs_as_many_circuits_as_the_series_has_coefficients_whatever_the_batch(
    runs, evaluator, readout, shared
) -> None:
    simulator = "statevector" if evaluator == "auto" else evaluator
    module = build(readout=readout, backend=Exact(evaluator), shared_angles=shared)
    sets = 1 if shared else H
    degree = 4  # two qubits in two layers
    expected = sets * (degree + 1 if is_amplitude(readout) else 2 * degree + 1)
    # By autograd, or by the parameter-shift rule: each of the 8 angles moved once for an amplitude, else twice.
    shifted = 0 if evaluator == "auto" else expected * 8 * (1 if is_amplitude(readout) else 2)
    assert module.circuits == expected
    for batch, length in ((1, 1), (2, 3), (16, 40)):
        runs[simulator] = 0
        x = randn(batch, length, D)
        output, _ = module(x, x, x)
        # The shifted circuits, which the gradient needs, are part of the same call.
        assert runs == {**dict.fromkeys(runs, 0), simulator: expected + shifted}
        assert module.executions(batch * H * length**2) == (expected, shifted)
    runs[simulator] = 0
    gradients(output, *module.parameters())
    assert runs == dict.fromkeys(runs, 0)


def test_gradients_of_the_input_alone_run_no_further_circuit(runs) -> None:
    module = build(backend=Exact("qiskit"))
    module.angles.requires_grad_(False)
    output = module(*inputs())[0]
    gradients(output, module.in_proj_weight)
    assert runs["qiskit"] == module.circuits


def test_the_reference_runs_a_circuit_for_every_score(runs) -> None:
    module, expected = build(backend=PER_SCORE), B * H * N * M
    gradients(module(*inputs())[0], *module.parameters())
    assert runs == {"statevector": expected, "qiskit": 0, "aer": 0}
    assert module.executions(expected) == (expected, 0)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_an_evaluator_asks_the_simulator_it_is_named_after(by_torch, monkeypatch, evaluator) -> None:
    asked = []
    for name, simulator in EXACT.items():

        def run(*arguments, name: str = name, inner: Callable = simulator) -> Tensor:
            asked.append(name)
            return inner(*arguments)

        monkeypatch.setitem(exact.EXACT, name, run)
    build(backend=Exact(evaluator))(*inputs())
    assert asked == [{"auto": "statevector"}.get(evaluator, evaluator)]


@pytest.mark.parametrize("evaluator", ["auto", "statevector"])
@pytest.mark.parametrize("score", SCORES)
def test_while_measuring_it_leaves_the_size_of_phi_and_of_the_scores_and_changes_nothing(score, evaluator) -> None:
    module, given = build(score=score, backend=Exact(evaluator)), inputs()
    expected = module(*given)[0]
    assert module.statistics == {}
    module.measuring = True
    assert torch.equal(module(*given)[0], expected)
    query, key, _ = projections(module, *given)
    raw = query @ key.mT
    sums = {"score_squares": raw / math.sqrt(D // H), "phi_squares": module.phi(raw)}
    assert module.statistics.keys() == {*sums, "scores", "executions"}
    # A second pass adds to the first.
    for passes in (1, 2):
        found = module.statistics
        assert found["scores"] == passes * B * H * N * M
        assert found["executions"] == passes * module.executions(B * H * N * M)[0]
        for name, numbers in sums.items():
            # It is kept in float32.
            wanted = passes * numbers.square().sum().item()
            assert found[name].item() == pytest.approx(wanted, rel=8 * EPS[torch.float32])
            assert not found[name].requires_grad
        module(*given)
    found = module.statistics
    module.measuring = False
    module(*(2 * each for each in given))
    assert module.statistics is found


# Precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", ["auto", "statevector"])
@pytest.mark.parametrize("readout", ["amplitude", "z"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_float32_to_some_roundings(dtype, readout, evaluator) -> None:
    half = build(dtype=dtype, readout=readout, backend=Exact(evaluator))
    whole = copy.deepcopy(half).float()
    given = inputs(dtype)
    output, weights = half(*given, attn_mask=boolean(N, M), need_weights=True)
    expected, expected_weights = whole(*(each.float() for each in given), attn_mask=boolean(N, M), need_weights=True)
    assert output.dtype == weights.dtype == dtype
    # Scores of up to 4 are rounded to 2 eps, which a circuit of degree 4 multiplies by up to 4 (z: 2 qubits, 8); then some
    # roundings of numbers of order 1.
    allowed = 16 * EPS[dtype]
    assert_close(output.float(), expected, allowed)
    assert_close(weights.float(), expected_weights, allowed)
    found = gradients(output, *given, *half.parameters())
    expected = gradients(expected, *given, *whole.parameters())
    for gradient, reference, leaf in zip(found, expected, [*given, *half.parameters()], strict=True):
        assert gradient.dtype == leaf.dtype == dtype
        # Of the whole, not of each number: sums of up to 12 products cancel.
        assert (gradient.float() - reference.float()).norm() < 2 * allowed * reference.float().norm() + EPS[dtype]
    assert found[-1].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_float32_to_some_roundings_and_float32_gradients(dtype) -> None:
    module, given = build(dtype=torch.float32), inputs(torch.float32)
    expected = module(*given, attn_mask=boolean(N, M))[0]
    with torch.autocast("cpu", dtype):
        output = module(*given, attn_mask=boolean(N, M))[0]
    assert output.dtype == dtype
    assert_close(output.float(), expected, 16 * EPS[dtype])
    for gradient, parameter in zip(gradients(output, *module.parameters()), module.parameters(), strict=True):
        assert gradient.dtype == parameter.dtype == torch.float32
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_float_mask_of_another_precision_is_a_mask_in_the_modules_own(dtype) -> None:
    module, mask = build(dtype=dtype), infinite(boolean(N, M))
    found = module(*inputs(dtype), attn_mask=mask, need_weights=True)
    expected = module(*inputs(dtype), attn_mask=mask.to(dtype), need_weights=True)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


def test_the_circuit_is_computed_in_float32_at_least() -> None:
    for dtype, computed in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
    ):
        module = build(dtype=dtype)
        assert module.coefficients().dtype == computed
        assert module.phi(torch.zeros(1, H, 1, 1, dtype=dtype)).dtype == computed


# Shapes and layouts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize(("batch", "queries", "keys"), [(0, 3, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
def test_empty_batches_and_sequences_give_empty_or_zero_outputs_and_gradients_of_0(evaluator, batch, queries, keys) -> None:
    module = build(backend=Exact(evaluator))
    query, key = randn(batch, queries, D), randn(batch, keys, D)
    output, weights = module(query, key, key, need_weights=True, attn_mask=torch.zeros(queries, keys).bool())
    assert output.shape == (batch, queries, D)
    assert weights.shape == (batch, queries, keys)
    # Without keys there is nothing to attend to: what a fully masked row gives.
    assert torch.equal(output, module.out_proj.bias.expand_as(output))
    assert not any(gradient.any() for gradient in torch.autograd.grad(output.sum(), [module.in_proj_weight, module.angles]))


def test_inputs_that_are_not_contiguous_give_what_contiguous_ones_give() -> None:
    module = build()
    x = randn(B, N, D)
    strided = torch.stack([x, torch.full_like(x, math.nan)], -1)[..., 0]
    transposed = x.transpose(0, 1).contiguous().transpose(0, 1)
    rows = torch.stack([x, torch.full_like(x, math.nan)], 2).flatten(1, 2)[:, ::2]
    mask = boolean(N, N)
    expected = module(x, x, x, attn_mask=mask)[0]
    expanded = x[:1].expand(B, -1, -1)
    for other in (strided, transposed, rows):
        assert not other.is_contiguous()
        assert_close(
            module(other, other, other, attn_mask=mask.T.contiguous().T)[0], expected, ROUNDINGS * EPS[torch.float64]
        )
    found = module(expanded, expanded, expanded, attn_mask=mask[None].expand(B * H, -1, -1))[0]
    assert_close(found, expected[:1].expand_as(found), ROUNDINGS * EPS[torch.float64])


def test_self_attention_is_cross_attention_with_itself() -> None:
    module, x = build(), randn(B, N, D)
    # The first projects three times at once, the second one after the other.
    assert_close(module(x, x, x)[0], module(x, x.clone(), x.clone())[0], ROUNDINGS * EPS[torch.float64])
    assert not torch.allclose(module(x, x, x)[0], module(x, x, x + 1)[0])


# Inside torch's layers ---------------------------------------------------------------------------------------------


def layer(quantum: bool = True, dropout: float = 0.0, **changes) -> nn.TransformerEncoderLayer:
    """With torch's default activation, with which it evaluates by a path of its own that never calls the attention."""
    torch.manual_seed(0)
    made = nn.TransformerEncoderLayer(D, H, 16, dropout, batch_first=True, dtype=torch.float64, **changes)
    if quantum:
        module = build(dropout=dropout, bias=changes.get("bias", True))
        module.load_state_dict(made.self_attn.state_dict(), strict=False)
        made.self_attn = module
    return made


LAYER_MASKS = {
    "none": {},
    "padding": {"src_key_padding_mask": torch.tensor([[False, False, True], [False, False, False]])},
    "causal": {"src_mask": nn.Transformer.generate_square_subsequent_mask(N, dtype=torch.float64), "is_causal": True},
}


@pytest.mark.parametrize("norm_first", [False, True], ids=["post_norm", "pre_norm"])
@pytest.mark.parametrize("mask", LAYER_MASKS)
def test_an_encoder_layer_evaluates_with_the_attention_it_is_trained_with(mask, norm_first) -> None:
    quantum, softmax = layer(norm_first=norm_first), layer(quantum=False, norm_first=norm_first)
    x, options = randn(B, N, D), LAYER_MASKS[mask]
    trained = quantum.train()(x, **options)
    gradients(trained, *quantum.parameters())
    with torch.no_grad():
        evaluated = quantum.eval()(x, **options)
        plain = softmax.eval()(x, **options)
    # The same function on the same numbers.
    assert torch.equal(evaluated, trained)
    assert not torch.allclose(evaluated, plain, atol=1e-3)
    silent(quantum.self_attn)
    with torch.no_grad():
        # torch's fused path does the same in another order, normalized to order 1 twice.
        assert_close(quantum(x, **options), plain, 8 * ROUNDINGS * EPS[torch.float64])


def test_an_encoder_layer_in_evaluation_has_no_dropout() -> None:
    x = randn(B, N, D)
    with torch.no_grad():
        assert torch.equal(layer(dropout=0.5).eval()(x), layer().eval()(x))


@pytest.mark.parametrize("mask", LAYER_MASKS)
def test_an_encoder_is_its_layers_one_after_the_other_in_training_and_in_evaluation(mask) -> None:
    # With enable_nested_tensor=True, its default, torch warns that it will not use them with this attention.
    encoder = nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False)
    options = {{"src_mask": "mask"}.get(name, name): value for name, value in LAYER_MASKS[mask].items()}
    x = randn(B, N, D)
    expected = layer()(layer()(x, **LAYER_MASKS[mask]), **LAYER_MASKS[mask])
    trained = encoder.train()(x, **options)
    with torch.no_grad():
        evaluated = encoder.eval()(x, **options)
    assert torch.equal(trained, expected)
    assert torch.equal(evaluated, expected)


def test_a_decoder_layer_takes_it_for_both_of_its_attentions() -> None:
    torch.manual_seed(0)
    decoder = nn.TransformerDecoderLayer(D, H, 16, 0.0, batch_first=True, dtype=torch.float64)
    x, memory = randn(B, N, D), randn(B, M, D, seed=1)
    options = {"tgt_mask": nn.Transformer.generate_square_subsequent_mask(N, dtype=torch.float64), "tgt_is_causal": True}
    softmax = decoder(x, memory, **options)
    for name in ("self_attn", "multihead_attn"):
        module = build(seed=len(name))
        module.load_state_dict(getattr(decoder, name).state_dict(), strict=False)
        setattr(decoder, name, module)
    quantum = decoder(x, memory, **options)
    assert not torch.allclose(quantum, softmax, atol=1e-3)
    silent(decoder.self_attn)
    silent(decoder.multihead_attn)
    assert_close(decoder(x, memory, **options), softmax, 8 * ROUNDINGS * EPS[torch.float64])


# Copies ------------------------------------------------------------------------------------------------------------


def through_state_dict(module: QuantumAttention) -> QuantumAttention:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = build(seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "state_dict": through_state_dict,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_gives_the_same_output_and_has_parameters_of_its_own(way) -> None:
    module = build()
    expected = module(*inputs())[0]
    other = COPIES[way](module)
    assert torch.equal(other(*inputs())[0], expected)
    with torch.no_grad():
        other.angles.zero_()
    assert torch.equal(module(*inputs())[0], expected)
    assert not torch.allclose(other(*inputs())[0], expected, atol=1e-3)


def test_double_precision_after_construction_is_double_precision_throughout() -> None:
    module = build(dtype=torch.float32)
    twin = build(backend=PER_SCORE)
    twin.load_state_dict(module.state_dict())
    assert_close(module.double()(*inputs())[0], twin(*inputs())[0], AGREE)


def test_on_the_meta_device_there_are_shapes_and_no_memory() -> None:
    with torch.device("meta"):
        inside = QuantumAttention(D, H)
    for module in (inside, QuantumAttention(D, H, device="meta"), QuantumAttention(D, H).to("meta")):
        assert all(parameter.is_meta for parameter in module.parameters())
        output, weights = module(*(each.detach().float().to("meta") for each in inputs()), need_weights=True)
        assert output.is_meta
        assert (output.shape, weights.shape) == ((B, N, D), (B, N, M))
    other = QuantumAttention(D, H, device="meta").to_empty(device="cpu")
    assert other.load_state_dict(QuantumAttention(D, H).state_dict()).missing_keys == []


# The compiler ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
# Inductor leaves complex numbers, which the statevector has, to eager kernels, and says so.
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators:UserWarning")
# Torch's tracer makes an object of the series' autograd.Function, which torch deprecates.
@pytest.mark.filterwarnings(
    "ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning"
)
@pytest.mark.parametrize("readout", ["amplitude", "z"])
def test_compiled_in_one_graph_it_gives_what_eager_gives_and_recompiles_for_new_batch_sizes_once(readout) -> None:
    torch._dynamo.reset()
    module = build(readout=readout)
    compiled = torch.compile(module, fullgraph=True)
    # The second size makes the batch a variable; from then on, compiling again is an error.
    for batch, stance in ((2, "default"), (4, "default"), (6, "fail_on_recompile"), (7, "fail_on_recompile")):
        given = inputs(batch=batch)
        options = {"attn_mask": boolean(N, M), "key_padding_mask": boolean(batch, M, seed=7)}
        with torch.compiler.set_stance(stance):
            found = compiled(*given, **options)[0]
        expected = module(*given, **options)[0]
        # Kernels are fused, so numbers are rounded elsewhere.
        assert_close(found, expected, ROUNDINGS * EPS[torch.float64])
        leaves = [*given, *module.parameters()]
        assert_close(gradients(found, *leaves), gradients(expected, *leaves), AGREE)


@pytest.mark.slow
def test_exported_it_gives_what_eager_gives() -> None:
    module, given = build().eval(), tuple(each.detach() for each in inputs())
    options = {"attn_mask": boolean(N, M), "need_weights": True}
    exported = torch.export.export(module, given, options).module()
    # The same kernels in the same order.
    assert_close(exported(*given, **options), module(*given, **options), ROUNDINGS * EPS[torch.float64])
    # And not with today's angles in it as constants.
    with torch.no_grad():
        for each in (exported, module):
            each.angles.add_(1)
    assert_close(exported(*given, **options), module(*given, **options), ROUNDINGS * EPS[torch.float64])


# The certificate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", EVALUATORS)
@pytest.mark.parametrize("readout", READOUTS)
@BOTH
def test_the_certificate_is_no_more_than_rounding(dtype, readout, evaluator) -> None:
    ansatz = Ansatz() if evaluator == "auto" else SMALL
    module = build(dtype=dtype, readout=readout, backend=Exact(evaluator), ansatz=ansatz)
    generator = torch.Generator().manual_seed(0)
    # Each of D gates gets an angle of up to 30 + pi, rounded by eps / 2 of it, of which an amplitude or <Z> moves by that
    # much at most; n of them are added up.
    allowed = ansatz.n_qubits * ansatz.degree * (30 + math.pi) * EPS[dtype] / 2
    assert 0 < module.certificate(generator) < allowed


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
def test_the_certificate_sees_a_wrong_series(shared) -> None:
    module = build(shared_angles=shared)
    right = module.coefficients().detach()
    for index in itertools.product(*map(range, right.shape)):
        if index[-2:] == (1, 0):
            continue  # of sin(0 x)
        wrong = right.clone()
        wrong[index] += 0.1
        module.coefficients = lambda wrong=wrong: wrong
        # 256 points over some ten periods come close to the crest of a single wrong frequency.
        assert module.certificate(torch.Generator().manual_seed(0)) == pytest.approx(0.1, rel=1e-2)


def test_the_certificate_draws_from_its_generator_alone_and_leaves_no_graph() -> None:
    module = build(dtype=torch.float32)
    before = torch.get_rng_state()
    first, again, other = (module.certificate(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again != other
    assert module.angles.grad is None


# Refusals ----------------------------------------------------------------------------------------------------------

LISTED = ", ".join(READOUTS)
WRONG = [
    ({"readout": "phase"}, f"readout must be one of {LISTED}, got 'phase'"),
    ({"backend": Exact("closed_form")}, "backend.method=closed_form is the optimizer's alone; choose auto"),
    ({"score": "softmax"}, "score must be one of raw, scaled, got 'softmax'"),
    ({"num_heads": 3}, "embed_dim must be a multiple of num_heads, got 8 and 3; try 64 and 4"),
    ({"num_heads": 0}, "num_heads must be an integer >= 1, got 0; the paper has 64 and 4 heads"),
    ({"num_heads": -2}, "num_heads must be an integer >= 1, got -2; the paper has 64 and 4 heads"),
    ({"embed_dim": 0}, "embed_dim must be an integer >= 1, got 0; the paper has 64 and 4 heads"),
    ({"embed_dim": 8.0}, "embed_dim must be an integer >= 1, got 8.0; the paper has 64 and 4 heads"),
    ({"num_heads": True}, "num_heads must be an integer >= 1, got True; the paper has 64 and 4 heads"),
    ({"dropout": "x"}, "dropout must be in [0, 1), got 'x'; 0 switches it off"),
    ({"shared_angles": "no"}, "shared_angles must be true or false, got 'no'"),
    ({"bias": "no"}, "bias must be true or false, got 'no'"),
    ({"batch_first": 1}, "batch_first must be true or false, got 1"),
    ({"dtype": torch.complex64}, "dtype must be a floating-point one, got torch.complex64"),
    ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0; 0 switches it off"),
    ({"dropout": -0.1}, "dropout must be in [0, 1), got -0.1; 0 switches it off"),
    ({"dropout": math.nan}, "dropout must be in [0, 1), got nan; 0 switches it off"),
    (
        {"ansatz": {"n_qubits": 4}},
        "ansatz must be a superpositional.circuits.Ansatz, got {'n_qubits': 4}; in a config, set circuit.*",
    ),
    ({"ansatz": None}, "ansatz must be a superpositional.circuits.Ansatz, got None; in a config, set circuit.*"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_argument_is_an_error_that_names_value_and_cure(changes, message) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        QuantumAttention(**{"embed_dim": D, "num_heads": H, **changes})


def test_all_mistakes_are_reported_at_once() -> None:
    wanted = ("num_heads", "dropout", "readout", "score", "shared_angles", "ansatz")
    first = {name: next(case for case in WRONG if name in case[0]) for name in wanted}
    changes, messages = zip(*(first[name] for name in wanted), strict=True)
    everything_wrong = {name: value for each in changes for name, value in each.items()}
    with pytest.raises(ValueError, match="^" + re.escape("\n".join(messages)) + "$"):
        QuantumAttention(**{"embed_dim": D, **everything_wrong})


def test_a_circuit_that_memory_cannot_hold_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(
        MemoryError, match=r"n_qubits=40 needs .* GiB for the statevectors of .* are free; about n_qubits=\d+ would fit"
    ):
        QuantumAttention(D, H, ansatz=Ansatz(n_qubits=40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attn_mask": (M, N)}, f"attn_mask must have shape {(N, M)} or {(B * H, N, M)}, got {(M, N)}"),
        ({"attn_mask": (B, N, M)}, f"attn_mask must have shape {(N, M)} or {(B * H, N, M)}, got {(B, N, M)}"),
        ({"attn_mask": (B, H, N, M)}, f"attn_mask must have shape {(N, M)} or {(B * H, N, M)}, got {(B, H, N, M)}"),
        ({"attn_mask": (1, M)}, f"attn_mask must have shape {(N, M)} or {(B * H, N, M)}, got {(1, M)}"),
        ({"key_padding_mask": (B, N)}, f"key_padding_mask must have shape {(B, M)}, got {(B, N)}"),
        ({"key_padding_mask": (M,)}, f"key_padding_mask must have shape {(B, M)}, got {(M,)}"),
        ({"key_padding_mask": (1, M)}, f"key_padding_mask must have shape {(B, M)}, got {(1, M)}"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float64], ids=str)
def test_a_mask_of_another_shape_is_an_error_that_names_both_shapes(options, message, dtype) -> None:
    given = {name: torch.zeros(shape, dtype=dtype) for name, shape in options.items()}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()(*inputs(), **given)


def test_a_score_that_float16_cannot_hold_before_it_is_scaled_still_has_a_phi() -> None:
    attention = QuantumAttention(16, 1).half()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.eye(16).repeat(3, 1))
    # q and k are 16 numbers of 80: the raw score is 102,400, beyond float16's 65,504, and divided by 4 it is not.
    x = torch.full((1, 2, 16), 80.0, dtype=torch.float16)
    attention.measuring = True
    output, _ = attention(x, x, x)
    assert torch.isfinite(output).all()
    assert attention.statistics["score_squares"] == 4 * 25600**2
    assert torch.isfinite(attention.statistics["phi_squares"])


@pytest.mark.parametrize("name", ["attn_mask", "key_padding_mask"])
def test_a_mask_of_integers_is_an_error_and_not_added(name: str) -> None:
    shape = (N, M) if name == "attn_mask" else (B, M)
    with pytest.raises(ValueError, match=f"^{name} must be of bool, True to ignore, or of floats to add, got torch.int64$"):
        build()(*inputs(), **{name: torch.zeros(shape, dtype=torch.int64)})


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, N, D), (B, M, D), (B, M, D)),
        ((B, N, D), (B, M, D), (B, M + 1, D)),
        ((B, N, D), (M, D), (M, D)),
        ((B, N, D + 1), (B, M, D + 1), (B, M, D + 1)),
        ((D,), (D,), (D,)),
        ((B, H, N, D), (B, H, M, D), (B, H, M, D)),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_an_error_that_names_their_shapes(shapes: tuple) -> None:
    query, key, value = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    told = f"query must have shape (..., N, {D}), key and value (..., M, {D}) with the same batch or none, got "
    with pytest.raises(ValueError, match=re.escape(f"{told}{shapes[0]}, {shapes[1]} and {shapes[2]}")):
        build()(query, key, value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_a_nested_tensor_gives_what_its_sequences_give_alone(layout: torch.layout) -> None:
    attention = QuantumAttention(D, H, dtype=torch.float64)
    rows = [torch.randn(n, D, dtype=torch.float64) for n in (2, 3)]
    nested = torch.nested.nested_tensor(rows, layout=layout)
    found = attention(nested, nested, nested)[0]
    assert found.layout == layout
    for row, each in zip(rows, found.unbind(), strict=True):
        # Some 100 roundings of numbers of order 1: padded, sums go over more terms.
        torch.testing.assert_close(each, attention(row, row, row)[0], rtol=0, atol=100 * 2.0**-52)
    with pytest.raises(ValueError, match="nested tensors must be query, key and value in one, without masks"):
        attention(nested, nested, nested, need_weights=True)


def test_frozen_angles_cost_no_circuit_in_the_gradient() -> None:
    attention = QuantumAttention(D, H, backend=Exact("qiskit"))
    assert attention.executions(100)[1] > 0
    attention.angles.requires_grad_(False)
    assert attention.executions(100) == (attention.circuits, 0)


def test_its_repr_says_which_circuit_reading_and_evaluator_it_has() -> None:
    text = repr(build(readout="z", backend=Exact("aer"), score="scaled"))
    for part in (repr(SMALL), "readout='z'", "backend=Exact(method='aer')", "score='scaled'", "embed_dim=8", "num_heads=2"):
        assert part in text


# As torch's own modules --------------------------------------------------------------------------------------------


KINDS = [QuantumAttention, FrozenCircuit, NoTerm, ConstantTerm, ClassicalTwin]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"shared_angles": True}], ids=str)
def test_parameters_reset_under_a_seed_are_those_of_a_new_module(kind, settings: dict) -> None:
    torch.manual_seed(3)
    fresh = kind(8, 2, **settings)
    after = torch.rand(1)
    for start in ("meta", "cpu"):
        module = kind(8, 2, **settings, device=start).to_empty(device="cpu")
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(torch.nan)
        torch.manual_seed(3)
        for each in module.modules():
            if hasattr(each, "reset_parameters"):
                each.reset_parameters()
        assert torch.equal(torch.rand(1), after)
        assert module.state_dict().keys() == fresh.state_dict().keys()
        assert all(torch.equal(value, module.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_a_projection_reset_alone_is_drawn_again() -> None:
    module = QuantumAttention(8, 2)
    module.reset_parameters()
    with torch.no_grad():
        module.out_proj.weight.fill_(torch.nan)
        module.out_proj.bias.fill_(torch.nan)
    module.out_proj.reset_parameters()
    assert module.out_proj.weight.abs().max() <= 8**-0.5
    assert not module.out_proj.bias.any()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_given_quantum_attention_afterwards_evaluates_padded_batches() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    encoder = torch.nn.TransformerEncoder(layer, 2)
    for each in encoder.layers:
        each.self_attn = QuantumAttention(8, 2)
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    expected = encoder.train()(x, src_key_padding_mask=padding)
    with torch.no_grad():
        found = encoder.eval()(x, src_key_padding_mask=padding)
    # Some 100 roundings of numbers of order 1, by another path.
    torch.testing.assert_close(found[~padding], expected[~padding], rtol=0, atol=100 * 2.0**-23)
