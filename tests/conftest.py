"""Shared by the tests that train: a place to run in, and the doors."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superpositional import cli

# A run of three steps that writes next to nothing.
SMOKE = ["trainer=smoke", "logger=none"]


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    """Built once, as ``make`` does; runs of this process build none for a test's own cache."""
    from superpositional.training.run import build_kernels

    build_kernels()


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without kernels, as where there is no compiler."""
    from superpositional.circuits.kernels import build

    monkeypatch.setattr(build, "library", lambda: None)


@pytest.fixture(params=["kernels", "torch"])
def either_way(request: pytest.FixtureRequest) -> str:
    """Once by kernels, once by torch's code."""
    if request.param == "torch":
        request.getfixturevalue("by_torch")
    return request.param


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in; runs write to ``outputs`` below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["superpositional"])
    # A developer's own key must not send test runs anywhere.
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


@pytest.fixture
def door(workplace: Path, capfd: pytest.CaptureFixture):
    """The console script, in this process: arguments to (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            cli.main(list(arguments))
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    return call


def statuses(folder: Path) -> dict[str, str]:
    return {
        f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text())["status"]
        for path in sorted(folder.glob("*/seed-*/record.json"))
    }


def heed_ctrl_c() -> None:
    """In a child: a shell has its background jobs, such as the slow tests in CI, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(found: Callable[[], Any], process: subprocess.Popen | None = None, seconds: float = 120) -> Any:
    """What ``found`` gives, once it gives anything; a process that should bring it about must not end before."""
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        assert process is None or process.poll() is None
        time.sleep(0.05)
    return value
