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
}


def add(commands: Any) -> None:
    """Add the command to those of the console script."""
    listed = [f"  {name:<12}{text} (about {minutes} min)" for name, (text, minutes) in SUBJECTS.items()]
    bench = commands.add_parser(
        "bench",
        help="how fast it is here, as ratios to named peers",
        # Its lines are broken here: the subjects must stay a list.
        description="Measure, in turns with named peers that are first shown to compute the same; print and save\n"
        "medians and ratios, with versions and the machine. Without a subject: all four, in turn.\n\n"
        "subjects:\n" + "\n".join(listed),
        epilog="examples:\n  superpositional bench circuits\n  superpositional bench --json > bench.json\n"
        "PennyLane and Qiskit Machine Learning as further peers: pip install '.[bench]'.\n"
        "Ctrl-C keeps what was measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument("subject", nargs="?", metavar="SUBJECT", help="what to measure (default: all)")
    bench.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra overrides, for training")
    bench.add_argument("--json", action="store_true", help="print the JSON, and nothing else, to stdout")
    bench.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; no result")
    bench.add_argument(
        "--repeats", type=int, metavar="N", help="measurements of each kind (default: 3 to 6, as the subject has it)"
    )
    bench.add_argument(
        "--out", type=Path, default=Path("outputs/bench"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )


def mistakes(options: argparse.Namespace) -> list[str]:
    """All that is wrong with what was asked, in a line each."""
    subject, wrong = options.subject, []
    if subject is not None and subject not in SUBJECTS:
        close = difflib.get_close_matches(subject, SUBJECTS, n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        return [f"SUBJECT must be one of {', '.join(SUBJECTS)}, got {subject!r}{guess}"]
    if options.repeats is not None and options.repeats < 1:
        wrong.append(f"--repeats must be an integer >= 1, got {options.repeats}")
    if options.overrides and subject != "training":
        wrong.append(f"overrides are read by training, got {options.overrides[0]!r} for {subject or 'all'}")
    return wrong
