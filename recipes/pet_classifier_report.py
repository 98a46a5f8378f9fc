"""What the pet-classifier recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from staged_training.classifier_report import add_classifier_sections
from staged_training.hub import Task, write_card
from staged_training.linear_probe import Trial
from staged_training.outcome import Outcome, Row
from staged_training.report import Report, markdown_table, results_table, tested_on, write_results
from staged_training.run_folder import RunFolder
from vision_transfer.backbones import Bottleneck
from vision_transfer.image_task import ImageTask

CARD_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
TITLES = CARD_METRICS | {"validation_accuracy": "accuracy on validation"}


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        task: The labelled images.
        backbone: The name of the pretrained model.
        bottleneck: The layer whose output the head reads.
        rows: The table of models.
        grid: What each strength of the linear probe scored on the first fold.
        chosen: The first outcome of the model that validation chose.
        folds: The folds that were tested on.
        refit: Whether the model that is kept was fitted to all images.
    """

    task: ImageTask
    backbone: str
    bottleneck: Bottleneck
    rows: list[Row]
    grid: Sequence[Trial]
    chosen: Outcome
    folds: list[int]
    refit: bool

    @property
    def row(self) -> Row:
        """The row of the model that validation chose."""
        return next(row for row in self.rows if row.name == self.chosen.model)

    def protocol(self) -> str:
        """On what the models were measured."""
        task, numbers = self.task, self.task.fold_numbers
        dealt = "" if task.own_folds else ", dealt here with copies of a file in the same one"
        left_out = f" {len(task.skipped)} images could not be decoded." if task.skipped else ""
        return (
            f"{len(task.paths):,} images from `{task.source.name}`, {len(task.names)} labels, in "
            f"{len(numbers)} folds{dealt}. Tested on "
            f"{tested_on(self.folds, numbers)}. For test fold f, fold f + 1 "
            f"validates and the others train.{left_out}"
        )

    def choice(self) -> str:
        """Which model was chosen."""
        metrics = self.row.metrics
        return (
            f"Validation chose **{self.chosen.model}** (accuracy "
            f"{metrics['validation_accuracy']:.3f} on validation, {metrics['accuracy']:.3f} on "
            "test)."
        )

    def features(self) -> str:
        """How the base was used."""
        return (
            f"The base, {self.backbone}, was frozen whole and saw each image once: its bottleneck "
            f"`{self.bottleneck.name}` gives {self.bottleneck.width:,} numbers for an image, and "
            "all heads of all folds were fitted to these."
        )


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    task = findings.task
    test = task.split(findings.folds[0]).test
    report = Report(run.report, "Pet classifier")
    report.section("What was done", findings.protocol(), findings.features())
    report.section("What came of it", results_table(findings.rows, TITLES), findings.choice())
    report.picture(
        "models", "test accuracy of each model", "plot_rows", findings.rows, "accuracy", "accuracy"
    )
    report.section(
        "How strong a penalty the linear probe needs",
        "On the validation part of the first fold tested; the larger the number, the weaker the "
        "L2 penalty. The most accurate is taken, and of equals the one with the smaller loss.",
        markdown_table(
            ["strength", "accuracy", "loss"],
            [
                [f"{t.settings['strength']:g}", f"{t.accuracy:.3f}", f"{t.loss:.3f}"]
                for t in findings.grid
            ],
        ),
    )
    add_classifier_sections(
        report,
        findings.chosen,
        [task.labels[row] for row in test],
        task.names,
        None,
        [task.paths[row].name for row in test],
        ("accuracy", "accuracy"),
    )
    if task.skipped:
        report.section(
            "Images left out", *(f"- {item.path.name} {item.reason}" for item in task.skipped)
        )
    report.section("Arguments", *(f"- `{name}`: `{value}`" for name, value in arguments.items()))
    report.write()
    write_results(run.report, "pet-classifier", int(arguments["seed"]), findings.rows)
    write_card(
        run.path,
        "Pet classifier",
        Task("image-classification", "Pets, few labels", task.source.stem, CARD_METRICS),
        findings.row,
        _card_sections(findings),
        license_id="apache-2.0",
        tags=["transfer-learning"],
    )


def _card_sections(findings: Findings) -> list[str]:
    trained_on = "all of them" if findings.refit else "the training part of the first fold tested"
    return [
        f"A classifier of images: {', '.join(findings.task.names)}. It was trained by NLP Transfer "
        "(`nlp-transfer run pet-classifier`).",
        "## How to use it",
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("image-classification", model="THIS_MODEL")\n'
        'classify("photo.jpg")\n```',
        "## How it was trained",
        f"{findings.protocol()} {findings.features()} The model here was trained on {trained_on}.",
        "## What it scores on images that it was not trained on",
        results_table(findings.rows, TITLES),
        findings.choice(),
        "## Limits",
        "It gives one of its labels to every image, also to one that shows none of them.",
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table of models and where to look."""
    print(f"\n{findings.protocol()}\n")
    print(results_table(findings.rows, TITLES), "\n")
    print(findings.choice().replace("**", ""))
    print(f"\nModel:  {run.path}\nReport: {run.report / 'report.md'}")
