"""Reports on classifiers of images: how they were measured, which was chosen, its errors."""

from pathlib import Path

import numpy as np
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.target import Regression, SingleLabel, Target
from staged_training.heads.familiarity import WRONG, familiarity
from staged_training.heads.head_search import Trial
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import (
    add_classifier_sections,
    add_learning_curve,
    describe_choice,
    difference_table,
)
from staged_training.reporting.hub import Task, usage, usage_with_code
from staged_training.reporting.onnx_usage import image_usage
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import QUICK, Report, results_table, tested_on
from staged_training.reporting.targets import (
    all_labels,
    describe_method,
    describe_values,
    titles_of,
)
from staged_training.reporting.trust import add_trust, describe_trust
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from vision_transfer.backbones import bottleneck
from vision_transfer.candidates import BackboneCandidate, SavedClassifier
from vision_transfer.classification import MlpHeadForImageClassification
from vision_transfer.image_report import add_error_pictures, add_inspection
from vision_transfer.image_task import ImageTask
from vision_transfer.preprocessing import resized_side


def describe_protocol(task: ImageTask, result: CrossValidation, *, quick: bool = False) -> str:
    """Describe how the models were measured; in a quick run every stage had one epoch only."""
    numbers = task.fold_numbers
    source = as_code(task.source.name)
    images = f"{len(task.paths):,} images from {source}{describe_values(task)}"
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
        f"{QUICK if quick else ''}"
    )


def describe_images(task: ImageTask) -> str:
    """Describe whether all images were readable, and which were converted."""
    readable = "" if task.skipped else "All images were readable. "
    unusual = ", ".join(f"{count:,} {way}" for way, count in task.unusual.items())
    converted = f"Converted while they were read: {unusual}. " if unusual else ""
    return f"{readable}{converted}{' '.join(task.notes)}".strip()


def describe_base(candidate: BackboneCandidate) -> str:
    """Describe how the base was used."""
    layer = bottleneck(candidate.base[0])
    return (
        f"The base, {candidate.backbone}, was frozen as a whole and saw each image once: its "
        f"bottleneck `{layer.name}` gives {layer.width:,} numbers for an image, and all heads of "
        "all folds were fitted to these."
    )


def describe_training_part(result: CrossValidation, saved: SavedClassifier) -> str:
    """Describe which images the saved model was trained on."""
    if saved.split is None:
        return "all of them"
    part = "the training part of the first fold tested"
    if result.refits:
        return part
    return f"{part}, as validation chose fine-tuned layers, whose best epoch it has to choose too"


def describe_abstention(task: ImageTask, result: CrossValidation, saved: SavedClassifier) -> str:
    """Describe how many test images a model classifies, and how well.

    Only a frozen base gives the same features on all folds; of another model the first fold counts.
    """
    vectors, target = saved.features.columns["features"], task.target
    folds = result.folds if result.refits else result.folds[:1]
    accepted = []
    for train, validation, test in map(task.split, folds):
        known = familiarity(vectors[train], vectors[validation])
        accepted.append(known.similarity(vectors[test]) >= known.threshold)
    answered = np.concatenate(accepted)
    rows, predictions = (part[: len(answered)] for part in result.pooled())
    score = target.scores(task.values[rows[answered]], predictions[answered])[target.metric]
    part = "all folds" if len(folds) > 1 else "the first fold tested"
    why = "scores only compare the labels with each other, and are high for a fox, too"
    if isinstance(target, Regression):
        why = "there is a number for every image, for one of something else, too"
    return (
        "An image is answered if its features are like those of the training images (a cosine "
        f"similarity of {saved.known.threshold:.2f} or more to their directions, set so that a "
        f"wrong answer may cost {WRONG} times what declining a right one does). All others are "
        f"out of distribution and marked `not sure: please look`: {why}. "
        f"Of the test images of {part} {answered.mean():.1%} are answered; their {target.title} is "
        f"{score:.3f}."
    )


def publish_image_classifier(
    run: RunFolder,
    title: str,
    card: Path,
    result: CrossValidation,
    saved: SavedClassifier,
    *,
    licensed: bool = False,
) -> None:
    """Write the report and the card of a classifier of images, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        title: What the model is called.
        card: The template of its card.
        result: The scores of a `BackboneCandidate`.
        saved: The model that was chosen.
        licensed: Whether images and weights are those that come with the recipe.
    """
    candidate = result.chosen_candidate
    assert isinstance(candidate, BackboneCandidate)
    task, target = candidate.task, candidate.task.target
    protocol = describe_protocol(task, result, quick=run.arguments["quick"])
    base = describe_base(candidate)
    results, choice = results_table(result.rows, titles_of(target)), describe_choice(result)
    abstention = describe_abstention(task, result, saved)
    report = Report(run.report, title)
    report.section("Method", protocol, base, describe_method(target), describe_images(task))
    report.section("Results", results, choice)
    report.section("How far the others are behind", difference_table(result))
    draw = plots.plot_rows, result.rows, target.metric, target.title
    report.picture("models", f"test {target.title} of each model", *draw)
    _add_sections(report, candidate, result, saved, abstention)
    values = {
        "labels": ", ".join(map(as_markdown, task.names)),
        "numbers": isinstance(target, Regression),
        "usage": describe_usage(saved.model, candidate.base[1], run.reference, target),
        "protocol": protocol,
        "base": base,
        "trained_on": describe_training_part(result, saved),
        "results": results,
        "choice": choice,
        "abstention": abstention,
        "trust": describe_trust(result, refitted=saved.split is None),
        "licensed": licensed,
    }
    about = Task("image-classification", title, task.source.stem, target.titles)
    license_id = "apache-2.0" if licensed else None
    filled = Card(title, about, card, values, ["transfer-learning"], license_id)
    summary = "\n\n".join([protocol, results, choice.replace("**", "")])
    publish(run, result.rows, result.chosen, report, filled, summary)


def describe_usage(
    model: PreTrainedModel, processor: BaseImageProcessor, reference: str, target: Target
) -> str:
    """Describe how to use a classifier, and without PyTorch where Pillow can prepare its images.

    One with a head of this package comes with its code.
    """
    example = '"photo.jpg"'
    call, options = ("image-classification", reference, example), all_labels(target)
    if isinstance(model, MlpHeadForImageClassification):
        code = [
            usage_with_code(*call, "vision_transfer", "'nlp-transfer[vision]'", options=options)
        ]
    else:
        code = [usage(*call, options=options)]
    if resized_side(processor):
        code.append(image_usage(target.problem_type, example))
    return "\n\n".join(code)


def _add_sections(
    report: Report,
    candidate: BackboneCandidate,
    result: CrossValidation,
    saved: SavedClassifier,
    abstention: str,
) -> None:
    """Add how the heads were chosen, and what the chosen model gets wrong and has learnt."""
    task = candidate.task
    split = task.split(result.folds[0])
    _add_grids(report, task.target, result.outcomes[0])
    add_classifier_sections(report, task, result, lambda row: task.paths[row].name)
    add_trust(report, result, refitted=saved.split is None)
    add_error_pictures(report, task, *result.pooled())
    report.section("Out-of-distribution images", abstention)
    vectors = saved.features.columns["features"].flatten(1).numpy()
    processor = candidate.base[1]
    add_inspection(report, saved.model, processor, task, vectors, int(split.test[0]))
    if isinstance(task.target, SingleLabel):
        train, validation = ((vectors[rows], task.values[rows]) for rows in split[:2])
        add_learning_curve(report, train, validation, len(task.names))
    if task.skipped:
        report.section("Images left out", *(f"- {item}" for item in task.skipped))


def _add_grids(report: Report, target: Target, outcomes: list[Outcome]) -> None:
    """Add the validation scores of all settings of each head."""
    trials = [(found.model, Trial(**trial)) for found in outcomes for trial in found.grid]
    report.section(
        "How the heads were chosen",
        "On the validation part of the first fold tested. The setting of each head with the best "
        f"{target.title} is taken; ties go to the smaller loss. C: the larger the number, "
        "the weaker the L2 penalty of the linear probe.",
        markdown_table(
            ["head", "setting", target.title, "loss"],
            [
                [model, _settings(trial), f"{trial.score:.3f}", f"{trial.loss:.3f}"]
                for model, trial in trials
            ],
        ),
    )


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in trial.settings.items())
