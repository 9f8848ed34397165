"""What is Q?

Pamuk et al. 2025, eq. (2): ``Q_i = sin(pi theta_i) * dL/dtheta_i``. Every perturbation here has that form,
``Q = s(theta) * g``: a modulation ``s`` that depends on the weights alone, times the raw gradient. A modulation takes the
scalars in scope as a list of real tensors, with the number of qubits, and returns as many tensors of the same shapes.
Read by the optimizer; adding a function to ``PERTURBATIONS`` makes it an arm.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Modulation = Callable[[list[Tensor], int], list[Tensor]]


def sine(thetas: list[Tensor], n_qubits: int) -> list[Tensor]:
    """``s = sin(pi theta)``, eq. (2). Acts on each scalar alone, so ``n_qubits`` only sets the scope.

    The angle is reduced to [-pi, pi] first: sin(pi theta) in float32 is off by 2e-4 at theta = 1e3 and has no correct
    digit at 1e6. ``theta - 2 round(theta / 2)`` is exact in floating point.
    """
    turns = torch._foreach_mul(thetas, 0.5)
    torch._foreach_round_(turns)
    angles = torch._foreach_add(thetas, turns, alpha=-2)
    torch._foreach_mul_(angles, torch.pi)
    torch._foreach_sin_(angles)
    return list(angles)


PERTURBATIONS: dict[str, Modulation] = {"sine": sine}
