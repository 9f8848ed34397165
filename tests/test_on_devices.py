"""What do shots, noise and failing devices do to attention, and to runs?

Phi fitted from measured nodes is unbiased, with the errors that are stated, at nodes and between; layers share one call;
runs measure the same again, resumed or not, and end as ``failed``, able to go on, where a device does.
"""

import json
import logging
import math
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from superpositional.attention import QuantumAttention
from superpositional.attention.module import run_together
from superpositional.circuits import Ansatz, series
from superpositional.circuits.backends import BACKENDS, Aer, Backend, BackendError, Depolarizing, Exact, Shots, estimate
from superpositional.circuits.backends.exact import evaluate
from superpositional.circuits.measures import random_angles
from superpositional.circuits.series import phi_error, shares
from superpositional.records import read_curves
from superpositional.tasks.classification import net as nets

SMALL = ["net/attention=quantum", "net.attention.readout=z", "optimizer=adam", "data.n_train=96", "logger=none"]


def attention(**settings) -> QuantumAttention:
    torch.manual_seed(0)
    return QuantumAttention(8, 2, readout="z", dtype=torch.float64, **settings)


def given(seed: int = 1) -> Tensor:
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(module: QuantumAttention, x: Tensor, seeds: int) -> tuple[Tensor, Tensor]:
    """Phi at these scores (A, T) for many seeds, and the mean of the squared standard errors that are stated for it."""
    found, squares = [], []
    for seed in range(seeds):
        module.shot_seed = seed
        with torch.no_grad():
            coefficients = module.coefficients()
        found.append(series.series_reference(module.ansatz, "z", coefficients[:, None], x))
        squares.append(phi_error(module.ansatz, "z", module.node_error_AK, x).square())
    return torch.stack(found), torch.stack(squares).mean(0)


# The fit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["z", "probability", "amplitude"])
@pytest.mark.parametrize("ansatz", [Ansatz(), Ansatz(3, 1), Ansatz(2, 2, reupload=False)], ids=str)
def test_more_nodes_than_coefficients_give_the_same_series(ansatz: Ansatz, readout: str) -> None:
    angles = random_angles(ansatz, torch.Generator().manual_seed(0))
    least = series.node_count(ansatz, readout)
    fits = []
    for count in (least, least + 1, 2 * least + 3):
        x = series.nodes(ansatz, readout, dtype=torch.float64, device=torch.device("cpu"), count=count)
        assert len(x) == count
        fits.append(series.fit(ansatz, readout, evaluate(ansatz, x[:, None], angles, readout).sum(-1)))
    for fit in fits[1:]:
        # Sums of some forty numbers of at most 4, in another order.
        assert (fit - fits[0]).abs().max() < 1e-13
    with pytest.raises(ValueError, match=f"samples must be at >= {least} nodes, got {least - 1}"):
        series.fit(ansatz, readout, torch.zeros(least - 1))


def test_shares_of_nodes_add_up_to_the_series() -> None:
    ansatz, x = Ansatz(3, 1), torch.linspace(-9, 9, 31, dtype=torch.float64)
    y = torch.randn(7, dtype=torch.float64)
    by_series = series.series_reference(ansatz, "z", series.fit(ansatz, "z", y), x)
    assert torch.allclose(shares(ansatz, "z", 7, x) @ y, by_series, rtol=0, atol=1e-13)
    # At a node of as many nodes as coefficients, it is that node alone.
    nodes = series.nodes(ansatz, "z", dtype=torch.float64, device=torch.device("cpu"))
    assert torch.allclose(shares(ansatz, "z", 7, nodes), torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-13)


@pytest.mark.parametrize("nodes", [None, 40])
def test_phi_is_unbiased_with_the_error_that_is_stated(nodes: int | None) -> None:
    seeds, module = 400, attention(backend=Shots(100), nodes=nodes)
    x = torch.linspace(-7, 7, 12, dtype=torch.float64).expand(2, -1)
    found, predicted = measured(module, x, seeds)
    exact = evaluate(module.ansatz, x[..., None], module.angles.detach()[:, None], "z").sum(-1)
    assert ((found.mean(0) - exact).abs() < 4 * (predicted / seeds).sqrt()).all()
    # A sum of many binomials is nearly normal, so the variance of 400 is known to sqrt(2 / 399) = 7 %.
    assert ((found.var(0) / predicted - 1).abs() < 4 * (2 / (seeds - 1)) ** 0.5).all()


def test_more_nodes_make_errors_smaller_by_their_root() -> None:
    # Values as noisy at every node: the variance over a turn is (coefficients) / (nodes) of a node's.
    ansatz, x = Ansatz(), torch.linspace(-math.pi, math.pi, 400, dtype=torch.float64)[None, :-1]
    for count in (17, 34, 170):
        error = phi_error(ansatz, "z", torch.ones(1, count, dtype=torch.float64), x)
        assert math.isclose(float(error.square().mean()), 17 / count, rel_tol=1e-12)


def test_the_slope_to_the_score_goes_through_the_series_unbiased() -> None:
    seeds, module = 400, attention(backend=Shots(100))
    x = torch.linspace(-7, 7, 9, dtype=torch.float64).expand(2, -1).clone().requires_grad_()
    exact_phi = evaluate(module.ansatz, x[..., None], module.angles.detach()[:, None], "z").sum()
    (exact,) = torch.autograd.grad(exact_phi, x)
    found = []
    for seed in range(seeds):
        module.shot_seed = seed
        with torch.no_grad():
            coefficients = module.coefficients()
        phi = series.series_reference(module.ansatz, "z", coefficients[:, None], x)
        found.append(torch.autograd.grad(phi.sum(), x)[0])
    found = torch.stack(found)
    assert ((found.mean(0) - exact).abs() < 4 * (found.var(0) / seeds).sqrt()).all()
    # And it is no small thing: the slope is known worse than Phi is.
    assert found.std(0).min() > 0.05


# Attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [Depolarizing(0, 0), Aer()], ids=lambda each: each.name)
@pytest.mark.parametrize("settings", [{}, {"nodes": 23}, {"score": "scaled"}, {"shared_angles": True}], ids=str)
def test_without_noise_attention_and_its_gradients_are_the_exact_ones(backend: Backend, settings: dict) -> None:
    exact, other = attention(**settings), attention(backend=backend, **settings)
    x = given().requires_grad_()
    above = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    results = []
    for module in (exact, other):
        output = module(x, x, x)[0]
        results.append([output, *torch.autograd.grad((output * above).sum(), [x, *module.parameters()])])
    for one, two in zip(*results, strict=True):
        # Series of frequencies up to 8 at scores of some 10, by another simulator: 1e-14 of Phi, times slopes of some 30.
        assert (one - two).abs().max() < 1e-10


def test_with_shots_one_seed_gives_one_phi_and_no_seed_draws_like_dropout() -> None:
    module, x = attention(backend=Shots(50)), given()
    module.shot_seed = 3
    first = module(x, x, x)[0]
    assert torch.equal(module(x, x, x)[0], first)
    # Equal sequences have equal attention, wherever they stand in the batch.
    both = torch.cat([x, x[:1]])
    again = module(both, both, both)[0]
    assert torch.equal(again[-1], again[0])
    module.shot_seed = None
    torch.manual_seed(5)
    one, two = module(x, x, x)[0], module(x, x, x)[0]
    assert not torch.equal(one, two)
    torch.manual_seed(5)
    assert torch.equal(module(x, x, x)[0], one)


def net(**settings) -> nets.SequenceTransformer:
    torch.manual_seed(0)

    def make(*sizes, **more) -> QuantumAttention:
        return QuantumAttention(*sizes, readout="z", **settings, **more)

    return nets.SequenceTransformer(vocabulary_size=20, n_classes=3, max_length=7, embed_dim=16, attention=make)


@pytest.mark.parametrize("shared", [False, True])
def test_all_layers_are_one_call_and_the_same_as_layer_by_layer(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], Shots.run
    monkeypatch.setattr(
        Shots, "run", lambda self, a, g, *rest, **more: calls.append(len(g)) or run(self, a, g, *rest, **more)
    )
    model, tokens = net(backend=Shots(100), shared_angles=shared).eval(), torch.randint(20, (2, 7))
    layers = [layer.self_attn for layer in model.layers]
    for each in layers:
        each.shot_seed = 8
    together = model(tokens)
    together.sum().backward()
    nodes = 17 if shared else 2 * 4 * 17
    assert calls == [nodes * 33]
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    # Layer by layer, as a net of somebody else's would have it.
    monkeypatch.setattr(QuantumAttention, "on_device", False)
    model.zero_grad()
    calls.clear()
    assert torch.equal(model(tokens), together)
    model(tokens).sum().backward()
    assert len(calls) == 4
    for one, parameter in zip(gradients, model.parameters(), strict=True):
        # Shared angles add up two layers' gradients in another order.
        assert torch.allclose(one, parameter.grad, rtol=1e-5, atol=1e-7)


def test_evaluation_and_frozen_angles_run_no_shifted_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], Shots.run
    monkeypatch.setattr(
        Shots, "run", lambda self, a, g, *rest, **more: calls.append(len(g)) or run(self, a, g, *rest, **more)
    )
    model, tokens = net(backend=Shots(10)), torch.randint(20, (2, 7))
    with torch.no_grad():
        model(tokens)
    for layer in model.layers:
        layer.self_attn.angles.requires_grad_(False)
    model(tokens).sum().backward()
    assert calls == [2 * 4 * 17] * 2
    assert model.layers[0].self_attn.executions(99) == (68, 0)


def test_shared_angles_are_executed_once_and_counted_once() -> None:
    model, tokens = net(backend=Shots(10), shared_angles=True), torch.randint(20, (2, 7))
    layers = [layer.self_attn for layer in model.layers]
    for each in layers:
        each.measuring = True
    model(tokens)
    assert [each.statistics["executions"] for each in layers] == [17 * 33, 0]
    assert [each.statistics["jobs"] for each in layers] == [1, 0]


def test_what_was_prepared_is_used_once() -> None:
    model = net(backend=Shots(10))
    layer = model.layers[0].self_attn
    run_together([layer])
    prepared = layer.prepared[0][0]
    assert layer.coefficients() is prepared
    assert layer.prepared is None
    layer.shot_seed = 1
    assert not torch.equal(layer.coefficients(), prepared)


def test_what_was_prepared_for_other_angles_is_not_used() -> None:
    layer = attention(backend=Shots(10))
    layer.shot_seed = 1
    run_together([layer])
    with torch.no_grad():
        layer.angles.add_(1.0)
    found = layer.coefficients()
    assert torch.equal(found, layer.coefficients())
    assert torch.equal(found, layer.fitted_at(layer.angles, seed=1)[0])


def test_gradient_checkpointing_measures_again_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # In a net that leaves each layer to itself.
    monkeypatch.setattr(QuantumAttention, "on_device", False)
    results = []
    for checkpointed in (False, True):
        model, tokens = net(backend=Shots(100)).eval(), torch.arange(14).reshape(2, 7)
        for layer in model.layers:
            layer.self_attn.shot_seed = 4
        if checkpointed:
            for layer in model.layers:
                forward = layer.forward
                layer.forward = lambda x, forward=forward: checkpoint(forward, x, use_reentrant=False)
        output = model(tokens)
        output.sum().backward()
        results.append([output.detach(), *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_layers_on_other_backends_are_other_calls() -> None:
    one, two, three = attention(backend=Shots(10)), attention(backend=Shots(20)), attention()
    run_together([one, two, three])
    assert one.prepared is not None
    assert two.prepared is not None
    assert three.prepared is None


# Runs ------------------------------------------------------------------------------------------------------------


def record(folder: str) -> dict:
    return json.loads(Path(folder, "record.json").read_text())


def curve(folder: str, name: str) -> list[float]:
    return read_curves(Path(folder, "curves.csv"))[name][1].tolist()


@pytest.mark.parametrize("shots", [32, 4096])
def test_a_run_records_what_its_shots_did(door, workplace, shots: int) -> None:
    every = ["callbacks.circuit.every_n_steps=1", "trainer.max_epochs=1", "hydra.run.dir=one"]
    code, _, err = door("train", *SMALL, "backend=shots", f"backend.shots={shots}", *every)
    assert code == 0, err
    summary, notes = record("one")["summary"], record("one")["circuits"]
    place = "net.layers.0.self_attn"
    assert notes[place]["backend"] == {"backend": "shots", "shots": shots}
    assert summary["circuit/executions"] == 136 * 33
    assert summary["circuit/shots"] == 136 * 33 * shots
    assert summary["circuit/jobs"] == 1
    # Three steps of 4 sets of 17 nodes: what is found is what is predicted, to 1 / sqrt(2 * 204) = 5 %.
    found = np.array([curve("one", f"circuit/{place}/{name}") for name in ("phi_error", "phi_standard_error")])
    rms = np.sqrt(np.mean(found**2, axis=1))
    assert abs(rms[0] / rms[1] - 1) < 0.2
    # <Z> of four correlated qubits: a node's variance is between 0 and 16 of a shot's.
    assert 0.5 < rms[0] * math.sqrt(shots) < 4
    assert 0 < summary[f"circuit/{place}/gradient_error"] < 40 / math.sqrt(shots)
    assert f"circuit/{place}/certificate" not in summary


def test_the_optimizers_circuit_records_how_wrong_its_modulation_was(door, workplace) -> None:
    every = ["callbacks.circuit.every_n_steps=1", "trainer.max_epochs=1", "data.n_train=96", "logger=none"]
    for backend, folder in ((["backend=shots", "backend.shots=400"], "shots"), (["backend=depolarizing"], "noise")):
        code, _, err = door(
            "train", "optimizer=circuit", "optimizer.scope=all", *backend, *every, f"hydra.run.dir={folder}"
        )
        assert code == 0, err
    # -<Z> of weights near 0 has nearly the variance of a fair coin; 81,000 of them, three times.
    assert abs(record("shots")["summary"]["circuit/optimizer/modulation_error"] * 20 - 1) < 0.05
    # The default noise contracts <Z>, which is small, by some percent.
    assert 0 < record("noise")["summary"]["circuit/optimizer/modulation_error"] < 0.05


@pytest.mark.slow
def test_a_resumed_run_measures_what_an_uninterrupted_one_does(door, workplace, monkeypatch) -> None:
    ansatz = ["circuit.n_qubits=2", "circuit.depth=1"]
    both = [*SMALL, *ansatz, "optimizer=circuit", "backend=shots", "backend.shots=64", "trainer.max_epochs=2"]
    assert door("train", *both, "hydra.run.dir=whole")[0] == 0
    assert door("train", *both, "hydra.run.dir=again")[0] == 0
    run, calls = Shots.run, []

    def falling(self, *given, **more):
        calls.append(1)
        if len(calls) == 12:  # in the second epoch
            raise KeyboardInterrupt
        return run(self, *given, **more)

    monkeypatch.setattr(Shots, "run", falling)
    assert door("train", *both, "hydra.run.dir=cut")[0] == 130
    assert record("cut")["status"] == "interrupted"
    monkeypatch.setattr(Shots, "run", run)
    assert door("train", "resume=cut")[0] == 0
    for folder in ("again", "cut"):
        for name in ("train/loss", "val/accuracy", "test/loss"):
            assert curve(folder, name) == curve("whole", name)
    assert door("train", *both, "seed=1", "hydra.run.dir=other")[0] == 0
    assert curve("other", "train/loss") != curve("whole", "train/loss")


FAILING = '''
"""A sampler of somebody else's, which loses its connection after some jobs."""

from pathlib import Path

from qiskit.primitives import StatevectorSampler


class Flaky(StatevectorSampler):
    def __init__(self, *, until, count, seed):
        super().__init__(seed=seed)
        self.until, self.count = until, Path(count)

    def run(self, pubs, *, shots=None):
        done = int(self.count.read_text()) if self.count.exists() else 0
        self.count.write_text(str(done + 1))
        if self.until <= done and not Path("mended").exists():
            raise ConnectionError("the device is gone")
        return super().run(pubs, shots=shots)
'''
YAML = """
# For a flaky device.
_target_: superpositional.circuits.backends.Primitive
target_class: flaky.Flaky
options: {until: 6, count: count.txt}
shots: 16
backoff: 0.01
"""


@pytest.fixture
def flaky(workplace, monkeypatch) -> list[str]:
    """Another's sampler plugged in by one YAML file: the overrides that choose it."""
    (workplace / "flaky.py").write_text(FAILING)
    (workplace / "mine" / "backend").mkdir(parents=True)
    (workplace / "mine" / "backend" / "flaky.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "flaky")
    yield ["--config-dir", "mine", "backend=flaky"]
    sys.modules.pop("flaky", None)


def test_a_device_that_fails_is_tried_again_and_then_ends_the_run_as_failed(door, workplace, flaky, caplog) -> None:
    tiny = [
        *SMALL,
        "circuit.n_qubits=1",
        "circuit.depth=1",
        "trainer.max_epochs=3",
        "data.n_validation=32",
        "data.n_test=32",
    ]
    with caplog.at_level(logging.WARNING, logger="superpositional"):
        code, _, err = door("train", *flaky, *tiny, "hydra.run.dir=run")
    assert code == 1, err
    # Four jobs an epoch, three steps and a validation: the seventh of all, the second epoch's third, is tried four times.
    assert (workplace / "count.txt").read_text() == "10"
    waits = [message.split("; ")[-1] for message in caplog.messages if "the device is gone" in message]
    assert waits == ["attempt 2 of 4 in 0.01 s", "attempt 3 of 4 in 0.02 s", "attempt 4 of 4 in 0.04 s"]
    found = record("run")
    assert found["status"] == "failed"
    assert "backend=primitive failed 4 times, at last with ConnectionError: the device is gone" in found["error"]
    assert "resume=" in found["error"]
    # What was trained is kept, and goes on once the device does.
    assert list((workplace / "run").rglob("*.ckpt"))
    (workplace / "mended").touch()
    code, _, err = door("train", "resume=run")
    assert code == 0, err
    assert record("run")["status"] == "done"
    assert record("run")["sessions"] == 2
    # The second epoch anew, the third, and the test.
    assert (workplace / "count.txt").read_text() == str(10 + 4 + 4 + 1)


class Garbled(ValueError, OSError):
    """As requests' JSONDecodeError: what a gateway answers where a device should."""


def test_an_answer_that_was_garbled_on_its_way_is_asked_for_again(monkeypatch) -> None:
    answers = iter([Garbled("<html>"), Garbled("<html>")])

    def job(*_, **__):
        if (error := next(answers, None)) is not None:
            raise error
        return np.zeros((1, 1)), np.zeros((1, 1))

    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(Aer, "job", job)
    assert estimate(Aer(), Ansatz(1, 1), torch.zeros(1), torch.zeros(1, 2, 1)).mean_BC == 0
    assert slept == [1.0, 2.0]


@pytest.mark.parametrize("backend", ["exact", "shots", "depolarizing", "aer"])
def test_a_run_whose_weights_overflow_has_diverged_on_any_backend(door, backend: str) -> None:
    code, _, err = door(
        *("train", *SMALL, f"backend={backend}", "optimizer.lr=1e35", "trainer.max_epochs=2", "circuit.depth=1"),
        *("circuit.n_qubits=1", "data.n_validation=32", "data.n_test=32", "hydra.run.dir=run"),
    )
    found = record("run")
    assert (code, found["status"]) == (1, "diverged"), err
    assert "is nan at step" in found["error"]


def test_mistakes_are_not_tried_again(flaky, monkeypatch) -> None:
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    wrong = BACKENDS["primitive"](target_class="flaky.Flaky", options={"until": 0, "what": 1})
    with pytest.raises(TypeError):
        estimate(wrong, Ansatz(1, 1), torch.zeros(1), torch.zeros(1, 2, 1), seed=0)
    assert slept == []
    gone = BACKENDS["primitive"](target_class="flaky.Flaky", options={"until": 0, "count": "n"}, retries=4, backoff=0.5)
    with pytest.raises(BackendError, match="failed 5 times"):
        estimate(gone, Ansatz(1, 1), torch.zeros(1), torch.zeros(1, 2, 1), seed=0)
    assert slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_aer_keeps_to_the_threads_of_its_run(threads: int) -> None:
    # Wide enough that Aer would use every core it may.
    code = f"""
        import psutil, torch
        torch.set_num_threads({threads})
        from superpositional.circuits.backends import Aer, estimate
        from superpositional.circuits import Ansatz
        ansatz = Ansatz(16, 2)
        inputs, angles = torch.rand(6, 1).double(), torch.rand(ansatz.angles_shape).double()
        most = 0
        import threading, time
        done = threading.Event()
        def look():
            global most
            while not done.is_set():
                busy = [each for each in psutil.Process().threads()]
                most = max(most, len(busy))
                time.sleep(0.002)
        watch = threading.Thread(target=look)
        before = len(psutil.Process().threads())
        watch.start()
        estimate(Aer(shots=100), ansatz, inputs, angles, seed=0)
        done.set(); watch.join()
        print(most - before - 1)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("OMP_NUM_THREADS", None)
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=True, env=environment)
    # Aer hands a job to a thread of its own, and that one has threads - 1 helpers.
    assert int(done.stdout) <= 1 + (threads - 1)


# Defaults -------------------------------------------------------------------------------------------------


def test_exact_is_the_default_everywhere() -> None:
    assert attention().backend == Exact()
    assert not attention().on_device
