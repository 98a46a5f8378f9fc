"""What the pet-classifier recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.experiment.outcome import Outcome, Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.features.store import FeatureDataset
from staged_training.heads.familiarity import Familiarity
from staged_training.heads.head_search import Trial
from staged_training.reporting.classifier_report import add_classifier_sections, add_learning_curve
from staged_training.reporting.hub import OWN_LICENSE, Task, usage, usage_with_code, write_card
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
from vision_transfer.backbones import Bottleneck
from vision_transfer.classification import MlpHeadForImageClassification
from vision_transfer.image_report import add_error_pictures, add_inspection
from vision_transfer.image_task import ImageTask

CARD_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
LICENSE = (
    "The weights are under Apache-2.0. They began as EfficientNet-Lite (Apache-2.0) trained on "
    "ImageNet, and were tuned on photos under CC BY-SA 4.0 (the Oxford-IIIT Pet Dataset, Parkhi et "
    "al. 2012)."
)
TITLES = CARD_METRICS | {"validation_accuracy": "accuracy on validation"}


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        task: The labelled images.
        licensed: Whether images and weights are those that come with the recipe.
        backbone: The name of the pretrained model.
        bottleneck: The layer whose output the head reads.
        rows: The table of models.
        grids: What each setting of each head scored on the first fold.
        chosen: The first outcome of the model that validation chose.
        folds: The folds that were tested on.
        refit: Whether the model that is kept was fitted to all images.
        model: The model that is kept.
        processor: Its preprocessing.
        features: The features that it gives of all images.
        known: What a model of the first fold is familiar with.
    """

    reference: str
    task: ImageTask
    licensed: bool
    backbone: str
    bottleneck: Bottleneck
    rows: list[Row]
    grids: Mapping[str, Sequence[Trial]]
    chosen: Outcome
    folds: list[int]
    refit: bool
    model: PreTrainedModel
    processor: BaseImageProcessor
    features: FeatureDataset
    known: Familiarity

    @property
    def has_own_head(self) -> bool:
        """Whether the head is one of this package, and not known to `transformers`."""
        return isinstance(self.model, MlpHeadForImageClassification)

    @property
    def row(self) -> Row:
        """The row of the model that validation chose."""
        return next(row for row in self.rows if row.name == self.chosen.model)

    def protocol(self) -> str:
        """On what the models were measured."""
        task, numbers = self.task, self.task.fold_numbers
        left_out = f" {len(task.skipped)} images could not be decoded." if task.skipped else ""
        source = as_code(task.source.name)
        images = f"{len(task.paths):,} images from {source}, {len(task.names)} labels"
        if numbers == [0]:
            train, validation, test = map(len, task.split(0))
            return (
                f"{images}, in the parts that came with them: {train:,} train, {validation:,} "
                f"validate, {test:,} test.{left_out}"
            )
        dealt = "" if task.own_folds else ", dealt here with copies of a file in the same one"
        return (
            f"{images}, in {len(numbers)} folds{dealt}. Tested on "
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

    def use_of_base(self) -> str:
        """How the base was used."""
        return (
            f"The base, {self.backbone}, was frozen whole and saw each image once: its bottleneck "
            f"`{self.bottleneck.name}` gives {self.bottleneck.width:,} numbers for an image, and "
            "all heads of all folds were fitted to these."
        )

    def images(self) -> str:
        """How many images could not be used, and how many were unusual."""
        task = self.task
        unusual = ", ".join(f"{count:,} {way}" for way, count in task.unusual.items())
        left_out = f"{len(task.skipped)} images could not be decoded and were left out."
        notes = "".join(f" {note}" for note in task.notes)
        return f"{left_out} Unusual, but read: {unusual or 'none'}.{notes}"

    def abstention(self) -> str:
        """How often the model leaves an image to people, and how often it is right otherwise."""
        test = self.task.split(self.folds[0]).test
        known = self.known.similarity(self.features.rows(test).columns["features"])
        answered = (known >= self.known.threshold).numpy()
        predicted = np.asarray(self.chosen.probabilities).argmax(1)
        right = (predicted == np.asarray(self.task.labels)[test])[answered].mean()
        return (
            "An image is answered if its features come near to those of a training image (cosine "
            f"similarity of {self.known.threshold:.2f} or more, at which 95 % of the validation "
            "images are answered). All others are marked `neither, look`: scores compare the "
            "labels with each other and are high for a fox as well. Of the test images of the "
            f"first fold {answered.mean():.1%} are answered, {right:.1%} of these right."
        )


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    task = findings.task
    test = task.split(findings.folds[0]).test
    report = Report(run.report, "Pet classifier")
    report.section("What was done", findings.protocol(), findings.use_of_base(), findings.images())
    report.section("What came of it", results_table(findings.rows, TITLES), findings.choice())
    report.picture(
        "models", "test accuracy of each model", "plot_rows", findings.rows, "accuracy", "accuracy"
    )
    _add_grids(report, findings)
    add_classifier_sections(
        report,
        findings.chosen,
        [task.labels[row] for row in test],
        task.names,
        None,
        [task.paths[row].name for row in test],
        ("accuracy", "accuracy"),
    )
    add_error_pictures(report, task, test, findings.chosen.probabilities)
    report.section("When it does not know", findings.abstention())
    vectors = findings.features.columns["features"].flatten(1).numpy()
    add_inspection(report, findings.model, findings.processor, task, vectors, int(test[0]))
    split = task.split(findings.folds[0])
    parts = [
        (vectors[rows], np.asarray(task.labels)[rows]) for rows in (split.train, split.validation)
    ]
    add_learning_curve(report, parts[0], parts[1], len(task.names))
    if task.skipped:
        report.section("Images left out", *(f"- {item}" for item in task.skipped))
    report.arguments(arguments)
    report.write()
    write_results(run.report, "pet-classifier", int(arguments["seed"]), findings.rows)
    write_card(
        run.path,
        "Pet classifier",
        Task("image-classification", "Pets, few labels", task.source.stem, CARD_METRICS),
        findings.row,
        _card_sections(findings),
        license_id="apache-2.0" if findings.licensed else None,
        tags=["transfer-learning"],
    )


def _add_grids(report: Report, findings: Findings) -> None:
    """Add what every setting of every head scored."""
    report.section(
        "How the heads were chosen",
        "On the validation part of the first fold tested. The most accurate setting of each head "
        "is taken, and of equals the one with the smaller loss. Strength: the larger the number, "
        "the weaker the L2 penalty of the linear probe.",
        markdown_table(
            ["head", "setting", "accuracy", "loss"],
            [
                [name, settings_of(trial), f"{trial.accuracy:.3f}", f"{trial.loss:.3f}"]
                for name, grid in findings.grids.items()
                for trial in grid
            ],
        ),
    )


def settings_of(trial: Trial) -> str:
    """The values of a trial, in words."""
    return ", ".join(f"{name} {value:g}" for name, value in trial.settings.items())


def _card_sections(findings: Findings) -> list[str]:
    trained_on = "all of them" if findings.refit else "the training part of the first fold tested"
    return [
        f"A classifier of images: {', '.join(map(as_markdown, findings.task.names))}. It was "
        "trained by NLP Transfer (`nlp-transfer run pet-classifier`).",
        "## How to use it",
        *_usage(findings),
        "## How it was trained",
        f"{findings.protocol()} {findings.use_of_base()} "
        f"The model here was trained on {trained_on}.",
        "## What it scores on images that it was not trained on",
        results_table(findings.rows, TITLES),
        findings.choice(),
        "## Limits",
        "It gives one of its labels to every image, also to one that shows none of them. "
        "`nlp-transfer predict` marks those by `familiarity.safetensors`, which `pipeline` does "
        f"not read. {findings.abstention()}",
        "## License",
        LICENSE if findings.licensed else OWN_LICENSE,
    ]


def _usage(findings: Findings) -> list[str]:
    """How to use the model; it comes with code if its head is one of this package."""
    asked = "image-classification", findings.reference, '"photo.jpg"'
    if not findings.has_own_head:
        return [usage(*asked)]
    return [usage_with_code(*asked, "vision_transfer", "'nlp-transfer[vision]'")]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table of models and where to look."""
    print(f"\n{findings.protocol()}\n")
    print(results_table(findings.rows, TITLES), "\n")
    print(findings.choice().replace("**", ""))
    print(f"\nModel:  {shell_path(run.path)}\nReport: {shell_path(run.report / 'index.html')}")
