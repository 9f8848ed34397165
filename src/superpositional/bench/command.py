"""``superpositional bench``: measure, print tables, write every measurement to ``<out>/<subject>.json``."""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from superpositional import records
from superpositional.bench.measuring import Asked, Book, Comparison, Disagreement
from superpositional.circuits.kernels import build
from superpositional.format import did_you_mean, markdown
from superpositional.places import ConfigError
from superpositional.records import identity
from superpositional.training.run import processor_name

SUBJECTS = ("circuits", "attention", "optimizer", "training")
HEADINGS = ("what", "peer", "ours", "peer's", "ratio", "aim")
PACKAGES = (
    *("superpositional", "torch", "numpy", "lightning", "qiskit", "qiskit-aer"),
    *("pennylane", "pennylane-lightning", "qiskit-machine-learning"),
)


def main(options: argparse.Namespace) -> None:
    """Measure, print, write; exit with 1 for a peer that computes something else.

    Raises:
        ConfigError: settings that cannot be, or a run of the benchmark that does not end as done.
        KeyboardInterrupt: after what was measured is written.
    """
    if wrong := mistakes(options):
        raise ConfigError(wrong)
    # With --json, stdout holds nothing but the JSON.
    console = Console(highlight=False, markup=False, stderr=options.json)
    if not console.is_terminal:
        console.width = 150
    build.make(console.print)
    measured: dict[str, Any] = {}
    try:
        with _stdout_kept(options.json):
            for subject in SUBJECTS if options.subject is None else [options.subject]:
                measure(subject, options, console, measured)
    except Disagreement as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(1)
    finally:
        if options.json and measured:
            shown = measured if options.subject is None else measured[options.subject]
            sys.stdout.write(json.dumps(records.plain(shown), indent=1, allow_nan=False) + "\n")


def mistakes(options: argparse.Namespace) -> list[str]:
    """Return all that is wrong with the settings, a line each."""
    subject, wrong = options.subject, []
    if subject is not None and subject not in SUBJECTS:
        return [f"SUBJECT must be one of {', '.join(SUBJECTS)}, got {subject!r}; {did_you_mean(subject, SUBJECTS)}"]
    if options.repeats is not None and options.repeats < 1:
        wrong.append(f"--repeats must be an integer >= 1, got {options.repeats}")
    if options.overrides and subject != "training":
        wrong.append(f"overrides are read by training, got {options.overrides[0]!r} for {subject or 'all'}")
    return wrong


@contextlib.contextmanager
def _stdout_kept(wanted: bool) -> Iterator[None]:
    """Send what runs and their processes print to stderr meanwhile."""
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


def measure(subject: str, options: argparse.Namespace, console: Console, measured: dict[str, Any]) -> None:
    """Measure one subject into ``measured``; what an interruption leaves is written too."""
    asked = Asked(options.repeats, options.quick, tuple(options.overrides))
    steps = importlib.import_module(f"superpositional.bench.{subject}").steps(asked)
    book, whole, on = Book(), False, machine()
    columns = TextColumn(f"{subject}: {{task.description}}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=sum(step.seconds for step in steps))
            for step in steps:
                bar.update(task, description=step.name)
                step.run(book)
                bar.advance(task, step.seconds)
        whole = True
    finally:
        if book.comparisons:
            told = {"overrides": list(asked.overrides), "machine": on, "versions": versions(), "git": identity.git_state()}
            measured[subject] = {"subject": subject, "whole": whole, "quick": asked.quick, **book.plain(), **told}
            _keep(subject, options, console, book, measured[subject])


def _keep(subject: str, options: argparse.Namespace, console: Console, book: Book, content: dict[str, Any]) -> None:
    notes = [*book.notes]
    if content["quick"]:
        notes.append("With --quick: sizes are tiny, so this says that it runs and not how fast.")
    if not content["whole"]:
        notes.append("Interrupted: what is missing was not measured.")
    notes.append(in_a_line(content["machine"], content["versions"]))
    files = [options.out / f"{subject}.json", options.out / f"{subject}.md"]
    options.out.mkdir(parents=True, exist_ok=True)
    records.write_json(files[0], content)
    text = f"# superpositional bench {subject}\n\n{markdown([HEADINGS, *rows(book)])}" + "".join(f"\n{n}\n" for n in notes)
    files[1].write_text(text, encoding="utf-8")
    if not options.json:
        table = Table(title=subject, title_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right", overflow="fold")
        for row in rows(book):
            table.add_row(*row)
        console.print(table)
        for note in (*notes, f"medians; every measurement in {', '.join(map(str, files))}"):
            console.print(note, soft_wrap=True)


# Tables ------------------------------------------------------------------------------------------------------------


def rows(book: Book) -> list[tuple[str, ...]]:
    """Return a row for each comparison under ``HEADINGS``; a repeated first cell is left empty."""
    made, before = [], None
    for found in book.comparisons:
        what = f"{found.what} ({found.note})" if found.note else found.what
        ours, theirs = (said(statistics.median(each), found.unit) if each else "–" for each in (found.ours, found.theirs))
        cells = (found.peer, ours, found.missing or theirs, "–" if found.missing else _ratio(found), _aim(found))
        made.append((what if what != before else "", *cells))
        before = what
    return made


def said(value: float, unit: str) -> str:
    """Return a measurement with three digits and a unit: 1.23 ms; 45.6 ns/score."""
    if not unit.startswith("s"):
        return f"{value:.3g} {unit}"
    scales = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    factor, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    return f"{value / factor:.3g} {name}{unit[1:]}"


def _ratio(found: Comparison) -> str:
    bounds = found.bounds
    if bounds is not None and bounds.low is not None:
        return f"{bounds.value:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"
    return "–" if found.ratio is None else _part(found.ratio)


def _part(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio >= 0.1 else f"1/{float(f'{1 / ratio:.3g}'):,.0f}"


def _aim(found: Comparison) -> str:
    parts = [] if found.most is None else [f"≤ {_part(found.most)}"]
    parts += [] if found.ours_most is None else [f"ours ≤ {said(found.ours_most, found.unit)}"]
    if parts and found.ours:
        parts.append({True: "met", False: "not met", None: "not settled"}[found.met])
    return ", ".join(parts)


# The machine, without its name or any path: others read the records ---------------------------------------------------


def machine() -> dict[str, Any]:
    """Return the processor and how much of it torch uses, the GPU if there is one, and how busy the machine is."""
    return {
        "cpu": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernels": build.told(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": os.getloadavg()[0],
        "system": platform.system(),
    }


def versions() -> dict[str, str | None]:
    """Return the version of everything that is measured; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def in_a_line(told: dict[str, Any], with_versions: dict[str, str | None]) -> str:
    """Return machine and versions as the tables' last line."""
    parts = [told["cpu"], f"{told['cores']} cores", f"torch on {told['threads']} threads", told["gpu"] or "no GPU"]
    parts += [f"kernels by {told['kernels']}", *([] if told["load"] is None else [f"load {told['load']:.1f}"])]
    return "; ".join([*parts, ", ".join(f"{name} {version}" for name, version in with_versions.items() if version)])
