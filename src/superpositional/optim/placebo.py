"""The placebo: an optimizer arm without the quantum term, against which a claimed effect has to stand.

Training amplifies rounding, so a different result with the same seed proves nothing.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW

from superpositional.optim.optimizer import adamw_step
from superpositional.optim.term import leading


class PlaceboAdamW(AdamW):
    """AdamW, but one weight is moved by one unit in the last place, once, after the first step.

    The weight is the first that eq. (2) of Pamuk et al. 2025 would touch and that is not 0: the least perturbation floating
    point can express, and a meaningless one. What this arm differs from AdamW by is the least noise a paired comparison can
    have.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one AdamW step; the first one also moves the weight."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = all(not self.state[parameter] for group in self.param_groups for parameter in group["params"])
        adamw_step(self)
        if first:
            self._move_one_weight()
        return loss

    def _move_one_weight(self) -> None:
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            # Of a sharded parameter every rank looks at the whole, once: all must agree on which weight it is.
            whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
            # A zero's neighbour is a denormal, which the next step would swallow.
            nonzero = torch.cat([view.reshape(-1) for view in leading(whole, 1024)]).nonzero()
            if not len(nonzero):
                continue
            place = int(nonzero[0])
            before, views = sum(view.numel() for view in leading(parameter, place)), leading(parameter, place + 1)
            # On the one rank that holds it: there the first place + 1 scalars are one more than the first place.
            if sum(view.numel() for view in views) > before:
                weight = views[-1].view(-1)[-1]
                weight.copy_(torch.nextafter(weight, torch.full_like(weight, math.inf)))
            return
        raise ValueError("PlaceboAdamW found no weight to move: the first 1,024 scalars of every parameter are 0")
