"""Can these runs be compared at all?

What must be the same in all runs of a comparison and is not, in words; and for times, whether the runs had the machine to
themselves, one after the other, the arms of a seed side by side. Read by ``verdicts``, which gives none where it cannot.
"""

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from superpositional.analysis import name_seeds
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
    stamps: dict[str, Counter] = {}
    for run in ended:
        # Behind a + stand the user's own sources, which belong to an arm.
        stamp = {"code versions": str(run.record.get("code")).split("+")[0], "execution modes": run.record.get("execution")}
        if run.status == "done":
            stamp["targets"] = run.summary("convergence/target")
        config = run.record.get("config") or {}
        stamp |= {f"{key} settings": json.dumps(config.get(key), sort_keys=True) for key in TASK}
        for name, value in stamp.items():
            stamps.setdefault(name, Counter())[str(value)] += 1
    words = []
    for name, counts in stamps.items():
        if len(counts) > 1:
            shown = [
                f"{count} with {value}" if len(value) < 30 else f"{count} with others" for value, count in counts.items()
            ]
            words.append(f"the runs differ in {name} ({', '.join(shown)}); run the sweep again under one")
    return [*words, *_unequally_tuned(sweep, {run.arm for run in ended})]


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
        words.append(f"runs went side by side {overlapping} times; {cure}")
    compared = sorted(runs, key=_span)
    order = [run.seed for run in compared]
    # Each seed's runs one after the other: a machine that slows down in an hour slows both arms.
    scattered = {
        seed
        for seed in order
        if order[order.index(seed) : order.index(seed) + order.count(seed)] != [seed] * order.count(seed)
    }
    if scattered:
        words.append(f"the arms were not interleaved at {name_seeds(scattered)}; {cure}")
    if resumed := sorted({run.seed for run in runs if run.record.get("sessions", 1) > 1}):
        words.append(f"runs were interrupted and resumed ({name_seeds(resumed)}); run them again")
    for key, name in (("device", "devices"), ("machine", "machines")):
        if len(found := {str(run.record.get(key)) for run in runs}) > 1:
            words.append(f"the runs differ in {name} ({len(found)}); {cure}")
    busy = [run for run in runs if run.record.get("load", 0.0) > run.record["config"].get("threads", 1) + OTHERS]
    if len(busy) > len(runs) / 2:
        words.append(f"the machine was busy with other work at the start of {len(busy)} of {len(runs)} runs; {cure}")
    return words


def _span(run: Run) -> tuple[float, float]:
    start = datetime.datetime.fromisoformat(run.record["started"]).timestamp()
    return start, start + run.record["wall_seconds"]
