"""How does the cost of Phi grow with scores, depth and qubits?

Per score the series is linear in its frequencies, and those in qubits times depth; simulating a circuit doubles with each
qubit. The nodes of the series are such simulations, so ours grows exponentially too, once a step and not once a score. Read
by circuits.
"""

import functools
import math

import torch

from superpositional.attention import QuantumAttention
from superpositional.benches import peers
from superpositional.benches.measuring import Asked, Book, Step, alternate, on_one_thread, peak_bytes
from superpositional.circuits import Ansatz, series
from superpositional.circuits.statevector import statevector

OURS = "ours, nodes and series"
# Qubits and depth: products 2 to 64.
SHAPES = ((2, 1), (4, 1), (4, 2), (4, 4), (8, 4), (8, 8))
DEPTHS = (1, 2, 4, 8, 16)
ONE_CIRCUIT = range(4, 25, 2)
# The widest circuit whose nodes are simulated here, 33 of them.
MOST_NODES = 16


def steps(asked: Asked) -> list[Step]:
    quick = asked.quick
    sizes = [2**power for power in (range(8, 11) if quick else range(8, 23, 2))]
    shapes, depths = (SHAPES[:2], DEPTHS[:2]) if quick else (SHAPES, DEPTHS)
    widths = list(ONE_CIRCUIT)[:2] if quick else list(ONE_CIRCUIT)
    part = functools.partial
    return [
        *(Step(f"Φ of {size:,} scores", 1 + size / 1e5, part(_scores, size, asked)) for size in sizes),
        *(Step(f"{n} qubits, depth {depth}", 2, part(_products, n, depth, asked)) for n, depth in shapes),
        *(Step(f"depth {depth}", 2, part(_depth, depth, asked)) for depth in depths),
        *(Step(f"{n} qubits", 1 + 2.0 ** (n - 20), part(_qubits, n, asked)) for n in widths),
    ]


def _case(ansatz: Ansatz, scores: int):
    from superpositional.benches.circuits import Case

    return Case(ansatz, "amplitude", scores)


@on_one_thread
def _scores(size: int, asked: Asked, book: Book) -> None:
    growth = book.growth("scores", "scores", "Φ, forward and backward (s)")
    case = _case(Ansatz(), size)
    ways, into = {OURS: case.call(case.ours)}, {OURS: growth.at(OURS, size, since=2**18)}
    if size <= 2**16:  # a second and more beyond
        phi = peers.BATCHED[peers.STATEVECTOR](case.ansatz, case.readout)
        ways["statevector of every score"] = case.call(phi)
        into["statevector of every score"] = growth.at("statevector of every score", size, since=2**12)
    alternate(ways, into, asked.times(3))


def _large(asked: Asked) -> int:
    return 2**10 if asked.quick else 2**17


@on_one_thread
def _products(n: int, depth: int, asked: Asked, book: Book) -> None:
    growth = book.growth("frequencies", "qubits × depth", "a score, forward and backward (s)")
    case = _case(Ansatz(n, depth), _large(asked))
    coefficients = case.layer.coefficients().detach().requires_grad_()
    first = series.doubled_frequencies(case.ansatz, case.readout)[0]

    def alone() -> tuple[torch.Tensor, ...]:
        out = series.series(coefficients, case.x_T.view(1, -1), first).view(-1)
        return torch.autograd.grad(out, (case.x_T, coefficients), case.above_T)

    ways = {OURS: case.call(case.ours), "the series alone": alone}
    into = {name: growth.at(name, n * depth, since=8) for name in ways}
    alternate(ways, into, asked.times(3), per=dict.fromkeys(ways, case.scores))


@on_one_thread
def _depth(depth: int, asked: Asked, book: Book) -> None:
    growth = book.growth("depth", "depth, 4 qubits", "a score, forward and backward (s)")
    large, small = _case(Ansatz(4, depth), _large(asked)), _case(Ansatz(4, depth), _large(asked) // 16)
    phi = peers.BATCHED[peers.STATEVECTOR](small.ansatz, small.readout)
    ways = {OURS: large.call(large.ours), "statevector of every score": small.call(phi)}
    into = {name: growth.at(name, depth, since=2) for name in ways}
    alternate(ways, into, asked.times(3), per=dict(zip(ways, (large.scores, small.scores), strict=True)))


@on_one_thread
def _qubits(n: int, asked: Asked, book: Book) -> None:
    """A statevector's simulation, in time and memory; and where gradients fit, a score of ours beside it."""
    time = book.growth("qubits", "qubits", "forward, depth 2 (s)", exponential=True)
    memory = book.growth("qubits_memory", "qubits", "peak memory, forward (bytes)", exponential=True)
    one, ansatz = "one circuit's statevector", Ansatz(n, 2)
    book.note(
        "Qubits: the nodes of the series are statevectors too, so ours grows exponentially in qubits, once a step; what "
        "stays linear in qubits × depth is the cost of a further score, the series."
    )
    draw = torch.Generator().manual_seed(0)
    angles = torch.rand(ansatz.angles_shape, generator=draw)
    x = torch.rand(1, generator=draw)

    def simulate() -> torch.Tensor:
        with torch.no_grad():
            return statevector(ansatz, x, angles, "z")

    ways, into = {one: simulate}, {one: time.at(one, n, since=18)}
    if n <= MOST_NODES:
        layer = QuantumAttention(1, 1, ansatz=ansatz)
        scores = torch.randn(1, 1, 1, _large(asked), generator=draw)
        coefficients = layer.coefficients().detach()

        def nodes() -> torch.Tensor:
            with torch.no_grad():
                return layer.coefficients()

        def a_score() -> torch.Tensor:
            first = series.doubled_frequencies(ansatz, layer.readout)[0]
            return series.series(coefficients, scores.view(1, -1), first)

        ways |= {"our nodes, once a step": nodes, "our series, a score": a_score}
        into["our nodes, once a step"] = time.at("our nodes, once a step", n, since=12)
        # Linear in qubits, so no exponential is fitted; "frequencies" fits it.
        into["our series, a score"] = time.at("our series, a score", n, since=math.inf)
    alternate(ways, into, asked.times(3), per={"our series, a score": _large(asked)})
    memory.at(one, n, since=14).append(peak_bytes(simulate))
