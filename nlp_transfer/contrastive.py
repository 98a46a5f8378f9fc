"""An encoder tuned by pairs of few texts, before a linear head is fitted to it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainingArguments

from nlp_transfer.encoder_classifier import EncoderHead
from nlp_transfer.linear_head import LinearHeadCandidate, Reading
from nlp_transfer.models import PooledHeadConfig, PooledHeadForSequenceClassification
from nlp_transfer.text_features import head_features
from nlp_transfer.text_task import LabelledTexts
from staged_training import Stage, StagedTrainer
from staged_training.experiment.candidate import REFIT_UP_TO
from staged_training.experiment.splits import Indices
from staged_training.runtime import processes
from staged_training.stages import StageResult

BATCH = 32

LONGEST = 64
"""Tokens that are read of a text while the encoder is tuned.

With 100 labels 128 take twice as long, and were no better: macro-F1 of two draws of newsgroups and
two of Reuters 0.614, with 64 tokens 0.651, with 32 0.616.
"""

TEMPERATURE = 0.1
PAIRS = Stage("pairs", train="backbone[1:]", epochs=1, learning_rate=5e-5)


@dataclass(frozen=True, kw_only=True)
class ContrastiveCandidate(LinearHeadCandidate):
    """An encoder that learns which texts have the same label, then a linear head on its last layer.

    A hundred texts are five thousand pairs: an encoder learns more of them than of a hundred labels
    (SetFit: Tunstall et al. 2022). All pairs of a batch count at once (Khosla et al., NeurIPS
    2020), so that few steps do. It takes texts of one label each.

    Attributes:
        steps: Batches that the encoder is tuned on; by default as many as suit the texts.
    """

    layouts: ClassVar = (1.0,)

    steps: int | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """What people call it, and its row."""
        return f"{Path(self.base).absolute().name}, tuned by pairs"

    @property
    def weighted(self) -> bool:
        """False: the tuned encoder sets labels so far apart that weights change little."""
        return False

    def refits(self, row: str, size: int) -> bool:
        """Return whether there are few rows: the encoder would be tuned anew."""
        return size <= REFIT_UP_TO

    def quick(self) -> "ContrastiveCandidate":
        """Return the same with one step."""
        return replace(self, steps=1)

    def prepare(self) -> None:
        """Do nothing: each round tunes an encoder of its own."""

    def _read(self, train: Indices, rows: Indices, seed: int, folder: Path) -> Reading:
        model, tokenizer = self._new_model()
        model.config.layers = model.config.layers[-1:]
        reader = _Reader(cast(PooledHeadConfig, model.config), model.encoder)
        steps = self.steps or suited_steps(len(train))
        batches = balanced_batches(self.task.values[train], steps, seed)
        # All processes of a distributed run take every batch: parts of it have fewer pairs.
        known = train[np.repeat(batches, processes.count(), axis=0).ravel()]
        stages = self._tune(reader, tokenizer, self.task.all.select(known), seed, folder)
        model.eval()  # type: ignore[no-untyped-call]
        features = head_features(model, tokenizer, self.task.all.select(rows).texts)
        model.head = nn.Linear(features.shape[1], len(self.task.names))
        return Reading((model, tokenizer), features, stages)

    def _tune(
        self,
        model: EncoderHead,
        tokenizer: PreTrainedTokenizerBase,
        batches: LabelledTexts,
        seed: int,
        folder: Path,
    ) -> list[StageResult]:
        """Train the layers above the embedding on texts in the order of their batches."""

        def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> Any:
            means, _maxima = outputs.logits.chunk(2, dim=1)
            return contrastive_loss(means, labels)

        arguments = TrainingArguments(
            str(folder),
            seed=seed,
            report_to="none",
            dataloader_pin_memory=torch.accelerator.is_available(),
            per_device_train_batch_size=BATCH,
            weight_decay=0.01,
            warmup_steps=0.1,
            train_sampling_strategy="sequential",
        )
        trainer = StagedTrainer(
            model,
            arguments,
            [PAIRS],
            pretrained="all",
            processing_class=tokenizer,
            train_dataset=batches.tokenized(tokenizer, LONGEST),
            compute_loss_func=loss,
        )
        trainer.train(resume_from_checkpoint=trainer.begun)
        return trainer.results


def tuned_by_pairs(head: LinearHeadCandidate) -> ContrastiveCandidate:
    """Return a candidate that tunes the encoder of another one first."""
    return ContrastiveCandidate(
        task=head.task, base=head.base, cache=head.cache, class_weight=head.class_weight
    )


class _Reader(PooledHeadForSequenceClassification):
    """An encoder that gives what a linear head would read."""

    _auto_class = None

    def _new_head(self, width: int) -> "_Open":
        return _Open(1, 1)


class _Open(nn.Linear):
    """A head that gives what it reads; its parameters, which nothing uses, make it a layer."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states


def suited_steps(texts: int) -> int:
    """Return on how many batches to tune an encoder: one for three texts, and 50 to 200.

    With 300 texts 50 batches gave an average precision of 0.783 on validation, 100 gave 0.852
    (requests); with 1,200 texts 50 gave 0.637, 200 gave 0.717 (urgent mails, means of three folds).

    Args:
        texts: How many it is tuned on.

    Examples:
        >>> from nlp_transfer.contrastive import suited_steps
        >>> suited_steps(60), suited_steps(300), suited_steps(10_000)
        (50, 100, 200)
    """
    return min(max(texts // 3, 50), 200)


def balanced_batches(labels: NDArray[np.int64], steps: int, seed: int) -> NDArray[np.int64]:
    """Draw batches of examples, as many of each label, at least two.

    Args:
        labels: The label of each example.
        steps: How many batches.
        seed: Random seed.

    Returns:
        The numbers of examples, `[steps, BATCH]`.

    Examples:
        >>> from nlp_transfer.contrastive import balanced_batches
        >>> labels = np.array([0, 0, 0, 0, 0, 1, 1])
        >>> np.bincount(labels[balanced_batches(labels, steps=1, seed=0)[0]])
        array([16, 16])
    """
    rng = np.random.default_rng(seed)
    of_labels = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = max(2, BATCH // len(of_labels))
    drawn = []
    for _ in range(steps):
        order = rng.permutation(len(of_labels))
        order = np.tile(order, BATCH)[: BATCH // each + 1]
        own = [rng.choice(of_labels[n], each, replace=len(of_labels[n]) < each) for n in order]
        drawn.append(np.concatenate(own)[:BATCH])
    return np.stack(drawn)


def contrastive_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how far texts of one label are from each other, beside all others.

    The supervised contrastive loss (Khosla et al., NeurIPS 2020, equation 2): the mean negative
    log-probability, over the texts of its label, that a text finds them among all others by their
    cosine similarity.

    Args:
        features: Of each text, `[batch, width]`.
        labels: Of each text, `int64 [batch]`.

    Examples:
        >>> from nlp_transfer.contrastive import contrastive_loss
        >>> apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> bool(contrastive_loss(apart, labels) < contrastive_loss(apart, labels[[0, 2, 1, 3]]))
        True
    """
    normal = nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    alike = (labels[:, None] == labels) & ~itself
    similarity = (normal @ normal.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    found = similarity.log_softmax(dim=1).masked_fill(~alike, 0.0)
    return -(found.sum(dim=1) / alike.sum(dim=1).clamp(min=1)).mean()
