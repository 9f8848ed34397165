"""The dashboard's spec holds what the records have and no more, and the interactive figures hold those numbers."""

import html
import json
import math
from pathlib import Path

import numpy as np
import pytest
from plotly import graph_objects
from test_analysis import write_sweep

from superpositional import records
from superpositional.evidence.inference import student_interval
from superpositional.records import Run, Sweep
from superpositional.report import dashboard, interactive
from superpositional.report.dashboard import DIFFERENCES, LEARNING, VERDICTS
from superpositional.report.write import Report, write_report

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published"
STEPS = np.arange(1, 11)
EVIL = '<img src=x onerror=alert(1)> & "x"'
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
    assert (setting.key, setting.name) == (f"circuit.{key}", name)
    # AdamW and the placebo have the setting in their config too, and read nothing of it.
    assert {series.name: dict(series.arms) for series in setting.series} == {
        kind: {value: f"{kind}_{value}" for value in (1, 2, 4)} for kind in ("circuit", "attention")
    }
    assert [(panel.kind, panel.metric, panel.against) for panel in section(board, f"By {name}")] == [
        ("scatter", "test/accuracy", f"circuit.{key}")
    ]


def test_along_a_setting_stand_the_circuits_own_facts():
    sweep = made_up(deep())
    for run in sweep.runs:
        if run.arm.startswith("circuit"):
            facts = {"circuit/expressibility": 0.5, "circuit/gates": 9, "circuit/two_qubit_gates": 6}
            run.record["summary"].update(facts | {"circuit/optimizer/certificate": 1e-7})
    board = dashboard.of(sweep)
    along = [panel.metric for panel in section(board, "By depth")]
    facts = ["circuit/expressibility", "circuit/gates", "circuit/optimizer/certificate", "circuit/two_qubit_gates"]
    assert (along[0], sorted(along[1:])) == ("test/accuracy", facts)
    assert [(panel.kind, panel.metric) for panel in section(board, "Circuits")] == [("bar", fact) for fact in facts]


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
    for name, kind in ((VERDICTS, "claims"), (DIFFERENCES, "results")):
        (table,) = section(report.board, name)
        assert len(table.rows) >= 3
        assert list(table.rows) == report.tables[kind].rows
    assert report.board.lead == report.lead
    assert (report.board.project, report.board.entity) == ("superpositional", None)
    arms = four()
    arms["sgd"]["logger"] = {"project": "of-the-team", "entity": "team"}
    board = dashboard.of(made_up(arms))
    assert (board.project, board.entity) == ("of-the-team", "team")


# Interactive figures -----------------------------------------------------------------------------------------------


def drawn(sweep: Sweep, metric: str = "train/loss") -> tuple[dict, list[dict]]:
    """A figure and its visible traces, without bands."""
    _, spec = interactive.figures(sweep, dashboard.of(sweep), "train/loss")[metric]
    return spec, [trace for trace in spec["data"] if trace.get("visible", True) and trace["mode"] != "none"]


def test_a_line_is_the_mean_over_seeds_with_students_interval_and_plotly_takes_it():
    sweep = made_up(four())
    spec, shown = drawn(sweep)
    assert [trace["name"] for trace in shown] == ["AdamW", "sgd", "placebo", "λ = 0.5"]
    for trace, arm in zip(shown, sweep.arms, strict=True):
        values = np.array([run.curves["train/loss"][1] for run in sweep.runs if run.arm == arm])
        expected = [student_interval(values[:, step]) for step in range(len(STEPS))]
        assert trace["x"] == STEPS.tolist()
        assert trace["y"] == pytest.approx([each.mean for each in expected], rel=1e-5)  # six digits are kept
        assert np.array(trace["customdata"]) == pytest.approx(np.array([(e.low, e.high) for e in expected]), rel=1e-5)
    assert spec["layout"]["xaxis"]["title"]["text"] == "step"
    assert len(graph_objects.Figure(spec).data) == len(spec["data"])


def test_a_validated_scalar_goes_by_epoch():
    _, shown = drawn(made_up(four()), "val/accuracy")
    assert shown[0]["x"] == [step / 5 for step in STEPS]


def test_a_run_that_did_not_end_well_is_in_no_mean():
    ends = {("sgd", 0): "diverged", **{("placebo", seed): "interrupted" for seed in range(6)}}
    sweep = made_up(four(), ends=ends)
    _, shown = drawn(sweep)
    assert [trace["name"] for trace in shown] == ["AdamW", "sgd", "λ = 0.5"]
    assert shown[1]["hovertemplate"].endswith("n = 5 of 6")


def test_a_mean_is_over_steps_that_every_run_has_and_of_a_step_logged_twice_the_last_counts():
    sweep = made_up(four(), seeds=2)
    sweep.runs[0].curves["train/loss"] = (np.array([1, 2, 2, 5]), np.array([1.0, 9.0, 3.0, 7.0]))
    sweep.runs[1].curves["train/loss"] = (np.array([2, 5, 9]), np.array([5.0, 8.0, 9.0]))
    trace = drawn(sweep)[1][0]
    assert (trace["x"], trace["y"]) == ([2, 5], [4, 7.5])


def test_final_values_stand_against_the_swept_setting_beside_the_baselines_mean():
    sweep = made_up(deep(values=(4, 1, 16)))
    _, shown = drawn(sweep, "circuit.depth")
    traces = {trace["name"]: trace for trace in shown}
    assert list(traces) == ["circuit", "attention", "AdamW"]
    assert traces["circuit"]["x"] == [1, 4, 16]
    for value, mean, high in zip((1, 4, 16), traces["circuit"]["y"], traces["circuit"]["error_y"]["array"], strict=True):
        expected = student_interval(
            [100 * run.summary("test/accuracy") for run in sweep.runs if run.arm == f"circuit_{value}"]
        )
        assert (mean, mean + high) == pytest.approx((expected.mean, expected.high), rel=1e-5)
    assert traces["AdamW"]["y"] == [50.25, 50.25]


def test_long_curves_keep_their_ends_and_a_page_stays_small():
    metrics = tuple(f"own/scalar_{index}" for index in range(16))
    sweep = made_up(four(), seeds=30, steps=np.arange(1, 601), metrics=metrics)
    figures = interactive.figures(sweep, dashboard.of(sweep), "train/loss")
    x = drawn(sweep)[1][0]["x"]
    assert (x[0], x[-1], len(x) <= interactive.MOST) == (1, 600, True)
    assert len(json.dumps(figures)) < 4e6


def test_a_name_is_words_and_never_a_mark():
    _, shown = drawn(made_up({"adamw": config("torch.optim.AdamW"), EVIL: config(OURS)}))
    assert shown[1]["name"] == html.escape(EVIL.replace("_", " "))
