"""Can a stranger's config, record or run folder run code, or read the environment?

Every form of a value that would run code, at every place of a config, through every door. What is run writes a file.
"""

import json
import pickle
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from superpositional import records
from superpositional.places import ConfigError
from superpositional.records.identity import identity
from superpositional.training import config as configs

CREATE = "oc.create:{_target_:os.mkdir,_args_:[PWNED]}"
NODE = {"_target_": "os.mkdir", "_args_": ["PWNED"]}
# Each is a value of YAML; a backslash before $ keeps OmegaConf from resolving it the first time, two the second.
FORMS = {
    "nested": NODE,
    "by keyword": {"_target_": "os.mkdir", "path": "PWNED"},
    "in a list": [[NODE]],
    "deep": {"a": [{"b": NODE}]},
    "partial": NODE | {"_partial_": True},
    "behind another name": {"_target_": "superpositional.records.os.mkdir", "path": "PWNED"},
    "an instantiate": {"_target_": "hydra.utils.instantiate", "config": NODE},
    "created": f"${{{CREATE}}}",
    "escaped": f"\\${{{CREATE}}}",
    "escaped twice": f"\\\\\\${{{CREATE}}}",
    "escaped in a list": [f"\\${{{CREATE}}}"],
    "escaped among other text": f"x\\${{{CREATE}}}",
    "decoded": "${oc.decode:'{_target_: os.mkdir, _args_: [PWNED]}'}",
    "decoded and escaped": "\\${oc.decode:'{_target_: os.mkdir, _args_: [PWNED]}'}",
    "chosen by our own resolver": f"${{only:1,1,'\\${{{CREATE}}}'}}",
    "summed by our own resolver": f"${{add:'\\${{{CREATE}}}'}}",
    "selected": "${oc.select:question}",
    "from the environment": "${oc.decode:${oc.env:SUPERPOSITIONAL_STRANGER}}",
    "from the environment, later": "\\${oc.create:\\${oc.decode:\\${oc.env:SUPERPOSITIONAL_STRANGER}}}",
    "escaped target": {"_target_": "\\${oc.decode:os.mkdir}", "_args_": ["PWNED"]},
}
PLACES = (
    "callbacks.convergence.metric",
    "callbacks.stranger",
    "optimizer.betas",
    "optimizer.perturbation",
    "net.attention",
    "data.length",
    "task.lr_schedule",
    "trainer.strategy",
    "trainer.profiler",
    "logger.tags",
    "circuit.n_qubits",
    "backend.shots",
    "claims",
    "question",
)
HYDRAS = (
    "hydra.sweeper.params.x",
    "hydra.sweeper.arms.one",
    "hydra.launcher.jobs",
    "hydra.callbacks.x",
    "hydra.job_logging.x",
)


def at(place: str, value: object) -> dict:
    for key in reversed(place.split(".")):
        value = {key: value}
    return value


@pytest.fixture
def stranger(workplace, monkeypatch) -> Path:
    monkeypatch.delenv(configs.ALLOW, raising=False)
    monkeypatch.setenv("SUPERPOSITIONAL_STRANGER", json.dumps(NODE))
    return workplace


def write(folder: Path, *parts: dict) -> Path:
    """A config that includes ``train`` and states these parts."""
    path = folder / "evil.yaml"
    path.write_text("defaults:\n- train\n- _self_\n" + "".join(yaml.safe_dump(part) for part in parts))
    return path


def nothing_ran(folder: Path, code: int, err: str) -> None:
    assert not (folder / "PWNED").exists()
    assert "Traceback" not in err
    assert code == 2, err
    assert not list(folder.rglob("record.json"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_refused_or_plain_before_anything_is_built(stranger, form) -> None:
    selected = {"question": f"\\${{{CREATE}}}"} if form == "selected" else {}
    for place in PLACES:
        config = OmegaConf.create(selected | at(place, FORMS[form]))
        try:
            plain = configs.resolved(config)
        except ConfigError:
            continue
        with pytest.raises(ConfigError):
            configs.targets(plain)
        for key in plain:
            with pytest.raises(ConfigError):
                configs.make(key, {"_target_": "torch.nn.Identity", "x": plain[key]})
    assert not (stranger / "PWNED").exists()


@pytest.mark.parametrize("form", FORMS)
def test_no_form_runs_code_from_a_sweeps_file(door, stranger, form) -> None:
    selected = {"question": f"\\${{{CREATE}}}"} if form == "selected" else {}
    path = write(stranger, {"sweep": "evil"}, at("callbacks.convergence.metric", FORMS[form]), selected)
    nothing_ran(stranger, *door("sweep", str(path), "--dry-run")[::2])


@pytest.mark.parametrize("form", ["nested", "created", "escaped"])
@pytest.mark.parametrize("place", [*PLACES, *HYDRAS])
def test_no_place_of_a_sweeps_file_runs_code(door, stranger, place, form) -> None:
    path = write(stranger, {"sweep": "evil"}, at(place, FORMS[form]))
    nothing_ran(stranger, *door("sweep", str(path), "--dry-run")[::2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["train", "train -m", "plan", "circuit", "train --cfg job --resolve"])
def test_no_form_runs_code_from_the_command_line(door, stranger, words, form) -> None:
    value = FORMS[form]
    text = json.dumps(value).replace('"', "'") if not isinstance(value, str) else f"'{value}'".replace("\\", "\\\\")
    code, _, err = door(*words.split(), f"callbacks.convergence.metric={text}", f"question='\\${{{CREATE}}}'")
    assert not (stranger / "PWNED").exists()
    assert "Traceback" not in err
    assert code == 2 or "--cfg" in words, err


@pytest.mark.parametrize("form", FORMS)
def test_no_form_runs_code_from_a_run_folder_or_a_record(door, stranger, form) -> None:
    config = configs.compose_job(configs.composed(["trainer=smoke", "logger=none"])[0])
    config["callbacks"]["convergence"]["metric"] = FORMS[form]
    folder = stranger / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    record = {"identity": identity(config, "c"), "status": "interrupted", "config": config, "summary": {}}
    records.write_record(folder, record | {"sweep": "evil", "arm": "one", "seed": 0})
    code, _, err = door("train", f"resume={folder}")
    assert (code, (stranger / "PWNED").exists(), "Traceback" in err) == (2, False, False), err
    sweep = stranger / "evil"
    (sweep / "one").mkdir(parents=True)
    folder.rename(sweep / "one" / "seed-0")
    plan = {"sweep": "evil", "question": "?", "arms": ["one"], "seeds": [0], "families": {}}
    records.write_json(sweep / "sweep.json", plan)
    code, _, err = door("rerun", str(sweep), "one", "0")
    assert (code, (stranger / "PWNED").exists(), "Traceback" in err) == (2, False, False), err


class Pickled:
    def __reduce__(self):
        import os

        return os.mkdir, ("PWNED",)


def test_hydras_options_that_load_something_unchecked_are_refused(door, stranger) -> None:
    (stranger / "job.pickle").write_bytes(pickle.dumps(Pickled()))
    (stranger / "conf").mkdir()
    write(stranger / "conf", at("hydra.callbacks.x", {"_target_": "os.mkdir", "path": "PWNED"}))
    evil = ["--config-dir", str(stranger / "conf"), "--config-name", "evil"]
    for words in (
        ["--experimental-rerun", "job.pickle"],
        ["--experimental-rerun=job.pickle"],
        ["--config-path", str(stranger / "conf")],
        ["-cp", str(stranger / "conf")],
        evil,
        [*evil, "--help"],
        [*evil, "--hydra-help"],
        [*evil, "--cfg", "all"],
    ):
        code, _, err = door("train", *words)
        nothing_ran(stranger, code, err)


@pytest.mark.parametrize("option", [[], ["--help"], ["--hydra-help"], ["--cfg", "job"], ["--info"], ["-m"]])
def test_a_logging_config_cannot_run_code(door, stranger, option) -> None:
    handler = {"version": 1, "handlers": {"x": {"()": "os.mkdir", "path": "PWNED"}}}
    path = write(stranger, {"hydra": {"hydra_logging": handler, "job_logging": handler}})
    code, _, err = door("train", "--config-dir", str(path.parent), "--config-name", "evil", *option)
    nothing_ran(stranger, code, err)


@pytest.mark.parametrize("value", ["pkg://evil_package", "${oc.decode:'pkg:'}//evil_package"])
def test_a_search_path_cannot_import_a_package(door, stranger, monkeypatch, value) -> None:
    (stranger / "evil_package").mkdir()
    (stranger / "evil_package" / "__init__.py").write_text("import os\nos.mkdir('PWNED')\n")
    monkeypatch.syspath_prepend(stranger)
    path = write(stranger, {"hydra": {"searchpath": [value]}})
    code, _, err = door("train", "--config-dir", str(path.parent), "--config-name", "evil")
    nothing_ran(stranger, code, err)
    code, _, err = door("train", f"hydra.searchpath=['{value}']")
    nothing_ran(stranger, code, err)


@pytest.mark.parametrize("where", ["arms", "params"])
def test_an_arm_cannot_set_what_is_hydras_own(door, stranger, where) -> None:
    for key in ("hydra.job.env_set.PATH", "+hydra.callbacks.x._target_", "hydra.sweep.subdir", "hydra/launcher"):
        sweeper = {"arms": {"one": [f"{key}=x"]}} if where == "arms" else {"params": {key: "x"}}
        path = write(stranger, {"sweep": "evil", "hydra": {"sweeper": sweeper}})
        code, _, err = door("sweep", str(path), "--dry-run")
        nothing_ran(stranger, code, err)
        assert "Hydra's own settings" in err


@pytest.mark.parametrize("value", ["${oc.env:KEY}", "${oc.${oc.decode:env}:KEY}", "${oc.env:KEY,none}", "\\${oc.env:KEY}"])
def test_a_record_holds_no_value_of_the_environment(door, stranger, monkeypatch, value) -> None:
    monkeypatch.setenv("KEY", "a secret")
    for place in ("question", "data.path", "logger.notes", "hydra.sweeper.params.question"):
        path = write(stranger, {"sweep": "evil"}, at(place, value))
        code, _, err = door("sweep", str(path), "trainer=smoke", "logger=wandb")
        nothing_ran(stranger, code, err)
    code, _, err = door("train", "trainer=smoke", f"question='{value}'")
    nothing_ran(stranger, code, err)
    assert "SUPERPOSITIONAL_" in err or "interpolation of its own" in err
    assert "a secret" not in err
    kept = [path for path in stranger.rglob("*") if path.is_file() and b"a secret" in path.read_bytes()]
    assert not kept


@pytest.mark.parametrize("launcher", ["local", "basic"])
@pytest.mark.parametrize("way", ["a group's package", "a file's package"])
def test_an_arm_cannot_reach_hydras_node_by_a_group(door, stranger, launcher, way) -> None:
    """Hydra would set the variable before anything of the job is looked at, and so whose code may be run."""
    (stranger / "evil").mkdir()
    header = "" if way == "a group's package" else "# @package hydra.job.env_set\n"
    (stranger / "evil" / "env.yaml").write_text(f"{header}{configs.ALLOW}: os\n")
    choice = "+evil@hydra.job.env_set=env" if way == "a group's package" else "+evil=env"
    sweeper = {"arms": {"one": [choice, "++callbacks.x._target_=os.mkdir", "++callbacks.x.path=PWNED"]}}
    path = write(stranger, {"sweep": "evil", "hydra": {"sweeper": sweeper}})
    code, _, err = door("sweep", str(path), *([f"hydra/launcher={launcher}"] if launcher != "local" else []))
    nothing_ran(stranger, code, err)


def test_an_arm_cannot_leave_the_sweeps_folder(door, stranger) -> None:
    path = write(stranger, {"sweep": "evil", "hydra": {"sweeper": {"arms": {"one": ["sweep=elsewhere"]}}}})
    code, _, err = door("sweep", str(path), "trainer=smoke", "logger=none")
    nothing_ran(stranger, code, err)
    assert "hydra.sweep.dir is the whole sweep's, outputs/evil, got outputs/elsewhere of an arm" in err


def test_a_file_chooses_no_launcher_of_others_and_states_no_lines_of_shell(door, stranger) -> None:
    path = stranger / "evil.yaml"
    path.write_text("defaults:\n- train\n- override hydra/launcher: basic\n- _self_\nsweep: evil\n")
    code, _, err = door("sweep", str(path))
    nothing_ran(stranger, code, err)
    assert "hydra/launcher=basic must be chosen on the command line, not by a file" in err
    path.write_text(
        "defaults:\n- train\n- override hydra/launcher: slurm\n- _self_\nsweep: evil\n"
        "hydra:\n  launcher:\n    setup: [mkdir PWNED]\n"
    )
    code, _, err = door("sweep", str(path), "--dry-run")
    nothing_ran(stranger, code, err)
    assert "hydra.launcher.setup is run by a shell: give it on the command line, not in a file" in err


def test_what_a_search_left_reaches_nothing_of_hydras(door, stranger) -> None:
    best = {"trial": "trial-0000", "values": {"hydra.sweep.dir": "elsewhere", "hydra.sweep.subdir": "x"}}
    ledger = {"equal_budget": True, "tuning_seeds": [], "arms": {"one": {"best": "trial-0000", "trials": [best]}}}
    (stranger / "search").mkdir()
    records.write_json(stranger / "search" / "ledger.json", ledger)
    sweeper = {"arms": {"one": ["optimizer=adam"]}, "tuned": "search"}
    path = write(stranger, {"sweep": "evil", "hydra": {"sweeper": sweeper}})
    code, _, err = door("sweep", str(path), "trainer=smoke", "logger=none")
    nothing_ran(stranger, code, err)
