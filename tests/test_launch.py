"""Does a sweep end as it would have without interruptions, whatever is done to it?"""

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import SMOKE, statuses, wait_for
from wandb_server import serving

from superpositional import records
from superpositional.records import read_curves, read_record
from superpositional.records.identity import Code
from superpositional.sweeps import plan as jobs
from superpositional.sweeps.launch import LocalLauncher
from superpositional.sweeps.plan import Job

# What a clock says or the machine, of curves and summaries.
CLOCKS = ("time/", "throughput/", "memory/", "convergence/seconds")

# Runs of about a second, with a checkpoint after every epoch.
SHORT = ["trainer.max_epochs=3", "data.n_train=400", "data.n_validation=200", "data.n_test=500", "logger=none"]
PROBES = """
import os, pathlib, signal, time
from lightning.pytorch import Callback

class Waiting(Callback):
    "Waits at the first step until somebody says go."
    def on_train_batch_start(self, *_):
        while not pathlib.Path("go").exists():
            time.sleep(0.05)

class Holding(Callback):
    "Waits at the second epoch's first step until somebody says go."
    def on_train_batch_start(self, trainer, *_):
        while trainer.current_epoch == 1 and not pathlib.Path("go").exists():
            time.sleep(0.05)

class Bracketed(Callback):
    def on_train_batch_end(self, *_):
        raise ValueError("bad shape [/batch] of [batch, seq], \\udcff")

class Killed(Callback):
    def on_train_batch_end(self, *_):
        os.kill(os.getpid(), signal.SIGKILL)

class Broken(Callback):
    def on_train_batch_end(self, *_):
        raise ArithmeticError("the abacus broke")

class Starved(Callback):
    def on_train_batch_end(self, *_):
        bytearray(2**60)

class Devices(Callback):
    def on_fit_start(self, trainer, *_):
        path = pathlib.Path(trainer.default_root_dir) / "device"
        path.write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
        time.sleep(1)
"""


@pytest.fixture
def probes(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "probes.py").write_text(PROBES)
    monkeypatch.setenv("PYTHONPATH", str(workplace))
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "probes")


def write_sweep(folder: Path, arms: dict[str, str], seeds: int, *lines: str) -> None:
    text = [f"      {arm}: {overrides}" for arm, overrides in arms.items()]
    head = ["defaults: [train, _self_]", "sweep: mine", "question: Does it run?", *lines]
    tail = ["hydra:", "  sweeper:", "    arms:", *text, "    params:", f"      seed: range({seeds})"]
    (folder / "mine.yaml").write_text("\n".join([*head, *tail]) + "\n")


# In a shell's background, as some CI runs its tests, Ctrl-C is ignored by all that are started; a user's shell does not.
START = """
import signal
from superpositional.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main()
"""


def call(*words: str, cwd: Path) -> subprocess.Popen:
    """A sweep in a process group of its own, as a shell would start it."""
    command = [sys.executable, "-c", START, "sweep", *words]
    with (cwd / "said").open("a") as said:
        return subprocess.Popen(command, cwd=cwd, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes that hold a run's log."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any(file.path.endswith("/run.log") for file in child.open_files()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def ended(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every record that counts for good, and when and how it was written."""
    paths = folder.glob("*/seed-*/record.json")
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in paths
        if json.loads(path.read_text())["status"] in ("done", "diverged")
    }


def numbers(folder: Path) -> dict[str, dict]:
    """All that was measured in each run, but for time: bytes of every curve, and the summary."""
    found = {}
    for path in sorted(folder.glob("*/seed-*/record.json")):
        curves = records.read_curves(path.parent / "curves.csv")
        summary = json.loads(path.read_text())["summary"]
        found[str(path.parent.relative_to(folder))] = {
            **{name: value for name, value in summary.items() if not name.startswith(CLOCKS)},
            **{
                name: (steps.tolist(), values.tobytes())
                for name, (steps, values) in curves.items()
                if not name.startswith(CLOCKS)
            },
        }
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """24 runs that nobody disturbed: three arms, one of them with a circuit, eight seeds."""
    folder = tmp_path_factory.mktemp("calm")
    arms = {"adam": "[optimizer=adam]", "sine": "[optimizer=superpositional]", "circuit": "[optimizer=circuit]"}
    write_sweep(folder, arms, 8)
    process = call("mine.yaml", *SHORT, cwd=folder)
    assert process.wait(timeout=300) == 0, (folder / "said").read_text()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_sweep_killed_at_ten_moments_ends_bit_for_bit_as_one_that_nobody_disturbed(workplace, uninterrupted) -> None:
    (workplace / "mine.yaml").write_text((uninterrupted / "mine.yaml").read_text())
    folder = workplace / "outputs" / "mine"
    dice = random.Random(0)
    words = ["mine.yaml", "--retry-failed", *SHORT]
    process = call(*words, cwd=workplace)
    kept: dict[Path, tuple[int, bytes]] = {}
    killed = {"worker": 0, "group": 0}
    for moment in range(10):
        # A moment within a run, later in the sweep each time.
        assert wait_for(lambda n=2 * moment, p=process: len(ended(folder)) >= n and workers(p), process)
        time.sleep(dice.uniform(0, 0.5))
        if moment % 2 == 0:
            if at_work := workers(process):
                at_work[0].kill()
                killed["worker"] += 1
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed["group"] += 1
            now = ended(folder)
            # What was recorded before still stands as it was, however often the sweep was called since.
            assert {path: now.get(path) for path in kept} == kept
            kept = now
            process = call(*words, cwd=workplace)
    code = process.wait(timeout=300)
    # A worker killed in the last call is a failed run; one more call tries it again.
    assert code == 0 or call(*words, cwd=workplace).wait(timeout=300) == 0, (workplace / "said").read_text()
    assert killed == {"worker": 5, "group": 5}
    now = ended(folder)
    assert {path: now.get(path) for path in kept} == kept
    assert len(now) == 24
    assert numbers(folder) == numbers(uninterrupted / "outputs" / "mine")
    # Some of them went on from a checkpoint rather than from nothing.
    assert max(json.loads(content)["sessions"] for _, content in now.values()) > 1


@pytest.mark.slow
def test_one_that_raises_one_that_is_killed_and_one_that_diverges_leave_21_done(door, workplace, probes) -> None:
    sick = {
        "raises": "[optimizer=adam, '++callbacks.probe={_target_:probes.Broken}']",
        "killed": "[optimizer=adam, '++callbacks.probe={_target_:probes.Killed}']",
        "diverging": "[optimizer=sgd, optimizer.lr=1e30]",
    }
    write_sweep(workplace, sick | {f"well_{number}": "[optimizer=adam]" for number in range(21)}, 1)
    code, out, _ = door("sweep", "mine.yaml", *SMOKE)
    assert code == 1
    folder = workplace / "outputs" / "mine"
    found = statuses(folder)
    assert {arm: found[f"{arm}/seed-0"] for arm in sick} == {
        "raises": "failed",
        "killed": "failed",
        "diverging": "diverged",
    }
    assert sorted(found.values()) == ["diverged"] + ["done"] * 21 + ["failed"] * 2
    assert "in on_train_batch_end" in (folder / "raises/seed-0/error.txt").read_text()
    assert "its process was ended by SIGKILL" in (folder / "killed/seed-0/error.txt").read_text()
    assert "raises seed 0: failed: ArithmeticError: the abacus broke" in out
    # The table of statuses, by arm.
    assert "│ well_20   │    1 │        – │      – │" in out


def test_a_run_that_is_out_of_memory_is_recorded_with_its_traceback(door, workplace, probes) -> None:
    write_sweep(workplace, {"starved": "['++callbacks.probe={_target_:probes.Starved}']", "adam": "[optimizer=adam]"}, 1)
    assert door("sweep", "mine.yaml", *SMOKE)[0] == 1
    folder = workplace / "outputs" / "mine"
    assert statuses(folder) == {"adam/seed-0": "done", "starved/seed-0": "failed"}
    assert read_record(folder / "starved/seed-0")["error"] == "MemoryError"
    assert "bytearray(2**60)" in (folder / "starved/seed-0/error.txt").read_text()


@pytest.mark.slow
def test_ctrl_c_once_finishes_what_runs_and_starts_no_more(workplace, probes) -> None:
    write_sweep(workplace, {"adam": "[optimizer=adam, '++callbacks.probe={_target_:probes.Waiting}']"}, 4)
    process = call("mine.yaml", *SHORT, "--jobs", "2", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: len(list(folder.glob("*/*/running.json"))) == 2, process)
    # To the whole group, the runs too, as a terminal does.
    os.killpg(process.pid, signal.SIGINT)
    assert wait_for(lambda: "no more runs are started" in (workplace / "said").read_text(), process)
    (workplace / "go").touch()
    assert process.wait(timeout=120) == 130
    assert statuses(folder) == {"adam/seed-0": "done", "adam/seed-1": "done"}
    first = ended(folder)
    assert call("mine.yaml", *SHORT, cwd=workplace).wait(timeout=120) == 0
    assert len(ended(folder)) == 4
    assert {path: ended(folder)[path] for path in first} == first


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C twice", "SIGTERM", "SIGHUP"])
def test_stopped_at_once_every_run_says_where_it_is_and_goes_on_from_there(workplace, probes, uninterrupted, how) -> None:
    (workplace / "mine.yaml").write_text((uninterrupted / "mine.yaml").read_text())
    words = ["mine.yaml", "seed=0", *SHORT, "++callbacks.probe={_target_:probes.Holding}"]
    process = call(*words, "--jobs", "3", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: len(list(folder.glob("*/*/checkpoints/last.ckpt"))) == 3, process)
    if how == "SIGTERM":
        process.terminate()
    elif how == "SIGHUP":
        # A terminal that closes tells all that it started.
        os.killpg(process.pid, signal.SIGHUP)
    else:
        os.killpg(process.pid, signal.SIGINT)
        assert wait_for(lambda: "no more runs are started" in (workplace / "said").read_text(), process)
        os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    # To a terminal that is gone nothing is said.
    assert ("stopping: the runs at work record where they are" in (workplace / "said").read_text()) == (how != "SIGHUP")
    assert list(statuses(folder).values()) == ["interrupted"] * 3
    (workplace / "go").touch()
    assert not [log for log in folder.glob("*/*/run.log") if "Traceback" in log.read_text()]
    assert call(*words, cwd=workplace).wait(timeout=120) == 0
    expected = numbers(uninterrupted / "outputs" / "mine")
    assert numbers(folder) == {name: expected[name] for name in expected if name.endswith("seed-0")}


def test_a_dry_run_says_what_would_run_and_writes_nothing(door, workplace) -> None:
    code, out, _ = door("sweep", "smoke", "--dry-run")
    assert (code, "smoke: 4 of 4 runs would run" in out) == (0, True)
    assert not (workplace / "outputs").exists()
    assert door("sweep", "smoke", "seed=0")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (workplace / "outputs").rglob("*")}
    code, out, _ = door("sweep", "smoke", "seed=range(5)", "--jobs", "4", "--dry-run")
    assert (code, "smoke: 8 of 10 runs would run" in out) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in (workplace / "outputs").rglob("*")} == before
    took = [read_record(workplace / f"outputs/smoke/{arm}/seed-0")["wall_seconds"] for arm in ("adam", "lambda_0.5")]
    said = float(re.search(r"about ([\d.]+) s, 4 at once", out)[1])
    # Four runs of each arm, four at once; said in whole seconds.
    assert abs(said - sum(took)) <= 0.5
    assert "by 2 runs that are done" in out
    size = sum(path.stat().st_size for path in (workplace / "outputs/smoke").glob("*/seed-0/**/*") if path.is_file())
    number, unit = re.search(r"and ([\d.e+]+) (kB|MB), by", out).groups()
    assert float(number) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(4 * size, rel=0.05)  # one decimal


def test_each_gpu_has_its_own_runs_and_is_given_back(door, workplace, probes, monkeypatch) -> None:
    # Two GPUs that are not there: what matters is which one each run is told to use.
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5ef")
    arm = "[optimizer=adam, trainer.accelerator=auto, '++callbacks.probe={_target_:probes.Devices}']"
    write_sweep(workplace, {"adam": arm}, 5)
    assert door("sweep", "mine.yaml", *SMOKE[1:], "trainer.max_epochs=1", "trainer.limit_train_batches=2")[0] == 0
    folder = workplace / "outputs" / "mine" / "adam"
    at = {path: path.stat().st_mtime for path in folder.glob("*/device")}
    assert len(at) == 5
    assert {path.read_text() for path in at} == {"3", "GPU-5ef"}
    for device in ("3", "GPU-5ef"):
        # Each run sleeps a second after it has looked: on one GPU never two at once.
        times = sorted(time for path, time in at.items() if path.read_text() == device)
        assert all(later - earlier > 1 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(
    ("threads", "jobs", "per_gpu", "gpus", "accelerator", "expected"),
    [
        (1, None, 1, 0, "auto", 8),
        (3, None, 1, 0, "auto", 2),
        (16, None, 1, 0, "auto", 1),
        (1, 5, 1, 0, "auto", 5),
        (1, None, 1, 2, "auto", 2),
        (1, None, 3, 2, "cuda", 6),
        (1, None, 3, 2, "cpu", 8),
        (1, 3, 1, 2, "auto", 3),
    ],
)
def test_as_many_runs_at_once_as_cores_or_gpus_hold(
    monkeypatch, threads, jobs, per_gpu, gpus, accelerator, expected
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    config = {"arm": "a", "seed": 0, "threads": threads, "trainer": {"accelerator": accelerator}}
    launcher = LocalLauncher(jobs=jobs, per_gpu=per_gpu)
    assert launcher.slots([Job(config, Path("nowhere"), Code("code"))]) == expected


def test_a_run_has_the_threads_it_asks_for_and_no_more(workplace, probes) -> None:
    (workplace / "probes.py").write_text(
        PROBES + "class Threads(Callback):\n"
        "    def on_fit_start(self, trainer, *_):\n"
        "        import torch\n"
        "        names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'RAYON_NUM_THREADS')\n"
        "        counts = [torch.get_num_threads(), *(int(os.environ[name]) for name in names)]\n"
        "        (pathlib.Path(trainer.default_root_dir) / 'threads').write_text(str(counts))\n"
    )
    write_sweep(workplace, {"adam": "['++callbacks.probe={_target_:probes.Threads}']"}, 1)
    assert call("mine.yaml", *SMOKE, "threads=2", cwd=workplace).wait(timeout=120) == 0
    assert (workplace / "outputs/mine/adam/seed-0/threads").read_text() == "[2, 2, 2, 2, 2]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.launcher.jobs=0"], "hydra.launcher.jobs must be an integer >= 1, got 0; null is one per core or GPU"),
        (["--jobs", "-1"], "hydra.launcher.jobs must be an integer >= 1, got -1"),
        (["hydra.launcher.per_gpu=0"], "hydra.launcher.per_gpu must be an integer >= 1, got 0; 1 shares no GPU"),
        (["hydra.launcher.retry_failed=3"], "hydra.launcher.retry_failed must be true or false, got 3"),
        (["hydra.launcher.job=3"], "hydra.launcher.job is no setting; did you mean hydra.launcher.jobs?"),
        (["launcher=slurm", "hydra.launcher.timeout_min=0"], "hydra.launcher.timeout_min must be an integer >= 1, got 0"),
        (["launcher=slurm", "hydra.launcher.partitoin=gpu"], "did you mean hydra.launcher.partition?"),
        (["launcher=slrum"], "hydra/launcher"),
        (["+hydra.launcher.x={_target_:builtins.print}"], "hydra.launcher.x may hold no _target_, got builtins.print"),
        (["+hydra.sweeper.arms.x=[{_target_:builtins.print}]"], "hydra.sweeper.arms.x[0] may hold no _target_"),
        (["trainer.devices=2"], "trainer.devices must be 1 in a sweep, got 2: its runs go side by side, one device each"),
    ],
)
def test_a_launcher_that_cannot_be_is_refused(door, workplace, words, message) -> None:
    code, _, err = door("sweep", "smoke", *words)
    assert (code, message in err) == (2, True), err
    assert "Traceback" not in err
    assert not (workplace / "outputs").exists()


def test_records_of_two_machines_merge_by_copying_their_folders_together(door, workplace) -> None:
    for machine, seeds in (("here", "0,1"), ("there", "2,3")):
        assert door("sweep", "smoke", f"seed={seeds}", f"hydra.sweep.dir={machine}/smoke")[0] == 0
    shutil.copytree("there/smoke", "here/smoke", dirs_exist_ok=True)
    sweep = records.load_sweep("here/smoke")
    assert (sweep.seeds, len(sweep.runs), sweep.missing) == ((0, 1, 2, 3), 8, [])
    # The sweep's own file is either machine's: the next call has all that is there in it.
    code, out, _ = door("sweep", "smoke", "seed=range(5)", "hydra.sweep.dir=here/smoke")
    assert (code, "8 of 10 runs are there already" in out) == (0, True)
    assert json.loads((workplace / "here/smoke/sweep.json").read_text())["seeds"] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_24_runs_are_24_runs_of_wandb_each_with_its_name_config_and_end(door, workplace, monkeypatch) -> None:
    arms = {
        "adam": "[optimizer=adam]",
        "sine": "[optimizer=superpositional]",
        "diverging": "[optimizer=sgd, optimizer.lr=1e30]",
    }
    write_sweep(workplace, arms, 8)
    monkeypatch.setenv("WANDB_MODE", "online")
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert door("sweep", "mine.yaml", "trainer=smoke", "callbacks.checkpoint=null")[0] == 1
    folders = [path.parent for path in (workplace / "outputs" / "mine").glob("*/seed-*/record.json")]
    assert len(folders) == len(server.runs) == 24
    for folder in folders:
        record = read_record(folder)
        arm, run = record["arm"], server.runs[record["wandb_id"]]
        assert (run["name"], run["group"], run["job_type"]) == (f"mine/{arm}/seed-{record['seed']}", "mine", arm)
        shown = {name: value for name, value in run["config"].items() if name not in ("_wandb", "provenance")}
        assert shown == record["config"]
        rows = server.history(record["wandb_id"])
        for name, (steps, values) in read_curves(folder / "curves.csv").items():
            # A diverged run's last losses are not numbers, which equal nothing.
            told = np.array([(row["trainer/global_step"], float(row[name])) for row in rows if name in row])
            np.testing.assert_array_equal(told, np.stack([steps, values], axis=1))
        assert run["exit"] == (1 if arm == "diverging" else 0)
        assert run["summary"]["status"] == record["status"] == ("diverged" if arm == "diverging" else "done")


def test_a_dry_run_for_a_cluster_needs_none(door, workplace) -> None:
    code, out, _ = door("sweep", "smoke", "launcher=slurm", "--dry-run")
    assert (code, "4 of 4 runs would run" in out) == (0, True)


def test_a_call_that_comes_as_another_ends_runs_nothing_again(door, workplace, monkeypatch) -> None:
    # The second call has planned its runs before the first one ends, and holds the folder after it.
    plan = jobs.plan

    def late(*arguments):
        planned = plan(*arguments)
        monkeypatch.setattr(jobs, "plan", plan)
        assert door("sweep", "smoke")[0] == 0
        kept.update(ended(workplace / "outputs" / "smoke"))
        return planned

    kept: dict[Path, tuple[int, bytes]] = {}
    monkeypatch.setattr(jobs, "plan", late)
    code, out, _ = door("sweep", "smoke")
    assert (code, len(kept), "4 of 4 runs are there already" in out) == (0, 4, True)
    assert ended(workplace / "outputs" / "smoke") == kept


@pytest.mark.slow
def test_a_run_that_a_sweep_is_at_is_not_resumed_beside_it(door, workplace, probes) -> None:
    write_sweep(workplace, {"adam": "[optimizer=adam, '++callbacks.probe={_target_:probes.Holding}']"}, 1)
    process = call("mine.yaml", *SHORT, cwd=workplace)
    folder = workplace / "outputs" / "mine" / "adam" / "seed-0"
    assert wait_for(lambda: (folder / "checkpoints/last.ckpt").exists(), process)
    code, _, err = door("train", f"resume={folder}")
    assert (code, "another process is at work there; wait for its end" in err) == (2, True)
    (workplace / "go").touch()
    assert process.wait(timeout=120) == 0
    steps = records.read_curves(folder / "curves.csv")["val/loss"][0].tolist()
    assert steps == [13, 26, 39]


@pytest.mark.slow
def test_a_fork_server_that_dies_takes_no_run_with_it_and_no_more_than_asked_for_run(workplace, probes) -> None:
    write_sweep(workplace, {"adam": "[optimizer=adam, '++callbacks.probe={_target_:probes.Waiting}']"}, 4)
    process = call("mine.yaml", *SHORT, "--jobs", "2", cwd=workplace)
    folder = workplace / "outputs" / "mine"
    assert wait_for(lambda: len(list(folder.glob("*/*/running.json"))) == 2, process)
    servers = [child for child in psutil.Process(process.pid).children() if "forkserver" in " ".join(child.cmdline())]
    assert len(servers) == 1
    servers[0].kill()
    # Long enough for the launcher to look several times.
    time.sleep(5)
    assert len(list(folder.glob("*/*/running.json"))) == 2
    assert statuses(folder) == {}
    (workplace / "go").touch()
    assert process.wait(timeout=120) == 0, (workplace / "said").read_text()
    assert list(statuses(folder).values()) == ["done"] * 4


def test_an_error_is_shown_as_it_is_whatever_it_holds(door, workplace, probes) -> None:
    write_sweep(workplace, {"odd": "['++callbacks.probe={_target_:probes.Bracketed}']"}, 1)
    code, out, _ = door("sweep", "mine.yaml", *SMOKE)
    assert (code, "odd seed 0: failed: ValueError: bad shape [/batch] of [batch, seq], " in out) == (1, True)
    folder = workplace / "outputs/mine/odd/seed-0"
    assert "bad shape [/batch] of [batch, seq], \\udcff" in (folder / "error.txt").read_text()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn"], ids=["empty", "torn"])
def test_a_checkpoint_that_cannot_be_read_is_kept_aside_and_the_run_begins_anew(door, workplace, content) -> None:
    words = ("sweep", "smoke", "seed=0", *SMOKE)
    assert door(*words)[0] == 0
    folder = workplace / "outputs/smoke/adam/seed-0"
    expected = numbers(workplace / "outputs/smoke")
    record = read_record(folder)
    records.write_record(folder, record | {"status": "interrupted", "summary": {}})
    (folder / "checkpoints/last.ckpt").write_bytes(content)
    assert door(*words)[0] == 0
    assert numbers(workplace / "outputs/smoke") == expected
    assert (folder / "checkpoints/last.ckpt.broken").read_bytes() == content
    assert "cannot be read and is now last.ckpt.broken; the run starts from nothing" in (folder / "run.log").read_text()


@pytest.mark.parametrize("name", ["adam/seed-0/record.json", "sweep.json"])
def test_a_damaged_file_is_named_with_its_cure(door, workplace, name) -> None:
    assert door("sweep", "smoke", "seed=0", *SMOKE)[0] == 0
    path = workplace / "outputs" / "smoke" / name
    path.write_text(path.read_text()[:20])
    for words in (("sweep", "smoke", "seed=0", *SMOKE), ("report", "smoke")):
        code, _, err = door(*words)
        assert code == 2
        assert f"outputs/smoke/{name} is damaged (" in err
        assert "move it away and call again" in err
        assert "Traceback" not in err
    path.unlink()
    assert door("sweep", "smoke", "seed=0", *SMOKE)[0] == 0


def test_a_full_disk_stops_the_sweep_without_losing_what_is_there(door, workplace, monkeypatch) -> None:
    # Of the launcher's own writing, for a run that was killed; the disk of a test cannot be filled by everybody.
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (workplace / "probes.py").write_text(PROBES)
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "probes")
    killed = "['++callbacks.probe={_target_:probes.Killed}']"
    write_sweep(workplace, {"adam": "[optimizer=adam]", "killed": killed, "never": "[optimizer=adam]"}, 1)
    monkeypatch.setattr(records, "write_record", full)
    code, out, _ = door("sweep", "mine.yaml", *SMOKE, "--jobs", "1")
    assert code == 1
    assert "killed seed 0 cannot be recorded: [Errno 28] No space left on device; free some space and call the sweep" in out
    assert statuses(workplace / "outputs" / "mine") == {"adam/seed-0": "done"}
    monkeypatch.undo()


@pytest.mark.slow
def test_own_code_that_is_edited_while_a_sweep_runs_makes_no_run_of_it(door, workplace, probes) -> None:
    write_sweep(workplace, {"adam": "[optimizer=adam, '++callbacks.probe={_target_:probes.Waiting}']"}, 2)
    process = call("mine.yaml", *SHORT, "--jobs", "1", cwd=workplace)
    folder = workplace / "outputs" / "mine" / "adam"
    assert wait_for(lambda: (folder / "seed-0/running.json").exists(), process)
    (workplace / "probes.py").write_text(PROBES + "\nEDITED = True\n")
    (workplace / "go").touch()
    assert process.wait(timeout=120) == 1
    assert read_record(folder / "seed-0")["status"] == "done"
    record = read_record(folder / "seed-1")
    assert record["status"] == "failed"
    assert record["error"] == "the user's own code has changed since the sweep was planned; call it again"


@pytest.mark.parametrize("arm", ["superseded", "lock", "a" * 200])
def test_an_arm_that_cannot_be_a_folder_is_refused(door, workplace, arm) -> None:
    write_sweep(workplace, {arm: "[optimizer=adam]"}, 1)
    code, _, err = door("sweep", "mine.yaml", *SMOKE)
    assert (code, f"an arm must not be called {arm}: it names a folder of at most 180 bytes" in err) == (2, True)


def test_a_sweep_from_a_thread_is_refused_before_anything_starts(door, workplace) -> None:
    with ThreadPoolExecutor(1) as pool:
        code, _, err = pool.submit(door, "sweep", "smoke").result()
    assert code == 2
    assert "a sweep must be started from the main thread" in err
    assert list(workplace.iterdir()) == []


def test_a_script_without_a_main_guard_starts_its_sweep_once(workplace) -> None:
    script = workplace / "script.py"
    script.write_text("from superpositional.cli import main\nmain(['sweep', 'smoke', 'seed=0'])\n")
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert statuses(workplace / "outputs" / "smoke") == {"adam/seed-0": "done", "lambda_0.5/seed-0": "done"}
