"""What the email-urgency recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from nlp_transfer.text_task import LabelledTexts, TextTask
from staged_training.experiment.outcome import Outcome, Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.classifier_report import add_classifier_sections
from staged_training.reporting.hub import OWN_LICENSE, Task, usage_with_code, write_card
from staged_training.reporting.report import (
    Report,
    as_markdown,
    results_table,
    stage_table,
    tested_on,
    write_results,
)
from staged_training.stages import StageResult
from transfer_app.inputs import Input
from transfer_app.prediction import classify, open_classifier, prediction_table

VALIDATION = "validation_average_precision"
CARD_METRICS = {"average_precision": "AP", "macro_f1": "macro-F1"}
TITLES = CARD_METRICS | {VALIDATION: "AP on validation"}

BALANCE = (
    "Rare labels: every example has the same weight in the loss (on the validation parts of the "
    "shipped texts class weights gave nothing), epochs are chosen by average precision, which no "
    "threshold enters, and the decision is then moved to where macro-F1 is best on validation. The "
    "move is part of the saved model: it is in the bias of its head."
)
LIMITS = (
    "The urgency labels of the shipped data come from two readers (Cohen's kappa 0.81), the second "
    "of them a large language model, which also decided where they differed. They agree on what is "
    "asked for by a time, less on urgency that is only implied. The mail is English, about 2000 "
    "and largely from one company. Urgency is judged from single messages, without their thread or "
    "reader. Do not let it hide mail from people."
)
LICENSE = (
    "The weights are under Apache-2.0, and so are the messages and labels that they were trained "
    "on. They began as the word vectors GloVe 6B (PDDL 1.0) or the encoder MiniLM (Apache-2.0)."
)
EXAMPLE = '"Please send me the figures before noon."'
OWN_LIMITS = "It knows the texts that it was trained on, and their language, time and labels only."


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        task: The labelled texts.
        knowledge: What the base makes of the texts, in words.
        cut: How many texts are longer than it can read, and were cut.
        rows: The table of models.
        rows_of: The names of the rows of each kind that was tried: `control`, `vectors`, `proxy`,
            `encoder`.
        chosen: The first outcome of the model that validation chose.
        folds: The folds that were tested on.
        seeds: The seeds that models were trained with.
        refit: Whether the model that is kept was trained on all texts.
        quick: Whether every stage had one epoch only.
        shipped: Whether the texts are those that come with the recipe.
        licensed: Whether the vectors or the encoder are, too.
    """

    reference: str
    task: TextTask
    knowledge: str
    cut: int
    rows: list[Row]
    rows_of: dict[str, list[str]]
    chosen: Outcome
    folds: list[int]
    seeds: list[int]
    refit: bool
    quick: bool
    shipped: bool
    licensed: bool

    @property
    def test(self) -> LabelledTexts:
        """The test part of the first fold."""
        return self.task.parts(self.folds[0])[2]

    @property
    def row(self) -> Row:
        """The row of the model that validation chose."""
        return next(row for row in self.rows if row.name == self.chosen.model)

    def protocol(self) -> str:
        """On what the models were measured."""
        task, numbers = self.task, self.task.fold_numbers
        positive = task.all.labels.count(task.positive)
        dealt = "" if task.own_folds else ", dealt here with near-duplicates in the same one"
        cut = f" {self.cut:,} texts are too long and were cut." if self.cut else ""
        quick = " **Quick run: one epoch per stage; do not judge by it.**" if self.quick else ""
        return (
            f"{len(task.all.texts):,} texts from `{task.source.name}`, {positive:,} of them "
            f"{task.names[task.positive]}, in {len(numbers)} folds{dealt}. Tested on "
            f"{tested_on(self.folds, numbers)}; {len(self.seeds)} seed(s). For test fold f, "
            f"fold f + 1 validates and the others train.{cut}{quick}"
        )

    def choice(self) -> str:
        """Which model was chosen, and what vectors and proxy task gave, where they were tried."""
        lines = [f"Validation chose **{self.chosen.model}** ({_scores(self.row)})."]
        if "vectors" in self.rows_of:
            vectors, control = self._best("vectors"), self._best("control")
            lines.append(
                f"The vectors {_verdict(vectors, control)}: {_scores(vectors)} with them, "
                f"{_scores(control)} with a random embedding."
            )
        if "proxy" in self.rows_of:
            proxy = self._best("proxy")
            lines.append(
                f"The proxy task {_verdict(proxy, vectors)}: {_scores(proxy)} after it, "
                f"{_scores(vectors)} without it."
            )
        if len(self.folds) == 1:
            count = self.test.labels.count(self.task.positive)
            lines.append(
                f"One fold, with {count} texts of the label {self.task.names[self.task.positive]}, "
                "decides little: `--folds all --seeds 3` tells."
            )
        return " ".join(lines)

    def _best(self, kind: str) -> Row:
        rows = (row for row in self.rows if row.name in self.rows_of[kind])
        return max(rows, key=lambda row: row.metrics[VALIDATION])


def _scores(row: Row) -> str:
    test = row.metrics["average_precision"]
    return f"AP {row.metrics[VALIDATION]:.3f} on validation, {test:.3f} on test"


def _verdict(row: Row, other: Row) -> str:
    return "paid" if row.metrics[VALIDATION] > other.metrics[VALIDATION] else "did not pay"


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    test, task = findings.test, findings.task
    report = Report(run.report, "Email urgency")
    report.section("What was done", findings.protocol(), BALANCE)
    report.section(
        "What came of it",
        results_table(findings.rows, TITLES),
        findings.choice(),
        "AP is the average precision of the label that matters, over all thresholds; macro-F1 is "
        "taken at the decision that was best on validation.",
    )
    report.picture(
        "models", "test AP of each model", "plot_rows", findings.rows, "average_precision", "AP"
    )
    report.section("What the base knows", findings.knowledge)
    examples = [as_markdown(" ".join(text.split())[:120]) for text in test.texts]
    add_classifier_sections(
        report, findings.chosen, test.labels, task.names, task.positive, examples
    )
    report.arguments(arguments)
    report.write()
    write_results(run.report, "email-urgency", findings.seeds[0], findings.rows)
    write_card(
        run.path,
        "Email urgency",
        Task("text-classification", "Email urgency", task.source.stem, CARD_METRICS),
        findings.row,
        _card_sections(findings),
        license_id="apache-2.0" if findings.licensed else None,
        tags=["email", "urgency"],
        language="en" if findings.shipped else None,
    )


def _card_sections(findings: Findings) -> list[str]:
    task = findings.task
    trained_on = "all of them" if findings.refit else "the training part of the first fold tested"
    return [
        f"A classifier of mail: {' or '.join(task.names)}. It was trained in stages by "
        "NLP Transfer (`nlp-transfer run email-urgency`).",
        "## How to use it",
        *usage_with_code(
            "text-classification", findings.reference, EXAMPLE, "nlp_transfer", "nlp-transfer"
        ),
        "## How it was trained",
        f"{findings.protocol()} The model here was trained on {trained_on}.",
        stage_table([StageResult(**stage) for stage in findings.chosen.stages]),
        "## What it scores on texts that it was not trained on",
        results_table(findings.rows, TITLES),
        findings.choice(),
        "## Limits",
        LIMITS if findings.shipped else OWN_LIMITS,
        "## License",
        LICENSE if findings.licensed else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the stages, the table of models, five predictions and where to look."""
    print(f"\n{findings.protocol()}\n")
    print(stage_table([StageResult(**stage) for stage in findings.chosen.stages]), "\n")
    print(results_table(findings.rows, TITLES), "\n")
    print(findings.choice().replace("**", ""), "\n")
    print("Five texts of the test part, sorted by score; what they are stands first:")
    print(_worked_predictions(run, findings))
    print(f"\nModel:  {run.path}\nReport: {run.report / 'index.html'}")
    print(f"Next:   nlp-transfer predict {quote(str(run.path))} YOUR_MAIL.mbox")


def _worked_predictions(run: RunFolder, findings: Findings) -> str:
    """The saved model on two texts of the label that matters and three others."""
    test, task = findings.test, findings.task
    positive = [row for row, label in enumerate(test.labels) if label == task.positive][:2]
    others = [row for row, label in enumerate(test.labels) if label != task.positive][:3]
    inputs = [
        Input(f"({task.names[test.labels[row]]})", test.texts[row], test.texts[row])
        for row in positive + others
    ]
    name = task.names[task.positive]
    rows = [
        (scores[name], max(scores, key=scores.__getitem__), item.name, item.shown)
        for item, scores in classify(open_classifier(str(run.path)), inputs)
    ]
    return prediction_table(sorted(rows, key=lambda row: -row[0]))
