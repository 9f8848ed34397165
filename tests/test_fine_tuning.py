"""Is a language model taught what it should be, and does a killed run end as one that never was?"""

import json
import math
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn.functional import cross_entropy

from superpositional import records
from superpositional.tasks.gsm8k import hub, task
from superpositional.tasks.gsm8k.chat import Chat
from superpositional.tasks.gsm8k.net import CausalLM
from superpositional.training import config as configs
from superpositional.training.run import run

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
# Of the curves, what a clock says or the machine.
CLOCKS = ("time/", "throughput/", "memory/")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of the real GSM8K, short ones."""
    if not GSM8K.is_dir():
        pytest.skip("GSM8K is not beside this checkout, in ../shared/data/gsm8k")
    folder = tmp_path_factory.mktemp("gsm8k")
    for split, count in (("train", 40), ("test", 6)):
        lines = [line for line in (GSM8K / f"{split}.jsonl").read_text().splitlines() if len(line) < 500][:count]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def composed(rows: Path, *overrides: str) -> dict[str, Any]:
    """A resolved config of tiny: two epochs of six batches."""
    small = ["scale=tiny", f"data.path={rows}", "logger=none", "trainer.max_epochs=2", "callbacks.checkpoint.keep=true"]
    # Hydra reads an override that comes later as the one that counts.
    return configs.compose_job(configs.composed([*small, *overrides])[0])


def curves(folder: Path) -> list[str]:
    """All rows but the clocks', in the order of step and metric: a flush does not matter."""
    lines = (folder / "curves.csv").read_text().splitlines()
    return sorted(line for line in lines if not line.split(",")[1].startswith(CLOCKS))


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / records.CHECKPOINTS[0], weights_only=True)


def same(one: Any, other: Any) -> bool:
    """Bit for bit, down to the last tensor."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


class KilledAt(Callback):
    """The process is gone after so many batches, as by SIGKILL, before any checkpoint of that step."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches -= 1
        if not self.batches:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_run(config: dict[str, Any], folder: Path, batches: int) -> None:
    build = configs.build

    def doomed(config: dict[str, Any]) -> configs.Parts:
        parts = build(config)
        parts.callbacks["killed"] = KilledAt(batches)
        return parts

    configs.build = doomed
    run(config, folder)


@pytest.fixture(scope="module")
def whole(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Undisturbed runs by their accumulation, made once."""
    made: dict[int, tuple[dict[str, Any], Path]] = {}

    def of(accumulate: int) -> tuple[dict[str, Any], Path]:
        if accumulate not in made:
            config = composed(rows, f"trainer.accumulate_grad_batches={accumulate}", "optimizer.scope=all")
            folder = tmp_path_factory.mktemp(f"whole{accumulate}")
            assert run(config, folder)["status"] == "done"
            made[accumulate] = config, folder
        return made[accumulate]

    return of


# Before the first checkpoint, at one, within and at the end of an epoch, and in the second one; of accumulated batches also
# within a step. Checkpoints are written every 2 steps and at the ends of epochs.
@pytest.mark.parametrize(
    ("accumulate", "batches"), [(1, 1), (1, 3), (1, 4), (1, 6), (1, 7), (1, 11), (2, 5), (2, 6), (2, 9)]
)
def test_a_run_killed_at_any_step_ends_bit_for_bit_as_one_that_was_not(whole, tmp_path, accumulate, batches) -> None:
    config, undisturbed = whole(accumulate)
    process = multiprocessing.get_context("fork").Process(target=killed_run, args=(config, tmp_path, batches))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    going_on = records.has_checkpoint(tmp_path)
    assert going_on == (batches > 2 * accumulate)
    record = run(config, tmp_path, resume=going_on)
    assert record["status"] == "done"
    assert curves(tmp_path) == curves(undisturbed)
    mine, theirs = state(tmp_path), state(undisturbed)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert same(mine[part], theirs[part]), part
    summaries = [records.read_record(folder)["summary"] for folder in (tmp_path, undisturbed)]
    timeless = [{k: v for k, v in each.items() if not k.startswith(CLOCKS) and "seconds" not in k} for each in summaries]
    assert timeless[0] == timeless[1]


def test_where_the_last_checkpoint_is_torn_the_one_before_it_is_taken(whole, tmp_path) -> None:
    config, undisturbed = whole(1)
    process = multiprocessing.get_context("fork").Process(target=killed_run, args=(config, tmp_path, 5))
    process.start()
    process.join(120)
    last, previous = (tmp_path / name for name in records.CHECKPOINTS)
    assert [torch.load(each, weights_only=True)["global_step"] for each in (last, previous)] == [4, 2]
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    assert run(config, tmp_path, resume=True)["status"] == "done"
    assert curves(tmp_path) == curves(undisturbed)
    assert same(state(tmp_path)["state_dict"], state(undisturbed)["state_dict"])
    assert (tmp_path / "checkpoints" / "last.ckpt.broken").is_file()


def test_a_run_that_is_done_leaves_no_checkpoint_unless_it_is_asked_to(rows, tmp_path) -> None:
    record = run(composed(rows, "callbacks.checkpoint.keep=false", "trainer.max_epochs=1"), tmp_path)
    assert record["status"] == "done"
    assert not (tmp_path / "checkpoints").exists()


# The recipe ---------------------------------------------------------------------------------------------------------


def test_the_step_is_the_mean_over_its_tokens_however_it_is_batched(rows, tmp_path) -> None:
    """Twelve rows as twelve accumulated batches, as three of four and as one: the same gradient, but for rounding."""
    weights = {}
    for batch, accumulate in ((1, 12), (4, 3), (12, 1)):
        sizes = [f"data.batch_size={batch}", f"trainer.accumulate_grad_batches={accumulate}"]
        sizes += [f"trainer.limit_train_batches={accumulate}", "trainer.max_epochs=1", "trainer.precision=64-true"]
        folder = tmp_path / str(batch)
        # A rate that moves the weights; in float64, where sums of other orders agree to 1e-12.
        rate = ["optimizer=sgd", "optimizer.lr=1", "task.lr_schedule=null", "trainer.gradient_clip_val=null", "seed=3"]
        record = run(composed(rows, *sizes, *rate, "callbacks.tracer=null"), folder)
        assert (record["status"], record["steps"]) == ("done", 1), record["error"]
        weights[batch] = state(folder)["state_dict"], record["summary"]["train/loss/last_epoch"]
    for batch in (1, 4):
        assert weights[batch][1] == pytest.approx(weights[12][1], rel=1e-12)
        for name, value in weights[batch][0].items():
            torch.testing.assert_close(value, weights[12][0][name], rtol=0, atol=1e-12)


def test_the_loss_is_transformers_own_over_the_answers_tokens() -> None:
    net = CausalLM(model="tiny")
    chat = Chat(hub.tokenizer("tiny"))
    batch = chat.collate(chat.conversations(["1 + 1?", "What is 3 * 4?"], ["#### 2", "#### 12"], max_length=2048))
    labels_BN = batch.tokens_BN.masked_fill(~batch.supervised_BN, -100)
    out = net.language_model(input_ids=batch.tokens_BN, attention_mask=batch.attends_BN, labels=labels_BN)
    # Two ways to one mean in float32.
    ours = task.summed_loss(net, batch) / batch.supervised_BN.sum()
    torch.testing.assert_close(ours, out.loss, rtol=1e-6, atol=0)
    # Padding changes nothing but rounding: each row by itself.
    alone = [
        chat.collate([row])
        for row in chat.conversations(["1 + 1?", "What is 3 * 4?"], ["#### 2", "#### 12"], max_length=99)
    ]
    together = sum(task.summed_loss(net, each) for each in alone)
    torch.testing.assert_close(task.summed_loss(net, batch), together, rtol=1e-6, atol=0)
    # And by hand.
    logits = net.language_model(input_ids=alone[0].tokens_BN).logits[0]
    wanted, learned = alone[0].tokens_BN[0], alone[0].supervised_BN[0]
    byhand = sum(cross_entropy(logits[t - 1], wanted[t]) for t in range(1, len(wanted)) if learned[t])
    torch.testing.assert_close(task.summed_loss(net, alone[0]), byhand, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("steps", "warm"), [(60, 6), (7473, 500), (6, 0)])
def test_the_rate_warms_up_for_a_tenth_of_the_run_or_500_steps_and_falls_to_0(steps, warm) -> None:
    from superpositional.optim.schedules import WarmupShare

    rate = WarmupShare().over(steps)
    assert rate(warm) == 1
    assert rate(steps) == 0
    assert all(rate(step) < rate(step + 1) for step in range(warm))
    assert all(rate(step) > rate(step + 1) for step in range(warm, steps))


def test_a_runs_rates_are_logged_at_the_step_that_has_them(rows, tmp_path) -> None:
    run(composed(rows, "trainer.limit_train_batches=20", "trainer.max_epochs=1"), tmp_path)
    steps, rates = records.read_curves(tmp_path / "curves.csv")["train/lr"]
    from superpositional.optim.schedules import WarmupShare

    rate = WarmupShare().over(20)
    # Step 1 is taken with the factor of 0 steps done.
    assert dict(zip(steps.tolist(), rates.tolist(), strict=True)) == {
        step: pytest.approx(2e-5 * rate(step - 1)) for step in steps.tolist()
    }


def test_with_no_weight_on_the_term_every_loss_is_adamws_bit_for_bit(rows, tmp_path) -> None:
    losses = {}
    for name, chosen in {
        "adamw": ["optimizer=adamw"],
        "zero": ["optimizer=superpositional", "optimizer.quantum_weight=0"],
        "some": ["optimizer=superpositional", "optimizer.scope=all", "optimizer.quantum_weight=100"],
    }.items():
        record = run(composed(rows, *chosen), tmp_path / name)
        assert record["status"] == "done"
        losses[name] = records.read_curves(tmp_path / name / "curves.csv")["train/loss"][1].tolist()
    assert losses["zero"] == losses["adamw"]
    assert losses["some"] != losses["adamw"]
    # The same rows, so the first loss, before any step, is the same.
    assert losses["some"][0] == losses["adamw"][0]


def test_a_record_says_what_was_trained_on_what(rows, tmp_path) -> None:
    record = run(composed(rows), tmp_path)
    assert record["model"] == {
        "name": "tiny", "source": "random weights, made here", "revision": None, "parameters": 54144, "trained": 54144,
    }  # fmt: skip
    data = record["data"]
    assert data["rows"] == {"train": 32, "validation": 8, "test": 6}
    assert (data["source"], data["revision"]) == ("jsonl", data["hash"])
    assert 0 < data["supervised_share"] < 1
    assert set(data["truncated"].values()) == {0}
    assert record["evaluation"] == {
        "questions": 2, "of": 6, "smoke": True, "max_new_tokens": 16, "prompt": "{question}", "system": None,
    }  # fmt: skip
    told = [json.loads(line) for line in (tmp_path / records.GENERATIONS).read_text().splitlines()]
    assert [each["question"] for each in told] == [0, 1]
    summary = record["summary"]
    assert summary["perturbation/scalars_touched"] == 4 * 12
    assert {"train/loss/last_epoch", "val/loss/last", "test/loss", "test/exact_match", "tracer/changed"} <= summary.keys()


def test_adapters_are_trained_alone(rows, tmp_path) -> None:
    record = run(composed(rows, "net.lora={r: 2}", "trainer.max_epochs=1"), tmp_path)
    assert record["status"] == "done", record["error"]
    assert 0 < record["model"]["trained"] < record["model"]["parameters"] / 10
    assert "lora" in record["touched"][0]


def test_checkpointed_activations_change_no_loss(rows, tmp_path) -> None:
    losses = []
    for name, more in (("plain", []), ("less_memory", ["net.gradient_checkpointing=true"])):
        assert run(composed(rows, *more), tmp_path / name)["status"] == "done"
        losses.append(records.read_curves(tmp_path / name / "curves.csv")["train/loss"][1].tolist())
    assert losses[0] == losses[1]


def test_bf16_keeps_its_weights_in_float32(rows, tmp_path) -> None:
    record = run(composed(rows, "trainer.precision=bf16-mixed", "trainer.max_epochs=1"), tmp_path)
    assert record["status"] == "done", record["error"]
    assert {value.dtype for value in state(tmp_path)["state_dict"].values()} == {torch.float32}


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed needs a GPU, and this run would be on a CPU"),
        ("trainer.precision=16-mixed optimizer.fused=true", "optimizer.fused must be false with trainer.precision=16"),
        ("trainer.precision=fp16-mixed", "got 'fp16-mixed'"),
        ("trainer.num_nodes=2", "trainer.num_nodes must be 1, got 2"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be an integer >= 1, got 0"),
        ("data=synthetic_sequences", "must be questions and answers for fine-tuning, got SyntheticSequences"),
        ("data.max_length=4096", "max_length must be at most the context of tiny, 2048, got 4096"),
        ("net.lora={rank:2}", "lora must be settings of peft.LoraConfig, got {'rank': 2}"),
        ("data.path=/nowhere", "path must be a folder with train.jsonl and test.jsonl, got '/nowhere'"),
        ("net.model=nonsense", "model must be one of smollm2_135m, llama_3_2_1b, tiny, a folder that is there"),
        ("task.lr_schedule.share=2", "share must be in [0, 1), got 2"),
        ("callbacks.exact_match.questions=0", "questions must be an integer >= 1, got 0"),
        ("callbacks.checkpoint.every_n_steps=0", "every_n_steps must be an integer >= 1, got 0; null is at epochs' ends"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_any_weight_is_read(door, rows, words, message) -> None:
    code, out, err = door("train", "scale=tiny", "logger=none", f"data.path={rows}", *words.split())
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("outputs").exists()


@pytest.mark.parametrize("devices", ["2", "auto"])
def test_a_sweep_over_several_devices_a_run_is_refused_in_words(door, rows, devices) -> None:
    words = ["scale=tiny", "logger=none", f"data.path={rows}", f"trainer.devices={devices}", "trainer.strategy=ddp"]
    code, _, err = door("train", "-m", *words, "seed=0,1")
    assert code == 2
    assert f"trainer.devices must be 1 in a sweep, got {devices}: its runs go side by side, one device each" in err


def test_a_sweep_at_another_scale_has_the_arms_of_that_scale(door, rows) -> None:
    """scale=paper needs a GPU and Llama, so here with tiny in their place: it has λ = 0.1 besides."""
    small = ["net=tiny", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.limit_train_batches=2"]
    more = ["callbacks.exact_match.questions=1", "callbacks.exact_match.max_new_tokens=2", "data.n_validation=2"]
    code, out, err = door(
        "sweep", "paper_gsm8k", "scale=paper", *small, *more, "logger=none", f"data.path={rows}", "seed=0", "--jobs", "1"
    )
    assert code == 0, err
    plan = json.loads(Path("outputs/paper_gsm8k/sweep.json").read_text())
    assert plan["arms"] == ["adamw", "lambda_0.1", "lambda_0.5", "lambda_0.5_tensor", "lambda_0.5_all", "placebo"]
    assert set(plan["claims"]) == {f"C5_{arm}" for arm in plan["arms"][1:-1]}
    code, out, err = door("report", "outputs/paper_gsm8k")
    assert code == 0, err
    assert "C5_lambda_0.1" in out


# Mixed float16, by GradScaler on the CPU ------------------------------------------------------------------------------


def test_steps_that_the_scaler_leaves_out_are_counted_as_such_and_no_others(rows, tmp_path, monkeypatch) -> None:
    """Lightning's 16-mixed with a CPU scaler: it counts steps that were not taken."""
    from lightning.pytorch.plugins import MixedPrecision

    class Overflowing(MixedPrecision):
        """Every third batch's gradients hold an inf."""

        batches = 0

        def pre_backward(self, tensor: torch.Tensor, module: Any) -> torch.Tensor:
            self.batches += 1
            return super().pre_backward(tensor * (math.inf if self.batches % 3 == 0 else 1.0), module)

    build = configs.build

    def scaled(config: dict[str, Any]) -> configs.Parts:
        parts = build(config)
        make = parts.trainer
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)

        def trainer(**settings: Any) -> Any:
            settings["plugins"] = [*settings["plugins"], Overflowing("16-mixed", "cpu", scaler)]
            return make(**settings)

        object.__setattr__(parts, "trainer", trainer)
        return parts

    monkeypatch.setattr(configs, "build", scaled)
    config = composed(rows, "trainer.max_epochs=1", "trainer.gradient_clip_val=null", "optimizer.stats_every=1")
    config["trainer"].pop("precision")
    # CPU's autocast knows no float16; the scaler does not ask.
    monkeypatch.setattr(Overflowing, "autocast_context_manager", lambda self: torch.autocast("cpu", dtype=torch.bfloat16))
    record = run(config, tmp_path)
    assert record["status"] == "done", record["error"]
    assert (record["steps"], record["skipped_steps"]) == (6, 2)
    assert record["summary"]["perturbation/steps"] == 4
    assert record["summary"]["perturbation/scalars_touched"] == 4 * 4
    assert any("GradScaler left out 2 of the steps" in text for text in record["warnings"])
    steps = records.read_curves(tmp_path / "curves.csv")["perturbation/norm"][0].tolist()
    assert steps == [1, 2, 4, 5]
