"""What does a report say in words?

Captions, leads and notes: what was compared, what the rule of the verdicts is, and the answer in short, no more than the
intervals allow. Read by `report`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from superpositional import analysis, claims, verdicts
from superpositional.analysis import Comparison, Measure
from superpositional.records import Sweep
from superpositional.verdicts import Verdict

RULE = (
    f"A verdict is superior or inferior if there are at least {verdicts.LEAST_PAIRS} pairs and the paired t test, adjusted "
    "after Holm over the claims of a family, rejects no effect at 5 %; else equivalent if the 90 % interval lies within ± "
    "the margin; else inconclusive, which is not equal. Intervals shown are Student's (ratios: Fieller's) at 95 %, of each "
    "claim alone."
)


ATTRIBUTION = (
    "What each control, an arm without the quantum part, does against the same baseline, and what the claim's arm does "
    "beyond it; 95 % intervals, not corrected for multiplicity. What stays: the control's effect over the arm's, where the "
    "arm's is established (superior or inferior)."
)


def lead(sweep: Sweep, comparisons: Mapping[Measure, Sequence[Comparison]], judged: Sequence[Verdict]) -> str:
    """The answer in short, and no more than the intervals allow."""
    if not any(comparisons.values()):
        return "One arm: nothing to compare."
    baseline = against(sweep)
    parts = []
    for measure, table in comparisons.items():
        apart = [c for c in table if c.verdict.startswith("The interval excludes 0:")]
        named = [f"{analysis.label(c.arm.arm)} {analysis.bounds(c.estimate, measure.unit)}" for c in apart]
        # An interval of some pairs speaks of those alone, and says so.
        some_pairs = [c for c in table if c.verdict.startswith("The interval excludes 0 over these pairs only")]
        named += [
            f"{analysis.label(c.arm.arm)} {analysis.bounds(c.estimate, measure.unit)} over {c.estimate.n} of "
            f"{c.arm.planned} pairs alone"
            for c in some_pairs
        ]
        some = any(c.estimate.low is not None for c in table)
        none = f"no arm's interval against {baseline} excludes 0" if some else f"no interval against {baseline} to speak of"
        parts.append(f"{measure.name}: {', '.join(named) or none}")
    # What has no pair left has no interval either, and that may be the result.
    lost = Counter((run.arm, run.status) for run in sweep.runs if run.status in ("diverged", "failed"))
    ended = [f"{analysis.label(arm)} {status} in {n} of {len(sweep.seeds)} runs" for (arm, status), n in lost.items()]
    ends = f" Ended otherwise: {'; '.join(ended)}." if ended else ""
    waiting = " The sweep is unfinished, so this is an interim look." if sweep.missing else ""
    claimed = f"{verdicts.lead(judged)} " if judged else ""
    if late := next((text for verdict in judged for text in verdict.cautions if text.startswith("exploratory")), ""):
        claimed += f"These verdicts are {late}. "
    alone = "Of each interval alone, uncorrected: " if judged else ""
    text = "; ".join(parts)
    return f"**In short.** {claimed}{alone}{text if alone else text[0].upper() + text[1:]}.{ends}{waiting}"


def against(sweep: Sweep) -> str:
    """What the arms are held to, in words."""
    found = {sweep.baseline(arm) for arm in sweep.arms}
    first = analysis.label(sweep.arms[0])
    return first if len(found) == 1 else f"{first.split(',')[0]} at the same values"


def claims_caption(sweep: Sweep, judged: list[Verdict], content: dict[str, Any] | None) -> str:
    if not judged:
        return ""
    parts = [RULE]
    families = Counter(verdict.claim.family for verdict in judged)
    parts.append(f"Families: {', '.join(f'{name} ({count})' for name, count in families.items())}.")
    parts.append(
        "Found with 80 % power, and pairs that decide with that power if the effect is 0 or as large as the margin: from "
        "the sd seen, at the family's strictest level."
    )
    late = verdicts.declared_after(sweep, claims.digest(content))
    if late:
        parts.append(f"Exploratory: declared or changed after {late} of {len(sweep.runs)} runs were made.")
    if sweep.tuned is None:
        parts.append("No arm was tuned: against a baseline at untuned settings a gain may be one of settings.")
    return " ".join(parts)


def provenance(sweep: Sweep) -> dict[str, str]:
    codes = sorted({str(run.record.get("code")) for run in sweep.runs if run.status == "done"})
    return {"sweep": sweep.name, "runs": analysis.progress(sweep), "code": ", ".join(codes)}


def note(sweep: Sweep) -> str:
    """What a figure must say of runs that are not done, in lines; nothing where all are."""
    complete = not sweep.missing and all(run.status == "done" for run in sweep.runs)
    return "" if complete else analysis.progress(sweep).replace("; ", "\n")


def title(sweep: Sweep) -> str:
    question = " ".join(sweep.question.split())
    if not question:
        return f"Sweep {sweep.name}."
    return f"Sweep {sweep.name}: {question}{'' if question.endswith(('?', '.')) else '.'}"


def caption(sweep: Sweep, comparisons: dict) -> str:
    every = [comparison for table in comparisons.values() for comparison in table]
    parts = [title(sweep)]
    parts.append(f"{analysis.progress(sweep).capitalize()}. Mean ± sd over finished runs.")
    if sweep.left_out:
        named = ", ".join(f"{count} of {analysis.label(arm)}" for arm, count in sweep.left_out.items())
        parts.append(f"Left out, of another config or code version or an arm not planned: records in the folder, {named}.")
    if every:
        baseline, n = against(sweep), len(every)
        parts.append(f"Differences to {baseline} are paired by seed; brackets are Student-t 95 % intervals,")
        parts.append(f"not corrected for multiple comparisons ({n} of them).")
    if (found := sweep.tuned) is not None:
        parts.append(f"Each arm's settings: the best of its {found['trials']} trials in {found['sweep']}, by")
        parts.append(f"{found['metric']} on {len(found['tuning_seeds'])} other seeds, listed in sweep.json.")
    if targets := sorted({run.summary("convergence/target") for run in sweep.runs if run.status == "done"} - {None}):
        listed = ", ".join(f"{100 * target:g} %" for target in targets)
        parts.append(f"Target: {listed} validation accuracy.")
    if any(comparison.conditional for comparison in every):
        parts.append("†: conditional, over the pairs that gave a value; others ended without one, as listed.")
    if mixed := analysis.mixed_versions(sweep.runs):
        parts.append(f"Caution, the runs differ in {'; '.join(mixed)}.")
    return " ".join(parts)
