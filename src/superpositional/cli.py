"""What can be asked of superpositional?

The console script. It only chooses who answers: nothing heavy is imported before that is known, so ``--help`` is quick.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from superpositional import __version__
from superpositional.benches import arguments as benches

EXAMPLES = """examples:
  superpositional train optimizer=superpositional optimizer.quantum_weight=0.1 seed=7
  superpositional train --help                  every group, setting and default
  superpositional sweep smoke                   two arms, two seeds, three steps: does it run?
  superpositional sweep paper_classification    the paper's four arms and a placebo, 30 paired seeds
  superpositional report paper_classification   verdicts on its claims, a page, figures and tables, finished or not
  superpositional plan optimizer.scope=all      how large the term is, how many seeds would show an effect
  superpositional sweep scope --dry-run         what would run, how long, how much disk
  superpositional circuit circuit.depth=3       the circuit: gates, spectrum, response curve, picture
  superpositional sync outputs/scope            its runs and report to Weights & Biases
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    top = argparse.ArgumentParser(
        prog="superpositional",
        description="Superpositional gradient descent (arXiv 2511.01918): train with it, compare it over paired seeds, and "
        "report the differences with their intervals.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"superpositional {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("train", help="one training run; what follows are Hydra overrides", add_help=False)
    sweep = commands.add_parser(
        "sweep",
        help="a comparison: arms times seeds, from sweeps/NAME.yaml",
        description="Run a sweep: arms times seeds, each run recorded in outputs/NAME/<arm>/seed-<n>/. Finished runs are "
        "left alone, so calling it again goes on where it stopped. Ctrl-C once lets the runs at work end, twice stops "
        "them. Exits with 0 if every run is done, else with 1; on bad input with 2, on Ctrl-C with 130.",
        epilog="Everything after NAME is Hydra overrides: seed=0,1 or seed=range(5), trainer.max_epochs=3, logger=none; "
        "launcher=slurm sends the runs to Slurm.",
    )
    sweep.add_argument("name", help="a file of sweeps/, or the path of one of your own")
    sweep.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: one per core, or per GPU)")
    sweep.add_argument("--retry-failed", action="store_true", help="run again what has failed, too")
    sweep.add_argument("--fail-fast", action="store_true", help="start no more runs once one has failed")
    sweep.add_argument("--dry-run", action="store_true", help="only say what would run, how long, how much disk")
    sweep.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides for every run")
    report = commands.add_parser(
        "report",
        help="verdicts, figures and tables from records",
        description="Judge the claims of a sweep, finished or not, and write index.html and dashboard.html (which open "
        "from disk), claims.json, figures (PDF and PNG) and tables (Markdown, CSV, LaTeX). Of a folder of sweeps, as "
        "outputs/published, one page and the figures and tables of them all. Needs no torch.",
        epilog="A claim is judged superior, inferior, equivalent or inconclusive, with n, its interval, and how many pairs "
        "would decide. Sweeps declare claims with `override claims: NAME` in their defaults; conf/claims has examples.",
    )
    report.add_argument("sweep", help="a sweep's name under outputs/, its folder, or a folder of sweeps: a study")
    report.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: the sweep's report/)")
    report.add_argument(
        "--claims", metavar="NAME", help="judge these instead of the sweep's own: a file of conf/claims, or a path"
    )
    report.add_argument(
        "--publish", type=Path, metavar="FOLDER", help="also copy thinned records there; report FOLDER rebuilds all"
    )
    report.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        action="append",
        help="also put the result between FILE's markers; repeatable",
    )
    dashboard = commands.add_parser(
        "dashboard",
        help="a sweep's panels, verdicts and differences on Weights & Biases",
        description="Bring a sweep's report up to date, dashboard.html with it, and put the same panels, verdicts and "
        "differences on Weights & Biases: a workspace, one more for each series of a swept setting, and a report. Those of "
        "an earlier call are replaced, edits made on W&B with them. Without a key or a network, what would be sent is "
        "written to files. Needs wandb-workspaces: pip install 'superpositional[dashboard]'.",
        epilog="example: superpositional sync outputs/scope; superpositional dashboard scope --entity of-the-team. Exits "
        "with 1 if it was to send and could not.",
    )
    dashboard.add_argument("sweep", help="a sweep's name under outputs/, or its folder")
    dashboard.add_argument("--project", metavar="P", help="where to (default: the runs' logger.project)")
    dashboard.add_argument("--entity", metavar="E", help="whose (default: the runs' logger.entity, or the key's own)")
    dashboard.add_argument("--claims", metavar="NAME", help="judge these instead of the sweep's own, as report does")
    dashboard.add_argument("--dry-run", action="store_true", help="only write what would be sent")
    dashboard.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write it then (default: the sweep's dashboard/)"
    )
    calibrate = commands.add_parser(
        "calibrate",
        help="how often verdicts are false where there is nothing to find",
        description="Cut the seeds of a sweep whose arms differ by nothing (sweeps/calibration.yaml: Adam and the placebo) "
        "into disjoint groups, judge its claims in each, and give the share of superior and inferior with its interval: "
        "the rate of false verdicts, as far as the arms really differ by nothing.",
        epilog="example: superpositional sweep calibration; superpositional calibrate calibration",
    )
    calibrate.add_argument("sweep", help="a sweep's name under outputs/, or its folder")
    calibrate.add_argument("--size", type=int, default=6, metavar="N", help="pairs in a group (default: %(default)s)")
    calibrate.add_argument("--claims", metavar="NAME", help="judge these instead of the sweep's own")
    calibrate.add_argument("--out", type=Path, metavar="FOLDER", help="where to write (default: the sweep's report/)")
    plan = commands.add_parser(
        "plan",
        help="before a long sweep: how large the term is, and how many seeds would show an effect",
        description="Trace a few real steps of a config: the share of the update that the quantum term makes, the "
        "scalars it touches and changes, the placebo's beside them. Then the seeds needed to find an effect, or to show "
        "that it is smaller. Nothing here bounds loss or accuracy.",
        epilog="examples: superpositional plan optimizer.scope=all; superpositional plan --from "
        "outputs/published/paper_classification",
    )
    plan.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides, as for one train")
    plan.add_argument("--steps", type=int, default=20, metavar="N", help="steps to trace (default: %(default)s)")
    plan.add_argument(
        "--effects",
        type=float,
        nargs="+",
        metavar="SIZE",
        help="in units of the sd of paired differences (default: 0.3 to 1.5)",
    )
    plan.add_argument("--power", type=float, nargs="+", default=[0.8, 0.9], metavar="P", help="(default: 0.8 0.9)")
    plan.add_argument("--family", type=int, metavar="M", help="claims judged together (default: as declared, or 1)")
    plan.add_argument("--from", dest="source", metavar="SWEEP", help="take spreads and effects from a sweep's claims")
    plan.add_argument("--claims", metavar="NAME", help="with --from: these claims instead of the sweep's own")
    plan.add_argument(
        "--out", type=Path, default=Path("outputs/plan"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )
    circuit = commands.add_parser(
        "circuit",
        help="the circuit of a config: drawn, counted, its spectrum and response curve",
        description="Show the circuit that a run with these overrides would have: gates, counts, entanglement, the "
        "spectrum it reaches, x -> Phi(x) of quantum attention, the optimizer's modulation; Phi with shots and with a "
        "device's noise, and the bill: executions, shots, device time of a step and of an epoch. As text and as pictures.",
        epilog="examples: superpositional circuit circuit.depth=3 circuit.n_qubits=6 --readout z; superpositional circuit "
        "net/attention=quantum net.attention.readout=probability backend=noisy backend.device=FakeManilaV2 seed=7",
    )
    circuit.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides, as for one train")
    circuit.add_argument("--readout", help="what psi_k is (default: the config's, or amplitude)")
    circuit.add_argument(
        "--out", type=Path, default=Path("outputs/circuit"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )
    rerun = commands.add_parser(
        "rerun",
        help="one recorded run again: does it come out the same, bit for bit?",
        description="Train one run of a sweep anew, from the config that its record holds, and hold every number that it "
        "logs to the recorded ones. They are the same on the same processor with the same versions; where they are not, "
        "what is different is said. Exits with 0 if they are, else with 1, and on Ctrl-C with 130.",
        epilog="example: superpositional rerun outputs/published/paper_classification lambda_0.5 2007",
    )
    rerun.add_argument("sweep", help="a sweep's name under outputs/, or its folder; a published one")
    rerun.add_argument("arm", help="as in the sweep's file")
    rerun.add_argument("seed", type=int, help="one of its seeds")
    rerun.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="data.path=...: where things lie here")
    rerun.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where the run goes (default: outputs/rerun/SWEEP/ARM/seed-SEED)"
    )
    benches.add(commands)
    sync = commands.add_parser(
        "sync",
        help="send runs to Weights & Biases: offline ones, resumed ones as one, never logged ones from their records",
        description="Find every run below DIR that has ended, and every sweep's report, and send what has not arrived. A "
        "run that was resumed offline arrives as one, in step order; one that was never logged is told from its record. "
        "Each comes with its data, circuit and record as artifacts. Needs a key (`wandb login`) and a server that answers. "
        "Exits with 0 if all has arrived, else with 1.",
        epilog="examples: superpositional sync --dry-run; superpositional sync outputs/scope --jobs 8 --project ours",
    )
    sync.add_argument(
        "folder", nargs="?", type=Path, default=Path("outputs"), metavar="DIR", help="a run, a sweep, or (default) outputs"
    )
    sync.add_argument("--jobs", type=int, default=4, metavar="N", help="runs at a time (default: %(default)s)")
    sync.add_argument("--project", metavar="P", help="where to (default: each run's logger.project)")
    sync.add_argument("--entity", metavar="E", help="whose (default: each run's logger.entity, or the key's own)")
    sync.add_argument("--again", action="store_true", help="send what has arrived, too")
    sync.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 2 on bad input, with 1 if a run did not end as ``done``, and with 130 on Ctrl-C."""
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit(130)


def _main(arguments: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"]:
        # Hydra has a grammar and a --help of its own.
        from superpositional.train import main as train

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
    commands = {
        "circuit": _circuit,
        "bench": _bench,
        "report": _report,
        "dashboard": _dashboard,
        "calibrate": _calibrate,
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


def _bench(options: argparse.Namespace) -> None:
    from superpositional.benches.command import answer

    answer(options)


def _circuit(options: argparse.Namespace) -> None:
    from superpositional import show
    from superpositional.config import ConfigError
    from superpositional.train import refuse

    try:
        show.main(options.overrides, options.out, options.readout)
    except ConfigError as error:
        refuse(error)
    except MemoryError as error:
        refuse(ConfigError([str(error)]))


def _sweep(options: argparse.Namespace, unknown: Sequence[str]) -> None:
    from superpositional.places import directory
    from superpositional.train import main as train

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
    from superpositional import ink, power, probe, records, show, tables
    from superpositional.config import ConfigError
    from superpositional.train import refuse

    effects = options.effects or power.EFFECTS
    try:
        wrong = power.check(effects, options.power, options.family)
        wrong += [] if options.steps >= 1 else [f"--steps must be >= 1, got {options.steps}"]
        if wrong:
            raise ConfigError(wrong)
        found = []
        if options.source is not None:
            found = power.spreads(records.load_sweep(_folder(options.source)), options.claims)
        traces = probe.probe(show.compose(options.overrides, command="plan", circuit_is_read=False), options.steps)
    except ConfigError as error:
        refuse(error)
    except ValueError as error:
        refuse(ConfigError(str(error).splitlines()))
    except FileNotFoundError as error:
        refuse(ConfigError([str(error)]))
    needed = power.rows(effects, options.power, options.family, found)
    text = (
        f"The update over {options.steps} steps, traced against AdamW's own step from the same state:\n\n"
        f"{tables.markdown(probe.rows(traces))}\n"
        "It says how much of the update the term is, and bounds neither loss nor accuracy.\n\n"
        f"Seeds, each a pair of runs, for tests at 5 % over the family of claims:\n\n{tables.markdown(needed)}"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan.md").write_text(text, encoding="utf-8")
    with ink.style():
        figure, ax = ink.column_figure(2.6)
        family = options.family or max((spread.family for spread in found), default=1)
        power.curves(ax, effects, family)
        files = ink.save(figure, options.out / "power", {"family": str(family)})
    sys.stdout.write(f"{text}\n{', '.join(map(str, [options.out / 'plan.md', *files]))}\n")


def _rerun(options: argparse.Namespace) -> None:
    from superpositional.config import ConfigError
    from superpositional.records import Unreadable
    from superpositional.rerun import rerun
    from superpositional.train import refuse

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


def _calibrate(options: argparse.Namespace) -> None:
    from superpositional.calibration import write_calibration

    try:
        text = write_calibration(_folder(options.sweep), options.out, size=options.size, declared=options.claims)
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"superpositional: {error}\n")
        sys.exit(2)
    sys.stdout.write(text + "\n")


def _folder(sweep: str) -> Path:
    """A sweep's folder, by its name under outputs/ or as it is."""
    folder = Path(sweep)
    return folder if folder.is_dir() else Path("outputs") / sweep


def _report(options: argparse.Namespace) -> None:
    from superpositional import ledger, records
    from superpositional.published import publish
    from superpositional.records import Unreadable
    from superpositional.report import ReportError, update_readme, write_report
    from superpositional.study.gather import is_study

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
    from superpositional.report import ReportError, update_readme
    from superpositional.study.report import write_study

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
    from superpositional.report import ReportError, write_report
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
        mode = os.environ.get("WANDB_MODE", "online")
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
    sys.stdout.write("".join(f"{path}\n" for path in (folder / "report" / "dashboard.html", *files)))
    again = f"`superpositional dashboard {options.sweep}` sends it where there is a key and a network"
    if refused:
        sys.stderr.write(f"superpositional: {refused}; {again}\n")
        sys.exit(1)
    sys.stdout.write(f"nothing was sent ({kept}); {again}\n")


if __name__ == "__main__":
    main()
