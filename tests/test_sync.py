"""Does every run arrive on W&B once, whole and in order, however it was logged and whatever goes wrong on the way?

The client is W&B's own; the server is ``wandb_server``'s.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import wandb
from test_tracking import WHOLE, alone, closed_port, of_wandb, scalars, server  # noqa: F401 - fixtures
from test_train import Stop, composed, with_callback
from wandb_server import Server as Arrived

from superpositional import records
from superpositional.records import locks
from superpositional.report.write import write_report
from superpositional.tracking import run as tracking
from superpositional.tracking import sync as syncing
from superpositional.training import config as configs
from superpositional.training.run import run

# Minutes in all: W&B's own processes start and end in each.
pytestmark = pytest.mark.slow
SHORT = ["trainer=smoke", "++callbacks.checkpoint=null"]


def history(there: Arrived, run_id: str) -> dict[str, list[tuple[Any, Any]]]:
    found: dict[str, list[tuple[Any, Any]]] = {}
    for row in there.history(run_id):
        for name, value in row.items():
            found.setdefault(name, []).append((row.get(tracking.STEP), value))
    return found


def arm(folder: Path, name: str, seed: int, *overrides: str) -> dict[str, Any]:
    config = composed(*overrides, f"++seed={seed}") | {"sweep": "mine", "arm": name, "question": "Is it so?"}
    return run(config, folder / "mine" / name / f"seed-{seed}")


@pytest.fixture
def logged(tmp_path, monkeypatch, server) -> Path:  # noqa: F811
    """A sweep: offline, offline in two sessions, never logged."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    arm(tmp_path, "one", 0, *WHOLE, *SHORT)
    build = configs.build
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    config = composed(*WHOLE, "++trainer.max_epochs=4") | {"sweep": "mine", "arm": "two", "question": "Is it so?"}
    run(config, tmp_path / "mine" / "two" / "seed-0")
    monkeypatch.setattr(configs, "build", build)
    time.sleep(1.1)  # W&B names sessions by the second
    run(config, tmp_path / "mine" / "two" / "seed-0", resume=True)
    arm(tmp_path, "none", 0, "logger=none", *SHORT)
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()  # a process of its own, as it were
    return tmp_path / "mine"


def test_what_was_offline_resumed_or_never_logged_arrives_whole_and_once(logged, server, door) -> None:  # noqa: F811
    code, out, _ = door("sync", str(logged), "--dry-run")
    assert (code, server.runs) == (0, {})
    assert "as it was logged offline, with its artifacts" in out
    assert "2 sessions made one" in out
    assert "never logged: told from its record" in out
    code, out, err = door("sync", str(logged), "--jobs", "3", "--entity", "crew")
    assert (code, "3 of 3 runs sent" in out) == (0, True), out + err
    folders = {place.parent: records.read_record(place.parent) for place in logged.rglob("record.json")}
    assert len(server.runs) == 3
    for folder, record in folders.items():
        (run_id,) = [name for name, each in server.runs.items() if each["name"] == f"mine/{record['arm']}/seed-0"]
        arrived = server.runs[run_id]
        assert run_id == (record["wandb_id"] or run_id)
        assert of_wandb(history(server, run_id)) == scalars(folder)
        steps = [step for step, _ in history(server, run_id)[tracking.STEP]]
        assert steps == sorted(steps)
        assert (arrived["group"], arrived["job_type"], arrived["entity"]) == ("mine", record["arm"], "crew")
        assert arrived["exit"] == 0
        assert arrived["config"]["optimizer"] == record["config"]["optimizer"]
        assert arrived["summary"]["status"] == "done"
        assert arrived["summary"]["test/accuracy"] == record["summary"]["test/accuracy"]
        assert (f"record-{run_id}", "run") in {(name, kind) for (name, _), kind in server.artifacts.items()}
        assert (run_id, "data-syntheticsequences") in server.uses
    # One circuit, one version of its artifact, though two runs have it.
    assert [name for name, _ in server.artifacts if name == "circuit"] == ["circuit"]
    before = json.dumps(server.runs, sort_keys=True)
    code, out, _ = door("sync", str(logged), "--entity", "crew")
    assert (code, "3 of 3 runs are there already" in out) == (0, True)
    assert json.dumps(server.runs, sort_keys=True) == before
    # Sent again it is the same, not more of it.
    code, _, _ = door("sync", str(logged / "two"), "--entity", "crew", "--again")
    (run_id,) = [name for name in server.runs if server.runs[name]["job_type"] == "two"]
    assert code == 0
    assert of_wandb(history(server, run_id)) == scalars(logged / "two" / "seed-0")


def test_a_report_arrives_with_its_runs_as_inputs(tmp_path, server) -> None:  # noqa: F811
    for name, overrides in (("adam", ["optimizer=adam"]), ("loud", ["optimizer=superpositional"])):
        for seed in (0, 1):
            arm(tmp_path, name, seed, "logger=none", "trainer.max_epochs=1", *overrides)
    records.write_json(tmp_path / "mine" / "sweep.json", PLAN)
    write_report(tmp_path / "mine")
    assert syncing.sync(tmp_path / "mine") == 0
    (report,) = [name for name in server.runs if name.startswith("report-mine-")]
    arrived = server.runs[report]
    assert (arrived["name"], arrived["group"], arrived["job_type"]) == ("mine/report", "mine", "report")
    used = {collection for run_id, collection in server.uses if run_id == report}
    assert used == {f"record-{name}" for name in server.runs if name != report}
    # The very version that the run has left: the same files under the same name.
    assert len({name for name in server.artifacts if name[0].startswith("record-")}) == 4
    assert "report" in server.artifacts.values()
    (row,) = server.history(report)
    assert {"tables/results", "pages/index"} <= set(row)
    assert any(name.startswith("figures/") for name in row)
    # A report that is written again, to other bytes, is sent again under the same name; its runs are not.
    (tmp_path / "mine" / "report" / "index.html").write_text("<p>changed</p>")
    count = {name: each["upserts"] for name, each in server.runs.items()}
    assert syncing.sync(tmp_path / "mine") == 0
    assert {name for name, each in server.runs.items() if each["upserts"] > count[name]} == {report}


PLAN = {
    "sweep": "mine",
    "question": "Is it so?",
    "feeds": None,
    "arms": ["adam", "loud"],
    "seeds": [0, 1],
    "baseline": "adam",
    "claims": {},
}


def test_what_the_network_interrupts_is_tried_again_and_told(tmp_path, server, monkeypatch, capfd) -> None:  # noqa: F811
    arm(tmp_path, "one", 0, "logger=none", *SHORT)
    arm(tmp_path, "one", 1, "logger=none", *SHORT)
    monkeypatch.setattr(syncing, "WAIT", 0.01)
    monkeypatch.setattr(syncing, "ATTEMPTS_AT_ONE", 1)
    # Lost once the check has found it, back for the second attempt.
    attempts = []
    attempt = syncing._attempt

    def lossy(*arguments: Any) -> Any:
        attempts.append(len(arguments[0]))
        server.refuses = len(attempts) == 1
        return attempt(*arguments)

    monkeypatch.setattr(syncing, "_attempt", lossy)
    assert syncing.sync(tmp_path / "mine", jobs=2) == 0
    assert attempts == [2, 2]
    assert server.refused > 0
    out = capfd.readouterr().out
    assert "2 of 2 runs did not arrive; trying again" in out
    assert "2 of 2 runs sent" in out
    for run_id, folder in zip(sorted(server.runs), sorted((tmp_path / "mine").glob("one/seed-*")), strict=True):
        assert len(server.history(run_id)) > 0, folder


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


def test_what_cannot_be_sent_is_named(tmp_path, door, server) -> None:  # noqa: F811
    code, _, err = door("sync", str(tmp_path / "gone"))
    assert (code, "is not there; name a run's folder, a sweep's, or outputs" in err) == (2, True)
    code, _, err = door("sync", str(tmp_path))
    assert (code, "no finished run below" in err) == (2, True)
    code, _, err = door("sync", str(tmp_path), "--jobs", "0")
    assert (code, "--jobs must be an integer >= 1, got 0" in err) == (2, True)
    (tmp_path / "mine" / "one" / "seed-0").mkdir(parents=True)
    (tmp_path / "mine" / "one" / "seed-0" / "running.json").write_text("{}")
    arm(tmp_path, "one", 1, "logger=none", *SHORT)
    code, out, _ = door("sync", str(tmp_path), "--dry-run")
    assert code == 0
    assert "seed-0 is left out: it is at work, or was killed and has no record yet" in out
    assert "1 of 1 runs would be sent" in out


def test_a_run_begun_offline_and_ended_online_arrives_whole(tmp_path, server, monkeypatch) -> None:  # noqa: F811
    build = configs.build
    config = composed(*WHOLE, "++trainer.max_epochs=4")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    run(config, tmp_path / "run")
    monkeypatch.setattr(configs, "build", build)
    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()
    record = run(config, tmp_path / "run", resume=True)
    # What the server has is the second half.
    assert list(server.runs) == [record["wandb_id"]]
    assert len(history(server, record["wandb_id"])["train/loss"]) < len(scalars(tmp_path / "run")["train/loss"])
    assert syncing.sync(tmp_path / "run") == 0
    assert of_wandb(history(server, f"{record['wandb_id']}-whole")) == scalars(tmp_path / "run")
    assert server.runs[f"{record['wandb_id']}-whole"]["exit"] == 0


def test_copies_odd_names_and_folders_that_take_no_mark_are_sent_once(tmp_path, server, capfd) -> None:  # noqa: F811
    config = composed("logger=none", *SHORT) | {"sweep": "my sweep=ü", "arm": "one arm", "question": "Is it so?"}
    run(config, tmp_path / "odd" / "one arm" / "seed-0")
    (tmp_path / "odd" / "report").mkdir()
    records.write_json(tmp_path / "odd" / "report" / "claims.json", {"verdicts": []})
    shutil.copytree(tmp_path / "odd" / "one arm", tmp_path / "odd" / "copy")
    (tmp_path / "odd" / "copy" / "seed-0" / "wandb").write_text("no folder")
    assert syncing.sync(tmp_path / "odd") == 0
    assert len(server.runs) == 2
    assert "has arrived, which cannot be noted" in capfd.readouterr().out
    # To another project it has not been sent yet; to the first it has.
    assert syncing.sync(tmp_path / "odd" / "one arm", project="other") == 0
    assert {each["project"] for each in server.runs.values()} == {"other"}
    assert syncing.sync(tmp_path / "odd" / "one arm") == 0
    assert "2 of 2 runs are there already" in capfd.readouterr().out


def test_syncing_leaves_nothing_where_it_is_called(tmp_path, server, door, monkeypatch) -> None:  # noqa: F811
    arm(tmp_path, "one", 0, "logger=none", *SHORT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert door("sync", str(tmp_path / "mine"))[0] == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_at_once_and_a_broken_record_are_told(tmp_path, server, door, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(tmp_path / "cache"))
    arm(tmp_path, "one", 0, "logger=none", *SHORT)
    (tmp_path / "mine" / "one" / "seed-1").mkdir()
    (tmp_path / "mine" / "one" / "seed-1" / "record.json").write_text("{")
    with locks.alone_in(tmp_path / "cache" / "sync"):
        code, out, err = door("sync", str(tmp_path / "mine"))
    assert (code, "another `superpositional sync` is at work" in err) == (2, True)
    assert "seed-1 is left out: " in out
    assert server.runs == {}


def test_a_run_moved_to_another_machine_is_sent_from_there(tmp_path, server, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("WANDB_MODE", "offline")
    record = arm(tmp_path, "one", 0, *WHOLE, *SHORT)
    wandb.teardown()
    shutil.move(tmp_path / "mine", tmp_path / "brought")
    assert syncing.sync(tmp_path / "brought") == 0
    assert of_wandb(history(server, record["wandb_id"])) == scalars(tmp_path / "brought" / "one" / "seed-0")
