"""Who runs the circuit?

Every simulator behind one signature and in one table: ``evaluate(ansatz, inputs, angles, readout)`` gives psi_k, and
``SIMULATORS`` says who can do what. All exact ones agree to 1e-12 in float64 and are differentiable in inputs and angles:
by autograd, or where a foreign simulator stands in between, by the parameter-shift rule. Read by perturbation, attention.

Shapes: B circuits; L, R, Q as in ``Ansatz.angles_shape``; what stands before is batch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from superpositional.circuits import closed_form as closed
from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.readouts import READOUTS, is_amplitude
from superpositional.circuits.statevector import check_shapes, encode, statevector

Runner = Callable[[Ansatz, Tensor, str], Tensor]


def evaluate(
    ansatz: Ansatz,
    inputs: Tensor,
    angles_LRQ: Tensor,
    readout: str = "z",
    *,
    simulator: str = "statevector",
) -> Tensor:
    """psi_k, k = 1 ... n, of the circuit for each input: real, ``(..., Q)``, exact. (``backends`` has shots and noise.)

    Args:
        ansatz: the circuit.
        inputs: ``(..., Q)``, an input per qubit (radians), or ``(..., 1)``, one for all.
        angles_LRQ: ``(..., *ansatz.angles_shape)`` in radians; its batch dimensions broadcast against those of ``inputs``.
        readout: what psi_k is, one of ``readouts.READOUTS``.
        simulator: a key of ``SIMULATORS``.

    Raises:
        ValueError: where the simulator cannot do it, naming one that can.
        MemoryError: where a statevector would not fit.
    """
    check_shapes(ansatz, inputs, angles_LRQ)
    if (wrong := refusal(ansatz, readout, simulator, scalar=inputs.shape[-1] == 1)) is not None:
        raise ValueError(wrong)
    return SIMULATORS[simulator].run(ansatz, inputs, angles_LRQ, readout)


def refusal(ansatz: Ansatz, readout: str, simulator: str, *, scalar: bool = True) -> str | None:
    """Why this cannot be done and what can, or None if it can. ``scalar``: one input for all qubits."""
    if readout not in READOUTS:
        return f"readout must be one of {', '.join(READOUTS)}, got {readout!r}"
    if simulator not in SIMULATORS:
        return f"simulator must be one of {', '.join(SIMULATORS)}, got {simulator!r}"
    chosen = SIMULATORS[simulator]
    if chosen.needs_closed_form and not closed.has_closed_form(ansatz):
        return (
            f"simulator={simulator} serves depth=1 or entanglement=none, got depth={ansatz.depth} and "
            f"entanglement={ansatz.entanglement}; choose simulator=statevector"
        )
    if chosen.needs_scalar and not scalar and ansatz.n_qubits > 1:
        return f"simulator={simulator} takes one input for all qubits, got one for each; choose simulator=statevector"
    return None


@dataclass(frozen=True)
class Simulator:
    """One way to run a circuit.

    Attributes:
        run: ``(ansatz, inputs, angles, readout)`` to psi_k.
        needs_closed_form, needs_scalar: what it is limited to.
    """

    run: Callable[[Ansatz, Tensor, Tensor, str], Tensor]
    needs_closed_form: bool = False
    needs_scalar: bool = False


def _fourier(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str) -> Tensor:
    node_K = series.nodes(ansatz, readout, dtype=inputs.dtype, device=inputs.device)
    sample_KQ = statevector(ansatz, node_K[:, None], angles_LRQ[..., None, :, :, :], readout)
    coefficients_Q2J = series.fit(ansatz, readout, sample_KQ.mT)
    return series.series_reference(ansatz, readout, coefficients_Q2J, inputs.expand(*inputs.shape[:-1], ansatz.n_qubits))


def _qiskit(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str) -> Tensor:
    # Imported when first asked for: half a second.
    from superpositional.circuits.backends.qiskit import run_qiskit

    return parameter_shift(run_qiskit, ansatz, encode(ansatz, inputs, angles_LRQ), readout)


def _aer(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str) -> Tensor:
    from superpositional.circuits.backends.qiskit import run_aer

    return parameter_shift(run_aer, ansatz, encode(ansatz, inputs, angles_LRQ), readout)


SIMULATORS: dict[str, Simulator] = {
    "closed_form": Simulator(closed.closed_form, needs_closed_form=True),
    "statevector": Simulator(statevector),
    "fourier": Simulator(_fourier, needs_scalar=True),
    "qiskit": Simulator(_qiskit),
    "aer": Simulator(_aer),
}


# Gradients where autograd cannot go --------------------------------------------------------------------------------


def parameter_shift(run: Runner, ansatz: Ansatz, gate_angles_LRQ: Tensor, readout: str) -> Tensor:
    """``run``, a function of ``(B, L, R, Q)`` that autograd cannot look into, as one that it can differentiate.

    Exact, not a finite difference: for ``R(a) = exp(-i a P / 2)`` a probability or <Z> has f'(a) = (f(a + pi/2) -
    f(a - pi/2)) / 2 (Mitarai et al. 2018, arXiv 1803.00745), and an amplitude, in which R is linear, f'(a) = f(a + pi) / 2.
    All shifted circuits of a batch run in one call. Differentiable any number of times.
    """
    batch = gate_angles_LRQ.shape[:-3]
    if math.prod(batch) == 0:
        return gate_angles_LRQ[..., 0, 0, :]  # empty, and still part of the graph
    flat_BLRQ = gate_angles_LRQ.reshape(-1, *ansatz.angles_shape)
    return _ParameterShift.apply(flat_BLRQ, run, ansatz, readout).reshape(*batch, ansatz.n_qubits)


class _ParameterShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate_angles_BLRQ: Tensor, run: Runner, ansatz: Ansatz, readout: str) -> Tensor:
        ctx.save_for_backward(gate_angles_BLRQ)
        ctx.rest = run, ansatz, readout
        return run(ansatz, gate_angles_BLRQ.detach(), readout)

    @staticmethod
    def backward(ctx, grad_BQ: Tensor) -> tuple[Tensor, None, None, None]:
        (gate_angles_BLRQ,) = ctx.saved_tensors
        run, ansatz, readout = ctx.rest
        count = ansatz.num_parameters
        step = torch.eye(count, dtype=grad_BQ.dtype, device=grad_BQ.device).reshape(count, 1, *ansatz.angles_shape)

        def shifted(by: float) -> Tensor:  # (P, B, Q): one angle moved in each
            return parameter_shift(run, ansatz, gate_angles_BLRQ + by * step, readout)

        linear = is_amplitude(readout)
        difference_PBQ = shifted(torch.pi) if linear else shifted(torch.pi / 2) - shifted(-torch.pi / 2)
        grad_PB = (grad_BQ * difference_PBQ / 2).sum(-1)
        return grad_PB.mT.reshape(gate_angles_BLRQ.shape), None, None, None
