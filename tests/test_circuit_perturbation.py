"""Is the optimizer's circuit perturbation -<Z> g of registers of consecutive weights (Pamuk et al. 2025, eqs. 2 and 5)?"""

import io
import math
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

from superpositional import SuperpositionalAdamW
from superpositional.circuits import Ansatz
from superpositional.circuits.backends import Depolarizing, Exact, Primitive, Shots
from superpositional.circuits.backends.exact import evaluate
from superpositional.optim.circuit_perturbation import PERTURBATIONS, CircuitPerturbation, perturbation_from, sine
from superpositional.records import read_curves, read_record

# One layer of Ry on H|0> and nothing else is eq. (2).
PLAIN = Ansatz(depth=1, entanglement="none")
CHAIN = Ansatz(depth=1)
PAPER = Ansatz()


def weights(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def step_of(perturbation, *, shapes=((3, 5), (7,)), dtype=torch.float64, steps=3, **kwargs) -> list[Tensor]:
    """Weights after some steps with fixed gradients."""
    parameters = [nn.Parameter(weights(*shape, seed=index, dtype=dtype)) for index, shape in enumerate(shapes)]
    optimizer = SuperpositionalAdamW(parameters, lr=1e-2, perturbation=perturbation, **kwargs)
    for step in range(steps):
        for index, parameter in enumerate(parameters):
            parameter.grad = weights(*parameter.shape, seed=100 * step + index, dtype=dtype)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
@pytest.mark.parametrize("simulator", ["closed_form", "statevector"])
@pytest.mark.parametrize("rotations", [("ry", "rz"), ("ry",)], ids=str)
def test_depth_1_without_cnots_is_the_sine_to_1e_12(scope: str, simulator: str, rotations: tuple) -> None:
    circuit = CircuitPerturbation(Ansatz(depth=1, entanglement="none", rotations=rotations), backend=Exact(simulator))
    pairs = zip(step_of(circuit, scope=scope), step_of("sine", scope=scope), strict=True)
    assert all(torch.allclose(ours, theirs, rtol=0, atol=1e-12) for ours, theirs in pairs)


def test_angles_after_ry_do_not_change_the_sine() -> None:
    # Whatever the Rz: <Z> does not see a phase. Only the random ry angles would show.
    theta = weights(2, 4)
    angles = torch.zeros(PLAIN.angles_shape, dtype=torch.float64)
    angles[:, 1] = 1.234
    assert torch.allclose(-evaluate(PLAIN, theta * math.pi, angles), torch.sin(math.pi * theta), rtol=0, atol=1e-12)


@pytest.mark.parametrize("simulator", ["closed_form", "statevector", "qiskit", "aer"])
def test_the_chain_of_cnots_is_the_product_formula(simulator: str) -> None:
    theta = weights(6, 4)
    (found,) = CircuitPerturbation(CHAIN, backend=Exact(simulator))([[theta]])
    expected = -torch.cumprod(-torch.sin(math.pi * theta), dim=1)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_large_weights_are_reduced_before_they_become_angles() -> None:
    theta = torch.tensor([1e6 + 0.25, -123456.75, 3.0, 0.5], dtype=torch.float32)
    (found,) = CircuitPerturbation(PLAIN)([[theta]])
    assert torch.equal(found, sine([[theta.double()]])[0].float())


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("ansatz", [PAPER, Ansatz(entanglement="ring", depth=3), Ansatz(reupload=False)], ids=str)
def test_registers_are_consecutive_and_the_last_is_shorter(n: int, ansatz: Ansatz) -> None:
    ansatz = Ansatz(**ansatz.plain() | {"n_qubits": n})
    perturbation = CircuitPerturbation(ansatz, angles="random", seed=3)
    # Tensors of a block follow one another; blocks do not.
    blocks = [[weights(2, 3), weights(5, seed=1)], [weights(4, seed=2)]]
    found = perturbation(blocks)
    expected = []
    for block in blocks:
        flat = torch.cat([theta.flatten() for theta in block])
        parts = []
        for register in flat.split(n):
            width = len(register)
            narrow = Ansatz(**ansatz.plain() | {"n_qubits": width})
            angles = perturbation.fixed_angles()[..., :width]
            parts.append(-evaluate(narrow, register * math.pi, angles))
        expected += torch.cat(parts).split([theta.numel() for theta in block])
    assert [part.shape for part in found] == [(2, 3), (5,), (4,)]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.flatten(), theirs, rtol=0, atol=1e-12)
    assert perturbation.registers([11, 4]) == math.ceil(11 / n) + math.ceil(4 / n)


@pytest.mark.usefixtures("by_torch")
def test_registers_are_simulated_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "superpositional.optim.circuit_perturbation.evaluate",
        lambda *args, **kw: calls.append(args[1].shape) or evaluate(*args, **kw),
    )
    CircuitPerturbation(PAPER)([[weights(10, 10)], [weights(50, 2)], [weights(3)], [weights(3)]])
    assert sorted(calls) == [(2, 3), (50, 4)]


@pytest.mark.usefixtures("by_torch")
def test_many_registers_go_through_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CircuitPerturbation(PAPER)([[weights(1000)]])
    monkeypatch.setattr("superpositional.optim.circuit_perturbation.AMPLITUDES_AT_ONCE", 16 * 7)
    # Every row of a batch is worked out alike, so parts give the same bits but for the order of a matrix product's sums.
    assert torch.allclose(CircuitPerturbation(PAPER)([[weights(1000)]])[0], whole[0], rtol=0, atol=1e-15)


def test_scope_says_what_a_register_may_run_through() -> None:
    # model and all: through the group's tensors; tensor: the first four scalars of each by themselves.
    results = {
        scope: step_of(CircuitPerturbation(CHAIN), scope=scope, shapes=((3,), (6,)), steps=1)
        for scope in ("model", "tensor")
    }
    theta, grad = [weights(3), weights(6, seed=1)], [weights(3), weights(6, seed=1)]
    plain = step_of("sine", quantum_weight=0, shapes=((3,), (6,)), steps=1)

    def modulation(values: Tensor) -> Tensor:
        return -torch.cumprod(-torch.sin(math.pi * values), 0)

    across = modulation(torch.cat([theta[0], theta[1][:1]]))
    expected = {
        "model": [across[:3], torch.cat([across[3:], torch.zeros(5)])],
        "tensor": [modulation(theta[0]), torch.cat([modulation(theta[1][:4]), torch.zeros(2)])],
    }
    for scope, parts in expected.items():
        for result, base, s, g in zip(results[scope], plain, parts, grad, strict=True):
            assert torch.allclose(result, base - 1e-2 * 0.5 * s * g, rtol=0, atol=1e-15)


def test_a_weight_without_gradient_is_still_part_of_its_register() -> None:
    frozen, free = (
        nn.Parameter(torch.tensor([0.3], dtype=torch.float64)),
        nn.Parameter(torch.tensor([0.2], dtype=torch.float64)),
    )
    ansatz = Ansatz(n_qubits=2, depth=1)
    optimizer = SuperpositionalAdamW(
        [frozen, free], lr=1.0, weight_decay=0, n_qubits=2, perturbation=CircuitPerturbation(ansatz)
    )
    free.grad = torch.ones_like(free)
    optimizer.step()
    assert frozen.item() == 0.3
    # AdamW's first step is lr * sign; the term's is lr * lambda * s with s = -sin(0.3 pi) sin(0.2 pi).
    s = -math.sin(0.3 * math.pi) * math.sin(0.2 * math.pi)
    assert free.item() == pytest.approx(0.2 - 1 / (1 + 1e-8) - 0.5 * s, abs=1e-12)


@pytest.mark.parametrize("setting", [{"depth": 3}, {"n_qubits": 5}, {"entanglement": "none"}, {"reupload": False}], ids=str)
def test_every_number_of_the_circuit_changes_the_result(setting: dict) -> None:
    other = Ansatz(**PAPER.plain() | setting)
    n = other.n_qubits
    pairs = zip(
        step_of(CircuitPerturbation(PAPER), scope="all"),
        step_of(CircuitPerturbation(other), scope="all", n_qubits=n),
        strict=True,
    )
    assert any(not torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("simulator", ["statevector", "qiskit", "aer"])
def test_every_simulator_gives_the_same_step(simulator: str) -> None:
    circuit = CircuitPerturbation(PAPER, backend=Exact(simulator), angles="random", seed=1)
    auto = CircuitPerturbation(PAPER, angles="random", seed=1)
    pairs = zip(step_of(circuit, scope="tensor"), step_of(auto, scope="tensor"), strict=True)
    assert all(torch.allclose(ours, theirs, rtol=0, atol=1e-13) for ours, theirs in pairs)


def test_random_angles_come_from_the_circuits_stream_and_are_drawn_once() -> None:
    one, same, other = (CircuitPerturbation(PAPER, angles="random", seed=seed) for seed in (1, 1, 2))
    before = torch.random.get_rng_state()
    assert torch.equal(one.fixed_angles(), same.fixed_angles())
    assert not torch.equal(one.fixed_angles(), other.fixed_angles())
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.fixed_angles().abs().max() <= math.pi
    assert torch.equal(CircuitPerturbation(PAPER).fixed_angles(), torch.zeros(2, 2, 4, dtype=torch.float64))


def test_without_a_seed_the_optimizer_draws_one_if_it_needs_one() -> None:
    def seed_of(**arguments) -> int | None:
        optimizer = SuperpositionalAdamW([nn.Parameter(weights(4))], perturbation=CircuitPerturbation(PAPER, **arguments))
        return optimizer.param_groups[0]["perturbation"]["seed"]

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert seed_of() is None
    assert torch.equal(before, torch.random.get_rng_state())
    first, second = seed_of(angles="random"), seed_of(angles="random")
    torch.manual_seed(3)
    assert [seed_of(angles="random"), seed_of(backend=Shots(10))] == [first, second]
    assert first != second


def test_a_runs_angles_come_from_its_seed_and_shift_nothing_else(door, workplace) -> None:
    def run(seed: int, name: str, *overrides: str) -> dict:
        where = f"hydra.run.dir={name}"
        code, _, err = door("train", "trainer=smoke", "logger=none", "optimizer=circuit", f"seed={seed}", where, *overrides)
        assert code == 0, err
        return read_record(workplace / name)

    random = "optimizer.perturbation.angles=random"
    drawn = [run(seed, f"run{index}", random)["circuits"]["optimizer"]["seed"] for index, seed in enumerate((1, 1, 2))]
    assert drawn[0] == drawn[1] != drawn[2]
    # A run's family is all of its config but the seed: of these two, the same.
    assert run(1, "one")["family"] == run(2, "two")["family"]
    # The first step's loss comes before any update, so it tells whether anything else was drawn differently.
    losses = [read_curves(workplace / name / "curves.csv")["train/loss"][1] for name in ("run0", "one")]
    assert losses[0][0] == losses[1][0]


def test_shots_are_drawn_anew_at_each_step_and_the_same_for_a_seed() -> None:
    circuit = CircuitPerturbation(PAPER, backend=Shots(200), seed=5)
    theta = [[weights(400, 4)]]
    first, again, later = circuit(theta, (0,))[0], circuit(theta, (0,))[0], circuit(theta, (1,))[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    exact = CircuitPerturbation(PAPER)(theta)[0]
    # 1,600 means of 200 shots: beyond 5 standard errors lies one in 1.7 million, so none is expected.
    error = ((1 - exact**2) / 200).sqrt() + 1e-12
    assert ((first - exact).abs() <= 5 * error).all()


def test_groups_draw_shots_of_their_own() -> None:
    parameters = [nn.Parameter(weights(400)) for _ in range(2)]
    circuit = CircuitPerturbation(PAPER, backend=Shots(50), seed=5)
    groups = [{"params": [parameter]} for parameter in parameters]
    optimizer = SuperpositionalAdamW(groups, scope="all", perturbation=circuit)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not torch.equal(*parameters)


@pytest.mark.usefixtures("by_torch")
def test_the_sine_never_sees_a_weight_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setitem(
        PERTURBATIONS, "sine", lambda blocks, call: seen.append([len(block) for block in blocks]) or sine(blocks)
    )
    parameters = [nn.Parameter(weights(5)) for _ in range(4)]
    optimizer = SuperpositionalAdamW(parameters, scope="all")
    parameters[1].grad = torch.ones(5, dtype=torch.float64)
    optimizer.step()
    assert seen == [[1]]


def test_a_seed_is_asked_for_where_ranks_would_draw_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"seed must be given under torch.distributed, got None.*pass seed=0"):
        SuperpositionalAdamW([nn.Parameter(weights(4))], perturbation=CircuitPerturbation(PAPER, angles="random"))
    SuperpositionalAdamW([nn.Parameter(weights(4))], perturbation=CircuitPerturbation(PAPER))
    SuperpositionalAdamW([nn.Parameter(weights(4))], perturbation=CircuitPerturbation(PAPER, angles="random", seed=0))


def test_a_perturbation_by_itself_asks_for_the_seed_it_needs() -> None:
    with pytest.raises(ValueError, match=r"seed must be given, got None with angles='random', backend=exact; pass seed=0"):
        CircuitPerturbation(PAPER, angles="random")([[weights(4)]])


def test_plain_values_are_as_good_as_the_object() -> None:
    plain = CircuitPerturbation(Ansatz(n_qubits=3), angles="random").plain()
    optimizer = SuperpositionalAdamW([nn.Parameter(weights(9))], perturbation=plain)
    optimizer.add_param_group({"params": [nn.Parameter(weights(9))], "perturbation": plain})
    assert [group["n_qubits"] for group in optimizer.param_groups] == [3, 3]
    assert all(group["perturbation"]["seed"] is not None for group in optimizer.param_groups)


def test_a_refused_checkpoint_leaves_the_optimizer_as_it_was() -> None:
    optimizer = SuperpositionalAdamW([nn.Parameter(weights(4))], lr=1e-2)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = -1
    with pytest.raises(ValueError, match="lr must be a finite number >= 0, got -1"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_nothing_in_scope_is_no_register() -> None:
    assert CircuitPerturbation(PAPER)([[]]) == []
    assert math.isnan(CircuitPerturbation(PAPER).entanglement([[]]))


def test_a_checkpoint_that_does_not_fit_is_refused() -> None:
    optimizer = SuperpositionalAdamW([nn.Parameter(weights(4))])
    state = optimizer.state_dict()
    state["param_groups"][0]["perturbation"] = CircuitPerturbation(Ansatz(n_qubits=2)).plain()
    with pytest.raises(ValueError, match="n_qubits must be that of the perturbation's circuit, got 4; pass n_qubits=2"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("value", [{"nonsense": 1}, ["x"], 3], ids=str)
def test_a_perturbation_that_is_none_is_refused(value) -> None:
    with pytest.raises(
        ValueError, match=r"perturbation must be one of sine, .*, a CircuitPerturbation or .*, got .*optimizer=circuit"
    ):
        SuperpositionalAdamW([nn.Parameter(weights(4))], perturbation=value)


def test_the_width_follows_the_circuit_unless_it_is_given() -> None:
    six = CircuitPerturbation(Ansatz(n_qubits=6))
    assert SuperpositionalAdamW([nn.Parameter(weights(9))], perturbation=six).param_groups[0]["n_qubits"] == 6
    optimizer = SuperpositionalAdamW([{"params": [nn.Parameter(weights(9))], "perturbation": six}])
    assert optimizer.param_groups[0]["n_qubits"] == 6
    assert optimizer.defaults["n_qubits"] == 4
    optimizer.add_param_group({"params": [nn.Parameter(weights(9))], "perturbation": six})
    assert optimizer.param_groups[1]["n_qubits"] == 6


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("ansatz", [PLAIN, PAPER], ids=["closed form", "statevector"])
def test_a_step_over_many_weights_needs_little_more_than_them(ansatz: Ansatz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpositional.optim.circuit_perturbation.AMPLITUDES_AT_ONCE", 2**10)
    sizes = []
    monkeypatch.setattr(
        "superpositional.optim.circuit_perturbation.evaluate",
        lambda *args, **kw: sizes.append(args[1].numel()) or evaluate(*args, **kw),
    )
    CircuitPerturbation(ansatz)([[weights(10_000)]])
    # 2**10 amplitudes of 16, or angles of 8, are 64 or 128 registers of 4.
    assert max(sizes) == (256 if ansatz is PAPER else 512)
    assert sum(sizes) == 10_000


@pytest.mark.parametrize("inject", ["update", "moments"])
def test_quantum_weight_0_is_adamw_bit_for_bit(inject: str) -> None:
    ours = step_of(CircuitPerturbation(PAPER), quantum_weight=0, inject=inject)
    theirs = step_of("sine", quantum_weight=0)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_weights_see_the_circuit_in_float64(dtype: torch.dtype) -> None:
    theta = weights(3, 4, dtype=torch.float32).to(dtype)
    (found,) = CircuitPerturbation(PAPER)([[theta]])
    (exact,) = CircuitPerturbation(PAPER)([[theta.double()]])
    assert torch.equal(found, exact.to(dtype))


def test_statistics_count_the_circuits_and_the_checkpoint_is_plain(tmp_path) -> None:
    parameter = nn.Parameter(weights(9))

    def make() -> SuperpositionalAdamW:
        circuit = CircuitPerturbation(PAPER, angles="random", seed=1)
        return SuperpositionalAdamW([parameter], scope="all", perturbation=circuit)

    optimizer = make()
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.statistics[0]["circuits"] == 3
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    # weights_only: nothing but plain values, so that it loads where this package is not installed.
    state = torch.load(file, weights_only=True)
    assert perturbation_from(state["param_groups"][0]["perturbation"]) == CircuitPerturbation(
        PAPER, angles="random", seed=1
    )
    fresh = make()
    fresh.load_state_dict(state)
    assert fresh.statistics[0]["step"] == 1


def test_groups_may_have_circuits_of_their_own() -> None:
    a, b = nn.Parameter(weights(4)), nn.Parameter(weights(4, seed=1))
    wide = CircuitPerturbation(Ansatz(n_qubits=2))
    optimizer = SuperpositionalAdamW([{"params": [a]}, {"params": [b], "perturbation": wide, "n_qubits": 2}], scope="all")
    assert optimizer.param_groups[0]["perturbation"] == "sine"
    assert optimizer.param_groups[1]["perturbation"] == wide.plain()
    with pytest.raises(ValueError, match="n_qubits must be that of the perturbation's circuit, got 4; pass n_qubits=2"):
        optimizer.add_param_group({"params": [nn.Parameter(weights(4))], "perturbation": wide, "n_qubits": 4})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ansatz": 4}, "ansatz must be a superpositional.circuits.Ansatz, got 4"),
        ({"backend": Exact("fourier")}, "backend.method=fourier takes one input for all qubits, got one for each"),
        ({"backend": Exact("closed_form")}, "entanglement=linear; choose statevector"),
        ({"angles": "one"}, "angles must be zero or random, got 'one'"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1; None draws one"),
        (
            {"backend": "shots"},
            "backend must be one of superpositional.circuits.backends, got 'shots'; in a config, choose backend=",
        ),
    ],
    ids=str,
)
def test_bad_input_is_refused_with_value_and_cure(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        CircuitPerturbation(**arguments)


def test_a_register_larger_than_memory_is_refused_before_any_step() -> None:
    with pytest.raises(
        MemoryError, match=r"n_qubits=50 needs .* GiB for the statevector of 1 circuit at depth=2, and .* are free"
    ):
        CircuitPerturbation(Ansatz(n_qubits=50))
    # The closed form has no state to hold.
    wide = CircuitPerturbation(Ansatz(n_qubits=50, depth=1))
    (found,) = wide([[weights(50)]])
    assert torch.isfinite(found).all()
    assert math.isnan(wide.entanglement([[weights(50)]]))


@pytest.mark.parametrize("name", ["linear", "ring", "none"])
def test_entanglement_of_the_registers_is_0_without_cnots_only(name: str) -> None:
    perturbation = CircuitPerturbation(Ansatz(entanglement=name))
    found = perturbation.entanglement([[weights(40)]])
    assert found < 1e-12 if name == "none" else found > 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings(
    # Raised by torch's compiler about complex numbers, which it hands to the eager kernels.
    "ignore:Torchinductor does not support code generation for complex operators"
)
@pytest.mark.parametrize("ansatz", [CHAIN, PAPER], ids=["closed form", "statevector"])
def test_a_compiled_step_is_the_eager_one(ansatz: Ansatz) -> None:
    results = []
    for compiled in (False, True):
        parameters = [nn.Parameter(weights(3, 5)), nn.Parameter(weights(7, seed=1))]
        settings = {"lr": 1e-2, "scope": "all", "bias_correction": False, "perturbation": CircuitPerturbation(ansatz)}
        optimizer = SuperpositionalAdamW(parameters, **settings)
        step = torch.compile(optimizer.step) if compiled else optimizer.step
        for seed in range(2):
            for index, parameter in enumerate(parameters):
                parameter.grad = weights(*parameter.shape, seed=10 * seed + index)
            step()
        results.append([parameter.detach() for parameter in parameters])
    # As in test_optimizer: without bias correction the rounding of lr to float32 is left, in 2 steps of up to 3.2 lr.
    tolerance = 2 * 3.2e-2 * 2**-23
    assert all(torch.allclose(ours, theirs, rtol=0, atol=tolerance) for ours, theirs in zip(*results, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        Ansatz(3, 1, rotations=("rx", "ry")),
        CircuitPerturbation(Ansatz(3, 1), angles="random", seed=2, backend=Shots(100)),
        Depolarizing(0.01, 0.02, shots=10),
        Primitive(shots=10),
        {"perturbation": CircuitPerturbation(), "ansatz": Ansatz()},
    ],
    ids=lambda value: type(value).__name__,
)
def test_hyper_parameters_load_with_weights_only(value) -> None:
    file = io.BytesIO()
    torch.save({"hyper_parameters": {"value": value}}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["hyper_parameters"]["value"] == value


def test_what_a_file_holds_is_checked_as_arguments_are() -> None:
    bad = CircuitPerturbation()
    vars(bad)["angles"] = "other"
    file = io.BytesIO()
    torch.save(bad, file)
    file.seek(0)
    with pytest.raises((ValueError, pickle.UnpicklingError), match="angles must be zero or random, got 'other'"):
        torch.load(file, weights_only=True)


def test_a_primitive_on_a_device_perturbs_and_its_checkpoint_is_plain() -> None:
    made = {"target_class": "qiskit_aer.AerSimulator", "options": {"seed_simulator": 1}}
    backend = Primitive("qiskit.primitives.BackendSamplerV2", options={"backend": made}, shots=50, seed_option=None)
    parameter = nn.Parameter(weights(4))
    parameter.grad = torch.ones_like(parameter)
    circuit = CircuitPerturbation(Ansatz(2, 1), backend=backend, seed=0)
    optimizer = SuperpositionalAdamW([parameter], scope="all", perturbation=circuit)
    optimizer.step()
    assert optimizer.statistics[0]["circuits"] == 2
    assert perturbation_from(optimizer.state_dict()["param_groups"][0]["perturbation"]) == circuit


def test_a_device_as_an_object_is_refused_with_the_way_to_write_it() -> None:
    from qiskit_aer import AerSimulator

    backend = Primitive("qiskit.primitives.BackendSamplerV2", options={"backend": AerSimulator()}, seed_option=None)
    with pytest.raises(ValueError, match=r"must hold plain values here, got .*write a device among its options as"):
        CircuitPerturbation(backend=backend)
    for name, message in (("qiskit.QuantumCircuit", "must be a qiskit.providers.BackendV2"), ("os.system", "is outside")):
        with pytest.raises(ValueError, match=message):
            Primitive("qiskit.primitives.BackendSamplerV2", options={"backend": {"target_class": name}})
