"""A step of superpositional AdamW against torch's AdamW.

Both fused, and once both as they come (foreach), on the same weights and gradients; ours with its statistics, of which the
large ones are measured at every 100th step. At lambda = 0 ours is first shown to be AdamW bit for bit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from superpositional.bench.measuring import (
    MEMORY,
    Asked,
    Book,
    Comparison,
    Disagreement,
    Step,
    alternate,
    devices,
    peak_bytes,
    timed,
)
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.optim.optimizer import SuperpositionalAdamW
from superpositional.tasks.classification.net import SequenceTransformer

WINDOW = 100  # stats_every: so many steps hold one sampled step
VARIANTS = (("model", "sine"), ("model", "circuit"), ("all", "sine"), ("all", "circuit"))
# Copies of the model that any AdamW holds: weights, gradients, two moments.
HELD = 4
# A decoder of 768 dimensions with 12 layers and a vocabulary of 51,840 that shares its embedding, and learned positions.
WIDTH, LAYERS, VOCABULARY, POSITIONS = 768, 12, 51_840, 4096

# What a fused step of sine should take of AdamW's at most, by scope, of the small model and of the large one.
MOST_SMALL = {"model": 1.2}
MOST_LARGE = {"model": 1.05, "all": 1.2}


def classifier() -> list[tuple[int, ...]]:
    """Shapes of the paper's classifier, as ``conf/net/transformer.yaml`` makes it."""
    return [tuple(each.shape) for each in SequenceTransformer(vocabulary_size=200, n_classes=4, max_length=17).parameters()]


def transformer() -> list[tuple[int, ...]]:
    """Shapes of a decoder of 128 million parameters."""
    d = WIDTH
    layer = [(3 * d, d), (3 * d,), (d, d), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,), (d,), (d,), (d,), (d,)]
    return [(VOCABULARY, d), (POSITIONS, d), *(layer * LAYERS), (d,), (d,)]


def weights(shapes: Sequence[tuple[int, ...]], device: str) -> list[torch.nn.Parameter]:
    """Weights and gradients as small as trained ones are, the same at every call."""
    draw = torch.Generator().manual_seed(0)
    made = [torch.nn.Parameter((torch.randn(shape, generator=draw) * 0.02).to(device)) for shape in shapes]
    for each in made:
        each.grad = (torch.randn(each.shape, generator=draw) * 1e-3).to(device)
    return made


def perturbed(parameters: list[torch.nn.Parameter], scope: str, perturbation: str, **rest: Any) -> SuperpositionalAdamW:
    by_name = {"sine": "sine", "circuit": CircuitPerturbation()}[perturbation]
    return SuperpositionalAdamW(parameters, scope=scope, perturbation=by_name, weight_decay=0.01, **rest)


def steps(asked: Asked) -> list[Step]:
    """All that is measured, in parts."""
    part, made = functools.partial, [Step("λ = 0 is AdamW", 1, _is_adamw)]
    for device in devices():
        for fused in (True, None):
            for scope, perturbation in VARIANTS if fused else VARIANTS[::2]:
                made.append(
                    Step(f"classifier, {scope}, {perturbation}", 5, part(_small, device, scope, perturbation, fused, asked))
                )
        if not asked.quick:
            made.append(Step("128 million parameters", 150, part(_large, device, asked)))
    return made


def _is_adamw(book: Book) -> None:
    """Raises Disagreement unless ours at lambda = 0 is torch's AdamW bit for bit, fused and not."""
    for fused in (True, None):
        mine, theirs = weights(classifier(), "cpu"), weights(classifier(), "cpu")
        both = (
            perturbed(mine, "all", "sine", quantum_weight=0.0, fused=fused),
            torch.optim.AdamW(theirs, weight_decay=0.01, fused=fused),
        )
        for _ in range(3):
            for optimizer in both:
                optimizer.step()
        same_bits(mine, theirs)


def same_bits(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    if not all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)):
        raise Disagreement("torch.optim.AdamW is no peer: at quantum_weight=0 ours gives other weights")


def _named(fused: bool | None) -> str:
    return "torch.optim.AdamW(fused=True)" if fused else "torch.optim.AdamW, as it comes (foreach)"


def _what(parameters: int, scope: str, perturbation: str, device: str) -> str:
    return f"a step, {parameters:,} parameters, scope {scope}, {perturbation}{' on the GPU' * (device == 'cuda')}"


def _small(device: str, scope: str, perturbation: str, fused: bool | None, asked: Asked, book: Book) -> None:
    """Whole windows of 100 steps, each with its one sampled step."""
    shapes = classifier()
    mine = perturbed(weights(shapes, device), scope, perturbation, fused=fused)
    theirs = torch.optim.AdamW(weights(shapes, device), weight_decay=0.01, fused=fused)

    def window(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
        def call() -> None:
            for _ in range(WINDOW):
                optimizer.step()

        return call

    count = sum(each.numel() for each in mine.param_groups[0]["params"])
    found = book.compare(_what(count, scope, perturbation, device), _named(fused), note="windows of 100 steps")
    if fused and perturbation == "sine" and not asked.quick:
        found.most = MOST_SMALL.get(scope)
    ways = {"ours": window(mine), "peer": window(theirs)}
    alternate(ways, {"ours": found.ours, "peer": found.theirs}, asked.times(7), per=dict.fromkeys(ways, WINDOW))
    if fused:
        _memory(book, found, mine, theirs, device)


def _memory(book: Book, of: Comparison, mine: SuperpositionalAdamW, theirs: torch.optim.Optimizer, device: str) -> None:
    """Peak of a sampled step and of any other in copies of the model: weights, gradient, two moments and what is beyond."""
    book.note(MEMORY)
    size = sum(each.nbytes for each in mine.param_groups[0]["params"])
    for name, every in (("a sampled step", 1), ("any other step", 10**9)):
        found = book.compare(f"{of.what}: peak memory of {name}, copies of the model", of.peer, unit="copies")
        mine.param_groups[0]["stats_every"] = every
        beyond = peak_bytes(mine.step, device) / size
        found.ours.append(HELD + beyond)
        found.theirs.append(HELD + peak_bytes(theirs.step, device) / size)
        found.note = f"ours beyond weights, gradient and moments: {beyond:.2g}"
    mine.param_groups[0]["stats_every"] = WINDOW


def _large(device: str, asked: Asked, book: Book) -> None:
    """Time sampled and other steps on their own, weighted 1 to 99."""
    shapes = transformer()
    theirs = torch.optim.AdamW(weights(shapes, device), weight_decay=0.01, fused=True)
    held = weights(shapes, device)
    count = sum(each.numel() for each in held)
    for scope, perturbation in VARIANTS:
        mine = perturbed(held, scope, perturbation, fused=True)
        found = book.compare(
            _what(count, scope, perturbation, device), _named(True), note="sampled and other steps weighted 1 to 99"
        )
        if perturbation == "sine" and not asked.quick:
            found.most = MOST_LARGE.get(scope)
        weighted(book, mine, theirs, found, asked.times(3))
        _memory(book, found, mine, theirs, device)
        del mine


def weighted(
    book: Book, mine: SuperpositionalAdamW, theirs: torch.optim.Optimizer, found: Comparison, repeats: int
) -> None:
    """Seconds of a mean step of ours, of one sampled and one other, and of the peer's, pair by pair."""
    group = mine.param_groups[0]

    def sampled() -> None:
        group["stats_every"] = 1
        mine.step()

    def other() -> None:
        group["stats_every"] = 10**9
        mine.step()

    for _ in range(repeats):
        took = [timed(call, 1) for call in (sampled, other)]
        book.keep(f"sampled and other step (s): {found.what}", took)
        found.theirs.append(timed(theirs.step, 1))
        found.ours.append((took[0] + (WINDOW - 1) * took[1]) / WINDOW)
    group["stats_every"] = WINDOW
