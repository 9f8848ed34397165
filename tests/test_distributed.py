"""Does training on two processes give the weights that one process gives?

DDP and FSDP2 on CPU with gloo, in float64: each rank sees half of every batch, and the weights after 20 steps are those of
the whole batches on one process. ``test_scope`` has which scalars a rank touches; here are whole runs, with ``GradScaler``.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from superpositional import SuperpositionalAdamW
from superpositional.circuits import Ansatz
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.optim.placebo import PlaceboAdamW
from superpositional.optim.term import SCOPES

pytestmark = pytest.mark.slow

RANKS = 2
STEPS = 20
# The first weight has 7 rows of 3, four of them on rank 0 under FSDP2: a register of 16 goes on into rank 1's.
COMMON = {"lr": 0.05, "n_qubits": 16, "quantum_weight": 0.5, "stats_every": 5}


def ours(**kwargs) -> Callable:
    return lambda parameters: SuperpositionalAdamW(parameters, **{**COMMON, **kwargs})


# What needs no whole register, and so runs sharded as well.
SHARDED = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.05),
    "lambda 0": ours(quantum_weight=0),
    **{
        f"{scope} {inject}": ours(scope=scope, inject=inject)
        for scope, inject in itertools.product(SCOPES, ("update", "moments"))
    },
    "cosine update": ours(perturbation="cosine", scope="all"),
    "cosine moments": ours(perturbation="cosine", scope="all", inject="moments"),
    # Not in the moments: Adam divides by the gradient's size, so a constant factor all but vanishes there.
    "constant update": ours(perturbation="constant", scope="all"),
    "fused": ours(fused=True, scope="all"),
    "fused moments": ours(fused=True, inject="moments"),
    "one by one": ours(foreach=False, scope="tensor"),
    "placebo": lambda parameters: PlaceboAdamW(parameters, lr=0.05),
    "the rest": ours(amsgrad=True, weight_decay=0.1, bias_correction=False, scope="tensor"),
}
CIRCUIT = CircuitPerturbation(Ansatz(n_qubits=3, depth=1))
READS_REGISTERS = {
    "random_sign": ours(perturbation={"kind": "random_sign", "seed": 3}, scope="all"),
    "shuffled": ours(perturbation={"kind": "shuffled", "seed": 3}, scope="all"),
    "circuit": ours(perturbation=CIRCUIT, n_qubits=3, scope="all"),
}
WHOLE = {**SHARDED, **READS_REGISTERS}
# "views": the gradients are views of DDP's buckets, and moments write to gradients.
KINDS = {"ddp": WHOLE, "ddp views": {name: SHARDED[name] for name in ("all update", "all moments")}, "fsdp": SHARDED}
CASES = [(kind, name) for kind, optimizers in KINDS.items() for name in optimizers]

# Optimizers under GradScaler: its step alone, unscale_ called by hand before it, and gradients clipped in between.
SCALED = ("all update", "model moments", "fused", "fused moments")
WAYS = ("step", "unscale", "clip")
SCALE = 2.0**10
OVERFLOW = 7


def tiny_net() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers, dtype=torch.float64))
    return net


def batch(step: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(100 + step), dtype=torch.float64)
    return inputs, inputs.sin().sum(dim=1, keepdim=True)


def train(
    net: nn.Module,
    make: Callable,
    *,
    part: slice = slice(None),
    way: str = "step",
    overflow: Callable[[nn.Module], None] | None = None,
    left_out: tuple[int, ...] = (),
) -> dict:
    """Train on this part of each batch, one of ``WAYS``; the steps ``left_out`` do not happen.

    Under GradScaler if there is an ``overflow``, which may spoil the gradients of step ``OVERFLOW``.
    """
    optimizer = make(net.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=1000, enabled=overflow is not None)
    for step in range(STEPS):
        if step in left_out:
            continue
        inputs, targets = batch(step)
        loss = (net(inputs[part]) - targets[part]).square().mean()
        scaler.scale(loss).backward()
        if overflow is not None and step == OVERFLOW:
            overflow(net)
        if way != "step":
            scaler.unscale_(optimizer)
        if way == "clip":
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    weights = [
        getattr(parameter, "full_tensor", lambda whole=parameter: whole)().detach() for parameter in net.parameters()
    ]
    return {"weights": weights, "scale": scaler.get_scale()}


def nothing(net: nn.Module) -> None:
    """No gradient overflows."""


def on_one_rank(rank: int, folder: str) -> None:
    """Train each case on this rank's half of the batches, and leave what came out in a file."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    def wrapped(kind: str) -> nn.Module:
        net = tiny_net()
        if kind.startswith("ddp"):
            return DistributedDataParallel(net, gradient_as_bucket_view=kind == "ddp views")
        for module in (net[0], net[2], net[4], net):
            fully_shard(module, mesh=mesh)
        return net

    def one_inf(net: nn.Module) -> None:
        """In one scalar, which rank 1 alone holds."""
        if rank == 1:
            next(net.parameters()).grad.to_local()[0, 0] = torch.inf

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    try:
        mesh = init_device_mesh("cpu", (RANKS,))
        half = slice(rank, None, RANKS)
        runs = {(kind, name): train(wrapped(kind), KINDS[kind][name], part=half) for kind, name in CASES}
        parts = [tuple(parameter.to_local().shape) for parameter in wrapped("fsdp").parameters()]
        for name, way in itertools.product(SCALED, WAYS):
            for which, settings in {
                "plain": {},
                "left out": {"left_out": (OVERFLOW,)},
                "scaled": {"overflow": nothing},
                "inf": {"overflow": one_inf},
            }.items():
                # Without a scale nothing is unscaled.
                if way != "unscale" or "overflow" in settings:
                    run = train(wrapped("fsdp"), SHARDED[name], part=half, way=way, **settings)
                    runs[which, name, way] = run
        refusals = {}
        for name, make in READS_REGISTERS.items():
            try:
                make(wrapped("fsdp").parameters())
            except ValueError as error:
                refusals[name] = str(error)
        torch.save({"runs": runs, "parts": parts, "refusals": refusals}, f"{folder}/rank-{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of the processes found."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(on_one_rank, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> dict[str, list[Tensor]]:
    """The weights of each optimizer on one process, with the whole batches."""
    return {name: train(tiny_net(), make)["weights"] for name, make in WHOLE.items()}


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def test_parts_are_uneven_and_rank_1_holds_nothing_of_some_parameters(ranks):
    assert ranks[0]["parts"] == [(4, 3), (4,), (2, 7), (2,), (1, 3), (1,)]
    assert ranks[1]["parts"] == [(3, 3), (3,), (1, 7), (1,), (0, 3), (0,)]


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}-{name}" for kind, name in CASES])
def test_two_processes_give_the_weights_of_one(ranks, alone, kind, name):
    for rank in ranks:
        # The mean over a batch is added up in another order: 20 steps of rounding 1e-16 on weights of order 1, and what
        # Adam's division makes of it where a gradient is small.
        torch.testing.assert_close(rank["runs"][kind, name]["weights"], alone[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_of_one_run_hold_the_same_weights_bit_for_bit(ranks, kind):
    for name in KINDS[kind]:
        assert distance(*(rank["runs"][kind, name]["weights"] for rank in ranks)) == 0, name


def test_every_optimizer_ends_elsewhere(alone):
    """Else the tests above would hold for a term that did nothing."""
    same = [
        *({"adamw", "lambda 0"}, {"all update", "fused"}),
        *({"model moments", "fused moments"}, {"tensor update", "one by one"}),
    ]
    for one, other in itertools.combinations(alone, 2):
        far = distance(alone[one], alone[other])
        if {one, other} in same:
            assert far < 1e-10
        elif "placebo" in (one, other) and {one, other} & {"adamw", "lambda 0"}:
            assert 0 < far < 1e-10, "one unit in the last place of float64"
        else:
            assert far > 1e-4, (one, other)


def test_what_reads_whole_registers_is_refused_where_parameters_are_sharded(ranks):
    for rank in ranks:
        assert set(rank["refusals"]) == set(READS_REGISTERS)
        assert all("perturbation must be 'sine' where parameters are sharded" in text for text in rank["refusals"].values())


def unscaled(way: str) -> str:
    """The way of a run without a scaler that is to compare with."""
    return "step" if way == "unscale" else way


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("way", WAYS)
def test_gradscaler_changes_no_bit_of_a_sharded_run(ranks, name, way):
    """Q too met gradients without the scale: a power of two, so that to scale and to unscale rounds nothing."""
    for rank in ranks:
        scaled, plain = rank["runs"]["scaled", name, way], rank["runs"]["plain", name, unscaled(way)]
        assert scaled["scale"] == SCALE
        assert distance(scaled["weights"], plain["weights"]) == 0


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("way", WAYS)
def test_an_inf_that_one_rank_holds_skips_the_step_on_all(ranks, name, way):
    for rank in ranks:
        spoiled, left_out = rank["runs"]["inf", name, way], rank["runs"]["left out", name, unscaled(way)]
        assert spoiled["scale"] == SCALE / 2
        assert distance(spoiled["weights"], left_out["weights"]) == 0
        assert distance(spoiled["weights"], rank["runs"]["plain", name, unscaled(way)]["weights"]) > 1e-4


@pytest.mark.parametrize("name", SCALED)
def test_a_clipped_and_scaled_sharded_run_is_that_of_one_process(ranks, name):
    expected = train(tiny_net(), SHARDED[name], way="clip")["weights"]
    for rank in ranks:
        # As above.
        torch.testing.assert_close(rank["runs"]["scaled", name, "clip"]["weights"], expected, rtol=0, atol=1e-10)
