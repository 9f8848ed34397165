"""Are answers generated greedily, judged rightly, and all kept?"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from superpositional.tasks.gsm8k import hub
from superpositional.tasks.gsm8k.chat import Chat
from superpositional.tasks.gsm8k.exact_match import ExactMatch, _judged, _padded_left
from superpositional.tasks.gsm8k.net import CausalLM


@pytest.fixture(scope="module")
def taught() -> tuple[Chat, CausalLM]:
    """Tiny after enough steps on three rows that its answers differ by question and end by themselves."""
    from superpositional.tasks.gsm8k.task import summed_loss

    torch.manual_seed(1)
    chat, net = Chat(hub.tokenizer("tiny")), CausalLM(model="tiny")
    rows = chat.conversations(
        ["one?", "a much longer question about two?", "3?"], ["#### 1", "So\n#### 22", "#### 3"], max_length=200
    )
    batch = chat.collate(rows)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        (summed_loss(net, batch) / batch.supervised_BN.sum()).backward()
        optimizer.step()
    return chat, net.eval()


def test_padding_on_the_left_changes_no_answer(taught) -> None:
    chat, net = taught
    prompts = chat.prompts(["one?", "a much longer question about two?", "3?"])
    together = net.answer(*_padded_left(prompts, chat.end), end=chat.end, max_new_tokens=30)
    texts = [chat.tokenizer.decode(ids[: ids.index(chat.end)]) for ids in together.tolist()]
    assert texts == ["#### 1", "So\n#### 22", "#### 3"]
    for prompt, ids in zip(prompts, together.tolist(), strict=True):
        alone = net.answer(*_padded_left([prompt], chat.end), end=chat.end, max_new_tokens=30)[0].tolist()
        assert alone == ids[: len(alone)]
        # Filled with the end mark behind it.
        assert set(ids[len(alone) :]) <= {chat.end}


def test_a_models_own_ways_of_generating_are_left_out(taught) -> None:
    chat, net = taught
    prompt = _padded_left(chat.prompts(["one?"]), chat.end)
    plain = net.answer(*prompt, end=chat.end, max_new_tokens=30)
    # What folders of models come with; CausalLM's constructor has replaced it, and here it is put back and replaced again.
    fresh = CausalLM(model="tiny")
    assert fresh.language_model.generation_config.repetition_penalty in (None, 1.0)
    assert fresh.language_model.generation_config.temperature in (None, 1.0)
    assert fresh.ends == {chat.end}
    assert torch.equal(plain, net.answer(*prompt, end=chat.end, max_new_tokens=30))


def test_an_answer_that_does_not_end_is_judged_as_it_stands(taught) -> None:
    chat, net = taught
    ids = net.answer(*_padded_left(chat.prompts(["one?"]), chat.end), end=chat.end, max_new_tokens=3)
    assert ids.shape == (1, 3)
    assert chat.end not in ids[0].tolist()


def run_of(taught: Any, tmp_path: Any, rows: list[dict[str, str]], **settings: Any) -> tuple[ExactMatch, dict[str, float]]:
    chat, net = taught
    logged: dict[str, float] = {}
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.update(metrics), save=lambda: None)
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(questions=rows, chat=chat),
        global_rank=0, world_size=1, global_step=7, is_global_zero=True, progress_bar_callback=None,
        default_root_dir=str(tmp_path), loggers=[logger],
        precision_plugin=SimpleNamespace(forward_context=torch.inference_mode),
    )  # fmt: skip
    module = SimpleNamespace(net=net, device=torch.device("cpu"), parameters=net.parameters)
    callback = ExactMatch(max_new_tokens=30, **settings)
    callback.on_test_epoch_end(trainer, module)
    return callback, logged


ROWS = [
    {"question": "one?", "answer": "#### 1"},
    {"question": "a much longer question about two?", "answer": "#### 2"},
    {"question": "3?", "answer": "3 it is\n#### 3"},
]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_answer_is_kept_in_the_order_of_the_questions_whatever_the_batches(taught, tmp_path, batch_size) -> None:
    import json

    callback, logged = run_of(taught, tmp_path, ROWS, batch_size=batch_size)
    told = [json.loads(line) for line in (tmp_path / "generations.jsonl").read_text().splitlines()]
    assert [each["question"] for each in told] == [0, 1, 2]
    assert [each["strict"] for each in told] == ["1", "22", "3"]
    assert [each["correct"] for each in told] == [True, False, True]
    assert all(each["finished"] for each in told)
    assert logged == {"test/exact_match": 2 / 3, "test/exact_match_flexible": 2 / 3, "test/answers_finished": 1.0}
    assert callback.notes()["evaluation"] | {"prompt": ""} == {
        "questions": 3, "of": 3, "smoke": False, "max_new_tokens": 30, "prompt": "", "system": None,
    }  # fmt: skip


def test_fewer_questions_than_there_are_make_a_smoke(taught, tmp_path) -> None:
    callback, _ = run_of(taught, tmp_path, ROWS, questions=2)
    evaluation = callback.notes()["evaluation"]
    assert (evaluation["questions"], evaluation["of"], evaluation["smoke"]) == (2, 3, True)


@pytest.mark.parametrize(
    ("text", "strict", "correct", "flexible"),
    [
        ("5 * 4 = 20\n#### 20", "20", True, True),
        ("The answer is 20.", None, False, True),
        ("#### 21", "21", False, False),
        ("no number", None, False, False),
        ("#### 20\n\nQuestion: and 7?\n#### 7", "20", True, False),
    ],
)
def test_a_text_is_judged_by_both_rules(text, strict, correct, flexible) -> None:
    found = _judged(4, {"question": "q", "answer": "5 * 4 = <<5*4=20>>20\n#### 20"}, text, True)
    assert (found["question"], found["reference"], found["completion"]) == (4, "20", text)
    assert (found["strict"], found["correct"], found["correct_flexible"]) == (strict, correct, flexible)


def test_answers_must_fit_behind_the_longest_question(taught) -> None:
    chat, _ = taught
    questions = [{"question": "one?"}, {"question": "a much longer question about two?"}]
    longest = max(len(ids) for ids in chat.prompts([row["question"] for row in questions]))
    data = SimpleNamespace(chat=chat, questions=questions, context=longest + 20)
    assert ExactMatch(max_new_tokens=20).bad_data(data) is None
    wrong = ExactMatch(max_new_tokens=21).bad_data(data)
    assert wrong.startswith(f"max_new_tokens must be at most 20, the model's context of {longest + 20} less the longest")
