"""The same records give the same files, which say no more than the records hold."""

import csv
import io
import json
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_analysis import write_sweep

from superpositional import records
from superpositional.evidence import analysis, curves
from superpositional.records.measures import TEST_ACCURACY
from superpositional.records.published import fingerprint, publish
from superpositional.report import figures, forests, style, tables, words
from superpositional.report.findings import findings
from superpositional.report.write import Report, ReportError, update_readme, write_report

ARMS = {"adam": [0.90, 0.91, 0.92], "quantum_moments": [0.91, 0.93, 0.90], "lambda_0.5": [0.92, 0.92, 0.95]}
EPOCHS = {"adam": [7, 8, 7], "quantum_moments": [7, 7, 6], "lambda_0.5": [5, 4, 5]}
FIGURES = ("claims", "fig1", "paired_differences", "seed_bands", "time_to_target")
FILES = {
    *(f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")),
    *(f"tables/{name}.{suffix}" for name in ("results", "claims") for suffix in ("md", "csv", "tex")),
    "index.html",
    "plotly.min.js",
    "claims.json",
}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rising(arm, seed):
    return [0.3 + 0.6 * (1 - 0.5**epoch) + 0.001 * seed for epoch in range(10)]


def told(folder) -> Report:
    """A sweep's report in words, without its files."""
    said = findings(records.load_sweep(folder), folder)
    return Report(
        "told",
        " ".join(words.lead(said)),
        tables.of(said),
        tuple(each.sentence for each in said.judged),
        (),
        tuple(said.judged),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    write_sweep(folder, ARMS, epochs=EPOCHS, curves=rising)
    return folder, write_report(folder)


def test_a_report_writes_exactly_its_files_and_lists_them(built):
    folder, report = built
    assert set(contents(folder / "report")) == FILES
    assert {path.relative_to(folder / "report").as_posix() for path in report.files} == FILES


def test_a_rebuild_gives_the_same_bytes_at_a_later_time(built, tmp_path, monkeypatch):
    folder, _ = built
    # The clock that matplotlib's PDF and fontTools' subsets would stamp; the first build read the real one.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    write_report(folder, tmp_path)
    assert contents(tmp_path) == contents(folder / "report")


def test_published_records_give_the_same_tables_and_themselves_rebuild_to_the_same_bytes(built, tmp_path):
    folder, report = built
    publish(records.load_sweep(folder), tmp_path / "published")
    again = write_report(tmp_path / "published")
    assert (again.tables["results"].markdown, again.tables["results"].caption, again.sentences) == (
        report.tables["results"].markdown,
        report.tables["results"].caption,
        report.sentences,
    )
    first = contents(tmp_path / "published" / "report")
    tables = {path for path in FILES if path.startswith("tables")}
    assert {path: first[path] for path in tables} == {path: contents(folder / "report")[path] for path in tables}
    write_report(tmp_path / "published")
    assert contents(tmp_path / "published" / "report") == first


def test_the_table_has_a_row_per_arm_with_known_numbers(built):
    _, report = built
    lines = report.tables["results"].markdown.splitlines()
    assert len(lines) == 2 + len(ARMS)
    assert lines[2] == "| adam | 3 of 3 | 91.00 ± 1.00 | baseline | 7.33 ± 0.58 | baseline |"
    # differences 2, 1, 3: mean 2, sd 1, half width 4.302653 / sqrt(3) = 2.484
    assert lines[4].startswith("| λ = 0.5 | 3 of 3 | 93.00 ± 1.73 | +2.00 [−0.48, +4.48] | 4.67 ± 0.58 | −2.67 [")


def test_the_csv_keeps_every_digit(built):
    folder, _ = built
    rows = list(csv.DictReader((folder / "report/tables/results.csv").read_text().splitlines()))
    row = next(row for row in rows if row["arm"] == "lambda_0.5" and row["metric"] == "test/accuracy")
    estimate = analysis.compare(records.load_sweep(folder), "lambda_0.5", TEST_ACCURACY).estimate
    assert [float(row[f"difference_{key}"]) for key in ("mean", "low", "high")] == [
        estimate.mean,
        estimate.low,
        estimate.high,
    ]


def test_the_tex_table_escapes_what_latex_would_read(built):
    text = (built[0] / "report/tables/results.tex").read_text()
    assert r"Sweep made\_up: Does it work? 9 of 9 runs done." in text
    assert r"$\lambda$ = 0.5 & 3 of 3 & 93.00 $\pm$ 1.73 & $+$2.00 [$-$0.48, $+$4.48]" in text
    assert text.isascii()


def test_no_name_breaks_a_label_a_caption_or_a_row_of_latex():
    text = tables.Table("first\n\nsecond", [("arm", "n"), ("[0, 1]", "2")]).tex("a}b%c_d:e, f")
    assert r"\label{tab:a-b-c_d:e-f}" in text
    assert r"\caption{first second}" in text
    assert "\n{}[0, 1] & 2" in text


@pytest.mark.parametrize(
    "cell", ["=1+1", "+x", "-1+1", "@sum", " =x", "\t=x", "\n@x", "--1", "-", "+1e", "1=2", "−1", "adam"]
)
def test_no_cell_of_a_csv_is_a_formula_unless_it_is_a_number(cell):
    _, (written,) = csv.reader(io.StringIO(tables.csv([{"cell": cell}]), newline=""))
    assert written == (cell if cell in ("1=2", "−1", "adam") else f"'{cell}")
    numbers = ("-1", "+1.5", "-2e-05", "1e9", "-.5")
    row = dict(enumerate((-1.5, None, 2, *numbers)))
    assert tables.csv([row]) == f"0,1,2,3,4,5,6,7\n-1.5,,2,{','.join(numbers)}\n"


def test_the_report_tells_the_hash_of_the_records_it_judged(built):
    folder, report = built
    digest = fingerprint(records.load_sweep(folder))
    out = report.files[0].parents[1]
    assert json.loads((out / "claims.json").read_text())["records_sha256"] == digest
    assert digest in (out / "index.html").read_text()


def test_an_unfinished_sweep_says_so_in_words_everywhere(tmp_path):
    arms = {**ARMS, "placebo": [0.9, None, None]}
    write_sweep(tmp_path, arms, statuses={("adam", 2): "interrupted"}, curves=rising)
    report = write_report(tmp_path)
    words = "2 of 12 runs missing; 9 of 12 runs done, 1 interrupted"
    assert f"Unfinished: {words}" in report.tables["results"].caption
    for suffix in ("md", "tex"):
        assert words in (tmp_path / f"report/tables/results.{suffix}").read_text()
    for name in ("fig1", "paired_differences"):
        assert words.encode() in (tmp_path / f"report/figures/{name}.png").read_bytes()
    assert "| placebo | 1 of 3 | 90.00 (one run) | 0.00 (no interval) (1 pair) |" in report.tables["results"].markdown
    assert "2 not run" in report.tables["results"].markdown


def test_a_figure_of_an_unfinished_sweep_shows_its_note(tmp_path):
    sweep = write_sweep(tmp_path, {"adam": [0.5, 0.6], "x": [0.5, None]}, curves=rising)
    ax = Figure(layout="constrained").add_subplot()
    figures.learning_curves(ax, curves.learning_curves(sweep), note="unfinished: 1 run missing")
    legend = ax.get_legend()
    assert legend.get_title().get_text().startswith("unfinished: 1 run missing\n")
    assert [text.get_text() for text in legend.get_texts()] == ["adam (2)", "x (1)"]
    ax = Figure(layout="constrained").add_subplot()
    comparison = analysis.compare(sweep, "x", TEST_ACCURACY)
    forests.paired_differences(ax, [comparison], note="unfinished: 1 run missing")
    assert ax.get_title(loc="right").startswith("unfinished: 1 run missing\n")


def test_diverged_runs_and_misses_stand_in_the_table(tmp_path):
    epochs = {**EPOCHS, "lambda_0.5": [5, None, 5]}
    write_sweep(tmp_path, ARMS, epochs=epochs, statuses={("quantum_moments", 1): "diverged"}, curves=rising)
    report = told(tmp_path)
    rows = {line.split(" | ")[0].strip("| "): line for line in report.tables["results"].markdown.splitlines()}
    assert "† (2 pairs)" in rows["quantum moments"]
    assert rows["quantum moments"].endswith("| 1 diverged |")
    assert "5.00 ± 0.00 (2 of 3 reached it)" in rows["λ = 0.5"]
    assert rows["λ = 0.5"].endswith("| 1 missed the target |")
    assert "†: conditional" in report.tables["results"].caption


@pytest.mark.parametrize("status", ["diverged", "failed", "interrupted"])
def test_a_sweep_without_a_finished_run_is_refused_before_anything_is_written(tmp_path, status):
    write_sweep(tmp_path, {"adam": [0.5, None]}, statuses={("adam", 0): status})
    with pytest.raises(ValueError, match=f"nothing to show.*1 {status}.*superpositional sweep made_up"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_sweep_without_the_curves_of_figure_one_is_refused_before_anything_is_written(tmp_path):
    write_sweep(tmp_path, {"adam": [0.5]}, curves=lambda arm, seed: [])
    with pytest.raises(ValueError, match="no finished run logged val/accuracy"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_one_arm_or_one_epoch_or_one_seed_is_enough_for_a_report(tmp_path):
    write_sweep(tmp_path / "arm", {"adam": [0.5, 0.6]}, curves=rising)
    assert told(tmp_path / "arm").sentences == ()
    write_sweep(tmp_path / "short", {"adam": [0.5], "x": [0.6]}, curves=lambda arm, seed: [0.5])
    assert "+10.00 (no interval)" in told(tmp_path / "short").text


def test_an_arm_without_any_finished_run_is_shown_as_such(tmp_path):
    write_sweep(tmp_path, {"adam": [0.5, 0.6], "x": [0.1, 0.1]}, statuses={("x", s): "diverged" for s in (0, 1)})
    report = told(tmp_path)
    assert "| x | 0 of 2 | – | –† (0 pairs) |" in report.tables["results"].markdown
    # Two pairs decide nothing, whatever their ranks.
    assert "inconclusive. Mean paired difference –, n = 2 seeds" in report.sentences[0]
    assert "2 of 2 runs of x diverged and rank last" in report.sentences[0]
    assert "Ended otherwise: x diverged in 2 of 2 runs." in report.text


def test_the_inset_is_left_out_where_it_would_cover_a_curve(tmp_path):
    falling = write_sweep(tmp_path / "down", {"adam": [0.5, 0.5]}, curves=lambda arm, seed: rising(arm, seed)[::-1])
    up = write_sweep(tmp_path / "up", {"adam": [0.5, 0.5]}, curves=rising)
    for sweep, insets in ((up, 1), (falling, 0)):
        ax = Figure(layout="constrained").add_subplot()
        assert figures.learning_curves(ax, curves.learning_curves(sweep)) is ax
        assert len(ax.child_axes) == insets


def test_a_conditional_row_of_the_forest_plot_has_an_open_marker(tmp_path):
    sweep = write_sweep(tmp_path, ARMS, statuses={("lambda_0.5", 1): "diverged"})
    ax = Figure(layout="constrained").add_subplot()
    forests.paired_differences(ax, [analysis.compare(sweep, arm, TEST_ACCURACY) for arm in sweep.arms[1:]])
    means = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [line.get_markerfacecolor() == "white" for line in means] == [False, True]


def test_neighbouring_arms_differ_in_grey_and_the_first_eight_in_shape():
    grey = [np.dot(matplotlib.colors.to_rgb(colour), (0.299, 0.587, 0.114)) for colour in style.COLOURS]
    assert min(abs(a - b) for a, b in pairwise(grey)) > 0.08  # 20 of 255 steps, seen side by side
    assert len(set(style.MARKERS)) == 8


def test_the_style_leaves_matplotlibs_settings_as_they_were():
    before = dict(matplotlib.rcParams)
    with style.style():
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before


def test_the_readme_gets_the_words_between_its_markers_and_nothing_else(built, tmp_path):
    _, report = built
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results:made_up -->\nold\n<!-- /results:made_up -->\nafter\n")
    update_readme(readme, {report.name: report.markdown})
    text = readme.read_text()
    assert text.startswith("before\n<!-- results:made_up -->\n")
    assert text.endswith("<!-- /results:made_up -->\nafter\n")
    assert "old" not in text
    assert report.tables["results"].markdown in text
    assert all(sentence in text for sentence in report.sentences)
    update_readme(readme, {report.name: report.markdown})
    assert readme.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "<!-- results:made_up -->",
        "<!-- /results:made_up --> <!-- results:made_up -->",
        "<!-- results:made_up --><!-- results:made_up --><!-- /results:made_up -->",
    ],
)
def test_a_readme_without_one_pair_of_markers_is_refused_and_untouched(built, tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="<!-- results:made_up --> once"):
        update_readme(readme, {built[1].name: built[1].markdown})
    assert readme.read_text() == text


def test_the_right_bank_never_imports_the_left_one():
    program = (
        "import sys, superpositional.cli, superpositional.report.write, superpositional.report.study\n"
        "print([name for name in ('torch', 'lightning', 'hydra', 'qiskit') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_lead_says_no_more_than_the_intervals(tmp_path):
    write_sweep(tmp_path / "open", {"adam": [0.90, 0.91, 0.92], "same": [0.91, 0.90, 0.92]}, curves=rising)
    assert write_report(tmp_path / "open").lead == (
        "**In short.** Of 1 claim, inconclusive: accuracy:same. Inconclusive is not equal: the intervals allow an effect "
        "that matters. These verdicts are exploratory, declared or changed after 6 of 6 runs. Of each interval alone, "
        "uncorrected: test accuracy: no arm's interval against adam excludes 0; epochs to target: no interval against adam "
        "to speak of."
    )
    write_sweep(tmp_path / "apart", {"adam": [0.90, 0.91, 0.92], "up": [0.930, 0.941, 0.951]}, curves=rising)
    lead = write_report(tmp_path / "apart").lead
    # differences 3.0, 3.1, 3.1: mean 3.067, sd 0.0577, half width 4.302653 * 0.0577 / sqrt(3) = 0.143
    # Three pairs never make a verdict: the rule asks for six.
    assert lead.startswith("**In short.** Of 1 claim, inconclusive: accuracy:up.")
    assert "uncorrected: test accuracy: up +3.07 points [+2.92, +3.21]; epochs" in lead


def test_arms_are_held_against_the_placebo_too(tmp_path):
    write_sweep(tmp_path, {"adam": [0.90, 0.91], "lambda_0.5": [0.92, 0.93], "placebo": [0.91, 0.92]}, curves=rising)
    (_, row) = told(tmp_path).tables["beside"].rows
    assert row == ("λ = 0.5", "placebo", "test accuracy", "+1.00 points [+1.00, +1.00]", "2 of 2")


def test_an_arm_that_has_not_begun_draws_nothing_where_the_others_have_an_inset(tmp_path):
    write_sweep(tmp_path, {"adam": [0.90, 0.91], "later": [None, None]}, curves=rising)
    report = told(tmp_path)
    assert "| later | 0 of 2 |" in report.tables["results"].markdown
    assert "The sweep is unfinished, so this is an interim look." in report.lead


def test_only_the_baseline_has_a_band_and_only_from_five_seeds_on(tmp_path):
    for n, bands in ((4, 0), (5, 1)):
        folder = tmp_path / str(n)
        write_sweep(folder, {"adam": [0.9] * n, "other": [0.9] * n}, curves=rising)
        ax = Figure(layout="constrained").add_subplot()
        figures.learning_curves(ax, curves.learning_curves(records.load_sweep(folder)))
        assert len(ax.collections) == bands


def test_records_that_are_left_out_are_counted_and_named(tmp_path):
    write_sweep(tmp_path, {"adam": [0.5, 0.6], "lambda_0.5": [0.5, 0.7]})
    assert "Left out" not in told(tmp_path).tables["results"].caption
    plan = json.loads((tmp_path / "sweep.json").read_text())
    for path in sorted(tmp_path.glob("*/seed-*/record.json")):
        record = json.loads(path.read_text()) | {"family": "new" if path.parent.name == "seed-0" else "old"}
        path.write_text(json.dumps(record))
    families = dict.fromkeys(plan["arms"], "new")
    (tmp_path / "sweep.json").write_text(json.dumps(plan | {"families": families, "arms": ["adam", "lambda_0.5"]}))
    words_of_it = (
        "Left out, of another config or code version or an arm not planned: records in the folder, 1 of adam, 1 of λ = 0.5."
    )
    assert words_of_it in told(tmp_path).tables["results"].caption


def test_an_interval_of_some_pairs_is_named_as_such_and_never_as_none(tmp_path):
    arms = {"adam": [0.5] * 6, "x": [0.5] * 6}
    # Five of six pairs reached the target, x always one epoch and a bit later.
    epochs = {"adam": [4.0, 4.5, 5.0, 4.2, 4.8, 4.4], "x": [5.0, 5.6, 6.0, 5.2, 5.9, None]}
    write_sweep(tmp_path, arms, epochs=epochs)
    lead = told(tmp_path).lead
    # The differences are 1.0, 1.1, 1.0, 1.0 and 1.1: mean 1.04, half-width t(0.975, 4) * 0.0548 / sqrt(5) = 0.068.
    assert "epochs to target: x +1.040 epochs [+0.972, +1.108] over 5 of 6 pairs alone" in lead


def test_a_report_of_other_claims_leaves_nothing_of_the_earlier_ones(tmp_path):
    arms = {"adam": [0.90, 0.91, 0.92], "lambda_0.5": [0.92, 0.93, 0.95], "placebo": [0.91, 0.92, 0.92]}
    write_sweep(tmp_path / "sweep", arms, curves=rising)
    declared = tmp_path / "mine.yaml"
    claim = {"says": "more", "metric": "test/accuracy", "arm": "lambda_0.5", "baseline": "adam", "better": "higher"}
    declared.write_text(json.dumps({"M1": claim | {"margin": 1.0, "scale": 100, "controls": ["placebo"]}}))
    first = write_report(tmp_path / "sweep", declared=declared)
    assert "M1" in first.tables["claims"].markdown
    assert "attribution.tex" in {path.name for path in first.files}
    second = write_report(tmp_path / "sweep")
    assert "M1" not in second.tables["claims"].markdown
    assert {tmp_path / "sweep" / "report" / name for name in contents(tmp_path / "sweep" / "report")} == set(second.files)


def test_claims_about_an_arm_that_is_not_there_are_refused_before_anything_is_written(tmp_path):
    write_sweep(tmp_path / "sweep", {"adam": [0.9], "x": [0.9]}, curves=rising)
    declared = tmp_path / "mine.yaml"
    declared.write_text('{"M1": {"says": "", "metric": "test/accuracy", "arm": "y", "better": "higher", "margin": 1}}')
    with pytest.raises(ReportError, match=r"claims.M1.arm must be an arm of the sweep, adam, x; got 'y'"):
        write_report(tmp_path / "sweep", declared=declared)
    assert not (tmp_path / "sweep" / "report").exists()


def test_records_that_cannot_be_end_the_command_with_every_mistake_and_write_nothing(door, workplace):
    folder = workplace / "outputs" / "mine"
    write_sweep(folder, {"adam": [0.5, 0.17], "x": [0.6, 0.7]})
    for run, old, new in (("adam/seed-1", ": 0.17", ": 1.7"), ("x/seed-0", '"schema": 1', '"schema": 7')):
        path = folder / run / "record.json"
        path.write_text(path.read_text().replace(old, new))
    code, out, err = door("report", "mine")
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert "adam/seed-1/record.json: arm adam, seed 1: test/accuracy must lie in [0, 1], got 1.7; " in first
    assert "x/seed-0/record.json: arm x, seed 0: schema must be 1, got 7; " in second
    assert not (workplace / "outputs" / "mine" / "report").exists()
