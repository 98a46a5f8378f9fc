"""A recurrent classifier of texts on word vectors, trained in stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nlp_transfer.text_task import LabelledTexts
from nlp_transfer.trained_model import save_trained
from staged_training import Stage, StagedTrainer
from staged_training.experiment.outcome import Decision
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.target import Target
from staged_training.experiment.tracking import tracked_arguments
from staged_training.heads.class_weights import ClassWeight, loss_of
from staged_training.heads.decision import with_decision

if TYPE_CHECKING:
    from datasets import Dataset


class TextTrainer(StagedTrainer):
    """A `StagedTrainer` that evaluates texts in their order, while training groups them by length.

    `Trainer` would group them too, and give predictions in another order than that of the texts.
    """

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        return SequentialSampler(eval_dataset)


def staged_text_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    stages: Sequence[Stage],
    train: LabelledTexts,
    validation: LabelledTexts | None,
    target: Target,
    output_dir: Path,
    seed: int,
    *,
    pretrained: str = "backbone[0]",
    reuse_features: bool | Path = False,
    batch_size: int = 32,
    report_to: str = "none",
    class_weight: ClassWeight = None,
) -> StagedTrainer:
    """Build a `StagedTrainer` for a classifier of texts.

    Args:
        model: A sequence classifier.
        tokenizer: Its tokenizer.
        stages: What to train, in order.
        train: What to train on.
        validation: What decides which epoch of a stage is best, by the metric of the target.
            Without it every stage runs to its end.
        target: What is predicted; numbers are given as they are to be learnt, see `Scaling`.
        output_dir: Where checkpoints go.
        seed: Of all that is random in training.
        pretrained: Selector of the layers that carry pretrained weights; by default the embedding.
        reuse_features: As for `StagedTrainer`.
        batch_size: Texts in a step of training.
        report_to: As for `TrainingArguments`; the run is called as the last three parts of
            `output_dir`.
        class_weight: What each label weighs in the loss.
    """
    arguments = tracked_arguments(
        output_dir,
        seed,
        report_to,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=32,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",  # a batch takes as long as its longest text
        metric_for_best_model=target.metric,
    )
    return TextTrainer(
        model,
        arguments,
        stages,
        pretrained=pretrained,
        reuse_features=reuse_features,
        processing_class=tokenizer,
        train_dataset=train.tokenized(tokenizer),
        eval_dataset=_by_length(validation.tokenized(tokenizer))[0] if validation else None,
        compute_metrics=target.compute_metrics(),
        compute_loss_func=loss_of(train.labels, target, class_weight),
    )


def save_classifier(
    trainer: StagedTrainer,
    target: Target,
    scaling: Scaling,
    decision: Decision,
    folder: Path,
) -> None:
    """Save a trained classifier with its tokenizer, so that its outputs decide as they are.

    Args:
        trainer: What trained it.
        target: What is predicted; `config.positive_label` will hold the label that matters.
        scaling: How the numbers to be learnt were scaled.
        decision: What makes the decision best and the scores reliable.
        folder: Where to save it.
    """
    model = with_decision(cast(PreTrainedModel, trainer.model), target, scaling, decision)
    tokenizer = cast(PreTrainedTokenizerBase, trainer.processing_class)
    save_trained(model, tokenizer, trainer.state, folder)


def classifier_logits(trainer: StagedTrainer, texts: LabelledTexts) -> NDArray[np.float32]:
    """Return the logits `float32 [texts, labels]` of a trained classifier."""
    tokenizer = cast(PreTrainedTokenizerBase, trainer.processing_class)
    rows, order = _by_length(texts.tokenized(tokenizer))
    logits = np.asarray(trainer.predict(rows).predictions)
    return cast(NDArray[np.float32], logits[np.argsort(order)])


def _by_length(rows: "Dataset") -> tuple["Dataset", NDArray[np.intp]]:
    """Return tokenized texts from short to long, so that little is padded, and their order."""
    order = np.argsort([len(ids) for ids in rows["input_ids"]], kind="stable")
    return rows.select(order), order
