"""The backends in torch: ``Exact`` knows the state; ``Shots`` counts outcomes drawn from its exact probabilities, so that
nothing but the number of shots is different; ``Depolarizing`` has noise after every gate and at the measurement.

Shapes: B circuits; S = 2**Q outcomes; L, R, Q as in ``Ansatz.angles_shape``; C numbers of a circuit.
"""

import abc
import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends import base, depolarizing
from superpositional.circuits.backends.base import METHODS, Backend, Estimate
from superpositional.circuits.readouts import read, read_probabilities
from superpositional.circuits.statevector import state

# Where nothing is differentiated, at most so many numbers of states at once: 2 to 4 MiB, which stay in a processor's cache.
NUMBERS_AT_ONCE = 2**18


@dataclass(frozen=True, eq=False)
class Exact(Backend):
    """The circuit's exact output: no shots, no noise. The default everywhere.

    Args:
        method: ``"auto"``, the fastest: the closed form of the optimizer's registers where there is one, the series of
            attention's Phi. ``"statevector"``: torch's state of each circuit. ``"qiskit"``, ``"aer"``: these packages'
            states. ``"closed_form"`` is the optimizer's alone, ``"fourier"`` a series of one input.
    """

    method: str = "auto"
    measures = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")

    @property
    def differentiates(self) -> bool:
        return self.method not in ("qiskit", "aer")

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        if self.differentiates:
            return _exactly(read(state(ansatz, gate_angles_BLRQ), readout, ansatz.n_qubits), total)
        # Imported when first asked for: half a second.
        from superpositional.circuits.backends import qiskit

        run = qiskit.run_qiskit if self.method == "qiskit" else qiskit.run_aer
        return _exactly(run(ansatz, gate_angles_BLRQ, readout), total)


class Sampled(Backend):
    """Counts drawn from exact probabilities: they follow from the seed and a circuit's own angles alone, wherever it stands
    in a batch. A state has ``numbers`` ** n_qubits numbers."""

    numbers: int

    @abc.abstractmethod
    def probabilities(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor) -> Tensor:
        """Of each outcome, ``(B, S)``."""

    def parts(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor) -> tuple[Tensor, ...]:
        return gate_angles_BLRQ.split(max(1, NUMBERS_AT_ONCE // self.numbers**ansatz.n_qubits))

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        if seed is None:
            raise ValueError(f"seed must be given with shots={self.shots}, got None")
        weight_SC = base.weights(readout, ansatz.n_qubits, total=total)
        # Zeros of one sign: equal angles have equal bytes.
        wide_BLRQ = gate_angles_BLRQ.detach().double() + 0.0
        found = []
        for part in self.parts(ansatz, wide_BLRQ):
            probability_BS = self.probabilities(ansatz, part).cpu()
            count_BS = draw(probability_BS, self.shots, seed, part.flatten(1).numpy(force=True))
            found.append(base.counted(count_BS, weight_SC, self.shots))
        return Estimate(*(torch.cat(each).to(gate_angles_BLRQ) for each in zip(*found, strict=True)))


@dataclass(frozen=True, eq=False)
class Shots(Sampled):
    """A perfect device, each circuit measured ``shots`` times: the only error is that of finite counts, 1 / sqrt(shots).
    They are of all 2**Q outcomes, so qubits are correlated as a device's are."""

    shots: int = 1024
    numbers = 2

    def __post_init__(self) -> None:
        base.refuse([base.bad_integer("shots", self.shots, 1)])
        object.__setattr__(self, "shots", int(self.shots))

    def probabilities(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor) -> Tensor:
        state_BS = state(ansatz, gate_angles_BLRQ)
        return state_BS.real.square() + state_BS.imag.square()


@dataclass(frozen=True, eq=False)
class Depolarizing(Sampled):
    """Depolarising noise after every gate and bits that flip at the measurement; exactly, or with shots.

    After each gate the state of its qubits is replaced by the maximally mixed one with a probability
    (``qiskit_aer.noise.depolarizing_error``). Exact in the Pauli basis (``depolarizing``), at 4**Q numbers a circuit;
    ``Aer`` with the same three rates takes wider circuits.

    Args:
        one_qubit, two_qubit: the probability, after one-qubit gates and after CNOTs.
        readout_error: the probability that a measured bit is the other one.
        shots: how often each circuit is measured; None is exact.
    """

    one_qubit: float = 0.001
    two_qubit: float = 0.01
    readout_error: float = 0.0
    shots: int | None = None
    numbers = 4

    def __post_init__(self) -> None:
        base.refuse([*base.bad_rates(self), base.bad_integer("shots", self.shots, 1, "; None is exact", optional=True)])

    @property
    def differentiates(self) -> bool:
        return self.shots is None

    @property
    def rates(self) -> dict[str, float]:
        return {"one_qubit": self.one_qubit, "two_qubit": self.two_qubit, "readout_error": self.readout_error}

    def probabilities(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor) -> Tensor:
        return depolarizing.probabilities(ansatz, gate_angles_BLRQ, **self.rates)

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, *, total: bool, seed: int | None) -> Estimate:
        if self.shots is not None:
            return super().run(ansatz, gate_angles_BLRQ, readout, total=total, seed=seed)
        keeps = gate_angles_BLRQ.requires_grad and torch.is_grad_enabled()
        parts = [gate_angles_BLRQ] if keeps else self.parts(ansatz, gate_angles_BLRQ)
        if readout == "z":
            found = [depolarizing.z(ansatz, part, **self.rates) for part in parts]
        else:
            found = [read_probabilities(self.probabilities(ansatz, part), readout, ansatz.n_qubits) for part in parts]
        return _exactly(torch.cat(found), total)


def _exactly(value_BQ: Tensor, total: bool) -> Estimate:
    value_BC = value_BQ.sum(-1, keepdim=True) if total else value_BQ
    return Estimate(value_BC, torch.zeros_like(value_BC, requires_grad=False))


def draw(probability_BS: Tensor, shots: int, seed: int, identity_BP: np.ndarray) -> Tensor:
    """How often each outcome came, ``(B, S)``, of ``shots`` for each row, from a stream of its own: a counter-based
    generator (Philox) whose key is a hash of the seed and of what identifies the row."""
    found_BS = np.empty(probability_BS.shape)
    generator = np.random.Generator(np.random.Philox(0))
    start = generator.bit_generator.state
    # What rounding has left below 0 or beside 1, NumPy refuses.
    exact_BS = probability_BS.double().clamp(min=0)
    exact_BS = (exact_BS / exact_BS.sum(1, keepdim=True)).numpy()
    salt = int(seed).to_bytes(16, "little", signed=True)
    for row, identity in enumerate(np.ascontiguousarray(identity_BP)):
        key = hashlib.blake2b(identity.tobytes(), digest_size=16, key=salt).digest()
        start["state"]["key"] = np.frombuffer(key, dtype=np.uint64)
        generator.bit_generator.state = start
        found_BS[row] = generator.multinomial(shots, exact_BS[row])
    return torch.from_numpy(found_BS)
