"""Which sweeps are there, and what does each of them say?

A study is a folder of sweeps' folders, as ``outputs/published``. What its sweeps mean to it stands in their own files; here
is only the order in which a reader meets them, and what is asked of some by name.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from superpositional.evidence import calibration
from superpositional.evidence.verdicts import Verdict
from superpositional.format import Rows, name_seeds
from superpositional.records import Sweep, claims, load_sweep
from superpositional.records.ledger import ledger
from superpositional.records.published import fingerprint
from superpositional.report.findings import Findings, ReportError, findings

ORDER = (
    *("paper_classification", "paper_time", "paper_gsm8k", "quantum_weight", "scope", "controls"),
    *("tune_classification", "tuned_classification", "circuit_depth", "qubits"),
    *("paper_attention", "attention_controls", "shots", "noise", "calibration"),
)
# Of arms that differ by nothing: it tells how often the rule errs, and is no question about any arm.
CALIBRATION = "calibration"


@dataclass(frozen=True)
class Study:
    """The sweeps of a folder: what each says, in the order of ``ORDER``, then by name; searches apart."""

    said: Mapping[str, Findings]
    searches: Mapping[str, tuple[Sweep, Mapping[str, Any]]]

    @property
    def sweeps(self) -> list[Sweep]:
        """All of them, searches too, in order."""
        found = {name: each.sweep for name, each in self.said.items()}
        found |= {name: sweep for name, (sweep, _) in self.searches.items()}
        return [found[name] for name in sorted(found, key=_place)]

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Every verdict with its sweep, but the calibrating ones."""
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
    def planted(self) -> tuple[str, Rows] | None:
        """How often equivalent is false with the effect at the margin: a caption and a table; of the sweep that tells."""
        if CALIBRATION not in self.said:
            return None
        sweep = self.said[CALIBRATION].sweep
        return calibration.planted(sweep, claims.of(sweep)[1])

    @property
    def missing(self) -> list[str]:
        """Sweeps of ``ORDER`` that are not there."""
        there = {sweep.name for sweep in self.sweeps}
        return [name for name in ORDER if name not in there]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The SHA-256 of each sweep's records."""
        return {sweep.name: fingerprint(sweep) for sweep in self.sweeps}

    @property
    def codes(self) -> Counter:
        """Runs by the code version that made them."""
        return Counter(str(run.record.get("code")) for sweep in self.sweeps for run in sweep.runs)


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def is_study(folder: Path) -> bool:
    """Whether a folder holds sweeps and is none itself."""
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
    said, searches = {}, {}
    for name in sorted(found, key=_place):
        sweep, place = found[name]
        if sweep.search is None:
            said[name] = findings(sweep, place)
        else:
            searches[name] = (sweep, ledger(sweep))
    return Study(said, searches)


def extent(sweep: Sweep) -> str:
    """``5 arms × 30 paired seeds (2000–2029)``; of a search its trials."""
    seeds = name_seeds(sweep.seeds).partition(" ")[2]
    if sweep.search is not None:
        arms = dict.fromkeys(arm.split(",")[0] for arm in sweep.arms)
        return f"{len(arms)} arms × {len(sweep.arms) // len(arms)} trials × {len(sweep.seeds)} tuning seeds ({seeds})"
    arms = f"{len(sweep.arms)} arm{'' if len(sweep.arms) == 1 else 's'}"
    return f"{arms} × {len(sweep.seeds)} paired seeds ({seeds})"


def commits(sweep: Sweep) -> str:
    """Which commits its runs were made at, shortly, and whether other files lay there, which the code version tells."""
    git = [run.record.get("git") or {} for run in sweep.runs]
    found = dict.fromkeys(each["commit"][:7] for each in git if each.get("commit"))
    beside = " with other files beside it" if any(each.get("dirty") for each in git) else ""
    return f"{', '.join(found) or 'unknown'}{beside}"
