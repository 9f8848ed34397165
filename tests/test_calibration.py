"""Is "equivalent" false as often as is published where the effect is as large as the margin?"""

from pathlib import Path

import numpy as np
import pytest
from test_verdicts import a_claim, made_up, only, pair

from superpositional import records
from superpositional.evidence import calibration, inference, verdicts
from superpositional.evidence.calibration import planted, write_calibration
from superpositional.records.claims import ClaimError
from superpositional.records.published import publish

CLAIMS = {"C": {"says": "differs", "metric": "score", "arm": "x", "better": "higher", "margin": 1.0}}
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
    assert [row[0] for row in rows] == ["differences", *calibration.SHAPES, "own, C (score, 17 % of them 0)"]
    assert rows[0][1:] == ("6 pairs", "10 pairs", "15 pairs", "30 pairs")
    assert "from 18 pairs that differ by one bit of one weight (made_up)" in caption
    normal = [float(cell.removesuffix(" %")) for cell in rows[1][1:]]
    # Four standard errors of 20,000 draws, and the worse of two sides.
    assert normal == pytest.approx([5.0] * 4, abs=100 * 4 * np.sqrt(0.05 * 0.95 / 20_000))


# On disk and through the door ----------------------------------------------------------------------------------------


def written(folder: Path, differences, *, declared=CLAIMS) -> Path:
    """A published sweep, which is two files."""
    dice = np.random.default_rng(1)
    publish(made_up(pair(differences, dice.normal(0, 1, len(differences))), claims=declared), folder)
    return folder


def test_the_file_holds_the_table_and_the_verdicts_of_all_seeds(tmp_path) -> None:
    folder = written(tmp_path / "sweep", [*UP, *SAME, *WIDE])
    text = write_calibration(folder)
    assert text.startswith((folder / "report" / "calibration.md").read_text())
    whole = verdicts.judge(records.load_sweep(folder), [a_claim(says="differs")])[0]
    assert f"- {whole.sentence}\n" in text
    assert "| own, C (score" in text


def test_claims_that_a_sweep_has_not_are_refused(tmp_path) -> None:
    publish(made_up({"adam": [0.0] * 12}), tmp_path / "alone")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ClaimError, match="no claim to judge in made_up: none was declared, or it has one arm; name others with --claims"
    ):
        write_calibration(tmp_path / "alone")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no sweep in outputs/nowhere: it holds no sweep.json"),
        (["sweep", "--claims", "nothing"], "claims must be one of "),
        (["sweep", "--claims", "paper_time"], "claims.C3.arm must be an arm of the sweep, adam, x; got 'lambda_0.5'"),
        (["damaged"], "is damaged"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_its_cure_and_leaves_nothing(door, workplace, words, message) -> None:
    written(workplace / "sweep", [*UP, *SAME])
    (workplace / "damaged").mkdir()
    (workplace / "damaged" / "sweep.json").write_text("{")
    before = sorted(workplace.rglob("*"))
    code, out, err = door("calibrate", *words)
    assert (code, out) == (2, "")
    assert err.startswith("superpositional: ")
    assert message in err
    assert sorted(workplace.rglob("*")) == before


def test_the_command_calibrates_a_sweep_by_its_name_or_folder(door, workplace) -> None:
    written(workplace / "outputs" / "mine", [*UP, *SAME, *WIDE])
    code, out, err = door("calibrate", "mine")
    assert code == 0, err
    assert "outputs/mine/report/calibration.md" in out
    code, out, err = door("calibrate", "outputs/mine", "--out", "here")
    assert code == 0, err
    assert (workplace / "here" / "calibration.md").is_file()
