"""Do the callbacks report what happened, at the step at which it happened, and nothing else?

On real training loops of a few steps: 3 epochs of 4 batches.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from superpositional import SuperpositionalAdamW
from superpositional.optim.schedules import WarmupDecay
from superpositional.records import read_curves
from superpositional.tasks.classification import data
from superpositional.tasks.classification.data import SyntheticSequences
from superpositional.tasks.classification.net import SequenceTransformer
from superpositional.tasks.classification.task import ClassificationTask
from superpositional.training.callbacks import (
    Curves,
    Diverged,
    GradientNorm,
    PerturbationStatistics,
    RecordLogger,
    UpdateTracer,
)
from superpositional.training.config import quieten_lightning
from superpositional.training.convergence import Convergence

STEPS_PER_EPOCH = 4


class Watch(Callback):
    """What a loop really did, noted step by step: the oracle. It stands before the callbacks under test."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.statistics: list[dict[str, float]] = []
        self.validations: list[tuple[int, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(outputs["loss"]))
        for each in getattr(trainer.optimizers[0], "statistics", [{}])[:1]:
            self.statistics.append({name: float(value) for name, value in each.items()})

    def on_validation_end(self, trainer, pl_module) -> None:
        self.validations.append((trainer.global_step, float(trainer.callback_metrics["val/accuracy"])))


class PaddedNet(nn.Module):
    """Its first scalars are those of a padding row, whose gradient is 0 at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 4, padding_idx=0)
        nn.init.ones_(self.embedding.weight)
        self.head = nn.Linear(4, 4)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        return self.head(self.embedding(tokens_BN).mean(dim=1))


class IdleNet(nn.Module):
    """Its first scalars take no part, so they have no gradient at all."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(5))
        self.used = nn.Embedding(30, 4)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        return self.used(tokens_BN).mean(dim=1)


class BreakingNet(nn.Module):
    """Answers NaN from a given training call on."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4))
        self.after, self.calls = after, 0

    def forward(self, tokens_BN: Tensor) -> Tensor:
        self.calls += self.training
        broken = math.nan if self.calls > self.after else 0.0
        return self.logits.expand(len(tokens_BN), 4) + broken


class BreakingEvaluation(nn.Module):
    """Trains well; the first batch of its second evaluation gives NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4))
        self.steps, self.broke = 0, False

    def forward(self, tokens_BN: Tensor) -> Tensor:
        self.steps += self.training
        logits_BC = self.logits.expand(len(tokens_BN), 4)
        if not self.training and self.steps == 2 * STEPS_PER_EPOCH and not self.broke:
            self.broke = True
            return logits_BC * math.nan
        return logits_BC


small_transformer = partial(
    SequenceTransformer,
    vocabulary_size=30,
    n_classes=4,
    max_length=7,
    embed_dim=8,
    num_heads=2,
    feedforward_dim=8,
    num_layers=1,
)
superpositional = partial(SuperpositionalAdamW, lr=0.01, stats_every=3)


def fit(
    folder: Path,
    *callbacks: Callback,
    net: Callable[[], nn.Module] = small_transformer,
    optimizer: Callable = superpositional,
    epochs: int = 3,
    task: dict | None = None,
    **trainer_changes,
) -> tuple[Watch, dict[str, tuple[np.ndarray, np.ndarray]], ClassificationTask]:
    """Train a little; what was seen, and the curves on disk. Curves that a raised error left are on disk all the same."""
    quieten_lightning()
    folder.mkdir(exist_ok=True)
    watch = Watch()
    sequences = SyntheticSequences(
        seed=0, vocabulary_size=30, length=6, max_distance=3, n_train=28, n_validation=20, n_test=20, batch_size=8
    )
    module = ClassificationTask(net=net, optimizer=optimizer, n_classes=4, seed=0, **(task or {}))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=[RecordLogger(folder / "curves.csv")],
        callbacks=[watch, *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        log_every_n_steps=1,  # of Lightning's own logging, unused: epochs shorter than it are a warning
        **{"num_sanity_val_steps": 0} | trainer_changes,
    )
    with warnings.catch_warnings():
        # As in train: data in memory needs no workers, and Lightning's own use of torch.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer.fit(module, sequences)
    return watch, read_curves(folder / "curves.csv"), module


# Gradient norm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accumulate", "steps"), [(1, [2, 4, 6, 8, 10, 12]), (2, [2, 4, 6])])
def test_the_gradients_norm_is_that_of_all_of_it_before_clipping(tmp_path, accumulate, steps):
    seen: dict[int, float] = {}

    class Norm(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module) -> None:
            flat = torch.cat([parameter.grad.flatten() for parameter in pl_module.parameters()])
            seen[trainer.global_step + 1] = float(flat.double().norm())

    changes = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 1e-3}
    _, curves, _ = fit(tmp_path, Norm(), GradientNorm(every_n_steps=2), **changes)
    found, values = curves["gradient/norm"]
    assert found.tolist() == steps
    # float32 sums of some hundred squares.
    np.testing.assert_allclose(values, [seen[step] for step in steps], rtol=1e-5)


# Tracer ------------------------------------------------------------------------------------------------------------


def test_the_tracer_logs_its_sampled_steps_and_agrees_with_the_optimizers_own_numbers(tmp_path):
    callback = UpdateTracer(every_n_steps=3)
    optimizer = partial(SuperpositionalAdamW, scope="all", stats_every=3, lr=1e-2)
    watch, curves, _ = fit(tmp_path, callback, optimizer=optimizer)
    sampled = {each["step"]: each for each in watch.statistics if "share" in each}
    for name in ("share", "angle"):
        steps, values = curves[f"tracer/{name}"]
        assert steps.tolist() == list(sampled) == [1, 4, 7, 10]
        # float32 weights: the traced update is a difference of rounded numbers, good to some 1e-3 of the term.
        np.testing.assert_allclose(values, [float(each[name]) for each in sampled.values()], rtol=1e-2)
    assert curves["tracer/changed"][1].tolist() == [int(each["changed"]) for each in sampled.values()]
    assert callback.summary({}, STEPS_PER_EPOCH)["tracer/share"] == pytest.approx(curves["tracer/share"][1].mean())


def test_the_tracer_lets_go_of_the_optimizer_when_training_ends(tmp_path):
    callback = UpdateTracer()
    fit(tmp_path, callback)
    assert callback.tracer.hooks == []


# Curves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_n_steps", [1, 3, 4, 50])
def test_every_steps_loss_arrives_once_in_order_at_the_number_of_steps_done(tmp_path, every_n_steps):
    watch, curves, _ = fit(tmp_path, Curves(every_n_steps=every_n_steps))
    steps, losses = curves["train/loss"]
    assert steps.tolist() == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert losses.tolist() == watch.losses


def test_batches_whose_gradients_are_accumulated_share_a_step_and_give_it_their_mean_loss(tmp_path):
    one, _, _ = fit(tmp_path / "one", Curves(), epochs=1)
    two, curves, _ = fit(tmp_path / "two", Curves(), epochs=1, accumulate_grad_batches=2)
    steps, losses = curves["train/loss"]
    assert steps.tolist() == [1, 2]
    # Lightning has divided each by their number, so that the step's loss is the sum.
    assert two.losses[0] == one.losses[0] / 2
    assert losses.tolist() == [sum(two.losses[:2]), sum(two.losses[2:])]


def test_the_learning_rate_is_logged_once_per_reading(tmp_path):
    _, curves, _ = fit(tmp_path, Curves(every_n_steps=3))
    # Every third step and at the epoch's end, where what is left is read.
    assert curves["train/lr"][0].tolist() == [3, 4, 7, 8, 11, 12]
    assert set(curves["train/lr"][1]) == {0.01}


def test_validations_stand_at_the_epochs_last_step(tmp_path):
    watch, curves, _ = fit(tmp_path, Curves(), Convergence())
    assert curves["val/accuracy"][0].tolist() == [4, 8, 12]
    assert list(zip(*(array.tolist() for array in curves["val/accuracy"]), strict=True)) == watch.validations
    assert curves["val/loss"][0].tolist() == [4, 8, 12]
    assert curves["time/train_seconds"][0].tolist() == [4, 8, 12]
    assert set(curves) == {"train/loss", "train/lr", "val/accuracy", "val/loss", "time/train_seconds"}


def test_lightnings_sanity_check_is_no_validation(tmp_path):
    _, curves, _ = fit(tmp_path, Curves(), Convergence(), num_sanity_val_steps=1)
    for metric in ("val/accuracy", "time/train_seconds"):
        assert curves[metric][0].tolist() == [4, 8, 12]


def test_losses_read_late_are_kept_when_a_run_fails(tmp_path):
    class Failing(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if trainer.global_step == 6:
                raise KeyError("step 6")

    # After the curves, which have seen step 6 and not written it yet.
    with pytest.raises(KeyError, match="step 6"):
        fit(tmp_path, Curves(every_n_steps=50), Failing())
    assert read_curves(tmp_path / "curves.csv")["train/loss"][0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("every_n_steps", [1, 3, 50])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_its_curves(tmp_path, every_n_steps):
    with pytest.raises(Diverged, match=r"^train/loss is nan at step 6$"):
        fit(tmp_path, Curves(every_n_steps=every_n_steps), net=partial(BreakingNet, after=5))
    curves = read_curves(tmp_path / "curves.csv")
    # Equal logits for four classes, then learned; finite up to the step before.
    steps, losses = curves["train/loss"]
    assert steps[:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert losses[0] == pytest.approx(math.log(4), rel=1e-6)  # float32
    assert np.isfinite(losses).tolist() == [True] * 5 + [False] * (len(steps) - 5)
    # At the latest at the end of the interval or of the epoch.
    assert len(steps) == {1: 6, 3: 7, 50: 8}[every_n_steps]
    assert curves["val/accuracy"][0].tolist() == [4]


def test_a_learning_rate_far_too_high_diverges(tmp_path):
    with pytest.raises(Diverged, match=r"^(train|val)/loss is (nan|inf) at step \d+$"):
        fit(tmp_path, Curves(), optimizer=partial(torch.optim.SGD, lr=1e30))


@pytest.mark.parametrize("batch_size", [20, 8], ids=["every batch", "one batch of three"])
def test_an_evaluation_that_is_not_finite_ends_the_run(tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr(data, "EVALUATION_BATCH", batch_size)
    with pytest.raises(Diverged, match=r"^val/loss is nan at step 8$"):
        fit(tmp_path, Curves(), Convergence(), net=BreakingEvaluation)
    curves = read_curves(tmp_path / "curves.csv")
    assert curves["train/loss"][0].tolist() == list(range(1, 9))
    assert np.isfinite(curves["train/loss"][1]).all()
    assert np.isnan(curves["val/loss"][1]).tolist() == [False, True]


def test_a_run_that_diverges_in_an_evaluation_still_has_its_summary(tmp_path):
    """The evaluation that broke has a metric and no time yet: what was reached before counts."""
    curves = {
        "val/accuracy": (np.array([4, 8]), np.array([0.95, 0.25])),
        "time/train_seconds": (np.array([4]), np.array([1.5])),
    }
    assert Convergence(target=0.9).summary(curves, 4)["convergence/seconds_to_target"] == 1.5


@pytest.mark.parametrize("callback", [Curves, PerturbationStatistics])
@pytest.mark.parametrize("every", [0, -1])
def test_an_interval_below_1_is_refused_with_the_cure(callback, every):
    with pytest.raises(ValueError, match=f"every_n_steps must be an integer >= 1, got {every}; 50 costs next to nothing"):
        callback(every_n_steps=every)


# The record logger -------------------------------------------------------------------------------------------------


def test_a_curve_without_a_step_is_refused(tmp_path):
    logger = RecordLogger(tmp_path / "curves.csv")
    with pytest.raises(ValueError, match="a curve needs a step, got none for train/loss, train/lr"):
        logger.log_metrics({"train/loss": 1.0, "train/lr": 0.1})
    logger.finalize("success")
    assert read_curves(tmp_path / "curves.csv") == {}


def test_the_record_logger_writes_each_row_once_and_step_0_is_a_step(tmp_path):
    logger = RecordLogger(tmp_path / "curves.csv")
    logger.log_metrics({"a": 1, "epoch": 0}, step=0)
    logger.save()
    logger.save()
    logger.log_metrics({"a": torch.tensor(0.5)}, step=1)
    logger.finalize("failed")
    curves = read_curves(tmp_path / "curves.csv")
    assert {name: (steps.tolist(), values.tolist()) for name, (steps, values) in curves.items()} == {
        "a": ([0, 1], [1.0, 0.5])
    }


# Numbers of the quantum term ---------------------------------------------------------------------------------------


def test_the_statistics_summarise_every_step_and_average_the_sampled_ones(tmp_path):
    callback = PerturbationStatistics(every_n_steps=50)
    watch, _, _ = fit(tmp_path, callback)
    seen = watch.statistics
    assert [each["step"] for each in seen] == list(range(1, 13))
    sampled = [each for each in seen if "ratio" in each]
    assert [each["step"] for each in sampled] == [1, 4, 7, 10]  # stats_every=3
    assert callback.summary({}, STEPS_PER_EPOCH) == {
        "perturbation/steps": 12,
        "perturbation/steps_with_gradient": sum(each["nonzero_gradient"] > 0 for each in seen),
        "perturbation/steps_with_change": sum(each["changed"] > 0 for each in seen),
        "perturbation/scalars_touched": sum(each["touched"] for each in seen),
        "perturbation/scalars_changed": sum(each["changed"] for each in seen),
        # The mean of numbers read as floats, both ways.
        "perturbation/ratio": float(np.mean([each["ratio"] for each in sampled])),
        "perturbation/cosine": float(np.mean([each["cosine"] for each in sampled])),
        "perturbation/share": float(np.mean([each["share"] for each in sampled])),
        "perturbation/angle": float(np.mean([each["angle"] for each in sampled])),
    }
    # Every batch holds class tokens, so that the paper's net meets a gradient at every step.
    assert callback.summary({}, STEPS_PER_EPOCH)["perturbation/steps_with_gradient"] == 12


def test_the_statistics_curves_are_what_the_optimizer_left_at_that_step(tmp_path):
    watch, curves, _ = fit(tmp_path, PerturbationStatistics(every_n_steps=3))
    keys = {"norm": "perturbation_norm"}
    # Every third step and at the epoch's end; and whenever the optimizer has measured.
    due, measured = [3, 4, 6, 8, 9, 12], [1, 4, 7, 10]
    for name in ("norm", "touched", "nonzero_gradient", "changed", "step_norm", "ratio", "cosine"):
        steps, values = curves[f"perturbation/{name}"]
        assert steps.tolist() == (measured if name in ("step_norm", "ratio", "cosine") else due)
        assert values.tolist() == [watch.statistics[step - 1][keys.get(name, name)] for step in steps]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["net.embedding.weight[0,0:4]"]),
        ({"n_qubits": 11}, ["net.embedding.weight[0:1]+[1,0:3]"]),
        ({"n_qubits": 242}, ["net.embedding.weight", "net.positions.weight[0,0:2]"]),
    ],
    ids=str,
)
def test_the_notes_name_the_touched_scalars(tmp_path, changes, expected):
    callback = PerturbationStatistics()
    _, _, module = fit(tmp_path, callback, optimizer=partial(superpositional, **changes), epochs=1)
    assert callback.notes() == {"touched": expected}
    assert module.net.embedding.weight.shape == (30, 8)


def test_the_notes_name_every_tensor_of_the_wider_scopes(tmp_path):
    names = {}
    for scope in ("tensor", "all"):
        callback = PerturbationStatistics()
        _, _, module = fit(tmp_path, callback, optimizer=partial(superpositional, scope=scope), epochs=1)
        names[scope] = callback.notes()["touched"]
    everything = [name for name, _ in module.named_parameters()]
    assert names["all"] == everything
    assert [name.split("[")[0] for name in names["tensor"]] == everything
    # A tensor of four scalars is touched whole.
    assert names["tensor"][-2:] == ["net.head.weight[0,0:4]", "net.head.bias"]


def test_a_weight_that_warms_up_from_0_has_its_touched_scalars_named(tmp_path):
    callback = PerturbationStatistics()
    fit(tmp_path, callback, epochs=1, task={"quantum_weight_schedule": WarmupDecay(warmup_steps=2)})
    assert callback.summary({}, STEPS_PER_EPOCH)["perturbation/steps_with_change"] > 0
    assert callback.notes() == {"touched": ["net.embedding.weight[0,0:4]"]}


def test_steps_without_the_term_are_not_counted_as_steps_with_it(tmp_path):
    callback = PerturbationStatistics()
    # The factors of the 12 steps are 1, 0.5, 0, 0, …
    fit(tmp_path, callback, task={"quantum_weight_schedule": WarmupDecay(total_steps=2)})
    assert callback.summary({}, STEPS_PER_EPOCH)["perturbation/steps_with_gradient"] == 2


def test_a_term_whose_scalars_have_gradient_0_is_a_warning_that_names_them(tmp_path):
    callback = PerturbationStatistics()
    fit(tmp_path, callback, net=PaddedNet, epochs=1)
    message = r"never met a gradient: net\.embedding\.weight\[0:1\] had none in 4 steps.*scope=tensor or all"
    with pytest.warns(UserWarning, match=message):
        summary = callback.summary({}, STEPS_PER_EPOCH)
    assert summary["perturbation/steps"] == 4
    assert summary["perturbation/steps_with_gradient"] == 0
    assert summary["perturbation/steps_with_change"] == 0


def test_a_term_whose_scalars_have_no_gradient_at_all_is_a_warning_too(tmp_path):
    callback = PerturbationStatistics()
    with pytest.warns(UserWarning, match="no scalar in scope had a gradient"):
        fit(tmp_path, callback, net=IdleNet, epochs=1)
    with pytest.warns(UserWarning, match=r"never met a gradient: net\.idle\[0:4\]"):
        callback.summary({}, STEPS_PER_EPOCH)


@pytest.mark.parametrize(
    "optimizer",
    [partial(torch.optim.Adam, lr=0.01), partial(superpositional, quantum_weight=0)],
    ids=["adam", "quantum_weight=0"],
)
def test_the_statistics_are_silent_without_the_term(tmp_path, optimizer):
    callback = PerturbationStatistics(every_n_steps=1)
    _, curves, _ = fit(tmp_path, callback, Curves(), optimizer=optimizer, epochs=1)
    assert not [name for name in curves if name.startswith("perturbation/")]
    assert callback.summary(curves, STEPS_PER_EPOCH) == {}  # and no warning, which would be an error here
    assert callback.notes() == {}


def test_the_statistics_continue_from_a_checkpoint(tmp_path):
    callback = PerturbationStatistics()
    fit(tmp_path, callback, epochs=1)
    torch.save(callback.state_dict(), tmp_path / "state.pt")
    resumed = PerturbationStatistics()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.summary({}, STEPS_PER_EPOCH) == callback.summary({}, STEPS_PER_EPOCH)


# Convergence -------------------------------------------------------------------------------------------------------


def hand_made(values: list[float], losses: list[float] = ()) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """An epoch has 10 steps and takes 2 seconds, but for the first, which takes 3."""
    steps = 10 * np.arange(1, len(values) + 1)
    seconds = 1 + 2.0 * np.arange(1, len(values) + 1)
    curves = {"val/accuracy": (steps, np.array(values)), "time/train_seconds": (steps, seconds)}
    return curves | ({"train/loss": (np.arange(1, len(losses) + 1), np.array(losses))} if losses else {})


def summary(values: list[float], losses: list[float] = (), **changes) -> dict[str, float]:
    found = Convergence(**{"target": 0.75} | changes).summary(hand_made(values, losses), 10)
    assert all(name.startswith("convergence/") and math.isfinite(value) for name, value in found.items())
    return {name.removeprefix("convergence/"): value for name, value in found.items()}


# Values of halves and quarters: exact in binary, so every result is compared exactly.
def test_the_target_is_reached_on_the_line_between_two_validations():
    found = summary([0.25, 0.5, 1.0])
    assert found["steps_to_target"] == 25.0
    assert found["epochs_to_target"] == 2.5
    assert found["seconds_to_target"] == 6.0  # 5 s at step 20, 7 s at step 30


def test_a_target_met_exactly_is_reached_there():
    found = summary([0.25, 0.75, 0.5])
    assert (found["steps_to_target"], found["epochs_to_target"], found["seconds_to_target"]) == (20.0, 2.0, 5.0)


@pytest.mark.parametrize("first", [0.75, 1.0])
def test_a_target_reached_at_the_first_validation_counts_as_it_stands(first):
    found = summary([first, 0.5, 1.0])
    assert (found["steps_to_target"], found["epochs_to_target"], found["seconds_to_target"]) == (10.0, 1.0, 3.0)


def test_the_first_crossing_counts_even_if_the_metric_falls_again():
    assert summary([0.5, 1.0, 0.25, 1.0])["steps_to_target"] == 15.0


def test_a_target_never_reached_is_missing_and_not_a_number():
    assert set(summary([0.25, 0.5, 0.625])) == {"target", "area", "mean_last_k", "seconds_per_epoch"}


def test_the_time_of_an_epoch_leaves_out_what_the_first_sets_up():
    # 3 s after the first validation, 5 s after the second, 7 s after the third.
    assert summary([0.25, 0.5, 0.625])["seconds_per_epoch"] == 2.0
    assert "seconds_per_epoch" not in summary([0.25])


def test_area_is_the_mean_height_by_trapezoids():
    # (0 + 1) / 2 and (1 + 0.5) / 2 over equal widths.
    assert summary([0.0, 1.0, 0.5])["area"] == 0.625
    assert summary([0.5, 0.5, 0.5, 0.5])["area"] == 0.5


def test_one_validation_has_no_area():
    assert set(summary([0.5])) == {"target", "mean_last_k"}


@pytest.mark.parametrize(("last_k", "expected"), [(1, 1.0), (2, 0.75), (3, 0.5), (4, 0.625), (9, 0.625)])
def test_the_last_validations_are_averaged_as_far_as_there_are_any(last_k, expected):
    assert summary([1.0, 0.0, 0.5, 1.0], last_k=last_k)["mean_last_k"] == expected


def test_loss_variance_is_of_the_change_from_step_to_step():
    # Changes -1, 0, -2 with mean -1: (0 + 1 + 1) / (3 - 1).
    assert summary([0.5], [4.0, 3.0, 3.0, 1.0])["loss_variance"] == 1.0
    # A straight fall is not restless.
    assert summary([0.5], [4.0, 3.0, 2.0, 1.0])["loss_variance"] == 0.0


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0]], ids=len)
def test_a_loss_of_fewer_than_three_steps_has_no_variance(losses):
    assert "loss_variance" not in summary([0.5], losses)


def test_a_run_without_a_validation_has_its_target_alone():
    with pytest.warns(UserWarning, match="Convergence follows val/accuracy, which was never logged; logged: none"):
        assert Convergence(target=0.75).summary({}, 10) == {"convergence/target": 0.75}


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_a_loss_that_diverged_has_no_variance(last):
    assert "loss_variance" not in summary([0.5], [1.0, 2.0, 3.0, last])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last_k": 0}, "last_k must be an integer >= 1, got 0; 3 evens out the last epochs"),
        ({"target": math.nan}, "target must be a finite number, got nan; the paper's is 0.9"),
        ({"target": math.inf}, "target must be a finite number, got inf"),
    ],
    ids=str,
)
def test_a_convergence_setting_out_of_range_is_refused_with_the_cure(changes, message):
    with pytest.raises(ValueError, match=message):
        Convergence(**changes)


def test_the_convergence_of_a_real_run_is_that_of_its_curves(tmp_path):
    callback = Convergence(target=0.0)
    _, curves, _ = fit(tmp_path, Curves(), callback)
    found = callback.summary(curves, STEPS_PER_EPOCH)
    assert found["convergence/epochs_to_target"] == 1.0
    assert found["convergence/seconds_to_target"] == curves["time/train_seconds"][1][0] > 0
    assert (np.diff(curves["time/train_seconds"][1]) > 0).all()
    assert found["convergence/loss_variance"] > 0


def test_seconds_go_on_from_a_checkpoint(tmp_path):
    callback = Convergence()
    callback.load_state_dict({"seconds": 1000.0})
    _, curves, _ = fit(tmp_path, Curves(), callback, epochs=1)
    assert curves["time/train_seconds"][1][0] > 1000
    assert callback.state_dict()["seconds"] >= curves["time/train_seconds"][1][0]


def test_callbacks_do_not_change_what_is_trained(tmp_path):
    with_them = fit(tmp_path / "with", Curves(every_n_steps=1), PerturbationStatistics(every_n_steps=1), Convergence())
    without = fit(tmp_path / "without")
    assert with_them[0].losses == without[0].losses
    for one, other in zip(with_them[2].parameters(), without[2].parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_callbacks_write_through_every_logger(tmp_path):
    """W&B is a mirror of the record: a second logger gets the same rows."""

    class Attach(Callback):
        def setup(self, trainer: Trainer, pl_module, stage: str) -> None:
            trainer.loggers = [*trainer.loggers, RecordLogger(tmp_path / "mirror.csv")]

    fit(tmp_path, Attach(), Curves(), PerturbationStatistics(), Convergence(), epochs=1)
    assert (tmp_path / "mirror.csv").read_text() == (tmp_path / "curves.csv").read_text()
