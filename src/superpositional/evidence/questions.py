"""Does an arm answer more questions rightly than its baseline, question by question?

Runs that generate answers leave ``generations.jsonl``, a line per question, and the arms of a seed answer the same ones, so
arms are paired twice: by seed and by question. Of question q let d_q be the mean over the seeds of (arm right) − (baseline
right), each 1 or 0. Over Q questions

    difference  d̄ = Σ_q d_q / Q,    standard error  SE = √( Σ_q (d_q − d̄)² / (Q (Q − 1)) ),    d̄ ± t_{0.975, Q−1} · SE

SE² is the clustered variance of Miller 2024 (arXiv 2411.00640), Σ_q (Σ_s (d_qs − d̄))² / (Q S)², the clusters being
questions, times Q / (Q − 1): the S answers to one question are alike, and to count them as S questions would make the
interval too narrow. It speaks of other questions to these very runs, not of other seeds: for those there is the interval
over seeds in the table of arms. Per pair of runs McNemar's exact test (McNemar 1947) looks only at the questions that one
of them alone has right.

What could have been found, at 5 % and with 80 % power: from the sd of d_q that was seen; and, as one reckons before any
run, of unpaired answers by one run each at the baseline's share p, (z_0.975 + z_0.8) · √(2 p (1 − p) / Q), 5.3 points at
p = 0.4 and Q = 1,319. A smoke, fewer questions than there are, has no result. Read by ``report``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from superpositional import format
from superpositional.evidence import inference
from superpositional.evidence.analysis import is_smoke
from superpositional.evidence.inference import Estimate, student_interval
from superpositional.evidence.verdicts import ALPHA, POWER
from superpositional.format import Rows, label, name_seeds, number, written
from superpositional.records import GENERATIONS, Sweep

# How an answer is read from a completion, by what the file calls "right".
KINDS = {"strict": "correct", "flexible": "correct_flexible"}
RULE = (
    "Answers paired by seed and question: mean difference over the seeds, averaged over questions, with a 95 % interval "
    "from the question-clustered standard error sd(d_q) / √Q, d_q the mean over seeds at question q of Q (after Miller "
    "2024, arXiv 2411.00640). It speaks of other questions to these runs, not of other seeds. Found with 80 % power: from "
    "the sd seen; unpaired: by two single runs at the baseline's share, as reckoned beforehand. +: right in the arm alone, "
    "−: in the baseline alone, p of McNemar's exact test. Nothing here is corrected for multiple comparisons. †: "
    "conditional, over the seeds with answers of both."
)


@dataclass(frozen=True)
class Answers:
    """A run's answers: the reference by question, and for each of ``KINDS`` whether each question was answered rightly."""

    references: Mapping[int, str]
    right: Mapping[str, Mapping[int, bool]]
    evaluation: Mapping[str, Any]


@dataclass(frozen=True)
class McNemar:
    """One seed's pair of runs: questions right in the arm alone and in the baseline alone, and the two-sided exact p."""

    seed: int
    better: int
    worse: int
    p: float


@dataclass(frozen=True)
class Paired:
    """An arm against its baseline by one reading of answers; shares are of 1, ``estimate`` and what is found in points.

    Attributes:
        refusal: why there is no result, in words; all that follows is then empty.
        estimate: mean difference over questions with its clustered interval; n is the number of questions.
        detectable: from the sd seen; None where no question differs.
        beforehand: of unpaired answers.
        lost: seeds without answers of both.
    """

    arm: str
    baseline: str
    kind: str
    planned: int
    refusal: str = ""
    questions: int = 0
    arm_share: float = math.nan
    baseline_share: float = math.nan
    estimate: Estimate | None = None
    detectable: float | None = None
    beforehand: float | None = None
    by_seed: tuple[McNemar, ...] = ()
    lost: tuple[int, ...] = ()

    @property
    def sentence(self) -> str:
        """All of it in words, with n."""
        head = f"{label(self.arm)} vs {label(self.baseline)}, {self.kind} match by question"
        if self.refusal:
            return f"{head}: no result, {self.refusal}."
        n = f"n = {number(self.questions, 'question')} × {number(len(self.by_seed), 'seed')}"
        lost = f" (conditional; without answers of both: {name_seeds(self.lost)})" if self.lost else ""
        if self.estimate.sd == 0 and self.estimate.mean == 0:
            return (
                f"{head}: mean paired difference 0 at every question, {n}{lost}; beforehand {self.beforehand:.2g} points."
            )
        power = f"found with 80 % power: {self.detectable:.2g} points" if self.detectable else "no spread to reckon from"
        return (
            f"{head}: mean paired difference {format.bounds(self.estimate, 'points')}, {n}{lost}; {power}, beforehand "
            f"{self.beforehand:.2g} points unpaired; McNemar, {_exact(self)}."
        )


def read(folder: Path, sweep: Sweep) -> dict[tuple[str, int], Answers]:
    """The answers of every finished run that left some, by arm and seed.

    Raises:
        ValueError: a file is damaged, or answers a question twice.
    """
    found = {}
    for run in sweep.runs:
        path = Path(folder) / run.arm / f"seed-{run.seed}" / GENERATIONS
        if run.status == "done" and path.exists():
            found[run.arm, run.seed] = _answers(path, run.record.get("evaluation"))
    return found


def _answers(path: Path, evaluation: Mapping[str, Any] | None) -> Answers:
    if evaluation is None:
        raise ValueError(f"{path} has answers, but its record does not say of how many questions; run it again")
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        references = {line["question"]: line["reference"] for line in lines}
        right = {kind: {line["question"]: bool(line[key]) for line in lines} for kind, key in KINDS.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); move the run's folder away and run it again") from None
    if len(references) != len(lines):
        raise ValueError(f"{path} answers {number(len(lines) - len(references), 'question')} twice; run it again")
    return Answers(references, right, evaluation)


def compare(sweep: Sweep, answers: Mapping[tuple[str, int], Answers]) -> list[Paired]:
    """Every arm against its baseline, both ways to read an answer; nothing where no run generated any."""
    if not any(run.record.get("evaluation") for run in sweep.runs if run.status == "done"):
        return []
    held = [(arm, sweep.baseline(arm)) for arm in sweep.arms if sweep.baseline(arm) != arm]
    return [_compare(sweep, answers, *pair, kind) for pair in held for kind in KINDS]


def _compare(sweep: Sweep, answers: Mapping[tuple[str, int], Answers], arm: str, baseline: str, kind: str) -> Paired:
    seeds = [seed for seed in sweep.seeds if (arm, seed) in answers and (baseline, seed) in answers]
    pairs = [(answers[arm, seed], answers[baseline, seed]) for seed in seeds]
    lost = tuple(seed for seed in sweep.seeds if seed not in seeds)
    empty = Paired(arm, baseline, kind, len(sweep.seeds), lost=lost)
    if refusal := _unfit(sweep, [each for pair in pairs for each in pair], (arm, baseline)):
        return Paired(arm, baseline, kind, len(sweep.seeds), refusal, lost=lost)
    return paired(empty, seeds, [(a.right[kind], b.right[kind]) for a, b in pairs])


def _unfit(sweep: Sweep, answers: Sequence[Answers], arms: tuple[str, str]) -> str:
    """Why these runs' answers give no result; nothing where they do."""
    # A smoke first, and whether its file is there or not: a published sweep keeps records alone.
    evaluations = [run.record.get("evaluation") for run in sweep.runs if run.arm in arms and run.status == "done"]
    asked = [each["questions"] for each in evaluations if each and is_smoke(each)]
    if asked:
        return f"a smoke of {number(min(asked), 'question')}"
    if not answers:
        return f"no seed has {GENERATIONS} of both arms"
    first = answers[0]
    if any(set(each.references) != set(first.references) for each in answers):
        sizes = ", ".join(dict.fromkeys(str(len(each.references)) for each in answers))
        return f"the runs answered different questions ({sizes} of them); generate again for the same ones"
    if any(dict(each.references) != dict(first.references) for each in answers):
        return "the runs' questions have different references; use one revision of the data"
    for key in ("max_new_tokens", "prompt"):
        if any(each.evaluation.get(key) != first.evaluation.get(key) for each in answers):
            return f"the runs' answers were generated with different {key}; generate again with one"
    short = [each for each in answers if len(each.references) != each.evaluation["questions"]]
    if short:
        said = short[0].evaluation["questions"]
        return f"a run answered {len(short[0].references):,} of the {said:,} questions that it says; run it again"
    return "" if len(first.references) > 1 else "a single question has no spread"


def paired(empty: Paired, seeds: Sequence[int], pairs: Sequence[tuple[Mapping[int, bool], Mapping[int, bool]]]) -> Paired:
    """The comparison over the questions that all of these runs answered; ``pairs`` are (arm, baseline) of each seed."""
    asked = sorted(set.intersection(*(set(side) for pair in pairs for side in pair)))
    arm_SQ, baseline_SQ = (np.array([[pair[side][q] for q in asked] for pair in pairs], dtype=float) for side in (0, 1))
    difference_Q = 100 * (arm_SQ - baseline_SQ).mean(axis=0)
    estimate = student_interval(difference_Q)
    share = float(baseline_SQ.mean())
    by_seed = [mcnemar(seed, *sides) for seed, *sides in zip(seeds, arm_SQ, baseline_SQ, strict=True)]
    return Paired(
        empty.arm,
        empty.baseline,
        empty.kind,
        empty.planned,
        questions=len(asked),
        arm_share=float(arm_SQ.mean()),
        baseline_share=share,
        estimate=estimate,
        detectable=inference.detectable(estimate.sd, len(asked), ALPHA, POWER) if estimate.sd else None,
        beforehand=100 * beforehand(share, len(asked)),
        by_seed=tuple(by_seed),
        lost=empty.lost,
    )


def mcnemar(seed: int, arm: np.ndarray, baseline: np.ndarray) -> McNemar:
    """Two-sided and exact: of the questions that one run alone has right, half would be the arm's by chance."""
    better, worse = int((arm > baseline).sum()), int((arm < baseline).sum())
    p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return McNemar(seed, better, worse, p)


def beforehand(share: float, questions: int) -> float:
    """The difference of shares that two runs with answers of their own to so many questions find: this module's formula."""
    z = float(stats.norm.isf(ALPHA / 2) + stats.norm.ppf(POWER))
    return z * math.sqrt(2 * share * (1 - share) / questions)


def sentences(found: Sequence[Paired]) -> list[str]:
    """Each comparison in a sentence; one where none has a result, and for the same reason."""
    if len({each.refusal for each in found}) == 1 and found[0].refusal:
        return [f"Answers question by question: {found[0].refusal}, no result."]
    return [each.sentence for each in found]


def rows(found: Sequence[Paired]) -> Rows:
    """A row for each arm and way to read an answer: the difference over questions, and what could have been found.

    Nothing below the headings where there is no result at all.
    """
    heads = ("arm", "against", "answers read", "seeds", "questions", "arm (%)", "baseline (%)", "difference (points)")
    table: Rows = [(*heads, "found with 80 % power (points)", "unpaired, beforehand (points)", "McNemar by seed")]
    for each in found if any(not other.refusal for other in found) else ():
        names = label(each.arm), label(each.baseline), each.kind
        if each.refusal:
            table.append((*names, "–", "–", "–", "–", f"no result: {each.refusal}", "–", "–", "–"))
            continue
        same = each.estimate.sd == 0 and each.estimate.mean == 0
        table.append(
            (
                *names,
                f"{len(each.by_seed)} of {each.planned}" + "†" * bool(each.lost),
                f"{each.questions:,}",
                f"{100 * each.arm_share:.2f}",
                f"{100 * each.baseline_share:.2f}",
                "0 at every question" if same else format.bounds(each.estimate),
                f"{each.detectable:.2g}" if each.detectable else "–",
                f"{each.beforehand:.2g}",
                _exact(each),
            )
        )
    return table


def to_csv(found: Sequence[Paired]) -> str:
    """A row for each pair of runs with the numbers over all of them beside it, for machines; without a result one row."""
    estimate = ("n", "mean", "sd", "low", "high")
    heads = ("arm", "baseline", "answers_read", "planned", "refusal", *estimate, "arm_share", "baseline_share")
    table: list[tuple[Any, ...]] = [(*heads, "detectable", "beforehand", "seed", "better", "worse", "p")]
    for each in found:
        cells: list[Any] = [each.arm, each.baseline, each.kind, each.planned, each.refusal]
        if each.estimate is None:
            table.append((*cells, *[None] * (len(table[0]) - len(cells))))
            continue
        cells += [getattr(each.estimate, key) for key in estimate]
        cells += [each.arm_share, each.baseline_share, each.detectable, each.beforehand]
        table += [(*cells, one.seed, one.better, one.worse, one.p) for one in each.by_seed]
    return written(table)


def _exact(found: Paired) -> str:
    return "; ".join(f"seed {one.seed}: +{one.better} −{one.worse}, p = {one.p:.2g}" for one in found.by_seed)
