"""The methods of ``Exact``, behind one signature and in one table.

``evaluate(ansatz, inputs, angles, readout)`` gives psi_k, and ``EXACT`` says which method can do what. All agree to 1e-12
in float64 and are differentiable in inputs and angles: by autograd, or for Qiskit and Aer by the parameter-shift rule.

Shapes: B circuits; L, R, Q as in ``Ansatz.angles_shape``; what stands before is batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from superpositional.circuits import closed_form as closed
from superpositional.circuits import series
from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.gradients import estimate
from superpositional.circuits.backends.simulated import Exact
from superpositional.circuits.readouts import READOUTS
from superpositional.circuits.statevector import check_shapes, statevector


def evaluate(
    ansatz: Ansatz,
    inputs: Tensor,
    angles_LRQ: Tensor,
    readout: str = "z",
    *,
    method: str = "statevector",
) -> Tensor:
    """psi_k, k = 1 ... n, of the circuit for each input: real, ``(..., Q)``, exact. (``backends`` has shots and noise.)

    Args:
        ansatz: the circuit.
        inputs: ``(..., Q)``, an input per qubit (radians), or ``(..., 1)``, one for all.
        angles_LRQ: ``(..., *ansatz.angles_shape)`` in radians; its batch dimensions broadcast against those of ``inputs``.
        readout: what psi_k is, one of ``readouts.READOUTS``.
        method: a key of ``EXACT``.

    Raises:
        ValueError: where the simulator cannot do it, naming one that can.
        MemoryError: where a statevector would not fit.
    """
    check_shapes(ansatz, inputs, angles_LRQ)
    if (wrong := refusal(ansatz, readout, method, scalar=inputs.shape[-1] == 1)) is not None:
        raise ValueError(wrong)
    return EXACT[method].run(ansatz, inputs, angles_LRQ, readout)


def refusal(ansatz: Ansatz, readout: str, method: str, *, scalar: bool = True) -> str | None:
    """Why this cannot be done and what can, or None if it can. ``scalar``: one input for all qubits."""
    if readout not in READOUTS:
        return f"readout must be one of {', '.join(READOUTS)}, got {readout!r}"
    if method not in EXACT:
        return f"method must be one of {', '.join(EXACT)}, got {method!r}"
    chosen = EXACT[method]
    if chosen.needs_closed_form and not closed.has_closed_form(ansatz):
        return (
            f"backend.method={method} serves depth=1 or entanglement=none, got depth={ansatz.depth} and "
            f"entanglement={ansatz.entanglement}; choose statevector"
        )
    if chosen.needs_scalar and not scalar and ansatz.n_qubits > 1:
        return f"backend.method={method} takes one input for all qubits, got one for each; choose statevector"
    return None


@dataclass(frozen=True)
class Method:
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


def _foreign(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str, *, method: str) -> Tensor:
    return estimate(Exact(method), ansatz, inputs, angles_LRQ, readout).mean_BC


EXACT: dict[str, Method] = {
    "closed_form": Method(closed.closed_form, needs_closed_form=True),
    "statevector": Method(statevector),
    "fourier": Method(_fourier, needs_scalar=True),
    "qiskit": Method(partial(_foreign, method="qiskit")),
    "aer": Method(partial(_foreign, method="aer")),
}
