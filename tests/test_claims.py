"""Is a claim read as it was written, refused with its cure where it cannot be judged, and kept before anything is run?"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import statuses
from omegaconf import OmegaConf
from test_sweep import write_sweep
from test_verdicts import made_up, pair

from superpositional import records
from superpositional.evidence import verdicts
from superpositional.places import directory
from superpositional.records import claims
from superpositional.records.claims import Claim, ClaimError, digest, find, read
from superpositional.records.published import publish

GOOD = {"says": "it does", "metric": "test/accuracy", "arm": "x", "better": "higher", "margin": 0.5}
FILES = sorted((directory("conf") / "claims").glob("*.yaml"))
SWEEPS = sorted(directory("sweeps").glob("*.yaml"))
ARMS = ("adam", "x", "y")


def declared(**settings) -> dict:
    """One claim; a setting of ... is left out."""
    return {"C": changed(settings)}


def changed(settings: dict) -> dict:
    return {key: value for key, value in (GOOD | settings).items() if value is not ...}


def mistakes(content, *arguments) -> list[str]:
    with pytest.raises(ClaimError) as refused:
        read(content, *arguments)
    return str(refused.value).splitlines()


# Reading -------------------------------------------------------------------------------------------------------------


def test_what_is_declared_is_what_is_claimed_and_the_rest_has_its_defaults() -> None:
    settings = GOOD | {"published": -2, "claimed": "inferior", "controls": ["y"], "baseline": "adam", "unit": None}
    (claim,) = read({"C": settings})
    assert claim == Claim(
        "C", "it does", "test/accuracy", "x", "higher", 0.5, "adam", published=-2, claimed="inferior", controls=("y",)
    )
    assert (claim.compare, claim.scale, claim.unit, claim.family) == ("difference", 1.0, "", "one")


def test_no_claims_are_none() -> None:
    assert read(None) == read({}) == read(None, ARMS) == []


@pytest.mark.parametrize(
    ("metric", "to_target", "of_time"),
    [
        ("convergence/epochs_to_target", True, False),
        ("convergence/seconds_to_target", True, True),
        ("convergence/steps_to_target", True, False),
        ("convergence/seconds_per_epoch", False, True),
        ("time/train_seconds", False, True),
        ("time/epoch", False, True),
        ("wall", False, True),
        ("test/accuracy", False, False),
        ("convergence/target", False, False),
        ("diverged", False, False),
    ],
)
def test_the_metrics_name_tells_times_to_a_target_and_times_by_the_clock(metric, to_target, of_time) -> None:
    (claim,) = read(declared(metric=metric, unit="u"))
    assert (claim.to_target, claim.of_time, claim.effect_unit) == (to_target, of_time, "u")
    if metric != "diverged":  # whose ratio is refused
        assert read(declared(metric=metric, compare="ratio"))[0].effect_unit == "%"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"says": ...}, "claims.C lacks says; a claim needs says, metric, arm, better, margin"),
        ({"metric": None}, "claims.C lacks metric; a claim needs says, metric, arm, better, margin"),
        ({"arm": ...}, "claims.C lacks arm; a claim needs says, metric, arm, better, margin"),
        ({"better": ...}, "claims.C lacks better; a claim needs says, metric, arm, better, margin"),
        ({"margin": None}, "claims.C lacks margin; a claim needs says, metric, arm, better, margin"),
        ({"margn": 1}, "claims.C.margn is not a setting of a claim; did you mean margin?"),
        ({"id": "D"}, "claims.C.id is not a setting of a claim; known: says, metric, arm, better, margin, baseline, "),
        ({7: 1}, "claims.C.7 is not a setting of a claim; known: says, metric, "),
        ({"says": 3}, "claims.C.says must be a text, got 3"),
        ({"metric": ["a"]}, "claims.C.metric must be a text, got ['a']"),
        ({"arm": 5}, "claims.C.arm must be a text, got 5"),
        ({"baseline": {}}, "claims.C.baseline must be a text, got {}"),
        ({"unit": 1}, "claims.C.unit must be a text, got 1"),
        ({"family": 1}, "claims.C.family must be a text, got 1"),
        ({"source": 2025}, "claims.C.source must be a text, got 2025"),
        ({"margin_reason": 0.5}, "claims.C.margin_reason must be a text, got 0.5"),
        *(
            (
                {"metric": metric},
                "claims.C.metric must be one of convergence/epochs_to_target, convergence/steps_to_target, "
                f"convergence/seconds_to_target for a time to the target, got '{metric}'",
            )
            for metric in ("epochs_to_target", "convergence/epoch_to_target", "convergence/hours_to_target", "_to_target")
        ),
        ({"better": "more"}, "claims.C.better must be one of higher, lower, got 'more'"),
        ({"better": []}, "claims.C.better must be one of higher, lower, got []"),
        ({"compare": "mean"}, "claims.C.compare must be one of difference, ratio, got 'mean'"),
        ({"claimed": "better"}, "claims.C.claimed must be one of superior, inferior, equivalent, got 'better'"),
        ({"margin": 0}, "claims.C.margin must be a finite number > 0, got 0"),
        ({"margin": -1}, "claims.C.margin must be a finite number > 0, got -1"),
        ({"margin": "0.5"}, "claims.C.margin must be a finite number > 0, got '0.5'"),
        ({"margin": True}, "claims.C.margin must be a finite number > 0, got True"),
        ({"margin": float("nan")}, "claims.C.margin must be a finite number > 0, got nan"),
        ({"scale": 0}, "claims.C.scale must be a finite number > 0, got 0"),
        ({"scale": float("inf")}, "claims.C.scale must be a finite number > 0, got inf"),
        ({"published": "2.3"}, "claims.C.published must be a finite number, got '2.3'"),
        ({"published": float("-inf")}, "claims.C.published must be a finite number, got -inf"),
        ({"controls": "y"}, "claims.C.controls must be a list of arms, got 'y'"),
        ({"controls": 5}, "claims.C.controls must be a list of arms, got 5"),
        ({"controls": {"y": 1}}, "claims.C.controls must be a list of arms, got {'y': 1}"),
        ({"controls": ["y", 5]}, "claims.C.controls must be a list of arms, got ['y', 5]"),
        (
            {"claimed": "superior", "published": -2},
            "claims.C.claimed=superior does not go with published=-2 and better=higher; mend one of them",
        ),
        (
            {"claimed": "inferior", "published": -2, "better": "lower"},
            "claims.C.claimed=inferior does not go with published=-2 and better=lower; mend one of them",
        ),
        (
            {"claimed": "superior", "published": 0},
            "claims.C.claimed=superior does not go with published=0 and better=higher; mend one of them",
        ),
        ({"compare": "ratio", "unit": "points"}, "claims.C.unit must be left out of a ratio, which is in %, got 'points'"),
    ],
)
def test_a_mistake_is_told_with_the_value_and_the_cure(settings, message) -> None:
    (found,) = mistakes({"C": changed(settings)})
    assert found.startswith(message) if message.endswith(", ") else found == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([GOOD], "claims must map each claim's id to its settings, got [{"),
        ("C1", "claims must map each claim's id to its settings, got 'C1'"),
        ({"C": None}, "claims.C must hold settings (says, metric, arm, better, margin), got None"),
        ({"C": [1]}, "claims.C must hold settings (says, metric, arm, better, margin), got [1]"),
        ({1: GOOD}, "claims.1 must have a text as its id, got 1; put it in quotes"),
        ({False: GOOD}, "claims.False must have a text as its id, got False; put it in quotes"),
    ],
)
def test_what_is_no_claim_at_all_is_refused(content, message) -> None:
    (found,) = mistakes(content)
    assert found.startswith(message)


@pytest.mark.parametrize(
    "settings", [{"claimed": "equivalent", "published": 0}, {"claimed": "superior"}, {"published": -5}, {"unit": "%"}]
)
def test_what_goes_together_is_read(settings) -> None:
    assert len(read(declared(**settings), ARMS)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arm": "z"}, "claims.C.arm must be an arm of the sweep, adam, x, y; got 'z'"),
        ({"baseline": "z"}, "claims.C.baseline must be an arm of the sweep, adam, x, y; got 'z'"),
        ({"baseline": "*"}, "claims.C.baseline must be an arm of the sweep, adam, x, y; got '*'"),
        ({"controls": ["y", "z"]}, "claims.C.controls must be an arm of the sweep, adam, x, y; got 'z'"),
        ({"controls": ["*"]}, "claims.C.controls must be an arm of the sweep, adam, x, y; got '*'"),
        ({"baseline": "x"}, "claims.C.arm must be another arm than its baseline, got 'x' for both"),
        # Without a baseline it is held to the first: a claim about that one would be none at all.
        ({"arm": "adam"}, "claims.C.arm must be another arm than its baseline, got 'adam' for both"),
    ],
)
def test_a_claim_about_arms_that_a_sweep_lacks_is_refused(settings, message) -> None:
    assert mistakes(declared(**settings), ARMS) == [message]


def test_all_mistakes_of_all_claims_are_told_at_once() -> None:
    content = {
        "A": GOOD | {"margin": 0, "better": "up", "colour": "red"},
        "B": GOOD | {"arm": "z", "controls": ["q"]},
        "C": None,
        "D": GOOD,
    }
    assert mistakes(content, ARMS) == [
        "claims.A.colour is not a setting of a claim; known: says, metric, arm, better, margin, baseline, margin_reason, "
        "compare, scale, unit, published, claimed, family, source, controls",
        "claims.A.better must be one of higher, lower, got 'up'",
        "claims.A.margin must be a finite number > 0, got 0",
        "claims.B.arm must be an arm of the sweep, adam, x, y; got 'z'",
        "claims.B.controls must be an arm of the sweep, adam, x, y; got 'q'",
        "claims.C must hold settings (says, metric, arm, better, margin), got None",
    ]


# Every arm -----------------------------------------------------------------------------------------------------------


def held(content, *arguments) -> list[tuple[str, str, str | None]]:
    return [(claim.id, claim.arm, claim.baseline) for claim in read(content, *arguments)]


def test_a_claim_about_every_arm_becomes_one_for_each_but_its_baseline() -> None:
    every = declared(arm="*")
    assert held(every, ARMS) == [("C:x", "x", "adam"), ("C:y", "y", "adam")]
    assert held(declared(arm="*", baseline="y"), ARMS) == [("C:adam", "adam", "y"), ("C:x", "x", "y")]
    assert held(every, ("adam",)) == []
    assert held(every) == [("C", "*", None)]


def test_in_a_grid_every_arm_is_held_to_the_baseline_at_its_own_values() -> None:
    arms = ("adam,n=1", "x,n=1", "adam,n=2", "x,n=2")
    baselines = {arm: f"adam,{arm.split(',')[1]}" for arm in arms}
    assert held(declared(arm="*"), arms, baselines) == [
        ("C:x,n=1", "x,n=1", "adam,n=1"),
        ("C:x,n=2", "x,n=2", "adam,n=2"),
    ]
    # A baseline of one's own goes before it.
    assert held(declared(arm="x,n=2", baseline="x,n=1"), arms, baselines) == [("C", "x,n=2", "x,n=1")]
    assert held(declared(arm="x,n=2"), arms, baselines) == [("C", "x,n=2", "adam,n=2")]
    assert mistakes(declared(arm="adam,n=2"), arms, baselines) == [
        "claims.C.arm must be another arm than its baseline, got 'adam,n=2' for both"
    ]


def test_what_a_claim_stands_for_has_all_its_settings() -> None:
    first, second = read(declared(arm="*", scale=100, unit="points", family="f", controls=["y"], source="here"), ARMS)
    assert first == Claim(**vars(second) | {"id": "C:x", "arm": "x"})
    assert (first.scale, first.unit, first.family, first.controls, first.source) == (100, "points", "f", ("y",), "here")


def at(values, arms=("adam", "x", "y")) -> tuple[list[str], dict[str, str]]:
    """The arms of a sweep at several swept values, as they are called, and what each is held to."""
    names = [f"{arm},{value}" for value in values for arm in arms]
    return names, {name: f"{arms[0]},{name.split(',', 1)[1]}" for name in names}


def test_a_claim_about_arms_at_several_swept_values_is_one_at_each() -> None:
    arms, baselines = at(["data.length=12", "data.length=16,threads=2"])
    settings = {"baseline": "y", "controls": ["adam"], "published": 2.0, "family": "f", "scale": 100, "source": "here"}
    first, second = read(declared(**settings), arms, baselines)
    assert (first.id, first.arm, first.baseline) == ("C,data.length=12", "x,data.length=12", "y,data.length=12")
    assert first.controls == ("adam,data.length=12",)
    assert (second.id, second.arm) == ("C,data.length=16,threads=2", "x,data.length=16,threads=2")
    assert (second.baseline, second.controls) == ("y,data.length=16,threads=2", ("adam,data.length=16,threads=2",))
    own = {"id": "C", "arm": "x", "baseline": "y", "controls": ("adam",)}
    assert Claim(**vars(first) | own) == Claim(**vars(second) | own) == read(declared(**settings))[0]
    # Without a baseline each is held to the sweep's own at its values.
    assert held(declared(), arms, baselines) == [
        ("C,data.length=12", "x,data.length=12", "adam,data.length=12"),
        ("C,data.length=16,threads=2", "x,data.length=16,threads=2", "adam,data.length=16,threads=2"),
    ]


def test_an_arm_whose_name_another_begins_with_is_itself() -> None:
    arms = ("adam", "x", "x,n=1", "xy", "xy,n=1")
    assert held(declared(), arms) == [("C", "x", "adam")]
    # Up to the comma: xy is no x.
    assert held(declared(baseline="adam"), ("adam,n=1", "x,n=1", "xy,n=1")) == [("C,n=1", "x,n=1", "adam,n=1")]
    # One that names a value is about that alone.
    arms, baselines = at(["n=1", "n=2"])
    assert held(declared(arm="x,n=2", baseline="y,n=1"), arms, baselines) == [("C", "x,n=2", "y,n=1")]


def test_mistakes_of_a_claim_at_several_swept_values_are_told_at_each() -> None:
    arms, baselines = at(["n=1", "n=2"])
    there = "must be an arm of the sweep, adam,n=1, x,n=1, y,n=1, adam,n=2, x,n=2, y,n=2; got"
    assert mistakes(declared(baseline="z", controls=["y", "q"]), arms, baselines) == [
        f"claims.C,n={n}.{role} {there} '{name},n={n}'"
        for n in (1, 2)
        for role, name in (("baseline", "z"), ("controls", "q"))
    ]
    assert mistakes(declared(arm="z"), arms, baselines) == [f"claims.C.arm {there} 'z'"]
    assert mistakes(declared(arm="adam"), arms, baselines) == [
        f"claims.C,n={n}.arm must be another arm than its baseline, got 'adam,n={n}' for both" for n in (1, 2)
    ]
    # A baseline that stands at one value only is none of the others'.
    assert mistakes(declared(baseline="y"), arms[:-1], baselines)[0].endswith("got 'y,n=2'")


def test_claims_at_each_swept_value_share_one_family() -> None:
    differences = [1.0, 2.0, -0.2, 1.5, 0.4, 1.9]
    values = {f"{arm},n={n}": each for n in (1, 2, 3) for arm, each in pair(differences).items()}
    baselines = {arm: f"adam,{arm.split(',')[1]}" for arm in values}
    sweep = made_up(values, baselines=baselines, claims=declared(metric="score"))
    judged = verdicts.judge(sweep, claims.of(sweep)[1])
    assert [verdict.claim.id for verdict in judged] == ["C,n=1", "C,n=2", "C,n=3"]
    assert {verdict.family_size for verdict in judged} == {3}
    # p is about 0.02: found alone, and not among three.
    assert {(verdict.p < 0.05, verdict.p_holm < 0.05) for verdict in judged} == {(True, False)}


# Of a sweep ----------------------------------------------------------------------------------------------------------


def test_claims_are_those_named_else_those_kept_else_those_of_the_sweeps_name_else_every_arms(tmp_path) -> None:
    values = {"adam": [0.0] * 6, "placebo": [1.0] * 6}
    kept, named = declared(arm="placebo"), {"N": GOOD | {"arm": "placebo"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(named))
    sweep = made_up(values, claims=kept)
    for file in (path, str(path)):
        assert claims.of(sweep, file) == (named, read(named, sweep.arms))
    assert claims.of(sweep) == (kept, read(kept, sweep.arms))
    # Of a sweep that kept none.
    old = made_up(values)
    assert claims.of(old) == (find("every_arm"), read(find("every_arm"), old.arms))
    assert [claim.id for claim in claims.of(old)[1]] == ["accuracy:placebo"]
    like = replace(old, name="calibration")
    assert claims.of(like) == (find("calibration"), read(find("calibration"), old.arms))
    assert claims.of(like, "every_arm")[0] == find("every_arm")
    # To have declared none is not to have kept none.
    assert claims.of(replace(like, claims={})) == ({}, [])


def test_claims_of_a_sweep_that_cannot_be_judged_are_refused() -> None:
    sweep = made_up(pair([1.0] * 6), claims=declared(arm="z"))
    with pytest.raises(ClaimError, match=r"claims\.C\.arm must be an arm of the sweep, adam, x; got 'z'"):
        claims.of(sweep)
    with pytest.raises(ClaimError, match="claims must be one of "):
        claims.of(sweep, "nothing")
    # Of a name that is a file of claims, whose arms it has not.
    with pytest.raises(ClaimError, match=r"claims\.C3\.arm must be an arm of the sweep"):
        claims.of(replace(sweep, name="paper_time", claims=None))


# Files ---------------------------------------------------------------------------------------------------------------


def arms_of(sweep: Path) -> list[str]:
    return list(OmegaConf.load(sweep).hydra.sweeper.arms)


def claimed_by(sweep: Path) -> str | None:
    """The claims that a sweep's defaults name."""
    for entry in OmegaConf.to_container(OmegaConf.load(sweep))["defaults"]:
        if isinstance(entry, dict) and "override claims" in entry:
            return entry["override claims"]
    return None


def test_there_are_claims_and_sweeps_to_look_at() -> None:
    assert {"every_arm", "paper_classification", "paper_time", "quantum_weight", "calibration"} <= {f.stem for f in FILES}
    assert {"paper_classification", "paper_time", "quantum_weight", "calibration"} <= {f.stem for f in SWEEPS}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_of_claims_reads_and_gives_reasons(file) -> None:
    found = read(find(file.stem))
    assert found
    for claim in found:
        # A margin without a reason may be one that was chosen to fit; where nothing is there to find, none is needed.
        assert claim.margin_reason or file.stem == "calibration"
        if claim.claimed is not None:
            assert claim.source.startswith("Pamuk et al. 2025")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_says_the_same_to_the_sweep_and_to_the_report(file) -> None:
    """The one reads it through Hydra, the other without."""
    through_hydra = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    assert find(file.stem) == find(file) == through_hydra
    assert digest(find(file.stem)) == digest(through_hydra)


SCALARS = (
    "5e-3 1e3 1E+2 -2e0 +3.5e1 1_0e2 5. 5.e3 1.0e3 .5 -.5 .5e-1 .5e1 1e3x e3 1.2.3 0.5 7 0x10 yes ~ .inf 1:30 2025-11-04"
)


@pytest.mark.parametrize("text", SCALARS.split())
def test_a_value_is_read_as_hydra_reads_it(tmp_path, text) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"C: {{margin: {text}}}\n")
    found = find(path)
    # To the type: the digest of 5 is not that of 5.0.
    assert json.dumps(found) == json.dumps(OmegaConf.to_container(OmegaConf.load(path)))
    assert isinstance(digest(found), str)
    assert text != "5e-3" or found["C"]["margin"] == 0.005


@pytest.mark.parametrize("sweep", [s for s in SWEEPS if s.stem in {file.stem for file in FILES}], ids=lambda s: s.stem)
def test_claims_that_are_named_like_a_sweep_fit_its_arms_and_are_the_ones_it_names(sweep) -> None:
    content = find(sweep.stem)
    assert len(read(content, arms_of(sweep))) == len(content)
    assert claimed_by(sweep) == sweep.stem


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_a_sweeps_claims_are_a_file_that_exists_and_fits_it(sweep) -> None:
    name = claimed_by(sweep) or claims.DEFAULT
    assert (directory("conf") / "claims" / f"{name}.yaml").is_file()
    assert read(find(name), arms_of(sweep)) or len(arms_of(sweep)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must map each claim's id to its settings, got NoneType"),
        ("- C1\n", "must map each claim's id to its settings, got list"),
        ("C: [\n", "is no YAML: while parsing"),
        ("C: {margin: 1}\nC: {margin: 2}\n", "is no YAML: C stands twice; remove one"),
        ("C:\n  margin: 1\n  margin: 2\n", "is no YAML: margin stands twice; remove one"),
        (b"C: \xff\xfe\n", "is no YAML: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_holds_no_claims_is_refused_by_name(tmp_path, text, message) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ClaimError) as refused:
        find(path)
    assert str(refused.value).startswith(f"{path} {message}")
    # One line for whoever reads it in a terminal.
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["paper_clasification", "no/such/file.yaml", "mine.yaml"])
def test_claims_that_are_not_there_are_refused_with_those_that_are(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.yaml").write_text("")
    names = ", ".join(file.stem for file in FILES)
    with pytest.raises(ClaimError) as refused:
        find(name)
    assert str(refused.value) == f"claims must be one of {names}, or the path of a .yaml file, got {name!r}"


def test_the_digest_is_of_what_is_said_and_not_of_how_it_is_written() -> None:
    content = declared(published=2.5)
    assert digest(content) == digest({"C": dict(reversed(content["C"].items()))})
    assert digest(None) is None
    others = [declared(published=2.5, **{key: value}) for key, value in (("margin", 0.6), ("arm", "y"), ("says", "so"))]
    others += [declared(), {"D": content["C"]}, {}]
    assert len({digest(content), *map(digest, others)}) == 7


# Through the door ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"mine": GOOD | {"arm": "lambda_0.7"}},
            "claims.mine.arm must be an arm of the sweep, adam, plain; got 'lambda_0.7'",
        ),
        ({"mine": GOOD | {"arm": "plain", "margin": -1}}, "claims.mine.margin must be a finite number > 0, got -1"),
    ],
)
def test_a_sweep_whose_claims_cannot_be_judged_is_refused_before_anything_is_run(
    door, workplace, settings, message
) -> None:
    path = write_sweep(workplace, {"adam": ["optimizer=adam"], "plain": ["optimizer=adamw"]}, claims=settings)
    for more in ((), ("--dry-run",)):
        code, out, err = door("sweep", str(path), *more)
        assert code == 2
        assert message in " ".join(err.split())
        assert "done" not in out
    assert not (workplace / "outputs").exists()


def test_claims_of_a_name_that_is_no_file_are_refused_with_those_that_are(door, workplace) -> None:
    code, _, err = door("sweep", "smoke", "claims=paper_clasification")
    assert code == 2
    assert f"claims must be one of {', '.join(file.stem for file in FILES)}, got" in " ".join(err.split())
    assert not (workplace / "outputs").exists()


def test_a_sweep_keeps_its_claims_and_every_run_their_digest_and_a_report_tells_later_ones(door, workplace) -> None:
    mine = {"mine": GOOD | {"arm": "plain", "margin": 5e-3, "source": "a test"}}
    path = write_sweep(workplace, {"adam": ["optimizer=adam"], "plain": ["optimizer=adamw"]}, claims=mine)
    code, _, err = door("sweep", str(path))
    assert code == 0, err
    folder = workplace / "outputs" / "mine"
    assert set(statuses(folder).values()) == {"done"}
    kept = json.loads((folder / "sweep.json").read_text())["claims"]
    # Its own beside the default, which asks of every arm.
    assert kept == find(claims.DEFAULT) | mine
    sweep = records.load_sweep(folder)
    assert sweep.claims == kept
    found = {run.record["claims"] for run in sweep.runs}
    assert found == {digest(kept)}
    # The digest stands for the claims, which are no part of what makes a run.
    assert all("claims" not in run.record["config"] for run in sweep.runs)
    assert verdicts.declared_after(sweep, digest(kept)) == 0
    code, out, err = door("report", "mine")
    assert code == 0, err
    assert "declared or changed after" not in out
    assert "xploratory" not in (folder / "report" / "index.html").read_text()
    verdict = json.loads((folder / "report" / "claims.json").read_text())
    assert [each["claim"]["id"] for each in verdict["verdicts"]] == ["accuracy:plain", "mine"]
    assert verdict["runs_before_declaration"] == 0
    # Other claims on the same records, with a margin that came later.
    (workplace / "later.yaml").write_text(yaml.safe_dump({"mine": mine["mine"] | {"margin": 0.9}}))
    code, out, err = door("report", "mine", "--claims", "later.yaml", "--out", "again")
    assert code == 0, err
    said = " ".join(out.split())
    assert "Exploratory: declared or changed after 4 of 4 runs were made." in said
    assert "These verdicts are exploratory, declared or changed after 4 of 4 runs." in said
    assert json.loads((workplace / "again" / "claims.json").read_text())["runs_before_declaration"] == 4
    code, _, err = door("report", "mine", "--claims", "paper_time", "--out", "third")
    assert code == 2
    assert "must be an arm of the sweep, adam, plain; got 'lambda_0.5'" in err
    assert not (workplace / "third").exists()
    # Claims that changed make no run anew: they change no number.
    written = {file: file.stat().st_mtime_ns for file in folder.glob("*/*/record.json")}
    code, out, err = door("sweep", str(path), "claims.mine.margin=0.7")
    assert (code, "4 of 4 runs are there already" in out) == (0, True), err
    assert {file: file.stat().st_mtime_ns for file in written} == written
    sweep = records.load_sweep(folder)
    assert sweep.claims["mine"]["margin"] == 0.7
    assert verdicts.declared_after(sweep, digest(sweep.claims)) == 4


JUDGED = ("declared", "declared_digest", "runs_before_declaration", "verdicts")


def judged_in(folder: Path) -> dict:
    """What a report says of its claims."""
    content = json.loads((folder / "claims.json").read_text())
    return {key: content[key] for key in JUDGED if key in content}


def test_a_sweep_is_published_with_the_claims_that_it_was_judged_by(door, workplace) -> None:
    kept, other = declared(metric="score"), {"other": GOOD | {"metric": "score", "better": "lower", "margin": 9}}
    publish(made_up(pair([2.0, 3, 2, 3, 2, 3]), claims=kept), workplace / "outputs" / "made_up")
    (workplace / "other.yaml").write_text(yaml.safe_dump(other))
    code, out, err = door("report", "made_up", "--claims", "other.yaml", "--out", "first", "--publish", "there")
    assert code == 0, err
    assert records.load_sweep(workplace / "there").claims == other
    code, again, err = door("report", "there", "--out", "second")
    assert code == 0, err
    first, second = judged_in(workplace / "first"), judged_in(workplace / "second")
    assert first == second
    assert [(each["claim"]["id"], each["words"]) for each in first["verdicts"]] == [
        ("other", "inferior, smaller than matters (few pairs)")
    ]
    # They came after the runs, and say so wherever they are read again.
    assert first["runs_before_declaration"] == 12
    for text in (out, again):
        assert "These verdicts are exploratory, declared or changed after 12 of 12 runs." in " ".join(text.split())
    # The sweep itself keeps its own.
    assert records.load_sweep(workplace / "outputs" / "made_up").claims == kept
    code, _, err = door("report", "made_up", "--out", "third", "--publish", "own")
    assert code == 0, err
    assert records.load_sweep(workplace / "own").claims == kept


def test_a_sweep_that_kept_no_claims_is_published_with_those_it_was_judged_by(door, workplace) -> None:
    old = made_up(pair([0.02, 0.03, 0.02, 0.03, 0.02, 0.03]), metric="test/accuracy")
    publish(old, workplace / "outputs" / "made_up")
    assert records.load_sweep(workplace / "outputs" / "made_up").claims is None
    code, _, err = door("report", "made_up", "--out", "first", "--publish", "there")
    assert code == 0, err
    assert records.load_sweep(workplace / "there").claims == find("every_arm")
    code, _, err = door("report", "there", "--out", "second")
    assert code == 0, err
    assert judged_in(workplace / "first") == judged_in(workplace / "second")


def test_a_ratio_of_diverged_runs_is_refused() -> None:
    with pytest.raises(ClaimError, match=r"claims\.C\.compare must be difference for diverged, got 'ratio'"):
        claims.read(declared(metric="diverged", compare="ratio"))
