"""Does the seed reach the user's own module and data, and do all arms of a seed see the same batches?"""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from superpositional.records import read_curves, read_record
from superpositional.training import config as configs
from superpositional.training.checkpoints import _bytes
from superpositional.training.run import run

# As Lightning's own documentation writes them: nothing is seeded, splits and workers are left to torch.
OWN = '''
import random

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, Dataset, random_split


class Noisy(Dataset):
    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors)

    def __getitem__(self, index):
        x = self.tensors[index] + torch.as_tensor(np.random.normal(size=3), dtype=torch.float32)
        return x + random.random() + torch.randn(3), (x.sum() > 0).long()


class Data(LightningDataModule):
    spread = None

    def __init__(self, *, seed, workers=0, tests=1):
        super().__init__()
        if not tests:
            type(self).test_dataloader = LightningDataModule.test_dataloader
        self.workers, self.rows = workers, torch.randn(40, 3)

    def setup(self, stage):
        self.parts = random_split(Noisy(self.rows), [24, 8, 8])

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=6, shuffle=True, num_workers=self.workers)

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=4)

    def test_dataloader(self):
        return DataLoader(self.parts[2], batch_size=4)


class Net(torch.nn.Module):
    def __init__(self, draws=0):
        super().__init__()
        self.scale = np.random.uniform(0.5, 2, size=draws).sum() + 1
        self.stack = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))

    def forward(self, x):
        return self.stack(x)


class Restless(torch.optim.SGD):
    """Draws from every global generator, at its making and at each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        torch.randn(7), np.random.normal(size=5), random.random()

    def step(self, closure=None):
        loss = super().step(closure)
        torch.randn(3), np.random.normal(size=2), random.random()
        return loss


class Task(LightningModule):
    def __init__(self, *, net, optimizer, seed, more=0, skips=0):
        super().__init__()
        self.model, self.make, self.more, self.skips = net(), optimizer, more, skips

    def configure_optimizers(self):
        return self.make(self.model.parameters())

    def training_step(self, batch, index):
        if self.skips and index % 2:
            return None
        loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        if self.more:
            self.log("train/loss_ce", loss, True)
            self.log(name="train/lr_scale", value=1.0)
        return loss

    def validation_step(self, batch, index):
        right = (self.model(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val/accuracy", right, True)
        if self.more:
            self.log("val/step", right, on_step=True, on_epoch=False)
        self.log_dict({"val/loss": torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])})

    def test_step(self, batch, index):
        self.log("test/loss", torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1]))
'''


@pytest.fixture
def train(tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(configs.ALLOW, "own_things")

    def train(name: str, *words: str, optimizer: str = "torch.optim.SGD", seed: int = 3, resume: bool = False):
        config = configs.compose_job(configs.composed(["optimizer=sgd", f"seed={seed}"])[0])
        config |= {
            group: {"_target_": f"own_things.{group.title()}", "_partial_": True} for group in ("data", "net", "task")
        }
        config["optimizer"] |= {"_target_": optimizer}
        config["trainer"]["max_epochs"] = 3
        config |= {"logger": None}
        for word in words:
            *path, key, value = word.split(".")
            functools.reduce(dict.__getitem__, path, config)[key] = int(value)
        folder = tmp_path / name
        record = run(config, folder, resume=resume)
        assert record["status"] == "done", (folder / "error.txt").read_text()
        return read_record(folder), read_curves(folder / "curves.csv")

    yield train
    sys.modules.pop("own_things", None)


def same(one: dict, other: dict) -> bool:
    names = {name for name in one if not name.startswith(("time/", "throughput/", "memory/"))}
    return all(np.array_equal(one[name][k], other[name][k]) for name in names for k in range(2))


@pytest.mark.parametrize("workers", [0, 2])
def test_two_identical_runs_of_foreign_code_are_bitwise_equal(train, workers) -> None:
    (first, curves), (second, again) = (train(name, f"data.workers.{workers}") for name in ("one", "two"))
    assert same(curves, again)
    assert first["batches"] == second["batches"]
    assert len(first["batches"]) == len(set(first["batches"].values())) == 4
    _, other = train("other", f"data.workers.{workers}", seed=4)
    assert not same(curves, other)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_arm_of_a_seed_sees_the_same_batches(train, workers) -> None:
    """Whatever an arm's optimizer and net draw from the global generators, and however many weights it has."""
    words = f"data.workers.{workers}"
    records = {
        "sgd": train("sgd", words)[0],
        "restless": train("restless", words, optimizer="own_things.Restless")[0],
        "larger": train("larger", words, "net.draws.9")[0],
    }
    assert records["sgd"]["batches"] == records["restless"]["batches"] == records["larger"]["batches"]


def test_an_optimizer_that_draws_changes_no_mask_and_no_split(train) -> None:
    _, plain = train("plain")
    _, restless = train("restless", optimizer="own_things.Restless")
    assert same(plain, restless)


def test_an_evaluation_is_one_row_whoever_logs_it(train) -> None:
    record, curves = train("one")
    for name in ("val/accuracy", "val/loss"):
        assert curves[name][0].tolist() == [4, 8, 12]
    assert curves["test/loss"][0].tolist() == [12]
    assert curves["train/loss"][0].tolist() == list(range(1, 13))
    assert record["summary"]["convergence/mean_last_k"] == float(curves["val/accuracy"][1].mean())
    assert record["summary"]["val/accuracy/last"] == float(curves["val/accuracy"][1][-1])


class Stop(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_of_foreign_code_resumes_to_the_same_bits(train, tmp_path, monkeypatch, workers) -> None:
    """From the last epoch's end, wherever it stopped: nobody knows what a foreign loader has handed out."""
    words = f"data.workers.{workers}", "callbacks.checkpoint.every_n_steps.2"
    whole, curves = train("whole", *words)
    build = configs.build

    def stopping(config):
        parts = build(config)
        return dataclasses.replace(parts, callbacks={**parts.callbacks, "stop": Stop()})

    monkeypatch.setattr(configs, "build", stopping)
    with pytest.raises(AssertionError):
        train("cut", *words)
    monkeypatch.setattr(configs, "build", build)
    resumed, again = train("cut", *words, resume=True)
    assert same(curves, again)
    assert resumed["batches"] == whole["batches"]


@pytest.mark.parametrize(
    "batch",
    [
        lambda: {"x": torch.ones(2), "names": np.array(["a", "bc"])},
        lambda: (torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr()),
        lambda: [np.array([None, "a"], dtype=object), torch.empty(0), None, 1.5, object()],
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.ones(2, 3).T,
    ],
    ids=["mapping", "sparse", "odd", "nested", "transposed"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, on what is in beta
def test_every_kind_of_batch_has_a_hash(batch) -> None:
    assert b"".join(_bytes(batch())) == b"".join(_bytes(batch()))


def test_batches_that_differ_in_a_value_a_type_or_a_shape_have_other_hashes() -> None:
    batches = [torch.zeros(4), torch.ones(4), torch.zeros(4, dtype=torch.float64), torch.zeros(2, 2), np.array(["a"])]
    assert len({b"".join(_bytes(batch)) for batch in batches}) == len(batches)


def test_only_what_the_curves_hold_is_kept_from_lightnings_own_logging(train) -> None:
    _, curves = train("one", "task.more.1", "trainer.log_every_n_steps.1")
    assert {"train/loss_ce", "train/lr_scale", "val/step"} <= set(curves)
    assert len(curves["train/loss_ce"][0]) == 12


def test_the_seed_starts_all_three_generators(tmp_path: Path) -> None:
    import random

    import torch

    from superpositional.seeds import start

    drawn = []
    for _ in range(2):
        start(5, "data", 1)
        drawn.append((random.random(), np.random.random(), torch.rand(()).item()))
    start(5, "data", 2)
    assert drawn[0] == drawn[1] != (random.random(), np.random.random(), torch.rand(()).item())


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")  # Lightning's, at the first such batch
def test_data_without_a_test_set_and_steps_without_a_loss_train_to_their_end(train, capsys) -> None:
    record, curves = train("one", "data.tests.0", "task.skips.1")
    assert "not tested, for there is no test_dataloader" in capsys.readouterr().out
    assert not [name for name in record["summary"] if name.startswith("test/")]
    # Every other batch was skipped.
    assert curves["train/loss"][0].tolist() == [1, 3, 5, 7, 9, 11]
