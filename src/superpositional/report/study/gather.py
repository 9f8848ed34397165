"""The sweeps of a study, a folder of sweeps' folders, and what each of them says."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from superpositional.evidence import calibration
from superpositional.evidence.verdicts import Verdict
from superpositional.records import Sweep, claims, load_sweep
from superpositional.records.ledger import ledger
from superpositional.records.published import fingerprint
from superpositional.report.findings import Findings, ReportError, findings
from superpositional.report.tables import Table

# The order in which a reader meets them; others follow by name.
ORDER = ("paper_classification", "paper_time", "paper_gsm8k", "quantum_weight", "scope", "controls", "tune_classification")
ORDER += ("tuned_classification", "circuit_depth", "qubits", "paper_attention", "attention_controls", "shots", "noise")
# Of arms that differ by nothing: it tells how often the rule errs, and asks nothing about any arm.
CALIBRATION = "calibration"
ORDER += (CALIBRATION,)


@dataclass(frozen=True)
class Study:
    """The sweeps of a folder in order, the findings of each, and the ledgers of searches."""

    sweeps: tuple[Sweep, ...]
    said: Mapping[str, Findings]
    searches: Mapping[str, Mapping[str, Any]]

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Every verdict with its sweep, except the calibrating ones."""
        return [(name, each) for name, said in self.said.items() if name != CALIBRATION for each in said.judged]

    @property
    def of_the_paper(self) -> list[tuple[str, Verdict]]:
        """The paper's own claims, in its order: those that say where it claims them."""
        found = [(name, verdict) for name, verdict in self.verdicts if verdict.claim.source]
        return sorted(found, key=lambda each: each[1].claim.id.split("_")[0])

    @property
    def besides(self) -> list[tuple[str, Verdict]]:
        """What else was asked."""
        return [(name, verdict) for name, verdict in self.verdicts if not verdict.claim.source]

    @cached_property
    def planted(self) -> Table | None:
        """How often equivalent is false with the effect at the margin."""
        sweep = self.said[CALIBRATION].sweep if CALIBRATION in self.said else None
        return sweep and Table(*calibration.planted(sweep, claims.of(sweep)[1]))

    @property
    def missing(self) -> list[str]:
        """Sweeps of ``ORDER`` that are not there."""
        return [name for name in ORDER if name not in {sweep.name for sweep in self.sweeps}]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The SHA-256 of each sweep's records."""
        return {sweep.name: fingerprint(sweep) for sweep in self.sweeps}


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def is_study(folder: Path) -> bool:
    """Whether a folder holds sweeps and is not itself one."""
    return not (folder / "sweep.json").exists() and any(folder.glob("*/sweep.json"))


def gather(folder: Path) -> Study:
    """Read every sweep of a folder.

    Raises:
        ReportError: there is none, or one cannot be reported.
    """
    found: dict[str, tuple[Sweep, Path]] = {}
    for path in sorted(folder.glob("*/sweep.json")):
        sweep = load_sweep(path.parent)
        if sweep.name in found:
            raise ReportError(f"{path.parent} and {found[sweep.name][1]} are both of {sweep.name}; take one out")
        found[sweep.name] = (sweep, path.parent)
    if not found:
        raise ReportError(f"no sweep in {folder}: none of its folders holds a sweep.json")
    ordered = {name: found[name] for name in sorted(found, key=_place)}
    said = {name: findings(sweep, place) for name, (sweep, place) in ordered.items() if sweep.search is None}
    searches = {name: ledger(sweep) for name, (sweep, _) in ordered.items() if sweep.search is not None}
    return Study(tuple(sweep for sweep, _ in ordered.values()), said, searches)
