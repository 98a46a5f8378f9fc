"""The part of a report that shows images: errors, and what the layers have learnt."""

import numpy as np
from numpy.typing import NDArray
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.experiment.target import Regression, label_matrix
from staged_training.reporting.classifier_report import largest_errors
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
    report: Report, task: ImageTask, rows: NDArray[np.int64], predictions: NDArray[np.float64]
) -> None:
    """Add the largest errors as thumbnails, if there are errors.

    Args:
        report: The report.
        task: The labelled images.
        rows: The rows of the images that were classified.
        predictions: What was predicted of each, `[images, outputs]`.
    """
    errors = largest_errors(task.target, task.values[rows], predictions, _SHOWN)
    if not errors:
        return
    numbers = isinstance(task.target, Regression)
    shown = [
        (
            task.paths[rows[error.row]],
            f"{error.predicted}{'' if numbers else f' {error.size:.2f}'}\nis {error.true}",
        )
        for error in errors
    ]
    description = "the largest errors: what was predicted, and what is true"
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
    groups = _groups(task)
    units = telling_units(features, np.array([*groups.values()]))[:_SHOWN]
    values = task.values
    rows = {
        f"unit {unit}\n{name}": [
            (task.paths[i], f"{features[i, unit]:.1f}, {task.target.describe_value(values[i])}")
            for i in np.argsort(-features[:, unit], kind="stable")[:_SHOWN]
        ]
        for unit, name in zip(units, groups, strict=False)
    }
    description = "the images that most activate the most telling bottleneck unit of each group"
    report.picture("units", description, plots.plot_images, rows)
    description = "all images by the first two principal components of the bottleneck"
    report.picture("projection", description, plots.plot_projection, projection(features), groups)


def _groups(task: ImageTask) -> dict[str, NDArray[np.bool]]:
    """Return which images have each label, or a small, middle or large number, `[images]` each."""
    target, values = task.target, task.values
    if not isinstance(target, Regression):
        return dict(zip(target.names, label_matrix(target, values).T, strict=True))
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    thirds = {
        "small": values <= low,
        "middle": (values > low) & (values <= high),
        "large": values > high,
    }
    return {f"{size} {target.names[0]}": rows for size, rows in thirds.items()}
