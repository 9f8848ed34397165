"""Which devices can be imitated?

Everything behind Qiskit. Here those that Aer simulates: ``Aer``, with noise and methods of its choice, and ``Noisy``, a
whole device imitated, its gates and its coupling map too; ``primitives`` has the real ones. All circuits of a call, the
shifted ones of a gradient too, are one job: one circuit with an array of angles. Equal ones are run once, in an order that
follows from their angles, so that neither a seed's counts nor anything else depends on places in a batch.

Shapes: B circuits, U different ones; P angles of each; C numbers of each.
"""

import abc
import importlib
import importlib.util
import logging
import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.base import (
    Backend,
    BackendError,
    Capabilities,
    Estimate,
    bad_rate,
    bad_shots,
    counted,
    refuse,
)
from superpositional.circuits.readouts import basis_states

if TYPE_CHECKING:
    from qiskit.providers import BackendV2

METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state", "stabilizer", "tensor_network")
GENERIC = "generic"
RUNTIME = "qiskit_ibm_runtime"
INSTALL = "pip install '.[ibm]'"
# A projector is a sum of 2**Q Paulis.
PROJECTED = 10

GO_ON = "; a run that has kept a checkpoint goes on from it by `superpositional train resume=ITS_FOLDER`"

OWN = (ValueError, TypeError, MemoryError, ImportError, Warning)

told = logging.getLogger("superpositional")


class Device(Backend):
    """What all of them share: one job for a call, equal circuits once, and another attempt where a job fails.

    A dataclass of it has ``retries``, how often a failed job is sent again, and ``backoff``, the seconds before that,
    doubled each time.
    """

    retries: int
    backoff: float

    @abc.abstractmethod
    def job(
        self, ansatz: Ansatz, values_UP: np.ndarray, readout: str, *, total: bool, seed: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors, ``(U, C)``."""

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        if self.stochastic and self.takes_seeds and seed is None:
            raise ValueError(f"seed must be given with shots={self.shots}, got None")
        # Zeros of one sign: equal angles are equal.
        values_BP = gate_angles_BLRQ.flatten(1).double().numpy(force=True) + 0.0
        values_UP, place_B = np.unique(values_BP, axis=0, return_inverse=True)
        found = self._again_and_again(lambda: self.job(ansatz, values_UP, readout, total=total, seed=seed))
        return Estimate(*(torch.from_numpy(np.ascontiguousarray(each[place_B])).to(gate_angles_BLRQ) for each in found))

    @property
    def takes_seeds(self) -> bool:
        """Whether its shots follow from a seed."""
        return True

    def target(self, ansatz: Ansatz) -> "BackendV2 | None":
        """The device whose gates and coupling map circuits are transpiled to; None if they run as they are written."""
        return None

    def _again_and_again(self, job: Callable[[], Any]) -> Any:
        for attempt in range(self.retries + 1):
            try:
                return job()
            # A provider raises what it likes: its own errors, those of its network library, those of its queue.
            except Exception as error:
                # Of the caller's own making, and the same next time; not an answer that was garbled on its way, which is a
                # ValueError and an OSError.
                if isinstance(error, OWN) and (isinstance(error, ImportError) or not isinstance(error, OSError)):
                    raise
                why = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
                if attempt == self.retries:
                    times = f"{self.retries + 1} times" if self.retries else "and was to be tried once (retries=0)"
                    raise BackendError(f"backend={self.name} failed {times}, at last with {why}{GO_ON}") from error
                wait = self.backoff * 2**attempt
                told.warning(
                    f"backend={self.name} failed with {why}; attempt {attempt + 2} of {self.retries + 1} in {wait:g} s"
                )
                time.sleep(wait)


def bad_attempts(device: Device) -> list[str | None]:
    """What is wrong with the settings that all devices have."""
    retries, backoff = device.retries, device.backoff
    return [
        None
        if isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0
        else f"retries must be an integer >= 0, got {retries!r}; 0 gives up at the first failure",
        None
        if isinstance(backoff, numbers.Real) and not isinstance(backoff, bool) and 0 <= backoff < math.inf
        else f"backoff must be a number of seconds >= 0, got {backoff!r}; it doubles with each attempt",
    ]


def bad_level(level: Any) -> str | None:
    if isinstance(level, bool) or level not in range(4):
        return f"level must be 0, 1, 2 or 3, got {level!r}; 1 is the default"
    return None


@dataclass(frozen=True, eq=False)
class Aer(Device):
    """Qiskit's ``AerSimulator``: exact or with shots, with or without depolarising noise, wide circuits too.

    Args:
        shots: how often each circuit is measured; None is exact (Aer's EstimatorV2 at precision 0).
        method: Aer's: ``"statevector"``, ``"density_matrix"``, which holds noise exactly, ``"matrix_product_state"``, for
            many qubits of little entanglement, ...
        device: ``"CPU"`` or ``"GPU"`` (an Aer built for it: the package qiskit-aer-gpu).
        one_qubit, two_qubit, readout_error: the noise, as ``Depolarizing`` has it. Exact values of noisy circuits take
            ``method="density_matrix"``.
        retries, backoff: a failed job is sent again so often, after so many seconds, doubled each time.

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
    """

    shots: int | None = None
    method: str = "statevector"
    device: str = "CPU"
    one_qubit: float = 0.0
    two_qubit: float = 0.0
    readout_error: float = 0.0
    retries: int = 3
    backoff: float = 1.0

    capabilities = Capabilities(
        "probability, z", "optional", "depolarising, readout (with shots)", "parameter shift", "yes", "Aer: CPU, GPU"
    )

    def __post_init__(self) -> None:
        mistakes = [bad_rate(name, getattr(self, name)) for name in ("one_qubit", "two_qubit", "readout_error")]
        mistakes += [bad_shots(self.shots, optional=True), *bad_attempts(self)]
        if self.method not in METHODS:
            mistakes.append(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.device not in ("CPU", "GPU"):
            mistakes.append(f"device must be CPU or GPU, got {self.device!r}")
        if self.shots is None and not any(mistakes):
            if self.readout_error:
                mistakes.append(
                    f"readout_error={self.readout_error} needs shots here, got None; backend=depolarizing has it exactly"
                )
            if (self.one_qubit or self.two_qubit) and self.method != "density_matrix":
                mistakes.append(
                    f"method={self.method} has no exact values of noisy circuits; choose density_matrix, or give shots"
                )
        if self.device == "GPU" and not any(mistakes):
            from superpositional.circuits.backends.qiskit import AerSimulator

            if "GPU" not in (has := AerSimulator().available_devices()):
                mistakes.append(
                    f"device=GPU is not among this Aer's ({', '.join(has)}); install qiskit-aer-gpu, or choose device=CPU"
                )
        refuse(mistakes)

    @property
    def options(self) -> dict[str, Any]:
        """AerSimulator's."""
        from superpositional.circuits.backends.qiskit import noise_model

        model = noise_model(self.one_qubit, self.two_qubit, self.readout_error)
        return {"method": self.method, "device": self.device} | ({} if model is None else {"noise_model": model})

    def refusal(self, ansatz: Ansatz, readout: str) -> str | None:
        wrong = super().refusal(ansatz, readout)
        if wrong is None and self.shots is None and (told := too_wide(ansatz, readout)):
            return f"{told}; choose readout=z, or give shots"
        return wrong

    def job(self, ansatz, values_UP, readout, *, total, seed):
        from superpositional.circuits.backends import qiskit

        if self.shots is None:
            means = qiskit.aer_expectations(ansatz, values_UP, readout, total=total, options=self.options)
            return means, np.zeros_like(means)
        counts = qiskit.aer_counts(ansatz, values_UP, options=self.options, shots=self.shots, seed=seed)
        return from_counts(counts, ansatz, readout, total=total)


@dataclass(frozen=True, eq=False)
class Noisy(Device):
    """A whole device imitated by Aer: its gates, coupling map, durations' and calibrations' noise.

    Args:
        device: ``"generic"``, Qiskit's made-up ``GenericBackendV2``, its qubits in a line and its calibrations drawn from
            ``calibration``; or one of qiskit-ibm-runtime's snapshots of real ones, as ``FakeManilaV2``.
        n_qubits: of the generic device; None is as many as the circuit has.
        calibration: where the generic device's noise is drawn from, a seed of its own.
        level: Qiskit's ``optimization_level`` of the transpilation, 0 to 3.
        shots: how often each circuit is measured.
        retries, backoff: as for ``Aer``.

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
    """

    device: str = GENERIC
    n_qubits: int | None = None
    calibration: int = 0
    level: int = 1
    shots: int = 1024
    retries: int = 3
    backoff: float = 1.0

    capabilities = Capabilities("probability, z", "needed", "the device's", "parameter shift", "yes", "Aer: CPU")

    def __post_init__(self) -> None:
        mistakes = [bad_shots(self.shots, optional=False), bad_level(self.level), *bad_attempts(self)]
        for name, least, free in (("n_qubits", 1, True), ("calibration", 0, False)):
            value = getattr(self, name)
            if (value is not None or not free) and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                mistakes.append(f"{name} must be an integer >= {least}{' or None' * free}, got {value!r}")
        if self.device != GENERIC:
            mistakes += [bad_snapshot("device", self.device)]
            if self.n_qubits is not None:
                mistakes.append(f"n_qubits is of device=generic, got n_qubits={self.n_qubits} and device={self.device}")
        refuse(mistakes)

    def target(self, ansatz: Ansatz) -> "BackendV2":
        if self.device != GENERIC:
            return snapshot(self.device)
        return _generic(self.n_qubits or ansatz.n_qubits, self.calibration)

    def refusal(self, ansatz: Ansatz, readout: str) -> str | None:
        return super().refusal(ansatz, readout) or does_not_fit(self, ansatz)

    def job(self, ansatz, values_UP, readout, *, total, seed):
        from superpositional.circuits.backends import qiskit

        device = self.target(ansatz)
        counts = qiskit.aer_counts(
            ansatz, values_UP, device=device, level=self.level, options={}, shots=self.shots, seed=seed
        )
        return from_counts(counts, ansatz, readout, total=total)


def from_counts(
    counts: list[dict[int, int]], ansatz: Ansatz, readout: str, *, total: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard errors ``(U, C)`` of counts, for circuits of any width: ``counted`` of the outcomes there are."""
    n = ansatz.n_qubits
    found = []
    for each in counts:
        # Python's integers: an outcome may have more bits than torch's.
        if readout == "z":
            weight_MQ = torch.tensor([[1 - 2 * (outcome >> n - 1 - q & 1) for q in range(n)] for outcome in each])
        else:
            weight_MQ = torch.tensor([[outcome == state for state in basis_states(readout, n)] for outcome in each])
        weight_MC = (weight_MQ.sum(1, keepdim=True) if total else weight_MQ).double()
        count_1M = torch.tensor([list(each.values())], dtype=torch.float64)
        found.append(counted(count_1M, weight_MC, int(count_1M.sum())))
    return tuple(torch.cat(parts).numpy() for parts in zip(*found, strict=True))


def too_wide(ansatz: Ansatz, readout: str) -> str | None:
    if readout != "z" and ansatz.n_qubits > PROJECTED:
        return f"readout={readout} takes 2**n_qubits Paulis of an estimator, got n_qubits={ansatz.n_qubits} > {PROJECTED}"
    return None


def does_not_fit(device: Device, ansatz: Ansatz) -> str | None:
    has = device.target(ansatz).num_qubits
    if ansatz.n_qubits > has:
        return f"n_qubits={ansatz.n_qubits} is more than backend={device.name}'s device has, {has}; choose a wider one"
    return None


# Where they come from --------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _generic(n_qubits: int, seed: int) -> "BackendV2":
    from superpositional.circuits.backends.qiskit import generic_device

    return generic_device(n_qubits, seed)


@lru_cache(maxsize=8)
def snapshot(name: str) -> "BackendV2":
    """One of qiskit-ibm-runtime's fake devices: a real one's gates, coupling map and calibrations of some day."""
    return getattr(importlib.import_module(f"{RUNTIME}.fake_provider"), name)()


def bad_snapshot(key: str, name: Any) -> str | None:
    if not isinstance(name, str):
        return f"{key} must be the name of a device, got {name!r}; try {GENERIC} or FakeManilaV2"
    if importlib.util.find_spec(RUNTIME) is None:
        other = f"device={GENERIC}" if key == "device" else "backend=noisy"
        return f"{key}={name} comes with qiskit-ibm-runtime, which is not installed: {INSTALL}; or choose {other}"
    provider = importlib.import_module(f"{RUNTIME}.fake_provider")
    known = sorted(each for each in dir(provider) if each.startswith("Fake") and each.endswith("V2"))
    if name not in (*known, *(each for each in dir(provider) if each.startswith("Fake") and "Provider" not in each)):
        return f"{key} must be one of qiskit-ibm-runtime's fake devices, got {name!r}; it has {', '.join(known)}"
    return None
