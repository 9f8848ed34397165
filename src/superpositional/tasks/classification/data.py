"""A synthetic task: classify sequences by the order of a pair of tokens.

The paper says "synthetic text classification" and no more (Pamuk et al. 2025, Table II), so the task is designed here,
with its difficulty as settings. It needs the ORDER of tokens, not only their counts, and both what a perfect model and
what the best order-blind model can reach are known.

Tokens: 0 is the class token, always at position 0; 1-4 are the motifs a, b, c, d; then come ``SIGNATURES_PER_CLASS``
signature tokens for each class, class by class; the rest is background. A sequence holds exactly two motifs, and which
pair they are in which order, a..b, b..a, c..d or d..c, is its class. It is drawn so:

1. A class, and its pair at a uniform distance of at most ``max_distance`` and a uniform start.
2. Every other position: with ``signature_rate`` a signature token of the class, with ``distractor_rate`` one of any class,
   else background. So counts hint at the class, and only a hint: see ``order_blind_bound``.
3. The label is redrawn uniformly over all classes with ``label_noise``, in every split.

Shapes: B sequences, N tokens (class token included), C classes.
"""

import math

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from superpositional.places import not_integers
from superpositional.seeds import stream
from superpositional.tasks.batches import EpochBatches, Loader, of_ranks

CLASS_TOKEN = 0
# (first, second) of each class's pair. Classes 2k and 2k+1 are one pair of motifs in its two orders.
PAIRS = ((1, 2), (2, 1), (3, 4), (4, 3))
FIRST_SIGNATURE = 5
SIGNATURES_PER_CLASS = 4
FIRST_BACKGROUND = FIRST_SIGNATURE + SIGNATURES_PER_CLASS * len(PAIRS)
# Sequences are drawn in blocks of one size, so how many are asked for never changes the ones that come first.
BLOCK = 4096
EVALUATION_BATCH = 1000


def decode(tokens_BN: np.ndarray) -> np.ndarray:
    """The class of each sequence by the rule: what a perfect model would answer.

    Raises:
        ValueError: a sequence does not hold exactly one pair, so the rule gives it no class.
    """
    motif_BN = (tokens_BN >= 1) & (tokens_BN < FIRST_SIGNATURE)
    counts_B = motif_BN.sum(axis=1)
    if (counts_B != 2).any():
        odd = int(np.flatnonzero(counts_B != 2)[0])
        raise ValueError(f"every sequence must hold two motifs, got {counts_B[odd]} in sequence {odd}; 1-4 are motifs")
    pair_B2 = tokens_BN[motif_BN].reshape(-1, 2)
    is_class_BC = (pair_B2[:, None, :] == np.array(PAIRS)).all(axis=2)
    if not is_class_BC.any(axis=1).all():
        odd = int(np.flatnonzero(~is_class_BC.any(axis=1))[0])
        raise ValueError(f"every sequence must hold a pair of {PAIRS}, got {tuple(pair_B2[odd])} in sequence {odd}")
    return is_class_BC.argmax(axis=1)


class SyntheticSequences(lightning.LightningDataModule):
    """Sequences whose class is the order of a pair of tokens; batches are ``(tokens_BN, labels_B)``, int64.

    Splits are disjoint. The constructor only checks; ``setup`` draws. The defaults were chosen on plain Adam alone at the
    paper's Table II, on seeds kept for that: ``superpositional sweep task_difficulty`` is that measurement.

    Example:
        >>> data = SyntheticSequences(seed=0)
        >>> data.setup("fit")
        >>> [tuple(tensor.shape) for tensor in next(iter(data.train_dataloader()))]
        [(32, 17), (32,)]
    """

    n_classes = len(PAIRS)
    spreads_over_ranks = True  # each process of a run gets its own rows from here

    def __init__(
        self,
        *,
        seed: int,
        vocabulary_size: int = 200,
        length: int = 16,
        max_distance: int = 8,
        signature_rate: float = 0.05,
        distractor_rate: float = 0.10,
        label_noise: float = 0.02,
        n_train: int = 850,
        n_validation: int = 1000,
        n_test: int = 5000,
        batch_size: int = 32,
    ) -> None:
        sizes = {
            "seed": (seed, 0, "any seed from 0 on names a data set"),
            "vocabulary_size": (vocabulary_size, FIRST_BACKGROUND + 1, "smaller leaves no background token"),
            "length": (length, 2, "a pair needs two tokens"),
            "max_distance": (max_distance, 1, "1 means neighbours"),
            "n_train": (n_train, 1, "850 trains to about 91 % in 10 epochs"),
            "n_validation": (n_validation, 1, "1000 tells 1 point apart"),
            "n_test": (n_test, 1, "5000 tells half a point apart"),
            "batch_size": (batch_size, 1, "the paper's is 32"),
        }
        wrong = not_integers(sizes)
        rates = {
            "signature_rate": (signature_rate, 1.0, "0 hides the class from token counts"),
            "distractor_rate": (distractor_rate, 1.0, "0 makes every signature the class's own"),
            "label_noise": (label_noise, 1.0, "0 leaves every label true"),
        }
        for name, (value, most, cure) in rates.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                wrong.append(f"{name} must be in [0, {most:g}], got {value!r}; {cure}")
        if not wrong and max_distance >= length:
            wrong.append(f"max_distance must be < length, got {max_distance} and {length}; lower it or raise length")
        if not wrong and signature_rate + distractor_rate > 1:
            wrong.append(
                f"signature_rate + distractor_rate must be <= 1, got {signature_rate} + {distractor_rate}; lower one"
            )
        if wrong:
            raise ValueError("\n".join(wrong))
        super().__init__()
        self.seed, self.vocabulary_size, self.length, self.max_distance = seed, vocabulary_size, length, max_distance
        self.signature_rate, self.distractor_rate, self.label_noise = signature_rate, distractor_rate, label_noise
        self.n_train, self.n_validation, self.n_test, self.batch_size = n_train, n_validation, n_test, batch_size
        self.train: TensorDataset | None = None
        self.validation: TensorDataset | None = None
        self.test: TensorDataset | None = None

    @property
    def max_length(self) -> int:
        """Tokens of a sequence, class token included: what the net is built for."""
        return 1 + self.length

    @property
    def upper_bound(self) -> float:
        """Expected accuracy of a perfect model: only redrawn labels that changed escape it."""
        return self._against_noise(1.0)

    @property
    def order_blind_bound(self) -> float:
        """Expected accuracy of the best model that sees token counts alone.

        The motifs tell which two classes are left. Between these, own signatures O against the other's P, the likelihood
        ratio is (p_own / p_other) ** (O - P), so the best guess is the more frequent one: P(O > P) + P(O = P) / 2, where
        each of the ``length - 2`` other positions is O with p_own = signature_rate + distractor_rate / 4 and P with
        p_other = distractor_rate / 4.
        """
        others, p_other = self.length - 2, self.distractor_rate / self.n_classes
        p_own = self.signature_rate + p_other
        best = 0.0
        for own in range(others + 1):
            for other in range(others + 1 - own):
                ways = math.comb(others, own) * math.comb(others - own, other)
                chance = ways * p_own**own * p_other**other * (1 - p_own - p_other) ** (others - own - other)
                best += chance * (1.0 if own > other else 0.5 if own == other else 0.0)
        return self._against_noise(best)

    def _against_noise(self, accuracy: float) -> float:
        return (1 - self.label_noise) * accuracy + self.label_noise / self.n_classes

    def setup(self, stage: str | None = None) -> None:
        if self.train is not None:  # Lightning sets up once per stage; all splits come from one drawing
            return
        # The training set comes last, so that a bigger one is judged on the same validation and test sets.
        sizes = (self.n_test, self.n_validation, self.n_train)
        tokens_BN, labels_B = (torch.from_numpy(array) for array in self._distinct(sum(sizes)))
        splits = zip(tokens_BN.split(sizes), labels_B.split(sizes), strict=True)
        self.test, self.validation, self.train = (TensorDataset(*split) for split in splits)

    def train_dataloader(self) -> DataLoader:
        ranks, rank = of_ranks(self)
        batches = EpochBatches(size=self.n_train, batch_size=self.batch_size, seed=self.seed, ranks=ranks, rank=rank)
        return Loader(_drawn(self.train), batches)

    def val_dataloader(self) -> DataLoader:
        return Loader(_drawn(self.validation), torch.arange(self.n_validation).split(EVALUATION_BATCH))

    def test_dataloader(self) -> DataLoader:
        return Loader(_drawn(self.test), torch.arange(self.n_test).split(EVALUATION_BATCH))

    def _distinct(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The first ``size`` distinct sequences of the seed's stream and their labels."""
        rng = np.random.default_rng(stream(self.seed, "data"))
        tokens_BN, labels_B = np.empty((0, self.max_length), dtype=np.int64), np.empty(0, dtype=np.int64)
        while len(tokens_BN) < size:
            drawn = [self._block(rng) for _ in range(math.ceil((size - len(tokens_BN)) / BLOCK))]
            all_BN = np.concatenate([tokens_BN, *(block_BN for block_BN, _ in drawn)])
            all_B = np.concatenate([labels_B, *(block_B for _, block_B in drawn)])
            first = np.sort(np.unique(all_BN, axis=0, return_index=True)[1])
            # Blocks that bring next to nothing new: the space of sequences is nearly spent.
            if len(first) < size and len(first) - len(tokens_BN) < len(drawn) * BLOCK // 100:
                raise ValueError(
                    f"{size} distinct sequences asked for, {len(first)} found; raise length or vocabulary_size, "
                    "or lower n_train, n_validation or n_test"
                )
            tokens_BN, labels_B = all_BN[first], all_B[first]
        return tokens_BN[:size], labels_B[:size]

    def _block(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw ``BLOCK`` sequences and labels: the steps of the module's docstring."""
        shape, row_B = (BLOCK, self.max_length), np.arange(BLOCK)
        labels_B = rng.integers(self.n_classes, size=BLOCK)
        tokens_BN = rng.integers(FIRST_BACKGROUND, self.vocabulary_size, shape)
        own_BN = FIRST_SIGNATURE + SIGNATURES_PER_CLASS * labels_B[:, None] + rng.integers(SIGNATURES_PER_CLASS, size=shape)
        any_BN = rng.integers(FIRST_SIGNATURE, FIRST_BACKGROUND, shape)
        kind_BN = rng.random(shape)
        tokens_BN = np.where(kind_BN < self.signature_rate + self.distractor_rate, any_BN, tokens_BN)
        tokens_BN = np.where(kind_BN < self.signature_rate, own_BN, tokens_BN)
        tokens_BN[:, 0] = CLASS_TOKEN

        distance_B = rng.integers(1, self.max_distance + 1, BLOCK)
        first_B = rng.integers(1, self.length - distance_B + 1)
        tokens_BN[row_B[:, None], np.stack([first_B, first_B + distance_B], axis=1)] = np.array(PAIRS)[labels_B]

        redrawn_B = rng.integers(self.n_classes, size=BLOCK)
        return tokens_BN, np.where(rng.random(BLOCK) < self.label_noise, redrawn_B, labels_B)


def _drawn(dataset: TensorDataset | None) -> TensorDataset:
    if dataset is None:
        raise RuntimeError("the data has not been drawn; call setup() first")
    return dataset
