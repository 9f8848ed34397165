"""The backends behind Qiskit that Aer simulates, and what a circuit is on a device.

All circuits of a call, the shifted ones of a gradient too, are one job: one circuit with an array of angles. Equal ones are
run once, in an order that follows from their angles, so that neither a seed's counts nor anything else depends on places in
a batch. ``primitives`` has the real devices. Qiskit comes with the first call.

Shapes: B circuits, U different ones; P angles of each; C numbers of each.
"""

import abc
import importlib
import importlib.util
import logging
import math
import numbers
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends import base
from superpositional.circuits.backends.base import Backend, BackendError, Estimate

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.providers import BackendV2
    from qiskit.transpiler import CouplingMap

METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state", "stabilizer", "tensor_network")
GENERIC = "generic"
RUNTIME = "qiskit_ibm_runtime"
INSTALL = "pip install '.[ibm]'"
# A projector is a sum of 2**Q Paulis.
PROJECTED = 10
BASIS = ("rz", "sx", "x", "cx")
COUPLINGS = ("line", "ring", "full")
# Of the transpiler's own dice: where it tries layouts, the same ones every time.
SEED = 0

GO_ON = "; a run that has kept a checkpoint goes on from it by `superpositional train resume=ITS_FOLDER`"
OWN = (ValueError, TypeError, MemoryError, ImportError, Warning)
told = logging.getLogger("superpositional")


class Call(NamedTuple):
    """What one job runs: a circuit at an array of angles."""

    ansatz: Ansatz
    values_UP: np.ndarray
    readout: str
    total: bool
    shots: int | None
    seed: int | None


@dataclass(frozen=True, eq=False, kw_only=True)
class JobBackend(Backend):
    """One job for a call, equal circuits once, and another attempt where a job fails.

    Args:
        retries, backoff: a failed job is sent again so often, after so many seconds, doubled each time.

    Attributes:
        takes_seeds: whether its shots follow from a seed.
        estimates: whether it gives expectation values, not counts.
    """

    retries: int = 3
    backoff: float = 1.0
    takes_seeds = True
    estimates = False

    @abc.abstractmethod
    def job(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors, ``(U, C)``."""

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        if self.stochastic and self.takes_seeds and seed is None:
            raise ValueError(f"seed must be given with shots={self.shots}, got None")
        # Zeros of one sign: equal angles are equal.
        values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True) + 0.0
        values_UP, place_B = np.unique(values_BP, axis=0, return_inverse=True)
        found = self._attempts(Call(ansatz, values_UP, readout, total, self.shots, seed))
        return Estimate(*(torch.from_numpy(np.ascontiguousarray(each[place_B])).to(gate_angles_BLRQ) for each in found))

    def target(self, ansatz: Ansatz) -> "BackendV2 | None":
        """The device whose gates and coupling map circuits are transpiled to; None if they run as they are written."""
        return None

    def refusal(self, ansatz: Ansatz, readout: str) -> str | None:
        if wrong := super().refusal(ansatz, readout):
            return wrong
        if self.estimates and readout != "z" and ansatz.n_qubits > PROJECTED:
            return (
                f"readout={readout} takes 2**n_qubits Paulis of an estimator, got n_qubits={ansatz.n_qubits} > {PROJECTED}"
                f"; choose readout=z, or {'give shots' if self.shots is None else 'a sampler'}"
            )
        # A real device is not asked before a job.
        device = self.target(ansatz) if self.simulated else None
        if device is not None and ansatz.n_qubits > device.num_qubits:
            has = f"backend={self.name}'s device has, {device.num_qubits}"
            return f"n_qubits={ansatz.n_qubits} is more than {has}; choose a wider one"
        return None

    def mistakes(self, *, exact: bool = False) -> list[str | None]:
        """What is wrong with the arguments that all have; ``exact``: shots may be None."""
        found = [
            base.bad_integer("shots", self.shots, 1, "; None is exact" * exact, optional=exact),
            base.bad_integer("retries", self.retries, 0, "; 0 gives up at the first failure"),
        ]
        seconds = self.backoff
        if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real) or not 0 <= seconds < math.inf:
            found.append(f"backoff must be a number of seconds >= 0, got {seconds!r}; it doubles with each attempt")
        if not isinstance(options := getattr(self, "options", {}), Mapping):
            found.append(f"options must be a mapping, got {options!r}")
        return found

    def _attempts(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        for attempt in range(self.retries + 1):
            try:
                return self.job(call)
            except Exception as error:  # a provider raises what it likes
                # Of the caller's own making, and the same next time; not an answer that was garbled on its way, which is a
                # ValueError and an OSError.
                if isinstance(error, OWN) and (isinstance(error, ImportError) or not isinstance(error, OSError)):
                    raise
                why = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
                if attempt == self.retries:
                    times = f"{self.retries + 1} times" if self.retries else "and was to be tried once (retries=0)"
                    raise BackendError(f"backend={self.name} failed {times}, at last with {why}{GO_ON}") from error
                wait = self.backoff * 2**attempt
                again = f"attempt {attempt + 2} of {self.retries + 1} in {wait:g} s"
                told.warning(f"backend={self.name} failed with {why}; {again}")
                time.sleep(wait)


@dataclass(frozen=True, eq=False)
class Aer(JobBackend):
    """Qiskit's ``AerSimulator``: exact or with shots, with or without depolarising noise, wide circuits too.

    Args:
        shots: how often each circuit is measured; None is exact (Aer's EstimatorV2 at precision 0).
        method: Aer's: ``"statevector"``, ``"density_matrix"``, which has exact values of noisy circuits,
            ``"matrix_product_state"``, for many qubits of little entanglement, ...
        device: ``"CPU"`` or ``"GPU"`` (an Aer built for it: the package qiskit-aer-gpu).
        one_qubit, two_qubit, readout_error: the noise, as ``Depolarizing`` has it.
    """

    shots: int | None = None
    method: str = "statevector"
    device: str = "CPU"
    one_qubit: float = 0.0
    two_qubit: float = 0.0
    readout_error: float = 0.0

    def __post_init__(self) -> None:
        mistakes = [*base.bad_rates(self), *self.mistakes(exact=True)]
        if self.method not in METHODS:
            mistakes.append(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.device not in ("CPU", "GPU"):
            mistakes.append(f"device must be CPU or GPU, got {self.device!r}")
        if self.shots is None and not any(mistakes):
            if rate := self.readout_error:
                mistakes.append(f"readout_error={rate} needs shots here, got None; backend=depolarizing has it exactly")
            if (self.one_qubit or self.two_qubit) and (way := self.method) != "density_matrix":
                mistakes.append(f"method={way} has no exact values of noisy circuits; choose density_matrix, or give shots")
        if self.device == "GPU" and not any(mistakes):
            from superpositional.circuits.backends.qiskit import AerSimulator

            if "GPU" not in (devices := AerSimulator().available_devices()):
                has = f"this Aer's ({', '.join(devices)})"
                mistakes.append(f"device=GPU is not among {has}; install qiskit-aer-gpu, or choose device=CPU")
        base.refuse(mistakes)

    @property
    def estimates(self) -> bool:
        return self.shots is None

    def job(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        from superpositional.circuits.backends import qiskit

        model = qiskit.noise_model(self.one_qubit, self.two_qubit, self.readout_error)
        options = {"method": self.method, "device": self.device} | ({} if model is None else {"noise_model": model})
        if self.shots is None:
            return qiskit.by_primitive(qiskit.aer_estimator(options), call)
        return qiskit.aer_counts(call, options)


@dataclass(frozen=True, eq=False)
class Noisy(JobBackend):
    """A whole device imitated by Aer: its gates, coupling map, durations' and calibrations' noise.

    Args:
        device: ``"generic"``, Qiskit's made-up ``GenericBackendV2``, its qubits in a line; or one of qiskit-ibm-runtime's
            snapshots of real ones, as ``FakeManilaV2``.
        n_qubits: of the generic device; None is as many as the circuit has.
        calibration: the seed of the generic device's noise.
        level: Qiskit's ``optimization_level`` of the transpilation, 0 to 3.
        shots: how often each circuit is measured.
    """

    device: str = GENERIC
    n_qubits: int | None = None
    calibration: int = 0
    level: int = 1
    shots: int = 1024

    def __post_init__(self) -> None:
        mistakes = [
            *self.mistakes(),
            base.bad_level(self.level),
            base.bad_integer("n_qubits", self.n_qubits, 1, optional=True),
            base.bad_integer("calibration", self.calibration, 0),
        ]
        if self.device != GENERIC:
            mistakes.append(bad_snapshot("device", self.device))
            if self.n_qubits is not None:
                mistakes.append(f"n_qubits is of device=generic, got n_qubits={self.n_qubits} and device={self.device}")
        base.refuse(mistakes)

    def target(self, ansatz: Ansatz) -> "BackendV2":
        from superpositional.circuits.backends.qiskit import generic_device

        if self.device != GENERIC:
            return snapshot(self.device)
        return generic_device(self.n_qubits or ansatz.n_qubits, self.calibration)

    def job(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        from superpositional.circuits.backends.qiskit import aer_counts

        return aer_counts(call, {}, self.target(call.ansatz), self.level)


@lru_cache(maxsize=8)
def snapshot(name: str) -> "BackendV2":
    return getattr(importlib.import_module(f"{RUNTIME}.fake_provider"), name)()


def bad_snapshot(key: str, name: Any) -> str | None:
    """What is wrong with the name of a fake device."""
    if importlib.util.find_spec(RUNTIME) is None:
        other = f"device={GENERIC}" if key == "device" else "backend=noisy"
        return f"{key}={name} comes with qiskit-ibm-runtime, which is not installed: {INSTALL}; or choose {other}"
    provider = importlib.import_module(f"{RUNTIME}.fake_provider")
    known = [each for each in dir(provider) if each.startswith("Fake") and "Provider" not in each]
    if name not in known:
        return f"{key} must be one of qiskit-ibm-runtime's fake devices, got {name!r}; it has {', '.join(known)}"
    return None


@dataclass(frozen=True)
class Device:
    """What to transpile a circuit for.

    Args:
        basis: names of its gates, as Qiskit has them; the default is that of IBM's devices up to 2023.
        coupling: between which qubits two-qubit gates can be: ``"line"``, neighbours, as many qubits as the circuit has;
            ``"ring"``, the same and the ends; ``"full"``, all.
        level: Qiskit's ``optimization_level``, 0 to 3; 1 is the lowest that looks for a layout.
    """

    basis: Sequence[str] = BASIS
    coupling: str = "line"
    level: int = 1

    def __post_init__(self) -> None:
        mistakes = [base.bad_level(self.level)]
        listed = isinstance(self.basis, Sequence) and not isinstance(self.basis, str)
        if not listed or not self.basis or not all(isinstance(name, str) for name in self.basis):
            mistakes.append(f"basis must be a list of names of gates, got {self.basis!r}; try [{', '.join(BASIS)}]")
        if self.coupling not in COUPLINGS:
            mistakes.append(f"coupling must be one of {', '.join(COUPLINGS)}, got {self.coupling!r}")
        base.refuse(mistakes)
        object.__setattr__(self, "basis", tuple(self.basis))
        if self.basis != BASIS:
            # Asked now, before anything trains: a circuit with every gate there is.
            transpiled(Ansatz(n_qubits=2, depth=1, rotations=("rx", "ry", "rz")), self)


class OnDevice(NamedTuple):
    """Counts of the circuit on a device, before the measurement, and ``seconds`` of one execution, measurement included, by
    the device's own durations; None where it states none."""

    depth: int
    two_qubit_gates: int
    seconds: float | None = None


def transpiled(ansatz: Ansatz, device: Device) -> OnDevice:
    """The ansatz with free angles; the same every time, with one release of Qiskit."""
    from qiskit.transpiler import TranspilerError, generate_preset_pass_manager

    coupling = coupling_map(device.coupling, ansatz.n_qubits)
    basis, level = list(device.basis), device.level
    try:
        passes = generate_preset_pass_manager(level, basis_gates=basis, coupling_map=coupling, seed_transpiler=SEED)
        circuit = passes.run(ansatz.to_qiskit())
    except (TranspilerError, ValueError) as error:
        why = f"got {basis} ({str(error).splitlines()[0]}); try [{', '.join(BASIS)}]"
        raise ValueError(f"basis must make h, cx and every rotation, {why}") from None
    return _counts(circuit)


def on_device(ansatz: Ansatz, device: "BackendV2", level: int = 1) -> OnDevice:
    """The ansatz on a device of Qiskit's, real or imitated; the same every time, with one release of Qiskit."""
    from qiskit.circuit import ClassicalRegister
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import generate_preset_pass_manager

    if ansatz.n_qubits > device.num_qubits:
        has = f"{device.name} has, {device.num_qubits}"
        raise ValueError(f"n_qubits={ansatz.n_qubits} is more than {has}; choose a wider one")
    passes = generate_preset_pass_manager(level, backend=device, seed_transpiler=SEED)
    measured = ansatz.to_qiskit()
    measured.add_register(ClassicalRegister(ansatz.n_qubits))
    measured.measure(range(ansatz.n_qubits), range(ansatz.n_qubits))
    circuit, whole = passes.run([ansatz.to_qiskit(), measured])
    try:
        seconds = whole.estimate_duration(device.target, "s")
    except QiskitError:
        seconds = None  # of a gate without a duration: nothing is known of the sum
    return _counts(circuit)._replace(seconds=seconds)


def _counts(circuit: "QuantumCircuit") -> OnDevice:
    return OnDevice(circuit.depth(), sum(len(each.qubits) == 2 for each in circuit.data))


def coupling_map(coupling: str, n_qubits: int) -> "CouplingMap | None":
    """Between which qubits there are two-qubit gates, in both directions; None is between all."""
    from qiskit.transpiler import CouplingMap

    if coupling == "full":
        return None
    ring = coupling == "ring" and n_qubits > 2  # two qubits, or one, have no other end
    return CouplingMap.from_ring(n_qubits) if ring else CouplingMap.from_line(n_qubits)
