"""Does every random number come from the seed, through its own stream, and from nothing else?"""

import itertools
import re

import pytest
import torch

from superpositional.seeds import STREAMS, drawing_from, generator, stream

BAD_SEEDS = [-1, True, 0.0, 7.0, "7", None]


@pytest.fixture(autouse=True)
def _global_generator_as_found():
    """A test of the global generator must not shift the tests after it."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


# Every published number hangs on these: a change of the derivation changes all runs and must be meant.
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, "init"), 1519069808562059438),
        ((0, "data"), 736872305540241488),
        ((1, "init"), 5267816590608909949),
        ((0, "order", 7), 8072639728423279657),
        ((7, "dropout", 3, 2), 5155383432575134614),
        ((2**40, "circuit"), 697858703984307985),
    ],
    ids=str,
)
def test_streams_are_the_ones_published_runs_used(arguments, expected):
    assert stream(*arguments) == expected


def test_streams_differ_by_seed_name_and_counters():
    # Pairs that a careless joining of the parts would take for one: (1, 23), (12, 3), (1, 2, 3), no counter and 0.
    counters = [(), (0,), (0, 0), (1,), (23,), (2, 3), (123,), (1, 23), (12, 3), (1, 2, 3)]
    keys = list(itertools.product((0, 1, 12, 123), STREAMS, counters))
    assert len({stream(seed, name, *counts) for seed, name, counts in keys}) == len(keys)


def test_a_stream_is_a_seed_that_torch_takes():
    for seed in (0, 1, 2**63, 10**30):
        for name in STREAMS:
            value = stream(seed, name)
            assert 0 <= value < 2**63
            torch.Generator().manual_seed(value)


def test_seed_0_is_a_seed():
    draws = [torch.rand(4, generator=generator(seed, "data")).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("seed", BAD_SEEDS, ids=repr)
@pytest.mark.parametrize("use", [stream, generator], ids=lambda use: use.__name__)
def test_a_seed_that_is_no_integer_from_0_on_is_refused_by_value(use, seed):
    with pytest.raises(ValueError, match=re.escape(f"seed must be an integer >= 0, got {seed!r}")):
        use(seed, "init")


@pytest.mark.parametrize("name", ["", "Init", "batches", None])
def test_an_unknown_stream_is_refused_with_the_streams_there_are(name):
    message = f"stream must be one of init, data, order, dropout, circuit, got {name!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        stream(0, name)


def test_a_generator_starts_its_stream_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    drawn = torch.rand(3, generator=generator(5, "circuit", 2))
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(stream(5, "circuit", 2))))
    assert torch.equal(torch.get_rng_state(), before)


def test_drawing_from_leaves_the_global_generator_as_found():
    before = torch.get_rng_state()
    with drawing_from(0, "init"):
        torch.rand(1000)
        torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_drawing_from_leaves_the_global_generator_as_found_when_the_block_raises():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), drawing_from(0, "init"):  # noqa: PT012
        torch.rand(1000)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("seed", "name"), [(-1, "init"), (0, "weights")])
def test_drawing_from_leaves_the_global_generator_as_found_when_it_refuses(seed, name):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="must be"), drawing_from(seed, name):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_drawing_from_gives_the_same_weights_whatever_was_drawn_before():
    def weights(seed: int) -> torch.Tensor:
        with drawing_from(seed, "init"):
            return torch.nn.Linear(5, 7).weight.detach()

    first = weights(3)
    torch.rand(17)
    assert torch.equal(weights(3), first)
    assert not torch.equal(weights(4), first)


def test_drawing_from_draws_what_a_generator_of_the_stream_draws():
    with drawing_from(3, "dropout", 11):
        drawn = torch.rand(6)
    assert torch.equal(drawn, torch.rand(6, generator=generator(3, "dropout", 11)))


def test_drawing_from_can_be_nested():
    with drawing_from(0, "init"):
        torch.rand(2)
        with drawing_from(0, "dropout"):
            torch.rand(9)
        continued = torch.rand(4)
    with drawing_from(0, "init"):
        assert torch.equal(torch.rand(6)[2:], continued)
