"""What does a study say in words?

No more than its verdicts do, in either direction: sentences are put together from them, and none is there that a record
does not bear. Read by ``report``.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

from superpositional import analysis, tables, tuning, wording
from superpositional.analysis import bounds, label, number, signed
from superpositional.claims import DIVERGED
from superpositional.findings import Findings
from superpositional.inference import clopper_pearson
from superpositional.records import Run, Sweep
from superpositional.study.along import broke
from superpositional.study.gather import CALIBRATION, Study, commits, extent
from superpositional.tables import Rows
from superpositional.verdicts import LEAST_PAIRS, NARROW, NONE, Verdict

ANSWERS = (
    *("as claimed", "as claimed, but not in size", "not by as much as matters", "not as claimed"),
    *("undecided", "undecided, but not in size", NONE),
)
# Under a table with "about so many pairs".
PAIRS = (
    "Pairs: how many decide in 80 of 100 cases if the effect is 0 or as large as the margin, from the spread seen here. "
    "Outside: the published value lies outside the interval."
)


def paper(study: Study) -> str:
    """The paper's claims in a paragraph: how many came out how, and what its numbers look like here."""
    judged = study.of_the_paper
    if not judged:
        return "None of the paper's claims was asked."
    kinds: dict[str, list[Verdict]] = {answer: [] for answer in ANSWERS}
    for _, verdict in judged:
        kinds[verdict.answer].append(verdict)
    counted = [
        f"{len(found)} {answer} ({', '.join(label(each.claim.id) for each in found)})"
        for answer, found in kinds.items()
        if found
    ]
    text = f"The paper's claims were asked in {number(len(judged), 'form')}: {', '.join(counted)}."
    numbers = [verdict for _, verdict in judged if verdict.published_within is not None]
    if numbers:
        inside = [label(verdict.claim.id) for verdict in numbers if verdict.published_within]
        within = (
            f"{len(inside)} of their intervals here ({', '.join(inside)})" if inside else "none of their intervals here"
        )
        text += f" Of {number(len(numbers), 'claim')} with a published number and an interval, the number lies in {within}."
    told = [(name, verdict) for name, verdict in judged if verdict.claim.published is not None and verdict.effect.n]
    return " ".join([text, *(f"{each}." for each in _grouped(told, beside=_published))])


def _grouped(judged: Sequence[tuple[str, Verdict]], beside: Callable[[str, Verdict], str]) -> list[str]:
    """``paper_time, seconds an epoch against adam, n = 30: λ = 0.5 +1.30 % [−1.11, +3.75]; circuit ...``, and so on."""
    groups: dict[str, list[str]] = {}
    for name, verdict in judged:
        claim, effect = verdict.claim, verdict.effect
        head = f"{name}, {METRICS.get(claim.metric, claim.metric)} against {label(claim.baseline)}, n = {effect.n}"
        groups.setdefault(head, []).append(
            f"{label(claim.arm)} {bounds(effect, claim.effect_unit)}{beside(name, verdict)}",
        )
    return [f"{head}: {'; '.join(told)}" for head, told in groups.items()]


def _published(_: str, verdict: Verdict) -> str:
    return f" where the paper has {signed(verdict.claim.published, 2)}, {verdict.words}"


def _against_first(said: Findings, verdict: Verdict) -> str:
    """What else belongs to a difference: its arm against the sweep's first one, where the claim is against another.

    Better than a worse one is no gain yet.
    """
    small = ", smaller than matters" if verdict.small else ""
    for measure, table in said.comparisons.items():
        for each in table:
            first = each.baseline.arm != verdict.claim.baseline and not each.conditional
            if first and (measure.metric, each.arm.arm) == (verdict.claim.metric, verdict.claim.arm):
                return f"{small} (against {label(each.baseline.arm)} {bounds(each.estimate, measure.unit)})"
    return small


METRICS = {
    "test/accuracy": "test accuracy",
    "convergence/epochs_to_target": "epochs to 90 %",
    "convergence/seconds_per_epoch": "seconds an epoch",
    "convergence/seconds_to_target": "seconds to 90 %",
    "convergence/loss_variance": "variance of the loss from step to step",
    "train/loss/last_epoch": "mean training loss",
    "diverged": "share of runs that diverged",
}


def elsewhere(study: Study) -> str:
    """What else was asked, in a paragraph: how many verdicts of which kind, and all that found a difference, by name."""
    judged = study.besides
    if not judged:
        return ""
    counts = Counter(verdict.verdict for _, verdict in judged)
    kinds = [f"{counts[kind] or 'none'} {kind}" for kind in ("superior", "inferior", "equivalent", "inconclusive")]
    kinds += [f"{counts[NONE]} {NONE}"] if counts[NONE] else []
    asked = f"{number(len(judged), 'question')} {'was' if len(judged) == 1 else 'were'} asked"
    sweeps = ", ".join(dict.fromkeys(name for name, _ in judged))
    text = f"Beside the paper's claims {asked}, by {sweeps}: {', '.join(kinds)}."
    for kind in ("superior", "inferior"):
        found = [(name, verdict) for name, verdict in judged if verdict.verdict == kind]
        if found:
            told = _grouped(found, beside=lambda name, verdict: _against_first(study.said[name], verdict))
            text += f" {kind.capitalize()}: {'. '.join(told)}."
    return text


def limits(study: Study) -> tuple[str, ...]:
    """What none of it says anything about."""
    runs = _runs(study)
    classes = sorted({((run.record.get("config") or {}).get("task") or {}).get("n_classes") or 0 for run in runs} - {0})
    tasks = [f"one synthetic task of {count} classes" for count in classes]
    tasks += [
        f"one language model ({said.rstrip('.')})" for each in study.said.values() if (said := wording.trained(each.sweep))
    ]
    on = "CPUs" if all(str(run.record.get("device")).startswith("cpu") for run in runs) else "several devices"
    untuned = "Arms" if all(each.sweep.tuned is None for each in study.said.values()) else "But for the tuned sweep, arms"
    return (
        f"What this is about, and no more: {', '.join(tasks) or 'the sweeps named here'}, on {on}, in the readings of the "
        "paper that each sweep names. The paper's data are not published, so its levels cannot be compared, and what is "
        "not borne out here may hold on its data, model or device.",
        "Intervals are each claim's own at 95 %; verdicts are corrected over the claims of a family (Holm), not over the "
        "families of the study. Equivalent is within a margin that somebody chose, and inconclusive never means equal. "
        f"{untuned} have the paper's settings, which were searched for by nobody here.",
    )


def broken(study: Study) -> str:
    """Where training broke, arm by arm: what a mean over an arm's runs, or a share of diverged ones, would hide."""
    told = []
    for sweep in study.sweeps:
        if sweep.search is not None:
            continue
        for arm in sweep.arms:
            ended = [run for run in sweep.runs if run.arm == arm and run.status in ("done", "diverged")]
            lost = [run for run in ended if broke(run)]
            if lost:
                diverged = sum(run.status == "diverged" for run in lost)
                told.append(
                    f"{label(arm)} ({sweep.name}) in {len(lost)} of {len(ended)} runs, of which {diverged} diverged"
                )
    if not told:
        return "No run diverged or ended no better than by guessing."
    return f"Training broke, by diverging or by ending no better than guessing (up to a tenth): {'; '.join(told)}."


def calibrated(study: Study) -> str:
    """How often the rule errs where there is nothing to find."""
    if not study.calibrated:
        return ""
    said = " ".join(each.sentence for each in study.calibrated)
    return f"How often verdicts are false, on arms that differ by one bit of one weight ({CALIBRATION}): {said}"


def made(study: Study) -> str:
    """Who made the runs: how many, how they ended, by which code, on what."""
    runs = _runs(study)
    statuses = Counter(run.status for run in runs)
    ended = ", ".join(f"{statuses[status]:,} {status}" for status in statuses)
    code = ", ".join(f"{name} ({count:,})" for name, count in study.codes.most_common())
    processors = Counter(run.record.get("processor") or "not recorded" for run in runs)
    on = "; ".join(f"{name} ({count:,})" for name, count in processors.most_common())
    many = f"{number(len(runs), 'run')} of {number(len(study.sweeps), 'sweep')}"
    lacks = f" Not run yet: {', '.join(study.missing)}." if study.missing else ""
    return f"{many}: {ended}. Code version: {code}. Processor: {on}.{lacks}"


def _runs(study: Study) -> list[Run]:
    return [run for sweep in study.sweeps for run in sweep.runs]


def claim_rows(judged: Sequence[tuple[str, Verdict]]) -> Rows:
    """The table that a reader looks at first: what was published, what came out, and how to run it again."""
    rows: Rows = [("claim", "published", "ours, 95 % interval", "margin", "n", "verdict", "as claimed?", "command")]
    for name, verdict in judged:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        published = "–" if claim.published is None else f"{signed(claim.published, 2)} {unit}"
        published += ", outside" if verdict.published_within is False else ""
        rows.append(
            (
                f"{claim.id}: {claim.says}",
                published,
                bounds(verdict.effect, unit) if verdict.effect.n else "–",
                f"± {claim.margin:g} {unit}",
                _n(verdict),
                _said(verdict),
                verdict.answer,
                f"`superpositional sweep {name}`",
            )
        )
    return rows


def _n(verdict: Verdict) -> str:
    """``30 of 30``, and how many runs stand with the end of training for a target that they never reached."""
    censored = sum(verdict.missed.values())
    return f"{verdict.effect.n} of {verdict.planned}" + (f", {number(censored, 'run')} censored" if censored else "")


def _said(verdict: Verdict) -> str:
    """The verdict, or why there is none; of one that decides nothing, how many pairs would; and whether it explores."""
    late = ", exploratory" if verdict.exploratory else ""
    if verdict.verdict == NONE:
        return f"{NONE}: {verdict.refusals[0]}{late}"
    if verdict.verdict != "inconclusive":
        return f"{verdict.words}{late}"
    if verdict.claim.metric == DIVERGED:
        # Of exact shares no spread tells it; 36 pairs in which no run differs are within ± 10 points.
        level, claim = (1 + NARROW) / 2, verdict.claim
        many = next(n for n in itertools.count(1) if claim.scale * clopper_pearson(0, n, level)[1] < claim.margin)
        return f"{verdict.words}; {many} pairs if no run of them diverges{late}"
    if verdict.sd == 0:
        return f"{verdict.words}; {LEAST_PAIRS} pairs if all are as alike{late}"
    pairs = "more than a million" if verdict.pairs is None else f"about {verdict.pairs}"
    return f"{verdict.words}; {pairs} pairs{late}"


def besides_rows(judged: Sequence[tuple[str, Verdict]]) -> Rows:
    """The same for what else was asked, by arms."""
    rows: Rows = [("sweep", "arm", "against", "metric", "ours, 95 % interval", "margin", "n", "verdict")]
    for name, verdict in judged:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        rows.append(
            (
                f"`{name}`",
                label(claim.arm),
                label(claim.baseline),
                METRICS.get(claim.metric, claim.metric),
                bounds(verdict.effect, unit) if verdict.effect.n else "–",
                f"± {claim.margin:g} {unit}",
                _n(verdict),
                _said(verdict),
            )
        )
    return rows


def block(said: Findings) -> str:
    """A sweep's answer and tables, for a README."""
    parts = [said.lead, said.caption, tables.markdown(said.rows)]
    parts += [tables.markdown(said.captioned["term"][1])] if "term" in said.captioned else []
    return "\n\n".join(part.strip() for part in parts) + "\n"


def logbook_rows(study: Study) -> Rows:
    """A row for each sweep: what it asked, of how many runs, and what came of it."""
    rows: Rows = [("sweep", "question", "n", "what came of it", "commit")]
    for sweep in study.sweeps:
        rows.append((f"`{sweep.name}`", sweep.question, extent(sweep), _outcome(study, sweep), commits(sweep)))
    return rows


def _outcome(study: Study, sweep: Sweep) -> str:
    if sweep.search is not None:
        told = tuning.lead(*study.searches[sweep.name])
    elif sweep.name == CALIBRATION:
        told = " ".join(each.sentence for each in study.calibrated)
    else:
        told = study.said[sweep.name].lead
    return f"{analysis.progress(sweep).capitalize()}. {told.removeprefix('**In short.** ')}"
