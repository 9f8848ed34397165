"""Is a verdict the one that its rule gives, as often right as it says, and refused in words where there can be none?

Sweeps are made up in memory, of records as runs leave them. Monte-Carlo checks allow 4 standard errors of a share,
sqrt(p (1 - p) / draws): one in 16,000 would fail by chance, and the seeds are fixed.
"""

import datetime
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from superpositional import claims, inference, records, verdicts
from superpositional.analysis import bounds
from superpositional.claims import Claim
from superpositional.records import Run, Sweep
from superpositional.verdicts import declared_after, judge, lead

DRAWS = 1_000
CONFIG = {
    "data": {"_target_": "Data", "length": 16, "noise": {"kind": "flips", "share": 0.1}},
    "task": {"_target_": "Task", "n_classes": 4},
    "trainer": {"_target_": "Trainer", "max_epochs": 10},
    "threads": 1,
}
RECORD = {
    "code": "c0de",
    "execution": "eager",
    "steps": 50,
    "steps_per_epoch": 5,
    "config": CONFIG,
    "claims": "d1ge57",
    "versions": {"torch": "2.13.0"},
    "sessions": 1,
    "device": "cpu",
    "machine": "abc",
    "load": 0.4,
}


def made_up(values: dict, *, metric: str = "score", runs: dict | None = None, **plan) -> Sweep:
    """A sweep of ``values[arm][seed]``, a number, a summary, or None for no run; ``runs[arm, seed]`` changes a record."""
    n = len(next(iter(values.values())))
    seeds, found = plan.pop("seeds", range(n)), []
    for arm, each in values.items():
        for seed, value in zip(seeds, each, strict=True):
            if value is None:
                continue
            summary = dict(value) if isinstance(value, dict) else {metric: float(value)}
            changed = {"summary": summary, **RECORD, "sweep": "made_up", "arm": arm, "seed": seed, "status": "done"}
            changed |= (runs or {}).get((arm, seed), {})
            curves = changed.pop("curves", {})
            found.append(Run("made_up", arm, seed, changed["status"], changed, curves))
    return Sweep("made_up", "Does it?", tuple(values), tuple(seeds), tuple(found), **plan)


def a_claim(**settings) -> Claim:
    given = {"id": "C", "says": "it does", "metric": "score", "arm": "x", "baseline": "adam", "better": "higher"}
    return Claim(**given | {"margin": 1.0} | settings)


def only(sweep: Sweep, **settings) -> verdicts.Verdict:
    (verdict,) = judge(sweep, [a_claim(**settings)])
    return verdict


def pair(differences, baseline=None) -> dict:
    """Two arms that differ by so much."""
    baseline = np.zeros(len(differences)) if baseline is None else np.asarray(baseline)
    return {"adam": baseline.tolist(), "x": (baseline + differences).tolist()}


def four_errors(share: float, draws: int = DRAWS) -> float:
    return 4 * math.sqrt(share * (1 - share) / draws)


# The rule ------------------------------------------------------------------------------------------------------------


def holm(p_values):
    """Holm 1979 as a textbook has it, for a whole family."""
    adjusted, running = {}, 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[int(index)] = running
    return [adjusted[index] for index in range(len(p_values))]


def by_the_rule(differences, p_holm, better, margin):
    """The verdict, written out from scipy alone."""
    n, mean = len(differences), np.mean(differences)
    low, high = stats.t.interval(0.9, n - 1, mean, stats.sem(differences))
    within = -margin < low and high < margin
    if p_holm < 0.05 and n >= 6:
        word = "superior" if (mean > 0) == (better == "higher") else "inferior"
        return f"{word}, smaller than matters" if within else word
    return "equivalent" if within else "inconclusive"


def test_the_verdict_is_that_of_the_rule_written_out_with_scipy() -> None:
    dice = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        n, size = int(dice.integers(2, 25)), int(dice.integers(1, 5))
        base = dice.normal(0, 3, n)
        arms = {f"x{i}": base + dice.normal(dice.choice([-1, 0, 0.3, 1]), dice.choice([0.3, 1]), n) for i in range(size)}
        better, margin = str(dice.choice(["higher", "lower"])), float(dice.choice([0.3, 1.0, 3.0]))
        asked = [a_claim(id=arm, arm=arm, better=better, margin=margin) for arm in arms]
        found = judge(made_up({"adam": base} | arms), asked)
        p_values = [stats.ttest_rel(values, base).pvalue for values in arms.values()]
        for verdict, values, p, p_holm in zip(found, arms.values(), p_values, holm(p_values), strict=True):
            assert verdict.words == by_the_rule(values - base, p_holm, better, margin)
            # the same formulas in another order of operations
            assert (verdict.p, verdict.p_holm) == pytest.approx((p, p_holm), rel=1e-9)
            assert (verdict.effect.n, verdict.planned, verdict.family_size) == (n, n, size)
            seen.add(verdict.words)
    both = {f"{word}{small}" for word in ("superior", "inferior") for small in ("", ", smaller than matters")}
    assert seen == {*both, "equivalent", "inconclusive"}


@pytest.mark.parametrize(
    ("differences", "better", "margin", "words"),
    [
        ([2, 3, 2, 3, 2, 3], "higher", 1, "superior"),
        ([2, 3, 2, 3, 2, 3], "lower", 1, "inferior"),
        ([-2, -3, -2, -3, -2, -3], "lower", 1, "superior"),
        ([-2, -3, -2, -3, -2, -3], "higher", 1, "inferior"),
        ([2, 3, 2, 3, 2, 3], "higher", 9, "superior, smaller than matters"),
        ([1, -1, 1, -1, 1, -1], "higher", 9, "equivalent"),
        ([1, -1, 1, -1, 1, -1], "higher", 0.5, "inconclusive"),
        ([0, 0], "higher", 0.5, "equivalent"),  # two equal pairs: the interval has no width
    ],
)
def test_each_verdict_is_reached_from_either_side(differences, better, margin, words) -> None:
    assert only(made_up(pair(differences)), better=better, margin=margin).words == words


@pytest.mark.parametrize("differences", [[9.0, 9.1, 9.0, 9.2, 9.1], [5.0] * 5, [-1e6, -1e6 - 1, -1e6, -1e6, -1e6 + 1]])
def test_five_pairs_never_give_superior_or_inferior_however_clear(differences) -> None:
    for better in ("higher", "lower"):
        verdict = only(made_up(pair(differences)), better=better)
        assert verdict.verdict == "inconclusive"
    wide = only(made_up(pair(differences)), margin=1e9)
    assert wide.words == "equivalent"


def test_six_pairs_are_enough() -> None:
    assert only(made_up(pair([9.0, 9.1, 9.0, 9.2, 9.1, 9.0]))).verdict == "superior"


def test_the_margin_must_be_beaten_and_not_met() -> None:
    # Equal differences have an interval without width, on the margin itself; halves are exact.
    assert only(made_up(pair([0.5] * 4)), margin=0.5).verdict == "inconclusive"
    assert only(made_up(pair([0.5] * 4)), margin=0.5 + 1e-9).verdict == "equivalent"


def test_a_claim_without_a_verdict_still_counts_in_its_family() -> None:
    # p is about 0.02: significant alone, and not among three.
    sweep = made_up(pair([1.0, 2.0, -0.2, 1.5, 0.4, 1.9]))
    alone = only(sweep)
    assert (alone.verdict, alone.family_size) == ("superior", 1)
    asked = [a_claim(), a_claim(id="D", metric="not there"), a_claim(id="E", metric="nor this")]
    among = judge(sweep, asked)
    assert [verdict.verdict for verdict in among] == ["inconclusive", "no verdict", "no verdict"]
    assert among[0].p_holm == pytest.approx(3 * alone.p, rel=1e-15)
    assert [verdict.family_size for verdict in among] == [3, 3, 3]
    # Of another family it does not.
    apart = judge(sweep, [asked[0], replace(asked[1], family="other"), replace(asked[2], family="other")])
    assert (apart[0].verdict, apart[0].p_holm) == ("superior", alone.p)


def test_families_are_adjusted_by_themselves_whatever_their_order() -> None:
    dice = np.random.default_rng(1)
    base = dice.normal(size=10)
    arms = {f"x{i}": base + dice.normal(0.8, 1, 10) for i in range(5)}
    asked = [a_claim(id=arm, arm=arm, family="ab"[i % 2]) for i, arm in enumerate(arms)]
    found = {verdict.claim.id: verdict for verdict in judge(made_up({"adam": base} | arms), asked)}
    for members in (["x0", "x2", "x4"], ["x1", "x3"]):
        expected = holm([found[arm].p for arm in members])
        assert [found[arm].p_holm for arm in members] == pytest.approx(expected, rel=1e-15)
        assert {found[arm].family_size for arm in members} == {len(members)}


# How often it is right -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "sd", "family"), [(0.8, 1.0, 1), (1.0, 0.8, 4)])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_planted_effect_is_called_superior_at_its_planned_power(effect, sd, family, better) -> None:
    n = inference.pairs_to_detect(effect, sd, 0.05 / family, 0.8)
    power = inference.power_t(effect, sd, n, 0.05 / family)
    sign = 1 if better == "higher" else -1
    # The rest of the family has no verdict, so that Holm asks for all of alpha / family.
    asked = [a_claim(better=better, margin=effect / 2)]
    asked += [a_claim(id=f"D{i}", metric="not there") for i in range(family - 1)]
    dice = np.random.default_rng(n)
    counts = {"superior": 0, "inferior": 0}
    for _ in range(DRAWS):
        sweep = made_up(pair(dice.normal(sign * effect, sd, n), dice.normal(5, 3, n)))
        found = judge(sweep, asked)[0].verdict
        counts[found] = counts.get(found, 0) + 1
    assert power >= 0.8
    assert counts["superior"] / DRAWS == pytest.approx(power, abs=four_errors(power))
    # The other tail has less than 1e-5.
    assert counts["inferior"] == 0


@pytest.mark.parametrize("n", [6, 20])
def test_equal_arms_are_equivalent_or_inconclusive_in_all_but_five_of_a_hundred_whatever_the_margin(n) -> None:
    margins = (1e-3, 0.7, 1e3)
    asked = [a_claim(id=str(margin), margin=margin, family=str(margin)) for margin in margins]
    dice = np.random.default_rng(n)
    found = [
        [verdict.verdict for verdict in judge(made_up(pair(dice.normal(0, 1, n), dice.normal(5, 3, n))), asked)]
        for _ in range(DRAWS)
    ]
    for margin, each in zip(margins, zip(*found, strict=True), strict=True):
        false = sum(word in ("superior", "inferior") for word in each)
        assert false / DRAWS == pytest.approx(0.05, abs=four_errors(0.05))
        # As many one way as the other: a count of coins.
        assert each.count("superior") == pytest.approx(false / 2, abs=4 * math.sqrt(false) / 2)
        rest = {word for word in each if word not in ("superior", "inferior")}
        assert rest <= {"equivalent", "inconclusive"}
        if margin != 0.7:
            assert rest == {"inconclusive" if margin < 1 else "equivalent"}


@pytest.mark.parametrize("shared", [True, False])
def test_of_four_null_claims_one_is_called_different_in_at_most_five_of_a_hundred_families(shared) -> None:
    """Four arms against one baseline, whose errors they share; and four metrics, which share nothing."""
    n, dice, wrong = 8, np.random.default_rng(7), 0
    names = [f"x{i}" for i in range(4)]
    asked = [a_claim(id=name, **({"arm": name} if shared else {"metric": name})) for name in names]
    for _ in range(DRAWS):
        values = dice.normal(size=(5, n))
        if shared:
            sweep = made_up(dict(zip(["adam", *names], values.tolist(), strict=True)))
        else:
            rows = [dict(zip(names, column, strict=True)) for column in values[1:].T.tolist()]
            sweep = made_up({"adam": [dict.fromkeys(names, 0.0)] * n, "x": rows})
        wrong += any(verdict.verdict in ("superior", "inferior") for verdict in judge(sweep, asked))
    assert wrong / DRAWS <= 0.05 + four_errors(0.05)


def test_an_effect_of_exactly_the_margin_is_found_too_small_to_matter_in_five_of_a_hundred() -> None:
    n, margin, dice = 12, 1.0, np.random.default_rng(3)
    counts: dict[str, int] = {}
    for _ in range(DRAWS):
        words = only(made_up(pair(dice.normal(margin, 0.3, n))), margin=margin).words
        counts[words] = counts.get(words, 0) + 1
    small = counts.get("equivalent", 0) + counts.get("superior, smaller than matters", 0)
    assert small / DRAWS == pytest.approx(0.05, abs=four_errors(0.05))


# What goes with it ---------------------------------------------------------------------------------------------------


def test_with_every_verdict_goes_what_n_pairs_find_and_how_many_would_decide() -> None:
    differences = np.random.default_rng(4).normal(0.2, 1.0, 10)
    sweep = made_up(pair(differences))
    sd = differences.std(ddof=1)
    found = judge(sweep, [a_claim(), a_claim(id="D", metric="not there")])[0]
    alpha = 0.05 / 2
    assert found.detectable == pytest.approx(inference.detectable(sd, 10, alpha), rel=1e-9)
    expected = inference.pairs_to_detect(1.0, sd, alpha), inference.pairs_for_equivalence(1.0, sd)
    assert found.pairs == max(expected)
    assert inference.power_t(found.detectable, sd, 10, alpha) == pytest.approx(0.8, abs=1e-9)


def test_a_ratios_sd_and_detectable_effect_are_in_percent_of_the_baselines_mean() -> None:
    dice = np.random.default_rng(5)
    base = dice.normal(50, 2, 10)
    differences = dice.normal(0, 1, 10)
    verdict = only(made_up(pair(differences, base)), compare="ratio", margin=5)
    assert verdict.sd == pytest.approx(100 * differences.std(ddof=1) / base.mean(), rel=1e-9)
    assert verdict.detectable == pytest.approx(inference.detectable(verdict.sd, 10), rel=1e-9)
    assert verdicts.spread(made_up(pair(differences, base)), a_claim(compare="ratio")) == (verdict.sd, 10)


def test_more_than_a_million_pairs_are_no_number() -> None:
    verdict = only(made_up(pair([1.0, -1.0, 1.0, -1.0])), margin=1e-9)
    assert verdict.pairs is None
    assert "no number of pairs would decide" in verdict.sentence


def test_equal_arms_have_no_spread_and_still_all_their_numbers() -> None:
    verdict = only(made_up(pair([0.0] * 8, np.arange(8))))
    assert (verdict.verdict, verdict.p, verdict.sign_flip.p, verdict.sd, verdict.detectable) == ("equivalent", 1, 1, 0, 0)
    assert verdict.pairs == 6
    assert "0.00 [0.00, 0.00], n = 8 seeds" in verdict.sentence


SENTENCE = (
    "C1, λ = 0.5 vs adam, test/accuracy: superior (as claimed). Mean paired difference +1.00 points [+0.06, +1.94], "
    "n = 6 seeds; margin ± 0.5 points; the published −4.11 points lies outside the interval; p = 0.041, after Holm over 1 "
    "0.041; exact sign-flip p = 0.12; 6 pairs find 1.3 points with 80 % power; about 29 pairs would decide. Caution: the t "
    "test and the sign-flip test disagree at 5 %."
)


def test_the_sentence_holds_every_number() -> None:
    sweep = made_up({"adam": [0.5] * 6, "lambda_0.5": [0.51, 0.52, 0.5, 0.52, 0.51, 0.5]}, metric="test/accuracy")
    settings = {"id": "C1", "metric": "test/accuracy", "arm": "lambda_0.5", "scale": 100, "unit": "points", "margin": 0.5}
    verdict = only(sweep, **settings, claimed="superior", published=-4.11)
    # Differences 1, 2, 0, 2, 1, 0: mean 1, sd sqrt(0.8), half-width 2.5706 sqrt(0.8 / 6) = 0.9386, t = 2.7386; of 64
    # patterns of 1, 2, 2, 1 (zeros double both) 2 of 16 reach |6|.
    assert verdict.sign_flip.p == 2 / 16
    assert verdict.sentence == SENTENCE


def test_a_claim_without_a_unit_leaves_no_gap_in_its_sentence() -> None:
    sentence = only(made_up(pair([1.0, 2.0, 1.0, 2.0, 1.0, 2.5])), published=0.0).sentence
    assert "  " not in sentence
    assert " ;" not in sentence
    assert "margin ± 1; the published 0 lies outside the interval" in sentence


def test_every_number_of_the_sentence_stands_in_plain_and_plain_is_json() -> None:
    dice = np.random.default_rng(6)
    values = {"adam": dice.normal(7, 1, 12), "x": dice.normal(8, 1, 12), "y": dice.normal(7.5, 1, 12)}
    asked = [
        a_claim(published=2.5, claimed="superior", controls=("y",)),
        a_claim(id="R", compare="ratio", margin=5, published=-12.5, controls=("y",)),
        a_claim(id="N", metric="not there", published=1.0, controls=("y",)),
    ]
    for verdict in judge(made_up(values), asked):
        plain = verdict.plain()
        # Every digit comes back.
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert (plain["sentence"], plain["words"], plain["answer"]) == (verdict.sentence, verdict.words, verdict.answer)
        assert plain["claim"]["id"] == verdict.claim.id
        assert plain["claim"]["controls"] == ["y"]
        assert (plain["planned"], plain["effect"]["n"]) == (12, verdict.effect.n)
        assert plain["family_size"] == 3
        if verdict.refusals:
            assert plain["refusals"] == list(verdict.refusals)
            absent = ("p", "p_holm", "sign_flip", "detectable", "pairs", "sd", "published_within_interval")
            assert {key: plain[key] for key in absent} == dict.fromkeys(absent)
            continue
        assert plain["effect"]["unit"] == ("%" if verdict.claim.id == "R" else "")
        for number in (plain["p"], plain["p_holm"], plain["sign_flip"]["p"], plain["detectable"]):
            assert f"{number:.2g}" in plain["sentence"]
        assert bounds(verdict.effect, verdict.claim.effect_unit) in plain["sentence"]
        assert f"about {plain['pairs']} pairs would decide" in plain["sentence"]
        assert plain["interval_90"] == list(verdict.narrow)
        assert plain["effect"]["low"] < plain["interval_90"][0] < plain["interval_90"][1] < plain["effect"]["high"]
        assert [each["arm"] for each in plain["attribution"]] == ["y"]


@pytest.mark.parametrize(
    ("claimed", "differences", "answer"),
    [
        ("superior", [2, 3, 2, 3, 2, 3], "as claimed"),
        ("inferior", [2, 3, 2, 3, 2, 3], "not as claimed"),
        ("superior", [0, 0, 0, 0, 0, 0], "not as claimed"),
        ("equivalent", [0, 0, 0, 0, 0, 0], "as claimed"),
        ("superior", [9, -9, 9, -9, 9, -8], "undecided"),
        (None, [2, 3, 2, 3, 2, 3], "–"),
        ("superior", [2, 3, 2, 3, 2, None], "no verdict"),
    ],
)
def test_the_answer_holds_the_verdict_against_the_claim(claimed, differences, answer) -> None:
    sweep = made_up({"adam": [0.0] * 6, "x": differences})
    assert only(sweep, claimed=claimed).answer == answer


def test_the_lead_counts_and_names_every_claim_once() -> None:
    values = {"adam": [0.0] * 6, "up": [2, 3, 2, 3, 2, 3], "same": [0.1, 0, 0.1, 0, 0, 0], "wide": [9, -9, 9, -9, 9, 0]}
    asked = [a_claim(id=arm, arm=arm) for arm in ("up", "same", "wide")] + [
        a_claim(id="lost", arm="up", metric="not there")
    ]
    sweep = made_up(values)
    assert lead(judge(sweep, asked)) == (
        "Of 4 claims, superior: up; equivalent: same; inconclusive: wide; no verdict: lost. Inconclusive is not equal: the "
        "intervals allow an effect that matters."
    )
    assert lead(judge(sweep, asked[:1])) == "Of 1 claim, superior: up."
    assert lead([]) == "No claim was declared, so there is no verdict."
    small = [a_claim(id="tiny", arm="up", margin=9), a_claim(id="big", arm="up")]
    assert lead(judge(sweep, small)) == "Of 2 claims, superior, smaller than matters: tiny; superior: big."


def test_runs_made_before_the_claims_are_counted() -> None:
    early = {("adam", 0): {"claims": None}, ("x", 1): {"claims": "0ther"}}
    sweep = made_up(pair([0.0, 0.0, 0.0]), runs=early)
    assert declared_after(sweep, "d1ge57") == 2
    assert declared_after(sweep, "0ther") == 5
    old = made_up(pair([0.0]))
    for run in old.runs:
        del run.record["claims"]
    # Of a time when nothing was declared.
    assert (declared_after(old, None), declared_after(old, "d1ge57")) == (0, 2)


# Incomplete pairs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["failed", "interrupted", "diverged", "not run", "gave no value"])
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
        "1 of 6 pairs are incomplete, diverged (seed 3)",
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


# Ratios --------------------------------------------------------------------------------------------------------------


def fieller(arm, baseline, level):
    """Roots of the quadratic as textbooks have it: (x̄ - r ȳ)² = t² (s_xx - 2 r s_xy + r² s_yy) / n."""
    n, (x, y) = len(arm), (np.mean(arm), np.mean(baseline))
    (s_xx, s_xy), (_, s_yy) = np.cov(arm, baseline) * stats.t.ppf((1 + level) / 2, n - 1) ** 2 / n
    return sorted(100 * (np.roots([y**2 - s_yy, -2 * (x * y - s_xy), x**2 - s_xx]).real - 1))


def test_a_ratio_is_a_change_of_the_mean_in_percent_with_fiellers_interval() -> None:
    dice = np.random.default_rng(8)
    base, arm = dice.normal(10, 1, 9), dice.normal(7, 1, 9)
    verdict = only(made_up({"adam": base, "x": arm}), compare="ratio", better="lower", margin=5)
    assert verdict.effect.mean == pytest.approx(100 * (arm.mean() / base.mean() - 1), rel=1e-12)
    # Roots of a quadratic of numbers near 100 in double precision.
    assert (verdict.effect.low, verdict.effect.high) == pytest.approx(fieller(arm, base, 0.95), rel=1e-9)
    assert verdict.narrow == pytest.approx(fieller(arm, base, 0.9), rel=1e-9)
    assert verdict.verdict == "superior"
    assert "Change of the mean −" in verdict.sentence
    assert " %" in verdict.sentence


@pytest.mark.parametrize(
    ("baseline", "got"),
    [([0.0] * 6, "0"), ([5.0, -5.0, 4.0, -4.0, 3.0, -2.9], "0.0167"), ([-2.0, -2.1, -2.0, -2.2, -2.0, -2.1], "-2.07")],
)
def test_a_ratio_to_a_mean_that_is_not_clearly_above_zero_is_refused(baseline, got) -> None:
    # Of a baseline of −2 an arm of −3 would be "50 % more", which is less.
    sweep = made_up(pair([-1.0, -1.1, -1.0, -1.2, -1.0, -1.1], baseline))
    verdict = only(sweep, compare="ratio", better="lower", margin=5)
    assert verdict.refusals == (f"the baseline's mean must be clearly above 0 for a ratio, got {got}; compare differences",)
    assert "%" not in verdict.sentence or verdict.effect.mean is not None
    # As differences they are compared.
    assert only(sweep, better="lower").verdict != "no verdict"
    if got != "0.0167":
        assert verdicts.spread(sweep, a_claim(compare="ratio")) is None


# Times to a target ---------------------------------------------------------------------------------------------------

EPOCHS = "convergence/epochs_to_target"


def reached(*epochs) -> list[dict]:
    """Summaries of runs that reached the target then; None never did."""
    return [{"convergence/target": 0.9} | ({} if each is None else {EPOCHS: each}) for each in epochs]


def test_misses_and_diverged_runs_stand_with_the_length_of_training() -> None:
    base, arm = reached(8.0, 9.0, None, 8.5, 9.5, 9.0), reached(6.0, 7.0, 6.5, 5.0, None, 6.0)
    # Run x/3 passed the target on its way and diverged: it did not reach it. RECORD has 50 steps of 5 an epoch.
    lost = {("x", 3): {"status": "diverged"}}
    verdict = only(made_up({"adam": base, "x": arm}, runs=lost), metric=EPOCHS, unit="epochs", better="lower")
    assert verdict.refusals == ()
    assert verdict.missed == {"x": 2, "adam": 1}
    a, b = np.array([6.0, 7.0, 6.5, 10.0, 10.0, 6.0]), np.array([8.0, 9.0, 10.0, 8.5, 9.5, 9.0])
    assert verdict.effect.n == 6
    assert verdict.effect.mean == pytest.approx((a - b).mean(), rel=1e-12)
    assert verdict.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert "x: 2 censored; adam: 1 censored" in verdict.sentence
    as_ratio = only(made_up({"adam": base, "x": arm}, runs=lost), metric=EPOCHS, compare="ratio", better="lower", margin=5)
    assert as_ratio.effect.mean == pytest.approx(100 * (a.mean() / b.mean() - 1), rel=1e-12)
    assert (as_ratio.effect.low, as_ratio.effect.high) == pytest.approx(fieller(a, b, 0.95), rel=1e-9)
    assert as_ratio.missed == {"x": 2, "adam": 1}


def test_arms_that_never_reach_the_target_are_equal_and_not_refused() -> None:
    verdict = only(made_up({"adam": reached(*[None] * 6), "x": reached(*[None] * 6)}), metric=EPOCHS, compare="ratio")
    assert (verdict.verdict, verdict.effect.mean, verdict.missed) == ("equivalent", 0, {"x": 6, "adam": 6})


@pytest.mark.parametrize(
    ("metric", "horizon"),
    [(EPOCHS, 10.0), ("convergence/steps_to_target", 50.0), ("convergence/updates_to_target", 50.0)],
)
def test_the_length_of_training_is_in_the_metrics_own_unit_and_scale(metric, horizon) -> None:
    rows = [{"convergence/target": 0.9, metric: 1.0} for _ in range(6)]
    missed = [{"convergence/target": 0.9} for _ in range(6)]
    verdict = only(made_up({"adam": rows, "x": missed}), metric=metric, scale=2.0)
    assert verdict.effect.mean == 2 * (horizon - 1.0)


def test_all_runs_are_censored_at_the_shortest_of_both_arms() -> None:
    shorter = {("adam", 0): {"steps": 40}}
    sweep = made_up({"adam": reached(1, 1, 1, 1, 1, 1), "x": reached(9, None, 9, 9, None, 8)}, runs=shorter)
    verdict = only(sweep, metric=EPOCHS)
    # 40 steps are 8 epochs; those that took 9 are censored too, and 8 itself is not.
    assert (verdict.effect.mean, verdict.missed) == (7.0, {"x": 5, "adam": 0})


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
    assert only(made_up(values, runs=lost), metric=EPOCHS).effect.mean == 10 - 1.5


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
    assert verdict.verdict == "inferior"
    # Equal differences have no t: the sign flips decide, and five are too few.
    every = only(diverging(range(8)), **settings)
    assert (every.verdict, every.p, every.effect.mean) == ("inferior", 2 / 2**8, 100)
    assert only(diverging(range(5), n=5), **settings).verdict == "inconclusive"
    assert only(diverging([]), **settings).verdict == "equivalent"


@pytest.mark.parametrize("reason", ["failed", "interrupted", "not run"])
def test_a_run_that_neither_ended_nor_diverged_is_refused_for_divergence(reason) -> None:
    values = pair([0.0] * 6)
    if reason == "not run":
        values["x"][1] = None
    verdict = only(made_up(values, runs={("x", 1): {"status": reason}}), metric="diverged")
    assert verdict.refusals == (f"1 of 6 pairs are incomplete, {reason} (seed 1)",)


# Seconds -------------------------------------------------------------------------------------------------------------

SECONDS = "convergence/seconds_to_target"
START = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def timed(arms=("adam", "x"), n: int = 6, *, order=None, lasting: float = 9.0, changed=None, points: int = 10) -> Sweep:
    """Runs one after the other, ten seconds apart: seeds outermost, unless ``order`` is another."""
    dice = np.random.default_rng(9)
    order = order or [(arm, seed) for seed in range(n) for arm in arms]
    runs, values = {}, {arm: [None] * n for arm in arms}
    for index, (arm, seed) in enumerate(order):
        clock = np.sort(dice.uniform(0.5, 4.5, points)) + 0.01 * index
        steps = np.arange(1, points + 1) * 50 // points
        seconds = None if (arm, seed) == ("x", 1) else float(clock[-1] if seed == 2 else clock[points // 2])
        values[arm][seed] = {"convergence/target": 0.9} | ({} if seconds is None else {SECONDS: seconds})
        started = START + datetime.timedelta(seconds=10 * index)
        runs[arm, seed] = {
            "started": started.isoformat(timespec="milliseconds"),
            "wall_seconds": lasting,
            "curves": {"time/train_seconds": (steps, clock)},
        } | (changed or {}).get((arm, seed), {})
    return made_up(values, runs=runs)


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
    late = {arm: sum((run.summary(SECONDS) or 99) > horizon for run in sweep.runs if run.arm == arm) for arm in sweep.arms}
    assert verdict.missed == {"x": late["x"], "adam": late["adam"]}


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
        ({"changed": {("x", seed): {"load": 1.6} for seed in range(6)}}, []),
        (
            {"changed": {**{("x", seed): {"load": 1.6} for seed in range(6)}, ("adam", 0): {"load": 1.6}}},
            ["the machine was busy with other work at the start of 7 of 12 runs"],
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


def test_a_record_without_a_config_or_a_load_is_judged_all_the_same() -> None:
    sweep = timed()
    for run in sweep.runs:
        del run.record["config"], run.record["load"]
    assert only(sweep, metric=SECONDS).refusals == ()


@pytest.mark.parametrize("compare", ["difference", "ratio"])
def test_a_published_sweep_has_the_very_verdicts_of_the_full_one(compare, tmp_path) -> None:
    """Its curves are thinned to 64 points of seven digits, and a run's length in seconds is read from one."""
    sweep = timed(("adam", "x", "y"), points=200)
    records.publish(sweep, tmp_path)
    again = records.load_sweep(tmp_path)
    assert len(again.runs[0].curves["time/train_seconds"][1]) == records.THINNED_POINTS
    asked = [
        a_claim(metric=SECONDS, compare=compare, controls=("y",)),
        a_claim(id="A", metric="convergence/target", compare=compare),
        a_claim(id="D", metric="diverged"),
    ]
    first, second = ([verdict.plain() for verdict in judge(each, asked)] for each in (sweep, again))
    assert first == second
    assert first[0]["missed"]["x"] > 0


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


# Attribution ---------------------------------------------------------------------------------------------------------


def halved(n: int = 8) -> dict:
    """An arm, and a control with exactly half of its gain in every pair; quarters are exact."""
    dice = np.random.default_rng(10)
    base = dice.integers(20, 40, n).astype(float)
    gain = dice.integers(8, 16, n) / 2
    return {"adam": base, "x": base + gain, "control": base + gain / 2}


def test_a_control_with_half_of_the_gain_has_half_and_the_other_half_lies_beyond_it() -> None:
    values = halved()
    verdict = only(made_up(values), controls=("control",))
    (found,) = verdict.attribution
    half = (values["control"] - values["adam"]).mean()
    assert (found.arm, found.control.mean, found.beyond.mean) == ("control", half, half)
    assert verdict.effect.mean == 2 * half
    assert found.control.n == found.beyond.n == 8
    # Proportional in every pair, so the share is known without error.
    assert (found.share.value, found.share.low, found.share.high) == (0.5, 0.5, 0.5)


def test_a_share_is_that_of_the_effects_for_ratios_too_and_has_its_interval() -> None:
    dice = np.random.default_rng(11)
    values = halved() | {"noisy": halved()["control"] + dice.normal(0, 0.3, 8)}
    verdict = only(made_up(values), compare="ratio", controls=("control", "noisy"))
    exact, noisy = verdict.attribution
    assert (exact.share.value, exact.share.low, exact.share.high) == (0.5, 0.5, 0.5)
    assert exact.control.mean == pytest.approx(verdict.effect.mean / 2, rel=1e-12)
    # In percent of the control's mean.
    beyond = 100 * (values["x"].mean() / values["control"].mean() - 1)
    assert exact.beyond.mean == pytest.approx(beyond, rel=1e-12)
    gains = values["noisy"] - values["adam"], values["x"] - values["adam"]
    assert noisy.share == inference.ratio(*gains)
    assert noisy.share.low < 0.5 < noisy.share.high


def test_where_there_is_no_effect_there_is_no_share_of_it() -> None:
    values = halved()
    values["x"] = values["adam"] + np.tile([3.0, -3.0], 4)
    (found,) = only(made_up(values), controls=("control",)).attribution
    assert found.share is None
    assert found.control.n == 8


def test_a_share_is_of_all_pairs_or_none() -> None:
    values = {arm: list(each) for arm, each in halved().items()}
    values["control"][3] = None
    verdict = only(made_up(values), controls=("control",))
    (found,) = verdict.attribution
    # The claim itself has all its pairs.
    assert (verdict.verdict, verdict.effect.n) == ("superior", 8)
    assert (found.share, found.control.n, found.beyond.n) == (None, 7, 7)
    values["control"][3], values["x"][4] = 30.0, None
    verdict = only(made_up(values), controls=("control",))
    assert (verdict.verdict, verdict.attribution[0].share) == ("no verdict", None)


def test_a_control_of_another_code_gets_no_share_and_a_caution() -> None:
    other = {("control", seed): {"code": "beef"} for seed in range(8)}
    verdict = only(made_up(halved(), runs=other), controls=("control",))
    assert verdict.verdict == "superior"
    assert verdict.attribution[0].share is None
    (caution,) = verdict.cautions
    assert caution.startswith("beside control, the runs differ in code versions (16 with c0de, 8 with beef)")


# Claims about every arm ----------------------------------------------------------------------------------------------


def test_a_claim_about_every_arm_holds_each_to_its_own_baseline_in_one_family() -> None:
    steps = np.array([2.0, 3, 2, 3, 2, 3])
    values = {"adam,n=1": np.zeros(6), "x,n=1": steps, "adam,n=2": np.full(6, 9.0), "x,n=2": 9 - steps}
    baselines = {arm: f"adam,{arm.split(',')[1]}" for arm in values}
    sweep = made_up(values, baselines=baselines)
    declared = {"every": {"says": "it does", "metric": "score", "arm": "*", "better": "higher", "margin": 1}}
    found = judge(sweep, claims.read(declared, sweep.arms, sweep.baselines))
    assert [(verdict.claim.id, verdict.claim.baseline, verdict.verdict, verdict.family_size) for verdict in found] == [
        ("every:x,n=1", "adam,n=1", "superior", 2),
        ("every:x,n=2", "adam,n=2", "inferior", 2),
    ]
