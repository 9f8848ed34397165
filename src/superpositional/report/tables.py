"""The report's tables: rows of cells for readers, as Markdown and LaTeX (booktabs, IEEEtran), and every digit as CSV.

A table for readers is a list of cells by heading for each row, one for machines a list of values by column.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas

from superpositional import format
from superpositional.evidence import analysis, tuning
from superpositional.evidence.analysis import Comparison, Outcomes
from superpositional.evidence.curves import Term
from superpositional.evidence.verdicts import Verdict
from superpositional.format import Rows, as_given, label, number
from superpositional.records import Run, Sweep
from superpositional.records.measures import Measure
from superpositional.records.published import fingerprint
from superpositional.report import words
from superpositional.report.findings import Findings

STATUS = "ended otherwise"
NONE = "–"
TEX = {**{character: f"\\{character}" for character in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
TEX |= {"^": r"\textasciicircum{}", "λ": r"$\lambda$", "−": "$-$", "+": "$+$", "±": r"$\pm$", "–": "--"}
TEX |= {"†": r"$^\dagger$", "°": r"$^\circ$", "√": r"$\surd$"}
Cells = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Rows, the first of them the headings, under a caption; ``csv`` has every digit, where there is more than is shown."""

    caption: str
    rows: Rows
    csv: str = ""

    @property
    def markdown(self) -> str:
        return format.markdown(self.rows)

    @property
    def text(self) -> str:
        return f"{self.caption}\n\n{self.markdown}"

    def tex(self, name: str) -> str:
        """Return a two-column table for IEEEtran; every cell is escaped, so no arm's name can break the paper."""
        head, *body = [" & ".join(map(_escape, row)) + r" \\" for row in self.rows]
        lines = [
            "% Written by `superpositional report`; needs \\usepackage{booktabs}.",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{_escape(self.caption)}}}",
            # A label takes no escapes.
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9._:-]+', '-', name)}}}",
            rf"\begin{{tabular}}{{{'l' * len(self.rows[0])}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table*}",
        ]
        return "\n".join(lines) + "\n"

    def plain(self) -> "Table":
        return Table(self.caption.replace("`", ""), [tuple(cell.replace("`", "") for cell in row) for row in self.rows])


def _escape(text: str) -> str:
    # A blank line would end a caption's paragraph, and a bracket behind \\ be its argument.
    escaped = "".join(TEX.get(character, character) for character in " ".join(text.split()))
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def rows(cells: Iterable[Cells]) -> Rows:
    cells = list(cells)
    return [tuple(cells[0]), *(tuple(row.values()) for row in cells)] if cells else []


def csv(values: Iterable[Mapping[str, Any]]) -> str:
    """Return the values with every digit; no cell is a formula to a spreadsheet, an empty one is "no value"."""
    plain = [{key: format.inert(value) for key, value in row.items()} for row in values]
    return pandas.DataFrame(plain, dtype=object).to_csv(index=False, lineterminator="\n") if plain else ""


def _answers(said: Findings) -> Iterator[Cells]:
    matches = [measure for measure in said.measures if measure.evaluated]
    for run in said.sweep.runs:
        told = run.record.get("evaluation")
        if run.status == "done" and matches and told and not analysis.is_smoke(told):
            row = {"arm": label(run.arm), "seed": str(run.seed), "questions": str(told["questions"])}
            yield row | {each.heading: _value(run, each) for each in matches}


def of(said: Findings) -> dict[str, Table]:
    """Return every table that the sweep has, by its file's name, in the order in which a reader meets them."""
    found = {
        "claims": Table(words.claims_caption(said), rows(map(_claim, said.judged)), csv(values(said.judged))),
        "attribution": Table(words.ATTRIBUTION, rows(_attribution(said.judged))),
        "results": Table(words.caption(said), _arms(said.arms, said.comparisons), csv(_arm_values(said))),
        "beside": Table(words.BESIDE, rows(map(_beside, said.beside))),
        "term": Table(words.TERM, rows(map(_term, said.terms)), csv(map(_term_values, said.terms))),
        "answers": Table(words.ANSWERED, rows(_answers(said)), csv(_answers(said))),
    }
    return {name: table for name, table in found.items() if len(table.rows) > 1}


def of_search(sweep: Sweep, found: Mapping[str, Any]) -> Table:
    caption = f"{words.title(sweep)} {tuning.caption(sweep, found)}"
    return Table(caption, tuning.rows(found), csv(tuning.values(found)))


# Arms --------------------------------------------------------------------------------------------------------------


def _arms(arms: Mapping[Measure, list[Outcomes]], comparisons: Mapping[Measure, list[Comparison]]) -> Rows:
    header = ["arm", "n"]
    for measure in arms:
        header += [measure.heading or measure.name, f"difference ({measure.unit})" if measure.unit else "difference"]
        header += ["change (%)"] * measure.relative
    by_arm = {measure: {each.arm.arm: each for each in table} for measure, table in comparisons.items()}
    body = []
    for every in zip(*arms.values(), strict=True):
        arm, reasons, cells = every[0].arm, {}, []
        for measure, outcomes in zip(arms, every, strict=True):
            reasons = outcomes.without | reasons
            shown = change = "baseline"
            if (each := by_arm[measure].get(arm)) is not None:
                dagger, n = "†" * each.conditional, each.estimate.n
                shown = each.shown() + ("" if n == each.arm.planned else f"{dagger} ({number(n, 'pair')})")
                change = "0" if each.same else f"{format.bounds(each.change)}{dagger}" if measure.relative else ""
            cells += [_mean(outcomes, measure.decimals), shown, *[change] * measure.relative]
        said = ", ".join(f"{len(seeds)} {reason}" for reason, seeds in reasons.items())
        body.append((label(arm), f"{_done(every[0])} of {every[0].planned}", *cells, said))
    if not any(row[-1] for row in body):
        return [tuple(header), *(row[:-1] for row in body)]
    return [(*header, STATUS), *((*row[:-1], row[-1] or NONE) for row in body)]


def _beside(each: Comparison) -> Cells:
    pair = {"arm": label(each.arm.arm), "against": label(each.baseline.arm), "metric": each.measure.name}
    shown = each.shown(each.measure.unit) + "†" * each.conditional
    return pair | {"difference": shown, "n": f"{each.estimate.n} of {each.arm.planned}"}


def _done(outcomes: Outcomes) -> int:
    return outcomes.planned - len(outcomes.seeds(("diverged", "failed", *analysis.UNFINISHED)))


def _mean(outcomes: Outcomes, decimals: int) -> str:
    """A mean over the runs that reached the target is not the arm's mean: it says how many those are."""
    mean, sd = outcomes.estimate.mean, outcomes.estimate.sd
    spread = " (one run)" if sd is None else f" ± {sd:.{decimals}f}"
    shown = NONE if mean is None else f"{mean:.{decimals}f}{spread}"
    missed = "missed the target" in outcomes.without
    return f"{shown} ({len(outcomes.values)} of {_done(outcomes)} reached it)" if missed else shown


def _arm_values(said: Findings) -> Iterator[dict[str, Any]]:
    keys, reasons = ("n", "mean", "sd", "low", "high"), (*analysis.CENSORED, *analysis.UNFINISHED)
    for measure, table in said.arms.items():
        by_arm = {each.arm.arm: each for each in said.comparisons[measure]}
        for outcomes in table:
            each = by_arm.get(outcomes.arm)
            row = {"metric": measure.metric, "unit": measure.unit, "arm": outcomes.arm}
            row |= {"baseline": each.baseline.arm if each else outcomes.arm, "planned": outcomes.planned}
            row |= {f"arm_{key}": getattr(outcomes.estimate, key) for key in keys}
            row |= {f"difference_{key}": getattr(each.estimate, key) if each else None for key in keys}
            row["conditional"] = each.conditional if each else None
            yield row | {reason: len(outcomes.without.get(reason, ())) for reason in reasons}


# The term ----------------------------------------------------------------------------------------------------------


def _term(each: Term) -> Cells:
    changed = _of(each.changed, each.touched)
    if each.counted not in (0, each.runs):
        changed += f" (in {each.counted} of {each.runs} runs)"
    if each.changed is None and each.traced is not None:
        changed = f"{each.traced:.3g} in a traced step"
    return {
        "arm": label(each.arm),
        "runs": str(each.runs),
        "precision": each.precision,
        "share of the update (%)": NONE if each.share is None else f"{100 * each.share:.3g}",
        "angle (°)": NONE if each.angle is None else f"{each.angle:.3g}",
        "scalars changed of touched": changed,
        "steps with a gradient": _of(each.steps_with_gradient, each.steps),
        "steps with a change": _of(each.steps_with_change, each.steps),
        "losses beside the baseline's": "baseline" if each.departure is None else each.departure.words,
    }


def _term_values(each: Term) -> dict[str, Any]:
    """``first`` holds ``seed:step`` for each pair that parts."""
    apart, found = each.departure, {f.name: getattr(each, f.name) for f in fields(Term) if f.name != "departure"}
    if apart is None:
        return found | dict.fromkeys(("baseline", "pairs", "planned", "exact", "first"))
    first = " ".join(f"{seed}:{step}" for seed, step in apart.first.items())
    found |= {"baseline": apart.baseline, "pairs": len(apart.seeds), "planned": apart.planned}
    return found | {"exact": apart.exact, "first": first}


def _of(some: int | None, whole: int | None) -> str:
    return NONE if some is None else f"{some:,}" + ("" if whole is None else f" of {whole:,}")


# Claims ------------------------------------------------------------------------------------------------------------


def _claim(verdict: Verdict) -> Cells:
    claim, unit = verdict.claim, verdict.claim.effect_unit
    # Where there is a spread, no number of pairs is more than a million.
    none = "> 1,000,000" if verdict.decide else NONE
    within = {None: "", True: " (inside)", False: " (outside)"}[verdict.published_within]
    many = [none if count is None else f"{count:,}" for count in (verdict.pairs, verdict.pairs_seen)]
    return {
        "claim": claim.id,
        "verdict": verdict.words,
        "as claimed?": verdict.answer,
        "ours, 95 % interval": verdict.shown,
        "published": NONE if claim.published is None else f"{as_given(claim.published)} {unit}{within}",
        "margin": f"± {claim.margin:g} {unit}",
        "n": f"{verdict.n} of {verdict.planned}",
        "arm": label(claim.arm),
        "against": label(claim.baseline),
        "metric": claim.metric,
        "found with 80 % power": NONE if verdict.detectable is None else f"{verdict.detectable:.2g} {unit}",
        "pairs for the margin": many[0],
        "pairs for the effect seen": many[1],
    }


def values(judged: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    for each in judged:
        claim, effect, (low, high) = each.claim, each.effect, each.narrow
        row = {"claim": claim.id} | {name: getattr(claim, name) for name in ("arm", "baseline", "metric", "compare")}
        row |= {"unit": claim.effect_unit, "published": claim.published, "margin": claim.margin, "family": claim.family}
        row |= {"family_size": each.family_size, "planned": each.planned, "n": each.n}
        row |= {"effect": effect.mean, "low_95": effect.low, "high_95": effect.high, "low_90": low, "high_90": high}
        row |= {"p": each.p, "p_holm": each.p_holm, "p_sign_flip": each.sign_flip and each.sign_flip.p}
        last = ("verdict", "answer", "small", "detectable", "pairs", "pairs_seen", "rare_failures", "smallest_margin")
        row |= {name: getattr(each, name) for name in last}
        yield row | {"diverged": sum(each.diverged.values()), "refusals": "; ".join(each.refusals)}


def _attribution(judged: Sequence[Verdict]) -> Iterator[Cells]:
    for verdict in judged:
        unit = verdict.claim.effect_unit
        for each in verdict.attribution:
            share, stays = each.share, "no finite interval"
            if not verdict.established:
                stays = "no effect established"
            elif share is None:
                stays = "control incomplete or not comparable"
            elif share.low is not None:
                stays = f"{100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]".replace("-", "−")
            row = {"claim": verdict.claim.id, "arm": label(verdict.claim.arm), "its effect": verdict.shown}
            row |= {"control": label(each.arm), "control's effect": format.bounds(each.control, unit)}
            row |= {"arm beyond control": format.bounds(each.beyond, unit), "n": str(each.beyond.n)}
            yield row | {"what stays": stays}


# Runs --------------------------------------------------------------------------------------------------------------


def runs(sweep: Sweep, measures: Sequence[Measure]) -> Rows:
    """A row for each planned run, those that are missing too."""
    found, there = [], {(run.arm, run.seed): run for run in sweep.runs}
    for arm in sweep.arms:
        for seed in sweep.seeds:
            run = there.get((arm, seed))
            seconds = run and run.record.get("wall_seconds")
            cells = {"arm": label(arm), "seed": str(seed), "status": run.status if run else "not run"}
            cells |= {each.heading or each.name: _value(run, each) for each in measures}
            cells["seconds"] = NONE if seconds is None else f"{seconds:.1f}"
            found.append(cells | {"what ended it": (run and run.record.get("error")) or NONE})
    return rows(found)


def _value(run: Run | None, measure: Measure) -> str:
    value = run and run.summary(measure.metric)
    return NONE if value is None else f"{measure.scale * value:.{measure.decimals}f}"


def environment(sweep: Sweep) -> Rows:
    """What the runs were made with and of; several values of one thing stand side by side with their counts."""
    found: dict[str, Counter] = {}
    for record in (run.record for run in sweep.runs):
        config, git = record.get("config") or {}, record.get("git") or {}
        stamp = {"code version": record.get("code"), "execution": record.get("execution"), "device": record.get("device")}
        stamp |= {"threads": config.get("threads"), "machine": record.get("machine")}
        stamp |= {"commit": git.get("commit"), "commit had changes": git.get("dirty")}
        stamp |= {"precision": (config.get("trainer") or {}).get("precision")}
        for what in ("model", "data"):
            for key, value in (record.get(what) or {}).items():
                several = value.items() if isinstance(value, Mapping) else ()
                stamp[f"{what}: {key.replace('_', ' ')}"] = ", ".join(f"{name} {each}" for name, each in several) or value
        for name, value in (stamp | record.get("versions", {})).items():
            if value is not None:
                found.setdefault(name, Counter())[str(value)] += 1
    table: Rows = [("what", "value"), ("records judged, SHA-256", fingerprint(sweep))]
    for name, counts in found.items():
        several = [f"{value} ({number(count, 'run')})" for value, count in counts.items()]
        table.append((name, next(iter(counts)) if len(counts) == 1 else ", ".join(several)))
    seconds = [run.record["wall_seconds"] for run in sweep.runs if run.record.get("wall_seconds") is not None]
    total = ("time of all runs", f"{sum(seconds):.0f} s over {len(seconds)} of {len(sweep.runs)} runs")
    return [*table, *[total] * bool(seconds)]
