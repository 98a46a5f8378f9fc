"""Learning from a few labels: from scratch, on a base, and by a probe on its frozen features."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from transformers import PreTrainedModel, TrainingArguments

from staged_training import Stage, StagedTrainer
from staged_training.heads.linear_probe import CS
from vision_transfer.backbones import remove_head

_BATCH = 32
_EPOCHS = 6  # to spread the steps over; in each, few labels are repeated many times


class LabelledImages(Dataset[dict[str, torch.Tensor]]):
    """Images in memory or on disk, and their labels.

    Args:
        images: `float32 [channels, height, width]`, all of one size.
        labels: The number of the label of each.
        transform: Applied to an image each time that it is asked for.
    """

    def __init__(
        self,
        images: Sequence[torch.Tensor],
        labels: ArrayLike,
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.images, self.transform = images, transform
        self.labels = np.asarray(labels, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return `pixel_values` and `labels`."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        image = self.images[index]
        if self.transform:
            image = self.transform(image)
        return {"pixel_values": image, "labels": torch.tensor(self.labels[index])}


def stratified_sample(labels: ArrayLike, count: int, seed: int) -> NDArray[np.int64]:
    """Draw a stratified sample of the rows."""
    rows = np.arange(len(np.asarray(labels)))
    if count == len(rows):
        return rows
    chosen, _ = train_test_split(rows, train_size=count, stratify=labels, random_state=seed)
    return np.sort(chosen)


def learn_from_scratch(
    model: PreTrainedModel,
    train: Dataset[Any],
    seed: int,
    steps: int,
    learning_rate: float,
    folder: Path,
) -> None:
    """Train all layers of a model with random weights, the control for a base.

    Checkpoints go to `folder`; a run that was killed goes on from there.
    """
    stage = Stage("all layers", "backbone, head", _EPOCHS, learning_rate)
    _run(model, [stage], train, seed, steps, folder, allow_joint_training=True)


def learn_on_base(
    model: PreTrainedModel,
    train: Dataset[Any],
    seed: int,
    steps: int,
    learning_rate: float,
    folder: Path,
    head_rate: float = 5e-3,
) -> None:
    """Train the head of a model on its frozen base, then all of it at a smaller rate.

    The head gets a sixth of the steps more. Checkpoints go to `folder`; a run that was killed goes
    on from there.
    """
    stages = [
        Stage("head", "head", 1, head_rate),
        Stage("all layers", "backbone, head", _EPOCHS, learning_rate),
    ]
    _run(model, stages, train, seed, steps, folder)


def _run(
    model: PreTrainedModel,
    stages: Sequence[Stage],
    train: Dataset[Any],
    seed: int,
    steps: int,
    folder: Path,
    **settings: Any,
) -> None:
    count = len(cast(Any, train))
    copies = max(1, round(steps / _EPOCHS * _BATCH / count))
    repeated: Dataset[Any] = ConcatDataset([train] * copies)
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=_BATCH,
        weight_decay=0.05,
        warmup_steps=0.15,
        lr_scheduler_type="cosine",
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    trainer = StagedTrainer(model, arguments, stages, train_dataset=repeated, **settings)
    trainer.train(resume_from_checkpoint=trainer.begun)


def features(model: PreTrainedModel, images: Dataset[Any]) -> torch.Tensor:
    """Return the features of images from the frozen base of a classifier, `[images, width]`."""
    base = copy.deepcopy(model).eval()
    remove_head(base)
    with torch.inference_mode():
        batches = DataLoader(images, batch_size=64)
        return torch.cat([base(batch["pixel_values"]).logits for batch in batches])


def probe_roc_auc(
    train: tuple[NDArray[Any], ArrayLike], test: tuple[NDArray[Any], ArrayLike]
) -> float:
    """Return the AUC of a linear probe on features; cross-validation chooses its `C`.

    Args:
        train: Features `[examples, width]` and label numbers, of two labels or more.
        test: The same.

    Returns:
        The AUC of two labels, or the mean over labels of each against the others.
    """
    logits = probe_logits(linear_probe(*train), test[0])
    return mean_roc_auc(torch.from_numpy(logits), torch.as_tensor(np.asarray(test[1])))


def linear_probe(
    features: NDArray[Any],
    labels: ArrayLike,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]] | None = None,
) -> Pipeline:
    """Fit logistic regression to features; cross-validation chooses its `C`.

    Args:
        features: `[examples, width]`.
        labels: Their numbers, of two labels or more.
        folds: Rows to fit and to score `C` on, of each fold; by default five that are stratified.
    """
    most = int(np.bincount(np.asarray(labels)).max())  # examples of a label
    probe = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=list(CS),
            cv=folds or min(5, most),
            scoring="neg_log_loss",
            max_iter=1000,
            use_legacy_attributes=False,
            l1_ratios=(0,),
        ),
    )
    return probe.fit(features, labels)


def probe_logits(probe: Pipeline, features: NDArray[Any]) -> NDArray[np.float64]:
    """Return what a linear probe says of features, `[examples, labels]`."""
    logits: NDArray[np.float64] = probe.decision_function(features)
    if logits.ndim == 1:  # of two labels
        logits = np.stack([np.zeros_like(logits), logits], 1)
    return logits


def roc_auc(model: PreTrainedModel, test: Dataset[Any]) -> float:
    """Return the area under the ROC curve of a model; see `probe_roc_auc`."""
    return mean_roc_auc(*logits_and_labels(model, test))


@torch.no_grad()
def logits_and_labels(
    model: PreTrainedModel, images: Dataset[Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of a model for images, `[images, labels]`, and their labels."""
    model.eval()
    device = next(model.parameters()).device
    logits, labels = [], []
    for batch in DataLoader(images, batch_size=256):
        logits.append(model(batch["pixel_values"].to(device)).logits.float().cpu())
        labels.append(batch["labels"])
    return torch.cat(logits), torch.cat(labels)


def mean_roc_auc(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the mean over labels of the AUC of each against the others."""
    odds = log_odds(logits)
    aucs = [roc_auc_score(labels == number, odds[:, number]) for number in range(odds.shape[1])]
    return float(np.mean(aucs))


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the log of the odds of each label against the others, `[examples, labels]`."""
    odds = [
        logits[:, number] - torch.cat([logits[:, :number], logits[:, number + 1 :]], 1).logsumexp(1)
        for number in range(logits.shape[1])
    ]
    return torch.stack(odds, 1)
