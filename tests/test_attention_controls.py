"""Is each control quantum attention in all but Phi, and its Phi what it says?

Held to eq. (3) written out with Phi as each control's docstring has it; to ``nn.MultiheadAttention`` or to
``QuantumAttention`` where one of them is what must come out. Inputs, masks and tolerances are those of the parent's tests.
"""

import copy
import functools
import inspect
import io
import math
import re
from collections.abc import Callable

import pytest
import torch
from test_attention import (
    AGREE,
    BOTH,
    EPS,
    FULLY_MASKED,
    LAYER_MASKS,
    MASKS,
    ROUNDINGS,
    SMALL,
    B,
    D,
    H,
    M,
    N,
    assert_close,
    boolean,
    flat,
    gradients,
    inputs,
    masks,
    merged,
    projections,
    randn,
    softmax_twin,
)
from test_attention import ANSATZES as THEIRS
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from superpositional.attention import QuantumAttention, controls
from superpositional.attention.controls import ClassicalTwin, ConstantTerm, FrozenCircuit, NoTerm
from superpositional.attention.inputs import SCORES
from superpositional.circuits import Ansatz, series
from superpositional.circuits import statevector as statevector_module
from superpositional.circuits.backends import Exact
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.readouts import READOUTS
from superpositional.seeds import drawing_from
from superpositional.tasks.classification.net import SequenceTransformer

CONTROLS = {"zero": NoTerm, "bias": ConstantTerm, "frozen": FrozenCircuit, "twin": ClassicalTwin}
every_control = pytest.mark.parametrize("control", CONTROLS)
# What each has beside the names of nn.MultiheadAttention.
OWN = {"zero": [], "bias": ["constant"], "frozen": ["angles"], "twin": ["coefficients_free"]}
# Half-integer frequencies, of which none is 0, have no constant.
ANSATZES = {**THEIRS, "half": Ansatz(n_qubits=3, depth=1)}
# Where the angles move every coefficient by itself, and where they do not.
WHOLE = [
    ("paper", "amplitude"),
    ("none", "amplitude_one_hot"),
    ("half", "amplitude_little_endian"),
    ("one_qubit", "amplitude"),
]
PARTIAL = [("paper", "z"), ("ring", "probability"), ("none", "z"), ("half", "z"), ("one_qubit", "probability_one_hot")]


def build(kind: str | type[QuantumAttention], seed: int = 0, **changes) -> QuantumAttention:
    torch.manual_seed(seed)
    return CONTROLS.get(kind, kind)(D, H, **{"dtype": torch.float64, "ansatz": SMALL, **changes})


def test_no_control_is_missing_from_these_tests() -> None:
    classes = [each for _, each in inspect.getmembers(controls, inspect.isclass)]
    assert {each for each in classes if issubclass(each, QuantumAttention)} - {QuantumAttention} == set(CONTROLS.values())


# Eq. (3) with another Phi ------------------------------------------------------------------------------------------


def of_circuit(module: FrozenCircuit, x_BHNM: Tensor) -> Tensor:
    """The circuit, run for every score."""
    angles = module.angles.expand(H, *module.ansatz.angles_shape)[:, None, None]
    return evaluate(module.ansatz, x_BHNM[..., None], angles, module.readout).sum(-1)


def of_series(module: ClassicalTwin, x_BHNM: Tensor) -> Tensor:
    """One cosine or sine after the other."""
    first = series.doubled_frequencies(module.ansatz, module.readout)[0]
    total = torch.zeros_like(x_BHNM)
    for place, coefficient in zip(module.free, module.coefficients_free.unbind(1), strict=True):
        wave = (torch.cos, torch.sin)[place % 2]
        total = total + coefficient[:, None, None] * wave((place // 2 + first / 2) * x_BHNM)
    return total


PHI: dict[str, Callable] = {
    "zero": lambda module, x: torch.zeros_like(x),
    "bias": lambda module, x: module.constant[:, None, None].expand_as(x),
    "frozen": of_circuit,
    "twin": of_series,
}


def written_out(control: str, module: QuantumAttention, given: tuple, mask_BHNM: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (3): output, and weights by head. A row of nothing but -inf has weights 0."""
    q, k, v = projections(module, *given)
    raw = q @ k.mT
    entering = raw if module.score == "raw" else raw / math.sqrt(D // H)
    power = (raw / math.sqrt(D // H) + PHI[control](module, entering) + mask_BHNM).exp()
    weights = (power / power.sum(-1, keepdim=True)).masked_fill((mask_BHNM == -math.inf).all(-1, keepdim=True), 0)
    return module.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


@pytest.mark.parametrize("case", [*MASKS, *FULLY_MASKED])
@every_control
def test_it_is_equation_3_with_its_own_phi_under_every_mask(control, case) -> None:
    module, given = build(control), inputs()
    options = FULLY_MASKED[case] if case in FULLY_MASKED else masks(case, torch.float64)
    found = module(*given, **options, need_weights=True, average_attn_weights=False)
    # The values of order 1 go through D <= 8 gates and as many frequencies.
    assert_close(found, written_out(control, module, given, merged(options)), 4 * ROUNDINGS * EPS[torch.float64])


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ansatz", ANSATZES)
@every_control
def test_it_is_equation_3_for_every_circuit_and_setting_and_so_are_its_gradients(control, ansatz, score, shared) -> None:
    readout = READOUTS[list(ANSATZES).index(ansatz)]  # as many as there are circuits here
    module = build(control, ansatz=ANSATZES[ansatz], readout=readout, score=score, shared_angles=shared)
    given = inputs()
    found, expected = module(*given)[0], written_out(control, module, given, torch.zeros(N, M))[0]
    assert_close(found, expected, 4 * ROUNDINGS * EPS[torch.float64])
    leaves = [*given, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    assert_close(gradients(found, *leaves), gradients(expected, *leaves), AGREE)


@every_control
def test_sequence_first_and_unbatched_inputs_give_what_batches_give(control) -> None:
    module, sequence_first = build(control), build(control, batch_first=False)
    expected, expected_weights = module(*inputs(), need_weights=True)
    output, weights = sequence_first(*(each.transpose(0, 1) for each in inputs()), need_weights=True)
    assert_close((output.transpose(0, 1), weights), (expected, expected_weights), ROUNDINGS * EPS[torch.float64])
    for b in range(B):
        one, one_weights = module(*(each[b] for each in inputs()), need_weights=True)
        assert_close((one, one_weights), (expected[b], expected_weights[b]), ROUNDINGS * EPS[torch.float64])


@pytest.mark.parametrize(("batch", "queries", "keys"), [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
@every_control
def test_empty_batches_and_sequences_give_empty_or_zero_outputs_and_gradients_of_0(control, batch, queries, keys) -> None:
    module = build(control)
    query, key = randn(batch, queries, D), randn(batch, keys, D)
    output, weights = module(query, key, key, need_weights=True)
    assert (output.shape, weights.shape) == ((batch, queries, D), (batch, queries, keys))
    assert torch.equal(output, module.out_proj.bias.expand_as(output))
    leaves = [parameter for name, parameter in module.named_parameters() if name in ("in_proj_weight", "constant")]
    assert not any(gradient.any() for gradient in torch.autograd.grad(output.sum(), leaves))


@pytest.mark.parametrize("mask", LAYER_MASKS)
@every_control
def test_an_encoder_layer_evaluates_with_the_control_it_is_trained_with(control, mask) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(D, H, 16, 0.0, batch_first=True, dtype=torch.float64)
    x, options = randn(B, N, D), LAYER_MASKS[mask]
    with torch.no_grad():
        softmax = layer.eval()(x, **options)
    control_state = build(control)
    control_state.load_state_dict(layer.self_attn.state_dict(), strict=False)
    layer.self_attn = control_state
    trained = layer.train()(x, **options)
    with torch.no_grad():
        # The same function on the same numbers.
        assert torch.equal(layer.eval()(x, **options), trained)
    # And it is that control's: softmax attention for those without a function of the score, normalized twice.
    assert torch.allclose(trained, softmax, rtol=0, atol=8 * ROUNDINGS * EPS[torch.float64]) == (
        control in ("zero", "bias")
    )


# Parameters and copies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@every_control
def test_beside_multihead_attentions_names_it_has_its_own_parameter_alone(control, shared) -> None:
    module = build(control, shared_angles=shared)
    softmax = nn.MultiheadAttention(D, H).state_dict().keys()
    assert sorted(module.state_dict().keys() - softmax) == OWN[control]
    assert softmax <= module.state_dict().keys()
    assert all(len(getattr(module, name)) == (1 if shared else H) for name in OWN[control])


@every_control
def test_a_copy_gives_the_same_output_and_has_parameters_of_its_own(control) -> None:
    module = build(control, readout="z")
    expected = module(*inputs())[0]
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded = build(control, seed=1, readout="z")
    assert not torch.allclose(loaded(*inputs())[0], expected)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(module)):
        assert torch.equal(other(*inputs())[0], expected)
        assert not {id(parameter) for parameter in other.parameters()} & {
            id(parameter) for parameter in module.parameters()
        }


@every_control
def test_on_the_meta_device_it_has_the_shapes_that_it_has_elsewhere(control) -> None:
    controls.generic_rank.cache_clear()
    with torch.device("meta"):
        module = build(control, readout="z")
    assert all(parameter.is_meta for parameter in module.parameters())
    shapes = {name: value.shape for name, value in build(control, readout="z").state_dict().items()}
    assert {name: value.shape for name, value in module.state_dict().items()} == shapes
    assert module(*(each.detach().to("meta") for each in inputs()))[0].shape == (B, N, D)


@every_control
def test_half_precision_is_float32_to_some_roundings(control) -> None:
    half = build(control, dtype=torch.bfloat16)
    whole = copy.deepcopy(half).float()
    output = half(*inputs(torch.bfloat16))[0]
    assert output.dtype == torch.bfloat16
    assert half.phi(torch.zeros(1, H, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32
    # As for quantum attention: scores of up to 4 are rounded to 2 eps, which a series of degree 4 multiplies by up to 4.
    expected = whole(*(each.float() for each in inputs(torch.bfloat16)))[0]
    assert_close(output.float(), expected, 16 * EPS[torch.bfloat16])


@pytest.mark.parametrize(("ansatz", "readout"), [*WHOLE, *PARTIAL])
@every_control
def test_it_draws_what_quantum_attention_draws_and_shares_every_weight_with_it(control, ansatz, readout) -> None:
    settings = {"ansatz": ANSATZES[ansatz], "readout": readout}
    quantum = build(QuantumAttention, **settings)
    dice = torch.get_rng_state()
    module = build(control, **settings)
    assert torch.equal(torch.get_rng_state(), dice)
    state = quantum.state_dict()
    common = module.state_dict().keys() & state.keys()
    assert {*common} == {*state} - ({"angles"} if control != "frozen" else set())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items() if name in common)


# Nets --------------------------------------------------------------------------------------------------------------


def net(kind: type[nn.Module], **settings) -> SequenceTransformer:
    attention = (
        functools.partial(kind, **{"ansatz": Ansatz(), "readout": "z", **settings}) if settings is not None else kind
    )
    with drawing_from(3, "init"):
        return SequenceTransformer(vocabulary_size=20, n_classes=4, max_length=9, attention=attention)


@every_control
def test_nets_of_one_seed_share_every_tensor_that_they_have_in_common_in_every_layer(control) -> None:
    with drawing_from(3, "init"):
        softmax = SequenceTransformer(vocabulary_size=20, n_classes=4, max_length=9).state_dict()
    quantum, module = net(QuantumAttention), net(CONTROLS[control])
    state = module.state_dict()
    assert state.keys() - softmax.keys() == {f"layers.{i}.self_attn.{name}" for i in range(2) for name in OWN[control]}
    for other in (softmax, quantum.state_dict()):
        assert all(torch.equal(state[name], other[name]) for name in state.keys() & other.keys())
    if control == "twin":
        # The second layer's too start from the circuit that quantum attention has there.
        for index, layer in enumerate(module.layers):
            circuit = quantum.layers[index].self_attn.coefficients().mT.flatten(1)
            assert torch.equal(layer.self_attn.coefficients_free, circuit[:, list(layer.self_attn.free)])


@every_control
def test_with_shared_angles_what_it_has_of_its_own_is_one_parameter_of_all_layers(control) -> None:
    module = net(CONTROLS[control], shared_angles=True)
    first, second = (layer.self_attn for layer in module.layers)
    for name in OWN[control]:
        assert getattr(first, name) is getattr(second, name)
        assert len(getattr(first, name)) == 1
    own = [
        name for name, _ in module.named_parameters() if name.split(".")[-1] in ("angles", "constant", "coefficients_free")
    ]
    assert own == [f"layers.0.self_attn.{name}" for name in OWN[control]]
    assert all(
        parameter.requires_grad == (control != "frozen") for name, parameter in module.named_parameters() if name in own
    )
    module(torch.randint(1, 20, (2, 9), generator=torch.Generator().manual_seed(0))).logsumexp(1).sum().backward()
    for name in OWN[control]:
        assert (getattr(first, name).grad is None) == (control == "frozen")


# NoTerm and ConstantTerm -------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("mask", MASKS)
def test_no_term_is_multihead_attention_with_the_same_weights(mask, dtype) -> None:
    ours = build("zero", dtype=dtype)
    theirs, given, options = softmax_twin(ours), inputs(dtype), masks(mask, dtype)
    found = ours(*given, **options, need_weights=True)
    expected = theirs(*given, **options, need_weights=True)
    assert_close(found, expected, ROUNDINGS * EPS[dtype])
    assert_close(
        gradients(found[0], *given, *ours.parameters()),
        gradients(expected[0], *given, *theirs.parameters()),
        # Sums over B * N = 6 rows of D = 8.
        8 * ROUNDINGS * EPS[dtype],
    )


@pytest.mark.parametrize("case", [*MASKS, *FULLY_MASKED])
def test_a_constant_term_is_no_term_and_its_gradient_is_0_to_rounding(case) -> None:
    constant, none, given = build("bias"), build("zero"), inputs()
    options = FULLY_MASKED[case] if case in FULLY_MASKED else masks(case, torch.float64)
    with torch.no_grad():
        constant.constant.copy_(torch.tensor([-2.0, 3.0]))
    found, expected = constant(*given, **options)[0], none(*given, **options)[0]
    assert_close(found, expected, ROUNDINGS * EPS[torch.float64])
    # A sum over B * N * M = 30 scores, of numbers that cancel in every row.
    assert gradients(found, constant.constant)[0].abs().max() < 8 * ROUNDINGS * EPS[torch.float64]


def test_a_constant_term_is_a_placebo_and_not_nothing() -> None:
    constant, none = (build(control, dtype=torch.float32) for control in ("bias", "zero"))
    given = inputs(torch.float32)
    # Rounding, from the first step on.
    assert not torch.equal(constant(*given)[0], none(*given)[0])
    constant(*given)[0].square().sum().backward()
    start = constant.constant.detach().clone()
    torch.optim.Adam(constant.parameters(), lr=1e-3).step()
    assert not torch.equal(constant.constant, start)


# FrozenCircuit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", ["auto", "statevector", "qiskit"])
@pytest.mark.parametrize("mask", ["none", "both_float"])
def test_a_frozen_circuit_is_quantum_attention_bit_for_bit_and_its_angles_stay(mask, evaluator) -> None:
    frozen, quantum = (build(kind, backend=Exact(evaluator)) for kind in ("frozen", QuantumAttention))
    given, options = inputs(), masks(mask, torch.float64)
    found, expected = frozen(*given, **options)[0], quantum(*given, **options)[0]
    assert torch.equal(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert frozen.angles.grad is None
    assert torch.equal(frozen.in_proj_weight.grad, quantum.in_proj_weight.grad)
    for module in (frozen, quantum):
        torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.5).step()
    assert torch.equal(frozen.angles, build(QuantumAttention).angles)
    assert torch.equal(frozen.in_proj_weight, quantum.in_proj_weight)
    assert not torch.equal(quantum.angles, frozen.angles)


def test_a_frozen_circuit_runs_as_often_as_the_circuit_and_never_for_a_gradient() -> None:
    frozen, quantum = (build(kind, backend=Exact("qiskit")) for kind in ("frozen", QuantumAttention))
    assert frozen.executions(100) == (quantum.circuits, 0)
    assert quantum.executions(100)[1] > 0
    assert (frozen.notes()["trained"], quantum.notes()["trained"]) == (False, True)


# ClassicalTwin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["by_head", "shared"])
@pytest.mark.parametrize(("ansatz", "readout"), WHOLE)
def test_where_all_coefficients_are_free_the_twin_is_quantum_attention_at_any_angles(ansatz, readout, shared) -> None:
    settings = {"ansatz": ANSATZES[ansatz], "readout": readout, "shared_angles": shared}
    twin, quantum, given = build("twin", **settings), build(QuantumAttention, **settings), inputs()
    assert len(twin.free) == series.node_count(twin.ansatz, readout)
    options = masks("both_float", torch.float64)
    for move in (0.0, 1.0):  # where they start, and elsewhere
        with torch.no_grad():
            quantum.angles.add_(move * randn(*quantum.angles.shape, seed=4))
            if move:
                moved = quantum.coefficients().mT.flatten(1)
                assert not torch.allclose(twin.coefficients_free, moved[:, list(twin.free)], atol=1e-2)
                twin.coefficients_free.copy_(moved[:, list(twin.free)])
        raw = randn(B, H, N, M, seed=3)
        assert_close(twin.phi(raw), quantum.phi(raw), AGREE)
        found, expected = twin(*given, **options)[0], quantum(*given, **options)[0]
        assert_close(found, expected, AGREE)
        leaves = "in_proj_weight", "in_proj_bias"
        assert_close(
            gradients(found, *given, *(getattr(twin, name) for name in leaves)),
            gradients(expected, *given, *(getattr(quantum, name) for name in leaves)),
            AGREE,
        )


@pytest.mark.parametrize(("ansatz", "readout"), [*WHOLE, *PARTIAL])
def test_the_free_coefficients_are_as_many_as_the_ways_to_move_phi_and_start_as_the_circuits(ansatz, readout) -> None:
    settings = {"ansatz": ANSATZES[ansatz], "readout": readout}
    twin, quantum = build("twin", **settings), build(QuantumAttention, **settings)
    assert (len(twin.free) < series.node_count(**settings)) == ((ansatz, readout) in PARTIAL)
    assert twin.coefficients_free.shape == (H, twin.rank.whole)
    # Counted again: over scores of all sizes, by autograd of quantum attention's own Phi, with and without its mean.
    x = torch.linspace(0, 4 * math.pi, 8 * series.node_count(**settings) + 1, dtype=torch.float64)[:-1]
    slopes = torch.func.jacrev(lambda angles: evaluate(quantum.ansatz, x[:, None], angles, readout).sum(-1))(
        quantum.angles[0]
    )
    slopes = slopes.flatten(1).detach()
    # The ways of these circuits are above 1e-4 of the strongest, rounding is at 1e-15.
    assert torch.linalg.matrix_rank(slopes, rtol=1e-8) == len(twin.free)
    half_integers = series.doubled_frequencies(**settings)[0] == 1
    seen = [place for place in twin.free if place or half_integers]
    assert torch.linalg.matrix_rank(slopes - slopes.mean(0), rtol=1e-8) == len(seen)
    found, circuit = (module.coefficients().detach().mT.flatten(1) for module in (twin, quantum))
    assert torch.equal(found[:, list(twin.free)], circuit[:, list(twin.free)])
    others = [place for place in range(found.shape[1]) if place not in twin.free]
    assert not found[:, others].any()


@pytest.mark.parametrize(
    ("ansatz", "readout", "free"),
    [
        # Constant, cos x, sin x, ..., cos 4x, sin 4x.
        (Ansatz(), "amplitude", (0, 2, 3, 4, 5, 6, 7, 8, 9)),
        # Half-integers: cos x/2, sin x/2, cos 3x/2, sin 3x/2.
        (Ansatz(n_qubits=3, depth=1), "amplitude", (0, 1, 2, 3)),
        # As many ways without the constant as with it: it is left to itself.
        (Ansatz(), "z", tuple(range(2, 14))),
        # A qubit by itself, with two layers, has <Z> of 0 and 2x alone: cos x and sin x would be of no circuit.
        (Ansatz(entanglement="none"), "z", (0, 4, 5)),
    ],
)
def test_the_free_coefficients_are_the_lowest_that_the_circuit_moves(ansatz, readout, free) -> None:
    assert build("twin", ansatz=ansatz, readout=readout).free == free


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("ansatz", "readout"), [(SMALL, "z"), (Ansatz(n_qubits=1, depth=1), "amplitude")])
def test_the_twins_first_and_second_derivatives_are_those_of_finite_differences(ansatz, readout, score) -> None:
    torch.manual_seed(0)
    module = ClassicalTwin(4, 2, ansatz=ansatz, readout=readout, score=score, dtype=torch.float64)
    call, values = flat(module)
    assert [name for name, _ in module.named_parameters()].count("coefficients_free") == 1
    x = randn(1, 2, 4).requires_grad_()
    assert gradcheck(call, (x, *values))
    assert gradgradcheck(call, (x, *values))


def test_the_twins_free_coefficients_all_get_a_gradient_and_the_constants_is_0_to_rounding() -> None:
    module = build("twin", ansatz=Ansatz())
    (gradient_HF,) = gradients(module(*inputs(), attn_mask=boolean(N, M))[0], module.coefficients_free)
    assert module.free[0] == 0
    assert gradient_HF[:, 0].abs().max() < 8 * ROUNDINGS * EPS[torch.float64]
    assert gradient_HF[:, 1:].abs().min() > 1e-6


@pytest.fixture
def circuits_run(by_torch, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Circuits simulated so far, call by call."""
    seen, run = [], statevector_module.state

    def counting(ansatz: Ansatz, gate_angles_LRQ: Tensor) -> Tensor:
        seen.append(math.prod(gate_angles_LRQ.shape[:-3]))
        return run(ansatz, gate_angles_LRQ)

    monkeypatch.setattr(statevector_module, "state", counting)
    return seen


@pytest.mark.parametrize("control", ["zero", "bias", "twin"])
def test_no_circuit_is_run_in_training_or_for_the_certificate(control, circuits_run) -> None:
    module = build(control)
    circuits_run.clear()
    module.measuring = True
    output = module(*inputs())[0]
    gradients(output, *module.parameters())
    module.certificate()
    assert circuits_run == []
    assert (module.circuits, module.executions(100), module.statistics["executions"]) == (0, (0, 0), 0)
    build(QuantumAttention)(*inputs())
    assert circuits_run == [5 * H]  # so they would have been seen


@pytest.mark.parametrize("readout", READOUTS)
def test_the_twins_certificate_compares_its_series_with_the_series_as_written_and_sees_another(readout) -> None:
    module = build("twin", ansatz=Ansatz(), readout=readout)
    # Up to 17 terms of order 1, at angles of up to 8 * 30 which are rounded themselves.
    allowed = 17 * 8 * 30 * EPS[torch.float64]
    assert 0 < module.certificate() < allowed
    right = module.coefficients().detach()
    assert module.certificate() == module.certificate(torch.Generator().manual_seed(0))
    wrong = right.clone()
    wrong[0, 0, 1] += 0.1
    module.reference = lambda x: series.series_reference(module.ansatz, readout, wrong[:, None], x)
    # 256 points over some ten periods come close to the crest.
    assert module.certificate() == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize("control", ["zero", "bias"])
def test_what_has_no_series_has_nothing_to_certify(control) -> None:
    assert build(control).certificate() == 0


# What it says ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluator", ["statevector", "qiskit", "aer"])
@pytest.mark.parametrize("control", ["zero", "bias", "twin"])
def test_an_evaluator_of_circuits_is_refused_where_none_runs(control, evaluator) -> None:
    message = (
        f"backend must be exact with method auto, got method {evaluator}: {CONTROLS[control].__name__} runs no circuit"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(control, backend=Exact(evaluator))


@every_control
def test_wrong_arguments_are_refused_as_by_quantum_attention(control) -> None:
    with pytest.raises(ValueError, match=r"^dropout must be in .*\nreadout must be one of "):
        build(control, dropout=2, readout="y")


def test_notes_of_the_twin_say_how_many_angles_and_how_many_free_coefficients() -> None:
    module = build("twin", ansatz=Ansatz(), readout="z")
    counts = {"angles": 16, "rank": 12, "rank_without_constant": 12, "free": 12, "sets": H}
    assert module.notes().items() >= {"term": "ClassicalTwin", "readout": "z", **counts}.items()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning"
)
@pytest.mark.parametrize("control", ["zero", "bias", "twin"])
def test_compiled_in_one_graph_it_gives_what_eager_gives(control) -> None:
    torch._dynamo.reset()
    module = build(control, readout="z")
    found = torch.compile(module, fullgraph=True)(*inputs(), attn_mask=boolean(N, M))[0]
    expected = module(*inputs(), attn_mask=boolean(N, M))[0]
    # Kernels are fused, so numbers are rounded elsewhere.
    assert_close(found, expected, ROUNDINGS * EPS[torch.float64])
    assert_close(gradients(found, *module.parameters()), gradients(expected, *module.parameters()), AGREE)
