"""Training of captioners in stages: the decoder, its word embedding, the top of the encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast, default_data_collator

from staged_training import Stage, StagedTrainer
from staged_training.experiment.tracking import tracked_arguments
from vision_transfer.captioning.captioner import CaptionPairs, captions_of
from vision_transfer.captioning.metrics import cider_of_each
from vision_transfer.captioning.modeling_captioner import CaptionerForImageTextToText

PRETRAINED = "backbone, decoder.embedding.weight"
"""Selects what carries pretrained weights: the encoder, and an embedding of word vectors."""

BESIDE_EMBEDDING = "decoder.[!e]*"
"""Selects the decoder without its embedding, the one part of it whose name begins with an e."""


class Part(NamedTuple):
    """Some images with their captions.

    Attributes:
        images: Their features, or the images as the processor prepares them.
        captions: The captions of each image.
    """

    images: Dataset[Any]
    captions: Sequence[Sequence[str]]


def caption_trainer(
    model: CaptionerForImageTextToText,
    tokenizer: PreTrainedTokenizerFast,
    stages: Sequence[Stage],
    train: Part,
    validation: Part,
    folder: Path,
    seed: int,
    *,
    pretrained: str = PRETRAINED,
    report_to: str = "none",
    **options: Any,
) -> StagedTrainer:
    """Return a trainer of a captioner; the best epoch of a stage has the best CIDEr on validation.

    The loss is no guide: it rises while captions still improve. Captions are generated greedily
    here.

    Args:
        model: The captioner.
        tokenizer: Its vocabulary.
        stages: What is trained, in order.
        train: Training images; features, where all stages train the decoder alone.
        validation: Validation images, by which epochs are chosen.
        folder: For checkpoints.
        seed: Random seed.
        pretrained: Selects what carries pretrained weights.
        report_to: Where training is watched, as for `TrainingArguments`.
        **options: Of `StagedTrainer`.
    """

    def score(_: Any) -> dict[str, float]:
        captions = captions_of(model, validation.images, tokenizer, num_beams=1)
        return {"cider": float(cider_of_each(captions, validation.captions).mean())}

    arguments = tracked_arguments(
        folder,
        seed,
        report_to,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        weight_decay=0.1,
        metric_for_best_model="cider",
        remove_unused_columns=False,
    )
    return StagedTrainer(
        model,
        arguments,
        stages,
        pretrained=pretrained,
        train_dataset=CaptionPairs(train.images, train.captions, tokenizer),
        eval_dataset=CaptionPairs(validation.images, validation.captions, tokenizer),
        data_collator=default_data_collator,
        compute_metrics=score,
        preprocess_logits_for_metrics=_words,
        **options,
    )


def _words(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the likeliest words; the scores of all words would not fit into memory."""
    return logits.argmax(dim=-1)
