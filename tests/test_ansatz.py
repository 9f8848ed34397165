"""Is the circuit, as data, the one of Pamuk et al. 2025, eq. (5), and does Qiskit see the same one?"""

import json
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from superpositional.circuits import Ansatz
from superpositional.circuits.ansatz import ENTANGLEMENTS, ROTATIONS, Gate

SOURCE = Path(__file__).resolve().parents[1] / "src"

# One table of circuits drives the tests that compare with Qiskit.
ANSATZ = {
    "paper": Ansatz(),
    "one_qubit": Ansatz(n_qubits=1, depth=3),
    "two_qubits_ring": Ansatz(n_qubits=2, depth=2, entanglement="ring"),
    "ring": Ansatz(n_qubits=5, depth=3, entanglement="ring"),
    "none": Ansatz(n_qubits=3, depth=2, entanglement="none"),
    "first_layer_only": Ansatz(n_qubits=4, depth=3, reupload=False),
    "two_ry": Ansatz(n_qubits=3, depth=2, rotations=("ry", "rz", "ry"), entanglement="ring"),
    "all_rotations": Ansatz(n_qubits=6, depth=4, rotations=("rz", "ry", "rx")),
}
every_ansatz = pytest.mark.parametrize("ansatz", ANSATZ.values(), ids=ANSATZ)


# What is refused ---------------------------------------------------------------------------------------------------

ERROR_INPUTS = [
    ({"n_qubits": 0}, "n_qubits must be an integer >= 1, got 0; the paper has 4"),
    ({"n_qubits": 2.0}, "n_qubits must be an integer >= 1, got 2.0; the paper has 4"),
    ({"n_qubits": True}, "n_qubits must be an integer >= 1, got True; the paper has 4"),
    ({"n_qubits": "4"}, "n_qubits must be an integer >= 1, got '4'; the paper has 4"),
    ({"depth": -1}, "depth must be an integer >= 1, got -1; the paper has 2"),
    ({"depth": None}, "depth must be an integer >= 1, got None; the paper has 2"),
    ({"rotations": "ry"}, "rotations must be a list out of rx, ry, rz, got 'ry'; try [ry, rz]"),
    ({"rotations": 3}, "rotations must be a list out of rx, ry, rz, got 3; try [ry, rz]"),
    ({"rotations": {"ry"}}, "rotations must be a list out of rx, ry, rz, got {'ry'}; try [ry, rz]"),
    ({"rotations": ["ry", "h"]}, "rotations must be a list out of rx, ry, rz, got ['ry', 'h']; try [ry, rz]"),
    ({"rotations": ["ry", ["rz"]]}, "rotations must be a list out of rx, ry, rz, got ['ry', ['rz']]; try [ry, rz]"),
    ({"rotations": ("rx", "rz")}, "rotations must hold ry, which the input enters, got ['rx', 'rz']; try [ry, rz]"),
    ({"rotations": []}, "rotations must hold ry, which the input enters, got []; try [ry, rz]"),
    ({"entanglement": "full"}, "entanglement must be one of linear, ring, none, got 'full'"),
    ({"entanglement": None}, "entanglement must be one of linear, ring, none, got None"),
    ({"entanglement": ["ring"]}, "entanglement must be one of linear, ring, none, got ['ring']"),
    ({"reupload": 1}, "reupload must be true or false, got 1"),
    ({"reupload": "no"}, "reupload must be true or false, got 'no'"),
]


@pytest.mark.parametrize(("arguments", "message"), ERROR_INPUTS, ids=str)
def test_a_bad_argument_is_named_with_its_value_and_its_cure(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Ansatz(**arguments)
    # The others are good and are not complained about.
    assert str(caught.value) == message


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="n_qubits") as caught:
        Ansatz(n_qubits=0, depth=0, rotations=("rx",), entanglement="all", reupload=None)
    assert str(caught.value).splitlines() == [
        "n_qubits must be an integer >= 1, got 0; the paper has 4",
        "depth must be an integer >= 1, got 0; the paper has 2",
        "rotations must hold ry, which the input enters, got ['rx']; try [ry, rz]",
        "entanglement must be one of linear, ring, none, got 'all'",
        "reupload must be true or false, got None",
    ]


def test_an_ansatz_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Ansatz().depth = 3


# Its shape ---------------------------------------------------------------------------------------------------------


def test_the_default_is_the_paper_s_circuit() -> None:
    # Table II: 4 qubits, depth 2, Ry and Rz, CNOT between neighbours.
    ansatz = Ansatz()
    assert ansatz == Ansatz(n_qubits=4, depth=2, rotations=("ry", "rz"), entanglement="linear", reupload=True)
    assert ansatz.cnots == [(0, 1), (1, 2), (2, 3)]
    assert (ansatz.num_parameters, ansatz.degree) == (16, 8)


@pytest.mark.parametrize("n_qubits", [1, 2, 5])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("rotations", [("ry",), ("ry", "rz"), ("rz", "ry", "rx", "ry")], ids="-".join)
def test_there_is_an_angle_for_each_rotation_of_each_qubit_of_each_layer(n_qubits, depth, rotations) -> None:
    ansatz = Ansatz(n_qubits=n_qubits, depth=depth, rotations=rotations)
    assert ansatz.angles_shape == (depth, len(rotations), n_qubits)
    assert ansatz.num_parameters == depth * len(rotations) * n_qubits
    named = [gate.angle for gate in ansatz.gates() if gate.angle is not None]
    # Each once, and in the order of the angles' memory: layer, rotation, qubit.
    assert named == [(la, r, q) for la in range(depth) for r in range(len(rotations)) for q in range(n_qubits)]


@pytest.mark.parametrize(
    ("rotations", "reupload", "degree"),
    [
        (("ry", "rz"), True, 3 * 4),
        (("ry", "rz"), False, 4),
        (("ry", "rz", "ry"), True, 3 * 4 * 2),
        (("ry", "rz", "ry"), False, 4 * 2),
        (("rx", "ry"), True, 3 * 4),
    ],
)
def test_the_degree_counts_the_gates_the_input_enters(rotations: tuple, reupload: bool, degree: int) -> None:
    assert Ansatz(n_qubits=4, depth=3, rotations=rotations, reupload=reupload).degree == degree


@pytest.mark.parametrize("reupload", [True, False])
def test_the_input_enters_every_ry_of_every_layer_or_of_the_first(reupload: bool) -> None:
    ansatz = Ansatz(n_qubits=2, depth=3, rotations=("ry", "rx", "rz", "ry"), reupload=reupload)
    entered = {gate.angle for gate in ansatz.gates() if gate.encodes}
    layers = range(3) if reupload else [0]
    assert entered == {(layer, rotation, q) for layer in layers for rotation in (0, 3) for q in (0, 1)}


CNOTS = {
    (1, "linear"): [],
    (1, "ring"): [],
    (1, "none"): [],
    (2, "linear"): [(0, 1)],
    (2, "ring"): [(0, 1)],
    (2, "none"): [],
    (3, "linear"): [(0, 1), (1, 2)],
    (3, "ring"): [(0, 1), (1, 2), (2, 0)],
    (3, "none"): [],
    (4, "linear"): [(0, 1), (1, 2), (2, 3)],
    (4, "ring"): [(0, 1), (1, 2), (2, 3), (3, 0)],
    (4, "none"): [],
}


@pytest.mark.parametrize(("key", "cnots"), CNOTS.items(), ids=str)
def test_cnots_go_from_neighbour_to_neighbour_and_a_ring_closes_from_three_qubits_on(key: tuple, cnots: list) -> None:
    n_qubits, entanglement = key
    assert Ansatz(n_qubits=n_qubits, entanglement=entanglement).cnots == cnots


def test_every_entanglement_is_in_the_table_above() -> None:
    assert {entanglement for _, entanglement in CNOTS} == set(ENTANGLEMENTS)


def test_the_gates_of_equation_5_come_in_its_order() -> None:
    gates = list(Ansatz(n_qubits=2, depth=2).gates())
    layers = [
        [
            Gate("ry", (0,), (layer, 0, 0), True),
            Gate("ry", (1,), (layer, 0, 1), True),
            Gate("rz", (0,), (layer, 1, 0), False),
            Gate("rz", (1,), (layer, 1, 1), False),
            Gate("cx", (0, 1)),
        ]
        for layer in (0, 1)
    ]
    # The Hadamards once, at the start; in each layer Ry before Rz before the CNOTs.
    assert gates == [Gate("h", (0,)), Gate("h", (1,)), *layers[0], *layers[1]]


# As plain data -----------------------------------------------------------------------------------------------------


@every_ansatz
def test_plain_values_survive_json_and_make_the_same_ansatz_again(ansatz: Ansatz) -> None:
    again = Ansatz(**json.loads(json.dumps(ansatz.plain())))
    assert again == ansatz
    assert hash(again) == hash(ansatz)


def test_plain_holds_every_argument_and_nothing_else() -> None:
    assert Ansatz(rotations=("rx", "ry")).plain() == {
        "n_qubits": 4,
        "depth": 2,
        "rotations": ["rx", "ry"],
        "entanglement": "linear",
        "reupload": True,
    }


def test_plain_values_survive_json_when_a_width_came_from_numpy() -> None:
    assert json.loads(json.dumps(Ansatz(n_qubits=np.int64(3), depth=np.int32(1)).plain())) == Ansatz(3, 1).plain()


@pytest.mark.parametrize("rotations", [["ry", "rz"], OmegaConf.create(["ry", "rz"])], ids=["list", "yaml"])
def test_an_ansatz_made_from_a_list_is_hashable_and_equals_the_one_from_a_tuple(rotations) -> None:
    ansatz = Ansatz(rotations=rotations)
    assert type(ansatz.rotations) is tuple
    assert {ansatz: "found"}[Ansatz(rotations=("ry", "rz"))] == "found"


# In Qiskit ---------------------------------------------------------------------------------------------------------


@every_ansatz
def test_statistics_are_those_qiskit_counts(ansatz: Ansatz) -> None:
    found, circuit = ansatz.statistics(), ansatz.to_qiskit()
    assert found == {
        "n_qubits": circuit.num_qubits,
        "layers": ansatz.depth,
        "gate_depth": circuit.depth(),
        "gates": circuit.size(),
        "one_qubit_gates": circuit.size() - circuit.num_nonlocal_gates(),
        "two_qubit_gates": circuit.num_nonlocal_gates(),
        # The input is the one parameter more.
        "parameters": circuit.num_parameters - 1,
        "encoding_gates": sum(len(step.params) == 1 and "x" in str(step.params[0]) for step in circuit.data),
    }


def test_statistics_of_the_paper_s_circuit_are_those_counted_by_hand() -> None:
    # 4 Hadamards, then twice 8 rotations and 3 CNOTs. Longest path: H, Ry, Rz and the two CNOTs that qubit 1 is in, its
    # second Ry and Rz, and the staircase of 3 CNOTs that can start only then: 3 + 2 + 2 + 3.
    assert Ansatz().statistics() == {
        "n_qubits": 4,
        "layers": 2,
        "gate_depth": 10,
        "gates": 26,
        "one_qubit_gates": 20,
        "two_qubit_gates": 6,
        "parameters": 16,
        "encoding_gates": 8,
    }


@every_ansatz
def test_qiskit_gets_the_angles_by_name_and_one_x_or_one_for_each_qubit(ansatz: Ansatz) -> None:
    theta = {f"theta[{index}]" for index in range(ansatz.num_parameters)}
    scalar, register = ansatz.to_qiskit(), ansatz.to_qiskit("register")
    assert {parameter.name for parameter in scalar.parameters} == theta | {"x"}
    assert {parameter.name for parameter in register.parameters} == theta | {f"x[{q}]" for q in range(ansatz.n_qubits)}


@every_ansatz
@pytest.mark.parametrize("inputs", ["scalar", "register"])
def test_qiskit_gets_the_same_gates_with_row_major_angles(ansatz: Ansatz, inputs: str) -> None:
    circuit = ansatz.to_qiskit(inputs)
    for step, gate in zip(circuit.data, ansatz.gates(), strict=True):
        assert step.operation.name == gate.name
        assert tuple(circuit.find_bit(qubit).index for qubit in step.qubits) == gate.qubits
        if gate.angle is None:
            assert step.params == []
        else:
            (angle,), (q,) = step.params, gate.qubits
            x = {"scalar": "x", "register": f"x[{q}]"}[inputs]
            expected = {f"theta[{np.ravel_multi_index(gate.angle, ansatz.angles_shape)}]"} | (
                {x} if gate.encodes else set()
            )
            assert {parameter.name for parameter in angle.parameters} == expected
            # Each once and added: with all of them 1 the angle is how many they are.
            assert float(angle.bind(dict.fromkeys(angle.parameters, 1.0))) == len(expected)


@pytest.mark.parametrize("call", [Ansatz().to_qiskit, Ansatz().to_qasm, lambda inputs: Ansatz().draw(inputs=inputs)])
def test_inputs_are_scalar_or_register(call) -> None:
    with pytest.raises(ValueError, match=re.escape("inputs must be scalar or register, got 'vector'")):
        call("vector")


@every_ansatz
@pytest.mark.parametrize("inputs", ["scalar", "register"])
def test_qasm_declares_every_parameter_as_input_and_has_every_gate(ansatz: Ansatz, inputs: str) -> None:
    text = ansatz.to_qasm(inputs)
    assert text.startswith("OPENQASM 3")
    count = ansatz.num_parameters + (1 if inputs == "scalar" else ansatz.n_qubits)
    assert len(re.findall(r"^input float\[64\] \w+;$", text, re.MULTILINE)) == count
    assert f"qubit[{ansatz.n_qubits}] q;" in text
    for name in ("h", "cx", *ROTATIONS):
        written = len(re.findall(rf"^{name}\b.* q\[", text, re.MULTILINE))
        assert written == sum(gate.name == name for gate in ansatz.gates())


@every_ansatz
@pytest.mark.parametrize("inputs", ["scalar", "register"])
def test_the_drawing_names_every_qubit_and_every_parameter(ansatz: Ansatz, inputs: str) -> None:
    text = ansatz.draw(inputs=inputs)
    # Qiskit leaves the number away where there is one qubit.
    names = ["q"] if ansatz.n_qubits == 1 else [f"q_{q}" for q in range(ansatz.n_qubits)]
    assert all(re.search(rf"^«?\s*{name}:", text, re.MULTILINE) for name in names)
    assert all(parameter.name in text for parameter in ansatz.to_qiskit(inputs).parameters)
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_figure_has_a_label_for_every_qubit() -> None:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    figure = Ansatz(n_qubits=3).draw("mpl")
    assert isinstance(figure, Figure)
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert all(f"{{{q}}}" in texts for q in range(3))
    pyplot.close(figure)


# Its import --------------------------------------------------------------------------------------------------------


def test_importing_circuits_imports_neither_torch_nor_qiskit() -> None:
    code = (
        "import sys; from superpositional.circuits import Ansatz; Ansatz().statistics(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'qiskit', 'qiskit_aer', 'numpy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.stdout.strip() == "[]"
