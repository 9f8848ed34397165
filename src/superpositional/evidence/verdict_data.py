"""A verdict on a claim: its numbers, and what they amount to in words.

``verdicts.judge`` fills it; reports print its properties, ``claims.json`` holds ``plain``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from superpositional.evidence import inference
from superpositional.evidence.inference import Estimate, SignFlip
from superpositional.format import as_given, bounds, label, number
from superpositional.records import plain
from superpositional.records.claims import Claim

ALPHA, POWER, LEAST_PAIRS = 0.05, 0.8, 6
# From here on a small effect is stated without a caution.
SURE_PAIRS = 15
NARROW = 1 - 2 * ALPHA  # the interval that the two one-sided tests amount to
NONE = "no verdict"
# Fields that a plain verdict has under other names, or not at all.
ASIDE = ("effect", "narrow", "sign_flip", "exploratory", "disagreement")


@dataclass(frozen=True)
class Attribution:
    """What stays of an effect with an arm that has not the quantum part.

    ``control`` is its effect against the same baseline, ``beyond`` the claim's arm against it, both in the claim's unit and
    not corrected for multiplicity. ``share`` is control effect over the arm's effect with its 95 % interval, None where the
    arm's own effect cannot be told from 0, a pair is missing, or the runs cannot be compared.
    """

    arm: str
    control: Estimate
    beyond: Estimate
    share: inference.Ratio | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim and what our runs say of it. Effects are arm against baseline in ``claim.effect_unit``.

    Attributes:
        verdict: ``superior``, ``inferior``, ``equivalent``, ``inconclusive`` or ``no verdict``.
        refusals: why there is none, in words.
        cautions: what a reader should know besides.
        planned: pairs of the sweep.
        effect: over the pairs with two values, with its 95 % interval; of mostly censored times at most one end of it.
        narrow: the 90 % interval.
        n: pairs judged, those with a run that diverged too.
        direction: the sign of what was tested; 1 is above the baseline.
        p, p_holm, family_size: of the paired t test; adjusted over this many tests.
        sign_flip: the exact randomisation test, which must agree.
        small: the effect has a direction, or the tests disagree on it, and its 90 % interval lies within the margin.
        sd: of the paired differences; of a ratio in percent of the baseline's mean. None without a verdict.
        missed: runs of either arm that had not reached the target within the length of training, and stand with that.
        diverged: runs of either arm that rank last.
        attribution: what each control does.
        exploratory: in words, that the claim was declared or changed after runs were made; it is a caution too.
        disagreement: in words, that one of the two tests alone rejects no effect; it is a caution too.
        detectable: the effect that n pairs find in 80 of 100 cases, at the family's strictest level.
        pairs: how many would decide in 80 of 100 cases, be the effect as large as the margin or 0; None if too many.
        pairs_seen: how many would find an effect as large as the one seen.
        rare_failures: of a small effect, the share of runs that could fail and not be seen in n pairs (95 %).
        smallest_margin: of a small effect, the margin above which it would still be one.
    """

    claim: Claim
    verdict: str = NONE
    refusals: tuple[str, ...]
    cautions: tuple[str, ...]
    planned: int
    effect: Estimate
    narrow: tuple[float | None, float | None]
    n: int
    direction: int
    p: float | None
    p_holm: float | None = None
    family_size: int
    sign_flip: SignFlip | None
    small: bool = False
    sd: float | None
    missed: Mapping[str, int]
    diverged: Mapping[str, int]
    attribution: tuple[Attribution, ...] = ()
    exploratory: str = ""
    disagreement: str = ""

    @cached_property
    def detectable(self) -> float | None:
        if not self.sd or self.n < least_pairs(self.family_size):
            return None
        return inference.detectable(self.sd, self.n, ALPHA / self.family_size, POWER)

    @cached_property
    def pairs(self) -> int | None:
        # The sd of fewer pairs is no pilot.
        if not self.sd or self.n < LEAST_PAIRS:
            return None
        needed = [
            self._to_find(self.claim.margin),
            inference.pairs_for_equivalence(self.claim.margin, self.sd, alpha=ALPHA, power=POWER, least=LEAST_PAIRS),
        ]
        return None if None in needed else max(needed)

    @cached_property
    def pairs_seen(self) -> int | None:
        return self._to_find(self.effect.mean) if self.sd and self.n >= LEAST_PAIRS else None

    def _to_find(self, effect: float) -> int | None:
        return inference.pairs_to_detect(effect, self.sd, ALPHA / self.family_size, POWER, least_pairs(self.family_size))

    @property
    def rare_failures(self) -> float | None:
        """1 − 0.05^(1/n), above which n runs would show a failure in 95 of 100 cases."""
        return inference.clopper_pearson(0, self.n, NARROW)[1] if self._is_small else None

    @property
    def smallest_margin(self) -> float | None:
        ends = self.narrow if self.narrow[0] is not None else (self.effect.mean,)
        return max(map(abs, ends)) if self._is_small else None

    @property
    def _is_small(self) -> bool:
        return self.small or self.verdict == "equivalent"

    @property
    def words(self) -> str:
        """``superior, smaller than matters``; of a small effect that rests on fewer than 15 pairs, ``(few pairs)``."""
        return self.kind + " (few pairs)" * self.few_pairs

    @property
    def kind(self) -> str:
        return self.verdict + ", smaller than matters" * self.small

    @property
    def established(self) -> bool:
        return self.verdict in ("superior", "inferior")

    @property
    def few_pairs(self) -> bool:
        return self._is_small and self.n < SURE_PAIRS

    @property
    def shown(self) -> str:
        """The effect with its 95 % interval, and of a small one the 90 % interval that decided it."""
        if self.effect.n == 0:
            return "–"
        text = bounds(self.effect, self.claim.effect_unit)
        text += f" over {number(self.effect.n, 'pair')}" if self.effect.n < self.n else ""
        if self._is_small and self.narrow[0] is not None:
            ends = replace(self.effect, low=self.narrow[0], high=self.narrow[1])
            text += f", 90 % [{bounds(ends).partition('[')[2]}"
        return text

    @property
    def answer(self) -> str:
        """The verdict against what was claimed, its size too: ``as claimed``, ``as claimed, but not in size``, ``not by as
        much as matters``, ``not as claimed``, ``undecided``, ``undecided, but not in size``, ``no verdict``; – where
        nothing was claimed."""
        claimed = self.claim.claimed
        if self.verdict == NONE or claimed is None:
            return NONE if self.verdict == NONE else "–"
        if claimed == "equivalent" and (self.small or self.verdict != "inconclusive"):
            return "as claimed" if self._is_small else "not as claimed"
        if self.verdict == "inconclusive":
            return "undecided, but not in size" if self._short else "undecided"
        if self.verdict == "equivalent" and self.claim.published is None:
            # The claim names no size, and a smaller effect than matters is not excluded.
            return "not by as much as matters"
        if self.verdict != claimed:
            return "not as claimed"
        return "as claimed, but not in size" if self.small or self._short else "as claimed"

    @property
    def _short(self) -> bool:
        """Whether the published value lies outside the interval, and not because the effect goes beyond it."""
        effect, published = self.effect, self.claim.published
        if self.published_within is not False:
            return False
        return effect.high < published if published > 0 else effect.low > published

    @property
    def censored(self) -> str:
        """``never reached: z 30, softmax 2 of 30``, whose times count as training's length; empty without such runs."""
        told = ", ".join(f"{label(arm)} {count}" for arm, count in self.missed.items() if count)
        return f"never reached: {told} of {self.planned}" if told else ""

    @property
    def published_within(self) -> bool | None:
        """Whether the 95 % interval holds the published value; None where there is no interval of all pairs."""
        if self.refusals or self.claim.published is None or None in (self.effect.low, self.effect.high):
            return None
        return self.effect.low <= self.claim.published <= self.effect.high

    @property
    def sentence(self) -> str:
        claim = self.claim
        unit = f" {claim.effect_unit}".rstrip()
        head = f"{claim.id}, {label(claim.arm)} vs {label(claim.baseline)}, {claim.metric}: {self.words}"
        if self.answer not in ("–", "undecided", NONE):
            head += f" ({self.answer})"
        if self.refusals:
            said = "; ".join(self.refusals)
            there = f" Of the {number(self.effect.n, 'pair')} there are: {bounds(self.effect, claim.effect_unit)}."
            return f"{head}: {said}{'' if said.endswith('?') else '.'}{there * (self.effect.mean is not None)}"
        kind = "mean paired difference" if claim.compare == "difference" else "change of the mean"
        parts = [f"{head}. {kind.capitalize()} {self.shown}, n = {self.n} seeds", f"margin ± {claim.margin:g}{unit}"]
        if self._is_small:
            seen = f"failures of up to {100 * self.rare_failures:.2g} % of runs may go unseen in {number(self.n, 'pair')}"
            parts.append(f"holds for any margin above {self.smallest_margin:.2g}{unit}; {seen}")
        if claim.published is not None and self.published_within is not None:
            where = "inside" if self.published_within else "outside"
            parts.append(f"the published {as_given(claim.published)}{unit} lies {where} the interval")
        over = number(self.family_size, "claim")
        parts.append(f"p = {self.p:.2g}, {self.p_holm:.2g} after Holm over {over}")
        exact = "exact sign-flip" if self.sign_flip.exact else "sign-flip"
        parts.append(f"{exact} p = {self.sign_flip.p:.2g}")
        if self.detectable is not None:
            parts.append(f"{self.n} pairs find {self.detectable:.2g}{unit} with 80 % power")
        if decide := self.decide:
            parts.append(f"{decide}, with 80 % power")
        parts += [f"{label(arm)}: {count} censored" for arm, count in self.missed.items() if count]
        return "; ".join(parts) + "." + "".join(f" Caution: {caution}." for caution in self.cautions)

    @property
    def decide(self) -> str:
        """``about 29 pairs decide at the margin, about 12 the effect seen``; nothing without a spread of six pairs."""
        if not self.sd or self.n < LEAST_PAIRS:
            return ""
        if self.pairs is None:
            return "no number of pairs would decide"
        seen = "" if self.pairs_seen is None else f", about {self.pairs_seen:,} the effect seen"
        return f"about {self.pairs:,} pairs decide at the margin{seen}"

    def plain(self) -> dict[str, Any]:
        """For ``claims.json``: every digit, None where there is no value."""
        found = plain(asdict(self))
        # Of the report, not of a claim: `runs_before_declaration`.
        effect, narrow, flip, _, _ = (found.pop(key) for key in ASIDE)
        found |= {key: getattr(self, key) for key in ("detectable", "pairs", "pairs_seen")}
        found |= {key: getattr(self, key) for key in ("rare_failures", "smallest_margin", "shown")}
        found |= {"effect": effect | {"unit": self.claim.effect_unit}, "interval_90": narrow, "sign_flip": flip}
        found |= {"words": self.words, "answer": self.answer, "published_within_interval": self.published_within}
        return found | {"sentence": self.sentence}


def least_pairs(family: int) -> int:
    """The fewest pairs whose sign flips reach 5 % after Holm over a family of this size: 2 / 2**n times it."""
    return max(LEAST_PAIRS, 2 + math.floor(math.log2(family / ALPHA)))


def lead(verdicts: Sequence[Verdict]) -> str:
    """The answer in short: how many claims of which kind, and which."""
    if not verdicts:
        return "No claim was declared, so there is no verdict."
    kinds: dict[str, list[str]] = {}
    for verdict in verdicts:
        kinds.setdefault(verdict.words, []).append(verdict.claim.id)
    named = [f"{kind}: {', '.join(ids)}" for kind, ids in kinds.items()]
    text = f"Of {number(len(verdicts), 'claim')}, {'; '.join(named)}."
    undecided = [verdict for verdict in verdicts if verdict.words == "inconclusive"]
    if any(verdict.effect.low is not None for verdict in undecided):
        text += " Inconclusive is not equal: the intervals allow an effect that matters."
    if same := [verdict for verdict in undecided if verdict.effect.low is None]:
        pairs = ", ".join(f"{verdict.claim.id} ({verdict.effect.n} pairs)" for verdict in same)
        text += f" Without any spread there is no interval, and {LEAST_PAIRS} pairs are asked for: {pairs}."
    return text
