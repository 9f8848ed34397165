"""Quantum attention against attention.

Ours is eq. (3), softmax( Q K^T / sqrt(d) + Phi ) V, with the circuit at the nodes of its series and gradients to queries,
keys, values and angles; the peers are torch's ``scaled_dot_product_attention``, by whichever kernel torch chooses for the
shape (named in the row), and softmax attention written out. They compute less, so the ratio is what the term costs. Ours is
first held to eq. (3) written out with the circuit simulated for every score.

Shapes: B batch, H heads, N tokens, E width of a head; A, L, R, Q as in attention.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from superpositional.attention import QuantumAttention
from superpositional.bench.measuring import (
    MEMORY,
    Asked,
    Book,
    Step,
    agree,
    alternate,
    devices,
    peak_bytes,
    profiled_on_cpu,
)
from superpositional.circuits.backends.exact import evaluate

# B, H, N, E.
Shape = tuple[int, int, int, int]
SHAPES: tuple[Shape, ...] = ((32, 4, 32, 16), (4, 8, 256, 64), (1, 4, 1024, 64))
LONG: tuple[Shape, ...] = ((1, 4, 2048, 64), (1, 4, 8192, 64))
QUICK: tuple[Shape, ...] = ((2, 2, 16, 16), (1, 2, 64, 16))
# What the ratio to scaled_dot_product_attention should be at most; and to softmax attention written out, at N = 1024.
MOST = {"amplitude": 1.6, "probability": 2.0, "z": 2.0}
MOST_WRITTEN_OUT = 1.5
WRITTEN_OUT = "softmax attention written out in torch"


def ours(layer: QuantumAttention, q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
    """Quantum attention of projected queries, keys and values, as the layer itself computes it: ``(B, H, N, E)``.

    The one place that knows how; what it gives is held to ``simulated`` before anything is timed.
    """
    return layer._attend(q_BHNE, k_BHNE, v_BHNE, None, False)[0]


def written_out(q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
    return ((q_BHNE / math.sqrt(q_BHNE.shape[-1])) @ k_BHNE.mT).softmax(-1) @ v_BHNE


def simulated(layer: QuantumAttention, q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor) -> Tensor:
    """Eq. (3) with the circuit simulated for every score, which is what ours has to be."""
    score_BHNN = q_BHNE @ k_BHNE.mT
    phi_BHNN = evaluate(layer.ansatz, score_BHNN[..., None], layer.angles[:, None, None], layer.readout).sum(-1)
    return (score_BHNN / math.sqrt(q_BHNE.shape[-1]) + phi_BHNN).softmax(-1) @ v_BHNE


class Case:
    """Inputs of a shape, the gradient from above, and a layer's angles, drawn once."""

    def __init__(self, shape: Shape, readout: str = "amplitude", device: str = "cpu") -> None:
        draw = torch.Generator().manual_seed(0)
        heads, width = shape[1], shape[3]
        self.shape, self.device = shape, device
        self.layer = QuantumAttention(heads * width, heads, readout=readout)
        with torch.no_grad():
            self.layer.angles.copy_((torch.rand(self.layer.angles.shape, generator=draw) - 0.5) * 2 * torch.pi)
        self.layer.to(device)
        self.qkv = [torch.randn(shape, generator=draw).to(device).requires_grad_() for _ in range(3)]
        self.above_BHNE = torch.randn(shape, generator=draw).to(device)

    def both(self, attend: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        """Output, and its gradients in queries, keys, values and, of a quantum one, angles."""
        quantum = attend in (ours, simulated)
        out_BHNE = attend(self.layer, *self.qkv) if quantum else attend(*self.qkv)
        wanted = [*self.qkv, *([self.layer.angles] if quantum else [])]
        return out_BHNE, *torch.autograd.grad(out_BHNE, wanted, self.above_BHNE)

    def call(self, attend: Callable[..., Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        return functools.partial(self.both, attend)

    @property
    def peer(self) -> str:
        return f"scaled_dot_product_attention ({kernel(self.call(scaled_dot_product_attention))})"

    def check(self) -> None:
        """Of a shape too large to simulate every score's circuit, its first rows of the first matrices."""
        small = Case((1, self.shape[1], min(self.shape[2], 64), self.shape[3]), self.layer.readout, self.device)
        agree("the simulated circuit of every score", small.both(ours), small.both(simulated))


def kernel(call: Callable[[], object]) -> str:
    """Which of torch's kernels ran, in its own words."""
    profiled = profiled_on_cpu(call)
    ran = {event.key for event in profiled.key_averages()}
    named = [name for name in ran if name.startswith("aten::_scaled_dot_product") and "backward" not in name]
    return min(named).removeprefix("aten::") if named else "kernel not named by torch"


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    part, made = functools.partial, []
    for device in devices():
        for shape in QUICK if asked.quick else SHAPES:
            for readout in MOST:
                made.append(Step(f"attention {_named(shape)}, {readout}", 6, part(_shape, shape, readout, device, asked)))
        for shape in () if asked.quick else LONG:
            made.append(Step(f"attention {_named(shape)}", shape[2] / 200, part(_long, shape, device, asked)))
    return made


def _named(shape: Shape, device: str = "cpu") -> str:
    batch, heads, n, width = shape
    return f"B={batch} H={heads} N={n:,} d={width}{' on the GPU' * (device == 'cuda')}"


def _shape(shape: Shape, readout: str, device: str, asked: Asked, book: Book) -> None:
    case = Case(shape, readout, device)
    case.check()
    seconds: list[float] = []
    # Tiny sizes measure calls, of which nothing was promised.
    most = None if asked.quick else MOST[readout]
    what = f"attention, {readout}, {_named(shape, device)}, forward and backward"
    found = book.compare(what, case.peer, ours=seconds, most=most)
    ways = {"ours": case.call(ours), "fused": case.call(scaled_dot_product_attention)}
    into = {"ours": seconds, "fused": found.theirs}
    agree(WRITTEN_OUT, case.both(scaled_dot_product_attention), case.both(written_out))
    written = book.compare(what, WRITTEN_OUT, ours=seconds, most=MOST_WRITTEN_OUT if shape == SHAPES[2] else None)
    ways["written"], into["written"] = case.call(written_out), written.theirs
    alternate(ways, into, asked.times(5))


def _long(shape: Shape, device: str, asked: Asked, book: Book) -> None:
    """Time and memory where the matrix of scores is large."""
    book.note(MEMORY)
    case = Case(shape, device=device)
    case.check()
    what = f"attention, amplitude, {_named(shape, device)}, forward and backward"
    found = book.compare(what, case.peer)
    ways = {"ours": case.call(ours), "peer": case.call(scaled_dot_product_attention)}
    alternate(ways, {"ours": found.ours, "peer": found.theirs}, asked.times(3))
    memory = book.compare(f"{what}: peak memory beyond inputs, gradients in it", found.peer, unit="MB")
    memory.ours.append(peak_bytes(ways["ours"], device) / 1e6)
    memory.theirs.append(peak_bytes(ways["peer"], device) / 1e6)
