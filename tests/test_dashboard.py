"""Does the dashboard's spec hold what the records have and no more, and does its page draw those numbers?"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from test_analysis import write_sweep

from superpositional import format, records
from superpositional.evidence.analysis import compare
from superpositional.evidence.inference import student_interval
from superpositional.records import Run, Sweep
from superpositional.records.measures import TEST_ACCURACY
from superpositional.report import dashboard, dashboard_data, dashboard_page
from superpositional.report.dashboard import DIFFERENCES, LEARNING, VERDICTS
from superpositional.report.write import Report, write_report

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published"
STEPS = np.arange(1, 11)
EVIL = '</script><img src=x onerror=alert(1)> & "x"'
TARGETS = {"adamw": "torch.optim.AdamW", "sgd": "torch.optim.SGD", "placebo": "superpositional.optim.placebo.PlaceboAdamW"}
OURS = "superpositional.SuperpositionalAdamW"


def config(target: str, circuit: dict | None = None, **optimizer) -> dict:
    """A resolved config; the circuit's settings stand in every arm's, whether it reads them or not."""
    circuit = {"n_qubits": 4, "depth": 2} | (circuit or {})
    if target == OURS:
        optimizer = {"n_qubits": circuit["n_qubits"], "perturbation": {"ansatz": circuit}} | optimizer
    softmax = {"_target_": "torch.nn.MultiheadAttention"}
    return {"circuit": circuit, "optimizer": {"_target_": target, "lr": 0.1} | optimizer, "net": {"attention": softmax}}


def made_up(arms: dict[str, dict], *, seeds: int = 6, steps: np.ndarray = STEPS, metrics: tuple = (), ends=()) -> Sweep:
    """A sweep in memory: losses of each arm around its place, and a summary of them."""
    runs = []
    for place, (arm, settings) in enumerate(arms.items()):
        for seed in range(seeds):
            rng = np.random.default_rng([place, seed])
            status = dict(ends).get((arm, seed), "done")
            names = ("train/loss", "val/accuracy", *metrics)
            curves = {name: (steps, 1 + place + rng.random(len(steps))) for name in names}
            summary = {"test/accuracy": 0.5 + 0.01 * place + 0.001 * seed} if status == "done" else {}
            record = {"sweep": "made_up", "arm": arm, "seed": seed, "summary": summary, "status": status}
            runs.append(Run("made_up", arm, seed, status, record | {"config": settings, "steps_per_epoch": 5}, curves))
    return Sweep("made_up", "Does it\n  work?", tuple(arms), tuple(range(seeds)), tuple(runs))


def four() -> dict[str, dict]:
    return {name: config(target) for name, target in TARGETS.items()} | {"lambda_0.5": config(OURS, quantum_weight=0.5)}


def deep(key: str = "depth", values: tuple = (1, 2, 4)) -> dict[str, dict]:
    """An arm for each value, of the optimizer's circuit and of attention's, beside two that read none."""
    arms = {name: config(TARGETS[name]) for name in ("adamw", "placebo")}
    arms |= {f"circuit_{value}": config(OURS, {key: value}) for value in values}
    for value in values:
        arms[f"attention_{value}"] = config("torch.optim.AdamW", {key: value})
        attention = {"_target_": "superpositional.attention.QuantumAttention", "ansatz": {key: value}}
        arms[f"attention_{value}"]["net"] = {"attention": attention}
    return arms


def section(board: dashboard.Dashboard, name: str) -> tuple[dashboard.Panel, ...]:
    return next(each.panels for each in board.sections if each.name == name)


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[Report, Path]:
    folder = tmp_path_factory.mktemp("reported")
    write_sweep(folder, {"adam": [0.9, 0.91], "placebo": [0.9, 0.92], "lambda_0.5": [0.8, 0.85]})
    return write_report(folder), folder / "report"


# The spec ----------------------------------------------------------------------------------------------------------


def test_the_arms_are_named_by_what_trains_them_torchs_sgd_and_the_placebo_too():
    arms = {arm.name: (arm.label, arm.method) for arm in dashboard.of(made_up(four())).arms}
    assert arms == {
        "adamw": ("AdamW", "torch's AdamW"),
        "sgd": ("sgd", "torch's SGD"),
        "placebo": ("placebo", "AdamW but for one bit"),
        "lambda_0.5": ("λ = 0.5", "superpositional AdamW"),
    }
    assert dashboard.of(made_up(deep())).arms[-1].method == "torch's AdamW, QuantumAttention"
    assert dashboard.of(made_up({"mine": config("my.own.Lion")})).arms[0].method == "Lion"
    assert dashboard.of(made_up({"adamw": {}})).arms[0].method == ""


@pytest.mark.parametrize("sweep", ["paper_classification", "paper_gsm8k", "depth"])
def test_every_panel_shows_a_metric_that_some_run_has(sweep):
    made = made_up(deep(), metrics=("circuit/optimizer/entanglement", "gradient/norm"))
    found = made if sweep == "depth" else records.load_sweep(PUBLISHED / sweep)
    curves = {name for run in found.runs for name in run.curves}
    summaries = {name for run in found.runs for name in run.record["summary"]}
    panels = dashboard.of(found).panels
    assert len(panels) >= 3
    for panel in panels:
        assert panel.metric in (curves if panel.kind == "line" else summaries), panel
    assert len({(panel.kind, panel.metric, panel.against) for panel in panels}) == len(panels)


def test_a_metric_that_nobody_logged_has_no_panel_and_a_section_without_panels_is_none():
    board = dashboard.of(made_up(four()))
    assert [each.name for each in board.sections] == [LEARNING]
    assert [(panel.kind, panel.metric) for panel in section(board, LEARNING)] == [
        ("line", "train/loss"), ("line", "val/accuracy"), ("bar", "test/accuracy"),
    ]  # fmt: skip
    metrics = ("gradient/norm", "perturbation/ratio", "perturbation/norm/group1", "circuit/optimizer/entanglement")
    more = dashboard.of(made_up(four(), metrics=(*metrics, "throughput/steps_per_second", "mine/own_scalar")))
    assert {each.name: [panel.title for panel in each.panels] for each in more.sections if each.name != LEARNING} == {
        "Optimization": ["norm of the gradient, before clipping"],
        "The quantum term": ["size of the term over that of AdamW's step", "norm of the term, group1"],
        "Circuits": ["entanglement, optimizer"],
        "Speed and memory": ["steps per second"],
        "Other scalars": ["own scalar"],
    }


def test_a_scalar_that_is_logged_once_is_no_line():
    sweep = made_up(four(), steps=np.array([60]))
    assert [panel.kind for panel in dashboard.of(sweep).panels] == ["bar"]


@pytest.mark.parametrize(("key", "name"), [("depth", "depth"), ("n_qubits", "qubits")])
def test_a_swept_setting_has_series_of_arms_that_differ_in_nothing_else_and_panels_along_it(key, name):
    board = dashboard.of(made_up(deep(key)))
    (setting,) = board.settings
    assert (setting.key, setting.name, setting.values) == (f"circuit.{key}", name, (1, 2, 4))
    # AdamW and the placebo have the setting in their config too, and read nothing of it.
    assert {series.name: dict(series.arms) for series in setting.series} == {
        kind: {value: f"{kind}_{value}" for value in (1, 2, 4)} for kind in ("circuit", "attention")
    }
    assert [(panel.kind, panel.metric, panel.against) for panel in section(board, f"By {name}")] == [
        ("scatter", "test/accuracy", f"circuit.{key}")
    ]


def test_along_a_setting_stand_the_circuits_own_facts_and_of_its_counts_none_stands_by_arm():
    sweep = made_up(deep())
    for run in sweep.runs:
        if run.arm.startswith("circuit"):
            facts = {"circuit/expressibility": 0.5, "circuit/gates": 9, "circuit/two_qubit_gates": 6}
            run.record["summary"].update(facts | {"circuit/optimizer/certificate": 1e-7})
    board = dashboard.of(sweep)
    along = [panel.metric for panel in section(board, "By depth")]
    assert along == ["test/accuracy", "circuit/expressibility", "circuit/two_qubit_gates"]
    by_arm = [(panel.kind, panel.metric) for panel in section(board, "Circuits")]
    assert by_arm == [("bar", "circuit/expressibility"), ("bar", "circuit/optimizer/certificate")]


def test_arms_that_differ_in_more_than_a_setting_are_no_series_of_it():
    arms = deep()
    arms["circuit_4"]["optimizer"]["lr"] = 0.2
    arms["attention_4"]["data"] = {"length": 3}
    (setting,) = dashboard.of(made_up(arms)).settings
    assert [list(series.arms) for series in setting.series] == [[1, 2], [1, 2]]
    assert dashboard.of(made_up(four())).settings == ()


def test_series_of_one_name_are_told_apart():
    arms = {f"all_{weight}": config(OURS, quantum_weight=weight) for weight in (1, 10)}
    arms |= {f"all_wide_{weight}": config(OURS, {"n_qubits": 8}, quantum_weight=weight) for weight in (1, 10)}
    arms |= {f"x,circuit.depth={depth}": config(OURS, {"depth": depth}, lr=0.5) for depth in (1, 2)}
    settings = dashboard.of(made_up(arms)).settings
    assert {setting.key: [series.name for series in setting.series] for setting in settings} == {
        "circuit.depth": ["x"],
        "circuit.n_qubits": ["all (all 1)", "all (all 10)"],
        "optimizer.quantum_weight": ["all", "all wide"],
    }


@pytest.mark.parametrize(
    ("values", "log"), [([1, 30], False), ([1, 31], True), ([0, 31], False), ([-1, 31], False), ([math.nan, 1], False)]
)
def test_an_axis_is_log_where_values_are_positive_and_span_more_than_thirty(values, log):
    sweep = made_up(four(), seeds=1)
    sweep.runs[0].curves["gradient/norm"] = (np.arange(2), np.array(values, dtype=float))
    (panel,) = section(dashboard.of(sweep), "Optimization")
    assert panel.log is log


def test_the_verdicts_and_differences_are_the_reports_own_and_the_mirrors_place_is_the_runs(reported):
    report, _ = reported
    for name, text in ((VERDICTS, report.claims), (DIFFERENCES, report.table)):
        (table,) = section(report.board, name)
        assert len(table.rows) >= 3
        assert format.markdown(list(table.rows)) in text
    assert report.board.lead == report.lead
    assert (report.board.project, report.board.entity) == ("superpositional", None)
    arms = four()
    arms["sgd"]["logger"] = {"project": "of-the-team", "entity": "team"}
    board = dashboard.of(made_up(arms))
    assert (board.project, board.entity) == ("of-the-team", "team")


# Its numbers -------------------------------------------------------------------------------------------------------


def lines_of(sweep: Sweep) -> tuple[dict, dict]:
    found = dashboard_data.data(sweep, dashboard.of(sweep))
    return found, {line["arm"]: line for line in found["panels"][0]["lines"]}


def test_a_line_is_the_mean_over_seeds_with_students_interval():
    sweep = made_up(four())
    found, lines = lines_of(sweep)
    for place, arm in enumerate(sweep.arms):
        values = np.array([run.curves["train/loss"][1] for run in sweep.runs if run.arm == arm])
        expected = [student_interval(values[:, step]) for step in range(len(STEPS))]
        assert found["grids"][lines[place]["at"]] == STEPS.tolist()
        for name in ("mean", "low", "high"):
            # Six digits are kept.
            assert lines[place][name] == pytest.approx([getattr(each, name) for each in expected], rel=1e-5)


def test_a_paired_difference_is_that_of_the_report_and_a_baseline_has_none():
    ends = {("sgd", 0): "diverged", ("adamw", 4): "failed"}
    sweep = made_up(four(), ends=ends)
    found, lines = lines_of(sweep)
    points = {point["arm"]: point for panel in found["panels"] if panel["kind"] == "bar" for point in panel["points"]}
    assert "paired" not in lines[0]
    assert "paired" not in points[0]
    for place, arm in enumerate(sweep.arms[1:], start=1):
        expected = compare(sweep, arm, TEST_ACCURACY).estimate
        assert points[place]["paired"]["to"] == 0
        assert points[place]["paired"]["n"] == expected.n == (4 if arm == "sgd" else 5)
        for name in ("mean", "low", "high"):
            assert points[place]["paired"][name] == pytest.approx(getattr(expected, name), rel=1e-5)
    own = {(run.arm, run.seed): run.curves["train/loss"][1] for run in sweep.runs}
    differences = [own["sgd", seed] - own["adamw", seed] for seed in (1, 2, 3, 5)]
    assert lines[1]["paired"]["mean"] == pytest.approx(np.mean(differences, axis=0), rel=1e-5)


def test_a_run_that_did_not_end_well_is_in_no_mean_and_among_the_seeds_by_its_end():
    ends = {("sgd", 0): "diverged", ("sgd", 3): "failed", **{("placebo", seed): "interrupted" for seed in range(6)}}
    sweep = made_up(four(), ends=ends)
    sweep.runs[6].curves["train/loss"][1][4] = math.inf
    found, lines = lines_of(sweep)
    assert [(arm["n"], arm["planned"], arm["ends"]) for arm in found["arms"]] == [
        (6, 6, ""), (4, 6, "1 diverged, 1 failed"), (0, 6, "6 interrupted"), (6, 6, ""),
    ]  # fmt: skip
    assert lines[1]["n"] == 4
    assert [(seed, end) for seed, end, _, _ in lines[1]["seeds"] if end] == [(0, "diverged"), (3, "failed")]
    # What is not finite is a gap, and no other point is.
    assert [value is None for value in lines[1]["seeds"][0][3]] == [step == 4 for step in range(10)]
    assert (lines[2]["n"], "mean" in lines[2], len(lines[2]["seeds"])) == (0, False, 6)
    bars = next(panel for panel in found["panels"] if panel["kind"] == "bar")
    assert [(point["arm"], point["n"]) for point in bars["points"]] == [(0, 6), (1, 4), (3, 6)]


def test_a_mean_is_over_steps_that_every_run_has_and_of_a_step_logged_twice_the_last_counts():
    sweep = made_up(four(), seeds=2)
    sweep.runs[0].curves["train/loss"] = (np.array([1, 2, 2, 5]), np.array([1.0, 9.0, 3.0, 7.0]))
    sweep.runs[1].curves["train/loss"] = (np.array([2, 5, 9]), np.array([5.0, 8.0, 9.0]))
    found, lines = lines_of(sweep)
    assert found["grids"][lines[0]["at"]] == [2, 5]
    assert lines[0]["mean"] == [4, 7.5]


def test_a_setting_has_its_values_in_order_and_other_arms_have_no_place_along_it():
    sweep = made_up(deep(values=(4, 1, 16)))
    found = dashboard_data.data(sweep, dashboard.of(sweep))
    (group,) = found["groups"]
    assert (group["values"], group["series"]) == (["1", "4", "16"], ["circuit", "attention"])
    expected = [None, None, (1, 0), (0, 0), (2, 0), (1, 1), (0, 1), (2, 1)]
    assert group["arms"] == expected
    (scatter,) = [panel for panel in found["panels"] if panel["kind"] == "scatter"]
    assert [point["place"] for point in scatter["points"]] == expected


def test_thirty_seeds_of_five_arms_stay_below_three_megabytes_and_what_was_thinned_is_said():
    metrics = tuple(f"own/scalar_{index}" for index in range(16))
    arms = four() | {"lambda_1": config(OURS, quantum_weight=1.0)}
    sweep = made_up(arms, seeds=30, steps=np.arange(1, 601), metrics=metrics)
    board = dashboard.of(sweep)
    found = dashboard_data.data(sweep, board)
    assert found["thinned"] == (
        "Thinned: means are drawn at 200 of up to 600 logged steps; single seeds at 59 of them; the first and the last "
        "are always among them."
    )
    drawn = {len(grid) for grid in found["grids"]}
    assert drawn == {200, 59}
    assert all((grid[0], grid[-1]) == (1, 600) for grid in found["grids"])
    assert len(dashboard_page.render(sweep, board)) < 3e6


def test_of_too_many_runs_single_seeds_are_left_out_and_it_is_said(monkeypatch):
    monkeypatch.setattr(dashboard_data, "BUDGET", 100)
    found, lines = lines_of(made_up(four()))
    assert all("seeds" not in line for line in lines.values())
    assert "single seeds' curves are left out" in found["thinned"]
    monkeypatch.undo()
    assert lines_of(made_up(four()))[0]["thinned"] == ""


# The page ----------------------------------------------------------------------------------------------------------


def test_the_page_holds_its_data_and_no_name_of_an_arm_ends_them():
    sweep = made_up({"adamw": config("torch.optim.AdamW"), EVIL: config(OURS)})
    text = dashboard_page.render(sweep, dashboard.of(sweep))
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert "//" not in text
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert [arm["label"] for arm in data["arms"]] == ["AdamW", EVIL.replace("_", " ")]


def test_the_report_writes_the_page_beside_its_own_with_a_way_there_and_back(reported):
    report, folder = reported
    assert folder / "dashboard.html" in report.files
    assert 'href="dashboard.html"' in (folder / "index.html").read_text()
    assert 'href="index.html"' in (folder / "dashboard.html").read_text()
