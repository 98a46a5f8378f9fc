"""Reports on classifiers of texts: how they were measured, which was chosen, its errors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nlp_transfer.candidates import BaseKnowledge
from nlp_transfer.text_task import TextTask
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.model_card import stage_table
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_classifier_sections
from staged_training.reporting.hub import Task, usage_with_code
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report, results_table, tested_on
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
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
    """Describe how the models were measured.

    Args:
        task: The labelled texts.
        result: The results of the candidates.
        cut: How many texts are longer than a model can read.
        quick: Whether every stage had one epoch only.
    """
    numbers = task.fold_numbers
    positive = task.all.labels.count(task.positive)
    dealt = "" if task.own_folds else ", dealt here with near-duplicates in the same one"
    too_long = f" {cut:,} texts are too long and were cut." if cut else ""
    return (
        f"{len(task.all.texts):,} texts from {as_code(task.source.name)}, {positive:,} of them "
        f"{task.names[task.positive]}, in {len(numbers)} folds{dealt}. Tested on "
        f"{tested_on(result.folds, numbers)}; {len(result.seeds)} seed(s). For test fold f, "
        f"fold f + 1 validates and the others train.{too_long}{QUICK if quick else ''}"
    )


def describe_choice(task: TextTask, result: CrossValidation) -> str:
    """Describe which model was chosen, and how much a single fold decides."""
    told = f"Validation chose **{result.chosen.name}** ({result.describe_scores(result.chosen)})."
    if len(result.folds) == 1:
        _, _, test = task.parts(result.folds[0])
        positive = test.labels.count(task.positive)
        told += (
            f" One fold, with {positive} texts of the label {task.names[task.positive]}, decides "
            "little: run all folds, with several seeds."
        )
    return told


class About(NamedTuple):
    """What the report and the card say of a classifier of texts.

    Attributes:
        title: What it is called.
        card: The template of its card.
        example: A text to try it on.
        tags: Tags for the Hub.
        shipped: Whether it was trained on the texts that come with the recipe.
        licensed: Whether what it began as comes with it, too.
    """

    title: str
    card: Path
    example: str
    tags: Sequence[str]
    shipped: bool
    licensed: bool


def publish_text_classifier(
    run: RunFolder,
    task: TextTask,
    result: CrossValidation,
    about: About,
    base: BaseKnowledge,
    gains: Sequence[str] = (),
) -> None:
    """Write the report and the card of a classifier of texts, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        task: The labelled texts.
        result: The results of the candidates.
        about: What the report and the card say of the model.
        base: What the base knows of the texts.
        gains: What else the scores show, in sentences.
    """
    protocol = describe_protocol(task, result, cut=base.cut, quick=run.arguments["quick"])
    choice = " ".join([describe_choice(task, result), *gains])
    usage = ("text-classification", run.reference, json.dumps(about.example))
    results = results_table(result.rows, TITLES)
    stages = stage_table([StageResult(**stage) for stage in result.chosen_outcomes[0].stages])
    refit = run.arguments.get("refit")
    trained_on = "all of them" if refit else "the training part of the first fold tested"
    values = {
        "labels": " or ".join(map(as_markdown, task.names)),
        "usage": usage_with_code(*usage, "nlp_transfer", "nlp-transfer"),
        "protocol": protocol,
        "trained_on": trained_on,
        "stages": stages,
        "results": results,
        "choice": choice,
        "shipped": about.shipped,
        "licensed": about.licensed,
    }
    card = Card(
        about.title,
        Task("text-classification", about.title, task.source.stem, METRICS),
        about.card,
        values,
        about.tags,
        license_id="apache-2.0" if about.licensed else None,
        language="en" if about.shipped else None,
    )
    report = text_report(run.report, about.title, task, result, protocol, choice, base.description)
    examples = "Five test examples: score, predicted label, true label, text.\n"
    examples += example_table(task, result)
    summary = [protocol, stages, results, choice.replace("**", ""), examples]
    publish(run, result.rows, result.chosen, report, card, "\n\n".join(summary))


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
    report.section("Method", protocol, BALANCE)
    report.section(
        "Results",
        results_table(result.rows, TITLES),
        choice,
        "AP is the average precision of the label that matters, over all thresholds; macro-F1 is "
        "taken at the decision that was best on validation.",
    )
    report.picture("models", "test AP of each model", plots.plot_rows, result.rows, METRIC, "AP")
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
