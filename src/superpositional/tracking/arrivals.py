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
    """Note that what lies in a folder has arrived at a place; what it was before is no news any more.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    kept = [each for each in _marks(folder, name) if each["state"] == state and each != {**place, "state": state}]
    records.write_json(path, {"arrived": [*kept, {**place, "state": state}]})


def marked(folder: Path, place: Mapping[str, Any], state: str, name: Path = MARK) -> bool:
    """Whether what lies there now has arrived at this place."""
    return {**place, "state": state} in _marks(folder, name)


def _marks(folder: Path, name: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))["arrived"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
