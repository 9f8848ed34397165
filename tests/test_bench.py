"""Does a benchmark measure what it says? Never how fast: that depends on the machine."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
import wandb
from conftest import SMOKE

from superpositional.benches import (
    arguments,
    attention,
    circuits,
    command,
    machine,
    measuring,
    optimizer,
    peers,
    pictures,
    showing,
    study,
    training,
)
from superpositional.benches import logging as logging_bench
from superpositional.benches.measuring import Book, Comparison, Disagreement, Growth, Step
from superpositional.circuits import Ansatz
from superpositional.config import ConfigError


def test_the_sweeps_benchmark_measures_each_kind_and_keeps_every_measurement(door, workplace) -> None:
    code, out, err = door("bench", "sweep", *SMOKE, "--runs", "2", "--repeats", "1", "optimizer=adam")
    assert code == 0, err
    measured = json.loads((workplace / "outputs" / "bench" / "sweep.json").read_text())
    assert measured["overrides"] == [*SMOKE, "optimizer=adam"]
    for how in ("one at a time", "two at a time", "a process per run"):
        both = measured["measurements"][how]
        assert len(both) == 1
        assert all(each["seconds"] > 0 and each["fit_seconds"] > 0 for each in both)
    one = measured["measurements"]["one at a time"][0]
    # Of two runs one after the other, what was not training.
    assert one["beyond"] == (one["seconds"] - one["fit_seconds"]) / 2 > 0
    assert "medians of 1 repeats with 2 runs each" in out
    # The runs themselves are no records of anybody's.
    assert [path.name for path in (workplace / "outputs").iterdir()] == ["bench"]


def test_a_benchmark_of_nothing_or_of_runs_that_fail_is_refused(door, workplace) -> None:
    code, _, err = door("bench", "sweep", "--runs", "0")
    assert (code, "--runs must be an integer >= 1, got 0" in err) == (2, True)
    code, _, err = door("bench", "sweep", *SMOKE, "optimizer=sgd", "optimizer.lr=1e30", "--runs", "1", "--repeats", "1")
    assert (code, "a run of the benchmark did not end as done: " in err) == (2, True)
    code, _, err = door("bench", "sweep", "optimizer=adma")
    assert (code, "got 'adma'" in err) == (2, True)


def test_a_step_of_fine_tuning_is_measured_against_each_plain_loop(door, workplace) -> None:
    code, out, err = door("bench", "fine_tuning", "net=tiny", "data.source=stand_in", "--runs", "5", "--repeats", "1")
    assert code == 0, err
    measured = json.loads((workplace / "outputs" / "bench" / "fine_tuning.json").read_text())
    assert set(measured["measurements"]) == {"run", "transformers", "ours"}
    for (each,) in measured["measurements"].values():
        assert len(each["seconds"]) == 4  # between five ends
        assert min(each["seconds"]) > 0
        assert each["peak_bytes"] > 1e8
    assert "peak memory" in out
    code, _, err = door("bench", "fine_tuning", "net=tiny", "data.source=stand_in", "--runs", "2")
    assert (code, "--runs must be above 2 steps, which are left out as warm-up, got 2" in err) == (2, True)


class Inline:
    """Stands for a pool of one process, in this one."""

    def __init__(self, *_, **__) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def submit(self, call, *arguments):
        future = Future()
        future.set_result(call(*arguments))
        return future


def test_the_loggings_benchmark_runs_each_way_in_turns_and_pairs_what_ran_side_by_side(
    door, workplace, monkeypatch
) -> None:
    ran, real = [], logging_bench._run

    def run(config: dict, server: str) -> dict:
        statistics = bool(config["callbacks"]["circuit"])
        ran.append((config["logger"].get("mode"), statistics, config["seed"]))
        assert config["net"]["attention"]["_target_"].endswith("QuantumAttention")
        if ran[-1][0] == "auto":
            assert urlsplit(server).hostname == "127.0.0.1"
            with socket.socket() as asked:
                assert asked.connect_ex(("127.0.0.1", urlsplit(server).port)) == errno.ECONNREFUSED
        known = ran.count(ran[-1]) > 1 or ran[-1][0] == "auto"
        seconds = {"fit_seconds": 4.0, "cpu_seconds": 5.0, "wall_seconds": 6.0, "statistics_seconds": 0.25 * statistics}
        return {"status": "done", **seconds} if known else real(config, server)

    # What a run of its own process sets, this one gets back.
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "the developer's own")
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(workplace / "cache"))
    monkeypatch.setattr(logging_bench, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(logging_bench, "_run", run)
    code, out, err = door("bench", "logging", "trainer=smoke", "--repeats", "2")
    wandb.teardown()  # of the run that this process has had
    assert code == 0, err
    plain, bare = (None, True, 0), (None, False, 0)
    offline, refused = ((mode, True, 0) for mode in ("offline", "auto"))
    # One to warm up; then there and back.
    assert ran == [plain, plain, bare, offline, refused, refused, offline, bare, plain]
    measured = json.loads((workplace / "outputs" / "bench" / "logging.json").read_text())
    found = measured["measurements"]
    assert {name: len(each) for name, each in found.items()} == dict.fromkeys(logging_bench.WAYS, 2)
    for each in (each for way in found.values() for each in way):
        assert set(each) == {"fit_seconds", "cpu_seconds", "wall_seconds", "process_seconds", "statistics_seconds"}
        assert min(value for name, value in each.items() if name != "statistics_seconds") > 0
    # Where there are none they take nothing, and elsewhere a part of the whole.
    assert [each["statistics_seconds"] for each in found["no statistics"]] == [0, 0]
    assert all(0 < each["statistics_seconds"] < each["cpu_seconds"] for each in found["plain"])
    assert found["refused"][0]["fit_seconds"] == 4
    rows = logging_bench.rows(measured)
    assert len(rows) == 10
    assert rows[1][1:3] == tuple([each["fit_seconds"] for each in found[way]] for way in ("plain", "no statistics"))
    assert rows[7][1:3] == tuple([each["fit_seconds"] for each in found[way]] for way in ("refused", "plain"))
    assert "medians of 2 repeats with 1 runs each" in out
    # A hundredth is what is asked about.
    assert re.search(r"│ \d+\.\d{3} │", out)


@pytest.mark.slow
def test_a_run_of_the_loggings_benchmark_is_a_process_and_its_failure_is_told(workplace) -> None:
    wrong = logging_bench._config(["trainer=smoke", "optimizer=sgd", "optimizer.lr=1e30"], "plain", 0)
    with pytest.raises(ConfigError, match=r"a run of the benchmark did not end as done: .*; choose other overrides"):
        logging_bench._timed(wrong, "http://127.0.0.1:9")


# Against named peers -----------------------------------------------------------------------------------------------------


def measured_quickly(door, subject: str, *more: str) -> dict:
    """What ``bench SUBJECT --quick --json`` prints: JSON and nothing else; files beside it say the same."""
    code, out, err = door("bench", subject, "--quick", "--json", *more)
    assert code == 0, err
    told = json.loads(out)
    folder = Path("outputs/bench")
    assert json.loads((folder / f"{subject}.json").read_text()) == told
    assert (told["subject"], told["whole"], told["quick"]) == (subject, True, True)
    assert told["versions"]["torch"] == torch.__version__
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
    for growth in told["growths"]:
        for kind in ("pdf", "png"):
            assert (folder / f"{subject}_{growth['name']}.{kind}").stat().st_size > 1000
    return told


@pytest.fixture
def few_growths(monkeypatch):
    """One point of one growth: of the others there is nothing that this would not show."""
    real = command._take

    def take(steps, *rest) -> None:
        seen, kept = set(), []
        for step in steps:
            room = getattr(step.run, "func", step.run).__module__
            if not room.endswith("circuit_growth") or step.run.func not in seen:
                kept.append(step)
            seen.add(getattr(step.run, "func", None))
        real(kept, *rest)

    monkeypatch.setattr(command, "_take", take)


def test_circuits_are_measured_against_every_peer_and_missing_ones_are_named(door, monkeypatch, few_growths) -> None:
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
    assert {growth["name"] for growth in told["growths"]} == {"scores", "frequencies", "depth", "qubits", "qubits_memory"}


def test_a_package_that_is_not_there_is_named_and_an_error_within_one_is_not_taken_for_it(tmp_path) -> None:
    (tmp_path / "pennylane").mkdir()
    (tmp_path / "pennylane" / "__init__.py").write_text("import nowhere_to_be_found\n")
    code = (
        "import sys\n"
        "from superpositional.benches import peers\n"
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
        calls = iter([1, 2, 3, 4, 5, 6])

        def theirs() -> None:
            if next(calls) == 5:
                raise KeyboardInterrupt

        monkeypatch.setattr(measuring, "SHORTEST", 0)
        measuring.alternate({"ours": int, "peer": theirs}, {"ours": found.ours, "peer": found.theirs}, 9)

    monkeypatch.setattr(circuits, "steps", lambda asked: [Step("one", 1, step)])
    code, out, _ = door("bench", "circuits")
    assert code == 130
    assert "Interrupted: what is missing was not measured." in out
    (found,) = json.loads((workplace / "outputs" / "bench" / "circuits.json").read_text())["comparisons"]
    # Two calls to warm up; then there and back: ours, theirs, theirs, ours, ours, and it is theirs.
    assert (len(found["ours"]), len(found["theirs"])) == (3, 2)
    assert found["ratio"] > 0


def test_attention_is_measured_against_torchs_kernel_by_name(door) -> None:
    told = measured_quickly(door, "attention")
    assert {found["peer"] for found in told["comparisons"]} == {
        "scaled_dot_product_attention (_scaled_dot_product_flash_attention_for_cpu)",
        attention.WRITTEN_OUT,
    }
    circuits_run = next(growth for growth in told["growths"] if growth["name"] == "batch_circuits")["contestants"]
    # 9 nodes for each of 4 heads, whatever the batch.
    assert [point["measured"] for point in circuits_run["quantum attention"]["points"]] == [[36.0], [36.0]]
    assert circuits_run["a circuit for every score"]["exponent"] == pytest.approx(1)


def test_the_optimizer_is_measured_against_adamw_which_it_is_at_weight_0(door) -> None:
    told = measured_quickly(door, "optimizer")
    assert {found["peer"] for found in told["comparisons"]} == {optimizer._named(True), optimizer._named(None)}
    whats = " ".join(found["what"] for found in told["comparisons"])
    assert all(f"81,092 parameters, scope {scope}, {name}" in whats for scope, name in optimizer.VARIANTS)
    # Weights, gradients and two moments at least.
    assert all(min(found["ours"]) >= 4 for found in told["comparisons"] if found["unit"] == "copies")
    assert sum(torch.Size(shape).numel() for shape in optimizer.transformer()) == pytest.approx(128e6, rel=0.001)


def test_a_mean_step_weights_sampled_and_other_steps_and_an_epoch_follows_from_it() -> None:
    mine = optimizer.perturbed(optimizer.weights([(8, 8)], "cpu"), "all", "sine", fused=True)
    theirs = torch.optim.AdamW(optimizer.weights([(8, 8)], "cpu"), fused=True)
    book = Book()
    found = book.compare("a step, 64 parameters, scope all, sine", "AdamW")
    optimizer.weighted(book, mine, theirs, found, 3, "cpu")
    (kept,) = book.raw.values()
    assert found.ours == [(sampled + 99 * other) / 100 for sampled, other in kept]
    assert len(found.pairs) == 3
    assert mine.param_groups[0]["stats_every"] == 100
    optimizer._epoch(book, found, 64)
    epoch = book.comparisons[-1]
    assert "extrapolated" in epoch.what
    assert epoch.ours[0] == pytest.approx(found.ours[0] / 64 * 1.2e9 * 7473 / 3600)
    assert "19.2 GB" in book.notes[0]


@pytest.mark.slow
def test_training_is_measured_against_a_plain_loop_with_the_same_losses_and_arms_against_adamw(door, monkeypatch) -> None:
    monkeypatch.setattr(training, "alone", lambda call, *arguments: call(*arguments))
    told = measured_quickly(door, "training")
    assert {found["peer"] for found in told["comparisons"]} == {training.LOOP, training.BASELINE}
    asked = [found for found in told["comparisons"] if found["what"].startswith("time to 90 %")]
    # Of two epochs of four batches.
    assert {found["missing"] for found in asked} == {"not answerable: no pair of runs reached 90 %"}
    assert len([found for found in told["comparisons"] if found["what"].startswith("an epoch")]) == 3


def test_the_time_to_90_percent_is_paired_by_seed_and_its_gaps_are_told(monkeypatch) -> None:
    seconds = {"AdamW": 10.0, "sine, λ = 0.5": 11.0, "circuit, λ = 0.5": 12.0, "quantum attention": 14.0}
    asked = measuring.Asked(repeats=3)

    def alone(call, config: dict) -> dict:
        name = next(name for name, (words, _) in training.ARMS.items() if words == config["words"])
        found = {"convergence/seconds_per_epoch": seconds[name] * (1 + config["seed"] / 100)}
        if name != "circuit, λ = 0.5" and config["seed"] != 1:
            found["convergence/seconds_to_target"] = 5 * seconds[name] + config["seed"]
        return {"summary": found}

    monkeypatch.setattr(training, "composed", lambda words, asked, seed, device: {"words": words, "seed": seed})
    monkeypatch.setattr(training, "alone", alone)
    book = Book()
    for repeat in range(3):
        training._arms(repeat, "cpu", asked, book)
    training._time_to_target(book)
    by_what = {found.what: found for found in book.comparisons}
    epoch = by_what["an epoch, sine, λ = 0.5"]
    assert epoch.ratio == pytest.approx(1.1)
    assert epoch.bounds.low <= 1.1 <= epoch.bounds.high
    assert epoch.met is False
    assert by_what["an epoch, quantum attention"].met is True
    sine = by_what["time to 90 % validation accuracy, sine, λ = 0.5"]
    assert sine.pairs == [(55.0, 50.0), (57.0, 52.0)]
    assert by_what["time to 90 % validation accuracy, circuit, λ = 0.5"].missing.startswith("not answerable")
    assert f"{sine.what}: seed 1 left out, where 90 % was not reached by both." in book.notes
    # 55/50 and 57/52 are close to each other, and a question of 2 pairs; scattered ones do not answer it.
    sine.ours[0] = 20.0
    training._time_to_target(book)
    assert f"{sine.what}: 2 pairs do not tell 1 from the paper's 0.84." in book.notes


@pytest.mark.slow
def test_the_study_is_worked_out_from_a_part_that_the_launcher_really_runs(door) -> None:
    told = measured_quickly(door, "study")
    whole, each = told["comparisons"]
    assert whole["peer"] == study.PEER
    assert whole["what"] == "the study, 120 runs, worked out from 4"
    assert "extrapolated" in whole["note"]
    assert each["unit"] == "s"
    assert study.whole(part=10, first=4, runs=3, wanted=30) == 64


@pytest.mark.slow
def test_startup_is_measured_against_imports(door) -> None:
    told = measured_quickly(door, "startup")
    assert {found["peer"].split('"')[1] for found in told["comparisons"]} == {"import lightning", "import torch", "pass"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["circits"],
            f"SUBJECT must be one of {', '.join([*arguments.SUBJECTS, *arguments.OTHERS])}, got 'circits'; did you mean",
        ),
        (
            ["circuits", "optimizer=adam"],
            "overrides are read by training, study, startup, sweep, fine_tuning, logging, got",
        ),
        (["circuits", "--repeats", "0"], "--repeats must be an integer >= 1, got 0"),
        (["circuits", "--runs", "3"], "--runs is for study, sweep, fine_tuning, logging; use --repeats with circuits"),
        (["sweep", "--quick"], "--quick is for circuits, attention, "),
        (["attention", "--full"], "--full is for study, got attention"),
        (["study", "--full", "--quick"], "--full makes every run: leave out --quick and --runs"),
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


def test_without_a_subject_the_first_six_are_measured_one_after_the_other(door, monkeypatch) -> None:
    def measure(subject, options, console, measured) -> None:
        measured[subject] = {"subject": subject}

    monkeypatch.setattr(command, "_measure", measure)
    code, out, _ = door("bench", "--json", "--quick")
    assert (code, list(json.loads(out))) == (0, list(arguments.SUBJECTS))


def test_help_names_every_subject(door) -> None:
    code, out, _ = door("bench", "--help")
    assert code == 0
    assert all(f"  {name} " in out for name in (*arguments.SUBJECTS, *arguments.OTHERS))


def test_a_comparison_says_its_ratio_what_was_aimed_at_and_nothing_where_there_is_nothing() -> None:
    book = Book()
    book.compare("a step", "AdamW", ours=[1.0, 3.0, 9.0], theirs=[2.0, 2.0, 2.0], most=1.6)
    book.compare("a step", "none", missing="not installed")
    book.compare("memory", "nothing", unit="MB", ours=[5.0], theirs=[0.0], ours_most=3)
    book.compare("an epoch", "AdamW", ours=[2.0, 4.0, 6.0], theirs=[2.0, 2.0, 2.0], most=1.5, interval=True)
    rows = showing.rows(book)
    assert rows[0] == ("a step", "AdamW", "3 s", "2 s", "1.5", "≤ 1.6, met")
    assert rows[1] == ("", "none", "–", "not installed", "–", "")
    assert rows[2] == ("memory", "nothing", "5 MB", "0 MB", "–", "ours ≤ 3 MB, not met")
    # The mean ratio 2, give or take t_0.975(2) * 1 / sqrt(3) = 2.484.
    assert rows[3][4:] == ("2.000 [-0.484, 4.484]", "≤ 1.5, not settled")
    assert Comparison("x", "y").plain()["ratio"] is None
    assert [showing.said(value, "s/score") for value in (1.5, 2e-3, 3.25e-6, 4e-9, 5e-12)] == [
        *("1.5 s/score", "2 ms/score", "3.25 µs/score", "4 ns/score", "0.005 ns/score")
    ]


def test_a_growths_exponent_is_found_again_and_drawn(tmp_path) -> None:
    power = Growth("power", "x", "cost (s)")
    double = Growth("double", "qubits", "cost (s)", exponential=True)
    for x in (1, 2, 4, 8, 16, 32):
        # What is paid once covers the rest at small x.
        power.at("ours", x, since=4).append(0.5 * x**1.5 if x >= 4 else 4.0)
        double.at("theirs", x).append(3 * 2.0 ** (0.75 * x))
    assert power.slope("ours") == pytest.approx(1.5)
    assert double.slope("theirs") == pytest.approx(0.75)
    assert Growth("one", "x", "y", series={"a": {1: [1.0]}}, since={"a": 0}).slope("a") is None
    for growth, law in ((power, "x^{1.50}"), (double, "2^{0.75")):
        files = pictures.draw(growth, tmp_path / growth.name, {"subject": "test"})
        assert [file.suffix for file in files] == [".pdf", ".png"]
        from superpositional import ink

        _, ax = ink.column_figure(2)
        assert pictures.cost(ax, growth) is ax
        assert law in ax.get_legend_handles_labels()[1][0]


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
    assert "".join(order) == "aabb" + "ab" + "ba" + "ab"
    assert [len(each) for each in into.values()] == [3, 3]
    assert max(into["b"]) < 1e-6


def test_the_machine_is_told_without_its_name() -> None:
    told, versions = machine.machine(), machine.versions()
    line = machine.in_a_line(told, versions)
    assert told["cpu"] in line
    assert f"torch {torch.__version__}" in line
    assert socket.gethostname() not in json.dumps(told)
    assert os.getcwd() not in json.dumps(told)


@pytest.mark.slow
def test_widths_say_what_works_and_why_not(door, workplace) -> None:
    code, out, err = door("bench", "widths", "--quick", "--out", "here", "--json")
    assert code == 0, err
    narrow, wider, beyond = json.loads(out)["comparisons"]
    assert [each["what"] for each in (narrow, wider, beyond)] == [f"{n} qubits, depth 2" for n in (4, 8, 32)]
    assert all(each["ours"] and each["theirs"] for each in (narrow, wider))
    assert (beyond["ours"], len(beyond["theirs"])) == ([], 1)
    assert beyond["note"].startswith("a statevector is 64 GiB")


def test_widths_stop_where_the_two_do_not_agree(door, workplace, monkeypatch) -> None:
    from superpositional.benches import widths

    # The peer is asked for another circuit than ours is.
    monkeypatch.setattr(widths, "AERS", widths.AERS.replace("json.loads(sys.argv[1])", "[4, 1, 'linear', 1]"))
    code, _, err = door("bench", "widths", "--quick", "--out", "here")
    assert code == 1
    assert "differs by" in err


@pytest.mark.slow
def test_widths_take_nan_for_no_agreement_and_go_on_after_a_process_that_was_killed(monkeypatch) -> None:
    from superpositional.benches import widths

    # Not a circuit each: what another process prints, or that it ends without a word.
    asked = measuring.Asked(quick=True)
    monkeypatch.setattr(widths, "AERS", "print('[[0.1], [NaN, NaN]]')")
    with pytest.raises(Disagreement, match="differs by nan"):
        widths._one(2, 1, "linear", asked, {}, Book())
    monkeypatch.setattr(widths, "AERS", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    book = Book()
    widths._one(2, 1, "linear", asked, {}, book)
    assert (book.comparisons[0].theirs, book.comparisons[0].missing) == ([], "ended with code -9")


def test_widths_give_up_what_takes_too_long_once(monkeypatch, door, workplace) -> None:
    from superpositional.benches import widths

    monkeypatch.setattr(widths, "LIMIT", 0.0)
    code, out, err = door("bench", "widths", "--quick", "--out", "here", "--json")
    assert code == 0, err
    first, second, third = json.loads(out)["comparisons"]
    assert first["theirs"]
    assert second["missing"] == third["missing"] == "> 0 s at 4 qubits already"
