"""How wrong is what a backend says?

Against the exact circuit, which every width that is simulated here has: what shots and noise leave of Phi, of the gradient
to its angles, and of the optimizer's modulation. Nothing is executed for it on a device. Read by ``circuit_statistics``.

Shapes: A sets of angles, K nodes, J frequencies; L, R, Q as in ``Ansatz.angles_shape``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from superpositional.attention import QuantumAttention
from superpositional.attention.inputs import wide
from superpositional.circuits import series
from superpositional.circuits.backends import Exact
from superpositional.circuits.backends.exact import coefficients, compiles
from superpositional.optim.circuit_perturbation import CircuitPerturbation


def of_attention(modules: Mapping[str, QuantumAttention]) -> Iterator[tuple[str, float]]:
    """Of each module whose last pass ran on a backend, after its backward pass:

    - ``phi_error``: root mean square of the fitted Phi less the exact one, over one turn of the score and all heads;
    - ``phi_standard_error``: what the standard errors at the nodes predict for it; shots alone make them the same;
    - ``gradient_error``: how far the angles' gradient is from the exact one for the same gradient to Phi, in its norm.
    """
    exact: dict[str, Tensor] = {}
    for name, module in modules.items():
        if module.measured_coefficients is None or not compiles(module.ansatz):
            continue
        angles_ALRQ = module.angles.detach().double().requires_grad_()
        with torch.enable_grad():
            coefficients_A2J = coefficients(module.ansatz, module.readout, angles_ALRQ)
            if module.measured_gradient is not None:
                above_A2J = module.measured_gradient.double()
                (exact[name],) = torch.autograd.grad(coefficients_A2J, angles_ALRQ, above_A2J)
        difference_A2J = module.measured_coefficients.double() - coefficients_A2J.detach()
        yield f"{name}/phi_error", float(_mean_square(module, difference_A2J).sqrt())
        yield f"{name}/phi_standard_error", float(predicted(module))
    by_angles: dict[int, list[str]] = {}
    for name in exact:
        by_angles.setdefault(id(modules[name].angles), []).append(name)
    for names in by_angles.values():
        # Layers that share their angles share their gradient.
        found = modules[names[0]].angles.grad
        should = sum(exact[name] for name in names)
        if found is not None and (norm := torch.linalg.vector_norm(should)) > 0:
            error = float(torch.linalg.vector_norm(wide(found).double() - should) / norm)
            yield from ((f"{name}/gradient_error", error) for name in names)


def predicted(module: QuantumAttention) -> Tensor:
    """Root mean square over a turn of the score, and over heads, of the standard error of Phi."""
    error_AK = module.node_error_AK.double()
    one_KK = torch.eye(error_AK.shape[1], dtype=error_AK.dtype, device=error_AK.device)
    share_K2J = series.fit(module.ansatz, module.readout, one_KK)
    size_K = torch.stack([_mean_square(module, each) for each in share_K2J[:, None]])
    return (error_AK.square() * size_K).sum(1).mean().sqrt()


def of_modulation(perturbation: CircuitPerturbation, blocks: list[list[Tensor]], call: tuple[int, ...]) -> float:
    """Root mean square of the modulation less the exact one, over the scalars of these blocks; the step's own shots."""
    with torch.no_grad():
        found = torch.cat([each.flatten() for each in perturbation(blocks, call)])
        should = torch.cat([each.flatten() for each in replace(perturbation, backend=Exact())(blocks, call)])
    return float((found - should).square().mean().sqrt())


def _mean_square(module: QuantumAttention, coefficients_A2J: Tensor) -> Tensor:
    """Of a series over a turn (two, where its frequencies are half-integers), and over its sets: Parseval's identity."""
    doubled = series.doubled_frequencies(module.ansatz, module.readout)
    weight_J = coefficients_A2J.new_tensor([1.0 if twice == 0 else 0.5 for twice in doubled])
    return (coefficients_A2J.square().sum(-2) * weight_J).sum(-1).mean()
