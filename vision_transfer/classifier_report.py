"""Reports on classifiers of images: how they were measured, which was chosen, its errors."""

from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.run_folder import RunFolder
from staged_training.heads.head_search import Trial
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_classifier_sections, add_learning_curve
from staged_training.reporting.hub import Task, usage, usage_with_code
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report, results_table, tested_on
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from vision_transfer.backbones import Bottleneck
from vision_transfer.candidates import BackboneCandidate, SavedClassifier
from vision_transfer.classification import MlpHeadForImageClassification
from vision_transfer.image_report import add_error_pictures, add_inspection
from vision_transfer.image_task import ImageTask

METRIC = "accuracy"
METRICS = {METRIC: "accuracy", "macro_f1": "macro-F1"}
TITLES = METRICS | {f"validation_{METRIC}": "accuracy on validation"}


def describe_protocol(task: ImageTask, result: CrossValidation) -> str:
    """Describe how the models were measured."""
    numbers = task.fold_numbers
    source = as_code(task.source.name)
    images = f"{len(task.paths):,} images from {source}, {len(task.names)} labels"
    left_out = f" {len(task.skipped)} images could not be decoded." if task.skipped else ""
    if numbers == [0]:
        train, validation, test = map(len, task.split(0))
        return (
            f"{images}, in the parts that came with them: {train:,} train, {validation:,} "
            f"validate, {test:,} test.{left_out}"
        )
    dealt = "" if task.own_folds else ", dealt here with copies of a file in the same one"
    return (
        f"{images}, in {len(numbers)} folds{dealt}. Tested on {tested_on(result.folds, numbers)}. "
        f"For test fold f, fold f + 1 validates and the others train.{left_out}"
    )


def describe_images(task: ImageTask) -> str:
    """Describe whether all images were readable, and which were converted."""
    readable = "" if task.skipped else "All images were readable. "
    unusual = ", ".join(f"{count:,} {way}" for way, count in task.unusual.items())
    converted = f"Converted while they were read: {unusual}. " if unusual else ""
    return f"{readable}{converted}{' '.join(task.notes)}".strip()


def describe_base(backbone: str, layer: Bottleneck) -> str:
    """Describe how the base was used."""
    return (
        f"The base, {backbone}, was frozen as a whole and saw each image once: its bottleneck "
        f"`{layer.name}` gives {layer.width:,} numbers for an image, and all heads of all folds "
        "were fitted to these."
    )


def describe_abstention(task: ImageTask, result: CrossValidation, saved: SavedClassifier) -> str:
    """Describe how many test images the model classifies, and how many of these correctly."""
    test = task.split(result.folds[0]).test
    vectors = saved.features.columns["features"][test]
    accepted = (saved.known.similarity(vectors) >= saved.known.threshold).numpy()
    predicted = np.asarray(result.chosen_outcomes[0].probabilities).argmax(1)
    correct = (predicted == np.asarray(task.labels)[test])[accepted].mean()
    return (
        "An image is classified if its features are near those of a training image (a cosine "
        f"similarity of {saved.known.threshold:.2f} or more, which 95 % of the validation images "
        "reach). All others are out of distribution and marked `not sure: please look`: scores "
        "only compare the labels with each other, and are high for a fox, too. Of the test images "
        f"of the first fold {accepted.mean():.1%} are classified, {correct:.1%} of these correctly."
    )


def publish_image_classifier(
    run: RunFolder,
    title: str,
    card: Path,
    candidate: BackboneCandidate,
    result: CrossValidation,
    saved: SavedClassifier,
    *,
    base: str,
    licensed: bool,
) -> None:
    """Write the report and the card of a classifier of images, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        title: What the model is called.
        card: The template of its card.
        candidate: What was trained.
        result: Its scores.
        saved: The model that was chosen.
        base: How the base was used.
        licensed: Whether images and weights are those that come with the recipe.
    """
    task = candidate.task
    protocol, results = describe_protocol(task, result), results_table(result.rows, TITLES)
    choice = f"Validation chose **{result.chosen.name}** ({result.describe_scores(result.chosen)})."
    abstention = describe_abstention(task, result, saved)
    refit = run.arguments["refit"]
    part = "all of them" if refit else "the training part of the first fold tested"
    report = Report(run.report, title)
    report.section("Method", protocol, base, describe_images(task))
    report.section("Results", results, choice)
    report.picture(
        "models", "test accuracy of each model", plots.plot_rows, result.rows, METRIC, METRIC
    )
    _add_sections(report, candidate, result, saved, abstention)
    values = {
        "labels": ", ".join(map(as_markdown, task.names)),
        "usage": describe_usage(saved.model, run.reference),
        "protocol": protocol,
        "base": base,
        "trained_on": part,
        "results": results,
        "choice": choice,
        "abstention": abstention,
        "licensed": licensed,
    }
    about = Task("image-classification", title, task.source.stem, METRICS)
    license_id = "apache-2.0" if licensed else None
    filled = Card(title, about, card, values, ["transfer-learning"], license_id)
    summary = "\n\n".join([protocol, results, choice.replace("**", "")])
    publish(run, result.rows, result.chosen, report, filled, summary)


def describe_usage(model: PreTrainedModel, reference: str) -> str:
    """Describe how to use a classifier; one with a head of this package comes with its code."""
    call = "image-classification", reference, '"photo.jpg"'
    if not isinstance(model, MlpHeadForImageClassification):
        return usage(*call)
    return usage_with_code(*call, "vision_transfer", "'nlp-transfer[vision]'")


def _add_sections(
    report: Report,
    candidate: BackboneCandidate,
    result: CrossValidation,
    saved: SavedClassifier,
    abstention: str,
) -> None:
    """Add how the heads were chosen, and what the chosen model gets wrong and has learnt."""
    task, chosen = candidate.task, result.chosen_outcomes[0]
    split = task.split(result.folds[0])
    test = split.test
    _add_grids(report, result.outcomes[0])
    add_classifier_sections(
        report,
        chosen,
        [task.labels[row] for row in test],
        task.names,
        None,
        [task.paths[row].name for row in test],
        (METRIC, METRIC),
    )
    add_error_pictures(report, task, test, chosen.probabilities)
    report.section("Out-of-distribution images", abstention)
    vectors = saved.features.columns["features"].flatten(1).numpy()
    processor = candidate.base[1]
    add_inspection(report, saved.model, processor, task, vectors, int(test[0]))
    labels = np.asarray(task.labels)
    train, validation = ((vectors[rows], labels[rows]) for rows in split[:2])
    add_learning_curve(report, train, validation, len(task.names))
    if task.skipped:
        report.section("Images left out", *(f"- {item}" for item in task.skipped))


def _add_grids(report: Report, outcomes: list[Outcome]) -> None:
    """Add the validation scores of all settings of each head."""
    trials = [(found.model, Trial(**trial)) for found in outcomes for trial in found.grid]
    report.section(
        "How the heads were chosen",
        "On the validation part of the first fold tested. The most accurate setting of each head "
        "is taken; ties go to the smaller loss. C: the larger the number, the "
        "weaker the L2 penalty of the linear probe.",
        markdown_table(
            ["head", "setting", "accuracy", "loss"],
            [
                [model, _settings(trial), f"{trial.accuracy:.3f}", f"{trial.loss:.3f}"]
                for model, trial in trials
            ],
        ),
    )


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in trial.settings.items())
