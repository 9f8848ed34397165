"""The price of a config on a real device: circuit executions, shots and seconds, for a step and for an epoch.

In the naive way every score is a circuit (eq. 4 of Pamuk et al. 2025 as it reads); in ours a head is a few nodes whatever
the batch and the length (``circuits.series``). Counts are exact; seconds are an estimate from the device's own durations
and two assumptions, which are named.

A batch's circuits in attention, P angles, D gates that the score enters, T scores of a head and K nodes::

                     forward    gradients to angles and scores    to scores alone, angles frozen
    naive, per head  T          2 P T                             2 D T
    ours, per head   K          2 P K                             0, through the series

The score is added to angles, so the circuits that are shifted for these give its gradient too. The optimizer's registers
come once a step, of however many batches that is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from superpositional.attention import QuantumAttention
from superpositional.circuits import series
from superpositional.circuits.backends import Noisy
from superpositional.circuits.backends.aer import OnDevice, on_device
from superpositional.circuits.backends.gradients import circuits_of_gradient
from superpositional.circuits.readouts import is_amplitude
from superpositional.optim.circuit_perturbation import CircuitPerturbation, is_circuit, perturbation_from
from superpositional.optim.term import in_blocks, leading, scoped
from superpositional.seeds import drawing_from
from superpositional.training import config as configs

# Seconds between a job's arrival and its results beside the executions: a guess, for queues differ by orders of magnitude.
JOB_OVERHEAD = 2.0
# Seconds that a qubit is left to relax before the next shot: the default of IBM's devices (``default_rep_delay``).
REP_DELAY = 250e-6


class Way(NamedTuple):
    """One way to run circuits: executions for the values, further ones for their gradients, and calls of the device."""

    name: str
    forward: int = 0
    gradient: int = 0
    jobs: int = 0

    @property
    def executions(self) -> int:
        return self.forward + self.gradient

    def plus(self, forward: int, gradient: int, jobs: int) -> "Way":
        return Way(self.name, self.forward + forward, self.gradient + gradient, self.jobs + jobs)

    def times(self, count: int) -> "Way":
        return Way(self.name, count * self.forward, count * self.gradient, count * self.jobs)


@dataclass(frozen=True)
class Bill:
    """The price of a step on a device, and of an epoch."""

    ways: tuple[Way, ...]  # of a step: the naive one, where it is known, and ours
    shots: int  # of each execution
    device: OnDevice  # what the circuit is there, and how long it takes
    where: str  # the device in words
    steps: int | None  # of an epoch; None where the data do not say
    epoch: tuple[Way, ...] | None  # the same ways, of an epoch
    rep_delay: float = REP_DELAY  # seconds after each shot
    job_overhead: float = JOB_OVERHEAD  # assumed seconds of each job
    rep_delay_stated: bool = False  # by the device, so that it is not assumed
    shots_stated: bool = True  # by the backend, so that they are not assumed
    notes: tuple[str, ...] = ()  # what has to be said

    def seconds(self, way: Way) -> float | None:
        """Return the device's time; None where it states no durations."""
        if self.device.seconds is None:
            return None
        return way.executions * self.shots * (self.device.seconds + self.rep_delay) + way.jobs * self.job_overhead

    def plain(self) -> dict[str, Any]:
        """Return all of it in JSON's types; what is not known is None."""
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
        for name, forward, gradient, jobs in ways:
            counts = {"forward": forward, "gradient": gradient, "jobs": jobs, "shots": (forward + gradient) * self.shots}
            found[name] = counts | {"device_seconds": self.seconds(Way(name, forward, gradient, jobs))}
        return found

    def text(self) -> list[str]:
        """Return the bill in lines."""
        device = self.device
        lines = [
            f"On {self.where}: depth {device.depth}, two qubit gates {device.two_qubit_gates}, "
            + ("no durations stated" if device.seconds is None else f"{1e6 * device.seconds:,.2f} µs an execution"),
            *self.notes,
        ]
        if not any(way.executions for way in self.ways):
            return [*lines, "Nothing would run on it."]
        lines.append(
            f"Executions for {self.shots:,} shots each, {'' if self.shots_stated else 'assumed; '}evaluation not counted:"
        )
        rows = [("", "forward", "gradients", "jobs", "shots", "device time")]
        for period, ways in (("step", self._plain(self.ways)), ("epoch", self._plain(self.epoch or ()))):
            for name, (*counts, seconds) in ((name, way.values()) for name, way in ways.items()):
                time = "unknown" if seconds is None else duration(seconds)
                rows.append((f"{period}, {name}", *(f"{count:,}" for count in counts), time))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append(f"  {'  '.join([first.ljust(widths[0]), *cells])}")
        naive, ours = self.ways[0], self.ways[-1]
        if naive.executions != ours.executions:
            lines.append(f"Ours is 1/{naive.executions / ours.executions:,.0f} of the naive way's executions.")
        if self.epoch is None:
            lines.append("How many steps an epoch has, the data do not say.")
        between, assumed = f"{1e6 * self.rep_delay:g} µs between shots", f"{self.job_overhead:g} s a job; no queue."
        if self.rep_delay_stated:
            return [*lines, f"{between}, as the device states.", f"Assumed: {assumed}"]
        return [*lines, f"Assumed: {between} (IBM's default), {assumed}"]


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
    """Return the bill of a net and its optimizer, which may be on the meta device.

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
    if any(is_amplitude(each.readout) for each in attentions):
        notes.append(
            f"readout={attentions[0].readout} cannot be measured on a device: the bill is readout=z's, of the same circuit."
        )
    unknown = attentions and (batch is None or tokens is None)
    if unknown:
        notes.append(
            "The naive way is left out: the data state no batch_size and max_length, which the scores follow from."
        )
    if accumulate > 1:
        notes.append(f"A step is {accumulate} batches, as trainer.accumulate_grad_batches has it.")
    naive, ours, counted = Way("naive"), Way("ours"), set()
    for each in attentions:
        readout = "z" if is_amplitude(each.readout) else each.readout
        shifted = circuits_of_gradient(each.ansatz, readout) if each.angles.requires_grad else 0
        if not unknown:
            # Values and gradients of every layer, one after another.
            scores = batch * each.num_heads * tokens**2
            naive = naive.plus(scores, scores * (shifted or 2 * each.ansatz.degree), 2)
        # Layers that share their angles have their circuits run once, and all layers theirs in one job.
        if id(each.angles) not in counted:
            # An amplitude's series has fewer coefficients than that of z, which stands in for it.
            nodes = each.sets * max(each.nodes or 0, series.node_count(each.ansatz, readout))
            ours = ours.plus(nodes, nodes * shifted, 0)._replace(jobs=1)
            counted.add(id(each.angles))
    registers = list(_registers(optimizer))

    def of(batches: int, steps: int) -> tuple[Way, ...]:
        """Attention runs in every batch, the optimizer in every step."""
        ways = [way.times(batches) for way in ((ours,) if unknown else (naive, ours))]
        for count, jobs in registers:
            ways = [way.plus(steps * count, 0, steps * jobs) for way in ways]
        return tuple(ways)

    steps = None if batches is None else -(-batches // accumulate)
    epoch = None if batches is None else of(batches, steps)
    return Bill(of(accumulate, 1), shots, device, where, steps, epoch, notes=tuple(notes))


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use."""
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


def of_config(config: Mapping[str, Any]) -> Bill:
    """Return the bill of a checked config: on its backend's own device, or on Qiskit's generic one where it names none."""
    ansatz = configs.make("circuit", config["circuit"])()
    backend = configs.make("backend", config["backend"])()
    data = configs.make("data", config["data"])(seed=config["seed"])
    batch, rows = getattr(data, "batch_size", None), getattr(data, "n_train", None)
    with torch.device("meta"), drawing_from(config["seed"], "circuit"):
        net = configs.make("net", config["net"])()
        optimizer = configs.make("optimizer", config["optimizer"])(list(net.named_parameters()))
    target = getattr(backend, "target", lambda ansatz: None)(ansatz)
    level, shots = getattr(backend, "level", 1), getattr(backend, "shots", None)
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
        shots=shots or Noisy().shots,
        device=on_device(ansatz, target, level),
        where=f"{where}, {target.name}, transpiled at level {level}",
        accumulate=config["trainer"].get("accumulate_grad_batches", 1),
    )
    rep_delay = getattr(target, "default_rep_delay", None)
    stated = {} if rep_delay is None else {"rep_delay": rep_delay, "rep_delay_stated": True}
    return replace(found, shots_stated=shots is not None, **stated)
