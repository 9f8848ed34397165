"""What did the circuits do during training?

A callback for whatever runs circuits: quantum attention (Pamuk et al. 2025, eqs. 3 to 5) and the optimizer's circuit
perturbation. Their size, their entanglement, how large Phi is beside the scores, how often a circuit was run. Logged and
summed up for W&B and the record alike; silent where there is no circuit, but for the size of what stands in its place
(``attention_controls``). Read by train.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from superpositional.attention import QuantumAttention
from superpositional.circuits import Ansatz, measures, portrait, series
from superpositional.circuits.backends import Exact
from superpositional.circuits.backends.aer import BASIS, Device
from superpositional.circuits.measures import PAIRS, entanglement
from superpositional.optim.circuit_perturbation import CircuitPerturbation, is_circuit, perturbation_from
from superpositional.optim.term import in_blocks, leading, scoped
from superpositional.training import circuit_errors
from superpositional.training.callbacks import Curve, meets_scaled_gradients
from superpositional.training.curves import interval, log


class CircuitStatistics(Callback):
    """Numbers of every circuit, under ``circuit/<place>/``, where a place is a module's name or ``optimizer``.

    At the start, for attention ``certificate``: how far its Fourier series is from direct simulation on random scores. Per
    interval:

    - ``entanglement``: Meyer-Wallach, at the present angles over one turn of the score and all heads, or of the registers
      at the present weights;
    - ``phi_ratio``: root mean square of Phi, a circuit's or a control's, against that of the scores it is added to,
      Q K^T / sqrt(d_k);
    - ``gradient_variance``: variance over the angles, where they are trained, of the loss's gradient;
    - on a backend: ``phi_error``, ``phi_standard_error``, ``gradient_error`` of attention (``circuit_errors``), and
      ``modulation_error`` of the optimizer where the backend is simulated here, for it executes anew;
    - ``circuit/executions``: circuits run in the step, gradients included, and on a backend ``circuit/shots`` and
      ``circuit/jobs``, calls of it.

    Summary: the last of each, and under ``circuit/`` (with the place if there are several circuits) its counts
    (``Ansatz.statistics``), ``expressibility`` with its ``expressibility_standard_error``, ``transpiled_depth`` and
    ``transpiled_two_qubit_gates``. ``notes``: for each place the ansatz, the readout, the angles that do nothing, the
    variance of Phi's gradient at random angles (a barren plateau's sign), and how the summary's figures were found, or why
    one is missing; and of an attention whose Phi no circuit gives, what does.

    What does not change in training is found out once per machine (``circuits.measures.facts``), with dice of its own.

    Args:
        every_n_steps: how often, and at the last step; a measured one costs some milliseconds.
        pairs: of states, for the expressibility.
        basis, coupling, level: what to transpile for (``circuits.backends.aer.Device``).
    """

    def __init__(
        self,
        *,
        every_n_steps: int = 50,
        pairs: int = PAIRS,
        basis: Sequence[str] = BASIS,
        coupling: str = "line",
        level: int = 1,
    ) -> None:
        self.every_n_steps = interval(every_n_steps)
        if isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 2:
            raise ValueError(f"pairs must be an integer >= 2, got {pairs!r}; {PAIRS} are usual")
        self.pairs, self.device = pairs, Device(basis, coupling, level)
        self.places: dict[str, dict[str, Any]] = {}
        self.attentions: dict[str, QuantumAttention] = {}
        self.controls: dict[str, dict[str, Any]] = {}
        self.measured_step, self.last_step = 0, math.inf
        self.row: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        modules = pl_module.named_modules()
        self.attentions = {name: module for name, module in modules if isinstance(module, QuantumAttention)}
        described: dict[Any, dict[str, Any]] = {}
        self.controls = {name: module.notes() for name, module in self.attentions.items() if not module.circuits}
        circuits = {name: module for name, module in self.attentions.items() if module.circuits}
        for name, module in circuits.items():
            # Layers have one circuit as a rule, and describing it takes a while.
            key = module.ansatz, module.readout
            if key not in described:
                described[key] = {
                    "ansatz": module.ansatz.plain(),
                    "readout": module.readout,
                    "nodes": series.node_count(*key),
                    **measures.slopes(*key),
                    **self._facts(trainer, module.ansatz),
                }
            self.places[name] = described[key] | module.notes()
        for name, _, perturbation in _perturbations(trainer):
            known = self._facts(trainer, perturbation.ansatz)
            self.places[name] = perturbation.plain() | {"method": perturbation.method} | known
        # Epochs' ends are not measured: of short epochs they would be most of what is, and most of what it costs.
        self.last_step = trainer.estimated_stepping_batches
        # Of a run's start: a resumed one has its certificate from there.
        if circuits and trainer.global_step == 0:
            exact = {name: each for name, each in circuits.items() if not each.on_device}
            log(trainer, {0: {f"circuit/{name}/certificate": each.certificate() for name, each in exact.items()}})
        if self.places and trainer.is_global_zero:
            ansatz = [module.ansatz for module in circuits.values()]
            ansatz += [perturbation.ansatz for _, _, perturbation in _perturbations(trainer)]
            portrait.write(Path(trainer.default_root_dir), ansatz[0], "scalar" if circuits else "register")

    def _facts(self, trainer: Trainer, ansatz: Ansatz) -> dict[str, Any]:
        if not trainer.is_global_zero:
            return {}  # who keeps no record needs none
        return measures.facts(ansatz, pairs=self.pairs, device=self.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # The step that this batch is part of, also if it only accumulates gradients towards it.
        step = trainer.global_step + 1
        due = bool(self.places or self.controls) and (step % self.every_n_steps == 0 or step == self.last_step)
        for module in self.attentions.values():
            if due and self.measured_step != step:
                module.statistics = {}
                module.measured_coefficients = module.measured_gradient = None
            module.measuring = due
        self.measured_step = step if due else 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not self.measured_step:
            return
        # Weights and angles as the step will see them; gradients before clipping.
        scaled = meets_scaled_gradients(trainer, optimizer)
        for name, module in self.attentions.items():
            module.measuring = False
            # A module may not have been called in this step.
            if sums := module.statistics:
                if sums["scores"]:
                    ratio = sums["phi_squares"] / sums["score_squares"]
                    self.row[f"circuit/{name}/phi_ratio"] = math.sqrt(float(ratio))
                if module.circuits:
                    self.row[f"circuit/{name}/entanglement"] = _attention_entanglement(module)
            if module.circuits and module.angles.grad is not None and module.angles.numel() > 1 and not scaled:
                self.row[f"circuit/{name}/gradient_variance"] = float(module.angles.grad.var())
        if not scaled:
            on_device = {name: module for name, module in self.attentions.items() if module.on_device}
            self.row |= {f"circuit/{name}": value for name, value in circuit_errors.of_attention(on_device)}
        groups = _groups(trainer)
        for index, (name, group, perturbation) in enumerate(_perturbations(trainer)):
            blocks = in_blocks(group, [leading(parameter, count) for parameter, count in scoped(groups, group)])
            self.row[f"circuit/{name}/entanglement"] = perturbation.entanglement(blocks)
            if perturbation.backend.simulated and not isinstance(perturbation.backend, Exact) and blocks:
                call = trainer.global_step, index
                self.row[f"circuit/{name}/modulation_error"] = circuit_errors.of_modulation(perturbation, blocks, call)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Until the step's next batch: validation in between is none of it.
        for module in self.attentions.values():
            module.measuring = False
        if not self.row:
            return
        if self.places and trainer.global_step == self.measured_step:
            by_attention = sum(module.statistics.get("executions", 0) for module in self.attentions.values())
            by_optimizer = sum(_circuits(group, trainer) for _, group, _ in _perturbations(trainer))
            self.row["circuit/executions"] = by_attention + by_optimizer
            self.row |= self._of_backends(trainer)
        row = {name: value for name, value in self.row.items() if math.isfinite(value)}
        log(trainer, {trainer.global_step: row}, check=False)
        self.row = {}

    def _of_backends(self, trainer: Trainer) -> dict[str, float]:
        """Shots and jobs of the step; the optimizer's registers are one job for each of their widths."""
        shots = jobs = 0
        for module in self.attentions.values():
            if module.on_device:
                shots += module.statistics.get("executions", 0) * (getattr(module.backend, "shots", None) or 0)
                jobs += module.statistics.get("jobs", 0)
        groups = _groups(trainer)
        for _, group, perturbation in _perturbations(trainer):
            if not isinstance(perturbation.backend, Exact):
                blocks = in_blocks(group, [leading(parameter, count) for parameter, count in scoped(groups, group)])
                jobs += len(perturbation.widths([sum(view.numel() for view in block) for block in blocks]))
                shots += _circuits(group, trainer) * (getattr(perturbation.backend, "shots", None) or 0)
        return {name: value for name, value in (("circuit/shots", shots), ("circuit/jobs", jobs)) if value}

    def state_dict(self) -> dict[str, Any]:
        return {"places": self.places, "controls": self.controls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.places, self.controls = state_dict["places"], state_dict.get("controls", {})

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
        """Empty where there is no circuit."""
        last = {name: float(values[-1]) for name, (_, values) in curves.items() if name.startswith("circuit/")}
        counts = {
            name: Ansatz(**place["ansatz"]).statistics() | measures.figures(place) for name, place in self.places.items()
        }
        if len({tuple(each.values()) for each in counts.values()}) == 1:
            counts = {"": next(iter(counts.values()))}
        found = {
            f"circuit/{place}/{name}".replace("//", "/"): value
            for place, each in counts.items()
            for name, value in each.items()
        }
        return found | last

    def notes(self) -> dict[str, Any]:
        """``circuits``: what each place has; ``attention``: what each attention has in a circuit's place."""
        found = {"circuits": self.places, "attention": self.controls}
        return {name: places for name, places in found.items() if places}


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _circuits(group: dict[str, Any], trainer: Trainer) -> int:
    """How many circuits the last step simulated for a group."""
    (optimizer,) = (each for each in trainer.optimizers if any(own is group for own in each.param_groups))
    (index,) = (index for index, own in enumerate(optimizer.param_groups) if own is group)
    return optimizer.statistics[index].get("circuits", 0)


def _perturbations(trainer: Trainer) -> Iterator[tuple[str, dict[str, Any], CircuitPerturbation]]:
    """The groups whose perturbation is a circuit, each with the name of its place."""
    for index, group in enumerate(groups := _groups(trainer)):
        # Another optimizer may have a group setting of this name.
        if is_circuit(group.get("perturbation")):
            place = "optimizer" if len(groups) == 1 else f"optimizer/group{index}"
            yield place, group, perturbation_from(group["perturbation"])


@torch.no_grad()
def _attention_entanglement(module: QuantumAttention) -> float:
    """Mean over heads and one turn of the score: exact, for purities are trigonometric polynomials of degree 2D."""
    angles_ALRQ = module.angles.double()
    points = 2 * module.ansatz.degree + 1
    x_K = torch.arange(points, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device) * (2 * torch.pi / points)
    return float(entanglement(module.ansatz, x_K[:, None], angles_ALRQ[:, None]).mean())
