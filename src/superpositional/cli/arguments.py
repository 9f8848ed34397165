"""The commands, what each takes, and the ``--help`` that teaches it. Nothing heavy is imported."""

import argparse
from pathlib import Path

from superpositional import __version__

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
    sweep.add_argument("--dry-run", action="store_true", help="only say what would run, how long, how much disk")
    sweep.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides for every run")
    report = commands.add_parser(
        "report",
        help="verdicts, figures and tables from records",
        description="Judge the claims of a sweep, finished or not, and write index.html (which opens from "
        "disk), claims.json, figures (PDF and PNG) and tables (Markdown, CSV, LaTeX). Of a folder of sweeps, as "
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
        description="Bring a sweep's report up to date, and put the same panels, verdicts and "
        "differences on Weights & Biases: a workspace, one more for each series of a swept setting, and a report. Those of "
        "an earlier call are replaced, edits made on W&B with them. Without a key or a network, what would be sent is "
        "written to files. Needs wandb-workspaces: pip install '.[dashboard]'.",
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
    _bench(commands)
    commands.add_parser(
        "kernels",
        help="build the C++ kernels, once per machine, about 15 s",
        description="Compile the C++ kernels into the cache (SUPERPOSITIONAL_CACHE), by the compiler that CXX names or the "
        "first of c++, g++, clang++. train and sweep do it too. Without them torch's code computes the same, more slowly.",
    )
    sync = commands.add_parser(
        "sync",
        help="send runs to Weights & Biases from their records, however they were trained",
        description="Send every run below DIR that has ended and has not arrived: its config, every logged scalar, its "
        "summary and end, with its data, circuit and record as artifacts. To a run that W&B has in part, what is missing "
        "is added. Needs a key (`wandb login`) and a server that answers. Exits with 0 if all has arrived, else with 1.",
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


def _bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser(
        "bench",
        help="how fast it is here, as ratios to named peers",
        description="Measure in turns with named peers, which are first shown to compute the same; print and write\n"
        "medians and ratios with versions and the machine. Without a subject: all four.\n\nsubjects:\n"
        "  circuits   Φ of every score with its gradients, against simulators (about 6 min)\n"
        "  attention  quantum attention against scaled_dot_product_attention (about 4 min)\n"
        "  optimizer  a step against torch.optim.AdamW, fused (about 6 min)\n"
        "  training   a training step against a plain loop that records the same (about 3 min)",
        epilog="examples:\n  superpositional bench circuits\n  superpositional bench --json > bench.json\n"
        "PennyLane and Qiskit Machine Learning as further peers: pip install '.[bench]'. Ctrl-C keeps what was measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("subject", nargs="?", metavar="SUBJECT", help="what to measure (default: all)")
    bench.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides, for training")
    bench.add_argument("--json", action="store_true", help="print the JSON, and nothing else, to stdout")
    bench.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; no result")
    bench.add_argument("--repeats", type=int, metavar="N", help="measurements of each kind (default: 3 to 7)")
    bench.add_argument(
        "--out", type=Path, default=Path("outputs/bench"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )
