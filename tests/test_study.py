"""The study says what its sweeps' records say, no more, and gives the same bytes again."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_ledger import ADAM, LOUD, write_search

from superpositional import records
from superpositional.records import claims
from superpositional.records.published import fingerprint, publish
from superpositional.report import words
from superpositional.report.along import by_setting, series
from superpositional.report.forests import in_columns
from superpositional.report.study import ORDER, gather, is_study, tabled, write_study
from superpositional.report.write import ReportError, update_readme

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SEEDS = range(8)
# What the package depends on, but for what draws and counts.
TRAINS = {re.split("[<>=]", name)[0].replace("-", "_") for name in PROJECT["project"]["dependencies"]} - {
    *("numpy", "scipy", "matplotlib", "pyyaml", "hydra_core", "pandas", "jinja2", "plotly")
} | {"hydra", "omegaconf"}
NOISE = ("_0.001", "_0.01", "_0.03", "_0.1", "_0.3")
SETTINGS = {
    "adam": {"_target_": "torch.optim.Adam"},
    "placebo": {"_target_": "P"},
    "lambda_0.1": {"_target_": "S", "quantum_weight": 0.1},
    "lambda_0.5": {"_target_": "S", "quantum_weight": 0.5},
    **{
        f"{scope}_{weight}": {"_target_": "S", "scope": scope, "quantum_weight": weight}
        for scope in ("model", "all")
        for weight in (1, 10, 1000)
    },
}


def write(
    folder: Path, arms: dict[str, float], *, declared: str | None = None, diverged: tuple[str, ...] = (), seeds=SEEDS
):
    """A sweep on disk whose arms are so many points above ``adam``, up to a spread that their seeds share in part."""
    content = None if declared is None else claims.find(declared)
    plan = {"sweep": folder.name, "question": f"What of {folder.name}?", "arms": list(arms), "seeds": list(seeds)}
    records.write_json(_made(folder) / "sweep.json", plan | ({} if content is None else {"claims": content}))
    for arm, points in arms.items():
        for seed in seeds:
            dice = np.random.default_rng([seed, len(arm)])
            value = 0.9 + 0.01 * np.random.default_rng(seed).random() + 1e-4 * dice.random() + points / 100
            status = "diverged" if arm in diverged else "done"
            summary = {"test/accuracy": value, "convergence/target": 0.9, "convergence/loss_variance": 0.01 + 1e-5 * seed}
            summary["convergence/epochs_to_target"] = 5 + 0.1 * seed + 0.01 * dice.random()
            record = {"sweep": folder.name, "arm": arm, "seed": seed, "status": status, "steps_per_epoch": 5, "steps": 50}
            record |= {"summary": summary if status == "done" else {}, "code": "c0de", "processor": "a CPU, AVX2"}
            record |= {"claims": claims.digest(content), "git": {"commit": "abcdef0123", "dirty": False}, "device": "cpu"}
            record["config"] = {
                "seed": seed,
                "arm": arm,
                "optimizer": SETTINGS.get(arm, {"_target_": "S"}),
                "circuit": {"depth": 2},
            }
            record["config"]["task"] = {"n_classes": 4}
            run = _made(folder / arm / f"seed-{seed}")
            records.write_record(run, record)
            curve = [(5 * epoch, "val/accuracy", 0.3 + 0.06 * epoch + 0.001 * seed) for epoch in range(1, 11)]
            records.append_curves(run / "curves.csv", curve)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four sweeps, published."""
    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("published")
    arms = {"adam": 0.0, "lambda_0.1": 0.0, "lambda_0.5": 2.3, "placebo": 0.0}
    write(raw / "paper_classification", arms, declared="paper_classification")
    doses = {
        "adam": 0.0,
        **{name: -weight / 500 for name in SETTINGS if (weight := SETTINGS[name].get("quantum_weight", 0)) >= 1},
    }
    write(raw / "quantum_weight", doses, declared="quantum_weight", diverged=("all_1000",))
    write(raw / "scope", {"adam": 0.0, "lambda_0.5": -3.0}, declared="every_arm")
    write(raw / "calibration", {"adam": 0.0, "placebo": 0.0}, declared="calibration", seeds=range(12))
    for path in raw.iterdir():
        publish(records.load_sweep(path), folder / path.name)
    return folder


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    return write_study(folder, tmp_path_factory.mktemp("report"))


def test_a_folder_of_sweeps_is_a_study_and_a_sweep_is_none(folder, tmp_path):
    assert is_study(folder)
    assert not is_study(folder / "scope")
    assert not is_study(tmp_path)
    with pytest.raises(ReportError, match="no sweep in"):
        gather(tmp_path)


def test_every_sweep_of_the_order_is_one_that_there_is():
    assert set(ORDER) <= {path.stem for path in (ROOT / "sweeps").glob("*.yaml")}


def test_sweeps_stand_in_the_readers_order(folder):
    study = gather(folder)
    assert [sweep.name for sweep in study.sweeps] == ["paper_classification", "quantum_weight", "scope", "calibration"]
    assert study.missing[:2] == ["paper_time", "paper_gsm8k"]
    # The paper's claims in its order, and whose they are; what only calibrates is no question.
    assert [verdict.claim.id for _, verdict in study.of_the_paper] == [
        *("C1", "C2", "C6_faster", "C6_variance", "C6_unstable_model", "C6_unstable_all")
    ]
    assert {name for name, _ in study.besides} == {"scope"}


def test_the_words_count_what_the_verdicts_say_and_a_table_has_what_was_found(folder):
    study = gather(folder)
    said = {verdict.claim.id: verdict for _, verdict in study.of_the_paper}
    # 2.3 points is what is claimed, and here the spread is a hundredth of a point.
    assert (said["C1"].words, said["C1"].answer) == ("superior", "as claimed")
    assert said["C6_unstable_all"].answer == "as claimed"
    text, within = words.paper(study.of_the_paper)
    kinds = [words.ANSWERS[verdict.answer] for verdict in said.values()]
    for kind in set(kinds):
        assert f"{kinds.count(kind)} {kind} (" in text
    assert within.endswith("lies inside the interval in 1 (C1).")
    counted = "none superior, 1 inferior, none equivalent, none inconclusive."
    assert words.elsewhere(study.besides) == f"Beside the paper's claims 1 question was asked, by scope: {counted}"
    (_, row) = tabled(study)["found"].rows
    assert row[:4] == ("`scope`", "λ = 0.5", "adam", "test accuracy")
    assert row[4].startswith("−2.998")


def test_it_takes_no_more_than_the_makefile_installs_for_it(folder, tmp_path):
    """``make figures``: a fresh clone has not torch, nor anything that trains."""
    (named,) = re.findall(r"^READERS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"numpy", "scipy", "matplotlib", "pyyaml", "pandas", "jinja2", "plotly"} <= set(named.split())
    program = f"""
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {sorted(TRAINS)}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from superpositional.cli import main
main(["report", {str(folder)!r}, "--out", {str(tmp_path)!r}])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()


def test_better_than_a_worse_one_is_told_with_what_it_is_against_the_first(tmp_path):
    parts = [f"{what}{noise}" for what in ("attention", "circuit") for noise in ("", *NOISE)]
    points = {"adam": 0.0} | dict.fromkeys(parts, -18.0) | {"attention_0.3": -1.0}
    write(tmp_path / "raw" / "noise", points, declared="noise")
    publish(records.load_sweep(tmp_path / "raw" / "noise"), tmp_path / "study" / "noise")
    beside = {row[1]: row[4] for row in tabled(gather(tmp_path / "study"))["besides"].rows}
    told = r"\+1\d\.\d+ points \[[^]]+\](, 90 % \[[^]]+\])? \(against adam −0\.999\d points \[[^]]+\]\)"
    assert re.fullmatch(told, beside["attention 0.3"])


def test_an_answer_is_never_more_than_its_interval(folder, tmp_path):
    """Nothing is called superior, inferior or equivalent but by a verdict's own word."""
    raw = tmp_path / "raw"
    write(raw / "scope", {"adam": 0.0, "lambda_0.5": 0.0}, declared="every_arm", seeds=range(2))
    publish(records.load_sweep(raw / "scope"), tmp_path / "study" / "scope")
    study = gather(tmp_path / "study")
    (verdict,) = (each for _, each in study.besides)
    assert words.elsewhere(study.besides).count(verdict.verdict) == 1
    assert words.paper(study.of_the_paper) == ["No claim of the paper was tested."]


def test_every_claim_has_a_verdict_or_says_why_there_is_none(folder, tmp_path):
    raw = tmp_path / "raw" / "paper_classification"
    write(raw, {"adam": 0.0, "lambda_0.1": 0.0, "lambda_0.5": 0.0, "placebo": 0.0}, declared="paper_classification")
    for path in raw.glob("lambda_0.5/seed-3/*"):
        path.unlink()
    publish(records.load_sweep(raw), tmp_path / "study" / raw.name)
    rows = tabled(gather(tmp_path / "study"))["claims"].rows
    cells = dict(zip(rows[0], rows[1], strict=True))
    assert cells["verdict"] == "no verdict: 1 of 8 pairs are incomplete, not run (seed 3)"
    assert cells["n"] == "7 of 8"


def test_what_is_undecided_says_how_many_pairs_would_decide(folder, tmp_path):
    rows = {row[0].split(":")[0]: row for row in tabled(gather(folder))["claims"].rows}
    place = rows["claim"].index("verdict")
    # 0 of n: the upper bound 1 - 0.025^(1 / n) is below a tenth from ln 0.025 / ln 0.9 = 35.01 on.
    assert rows["C6_unstable_model"][place] == "inconclusive; 36 pairs if no run of them diverges"
    assert rows["C1"][place] == "superior"


def test_the_page_has_a_section_for_each_sweep_and_needs_no_other_file(report):
    page = next(path for path in report.files if path.name == "index.html").read_text()
    for name in ("The paper&#39;s claims", "quantum weight", "scope", "calibration", "Limits"):
        assert f"<h2>{name}</h2>" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "src=" in page
    assert page.count("data:image/svg+xml;base64,") == page.count("<img ")


def test_all_files_are_listed_and_rebuilt_to_the_same_bytes(folder, report, tmp_path):
    again = write_study(folder, tmp_path)
    assert {path.relative_to(tmp_path) for path in again.files} == {
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()
    }
    first = {path.name: path.read_bytes() for path in report.files}
    assert {path.name: path.read_bytes() for path in again.files} == first
    assert again.blocks == report.blocks
    # What an earlier study had and this one has not must not stand beside it; what somebody else put there stays.
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "figures" / "old.png").write_bytes(b"")
    told = json.loads((tmp_path / "claims.json").read_text())
    records.write_json(tmp_path / "claims.json", told | {"files": [*told["files"], "figures/old.png"]})
    write_study(folder, tmp_path)
    assert not (tmp_path / "figures" / "old.png").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_study_without_the_papers_claims_is_drawn_and_written_too(folder, tmp_path):
    shutil.copytree(folder / "scope", tmp_path / "study" / "scope")
    report = write_study(tmp_path / "study")
    assert report.blocks["study"].startswith("No claim of the paper was tested.\n")
    page = (tmp_path / "study" / "report" / "index.html").read_text()
    assert "<h2>The paper&#39;s claims</h2>" not in page
    assert "Orange" not in page
    assert "Not run yet: paper_classification, " in report.text


def test_searches_and_unfinished_sweeps_are_part_of_a_study_as_what_they_are(tmp_path):
    publish(write_search(tmp_path / "raw" / "search", {"adam": ADAM, "loud": LOUD}), tmp_path / "study" / "tune")
    raw = tmp_path / "raw" / "scope"
    write(raw, {"adam": 0.0, "lambda_0.5": 0.0}, declared="every_arm")
    shutil.rmtree(raw / "lambda_0.5" / "seed-7")
    publish(records.load_sweep(raw), tmp_path / "study" / "scope")
    report = write_study(tmp_path / "study")
    rows = {row.split(" | ")[0]: row for row in report.blocks["logbook"].splitlines()}
    assert "2 arms × 4 trials × 2 tuning seeds (5, 6)" in rows["| `tuned`"]
    assert "only other seeds can tell" in rows["| `tuned`"]
    assert "Unfinished: 1 of 16 runs missing" in rows["| `scope`"]
    shutil.copytree(tmp_path / "study" / "scope", tmp_path / "study" / "again")
    with pytest.raises(ReportError, match=r"scope and .*again are both of scope; take one out"):
        gather(tmp_path / "study")
    page = (tmp_path / "study" / "report" / "index.html").read_text()
    assert "no verdict: 1 of 8 pairs are incomplete, not run (seed 7)" in page


def test_where_training_broke_is_told_of_runs_that_only_guess_too(folder, tmp_path):
    raw = tmp_path / "raw" / "scope"
    # 90 % less 66 points is below 1.1 / 4; less 60 is not.
    write(raw, {"adam": 0.0, "lambda_0.1": -66.0, "lambda_0.5": -60.0}, declared="every_arm")
    publish(records.load_sweep(raw), tmp_path / "study" / "scope")
    assert tabled(gather(tmp_path / "study"))["broken"].rows[1:] == [("`scope`", "λ = 0.1", "8 of 8", "0")]
    assert ("`quantum_weight`", "all 1000", "8 of 8", "8") in tabled(gather(folder))["broken"].rows


def test_every_verdict_is_there_for_machines(folder, report):
    path = next(path for path in report.files if path.name == "claims.json")
    found = json.loads(path.read_text())["verdicts"]
    assert [(each["sweep"], each["claim"]["id"]) for each in found] == [
        (name, verdict.claim.id) for name, verdict in gather(folder).verdicts
    ]


# Lines along a setting -------------------------------------------------------------------------------------------


def test_arms_that_differ_in_one_setting_are_a_line_by_its_value(folder):
    sweep, key = records.load_sweep(folder / "quantum_weight"), "optimizer.quantum_weight"
    lines = {line.name: line for line in by_setting(sweep, key)}
    assert {each.name: tuple(each.arms.values()) for each in series(sweep, key)} == {
        "model": ("model_1", "model_10", "model_1000"),
        "all": ("all_1", "all_10", "all_1000"),
    }
    points = {point.x: point for point in lines["model"].points["accuracy"]}
    # -weight / 500 points, up to a hundredth.
    assert [points[x].mean for x in (1, 10, 1000)] == pytest.approx([-0.002, -0.02, -2.0], abs=0.01)
    # Whose runs all diverged has no difference, and a share.
    assert [point.x for point in lines["all"].points["accuracy"]] == [1, 10]
    assert [(point.x, point.mean, point.n) for point in lines["all"].points["broken"]] == [
        (1, 0, 8),
        (10, 0, 8),
        (1000, 100, 8),
    ]
    low = lines["all"].points["broken"][-1].low
    assert low == pytest.approx(100 * 0.025 ** (1 / 8), abs=1e-9)  # Clopper and Pearson's of 8 of 8


def test_two_values_are_no_line(folder):
    assert by_setting(records.load_sweep(folder / "paper_classification"), "optimizer.quantum_weight") == []
    assert by_setting(records.load_sweep(folder / "quantum_weight"), "circuit.depth") == []


def test_columns_of_the_figure_of_all_arms_keep_the_order_and_are_about_as_tall():
    blocks = {str(index): [None] * size for index, size in enumerate((4, 3, 10, 2, 8, 8, 1))}
    columns = in_columns(blocks, 3)
    assert [name for column in columns for name in column] == list(blocks)
    heights = [sum(len(table) + 1.5 for table in column.values()) for column in columns]
    # No taller than an even share and the tallest block.
    assert (len(heights), max(heights) <= sum(heights) / 3 + 11.5) == (3, True)


# Words -----------------------------------------------------------------------------------------------------------


def test_the_logbook_has_a_row_for_each_sweep(folder, report):
    study = gather(folder)
    rows = tabled(study)["logbook"].rows
    assert [row[0] for row in rows[1:]] == [f"`{sweep.name}`" for sweep in study.sweeps]
    assert words.extent(study.sweeps[0]) == "4 arms × 8 paired seeds (0–7)"
    assert words.commits(study.sweeps[0]) == "abcdef0"
    git = {"commit": "abcdef0123", "dirty": True}
    runs = tuple(replace(run, record={**run.record, "git": git}) for run in study.sweeps[0].runs)
    assert words.commits(replace(study.sweeps[0], runs=runs)) == "abcdef0 with other files beside it"
    assert words.commits(replace(study.sweeps[0], runs=())) == "unknown"
    calibrated = rows[-1][3]
    assert "With an effect as large as the margin equivalent is false (nominal: 5 %), at 6 pairs, 10 pairs" in calibrated
    assert all(row[0] in report.blocks["logbook"] for row in rows[1:])


def test_readme_gets_the_blocks_that_it_has_markers_for(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results:study -->\nold\n<!-- /results:study -->\nafter\n")
    update_readme(readme, report.blocks)
    text = readme.read_text()
    assert text.startswith("before\n<!-- results:study -->\nWe tested 6 claims of the paper:")
    assert text.endswith("<!-- /results:study -->\nafter\n")
    update_readme(readme, report.blocks)
    assert readme.read_text() == text
    readme.write_text("nothing")
    with pytest.raises(ReportError, match="must hold the line <!-- results:study --> once"):
        update_readme(readme, report.blocks)


def test_the_door_reports_a_study(door, folder, workplace):
    (workplace / "README.md").write_text("<!-- results:logbook -->\n<!-- /results:logbook -->\n")
    code, out, err = door("report", str(folder), "--out", "there", "--readme", "README.md")
    assert (code, err) == (0, "")
    assert "there/index.html" in out
    assert "| `scope` |" in (workplace / "README.md").read_text()
    code, _, err = door("report", str(folder), "--claims", "every_arm")
    assert (code, err) == (2, "superpositional: --claims and --publish are of one sweep; report that\n")


def test_a_claim_with_a_source_and_no_claimed_verdict_is_counted_by_our_own(folder, tmp_path):
    raw, claims_file = tmp_path / "raw" / "scope", tmp_path / "mine.yaml"
    claims_file.write_text(
        "S1: {says: it differs, metric: test/accuracy, scale: 100, unit: points, arm: lambda_0.5, baseline: adam, "
        "better: higher, margin: 0.5, source: a blog}\n"
    )
    write(raw, {"adam": 0.0, "lambda_0.5": 3.0}, declared=str(claims_file))
    publish(records.load_sweep(raw), tmp_path / "study" / "scope")
    shutil.copytree(folder / "paper_classification", tmp_path / "study" / "paper_classification")
    report = write_study(tmp_path / "study")
    assert "1 superior (S1)" in report.blocks["study"].splitlines()[0]


def test_the_study_publishes_how_often_a_planted_effect_of_the_margin_is_called_equivalent(folder, report):
    study = gather(folder)
    caption, rows = study.planted.caption, study.planted.rows
    assert rows[0] == ("differences", "6 pairs", "10 pairs", "15 pairs", "30 pairs")
    named = [row[0].split(" (")[0] for row in rows[1:]]
    assert named[:4] == ["normal", "Student t, 3 degrees of freedom", "exponential", "log-normal"]
    assert {"own, accuracy", "own, speed"} <= set(named)
    assert "(calibration)" in caption
    (path,) = [path for path in report.files if path.name == "planted.md"]
    assert path.read_text() in report.blocks["study"] + "\n"
    assert "0 of" not in report.blocks["study"].partition("How often")[2].partition("\n")[0]


def test_the_records_that_were_judged_are_hashed_in_page_and_json(folder, report):
    told = json.loads(next(path for path in report.files if path.name == "claims.json").read_text())
    page = next(path for path in report.files if path.name == "index.html").read_text()
    assert set(told["records_sha256"]) == {sweep.name for sweep in gather(folder).sweeps}
    for name, digest in told["records_sha256"].items():
        assert digest == fingerprint(records.load_sweep(folder / name))
        assert f"{name} {digest[:12]}" in page
