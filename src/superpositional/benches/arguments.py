"""What can be asked of ``superpositional bench``?

The arguments alone, so that ``--help`` imports nothing heavy. Read by cli; ``command`` answers.
"""

import argparse
import difflib
from pathlib import Path
from typing import Any

# What each measures, and about how many minutes it takes on two cores.
SUBJECTS = {
    "circuits": ("Φ of every score with its gradients, against simulators; how costs grow", 6),
    "attention": ("quantum attention against scaled_dot_product_attention", 4),
    "optimizer": ("a step against torch.optim.AdamW, fused; an epoch of GSM8K worked out from it", 6),
    "training": ("a training step against a plain loop; an epoch of each arm against AdamW's", 5),
    "study": ("the paper's four arms over 30 seeds, worked out from a part (--full: all of it)", 3),
    "widths": ("up to how many qubits and layers what works: statevector, matrix product states", 8),
    "startup": ("from the process's start to its first training step, against imports alone", 2),
}
OTHERS = {
    "sweep": "what a run costs beyond its training, against a fresh process per run; two at a time against one",
    "fine_tuning": "a step of scale=small against plain loops of transformers and torch.optim.AdamW",
    "logging": "a run with circuit statistics, with W&B offline, and online with no server, against the same without",
}
# The subjects that make runs of a config.
RUNNING = ("training", "study", "startup", *OTHERS)


def add(commands: Any) -> None:
    """Add the command to those of the console script."""
    listed = [f"  {name:<12}{text} (about {minutes} min)" for name, (text, minutes) in SUBJECTS.items()]
    listed += [f"  {name:<12}{text}" for name, text in OTHERS.items()]
    bench = commands.add_parser(
        "bench",
        help="how fast it is here, as ratios to named peers",
        # Its lines are broken here: the subjects must stay a list.
        description="Measure, in turns with named peers that are first shown to compute the same; print and save\n"
        "medians and ratios, with versions and the machine. Without a subject: the first seven, in turn.\n\n"
        "subjects:\n" + "\n".join(listed),
        epilog="examples:\n  superpositional bench circuits\n  superpositional bench --json > bench.json\n"
        "  superpositional bench sweep optimizer=adam logger=none --runs 4 --repeats 3\n"
        "PennyLane and Qiskit Machine Learning as further peers: pip install '.[bench]'.\n"
        "Ctrl-C keeps what was measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("subject", nargs="?", metavar="SUBJECT", help="what to measure (default: the first seven)")
    bench.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=f"Hydra overrides, for {', '.join(RUNNING)}")
    bench.add_argument("--json", action="store_true", help="print the JSON, and nothing else, to stdout")
    bench.add_argument(
        "--quick", action="store_true", help="of the first seven: tiny sizes, to see that it runs; no result"
    )
    bench.add_argument("--full", action="store_true", help="of study: every run, nothing worked out")
    bench.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help="runs, steps of fine_tuning or seeds of study in a measurement (default: 4; 20; 2; of logging 1)",
    )
    bench.add_argument(
        "--repeats", type=int, metavar="N", help="measurements of each kind (default: 3 to 6, as the subject has it)"
    )
    bench.add_argument(
        "--out", type=Path, default=Path("outputs/bench"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )


def mistakes(options: argparse.Namespace) -> list[str]:
    """All that is wrong with what was asked, in a line each."""
    subject, wrong = options.subject, []
    names = [*SUBJECTS, *OTHERS]
    if subject is not None and subject not in names:
        close = difflib.get_close_matches(subject, names, n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        return [f"SUBJECT must be one of {', '.join(names)}, got {subject!r}{guess}"]
    for name, value in (("runs", options.runs), ("repeats", options.repeats)):
        if value is not None and value < 1:
            wrong.append(f"--{name} must be an integer >= 1, got {value}")
    if options.overrides and subject not in RUNNING:
        wrong.append(f"overrides are read by {', '.join(RUNNING)}, got {options.overrides[0]!r} for {subject or 'all'}")
    if options.quick and subject in OTHERS:
        wrong.append(f"--quick is for {', '.join(SUBJECTS)}; use --runs 1 --repeats 1 with {subject}")
    if options.full and subject != "study":
        wrong.append(f"--full is for study, got {subject or 'all'}")
    if options.full and (options.quick or options.runs is not None):
        wrong.append("--full makes every run: leave out --quick and --runs")
    if options.runs is not None and subject not in ("study", *OTHERS):
        wrong.append(f"--runs is for study, {', '.join(OTHERS)}; use --repeats with {subject or 'all'}")
    return wrong
