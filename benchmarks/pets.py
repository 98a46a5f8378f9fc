"""The shipped pets, a pretrained model with a new head, and fastai's `Learner` of both."""

from pathlib import Path

import numpy as np

PETS = Path(__file__).parents[1] / "recipes" / "data" / "pets"
BATCH = 32


def parts(column: str, few: int | None = None):
    """The model, the images to train on and those to test on, which are fold 0."""
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task = read_image_task(PETS, column)
    model, processor = load_backbone("efficientnet-lite0", task.names)
    train, test = np.flatnonzero(task.folds != 0), np.flatnonzero(task.folds == 0)
    if few is not None:
        train, test = (rows[:: len(rows) // few] for rows in (train, test))
    return model, task.dataset(train, processor), task.dataset(test, processor)


def training_arguments(folder: str, **settings):
    from transformers import TrainingArguments

    return TrainingArguments(
        folder,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        **settings,
    )


def fastai_learner(model, train, test):
    """A `Learner` whose two groups of parameters are the base and the head."""
    import fastai.callback.schedule  # noqa: F401  (gives a `Learner` its `fine_tune`)
    import torch
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            return self.model(pixels).logits

    def split(wrapped):
        named = list(wrapped.named_parameters())
        return [[p for n, p in named if ("classifier" in n) == head] for head in (False, True)]

    def batch(examples):
        labels = torch.stack([example["labels"] for example in examples])
        return torch.stack([example["pixel_values"] for example in examples]), labels

    loaders = DataLoaders(
        DataLoader(train, bs=BATCH, shuffle=True, create_batch=batch, num_workers=0),
        DataLoader(test, bs=BATCH, create_batch=batch, num_workers=0),
    )
    loss = torch.nn.CrossEntropyLoss()
    learner = Learner(loaders, Logits(), loss_func=loss, splitter=split, cbs=[])
    learner.remove_cb(ProgressCallback)
    return learner


def fastai_predictions(learner) -> np.ndarray:
    """Its logits of the test images."""
    with learner.no_logging():
        logits, _ = learner.get_preds(dl=learner.dls.valid, act=lambda x: x)
    return logits.numpy()


def accuracy(logits, test) -> float:
    return float((np.asarray(logits).argmax(1) == np.asarray(test.labels)).mean())
