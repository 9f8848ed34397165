"""Estimates on any backend, with gradients.

Where autograd cannot look into a backend, by the parameter-shift rule: for ``R(a) = exp(-i a P / 2)`` a probability or <Z>
has f'(a) = (f(a + pi/2) - f(a - pi/2)) / 2 (Mitarai et al. 2018, arXiv 1803.00745; Schuld et al. 2019, arXiv 1811.11184),
exact, so with shots unbiased, of variance (v(a + pi/2) + v(a - pi/2)) / 4; and an amplitude, in which R is linear,
f'(a) = f(a + pi) / 2. A circuit and all its shifted ones go to the backend in one call.

Shapes: B circuits; C numbers of each; P = L * R * Q angles; what stands before is batch.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.backends.base import Backend, Estimate
from superpositional.circuits.readouts import is_amplitude
from superpositional.circuits.statevector import encode


@torch._disable_dynamo  # what a device does is nothing to compile; torch.compiler.disable would import the compiler
def estimate(
    backend: Backend,
    ansatz: Ansatz,
    inputs: Tensor,
    angles_LRQ: Tensor,
    readout: str = "z",
    *,
    total: bool = False,
    seed: int | None = None,
) -> Estimate:
    """psi_k, or with ``total`` their sum, of the circuit for each input: ``(..., C)``, with standard errors.

    The mean is differentiable in inputs and angles: by autograd where the backend allows it, any number of times, and
    elsewhere once, by the parameter-shift rule. Of a circuit with an angle that is not finite, mean and error are NaN.

    Args:
        backend, ansatz: where the circuits run, and which.
        inputs: ``(..., Q)``, an input per qubit (radians), or ``(..., 1)``, one for all.
        angles_LRQ: ``(..., *ansatz.angles_shape)`` in radians; batch dimensions broadcast against those of ``inputs``.
        readout: what psi_k is, one of ``circuits.readouts.READOUTS``.
        total: sum over k.
        seed: of the shots, an integer in [0, 2**63): needed where the backend has any and takes a seed.

    Raises:
        ValueError: where the backend cannot do it, naming one that can.
        BackendError: where a device fails at every attempt.
    """
    if (wrong := backend.refusal(ansatz, readout)) is not None:
        raise ValueError(wrong)
    gate_angles_LRQ = encode(ansatz, inputs, angles_LRQ)
    batch, numbers = gate_angles_LRQ.shape[:-3], 1 if total else ansatz.n_qubits
    flat_BLRQ = gate_angles_LRQ.reshape(-1, *ansatz.angles_shape)
    if math.prod(batch) == 0:
        empty = flat_BLRQ.flatten(1)[:, :1].expand(-1, numbers)  # and still part of the graph
        return Estimate(empty.reshape(*batch, numbers), torch.zeros_like(empty).reshape(*batch, numbers))
    # Under autocast a simulator's matrix products would be of half precision.
    with torch.autocast(flat_BLRQ.device.type, enabled=False):
        if backend.differentiates or not (flat_BLRQ.requires_grad and torch.is_grad_enabled()):
            found = _run(backend, ansatz, flat_BLRQ, readout, total, seed)
        else:
            found = Estimate(*_Shifted.apply(flat_BLRQ, backend, ansatz, readout, total, seed))
    return Estimate(*(each.reshape(*batch, numbers) for each in found))


def shifts(readout: str) -> tuple[float, ...]:
    """By how much each angle is moved for its derivative."""
    return (torch.pi,) if is_amplitude(readout) else (torch.pi / 2, -torch.pi / 2)


def circuits_of_gradient(ansatz: Ansatz, readout: str) -> int:
    """Shifted circuits for each circuit whose gates' angles are all differentiated."""
    return len(shifts(readout)) * ansatz.num_parameters


def with_shifts(ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str) -> Tensor:
    """Each circuit, then all with one angle moved, angle after angle, shift after shift: ``((1 + SP) B, L, R, Q)``."""
    count = ansatz.num_parameters
    step_P1LRQ = torch.eye(count, dtype=gate_angles_BLRQ.dtype, device=gate_angles_BLRQ.device)
    step_P1LRQ = step_P1LRQ.reshape(count, 1, *ansatz.angles_shape)
    moved = [(gate_angles_BLRQ + by * step_P1LRQ).flatten(0, 1) for by in shifts(readout)]
    return torch.cat([gate_angles_BLRQ, *moved])


def _run(backend: Backend, ansatz: Ansatz, angles_BLRQ: Tensor, readout: str, total: bool, seed: int | None) -> Estimate:
    """``backend.run`` of the circuits whose angles are all finite; the others have no value."""
    finite_B = angles_BLRQ.detach().flatten(1).isfinite().all(1)
    if backend.differentiates or finite_B.all():
        return backend.run(ansatz, angles_BLRQ, readout, total=total, seed=seed)
    shape = len(finite_B), 1 if total else ansatz.n_qubits
    found = Estimate(*(angles_BLRQ.new_full(shape, torch.nan) for _ in range(2)))
    if finite_B.any():
        known = backend.run(ansatz, angles_BLRQ[finite_B], readout, total=total, seed=seed)
        for all_BC, known_BC in zip(found, known, strict=True):
            all_BC[finite_B] = known_BC
    return found


class _Shifted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, angles_BLRQ: Tensor, backend: Backend, ansatz: Ansatz, readout: str, total: bool, seed: int | None):
        batch = len(angles_BLRQ)
        found = _run(backend, ansatz, with_shifts(ansatz, angles_BLRQ.detach(), readout), readout, total, seed)
        up_PBC, *down = found.mean_BC[batch:].unflatten(0, (-1, ansatz.num_parameters, batch)).unbind(0)
        ctx.save_for_backward((up_PBC - sum(down)) / 2)
        ctx.shape = angles_BLRQ.shape
        error_BC = found.error_BC[:batch]
        ctx.mark_non_differentiable(error_BC)
        # A copy: what is saved is no longer held by what is returned.
        return found.mean_BC[:batch].clone(), error_BC

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BC: Tensor, _: Tensor):
        (slope_PBC,) = ctx.saved_tensors
        return (grad_BC * slope_PBC).sum(-1).mT.reshape(ctx.shape), None, None, None, None, None
