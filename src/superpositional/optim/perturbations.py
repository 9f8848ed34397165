"""The sine of eq. (2), the controls that take its place, and any other Q (``Called``).

Pamuk et al. 2025, eq. (2), is ``Q = s(theta) * g`` with ``s = sin(pi theta)``: ``sine``. The others are controls: a gain
that stays with a different ``s`` was not the circuit's. They change nothing else. Only ``random_sign`` has eq. (2)'s size
too; the others are larger as a rule, since the sine of a small weight is small (``superpositional plan`` says by how much).

===============  ====================================================================================================
``cosine``       ``s = cos(pi theta)``: as periodic and as smooth; near 1, not near 0, for the small weights of a net
``constant``     ``s = 1``: the term is ``λ g``, a little plain gradient descent
``random_sign``  ``s = ±|sin(pi theta)|``, the sign drawn for every scalar at every step: eq. (2)'s size, no direction
``shuffled``     ``s_i = sin(pi theta_p(i))``: each scalar has another's angle, by one fixed cycle through all in scope
===============  ====================================================================================================
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from superpositional.places import not_integers
from superpositional.seeds import generator

Modulation = Callable[[list[list[Tensor]], tuple[int, ...]], list[Tensor]]
"""Blocks of scalars in scope, each a list of real tensors, to the modulation of every tensor, in their order and shapes.
Registers run through a block and never into the next. The integers, the step from 0 and the group, seed what is drawn."""


def sine(blocks: list[list[Tensor]], call: tuple[int, ...] = ()) -> list[Tensor]:
    """``s = sin(pi theta)``, eq. (2), of each scalar alone."""
    angles = _angles(blocks)
    torch._foreach_sin_(angles)
    return angles


def cosine(blocks: list[list[Tensor]], call: tuple[int, ...] = ()) -> list[Tensor]:
    """``s = cos(pi theta)``."""
    angles = _angles(blocks)
    torch._foreach_cos_(angles)
    return angles


def constant(blocks: list[list[Tensor]], call: tuple[int, ...] = ()) -> list[Tensor]:
    """``s = 1``."""
    return [torch.ones_like(theta) for thetas in blocks for theta in thetas]


@dataclass(frozen=True)
class Drawn:
    """A modulation that draws: ``kind`` is ``"random_sign"`` or ``"shuffled"``.

    ``seed=None`` lets the optimizer draw one from torch's generator when it is made (in a run, from the circuit's stream).
    """

    kind: str
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in DRAWN:
            raise ValueError(f"a modulation that draws must be one of {', '.join(DRAWN)}, got {self.kind!r}")
        if mistakes := wrong_seed(self.seed):
            raise ValueError(*mistakes)

    def plain(self) -> dict[str, Any]:
        """As param groups and checkpoints hold it."""
        return {"kind": self.kind, "seed": self.seed}

    def seeded(self) -> "Drawn":
        return self if self.seed is not None else replace(self, seed=draw_seed(f"perturbation={self.kind!r}"))

    def __call__(self, blocks: list[list[Tensor]], call: tuple[int, ...] = ()) -> list[Tensor]:
        if self.seed is None:
            raise ValueError(f"seed must be given, got None with perturbation={self.kind!r}; pass seed=0")
        return DRAWN[self.kind](self.seed, blocks, call)


def _random_sign(seed: int, blocks: list[list[Tensor]], call: tuple[int, ...]) -> list[Tensor]:
    dice = generator(seed, "circuit", *call)
    sines = sine(blocks)
    # Drawn on the host, so that every device has the same signs.
    signs = [torch.randint(2, s.shape, generator=dice, device="cpu") * 2 - 1 for s in sines]
    return [s.abs() * sign.to(s) for s, sign in zip(sines, signs, strict=True)]


def _shuffled(seed: int, blocks: list[list[Tensor]], call: tuple[int, ...]) -> list[Tensor]:
    found = []
    for index, thetas in enumerate(blocks):
        flat = flattened(thetas)
        (s,) = sine([[flat[_cycle(seed, call[1:], index, len(flat), flat.device)]]])
        found += like(thetas, s)
    return found


# As torch.optim has it: torch.compiler.disable would import torch's compiler, a second, for everybody.
@torch._disable_dynamo
@lru_cache(maxsize=1024)
def _cycle(seed: int, group: tuple[int, ...], block: int, size: int, device: torch.device) -> Tensor:
    """One cycle through all places in random order, so that none keeps its own (a place alone has no other)."""
    order = torch.randperm(size, generator=generator(seed, "circuit", *group, block), device="cpu")
    onto = torch.empty_like(order)
    onto[order] = order.roll(1)
    return onto.to(device)


@dataclass(frozen=True)
class Called:
    """A perturbation given as a callable ``(theta, gradient, generator) -> Q``, called for each tensor's scalars in scope.

    ``theta`` is a copy from before the step and ``gradient`` the raw one, both of one shape, which Q has too; ``generator``
    lies on the CPU and is seeded by (seed, step, group), so that a resumed run draws the same. Where ``function`` has
    ``state_dict`` and ``load_state_dict``, they go through the optimizer's. ``seed=None`` lets the optimizer draw one.
    """

    function: Callable[[Tensor, Tensor, torch.Generator], Tensor]
    seed: int | None = None

    def seeded(self) -> "Called":
        return self if self.seed is not None else replace(self, seed=draw_seed(f"perturbation={self.name}"))

    @property
    def name(self) -> str:
        """The callable's module and name, as a checkpoint has it."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return f"{named.__module__}.{named.__qualname__}"

    def plain(self) -> dict[str, Any]:
        """As a state_dict holds it."""
        state = self.function.state_dict() if hasattr(self.function, "state_dict") else {}
        return {"callable": self.name, "seed": self.seed, "state": state}

    def loaded(self, plain: Mapping[str, Any]) -> "Called":
        """The same with the seed and state of a ``plain``; ValueError if it is of a different callable."""
        if plain["callable"] != self.name:
            raise ValueError(f"perturbation must be {plain['callable']}, as in the state_dict, got {self.name}")
        if hasattr(self.function, "load_state_dict"):
            self.function.load_state_dict(plain["state"])
        return replace(self, seed=plain["seed"])

    def terms(self, thetas: Sequence[Tensor], grads: Sequence[Tensor], call: tuple[int, ...]) -> list[Tensor]:
        """Q of each tensor; ValueError where the callable returns anything but a tensor of the gradient's shape."""
        dice, found = generator(self.seed, "circuit", *call), []
        for theta, grad in zip(thetas, grads, strict=True):
            q = self.function(theta, grad, dice)
            if not isinstance(q, Tensor) or q.shape != grad.shape:
                got = f"shape {tuple(q.shape)}" if isinstance(q, Tensor) else repr(q)
                raise ValueError(f"{self.name} must return a tensor of the gradient's shape {tuple(grad.shape)}, got {got}")
            found.append(q.to(grad))
        return found


DRAWN: Mapping[str, Callable[..., list[Tensor]]] = {"random_sign": _random_sign, "shuffled": _shuffled}


def wrong_seed(seed: Any) -> list[str]:
    """What is wrong with a seed that may be None."""
    return [] if seed is None else not_integers({"seed": (seed, 0, "None draws one")})


def draw_seed(what: str) -> int:
    """A seed from torch's generator for ``what``; ValueError under ``torch.distributed``, whose ranks would differ."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_world_size() > 1:
        raise ValueError(f"seed must be given under torch.distributed, got None with {what}; pass seed=0")
    # On the host whatever the default device is: a check on the meta device draws as well.
    return int(torch.randint(2**31, (), device="cpu"))


def _angles(blocks: list[list[Tensor]]) -> list[Tensor]:
    """``pi theta`` of every tensor, reduced."""
    return list(torch._foreach_mul(reduced(list(itertools.chain(*blocks))), torch.pi))


def reduced(thetas: Sequence[Tensor]) -> list[Tensor]:
    """``theta - 2 round(theta / 2)``, in [-1, 1] and exact in floating point.

    sin(pi theta) in float32 is off by 2e-4 at theta = 1e3 and has no correct digit at 1e6 without it.
    """
    turns = torch._foreach_mul(thetas, 0.5)
    torch._foreach_round_(turns)
    return list(torch._foreach_add(thetas, turns, alpha=-2))


def flattened(thetas: list[Tensor]) -> Tensor:
    """Scalars one after another, on the first tensor's device."""
    return torch.cat([theta.reshape(-1).to(thetas[0].device) for theta in thetas]) if thetas else torch.empty(0)


def like(thetas: list[Tensor], flat: Tensor) -> list[Tensor]:
    """The inverse of ``flattened``: scalars in the tensors' shapes and dtypes, on their devices."""
    parts = flat.split([theta.numel() for theta in thetas])
    return [part.view(theta.shape).to(theta) for part, theta in zip(parts, thetas, strict=True)]
