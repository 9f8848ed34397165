"""Does a search try what was declared, the same points in every arm, and refuse what it cannot?"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.stats import qmc

from superpositional import records
from superpositional.places import ConfigError
from superpositional.records.published import publish
from superpositional.sweeps import search as searches
from superpositional.sweeps.arms import ArmsSweeper
from superpositional.sweeps.search import Search
from superpositional.training import config as configs

RATE = {"low": 1e-4, "high": 1e-1, "log": True}
SPACE = {"optimizer.lr": RATE, "data.length": {"low": 8, "high": 11, "integer": True}, "net.norm": {"choices": ["a", "b"]}}
OWN = {"loud": {"optimizer.quantum_weight": {"low": 0.01, "high": 1000, "log": True}}}
ARMS = {"adam": ["optimizer=adam"], "loud": ["optimizer=superpositional"]}
UNIT = {"low": 0, "high": 1}


def shared(drawn: dict) -> dict:
    return {trial: {key: value for key, value in values.items() if key in SPACE} for trial, values in drawn.items()}


def mistakes(**changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Search(**{"trials": 4, "space": SPACE, **changes})
    return [text.removeprefix("hydra.sweeper.search") for text in caught.value.mistakes]


# Trials ------------------------------------------------------------------------------------------------------------


def test_every_arm_gets_the_same_number_of_trials_at_the_same_points_of_the_shared_space():
    search = Search(trials=16, space=SPACE, own=OWN)
    assert list(search.of("adam")) == [f"trial-{number:04}" for number in range(16)]
    assert shared(search.of("loud")) == search.of("adam") == shared(search.of("adam"))
    assert all("optimizer.quantum_weight" in values for values in search.of("loud").values())


def test_a_further_arm_or_dimension_moves_no_point_that_was_there():
    before = Search(trials=8, space=SPACE).of("adam")
    assert Search(trials=8, space=SPACE, own={**OWN, "mild": {f"a.b{i}": RATE for i in range(9)}}).of("adam") == before
    wider = Search(trials=8, space={**SPACE, "a.b": RATE}).of("adam")
    assert shared(wider) == before


def test_more_trials_begin_with_those_of_fewer():
    few, many = (Search(trials=trials, space=SPACE, own=OWN).of("loud") for trials in (8, 32))
    assert list(many.items())[:8] == list(few.items())


def test_the_numbers_are_scipys_scrambled_sobol_sequence():
    engine = qmc.Sobol(searches.DIMENSIONS, scramble=True, seed=np.random.default_rng(3))
    points = engine.random_base2(4)
    drawn = Search(trials=16, space={"a": UNIT, "b": UNIT}, own={"x": {"c": UNIT}}, seed=3).of("x").values()
    # four significant digits: half a unit of the fourth
    np.testing.assert_allclose([list(values.values()) for values in drawn], points[:, :3], rtol=5e-4, atol=0)


def test_a_seed_is_a_search_of_its_own():
    drawn = [json.dumps(Search(trials=4, space=SPACE, seed=seed).of("a")) for seed in (0, 0, 1)]
    assert (drawn[0] == drawn[1], drawn[0] == drawn[2]) == (True, False)


def test_sixteen_trials_hit_every_sixteenth_of_a_range_once():
    drawn = Search(trials=16, space={"a": UNIT, "b": RATE, "c": {"low": 1, "high": 16, "integer": True}}).of("x").values()
    for key, fraction in (
        ("a", lambda value: value),
        ("b", lambda value: math.log(value / 1e-4) / math.log(1e3)),
        ("c", lambda value: (value - 0.5) / 16),
    ):
        assert sorted(int(16 * fraction(values[key])) for values in drawn) == list(range(16))


def test_choices_and_integers_come_equally_often_and_stay_what_they_are():
    drawn = list(Search(trials=16, space={**SPACE, "e": {"choices": [1, True, None, 0.5]}}).of("x").values())
    assert Counter(values["net.norm"] for values in drawn) == {"a": 8, "b": 8}
    assert Counter(values["data.length"] for values in drawn) == {8: 4, 9: 4, 10: 4, 11: 4}
    assert Counter(repr(values["e"]) for values in drawn) == {"1": 4, "True": 4, "None": 4, "0.5": 4}
    assert {type(value) for values in drawn for value in values.values()} == {float, int, str, bool, type(None)}


def test_an_integer_on_a_logarithmic_axis_keeps_both_ends():
    drawn = [
        v["a"]
        for v in Search(trials=256, space={"a": {"low": 1, "high": 8, "log": True, "integer": True}}).of("x").values()
    ]
    assert set(drawn) == set(range(1, 9))
    assert drawn.count(1) > drawn.count(8) > 0


def test_values_have_four_digits_and_lie_within_their_bounds_however_many_those_have():
    for low, high in ((1e-4, 1e-1), (0.123456, 0.123467), (-5.0, 1e6)):
        log = low > 0
        values = [v["a"] for v in Search(trials=64, space={"a": {"low": low, "high": high, "log": log}}).of("x").values()]
        assert all(low <= value <= high for value in values)
        assert all(value in (low, high) or value == float(f"{value:.4g}") for value in values)


def test_more_trials_begin_with_those_of_fewer_by_name_and_value():
    few, many = (Search(trials=trials, space=SPACE).of("x") for trials in (64, 128))
    assert list(many.items())[:64] == list(few.items())


def test_the_declaration_is_plain_and_says_its_defaults():
    declared = Search(trials=4, space=SPACE, own=OWN).declared()
    assert json.loads(json.dumps(declared)) == declared
    assert declared == {
        "trials": 4,
        "seed": 0,
        "metric": "val/accuracy/last",
        "goal": "max",
        "space": {
            "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "integer": False},
            "data.length": {"low": 8, "high": 11, "log": False, "integer": True},
            "net.norm": {"choices": ["a", "b"]},
        },
        "own": {"loud": {"optimizer.quantum_weight": {"low": 0.01, "high": 1000, "log": True, "integer": False}}},
    }
    assert Search(**declared).of("loud") == Search(trials=4, space=SPACE, own=OWN).of("loud")


# Refusals ----------------------------------------------------------------------------------------------------------

BAD = [
    ({"trials": 12}, ".trials must be a power of 2, for Sobol's balance, got 12; 8 or 16"),
    ({"trials": 0}, ".trials must be an integer >= 1, got 0; 16 is usual"),
    ({"trials": True}, ".trials must be an integer >= 1, got True; 16 is usual"),
    ({"trials": "8"}, ".trials must be an integer >= 1, got '8'; 16 is usual"),
    ({"seed": -1}, ".seed must be an integer >= 0, got -1; 0 is a seed"),
    (
        {"metric": "test/accuracy"},
        ".metric must not be of the test set, which is for what a search has chosen, got 'test/acc",
    ),
    ({"metric": None}, ".metric must name a value of a run's summary, got None; val/accuracy/last is one"),
    ({"goal": "maximum"}, ".goal must be one of max, min, got 'maximum'"),
    ({"space": {}}, ".space must hold a setting, got none; write space.KEY: {low: .., high: ..}"),
    ({"space": [1]}, ".space must hold settings, got [1]; write KEY: {low: .., high: ..}"),
    ({"own": [1]}, ".own must hold a space per arm, got [1]; write own.ARM.KEY: {low: .., high: ..}"),
    ({"own": {"loud": 3}}, ".own.loud must hold settings, got 3; write KEY: {low: .., high: ..}"),
    (
        {"own": {"x": {"net.norm": RATE}}},
        ".own.x.net.norm stands in hydra.sweeper.search.space too; leave it in one of them",
    ),
    ({"space": {"+a": RATE}}, ".space.+a must be a setting's key, without +, ~ or @, got '+a'; optimizer.lr is one"),
    ({"space": {"seed": UNIT}}, ".space.seed cannot be searched: it tells runs apart; search what changes them, as optimi"),
    ({"space": {"arm": UNIT}}, ".space.arm cannot be searched: it tells runs apart"),
    ({"space": {"a": 3}}, ".space.a must be {low: .., high: ..} or {choices: [..]}, got 3"),
    ({"space": {"a": {"low": 3}}}, ".space.a must be {low: .., high: ..} or {choices: [..]}, got {'low': 3}"),
    (
        {"space": {"a": {**RATE, "integr": 1}}},
        ".space.a.integr is no setting; did you mean hydra.sweeper.search.space.a.integer?",
    ),
    ({"space": {"a": {"choices": [1, 2], "low": 1}}}, ".space.a.low is no setting; it takes choices"),
    (
        {"space": {"a": {"low": 2, "high": 2}}},
        ".space.a.low must be below high, got 2 and 2; a single value belongs to the",
    ),
    ({"space": {"a": {"low": 0, "high": 2, "log": True}}}, ".space.a.low must be > 0 on a logarithmic axis, got 0; leave"),
    ({"space": {"a": {"low": 0, "high": math.inf}}}, ".space.a.high must be a finite number, got inf"),
    ({"space": {"a": {"low": False, "high": 2}}}, ".space.a.low must be a finite number, got False"),
    ({"space": {"a": {"low": 0.5, "high": 2, "integer": True}}}, ".space.a.low must be an integer, got 0.5"),
    ({"space": {"a": {**RATE, "log": 1}}}, ".space.a.log must be true or false, got 1"),
    ({"space": {"a": {"choices": [1]}}}, ".space.a.choices must be a list of two or more, got [1]; a single value belongs"),
    ({"space": {"a": {"choices": "ab"}}}, ".space.a.choices must be a list of two or more, got 'ab'"),
    (
        {"space": {"a": {"choices": [1, [2]]}}},
        ".space.a.choices must be texts, finite numbers, true, false or null, got [2]",
    ),
    ({"space": {"a": {"choices": [1, 2, 1]}}}, ".space.a.choices must differ, got 1 twice; every choice is as likely"),
    (
        {"space": {f"a{i}": UNIT for i in range(65)}},
        " must have at most 64 dimensions, got 65; search fewer settings at once",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_a_search_that_cannot_be_drawn_is_refused(changes, message):
    (said,) = mistakes(**changes)
    assert said.startswith(message)


def test_all_that_is_wrong_is_said_at_once():
    said = mistakes(trials=3, goal="up", space={"a": {"low": 2, "high": 1, "log": 0}, "seed": UNIT}, own={"x": {"b": 1}})
    assert [text.split(" ")[0] for text in said] == [
        ".trials",
        ".goal",
        ".space.a.log",
        ".space.a.low",
        ".space.seed",
        ".own.x.b",
    ]


def test_a_declaration_that_lacks_or_misnames_is_told_so_with_the_rest():
    with pytest.raises(ConfigError) as caught:
        searches.read({"trails": 16, "own": {"lod": {}}, "goal": "up"}, ARMS)
    assert caught.value.mistakes == [
        "hydra.sweeper.search.trails is no setting; did you mean hydra.sweeper.search.trials?",
        "hydra.sweeper.search.own.lod must name an arm of this sweep, one of adam, loud, got 'lod'",
        "hydra.sweeper.search lacks trials",
        "hydra.sweeper.search lacks space",
        "hydra.sweeper.search.goal must be one of max, min, got 'up'",
    ]
    with pytest.raises(ConfigError, match=r"hydra.sweeper.search must hold trials and space, got 16"):
        searches.read(16, ARMS)
    with pytest.raises(ConfigError, match=r"hydra.sweeper.search needs hydra.sweeper.arms, got none"):
        searches.read({"trials": 2, "space": SPACE}, {})
    with pytest.raises(ConfigError, match=r"hydra.sweeper.search: Interpolation key 'nope' not found"):
        searches.read(OmegaConf.create({"trials": "${nope}", "space": {}}), ARMS)


# In a sweep --------------------------------------------------------------------------------------------------------


def jobs(*arguments: str, search: dict | None, arms: dict = ARMS, params: dict | None = None) -> list[list[str]]:
    sweeper = ArmsSweeper(arms=arms, params=params, search=search)
    sweeper.config = OmegaConf.create({"seed": 0})
    return sweeper.jobs(arguments)


def test_a_sweep_lays_out_every_arms_trials_seeds_outermost():
    search = {"trials": 2, "space": {"optimizer.lr": RATE}, "own": OWN}
    rates = [values["optimizer.lr"] for values in Search(**search).of("adam").values()]
    weights = [values["optimizer.quantum_weight"] for values in Search(**search).of("loud").values()]
    assert jobs("data.length=8", search=search, params={"seed": "range(7,9)"}) == [
        job
        for seed in (7, 8)
        for job in (
            *(
                [
                    "data.length=8",
                    "optimizer=adam",
                    f"++optimizer.lr={rates[n]}",
                    f"arm='adam,trial-000{n}'",
                    f"seed={seed}",
                ]
                for n in (0, 1)
            ),
            *(
                [
                    "data.length=8",
                    "optimizer=superpositional",
                    f"++optimizer.lr={rates[n]}",
                    f"++optimizer.quantum_weight={weights[n]}",
                    f"arm='loud,trial-000{n}'",
                    f"seed={seed}",
                ]
                for n in (0, 1)
            ),
        )
    ]


@pytest.mark.parametrize(
    "choice", ["a,b", "it's", "back\\", "quo'te\\'", "{x}", "true", "1e-3", "null", "", 1e-5, 0.1, 7, True, None, "= [x"]
)
def test_a_choice_reaches_hydra_as_what_it_is(choice):
    search = {"trials": 8, "space": {"a.b": {"choices": [choice, "other"]}}}
    texts = [job[0] for job in jobs(search=search, arms={"x": []})]
    values = [configs.parse_override(text).value() for text in texts]
    assert all(text.startswith("++a.b=") for text in texts)
    assert Counter(map(repr, values)) == {repr(choice): 4, "'other'": 4}


def test_a_group_can_be_searched_too(workplace, door):
    search = {"trials": 2, "space": {"net/attention": {"choices": ["softmax", "quantum"]}, "threads": {"choices": [1, 2]}}}
    texts = {text for job in jobs(search=search, arms={"x": []}) for text in job[:-2]}
    assert texts == {"net/attention='softmax'", "net/attention='quantum'", "threads=1", "threads=2"}
    code, out, err = door("train", "net/attention='quantum'", "--cfg", "job")
    assert (code, "QuantumAttention" in out) == (0, True), err


def test_what_is_searched_is_set_nowhere_else():
    search = {"trials": 2, "space": {"optimizer.lr": RATE}, "own": OWN}
    with pytest.raises(ConfigError) as caught:
        jobs(
            "optimizer.lr=0.1",
            "data.length=8,9",
            search=search,
            arms={"adam": ["optimizer.quantum_weight=1"], "loud": ["++optimizer.quantum_weight=1"]},
            params={"optimizer.quantum_weight": "1,2"},
        )
    assert caught.value.mistakes == [
        "optimizer.quantum_weight is searched, and set by hydra.sweeper.arms.loud; leave it in one of them",
        "optimizer.quantum_weight is set by this sweep's arms; leave it out, or write a sweep of your own",
        "optimizer.quantum_weight is searched by this sweep; leave optimizer.quantum_weight=1,2 out, or take "
        "optimizer.quantum_weight out of the search",
        "optimizer.lr is searched by this sweep; leave optimizer.lr=0.1 out, or take optimizer.lr out of the search",
        "data.length cannot be swept beside a search; make an arm of each value, got data.length=8,9",
    ]


def test_without_a_search_a_sweep_is_what_it_was():
    assert jobs(search=None)[0] == ["optimizer=adam", "arm='adam'", "seed=0"]
    assert searches.plan(None) is None
    assert searches.plan({"arms": ARMS, "params": {}}) is None
    assert searches.plan(OmegaConf.create({"arms": ARMS, "search": None})) is None


def test_the_plan_names_trials_as_the_runs_do():
    node = {
        "arms": {"plain a": [], "loud": []},
        "search": {"trials": 2, "space": {"a.b": UNIT}, "own": {"plain a": {"c": UNIT}}},
    }
    plan = searches.plan(OmegaConf.create(node))
    assert json.loads(json.dumps(plan)) == plan
    arms = {job[-2].removeprefix("arm=").strip("'") for job in jobs(search=node["search"], arms=node["arms"])}
    assert {trial for values in plan["values"].values() for trial in values} == arms
    assert arms == {f"{arm},trial-000{n}" for arm in ("plain_a", "loud") for n in (0, 1)}
    assert list(plan["own"]) == ["plain_a"]
    search = searches.read(node["search"], node["arms"])
    assert plan["values"]["plain_a"]["plain_a,trial-0001"] == search.of("plain a")["trial-0001"]


# The sweeps there are ----------------------------------------------------------------------------------------------

SWEEPS = sorted(configs.directory("sweeps").glob("*.yaml"))
SEARCHES = [path for path in SWEEPS if path.stem.startswith("tune_")]


def seeds(path) -> set[int]:
    """What a sweep file runs without further ado; a single run's seed where it names none."""
    config = OmegaConf.load(path)
    config.scale = None  # by which a sweep may choose its arms
    node = config.hydra.sweeper
    # Whose seeds they are does not depend on the settings that a search chose.
    sweeper = ArmsSweeper(**{key: value for key, value in node.items() if key != "tuned"})
    sweeper.config = OmegaConf.create({"seed": 0})
    return {int(job[-1].removeprefix("seed=")) for job in sweeper.jobs([])}


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_tuning_seeds_are_no_other_sweeps_seeds(path):
    assert seeds(path)
    assert {other.stem: sorted(seeds(path) & seeds(other)) for other in SWEEPS if other != path} == {
        other.stem: [] for other in SWEEPS if other != path
    }


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_named_for_tuning_where_it_searches_and_nowhere_else(path):
    searched = OmegaConf.load(path).hydra.sweeper.get("search") is not None
    assert searched == (path in SEARCHES)


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_search_can_be_drawn_and_gives_every_arm_as_many_trials(path):
    sweeper = OmegaConf.load(path).hydra.sweeper
    plan = searches.plan(sweeper)
    assert list(plan["values"]) == list(sweeper.arms)
    assert {len(trials) for trials in plan["values"].values()} == {plan["trials"]}


def write_pair(folder: Path) -> None:
    """A search of two arms, and the comparison with what it chose."""
    arms = {"adam": ["optimizer=adam"], "sine": ["optimizer=superpositional"]}
    own = {"sine": {"optimizer.quantum_weight": {"choices": [1, 10]}}}
    search = {"trials": 2, "space": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}, "own": own}
    for name, more, seed in (("tune_it", {"search": search}, "7,8"), ("tuned_it", {"tuned": "outputs/tune_it"}, "1,2")):
        sweep = {
            "defaults": ["train", {"override trainer": "smoke"}, {"override logger": "none"}, "_self_"],
            "sweep": name,
            "hydra": {"sweeper": {"arms": arms, "params": {"seed": seed}, **more}},
        }
        OmegaConf.save(OmegaConf.create(sweep), folder / f"{name}.yaml")


def test_a_comparison_takes_what_a_search_chose_and_keeps_its_ledger(workplace, door):
    write_pair(workplace)
    code, _, err = door("sweep", "tuned_it.yaml")
    assert (code, "hydra.sweeper.tuned must be the folder of a search with its ledger.json" in err) == (2, True)
    assert door("sweep", "tune_it.yaml")[0] == 0
    found = json.loads((workplace / "outputs/tune_it/ledger.json").read_text())
    assert found["equal_budget"]
    assert door("sweep", "tuned_it.yaml")[0] == 0
    for arm in ("adam", "sine"):
        best = found["arms"][arm]["best"]
        (values,) = [trial["values"] for trial in found["arms"][arm]["trials"] if trial["trial"] == best]
        config = records.read_record(workplace / "outputs/tuned_it" / arm / "seed-1")["config"]["optimizer"]
        assert {key: config[key.removeprefix("optimizer.")] for key in values} == values
    sweep = records.load_sweep(workplace / "outputs/tuned_it")
    assert sweep.tuned == found
    publish(sweep, workplace / "published")
    assert records.load_sweep(workplace / "published").tuned == found
    code, out, _ = door("report", "tuned_it")
    told = "the best of its 2 trials in tune_it, by val/accuracy/last on 2 other seeds, listed in sweep.json."
    assert f"Each arm's settings: {told}" in out


def test_settings_are_compared_only_where_that_is_fair(workplace, door):
    write_pair(workplace)
    assert door("sweep", "tune_it.yaml", "seed=7")[0] == 0
    code, _, err = door("sweep", "tuned_it.yaml", "seed=6,7")
    assert (code, "seed 7 chose the settings in outputs/tune_it, so it cannot compare them" in err) == (2, True)
    code, _, err = door("sweep", "tuned_it.yaml", "hydra.sweeper.arms.sgd=['optimizer=sgd']")
    assert (code, "sgd was not searched in outputs/tune_it; search it with the same budget" in err) == (2, True), err
    ledger = workplace / "outputs/tune_it/ledger.json"
    ledger.write_text(ledger.read_text().replace('"equal_budget": true', '"equal_budget": false'))
    ledger.write_text(ledger.read_text().replace('"why_not": []', '"why_not": ["trials recorded: adam 2, sine 1"]'))
    code, _, err = door("sweep", "tuned_it.yaml")
    assert (code, "budgets are not equal in outputs/tune_it/ledger.json: trials recorded: adam 2, sine 1" in err) == (
        2,
        True,
    )
    assert not (workplace / "outputs/tuned_it").exists()
