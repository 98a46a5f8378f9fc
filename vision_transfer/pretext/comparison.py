"""Candidates compared on few labels: is a base that learnt a pretext task worth it?"""

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
from transformers import PreTrainedModel

from staged_training.experiment.parallel import run_parallel
from staged_training.experiment.run_folder import RunFolder
from staged_training.runtime.errors import InputError
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
from vision_transfer.pretext.data import LabelledSplit, NewModel

FEATURES = "features/features.safetensors"
"""Where a run keeps what frozen bases make of labelled images: `base/train`, `imagenet/test`."""


@dataclass(frozen=True)
class FewLabelComparison:
    """A model from scratch, a base that learnt a pretext task, and one trained on ImageNet.

    Attributes:
        base: What the base is called.
        data: The labelled images.
        new_model: Makes a model with random weights.
        asked: The number of labels that the answer is about.
        steps: Training steps, of 32 images each.
        rates: Peak learning rates: from scratch, and of all layers of the base, after its head was
            trained.
    """

    base: str
    data: LabelledSplit
    new_model: NewModel
    asked: int
    steps: int
    rates: tuple[float, float]

    def run(
        self, run: RunFolder, base: Path, counts: Sequence[int], draws: int, seed: int
    ) -> LabelEfficiency:
        """Train and score all candidates with each number of labels, on all cores.

        The folder of the run gets the base that was fine-tuned on the most labels, and `base/`.

        Args:
            run: Where finished work is kept, to go on after an interruption.
            base: The folder of the base.
            counts: Numbers of labels, in ascending order.
            draws: Number of draws for each number of labels.
            seed: Random seed of the first draw.
        """
        kept = (run.runs / FEATURES).parent
        run.run_cached(kept.name, partial(self.extract_features, base))
        cells = [(count, draw) for count in counts for draw in range(draws)]
        pieces = {
            name: partial(run.run_cached, name, partial(self.learn, base, kept, count, seed + draw))
            for count, draw in cells
            for name in [f"labels-{count}-draw-{draw}"]
        }
        results = run_parallel(pieces, "Learning with few labels")
        by_count: dict[int, list[dict[str, Score]]] = {count: [] for count in counts}
        for (count, _), scores in zip(cells, results, strict=True):
            by_count[count].append({name: Score(*score) for name, score in scores.items()})
        run.publish(run.runs / f"labels-{counts[-1]}-draw-0" / "model")
        run.publish(base, "base")
        return LabelEfficiency(self.base, by_count, self.asked)

    def extract_features(self, base: Path, folder: Path) -> None:
        """Save the features of all labelled images, of this frozen base and that of ImageNet."""
        train, test = self.data.train, self.data.test
        model, _ = load_backbone(base, self.data.names)
        found = _features_of_parts("base", model, train, test)
        try:
            model, processor = load_backbone("efficientnet-lite0", self.data.names)
            photos = [self.data.as_photos(part, processor) for part in (train, test)]
            found |= _features_of_parts("imagenet", model, *photos)
        except InputError as error:
            print(f"Without an ImageNet model: {error}")
        with written_whole(folder / Path(FEATURES).name) as path:
            save_file(found, path)

    def learn(
        self, base: Path, kept: Path, count: int, seed: int, folder: Path
    ) -> dict[str, Score]:
        """Return the scores of all candidates with a few labels; save the base fine-tuned.

        Args:
            base: The folder of the base.
            kept: That of the features.
            count: How many labels to draw.
            seed: Random seed.
            folder: For checkpoints, and `model/`.
        """
        names, test = self.data.names, self.data.test
        rows = stratified_sample(self.data.train.labels, count, seed)
        labels = self.data.train.labels[rows]
        images = [self.data.train.images[row] for row in rows.tolist()]
        train = LabelledImages(images, labels, self.data.augment)
        known = load_file(kept / Path(FEATURES).name)

        def probe(name: str) -> float:
            parts = known[f"{name}/train"][rows].numpy(), known[f"{name}/test"].numpy()
            return probe_roc_auc((parts[0], labels), (parts[1], test.labels))

        def from_scratch() -> float:
            model, _ = self.new_model(names, seed=seed)
            checkpoints = folder / "from-scratch"
            learn_from_scratch(model, train, seed, self.steps, self.rates[0], checkpoints)
            return roc_auc(model, test)

        def on_base() -> float:
            model, processor = load_backbone(base, names, seed)
            learn_on_base(model, train, seed, self.steps, self.rates[1], folder / "on-base")
            save_classifier(model, processor, folder / "model")
            return roc_auc(model, test)

        candidates: dict[str, Callable[[], float]] = {
            SCRATCH: from_scratch,
            f"{self.base}, frozen": partial(probe, "base"),
            f"{self.base}, fine-tuned": on_base,
        }
        if "imagenet/train" in known:
            candidates[IMAGENET] = partial(probe, "imagenet")
        return {name: timed(candidate) for name, candidate in candidates.items()}


def available_counts(counts: Sequence[int], data: LabelledImages) -> list[int]:
    """Return those of some numbers of labels that the data have, in ascending order.

    A number is left out where a stratified sample would not have two of the rarest label.

    Raises:
        InputError: None is left.
    """
    least = math.ceil(2 * len(data) / np.bincount(data.labels).min())
    available = [count for count in sorted(set(counts)) if least <= count <= len(data)]
    if not available:
        raise InputError(
            f"There are {len(data)} labelled images to train on, {least} of which hold two of the "
            f"rarest label, and `counts` is {list(counts)}. Give smaller `counts`, but of {least} "
            "or more; or more labels.",
            ["counts"],
        )
    return available


def _features_of_parts(
    name: str, model: PreTrainedModel, train: Dataset[Any], test: Dataset[Any]
) -> dict[str, torch.Tensor]:
    parts = {"train": train, "test": test}
    return {f"{name}/{part}": features(model, images) for part, images in parts.items()}
