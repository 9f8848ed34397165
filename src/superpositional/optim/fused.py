"""A step of superpositional gradient descent by kernels, on the CPU.

``FewScalars`` is ``term.Term`` for the weights that eq. (2) of Pamuk et al. 2025 touches at scope ``model`` and ``tensor``,
of the sine or a simulated circuit: two calls around torch's own step, of a few microseconds each. ``OnePass`` is the whole
step, AdamW and sine, of a group at scope ``all``: each number goes through the processor once, as in torch's fused AdamW.
``Term`` and torch's step are what both are held to, and serve all else.
"""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from superpositional.circuits.kernels import build
from superpositional.optim.circuit_perturbation import CircuitPerturbation, perturbation_from
from superpositional.optim.term import Term, compared

# Fewer scalars than these are done before a second thread has begun.
ALONE = 2**15
# Of optimizer.h: how many scalars share a sum in single precision, and what is summed up of each.
CHUNK = 4096
NUMBERS = 5
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


class FewScalars(Term):
    """A group's term where it touches some scalars at the head of some tensors, for ``inject="update"``."""

    def __init__(
        self, optimizer: AdamW, group: dict[str, Any], touched: Sequence[tuple[Tensor, int]], circuit: Any, sampled: bool
    ) -> None:
        """``touched``: parameters with how many of their leading scalars; all have a gradient. ``circuit``: None is the
        sine. ``sampled``: whether AdamW's step is measured too."""
        self.optimizer, self.group, self.touched, self.sampled = optimizer, group, touched, sampled
        self.counts = [count for _, count in touched]
        self.parameters = (build.Parameter * len(touched))(
            *((theta.data_ptr(), theta.grad.data_ptr(), None, None, None, count) for theta, count in touched)
        )
        first = touched[0][0]
        self.terms = first.new_empty(sum(self.counts))
        each = group["scope"] == "tensor"
        self.circuits = circuit and circuit.registers(self.counts if each else [len(self.terms)])
        before = build.kernel("term_before", first.dtype)
        given = self.parameters, len(touched), circuit and circuit.compiled(), each, group["quantum_weight"]
        # The weights are read here, before any of them moves.
        self.nonzero_gradient = before(*given, self.terms.data_ptr())

    @classmethod
    def of(
        cls, optimizer: AdamW, group: dict[str, Any], scope: Sequence[tuple[Tensor, int]], steps: int
    ) -> "FewScalars | None":
        """The term of the group's parameters in scope after this many steps; None where kernels cannot take them."""
        if group["scope"] == "all" or group["inject"] != "update" or not _plain(optimizer, group):
            return None
        circuit = None
        if group["perturbation"] != "sine":
            circuit = perturbation_from(group["perturbation"])
            if not isinstance(circuit, CircuitPerturbation) or circuit.compiled() is None:
                return None
        touched = [each for each in scope if each[0].grad is not None]
        # A weight without a gradient is still part of its register.
        if not touched or (circuit and len(touched) < len(scope)):
            return None
        sampled = steps % group["stats_every"] == 0
        read = group["params"] if sampled else [parameter for parameter, _ in touched]
        served = _served(optimizer, [parameter for parameter in read if parameter.grad is not None], state=sampled)
        return cls(optimizer, group, touched, circuit, sampled) if served else None

    def enter_update(self, overflow: None) -> dict[str, int | Tensor]:
        lr = self.group["lr"] * (-1 if self.group["maximize"] else 1)
        comparison = self.compare() if self.sampled else {}
        squares = ctypes.c_double()
        after = build.kernel("term_after", self.terms.dtype)
        changed = after(self.parameters, len(self.touched), lr, self.terms.data_ptr(), squares)
        torch.autograd.graph.increment_version([parameter for parameter, _ in self.touched])
        nonzero_gradient, changed = torch.tensor((self.nonzero_gradient, changed), device="cpu").unbind()
        return {
            "touched": len(self.terms),
            "nonzero_gradient": nonzero_gradient,
            "changed": changed,
            "perturbation_norm": torch.tensor(math.sqrt(squares.value), dtype=torch.float32, device="cpu"),
            **({} if self.circuits is None else {"circuits": self.circuits}),
            **comparison,
        }

    def compare(self) -> dict[str, Tensor]:
        group = self.group
        displacement = build.kernel("displacement", self.terms.dtype)
        parts = {id(each): part for (each, _), part in zip(self.touched, self.terms.split(self.counts), strict=True)}
        squares, product = 0.0, 0.0
        for parameter in [parameter for parameter in group["params"] if parameter.grad is not None]:
            plain = _group(group, parameter.numel())
            (structure,) = _parameters(self.optimizer, group, [parameter])
            part = parts.get(id(parameter), self.terms[:0])
            steps = torch.empty_like(part)
            sums = part.new_empty(-(-parameter.numel() // CHUNK), dtype=torch.float64)
            squares += displacement(structure, plain, len(steps), steps.data_ptr(), sums.data_ptr())
            if len(steps):
                product -= float((steps.double() * part.double()).sum())
        sign, lr = -1 if group["maximize"] else 1, group["lr"]
        size = lr * torch.linalg.vector_norm(self.terms.double())
        whole, along = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (squares, product * lr * sign))
        return compared("update", whole.sqrt(), size, along)


class OnePass:
    """A group's whole step at scope ``all``, after ``steps`` of them, where ``serves`` says that it can."""

    def __init__(self, group: dict[str, Any], steps: int) -> None:
        self.group, self.sampled = group, steps % group["stats_every"] == 0

    @staticmethod
    def serves(optimizer: AdamW, group: dict[str, Any]) -> bool:
        """Whether one kernel can do all of the group's step."""
        if group["scope"] != "all" or group["perturbation"] != "sine" or group["inject"] != "update":
            return False
        if not _plain(optimizer, group) or not group["decoupled_weight_decay"]:
            return False
        given = [parameter for parameter in group["params"] if parameter.grad is not None]
        return bool(given) and _served(optimizer, given)

    def step(self, optimizer: AdamW) -> dict[str, int | Tensor]:
        """Take it; returns its statistics."""
        group, parameters, counts = self.group, [], []
        # Makes the state of parameters that are new, as torch's step does.
        optimizer._init_group(group, parameters, [], [], [], [], counts)
        _count_up(counts)
        structures = _parameters(optimizer, group, parameters)
        sizes = [parameter.numel() for parameter in parameters]
        chunks = sum(-(-size // CHUNK) for size in sizes)
        numbers = parameters[0].new_empty(chunks, NUMBERS, dtype=torch.float64)
        total = parameters[0].new_empty(NUMBERS, dtype=torch.float64)
        plain = _group(group, sum(sizes))
        adamw = build.kernel("adamw", parameters[0].dtype)
        adamw(structures, len(structures), plain, numbers.data_ptr(), total.data_ptr())
        torch.autograd.graph.increment_version(parameters)
        nonzero, changed, term, step, product = total.unbind()
        size = group["lr"] * term.sqrt()
        return {
            "touched": sum(sizes),
            "nonzero_gradient": nonzero.long(),
            "changed": changed.long(),
            "perturbation_norm": term.sqrt().float(),
            **(compared("update", step.sqrt(), size, product) if self.sampled else {}),
        }


def adamw_of_torch(optimizer: AdamW, group: dict[str, Any]) -> bool:
    """Take torch's fused step of a group on the CPU, by torch's kernel, without its sorting and counting, which for a small
    model takes longer than the step. False, and nothing done, for other groups."""
    if not group["fused"] or not _plain(optimizer, group) or not group["decoupled_weight_decay"]:
        return False
    given = [parameter for parameter in group["params"] if parameter.grad is not None]
    states = [optimizer.state.get(parameter) for parameter in given]
    if not given or not all(states) or not _are_known(optimizer, given, states):
        return False
    steps = [state["step"] for state in states]
    largest = [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else []
    grads = [parameter.grad for parameter in given]
    first, second = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
    settings = {key: group[key] for key in ("lr", "weight_decay", "eps", "amsgrad", "maximize")}
    beta1, beta2 = group["betas"]
    _count_up(steps)
    torch._fused_adamw_(given, grads, first, second, largest, steps, beta1=beta1, beta2=beta2, **settings)
    return True


def _plain(optimizer: AdamW, group: dict[str, Any]) -> bool:
    """Whether the group's numbers are numbers and nothing scales its gradients."""
    scaled = getattr(optimizer, "grad_scale", None) is not None or getattr(optimizer, "found_inf", None) is not None
    numbers = (group["lr"], group["quantum_weight"], group["weight_decay"], group["eps"], *group["betas"])
    tensors = any(type(number) not in (float, int) for number in numbers)
    return not (scaled or tensors or group["capturable"] or group["differentiable"])


def _served(optimizer: AdamW, parameters: Sequence[Tensor], *, state: bool = True) -> bool:
    """Whether the kernels can take pointers to these parameters, their gradients and, if wanted, their state. Torch's own
    code takes all that is odd: it raises, or computes."""
    tensors, counts = [], []
    for parameter in parameters:
        shape, own = parameter.shape, [parameter.grad]
        if state and (kept := optimizer.state.get(parameter)):
            own += [kept[name] for name in MOMENTS if name in kept]
            counts.append(kept.get("step"))
        for each in own:  # plainly, because an optimizer asks at every step
            if not isinstance(each, Tensor) or each.shape != shape:
                return False
        tensors += [parameter, *own]
    countable = all(
        type(count) is Tensor and count.is_cpu and count.numel() == 1 and count.dtype in build.NAMES for count in counts
    )
    alike = countable and len({count.dtype for count in counts}) <= 1
    return alike and build.serves(*tensors) and all(tensor.is_contiguous() for tensor in tensors)


def _are_known(optimizer: AdamW, parameters: Sequence[Tensor], states: Sequence[dict[str, Any]]) -> bool:
    """``_served``, asked again only of parameters whose size or tensors of state have changed: a whole check takes as long
    as a small tensor's step."""
    known = optimizer.__dict__.setdefault("_known", {})
    counts = getattr(states[0]["step"], "dtype", None)
    for parameter, state in zip(parameters, states, strict=True):
        first, second, count, size = state["exp_avg"], state["exp_avg_sq"], state["step"], parameter.numel()
        # By id, for a tensor's hash takes longer than all the rest.
        of, m, v, step, dtype, numel = known.get(id(parameter), (None,) * 6)
        same = of is parameter and m is first and v is second and step is count and dtype is counts and numel == size
        if not same:
            if not _served(optimizer, [parameter]) or count.dtype is not counts:
                return False
            known[id(parameter)] = parameter, first, second, count, counts, size
        if parameter.grad.numel() != size or not (parameter.is_contiguous() and parameter.grad.is_contiguous()):
            return False
    return True


def check_fused(optimizer: AdamW, group: dict[str, Any]) -> None:
    """Check a group for torch's fused step, which on the CPU walks a parameter, its gradient and its moments side by side
    through memory.

    Raises:
        RuntimeError: naming each of them whose shape is not the parameter's, or whose memory is not dense.
    """

    def strides(tensor: Tensor) -> list[int]:
        return [step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]

    mistakes = []
    for parameter in group["params"] if group["fused"] else ():
        state = optimizer.state.get(parameter, {})
        own = {"parameter": parameter, "grad": parameter.grad, **{name: state[name] for name in MOMENTS if name in state}}
        dense = torch.empty_like(parameter, device="meta")
        for name, each in own.items() if parameter.grad is not None and parameter.is_cpu else ():
            if not isinstance(each, Tensor) or each.shape != parameter.shape or strides(each) != strides(dense):
                mistakes.append(
                    f"{name} must be dense and of its parameter's shape {tuple(parameter.shape)} for fused=True, got "
                    f"{tuple(each.shape) if isinstance(each, Tensor) else each!r}; clear old gradients, and load the "
                    "checkpoint of this model"
                )
    if mistakes:
        raise RuntimeError("\n".join(mistakes))


def _group(group: dict[str, Any], size: int) -> build.Group:
    """A group's settings, with threads for this many scalars."""
    rest = (group[key] for key in ("eps", "weight_decay", "quantum_weight", "maximize"))
    return build.Group(group["lr"], *group["betas"], *rest, 1 if size < ALONE else torch.get_num_threads())


def _parameters(optimizer: AdamW, group: dict[str, Any], parameters: Sequence[Tensor]) -> ctypes.Array:
    """With their state, whose count is that of the step being taken."""
    beta1, beta2 = group["betas"]
    found, corrections = [], {}
    for parameter in parameters:
        state = optimizer.state[parameter]
        count = state["step"].item()
        if count not in corrections:
            corrections[count] = (1 - beta1**count, 1 - beta2**count) if group["bias_correction"] else (1.0, 1.0)
        largest = state["max_exp_avg_sq"].data_ptr() if group["amsgrad"] else None
        moments = state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()
        found.append(
            (parameter.data_ptr(), parameter.grad.data_ptr(), *moments, largest, parameter.numel(), *corrections[count])
        )
    return (build.Parameter * len(found))(*found)


def _count_up(counts: Sequence[Tensor]) -> None:
    """Add one step to each count."""
    pointers = (ctypes.c_void_p * len(counts))(*(count.data_ptr() for count in counts))
    build.kernel("count_up", counts[0].dtype)(pointers, len(counts))
