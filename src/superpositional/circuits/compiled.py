"""Which circuits run without torch?

Narrow ones on the CPU, exactly: the optimizer's registers, and the nodes of attention's series with the gradient to the
angles, which as some two hundred calls of torch would take longer than the attention. ``kernels`` has the loops;
``statevector`` and the transform of ``series`` are what they are held to. Read by perturbation and attention.

Shapes: A sets of angles; L, R, Q as in ``Ansatz.angles_shape``; K nodes, J frequencies; S = 2**Q.
"""

from functools import lru_cache

import torch
from torch import Tensor

from superpositional.circuits import series
from superpositional.circuits.ansatz import ROTATIONS, Ansatz
from superpositional.circuits.backends.base import weights
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.kernels import build
from superpositional.circuits.readouts import is_amplitude

# So wide a state, of several circuits at once, lies within a processor's cache.
QUBITS = 12


def circuit(ansatz: Ansatz, angles_LRQ: Tensor | None = None) -> build.Circuit:
    """The circuit as kernels take it. ``angles_LRQ``: fixed ones, float64 and contiguous."""
    made = build.Circuit(
        n_qubits=ansatz.n_qubits,
        depth=ansatz.depth,
        rotations=len(ansatz.rotations),
        entanglement=("none", "linear", "ring").index(ansatz.entanglement),
        reupload=ansatz.reupload,
        angles=None if angles_LRQ is None else angles_LRQ.data_ptr(),
    )
    made.held = angles_LRQ  # as long as there is a pointer to them
    made.kinds[: len(ansatz.rotations)] = [ROTATIONS.index(name) for name in ansatz.rotations]
    return made


def fits(ansatz: Ansatz, qubits: int = QUBITS) -> bool:
    """Whether kernels have room for it."""
    return ansatz.n_qubits <= qubits and len(ansatz.rotations) <= 16


def coefficients(ansatz: Ansatz, readout: str, angles_ALRQ: Tensor) -> Tensor:
    """Fourier coefficients ``(A, 2, J)`` of Phi = sum_k psi_k at these angles, differentiable any number of times."""
    if fits(ansatz) and angles_ALRQ.shape[1:] == ansatz.angles_shape and build.serves(angles_ALRQ):
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
        made, weight_S, basis_KC = _fixed(ansatz, readout)
        wide_ALRQ = angles_ALRQ.double().contiguous()
        found_AC = wide_ALRQ.new_zeros(len(angles_ALRQ), basis_KC.shape[1])
        given = wide_ALRQ.data_ptr(), len(angles_ALRQ), weight_S.data_ptr(), is_amplitude(readout), basis_KC.data_ptr()
        build.kernel("nodes", torch.float64)(made, *given, *basis_KC.shape, found_AC.data_ptr(), None, None)
        return found_AC.unflatten(1, (2, -1)).to(angles_ALRQ.dtype)

    @staticmethod
    def backward(ctx, grad_A2J: Tensor) -> tuple[Tensor, None, None]:
        (angles_ALRQ,) = ctx.saved_tensors
        ansatz, readout = ctx.plain
        if torch.is_grad_enabled():  # of create_graph: this can be differentiated again
            found = coefficients_reference(ansatz, readout, angles_ALRQ)
            return *torch.autograd.grad(found, angles_ALRQ, grad_A2J, create_graph=True), None, None
        made, weight_S, basis_KC = _fixed(ansatz, readout)
        wide_ALRQ, above_AC = angles_ALRQ.double().contiguous(), grad_A2J.double().resolve_neg().contiguous()
        grad_ALRQ = torch.zeros_like(wide_ALRQ)
        given = wide_ALRQ.data_ptr(), len(angles_ALRQ), weight_S.data_ptr(), is_amplitude(readout), basis_KC.data_ptr()
        nodes = build.kernel("nodes", torch.float64)
        nodes(made, *given, *basis_KC.shape, None, above_AC.data_ptr(), grad_ALRQ.data_ptr())
        return grad_ALRQ.to(angles_ALRQ.dtype), None, None


@lru_cache(maxsize=16)
def _fixed(ansatz: Ansatz, readout: str) -> tuple[build.Circuit, Tensor, Tensor]:
    """What does not depend on the angles: what each basis state counts in Phi, ``(S,)``, and the transform, ``(K, 2J)``."""
    weight_S = weights(readout, ansatz.n_qubits, total=True).squeeze(1).contiguous()
    # Of a sample at each node alone.
    basis_KC = series.fit(ansatz, readout, torch.eye(series.node_count(ansatz, readout), dtype=torch.float64, device="cpu"))
    return circuit(ansatz), weight_S, basis_KC.flatten(1).contiguous()
