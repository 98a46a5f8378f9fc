"""What a base that a pretext task taught is worth: every way of learning, on few labels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training import InputError
from staged_training.experiment.parallel import run_parallel
from staged_training.experiment.run_folder import RunFolder
from staged_training.runtime.files import written_whole
from vision_transfer.backbones import load_backbone, save_classifier
from vision_transfer.few_labels import (
    LabelledImages,
    features,
    learn_from_scratch,
    learn_on_base,
    probe_roc_auc,
    roc_auc,
    stratified_sample,
)
from vision_transfer.label_efficiency import IMAGENET, SCRATCH, LabelEfficiency, Score, timed

FEATURES = "features.safetensors"

AsPhotos = Callable[[BaseImageProcessor], tuple[Dataset[Any], Dataset[Any]]]
"""The labelled images, those to train on and those to test on, for a model of ImageNet."""


@dataclass(frozen=True)
class Comparison:
    """Learning from scratch, on a base that a pretext task taught, and on one of ImageNet.

    Attributes:
        base: What the base is called.
        train: Labelled images to draw a few from.
        test: Those that are measured on, of the same labels.
        names: Of the labels.
        augment: What is done to an image of `train` each time that is learnt from it, in place of
            its transform.
        new_model: Makes a model with random weights and its processor, by a seed.
        as_photos: What a model of ImageNet sees.
        asked: The number of labels that the answer is about.
        steps: Steps of training, of 32 images each.
        scratch_rate: Peak learning rate from scratch.
        base_rate: That of all layers of the base, after its head was trained.
    """

    base: str
    train: LabelledImages
    test: LabelledImages
    names: Sequence[str]
    augment: Callable[[torch.Tensor], torch.Tensor]
    new_model: Callable[[int], tuple[PreTrainedModel, BaseImageProcessor]]
    as_photos: AsPhotos
    asked: int
    steps: int
    scratch_rate: float
    base_rate: float

    def run(
        self, run: RunFolder, base: Path, counts: Sequence[int], draws: int, seed: int
    ) -> LabelEfficiency:
        """Learn in every way with every number of labels, on all cores; what is done is kept.

        The folder of the run gets the base that was fine-tuned on the most labels, and `base/`.

        Args:
            run: Where pieces of work are kept.
            base: The folder of the base.
            counts: Numbers of labels, in ascending order.
            draws: How often each number of labels is drawn.
            seed: Of all that is random.
        """
        kept = run.runs / "features"
        run.run_cached(kept.name, partial(self.keep_features, base))
        cells = [(count, draw) for count in counts for draw in range(draws)]
        pieces = {
            name: partial(run.run_cached, name, partial(self.learn, base, kept, count, seed + draw))
            for count, draw in cells
            for name in [f"labels-{count}-draw-{draw}"]
        }
        results = run_parallel(pieces, "Learning with few labels")
        by_count: dict[int, list[dict[str, Score]]] = {count: [] for count in counts}
        for (count, _), of_json in zip(cells, results, strict=True):
            by_count[count].append({way: Score(*numbers) for way, numbers in of_json.items()})
        run.publish(run.runs / f"labels-{counts[-1]}-draw-0" / "model")
        run.publish(base, "base")
        return LabelEfficiency(self.base, by_count, self.asked)

    def keep_features(self, base: Path, folder: Path) -> None:
        """Keep what frozen bases make of all labelled images: this one, and that of ImageNet."""
        model, _ = load_backbone(base, self.names)
        found = _both_features("base", model, (self.train, self.test))
        try:
            model, processor = load_backbone("efficientnet-lite0", self.names)
            found |= _both_features("imagenet", model, self.as_photos(processor))
        except InputError as error:
            print(f"Without a model that ImageNet taught: {error}")
        with written_whole(folder / FEATURES) as path:
            save_file(found, path)

    def learn(
        self, base: Path, kept: Path, count: int, seed: int, folder: Path
    ) -> dict[str, Score]:
        """What each way of learning scores with a few labels; keeps the base fine-tuned."""
        rows = stratified_sample(self.train.labels, count, seed)
        labels = self.train.labels[rows]
        images = [self.train.images[row] for row in rows.tolist()]
        train = LabelledImages(images, labels, self.augment)
        known = load_file(kept / FEATURES)

        def probed(name: str) -> float:
            chosen, test = known[f"{name}/train"][rows].numpy(), known[f"{name}/test"].numpy()
            return probe_roc_auc((chosen, labels), (test, self.test.labels))

        def from_scratch() -> float:
            model, _ = self.new_model(seed)
            kept_in = folder / "from-scratch"
            learn_from_scratch(model, train, seed, self.steps, self.scratch_rate, kept_in)
            return roc_auc(model, self.test)

        def on_base() -> float:
            model, processor = load_backbone(base, self.names, seed)
            learn_on_base(model, train, seed, self.steps, self.base_rate, folder / "on-base")
            save_classifier(model, processor, folder / "model")
            return roc_auc(model, self.test)

        ways: dict[str, Callable[[], float]] = {
            SCRATCH: from_scratch,
            f"{self.base}, frozen": partial(probed, "base"),
            f"{self.base}, fine-tuned": on_base,
        }
        if "imagenet/train" in known:
            ways[IMAGENET] = partial(probed, "imagenet")
        return {name: timed(way) for name, way in ways.items()}


def check_counts(counts: Sequence[int]) -> None:
    """Refuse numbers of labels that are too small to learn from.

    Raises:
        InputError: One of them is, or there is none.
    """
    if not counts or min(counts) < 10:
        raise InputError(f"--counts is {list(counts)}; give numbers of 10 and more.")


def available_counts(counts: Sequence[int], data: LabelledImages) -> list[int]:
    """Those of some numbers of labels that there are, in ascending order.

    Those of which not two would be of the rarest label are left out.

    Raises:
        InputError: None is left.
    """
    least = math.ceil(2 * len(data) / np.bincount(data.labels).min())
    available = [count for count in sorted(set(counts)) if least <= count <= len(data)]
    if not available:
        raise InputError(
            f"There are {len(data)} labelled images to train on, of which {least} hold two of the "
            f"rarest label, and --counts is {list(counts)}. Give smaller --counts that are no less "
            "than this, or more labels."
        )
    return available


def _both_features(
    name: str, model: PreTrainedModel, both: tuple[Dataset[Any], Dataset[Any]]
) -> dict[str, torch.Tensor]:
    parts = zip(("train", "test"), both, strict=True)
    return {f"{name}/{part}": features(model, images) for part, images in parts}
