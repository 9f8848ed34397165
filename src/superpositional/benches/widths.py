"""Up to how many qubits, and how deep, does what work?

One circuit at random angles, <Z> of every qubit: by our statevector, 2**n amplitudes, and beyond by Aer's matrix product
states, whose cost is the entanglement's, 2**depth on a chain at most, and hardly the width. Where both are there they give
the same to 1e-9, or nothing is told. Aer runs in processes of its own, so that what takes too long can be stopped. Read by
``command``.
"""

import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from superpositional.backends import Aer, estimate
from superpositional.benches.measuring import Asked, Book, Disagreement, Step, on_one_thread, timed
from superpositional.circuits import Ansatz
from superpositional.circuits.measures import random_angles
from superpositional.circuits.statevector import require_memory, statevector

WIDTHS = (4, 8, 12, 16, 20, 24, 32, 48, 64, 100, 127)
SHAPES = ((1, "linear"), (2, "linear"), (4, "linear"), (8, "linear"), (2, "ring"), (4, "ring"))
# Our statevectors: a chain of gates in float64, some seconds at this width.
MOST = 24
# Nobody waits longer for one circuit of thousands.
LIMIT = 20.0
# What takes so many seconds is measured once: nothing that a first call pays for would show.
LONG = 3.0
PEER = "Aer, matrix product states"
# Aer's matrix product states drop 1e-16 of the squares at each cut: amplitudes are right to some 1e-8, and <Z>, in which
# first orders mostly cancel, was to 6e-11. A wrong gate shows at 1e-2.
AGREES = 1e-9

AERS = """
import json, sys, torch
torch.set_num_threads(1)
from superpositional.benches import widths
print(json.dumps(widths.by_aer(*json.loads(sys.argv[1]))))
"""


def steps(asked: Asked) -> list[Step]:
    wide = (4, 8, 32) if asked.quick else WIDTHS
    shapes = SHAPES[1:2] if asked.quick else SHAPES
    given_up: dict[tuple[int, str], int] = {}
    return [
        Step(f"{n} qubits, depth {depth}, {way}", 3, functools.partial(_one, n, depth, way, asked, given_up))
        for depth, way in shapes
        for n in wide
    ]


def case(n: int, depth: int, entanglement: str) -> tuple[Ansatz, torch.Tensor, torch.Tensor]:
    """A circuit, its one score and its angles: the same wherever it is asked for."""
    dice = torch.Generator().manual_seed(0)
    ansatz = Ansatz(n, depth, entanglement=entanglement)
    return ansatz, torch.tensor([0.7], dtype=torch.float64), random_angles(ansatz, dice)


def by_aer(n: int, depth: int, entanglement: str, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of each repeat, and <Z> of each qubit."""
    ansatz, x, angles = case(n, depth, entanglement)
    simulate = functools.partial(estimate, Aer(method="matrix_product_state"), ansatz, x, angles)
    return repeated(lambda: simulate().mean_BC.tolist(), repeats)


@on_one_thread
def _one(n: int, depth: int, entanglement: str, asked: Asked, given_up: dict[tuple[int, str], int], book: Book) -> None:
    ansatz, x, angles = case(n, depth, entanglement)
    repeats, shape = asked.times(3), (depth, entanglement)
    ours, values, note = _by_statevector(ansatz, x, angles, repeats)
    theirs, found = [], None
    missing = f"> {LIMIT:g} s" if shape not in given_up else f"> {LIMIT:g} s at {given_up[shape]} qubits already"
    if shape not in given_up:
        question = json.dumps([n, depth, entanglement, repeats])
        try:
            # Once, or as often as something short is repeated; and the time to import it all.
            seconds = LIMIT + LONG * repeats + 20
            command = [sys.executable, "-c", AERS, question]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds)
            theirs, found = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            given_up[shape] = n
        except subprocess.CalledProcessError as error:
            # One that the kernel kills for its memory says nothing.
            missing = [f"ended with code {error.returncode}", *error.stderr.strip().splitlines()][-1]
    if theirs and statistics.median(theirs) > LIMIT:
        given_up[shape] = n
    if values is not None and found is not None:
        difference = float((values - torch.tensor(found, dtype=torch.float64)).abs().max())
        # Written so that NaN fails.
        if not difference <= AGREES:
            raise Disagreement(f"{PEER} differs by {difference:.1e} from the statevector of {ansatz}; nothing is compared")
    book.compare(
        f"{n} qubits, depth {depth}{', ring' * (entanglement == 'ring')}",
        PEER,
        unit="s",
        ours=ours,
        theirs=theirs,
        note=note,
        missing="" if theirs else missing,
    )
    book.note(
        "Ours is the statevector in float64, one circuit, <Z> of every qubit, on one thread; both agree to "
        f"{AGREES:g}. A row of a narrower circuit that took more than {LIMIT:g} s ends its column."
    )


def _by_statevector(
    ansatz: Ansatz, x: torch.Tensor, angles: torch.Tensor, repeats: int
) -> tuple[list[float], torch.Tensor | None, str]:
    """Seconds, values, and why there are none."""
    size = 16.0 * 2**ansatz.n_qubits / 2**30
    try:
        require_memory(ansatz, 1, torch.float64)
    except MemoryError:
        return [], None, f"a statevector is {size:.3g} GiB"
    if ansatz.n_qubits > MOST:
        return [], None, f"a statevector is {size:.3g} GiB; not tried beyond {MOST} qubits"

    def simulate() -> torch.Tensor:
        with torch.no_grad():
            return statevector(ansatz, x, angles, "z")

    return *repeated(simulate, repeats), ""


def repeated(simulate: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Seconds of each repeat after a warm-up, which is the only measurement where it took long; and what was found."""
    begun = time.perf_counter()
    found = simulate()
    first = time.perf_counter() - begun
    return [first] if first > LONG else [timed(simulate, 1, "cpu") for _ in range(repeats)], found
