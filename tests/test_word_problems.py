"""Are the word problems drawn here true, distinct, in GSM8K's format, and the same for the same seed?"""

import ast
import operator
import re
import statistics
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from superpositional.tasks.gsm8k import word_problems
from superpositional.tasks.gsm8k.answers import final, flexible, same, strict, without_marks
from superpositional.tasks.gsm8k.word_problems import PEOPLE, SPLITS, TEMPLATES, Dice, problems, split_of, worked

MARK = re.compile(r"<<([^<>]*)=([^<>]*)>>([0-9]+)")

# The whole text of each template at the seed that is its place here, checked by hand; line breaks of a question are free.
GOLDEN = {
    "change": """
        Kirsi goes to the market and buys 7 bulbs at $6 each and 9 pots at $2 each. At the till she hands over $90.
        How many dollars does Kirsi get back in change?

        The bulbs cost 7 * 6 = $<<7*6=42>>42.
        The pots cost 9 * 2 = $<<9*2=18>>18.
        Together that is 42 + 18 = $<<42+18=60>>60.
        Kirsi gets back 90 - 60 = $<<90-60=30>>30.
        #### 30""",
    "discount": """
        A shop sells a lamp for $180. This week everything in the shop is 45% off. Ines orders two, one of them for
        her sister, and pays $8 for the delivery. How many dollars does Ines pay in all?

        45% of $180 is 180 * 45 / 100 = $<<180*45/100=81>>81.
        So one lamp costs 180 - 81 = $<<180-81=99>>99 this week.
        Two of them cost 2 * 99 = $<<2*99=198>>198.
        With delivery Ines pays 198 + 8 = $<<198+8=206>>206.
        #### 206""",
    "travel": """
        Cosmo is driving to the mountains, 373 miles away. For the first 4 hours he drives at 69 miles per hour. Then
        it starts to rain, and he drives 1 more hour at 49 miles per hour before stopping for lunch. How many miles
        still lie ahead of Cosmo after lunch?

        Before the rain Cosmo drives 4 * 69 = <<4*69=276>>276 miles.
        In the rain he drives 1 * 49 = <<1*49=49>>49 miles.
        That makes 276 + 49 = <<276+49=325>>325 miles before lunch.
        There are still 373 - 325 = <<373-325=48>>48 miles to go.
        #### 48""",
    "ages": """
        Dario is 13 years old. Mateo is twice as old as Dario, and Kofi is 2 years older than Mateo. What will the sum
        of the ages of Dario, Mateo and Kofi be in 4 years?

        Mateo is 2 * 13 = <<2*13=26>>26 years old.
        Kofi is 26 + 2 = <<26+2=28>>28 years old.
        Today their ages add up to 13 + 26 + 28 = <<13+26+28=67>>67 years.
        In 4 years the three of them will be 3 * 4 = <<3*4=12>>12 years older altogether.
        Then the sum will be 67 + 12 = <<67+12=79>>79.
        #### 79""",
    "recipe": """
        A recipe for 16 dumplings takes 4 cups of flour. Lasse wants to make 48 dumplings for a school fair, and has 4
        cups of flour left in the kitchen. How many more cups of flour does Lasse need?

        Lasse has to make the recipe 48 / 16 = <<48/16=3>>3 times.
        That takes 3 * 4 = <<3*4=12>>12 cups of flour.
        Lasse needs 12 - 4 = <<12-4=8>>8 more.
        #### 8""",
    "wages": """
        Kofi works at a museum and earns $18 an hour for the first 40 hours of a week. For every hour beyond that he
        earns $6 more than usual. For 2 weeks in a row Kofi works 52 hours. How many dollars does he earn in these
        weeks?

        The first 40 hours of a week bring 40 * 18 = $<<40*18=720>>720.
        Each week has 52 - 40 = <<52-40=12>>12 hours of overtime.
        An hour of overtime is paid 18 + 6 = $<<18+6=24>>24.
        So overtime brings 12 * 24 = $<<12*24=288>>288 a week.
        That makes 720 + 288 = $<<720+288=1008>>1008 a week.
        In 2 weeks Kofi earns 2 * 1008 = $<<2*1008=2016>>2016.
        #### 2016""",
    "fractions": """
        Dario looks after 315 trees. Of all the trees, a fifth are oak trees. Of the remaining trees, a third are
        beech trees, and all the others are birch trees. How many birch trees does Dario look after?

        There are 315 / 5 = <<315/5=63>>63 oak trees.
        That leaves 315 - 63 = <<315-63=252>>252 trees.
        Of these, 252 / 3 = <<252/3=84>>84 are beech trees.
        So there are 252 - 84 = <<252-84=168>>168 birch trees.
        #### 168""",
    "percentages": """
        The school in Oakley has 1300 pupils. Every morning 30% of them come on foot and 50% come by bus, and the rest
        come by bicycle. How many pupils of the school in Oakley come by bicycle?

        On foot come 30 / 100 * 1300 = <<30/100*1300=390>>390 pupils.
        By bus come 50 / 100 * 1300 = <<50/100*1300=650>>650 pupils.
        Together these are 390 + 650 = <<390+650=1040>>1040 pupils.
        By bicycle come 1300 - 1040 = <<1300-1040=260>>260 pupils.
        #### 260""",
    "remainders": """
        Femi has 76 oranges to sell and puts 14 into each net. A full net sells for $13, and whatever does not fill a
        net sells for $1 apiece. How many dollars does Femi take if everything is sold?

        5 nets hold 5 * 14 = <<5*14=70>>70 oranges.
        That leaves 76 - 70 = <<76-70=6>>6, too few to fill another net.
        The full nets bring 5 * 13 = $<<5*13=65>>65.
        The rest brings 6 * 1 = $<<6*1=6>>6.
        Femi takes 65 + 6 = $<<65+6=71>>71.
        #### 71""",
    "rates": """
        A rainwater tank holds 950 liters and already has 260 liters of water in it. One pipe brings 28 liters a
        minute and another brings 20 liters a minute, but 2 liters a minute leak out through a crack. How many minutes
        does it take until it is full?

        The pipes bring 28 + 20 = <<28+20=48>>48 liters a minute.
        With the crack that leaves 48 - 2 = <<48-2=46>>46 liters a minute.
        There is room for 950 - 260 = <<950-260=690>>690 liters.
        So it is full after 690 / 46 = <<690/46=15>>15 minutes.
        #### 15""",
    "sharing": """
        Suki has 32 stickers, Viktor has 18 and Hugo has 52. They put them all together and share them so that
        everybody has the same number. How many stickers does each of the three have then?

        Together they have 32 + 18 + 52 = <<32+18+52=102>>102 stickers.
        Each of them gets 102 / 3 = <<102/3=34>>34 stickers.
        #### 34""",
    "fence": """
        Alma is putting a fence around a rectangular garden that is 29 meters long and 11 meters wide. A gap of 4
        meters stays open for a gate. The fence costs $23 per meter. How many dollars does the fence cost?

        Two sides measure 29 + 11 = <<29+11=40>>40 meters.
        All around it is 2 * 40 = <<2*40=80>>80 meters.
        The fence is 80 - 4 = <<80-4=76>>76 meters long.
        It costs 76 * 23 = $<<76*23=1748>>1748.
        #### 1748""",
    "savings": """
        Ines wants to buy a camera for $675 and has saved $75 so far. Every week she earns $35 by delivering
        newspapers and spends $5 of it on snacks. If she saves the rest, how many weeks does it take until Ines can
        buy a camera?

        Ines still lacks 675 - 75 = $<<675-75=600>>600.
        Every week she saves 35 - 5 = $<<35-5=30>>30.
        It takes 600 / 30 = <<600/30=20>>20 weeks.
        #### 20""",
    "reading": """
        Tomas is reading a book of fairy tales that has 196 pages. For 4 days he reads 35 pages a day. On the weekend
        he reads half of the pages that are left. How many pages has Tomas still to read after the weekend?

        In 4 days Tomas reads 4 * 35 = <<4*35=140>>140 pages.
        That leaves 196 - 140 = <<196-140=56>>56 pages.
        After the weekend there are 56 / 2 = <<56/2=28>>28 pages left.
        #### 28""",
    "bus": """
        A bus leaves the station with 30 people on it. At the town hall, 16 people get off and 9 get on. At Mill Lane,
        15 people get off and nobody gets on. How many people are still on the bus when it leaves Mill Lane?

        After some got off at the town hall, there are 30 - 16 = <<30-16=14>>14 people on the bus.
        With those who got on there are 14 + 9 = <<14+9=23>>23.
        When it leaves Mill Lane, there are 23 - 15 = <<23-15=8>>8.
        #### 8""",
    "doubling": """
        Ines is skating for charity. In the first week she skates 33 miles, in the second week twice as far, and in
        the third week 12 miles more than in the second. For every mile Ines gets $5 for a children's home. How many
        dollars does the home receive?

        In the second week Ines skates 2 * 33 = <<2*33=66>>66 miles.
        In the third week it is 66 + 12 = <<66+12=78>>78 miles.
        Altogether it is 33 + 66 + 78 = <<33+66+78=177>>177 miles.
        The home receives 5 * 177 = $<<5*177=885>>885.
        #### 885""",
    "average": """
        In three history tests Chiara has scored 86, 91 and 77 points. There is one more test to come, and Chiara
        would like to have an average of exactly 77 points over all four tests. How many points does she need in the
        fourth test?

        For that average Chiara needs 4 * 77 = <<4*77=308>>308 points in all.
        So far she has 86 + 91 + 77 = <<86+91+77=254>>254 points.
        In the fourth test she needs 308 - 254 = <<308-254=54>>54 points.
        #### 54""",
    "ribbon": """
        Britt has a roll with 36 feet of lace. She cuts all of it into pieces of 6 inches and sells the pieces at $7
        for a bundle of 12. How many dollars does Britt get for the whole roll?

        The roll has 36 * 12 = <<36*12=432>>432 inches.
        That gives 432 / 6 = <<432/6=72>>72 pieces.
        They make 72 / 12 = <<72/12=6>>6 bundles.
        Britt gets 6 * 7 = $<<6*7=42>>42.
        #### 42""",
}


def test_there_are_at_least_sixteen_templates_and_the_golden_texts_have_them_all():
    assert [template.__name__ for template in TEMPLATES] == list(GOLDEN)
    assert len(GOLDEN) >= 16


@pytest.mark.parametrize("name", GOLDEN)
def test_a_template_gives_the_golden_text(name):
    place = list(GOLDEN).index(name)
    question, answer = worked(TEMPLATES[place](Dice(np.random.default_rng(place))))
    expected_question, _, expected_answer = GOLDEN[name].partition("\n\n")
    assert question == " ".join(expected_question.split())
    assert answer == "\n".join(line.strip() for line in expected_answer.splitlines())


# As many as GSM8K has.
DRAWN = [(split, seed, n) for seed in (0, 7) for split, n in (("train", 7473), ("test", 1319))]
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[str, int], list[dict[str, str]]]:
    return {(split, seed): problems(n, seed=seed, split=split) for split, seed, n in DRAWN}


def value(node: ast.expr) -> Fraction:
    """What an expression of whole numbers and + - * / gives, exactly; anything else is refused."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value(node.left), value(node.right))
    raise ValueError(f"not arithmetic: {ast.dump(node)}")


def test_every_mark_is_true_and_the_last_is_the_answer(drawn):
    for row in (row for rows in drawn.values() for row in rows):
        *lines, last = row["answer"].splitlines()
        marks = [MARK.findall(line) for line in lines]
        assert 2 <= len(marks) <= 6
        assert all(len(found) == 1 for found in marks), "a line is a step"
        for ((expression, result, printed),), line in zip(marks, lines, strict=True):
            assert value(ast.parse(expression, mode="eval").body) == int(result), row
            assert printed == result
            # Ahead of the mark stands the same calculation for people.
            assert re.sub("[-+*/]", r" \g<0> ", expression) + " = " in line.partition("<<")[0]
            assert line.endswith(".")
        assert last == f"#### {marks[-1][0][1]}"
        assert int(final(row["answer"])) >= 0


def test_a_step_only_uses_numbers_that_are_known(drawn):
    """Each number in a mark is in the question, or came out of a step before, or is one that everybody knows."""
    # Two of a thing, a percent, sides of a rectangle, three people, four tests, inches of a foot, the pay of a mile.
    common = {"2", "3", "4", "5", "12", "100"}
    for row in (row for rows in drawn.values() for row in rows):
        known = common | set(re.findall("[0-9]+", row["question"]))
        for expression, result, _ in MARK.findall(row["answer"]):
            numbers = re.findall("[0-9]+", expression)
            # The lines about full cartons count them, as one does in the head.
            assert known.issuperset(numbers) or "too few to fill another" in row["answer"], row
            known |= {result, *numbers}


def test_a_carton_that_is_not_full_holds_less_than_a_full_one(drawn):
    seen = 0
    for row in (row for rows in drawn.values() for row in rows):
        if "too few to fill another" in row["answer"]:
            total, size = map(int, re.match(r"\w+ has (\d+) .* puts (\d+) into", row["question"]).groups())
            full, over = total // size, total % size
            assert row["answer"].startswith(f"{full} ")
            assert f"={over}>>{over}, too few" in row["answer"]
            assert over > 0
            seen += 1
    assert seen > 100


def test_both_readers_of_answers_read_every_answer(drawn):
    for row in (row for rows in drawn.values() for row in rows):
        plain = without_marks(row["answer"])
        assert "<" not in plain
        for read in (strict, flexible):
            assert same(read(row["answer"]), final(row["answer"]))
            assert same(read(plain), final(row["answer"]))


def test_questions_are_distinct_and_splits_share_none_whatever_the_seed(drawn):
    questions = {key: [row["question"] for row in rows] for key, rows in drawn.items()}
    for (split, _), asked in questions.items():
        assert len(set(asked)) == len(asked)
        assert {split_of(question) for question in asked} == {split}
    asked = {split: {q for (of, _), qs in questions.items() if of == split for q in qs} for split in SPLITS}
    assert not asked["train"] & asked["test"]
    # The seeds are different draws.
    assert len(set(questions["train", 0]) & set(questions["train", 7])) < 0.01 * 7473


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_problems_do_not_depend_on_how_many_are_asked_for(drawn, split):
    for k in (1, 2, 300):
        assert problems(k, seed=7, split=split) == drawn[split, 7][:k]


def test_the_same_seed_gives_the_same_problems_and_torch_is_not_asked(drawn):
    assert problems(7473, seed=0, split="train") == drawn["train", 0]
    assert [list(row) for row in drawn["train", 0][:1]] == [["question", "answer"]]


def kind(question: str) -> str:
    """The template of a question, by words that no other one has."""
    words = {
        "change": "back in change",
        "discount": "% off",
        "travel": "is driving to",
        "ages": "sum of the ages",
        "recipe": "A recipe for",
        "wages": "dollars does (he|she) earn",
        "fractions": "Of the remaining trees",
        "percentages": "The school in",
        "remainders": "whatever does not fill",
        "rates": "One pipe",
        "sharing": "put them all together",
        "fence": "a fence around",
        "savings": "delivering newspapers",
        "reading": "is reading",
        "bus": "A bus leaves",
        "doubling": "for charity",
        "average": "an average of exactly",
        "ribbon": "for a bundle",
    }
    (found,) = [name for name, pattern in words.items() if re.search(pattern, question)]
    return found


@pytest.mark.parametrize(("split", "seed", "n"), DRAWN)
def test_templates_come_up_equally_often(drawn, split, seed, n):
    counts = Counter(kind(row["question"]) for row in drawn[split, seed])
    assert set(counts) == set(GOLDEN)
    # Seeds are fixed, so this passes or fails for good; at a level of 0.1 % in each of four fair draws 99.6 % would pass.
    assert stats.chisquare([counts[name] for name in GOLDEN]).pvalue > 0.001


def test_the_test_split_is_a_quarter_of_all():
    dice = Dice(np.random.default_rng(0))
    n = 4000
    share = np.mean([split_of(worked(dice.one_of(TEMPLATES)(dice))[0]) == "test" for _ in range(n)])
    # Four standard deviations of a binomial share.
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)


def test_the_texts_are_about_as_long_as_gsm8ks(drawn):
    """GSM8K's 8,792 rows: median 42 words of question (5 to 95 %: 24 to 79), 47 of answer (18 to 102), 3.2 marks."""
    rows = drawn["train", 0]
    assert abs(statistics.median(len(row["question"].split()) for row in rows) - 42) < 5
    assert abs(statistics.median(len(row["answer"].split()) for row in rows) - 47) < 10
    assert 3 < statistics.mean(row["answer"].count("<<") for row in rows) < 4


def test_the_texts_are_clean(drawn):
    for row in (row for rows in drawn.values() for row in rows):
        text = f"{row['question']}\n{row['answer']}"
        assert text.isascii()
        assert "  " not in text
        assert not re.search(r"[{}_]|\b1 (hours|cups|miles|people|pages|pieces)\b|\b(\w+) \2\b", text), text
        assert row["question"].endswith("?")
        assert row["question"].count("?") == 1


def test_people_have_different_names():
    names = [person.name for person in PEOPLE]
    assert len(set(names)) == len(names) == 40
    dice = Dice(np.random.default_rng(0))
    assert all(len(set(dice.people(3))) == 3 for _ in range(100))


def test_numbers_are_drawn_from_low_to_high_in_steps():
    dice = Dice(np.random.default_rng(0))
    assert {dice.number(3, 5) for _ in range(100)} == {3, 4, 5}
    assert sorted({dice.number(10, 50, 10) for _ in range(200)}) == [10, 20, 30, 40, 50]
    assert {b - a for a, b in pairwise(sorted({dice.number(5, 45, 5) for _ in range(500)}))} == {5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": True}, "n must be an integer >= 1, got True"),
        ({"n": 2.0}, "n must be an integer >= 1, got 2.0"),
        ({"split": "validation"}, "split must be one of train, test, got 'validation'"),
        ({"n": -1, "split": ""}, "(?s)n must be .*split must be "),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": True}, "seed must be an integer >= 0, got True"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        problems(**{"n": 3, "seed": 0, "split": "train", **arguments})


def few(dice: Dice) -> str:
    """A template with forty questions."""
    a = dice.number(1, 40)
    return f"What is twice {a}?\n\nIt is {word_problems.mark(f'2*{a}', 2 * a)}."


def test_more_than_there_are_is_refused_after_a_while(monkeypatch):
    monkeypatch.setattr(word_problems, "TEMPLATES", (few,))
    all_of_them = {f"What is twice {a}?" for a in range(1, 41)}
    sizes = {split: sum(split_of(question) == split for question in all_of_them) for split in SPLITS}
    assert all(size > 0 for size in sizes.values())
    for split, size in sizes.items():
        assert len(problems(size, seed=0, split=split)) == size
        with pytest.raises(
            ValueError, match=f"n must be at most .*, got {size + 1}; {size} were found for split='{split}'"
        ):
            problems(size + 1, seed=0, split=split)
