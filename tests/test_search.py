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
from superpositional.training import config as configs

RATE = "tag(log, interval(1e-4, 1e-1))"
SPACE = {"optimizer.lr": RATE, "data.length": "range(8, 12)", "net.norm": "a,b"}
OWN = ["optimizer=superpositional", "optimizer.quantum_weight=tag(log, interval(0.01, 1000))"]
ARMS = {"adam": ["optimizer=adam"], "loud": OWN}
UNIT = "interval(0, 1)"


def lay_out(*arguments: str, search=None, arms=ARMS, params=None) -> tuple[list[list[str]], dict]:
    """The runs of a sweep, and the plan of its search."""
    sweeper = ArmsSweeper(arms=arms, params=params, search=search)
    sweeper.config = OmegaConf.create({"seed": 0})
    runs = sweeper.jobs(arguments)
    return runs, OmegaConf.to_container(OmegaConf.create(sweeper.config)).get("hydra", {}).get("sweeper", {}).get("search")


def drawn(trials: int, params=SPACE, arms=ARMS, arm: str = "adam", **search) -> list[dict]:
    """The values of an arm's trials."""
    _, plan = lay_out(search={"trials": trials, **search}, arms=arms, params=params)
    return list(plan["values"][arm].values())


def shared(trials: list[dict]) -> list[dict]:
    return [{key: value for key, value in values.items() if key in SPACE} for values in trials]


def mistakes(search=None, params=SPACE, arms=ARMS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        lay_out(search={"trials": 4} if search is None else search, params=params, arms=arms)
    return caught.value.mistakes


# Trials ------------------------------------------------------------------------------------------------------------


def test_every_arm_gets_the_same_number_of_trials_at_the_same_points_of_the_shared_space():
    plain, loud = drawn(16), drawn(16, arm="loud")
    assert (len(plain), len(loud)) == (16, 16)
    assert shared(loud) == plain == shared(plain)
    assert all("optimizer.quantum_weight" in values for values in loud)


def test_a_further_arm_or_dimension_moves_no_point_that_was_there():
    before = drawn(8)
    assert drawn(8, arms={**ARMS, "mild": [f"a.b{i}={RATE}" for i in range(9)]}) == before
    assert shared(drawn(8, params={**SPACE, "a.b": RATE})) == before


@pytest.mark.parametrize(("few", "many"), [(8, 32), (64, 128)])
def test_more_trials_begin_with_those_of_fewer(few, many):
    assert drawn(many, arm="loud")[:few] == drawn(few, arm="loud")


def test_the_numbers_are_scipys_scrambled_sobol_sequence():
    engine = qmc.Sobol(searches.DIMENSIONS, scramble=True, seed=np.random.default_rng(3))
    points = engine.random_base2(4)
    found = drawn(16, params={"a": UNIT, "b": UNIT}, arms={"x": [f"c={UNIT}"]}, arm="x", seed=3)
    # four significant digits: half a unit of the fourth
    np.testing.assert_allclose([list(values.values()) for values in found], points[:, :3], rtol=5e-4, atol=0)


def test_a_seed_is_a_search_of_its_own():
    found = [json.dumps(drawn(4, seed=seed)) for seed in (0, 0, 1)]
    assert (found[0] == found[1], found[0] == found[2]) == (True, False)


def test_sixteen_trials_hit_every_sixteenth_of_a_range_once():
    found = drawn(16, params={"a": UNIT, "b": RATE, "c": "range(1, 17)"})
    for key, fraction in (
        ("a", lambda value: value),
        ("b", lambda value: math.log(value / 1e-4) / math.log(1e3)),
        ("c", lambda value: (value - 0.5) / 16),
    ):
        assert sorted(int(16 * fraction(values[key])) for values in found) == list(range(16))


def test_choices_come_equally_often_and_stay_what_they_are():
    found = drawn(16, params={**SPACE, "e": "1,true,'true',0.5"})
    assert Counter(values["net.norm"] for values in found) == {"a": 8, "b": 8}
    assert Counter(values["data.length"] for values in found) == {8: 4, 9: 4, 10: 4, 11: 4}
    assert Counter(repr(values["e"]) for values in found) == {"1": 4, "True": 4, "'true'": 4, "0.5": 4}


def test_values_have_four_digits_and_lie_within_their_bounds_however_many_those_have():
    for low, high in ((1e-4, 1e-1), (0.123456, 0.123467), (-5.0, 1e6)):
        interval = f"interval({low}, {high})"
        values = [each["a"] for each in drawn(64, params={"a": f"tag(log, {interval})" if low > 0 else interval})]
        assert all(low <= value <= high for value in values)
        assert all(value in (low, high) or value == float(f"{value:.4g}") for value in values)


# Refusals ----------------------------------------------------------------------------------------------------------

SEARCH = "hydra.sweeper.search"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"trials": 12}}, f"{SEARCH}.trials must be a power of 2, for Sobol's balance, got 12; 16 is usual"),
        ({"search": {"trials": 0}}, f"{SEARCH}.trials must be a power of 2, for Sobol's balance, got 0; 16 is usual"),
        ({"search": {"trials": True}}, f"{SEARCH}.trials must be a power of 2, for Sobol's balance, got True; 16 is usual"),
        ({"search": {"seed": -1}}, f"{SEARCH}.seed must be an integer >= 0, got -1"),
        ({"search": {"metric": "test/accuracy"}}, f"{SEARCH}.metric must name a summary value that is not of the test set"),
        ({"search": {"metric": None}}, f"{SEARCH}.metric must name a summary value that is not of the test set, got None"),
        ({"search": {"goal": "maximum"}}, f"{SEARCH}.goal must be one of max, min, got 'maximum'"),
        ({"search": {"trails": 16}}, f"{SEARCH}.trails is not a setting; did you mean trials?"),
        ({"search": 16}, f"{SEARCH} must hold trials, seed, metric, goal, got 16; or leave it null"),
        (
            {"params": {}, "arms": {"x": []}},
            f"{SEARCH} must have 1 to 64 searched settings, got 0; sweep a setting, KEY: int",
        ),
        (
            {"params": {f"a{i}": UNIT for i in range(64)}},
            f"{SEARCH} must have 1 to 64 searched settings, got 65; search few",
        ),
        ({"arms": {}}, f"{SEARCH} needs hydra.sweeper.arms, got none; name the arms whose settings are searched"),
        ({"params": {"arm": "a,b"}}, "arm=a,b cannot be searched: arm tells runs apart"),
        ({"params": {"a": "interval(2, 2)"}}, "a=interval(2, 2) must have finite bounds, the lower one first"),
        ({"params": {"a": "interval(0, inf)"}}, "a=interval(0, inf) must have finite bounds, the lower one first"),
        (
            {"params": {"a": "tag(log, interval(0, 2))"}},
            "a=tag(log, interval(0, 2)) must begin above 0 on a logarithmic axis",
        ),
        ({"search": OmegaConf.create({"trials": "${nope}"})}, "Interpolation key 'nope' not found"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_search_that_cannot_be_drawn_is_refused(changes, message):
    (said,) = mistakes(**changes)
    assert said.startswith(message)


def test_all_that_is_wrong_is_said_at_once():
    said = mistakes({"trials": 3, "goal": "up"}, {"a": "interval(2, 1)", "b": "interval(1"}, {"x": 3})
    assert [text.split(" ")[0] for text in said] == [
        "'b=interval(1'",
        "hydra.sweeper.arms.x",
        f"{SEARCH}.trials",
        f"{SEARCH}.goal",
        "a=interval(2,",
    ]


# In a sweep --------------------------------------------------------------------------------------------------------


def test_a_sweep_lays_out_every_arms_trials_seeds_outermost():
    runs, plan = lay_out("data.length=8", search={"trials": 2}, params={"seed": "range(7,9)", "optimizer.lr": RATE})
    assert json.loads(json.dumps(plan)) == plan
    values = {arm: list(trials.values()) for arm, trials in plan["values"].items()}
    expected = {
        "adam": [["optimizer=adam", f"++optimizer.lr={each['optimizer.lr']}"] for each in values["adam"]],
        "loud": [
            [
                "optimizer=superpositional",
                f"++optimizer.lr={each['optimizer.lr']}",
                f"++optimizer.quantum_weight={each['optimizer.quantum_weight']}",
            ]
            for each in values["loud"]
        ],
    }
    assert runs == [
        ["data.length=8", *expected[arm][n], f"arm='{arm},trial-000{n}'", f"seed={seed}"]
        for seed in (7, 8)
        for arm in ARMS
        for n in (0, 1)
    ]


@pytest.mark.parametrize(
    "choice", ["a,b", "it's", "quo'te\\'", "{x}", "true", "1e-3", "null", "", 1e-5, 0.1, 7, True, "= [x"]
)
def test_a_choice_reaches_hydra_as_what_it_is(choice):
    texts = searches.overrides({"a.b": choice, "c/d": "x"})
    assert [text[:5] for text in texts] == ["++a.b", "c/d='"]
    assert configs.parse_override(texts[0]).value() == choice


def test_a_group_can_be_searched_too(workplace, door):
    runs, _ = lay_out(search={"trials": 2}, arms={"x": []}, params={"net/attention": "softmax,quantum", "threads": "1,2"})
    assert {text for job in runs for text in job[:-2]} == {
        "net/attention='softmax'",
        "net/attention='quantum'",
        "threads=1",
        "threads=2",
    }
    code, out, err = door("train", "net/attention='quantum'", "--cfg", "job")
    assert (code, "QuantumAttention" in out) == (0, True), err


def test_what_an_arm_searches_is_set_nowhere_else():
    said = mistakes(params={"optimizer.quantum_weight": "1,2"})
    assert said == ["optimizer.quantum_weight is set by this sweep's arms; leave it out, or write a sweep of your own"]


def test_an_interval_without_a_search_is_refused():
    with pytest.raises(ConfigError, match="has no values to enumerate"):
        lay_out(f"optimizer.lr={UNIT}")


def test_trials_are_named_as_folders_are():
    runs, plan = lay_out(search={"trials": 2}, arms={"plain a": [f"c={UNIT}"], "loud": []}, params={"a.b": UNIT})
    arms = {job[-2].removeprefix("arm=").strip("'") for job in runs}
    assert {trial for values in plan["values"].values() for trial in values} == arms
    assert arms == {f"{arm},trial-000{n}" for arm in ("plain_a", "loud") for n in (0, 1)}
    assert plan["own"] == {"plain_a": {"c": {"low": 0, "high": 1, "log": False}}}


def test_the_published_search_is_drawn_again():
    published = records.load_sweep(Path(__file__).parents[1] / "outputs/published/tune_classification").search
    plan = laid_out(configs.directory("sweeps") / "tune_classification.yaml").config.hydra.sweeper.search
    assert plan["values"] == published["values"]


# The sweeps there are ----------------------------------------------------------------------------------------------

SWEEPS = sorted(configs.directory("sweeps").glob("*.yaml"))
SEARCHES = [path for path in SWEEPS if path.stem.startswith("tune_")]


def laid_out(path: Path) -> ArmsSweeper:
    """A sweep file's sweeper, with its ``runs``; a single run's seed where the file names none."""
    config = OmegaConf.load(path)
    config.scale = None  # by which a sweep may choose its arms
    # Whose seeds they are does not depend on the settings that a search chose.
    sweeper = ArmsSweeper(**{key: value for key, value in config.hydra.sweeper.items() if key != "tuned"})
    sweeper.config = OmegaConf.create({"seed": 0})
    sweeper.runs = sweeper.jobs([])
    return sweeper


def seeds(path: Path) -> set[int]:
    return {int(job[-1].removeprefix("seed=")) for job in laid_out(path).runs}


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
    plan = laid_out(path).config.hydra.sweeper.search
    assert list(plan["values"]) == list(sweeper.arms)
    assert {len(trials) for trials in plan["values"].values()} == {plan["trials"]}


def write_pair(folder: Path) -> None:
    """A search of two arms, and the comparison with what it chose."""
    arms = {"adam": ["optimizer=adam"], "sine": ["optimizer=superpositional"]}
    searched = {"adam": arms["adam"], "sine": [*arms["sine"], "optimizer.quantum_weight=1,10"]}
    rate = {"optimizer.lr": "tag(log, interval(1e-4, 1e-2))"}
    for name, own, params, more in (
        ("tune_it", searched, {"seed": "7,8", **rate}, {"search": {"trials": 2}}),
        ("tuned_it", arms, {"seed": "1,2"}, {"tuned": "outputs/tune_it"}),
    ):
        sweep = {
            "defaults": ["train", {"override trainer": "smoke"}, {"override logger": "none"}, "_self_"],
            "sweep": name,
            "hydra": {"sweeper": {"arms": own, "params": params, **more}},
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
