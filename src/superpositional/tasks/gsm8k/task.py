"""Fine-tune a language model on questions and answers.

Next-token cross-entropy over the answers' tokens alone, each token counting once in an optimizer step however rows are
batched, accumulated or spread over processes (Pamuk et al. 2025, Table III).

Shapes: B rows, N tokens, K positions, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric

from superpositional.records.measures import LOSS_FIRST
from superpositional.tasks.base import SeededTask
from superpositional.tasks.gsm8k.chat import Batch
from superpositional.tasks.gsm8k.net import CausalLM


def summed_loss(net: Callable[..., Tensor], batch: Batch) -> Tensor:
    """The sum of the cross-entropies of a batch's supervised tokens, in float32 at least."""
    # Token t is told by the logits at t - 1. Only positions that some row learns from need logits: of a vocabulary of
    # 49,152 they are most of a step's memory.
    learned_BM = batch.supervised_BN[:, 1:]
    positions_K = learned_BM.any(dim=0).nonzero().squeeze(1)
    logits_BKV = net(batch.tokens_BN, batch.attends_BN, positions_K)
    learned_BK, wanted_BK = learned_BM[:, positions_K], batch.tokens_BN[:, 1:][:, positions_K]
    logits = logits_BKV[learned_BK]
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return cross_entropy(logits, wanted_BK[learned_BK], reduction="sum")


class FineTuningTask(SeededTask):
    """Answer-only supervised fine-tuning; losses are means over supervised tokens.

    Computes ``val/loss`` at validations and ``test/loss`` at the end; ``callbacks.Curves`` hands them and each step's loss
    to the loggers.

    Args:
        net: makes a ``CausalLM``; this and the rest as for ``SeededTask``.
    """

    measures = LOSS_FIRST

    def bad_net(self) -> str | None:
        if isinstance(self.net, CausalLM):
            return None
        return f"net must be a language model to be fine-tuned, got {type(self.net).__name__}; choose net=smollm2_135m"

    def optimized(self) -> list[tuple[str, nn.Parameter]]:
        # Under adapters the model's own weights are frozen, and no part of "the first n scalars" (eq. 2).
        return [each for each in super().optimized() if each[1].requires_grad]

    def bad_data(self, data: Any) -> str | None:
        """What is wrong with a data module whose batches are none of questions and answers."""
        if hasattr(data, "chat"):
            return None
        return f"must be questions and answers for fine-tuning, got {type(data).__name__}; choose data=gsm8k"

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.start_dropout(batch_idx)
        return summed_loss(self.net, batch) * batch.weight

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "val/loss", self.val_loss)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, "test/loss", self.test_loss)

    def _evaluate(self, batch: Batch, name: str, loss: MeanMetric) -> None:
        tokens = batch.supervised_BN.sum()
        loss.update(summed_loss(self.net, batch) / tokens, weight=tokens)
        self.log(name, loss, on_step=False, on_epoch=True, logger=False, batch_size=len(batch.tokens_BN))

    def configure_model(self) -> None:
        """Shard the weights over the processes, layer by layer, where the strategy asks for it (FSDP2)."""
        if getattr(self, "device_mesh", None) is None:
            return
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = self.device_mesh["data_parallel"]
        if mesh.size() == 1 or isinstance(next(self.net.parameters()), torch.distributed.tensor.DTensor):
            return
        # Weights and moments stay float32, and gradients are summed over the processes as such; what is gathered and
        # multiplied has the Trainer's precision.
        half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.trainer.precision)
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=None if half is None else torch.float32)
        for layer in self.net.layers():
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(self.net, mesh=mesh, mp_policy=policy)
