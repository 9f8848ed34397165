"""Where does a circuit run, and how well is its output known there?

A backend takes circuits, bound to their angles, and gives the mean of each measured number with its standard error: nothing
is ever silently exact, or silently not. Which numbers: psi_k, k = 1 ... n, one by one, or their sum Phi (``total``), whose
error is not that of independent parts, because a shot measures all qubits at once. ``Exact`` is the default everywhere and
goes the fast ways of ``attention`` and ``perturbation``. Read by both.

Shapes: B circuits; C = Q numbers of a circuit, or 1 with ``total``; S = 2**Q outcomes; L, R, Q as in
``Ansatz.angles_shape``.
"""

import abc
import dataclasses
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.readouts import READOUTS, basis_states, is_amplitude

# How ``Exact`` may compute: what ``backend.method`` is in a config.
METHODS = ("auto", "statevector", "closed_form", "fourier", "qiskit", "aer")


class BackendError(RuntimeError):
    """A backend failed, again and again: a run that meets it ends as ``failed``, its checkpoints kept."""


class Estimate(NamedTuple):
    """What circuits gave: ``mean_BC`` and the standard error of each, ``error_BC``: 0 where it is exact or all shots
    agreed, NaN where one shot says nothing of it."""

    mean_BC: Tensor
    error_BC: Tensor


class Capabilities(NamedTuple):
    """What a backend can do, in words; the table in README is made of these."""

    readouts: str
    shots: str
    noise: str
    gradients: str
    seeds: str
    runs_on: str


class Backend(abc.ABC):
    """One place for circuits to run; a frozen dataclass of plain values, so that it goes into records and checkpoints."""

    capabilities: ClassVar[Capabilities]
    measures: ClassVar[bool] = True
    """Whether it gives what a measurement can give, and so no amplitudes."""

    @abc.abstractmethod
    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        """The circuits whose gates have these angles, in as few calls as it has. ``seed`` is of the shots; no gradients,
        but where ``differentiates``."""

    @property
    def simulated(self) -> bool:
        """Whether an execution costs no more than time on this machine."""
        return True

    @property
    def stochastic(self) -> bool:
        """Whether two calls may differ: it has shots."""
        return getattr(self, "shots", None) is not None

    @property
    def differentiates(self) -> bool:
        """Whether autograd can look into ``run``; elsewhere the parameter-shift rule serves (``gradients``)."""
        return False

    @property
    def name(self) -> str:
        """As it is called in ``backend=...``."""
        return type(self).__name__.lower()

    def refusal(self, ansatz: Ansatz, readout: str) -> str | None:
        """Why this backend cannot run the circuit, naming one that can; None if it can."""
        if readout not in READOUTS:
            return f"readout must be one of {', '.join(READOUTS)}, got {readout!r}"
        if self.measures and is_amplitude(readout):
            return (
                f"readout={readout} cannot be measured, so backend={self.name} cannot give it; choose readout=probability "
                "or z, or backend=exact"
            )
        return None

    def plain(self) -> dict[str, Any]:
        """The arguments as plain values: ``backend_from(plain)`` is this again."""
        return {"backend": self.name, **json.loads(json.dumps(dataclasses.asdict(self)))}

    def not_plain(self) -> str | None:
        """Why param groups and checkpoints cannot hold it."""
        try:
            self.plain()
        except TypeError:
            return (
                f"backend={self.name} must hold plain values here, got {self!r}; write a device among its options as "
                "{'target_class': 'qiskit_aer.AerSimulator', 'options': {}}"
            )
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
    """Mean and standard error of what ``shots`` outcomes, so many of each, count; the variance is the sample's own, with
    Bessel's correction."""
    # Whole numbers: the sum is exact, in whatever order a matrix product takes it for so many rows.
    mean_BC = (count_BS @ weight_SC) / shots
    # Not the mean of squares less the square of the mean, which would lose a small variance.
    deviation_BSC = weight_SC - mean_BC[:, None]
    variance_BC = (count_BS[..., None] * deviation_BSC.square()).sum(1) / shots
    error_BC = (variance_BC / (shots - 1)).sqrt() if shots > 1 else torch.full_like(mean_BC, torch.nan)
    return Estimate(mean_BC, error_BC)


def bad_shots(shots: Any, *, optional: bool) -> str | None:
    """What is wrong with a number of shots."""
    if shots is None and optional:
        return None
    if isinstance(shots, bool) or not isinstance(shots, numbers.Integral) or shots < 1:
        return f"shots must be an integer >= 1{' or None' * optional}, got {shots!r}" + "; None is exact" * optional
    return None


def bad_rate(name: str, value: Any) -> str | None:
    """What is wrong with a probability of an error."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        return f"{name} must be a probability in [0, 1], got {value!r}; 0 is none"
    return None


def refuse(mistakes: Sequence[str | None]) -> None:
    """Raises ValueError with all that is wrong, a line each."""
    if told := [mistake for mistake in mistakes if mistake is not None]:
        raise ValueError("\n".join(told))


def backend_from(value: "Mapping[str, Any] | Backend") -> Backend:
    """The backend that plain values stand for (``Backend.plain``).

    Raises:
        ValueError: for values that stand for none.
    """
    from superpositional.circuits import backends

    if isinstance(value, Backend):
        return value
    if isinstance(value, Mapping) and (made := backends.BACKENDS.get(value.get("backend"))) is not None:
        return made(**{key: each for key, each in value.items() if key != "backend"})
    raise ValueError(
        f"backend must be one of superpositional.circuits.backends ({', '.join(backends.BACKENDS)}), got {value!r}; in a "
        "config, choose backend=..."
    )
