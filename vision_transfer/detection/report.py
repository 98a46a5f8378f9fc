"""Reports on detectors: how they were measured, their scores, and boxes in test images."""

from pathlib import Path

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_training
from staged_training.reporting.hub import Task, usage_with_code
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report, results_table, tested_on
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from vision_transfer.detection.candidates import DetectorCandidate
from vision_transfer.detection.evaluation import METRICS, Boxes, best_overlaps
from vision_transfer.detection.plots import plot_boxes
from vision_transfer.detection.task import DetectionTask

METRIC_NOTES = (
    "AP is the average precision of COCO, averaged over IoU thresholds from 0.5 to 0.95: it rewards"
    " boxes that fit well, while AP at IoU 0.5 accepts those that fit roughly. The mean box is the "
    "average of the training boxes, predicted for every image."
)
_SHOWN = 6
_BANDS = ((0.0, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1.01))


def describe_protocol(
    candidate: DetectorCandidate, result: CrossValidation, *, quick: bool = False
) -> str:
    """Describe how a detector was trained and measured.

    Args:
        candidate: The detector.
        result: Its results.
        quick: Whether it had fewer epochs and views than usual.
    """
    task, size = candidate.task, candidate.size
    boxes = sum(map(len, task.labels))
    views = f" (augmented views of each: {candidate.views})" if candidate.views else ""
    return (
        f"{len(task.paths):,} images{views} with {boxes:,} boxes of {', '.join(task.names)}, "
        f"stretched to {size} x {size} pixels; the head of Faster R-CNN on the feature maps of "
        f"{as_code(candidate.backbone)}. Tested on {tested_on(result.folds, task.fold_numbers)}."
        f"{' **Quick run**: fewer epochs and views.' if quick else ''}"
    )


def publish_detector(
    run: RunFolder,
    title: str,
    candidate: DetectorCandidate,
    result: CrossValidation,
    card: Path,
    *,
    dataset: str,
    licensed: bool,
) -> None:
    """Write the report and the card of a detector, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        title: The name of the model.
        candidate: The detector.
        result: Its results.
        card: The template of the card.
        dataset: The name of the data set.
        licensed: Whether the images and the pretrained weights are those that come with the recipe.
    """
    task, pipeline = candidate.task, "object-detection"
    protocol = describe_protocol(candidate, result, quick=run.arguments["quick"])
    results = results_table(result.rows, METRICS)
    package, install = "vision_transfer", "'nlp-transfer[vision]'"
    values = {
        "classes": ", ".join(map(as_markdown, task.names)),
        "backbone": candidate.backbone,
        "usage": usage_with_code(
            pipeline, run.reference, '"photo.jpg"', package, install, "detect"
        ),
        "protocol": protocol,
        "results": results,
        "metric_notes": METRIC_NOTES,
        "licensed": licensed,
    }
    publish(
        run,
        result.rows,
        result.chosen,
        detection_report(run.report, title, task, result, protocol),
        Card(
            title,
            Task(pipeline, dataset, task.source.stem, METRICS),
            card,
            values,
            tags=["transfer-learning"],
            license_id="apache-2.0" if licensed else None,
        ),
        f"{protocol.replace('**', '')}\n\n{results}",
    )


def detection_report(
    folder: Path, title: str, task: DetectionTask, result: CrossValidation, protocol: str
) -> Report:
    """Return a report on detectors; see `publish_detector`."""
    report = Report(folder, title)
    report.section("Method", protocol)
    report.section("Results", results_table(result.rows, METRICS), METRIC_NOTES)
    description = "average precision of each model"
    report.picture("models", description, plots.plot_rows, result.rows, "map", "AP")
    _add_examples(report, task, result)
    add_training(report, result.chosen_outcomes[0], ("map", "AP"))
    if task.skipped:
        report.section("Images left out", *(f"- {item}" for item in task.skipped))
    if task.problems:
        report.section("Boxes left out or clipped", *(f"- {item}" for item in task.problems))
    return report


def _add_examples(report: Report, task: DetectionTask, result: CrossValidation) -> None:
    """Add the best, median and worst test images, with their boxes."""
    rows = [row for fold in result.folds for row in task.split(fold).test]
    predictions = [boxes for outcome in result.chosen_outcomes for boxes in outcome.predictions]
    found, true = [Boxes.from_lists(boxes) for boxes in predictions], task.true_boxes(rows)
    overlaps = best_overlaps(true, found)
    order = sorted(range(len(rows)), key=lambda image: -overlaps[image])
    middle = max(0, (len(order) - _SHOWN) // 2)
    parts = {
        "best": order[:_SHOWN],
        "median": order[middle : middle + _SHOWN],
        "worst": order[-_SHOWN:],
    }
    report.section(
        "Boxes in test images",
        "Test images ordered by the IoU of the top-scoring box with a true box (given above each). "
        "True boxes are dashed, predicted boxes solid, with their scores.",
        markdown_table(
            ["IoU of the top-scoring box", "images"],
            [
                [f"from {low:.2f} to {high:.2f}", sum(low <= value < high for value in overlaps)]
                for low, high in _BANDS
            ],
        ),
    )
    shown = {
        name: [(task.paths[rows[i]], true[i], found[i], f"{overlaps[i]:.2f}") for i in part]
        for name, part in parts.items()
    }
    description = "test images with true and predicted boxes"
    report.picture("boxes", description, plot_boxes, shown, task.names)
