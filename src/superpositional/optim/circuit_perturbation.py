"""The circuit as Q (Pamuk et al. 2025, eqs. 2 and 5), and the forms in which a perturbation is given.

``Q = s(theta) * g``, where ``s_i = -<Z_i>`` of a register into which the weights are encoded; at depth 1 without CNOTs it
is the sine of eq. (2) exactly. A perturbation is an object, or plain values in parameter groups and checkpoints.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from superpositional.circuits import Ansatz
from superpositional.circuits.backends import Backend, Exact, backend_from, estimate
from superpositional.circuits.backends.exact import QUBITS, compiled, compiles, evaluate, refusal
from superpositional.circuits.closed_form import has_closed_form
from superpositional.circuits.kernels import build
from superpositional.circuits.measures import entanglement, random_angles
from superpositional.circuits.statevector import require_memory
from superpositional.optim.perturbations import (
    DRAWN,
    Called,
    Drawn,
    Modulation,
    constant,
    cosine,
    draw_seed,
    flattened,
    like,
    reduced,
    sine,
    wrong_seed,
)
from superpositional.seeds import generator, stream

# At most this many amplitudes are simulated at once, 64 MiB of them, however many scalars are in scope.
AMPLITUDES_AT_ONCE = 2**22


@dataclass(frozen=True)
class CircuitPerturbation:
    """``Q_i = -<Z_i> g_i`` of a simulated circuit (the paper's "circuit perturbations"; eqs. 2 and 5).

    Each run of ``ansatz.n_qubits`` consecutive scalars in scope is one register; the last may be shorter, and has the first
    of the circuit's qubits. ``x_i = pi theta_i`` is the input of qubit i. Registers go through a parameter group (for
    ``scope="tensor"``, through a tensor) and do not cross into the next. A weight that is not finite leaves its whole
    register without a value.

    Args:
        ansatz: the circuit. At depth 1 this is the sine of eq. (2) without CNOTs, ``-prod_{j<=i} (-sin(pi theta_j))`` with
            the chain of them.
        angles: the further angles, never trained: ``"zero"``, or ``"random"``, drawn once, uniform over a turn, from
            ``seed``'s circuit stream.
        seed: for random angles, and for shots, which are drawn anew at every step. None lets the optimizer draw one from
            torch's generator when it is made, if one is needed; not under ``torch.distributed``.
        backend: where the registers run (``circuits.backends``): exactly, or with shots, with noise, on a device, all
            registers of one width in one call.

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
        MemoryError: where one register's statevector would not fit.
    """

    ansatz: Ansatz = Ansatz()  # noqa: RUF009  (frozen)
    angles: str = "zero"
    seed: int | None = None
    backend: Backend = Exact()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        mistakes = []
        if not isinstance(self.ansatz, Ansatz):
            mistakes.append(
                f"ansatz must be a superpositional.circuits.Ansatz, got {self.ansatz!r}; in a config, set circuit.*"
            )
        if not isinstance(self.backend, Backend):
            mistakes.append(
                f"backend must be one of superpositional.circuits.backends, got {self.backend!r}; in a config, choose "
                "backend=..."
            )
        elif not mistakes:
            own = refusal(self.ansatz, "z", self.method, scalar=False) if self.method else None
            if (wrong := own or self.backend.refusal(self.ansatz, "z") or self.backend.not_plain()) is not None:
                mistakes.append(wrong)
        if self.angles not in ("zero", "random"):
            mistakes.append(f"angles must be zero or random, got {self.angles!r}")
        mistakes += wrong_seed(self.seed)
        if mistakes:
            raise ValueError("\n".join(mistakes))
        if self.method not in (None, "closed_form"):
            require_memory(self.ansatz, 1, torch.float64)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()  # a file may hold anything

    @property
    def method(self) -> str | None:
        """How the registers are computed exactly, what ``"auto"`` stands for resolved; None on other backends."""
        if not isinstance(self.backend, Exact):
            return None
        if self.backend.method != "auto":
            return self.backend.method
        return "closed_form" if has_closed_form(self.ansatz) else "statevector"

    def plain(self) -> dict[str, Any]:
        """The arguments as plain values, for param groups and checkpoints: ``perturbation_from(plain)`` is this again."""
        return {**vars(self), "ansatz": self.ansatz.plain(), "backend": self.backend.plain()}

    @property
    def _lacks_seed(self) -> bool:
        return self.seed is None and (self.angles == "random" or self.backend.stochastic)

    def seeded(self) -> "CircuitPerturbation":
        """The same with a seed, if it needs one."""
        return replace(self, seed=draw_seed(f"angles={self.angles!r}")) if self._lacks_seed else self

    def fixed_angles(self) -> Tensor:
        """The angles that are not the weights': ``ansatz.angles_shape``, float64."""
        if self.angles == "zero":
            return torch.zeros(self.ansatz.angles_shape, dtype=torch.float64)
        return random_angles(self.ansatz, generator(self.seed, "circuit"))

    def registers(self, sizes: Sequence[int]) -> int:
        """Circuits of one step, for blocks of these sizes."""
        return sum(-(-size // self.ansatz.n_qubits) for size in sizes)

    def widths(self, sizes: Sequence[int]) -> set[int]:
        """Widths of these registers; each is a call of the backend."""
        n = self.ansatz.n_qubits
        return {n for size in sizes if size >= n} | {size % n for size in sizes if size % n}

    def __call__(self, blocks: list[list[Tensor]], call: tuple[int, ...] = ()) -> list[Tensor]:
        if self._lacks_seed:
            raise ValueError(
                f"seed must be given, got None with angles={self.angles!r}, backend={self.backend.name}; pass seed=0"
            )
        n = self.ansatz.n_qubits
        flats = [flattened(thetas) for thetas in blocks]
        found = []
        if (circuit := self.compiled()) is not None and all(map(build.serves, flats)):
            for thetas, flat in zip(blocks, flats, strict=True):
                flat = flat.clone() if len(thetas) == 1 else flat  # else it is a copy already
                build.kernel("modulate", flat.dtype)(circuit, flat.data_ptr(), len(flat), torch.get_num_threads())
                found += like(thetas, flat)
            return found
        # All full registers are one batch, and the shorter ones of a length another.
        halves = [flat.split([full := len(flat) // n * n, len(flat) - full]) for flat in flats]
        rows = [[row for row in (full.view(-1, n), rest.view(1, -1)) if row.numel()] for full, rest in halves]
        batches: dict[int, list[Tensor]] = {}
        for row in itertools.chain(*rows):
            batches.setdefault(row.shape[1], []).append(row.to(flats[0].device))
        parts = {
            width: iter(self._simulate(torch.cat(batch), call).split([len(row) for row in batch]))
            for width, batch in batches.items()
        }
        for thetas, own in zip(blocks, rows, strict=True):
            if own:
                found += like(thetas, torch.cat([next(parts[row.shape[1]]).flatten() for row in own]))
        return found

    def compiled(self) -> build.Circuit | None:
        """The circuit for the kernels; None where they do not serve: a method asked for by name, a backend, wide states."""
        if torch.compiler.is_compiling():
            return None
        # The closed form has as many parities as bits of an integer.
        fits = compiles(self.ansatz, 64 if self.method == "closed_form" else QUBITS)
        return _compiled(self) if isinstance(self.backend, Exact) and self.backend.method == "auto" and fits else None

    @torch.no_grad()
    def entanglement(self, blocks: list[list[Tensor]]) -> float:
        """Mean Meyer-Wallach entanglement of the first full registers, at most 256; NaN without any, and for registers that
        only the closed form can serve."""
        n = self.ansatz.n_qubits
        most = min(256, AMPLITUDES_AT_ONCE >> n)
        rows = [flat[: len(flat) // n * n].view(-1, n)[:most] for flat in map(flattened, blocks)]
        theta_BQ = torch.cat(rows)[:most] if rows else torch.empty(0, n)
        if not len(theta_BQ):
            return math.nan
        angle_BQ = _angles(theta_BQ)
        return float(entanglement(self.ansatz, angle_BQ, _fixed_angles(self, angle_BQ)).mean())

    def _simulate(self, theta_BQ: Tensor, call: tuple[int, ...]) -> Tensor:
        """``-<Z>`` of every qubit of registers of one width."""
        width = theta_BQ.shape[1]
        ansatz = replace(self.ansatz, n_qubits=width)
        if isinstance(self.backend, Exact):
            # The closed form has an angle per gate in the place of amplitudes.
            at_once = AMPLITUDES_AT_ONCE // (ansatz.num_parameters if self.method == "closed_form" else 2**width)
        else:
            at_once = len(theta_BQ)  # a job costs more than what is in it
        parts = []
        for part in theta_BQ.split(max(1, at_once)):
            angle_BQ = _angles(part)
            angles_LRQ = _fixed_angles(self, angle_BQ)[..., :width]
            if isinstance(self.backend, Exact):
                z_BQ = evaluate(ansatz, angle_BQ, angles_LRQ, "z", method=self.method)
            else:
                seed = stream(self.seed, "circuit", *call, width) if self.backend.stochastic else None
                z_BQ = estimate(self.backend, ansatz, angle_BQ, angles_LRQ, "z", seed=seed).mean_BC
            parts.append(-z_BQ.to(theta_BQ.dtype))
        return torch.cat(parts)


torch.serialization.add_safe_globals([CircuitPerturbation, Drawn])


@lru_cache(maxsize=16)
def _compiled(perturbation: CircuitPerturbation) -> build.Circuit:
    return compiled(perturbation.ansatz, perturbation.fixed_angles().contiguous())


def is_circuit(value: Any) -> bool:
    """Whether a param group's value is a circuit perturbation in plain values."""
    return isinstance(value, Mapping) and "ansatz" in value


def perturbation_from(value: "str | Mapping[str, Any] | CircuitPerturbation | Drawn") -> Modulation:
    """The modulation that a param group's plain value, or an argument, stands for; ValueError where it stands for none.

    A function reads each scalar alone; an object reads whole blocks, and has ``seeded`` and ``plain``.
    """
    if isinstance(value, (CircuitPerturbation, Drawn, Called)):
        return value
    if is_circuit(value):
        if torch.compiler.is_compiling():
            return _made(value)
        # Made and checked once, not at every step. By its text: 1 and True are equal, and only one may be a width.
        if (known := repr(value)) not in _MADE:
            _MADE[known] = _made(value)
        return _MADE[known]
    if isinstance(value, Mapping) and "kind" in value:
        return Drawn(**value)
    if isinstance(value, str) and value in DRAWN:
        return Drawn(value)
    if isinstance(value, str) and value in PERTURBATIONS:
        return PERTURBATIONS[value]
    raise ValueError(
        f"perturbation must be one of {', '.join([*PERTURBATIONS, *DRAWN])}, a CircuitPerturbation or a callable "
        f"(theta, gradient, generator) -> Q, got {value!r}; in a config, choose optimizer=circuit"
    )


def _made(plain: Mapping[str, Any]) -> CircuitPerturbation:
    arguments = {"backend": Exact(), **plain}
    # Older checkpoints name the method apart.
    if (method := arguments.pop("simulator", "auto")) != "auto":
        arguments["backend"] = Exact(method)
    parts = {"ansatz": Ansatz(**arguments["ansatz"]), "backend": backend_from(arguments["backend"])}
    return CircuitPerturbation(**arguments | parts)


def as_plain(perturbation: Any) -> tuple[Any, int | None]:
    """A perturbation, with a seed, as param groups hold it, and its circuit's qubits, if it has one.

    Plain values, which torch.load reads with weights_only; a callable as ``Called``; what stands for none as it is.
    """
    drawn = isinstance(perturbation, str) and perturbation in DRAWN
    if drawn or isinstance(perturbation, Mapping):
        perturbation = perturbation_from(perturbation)
    if isinstance(perturbation, (CircuitPerturbation, Drawn)):
        qubits = perturbation.ansatz.n_qubits if isinstance(perturbation, CircuitPerturbation) else None
        return perturbation.seeded().plain(), qubits
    if callable(perturbation):
        perturbation = Called(perturbation)
    return (perturbation.seeded() if isinstance(perturbation, Called) else perturbation), None


def draws_by_step(value: "str | Mapping[str, Any]") -> bool:
    """Whether a param group's perturbation draws anew at every step."""
    made = perturbation_from(value)
    return made.backend.stochastic if isinstance(made, CircuitPerturbation) else isinstance(made, (Drawn, Called))


_MADE: dict[str, CircuitPerturbation] = {}
PERTURBATIONS: dict[str, Modulation] = {"sine": sine, "cosine": cosine, "constant": constant}


def _fixed_angles(perturbation: CircuitPerturbation, like: Tensor) -> Tensor:
    if perturbation.angles == "zero":
        return like.new_zeros(perturbation.ansatz.angles_shape)
    return _drawn_angles(perturbation, like.dtype, like.device)


@torch._disable_dynamo  # as in perturbations
@lru_cache(maxsize=16)
def _drawn_angles(perturbation: CircuitPerturbation, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept on the device: a captured CUDA graph takes nothing from the host.
    return perturbation.fixed_angles().to(device, dtype)


def _angles(theta_BQ: Tensor) -> Tensor:
    """``x = pi theta``, reduced, in float64 where the device has it: a circuit adds up many products."""
    wide = theta_BQ if theta_BQ.device.type == "mps" else theta_BQ.double()
    return reduced([wide])[0] * torch.pi
