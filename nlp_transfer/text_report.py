"""Reports on classifiers of texts: how they were measured, which was chosen, its errors."""

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import numpy as np

from nlp_transfer.candidates import BaseKnowledge
from nlp_transfer.text_task import TextTask
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.target import Regression, SingleLabel, Target
from staged_training.model_card import stage_table
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import (
    add_classifier_sections,
    describe_choice,
    difference_table,
)
from staged_training.reporting.hub import Task, usage_with_code
from staged_training.reporting.onnx_usage import text_usage, word_usage
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import QUICK, Report, results_table, tested_on
from staged_training.reporting.targets import (
    all_labels,
    describe_method,
    describe_target,
    describe_values,
    titles_of,
)
from staged_training.reporting.trust import add_trust, describe_trust
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from staged_training.stages import StageResult

RARE = (
    "Rare labels: unless class weights were given, every example has the same weight in the loss "
    "of nets, and the linear model on TF-IDF is balanced."
)


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
    seeds = f"{len(result.seeds)} seed{'s' if len(result.seeds) > 1 else ''}"
    too_long = f" {cut:,} texts are too long and were cut." if cut else ""
    texts = (
        f"{len(task.all.texts):,} texts from {as_code(task.source.name)}{describe_values(task)}, in"
    )
    if numbers == [0]:
        train, validation, test = map(len, task.split(0))
        return (
            f"{texts} the parts that came with them: {train:,} train, {validation:,} validate, "
            f"{test:,} test; {seeds}.{too_long}{QUICK if quick else ''}"
        )
    return (
        f"{texts} {len(numbers)} folds{dealt}. Tested on {tested_on(result.folds, numbers)}; "
        f"{seeds}. For test fold f, fold f + 1 validates and the others train."
        f"{too_long}{QUICK if quick else ''}"
    )


class About(NamedTuple):
    """What the report and the card say of a classifier of texts.

    Attributes:
        title: What it is called.
        card: The template of its card.
        example: A text to try it on.
        tags: Tags for the Hub.
        shipped: Whether it was trained on the texts that come with the recipe.
        licensed: Whether what it began as comes with it, too.
        refitted: Whether it was trained once more on all texts.
    """

    title: str
    card: Path
    example: str
    tags: Sequence[str] = ()
    shipped: bool = False
    licensed: bool = False
    refitted: bool = False


def publish_text_classifier(
    run: RunFolder,
    task: TextTask,
    result: CrossValidation,
    about: About,
    bases: Sequence[BaseKnowledge],
    gains: Sequence[str] = (),
) -> None:
    """Write the report and the card of a classifier of texts, print a summary, upload the model.

    Args:
        run: The run; its folder holds the model already.
        task: The labelled texts.
        result: The results of the candidates.
        about: What the report and the card say of the model.
        bases: What the bases know of the texts.
        gains: What else the scores show, in sentences.
    """
    cut = max((base.cut for base in bases), default=0)
    protocol = describe_protocol(task, result, cut=cut, quick=run.arguments["quick"])
    again = "The model that is published was then trained once more, on all rows." * about.refitted
    choice = " ".join(filter(None, [describe_choice(result), *gains, again]))
    results = results_table(result.rows, titles_of(task.target))
    trained = [StageResult(**stage) for stage in result.chosen_outcomes[0].stages]
    stages = stage_table(trained) if trained else "It was fitted in one step, without stages."
    part = "all of them" if about.refitted else "the training part of the first fold tested"
    values = {
        "labels": " or ".join(map(as_markdown, task.names)),
        "predicts": describe_target(task.target),
        "usage": describe_usage(run, task.target, json.dumps(about.example)),
        "protocol": protocol,
        "trained_on": part,
        "stages": stages,
        "results": results,
        "choice": choice,
        "trust": describe_trust(result, refitted=about.refitted),
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
    known = [base.description for base in bases]
    report = text_report(run.report, about.title, task, result, protocol, choice, known)
    add_trust(report, result, refitted=about.refitted)
    examples = "Five test examples:\n"
    examples += example_table(task, result)
    summary = [protocol, stages, results, choice.replace("**", ""), examples]
    publish(run, result.rows, result.chosen, report, card, "\n\n".join(summary))


def describe_usage(run: RunFolder, target: Target, example: str) -> str:
    """Describe how to use a model, with PyTorch and without.

    Args:
        run: The run; its folder holds the model already.
        target: What is predicted.
        example: The text that it is to be tried on, in Python.
    """
    call = "text-classification", run.reference, example, "nlp_transfer", "nlp-transfer"
    options = all_labels(target)
    without = text_usage if (run.path / "tokenizer.json").exists() else word_usage
    return "\n\n".join(
        [usage_with_code(*call, options=options), without(target.problem_type, example)]
    )


def text_report(
    folder: Path,
    title: str,
    task: TextTask,
    result: CrossValidation,
    protocol: str,
    choice: str,
    knowledge: Sequence[str],
) -> Report:
    """Return a report of classifiers of texts; see `publish_text_classifier`."""
    target = task.target
    matters = isinstance(target, SingleLabel) and target.positive is not None
    report = Report(folder, title)
    report.section("Method", protocol, *([RARE] if matters else []), describe_method(target))
    report.section("Results", results_table(result.rows, titles_of(target)), choice)
    report.section("How far the others are behind", difference_table(result))
    draw = plots.plot_rows, result.rows, target.metric, target.title
    report.picture("models", f"test {target.title} of each model", *draw)
    if knowledge:
        report.section("What the bases know", *knowledge)
    texts = task.all.texts
    add_classifier_sections(
        report, task, result, lambda row: as_markdown(" ".join(texts[row].split())[:120])
    )
    return report


def example_table(task: TextTask, result: CrossValidation) -> str:
    """Return five test examples as a table: score, predicted and true label, text.

    Two have the label that matters, as far as there are so many.
    """
    target = task.target
    rows, predictions = result.pooled()
    values = task.values[rows]
    scores, shown = predictions.max(axis=1), np.arange(len(rows))[:5]
    if isinstance(target, SingleLabel) and target.positive is not None:
        matters = values == target.positive
        shown = np.concatenate([np.flatnonzero(matters)[:2], np.flatnonzero(~matters)[:3]])
        scores = predictions[:, target.positive]
    cells = [
        [
            f"{scores[i]:.2f}",
            target.describe_prediction(predictions[i]),
            target.describe_value(values[i]),
            shorten(task.all.texts[rows[i]], 60, placeholder="…"),
        ]
        for i in sorted(shown, key=lambda i: -scores[i])
    ]
    titles = ["score", "predicted", "true", "text"]
    if isinstance(target, Regression):  # its score is what is predicted
        titles, cells = titles[1:], [row[1:] for row in cells]
    return markdown_table(titles, cells)
