"""Reports on captioners: how they were measured, their scores, and captions of test images."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_training
from staged_training.reporting.hub import Task, usage_with_code
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report, results_table, tested_on
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from vision_transfer.captioning.candidates import (
    MOST_COMMON,
    NEAREST,
    NO_IMAGE,
    RANDOM,
    CaptionerCandidate,
)
from vision_transfer.captioning.metrics import TITLES, cider_of_each
from vision_transfer.captioning.task import CaptionTask
from vision_transfer.label_efficiency import mean_interval
from vision_transfer.plots import plot_captions

METRIC_NOTES = (
    "BLEU-4, ROUGE-L and CIDEr are computed by `pycocoevalcap`, the reference implementation for "
    "COCO captions; CIDEr is CIDEr-D, at most 10. Captions are compared by their words in lower "
    "case, without punctuation; the tokenizer of COCO is not used. CIDEr weights words by how rare "
    "they are in the true captions of the photos that are scored."
)
BASELINE_NOTES = (
    "The most common caption is predicted for every photo: the most frequent training caption or, "
    "if all differ, the one that is most similar to all others. The nearest photo is the training "
    "photo with the most similar features; its first caption is predicted."
)
_TITLES = TITLES | {"validation_cider": "CIDEr on validation"}
_SHOWN = {"best": 3, "median": 4, "worst": 3}


def publish_captioner(
    run: RunFolder,
    title: str,
    candidate: CaptionerCandidate,
    result: CrossValidation,
    card: Path,
    *,
    backbone: str,
    known_words: float,
    dataset: str,
    licensed: bool,
) -> None:
    """Write the report and the card of a captioner, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        title: The name of the model.
        candidate: The captioner on word vectors.
        result: The results of it and of those on a random embedding.
        card: The template of the card.
        backbone: The name of the pretrained image model.
        known_words: Share of the words of the captions that have a word vector.
        dataset: The name of the data set.
        licensed: Whether the images and the pretrained weights are those that come with the recipe.
    """
    result, task = _without_other_controls(result), candidate.task
    protocol = describe_protocol(task, result, quick=run.arguments["quick"])
    training = describe_training(candidate, backbone)
    results = results_table(result.rows, _TITLES)
    choice = describe_choice(result)
    no_image = describe_no_image(result)
    vectors = describe_vectors(result, candidate.embedding.name, known_words)

    report = Report(run.report, title)
    report.section("Method", protocol, training)
    report.section("Results", results, choice, BASELINE_NOTES, METRIC_NOTES)
    description = "CIDEr of each model on test"
    report.picture("models", description, plots.plot_rows, result.rows, "cider", "CIDEr")
    report.section("Did the word vectors pay?", vectors)
    report.section("Does it use the image?", no_image)
    _add_examples(report, task, result)
    add_training(report, result.chosen_outcomes[0], ("cider", "CIDEr, greedy search"))
    if left_out := [*task.skipped, *task.problems]:
        report.section("Left out", *(f"- {item}" for item in left_out))

    pipeline, example = "image-text-to-text", '"photo.jpg", text=""'
    package, install = "vision_transfer", "'nlp-transfer[vision]'"
    values = {
        "usage": usage_with_code(pipeline, run.reference, example, package, install, "describe"),
        "protocol": f"{protocol} {training}",
        "results": results,
        "choice": choice,
        "no_image": no_image,
        "notes": f"{BASELINE_NOTES} {METRIC_NOTES}",
        "licensed": licensed,
    }
    publish(
        run,
        result.rows,
        result.chosen,
        report,
        Card(
            title,
            Task("image-to-text", dataset, task.source.parent.name, TITLES),
            card,
            values,
            tags=["transfer-learning", "image-captioning"],
            license_id="apache-2.0" if licensed else None,
            language="en" if licensed else None,
        ),
        f"{protocol}\n\n{results}\n\n{choice}\n{no_image}\n{vectors}".replace("**", ""),
    )


def _without_other_controls(result: CrossValidation) -> CrossValidation:
    """Return results without the control "no image", but for the chosen model."""
    kept = result.chosen.name + NO_IMAGE
    outcomes = [
        [item for item in of_fold if item.model == kept or not item.model.endswith(NO_IMAGE)]
        for of_fold in result.outcomes
    ]
    return replace(result, outcomes=outcomes)


def describe_protocol(task: CaptionTask, result: CrossValidation, *, quick: bool) -> str:
    """Describe how captioners were measured."""
    numbers, parts, rounds = task.fold_numbers, "parts to train, validate and test on", ""
    captions = sum(map(len, task.captions))
    if len(numbers) > 1:
        dealt = "" if task.own_folds else ", dealt here with copies of a file in the same fold"
        parts = f"{len(numbers)} folds{dealt}"
        rounds = (
            " For test fold f, fold f + 1 validates and the others train; each fold has its own "
            "random seed."
        )
    return (
        f"{len(task.paths):,} photos from {as_code(task.source.name)} with {captions:,} captions, "
        f"in {parts}. Tested on {tested_on(result.folds, numbers)}.{rounds}"
        f"{' **Quick run**: a tenth of the epochs.' if quick else ''}"
    )


def describe_training(candidate: CaptionerCandidate, backbone: str) -> str:
    """Describe how captioners were trained."""
    inputs = "cells of the last feature map" if candidate.attention else "bottleneck features"
    return (
        f"The {inputs} of {backbone} were computed once for each photo, and a recurrent decoder was"
        " trained on them. Its vocabulary is the words that occur at least twice in the training "
        f"captions, its word embedding {candidate.embedding.name}. Frozen: the embedding is not "
        "trained. Fine-tuned: it is trained, too, in a second stage."
    )


def describe_choice(result: CrossValidation) -> str:
    """Describe which model validation chose, and whether it beats the baselines."""
    chosen, metrics = result.chosen.name, result.chosen.metrics
    words = ("better than", "worse than", "not clearly better than")
    compared = [
        f"{_verdict(result, chosen, name, *words)} {name} "
        f"({describe_difference(result, chosen, name)})"
        for name in (MOST_COMMON, NEAREST)
    ]
    return (
        f"Validation chose **{chosen}** (CIDEr {metrics['validation_cider']:.3f} on validation, "
        f"{metrics['cider']:.3f} on test). By CIDEr it is {' and '.join(compared)}."
    )


def describe_no_image(result: CrossValidation) -> str:
    """Describe how the chosen model scores without images."""
    chosen = result.chosen.name
    blind = chosen + NO_IMAGE
    seen, unseen, common = (np.mean(_cider(result, n)) for n in (chosen, blind, MOST_COMMON))
    return (
        f"With zeros in place of the features of every photo, its CIDEr drops from {seen:.3f} to "
        f"{unseen:.3f}; that of the most common caption is {common:.3f} "
        f"({describe_difference(result, blind, MOST_COMMON)}). The rest is due to the photos."
    )


def describe_vectors(result: CrossValidation, vectors: str, known_words: float) -> str:
    """Describe whether word vectors beat random embeddings.

    Args:
        result: The results.
        vectors: The name of the embedding.
        known_words: Share of the words of the captions that have a word vector.
    """
    controls = [row for row in result.rows if row.name.startswith(RANDOM)]
    best = max(
        (row for row in controls if not row.name.endswith(NO_IMAGE)),
        key=lambda row: row.metrics["cider"],
    ).name
    frozen, control = f"{vectors}, frozen", f"{RANDOM}, frozen"
    paid = _verdict(
        result, frozen, control, "They paid", "They did harm", "It is not clear that they paid"
    )
    gains = [
        f"{describe_difference(result, f'{vectors}, {stage}', f'{RANDOM}, {stage}')} {stage}"
        for stage in ("frozen", "fine-tuned")
    ]
    why = (
        f" They know {known_words:.1%} of the words of the captions. But the decoder generates only"
        " words that it has seen at least twice in captions, each time with a photo; it has little "
        "use for knowing which words are similar, which is all that the vectors add."
    )
    return (
        f"**{paid}**: the CIDEr of {vectors} minus that of a random embedding is "
        f"{' and '.join(gains)}; minus that of the best random one ({best}), "
        f"{describe_difference(result, frozen, best)} frozen.{'' if paid == 'They paid' else why}"
    )


def _cider(result: CrossValidation, model: str) -> list[float]:
    """Return the CIDEr of a model on each fold."""
    outcomes = [item for of_fold in result.outcomes for item in of_fold if item.model == model]
    return [item.metrics["cider"] for item in outcomes]


def _difference(result: CrossValidation, one: str, other: str) -> tuple[float, float, float]:
    """Return the mean difference of the CIDEr of two models, and its 95 % interval over folds."""
    gains = np.subtract(_cider(result, one), _cider(result, other))
    if len(gains) == 1:
        return float(gains[0]), -np.inf, np.inf
    return float(gains.mean()), *mean_interval(gains)


def _verdict(
    result: CrossValidation, one: str, other: str, above: str, below: str, unclear: str
) -> str:
    """Return which of three phrases the interval of a difference supports."""
    _, low, high = _difference(result, one, other)
    return above if low > 0 else below if high < 0 else unclear


def describe_difference(result: CrossValidation, one: str, other: str) -> str:
    """Describe the mean difference of the CIDEr of two models, with its interval."""
    mean, low, high = _difference(result, one, other)
    interval = f", 95 % interval {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
    return f"{mean:+.3f}{interval}"


def _add_examples(report: Report, task: CaptionTask, result: CrossValidation) -> None:
    """Add the captions of ten photos: the best, median and worst ones."""
    captions = result.chosen_outcomes[0].predictions
    test = task.split(result.folds[0]).test
    cider = cider_of_each(captions, task.captions_of(test))
    order = np.argsort(-cider, kind="stable").tolist()
    middle = (len(order) - _SHOWN["median"]) // 2
    examples = {
        "best": order[: _SHOWN["best"]],
        "median": order[middle : middle + _SHOWN["median"]],
        "worst": order[-_SHOWN["worst"] :],
    }
    report.section(
        "Ten captions",
        f"Of the {len(test)} test photos of the first fold, the three with the best CIDEr, the four"
        " around the median and the three with the worst.",
    )
    pictures = {
        name: [(task.paths[test[i]], captions[i]) for i in part] for name, part in examples.items()
    }
    description = "ten test photos with their predicted captions"
    report.picture("captions", description, plot_captions, pictures)
    report.section(
        "Predicted and true captions",
        markdown_table(
            ["", "photo", "predicted", "true", "CIDEr"],
            [
                [
                    name,
                    task.paths[test[i]].name,
                    as_markdown(captions[i]),
                    as_markdown("; ".join(task.captions[test[i]])),
                    f"{cider[i]:.2f}",
                ]
                for name, part in examples.items()
                for i in part
            ],
        ),
    )
