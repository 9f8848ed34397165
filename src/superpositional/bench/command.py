"""Which subjects are measured, and where does what was measured go?

To the terminal as tables, to ``<out>/<subject>.json`` with every single measurement, to ``.md`` with the tables; with
``--json``, to stdout as JSON. Whoever presses Ctrl-C keeps what was measured until then. Read by cli.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from superpositional import records
from superpositional.bench import arguments, machine, showing
from superpositional.bench.measuring import Asked, Book, Disagreement
from superpositional.places import ConfigError
from superpositional.records import identity


def main(options: argparse.Namespace) -> None:
    """Measure, say it, keep it.

    Raises:
        ConfigError: of what was asked, what cannot be; or a run of the benchmark does not end as done.
        Disagreement: a peer computes something else than ours.
        KeyboardInterrupt: after what was measured was written.
    """
    if wrong := arguments.mistakes(options):
        raise ConfigError(wrong)
    # Of --json stdout is the JSON's alone.
    console = Console(highlight=False, markup=False, stderr=options.json)
    if not console.is_terminal:
        # A file is read in a window wider than the 80 columns that rich would think of.
        console.width = 150
    subjects = list(arguments.SUBJECTS) if options.subject is None else [options.subject]
    measured: dict[str, Any] = {}
    try:
        with _stdout_kept(options.json):
            for subject in subjects:
                _measure(subject, options, console, measured)
    finally:
        if options.json and measured:
            shown = measured if options.subject is None else measured[options.subject]
            sys.stdout.write(json.dumps(records.plain(shown), indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def _stdout_kept(wanted: bool) -> Iterator[None]:
    """What runs and their processes say goes to stderr meanwhile, if that is wanted."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _measure(subject: str, options: argparse.Namespace, console: Console, measured: dict[str, Any]) -> None:
    room = importlib.import_module(f"superpositional.bench.{subject}")
    asked = Asked(options.repeats, options.quick, tuple(options.overrides))
    book, whole = Book(), False
    on = machine.machine()
    try:
        _take(room.steps(asked), subject, book, console)
        whole = True
    finally:
        # Written however it ended: what was measured is kept.
        if book.comparisons or book.growths:
            measured[subject] = {
                "subject": subject,
                "whole": whole,
                "quick": options.quick,
                **book.plain(),
                **_circumstances(options.overrides, on),
            }
            _keep(subject, options, console, book, measured[subject])


def _take(steps: Sequence[Any], subject: str, book: Book, console: Console) -> None:
    columns = TextColumn(f"{subject}: {{task.description}}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=sum(step.seconds for step in steps))
        for step in steps:
            bar.update(task, description=step.name)
            step.run(book)
            bar.advance(task, step.seconds)


def _circumstances(overrides: Sequence[str], on: dict[str, Any]) -> dict[str, Any]:
    return {
        "overrides": list(overrides),
        "machine": on,
        "versions": machine.versions(),
        "git": identity.git_state(),
    }


def _keep(subject: str, options: argparse.Namespace, console: Console, book: Book, content: dict[str, Any]) -> None:
    """Files first, then words."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    records.write_json(out / f"{subject}.json", content)
    where = machine.in_a_line(content["machine"], content["versions"])
    words = {}
    if options.quick:
        words["quick"] = "With --quick: sizes are tiny, so this says that it runs and not how fast."
    if book.growths:
        words["growths"] = "How costs grow was measured with torch on one thread."
    if not content["whole"]:
        words["whole"] = "Interrupted: what is missing was not measured."
    files = [out / f"{subject}.json", out / f"{subject}.md"]
    files[1].write_text(showing.markdown(subject, book, words, where), encoding="utf-8")
    if options.json:
        return
    console.print(f"\n{subject}: {arguments.SUBJECTS[subject][0]}", soft_wrap=True)
    console.print(showing.table(showing.HEADINGS, showing.rows(book)))
    if book.growths:
        console.print(showing.table(showing.GROWTH_HEADINGS, showing.growth_rows(book)))
    for text in (*book.notes, *words.values(), where, f"medians; every measurement in {', '.join(map(str, files))}"):
        console.print(text, soft_wrap=True)


def answer(options: argparse.Namespace) -> None:
    """``main``, with what goes wrong said in a line: 2 for what cannot be asked, 1 for a peer that is none."""
    from superpositional.training.train import refuse

    try:
        main(options)
    except ConfigError as error:
        refuse(error)
    except Disagreement as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(1)
