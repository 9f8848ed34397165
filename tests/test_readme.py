"""Does README tell the truth today?"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from superpositional.bench.command import SUBJECTS
from superpositional.circuits.backends import BACKENDS
from superpositional.circuits.backends.exact import EXACT
from superpositional.optim.circuit_perturbation import PERTURBATIONS
from superpositional.optim.perturbations import DRAWN
from superpositional.report.study import Study, gather, write_study
from superpositional.report.write import update_readme
from superpositional.training.bill import duration, of_config
from superpositional.training.show import compose

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PUBLISHED = ROOT / "outputs" / "published"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^    ((?:[A-Z_]+=\S+ )*superpositional .*?)(?:  +#.*)?$", README, re.MULTILINE)


def test_the_examples_run_as_they_stand(capsys) -> None:
    # The last is held to test_trainer_of_transformers, which runs it.
    loop, circuits, traced, _ = [
        text for language, text in BLOCKS if language == "python" and "SuperpositionalAdamW(" in text
    ]
    exec(loop, {})
    assert "'perturbation_norm'" in capsys.readouterr().out
    exec(traced, {})
    assert re.fullmatch(r"\[Trace\(step=1, .*touched=4, .*Trace\(step=11, .*\]\n", capsys.readouterr().out)
    exec(circuits, {})
    *drawing, counts, certificate, registers = capsys.readouterr().out.splitlines()
    assert any("Ry(theta[0] + x)" in line for line in drawing)
    assert "'two_qubit_gates': 6" in counts
    assert counts.endswith(" 8")
    assert 0 < float(certificate) < 1e-4
    # 64 * 3 * 64 + ... of the layer's weights, four to a register, and four heads' angles.
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128)
    assert int(registers) == (sum(p.numel() for p in layer.parameters()) + 4 * 16) // 4


def test_the_table_of_exact_methods_is_the_one_there_is() -> None:
    assert _table("method") == set(EXACT)


def test_the_table_of_backends_is_the_one_there_is() -> None:
    assert _table("backend") == set(BACKENDS)
    assert {path.stem for path in (ROOT / "conf" / "backend").glob("*.yaml")} == set(BACKENDS)


def test_the_bill_is_the_one_that_the_command_prints() -> None:
    bill = of_config(compose(["net/attention=quantum", "net.attention.readout=z", "optimizer=circuit"]))
    (rows,) = re.findall(r"^\| \| forward \|.*\n\| ---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    made = ""
    for period, times in (("step", 1), ("epoch", bill.steps)):
        for way in bill.ways:
            counts = (way.forward, way.gradient, way.jobs, way.executions * bill.shots)
            numbers = " | ".join(f"{count * times:,}" for count in counts)
            made += f"| {period}, {way.name} | {numbers} | {duration(bill.seconds(way) * times)} |\n"
    assert rows == made


def _table(head: str) -> set[str]:
    """The names in the first column of the table whose first column has this head."""
    (rows,) = re.findall(rf"^\| {re.escape(head)} \|.*\n\| ---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    return {name for row in re.findall(r"^\| (.*?) \|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def test_the_table_of_controls_names_every_control_there_is_and_each_composes(door) -> None:
    (rows,) = re.findall(r"^\| control \|.*\n\| ---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    arms = [arm for row in rows.splitlines() for arm in re.findall(r"`((?:optimizer|net/).*?)`", row)]
    named = {word.partition("=")[2] for arm in arms for word in arm.split() if word.startswith("optimizer.perturbation=")}
    assert named == {*PERTURBATIONS, *DRAWN} - {"sine"}
    attentions = {path.stem for path in (ROOT / "conf" / "net" / "attention").glob("*.yaml")} - {"softmax"}
    assert {
        word.partition("=")[2] for arm in arms for word in arm.split() if word.startswith("net/attention=")
    } == attentions
    for arm in arms:
        chosen = [] if "optimizer=" in arm or "net/" in arm else ["optimizer=superpositional"]
        code, _, err = door("train", *chosen, *arm.split(), "--cfg", "job")
        assert code == 0, err


def test_an_arm_is_at_most_two_files_and_thirty_lines() -> None:
    texts = [text for _, text in BLOCKS if text.startswith(("# my_optimizers.py", "# mine/optimizer"))]
    assert len(texts) == 2
    assert sum(len(text.splitlines()) for text in texts) <= 30


@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if "SUPERPOSITIONAL_ALLOW" in line], ids=lambda line: line[-20:]
)
def test_ones_own_parts_run_as_readme_has_them(command: str, tmp_path: Path) -> None:
    for _, text in BLOCKS:
        name = text.splitlines()[0].removeprefix("# ").split(":")[0]
        if name.endswith((".py", ".yaml")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    words = shlex.split(command)
    settings = dict(word.split("=", 1) for word in words[: words.index("superpositional")])
    arguments = words[words.index("superpositional") + 1 :]
    arguments += ["seed=0"] if arguments[0] == "sweep" else []
    ran = subprocess.run(
        [sys.executable, "-m", "superpositional", *arguments, "trainer=smoke", "logger=none"],
        cwd=tmp_path,
        env={**os.environ, **settings, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ("2 runs" if "sweep" in arguments else "done in") in ran.stdout


@pytest.mark.slow
def test_the_commands_of_the_walk_parse_and_compose(door) -> None:
    from superpositional.training.config import directory

    assert len(COMMANDS) >= 7
    for command in (line for line in COMMANDS if "SUPERPOSITIONAL_ALLOW" not in line and "DATE" not in line):
        words = [str(directory("sweeps")) if word == "sweeps" else word for word in shlex.split(command)[1:]]
        if words[0] == "train" and "-m" not in words and "--help" not in words:
            code, out, err = door(*words, "--cfg", "job")
            assert (code, "_target_" in out) == (0, True), err
        elif words[0] == "sweep":
            # Planned and checked; where runs would not run nothing is tried either.
            code, out, err = door(*words, "launcher=slurm", "--dry-run")
            assert (code, "runs would run" in out) == (0, True), err


def test_make_has_every_target_that_readme_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", README, re.MULTILINE)) <= targets


def test_every_path_and_link_that_readme_names_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_published_figures_tables_page_and_what_is_said_of_them_are_what_the_records_give_today(tmp_path: Path) -> None:
    report = write_study(PUBLISHED, tmp_path)
    made = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(PUBLISHED / "report") for path in (PUBLISHED / "report").rglob("*") if path.is_file()}
    # Plotly's script is not kept in git: `make figures` copies it, and the page has its images without it.
    script = Path("plotly.min.js")
    assert set(made) - {script} == kept - {script}
    del made[script]
    for name, path in made.items():
        # matplotlib's bytes hold for the versions in the lock file, which is what CI installs.
        assert path.read_bytes() == (PUBLISHED / "report" / name).read_bytes(), f"{name} is stale; run make figures"
    for name in ("README.md", "sweeps/README.md"):
        copy = tmp_path / "copy.md"
        copy.write_text((ROOT / name).read_text())
        update_readme(copy, report.blocks)
        assert copy.read_text() == (ROOT / name).read_text(), f"{name} is stale; run make figures"


@pytest.fixture(scope="module")
def study() -> Study:
    return gather(PUBLISHED)


def test_what_is_published_are_whole_sweeps_of_the_files_that_there_are(study) -> None:
    assert study.missing == []
    for sweep in study.sweeps:
        # What was asked is what the sweep's file asks today, of the arms that it has, with the claims that it declares.
        declared = yaml.safe_load((ROOT / "sweeps" / f"{sweep.name}.yaml").read_text())
        assert sweep.question == declared["question"]
        assert {arm.split(",")[0] for arm in sweep.arms} <= set(declared["hydra"]["sweeper"]["arms"])
        assert sweep.missing == []


def test_what_readme_says_of_the_study_in_plain_words_is_what_its_verdicts_say() -> None:
    """Two paragraphs that a person wrote: each statement in them, from the verdicts that it rests on."""
    verdicts = json.loads((PUBLISHED / "report" / "claims.json").read_text())["verdicts"]
    said = {(each["sweep"], each["claim"]["id"]): each for each in verdicts}
    for sweep, *names in (("paper_classification", "C1", "C2"), ("paper_time", "C3", "C3_circuit", "C4")):
        for each in (said[sweep, name] for name in names):
            assert (each["verdict"], each["effect"]["n"], each["published_within_interval"]) == ("equivalent", 30, False)
    assert said["quantum_weight", "C6_unstable_all"]["answer"] == "as claimed"
    few = said["quantum_weight", "C6_unstable_model"]
    assert (few["verdict"], few["effect"]["mean"], few["effect"]["n"]) == ("inconclusive", 0, 15)
    literal, everywhere = (said["paper_gsm8k", f"C5_lambda_0.5{scope}"] for scope in ("", "_all"))
    assert (literal["effect"]["mean"], literal["effect"]["n"]) == (0, 6)
    assert (everywhere["words"], everywhere["n"]) == ("inconclusive, smaller than matters (few pairs)", 6)
    assert "disagree at 5 %, which cannot with 6 pairs and 3 claims" in everywhere["sentence"]
    assert everywhere["effect"]["high"] < 0
    optimizers = ("tuned_classification", "controls", "scope", "circuit_depth", "qubits", "quantum_weight")
    assert not any(each["verdict"] == "superior" for (sweep, _), each in said.items() if sweep in optimizers)
    readings = [each for (sweep, name), each in said.items() if sweep == "paper_attention" and name != "accuracy:placebo"]
    assert [(each["verdict"], each["effect"]["n"]) for each in readings] == [("inferior", 30)] * 6
    # What the arm is beyond each control: by amplitudes nothing that can be told, by z two, in either direction.
    controls = ("quantum_no_cnots", "frozen", "twin")
    beyond = {each["arm"]: each["beyond"] for each in said["attention_controls", "accuracy_quantum"]["attribution"]}
    assert all(beyond[name]["low"] < 0 < beyond[name]["high"] for name in controls)
    of_z = {each["arm"]: each["beyond"] for each in said["attention_controls", "accuracy_z"]["attribution"]}
    assert (of_z["z_no_cnots"]["high"] < 0, of_z["z_frozen"]["low"] > 0) == (True, True)
    assert of_z["z_twin"]["low"] < 0 < of_z["z_twin"]["high"]
    shots = [each["verdict"] for (sweep, name), each in said.items() if sweep == "shots" and name.startswith("circuit")]
    assert shots == ["equivalent"] * 5
    assert f"{100 * said['shots', 'circuit_10']['rare_failures']:.0f} %" == "26 %"
    assert all(said["noise", f"circuit_{noise}"]["verdict"] == "equivalent" for noise in (0.001, 0.01, 0.03, 0.1))
    report = (PUBLISHED / "report" / "tables" / "besides.md").read_text()
    (row,) = [line for line in report.splitlines() if "| attention 0.3 | attention |" in line]
    low, high = re.search(r"against adam \S+ points \[(\S+), (\S+)\]", row).groups()
    assert low.startswith("−")
    assert high.startswith("+")


@pytest.mark.parametrize(
    ("sweep", "arm", "seed"), [("paper_classification", "lambda_0.5", 2007), ("paper_time", "circuit", 935)]
)
def test_a_published_run_comes_out_again_bit_for_bit_by_the_command_that_is_printed(door, sweep, arm, seed) -> None:
    command = ["rerun", str(PUBLISHED / sweep), arm, str(seed)]
    code, out, err = door(*command)
    assert err == ""
    assert any(line.startswith("superpositional rerun outputs/published/") for line in COMMANDS)
    assert "done, as recorded" in out
    told = [line for line in out.splitlines() if line.startswith("made with")]
    if code == 1 and any(not line.startswith("made with code") for line in told):
        pytest.skip(f"elsewhere the last bits may differ: {'; '.join(told)}")
    # The same processor, compiler and versions; whatever has been done to the code since.
    assert code == 0, f"{out}a change of the code has changed its numbers: publish the study anew, or undo it"


def test_what_readme_says_of_speed_was_measured_and_published_whole() -> None:
    shown = README.split("<!-- bench -->")[1].split("<!-- /bench -->")[0]
    published = {path.stem: path for path in sorted((PUBLISHED / "bench").glob("*.json"))}
    assert set(published) == set(SUBJECTS)
    lines = {line for name in published for line in (PUBLISHED / "bench" / f"{name}.md").read_text().splitlines()}
    assert len(rows := [line for line in shown.splitlines() if line]) > 20
    assert [row for row in rows if row not in lines] == []
    for path in published.values():
        told = json.loads(path.read_text())
        assert told["whole"]
        assert not told["quick"]
