"""Count what a search spent on each arm and what it found, from the records of all its runs.

The launcher writes the ledger beside the records, and ``report`` shows it. An arm's best trial is its best on the tuning
seeds, so those seeds can say nothing more about it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from superpositional import records
from superpositional.records import Run, Sweep

FILE = "ledger.json"
# What becomes of a trial. One run without a value loses it, for a mean over fewer seeds is another quantity; one that is
# still to come only keeps it waiting.
COMPLETE, LOST, UNFINISHED = "complete", "lost", "unfinished"


def ledger(sweep: Sweep) -> dict[str, Any]:
    """Trials, compute and findings of every arm, as plain JSON.

    ``best`` is None until an arm has a trial with all its runs done. ``why_not`` says in words what makes budgets unequal.

    Raises:
        ValueError: the sweep is no search, or selects by the test set.
    """
    search = _search(sweep)
    runs: dict[str, dict[int, Run]] = {}
    for run in sweep.runs:
        runs.setdefault(run.arm, {})[run.seed] = run
    arms = {arm: _arm(sweep, arm, values, runs) for arm, values in search["values"].items()}
    planned = {trial for values in search["values"].values() for trial in values}
    # Trials that an earlier call of a larger search, or of another, has left in the plan.
    others = [arm for arm in sweep.arms if arm not in planned]
    why_not = [*_unequal(arms), *_further(others)]
    return {
        "sweep": sweep.name,
        "question": sweep.question,
        **{key: search[key] for key in ("trials", "seed", "metric", "goal", "space", "own")},
        "tuning_seeds": list(sweep.seeds),
        "equal_budget": not why_not,
        "why_not": why_not,
        "arms": arms,
        "others": {arm: _spent(runs.get(arm, {}).values()) for arm in others},
    }


def write(folder: str | Path) -> Path:
    """Write ``ledger.json`` into the folder of a search, finished or not, or published.

    Raises:
        FileNotFoundError: the folder is not a sweep's.
        ValueError: the sweep is no search.
    """
    path = Path(folder) / FILE
    records.write_json(path, ledger(records.load_sweep(folder)))
    return path


def _search(sweep: Sweep) -> Mapping[str, Any]:
    if sweep.search is None:
        raise ValueError(f"{sweep.name} is no search, so it has no ledger; give its sweep file a hydra.sweeper.search")
    metric = sweep.search["metric"]
    if metric.startswith("test/"):
        raise ValueError(f"the metric of a search must not be of the test set, got {metric!r}; select by val/ values")
    return sweep.search


def _arm(
    sweep: Sweep, arm: str, values: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Mapping[int, Run]]
) -> dict[str, Any]:
    search = sweep.search
    trials = [
        {
            "trial": trial,
            "number": number,
            "values": dict(drawn),
            **_trial(search["metric"], sweep.seeds, runs.get(trial, {})),
        }
        for number, (trial, drawn) in enumerate(values.items())
    ]
    ranked = sorted(trials, key=lambda trial: _rank(trial, search["goal"]))
    for rank, trial in enumerate(ranked, start=1):
        trial["rank"] = rank
    statuses = Counter()
    for trial in trials:
        statuses.update(trial["statuses"])
    own = [run for trial in values for run in runs.get(trial, {}).values()]
    set_aside = [counts for name, counts in sweep.set_aside.items() if name.startswith(f"{arm},trial-")]
    return {
        "trials_planned": len(trials),
        "trials_recorded": sum(any(trial["statuses"][status] for status in records.STATUSES) for trial in trials),
        "seeds": list(sweep.seeds),
        "runs_planned": len(trials) * len(sweep.seeds),
        "statuses": {status: statuses[status] for status in (*records.STATUSES, "missing")},
        **_spent(own),
        "set_aside": {
            key: sum(each[key] for each in set_aside) for key in ("runs", "wall_seconds", "without_wall_seconds")
        },
        "space": {**search["space"], **search["own"].get(arm, {})},
        "best": ranked[0]["trial"] if ranked and ranked[0]["outcome"] == COMPLETE else None,
        "median": _median(trials, search["goal"]),
        "trials": trials,
    }


def _trial(metric: str, seeds: Sequence[int], runs: Mapping[int, Run]) -> dict[str, Any]:
    """One trial over the tuning seeds: how its runs ended, and the metric of each that has it."""
    statuses = Counter(runs[seed].status if seed in runs else "missing" for seed in seeds)
    done = {seed: runs[seed].summary(metric) for seed in seeds if seed in runs and runs[seed].status == "done"}
    values = [value for value in done.values() if value is not None]
    if statuses["diverged"] or statuses["failed"] or len(values) < len(done):
        outcome = LOST
    else:
        outcome = UNFINISHED if statuses["missing"] or statuses["interrupted"] else COMPLETE
    # A mean of equal values must equal them, so that ties are ties.
    same = len(set(values)) == 1
    return {
        "statuses": {status: statuses[status] for status in (*records.STATUSES, "missing")},
        "outcome": outcome,
        "metric_by_seed": {str(seed): done.get(seed) for seed in seeds},
        "n": len(values),
        "mean": (values[0] if same else float(np.mean(values))) if values else None,
        "sd": (0.0 if same else float(np.std(values, ddof=1))) if len(values) > 1 else None,
        **_spent(runs.values()),
    }


def _rank(trial: Mapping[str, Any], goal: str) -> tuple[bool, int, float, int]:
    """Complete trials by their mean, then the others by how much of them there is; ties go to the lower number."""
    complete = trial["outcome"] == COMPLETE
    worth = -math.inf if trial["mean"] is None else trial["mean"] * (1 if goal == "max" else -1)
    return not complete, 0 if complete else -trial["n"], -worth, trial["number"]


def _median(trials: Sequence[Mapping[str, Any]], goal: str) -> float | None:
    """The median over the trials that have ended; None where it falls among the lost, which are worse than any value."""
    means = [trial["mean"] for trial in trials if trial["outcome"] == COMPLETE]
    best_first = sorted(means, reverse=goal == "max")
    ended = len(means) + sum(trial["outcome"] == LOST for trial in trials)
    middle = [ended // 2] if ended % 2 else [ended // 2 - 1, ended // 2]
    if not ended or middle[-1] >= len(best_first):
        return None
    return float(np.mean([best_first[index] for index in middle]))


def _spent(runs: Iterable[Run]) -> dict[str, Any]:
    """Seconds and steps over all runs, however they ended, and how many do not say."""
    found = [run.record for run in runs]
    spent: dict[str, Any] = {"runs_recorded": len(found)}
    for key in ("wall_seconds", "steps"):
        said = [record[key] for record in found if record.get(key) is not None]
        # Nothing run has cost nothing; runs of which none says what it cost have an unknown cost.
        spent |= {key: sum(said) if said or not found else None, f"without_{key}": len(found) - len(said)}
    return spent | {"devices": sorted({str(record["device"]) for record in found if record.get("device")})}


def _unequal(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What makes the arms' budgets differ, in words."""
    words = []
    for what, key in (("planned", "trials_planned"), ("recorded", "trials_recorded")):
        counts = {arm: entry[key] for arm, entry in arms.items()}
        if len(set(counts.values())) > 1:
            words.append(f"trials {what}: {', '.join(f'{arm} {count}' for arm, count in counts.items())}")
    # A run that diverged has answered; one that failed or did not end has not.
    for status, how in (("missing", ""), ("interrupted", ""), ("failed", " with --retry-failed")):
        for arm, entry in arms.items():
            if count := entry["statuses"][status]:
                words.append(f"{arm}: {count} of {entry['runs_planned']} runs {status}; call the sweep again{how}")
    aside = {arm: entry["set_aside"]["runs"] for arm, entry in arms.items()}
    if len(set(aside.values())) > 1:
        words.append(f"runs set aside: {', '.join(f'{arm} {count}' for arm, count in aside.items())}")
    return words


def _further(others: Sequence[str]) -> list[str]:
    if not others:
        return []
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return [f"{len(others)} arms here are of no trial of this search: {named}; search in a folder of its own"]
