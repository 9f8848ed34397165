"""``transformers``' causal language models behind one module: logits at chosen positions, greedy answers.

All weights are trained, as in the paper (Pamuk et al. 2025, Table III), or low-rank adapters through ``peft``.

Shapes: B rows, N tokens, K positions, V vocabulary.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from superpositional.tasks.gsm8k import hub


class CausalLM(nn.Module):
    """A pretrained causal language model in float32; mixed precision is the Trainer's.

    On the meta device it has its shape and no weights. The first Parameter of Llama's kin is the token embedding, tied to
    the output layer in small ones, so "the first n scalars of the model" (Pamuk et al. 2025, eq. 2) are the first numbers
    of token 0's row.

    Args:
        model: ``smollm2_135m``, ``llama_3_2_1b``, ``tiny`` (54 thousand random weights), a folder, or a hub's
            ``owner/name``.
        revision: a commit, branch or tag of the hub's.
        lora: settings of ``peft.LoraConfig``, such as ``{r: 8, lora_alpha: 16}``; then only the adapters are trained.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.

    Raises:
        hub.SourceError: the model is not to be had.
        ValueError: naming what else is wrong.
    """

    prepare_files = staticmethod(hub.prepare_files)

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        lora: Mapping[str, Any] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        found = hub.origin(model, revision)
        config = hub.architecture(model, revision)
        from transformers import AutoModelForCausalLM

        super().__init__()
        with hub.quiet():
            if found.folder is None or torch.get_default_device().type == "meta":
                language_model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            else:
                language_model, told = AutoModelForCausalLM.from_pretrained(
                    hub.weights(found), dtype=torch.float32, use_safetensors=True, output_loading_info=True
                )
                # transformers would draw them at random, and say so where nobody listens.
                if told["missing_keys"]:
                    raise hub.SourceError(
                        f"model={model} lacks the weights {', '.join(sorted(told['missing_keys'])[:3])}; name one that "
                        "save_pretrained has left whole"
                    )
        if gradient_checkpointing:
            # The name of it in transformers from 5.20 on, and before.
            enable = getattr(language_model, "activation_checkpointing_enable", None)
            (enable or language_model.gradient_checkpointing_enable)({"use_reentrant": False})
        if lora is not None:
            language_model = _with_adapters(language_model, lora)
        # Models come with sampling temperatures and repetition penalties of their own, which transformers puts wherever a
        # call says nothing. Ours are greedy, and end where the model ends.
        from transformers import GenerationConfig

        own = language_model.generation_config.eos_token_id
        self.ends = {own} if isinstance(own, int) else set(own or ())
        language_model.generation_config = GenerationConfig()
        # Inference mode is what from_pretrained leaves.
        self.language_model = language_model.train()
        self.origin, self.revision = found, revision

    @property
    def context(self) -> int | None:
        """The most tokens it was made for, where its config says so."""
        return getattr(self.language_model.config, "max_position_embeddings", None)

    def forward(self, tokens_BN: Tensor, attends_BN: Tensor, positions_K: Tensor) -> Tensor:
        """Logits ``(B, K, V)`` of the tokens after the given positions; those of a prompt nobody needs are not made.

        Args:
            tokens_BN: token ids, padded on the right.
            attends_BN: 1 where there is a token, 0 where there is padding.
            positions_K: positions within a row.
        """
        return self.language_model(
            input_ids=tokens_BN, attention_mask=attends_BN, logits_to_keep=positions_K, use_cache=False
        ).logits

    def answer(self, tokens_BN: Tensor, attends_BN: Tensor, *, end: int, max_new_tokens: int, **options: Any) -> Tensor:
        """Greedy continuations ``(B, K)``, filled with the end mark behind it.

        Args:
            tokens_BN: prompts, padded on the LEFT, so that all of them end where the answers begin.
            attends_BN: 1 where there is a token, 0 where there is padding.
            end: the token that ends an answer; the model's own further ones do too.
            max_new_tokens: K at most.
            options: further ones of ``generate``.
        """
        from transformers import GenerationConfig

        ends = sorted({end, *self.ends})
        greedy = GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=end, use_cache=True
        )
        whole_BN = self.language_model.generate(
            input_ids=tokens_BN, attention_mask=attends_BN, generation_config=greedy, **options
        )
        return whole_BN[:, tokens_BN.shape[1] :]

    def layers(self) -> list[nn.Module]:
        """The repeated blocks, which FSDP2 shards one by one."""
        base = self.language_model
        names = (base.get_base_model() if hasattr(base, "get_base_model") else base)._no_split_modules or ()
        return [module for module in base.modules() if type(module).__name__ in names]

    def notes(self) -> dict[str, Any]:
        """What a record says of it."""
        trained = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        return {
            # Of a folder its name, not the path of a machine; the revision is a hash of what it holds.
            "name": self.origin.name if self.origin.source != "folder" else Path(self.origin.name).resolve().name,
            "source": self.origin.source,
            "revision": self.origin.revision,
            "parameters": sum(parameter.numel() for parameter in self.parameters()),
            "trained": trained,
        }


def _with_adapters(language_model: nn.Module, lora: Mapping[str, Any]) -> nn.Module:
    hub.needs("peft")
    from peft import LoraConfig, get_peft_model

    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that transformers is about to drop.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            return get_peft_model(language_model, LoraConfig(task_type="CAUSAL_LM", **lora))
    except (TypeError, ValueError) as error:
        raise ValueError(f"lora must be settings of peft.LoraConfig, got {dict(lora)}: {error}; try {{r: 8}}") from None
