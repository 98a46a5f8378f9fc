"""Bases that learn a pretext task: each is trained, scored on held-out images, and saved."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from staged_training.experiment.tracking import end_tracking
from staged_training.runtime.files import written_whole
from staged_training.runtime.markdown import markdown_table
from vision_transfer.backbones import save_classifier, save_features
from vision_transfer.images import Photos
from vision_transfer.pretext.data import NewModel, PretrainingData
from vision_transfer.pretext.inpainting import (
    ContextEncoder,
    MaskedImages,
    filled,
    inpainting_scores,
)
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages
from vision_transfer.pretext.training import train_pretext

_SHOWN = 8  # examples of each kind
_HELD_OUT = 200  # images of the archive to score inpainting on, at most
_NOT_LEARNT = " **That is no better than {}: the base did not learn the task.**"
_IN_MEMORY = 2**30  # bytes; where photos take more, each is decoded whenever it is trained on


ROTATION = "predict which of four rotations was applied to each (RotNet, Gidaris et al. 2018)"
INPAINTING = (
    "fill holes that were cut into each (context encoder, Pathak et al. 2016, with the L1 error in "
    "the holes)"
)
"""What a base learns to do, for `describe_pretraining`."""


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
        size: Height and width of the model's input, in pixels.
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
    """Describe how well rotations are predicted: a sentence, and a table.

    Args:
        scores: From `learn_by_rotation`.
    """
    correct, total = (sum(column) for column in zip(*scores["rotations"], strict=True))
    rows = [[name, *counts] for name, counts in zip(ROTATIONS, scores["rotations"], strict=True)]
    share = correct / total
    learnt = share > 0.25 + 2 * (0.25 * 0.75 / total) ** 0.5  # two standard errors
    return [
        f"The rotation of {100 * share:.1f} % of the {total:,} rotated test photos is predicted "
        f"correctly; chance is 25 %.{'' if learnt else _NOT_LEARNT.format('chance')} "
        f"Pretraining took {scores['seconds']:.0f} seconds.",
        markdown_table(["rotation", "correct", "of"], rows),
    ]


def learn_by_inpainting(
    data: PretrainingData,
    new_model: NewModel,
    folder: Path,
    *,
    epochs: int,
    seed: int,
    report_to: str = "none",
) -> dict[str, Any]:
    """Train a base to fill holes in images; save it to `base/`, and some examples.

    Args:
        data: The archive to learn from; a tenth of it, at most 200 images, is held out.
        new_model: Makes the model.
        folder: For checkpoints, the base and the examples.
        epochs: Passes over the archive.
        seed: Random seed.
        report_to: Where to watch training.

    Returns:
        `psnr` and `ssim` of filled holes, `mean_psnr` and `mean_ssim` of holes that are filled with
        the mean of what is around them, all on `held_out` images, and `seconds`.
    """
    print("Pretraining: a base learns to fill holes in images of the archive", flush=True)
    start = time.perf_counter()
    order = np.random.default_rng(seed).permutation(len(data.archive)).tolist()
    count = min(_HELD_OUT, max(1, len(order) // 10))
    images: Any = torch.utils.data.Subset(cast(Any, data.archive), order[count:])
    held_out = MaskedImages([data.archive[row] for row in order[:count]], seed=seed)
    encoder, processor = new_model(data.labelled.names, seed=seed)
    model = ContextEncoder.around(encoder, seed=seed)
    trainer = train_pretext(
        model,
        MaskedImages(images, augment=data.labelled.augment),
        held_out,
        folder,
        epochs=epochs,
        seed=seed,
        label="mask",
        report_to=report_to,
    )
    end_tracking(report_to)
    result = trainer.predict(held_out)
    mask, made = torch.as_tensor(result.label_ids), torch.as_tensor(result.predictions)
    whole = torch.stack(list(held_out.images))
    scores = inpainting_scores(whole, made, mask)._asdict()
    baseline = inpainting_scores(whole, _mean_around(whole, mask), mask)._asdict()
    examples = {
        "original": whole,
        "masked": whole.masked_fill(mask, -1.0),
        "reconstructed": filled(whole, made, mask),
    }
    _save_examples(examples, folder)
    save_features(model.encoder, processor, folder / "base")
    return {
        **scores,
        **{f"mean_{name}": value for name, value in baseline.items()},
        "seconds": time.perf_counter() - start,
        "held_out": count,
    }


def describe_inpainting(scores: Mapping[str, Any]) -> list[str]:
    """Describe how well holes are filled, in a sentence.

    Args:
        scores: From `learn_by_inpainting`.
    """
    learnt = scores["psnr"] > scores["mean_psnr"]
    return [
        f"On {scores['held_out']} held-out images of the archive, filled holes have a PSNR of "
        f"{scores['psnr']:.1f} dB and whole images an SSIM of {scores['ssim']:.3f}; with holes "
        f"filled by the mean of what is around them, {scores['mean_psnr']:.1f} dB and "
        f"{scores['mean_ssim']:.3f}.{'' if learnt else _NOT_LEARNT.format('that mean')} "
        f"Pretraining took {scores['seconds']:.0f} seconds."
    ]


def _mean_around(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return images of one value each, the mean outside of their holes."""
    outside = ~mask
    mean = (images * outside).sum((1, 2, 3)) / (outside.sum((1, 2, 3)) * images.shape[1])
    return mean[:, None, None, None].expand_as(images)


def load_examples(folder: Path) -> dict[str, torch.Tensor]:
    """Load the examples that a base was saved with, `float32 [examples, channels, ...]`."""
    return load_file(folder / "examples.safetensors")


def _save_examples(examples: Mapping[str, torch.Tensor], folder: Path) -> None:
    with written_whole(folder / "examples.safetensors") as path:
        save_file({name: images[:_SHOWN].contiguous() for name, images in examples.items()}, path)


def _in_memory(photos: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Decode photos once for all epochs, where they fit into memory."""
    if isinstance(photos, Photos) and len(photos) * 3 * 1.5 * photos.side**2 < _IN_MEMORY:
        return list(photos)
    return photos
