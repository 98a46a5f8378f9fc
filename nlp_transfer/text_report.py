"""Reports on classifiers of texts: how they were measured, which was chosen, its errors."""

import json
from collections.abc import Sequence
from pathlib import Path

from nlp_transfer.text_task import TextTask
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.recipe import RunArguments
from staged_training.reporting.classifier_report import add_classifier_sections
from staged_training.reporting.hub import Destination, Task, usage_with_code
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import (
    Report,
    as_markdown,
    markdown_table,
    results_table,
    stage_table,
    tested_on,
)
from staged_training.stages import StageResult

METRIC = "average_precision"
METRICS = {METRIC: "AP", "macro_f1": "macro-F1"}
TITLES = METRICS | {f"validation_{METRIC}": "AP on validation"}

BALANCE = (
    "Rare labels: every example has the same weight in the loss (on the validation parts of the "
    "shipped texts class weights gave nothing), and epochs are chosen by average precision, which "
    "needs no threshold. The decision threshold was then tuned on validation, for macro-F1, and is "
    "stored in the model, in the bias of its head."
)
QUICK = " **Quick run: one epoch per stage; do not judge by it.**"


def describe_protocol(
    task: TextTask, result: CrossValidation, *, cut: int = 0, quick: bool = False
) -> str:
    """Return how the models were measured.

    Args:
        task: The labelled texts.
        result: What came of the candidates.
        cut: How many texts are longer than a model can read.
        quick: Whether every stage had one epoch only.
    """
    numbers = task.fold_numbers
    positive = task.all.labels.count(task.positive)
    dealt = "" if task.own_folds else ", dealt here with near-duplicates in the same one"
    too_long = f" {cut:,} texts are too long and were cut." if cut else ""
    return (
        f"{len(task.all.texts):,} texts from `{task.source.name}`, {positive:,} of them "
        f"{task.names[task.positive]}, in {len(numbers)} folds{dealt}. Tested on "
        f"{tested_on(result.folds, numbers)}; {len(result.seeds)} seed(s). For test fold f, "
        f"fold f + 1 validates and the others train.{too_long}{QUICK if quick else ''}"
    )


def describe_choice(task: TextTask, result: CrossValidation) -> str:
    """Return which model was chosen, and how much a single fold decides."""
    told = f"Validation chose **{result.chosen.name}** ({result.describe_scores(result.chosen)})."
    if len(result.folds) == 1:
        _, _, test = task.parts(result.folds[0])
        positive = test.labels.count(task.positive)
        told += (
            f" One fold, with {positive} texts of the label {task.names[task.positive]}, decides "
            "little: run all folds, with several seeds."
        )
    return told


def publish_text_classifier(
    run: RunFolder,
    arguments: RunArguments,
    name: str,
    title: str,
    task: TextTask,
    result: CrossValidation,
    card: Path,
    *,
    protocol: str,
    choice: str,
    knowledge: str,
    example: str,
    trained_on_all: bool,
    shipped: bool,
    licensed: bool,
    tags: Sequence[str],
    destination: Destination | None,
) -> None:
    """Write the report and the card of a classifier of texts, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        arguments: What it was asked for.
        name: The name of the recipe.
        title: What the model is called.
        task: The labelled texts.
        result: What came of the candidates.
        card: The template of the card.
        protocol: How they were measured.
        choice: Which was chosen, and what that shows.
        knowledge: What the base knows of the texts.
        example: A text to try the model on.
        trained_on_all: Whether the model was trained on all texts.
        shipped: Whether the texts are those that come with the recipe.
        licensed: Whether what it began as is, too.
        tags: Tags for the Hub.
        destination: Where on the Hub the model goes, if it does.
    """
    reference = destination.repo_id if destination else str(run.path)
    results = results_table(result.rows, TITLES)
    stages = stage_table([StageResult(**stage) for stage in result.chosen_outcomes[0].stages])
    values = {
        "labels": " or ".join(task.names),
        "usage": usage_with_code(
            "text-classification", reference, json.dumps(example), "nlp_transfer", "nlp-transfer"
        ),
        "protocol": protocol,
        "trained_on": "all of them" if trained_on_all else "the training part of the first fold",
        "stages": stages,
        "results": results,
        "choice": choice,
        "shipped": shipped,
        "licensed": licensed,
    }
    examples = "Five test examples: score, predicted label, true label, text.\n"
    examples += example_table(task, result)
    publish(
        run,
        arguments,
        name,
        result.rows,
        result.chosen,
        text_report(run.report, title, task, result, protocol, choice, knowledge),
        Card(
            title,
            Task("text-classification", title, task.source.stem, METRICS),
            card,
            values,
            tags,
            license_id="apache-2.0" if licensed else None,
            language="en" if shipped else None,
        ),
        "\n\n".join([protocol, stages, results, choice.replace("**", ""), examples]),
        destination,
    )


def text_report(
    folder: Path,
    title: str,
    task: TextTask,
    result: CrossValidation,
    protocol: str,
    choice: str,
    knowledge: str,
) -> Report:
    """Return a report of classifiers of texts; see `publish_text_classifier`."""
    _, _, test = task.parts(result.folds[0])
    report = Report(folder, title)
    report.section("What was done", protocol, BALANCE)
    report.section(
        "Results",
        results_table(result.rows, TITLES),
        choice,
        "AP is the average precision of the label that matters, over all thresholds; macro-F1 is "
        "taken at the decision that was best on validation.",
    )
    report.picture("models", "test AP of each model", "plot_rows", result.rows, METRIC, "AP")
    report.section("What the base knows", knowledge)
    examples = [as_markdown(" ".join(text.split())[:120]) for text in test.texts]
    outcome = result.chosen_outcomes[0]
    add_classifier_sections(report, outcome, test.labels, task.names, task.positive, examples)
    return report


def example_table(task: TextTask, result: CrossValidation) -> str:
    """Return five test examples as a table: score, predicted label, true label, text.

    Two have the label that matters, as far as there are so many.
    """
    _, _, test = task.parts(result.folds[0])
    probabilities = result.chosen_outcomes[0].probabilities
    positive = [row for row, label in enumerate(test.labels) if label == task.positive][:2]
    others = [row for row, label in enumerate(test.labels) if label != task.positive][:3]
    rows = sorted(positive + others, key=lambda row: -probabilities[row][task.positive])
    return markdown_table(
        ["score", "predicted", "true", "text"],
        [
            [
                f"{probabilities[row][task.positive]:.2f}",
                task.names[max(range(len(task.names)), key=probabilities[row].__getitem__)],
                task.names[test.labels[row]],
                " ".join(test.texts[row].split())[:60],
            ]
            for row in rows
        ],
    )
