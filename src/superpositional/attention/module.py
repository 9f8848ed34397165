"""Quantum attention (Pamuk et al. 2025, eqs. 3 to 5)::

    softmax( Q K^T / sqrt(d_k) + Phi ) V,    Phi_ijh = sum_k psi_k( C_h( (Q K^T)_ijh ) )

One scalar, the score, enters the circuit C, so Phi is a short Fourier series of it (``circuits.series``): the circuit runs
at D+1 or 2D+1 nodes per head and step, never per score, and attention costs a few multiplications a score more than usual.

Shapes: B batch, H heads, N queries, M keys, D embed, E = D / H; A sets of angles (H or 1); L, R, Q as in
``Ansatz.angles_shape``; K nodes, J frequencies.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from superpositional.attention import core
from superpositional.attention.inputs import PER_SCORE, check_inputs, check_settings, mask_of, wide
from superpositional.circuits import Ansatz, series
from superpositional.circuits.backends import Backend, Exact, estimate, exact
from superpositional.circuits.backends.gradients import circuits_of_gradient
from superpositional.circuits.statevector import require_memory


class OutputProjection(nn.Linear):
    """The last linear map of attention, whose bias starts at 0 as in ``nn.MultiheadAttention``."""

    drawn = -1

    def reset_parameters(self) -> None:
        """Draw the weights, unless its attention has just done so: ``reset_parameters`` of a whole model meets both."""
        if self.drawn == self.weight._version:
            return
        super().reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class QuantumAttention(nn.Module):
    """Multi-head attention with a quantum term in its scores (Pamuk et al. 2025, eqs. 3 to 5).

    Takes the place of :class:`torch.nn.MultiheadAttention`, in ``nn.TransformerEncoderLayer`` too, with its ``forward``,
    initial weights and state_dict, plus one entry, ``angles``. But ``need_weights`` is False by default, and
    ``nn.TransformerEncoder`` warns without ``enable_nested_tensor=False``.

    Args:
        embed_dim, num_heads, dropout, bias, batch_first, device, dtype: as in ``nn.MultiheadAttention`` (but batch first by
            default; keys and values have the queries' width).
        ansatz: the circuit C; the paper's by default.
        readout: what psi_k is, one of ``circuits.readouts.READOUTS``.
        score: what enters the circuit, ``"raw"``, Q K^T as eq. (4) says, or ``"scaled"``, divided by sqrt(d_k).
        shared_angles: one set of angles for all heads (and, in ``nets``, all layers) instead of one per head.
        backend: where the circuits at the nodes run (``circuits.backends``): exactly, with shots, with noise, on a
            device. Gradients to the angles then take the parameter-shift rule, in the same call, and only readouts that
            can be measured are possible. ``Exact("qiskit")`` and ``Exact("aer")`` compute the nodes by these packages;
            ``Exact("statevector")``, the reference, has no series and simulates the circuit for every score.
        nodes: at how many nodes the circuits run; None is as many as the series has coefficients. More make it a
            least-squares fit, whose errors are smaller.

    While ``measuring`` is set, forward passes add up ``statistics``: how many ``scores`` there were, the sums
    ``phi_squares`` and ``score_squares`` (of Q K^T / sqrt(d_k)) over them, the ``executions`` of the circuit, and the
    ``jobs``, calls of a backend. ``node_error_AK`` has the standard errors at the nodes, of the last pass.

    Shots are drawn from ``shot_seed``, which the training loop sets for each pass, as ``tasks`` does; None draws one from
    torch's generator, as dropout does.

    Derivatives of any order are reverse-mode ones: ``torch.func.jacrev`` of ``jacrev``, not ``hessian`` or ``jvp``.

    Angles are drawn uniformly from [-pi, pi), after all other weights. Masks are applied after Phi. Rows that are masked
    throughout give 0, as ``scaled_dot_product_attention`` has it. Phi is computed in float32 at least.

    Raises:
        ValueError: naming every argument that is out of range, with its cure.
        MemoryError: where the statevectors would not fit; in ``forward`` for those of ``Exact("statevector")``.
    """

    # Keeps nn.TransformerEncoderLayer from its evaluation path, which reads self_attn's weights and never calls it.
    _qkv_same_embed_dim = False
    trained = True  # whether Phi's parameters are

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        ansatz: Ansatz = Ansatz(),  # noqa: B008  (frozen)
        readout: str = "amplitude",
        score: str = "raw",
        shared_angles: bool = False,
        backend: Backend = Exact(),  # noqa: B008  (frozen)
        nodes: int | None = None,
        batch_first: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_settings(dict(locals()), circuits=type(self).circuits != 0, module=type(self).__name__)
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.ansatz, self.readout, self.score = ansatz, readout, score
        self.shared_angles, self.backend, self.nodes = shared_angles, backend, nodes
        self.by_series = backend != PER_SCORE
        self.measuring, self.statistics = False, {}
        self.shot_seed: int | None = None
        # prepared by run_together: the series, whether its circuits ran for this module, its calls, its angles' version.
        self.prepared = self.measured_coefficients = self.measured_gradient = self.node_error_AK = None
        self._executed, self._jobs = True, 1
        made = {"device": device, "dtype": dtype}
        # In the order in which MultiheadAttention draws, so that the same seed gives the same weights.
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim, **made))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim, **made)) if bias else None
        self.out_proj = OutputProjection(embed_dim, embed_dim, bias=bias, **made)
        nn.init.xavier_uniform_(self.in_proj_weight)
        angles_ALRQ = nn.init.uniform_(torch.empty(self.sets, *ansatz.angles_shape, **made), -math.pi, math.pi)
        if self.circuits:
            require_memory(ansatz, self.circuits, angles_ALRQ.dtype, gradients=True)
        for name, start in self.term(angles_ALRQ).items():
            self.register_parameter(name, nn.Parameter(start, requires_grad=self.trained))

    def term(self, angles_ALRQ: Tensor) -> dict[str, Tensor]:
        """Phi's parameters by name, as they start, from the angles drawn for it."""
        return {"angles": angles_ALRQ}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw all parameters as the constructor does: under one seed, the same values."""
        self.prepared = self.measured_coefficients = self.measured_gradient = self.node_error_AK = None
        self.out_proj.drawn = -1
        self.out_proj.reset_parameters()
        self.out_proj.drawn = self.out_proj.weight._version if not self.out_proj.weight.is_meta else -1
        nn.init.xavier_uniform_(self.in_proj_weight)
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
        angles_ALRQ = self.in_proj_weight.new_empty(self.sets, *self.ansatz.angles_shape)
        for name, start in self.term(nn.init.uniform_(angles_ALRQ, -math.pi, math.pi)).items():
            getattr(self, name).copy_(start)

    def extra_repr(self) -> str:
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, dropout={self.dropout}, {self.ansatz}, "
            f"readout={self.readout!r}, score={self.score!r}, shared_angles={self.shared_angles}, "
            f"backend={self.backend}, nodes={self.nodes}"
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention.forward``, except that weights are returned only when asked for.

        Args:
            query: ``(B, N, D)``, or ``(N, D)``, or ``(N, B, D)`` if not ``batch_first``; key and value alike with M.
            key_padding_mask: ``(B, M)`` or ``(M,)``; True, or -inf, is ignored.
            attn_mask: ``(N, M)`` or ``(B * H, N, M)``; True is ignored, floats are added.
            is_causal: says that ``attn_mask`` is causal; without one, the causal mask is applied.

        Returns:
            The output, of the query's shape, and the weights ``(B, N, M)``, ``(B, H, N, M)``, or None.
        """
        if query.is_nested and query is key is value and attn_mask is key_padding_mask is None and not need_weights:
            return self._of_nested(query, is_causal), None
        check_inputs(query, key, value, self.embed_dim, batch_first=self.batch_first)
        batched = query.dim() == 3
        if not batched:
            query, key, value = (each.unsqueeze(0) for each in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (each.transpose(0, 1) for each in (query, key, value))
        q_BHNE, k_BHME, v_BHME = self._project(query, key, value)
        mask = mask_of(q_BHNE, k_BHME.shape[2], key_padding_mask, attn_mask, is_causal)
        attended_BHNE, weights = self._attend(q_BHNE, k_BHME, v_BHME, mask, need_weights)
        output = self.out_proj(attended_BHNE.transpose(1, 2).flatten(2))
        if need_weights and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _of_nested(self, nested: Tensor, is_causal: bool) -> Tensor:
        """Sequences of their own lengths, from an ``nn.TransformerEncoder`` that was made with torch's attention."""
        padded_BND = nested.to_padded_tensor(0.0)
        lengths_B = torch.tensor([len(each) for each in nested.unbind()], device=padded_BND.device)
        padding_BN = torch.arange(padded_BND.shape[1], device=padded_BND.device) >= lengths_B[:, None]
        output_BND, _ = self(padded_BND, padded_BND, padded_BND, key_padding_mask=padding_BN, is_causal=is_causal)
        rows = [each[:n] for each, n in zip(output_BND, lengths_B.tolist(), strict=True)]
        return torch.nested.as_nested_tensor(rows, layout=nested.layout)

    def _attend(
        self, q_BHNE: Tensor, k_BHME: Tensor, v_BHME: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The values, weighted; and the weights, if they are needed."""
        unseen = self.by_series and type(self).phi is QuantumAttention.phi and not need_weights
        if unseen and core.serves(q_BHNE, k_BHME, v_BHME, mask, len(self.frequencies)):
            return self._attend_unseen(q_BHNE, k_BHME, v_BHME, mask), None
        # Scaled before the product, as torch does it: in half precision the raw score may be too large.
        scaled_BHNM = (q_BHNE / math.sqrt(self.head_dim)) @ k_BHME.mT
        phi_BHNM = self.phi(wide(scaled_BHNM) * math.sqrt(self.head_dim))
        if self.measuring:
            self._measure(phi_BHNM.detach(), scaled_BHNM.detach())
        weight_BHNM = core.softmax(scaled_BHNM + phi_BHNM.to(scaled_BHNM.dtype), mask)
        weight_BHNM = dropout(weight_BHNM, self.dropout, self.training)
        return weight_BHNM.to(v_BHME.dtype) @ v_BHME, weight_BHNM if need_weights else None

    def _attend_unseen(self, q_BHNE: Tensor, k_BHME: Tensor, v_BHME: Tensor, mask: Tensor | None) -> Tensor:
        """The same without a matrix of all weights."""
        coefficients_A2J = self.coefficients()
        if self.measuring:
            scaled_BHNM = (q_BHNE.detach() / math.sqrt(self.head_dim)) @ k_BHME.detach().mT
            raw_BHNM = scaled_BHNM * math.sqrt(self.head_dim)
            self._measure(self._phi_by_series(coefficients_A2J.detach(), raw_BHNM), scaled_BHNM)
        kept_BHNM = None
        if self.training and self.dropout:
            # As torch's dropout draws them on the CPU, so that softmax attention of the same seed drops the same.
            shape = (*q_BHNE.shape[:3], k_BHME.shape[2])
            kept_BHNM = q_BHNE.new_empty(shape, dtype=torch.bool).bernoulli_(1 - self.dropout)
        scale_in = 1.0 if self.score == "raw" else 1 / math.sqrt(self.head_dim)
        given = q_BHNE, k_BHME, v_BHME, coefficients_A2J.to(q_BHNE.dtype), self.frequencies[0]
        return core.quantum_attention(*given, scale_in, mask, kept_BHNM, keep_scale=1 / (1 - self.dropout))

    def phi(self, raw_BHNM: Tensor) -> Tensor:
        """Phi of every score Q K^T (eq. 4): ``(B, H, N, M)`` to the same, in float32 or float64."""
        if self.by_series:
            return self._phi_by_series(self.coefficients(), raw_BHNM)
        x_BHNM = self._entering(raw_BHNM)
        angles_HLRQ = self.angles.to(x_BHNM.dtype).expand(self.num_heads, *self.ansatz.angles_shape)
        return exact.evaluate(self.ansatz, x_BHNM[..., None], angles_HLRQ[:, None, None], self.readout).sum(-1)

    def _phi_by_series(self, coefficients_A2J: Tensor, raw_BHNM: Tensor) -> Tensor:
        x_BHNM = self._entering(raw_BHNM)
        coefficients_A2J = coefficients_A2J.to(x_BHNM.dtype)
        by_head = x_BHNM.transpose(0, 1)
        x_AT = by_head.reshape(len(coefficients_A2J), math.prod(x_BHNM.shape) // len(coefficients_A2J))
        return series.series(coefficients_A2J, x_AT, self.frequencies[0]).reshape(by_head.shape).transpose(0, 1)

    def _entering(self, raw_BHNM: Tensor) -> Tensor:
        """The scores as they enter the circuit."""
        return wide(raw_BHNM / math.sqrt(self.head_dim) if self.score == "scaled" else raw_BHNM)

    def coefficients(self) -> Tensor:
        """Phi's Fourier series: ``(A, 2, J)``, of frequencies ``circuits.series.doubled_frequencies`` / 2."""
        prepared, self.prepared = self.prepared, None
        # Not of a pass that was given up, before the angles changed.
        if prepared is not None and prepared[3] == self.angles._version:
            found, self._executed, self._jobs, _ = prepared
        else:
            found, self._executed, self._jobs = self.fitted_at(self.angles, seed=self.next_seed()), True, 1
        coefficients_A2J, error_AK = found
        self.node_error_AK = None if error_AK is None else error_AK.detach()
        if self.measuring and self.on_device:
            self._keep(coefficients_A2J)
        return coefficients_A2J

    def _keep(self, coefficients_A2J: Tensor) -> None:
        """Keep the series, and the loss's gradient to it, of all passes of a step, for diagnostics."""
        self.measured_coefficients, self.measured_gradient = coefficients_A2J.detach(), None

        def add(gradient: Tensor) -> None:
            self.measured_gradient = gradient if self.measured_gradient is None else self.measured_gradient + gradient

        if coefficients_A2J.requires_grad:
            coefficients_A2J.register_hook(add)

    def fitted_at(self, angles_ALRQ: Tensor, *, seed: int | None = None) -> tuple[Tensor, Tensor | None]:
        """The circuit's series at these angles and the standard errors at its nodes, ``(A, K)``, None if it is exact.
        ``seed``: of the shots."""
        ansatz, readout, backend, angles_ALRQ = self.ansatz, self.readout, self.backend, wide(angles_ALRQ)
        if isinstance(backend, Exact):
            if backend.differentiates and self.nodes is None:
                return exact.coefficients(ansatz, readout, angles_ALRQ), None
            method = "statevector" if backend.differentiates else backend.method
            return exact.coefficients_reference(ansatz, readout, angles_ALRQ, method, self.nodes), None
        node_K = series.nodes(ansatz, readout, dtype=angles_ALRQ.dtype, device=angles_ALRQ.device, count=self.nodes)
        found = estimate(backend, ansatz, node_K[:, None], angles_ALRQ[:, None], readout, total=True, seed=seed)
        return series.fit(ansatz, readout, found.mean_BC.squeeze(-1)), found.error_BC.squeeze(-1)

    def next_seed(self) -> int | None:
        """The seed of the next pass's shots; None where there are none."""
        if not self.backend.stochastic or self.shot_seed is not None:
            return self.shot_seed
        return int(torch.randint(2**62, (), device="cpu"))

    @property
    def on_device(self) -> bool:
        """Whether circuits run anywhere but in our own exact simulation."""
        return self.circuits != 0 and not isinstance(self.backend, Exact)

    @property
    def frequencies(self) -> tuple[int, ...]:
        """Of Phi's series, doubled."""
        return series.doubled_frequencies(self.ansatz, self.readout)

    @property
    def sets(self) -> int:
        """A: how many functions Phi consists of, one per head or one for all."""
        return 1 if self.shared_angles else self.num_heads

    @property
    def circuits(self) -> int:
        """Circuits that determine Phi in a step: the nodes of all sets of angles. 0: it has none."""
        return self.sets * (self.nodes or series.node_count(self.ansatz, self.readout))

    def executions(self, scores: int) -> tuple[int, int]:
        """Circuits run by one forward pass over this many scores, and by its gradient (shifted ones, without autograd)."""
        if not self.by_series:
            return scores, 0
        by_autograd = self.backend.differentiates or not self.angles.requires_grad
        return self.circuits, 0 if by_autograd else self.circuits * circuits_of_gradient(self.ansatz, self.readout)

    @torch.no_grad()
    def certificate(self, generator: torch.Generator | None = None) -> float:
        """How far the fitted series is from direct simulation: the largest difference over 256 random scores per set of
        angles, uniform in [-30, 30]. In the module's precision: some 1e-6 in float32, 1e-14 in float64. Without a
        ``generator``, on the CPU, it draws the same scores every time.
        """
        generator = generator or torch.Generator().manual_seed(0)
        coefficients_A2J = self.coefficients()
        # On the host, as the generator is, whatever the default device.
        uniform_AT = torch.rand(self.sets, 256, generator=generator, dtype=torch.float64, device="cpu")
        x_AT = ((2 * uniform_AT - 1) * 30.0).to(coefficients_A2J)
        found_AT = series.series(coefficients_A2J, x_AT, self.frequencies[0])
        return float((found_AT - self.reference(x_AT)).abs().max())

    def reference(self, x_AT: Tensor) -> Tensor:
        """What the series should be at these inputs: the circuit, simulated at each."""
        return exact.evaluate(self.ansatz, x_AT[..., None], wide(self.angles)[:, None], self.readout).sum(-1)

    def notes(self) -> dict[str, Any]:
        """What a run record says of the term beside its ansatz and readout, in plain values."""
        return {
            "score": self.score,
            "angle_sets": self.sets,
            "backend": self.backend.plain(),
            **({} if self.nodes is None else {"fitted_nodes": self.nodes}),
            "trained": self.angles.requires_grad,
        }

    def _measure(self, phi_BHNM: Tensor, scaled_BHNM: Tensor) -> None:
        forward, gradient = self.executions(phi_BHNM.numel())
        numbers = {
            "scores": phi_BHNM.numel(),
            "phi_squares": phi_BHNM.float().square().sum(),
            "score_squares": scaled_BHNM.float().square().sum(),
            "executions": self._executed * (forward + (gradient if torch.is_grad_enabled() else 0)),
            **({"jobs": self._jobs} if self.on_device else {}),
        }
        self.statistics = {name: self.statistics.get(name, 0) + value for name, value in numbers.items()}

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head: ``(B, H, N, E)``."""
        if query is key and key is value:
            projected = linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
            given = zip((query, key, value), self.in_proj_weight.chunk(3), biases, strict=True)
            projected = [linear(each, weight, bias) for each, weight, bias in given]
        return tuple(each.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for each in projected)


def run_together(attentions: Iterable[QuantumAttention]) -> None:
    """Run the circuits of several layers in one call, for the next forward pass of each.

    Layers whose circuits are of one kind and on one backend; those that share their angles have them run once. The shifted
    circuits that give the gradients depend on the angles alone, so they are in the same call.
    """
    kinds: dict[tuple, dict[int, list[Any]]] = {}
    for each in attentions:
        if each.circuits and not isinstance(each.backend, Exact):
            angles = each.angles
            kind = each.backend, each.ansatz, each.readout, each.nodes, angles.device, angles.dtype, angles.requires_grad
            kinds.setdefault(kind, {}).setdefault(id(angles), []).append(each)
    for users in kinds.values():
        firsts = [same[0] for same in users.values()]
        angles_ALRQ = torch.cat([each.angles for each in firsts])
        found = firsts[0].fitted_at(angles_ALRQ, seed=firsts[0].next_seed())
        parts = zip(*(each.split([first.sets for first in firsts]) for each in found), strict=True)
        for index, (same, part) in enumerate(zip(users.values(), parts, strict=True)):
            for place, each in enumerate(same):
                each.prepared = part, place == 0, int(index == place == 0), each.angles._version
