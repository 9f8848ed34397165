"""Does a benchmark measure what it says? Never how fast: that depends on the machine."""

import errno
import json
import re
import socket
from concurrent.futures import Future
from urllib.parse import urlsplit

import pytest
import wandb
from conftest import SMOKE

from superpositional import logging_bench
from superpositional.config import ConfigError


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


class Inline:
    """Stands for a pool of one process, in this one."""

    def __init__(self, *_, **__) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def submit(self, call, *arguments):
        future = Future()
        future.set_result(call(*arguments))
        return future


def test_the_loggings_benchmark_runs_each_way_in_turns_and_pairs_what_ran_side_by_side(
    door, workplace, monkeypatch
) -> None:
    ran, real = [], logging_bench._run

    def run(config: dict, server: str) -> dict:
        statistics = bool(config["callbacks"]["circuit"])
        ran.append((config["logger"].get("mode"), statistics, config["seed"]))
        assert config["net"]["attention"]["_target_"].endswith("QuantumAttention")
        if ran[-1][0] == "auto":
            assert urlsplit(server).hostname == "127.0.0.1"
            with socket.socket() as asked:
                assert asked.connect_ex(("127.0.0.1", urlsplit(server).port)) == errno.ECONNREFUSED
        known = ran.count(ran[-1]) > 1 or ran[-1][0] == "auto"
        seconds = {"fit_seconds": 4.0, "cpu_seconds": 5.0, "wall_seconds": 6.0, "statistics_seconds": 0.25 * statistics}
        return {"status": "done", **seconds} if known else real(config, server)

    # What a run of its own process sets, this one gets back.
    for name in ("WANDB_BASE_URL", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "the developer's own")
    monkeypatch.setenv("SUPERPOSITIONAL_CACHE", str(workplace / "cache"))
    monkeypatch.setattr(logging_bench, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(logging_bench, "_run", run)
    code, out, err = door("bench", "logging", "trainer=smoke", "--repeats", "2")
    wandb.teardown()  # of the run that this process has had
    assert code == 0, err
    plain, bare = (None, True, 0), (None, False, 0)
    offline, refused = ((mode, True, 0) for mode in ("offline", "auto"))
    # One to warm up; then there and back.
    assert ran == [plain, plain, bare, offline, refused, refused, offline, bare, plain]
    measured = json.loads((workplace / "outputs" / "bench" / "logging.json").read_text())
    found = measured["measurements"]
    assert {name: len(each) for name, each in found.items()} == dict.fromkeys(logging_bench.WAYS, 2)
    for each in (each for way in found.values() for each in way):
        assert set(each) == {"fit_seconds", "cpu_seconds", "wall_seconds", "process_seconds", "statistics_seconds"}
        assert min(value for name, value in each.items() if name != "statistics_seconds") > 0
    # Where there are none they take nothing, and elsewhere a part of the whole.
    assert [each["statistics_seconds"] for each in found["no statistics"]] == [0, 0]
    assert all(0 < each["statistics_seconds"] < each["cpu_seconds"] for each in found["plain"])
    assert found["refused"][0]["fit_seconds"] == 4
    rows = logging_bench.rows(measured)
    assert len(rows) == 10
    assert rows[1][1:3] == tuple([each["fit_seconds"] for each in found[way]] for way in ("plain", "no statistics"))
    assert rows[7][1:3] == tuple([each["fit_seconds"] for each in found[way]] for way in ("refused", "plain"))
    assert "medians of 2 repeats with 1 runs each" in out
    # A hundredth is what is asked about.
    assert re.search(r"│ \d+\.\d{3} │", out)


@pytest.mark.slow
def test_a_run_of_the_loggings_benchmark_is_a_process_and_its_failure_is_told(workplace) -> None:
    wrong = logging_bench._config(["trainer=smoke", "optimizer=sgd", "optimizer.lr=1e30"], "plain", 0)
    with pytest.raises(ConfigError, match=r"a run of the benchmark did not end as done: .*; choose other overrides"):
        logging_bench._timed(wrong, "http://127.0.0.1:9")
