"""GSM8K's exact match: each question by greedy generation from a frozen prompt, every generation kept.

The number in the answer is held to the reference's by the strict rule (behind ``####``) and the flexible one (the last
number).

Shapes: B prompts, N tokens.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from superpositional.places import not_integers
from superpositional.records import GENERATIONS
from superpositional.tasks.gsm8k import answers
from superpositional.training.callbacks import log


class ExactMatch(Callback):
    """Answers test questions after training, and writes ``generations.jsonl`` beside the record.

    Logs ``test/exact_match`` (strict), ``test/exact_match_flexible`` and ``test/answers_finished``, shares of the
    questions. With fewer questions than the split has it is a smoke, and the record says so.

    Args:
        questions: the first so many of the test split; None for all.
        max_new_tokens: tokens of an answer; what is longer is judged as it stands.
        batch_size: prompts at once, padded on the left.
    """

    def __init__(self, *, questions: int | None = None, max_new_tokens: int = 400, batch_size: int = 8) -> None:
        sizes = {"questions": (questions, 1, "null is all"), "max_new_tokens": (max_new_tokens, 1, "400 is usual")}
        sizes |= {"batch_size": (batch_size, 1, "8 is usual")}
        if wrong := not_integers({name: each for name, each in sizes.items() if (name, each[0]) != ("questions", None)}):
            raise ValueError("\n".join(wrong))
        self.questions, self.max_new_tokens, self.batch_size = questions, max_new_tokens, batch_size
        self.evaluation: dict[str, Any] = {}

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        rows = data.questions[: self.questions]
        mine = range(trainer.global_rank, len(rows), trainer.world_size)
        prompts = data.chat.prompts([row["question"] for row in rows])
        # Longest first: prompts of a batch are then about as long, and what memory it takes is known at once.
        order = sorted(mine, key=lambda index: -len(prompts[index]))
        batches = [order[first : first + self.batch_size] for first in range(0, len(order), self.batch_size)]
        if _is_sharded(pl_module):
            # Shards are gathered for each batch, so all processes must ask for as many: some ask once more.
            most = math.ceil(math.ceil(len(rows) / trainer.world_size) / self.batch_size)
            batches += [(order or [0])[-1:]] * (most - len(batches))
        told: dict[int, dict[str, Any]] = {}
        for indices in _track(batches, trainer):
            texts = self._answers(trainer, pl_module, [prompts[index] for index in indices])
            for index, (text, finished) in zip(indices, texts, strict=True):
                told[index] = _judged(index, rows[index], text, finished)
        all_told = self._gathered(trainer, told)
        found = [all_told[index] for index in sorted(all_told)]
        if trainer.is_global_zero:
            _write(Path(trainer.default_root_dir) / GENERATIONS, found)
        self.evaluation = {
            "questions": len(rows),
            "of": len(data.questions),
            "smoke": len(rows) < len(data.questions),
            "max_new_tokens": self.max_new_tokens,
            "prompt": data.chat.prompt,
            "system": data.chat.system,
        }
        shares = {"exact_match": "correct", "exact_match_flexible": "correct_flexible", "answers_finished": "finished"}
        metrics = {f"test/{name}": sum(each[key] for each in found) / len(found) for name, key in shares.items()}
        log(trainer, {trainer.global_step: metrics})

    def bad_data(self, data: Any) -> str | None:
        """What is wrong with a data module that has no questions, or whose model's context has no room for answers."""
        if not hasattr(data, "chat"):
            return f"needs questions, got {type(data).__name__}; remove it or take data=gsm8k"
        longest = max(map(len, data.chat.prompts([row["question"] for row in data.questions[: self.questions]])))
        if data.context is None or longest + self.max_new_tokens <= data.context:
            return None
        return (
            f"max_new_tokens must be at most {data.context - longest}, the model's context of {data.context} less the "
            f"longest question's {longest}, got {self.max_new_tokens}; lower it"
        )

    def notes(self) -> dict[str, Any]:
        """``evaluation``: how many questions were asked, and how."""
        return {"evaluation": self.evaluation} if self.evaluation else {}

    def _answers(self, trainer: Trainer, pl_module: LightningModule, prompts: list[list[int]]) -> list[tuple[str, bool]]:
        chat, net, device = trainer.datamodule.chat, pl_module.net, pl_module.device
        tokens_BN, attends_BN = _padded_left(prompts, chat.end)
        # And for each token.
        together = {"synced_gpus": True} if _is_sharded(pl_module) else {}
        with trainer.precision_plugin.forward_context():
            ids_BN = net.answer(
                tokens_BN.to(device), attends_BN.to(device), end=chat.end, max_new_tokens=self.max_new_tokens, **together
            )
        # The model's own further ends are not always special to its tokenizer.
        ends, texts = chat.special | net.ends, []
        for ids in ids_BN.tolist():
            end = next((place for place, token in enumerate(ids) if token in ends), None)
            texts.append((chat.tokenizer.decode(ids[:end]), end is not None))
        return texts

    def _gathered(self, trainer: Trainer, told: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
        if trainer.world_size == 1:
            return told
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, told)
        return {index: each for part in parts for index, each in part.items()}


def _judged(index: int, row: dict[str, str], text: str, finished: bool) -> dict[str, Any]:
    reference, strict, flexible = answers.final(row["answer"]), answers.strict(text), answers.flexible(text)
    return {
        "question": index,
        "reference": reference,
        "completion": text,
        "finished": finished,
        "strict": strict,
        "flexible": flexible,
        "correct": strict is not None and answers.same(strict, reference),
        "correct_flexible": flexible is not None and answers.same(flexible, reference),
    }


def _padded_left(prompts: list[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    tokens_BN = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts])
    attends_BN = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return tokens_BN, attends_BN


def _is_sharded(pl_module: LightningModule) -> bool:
    return any(hasattr(parameter, "placements") for parameter in pl_module.parameters())


def _track(batches: list[list[int]], trainer: Trainer) -> Any:
    if trainer.progress_bar_callback is None or not trainer.is_global_zero:
        return batches
    from rich.progress import track

    return track(batches, "answering questions")


def _write(path: Path, found: list[dict[str, Any]]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found), encoding="utf-8")
    part.replace(path)
