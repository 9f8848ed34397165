"""Is every mistake named at once, with value and cure, before anything is written?"""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from superpositional.places import ConfigError
from superpositional.training import config as configs

# Arguments of `superpositional train`, and a piece of each message they must bring, in any order and all at once.
BAD_INPUT = [
    (["sede=1"], ["sede is no setting; did you mean seed?"]),
    (["optimzer=adam"], ["optimzer is no setting; did you mean optimizer?"]),
    (["optimizer=adamm"], ["optimizer must be one of adam, adamw, circuit, placebo, sgd, superpositional, got 'adamm'"]),
    (
        ["optimizer=adamm", "trainer=slow"],
        ["got 'adamm'", "trainer must be one of default, fine_tuning, sharded, smoke, got 'slow'"],
    ),
    (
        ["optimizer.quantum_wieght=1"],
        ["optimizer.quantum_wieght is no argument of SuperpositionalAdamW; did you mean optimizer.quantum_weight?"],
    ),
    (["trainer.max_epoch=1"], ["trainer.max_epoch is no argument of Trainer; did you mean trainer.max_epochs?"]),
    (["data.lenght=1"], ["data.lenght is no argument of SyntheticSequences; did you mean data.length?"]),
    (["net.dropuot=1"], ["net.dropuot is no argument of SequenceTransformer; did you mean net.dropout?"]),
    (["task.classes=3"], ["task.classes is no argument of ClassificationTask; did you mean task.n_classes?"]),
    (["logger.projekt=x"], ["logger.projekt is no argument of WandbTracking; did you mean logger.project?"]),
    (["logger.mode=cloud"], ["logger: mode must be one of auto, online, offline, got 'cloud'; logger=none leaves W&B out"]),
    (["callbacks.convergence.targit=1"], ["callbacks.convergence.targit is no argument of Convergence"]),
    (["callbacks.konvergence.target=1"], ["callbacks.konvergence has no _target_, so nothing reads it"]),
    (["circuit.n_qubit=3"], ["circuit.n_qubit is no argument of Ansatz; did you mean circuit.n_qubits?"]),
    (["circuit.n_qubits=0"], ["circuit: n_qubits must be an integer >= 1, got 0; the paper has 4"]),
    (["circuit.n_qubits=100000"], ["n_qubits must be at most the number of scalars to optimize, 81092, got 100000"]),
    (
        ["optimizer=adam", "circuit.n_qubits=5"],
        [
            "circuit.n_qubits=5 has no effect: nothing chosen reads it; "
            "net/attention=quantum or optimizer=circuit or optimizer=superpositional would"
        ],
    ),
    # The sine has a width and no depth, and entanglement is named in no YAML file.
    (
        ["circuit.depth=3"],
        ["circuit.depth=3 has no effect: nothing chosen reads it; net/attention=quantum or optimizer=circuit"],
    ),
    (["circuit.entanglement=ring"], ["circuit.entanglement=ring has no effect: nothing chosen reads it; net/attention"]),
    (["optimizer=circuit", "circuit.depth=0"], ["circuit: depth must be an integer >= 1, got 0; the paper has 2"]),
    (["net/attention=quantum", "circuit.rotations=[rz]"], ["circuit: rotations must hold ry, which the input enters"]),
    (["optimizer=circuit", "circuit.rotations=ry"], ["circuit: rotations must be a list out of rx, ry, rz, got 'ry'"]),
    (["optimizer=circuit", "optimizer.n_qubits=3"], ["n_qubits must be that of the perturbation's circuit, got 3"]),
    (
        ["optimizer=circuit", "backend.method=fourier"],
        ["optimizer: backend.method=fourier takes one input for all qubits, got one for each; choose statevector"],
    ),
    (
        ["optimizer=circuit", "backend.method=closed_form"],
        ["optimizer: backend.method=closed_form serves depth=1 or entanglement=none, got depth=2 and entanglement=linear"],
    ),
    (["backend=shots"], ["backend=shots has no effect: nothing chosen runs a circuit; net/attention=quantum or optimizer"]),
    (
        ["net/attention=quantum", "backend=shots"],
        ["net: readout=amplitude cannot be measured, so backend=shots cannot give it; choose readout=probability or z"],
    ),
    (
        ["net/attention=twin", "net.attention.readout=z", "backend=shots"],
        ["backend must be exact with method auto, got shots: ClassicalTwin"],
    ),
    (
        ["optimizer=circuit", "backend=depolarizing", "backend.two_qubit=2", "backend.shots=0"],
        ["two_qubit must be a probability in [0, 1], got 2", "shots must be an integer >= 1 or None, got 0; None is exact"],
    ),
    (
        ["optimizer=circuit", "optimizer.perturbation.shots=9"],
        ["optimizer.perturbation.shots is no argument of CircuitPerturbation; did you mean backend=aer"],
    ),
    (
        ["optimizer=circuit", "circuit.n_qubits=45"],
        ["optimizer: n_qubits=45 needs 1.57e+6 GiB for the statevector of 1 circuit at depth=2, and "],
    ),
    (
        ["net/attention=quantum", "circuit.n_qubits=45"],
        ["net: n_qubits=45 needs 8.87e+9 GiB for the statevectors of 364 circuits at depth=2, and "],
    ),
    (
        ["net/attention=quantum", "net.attention.readout=w"],
        ["net: readout must be one of amplitude, amplitude_little_endian"],
    ),
    (
        ["net/attention=quantum", "backend.method=fast"],
        ["net: method must be one of auto, statevector, closed_form, fourier, qiskit, aer, got 'fast'"],
    ),
    (["net/attention=quantum", "net.attention.score=z"], ["net: score must be one of raw, scaled, got 'z'"]),
    (["net/attention=quantum", "net.attention.redout=z"], ["net.attention.redout is no argument of QuantumAttention"]),
    (
        ["net/attention=quantum", "net.attention.dropout=0.5"],
        ["net.attention.dropout is set by net, from its own settings"],
    ),
    (["net.attention.embed_dim=32"], ["net.attention.embed_dim is set by net, from its own settings; remove it"]),
    (
        ["net.attention.readout=z"],
        ["net.attention.readout is no argument of MultiheadAttention; did you mean net/attention=quantum net.attention."],
    ),
    (
        ["net.attention=quantum"],
        ["net: attention must make an attention layer, got 'quantum'; in a config, choose net/attention=q"],
    ),
    (["optimizer.perturbation=circuit"], ["got 'circuit'; in a config, choose optimizer=circuit"]),
    (["depth=3"], ["depth is no setting; did you mean circuit.depth?"]),
    (
        ["optimizer=superpositional", "shots=3"],
        ["shots is no setting; did you mean backend=aer backend.shots or backend"],
    ),
    (["readout=z"], ["readout is no setting; did you mean net/attention=quantum net.attention.readout?"]),
    (["logger.tags=[a]", "logger=none"], ["logger needs a _target_, got {'tags': ['a']}; choose logger=wandb or"]),
    (["zzz=3"], ["zzz is no setting; see superpositional train --help"]),
    (
        ["optimizer=adam", "optimizer.quantum_weight=1"],
        ["did you mean optimizer=superpositional optimizer.quantum_weight?"],
    ),
    (
        ["optimizer=circuit", "optimizer.perturbation.seed=${seed}"],
        ["must not follow the run's seed, got ${seed}; remove it"],
    ),
    (["callbacks.circuit.every_n_steps=abc"], ["every_n_steps must be an integer >= 1, got 'abc'"]),
    # The circuit's mistake hides none of those who read it.
    (
        [
            "optimizer=circuit",
            "optimizer.inject=x",
            "net/attention=quantum",
            "net.attention.score=x",
            "circuit.entanglement=all",
        ],
        ["circuit: entanglement must be one of", "net: score must be one of", "optimizer: inject must be one of"],
    ),
    (["net/attention=soft"], ["net/attention must be one of bias, frozen, quantum, softmax, twin, zero, got 'soft'"]),
    (["optimizer.quantum_weight=-1"], ["optimizer: quantum_weight must be a finite number >= 0, got -1; 0 recovers AdamW"]),
    (["optimizer.betas=[0.9,1.5]"], ["optimizer: betas must be two numbers in [0, 1), got [0.9, 1.5]"]),
    (["optimizer=adam", "optimizer.betas=[2,0.9]"], ["optimizer: Invalid beta parameter at index 0: 2"]),
    (["optimizer.lr=fast"], ["optimizer: lr must be a finite number >= 0, got 'fast'"]),
    (["optimizer=sgd", "optimizer.lr=abc"], ["optimizer.lr must be float or Tensor, got 'abc'"]),
    (["trainer.max_epochs=foo"], ["trainer.max_epochs must be int or null, got 'foo'"]),
    (["trainer.max_epochs=2.5"], ["trainer.max_epochs must be int or null, got 2.5"]),
    (["task.n_classes=3"], ["net.n_classes must be at least the data's, 4, got 3", "task.n_classes must be at least the"]),
    (["net.vocabulary_size=100"], ["net.vocabulary_size must be at least the data's, 200, got 100"]),
    (["data.length=abc"], ["data: length must be an integer >= 2, got 'abc'", "net: max_length must be an integer"]),
    (["callbacks.perturbation=3"], ["callbacks.perturbation has no _target_, so nothing reads it"]),
    (["question=3"], ["question must be a plain text, got 3"]),
    (["sweep=a/b"], ["sweep must be a plain text, got 'a/b'; sweep and arm name folders"]),
    (["optimizer.quantum_wieght=1", "optimizer.quantum_weight=-1"], ["quantum_wieght is no", "quantum_weight must be"]),
    (["-m", "resume=x"], ["resume takes up one run; a sweep goes on by being called again"]),
    (["+hydra.job.env_set.PATH=x"], ["hydra.job.env_set must stay empty, got ['PATH']; set variables in the shell"]),
    (["+hydra.callbacks.x._target_=os.system"], ["hydra.callbacks must stay empty, got ['x']"]),
    (["hydra/job_logging=default"], ["hydra/job_logging must stay none"]),
    (["seed=-1"], ["seed must be an integer >= 0, got -1; 0 is a seed"]),
    (["seed=null"], ["seed must be an integer >= 0, got None; 0 is a seed"]),
    (["seed=true"], ["seed must be an integer >= 0, got True; 0 is a seed"]),
    (["threads=0"], ["threads must be an integer >= 1, got 0"]),
    (["data.seed=3"], ["data.seed is set by the run itself; remove it"]),
    (["trainer.callbacks=[]"], ["trainer.callbacks is set by the run itself; remove it"]),
    (["data.length=1"], ["data: length must be an integer >= 2, got 1"]),
    (["trainer.accelerator=abacus"], ["trainer: You selected an invalid accelerator name"]),
    (["hydra.run.dri=x"], ["dri"]),
    (["optimizer.lr=["], ["'optimizer.lr=[' is no override"]),
    # Hydra's words for taking away or replacing what a run is made of.
    *((["~" + key], [f"{key} must stay in the config, got ~{key}; leave"]) for key in ("trainer", "optimizer", "data")),
    *((["~" + key], [f"{key} must stay in the config, got ~{key}; leave"]) for key in ("task", "net", "circuit", "claims")),
    (["~callbacks", "~backend"], ["callbacks must stay in the config", "backend must stay in the config"]),
    (["~seed"], ["seed must be an integer >= 0, got None", "seed must stay in the config, got ~seed"]),
    (["hydra=null"], ["hydra must be one of config, got 'None'"]),
    (["hydra/sweeper=null"], ["hydra/sweeper must be one of arms, basic, got 'None'"]),
    (["hydra/launcher=null"], ["hydra/launcher must be one of basic, local, slurm, got 'None'"]),
    (["hydra.run.dir=/dev/null"], ["Not a directory: '/dev/null'"]),
    (["hydra.sweep.subdir=x"], ["hydra.sweep.subdir must stay ${arm}/seed-${seed}, got 'x'"]),
    # Sweeps whose runs cannot be listed, or are too many to.
    (["-m", "seed=interval(0,1)"], ["seed=interval(0,1) has no values to enumerate; write KEY=A,B,C or range(..)"]),
    (["-m", "seed=glob(*)"], ["seed=glob(*) must stand for 1 to 10,000 values, got 0; sweep fewer"]),
    (["-m", "optimizer=glob(x*)"], ["optimizer=glob(x*) must stand for 1 to 10,000 values, got 0"]),
    (["-m", "seed=range(0,1,0)"], ["seed=range(0,1,0) must stand for 1 to 10,000 values, got 0"]),
    (["-m", "seed=range(100000000)"], ["seed=range(100000000) must stand for 1 to 10,000 values, got 100,000,000"]),
    (["-m", "trainer=range(100000000)"], ["trainer=range(100000000) must stand for 1 to 10,000 values, got 100,000,000"]),
    # Integers that torch cannot hold.
    *(
        ([f"{key}={10**26}"], [f"{key} must be an integer of 64 bits, got {10**26}"])
        for key in ("task.n_classes", "data.length")
    ),
    *(
        ([f"{key}={10**26}"], [f"{key} must be an integer of 64 bits, got {10**26}"])
        for key in ("circuit.n_qubits", "net.num_heads")
    ),
    *(
        ([f"{key}={10**26}"], [f"{key} must be an integer of 64 bits, got {10**26}"])
        for key in ("trainer.max_epochs", "data.n_train")
    ),
    (["task.n_classes=100000000000"], ["net must fit into memory, "]),
    (["threads=2000"], ["threads must be at most 1024, got 2000"]),
    # What would have no effect, or none but a run without a result.
    (["optimizer._convert_=zzz"], ["optimizer._convert_ is not a setting, got 'zzz'; write arguments by their names"]),
    (
        ["optimizer._recursive_=false", "net._args_=[1]"],
        ["optimizer._recursive_ is not a", "net._args_ is not a setting, got [1]"],
    ),
    (["optimizer._partial_=zzz"], ["optimizer._partial_ must be true or false, got 'zzz'"]),
    (["optimizer.fused=abc"], ["optimizer.fused must be bool or null, got 'abc'"]),
    (["optimizer=sgd", "optimizer.momentum=nan"], ["optimizer.momentum must be a finite number, got nan"]),
    (["trainer.deterministic=abc"], ["trainer.deterministic must be bool or null or 'warn', got 'abc'"]),
    (["trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val must be a finite number >= 0, got -1"]),
    (["trainer.gradient_clip_val=nan"], ["trainer.gradient_clip_val must be a finite number, got nan"]),
    *(
        ([f"trainer.limit_{name}_batches=0"], [f"trainer.limit_{name}_batches must be a finite number > 0, got 0"])
        for name in ("train", "val", "test")
    ),
    (["trainer.max_epochs=0"], ["trainer.max_epochs must be a finite number > 0, got 0"]),
    (["trainer.max_epochs=-1"], ["trainer.max_epochs must have an end, got -1; give a number, max_steps or max_time"]),
    (
        ["trainer.max_steps=0", "trainer.min_epochs=-2"],
        ["trainer.max_steps must be a finite", "trainer.min_epochs must be a"],
    ),
    (["trainer.check_val_every_n_epoch=0"], ["trainer.check_val_every_n_epoch must be a finite number > 0, got 0"]),
    (["trainer.fast_dev_run=true"], ["trainer.fast_dev_run must be false, got True: it records nothing"]),
    (
        ["trainer=sharded", "trainer.devices=1", "trainer.strategy.save_distributed_checkpoint=true"],
        ["trainer.strategy.save_distributed_checkpoint must be false, got True: no run resumes from"],
    ),
    (
        ["logger=none", "+logger._target_=lightning.pytorch.loggers.CSVLogger", "+logger.save_dir=x"],
        ["logger: _target_ lightning.pytorch.loggers.CSVLogger is not a tracker as superpositional.tracking.run."],
    ),
    (["--muiltirun"], ["--muiltirun is not an option"]),
    (["--config-dir", "nowhere"], ["--config-dir must be a folder, got 'nowhere'"]),
    (["--config-name", "nothing"], ["nothing"]),
    (["resume=nowhere"], ["resume must be a run's folder with checkpoints/last.ckpt in it, got 'nowhere'"]),
    (
        ["sede=1", "seed=-1", "net.dropout=3", "optimizer.quantum_weight=-1", "data.lenght=1", "circuit.n_qubits=0"],
        ["sede is no", "seed must", "net: dropout must", "quantum_weight must", "data.lenght is no", "n_qubits must"],
    ),
]


@pytest.mark.parametrize(("arguments", "messages"), BAD_INPUT, ids=lambda value: " ".join(value)[:60])
def test_bad_input_is_refused_before_anything_is_written(door, workplace, arguments, messages) -> None:
    code, out, err = door("train", *arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert [message for message in messages if message not in err] == []
    assert len(err.splitlines()) == 1 + len(messages)
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("module", ["superpositional train"])
def test_both_doors_refuse_alike(module: str, tmp_path: Path) -> None:
    door, *command = module.split()
    ran = subprocess.run(
        [sys.executable, "-m", door, *command, "sede=1", "optimizer.quantum_weight=-1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(configs.directory("conf").parent / "src")},
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == (
        "superpositional: 2 mistakes, nothing was run\n"
        "  - sede is no setting; did you mean seed?\n"
        "  - optimizer: quantum_weight must be a finite number >= 0, got -1; 0 recovers AdamW\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "superpositional.records.subprocess.run",
        "superpositional.records.os.system",
        "superpositional.cli.main",
        "torch.hub.load",
        "torch.load",
        "torch",
        "torch.os.system",
        "hydra.utils.call",
        "torchevil.Adam",
        "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler.SubprocessHandler",
        "lightning.pytorch.cli.LightningCLI",
    ],
)
def test_a_config_cannot_name_code_to_run(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(configs.ALLOW, raising=False)
    for role in ("net", "optimizer", "data", "task", "trainer", "logger", "callbacks.x", "task.lr_schedule"):
        with pytest.raises(ConfigError):
            configs.locate(target, role)


@pytest.mark.parametrize(
    ("target", "role"),
    [
        ("torch.nn.Linear", "net"),
        ("torch.optim.SGD", "optimizer"),
        ("superpositional.SuperpositionalAdamW", "optimizer"),
        ("superpositional.tasks.classification.data.SyntheticSequences", "data"),
        ("superpositional.optim.schedules.WarmupDecay", "task.lr_schedule"),
        ("lightning.pytorch.callbacks.ModelCheckpoint", "callbacks.checkpoint"),
        ("lightning.pytorch.Trainer", "trainer"),
        ("superpositional.tracking.run.WandbTracking", "logger"),
    ],
)
def test_each_group_takes_classes_of_its_kind_alone(target: str, role: str) -> None:
    assert configs.locate(target, role).__name__ == target.split(".")[-1]
    for other in {"net", "optimizer", "data", "trainer", "callbacks.x"} - {role, role.split(".")[0] + ".x"}:
        with pytest.raises(ConfigError, match=r"may not be built here, which takes a"):
            configs.locate(target, other)


def test_a_nested_target_is_held_to_the_list_too(door, workplace) -> None:
    code, _, err = door("train", "task.lr_schedule={_target_:os.system,command:id}")
    assert code == 2
    assert "_target_ os.system is outside superpositional, torch, lightning, torchmetrics; if you trust it, set" in err


def test_arguments_no_yaml_file_states_can_be_set_without_a_plus(door, workplace) -> None:
    code, _, _ = door("train", "trainer=smoke", "logger=none", "optimizer.betas=[0.5,0.6]", "optimizer.scope=tensor")
    assert code == 0
    (config,) = workplace.glob("outputs/train/*/*/config.yaml")
    assert "scope: tensor" in config.read_text()


@pytest.mark.parametrize("override", ["optimizer._target_=my.Foo", "seed=0,1", "data.length=${oc.env:NOPE}"])
def test_help_is_there_or_refused_whatever_is_chosen(door, override: str) -> None:
    code, out, err = door("train", "--help", override)
    assert "Traceback" not in err
    assert code in (0, 2)
    assert "Choose one of each group" in out


def test_a_net_of_ones_own_may_set_its_own_attention(door, workplace, monkeypatch) -> None:
    (workplace / "my_attn.py").write_text(
        "import torch\n"
        "class Attention(torch.nn.Module):\n"
        "    def __init__(self, width=3):\n        super().__init__()\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, attention):\n        super().__init__()\n        self.embed = torch.nn.Embedding(200, 4)\n"
        "    def forward(self, tokens):\n        return self.embed(tokens).mean(1)\n"
    )
    (workplace / "mine" / "net").mkdir(parents=True)
    (workplace / "mine" / "net" / "own.yaml").write_text(
        "_target_: my_attn.Net\n_partial_: true\nattention:\n  _target_: my_attn.Attention\n  width: 5\n"
    )
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.setenv("SUPERPOSITIONAL_ALLOW", "my_attn")
    code, _, err = door("train", "--config-dir", "mine", "net=own", "trainer=smoke", "logger=none", "optimizer=adam")
    assert code == 0, err


def test_help_lists_groups_settings_and_examples(door) -> None:
    code, out, _ = door("train", "--help")
    assert code == 0
    assert "optimizer: adam, adamw, circuit, placebo, sgd, superpositional" in out
    # What no file states comes from the constructors, of whatever is chosen.
    assert "bias_correction=True" in out
    assert "reupload=True" in out
    code, other, _ = door("train", "--help", "optimizer=sgd", "net/attention=quantum")
    assert code == 0
    assert "nesterov=False" in other
    assert "method='auto'" in other
    assert "bias_correction" not in other
    assert "quantum_weight: 0.5" in out
    assert "superpositional train -m optimizer=adam,superpositional seed=0,1" in out


def test_conf_and_sweeps_are_found_from_the_file_that_asks() -> None:
    assert (configs.directory("conf") / "train.yaml").is_file()
    assert (configs.directory("sweeps") / "smoke.yaml").is_file()
    with pytest.raises(FileNotFoundError, match="no nothing/ beside"):
        configs.directory("nothing")


FILES = [*configs.directory("conf").rglob("*.yaml"), *configs.directory("sweeps").glob("*.yaml")]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.stem)
def test_every_yaml_file_says_on_its_first_line_when_to_use_it(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("PYTHONIOENCODING=ascii", ""),
        ("", "| true"),
        ("", "| head -1"),
        ("", ">&-"),
        ("", ">&- 2>&- <&-"),
        ("", "> /dev/full"),
    ],
)
def test_an_output_without_an_encoding_a_reader_or_room_ends_no_command(tmp_path, environment, words) -> None:
    command = f"{sys.executable} -m superpositional train --cfg job question=\\'λ\\'"
    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {environment} {command} {words}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(configs.directory("conf").parent / "src")},
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr == "" or words == "> /dev/full"
    assert len(ran.stderr.splitlines()) <= 1
    assert words != "" or "question: \\u03bb" in ran.stdout


OUT = [
    "circuit --out OUT",
    "plan --out OUT",
    "report SWEEP --out OUT",
    "dashboard SWEEP --out OUT",
]


@pytest.mark.parametrize("command", [*OUT, "train hydra.run.dir=OUT", "sweep smoke hydra.sweep.dir=OUT"])
@pytest.mark.parametrize("out", ["file", "file/below", "/dev/null", "/proc/folder", "full"])
def test_where_nothing_can_be_written_is_told_before_anything_starts(door, workplace, monkeypatch, command, out) -> None:
    (workplace / "file").write_text("kept")
    if out == "full":

        def full(**_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("superpositional.places.tempfile.TemporaryFile", full)
    code, _, err = door(*command.replace("OUT", out).split())
    assert code == 2
    assert out in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2
    assert [path.name for path in workplace.rglob("*")] == ["file"]
    assert (workplace / "file").read_text() == "kept"


def test_a_disk_that_is_full_in_the_middle_ends_a_command_in_one_line(door, workplace, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "report/index.html")

    monkeypatch.setattr("superpositional.report.write.write_report", full)
    (workplace / "sweep").mkdir()
    code, out, err = door("report", "sweep")
    assert (code, out) == (2, "")
    assert err.startswith("superpositional: report/index.html: No space left on device; give a folder that can be written")
    monkeypatch.setattr("superpositional.training.train.run", full)
    code, _, err = door("train", "trainer=smoke", "logger=none")
    assert code == 2
    assert err.startswith("superpositional: report/index.html: No space left on device")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["record.json", "running.json", "lock", "config.yaml"])
def test_a_fifo_in_the_place_of_a_file_is_refused_and_not_waited_for(door, workplace, name) -> None:
    (workplace / "checkpoints").mkdir()
    (workplace / "checkpoints" / "last.ckpt").write_bytes(b"")
    (workplace / "config.yaml").write_text("seed: 0\n")
    (workplace / name).unlink(missing_ok=True)
    os.mkfifo(workplace / name)
    code, _, err = door("train", "resume=.")
    assert code == 2
    assert "a regular file" in err or name == "config.yaml"
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize("content", ["{}", "[]", "3", "null", '{"identity": "x"}', "{", "[" * 100000])
def test_json_of_another_shape_is_named_with_its_cure(door, workplace, content) -> None:
    (workplace / "checkpoints").mkdir()
    (workplace / "checkpoints" / "last.ckpt").write_bytes(b"")
    (workplace / "config.yaml").write_text("seed: 0\n")
    (workplace / "record.json").write_text(content)
    code, _, err = door("train", "resume=.")
    assert code == 2
    assert "record.json is damaged" in err
    assert len(err.splitlines()) == 2


def test_what_a_search_left_is_looked_at_before_it_chooses(door, workplace) -> None:
    (workplace / "f.yaml").write_text("defaults: [train, _self_]\nhydra: {sweeper: {arms: {a: []}, tuned: .}}\n")
    for content in ("[]", "{}", "x", '{"arms": 3}'):
        (workplace / "ledger.json").write_text(content)
        code, _, err = door("sweep", "f.yaml", "--dry-run")
        assert code == 2
        assert "hydra.sweeper.tuned: ledger.json is damaged" in err
        assert len(err.splitlines()) == 2
