"""Shared by the tests that train: a place to run in, and the doors."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def statuses(folder: Path) -> dict[str, str]:
    return {
        f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text())["status"]
        for path in sorted(folder.glob("*/seed-*/record.json"))
    }


def wait_for(found: Callable[[], Any], process: subprocess.Popen | None = None, seconds: float = 120) -> Any:
    """What ``found`` gives, once it gives anything; a process that should bring it about must not end before."""
    deadline = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < deadline:
        assert process is None or process.poll() is None
        time.sleep(0.05)
    return value


def read_wandb(path: Path) -> dict:
    """What a ``.wandb`` file says: 7 bytes, then LevelDB's framing of protocol-buffer records."""
    from wandb.proto import wandb_internal_pb2

    content, place, pieces, run = path.read_bytes(), 7, b"", {"history": {}, "summary": {}, "config": {}}
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):
            continue
        record = wandb_internal_pb2.Record()
        record.ParseFromString(pieces)
        pieces = b""
        if record.HasField("run"):
            run |= {"id": record.run.run_id, "group": record.run.run_group, "job_type": record.run.job_type}
            run["name"] = record.run.display_name
            run["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            run["history"].setdefault(key, []).append(json.loads(item.value_json))
        for item in record.summary.update:
            run["summary"][item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        if record.HasField("exit"):
            run["exit_code"] = record.exit.exit_code
    return run
