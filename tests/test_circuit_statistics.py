"""Do runs say what their circuits did: counts, certificate, entanglement, executions, size of Phi?"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from superpositional import SuperpositionalAdamW
from superpositional.attention import QuantumAttention
from superpositional.circuits import Ansatz
from superpositional.circuits.backends import Exact
from superpositional.circuits.measures import facts
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.records import read_curves, read_record
from superpositional.training.callbacks import RecordLogger
from superpositional.training.circuit_statistics import CircuitStatistics

QUANTUM = ["net/attention=quantum"]
# Curves and summaries that two runs of one config do not share.
CLOCKS = ("time/", "throughput/", "memory/")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all tests here, and none of the developer's own."""
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def smoke(door, workplace, *overrides: str) -> tuple[dict, dict]:
    folder = workplace / "run"
    code, _, err = door("train", "trainer=smoke", "logger=none", f"hydra.run.dir={folder}", *overrides)
    assert code == 0, err
    return read_record(folder), read_curves(folder / "curves.csv")


def test_a_run_with_quantum_attention_records_its_circuits(door, workplace) -> None:
    record, curves = smoke(door, workplace, *QUANTUM, "optimizer=adam", "net.attention.readout=z")
    counts = {"n_qubits": 4, "layers": 2, "gate_depth": 10, "gates": 26, "two_qubit_gates": 6, "parameters": 16}
    assert {name: record["summary"][f"circuit/{name}"] for name in counts} == counts
    for layer in range(2):
        place = f"net.layers.{layer}.self_attn"
        note = record["circuits"][place]
        assert note["ansatz"] == Ansatz().plain()
        assert note["dead_angles"] == [[1, 1, q] for q in range(4)]
        assert (note["nodes"], note["angle_sets"], note["readout"]) == (17, 4, "z")
        steps, (certificate,) = curves[f"circuit/{place}/certificate"]
        # Phi sums four float32 numbers of size 1 over 17 nodes: some units of 1e-7, and never 0 by accident.
        assert 0 < certificate < 1e-5
        assert steps.tolist() == [0]
        assert 0 < record["summary"][f"circuit/{place}/entanglement"] <= 1
        assert record["summary"][f"circuit/{place}/phi_ratio"] > 0
        assert record["summary"][f"circuit/{place}/gradient_variance"] > 0
    # Two layers of four heads, 17 nodes each; the gradient is autograd's.
    assert record["summary"]["circuit/executions"] == 2 * 4 * 17
    assert "Ry(theta[0] + x)" in (workplace / "run" / "circuit.txt").read_text()
    assert "<svg" in (workplace / "run" / "circuit.svg").read_text()


@pytest.mark.parametrize("control", ["zero", "bias", "twin"])
def test_a_run_whose_attention_has_no_circuit_claims_none_and_says_what_it_has(door, workplace, control: str) -> None:
    record, curves = smoke(door, workplace, f"net/attention={control}", "optimizer=adam", "net.attention.readout=z")
    places = [f"net.layers.{layer}.self_attn" for layer in range(2)]
    ratios = {f"circuit/{place}/phi_ratio" for place in places}
    assert {name for name in [*record["summary"], *curves] if "circuit/" in name} == ratios
    assert all((record["summary"][name] > 0) == (control != "zero") for name in ratios)
    assert "circuits" not in record
    assert not [path.name for path in (workplace / "run").glob("circuit.*")]
    ranks = {"angles": 16, "rank": 12, "rank_without_constant": 12, "free": 12, "sets": 4}
    expected = {
        "zero": {"term": "NoTerm"},
        "bias": {"term": "ConstantTerm", "free": 1, "sets": 4},
        "twin": {"term": "ClassicalTwin", "ansatz": Ansatz().plain(), "readout": "z", "score": "raw", **ranks},
    }
    assert record["attention"] == dict.fromkeys(places, expected[control])


def test_a_run_with_frozen_circuits_records_them_but_no_gradient_of_their_angles(door, workplace) -> None:
    quantum, _ = smoke(door, workplace, *QUANTUM, "optimizer=adam")
    shutil.rmtree(workplace / "run")
    frozen, curves = smoke(door, workplace, "net/attention=frozen", "optimizer=adam")
    gradients = {name for name in quantum["summary"] if name.endswith("/gradient_variance")}
    assert len(gradients) == 2
    circuits = {name for name in quantum["summary"] if "circuit/" in name}
    assert {name for name in frozen["summary"] if "circuit/" in name} == circuits - gradients
    assert not gradients & set(curves)
    certificates = {name for name in circuits if name.endswith("/certificate")}
    # The same circuits, at the same angles.
    assert {frozen["summary"][name] == quantum["summary"][name] for name in certificates} == {True}
    assert frozen["circuits"].keys() == quantum["circuits"].keys()
    for place, note in frozen["circuits"].items():
        assert note == quantum["circuits"][place] | {"trained": False}
        assert quantum["circuits"][place]["trained"]
    assert "attention" not in frozen


def test_a_circuit_in_the_optimizer_is_counted_beside_a_control_without_one(door, workplace) -> None:
    record, _ = smoke(door, workplace, "net/attention=twin", "optimizer=circuit")
    assert set(record["circuits"]) == {"optimizer"}
    assert set(record["attention"]) == {f"net.layers.{layer}.self_attn" for layer in range(2)}
    assert record["summary"]["circuit/executions"] == 1
    # Drawn as what the optimizer runs: an input for each qubit.
    assert "Ry(theta[0] + x[0])" in (workplace / "run" / "circuit.txt").read_text()


def test_what_stands_in_a_circuits_place_is_kept_in_checkpoints_and_older_ones_are_read() -> None:
    statistics, other, older = CircuitStatistics(), CircuitStatistics(), CircuitStatistics()
    statistics.controls = {"net.attention": {"term": "NoTerm"}}
    other.load_state_dict(statistics.state_dict())
    assert other.notes() == {"attention": {"net.attention": {"term": "NoTerm"}}}
    older.load_state_dict({"places": {}})
    assert older.notes() == {}


def test_a_run_with_the_circuit_optimizer_records_its_registers(door, workplace) -> None:
    record, _ = smoke(door, workplace, "optimizer=circuit", "optimizer.scope=tensor", "circuit.depth=3")
    assert record["summary"]["circuit/layers"] == 3
    assert record["circuits"]["optimizer"]["method"] == "statevector"
    # One register for each of the net's tensors.
    assert record["summary"]["circuit/executions"] == 28
    assert record["summary"]["circuit/optimizer/entanglement"] > 0
    assert "Ry(theta[0] + x[0])" in (workplace / "run" / "circuit.txt").read_text()


def test_registers_without_cnots_are_not_entangled(door, workplace) -> None:
    record, _ = smoke(door, workplace, "optimizer=circuit", "circuit.entanglement=none")
    assert record["summary"]["circuit/optimizer/entanglement"] == pytest.approx(0, abs=1e-12)
    assert record["circuits"]["optimizer"]["method"] == "closed_form"


def test_a_run_without_circuits_is_silent(door, workplace) -> None:
    record, curves = smoke(door, workplace, "optimizer=superpositional")
    assert not any("circuit/" in name for name in [*record["summary"], *curves])
    assert "circuits" not in record
    assert not (workplace / "run" / "circuit.svg").exists()


def test_places_with_different_circuits_are_counted_apart(door, workplace) -> None:
    record, _ = smoke(
        door, workplace, *QUANTUM, "optimizer=circuit", "net.attention.ansatz={_target_:superpositional.circuits.Ansatz}"
    )
    assert record["summary"]["circuit/executions"] == 2 * 4 * 9 + 1
    # The same circuit written twice is one circuit.
    assert record["summary"]["circuit/gate_depth"] == 10


def test_a_run_records_what_its_circuit_reaches_and_what_a_device_would_run(door, workplace) -> None:
    record, curves = smoke(door, workplace, *QUANTUM, "optimizer=circuit")
    found = facts(Ansatz())
    names = ("expressibility", "expressibility_standard_error", "transpiled_depth", "transpiled_two_qubit_gates")
    summary = [record["summary"][f"circuit/{name}"] for name in names]
    reach, device = found["expressibility"], found["transpiled"]
    assert summary == [reach["nats"], reach["standard_error"], device["depth"], device["two_qubit_gates"]]
    # Once for the record; no curve has it.
    assert not [name for name in curves if "expressibility" in name or "transpiled" in name]
    for place in record["circuits"].values():
        assert {name: place[name] for name in found} == found
        method = {"basis": ["rz", "sx", "x", "cx"], "coupling": "line", "level": 1, "seed": 0}
        assert place["transpiled"].items() >= method.items()
        assert place["expressibility"].items() >= {"pairs": 5000, "bins": 75}.items()


def test_pairs_basis_coupling_and_level_are_settings_and_stand_beside_what_they_gave(door, workplace) -> None:
    settings = {"pairs": 50, "basis": "[h,ry,rz,cx]", "coupling": "full", "level": 0}
    overrides = [f"callbacks.circuit.{name}={value}" for name, value in settings.items()]
    record, _ = smoke(door, workplace, *QUANTUM, "optimizer=adam", "circuit.entanglement=ring", *overrides)
    counts = Ansatz(entanglement="ring").statistics()
    assert record["summary"]["circuit/transpiled_depth"] == counts["gate_depth"]
    assert record["summary"]["circuit/transpiled_two_qubit_gates"] == counts["two_qubit_gates"]
    note = record["circuits"]["net.layers.0.self_attn"]
    told = {"basis": ["h", "ry", "rz", "cx"], "coupling": "full", "level": 0}
    assert (note["transpiled"].items() >= told.items(), note["expressibility"]["pairs"]) == (True, 50)
    code, out, err = door("circuit", *QUANTUM, "circuit.entanglement=ring", *overrides)
    assert code == 0, err
    assert f"on a full coupling map: depth {counts['gate_depth']}, two qubit gates 8 (Qiskit" in " ".join(out.split())


def test_what_is_missing_has_no_number_and_the_notes_say_why(door, workplace) -> None:
    record, _ = smoke(door, workplace, "optimizer=circuit", "circuit.n_qubits=10", "callbacks.circuit.pairs=50")
    assert "all 50 pairs lie in the first" in record["circuits"]["optimizer"]["expressibility"]["missing"]
    assert not [name for name in record["summary"] if "expressibility" in name]
    assert record["summary"]["circuit/transpiled_two_qubit_gates"] == 2 * 9


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("coupling=star", "coupling must be one of line, ring, full, got 'star'"),
        ("basis=[cx]", "basis must make h, cx and every rotation, got ['cx']"),
        ("level=9", "level must be 0, 1, 2 or 3, got 9"),
        ("pairs=0", "pairs must be an integer >= 2, got 0"),
    ],
)
def test_a_method_that_cannot_be_is_refused_before_anything_trains(door, workplace, setting: str, message: str) -> None:
    for command in ("train", "circuit"):
        code, _, err = door(command, *QUANTUM, f"callbacks.circuit.{setting}")
        assert (code, message in err) == (2, True)


def test_measuring_changes_no_number(door, workplace, monkeypatch) -> None:
    # Nor does finding out what no run has found out before.
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(workplace / "empty"))
    _, with_it = smoke(door, workplace, *QUANTUM, "optimizer=circuit")
    code, _, err = door(
        "train",
        "trainer=smoke",
        "logger=none",
        "hydra.run.dir=without",
        "callbacks.circuit=null",
        *QUANTUM,
        "optimizer=circuit",
    )
    assert code == 0, err
    without = read_curves(workplace / "without" / "curves.csv")
    told = [name for name in without if not name.startswith(CLOCKS)]
    assert all((without[name][1] == with_it[name][1]).all() for name in told)
    assert "train/loss" in told


@pytest.mark.parametrize("readout", ["amplitude", "z"])
def test_executions_are_those_that_a_counter_at_the_simulator_sees(readout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from superpositional.circuits.backends import qiskit

    seen = []
    run = qiskit.run_qiskit
    monkeypatch.setattr(qiskit, "run_qiskit", lambda ansatz, angles, r: seen.append(len(angles)) or run(ansatz, angles, r))
    attention = QuantumAttention(4, 2, ansatz=Ansatz(n_qubits=2, depth=1), readout=readout, backend=Exact("qiskit"))
    x = torch.randn(3, 5, 4)
    output, _ = attention(x, x, x)
    forward, gradient = attention.executions(3 * 2 * 5 * 5)
    assert forward == 2 * (3 if readout == "amplitude" else 5)
    # The shifted circuits are part of the same call.
    assert sum(seen) == forward + gradient
    output.sum().backward()
    assert sum(seen) == forward + gradient


def test_the_interval_is_checked() -> None:
    with pytest.raises(ValueError, match="every_n_steps must be an integer >= 1, got 0"):
        CircuitStatistics(every_n_steps=0)


class Net(LightningModule):
    """A quantum attention called so often in each batch, and an optimizer's circuit over its output's weights."""

    def __init__(self, calls: int, quantum_weight: float = 0.5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = QuantumAttention(4, 2, ansatz=Ansatz(n_qubits=2, depth=1))
        self.head = nn.Linear(4, 1)
        self.calls, self.quantum_weight = calls, quantum_weight
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        hidden = batch
        for _ in range(self.calls):
            hidden, _ = self.attention(hidden, hidden, hidden)
        return self.head(hidden).square().mean()

    def on_before_optimizer_step(self, optimizer) -> None:
        if self.attention.angles.grad is not None:
            self.seen.append(self.attention.angles.grad.clone())

    def configure_optimizers(self):
        circuit = CircuitPerturbation(Ansatz())
        return SuperpositionalAdamW(
            self.head.parameters(), quantum_weight=self.quantum_weight, scope="all", perturbation=circuit
        )


def fit(net: Net, folder: Path, every: int = 2, epochs: int = 1, **settings) -> dict:
    statistics = CircuitStatistics(every_n_steps=every)
    data = DataLoader(torch.randn(8, 5, 4, generator=torch.Generator().manual_seed(1)), batch_size=1)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=RecordLogger(folder / "curves.csv"),
        callbacks=[statistics],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(net, data)
    return read_curves(folder / "curves.csv")


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*logging interval.*")
@pytest.mark.parametrize(
    ("calls", "together", "quantum_weight", "executions", "steps"),
    [
        # 2 heads at 3 nodes a call; the head's 5 weights are registers of 4 and 1.
        (1, 1, 0.5, 6 + 2, [2, 4, 6, 8]),
        (2, 1, 0.5, 2 * 6 + 2, [2, 4, 6, 8]),
        (1, 2, 0.5, 2 * 6 + 2, [2, 4]),
        (1, 1, 0.0, 6, [2, 4, 6, 8]),
        (0, 1, 0.5, 2, [2, 4, 6, 8]),
    ],
    ids=["plain", "called twice", "accumulated", "weight 0", "never called"],
)
def test_executions_are_those_of_the_step(
    tmp_path: Path, calls: int, together: int, quantum_weight: float, executions: int, steps: list[int]
) -> None:
    net = Net(calls, quantum_weight)
    curves = fit(net, tmp_path, accumulate_grad_batches=together)
    found_steps, values = curves["circuit/executions"]
    assert (found_steps.tolist(), set(values)) == (steps, {executions})
    assert ("circuit/attention/phi_ratio" in curves) == (calls > 0)
    if calls:
        variances = [float(net.seen[step - 1].var()) for step in steps]
        assert curves["circuit/attention/gradient_variance"][1].tolist() == pytest.approx(variances, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*logging interval.*")
def test_the_last_step_is_measured_and_short_epochs_ends_are_not(tmp_path: Path) -> None:
    steps, _ = fit(Net(1), tmp_path, every=10, epochs=3)["circuit/attention/entanglement"]
    assert steps.tolist() == [10, 20, 24]  # of three epochs of eight


def test_an_optimizer_with_a_perturbation_of_another_kind_is_let_be(door, workplace, monkeypatch) -> None:
    (workplace / "sam.py").write_text(
        "import torch\nclass Sam(torch.optim.SGD):\n    def __init__(self, params, lr=0.1):\n"
        "        super().__init__(params, lr)\n        self.param_groups[0]['perturbation'] = 0.05\n"
    )
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "sam")
    record, _ = smoke(door, workplace, "optimizer=sgd", "optimizer._target_=sam.Sam", "~optimizer.momentum")
    assert "circuits" not in record


@pytest.mark.parametrize("epochs", [1, 2], ids=["between epochs", "after the last"])
def test_a_resumed_runs_record_has_the_circuits_of_an_uninterrupted_one(door, workplace, epochs: int) -> None:
    settings = [*QUANTUM, "optimizer=circuit", "optimizer.perturbation.angles=random", "logger=none", "data.n_train=96"]
    settings += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    assert door("train", *settings, "trainer.max_epochs=2", "hydra.run.dir=whole")[0] == 0
    assert door("train", *settings, f"trainer.max_epochs={epochs}", "hydra.run.dir=cut")[0] == 0
    # As if the run of two epochs had been killed where this one ended.
    whole, cut = read_record(workplace / "whole"), workplace / "cut"
    shutil.copy(workplace / "whole" / "config.yaml", cut)
    (cut / "record.json").unlink()
    left = {name: value for name, value in whole.items() if name != "curves"}
    (cut / "running.json").write_text(json.dumps({**left, "status": None, "sessions": 1, "fit_seconds": None}))
    code, _, err = door("train", "resume=cut")
    assert code == 0, err
    resumed = read_record(cut)
    kept = {name: value for name, value in whole["summary"].items() if not ("seconds" in name or name.startswith(CLOCKS))}
    assert {name: resumed["summary"].get(name) for name in kept} == kept
    assert (resumed["circuits"], resumed["touched"]) == (whole["circuits"], whole["touched"])
    assert len(read_curves(cut / "curves.csv")["circuit/net.layers.0.self_attn/certificate"][0]) == 1


@torch.no_grad()
def test_measured_sizes_are_sums_of_squares_of_phi_and_of_the_scaled_scores() -> None:
    attention = QuantumAttention(4, 2, ansatz=Ansatz(n_qubits=2, depth=1))
    attention.measuring = True
    x = torch.randn(3, 5, 4)
    attention(x, x, x)
    raw = attention.statistics
    # By hand, from the module's own projections.
    q, k, _ = attention._project(x, x, x)
    scores = q @ k.mT
    assert raw["scores"] == scores.numel() == 150
    assert float(raw["score_squares"]) == pytest.approx(float((scores / 2**0.5).square().sum()), rel=1e-6)
    assert float(raw["phi_squares"]) == pytest.approx(float(attention.phi(scores).square().sum()), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["circuit.depth=3"], ["layers 3", "circuits that give Phi for every score: 13 per set", "readout amplitude"]),
        (
            ["circuit.n_qubits=2", "--readout", "z"],
            ["n qubits 2", "readout z", "two qubit gates 2", "transpiled to rz, sx, x, cx on a line coupling map: depth "],
        ),
        (["net/attention=quantum", "net.attention.readout=probability"], ["readout probability"]),
        (
            ["optimizer=circuit", "circuit.entanglement=none", "circuit.depth=1"],
            ["a run has it in the optimizer.", " nats (lower reaches more;"],
        ),
        (
            ["optimizer=circuit", "optimizer.perturbation.angles=random", "net/attention=quantum"],
            ["in attention and in the"],
        ),
        (
            ["circuit.n_qubits=1", "circuit.depth=1"],
            ["a run has no circuit: choose net/attention=quantum or optimizer=circuit", "Nothing would run on it."],
        ),
        (
            ["net/attention=quantum"],
            ["readout=amplitude cannot be measured; the curves in measured.png are readout=z's.", "Ours is 1/544 of"],
        ),
        (
            ["net/attention=quantum", "net.attention.readout=z", "backend=ibm", "backend.local=FakeManilaV2"],
            ["Phi by backend=ibm, 1,024 shots: off by", "On backend=ibm's device, fake_manila", "136       4,352     1"],
        ),
        (
            ["optimizer=circuit", "backend=primitive"],
            ["backend=primitive was not asked: an execution there has a price."],
        ),
    ],
    ids=str,
)
def test_the_circuit_command_shows_text_and_picture(door, workplace, arguments: list[str], shown: list[str]) -> None:
    code, out, err = door("circuit", *arguments, "--out", "here")
    assert code == 0, err
    assert [text for text in shown if text not in out] == []
    assert (workplace / "here" / "circuit.txt").read_text() in out
    pictures = ("circuit.png", "curves.png", "measured.png")
    assert all((workplace / "here" / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    assert "OPENQASM 3" in (workplace / "here" / "circuit.qasm").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["circuit.depth=0"], "circuit: depth must be an integer >= 1, got 0; the paper has 2"),
        (["circuit.deth=3"], "circuit.deth is no argument of Ansatz; did you mean circuit.depth?"),
        (["optimiser=adam"], "optimiser is no setting; did you mean optimizer?"),
        (["--readout", "w"], "--readout must be one of amplitude,"),
        (["circuit=big"], "circuit must be one of paper, got 'big'"),
        (["circuit.depth=1,2"], "circuit shows one config, got circuit.depth=1,2; give one value"),
        (["hydra.run.dir=X"], "hydra.run.dir=X has no effect: circuit starts no run; --out says where it writes"),
        (["hydra/launcher=slurm"], "hydra/launcher=slurm has no effect: circuit starts no run;"),
        (["--out", "/proc/nowhere"], "/proc/nowhere: No such file or directory; give a folder that can be written"),
        (["circuit.n_qubits=45"], "n_qubits=45 needs"),
    ],
    ids=str,
)
def test_the_circuit_command_refuses_bad_input(door, workplace, arguments: list[str], message: str) -> None:
    code, out, err = door("circuit", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (workplace / "outputs").exists()


def test_the_notes_are_plain_json(door, workplace) -> None:
    smoke(door, workplace, *QUANTUM, "optimizer=circuit")
    circuits = json.loads((workplace / "run" / "record.json").read_text())["circuits"]
    assert set(circuits) == {"net.layers.0.self_attn", "net.layers.1.self_attn", "optimizer"}
