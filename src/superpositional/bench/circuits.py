"""Phi of every score with its gradients, against simulators of circuits.

Ours is what quantum attention does (``QuantumAttention.phi``): the circuit at the nodes of its series,
then the series of each score. Beside simulators that run the circuit per score stand the same simulators given our nodes
and a series in plain torch, so that algorithm and code are told apart. Every peer is first shown to give the same output
and gradients.

Shapes: T scores; A, L, R, Q as in attention.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from superpositional.attention import QuantumAttention
from superpositional.bench import peers
from superpositional.bench.measuring import MEMORY, Asked, Book, Step, agree, alternate, devices, peak_bytes
from superpositional.circuits import Ansatz, series

# Those of 32 sequences of 32 tokens and 4 heads.
SCORES = 131_072
READOUTS = ("amplitude", "z")
# Of raw scores Q K^T with 16 dimensions a head.
SPREAD = 4.0
# Full-size peak memory, in tensors of the scores' shape, that a fused series may need.
MOST_MEMORY = 3.0


class Case:
    """One circuit, one readout, so many scores: ours, inputs and the gradient from above, drawn once."""

    def __init__(self, ansatz: Ansatz, readout: str, scores: int, device: str = "cpu") -> None:
        draw = torch.Generator().manual_seed(0)
        self.ansatz, self.readout, self.scores, self.device = ansatz, readout, scores, device
        self.layer = QuantumAttention(1, 1, ansatz=ansatz, readout=readout)
        with torch.no_grad():
            self.layer.angles.copy_((torch.rand(self.layer.angles.shape, generator=draw) - 0.5) * 2 * torch.pi)
        self.layer.to(device)
        self.x_T = (torch.randn(scores, generator=draw) * SPREAD).to(device).requires_grad_()
        self.above_T = torch.randn(scores, generator=draw).to(device)

    def first(self, scores: int) -> "Case":
        """The same with the first so many scores."""
        return Case(self.ansatz, self.readout, scores, self.device)

    def ours(self, x_T: Tensor, angles_LRQ: Tensor) -> Tensor:
        return self.layer.phi(x_T.view(1, 1, 1, -1)).view(-1)

    def both(self, phi: peers.Phi) -> tuple[Tensor, ...]:
        """Forward and backward: Phi, its gradient in the scores, its gradient in the angles."""
        out_T = phi(self.x_T, self.layer.angles[0])
        return out_T, *torch.autograd.grad(out_T, (self.x_T, self.layer.angles), self.above_T.to(out_T.dtype))

    def forward(self, phi: peers.Phi) -> tuple[Tensor]:
        with torch.no_grad():
            return (phi(self.x_T, self.layer.angles[0]),)

    def call(self, phi: peers.Phi, gradients: bool = True) -> Callable[[], tuple[Tensor, ...]]:
        return functools.partial(self.both if gradients else self.forward, phi)

    def tensors(self, phi: peers.Phi) -> float:
        """Peak memory of forward and backward beyond inputs and gradients, in tensors of the scores' shape."""
        gradients = self.x_T.nbytes + self.layer.angles.nbytes
        return (peak_bytes(self.call(phi), self.device) - gradients) / self.x_T.nbytes


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    ansatz, scores = Ansatz(), 2048 if asked.quick else SCORES
    made = []
    for device in devices():
        for readout in READOUTS:
            case = functools.partial(Case, ansatz, readout, scores, device)
            where = f"{readout}{' on the GPU' * (device == 'cuda')}"
            made.append(Step(f"Φ {where}", 30, functools.partial(_batched, case, where, asked)))
            made.append(Step(f"Φ's memory {where}", 6, functools.partial(_memory, case, where)))
            if device == "cpu":
                for peer in peers.SLOW:
                    made.append(Step(f"Φ {where}, {peer}", 8, functools.partial(_slow, case, where, peer, asked)))
    return made


def _batched(case: Callable[[], Case], where: str, asked: Asked, book: Book) -> None:
    """Against everything that takes all scores at once, all in turns."""
    ours = case()
    wanted = ours.both(ours.ours)
    ways, into, seconds = {"ours": ours.call(ours.ours)}, {}, []
    what = f"Φ {where}, {ours.scores:,} scores, forward and backward"
    for peer, make in peers.BATCHED.items():
        found = book.compare(what, peer, ours=seconds, most=peers.MOST.get(peer) if ours.scores == SCORES else None)
        try:
            phi = make(ours.ansatz, ours.readout)
        except peers.Missing as missing:
            found.missing = str(missing)
            continue
        agree(peer, wanted, ours.both(phi))
        if "PennyLane" in peer:
            found.note = "PennyLane computes in complex128"
        ways[peer], into[peer] = ours.call(phi), found.theirs
    alternate(ways, {"ours": seconds, **into}, asked.times(5))


def _slow(case: Callable[[], Case], where: str, peer: str, asked: Asked, book: Book) -> None:
    """Against a simulator that takes circuit after circuit: at two sizes, per score, ours at its full size; and once with
    both at the same number of scores."""
    ours = case()
    make, gradients, sizes = peers.SLOW[peer]
    passes = "forward and backward" if gradients else "forward"
    sizes = tuple(size // 8 for size in sizes) if asked.quick else sizes
    for size in sizes:
        small = ours.first(size)
        what = f"a score of Φ {where}, {passes}; ours at {ours.scores:,} scores, the peer at {size:,}"
        most = peers.MOST.get(peer) if ours.scores == SCORES else None
        found = book.compare(what, peer, unit="s/score", most=most)
        try:
            phi = make(ours.ansatz, ours.readout)
        except peers.Missing as missing:
            found.missing = str(missing)
            return
        run = small.both if gradients else small.forward
        agree(peer, run(small.ours), run(phi))
        alternate(
            {"ours": ours.call(ours.ours, gradients), "peer": small.call(phi, gradients)},
            {"ours": found.ours, "peer": found.theirs},
            asked.times(3),
            per={"ours": ours.scores, "peer": size},
        )
    same = book.compare(f"Φ {where}, {passes}, both at {size:,} scores", peer)
    alternate(
        {"ours": small.call(small.ours, gradients), "peer": small.call(phi, gradients)},
        {"ours": same.ours, "peer": same.theirs},
        asked.times(3),
    )


def _memory(case: Callable[[], Case], where: str, book: Book) -> None:
    ours = case()
    book.note(MEMORY)
    unit = "tensors"
    what = f"peak memory of Φ {where}, forward and backward, beyond inputs and gradients, in tensors of the scores' shape"
    most = MOST_MEMORY if ours.scores == SCORES else None
    measured = ours.tensors(ours.ours)
    coefficients = ours.layer.coefficients
    naive = {
        "the same series by plain autograd": lambda x_T, _: series.series_reference(
            ours.ansatz, ours.readout, coefficients()[0], x_T
        ),
        peers.STATEVECTOR: peers.BATCHED[peers.STATEVECTOR](ours.ansatz, ours.readout),
    }
    for peer, phi in naive.items():
        found = book.compare(what, peer, unit=unit, ours=[measured], ours_most=most)
        found.theirs.append(ours.tensors(phi))
