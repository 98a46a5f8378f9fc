"""What the pet-detector recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staged_training.experiment.outcome import Outcome, Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import fold_numbers
from staged_training.reporting.classifier_report import add_training
from staged_training.reporting.hub import OWN_LICENSE, Task, usage_with_code, write_card
from staged_training.reporting.report import (
    Report,
    as_code,
    as_markdown,
    markdown_table,
    results_table,
    tested_on,
    write_results,
)
from staged_training.runtime.printable import shell_path
from vision_transfer.detection.evaluation import METRICS, Boxes, best_overlaps
from vision_transfer.detection.task import DetectionTask

LICENSE = (
    "Apache-2.0, as the weights that it was trained from (EfficientNet-Lite, Tan and Le 2019). The "
    "photos are under CC BY-SA 4.0 (the Oxford-IIIT Pet Dataset, Parkhi et al. 2012)."
)
_SHOWN = 6


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        task: The images and their boxes.
        licensed: Whether the licenses of photos and weights are known.
        backbone: The pretrained model.
        size: Height and width of what the model sees, in pixels.
        views: Augmented views of each training image.
        rows: The table of models.
        chosen: What came of the model that is kept.
        folds: Those that were tested on.
        found: By row of the task, what was found in each image of these folds.
        quick: Whether it was a quick run.
    """

    reference: str
    task: DetectionTask
    licensed: bool
    backbone: str
    size: int
    views: int
    rows: Sequence[Row]
    chosen: Outcome
    folds: Sequence[int]
    found: Mapping[int, Boxes]
    quick: bool

    @property
    def row(self) -> Row:
        """That of the model that is kept."""
        return next(row for row in self.rows if row.name == self.chosen.model)

    def what_was_done(self) -> str:
        """What was learnt from what."""
        task = self.task
        boxes = sum(map(len, task.labels))
        views = f", of each also {self.views} augmented views," if self.views else ""
        quick = " **Quick run**: fewer epochs and views." if self.quick else ""
        return (
            f"{len(task.paths):,} images{views} with {boxes:,} boxes of {', '.join(task.names)}, "
            f"stretched to {self.size} x {self.size} pixels; Faster R-CNN's head on the feature "
            f"maps of {as_code(self.backbone)}. Tested on "
            f"{tested_on(self.folds, fold_numbers(task.folds))}.{quick}"
        )

    def overlaps(self) -> dict[int, float]:
        """By row of the task, how well the best-scored box of each image lies on a true one."""
        rows = list(self.found)
        lies = best_overlaps(self.task.true_boxes(rows), [self.found[row] for row in rows])
        return dict(zip(rows, lies, strict=True))


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    report = Report(run.report, "Pet detector")
    report.section("How well boxes are found", findings.what_was_done())
    report.section("Models", _table(findings), _EXPLAINED)
    report.picture(
        "models", "average precision of each model", "plot_rows", findings.rows, "map", "AP"
    )
    _add_pictures(report, findings)
    add_training(report, findings.chosen, ("map", "AP"))
    if findings.task.skipped:
        report.section("Images left out", *(f"- {item}" for item in findings.task.skipped))
    if findings.task.problems:
        report.section("Boxes left out or cut", *(f"- {item}" for item in findings.task.problems))
    report.arguments(arguments)
    report.write()
    write_results(run.report, "pet-detector", int(arguments["seed"]), findings.rows)
    write_card(
        run.path,
        "Pet detector",
        Task("object-detection", "Pets, few labels", findings.task.source.stem, METRICS),
        findings.row,
        _card_sections(findings),
        license_id="apache-2.0" if findings.licensed else None,
        tags=["transfer-learning"],
    )


_EXPLAINED = (
    "AP is the average precision of COCO, the mean over IoU thresholds from 0.5 to 0.95: how well "
    "boxes lie. AP at IoU 0.5 asks only whether they are about there. The mean box lies at the "
    "same place in every image."
)


def _table(findings: Findings) -> str:
    return results_table(findings.rows, METRICS)


def _add_pictures(report: Report, findings: Findings) -> None:
    """Add test images with their boxes: the best, those in the middle, and the worst."""
    overlaps = findings.overlaps()
    order = sorted(overlaps, key=lambda row: -overlaps[row])
    middle = max(0, (len(order) - _SHOWN) // 2)
    parts = {"best": order[:_SHOWN], "middle": order[middle : middle + _SHOWN]}
    parts["worst"] = order[-_SHOWN:]
    task = findings.task
    true = {row: task.true_boxes([row])[0] for rows in parts.values() for row in rows}
    report.section(
        "What it finds",
        "Test images in the order of how well the box with the highest score lies on a true one "
        "(IoU, above each). True boxes are dashed; those that are found are solid, with their "
        "score.",
        markdown_table(
            ["IoU of the best-scored box", "images"],
            [
                [f"from {low:.2f} to {high:.2f}", sum(low <= v < high for v in overlaps.values())]
                for low, high in ((0.0, 0.5), (0.5, 0.75), (0.75, 0.9), (0.9, 1.01))
            ],
        ),
    )
    shown = {
        name: [
            (task.paths[row], true[row], findings.found[row], f"{overlaps[row]:.2f}")
            for row in rows
        ]
        for name, rows in parts.items()
    }
    description = "test images with true and found boxes"
    plot = "vision_transfer.detection.plots.plot_boxes"
    report.picture("boxes", description, plot, shown, task.names)


def _card_sections(findings: Findings) -> list[str]:
    names = ", ".join(map(as_markdown, findings.task.names))
    return [
        f"Finds boxes of {names} in images: Faster R-CNN (Ren et al. 2015) on "
        f"{as_code(findings.backbone)}. It was trained by NLP Transfer "
        "(`nlp-transfer run pet-detector`).",
        "## How to use it",
        usage_with_code(
            "object-detection",
            findings.reference,
            '"photo.jpg"',
            "vision_transfer",
            "'nlp-transfer[vision]'",
            "detect",
        ),
        "## How it was trained",
        findings.what_was_done(),
        "The model here is that of the first fold tested.",
        "## What it scores on images that it was not trained on",
        _table(findings),
        _EXPLAINED,
        "## Limits",
        "It sees an image stretched to a square, and finds what is much smaller than what it was "
        "trained on badly.",
        "## License",
        LICENSE if findings.licensed else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table of models and where to look."""
    print(f"\n{findings.what_was_done().replace('**', '')}\n")
    print(_table(findings))
    print(f"\nModel:  {shell_path(run.path)}\nReport: {shell_path(run.report / 'index.html')}")
