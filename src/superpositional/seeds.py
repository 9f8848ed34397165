"""Derive all randomness from one integer, through named streams.

A stream is a 64-bit seed derived from ``(seed, name, *counters)``, so drawing from one stream never shifts another: an
optimizer that needs random numbers cannot change the batches of the arm that it is compared with.
"""

import contextlib
import hashlib
import operator
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STREAMS = ("init", "data", "order", "dropout", "circuit")


def stream(seed: int, name: str, *counters: int) -> int:
    """The seed of one named stream, an integer in [0, 2**63).

    ``counters`` index within a stream (an epoch, a step): the batches of epoch 7 are ``stream(seed, "order", 7)`` whether
    or not the epochs before it were run, which is what makes a resumed run the same run.
    """
    if name not in STREAMS:
        raise ValueError(f"stream must be one of {', '.join(STREAMS)}, got {name!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    text = "/".join([str(seed), name, *(str(operator.index(counter)) for counter in counters)])
    # 63 bits: torch.manual_seed takes a signed 64-bit integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def start(seed: int, name: str, *counters: int, device: "torch.device | None" = None) -> None:
    """Start the global generators of Python, NumPy and torch at one point of a named stream.

    For code that draws from them: a user's own module, sampler or augmentation, and torch's dropout.

    Args:
        device: whose generator starts too.
    """
    import numpy as np

    value = stream(seed, name, *counters)
    random.seed(value)
    np.random.seed(value % 2**32)
    start_torch(value, device)


def start_torch(value: int, device: "torch.device | None" = None) -> None:
    """Start torch's global generators alone, the CPU's and the device's."""
    import torch

    # Not torch.manual_seed: for each kind of device that this process has not used it keeps the seed and a traceback,
    # which is a tenth of a small model's step, and never forgets them.
    torch.default_generator.manual_seed(value)
    if device is not None and device.type != "cpu":
        torch.get_device_module(device).manual_seed(value)


def generator(seed: int, name: str, *counters: int) -> "torch.Generator":
    """A CPU generator at the start of one named stream."""
    import torch

    return torch.Generator().manual_seed(stream(seed, name, *counters))


@contextlib.contextmanager
def drawing_from(seed: int, name: str, *counters: int) -> Iterator[None]:
    """Let torch's global CPU generator draw from one stream inside the block, and leave it as found.

    For code that takes no generator, such as the initialisers of ``torch.nn``.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, name, *counters))
        yield
