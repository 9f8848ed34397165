"""Do runs say what their circuits did: counts, certificate, entanglement, executions, size of Phi?"""

import json

import pytest
import torch

from superpositional.attention import QuantumAttention
from superpositional.circuit_statistics import CircuitStatistics
from superpositional.circuits import Ansatz
from superpositional.circuits.simulators import SIMULATORS
from superpositional.records import read_curves, read_record

QUANTUM = ["net/attention=quantum"]


def smoke(door, workplace, *overrides: str) -> tuple[dict, dict]:
    folder = workplace / "run"
    code, _, err = door("train", "trainer=smoke", "logger=none", f"hydra.run.dir={folder}", *overrides)
    assert code == 0, err
    return read_record(folder), read_curves(folder / "curves.csv")


def test_a_run_with_quantum_attention_records_its_circuits(door, workplace) -> None:
    record, curves = smoke(door, workplace, *QUANTUM, "optimizer=adam", "net.attention.readout=z")
    counts = {"n_qubits": 4, "layers": 2, "depth": 10, "gates": 26, "two_qubit_gates": 6, "parameters": 16}
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


def test_a_run_with_the_circuit_optimizer_records_its_registers(door, workplace) -> None:
    record, _ = smoke(door, workplace, "optimizer=circuit", "optimizer.scope=tensor", "circuit.depth=3")
    assert record["summary"]["circuit/layers"] == 3
    assert record["circuits"]["optimizer"]["simulator"] == "statevector"
    # One register for each of the net's tensors.
    assert record["summary"]["circuit/executions"] == 28
    assert record["summary"]["circuit/optimizer/entanglement"] > 0
    assert "Ry(theta[0] + x[0])" in (workplace / "run" / "circuit.txt").read_text()


def test_registers_without_cnots_are_not_entangled(door, workplace) -> None:
    record, _ = smoke(door, workplace, "optimizer=circuit", "circuit.entanglement=none")
    assert record["summary"]["circuit/optimizer/entanglement"] == pytest.approx(0, abs=1e-12)
    assert record["circuits"]["optimizer"]["simulator"] == "closed_form"


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
    assert record["summary"]["circuit/depth"] == 10


def test_measuring_changes_no_number(door, workplace) -> None:
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
    assert all((without[name][1] == with_it[name][1]).all() for name in without if not name.startswith("time/"))


@pytest.mark.parametrize("readout", ["amplitude", "z"])
def test_executions_are_those_that_a_counter_at_the_simulator_sees(readout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from superpositional.circuits import qiskit_backend

    seen = []
    run = qiskit_backend.run_qiskit
    monkeypatch.setattr(
        qiskit_backend, "run_qiskit", lambda ansatz, angles, r: seen.append(len(angles)) or run(ansatz, angles, r)
    )
    attention = QuantumAttention(4, 2, ansatz=Ansatz(n_qubits=2, depth=1), readout=readout, evaluator="qiskit")
    x = torch.randn(3, 5, 4)
    output, _ = attention(x, x, x)
    forward, gradient = attention.executions(3 * 2 * 5 * 5)
    assert sum(seen) == forward == 2 * (3 if readout == "amplitude" else 5)
    output.sum().backward()
    assert sum(seen) == forward + gradient
    assert "qiskit" in SIMULATORS


def test_the_interval_is_checked() -> None:
    with pytest.raises(ValueError, match="every_n_steps must be >= 1, got 0"):
        CircuitStatistics(every_n_steps=0)


@torch.no_grad()
def test_measured_sizes_are_root_mean_squares_of_phi_and_of_the_scaled_scores() -> None:
    attention = QuantumAttention(4, 2, ansatz=Ansatz(n_qubits=2, depth=1))
    attention.measuring = True
    x = torch.randn(3, 5, 4)
    attention(x, x, x)
    raw = attention.statistics
    # RMS by hand, from the module's own projections.
    q, k, _ = attention._project(x, x, x)
    scores = q @ k.mT
    assert raw["scores"] == scores.numel() == 150
    assert float(raw["score_rms"]) == pytest.approx(float((scores / 2**0.5).square().mean().sqrt()), rel=1e-6)
    assert float(raw["phi_rms"]) == pytest.approx(float(attention.phi(scores).square().mean().sqrt()), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["circuit.depth=3"], ["layers 3", "circuits that give Phi for every score: 13 per set", "readout amplitude"]),
        (["circuit.n_qubits=2", "--readout", "z"], ["n qubits 2", "readout z", "two qubit gates 2"]),
        (["net/attention=quantum", "net.attention.readout=probability"], ["readout probability"]),
        (["optimizer=circuit", "circuit.entanglement=none", "circuit.depth=1"], ["+1.000 │"]),
    ],
    ids=str,
)
def test_the_circuit_command_shows_text_and_picture(door, workplace, arguments: list[str], shown: list[str]) -> None:
    code, out, err = door("circuit", *arguments, "--out", "here")
    assert code == 0, err
    assert [text for text in shown if text not in out] == []
    assert (workplace / "here" / "circuit.txt").read_text() in out
    assert (workplace / "here" / "circuit.png").read_bytes()[:4] == b"\x89PNG"
    assert "OPENQASM 3" in (workplace / "here" / "circuit.qasm").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["circuit.depth=0"], "circuit: depth must be an integer >= 1, got 0; the paper has 2"),
        (["circuit.deth=3"], "circuit.deth is no argument of Ansatz; did you mean circuit.depth?"),
        (["optimiser=adam"], "optimiser is no setting; did you mean optimizer?"),
        (["--readout", "w"], "--readout must be one of amplitude,"),
        (["circuit=big"], "circuit must be one of paper, got 'big'"),
        (["circuit.n_qubits=45"], "of n_qubits=45, depth=2 need"),
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
