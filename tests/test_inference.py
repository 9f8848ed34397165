"""Are the tests and intervals the textbooks' ones, do they keep the rates they state, and do they agree with each other?

Monte-Carlo checks allow 4 standard errors of a share, sqrt(p (1 − p) / draws): one in 16,000 would fail by chance, and the
seeds are fixed.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from superpositional.evidence import inference
from superpositional.evidence.inference import (
    censored,
    clopper_pearson,
    detectable,
    holm,
    paired_t,
    pairs_for_equivalence,
    pairs_to_detect,
    power_equivalence,
    power_t,
    ratio,
    sign_flip,
    student_interval,
)

DRAWS = 20_000
# Student 1908: hours of sleep gained by ten patients under either drug, and the second minus the first.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Darwin's maize, crossed minus self-fertilised, in eighths of an inch (Fisher 1935, ch. 3).
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# What a 95 % Student interval covers on skewed values at n = 5, 10, 30: shares of 2,000,000 draws, to four digits.
SKEWED = {
    ("exponential", 5): 0.8831,
    ("exponential", 10): 0.9005,
    ("exponential", 30): 0.9271,
    ("lognormal", 5): 0.8211,
    ("lognormal", 10): 0.8392,
    ("lognormal", 30): 0.8826,
}
SKEWED_MEANS = {"exponential": 1.0, "lognormal": math.exp(0.5)}
# Differences that look like those of runs: normal, shifted, with a tail, few, many, with ties and zeros.
TABLE = [
    np.random.default_rng(seed).normal(shift, 1.0, n).round(decimals) + 0.0
    for seed, (n, shift, decimals) in enumerate(itertools.product([2, 3, 6, 13, 40], [0.0, 0.5, 2.0], [0, 1, 12]))
]


# The two one-sided tests as p values, of which verdicts use the intervals ---------------------------------------------


def p_above_zero(array, scale):
    """The one-sided p of the t test for a mean above 0."""
    mean, sd = inference._moments(array, scale)
    if sd == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / (sd / math.sqrt(array.size)), array.size - 1))


def equivalence(differences, margin):
    """The p of two one-sided paired t tests that the mean lies within ±margin (Schuirmann 1987; Lakens 2017).

    p < 0.05 iff the 90 % Student interval lies strictly within ±margin. Equal differences (sd 0) give 0 or 1: that they
    all lie within it, or do not, is then all that is known.
    """
    array = inference._finite(differences, least=2)
    inference._check(margin=margin)
    scale = np.abs(array).max()
    return max(p_above_zero(array + margin, scale), p_above_zero(margin - array, scale))


def ratio_equivalence(arm, baseline, margin):
    """The p of two one-sided t tests that mean(arm) / mean(baseline) lies within 1 ± margin (after Schuirmann 1987).

    They are of arm − (1 + margin) · baseline < 0 and arm − (1 − margin) · baseline > 0, so p < 0.05 iff the 90 % Fieller
    interval lies strictly within. For measures above 0, such as times: with a negative baseline p is never small.
    """
    arm, baseline = inference._finite(arm, 2), inference._finite(baseline, 2)
    inference._check(margin=margin)
    scale = max(np.abs(arm).max(), np.abs(baseline).max())
    return max(p_above_zero((1 + margin) * baseline - arm, scale), p_above_zero(arm - (1 - margin) * baseline, scale))


def four_errors(share, draws=DRAWS):
    return 4 * math.sqrt(share * (1 - share) / draws)


def t_and_sd(values):
    """By row: t of the mean, and its standard error."""
    error = values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    return values.mean(axis=1) / error, error


# The paired t test and its interval


def test_students_sleep_data_give_the_published_t_test():
    estimate, p = student_interval(SLEEP), paired_t(SLEEP)
    # R 4, t.test(extra ~ group, paired = TRUE) on its own copy of the data: digits as printed
    assert estimate.mean / (estimate.sd / math.sqrt(10)) == pytest.approx(4.0621, abs=5e-5)
    assert p == pytest.approx(0.002833, abs=5e-7)
    assert (estimate.low, estimate.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


def test_darwins_maize_gives_fishers_t_test():
    estimate = student_interval(MAIZE)
    assert sum(MAIZE) == 314
    assert estimate.mean / (estimate.sd / math.sqrt(15)) == pytest.approx(2.148, abs=5e-4)  # as Fisher prints it
    assert paired_t(MAIZE) == pytest.approx(0.0497, abs=5e-5)


def test_the_paired_t_test_is_scipys():
    rng = np.random.default_rng(1)
    for n in (2, 5, 30, 200):
        arm, baseline = rng.normal(0.1, 1, n), rng.normal(0, 1, n)
        expected = stats.ttest_rel(arm, baseline)
        # the same formula in another order of operations
        assert paired_t(arm - baseline) == pytest.approx(expected.pvalue, rel=1e-9)
        for level in (0.8, 0.95, 0.99):
            found = student_interval(arm - baseline, level)
            assert (found.low, found.high) == pytest.approx(expected.confidence_interval(level), rel=1e-9)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_the_interval_excludes_zero_exactly_where_the_t_test_rejects(level):
    for differences in TABLE:
        estimate = student_interval(differences, level)
        if estimate.sd:
            assert (not estimate.low <= 0 <= estimate.high) == (paired_t(differences) < 1 - level)


def test_equal_differences_get_the_sign_flip_p_for_t_is_undefined_there():
    for n in range(2, 15):
        assert paired_t([0.0] * n) == 1.0
        # 0.3 − 0.2 and 0.8 − 0.7 differ in the last bit: equal differences all the same
        each = [0.3 - 0.2, 0.8 - 0.7] * n
        assert paired_t(each[:n]) == sign_flip(each[:n]).p == 2 / 2**n
    assert paired_t([-5.0] * 5000) == 0.0  # 2**-4999 is below the smallest double


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_interval_covers_what_it_says_on_normal_differences(n):
    t, _ = t_and_sd(np.random.default_rng(n).normal(size=(DRAWS, n)))
    covered = np.mean(np.abs(t) <= stats.t.ppf(0.975, n - 1))
    assert covered == pytest.approx(0.95, abs=four_errors(0.95))


@pytest.mark.parametrize(("name", "n"), SKEWED)
def test_on_skewed_differences_it_covers_less_by_this_much(name, n):
    values = getattr(np.random.default_rng(n), name)(size=(DRAWS, n)) - SKEWED_MEANS[name]
    covered, stated = np.mean(np.abs(t_and_sd(values)[0]) <= stats.t.ppf(0.975, n - 1)), SKEWED[name, n]
    assert covered == pytest.approx(stated, abs=four_errors(stated))
    assert covered < 0.95 - four_errors(0.95)


def test_the_docstring_states_the_coverage_that_was_measured():
    for name, words in (("exponential", "88, 90, 93 %"), ("lognormal", "82, 84, 88 %")):
        assert ", ".join(f"{100 * SKEWED[name, n]:.0f}" for n in (5, 10, 30)) + " %" == words
        assert words in " ".join(student_interval.__doc__.split())


def test_the_vectorised_t_of_these_simulations_is_the_modules():
    values = np.random.default_rng(2).normal(size=(50, 7))
    expected = 2 * stats.t.sf(np.abs(t_and_sd(values)[0]), 6)
    assert [paired_t(row) for row in values] == pytest.approx(expected, rel=1e-12)  # rounding of one division


# The sign-flip test


def test_darwins_maize_gives_fishers_count_of_sign_patterns():
    # 863 of the 32,768 patterns have a sum of 314 or more (Fisher 1935), and as many −314 or less
    assert sign_flip(MAIZE) == inference.SignFlip(2 * 863 / 32768, exact=True)


def by_enumeration(differences):
    """The share of all sign patterns with |sum| at least the one seen; integers, so that ties are exact."""
    patterns = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    return float(np.mean(np.abs(patterns @ differences) >= abs(differences.sum())))


@pytest.mark.parametrize("n", range(1, 13))
def test_the_exact_p_is_that_of_writing_out_every_pattern(n):
    rng = np.random.default_rng(n)
    # steps of 1 to 10: ties and zeros in plenty; of 1e6: none
    for largest in (1, 3, 10, 1_000_000):
        for _ in range(8):
            steps = rng.integers(-largest, largest + 1, n)
            assert sign_flip(steps) == inference.SignFlip(by_enumeration(steps), exact=True)
            # the same steps where each is rounded to a double
            assert sign_flip(steps / 1000 * 7).p == by_enumeration(steps)


def by_convolution(differences):
    """The same share from the distribution of the sum, built one integer at a time: no limit on n, and Python's ints."""
    counts = {0: 1}
    for size in map(abs, map(int, differences)):
        grown = {}
        for total, count in counts.items():
            for moved in (total - size, total + size):
                grown[moved] = grown.get(moved, 0) + count
        counts = grown
    seen = abs(int(differences.sum()))
    return sum(count for total, count in counts.items() if abs(total) >= seen) / 2 ** len(differences)


@pytest.mark.parametrize("n", [20, 33, 40])
def test_the_exact_p_is_right_up_to_its_last_n(n):
    steps = np.random.default_rng(n).integers(-20, 30, n)
    steps[steps == 0] = 7
    assert sign_flip(steps) == inference.SignFlip(by_convolution(steps), exact=True)


@pytest.mark.parametrize("examples", [500, 1319, 10_000, 50_000])
def test_ties_of_accuracies_in_single_precision_count_as_ties(examples):
    rng, wrong_without = np.random.default_rng(examples), 0
    for n, spread in itertools.product([6, 12, 25], [3, 30]):
        arm, baseline = (np.rint(0.9 * examples + rng.normal(0, spread, n)).astype(int) for _ in range(2))
        points = [100 * (correct / examples).astype(np.float32).astype(float) for correct in (arm, baseline)]
        differences, expected = points[0] - points[1], by_convolution(arm - baseline)
        assert sign_flip(differences, resolution=6e-6).p == expected
        wrong_without += sign_flip(differences).p != expected
    assert wrong_without > 0


def test_zeros_leave_the_p_as_it_is_and_zeros_alone_show_nothing():
    assert sign_flip([*SLEEP, 0, 0, 0]) == sign_flip([d for d in SLEEP if d != 0])
    assert sign_flip([0.0] * 60) == inference.SignFlip(1.0, exact=True)
    assert sign_flip([1.0] * 40 + [0.0] * 60).exact


def test_it_is_scipys_permutation_test_of_pairs():
    rng = np.random.default_rng(4)
    for n in (4, 7, 10):
        differences = rng.normal(0.5, 1, n)
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=math.inf, vectorized=False
        )
        # both are counts over 2**n; scipy doubles the smaller tail, which is the same for a symmetric distribution
        assert sign_flip(differences).p == pytest.approx(expected.pvalue, abs=1e-12)


def test_beyond_forty_it_draws_patterns_and_finds_the_p_within_their_error():
    rng = np.random.default_rng(5)
    for n in (41, 60):
        steps = rng.integers(-20, 25, n)
        steps[steps == 0] = 7
        found, expected = sign_flip(steps), by_convolution(steps)
        assert not found.exact
        assert found.p == pytest.approx(expected, abs=four_errors(expected, inference.DRAWS))
        assert sign_flip(steps) == found
    # p is never 0: the pattern seen is one of those counted
    assert sign_flip([1.0] * 100).p == 1 / (inference.DRAWS + 1)


def test_its_size_is_exactly_that_of_the_attainable_levels():
    sizes = np.random.default_rng(6).exponential(size=6)
    patterns = np.array(list(itertools.product([-1, 1], repeat=6)))
    p = np.array([sign_flip(sizes * pattern).p for pattern in patterns])
    # under the null every pattern is as likely: only the least p, of all signs alike, is below 5 %
    assert np.mean(p <= 0.05) == 2 / 64
    assert set(p * 32) <= set(range(1, 33))
    assert all(np.mean(p <= level) <= level for level in (0.01, 0.05, 0.1, 0.2, 0.5))


def test_under_the_null_it_rejects_at_that_rate():
    draws = np.random.default_rng(7).normal(size=(DRAWS, 6))
    rejected = np.mean([sign_flip(row).p <= 0.05 for row in draws])
    assert rejected == pytest.approx(2 / 64, abs=four_errors(2 / 64))


def test_five_pairs_can_never_reach_five_per_cent_and_six_can():
    assert sign_flip([1, 2, 3, 4, 1e6]).p == 2 / 32
    assert sign_flip([1, 2, 3, 4, 5, 1e6]).p == 2 / 64


# Equivalence


def test_equivalence_is_statsmodels_two_one_sided_tests():
    # statsmodels 0.15.0, ttost_paired(SECOND, FIRST, -margin, margin)[0]
    reference = {1: 0.9149441145512887, 2: 0.1541572356690974, 2.5: 0.021116860246500745, 3: 0.002655570292658671}
    differences = np.subtract(SECOND, FIRST)
    for margin, p in reference.items():
        assert equivalence(differences, margin) == pytest.approx(p, rel=1e-9)  # rounding of the differences


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0, 2.0])
def test_equivalence_is_shown_exactly_where_the_90_percent_interval_lies_within(margin):
    for differences in TABLE:
        estimate = student_interval(differences, 0.90)
        assert (equivalence(differences, margin) < 0.05) == (-margin < estimate.low and estimate.high < margin)


def test_equal_differences_are_equivalent_if_they_lie_strictly_within():
    assert [equivalence([d] * 3, 0.5) for d in (0.0, 0.4, -0.4, 0.5, -0.5, 0.6)] == [0, 0, 0, 1, 1, 1]
    assert equivalence([0.3 - 0.2, 0.8 - 0.7], 0.5) == 0


def test_equivalence_at_the_edge_of_the_margin_is_claimed_one_time_in_twenty():
    rng = np.random.default_rng(8)
    claimed = np.mean([equivalence(row, 3.0) < 0.05 for row in rng.normal(3.0, 1.0, (DRAWS, 10))])
    # with the margin at 9 standard errors the other test never fails, so the size is 5 % and not less
    assert claimed == pytest.approx(0.05, abs=four_errors(0.05))


# Holm


def test_holms_adjustment_is_statsmodels():
    # statsmodels 0.15.0, multipletests(p, method="holm")[1]
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2], rel=1e-12)
    found = holm([0.0001, 0.4, 0.012, 0.012, 0.9, 0.03])
    assert found == pytest.approx([6e-4, 0.8, 0.06, 0.06, 0.9, 0.09], rel=1e-12)


def test_holm_keeps_the_order_never_lowers_a_p_and_starts_at_bonferroni():
    rng = np.random.default_rng(9)
    for _ in range(500):
        p = rng.choice([rng.uniform(size=9) ** 3, rng.integers(0, 5, 9) / 4])[: rng.integers(1, 10)]
        size = len(p) + int(rng.integers(0, 4))
        adjusted = holm(p.tolist(), size)
        assert np.all(np.diff(np.array(adjusted)[np.argsort(p)]) >= 0)
        assert np.all((adjusted >= p) & (np.array(adjusted) <= 1))
        assert adjusted[int(np.argmin(p))] == min(1, size * p.min())
        assert np.all(np.array(adjusted) <= np.minimum(1, size * p))
        # a larger family asks for more
        assert np.all(np.array(holm(p.tolist(), size + 1)) >= adjusted)


def test_a_test_that_could_not_be_made_stays_none_and_still_counts():
    assert holm([0.01, None, 0.02]) == [holm([0.01, 1.0, 0.02])[0], None, holm([0.01, 1.0, 0.02])[2]]
    assert holm([0.01, None]) == [*holm([0.01], size=2), None]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []
    assert holm([0.03], size=1) == [0.03]


# Ratios


def pairs(rng, n, correlation=0.7, spread=0.3):
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], n)
    return (1 + spread * noise).T


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_fiellers_interval_excludes_one_exactly_where_the_paired_t_test_rejects(level):
    rng, finite, excluded = np.random.default_rng(10), 0, 0
    for _ in range(1500):
        arm, baseline = pairs(rng, int(rng.integers(2, 20)), rng.uniform(-0.9, 0.99), rng.choice([0.01, 0.3, 1.0]))
        arm = arm * rng.choice([1.0, 1.0, 1.05, 1.5])
        found = ratio(arm, baseline, level)
        if found.low is None:
            # no interval exactly where the baseline's own mean may be 0
            assert paired_t(baseline) >= 1 - level
            continue
        finite, excluded = finite + 1, excluded + (not found.low <= 1 <= found.high)
        assert found.low <= found.value <= found.high
        assert (not found.low <= 1 <= found.high) == (paired_t(arm - baseline) < 1 - level)
        # and at its ends the test is on the edge; the sums cancel to about 1e-9 of themselves
        for end in (found.low, found.high):
            assert paired_t(arm - end * baseline) == pytest.approx(1 - level, rel=1e-6)
    # neither always nor never, so that the agreement means something
    assert 100 < excluded < finite - 100


def test_fiellers_interval_covers_what_it_says():
    draws = 4000
    rng, covered = np.random.default_rng(11), 0
    for _ in range(draws):
        arm, baseline = pairs(rng, 8, 0.5, 0.1)
        found = ratio(1.25 * arm, baseline)
        covered += found.low <= 1.25 <= found.high
    assert covered / draws == pytest.approx(0.95, abs=four_errors(0.95, draws))


def test_a_ratio_scales_with_its_arms():
    arm, baseline = pairs(np.random.default_rng(12), 9)
    found, scaled = ratio(arm, baseline), ratio(30 * arm, 10 * baseline)
    for key in ("value", "low", "high"):
        assert getattr(scaled, key) == pytest.approx(3 * getattr(found, key), rel=1e-12)


@pytest.mark.parametrize("arm", [[2.0, 3.0, 4.0], [2.2, 3.3, 4.4], [1.8, 2.7, 3.6]])
def test_proportional_pairs_give_an_interval_without_width(arm):
    found = ratio(arm, [2.0, 3.0, 4.0])
    assert found.low == found.value == found.high == pytest.approx(arm[0] / 2)
    # the 90 % interval has no width: it lies within 20 %; within 10 %, or on that edge, which is not within, for sure
    assert ratio_equivalence(arm, [2.0, 3.0, 4.0], 0.2) < 0.05
    assert ratio_equivalence([2.0, 3.0, 4.0], [2.0, 3.0, 4.0], 0.1) < 0.05
    if arm[0] != 2:
        assert ratio_equivalence(arm, [2.0, 3.0, 4.0], 0.1) == 1


def test_constant_arms_have_an_exact_ratio():
    assert ratio([3.0] * 4, [2.0] * 4) == inference.Ratio(1.5, 1.5, 1.5)
    assert [ratio_equivalence([3.0] * 4, [2.0] * 4, margin) for margin in (0.4, 0.5, 0.6)] == [1, 1, 0]
    assert ratio_equivalence([2.0] * 4, [2.0] * 4, 0.01) == 0
    # 1.1 · 3 lies above 3.3 by rounding, which puts nothing within the margin
    assert ratio_equivalence([3.3] * 4, [3.0] * 4, 0.1) == 1


def test_no_interval_where_the_baseline_may_be_zero_or_pairs_are_too_few():
    assert ratio([1.0, 2.0, 3.0], [-1.0, 0.5, 1.0]).low is None
    assert ratio([1.0, 2.0], [-1.0, 1.0]) == inference.Ratio(None, None, None)
    assert ratio([3.0], [2.0]) == inference.Ratio(1.5, None, None)
    assert ratio([], []) == inference.Ratio(None, None, None)


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.5])
def test_ratios_are_equivalent_exactly_where_the_90_percent_fieller_interval_lies_within(margin):
    rng, shown = np.random.default_rng(13), 0
    for _ in range(1500):
        arm, baseline = pairs(rng, int(rng.integers(2, 20)), rng.uniform(-0.9, 0.99), rng.choice([0.01, 0.1, 0.3, 1.0]))
        found = ratio(arm, baseline, 0.90)
        # a negative baseline, which measures do not have, is never shown equivalent
        within = found.low is not None and 1 - margin < found.low and found.high < 1 + margin and baseline.mean() > 0
        assert (ratio_equivalence(arm, baseline, margin) < 0.05) == within
        shown += within
    assert 100 < shown < 1400


def test_the_ratio_tests_p_is_the_larger_of_scipys_two():
    arm, baseline = pairs(np.random.default_rng(14), 12)
    below = stats.ttest_1samp(arm - 1.3 * baseline, 0, alternative="less").pvalue
    above = stats.ttest_1samp(arm - 0.7 * baseline, 0, alternative="greater").pvalue
    assert ratio_equivalence(arm, baseline, 0.3) == pytest.approx(max(below, above), rel=1e-9)


# Power


def test_the_power_of_the_t_test_is_statsmodels():
    # statsmodels 0.15.0, TTestPower().power(effect, n, alpha, alternative="two-sided")
    reference = {
        (0.5, 10, 0.05): 0.2931756065140767,
        (0.5, 34, 0.05): 0.8077775012792737,
        (1.0, 10, 0.05): 0.8030968566327218,
        (1.5, 6, 0.01): 0.4707706627509414,
        (0.3, 90, 0.05): 0.8037942968932215,
        (0.8, 5, 0.05): 0.2809920635173735,
        (2.0, 3, 0.005): 0.06280372018463116,
    }
    for (effect, n, alpha), power in reference.items():
        # the two versions of scipy may sum the series differently
        assert power_t(effect, 1.0, n, alpha) == pytest.approx(power, rel=1e-9)
        assert power_t(-3 * effect, 3.0, n, alpha) == pytest.approx(power, rel=1e-9)


def test_the_power_is_the_rate_of_rejections():
    rng = np.random.default_rng(15)
    for effect, sd, n, alpha in [(1.0, 2.0, 10, 0.05), (2.0, 1.0, 3, 0.05), (0.5, 1.0, 30, 0.01), (0.1, 1.0, 5, 0.2)]:
        t, _ = t_and_sd(rng.normal(effect, sd, (DRAWS, n)))
        expected = power_t(effect, sd, n, alpha)
        assert np.mean(np.abs(t) > stats.t.isf(alpha / 2, n - 1)) == pytest.approx(expected, abs=four_errors(expected))


def test_a_power_is_a_number_however_far_in_the_tails():
    # scipy's nct.cdf is NaN for some of these, and nct.sf does not converge for others
    effects = [0.0, 1e-9, 0.1, 0.3, 1.0, 3.0, 10.0, 1e3, 1e5, 1e6, 1e9, 1e300]
    for n, alpha in itertools.product([2, 3, 10, 100, 1000, 10_000, 1_000_000], [0.2, 0.05, 1e-6]):
        powers = [power_t(effect, 1.0, n, alpha) for effect in effects]
        assert powers[0] == pytest.approx(alpha, rel=1e-9)
        assert all(low <= high + 1e-12 for low, high in itertools.pairwise(powers))  # rounding near 1
        assert powers[-1] == 1
    assert power_t(1.0, 1.0, 1000) == 1
    # to both sides of where the noncentral t is left for its limit: the integrals differ by 1 / shift, squared
    below, above = (power_t(shift / math.sqrt(2), 1.0, 2, 1e-4) for shift in (9999.999, 10000.001))
    assert above == pytest.approx(below, abs=1e-6)
    assert (power_t(0.1, 0.0, 2), power_t(0.0, 0.0, 2)) == (1.0, 0.05)


@pytest.mark.parametrize(("effect", "n"), [(0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_the_pairs_for_80_percent_power_are_the_known_ones(effect, n):
    # statsmodels 0.15.0, TTestPower().solve_power: 89.149, 33.367, 14.303, 9.938, 5.686
    assert pairs_to_detect(effect, 1.0) == n
    assert pairs_to_detect(-2 * effect, 2.0, least=2) == n


def test_the_fewest_pairs_are_enough_and_one_less_is_not():
    for effect, alpha, power in itertools.product([0.05, 0.4, 0.9], [0.05, 0.005], [0.5, 0.8, 0.95]):
        n = pairs_to_detect(effect, 1.0, alpha, power)
        assert power_t(effect, 1.0, n, alpha) >= power > power_t(effect, 1.0, n - 1, alpha)
        n = pairs_for_equivalence(effect, 1.0, 0.2 * effect, alpha, power)
        same = effect, 1.0, n, 0.2 * effect, alpha
        assert power_equivalence(*same) >= power > power_equivalence(effect, 1.0, n - 1, 0.2 * effect, alpha)


def test_the_detectable_effect_is_found_with_just_that_power():
    for n, alpha, power in itertools.product([2, 3, 5, 10, 30, 1000], [0.05, 0.05 / 50], [0.2, 0.8, 0.99]):
        effect = detectable(3.0, n, alpha, power)
        # brentq stops at 2e-12 of the noncentrality
        assert power_t(effect, 3.0, n, alpha) == pytest.approx(power, abs=1e-9)
    # statsmodels 0.15.0, TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8), to the six digits of its solver
    assert [detectable(1.0, n) for n in (5, 10, 30)] == pytest.approx([1.681997, 0.996002, 0.529236], abs=1e-6)
    assert (detectable(1.0, 1), detectable(1.0, 0), detectable(0.0, 5)) == (None, None, 0.0)


def test_the_most_pairs_are_still_an_answer(monkeypatch):
    monkeypatch.setattr(inference, "MOST_PAIRS", 90)
    assert pairs_to_detect(0.3, 1.0) == 90
    monkeypatch.setattr(inference, "MOST_PAIRS", 89)
    assert pairs_to_detect(0.3, 1.0) is None


def test_a_plan_without_an_answer_says_none_and_a_sure_one_the_least():
    assert pairs_to_detect(0.0, 1.0) is None
    assert pairs_to_detect(0.0, 0.0) is None
    assert pairs_to_detect(1e-4, 1.0) is None  # 7.8e8 pairs
    assert pairs_to_detect(0.0029, 1.0) < inference.MOST_PAIRS
    assert (pairs_to_detect(9.0, 1.0), pairs_to_detect(9.0, 1.0, least=2), pairs_to_detect(1.0, 0.0)) == (6, 3, 6)
    assert pairs_for_equivalence(0.001, 1.0) is None
    assert pairs_for_equivalence(0.5, 1.0, effect=0.5) is None
    assert pairs_for_equivalence(0.5, 0.0, effect=-0.6) is None
    assert pairs_for_equivalence(0.5, 0.0, effect=0.4) == 2
    assert isinstance(pairs_for_equivalence(0.5, 1.0), int)
    assert isinstance(pairs_to_detect(0.5, 1.0), int)


@pytest.mark.parametrize("tests", [1, 2, 5])
def test_effects_planned_at_a_share_of_alpha_are_found_after_holm_as_often_as_planned(tests):
    n, planned = 10, 0.8
    effect = detectable(1.0, n, 0.05 / tests, planned)
    draws = np.random.default_rng(16).normal(effect, 1.0, (DRAWS * tests, n))
    p = 2 * stats.t.sf(np.abs(t_and_sd(draws)[0]), n - 1).reshape(DRAWS, tests)
    found = np.mean([[adjusted < 0.05 for adjusted in holm(row)] for row in p.tolist()], axis=0)
    # the first to be found lets the others be tested at more than alpha / tests
    assert np.all(found >= planned - four_errors(planned))
    if tests == 1:
        assert found == pytest.approx(planned, abs=four_errors(planned))


def test_the_power_of_equivalence_is_the_rate_at_which_it_is_shown():
    rng = np.random.default_rng(17)
    plans = [
        (1, 1, 10, 0),
        (0.5, 1, 36, 0),
        (0.8, 1, 15, 0.3),
        (2, 1, 3, -0.5),
        (3, 1, 2, 0),
        (0.3, 1, 10, 0),
        (9, 1, 2, 8),
    ]
    for (margin, sd, n, effect), alpha in itertools.product(plans, [0.05, 0.01]):
        values = rng.normal(effect, sd, (DRAWS, n))
        half = stats.t.isf(alpha, n - 1) * t_and_sd(values)[1]
        expected = power_equivalence(margin, sd, n, effect, alpha)
        shown = np.mean(np.abs(values.mean(axis=1)) + half < margin)
        assert shown == pytest.approx(expected, abs=four_errors(expected))


def test_the_power_of_equivalence_is_a_plain_sum_over_the_sample_sd():
    plans = [(1, 10, 0, 0.05), (0.05, 4000, 0.02, 0.01), (3, 2, 1, 0.05), (1545.55, 2, 0, 9.4e-5), (40, 3, 9, 1e-3)]
    for margin, n, effect, alpha in plans:
        critical, error, points = stats.t.isf(alpha, n - 1), 1 / math.sqrt(n), 1_000_000
        # up to where no mean fits, or an sd that is exceeded less than once in 1e8
        largest = min(margin / critical / error, math.sqrt(stats.chi2.isf(1e-8, n - 1) / (n - 1)))
        s = (np.arange(points) + 0.5) * largest / points
        upper, lower = (
            stats.norm.cdf((side - effect) / error)
            for side in (margin - critical * error * s, critical * error * s - margin)
        )
        expected = (upper - lower) @ stats.chi.pdf(s, n - 1, scale=1 / math.sqrt(n - 1)) * largest / points
        assert power_equivalence(margin, 1.0, n, effect, alpha) == pytest.approx(expected, abs=3e-8)  # what is cut off


def test_the_power_of_equivalence_keeps_its_bounds():
    for margin, n, alpha in itertools.product([0.01, 0.3, 1.0, 10.0, 1e4], [2, 3, 10, 1000, 1_000_000], [0.05, 0.001]):
        inside, edge, beyond = (power_equivalence(margin, 1.0, n, side * margin, alpha) for side in (0, 1, 1.5))
        # on the edge of the margin it is the size of the test: alpha, or less where the other side matters too
        assert 0 <= beyond <= edge <= min(alpha, inside) + 1e-8  # the integral's tolerance
        assert inside <= 1
        assert power_equivalence(margin, 1.0, n, -0.5 * margin, alpha) == pytest.approx(
            power_equivalence(2 * margin, 2.0, n, margin, alpha), abs=1e-8
        )
    assert power_equivalence(10.0, 1.0, 100, 10.0) == pytest.approx(0.05, abs=1e-8)
    assert [power_equivalence(0.5, 0.0, 3, effect) for effect in (0.4, 0.5, 0.6)] == [1, 0, 0]


@pytest.mark.parametrize(("margin", "n"), [(0.3, 97), (0.5, 36), (0.8, 15), (1.0, 11)])
def test_the_pairs_to_show_equivalence_are_the_known_ones(margin, n):
    # at margin 1, ten pairs have 79.52 % (2,000,000 draws: 79.53 %)
    assert pairs_for_equivalence(margin, 1.0) == n


# Runs that miss


def test_clopper_and_pearsons_interval_is_scipys_and_statsmodels():
    for n in (1, 2, 7, 30, 1000):
        for k, level in itertools.product(sorted({0, 1, n // 3, n - 1, n}), [0.9, 0.95]):
            expected = stats.binomtest(k, n).proportion_ci(level, "exact")
            assert clopper_pearson(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-9)  # brentq's
    # statsmodels 0.15.0, proportion_confint(k, n, 0.05, method="beta")
    assert clopper_pearson(3, 10) == pytest.approx((0.06673951117773447, 0.6524528500599973), rel=1e-12)
    assert clopper_pearson(27, 30) == pytest.approx((0.7347115495257919, 0.9788828629702774), rel=1e-12)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_clopper_and_pearsons_interval_covers_at_least_what_it_says():
    intervals = np.array([clopper_pearson(k, 12) for k in range(13)])
    for share in np.linspace(0.001, 0.999, 400):
        covering = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
        assert stats.binom.pmf(np.arange(13), 12, share)[covering].sum() >= 0.95 - 1e-12  # rounding of a sum of 13


def test_misses_and_late_times_count_as_the_horizon():
    assert censored([3, None, 12.5, 10, 0], 10).tolist() == [3, 10, 10, 10, 0]
    assert censored([], 10).size == 0


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_the_mean_of_censored_times_is_the_area_under_the_kaplan_meier_curve(missing):
    rng, horizon = np.random.default_rng(18), 20.0
    for n in (1, 2, 15, 60):
        # whole epochs, so that times tie
        times = [None if rng.uniform() < missing else float(rng.integers(1, 26)) for _ in range(n)]
        reached = [time for time in times if time is not None and time <= horizon]
        data = stats.CensoredData(uncensored=reached, right=[horizon] * (n - len(reached)))
        curve = stats.ecdf(data).sf
        edges = np.concatenate([[0.0], curve.quantiles[curve.quantiles < horizon], [horizon]])
        area = np.concatenate([[1.0], curve.probabilities[curve.quantiles < horizon]]) @ np.diff(edges)
        assert censored(times, horizon).mean() == pytest.approx(area, rel=1e-12)  # two orders of a sum


# What is refused


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired_t([1.0]), "at least 2 values .* got \\[1.0\\]; run more seeds"),
        (lambda: equivalence([1.0], 1.0), "at least 2 values"),
        (lambda: sign_flip([]), "at least 1 values"),
        (lambda: ratio_equivalence([1.0], [1.0], 0.1), "at least 2 values"),
        (lambda: paired_t([1.0, math.nan]), "finite, got .*nan.*; a run without a value is counted"),
        (lambda: sign_flip([1.0, math.inf]), "finite, got .*inf"),
        (lambda: equivalence([1.0, math.nan], 1.0), "finite"),
        (lambda: ratio([1.0, math.nan], [1.0, 1.0]), "finite"),
        (lambda: ratio([1.0, 2.0], [1.0]), "pairs, got 2 and 1 values; match them by seed"),
        (lambda: censored([1.0, math.nan], 2.0), "finite"),
        (lambda: censored([-1.0], 2.0), "times must be >= 0, got .*; give None"),
        (lambda: censored([1.0], 0.0), "horizon must lie strictly between 0 and inf, got 0.0"),
        (lambda: equivalence([1.0, 2.0], 0.0), "margin must lie strictly between 0 and inf, got 0.0"),
        (lambda: ratio_equivalence([1.0, 2.0], [1.0, 2.0], -0.1), "margin"),
        (lambda: power_equivalence(math.nan, 1.0, 5), "margin"),
        (lambda: pairs_for_equivalence(0.0, 1.0), "margin"),
        (lambda: student_interval([1.0, 2.0], 95), "level must lie strictly between 0 and 1, got 95; 95 % is 0.95"),
        (lambda: power_t(1.0, 1.0, 5, alpha=5), "alpha .* 5 % is 0.05"),
        (lambda: pairs_to_detect(1.0, 1.0, power=80), "power .* 80 % is 0.8"),
        (lambda: detectable(1.0, 5, alpha=0.2, power=0.1), "power must be > alpha"),
        (lambda: power_t(1.0, -1.0, 5), "sd >= 0, got 1.0 and -1.0; take the sd from a pilot"),
        (lambda: power_t(math.inf, 1.0, 5), "effect must be finite"),
        (lambda: power_t(1.0, 1.0, 1), "n must be >= 2, got 1"),
        (lambda: holm([0.1, 0.2], size=1), "size must be >= the 2 tests given, got 1; count the whole declared family"),
        (lambda: holm([0.1, math.nan]), "p values must lie in"),
        (lambda: clopper_pearson(3, 2), "k = 3, n = 2"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value_and_the_cure(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Planted effects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 15])
def test_normal_differences_at_the_margin_are_called_equivalent_in_five_of_a_hundred_cases(n) -> None:
    quantiles = stats.norm.ppf((np.arange(5_000) + 0.5) / 5_000)
    # Two standard errors of 20,000 draws either way, twice: the worse of both sides is told.
    assert inference.false_equivalence(quantiles, 10.0, n) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 20_000))


def test_rare_failures_make_equivalent_false_as_often_as_none_is_drawn() -> None:
    # One pair in twenty is far off: without it all draws lie within the margin, and are the same.
    rare = np.array([0.0] * 19 + [1.0])
    found = inference.false_equivalence(rare, 5.0, 10)
    assert found == pytest.approx(0.95**10, abs=4 * math.sqrt(0.25 / 20_000))


def test_a_spread_as_wide_as_the_margin_is_seldom_called_equivalent() -> None:
    assert inference.false_equivalence(stats.norm.ppf((np.arange(5_000) + 0.5) / 5_000), 0.5, 6) < 0.05


def test_differences_are_rounded_by_the_precision_that_their_values_have() -> None:
    single = np.array([0.9, 0.91, 0.92], dtype=np.float32).astype(float)
    off = np.nextafter(single.astype(np.float32), 2).astype(float)
    # In points, as they are shown: one bit of single precision is no difference.
    assert inference.differences(100 * off, 100 * single, 100)[0].tolist() == [0, 0, 0]
    means = np.array([0.9, 0.91, 0.92]) + 1e-12
    found, resolution = inference.differences(means + 1e-8 * np.arange(3), means)
    assert found == pytest.approx([0, 1e-8, 2e-8], abs=1e-15)
    assert resolution < 1e-14
