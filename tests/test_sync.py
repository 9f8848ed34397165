"""Every run arrives on W&B once and whole, however it was logged and whatever goes wrong on the way.

The client is W&B's own; the server is ``wandb_server``'s.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from test_tracking import WHOLE, alone, arrived, closed_port, scalars, server  # noqa: F401 - fixtures
from test_train import Stop, composed, with_callback

from superpositional import records
from superpositional.records import locks
from superpositional.tracking import run as tracking
from superpositional.tracking import sync as syncing
from superpositional.training import config as configs
from superpositional.training.run import run

# Minutes in all: W&B's own processes start and end in each.
pytestmark = pytest.mark.slow
SHORT = ["trainer=smoke", "++callbacks.checkpoint=null"]


def arm(folder: Path, name: str, seed: int, *overrides: str) -> dict[str, Any]:
    config = composed(*overrides, f"++seed={seed}") | {"sweep": "mine", "arm": name, "question": "Is it so?"}
    return run(config, folder / "mine" / name / f"seed-{seed}")


@pytest.fixture
def logged(tmp_path, monkeypatch, server) -> Path:  # noqa: F811
    """A sweep: trained offline, offline in two sessions, without W&B, and to a state that is not a number."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    arm(tmp_path, "one", 0, *WHOLE, *SHORT, "++logger.tags=[a]")
    build = configs.build
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    config = composed(*WHOLE, "++trainer.max_epochs=4") | {"sweep": "mine", "arm": "two", "question": "Is it so?"}
    run(config, tmp_path / "mine" / "two" / "seed-0")
    monkeypatch.setattr(configs, "build", build)
    run(config, tmp_path / "mine" / "two" / "seed-0", resume=True)
    arm(tmp_path, "none", 0, "logger=none", *SHORT)
    arm(tmp_path, "diverging", 0, "logger=none", *SHORT, "optimizer=sgd", "optimizer.lr=1e30")
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()  # a process of its own, as it were
    return tmp_path / "mine"


def test_whatever_was_trained_arrives_whole_and_once(logged, server, door) -> None:  # noqa: F811
    code, out, _ = door("sync", str(logged), "--dry-run")
    assert (code, server.runs) == (0, {})
    assert "(diverged)\n" in out
    assert "4 of 4 runs would be sent" in out
    # From another machine: what W&B's library wrote there is not needed.
    shutil.rmtree(logged / "one" / "seed-0" / "wandb")
    code, out, err = door("sync", str(logged), "--jobs", "3", "--entity", "crew")
    assert (code, "4 of 4 runs sent" in out) == (0, True), out + err
    assert len(server.runs) == 4
    for place in logged.rglob("record.json"):
        record = records.read_record(place.parent)
        (run_id,) = [name for name, each in server.runs.items() if each["name"] == f"mine/{record['arm']}/seed-0"]
        there = server.runs[run_id]
        assert run_id == (record["wandb_id"] or run_id)
        # A diverged run's last losses are not numbers, which W&B's rows have as text.
        there_are, expected = arrived(server, run_id), scalars(place.parent)
        assert set(there_are) == set(expected)
        for name, rows in expected.items():
            np.testing.assert_array_equal([(step, float(value)) for step, value in there_are[name]], rows)
        steps = [row[tracking.STEP] for row in server.history(run_id) if "circuit/drawing" not in row]
        assert steps == sorted(set(steps))
        assert (there["group"], there["job_type"], there["entity"]) == ("mine", record["arm"], "crew")
        assert there["exit"] == (0 if record["status"] == "done" else 1)
        assert there["config"]["optimizer"] == record["config"]["optimizer"]
        assert there["summary"]["status"] == record["status"]
        for name, value in record["summary"].items():
            assert value is None or there["summary"][name] == value, (name, value, there["summary"][name])
        assert (f"record-{run_id}", "run") in {(name, kind) for (name, _), kind in server.artifacts.items()}
        assert (run_id, "data-syntheticsequences") in server.uses
        assert there.get("tags") == (["a"] if record["arm"] == "one" else there.get("tags"))
    # One circuit, one version of its artifact, though two runs have it.
    assert [name for name, _ in server.artifacts if name == "circuit"] == ["circuit"]
    assert server.unknown == []
    before = json.dumps(server.runs, sort_keys=True)
    code, out, _ = door("sync", str(logged), "--entity", "crew")
    assert (code, "4 of 4 runs are there already" in out) == (0, True)
    assert json.dumps(server.runs, sort_keys=True) == before
    # Sent again it is the same, not more of it.
    rows = {name: len(each["history"]) for name, each in server.runs.items()}
    code, _, _ = door("sync", str(logged), "--entity", "crew", "--again")
    assert code == 0
    assert {name: len(each["history"]) for name, each in server.runs.items()} == rows


def test_what_the_network_interrupts_is_told_and_the_next_call_completes_it(
    tmp_path,
    server,  # noqa: F811
    monkeypatch,
    capfd,
) -> None:
    for seed in range(3):
        arm(tmp_path, "one", seed, "logger=none", *SHORT)
    monkeypatch.setattr(syncing, "RETRIES", dict.fromkeys(syncing.RETRIES, 1))
    monkeypatch.setattr(syncing, "SHOWN_WITHIN", 1)
    server.refuses_after = "file_stream"
    assert syncing.sync(tmp_path / "mine", jobs=1) >= 2
    out = capfd.readouterr().out
    assert "runs sent; call sync again, which sends only what is missing" in out
    assert "W&B no longer answers" in out
    server.refuses, server.refuses_after = False, None
    assert syncing.sync(tmp_path / "mine", jobs=2) == 0
    folders = sorted((tmp_path / "mine").glob("one/seed-*"))
    for folder in folders:
        (run_id,) = [name for name, each in server.runs.items() if each["name"] == f"mine/one/{folder.name}"]
        assert arrived(server, run_id) == scalars(folder)
        assert server.runs[run_id]["exit"] == 0


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without"])
def test_without_key_or_network_it_says_so_at_once_and_exits_2(tmp_path, door, monkeypatch, key) -> None:
    arm(tmp_path, "one", 0, "logger=none", *SHORT)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", closed_port())
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    code, _, err = door("sync", str(tmp_path))
    assert code == 2
    assert ("did not answer" if key else "no key is set; `wandb login` sets one") in err


def test_what_cannot_be_sent_is_named(tmp_path, door, server, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path / "cache"))
    code, _, err = door("sync", str(tmp_path / "gone"))
    assert (code, "is not there; name a run's folder, a sweep's, or outputs" in err) == (2, True)
    code, _, err = door("sync", str(tmp_path))
    assert (code, "no finished run below" in err) == (2, True)
    code, _, err = door("sync", str(tmp_path), "--jobs", "0")
    assert (code, "--jobs must be an integer >= 1, got 0" in err) == (2, True)
    for seed, (name, text) in enumerate({"running.json": "{}", "record.json": "{"}.items()):
        (tmp_path / "mine" / "one" / f"seed-{seed}").mkdir(parents=True)
        (tmp_path / "mine" / "one" / f"seed-{seed}" / name).write_text(text)
    arm(tmp_path, "one", 2, "logger=none", *SHORT)
    code, out, _ = door("sync", str(tmp_path), "--dry-run")
    assert code == 0
    assert "seed-0 is left out: it is at work, or was killed and has no record yet" in out
    assert "seed-1 is left out: " in out
    assert "1 of 1 runs would be sent" in out
    with locks.alone_in(tmp_path / "cache" / "sync"):
        code, _, err = door("sync", str(tmp_path / "mine"))
    assert (code, "another `superpositional sync` is at work" in err) == (2, True)
    assert server.runs == {}


def test_copies_and_odd_names_are_sent_once_and_leave_nothing_where_sync_is_called(
    tmp_path,
    server,  # noqa: F811
    capfd,
    monkeypatch,
) -> None:
    config = composed("logger=none", *SHORT) | {"sweep": "my sweep=ü", "arm": "one arm", "question": "Is it so?"}
    run(config, tmp_path / "odd" / "one arm" / "seed-0")
    shutil.copytree(tmp_path / "odd" / "one arm", tmp_path / "odd" / "copy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert syncing.sync(tmp_path / "odd") == 0
    assert (len(server.runs), list((tmp_path / "elsewhere").iterdir())) == (1, [])
    # To another project it has not been sent yet; to the first it has.
    assert syncing.sync(tmp_path / "odd" / "one arm", project="other") == 0
    assert {each["project"] for each in server.runs.values()} == {"other"}
    assert syncing.sync(tmp_path / "odd") == 0
    assert "2 of 2 runs are there already" in capfd.readouterr().out
    # A copy whose record was changed is another matter, and a folder that takes no mark is said.
    records.write_json(tmp_path / "odd" / "copy" / "seed-0" / "record.json", json.loads(
        (tmp_path / "odd" / "copy" / "seed-0" / "record.json").read_text()
    ) | {"status": "failed"})  # fmt: skip
    assert syncing.sync(tmp_path / "odd", again=True) == 2
    assert "its record differs from that of the same run in" in capfd.readouterr().out
    shutil.rmtree(tmp_path / "odd" / "one arm" / "seed-0" / "wandb")
    (tmp_path / "odd" / "one arm" / "seed-0" / "wandb").write_text("no folder")
    assert syncing.sync(tmp_path / "odd" / "one arm") == 1
    assert "wandb" in capfd.readouterr().out
