"""Does the calibration cut the seeds as it says, count rightly, and find five in a hundred where nothing is?"""

import json
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_verdicts import SECONDS, a_claim, made_up, pair, timed

from superpositional import ink, records, verdicts
from superpositional.calibration import Calibration, calibrate, groups, p_values, write_calibration
from superpositional.claims import ClaimError
from superpositional.inference import paired_t
from superpositional.published import publish
from superpositional.records import Sweep

CLAIMS = {"C": {"says": "differs", "metric": "score", "arm": "x", "better": "higher", "margin": 1.0}}


@pytest.mark.parametrize(("n", "size"), [(6, 6), (13, 6), (200, 6), (200, 7), (31, 30), (24, 8)])
def test_groups_are_disjoint_in_order_and_of_the_size_asked(n: int, size: int) -> None:
    seeds = list(range(30_000, 30_000 + 3 * n, 3))
    found = groups(seeds, size)
    assert {len(group) for group in found} == {size}
    assert len(found) == n // size
    assert [seed for group in found for seed in group] == seeds[: size * (n // size)]


@pytest.mark.parametrize(
    ("n", "size", "message"),
    [
        (30, 5, "--size must be >= 6, got 5; fewer pairs never give such a verdict"),
        (30, 0, "--size must be >= 6, got 0"),
        (30, -6, "--size must be >= 6, got -6"),
        (5, 6, "--size must be at most the number of seeds, 5, got 6; run more seeds"),
        (30, 31, "--size must be at most the number of seeds, 30, got 31"),
    ],
)
def test_groups_in_which_nothing_could_be_found_or_that_are_too_large_are_refused(n, size, message) -> None:
    with pytest.raises(ValueError, match=message):
        groups(range(n), size)


UP, DOWN, SAME, WIDE = [2, 3, 2, 3, 2, 3], [-2, -3, -2, -3, -2, -3], [0, 0.1, 0, 0.1, 0, 0.1], [9, -9, 9, -9, 9, -9]


def test_every_kind_of_verdict_is_counted_where_it_belongs() -> None:
    differences = [*UP, *SAME, *SAME, *WIDE, *DOWN, *UP, *WIDE]
    lost = {("x", 40): {"status": "failed", "summary": {}}}
    # The last group lacks a run.
    (found,) = calibrate(made_up(pair(differences), runs=lost), [a_claim()])
    assert dict(found.counts) == {"superior": 2, "inferior": 1, "equivalent": 2, "inconclusive": 1, "no verdict": 1}
    assert (found.false, found.judged, found.refused) == (3, 6, 1)
    # 3 of 6 by Clopper and Pearson's table: 11.8 to 88.2 %.
    assert found.interval == pytest.approx((0.1181, 0.8819), abs=5e-5)
    assert found.sentence == (
        "C (score): 3 of 6 groups of 6 pairs were called superior or inferior, 50.0 % [11.8, 88.2] (nominal: 5 %); "
        "2 equivalent, 1 inconclusive, 1 group without a verdict; in 0 groups all differences are exactly 0."
    )
    parts = np.array(differences, dtype=float).reshape(7, 6)[:6]
    assert found.p_values == pytest.approx([paired_t(part) for part in parts], rel=1e-12)


def test_groups_without_any_difference_are_counted() -> None:
    """There no other verdict than equivalent was possible: they say nothing of how often one is false."""
    lost = {("x", 30): {"status": "failed", "summary": {}}}
    for compare in ("difference", "ratio"):
        # Neither differences that are all the same, nor those that are 0 on average, nor a group without a verdict.
        sweep = made_up(pair([*[0] * 6, *UP, *[0] * 6, *[5] * 6, *WIDE, *[0] * 6], [20.0] * 36), runs=lost)
        (found,) = calibrate(sweep, [a_claim(compare=compare)])
        assert (found.same, found.judged, found.counts["equivalent"]) == (2, 5, 2)
        assert found.sentence.endswith("1 group without a verdict; in 2 groups all differences are exactly 0.")


def test_none_of_33_has_the_exact_interval() -> None:
    (found,) = calibrate(made_up(pair(np.tile(SAME, 33))), [a_claim()])
    assert (found.false, found.judged) == (0, 33)
    # Where k is 0 Clopper and Pearson's upper end is 1 − (α / 2)^(1 / n).
    assert found.interval == pytest.approx((0, 1 - 0.025 ** (1 / 33)), rel=1e-12)


def test_groups_none_of_which_can_be_judged_say_so() -> None:
    (found,) = calibrate(made_up(pair([0.0] * 12)), [a_claim(metric="not there")])
    assert (found.judged, found.refused, found.interval, found.p_values, found.same) == (0, 2, None, (), 0)
    assert found.sentence == "C (not there): no group of 6 pairs could be judged."


def test_a_claim_is_judged_alone_and_on_the_seeds_of_its_group_alone() -> None:
    """Not among its family: the rate that is counted is that of one test."""
    dice = np.random.default_rng(0)
    sweep = made_up(pair(dice.normal(1, 1, 60)))
    asked = [a_claim(), a_claim(id="D"), a_claim(id="E", metric="not there")]
    first, second, _ = calibrate(sweep, asked, 10)
    assert first.counts == second.counts
    for index, p in enumerate(first.p_values):
        seeds = range(10 * index, 10 * index + 10)
        alone = made_up({arm: [each.summary("score") for each in of(sweep, arm, seeds)] for arm in sweep.arms})
        assert verdicts.judge(alone, asked[:1])[0].p == p


def of(sweep: Sweep, arm: str, seeds) -> list[records.Run]:
    return [run for run in sweep.runs if run.arm == arm and run.seed in seeds]


def test_times_are_judged_within_a_group_as_in_a_sweep() -> None:
    sweep = timed(n=18)
    (found,) = calibrate(sweep, [a_claim(metric=SECONDS, better="lower")])
    assert (found.judged, found.refused) == (3, 0)


def test_times_of_a_run_that_says_not_how_busy_the_machine_was_have_no_verdict() -> None:
    sweep = timed(n=18)
    (run,) = of(sweep, "adam", [7])
    del run.record["load"]
    (found,) = calibrate(sweep, [a_claim(metric=SECONDS, better="lower")])
    assert (found.judged, found.refused) == (2, 1)
    # Its other values are none the worse for it.
    (found,) = calibrate(sweep, [a_claim(metric="convergence/target")])
    assert (found.judged, found.refused, found.same) == (3, 0, 3)


@pytest.mark.parametrize("size", [6, 15])
def test_where_nothing_is_to_be_found_five_of_a_hundred_groups_say_otherwise(size: int) -> None:
    dice = np.random.default_rng(size)
    false, found = 0, []
    for _ in range(20):
        # The spread of seeds is shared by both arms, and does not matter.
        sweep = made_up(pair(dice.normal(0, 1, 50 * size), dice.normal(0, 9, 50 * size)))
        (each,) = calibrate(sweep, [a_claim(margin=0.5)], size)
        assert each.judged == 50
        false += each.false
        found += each.p_values
    assert false / 1_000 == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 1_000))
    # p is uniform: Kolmogorov's distance exceeds 1.95 / sqrt(n) once in a thousand.
    assert np.abs(np.sort(found) - (np.arange(1_000) + 0.5) / 1_000).max() < 1.95 / math.sqrt(1_000)


def test_the_figure_shows_the_share_of_groups_below_each_p() -> None:
    with ink.style():
        _, ax = ink.column_figure(2)
        table = [Calibration(a_claim(), 6, {}, (0.5, 0.1, 0.9, 0.2), 0)]
        assert p_values(ax, table) is ax
    steps = ax.lines[1]
    assert steps.get_xdata().tolist() == [0, 0.1, 0.2, 0.5, 0.9, 1]
    assert steps.get_ydata().tolist() == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["C (4 groups)"]


@pytest.mark.parametrize("claims", [1, 3, 6])
def test_the_legend_hides_no_line_and_lies_in_the_figure(claims: int, tmp_path, monkeypatch) -> None:
    kept = []
    monkeypatch.setattr(ink, "save", lambda figure, *_: kept.append(figure) or [])
    names = [f"a long name {index}" for index in range(claims)]
    folder = written(tmp_path, [*UP, *SAME, *WIDE], declared=dict.fromkeys(names, CLAIMS["C"]))
    write_calibration(folder, size=6)
    (figure,) = kept
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    legend = ax.get_legend()
    box = legend.get_window_extent()
    assert [text.get_text() for text in legend.get_texts()] == [f"{name} (3 groups)" for name in names]
    assert box.y0 >= ax.get_window_extent().y1
    assert box.y1 <= figure.bbox.y1
    assert box.x1 <= figure.bbox.x1
    # What is left is a figure still.
    assert ax.get_window_extent().height > figure.bbox.height / 3


# On disk and through the door ----------------------------------------------------------------------------------------


def written(folder: Path, differences, *, declared=CLAIMS, metric: str = "score") -> Path:
    """A published sweep, which is two files."""
    dice = np.random.default_rng(1)
    sweep = made_up(pair(differences, dice.normal(0, 1, len(differences))), metric=metric, claims=declared)
    publish(sweep, folder)
    return folder


@pytest.fixture(autouse=True)
def no_windows():
    matplotlib.use("agg")


def test_the_files_hold_the_counts_and_name_the_seeds_left_over(tmp_path) -> None:
    folder = written(tmp_path / "sweep", [*UP, *SAME, *WIDE, 0, 0])
    text = write_calibration(folder, size=6)
    out = folder / "report"
    assert "20 seeds of made_up in 3 disjoint groups of 6, 2 left over (seeds 18, 19); each claim judged" in text
    assert text.startswith((out / "calibration.md").read_text())
    heads = "claim | groups | superior | inferior | equivalent | inconclusive | no verdict | superior or inferior"
    assert f"| {heads} | all differences 0 |\n" in text
    assert "| C | 3 | 1 | 0 | 1 | 1 | 0 | 33.3 % [0.8, 90.6] | 0 |\n" in text
    assert "Where the arms differ by nothing, superior or inferior is a false verdict, at a nominal rate of 5 %." in text
    content = json.loads((out / "calibration.json").read_text())
    assert (content["sweep"], content["size"]) == ("made_up", 6)
    (claim,) = content["claims"]
    assert claim["counts"] == {"superior": 1, "inferior": 0, "equivalent": 1, "inconclusive": 1, "no verdict": 0}
    assert (claim["claim"], claim["false"], claim["judged"]) == ("C", 1, 3)
    # 1 of 3: the lower end solves 1 − (1 − p)^3 = 0.025.
    assert claim["interval_95"][0] == pytest.approx(1 - 0.975 ** (1 / 3), rel=1e-9)
    assert {path.name for path in (out / "figures").iterdir()} == {"calibration.pdf", "calibration.png"}
    # All seeds together are judged too, by the same words as in a report.
    whole = verdicts.judge(records.load_sweep(folder), [a_claim(says="differs")])[0]
    assert f"- {whole.sentence}\n" in text
    # Without a rest there is none.
    assert "left over" not in write_calibration(written(tmp_path / "even", [*UP, *SAME]), size=6)


def test_a_calibration_without_a_group_that_can_be_judged_is_written_as_such(tmp_path) -> None:
    """Warnings are errors here: a figure of nothing must not ask for a legend."""
    lost = {("x", seed): {"status": "failed", "summary": {}} for seed in (0, 6)}
    publish(made_up(pair([0.0] * 12), runs=lost, claims=CLAIMS), tmp_path)
    text = write_calibration(tmp_path, tmp_path / "out", size=6)
    assert "| C | 2 | 0 | 0 | 0 | 0 | 2 | – | 0 |\n" in text
    assert "C (score): no group of 6 pairs could be judged." in text
    assert "- C, x vs adam, score: no verdict: 2 of 12 pairs are incomplete, failed (seeds 0, 6)." in text
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["claims"][0]["interval_95"] is None


def test_claims_that_a_sweep_has_not_are_named_or_refused(tmp_path) -> None:
    folder = written(tmp_path / "old", [*UP, *SAME], declared=None)
    # It kept none, so it is asked of every arm, which these runs cannot answer.
    assert "accuracy:x (test/accuracy): no group of 6 pairs could be judged." in write_calibration(folder, size=6)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(CLAIMS))
    assert "C (score): 1 of 2 groups" in write_calibration(folder, size=6, declared=str(tmp_path / "mine.yaml"))
    publish(made_up({"adam": [0.0] * 12}), tmp_path / "alone")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ClaimError, match="no claim to judge in made_up: none was declared, or it has one arm; name others with --claims"
    ):
        write_calibration(tmp_path / "alone", size=6)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no sweep in outputs/nowhere: it holds no sweep.json"),
        (["sweep", "--size", "5"], "--size must be >= 6, got 5; fewer pairs never give such a verdict"),
        (["sweep", "--size", "13"], "--size must be at most the number of seeds, 12, got 13; run more seeds"),
        (["sweep", "--claims", "nothing"], "claims must be one of "),
        (["sweep", "--claims", "paper_time"], "claims.C3.arm must be an arm of the sweep, adam, x; got 'lambda_0.5'"),
        (["damaged"], "is damaged"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_its_cure_and_leaves_nothing(door, workplace, words, message) -> None:
    written(workplace / "sweep", [*UP, *SAME])
    (workplace / "damaged").mkdir()
    (workplace / "damaged" / "sweep.json").write_text("{")
    before = sorted(workplace.rglob("*"))
    code, out, err = door("calibrate", *words)
    assert (code, out) == (2, "")
    assert err.startswith("superpositional: ")
    assert message in err
    assert sorted(workplace.rglob("*")) == before


def test_the_command_calibrates_a_sweep_by_its_name_or_folder(door, workplace) -> None:
    written(workplace / "outputs" / "mine", [*UP, *SAME, *WIDE])
    code, out, err = door("calibrate", "mine")
    assert code == 0, err
    assert "18 seeds of made_up in 3 disjoint groups of 6; each" in out
    assert "outputs/mine/report/calibration.md" in out
    code, out, err = door("calibrate", "outputs/mine", "--size", "9", "--out", "here")
    assert code == 0, err
    assert "in 2 disjoint groups of 9; each" in out
    assert (workplace / "here" / "figures" / "calibration.png").is_file()
