"""Is the net the paper's, and can the rest of the house rely on its layout?"""

import copy
import functools
import re

import pytest
import torch
from torch import nn

from superpositional.attention import QuantumAttention
from superpositional.circuits import Ansatz
from superpositional.seeds import drawing_from
from superpositional.tasks.classification.net import SequenceTransformer

SIZES = {"vocabulary_size": 200, "n_classes": 4, "max_length": 17}


def build(**changes) -> SequenceTransformer:
    with drawing_from(0, "init"):
        return SequenceTransformer(**{**SIZES, **changes})


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 200, (3, 17), generator=torch.Generator().manual_seed(seed))


def test_first_parameter_is_the_embedding_so_the_first_scalars_belong_to_the_class_token():
    net = build()
    name, first = next(net.named_parameters())
    assert name == "embedding.weight"
    assert first is net.embedding.weight
    assert net.embedding.padding_idx is None  # a padding index would give row 0, the class token, no gradient


def test_the_class_token_gets_a_gradient_from_every_batch():
    net = build()
    tokens_BN = tokens()
    tokens_BN[:, 0] = 0
    net(tokens_BN).logsumexp(1).sum().backward()
    assert (net.embedding.weight.grad[0, :4] != 0).all()


def test_the_net_has_the_parameters_of_the_papers_table():
    embeddings = 200 * 64 + 17 * 64
    attention = 4 * (64 * 64 + 64)
    feedforward = 64 * 128 + 128 + 128 * 64 + 64
    norms = 2 * 2 * 64
    head = 64 * 4 + 4
    total = sum(parameter.numel() for parameter in build().parameters())
    assert total == embeddings + 2 * (attention + feedforward + norms) + head == 81092


def test_dropout_of_a_tenth_is_in_every_layer():
    rates = [module.p for module in build().modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.1] * 6
    assert [layer.self_attn.dropout for layer in build().layers] == [0.1, 0.1]


def test_logits_have_one_row_per_sequence_and_one_column_per_class():
    assert build()(tokens()).shape == (3, 4)


def test_two_layers_start_from_different_weights():
    first, second = build().layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_the_net_is_built_without_memory_on_the_meta_device():
    with torch.device("meta"):
        net = SequenceTransformer(**SIZES)
        assert net(torch.zeros(2, 17, dtype=torch.int64)).shape == (2, 4)
    assert all(parameter.is_meta for parameter in net.parameters())


def test_the_net_sees_order():
    net = build().eval()
    tokens_BN = tokens()
    swapped_BN = tokens_BN.clone()
    swapped_BN[:, [3, 5]] = tokens_BN[:, [5, 3]]
    # Without positions the two agree up to rounding, 1e-6; with them they are as far apart as any two inputs.
    assert (net(tokens_BN) - net(swapped_BN)).abs().max() > 1e-3


def test_the_net_reads_shorter_sequences():
    assert build()(tokens()[:, :5]).shape == (3, 4)


def test_too_long_a_sequence_is_named():
    with pytest.raises(ValueError, match=r"must have <= 17 tokens, got 18; raise max_length"):
        build()(torch.zeros(1, 18, dtype=torch.int64))


class Spy(nn.MultiheadAttention):
    calls = 0

    def forward(self, *args, **kwargs):
        Spy.calls += 1
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("training", [True, False])
def test_a_swapped_attention_is_called_in_training_and_in_evaluation(training):
    net = build().train(training)
    for layer in net.layers:
        layer.self_attn = Spy(64, 4, batch_first=True).train(training)
    Spy.calls = 0
    with torch.set_grad_enabled(training):
        net(tokens())
    assert Spy.calls == 2


def test_evaluation_is_the_same_function_with_and_without_gradients():
    net = build().eval()
    with torch.no_grad():
        without = net(tokens())
    # nn.MultiheadAttention has a fused kernel for evaluation, which rounds differently: some float32 ulps of about 1.
    torch.testing.assert_close(net(tokens()), without, rtol=1e-5, atol=1e-5)


QUANTUM = functools.partial(QuantumAttention, ansatz=Ansatz(n_qubits=2, depth=1))
SHARED = functools.partial(QUANTUM, shared_angles=True)


@pytest.mark.parametrize("attention", [QUANTUM, SHARED], ids=["by_head", "shared"])
def test_nets_of_one_seed_share_every_weight_bit_for_bit_whatever_their_attention(attention) -> None:
    softmax, quantum = build().state_dict(), build(attention=attention).state_dict()
    angles = {f"layers.{index}.self_attn.angles" for index in range(2)}
    assert quantum.keys() == softmax.keys() | angles
    for name, value in softmax.items():
        assert torch.equal(quantum[name], value), name


def test_another_circuit_leaves_every_other_weight_as_it_is() -> None:
    small, large = build(attention=QUANTUM).state_dict(), build(attention=QuantumAttention).state_dict()
    differing = {name for name, value in small.items() if not torch.equal(value, large[name])}
    assert differing == {f"layers.{index}.self_attn.angles" for index in range(2)}


def test_the_default_and_an_explicit_multihead_attention_are_the_same_net() -> None:
    default, explicit = build(), build(attention=nn.MultiheadAttention)
    assert [type(layer.self_attn) for layer in explicit.layers] == [nn.MultiheadAttention] * 2
    for (name, one), (other_name, other) in zip(default.named_parameters(), explicit.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)
    assert torch.equal(default.eval()(tokens()), explicit.eval()(tokens()))


def test_every_layer_and_head_has_angles_of_its_own() -> None:
    first, second = (layer.self_attn.angles for layer in build(attention=QUANTUM).layers)
    assert first.shape == second.shape == (4, 1, 2, 2)
    assert torch.cat([first, second]).unique().numel() == first.numel() + second.numel()


def test_shared_angles_are_one_parameter_of_all_layers_counted_once() -> None:
    net = build(attention=SHARED)
    first, second = (layer.self_attn for layer in net.layers)
    assert first.angles is second.angles
    assert first.angles.shape == (1, 1, 2, 2)
    names = [name for name, _ in net.named_parameters() if name.endswith("angles")]
    assert names == ["layers.0.self_attn.angles"]
    softmax = sum(parameter.numel() for parameter in build().parameters())
    assert sum(parameter.numel() for parameter in net.parameters()) == softmax + 4
    # Both layers' gradients arrive in it.
    net.eval()
    net(tokens()).logsumexp(1).sum().backward()
    parts = []
    for index in range(2):
        other = copy.deepcopy(net)
        other.zero_grad()
        own = other.layers[index].self_attn
        own.angles = nn.Parameter(own.angles.detach().clone())
        other(tokens()).logsumexp(1).sum().backward()
        parts.append(own.angles.grad)
    assert all(part.any() for part in parts)
    # float32: sums over 3 * 4 * 17 * 17 scores, taken apart.
    torch.testing.assert_close(first.angles.grad, sum(parts), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("attention", [QUANTUM, SHARED], ids=["by_head", "shared"])
def test_with_quantum_attention_the_embedding_is_the_first_parameter_too(attention) -> None:
    name, first = next(build(attention=attention).named_parameters())
    assert name == "embedding.weight"
    assert first.shape == (200, 64)


def noting(calls: list[int], index: int, forward, *args, **kwargs):
    calls.append(index)
    return forward(*args, **kwargs)


@pytest.mark.parametrize("training", [True, False])
def test_quantum_attention_is_called_in_training_and_in_evaluation(training) -> None:
    net, calls = build(attention=QUANTUM).train(training), []
    for index, layer in enumerate(net.layers):
        # Not a hook: one hook alone makes torch leave its fused path.
        layer.self_attn.forward = functools.partial(noting, calls, index, layer.self_attn.forward)
    with torch.set_grad_enabled(training):
        net(tokens())
    assert calls == [0, 1]


def test_a_quantum_net_is_another_function_than_the_softmax_net_and_depends_on_its_angles() -> None:
    softmax, quantum = build().eval(), build(attention=QUANTUM).eval()
    with torch.no_grad():
        evaluated = quantum(tokens())
        # Far above float32's rounding of logits of order 1.
        assert (evaluated - softmax(tokens())).abs().max() > 1e-3
        for index in range(2):
            other = copy.deepcopy(quantum)
            other.layers[index].self_attn.angles.add_(1)
            assert (other(tokens()) - evaluated).abs().max() > 1e-4
    # Nothing is fused: the same numbers with gradients.
    assert torch.equal(quantum(tokens()), evaluated)


def test_a_quantum_net_takes_its_dropout_from_the_net() -> None:
    assert [layer.self_attn.dropout for layer in build(attention=QUANTUM, dropout=0.3).layers] == [0.3, 0.3]


WRONG = [
    ({"vocabulary_size": 0}, "vocabulary_size must be an integer >= 1, got 0; count the class token, id 0"),
    ({"n_classes": 1}, "n_classes must be an integer >= 2, got 1; one class leaves nothing to learn"),
    ({"max_length": 0}, "max_length must be an integer >= 1, got 0; count the class token"),
    ({"embed_dim": 64.0}, "embed_dim must be an integer >= 1, got 64.0; the paper's is 64"),
    ({"num_heads": True}, "num_heads must be an integer >= 1, got True; the paper's is 4"),
    ({"num_heads": 5}, "embed_dim must be a multiple of num_heads, got 64 and 5; try 64 and 4"),
    ({"feedforward_dim": -1}, "feedforward_dim must be an integer >= 1, got -1; the paper's is 128"),
    ({"num_layers": 0}, "num_layers must be an integer >= 1, got 0; the paper's is 2"),
    ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0; 0 switches it off"),
    ({"dropout": float("nan")}, "dropout must be in [0, 1), got nan; 0 switches it off"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_setting_is_an_error_that_names_value_and_cure(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(**changes)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ValueError, match=r"^n_classes must .*\nnum_layers must .*\ndropout must .*$"):
        build(n_classes=0, num_layers=-2, dropout=2)


@pytest.mark.parametrize("shared", [None, False, True])
def test_parameters_reset_under_a_seed_are_those_of_a_new_net(shared: bool | None) -> None:
    sizes = {"vocabulary_size": 20, "n_classes": 3, "max_length": 5, "embed_dim": 8, "num_heads": 2, "feedforward_dim": 16}
    own = {} if shared is None else {"attention": functools.partial(QuantumAttention, shared_angles=shared)}
    torch.manual_seed(3)
    fresh = SequenceTransformer(**sizes, **own)
    with torch.device("meta"):
        net = SequenceTransformer(**sizes, **own)
    net.to_empty(device="cpu")
    torch.manual_seed(3)
    net.reset_parameters()
    assert net.state_dict().keys() == fresh.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in fresh.state_dict().items())
