"""Does the ledger count every run of a search, and does its report name bests without judging between arms?"""

import csv
import json
import math

import pytest
from omegaconf import OmegaConf
from test_sweep import statuses

from superpositional import records
from superpositional.evidence import tuning
from superpositional.records.ledger import ledger, write
from superpositional.records.published import publish
from superpositional.report.write import ReportError, update_readme, write_report
from superpositional.sweeps import search
from superpositional.training.config import parse_override

METRIC = "val/accuracy/last"
SHARED = {"optimizer.lr": parse_override("optimizer.lr=tag(log, interval(1e-4, 1e-1))", intervals=True)}
OWN = {"adam": {}, "loud": {"weight": parse_override("weight=a,true")}}


def write_search(folder, values, *, seeds=(5, 6), ended=(), search_by=(), costs=10.0):
    """A search on disk: ``values[arm][trial]`` is a value per seed, None where no record exists."""
    planned = search.draw({"trials": 4, **dict(search_by)}, SHARED, OWN)
    arms = [trial for trials in planned["values"].values() for trial in trials]
    folder.mkdir(parents=True, exist_ok=True)
    content = {"sweep": "tuned", "question": "Which rate?", "arms": arms, "seeds": list(seeds), "search": planned}
    content |= {"families": dict.fromkeys(arms, "family")}
    records.write_json(folder / "sweep.json", content)
    for arm, trials in values.items():
        for number, row in enumerate(trials):
            for seed, value in zip(seeds, row, strict=True):
                if value is not None:
                    name = f"{arm},trial-{number:04}"
                    status = dict(ended).get((arm, number, seed), "done")
                    add_run(folder, name, seed, status, {planned["metric"]: value} if status == "done" else {}, costs)
    return records.load_sweep(folder)


def add_run(folder, arm, seed, status="done", summary=None, seconds=10.0, **more):
    run = folder / arm / f"seed-{seed}"
    run.mkdir(parents=True)
    record = {"sweep": "tuned", "arm": arm, "seed": seed, "status": status, "summary": summary or {}}
    record |= {"code": "c0de", "family": "family"}
    spent = {} if seconds is None else {"wall_seconds": seconds, "steps": 100, "device": "cpu"}
    records.write_record(run, {**record, **spent, **more})


ADAM = [(0.5, 0.7), (0.75, 0.75), (0.9, 0.6), (0.1, 0.2)]
LOUD = [(0.5, 0.5), (0.6, 0.6), (0.7, 0.7), (0.8, 0.8)]


# Counting ----------------------------------------------------------------------------------------------------------


def test_an_arm_has_its_trials_values_means_and_cost(tmp_path):
    found = ledger(write_search(tmp_path, {"adam": ADAM, "loud": LOUD}))
    adam = found["arms"]["adam"]
    assert {key: found[key] for key in ("trials", "metric", "goal", "tuning_seeds", "equal_budget", "why_not")} == {
        "trials": 4,
        "metric": METRIC,
        "goal": "max",
        "tuning_seeds": [5, 6],
        "equal_budget": True,
        "why_not": [],
    }
    assert (adam["trials_planned"], adam["trials_recorded"], adam["runs_planned"], adam["runs_recorded"]) == (4, 4, 8, 8)
    assert adam["statuses"] == {"done": 8, "diverged": 0, "failed": 0, "interrupted": 0, "missing": 0}
    assert (adam["wall_seconds"], adam["without_wall_seconds"], adam["steps"], adam["devices"]) == (80.0, 0, 800, ["cpu"])
    assert [trial["mean"] for trial in adam["trials"]] == pytest.approx([0.6, 0.75, 0.75, 0.15], abs=1e-15)
    assert [trial["rank"] for trial in adam["trials"]] == [3, 1, 2, 4]
    assert adam["trials"][0]["metric_by_seed"] == {"5": 0.5, "6": 0.7}
    assert adam["trials"][0]["sd"] == pytest.approx(0.2 / math.sqrt(2), abs=1e-15)
    assert adam["trials"][2]["values"] == search.draw({"trials": 4}, SHARED, OWN)["values"]["adam"]["adam,trial-0002"]
    assert list(adam["space"]) == ["optimizer.lr"]
    assert list(found["arms"]["loud"]["space"]) == ["optimizer.lr", "weight"]
    assert found["arms"]["loud"]["best"] == "loud,trial-0003"
    assert json.loads(json.dumps(found)) == found


def test_ties_go_to_the_lower_trial_and_the_goal_turns_the_order(tmp_path):
    found = ledger(write_search(tmp_path / "max", {"adam": ADAM, "loud": LOUD}))
    assert found["arms"]["adam"]["best"] == "adam,trial-0001"
    by_loss = {"metric": "val/loss/last", "goal": "min"}
    found = ledger(write_search(tmp_path / "min", {"adam": ADAM, "loud": LOUD}, search_by=by_loss))
    assert [trial["rank"] for trial in found["arms"]["adam"]["trials"]] == [2, 3, 4, 1]


def test_a_trial_with_a_lost_or_missing_run_stands_last_and_is_counted(tmp_path):
    values = {"adam": [(0.5, 0.7), (0.99, 0.99), (0.98, None), (0.1, 0.2)], "loud": LOUD}
    found = ledger(write_search(tmp_path, values, ended={("adam", 1, 6): "diverged"}))
    trials = found["arms"]["adam"]["trials"]
    assert len(trials) == 4
    assert [trial["outcome"] for trial in trials] == ["complete", "lost", "unfinished", "complete"]
    assert [trial["rank"] for trial in trials] == [1, 3, 4, 2]
    assert (trials[1]["n"], trials[1]["mean"], trials[1]["metric_by_seed"]) == (1, 0.99, {"5": 0.99, "6": None})
    assert found["arms"]["adam"]["statuses"] == {"done": 6, "diverged": 1, "failed": 0, "interrupted": 0, "missing": 1}
    # What diverged was paid for.
    assert found["arms"]["adam"]["wall_seconds"] == 70.0
    assert found["arms"]["adam"]["best"] == "adam,trial-0000"
    assert found["equal_budget"] is False
    assert found["why_not"] == ["adam: 1 of 8 runs missing; call the sweep again"]


def test_an_arm_without_a_complete_trial_has_no_best(tmp_path):
    found = ledger(write_search(tmp_path, {"adam": [(0.5, None)] * 4, "loud": LOUD}))
    assert (found["arms"]["adam"]["best"], found["arms"]["adam"]["median"]) == (None, None)


def test_a_run_without_the_metric_or_its_cost_is_counted_as_such(tmp_path):
    sweep = write_search(tmp_path, {"adam": ADAM[:3], "loud": LOUD})
    add_run(tmp_path, "adam,trial-0003", 5, summary={METRIC: 0.99})
    add_run(tmp_path, "adam,trial-0003", 6, summary={"test/accuracy": 0.99}, seconds=None)
    adam = ledger(records.load_sweep(tmp_path))["arms"]["adam"]
    assert (adam["trials"][3]["outcome"], adam["trials"][3]["rank"], adam["trials"][3]["n"]) == ("lost", 4, 1)
    assert (adam["wall_seconds"], adam["without_wall_seconds"], adam["without_steps"]) == (70.0, 1, 1)
    assert ledger(sweep)["arms"]["adam"]["trials"][3]["wall_seconds"] == 0
    # Unknown is no zero.
    unknown = ledger(write_search(tmp_path / "unknown", {"adam": ADAM, "loud": LOUD}, costs=None))["arms"]["adam"]
    assert (unknown["wall_seconds"], unknown["without_wall_seconds"]) == (None, 8)


@pytest.mark.parametrize(("status", "how"), [("failed", " with --retry-failed"), ("interrupted", "")])
def test_a_crash_is_no_trial_so_the_budget_is_not_equal_until_it_is_run_again(tmp_path, status, how):
    found = ledger(write_search(tmp_path, {"adam": ADAM, "loud": LOUD}, ended={("loud", 0, 5): status}))
    assert found["why_not"] == [f"loud: 1 of 8 runs {status}; call the sweep again{how}"]


def test_trials_that_were_not_run_make_the_budget_unequal(tmp_path):
    found = ledger(write_search(tmp_path, {"adam": ADAM[:2], "loud": LOUD}))
    assert found["why_not"] == [
        "trials recorded: adam 2, loud 4",
        "adam: 4 of 8 runs missing; call the sweep again",
    ]


def test_runs_of_another_search_are_part_of_the_cost_and_said(tmp_path):
    write_search(tmp_path, {"adam": ADAM, "loud": LOUD})
    # Set aside by the launcher, left in place by another config under a seed of its own, and left by a larger search.
    add_run(tmp_path / "superseded", "adam,trial-0001", "5-0123-99", seconds=3.0, family="older")
    # Interrupted and begun anew: it has cost its time and is no look more than others had.
    add_run(tmp_path / "superseded", "adam,trial-0001", "6-0123-99", status="interrupted", seconds=2.0)
    add_run(tmp_path, "adam,trial-0002", 99, seconds=None, family="another")
    add_run(tmp_path, "adam,trial-0007", 5, seconds=4.0)
    plan = json.loads((tmp_path / "sweep.json").read_text())
    records.write_json(tmp_path / "sweep.json", {**plan, "arms": [*plan["arms"], "adam,trial-0007"]})
    found = ledger(records.load_sweep(tmp_path))
    assert found["arms"]["adam"]["set_aside"] == {"runs": 2, "wall_seconds": 5.0, "without_wall_seconds": 1}
    assert found["arms"]["adam"]["wall_seconds"] == 80.0
    assert list(found["others"]) == ["adam,trial-0007"]
    assert found["others"]["adam,trial-0007"]["wall_seconds"] == 4.0
    assert found["why_not"] == [
        "runs set aside: adam 2, loud 0",
        "1 arms here are of no trial of this search: adam,trial-0007; search in a folder of its own",
    ]
    text = write_report(tmp_path).text
    assert "Caution, budgets are not equal: runs set aside: adam 2, loud 0; 1 arms here" in text
    assert "2 further runs, of another config or code version, were looked at before and set aside." in text


def test_a_plan_that_gives_one_arm_more_trials_is_not_equal(tmp_path):
    write_search(tmp_path, {"adam": ADAM, "loud": LOUD[:2]})
    plan = json.loads((tmp_path / "sweep.json").read_text())
    for trial in ("loud,trial-0002", "loud,trial-0003"):
        del plan["search"]["values"]["loud"][trial]
        plan["arms"].remove(trial)
    records.write_json(tmp_path / "sweep.json", plan)
    assert ledger(records.load_sweep(tmp_path))["why_not"][0] == "trials planned: adam 4, loud 2"


def test_a_test_metric_never_selects(tmp_path):
    write_search(tmp_path, {"adam": ADAM, "loud": LOUD})
    plan = json.loads((tmp_path / "sweep.json").read_text())
    plan["search"]["metric"] = "test/accuracy"
    records.write_json(tmp_path / "sweep.json", plan)
    with pytest.raises(ValueError, match="must not be of the test set, got 'test/accuracy'"):
        write(tmp_path)


def test_a_sweep_that_is_no_search_has_no_ledger(tmp_path):
    records.write_json(tmp_path / "sweep.json", {"sweep": "plain", "question": "", "arms": ["a"], "seeds": [0]})
    sweep = records.load_sweep(tmp_path)
    assert (sweep.search, sweep.set_aside) == (None, {})
    with pytest.raises(ValueError, match="plain is no search, so it has no ledger"):
        write(tmp_path)
    assert not (tmp_path / "ledger.json").exists()
    publish(sweep, tmp_path / "published")
    assert not {"search", "set_aside"} & set(json.loads((tmp_path / "published" / "sweep.json").read_text()))


def test_the_plan_travels_with_published_records_and_gives_the_same_ledger(tmp_path):
    write_search(tmp_path, {"adam": ADAM, "loud": LOUD}, ended={("loud", 0, 5): "diverged"})
    add_run(tmp_path / "superseded", "adam,trial-0001", "5-0123-99", seconds=3.0)
    publish(records.load_sweep(tmp_path), tmp_path / "published")
    assert json.loads(write(tmp_path).read_text()) == json.loads(write(tmp_path / "published").read_text())
    before = (tmp_path / "published" / "sweep.json").read_bytes()
    publish(records.load_sweep(tmp_path / "published"), tmp_path / "again")
    assert (tmp_path / "again" / "sweep.json").read_bytes() == before


def test_the_median_counts_lost_trials_as_worse_than_any(tmp_path):
    lost = {("adam", 2, 5): "diverged"}
    adam = ledger(write_search(tmp_path / "one", {"adam": ADAM, "loud": LOUD}, ended=lost))["arms"]["adam"]
    assert adam["median"] == pytest.approx((0.6 + 0.15) / 2, abs=1e-12)  # 0.75, 0.6, 0.15, lost
    lost |= {("adam", 0, 5): "diverged"}
    adam = ledger(write_search(tmp_path / "two", {"adam": ADAM, "loud": LOUD}, ended=lost))["arms"]["adam"]
    assert adam["median"] is None


# The report --------------------------------------------------------------------------------------------------------

FILES = {"tables/trials.csv", "tables/search.md"}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def built(tmp_path):
    values = {"adam": [*ADAM[:3], (0.1, None)], "loud": LOUD}
    write_search(tmp_path / "tuned", values, ended={("loud", 0, 5): "diverged"})
    return tmp_path / "tuned", write_report(tmp_path / "tuned")


def test_a_searchs_report_is_of_trials_and_compares_no_arms(built):
    folder, report = built
    assert set(contents(folder / "report")) == FILES
    assert {path.relative_to(folder / "report").as_posix() for path in report.files} == FILES
    assert " vs " not in report.text
    for word in ("superior", "wins", "winner", "outperforms", "better than"):
        assert word not in report.text
    assert "Tuning seeds select, they do not test: no arm is shown to be better here." in report.tables["search"].caption
    assert "mean over n = 2 tuning seeds (seeds 5, 6)" in report.tables["search"].caption
    assert "which flatters it; which arm is better, only other seeds can tell." in report.lead
    assert report.lead.startswith(f"**In short.** Best of 4 trials by {METRIC}")


def test_the_table_has_a_row_per_arm_with_its_best_values_and_n(built):
    folder, report = built
    values = search.draw({"trials": 4}, SHARED, OWN)["values"]
    rate, loud = values["adam"]["adam,trial-0001"]["optimizer.lr"], values["loud"]["loud,trial-0003"]
    weight = "true" if loud["weight"] is True else loud["weight"]
    lines = report.tables["search"].markdown.splitlines()
    assert len(lines) == 2 + 2
    assert lines[2] == (
        f"| adam | 4 of 4 | 2 | 1 | `optimizer.lr={rate}` | 0.75 ± 0 (n = 2) | 0.75 | 0 of 8 (0 %) | 70 | 1 missing |"
    )
    assert lines[3] == (
        f"| loud | 4 of 4 | 2 | 3 | `optimizer.lr={loud['optimizer.lr']} weight={weight}` | 0.8 ± 0 (n = 2) | 0.65 | "
        "1 of 8 (12 %) | 80 | – |"
    )
    assert (folder / "report/tables/search.md").read_text() == report.tables["search"].text


def test_the_csv_has_every_trial_with_every_digit_and_no_zero_for_what_is_not_there(built):
    folder, _ = built
    rows = list(csv.DictReader((folder / "report/tables/trials.csv").read_text().splitlines()))
    assert len(rows) == 8
    found = ledger(records.load_sweep(folder))
    for row in rows:
        (trial,) = [each for each in found["arms"][row["arm"]]["trials"] if each["trial"] == row["trial"]]
        assert float(row["optimizer.lr"]) == trial["values"]["optimizer.lr"]
        assert float(row["mean"]) == trial["mean"]
        assert (row["best"] == "True") == (found["arms"][row["arm"]]["best"] == row["trial"])
    missing = next(row for row in rows if row["trial"] == "adam,trial-0003")
    assert (missing[f"{METRIC} seed 6"], missing["missing"], missing["weight"], missing["sd"]) == ("", "1", "", "")


def test_a_search_reports_the_same_bytes_again_and_from_published_records(built, tmp_path):
    folder, _ = built
    first = contents(folder / "report")
    write_report(folder, tmp_path / "again")
    assert contents(tmp_path / "again") == first
    publish(records.load_sweep(folder), tmp_path / "published")
    write_report(tmp_path / "published")
    assert contents(tmp_path / "published" / "report") == first


def test_an_unfinished_search_says_so(built):
    _, report = built
    assert "Unfinished: 1 of 16 runs missing; 14 of 16 runs done, 1 diverged" in report.tables["search"].caption
    assert report.lead.endswith("The search is unfinished, so this is an interim look.")


def test_a_readme_can_hold_a_searchs_report(built, tmp_path):
    _, report = built
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:tuned -->\n<!-- /results:tuned -->\n")
    update_readme(readme, {report.name: report.markdown})
    assert report.tables["search"].markdown in readme.read_text()


def test_a_search_without_a_finished_run_or_without_its_metric_is_refused_before_anything_is_written(tmp_path):
    write_search(tmp_path / "none", {"adam": [(None, None)] * 4, "loud": [(None, None)] * 4})
    with pytest.raises(ReportError, match=r"nothing to show.*superpositional sweep tuned"):
        write_report(tmp_path / "none")
    write_search(tmp_path / "other", {"adam": [(None, None)] * 4, "loud": [(None, None)] * 4})
    add_run(tmp_path / "other", "adam,trial-0000", 5, summary={"val/loss/last": 0.3, "test/accuracy": 0.9})
    with pytest.raises(ReportError, match=rf"no finished run has {METRIC}.*metric of val/loss/last$"):
        write_report(tmp_path / "other")
    assert not list(tmp_path.glob("*/report"))


def test_settings_are_printed_as_they_are_typed():
    trial = {"values": {"optimizer.lr": 1e-05, "a": True, "b": None, "c": "x", "d": 3}}
    assert tuning._values(trial) == "optimizer.lr=1e-05 a=true b=null c=x d=3"


# End to end --------------------------------------------------------------------------------------------------------


def test_a_small_search_runs_counts_and_is_reported(door, workplace):
    sweep = {
        "defaults": ["train", {"override trainer": "smoke"}, {"override logger": "none"}, "_self_"],
        "sweep": "tuned",
        "question": "Which rate?",
        "callbacks": {"checkpoint": None},
        "hydra": {
            "mode": "MULTIRUN",
            "sweeper": {
                # One of the two is beyond what a float holds after three steps.
                "arms": {"adam": ["optimizer=adam"], "sgd": ["optimizer=sgd", "optimizer.lr=0.01,1e30"]},
                "params": {"seed": "5,6", "data.n_train": "range(200, 401)"},
                "search": {"trials": 2},
            },
        },
    }
    OmegaConf.save(OmegaConf.create(sweep), workplace / "tune.yaml")
    code, out, err = door("sweep", "tune.yaml")
    assert code == 1, out + err
    folder = workplace / "outputs" / "tuned"
    planned = json.loads((folder / "sweep.json").read_text())["search"]
    wild = {trial: values["optimizer.lr"] == 1e30 for trial, values in planned["values"]["sgd"].items()}
    assert sorted(wild.values()) == [False, True]
    assert statuses(folder) == {
        f"{trial}/seed-{seed}": "diverged" if wild.get(trial) else "done"
        for trials in planned["values"].values()
        for trial in trials
        for seed in (5, 6)
    }
    loaded = records.load_sweep(folder)
    assert loaded.search == planned
    found = json.loads(write(folder).read_text())
    assert (found["equal_budget"], found["why_not"]) == (True, [])
    for run in loaded.runs:
        arm = run.arm.split(",")[0]
        drawn = planned["values"][arm][run.arm]
        assert run.record["config"]["data"]["n_train"] == drawn["data.n_train"]
        assert run.record["config"]["optimizer"]["lr"] == drawn.get("optimizer.lr", 1e-3)
        (trial,) = [each for each in found["arms"][arm]["trials"] if each["trial"] == run.arm]
        assert trial["metric_by_seed"][str(run.seed)] == (run.summary(METRIC) if run.status == "done" else None)
    sgd = found["arms"]["sgd"]
    assert sgd["statuses"]["diverged"] == 2
    assert sgd["best"] == next(trial for trial, is_wild in wild.items() if not is_wild)
    total = sum(run.record["wall_seconds"] for run in loaded.runs if run.arm.startswith("sgd"))
    assert sgd["wall_seconds"] == pytest.approx(total, rel=1e-12)
    code, out, err = door("report", "tuned", "--publish", str(workplace / "published"))
    assert code == 0, err
    assert "2 of 4 (50 %)" in out
    assert set(contents(folder / "report")) == FILES
    assert records.load_sweep(workplace / "published").search == planned
    code, out, _ = door("sweep", "tune.yaml")
    assert "8 of 8 runs are there already" in out


def test_a_search_that_cannot_be_drawn_exits_2_and_runs_nothing(door, workplace):
    (workplace / "tune.yaml").write_text(
        "defaults: [train, _self_]\nsweep: tuned\nhydra:\n  sweeper:\n    arms: {adam: [optimizer=adam]}\n"
        "    params: {optimizer.lr: 'interval(1, 0)'}\n    search: {trials: 12, goal: best}\n"
    )
    code, out, err = door("sweep", "tune.yaml", "trainer=smoke", "logger=none")
    assert code == 2
    assert "3 mistakes, nothing was run" in err
    assert "hydra.sweeper.search.trials must be a power of 2, for Sobol's balance, got 12; 16 is usual" in err
    assert "Traceback" not in err + out
    assert not (workplace / "outputs").exists()
