"""What is true of a circuit whatever its angles are?

Its expressibility, what a device would have to run, and how its output answers to random angles. None of it changes while
a circuit trains, so it is found once per process.
"""

import functools
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import torch

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.transpiled import SEED, Device, transpiled
from superpositional.circuits.expressibility import BINS, PAIRS, expressibility
from superpositional.circuits.measures import dead_angles, gradient_variance

# No run waits longer than some seconds: 12 qubits take two or three at the paper's depth.
AMPLITUDE_UPDATES = 2.5e9
# A rotation's own matrix costs as much as so many amplitudes.
ROTATION = 256
GATES = 20_000


def facts(ansatz: Ansatz, *, pairs: int = PAIRS, device: Device | None = None) -> dict[str, Any]:
    """``expressibility`` and ``transpiled``, in plain values, each with how it was found or with why it is ``missing``.

    Args:
        ansatz: the circuit.
        pairs: of states, for the expressibility.
        device: to transpile for; None is the default one.
    """
    device = device or Device()
    device = Device(tuple(device.basis), device.coupling, device.level)
    return {"expressibility": dict(_reach(ansatz, pairs)), "transpiled": dict(_counts(ansatz, device))}


@functools.cache
def _reach(ansatz: Ansatz, pairs: int) -> dict[str, Any]:
    updates = 2 * pairs * (2**ansatz.n_qubits + ROTATION) * ansatz.n_qubits * ansatz.depth
    if updates > AMPLITUDE_UPDATES:
        return {
            "missing": f"{pairs} pairs at n_qubits={ansatz.n_qubits}, depth={ansatz.depth} are more than "
            f"{AMPLITUDE_UPDATES:.2g} updates of an amplitude, which no run waits for"
        }
    found = expressibility(ansatz, torch.Generator().manual_seed(0), pairs)
    if found.standard_error == 0 and found.nats < 1 / pairs:
        return {"missing": f"all {pairs} pairs lie in the first of {BINS} bins, as Haar-random ones do: none is told apart"}
    return found._asdict()


@functools.cache
def _counts(ansatz: Ansatz, device: Device) -> dict[str, Any]:
    gates = ansatz.statistics()["gates"]
    if gates > GATES:
        return {"missing": f"the circuit has {gates} gates, above the {GATES} that a run waits for"}
    method = {"basis": list(device.basis), "coupling": device.coupling, "level": device.level, "seed": SEED}
    return transpiled(ansatz, device)._asdict() | method | {"qiskit": importlib.metadata.version("qiskit")}


def slopes(ansatz: Ansatz, readout: str) -> dict[str, Any]:
    """``dead_angles`` of Phi, and ``gradient_variance_at_random_angles``, their mean, in plain values."""
    dice = torch.Generator().manual_seed(0)
    return {
        "dead_angles": [list(place) for place in dead_angles(ansatz, readout, dice)],
        "gradient_variance_at_random_angles": float(gradient_variance(ansatz, readout, dice).mean()),
    }


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
