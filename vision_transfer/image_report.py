"""The part of a report that shows images: errors, and what the layers have learnt."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.reporting.report import Report
from vision_transfer import plots
from vision_transfer.image_task import ImageTask
from vision_transfer.inspection import (
    activation_maps,
    first_filters,
    projection,
    telling_units,
)

_SHOWN = 6


def add_error_pictures(
    report: Report, task: ImageTask, rows: NDArray[np.int64], probabilities: ArrayLike
) -> None:
    """Add the most confident errors as thumbnails, if there are errors.

    Args:
        report: The report.
        task: The labelled images.
        rows: The rows of the images that were classified.
        probabilities: Of each label for each of them, `[images, labels]`.
    """
    probabilities = np.asarray(probabilities)
    predicted, scores = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != np.asarray(task.labels)[rows])
    worst = wrong[np.argsort(-scores[wrong], kind="stable")][:_SHOWN]
    if not len(worst):
        return
    shown = [
        (
            task.paths[rows[i]],
            f"{task.names[predicted[i]]} {scores[i]:.2f}\nis {task.names[task.labels[rows[i]]]}",
        )
        for i in worst
    ]
    description = "the most confident errors: predicted and true label"
    report.picture("errors", description, plots.plot_images, {"errors": shown})


def add_inspection(
    report: Report,
    model: PreTrainedModel,
    processor: BaseImageProcessor,
    task: ImageTask,
    features: NDArray[np.float32],
    example: int,
) -> None:
    """Add what a model has learnt, from its first filters to its bottleneck.

    Args:
        report: The report.
        model: The model.
        processor: Its preprocessing.
        task: The labelled images.
        features: What the bottleneck gives of all images, `[images, width]`.
        example: The row of the image whose activations are shown.
    """
    report.section(
        "Learnt features",
        "The layers at the bottom are general: their filters find edges and colours. Those at the "
        "top are specific: their units distinguish kinds of things.",
    )
    filters = first_filters(model)
    if filters is not None:
        report.picture("filters", "first-layer filters", plots.plot_filters, filters)
    pixels = task.dataset([example], processor)[0]["pixel_values"]
    if maps := activation_maps(model, pixels[None].to(model.device)):
        description = "where the layers are active in one image, from bottom to top"
        report.picture(
            "activations", description, plots.plot_activations, task.paths[example], maps
        )
    units = telling_units(features, task.labels, len(task.names))[:_SHOWN]
    rows = {
        f"unit {unit}\n{name}": [
            (task.paths[i], f"{features[i, unit]:.1f}, {task.names[task.labels[i]]}")
            for i in np.argsort(-features[:, unit], kind="stable")[:_SHOWN]
        ]
        for unit, name in zip(units, task.names, strict=False)
    }
    description = "the images that most activate the most telling bottleneck unit of each label"
    report.picture("units", description, plots.plot_images, rows)
    description = "all images by the first two principal components of the bottleneck"
    report.picture(
        "projection",
        description,
        plots.plot_projection,
        projection(features),
        task.labels,
        task.names,
    )
