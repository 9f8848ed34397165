"""Superpositional gradient descent (Pamuk et al. 2025, eq. 1), with decoupled weight decay as in AdamW::

    theta <- theta - lr * (m / (sqrt(v) + eps) + quantum_weight * Q) - lr * weight_decay * theta

The AdamW part is torch's own step, so all its fast paths stay. Q comes from ``perturbation``, the scalars it touches from
``scope``; on the CPU ``fused`` does the usual cases at next to no cost. ``reference`` has the same in plain lines.
"""

import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.optimizer import ParamsT

from superpositional.optim.circuit_perturbation import CircuitPerturbation, as_plain, draws_by_step, perturbation_from
from superpositional.optim.fused import FewScalars, OnePass, adamw_of_torch, check_fused
from superpositional.optim.perturbations import Called
from superpositional.optim.term import SCOPES, Term, leading, scalars, scoped

# Our keys of a group, with the defaults.
OURS = {
    "quantum_weight": 0.5,
    "n_qubits": 4,
    "scope": "model",
    "perturbation": "sine",
    "inject": "update",
    "bias_correction": True,
    "stats_every": 100,
}
INJECTIONS = ("update", "moments")

# AdamW's step without torch's hooks: torch wraps a class's step with them once an instance exists, so super().step() would
# run a subclass's twice.
adamw_step = inspect.unwrap(AdamW.step)


class SuperpositionalAdamW(AdamW):
    """AdamW whose update gains a quantum-circuit perturbation (Pamuk et al. 2025, eqs. 1 and 2).

    A drop-in for :class:`torch.optim.AdamW`: same arguments, same state, its fast paths; checkpoints of either load into
    the other. ``quantum_weight=0`` is AdamW bit for bit.

    Args:
        params: parameters, named parameters or groups, as for any torch optimizer.
        lr, betas, eps, weight_decay, amsgrad, maximize, foreach, capturable, fused: as in AdamW. (The paper's
            classification uses ``weight_decay=0``, its LLM runs 0.01.) ``differentiable`` must be False.
        quantum_weight: lambda of eq. (1), >= 0. A 0-dim tensor on the parameters' device may be changed between steps
            under ``capturable`` or ``torch.compile``.
        n_qubits: how many scalars make a register, and how many of the first are touched (see ``scope``). None: those of
            the perturbation's circuit, or 4.
        scope: which parameters are the ``i < n_qubits`` of eq. (2): ``"model"``, the first n scalars of all groups;
            ``"tensor"``, the first n of each tensor; ``"all"``, every scalar.
        perturbation: ``"sine"``, eq. (2), or a ``circuit_perturbation.CircuitPerturbation``, a circuit of n_qubits
            qubits that is simulated; groups and checkpoints hold it as plain values. Controls without anything quantum:
            ``"cosine"``, ``"constant"``, ``"random_sign"``, ``"shuffled"`` (``superpositional.optim.perturbations``). Or
            any callable ``(theta, gradient, generator) -> Q`` (see ``perturbations.Called``).
        inject: ``"update"``, eq. (1); ``"moments"``, the gradient ``(1 + quantum_weight * sin(pi theta)) * g`` enters
            both moments ("Adam with quantum-inspired moment updates"), and ``p.grad`` is left as found.
        bias_correction: off is eq. (1) as printed, whose first step is about 3.16 lr; on is AdamW.
        stats_every: from one sampled step, which measures the whole AdamW step too (see below), to the next.

    Attributes:
        statistics: numbers of the last step, a dictionary per group: 0-dim tensors on the parameters' device, so that
            nothing waits for a GPU until they are read. ``state_dict`` does not hold them.

    =====================  ============================================================================================
    ``step``               AdamW's count of steps (int); the rest is absent if the last step was without the term
    ``touched``            scalars in scope that had a gradient (int)
    ``nonzero_gradient``   how many of them had one that is not 0
    ``changed``            how many of them the term really changed in floating point (weights, or for ``moments``
                           gradients)
    ``perturbation_norm``  ``||quantum_weight * Q||``
    ``circuits``           circuits simulated, one per register (int; for a ``CircuitPerturbation``)
    ``step_norm``          on sampled steps: norm of the group's whole AdamW step, weight decay included
    ``ratio``, ``cosine``  on sampled steps: the term against what it is added to, the AdamW step (``update``) or the
                           gradient (``moments``); of the group, and of this rank's part under sharding
    ``share``, ``angle``   on sampled steps, for ``update``: the term's norm over that of the group's whole step; degrees
                           between the whole step and AdamW's (``tracer.Tracer`` measures them for any arm, at a price)
    =====================  ============================================================================================

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
    """

    _warned = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        quantum_weight: float | Tensor = 0.5,
        n_qubits: int | None = None,
        scope: str = "model",
        perturbation: str | CircuitPerturbation | Mapping[str, Any] | Callable[..., Tensor] = "sine",
        inject: str = "update",
        bias_correction: bool = True,
        stats_every: int = 100,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        settings = dict(locals())
        settings["perturbation"], qubits = as_plain(perturbation)
        if n_qubits is None:
            settings["n_qubits"] = qubits or OURS["n_qubits"]
        check(settings)
        self._ours = {key: settings[key] for key in OURS}
        self.statistics: list[dict[str, int | Tensor]] = []
        theirs = {"maximize": maximize, "foreach": foreach, "capturable": capturable, "fused": fused}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **theirs)
        # In defaults, so that groups added later and checkpoints of a plain AdamW find them.
        self.defaults.update(self._ours)
        del self._ours
        check_size(self.param_groups)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        # While torch's constructor runs, its defaults lack our keys.
        ours = vars(self).get("_ours")
        if "perturbation" in param_group:
            param_group["perturbation"], qubits = as_plain(param_group["perturbation"])
            if qubits is not None:
                param_group.setdefault("n_qubits", qubits)
        for key, value in (ours or {}).items():
            param_group.setdefault(key, value)
        check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        self.statistics.append({"step": 0})
        if ours is None:
            try:
                check_size(self.param_groups)
            except ValueError:
                self.param_groups.pop()
                self.statistics.pop()
                raise

    def state_dict(self) -> dict[str, Any]:
        """As torch's; a callable perturbation stands in it by its name, seed and state."""
        state = super().state_dict()
        for group in state["param_groups"]:
            if isinstance(group["perturbation"], Called):
                group["perturbation"] = group["perturbation"].plain()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = state.get("defaults", vars(self).get("defaults", {}))
        for group, own in zip(state["param_groups"], vars(self).get("param_groups", ()), strict=False):
            if isinstance(own.get("perturbation"), Called) and "callable" in (group.get("perturbation") or ()):
                group["perturbation"] = own["perturbation"].loaded(group["perturbation"])
        # A checkpoint of torch.optim.AdamW, or of an older version, brings groups without our keys.
        for group in state["param_groups"]:
            for key, value in {**OURS, **defaults}.items():
                group.setdefault(key, value)
            # Older versions kept statistics here, and a compiled step then left capturable behind it, which is for GPUs.
            if group.pop("statistics", None) is not None and all(parameter.is_cpu for parameter in group["params"]):
                group["capturable"] = False
            check(group)
        check_size(state["param_groups"])
        super().__setstate__(state)
        vars(self).pop("_known", None)  # what the fused step has seen, of parameters that may be gone
        for parameter, own in self.state.items():
            for name, each in own.items() if isinstance(parameter, Tensor) else ():
                # Of weights in another memory format: torch's fused step pairs numbers by their place in memory.
                if isinstance(each, Tensor) and each.shape == parameter.shape and each.stride() != parameter.stride():
                    own[name] = torch.empty_like(parameter, dtype=each.dtype, requires_grad=False).copy_(each)
        self.statistics = [{"step": max(self._counts(group), default=0)} for group in self.param_groups]

    def _counts(self, group: dict[str, Any]) -> Iterator[int]:
        """AdamW's counts of steps, where a checkpoint has proper ones; torch's step says what is wrong with others."""
        for parameter in group["params"]:
            step = self.state.get(parameter, {}).get("step")
            if isinstance(step, Tensor) and step.numel() == 1 and not step.is_meta:
                yield int(step)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure`` re-evaluates the model and returns the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # A weight of exactly 0 skips the term: adding 0 * Q would turn -0.0 into +0.0 and 0 * inf into NaN.
        terms = [self._term(index) for index in range(len(self.param_groups))]
        for index, term in enumerate(terms):
            if isinstance(term, OnePass):
                self.statistics[index].update(term.step(self))
        if not self._warned and all(term is None for term in terms) and not torch.compiler.is_compiling():
            self._warn_if_nothing_is_touched()
        # torch's step is for the other groups.
        rest = [index for index, term in enumerate(terms) if not isinstance(term, OnePass)]
        if rest:
            kept = {index: terms[index] for index in rest if terms[index] is not None}
            self._step_of([self.param_groups[index] for index in rest], kept)
        return loss

    def _warn_if_nothing_is_touched(self) -> None:
        """Warn, once, where gradients came and none of them to a scalar in scope."""
        groups = self.param_groups
        on = [group for group in groups if _is_on(group)]
        in_scope = [parameter for group in on for parameter, _ in scoped(groups, group)]
        given = any(parameter.grad is not None for group in groups for parameter in group["params"])
        if given and in_scope and all(parameter.grad is None for parameter in in_scope):
            self._warned = True
            warnings.warn(
                f"no scalar in scope had a gradient, so this step was AdamW's alone, with scope={on[0]['scope']!r} and "
                f"n_qubits={on[0]['n_qubits']}; choose scope='tensor' or 'all', or pass the optimizer only the parameters "
                "that are trained",
                stacklevel=4,
            )

    def _step_of(self, groups: list[dict[str, Any]], terms: dict[int, Term]) -> None:
        """torch's own step of these groups, between the terms' parts before and after it."""
        steps = self._hide_step_counts(groups)
        for term in terms.values():
            term.enter_moments()
        # Set by GradScaler for fused steps alone: they unscale gradients in place, and do nothing where it found an inf.
        scale, overflow = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        taken, every = False, self.param_groups
        try:
            # Swapped, so that torch's step sees none but these.
            self.param_groups = [group for group in groups if not adamw_of_torch(self, group)]
            for group in self.param_groups:
                check_fused(self, group)
            if self.param_groups:
                adamw_step(self)
            taken = True
        finally:
            self.param_groups = every
            for term in terms.values():
                term.leave_moments(scale, overflow)
            for step, before in steps:
                step.copy_(before + (taken if overflow is None else overflow.reshape(()) == 0))
        for index, term in terms.items():
            self.statistics[index].update(term.enter_update(overflow))

    def _term(self, index: int) -> Term | OnePass | None:
        group = self.param_groups[index]
        steps = self.statistics[index]["step"]
        taken = any(parameter.grad is not None for parameter in group["params"])
        self.statistics[index] = {"step": steps + taken}
        if not _is_on(group):
            return None
        scope = scoped(self.param_groups, group)
        with_gradient = [(parameter, n) for parameter, n in scope if parameter.grad is not None]
        if any(parameter.grad.is_sparse for parameter, _ in with_gradient):
            raise RuntimeError(
                "SuperpositionalAdamW does not support sparse gradients, got one; use torch.nn.Embedding(sparse=False)"
            )
        if not with_gradient:
            return None
        steps = self._steps_before(with_gradient[0][0], group, steps)
        self.statistics[index]["step"] = steps + 1
        if OnePass.serves(self, group):
            return OnePass(group, steps)
        if (few := FewScalars.of(self, group, scope, steps)) is not None:
            return few
        # Nothing on ranks that hold none of the scalars.
        here = any(leading(parameter, n) for parameter, n in with_gradient)
        return Term(group, self.state, scope, index, steps) if here else None

    def _steps_before(self, parameter: Tensor, group: dict[str, Any], counted: int) -> int:
        """AdamW's count for a parameter before this step.

        The count kept on the host where reading AdamW's would wait for a device, unless the perturbation draws by it. The
        two differ by the steps that GradScaler left out of a fused optimizer.
        """
        if torch.compiler.is_compiling():
            return counted
        step = self.state.get(parameter, {}).get("step", 0)
        if isinstance(step, Tensor) and not step.is_cpu and not draws_by_step(group["perturbation"]):
            return counted
        return int(step.item() if isinstance(step, Tensor) else step)

    def _hide_step_counts(self, groups: list[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
        """Make torch's step skip the bias correction of the groups that want none.

        torch divides by 1 - beta ** step; at step = inf that is exactly 1 in every one of its implementations.
        """
        groups = [group for group in groups if not group["bias_correction"]]
        for group in groups:
            # Creates the state of parameters that are new, as torch's step would do a line later; it may raise.
            self._init_group(group, [], [], [], [], [], [])
        steps = []
        for parameter in (parameter for group in groups for parameter in group["params"]):
            if parameter.grad is not None:
                step = self.state[parameter]["step"]
                steps.append((step, step.clone()))
                step.fill_(math.inf)
        return steps


def _is_on(group: dict[str, Any]) -> bool:
    """Whether a group has the term: a tensor's value is not read, which would wait for an accelerator."""
    return isinstance(group["quantum_weight"], Tensor) or group["quantum_weight"] != 0


def check_size(groups: list[dict[str, Any]]) -> None:
    """Check that registers are neither larger than what there is nor spread over ranks."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    for group in groups:
        placements = [each for parameter, _ in scoped(groups, group) for each in getattr(parameter, "placements", ())]
        if not isinstance(group["perturbation"], str) and not all(each.is_replicate() for each in placements):
            raise ValueError(
                "perturbation must be 'sine' where parameters are sharded, got one that reads whole registers, which would "
                "lie on several ranks; keep the parameters whole, or use perturbation='sine'"
            )
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in parameters):
        return
    total = sum(map(scalars, parameters))
    for group in groups:
        if group["n_qubits"] > total and _is_on(group):
            raise ValueError(
                f"n_qubits must be at most the number of scalars to optimize, {total}, got {group['n_qubits']}; "
                f"the usual register is 4"
            )


def check(group: dict[str, Any]) -> None:
    """Raise ValueError with every setting of a group that is out of range, and its cure."""

    def fits(value: Any, below: float = math.inf) -> bool:
        if isinstance(value, Tensor):
            return value.numel() == 1 and not value.is_complex()
        # numbers.Real has NumPy's scalars too. NaN fails the comparison.
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and 0 <= value < below

    mistakes = [
        f"{key} must be a finite number >= 0, got {group[key]!r}; {cure}"
        for key, cure in (
            ("lr", "the paper's values are 1e-3 and 2e-5"),
            ("eps", "Adam's usual value is 1e-8"),
            ("weight_decay", "0 decays nothing"),
            ("quantum_weight", "0 recovers AdamW"),
        )
        if not fits(group[key])
    ]
    betas = group["betas"]
    pair = isinstance(betas, Sequence) and not isinstance(betas, str) and len(betas) == 2
    if not pair or not all(fits(beta, 1) for beta in betas):
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
        called = isinstance(perturbation, Called)
        if group.get("capturable") and (called or getattr(perturbation, "kind", None) == "random_sign"):
            name = perturbation.name if called else "'random_sign'"
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
