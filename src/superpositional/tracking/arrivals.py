"""What has arrived on Weights & Biases, and as what?

A mark beside a run says where its record was sent and what that record held, so that nothing is sent twice and a record
that has changed since is sent again. Written by an online run that ends whole, and by sync.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superpositional import records

MARK = Path("wandb/synced.json")


def here(server: str, project: str | None = None, entity: str | None = None) -> dict[str, Any]:
    """A place: W&B's server, and what was asked for instead of each run's own project and entity."""
    return {"server": server, "project": project, "entity": entity}


def state(folder: Path) -> str:
    """A fingerprint of a run's record."""
    return fingerprint([folder / "record.json"])


def fingerprint(files: Sequence[Path]) -> str:
    """Of what files hold."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def mark(folder: Path, place: Mapping[str, Any], state: str, name: Path = MARK) -> None:
    """Note that what lies in a folder has arrived at a place."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    records.write_json(path, {**place, "state": state})


def marked(folder: Path, place: Mapping[str, Any], state: str, name: Path = MARK) -> bool:
    """Whether what lies there now has arrived at this place."""
    try:
        return json.loads((folder / name).read_text(encoding="utf-8")) == {**place, "state": state}
    except (FileNotFoundError, json.JSONDecodeError):
        return False
