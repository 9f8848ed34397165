"""On what, and with what, was it measured?

Without the machine's name or any path: records are read by others. Read by ``command``.
"""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    *("superpositional", "torch", "numpy", "lightning", "qiskit", "qiskit-aer"),
    *("pennylane", "pennylane-lightning", "qiskit-machine-learning"),
)
CPU = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """The processor and how much of it torch uses, the GPU if there is one, and how busy the machine was."""
    import torch

    from superpositional.circuits.kernels import build

    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernels": build.told(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
    }


def cpu_model() -> str:
    """The processor's own name, where the system tells it."""
    if CPU.is_file():
        for line in CPU.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Of everything that is measured; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def in_a_line(told: dict[str, Any], with_versions: dict[str, str | None]) -> str:
    """Machine and versions as the tables' last line says them."""
    parts = [told["cpu"], f"{told['cores']} cores", f"torch on {told['threads']} threads", told["gpu"] or "no GPU"]
    parts.append(f"kernels by {told['kernels']}")
    if told["load"] is not None:
        # What else ran: times of a busy machine are to be read with care.
        parts.append(f"load {told['load']:.1f}")
    return "; ".join([*parts, ", ".join(f"{name} {version}" for name, version in with_versions.items() if version)])
