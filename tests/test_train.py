"""Does a run end as it says, and do all arms of a seed start from the same place?"""

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import heed_ctrl_c, wait_for
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback, Trainer
from omegaconf import OmegaConf
from torch import nn

from superpositional import records
from superpositional.circuits.kernels import build
from superpositional.records import CHECKPOINTS
from superpositional.records.identity import identity
from superpositional.training import config as configs
from superpositional.training.train import run

# Of the curves, what a clock says or the machine.
CLOCKS = ("time/", "throughput/", "memory/")
# Two epochs of three batches, validated and tested on little.
SMALL = [
    "logger=none",
    "trainer.accelerator=cpu",
    "++trainer.max_epochs=2",
    "++data.n_train=90",
    "++data.n_validation=50",
    "++data.n_test=50",
]


def composed(*overrides: str) -> dict[str, Any]:
    """A resolved config, by Hydra's own compose."""
    with initialize_config_dir(str(configs.directory("conf")), version_base="1.3"):
        return configs.compose_job(compose("train", [*SMALL, *overrides]))


def arms_of_the_paper() -> Iterator[tuple[str, list[str]]]:
    sweeper = OmegaConf.load(configs.directory("sweeps") / "paper_classification.yaml").hydra.sweeper
    for name, overrides in sweeper.arms.items():
        yield name, [f"++{text}" if "." in text.split("=")[0] else text for text in overrides]
    yield "sgd", ["optimizer=sgd"]
    yield "adamw", ["optimizer=adamw"]


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / CHECKPOINTS[0], weights_only=True)["state_dict"]


def curves(folder: Path) -> list[str]:
    """All rows but the clocks', in the order of step and metric: how often one is flushed does not matter."""
    rows = (folder / "curves.csv").read_text().splitlines()
    return sorted(row for row in rows if not row.split(",")[1].startswith(CLOCKS))


class Witness(Callback):
    """Takes down what a run is given: first weights, every batch, the dice before each forward pass, dropout masks."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.batches: list[torch.Tensor] = []
        self.dice: list[torch.Tensor] = []
        self.masks: list[torch.Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.weights = [parameter.detach().clone() for parameter in pl_module.net.parameters()]
        pl_module.net.register_forward_pre_hook(self.before)
        for module in pl_module.net.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(self.after_dropout)

    def before(self, net: nn.Module, inputs: tuple) -> None:
        if net.training:
            # What the dice will show; the state itself carries leftovers that no draw reads.
            dice = torch.Generator()
            dice.set_state(torch.get_rng_state())
            self.dice.append(torch.rand(1000, generator=dice))

    def after_dropout(self, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if module.training:
            # Where an input is 0 (after ReLU), the output does not tell; the weights decide which those are.
            self.masks.append(torch.where(inputs[0] == 0, torch.nan, (output != 0).float()))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batches += [part.clone() for part in batch]


def with_callback(parts: configs.Parts, callback: Callback) -> configs.Parts:
    return dataclasses.replace(parts, callbacks={**parts.callbacks, "probe": callback})


def witnessed(overrides: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Witness:
    witness = Witness()
    build = configs.build

    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), witness))
    record = run(composed(*overrides, "seed=3"), folder)
    monkeypatch.setattr(configs, "build", build)
    assert record["status"] == "done", record["error"]
    return witness


def test_every_arm_of_a_seed_sees_the_same_weights_batches_and_dropout_masks(tmp_path, monkeypatch) -> None:
    seen = {name: witnessed(arm, tmp_path / name, monkeypatch) for name, arm in arms_of_the_paper()}
    assert set(seen) == {"adam", "quantum_moments", "lambda_0.1", "lambda_0.5", "placebo", "sgd", "adamw"}
    first = seen["adam"]
    assert len(first.batches) == 2 * 6
    assert len(first.dice) == 6
    assert len(first.masks) == 6 * 2 * 3
    for other in seen.values():
        for mine, theirs in ((first.weights, other.weights), (first.batches, other.batches), (first.dice, other.dice)):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        for a, b in zip(first.masks, other.masks, strict=True):
            known = ~(a.isnan() | b.isnan())
            assert known.float().mean() > 0.2
            assert torch.equal(a[known], b[known])
    # The arms do differ by the end, or this test would compare an arm with itself.
    ends = [final_weights(tmp_path / name)["net.embedding.weight"] for name in seen]
    assert sum(torch.equal(ends[0], end) for end in ends) == 1


def test_an_optimizer_that_draws_random_numbers_shifts_nothing(tmp_path, monkeypatch) -> None:
    class Gambler(torch.optim.Adam):
        __module__ = torch.optim.Adam.__module__

        def step(self, closure=None):
            torch.rand(17)
            return super().step(closure)

    plain = witnessed(["optimizer=adam"], tmp_path / "plain", monkeypatch)
    monkeypatch.setattr(torch.optim, "Adam", Gambler)
    gambler = witnessed(["optimizer=adam"], tmp_path / "gambler", monkeypatch)
    assert all(torch.equal(a, b) for a, b in zip(plain.batches, gambler.batches, strict=True))
    assert [torch.equal(a, b) for a, b in zip(plain.dice, gambler.dice, strict=True)] == [True] * 6
    assert curves(tmp_path / "plain") == curves(tmp_path / "gambler")


def test_two_identical_runs_are_equal_bit_for_bit_and_seed_0_is_a_seed(tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(composed(f"seed={seed}"), tmp_path / name)
    a, b, c = (final_weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert curves(tmp_path / "a") == curves(tmp_path / "b")
    assert not torch.equal(a["net.head.weight"], c["net.head.weight"])
    assert records.read_record(tmp_path / "a")["seeds"] != records.read_record(tmp_path / "c")["seeds"]


class Stop(Callback):
    """Ctrl-C in the middle of an epoch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt


class Kill(Callback):
    """A power cut in the middle of an epoch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 2 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(config: dict[str, Any], folder: Path) -> None:
    build = configs.build
    configs.build = lambda config: with_callback(build(config), Kill())
    run(config, folder)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=superpositional"],
        ["optimizer=superpositional", "++optimizer.scope=tensor", "++optimizer.bias_correction=false"],
        [
            "++task.quantum_weight_schedule={_target_:superpositional.optim.schedules.WarmupDecay,warmup_steps:4}",
            "++task.lr_schedule={_target_:superpositional.optim.schedules.WarmupDecay,total_steps:20}",
        ],
        ["optimizer=placebo"],
        ["optimizer=superpositional", "++optimizer.perturbation=random_sign", "++optimizer.scope=all"],
        [
            "optimizer=superpositional",
            "++optimizer.perturbation=shuffled",
            "callbacks=traced",
            "++callbacks.tracer.every_n_steps=7",
        ],
    ],
    ids=["default", "tensor", "schedules", "placebo", "random_sign", "shuffled, traced"],
)
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, monkeypatch, overrides) -> None:
    config = composed(*overrides, "++trainer.max_epochs=4")
    whole = run(config, tmp_path / "whole")
    build = configs.build

    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    stopped = run(config, tmp_path / "stopped")
    monkeypatch.setattr(configs, "build", build)
    assert stopped["status"] == "interrupted"
    assert "test/accuracy" not in stopped["summary"]
    resumed = run(config, tmp_path / "stopped", resume=True)
    assert resumed["status"] == "done"
    assert resumed["sessions"] == 2
    assert resumed["batches"] == whole["batches"]
    assert resumed["started"] == stopped["started"]
    assert resumed["fit_seconds"] > stopped["fit_seconds"]
    a, b = final_weights(tmp_path / "whole"), final_weights(tmp_path / "stopped")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert curves(tmp_path / "whole") == curves(tmp_path / "stopped")
    clocks = (*CLOCKS, "convergence/seconds_to_target", "convergence/seconds_per_epoch")
    assert {k: v for k, v in resumed["summary"].items() if not k.startswith(clocks)} == {
        k: v for k, v in whole["summary"].items() if not k.startswith(clocks)
    }


def test_a_killed_run_resumes_and_says_that_its_time_is_unknown(tmp_path) -> None:
    config = composed("++trainer.max_epochs=4")
    run(config, tmp_path / "whole")
    worker = multiprocessing.get_context("spawn").Process(target=run_and_die, args=(config, tmp_path / "killed"))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert records.read_record(tmp_path / "killed") is None
    resumed = run(config, tmp_path / "killed", resume=True)
    assert (resumed["status"], resumed["sessions"], resumed["wall_seconds"]) == ("done", 2, None)
    a, b = final_weights(tmp_path / "whole"), final_weights(tmp_path / "killed")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert curves(tmp_path / "whole") == curves(tmp_path / "killed")


def test_resume_by_its_door_takes_the_folder_and_nothing_else(door, workplace, monkeypatch) -> None:
    folder = workplace / "run"
    config = composed("++trainer.max_epochs=4")
    build = configs.build

    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Stop()))
    run(config, folder)
    monkeypatch.setattr(configs, "build", build)
    code, _, err = door("train", f"resume={folder}", "seed=1")
    assert (code, "resume takes up the run's own config; drop all but" in err) == (2, True)
    code, _, err = door("train", f"resume={folder}")
    assert code == 0, err
    assert records.read_record(folder)["status"] == "done"
    assert not (workplace / "outputs").exists()
    code, _, err = door("train", f"resume={folder}")
    assert (code, "that run is done" in err) == (2, True)


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(door, workplace) -> None:
    code, out, _ = door("train", *SMALL, "optimizer=sgd", "optimizer.lr=1e30")
    assert code == 1
    assert "diverged" in out
    (folder,) = workplace.glob("outputs/train/*/*")
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "diverged"
    assert record["error"] == "train/loss is nan at step 2"
    # What was measured stays; what was not is missing, not zero.
    assert records.read_curves(folder / "curves.csv")["train/loss"][0].tolist() == [1, 2, 3]
    assert "test/accuracy" not in record["summary"]
    assert record["summary"]["convergence/target"] == 0.9


def test_a_run_that_raises_is_recorded_as_failed_with_its_traceback(tmp_path, monkeypatch) -> None:
    class Broken(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise ArithmeticError("the abacus broke")

    build = configs.build
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), Broken()))
    record = run(composed(), tmp_path)
    assert (record["status"], record["error"]) == ("failed", "ArithmeticError: the abacus broke")
    assert "in on_train_batch_end" in (tmp_path / "error.txt").read_text()
    assert records.read_curves(tmp_path / "curves.csv")["train/loss"][0].tolist() == [1]


def test_a_folder_that_holds_a_run_takes_no_other(door, workplace) -> None:
    arguments = ("train", *SMALL, "++trainer.max_epochs=1", "hydra.run.dir=mine")
    assert door(*arguments, "seed=1")[0] == 0
    before = (workplace / "mine" / "record.json").read_bytes()
    code, _, err = door(*arguments, "seed=2")
    assert (code, "hydra.run.dir holds a run already: mine; choose another, or resume it" in err) == (2, True)
    assert (workplace / "mine" / "record.json").read_bytes() == before


@pytest.mark.filterwarnings("ignore:no scalar in scope had a gradient")  # the optimizer's own, at the first step
def test_a_term_that_never_meets_a_gradient_is_a_warning_in_the_record(tmp_path, monkeypatch) -> None:
    build = configs.build

    def frozen(config: dict[str, Any]) -> configs.Parts:
        parts = build(config)
        parts.task.net.embedding.weight.requires_grad_(False)
        return parts

    monkeypatch.setattr(configs, "build", frozen)
    record = run(composed(), tmp_path)
    assert record["status"] == "done"
    (warning,) = record["warnings"]
    assert "the quantum term never met a gradient: net.embedding.weight[0,0:4] had none in 6 steps" in warning


def test_accumulated_batches_make_one_step(tmp_path) -> None:
    schedule = "{_target_:superpositional.optim.schedules.WarmupDecay,warmup_steps:100}"
    config = composed("++trainer.accumulate_grad_batches=3", f"++task.quantum_weight_schedule={schedule}")
    record = run(config, tmp_path)
    assert (record["steps"], record["steps_per_epoch"], record["summary"]["perturbation/steps"]) == (2, 1, 1)
    # At the first of the two steps the weight is still 0; after both it has moved twice, not six times.
    (group,) = torch.load(tmp_path / CHECKPOINTS[0], weights_only=True)["optimizer_states"][0]["param_groups"]
    assert group["quantum_weight"] == 0.5 * 2 / 100


def test_the_record_holds_what_the_contract_names(tmp_path) -> None:
    config = composed("seed=5")
    run(config, tmp_path)
    record = records.read_record(tmp_path)
    assert record["status"] == "done"
    assert record["identity"] == identity(config, configs.code(config).version)
    assert set(record["seeds"]) == {"init", "data", "order", "dropout", "circuit"}
    assert {"python", "torch", "lightning", "qiskit"} <= set(record["versions"])
    assert set(record["git"]) == {"commit", "dirty"}
    assert record["wall_seconds"] > record["fit_seconds"] > 0
    assert record["peak_memory_bytes"] > 50e6  # torch alone takes more
    assert (record["steps"], record["steps_per_epoch"]) == (6, 3)
    assert record["touched"] == ["net.embedding.weight[0,0:4]"]
    assert record["summary"]["perturbation/steps_with_gradient"] == 6
    assert 0 <= record["summary"]["test/accuracy"] <= 1
    assert record["warnings"] == []
    assert record["sessions"] == 1
    assert record["device"].startswith("cpu ")
    assert record["kernels"] == build.told()
    assert not (tmp_path / "running.json").exists()
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml")) == config


def test_steps_leave_nothing_queued_for_a_device_that_is_not_used(tmp_path) -> None:
    # torch.manual_seed would leave a call with its traceback for each kind of device, at every step.
    queued = len(torch.cuda._queued_calls)
    run(composed(), tmp_path)
    assert len(torch.cuda._queued_calls) == queued


def test_checkpoints_hold_plain_values_only(tmp_path) -> None:
    run(composed(), tmp_path)
    checkpoint = torch.load(tmp_path / CHECKPOINTS[0], weights_only=True)
    assert checkpoint["global_step"] == 6


def test_the_config_key_schedule_reaches_the_optimizer(tmp_path) -> None:
    schedule = "{_target_:superpositional.optim.schedules.WarmupDecay,total_steps:6}"
    run(composed(f"++task.quantum_weight_schedule={schedule}", "++optimizer.quantum_weight=0.6"), tmp_path)
    (state,) = torch.load(tmp_path / CHECKPOINTS[0], weights_only=True)["optimizer_states"]
    assert state["param_groups"][0]["quantum_weight"] == 0
    assert state["state"][0]["step"] == 6


def stopped_at(folder: Path, monkeypatch, callback: Callback, **changes: Any) -> dict[str, Any]:
    """A run of four epochs that this callback ends; its config."""
    config = composed("++trainer.max_epochs=4") | changes
    build = configs.build
    monkeypatch.setattr(configs, "build", lambda config: with_callback(build(config), callback))
    assert run(config, folder)["status"] == "interrupted"
    monkeypatch.setattr(configs, "build", build)
    return config


@pytest.mark.parametrize("kept", [0, 1, 100, 5_000, 50_000, -1000, -1])
def test_a_torn_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, monkeypatch, capsys, kept) -> None:
    """Torn anywhere: early, torch raises another error than late."""
    config = stopped_at(tmp_path, monkeypatch, Stop())
    last, previous = (tmp_path / name for name in CHECKPOINTS)
    last.write_bytes(last.read_bytes()[:kept])
    record = run(config, tmp_path, resume=True)
    assert (record["status"], record["sessions"]) == ("done", 2)
    assert (
        f"{last} cannot be read and is now last.ckpt.broken; the run goes on from {previous.name}"
        in capsys.readouterr().out
    )
    whole = run(config, tmp_path / "whole")
    assert curves(tmp_path) == curves(tmp_path / "whole")
    assert record["summary"]["test/loss"] == whole["summary"]["test/loss"]


class StopInTest(Callback):
    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        raise KeyboardInterrupt


def test_a_resumed_run_with_nothing_left_to_train_has_all_that_an_undisturbed_one_has(tmp_path, monkeypatch) -> None:
    config = stopped_at(tmp_path / "run", monkeypatch, StopInTest())
    resumed, whole = run(config, tmp_path / "run", resume=True), run(config, tmp_path / "whole")
    assert resumed["status"] == "done"
    assert resumed["skipped_steps"] == whole["skipped_steps"] == 0
    assert set(resumed) == set(whole)
    assert curves(tmp_path / "run") == curves(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["missing", "empty", "edited"])
def test_curves_that_are_not_those_of_the_record_are_told_before_a_run_is_resumed(
    door, workplace, monkeypatch, damage
) -> None:
    folder = workplace / "run"
    stopped_at(folder, monkeypatch, Stop())
    path = folder / "curves.csv"
    text = path.read_text()
    path.unlink() if damage == "missing" else path.write_text("" if damage == "empty" else text.replace("1", "2", 1))
    code, _, err = door("train", f"resume={folder}")
    assert code == 2
    assert "curves.csv is not what its record was written with" in err
    path.write_text(text)
    assert door("train", f"resume={folder}")[0] == 0


@pytest.mark.parametrize("kept", [None, 0, 3])
def test_a_killed_run_whose_curves_are_lost_starts_anew_and_says_so(tmp_path, capsys, kept) -> None:
    config = composed("++trainer.max_epochs=4")
    worker = multiprocessing.get_context("spawn").Process(target=run_and_die, args=(config, tmp_path / "killed"))
    worker.start()
    worker.join()
    path = tmp_path / "killed" / "curves.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.unlink() if kept is None else path.write_text("".join(lines[:kept]))
    assert run(config, tmp_path / "killed", resume=True)["status"] == "done"
    assert "so the run starts from nothing; " in capsys.readouterr().out
    (aside,) = (tmp_path / "killed").glob("without-curves-*")
    assert (aside / "last.ckpt").is_file()
    run(config, tmp_path / "whole")
    assert curves(tmp_path / "killed") == curves(tmp_path / "whole")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_as_interrupted_and_it_can_be_resumed(door, workplace, sent, code) -> None:
    words = ["logger=none", "hydra.run.dir=run", "++trainer.max_epochs=1000", "data.n_train=200"]
    command = [sys.executable, "-m", "superpositional", "train", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=heed_ctrl_c
    )
    assert wait_for(lambda: records.has_checkpoint(workplace / "run"), process)
    process.send_signal(sent)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    record = records.read_record(workplace / "run")
    assert (record["status"], record["error"]) == ("interrupted", HOW)
    assert f"interrupted in {record['wall_seconds']:.1f} s: {HOW}" in out


HOW = "`superpositional train resume=<this folder>` goes on if there is a checkpoint"
