r"""Read the number that a text answers, and compare it with a reference.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168) ends a worked answer with ``#### 18``. A model's text is read in the two ways of
lm-evaluation-harness, its filters ``strict-match`` and ``flexible-extract``, whose patterns these are:

- ``strict``: the FIRST ``#### (\-?[0-9\.\,]+)``. A model that runs on writes further questions and answers of its own
  making after the one that was asked, so the last mark may not be its answer.
- ``flexible``: the LAST ``(-?[$0-9.,]{2,})|(-?[0-9]+)``, wherever it stands. It is a generous reading: ``from 10-12`` gives
  ``-12`` there as here.

It differs in two ways from the harness, both in the model's favour: a match without a digit (``...``, ``$.``) is no number
and is passed over, and numbers are compared as numbers, so ``18.00`` and ``18...`` answer ``18``.
"""

import re
from decimal import Decimal

STRICT = re.compile(r"#### (-?[0-9.,]+)")
FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
# What is left of a number without commas, dollar signs and full stops at its end. Not \d: it matches other scripts, too.
NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
MARK = re.compile(r"<<[^<>\n]*>>")


def strict(text: str) -> str | None:
    """The number after the first ``#### `` that a number follows, as it stands there; None without one."""
    return next((found for found in STRICT.findall(text) if _has_digit(found)), None)


def flexible(text: str) -> str | None:
    """The last number of the text, as it stands there; None without one."""
    return next((found for found in reversed(FLEXIBLE.findall(text)) if _has_digit(found)), None)


def same(given: str | None, reference: str) -> bool:
    """Whether a number read from a text is the reference: commas, ``$``, a full stop at the end and ``.0`` aside.

    None, and what is no number (``1.2.3``), is never right.

    Raises:
        ValueError: the reference is no number, so that nothing could be right.
    """
    expected = _number(reference)
    if expected is None:
        raise ValueError(f"reference must be a number, got {reference!r}; final() reads one from a row of GSM8K")
    # Decimals are compared exactly, however long, and -0 equals 0.
    return given is not None and _number(given) == expected


def without_marks(text: str) -> str:
    """The text without the marks of GSM8K's calculator: ``48/2 = <<48/2=24>>24`` becomes ``48/2 = 24``."""
    return MARK.sub("", text)


def final(answer: str) -> str:
    """The reference number of a row's worked answer, as it stands there.

    Raises:
        ValueError: for an answer that names none.
    """
    found = strict(answer)
    if found is None or _number(found) is None:
        raise ValueError(f"answer must have a last line like '#### 18', got one that ends {answer[-60:]!r}")
    return found


def _has_digit(text: str) -> bool:
    return any(character in "0123456789" for character in text)


def _number(text: str) -> Decimal | None:
    plain = text.strip().replace(",", "").replace("$", "").rstrip(".")
    return Decimal(plain) if NUMBER.fullmatch(plain) else None
