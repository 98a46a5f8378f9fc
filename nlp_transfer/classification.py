"""A recurrent classifier of texts, trained in stages on word vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from staged_training import Stage, StagedTrainer
from staged_training.class_balance import class_weights, metrics_on, weighted_loss

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the numbers of their labels: one part of a labelled set."""

    texts: list[str]
    labels: list[int]

    def tokenized(self, tokenizer: PreTrainedTokenizerBase) -> "Dataset":
        """The texts as rows of `input_ids`, `attention_mask` and `labels`."""
        from datasets import Dataset

        columns = dict(tokenizer(self.texts, truncation=True))
        return Dataset.from_dict(columns | {"labels": self.labels})


def staged_text_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    stages: Sequence[Stage],
    train: LabelledTexts,
    validation: LabelledTexts | None,
    *,
    positive: int,
    pretrained: str,
    output_dir: Path,
    seed: int,
    batch_size: int = 32,
    weight_decay: float = 0.01,
    balance: float = 0.5,
) -> StagedTrainer:
    """A `StagedTrainer` for texts of which some classes are rare.

    Args:
        model: A sequence classifier.
        tokenizer: Its tokenizer.
        stages: What to train, in order.
        train: What to train on.
        validation: What decides which epoch of a stage is best, by average precision. Without it
            every stage runs to its end.
        positive: Number of the class that matters.
        pretrained: Selector of the layers that carry pretrained weights.
        output_dir: Where checkpoints go.
        seed: Of all that is random in training.
        batch_size: Texts in a step.
        weight_decay: Of the optimizer.
        balance: Power of the class weights in the loss, see `class_weights`.
    """
    arguments = TrainingArguments(
        str(output_dir),
        seed=seed,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=256,
        weight_decay=weight_decay,
        metric_for_best_model="average_precision",
        report_to="none",
    )
    weights = class_weights(train.labels, len(model.config.id2label or {}), balance)
    return StagedTrainer(
        model,
        arguments,
        stages,
        pretrained=pretrained,
        processing_class=tokenizer,
        train_dataset=train.tokenized(tokenizer),
        eval_dataset=validation.tokenized(tokenizer) if validation else None,
        compute_loss_func=weighted_loss(weights),
        compute_metrics=metrics_on(positive),
    )


def shift_decision(model: PreTrainedModel, positive: int, shift: float) -> None:
    """Add `shift` to the logit of a class, for good: to the bias of the head.

    Then the largest logit decides as `best_bias` found best, for every user of the model.
    """
    with torch.no_grad():
        cast(nn.Linear, model.classifier).bias[positive] += shift
