"""Are the rows those that were asked for, each seen once, and weighted so that every token counts once?"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from superpositional.records.identity import Code, identity
from superpositional.tasks.gsm8k.data import GSM8K, WeightedBatches, source
from superpositional.training import config as configs

ROWS = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 = <<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"} for n in range(12)]


def write(folder: Path, train: Any = ROWS, test: Any = ROWS[:3]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def data(folder: Path, **settings: Any) -> GSM8K:
    return GSM8K(**{"seed": 0, "model": "tiny", "path": str(folder), "n_validation": 2, **settings})


# Batches --------------------------------------------------------------------------------------------------------------


def batches(tokens: list[int], *, accumulate: int = 1, limit: float = math.inf, **settings: Any) -> WeightedBatches:
    return WeightedBatches(tokens, accumulate=accumulate, limit=lambda: limit, **{"batch_size": 1, "seed": 3, **settings})


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize(("batch_size", "limit"), [(1, math.inf), (1, 7), (3, math.inf), (4, 2)])
def test_over_the_batches_and_ranks_of_a_step_every_token_counts_once(ranks, accumulate, batch_size, limit) -> None:
    tokens = [1 + (7 * n) % 23 for n in range(40)]
    each = [
        list(batches(tokens, accumulate=accumulate, limit=limit, batch_size=batch_size, ranks=ranks, rank=rank))
        for rank in range(ranks)
    ]
    assert len({len(own) for own in each}) == 1
    seen = [row for own in each for rows, _ in own for row in rows.tolist()]
    assert len(seen) == len(set(seen))
    if limit == math.inf:
        # What is left over is too little for a batch of every rank.
        assert len(tokens) - len(seen) < (ranks * batch_size if ranks > 1 else 1)
    for first in range(0, len(each[0]), accumulate):
        window = [own[first : first + accumulate] for own in each]
        total = sum(tokens[row] for own in window for rows, _ in own for row in rows.tolist())
        # Lightning divides by the accumulation, DDP by the ranks.
        assert all(
            weight / accumulate / ranks == pytest.approx(1 / total, rel=1e-15) for own in window for _, weight in own
        )


def test_an_epoch_goes_on_where_it_was_left_and_another_starts_anew() -> None:
    tokens = list(range(1, 21))
    whole = [rows.tolist() for rows, _ in batches(tokens)]
    started = batches(tokens)
    begun = iter(started)
    first = [next(begun)[0].tolist() for _ in range(6)]
    again = batches(tokens)
    again.set_epoch(0)
    vars(again).update(epoch=started.epoch, position=started.position)
    again.set_epoch(0)
    assert first + [rows.tolist() for rows, _ in again] == whole
    again.set_epoch(1)
    other = [rows.tolist() for rows, _ in again]
    assert sorted(other) == sorted(whole)
    assert other != whole
    # One that was left at its end is over.
    ended = batches(tokens)
    list(ended)
    assert ended.position == 20
    ended.set_epoch(1)
    assert [rows.tolist() for rows, _ in ended] == other


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    tokens = list(range(1, 21))
    orders = {seed: [rows.tolist() for rows, _ in batches(tokens, seed=seed)] for seed in (3, 4)}
    assert orders[3] != orders[4]
    torch.manual_seed(99)
    assert [rows.tolist() for rows, _ in batches(tokens[::-1], seed=3)] == orders[3]


# Rows -----------------------------------------------------------------------------------------------------------------


def test_the_last_rows_are_held_out_for_every_seed_and_the_record_says_what_there_is(tmp_path) -> None:
    found = [data(write(tmp_path), seed=seed) for seed in (0, 1)]
    for each in found:
        each.setup()
    validation = [each.chat.tokenizer.decode(row.tokens) for each in found for row in each.splits["validation"]]
    assert [text.split("What is ")[1].split("?")[0] for text in validation] == ["10 + 1", "11 + 1"] * 2
    notes = found[0].notes()
    assert notes["rows"] == {"train": 10, "validation": 2, "test": 3}
    assert notes["truncated"] == {"train": 0, "validation": 0, "test": 0}
    assert 0 < notes["supervised_share"] < 1
    assert notes["supervised_share"] == sum(r.supervised for r in found[0].splits["train"]) / notes["tokens"]


@pytest.mark.parametrize(("calculator", "learned"), [("keep", "5 + 1 = <<5+1=6>>6"), ("strip", "5 + 1 = 6")])
def test_the_calculators_marks_are_kept_or_stripped(tmp_path, calculator, learned) -> None:
    each = data(write(tmp_path), calculator=calculator)
    each.setup()
    row = each.splits["train"][5]
    assert each.chat.tokenizer.decode(row.tokens[row.prompt :]) == f"{learned}\n#### 6<|im_end|>"


def test_rows_that_are_cut_are_counted_and_those_without_an_answer_left_out(tmp_path) -> None:
    long = {"question": "What is it? " * 20, "answer": "#### 1"}
    rows = [*ROWS[:4], long, *ROWS[4:]]
    whole = data(write(tmp_path / "a", rows))
    whole.setup()
    length = max(len(row.tokens) for row in whole.splits["train"] if len(row.tokens) < 150)
    each = data(write(tmp_path / "a", rows), max_length=length - 1)
    each.setup()
    notes = each.notes()
    assert notes["left_out"] == {"train": 1, "validation": 0, "test": 0}
    assert notes["truncated"]["train"] == sum(len(row.tokens) == length for row in whole.splits["train"]) > 0


def test_no_room_for_any_answer_is_said_in_a_runs_record(tmp_path) -> None:
    from superpositional.training.run import run

    words = [
        "scale=tiny",
        f"data.path={write(tmp_path / 'rows')}",
        "data.n_validation=2",
        "data.max_length=9",
        "logger=none",
    ]
    record = run(configs.compose_job(configs.composed(words)[0]), tmp_path / "run")
    assert record["status"] == "failed"
    assert "max_length must leave room for an answer, got 9" in record["error"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "train.jsonl, line 2 is no JSON"),
        ('["a", "b"]', "train.jsonl, line 2 must be an object with question and answer"),
        ('{"question": "a"}', "train.jsonl, line 2 must have a text as its answer, got None"),
        ('{"question": " ", "answer": "#### 1"}', "train.jsonl, line 2 must have a text as its question, got ' '"),
        ('{"question": "a", "answer": "one"}', "train.jsonl, line 2: answer must have a last line like '#### 18'"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(tmp_path, line, message) -> None:
    (write(tmp_path) / "train.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(ValueError, match="line 2") as told:
        data(tmp_path)
    assert message in str(told.value)


def test_a_line_in_another_encoding_is_named_by_file_and_number(tmp_path) -> None:
    latin = '{"question": "Café?", "answer": "#### 1"}'.encode("latin-1")
    (write(tmp_path) / "train.jsonl").write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + latin + b"\n")
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2 is no JSON: not in UTF-8; mend or remove it"):
        data(tmp_path)


def test_another_stand_in_than_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="source=stand_in:0123 is another stand-in than ours; its hash is"):
        GSM8K(seed=0, model="tiny", source="stand_in:0123")


def test_rows_other_than_those_that_the_source_names_are_refused(tmp_path) -> None:
    name = source(str(write(tmp_path)))
    assert name.startswith("jsonl:")
    assert data(tmp_path, source=name).revision == name.removeprefix("jsonl:")
    write(tmp_path, ROWS[:-1])
    with pytest.raises(ValueError, match="holds other rows than source=jsonl"):
        data(tmp_path, source=name)


def test_a_run_is_its_rows_and_not_where_they_lie(tmp_path) -> None:
    def identity_of(folder: Path) -> str:
        return identity(configs.compose_job(configs.composed(["scale=tiny", f"data.path={folder}"])[0]), "c")

    here, there = write(tmp_path / "here"), write(tmp_path / "there")
    assert identity_of(here) == identity_of(there)
    assert identity_of(write(tmp_path / "other", ROWS[1:])) != identity_of(here)


def test_a_record_holds_no_path_of_the_machine(tmp_path) -> None:
    from superpositional.training.run import opening

    config = configs.compose_job(configs.composed(["scale=tiny", f"data.path={write(tmp_path / 'rows')}"])[0])
    opened = opening(config | {"net": config["net"] | {"model": str(tmp_path)}}, Code("c"))
    assert str(tmp_path) not in json.dumps(opened)
    assert opened["config"]["data"]["path"] == "rows"


def test_where_there_is_neither_path_nor_hub_the_stand_in_is_named_as_such(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert source(None) == "stand_in"
    each = GSM8K(seed=0, model="tiny", source="stand_in")
    assert each.notes()["source"] == "stand_in"
    assert len(each.rows["train"]), len(each.rows["test"]) == (7473, 1319)
    assert not {row["question"] for row in each.rows["train"]} & {row["question"] for row in each.rows["test"]}


def test_the_hubs_rows_are_read_from_its_cache_and_named_by_their_commit(monkeypatch, tmp_path) -> None:
    """A cache as the hub's own library lays it out; the hub itself is out of reach here."""
    import pyarrow
    import pyarrow.parquet

    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "datasets--openai--gsm8k"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit / "main").mkdir(parents=True)
    for split, rows in (("train", ROWS), ("test", ROWS[:3])):
        file = place / "snapshots" / commit / "main" / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = source(None)
    assert name == f"hub:{commit}"
    each = GSM8K(seed=0, model="tiny", source=name, n_validation=2)
    assert (each.rows["train"], each.revision) == (ROWS, commit)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "hugging"}, "source must be one of jsonl, hub, stand_in, got 'hugging'"),
        ({"source": "stand_in"}, "source must be jsonl with a path, and only then"),
        ({"n_validation": 12}, "n_validation must be below the 12 training rows, got 12"),
        ({"max_length": 2049}, "max_length must be at most the context of tiny, 2048, got 2049"),
        ({"calculator": "maybe", "batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"prompt": "no"}, "prompt must be a text that holds {question}"),
        ({"model": "gpt-9"}, "model must be one of"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_cure(tmp_path, settings, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        data(write(tmp_path), **settings)
