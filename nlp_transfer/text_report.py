"""Reports on classifiers of texts: how they were measured, which was chosen, its errors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nlp_transfer.candidates import BaseKnowledge
from nlp_transfer.text_task import TextTask
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.model_card import stage_table
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_classifier_sections
from staged_training.reporting.hub import Task, usage_with_code
from staged_training.reporting.onnx_usage import text_usage
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report, results_table, tested_on
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from staged_training.stages import StageResult

POSITIVE = (
    "Rare labels: every example has the same weight in the loss (on the validation parts of the "
    "shipped texts class weights gave nothing), and epochs are chosen by average precision, which "
    "needs no threshold. The decision threshold was then tuned on validation, for macro-F1, and is "
    "stored in the model, in the bias of its head. AP is the average precision of the label that "
    "matters, over all thresholds; macro-F1 is taken at the tuned decision."
)
METHODS: dict[type[Target], str] = {
    SingleLabel: "All labels matter alike: epochs and models are chosen by the first score of the "
    "table. Macro-F1 is the mean of the F1 of all labels, rare ones too; accuracy is the share of "
    "right predictions.",
    MultiLabel: "Each label is decided by itself, at a threshold that is best for its F1 on "
    "validation and stored in the model, in the bias of its head. Macro AP is the mean of the "
    "average precision of all labels, over all thresholds; macro-F1 is the mean of their F1, and "
    "micro-F1 that of all decisions together.",
    Regression: "Numbers are learnt with mean 0 and deviation 1 over the training part; the model "
    "gives them in their own units. R² is the share of the variance that is explained, 0 for who "
    "always says the mean; Spearman is the correlation of ranks; MAE is the mean absolute error.",
}
"""How models of each kind of target are chosen, and what their scores mean."""

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
    dealt = "" if task.own_folds else ", dealt here with near-duplicates in the same one"
    too_long = f" {cut:,} texts are too long and were cut." if cut else ""
    return (
        f"{len(task.all.texts):,} texts from {as_code(task.source.name)}{_describe_values(task)}, "
        f"in {len(numbers)} folds{dealt}. Tested on {tested_on(result.folds, numbers)}; "
        f"{len(result.seeds)} seed(s). For test fold f, fold f + 1 validates and the others train."
        f"{too_long}{QUICK if quick else ''}"
    )


def _describe_values(task: TextTask) -> str:
    """Describe how often each label is there, or which numbers are, behind a comma."""
    target, values = task.target, task.values
    if isinstance(target, Regression):
        return f", each with a number, {values.min():g} to {values.max():g}"
    if isinstance(target, SingleLabel) and target.positive is not None:
        count = (values == target.positive).sum()
        return f", {count:,} of them {as_markdown(target.names[target.positive])}"
    several = ", each with any number" if isinstance(target, MultiLabel) else ""
    return (
        f"{several} of {len(target.names)} labels"
        if several
        else (f" with {len(target.names)} labels")
    )


def describe_choice(task: TextTask, result: CrossValidation) -> str:
    """Describe which model was chosen, and how much a single fold decides."""
    told = result.describe_choice()
    if len(result.folds) == 1:
        test = len(task.split(result.folds[0]).test)
        told += f" One fold, of {test:,} texts, decides little: run all folds, with several seeds."
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
    results = results_table(result.rows, titles_of(task.target))
    stages = stage_table([StageResult(**stage) for stage in result.chosen_outcomes[0].stages])
    refit = run.arguments.get("refit")
    trained_on = "all of them" if refit else "the training part of the first fold tested"
    values = {
        "labels": " or ".join(map(as_markdown, task.names)),
        "usage": describe_usage(run, task.target, json.dumps(about.example)),
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
        Task("text-classification", about.title, task.source.stem, task.target.titles),
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


def describe_usage(run: RunFolder, target: Target, example: str) -> str:
    """Describe how to use a model, and without PyTorch where `tokenizers` reads its tokenizer.

    Args:
        run: The run; its folder holds the model already.
        target: What is predicted.
        example: The text that it is to be tried on, in Python.
    """
    call = "text-classification", run.reference, example, "nlp_transfer", "nlp-transfer"
    code = [usage_with_code(*call)]
    if (run.path / "tokenizer.json").exists():
        code.append(text_usage(target.problem_type, example))
    return "\n\n".join(code)


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
    target = task.target
    matters = isinstance(target, SingleLabel) and target.positive is not None
    report = Report(folder, title)
    report.section("Method", protocol, POSITIVE if matters else METHODS[type(target)])
    report.section("Results", results_table(result.rows, titles_of(target)), choice)
    draw = plots.plot_rows, result.rows, target.metric, target.title
    report.picture("models", f"test {target.title} of each model", *draw)
    report.section("What the base knows", knowledge)
    texts = task.all.texts
    add_classifier_sections(
        report, task, result, lambda row: as_markdown(" ".join(texts[row].split())[:120])
    )
    return report


def titles_of(target: Target) -> dict[str, str]:
    """Return the columns of a table of results, with the score that models are chosen by."""
    return target.titles | {f"validation_{target.metric}": f"{target.title} on validation"}


def example_table(task: TextTask, result: CrossValidation) -> str:
    """Return five test examples as a table: score, predicted label, true label, text.

    Two have the label that matters, as far as there are so many.
    """
    target = task.target
    rows, predictions = result.pooled()
    values = task.values[rows]
    if isinstance(target, SingleLabel) and target.positive is not None:
        positive = np.flatnonzero(values == target.positive)[:2]
        others = np.flatnonzero(values != target.positive)[:3]
        shown, scores = np.concatenate([positive, others]), predictions[:, target.positive]
    else:
        shown, scores = np.arange(min(5, len(rows))), predictions.max(axis=1)
    return markdown_table(
        ["score", "predicted", "true", "text"],
        [
            [
                f"{scores[i]:.2f}",
                target.describe_prediction(predictions[i]),
                target.describe_value(values[i]),
                " ".join(task.all.texts[rows[i]].split())[:60],
            ]
            for i in sorted(shown, key=lambda i: -scores[i])
        ],
    )
