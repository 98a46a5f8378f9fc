"""An epoch of a detector's head on stored feature maps, against one that computes them anew.

The 222 photos of pets that fold 0 trains on, Faster R-CNN's head on a frozen EfficientNet-Lite0 at
256 pixels, batches of 16. Both contestants are the same `Trainer` on the same model, one of them
within `on_features`; the base is laid out for convolutions in both. An epoch's time is that from
its first step to its last; what computing the maps once takes is told beside it.

    pip install 'nlp-transfer[vision,detection,assets]'
    python benchmarks/stored_maps.py [--epochs 3]
"""

import argparse
import sys
import tempfile
import time

import numpy as np
from pets import PETS
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

from staged_training import freeze, on_features
from vision_transfer.detection.pretrained import fitted_anchors, load_detector
from vision_transfer.detection.task import read_detection_task

TARGET = 8


class EpochTimes(TrainerCallback):
    """The seconds of each epoch."""

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, args, state, control, **kwargs):  # noqa: D102
        self.start = time.perf_counter()

    def on_epoch_end(self, args, state, control, **kwargs):  # noqa: D102
        self.seconds.append(time.perf_counter() - self.start)


def trainer_of(folder: str, epochs: int) -> tuple[Trainer, EpochTimes]:
    task = read_detection_task(PETS, box_column="head_box")
    train = task.split(0).train
    anchors = fitted_anchors(task.true_boxes(train), 256)
    model, processor = load_detector("efficientnet-lite0", task.names, 256, **anchors)
    freeze(model, "backbone")
    times = EpochTimes()
    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=task.dataset(train, processor),
        data_collator=default_data_collator,
        callbacks=[times],
    )
    return trainer, times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as folder:
        trainer, anew = trainer_of(folder, epochs)
        trainer.train()
        trainer, stored = trainer_of(folder, epochs)
        start = time.perf_counter()
        with on_features(trainer):
            once = time.perf_counter() - start
            trainer.train()
    slow, fast = np.median(anew.seconds), np.median(stored.seconds)
    print(f"\nmaps computed in every epoch  {slow:6.2f} s an epoch")
    print(f"maps stored                   {fast:6.2f} s an epoch, {once:.1f} s once")
    met = slow >= TARGET * fast
    print(f"{slow / fast:.1f} times as fast; {TARGET} is the target: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
