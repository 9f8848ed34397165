"""What does a study say in words?

No more than its verdicts do, in either direction: sentences are put together from them, and none is there that a record
does not bear. Read by ``report``.
"""

import itertools
from collections import Counter
from collections.abc import Sequence

from superpositional import format
from superpositional.evidence import analysis, tuning
from superpositional.evidence.inference import clopper_pearson
from superpositional.evidence.verdicts import LEAST_PAIRS, NARROW, NONE, Verdict
from superpositional.format import Rows, as_given, bounds, label, number
from superpositional.records import Run, Sweep
from superpositional.records.claims import DIVERGED
from superpositional.report import words
from superpositional.report.findings import Findings
from superpositional.report.study.along import broke, ended
from superpositional.report.study.gather import CALIBRATION, Study, commits, extent

ANSWERS = (
    *("as claimed", "as claimed, but not in size", "not by as much as matters", "not as claimed"),
    *("undecided", "undecided, but not in size", NONE),
)
# Under the table of claims.
PAIRS = (
    "At the margin: how many pairs decide in 80 of 100 cases if the effect is 0 or as large as the margin; the effect "
    "seen: how many find it as often; both from the spread seen here. Outside: the published value lies outside the "
    "interval. 90 %: the interval that decides what is equivalent. Few pairs: below 15, where an arm may fail in 18 % of "
    "its runs or more without a failure among these."
)


def paper(study: Study) -> str:
    """The paper's claims in a paragraph: how many came out how, and whether its numbers lie in our intervals."""
    judged = study.of_the_paper
    if not judged:
        return "None of the paper's claims was asked."
    kinds: dict[str, list[Verdict]] = {answer: [] for answer in ANSWERS}
    for _, verdict in judged:
        # A claim that names a source and no verdict is answered by ours.
        kinds.setdefault(verdict.words if verdict.answer == "–" else verdict.answer, []).append(verdict)
    counted = [
        f"{len(found)} {answer} ({', '.join(label(each.claim.id) for each in found)})"
        for answer, found in kinds.items()
        if found
    ]
    text = f"The paper's claims were asked by {number(len(judged), 'question')}: {', '.join(counted)}."
    numbers = [verdict for _, verdict in judged if verdict.published_within is not None]
    if numbers:
        inside = [label(verdict.claim.id) for verdict in numbers if verdict.published_within]
        within = (
            f"{len(inside)} of their intervals here ({', '.join(inside)})" if inside else "none of their intervals here"
        )
        text += f" Of {number(len(numbers), 'claim')} with a published number and an interval, the number lies in {within}."
    return text


def _grouped(study: Study, judged: Sequence[tuple[str, Verdict]]) -> list[str]:
    """``scope, test accuracy against adam, n = 15: sine all −0.15 points [−0.47, +0.17]; circuit all ...``, and so on."""
    groups: dict[str, list[str]] = {}
    for name, verdict in judged:
        claim = verdict.claim
        head = f"{name}, {METRICS.get(claim.metric, claim.metric)} against {label(claim.baseline)}, n = {verdict.n}"
        censored = f" ({verdict.censored}, which count as training's length)" if verdict.censored else ""
        small = ", smaller than matters" if verdict.small else ""
        groups.setdefault(head, []).append(
            f"{label(claim.arm)} {bounds(verdict.effect, claim.effect_unit)}{censored}{small}"
            f"{_against_first(study.said[name], verdict)}"
        )
    return [f"{head}: {'; '.join(told)}" for head, told in groups.items()]


def _against_first(said: Findings, verdict: Verdict) -> str:
    """What else belongs to a difference: its arm against the sweep's first one, where the claim is against another.

    Better than a worse one is no gain yet.
    """
    for measure, table in said.comparisons.items():
        for each in table:
            first = each.baseline.arm != verdict.claim.baseline and not each.conditional
            if first and (measure.metric, each.arm.arm) == (verdict.claim.metric, verdict.claim.arm):
                return f" (against {label(each.baseline.arm)} {bounds(each.estimate, measure.unit)})"
    return ""


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
    few = sum(verdict.words == "equivalent (few pairs)" for _, verdict in judged)
    kinds = [f"{counts[kind] or 'none'} {kind}" for kind in ("superior", "inferior", "equivalent", "inconclusive")]
    kinds[2] += f" ({few} from few pairs)" if few else ""
    kinds += [f"{counts[NONE]} {NONE}"] if counts[NONE] else []
    asked = f"{number(len(judged), 'question')} {'was' if len(judged) == 1 else 'were'} asked"
    sweeps = ", ".join(dict.fromkeys(name for name, _ in judged))
    text = f"Beside the paper's claims {asked}, by {sweeps}: {', '.join(kinds)}."
    for kind in ("superior", "inferior"):
        found = [(name, verdict) for name, verdict in judged if verdict.verdict == kind]
        if found:
            text += f" {kind.capitalize()}: {'. '.join(_grouped(study, found))}."
    return text


BEYOND = "Beyond controls that lack a part of the circuit, uncorrected, and an interval with 0 shows no equality"


def _beyond(judged: Sequence[Verdict]) -> str:
    """``test accuracy, n = 30: quantum beyond frozen −0.29 points [−1.15, +0.58], twin ...``, of established effects.

    Controls whose runs are the arm's own in every pair, as all that miss a target are, tell nothing.
    """
    parts = []
    for verdict in judged:
        claim = verdict.claim
        each = [
            f"{label(one.arm)} {bounds(one.beyond, claim.effect_unit)}"
            for one in verdict.attribution
            if None not in (one.beyond.low, one.beyond.high) and one.beyond.low < one.beyond.high
        ]
        if each and verdict.verdict in ("superior", "inferior"):
            what = f"{METRICS.get(claim.metric, claim.metric)}, n = {verdict.n}"
            parts.append(f"{what}: {label(claim.arm)} beyond {', '.join(each)}")
    return "; ".join(parts)


def limits(study: Study) -> tuple[str, ...]:
    """What none of it says anything about."""
    runs = _runs(study)
    classes = sorted({((run.record.get("config") or {}).get("task") or {}).get("n_classes") or 0 for run in runs} - {0})
    tasks = [f"one synthetic task of {count} classes" for count in classes]
    tasks += [f"one language model ({said})" for each in study.said.values() for said in words.trained(each.sweep)]
    on = "CPUs" if all(str(run.record.get("device")).startswith("cpu") for run in runs) else "several devices"
    timed = any(verdict.claim.of_time for _, verdict in study.verdicts)
    untuned = "Arms" if all(each.sweep.tuned is None for each in study.said.values()) else "But for the tuned sweep, arms"
    return (
        f"What this is about, and no more: {', '.join(tasks) or 'the sweeps named here'}, on {on}, in the readings of the "
        "paper that each sweep names. The paper's classification data are not published, so levels of accuracy cannot be "
        "compared, and what is not borne out here may hold on its data, model or device."
        + (" Times are of this package's own circuits; the paper's simulator was not timed." if timed else ""),
        "Intervals are each claim's own at 95 %. Superior and inferior are corrected over the claims of a family (Holm), "
        "equivalent is not, and nothing is corrected over the families of the study. Equivalent is within a margin that "
        f"somebody chose, and inconclusive never means equal. {untuned} have settings that nobody searched for: the "
        "paper's, but for what an arm's name says.",
    )


def broken(study: Study) -> str:
    """Where training broke, arm by arm: what a mean over an arm's runs, or a share of diverged ones, would hide."""
    told = [f"{each} ({sweep.name})" for sweep in study.sweeps if sweep.search is None for each in _broken(sweep)]
    if not told:
        return "No run diverged or ended no better than by guessing."
    return f"{BROKE}: {'; '.join(told)}."


BROKE = "Training broke, by diverging or by ending at most a tenth above chance"


def _broken(sweep: Sweep) -> list[str]:
    told = []
    for arm in sweep.arms:
        runs = ended(sweep, arm)
        if lost := [run for run in runs if broke(run)]:
            diverged = sum(run.status == "diverged" for run in lost)
            told.append(f"{label(arm)} in {len(lost)} of {len(runs)} runs, {diverged} of them by diverging")
    return told


def planted(study: Study) -> str:
    """How often equivalent is false where the effect is as large as the margin."""
    return "" if study.planted is None else f"{study.planted[0]}\n\n{format.markdown(study.planted[1])}"


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
    records = ", ".join(f"{name} {digest[:12]}" for name, digest in study.fingerprints.items())
    return f"{many}: {ended}. Code version: {code}. Processor: {on}. SHA-256 of the records judged: {records}.{lacks}"


def _runs(study: Study) -> list[Run]:
    return [run for sweep in study.sweeps for run in sweep.runs]


def claim_rows(judged: Sequence[tuple[str, Verdict]]) -> Rows:
    """The table that a reader looks at first: what was published, what came out, and how to run it again."""
    rows: Rows = [("claim", "published", "ours, 95 % interval", "margin", "n", "verdict", "as claimed?", "command")]
    for name, verdict in judged:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        value = "–" if claim.published is None else f"{as_given(claim.published)} {unit}"
        value += ", outside" if verdict.published_within is False else ""
        rows.append(
            (
                f"{claim.id}: {claim.says}",
                value,
                verdict.shown,
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
    lost = "".join(f", {label(arm)} diverged {count}" for arm, count in verdict.diverged.items())
    return f"{verdict.n} of {verdict.planned}{lost}" + (f", {verdict.censored}" if verdict.censored else "")


def _said(verdict: Verdict) -> str:
    """The verdict, or why there is none; of one that decides nothing, how many pairs would; and whether it explores."""
    late = ", exploratory" if verdict.exploratory else ""
    if verdict.verdict == NONE:
        return f"{NONE}: {verdict.refusals[0]}{late}"
    if disagree := next((caution for caution in verdict.cautions if "disagree" in caution), ""):
        return f"{verdict.words}: {disagree}{late}"
    if verdict.verdict != "inconclusive":
        return f"{verdict.words}{late}"
    if verdict.claim.metric == DIVERGED:
        # Of exact shares no spread tells it; 36 pairs in which no run differs are within ± 10 points.
        level, claim = (1 + NARROW) / 2, verdict.claim
        many = next(n for n in itertools.count(1) if claim.scale * clopper_pearson(0, n, level)[1] < claim.margin)
        return f"{verdict.words}; {many} pairs if no run of them diverges{late}"
    if verdict.n < LEAST_PAIRS:
        return f"{verdict.words}; it takes {LEAST_PAIRS} pairs{late}"
    return "; ".join(filter(None, [verdict.words, verdict.decide])) + late


def besides_rows(study: Study) -> Rows:
    """The same for what else was asked, by arms."""
    rows: Rows = [("sweep", "arm", "against", "metric", "ours, 95 % interval", "margin", "n", "verdict")]
    for name, verdict in study.besides:
        claim, unit = verdict.claim, verdict.claim.effect_unit
        beside = _against_first(study.said[name], verdict)
        rows.append(
            (
                f"`{name}`",
                label(claim.arm),
                label(claim.baseline),
                METRICS.get(claim.metric, claim.metric),
                verdict.shown + beside,
                f"± {claim.margin:g} {unit}",
                _n(verdict),
                _said(verdict),
            )
        )
    return rows


def block(said: Findings) -> str:
    """A sweep's answer and tables, for a README."""
    parts = [said.lead, said.caption, format.markdown(said.rows)]
    parts += [format.markdown(said.captioned["term"][1])] if "term" in said.captioned else []
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
        own = [row for row in study.planted[1][1:] if row[0].startswith("own")]
        shares = "; ".join(f"{row[0].removeprefix('own, ')} {', '.join(row[1:])}" for row in own)
        sizes = ", ".join(study.planted[1][0][1:])
        told = f"With an effect as large as the margin equivalent is false (nominal: 5 %), at {sizes}: {shares}."
    else:
        told = study.said[sweep.name].lead
        controls, lost = _beyond(study.said[sweep.name].judged), _broken(sweep)
        told += f" {BEYOND}: {controls}." if controls else ""
        told += f" {BROKE}: {'; '.join(lost)}." if lost else ""
    return f"{analysis.progress(sweep).capitalize()}. {told.removeprefix('**In short.** ')}"
