"""Planning, superseding, resuming and locking of a sweep, with an executor that writes records and trains nothing."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMOKE, statuses

from superpositional import records
from superpositional.records import locks
from superpositional.sweeps import launch
from superpositional.sweeps.launch import PRELOADED, LocalLauncher
from superpositional.sweeps.plan import Job
from superpositional.training.run import opening


class Executor:
    """Ends each run as ``outcomes`` says, ``done`` by default, and keeps what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcomes: dict[str, str] = {}

    def __call__(self, job: Job) -> None:
        self.asked.append(job.name)
        status = self.outcomes.get(job.name, "done")
        job.folder.mkdir(parents=True, exist_ok=True)
        measured = {"status": status, "summary": {"test/accuracy": 0.5}, "wall_seconds": 1.0, "error": None}
        records.write_record(job.folder, opening(job.config, job.code) | measured)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Executor:
    made, init = Executor(), LocalLauncher.__init__

    @functools.wraps(init)
    def with_executor(self: LocalLauncher, **settings) -> None:
        init(self, **settings | {"run": made})

    monkeypatch.setattr(LocalLauncher, "__init__", with_executor)
    return made


@pytest.fixture
def sweep(door, workplace: Path, executor: Executor) -> Callable[..., tuple[int, str, str]]:
    arms = "{a: [optimizer=adam], b: [optimizer=adamw]}"
    (workplace / "mine.yaml").write_text(
        f"defaults: [train, _self_]\nsweep: mine\nhydra:\n  sweeper:\n    arms: {arms}\n    params:\n      seed: 0,1\n"
    )
    return lambda *words: door("sweep", "mine.yaml", *SMOKE, *words)


def test_every_run_is_executed_once_seed_by_seed_and_a_second_call_executes_none(sweep, executor, workplace) -> None:
    assert sweep()[0] == 0
    assert executor.asked == ["a seed 0", "b seed 0", "a seed 1", "b seed 1"]
    assert statuses(workplace / "outputs" / "mine") == dict.fromkeys(statuses(workplace / "outputs" / "mine"), "done")
    code, out, _ = sweep()
    assert code == 0
    assert "4 of 4 runs are there already" in out
    assert len(executor.asked) == 4


def test_another_setting_supersedes_what_is_there_and_the_words_it_was_made_with_take_it_back(
    sweep, executor, workplace
) -> None:
    assert sweep()[0] == 0
    code, out, _ = sweep("optimizer.lr=0.5")
    assert code == 0
    assert "4 runs of another config or code version make room" in out
    assert len(executor.asked) == 8
    code, out, _ = sweep()
    assert code == 0
    assert "4 runs of these very settings are taken back" in out
    assert len(executor.asked) == 8


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted"])
def test_what_ended_by_itself_is_not_run_again_unless_it_failed_and_that_is_asked_for(sweep, executor, status) -> None:
    executor.outcomes = {"b seed 0": status}
    assert sweep()[0] == 1
    executor.outcomes = {}
    assert sweep()[0] == (0 if status == "interrupted" else 1)
    assert executor.asked.count("b seed 0") == (2 if status == "interrupted" else 1)
    assert sweep("--retry-failed")[0] == (1 if status == "diverged" else 0)
    assert executor.asked.count("b seed 0") == (1 if status == "diverged" else 2)
    assert executor.asked.count("a seed 0") == 1


def test_a_folder_in_which_somebody_is_at_work_is_refused_and_nothing_executed(sweep, executor, workplace) -> None:
    with locks.alone_in(workplace / "outputs" / "mine"):
        code, _, err = sweep()
    assert (code, executor.asked) == (2, [])
    assert "outputs/mine" in err
    assert sweep()[0] == 0


def test_a_run_that_a_killed_call_has_left_is_not_executed_a_second_time(sweep, executor, workplace) -> None:
    with locks.alone_in(workplace / "outputs" / "mine" / "a" / "seed-0"):
        code, _, err = sweep()
    assert (code, executor.asked) == (2, [])
    assert "seed-0 is still being run" in err


def test_a_dry_run_executes_nothing_and_writes_nothing(sweep, executor, workplace, monkeypatch) -> None:
    monkeypatch.setattr(LocalLauncher, "try_out", lambda *_: None)
    assert sweep("--dry-run")[0] == 0
    assert executor.asked == []
    assert not (workplace / "outputs").exists()


def test_the_plan_says_what_was_asked_for(sweep, workplace) -> None:
    assert sweep()[0] == 0
    plan = json.loads((workplace / "outputs" / "mine" / "sweep.json").read_text())
    assert (plan["sweep"], plan["arms"], plan["seeds"]) == ("mine", ["a", "b"], [0, 1])


def test_an_executor_in_a_file_is_refused(door, workplace, monkeypatch) -> None:
    code, _, err = door("sweep", "smoke", *SMOKE, "hydra.launcher.run=os.system")
    assert code == 2
    assert "hydra.launcher.run must be a callable, given in Python alone, got 'os.system'" in err


@pytest.mark.parametrize("name", [name for name in PRELOADED if name.startswith("superpositional.")])
def test_what_the_fork_server_imports_is_there(name: str) -> None:
    # multiprocessing leaves out in silence what it cannot import, and each run would then import it anew.
    assert Path(launch.__file__).parents[2].joinpath(*name.split(".")).with_suffix(".py").is_file()
