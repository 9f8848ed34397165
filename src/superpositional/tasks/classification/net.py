"""The small transformer of the paper's Table II (Pamuk et al. 2025): embedding 64, 4 heads, feed-forward 128, 2 layers,
dropout 0.1. Where the paper is silent: learned positions, post-norm layers, ReLU, class read at the class token.

Shapes: B batch, N tokens, D embed, C classes.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from superpositional.places import not_integers


class SequenceTransformer(nn.Module):
    """Token sequences ``tokens_BN`` to class scores ``logits_BC``; position 0 holds the class token, id 0.

    ``embedding.weight`` is the net's first Parameter and its row 0 the class token, so "the first n scalars of the
    model" are four numbers that every batch trains. Keep it first: a module's own Parameters come before its
    children's, hence learned positions are an ``nn.Embedding`` after it and not a bare Parameter here.

    Args:
        attention: makes each layer's attention, called as ``torch.nn.MultiheadAttention`` is, which is the default;
            ``superpositional.attention.QuantumAttention`` is the paper's other one. Weights that it has in common with
            MultiheadAttention are those that one would have had, and its own further ones are drawn after all others, so
            that nets of one seed differ in nothing else. With ``shared_angles`` they are one set for all layers too.

    Example:
        >>> net = SequenceTransformer(vocabulary_size=200, n_classes=4, max_length=17)
        >>> net(torch.zeros(2, 17, dtype=torch.int64)).shape
        torch.Size([2, 4])
    """

    # What the constructor hands to its parts, so that a config cannot.
    SUPPLIES = {"attention": ("embed_dim", "num_heads", "dropout", "batch_first")}  # noqa: RUF012

    def __init__(
        self,
        *,
        vocabulary_size: int,
        n_classes: int,
        max_length: int,
        embed_dim: int = 64,
        num_heads: int = 4,
        feedforward_dim: int = 128,
        num_layers: int = 2,
        dropout: float = 0.1,
        attention: Callable[..., nn.Module] = nn.MultiheadAttention,
    ) -> None:
        sizes = {
            "vocabulary_size": (vocabulary_size, 1, "count the class token, id 0"),
            "n_classes": (n_classes, 2, "one class leaves nothing to learn"),
            "max_length": (max_length, 1, "count the class token"),
            "embed_dim": (embed_dim, 1, "the paper's is 64"),
            "num_heads": (num_heads, 1, "the paper's is 4"),
            "feedforward_dim": (feedforward_dim, 1, "the paper's is 128"),
            "num_layers": (num_layers, 1, "the paper's is 2"),
        }
        wrong = not_integers(sizes)
        if not wrong and embed_dim % num_heads:
            wrong.append(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}; try 64 and 4")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            wrong.append(f"dropout must be in [0, 1), got {dropout!r}; 0 switches it off")
        if not callable(attention):
            wrong.append(
                f"attention must make an attention layer, got {attention!r}; in a config, choose net/attention={attention}"
            )
        if wrong:
            raise ValueError("\n".join(wrong))
        super().__init__()
        self.max_length = max_length
        self.embedding = nn.Embedding(vocabulary_size, embed_dim)  # the first Parameter: see the class docstring
        self.positions = nn.Embedding(max_length, embed_dim)
        # A plain list: nn.TransformerEncoder would start all layers from copies of one layer's weights.
        # activation=torch.relu, not "relu": with the latter, torch's fused evaluation path reads self_attn's weights
        # and never calls self_attn, so an attention put in its place would train and then silently not be evaluated.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embed_dim, num_heads, feedforward_dim, dropout, activation=torch.relu, batch_first=True
            )
            for _ in range(num_layers)
        )
        self.head = nn.Linear(embed_dim, n_classes)
        for layer in self.layers:
            drawn, chosen = layer.self_attn.state_dict(), attention(embed_dim, num_heads, dropout=dropout, batch_first=True)
            chosen.load_state_dict({name: drawn.get(name, value) for name, value in chosen.state_dict().items()})
            layer.self_attn = chosen
            if getattr(chosen, "shared_angles", False):
                for name in chosen.state_dict().keys() - drawn.keys():
                    setattr(chosen, name, getattr(self.layers[0].self_attn, name))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all parameters as the constructor does: under one seed, the same values."""
        copies = iter([copy.deepcopy(layer.self_attn) for layer in self.layers])

        def attention(*_: Any, **__: Any) -> nn.Module:
            drawn = next(copies)
            if hasattr(drawn, "reset_parameters"):
                drawn.reset_parameters()
            return drawn

        first = self.layers[0]
        with self.embedding.weight.device:
            fresh = SequenceTransformer(
                vocabulary_size=self.embedding.num_embeddings,
                n_classes=self.head.out_features,
                max_length=self.max_length,
                embed_dim=self.embedding.embedding_dim,
                num_heads=first.self_attn.num_heads,
                feedforward_dim=first.linear1.out_features,
                num_layers=len(self.layers),
                attention=attention,
            )
        for name, parameter in self.named_parameters():
            parameter.copy_(fresh.get_parameter(name))

    def forward(self, tokens_BN: Tensor) -> Tensor:
        n_tokens = tokens_BN.shape[1]
        if n_tokens > self.max_length:
            raise ValueError(f"sequences must have <= {self.max_length} tokens, got {n_tokens}; raise max_length")
        hidden_BND = self.embedding(tokens_BN) + self.positions.weight[:n_tokens]
        # The circuits of all layers depend on their angles alone: on a device, one job.
        if on_device := [layer.self_attn for layer in self.layers if getattr(layer.self_attn, "on_device", False)]:
            from superpositional.attention.module import run_together

            run_together(on_device)
        for layer in self.layers:
            hidden_BND = layer(hidden_BND)
        return self.head(hidden_BND[:, 0])
