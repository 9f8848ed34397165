"""The interface of a backend, which runs circuits, and what all backends share.

A backend gives the mean of each measured number of a circuit with its standard error: psi_k, k = 1 ... n, or their sum Phi
(``total``), whose error is not that of independent parts, because a shot measures all qubits at once.

Shapes: B circuits; C = Q numbers of a circuit, or 1 with ``total``; S = 2**Q outcomes; L, R, Q as in
``Ansatz.angles_shape``.
"""

import abc
import dataclasses
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.readouts import READOUTS, basis_states, is_amplitude

# How ``Exact`` may compute: what ``backend.method`` is in a config.
METHODS = ("auto", "statevector", "closed_form", "fourier", "qiskit", "aer")


class BackendError(RuntimeError):
    """A backend failed at every attempt: a run that meets it ends as ``failed``, its checkpoints kept."""


class Estimate(NamedTuple):
    """``mean_BC`` and the standard error of each, ``error_BC``: 0 if exact or if all shots agreed, NaN of one shot."""

    mean_BC: Tensor
    error_BC: Tensor


class Backend(abc.ABC):
    """One place for circuits to run; a frozen dataclass of plain values, so that it goes into records and checkpoints.

    Attributes:
        measures: whether it gives what a measurement can give, and so no amplitudes.
        simulated: whether an execution costs no more than time on this machine.
        differentiates: whether autograd can look into ``run``; elsewhere the parameter-shift rule serves (``gradients``).
    """

    measures = True
    simulated = True
    differentiates = False

    @abc.abstractmethod
    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        """Run the circuits whose gates have these angles, in as few calls as it has; ``seed`` is of the shots."""

    @property
    def stochastic(self) -> bool:
        """Whether two calls may differ: it has shots."""
        return getattr(self, "shots", None) is not None

    @property
    def name(self) -> str:
        """As it is called in ``backend=...``."""
        return type(self).__name__.lower()

    def refusal(self, ansatz: Ansatz, readout: str) -> str | None:
        """Why this backend cannot run the circuit, naming one that can; None if it can."""
        if readout not in READOUTS:
            return f"readout must be one of {', '.join(READOUTS)}, got {readout!r}"
        if self.measures and is_amplitude(readout):
            what = f"readout={readout} cannot be measured, so backend={self.name} cannot give it"
            return f"{what}; choose readout=probability or z, or backend=exact"
        return None

    def plain(self) -> dict[str, Any]:
        """The arguments as plain values: ``backend_from(plain)`` is this again."""
        return {"backend": self.name, **json.loads(json.dumps(dataclasses.asdict(self)))}

    def not_plain(self) -> str | None:
        """Why param groups and checkpoints cannot hold it."""
        try:
            self.plain()
        except TypeError:
            cure = "write a device among its options as {'target_class': 'qiskit_aer.AerSimulator', 'options': {}}"
            return f"backend={self.name} must hold plain values here, got {self!r}; {cure}"
        return None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.plain() == other.plain()

    def __hash__(self) -> int:
        # Options may be dicts, which have none.
        return hash(json.dumps(self.plain(), sort_keys=True))


def weights(readout: str, n_qubits: int, *, total: bool) -> Tensor:
    """What each outcome counts: ``(S, C)``, float64, on the CPU. ``z``: +1 and -1 of a bit; probabilities: 1 of a state."""
    if readout == "z":
        bit_SQ = torch.arange(2**n_qubits, device="cpu")[:, None] >> torch.arange(n_qubits, device="cpu").flip(0) & 1
        weight_SQ = (1 - 2 * bit_SQ).double()
    else:
        weight_SQ = torch.zeros(2**n_qubits, n_qubits, dtype=torch.float64, device="cpu")
        weight_SQ[basis_states(readout, n_qubits), range(n_qubits)] = 1
    return weight_SQ.sum(1, keepdim=True) if total else weight_SQ


def counted(count_BS: Tensor, weight_SC: Tensor, shots: int) -> Estimate:
    """Mean and standard error of the outcomes of ``shots`` shots; the sample's variance, with Bessel's correction."""
    # Whole numbers: the sum is exact, in whatever order a matrix product takes it for so many rows.
    mean_BC = (count_BS @ weight_SC) / shots
    # Not the mean of squares less the square of the mean, which would lose a small variance.
    deviation_BSC = weight_SC - mean_BC[:, None]
    variance_BC = (count_BS[..., None] * deviation_BSC.square()).sum(1) / shots
    error_BC = (variance_BC / (shots - 1)).sqrt() if shots > 1 else torch.full_like(mean_BC, torch.nan)
    return Estimate(mean_BC, error_BC)


# What is wrong with an argument, or None ---------------------------------------------------------------------------


def bad_integer(name: str, value: Any, least: int, cure: str = "", *, optional: bool = False) -> str | None:
    if optional and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        return f"{name} must be an integer >= {least}{' or None' * optional}, got {value!r}{cure}"
    return None


def bad_level(level: Any) -> str | None:
    if isinstance(level, bool) or level not in range(4):
        return f"level must be 0, 1, 2 or 3, got {level!r}; 1 is the default"
    return None


def bad_rates(noise: Any) -> list[str | None]:
    rates = {name: getattr(noise, name) for name in ("one_qubit", "two_qubit", "readout_error")}
    return [
        f"{name} must be a probability in [0, 1], got {value!r}; 0 is none"
        for name, value in rates.items()
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1
    ]


def refuse(mistakes: Sequence[str | None]) -> None:
    """Raise a ValueError with all that is wrong, a line each."""
    if told := [mistake for mistake in mistakes if mistake is not None]:
        raise ValueError("\n".join(told))


def backend_from(value: "Mapping[str, Any] | Backend") -> Backend:
    """Return the backend that plain values stand for (``Backend.plain``); a ValueError if they stand for none."""
    from superpositional.circuits import backends

    if isinstance(value, Backend):
        return value
    if isinstance(value, Mapping) and (made := backends.BACKENDS.get(value.get("backend"))) is not None:
        return made(**{key: each for key, each in value.items() if key != "backend"})
    known = f"superpositional.circuits.backends ({', '.join(backends.BACKENDS)})"
    raise ValueError(f"backend must be one of {known}, got {value!r}; in a config, choose backend=...")
