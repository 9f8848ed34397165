"""Put questions and answers through a model's own chat template, as tokens.

A question and its answer go through the model's own chat template. Only the answer is supervised, the end mark included and
the template's own marks not: the model sees the rest and is not taught to write it.

Shapes: B rows, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor

# Llama 3.2's template writes today's date into every prompt unless it is told another; this one is its own default.
DATE = "26 Jul 2024"
TODAY = f"{{% macro strftime_now(format) %}}{DATE}{{% endmacro %}}"


@dataclass(frozen=True)
class Conversation:
    """A question and its answer as tokens.

    Attributes:
        tokens: ids, of at most the context.
        prompt: how many of them are the prompt's; the rest is supervised.
        cut: how many tokens of the answer did not fit.
    """

    tokens: tuple[int, ...]
    prompt: int
    cut: int

    @property
    def supervised(self) -> int:
        return len(self.tokens) - self.prompt


class Batch(NamedTuple):
    """Rows of one length, padded on the right.

    Attributes:
        tokens_BN: ids.
        attends_BN: 1 for a token, 0 for padding. By length: where pad is the end mark, ids do not tell.
        supervised_BN: whether a token is one to be learned.
        weight: what the sum of the tokens' losses is multiplied by.
    """

    tokens_BN: Tensor
    attends_BN: Tensor
    supervised_BN: Tensor
    weight: float


class Chat:
    """A model's template, frozen.

    Args:
        tokenizer: a fast one with a chat template (``hub.tokenizer``).
        prompt: what the user says; ``{question}`` stands for the question.
        system: what the system says; None leaves that to the template.

    Raises:
        ValueError: the template cannot be used, in words.
    """

    def __init__(self, tokenizer: Any, *, prompt: str = "{question}", system: str | None = None) -> None:
        if not isinstance(prompt, str) or "{question}" not in prompt:
            raise ValueError(
                f"prompt must be a text that holds {{question}}, got {prompt!r}; the usual one is '{{question}}'"
            )
        if system is not None and not isinstance(system, str):
            raise ValueError(f"system must be a text, got {system!r}; null leaves it to the model's template")
        self.tokenizer, self.prompt, self.system = tokenizer, prompt, system
        template = tokenizer.get_chat_template()
        # Some write today's date and take no other.
        self.template = (TODAY if "strftime_now" in template else "") + template
        # Those by name, and further ones: Llama 3.2's tokenizer names <|eot_id|> and not <|end_of_text|>.
        added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = added.union(tokenizer.all_special_ids)
        # Once for all rows: what the template makes of an answer, and where it ends.
        mark = "\N{INVISIBLE SEPARATOR}answer\N{INVISIBLE SEPARATOR}"
        try:
            before, after = self._rendered("a question"), self._rendered("a question", mark)
        except TemplateError as error:
            raise ValueError(
                f"the tokenizer's chat template refuses the conversation: {error}; choose another model"
                + ("" if system is None else ", or set system to null")
            ) from None
        if system is not None and system.strip() not in before:
            raise ValueError(
                f"the tokenizer's chat template leaves the system's text out, got {before!r}; set system to null and say "
                "it in the prompt"
            )
        if not after.startswith(before) or after[len(before) :].count(mark) != 1:
            raise ValueError(
                "the tokenizer's chat template must put the answer after what it renders with add_generation_prompt, got "
                f"{before!r} and {after!r}; choose another model, or save its tokenizer with another template"
            )
        opening, self.closing = after[len(before) :].split(mark)
        ends = [token for token in self._ids(self.closing) if token in self.special]
        if opening or not ends:
            raise ValueError(
                f"the tokenizer's chat template must close an answer with a special token, got {self.closing!r}; choose "
                "another model, or save its tokenizer with another template"
            )
        self.end, self.marks = ends[0], ends.count(ends[0])

    def _rendered(self, question: str, answer: str | None = None) -> str:
        said = [] if self.system is None else [{"role": "system", "content": self.system}]
        said.append({"role": "user", "content": self.prompt.replace("{question}", question)})
        if answer is not None:
            said.append({"role": "assistant", "content": answer})
        return self.tokenizer.apply_chat_template(
            said,
            chat_template=self.template,
            tokenize=False,
            add_generation_prompt=answer is None,
            date_string=DATE,
        )

    def _ids(self, text: str) -> list[int]:
        # The template has written the special tokens already.
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prompts(self, questions: Sequence[str]) -> list[list[int]]:
        """The ids after which the model answers."""
        texts = [self._rendered(question) for question in questions]
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []

    def conversations(self, questions: Sequence[str], answers: Sequence[str], *, max_length: int) -> list[Conversation]:
        """Each question with its answer.

        Prompt and answer are tokenized apart, so that training meets the very ids that answering starts from.
        """
        tails = self.tokenizer([f"{answer}{self.closing}" for answer in answers], add_special_tokens=False)["input_ids"]
        found = []
        for prompt, tail, answer in zip(self.prompts(questions), tails, answers, strict=True):
            if tail.count(self.end) != self.marks:
                mark = self.tokenizer.convert_ids_to_tokens(self.end)
                raise ValueError(
                    f"an answer must not hold the model's end mark {mark}, got {answer!r}; take it out of the row"
                )
            # What the template writes after the end mark, a line's end often, nobody has to learn.
            whole = [*prompt, *tail[: tail.index(self.end) + 1]]
            kept = whole[:max_length]
            found.append(Conversation(tuple(kept), min(len(prompt), len(kept)), len(whole) - len(kept)))
        return found

    def collate(self, rows: Sequence[Conversation], weight: float = 1.0) -> Batch:
        """Rows as one batch."""
        longest = max(len(row.tokens) for row in rows)
        shape = (len(rows), longest)
        tokens_BN = torch.full(shape, self.end)
        attends_BN, supervised_BN = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
        for index, row in enumerate(rows):
            tokens_BN[index, : len(row.tokens)] = torch.tensor(row.tokens)
            attends_BN[index, : len(row.tokens)] = 1
            supervised_BN[index, row.prompt : len(row.tokens)] = True
        return Batch(tokens_BN, attends_BN, supervised_BN, weight)
