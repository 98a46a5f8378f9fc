"""Training on a pretext task: one `Trainer` for all of them, which can be resumed."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from staged_training.checkpoints import CheckpointingTrainer, newest_checkpoint
from staged_training.runtime.processes import ONE_BATCH, on_main_process


def train_pretext(
    model: nn.Module,
    train: Dataset[Any],
    held_out: Dataset[Any],
    folder: Path,
    *,
    epochs: int,
    learning_rate: float = 2e-3,
    batch_size: int = 64,
    seed: int = 0,
    label: str = "labels",
    report_to: str = "none",
    **settings: Any,
) -> Trainer:
    """Train a model from random weights: AdamW, a warm-up over a tenth of the steps, a cosine.

    After each epoch a checkpoint is written to `folder`, from which the next call goes on; it is
    for runs that were killed. Started by `accelerate launch`, it trains on all devices.

    Args:
        model: Takes the examples of `train` and gives a loss.
        train: What is learnt from.
        held_out: What `Trainer.evaluate` and `predict` are for; nothing is chosen by it.
        folder: Where checkpoints go.
        epochs: How often `train` is gone through.
        learning_rate: The peak.
        batch_size: Examples for each step.
        seed: Of the order of the examples.
        label: Name of the column that the model is to predict.
        report_to: Where to watch the curves.
        **settings: All else that `TrainingArguments` takes.
    """
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.05,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=4 * batch_size,
        accelerator_config=ONE_BATCH,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        label_names=[label],
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        seed=seed,
        report_to=report_to,
        **settings,
    )
    trainer = CheckpointingTrainer(model, arguments, train_dataset=train, eval_dataset=held_out)
    last = on_main_process(partial(newest_checkpoint, folder))
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer
