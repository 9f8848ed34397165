"""Is "equivalent" false as often as is published where the effect is as large as the margin?"""

import numpy as np
import pytest
from test_verdicts import a_claim, made_up, only, pair

from superpositional.evidence import inference, power
from superpositional.evidence.power import planted

UP, SAME, WIDE = [2, 3, 2, 3, 2, 3], [0, 0.1, 0, 0.1, 0, 0.1], [9, -9, 9, -9, 9, -9]


def test_the_rate_is_that_of_the_verdicts_themselves() -> None:
    """Judged one by one, on both sides of 0."""
    dice, draws, margin = np.random.default_rng(5), 500, 1.0
    skewed = np.array([0.0, 0.0, 0.0, 0.1, 0.1, 0.5])
    found = inference.false_equivalence(skewed, margin, 6)
    rates = []
    for side in (1, -1):
        drawn = dice.choice(skewed - skewed.mean(), (draws, 6)) + side * margin
        small = [only(made_up(pair(each)), margin=margin).smallest_margin is not None for each in drawn]
        rates.append(np.mean(small))
    # Four standard errors of the share.
    assert max(rates) == pytest.approx(found, abs=4 * np.sqrt(found * (1 - found) / draws))
    assert found > 0.1


def test_each_shape_and_claim_has_a_row_and_what_tells_nothing_none() -> None:
    sweep = made_up(pair(np.array([*UP, *SAME, *WIDE])))
    caption, rows = planted(sweep, [a_claim(), a_claim(id="D", metric="not there")])
    assert [row[0] for row in rows] == ["differences", *power.SHAPES, "own, C (score, 17 % of them 0)"]
    assert rows[0][1:] == ("6 pairs", "10 pairs", "15 pairs", "30 pairs")
    assert "from 18 pairs that differ by one bit of one weight (made_up)" in caption
    normal = [float(cell.removesuffix(" %")) for cell in rows[1][1:]]
    # Four standard errors of 20,000 draws, and the worse of two sides.
    assert normal == pytest.approx([5.0] * 4, abs=100 * 4 * np.sqrt(0.05 * 0.95 / 20_000))
