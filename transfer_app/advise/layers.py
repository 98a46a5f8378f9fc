"""Advice on labelled texts or images: how similar to the pretraining, how many, what to train."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import default_data_collator

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.candidates import RECURRENT_STAGES as STAGES
from nlp_transfer.defaults import SIMILAR_COVERAGE
from nlp_transfer.emails.reading import read_labelled_texts
from staged_training.experiment.splits import fold_split, stratified_folds
from staged_training.experiment.target import SingleLabel
from staged_training.features.extraction import compute_features
from staged_training.heads.advisor import Advice, Ladder, Similarity, advise
from staged_training.heads.linear_probe import linear_probe
from staged_training.runtime.printable import one_line

SIMILAR_SPARED = 0.5
"""Features of ImageNet spare all errors that pixels make with pets, 0.89 with breeds of pets, and
none with handwritten digits. (Features of a random network are no measure: they tell less than
pixels, so that even digits seem similar.)"""


def advise_on_texts(
    data: str | Path, label_column: str, text_columns: Sequence[str] | None, vectors: str
) -> Advice:
    """Advice on texts: similar are those whose running words the word vectors know.

    Raises:
        InputError: The data or the vectors cannot be read.
    """
    dataset = read_labelled_texts(data, text_columns, label_column).dataset
    texts, names = dataset["text"], sorted(set(dataset["label"]))
    tokenizer = build_vocabulary(texts, min_frequency=1)
    aligned = align(tokenizer, open_vectors(vectors))
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] or [0] for text in texts]
    features = np.stack([aligned.matrix[row].mean(0) for row in words])
    frozen, tuned = STAGES
    whole = replace(tuned, name="whole net", train="all", epochs=10)
    ladder = Ladder(frozen, tuned, whole, pretrained="embedding")
    measure = f"share of the running words that {vectors} knows,"
    similarity = Similarity(measure, aligned.coverage.tokens, SIMILAR_COVERAGE)
    return advise(similarity, features, [names.index(label) for label in dataset["label"]], ladder)


def advise_on_images(data: str | Path, label_column: str, backbone: str) -> Advice:
    """Advice on images: similar are those that pretrained features tell far better than pixels.

    Raises:
        InputError: The data or the model cannot be read.
    """
    from staged_training import Stage
    from vision_transfer.backbones import load_backbone
    from vision_transfer.candidates import TOP_LAYERS
    from vision_transfer.image_task import check_one_label, read_image_task

    task = read_image_task(data, label_column)
    check_one_label(task)
    for sentence in task.remarks:
        print(one_line(sentence), file=sys.stderr)
    model, processor = load_backbone(backbone, task.names)
    images = task.dataset(range(len(task.paths)), processor)
    features = compute_features(model.eval(), images, default_data_collator).columns["features"]
    vectors = features.flatten(1).numpy()
    bar = tqdm(images, "pixels", unit="image", delay=2, dynamic_ncols=True)
    pixels = np.stack([_small(image["pixel_values"]) for image in bar])
    right, of_pixels = (_probe_accuracy(part, task.labels) for part in (vectors, pixels))
    spared = (right - of_pixels) / max(1 - of_pixels, 1e-6)
    measure = (
        f"share of the errors of raw pixels ({of_pixels:.3f} right) that the features of "
        f"{backbone} ({right:.3f} right) spare,"
    )
    many = replace(TOP_LAYERS, name="upper half", train="backbone[-4:], head", epochs=6)
    head = Stage("head", train="head", epochs=20, learning_rate=1e-2)
    ladder = Ladder(head, TOP_LAYERS, many)
    return advise(Similarity(measure, spared, SIMILAR_SPARED), vectors, task.labels, ladder)


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
