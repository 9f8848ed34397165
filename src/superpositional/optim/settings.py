"""Checks of the optimizer's settings, and the two forms a perturbation has: an object, and plain values in groups."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from superpositional.optim.circuit_perturbation import CircuitPerturbation, perturbation_from
from superpositional.optim.perturbations import DRAWN, Called, Drawn
from superpositional.optim.scope import SCOPES, scalars, scoped

INJECTIONS = ("update", "moments")


def check_size(groups: list[dict[str, Any]]) -> None:
    """See that registers are neither larger than what there is nor spread over ranks."""
    for group in groups:
        if not isinstance(group["perturbation"], str) and any(
            not placement.is_replicate()
            for parameter, _ in scoped(groups, group)
            for placement in getattr(parameter, "placements", ())
        ):
            raise ValueError(
                "perturbation must be 'sine' where parameters are sharded, got one that reads whole registers, which would "
                "lie on several ranks; keep the parameters whole, or use perturbation='sine'"
            )
    if any(torch.nn.parameter.is_lazy(parameter) for group in groups for parameter in group["params"]):
        return
    total = sum(scalars(parameter) for group in groups for parameter in group["params"])
    for group in groups:
        if group["n_qubits"] > total and (isinstance(group["quantum_weight"], Tensor) or group["quantum_weight"] != 0):
            raise ValueError(
                f"n_qubits must be at most the number of scalars to optimize, {total}, got {group['n_qubits']}; "
                f"the usual register is 4"
            )


def as_object(perturbation: Any) -> Any:
    """A perturbation that reads whole blocks as the object, anything else as it is."""
    if isinstance(perturbation, (CircuitPerturbation, Drawn, Called)):
        return perturbation
    if callable(perturbation):
        return Called(perturbation)
    named = isinstance(perturbation, str) and perturbation in DRAWN
    return perturbation_from(perturbation) if named or isinstance(perturbation, Mapping) else perturbation


def as_plain(perturbation: Any) -> Any:
    """A perturbation as param groups and checkpoints hold it: plain values, which torch.load reads with weights_only."""
    if isinstance(perturbation, Called):
        return perturbation.seeded()
    reads_blocks = isinstance(perturbation, (CircuitPerturbation, Drawn))
    return perturbation.seeded().plain() if reads_blocks else perturbation


def check(group: dict[str, Any]) -> None:
    """Every argument out of range, with its cure, in one error."""

    def number(value: Any) -> bool:
        if isinstance(value, Tensor):
            # The value of a tensor on an accelerator is not read: that would wait for the device.
            return value.numel() == 1 and not value.is_complex()
        # numbers' classes also hold NumPy's scalars.
        return isinstance(value, numbers.Real) and not isinstance(value, bool)

    def at_least_zero(value: Any) -> bool:
        # Written so that NaN fails.
        return number(value) and (isinstance(value, Tensor) or 0 <= value < math.inf)

    mistakes = []
    for key, cure in (
        ("lr", "the paper's values are 1e-3 and 2e-5"),
        ("eps", "Adam's usual value is 1e-8"),
        ("weight_decay", "0 decays nothing"),
        ("quantum_weight", "0 recovers AdamW"),
    ):
        if not at_least_zero(group[key]):
            mistakes.append(f"{key} must be a finite number >= 0, got {group[key]!r}; {cure}")
    betas = group["betas"]
    pair = isinstance(betas, Sequence) and not isinstance(betas, str) and len(betas) == 2
    if not pair or not all(number(beta) and (isinstance(beta, Tensor) or 0 <= beta < 1) for beta in betas):
        mistakes.append(f"betas must be two numbers in [0, 1), got {betas!r}; Adam's usual ones are (0.9, 0.999)")
    for key, cure in (("n_qubits", "the paper has 4"), ("stats_every", "100 costs next to nothing")):
        if isinstance(group[key], bool) or not isinstance(group[key], numbers.Integral) or group[key] < 1:
            mistakes.append(f"{key} must be an integer >= 1, got {group[key]!r}; {cure}")
    for key, choices in (("scope", SCOPES), ("inject", INJECTIONS)):
        if group[key] not in choices:
            mistakes.append(f"{key} must be one of {', '.join(choices)}, got {group[key]!r}")
    try:
        perturbation = perturbation_from(group["perturbation"])
    except (ValueError, TypeError, KeyError) as error:
        mistakes += str(error).splitlines()
    else:
        width = perturbation.ansatz.n_qubits if isinstance(perturbation, CircuitPerturbation) else group["n_qubits"]
        if width != group["n_qubits"] and not any(mistake.startswith("n_qubits") for mistake in mistakes):
            mistakes.append(
                f"n_qubits must be that of the perturbation's circuit, got {group['n_qubits']!r}; pass n_qubits={width}"
            )
        if group.get("capturable") and (
            isinstance(perturbation, Called) or getattr(perturbation, "kind", None) == "random_sign"
        ):
            name = perturbation.name if isinstance(perturbation, Called) else "'random_sign'"
            mistakes.append(f"capturable must be false with perturbation={name}, got true: a graph would replay one draw")
    if group.get("differentiable"):
        mistakes.append(
            f"differentiable must be false, got {group['differentiable']!r}: the step goes without autograd; "
            "use torch.optim.AdamW to differentiate through steps"
        )
    if not isinstance(group["bias_correction"], bool):
        mistakes.append(f"bias_correction must be true or false, got {group['bias_correction']!r}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
