"""Does the model see the question and learn the answer and its end, and nothing else?"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from superpositional.tasks.gsm8k import hub
from superpositional.tasks.gsm8k.chat import DATE, Chat

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
# Llama 3's turns, with the date that 3.2 writes into each prompt.
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: "
    "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}\n\n<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA_TOKENS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
# One that puts nothing behind the prompt but the answer.
PLAIN = (
    "{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|im_end|>{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def of_template(template: str, special: list[str] | None = None, end: str = "<|im_end|>") -> Any:
    """The byte tokenizer with another template."""
    tokenizer = hub._bytes()
    tokenizer.add_special_tokens({"additional_special_tokens": special or ["<|im_start|>"], "eos_token": end})
    tokenizer.chat_template = template
    return tokenizer


def rows(count: int) -> list[dict[str, str]]:
    if not GSM8K.is_dir():
        pytest.skip("GSM8K is not beside this checkout, in ../shared/data/gsm8k")
    return [json.loads(line) for line in (GSM8K / "train.jsonl").read_text().splitlines()[:count]]


TOKENIZERS = {
    "chatml": lambda: hub.tokenizer("tiny"),
    "llama": lambda: of_template(LLAMA, LLAMA_TOKENS, "<|eot_id|>"),
    "plain": lambda: of_template(PLAIN),
}
GOLDEN = {
    "chatml": ("<|im_start|>user\nWhat is 1 + 2?<|im_end|>\n<|im_start|>assistant\n", "1 + 2 = 3\n#### 3<|im_end|>"),
    "llama": (
        f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: {DATE}\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhat is 1 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "1 + 2 = 3\n#### 3<|eot_id|>",
    ),
    "plain": ("What is 1 + 2?\n", "1 + 2 = 3\n#### 3<|im_end|>"),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_of_each_template_the_answer_and_its_end_mark_are_learned_and_no_more(name) -> None:
    tokenizer = TOKENIZERS[name]()
    (row,) = Chat(tokenizer).conversations(["What is 1 + 2?"], ["1 + 2 = 3\n#### 3"], max_length=2048)
    prompt, answer = (tokenizer.decode(part) for part in (row.tokens[: row.prompt], row.tokens[row.prompt :]))
    assert (prompt, answer) == GOLDEN[name]
    assert row.cut == 0


@pytest.mark.parametrize("name", TOKENIZERS)
def test_of_real_rows_what_is_supervised_decodes_to_the_answer_and_its_end(name) -> None:
    tokenizer, real = TOKENIZERS[name](), rows(300)
    chat = Chat(tokenizer)
    found = chat.conversations([row["question"] for row in real], [row["answer"] for row in real], max_length=4096)
    end = tokenizer.decode([chat.end])
    for row, source in zip(found, real, strict=True):
        assert tokenizer.decode(row.tokens[row.prompt :]) == source["answer"] + end
        # Training meets the very ids that answering starts from.
        assert list(row.tokens[: row.prompt]) == chat.prompts([source["question"]])[0]


def test_smollm2_reads_numbers_digit_by_digit_and_closes_with_its_end_mark() -> None:
    if not hub.importlib.util.find_spec(hub.PACKAGE):
        pytest.skip(f"SmolLM2's weights are not installed; {hub.INSTALL}")
    tokenizer = hub.tokenizer("smollm2_135m")
    (row,) = Chat(tokenizer).conversations(["How much is 1250?"], ["#### 1250"], max_length=2048)
    assert tokenizer.convert_ids_to_tokens(row.tokens[row.prompt :]) == ["####", "Ġ", "1", "2", "5", "0", "<|im_end|>"]
    ends = "<|im_start|>user\nHow much is 1250?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(row.tokens[: row.prompt]).endswith(ends)
    # Its padding is its end mark, so only lengths can tell them apart.
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == row.tokens[-1]


def test_padding_that_is_the_end_mark_is_not_learned_and_the_end_mark_is() -> None:
    chat = Chat(hub.tokenizer("tiny"))
    long, short = chat.conversations(["a longer question?", "b?"], ["a longer answer\n#### 12", "#### 3"], max_length=2048)
    batch = chat.collate([long, short], weight=0.25)
    assert batch.tokens_BN.shape == (2, len(long.tokens))
    assert batch.attends_BN.sum(1).tolist() == [len(long.tokens), len(short.tokens)]
    assert batch.supervised_BN.sum(1).tolist() == [long.supervised, short.supervised]
    assert batch.tokens_BN[1, len(short.tokens) - 1] == chat.end
    assert batch.supervised_BN[1, len(short.tokens) - 1]
    assert (batch.tokens_BN[1, len(short.tokens) :] == chat.end).all()
    assert not batch.supervised_BN[1, len(short.tokens) :].any()
    assert batch.weight == 0.25


@pytest.mark.parametrize(("left", "cut", "supervised"), [(0, 0, 8), (-1, 1, 7), (-8, 8, 0), (-20, 20, 0)])
def test_what_does_not_fit_is_cut_and_counted(left, cut, supervised) -> None:
    chat = Chat(hub.tokenizer("tiny"))
    (whole,) = chat.conversations(["b?"], ["#### 12"], max_length=2048)
    assert whole.supervised == 8  # seven bytes and the end mark
    (row,) = chat.conversations(["b?"], ["#### 12"], max_length=len(whole.tokens) + left)
    assert (row.cut, row.supervised) == (cut, supervised)
    assert row.tokens == whole.tokens[: len(whole.tokens) + left]


def test_a_system_turn_and_a_prompt_of_ones_own_are_in_every_conversation() -> None:
    tokenizer = hub.tokenizer("tiny")
    chat = Chat(tokenizer, prompt="Solve: {question} End with ####.", system="Be brief.")
    assert tokenizer.decode(chat.prompts(["1+1?"])[0]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nSolve: 1+1? End with ####.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "must close an answer with a special token"),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}Answer:{% endif %}",
            "must put the answer after what it renders with add_generation_prompt",
        ),
    ],
)
def test_a_template_that_cannot_teach_where_an_answer_starts_or_ends_is_refused(template, message) -> None:
    with pytest.raises(ValueError, match=message):
        Chat(of_template(template))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system, please') }}", "refuses the conversation: no system, please.*set system to null"),
        (PLAIN.replace("{{ m['content'] }}", "{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}"), "leaves the"),
    ],
)
def test_a_template_that_takes_no_system_turn_is_refused(template, message) -> None:
    with pytest.raises(ValueError, match=message):
        Chat(of_template(template), system="Be brief.")


def test_a_template_that_writes_todays_date_writes_ours_on_every_day() -> None:
    dated = "{{ strftime_now('%d %b %Y') }}\n" + PLAIN
    chat = Chat(of_template(dated))
    assert chat.tokenizer.decode(chat.prompts(["b?"])[0]) == f"{DATE}\nb?\n"


def test_an_answer_that_holds_the_end_mark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must not hold the model's end mark <\|im_end\|>"):
        Chat(hub.tokenizer("tiny")).conversations(["b?"], ["two<|im_end|>#### 2"], max_length=99)


@pytest.mark.parametrize("prompt", ["", "no place for it", 3])
def test_a_prompt_without_a_question_is_refused(prompt) -> None:
    with pytest.raises(ValueError, match=r"prompt must be a text that holds \{question\}"):
        Chat(hub.tokenizer("tiny"), prompt=prompt)


def test_the_loss_learns_the_end_mark() -> None:
    """Its gradient is there: without it a model trained here would never stop."""
    from superpositional.tasks.gsm8k.net import CausalLM
    from superpositional.tasks.gsm8k.task import summed_loss

    torch.manual_seed(0)
    chat, net = Chat(hub.tokenizer("tiny")), CausalLM(model="tiny")
    batch = chat.collate(chat.conversations(["b?"], ["#### 3"], max_length=99))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        (summed_loss(net, batch) / batch.supervised_BN.sum()).backward()
        optimizer.step()
    prompt = torch.tensor(chat.prompts(["b?"]))
    net.eval()
    ids = net.answer(prompt, torch.ones_like(prompt), end=chat.end, max_new_tokens=20)[0].tolist()
    assert chat.tokenizer.decode(ids) == "#### 3<|im_end|>"
