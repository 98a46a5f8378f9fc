"""Advice on labelled images: how similar to what a base was trained on, how many, what to train."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm
from transformers import default_data_collator

from staged_training import Stage
from staged_training.experiment.splits import fold_split, stratified_folds
from staged_training.experiment.target import SingleLabel
from staged_training.features.extraction import compute_features
from staged_training.heads.advisor import Advice, Ladder, Similarity, advise, label_numbers
from staged_training.heads.linear_probe import linear_probe
from staged_training.runtime.errors import InputError
from vision_transfer.backbones import load_backbone
from vision_transfer.candidates import TOP_LAYERS
from vision_transfer.image_task import ImageDataset, checked_images

SIMILAR_SPARED = 0.5
"""Features of ImageNet spare all errors that pixels make with pets, 0.89 with breeds of pets, and
none with handwritten digits. (Features of a random network are no measure: they tell less than
pixels, so that even digits seem similar.)"""


def advise_on_images(
    images: Iterable[str | Path | Image.Image],
    labels: Sequence[str] | Sequence[int],
    backbone: str = "efficientnet-lite0",
) -> Advice:
    """Measure how similar images are to what a base knows, and say which layers to train.

    Those are similar that pretrained features tell far better than pixels.

    Args:
        images: The images, or their files.
        labels: Of each, five times or more.
        backbone: As for `load_backbone`.

    Returns:
        The stages, and why. `print` shows it in words, and how to train as code.

    Raises:
        InputError: There are not as many labels as images, one is too rare, an image cannot be
            decoded, or there is no such model.

    Examples:
        >>> from PIL import Image
        >>> from vision_transfer.advice import advise_on_images
        >>> images = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")] * 10
        >>> advice = advise_on_images(images, ["red", "blue"] * 10)
        >>> advice.large, [stage.name for stage in advice.stages]
        (False, ['head'])
    """
    images = list(images)
    for number, image in enumerate(images):
        if not isinstance(image, str | Path | Image.Image):
            raise InputError(
                f"images: number {number} is of the type {type(image).__name__}. Give the path of "
                "an image, or one that Pillow opened."
            )
    numbers = label_numbers(labels, len(images))
    broken, _ = checked_images([Path(one) for one in images if not isinstance(one, Image.Image)])
    for path, reason in broken:
        raise InputError(f"{path} {reason}. Correct the path, or leave it out with its label.")
    model, processor = load_backbone(backbone, ["no", "yes"])
    dataset = ImageDataset(images, numbers, processor)
    features = compute_features(model.eval(), dataset, default_data_collator).columns["features"]
    vectors = features.flatten(1).numpy()
    bar = tqdm(dataset, "pixels", unit="image", delay=2, dynamic_ncols=True)
    pixels = np.stack([_small(image["pixel_values"]) for image in bar])
    right, of_pixels = (_probe_accuracy(part, numbers) for part in (vectors, pixels))
    errors = 1 - of_pixels
    spared = 1 - (1 - right) / errors if errors else float(right == 1)
    measure = (
        f"share of the errors of raw pixels ({of_pixels:.3f} right) that the features of "
        f"{backbone} ({right:.3f} right) spare,"
    )
    many = replace(TOP_LAYERS, name="upper half", train="backbone[-4:], head", epochs=6)
    head = Stage("head", train="head", epochs=20, learning_rate=1e-2)
    ladder = Ladder(head, TOP_LAYERS, many)
    return advise(Similarity(measure, spared, SIMILAR_SPARED), vectors, numbers, ladder)


def _small(pixel_values: torch.Tensor) -> NDArray[np.float32]:
    """Return an image in 16 x 16 pixels as a vector, a baseline without any pretraining."""
    return torch.nn.functional.adaptive_avg_pool2d(pixel_values, 16).flatten().numpy()


def _probe_accuracy(features: NDArray[np.float32], labels: Sequence[int]) -> float:
    """Accuracy of a linear probe on a fifth of the examples; another fifth chooses its `C`."""
    numbers = np.asarray(labels)
    split = fold_split(stratified_folds(labels, range(len(labels))), 0)
    values = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    train, validation, test = ((values[rows], numbers[rows]) for rows in split)
    target = SingleLabel([str(number) for number in np.unique(numbers)])
    probe = linear_probe(train, validation, target)
    return float((probe.logits(test[0]).argmax(1) == test[1]).mean())
