"""Are answers compared question by question as the formulas say, and refused where there is nothing to compare?

Simulations allow 4 standard errors of a share, sqrt(p (1 - p) / draws): one in 16,000 would fail by chance, and the seeds
are fixed.
"""

import json
import math

import numpy as np
import pytest
from scipy import stats
from test_report_llm import write_sweep

from superpositional.evidence import inference, questions
from superpositional.evidence.questions import Paired, beforehand, compare, mcnemar, paired, read
from superpositional.records import load_sweep

EMPTY = Paired("x", "adamw", "strict", 2)


def marks(*right: int, of: int) -> dict[int, bool]:
    return {question: question in right for question in range(of)}


def found(folder) -> list[Paired]:
    sweep = load_sweep(folder)
    return compare(sweep, read(folder, sweep))


def rewritten(path, change) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (0, 0, 1.0),
        # Two-sided binomial tails at one half: 2 / 2**5; (1 + 6) * 2 / 2**6; all of it.
        (5, 0, 2 / 32),
        (1, 5, 14 / 64),
        (3, 3, 1.0),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemars_p_is_the_one_counted_by_hand(better, worse, p):
    arm = np.array([1.0] * better + [0.0] * worse + [1.0, 0.0])
    baseline = np.array([0.0] * better + [1.0] * worse + [1.0, 0.0])
    result = mcnemar(4, arm, baseline)
    assert (result.seed, result.better, result.worse) == (4, better, worse)
    assert result.p == pytest.approx(p, rel=1e-12)  # a sum of a few doubles


def test_the_standard_error_is_the_one_computed_by_hand():
    # Two seeds, four questions. Seed 0: arm right at 0, 1, 2, baseline at 0; seed 1: arm at 1, baseline at 3.
    pairs = [(marks(0, 1, 2, of=4), marks(0, of=4)), (marks(1, of=4), marks(3, of=4))]
    result = paired(EMPTY, [0, 1], pairs)
    # d_q = 0, 1, 1/2, -1/2, mean 1/4; squares 1/16, 9/16, 1/16, 9/16 sum to 5/4, so SE = sqrt((5/4) / (4 * 3)).
    assert (result.questions, result.estimate.mean) == (4, 25.0)
    se = 100 * math.sqrt(1.25 / 12)
    # t(0.975, 3) = 3.182446 from the printed table
    assert result.estimate.high - 25.0 == pytest.approx(3.182446 * se, rel=1e-6)
    assert (result.arm_share, result.baseline_share) == (4 / 8, 2 / 8)
    assert [(one.better, one.worse) for one in result.by_seed] == [(2, 0), (1, 1)]


def test_it_is_the_clustered_variance_of_miller_times_q_over_q_minus_1():
    dice = np.random.default_rng(0)
    arm_SQ, baseline_SQ = (dice.random((3, 50)) < 0.5 for _ in range(2))
    pairs = [(dict(enumerate(a)), dict(enumerate(b))) for a, b in zip(arm_SQ, baseline_SQ, strict=True)]
    result = paired(EMPTY, range(3), pairs)
    each_SQ = 100 * (arm_SQ.astype(float) - baseline_SQ)
    off_SQ = each_SQ - each_SQ.mean()
    # Miller 2024: over all pairs of answers within a question, over N squared.
    clustered = sum(off_SQ[i, q] * off_SQ[j, q] for q in range(50) for i in range(3) for j in range(3)) / off_SQ.size**2
    half = result.estimate.high - result.estimate.mean
    expected = stats.t.ppf(0.975, 49) * math.sqrt(clustered * 50 / 49)
    assert half == pytest.approx(expected, rel=1e-12)  # sums of 450 doubles


def test_the_interval_covers_the_true_difference_as_often_as_it_says_where_answers_of_a_question_are_alike():
    dice, draws, covered, naive = np.random.default_rng(1), 1_000, 0, 0
    for _ in range(draws):
        # How hard a question is for either arm is its own, so the seeds' differences at one question are alike.
        arm_Q, baseline_Q = dice.beta(0.6, 0.4, 200), dice.beta(0.4, 0.6, 200)
        right = [(dice.random(200) < arm_Q, dice.random(200) < baseline_Q) for _ in range(3)]
        result = paired(EMPTY, range(3), [(dict(enumerate(a)), dict(enumerate(b))) for a, b in right])
        covered += result.estimate.low <= 20.0 <= result.estimate.high
        each = 100 * np.concatenate([a.astype(float) - b for a, b in right])
        naive += abs(each.mean() - 20.0) <= 1.96 * each.std(ddof=1) / math.sqrt(each.size)
    tolerance = 4 * math.sqrt(0.95 * 0.05 / draws)
    # 200 questions are many enough for the mean to be normal: what is left of skew is below the tolerance, 0.028.
    assert covered / draws == pytest.approx(0.95, abs=tolerance)
    # The same without clusters falls short, by more than chance: this is what they are for.
    assert naive / draws < 0.95 - 2 * tolerance


def test_what_is_found_beforehand_is_the_formula():
    # (1.959964 + 0.841621) sqrt(2 * 0.4 * 0.6 / 1319), the quantiles from the printed table
    assert 100 * beforehand(0.4, 1319) == pytest.approx(100 * 2.801585 * math.sqrt(0.48 / 1319), rel=1e-6)
    assert 100 * beforehand(0.4, 1319) == pytest.approx(5.34, abs=0.005)


def test_the_detectable_difference_is_found_as_often_as_it_says():
    dice, draws, n = np.random.default_rng(2), 2_000, 150
    # Per-question differences of three values, as of one seed, whose sd is known; the effect is that of 80 % power.
    sd = 100 * math.sqrt(0.3)
    effect = inference.detectable(sd, n, 0.05, 0.8)
    shift = effect / 200
    hits = 0
    for _ in range(draws):
        each = 100 * dice.choice([-1.0, 0.0, 1.0], n, p=[0.15 - shift, 0.7, 0.15 + shift])
        hits += inference.student_interval(each).low > 0
    # The shift itself takes effect² from the variance, 4 % of it here, which is 1 point of power more.
    assert hits / draws == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / draws) + 0.015)


def test_only_questions_that_all_answered_are_paired():
    result = paired(EMPTY, [0], [({0: True, 1: False, 2: True}, {1: True, 2: False, 3: True})])
    assert (result.questions, result.estimate.mean) == (2, 0.0)


def test_equal_answers_have_no_interval_of_no_width():
    result = paired(EMPTY, [0], [(marks(1, 2, of=5), marks(1, 2, of=5))])
    assert result.detectable is None
    assert "difference 0 at every question, n = 5 questions × 1 seed" in result.sentence
    assert "0 at every question" in questions.rows([result])[1]


def test_a_whole_evaluation_is_compared_by_either_reading_with_what_could_have_been_found(tmp_path):
    right = {"adamw": range(0, 100), "placebo": range(10, 130)}
    write_sweep(tmp_path, ("adamw", "placebo"), asked=200, of=200, right=lambda arm, seed: right[arm])
    strict, flexible = found(tmp_path)
    assert (strict.kind, flexible.kind, strict.refusal) == ("strict", "flexible", "")
    assert [(one.better, one.worse) for one in strict.by_seed] == [(30, 10)] * 3
    assert (strict.questions, strict.estimate.mean, strict.beforehand) == (200, 10.0, 100 * beforehand(0.5, 200))
    assert "found with 80 % power: 8.7 points, beforehand 14 points unpaired" in strict.sentence


def test_a_smoke_has_no_result_whatever_it_answered(tmp_path):
    write_sweep(tmp_path, ("adamw", "placebo"), asked=16, right=lambda arm, seed: range(16 if arm == "placebo" else 0))
    for each in found(tmp_path):
        assert (each.refusal, each.estimate, each.by_seed) == ("a smoke of 16 questions", None, ())
    assert questions.sentences(found(tmp_path)) == ["Answers question by question: a smoke of 16 questions, no result."]
    assert len(questions.rows(found(tmp_path))) == 1


def test_fewer_questions_than_there_are_is_a_smoke_even_where_the_record_does_not_say_so(tmp_path):
    told = {("placebo", 1): {"evaluation": {"questions": 20, "of": 21, "max_new_tokens": 256}}}
    write_sweep(tmp_path, ("adamw", "placebo"), asked=20, of=20, right=lambda arm, seed: range(9), changes=told)
    assert found(tmp_path)[0].refusal == "a smoke of 20 questions"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:-1], lines[-1] | {"question": 999}], "answered different questions"),
        (lambda lines: lines[:-1], "answered different questions"),
        (lambda lines: [*lines[:-1], lines[-1] | {"reference": "-1"}], "different references"),
    ],
)
def test_runs_that_answered_other_questions_are_refused_by_name(tmp_path, change, message):
    write_sweep(tmp_path, ("adamw", "placebo"), asked=20, of=20, right=lambda arm, seed: range(9))
    rewritten(tmp_path / "placebo" / "seed-1" / "generations.jsonl", change)
    assert message in found(tmp_path)[0].refusal
    assert found(tmp_path)[0].sentence.endswith(".")


def test_answers_of_other_lengths_are_refused(tmp_path):
    told = {("placebo", s): {"evaluation": {"questions": 20, "of": 20, "max_new_tokens": 64}} for s in range(3)}
    write_sweep(tmp_path, ("adamw", "placebo"), asked=20, of=20, right=lambda arm, seed: range(9), changes=told)
    assert "different max_new_tokens" in found(tmp_path)[0].refusal


def test_a_run_that_answered_fewer_questions_than_it_says_is_refused(tmp_path):
    write_sweep(tmp_path, ("adamw", "placebo"), seeds=1, asked=20, of=20, right=lambda arm, seed: range(9))
    for path in tmp_path.glob("*/seed-0/generations.jsonl"):
        rewritten(path, lambda lines: lines[:5])
    assert "answered 5 of the 20 questions that it says" in found(tmp_path)[0].refusal


def test_a_seed_without_answers_of_both_is_named_and_makes_the_rest_conditional(tmp_path):
    write_sweep(
        *(tmp_path, ("adamw", "placebo")),
        asked=20,
        of=20,
        right=lambda arm, seed: range(9 + (arm == "placebo")),
        statuses={("placebo", 1): "diverged"},
    )
    strict = found(tmp_path)[0]
    assert (strict.lost, len(strict.by_seed)) == ((1,), 2)
    assert "(conditional; without answers of both: seed 1)" in strict.sentence
    assert questions.rows([strict])[1][3] == "2 of 3†"


@pytest.mark.parametrize("text", ["{", '{"question": 1}\n', "[]\n", None])
def test_a_damaged_file_of_answers_is_refused_with_its_path(tmp_path, text):
    write_sweep(tmp_path, ("adamw", "placebo"), seeds=1, asked=3, of=3, right=lambda arm, seed: [0])
    path = tmp_path / "adamw" / "seed-0" / "generations.jsonl"
    path.write_text(path.read_text() * 2 if text is None else text)
    with pytest.raises(ValueError, match=r"adamw/seed-0/generations\.jsonl.* run it again"):
        found(tmp_path)


def test_runs_without_an_evaluation_have_nothing_to_compare(tmp_path):
    write_sweep(tmp_path, ("adamw", "placebo"))
    assert found(tmp_path) == []


def test_an_evaluation_whose_answers_are_not_there_is_told_and_not_guessed(tmp_path):
    write_sweep(tmp_path, ("adamw", "placebo"), asked=20, of=20, right=lambda arm, seed: range(9))
    for path in tmp_path.glob("*/*/generations.jsonl"):
        path.unlink()
    assert found(tmp_path)[0].refusal == "no seed has generations.jsonl of both arms"
