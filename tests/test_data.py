"""Is the task what its docstring says, is it the same on every run, and do its two bounds hold?"""

import math
import re
import warnings

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from superpositional.tasks.batches import EpochBatches
from superpositional.tasks.classification import data as module
from superpositional.tasks.classification.data import PAIRS, SyntheticSequences, decode

SPLITS = ("train", "validation", "test")


def drawn(seed: int = 0, **changes) -> SyntheticSequences:
    data = SyntheticSequences(seed=seed, **changes)
    data.setup()
    return data


@pytest.fixture(scope="module")
def plain() -> SyntheticSequences:
    return drawn()


@pytest.fixture(scope="module")
def big() -> SyntheticSequences:
    """Noise-free and big, so that the four standard errors of a share are about one point."""
    return drawn(label_noise=0.0, n_train=20000, n_test=20000)


def arrays(data: SyntheticSequences, split: str) -> tuple[np.ndarray, np.ndarray]:
    return tuple(tensor.numpy() for tensor in getattr(data, split).tensors)


def four_errors(share: float, n: int) -> float:
    """Four binomial standard errors: a right share fails about once in 16,000 draws."""
    return 4 * math.sqrt(share * (1 - share) / n)


# The draw ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_names_one_data_set_to_the_bit(seed):
    for split in SPLITS:
        for left, right in zip(arrays(drawn(seed), split), arrays(drawn(seed), split), strict=True):
            np.testing.assert_array_equal(left, right)


def test_another_seed_is_another_data_set(plain):
    ours = {row.tobytes() for row in arrays(plain, "train")[0]}
    theirs = {row.tobytes() for row in arrays(drawn(1), "train")[0]}
    assert not ours & theirs


def test_the_draw_neither_reads_nor_moves_the_global_generators():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    next(iter(drawn().train_dataloader()))
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])


def test_no_sequence_occurs_twice_over_the_splits(plain):
    everything = np.concatenate([arrays(plain, split)[0] for split in SPLITS])
    assert len(np.unique(everything, axis=0)) == len(everything) == 850 + 1000 + 5000


def test_no_sequence_occurs_twice_even_where_most_draws_repeat():
    data = drawn(length=3, max_distance=2, vocabulary_size=30, n_train=60, n_validation=30, n_test=30)
    everything = np.concatenate([arrays(data, split)[0] for split in SPLITS])
    assert len(np.unique(everything, axis=0)) == 120


def test_more_sequences_than_exist_is_an_error_not_a_hang():
    with pytest.raises(ValueError, match=r"9000 distinct sequences asked for, \d+ found; raise length"):
        drawn(length=2, max_distance=1, n_train=3000, n_validation=3000, n_test=3000)


def test_a_bigger_training_set_extends_the_smaller_one_and_keeps_the_others(plain):
    bigger = drawn(n_train=9000)
    for split in SPLITS:
        for small, large in zip(arrays(plain, split), arrays(bigger, split), strict=True):
            np.testing.assert_array_equal(small, large[: len(small)])


def test_sequences_are_a_class_token_and_then_none(plain):
    tokens_BN, labels_B = arrays(plain, "test")
    assert tokens_BN.shape == (5000, 17) == (5000, plain.max_length)
    assert tokens_BN.dtype == labels_B.dtype == np.int64
    assert (tokens_BN[:, 0] == 0).all()
    assert tokens_BN[:, 1:].min() == 1
    assert tokens_BN.max() == 199  # 5000 sequences of 13 uniform draws leave out a token with probability e**-300


def test_the_four_labels_are_balanced(big):
    counts = np.bincount(arrays(big, "test")[1], minlength=4)
    assert np.abs(counts / 20000 - 0.25).max() < four_errors(0.25, 20000)


def test_signatures_of_the_own_and_of_other_classes_are_as_frequent_as_stated(big):
    tokens_BN, labels_B = arrays(big, "test")
    owner_BN = (tokens_BN - module.FIRST_SIGNATURE) // module.SIGNATURES_PER_CLASS
    is_signature_BN = (tokens_BN >= module.FIRST_SIGNATURE) & (tokens_BN < module.FIRST_BACKGROUND)
    n = 20000 * 14
    for offset, share in ((0, 0.05 + 0.10 / 4), (1, 0.10 / 4), (2, 0.10 / 4), (3, 0.10 / 4)):
        found = (is_signature_BN & (owner_BN == (labels_B[:, None] + offset) % 4)).sum()
        assert abs(found / n - share) < four_errors(share, n)


# The rule ----------------------------------------------------------------------------------------------------------


def test_every_sequence_holds_one_pair_within_the_distance_and_its_order_is_the_label(big):
    distances = set()
    for tokens_N, label in zip(*arrays(big, "validation"), strict=True):
        places = [place for place, token in enumerate(tokens_N) if 1 <= token <= 4]
        assert tuple(tokens_N[places]) == PAIRS[label]
        distances.add(places[1] - places[0])
    assert distances == set(range(1, 9))


@pytest.mark.parametrize(
    ("sequence", "label"), [([0, 1, 50, 2], 0), ([0, 2, 50, 1], 1), ([0, 3, 4, 5], 2), ([0, 50, 4, 3], 3)]
)
def test_the_decoder_follows_the_rule(sequence, label):
    assert decode(np.array([sequence])).tolist() == [label]


@pytest.mark.parametrize(
    ("sequence", "message"),
    [([0, 1, 50, 50], "got 1 in sequence 1"), ([0, 1, 2, 1], "got 3 in"), ([0, 1, 50, 3], r"got \(.*1.*3.*\) in")],
)
def test_the_decoder_refuses_what_the_rule_does_not_decide(sequence, message):
    with pytest.raises(ValueError, match=message):
        decode(np.array([[0, 1, 2, 50], sequence]))


@pytest.mark.parametrize("changes", [{}, {"max_distance": 15}, {"distractor_rate": 0.5}, {"length": 40}])
def test_the_decoder_is_always_right_on_noise_free_labels(changes):
    data = drawn(label_noise=0.0, n_train=100, n_validation=100, n_test=3000, **changes)
    tokens_BN, labels_B = arrays(data, "test")
    np.testing.assert_array_equal(decode(tokens_BN), labels_B)


def test_the_label_depends_on_order(big):
    tokens_BN, labels_B = arrays(big, "test")
    backwards_BN = np.concatenate([tokens_BN[:, :1], tokens_BN[:, :0:-1]], axis=1)
    np.testing.assert_array_equal(decode(backwards_BN), labels_B ^ 1)


# The bounds --------------------------------------------------------------------------------------------------------


def test_a_share_of_redrawn_labels_costs_a_perfect_model_three_quarters_of_itself(plain):
    assert plain.upper_bound == pytest.approx(0.985, abs=1e-12)  # rounding of four operations
    assert SyntheticSequences(seed=0, label_noise=0.04).upper_bound == pytest.approx(0.97, abs=1e-12)


@pytest.mark.parametrize("label_noise", [0.02, 0.04, 0.5, 1.0])
def test_a_perfect_model_scores_the_upper_bound_in_every_split(label_noise):
    data = drawn(label_noise=label_noise, n_train=5000, n_validation=5000, n_test=5000)
    for split in SPLITS:
        tokens_BN, labels_B = arrays(data, split)
        accuracy = (decode(tokens_BN) == labels_B).mean()
        assert abs(accuracy - data.upper_bound) < four_errors(data.upper_bound, 5000)


def test_the_best_use_of_counts_reaches_the_order_blind_bound(big):
    tokens_BN, labels_B = arrays(big, "test")
    owner_BN = (tokens_BN - module.FIRST_SIGNATURE) // module.SIGNATURES_PER_CLASS
    count_BC = np.stack(
        [((owner_BN == label) & (tokens_BN >= module.FIRST_SIGNATURE)).sum(axis=1) for label in range(4)], 1
    )
    # Of the two classes that the motifs leave, the one with more signatures; the first of them on a tie, which is right
    # half the time.
    possible_BC = np.where((tokens_BN == 1).any(axis=1)[:, None], [True, True, False, False], [False, False, True, True])
    guess_B = np.where(possible_BC, count_BC, -1).argmax(axis=1)
    bound = big.order_blind_bound
    assert abs((guess_B == labels_B).mean() - bound) < four_errors(bound, 20000)


@pytest.mark.parametrize("signature_rate", [0.0, 0.05])
def test_a_bag_of_tokens_learned_on_20000_sequences_stays_below_the_order_blind_bound(signature_rate):
    data = drawn(label_noise=0.0, signature_rate=signature_rate, n_train=20000, n_test=20000)
    # Whether each token occurs, and how often: what a linear model needs to find the pair among the motifs.
    (train_BF, y_B), (test_BF, test_B) = (
        (torch.cat([bag, bag.clamp(max=1)], dim=1), labels_B)
        for bag, labels_B in (
            (nn.functional.one_hot(tokens_BN[:, 1:], 200).sum(dim=1).float(), labels_B)
            for tokens_BN, labels_B in (data.train.tensors, data.test.tensors)
        )
    )
    weight, bias = torch.zeros(400, 4, requires_grad=True), torch.zeros(4, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=25)

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = nn.functional.cross_entropy(train_BF @ weight + bias, y_B)
        value.backward()
        return value

    solver.step(loss)
    accuracy = ((test_BF @ weight + bias).argmax(dim=1) == test_B).float().mean().item()
    assert accuracy < data.order_blind_bound + four_errors(data.order_blind_bound, 20000)
    assert accuracy > data.order_blind_bound - 0.05  # it did learn: the bound is of this kind of model, not of failure


def test_an_order_blind_model_stays_20_points_below_a_perfect_one(plain):
    assert plain.order_blind_bound < plain.upper_bound - 0.2


def test_without_signatures_half_is_the_most_that_counts_can_give():
    assert SyntheticSequences(seed=0, signature_rate=0.0, label_noise=0.0).order_blind_bound == pytest.approx(
        0.5,
        abs=1e-12,  # rounding of a sum of 120 terms
    )


# Batches -----------------------------------------------------------------------------------------------------------


def epoch(sampler: EpochBatches, number: int) -> list[int]:
    sampler.set_epoch(number)
    return torch.cat(list(sampler)).tolist()


def test_every_epoch_is_another_permutation_of_the_training_set():
    sampler = EpochBatches(size=100, batch_size=32, seed=0)
    orders = [epoch(sampler, number) for number in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_order_of_an_epoch_does_not_depend_on_the_epochs_before_it():
    walked = EpochBatches(size=100, batch_size=32, seed=0)
    orders = [epoch(walked, number) for number in range(4)]
    assert epoch(EpochBatches(size=100, batch_size=32, seed=0), 3) == orders[3]
    assert epoch(walked, 1) == orders[1]


def test_the_order_depends_on_the_seed():
    assert epoch(EpochBatches(size=100, batch_size=32, seed=0), 0) != epoch(
        EpochBatches(size=100, batch_size=32, seed=1), 0
    )


@pytest.mark.parametrize(("size", "sizes"), [(100, [32, 32, 32, 4]), (64, [32, 32]), (5, [5])])
def test_the_last_smaller_batch_is_kept(size, sizes):
    loader = drawn(n_train=size).train_dataloader()
    assert [len(labels_B) for _, labels_B in loader] == sizes
    assert len(loader) == len(sizes)


def test_batches_are_pairs_of_int64_tensors_that_belong_together(plain):
    truth = {tokens_N.tobytes(): label for tokens_N, label in zip(*arrays(plain, "train"), strict=True)}
    for batch in plain.train_dataloader():
        tokens_BN, labels_B = batch
        assert type(batch) is tuple
        assert tokens_BN.dtype == labels_B.dtype == torch.int64
        assert [truth[row.numpy().tobytes()] for row in tokens_BN] == labels_B.tolist()


def test_validation_and_test_come_whole_in_one_fixed_order(plain):
    for split, loader in (("validation", plain.val_dataloader()), ("test", plain.test_dataloader())):
        for _ in range(2):
            columns = zip(*loader, strict=True)
            for seen, stored in zip(columns, getattr(plain, split).tensors, strict=True):
                assert torch.equal(torch.cat(seen), stored)


def test_a_loader_before_setup_names_the_cure():
    with pytest.raises(RuntimeError, match=r"call setup\(\) first"):
        SyntheticSequences(seed=0).train_dataloader()


class Witness(lightning.LightningModule):
    """Trains next to nothing and remembers which batches it saw, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch, batch_index):
        self.seen.setdefault(self.current_epoch, []).extend(batch[0][:, 1:].sum(dim=1).tolist())
        return self.weight**2

    def validation_step(self, batch, batch_index):
        self.weight  # noqa: B018

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters())


def fit(folder, *, epochs: int, checkpoint=None, **changes) -> tuple[Witness, lightning.Trainer]:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **changes,
    )
    witness = Witness()
    data = SyntheticSequences(seed=0, n_train=70, n_validation=10, n_test=10)
    with warnings.catch_warnings():
        # Lightning advises worker processes, which would only slow down data that lies in memory.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6.6 still writes isinstance(…, LeafSpec), which torch 2.13 advises against.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        trainer.fit(witness, data, ckpt_path=checkpoint)
    return witness, trainer


def test_lightning_gives_every_epoch_its_own_order_and_a_resumed_run_the_same(tmp_path):
    whole, _ = fit(tmp_path, epochs=4)
    assert sorted(whole.seen) == [0, 1, 2, 3]
    data = drawn(n_train=70, n_validation=10, n_test=10)
    sampler = EpochBatches(size=70, batch_size=32, seed=0)
    for number, seen in whole.seen.items():
        assert seen == data.train.tensors[0][epoch(sampler, number), 1:].sum(dim=1).tolist()

    _, trainer = fit(tmp_path, epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = fit(tmp_path, epochs=4, checkpoint=tmp_path / "half.ckpt")
    assert resumed.seen == {number: whole.seen[number] for number in (2, 3)}


# Settings ----------------------------------------------------------------------------------------------------------

WRONG = [
    ({"seed": -1}, "seed must be an integer >= 0, got -1; any seed from 0 on names a data set"),
    ({"seed": None}, "seed must be an integer >= 0, got None; any seed from 0 on names a data set"),
    ({"vocabulary_size": 21}, "vocabulary_size must be an integer >= 22, got 21; smaller leaves no background token"),
    ({"length": 1}, "length must be an integer >= 2, got 1; a pair needs two tokens"),
    ({"max_distance": 0}, "max_distance must be an integer >= 1, got 0; 1 means neighbours"),
    ({"max_distance": 16}, "max_distance must be < length, got 16 and 16; lower it or raise length"),
    ({"signature_rate": -0.1}, "signature_rate must be in [0, 1], got -0.1; 0 hides the class from token counts"),
    ({"distractor_rate": 1.6}, "distractor_rate must be in [0, 1], got 1.6; 0 makes every signature the class's own"),
    (
        {"distractor_rate": 0.6, "signature_rate": 0.5},
        "signature_rate + distractor_rate must be <= 1, got 0.5 + 0.6; lower one",
    ),
    ({"label_noise": float("nan")}, "label_noise must be in [0, 1], got nan; 0 leaves every label true"),
    ({"n_train": 0}, "n_train must be an integer >= 1, got 0; 850 trains to about 91 % in 10 epochs"),
    ({"n_validation": 1e3}, "n_validation must be an integer >= 1, got 1000.0; 1000 tells 1 point apart"),
    ({"n_test": "5000"}, "n_test must be an integer >= 1, got '5000'; 5000 tells half a point apart"),
    ({"batch_size": True}, "batch_size must be an integer >= 1, got True; the paper's is 32"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_setting_is_an_error_that_names_value_and_cure(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SyntheticSequences(**{"seed": 0, **changes})


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ValueError, match=r"^seed must .*\nbatch_size must .*\nlabel_noise must .*$"):
        SyntheticSequences(seed=-1, batch_size=0, label_noise=2)


def test_the_constructor_draws_nothing():
    data = SyntheticSequences(seed=0, n_train=10**12)
    assert data.train is None
