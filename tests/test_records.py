"""Does a record say what happened, whole or not at all, and read back as it was written?"""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from superpositional import records
from superpositional.records import (
    STATUSES,
    append_curves,
    load_sweep,
    measures,
    read_curves,
    read_record,
    truncate_curves,
    write_json,
    write_record,
)
from superpositional.records.published import CLOCKS, THINNED_POINTS, UNSHOWN, WHOLE_POINTS, digest, fingerprint, publish

PLAN = {"sweep": "colours", "question": "Is red faster?", "arms": ["red", "blue"], "seeds": [0, 1]}


def visible_and_hidden(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# Writing -----------------------------------------------------------------------------------------------------------


def test_writing_leaves_the_file_and_nothing_else(tmp_path):
    write_json(tmp_path / "record.json", {"a": 1})
    assert visible_and_hidden(tmp_path) == ["record.json"]


def test_overwriting_keeps_a_complete_file(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"text": "long " * 1000})
    with path.open() as reader_of_the_old_file:
        write_json(path, {"text": "short"})
        # Who had opened the old file still reads all of it: it was replaced, not written over.
        assert json.load(reader_of_the_old_file) == {"text": "long " * 1000}
    assert json.loads(path.read_text()) == {"text": "short"}
    assert visible_and_hidden(tmp_path) == ["record.json"]


def test_content_that_is_no_json_leaves_the_old_file_as_found(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert visible_and_hidden(tmp_path) == ["record.json"]


def test_a_write_that_fails_leaves_the_old_file_as_found(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_numbers_that_are_not_finite_become_null_at_any_depth(tmp_path):
    content = {"nan": math.nan, "deep": [{"inf": math.inf}, (-math.inf, 0.0)], "numpy": np.float64("nan"), 3: 1e300}
    write_json(tmp_path / "x.json", content)
    expected = {"nan": None, "deep": [{"inf": None}, [None, 0.0]], "numpy": None, "3": 1e300}
    assert json.loads((tmp_path / "x.json").read_text()) == expected


@pytest.mark.parametrize("status", STATUSES)
def test_a_record_has_its_schema_and_a_status_of_the_closed_list(tmp_path, status):
    record = {"identity": "0" * 16, "status": status, "summary": {"val/accuracy/last": 0.1 + 0.2}}
    write_record(tmp_path, record)
    expected = {"schema": records.SCHEMA, **record}
    assert read_record(tmp_path) == expected


@pytest.mark.parametrize("status", ["Done", "ok", "", None, "running"])
def test_a_status_outside_the_closed_list_is_refused_and_nothing_written(tmp_path, status):
    with pytest.raises(ValueError, match=f"one of done, diverged, failed, interrupted, got {status!r}"):
        write_record(tmp_path, {"status": status, "summary": {}})
    assert visible_and_hidden(tmp_path) == []


def test_a_run_that_has_not_ended_has_no_record(tmp_path):
    assert read_record(tmp_path) is None


# Curves ------------------------------------------------------------------------------------------------------------

HARD_NUMBERS = [0.1 + 0.2, math.nextafter(1, 2), 1e-310, -0.0, math.pi * 1e300, float(np.float32(0.1)), math.inf, -math.inf]


def test_curves_read_back_with_every_digit_and_nan(tmp_path):
    path = tmp_path / "curves.csv"
    append_curves(path, [(step, "loss", value) for step, value in enumerate([*HARD_NUMBERS, math.nan])])
    steps, values = read_curves(path)["loss"]
    assert steps.tolist() == list(range(len(HARD_NUMBERS) + 1))
    assert values[:-1].tobytes() == np.array(HARD_NUMBERS).tobytes()  # bytes tell -0.0 from 0.0
    assert math.isnan(values[-1])


def test_appending_continues_each_curve_under_one_header(tmp_path):
    path = tmp_path / "curves.csv"
    append_curves(path, [(1, "loss", 2.0), (1, 'odd, "name"', 5.0)])
    append_curves(path, [(2, "loss", 1.0)])
    append_curves(path, [])
    assert path.read_text().splitlines()[0] == "step,metric,value"
    assert path.read_text().count("step") == 1
    found = {name: (steps.tolist(), values.tolist()) for name, (steps, values) in read_curves(path).items()}
    assert found == {"loss": ([1, 2], [2.0, 1.0]), 'odd, "name"': ([1], [5.0])}


def test_a_run_that_logged_nothing_has_no_curves(tmp_path):
    assert read_curves(tmp_path / "curves.csv") == {}


def test_truncated_curves_keep_the_steps_up_to_the_checkpoint(tmp_path):
    path = tmp_path / "curves.csv"
    # Steps 9 and 10: compared as numbers, not as text.
    append_curves(path, [(step, name, step / 3) for step in range(1, 12) for name in ("loss", "lr")])
    truncate_curves(path, 10)
    for name in ("loss", "lr"):
        steps, values = read_curves(path)[name]
        assert steps.tolist() == list(range(1, 11))
        assert values.tolist() == [step / 3 for step in range(1, 11)]
    assert visible_and_hidden(tmp_path) == ["curves.csv"]


@pytest.mark.parametrize("torn", ["3", "3,lo", "3,loss,", "3,loss,0.12", "1"])
def test_a_last_line_torn_by_a_crash_is_dropped_and_the_curve_continues(tmp_path, torn):
    path = tmp_path / "curves.csv"
    append_curves(path, [(1, "loss", 3.0), (2, "loss", 2.0)])
    with path.open("a") as file:
        file.write(torn)
    truncate_curves(path, 3)
    append_curves(path, [(3, "loss", 0.125)])
    steps, values = read_curves(path)["loss"]
    assert (steps.tolist(), values.tolist()) == ([1, 2, 3], [3.0, 2.0, 0.125])


def test_truncating_before_anything_was_logged_does_nothing(tmp_path):
    truncate_curves(tmp_path / "curves.csv", 5)
    assert visible_and_hidden(tmp_path) == []


# Sweeps ------------------------------------------------------------------------------------------------------------


def write_run(folder: Path, arm: str, seed: int, *, status: str = "done", steps: int = 10, summary=None) -> None:
    run = folder / arm / f"seed-{seed}"
    run.mkdir(parents=True)
    rng = np.random.default_rng([seed, len(arm)])
    losses = rng.random(steps)
    append_curves(run / "curves.csv", [(step + 1, "train/loss", loss) for step, loss in enumerate(losses)])
    append_curves(run / "curves.csv", [(step, "val/accuracy", rng.random()) for step in range(5, steps + 1, 5)])
    summary = {"test/accuracy": rng.random(), "perturbation/cosine": math.nan} if summary is None else summary
    write_record(run, {"sweep": "colours", "arm": arm, "seed": seed, "status": status, "summary": summary})


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "colours"
    folder.mkdir()
    write_json(folder / "sweep.json", PLAN)
    return folder


def runs(sweep: records.Sweep) -> list[tuple[str, int, str]]:
    return [(run.arm, run.seed, run.status) for run in sweep.runs]


def test_a_folder_that_is_no_sweep_is_refused_with_the_cure(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_sweep(tmp_path)
    expected = f"no sweep in {tmp_path}: it holds no sweep.json; give the folder that `superpositional sweep` wrote"
    assert str(caught.value) == expected


def test_a_planned_sweep_is_all_missing(folder):
    sweep = load_sweep(str(folder))
    assert (sweep.name, sweep.question, sweep.arms, sweep.seeds) == ("colours", "Is red faster?", ("red", "blue"), (0, 1))
    assert sweep.runs == ()
    assert sweep.missing == [("red", 0), ("red", 1), ("blue", 0), ("blue", 1)]


def test_an_unfinished_sweep_names_what_is_missing(folder):
    write_run(folder, "blue", 1)
    write_run(folder, "red", 0, status="diverged")
    # Under way: curves but no record.
    append_curves(_made(folder / "blue" / "seed-0") / "curves.csv", [(1, "train/loss", 1.0)])
    sweep = load_sweep(folder)
    assert runs(sweep) == [("red", 0, "diverged"), ("blue", 1, "done")]
    assert sweep.missing == [("red", 1), ("blue", 0)]


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_a_finished_sweep_keeps_the_plans_order_and_every_status(folder):
    for arm, seed, status in [
        ("blue", 1, "failed"),
        ("red", 1, "done"),
        ("blue", 0, "interrupted"),
        ("red", 0, "diverged"),
    ]:
        write_run(folder, arm, seed, status=status)
    sweep = load_sweep(folder)
    assert runs(sweep) == [("red", 0, "diverged"), ("red", 1, "done"), ("blue", 0, "interrupted"), ("blue", 1, "failed")]
    assert sweep.missing == []


def test_seeds_are_in_order_of_number(folder):
    write_json(folder / "sweep.json", {**PLAN, "arms": ["red"], "seeds": [10, 9, 2]})
    for seed in (10, 2, 9):
        write_run(folder, "red", seed)
    assert [run.seed for run in load_sweep(folder).runs] == [2, 9, 10]


def test_records_outside_the_plan_are_not_part_of_the_sweep(folder):
    write_run(folder, "red", 0)
    write_run(folder, "green", 0)
    sweep = load_sweep(folder)
    assert runs(sweep) == [("red", 0, "done")]
    publish(sweep, folder.parent / "published")
    assert runs(load_sweep(folder.parent / "published")) == [("red", 0, "done")]


def test_another_machines_seeds_are_part_of_the_sweep_once_they_are_copied_in(folder):
    write_run(folder, "red", 0)
    write_run(folder, "red", 7)
    sweep = load_sweep(folder)
    assert runs(sweep) == [("red", 0, "done"), ("red", 7, "done")]
    assert sweep.seeds == (0, 1, 7)
    assert ("blue", 7) in sweep.missing


def test_a_missing_value_is_none_and_never_zero(folder):
    write_run(folder, "red", 0, summary={"test/accuracy": 0.0, "test/loss": math.nan})
    (run,) = load_sweep(folder).runs
    assert run.summary("test/accuracy") == 0.0
    assert run.summary("test/loss") is None
    assert run.summary("convergence/epochs_to_target") is None


@pytest.fixture
def published(folder) -> tuple[records.Sweep, records.Sweep]:
    """An unfinished sweep with a long run, as it was and as published."""
    write_run(folder, "red", 0, steps=300)
    write_run(folder, "red", 1, status="diverged", steps=3)
    write_run(folder, "blue", 1, steps=64)
    whole = load_sweep(folder)
    publish(whole, folder.parent / "published" / "colours")
    return whole, load_sweep(folder.parent / "published" / "colours")


def test_a_published_sweep_has_the_same_plan_and_records_exactly(published):
    whole, read = published
    assert (read.name, read.question, read.arms, read.seeds) == (whole.name, whole.question, whole.arms, whole.seeds)
    assert read.missing == whole.missing == [("blue", 0)]
    assert runs(read) == runs(whole)
    assert [run.record for run in read.runs] == [{"digest": digest(run), **run.record} for run in whole.runs]


def test_a_published_sweep_keeps_every_validation(published):
    for whole, read in zip(*(sweep.runs for sweep in published), strict=True):
        assert set(read.curves) == {name for name in whole.curves if not name.startswith(UNSHOWN)}
        if "val/accuracy" in whole.curves:
            steps, values = whole.curves["val/accuracy"]
            assert len(steps) <= WHOLE_POINTS
            assert read.curves["val/accuracy"][0].tolist() == steps.tolist()
            # Nine significant digits are kept, half a unit of the ninth.
            np.testing.assert_allclose(read.curves["val/accuracy"][1], values, rtol=5e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 39, 40, 64, 65, 100, 127, 128, 300])
def test_a_short_curve_is_whole_and_a_long_one_keeps_its_first_and_last_point_and_as_many_between(folder, steps):
    write_run(folder, "red", 0, steps=steps)
    (whole,) = load_sweep(folder).runs
    publish(load_sweep(folder), folder.parent / "published")
    (read,) = load_sweep(folder.parent / "published").runs
    kept, values = read.curves["train/loss"]
    assert len(kept) == (steps if steps <= WHOLE_POINTS else THINNED_POINTS)
    assert (kept[0], kept[-1]) == (1, steps)
    assert (np.diff(kept) > 0).all()
    # What is kept are points of the curve, not averages; seven significant digits, half a unit of the seventh.
    np.testing.assert_allclose(values, whole.curves["train/loss"][1][kept - 1], rtol=5e-7, atol=0)


def test_a_value_that_is_not_finite_is_published_as_no_value(folder):
    write_run(folder, "red", 0, steps=2)
    append_curves(folder / "red" / "seed-0" / "curves.csv", [(3, "train/loss", math.nan), (4, "train/loss", math.inf)])
    publish(load_sweep(folder), folder.parent / "published")
    (read,) = load_sweep(folder.parent / "published").runs
    steps, values = read.curves["train/loss"]
    assert steps.tolist() == [1, 2, 3, 4]
    assert np.isnan(values).tolist() == [False, False, True, True]


def test_publishing_what_was_published_changes_no_byte(published, tmp_path):
    publish(published[1], tmp_path / "again")
    for name in ("runs.jsonl", "sweep.json"):
        original = tmp_path / "published" / "colours" / name
        assert (tmp_path / "again" / name).read_bytes() == original.read_bytes()
    assert visible_and_hidden(tmp_path / "again") == ["runs.jsonl", "sweep.json"]


def test_what_runs_have_in_common_stands_once(published, tmp_path):
    lines = (tmp_path / "published" / "colours" / "runs.jsonl").read_text().splitlines()
    plan = json.loads((tmp_path / "published" / "colours" / "sweep.json").read_text())
    assert plan["common"]["schema"] == records.SCHEMA
    assert all("schema" not in json.loads(line)["record"] for line in lines)
    # Steps of the curves, too.
    grids = [tuple(grid) for grid in plan["steps"]]
    assert len(set(grids)) == len(grids)


@pytest.mark.parametrize(
    ("name", "changes"), [("train/loss", True), ("time/train_seconds", False), *((f"{each}x", False) for each in CLOCKS)]
)
def test_a_digest_is_of_every_number_but_the_clocks(folder, name, changes):
    write_run(folder, "red", 0, steps=100)
    (run,) = load_sweep(folder).runs
    before, after = (
        digest(dataclasses.replace(run, curves={**run.curves, name: (np.array([101]), np.array([value]))}))
        for value in (1.0, math.nextafter(1.0, 2))
    )
    assert (before != after) is changes


def test_a_published_run_has_the_digest_of_the_whole_one(published):
    whole, read = published
    assert [digest(run) for run in read.runs] == [digest(run) for run in whole.runs]
    assert len({digest(run) for run in whole.runs}) == len(whole.runs)


# What is refused -----------------------------------------------------------------------------------------------------


def rewritten(folder: Path, of_arm: str, of_seed: int, **changes) -> None:
    """A record as somebody changed it by hand; write_record would refuse some of it."""
    path = folder / of_arm / f"seed-{of_seed}" / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | changes))


@pytest.fixture
def paired_runs(folder) -> Path:
    for arm in PLAN["arms"]:
        for seed in PLAN["seeds"]:
            write_run(folder, arm, seed, summary={"test/accuracy": 0.5})
            rewritten(folder, arm, seed, steps=10, seeds={"order": seed}, config={"data": {"path": arm}, "trainer": {}})
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "schema must be 1, got 2; read it with the version that wrote it"),
        ({"seed": "1"}, "seed must be a whole number, got '1'"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"status": "fine"}, "status must be one of done, diverged, failed, interrupted, got 'fine'"),
        ({"steps": "ten"}, "steps must be a finite number >= 0, got 'ten'"),
        ({"wall_seconds": -1}, "wall_seconds must be a finite number >= 0, got -1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be a finite number > 0, got 0"),
        ({"processor": ["a CPU"]}, "processor must be a text, got ['a CPU']"),
        ({"batches": "aaaa"}, "batches must be an object, got 'aaaa'"),
        ({"started": "yesterday"}, "started must be a date and time (ISO 8601), got 'yesterday'"),
        ({"config": []}, "config must be an object, got []"),
        ({"summary": None}, "summary must be an object, got None"),
        ({"summary": {"test/accuracy": "0.9"}}, "test/accuracy must be a finite number or null, got '0.9'"),
        ({"summary": {"test/accuracy": 1.7}}, "test/accuracy must lie in [0, 1], got 1.7; log it as a share of 1"),
        ({"summary": {"val/accuracy/last": -0.1}}, "val/accuracy/last must lie in [0, 1], got -0.1"),
        ({"summary": {"test/exact_match": 2}}, "test/exact_match must lie in [0, 1], got 2"),
        ({"summary": {"convergence/epochs_to_target": -3}}, "convergence/epochs_to_target must be >= 0, got -3"),
        ({"seeds": {"order": 7}}, "the arms of seed 1 have different stream seeds (order): blue 7, red 1"),
        ({"steps": 9}, "the arms of seed 1 were trained for different numbers of steps: blue 9, red 10"),
        ({"seed": 0}, "arm blue, seed 0 stands in"),
    ],
)
def test_a_record_that_cannot_be_is_refused_with_its_file_run_value_and_cure(paired_runs, changes, told):
    rewritten(paired_runs, "blue", 1, **changes)
    with pytest.raises(records.Unreadable) as caught:
        load_sweep(paired_runs)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{paired_runs}/blue/seed-1/record.json: ")
    assert told in line
    assert "; " in line


def test_all_that_is_wrong_is_told_at_once(paired_runs):
    rewritten(paired_runs, "red", 0, schema=9)
    rewritten(paired_runs, "blue", 0, summary={"test/accuracy": 1.7, "test/loss": "low"})
    (paired_runs / "blue" / "seed-1" / "record.json").write_text("{")
    with pytest.raises(records.Unreadable) as caught:
        load_sweep(paired_runs)
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    "content", [b'{"summary": {"test/loss": NaN}}', b'{"steps": -Infinity}', b"\xff\xfe", b"[]", b"3", b"[" * 100_000]
)
@pytest.mark.parametrize("name", ["sweep.json", "blue/seed-1/record.json"])
def test_json_that_is_none_or_of_another_shape_is_refused(paired_runs, name, content):
    (paired_runs / name).write_bytes(content)
    with pytest.raises(records.Unreadable, match=f"{paired_runs / name} is damaged"):
        load_sweep(paired_runs)


@pytest.mark.parametrize("row", [b"1,train/loss,low\n", b"1,train/loss\n", b"one,train/loss,1.0\n", b"1,\xff,1.0\n"])
def test_curves_that_hold_no_numbers_are_refused(paired_runs, row):
    path = paired_runs / "red" / "seed-0" / "curves.csv"
    path.write_bytes(path.read_bytes() + row)
    with pytest.raises(records.Unreadable, match=f"{path} is damaged"):
        load_sweep(paired_runs)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arms": []}, "arms must be a list of texts, got []"),
        ({"arms": ["red", "red"]}, "arms must differ from each other, got 'red' twice"),
        ({"seeds": ["0", "1"]}, "seeds must be a list of whole numbers, got ['0', '1']"),
        ({"seeds": [0, 0]}, "seeds must differ from each other, got 0 twice"),
        ({"sweep": None}, "sweep must be a text, got None"),
        ({"families": []}, "families must be an object, got []"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(folder, changes, told):
    write_json(folder / "sweep.json", PLAN | changes)
    with pytest.raises(records.Unreadable, match=r"sweep\.json: ") as caught:
        load_sweep(folder)
    assert told in str(caught.value)


def test_a_published_run_that_is_damaged_or_listed_twice_is_refused_by_its_line(paired_runs, tmp_path):
    there = tmp_path / "published" / "colours"
    publish(load_sweep(paired_runs), there)
    whole = (there / "runs.jsonl").read_text().splitlines()
    for line, told in (
        (whole[0], "runs.jsonl, line 5: arm red, seed 0 stands in"),
        ("{", "runs.jsonl, line 5 is damaged"),
        ("[]", "runs.jsonl, line 5 is damaged"),
        ('{"record": {"arm": "green"}, "curves": {}}', "runs.jsonl, line 5 is damaged"),
        (whole[0].replace("[", '["1",'), "runs.jsonl, line 5 is damaged"),
    ):
        (there / "runs.jsonl").write_text("\n".join([*whole, line]) + "\n")
        with pytest.raises(records.Unreadable) as caught:
            load_sweep(there)
        assert told in str(caught.value)
    (there / "runs.jsonl").write_bytes(b"\xff")
    with pytest.raises(records.Unreadable, match=r"runs.jsonl is damaged"):
        load_sweep(there)


def test_arms_that_saw_different_batches_are_refused_and_records_without_a_hash_are_not(paired_runs):
    rewritten(paired_runs, "red", 1, batches={"0/0": "aaaa", "1/0": "cccc"})
    load_sweep(paired_runs)
    rewritten(paired_runs, "blue", 1, batches={"0/0": "aaaa"})
    load_sweep(paired_runs)
    rewritten(paired_runs, "blue", 1, batches={"0/0": "bbbb"})
    with pytest.raises(
        records.Unreadable, match=r"the arms of seed 1 saw different batches .epoch/batch 0/0.: blue bbbb, red aaaa; "
    ):
        load_sweep(paired_runs)


def test_a_pair_never_mixes_kernels_and_torchs_code(paired_runs):
    rewritten(paired_runs, "red", 1, kernels="C++ (12.2.0)")
    load_sweep(paired_runs)  # older records do not say
    rewritten(paired_runs, "blue", 1, kernels="c++ 11")
    load_sweep(paired_runs)
    rewritten(paired_runs, "blue", 1, kernels="torch's (SUPERPOSITIONAL_KERNELS=off)")
    with pytest.raises(
        records.Unreadable, match="the arms of seed 1 were computed by different code: blue torch's code, red kernels; "
    ):
        load_sweep(paired_runs)


def test_arms_that_ask_for_other_data_or_longer_training_are_read_and_left_to_the_verdicts(paired_runs):
    rewritten(paired_runs, "blue", 1, steps=20, config={"data": {}, "trainer": {"max_epochs": 2}})
    rewritten(paired_runs, "blue", 0, steps=20, batches={"0/0": "b"}, config={"data": {"length": 9}, "trainer": {}})
    rewritten(paired_runs, "red", 0, batches={"0/0": "a"})
    load_sweep(paired_runs)
    # A run that diverged has ended early.
    rewritten(paired_runs, "blue", 1, steps=3, status="diverged", config={"data": {}, "trainer": {}})
    load_sweep(paired_runs)


def test_the_fingerprint_is_of_every_record_and_the_same_once_published(paired_runs, tmp_path):
    whole = load_sweep(paired_runs)
    publish(whole, tmp_path / "published" / "colours")
    assert fingerprint(load_sweep(tmp_path / "published" / "colours")) == fingerprint(whole)
    rewritten(paired_runs, "blue", 1, summary={"test/accuracy": 0.5000001})
    assert fingerprint(load_sweep(paired_runs)) != fingerprint(whole)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "edited"])
def test_curves_that_are_not_those_of_the_record_are_refused(paired_runs, damage):
    path = paired_runs / "blue" / "seed-1" / "curves.csv"
    rewritten(paired_runs, "blue", 1, curves=records.vouch(path))
    load_sweep(paired_runs)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[:-20], "edited": content.replace(b"0", b"1", 1)}[damage])
    with pytest.raises(
        records.Unreadable, match=r"seed-1/curves\.csv is not what its record was written with: \d+ bytes for"
    ):
        load_sweep(paired_runs)


@pytest.mark.parametrize(
    ("own", "both"),
    [
        ({"trainer": {"precision": "bf16-true"}}, {}),
        ({}, {"callbacks": {"early": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}}}),
        ({}, {"trainer": {"max_time": "00:01"}}),
    ],
    ids=["another precision", "a callback that may stop", "a clock"],
)
def test_arms_that_may_differ_in_types_or_steps_are_not_refused_for_it(paired_runs, own, both):
    steps = 10 if own else 20
    rewritten(paired_runs, "red", 0, steps=10, batches={"0/0": "a"}, config=both)
    rewritten(paired_runs, "blue", 0, steps=steps, batches={"0/0": "b" if own else "a"}, config=both | own)
    load_sweep(paired_runs)


# Measures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [*measures.ACCURACY_FIRST, *measures.LOSS_FIRST], ids=lambda each: each.metric)
def test_a_measure_comes_back_from_a_record_as_it_was_declared(tmp_path, each):
    write_json(tmp_path / "x.json", {"measures": [each.plain()]})
    assert measures.declared(json.loads((tmp_path / "x.json").read_text())["measures"]) == (each,)


def test_records_that_declare_no_measures_have_those_of_what_they_recorded():
    assert measures.undeclared(["val/accuracy", "test/accuracy"]) == measures.ACCURACY_FIRST
    assert measures.undeclared(["train/loss/last_epoch", "val/loss/last"]) == measures.LOSS_FIRST
    assert [each.metric for each in measures.undeclared(["test/r2", "val/r2/last"])] == ["test/r2"]


def test_a_runs_record_declares_its_tasks_measures(door, workplace):
    assert door("train", "trainer=smoke", "logger=none", "hydra.run.dir=run")[0] == 0
    assert measures.declared(read_record(workplace / "run")["measures"]) == measures.ACCURACY_FIRST


# As DataFrames ---------------------------------------------------------------------------------------------------------

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published"


def test_a_published_sweep_is_two_data_frames_with_every_number_of_its_records():
    sweep, found = records.load_sweep(PUBLISHED / "noise"), records.load(PUBLISHED / "noise")
    runs, curves = found.runs, found.curves()
    assert list(zip(runs["arm"], runs["seed"], strict=True)) == [(run.arm, run.seed) for run in sweep.runs]
    for metric in ("test/accuracy", "convergence/epochs_to_target"):
        values = [run.summary(metric) for run in sweep.runs]
        assert runs[metric].notna().tolist() == [value is not None for value in values]
        assert runs[metric].dropna().tolist() == [value for value in values if value is not None]
    run = sweep.runs[-1]
    of_it = curves[(curves["arm"] == run.arm) & (curves["seed"] == run.seed) & (curves["metric"] == "val/accuracy")]
    steps, values = run.curves["val/accuracy"]
    assert (of_it["step"].tolist(), of_it["value"].tolist()) == (steps.tolist(), values.tolist())
    assert found.curves("val/accuracy")["metric"].unique().tolist() == ["val/accuracy"]
    with pytest.raises(KeyError, match=r"metric must be one of .*, got 'val/acuracy'"):
        found.curves("val/acuracy")
