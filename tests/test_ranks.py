"""Do several processes train one run, and as one process would?

On the CPU with gloo, through the run's own doors; the optimizer alone is held to one process in test_distributed.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import heed_ctrl_c, wait_for

from superpositional import records
from superpositional.records import CHECKPOINTS

pytestmark = pytest.mark.slow

GSM8K = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
FALLS = """
import os
from lightning.pytorch import Callback


class Falls(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_rank == 1 and trainer.global_step == 2:
            os._exit(3)
"""

# The processes' own end, after everything of ours: are they still in a group?
LEAVES = """
import atexit
import torch.distributed
from pathlib import Path
from lightning.pytorch import Callback


class Leaves(Callback):
    def __init__(self, folder):
        self.folder = Path(folder)

    def setup(self, trainer, pl_module, stage):
        assert torch.distributed.is_initialized()
        file = self.folder / f"rank{trainer.global_rank}"
        atexit.register(lambda: file.write_text("in" if torch.distributed.is_initialized() else "parted"))
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not GSM8K.is_dir():
        pytest.skip("GSM8K is not beside this checkout, in ../shared/data/gsm8k")
    folder = tmp_path_factory.mktemp("gsm8k")
    for split, count in (("train", 30), ("test", 5)):
        lines = [line for line in (GSM8K / f"{split}.jsonl").read_text().splitlines() if len(line) < 400][:count]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def train(folder: Path, rows: Path, *overrides: str, **environment: str) -> dict[str, Any]:
    """A run by the console script, in a process of its own, as a user starts it."""
    command = [sys.executable, "-m", "superpositional", "train", "scale=tiny", f"data.path={rows}", "logger=none"]
    command += [f"hydra.run.dir={folder}", "callbacks.tracer=null", "callbacks.checkpoint.keep=true", *overrides]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    print(done.stdout, done.stderr)  # shown by pytest beside a failure: what each process said
    assert (folder / "record.json").is_file(), done.stderr
    return json.loads((folder / "record.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / CHECKPOINTS[0], weights_only=True)["state_dict"]


def losses(folder: Path) -> list[float]:
    return records.read_curves(folder / "curves.csv")["train/loss"][1].tolist()


# Batches of 2 rows in one process, and of 1 row in each of two: the same global batches. The rate moves the weights.
ONE, TWO = ["data.batch_size=2"], ["data.batch_size=1", "trainer.devices=2"]
MOVING = ["optimizer.scope=all", "optimizer.quantum_weight=50", "optimizer.lr=1e-3", "trainer.limit_train_batches=10"]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_take_the_steps_of_one(tmp_path, rows, accumulate) -> None:
    same = [*MOVING, "trainer.precision=64-true", f"trainer.accumulate_grad_batches={accumulate}"]
    one = train(tmp_path / "one", rows, *ONE, *same)
    two = train(tmp_path / "two", rows, *TWO, *same, "trainer.strategy=ddp")
    assert (one["status"], two["status"]) == ("done", "done"), two["error"]
    assert (one["processes"], two["processes"]) == (1, 2)
    # Sums in another order, in float64.
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-10)
    theirs = weights(tmp_path / "one")
    for name, mine in weights(tmp_path / "two").items():
        torch.testing.assert_close(mine, theirs[name], rtol=0, atol=1e-10)
    # Evaluations look at every row once.
    for name in ("val/loss/last", "test/loss"):
        assert two["summary"][name] == pytest.approx(one["summary"][name], rel=1e-10)
    answers = [(tmp_path / name / records.GENERATIONS).read_text() for name in ("one", "two")]
    assert answers[0] == answers[1]


def test_sharded_over_two_processes_the_losses_are_those_of_one(tmp_path, rows) -> None:
    one = train(tmp_path / "one", rows, *ONE, *MOVING)
    two = train(tmp_path / "two", rows, "trainer=sharded", *TWO, *MOVING, "trainer.accelerator=cpu")
    assert (one["status"], two["status"]) == ("done", "done"), two["error"]
    # Ten steps in float32 whose sums are taken in another order: some 1e-7 a step, amplified by the training.
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    theirs = weights(tmp_path / "one")
    assert weights(tmp_path / "two").keys() == theirs.keys()
    for name, mine in weights(tmp_path / "two").items():
        assert mine.shape == theirs[name].shape, "one file holds the whole of it"


def train_with(folder: Path, rows: Path, source: str, *overrides: str) -> dict[str, Any]:
    """A run of two processes with a callback of the user's own, from a module ``own``."""
    (folder / "own.py").write_text(source)
    allowed = {"PYTHONPATH": str(folder), "SUPERPOSITIONAL_ALLOW": "own"}
    return train(folder / "run", rows, *TWO, "trainer.strategy=ddp", *overrides, **allowed)


def test_a_run_whose_other_process_falls_is_recorded_as_failed(tmp_path, rows) -> None:
    record = train_with(tmp_path, rows, FALLS, "callbacks.own={_target_: own.Falls}")
    assert record["status"] == "failed"
    assert record["error"]


def test_processes_have_parted_before_they_end(tmp_path, rows) -> None:
    # Else one of them aborts now and then, after its work, and the whole run is called failed.
    own = f"callbacks.own={{_target_: own.Leaves, folder: {tmp_path}}}"
    record = train_with(tmp_path, rows, LEAVES, own, "trainer.limit_train_batches=1")
    assert record["status"] == "done", record["error"]
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["parted", "parted"]


def test_sharded_processes_answer_questions_that_do_not_divide_by_their_number(tmp_path, rows) -> None:
    asked = ["callbacks.exact_match.questions=3", "callbacks.exact_match.batch_size=1", "trainer.limit_train_batches=2"]
    one = train(tmp_path / "one", rows, *ONE, *asked)
    sharded = ["trainer=sharded", *TWO, "trainer.accelerator=cpu", "trainer.precision=bf16-mixed"]
    two = train(tmp_path / "two", rows, *sharded, *asked, "optimizer.scope=all")
    assert (one["status"], two["status"]) == ("done", "done"), two["error"]
    told = [json.loads(line) for line in (tmp_path / "two" / records.GENERATIONS).read_text().splitlines()]
    assert [each["question"] for each in told] == [0, 1, 2]
    # Each process has counted its own shards; the record has all of them.
    assert two["summary"]["perturbation/scalars_touched"] == 2 * two["model"]["parameters"]


def test_shards_and_a_tracer_do_not_go_together_and_it_is_said_at_once(rows) -> None:
    command = [sys.executable, "-m", "superpositional", "train", "scale=tiny", f"data.path={rows}", "logger=none"]
    done = subprocess.run(
        [*command, "trainer=sharded", "trainer.accelerator=cpu"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert (
        "callbacks.tracer needs whole weights, and trainer.strategy shards them; set callbacks.tracer=null" in done.stderr
    )


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to", ["the first process", "all"])
def test_a_signal_ends_a_run_of_two_processes_as_interrupted(tmp_path, sent, to) -> None:
    """Lightning answers SIGTERM by a broadcast in its handler, which waited for the other process for good."""
    words = ["logger=none", "hydra.run.dir=run", "++trainer.max_epochs=1000"]
    words += ["trainer.accelerator=cpu", "trainer.devices=2"]
    command = [sys.executable, "-m", "superpositional", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, preexec_fn=heed_ctrl_c)
    assert wait_for(lambda: records.has_checkpoint(tmp_path / "run"), process)
    (os.killpg if to == "all" else os.kill)(process.pid, sent)
    assert process.wait(60) == 128 + sent
    assert records.read_record(tmp_path / "run")["status"] == "interrupted"
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(process.pid, 0)
