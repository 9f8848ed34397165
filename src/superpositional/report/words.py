"""What does a report say in words?

Captions, leads and notes: what was compared, what the rule of the verdicts is, and the answer in short, no more than the
intervals allow. Read by `report`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from superpositional import format
from superpositional.evidence import analysis, verdicts
from superpositional.evidence.analysis import Comparison
from superpositional.evidence.curves import Curve, Departure, Term
from superpositional.evidence.questions import Paired
from superpositional.evidence.verdicts import Verdict
from superpositional.format import label, number
from superpositional.records import Sweep, claims
from superpositional.records.measures import Measure

RULE = (
    f"A verdict takes at least {verdicts.LEAST_PAIRS} pairs. It is superior or inferior if the paired t test and the "
    "sign-flip test, each adjusted after Holm over the claims of a family, both reject no effect at 5 %; undecided if only "
    "one does; else equivalent if the 90 % interval lies within ± the margin (not corrected over the family; few "
    f"pairs: below {verdicts.SURE_PAIRS}); else inconclusive, which is not equal. A run that diverged has the worst rank. "
    "With more than a quarter of an arm's runs censored a time is a bound, and sign flips decide. Intervals shown are "
    "Student's (ratios: Fieller's) at 95 %, of each claim alone."
)


ATTRIBUTION = (
    "What each control, an arm without the quantum part, does against the same baseline, and what the claim's arm does "
    "beyond it; 95 % intervals, not corrected for multiplicity. What stays: the control's effect over the arm's, where the "
    "arm's is established (superior or inferior)."
)


TERM = (
    "What the term did, over each arm's finished runs. Share of the update: the norm of what the term adds over that of "
    "the whole update; angle: between the update with it and without; both are means. Scalars touched: those that eq. (2) "
    "was applied to, summed over steps and runs; changed: those that came out another number for it. Losses: the training "
    "loss of each step beside the baseline's of the same seed."
)


def lead(
    sweep: Sweep,
    comparisons: Mapping[Measure, Sequence[Comparison]],
    judged: Sequence[Verdict],
    terms: Sequence[Term] = (),
    answered: Sequence[Paired] = (),
) -> str:
    """The answer in short, and no more than the intervals allow."""
    if not any(comparisons.values()):
        return "One arm: nothing to compare."
    baseline = against(sweep)
    parts = []
    for measure, table in comparisons.items():
        apart = [c for c in table if c.verdict.startswith("The interval excludes 0:")]
        named = [f"{label(c.arm.arm)} {_told(c)}" for c in apart]
        # An interval of some pairs speaks of those alone, and says so.
        some_pairs = [c for c in table if c.verdict.startswith("The interval excludes 0 over these pairs only")]
        named += [f"{label(c.arm.arm)} {_told(c)} over {c.estimate.n} of {c.arm.planned} pairs alone" for c in some_pairs]
        some = any(c.estimate.low is not None for c in table)
        lacking = [c for c in table if c.estimate.low is None and c.estimate.n < c.arm.planned]
        which = f"no arm's interval{' that there is' if lacking else ''} against {baseline} excludes 0"
        text = ", ".join(named) or (which if some else f"no interval against {baseline} to speak of")
        if some and lacking:
            # An arm that never arrives is no arm without an effect.
            pairs = ", ".join(f"{label(c.arm.arm)} ({c.estimate.n} of {c.arm.planned} pairs)" for c in lacking)
            text += f"; no interval for {pairs}"
        parts.append(f"{measure.name}: {text}")
    # What has no pair left has no interval either, and that may be the result.
    lost = Counter((run.arm, run.status) for run in sweep.runs if run.status in ("diverged", "failed"))
    ended = [f"{label(arm)} {status} in {n} of {len(sweep.seeds)} runs" for (arm, status), n in lost.items()]
    ends = f" Ended otherwise: {'; '.join(ended)}." if ended else ""
    waiting = " The sweep is unfinished, so this is an interim look." if sweep.missing else ""
    claimed = f"{verdicts.lead(judged)} " if judged else ""
    if late := next((verdict.exploratory for verdict in judged if verdict.exploratory), ""):
        claimed += f"These verdicts are {late}. "
    alone = "Of each interval alone, uncorrected: " if judged else ""
    text = "; ".join(parts)
    shown = f"{claimed}{alone}{text if alone else text[0].upper() + text[1:]}.{ends}{waiting}"
    return " ".join(["**In short.**", *filter(None, map(_term, terms)), shown, *_answered(sweep, answered)])


def _told(comparison: Comparison) -> str:
    change = f" ({format.bounds(comparison.change, '%')})" if comparison.change else ""
    return format.bounds(comparison.estimate, comparison.measure.unit) + change


def _term(term: Term) -> str:
    """What the term came to in an arm, in a sentence; nothing where neither it nor the losses were looked at."""
    apart, arm = term.departure, label(term.arm)
    if apart is None:
        return ""
    to = label(apart.baseline)
    said = ""
    if term.changed is not None and term.touched is not None:
        each = "" if term.length is None else f" of {number(term.length, 'step')}"
        said = f"{arm} changed {term.changed:,} of {term.touched:,} {term.dtype} values in "
        said += f"{number(term.counted, 'run')}{each}"
        said += ", none of which ever had a gradient: " if term.steps_with_gradient == 0 else ": "
    unchanged = term.changed == 0 and term.counted == term.runs
    # Of all that were planned and at all steps, for what is missing may be otherwise.
    if apart.never and apart.complete and apart.exact:
        kind = "training losses" if apart.elsewhere else "losses"
        said = f"{said}its {kind}" if said else f"{arm}'s {kind}"
        same = f", so this arm is {to}" if unchanged else ""
        if apart.elsewhere:
            same = f", but {apart.differing}"
        return f"{said} are {to}'s bit for bit{same}."
    if not apart.seeds:
        return f"{said.removesuffix(': ')}." if said else ""
    own = f"{said}its losses and {to}'s" if said else f"The losses of {arm} and {to}"
    but = ", which something other than the term brought about" if unchanged and apart.first else ""
    return f"{own} {'are ' if apart.never else ''}{apart.words}{but}."


def _answered(sweep: Sweep, answered: Sequence[Paired]) -> list[str]:
    """Of a smoke that it is one; of a whole evaluation what its intervals exclude."""
    if (asked := analysis.smoke(sweep)) is not None:
        return [f"Answers: a smoke of {number(asked, 'question')}, no result."]
    if not answered:
        return []
    there = [each for each in answered if each.estimate is not None and each.estimate.sd]
    apart = [each for each in there if not each.estimate.low <= 0 <= each.estimate.high]
    named = [
        f"{label(each.arm)} {format.bounds(each.estimate, 'points')} ({each.kind}"
        f"{f', over {len(each.by_seed)} of {each.planned} seeds alone' if each.lost else ''})"
        for each in apart
    ]
    none = f"no arm's interval against {against(sweep)} excludes 0" if there else "no interval to speak of"
    return [f"Answers, over questions: {', '.join(named) or none}."]


def against(sweep: Sweep) -> str:
    """What the arms are held to, in words."""
    found = {sweep.baseline(arm) for arm in sweep.arms}
    first = label(sweep.arms[0])
    return first if len(found) == 1 else f"{first.split(',')[0]} at the same values"


def claims_caption(sweep: Sweep, judged: list[Verdict], content: dict[str, Any] | None) -> str:
    if not judged:
        return ""
    parts = [RULE]
    families = Counter(verdict.claim.family for verdict in judged)
    parts.append(f"Families: {', '.join(f'{name} ({count})' for name, count in families.items())}.")
    parts.append(
        "Found with 80 % power; pairs that decide with that power if the effect is 0 or as large as the margin, and that "
        "find an effect as large as the one seen: from the sd seen, at the family's strictest level."
    )
    late = verdicts.declared_after(sweep, claims.digest(content))
    if late:
        parts.append(f"Exploratory: declared or changed after {late} of {len(sweep.runs)} runs were made.")
    if sweep.tuned is None:
        parts.append("No arm was tuned: against a baseline at untuned settings a gain may be one of settings.")
    return " ".join(parts)


def shown(curve: Curve, measure: Measure, apart: Sequence[Departure] = ()) -> dict[str, str]:
    """What each figure shows, by its name, for the page."""
    along = measure.along
    block = max((each.block for each in apart), default=1)
    largest = f" Of every {block} {along.by}s the largest." if block > 1 else ""
    smooth = f" Running means over {curve.window} points." if curve.window > 1 else ""
    against = (
        "against the same circuit run exactly: mean paired difference in test accuracy and in epochs to the target, with "
        "95 % intervals; and how wrong the step was, as root mean square over the measured steps: the relative error of "
        "the gradient to attention's angles, the error of the optimizer's modulation −⟨Z⟩. In brackets the number of seeds."
    )
    return {
        "claims": "Each claim's effect in units of its margin with its 95 % interval; a diamond is the value as published.",
        "fig1": f"Learning curves: mean over seeds by {along.by} (Pamuk et al. 2025, Fig. 1).",
        "paired_differences": f"{measure.name.capitalize()}: mean paired difference of each arm to its baseline, with its "
        "95 % interval.",
        "seed_bands": "Each seed's learning curve by arm (thin), mean and 95 % band; dashed, the first arm's mean.",
        "fig2": f"{along.quantity.capitalize()} by {along.by}, each seed's (thin) and their mean; dashed, the first arm's "
        f"mean; one y-axis (Pamuk et al. 2025, Fig. 2).{smooth}",
        "departures": f"How far the {along.quantity} of each seed is from its baseline's, at each {along.by}, without its "
        "sign; the dashed line is where they first differ (median). No mark: no difference, bit for "
        f"bit.{largest}",
        "time_to_target": "Share of runs that have reached the target by each epoch; runs that never do are in n.",
        "perturbation_ratio": "Size of the quantum term over that of what it is added to, by step: AdamW's step, or for "
        "quantum moments the gradient.",
        "by_shots": f"By the number of shots, {against}",
        "by_depolarizing": f"By the depolarising noise of a CNOT, {against}",
    }


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


def trained(sweep: Sweep) -> list[str]:
    """Of a language model which one, for how long and on what: a claim may be about another."""
    found = {}
    for run in (run for run in sweep.runs if run.status == "done" and run.record.get("model")):
        model, data = run.record["model"], run.record.get("data") or {}
        steps, rows = run.record.get("steps"), data.get("rows")
        rows = rows.get("train") if isinstance(rows, Mapping) else None
        batch = ((run.record.get("config") or {}).get("data") or {}).get("batch_size")
        # Rows seen of rows there are; of runs on several devices or with accumulated batches it is not that simple.
        trainer = (run.record.get("config") or {}).get("trainer") or {}
        plain = trainer.get("accumulate_grad_batches", 1) == 1 and run.record.get("processes", 1) == 1
        share = f", {100 * steps * batch / rows:.2g} % of an epoch" if plain and steps and batch and rows else ""
        found[f"{model.get('name')}, {steps} steps{share} of {data.get('source')}"] = None
    return list(found)


def caption(sweep: Sweep, comparisons: dict) -> str:
    every = [comparison for table in comparisons.values() for comparison in table]
    parts = [title(sweep)]
    parts.append(f"{analysis.progress(sweep).capitalize()}. Mean ± sd over finished runs.")
    if sweep.left_out:
        named = ", ".join(f"{count} of {label(arm)}" for arm, count in sweep.left_out.items())
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
    if any(measure.relative for measure in comparisons):
        parts.append("Change: of the mean, with Fieller's 95 % interval.")
    if any(comparison.conditional for comparison in every):
        parts.append("†: conditional, over the pairs that gave a value; others ended without one, as listed.")
    parts += [f"Trained: {each}." for each in trained(sweep)]
    if stood_in := sum((run.record.get("data") or {}).get("source") == "stand_in" for run in sweep.runs):
        parts.append(f"Of {len(sweep.runs)} runs {stood_in} had problems of our own making in the place of GSM8K.")
    if mixed := analysis.mixed_versions(sweep.runs):
        parts.append(f"Caution, the runs differ in {'; '.join(mixed)}.")
    return " ".join(parts)
