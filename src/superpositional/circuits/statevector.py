"""A batched, differentiable statevector simulator in torch: float32 and float64, CPU and GPU, any number of qubits that
memory holds. Each rotation layer is one 2x2 matrix per qubit, each CNOT layer one permutation of the amplitudes.

Shapes: L layers, R rotations of a layer, Q qubits, S = 2**Q; what stands before is batch.
"""

import math
from decimal import Decimal

import psutil
import torch
from torch import Tensor

from superpositional.circuits.ansatz import Ansatz
from superpositional.circuits.readouts import read


def encode(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor) -> Tensor:
    """The angles that the gates really get, ``(..., L, R, Q)``, with inputs ``(..., Q)``, one per qubit, or
    ``(..., 1)``, one for all; batch dimensions broadcast."""
    check_shapes(ansatz, inputs, angles_LRQ)
    # Put together on the device: a captured CUDA graph takes nothing from the host.
    layer_L = torch.arange(ansatz.depth, device=inputs.device)
    rotation_R = torch.arange(len(ansatz.rotations), device=inputs.device)
    enters_R = sum(rotation_R == index for index, name in enumerate(ansatz.rotations) if name == "ry") > 0
    enters_LR1 = (layer_L < (ansatz.depth if ansatz.reupload else 1))[:, None, None] & enters_R[:, None]
    # Chosen, not multiplied by 0 and 1: an input that is not finite must not reach gates it does not enter.
    return torch.where(enters_LR1, angles_LRQ + inputs[..., None, None, :], angles_LRQ)


def check_shapes(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor) -> None:
    """Raise a ValueError where inputs or angles have not the shape or dtype that ``encode`` takes."""
    for name, tensor in (("inputs", inputs), ("angles", angles_LRQ)):
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} must be float32 or float64, got {tensor.dtype}; half precision cannot hold an angle")
    if inputs.shape[-1:] not in ((1,), (ansatz.n_qubits,)) or angles_LRQ.shape[-3:] != ansatz.angles_shape:
        raise ValueError(
            f"inputs must have shape (..., 1) or (..., {ansatz.n_qubits}) and angles (..., {ansatz.angles_shape}), "
            f"got {tuple(inputs.shape)} and {tuple(angles_LRQ.shape)}"
        )


def state(ansatz: Ansatz, gate_angles_LRQ: Tensor) -> Tensor:
    """Amplitudes ``(..., S)``, complex, of the circuit whose gates have these angles (``encode``)."""
    n, circuits = ansatz.n_qubits, math.prod(gate_angles_LRQ.shape[:-3])
    gradients = gate_angles_LRQ.requires_grad and torch.is_grad_enabled()
    require_memory(ansatz, circuits, gate_angles_LRQ.dtype, gate_angles_LRQ.device, gradients=gradients)
    unitary_LQ22 = unitaries(ansatz, gate_angles_LRQ)
    # Of one layer's CNOTs: amplitude i after them is amplitude source[i] before.
    source_S = torch.arange(2**n, device=gate_angles_LRQ.device)
    for control, target in reversed(ansatz.cnots):
        source_S = source_S ^ (((source_S >> (n - 1 - control)) & 1) << (n - 1 - target))
    # Up to the first CNOTs the state is a product of single qubits, each rotated from H|0> = (1, 1) / sqrt(2).
    qubit_Q2 = unitary_LQ22[..., 0, :, :, :].sum(-1) / math.sqrt(2)
    state_S = qubit_Q2[..., 0, :]
    for q in range(1, n):
        state_S = (state_S[..., :, None] * qubit_Q2[..., q, None, :]).flatten(-2)
    state_S = state_S[..., source_S]
    for layer in range(1, ansatz.depth):
        for q in range(n):
            # On the most significant qubit, which then becomes the least: after n of these the order is back.
            halves = state_S.unflatten(-1, (2, 2 ** (n - 1)))
            state_S = (unitary_LQ22[..., layer, q, :, :] @ halves).mT.flatten(-2)
        state_S = state_S[..., source_S]
    return state_S


def statevector(ansatz: Ansatz, inputs: Tensor, angles_LRQ: Tensor, readout: str) -> Tensor:
    """psi_k, ``(..., Q)``, by simulation of the full state; any readout."""
    return read(state(ansatz, encode(ansatz, inputs, angles_LRQ)), readout, ansatz.n_qubits)


def unitaries(ansatz: Ansatz, gate_angles_LRQ: Tensor) -> Tensor:
    """The product of each qubit's rotations in each layer: ``(..., L, Q, 2, 2)``, complex."""
    half_LRQ = gate_angles_LRQ / 2
    cos_LRQ, sin_LRQ = half_LRQ.cos(), half_LRQ.sin()
    product = None
    for index, name in enumerate(ansatz.rotations):
        cos_LQ, sin_LQ = cos_LRQ[..., index, :], sin_LRQ[..., index, :]
        zero = torch.zeros_like(cos_LQ)
        # exp(-i a P / 2) = cos(a/2) - i sin(a/2) P
        real, imaginary = {
            "rx": ((cos_LQ, zero, zero, cos_LQ), (zero, -sin_LQ, -sin_LQ, zero)),
            "ry": ((cos_LQ, -sin_LQ, sin_LQ, cos_LQ), (zero, zero, zero, zero)),
            "rz": ((cos_LQ, zero, zero, cos_LQ), (-sin_LQ, zero, zero, sin_LQ)),
        }[name]
        factor = torch.complex(torch.stack(real, -1), torch.stack(imaginary, -1)).unflatten(-1, (2, 2))
        product = factor if product is None else factor @ product
    return product


def require_memory(
    ansatz: Ansatz, circuits: int, dtype: torch.dtype, device: torch.device | None = None, *, gradients: bool = False
) -> None:
    """Raise a MemoryError, before anything is allocated, where the statevectors of so many circuits do not fit; ``dtype``
    is that of the angles, ``device`` None the host, and with ``gradients`` autograd keeps every gate's input."""
    # A gate has its input and its output at once, and a copy between.
    each = (3 + (ansatz.n_qubits * ansatz.depth if gradients else 0)) * 2 * dtype.itemsize
    need = circuits * each * 2**ansatz.n_qubits
    # Small ones are not worth asking the system, nor is what a compiler traces or a graph captures.
    cuda = device is not None and device.type == "cuda"
    if need < 2**28 or torch.compiler.is_compiling() or (cuda and torch.cuda.is_current_stream_capturing()):
        return
    if cuda:
        # What torch holds and does not use is free for it.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        available = torch.cuda.mem_get_info(device)[0] + unused
    else:
        available = psutil.virtual_memory().available
    if need > available:
        largest = int(math.log2(max(available / (circuits * each), 1)))
        cure = f"about n_qubits={largest} would fit" if largest else "fewer circuits at once would"
        plural = "s" * (circuits > 1)
        # In Decimal: 2 ** 2000 is no float.
        needs, free = (f"{Decimal(size) / 2**30:.3g}" for size in (need, available))
        raise MemoryError(
            f"n_qubits={ansatz.n_qubits} needs {needs} GiB for the statevector{plural} of {circuits} circuit{plural} at "
            f"depth={ansatz.depth}, and {free} GiB are free; {cure}"
        )
