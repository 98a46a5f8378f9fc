"""Scores of patients or series from their slices: by the mean, by the largest, by attention.

A label of a patient says that some slice shows something, and not which. The slices are a bag of
instances in multiple-instance learning.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from torch import nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.utils import ModelOutput

from staged_training.experiment.splits import stratified_folds
from staged_training.runtime.processes import ONE_BATCH
from vision_transfer.few_labels import linear_probe, log_odds, mean_roc_auc, probe_logits

Pooling = Literal["mean", "max", "attention"]
POOLINGS: tuple[Pooling, ...] = ("mean", "max", "attention")

# Of training: the best of six settings tried, on simulated patients other than those measured on.
_BATCH, _STEPS, _RATE, _DECAY = 16, 300, 3e-4, 1e-2
_DRAWS = 1_000


class Bags(NamedTuple):
    """Slices, and the bag of each: a patient, or a series.

    Attributes:
        features: Of slices, from a frozen base, `float32 [slices, width]`.
        labels: The number of the label of the bag of each slice, `int64 [slices]`.
        numbers: The number of the bag of each slice, `int64 [slices]`.
        patients: The number of the patient of each slice, `int64 [slices]`; of bags of patients
            the same as `numbers`.

    Examples:
        >>> patients = np.array([0, 0, 1, 1, 1])
        >>> bags = Bags(np.zeros((5, 8), np.float32), patients % 2, patients, patients)
        >>> bags.firsts(), [rows.tolist() for rows in bags.rows()]
        (array([0, 2]), [[0, 1], [2, 3, 4]])
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    numbers: NDArray[np.int64]
    patients: NDArray[np.int64]

    def firsts(self) -> NDArray[np.int64]:
        """Return the row of a slice of each bag, by the number of the bag."""
        return np.unique(self.numbers, return_index=True)[1]

    def rows(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each bag, by the number of the bag."""
        for number in np.unique(self.numbers):
            yield np.flatnonzero(self.numbers == number)


def pooled_logits(
    logits: ArrayLike, numbers: ArrayLike, pooling: Literal["mean", "max"]
) -> NDArray[np.float64]:
    """Pool the logits of slices to logits of bags.

    Args:
        logits: Of a classifier of one label of several, `[slices, labels]`.
        numbers: The number of the bag of each slice.
        pooling: `mean`, or `max`: the largest log-probability of each label in any slice, so that
            one slice that shows a label is enough.

    Returns:
        Logits `[bags, labels]`, by the number of the bag.

    Examples:
        >>> logits = [[0.0, 2.0], [0.0, -4.0], [0.0, 3.0]]
        >>> pooled_logits(logits, [5, 5, 7], "mean").tolist()
        [[0.5, -0.5], [-1.5, 1.5]]
        >>> pooled_logits(logits, [5, 5, 7], "max").round(2).tolist()
        [[-0.02, -0.13], [-3.05, -0.05]]
    """
    scores = np.asarray(logits, np.float64)
    if pooling == "mean":
        scores = scores - scores.mean(1, keepdims=True)  # the softmax is the same
    else:
        scores = torch.from_numpy(scores).log_softmax(1).numpy()
    bags, place = np.unique(np.asarray(numbers), return_inverse=True)
    pooled = np.full((len(bags), scores.shape[1]), -np.inf if pooling == "max" else 0.0)
    if pooling == "max":
        np.maximum.at(pooled, place, scores)
        return pooled
    np.add.at(pooled, place, scores)
    return pooled / np.bincount(place)[:, None]


@dataclass
class AttentionOutput(ModelOutput):
    """Output of a `GatedAttention`.

    Attributes:
        loss: Cross-entropy, where labels are given.
        logits: `float32 [bags, labels]`.
        weights: How much each slice counts, `float32 [bags, slices]`; those of a bag sum to 1.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class GatedAttention(nn.Module):
    """A head on bags of features: gated attention (Ilse, Tomczak and Welling, ICML 2018).

    A small network weighs the slices of a bag, whatever their number and order; a linear layer
    classifies their weighted mean. A new one weighs all slices alike.

    Args:
        width: Width of the features.
        labels: Number of labels.
        hidden: Width of the attention.
        dropout: Share of the features that is left out in training.

    Examples:
        >>> head = GatedAttention(width=8, labels=3).eval()
        >>> found = head(torch.randn(2, 5, 8))
        >>> found.logits.shape, found.weights.sum(1).round(decimals=4).tolist()
        (torch.Size([2, 3]), [1.0, 1.0])
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, width: int, labels: int, hidden: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.dropout = nn.Dropout(dropout)
        self.seen, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.weight, self.head = nn.Linear(hidden, 1), nn.Linear(width, labels)
        nn.init.zeros_(self.weight.weight)

    def forward(
        self,
        features: torch.Tensor,
        mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> AttentionOutput:
        """Classify bags.

        Args:
            features: `float32 [bags, slices, width]`.
            mask: `bool [bags, slices]`, false where a bag has no slice.
            labels: `int64 [bags]`.
        """
        scaled = self.dropout((features - self.mean) / self.deviation)
        hidden = self.seen(scaled).tanh() * self.gate(scaled).sigmoid()
        scores = self.weight(hidden)[..., 0]
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(1)
        logits = self.head((weights[..., None] * scaled).sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return AttentionOutput(loss=loss, logits=logits, weights=weights)


def learn_attention(bags: Bags, probe: Pipeline, seed: int = 0) -> GatedAttention:
    """Train a `GatedAttention` on bags of features, head first.

    The head begins as a linear probe of slices, so that bags have the mean of its logits; then all
    of it learns, for 300 steps of 16 bags. From random weights it needs more bags.

    Args:
        bags: The bags, of two labels or more.
        probe: A linear probe on their slices, from `probe_of_slices`.
        seed: Of the random weights and the order of the bags.

    Examples:
        >>> patients, features = np.arange(20).repeat(4), np.zeros((80, 8), np.float32)
        >>> features[::4, 0] = patients[::4] % 2  # the first slice shows it
        >>> bags = Bags(features, patients % 2, patients, patients)
        >>> head = learn_attention(bags, probe_of_slices(bags))
        >>> attention_logits(head, bags)[:4].argmax(1)
        array([0, 1, 0, 1])
    """
    set_seed(seed)
    scaler, linear = (step for _, step in probe.steps)
    head = GatedAttention(bags.features.shape[1], int(bags.labels.max()) + 1)
    with torch.no_grad():
        head.mean.copy_(torch.from_numpy(scaler.mean_))
        head.deviation.copy_(torch.from_numpy(scaler.scale_))
        nn.init.zeros_(head.head.weight)  # of the first of two labels
        nn.init.zeros_(head.head.bias)
        head.head.weight[-len(linear.coef_) :] = torch.from_numpy(linear.coef_)
        head.head.bias[-len(linear.coef_) :] = torch.from_numpy(linear.intercept_)
    arguments = TrainingArguments(
        tempfile.gettempdir(),  # nothing is written there
        max_steps=_STEPS,
        learning_rate=_RATE,
        weight_decay=_DECAY,
        warmup_steps=0.15,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=_BATCH,
        accelerator_config=ONE_BATCH,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    trainer = Trainer(head, arguments, train_dataset=_PaddedBags(bags))
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return head.cpu().eval()


class _PaddedBags(Dataset[dict[str, torch.Tensor]]):
    """Bags of one size: those with fewer slices are filled up, which `mask` tells."""

    def __init__(self, bags: Bags) -> None:
        self.bags, self.rows = bags, list(bags.rows())
        self.most = max(map(len, self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rows = self.rows[index]
        features = torch.zeros(self.most, self.bags.features.shape[1])
        features[: len(rows)] = torch.from_numpy(self.bags.features[rows])
        return {
            "features": features,
            "mask": torch.arange(self.most) < len(rows),
            "labels": torch.tensor(self.bags.labels[rows[0]]),
        }


@torch.no_grad()
def attention_logits(head: GatedAttention, bags: Bags) -> NDArray[np.float64]:
    """Return the logits of bags, `[bags, labels]`, by the number of the bag.

    Examples:
        >>> patients = np.array([0, 0, 1, 1, 1])
        >>> bags = Bags(np.ones((5, 8), np.float32), patients % 2, patients, patients)
        >>> attention_logits(GatedAttention(width=8, labels=3).eval(), bags).shape
        (2, 3)
    """
    features = (torch.from_numpy(bags.features[rows])[None] for rows in bags.rows())
    return torch.cat([head(one).logits for one in features]).double().numpy()


def probe_of_slices(train: Bags) -> Pipeline:
    """Fit a linear probe to slices, each of which has the label of its bag.

    Cross-validation over patients chooses its `C`: slices of a patient are alike, and would tell
    nothing of another.

    Examples:
        >>> patients, random = np.arange(20).repeat(4), np.random.default_rng(0)
        >>> features = random.normal(size=(80, 8)).astype(np.float32)
        >>> probe = probe_of_slices(Bags(features, patients % 2, patients, patients))
        >>> probe.predict(features).shape
        (80,)
    """
    fewest = min(
        len(np.unique(train.patients[train.labels == label])) for label in np.unique(train.labels)
    )
    folds = stratified_folds(train.labels.tolist(), train.patients, min(5, fewest))
    cv = [(np.flatnonzero(folds != n), np.flatnonzero(folds == n)) for n in range(folds.max() + 1)]
    return linear_probe(train.features, train.labels, cv)


class RocAuc(NamedTuple):
    """An area under the ROC curve and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def roc_auc_of_bags(logits: ArrayLike, labels: ArrayLike, patients: ArrayLike) -> RocAuc:
    """Return the AUC of bags with its interval, from 1,000 bootstrap samples of the patients.

    Args:
        logits: `[bags, labels]`.
        labels: The number of the label of each bag.
        patients: The number of the patient of each bag; bags of a patient are drawn together.

    Returns:
        The AUC of two labels, or the mean over labels of each against the others.

    Examples:
        >>> logits = [[0.0, value] for value in (1, 2, 3, 4, 2, 3, 4, 5)]
        >>> print(roc_auc_of_bags(logits, [0, 0, 0, 0, 1, 1, 1, 1], range(8)))
        0.719 (0.310 to 1.000)
    """
    scores = torch.as_tensor(np.asarray(logits, np.float64))
    values, people = np.asarray(labels), np.unique(np.asarray(patients), return_inverse=True)[1]
    count = int(people.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    weights = drawn[:, people].astype(np.float64)
    areas = []
    for number, odds in enumerate(log_odds(scores).numpy().T):
        of_label = values == number
        one, others = odds[of_label, None], odds[None, ~of_label]
        order = (one > others) + 0.5 * (one == others)
        mine, theirs = weights[:, of_label], weights[:, ~of_label]
        with np.errstate(invalid="ignore"):  # a sample may lack a label
            areas.append(((mine @ order) * theirs).sum(1) / (mine.sum(1) * theirs.sum(1)))
    low, high = np.nanquantile(np.mean(areas, 0), [0.025, 0.975])
    return RocAuc(mean_roc_auc(scores, torch.as_tensor(values)), float(low), float(high))


def compare_poolings(
    train: Bags, test: Bags, logits: NDArray[np.float64] | None = None, seed: int = 0
) -> dict[Pooling, RocAuc]:
    """Return the AUC of the bags of test by each way to pool their slices.

    Args:
        train: Bags to learn from.
        test: Bags of other patients.
        logits: Those of the slices of test from a classifier, `[slices, labels]`; by default from a
            linear probe on the features of train.
        seed: Of the attention, which learns from the features of train, and begins as the probe.

    Examples:
        >>> patients, features = np.arange(20).repeat(4), np.zeros((80, 8), np.float32)
        >>> features[::4, 0] = patients[::4] % 2  # the first slice shows it
        >>> bags = Bags(features, patients % 2, patients, patients)
        >>> {pooling: area.value for pooling, area in compare_poolings(bags, bags).items()}
        {'mean': 1.0, 'max': 1.0, 'attention': 1.0}
    """
    probe = probe_of_slices(train)
    if logits is None:
        logits = probe_logits(probe, test.features)
    firsts = test.firsts()
    found = {
        "mean": pooled_logits(logits, test.numbers, "mean"),
        "max": pooled_logits(logits, test.numbers, "max"),
        "attention": attention_logits(learn_attention(train, probe, seed), test),
    }
    return {
        pooling: roc_auc_of_bags(found[pooling], test.labels[firsts], test.patients[firsts])
        for pooling in POOLINGS
    }
