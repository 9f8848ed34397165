"""What can a language model be fine-tuned on where GSM8K is not at hand?

On grade-school word problems drawn here, in the exact format of GSM8K (Cobbe et al. 2021, arXiv 2110.14168): a question,
and a worked answer of two to six steps with calculator marks ``<<3*4=12>>12`` and a last line ``#### 12``. No text is
GSM8K's. They are a stand-in to try things on: a model that does well here has learned these few ``TEMPLATES``, and its
accuracy says nothing of GSM8K. Read by gsm8k.

A template draws people and numbers so that everything asked comes out whole and not negative, and returns one text: the
question, an empty line, and a line for each step. The last mark's result is the answer.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from superpositional.seeds import stream

SPLITS = ("train", "test")
# One question in so many is the test split's, by a hash of the question: the splits of any two seeds are disjoint, too.
TEST_SHARE = 4
# After so many draws in a row without a new question, next to none are left: three draws in four belong to the other split
# at worst, so by chance alone this happens once in 0.75 ** -1000, about 1e125.
PATIENCE = 1000

SHE = "Abena Alma Britt Chiara Dunja Esra Farida Greta Hanna Ines Jola Kirsi Leila Maren Noor Oda Paloma Runa Suki Thea"
HE = "Anton Bilal Cosmo Dario Edwin Femi Goran Hugo Ivo Jannik Kofi Lasse Mateo Nils Omar Piet Rohan Sami Tomas Viktor"


class Person(NamedTuple):
    name: str
    they: str
    their: str


PEOPLE = [Person(name, "she", "her") for name in SHE.split()] + [Person(name, "he", "his") for name in HE.split()]


class Dice:
    """What a template draws from."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def number(self, low: int, high: int, step: int = 1) -> int:
        """From low to high, both included."""
        return low + step * int(self.rng.integers((high - low) // step + 1))

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def people(self, count: int) -> list[Person]:
        """So many different people."""
        return [PEOPLE[int(index)] for index in self.rng.permutation(len(PEOPLE))[:count]]


def problems(n: int, *, seed: int, split: str) -> list[dict[str, str]]:
    """The first ``n`` distinct problems of a seed and split, each with its ``question`` and ``answer``.

    Raises:
        ValueError: for arguments out of range, and where there are not so many.
    """
    wrong = []
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        wrong.append(f"n must be an integer >= 1, got {n!r}; GSM8K has 7473 and 1319")
    if split not in SPLITS:
        wrong.append(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if wrong:
        raise ValueError("\n".join(wrong))
    dice = Dice(np.random.default_rng(stream(seed, "data")))
    found: dict[str, str] = {}
    in_vain = 0
    while len(found) < n:
        question, answer = worked(dice.one_of(TEMPLATES)(dice))
        if split_of(question) == split and question not in found:
            found[question] = answer
            in_vain = 0
        elif (in_vain := in_vain + 1) == PATIENCE:
            raise ValueError(
                f"n must be at most the number of distinct questions, got {n}; {len(found)} were found for "
                f"split={split!r} before {PATIENCE} draws in a row brought none; lower n"
            )
    return [{"question": question, "answer": answer} for question, answer in found.items()]


def split_of(question: str) -> str:
    """The split that a question belongs to, whatever the seed that drew it."""
    return "test" if hashlib.sha256(question.encode()).digest()[0] % TEST_SHARE == 0 else "train"


def worked(text: str) -> tuple[str, str]:
    """Question and answer of what a template returned."""
    question, _, steps = text.partition("\n\n")
    lines = [line.strip() for line in steps.strip().splitlines()]
    result = lines[-1].rpartition("=")[2].partition(">>")[0]
    return " ".join(question.split()), "\n".join([*lines, f"#### {result}"])


def mark(expression: str, result: int, sign: str = "") -> str:
    """A calculation with GSM8K's mark: ``48 / 2 = <<48/2=24>>24``, or ``= $<<48/2=24>>24`` with a sign."""
    spaced = re.sub("[-+*/]", r" \g<0> ", expression)
    return f"{spaced} = {sign}<<{expression}={result}>>{result}"


def plural(count: int) -> str:
    """The plural's letter."""
    return "" if count == 1 else "s"


def change(dice: Dice) -> str:
    (p,) = dice.people(1)
    one, other = dice.one_of([("notebooks", "pens"), ("candles", "napkins"), ("bulbs", "pots"), ("plates", "cups")])
    a, x, b, y = dice.number(2, 9), dice.number(3, 12), dice.number(2, 9), dice.number(2, 8)
    total = a * x + b * y
    paid = total // 10 * 10 + dice.number(10, 50, 10)
    return f"""{p.name} goes to the market and buys {a} {one} at ${x} each and {b} {other} at ${y} each. At the till
    {p.they} hands over ${paid}. How many dollars does {p.name} get back in change?

    The {one} cost {mark(f"{a}*{x}", a * x, "$")}.
    The {other} cost {mark(f"{b}*{y}", b * y, "$")}.
    Together that is {mark(f"{a * x}+{b * y}", total, "$")}.
    {p.name} gets back {mark(f"{paid}-{total}", paid - total, "$")}."""


def discount(dice: Dice) -> str:
    (p,) = dice.people(1)
    thing = dice.one_of(["coat", "lamp", "tent", "bicycle helmet", "suitcase", "desk"])
    price, percent, parcel = dice.number(40, 300, 20), dice.number(5, 45, 5), dice.number(4, 18)
    off = price * percent // 100
    both = 2 * (price - off)
    return f"""A shop sells a {thing} for ${price}. This week everything in the shop is {percent}% off. {p.name} orders two,
    one of them for {p.their} sister, and pays ${parcel} for the delivery. How many dollars does {p.name} pay in all?

    {percent}% of ${price} is {mark(f"{price}*{percent}/100", off, "$")}.
    So one {thing} costs {mark(f"{price}-{off}", price - off, "$")} this week.
    Two of them cost {mark(f"2*{price - off}", both, "$")}.
    With delivery {p.name} pays {mark(f"{both}+{parcel}", both + parcel, "$")}."""


def travel(dice: Dice) -> str:
    (p,) = dice.people(1)
    goal = dice.one_of(["the coast", "a wedding", "the mountains", "a music festival", "the capital"])
    dry, wet, h, k = dice.number(60, 75), dice.number(35, 55), dice.number(2, 5), dice.number(1, 4)
    before, left = h * dry + k * wet, dice.number(10, 90)
    return f"""{p.name} is driving to {goal}, {before + left} miles away. For the first {h} hours {p.they} drives at {dry}
    miles per hour. Then it starts to rain, and {p.they} drives {k} more hour{plural(k)} at {wet} miles per hour before
    stopping for lunch. How many miles still lie ahead of {p.name} after lunch?

    Before the rain {p.name} drives {mark(f"{h}*{dry}", h * dry)} miles.
    In the rain {p.they} drives {mark(f"{k}*{wet}", k * wet)} miles.
    That makes {mark(f"{h * dry}+{k * wet}", before)} miles before lunch.
    There are still {mark(f"{before + left}-{before}", left)} miles to go."""


def ages(dice: Dice) -> str:
    a, b, c = (person.name for person in dice.people(3))
    young, (word, times) = dice.number(4, 15), dice.one_of([("twice", 2), ("three times", 3)])
    more, years = dice.number(2, 9), dice.number(2, 12)
    middle, total = times * young, (1 + 2 * times) * young + more
    return f"""{a} is {young} years old. {b} is {word} as old as {a}, and {c} is {more} years older than {b}. What will the
    sum of the ages of {a}, {b} and {c} be in {years} years?

    {b} is {mark(f"{times}*{young}", middle)} years old.
    {c} is {mark(f"{middle}+{more}", middle + more)} years old.
    Today their ages add up to {mark(f"{young}+{middle}+{middle + more}", total)} years.
    In {years} years the three of them will be {mark(f"3*{years}", 3 * years)} years older altogether.
    Then the sum will be {mark(f"{total}+{3 * years}", total + 3 * years)}."""


def recipe(dice: Dice) -> str:
    (p,) = dice.people(1)
    baked = dice.one_of(["muffins", "scones", "pretzels", "waffles", "dumplings"])
    batch, cups, times = dice.number(6, 24, 2), dice.number(2, 5), dice.number(3, 8)
    need = cups * times
    have = dice.number(1, need)
    return f"""A recipe for {batch} {baked} takes {cups} cups of flour. {p.name} wants to make {batch * times} {baked} for a
    school fair, and has {have} cup{plural(have)} of flour left in the kitchen. How many more cups of flour does {p.name}
    need?

    {p.name} has to make the recipe {mark(f"{batch * times}/{batch}", times)} times.
    That takes {mark(f"{times}*{cups}", need)} cups of flour.
    {p.name} needs {mark(f"{need}-{have}", need - have)} more."""


def wages(dice: Dice) -> str:
    (p,) = dice.people(1)
    place = dice.one_of(["a bakery", "a garage", "a museum", "a library", "a garden center"])
    rate, extra, over, weeks = dice.number(12, 30), dice.number(3, 10), dice.number(3, 12), dice.number(2, 4)
    more = over * (rate + extra)
    week = 40 * rate + more
    return f"""{p.name} works at {place} and earns ${rate} an hour for the first 40 hours of a week. For every hour beyond
    that {p.they} earns ${extra} more than usual. For {weeks} weeks in a row {p.name} works {40 + over} hours. How many
    dollars does {p.they} earn in these weeks?

    The first 40 hours of a week bring {mark(f"40*{rate}", 40 * rate, "$")}.
    Each week has {mark(f"{40 + over}-40", over)} hours of overtime.
    An hour of overtime is paid {mark(f"{rate}+{extra}", rate + extra, "$")}.
    So overtime brings {mark(f"{over}*{rate + extra}", more, "$")} a week.
    That makes {mark(f"{40 * rate}+{more}", week, "$")} a week.
    In {weeks} weeks {p.name} earns {mark(f"{weeks}*{week}", weeks * week, "$")}."""


def fractions(dice: Dice) -> str:
    (p,) = dice.people(1)
    (word, a), (other, b) = (dice.one_of([("half", 2), ("a third", 3), ("a quarter", 4), ("a fifth", 5)]) for _ in range(2))
    kinds = dice.one_of([("apple", "pear", "plum"), ("oak", "beech", "birch"), ("lemon", "fig", "olive")])
    total = a * b * dice.number(3, 30)
    first = total // a
    rest, second = total - first, (total - first) // b
    return f"""{p.name} looks after {total} trees. Of all the trees, {word} are {kinds[0]} trees. Of the remaining trees,
    {other} are {kinds[1]} trees, and all the others are {kinds[2]} trees. How many {kinds[2]} trees does {p.name} look
    after?

    There are {mark(f"{total}/{a}", first)} {kinds[0]} trees.
    That leaves {mark(f"{total}-{first}", rest)} trees.
    Of these, {mark(f"{rest}/{b}", second)} are {kinds[1]} trees.
    So there are {mark(f"{rest}-{second}", rest - second)} {kinds[2]} trees."""


def percentages(dice: Dice) -> str:
    town = dice.one_of(
        ["Alderbrook", "Birchfield", "Eastmoor", "Fernhill", "Gullhaven", "Longwater", "Northmere", "Oakley"]
    )
    total, foot, bus = dice.number(100, 2000, 20), dice.number(10, 40, 5), dice.number(20, 50, 5)
    walk, ride = total * foot // 100, total * bus // 100
    return f"""The school in {town} has {total} pupils. Every morning {foot}% of them come on foot and {bus}% come by bus,
    and the rest come by bicycle. How many pupils of the school in {town} come by bicycle?

    On foot come {mark(f"{foot}/100*{total}", walk)} pupils.
    By bus come {mark(f"{bus}/100*{total}", ride)} pupils.
    Together these are {mark(f"{walk}+{ride}", walk + ride)} pupils.
    By bicycle come {mark(f"{total}-{walk + ride}", total - walk - ride)} pupils."""


def remainders(dice: Dice) -> str:
    (p,) = dice.people(1)
    thing, box = dice.one_of([("eggs", "carton"), ("oranges", "net"), ("bars of soap", "bag"), ("jars of honey", "crate")])
    size, full, price, single = dice.number(6, 14), dice.number(5, 25), dice.number(8, 20), dice.number(1, 3)
    over = dice.number(1, size - 1)
    return f"""{p.name} has {size * full + over} {thing} to sell and puts {size} into each {box}. A full {box} sells for
    ${price}, and whatever does not fill a {box} sells for ${single} apiece. How many dollars does {p.name} take if
    everything is sold?

    {full} {box}s hold {mark(f"{full}*{size}", full * size)} {thing}.
    That leaves {mark(f"{size * full + over}-{full * size}", over)}, too few to fill another {box}.
    The full {box}s bring {mark(f"{full}*{price}", full * price, "$")}.
    The rest brings {mark(f"{over}*{single}", over * single, "$")}.
    {p.name} takes {mark(f"{full * price}+{over * single}", full * price + over * single, "$")}."""


def rates(dice: Dice) -> str:
    vessel = dice.one_of(["A swimming pool", "A rainwater tank", "A fish pond", "The basin of a fountain"])
    one, other, leak, minutes = dice.number(8, 30), dice.number(5, 20), dice.number(2, 4), dice.number(10, 60)
    net, there = one + other - leak, dice.number(50, 400, 10)
    lacks = net * minutes
    return f"""{vessel} holds {there + lacks} liters and already has {there} liters of water in it. One pipe brings {one}
    liters a minute and another brings {other} liters a minute, but {leak} liters a minute leak out through a crack. How
    many minutes does it take until it is full?

    The pipes bring {mark(f"{one}+{other}", one + other)} liters a minute.
    With the crack that leaves {mark(f"{one + other}-{leak}", net)} liters a minute.
    There is room for {mark(f"{there + lacks}-{there}", lacks)} liters.
    So it is full after {mark(f"{lacks}/{net}", minutes)} minutes."""


def sharing(dice: Dice) -> str:
    a, b, c = (person.name for person in dice.people(3))
    thing = dice.one_of(["marbles", "stickers", "chestnuts", "shells", "postcards"])
    one, two = dice.number(2, 60), dice.number(2, 60)
    three = dice.number(3, 60, 3) + (-one - two) % 3
    total = one + two + three
    return f"""{a} has {one} {thing}, {b} has {two} and {c} has {three}. They put them all together and share them so that
    everybody has the same number. How many {thing} does each of the three have then?

    Together they have {mark(f"{one}+{two}+{three}", total)} {thing}.
    Each of them gets {mark(f"{total}/3", total // 3)} {thing}."""


def fence(dice: Dice) -> str:
    (p,) = dice.people(1)
    field = dice.one_of(["garden", "paddock", "chicken run", "vegetable patch"])
    long, wide, gate, price = dice.number(12, 40), dice.number(5, 12), dice.number(2, 4), dice.number(6, 25)
    around = 2 * (long + wide)
    return f"""{p.name} is putting a fence around a rectangular {field} that is {long} meters long and {wide} meters wide. A
    gap of {gate} meters stays open for a gate. The fence costs ${price} per meter. How many dollars does the fence cost?

    Two sides measure {mark(f"{long}+{wide}", long + wide)} meters.
    All around it is {mark(f"2*{long + wide}", around)} meters.
    The fence is {mark(f"{around}-{gate}", around - gate)} meters long.
    It costs {mark(f"{around - gate}*{price}", (around - gate) * price, "$")}."""


def savings(dice: Dice) -> str:
    (p,) = dice.people(1)
    goal = dice.one_of(["a guitar", "a telescope", "a camera", "a pair of skis", "a sewing machine"])
    gets, spends, weeks, has = dice.number(15, 40), dice.number(3, 12), dice.number(4, 20), dice.number(10, 90, 5)
    each = gets - spends
    return f"""{p.name} wants to buy {goal} for ${has + weeks * each} and has saved ${has} so far. Every week {p.they} earns
    ${gets} by delivering newspapers and spends ${spends} of it on snacks. If {p.they} saves the rest, how many weeks does
    it take until {p.name} can buy {goal}?

    {p.name} still lacks {mark(f"{has + weeks * each}-{has}", weeks * each, "$")}.
    Every week {p.they} saves {mark(f"{gets}-{spends}", each, "$")}.
    It takes {mark(f"{weeks * each}/{each}", weeks)} weeks."""


def reading(dice: Dice) -> str:
    (p,) = dice.people(1)
    book = dice.one_of(["a novel", "a biography", "a book of fairy tales", "a book about whales"])
    daily, days, rest = dice.number(12, 35), dice.number(3, 9), dice.number(40, 180, 2)
    done = daily * days
    return f"""{p.name} is reading {book} that has {done + rest} pages. For {days} days {p.they} reads {daily} pages a day.
    On the weekend {p.they} reads half of the pages that are left. How many pages has {p.name} still to read after
    the weekend?

    In {days} days {p.name} reads {mark(f"{days}*{daily}", done)} pages.
    That leaves {mark(f"{done + rest}-{done}", rest)} pages.
    After the weekend there are {mark(f"{rest}/2", rest // 2)} pages left."""


def bus(dice: Dice) -> str:
    stops = ["Market Square", "the harbor", "the hospital", "Mill Lane", "the stadium", "the old bridge", "the town hall"]
    first, second = (stops[int(index)] for index in dice.rng.permutation(len(stops))[:2])
    start, off, on = dice.number(20, 50), dice.number(2, 18), dice.number(3, 20)
    there = start - off + on
    last = dice.number(1, there)
    return f"""A bus leaves the station with {start} people on it. At {first}, {off} people get off and {on} get on. At
    {second}, {last} {"person gets" if last == 1 else "people get"} off and nobody gets on. How many people are still on the
    bus when it leaves {second}?

    After some got off at {first}, there are {mark(f"{start}-{off}", start - off)} people on the bus.
    With those who got on there are {mark(f"{start - off}+{on}", there)}.
    When it leaves {second}, there are {mark(f"{there}-{last}", there - last)}."""


def doubling(dice: Dice) -> str:
    (p,) = dice.people(1)
    sport = dice.one_of([("runs", "running"), ("cycles", "cycling"), ("walks", "walking"), ("skates", "skating")])
    first, more = dice.number(3, 40), dice.number(2, 30)
    second, third = 2 * first, 2 * first + more
    return f"""{p.name} is {sport[1]} for charity. In the first week {p.they} {sport[0]} {first} miles, in the second week
    twice as far, and in the third week {more} miles more than in the second. For every mile {p.name} gets $5 for a
    children's home. How many dollars does the home receive?

    In the second week {p.name} {sport[0]} {mark(f"2*{first}", second)} miles.
    In the third week it is {mark(f"{second}+{more}", third)} miles.
    Altogether it is {mark(f"{first}+{second}+{third}", first + second + third)} miles.
    The home receives {mark(f"5*{first + second + third}", 5 * (first + second + third), "$")}."""


def average(dice: Dice) -> str:
    (p,) = dice.people(1)
    subject = dice.one_of(["spelling", "history", "French", "biology", "geography"])
    goal, (a, b, c) = dice.number(74, 88), (dice.number(66, 92) for _ in range(3))
    have = a + b + c
    return f"""In three {subject} tests {p.name} has scored {a}, {b} and {c} points. There is one more test to come, and
    {p.name} would like to have an average of exactly {goal} points over all four tests. How many points does {p.they} need
    in the fourth test?

    For that average {p.name} needs {mark(f"4*{goal}", 4 * goal)} points in all.
    So far {p.they} has {mark(f"{a}+{b}+{c}", have)} points.
    In the fourth test {p.they} needs {mark(f"{4 * goal}-{have}", 4 * goal - have)} points."""


def ribbon(dice: Dice) -> str:
    (p,) = dice.people(1)
    cord = dice.one_of(["ribbon", "rope", "copper wire", "string", "lace"])
    inches, pieces, price = dice.number(4, 9), dice.number(2, 12) * 12, dice.number(2, 8)
    feet = inches * pieces // 12
    return f"""{p.name} has a roll with {feet} feet of {cord}. {p.they.capitalize()} cuts all of it into pieces of {inches}
    inches and sells the pieces at ${price} for a bundle of 12. How many dollars does {p.name} get for the whole roll?

    The roll has {mark(f"{feet}*12", feet * 12)} inches.
    That gives {mark(f"{feet * 12}/{inches}", pieces)} pieces.
    They make {mark(f"{pieces}/12", pieces // 12)} bundles.
    {p.name} gets {mark(f"{pieces // 12}*{price}", pieces // 12 * price, "$")}."""


TEMPLATES: tuple[Callable[[Dice], str], ...] = (
    *(change, discount, travel, ages, recipe, wages, fractions, percentages, remainders),
    *(rates, sharing, fence, savings, reading, bus, doubling, average, ribbon),
)
