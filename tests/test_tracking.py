"""W&B gets what the record has, learns nothing of the machine, and losing it costs a run nothing."""

import getpass
import json
import math
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import wait_for
from lightning.pytorch import Callback, Trainer
from test_train import SMALL, Stop, composed, curves, run_and_die, with_callback
from wandb_server import KEY, Server, serving

from superpositional import records
from superpositional.tracking import contents, sync
from superpositional.tracking import run as tracking
from superpositional.tracking import server as asking
from superpositional.training import config as configs
from superpositional.training.run import opening, run

# Quantum attention and the optimizer's term: every kind of number there is.
WHOLE = ["logger=wandb", "optimizer=superpositional", "net/attention=quantum", "++callbacks.circuit.every_n_steps=2"]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key, no settings and no service of W&B's but a test's own."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that answers, and a key for it."""
    with serving() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


def closed_port() -> str:
    """An address that refuses every connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def offline_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The record's curves as (step, value), in the order of steps."""
    found = records.read_curves(folder / "curves.csv").items()
    return {name: sorted(zip(steps.tolist(), values.tolist(), strict=True)) for name, (steps, values) in found}


def arrived(there: Server, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """What a server has of a run's scalars, beside W&B's own bookkeeping and pictures, in the order of steps."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in there.history(run_id):
        for name, value in row.items():
            if not name.startswith(("_", "circuit/drawing", "circuit/openqasm", tracking.STEP)):
                found.setdefault(name, []).append((row[tracking.STEP], value))
    return {name: sorted(rows) for name, rows in found.items()}


def test_an_online_run_arrives_whole_with_its_artifacts_and_their_lineage(tmp_path, server) -> None:
    config = composed(*WHOLE, "++logger.entity=crew", "++logger.checkpoints=true", "++logger.tags=[a,b]")
    record = run(config | {"sweep": "mine", "arm": "loud", "question": "Is it so?"}, tmp_path / "run")
    assert list(server.runs) == [record["wandb_id"]]
    there = server.runs[record["wandb_id"]]
    assert record["wandb_id"].startswith(f"{record['identity']}-")
    assert (there["name"], there["group"], there["job_type"]) == ("mine/loud/seed-0", "mine", "loud")
    assert (there["entity"], there["project"], there["notes"]) == ("crew", "superpositional", "Is it so?")
    assert (there["tags"], there["exit"]) == (["a", "b"], 0)
    shown = {name: value for name, value in there["config"].items() if name not in ("_wandb", "provenance")}
    assert shown == record["config"]
    assert there["config"]["provenance"]["code"] == record["code"]
    # Every scalar at its step, and of some metrics more than the last value.
    expected = scalars(tmp_path / "run")
    assert {"train/loss", "gradient/norm", "throughput/steps_per_second", "memory/peak_bytes"} < set(expected)
    assert arrived(server, record["wandb_id"]) == expected
    assert there["summary"].items() >= {**record["summary"], "status": "done"}.items()
    losses = [value for _, value in expected["val/loss"]]
    assert there["summary"]["val/loss"] == {"min": min(losses), "last": losses[-1]}
    assert any("circuit/drawing" in row for row in server.history(record["wandb_id"]))
    assert sorted(server.artifacts.values()) == ["circuit", "dataset", "model", "run"]
    assert server.uses == [(record["wandb_id"], "data-syntheticsequences")]
    assert server.unknown == []
    # It is marked, so that sync does not send it.
    assert json.loads((tmp_path / "run" / sync.MARK).read_text())["arrived"][0]["server"] == server.url


def test_two_arms_of_a_seed_differ_only_in_what_the_arm_sets(tmp_path, server) -> None:
    found = []
    for arm, weight in (("one", 0.5), ("other", 0.1)):
        config = composed(
            "logger=wandb", "optimizer=superpositional", f"++optimizer.quantum_weight={weight}", "trainer=smoke"
        )
        record = run(config | {"sweep": "mine", "arm": arm}, tmp_path / arm)
        found.append(server.runs[record["wandb_id"]]["config"])
    one, other = found
    assert {name for name in one if one[name] != other[name]} - {"_wandb"} == {"optimizer", "arm"}
    assert {name for name in one["optimizer"] if one["optimizer"][name] != other["optimizer"][name]} == {"quantum_weight"}


@pytest.mark.slow
def test_an_offline_run_is_whole_for_wandbs_own_sync_too(tmp_path, server, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    record = run(composed(*WHOLE), tmp_path / "run")
    assert server.runs == {}
    monkeypatch.delenv("WANDB_MODE")
    (file,) = offline_files(tmp_path / "run")
    wandb.teardown()
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--yes", str(file)], check=True, capture_output=True, cwd=tmp_path
    )
    assert arrived(server, record["wandb_id"]) == scalars(tmp_path / "run")
    assert server.runs[record["wandb_id"]]["exit"] == 0


def test_nothing_of_the_machine_or_its_user_is_written(tmp_path, monkeypatch, server) -> None:
    """Not by an online run, which has a key, nor by one whose config and error name files."""
    monkeypatch.setattr(
        configs, "build", lambda config, build=configs.build: with_callback(build(config), Breaks(tmp_path))
    )
    config = composed("logger=wandb", "trainer=smoke", f"++trainer.default_root_dir={tmp_path}/deep/inside")
    record = run(config, tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "FileNotFoundError: [Errno 2] No such file: 'gone.txt'")
    words = {KEY, str(tmp_path), str(Path.home()), platform.node(), getpass.getuser() + "@"}
    words = {word.encode() for word in words if len(word) > 3}
    written = server.files | {"runs": str(server.runs).encode(), "record": (tmp_path / "run" / "record.json").read_bytes()}
    assert {name: word for name, content in written.items() for word in words if word in content} == {}
    assert server.runs[record["wandb_id"]]["exit"] == 1
    monkeypatch.setenv("WANDB_MODE", "offline")
    run(config, tmp_path / "offline")
    assert [word for word in words if word in offline_files(tmp_path / "offline")[0].read_bytes()] == []


class Breaks(Callback):
    """An error that names a file of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, *_: Any) -> None:
        raise FileNotFoundError(2, "No such file", str(self.folder / "deep" / "gone.txt"))


def test_checkpoints_stay_here_unless_asked_for(tmp_path, server) -> None:
    run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    assert "model" not in server.artifacts.values()


class Loses(Callback):
    """The network is lost in the second epoch."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1:
            self.server.refuses = True


def test_a_server_that_is_lost_mid_run_costs_no_step_and_is_said_once(tmp_path, monkeypatch, server, capfd) -> None:
    build = configs.build
    config = composed("logger=wandb", "++logger.finish_within=2")
    plain = run(composed("logger=none"), tmp_path / "plain")
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Loses(server)))
    started = time.monotonic()
    record = run(config, tmp_path / "run")
    # Two seconds for what is left, and what a run takes here: hanging is minutes.
    assert time.monotonic() - started < 30
    assert record["status"] == "done"
    assert curves(tmp_path / "run") == curves(tmp_path / "plain")
    assert record["summary"]["test/accuracy"] == plain["summary"]["test/accuracy"]
    out = capfd.readouterr().out
    assert out.count("W&B is lost") == 1
    assert "`superpositional sync` sends what is missing" in out
    assert not (tmp_path / "run" / "wandb" / "synced.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("last", ["UpsertBucket", "file_stream", "CreateArtifact"])
def test_whenever_the_network_goes_the_process_ends_and_sync_brings_the_rest(tmp_path, server, last) -> None:
    """By its door, in a process of its own: what hangs at the exit of one hangs here."""
    server.refuses_after = last
    command = [str(Path(sys.executable).parent / "superpositional"), "train", *SMALL, *WHOLE, "logger.finish_within=2"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "hydra.run.dir=run"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert time.monotonic() - started < 60
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert records.read_record(tmp_path / "run")["status"] == "done"
    assert done.stdout.count("W&B is lost") == 1
    server.refuses, server.refuses_after = False, None
    sent = subprocess.run(
        [command[0], "sync", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (run_id,) = server.runs
    assert arrived(server, run_id) == scalars(tmp_path / "run")
    assert server.runs[run_id]["exit"] == 0


class KillsService(Callback):
    """W&B's own process dies, as it does of a bug of its own."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 0):
            subprocess.run(["pkill", "-9", "-P", str(os.getpid()), "wandb-core"], check=False)
            time.sleep(0.3)


def test_wandbs_own_process_dying_costs_no_step(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(configs, "build", lambda config, build=configs.build: with_callback(build(config), KillsService()))
    record = run(composed("logger=wandb"), tmp_path / "run")
    monkeypatch.undo()
    assert record["status"] == "done"
    assert capfd.readouterr().out.count("W&B is lost") == 1
    plain = run(composed("logger=none"), tmp_path / "plain")
    assert record["summary"]["test/accuracy"] == plain["summary"]["test/accuracy"]


@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without"])
def test_with_the_network_refused_nothing_hangs_and_the_run_is_offline(tmp_path, monkeypatch, capfd, key) -> None:
    address = closed_port()
    monkeypatch.setenv("WANDB_BASE_URL", address)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    started = time.monotonic()
    record = run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    assert time.monotonic() - started < 20
    assert record["status"] == "done"
    out = capfd.readouterr().out
    why = f"{address} did not answer" if key else "no key is set; `wandb login` sets one"
    assert out.count("W&B offline (") == 1
    assert why in out
    assert len(offline_files(tmp_path / "run")) == 1


def test_a_server_that_is_silent_is_waited_for_no_longer_than_said(monkeypatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_WITHIN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        started = time.monotonic()
        assert tracking.resolve("auto")[0] == "offline"
        assert time.monotonic() - started < 5


def test_online_and_nothing_else_is_refused_in_words_where_there_is_no_network(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", closed_port())
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    record = run(composed("logger=wandb", "logger.mode=online", "trainer=smoke"), tmp_path / "run")
    assert record["status"] == "failed"
    assert "W&B cannot be online: http" in record["error"]
    assert "take logger.mode=offline" in record["error"]


def test_a_server_that_answers_and_then_takes_no_run_leaves_an_offline_one(tmp_path, monkeypatch, server, capfd) -> None:
    monkeypatch.setitem(contents.QUIET, "init_timeout", 2.0)
    server.refuses_after = "GET"
    record = run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    assert record["status"] == "done"
    assert "W&B offline (the server refused the run: " in capfd.readouterr().out
    assert len(offline_files(tmp_path / "run")) == 1


def test_what_auto_becomes_is_decided_once_for_many_runs(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", closed_port())
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    node = {"_target_": "superpositional.tracking.run.WandbTracking", "mode": "auto"}
    environment, line = tracking.settle([node, node])
    assert environment == {"WANDB_MODE": "offline"}
    assert "did not answer" in line
    assert tracking.settle([node | {"mode": "offline"}]) == ({}, "")
    assert tracking.settle([]) == ({}, "")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracking.settle([node]) == ({}, "")


@pytest.mark.slow
def test_a_resumed_run_is_one_run_which_sync_completes(tmp_path, server, monkeypatch) -> None:
    """Offline at first, online then: the server has the second half."""
    config = composed(*WHOLE, "++trainer.max_epochs=4")
    build = configs.build
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    first = run(config, tmp_path / "run")
    monkeypatch.setattr(configs, "build", build)
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()
    record = run(config, tmp_path / "run", resume=True)
    assert list(server.runs) == [record["wandb_id"]] == [first["wandb_id"]]
    assert server.runs[record["wandb_id"]]["summary"]["resumed_from_step"] > 0
    expected = scalars(tmp_path / "run")
    assert len(arrived(server, record["wandb_id"])["train/loss"]) < len(expected["train/loss"])
    assert not (tmp_path / "run" / sync.MARK).exists()
    assert sync.sync(tmp_path / "run") == 0
    assert list(server.runs) == [record["wandb_id"]]
    assert arrived(server, record["wandb_id"]) == expected
    assert server.runs[record["wandb_id"]]["exit"] == 0


@pytest.mark.slow
def test_a_killed_run_resumes_as_the_same_one(tmp_path, server) -> None:
    import multiprocessing

    config = composed(*WHOLE, "++trainer.max_epochs=4", "++data.n_train=320")
    worker = multiprocessing.get_context("spawn").Process(target=run_and_die, args=(config, tmp_path / "run"))
    worker.start()
    worker.join()
    wait_for(lambda: server.runs)
    record = run(config, tmp_path / "run", resume=True)
    assert sync.sync(tmp_path / "run") == 0
    assert list(server.runs) == [record["wandb_id"]]
    # Steps that the killed session had sent are there twice, with the same values.
    there = arrived(server, record["wandb_id"])
    expected = scalars(tmp_path / "run")
    repeated = [name for name in expected if not name.startswith(("time/", "throughput/", "memory/"))]
    assert {name: sorted(set(there[name])) for name in repeated} == {name: expected[name] for name in repeated}


@pytest.mark.slow
def test_without_a_logger_nothing_of_wandb_is_imported(tmp_path) -> None:
    code = (
        "import sys\n"
        "from superpositional.cli import main\n"
        "try:\n    main(['train', 'trainer=smoke', 'logger=none'])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print([name for name in sys.modules if name.partition('.')[0].startswith('wandb')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_second_run_of_a_process_is_refused_while_one_is_open(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    other = wandb.init(dir=tmp_path, mode="offline", settings=wandb.Settings(silent=True, console="off"))
    record = run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    other.finish()
    assert record["status"] == "failed"
    assert "a W&B run is already open in this process" in record["error"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "cloud"}, "mode must be one of auto, online, offline, got 'cloud'"),
        ({"finish_within": 0}, "finish_within must be seconds > 0, got 0"),
        ({"finish_within": math.nan}, "finish_within must be seconds > 0, got nan"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        tracking.WandbTracking(**settings)


EMPTY = (
    "WANDB_SILENT",
    "WANDB_MODE",
    "WANDB_PROJECT",
    "WANDB_TAGS",
    "WANDB_BASE_URL",
    "WANDB_INIT_TIMEOUT",
    "WANDB_ENTITY",
)


def test_an_empty_variable_is_one_that_is_not_set(tmp_path, monkeypatch, capfd) -> None:
    """As compose files leave those that nobody has set."""
    for name in EMPTY:
        monkeypatch.setenv(name, "")
    record = run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    assert record["status"] == "done"
    assert record["config"]["logger"]["project"] == "superpositional"
    assert "W&B offline (no key is set" in capfd.readouterr().out
    assert len(offline_files(tmp_path / "run")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_SILENT", "maybe"),
        ("WANDB_MODE", "shared"),
        ("WANDB_MODE", "odd"),
        ("WANDB_BASE_URL", "nonsense"),
        ("WANDB_INIT_TIMEOUT", "soon"),
        ("WANDB_CONSOLE", "bad"),
    ],
)
def test_a_variable_that_wandb_refuses_is_named_and_the_run_is_offline(tmp_path, monkeypatch, capfd, name, value) -> None:
    monkeypatch.setenv(name, value)
    record = run(composed("logger=wandb", "trainer=smoke"), tmp_path / "run")
    assert record["status"] == "done"
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("W&B offline")]
    assert name in line
    assert repr(value) in line
    assert "unset it" in line
    assert len(offline_files(tmp_path / "run")) == 1


def test_many_runs_hear_of_a_refused_variable_once(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "maybe")
    node = {"_target_": "superpositional.tracking.run.WandbTracking", "mode": "auto"}
    environment, line = tracking.settle([node, node])
    assert environment == {"WANDB_MODE": "offline"}
    assert "WANDB_SILENT='maybe' is refused" in line
    assert "WANDB_SILENT" not in os.environ


@pytest.mark.parametrize("arm", [None, "adam"])
def test_the_variables_that_name_a_run_count(tmp_path, monkeypatch, arm) -> None:
    names = {"PROJECT": "ours", "TAGS": "a,b", "NAME": "first", "RUN_GROUP": "tries", "JOB_TYPE": "try", "NOTES": "why"}
    for name, value in names.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    config = composed("logger=wandb", "trainer=smoke")
    assert config["logger"]["project"] == "ours"
    assert composed("logger=wandb", "logger.project=theirs")["logger"]["project"] == "theirs"
    record = opening(config | {"arm": arm}, configs.code(config))
    tracker = tracking.WandbTracking(project="ours", mode="offline", tags=["c"])
    mirrored = tracker.open(tmp_path, record, say=print).run
    assert set(mirrored.tags) == {"a", "b", "c"}
    assert mirrored.notes == "why"
    found = mirrored.name, mirrored.group, mirrored.job_type
    # A sweep's runs are named by it.
    assert found == (("first", "tries", "try") if arm is None else ("train/adam/seed-0", "train", "adam"))
    mirrored.finish()
    # The record keeps them, for sync to say the same where the variables are gone.
    for name in names:
        monkeypatch.delenv(f"WANDB_{name}")
    again = contents.start(tmp_path, record, "two", "offline", tags=["c"])
    assert (again.name, again.group, again.job_type, again.notes, set(again.tags)) == (*found, "why", {"a", "b", "c"})
    again.finish()
