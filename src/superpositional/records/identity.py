"""Identify a run by what computes its numbers.

The identity of a run is a hash of its resolved config and of its code version. The code version is a hash of the
statements, as syntax trees, of every module that the config's targets import, directly or not; of the C++ sources; and of
the versions of torch, lightning and qiskit. Docstrings, comments, formatting, messages, the names and places of
modules, and modules that no target imports are not part of it.

``same_bits.json`` maps a code version to the older one whose runs it repeats bit for bit, and names the runs by which that
was shown (``tests/same_bits.py`` makes it). Both then give a config the same identity, so those runs stay valid.
"""

import ast
import copy
import functools
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from superpositional.records.run import plain

PACKAGE = Path(__file__).parents[1]
SAME_BITS = Path(__file__).with_name("same_bits.json")
# The module that drives a run's training, which no config names.
DRIVER = "superpositional.training.fit"
# They keep, find, name or show what a run computes, and compute none of it.
OUTSIDE = re.compile(r"superpositional(\.(records|places|tracking|training\.config|tasks\..*\.measures)(\..*)?)?")
# Of a syntax tree: where its text stood, and what follows from the rest.
UNTOLD = {"lineno", "col_offset", "end_lineno", "end_col_offset", "ctx", "kind", "type_comment"}
VERSIONS = ("torch", "lightning", "qiskit")
# Config keys that name, place or show a run but cannot change its numbers.
PRESENTATION = ("sweep", "arm", "question", "claims", "logger", "resume", "scale")
# Data sources that name what they hold.
PINNED = "jsonl:"


def identity(config: Mapping[str, Any], code: str) -> str:
    """Return the hash of all that determines a run's numbers: the resolved config and the code version."""
    kept = {key: value for key, value in config.items() if key not in PRESENTATION}
    if is_pinned(kept):
        # Where the rows lie is no matter once their hash says which they are.
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "path"}
    text = json.dumps(plain(as_first_named(kept)), sort_keys=True, allow_nan=False)
    return _digest(f"{_proven().get(code, code)}\n{text}")


def family(config: Mapping[str, Any], code: str) -> str:
    """Return the identity without the seed: what all runs of an arm must share to be one arm."""
    return identity({key: value for key, value in config.items() if key != "seed"}, code)


def is_pinned(config: Mapping[str, Any]) -> bool:
    """Return whether the config names its data by what they hold, wherever they lie."""
    source = str((config.get("data") or {}).get("source"))
    return source.startswith(PINNED) and source != PINNED


@functools.cache
def _proven() -> dict[str, str]:
    """Code versions that repeat an older one's runs bit for bit, with the older one."""
    return {code: proof["repeats"] for code, proof in json.loads(SAME_BITS.read_text()).items()}


@dataclass(frozen=True)
class Code:
    """What computes a run.

    Attributes:
        version: the hash of all of ``sources``; the names and places of modules are no part of it.
        sources: ``{module: hash of its statements}``, with ``{package: version}``.
    """

    version: str
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, str]:
        """The user's own modules among the sources."""
        return {
            name: each
            for name, each in self.sources.items()
            if not name.startswith("superpositional.") and name not in VERSIONS
        }


def code(modules: Iterable[str]) -> Code:
    """Return what computes a run that is built from these modules.

    Args:
        modules: dotted names of imported modules, this package's or the user's own.
    """
    found: dict[str, str] = {}
    waiting = [DRIVER, *modules]
    # Packages that were installed are left to their versions, unless the config names them.
    named = frozenset(name.partition(".")[0] for name in waiting)
    while waiting:
        name = waiting.pop()
        if name not in found and (path := _file(name, named)) is not None and not _is_outside(name):
            found[name], imported = _module(name, path, path.stat().st_mtime_ns, named)
            if not _is_installed(path):
                # To import a module runs its packages too.
                waiting += [*imported, *filter(None, [name.rpartition(".")[0]])]
            elif first := importlib.metadata.packages_distributions().get(name.partition(".")[0]):
                found[f"{first[0]} (installed)"] = importlib.metadata.version(first[0])
    if any(name.startswith("superpositional.circuits.kernels") for name in found):
        for path in sorted(each for each in PACKAGE.glob("circuits/kernels/*") if each.suffix in (".h", ".cpp")):
            text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", path.read_text(), flags=re.DOTALL)
            found[f"superpositional.circuits.kernels/{path.name}"] = _digest(" ".join(text.split()))
    # The local label (+cpu, +cu130) names a build of the same version; the device is recorded on its own.
    found |= {name: importlib.metadata.version(name).split("+")[0] for name in VERSIONS}
    # A package that only holds modules is a place, and places are no part of it.
    told = sorted(each for each in found.values() if each != _digest(""))
    return Code(_digest("\n".join(told)), dict(sorted(found.items())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_outside(name: str) -> bool:
    return OUTSIDE.fullmatch(name) is not None


@functools.lru_cache(maxsize=4096)
def _file(name: str, named: frozenset[str]) -> Path | None:
    """The source of a module of this package or of the user's own; None of any other."""
    first = name.partition(".")[0]
    if first in sys.stdlib_module_names:
        return None
    module = sys.modules.get(first)
    places = getattr(module, "__path__", None) or [getattr(module, "__file__", None)]
    roots = (
        [PACKAGE.parent] if first == "superpositional" else [Path(place).parent for place in places if place] or sys.path
    )
    for root in roots:
        base = Path(root).joinpath(*name.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path if first in named or not _is_installed(path) else None
    return None


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib"))


@functools.lru_cache(maxsize=1024)
def _module(name: str, path: Path, modified: int, named: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's statements, and the modules of our own that it imports anywhere."""
    statements = _statements(name, path, modified)
    nodes = [node for each in statements for node in ast.walk(each)]
    imported = tuple(dict.fromkeys(module for node in nodes for module in _imported(node, named)))
    return _digest("\n".join(_text(each, named, bound=True) for each in statements)), imported


@functools.lru_cache(maxsize=1024)
def _statements(name: str, path: Path, modified: int) -> list[ast.stmt]:
    """A module's statements but for docstrings and what type checkers alone read; its relative imports made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            node.module, node.level = ".".join([*above, *filter(None, [node.module])]), 0
    body = [part for each in tree.body for part in (each.orelse if _is_for_checkers(each) else [each])]
    return [each for each in body if not _is_text(each)]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imported(node: ast.AST, named: frozenset[str]) -> list[str]:
    """The modules that a statement imports and that are this package's or the user's own."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if _file(name, named) is not None else node.module for name in inner]
    else:
        return []
    return [name for name in names if _file(name, named) is not None]


def _text(node: Any, named: frozenset[str], *, bound: bool) -> str:
    """A syntax tree as text that every version of Python writes alike.

    An import of our own is told by the names it gives and, where ``bound``, by the hash of each name's definition.
    """
    if isinstance(node, list):
        return f"[{','.join([_text(each, named, bound=bound) for each in node if not _is_text(each)])}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    kind = type(node)
    if kind is ast.Name:
        return node.id
    if kind in (ast.Import, ast.ImportFrom) and _imported(node, named):
        given = [
            (each.name.rpartition(".")[2], each.asname, bound and _defined(node, each.name, named)) for each in node.names
        ]
        return f"Import({sorted(given, key=repr)})"
    # What an error, an assertion or a warning says changes no number; what else it is made of might.
    if kind is ast.Raise or kind is ast.Assert or (kind is ast.Call and ast.unparse(node.func) == "warnings.warn"):
        node = _Wordless().visit(copy.deepcopy(node))
    told = [
        f"{name}={_text(value, named, bound=bound)}"
        for name, value in node.__dict__.items()
        if value is not None and value != [] and name not in UNTOLD
    ]
    return f"{kind.__name__}({','.join(sorted(told))})"


class _Wordless(ast.NodeTransformer):
    """Leaves texts out."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        return ast.Constant("")


def _defined(node: ast.Import | ast.ImportFrom, name: str, named: frozenset[str]) -> str | None:
    """The hash of what an import binds: of a name its definition, of another's module or of all names the module.

    None of a name that a package passes on, and of modules of ours, whose names say which they are.
    """
    inner = name if isinstance(node, ast.Import) else f"{node.module}.{name}"
    of_module = name == "*" or _file(inner, named) is not None
    module = inner if of_module and name != "*" else node.module
    if (
        (of_module and module.startswith("superpositional"))
        or _is_outside(module)
        or (path := _file(module, named)) is None
    ):
        return None
    statements = _statements(module, path, path.stat().st_mtime_ns)
    if of_module:
        return _digest("\n".join(_text(each, named, bound=False) for each in statements))
    for each in statements:
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", each)]
        if name in [getattr(target, "name", getattr(target, "id", None)) for target in targets]:
            return _digest(_text(each, named, bound=False))
    return None


def git_state() -> dict[str, Any]:
    """Return commit and dirty flag of the checkout this package runs from; None for both outside of one (a wheel)."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", PACKAGE, *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:  # no git on this machine
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package installed into some other project's checkout must not report that project's commit.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


# {old: new}: of a class, or of a module with all its classes.
MOVED = {
    "superpositional.attention_controls": "superpositional.attention.controls",
    "superpositional.backends": "superpositional.circuits.backends",
    "superpositional.callbacks": "superpositional.training.callbacks",
    "superpositional.checkpoints": "superpositional.training.checkpoints",
    "superpositional.circuit_statistics": "superpositional.training.circuit_statistics",
    "superpositional.controls": "superpositional.optim.placebo",
    "superpositional.convergence": "superpositional.training.convergence",
    "superpositional.data": "superpositional.tasks.classification.data",
    "superpositional.llm.exact_match": "superpositional.tasks.gsm8k.exact_match",
    "superpositional.llm.fine_tuning": "superpositional.tasks.gsm8k.task",
    "superpositional.llm.gsm8k": "superpositional.tasks.gsm8k.data",
    "superpositional.llm.models": "superpositional.tasks.gsm8k.net",
    "superpositional.nets": "superpositional.tasks.classification.net",
    "superpositional.perturbation": "superpositional.optim.circuit_perturbation",
    "superpositional.schedules": "superpositional.optim.schedules",
    "superpositional.stopwatch": "superpositional.training.throughput",
    "superpositional.tasks": "superpositional.tasks.classification.task",
}
FIRST = {new: old for old, new in MOVED.items()}


def moved(value: Any) -> Any:
    """Return plain values of a config with every ``_target_`` where it is now."""
    return _renamed(value, MOVED)


def as_first_named(value: Any) -> Any:
    """Return plain values of a config with every ``_target_`` where it was when the study was published."""
    return _renamed(value, FIRST)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        found = {key: _renamed(each, names) for key, each in value.items()}
        if isinstance(target := found.get("_target_"), str):
            module, _, name = target.rpartition(".")
            found["_target_"] = f"{names[module]}.{name}" if module in names else target
        return found
    return [_renamed(each, names) for each in value] if isinstance(value, list) else value
