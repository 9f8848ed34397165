"""The methods of ``Exact``, and the coefficients of Phi.

``evaluate(ansatz, inputs, angles, readout)`` gives psi_k by a method of ``EXACT``; all agree to 1e-12 in float64 and are
differentiable in inputs and angles, by autograd or for Qiskit and Aer by the parameter-shift rule. Narrow circuits on the
CPU run in C++ (``kernels``): the optimizer's registers, and the nodes of attention's series (``coefficients``) with the
gradient to the angles, which as some two hundred calls of torch would take longer than the attention.

Shapes: A sets of angles; L, R, Q as in ``Ansatz.angles_shape``; K nodes, J frequencies; S = 2**Q; what stands before is
batch.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import ROTATIONS, Ansatz
from superpositional.circuits.backends.base import weights
from superpositional.circuits.backends.gradients import estimate
from superpositional.circuits.backends.simulated import Exact
from superpositional.circuits.closed_form import closed_form, has_closed_form
from superpositional.circuits.kernels import build
from superpositional.circuits.readouts import READOUTS, is_amplitude
from superpositional.circuits.statevector import check_shapes, statevector

# So wide a state, of several circuits at once, lies within a processor's cache.
QUBITS = 12


def evaluate(
    ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str = "z", *, method: str = "statevector"
) -> Tensor:
    """psi_k, k = 1 ... n, of the circuit for each input: real, ``(..., Q)``, exact. (``estimate`` has shots and noise.)

    Args:
        ansatz, inputs, angles_LRQ, readout: as for ``gradients.estimate``.
        method: a key of ``EXACT``.

    Raises:
        ValueError: where the method cannot do it, naming one that can.
        MemoryError: where a statevector would not fit.
    """
    check_shapes(ansatz, inputs, angles_LRQ)
    if (wrong := refusal(ansatz, readout, method, scalar=inputs.shape[-1] == 1)) is not None:
        raise ValueError(wrong)
    return EXACT[method](ansatz, inputs, angles_LRQ, readout)


def refusal(ansatz: Ansatz, readout: str, method: str, *, scalar: bool = True) -> str | None:
    """Why this cannot be done and what can, or None if it can. ``scalar``: one input for all qubits."""
    if readout not in READOUTS:
        return f"readout must be one of {', '.join(READOUTS)}, got {readout!r}"
    if method not in EXACT:
        return f"method must be one of {', '.join(EXACT)}, got {method!r}"
    if method == "closed_form" and not has_closed_form(ansatz):
        got = f"depth={ansatz.depth} and entanglement={ansatz.entanglement}"
        return f"backend.method=closed_form serves depth=1 or entanglement=none, got {got}; choose statevector"
    if method == "closed_form" and readout != "z":
        return f"backend.method=closed_form gives readout=z, got readout={readout}; choose statevector"
    if method == "fourier" and not scalar and ansatz.n_qubits > 1:
        return "backend.method=fourier takes one input for all qubits, got one for each; choose statevector"
    return None


def _fourier(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str) -> Tensor:
    node_K = series.nodes(ansatz, readout, dtype=inputs.dtype, device=inputs.device)
    sample_KQ = statevector(ansatz, node_K[:, None], angles_LRQ[..., None, :, :, :], readout)
    coefficients_Q2J = series.fit(ansatz, readout, sample_KQ.mT)
    return series.series_reference(ansatz, readout, coefficients_Q2J, inputs.expand(*inputs.shape[:-1], ansatz.n_qubits))


EXACT: dict[str, Callable[[Ansatz, Tensor, Tensor, str], Tensor]] = {
    "closed_form": closed_form,
    "statevector": statevector,
    "fourier": _fourier,
    "qiskit": lambda *given: estimate(Exact("qiskit"), *given).mean_BC,
    "aer": lambda *given: estimate(Exact("aer"), *given).mean_BC,
}


def compiled(ansatz: Ansatz, angles_LRQ: Tensor | None = None) -> build.Circuit:
    """The circuit as kernels take it. ``angles_LRQ``: fixed ones, float64 and contiguous."""
    entanglement = ("none", "linear", "ring").index(ansatz.entanglement)
    made = build.Circuit(ansatz.n_qubits, ansatz.depth, len(ansatz.rotations), entanglement, ansatz.reupload)
    made.kinds[: len(ansatz.rotations)] = [ROTATIONS.index(name) for name in ansatz.rotations]
    made.angles = None if angles_LRQ is None else angles_LRQ.data_ptr()
    made.held = angles_LRQ  # as long as there is a pointer to them
    return made


def compiles(ansatz: Ansatz, qubits: int = QUBITS) -> bool:
    """Whether kernels have room for the circuit."""
    return ansatz.n_qubits <= qubits and len(ansatz.rotations) <= 16


def coefficients(ansatz: Ansatz, readout: str, angles_ALRQ: Tensor) -> Tensor:
    """Fourier coefficients ``(A, 2, J)`` of Phi = sum_k psi_k at these angles, differentiable any number of times."""
    if compiles(ansatz) and angles_ALRQ.shape[1:] == ansatz.angles_shape and build.serves(angles_ALRQ):
        return _Coefficients.apply(angles_ALRQ, ansatz, readout)
    return coefficients_reference(ansatz, readout, angles_ALRQ)


def coefficients_reference(
    ansatz: Ansatz, readout: str, angles_ALRQ: Tensor, method: str = "statevector", nodes: int | None = None
) -> Tensor:
    """The same as it is said: the circuit at the nodes, as many as coefficients or more, and their values transformed."""
    node_K = series.nodes(ansatz, readout, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device, count=nodes)
    sample_AKQ = evaluate(ansatz, node_K[:, None], angles_ALRQ[:, None], readout, method=method)
    return series.fit(ansatz, readout, sample_AKQ.sum(-1))


class _Coefficients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, angles_ALRQ: Tensor, ansatz: Ansatz, readout: str) -> Tensor:
        ctx.save_for_backward(angles_ALRQ)
        ctx.plain = ansatz, readout
        wide_ALRQ = angles_ALRQ.double().contiguous()
        found_AC = wide_ALRQ.new_zeros(len(angles_ALRQ), _fixed(ansatz, readout)[2].shape[1])
        _at_nodes(ansatz, readout, wide_ALRQ, found_AC, None, None)
        return found_AC.unflatten(1, (2, -1)).to(angles_ALRQ.dtype)

    @staticmethod
    def backward(ctx, grad_A2J: Tensor) -> tuple[Tensor, None, None]:
        (angles_ALRQ,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # of create_graph: this can be differentiated again
            found = coefficients_reference(*ctx.plain, angles_ALRQ)
            return *torch.autograd.grad(found, angles_ALRQ, grad_A2J, create_graph=True), None, None
        wide_ALRQ, above_AC = angles_ALRQ.double().contiguous(), grad_A2J.double().resolve_neg().contiguous()
        grad_ALRQ = torch.zeros_like(wide_ALRQ)
        _at_nodes(*ctx.plain, wide_ALRQ, None, above_AC, grad_ALRQ)
        return grad_ALRQ.to(angles_ALRQ.dtype), None, None


def _at_nodes(ansatz: Ansatz, readout: str, angles_ALRQ: Tensor, *passed: Tensor | None) -> None:
    """Write the coefficients, or read the gradient to them and write that to the angles; all in float64."""
    made, weight_S, basis_KC = _fixed(ansatz, readout)
    given = angles_ALRQ.data_ptr(), len(angles_ALRQ), weight_S.data_ptr(), is_amplitude(readout), basis_KC.data_ptr()
    pointers = (None if each is None else each.data_ptr() for each in passed)
    build.kernel("nodes", torch.float64)(made, *given, *basis_KC.shape, *pointers)


@lru_cache(maxsize=16)
def _fixed(ansatz: Ansatz, readout: str) -> tuple[build.Circuit, Tensor, Tensor]:
    """What does not depend on the angles: what each basis state counts in Phi, ``(S,)``, and the transform, ``(K, 2J)``."""
    weight_S = weights(readout, ansatz.n_qubits, total=True).squeeze(1).contiguous()
    # Of a sample at each node alone.
    basis_KC = series.fit(ansatz, readout, torch.eye(series.node_count(ansatz, readout), dtype=torch.float64, device="cpu"))
    return compiled(ansatz), weight_S, basis_KC.flatten(1).contiguous()
