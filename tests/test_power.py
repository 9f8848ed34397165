"""Do the tables say what the statistics say, and does the probe trace the term that a run would have?"""

import csv
import io
import math

import matplotlib
import numpy as np
import pytest
import yaml
from test_verdicts import SECONDS, a_claim, made_up, pair, timed

from superpositional.evidence import power, verdicts
from superpositional.evidence.inference import pairs_for_equivalence, pairs_to_detect, power_equivalence, power_t
from superpositional.evidence.verdicts import ALPHA, LEAST_PAIRS
from superpositional.records import claims
from superpositional.records.claims import ClaimError
from superpositional.records.published import publish
from superpositional.training import show

STEPS = 20
SCALARS = 81_092  # of the default net


@pytest.fixture(autouse=True)
def no_windows():
    matplotlib.use("agg")


# The table -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [1, 4, 20])
def test_the_table_is_that_of_the_statistics(family: int) -> None:
    effects, powers = (0.3, 1.0, 2.5), (0.5, 0.8, 0.9)
    heads, *rows = power.rows(effects, powers, family)
    assert heads == (
        *("claim", "family of", "sd of differences", "effect"),
        *(f"pairs to find it, {p} %" for p in (50, 80, 90)),
        *(f"to show it is smaller, {p} %" for p in (50, 80, 90)),
    )
    assert [row[:4] for row in rows] == [("any", str(family), "1 sd", f"{effect:g} sd") for effect in effects]
    for effect, row in zip(effects, rows, strict=True):
        for p, find, exclude in zip(powers, map(int, row[4:7]), map(int, row[7:]), strict=True):
            # Enough, and one less is not; a verdict needs six, and as many as the sign flips of a family need.
            assert power_t(effect, 1, find, ALPHA / family) >= p
            assert family * 2 / 2**find < ALPHA
            assert (
                find == LEAST_PAIRS
                or family * 2 / 2 ** (find - 1) >= ALPHA
                or power_t(effect, 1, find - 1, ALPHA / family) < p
            )
            # Equivalence is no part of Holm's family.
            assert power_equivalence(effect, 1, exclude, alpha=ALPHA) >= p
            assert exclude >= LEAST_PAIRS
            assert exclude == LEAST_PAIRS or power_equivalence(effect, 1, exclude - 1, alpha=ALPHA) < p


def test_a_table_for_claims_is_in_their_own_units() -> None:
    found = [power.Spread("C1", 0.25, 30, "points", (0.5, 2.3)), power.Spread("C2", 4.0, 12, "%", (1e-9,))]
    _, *rows = power.rows((9.0,), (0.8,), 2, found)
    assert rows == [
        ("C1", "2", "0.25 points (n = 30)", "0.5 points", "7", "6"),
        ("C1", "2", "0.25 points (n = 30)", "2.3 points", "7", "6"),
        ("C2", "2", "4 % (n = 12)", "1e-09 %", "> 1,000,000", "> 1,000,000"),
    ]
    _, row = power.rows((9.0,), (0.8,), 2, [power.Spread("C3", 0.5, 30, "points", (0.25,))])
    assert row[4:] == (str(pairs_to_detect(0.5, 1, 0.025)), str(pairs_for_equivalence(0.5, 1)))


def test_a_claims_own_family_is_the_level_unless_another_is_asked() -> None:
    found = [power.Spread("C1", 1.0, 30, "", (0.5,), 3), power.Spread("C2", 1.0, 30, "", (0.5,))]
    for asked, sizes in ((None, (3, 1)), (1, (1, 1)), (20, (20, 20))):
        _, *rows = power.rows((), (0.8,), asked, found)
        assert [row[1] for row in rows] == [str(size) for size in sizes]
        assert [row[4] for row in rows] == [str(pairs_to_detect(0.5, 1, ALPHA / size)) for size in sizes]
        # Equivalence is no part of Holm's family.
        assert {row[5] for row in rows} == {str(pairs_for_equivalence(0.5, 1))}
    # Where no sweep tells a family it is of one.
    assert power.rows((0.5,), (0.8,), None) == power.rows((0.5,), (0.8,), 1)


def test_pairs_that_never_differ_find_anything() -> None:
    _, row = power.rows((), (0.8,), 1, [power.Spread("C", 0.0, 9, "points", (0.5,))])
    assert row == ("C", "1", "0 points (n = 9)", "0.5 points", "6", "6")


# What was asked ------------------------------------------------------------------------------------------------------


def test_all_that_was_asked_wrongly_is_told_at_once_with_the_value_and_the_cure() -> None:
    assert power.check([0.5, 0, -1, math.nan, math.inf], [0.8, 0, 1, 1.5, math.nan, 0.05], 0) == [
        *(
            f"--effects must be finite and > 0, got {got}; 0.5 is half the sd of the differences"
            for got in ("0", "-1", "nan", "inf")
        ),
        *(
            f"--power must lie between 0.05, which the tests find where nothing is, and 1, got {got}; 0.8 is usual"
            for got in ("0", "1", "1.5", "nan", "0.05")
        ),
        "--family must be >= 1, got 0; it is the number of claims",
    ]
    assert power.check([0.5], [0.8], -1) == ["--family must be >= 1, got -1; it is the number of claims"]
    assert power.check([0], [0.8], None) == power.check([0], [0.8], 1)


@pytest.mark.parametrize("family", [None, 1, 50])
def test_what_passes_the_check_has_a_table(family: int) -> None:
    effects, powers = [1e-300, 1e-9, 1e9, 1e300], [0.0501, 0.999999]
    assert power.check(effects, powers, family) == []
    with np.errstate(all="raise"):
        assert len(power.rows(effects, powers, family)) == 5


# Spreads of a sweep --------------------------------------------------------------------------------------------------


def a_declaration(**settings_of) -> dict:
    base = {"says": "differs", "metric": "score", "arm": "x", "better": "higher", "margin": 0.5}
    return {name: base | settings for name, settings in settings_of.items()}


def test_spreads_are_those_of_the_verdicts_in_the_claims_units() -> None:
    dice = np.random.default_rng(0)
    base, differences = dice.normal(20, 1, 9), dice.normal(0, 2, 9)
    declared = a_declaration(
        diff={"unit": "points", "published": -2.3, "scale": 100},
        ratio={"compare": "ratio", "margin": 5, "published": 37.8},
        same={"published": 0.5},
        nought={"published": 0, "claimed": "equivalent"},
        missing={"metric": "not there"},
    )
    found = power.spreads(made_up(pair(differences, base), claims=declared))
    assert [(each.name, each.n, each.unit, each.effects) for each in found] == [
        ("diff", 9, "points", (0.5, 2.3)),
        ("ratio", 9, "%", (5, 37.8)),
        ("same", 9, "", (0.5,)),
        # No number of pairs finds an effect of 0.
        ("nought", 9, "", (0.5,)),
    ]
    sd = differences.std(ddof=1)
    assert [each.sd for each in found] == pytest.approx([100 * sd, 100 * sd / base.mean(), sd, sd], rel=1e-9)
    # All five are judged together, the one without a value too.
    assert {each.family for each in found} == {5}
    assert len(power.rows((), (0.8,), None, found)) == 1 + 6


def test_a_spread_has_the_family_that_its_claim_is_judged_in() -> None:
    declared = a_declaration(A={"family": "f"}, B={"family": "f"}, C={"family": "g"}, D={"family": "f", "metric": "no"})
    sweep = made_up(pair([1.0, 2, 3, 4, 5, 6]), claims=declared)
    found = power.spreads(sweep)
    assert [(each.name, each.family) for each in found] == [("A", 3), ("B", 3), ("C", 1)]
    judged = verdicts.judge(sweep, claims.of(sweep)[1])
    assert [verdict.family_size for verdict in judged] == [3, 3, 1, 3]


def test_a_spread_is_of_the_pairs_that_there_are() -> None:
    """A plan may be made from a pilot that is not complete; a verdict may not."""
    lost = {("x", 0): {"status": "failed", "summary": {}}, ("adam", 1): {"status": "diverged", "summary": {}}}
    sweep = made_up(pair([9, -9, 1, 2, 3, 1, 2, 3]), runs=lost, claims=a_declaration(C={}))
    (found,) = power.spreads(sweep)
    assert (found.n, found.sd) == (6, math.sqrt(0.8))
    assert verdicts.judge(sweep, [a_claim()])[0].verdict == "no verdict"


@pytest.mark.parametrize("baseline", [[0.0] * 6, [-1.0] * 6])
def test_a_ratio_to_nothing_has_no_spread(baseline) -> None:
    declared = a_declaration(R={"compare": "ratio"}, D={})
    assert [each.name for each in power.spreads(made_up(pair([1, 2, 3, 4, 5, 6], baseline), claims=declared))] == ["D"]


def test_times_to_a_target_have_the_spread_of_their_censored_values() -> None:
    sweep = timed()
    claim = a_claim(metric=SECONDS)
    sd, n = verdicts.spread(sweep, claim)
    assert (sd, n) == (verdicts.judge(sweep, [claim])[0].sd, 6)


NO_SPREAD = (
    "no claim of made_up has 6 pairs whose differences are not all the same, so none tells a spread to plan with; run more "
    "seeds, or name others with --claims"
)


@pytest.mark.parametrize(
    ("declared", "differences"),
    [
        # Without claims it is asked of every arm, whose accuracy these runs have not.
        (None, [1.0, 2, 3, 4, 5, 6]),
        ({}, [1.0, 2, 3, 4, 5, 6]),
        (a_declaration(C={"metric": "not there"}), [1.0, 2, 3, 4, 5, 6]),
        # Five pairs never give superior or inferior.
        (a_declaration(C={}), [1.0, 2, 3, 4, 5]),
        (a_declaration(C={}), [2.0] * 6),
        (a_declaration(C={}), [0.0] * 30),
    ],
)
def test_a_sweep_whose_claims_tell_no_spread_is_refused(declared, differences) -> None:
    with pytest.raises(ClaimError) as refused:
        power.spreads(made_up(pair(differences), claims=declared))
    assert str(refused.value) == NO_SPREAD


def test_a_claim_that_tells_no_spread_is_left_out_beside_one_that_does() -> None:
    values = {"adam": [0.0] * 6, "same": [1.0] * 6, "few": [1.0, 2, 3, 4, 5, None], "x": [1.0, 2, 3, 4, 5, 6]}
    declared = a_declaration(S={"arm": "same"}, F={"arm": "few"}, X={})
    (found,) = power.spreads(made_up(values, claims=declared))
    assert (found.name, found.n, found.family) == ("X", 6, 3)


def test_a_sweep_that_kept_no_claims_is_planned_by_those_of_every_arm() -> None:
    (found,) = power.spreads(made_up(pair([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]), metric="test/accuracy"))
    assert (found.name, found.unit, found.family) == ("accuracy:x", "points", 1)
    assert found.sd == pytest.approx(math.sqrt(3.5), rel=1e-9)


# The probe -----------------------------------------------------------------------------------------------------------


def probed(*overrides: str, steps: int = STEPS) -> dict:
    return show.trace(show.compose(["logger=none", *overrides], command="plan", circuit_is_read=False), steps)


@pytest.fixture(scope="module")
def literal() -> dict:
    return probed()


def test_the_literal_scope_touches_four_scalars_and_the_placebo_changes_one_once(literal) -> None:
    assert [trace.step for trace in literal["arm"]] == list(range(1, STEPS + 1))
    assert {trace.touched for trace in literal["arm"]} == {4}
    assert max(trace.changed for trace in literal["arm"]) <= 4
    assert {trace.scalars for trace in literal["arm"] + literal["placebo"]} == {SCALARS}
    # One scalar, in the first of the steps, by one unit in the last place: no number that anything means.
    assert [trace.changed for trace in literal["placebo"]] == [1] + [0] * (STEPS - 1)
    assert 0 < literal["placebo"][0].share < 1e-5
    assert {trace.share for trace in literal["placebo"][1:]} == {0.0}
    assert {trace.touched for trace in literal["placebo"]} == {None}


def test_the_probes_table_holds_means_over_the_steps(literal) -> None:
    heads, arm, placebo = show.rows(literal)
    assert heads == ("", "share of the update", "largest", "angle (degrees)", "scalars touched", "changed a step", "of")
    shares = [trace.share for trace in literal["arm"]]
    assert arm[:3] == ("arm", f"{np.mean(shares):.3g}", f"{max(shares):.3g}")
    assert arm[4] == "4"
    assert placebo[4:] == ("–", "0.05", "81,092")


def test_a_probe_is_the_same_each_time_and_traces_what_a_run_would_do(literal) -> None:
    again = probed(steps=3)
    assert again["arm"] == literal["arm"][:3]
    assert probed("seed=1", steps=1)["arm"] != literal["arm"][:1]
    # All scalars: a term on each, and more steps than a short epoch has.
    every = probed("optimizer.scope=all", "trainer=smoke", steps=4)
    assert {trace.touched for trace in every["arm"]} == {SCALARS}
    assert len(every["arm"]) == 4
    assert every["arm"][0].share > literal["arm"][0].share


def test_adam_has_no_term_and_its_placebo_decays_no_more_than_it(literal) -> None:
    found = probed("optimizer=adam", steps=2)
    assert [(trace.share, trace.changed, trace.touched) for trace in found["arm"]] == [(0.0, 0, None)] * 2
    # AdamW's own default would decay by 0.01.
    assert found["placebo"] == literal["placebo"][:2]


def test_a_weightless_term_is_told_as_a_share_of_nothing() -> None:
    found = probed("optimizer.lr=0.0", "optimizer.quantum_weight=0", steps=2)
    assert list(show.rows(found)[1][1:4]) == ["–"] * 3


# Through the door ----------------------------------------------------------------------------------------------------


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text, as rows of cells."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in next(csv.reader(io.StringIO(line.strip("|")), delimiter="|"))])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_plan_tells_the_term_and_the_seeds_and_writes_both(door, workplace) -> None:
    code, out, err = door("plan", "optimizer.scope=tensor", "--steps", "3", "--effects", "0.4", "2", "--family", "3")
    assert code == 0, err
    traced, needed = tables(out)
    assert traced[2][0] == "arm"
    assert int(traced[2][4]) > 4
    assert "over 3 steps" in out
    assert "for tests at 5 % over the family of claims:" in out
    assert {row[1] for row in needed[2:]} == {"3"}
    expected = [
        (
            # Of three claims the sign flips of six pairs cannot reach 5 %.
            str(pairs_to_detect(effect, 1, ALPHA / 3, p, least=7)),
            str(pairs_for_equivalence(effect, 1, alpha=ALPHA, power=p, least=LEAST_PAIRS)),
        )
        for effect in (0.4, 2)
        for p in (0.8, 0.9)
    ]
    assert [(row[4 + i], row[6 + i]) for row in needed[2:] for i in (0, 1)] == expected
    folder = workplace / "outputs" / "plan"
    assert (folder / "plan.md").read_text() in out
    # Nothing was run.
    assert not list(workplace.rglob("record.json"))


def test_plan_takes_spreads_and_effects_from_a_sweep(door, workplace) -> None:
    declared = a_declaration(C1={"unit": "points", "published": 2.3}, C0={"published": 0, "claimed": "equivalent"})
    differences = [-1.0, 1, -1, 1, -1, 1, 0]
    publish(made_up(pair(differences), claims=declared), workplace / "outputs" / "pilot")
    # Of two, as they are declared; or as asked.
    for asked, family in (([], 2), (["--family", "9"], 9), (["--family", "1"], 1)):
        code, out, err = door("plan", "optimizer=adam", "--steps", "1", "--from", "pilot", *asked)
        assert code == 0, err
        needed = tables(out)[1]
        assert [row[:4] for row in needed[2:]] == [
            ["C1", str(family), "1 points (n = 7)", "0.5 points"],
            ["C1", str(family), "1 points (n = 7)", "2.3 points"],
            ["C0", str(family), "1 (n = 7)", "0.5"],
        ]
        assert needed[2][4] == str(pairs_to_detect(0.5, 1, ALPHA / family))
    (workplace / "other.yaml").write_text(yaml.safe_dump(a_declaration(mine={"margin": 1})))
    words = ["plan", "optimizer=adam", "--steps", "1", "--from", "outputs/pilot", "--claims", "other.yaml"]
    code, out, err = door(*words)
    assert code == 0, err
    assert [row[:2] for row in tables(out)[1][2:]] == [["mine", "1"]]


def test_an_optimizer_that_is_no_adam_is_refused_with_a_cure(door, workplace) -> None:
    code, out, err = door("plan", "optimizer=sgd")
    assert (code, out) == (2, "")
    said = " ".join(err.split())
    assert "to be traced" in said
    assert "got SGD; plan traces Adam's kin, such as optimizer=adamw" in said
    assert list(workplace.iterdir()) == []


def test_all_bad_options_of_a_plan_are_refused_at_once_before_anything_is_traced(door, workplace) -> None:
    words = ["--effects", "0", "-2", "--power", "1", "0.01", "--family", "0", "--steps", "0"]
    code, out, err = door("plan", *words)
    assert (code, out) == (2, "")
    said = " ".join(err.split())
    for text in (
        "--effects must be finite and > 0, got 0;",
        "--effects must be finite and > 0, got -2;",
        "and 1, got 1; 0.8 is usual",
        "and 1, got 0.01; 0.8 is usual",
        "--family must be >= 1, got 0; it is the number of claims",
        "--steps must be >= 1, got 0",
    ):
        assert text in said
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer=sdg"], "optimizer must be one of"),
        (["--from", "nowhere"], "no sweep in outputs/nowhere"),
        (["--from", "old"], NO_SPREAD),
        (["--from", "old", "--claims", "nothing"], "claims must be one of"),
        (["--from", "old", "--claims", "paper_time"], "claims.C3.arm must be an arm of the sweep"),
        (["optimizer=adam,adamw"], "plan shows one config"),
        (["hydra.run.dir=X"], "hydra.run.dir=X has no effect: plan starts no run; --out says where it writes"),
    ],
)
def test_a_plan_of_what_is_not_there_is_refused(door, workplace, words, message) -> None:
    publish(made_up(pair([1.0, 2.0])), workplace / "outputs" / "old")
    before = sorted(workplace.rglob("*"))
    code, out, err = door("plan", *words)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert sorted(workplace.rglob("*")) == before
