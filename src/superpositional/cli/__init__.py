"""Who answers a command?

The console script. It only chooses who answers: nothing heavy is imported before that is known, so ``--help`` is quick.
"""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from superpositional import format, places
from superpositional.cli.arguments import parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 2 on bad input or where nothing can be written, with 1 if a run did not end as ``done``, and with 130 on
    Ctrl-C."""
    _keep_streams()
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        from superpositional.training.train import cannot_write

        cannot_write(error)


class _Output(io.TextIOWrapper):
    """Standard output whose reader may leave: what a command then still has to say is dropped, and its work goes on."""

    def write(self, text: str) -> int:
        with self._outlived():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._outlived():
            super().flush()

    @contextlib.contextmanager
    def _outlived(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not isinstance(error, BrokenPipeError):
                sys.stderr.write(f"superpositional: standard output cannot be written: {error.strerror}\n")


def _keep_streams() -> None:
    """Make of the process's own output one that takes every character and outlives its reader."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by the shell: else the next file that is opened would get its number, and what C libraries print.
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif type(stream) is io.TextIOWrapper and stream is getattr(sys, f"__{name}__"):
            stream.reconfigure(errors="backslashreplace")
            if name == "stdout":
                buffered = stream.line_buffering
                sys.stdout = sys.__stdout__ = _Output(
                    stream.detach(), stream.encoding, "backslashreplace", line_buffering=buffered
                )


def _main(arguments: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"]:
        # Hydra has a grammar and a --help of its own.
        from superpositional.training.train import main as train

        sys.argv[0] = "superpositional train"
        return train(given[1:])
    options, unknown = parser().parse_known_args(given)
    if options.command == "sweep":
        return _sweep(options, unknown)
    if hasattr(options, "overrides"):
        # Those after an option, which argparse does not join with those before it.
        options.overrides += [word for word in unknown if not word.startswith("-")]
        unknown = [word for word in unknown if word.startswith("-")]
    if unknown:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    if (out := getattr(options, "out", None)) is not None:
        places.check_writable(out)
    for readme in getattr(options, "readme", None) or ():
        places.read_text(readme)
    commands = {
        "circuit": _circuit,
        "bench": _bench,
        "kernels": _kernels,
        "report": _report,
        "dashboard": _dashboard,
        "plan": _plan,
        "rerun": _rerun,
        "sync": _sync,
    }
    return commands[options.command](options)


def _sync(options: argparse.Namespace) -> None:
    from superpositional.records import Unreadable
    from superpositional.tracking.sync import SyncError, sync

    try:
        left = sync(
            options.folder,
            jobs=options.jobs,
            project=options.project,
            entity=options.entity,
            dry_run=options.dry_run,
            again=options.again,
        )
    except (SyncError, Unreadable) as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)
    sys.exit(1 if left else 0)


def _kernels(options: argparse.Namespace) -> None:
    from superpositional.circuits.kernels import build

    told = build.make(print)
    sys.stdout.write(f"kernels: {told}\n")
    sys.exit(build.library() is None)


def _bench(options: argparse.Namespace) -> None:
    from superpositional.bench.command import answer

    answer(options)


def _circuit(options: argparse.Namespace) -> None:
    from superpositional.places import ConfigError
    from superpositional.training import show
    from superpositional.training.train import refuse

    try:
        show.circuit(options.overrides, options.out, options.readout)
    except ConfigError as error:
        refuse(error)
    except MemoryError as error:
        refuse(ConfigError([str(error)]))


def _sweep(options: argparse.Namespace, unknown: Sequence[str]) -> None:
    from superpositional.places import directory
    from superpositional.training.train import main as train

    path = Path(options.name)
    if path.suffix != ".yaml":
        path = directory("sweeps") / f"{options.name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in directory("sweeps").glob("*.yaml"))
        close = difflib.get_close_matches(options.name, names, n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        parser().error(f"sweep must be one of {', '.join(names)}, or the path of a .yaml file, got {options.name!r}{guess}")
    asked = [f"++hydra.launcher.{name}=true" for name in ("retry_failed", "fail_fast", "dry_run") if getattr(options, name)]
    if options.jobs is not None:
        asked.append(f"++hydra.launcher.jobs={options.jobs}")
    # Hydra keeps its launchers in a group of its own name, which a config's own group cannot stand for.
    overrides = [re.sub(r"^launcher=", "hydra/launcher=", text) for text in (*options.overrides, *unknown)]
    sys.argv[0] = "superpositional sweep"
    train(["--multirun", "--config-dir", str(path.parent), "--config-name", path.stem, *asked, *overrides])


def _plan(options: argparse.Namespace) -> None:
    from superpositional import records
    from superpositional.evidence import power
    from superpositional.places import ConfigError
    from superpositional.report import figures, style
    from superpositional.training import show
    from superpositional.training.train import refuse

    effects = options.effects or power.EFFECTS
    try:
        wrong = power.check(effects, options.power, options.family)
        wrong += [] if options.steps >= 1 else [f"--steps must be >= 1, got {options.steps}"]
        if wrong:
            raise ConfigError(wrong)
        found = []
        if options.source is not None:
            found = power.spreads(records.load_sweep(_folder(options.source)), options.claims)
        traces = show.trace(show.compose(options.overrides, command="plan", circuit_is_read=False), options.steps)
    except ConfigError as error:
        refuse(error)
    except ValueError as error:
        refuse(ConfigError(str(error).splitlines()))
    except FileNotFoundError as error:
        refuse(ConfigError([str(error)]))
    needed = power.rows(effects, options.power, options.family, found)
    text = (
        f"The update over {options.steps} steps, traced against AdamW's own step from the same state:\n\n"
        f"{format.markdown(show.rows(traces))}\n"
        "It says how much of the update the term is, and bounds neither loss nor accuracy.\n\n"
        f"Seeds, each a pair of runs, for tests at 5 % over the family of claims:\n\n{format.markdown(needed)}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan.md").write_text(text, encoding="utf-8")
    with style.style():
        figure, ax = style.column_figure(2.6)
        family = options.family or max((spread.family for spread in found), default=1)
        figures.power_curves(ax, effects, family)
        files = style.save(figure, options.out / "power", {"family": str(family)})
    sys.stdout.write(f"{text}\n{', '.join(map(str, [options.out / 'plan.md', *files]))}\n")


def _rerun(options: argparse.Namespace) -> None:
    from superpositional.places import ConfigError
    from superpositional.records import Unreadable
    from superpositional.sweeps.rerun import rerun
    from superpositional.training.train import refuse

    folder = _folder(options.sweep)
    out = options.out or Path("outputs", "rerun", folder.name, options.arm, f"seed-{options.seed}")
    try:
        found = rerun(folder, options.arm, options.seed, out, options.overrides)
    except ConfigError as error:
        refuse(error)
    except (FileNotFoundError, Unreadable) as error:
        refuse(ConfigError([str(error)]))
    sys.stdout.write(f"{found.text}\n{out}\n")
    # Lightning ends a run on Ctrl-C by itself, and says so.
    sys.exit(130 if found.after.status == "interrupted" else 0 if found.same else 1)


def _folder(sweep: str) -> Path:
    """A sweep's folder, by its name under outputs/ or as it is."""
    folder = Path(sweep)
    return folder if folder.is_dir() else Path("outputs") / sweep


def _report(options: argparse.Namespace) -> None:
    from superpositional import records
    from superpositional.records import Unreadable, ledger
    from superpositional.records.published import publish
    from superpositional.report.study.gather import is_study
    from superpositional.report.write import ReportError, update_readme, write_report

    folder = _folder(options.sweep)
    if is_study(folder):
        return _study(options, folder)
    try:
        report = write_report(folder, options.out, declared=options.claims)
        if options.publish is not None:
            # With the claims as they were judged.
            sweep = replace(records.load_sweep(folder), claims=report.declared)
            publish(sweep, options.publish, source=folder)
            if sweep.search is not None:
                ledger.write(options.publish)
        for readme in options.readme or ():
            update_readme(readme, {report.name: report.markdown})
    except (FileNotFoundError, ReportError, Unreadable) as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)
    sys.stdout.write(report.text + "\n")


def _study(options: argparse.Namespace, folder: Path) -> None:
    from superpositional.records import Unreadable
    from superpositional.report.study.report import write_study
    from superpositional.report.write import ReportError, update_readme

    try:
        if options.claims or options.publish:
            raise ReportError("--claims and --publish are of one sweep; report that")
        report = write_study(folder, options.out)
        for readme in options.readme or ():
            update_readme(readme, report.blocks)
    except (FileNotFoundError, ReportError, Unreadable) as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)
    sys.stdout.write(report.text + "\n")


def _dashboard(options: argparse.Namespace) -> None:
    from superpositional.records import Unreadable
    from superpositional.report.write import ReportError, write_report
    from superpositional.tracking import workspaces

    folder = _folder(options.sweep)
    refused = ""
    try:
        workspaces.require()
        report = write_report(folder, declared=options.claims)
        board = report.board
        if board is None:
            raise ReportError(f"{report.name} is a search, which compares no arms; give a sweep")
        where = {"project": options.project or board.project, "entity": options.entity or board.entity}
        mode = os.environ.get("WANDB_MODE") or "online"
        kept = "--dry-run" if options.dry_run else f"WANDB_MODE={mode}" if mode != "online" else ""
        if not kept:
            try:
                urls = workspaces.save(board, **where)
                sys.stdout.write("".join(f"{name}: {url}\n" for name, url in urls.items()))
                return
            except workspaces.WorkspaceError as error:
                refused = str(error)
        files = workspaces.write(board, options.out or folder / "dashboard", **where)
    except (FileNotFoundError, ReportError, Unreadable, workspaces.WorkspaceError) as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)
    sys.stdout.write("".join(f"{path}\n" for path in (folder / "report" / "index.html", *files)))
    again = f"`superpositional dashboard {options.sweep}` sends it where there is a key and a network"
    if refused:
        sys.stderr.write(f"superpositional: {refused}; {again}\n")
        sys.exit(1)
    sys.stdout.write(f"nothing was sent ({kept}); {again}\n")
