"""What circuits do during training: their size, their entanglement, Phi beside the scores, errors, executions.

``CircuitStatistics`` covers whatever runs circuits: quantum attention (Pamuk et al. 2025, eqs. 3 to 5) and the optimizer's
circuit perturbation. It is silent where there is no circuit, but for the size of what stands in its place
(``attention.controls``).

What a backend answers is held to the exact circuit, which every width that is simulated here has. Nothing is executed for
it on a device. Shapes: A sets of angles, K nodes, J frequencies; L, R, Q as in ``Ansatz.angles_shape``.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from superpositional.attention import QuantumAttention
from superpositional.attention.inputs import wide
from superpositional.circuits import Ansatz, measures, portrait, series
from superpositional.circuits.backends import Exact
from superpositional.circuits.backends.aer import BASIS, Device
from superpositional.circuits.backends.exact import coefficients, compiles
from superpositional.circuits.measures import PAIRS, entanglement
from superpositional.optim.circuit_perturbation import CircuitPerturbation, is_circuit, perturbation_from
from superpositional.optim.term import in_blocks, leading, scoped
from superpositional.training.callbacks import Curve, Kept, integer, log, meets_scaled_gradients


class CircuitStatistics(Kept):
    """Numbers of every circuit, under ``circuit/<place>/``, where a place is a module's name or ``optimizer``.

    At the start, for attention ``certificate``: how far its Fourier series is from direct simulation on random scores. Per
    interval:

    - ``entanglement``: Meyer-Wallach, at the present angles over one turn of the score and all heads, or of the registers
      at the present weights;
    - ``phi_ratio``: root mean square of Phi, a circuit's or a control's, against that of the scores it is added to,
      Q K^T / sqrt(d_k);
    - ``gradient_variance``: variance over the angles, where they are trained, of the loss's gradient;
    - on a backend: ``phi_error``, ``phi_standard_error``, ``gradient_error`` of attention, and ``modulation_error`` of the
      optimizer where the backend is simulated here, for it executes anew;
    - ``circuit/executions``: circuits run in the step, gradients included, and on a backend ``circuit/shots`` and
      ``circuit/jobs``, calls of it.

    Summary: the last of each, and under ``circuit/`` (with the place if there are several circuits) its counts
    (``Ansatz.statistics``), ``expressibility`` with its ``expressibility_standard_error``, ``transpiled_depth`` and
    ``transpiled_two_qubit_gates``. Notes: ``circuits``, for each place the ansatz, the readout, the angles that do nothing,
    the variance of Phi's gradient at random angles (a barren plateau's sign), and how the summary's figures were found, or
    why one is missing; ``attention``, what each attention has in a circuit's place.

    Args:
        every_n_steps: how often, and at the last step; a measured one costs some milliseconds.
        pairs: of states, for the expressibility.
        basis, coupling, level: what to transpile for (``circuits.backends.aer.Device``).
    """

    KEPT = ("places", "controls")

    def __init__(
        self,
        *,
        every_n_steps: int = 50,
        pairs: int = PAIRS,
        basis: Sequence[str] = BASIS,
        coupling: str = "line",
        level: int = 1,
    ) -> None:
        self.every_n_steps = integer("every_n_steps", every_n_steps)
        self.pairs = integer("pairs", pairs, 2, f"{PAIRS} are usual")
        self.device = Device(basis, coupling, level)
        self.places: dict[str, dict[str, Any]] = {}
        self.attentions: dict[str, QuantumAttention] = {}
        self.controls: dict[str, dict[str, Any]] = {}
        self.measured_step, self.last_step = 0, math.inf
        self.row: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        modules = pl_module.named_modules()
        self.attentions = {name: module for name, module in modules if isinstance(module, QuantumAttention)}
        self.controls = {name: module.notes() for name, module in self.attentions.items() if not module.circuits}
        circuits = {name: module for name, module in self.attentions.items() if module.circuits}
        registers = list(_registers(trainer))
        described: dict[Any, dict[str, Any]] = {}
        for name, module in circuits.items():
            # Layers have one circuit as a rule, and describing it takes a while.
            key = module.ansatz, module.readout
            if key not in described:
                size = {"ansatz": module.ansatz.plain(), "readout": module.readout, "nodes": series.node_count(*key)}
                described[key] = size | measures.slopes(*key) | self._facts(trainer, module.ansatz)
            self.places[name] = described[key] | module.notes()
        for name, perturbation, *_ in registers:
            known = self._facts(trainer, perturbation.ansatz)
            self.places[name] = perturbation.plain() | {"method": perturbation.method} | known
        # Epochs' ends are not measured: of short epochs they would be most of what is, and most of what it costs.
        self.last_step = trainer.estimated_stepping_batches
        # Of a run's start: a resumed one has its certificate from there.
        if circuits and trainer.global_step == 0:
            exact = {name: each for name, each in circuits.items() if not each.on_device}
            log(trainer, {0: {f"circuit/{name}/certificate": each.certificate() for name, each in exact.items()}})
        if self.places and trainer.is_global_zero:
            first = [*circuits.values(), *(each.perturbation for each in registers)][0]
            portrait.write(Path(trainer.default_root_dir), first.ansatz, "scalar" if circuits else "register")

    def _facts(self, trainer: Trainer, ansatz: Ansatz) -> dict[str, Any]:
        # Only the process that keeps the record needs them.
        return measures.facts(ansatz, pairs=self.pairs, device=self.device) if trainer.is_global_zero else {}

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
            self.row |= {f"circuit/{name}": value for name, value in _attention_errors(on_device)}
        for index, (name, perturbation, blocks, _) in enumerate(_registers(trainer)):
            self.row[f"circuit/{name}/entanglement"] = perturbation.entanglement(blocks)
            if perturbation.backend.simulated and not isinstance(perturbation.backend, Exact) and blocks:
                call = trainer.global_step, index
                self.row[f"circuit/{name}/modulation_error"] = _modulation_error(perturbation, blocks, call)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Until the step's next batch: validation in between is none of it.
        for module in self.attentions.values():
            module.measuring = False
        if not self.row:
            return
        if self.places and trainer.global_step == self.measured_step:
            self.row |= self._counts(trainer)
        row = {name: value for name, value in self.row.items() if math.isfinite(value)}
        log(trainer, {trainer.global_step: row}, check=False)
        self.row = {}

    def _counts(self, trainer: Trainer) -> dict[str, float]:
        """Executions, shots and jobs of the step; the optimizer's registers are one job for each of their widths."""
        executions = shots = jobs = 0
        for module in self.attentions.values():
            own = module.statistics.get("executions", 0)
            executions += own
            if module.on_device:
                shots += own * (getattr(module.backend, "shots", None) or 0)
                jobs += module.statistics.get("jobs", 0)
        for _, perturbation, blocks, own in _registers(trainer):
            executions += own
            if not isinstance(perturbation.backend, Exact):
                jobs += len(perturbation.widths([sum(view.numel() for view in block) for block in blocks]))
                shots += own * (getattr(perturbation.backend, "shots", None) or 0)
        told = {name: value for name, value in (("circuit/shots", shots), ("circuit/jobs", jobs)) if value}
        return {"circuit/executions": executions} | told

    def summary(self, curves: Mapping[str, Curve], steps_per_epoch: int | None) -> dict[str, float]:
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
        found = {"circuits": self.places, "attention": self.controls}
        return {name: places for name, places in found.items() if places}


class _Registers(NamedTuple):
    """An optimizer's group whose perturbation is a circuit."""

    place: str
    perturbation: CircuitPerturbation
    blocks: list[list[Tensor]]  # the group's scalars in scope; those of a block share registers
    circuits: int  # simulated in the last step


def _registers(trainer: Trainer) -> Iterator[_Registers]:
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    told = [getattr(each, "statistics", None) or [{}] * len(each.param_groups) for each in trainer.optimizers]
    for index, (group, statistics) in enumerate(zip(groups, itertools.chain(*told), strict=True)):
        # Another optimizer may have a group setting of this name.
        if is_circuit(group.get("perturbation")):
            place = "optimizer" if len(groups) == 1 else f"optimizer/group{index}"
            blocks = in_blocks(group, [leading(parameter, count) for parameter, count in scoped(groups, group)])
            yield _Registers(place, perturbation_from(group["perturbation"]), blocks, statistics.get("circuits", 0))


@torch.no_grad()
def _attention_entanglement(module: QuantumAttention) -> float:
    """Mean over heads and one turn of the score: exact, for purities are trigonometric polynomials of degree 2D."""
    angles_ALRQ = module.angles.double()
    points = 2 * module.ansatz.degree + 1
    x_K = torch.arange(points, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device) * (2 * torch.pi / points)
    return float(entanglement(module.ansatz, x_K[:, None], angles_ALRQ[:, None]).mean())


def _attention_errors(modules: Mapping[str, QuantumAttention]) -> Iterator[tuple[str, float]]:
    """Of each module whose last pass ran on a backend, after its backward pass:

    - ``phi_error``: root mean square of the fitted Phi less the exact one, over one turn of the score and all heads;
    - ``phi_standard_error``: what the standard errors at the nodes predict for it; shots alone make them the same;
    - ``gradient_error``: how far the angles' gradient is from the exact one for the same gradient to Phi, in its norm.
    """
    exact: dict[int, list[tuple[str, Tensor]]] = {}
    for name, module in modules.items():
        if module.measured_coefficients is None or not compiles(module.ansatz):
            continue
        angles_ALRQ = module.angles.detach().double().requires_grad_()
        with torch.enable_grad():
            coefficients_A2J = coefficients(module.ansatz, module.readout, angles_ALRQ)
            if module.measured_gradient is not None:
                above_A2J = module.measured_gradient.double()
                (gradient,) = torch.autograd.grad(coefficients_A2J, angles_ALRQ, above_A2J)
                exact.setdefault(id(module.angles), []).append((name, gradient))
        difference_A2J = module.measured_coefficients.double() - coefficients_A2J.detach()
        yield f"{name}/phi_error", float(_mean_square(module, difference_A2J).sqrt())
        yield f"{name}/phi_standard_error", float(predicted(module))
    for shared in exact.values():
        # Layers that share their angles share their gradient.
        found = modules[shared[0][0]].angles.grad
        should = sum(gradient for _, gradient in shared)
        if found is not None and (norm := torch.linalg.vector_norm(should)) > 0:
            error = float(torch.linalg.vector_norm(wide(found).double() - should) / norm)
            yield from ((f"{name}/gradient_error", error) for name, _ in shared)


def predicted(module: QuantumAttention) -> Tensor:
    """Return the root mean square, over a turn of the score and over heads, of the standard error of Phi."""
    error_AK = module.node_error_AK.double()
    one_KK = torch.eye(error_AK.shape[1], dtype=error_AK.dtype, device=error_AK.device)
    share_K2J = series.fit(module.ansatz, module.readout, one_KK)
    size_K = torch.stack([_mean_square(module, each) for each in share_K2J[:, None]])
    return (error_AK.square() * size_K).sum(1).mean().sqrt()


def _modulation_error(perturbation: CircuitPerturbation, blocks: list[list[Tensor]], call: tuple[int, ...]) -> float:
    """Root mean square of the modulation less the exact one, over the scalars of these blocks; the step's own shots."""
    with torch.no_grad():
        found = torch.cat([each.flatten() for each in perturbation(blocks, call)])
        should = torch.cat([each.flatten() for each in replace(perturbation, backend=Exact())(blocks, call)])
    return float((found - should).square().mean().sqrt())


def _mean_square(module: QuantumAttention, coefficients_A2J: Tensor) -> Tensor:
    """Of a series over a turn (two, where its frequencies are half-integers), and over its sets: Parseval's identity."""
    doubled = series.doubled_frequencies(module.ansatz, module.readout)
    weight_J = coefficients_A2J.new_tensor([1.0 if twice == 0 else 0.5 for twice in doubled])
    return (coefficients_A2J.square().sum(-2) * weight_J).sum(-1).mean()
