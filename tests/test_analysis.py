"""Does the analysis give known answers, and does it refuse to say more than the runs do?"""

import json
import math

import numpy as np
import pytest
from scipy import stats

from superpositional import records
from superpositional.evidence import analysis, curves
from superpositional.evidence.analysis import compare, student_interval
from superpositional.format import label, name_seeds
from superpositional.records.measures import EPOCHS_TO_TARGET, TEST_ACCURACY
from superpositional.records.published import publish


def write_sweep(folder, accuracies, *, epochs=None, statuses=(), codes=(), seeds=None, curves=None):
    """A sweep on disk: ``accuracies[arm][seed]``, None where no record exists; ``epochs`` likewise, None is a miss."""
    seeds = range(len(next(iter(accuracies.values())))) if seeds is None else seeds
    plan = {"sweep": "made_up", "question": "Does it work?", "arms": list(accuracies), "seeds": list(seeds)}
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / "sweep.json", plan)
    for arm, values in accuracies.items():
        for seed, value in zip(seeds, values, strict=True):
            if value is None:
                continue
            run = folder / arm / f"seed-{seed}"
            run.mkdir(parents=True)
            status = dict(statuses).get((arm, seed), "done")
            summary = {"test/accuracy": value, "convergence/target": 0.9} if status == "done" else {}
            if status == "done" and epochs and epochs[arm][seed] is not None:
                summary["convergence/epochs_to_target"] = epochs[arm][seed]
            curve = curves(arm, seed) if curves else [0.3, 0.6, value]
            records.append_curves(run / "curves.csv", [(5 * (i + 1), "val/accuracy", v) for i, v in enumerate(curve)])
            identity = {"sweep": "made_up", "arm": arm, "seed": seed, "status": status, "steps_per_epoch": 5}
            code = dict(codes).get((arm, seed), "c0de")
            records.write_record(run, {**identity, "summary": summary, "code": code, "versions": {"torch": "2.13.0"}})
    return records.load_sweep(folder)


def test_the_interval_is_the_one_computed_by_hand():
    # mean 2, sd 1, t(0.975, 2) = 4.302653 from the printed table, half width 4.302653 / sqrt(3)
    estimate = student_interval([1.0, 2.0, 3.0])
    assert (estimate.n, estimate.mean, estimate.sd) == (3, 2.0, 1.0)
    assert estimate.high - estimate.mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)  # six decimals in the table


def test_a_comparison_agrees_with_scipys_paired_t_test(tmp_path):
    rng = np.random.default_rng(0)
    base, arm = rng.normal(0.9, 0.01, 12).tolist(), rng.normal(0.91, 0.01, 12).tolist()
    estimate = compare(write_sweep(tmp_path, {"adam": base, "x": arm}), "x", TEST_ACCURACY).estimate
    expected = stats.ttest_rel(np.multiply(arm, 100), np.multiply(base, 100)).confidence_interval(0.95)
    # two orders of the same sums in double precision, on numbers near 100
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_pairs_are_matched_by_seed_and_not_by_position(tmp_path):
    sweep = write_sweep(tmp_path, {"adam": [None, 0.5, 0.25], "x": [0.75, 0.75, 0.5]})
    assert dict(compare(sweep, "x", TEST_ACCURACY).differences) == {1: 25.0, 2: 25.0}


def test_diverged_runs_are_counted_and_take_the_unconditional_interval_away(tmp_path):
    arms = {"adam": [0.5, 0.6, 0.7, 0.8, 0.5], "x": [0.6, 0.7, 0.81, 0.91, 0.1]}
    lost = {("x", 4): "diverged", ("adam", 0): "failed"}
    comparison = compare(write_sweep(tmp_path, arms, statuses=lost), "x", TEST_ACCURACY)
    assert comparison.conditional
    assert sorted(comparison.differences) == [1, 2, 3]
    assert (dict(comparison.arm.without), dict(comparison.baseline.without)) == ({"diverged": (4,)}, {"failed": (0,)})
    assert comparison.estimate.mean == pytest.approx(32 / 3)


def test_a_pair_that_has_not_run_is_unfinished(tmp_path):
    arms = {"adam": [0.5, 0.6, 0.7, None, 0.5], "x": [0.6, 0.7, 0.81, 0.9, 0.6]}
    comparison = compare(write_sweep(tmp_path, arms, statuses={("x", 4): "interrupted"}), "x", TEST_ACCURACY)
    assert (comparison.unfinished, comparison.conditional) == ((3, 4), False)
    assert comparison.estimate.n == 3


def test_a_lost_run_outweighs_its_unfinished_partner(tmp_path):
    arms = {"adam": [0.5, 0.6, None], "x": [0.6, 0.7, 0.1]}
    comparison = compare(write_sweep(tmp_path, arms, statuses={("x", 2): "diverged"}), "x", TEST_ACCURACY)
    assert (comparison.unfinished, comparison.conditional) == ((), True)


def test_a_missed_target_is_a_miss_and_not_a_number(tmp_path):
    arms = {"adam": [0.9, 0.9, 0.9, 0.9], "x": [0.9, 0.9, 0.9, 0.8]}
    epochs = {"adam": [5, 6, None, 7], "x": [4, 4, 3, None]}
    comparison = compare(write_sweep(tmp_path, arms, epochs=epochs), "x", EPOCHS_TO_TARGET)
    assert dict(comparison.differences) == {0: -1.0, 1: -2.0}
    assert dict(comparison.arm.without) == {"missed the target": (3,)}
    assert dict(comparison.baseline.without) == {"missed the target": (2,)}
    assert comparison.conditional


def test_a_target_that_was_never_measured_is_not_a_miss(tmp_path):
    sweep = write_sweep(tmp_path, {"adam": [0.9], "x": [0.9]})
    for run in sweep.runs:
        del run.record["summary"]["convergence/target"]
    assert dict(analysis.outcomes(sweep, "x", EPOCHS_TO_TARGET).without) == {"gave no value": (0,)}


def test_equal_arms_have_the_interval_from_zero_to_zero_and_say_so(tmp_path):
    comparison = compare(write_sweep(tmp_path, {"adam": [0.1, 0.7], "x": [0.1, 0.7]}), "x", TEST_ACCURACY)
    assert (comparison.estimate.low, comparison.estimate.high, comparison.estimate.sd) == (0, 0, 0)
    assert (comparison.same, comparison.shown()) == (True, "0 in every pair")


def test_equal_differences_claim_no_direction(tmp_path):
    # 0.93 − 0.92 and 0.83 − 0.82 differ in the last bit, which is no spread
    comparison = compare(write_sweep(tmp_path, {"adam": [0.92, 0.82], "x": [0.93, 0.83]}), "x", TEST_ACCURACY)
    assert comparison.estimate.sd == 0


def test_one_pair_gives_no_interval_and_no_pair_gives_no_mean(tmp_path):
    one = compare(write_sweep(tmp_path / "one", {"adam": [0.5], "x": [0.6]}), "x", TEST_ACCURACY)
    assert (one.estimate.n, one.estimate.sd, one.estimate.low, one.estimate.high) == (1, None, None, None)
    none = compare(write_sweep(tmp_path / "none", {"adam": [0.5], "x": [None]}), "x", TEST_ACCURACY)
    assert (none.estimate.n, none.estimate.mean) == (0, None)


def test_a_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        student_interval([1.0, math.nan])


def test_mixed_code_versions_are_flagged_in_words(tmp_path):
    sweep = write_sweep(tmp_path, {"adam": [0.5, 0.6], "x": [0.5, 0.6]}, codes={("x", 1): "beef"})
    assert analysis.mixed_versions(sweep.runs) == ("code version: beef (1 of 4 runs), c0de (3 of 4 runs)",)


def test_mixed_package_versions_are_flagged_in_words(tmp_path):
    sweep = write_sweep(tmp_path, {"adam": [0.5], "x": [0.6]})
    assert analysis.mixed_versions(sweep.runs) == ()
    sweep.runs[1].record["versions"]["torch"] = "2.14.0"
    assert analysis.mixed_versions(sweep.runs) == ("torch: 2.13.0 (1 of 2 runs), 2.14.0 (1 of 2 runs)",)


def test_curves_average_finished_runs_by_epoch_and_give_one_run_no_band(tmp_path):
    arms = {"adam": [0.5, 0.7, 0.1], "x": [0.5, None, None]}
    adam, x = curves.learning_curves(write_sweep(tmp_path, arms, statuses={("adam", 2): "diverged"}))
    assert adam.at.tolist() == [1, 2, 3]
    assert adam.mean.tolist() == pytest.approx([30, 60, 60], rel=1e-15)
    assert (adam.n, adam.planned, x.n) == (2, 3, 1)
    half = stats.t.ppf(0.975, 1) * 10  # sd / sqrt(2) of 50 and 70 is 10
    assert adam.high[2] - adam.mean[2] == pytest.approx(half, rel=1e-12)
    assert np.isnan(x.low).all()


def test_an_arm_without_a_finished_run_keeps_its_place_with_n_zero(tmp_path):
    adam, x = curves.learning_curves(write_sweep(tmp_path, {"adam": [0.5], "x": [None]}))
    assert (adam.n, x.n, x.at.size) == (1, 0, 0)


def test_an_unknown_arm_is_refused_with_the_arms_there_are(tmp_path):
    with pytest.raises(ValueError, match="it has adam, x"):
        compare(write_sweep(tmp_path, {"adam": [0.5], "x": [0.5]}), "y", TEST_ACCURACY)


def test_published_records_give_the_same_comparison(tmp_path):
    sweep = write_sweep(tmp_path / "raw", {"adam": [0.1, 0.2, 1 / 3], "x": [0.3, 0.1, 2 / 3]})
    publish(sweep, tmp_path / "published")
    published = records.load_sweep(tmp_path / "published")
    assert compare(published, "x", TEST_ACCURACY) == compare(sweep, "x", TEST_ACCURACY)
    assert json.loads((tmp_path / "published" / "sweep.json").read_text())["arms"] == ["adam", "x"]


@pytest.mark.parametrize(
    ("arm", "shown"),
    [
        ("lambda_0.5", "λ = 0.5"),
        ("quantum_moments", "quantum moments"),
        ("circuit_lambda_0.1", "circuit λ = 0.1"),
        ("lambda_1e-3", "λ = 1e-3"),
        ("lambda_free", "lambda free"),
    ],
)
def test_an_arms_label_comes_from_its_name(arm, shown):
    assert label(arm) == shown


def test_seeds_are_named_singly_or_as_ranges():
    assert name_seeds([7, 3, 20, 21, 22]) == "seeds 3, 7, 20–22"
    assert name_seeds([0]) == "seed 0"


def test_a_comparison_takes_for_rounding_what_a_verdict_does(tmp_path):
    single = np.array([0.9, 0.91, 0.92], dtype=np.float32)
    off = np.nextafter(single, np.float32(2))
    sweep = write_sweep(tmp_path, {"adam": single.astype(float).tolist(), "x": off.astype(float).tolist()})
    found = compare(sweep, "x", TEST_ACCURACY)
    assert (found.same, found.estimate.sd) == (True, 0)
