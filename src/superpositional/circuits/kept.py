"""What has been found out before, by whichever run?

Answers that follow from their question alone, as JSON files in the user's cache: a run pays for none that another has paid
for. A file is written whole or not at all, so any number of processes may ask at once, and one that cannot be read is made
again. Read by ``facts`` and ``portrait``.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from typing import Any

from superpositional.places import cache, cache_folder
from superpositional.records import replace_file


def kept(
    what: str, question: Mapping[str, Any], answer: Callable[[], Mapping[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    """The answer, from the cache or found now, and why it could not be kept, where it could not.

    Args:
        what: names the files.
        question: all that the answer depends on, in JSON's types: settings, releases, a number that its code counts up.
        answer: finds it out; in JSON's types.
    """
    text = json.dumps({"what": what, **question}, sort_keys=True)
    try:
        path = cache() / "circuits" / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    except RuntimeError as error:  # a user without a home
        return _plain(answer()), _problem("", str(error))
    try:
        found = json.loads(path.read_text())
        if found["question"] == json.loads(text):
            return dict(found["answer"]), None
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not whole
    found = _plain(answer())
    try:
        cache_folder(path.parent.name)
        replace_file(path, json.dumps({"question": json.loads(text), "answer": found}, indent=1))
    except OSError as error:
        return found, _problem(f" {path.parent}", error.strerror)
    return found, None


def releases(*packages: str) -> dict[str, str]:
    """Their versions, for questions whose answers may change with them."""
    return {name: importlib.metadata.version(name) for name in packages}


def _plain(answer: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file, so that who finds it out gets the same as who reads it."""
    return json.loads(json.dumps(answer))


def _problem(where: str, why: str | None) -> str:
    return (
        f"the cache{where} cannot be written ({why}), so every run finds out anew what is known of its circuit; set "
        "SUPERPOSITIONAL_CACHE to a folder that can"
    )
