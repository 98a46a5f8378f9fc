"""Which way to pool slices gives the best scores of patients or series: measured, and described."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification

from staged_training.experiment.run_folder import RunFolder
from staged_training.runtime.markdown import markdown_table
from vision_transfer.ct.bags import POOLINGS, Bags, RocAuc, compare_poolings
from vision_transfer.few_labels import features, logits_and_labels
from vision_transfer.label_efficiency import IMAGENET, LabelEfficiency
from vision_transfer.pretext.comparison import FEATURES
from vision_transfer.pretext.data import LabelledBags, PretrainingData


def compare_pooled_slices(
    run: RunFolder, data: PretrainingData, efficiency: LabelEfficiency
) -> list[str]:
    """Compare how slices are pooled, on frozen features and by the classifier that is kept.

    Args:
        run: Of a `FewLabelComparison` that is done.
        data: Its data.
        efficiency: Its result.

    Returns:
        A table, and what it shows; nothing where a label is of one image each.
    """
    if data.bags is None:
        return []
    work = partial(_scores, run.runs / FEATURES, run.path, data, efficiency)
    return _described(run.run_cached("pooling", work), data.bags)


def _scores(
    stored: Path, model: Path, data: PretrainingData, efficiency: LabelEfficiency, _: Path
) -> dict[str, dict[str, RocAuc]]:
    """Return the AUC and its interval, by what slices are scored by, and how they are pooled."""
    known = {name: tensor.numpy() for name, tensor in load_file(stored).items()}
    names = {"base": efficiency.frozen, "imagenet": IMAGENET}
    found: dict[str, Any] = {
        name: compare_poolings(*_bags(data, known[f"{key}/train"], known[f"{key}/test"]))
        for key, name in names.items()
        if f"{key}/train" in known
    }
    tuned = AutoModelForImageClassification.from_pretrained(model)
    train, test = data.labelled.train, data.labelled.test
    logits, _labels = logits_and_labels(tuned, test)
    bags = _bags(data, features(tuned, train).numpy(), features(tuned, test).numpy())
    found[efficiency.tuned] = compare_poolings(*bags, logits.double().numpy())
    return found


def _bags(data: PretrainingData, train: Any, test: Any) -> tuple[Bags, Bags]:
    assert data.bags
    return (
        Bags(train, data.labelled.train.labels, *data.bags.train),
        Bags(test, data.labelled.test.labels, *data.bags.test),
    )


def _described(scores: Mapping[str, Any], bags: LabelledBags) -> list[str]:
    rows = [
        [name, *(str(RocAuc(*cast(Any, areas[how]))) for how in POOLINGS)]
        for name, areas in scores.items()
    ]
    counts = [len(np.unique(numbers)) for numbers, _ in (bags.train, bags.test)]
    plural = {"patient": "patients", "series": "series"}[bags.kind]
    return [
        markdown_table(["slices scored by", *POOLINGS], rows),
        f"AUC by {bags.kind} (95 % interval, bootstrap over patients) on {counts[1]} {plural}, "
        f"learnt from all slices of {counts[0]} others. The labels are of {plural}. Their slices "
        "are pooled by the mean of their logits, by the largest of each label, or by attention on "
        "their features (Ilse et al. 2018). `predict` pools by the mean.",
    ]
