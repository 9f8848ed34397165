"""What would a config cost on a real device?

Circuit executions, shots and seconds of a device, for a step and for an epoch: the naive way, in which every
score is a circuit (eq. 4 of Pamuk et al. 2025 as it reads), and ours, in which a head is a few nodes whatever the batch and
the length (``circuits.series``). Counts are exact; seconds are an estimate from the device's own durations and two
assumptions, which are said. Read by ``show``.

A batch's circuits in attention, P angles, D gates that the score enters, T scores of a head and K nodes::

                     forward    gradients to angles and scores    to scores alone, angles frozen
    naive, per head  T          2 P T                             2 D T
    ours, per head   K          2 P K                             0, through the series

The score is added to angles, so the circuits that are shifted for these give its gradient too. The optimizer's registers
come once a step, of however many batches that is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.optim import Optimizer

from superpositional.attention import QuantumAttention
from superpositional.circuits import series
from superpositional.circuits.backends.aer import OnDevice
from superpositional.circuits.backends.gradients import circuits_of_gradient
from superpositional.circuits.readouts import is_amplitude
from superpositional.optim.circuit_perturbation import CircuitPerturbation, is_circuit, perturbation_from
from superpositional.optim.term import in_blocks, leading, scoped

# Seconds between a job's arrival and its results beside the executions: a guess, for queues differ by orders of magnitude.
JOB_OVERHEAD = 2.0
# Seconds that a qubit is left to relax before the next shot: the default of IBM's devices (``default_rep_delay``).
REP_DELAY = 250e-6


@dataclass(frozen=True)
class Way:
    """One way to run the circuits of a step, or of an epoch.

    Attributes:
        name: ``"naive"`` or ``"ours"``.
        forward, gradient: executions: for the values, and further ones for their gradients.
        jobs: calls of the device.
    """

    name: str
    forward: int
    gradient: int
    jobs: int

    @property
    def executions(self) -> int:
        """All together."""
        return self.forward + self.gradient

    def times(self, count: int) -> "Way":
        """So often."""
        return replace(self, forward=count * self.forward, gradient=count * self.gradient, jobs=count * self.jobs)


@dataclass(frozen=True)
class Bill:
    """What a step costs on a device, and an epoch.

    Attributes:
        ways: the naive one, where it is known, and ours, of a step.
        shots: of each execution.
        device: what the circuit is there, and how long it takes.
        where: the device in words.
        steps: of an epoch; None where the data do not say.
        epoch: the same ways, of an epoch; None where the data do not say.
        rep_delay, job_overhead: assumed seconds, after each shot and of each job.
        rep_delay_stated: whether the device states the former, so that it is not assumed.
        shots_stated: whether the backend has shots, so that they are not.
        notes: what has to be said.
    """

    ways: tuple[Way, ...]
    shots: int
    device: OnDevice
    where: str
    steps: int | None
    epoch: tuple[Way, ...] | None
    rep_delay: float = REP_DELAY
    job_overhead: float = JOB_OVERHEAD
    rep_delay_stated: bool = False
    shots_stated: bool = True
    notes: tuple[str, ...] = ()

    def seconds(self, way: Way) -> float | None:
        """Of the device; None where it states no durations."""
        if self.device.seconds is None:
            return None
        return way.executions * self.shots * (self.device.seconds + self.rep_delay) + way.jobs * self.job_overhead

    def plain(self) -> dict[str, Any]:
        """All of it in JSON's types; what is not known is None."""
        return {
            "shots": self.shots,
            "device": {"name": self.where, **self.device._asdict()},
            "steps_per_epoch": self.steps,
            "rep_delay_seconds": self.rep_delay,
            "rep_delay_stated": self.rep_delay_stated,
            "job_overhead_seconds": self.job_overhead,
            "notes": list(self.notes),
            "per_step": self._plain(self.ways),
            "per_epoch": None if self.epoch is None else self._plain(self.epoch),
        }

    def _plain(self, ways: tuple[Way, ...]) -> dict[str, dict[str, Any]]:
        found = {}
        for way in ways:
            counts = {"forward": way.forward, "gradient": way.gradient, "jobs": way.jobs}
            found[way.name] = counts | {"shots": way.executions * self.shots, "device_seconds": self.seconds(way)}
        return found

    def text(self) -> list[str]:
        """The bill in lines."""
        device = self.device
        lines = [
            f"On {self.where}: depth {device.depth}, two qubit gates {device.two_qubit_gates}, "
            + ("no durations stated" if device.seconds is None else f"{1e6 * device.seconds:,.2f} µs an execution"),
            *self.notes,
        ]
        if not any(way.executions for way in self.ways):
            return [*lines, "Nothing would run on it."]
        head = ("", "forward", "gradients", "jobs", "shots", "device time")
        rows = [head]
        for period, ways in (("step", self.ways), ("epoch", self.epoch or ())):
            for way in ways:
                seconds = self.seconds(way)
                counts = (way.forward, way.gradient, way.jobs, way.executions * self.shots)
                time = "unknown" if seconds is None else duration(seconds)
                rows.append((f"{period}, {way.name}", *(f"{count:,}" for count in counts), time))
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        aligned = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        naive, ours = self.ways[0], self.ways[-1]
        between = f"{1e6 * self.rep_delay:g} µs between shots"
        assumed = "" if self.rep_delay_stated else f"{between} (IBM's default), "
        ratio = (
            f"Ours is 1/{naive.executions / ours.executions:,.0f} of the naive way's executions."
            if naive.executions != ours.executions
            else ""
        )
        return [
            *lines,
            f"Executions for {self.shots:,} shots each, {'' if self.shots_stated else 'assumed; '}evaluation not counted:",
            *(f"  {line}".rstrip() for line in aligned),
            *filter(None, [ratio]),
            *(["How many steps an epoch has, the data do not say."] if self.epoch is None else []),
            *([f"{between}, as the device states."] if self.rep_delay_stated else []),
            f"Assumed: {assumed}{self.job_overhead:g} s a job; no queue.",
        ]


def bill(
    net: torch.nn.Module,
    optimizer: Optimizer,
    *,
    batch: int | None,
    tokens: int | None,
    batches: int | None,
    shots: int,
    device: OnDevice,
    where: str,
    accumulate: int = 1,
) -> Bill:
    """The bill of a net and its optimizer, which may be on the meta device.

    Args:
        net: its ``QuantumAttention`` modules are counted.
        optimizer: its groups' circuit perturbations are.
        batch, tokens: sequences of a batch, and tokens of each, class token included; None where the data do not say, which
            leaves the naive way out.
        batches: of an epoch; None where the data do not say.
        shots: of each execution.
        device: what the circuit is on the device (``circuits.backends.aer.on_device``).
        where: the device in words.
        accumulate: batches of a step; an epoch's last step may have fewer.
    """
    attentions = [each for each in net.modules() if isinstance(each, QuantumAttention) and each.circuits]
    notes = []
    if attentions and any(is_amplitude(each.readout) for each in attentions):
        notes.append(
            f"readout={attentions[0].readout} cannot be measured on a device: the bill is readout=z's, of the same circuit."
        )
    unknown = attentions and (batch is None or tokens is None)
    if unknown:
        notes.append(
            "The naive way is left out: the data state no batch_size and max_length, which the scores follow from."
        )
    naive, ours = Way("naive", 0, 0, 0), Way("ours", 0, 0, 0)
    for each in [] if unknown else attentions:
        shifted = (
            circuits_of_gradient(each.ansatz, _measurable(each.readout))
            if each.angles.requires_grad
            else 2 * each.ansatz.degree
        )
        scores = batch * each.num_heads * tokens**2
        forward, gradient = scores, scores * shifted
        # Values and gradients of every layer, one after another.
        naive = replace(naive, forward=naive.forward + forward, gradient=naive.gradient + gradient, jobs=naive.jobs + 2)
    # Layers that share their angles have their circuits run once.
    for each in {id(each.angles): each for each in attentions}.values():
        shifted = circuits_of_gradient(each.ansatz, _measurable(each.readout)) if each.angles.requires_grad else 0
        # An amplitude's series has fewer coefficients than that of z, which stands in for it.
        nodes = each.sets * max(each.nodes or 0, series.node_count(each.ansatz, _measurable(each.readout)))
        ours = replace(ours, forward=ours.forward + nodes, gradient=ours.gradient + nodes * shifted, jobs=1)
    if accumulate > 1:
        notes.append(f"A step is {accumulate} batches, as trainer.accumulate_grad_batches has it.")
    registers = list(_registers(optimizer))

    def of(batches: int, steps: int) -> tuple[Way, ...]:
        """Attention runs in every batch, the optimizer in every step."""
        ways = [way.times(batches) for way in ((ours,) if unknown else (naive, ours))]
        for count, jobs in registers:
            ways = [replace(way, forward=way.forward + steps * count, jobs=way.jobs + steps * jobs) for way in ways]
        return tuple(ways)

    steps = None if batches is None else -(-batches // accumulate)
    epoch = None if batches is None else of(batches, steps)
    return Bill(of(accumulate, 1), shots, device, where, steps, epoch, notes=tuple(notes))


def duration(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, size in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"


def _registers(optimizer: Optimizer) -> Iterator[tuple[int, int]]:
    """The registers of each group's circuit and their jobs, one for each width: a block's last register may be shorter."""
    for group in optimizer.param_groups:
        if is_circuit(group.get("perturbation")) and group["quantum_weight"] != 0:
            perturbation: CircuitPerturbation = perturbation_from(group["perturbation"])
            views = [leading(each, count) for each, count in scoped(optimizer.param_groups, group)]
            sizes = [sum(view.numel() for view in block) for block in in_blocks(group, views)]
            yield perturbation.registers(sizes), len(perturbation.widths(sizes))


def _measurable(readout: str) -> str:
    return "z" if is_amplitude(readout) else readout


def of_config(config: Mapping[str, Any]) -> Bill:
    """The bill of a checked config: on its backend's own device, or on Qiskit's generic one where it names none."""
    from superpositional.circuits.backends import Noisy
    from superpositional.circuits.backends.aer import on_device
    from superpositional.seeds import drawing_from
    from superpositional.training import config as configs

    ansatz = configs.make("circuit", config["circuit"])()
    backend = configs.make("backend", config["backend"])()
    data = configs.make("data", config["data"])(seed=config["seed"])
    batch, rows = getattr(data, "batch_size", None), getattr(data, "n_train", None)
    accumulate = config["trainer"].get("accumulate_grad_batches", 1)
    with torch.device("meta"), drawing_from(config["seed"], "circuit"):
        net = configs.make("net", config["net"])()
        optimizer = configs.make("optimizer", config["optimizer"])(list(net.named_parameters()))
    target = getattr(backend, "target", lambda ansatz: None)(ansatz)
    level = getattr(backend, "level", 1)
    where = f"backend={backend.name}'s device"
    if target is None:
        target = Noisy().target(ansatz)
        where = f"Qiskit's generic device ({ansatz.n_qubits} qubits in a line), for backend={backend.name} names none"
    found = bill(
        net,
        optimizer,
        batch=batch,
        tokens=getattr(data, "max_length", None),
        batches=-(-rows // batch) if rows and batch else None,
        shots=getattr(backend, "shots", None) or Noisy().shots,
        device=on_device(ansatz, target, level),
        where=f"{where}, {target.name}, transpiled at level {level}",
        accumulate=accumulate,
    )
    rep_delay = getattr(target, "default_rep_delay", None)
    found = replace(found, shots_stated=getattr(backend, "shots", None) is not None)
    return found if rep_delay is None else replace(found, rep_delay=rep_delay, rep_delay_stated=True)
