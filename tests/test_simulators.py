"""Does every simulator give what the gates' textbook matrices give?

One conformance suite over every simulator, held to a plain NumPy oracle: whole 2^n x 2^n matrices, Kronecker products of
textbook gates, with nothing of the package in them but the ansatz's five fields. ``HELD`` says how each simulator is held
to it, and a guard fails where one is missing.
"""

import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from superpositional.circuits import Ansatz
from superpositional.circuits import statevector as statevector_module
from superpositional.circuits.ansatz import ENTANGLEMENTS
from superpositional.circuits.backends import estimate
from superpositional.circuits.backends.base import METHODS, Estimate
from superpositional.circuits.backends.exact import EXACT, evaluate, refusal
from superpositional.circuits.backends.simulated import Exact
from superpositional.circuits.readouts import READOUTS
from superpositional.circuits.statevector import encode

MEASURABLE = [readout for readout in READOUTS if not readout.startswith("amplitude")]
KINDS = ["amplitude", "probability", "z"]
EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}


def always(ansatz: Ansatz) -> bool:
    return True


def never_interacts(ansatz: Ansatz) -> bool:
    return ansatz.depth == 1 or ansatz.n_qubits == 1 or ansatz.entanglement == "none"


@dataclass(frozen=True)
class Held:
    """How a simulator is held to the oracle.

    Attributes:
        serves: the circuits it runs; the others it has to refuse.
        register: whether it takes an input per qubit; if not, it has to refuse them.
        series: whether it goes through Fourier coefficients, which costs digits.
        readouts: what it gives; the others it has to refuse.
    """

    serves: Callable[[Ansatz], bool] = always
    register: bool = True
    series: bool = False
    readouts: tuple[str, ...] = READOUTS


HELD = {
    "closed_form": Held(serves=never_interacts, readouts=("z",)),
    "statevector": Held(),
    "fourier": Held(register=False, series=True),
    "qiskit": Held(),
    "aer": Held(),
}
every_simulator = pytest.mark.parametrize("simulator", HELD)


def test_no_simulator_is_missing_from_the_table() -> None:
    assert set(HELD) == set(EXACT)


# The oracle --------------------------------------------------------------------------------------------------------

PAULI = {
    "rx": np.array([[0, 1], [1, 0]]),
    "ry": np.array([[0, -1j], [1j, 0]]),
    "rz": np.array([[1, 0], [0, -1]]),
}
HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
ZERO, ONE = np.diag([1, 0]), np.diag([0, 1])


def rotation(name: str, angle: float) -> np.ndarray:
    """exp(-i angle P / 2)."""
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULI[name]


def whole(n: int, gates: dict[int, np.ndarray]) -> np.ndarray:
    """The 2^n x 2^n matrix of one-qubit gates on the qubits named, qubit 0 the most significant bit."""
    return functools.reduce(np.kron, [gates.get(q, np.eye(2)) for q in range(n)])


@functools.cache
def cnot(n: int, control: int, target: int) -> np.ndarray:
    return whole(n, {control: ZERO}) + whole(n, {control: ONE, target: PAULI["rx"]})


def oracle_state(ansatz: Ansatz, inputs_Q: np.ndarray, angles_LRQ: np.ndarray) -> np.ndarray:
    """The state as an array of n axes of 2, qubit 0 the first."""
    n = ansatz.n_qubits
    state = np.eye(2**n)[0]
    state = whole(n, dict.fromkeys(range(n), HADAMARD)) @ state
    for layer in range(ansatz.depth):
        for name, angle_Q in zip(ansatz.rotations, angles_LRQ[layer], strict=True):
            if name == "ry" and (ansatz.reupload or layer == 0):
                angle_Q = angle_Q + inputs_Q
            state = whole(n, {q: rotation(name, angle_Q[q]) for q in range(n)}) @ state
        if ansatz.entanglement != "none":
            for q in range(n - 1):
                state = cnot(n, q, q + 1) @ state
        if ansatz.entanglement == "ring" and n > 2:
            state = cnot(n, n - 1, 0) @ state
    return state.reshape([2] * n)


def oracle_read(state: np.ndarray, readout: str) -> np.ndarray:
    """psi_k, k = 1 ... n."""
    n = state.ndim
    if readout == "z":
        probability = np.abs(state) ** 2
        return np.array([probability.take(0, k).sum() - probability.take(1, k).sum() for k in range(n)])
    binary = [tuple(int(digit) for digit in f"{k:0{n}b}") for k in range(n)]
    kind, _, order = readout.partition("_")
    bits = {
        "": binary,
        "little_endian": [each[::-1] for each in binary],
        "one_hot": [tuple(int(q == k) for q in range(n)) for k in range(n)],
    }[order]
    amplitude = np.array([state[each] for each in bits])
    return {"amplitude": amplitude.real, "probability": np.abs(amplitude) ** 2}[kind]


def oracle(ansatz: Ansatz, inputs: Tensor, angles: Tensor, readout: str) -> Tensor:
    """What ``evaluate`` has to give, in float64, for any shapes that broadcast."""
    batch = torch.broadcast_shapes(inputs.shape[:-1], angles.shape[:-3])
    inputs_BQ = inputs.detach().double().expand(*batch, ansatz.n_qubits).reshape(-1, ansatz.n_qubits).numpy()
    angles_BLRQ = angles.detach().double().expand(*batch, *ansatz.angles_shape).reshape(-1, *ansatz.angles_shape).numpy()
    states = (oracle_state(ansatz, *each) for each in zip(inputs_BQ, angles_BLRQ, strict=True))
    return torch.tensor(np.array([oracle_read(state, readout) for state in states])).reshape(*batch, ansatz.n_qubits)


def test_the_oracle_knows_a_bell_state_and_which_qubit_is_which() -> None:
    zeros = np.zeros((1, 1, 2))
    ansatz = Ansatz(n_qubits=2, depth=1, rotations=("ry",))
    # Ry(-pi/2) H = identity and Ry(pi/2) H |0> = |1>: the CNOT alone is left, on |00>, |10> and |+0>.
    quarter = np.pi / 2
    for inputs, index in (([-quarter, -quarter], (0, 0)), ([quarter, -quarter], (1, 1)), ([-quarter, quarter], (0, 1))):
        state = oracle_state(ansatz, np.array(inputs), zeros)
        assert np.abs(state[index]) == pytest.approx(1, abs=4 * EPS[torch.float64])
    bell = oracle_state(ansatz, np.array([0, -quarter]), zeros)
    np.testing.assert_allclose(bell, np.eye(2) / np.sqrt(2), rtol=0, atol=4 * EPS[torch.float64])
    np.testing.assert_allclose(oracle_read(bell, "z"), [0, 0], rtol=0, atol=4 * EPS[torch.float64])


# Inputs ------------------------------------------------------------------------------------------------------------


def random(ansatz: Ansatz, circuits: int, *, register: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs up to 10 in size and angles up to 4, different for each circuit, the same each time."""
    numbers = torch.Generator().manual_seed(1000 * ansatz.n_qubits + 10 * ansatz.depth + register)
    shapes = (circuits, ansatz.n_qubits if register else 1), (circuits, *ansatz.angles_shape)
    inputs, angles = (torch.rand(shape, generator=numbers, dtype=torch.float64) * 2 - 1 for shape in shapes)
    return (10 * inputs).to(dtype), (4 * angles).to(dtype)


@functools.cache
def expected(ansatz: Ansatz, circuits: int, register: bool, dtype: torch.dtype, readout: str) -> Tensor:
    return oracle(ansatz, *random(ansatz, circuits, register=register, dtype=dtype), readout)


def kinds(simulator: str) -> list[str]:
    return [readout for readout in KINDS if readout in HELD[simulator].readouts]


def doors(simulator: str) -> list[bool]:
    """Whether an input per qubit: False, and True where the simulator takes it."""
    return [False, True] if HELD[simulator].register else [False]


def assert_conforms(simulator: str, ansatz: Ansatz, circuits: int = 2, dtype=torch.float64, atol: float = 1e-12) -> None:
    for register, readout in itertools.product(doors(simulator), HELD[simulator].readouts):
        inputs, angles = random(ansatz, circuits, register=register, dtype=dtype)
        found = evaluate(ansatz, inputs, angles, readout, method=simulator)
        assert found.dtype == dtype
        torch.testing.assert_close(
            found.double(),
            expected(ansatz, circuits, register, dtype, readout),
            rtol=0,
            atol=atol,
            msg=lambda text, at=(readout, register): f"{simulator}, {ansatz}, {at}: {text}",
        )


# The state and what is read of it ----------------------------------------------------------------------------------


@every_simulator
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5, 6])
def test_every_readout_of_every_circuit_is_the_oracle_s(n_qubits: int, depth: int, simulator: str) -> None:
    ran = 0
    for entanglement, reupload in itertools.product(ENTANGLEMENTS, (True, False)):
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement, reupload=reupload)
        if HELD[simulator].serves(ansatz):
            # 1e-12 is what ``exact`` promises. About 80 gates of a few eps each, at angles of up to 14, come to 1e-13.
            assert_conforms(simulator, ansatz)
            ran += 1
    # Without CNOTs every one of them can.
    assert ran >= 2


@every_simulator
@pytest.mark.parametrize(
    "rotations", [("rx", "ry"), ("ry",), ("rz", "ry", "rx"), ("ry", "rz", "ry"), ("ry", "rx", "rz", "rx")], ids="-".join
)
def test_any_rotations_in_any_order_are_the_oracle_s(rotations: tuple[str, ...], simulator: str) -> None:
    for depth, entanglement, reupload in itertools.product((1, 2), ENTANGLEMENTS, (True, False)):
        ansatz = Ansatz(n_qubits=3, depth=depth, rotations=rotations, entanglement=entanglement, reupload=reupload)
        if HELD[simulator].serves(ansatz):
            assert_conforms(simulator, ansatz)


@every_simulator
@pytest.mark.parametrize("n_qubits", [1, 3, 4])
def test_float32_is_off_by_its_own_rounding_only(n_qubits: int, simulator: str) -> None:
    for depth in (1, 3):
        entanglement = "ring" if depth == 1 or HELD[simulator].serves(Ansatz(n_qubits=2)) else "none"
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement)
        unit, angle, degree = EPS[torch.float32] / 2, 14, ansatz.degree
        # No psi_k changes faster than an angle does, and adding an input to an angle of up to 14 rounds it by 14 units. A
        # gate is a cosine, a sine and two products and a sum, on a state of length 1: 8 units.
        units = degree * angle + 8 * (ansatz.num_parameters + n_qubits)
        if HELD[simulator].series:
            # Interpolation at up to 25 nodes makes an error of the samples at most 4 times as large (Lebesgue's constant),
            # and the phase w x is rounded by w |x| units: sum_j |c_j| w_j <= sqrt(2 (D + 1)) D (Cauchy, Bernstein).
            units = 4 * units + (2 * (degree + 1)) ** 0.5 * degree * 10
        assert_conforms(simulator, ansatz, dtype=torch.float32, atol=units * unit)


@every_simulator
@pytest.mark.parametrize("n_qubits", [2, 3])
def test_amplitudes_of_odd_degree_change_sign_after_2_pi_and_all_else_returns(n_qubits: int, simulator: str) -> None:
    for depth in (1, 2):
        entanglement = "linear" if depth == 1 or HELD[simulator].serves(Ansatz(n_qubits=2)) else "none"
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement)
        inputs, angles = random(ansatz, 3, register=False)
        for readout in HELD[simulator].readouts:
            sign = -1 if readout.startswith("amplitude") and ansatz.degree % 2 else 1
            before = evaluate(ansatz, inputs, angles, readout, method=simulator)
            after = evaluate(ansatz, inputs + 2 * torch.pi, angles, readout, method=simulator)
            assert before.abs().max() > 0.01
            # Twice the promise of 1e-12; rounding x + 2 pi is 1e-15 of it.
            torch.testing.assert_close(after, sign * before, rtol=0, atol=2e-12)


@every_simulator
def test_minus_sine_is_the_circuit_of_depth_1_without_cnots_whatever_the_rz(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=4, depth=1, entanglement="none")
    for register in doors(simulator):
        inputs, angles = random(ansatz, 5, register=register)
        angles[:, 0, 0] = 0
        found = evaluate(ansatz, inputs, angles, "z", method=simulator)
        # Eq. (2). A gate's cosine and sine and 2 x 16 squares of size below 1 to add: under 8 roundings of 1 at a time.
        # Through a series the phases and the fit add about as much again, for each of 2 D + 1 = 9 nodes.
        atol = (8 + 9 * HELD[simulator].series) * EPS[torch.float64]
        torch.testing.assert_close(found, -inputs.sin().expand(5, 4), rtol=0, atol=atol)


@every_simulator
def test_a_chain_of_cnots_at_depth_1_multiplies_the_sines(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=5, depth=1, entanglement="linear")
    for register in doors(simulator):
        inputs, angles = random(ansatz, 5, register=register)
        angles[:, 0, 0] = 0
        found = evaluate(ansatz, inputs, angles, "z", method=simulator)
        product = (-inputs.sin()).expand(5, 5).cumprod(-1)
        atol = (8 + 11 * HELD[simulator].series) * EPS[torch.float64]
        torch.testing.assert_close(found, product, rtol=0, atol=atol)


def test_the_closed_form_of_the_chain_keeps_every_digit_of_a_product() -> None:
    ansatz = Ansatz(n_qubits=60, depth=1)
    numbers = torch.Generator().manual_seed(0)
    inputs = torch.rand(7, 60, generator=numbers, dtype=torch.float64)
    found = evaluate(ansatz, inputs, torch.zeros(ansatz.angles_shape, dtype=torch.float64), "z", method="closed_form")
    # At most 59 products of one rounding each (eps / 2) on either side, in whatever order, relative to the value.
    assert found[:, -1].abs().max() < 1e-15
    torch.testing.assert_close(found, (-inputs.sin()).cumprod(-1), rtol=60 * EPS[torch.float64], atol=0)


@pytest.mark.parametrize("entanglement", ["none", "linear"])
def test_the_closed_form_keeps_the_relative_precision_of_small_weights(entanglement: str) -> None:
    ansatz = Ansatz(n_qubits=4, depth=1, entanglement=entanglement)
    inputs = torch.tensor([[1e-6, -2e-6, 3e-7, 1.5e-5], [1e-3, 1e-6, 1e-4, -1e-6]])
    sines = -inputs.double().sin()
    exact = sines if entanglement == "none" else sines.cumprod(-1)
    angles = torch.zeros(ansatz.angles_shape)
    found = evaluate(ansatz, inputs, angles, "z", method="closed_form")
    # One sine (1 ulp) for each factor and a product for each but the first: 4 * (1 + 1/2) ulps at most.
    torch.testing.assert_close(found.double(), exact, rtol=6 * EPS[torch.float32], atol=0)
    # Why the Bloch vector is kept apart: |a|^2 - |b|^2 of numbers near 1/2 has rounded these away.
    squares = evaluate(ansatz, inputs, angles, "z", method="statevector")
    assert ((squares.double() - exact) / exact).abs().max() > 0.01


@pytest.mark.parametrize("n_qubits", [16, 18])
@pytest.mark.parametrize(("depth", "entanglement"), [(1, "linear"), (1, "ring"), (2, "none")])
def test_many_qubits_run_with_gradients_and_agree_with_the_closed_form(n_qubits, depth, entanglement) -> None:
    ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement)
    numbers = torch.Generator().manual_seed(n_qubits)
    found = {}
    # Inputs near -pi/2, where Ry(x) H is almost the identity: a product of many <Z> is then far from 0.
    inputs = -torch.pi / 2 / depth + torch.rand(n_qubits, generator=numbers) / 8
    angles = torch.rand(ansatz.angles_shape, generator=numbers) / 8
    weights = torch.rand(n_qubits, generator=numbers)
    for simulator in ("statevector", "closed_form"):
        x, a = inputs.clone().requires_grad_(), angles.clone().requires_grad_()
        values = evaluate(ansatz, x, a, "z", method=simulator)
        found[simulator] = (values, *torch.autograd.grad((values * weights).sum(), (x, a)))
    assert found["closed_form"][0].abs().max() > 0.1
    # A sum of 2^n float32 squares that add to 1: 2^n roundings of about 2^-n * sum, so at most the running sum's own, which
    # walks at random by sqrt(2^n) half ulps; a gradient adds up n of them, weighted below 1.
    walk = 2 ** (n_qubits / 2) * EPS[torch.float32] / 2
    for ours, closed, size in zip(found["statevector"], found["closed_form"], (1, n_qubits, n_qubits), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, closed, rtol=0, atol=size * walk)


# Shapes ------------------------------------------------------------------------------------------------------------

SHAPES = [((), ()), ((3,), ()), ((), (2,)), ((3,), (2, 1)), ((2, 1), (3,)), ((2, 3), (2, 1)), ((1,), (1, 1))]


@every_simulator
@pytest.mark.parametrize(("of_inputs", "of_angles"), SHAPES, ids=str)
def test_the_batch_of_inputs_and_that_of_angles_broadcast(of_inputs: tuple, of_angles: tuple, simulator: str) -> None:
    ansatz = Ansatz(n_qubits=3, depth=1)
    numbers = torch.Generator().manual_seed(0)
    for width in (1, 3) if HELD[simulator].register else (1,):
        inputs = torch.randn(*of_inputs, width, generator=numbers, dtype=torch.float64)
        angles = torch.randn(*of_angles, *ansatz.angles_shape, generator=numbers, dtype=torch.float64)
        for readout in kinds(simulator):
            found = evaluate(ansatz, inputs, angles, readout, method=simulator)
            assert found.shape == (*torch.broadcast_shapes(of_inputs, of_angles), 3)
            torch.testing.assert_close(found, oracle(ansatz, inputs, angles, readout), rtol=0, atol=1e-12)


@every_simulator
@pytest.mark.parametrize(("of_inputs", "of_angles"), [((0,), ()), ((), (0,)), ((3, 0), (3, 1)), ((0,), (2, 1))], ids=str)
def test_an_empty_batch_gives_an_empty_result(of_inputs: tuple, of_angles: tuple, simulator: str) -> None:
    ansatz = Ansatz(n_qubits=2, depth=1)
    shape = (*torch.broadcast_shapes(of_inputs, of_angles), 2)
    for dtype, readout in itertools.product(EPS, kinds(simulator)):
        inputs, angles = torch.zeros(*of_inputs, 1, dtype=dtype), torch.zeros(*of_angles, *ansatz.angles_shape, dtype=dtype)
        found = evaluate(ansatz, inputs, angles, readout, method=simulator)
        assert (found.shape, found.dtype) == (shape, dtype)


@every_simulator
def test_the_gradient_of_an_empty_batch_is_0(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=2, depth=1)
    inputs = torch.zeros(0, 1, requires_grad=True)
    angles = torch.zeros(ansatz.angles_shape, requires_grad=True)
    evaluate(ansatz, inputs, angles, "z", method=simulator).sum().backward()
    assert inputs.grad.shape == (0, 1)
    assert torch.equal(angles.grad, torch.zeros(ansatz.angles_shape))


def test_an_input_that_is_not_finite_does_not_reach_the_gates_it_does_not_enter() -> None:
    ansatz = Ansatz(n_qubits=2, depth=2, reupload=False)
    angles = torch.rand(ansatz.angles_shape, generator=torch.Generator().manual_seed(0))
    for bad in (torch.inf, torch.nan):
        encoded = encode(ansatz, torch.tensor([bad, 1.0]), angles)
        assert not encoded[0, 0, 0].isfinite()
        assert torch.equal(encoded[0, 0, 1], angles[0, 0, 1] + 1)
        assert torch.equal(encoded[0, 1], angles[0, 1])
        assert torch.equal(encoded[1], angles[1])


# Gradients ---------------------------------------------------------------------------------------------------------


def differentiable(ansatz: Ansatz, *, register: bool) -> tuple[Tensor, Tensor]:
    inputs, angles = random(ansatz, 1, register=register)
    # Angles without a batch, as attention and the optimizer have them.
    return inputs.requires_grad_(), angles[0].requires_grad_()


@every_simulator
@pytest.mark.parametrize("readout", ["amplitude_one_hot", "probability", "z"])
@pytest.mark.parametrize("depth", [1, 2])
def test_gradients_are_those_of_finite_differences(depth: int, readout: str, simulator: str) -> None:
    if readout not in HELD[simulator].readouts:
        pytest.skip("refused")
    rotations = ("ry", "rz") if depth == 2 else ("rx", "ry", "rz")
    ansatz = Ansatz(n_qubits=2, depth=depth, rotations=rotations)
    if not HELD[simulator].serves(ansatz):
        ansatz = Ansatz(n_qubits=2, depth=depth, rotations=rotations, entanglement="none")
    for register in doors(simulator):
        x, a = differentiable(ansatz, register=register)
        # gradcheck's own steps of 1e-6 and tolerances of 1e-5 and 1e-3; the next test is the sharp one.
        assert gradcheck(lambda x, a, of=ansatz: evaluate(of, x, a, readout, method=simulator), (x, a))


def gradients(simulator: str, ansatz: Ansatz, readout: str, register: bool) -> tuple[Tensor, ...]:
    x, a = differentiable(ansatz, register=register)
    values = evaluate(ansatz, x, a, readout, method=simulator)
    # A weight of its own for each psi_k, so that none can stand for another.
    weights = torch.arange(1, ansatz.n_qubits + 1, dtype=torch.float64) / ansatz.n_qubits
    return torch.autograd.grad((values * weights).sum(), (x, a))


@pytest.mark.parametrize("simulator", [name for name in HELD if name != "statevector"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("n_qubits", [1, 2, 3])
def test_gradients_are_those_of_autograd_through_the_state(n_qubits: int, depth: int, simulator: str) -> None:
    for entanglement, readout in itertools.product(ENTANGLEMENTS, kinds(simulator)):
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement)
        if HELD[simulator].serves(ansatz):
            register = HELD[simulator].register
            ours, state = (gradients(name, ansatz, readout, register) for name in (simulator, "statevector"))
            # The parameter-shift rule is exact, so that these are one number by two ways, with weights of up to 1.
            torch.testing.assert_close(ours, state, rtol=0, atol=1e-12)


class ByShifts(Exact):
    """torch's state, into which autograd shall not look; counts the circuits of each call."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "sizes", [])

    differentiates = False

    def run(self, ansatz: Ansatz, gate_angles_BLRQ: Tensor, readout: str, **rest):
        assert not gate_angles_BLRQ.requires_grad
        self.sizes.append(len(gate_angles_BLRQ))
        value_BQ = evaluate(ansatz, torch.zeros(1, dtype=torch.float64), gate_angles_BLRQ, readout)
        return Estimate(value_BQ, torch.zeros_like(value_BQ))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5, 6])
def test_parameter_shift_and_autograd_agree_at_every_size(n_qubits: int, depth: int) -> None:
    weights = torch.arange(1, n_qubits + 1, dtype=torch.float64) / n_qubits

    for entanglement, reupload, readout in itertools.product(ENTANGLEMENTS, (True, False), KINDS):
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement, reupload=reupload)
        x, a = differentiable(ansatz, register=False)
        ways = [
            evaluate(ansatz, x, a, readout),
            estimate(ByShifts(), ansatz, x, a, readout).mean_BC,
            evaluate(ansatz, x, a, readout, method="fourier"),
        ]
        if readout == "z" and HELD["closed_form"].serves(ansatz):
            ways.append(evaluate(ansatz, x, a, readout, method="closed_form"))
        first, *others = (torch.autograd.grad((values * weights).sum(), (x, a)) for values in ways)
        for other in others:
            # One number by several ways: rounding of up to 24 terms of up to 1, each of degree up to 24 in x.
            torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("simulator", ["statevector", "closed_form", "fourier"])
def test_second_derivatives_are_those_of_finite_differences(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=2, depth=1)
    for readout in kinds(simulator):
        x, a = differentiable(ansatz, register=HELD[simulator].register)
        assert gradgradcheck(lambda x, a, of=readout: evaluate(ansatz, x, a, of, method=simulator), (x, a))


def test_the_closed_form_has_its_derivatives_where_factors_are_0() -> None:
    # Zero weights: every <Z> vanishes, and a product divided by a factor would be 0/0.
    ansatz = Ansatz(n_qubits=3, depth=1)
    for value in (0.0, torch.pi / 2):
        x = torch.full((1, 3), value, dtype=torch.float64, requires_grad=True)
        a = torch.zeros(ansatz.angles_shape, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda x, a: evaluate(ansatz, x, a, "z", method="closed_form"), (x, a))
        assert gradgradcheck(lambda x, a: evaluate(ansatz, x, a, "z", method="closed_form"), (x, a))


@pytest.mark.parametrize(("readout", "runs"), [("amplitude", 1), ("z", 2)])
def test_the_parameter_shift_rule_runs_every_shifted_circuit_in_one_call(readout: str, runs: int) -> None:
    ansatz, backend = Ansatz(n_qubits=2, depth=2), ByShifts()
    angles = torch.zeros(3, *ansatz.angles_shape, dtype=torch.float64, requires_grad=True)
    estimate(backend, ansatz, torch.zeros(1, dtype=torch.float64), angles, readout).mean_BC.sum().backward()
    # One circuit per element, and one or two more for each of its 8 angles.
    assert backend.sizes == [3 + 3 * 8 * runs]


def test_every_exact_method_is_a_backends() -> None:
    assert ("auto", *sorted(EXACT)) == ("auto", *sorted(METHODS[1:]))
    with pytest.raises(ValueError, match=r"method must be one of auto, statevector, .*, qiskit, aer, got 'x'"):
        Exact("x")


# What is refused ---------------------------------------------------------------------------------------------------

DEEP = Ansatz(n_qubits=2, depth=2)
RING = Ansatz(n_qubits=3, depth=3, entanglement="ring")
REFUSED = [
    (
        DEEP,
        {"method": "closed_form"},
        "backend.method=closed_form serves depth=1 or entanglement=none, got depth=2 and entanglement=linear; choose "
        "statevector",
    ),
    (
        RING,
        {"method": "closed_form"},
        "backend.method=closed_form serves depth=1 or entanglement=none, got depth=3 and entanglement=ring; choose "
        "statevector",
    ),
    (
        DEEP,
        {"method": "fourier", "scalar": False},
        "backend.method=fourier takes one input for all qubits, got one for each; choose statevector",
    ),
    (
        Ansatz(n_qubits=2, depth=1),
        {"method": "closed_form", "readout": "amplitude"},
        "backend.method=closed_form gives readout=z, got readout=amplitude; choose statevector",
    ),
    (
        DEEP,
        {"method": "gpu"},
        "method must be one of closed_form, statevector, fourier, qiskit, aer, got 'gpu'",
    ),
    (
        DEEP,
        {"readout": "x"},
        "readout must be one of amplitude, amplitude_little_endian, amplitude_one_hot, probability, "
        "probability_little_endian, probability_one_hot, z, got 'x'",
    ),
]


@pytest.mark.parametrize(("ansatz", "settings", "message"), REFUSED, ids=str)
def test_a_refusal_names_the_value_and_the_cure(ansatz: Ansatz, settings: dict, message: str) -> None:
    settings = settings.copy()
    inputs = torch.zeros(1 if settings.pop("scalar", True) else ansatz.n_qubits)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate(ansatz, inputs, torch.zeros(ansatz.angles_shape), **settings)


@pytest.mark.parametrize(("ansatz", "settings", "message"), REFUSED[:-1], ids=str)
def test_the_refusal_can_be_had_before_anything_is_run(ansatz: Ansatz, settings: dict, message: str) -> None:
    settings = settings.copy()
    assert refusal(ansatz, settings.pop("readout", "z"), settings.pop("method"), **settings) == message


@every_simulator
def test_a_simulator_refuses_what_the_table_says_it_cannot_do_and_nothing_else(simulator: str) -> None:
    held = HELD[simulator]
    for n_qubits, depth, entanglement, readout, scalar in itertools.product(
        (1, 2, 3), (1, 2), ENTANGLEMENTS, READOUTS, (True, False)
    ):
        ansatz = Ansatz(n_qubits=n_qubits, depth=depth, entanglement=entanglement)
        can = readout in held.readouts and held.serves(ansatz) and (held.register or scalar or n_qubits == 1)
        assert (refusal(ansatz, readout, simulator, scalar=scalar) is None) == can


@every_simulator
@pytest.mark.parametrize("width", [2, 4])
def test_wrong_shapes_are_refused_with_the_right_ones(width: int, simulator: str) -> None:
    ansatz = Ansatz(n_qubits=3, depth=1)
    # The message either names the shapes or, where only one input is taken, says so.
    with pytest.raises(ValueError, match=re.escape("inputs must have shape (..., 1) or (..., 3)") + "|takes one input"):
        evaluate(ansatz, torch.zeros(5, width), torch.zeros(ansatz.angles_shape), method=simulator)
    with pytest.raises(ValueError, match=re.escape("and angles (..., (1, 2, 3)), got ")):
        evaluate(ansatz, torch.zeros(5, 1), torch.zeros(1, 3, 2), method=simulator)


@every_simulator
def test_one_qubit_takes_one_input(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=1, depth=1)
    with pytest.raises(ValueError, match=re.escape("got (5, 3)")):
        evaluate(ansatz, torch.zeros(5, 3), torch.zeros(ansatz.angles_shape), method=simulator)


# Memory ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many bytes are free."""

    def set_free(count: int) -> None:
        monkeypatch.setattr(statevector_module.psutil, "virtual_memory", lambda: SimpleNamespace(available=count))

    return set_free


@pytest.mark.parametrize("simulator", ["statevector", "fourier"])
@pytest.mark.parametrize("readout", KINDS)
@pytest.mark.parametrize("n_qubits", [60, 100])
def test_a_state_larger_than_memory_is_refused_before_it_is_allocated(n_qubits: int, readout: str, simulator: str) -> None:
    ansatz = Ansatz(n_qubits=n_qubits, depth=1)
    # An allocation of 2^60 of anything fails at once and by another name (RuntimeError), so this one came before any.
    with pytest.raises(MemoryError, match=rf"n_qubits={n_qubits} needs .* GiB .* are free; about n_qubits=\d+ would fit"):
        evaluate(ansatz, torch.zeros(1), torch.zeros(ansatz.angles_shape), readout, method=simulator)


@pytest.mark.parametrize("simulator", ["qiskit", "aer"])
def test_a_state_larger_than_memory_is_refused_by_foreign_simulators_too(simulator: str) -> None:
    ansatz = Ansatz(n_qubits=60, depth=1)
    with pytest.raises(MemoryError, match="n_qubits=60"):
        evaluate(ansatz, torch.zeros(1), torch.zeros(ansatz.angles_shape), method=simulator)


def test_the_memory_error_says_what_is_needed_and_what_is_free(free) -> None:
    free(2**30)
    ansatz = Ansatz(n_qubits=40, depth=2)
    # 5 circuits of 2^40 amplitudes of 16 bytes, three times: a gate's input, its output and a copy.
    # 2^22 times 240 bytes are 0.94 GiB.
    needed = (
        r"^n_qubits=40 needs 2.46e\+5 GiB for the statevectors of 5 circuits at depth=2, and 1 GiB are free; "
        r"about n_qubits=22 would fit$"
    )
    with pytest.raises(MemoryError, match=needed):
        evaluate(ansatz, torch.zeros(5, 1, dtype=torch.float64), torch.zeros(ansatz.angles_shape, dtype=torch.float64))
    # Half of it in float32; where there is a gradient, the inputs of 2 * 40 gates as well.
    with pytest.raises(MemoryError, match=re.escape("needs 1.23e+5 GiB")):
        evaluate(ansatz, torch.zeros(5, 1), torch.zeros(ansatz.angles_shape))
    with pytest.raises(MemoryError, match=re.escape(f"needs {Decimal(5 * 2**10 * 8 * (3 + 80)):.3g} GiB")):
        evaluate(ansatz, torch.zeros(5, 1, requires_grad=True), torch.zeros(ansatz.angles_shape))


def test_what_autograd_keeps_is_counted_only_where_it_keeps_it(free) -> None:
    free(2**29)
    ansatz = Ansatz(n_qubits=20, depth=2)
    angles = torch.zeros(ansatz.angles_shape, dtype=torch.float64, requires_grad=True)
    inputs = torch.zeros(1, dtype=torch.float64)
    # 2^20 * 16 bytes: 48 MiB for three, 688 MiB with 40 gates' inputs.
    with pytest.raises(MemoryError, match=re.escape("needs 0.672 GiB")):
        evaluate(ansatz, inputs, angles, "amplitude")
    with torch.no_grad():
        assert evaluate(ansatz, inputs, angles, "amplitude").shape == (20,)


def test_on_a_gpu_what_torch_holds_and_does_not_use_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gibibyte = 2**30
    figures = {"mem_get_info": (1 * gibibyte, 80 * gibibyte), "memory_reserved": 60 * gibibyte}
    figures |= {"memory_allocated": 10 * gibibyte, "is_current_stream_capturing": False}
    for name, value in figures.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    # 1 GiB of the driver's and 50 of torch's own: 30 qubits in float32 need 24.
    device = torch.device("cuda", 0)
    statevector_module.require_memory(Ansatz(n_qubits=30), 1, torch.float32, device)
    with pytest.raises(MemoryError, match=r"n_qubits=32 needs 96 GiB .* and 51 GiB are free; about n_qubits=31 would fit"):
        statevector_module.require_memory(Ansatz(n_qubits=32), 1, torch.float32, device)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.int64], ids=str)
def test_inputs_that_are_no_angles_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"inputs must be float32 or float64, got {dtype}"):
        evaluate(Ansatz(), torch.zeros(1, dtype=dtype), torch.zeros(Ansatz().angles_shape))


def test_a_small_circuit_does_not_ask_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked() -> None:
        raise AssertionError("asked the system for its memory")

    monkeypatch.setattr(statevector_module.psutil, "virtual_memory", unasked)
    assert evaluate(Ansatz(), torch.zeros(100, 1), torch.zeros(Ansatz().angles_shape)).shape == (100, 4)
