"""Does SuperpositionalAdamW work inside Hugging Face's Trainer, as a user would put it there?

On a tiny Llama with random weights, whose task is to count on; nothing is downloaded.
"""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from superpositional import SuperpositionalAdamW
from superpositional.circuits import Ansatz
from superpositional.optim.circuit_perturbation import CircuitPerturbation
from superpositional.optim.schedules import WarmupDecay

pytest.importorskip("transformers", reason="transformers is not installed; pip install '.[llm]'")

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

STEPS = 24
# The example of README.
EXAMPLE = """\
import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from superpositional import SuperpositionalAdamW
from superpositional.optim.schedules import WarmupDecay

model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2))
rows = [{"input_ids": row, "labels": row} for row in (torch.arange(64)[:, None] + torch.arange(16)) % 64]
optimizer = SuperpositionalAdamW(model.parameters(), lr=1e-2, quantum_weight=0.5)
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupDecay(warmup_steps=4, total_steps=24))
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, max_steps=24, logging_steps=6, save_strategy="no", report_to="none", dataloader_pin_memory=False
    )
    trainer = Trainer(model, arguments, train_dataset=rows, optimizers=(optimizer, schedule))
    trainer.train()
print([round(entry["loss"], 1) for entry in trainer.state.log_history if "loss" in entry])
"""

OPTIMIZERS = {
    "update": {},
    "moments": {"inject": "moments", "scope": "tensor"},
    "all": {"scope": "all", "n_qubits": 2, "stats_every": 5},
    "circuit": {"perturbation": CircuitPerturbation(Ansatz(n_qubits=3, depth=1))},
    # Draws by its count of steps, which a checkpoint must hold.
    "random sign": {"perturbation": {"kind": "random_sign", "seed": 5}, "scope": "all"},
}


def trained(folder: Path, kwargs: dict | None, *, save_at: int | None = None, resume: Path | None = None) -> Trainer:
    """A Trainer that has trained; without keywords the optimizer is torch's own AdamW."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=48, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    )
    assert 40_000 < sum(parameter.numel() for parameter in model.parameters()) < 70_000
    numbers = torch.randint(64, (64, 1))
    rows = [{"input_ids": row, "labels": row} for row in (numbers + torch.arange(16)) % 64]
    if kwargs is None:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    else:
        optimizer = SuperpositionalAdamW(model.parameters(), lr=1e-2, **kwargs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupDecay(4, STEPS))
    saving = {"save_strategy": "no"} if save_at is None else {"save_strategy": "steps", "save_steps": save_at}
    arguments = TrainingArguments(
        folder, max_steps=STEPS, logging_steps=4, report_to="none", use_cpu=True, disable_tqdm=True, **saving
    )
    trainer = Trainer(model, arguments, train_dataset=rows, optimizers=(optimizer, schedule))
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}


def assert_same_bits(one, other) -> None:
    """Equal to the last bit, through dicts and lists."""
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_and_the_loss_falls(tmp_path, name):
    trainer = trained(tmp_path, OPTIMIZERS[name])
    optimizer = trainer.optimizer.optimizer
    assert type(optimizer) is SuperpositionalAdamW
    statistics = optimizer.statistics[0]
    assert statistics["step"] == STEPS
    assert statistics["nonzero_gradient"] > 0
    # From ln 64 = 4.2, a guess among all tokens.
    first, *_, last = losses(trainer)
    assert 3 < first < 5
    assert last < first / 2
    assert optimizer.param_groups[0]["lr"] == 0, "the schedule was followed to its end"


def test_without_quantum_weight_it_is_torchs_adamw_bit_for_bit(tmp_path):
    adamw, ours, other = (trained(tmp_path, kwargs) for kwargs in (None, {"quantum_weight": 0}, {}))
    assert_same_bits(weights(ours), weights(adamw))
    assert losses(ours) == losses(adamw)
    assert_same_bits(ours.optimizer.state_dict()["state"], adamw.optimizer.state_dict()["state"])
    assert any(not torch.equal(weights(other)[name], weight) for name, weight in weights(adamw).items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumed_from_a_checkpoint_is_the_uninterrupted_one_bit_for_bit(tmp_path, name):
    uninterrupted = trained(tmp_path, OPTIMIZERS[name], save_at=STEPS // 2)
    # Made with another weight: the checkpoint's own is the one that counts, as for lr.
    made_with = {**OPTIMIZERS[name], "quantum_weight": 0.1}
    resumed = trained(tmp_path / "resumed", made_with, resume=tmp_path / f"checkpoint-{STEPS // 2}")
    assert resumed.state.global_step == STEPS
    assert_same_bits(weights(resumed), weights(uninterrupted))
    one, other = (trainer.optimizer.state_dict() for trainer in (resumed, uninterrupted))
    assert_same_bits(one["state"], other["state"])
    (mine,), (theirs,) = one["param_groups"], other["param_groups"]
    assert mine["quantum_weight"] == 0.5
    assert mine == theirs
    statistics = resumed.optimizer.optimizer.statistics[0]
    assert statistics["step"] == STEPS
    assert_same_bits(statistics, uninterrupted.optimizer.optimizer.statistics[0])


def test_the_example_of_readme_runs_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(EXAMPLE, {})
    (printed,) = re.findall(r"^\[(\d[\d., ]*)\]$", capsys.readouterr().out, re.MULTILINE)
    first, *_, last = map(float, printed.split(", "))
    assert last < first / 2
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_readmes() -> None:
    assert EXAMPLE in (Path(__file__).resolve().parents[1] / "README.md").read_text()
