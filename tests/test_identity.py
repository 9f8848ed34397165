"""Is a run identified by what computes its numbers, and by nothing else?"""

import importlib.metadata
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from superpositional.records import identity as identities
from superpositional.records.identity import MOVED, PRESENTATION, code, family, git_state, identity, moved
from superpositional.training import config as configs

CONFIG = {
    "seed": 0,
    "data": {"n_train": 900},
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999]},
    "sweep": "s",
    "arm": "a",
    "question": "?",
    "logger": None,
    "resume": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"data": {"n_train": 901}},
        {"optimizer": {"lr": 1e-3, "betas": [0.999, 0.9]}},
        {"optimizer": {"lr": math.nextafter(1e-3, 1), "betas": [0.9, 0.999]}},
        {"compile": True},
        {"threads": 2},
    ],
    ids=str,
)
def test_identity_changes_with_whatever_changes_numbers(change):
    assert identity({**CONFIG, **change}, "code") != identity(CONFIG, "code")


def test_identity_changes_with_the_code():
    assert identity(CONFIG, "code") != identity(CONFIG, "codf")


@pytest.mark.parametrize("key", PRESENTATION)
def test_identity_does_not_change_with_what_only_names_or_shows_a_run(key):
    without = {name: value for name, value in CONFIG.items() if name != key}
    assert identity({**CONFIG, key: "another"}, "code") == identity(CONFIG, "code") == identity(without, "code")


def test_presentation_is_of_the_top_level_alone():
    nested = {**CONFIG, "data": {"n_train": 900, "arm": "left"}}
    assert identity(nested, "code") != identity(CONFIG, "code")


def test_identity_does_not_depend_on_the_order_of_keys():
    assert identity(dict(reversed(CONFIG.items())), "code") == identity(CONFIG, "code")


# The code ----------------------------------------------------------------------------------------------------------

# What a run of the paper's classification is built from.
MODULES = (
    "superpositional.tasks.classification.task",
    "superpositional.tasks.classification.net",
    "superpositional.tasks.classification.data",
    "superpositional.optim.optimizer",
)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package that this test may edit, and that ``code`` reads in its place."""
    copy = tmp_path / "superpositional"
    shutil.copytree(identities.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    original = code(MODULES)
    monkeypatch.setattr(identities, "PACKAGE", copy)
    identities._file.cache_clear()
    assert code(MODULES) == original, "the place does not matter"
    yield copy
    identities._file.cache_clear()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1, old
    path.write_text(text.replace(old, new))
    identities._file.cache_clear()


def test_what_computes_is_found_through_imports_and_what_judges_is_not():
    found = {name.removeprefix("superpositional.") for name in code(MODULES).sources}
    computing = "training.fit tasks.base seeds optim.optimizer optim.term attention.module circuits.series"
    assert {*computing.split(), "circuits.kernels/kernels.cpp"} <= found
    assert {"torch", "lightning", "qiskit"} <= found
    assert not found & {"training.config", "training.check", "cli"}
    wings = ("records", "tracking", "sweeps", "evidence", "report", "bench", "tasks.gsm8k")
    assert not {name for name in found if name.startswith(wings)}


def test_a_task_brings_its_own_modules_alone():
    both = code([*MODULES, "superpositional.tasks.gsm8k.task"])
    assert set(code(MODULES).sources) < set(both.sources)
    assert "superpositional.tasks.gsm8k.task" in both.sources
    assert both.version != code(MODULES).version


def test_comments_docstrings_formatting_and_messages_change_no_code_version(package):
    before = code(MODULES)
    for path in package.rglob("*.py"):
        text = f'"""Another docstring."""\n# A comment.\n{path.read_text()}\n\n# The end.\n'
        path.write_text(re.sub(r"(raise \w+\()f?\"[^\"\n]*\"", r'\1"another message"', text))
    for path in (package / "circuits" / "kernels").glob("*.[hc]*"):
        path.write_text("// A comment.\n" + path.read_text().replace("\n", "\n\n    ") + "\n/* The\nend. */\n")
    assert code(MODULES) == before


def test_whatever_nothing_imports_changes_no_code_version(package):
    before = code(MODULES)
    (package / "new.py").write_text("VALUE = 1\n")
    (package / "circuits" / "kernels" / "new.h.md").write_text("prose")
    for name in ("evidence/verdicts.py", "report/write.py", "records/run.py", "bench/training.py", "tasks/gsm8k/data.py"):
        (package / name).write_text((package / name).read_text() + "\nVALUE = 1\n")
    assert code(MODULES) == before


def test_every_module_found_counts_and_is_named(package):
    before = code(MODULES)
    for name in before.sources:
        path = package.parent / f"{name.replace('.', '/')}.py"
        if path.is_file():
            text = path.read_text()
            path.write_text(text + "\nVALUE = 1\n")
            after = code(MODULES)
            assert {each for each in before.sources if before.sources[each] != after.sources[each]} == {name}
            assert after.version != before.version, name
            path.write_text(text)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("seeds.py", ">> 1", ">> 2"),
        ("optim/fused.py", "    def ", "    def another_"),
        ("circuits/kernels/optimizer.h", "second * beta2", "second * beta1"),
        ("optim/term.py", " + ", " - "),
    ],
)
def test_an_operator_a_name_or_a_constant_changes_the_code_version(package, name, old, new):
    before = code(MODULES)
    edit(package / name, old, new)
    assert code(MODULES).version != before.version


def test_moving_and_renaming_modules_changes_no_code_version(package):
    before = code(MODULES)
    (package / "dose").mkdir()
    (package / "dose" / "__init__.py").write_text('"""A folder is a place."""\n')
    (package / "optim" / "schedules.py").rename(package / "dose" / "reach.py")
    for path in package.rglob("*.py"):
        text = path.read_text().replace("superpositional.optim.schedules import", "superpositional.dose.reach import")
        path.write_text(text)
    identities._file.cache_clear()
    after = code(MODULES)
    assert after.version == before.version
    assert "superpositional.dose.reach" in after.sources


def test_an_import_of_the_same_name_from_elsewhere_changes_the_code_version(package):
    (package / "other.py").write_text("def stream(seed, name, *counters):\n    return 0\n")
    (package / "seeds.py").write_text((package / "seeds.py").read_text() + "\nimport superpositional.other\n")
    before = code(MODULES)
    edit(package / "tasks" / "base.py", "from superpositional.seeds import drawing_from, start_torch, stream", NEW_IMPORTS)
    after = code(MODULES)
    assert set(after.sources) == set(before.sources)
    assert after.version != before.version


NEW_IMPORTS = "from superpositional.seeds import drawing_from, start_torch\nfrom superpositional.other import stream"


@pytest.mark.parametrize("name", ["torch", "lightning", "qiskit"])
def test_the_code_version_changes_with_a_release_and_not_with_a_build(monkeypatch, name):
    true = importlib.metadata.version
    found = {}
    for label, version in (("build", true(name).split("+")[0] + "+other"), ("release", "0.0.1")):
        monkeypatch.setattr(importlib.metadata, "version", lambda n, v=version: v if n == name else true(n))
        found[label] = code(MODULES).version
        monkeypatch.undo()
    assert found["build"] == code(MODULES).version != found["release"]


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A user's module, imported, with one beside it that it imports within a function."""
    (tmp_path / "my_steps.py").write_text("def f():\n    from my_sums import total\n\n    return total\n")
    (tmp_path / "my_sums.py").write_text("import numpy\n\nfrom superpositional.seeds import stream\n\ntotal = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    identities._file.cache_clear()
    yield tmp_path
    sys.modules.pop("my_steps", None)
    identities._file.cache_clear()


def test_the_users_own_modules_count_with_what_they_import(own):
    import my_steps  # noqa: F401

    before = code([*MODULES, "my_steps"])
    assert set(before.own) == {"my_steps", "my_sums"}
    (own / "my_sums.py").write_text("# a comment\n" + (own / "my_sums.py").read_text())
    assert code([*MODULES, "my_steps"]) == before
    (own / "my_sums.py").write_text("total = 2\n")
    assert code([*MODULES, "my_steps"]).version != before.version


def test_relative_imports_of_the_users_own_package_are_followed(tmp_path, monkeypatch):
    package = tmp_path / "my_pack"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("from .. import sums\n")
    (package / "deep" / "steps.py").write_text("from ..sums import total\nfrom . import rates\nfrom .rates import rate\n")
    (package / "deep" / "rates.py").write_text("rate = 1\n")
    (package / "sums.py").write_text("total = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    identities._file.cache_clear()
    import my_pack.deep.steps  # noqa: F401

    before = code(["my_pack.deep.steps"])
    modules = {"my_pack", "my_pack.deep", "my_pack.deep.steps", "my_pack.deep.rates", "my_pack.sums"}
    assert set(before.own) == modules
    (package / "deep" / "rates.py").write_text("rate = 2\n")
    assert code(["my_pack.deep.steps"]).version != before.version


CHANGES = {
    "a package's own statements": ({"__init__.py": "RATE = 1"}, {"__init__.py": "RATE = 2"}),
    "the other branch of type checking": (
        {"m.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    X = 1\nelse:\n    X = 1"},
        {"m.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    X = 1\nelse:\n    X = 2"},
    ),
    "the order of statements": ({"m.py": "X = 1\nX += 1\nX *= 3"}, {"m.py": "X = 1\nX *= 3\nX += 1"}),
    "the order of star imports": (
        {"m.py": "from my_changes.a import *\nfrom my_changes.b import *", "a.py": "X = 1", "b.py": "X = 2"},
        {"m.py": "from my_changes.b import *\nfrom my_changes.a import *", "a.py": "X = 1", "b.py": "X = 2"},
    ),
    "modules that change places": (
        {"m.py": "from my_changes import a as x\nfrom my_changes import b as y", "a.py": "X = 1", "b.py": "X = 2"},
        {"m.py": "from my_changes import b as x\nfrom my_changes import a as y", "a.py": "X = 1", "b.py": "X = 2"},
    ),
    "what an error holds": ({"m.py": "def f(x):\n    raise E(x * 2)"}, {"m.py": "def f(x):\n    raise E(x * 5)"}),
    "an integer that becomes a float": ({"m.py": "X = 1"}, {"m.py": "X = 1.0"}),
}
PROSE = {
    "an error": ('raise E(f"no {x}", x)', 'raise E("not so", x)'),
    "an assertion": ('assert x, "no"', 'assert x, f"not {x}"'),
    "a warning": ('warnings.warn("no", stacklevel=2)', 'warnings.warn(f"not {x}", stacklevel=2)'),
}


def version_of(folder: Path, files: dict[str, str]) -> str:
    package = folder / "my_changes"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    for name, text in {"__init__.py": "", "m.py": "", **files}.items():
        (package / name).write_text(text + "\n")
    identities._file.cache_clear()
    identities._statements.cache_clear()
    identities._module.cache_clear()
    return code(["my_changes.m"]).version


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_may_compute_otherwise_is_another_version(tmp_path, monkeypatch, change):
    monkeypatch.syspath_prepend(tmp_path)
    before, after = CHANGES[change]
    assert version_of(tmp_path, before) == version_of(tmp_path, dict(before)) != version_of(tmp_path, after)


@pytest.mark.parametrize("change", PROSE)
def test_what_is_only_said_is_none(tmp_path, monkeypatch, change):
    monkeypatch.syspath_prepend(tmp_path)
    before, after = ({"m.py": f"import warnings\ndef f(x):\n    {text}"} for text in PROSE[change])
    assert version_of(tmp_path, before) == version_of(tmp_path, after)


def test_an_installed_package_counts_by_its_module_and_its_version():
    found = code(["pytest"]).own
    assert set(found) == {"pytest", "pytest (installed)"}
    assert found["pytest (installed)"] == pytest.__version__


def test_a_code_version_that_repeats_another_has_its_identities(monkeypatch, tmp_path):
    proofs = {"b" * 16: {"repeats": "a" * 16, "runs": []}}
    monkeypatch.setattr(identities, "SAME_BITS", tmp_path / "same_bits.json")
    (tmp_path / "same_bits.json").write_text(json.dumps(proofs))
    identities._proven.cache_clear()
    try:
        assert identity(CONFIG, "b" * 16) == identity(CONFIG, "a" * 16) != identity(CONFIG, "c" * 16)
        assert family(CONFIG, "b" * 16) == family(CONFIG, "a" * 16)
    finally:
        identities._proven.cache_clear()


# The checkout ------------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", folder, *settings, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_outside_a_checkout_there_is_no_commit(package, monkeypatch):
    # Else git would look further up, where the temporary folder may lie in a checkout.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parent))
    assert git_state() == {"commit": None, "dirty": None}


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == {"commit": None, "dirty": None}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_gives_its_commit_and_says_when_it_was_edited(package):
    git(package, "init")
    # A package installed into another project's checkout is not part of it.
    git(package, "commit", "--allow-empty", "-m", "another project")
    assert git_state() == {"commit": None, "dirty": None}
    git(package, "add", ".")
    git(package, "commit", "-m", "this project")
    commit = git(package, "rev-parse", "HEAD")
    assert git_state() == {"commit": commit, "dirty": False}
    (package / "seeds.py").write_text("# edited\n")
    assert git_state() == {"commit": commit, "dirty": True}


# Classes that have moved --------------------------------------------------------------------------------------------

PUBLISHED = Path(__file__).resolve().parents[1] / "outputs" / "published"


def targets_of(value) -> set[str]:
    if isinstance(value, dict):
        own = {value["_target_"]} if isinstance(value.get("_target_"), str) else set()
        return own.union(*(targets_of(each) for each in value.values()))
    return set().union(*(targets_of(each) for each in value)) if isinstance(value, list) else set()


def test_every_class_that_a_published_config_names_is_found_where_it_is_now():
    plans = [json.loads(path.read_text()) for path in PUBLISHED.glob("*/sweep.json")]
    names = {name for plan in plans for name in targets_of(plan) if name.startswith("superpositional.")}
    assert len(names) > 10
    for name in names:
        target = configs.locate(name)
        assert targets_of(moved({"_target_": name})) <= {
            f"{target.__module__}.{target.__name__}",
            f"{target.__module__.rpartition('.')[0]}.{target.__name__}",
            f"superpositional.{target.__name__}",
        }


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_classs_old_and_new_name_are_one_identity(old, new):
    of_old, of_new = ({**CONFIG, "net": {"part": [{"_target_": f"{name}.Thing"}]}} for name in (old, new))
    assert identity(of_old, "code") == identity(of_new, "code")
    assert moved(of_old) == of_new
    assert moved(of_new) == of_new
