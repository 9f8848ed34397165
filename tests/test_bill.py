"""Is the bill what a run would execute, and does it say what it does not know?"""

import dataclasses
import json
import re

import pytest
import torch

from superpositional.attention import QuantumAttention
from superpositional.attention.module import run_together
from superpositional.circuits import Ansatz, series
from superpositional.circuits.backends import Aer, Noisy, Shots, estimate
from superpositional.circuits.backends.aer import OnDevice, on_device
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.measures import random_angles
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.optim.optimizer import SuperpositionalAdamW
from superpositional.places import ConfigError
from superpositional.tasks.classification.net import SequenceTransformer
from superpositional.training import bill as module
from superpositional.training import show
from superpositional.training.bill import Bill, Way, duration, of_config
from superpositional.training.config import make

QUANTUM = ["net/attention=quantum", "net.attention.readout=z"]
CIRCUIT = ["net/attention=softmax", "optimizer=circuit"]
# The paper's Table II, class token included, and its circuit: 2 n L angles, n L of them with the score.
BATCH, TOKENS, LAYERS, HEADS, ANGLES, DEGREE, NODES = 32, 17, 2, 4, 16, 8, 17


def billed(*overrides: str) -> Bill:
    return of_config(show.compose(["logger=none", "optimizer=adam", *overrides]))


def ways(found: Bill) -> tuple[Way, Way]:
    naive, ours = found.ways
    assert (naive.name, ours.name) == ("naive", "ours")
    return naive, ours


def test_at_the_papers_size_a_step_takes_136_executions_and_4488_with_its_gradients() -> None:
    ours = ways(billed(*QUANTUM))[1]
    assert (ours.forward, ours.gradient, ours.executions, ours.jobs) == (136, 136 * 32, 4488, 1)


def test_shifts_of_the_angles_give_the_scores_gradient_too() -> None:
    # What the naive way's bill rests on: one call, of 1 + 2 P circuits a score, has both gradients exactly.
    ansatz = Ansatz()
    angles_LRQ = random_angles(ansatz, torch.Generator().manual_seed(0), 1)[0].requires_grad_()
    x = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    estimate(Aer(), ansatz, x, angles_LRQ, "z", total=True).mean_BC.sum().backward()
    exact = torch.autograd.grad(evaluate(ansatz, x, angles_LRQ, "z").sum(), [x, angles_LRQ])
    for found, expected in zip((x.grad, angles_LRQ.grad), exact, strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("readout", ["z", "probability", "probability_little_endian", "probability_one_hot"])
def test_every_readout_that_can_be_measured_has_the_same_bill(readout: str) -> None:
    found = billed("net/attention=quantum", f"net.attention.readout={readout}")
    assert ways(found) == ways(billed(*QUANTUM))
    assert not found.notes


def test_the_naive_way_runs_a_circuit_for_every_score_and_shifts_every_gate_once() -> None:
    naive = ways(billed(*QUANTUM))[0]
    scores = BATCH * HEADS * TOKENS**2 * LAYERS
    assert (naive.forward, naive.gradient) == (scores, scores * 2 * ANGLES)
    frozen = ways(billed("net/attention=frozen", "net.attention.readout=z"))[0]
    assert (frozen.forward, frozen.gradient) == (scores, scores * 2 * DEGREE)
    longer, wider = ways(billed(*QUANTUM, "data.length=33")), ways(billed(*QUANTUM, "data.batch_size=64"))
    assert longer[0].executions == 4 * naive.executions  # twice the tokens
    assert wider[0].executions == 2 * naive.executions
    # Ours asks for neither.
    assert longer[1] == wider[1] == ways(billed(*QUANTUM))[1]


@pytest.mark.parametrize(
    ("overrides", "forward", "angles"),
    [
        (["net.attention.shared_angles=true"], NODES, ANGLES),  # one set for all heads and layers
        (["net.attention.nodes=34"], 2 * LAYERS * HEADS * NODES, ANGLES),
        (["net.num_layers=3", "net.num_heads=2"], 3 * 2 * NODES, ANGLES),
        (["circuit.depth=3", "circuit.n_qubits=2"], LAYERS * HEADS * 13, 12),
        (["circuit.reupload=false"], LAYERS * HEADS * 9, ANGLES),
        (["net/attention=frozen", "net.attention.readout=z"], LAYERS * HEADS * NODES, 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_ours_is_the_nodes_of_every_set_of_angles_and_two_shifts_of_each_trained_angle(
    overrides: list[str], forward: int, angles: int
) -> None:
    ours = ways(billed(*QUANTUM, *overrides))[1]
    assert (ours.forward, ours.gradient) == (forward, forward * 2 * angles)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"shared_angles": True}, {"nodes": 20}], ids=str)
def test_ours_is_what_a_training_step_on_a_backend_executes(settings: dict, accumulate: int) -> None:
    ansatz = Ansatz(n_qubits=2)

    def attention(*given, **also) -> QuantumAttention:
        return QuantumAttention(*given, **also, **settings, ansatz=ansatz, readout="z", backend=Shots(10))

    net = SequenceTransformer(
        vocabulary_size=30, n_classes=4, max_length=5, embed_dim=8, feedforward_dim=8, num_heads=2, attention=attention
    )
    optimizer = SuperpositionalAdamW(net.parameters(), scope="tensor", perturbation=CircuitPerturbation(ansatz))
    sizes = {"batch": 3, "tokens": 5, "batches": accumulate, "accumulate": accumulate}
    found = module.bill(net, optimizer, **sizes, shots=10, device=OnDevice(1, 1, None), where="a device")
    expected = found.ways[1]
    assert found.epoch == found.ways  # of one step
    layers = [each for each in net.modules() if isinstance(each, QuantumAttention)]
    for each in layers:
        each.measuring = True
    for _ in range(accumulate):
        net(torch.randint(0, 30, (3, 5))).square().mean().backward()
    optimizer.step()
    # Layers that share their angles share their circuits, and each says what it was served.
    users = layers[:1] if settings.get("shared_angles") else layers
    registers = optimizer.statistics[0]["circuits"]
    assert expected.executions == sum(each.statistics["executions"] for each in users) + registers
    assert expected.jobs == sum(each.statistics["jobs"] for each in layers) + 1


def test_a_step_of_four_batches_is_four_of_attentions_and_one_of_the_optimizers() -> None:
    # 28 batches an epoch, which seven steps of four are.
    chosen, four = ["optimizer=circuit", "data.n_train=896"], "trainer.accumulate_grad_batches=4"
    for attention in (["net/attention=softmax"], QUANTUM):
        once, together = billed(*chosen, *attention), billed(*chosen, *attention, four)
        assert (once.steps, together.steps) == (28, 7)
        for index in (0, 1):
            step, more = once.ways[index], together.ways[index]
            assert (more.forward - 1, more.gradient, more.jobs - 1) == (
                4 * (step.forward - 1),  # a register a step
                4 * step.gradient,
                4 * (step.jobs - 1),
            )
            assert once.epoch[index] == step.times(28)
            assert together.epoch[index] == more.times(7)
            # Attention's part of an epoch is the same.
            assert once.epoch[index].executions - together.epoch[index].executions == 28 - 7
            assert once.epoch[index].jobs - together.epoch[index].jobs == 28 - 7
        assert not once.notes
        assert "A step is 4 batches, as trainer.accumulate_grad_batches has it." in together.text()
        assert together.plain()["steps_per_epoch"] == 7


def test_an_epochs_last_step_is_of_the_batches_that_are_left() -> None:
    once, together = billed(*QUANTUM), billed(*QUANTUM, "trainer.accumulate_grad_batches=4")
    assert (once.steps, together.steps) == (27, 7)
    # Seven steps of four would be a batch too many; attention's circuits ask for batches alone.
    assert together.epoch == once.epoch
    rows = [line.split()[2:] for line in together.text() if line.lstrip().startswith("epoch,")]
    assert rows == [line.split()[2:] for line in once.text() if line.lstrip().startswith("epoch,")]


def test_a_step_of_no_batch_has_no_bill() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accumulate_grad_batches must be an integer >= 1, got 0"):
        billed("trainer.accumulate_grad_batches=0")


def test_circuits_of_all_layers_are_one_call() -> None:
    layers = [QuantumAttention(8, 2, readout="z", backend=Shots(1)) for _ in range(3)]
    run_together(layers)
    assert [jobs for _, _, jobs, _ in (each.prepared for each in layers)] == [1, 0, 0]


@pytest.mark.parametrize("readout", ["amplitude", "amplitude_little_endian", "amplitude_one_hot"])
def test_amplitudes_cannot_be_measured_and_the_bill_is_that_of_z_and_says_so(readout: str) -> None:
    found = billed("net/attention=quantum", f"net.attention.readout={readout}")
    assert ways(found) == ways(billed(*QUANTUM))
    told = "\n".join(found.text())
    assert f"readout={readout} cannot be measured on a device: the bill is readout=z's, of the same circuit." in told
    assert found.plain()["notes"] == list(found.notes)


@pytest.mark.parametrize(("nodes", "billed_nodes"), [(12, NODES), (40, 40)])
def test_nodes_enough_for_amplitudes_are_not_enough_for_z(nodes: int, billed_nodes: int) -> None:
    ours = ways(billed("net/attention=quantum", f"net.attention.nodes={nodes}"))[1]
    assert ours.forward == LAYERS * HEADS * billed_nodes


@pytest.mark.parametrize(
    "overrides",
    [
        ["net/attention=softmax"],
        ["net/attention=softmax", "optimizer=superpositional"],
        ["net/attention=twin"],
        ["net/attention=zero"],
        ["net/attention=bias"],
        [*CIRCUIT, "optimizer.quantum_weight=0"],
    ],
    ids=" ".join,
)
def test_where_there_is_no_circuit_nothing_would_run_and_no_table_pretends(overrides: list[str]) -> None:
    found = billed(*overrides)
    assert [(way.executions, way.jobs) for way in found.ways] == [(0, 0), (0, 0)]
    assert found.text()[-1] == "Nothing would run on it."
    assert not any("step" in line for line in found.text())


@pytest.mark.parametrize("scope", ["model", "tensor", "all"])
def test_the_optimizers_circuit_is_its_registers_with_no_gradients_either_way(scope: str) -> None:
    config = show.compose(["logger=none", *CIRCUIT, f"optimizer.scope={scope}"])
    naive, ours = ways(of_config(config))
    sizes = [each.numel() for each in make("net", config["net"])().parameters()]
    registers = {"model": 1, "tensor": len(sizes), "all": -(-sum(sizes) // 4)}[scope]
    assert min(sizes) >= 4  # or a tensor's register would be the tensor
    assert (naive.forward, naive.gradient) == (ours.forward, ours.gradient) == (registers, 0)


def test_registers_of_another_width_are_another_job() -> None:
    # Of five qubits: the 28 tensors' first five, but the head's four biases; or all of them, the last one of two.
    for scope, registers, jobs in (("tensor", 28, 2), ("all", 16219, 2), ("model", 1, 1)):
        for way in ways(billed(*CIRCUIT, f"optimizer.scope={scope}", "circuit.n_qubits=5")):
            assert (way.forward, way.jobs) == (registers, jobs)


def test_a_group_out_of_scope_sends_nothing() -> None:
    weights = [torch.nn.Parameter(torch.ones(8, device="meta")) for _ in range(2)]
    groups = [{"params": [each]} for each in weights]
    optimizer = SuperpositionalAdamW(groups, scope="model", perturbation=CircuitPerturbation(Ansatz()))
    device = OnDevice(1, 1, None)
    found = module.bill(
        torch.nn.Identity(), optimizer, batch=None, tokens=None, batches=1, shots=1, device=device, where="a device"
    )
    assert [(way.executions, way.jobs) for way in found.ways] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("overrides", [CIRCUIT, [*CIRCUIT, "optimizer.scope=all"]], ids=" ".join)
def test_where_the_ways_are_the_same_none_is_said_to_be_cheaper(overrides: list[str]) -> None:
    assert not any(line.startswith("Ours is") for line in billed(*overrides).text())


def test_attention_and_optimizer_add_up() -> None:
    both, attention, optimizer = (ways(billed(*each)) for each in ([*QUANTUM, "optimizer=circuit"], QUANTUM, CIRCUIT))
    for whole, *parts in zip(both, attention, optimizer, strict=True):
        assert whole.executions == sum(part.executions for part in parts)
        assert whole.jobs == sum(part.jobs for part in parts)


def test_steps_of_an_epoch_are_the_batches_of_its_rows() -> None:
    assert billed().steps == 27  # 850 / 32, the last one smaller
    assert billed("data.n_train=64").steps == 2


# Seconds ---------------------------------------------------------------------------------------------------------


def test_device_seconds_are_shots_of_every_execution_and_an_overhead_for_every_job() -> None:
    way = Way("ours", 3, 7, 2)
    found = Bill((way, way), 100, OnDevice(9, 2, 5e-6), "a device", None, None, rep_delay=20e-6, job_overhead=3.0)
    assert found.seconds(way) == pytest.approx(10 * 100 * 25e-6 + 2 * 3.0, rel=1e-12)


def test_shots_scale_linearly_and_jobs_do_not() -> None:
    once, thrice = (billed(*QUANTUM, "backend=shots", f"backend.shots={shots}") for shots in (1000, 3000))
    assert ways(once) == ways(thrice)
    for way in once.ways:
        plain, more = (each.plain()["per_step"][way.name] for each in (once, thrice))
        assert more["shots"] == 3 * plain["shots"] == 3000 * way.executions
        overhead = way.jobs * once.job_overhead
        assert thrice.seconds(way) - overhead == pytest.approx(3 * (once.seconds(way) - overhead), rel=1e-12)


def test_a_device_without_durations_leaves_seconds_unknown_and_never_zero() -> None:
    known = billed(*QUANTUM)
    found = dataclasses.replace(known, device=known.device._replace(seconds=None))
    assert [found.seconds(way) for way in found.ways] == [None, None]
    assert all(each["device_seconds"] is None for each in found.plain()["per_step"].values())
    told = "\n".join(found.text())
    assert "no durations stated" in told
    assert len(re.findall(r"unknown$", told, re.MULTILINE)) == 4
    assert "4,352" in told  # what is known stays


def test_assumptions_are_said_with_their_values() -> None:
    assert "Assumed: 250 µs between shots (IBM's default), 2 s a job; no queue." in billed(*QUANTUM).text()
    # What the device states is not assumed.
    stated = dataclasses.replace(billed(*QUANTUM), rep_delay=100e-6, rep_delay_stated=True).text()
    assert stated[-2:] == ["100 µs between shots, as the device states.", "Assumed: 2 s a job; no queue."]


def test_the_device_of_the_backend_is_the_one_that_is_billed() -> None:
    found = billed(*QUANTUM, "backend=noisy", "backend.n_qubits=7", "backend.level=3")
    assert found.device == on_device(Ansatz(), Noisy(n_qubits=7).target(Ansatz()), 3)
    assert "backend=noisy's device, generic_backend_7q, transpiled at level 3" in found.where
    assert found.shots == 1024
    # A perfect one has no gates of its own: the bill says on which the circuit is then.
    assert "backend=exact names none" in billed(*QUANTUM).where


# What is told ----------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_way_and_period_with_separators() -> None:
    found = billed(*QUANTUM)
    rows = [line.split() for line in found.text() if re.match(r" +(step|epoch),", line)]
    assert [row[:2] for row in rows] == [["step,", "naive"], ["step,", "ours"], ["epoch,", "naive"], ["epoch,", "ours"]]
    assert rows[1][2:6] == ["136", "4,352", "1", "4,595,712"]
    assert rows[3][2:6] == ["3,672", "117,504", "27", "124,084,224"]  # 27 steps
    naive, ours = ways(found)
    assert f"Ours is 1/{round(naive.executions / ours.executions):,} of the naive way's executions." in found.text()


def test_an_epoch_of_unknown_length_has_no_rows() -> None:
    unknown = dataclasses.replace(billed(*QUANTUM), steps=None, epoch=None)
    told = "\n".join(unknown.text())
    assert "step, ours" in told
    assert "epoch," not in told
    assert "How many steps an epoch has, the data do not say." in told
    assert unknown.plain()["per_epoch"] is None


def test_plain_is_json_and_has_all_that_is_billed() -> None:
    found = billed(*QUANTUM)
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["per_step"]["ours"]["device_seconds"] == found.seconds(found.ways[1])
    for way, step in plain["per_step"].items():
        # Seconds are 27 times as many but for the last bit of a sum.
        assert plain["per_epoch"][way] == pytest.approx({name: 27 * value for name, value in step.items()}, rel=1e-12)
    assert (plain["shots"], plain["steps_per_epoch"], plain["device"]["depth"]) == (1024, 27, 17)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.25, "0.25 s"),
        (59.0, "59 s"),
        (60.0, "1 min"),
        (5400.0, "1.5 h"),
        (1.2 * 86400, "1.2 days"),
        (4.5 * 365.25 * 86400, "4.5 years"),
        (12345 * 365.25 * 86400, "12,345 years"),
    ],
    ids=str,
)
def test_durations_are_in_the_unit_that_people_would_use(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_without_the_size_of_a_batch_the_naive_way_is_left_out_in_words() -> None:
    attention = QuantumAttention(8, 2, readout="z", device="meta")
    optimizer = torch.optim.Adam(attention.parameters())
    for missing in ("batch", "tokens"):
        sizes = {"batch": 1, "tokens": 2} | {missing: None}
        found = module.bill(
            attention, optimizer, **sizes, batches=None, shots=1, device=OnDevice(1, 1, None), where="a device"
        )
        assert [way.name for way in found.ways] == ["ours"]
        assert found.ways[0].forward == 2 * NODES
        assert "The naive way is left out" in "\n".join(found.text())
        assert list(found.plain()["per_step"]) == ["ours"]


def test_the_issues_numbers_are_these_formulas() -> None:
    ansatz = Ansatz(n_qubits=4, depth=2)
    assert (ansatz.num_parameters, ansatz.degree, series.node_count(ansatz, "z")) == (ANGLES, DEGREE, NODES)
    assert series.node_count(ansatz, "z") == 2 * ansatz.n_qubits * ansatz.depth + 1
