"""What is true of a circuit whatever its angles are?

Its expressibility, what a device would have to run, and how its output answers to random angles. None of it changes while
a circuit trains, so it is found out once per machine and kept (``kept``). Read by the statistics callback, ``portrait`` and
``show``.
"""

from collections.abc import Mapping
from typing import Any

import torch

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.transpiled import SEED, Device, transpiled
from superpositional.circuits.expressibility import BINS, PAIRS, expressibility
from superpositional.circuits.kept import kept, releases
from superpositional.circuits.measures import dead_angles, gradient_variance

# Counted up when code changes an answer: what was kept before is then found out anew.
VERSION = 1
# No run waits longer than some seconds: 12 qubits take two or three at the paper's depth.
AMPLITUDE_UPDATES = 2.5e9
# A rotation's own matrix costs as much as so many amplitudes.
ROTATION = 256
GATES = 20_000


def facts(ansatz: Ansatz, *, pairs: int = PAIRS, device: Device | None = None) -> tuple[dict[str, Any], str | None]:
    """``expressibility`` and ``transpiled``, in plain values, each with how it was found or with why it is ``missing``.

    Args:
        ansatz: the circuit.
        pairs: of states, for the expressibility.
        device: to transpile for; None is the default one.

    Returns:
        What was found, and why it could not be kept, where it could not.
    """
    device = device or Device()
    circuit = ansatz.plain()
    found: dict[str, Any] = {}
    problems = []
    updates = 2 * pairs * (2**ansatz.n_qubits + ROTATION) * ansatz.n_qubits * ansatz.depth
    if updates > AMPLITUDE_UPDATES:
        found["expressibility"] = {
            "missing": f"{pairs} pairs at n_qubits={ansatz.n_qubits}, depth={ansatz.depth} are more than "
            f"{AMPLITUDE_UPDATES:.2g} updates of an amplitude, which no run waits for"
        }
    else:
        question = {"version": VERSION, "ansatz": circuit, "pairs": pairs, "bins": BINS, "seed": 0, **releases("torch")}
        reach, problem = kept(
            "expressibility",
            question,
            lambda: expressibility(ansatz, torch.Generator().manual_seed(0), pairs)._asdict(),
        )
        problems.append(problem)
        if reach["standard_error"] == 0 and reach["nats"] < 1 / pairs:
            reach = {
                "missing": f"all {pairs} pairs lie in the first of {BINS} bins, as Haar-random ones do: none is told apart"
            }
        found["expressibility"] = reach
    method = {"basis": list(device.basis), "coupling": device.coupling, "level": device.level, "seed": SEED}
    gates = ansatz.statistics()["gates"]
    if gates > GATES:
        found["transpiled"] = {"missing": f"the circuit has {gates} gates, above the {GATES} that a run waits for"}
    else:
        method |= releases("qiskit")
        question = {"version": VERSION, "ansatz": circuit, **method}
        counts, problem = kept("transpiled", question, lambda: transpiled(ansatz, device)._asdict())
        found["transpiled"] = counts | method
        problems.append(problem)
    return found, next(filter(None, problems), None)


def slopes(ansatz: Ansatz, readout: str) -> dict[str, Any]:
    """``dead_angles`` of Phi, and ``gradient_variance_at_random_angles``, their mean, in plain values."""

    def answer() -> dict[str, Any]:
        dice = torch.Generator().manual_seed(0)
        return {
            "dead_angles": [list(place) for place in dead_angles(ansatz, readout, dice)],
            "gradient_variance_at_random_angles": float(gradient_variance(ansatz, readout, dice).mean()),
        }

    question = {"version": VERSION, "ansatz": ansatz.plain(), "readout": readout, "seed": 0, **releases("torch")}
    return kept("slopes", question, answer)[0]


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the facts, by the names that a summary has for them; what is missing has none."""
    names = {
        "expressibility": ("expressibility", "nats"),
        "expressibility_standard_error": ("expressibility", "standard_error"),
        "transpiled_depth": ("transpiled", "depth"),
        "transpiled_two_qubit_gates": ("transpiled", "two_qubit_gates"),
    }
    return {
        name: found[fact][part] for name, (fact, part) in names.items() if fact in found and "missing" not in found[fact]
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """The facts in words."""
    reach, device = found["expressibility"], found["transpiled"]
    told = []
    if "missing" in reach:
        told.append(f"expressibility: missing, for {reach['missing']}")
    else:
        told.append(
            f"expressibility at random angles: {reach['nats']:.4f} ± {reach['standard_error']:.4f} nats (lower reaches "
            f"more; Haar-random states show {reach['haar']:.4f} at {reach['pairs']} pairs and {reach['bins']} bins)"
        )
    if "missing" in device:
        told.append(f"transpiled: missing, for {device['missing']}")
    else:
        told.append(
            f"transpiled to {', '.join(device['basis'])} on a {device['coupling']} coupling map: depth {device['depth']}, "
            f"two qubit gates {device['two_qubit_gates']} (Qiskit {device['qiskit']}, level {device['level']}, "
            f"seed {device['seed']})"
        )
    return told
