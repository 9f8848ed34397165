"""The method in plain lines (Pamuk et al. 2025, eqs. 1 and 2), slow and obvious on purpose.

Tests hold ``optimizer.SuperpositionalAdamW`` to it.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class SuperpositionalAdamWReference(Optimizer):
    """Arguments as in ``SuperpositionalAdamW``, of which it takes the ones that change numbers; real parameters only."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        quantum_weight: float = 0.5,
        n_qubits: int = 4,
        scope: str = "model",
        inject: str = "update",
        bias_correction: bool = True,
        maximize: bool = False,
    ) -> None:
        settings = dict(locals())
        super().__init__(
            params, {key: value for key, value in settings.items() if key not in ("self", "params", "__class__")}
        )

    @torch.no_grad()
    def step(self) -> None:
        """Take one step."""
        masks = self._masks()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state.update(t=0, m=torch.zeros_like(theta), v=torch.zeros_like(theta), v_max=torch.zeros_like(theta))
                state["t"] += 1
                m, v, t = state["m"], state["v"], state["t"]
                g = -theta.grad if group["maximize"] else theta.grad
                # eq. (2), for i in scope and 0 elsewhere. Unreduced angle: exact enough for the small weights of a test.
                modulation = torch.sin(math.pi * theta) * masks[theta]
                quantum = group["quantum_weight"] * modulation * g
                if group["inject"] == "moments":
                    g, quantum = g + quantum, torch.zeros_like(g)
                m.copy_(beta1 * m + (1 - beta1) * g)
                v.copy_(beta2 * v + (1 - beta2) * g**2)
                state["v_max"].copy_(torch.maximum(state["v_max"], v))
                m_hat, v_hat = m, state["v_max"] if group["amsgrad"] else v
                if group["bias_correction"]:
                    m_hat, v_hat = m_hat / (1 - beta1**t), v_hat / (1 - beta2**t)
                # eq. (1), with decoupled weight decay.
                update = m_hat / (v_hat.sqrt() + group["eps"]) + quantum + group["weight_decay"] * theta
                theta.sub_(group["lr"] * update)

    def _masks(self) -> dict[Tensor, Tensor]:
        """1 at the scalars that eq. (2) touches, 0 elsewhere."""
        masks, position = {}, 0
        for group in self.param_groups:
            for theta in group["params"]:
                count = {
                    "model": min(max(group["n_qubits"] - position, 0), theta.numel()),
                    "tensor": min(group["n_qubits"], theta.numel()),
                    "all": theta.numel(),
                }[group["scope"]]
                position += theta.numel()
                masks[theta] = (torch.arange(theta.numel()) < count).reshape(theta.shape).to(theta)
        return masks
