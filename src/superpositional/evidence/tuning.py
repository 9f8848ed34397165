"""Word a search's ledger: the caption, the table and the rows of its report.

Every arm's best trial is named and no best arm: the best of many on these seeds looks better on them than it is.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from superpositional import format
from superpositional.evidence import analysis
from superpositional.records import STATUSES, Sweep


def lead(sweep: Sweep, found: Mapping[str, Any]) -> str:
    trials = {format.label(arm): _best(entry) for arm, entry in found["arms"].items()}
    best = [f"{arm} {trial['mean']:.4g}" if trial else f"{arm} none yet" for arm, trial in trials.items()]
    waiting = " The search is unfinished, so this is an interim look." if sweep.missing else ""
    return (
        f"**In short.** Best of {found['trials']} trials by {found['metric']}, {_seeds(found)}: {', '.join(best)}. "
        "Each is the best on the very seeds that chose it, which flatters it; which arm is better, only other seeds can "
        f"tell.{waiting}"
    )


def caption(sweep: Sweep, found: Mapping[str, Any]) -> str:
    better = "higher" if found["goal"] == "max" else "lower"
    parts = [
        f"{analysis.progress(sweep).capitalize()}.",
        f"A search: {found['trials']} Sobol trials of every arm, at the same points of the space they share",
        f"({_space(found['space'])}),",
        f"ranked by {found['metric']} ({better} is better), {_seeds(found)}, ± sd over them.",
    ]
    for arm, space in found["own"].items():
        parts.append(f"{format.label(arm)} searches {_space(space)} too, with no more trials.")
    if found["equal_budget"]:
        parts.append("Budgets are equal: as many trials and seeds of every arm, all ended.")
    else:
        parts.append(f"Caution, budgets are not equal: {'; '.join(found['why_not'])}.")
    if aside := sum(entry["set_aside"]["runs"] for entry in found["arms"].values()):
        parts.append(f"{aside} further runs, of another config or code version, were looked at before and set aside.")
    parts.append("Tuning seeds select, they do not test: no arm is shown to be better here.")
    if mixed := analysis.mixed_versions(sweep.runs):
        parts.append(f"Caution, the runs differ in {'; '.join(mixed)}.")
    return " ".join(parts)


def _seeds(found: Mapping[str, Any]) -> str:
    seeds = found["tuning_seeds"]
    return f"mean over n = {format.number(len(seeds), 'tuning seed')} ({format.name_seeds(seeds)})"


def _space(space: Mapping[str, Any]) -> str:
    """``optimizer.lr 0.0001 to 0.1 (log)``."""
    words = [
        f"{key} of {', '.join(map(_typed, each['choices']))}"
        if "choices" in each
        else f"{key} {each['low']:g} to {each['high']:g}{' (log)' if each['log'] else ''}"
        for key, each in space.items()
    ]
    return ", ".join(words) or "nothing"


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _best(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((trial for trial in entry["trials"] if trial["trial"] == entry["best"]), None)


def _values(trial: Mapping[str, Any]) -> str:
    """As they are typed: ``optimizer.lr=0.001234``."""
    return " ".join(f"{key}={_typed(value)}" for key, value in trial["values"].items())


def _score(trial: Mapping[str, Any]) -> str:
    spread = "" if trial["sd"] is None else f" ± {trial['sd']:.2g}"
    return f"{trial['mean']:.4g}{spread} (n = {trial['n']})"


def _seconds(entry: Mapping[str, Any]) -> str:
    without = entry["without_wall_seconds"]
    seconds = entry["wall_seconds"]
    said = "unknown" if seconds is None else f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.3g}"
    return f"{said}{f' ({without} runs do not say)' if without else ''}"


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A table's cells, a row per arm; the last column exists only if some run did not simply end."""
    head = ("arm", "trials", "seeds", "best trial", "its values", f"{found['metric']} at best", "median over trials")
    table = [(*head, "diverged runs", "compute (s)", "ended otherwise")]
    for arm, entry in found["arms"].items():
        runs, statuses = entry["runs_planned"], entry["statuses"]
        trials = f"{entry['trials_recorded']} of {entry['trials_planned']}"
        trial = _best(entry)
        best = (f"{trial['number']}", f"`{_values(trial)}`", _score(trial)) if trial else ("–", "–", "–")
        median = "–" if entry["median"] is None else f"{entry['median']:.4g}"
        diverged = f"{statuses['diverged']} of {runs} ({100 * statuses['diverged'] / runs:.0f} %)"
        others = [f"{statuses[each]} {each}" for each in ("failed", "interrupted", "missing") if statuses[each]]
        first, last = (format.label(arm), trials, str(len(entry["seeds"]))), ", ".join(others) or "–"
        table.append((*first, *best, median, diverged, _seconds(entry), last))
    return table if any(row[-1] != "–" for row in table[1:]) else [row[:-1] for row in table]


def values(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per trial of every arm, with every digit; None is "no value"."""
    keys = list(dict.fromkeys(key for entry in found["arms"].values() for key in entry["space"]))
    for arm, entry in found["arms"].items():
        for trial in entry["trials"]:
            row = {"arm": arm} | {key: trial[key] for key in ("trial", "number", "rank")}
            row |= {"best": trial["trial"] == entry["best"], "outcome": trial["outcome"]}
            row |= {key: trial["values"].get(key) for key in keys}
            row |= {status: trial["statuses"][status] for status in (*STATUSES, "missing")}
            row |= {key: trial[key] for key in ("n", "mean", "sd", "wall_seconds", "steps")}
            scores = zip(found["tuning_seeds"], trial["metric_by_seed"].values(), strict=True)
            yield row | {f"{found['metric']} seed {seed}": score for seed, score in scores}
