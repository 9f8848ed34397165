"""The console script. It finds out who answers a command before it imports anything heavy, so ``--help`` is quick."""

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from superpositional import format, places
from superpositional.cli.arguments import parser
from superpositional.places import ConfigError, UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. It exits with 2 on bad input or where nothing can be written, with 1 if a run did not end as ``done``,
    and with 130 on Ctrl-C."""
    _keep_streams()
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except ConfigError as error:
        from superpositional.training.train import refuse

        refuse(error)
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            from superpositional.training.train import cannot_write

            cannot_write(error)
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)


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
    if hasattr(options, "overrides"):
        # Those after an option, which argparse does not join with those before it.
        options.overrides += [word for word in unknown if options.command == "sweep" or not word.startswith("-")]
        unknown = [word for word in unknown if word not in options.overrides]
    if unknown:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    if (out := getattr(options, "out", None)) is not None:
        places.check_writable(out)
    for readme in getattr(options, "readme", None) or ():
        places.read_text(readme)
    return globals()[f"_{options.command}"](options)


def _sync(options: argparse.Namespace) -> None:
    from superpositional.tracking.sync import sync

    told = {name: getattr(options, name) for name in ("jobs", "project", "entity", "dry_run", "again")}
    sys.exit(1 if sync(options.folder, **told) else 0)


def _kernels(options: argparse.Namespace) -> None:
    from superpositional.circuits.kernels import build

    told = build.make(print)
    sys.stdout.write(f"kernels: {told}\n")
    sys.exit(build.library() is None)


def _bench(options: argparse.Namespace) -> None:
    from superpositional.bench.command import main as measure

    measure(options)


def _circuit(options: argparse.Namespace) -> None:
    from superpositional.training import show

    try:
        show.circuit(options.overrides, options.out, options.readout)
    except MemoryError as error:  # a register too wide to simulate, in words
        raise ConfigError([str(error)]) from None


def _sweep(options: argparse.Namespace) -> None:
    from superpositional.training.train import main as train

    path = Path(options.name)
    if path.suffix != ".yaml":
        path = places.directory("sweeps") / f"{options.name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in places.directory("sweeps").glob("*.yaml"))
        guess = format.did_you_mean(options.name, names)
        parser().error(f"sweep must be a file of sweeps/ or the path of a .yaml file, got {options.name!r}; {guess}")
    asked = [f"++hydra.launcher.{name}=true" for name in ("retry_failed", "dry_run") if getattr(options, name)]
    if options.jobs is not None:
        asked.append(f"++hydra.launcher.jobs={options.jobs}")
    # Hydra keeps its launchers in a group of its own name, which a config's own group cannot stand for.
    overrides = [re.sub(r"^launcher=", "hydra/launcher=", text) for text in options.overrides]
    sys.argv[0] = "superpositional sweep"
    train(["--multirun", "--config-dir", str(path.parent), "--config-name", path.stem, *asked, *overrides])


def _plan(options: argparse.Namespace) -> None:
    from superpositional import records
    from superpositional.evidence import power
    from superpositional.training import show

    effects = options.effects or power.EFFECTS
    wrong = power.check(effects, options.power, options.family)
    wrong += [] if options.steps >= 1 else [f"--steps must be >= 1, got {options.steps}"]
    if wrong:
        raise ConfigError(wrong)
    found = []
    if options.source is not None:
        found = power.spreads(records.load_sweep(_folder(options.source)), options.claims)
    traces = show.trace(show.compose(options.overrides, command="plan", circuit_is_read=False), options.steps)
    needed = power.rows(effects, options.power, options.family, found)
    text = (
        f"The update over {options.steps} steps, traced against AdamW's own step from the same state:\n\n"
        f"{format.markdown(show.rows(traces))}\n"
        "It says how much of the update the term is, and bounds neither loss nor accuracy.\n\n"
        f"Seeds, each a pair of runs, for tests at 5 % over the family of claims:\n\n{format.markdown(needed)}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan.md").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{text}\n{options.out / 'plan.md'}\n")


def _rerun(options: argparse.Namespace) -> None:
    from superpositional.sweeps.rerun import rerun

    folder = _folder(options.sweep)
    out = options.out or Path("outputs", "rerun", folder.name, options.arm, f"seed-{options.seed}")
    found = rerun(folder, options.arm, options.seed, out, options.overrides)
    sys.stdout.write(f"{found.text}\n{out}\n")
    # Lightning ends a run on Ctrl-C by itself, and says so.
    sys.exit(130 if found.after.status == "interrupted" else 0 if found.same else 1)


def _folder(sweep: str) -> Path:
    """A sweep's folder, by its name under outputs/ or as it is."""
    folder = Path(sweep)
    return folder if folder.is_dir() else Path("outputs") / sweep


def _report(options: argparse.Namespace) -> None:
    from superpositional import records
    from superpositional.records import ledger
    from superpositional.records.published import publish
    from superpositional.report.study import is_study, write_study
    from superpositional.report.write import ReportError, update_readme, write_report

    folder = _folder(options.sweep)
    if is_study(folder):
        if options.claims or options.publish:
            raise ReportError("--claims and --publish are of one sweep; report that")
        report = write_study(folder, options.out)
        blocks = report.blocks
    else:
        report = write_report(folder, options.out, declared=options.claims)
        blocks = {report.name: report.markdown}
        if options.publish is not None:
            # With the claims as they were judged.
            sweep = replace(records.load_sweep(folder), claims=report.declared)
            publish(sweep, options.publish, source=folder)
            if sweep.search is not None:
                ledger.write(options.publish)
    for readme in options.readme or ():
        update_readme(readme, blocks)
    sys.stdout.write(report.text + "\n")


def _dashboard(options: argparse.Namespace) -> None:
    from superpositional.report.write import ReportError, write_report
    from superpositional.tracking import workspaces

    workspaces.require()
    folder = _folder(options.sweep)
    report = write_report(folder, declared=options.claims)
    board = report.board
    if board is None:
        raise ReportError(f"{report.name} is a search, which compares no arms; give a sweep")
    where = {"project": options.project or board.project, "entity": options.entity or board.entity}
    mode = os.environ.get("WANDB_MODE") or "online"
    kept = "--dry-run" if options.dry_run else f"WANDB_MODE={mode}" if mode != "online" else ""
    refused = ""
    if not kept:
        try:
            urls = workspaces.save(board, **where)
            sys.stdout.write("".join(f"{name}: {url}\n" for name, url in urls.items()))
            return
        except workspaces.WorkspaceError as error:
            refused = str(error)
    files = workspaces.write(board, options.out or folder / "dashboard", **where)
    sys.stdout.write("".join(f"{path}\n" for path in (folder / "report" / "index.html", *files)))
    again = f"`superpositional dashboard {options.sweep}` sends it where there is a key and a network"
    if refused:
        sys.stderr.write(f"superpositional: {refused}; {again}\n")
        sys.exit(1)
    sys.stdout.write(f"nothing was sent ({kept}); {again}\n")
