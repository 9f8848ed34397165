"""Does a sweep on Slurm end as it does here? On a real Slurm of one node, which ``slurm_node.sh`` starts."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SMOKE, statuses, wait_for
from test_launch import PROBES, SHORT, call, ended, numbers, write_sweep

from superpositional.records import read_record
from superpositional.sweeps.plan import slurm_tasks

pytestmark = pytest.mark.slurm
SCRIPT = Path(__file__).parent / "slurm_node.sh"
ARMS = {"adam": "[optimizer=adam]", "sine": "[optimizer=superpositional]", "circuit": "[optimizer=circuit]"}


@pytest.fixture(scope="module")
def node() -> Iterator[None]:
    """A Slurm of our own; its programs find it by SLURM_CONF."""
    # Sockets lie in it, whose paths must be short.
    folder = Path(f"/tmp/slurm-{os.getpid()}")
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, check=False)
    if started.returncode == 77:
        pytest.skip(started.stdout.strip())
    assert started.returncode == 0, started.stderr
    name, _, value = started.stdout.strip().partition("=")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        # Runs of one thread each: the node's cores are what Slurm counts.
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    subprocess.run([SCRIPT, "stop", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def emptied(node: None) -> Iterator[None]:
    """What a failed test leaves in the queue must not stand in the next one's way."""
    yield
    subprocess.run(["scancel", "--me"], check=True)
    assert wait_for(lambda: not slurm_tasks())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sweep on this machine, without Slurm and without interruption."""
    folder = tmp_path_factory.mktemp("here")
    write_sweep(folder, ARMS, 2)
    assert call("mine.yaml", *SHORT, cwd=folder).wait(timeout=120) == 0, (folder / "said").read_text()
    return folder / "outputs" / "mine"


@pytest.fixture
def held(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An override by which each run waits in its second epoch until the file ``go`` is there."""
    (workplace / "probes.py").write_text(PROBES)
    monkeypatch.setenv("PYTHONPATH", str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "probes")
    monkeypatch.syspath_prepend(str(workplace))
    return "++callbacks.probe={_target_:probes.Holding}"


def said(workplace: Path) -> str:
    return (workplace / "said").read_text()


def task_of(folder: Path, run: str) -> str:
    """The task of a run that is at work."""
    sent = json.loads((folder / "slurm" / "tasks.json").read_text())
    place = sent[json.loads((folder / run / "running.json").read_text())["identity"]]
    (task,) = [task for task in slurm_tasks() if (task.name, task.index) == (place["name"], place["index"])]
    return task.id


def arrays(folder: Path) -> set[str]:
    return {place["name"] for place in json.loads((folder / "slurm/tasks.json").read_text()).values()}


def test_a_sweep_is_one_job_array_with_the_numbers_of_one_machine(node, workplace, here) -> None:
    write_sweep(workplace, ARMS, 2)
    process = call("mine.yaml", "launcher=slurm", *SHORT, cwd=workplace)
    assert process.wait(timeout=300) == 0, said(workplace)
    folder = workplace / "outputs" / "mine"
    assert "6 runs are Slurm's job array " in said(workplace)
    assert "sacct" not in said(workplace)
    assert len(arrays(folder)) == 1
    assert numbers(folder) == numbers(here)
    # Nothing is sent a second time.
    kept = ended(folder)
    assert call("mine.yaml", "launcher=slurm", *SHORT, cwd=workplace).wait(timeout=180) == 0
    assert "6 of 6 runs are there already" in said(workplace)
    assert ended(folder) == kept


def test_a_task_cancelled_midway_and_one_that_waited_are_gone_on_with_from_where_they_were(
    node, workplace, here, held
) -> None:
    write_sweep(workplace, ARMS, 2)
    process = call("mine.yaml", "launcher=slurm", *SHORT, held, "--jobs", "1", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: (folder / "adam/seed-0/checkpoints/last.ckpt").exists(), process)
    first = task_of(folder, "adam/seed-0")
    array = first.split("_")[0]
    # The one that runs, and one that waits.
    subprocess.run(["scancel", first, f"{array}_3"], check=True)
    assert wait_for(lambda: (folder / "adam/seed-0/record.json").exists(), process)
    (workplace / "go").touch()
    assert process.wait(timeout=300) == 1
    found = statuses(folder)
    assert found.pop("adam/seed-0") == "interrupted"
    assert sorted(found.values()) == ["done"] * 4
    assert f"adam seed 1: task {array}_3 ended before its run began" in said(workplace)
    kept = ended(folder)
    assert call("mine.yaml", "launcher=slurm", *SHORT, held, cwd=workplace).wait(timeout=300) == 0, said(workplace)
    assert read_record(folder / "adam/seed-0")["sessions"] == 2
    assert numbers(folder) == numbers(here)
    assert {path: ended(folder)[path] for path in kept} == kept


@pytest.mark.parametrize("how", ["notice", "requeue"])
def test_a_preempted_task_is_requeued_and_goes_on_from_its_checkpoint(node, workplace, here, held, how) -> None:
    write_sweep(workplace, ARMS, 2)
    process = call("mine.yaml", "seed=0", "launcher=slurm", *SHORT, held, cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: (folder / "adam/seed-0/checkpoints/last.ckpt").exists(), process)
    task = task_of(folder, "adam/seed-0")
    # Slurm's notice, upon which submitit requeues; and Slurm's own requeue, which gives none.
    subprocess.run({"notice": ["scancel", "--signal=USR2"], "requeue": ["scontrol", "requeue"]}[how] + [task], check=True)
    assert wait_for(lambda: (folder / "adam/seed-0/record.json").exists(), process)
    (workplace / "go").touch()
    assert process.wait(timeout=300) == 0, said(workplace)
    assert read_record(folder / "adam/seed-0")["sessions"] == 2
    expected = numbers(here)
    assert numbers(folder) == {name: expected[name] for name in expected if name.endswith("seed-0")}


def test_an_array_goes_on_without_its_launcher_and_is_attended_to_again(node, door, workplace, here) -> None:
    write_sweep(workplace, ARMS, 2)
    process = call("mine.yaml", "launcher=slurm", *SHORT, "--jobs", "1", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: (folder / "adam/seed-0/running.json").exists(), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # This machine's own launcher must not run them a second time.
    code, _, err = door("sweep", "mine.yaml", *SHORT)
    assert (code, "is in Slurm's queue as" in err) == (2, True), err
    assert call("mine.yaml", "launcher=slurm", *SHORT, cwd=workplace).wait(timeout=300) == 0, said(workplace)
    assert "runs are in Slurm's queue already and are attended to" in said(workplace)
    # One array, whoever watched it.
    assert len(arrays(folder)) == 1
    assert numbers(folder) == numbers(here)


def test_ctrl_c_takes_back_what_waits_and_then_stops_what_runs(node, workplace, held) -> None:
    write_sweep(workplace, ARMS, 2)
    process = call("mine.yaml", "launcher=slurm", *SHORT, held, "--jobs", "1", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: (folder / "adam/seed-0/checkpoints/last.ckpt").exists(), process)
    # One that is gone already must not keep the others from being cancelled.
    subprocess.run(["scancel", task_of(folder, "adam/seed-0").replace("_0", "_5")], check=True)
    os.killpg(process.pid, signal.SIGINT)
    assert wait_for(lambda: len(slurm_tasks()) == 1, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=180) == 130
    assert statuses(folder) == {"adam/seed-0": "interrupted"}
    assert wait_for(lambda: not slurm_tasks())


def test_a_run_that_kills_its_process_is_recorded_and_the_others_go_on(node, workplace, monkeypatch) -> None:
    (workplace / "probes.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Killed(Callback):\n"
        "    def on_train_batch_end(self, *_):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "probes")
    write_sweep(workplace, {"adam": "[optimizer=adam]", "killed": "['++callbacks.probe={_target_:probes.Killed}']"}, 1)
    assert call("mine.yaml", "launcher=slurm", *SMOKE, cwd=workplace).wait(timeout=120) == 1
    folder = workplace / "outputs" / "mine"
    assert statuses(folder) == {"adam/seed-0": "done", "killed/seed-0": "failed"}
    assert "its process was ended by SIGKILL" in read_record(folder / "killed/seed-0")["error"]


def test_what_slurm_refuses_is_said_in_one_line(node, door, workplace) -> None:
    write_sweep(workplace, ARMS, 1)
    code, _, err = door("sweep", "mine.yaml", "launcher=slurm", "hydra.launcher.partition=nowhere", *SMOKE)
    assert code == 2
    assert "Slurm does not take the job array: " in err
    assert "invalid partition" in err.lower()
    assert "Traceback" not in err
