"""Compile and load the C++ kernels.

The sources beside this file become one library in the user's cache (``places.cache``), named by its sources, the flags and
the processor. Only ``make`` compiles it, once per machine; everybody else uses it where it is, and torch's code where it is
not. It is loaded by ctypes, takes pointers, and shares torch's OpenMP threads. ``SUPERPOSITIONAL_KERNELS=off`` does
without, ``CXX`` names the compiler.

A library runs code when it is loaded, so it is loaded only if the user owns it and no one else can write it or the folders
it lies in, from the cache on. They are opened once, checked, and used as opened: nothing can be exchanged in between.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from superpositional.places import cache, cache_folder

SOURCES = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-fopenmp", "-Wno-psabi"),
    # Neither changes a result: nobody reads errno, and nobody traps.
    *("-fno-math-errno", "-fno-trapping-math"),
)
NAMES = {torch.float32: "float32", torch.float64: "float64"}
MOST = 64  # of attention.h: coefficients of more frequencies than these are torch's


POINTER, INDEX, INT, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double
Strides = INDEX * 4


def _fields(*kinds: tuple[type, str]) -> list[tuple[str, type]]:
    return [(name, kind) for kind, names in kinds for name in names.split()]


class Tile(ctypes.Structure):
    """As in attention.h."""

    _fields_ = _fields(
        (INDEX, "first_matrix matrices first_row rows N M heads sets"),
        (INT, "J first threads"),
        (DOUBLE, "scale scale_in keep_scale"),
    )


class Parameter(ctypes.Structure):
    """As in optimizer.h."""

    _fields_ = _fields((POINTER, "theta grad m v v_max"), (INDEX, "count"), (DOUBLE, "bias_correction1 bias_correction2"))


class Group(ctypes.Structure):
    """As in optimizer.h."""

    _fields_ = _fields((DOUBLE, "lr beta1 beta2 eps weight_decay quantum_weight"), (INT, "maximize threads"))


class Circuit(ctypes.Structure):
    """As in registers.h."""

    _fields_ = _fields((INT, "n_qubits depth rotations entanglement reupload"), (INT * 16, "kinds"), (POINTER, "angles"))


PARAMETERS, GROUP, CIRCUIT, TILE = (ctypes.POINTER(each) for each in (Parameter, Group, Circuit, Tile))
DECLARED: dict[str, tuple] = {
    "series_forward": (*[POINTER] * 3, *[INDEX] * 2, *[INT] * 3),
    "series_backward": (*[POINTER] * 6, *[INDEX] * 2, *[INT] * 3),
    "attention_forward": (*[POINTER] * 2, Strides, *[POINTER] * 3, TILE),
    "attention_backward": (*[POINTER] * 2, Strides, *[POINTER] * 4, INDEX, *[POINTER] * 3, TILE),
    "small_forward": (*[POINTER] * 2, Strides, *[POINTER] * 4, INDEX, *[POINTER] * 2, TILE),
    "small_backward": (*[POINTER] * 2, Strides, *[POINTER] * 4, INDEX, *[POINTER] * 7, TILE),
    "attention_sums": (*[POINTER] * 2, *[INDEX] * 2, TILE),
    "adamw": (PARAMETERS, INDEX, GROUP, POINTER, POINTER),
    "displacement": (PARAMETERS, GROUP, INDEX, POINTER, POINTER),
    "term_before": (PARAMETERS, INDEX, CIRCUIT, INT, DOUBLE, POINTER),
    "term_after": (PARAMETERS, INDEX, DOUBLE, POINTER, ctypes.POINTER(DOUBLE)),
    "count_up": (POINTER, INDEX),
    "modulate": (CIRCUIT, POINTER, INDEX, INT),
    "nodes": (CIRCUIT, POINTER, INDEX, POINTER, INT, POINTER, *[INDEX] * 2, *[POINTER] * 3),  # in float64 alone
}
RETURNED = {"displacement": DOUBLE, "term_before": INDEX, "term_after": INDEX}
PLAIN = (Tensor, torch.nn.Parameter)
ON, OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
_why: list[str] = []  # the last call of ``make`` built none


def serves(*tensors: Tensor) -> bool:
    """Whether kernels can take these: real tensors on the CPU, of one dtype of ``NAMES``, whose memory holds their values
    (torch negates some on reading), in plain eager execution."""
    dtype = tensors[0].dtype
    if dtype not in NAMES or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    for each in tensors:  # plainly, because an optimizer asks at every step
        if type(each) not in PLAIN or not each.is_cpu or each.dtype is not dtype or each.is_neg() or each._is_zerotensor():
            return False
    return library() is not None


@functools.cache
def kernel(name: str, dtype: torch.dtype) -> "ctypes._CFuncPtr":
    """One of ``DECLARED`` for a dtype; only where ``serves``."""
    function = getattr(library(), name if name == "nodes" else f"{name}_{NAMES[dtype]}")
    function.argtypes, function.restype = DECLARED[name], RETURNED.get(name)
    return function


def library() -> ctypes.CDLL | None:
    """Return the kernels if they are built; nothing is compiled here."""
    return _built()[0]


def told() -> str:
    """Return what computes, for records and tables: the kernels' compiler, or why it is torch's code."""
    return _built()[1]


def make(say: Callable[[str], None]) -> str:
    """Compile the kernels if they are not there; ``say`` what takes time. Return ``told``."""
    if _is_off() or _existing() is not None:
        return told()
    # A compiler, or what calls one, such as ccache g++.
    chosen = os.environ.get("CXX", "").split()
    named = [chosen] if chosen else [[name] for name in COMPILERS]
    compiler = next((words for words in named if shutil.which(words[0])), None)
    for each in (_built, kernel):
        each.cache_clear()
    if compiler is None:
        _why[:] = [f"torch's (no C++ compiler: {' '.join(chosen) or ', '.join(COMPILERS)})"]
        return told()
    _why.clear()
    say(f"building C++ kernels with {Path(compiler[0]).name}, once per machine, about 15 s")
    try:
        with ExitStack() as opened:
            _compile(compiler, _folder(opened, cache_folder("kernels")), _name())
    except RuntimeError:
        _why[:] = ["torch's (the user has no home folder; set SUPERPOSITIONAL_CACHE)"]
    except (OSError, subprocess.CalledProcessError) as error:
        # Without where anything lies: records keep this.
        why = (getattr(error, "stderr", None) or getattr(error, "strerror", None) or type(error).__name__).strip()
        lines = [line for line in why.splitlines() if "error" in line] or why.splitlines()
        _why[:] = [f"torch's ({Path(compiler[0]).name} failed: {lines[0].replace(f'{SOURCES}{os.sep}', '')})"]
    return told()


def _is_off() -> bool:
    setting = os.environ.get("SUPERPOSITIONAL_KERNELS") or "on"
    if setting.lower() not in (*ON, *OFF):
        raise ValueError(f"SUPERPOSITIONAL_KERNELS must be on or off, got {setting!r}; on uses them where they are built")
    return setting.lower() in OFF


@functools.cache
def _built() -> tuple[ctypes.CDLL | None, str]:
    if _is_off():
        return None, "torch's (SUPERPOSITIONAL_KERNELS=off)"
    if (found := _existing()) is not None:
        if (version := getattr(found, "compiler", None)) is None:
            return found, "C++"
        version.restype = ctypes.c_char_p
        return found, f"C++ ({version().decode()})"
    if not _why:
        hint = "torch's code computes; `superpositional kernels` builds faster C++ kernels, once per machine"
        logging.getLogger("superpositional").warning(f"superpositional: {hint}")
    return None, _why[0] if _why else "torch's (kernels are not built: superpositional kernels)"


def _name() -> str:
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".cpp"))
    # What -march=native depends on; a home may be shared by machines.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    told = {line.split(":", 1)[0].strip(): line for line in lines if line.startswith(("model name", "flags", "Features"))}
    processor = "|".join([platform.machine(), platform.processor(), *told.values()])
    named = [*(path.read_text() for path in sources), *FLAGS, processor]
    return f"{hashlib.sha256('|'.join(named).encode()).hexdigest()[:16]}.so"


def _existing() -> ctypes.CDLL | None:
    """The library, if it is there and may be loaded."""
    name = _name()
    with ExitStack() as opened:
        try:
            path = cache() / "kernels"
            folder = _folder(opened, path)
            library = _descriptor(opened, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, folder)
        except (OSError, RuntimeError):  # not there, of somebody else's, or no home
            return None
        if not _private(library) or not stat.S_ISREG(os.fstat(library).st_mode):
            return None
        # By the folder that was checked. Not by the library's descriptor: a process loads no two libraries of one name.
        by_descriptor = Path(f"/proc/self/fd/{folder}", name)
        return ctypes.CDLL(str(by_descriptor if by_descriptor.exists() else path / name))


def _descriptor(opened: ExitStack, target: str | Path, flags: int, within: int | None = None) -> int:
    found = os.open(target, flags | os.O_CLOEXEC, dir_fd=within)
    opened.callback(os.close, found)
    return found


def _folder(opened: ExitStack, path: Path) -> int:
    """The folder in the cache, open; a PermissionError where another user could have put something there."""
    above = _descriptor(opened, path.parent, os.O_DIRECTORY)
    folder = _descriptor(opened, path.name, os.O_DIRECTORY | os.O_NOFOLLOW, above)
    for each in (above, folder):
        # Older versions created the default cache with the user's umask.
        if "SUPERPOSITIONAL_CACHE" not in os.environ and os.fstat(each).st_uid == os.geteuid():
            os.fchmod(each, stat.S_IMODE(os.fstat(each).st_mode) & ~0o022)
        if not _private(each):
            raise PermissionError(1, "the cache must belong to this user, and others must not write it; chmod go-w it")
    return folder


def _private(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _compile(compiler: list[str], folder: int, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / name
        subprocess.run([*compiler, *FLAGS, "-o", made, SOURCES / "kernels.cpp"], capture_output=True, text=True, check=True)
        # Any number of processes may make it at once, each under a name of its own.
        temporary = f".{name}.{Path(place).name}"
        new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700, dir_fd=folder)
        with open(new, "wb") as file:
            file.write(made.read_bytes())
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
