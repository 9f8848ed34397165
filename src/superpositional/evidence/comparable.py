"""Can these runs be compared at all?

What must be the same in all runs of a comparison and is not, in words; and for times, whether the runs had the machine to
themselves, one after the other, the arms of a seed side by side. Read by ``verdicts``, which gives none where it cannot.
"""

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from superpositional.evidence.analysis import material
from superpositional.format import name_seeds, number
from superpositional.records import Run, Sweep

# Nodes of a config that a method has no part in: to change them is to change the task.
TASK = ("data", "task", "trainer", "threads")
# The most that two runs may seem to overlap: a start is stamped before its seconds are counted.
SLACK_SECONDS = 0.05
# Processes beside the run itself that a machine may have had to run when it started, on average over the last minute.
OTHERS = 0.5


def unlike(sweep: Sweep, runs: Iterable[Run]) -> list[str]:
    """What differs between runs that have ended, each in words with its cure; nothing if they can be compared."""
    ended = [run for run in runs if run.status in ("done", "diverged")]
    stamps = [_stamp(run) for run in ended]
    words = []
    for name in dict.fromkeys(name for stamp in stamps for name in stamp):
        counts = Counter(stamp.get(name, "none") for stamp in stamps)
        if len(counts) > 1:
            shown = ", ".join(f"{count} with {value}" for value, count in counts.items())
            words.append(f"the runs differ in {name} ({shown}); run the sweep again under one")
    # A run that diverged may have ended before it could say its target.
    targets = Counter(run.summary("convergence/target") for run in ended if run.status == "done")
    if len(targets) > 1:
        shown = ", ".join(f"{count} with {json.dumps(value)}" for value, count in targets.items())
        words.append(f"the runs differ in targets ({shown}); run the sweep again under one")
    return [*words, *_unequally_tuned(sweep, {run.arm for run in ended})]


def _stamp(run: Run) -> dict[str, str]:
    """What must be the same in all runs of a comparison, by what it is called."""
    # Behind a + stand the user's own sources, which belong to an arm.
    found = {
        "code versions": str(run.record.get("code")).split("+")[0],
        "execution modes": str(run.record.get("execution")),
    }
    found |= material(run)
    config = run.record.get("config") or {}
    for key in TASK:
        found |= {f"the setting {path}": text for path, text in _settings(key, config.get(key))}
    if "the data's hash" in found:
        # Where rows lie that are known by their hash is no matter.
        found.pop("the setting data.path", None)
    return found


def machines(runs: Iterable[Run]) -> Iterable[str]:
    """What the runs were made on and by, where that differs: numbers come out a little otherwise on another device."""
    ended = [run for run in runs if run.status in ("done", "diverged")]
    for key, name in (("device", "devices"), ("processor", "processors"), ("kernels", "kernels")):
        counts = Counter(run.record.get(key) or "not said" for run in ended)
        if len(counts) > 1:
            shown = [f"{value} ({number(count, 'run')})" for value, count in counts.items()]
            yield f"{name}: {', '.join(shown)}"


def _settings(path: str, value: Any) -> Iterable[tuple[str, str]]:
    """Every single value of a config's node, with its path: ``data.length``, ``16``.

    Not the schedules of a task: λ's belongs to the method, and a learning rate's to its settings.
    """
    if path.endswith("_schedule"):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _settings(f"{path}.{key}", item)
    elif value is not None:
        yield path, json.dumps(value)


def _unequally_tuned(sweep: Sweep, arms: set[str]) -> Iterable[str]:
    if sweep.tuned is None:
        return
    named = {arm: any(arm == own or arm.startswith(f"{own},") for own in sweep.tuned["arms"]) for arm in arms}
    if untuned := sorted(arm for arm, tuned in named.items() if not tuned):
        yield f"{', '.join(untuned)} had no share in the search that tuned the others; search for every arm"
    if not sweep.tuned.get("equal_budget", True):
        yield f"the arms were tuned with unequal budgets: {'; '.join(sweep.tuned['why_not'])}"


def one_at_a_time(sweep: Sweep, runs: Sequence[Run]) -> list[str]:
    """Why times of these runs are no measurement, in words; nothing if they are one."""
    cure = "run such a sweep with hydra.launcher.jobs=1, one call, nothing else at work (sweeps/paper_time.yaml)"
    every = [run for run in sweep.runs if run.record.get("started") and run.record.get("wall_seconds") is not None]
    if any(run not in every for run in runs):
        return [f"some runs do not say when they ran; {cure}"]
    words = []
    spans = sorted((_span(run), run.arm, run.seed) for run in every)
    overlapping = sum(one[0][1] > other[0][0] + SLACK_SECONDS for one, other in pairwise(spans))
    if overlapping:
        words.append(f"runs went side by side {overlapping} time{'' if overlapping == 1 else 's'}; {cure}")
    # Each seed's runs one after the other: a machine that slows down in an hour slows both arms.
    compared, order = {(run.arm, run.seed) for run in runs}, sorted(every, key=_span)
    scattered = set()
    for seed in {run.seed for run in runs}:
        places = [index for index, run in enumerate(order) if run.seed == seed and (run.arm, seed) in compared]
        if any(run.seed != seed for run in order[places[0] : places[-1] + 1]):
            scattered.add(seed)
    if scattered:
        words.append(f"the arms were not interleaved at {name_seeds(scattered)}; {cure}")
    if resumed := sorted({run.seed for run in runs if run.record.get("sessions", 1) > 1}):
        words.append(f"runs were interrupted and resumed ({name_seeds(resumed)}); run them again")
    for key, name in (("device", "devices"), ("machine", "machines")):
        if len(found := {str(run.record.get(key)) for run in runs}) > 1:
            words.append(f"the runs differ in {name} ({len(found)}); {cure}")
    if any(run.record.get("load") is None for run in runs):
        return [*words, f"some runs do not say how busy the machine was; {cure}"]
    for arm in sorted({run.arm for run in runs}):
        own = [run for run in runs if run.arm == arm]
        busy = [run for run in own if run.record["load"] > (run.record.get("config") or {}).get("threads", 1) + OTHERS]
        if len(busy) > len(own) / 2:
            words.append(f"the machine had other work at the start of {len(busy)} of {len(own)} runs of {arm}; {cure}")
    return words


def _span(run: Run) -> tuple[float, float]:
    start = datetime.datetime.fromisoformat(run.record["started"]).timestamp()
    return start, start + run.record["wall_seconds"]
