"""Does a benchmark measure what it says? Never how fast: that depends on the machine."""

import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from superpositional.bench import attention, circuits, command, measuring, optimizer, peers, training
from superpositional.bench.measuring import Book, Comparison, Disagreement, Step
from superpositional.circuits import Ansatz


def measured_quickly(door, subject: str, *more: str) -> dict:
    """What ``bench SUBJECT --quick --json`` prints: JSON and nothing else; files beside it say the same."""
    code, out, err = door("bench", subject, "--quick", "--json", *more)
    assert code == 0, err
    told = json.loads(out)
    folder = Path("outputs/bench")
    assert json.loads((folder / f"{subject}.json").read_text()) == told
    assert (told["subject"], told["whole"], told["quick"]) == (subject, True, True)
    assert told["versions"]["torch"] == version("torch")
    assert told["machine"]["cpu"]
    assert told["machine"]["threads"] >= 1
    table = (folder / f"{subject}.md").read_text()
    for found in told["comparisons"]:
        assert found["peer"]
        assert found["peer"] in table
        if found.get("missing"):
            assert found["missing"] in table
        else:
            assert found["ratio"] > 0
            assert min(found["ours"] + found["theirs"]) > 0
    return told


def test_circuits_are_measured_against_every_peer_and_missing_ones_are_named(door, monkeypatch) -> None:
    def missing(ansatz: Ansatz, readout: str):
        raise peers.Missing(peers.MISSING)

    # PennyLane takes seconds to import, and CI does not have it.
    batched = {name: missing if "PennyLane" in name else make for name, make in peers.BATCHED.items()}
    monkeypatch.setattr(peers, "BATCHED", batched)
    slow = {name: (missing if "Machine" in name else make, *rest) for name, (make, *rest) in peers.SLOW.items()}
    monkeypatch.setattr(peers, "SLOW", slow)
    told = measured_quickly(door, "circuits", "--repeats", "2")
    by_peer = {found["peer"]: found for found in told["comparisons"]}
    assert set(by_peer) == {*peers.BATCHED, *peers.SLOW, "the same series by plain autograd"}
    named = {name for name, found in by_peer.items() if found.get("missing") == peers.MISSING}
    assert named == {name for name in by_peer if "PennyLane" in name or "Machine Learning" in name}
    assert all(
        len(found["ours"]) == 2 for found in told["comparisons"] if found["unit"] == "s" and not found.get("missing")
    )


def test_a_package_that_is_not_there_is_named_and_an_error_within_one_is_not_taken_for_it(tmp_path) -> None:
    (tmp_path / "pennylane").mkdir()
    (tmp_path / "pennylane" / "__init__.py").write_text("import nowhere_to_be_found\n")
    code = (
        "import sys\n"
        "from superpositional.bench import peers\n"
        "from superpositional.circuits import Ansatz\n"
        "sys.modules['pennylane'] = None\n"
        "for make in (peers.pennylane, peers.at_nodes(peers.pennylane)):\n"
        "    try:\n        make(Ansatz(), 'z')\n"
        "    except peers.Missing as missing:\n        print(missing)\n"
        "del sys.modules['pennylane']\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    peers.pennylane(Ansatz(), 'z')\n"
        "except ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [peers.MISSING, peers.MISSING, "nowhere_to_be_found"]


@pytest.mark.parametrize("readout", circuits.READOUTS)
@pytest.mark.parametrize("peer", [name for name in peers.BATCHED if "PennyLane" not in name])
def test_a_peer_of_ours_gives_the_output_and_gradients_of_attentions_phi(peer: str, readout: str) -> None:
    case = circuits.Case(Ansatz(3, 2), readout, 64)
    measuring.agree(peer, case.both(case.ours), case.both(peers.BATCHED[peer](case.ansatz, readout)))


@pytest.mark.slow
@pytest.mark.parametrize("readout", circuits.READOUTS)
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_pennylane_gives_the_output_and_gradients_of_attentions_phi(readout: str) -> None:
    pytest.importorskip("pennylane")
    case = circuits.Case(Ansatz(3, 2), readout, 16)
    for peer in (name for name in peers.BATCHED if "PennyLane" in name):
        measuring.agree(peer, case.both(case.ours), case.both(peers.BATCHED[peer](case.ansatz, readout)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_qiskit_machine_learning_is_exact_and_gives_the_gradients_of_attentions_phi() -> None:
    pytest.importorskip("qiskit_machine_learning")
    case = circuits.Case(Ansatz(3, 2), "z", 4)
    phi = peers.qiskit_machine_learning(case.ansatz, "z")
    # Far below the error of 0.0156 that it has by default.
    measuring.agree("Qiskit Machine Learning", case.both(case.ours), case.both(phi), tolerance=1e-5)
    with pytest.raises(peers.Missing, match="amplitude is not the expectation of an observable"):
        peers.qiskit_machine_learning(case.ansatz, "amplitude")


def test_a_peer_that_computes_something_else_is_none() -> None:
    case = circuits.Case(Ansatz(2, 1), "z", 32)
    ours = case.both(case.ours)
    other = peers.BATCHED[peers.STATEVECTOR](Ansatz(2, 1, entanglement="none"), "z")
    with pytest.raises(Disagreement, match=r"^another circuit is no peer: its output differs by .* of "):
        measuring.agree("another circuit", ours, case.both(other))
    # The right output with a wrong gradient is none either.
    right = peers.BATCHED[peers.STATEVECTOR](case.ansatz, "z")
    with pytest.raises(Disagreement, match="its gradient 1 differs"):
        measuring.agree(
            "a gradient", ours, case.both(lambda x_T, angles_LRQ: right(x_T, angles_LRQ.detach() + 0 * angles_LRQ))
        )
    with pytest.raises(Disagreement, match="gives 1 tensors, ours 3"):
        measuring.agree("forward alone", ours, case.forward(right))
    nothing = [torch.full_like(each, torch.nan) for each in ours]
    with pytest.raises(Disagreement, match="differs by nan"):
        measuring.agree("nothing", ours, nothing)
    with pytest.raises(Disagreement, match="has shape"):
        measuring.agree("less", ours, [ours[0][:1]])
    with pytest.raises(Disagreement, match=r"torch.optim.AdamW is no peer"):
        optimizer.same_bits([torch.zeros(2)], [torch.tensor([0.0, 1e-45])])
    with pytest.raises(Disagreement, match="its losses are not those of the run"):
        training.same({"losses": [1.0]}, {"losses": [1.0 + 1e-15]})


def test_what_runs_say_does_not_get_between_the_json(door, monkeypatch) -> None:
    def loud(book: Book) -> None:
        subprocess.run([sys.executable, "-c", "print('a warning of a run')"], check=True)
        book.compare("loud", "a peer", ours=[1.0], theirs=[2.0])

    monkeypatch.setattr(circuits, "steps", lambda asked: [Step("loud", 1, loud)])
    code, out, err = door("bench", "circuits", "--json")
    assert (code, json.loads(out)["whole"]) == (0, True)
    assert err == "a warning of a run\n"


def test_a_wrong_peer_ends_the_benchmark_with_a_line_and_what_was_measured_before_stays(door, monkeypatch) -> None:
    def right(book: Book) -> None:
        book.compare("before", "a peer", ours=[1.0], theirs=[2.0])

    def wrong(book: Book) -> None:
        raise Disagreement("a peer is no peer: its output differs")

    monkeypatch.setattr(circuits, "steps", lambda asked: [Step("right", 1, right), Step("wrong", 1, wrong)])
    code, out, err = door("bench", "circuits", "--json")
    assert (code, err) == (1, "superpositional: a peer is no peer: its output differs\n")
    told = json.loads(out)
    assert told["whole"] is False
    assert [found["ratio"] for found in told["comparisons"]] == [0.5]


def test_ctrl_c_keeps_what_was_measured_even_of_the_comparison_it_came_in(door, monkeypatch, workplace) -> None:
    def step(book: Book) -> None:
        found = book.compare("interrupted", "a peer")
        calls = iter(range(1, 100))

        def theirs() -> None:
            if next(calls) == 10:
                raise KeyboardInterrupt

        monkeypatch.setattr(measuring, "SHORTEST", 0)
        measuring.alternate({"ours": int, "peer": theirs}, {"ours": found.ours, "peer": found.theirs}, 9)

    monkeypatch.setattr(circuits, "steps", lambda asked: [Step("one", 1, step)])
    code, out, _ = door("bench", "circuits")
    assert code == 130
    assert "Interrupted: what is missing was not measured." in out
    (found,) = json.loads((workplace / "outputs" / "bench" / "circuits.json").read_text())["comparisons"]
    # Each measurement is three calls, two of them to warm up: one to begin with; then ours, theirs, theirs.
    assert (len(found["ours"]), len(found["theirs"])) == (3, 2)
    assert found["ratio"] > 0


def test_attention_is_measured_against_torchs_kernel_by_name(door) -> None:
    told = measured_quickly(door, "attention")
    assert {found["peer"] for found in told["comparisons"]} == {
        "scaled_dot_product_attention (_scaled_dot_product_flash_attention_for_cpu)",
        attention.WRITTEN_OUT,
    }


def test_the_optimizer_is_measured_against_adamw_which_it_is_at_weight_0(door) -> None:
    told = measured_quickly(door, "optimizer")
    assert {found["peer"] for found in told["comparisons"]} == {optimizer._named(True), optimizer._named(None)}
    whats = " ".join(found["what"] for found in told["comparisons"])
    assert all(f"81,092 parameters, scope {scope}, {name}" in whats for scope, name in optimizer.VARIANTS)
    # Weights, gradients and two moments at least.
    assert all(min(found["ours"]) >= 4 for found in told["comparisons"] if found["unit"] == "copies")
    assert sum(torch.Size(shape).numel() for shape in optimizer.transformer()) == pytest.approx(128e6, rel=0.001)


def test_a_mean_step_weights_sampled_and_other_steps() -> None:
    mine = optimizer.perturbed(optimizer.weights([(8, 8)], "cpu"), "all", "sine", fused=True)
    theirs = torch.optim.AdamW(optimizer.weights([(8, 8)], "cpu"), fused=True)
    book = Book()
    found = book.compare("a step, 64 parameters, scope all, sine", "AdamW")
    optimizer.weighted(book, mine, theirs, found, 3)
    (kept,) = book.raw.values()
    assert found.ours == [(sampled + 99 * other) / 100 for sampled, other in kept]
    assert len(found.pairs) == 3
    assert mine.param_groups[0]["stats_every"] == 100


@pytest.mark.slow
def test_training_is_measured_against_a_plain_loop_with_the_same_losses(door, monkeypatch) -> None:
    monkeypatch.setattr(training, "alone", lambda call, *arguments: call(*arguments))
    told = measured_quickly(door, "training")
    assert [found["peer"] for found in told["comparisons"]] == [training.LOOP] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["circits"], f"SUBJECT must be one of {', '.join(command.SUBJECTS)}, got 'circits'; did you mean circuits?"),
        (["circuits", "optimizer=adam"], "overrides are read by training, got 'optimizer=adam' for circuits"),
        (["circuits", "--repeats", "0"], "--repeats must be an integer >= 1, got 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_is_refused_in_a_line(door, words: list[str], said: str) -> None:
    code, out, err = door("bench", *words)
    assert (code, out) == (2, "")
    first, line = err.splitlines()
    assert first == "superpositional: one mistake, nothing was run"
    assert line.startswith(f"  - {said}")


def test_an_unknown_option_is_refused(door) -> None:
    code, _, err = door("bench", "circuits", "--fast")
    assert (code, err.splitlines()[-1]) == (2, "superpositional: error: unrecognized arguments: --fast")


def test_without_a_subject_all_are_measured_one_after_the_other(door, monkeypatch) -> None:
    def measure(subject, options, console, measured) -> None:
        measured[subject] = {"subject": subject}

    monkeypatch.setattr(command, "measure", measure)
    code, out, _ = door("bench", "--json", "--quick")
    assert (code, list(json.loads(out))) == (0, list(command.SUBJECTS))


def test_help_names_every_subject(door) -> None:
    code, out, _ = door("bench", "--help")
    assert code == 0
    assert all(f"  {name} " in out for name in command.SUBJECTS)


def test_a_comparison_says_its_ratio_what_was_aimed_at_and_nothing_where_there_is_nothing() -> None:
    book = Book()
    book.compare("a step", "AdamW", ours=[1.0, 3.0, 9.0], theirs=[2.0, 2.0, 2.0], most=1.6)
    book.compare("a step", "none", missing="not installed")
    book.compare("memory", "nothing", unit="MB", ours=[5.0], theirs=[0.0], ours_most=3)
    book.compare("an epoch", "AdamW", ours=[2.0, 4.0, 6.0], theirs=[2.0, 2.0, 2.0], most=1.5, interval=True)
    rows = command.rows(book)
    assert rows[0] == ("a step", "AdamW", "3 s", "2 s", "1.5", "≤ 1.6, met")
    assert rows[1] == ("", "none", "–", "not installed", "–", "")
    assert rows[2] == ("memory", "nothing", "5 MB", "0 MB", "–", "ours ≤ 3 MB, not met")
    # The mean ratio 2, give or take t_0.975(2) * 1 / sqrt(3) = 2.484.
    assert rows[3][4:] == ("2.000 [-0.484, 4.484]", "≤ 1.5, not settled")
    assert Comparison("x", "y").plain()["ratio"] is None
    assert [command.said(value, "s/score") for value in (1.5, 2e-3, 3.25e-6, 4e-9, 5e-12)] == [
        *("1.5 s/score", "2 ms/score", "3.25 µs/score", "4 ns/score", "0.005 ns/score")
    ]


def test_peak_memory_counts_what_lives_at_once() -> None:
    def call() -> torch.Tensor:
        first = torch.empty(1000, dtype=torch.float32).fill_(1)
        second = first + 1
        del first
        return second * 2

    # Two of 4 kB at a time, never three; torch rounds each up to 64 bytes at most.
    assert 8000 <= measuring.peak_bytes(call) <= 8000 + 3 * 64


def test_measurements_go_there_and_back_each_to_its_list(monkeypatch) -> None:
    monkeypatch.setattr(measuring, "SHORTEST", 0)
    order, into = [], {"a": [], "b": []}
    measuring.alternate({name: lambda name=name: order.append(name) for name in into}, into, 3, per={"b": 1e9})
    # Three calls a measurement, two of them to warm up.
    assert "".join(order) == "".join(3 * each for each in "ab" + "ab" + "ba" + "ab")
    assert [len(each) for each in into.values()] == [3, 3]
    assert max(into["b"]) < 1e-6


def test_the_machine_is_told_without_its_name() -> None:
    told, versions = command.machine(), command.versions()
    line = command.in_a_line(told, versions)
    assert told["cpu"] in line
    assert f"torch {version('torch')}" in line
    assert socket.gethostname() not in json.dumps(told)
    assert os.getcwd() not in json.dumps(told)
