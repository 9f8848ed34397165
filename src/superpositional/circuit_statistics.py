"""What did the circuits do during training?

A callback for whatever runs circuits: quantum attention (Pamuk et al. 2025, eqs. 3 to 5) and the optimizer's circuit
perturbation. Their size, their entanglement, how large Phi is beside the scores, how often a circuit was run. Logged and
summed up for W&B and the record alike; silent where there is no circuit. Read by train.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from superpositional.attention import QuantumAttention
from superpositional.callbacks import Curve, log
from superpositional.circuits import Ansatz, portrait, series
from superpositional.circuits.measures import dead_angles, entanglement, gradient_variance
from superpositional.perturbation import CircuitPerturbation, perturbation_from
from superpositional.scope import scoped
from superpositional.term import blocks_in_scope


class CircuitStatistics(Callback):
    """Numbers of every circuit, under ``circuit/<place>/``, where a place is a module's name or ``optimizer``.

    At the start, for attention ``certificate``: how far its Fourier series is from direct simulation on random scores. Per
    interval:

    - ``entanglement``: Meyer-Wallach, at the present angles over one turn of the score and all heads, or of the registers
      at the present weights;
    - ``phi_ratio``: root mean square of Phi against that of the scores it is added to, Q K^T / sqrt(d_k);
    - ``gradient_variance``: variance over the angles of the loss's gradient;
    - ``circuit/executions``: circuits run in the step, gradients included.

    Summary: the last of each, and under ``circuit/`` the circuit's counts (``Ansatz.statistics``; with the place if there
    are several). ``notes``: for each place the ansatz, the readout, the angles that do nothing and the variance of Phi's
    gradient at random angles (a barren plateau's sign).

    Args:
        every_n_steps: how often; a measured step costs some milliseconds.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be >= 1, got {every_n_steps}; 50 costs next to nothing")
        self.every_n_steps = every_n_steps
        self.places: dict[str, dict[str, Any]] = {}
        self.attentions: dict[str, QuantumAttention] = {}
        self.row: dict[str, float] = {}
        self.due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        modules = pl_module.named_modules()
        self.attentions = {name: module for name, module in modules if isinstance(module, QuantumAttention)}
        certificates = {}
        dice = torch.Generator().manual_seed(0)
        described: dict[Any, dict[str, Any]] = {}
        for name, module in self.attentions.items():
            certificates[f"circuit/{name}/certificate"] = module.certificate(dice)
            # Layers have one circuit as a rule, and describing it takes a while.
            key = module.ansatz, module.readout
            if key not in described:
                described[key] = {
                    "ansatz": module.ansatz.plain(),
                    "readout": module.readout,
                    "nodes": series.node_count(*key),
                    "dead_angles": [list(place) for place in dead_angles(*key, dice)],
                    "gradient_variance_at_random_angles": float(gradient_variance(*key, dice).mean()),
                }
            self.places[name] = described[key] | {
                "evaluator": module.evaluator,
                "score": module.score,
                "angle_sets": len(module.angles),
            }
        for name, _, perturbation in _perturbations(trainer):
            self.places[name] = perturbation.plain() | {"simulator": perturbation.resolved}
        if certificates:
            log(trainer, {trainer.global_step: certificates})
        if self.places and trainer.is_global_zero:
            ansatz = [module.ansatz for module in self.attentions.values()]
            ansatz += [perturbation.ansatz for _, _, perturbation in _perturbations(trainer)]
            portrait.write(Path(trainer.default_root_dir), ansatz[0], "scalar" if self.attentions else "register")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.due = bool(self.places) and ((batch_idx + 1) % self.every_n_steps == 0 or trainer.is_last_batch)
        for module in self.attentions.values():
            module.measuring = self.due

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not self.due:
            return
        self.row = {}
        executions = 0
        for name, module in self.attentions.items():
            forward, gradient = module.executions(module.statistics["scores"])
            executions += forward + gradient
            self.row[f"circuit/{name}/phi_ratio"] = float(module.statistics["phi_rms"] / module.statistics["score_rms"])
            if module.angles.grad is not None and module.angles.numel() > 1:
                self.row[f"circuit/{name}/gradient_variance"] = float(module.angles.grad.var())
            self.row[f"circuit/{name}/entanglement"] = _attention_entanglement(module)
            module.measuring = False
        # Before the weights move, as the step will see them.
        for name, group, perturbation in _perturbations(trainer):
            blocks = blocks_in_scope(group, scoped(_groups(trainer), group))
            executions += perturbation.registers([sum(view.numel() for view in block) for block in blocks])
            self.row[f"circuit/{name}/entanglement"] = perturbation.entanglement(blocks)
        self.row["circuit/executions"] = executions

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.row:
            log(trainer, {trainer.global_step: self.row}, check=False)
            self.row = {}

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
        """Empty where there is no circuit."""
        last = {name: float(values[-1]) for name, (_, values) in curves.items() if name.startswith("circuit/")}
        counts = {name: Ansatz(**place["ansatz"]).statistics() for name, place in self.places.items()}
        if len({tuple(each.values()) for each in counts.values()}) == 1:
            counts = {"": next(iter(counts.values()))}
        found = {
            f"circuit/{place}/{name}".replace("//", "/"): value
            for place, each in counts.items()
            for name, value in each.items()
        }
        return found | {name: value for name, value in last.items() if np.isfinite(value)}

    def notes(self) -> dict[str, Any]:
        """``circuits``: what each place has."""
        return {"circuits": self.places} if self.places else {}


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _perturbations(trainer: Trainer) -> Iterator[tuple[str, dict[str, Any], CircuitPerturbation]]:
    """The groups whose perturbation is a circuit, each with the name of its place."""
    for index, group in enumerate(groups := _groups(trainer)):
        if group.get("perturbation", "sine") != "sine":
            yield (
                "optimizer" if len(groups) == 1 else f"optimizer/group{index}",
                group,
                perturbation_from(group["perturbation"]),
            )


@torch.no_grad()
def _attention_entanglement(module: QuantumAttention) -> float:
    """Mean over heads and one turn of the score. Purities are polynomials of degree 2D in e^{ix}: 4D+1 points are exact."""
    angles_ALRQ = module.angles.double()
    points = 4 * module.ansatz.degree + 1
    x_K = torch.arange(points, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device) * (2 * torch.pi / points)
    return float(entanglement(module.ansatz, x_K[:, None], angles_ALRQ[:, None]).mean())
