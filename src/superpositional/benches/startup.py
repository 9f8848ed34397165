"""How long does one wait before anything is trained?

From the start of the process ``superpositional train`` to the end of its first training step, ``--help``, and imports, each
a fresh process on files that the system holds in memory; against the imports that anybody's script would have. Read by
``command``.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from superpositional import config as configs
from superpositional.benches.measuring import Asked, Book, Step

# Seconds that a first step, and help, may take.
MOST_FIRST_STEP, MOST_HELP = 6.0, 1.0
FIRST = "{_target_:superpositional.benches.startup.FirstStep}"


class FirstStep(Callback):
    """By the clock on the wall, which other processes share: when the first step had ended."""

    def __init__(self) -> None:
        self.ended: float | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.ended is None:
            self.ended = time.time()

    def notes(self) -> dict[str, Any]:
        return {"first_step_ended": self.ended}


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    part = functools.partial
    return [
        Step("the first step", 60, part(_first_step, asked)),
        Step("--help", 10, part(_help, asked)),
        Step("imports", 30, part(_imports, asked)),
    ]


def python(code: str) -> Callable[[], float]:
    return functools.partial(_seconds, ["-c", code])


def first_step(asked: Asked) -> float:
    """Seconds from the start of the process to the end of its first step."""
    with tempfile.TemporaryDirectory(prefix="superpositional-") as folder:
        words = ["train", "trainer=smoke", "logger=none", f"+callbacks.first_step={FIRST}", *asked.overrides]
        started = time.time()
        _seconds(["-m", "superpositional.cli", *words, f"hydra.run.dir='{folder}'"])
        return json.loads((Path(folder) / "record.json").read_text())["first_step_ended"] - started


def _first_step(asked: Asked, book: Book) -> None:
    what, most = "from the process's start to its first training step", None if asked.quick else MOST_FIRST_STEP
    lightning = book.compare(what, 'python -c "import lightning"', ours_most=most)
    torch = book.compare(what, 'python -c "import torch"', ours=lightning.ours, ours_most=most)
    ours = functools.partial(first_step, asked)
    ways = {"ours": ours, "lightning": python("import lightning"), "torch": python("import torch")}
    _in_turns(ways, {"ours": lightning.ours, "lightning": lightning.theirs, "torch": torch.theirs}, asked)


def _help(asked: Asked, book: Book) -> None:
    found = book.compare("superpositional --help", 'python -c "pass"', ours_most=None if asked.quick else MOST_HELP)
    ours = functools.partial(_seconds, ["-m", "superpositional.cli", "--help"])
    _in_turns({"ours": ours, "peer": python("pass")}, {"ours": found.ours, "peer": found.theirs}, asked)


def _imports(asked: Asked, book: Book) -> None:
    for code, peer in (
        ("import superpositional", "pass"),
        ("from superpositional import SuperpositionalAdamW", "import torch"),
        ("from superpositional.attention import QuantumAttention", "import torch"),
    ):
        found = book.compare(f'python -c "{code}"', f'python -c "{peer}"')
        _in_turns({"ours": python(code), "peer": python(peer)}, {"ours": found.ours, "peer": found.theirs}, asked)


def _in_turns(ways: dict[str, Callable[[], float]], into: dict[str, list[float]], asked: Asked) -> None:
    """As ``measuring.alternate``, of calls that take their own time; the first of each fills the system's caches."""
    for way in () if asked.quick else ways.values():
        way()
    for repeat in range(asked.times(5)):
        for name in ways if repeat % 2 == 0 else reversed(ways):
            into[name].append(ways[name]())


def _seconds(arguments: list[str]) -> float:
    """Seconds of a fresh Python, which has to end well."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise configs.ConfigError([f"python {' '.join(arguments[:3])} ended with {done.returncode}: {done.stderr[-500:]}"])
    return seconds
