"""What is known of a circuit: is it right on a device, and never a reason for a run to fail?"""

from pathlib import Path

import pytest
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import CouplingMap, InstructionProperties

from superpositional.circuits import Ansatz, measures, portrait
from superpositional.circuits.backends.aer import BASIS, COUPLINGS, Device, coupling_map, on_device, transpiled

# Of the default ansatz; it changes with the code, with torch's dice, with the method, and with nothing else.
PINNED = 0.019137624746244884
OWN = ("h", "rx", "ry", "rz", "cx")
ANSATZES = [
    Ansatz(),
    Ansatz(n_qubits=1, depth=1),
    Ansatz(n_qubits=5, depth=3, entanglement="ring"),
    Ansatz(n_qubits=3, rotations=("rx", "ry", "rz"), reupload=False),
    Ansatz(n_qubits=4, entanglement="none"),
]


@pytest.mark.parametrize("ansatz", ANSATZES, ids=str)
def test_on_a_device_with_its_own_gates_and_all_couplings_a_circuit_stays_as_it_is_written(ansatz: Ansatz) -> None:
    found = transpiled(ansatz, Device(basis=OWN, coupling="full", level=0))
    counts = ansatz.statistics()
    assert found == (counts["gate_depth"], counts["two_qubit_gates"], None)


def test_a_ring_on_a_line_needs_more_than_its_own_two_qubit_gates_and_on_a_ring_as_many() -> None:
    ring = Ansatz(n_qubits=5, entanglement="ring")
    assert transpiled(ring, Device(coupling="line")).two_qubit_gates > 5 * ring.depth
    for coupling in ("ring", "full"):
        assert transpiled(ring, Device(coupling=coupling)).two_qubit_gates == 5 * ring.depth


def test_the_papers_circuit_fits_a_line_and_its_layers_are_these_gates_deep() -> None:
    # By hand: level 1 makes H, Ry and Rz of each qubit one rotation of at most 5 gates, rz sx rz sx rz, of which on the
    # chain's first qubit (H, Ry(a), Rz(b)) = 4 are left; 3 CNOTs a layer either way.
    assert transpiled(Ansatz(), Device()).two_qubit_gates == 6
    assert transpiled(Ansatz(), Device()).depth == 17


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_every_coupling_has_a_place_for_each_qubit_and_pairs_in_both_directions(coupling: str) -> None:
    pairs = {"line": 4, "ring": 5}  # of five qubits
    for n_qubits in (1, 2, 3, 5):
        found = coupling_map(coupling, n_qubits)
        if coupling == "full":
            assert found is None
            continue
        edges = {tuple(edge) for edge in found.get_edges()}
        assert found.size() >= n_qubits
        assert all((b, a) in edges and a != b for a, b in edges)
    if coupling != "full":
        assert len(edges) == 2 * pairs[coupling]


@pytest.mark.parametrize("level", range(4))
def test_transpiling_is_the_same_every_time(level: int) -> None:
    device = Device(coupling="line", level=level)
    ansatz = Ansatz(n_qubits=7, entanglement="ring")
    assert transpiled(ansatz, device) == transpiled(ansatz, device)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"basis": "cx"}, "basis must be a list of names of gates, got 'cx'"),
        ({"basis": []}, "basis must be a list of names of gates, got \\[\\]"),
        ({"basis": ["rz", "cx"]}, "basis must make h, cx and every rotation, got \\['rz', 'cx'\\]"),
        ({"basis": ["rz", "sx", "cnot"]}, "basis must make h, cx and every rotation, got"),
        ({"coupling": "star"}, "coupling must be one of line, ring, full, got 'star'"),
        ({"level": 4}, "level must be 0, 1, 2 or 3, got 4"),
        ({"level": True}, "level must be 0, 1, 2 or 3, got True"),
    ],
    ids=str,
)
def test_a_device_that_cannot_be_is_refused_with_its_cure(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Device(**arguments)


def line(n_qubits: int, **settings) -> GenericBackendV2:
    return GenericBackendV2(n_qubits, coupling_map=CouplingMap.from_line(n_qubits), seed=0, **settings)


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("ansatz", ANSATZES, ids=str)
def test_on_qiskits_own_device_the_circuit_is_that_of_the_same_basis_and_coupling(ansatz: Ansatz, level: int) -> None:
    device = line(max(ansatz.n_qubits, 2), basis_gates=list(BASIS))  # Qiskit makes none of one qubit
    found = on_device(ansatz, device, level)
    assert found == on_device(ansatz, device, level)  # the same every time
    # The higher levels look at calibrations too, to find the best qubits.
    if level == 1:
        assert found[:2] == transpiled(ansatz, Device(level=1))[:2]


def test_seconds_of_a_circuit_are_the_devices_own_with_its_measurement() -> None:
    device, ansatz = line(4), Ansatz(depth=2)
    durations = [each.duration for each in device.target["measure"].values()]
    gates = [each.duration for name in ("sx", "x", "cx") for each in device.target[name].values()]
    found = on_device(ansatz, device)
    # No shorter than the fastest measurement, no longer than the slowest one after every gate of the longest path.
    assert min(durations) < found.seconds <= max(durations) + found.depth * max(gates)
    deeper = on_device(Ansatz(depth=4), device)
    assert deeper.seconds > found.seconds
    assert deeper.two_qubit_gates == 2 * found.two_qubit_gates == 12


@pytest.mark.parametrize("lacks", ["everything", "measure"])
def test_a_device_that_states_no_durations_leaves_seconds_missing_and_never_zero(lacks: str) -> None:
    device = line(4, noise_info=lacks != "everything")
    if lacks == "measure":
        for qubits in list(device.target["measure"]):
            device.target.update_instruction_properties("measure", qubits, InstructionProperties(error=0.01))
    found = on_device(Ansatz(), device)
    assert found.seconds is None
    assert found.two_qubit_gates == 6


def test_a_device_may_be_wider_than_the_circuit_and_never_narrower() -> None:
    assert on_device(Ansatz(), line(7)).two_qubit_gates == 6
    with pytest.raises(ValueError, match="n_qubits=4 is more than generic_backend_3q has, 3; choose a wider one"):
        on_device(Ansatz(), line(3))


def test_a_basis_from_yaml_is_that_from_code() -> None:
    assert Device(basis=list(BASIS)) == Device()
    # Another universal one: the CNOTs become as many CZs.
    assert transpiled(Ansatz(), Device(basis=["rz", "sx", "cz"], coupling="line")).two_qubit_gates == 6


def test_the_papers_circuit_has_these_facts() -> None:
    found = measures.facts(Ansatz())
    figures = measures.figures(found)
    assert figures["expressibility"] == pytest.approx(PINNED, rel=1e-9)  # up to a fidelity on a bin's edge
    assert (figures["transpiled_depth"], figures["transpiled_two_qubit_gates"]) == (17, 6)
    told = "\n".join(portrait.in_words(found))
    assert f"{PINNED:.4f} ± {figures['expressibility_standard_error']:.4f} nats" in told
    assert "transpiled to rz, sx, x, cx on a line coupling map: depth 17, two qubit gates 6 (Qiskit " in told


@pytest.mark.parametrize(
    ("ansatz", "fact", "why"),
    [
        (Ansatz(n_qubits=40), "expressibility", "5000 pairs at n_qubits=40, depth=2 are more than 2.5e+09 updates"),
        (Ansatz(n_qubits=2000, entanglement="none"), "expressibility", "5000 pairs at n_qubits=2000"),
        (Ansatz(depth=2000), "transpiled", "the circuit has 22004 gates, above the 20000 that a run waits for"),
    ],
    ids=["wide", "wider than any float", "deep"],
)
def test_what_no_run_waits_for_is_missing_and_says_why(ansatz: Ansatz, fact: str, why: str) -> None:
    found = measures.facts(ansatz)
    assert why in found[fact]["missing"]
    assert not [name for name in measures.figures(found) if name.startswith(fact)]
    assert any(f"{fact}: missing, for " in line for line in portrait.in_words(found))


def test_a_circuit_too_wide_to_be_told_from_haar_random_has_no_expressibility_of_zero() -> None:
    found = measures.facts(Ansatz(n_qubits=10), pairs=200)
    assert found["expressibility"] == {
        "missing": "all 200 pairs lie in the first of 75 bins, as Haar-random ones do: none is told apart"
    }


def test_a_circuits_facts_are_found_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = measures.facts(Ansatz(), pairs=50)
    for name in ("expressibility", "transpiled"):
        monkeypatch.setattr(measures, name, None)
    again = measures.facts(Ansatz(), pairs=50)
    assert again == first
    again["expressibility"].clear()  # nobody's changes reach the next
    assert measures.facts(Ansatz(), pairs=50) == first


def test_a_drawing_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        portrait.write(tmp_path / name, Ansatz(n_qubits=2), "register")
    for file in ("circuit.txt", "circuit.svg"):
        assert len({(tmp_path / name / file).read_bytes() for name in ("first", "again")}) == 1
    assert "OPENQASM 3" in (tmp_path / "again" / "circuit.txt").read_text()
