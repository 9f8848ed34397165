"""Student's and exact inference from n paired differences.

Runs of one seed share all randomness but the arm, so the data are d_s = arm_s − baseline_s, one a seed, and everything
here rests on their mean, their sd s and t = mean(d) / (s / √n) with n − 1 degrees of freedom (Student 1908):

    is there a difference?         `student_interval`, `paired_t`; `sign_flip` where no shape is to be assumed
    is it too small to matter?     a 90 % interval within the margin; `false_equivalence` tells how often that errs
    by what factor?                `ratio`
    over a family of questions?    `holm`
    what could n pairs show?       `power_t`, `detectable`, `pairs_to_detect`, and the same for equivalence
    what of runs that miss?        `clopper_pearson` for their share, `censored` for their times

Pure functions over numbers. A level is that of an interval (0.95), an alpha that of a test (0.05). `analysis` takes its
intervals from here.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import integrate, optimize, special, stats

LEVEL = 0.95
# Values this close, relative to the largest, are equal: two accuracies subtracted differ by rounding, which is no spread.
EQUAL = 1e-9
# The most non-zero differences whose 2**n sign patterns are all counted, and how many are drawn beyond.
EXACT, DRAWS = 40, 100_000
# Nobody trains more pairs than this; a plan that needs more has no answer.
MOST_PAIRS = 1_000_000
# Numbers that must lie between 0 and the first of these.
LIMITS = {
    "level": (1, "95 % is 0.95"),
    "alpha": (1, "5 % is 0.05"),
    "power": (1, "80 % is 0.8"),
    "margin": (math.inf, "it is the largest difference that does not matter"),
    "horizon": (math.inf, "it is the length of a run"),
}


@dataclass(frozen=True)
class Estimate:
    """A mean over n values; ``sd``, ``low`` and ``high`` are None below two values, ``mean`` below one."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SignFlip:
    """The p of a sign-flip test; not ``exact`` where the patterns were drawn and not all counted."""

    p: float
    exact: bool


@dataclass(frozen=True)
class Ratio:
    """mean(arm) / mean(baseline), None where that is 0; ``low`` and ``high`` are None where no finite interval exists."""

    value: float | None
    low: float | None
    high: float | None


def student_interval(values: Iterable[float], level: float = LEVEL) -> Estimate:
    """Mean, sd and the Student-t interval of the mean, mean ± t_{(1+level)/2, n−1} · sd / √n (Student 1908).

    Exact for normal values. On values with one long tail a 95 % interval covers, at n = 5, 10, 30, only 88, 90, 93 %
    (exponential) or 82, 84, 88 % (log-normal), and more pairs mend it slowly. So where a few runs lie far to one side, an
    interval that only just excludes 0 shows little: look at the differences and at `sign_flip` beside it.
    """
    array = _finite(values)
    _check(level=level)
    if array.size == 0:
        return Estimate(0, None, None, None, None)
    if array.size == 1:
        return Estimate(1, float(array[0]), None, None, None)
    mean, sd = _moments(array)
    half = float(stats.t.ppf((1 + level) / 2, array.size - 1)) * sd / math.sqrt(array.size)
    return Estimate(array.size, mean, sd, mean - half, mean + half)


def paired_t(differences: Iterable[float]) -> float:
    """Two-sided p of the paired t test that the mean is 0 (Student 1908); p < 1 − level iff that interval excludes 0.

    Where all differences are equal and not 0, as when every run of one arm diverged and none of the other, t is undefined
    and the interval has no width. The p is then that of the sign flips, 2 / 2**n: no fewer than six such pairs reach 5 %.
    """
    array = _finite(differences, least=2)
    mean, sd = _moments(array)
    if sd == 0:
        return 1.0 if mean == 0 else 2.0 ** (1 - array.size)
    return float(2 * stats.t.sf(abs(mean) / (sd / math.sqrt(array.size)), array.size - 1))


def sign_flip(differences: Iterable[float], resolution: float = 0.0) -> SignFlip:
    """Two-sided randomisation test of the mean: the share of all 2**n sign patterns with |sum| >= the one seen.

    Fisher 1935, The Design of Experiments, ch. 3. It assumes only that the arms of a pair could be swapped, and its least
    p is 2 / 2**n, so five pairs can never reach 5 %. Exact up to 40 non-zero differences; beyond, (k + 1) / (N + 1) over
    N patterns drawn with a fixed seed (Phipson & Smyth 2010).

    Args:
        resolution: how far off a difference may be, so that ties count as ties. Accuracies kept in single precision are
            off by up to 3e-8 each, hence 6e-8 for their difference, or 6e-6 in points.
    """
    array = _finite(differences, least=1)
    # A zero flips to itself: it doubles the patterns that count and all patterns alike, and leaves their share.
    sizes = np.abs(array[array != 0])
    # Accuracies are multiples of 1 / test examples, so many sums tie with the one seen, and must not fall below it by
    # rounding. 1e-9 of the largest sum is far above what 40 doubles lose (1e-14) and far below a step of accuracies' sums,
    # 2 / examples; and two sums of n differences may each be n resolutions off.
    least = abs(array.sum()) - EQUAL * sizes.sum() - 2 * sizes.size * resolution
    if least <= 0:
        return SignFlip(1.0, True)
    if sizes.size > EXACT:
        rng = np.random.default_rng(0)
        drawn = (np.abs(rng.choice([-1.0, 1.0], (1000, sizes.size)) @ sizes) for _ in range(DRAWS // 1000))
        return SignFlip((1 + sum(int((sums >= least).sum()) for sums in drawn)) / (DRAWS + 1), False)
    # Meeting in the middle: every pattern is one of each half, 2 · 2**20 sums instead of 2**40 (Horowitz & Sahni 1974).
    left, right = (
        np.sort(reduce(lambda sums, size: np.concatenate([sums - size, sums + size]), half, np.zeros(1)))
        for half in np.array_split(sizes, 2)
    )
    # As many patterns lie at or below −least as at or above least.
    above = int((right.size - np.searchsorted(right, least - left)).sum())
    return SignFlip(2 * above / 2**sizes.size, True)


def differences(a: np.ndarray, b: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, float]:
    """Return a − b and the resolution below which such a difference is rounding; differences equal but for it are made so.

    It is that of the precision in which the values were kept, ``scale`` of which a and b are: single where all of them are
    single-precision numbers, as torchmetrics' are, else double, as means are that were accumulated in Python.
    """
    kept = np.concatenate([a, b]) / scale
    double = np.finfo(float).eps
    single = bool((np.abs(kept - kept.astype(np.float32)) <= 4 * double * np.abs(kept)).all())
    # Scaling and subtracting round doubles too.
    eps = np.finfo(np.float32).eps / 2 if single else 2 * double
    resolution = float(eps * (np.abs(a) + np.abs(b)).max(initial=0.0))
    found = a - b
    if found.size and np.ptp(found) <= 2 * resolution:
        middle = np.median(found)
        found = np.full(found.size, middle if abs(middle) > resolution else 0.0)
    return found, resolution


def false_equivalence(differences: Iterable[float], margin: float, n: int, draws: int = 20_000) -> float:
    """Return how often equivalence of n pairs is found at 5 % where the true mean is the margin: nominally 5 %.

    The differences, less their mean, are drawn with replacement and moved to ±margin; the worse of both sides, by Monte
    Carlo with a fixed seed (standard error 0.3 points or less).
    """
    array = _finite(differences, least=2)
    _check(margin=margin)
    drawn = np.random.default_rng(0).choice(array - array.mean(), (draws, n))
    mean, half = drawn.mean(1), stats.t.isf(0.05, n - 1) * drawn.std(1, ddof=1) / math.sqrt(n)
    # In equal draws the mean and the sd are off by rounding, which must not count as a distance from the margin.
    slack = EQUAL * np.abs(array).max()
    below = (mean + half < -slack) & (mean - half > -2 * margin)
    above = (mean - half > slack) & (mean + half < 2 * margin)
    return float(max(below.mean(), above.mean()))


def holm(p_values: Sequence[float | None], size: int | None = None) -> list[float | None]:
    """Holm's step-down adjusted p-values over a declared family of ``size`` tests (Holm 1979).

    The i-th smallest becomes the largest of (size − j + 1) · p_j over j <= i. None is a test that could not be made: it
    stays None and counts, as p = 1 would, for a family is not made smaller by what came out of it.
    """
    size = len(p_values) if size is None else size
    if size < len(p_values):
        raise ValueError(f"size must be >= the {len(p_values)} tests given, got {size}; count the whole declared family")
    given = [index for index, p in enumerate(p_values) if p is not None]
    if any(not 0 <= p_values[index] <= 1 for index in given):
        raise ValueError(f"p values must lie in [0, 1], got {list(p_values)}; give None for a test that could not be made")
    adjusted, largest = [None] * len(p_values), 0.0
    for rank, index in enumerate(sorted(given, key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (size - rank) * float(p_values[index])))
        adjusted[index] = largest
    return adjusted


def ratio(arm: Iterable[float], baseline: Iterable[float], level: float = LEVEL) -> Ratio:
    """mean(arm) / mean(baseline) of pairs, with Fieller's interval (Fieller 1954; the pairs' covariance counts).

    It holds every r for which the paired t test does not reject mean(arm − r · baseline) = 0, so it excludes 1 iff
    `paired_t` of arm − baseline is below 1 − level, but for the equal differences that t cannot judge. That set is finite
    only if the baseline's own mean differs from 0 at this level; otherwise, and below two pairs, there is no interval.
    """
    arm, baseline = _finite(arm), _finite(baseline)
    if arm.size != baseline.size:
        raise ValueError(f"arm and baseline must be pairs, got {arm.size} and {baseline.size} values; match them by seed")
    _check(level=level)
    n, mean = arm.size, float(baseline.mean()) if baseline.size else 0.0
    if mean == 0:
        return Ratio(None, None, None)
    value = float(arm.mean()) / mean
    if n == 1:
        return Ratio(value, None, None)
    # With r = value + x and e = arm − value · baseline, whose mean is 0, the set is a quadratic in x:
    # mean² x² <= v_ee − 2 x v_eb + x² v_bb, v the means' covariances times t². Unlike in r, nothing large cancels.
    rest = arm - value * baseline
    if np.abs(rest).max() <= EQUAL * np.abs(arm).max():
        rest = np.zeros(n)
    (v_ee, v_eb), (_, v_bb) = np.cov(rest, baseline) / n * stats.t.ppf((1 + level) / 2, n - 1) ** 2
    leading = mean**2 - v_bb
    if leading <= 0:
        return Ratio(value, None, None)
    root = math.sqrt(v_eb**2 + leading * v_ee)
    return Ratio(value, float(value + (-v_eb - root) / leading), float(value + (-v_eb + root) / leading))


def power_t(effect: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """The probability that the two-sided paired t test of n normal differences of mean ``effect`` rejects at alpha.

    Both tails of the noncentral t with noncentrality √n · effect / sd (Cohen 1988, ch. 2; Johnson & Welch 1940). An sd of
    0 is the limit of small ones.
    """
    _check(alpha=alpha)
    _plan(effect, sd, n)
    shift = math.sqrt(n) * abs(effect) / sd if sd else math.inf if effect else 0.0
    critical = float(stats.t.isf(alpha / 2, n - 1))
    if shift > 1e4:
        # Here nct need not converge, and the mean's own error is nothing beside the mean: the sample sd alone decides.
        return float(stats.chi.cdf(math.sqrt(n - 1) * min(shift / critical, 1e9), n - 1))
    # nct has no number for some far lower tails, all below 1e-11.
    lower = float(np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift)))
    return min(1.0, float(stats.nct.sf(critical, n - 1, shift)) + lower)


def detectable(sd: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest |effect| that `power_t` finds with this power; None below two pairs."""
    _check(alpha=alpha, power=power)
    if n < 2:
        return None
    _plan(0.0, sd, n)
    # The root lies below: here sample sd <= q and normal > −z, which reject, have probability ((1 + power) / 2)² >= power.
    half = (1 + power) / 2
    highest = stats.t.isf(alpha / 2, n - 1) * stats.chi.ppf(half, n - 1) / math.sqrt(n - 1) + stats.norm.ppf(half)
    shift = optimize.brentq(lambda shift: power_t(shift / math.sqrt(n), 1.0, n, alpha) - power, 0.0, highest)
    return float(shift * sd / math.sqrt(n))


def pairs_to_detect(effect: float, sd: float, alpha: float = 0.05, power: float = 0.8, least: int = 6) -> int | None:
    """The fewest pairs, but ``least``, with which `power_t` reaches this power; None where a million are too few.

    ``least`` is 6 because the sign flips of fewer can never reach 5 %, whatever the effect.
    """
    _check(alpha=alpha, power=power)
    return None if effect == 0 else _fewest(lambda n: power_t(effect, sd, n, alpha), power, least)


def power_equivalence(margin: float, sd: float, n: int, effect: float = 0.0, alpha: float = 0.05) -> float:
    """The exact probability that the two one-sided t tests of n normal differences of mean ``effect`` give p < alpha.

    Given the sample sd s the mean must lie within ±(margin − t_{1−α, n−1} · s / √n); that normal probability is integrated
    over the distribution of s, (n − 1) s² / sd² ~ χ²_{n−1} (Owen 1965; Phillips 1990).
    """
    _check(alpha=alpha, margin=margin)
    _plan(effect, sd, n)
    if sd == 0:
        return float(abs(effect) < margin)
    # In units of sd / √n; u = s / sd.
    upper, lower = (math.sqrt(n) * (side - effect) / sd for side in (margin, -margin))
    critical, root = float(stats.t.isf(alpha, n - 1)), math.sqrt(n - 1)

    def at(u: float) -> float:
        within = special.ndtr(upper - critical * u) - special.ndtr(lower + critical * u)
        return float(within * stats.chi.pdf(u * root, n - 1) * root)

    # Beyond the upper bound no mean fits. The integrand turns at the mode of s, and falls within nine normal sds of the
    # nearer edge, a step that few pairs at a small alpha make too steep to be found unasked.
    least, most = (float(side(1e-16, n - 1)) / root for side in (stats.chi.ppf, stats.chi.isf))
    bounds = least, min(most, (upper - lower) / 2 / critical)
    if bounds[0] >= bounds[1]:
        return 0.0
    edge = min(upper, -lower)
    turns = [u for u in (1.0, (edge - 9) / critical, (edge + 9) / critical) if bounds[0] < u < bounds[1]]
    return min(1.0, integrate.quad(at, *bounds, points=turns or None, limit=200, epsabs=1e-9)[0])


def pairs_for_equivalence(
    margin: float, sd: float, effect: float = 0.0, alpha: float = 0.05, power: float = 0.8, least: int = 2
) -> int | None:
    """The fewest pairs with which `power_equivalence` reaches this power; None where a million are too few."""
    _check(alpha=alpha, power=power, margin=margin)
    if abs(effect) >= margin:
        return None
    return _fewest(lambda n: power_equivalence(margin, sd, n, effect, alpha), power, least)


def clopper_pearson(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact binomial interval of a share of k in n (Clopper & Pearson 1934); (0, 1) where n is 0."""
    _check(level=level)
    if not 0 <= k <= n:
        raise ValueError(f"k must lie in 0..n, got k = {k}, n = {n}; k counts some of the n runs")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, k, n - k + 1)) if k else 0.0
    return low, float(stats.beta.isf(tail, k + 1, n - k)) if k < n else 1.0


def censored(times: Iterable[float | None], horizon: float) -> np.ndarray:
    """Times to a target by run, where a miss (None, or later than the horizon) counts as the horizon.

    As all runs have the same horizon, none is censored before it, so the mean of these is the area under the Kaplan-Meier
    curve up to it, the restricted mean time to the target (Royston & Parmar 2013), and they can be paired by seed.
    """
    _check(horizon=horizon)
    array = _finite(horizon if time is None else time for time in times)
    if (array < 0).any():
        raise ValueError(f"times must be >= 0, got {array.tolist()}; give None for a run that missed the target")
    return np.minimum(array, horizon)


def _finite(values: Iterable[float], least: int = 0) -> np.ndarray:
    array = np.asarray(list(values), dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"values must be finite, got {array.tolist()}; a run without a value is counted, not averaged")
    if array.size < least:
        raise ValueError(f"at least {least} values are needed, got {array.tolist()}; run more seeds, or test nothing")
    return array


def _check(**numbers: float) -> None:
    for name, number in numbers.items():
        highest, cure = LIMITS[name]
        if not 0 < number < highest:
            raise ValueError(f"{name} must lie strictly between 0 and {highest}, got {number}; {cure}")
    if numbers.get("power", 1) <= numbers.get("alpha", 0):
        raise ValueError(f"power must be > alpha, got {numbers}; a test finds what is not there as often as alpha")


def _plan(effect: float, sd: float, n: int) -> None:
    if not (math.isfinite(effect) and 0 <= sd < math.inf):
        raise ValueError(f"effect must be finite and sd >= 0, got {effect} and {sd}; take the sd from a pilot")
    if n < 2:
        raise ValueError(f"n must be >= 2, got {n}; one pair has no sd")


def _moments(array: np.ndarray, scale: float | None = None) -> tuple[float, float]:
    """Mean and sd, the sd 0 where the values are equal up to rounding at this scale, by default their own."""
    scale = np.abs(array).max() if scale is None else scale
    if np.ptp(array) <= EQUAL * scale:
        first = float(array[0])
        return (first if abs(first) > EQUAL * scale else 0.0), 0.0
    return float(array.mean()), float(array.std(ddof=1))


def _fewest(power_at: Callable[[int], float], power: float, least: int) -> int | None:
    """The least n with this power, by halving: a power grows with n wherever it is above alpha."""
    least = max(2, least)
    n = least + bisect_left(range(least, MOST_PAIRS + 1), power, key=power_at)
    return n if n <= MOST_PAIRS else None
