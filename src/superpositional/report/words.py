"""The report's sentences: leads, captions, notes and cells of words, made from findings and read by nothing."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from superpositional import format
from superpositional.evidence import analysis, verdicts
from superpositional.evidence.analysis import Comparison
from superpositional.evidence.curves import Term
from superpositional.evidence.inference import clopper_pearson
from superpositional.evidence.verdicts import LEAST_PAIRS, NARROW, NONE, Verdict
from superpositional.format import bounds, label, number
from superpositional.records import Sweep, claims
from superpositional.records.claims import DIVERGED
from superpositional.records.measures import spoken
from superpositional.report.along import broke, ended
from superpositional.report.findings import Findings

RULE = (
    f"A verdict takes at least {LEAST_PAIRS} pairs. It is superior or inferior if the paired t test and the sign-flip "
    "test, each Holm-corrected over the claims of a family, both reject no effect at 5 %; undecided if only one does; "
    "else equivalent if the 90 % interval lies within ± the margin (not corrected over the family; few pairs: below "
    f"{verdicts.SURE_PAIRS}); else inconclusive, which is not equal. A run that diverged has the worst rank. If more than "
    "a quarter of an arm's runs are censored, a time is a bound and sign flips decide. Intervals are Student's (ratios: "
    "Fieller's) at 95 %, of each claim alone."
)
POWER = (
    "Found with 80 % power; pairs that decide with that power if the effect is 0 or as large as the margin, and that find "
    "an effect as large as the one seen: from the sd seen, at the family's strictest level."
)
BESIDE = "Against the placebo, which is Adam but for one bit: mean paired difference with its 95 % interval, uncorrected."
ATTRIBUTION = (
    "What each control, an arm without the quantum part, does against the same baseline, and what the claim's arm does "
    "beyond it; 95 % intervals, not corrected for multiplicity. What stays: the control's effect over the arm's, where "
    "the arm's is established (superior or inferior)."
)
TERM = (
    "What the term did, over each arm's finished runs. Share of the update: the norm of what the term adds over that of "
    "the whole update; angle: between the update with it and without; both are means. Scalars touched: those that eq. (2) "
    "was applied to, summed over steps and runs; changed: those whose value it changed. Losses: the training loss of each "
    "step beside the baseline's of the same seed."
)
PAIRS = (
    "At the margin: how many pairs decide in 80 of 100 cases if the effect is 0 or as large as the margin; the effect "
    "seen: how many find it as often; both from the spread seen here. Outside: the published value lies outside the "
    "interval. 90 %: the interval that decides what is equivalent. Few pairs: below 15, where an arm may fail in 18 % of "
    "its runs or more without a failure among these. A run that never reached the target counts with the length of "
    "training."
)
BACKEND = (
    "against the same circuit run exactly: mean paired difference in test accuracy and in epochs to the target, with 95 % "
    "intervals; and how wrong the step was, as root mean square over the measured steps: the relative error of the "
    "gradient to attention's angles, the error of the optimizer's modulation −⟨Z⟩. In brackets the number of seeds."
)
BY_SETTING = (
    "Mean paired differences to the baseline with 95 % intervals, by {}; in brackets pairs. A ring: of the pairs that "
    "both gave a value, for epochs that both reached the target. Training broke: diverged, or ended no better than by "
    "guessing. Intervals of shares are Clopper and Pearson's."
)
BROKE = "Training broke, by diverging or by ending at most a tenth above chance"
BEYOND = "Beyond controls that lack a part of the circuit, uncorrected, and an interval with 0 shows no equality"
AGAIN = (
    "`superpositional sweep NAME` makes the records of a sweep, `superpositional rerun outputs/published/NAME ARM SEED` "
    "one run, held to its record bit for bit, and `superpositional report outputs/published` this page from the records; "
    "`superpositional.records.published.fingerprint(load_sweep(FOLDER))` gives a sweep's SHA-256, as in `claims.json`."
)
Judged = Sequence[tuple[str, Verdict]]
# What a reader is told of an answer to a claim; the records keep the finer words.
NOT = ("as claimed, but not in size", "not by as much as matters", "not as claimed")
ANSWERS = {"as claimed": "reproduced", **dict.fromkeys(NOT, "not reproduced"), "undecided": "undecided"}
ANSWERS |= {"undecided, but not in size": "undecided", NONE: NONE}


# A sweep -----------------------------------------------------------------------------------------------------------
# Of answers to fewer questions than there are.
SMOKE = "Answers: a smoke of {asked}, no result."
ANSWERED = "Shares of questions answered rightly, by run. Differences between arms stand above, paired by seed."


def lead(said: Findings) -> list[str]:
    sweep = said.sweep
    if not any(said.comparisons.values()):
        return ["One arm: nothing to compare."]
    found = list(filter(None, map(_term, said.terms)))
    if said.judged:
        found.append(verdicts.lead(said.judged))
        found += [f"These verdicts are {each.exploratory}." for each in said.judged if each.exploratory][:1]
    text = "; ".join(f"{measure.name}: {_apart(said, table)}" for measure, table in said.comparisons.items())
    found.append(f"Of each interval alone, uncorrected: {text}." if said.judged else f"{text[0].upper()}{text[1:]}.")
    # What has no pair left has no interval either, and that may be the result.
    lost = Counter((run.arm, run.status) for run in sweep.runs if run.status in ("diverged", "failed"))
    ends = [f"{label(arm)} {status} in {n} of {len(sweep.seeds)} runs" for (arm, status), n in lost.items()]
    found += [f"Ended otherwise: {'; '.join(ends)}."] if ends else []
    found += ["The sweep is unfinished, so this is an interim look."] if sweep.missing else []
    if (asked := analysis.smoke(said.sweep)) is not None:
        found.append(SMOKE.format(asked=number(asked, "question")))
    return [f"**In short.** {found[0]}", *found[1:]]


def _apart(said: Findings, table: Sequence[Comparison]) -> str:
    """The arms of a measure whose interval excludes 0; one over some pairs speaks of those alone."""
    named = []
    apart = [c for c in table if c.estimate.sd and c.estimate.low is not None and c.estimate.low * c.estimate.high > 0]
    for each in sorted((c for c in apart if c.conditional or not c.unfinished), key=lambda c: c.conditional):
        change = f" ({bounds(each.change, '%')})" if each.change else ""
        some = f" over {each.estimate.n} of {each.arm.planned} pairs alone" if each.conditional else ""
        named.append(f"{label(each.arm.arm)} {bounds(each.estimate, each.measure.unit)}{change}{some}")
    there = any(each.estimate.low is not None for each in table)
    lacking = [each for each in table if each.estimate.low is None and each.estimate.n < each.arm.planned]
    to = against(said.sweep)
    none = f"no arm's interval{' that there is' if lacking else ''} against {to} excludes 0"
    text = ", ".join(named) or (none if there else f"no interval against {to} to speak of")
    if there and lacking:
        # An arm that never reaches the target is not an arm without an effect.
        pairs = ", ".join(f"{label(each.arm.arm)} ({each.estimate.n} of {each.arm.planned} pairs)" for each in lacking)
        text += f"; no interval for {pairs}"
    return text


def _term(term: Term) -> str:
    """What the term came to in an arm; nothing where neither it nor the losses were looked at."""
    apart, arm = term.departure, label(term.arm)
    if apart is None:
        return ""
    to, said = label(apart.baseline), ""
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
        same = f", but {apart.differing}" if apart.elsewhere else f", so this arm is {to}" if unchanged else ""
        return f"{said} are {to}'s bit for bit{same}."
    if not apart.seeds:
        return f"{said.removesuffix(': ')}." if said else ""
    own = f"{said}its losses and {to}'s" if said else f"The losses of {arm} and {to}"
    but = ", which something other than the term brought about" if unchanged and apart.first else ""
    return f"{own} {'are ' if apart.never else ''}{apart.words}{but}."


def against(sweep: Sweep) -> str:
    first = label(sweep.arms[0])
    return first if len({*map(sweep.baseline, sweep.arms)}) == 1 else f"{first.split(',')[0]} at the same values"


def title(sweep: Sweep) -> str:
    question = " ".join(sweep.question.split()).removesuffix(".")
    return f"Sweep {sweep.name}{f': {question}' if question else ''}{'' if question.endswith('?') else '.'}"


def caption(said: Findings) -> str:
    sweep, every = said.sweep, [comparison for table in said.comparisons.values() for comparison in table]
    parts = [title(sweep), f"{analysis.progress(sweep).capitalize()}. Mean ± sd over finished runs."]
    if sweep.left_out:
        named = ", ".join(f"{count} of {label(arm)}" for arm, count in sweep.left_out.items())
        parts.append(f"Left out, of another config or code version or an arm not planned: records in the folder, {named}.")
    if every:
        parts.append(f"Differences to {against(sweep)} are paired by seed; brackets are Student-t 95 % intervals,")
        parts.append(f"not corrected for multiple comparisons ({len(every)} of them).")
    if (found := sweep.tuned) is not None:
        parts.append(f"Each arm's settings: the best of its {found['trials']} trials in {found['sweep']}, by")
        parts.append(f"{found['metric']} on {len(found['tuning_seeds'])} other seeds, listed in sweep.json.")
    if targets := sorted({run.summary("convergence/target") for run in sweep.runs if run.status == "done"} - {None}):
        parts.append(f"Target: {', '.join(f'{100 * target:g} %' for target in targets)} validation accuracy.")
    if any(measure.relative for measure in said.measures):
        parts.append("Change: of the mean, with Fieller's 95 % interval.")
    if any(comparison.conditional for comparison in every):
        parts.append("†: conditional, over the pairs that gave a value; others ended without one, as listed.")
    parts += [f"Trained: {each}." for each in trained(sweep)]
    if stood_in := sum((run.record.get("data") or {}).get("source") == "stand_in" for run in sweep.runs):
        parts.append(f"Of {len(sweep.runs)} runs {stood_in} used generated problems in the place of GSM8K.")
    if mixed := analysis.mixed_versions(sweep.runs):
        parts.append(f"Caution, the runs differ in {'; '.join(mixed)}.")
    return " ".join(parts)


def claims_caption(said: Findings) -> str:
    families = Counter(verdict.claim.family for verdict in said.judged)
    parts = [RULE, f"Families: {', '.join(f'{name} ({count})' for name, count in families.items())}.", POWER]
    if late := verdicts.declared_after(said.sweep, claims.digest(said.content)):
        parts.append(f"Exploratory: declared or changed after {late} of {len(said.sweep.runs)} runs were made.")
    if said.sweep.tuned is None:
        parts.append("No arm was tuned: against a baseline at untuned settings a gain may be one of settings.")
    return " ".join(parts)


def shown(said: Findings) -> dict[str, str]:
    """Return what each figure shows, by its name."""
    along, quantity = said.main.along, said.main.along.quantity
    block, window = max((each.block for each in said.apart), default=1), said.curves[0].window
    return {
        "claims": "Each claim's effect in units of its margin with its 95 % interval; a diamond is the value as published.",
        "fig1": f"Learning curves: mean over seeds by {along.by} (Pamuk et al. 2025, Fig. 1).",
        "paired_differences": f"{said.main.name.capitalize()}: mean paired difference of each arm to its baseline, with "
        "its 95 % interval.",
        "seed_bands": "Each seed's learning curve by arm (thin), mean and 95 % band; dashed, the first arm's mean.",
        "fig2": f"{quantity.capitalize()} by {along.by}, each seed's (thin) and their mean; dashed, the first's mean; "
        f"one y-axis (Pamuk et al. 2025, Fig. 2).{f' Running means over {window} points.' if window > 1 else ''}",
        "departures": f"How far the {quantity} of each seed is from its baseline's, at each {along.by}, without its sign; "
        "the dashed line is where they first differ (median). No mark: no difference, bit for bit."
        f"{f' Of every {block} {along.by}s the largest.' if block > 1 else ''}",
        "time_to_target": "Share of runs that have reached the target by each epoch; runs that never do are in n.",
        "by_shots": f"By the number of shots, {BACKEND}",
        "by_depolarizing": f"By the depolarising noise of a CNOT, {BACKEND}",
    }


def provenance(sweep: Sweep) -> dict[str, str]:
    codes = ", ".join(sorted({str(run.record.get("code")) for run in sweep.runs if run.status == "done"}))
    return {"sweep": sweep.name, "runs": analysis.progress(sweep), "code": codes}


def note(sweep: Sweep) -> str:
    """Return what a figure must say of runs that are not done, in lines; nothing where all are."""
    open_ = sweep.missing or any(run.status != "done" for run in sweep.runs)
    return analysis.progress(sweep).replace("; ", "\n") if open_ else ""


def trained(sweep: Sweep) -> list[str]:
    """Return which language models were trained, for how long and on what: a claim may be about another."""
    found = {}
    for record in (run.record for run in sweep.runs if run.status == "done" and run.record.get("model")):
        config, data, steps = record.get("config") or {}, record.get("data") or {}, record.get("steps")
        rows = data["rows"].get("train") if isinstance(data.get("rows"), Mapping) else None
        batch = (config.get("data") or {}).get("batch_size")
        # Rows seen of rows there are; of runs on several devices or with accumulated batches it is not that simple.
        accumulated = (config.get("trainer") or {}).get("accumulate_grad_batches", 1) != 1
        plain = not accumulated and record.get("processes", 1) == 1 and steps and batch and rows
        share = f", {100 * steps * batch / rows:.2g} % of an epoch" if plain else ""
        found[f"{record['model'].get('name')}, {steps} steps{share} of {data.get('source')}"] = None
    return list(found)


# Several sweeps ----------------------------------------------------------------------------------------------------


def paper(judged: Judged) -> list[str]:
    """Return how many of the paper's claims came out how, and whether its numbers lie in our intervals."""
    if not judged:
        return ["No claim of the paper was tested."]
    kinds: dict[str, list[str]] = {answer: [] for answer in ANSWERS.values()}
    for _, verdict in judged:
        # A claim that names a source and no verdict is answered by ours.
        kinds.setdefault(ANSWERS.get(verdict.answer, verdict.words), []).append(label(verdict.claim.id))
    counted = ", ".join(f"{len(names)} {answer} ({', '.join(names)})" for answer, names in kinds.items() if names)
    found = [f"We tested {number(len(judged), 'claim')} of the paper: {counted}."]
    if numbers := [verdict for _, verdict in judged if verdict.published_within is not None]:
        inside = [label(verdict.claim.id) for verdict in numbers if verdict.published_within]
        within = f"in {len(inside)} ({', '.join(inside)})" if inside else "in none"
        what = f"{number(len(numbers), 'claim')} with a published number and an interval of ours"
        found.append(f"Of {what}, the number lies inside the interval {within}.")
    return found


def elsewhere(judged: Judged) -> str:
    """Return how many verdicts of which kind there are beside the paper's claims."""
    counts = Counter(verdict.verdict for _, verdict in judged)
    few = sum(verdict.verdict == "equivalent" and verdict.few_pairs for _, verdict in judged)
    order = ("superior", "inferior", "equivalent", "inconclusive", *[NONE] * (NONE in counts))
    kinds = [f"{counts[kind] or 'none'} {kind}" for kind in order]
    kinds[2] += f" ({few} from few pairs)" if few else ""
    asked = f"{number(len(judged), 'question')} {'was' if len(judged) == 1 else 'were'} asked, by "
    asked += ", ".join(dict.fromkeys(name for name, _ in judged))
    return f"Beside the paper's claims {asked}: {', '.join(kinds)}." if judged else ""


def limits(sweeps: Sequence[Sweep], judged: Judged) -> tuple[str, ...]:
    """Return what none of it says anything about."""
    runs = [run for sweep in sweeps for run in sweep.runs]
    classes = sorted({((run.record.get("config") or {}).get("task") or {}).get("n_classes") or 0 for run in runs} - {0})
    tasks = [f"one synthetic task of {count} classes" for count in classes]
    tasks += [f"one language model ({said})" for sweep in sweeps if sweep.search is None for said in trained(sweep)]
    on = "CPUs" if all(str(run.record.get("device")).startswith("cpu") for run in runs) else "several devices"
    tuned = any(sweep.tuned is not None for sweep in sweeps if sweep.search is None)
    timed = any(verdict.claim.of_time for _, verdict in judged)
    return (
        f"These results hold for {', '.join(tasks) or 'the sweeps named here'} only, on {on}, in the readings of the paper "
        "that each sweep names. The paper's classification data are not published, so levels of accuracy cannot be "
        "compared, and a claim that is not reproduced here may hold on its data, model or device."
        + (" Times are of this package's own circuits; the paper's simulator was not timed." if timed else ""),
        "Intervals are each claim's own at 95 %. Superior and inferior are corrected over the claims of a family (Holm), "
        "equivalent is not, and nothing is corrected over the families of the study. Equivalent means within a chosen "
        f"margin, and inconclusive never means equal. {'Except in the tuned sweep, arms' if tuned else 'Arms'} have "
        "settings that nobody searched for: the paper's, except for what an arm's name says.",
    )


def made(sweeps: Sequence[Sweep], missing: Sequence[str], fingerprints: Mapping[str, str]) -> str:
    runs = [run for sweep in sweeps for run in sweep.runs]
    ends = ", ".join(f"{count:,} {status}" for status, count in Counter(run.status for run in runs).items())
    code = counted(str(run.record.get("code")) for run in runs)
    on = counted(run.record.get("processor") or "not recorded" for run in runs)
    lacks = f" Not run yet: {', '.join(missing)}." if missing else ""
    records = ", ".join(f"{name} {digest[:12]}" for name, digest in fingerprints.items())
    text = f"{number(len(runs), 'run')} of {number(len(sweeps), 'sweep')}: {ends}. Code version: {code}. Processor: {on}. "
    return f"{text}SHA-256 of the records judged: {records}.{lacks}"


def counted(values: Iterable[str]) -> str:
    """Return each value with how often it stands there, the commonest first."""
    return "; ".join(f"{name} ({count:,})" for name, count in Counter(values).most_common())


def extent(sweep: Sweep) -> str:
    """Return ``5 arms × 30 paired seeds (2000–2029)``; of a search its trials."""
    seeds = format.name_seeds(sweep.seeds).partition(" ")[2]
    if sweep.search is not None:
        arms = dict.fromkeys(arm.split(",")[0] for arm in sweep.arms)
        return f"{len(arms)} arms × {len(sweep.arms) // len(arms)} trials × {len(sweep.seeds)} tuning seeds ({seeds})"
    return f"{number(len(sweep.arms), 'arm')} × {len(sweep.seeds)} paired seeds ({seeds})"


def commits(sweep: Sweep) -> str:
    """Return which commits the runs were made at, and whether other files lay there, which the code version tells."""
    git = [run.record.get("git") or {} for run in sweep.runs]
    found = dict.fromkeys(each["commit"][:7] for each in git if each.get("commit"))
    beside = " with other files beside it" if any(each.get("dirty") for each in git) else ""
    return f"{', '.join(found) or 'unknown'}{beside}"


def beyond(judged: Sequence[Verdict]) -> str:
    """Return what is left of established effects beyond controls whose runs are not the arm's own in every pair."""
    parts = []
    for verdict in (each for each in judged if each.established):
        claim, beside = verdict.claim, [(one.arm, one.beyond) for one in verdict.attribution]
        wide = [(arm, each) for arm, each in beside if None not in (each.low, each.high) and each.low < each.high]
        told = [f"{label(arm)} {bounds(each, claim.effect_unit)}" for arm, each in wide]
        head = f"{spoken(claim.metric)}, n = {verdict.n}: {label(claim.arm)} beyond"
        parts += [f"{head} {', '.join(told)}"] if told else []
    return f" {BEYOND}: {'; '.join(parts)}." if parts else ""


def broken(sweep: Sweep) -> Iterator[tuple[str, str, int]]:
    """Yield each arm whose training broke, in how many runs, and how many of them diverged: a mean would hide it."""
    for arm in sweep.arms:
        runs = ended(sweep, arm)
        if lost := [run for run in runs if broke(run)]:
            yield label(arm), f"{len(lost)} of {len(runs)}", sum(run.status == "diverged" for run in lost)


def decided(verdict: Verdict) -> str:
    """Return the verdict, or why there is none; of one that decides nothing, how many pairs would; if it explores, so."""
    said, claim = verdict.words, verdict.claim
    if verdict.verdict == NONE:
        said = f"{NONE}: {verdict.refusals[0]}"
    elif verdict.disagreement:
        said += f": {verdict.disagreement}"
    elif verdict.verdict == "inconclusive" and claim.metric == DIVERGED:
        # Of exact shares no spread tells it; 36 pairs in which no run differs are within ± 10 points.
        ends = ((n, claim.scale * clopper_pearson(0, n, (1 + NARROW) / 2)[1]) for n in itertools.count(1))
        said += f"; {next(n for n, end in ends if end < claim.margin)} pairs if no run of them diverges"
    elif verdict.verdict == "inconclusive" and verdict.n < LEAST_PAIRS:
        said += f"; it takes {LEAST_PAIRS} pairs"
    elif verdict.verdict == "inconclusive" and verdict.decide:
        said += f"; {verdict.decide}"
    return said + ", exploratory" * bool(verdict.exploratory)


def pairs(verdict: Verdict) -> str:
    """Return ``30 of 30``, and how many runs stand with the end of training for a target that they never reached."""
    lost = "".join(f", {label(arm)} diverged {count}" for arm, count in verdict.diverged.items())
    return f"{verdict.n} of {verdict.planned}{lost}" + f", {verdict.censored}" * bool(verdict.censored)


def against_first(said: Findings, verdict: Verdict) -> str:
    """Return the arm's difference to the sweep's first one, where the claim is against another: better than a worse
    one is not yet a gain."""
    claim, every = verdict.claim, [each for table in said.comparisons.values() for each in table]
    own = [each for each in every if (each.measure.metric, each.arm.arm) == (claim.metric, claim.arm)]
    first = [each for each in own if each.baseline.arm != claim.baseline and not each.conditional]
    told = [f" (against {label(each.baseline.arm)} {bounds(each.estimate, each.measure.unit)})" for each in first]
    return told[0] if told else ""
