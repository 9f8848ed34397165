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

from superpositional.evidence import inference, verdicts
from superpositional.evidence.verdicts import declared_after, judge, lead
from superpositional.format import bounds
from superpositional.records import Run, Sweep, claims
from superpositional.records.claims import Claim

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


SECONDS = "convergence/seconds_to_target"
START = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


def timed(arms=("adam", "x"), n: int = 6, *, order=None, lasting: float = 9.0, changed=None, points: int = 10) -> Sweep:
    """Runs one after the other, ten seconds apart: seeds outermost, unless ``order`` is another.

    All but x/1 reach the target, before any run ends; no two lengths are the same.
    """
    dice = np.random.default_rng(9)
    order = order or [(arm, seed) for seed in range(n) for arm in arms]
    runs, values = {}, {arm: [None] * n for arm in arms}
    for index, (arm, seed) in enumerate(order):
        clock = np.append(np.sort(dice.uniform(0.5, 4.5, points - 1)), 5.0) + 0.01 * index
        steps = np.arange(1, points + 1) * 50 // points
        seconds = None if (arm, seed) == ("x", 1) else float(clock[points // 2])
        values[arm][seed] = {"convergence/target": 0.9} | ({} if seconds is None else {SECONDS: seconds})
        started = START + datetime.timedelta(seconds=10 * index)
        runs[arm, seed] = {
            "started": started.isoformat(timespec="milliseconds"),
            "wall_seconds": lasting,
            "curves": {"time/train_seconds": (steps, clock)},
        } | (changed or {}).get((arm, seed), {})
    return made_up(values, runs=runs)


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


def flips(differences):
    """The share of sign patterns whose sum is as far from 0, all of them, by scipy."""
    if len(differences) > 12:
        return inference.sign_flip(differences).p
    test = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    return test.pvalue


def by_the_rule(differences, p_holm, flip_holm, better, margin):
    """The verdict, written out from scipy alone."""
    n, mean = len(differences), np.mean(differences)
    if n < 6:
        return "inconclusive"
    low, high = stats.t.interval(0.9, n - 1, mean, stats.sem(differences))
    within = -margin < low and high < margin
    few = " (few pairs)" if n < 15 else ""
    if (p_holm < 0.05) != (flip_holm < 0.05):
        return f"inconclusive, smaller than matters{few}" if within else "inconclusive"
    if p_holm < 0.05:
        word = "superior" if (mean > 0) == (better == "higher") else "inferior"
        return f"{word}, smaller than matters{few}" if within else word
    return f"equivalent{few}" if within else "inconclusive"


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
        by_flips = holm([flips(values - base) for values in arms.values()])
        rows = zip(found, arms.values(), p_values, holm(p_values), by_flips, strict=True)
        for verdict, values, p, p_holm, flip_holm in rows:
            assert verdict.words == by_the_rule(values - base, p_holm, flip_holm, better, margin)
            # the same formulas in another order of operations
            assert (verdict.p, verdict.p_holm) == pytest.approx((p, p_holm), rel=1e-9)
            assert (verdict.effect.n, verdict.planned, verdict.family_size) == (n, n, size)
            seen.add(verdict.words)
    small = [f"{word}, smaller than matters" for word in ("superior", "inferior", "inconclusive")]
    few = [f"{word} (few pairs)" for word in (*small, "equivalent")]
    # With many pairs the two tests seldom disagree.
    assert seen | {small[2]} == {*small, *few, "superior", "inferior", "equivalent", "inconclusive"}


@pytest.mark.parametrize(
    ("differences", "better", "margin", "words"),
    [
        ([2, 3, 2, 3, 2, 3], "higher", 1, "superior"),
        ([2, 3, 2, 3, 2, 3], "lower", 1, "inferior"),
        ([-2, -3, -2, -3, -2, -3], "lower", 1, "superior"),
        ([-2, -3, -2, -3, -2, -3], "higher", 1, "inferior"),
        ([2, 3, 2, 3, 2, 3], "higher", 9, "superior, smaller than matters (few pairs)"),
        ([1, -1, 1, -1, 1, -1], "higher", 9, "equivalent (few pairs)"),
        ([1, -1, 1, -1, 1, -1], "higher", 0.5, "inconclusive"),
        # Equal pairs have no spread to judge by: two or five say nothing, six do.
        ([0, 0], "higher", 0.5, "inconclusive"),
        ([0, 0, 0, 0, 0], "higher", 0.5, "inconclusive"),
        ([0, 0, 0, 0, 0, 0], "higher", 0.5, "equivalent (few pairs)"),
        ([2, 2, 2, 2, 2, 2], "higher", 0.5, "superior"),
        ([2, 2, 2, 2, 2, 2], "lower", 0.5, "inferior"),
        ([2, 2, 2, 2, 2, 2], "higher", 9, "superior, smaller than matters (few pairs)"),
    ],
)
def test_each_verdict_is_reached_from_either_side(differences, better, margin, words) -> None:
    assert only(made_up(pair(differences)), better=better, margin=margin).words == words


@pytest.mark.parametrize("differences", [[9.0, 9.1, 9.0, 9.2, 9.1], [5.0] * 5, [-1e6, -1e6 - 1, -1e6, -1e6, -1e6 + 1]])
def test_five_pairs_never_give_superior_or_inferior_however_clear(differences) -> None:
    for better in ("higher", "lower"):
        verdict = only(made_up(pair(differences)), better=better)
        assert verdict.verdict == "inconclusive"
    # Nor equivalent, nor do they tell how many pairs would be needed.
    wide = only(made_up(pair(differences)), margin=1e9)
    assert wide.words == "inconclusive"
    assert (wide.detectable, "80 % power" in wide.sentence) == (None, False)


def test_six_pairs_are_enough() -> None:
    assert only(made_up(pair([9.0, 9.1, 9.0, 9.2, 9.1, 9.0]))).verdict == "superior"


def test_the_margin_must_be_beaten_and_not_met() -> None:
    # Equal differences lie on the margin itself; halves are exact. Of a family of two, p is 2 * 2 / 2^6.
    for half in (0.5, -0.5):
        for margin, word in ((0.5, "inconclusive"), (0.5 + 1e-9, "equivalent")):
            asked = [a_claim(margin=margin), a_claim(id="D", metric="not there")]
            verdict = judge(made_up(pair([half] * 6)), asked)[0]
            assert (verdict.verdict, verdict.p_holm) == (word, 4 / 64)
            assert only(made_up(pair([half] * 5)), margin=margin).verdict == "inconclusive"


def test_a_claim_without_a_verdict_still_counts_in_its_family() -> None:
    # p is about 0.02, by sign flips 4 / 128: significant alone, and not among three.
    sweep = made_up(pair([1.0, 2.0, -0.2, 1.5, 0.4, 1.9, 0.6]))
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
        # At most: both tests must agree, and the flips of six reach 2 / 64 or 4 / 64.
        assert 0.01 < false / DRAWS <= 0.05 + four_errors(0.05)
        # As many one way as the other: a count of coins.
        assert each.count("superior") == pytest.approx(false / 2, abs=4 * math.sqrt(false) / 2)
        rest = {word for word in each if word not in ("superior", "inferior")}
        assert rest <= {"equivalent", "inconclusive"}
        if margin != 0.7:
            # Where one test alone finds something the direction is undecided.
            assert (
                {"inconclusive" if margin < 1 else "equivalent"} <= rest <= {"inconclusive", *["equivalent"][margin < 1 :]}
            )


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
    small = sum(count for words, count in counts.items() if "equivalent" in words or "smaller" in words)
    assert small / DRAWS == pytest.approx(0.05, abs=four_errors(0.05))


# What goes with it ---------------------------------------------------------------------------------------------------


def test_with_every_verdict_goes_what_n_pairs_find_and_how_many_would_decide() -> None:
    differences = np.random.default_rng(4).normal(0.2, 1.0, 10)
    sweep = made_up(pair(differences))
    sd = differences.std(ddof=1)
    found = judge(sweep, [a_claim(), a_claim(id="D", metric="not there")])[0]
    alpha = 0.05 / 2
    assert found.detectable == pytest.approx(inference.detectable(sd, 10, alpha), rel=1e-9)
    # Of two claims the sign flips of six pairs cannot reach 5 %.
    expected = inference.pairs_to_detect(1.0, sd, alpha, least=7), inference.pairs_for_equivalence(1.0, sd, least=6)
    assert found.pairs == max(expected)
    assert inference.power_t(found.detectable, sd, 10, alpha) == pytest.approx(0.8, abs=1e-9)


def test_a_ratios_sd_and_detectable_effect_are_in_percent_of_the_baselines_mean() -> None:
    dice = np.random.default_rng(5)
    base = dice.normal(50, 2, 10)
    differences = dice.normal(0, 1, 10)
    verdict = only(made_up(pair(differences, base)), compare="ratio", margin=5)
    assert verdict.sd == pytest.approx(100 * differences.std(ddof=1) / base.mean(), rel=1e-9)
    assert verdict.detectable == pytest.approx(inference.detectable(verdict.sd, 10), rel=1e-9)
    spread, n = verdicts.spread(made_up(pair(differences, base)), a_claim(compare="ratio"))
    # Divided by the mean before and after the sd is taken.
    assert (spread, n) == (pytest.approx(verdict.sd, rel=1e-12), 10)


def test_more_than_a_million_pairs_are_no_number() -> None:
    verdict = only(made_up(pair([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])), margin=1e-9)
    assert verdict.pairs is None
    assert "no number of pairs would decide" in verdict.sentence


@pytest.mark.parametrize(("n", "there"), [(5, False), (6, True)])
def test_below_six_pairs_no_effect_can_be_found(n, there) -> None:
    verdict = only(made_up(pair(np.arange(n) % 2 - 0.4)))
    assert (verdict.detectable is not None, f"{n} pairs find" in verdict.sentence) == (there, there)
    assert (verdict.pairs is not None and verdict.pairs >= 6) == there


@pytest.mark.parametrize("value", [0.0, 0.25])
@pytest.mark.parametrize("compare", ["difference", "ratio"])
def test_equal_differences_have_no_interval_and_still_all_their_other_numbers(value, compare) -> None:
    verdict = only(made_up(pair([value] * 8, np.arange(1, 9))), claimed="equivalent", published=value, compare=compare)
    p = 2 / 2**8 if value else 1
    assert (verdict.p, verdict.sign_flip.p, verdict.sd) == (p, p, 0)
    assert (verdict.effect.low, verdict.effect.high, verdict.published_within) == (None, None, None)
    assert (verdict.detectable, verdict.pairs) == (None, None)
    assert verdict.cautions[0] == "all 8 differences are the same up to rounding, no spread to judge by"
    assert "(no interval), n = 8 seeds" in verdict.sentence
    for absent in ("90 % [", "published", "80 % power", "no number of pairs"):
        assert absent not in verdict.sentence
    if compare == "difference":
        assert verdict.words == ("superior, smaller than matters" if value else "equivalent") + " (few pairs)"
        assert verdict.answer == "as claimed"


SENTENCE = (
    "C1, λ = 0.5 vs adam, test/accuracy: inconclusive (undecided, but not in size). Mean paired difference +1.00 points "
    "[+0.06, +1.94], n = 6 seeds; margin ± 0.5 points; the published +4.11 points lies outside the interval; p = 0.041, "
    "0.041 after Holm over 1 claim; exact sign-flip p = 0.12; 6 pairs find 1.3 points with 80 % power; about 29 pairs "
    "decide at the margin, about 9 the effect seen, with 80 % power. Caution: after Holm the t test and the sign-flip "
    "test disagree at 5 %."
)


def test_the_sentence_holds_every_number() -> None:
    sweep = made_up({"adam": [0.5] * 6, "lambda_0.5": [0.51, 0.52, 0.5, 0.52, 0.51, 0.5]}, metric="test/accuracy")
    settings = {"id": "C1", "metric": "test/accuracy", "arm": "lambda_0.5", "scale": 100, "unit": "points", "margin": 0.5}
    verdict = only(sweep, **settings, claimed="superior", published=4.11)
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
        assert verdict.decide in plain["sentence"]
        assert f"about {plain['pairs']:,} pairs decide at the margin" in verdict.decide
        assert f"{plain['p']:.2g}, {plain['p_holm']:.2g} after Holm over 3 claims" in plain["sentence"]
        assert plain["interval_90"] == list(verdict.narrow)
        assert plain["effect"]["low"] < plain["interval_90"][0] < plain["interval_90"][1] < plain["effect"]["high"]
        assert [each["arm"] for each in plain["attribution"]] == ["y"]


CLEAR, EQUAL, WIDE = [2, 3, 2, 3, 2, 3], [0, 0, 0, 0, 0, 0], [9, -9, 9, -9, 9, -8]


@pytest.mark.parametrize(
    ("claimed", "differences", "settings", "answer"),
    [
        ("superior", CLEAR, {}, "as claimed"),
        ("superior", CLEAR, {"published": 2.5}, "as claimed"),
        ("superior", CLEAR, {"published": 5.0}, "as claimed, but not in size"),
        ("superior", CLEAR, {"margin": 9}, "as claimed, but not in size"),
        ("superior", CLEAR, {"margin": 9, "published": 2.5}, "as claimed, but not in size"),
        ("inferior", CLEAR, {"better": "lower", "published": 5.0}, "as claimed, but not in size"),
        ("inferior", CLEAR, {}, "not as claimed"),
        ("inferior", CLEAR, {"published": 5.0}, "not as claimed"),
        ("superior", EQUAL, {}, "not by as much as matters"),
        ("superior", EQUAL, {"published": 5.0}, "not as claimed"),
        ("superior", [0.1, 0, 0.1, 0, 0, 0], {"published": 5.0}, "not as claimed"),
        ("equivalent", EQUAL, {}, "as claimed"),
        ("equivalent", [0.1, 0, 0.1, 0, 0, 0], {"published": 5.0}, "as claimed"),
        # There, but too small to matter.
        ("equivalent", CLEAR, {"margin": 9}, "as claimed"),
        ("equivalent", CLEAR, {"margin": 9, "better": "lower"}, "as claimed"),
        ("equivalent", CLEAR, {}, "not as claimed"),
        ("superior", WIDE, {}, "undecided"),
        ("equivalent", WIDE, {"published": 50.0}, "undecided, but not in size"),
        (None, CLEAR, {}, "–"),
        (None, CLEAR, {"published": 5.0}, "–"),
        (None, EQUAL, {}, "–"),
        (None, WIDE, {}, "–"),
        ("superior", [2, 3, 2, 3, 2, None], {}, "no verdict"),
        (None, [2, 3, 2, 3, 2, None], {}, "no verdict"),
    ],
)
def test_the_answer_holds_the_verdict_and_its_size_against_the_claim(claimed, differences, settings, answer) -> None:
    sweep = made_up({"adam": [0.0] * 6, "x": differences})
    verdict = only(sweep, claimed=claimed, **settings)
    assert verdict.answer == answer
    assert (f"({answer})" in verdict.sentence) == (answer not in ("–", "undecided", "no verdict"))


@pytest.mark.parametrize(
    ("differences", "others", "caution"),
    [
        # The sign flips' p is 2 / 16 and the t test's 0.041.
        ([1, 2, 0, 2, 1, 0], 0, "after Holm the t test and the sign-flip test disagree at 5 %"),
        # Of six pairs at least 2 / 64 each, and twice that after Holm; alone they agree.
        (CLEAR, 0, None),
        (
            CLEAR,
            1,
            "after Holm the t test and the sign-flip test disagree at 5 %, which cannot with 6 pairs and 2 claims",
        ),
        # Apart only before Holm: p = 0.041 and 2 / 16.
        ([1, 2, 0, 2, 1, 0], 1, None),  # neither does after it
        # Five pairs decide nothing either way.
        ([2, 3, 2, 3, 2], 0, None),
    ],
)
def test_the_sign_flips_are_held_against_the_t_test_after_holm(differences, others, caution) -> None:
    asked = [a_claim(), *(a_claim(id=f"D{i}", metric="not there") for i in range(others))]
    verdict = judge(made_up(pair(differences)), asked)[0]
    assert verdict.cautions == (() if caution is None else (caution,))
    assert (verdict.verdict == "inconclusive") == (caution is not None or others == 1 or len(differences) < 6)


def test_the_lead_counts_and_names_every_claim_once() -> None:
    up, same, wide = [2, 3, 2, 3, 2, 3, 2, 3], [0.1, 0, 0.1, 0, 0, 0, 0, 0], [9, -9, 9, -9, 9, 0, 0, 0]
    values = {"adam": [0.0] * 8, "up": up, "same": same, "wide": wide}
    asked = [a_claim(id=arm, arm=arm) for arm in ("up", "same", "wide")] + [
        a_claim(id="lost", arm="up", metric="not there")
    ]
    sweep = made_up(values)
    assert lead(judge(sweep, asked)) == (
        "Of 4 claims, superior: up; equivalent (few pairs): same; inconclusive: wide; no verdict: lost. Inconclusive is "
        "not equal: the intervals allow an effect that matters."
    )
    assert lead(judge(sweep, asked[:1])) == "Of 1 claim, superior: up."
    assert lead([]) == "No claim was declared, so there is no verdict."
    small = [a_claim(id="tiny", arm="up", margin=9), a_claim(id="big", arm="up", family="other")]
    assert lead(judge(sweep, small)) == "Of 2 claims, superior, smaller than matters (few pairs): tiny; superior: big."


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


def test_claims_declared_after_runs_are_called_exploratory_in_every_verdict() -> None:
    early = {("adam", 0): {"claims": None}, ("x", 1): {"claims": "0ther"}}
    values = pair([2.0, 3, 2, 3, 2, 3])
    asked = [a_claim(), a_claim(id="N", metric="not there", family="other")]
    for verdict in judge(made_up(values, runs=early), asked, "d1ge57"):
        assert verdict.cautions == ("exploratory, declared or changed after 2 of 12 runs",)
    told, refused = judge(made_up(values, runs=early), asked, "d1ge57")
    assert told.sentence.endswith(" Caution: exploratory, declared or changed after 2 of 12 runs.")
    assert (told.verdict, refused.verdict) == ("superior", "no verdict")
    # Of every run, after those cautions that there are; none where all were declared, or it was not asked.
    other = {("x", 5): {"versions": {"torch": "2.14.0"}}}
    first, last = judge(made_up(values, runs=other), asked[:1], "new")[0].cautions
    assert first.startswith("the runs compared differ in torch")
    assert last == "exploratory, declared or changed after 12 of 12 runs"
    assert judge(made_up(values), asked[:1], "d1ge57")[0].cautions == ()
    assert judge(made_up(values, runs=early), asked[:1])[0].cautions == ()


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


def test_only_a_superior_or_inferior_verdict_has_shares() -> None:
    values = halved()
    assert only(made_up(values), controls=("control",), better="lower").attribution[0].share.value == 0.5
    # p is about 0.02: the interval excludes 0, and Holm over three does not.
    values = {"adam": np.zeros(7), "x": np.array([1.0, 2.0, -0.2, 1.5, 0.4, 1.9, 0.6])}
    values["control"] = values["x"] / 2
    asked = [a_claim(controls=("control",)), *(a_claim(id=name, metric="not there") for name in "DE")]
    alone, among = judge(made_up(values), asked[:1])[0], judge(made_up(values), asked)[0]
    assert among.effect == alone.effect
    assert among.effect.low > 0
    assert (alone.verdict, alone.attribution[0].share.value) == ("superior", 0.5)
    assert (among.verdict, among.attribution[0].share) == ("inconclusive", None)
    # Nothing, for five pairs never are superior.
    few = {arm: each[:5] for arm, each in halved().items()}
    verdict = only(made_up(few), controls=("control",), margin=99)
    assert (verdict.verdict, verdict.attribution[0].share) == ("inconclusive", None)
    assert verdict.effect.low > 0


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
    steps = np.array([2.0, 3, 2, 3, 2, 3, 2])
    values = {"adam,n=1": np.zeros(7), "x,n=1": steps, "adam,n=2": np.full(7, 9.0), "x,n=2": 9 - steps}
    baselines = {arm: f"adam,{arm.split(',')[1]}" for arm in values}
    sweep = made_up(values, baselines=baselines)
    declared = {"every": {"says": "it does", "metric": "score", "arm": "*", "better": "higher", "margin": 1}}
    found = judge(sweep, claims.read(declared, sweep.arms, sweep.baselines))
    assert [(verdict.claim.id, verdict.claim.baseline, verdict.verdict, verdict.family_size) for verdict in found] == [
        ("every:x,n=1", "adam,n=1", "superior", 2),
        ("every:x,n=2", "adam,n=2", "inferior", 2),
    ]


# Few pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "words"), [(2, "inconclusive"), (5, "inconclusive"), (6, "equivalent (few pairs)")])
def test_equivalent_takes_six_pairs_however_alike_they_are(n, words) -> None:
    verdict = only(made_up(pair(np.array([0.0, 0.0001, 0.0, 0.0001, 0.0002, 0.0])[:n], np.full(n, 0.9))))
    assert verdict.words == words
    # Nor is an effect small in so few.
    assert not (verdict.small or verdict.verdict == "equivalent") or n >= 6


@pytest.mark.parametrize(("n", "few"), [(6, True), (14, True), (15, False), (30, False)])
def test_below_fifteen_pairs_equivalent_is_stated_with_a_caution(n, few) -> None:
    for shift, word in ((0.0, "equivalent"), (0.2, "superior, smaller than matters")):
        verdict = only(made_up(pair(np.tile([0.1, -0.1, 0.05], 10)[:n] + shift)))
        assert verdict.words == word + few * " (few pairs)"
        told = [caution for caution in verdict.cautions if "15 pairs" in caution]
        assert told == ([f"{n} pairs are few: below 15 pairs a small effect is stated with this caution"] if few else [])


def test_beside_equivalent_stand_the_rare_failures_that_n_allows_and_the_smallest_margin() -> None:
    for n, share in ((6, "39"), (10, "26"), (30, "9.5")):
        verdict = only(made_up(pair(np.tile([0.1, -0.1, 0.05], 10)[:n])))
        # A share q of failures goes unseen in n runs in 5 of 100 cases where (1 - q)^n = 0.05.
        assert verdict.rare_failures == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-9)
        assert verdict.smallest_margin == max(abs(end) for end in verdict.narrow)
        assert f"failures of up to {share} % of runs may go unseen in {n} pairs" in verdict.sentence
        assert f"holds for any margin above {verdict.smallest_margin:.2g}" in verdict.sentence
        plain = verdict.plain()
        assert (plain["rare_failures"], plain["smallest_margin"]) == (verdict.rare_failures, verdict.smallest_margin)
        assert (
            only(made_up(pair(np.tile([0.1, -0.1, 0.05], 10)[:n])), margin=verdict.smallest_margin).words == "inconclusive"
        )
    assert only(made_up(pair(WIDE))).plain()["smallest_margin"] is None


# Where the tests disagree --------------------------------------------------------------------------------------------


def test_where_the_t_test_and_the_sign_flips_disagree_after_holm_the_verdict_is_undecided_with_the_reason() -> None:
    # p = 0.041 and 2 / 16.
    verdict = only(made_up(pair([1, 2, 0, 2, 1, 0])), margin=0.5)
    assert verdict.words == "inconclusive"
    assert verdict.cautions == ("after Holm the t test and the sign-flip test disagree at 5 %",)
    # All within the margin: undecided is the direction alone.
    verdict = only(made_up(pair([1, 2, 0, 2, 1, 0])), margin=9, claimed="equivalent")
    assert (verdict.words, verdict.answer) == ("inconclusive, smaller than matters (few pairs)", "as claimed")
    # Six pairs cannot reach 5 % among two claims, and no number is promised that six would find.
    verdict = judge(made_up(pair(CLEAR)), [a_claim(), a_claim(id="D", metric="not there")])[0]
    assert (verdict.words, verdict.detectable) == ("inconclusive", None)
    assert verdict.pairs >= 7


@pytest.mark.parametrize("n", [6, 15, 30])
def test_skewed_differences_without_an_effect_are_called_superior_or_inferior_less_often_than_by_the_t_test(n) -> None:
    dice, alone, both = np.random.default_rng(n), 0, 0
    for _ in range(DRAWS):
        differences = dice.lognormal(0, 1, n) - math.exp(0.5)
        alone += inference.paired_t(differences) < 0.05
        both += only(made_up(pair(differences)), margin=1e-3).verdict in ("superior", "inferior")
    # More than four standard errors above 5 %, and never more by both.
    assert alone / DRAWS > 0.05 + four_errors(0.05)
    assert both <= alone


# Censoring -----------------------------------------------------------------------------------------------------------

EPOCHS = "convergence/epochs_to_target"


def to_target(**arms) -> Sweep:
    """Epochs to the target by arm and seed, None for a run that missed it; training lasts 10 epochs."""
    summaries = {
        arm: [{"convergence/target": 0.9} | ({} if time is None else {EPOCHS: time}) for time in times]
        for arm, times in arms.items()
    }
    return made_up(summaries)


TIMES = np.linspace(4, 6, 30)


def test_with_28_of_30_pairs_censored_nothing_is_equivalent() -> None:
    times = [4.0, 4.1, *[None] * 28]
    verdict = only(to_target(adam=times, x=[4.05, *times[1:]]), metric=EPOCHS, compare="ratio", better="lower", margin=5)
    assert verdict.verdict == "inconclusive"
    assert (verdict.effect.mean, verdict.effect.low, verdict.effect.high) == (None, None, None)
    assert "no size: more than a quarter of the runs of adam (28 of 30), x (28 of 30) never reached the target" in (
        verdict.cautions
    )


@pytest.mark.parametrize("compare", ["ratio", "difference"])
@pytest.mark.parametrize(("missed", "heavy"), [(7, False), (8, True)])
def test_with_more_than_a_quarter_of_an_arm_censored_a_time_is_at_least_and_never_an_estimate(
    missed, heavy, compare
) -> None:
    slower = [None] * missed + list(TIMES[missed:] + 1.5)
    settings = {"metric": EPOCHS, "compare": compare, "better": "lower", "margin": 5}
    verdict = only(to_target(adam=TIMES, x=slower), **settings)
    mirrored = only(to_target(adam=slower, x=TIMES), **settings)
    if not heavy:
        assert verdict.effect.mean is not None
        return
    assert (verdict.verdict, verdict.effect.mean, verdict.effect.high) == ("inferior", None, None)
    assert verdict.effect.low > 0
    assert verdict.shown.startswith("at least +")
    assert (verdict.p, verdict.narrow) == (verdict.sign_flip.p, (None, None))
    assert (mirrored.verdict, mirrored.effect.mean, mirrored.effect.low) == ("superior", None, None)
    assert mirrored.shown.startswith("at most −")
    assert (verdict.detectable, verdict.pairs, verdict.published_within) == (None, None, None)
    json.dumps(verdict.plain(), allow_nan=False)


def test_the_bound_on_a_mostly_censored_time_holds_where_fiellers_interval_does_not() -> None:
    dice, given, held, covered = np.random.default_rng(15), 0, 0, 0
    for _ in range(300):
        shared = dice.normal(0, 0.2, 30)
        base, arm = (mean * np.exp(shared + dice.normal(0, sd, 30) - sd**2 / 2) for mean, sd in ((6, 0.05), (7.2, 0.3)))
        reached = [[None if time > 8 else time for time in each] for each in (base, arm)]
        both = [inference.censored(each, 8) for each in reached]
        effect = verdicts._effect(a_claim(compare="ratio"), both[1], both[0], (True, False))[0]
        whole = verdicts._effect(a_claim(compare="ratio"), both[1], both[0])[0]
        covered += whole.low <= 20 <= whole.high
        if effect.low is not None:
            given, held = given + 1, held + (effect.low <= 20)
    # The true ratio is 1.2. Nominally 95 % for the interval; a one-sided bound errs in 2.5 %.
    assert covered / 300 < 0.5
    assert given > 100
    assert held / given >= 0.975


def test_a_spread_of_mostly_censored_times_is_no_pilot() -> None:
    sweep = to_target(adam=TIMES, x=[None] * 10 + list(TIMES[10:]))
    assert verdicts.spread(sweep, a_claim(metric=EPOCHS, compare="ratio")) is None
    assert verdicts.spread(to_target(adam=TIMES, x=TIMES + 1), a_claim(metric=EPOCHS, compare="ratio"))[1] == 30


def test_of_two_arms_that_mostly_miss_nothing_is_said_and_a_control_that_does_gets_no_share() -> None:
    mostly = [None] * 20 + list(TIMES[20:])
    settings = {"metric": EPOCHS, "compare": "ratio", "better": "lower", "margin": 5}
    verdict = only(to_target(adam=mostly, x=[None] * 29 + [5.0]), **settings)
    assert verdict.words == "inconclusive"
    verdict = only(to_target(adam=TIMES, x=TIMES + 1, control=mostly), **settings, controls=("control",))
    assert verdict.verdict == "inferior"
    (found,) = verdict.attribution
    assert (found.share, found.control.mean) == (None, None)


# Diverged runs -------------------------------------------------------------------------------------------------------


def with_diverged(differences, *seeds, arm="x") -> Sweep:
    lost = {(arm, seed): {"status": "diverged", "summary": {}} for seed in seeds}
    return made_up(pair(differences), runs=lost)


def test_one_diverged_run_of_thirty_leaves_every_verdict_that_the_others_bear() -> None:
    dice = np.random.default_rng(12)
    up = dice.normal(1, 0.1, 30)
    verdict = only(with_diverged(up, 7))
    assert (verdict.verdict, verdict.n, verdict.effect.n) == ("superior", 30, 29)
    assert dict(verdict.diverged) == {"x": 1}
    assert "1 of 30 runs of x diverged and rank last" in verdict.cautions[0]
    # The mean is of the pairs that finished, and says so.
    assert verdict.shown == f"{bounds(verdict.effect)} over 29 pairs"
    # A small effect is never equivalent where runs are lost: what they would have been is not known to be small.
    assert only(with_diverged(np.tile([0.1, -0.1], 15), 7)).words == "inconclusive"
    # Where both runs of a pair are lost neither is better.
    both = {(arm, 7): {"status": "diverged", "summary": {}} for arm in ("adam", "x")}
    assert only(made_up(pair(up), runs=both)).verdict == "superior"


def test_an_arm_that_diverges_is_worse_in_accuracy_whichever_way_is_better() -> None:
    for better in ("higher", "lower"):
        assert only(with_diverged(np.zeros(8), *range(8)), better=better).verdict == "inferior"
        assert only(with_diverged(np.zeros(8), *range(8), arm="adam"), better=better).verdict == "superior"
        # Six of eight: 2 / 64 by sign flips.
        some = only(with_diverged(np.zeros(8), *range(6)), better=better)
        assert (some.verdict, some.p) == ("inferior", 2 / 64)
    none = only(with_diverged(np.zeros(8), *range(8)))
    assert (none.effect.n, none.effect.mean, none.n, none.shown) == (0, None, 8, "–")
    json.dumps(none.plain(), allow_nan=False)


def test_the_ranks_are_wilcoxons_where_the_lost_runs_stand_last() -> None:
    dice = np.random.default_rng(13)
    differences = dice.normal(0.3, 1, 14)
    verdict = only(with_diverged(differences, 0, 1))
    # Any number beyond all others in its place: a signed-rank test knows no more of it than its rank.
    stood_in = np.concatenate([[-99.0, -99.0], differences[2:]])
    signed = stats.rankdata(np.abs(stood_in)) * np.sign(stood_in)
    assert verdict.p == verdict.sign_flip.p == inference.sign_flip(signed).p


def test_a_failed_run_still_leaves_no_verdict_and_a_diverged_control_no_share() -> None:
    lost = {("x", 0): {"status": "failed", "summary": {}}, ("x", 1): {"status": "diverged", "summary": {}}}
    assert only(made_up(pair(np.ones(8)), runs=lost)).refusals == ("1 of 8 pairs are incomplete, failed (seed 0)",)
    control = {("control", 3): {"status": "diverged", "summary": {}}}
    verdict = only(made_up(halved(), runs=control), controls=("control",))
    assert (verdict.verdict, verdict.attribution[0].share) == ("superior", None)


# Precision -----------------------------------------------------------------------------------------------------------


def test_what_counts_as_rounding_follows_the_precision_of_the_metric() -> None:
    dice = np.random.default_rng(14)
    losses = dice.normal(1, 0.1, (8, 60)).astype(np.float32).astype(float)
    noisy = losses + dice.normal(0, 1e-7, losses.shape)
    values = {"adam": losses.mean(1), "x": noisy.astype(np.float32).astype(float).mean(1)}
    # Means in double of single-precision losses: their differences of 1e-8 are no rounding.
    verdict = only(made_up(values), compare="ratio", margin=1)
    assert verdict.sd > 0
    assert verdict.effect.low < verdict.effect.mean < verdict.effect.high
    assert verdict.p < 1
    # The same numbers kept in single precision are equal but for their last bit.
    single = {arm: each.astype(np.float32).astype(float) for arm, each in values.items()}
    verdict = only(made_up(single), compare="ratio", margin=1)
    assert (verdict.sd, verdict.p) == (0, 1)


# What a row says -----------------------------------------------------------------------------------------------------


def test_a_row_that_says_equivalent_shows_the_interval_that_decided_it() -> None:
    verdict = only(made_up(pair(np.tile([0.1, -0.1, 0.05], 10))), unit="points")
    assert verdict.shown == f"{bounds(verdict.effect, 'points')}, 90 % [−0.010, +0.043]"
    assert "90 %" not in only(made_up(pair(WIDE))).shown


def test_pairs_to_decide_are_named_for_the_margin_and_for_the_effect_seen_and_none_from_two() -> None:
    differences = np.random.default_rng(4).normal(0.6, 1.0, 10)
    verdict = only(made_up(pair(differences)))
    sd = differences.std(ddof=1)
    assert verdict.pairs == max(inference.pairs_to_detect(1.0, sd), inference.pairs_for_equivalence(1.0, sd, least=6))
    assert verdict.pairs_seen == inference.pairs_to_detect(differences.mean(), sd)
    told = f"about {verdict.pairs:,} pairs decide at the margin, about {verdict.pairs_seen:,} the effect seen"
    assert told in verdict.sentence
    few = only(made_up(pair([1.0, -2.0])))
    assert (few.pairs, few.pairs_seen) == (None, None)
    assert "pairs decide" not in few.sentence
    assert "no number of pairs" not in few.sentence


def test_an_effect_beyond_the_published_one_is_as_claimed() -> None:
    assert only(made_up(pair(CLEAR)), claimed="superior", published=1.0).answer == "as claimed"
    down = only(made_up(pair(-np.array(CLEAR))), claimed="superior", published=-1.0, better="lower")
    assert down.answer == "as claimed"
    assert only(made_up(pair(CLEAR)), claimed="superior", published=5.0).answer == "as claimed, but not in size"


def test_a_ratio_from_two_pairs_is_refused_for_their_number() -> None:
    verdict = only(made_up(pair([1.0, -1.0], [4.0, 13.56])), compare="ratio", margin=5)
    told = "2 pairs give no interval of a ratio (the baseline's mean is 8.78); run at least 6 seeds"
    assert verdict.refusals == (told,)
