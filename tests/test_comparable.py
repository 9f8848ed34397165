"""Has a run a value to pair, and can the runs be compared at all? What cannot is refused in words.

The sweeps are those that ``test_verdicts`` makes up.
"""

import numpy as np
import pytest
from scipy import stats
from test_verdicts import CONFIG, SECONDS, a_claim, fieller, four_errors, made_up, only, pair, timed

from superpositional import records
from superpositional.evidence import inference, pairing
from superpositional.evidence.verdicts import judge
from superpositional.records import Sweep
from superpositional.records.published import THINNED_POINTS, publish

# Incomplete pairs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["failed", "interrupted", "not run", "gave no value"])
def test_incomplete_pairs_are_refused_and_named(reason) -> None:
    values, changed = pair([2.0, 3, 2, 3, 2, 3, 2, 3]), {}
    for arm, seed in (("x", 2), ("adam", 5)):
        if reason == "not run":
            values[arm][seed] = None
        else:
            changed[arm, seed] = {"summary": {}} | ({} if reason == "gave no value" else {"status": reason})
    verdict = only(made_up(values, runs=changed), published=2.5, claimed="superior")
    assert verdict.verdict == verdict.answer == "no verdict"
    assert verdict.refusals == (f"2 of 8 pairs are incomplete, {reason} (seeds 2, 5)",)
    # 3, 2, 3, 2, 2, 3 less those of seeds 2 and 5: 2, 3, 3, 2, 2, 3; sd sqrt(0.3), half-width 2.5706 sqrt(0.3 / 6).
    assert verdict.sentence == (
        f"C, x vs adam, score: no verdict: 2 of 8 pairs are incomplete, {reason} (seeds 2, 5). Of the 6 pairs there are: "
        "+2.50 [+1.93, +3.07]."
    )
    assert (verdict.effect.n, verdict.planned) == (6, 8)
    # Nothing but the numbers of the pairs that there are: no p, and the published value is not said to lie anywhere.
    assert (verdict.p, verdict.p_holm, verdict.sign_flip, verdict.published_within) == (None, None, None, None)


def test_a_pair_that_lost_both_sides_is_one_pair_and_every_reason_is_told() -> None:
    values = pair([1.0] * 6)
    values["x"][0] = values["adam"][0] = None
    changed = {("x", 3): {"status": "failed", "summary": {}}, ("adam", 3): {"status": "diverged", "summary": {}}}
    assert only(made_up(values, runs=changed)).refusals == (
        # What diverged has a rank, what failed has none.
        "1 of 6 pairs are incomplete, failed (seed 3)",
        "1 of 6 pairs are incomplete, not run (seed 0)",
    )


def test_another_arms_lost_runs_do_not_concern_a_claim() -> None:
    values = {**pair([2.0, 3, 2, 3, 2, 3]), "y": [1.0, None, None, None, None, None]}
    changed = {("y", 0): {"status": "failed", "code": "beef", "execution": "compiled"}}
    assert only(made_up(values, runs=changed)).verdict == "superior"


def test_one_pair_and_no_pair_are_refused_as_such() -> None:
    assert only(made_up(pair([1.0]))).refusals == ("1 pair allows no interval; run more seeds",)
    assert "Of the 1 pair there are: +1.00 (no interval)." in only(made_up(pair([1.0]))).sentence
    nothing = only(made_up({"adam": [None, None], "x": [None, None]}))
    assert nothing.refusals == ("2 of 2 pairs are incomplete, not run (seeds 0, 1)",)
    assert nothing.sentence.endswith("(seeds 0, 1).")
    empty = only(made_up({"adam": [], "x": []}))
    assert empty.refusals == ("no pair to compare",)


def test_a_metric_that_no_run_has_is_refused_with_what_may_be_meant() -> None:
    sweep = made_up(pair([2.0, 3, 2, 3, 2, 3]), metric="test/accuracy")
    verdict = only(sweep, metric="test/acuracy")
    assert verdict.refusals == ("no run has test/acuracy; did you mean test/accuracy?",)
    assert verdict.sentence == (
        "C, x vs adam, test/acuracy: no verdict: no run has test/acuracy; did you mean test/accuracy?"
    )
    assert only(sweep, metric="zzz").refusals == ("no run has zzz; known: test/accuracy",)
    none = made_up({"adam": [{}] * 2, "x": [{}] * 2})
    assert only(none, metric="zzz").refusals == ("no run has zzz; known: none",)
    # Of one arm that lacks it, the pairs are told.
    some = made_up({"adam": [{"other": 1.0}] * 2, "x": [{"score": 1.0, "other": 1.0}] * 2})
    assert only(some).refusals == ("2 of 2 pairs are incomplete, gave no value (seeds 0, 1)",)


# Runs that cannot be compared ----------------------------------------------------------------------------------------


def changed_config(**nodes) -> dict:
    return {"config": CONFIG | nodes}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"code": "beef"}, "code versions (11 with c0de, 1 with beef)"),
        ({"execution": "compiled"}, "execution modes (11 with eager, 1 with compiled)"),
        (changed_config(data=CONFIG["data"] | {"length": 18}), "the setting data.length (11 with 16, 1 with 18)"),
        (
            changed_config(data=CONFIG["data"] | {"noise": {"kind": "flips", "share": 0.2}}),
            "the setting data.noise.share (11 with 0.1, 1 with 0.2)",
        ),
        (changed_config(data=CONFIG["data"] | {"extra": 3}), "the setting data.extra (11 with none, 1 with 3)"),
        (changed_config(data=CONFIG["data"] | {"ordered": False}), "the setting data.ordered (11 with none, 1 with false)"),
        (changed_config(task={"_target_": "Task"}), "the setting task.n_classes (11 with 4, 1 with none)"),
        (
            changed_config(trainer=CONFIG["trainer"] | {"max_epochs": 3}),
            "the setting trainer.max_epochs (11 with 10, 1 with 3)",
        ),
        (changed_config(threads=2), "the setting threads (11 with 1, 1 with 2)"),
        ({"summary": {"score": 2.0, "convergence/target": 0.8}}, "targets (11 with null, 1 with 0.8)"),
    ],
)
@pytest.mark.parametrize("status", ["done", "diverged"])
def test_runs_of_another_code_execution_or_task_are_refused_with_what_differs(changed, words, status) -> None:
    sweep = made_up(pair([2.0, 3, 2, 3, 2, 3]), runs={("x", 5): changed | {"status": status}})
    settings = {"metric": "diverged"} if status == "diverged" else {}
    if status == "diverged" and "targets" in words:
        # A run that diverged may not have come so far as to say its target.
        assert only(sweep, **settings).refusals == ()
        return
    verdict = only(sweep, **settings)
    assert verdict.refusals == (f"the runs differ in {words}; run the sweep again under one",)
    assert verdict.verdict == "no verdict"
    assert words in verdict.sentence


def test_what_belongs_to_an_arm_may_differ() -> None:
    """Its own sources (behind the +), its optimizer, net and circuit."""
    own = {"code": "c0de+5af3", "config": CONFIG | {"optimizer": {"lr": 1}, "net": {"attention": "quantum"}}}
    sweep = made_up(pair([2.0, 3, 2, 3, 2, 3]), runs={("x", seed): own for seed in range(6)})
    verdict = only(sweep)
    assert (verdict.verdict, verdict.refusals, verdict.cautions) == ("superior", (), ())


def test_the_schedules_of_a_task_belong_to_the_method_and_its_other_settings_do_not() -> None:
    values = pair([2.0, 3, 2, 3, 2, 3])
    for key in ("lambda_schedule", "lr_schedule"):
        own = changed_config(task=CONFIG["task"] | {key: {"_target_": "Cosine", "start": 0.5}})
        verdict = only(made_up(values, runs={("x", seed): own for seed in range(6)}))
        assert (verdict.verdict, verdict.refusals, verdict.cautions) == ("superior", (), ())
    near = changed_config(task=CONFIG["task"] | {"schedules": 3})
    (refused,) = only(made_up(values, runs={("x", 5): near})).refusals
    assert refused.startswith("the runs differ in the setting task.schedules (11 with none, 1 with 3)")


def test_other_devices_are_a_caution_and_for_times_a_refusal() -> None:
    other = {("x", seed): {"device": "NVIDIA H200"} for seed in range(6)}
    verdict = only(made_up(pair([2.0, 3, 2, 3, 2, 3]), runs=other))
    caution = "the runs compared differ in devices: cpu (6 runs), NVIDIA H200 (6 runs)"
    assert (verdict.verdict, verdict.cautions) == ("superior", (caution,))
    assert verdict.sentence.endswith(f" Caution: {caution}.")
    # Those of an arm that is not compared are none of its business.
    values = pair([2.0, 3, 2, 3, 2, 3]) | {"y": [1.0] * 6}
    assert only(made_up(values, runs={("y", 0): {"device": "NVIDIA H200"}})).cautions == ()
    assert only(timed(changed=other), metric=SECONDS).verdict == "no verdict"


def test_other_kernels_are_a_caution() -> None:
    other = {("x", seed): {"kernels": "torch's (no C++ compiler: c++)"} for seed in range(6)}
    verdict = only(made_up(pair([2.0, 3, 2, 3, 2, 3]), runs=other))
    words = "the runs compared differ in kernels: not said (6 runs), torch's (no C++ compiler: c++) (6 runs)"
    assert (verdict.verdict, verdict.cautions) == ("superior", (words,))


def test_runs_that_failed_have_their_own_refusal_and_not_that_of_a_mixture() -> None:
    lost = {("x", 5): {"status": "failed", "summary": {}, "code": "beef", "config": {}}}
    verdict = only(made_up(pair([2.0, 3, 2, 3, 2, 3]), runs=lost))
    assert verdict.refusals == ("1 of 6 pairs are incomplete, failed (seed 5)",)


def test_other_packages_are_a_caution_and_no_refusal() -> None:
    other = {("x", 5): {"versions": {"torch": "2.14.0"}}}
    verdict = only(made_up(pair([2.0, 3, 2, 3, 2, 3]), runs=other))
    assert verdict.verdict == "superior"
    caution = "the runs compared differ in torch: 2.13.0 (11 of 12 runs), 2.14.0 (1 of 12 runs)"
    assert verdict.cautions == (caution,)
    assert verdict.sentence.endswith(f" Caution: {caution}.")


TUNED = {"arms": {"adam": {}, "x": {}}, "equal_budget": True, "why_not": []}


def test_arms_tuned_with_unequal_budgets_or_not_at_all_are_refused() -> None:
    values = pair([2.0, 3, 2, 3, 2, 3])
    assert only(made_up(values, tuned=TUNED)).verdict == "superior"
    unequal = TUNED | {"equal_budget": False, "why_not": ["x spent 3 h and adam 1 h", "x has 9 trials, adam 8"]}
    assert only(made_up(values, tuned=unequal)).refusals == (
        "the arms were tuned with unequal budgets: x spent 3 h and adam 1 h; x has 9 trials, adam 8",
    )
    assert only(made_up(values, tuned=TUNED | {"arms": {"adam": {}}})).refusals == (
        "x had no share in the search that tuned the others; search for every arm",
    )


def test_at_swept_values_an_arm_was_tuned_as_its_own() -> None:
    values = {"adam,data.length=16": [0.0] * 6, "x,data.length=16": [2.0, 3, 2, 3, 2, 3]}
    claim = {"arm": "x,data.length=16", "baseline": "adam,data.length=16"}
    assert only(made_up(values, tuned=TUNED), **claim).verdict == "superior"
    longer = {"adam,data.length=16": [0.0] * 6, "xx,data.length=16": [2.0, 3, 2, 3, 2, 3]}
    refused = only(made_up(longer, tuned=TUNED), **claim | {"arm": "xx,data.length=16"})
    assert "xx,data.length=16 had no share in the search" in refused.sentence


def test_every_reason_is_told_at_once() -> None:
    changed = {("x", 5): {"code": "beef", "execution": "compiled"}, ("x", 0): {"status": "failed", "summary": {}}}
    refused = only(made_up(pair([2.0, 3, 2, 3, 2, 3]), runs=changed, tuned=TUNED | {"arms": {"x": {}}}))
    assert [text.split("(")[0].strip() for text in refused.refusals] == [
        "1 of 6 pairs are incomplete, failed",
        "the runs differ in code versions",
        "the runs differ in execution modes",
        "adam had no share in the search that tuned the others; search for every arm",
    ]


# Times to a target ---------------------------------------------------------------------------------------------------

EPOCHS = "convergence/epochs_to_target"


def reached(*epochs) -> list[dict]:
    """Summaries of runs that reached the target then; None never did."""
    return [{"convergence/target": 0.9} | ({} if each is None else {EPOCHS: each}) for each in epochs]


def test_misses_and_diverged_runs_stand_with_the_length_of_training() -> None:
    # Of twelve each three and two, no more than a quarter.
    base, arm = reached(*[8.0, 9.0, None, 8.5, 9.5, 9.0] * 2), reached(*[6.0, 7.0, 6.5, 5.0, None, 6.0] * 2)
    # Run x/3 passed the target on its way and diverged: it did not reach it. RECORD has 50 steps of 5 an epoch.
    lost = {("x", 3): {"status": "diverged"}}
    verdict = only(made_up({"adam": base, "x": arm}, runs=lost), metric=EPOCHS, unit="epochs", better="lower")
    assert verdict.refusals == ()
    assert verdict.missed == {"x": 3, "adam": 2}
    a, b = np.array([6.0, 7.0, 6.5, 5.0, 10.0, 6.0] * 2), np.array([8.0, 9.0, 10.0, 8.5, 9.5, 9.0] * 2)
    a[3] = 10.0
    assert verdict.effect.n == 12
    assert verdict.effect.mean == pytest.approx((a - b).mean(), rel=1e-12)
    assert verdict.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert "x: 3 censored; adam: 2 censored" in verdict.sentence
    as_ratio = only(made_up({"adam": base, "x": arm}, runs=lost), metric=EPOCHS, compare="ratio", better="lower", margin=5)
    assert as_ratio.effect.mean == pytest.approx(100 * (a.mean() / b.mean() - 1), rel=1e-12)
    assert (as_ratio.effect.low, as_ratio.effect.high) == pytest.approx(fieller(a, b, 0.95), rel=1e-9)
    assert as_ratio.missed == {"x": 3, "adam": 2}


NOTHING = "this tells nothing of the arms; choose callbacks.convergence.target or validate more often"


@pytest.mark.parametrize("compare", ["difference", "ratio"])
def test_arms_with_one_and_the_same_time_in_all_runs_are_refused(compare) -> None:
    never = made_up({"adam": reached(*[None] * 6), "x": reached(*[None] * 6)})
    verdict = only(never, metric=EPOCHS, compare=compare)
    assert (verdict.verdict, verdict.p, verdict.missed) == ("no verdict", None, {"x": 6, "adam": 6})
    assert verdict.refusals == (f"no run reached the target: {NOTHING}",)
    at_once = made_up({"adam": reached(*[2.0] * 6), "x": reached(*[2.0] * 6)})
    assert only(at_once, metric=EPOCHS, compare=compare).refusals == (
        f"every run reached the target at the same moment: {NOTHING}",
    )
    # One run that differs is enough to compare, be it the arm's or the baseline's.
    for arm in ("adam", "x"):
        values = {"adam": reached(*[None] * 6), "x": reached(*[None] * 6)}
        values[arm] = reached(9.0, *[None] * 5)
        verdict = only(made_up(values), metric=EPOCHS, compare=compare)
        assert (verdict.refusals, verdict.verdict != "no verdict") == ((), True)
    # And so are two moments, one of each arm.
    apart = made_up({"adam": reached(*[2.0] * 6), "x": reached(*[3.0] * 6)})
    assert only(apart, metric=EPOCHS, compare=compare).refusals == ()


def test_a_published_value_is_not_of_restricted_means() -> None:
    base, arm = (
        reached(*times, *times[:2], 8.8, *times[3:])
        for times in ([8.0, 9.0, None, 8.5, 9.5, 9.0], [6.0, 7.0, None, 6.1, None, 6.0])
    )
    arm[10] = reached(6.2)[0]
    settings = {"metric": EPOCHS, "better": "lower"}
    caution = "3 runs are censored here, and the published value is not of restricted means"
    told = only(made_up({"adam": base, "x": arm}), published=-2.0, **settings)
    assert told.cautions == (caution,)
    assert told.sentence.endswith(f" Caution: {caution}.")
    assert only(made_up({"adam": base, "x": arm}), **settings).cautions == ()
    there = {"adam": reached(8, 9, 9, 8.5, 9.5, 9), "x": reached(6, 7, 6.5, 5, 5.5, 6)}
    assert only(made_up(there), published=-2.0, **settings).cautions == ()


@pytest.mark.parametrize(
    ("metric", "horizon"),
    [(EPOCHS, 10.0), ("convergence/steps_to_target", 50.0), ("convergence/updates_to_target", 50.0)],
)
def test_the_length_of_training_is_in_the_metrics_own_unit_and_scale(metric, horizon) -> None:
    rows = [{"convergence/target": 0.9, metric: 1.0} for _ in range(6)]
    missed = [{"convergence/target": 0.9} for _ in range(6)]
    verdict = only(made_up({"adam": rows, "x": missed}), metric=metric, scale=2.0)
    # Of runs all of which missed it a bound.
    assert (verdict.effect.mean, verdict.effect.low) == (None, 2 * (horizon - 1.0))


def test_all_runs_are_censored_at_the_shortest_of_both_arms() -> None:
    # 40 steps are 8 epochs; a run may reach the target with its last validation, and those that missed it stand with 8.
    shorter = {("adam", 0): {"steps": 40}}
    sweep = made_up({"adam": reached(1, 1, 1, 1, 1, 1), "x": reached(8, None, 7, 8, 8, 8)}, runs=shorter)
    verdict = only(sweep, metric=EPOCHS)
    assert verdict.refusals == ()
    assert (verdict.effect.mean, verdict.missed) == (pytest.approx(47 / 6 - 1, rel=1e-12), {"x": 1, "adam": 0})


@pytest.mark.parametrize(("scale", "compare"), [(1.0, "difference"), (3.0, "difference"), (1.0, "ratio")])
def test_a_target_reached_after_the_shortest_run_had_ended_stands_with_that_and_is_told(scale, compare) -> None:
    shorter = {("adam", 0): {"steps": 40}}
    arms = {"adam": reached(*[4] * 11, 8.1), "x": reached(9, None, 9, *[8] * 9)}
    verdict = only(made_up(arms, runs=shorter), metric=EPOCHS, scale=scale, compare=compare)
    assert (verdict.refusals, verdict.missed) == ((), {"x": 1, "adam": 0})
    # Restricted to 8 epochs: x has 8 in every run, adam 4 in eleven of twelve.
    difference = 8 - 52 / 12
    expected = scale * difference if compare == "difference" else 100 * difference / (52 / 12)
    assert verdict.effect.mean == pytest.approx(expected, rel=1e-12)
    told = "3 runs reached the target after the shortest run of the comparison had ended, and stand with that"
    assert told in verdict.cautions
    # The length of an arm that is not compared is none of its business.
    values = {"adam": reached(1, 2, 1, 2, 1, 9), "x": reached(9, 8, 9, 8, None, 8), "y": reached(*[1] * 6)}
    assert only(made_up(values, runs={("y", 0): {"steps": 5}}), metric=EPOCHS).refusals == ()


def test_a_target_that_was_never_measured_is_no_miss() -> None:
    rows = [{"other": 1.0}] * 6
    verdict = only(made_up({"adam": rows, "x": rows}), metric=EPOCHS)
    assert verdict.refusals == ("6 of 6 pairs are incomplete, gave no value (seeds 0–5)",)


@pytest.mark.parametrize("reason", ["failed", "interrupted", "not run"])
def test_runs_that_ended_otherwise_are_refused_for_times_too(reason) -> None:
    values = {"adam": reached(1, 2, 1, 2, 1, 2), "x": reached(1, 2, 1, 2, 1, 2)}
    if reason == "not run":
        values["x"][4] = None
    verdict = only(made_up(values, runs={("x", 4): {"status": reason}}), metric=EPOCHS)
    assert verdict.refusals == (f"1 of 6 pairs are incomplete, {reason} (seed 4)",)


def test_an_unknown_length_of_training_is_refused_and_named() -> None:
    values = {"adam": reached(1, 2, 1, 2, 1, 2), "x": reached(1, 2, 1, None, 1, 2)}
    words = ("6 of 6 pairs are incomplete, length of training unknown (seeds 0–5)",)
    for unknown in ({"steps": None}, {"steps": 0}, {"steps_per_epoch": None}):
        assert only(made_up(values, runs={("x", 1): unknown}), metric=EPOCHS).refusals == words
    # Where all runs of both arms diverged, none tells how long training was to be.
    lost = {(arm, seed): {"status": "diverged"} for arm in values for seed in range(6)}
    assert only(made_up(values, runs=lost), metric=EPOCHS).refusals == words
    # An arm all of whose runs diverged stands with the other's length.
    lost = {("x", seed): {"status": "diverged"} for seed in range(6)}
    low, _ = stats.t.interval(0.95, 5, 10 - 1.5, stats.sem([9, 8] * 3))
    assert only(made_up(values, runs=lost), metric=EPOCHS).effect.low == pytest.approx(low, rel=1e-9)


# Divergence ----------------------------------------------------------------------------------------------------------


def diverging(arm_lost, baseline_lost=(), n=8) -> Sweep:
    lost = {("x", seed): {"status": "diverged", "summary": {}} for seed in arm_lost}
    lost |= {("adam", seed): {"status": "diverged", "summary": {}} for seed in baseline_lost}
    return made_up(pair([0.0] * n), runs=lost)


def test_diverged_runs_count_as_one_and_done_ones_as_nothing() -> None:
    settings = {"metric": "diverged", "scale": 100, "unit": "points", "better": "lower", "margin": 10}
    verdict = only(diverging([0, 1, 2, 3, 4, 5, 6], [6, 7]), **settings)
    # Differences 1 six times, 0 and −1: mean 5 / 8.
    assert (verdict.effect.n, verdict.effect.mean, verdict.refusals) == (8, 62.5, ())
    # Of 7 discordant pairs 1 or less the one way: 2 (1 + 7) / 2^7.
    assert (verdict.verdict, verdict.p) == ("inconclusive", 2 * 8 / 2**7)
    six = only(diverging(range(6)), **settings)
    assert (six.verdict, six.p, six.effect.mean) == ("inferior", 2 / 2**6, 75)
    # Equal differences decide as others do, and five are too few.
    every = only(diverging(range(8)), **settings)
    assert (every.verdict, every.p, every.effect.mean) == ("inferior", 2 / 2**8, 100)
    assert only(diverging(range(5), n=5), **settings).verdict == "inconclusive"
    # Eight runs of which none diverged allow a share of a third.
    none = only(diverging([]), **settings)
    assert (none.verdict, none.p, none.sd, none.detectable, none.pairs) == ("inconclusive", 1, 0, None, None)
    assert none.cautions == ("all 8 differences are the same up to rounding, no spread to judge by",)


SHARE = {"metric": "diverged", "scale": 100, "unit": "points", "better": "lower", "margin": 10}


def test_no_diverged_run_is_equivalent_only_with_enough_pairs() -> None:
    few = only(diverging([], n=15), **SHARE)
    assert few.verdict == "inconclusive"
    assert few.effect.low == -few.effect.high
    # Of no event in n: 1 - (alpha / 2)^(1 / n), each side at half of the error.
    assert few.effect.high == pytest.approx(100 * (1 - 0.0125 ** (1 / 15)), rel=1e-9)
    assert few.narrow[1] == pytest.approx(100 * (1 - 0.025 ** (1 / 15)), rel=1e-9)
    least = next(n for n in range(1, 99) if 1 - 0.025 ** (1 / n) < 0.1)
    assert only(diverging([], n=least - 1), **SHARE).verdict == "inconclusive"
    enough = only(diverging([], n=least), **SHARE)
    assert (enough.verdict, enough.effect.mean) == ("equivalent", 0)
    assert enough.effect.high > 10 > enough.narrow[1]
    # As many of both arms, in the same pairs, are no discordant ones.
    both = only(diverging(range(5), range(5), n=least), **SHARE)
    assert (both.verdict, both.narrow) == ("equivalent", enough.narrow)


@pytest.mark.parametrize("counts", [(0, 0, 12), (3, 0, 9), (6, 2, 9), (1, 5, 3), (7, 0, 0), (9, 9, 9)])
def test_divergence_has_mcnemars_p_and_clopper_and_pearsons_bounds(counts) -> None:
    """Against scipy's binomial tests of the discordant pairs."""
    more, less, same = counts
    n = more + less + same
    verdict = only(diverging(range(more), range(more, more + less), n=n), **SHARE)
    p = stats.binomtest(more, more + less).pvalue if more + less else 1
    # sums of binomial terms in another order
    assert (verdict.p, verdict.sign_flip.p) == (pytest.approx(p, rel=1e-9), verdict.p)
    for level, found in ((0.95, (verdict.effect.low, verdict.effect.high)), (0.9, verdict.narrow)):
        ups, downs = (stats.binomtest(k, n).proportion_ci((1 + level) / 2, "exact") for k in (more, less))
        expected = 100 * (ups.low - downs.high), 100 * (ups.high - downs.low)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    clear = verdict.p < 0.05 and n >= 6
    assert verdict.verdict == (("inferior" if more > less else "superior") if clear else "inconclusive")


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.3, 0.3), (0.3, 0.05), (0.02, 0.0)])
def test_the_interval_of_discordant_pairs_holds_the_difference_as_often_as_it_says(level, shares) -> None:
    n, draws, dice = 20, 500, np.random.default_rng(13)
    held = 0
    for _ in range(draws):
        arm, baseline = ((dice.random(n) < share).astype(float) for share in shares)
        low, high = pairing.discordant(arm, baseline, 1.0, level)
        held += low <= shares[0] - shares[1] <= high
    assert held / draws >= level - four_errors(level, draws)


@pytest.mark.parametrize("reason", ["failed", "interrupted", "not run"])
def test_a_run_that_neither_ended_nor_diverged_is_refused_for_divergence(reason) -> None:
    values = pair([0.0] * 6)
    if reason == "not run":
        values["x"][1] = None
    verdict = only(made_up(values, runs={("x", 1): {"status": reason}}), metric="diverged")
    assert verdict.refusals == (f"1 of 6 pairs are incomplete, {reason} (seed 1)",)


# Seconds -------------------------------------------------------------------------------------------------------------


def refusals_of(sweep: Sweep) -> list[str]:
    return [text.split("; ")[0] for text in only(sweep, metric=SECONDS, unit="s", better="lower").refusals]


def test_times_of_runs_made_one_at_a_time_are_judged() -> None:
    verdict = only(timed(), metric=SECONDS, unit="s", better="lower")
    assert verdict.refusals == ()
    assert verdict.missed["x"] >= 1
    assert verdict.verdict != "no verdict"
    # A start is stamped before its seconds are counted: a twentieth of a second is no overlap.
    assert refusals_of(timed(lasting=10.04)) == []


def test_seconds_are_censored_at_the_shortest_run_of_the_two_arms() -> None:
    sweep = timed()
    clocks = {(run.arm, run.seed): run.curves["time/train_seconds"][1][-1] for run in sweep.runs}
    # Records are kept with seven digits.
    horizon = float(f"{min(clocks.values()):.7g}")
    times = {(run.arm, run.seed): min(run.summary(SECONDS) or horizon, horizon) for run in sweep.runs}
    expected = np.mean([times["x", seed] - times["adam", seed] for seed in range(6)])
    verdict = only(sweep, metric=SECONDS)
    assert verdict.effect.mean == pytest.approx(expected, rel=1e-12)
    # Only x/1 never reached it, and the others before any run's end.
    assert times["x", 1] == horizon == max(times.values())
    assert (verdict.refusals, verdict.missed) == ((), {"x": 1, "adam": 0})


def test_seconds_after_the_shortest_runs_end_are_told() -> None:
    shortest = min(run.curves["time/train_seconds"][1][-1] for run in timed().runs)
    for factor, words in (
        (1 + 1e-3, ["1 run reached the target after the shortest run of the comparison had ended, and stands with that"]),
        (1.0, []),
    ):
        late = {("adam", 4): {"summary": {"convergence/target": 0.9, SECONDS: shortest * factor}}}
        assert list(only(timed(changed=late), metric=SECONDS, unit="s", better="lower").cautions) == words


def test_a_run_that_reaches_the_target_with_its_last_validation_has_not_missed_it() -> None:
    """Though the length of the shortest run is rounded to seven digits, here down."""
    clock = np.array([1.0, 2.00000049])
    rows = [{"convergence/target": 0.9, SECONDS: clock[-1]}] * 6
    changed = {
        (arm, seed): {"curves": {"time/train_seconds": ([25, 50], clock)}} for arm in ("adam", "x") for seed in range(6)
    }
    sweep = made_up({"adam": rows, "x": rows}, runs=changed)
    assert only(sweep, metric=SECONDS).missed == {"x": 0, "adam": 0}
    assert not any("after the shortest run" in text for text in only(sweep, metric=SECONDS).cautions)


def test_a_control_changes_nothing_of_the_verdict_itself() -> None:
    sweep = timed(("adam", "x", "quick"))
    for run in sweep.runs:
        if run.arm == "quick":
            steps, clock = run.curves["time/train_seconds"]
            run.curves["time/train_seconds"] = steps, clock / 3
    alone, beside = (only(sweep, metric=SECONDS, controls=controls) for controls in ((), ("quick",)))
    assert (alone.effect, alone.p, alone.missed) == (beside.effect, beside.p, beside.missed)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lasting": 10.06}, ["runs went side by side 11 times"]),
        ({"changed": {("x", 3): {"wall_seconds": 14.0}}}, ["runs went side by side 1 time"]),
        (
            {"order": [(arm, seed) for arm in ("adam", "x") for seed in range(6)]},
            ["the arms were not interleaved at seeds 0–5"],
        ),
        # Seed 4's second run was made at the end.
        (
            {"order": [*((arm, seed) for seed in range(6) for arm in ("adam", "x") if (arm, seed) != ("x", 4)), ("x", 4)]},
            ["the arms were not interleaved at seed 4"],
        ),
        # Between the two of seed 0 an arm that is not compared was run for other seeds.
        (
            {
                "arms": ("adam", "x", "y"),
                "order": [
                    ("adam", 0), *(("y", seed) for seed in range(6)), ("x", 0),
                    *((arm, seed) for seed in range(1, 6) for arm in ("adam", "x")),
                ],
            },
            ["the arms were not interleaved at seed 0"],
        ),
        (
            {"changed": {("x", 2): {"sessions": 2}, ("adam", 5): {"sessions": 3}}},
            ["runs were interrupted and resumed (seeds 2, 5)"],
        ),
        ({"changed": {("x", 2): {"device": "gpu"}}}, ["the runs differ in devices (2)"]),
        ({"changed": {("x", 2): {"machine": "b"}, ("x", 3): {"machine": "c"}}}, ["the runs differ in machines (3)"]),
        # By arm: one that had a busy machine in all its runs is not made good by the other.
        ({"changed": {("x", seed): {"load": 1.6} for seed in range(3)}}, []),
        ({"changed": {(arm, seed): {"load": 1.6} for arm in ("adam", "x") for seed in range(3)}}, []),
        ({"changed": {("x", seed): {"load": 1.5} for seed in range(6)}}, []),
        (
            {"changed": {("x", seed): {"load": 1.6} for seed in range(4)}},
            ["the machine had other work at the start of 4 of 6 runs of x"],
        ),
        (
            {"changed": {(arm, s): {"load": 1.6} for arm in ("adam", "x") for s in range(6) if (arm, s) != ("adam", 0)}},
            [
                "the machine had other work at the start of 5 of 6 runs of adam",
                "the machine had other work at the start of 6 of 6 runs of x",
            ],
        ),
        ({"changed": {("x", 2): {"load": None}}}, ["some runs do not say how busy the machine was"]),
        (
            {"changed": {("x", 2): {"load": None}, ("adam", 1): {"sessions": 2}}},
            ["runs were interrupted and resumed (seed 1)", "some runs do not say how busy the machine was"],
        ),
        ({"changed": {("x", 2): {"started": None}}}, ["some runs do not say when they ran"]),
        ({"changed": {("adam", 2): {"wall_seconds": None}}}, ["some runs do not say when they ran"]),
    ],
)  # fmt: skip
def test_times_of_runs_that_shared_the_machine_are_refused_with_the_reason(settings, words) -> None:
    sweep = timed(**settings)
    assert refusals_of(sweep) == words
    # Their accuracies are none the worse for it.
    assert only(sweep, metric="convergence/target").verdict == "equivalent"


def test_an_arm_beside_counts_as_other_work_even_if_it_is_not_compared() -> None:
    beside = {("y", 2): {"wall_seconds": 25.0}}
    assert refusals_of(timed(("adam", "x", "y"), changed=beside)) == ["runs went side by side 1 time"]
    # Of an arm that is not compared a run without its times is passed over.
    assert refusals_of(timed(("adam", "x", "y"), changed={("y", 2): {"wall_seconds": None}})) == []


def test_all_that_is_wrong_with_times_is_told_with_its_cure() -> None:
    wrong = {("x", 2): {"sessions": 2, "device": "gpu", "wall_seconds": 30.0}}
    found = only(timed(changed=wrong), metric=SECONDS).refusals
    assert len(found) == 3
    assert all("; run " in text for text in found)
    assert sum("hydra.launcher.jobs=1" in text for text in found) == 2


def test_a_record_without_a_load_is_refused_and_one_without_a_config_judged_all_the_same() -> None:
    sweep = timed()
    for run in sweep.runs:
        del run.record["config"]
    assert only(sweep, metric=SECONDS).refusals == ()
    del sweep.runs[3].record["load"]
    assert refusals_of(sweep) == ["some runs do not say how busy the machine was"]
    assert "hydra.launcher.jobs=1" in only(sweep, metric=SECONDS).sentence
    assert only(sweep, metric="convergence/target").refusals == ()


@pytest.mark.parametrize(
    ("metric", "refused"),
    [("time/train_seconds", True), ("time/epoch", True), ("wall", True), ("seconds", True), ("runtime", False)],
)
def test_every_metric_of_time_is_judged_only_of_runs_that_had_the_machine(metric, refused) -> None:
    sweep = made_up(pair([2.0, 3, 2, 3, 2, 3]), metric=metric)
    assert a_claim(metric=metric).of_time is refused
    words = [text.split("; ")[0] for text in only(sweep, metric=metric).refusals]
    assert words == (["some runs do not say when they ran"] if refused else [])


@pytest.mark.parametrize("compare", ["difference", "ratio"])
def test_a_published_sweep_has_the_very_verdicts_of_the_full_one(compare, tmp_path) -> None:
    """Its curves are thinned to 64 points of seven digits, and a run's length in seconds is read from one."""
    sweep = timed(("adam", "x", "y"), points=200)
    publish(sweep, tmp_path)
    again = records.load_sweep(tmp_path)
    assert len(again.runs[0].curves["time/train_seconds"][1]) == THINNED_POINTS
    asked = [
        a_claim(metric=SECONDS, compare=compare, controls=("y",)),
        a_claim(id="A", metric="convergence/target", compare=compare),
        a_claim(id="D", metric="diverged"),
    ]
    first, second = ([verdict.plain() for verdict in judge(each, asked)] for each in (sweep, again))
    assert first == second
    assert (first[0]["refusals"], first[0]["missed"]) == ([], {"x": 1, "adam": 0})


# Single precision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [5000, 1000, 3000])
def test_accuracies_kept_in_single_precision_have_the_sign_flip_p_of_their_counts(examples) -> None:
    dice = np.random.default_rng(examples)
    for _ in range(60):
        n = int(dice.integers(6, 30))
        base = dice.integers(int(0.9 * examples), examples + 1, n)
        differences = dice.integers(-6, 8, n)
        arm = np.clip(base + differences, 0, examples)
        kept = {name: (np.float32(counts) / np.float32(examples)).tolist() for name, counts in (("adam", base), ("x", arm))}
        verdict = only(made_up(kept, metric="test/accuracy"), metric="test/accuracy", scale=100)
        assert verdict.sign_flip == inference.sign_flip(arm - base)
        # Doubles of counts and of their accuracies: rounding of 6e-6 points in differences of 0.02 and more.
        counts = stats.ttest_rel(arm, base).pvalue if np.ptp(arm - base) else None
        assert counts is None or verdict.p == pytest.approx(counts, rel=0.01)


def test_differences_equal_but_for_single_precision_are_equal() -> None:
    """One count of 5,000 better in all six runs: equal differences, whose p is that of the sign flips."""
    base = np.array([4511, 4602, 4700, 4555, 4623, 4519])
    kept = {"adam": (np.float32(base) / np.float32(5000)).tolist(), "x": (np.float32(base + 1) / np.float32(5000)).tolist()}
    differences = np.subtract(kept["x"], kept["adam"])
    assert 0 < np.ptp(differences) < 1.2e-7  # two roundings of numbers below 1
    asked = [a_claim(metric="score", scale=100), a_claim(id="D", metric="not there")]
    verdict, _ = judge(made_up(kept), asked)
    assert (verdict.p, verdict.p_holm, verdict.sign_flip.p) == (2 / 64, 4 / 64, 2 / 64)
    assert verdict.verdict == "equivalent"


def test_differences_below_single_precision_are_none() -> None:
    one = np.nextafter(np.float32(0.5), np.float32(1))
    verdict = only(made_up({"adam": [0.5] * 8, "x": [float(one)] * 8}))
    assert (verdict.p, verdict.sign_flip.p, verdict.verdict) == (1, 1, "equivalent")
