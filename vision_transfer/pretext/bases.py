"""Bases that learn a pretext task: each is trained, scored on held-out images, and saved."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from staged_training.experiment.tracking import end_tracking
from staged_training.reporting.report import markdown_table
from staged_training.runtime.files import written_whole
from vision_transfer.backbones import save_classifier
from vision_transfer.images import Photos
from vision_transfer.pretext.data import NewModel, PretrainingData
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages
from vision_transfer.pretext.training import train_pretext

_SHOWN = 8  # examples of each kind
_IN_MEMORY = 2**30  # bytes; where photos take more, each is decoded whenever it is trained on


def learn_by_rotation(
    data: PretrainingData,
    new_model: NewModel,
    folder: Path,
    *,
    size: int,
    epochs: int,
    seed: int,
    report_to: str = "none",
) -> dict[str, Any]:
    """Train a base to predict how photos were rotated; save it to `base/`, and some examples.

    Args:
        data: The archive to learn from, and the test photos to score on.
        new_model: Makes the model.
        folder: For checkpoints, the base and the examples.
        size: Height and width of what the model sees, in pixels.
        epochs: Passes over the archive.
        seed: Random seed.
        report_to: Where to watch training.

    Returns:
        `rotations`, for each rotation how many photos were classified correctly and how many there
        were, and `seconds`.
    """
    print("Pretraining: a base learns to predict how photos were rotated", flush=True)
    start = time.perf_counter()
    model, processor = new_model(ROTATIONS, seed=seed)
    held_out = RotatedImages(data.labelled.test.images, size, augmented=False)
    trainer = train_pretext(
        model,
        RotatedImages(_in_memory(data.archive), size, augmented=True),
        held_out,
        folder,
        epochs=epochs,
        seed=seed,
        report_to=report_to,
    )
    end_tracking(report_to)
    result = trainer.predict(held_out)
    correct = np.argmax(result.predictions, -1) == result.label_ids
    random = np.random.default_rng(seed)
    examples = {
        name: torch.stack([held_out[int(row)]["pixel_values"] for row in chosen])
        for name, right in {"correct": correct, "wrong": ~correct}.items()
        if len(chosen := random.permutation(np.flatnonzero(right))[:_SHOWN])
    }
    _save_examples(examples, folder)
    save_classifier(model, processor, folder / "base")
    by_rotation = [correct[result.label_ids == number] for number in range(len(ROTATIONS))]
    return {
        "rotations": [[int(right.sum()), len(right)] for right in by_rotation],
        "seconds": time.perf_counter() - start,
    }


def describe_rotation(scores: Mapping[str, Any]) -> list[str]:
    """Return how well rotations are predicted: a sentence, and a table.

    Args:
        scores: From `learn_by_rotation`.
    """
    correct, total = (sum(column) for column in zip(*scores["rotations"], strict=True))
    rows = [[name, *counts] for name, counts in zip(ROTATIONS, scores["rotations"], strict=True)]
    return [
        f"The rotation of {100 * correct / total:.1f} % of the {total:,} rotated test photos is "
        f"predicted correctly; chance is 25 %. Pretraining took {scores['seconds']:.0f} seconds.",
        markdown_table(["rotation", "correct", "of"], rows),
    ]


def load_examples(folder: Path) -> dict[str, torch.Tensor]:
    """Return the examples that a base was saved with, `float32 [examples, channels, ...]`."""
    return load_file(folder / "examples.safetensors")


def _save_examples(examples: Mapping[str, torch.Tensor], folder: Path) -> None:
    with written_whole(folder / "examples.safetensors") as path:
        save_file({name: images[:_SHOWN].contiguous() for name, images in examples.items()}, path)


def _in_memory(photos: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Decode photos once for all epochs, where they fit into memory."""
    if isinstance(photos, Photos) and len(photos) * 3 * 1.5 * photos.side**2 < _IN_MEMORY:
        return list(photos)
    return photos
