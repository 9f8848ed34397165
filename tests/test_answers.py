"""Is every answer read as lm-evaluation-harness reads it, and is every row of GSM8K its own right answer?"""

import json
import re
from pathlib import Path

import pytest

from superpositional.tasks.gsm8k.answers import final, flexible, same, strict, without_marks

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"

# Text, and what strict and flexible read in it.
READ = [
    ("", None, None),
    ("I do not know.", None, None),
    ("#### 18", "18", "18"),
    ("She has 9 left.\n#### 18", "18", "18"),
    ("#### 18\n", "18", "18"),
    ("#### 1,080", "1,080", "1,080"),
    ("#### -7", "-7", "-7"),
    ("#### 12.5", "12.5", "12.5"),
    ("#### 18.", "18.", "18."),
    ("#### 18 dollars", "18", "18"),
    ("#### 20%", "20", "20"),
    ("#### 0", "0", "0"),
    # Strict wants the mark as GSM8K has it.
    ("####18", None, "18"),
    ("####  18", None, "18"),
    ("### 18", None, "18"),
    ("#### $18", None, "$18"),
    ("#### **18**", None, "18"),
    ("##### 18", "18", "18"),
    ("#### eighteen", None, None),
    # A model that runs on: its own answer is the first, and flexible's wart.
    ("#### 18\n\nQuestion: Bo has 3 pens. How many?\nAnswer: 3\n#### 3", "18", "3"),
    ("The format is '#### number'.\n#### 18", "18", "18"),
    ("#### ...\n#### 18", "18", "18"),
    # No number, though the harness' patterns match.
    ("#### .", None, None),
    ("Well...", None, None),
    ("It costs $.", None, None),
    ("It is 18. Done...", None, "18."),
    # Flexible: the last number, however it is dressed.
    ("The answer is 18.", None, "18."),
    ("The answer is 7.", None, "7."),
    ("The answer is 7", None, "7"),
    ("So $1,234.50 in all", None, "$1,234.50"),
    ("It is -$5", None, "-$5"),
    ("It is $-5", None, "-5"),
    (r"\boxed{42}", None, "42"),
    ("**42**", None, "42"),
    ("3*4 = <<3*4=12>>12", None, "12"),
    ("half of it, .5", None, ".5"),
    # Its warts, the harness' own.
    ("10-12", None, "-12"),
    ("3/4", None, "4"),
    ("1e3", None, "3"),
    ("2, 3, 4,", None, "4,"),
    ("18...", None, "18..."),
    # A minus of typography and another script's digits are none.
    ("−5", None, "5"),
    ("٣", None, None),
]


@pytest.mark.parametrize(("text", "by_mark", "by_place"), READ, ids=[repr(text) for text, _, _ in READ])
def test_a_text_is_read_as_the_table_says(text, by_mark, by_place):
    assert (strict(text), flexible(text)) == (by_mark, by_place)


# The harness' patterns as its gsm8k.yaml has them, and its way with a match: the first non-empty group.
HARNESS = {strict: (r"#### (\-?[0-9\.\,]+)", 0), flexible: (r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1)}


def harness(text: str, reader) -> str | None:
    pattern, select = HARNESS[reader]
    found = re.findall(pattern, text)
    if not found:
        return None
    chosen = found[select]
    return next(group for group in chosen if group) if isinstance(chosen, tuple) else chosen


@pytest.mark.parametrize("reader", HARNESS, ids=["strict", "flexible"])
def test_readings_are_the_harness_own_wherever_those_hold_a_digit(reader):
    compared = 0
    for text, *_ in READ:
        theirs = harness(text, reader)
        if theirs is not None and re.search("[0-9]", theirs):
            assert reader(text) == theirs, text
            compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("given", "reference", "equal"),
    [
        ("18", "18", True),
        ("1,080", "1080", True),
        ("1080", "1,080", True),
        ("$1,080.00", "1080", True),
        ("18.", "18", True),
        ("18...", "18", True),
        ("12.0", "12", True),
        ("12", "12.0", True),
        ("012", "12", True),
        (" 12 ", "12", True),
        ("-0", "0", True),
        ("-7", "-7", True),
        ("-$5", "-5", True),
        (".5", "0.5", True),
        ("7", "-7", False),
        ("12.5", "12", False),
        ("12", "120", False),
        ("0.1", "0.10000000000000000001", False),
        # Float would call these equal.
        ("9007199254740993", "9007199254740992", False),
        ("1" * 5000, "1" * 5000, True),
        ("1" * 5000, "1" * 4999 + "2", False),
        (None, "18", False),
        ("", "18", False),
        ("1.2.3", "1", False),
        ("--5", "-5", False),
        ("18 dollars", "18", False),
        ("٣", "3", False),
        ("inf", "3", False),
        ("nan", "3", False),
        ("1e1", "10", False),
    ],
)
def test_numbers_are_compared_as_numbers(given, reference, equal):
    assert same(given, reference) is equal


@pytest.mark.parametrize("reference", ["", "eighteen", "1.2.3", "nan", "#### 18"])
def test_a_reference_that_is_no_number_is_refused(reference):
    with pytest.raises(ValueError, match="reference must be a number, got "):
        same("18", reference)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("48/2 = <<48/2=24>>24 clips", "48/2 = 24 clips"),
        ("$<<12/60=0.2>>0.2 and <<1+1=2>>2", "$0.2 and 2"),
        ("<<x>>", ""),
        # Nothing but marks goes.
        ("3 < 4 and 5 >> 2 << 1", "3 < 4 and 5 >> 2 << 1"),
        ("a << b\nc >> d", "a << b\nc >> d"),
        ("no marks", "no marks"),
    ],
)
def test_only_the_calculators_marks_go(text, plain):
    assert without_marks(text) == plain


@pytest.mark.parametrize("answer", ["She has 18.", "", "####", "#### eighteen", "####18", "#### 1.2.3"])
def test_a_row_without_a_reference_is_refused_with_its_end(answer):
    with pytest.raises(ValueError, match=re.escape(f"a last line like '#### 18', got one that ends {answer!r}")):
        final(answer)


@pytest.mark.parametrize(("split", "size"), [("train", 7473), ("test", 1319)])
def test_every_row_of_gsm8k_answers_itself(split, size):
    path = GSM8K / f"{split}.jsonl"
    if not path.exists():
        pytest.skip(f"no GSM8K at {path}; it is https://github.com/openai/grade-school-math")
    answers = [json.loads(line)["answer"] for line in path.read_text().splitlines()]
    assert len(answers) == size
    assert sum("<<" in answer for answer in answers) > 0.9 * size
    for answer in answers:
        reference, plain = final(answer), without_marks(answer)
        assert "<<" not in plain
        assert ">>" not in plain
        for read in (strict, flexible):
            assert same(read(answer), reference), answer
            assert same(read(plain), reference), answer
        # GSM8K's own rule, and no row names a second number after the mark.
        assert reference == answer.rpartition("#### ")[2]
    # Nothing is right by itself.
    shifted = [*answers[1:], answers[0]]
    assert sum(same(strict(one), final(other)) for one, other in zip(answers, shifted, strict=True)) < 0.05 * size
