"""Does a sweep run what it should, once, and say how everything ended?"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import statuses, wait_for
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from wandb_server import serving

from superpositional import records
from superpositional.places import ConfigError
from superpositional.records import read_record
from superpositional.records.published import publish
from superpositional.sweeps.arms import ArmsSweeper
from superpositional.sweeps.plan import plan
from superpositional.training import config as configs

ARMS = {"adam": ["optimizer=adam"], "loud": ["optimizer=superpositional", "optimizer.quantum_weight=0.9"]}


def jobs(*arguments: str, arms: dict | None = None, params: dict | None = None) -> list[list[str]]:
    sweeper = ArmsSweeper(arms=arms, params=params)
    sweeper.config = OmegaConf.create({"seed": 0})
    return sweeper.jobs(arguments)


def named(laid_out: list[list[str]]) -> list[tuple[str, str]]:
    return [(job[-2], job[-1]) for job in laid_out]


def test_the_arms_of_a_seed_lie_side_by_side() -> None:
    assert jobs(arms=ARMS, params={"seed": "range(2)"}) == [
        ["optimizer=adam", "arm='adam'", "seed=0"],
        ["optimizer=superpositional", "optimizer.quantum_weight=0.9", "arm='loud'", "seed=0"],
        ["optimizer=adam", "arm='adam'", "seed=1"],
        ["optimizer=superpositional", "optimizer.quantum_weight=0.9", "arm='loud'", "seed=1"],
    ]


def test_the_command_line_goes_before_the_sweeps_own_values() -> None:
    assert named(jobs("seed=7,8", arms={"a": []}, params={"seed": "range(30)"})) == [
        ("arm='a'", "seed=7"),
        ("arm='a'", "seed=8"),
    ]
    assert named(jobs("seed=7", arms={"a": []}, params={"seed": "range(30)"})) == [("arm='a'", "seed=7")]
    assert jobs("trainer.max_epochs=1", arms={"a": []})[0] == ["trainer.max_epochs=1", "arm='a'", "seed=0"]


def test_without_arms_the_swept_values_name_the_folder() -> None:
    laid_out = jobs("optimizer=adam,sgd", "++optimizer.lr=0.1,0.2", "seed=3")
    assert [job[-2] for job in laid_out] == [
        "arm='optimizer=adam,optimizer.lr=0.1'",
        "arm='optimizer=adam,optimizer.lr=0.2'",
        "arm='optimizer=sgd,optimizer.lr=0.1'",
        "arm='optimizer=sgd,optimizer.lr=0.2'",
    ]
    assert laid_out[1][:2] == ["optimizer=adam", "++optimizer.lr=0.2"]


def test_arms_times_swept_values_have_both_in_their_name() -> None:
    assert [job[-2] for job in jobs("data.length=8,9", arms={"a": []})] == [
        "arm='a,data.length=8'",
        "arm='a,data.length=9'",
    ]


def test_in_a_grid_every_arm_is_held_to_the_baseline_at_the_same_values(door, workplace) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"], "adam_b": ["optimizer=adam", "optimizer.eps=1e-6"]})
    assert door("sweep", str(path), "seed=0,1", "data.length=16,18")[0] == 0
    sweep = records.load_sweep(workplace / "outputs" / "mine")
    assert {arm: sweep.baseline(arm) for arm in sweep.arms} == {
        "adam,data.length=16": "adam,data.length=16",
        "adam,data.length=18": "adam,data.length=18",
        "adam_b,data.length=16": "adam,data.length=16",
        "adam_b,data.length=18": "adam,data.length=18",
    }
    code, out, err = door("report", "mine")
    assert code == 0, err
    assert "adam b, data.length=18 vs adam, data.length=18, test/accuracy" in out
    assert "vs adam, data.length=16, test/accuracy" in out
    assert "data.length=18 vs adam, data.length=16" not in out
    # Published, it is the same.
    publish(sweep, workplace / "published")
    assert records.load_sweep(workplace / "published").baselines == sweep.baselines


def test_without_a_grid_or_without_arms_the_first_arm_is_the_baseline(door, workplace) -> None:
    assert door("train", "-m", "optimizer=adam,sgd", "trainer=smoke", "logger=none", "seed=0", "sweep=mine")[0] == 0
    sweep = records.load_sweep(workplace / "outputs" / "mine")
    assert [sweep.baseline(arm) for arm in sweep.arms] == ["optimizer=adam", "optimizer=adam"]
    assert sweep.baselines == {}


def test_two_arms_in_one_folder_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two arms would share the folder a_b; give one another name"):
        jobs(arms={"a b": [], "a:b": []})


def test_a_value_the_arms_set_themselves_cannot_be_set_for_all() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.quantum_weight is set by this sweep's arms"):
        jobs("optimizer.quantum_weight=1", arms=ARMS)


def write_sweep(folder: Path, arms: dict[str, list[str]], **top: object) -> Path:
    """A sweep file of one's own: three steps, two seeds, nothing to W&B."""
    path = folder / "mine.yaml"
    sweep = {
        "defaults": ["train", {"override trainer": "smoke"}, {"override logger": "none"}, "_self_"],
        "sweep": "mine",
        "question": "Does it run?",
        "callbacks": {"checkpoint": None},
        **top,
        "hydra": {"mode": "MULTIRUN", "sweeper": {"arms": arms, "params": {"seed": "range(2)"}}},
    }
    OmegaConf.save(OmegaConf.create(sweep), path)
    return path


def test_the_smoke_sweep_records_every_run_and_a_second_call_runs_none(door, workplace) -> None:
    code, out, err = door("sweep", "smoke")
    assert code == 0, err
    folder = workplace / "outputs" / "smoke"
    assert set(statuses(folder).values()) == {"done"}
    assert len(statuses(folder)) == 4
    plan = json.loads((folder / "sweep.json").read_text())
    assert (plan["arms"], plan["seeds"]) == (["adam", "lambda_0.5"], [0, 1])
    assert "lambda_0.5 seed 1: done in" in out
    assert "(4/4, about 0 s left)" in out
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*") if path.is_file()}
    assert len(written) >= 4 * 4
    code, out, err = door("sweep", "smoke", "--jobs", "1")
    assert (code, "4 of 4 runs are there already" in out) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    # The report is made by the other bank, from these files alone.
    code, out, err = door("report", "smoke")
    assert code == 0, err
    assert "2 of 2" in out
    assert (folder / "report" / "figures" / "fig1.pdf").is_file()


def test_an_arm_that_diverges_or_dies_or_raises_leaves_the_others_done(door, workplace, monkeypatch) -> None:
    (workplace / "sweep_probes.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Killed(Callback):\n"
        "    def on_train_batch_end(self, *_):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "class Broken(Callback):\n"
        "    def on_train_batch_end(self, *_):\n"
        "        raise ArithmeticError('the abacus broke')\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv(configs.ALLOW, "sweep_probes")
    path = write_sweep(
        workplace,
        {
            "fine": ["optimizer=adam"],
            "killed": ["++callbacks.probe={_target_:sweep_probes.Killed}"],
            "broken": ["++callbacks.probe={_target_:sweep_probes.Broken}"],
            "diverging": ["optimizer=sgd", "optimizer.lr=1e30"],
        },
    )
    code, out, _ = door("sweep", str(path))
    assert code == 1
    found = statuses(workplace / "outputs" / "mine")
    assert {arm: found[f"{arm}/seed-1"] for arm in ("fine", "killed", "broken", "diverging")} == {
        "fine": "done",
        "killed": "failed",
        "broken": "failed",
        "diverging": "diverged",
    }
    killed = workplace / "outputs" / "mine" / "killed" / "seed-0"
    assert "its process was ended by SIGKILL before" in records.read_record(killed)["error"]
    assert "in on_train_batch_end" in (workplace / "outputs/mine/broken/seed-0/error.txt").read_text()
    assert "broken seed 0: failed: ArithmeticError: the abacus broke" in " ".join(out.split())
    # What failed is left alone, and run again if asked for; what is done or diverged never is.
    code, out, _ = door("sweep", str(path))
    assert (code, "8 of 8 runs are there already" in out) == (1, True)
    assert "4 of them failed and are left as they are; --retry-failed runs them again" in out
    code, out, _ = door("sweep", str(path), "--retry-failed")
    assert (code, "4 of 8 runs are there already" in out) == (1, True)
    # A failure that was tried again is not forgotten.
    assert len(list((workplace / "outputs" / "mine" / "superseded" / "broken").glob("seed-0-*/error.txt"))) == 1
    # Nobody is dropped from what is judged.
    sweep = records.load_sweep(workplace / "outputs" / "mine")
    assert (len(sweep.runs), sweep.missing) == (8, [])


def test_a_changed_setting_runs_anew_and_sets_the_old_run_aside(door, workplace) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"]})
    assert door("sweep", str(path), "seed=0")[0] == 0
    folder = workplace / "outputs" / "mine"
    before = records.read_record(folder / "adam" / "seed-0")
    assert door("sweep", str(path), "seed=0", "optimizer.lr=0.01")[0] == 0
    after = records.read_record(folder / "adam" / "seed-0")
    assert (before["config"]["optimizer"]["lr"], after["config"]["optimizer"]["lr"]) == (0.001, 0.01)
    (aside,) = (folder / "superseded" / "adam").iterdir()
    assert records.read_record(aside) == before
    # The words it was made with bring it back, and nothing is run.
    code, out, _ = door("sweep", str(path), "seed=0")
    assert (code, "1 runs of these very settings are taken back from outputs/mine/superseded" in out) == (0, True)
    assert records.read_record(folder / "adam" / "seed-0") == before
    (aside,) = (folder / "superseded" / "adam").iterdir()
    assert records.read_record(aside) == after


def test_runs_of_another_config_are_never_paired_with_these(door, workplace) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"], "sgd": ["optimizer=sgd"]})
    assert door("sweep", str(path))[0] == 0
    code, out, _ = door("sweep", str(path), "seed=0", "data.n_train=200")
    assert (code, "2 runs of another config or code version make room" in out) == (0, True)
    sweep = records.load_sweep(workplace / "outputs" / "mine")
    assert (sweep.seeds, sweep.missing, len(sweep.runs)) == ((0,), [], 2)
    # With another seed of the new config the old records of that seed are not there, they are to be run.
    assert door("sweep", str(path), "seed=1", "data.n_train=200")[0] == 0
    sweep = records.load_sweep(workplace / "outputs" / "mine")
    assert sweep.seeds == (0, 1)
    assert {run.record["config"]["data"]["n_train"] for run in sweep.runs} == {200}


def test_more_seeds_add_to_a_sweep(door, workplace) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"]})
    assert door("sweep", str(path), "seed=0")[0] == 0
    assert door("sweep", str(path), "seed=1")[0] == 0
    assert records.load_sweep(workplace / "outputs" / "mine").seeds == (0, 1)


def test_an_edit_of_ones_own_code_runs_anew(door, workplace, monkeypatch) -> None:
    module = workplace / "my_rates.py"
    module.write_text("import torch\nclass Mine(torch.optim.SGD):\n    pass\n")
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv(configs.ALLOW, "my_rates")
    path = write_sweep(workplace, {"mine": ["optimizer=sgd", "optimizer._target_=my_rates.Mine"]})
    assert door("sweep", str(path), "seed=0")[0] == 0
    code, out, _ = door("sweep", str(path), "seed=0")
    assert (code, "1 of 1 runs are there already" in out) == (0, True)
    module.write_text("# edited\n" + module.read_text())
    assert "1 of 1 runs are there already" in door("sweep", str(path), "seed=0")[1]
    module.write_text(module.read_text() + "    rate = 2\n")
    code, out, _ = door("sweep", str(path), "seed=0")
    assert (code, "1 runs of another config or code version make room" in out) == (0, True)


def test_a_sweep_file_is_a_sweep_whatever_mode_it_states(door, workplace) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"]})
    path.write_text(path.read_text().replace("  mode: MULTIRUN\n", ""))
    assert door("sweep", str(path), "seed=0")[0] == 0
    assert set(statuses(workplace / "outputs" / "mine")) == {"adam/seed-0"}


BAD_SWEEPS = [
    ("adam:\n      - optimizer=adam", "adam: optimizer=adam", "hydra.sweeper.arms.adam must be a list of overrides, got"),
    ("    arms:", "    arm:", "hydra.sweeper.arm is no setting; did you mean hydra.sweeper.arms?"),
    ("seed: range(2)", "seed: range(a)", "'seed=range(a)' is no override"),
    ("seed: range(2)", "seed: 0,-1", "seed must be an integer >= 0, got -1"),
    ("seed: range(2)", "seed: 0,x", "seed must be an integer >= 0, got 'x'"),
    ("- optimizer=adam", "- optimizer=adma", "sgd, superpositional, got 'adma'"),
    ("- optimizer=adam", "- optimizer=[", "'optimizer=[' is no override"),
    ("question: Does", "question: [Does", "while parsing a flow sequence"),
    ("sweep: mine", "sweep: ../../mine", "sweep must be a plain text, got '../../mine'; sweep and arm name folders"),
    ("    arms:", "    _target_: os.system\n    arms:", "hydra.sweeper must be a Hydra plugin, got os.system"),
]


@pytest.mark.parametrize(("there", "instead", "message"), BAD_SWEEPS, ids=lambda text: text.strip()[:25])
def test_a_sweep_file_that_cannot_be_run_is_refused(door, workplace, there, instead, message) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"]})
    text = path.read_text()
    assert there in text
    path.write_text(text.replace(there, instead))
    code, out, err = door("sweep", str(path))
    assert code == 2
    assert message in err
    assert "Traceback" not in err + out
    assert not (workplace / "outputs").exists()


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "f.yaml must be a YAML file: 'utf-8' codec"),
        (b"[" * 5000, "f.yaml must hold at most 100,000 values, got inf: it nests deeply or refers to itself"),
        (b"defaults: [train, _self_]\ndata: &a\n  x: *a\n", "f.yaml must hold at most 100,000 values, got inf"),
        (LAUGHS.encode(), "f.yaml must hold at most 100,000 values, got "),
        (b"defaults: [train, f, _self_]\n", "f.yaml must not include itself; change its defaults"),
        (b"defaults: [train, g, _self_]\n", "f.yaml must not include itself; change its defaults, or those of g.yaml"),
        (b"defaults: 3\n", "defaults must be a list (got int)"),
        (b"- 1\n", "f.yaml must hold KEY: VALUE, got a list"),
        (b"defaults: [train, _self_]\n1: 2\n", "1 must have a text as its key, got 1; put it in quotes"),
        (b"defaults: [train, _self_]\noptimizer: {true: 2}\n", "optimizer.True must have a text as its key, got True"),
        (b"defaults: [train, _self_]\nhydra: {sweeper: {arms: {1: []}}}\n", "hydra.sweeper.arms.1 must have a text as its"),
        (
            b"defaults: [train, _self_]\nhydra: {sweeper: {arms: abc}}\n",
            "hydra.sweeper.arms must hold KEY: VALUE, got 'abc'",
        ),
        (
            b"defaults: [train, _self_]\nhydra: {sweeper: {arms: {a: ['seed=1,2']}}}\n",
            "hydra.sweeper.arms.a must have one value of each setting, got seed=1,2; make an arm of each",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else repr(value[:40]),
)
def test_a_file_that_no_config_can_be_made_of_is_named_with_its_cure(door, workplace, content, message) -> None:
    (workplace / "f.yaml").write_bytes(content)
    (workplace / "g.yaml").write_text("defaults: [f]\n")
    code, _, err = door("sweep", "f.yaml", "--dry-run")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 2
    assert {path.name for path in workplace.iterdir()} == {"f.yaml", "g.yaml"}


@pytest.mark.parametrize("subdir", ["x", "../..", "../${arm}/seed-${seed}", "runs/${arm}/seed-${seed}", "/elsewhere"])
def test_each_run_of_a_sweep_has_a_folder_of_its_own_within_the_sweeps(door, workplace, subdir) -> None:
    code, _, err = door("sweep", "smoke", f"hydra.sweep.subdir={subdir}")
    assert code == 2
    assert f"hydra.sweep.subdir must stay ${{arm}}/seed-${{seed}}, got '{subdir}'" in err
    assert list(workplace.iterdir()) == []


def test_a_glob_sweeps_the_choices_of_a_group() -> None:
    class Loader:
        def get_group_options(self, group, results_filter=None):
            return ["adam", "adamw", "sgd"] if group == "optimizer" else []

    sweeper = ArmsSweeper()
    sweeper.config, sweeper.loader = OmegaConf.create({"seed": 0}), Loader()
    laid_out = sweeper.jobs(["optimizer=glob(adam*)", "seed=3"])
    assert [job[0] for job in laid_out] == ["optimizer=adam", "optimizer=adamw"]


def test_a_sweep_counts_its_runs_before_it_lays_them_out() -> None:
    with pytest.raises(ConfigError, match=r"must have at most 10,000 runs, got 24,000,000; split it into several"):
        jobs("seed=range(8000)", "data.length=range(1000)", arms={"a": [], "b": [], "c": []})


def test_every_arms_mistakes_are_named_before_any_run_starts(door, workplace) -> None:
    path = write_sweep(
        workplace, {"a": ["optimizer.quantum_weight=-1"], "b": ["optimizer=adam", "optimizer.beta=1"]}, sede=3
    )
    code, _, err = door("sweep", str(path))
    assert code == 2
    assert "  - sede is no setting; did you mean seed?\n" in err
    assert "  - a: optimizer: quantum_weight must be a finite number >= 0, got -1; 0 recovers AdamW\n" in err
    assert "  - b: optimizer.beta is no argument of Adam; did you mean optimizer.betas?\n" in err
    assert err.startswith("superpositional: 3 mistakes, nothing was run\n")
    assert not (workplace / "outputs").exists()


@pytest.mark.parametrize("arguments", [["nothing"], ["nothing.yaml"], ["smoke", "--fast"], ["smoke", "sede=3"]])
def test_bad_input_to_sweep_exits_2(door, workplace, arguments) -> None:
    code, _, err = door("sweep", *arguments)
    assert code == 2
    assert "Traceback" not in err
    assert not (workplace / "outputs").exists()


@pytest.mark.slow
def test_a_second_call_into_the_same_folder_is_refused_and_spoils_nothing(door, workplace) -> None:
    words = ["sweep", "paper_classification", "seed=0", "trainer.max_epochs=2", "logger=none", "--jobs", "2"]
    command = [sys.executable, "-m", "superpositional", *words]
    first = subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    folder = workplace / "outputs" / "paper_classification"
    assert wait_for(lambda: list(folder.glob("*/seed-0/running.json")), first)
    code, _, err = door(*words)
    assert code == 2
    assert f"outputs/paper_classification is locked by process {first.pid} on " in err
    assert "wait for it, or choose another folder: hydra.sweep.dir=" in err
    out, _ = first.communicate(timeout=300)
    assert first.returncode == 0, out
    # Its end lets go of the folder: another call finds all done.
    code, out, _ = door(*words)
    assert (code, "5 of 5 runs are there already" in out) == (0, True)


@pytest.mark.slow
def test_a_call_that_was_killed_leaves_no_lock_but_its_runs_are_waited_for(door, workplace) -> None:
    (workplace / "one.yaml").write_text(
        "defaults: [train, _self_]\nsweep: one\nhydra:\n  sweeper:\n    arms:\n      adam: [optimizer=adam]\n"
    )
    # Long enough to be at work still when the second call has composed and checked its own.
    words = ["sweep", "one.yaml", "data.n_train=4000", "logger=none", "--jobs", "1"]
    command = [sys.executable, "-m", "superpositional", *words]
    first = subprocess.Popen(command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = workplace / "outputs" / "one" / "adam" / "seed-0"
    assert wait_for(lambda: (folder / "running.json").exists(), first)
    first.kill()
    first.wait()
    code, _, err = door(*words)
    assert code == 2
    assert f"{folder.relative_to(workplace)} is still being run, by a process that a killed call has left" in err
    # The run itself goes on to its end, and counts.
    assert wait_for(lambda: (folder / "record.json").exists())
    done = (folder / "record.json").read_bytes()
    assert wait_for(lambda: door(*words)[0] == 0)
    assert (folder / "record.json").read_bytes() == done


def write_circuit_sweep(folder: Path, depth: str, *arms: str) -> None:
    (folder / "mine.yaml").write_text(
        f"defaults: [train, _self_]\nsweep: mine\ncircuit:\n  depth: {depth}\nhydra:\n  sweeper:\n    arms:\n"
        + "".join(f"      {arm.split('=')[-1]}: [{arm}]\n" for arm in arms)
    )


def test_a_circuit_setting_that_no_arm_reads_is_refused(door, workplace) -> None:
    write_circuit_sweep(workplace, "3", "optimizer=adam", "optimizer=superpositional")
    code, _, err = door("sweep", "mine.yaml", "trainer=smoke", "logger=none")
    assert code == 2
    assert "circuit.depth=3 has no effect: nothing chosen reads it" in err
    assert not (workplace / "outputs").exists()


@pytest.mark.parametrize("override", [[], ["circuit.n_qubits=3"]], ids=["of the file", "of the command line"])
def test_a_circuit_setting_that_one_arm_reads_is_none_of_the_baselines(door, workplace, override: list[str]) -> None:
    write_circuit_sweep(workplace, "3", "optimizer=adam", "optimizer=circuit")
    code, _, err = door("sweep", "mine.yaml", "trainer=smoke", "logger=none", *override)
    assert code == 0, err
    records = {arm: read_record(workplace / "outputs" / "mine" / arm / "seed-0") for arm in ("adam", "circuit")}
    assert records["circuit"]["circuits"]["optimizer"]["ansatz"]["depth"] == 3
    assert "circuits" not in records["adam"]


def test_a_setting_that_cannot_be_resolved_is_refused(door, workplace) -> None:
    write_circuit_sweep(workplace, "${nope}", "optimizer=adam", "optimizer=circuit")
    code, _, err = door("sweep", "mine.yaml", "trainer=smoke", "logger=none")
    assert code == 2
    assert "Interpolation key 'nope' not found" in err
    assert "Traceback" not in err


def test_an_unknown_sweep_is_told_which_there_are(door) -> None:
    _, _, err = door("sweep", "xyz")
    names = ", ".join(sorted(path.stem for path in configs.directory("sweeps").glob("*.yaml")))
    assert "paper_classification" in names
    assert f"sweep must be a file of sweeps/ or the path of a .yaml file, got 'xyz'; known: {names}" in err
    _, _, err = door("sweep", "smok")
    assert "did you mean smoke?" in err


def test_bad_input_to_report_exits_2(door, workplace) -> None:
    code, _, err = door("report", "nothing")
    assert code == 2
    assert "no sweep in" in err


def test_hydras_own_multirun_is_the_same_program(door, workplace) -> None:
    code, _, err = door("train", "-m", "optimizer=adam,placebo", "trainer=smoke", "logger=none", "seed=0,1")
    assert code == 0, err
    assert set(statuses(workplace / "outputs" / "train")) == {
        f"optimizer={name}/seed-{seed}" for name in ("adam", "placebo") for seed in (0, 1)
    }


def test_what_another_launcher_of_hydras_ran_is_gone_on_with(door, workplace) -> None:
    # Hydra's own launcher stands for those of others, Ray's for one: they compose each job and know nothing of records.
    path = write_sweep(workplace, ARMS)
    assert door("sweep", str(path), "seed=0", "hydra/launcher=basic")[0] == 0
    kept = (workplace / "outputs/mine/loud/seed-0/record.json").read_bytes()
    code, out, _ = door("sweep", str(path))
    assert (code, "2 of 4 runs are there already" in out) == (0, True)
    assert (workplace / "outputs/mine/loud/seed-0/record.json").read_bytes() == kept
    assert len(records.load_sweep(workplace / "outputs/mine").runs) == 4


def test_each_wandb_run_of_a_sweep_is_its_own_and_ends_as_it_ended(door, workplace, monkeypatch) -> None:
    path = write_sweep(workplace, {"fine": ["optimizer=adam"], "diverging": ["optimizer=sgd", "optimizer.lr=1e30"]})
    path.write_text(path.read_text().replace("override logger: none", "override logger: wandb"))
    monkeypatch.setenv("WANDB_MODE", "online")
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, _, err = door("sweep", str(path))
        assert code == 1, err
    ends = {"fine": 0, "diverging": 1}
    assert {each["name"]: each["exit"] for each in server.runs.values()} == {
        f"mine/{arm}/seed-{seed}": ends[arm] for arm in ends for seed in (0, 1)
    }
    record = records.read_record(workplace / "outputs/mine/fine/seed-1")
    one = server.runs[record["wandb_id"]]
    assert (one["name"], one["group"], one["job_type"]) == ("mine/fine/seed-1", "mine", "fine")
    assert record["wandb_id"].startswith(record["identity"])
    assert one["config"]["optimizer"] == record["config"]["optimizer"]
    # Both mirrors hold the same numbers.
    curves = records.read_curves(workplace / "outputs/mine/fine/seed-1/curves.csv")
    logged = [row["train/loss"] for row in server.history(record["wandb_id"]) if "train/loss" in row]
    assert logged == curves["train/loss"][1].tolist()
    assert one["summary"].items() >= {**record["summary"], "status": "done"}.items()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the local launcher forks")
def test_a_run_in_a_sweep_equals_the_same_run_alone_bit_for_bit(door, workplace) -> None:
    assert door("sweep", "smoke", "seed=1")[0] == 0
    assert door("train", "trainer=smoke", "logger=none", "optimizer=superpositional", "seed=1")[0] == 0
    (alone,) = (workplace / "outputs" / "train").glob("*/*/curves.csv")
    swept = workplace / "outputs" / "smoke" / "lambda_0.5" / "seed-1" / "curves.csv"
    a, b = records.read_curves(alone), records.read_curves(swept)
    assert {"train/loss", "val/accuracy", "perturbation/ratio"} <= set(a)
    for name in [name for name in a if not name.startswith(("time/", "throughput/", "memory/"))]:
        assert a[name][1].tobytes() == b[name][1].tobytes()


@pytest.fixture
def cleared() -> Iterator[None]:
    """Hydra as it is at its start, before and after."""
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


SWEEPS = configs.directory("sweeps").glob("*.yaml")


# Which settings the tuned ones have, only the ledger of a search that has been run says.
@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS if "\n    tuned:" not in path.read_text()))
def test_a_plan_composes_each_seed_as_hydra_would(name, cleared) -> None:
    """The plan composes an arm once and changes the seed; here Hydra composes the last seed of every arm by itself."""
    search_path = create_config_search_path(str(configs.directory("conf")))
    search_path.prepend("sweeps", f"file://{configs.directory('sweeps')}", SearchPathQuery(provider="schema", path=None))
    loader = Hydra.create_main_hydra2(task_name="train", config_search_path=search_path).config_loader
    cfg = loader.load_configuration(name, ["logger=none"], RunMode.MULTIRUN)
    node = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
    del node["_target_"]
    sweeper = ArmsSweeper(**node)
    sweeper.config = cfg
    laid_out = sweeper.jobs(["logger=none"])
    planned = plan(loader, cfg, laid_out)
    assert len(planned) == len(laid_out)
    for overrides, job in list(zip(laid_out, planned, strict=True))[-len({job.arm for job in planned}) :]:
        alone = loader.load_sweep_config(cfg, configs.lift(overrides, loader))
        assert configs.compose_job(alone) == job.config
        assert Path(alone.hydra.sweep.dir) / alone.hydra.sweep.subdir == job.folder
