"""A report of fine-tuning runs says what their losses, their term and their answers are, and no more than that.

The sweeps are made up on disk, of records as such runs leave them: a loss at every step in single precision, counts of
scalars, and answers where they were generated.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_report import told

from superpositional import format, records
from superpositional.evidence import analysis, curves
from superpositional.records import measures
from superpositional.records.published import publish
from superpositional.report import figures, style
from superpositional.report.write import ReportError, write_report

STEPS = 60
SEEDS = 3
# Scalars the term touches in one step of each arm, None where there is no term.
TOUCHED = {"adamw": None, "lambda_0.5": 4, "lambda_0.5_tensor": 584, "lambda_0.5_all": 54_000, "placebo": None}
CHANGED = {"lambda_0.5": 0.0, "lambda_0.5_tensor": 0.01, "lambda_0.5_all": 0.6}
# From which step, how far and how fast each arm leaves AdamW.
LEAVES = {"lambda_0.5_tensor": (7, 1e-7), "lambda_0.5_all": (2, 1e-4), "placebo": (2, 3e-8)}
CONFIG = {"data": {"_target_": "G"}, "task": {"_target_": "T"}, "threads": 1}
MODEL = {"name": "tiny", "source": "made up", "revision": "r1", "hash": "abc", "parameters": 54_000}
DATA = {"source": "gsm8k jsonl", "revision": "r2", "hash": "def", "rows": 60, "supervised_share": 0.4, "truncated": 0}


def loss(arm: str, seed: int) -> np.ndarray:
    """Of each step in single precision: the baseline's, and from its step on what an arm adds, growing as chaos does."""
    dice = np.random.default_rng(seed)
    steps = np.arange(1, STEPS + 1)
    base = 0.2 + 1.2 * np.exp(-steps / 15) + 0.05 * dice.normal(size=STEPS)
    begins, size = LEAVES.get(arm, (STEPS, 0.0))
    begins += seed
    away = np.random.default_rng([seed, *arm.encode()]).normal(size=STEPS) * size * np.exp((steps - begins) / 6)
    return np.float32(base + np.where(steps >= begins, np.clip(away, -0.02, 0.02), 0.0)).astype(float)


def write_sweep(
    folder: Path,
    arms: tuple[str, ...] = tuple(TOUCHED),
    *,
    seeds: int = SEEDS,
    losses=loss,
    claims: dict | None = None,
    statuses: dict | None = None,
    asked: int | None = None,
    of: int = 1319,
    right=None,
    changes: dict | None = None,
) -> Path:
    """A sweep of GSM8K; with ``asked`` each run answered so many questions, those of ``right(arm, seed)`` rightly."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"sweep": "gsm8k", "question": "Does eq. (2) lower the loss?", "arms": arms, "seeds": list(range(seeds))}
    records.write_json(folder / "sweep.json", plan | ({"claims": claims} if claims is not None else {"claims": {}}))
    for arm in arms:
        for seed in range(seeds):
            run = folder / arm / f"seed-{seed}"
            run.mkdir(parents=True)
            status = (statuses or {}).get((arm, seed), "done")
            values = losses(arm, seed)
            steps = range(1, len(values) + 1)
            records.append_curves(run / "curves.csv", [(s, "train/loss", v) for s, v in zip(steps, values, strict=True)])
            record = {
                **{"sweep": "gsm8k", "arm": arm, "seed": seed, "status": status, "steps": len(values)},
                **{"steps_per_epoch": len(values), "code": "c0de", "execution": "eager", "data": DATA, "model": MODEL},
                **{"config": CONFIG | {"trainer": {"precision": "32-true"}}, "wall_seconds": 30.0, "device": "cpu"},
                "versions": {"torch": "2.13.0"},
            }
            summary = {
                "train/loss/last_epoch": float(np.mean(values)),
                "val/loss/last": float(np.float32(values[-9:].mean())),
            }
            summary |= {"throughput/tokens_per_second": 1000.0 + seed}
            if touched := TOUCHED.get(arm):
                changed = round(CHANGED.get(arm, 0.0) * touched * STEPS)
                summary |= {"perturbation/steps": STEPS, "perturbation/steps_with_gradient": STEPS}
                summary |= {"perturbation/steps_with_change": STEPS if changed else 0}
                summary |= {"perturbation/scalars_touched": touched * STEPS, "perturbation/scalars_changed": changed}
                summary |= {"perturbation/share": 1e-6, "perturbation/angle": 2.5e-4, "perturbation/ratio": 1e-6}
                ratio = [(s, "perturbation/ratio", 1e-6 * (1 + s / 60)) for s in steps if s % 5 == 0]
                records.append_curves(run / "curves.csv", ratio)
            if arm == "placebo":
                summary |= {"tracer/share": 0.5, "tracer/changed": 0.05}
                # In the first step of the warm-up AdamW does not move, so whatever else does is the whole of it.
                traced = [(1, "tracer/share", 1.0), (21, "tracer/share", 3e-9), (21, "tracer/angle", 1e-7)]
                records.append_curves(run / "curves.csv", traced)
            if asked:
                answers = [_answer(q, q in set(right(arm, seed))) for q in range(asked)]
                text = "".join(json.dumps(each) + "\n" for each in answers)
                (run / "generations.jsonl").write_text(text, encoding="utf-8")
                share = sum(each["correct"] for each in answers) / asked
                summary |= {"test/exact_match": share, "test/exact_match_flexible": share}
                record["evaluation"] = {"questions": asked, "of": of, "max_new_tokens": 256, "smoke": asked < of}
            record |= (changes or {}).get((arm, seed), {})
            records.write_record(run, record | {"summary": summary if status == "done" else {}})
    return folder


def _answer(question: int, right: bool) -> dict:
    number = str(question)
    given = number if right else None
    words = {"question": question, "reference": number, "completion": "so", "strict": given, "flexible": given}
    return words | {"correct": right, "correct_flexible": right, "finished": True}


CLAIM = {"says": "less", "metric": "train/loss/last_epoch", "compare": "ratio", "better": "lower", "margin": 1.0}
FIGURES = ("paired_differences", "fig2", "departures")
FILES = {
    *(f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")),
    *(f"tables/{name}.{suffix}" for name in ("results", "term") for suffix in ("md", "csv", "tex")),
    "tables/beside.md",
    "tables/beside.tex",
    "index.html",
    "plotly.min.js",
    "claims.json",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = write_sweep(tmp_path_factory.mktemp("sweep"))
    return folder, write_report(folder)


def rows(markdown: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


# The whole ----------------------------------------------------------------------------------------------------------


def test_a_report_of_losses_writes_exactly_its_files_and_the_same_bytes_again(built, tmp_path):
    folder, report = built
    assert set(contents(folder / "report")) == FILES
    assert {path.relative_to(folder / "report").as_posix() for path in report.files} == FILES
    write_report(folder, tmp_path)
    assert contents(tmp_path) == contents(folder / "report")


def test_an_arm_whose_term_changed_nothing_is_called_the_baseline_wherever_a_reader_looks(built):
    folder, report = built
    said = (
        "λ = 0.5 changed 0 of 720 float32 values in 3 runs of 60 steps: its losses are AdamW's bit for bit, so this arm is "
        "AdamW."
    )
    assert said in report.lead
    assert said in report.text
    assert said in (folder / "report/tables/results.md").read_text()
    # An apostrophe is escaped on the page.
    assert said.replace("'", "&#x27;") in (folder / "report/index.html").read_text()


def test_what_the_term_did_stands_in_every_text(built):
    folder, report = built
    told = rows(report.tables["term"].markdown)
    assert told["λ = 0.5"] == [
        *("3", "32-true", "0.0001", "0.00025", "0 of 720", "180 of 180", "0 of 180"),
        "equal bit for bit in 3 of 3 seeds, over all 60 steps",
    ]
    # 0.01 of 584 scalars at 60 steps is 350 to a run.
    assert told["λ = 0.5 tensor"][4:7] == ["1,050 of 105,120", "180 of 180", "180 of 180"]
    assert told["placebo"][2:5] == ["3e-07", "–", "0.05 in a traced step"]
    assert told["AdamW"][-1] == "baseline"
    for text in (report.text, report.markdown, (folder / "report/tables/results.md").read_text()):
        assert report.tables["term"].markdown.strip() in text
    assert "0 of 720" in (folder / "report/index.html").read_text()


def test_losses_have_their_ratio_and_digits_enough(built):
    told = rows(built[1].tables["results"].markdown)
    head = ["n", "mean training loss", "difference", "change (%)", "validation loss", "difference", "change (%)"]
    assert told["arm"] == head
    assert told["λ = 0.5"][2:4] == ["0 in every pair", "0"]
    # Not 0, so it does not look like it.
    assert re.fullmatch(r"[+−]\d(\.\d+)?e−6 \[−\S+e−5, \+\S+e−5\]", told["λ = 0.5 tensor"][2])
    assert not re.search(r"(?<!\d)[+−]0\.00+(?!\d)", built[1].text)


def test_a_ratio_is_the_one_that_table_one_prints(tmp_path):
    # 0.2188 and 0.2098 of Pamuk et al. 2025, Table I, as every step's loss of every seed.
    table = {"adamw": 0.2188, "lambda_0.5": 0.2098}
    folder = write_sweep(tmp_path, tuple(table), losses=lambda arm, seed: np.full(9, table[arm] * (1 + 0.001 * seed)))
    assert rows(told(folder).tables["results"].markdown)["λ = 0.5"][3] == "−4.11 [−4.11, −4.11]"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([-1e-6, -2e-6, -3e-6], "−2.0e−6 [−4.5e−6, +5e−7]"),
        ([1e-9, -2e-9], "−5e−10 [−2.0e−8, +1.9e−8]"),
        ([2e-5, 2e-5, 2e-5], "+2.0e−5 [+2.0e−5, +2.0e−5]"),
        ([3e-7], "+3.0e−7 (no interval)"),
        ([0.004, 0.004], "+0.0040 [+0.0040, +0.0040]"),
        # Far within its interval a mean keeps its first digit.
        ([-0.5029, 0.4971], "−0.003 [−6.36, +6.35]"),
        ([0.0, 0.0], "0.00 [0.00, 0.00]"),
        ([-0.25, 0.25], "0.00 [−3.18, +3.18]"),
    ],
)
def test_no_number_but_zero_is_written_as_zero(values, said):
    assert format.bounds(analysis.student_interval(values)) == said


# The curves ---------------------------------------------------------------------------------------------------------


def test_figure_two_has_a_panel_for_each_arm_on_one_axis_with_the_baseline_dashed(built):
    sweep = records.load_sweep(built[0])
    with style.style():
        table = curves.learning_curves(sweep, measures.LOSS_BY_STEP)
        figure = style.page(5, figures.seed_bands, table, measures.LOSS_BY_STEP)
    axes = figure.axes
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert [ax.get_ylabel() for ax in axes] == ["training loss", "", "", "training loss", ""]
    assert {ax.get_xlabel() for ax in axes} == {"step"}
    # A line per seed and their mean, and from the second panel on the first one's mean.
    assert [len(ax.lines) for ax in axes] == [4, 5, 5, 5, 5]
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["AdamW, mean"]
    assert axes[1].lines[-1].get_ydata().tolist() == table[0].mean.tolist()
    assert {ax.get_yscale() for ax in axes} == {"linear"}
    assert figure.get_figwidth() == style.PAGE_INCHES


def test_a_loss_that_falls_by_more_than_thirty_has_a_log_axis(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "placebo"), losses=lambda arm, seed: 10.0 * 0.9 ** np.arange(60.0))
    sweep = records.load_sweep(folder)
    table = curves.learning_curves(sweep, measures.LOSS_BY_STEP)
    axes = style.page(2, figures.seed_bands, table, measures.LOSS_BY_STEP).axes
    assert [ax.get_yscale() for ax in axes] == ["log", "log"]


def test_a_running_mean_is_of_its_window_and_of_what_there_is_at_the_ends(tmp_path):
    values = np.arange(60.0) ** 2
    sweep = records.load_sweep(write_sweep(tmp_path, ("adamw",), seeds=1, losses=lambda arm, seed: values))
    (curve,) = curves.learning_curves(sweep, measures.LOSS_BY_STEP)
    # A twentieth of 60 points.
    assert curve.window == 3
    expected = [values[max(0, i - 1) : i + 2].mean() for i in range(60)]
    assert curve.mean.tolist() == pytest.approx(expected, rel=1e-12)  # cumulative sums of 60 doubles
    assert "Running means over 3 points." in (write_report(tmp_path).files[0].parents[1] / "index.html").read_text()


def test_long_curves_are_drawn_by_few_points_and_judged_by_all(tmp_path):
    def late(arm, seed):
        values = np.linspace(2.0, 1.0, 5_000)
        values[4_321] += arm == "placebo"
        return values

    sweep = records.load_sweep(write_sweep(tmp_path, ("adamw", "placebo"), seeds=2, losses=late))
    assert all(len(curve.at) <= curves.DRAWN_POINTS for curve in curves.learning_curves(sweep, measures.LOSS_BY_STEP))
    (apart,) = curves.departures(sweep)
    assert apart.words == "first differ at step 4,322 in 2 seeds"
    for steps, sizes in apart.courses:
        assert len(steps) <= curves.DRAWN_POINTS
        # What a block hides is never its largest difference.
        assert np.nanmax(sizes) == 1.0


def test_departures_say_when_and_in_how_many_seeds(tmp_path):
    def parted(arm, seed):
        values = np.linspace(2.0, 1.0, 10)
        if arm == "placebo" and seed:
            values[2 * seed :] += 1e-7
        return values

    sweep = records.load_sweep(write_sweep(tmp_path, ("adamw", "placebo"), losses=parted))
    (apart,) = curves.departures(sweep)
    assert apart.first == {1: 3, 2: 5}
    assert (
        apart.words
        == "first differ at step 4 (median of 2 seeds; 3–5); equal bit for bit in 1 of 3 seeds, over all 10 steps"
    )


def test_a_panel_without_a_departure_says_so_in_words(built):
    sweep = records.load_sweep(built[0])
    axes = style.page(4, figures.departures, curves.departures(sweep), sweep.arms).axes
    words = [[text.get_text() for text in ax.texts] for ax in axes]
    assert words == [["equal bit for bit\nin 3 of 3 seeds,\nover all 60 steps"], [], [], []]
    assert len({ax.get_ylim() for ax in axes}) == 1


def test_a_value_that_is_no_number_differs_from_one_that_is():
    steps = np.arange(3)
    runs = [
        records.Run("s", arm, 0, "done", {"summary": {}, "steps": 3}, {"train/loss": (steps, np.array(values))})
        for arm, values in (("adamw", [1.0, np.nan, np.nan]), ("x", [1.0, np.nan, 2.0]))
    ]
    (apart,) = curves.departures(records.Sweep("s", "", ("adamw", "x"), (0,), tuple(runs)))
    assert apart.first == {0: 2}


# What may be said ---------------------------------------------------------------------------------------------------


def test_equal_losses_of_a_term_that_changed_weights_are_told_without_calling_the_arm_the_baseline(tmp_path):
    arms = ("adamw", "lambda_0.5_tensor")
    folder = write_sweep(tmp_path, arms, losses=lambda arm, seed: loss("adamw", seed))
    assert "float32 values in 3 runs of 60 steps: its losses are AdamW's bit for bit. " in told(folder).lead


def test_weights_that_differ_after_the_last_step_show_in_the_other_losses(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "lambda_0.5_tensor"), losses=lambda arm, seed: loss("adamw", seed))
    path = folder / "lambda_0.5_tensor/seed-1/record.json"
    record = json.loads(path.read_text())
    records.write_json(path, record | {"summary": record["summary"] | {"val/loss/last": 0.1}})
    report = told(folder)
    assert "its training losses are AdamW's bit for bit, but val/loss/last differs." in report.lead
    assert "over all 60 steps; val/loss/last differs" in report.tables["term"].markdown


def test_losses_that_part_where_the_term_changed_nothing_are_laid_to_something_else(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "lambda_0.5"), losses=lambda arm, seed: loss("adamw", seed) + len(arm) * 1e-3)
    assert "first differ at step 1 in 3 seeds, which something other than the term brought about." in told(folder).lead


@pytest.mark.parametrize("status", ["diverged", "interrupted"])
def test_an_arm_with_a_run_that_is_not_done_is_never_called_the_baseline(tmp_path, status):
    report = told(write_sweep(tmp_path, ("adamw", "lambda_0.5"), statuses={("lambda_0.5", 1): status}))
    assert "so this arm is" not in report.lead
    assert "are equal bit for bit in 2 of 3 seeds, over all 60 steps." in report.lead


def test_a_published_sweep_claims_nothing_of_steps_that_its_thinned_curves_have_lost(tmp_path):
    folder = write_sweep(tmp_path / "raw", ("adamw", "lambda_0.5"), losses=lambda arm, seed: np.linspace(2.0, 1.0, 100))
    publish(records.load_sweep(folder), tmp_path / "published")
    report = write_report(tmp_path / "published")
    assert "bit for bit" not in report.text
    assert "equal at the steps kept here in 3 of 3 seeds, over 40 recorded of 100 steps" in report.tables["term"].markdown
    assert "changed 0 of 720 float32 values" in report.lead


def test_a_term_that_met_no_gradient_is_said_to_have_met_none(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "lambda_0.5"))
    for path in folder.glob("lambda_0.5/*/record.json"):
        record = json.loads(path.read_text())
        records.write_json(path, record | {"summary": record["summary"] | {"perturbation/steps_with_gradient": 0}})
    said = "0 of 720 float32 values in 3 runs of 60 steps, none of which ever had a gradient: its losses are AdamW's"
    assert said in told(folder).lead


def test_a_loss_that_was_not_logged_at_every_step_is_only_seen_to_differ(tmp_path):
    changes = {(arm, seed): {"steps": 600} for arm in ("adamw", "placebo") for seed in range(SEEDS)}
    folder = write_sweep(
        *(tmp_path, ("adamw", "placebo")),
        changes=changes,
        losses=lambda arm, seed: loss("adamw", seed) + (arm == "placebo"),
    )
    (apart,) = curves.departures(records.load_sweep(folder))
    assert apart.words == "first seen to differ at step 1 in 3 seeds"
    assert not apart.complete


def test_what_the_term_did_is_there_for_machines_with_every_digit(built):
    read = {row["arm"]: row for row in csv.DictReader((built[0] / "report/tables/term.csv").read_text().splitlines())}
    assert (read["lambda_0.5"]["touched"], read["lambda_0.5"]["changed"], read["lambda_0.5"]["first"]) == ("720", "0", "")
    assert read["placebo"]["first"] == "0:6 1:5 2:7"
    assert read["adamw"]["touched"] == ""


def test_half_precision_parameters_are_called_by_their_name(tmp_path):
    config = {"config": CONFIG | {"trainer": {"precision": "bf16-true"}}}
    arms = ("adamw", "lambda_0.5")
    changes = {(arm, seed): config for arm in arms for seed in range(SEEDS)}
    report = told(write_sweep(tmp_path, arms, changes=changes))
    assert "0 of 720 bfloat16 values" in report.lead
    assert rows(report.tables["term"].markdown)["λ = 0.5"][1] == "bf16-true"


def test_precision_that_no_config_names_is_lightnings_own(tmp_path):
    arms = ("adamw", "lambda_0.5")
    changes = {(arm, seed): {"config": CONFIG | {"trainer": {}}} for arm in arms for seed in range(SEEDS)}
    assert rows(told(write_sweep(tmp_path, arms, changes=changes)).tables["term"].markdown)["AdamW"][1] == "32-true"


def test_three_pairs_make_no_superior_however_large_the_effect(tmp_path):
    arms = ("adamw", "lambda_0.5")
    shrunk = {"adamw": 1.0, "lambda_0.5": 0.9584}
    claims = {"C5": CLAIM | {"arm": "lambda_0.5", "published": -4.16, "claimed": "superior"}}
    dice = np.random.default_rng(0)
    folder = write_sweep(
        tmp_path, arms, claims=claims, losses=lambda arm, seed: shrunk[arm] * loss("adamw", seed) + 1e-4 * dice.random()
    )
    report = write_report(folder)
    (verdict,) = report.verdicts
    assert (verdict.verdict, verdict.effect.n, verdict.published_within) == ("inconclusive", 3, True)
    assert verdict.p_holm < 0.001
    assert "figures/claims.pdf" in {path.relative_to(tmp_path / "report").as_posix() for path in report.files}


def test_a_report_is_made_where_no_claim_has_a_verdict(tmp_path):
    claims = {"C": CLAIM | {"metric": "test/los", "arm": "placebo"}}
    report = told(write_sweep(tmp_path, ("adamw", "placebo"), claims=claims, seeds=1))
    assert report.verdicts[0].verdict == "no verdict"
    assert "no run has test/los; " in report.sentences[0]
    assert "?." not in report.text
    assert "Of 1 claim, no verdict: C." in report.lead


def test_that_claims_came_late_is_a_field_of_every_verdict(tmp_path):
    claims = {"C": CLAIM | {"arm": "placebo"}}
    report = write_report(write_sweep(tmp_path, ("adamw", "placebo"), claims=claims))
    assert [verdict.exploratory for verdict in report.verdicts] == ["exploratory, declared or changed after 6 of 6 runs"]
    assert "These verdicts are exploratory, declared or changed after 6 of 6 runs." in report.lead
    assert "exploratory" not in json.loads((tmp_path / "report/claims.json").read_text())["verdicts"][0]


def test_runs_of_other_data_or_another_model_cannot_be_compared(tmp_path):
    claims = {"C": CLAIM | {"arm": "placebo"}}
    other = {("placebo", 0): {"model": MODEL | {"hash": "xyz"}}, ("adamw", 1): {"data": DATA | {"hash": "uvw"}}}
    report = told(write_sweep(tmp_path, ("adamw", "placebo"), claims=claims, changes=other))
    assert "the runs differ in the model's hash (" in report.sentences[0]
    assert "the runs differ in the data's hash (" in report.sentences[0]
    # Where nothing is claimed too.
    assert (
        "Caution, the runs differ in the data's hash: def (5 of 6 runs), uvw (1 of 6 runs);"
        in report.tables["results"].caption
    )


def test_rows_known_by_their_hash_may_lie_anywhere(tmp_path):
    claims = {"C": CLAIM | {"arm": "placebo"}}
    moved = {("placebo", 0): {"config": {**CONFIG, "data": {"_target_": "G", "path": "/elsewhere"}, "trainer": {}}}}
    moved |= {
        pair: {"config": CONFIG | {"trainer": {}}}
        for pair in [("adamw", s) for s in range(SEEDS)] + [("placebo", 1), ("placebo", 2)]
    }
    report = told(write_sweep(tmp_path, ("adamw", "placebo"), claims=claims, changes=moved))
    assert report.verdicts[0].refusals == ()


# Answers ------------------------------------------------------------------------------------------------------------


def test_a_smoke_of_questions_shows_no_share_and_no_interval(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "placebo"), asked=16, right=lambda arm, seed: range(3 * (arm == "placebo")))
    report = write_report(folder)
    assert "Answers: a smoke of 16 questions, no result." in report.lead
    page = (tmp_path / "report/index.html").read_text()
    for text in (report.text.replace(report.lead, ""), page, (tmp_path / "report/tables/results.csv").read_text()):
        assert not re.search(r"exact.match|McNemar|\(points\)|points \[", text)
    assert "a smoke of 16 questions, no result" in page


def test_a_whole_evaluation_stands_in_the_tables_by_arm_and_by_run(tmp_path):
    right = {"adamw": range(100), "placebo": range(10, 130)}
    folder = write_sweep(tmp_path, ("adamw", "placebo"), asked=200, of=200, right=lambda arm, seed: right[arm])
    report = write_report(folder)
    assert rows(report.tables["results"].markdown)["placebo"][7:9] == ["60.00 ± 0.00", "+10.00 [+10.00, +10.00]"]
    read = list(csv.DictReader((tmp_path / "report/tables/answers.csv").read_text().splitlines()))
    assert [tuple(row.values()) for row in read] == [
        (arm, str(seed), "200", share, share)
        for arm, share in (("AdamW", "50.00"), ("placebo", "60.00"))
        for seed in range(3)
    ]


def test_records_of_neither_accuracy_nor_loss_are_refused_with_what_they_lack(tmp_path):
    folder = write_sweep(tmp_path, ("adamw", "placebo"))
    for path in folder.glob("*/*/curves.csv"):
        path.unlink()
    with pytest.raises(ReportError, match="no finished run logged val/accuracy or train/loss"):
        told(folder)
