"""GSM8K as conversations: which questions a language model is taught, and which it is asked.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168; MIT): 7,473 grade-school word problems with worked answers, and 1,319 to be
judged by. From local JSON lines, from the hub, or where there is neither a stand-in of our own in the same format
(``sums``). They are never mixed up: a run's config and record name the source with its revision, and the record a
hash of the rows.
"""

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from superpositional.places import not_integers
from superpositional.tasks.batches import EpochBatches, Loader, of_ranks
from superpositional.tasks.gsm8k import answers, hub
from superpositional.tasks.gsm8k.chat import Batch, Chat, Conversation

REPOSITORY = "openai/gsm8k"
SPLITS = ("train", "test")
KINDS = ("jsonl", "hub", "stand_in")
CALCULATOR = ("keep", "strip")
# As many as GSM8K has.
STAND_IN_ROWS = {"train": 7473, "test": 1319}
CURE = (
    "set data.path (or SUPERPOSITIONAL_GSM8K) to a folder with GSM8K's train.jsonl and test.jsonl, or data.source=stand_in "
    "to train on problems of our own making"
)


def source(path: str | None) -> str:
    """Where the rows are: ``jsonl:<hash>`` if there is a path, ``hub:<commit>`` if the hub or its cache has them, else
    ``stand_in``. What is wrong with a path is the constructor's to say."""
    if path:
        try:
            return f"jsonl:{_hash({split: _lines(Path(str(path)) / f'{split}.jsonl') for split in SPLITS})}"
        except (OSError, ValueError):
            return "jsonl"
    if importlib.util.find_spec("huggingface_hub") is None:
        return "hub"
    try:
        return f"hub:{_snapshot(None).name}"
    except hub.SourceError:
        return "stand_in"


class GSM8K(lightning.LightningDataModule):
    """Questions and answers as a model's chat; training batches are shuffled by ``(seed, epoch)``.

    A training batch's ``weight`` makes the loss of an optimizer step the mean over all its supervised tokens, whatever the
    accumulation, the number of processes and the lengths of the rows. The constructor checks and reads; ``setup``
    tokenizes. Validation rows are the training file's last, for every seed.

    Args:
        seed: of the order alone; the rows are the same for all seeds.
        model, revision: whose tokenizer and chat template (see ``CausalLM``).
        source: ``jsonl``, ``hub`` or ``stand_in``, and behind a colon the revision that is expected.
        path: the folder of ``train.jsonl`` and ``test.jsonl``.
        max_length: tokens of question and answer; what is longer is cut, and counted.
        calculator: ``keep`` or ``strip`` the marks ``<<48/2=24>>`` of GSM8K's answers.
        n_validation: training rows that are held out.
        n_test: the first so many test rows for ``test/loss``; None for all.
        batch_size: conversations of a training batch, of each process.
        evaluation_batch: conversations of a validation or test batch.
        prompt, system: see ``Chat``.

    Raises:
        ValueError: naming every argument that is out of range, and every row that is not as it should be, with its cure.
    """

    prepare_files = staticmethod(hub.prepare_files)
    spreads_over_ranks = True  # each process of a run gets its own rows from here

    def __init__(
        self,
        *,
        seed: int,
        model: str,
        revision: str | None = None,
        source: str = "jsonl",
        path: str | None = None,
        max_length: int = 2048,
        calculator: str = "keep",
        n_validation: int = 128,
        n_test: int | None = None,
        batch_size: int = 1,
        evaluation_batch: int = 8,
        prompt: str = "{question}",
        system: str | None = None,
    ) -> None:
        sizes = {
            "seed": (seed, 0, "any seed from 0 on names an order"),
            "max_length": (max_length, 8, "the paper's context is 2048"),
            "n_validation": (n_validation, 1, "128 rows are 16 thousand tokens"),
            "batch_size": (batch_size, 1, "the paper's is 1"),
            "evaluation_batch": (evaluation_batch, 1, "8 fits into a laptop's memory"),
        }
        if n_test is not None:
            sizes["n_test"] = (n_test, 1, "null is all")
        wrong = not_integers(sizes)
        if calculator not in CALCULATOR:
            wrong.append(f"calculator must be one of {', '.join(CALCULATOR)}, got {calculator!r}; GSM8K's own is keep")
        kind, _, expected = str(source).partition(":")
        if kind not in KINDS:
            wrong.append(f"source must be one of {', '.join(KINDS)}, got {source!r}; {CURE}")
        elif (kind == "jsonl") != bool(path):
            wrong.append(f"source must be jsonl with a path, and only then, got {source!r} and path {path!r}; {CURE}")
        try:
            self.chat = Chat(hub.tokenizer(model, revision), prompt=prompt, system=system)
            self.context = getattr(hub.architecture(model, revision), "max_position_embeddings", None)
            if self.context is not None and type(max_length) is int and max_length > self.context:
                wrong.append(
                    f"max_length must be at most the context of {model}, {self.context}, got {max_length}; lower it"
                )
        except ValueError as error:
            wrong += str(error).splitlines()
        if not wrong:
            try:
                self.rows, self.revision = _read(kind, path, expected or None)
                if n_validation >= len(self.rows["train"]):
                    wrong.append(
                        f"n_validation must be below the {len(self.rows['train'])} training rows, got {n_validation}"
                    )
            except ValueError as error:
                wrong += str(error).splitlines()
        if wrong:
            raise ValueError("\n".join(wrong))
        super().__init__()
        self.seed, self.kind, self.max_length, self.calculator = seed, kind, max_length, calculator
        self.n_validation, self.n_test = n_validation, n_test
        self.batch_size, self.evaluation_batch = batch_size, evaluation_batch
        self.splits: dict[str, list[Conversation]] = {}

    @property
    def questions(self) -> list[Mapping[str, str]]:
        """The test rows, whole, in the file's order."""
        return self.rows["test"]

    def setup(self, stage: str | None = None) -> None:
        if self.splits:  # Lightning sets up once per stage
            return
        train, test = self.rows["train"], self.rows["test"][: self.n_test]
        cuts = {"train": train[: -self.n_validation], "validation": train[-self.n_validation :], "test": test}
        splits, self.left_out = {}, {}
        for name, rows in cuts.items():
            texts = [row["answer"] for row in rows]
            texts = [answers.without_marks(text) for text in texts] if self.calculator == "strip" else texts
            all_rows = self.chat.conversations([row["question"] for row in rows], texts, max_length=self.max_length)
            # A question that fills the context leaves nothing to learn.
            splits[name] = [row for row in all_rows if row.supervised]
            self.left_out[name] = len(all_rows) - len(splits[name])
            if not splits[name]:
                raise ValueError(f"max_length must leave room for an answer, got {self.max_length}; the paper's is 2048")
        self.splits = splits
        share = self.supervised_share
        if not 0 < share < 1:
            raise RuntimeError(f"the share of supervised tokens must lie within (0, 1), got {share}")

    @property
    def supervised_share(self) -> float:
        """The share of the training tokens that is learned."""
        rows = self.splits["train"]
        return sum(row.supervised for row in rows) / sum(len(row.tokens) for row in rows)

    def train_dataloader(self) -> Loader:
        rows, (ranks, rank) = self.splits["train"], of_ranks(self)
        batches = WeightedBatches(
            [row.supervised for row in rows],
            accumulate=self.trainer.accumulate_grad_batches if self.trainer is not None else 1,
            # Lightning knows it once the loader is there, and stops there within a window.
            limit=lambda: self.trainer.num_training_batches if self.trainer is not None else math.inf,
            batch_size=self.batch_size,
            seed=self.seed,
            ranks=ranks,
            rank=rank,
        )
        return Loader(_Rows(rows, self.chat), batches, collate=_as_it_is)

    def val_dataloader(self) -> Loader:
        return self._evaluation("validation")

    def test_dataloader(self) -> Loader:
        return self._evaluation("test")

    def _evaluation(self, split: str) -> Loader:
        rows = self.splits[split]
        batches = torch.arange(len(rows)).split(self.evaluation_batch)
        return Loader(_Rows(rows, self.chat), [(batch, 1.0) for batch in batches], collate=_as_it_is)

    def notes(self) -> dict[str, Any]:
        """What a record says of the data: its source, and what became of its rows."""
        known = {"source": self.kind, "revision": self.revision, "hash": _hash(self.rows), "calculator": self.calculator}
        if self.splits:
            known |= {
                "rows": {name: len(rows) for name, rows in self.splits.items()},
                "tokens": sum(len(row.tokens) for row in self.splits["train"]),
                "supervised_share": self.supervised_share,
                "truncated": {name: sum(row.cut > 0 for row in rows) for name, rows in self.splits.items()},
                "left_out": self.left_out,
            }
        return known


class WeightedBatches(EpochBatches):
    """``EpochBatches`` as ``(rows, weight)``: with it the sum of a batch's losses adds up, over the batches and ranks of
    one optimizer step, to the mean over all its tokens, after Lightning has divided by the accumulation and DDP by the
    ranks.

    Args:
        tokens: supervised tokens of each row.
        accumulate: batches of an optimizer step.
        limit: how many batches an epoch has at most; an epoch's end is a step's end.
    """

    def __init__(self, tokens: Sequence[int], *, accumulate: int, limit: Callable[[], float], **settings: Any) -> None:
        super().__init__(size=len(tokens), **settings)
        self.tokens, self.accumulate, self.limit = torch.tensor(tokens), accumulate, limit

    def __iter__(self) -> Iterator[tuple[Tensor, float]]:
        parts = list(self.steps())
        parts = parts[: int(min(self.limit(), len(parts)))]
        if self.position >= len(parts):
            self.position = 0
        for index in range(self.position, len(parts)):
            first = index - index % self.accumulate
            window = parts[first : first + self.accumulate]
            tokens = sum(int(self.tokens[rows].sum()) for part in window for rows in part)
            self.position = index + 1
            yield parts[index][self.rank], self.accumulate * self.ranks / tokens


class _Rows(torch.utils.data.Dataset):
    def __init__(self, rows: Sequence[Conversation], chat: Chat) -> None:
        self.rows, self.chat = rows, chat

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: tuple[Tensor, float]) -> Batch:
        indices, weight = batch
        return self.chat.collate([self.rows[index] for index in indices.tolist()], weight)


def _as_it_is(batch: Batch) -> Batch:
    return batch


# Reading -----------------------------------------------------------------------------------------------------------


def _read(kind: str, path: str | None, expected: str | None) -> tuple[dict[str, list[dict[str, str]]], str]:
    """All rows, and the revision: a hash of them, or the hub's commit.

    Raises:
        ValueError: what is not there or not as it should be, a line each.
    """
    if kind == "stand_in":
        rows = {split: sums(n, split) for split, n in STAND_IN_ROWS.items()}
        if expected not in (None, _hash(rows)):
            raise ValueError(f"source=stand_in:{expected} is another stand-in than ours; its hash is {_hash(rows)}")
        return rows, _hash(rows)
    if kind == "hub":
        folder = _snapshot(expected)
        return {split: _table(folder, split) for split in SPLITS}, folder.name
    path = str(path)  # a folder may be called 2024
    if not Path(path).is_dir():
        raise ValueError(f"path must be a folder with train.jsonl and test.jsonl, got {path!r}; {CURE}")
    found, wrong = {}, []
    for split in SPLITS:
        try:
            found[split] = _lines(Path(path) / f"{split}.jsonl")
        except OSError as error:
            wrong.append(f"{Path(path) / f'{split}.jsonl'} cannot be read: {error.strerror}; {CURE}")
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong))
    if expected is not None and expected != _hash(found):
        raise ValueError(f"path={path} holds other rows than source=jsonl:{expected} says; their hash is {_hash(found)}")
    return found, _hash(found)


def sums(n: int, split: str) -> list[dict[str, str]]:
    """Return ``n`` sums in GSM8K's format; they try the code out and say nothing of GSM8K. The splits are disjoint."""
    rows = []
    for index in range(n):
        who, first, more = ("Ada" if split == "train" else "Bo"), 10 + index % 90, 1 + index // 90
        total = first + more
        question = f"{who} has {first} pens and buys {more} more. {who} then finds {first}. How many pens does {who} have?"
        steps = (
            f"{first}+{more}=<<{first}+{more}={total}>>{total} pens.\n{total}+{first}=<<{total}+{first}={total + first}>>"
        )
        rows.append({"question": question, "answer": f"{steps}{total + first} pens.\n#### {total + first}"})
    return rows


def _lines(file: Path) -> list[dict[str, str]]:
    rows = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                why = error.msg if isinstance(error, json.JSONDecodeError) else "not in UTF-8"
                raise ValueError(f"{file}, line {number} is no JSON: {why}; mend or remove it") from None
            rows.append(_checked(row, f"{file}, line {number}"))
    if not rows:
        raise ValueError(f"{file} holds no rows; {CURE}")
    return rows


def _table(folder: Path, split: str) -> list[dict[str, str]]:
    hub.needs("pyarrow")
    import pyarrow.parquet

    files = sorted((folder / "main").glob(f"{split}-*.parquet"))
    if not files:
        raise ValueError(f"{REPOSITORY} at {folder.name} has no main/{split}-*.parquet; {CURE}")
    rows = [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]
    return [_checked(row, f"{REPOSITORY}, {split} row {number}") for number, row in enumerate(rows, 1)]


def _checked(row: Any, where: str) -> dict[str, str]:
    if not isinstance(row, dict):
        raise ValueError(f"{where} must be an object with question and answer, got {row!r}"[:300])
    for key in ("question", "answer"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise ValueError(f"{where} must have a text as its {key}, got {row.get(key)!r}"[:300])
    try:
        answers.final(row["answer"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return {key: row[key] for key in ("question", "answer")}


def _snapshot(revision: str | None) -> Path:
    return hub.snapshot(REPOSITORY, revision, "dataset", [f"main/{split}-*.parquet" for split in SPLITS], cure=CURE)


def _hash(rows: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
    """Of the rows, whatever file they come from."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for row in rows[split]:
            digest.update(json.dumps([split, row["question"], row["answer"]]).encode() + b"\n")
    return digest.hexdigest()[:16]
