"""Does a benchmark measure what it says? Never how fast: that depends on the machine."""

import json

from conftest import SMOKE


def test_the_sweeps_benchmark_measures_each_kind_and_keeps_every_measurement(door, workplace) -> None:
    code, out, err = door("bench", "sweep", *SMOKE, "--runs", "2", "--repeats", "1", "optimizer=adam")
    assert code == 0, err
    measured = json.loads((workplace / "outputs" / "bench" / "sweep.json").read_text())
    assert measured["overrides"] == [*SMOKE, "optimizer=adam"]
    for how in ("one at a time", "two at a time", "a process per run"):
        both = measured["measurements"][how]
        assert len(both) == 1
        assert all(each["seconds"] > 0 and each["fit_seconds"] > 0 for each in both)
    one = measured["measurements"]["one at a time"][0]
    # Of two runs one after the other, what was not training.
    assert one["beyond"] == (one["seconds"] - one["fit_seconds"]) / 2 > 0
    assert "medians of 1 repeats with 2 runs each" in out
    # The runs themselves are no records of anybody's.
    assert [path.name for path in (workplace / "outputs").iterdir()] == ["bench"]


def test_a_benchmark_of_nothing_or_of_runs_that_fail_is_refused(door, workplace) -> None:
    code, _, err = door("bench", "sweep", "--runs", "0")
    assert (code, "--runs must be an integer >= 1, got 0" in err) == (2, True)
    code, _, err = door("bench", "sweep", *SMOKE, "optimizer=sgd", "optimizer.lr=1e30", "--runs", "1", "--repeats", "1")
    assert (code, "a run of the benchmark did not end as done: " in err) == (2, True)
    code, _, err = door("bench", "sweep", "optimizer=adma")
    assert (code, "got 'adma'" in err) == (2, True)


def test_a_step_of_fine_tuning_is_measured_against_each_plain_loop(door, workplace) -> None:
    code, out, err = door("bench", "fine_tuning", "net=tiny", "data.source=stand_in", "--runs", "5", "--repeats", "1")
    assert code == 0, err
    measured = json.loads((workplace / "outputs" / "bench" / "fine_tuning.json").read_text())
    assert set(measured["measurements"]) == {"run", "transformers", "ours"}
    for (each,) in measured["measurements"].values():
        assert len(each["seconds"]) == 4  # between five ends
        assert min(each["seconds"]) > 0
        assert each["peak_bytes"] > 1e8
    assert "peak memory" in out
    code, _, err = door("bench", "fine_tuning", "net=tiny", "data.source=stand_in", "--runs", "2")
    assert (code, "--runs must be above 2 steps, which are left out as warm-up, got 2" in err) == (2, True)
