"""Shared by the tests that train: a place to run in, and the doors."""

from pathlib import Path

import pytest

from superpositional import cli

# A run of three steps that writes next to nothing.
SMOKE = ["trainer=smoke", "logger=none"]


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
