"""Are the touched scalars the first n, whatever the memory layout, and are they named as NumPy would?

"First" is row-major in the unsharded tensor. The last part steps the optimizer on sharded weights in two processes.
"""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from superpositional import SuperpositionalAdamW
from superpositional.optim.term import SCOPES, describe, leading, scalars, scoped

SHAPES = [(), (0,), (1,), (7,), (3, 4), (4, 1), (1, 4), (0, 3), (3, 0), (2, 3, 4), (3, 1, 2), (2, 2, 3, 2)]


def numbered(shape: tuple[int, ...]) -> Tensor:
    """Every scalar is its own row-major index, from 1: a 0 is a scalar that something overwrote."""
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape)


def layouts(shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The same logical tensor in different memory."""
    plain = numbered(shape)
    found = {"contiguous": plain}
    if len(shape) >= 2:
        found["transposed"] = plain.transpose(0, -1).contiguous().transpose(0, -1)
    if len(shape) >= 1:
        strided = torch.zeros(*shape[:-1], 2 * shape[-1], dtype=torch.float64)[..., ::2]
        found["strided"] = strided.copy_(plain)
        found["expanded storage"] = torch.zeros(shape[0] + 2, *shape[1:], dtype=torch.float64)[1:-1].copy_(plain)
    if len(shape) == 4:
        found["channels_last"] = plain.contiguous(memory_format=torch.channels_last)
    return found


LAYOUTS = [pytest.param(tensor, id=f"{shape}-{layout}") for shape in SHAPES for layout, tensor in layouts(shape).items()]


def counts(size: int) -> range:
    """None, some, all, and more than there are."""
    return range(size + 3)


@pytest.mark.parametrize("tensor", LAYOUTS)
def test_leading_holds_the_first_scalars_in_row_major_order(tensor):
    for count in counts(tensor.numel()):
        found = [view.reshape(-1) for view in leading(tensor, count)]
        assert torch.equal(torch.cat([tensor.new_empty(0), *found]), tensor.reshape(-1)[:count])


@pytest.mark.parametrize("tensor", LAYOUTS)
def test_writing_to_leading_writes_to_the_first_scalars_and_to_no_other(tensor):
    for count in counts(tensor.numel()):
        written = tensor.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        before = tensor.clone()
        for view in leading(written, count):
            view.zero_()
        flat = tensor.reshape(-1)
        assert (flat[:count] == 0).all()
        assert torch.equal(flat[count:], before.reshape(-1)[count:])
        tensor.copy_(before)


@pytest.mark.parametrize("tensor", LAYOUTS)
def test_leading_needs_one_view_per_dimension_at_most(tensor):
    for count in counts(tensor.numel()):
        views = leading(tensor, count)
        assert len(views) <= max(tensor.dim(), 1)
        assert all(view.numel() for view in views)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 2, 2)], ids=str)
def test_a_complex_number_is_two_scalars(shape):
    tensor = torch.complex(numbered(shape), -numbered(shape))
    flat = torch.view_as_real(tensor).reshape(-1)
    assert scalars(tensor) == 2 * tensor.numel()
    for count in counts(scalars(tensor)):
        found = [view.reshape(-1) for view in leading(tensor, count)]
        assert torch.equal(torch.cat([flat.new_empty(0), *found]), flat[:count])


# Names -------------------------------------------------------------------------------------------------------------


def selected(name: str, notation: str, array: np.ndarray) -> list[int]:
    """What NumPy selects with the notation, block by block."""
    if notation == name:
        return array.reshape(-1).tolist()
    assert notation.startswith(f"{name}[")
    blocks = re.findall(r"\[([0-9:,]*)\]", notation)
    assert notation == name + "+".join(f"[{block}]" for block in blocks), "nothing but blocks joined by +"
    index = [eval(f"np.s_[{block}]", {"np": np}) for block in blocks]
    return [number for key in index for number in np.asarray(array[key]).reshape(-1).tolist()]


DESCRIBED = [(1,), (7,), (4, 1), (1, 4), (3, 4), (200, 64), (2, 3, 4), (3, 3, 3), (1, 1, 5), (3, 1, 2), (2, 2, 3, 2)]


@pytest.mark.parametrize("shape", DESCRIBED, ids=str)
def test_describe_names_what_numpy_selects(shape):
    size = math.prod(shape)
    array = np.arange(size).reshape(shape)
    for count in range(1, min(size, 200) + 1):
        notation = describe("net.w", torch.Size(shape), count)
        assert selected("net.w", notation, array) == list(range(count)), notation


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        ((200, 64), 4, "w[0,0:4]"),
        ((200, 64), 64, "w[0:1]"),
        ((3, 4), 6, "w[0:1]+[1,0:2]"),
        ((7,), 4, "w[0:4]"),
        ((4,), 4, "w"),
        ((2, 3, 4), 4, "w[0,0:1]"),
        ((), 1, "w"),
    ],
    ids=str,
)
def test_describe_reads_as_the_record_promises(shape, count, expected):
    assert describe("w", torch.Size(shape), count) == expected


# Groups ------------------------------------------------------------------------------------------------------------

# Two groups of 6 + 5 and 1 + 0 + 4 scalars.
SIZES = [[(2, 3), (5,)], [(), (0,), (2, 2)]]


def groups(*, scope: tuple[str, str], n_qubits: tuple[int, int]) -> list[dict]:
    return [
        {"params": [numbered(shape) for shape in shapes], "scope": one, "n_qubits": n}
        for shapes, one, n in zip(SIZES, scope, n_qubits, strict=True)
    ]


def touched(*, scope: tuple[str, str], n_qubits: tuple[int, int]) -> list[list[int]]:
    """Per group, how many scalars of each of its parameters are in scope; those left out count 0."""
    made = groups(scope=scope, n_qubits=n_qubits)
    found = []
    for group in made:
        by_id = {id(parameter): count for parameter, count in scoped(made, group)}
        assert set(by_id) <= {id(parameter) for parameter in group["params"]}
        found.append([by_id.get(id(parameter), 0) for parameter in group["params"]])
    return found


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [[1, 0], [0, 0, 0]]),
        (6, [[6, 0], [0, 0, 0]]),
        (7, [[6, 1], [0, 0, 0]]),
        (11, [[6, 5], [0, 0, 0]]),
        (12, [[6, 5], [1, 0, 0]]),
        (14, [[6, 5], [1, 0, 2]]),
        (16, [[6, 5], [1, 0, 4]]),
    ],
)
def test_model_counts_across_groups(n, expected):
    assert touched(scope=("model", "model"), n_qubits=(n, n)) == expected


@pytest.mark.parametrize(("n", "expected"), [(1, [[1, 1], [1, 0, 1]]), (3, [[3, 3], [1, 0, 3]]), (99, [[6, 5], [1, 0, 4]])])
def test_tensor_takes_the_first_of_each_tensor(n, expected):
    assert touched(scope=("tensor", "tensor"), n_qubits=(n, n)) == expected


def test_all_takes_every_scalar_whatever_the_register():
    assert touched(scope=("all", "all"), n_qubits=(1, 4)) == [[6, 5], [1, 0, 4]]


def test_each_group_has_its_own_reading():
    # Only for "model" do the groups before it count.
    assert touched(scope=("model", "tensor"), n_qubits=(4, 2)) == [[4, 0], [1, 0, 2]]
    assert touched(scope=("all", "model"), n_qubits=(4, 12)) == [[6, 5], [1, 0, 0]]
    assert touched(scope=("model", "model"), n_qubits=(8, 4)) == [[6, 2], [0, 0, 0]]


# Sharded weights ---------------------------------------------------------------------------------------------------

RANKS = 2
STEPS = 5
# Rows of 5, 5, 1 and 1 on two ranks: uneven parts, and a rank that has none of a tensor. 9 scalars of the first weight lie
# on rank 0, so 4 and 7 are rank 0's alone, 11 goes on into rank 1's rows, and 24 goes on into later tensors.
REGISTERS = (4, 7, 11, 24)
CASES = list(itertools.product(SCOPES, ("update", "moments"), REGISTERS))
SHARDED_CASES = [pytest.param(*case, id="-".join(map(str, case))) for case in CASES]


def tiny_net() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers, dtype=torch.float64))
    return net


def train_tiny(net: nn.Module, case: tuple[str, str, int]) -> dict:
    scope, inject, n_qubits = case
    optimizer = SuperpositionalAdamW(
        net.parameters(), lr=0.05, scope=scope, inject=inject, n_qubits=n_qubits, quantum_weight=2.0, stats_every=1
    )
    inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(STEPS):
        net(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    keys = ("touched", "nonzero_gradient", "changed", "perturbation_norm")
    statistics = optimizer.statistics[0]
    return {"statistics": {key: float(statistics[key]) for key in keys if key in statistics}}


def on_one_rank(rank: int, folder: str) -> None:
    """Train each case with FSDP2, unshard, and leave what came out in a file per rank."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    try:
        meshes = {"fsdp": init_device_mesh("cpu", (RANKS,))}
        meshes["hsdp"] = init_device_mesh("cpu", (1, RANKS), mesh_dim_names=("copies", "parts"))
        found: dict = {}
        for case in CASES:
            # Hybrid sharding, (Replicate, Shard(0)), once per scope and injection.
            for kind in meshes if case[2] == 11 else ["fsdp"]:
                net = tiny_net()
                for module in (net[0], net[2], net):
                    fully_shard(module, mesh=meshes[kind])
                parts = [tuple(parameter.to_local().shape) for parameter in net.parameters()]
                outcome = train_tiny(net, case)
                whole = [parameter.full_tensor().detach() for parameter in net.parameters()]
                found[kind, *case] = {"parts": parts, "weights": whole, **outcome}
        views = {}
        for shape in [(5, 3), (1, 4), (3,), (7, 2, 2)]:
            sharded = distribute_tensor(numbered(shape), meshes["fsdp"], [Shard(0)])
            for count in counts(math.prod(shape)):
                views[shape, count] = [view.reshape(-1).tolist() for view in leading(sharded, count)]
        try:
            leading(distribute_tensor(numbered((4, 4)), meshes["fsdp"], [Shard(1)]), 4)
            refusal = None
        except ValueError as error:
            refusal = str(error)
        torch.save({"runs": found, "views": views, "refusal": refusal}, f"{folder}/rank-{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of the processes found."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(on_one_rank, args=(str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_weight_without_scalars_does_not_stop_a_step(scope):
    """What a rank meets that holds no row of a sharded tensor."""
    weights = [nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.full((2, 3), 0.3))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer = SuperpositionalAdamW(weights, scope=scope)
    optimizer.step()
    assert optimizer.statistics[0]["touched"] == (6 if scope == "all" else 4)


@pytest.mark.slow
def test_the_sharded_cases_are_uneven_and_leave_a_rank_without_a_part(ranks):
    parts = [rank["runs"]["fsdp", *CASES[0]]["parts"] for rank in ranks]
    assert parts == [[(3, 3), (3,), (1, 5), (1,)], [(2, 3), (2,), (0, 5), (0,)]]


@pytest.mark.slow
@pytest.mark.parametrize(("scope", "inject", "n_qubits"), SHARDED_CASES)
def test_sharded_weights_train_as_whole_ones_do(ranks, scope, inject, n_qubits):
    net = tiny_net()
    expected = train_tiny(net, (scope, inject, n_qubits))["statistics"]
    for kind in ("fsdp", "hsdp"):
        outcomes = [rank["runs"].get((kind, scope, inject, n_qubits)) for rank in ranks]
        if kind == "hsdp" and n_qubits != 11:
            continue
        for outcome in outcomes:
            # Both ranks see the same batch, so the averaged gradient is the gradient. float64, five steps of a few
            # roundings each (a vectorised sine rounds differently by the size of the part) on weights of order 1.
            torch.testing.assert_close(outcome["weights"], [p.detach() for p in net.parameters()], rtol=1e-12, atol=1e-12)
        # Each rank counts its own part.
        for key in ("touched", "nonzero_gradient", "changed"):
            assert sum(outcome["statistics"].get(key, 0) for outcome in outcomes) == expected[key]
        norm = math.hypot(*(outcome["statistics"].get("perturbation_norm", 0.0) for outcome in outcomes))
        # Norms are kept in float32.
        assert norm == pytest.approx(expected["perturbation_norm"], rel=1e-6)


@pytest.mark.slow
def test_the_sharded_runs_differ_by_what_the_term_touches(ranks):
    """Else the test above would hold for a term that did nothing."""
    weights = {case: torch.cat([w.reshape(-1) for w in run["weights"]]) for case, run in ranks[0]["runs"].items()}
    seen = [weights["fsdp", "model", inject, n] for inject in ("update", "moments") for n in REGISTERS]
    seen += [weights["fsdp", scope, inject, 4] for scope in ("tensor", "all") for inject in ("update", "moments")]
    assert all((one - other).abs().max() > 1e-4 for one, other in itertools.combinations(seen, 2))


@pytest.mark.slow
def test_leading_of_a_sharded_tensor_is_this_ranks_part_of_the_first_scalars(ranks):
    for shape, count in ranks[0]["views"]:
        rows_of_0 = -(-shape[0] // RANKS)
        whole = list(range(1, math.prod(shape) + 1))
        split = rows_of_0 * math.prod(shape[1:])
        expected = [whole[: min(count, split)], whole[split:count]]
        found = [[x for view in rank["views"][shape, count] for x in view] for rank in ranks]
        assert found == expected, (shape, count)


@pytest.mark.slow
def test_a_tensor_sharded_by_columns_is_refused_with_the_cure(ranks):
    for rank in ranks:
        assert "shard dimension 0 (FSDP2's default) or set quantum_weight=0" in rank["refusal"]
