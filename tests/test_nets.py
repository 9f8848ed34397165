"""Is the net the paper's, and can the rest of the house rely on its layout?"""

import re

import pytest
import torch
from torch import nn

from superpositional.nets import SequenceTransformer
from superpositional.seeds import drawing_from

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
