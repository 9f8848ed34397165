"""Train one recorded run again, from the config that its record holds, and compare the two bit for bit by their digests.

A digest covers every logged number in full, though only thinned curves were published. Where numbers differ, the text names
the metrics, how far they differ, and what else is different here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from superpositional import records
from superpositional.format import name_seeds
from superpositional.places import ConfigError
from superpositional.records import Run, Sweep, identity, published
from superpositional.training import config as configs

# What the last bits of a run may depend on besides its config, in a record's words.
MADE_WITH = ("code", "processor", "kernels", "device", "execution")
PACKAGES = ("python", "torch", "lightning", "numpy", "qiskit", "qiskit-aer", "transformers", "tokenizers", "peft")


@dataclass(frozen=True)
class Rerun:
    """A run and its repetition. ``otherwise`` names what the two were made with that differs, in words."""

    before: Run
    after: Run
    otherwise: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether every number that a run logged came out again, bit for bit, but for those of clocks and memory."""
        if self.before.status != self.after.status or published.digest(self.before) != published.digest(self.after):
            return False
        # Later code may add to a summary.
        return not any(name in self.before.record["summary"] for name, *_ in self._summaries_apart())

    @property
    def text(self) -> str:
        """The comparison in lines."""
        logged = {name: values for name, (_, values) in self.after.curves.items() if not name.startswith(published.CLOCKS)}
        many = f"{sum(map(len, logged.values())):,} numbers of {len(logged)} metrics"
        lines = [f"{self.after.status}, as recorded"]
        if self.before.status != self.after.status:
            why = f": {self.after.record['error']}" if self.after.status in ("diverged", "failed") else ""
            lines = [f"{self.after.status}, and not {self.before.status} as recorded{why}"]
        if self.same:
            lines.append(f"bit for bit the same: {many}, sha256 {published.digest(self.after)}")
        else:
            apart = sorted(self._summaries_apart(), key=lambda each: -each[1])
            told = [(name, *("none" if each is None else repr(each) for each in both)) for name, _, *both in apart]
            shown = [f"  {name}: {now} for {then}" for name, then, now in told]
            lines += [f"not the same: {many}", *(shown or ["  the curves, and no summary"])]
        lines += [f"made with {each}" for each in self.otherwise]
        if not self.same and not self.otherwise:
            lines.append("and nothing that is recorded of code, versions and processor is different")
        return "\n".join(lines)

    def _summaries_apart(self) -> list[tuple[str, float, Any, Any]]:
        """The metrics of summaries that differ, clocks left out: each with its relative difference and both values."""
        before, after = self.before.record["summary"], self.after.record["summary"]
        found = []
        for name in sorted({*before, *after}):
            then, now = before.get(name), after.get(name)
            if then != now and not name.startswith(published.CLOCKS) and "seconds" not in name:
                size = np.inf if None in (then, now) else abs(now - then) / (abs(then) or 1)
                found.append((name, size, then, now))
        return found


def rerun(folder: Path, arm: str, seed: int, out: Path, overrides: Sequence[str] = ()) -> Rerun:
    """Train a recorded run again, into ``out``, and compare.

    Args:
        folder: its sweep's, published or not.
        overrides: ``data.path=...`` and the like: what says where things lie and changes no number.

    Raises:
        FileNotFoundError: there is no sweep.
        ConfigError: there is no such run, ``out`` holds one or cannot be, or an override would make it another run.
    """
    from superpositional.training.run import run

    sweep = records.load_sweep(folder)
    before = _find(sweep, arm, seed)
    if any((out / name).exists() for name in ("record.json", records.RUNNING)):
        raise ConfigError([f"{out} holds a run already; choose another with --out"])
    config = _moved(before.record["config"], overrides) | {"claims": sweep.claims, "logger": None}
    code = configs.code(config)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"--out must be a folder to write to, got {str(out)!r}: {error.strerror}"]) from None
    record = run(config, out, code=code)
    after = Run(sweep.name, arm, seed, record["status"], records.read_record(out), records.read_curves(out / "curves.csv"))
    return Rerun(before, after, tuple(_otherwise(before.record, after.record)))


def _moved(recorded: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A recorded config with its things where they lie here."""
    # Beside it what the record of such a run would hold: of an absolute path the last name (``run``).
    config, shown = OmegaConf.create(dict(recorded)), OmegaConf.create(dict(recorded))
    for text in overrides:
        key = text.partition("=")[0]
        there = OmegaConf.select(config, key, default=ConfigError)
        if there is ConfigError:
            raise ConfigError([f"{key} is not in the run's config; drop it"])
        override = configs.parse_override(text)
        one = not override.is_sweep_override() and not isinstance(there, DictConfig)
        if one:
            value = override.value()
            absolute = isinstance(value, str) and Path(value).is_absolute()
            OmegaConf.update(config, key, value)
            OmegaConf.update(shown, key, Path(value).name if absolute else value)
        if not one or _told(OmegaConf.to_container(shown)) != _told(recorded):
            raise ConfigError([f"{text} would make it another run; only where things lie may be told anew"])
    return OmegaConf.to_container(config)


def _told(config: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """What makes a run, and how it is named."""
    return identity.identity(config, ""), [config.get(key) for key in identity.PRESENTATION]


def _find(sweep: Sweep, arm: str, seed: int) -> Run:
    if arm not in sweep.arms:
        raise ConfigError([f"arm must be one of {', '.join(sweep.arms)}, got {arm!r}"])
    runs = {run.seed: run for run in sweep.runs if run.arm == arm}
    if seed not in runs:
        raise ConfigError([f"seed of {arm} must be one of {name_seeds(runs).partition(' ')[2] or 'none'}, got {seed}"])
    return runs[seed]


def _otherwise(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    # What failed before it trained has no device.
    pairs = [(name, before.get(name), after[name]) for name in MADE_WITH if name in after]
    versions = before.get("versions", {}), after.get("versions", {})
    pairs += [(name, *(each.get(name) for each in versions)) for name in PACKAGES]
    before_it = {name: f"not {then}" if then else "and the record does not say" for name, then, _ in pairs}
    return [f"{name} {now or 'none'}, {before_it[name]}" for name, then, now in pairs if then != now]
