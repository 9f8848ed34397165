"""Is what a sweep is said to take what it takes?"""

from pathlib import Path

import pytest
from conftest import SMOKE

from superpositional.records import write_json
from superpositional.records.identity import Code
from superpositional.sweeps import plan, progress
from superpositional.training import config as configs

TRAINER = {"max_epochs": 10}
WATCH = {
    "train": {"batches": 27, "median": 0.1, "spent": 1.5},
    "val": {"batches": 4, "median": 0.2, "spent": 1.0},
    "test": {"batches": 20, "median": 0.5, "spent": 2.5},
}
ONCE = 3.0  # seconds that any run takes: 8 of the trial's in all, 5 of them in batches


def tried(folder: Path, trainer: dict, watch: dict = WATCH) -> tuple[float, float] | None:
    """A trial's record of 10 steps, 1000 bytes of curves and 500 of other files, drawn out."""
    config = {"arm": "a", "seed": 0, "trainer": trainer, "callbacks": None, "optimizer": {}}
    job = plan.Job(config, folder / "run", Code("code"))
    trial = progress.trial(job, folder / "trial")
    trial.folder.mkdir()
    (trial.folder / "curves.csv").write_bytes(b"x" * 1000)
    (trial.folder / "config.yaml").write_bytes(b"x" * 500)
    record = {"identity": trial.identity, "status": "done", "wall_seconds": 8.0, "steps": 10, "stopwatch": watch}
    write_json(trial.folder / "record.json", record)
    found = progress.extrapolated(trial, job)
    if found is None:
        return None
    return found[0], found[1] - (trial.folder / "record.json").stat().st_size


@pytest.mark.parametrize(
    ("trainer", "seconds", "curves"),
    [
        # 10 epochs of 27 batches, the validation set after each, the test set once.
        ({}, ONCE + 270 * 0.1 + 40 * 0.2 + 20 * 0.5, 27_000),
        ({"limit_train_batches": 3, "limit_val_batches": 1, "limit_test_batches": 0}, ONCE + 30 * 0.1 + 10 * 0.2, 3000),
        ({"limit_train_batches": 0.5}, ONCE + 130 * 0.1 + 40 * 0.2 + 20 * 0.5, 13_000),
        ({"max_steps": 54}, ONCE + 54 * 0.1 + 8 * 0.2 + 20 * 0.5, 5400),
        ({"accumulate_grad_batches": 9}, ONCE + 270 * 0.1 + 40 * 0.2 + 20 * 0.5, 3000),
        ({"check_val_every_n_epoch": 5}, ONCE + 270 * 0.1 + 8 * 0.2 + 20 * 0.5, 27_000),
        ({"val_check_interval": 0.5}, ONCE + 270 * 0.1 + 80 * 0.2 + 20 * 0.5, 27_000),
        ({"val_check_interval": 9}, ONCE + 270 * 0.1 + 120 * 0.2 + 20 * 0.5, 27_000),
        ({"max_epochs": -1, "max_steps": 27}, ONCE + 27 * 0.1 + 4 * 0.2 + 20 * 0.5, 2700),
    ],
    ids=str,
)
def test_a_trial_is_drawn_out_to_what_the_trainer_will_do(tmp_path, trainer, seconds, curves) -> None:
    found = tried(tmp_path, TRAINER | trainer)
    assert found == (pytest.approx(seconds), pytest.approx(500 + curves))


@pytest.mark.parametrize("trainer", [{"max_epochs": -1}, {"max_epochs": None}])
def test_what_has_no_end_has_no_length(tmp_path, trainer) -> None:
    assert tried(tmp_path, TRAINER | trainer) is None


def test_data_without_a_length_have_none_unless_they_are_limited(tmp_path) -> None:
    endless = WATCH | {"train": WATCH["train"] | {"batches": None}}
    assert tried(tmp_path, TRAINER, endless) is None
    (tmp_path / "b").mkdir()
    found = tried(tmp_path / "b", TRAINER | {"limit_train_batches": 5}, endless)
    assert found[0] == pytest.approx(ONCE + 50 * 0.1 + 40 * 0.2 + 20 * 0.5)


def test_a_trial_takes_no_more_batches_than_the_run_itself() -> None:
    config = {"arm": "a", "seed": 0, "trainer": {"limit_train_batches": 3, "limit_val_batches": 0}, "callbacks": {}}
    trainer = progress.trial(plan.Job(config, Path("a"), Code("code")), Path("b")).config["trainer"]
    assert (trainer["limit_train_batches"], trainer["limit_val_batches"], trainer["limit_test_batches"]) == (3, 0, 5)


def test_arms_that_differ_in_the_optimizers_numbers_alone_are_tried_once() -> None:
    def job(arm: str, seed: int, **optimizer: object) -> plan.Job:
        return plan.Job({"arm": arm, "seed": seed, "optimizer": optimizer, "callbacks": None}, Path(arm), Code("code"))

    planned = [
        job(arm, seed, **optimizer)
        for seed in (0, 1)
        for arm, optimizer in {
            "a": {"_target_": "x", "lr": 0.1, "betas": [0.9, 0.99]},
            "b": {"_target_": "x", "lr": 0.2, "betas": [0.8, 0.99]},
            "c": {"_target_": "x", "lr": 0.2, "betas": [0.8, 0.99], "amsgrad": True},
            "d": {"_target_": "y", "lr": 0.2},
        }.items()
    ]
    found = [[each.name for each in alike] for alike in progress.kinds(planned, progress.Pace(planned)).values()]
    assert found == [["a seed 0", "b seed 0"], ["c seed 0"], ["d seed 0"]]


def test_a_fresh_sweep_is_said_to_take_what_its_trials_tell(door, workplace) -> None:
    code, out, _ = door("sweep", "smoke", "trainer=default", "logger=none", "seed=0", "--dry-run", "--jobs", "1")
    assert (code, "by trials of a few batches" in out) == (0, True)
    assert not (workplace / "outputs").exists()
    ((seconds, size),) = [line.split("│")[5:7] for line in out.splitlines() if line.startswith("│ adam")]
    assert float(seconds.removesuffix(" s ")) > 0
    assert door("sweep", "smoke", "trainer=default", "logger=none", "seed=0", "--jobs", "1")[0] == 0
    left = progress.size(workplace / "outputs/smoke/adam/seed-0")
    # Bytes do not depend on the machine's load as seconds do; the values of longer curves have other digits.
    number, unit = size.split()
    assert float(number) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(left, rel=0.1)


def test_a_trial_that_fails_is_told_before_anything_runs(door, workplace, monkeypatch) -> None:
    (workplace / "forecast_probes.py").write_text(
        "from lightning.pytorch import Callback\n"
        "class Broken(Callback):\n"
        "    def on_train_batch_end(self, *_):\n"
        "        raise ArithmeticError('the abacus broke')\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setenv(configs.ALLOW, "forecast_probes")
    probe = "++callbacks.probe={_target_:forecast_probes.Broken}"
    code, _, err = door("sweep", "smoke", *SMOKE, probe, "--dry-run")
    assert code == 2
    assert "adam: a trial of it failed: ArithmeticError: the abacus broke" in err
