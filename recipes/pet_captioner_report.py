"""What the pet-captioner recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlp_transfer.alignment import Coverage
from recipes.pet_captioner_ways import BLIND, MOST_COMMON, NEAREST, Captioned
from staged_training.experiment.outcome import Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.classifier_report import add_training
from staged_training.reporting.hub import OWN_LICENSE, Task, usage_with_code, write_card
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
from vision_transfer.captioning.metrics import TITLES, cider_of_each
from vision_transfer.captioning.task import CaptionTask
from vision_transfer.label_efficiency import mean_interval

SHOWN = {"best": 3, "median": 4, "worst": 3}
COLUMNS = TITLES | {"validation_cider": "CIDEr on validation"}
LICENSE = (
    "The weights are under Apache-2.0. They began as EfficientNet-Lite (Apache-2.0) trained on "
    "ImageNet and word vectors of GloVe (PDDL), and were tuned on photos under CC BY-SA 4.0 (the "
    "Oxford-IIIT Pet Dataset, Parkhi et al. 2012) with captions written by a language model."
)
HOW_MEASURED = (
    "BLEU-4, ROUGE-L and CIDEr are those of `pycocoevalcap`, the reference of COCO captions; CIDEr "
    "is CIDEr-D, 10 at the most. Captions are compared by their words in lower case, without "
    "punctuation: its own tokenizer is left out. How telling words are for CIDEr is found from the "
    "true captions of the photos that are measured."
)
WHAT_THE_BASELINES_ARE = (
    "The most common caption is said of every photo: the one that occurs most often in training "
    "or, where all differ, the one that is most like all the others. The nearest photo is that of "
    "the training photos whose features are most like, and its first caption is taken."
)


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        task: The photos with their captions.
        licensed: Whether photos and weights are those that come with the recipe.
        backbone: The name of the pretrained image model.
        vectors: The title of the word vectors.
        coverage: What these know of the words of the captions.
        attention: Whether the decoder looks at parts of the photos.
        rows: The table of models.
        scores: The CIDEr of each model on each fold.
        chosen: The first outcome of the model that validation chose.
        folds: The folds that were tested on.
        quick: Whether it was a quick run.
    """

    reference: str
    task: CaptionTask
    licensed: bool
    backbone: str
    vectors: str
    coverage: Coverage
    attention: bool
    rows: list[Row]
    scores: Mapping[str, Sequence[float]]
    chosen: Captioned
    folds: list[int]
    quick: bool

    @property
    def row(self) -> Row:
        """The row of the model that validation chose."""
        return next(row for row in self.rows if row.name == self.chosen.model)

    def protocol(self) -> str:
        """On what the models were measured."""
        task, numbers = self.task, self.task.fold_numbers
        captions = sum(map(len, task.captions))
        dealt = "" if task.own_folds else ", dealt here with copies of a file in the same one"
        if len(numbers) > 1:
            parts = f"{len(numbers)} folds{dealt}"
            rounds = (
                " For test fold f, fold f + 1 validates and the others train; each fold has a seed "
                "of its own."
            )
        else:
            parts, rounds = "parts to train, validate and test on", ""
        quick = " **Quick run**: a tenth of the epochs." if self.quick else ""
        return (
            f"{len(task.paths):,} photos from {as_code(task.source.name)} with "
            f"{captions:,} captions, in {parts}. "
            f"Tested on {tested_on(self.folds, numbers)}.{rounds}{quick}"
        )

    def what_was_done(self) -> str:
        """How the models were made."""
        sees = "the cells of its last map" if self.attention else "its bottleneck"
        return (
            f"The image model, {self.backbone}, saw each photo once; a recurrent decoder learnt "
            f"captions from {sees}. Its vocabulary is the words that occur twice or more in the "
            f"training captions, its word embedding {self.vectors}. Frozen: the embedding stays as "
            "it is. Fine-tuned: it is trained too, after that."
        )

    def choice(self) -> str:
        """Which model was chosen."""
        metrics = self.row.metrics
        return (
            f"Validation chose **{self.chosen.model}** (CIDEr {metrics['validation_cider']:.3f} on "
            f"validation, {metrics['cider']:.3f} on test)."
        )

    def against_baselines(self) -> str:
        """Whether the chosen model beats what needs no training."""
        told = []
        for name in (MOST_COMMON, NEAREST):
            words = ("better than", "worse than", "not clearly better than")
            verdict = _verdict(self.difference(self.chosen.model, name), *words)
            told.append(f"{verdict} {name} ({self.told_difference(self.chosen.model, name)})")
        return f"By CIDEr it is {' and '.join(told)}."

    def without_the_photo(self) -> str:
        """What the chosen model says when it sees nothing."""
        blind, seen = self.chosen.model + BLIND, self.row.metrics["cider"]
        return (
            "With zeros in place of the features of every photo its CIDEr drops from "
            f"{seen:.3f} to {np.mean(self.scores[blind]):.3f}; that of the most common caption is "
            f"{np.mean(self.scores[MOST_COMMON]):.3f} "
            f"({self.told_difference(blind, MOST_COMMON)}). What is above, it has from looking."
        )

    def did_the_vectors_pay(self) -> str:
        """Whether word vectors beat random embeddings, in one sentence."""
        pairs = {
            "frozen": f"{self.vectors}, frozen",
            "fine-tuned": f"{self.vectors}, fine-tuned",
        }
        told = [
            f"{self.told_difference(name, f'random embedding, {stage}')} {stage}"
            for stage, name in pairs.items()
        ]
        best = max(
            (name for name in self.scores if name.startswith("random") and BLIND not in name),
            key=lambda name: np.mean(self.scores[name]),
        )
        frozen = self.difference(pairs["frozen"], "random embedding, frozen")
        said = _verdict(frozen, "They paid", "They did harm", "It is not clear that they paid")
        why = (
            f" They know {self.coverage.types:.1%} of the words of the captions. But the decoder "
            "can say only words that it saw twice or more in captions, each time with a photo; "
            "which words are alike, all that the vectors add, it need not be told."
        )
        return (
            f"**{said}**: the CIDEr of {self.vectors} less that of a random embedding is "
            f"{' and '.join(told)}; less that of the best random one ({best}), "
            f"{self.told_difference(pairs['frozen'], best)} frozen.{'' if frozen[1] > 0 else why}"
        )

    def difference(self, one: str, other: str) -> tuple[float, float, float]:
        """The mean difference of two models' CIDEr over folds, and its 95 % interval."""
        gains = np.subtract(self.scores[one], self.scores[other])
        if len(gains) == 1:
            return float(gains[0]), -np.inf, np.inf
        return float(gains.mean()), *mean_interval(gains)

    def told_difference(self, one: str, other: str) -> str:
        """The same in words."""
        mean, low, high = self.difference(one, other)
        interval = f", 95 % interval {low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""
        return f"{mean:+.3f}{interval}"


def _verdict(difference: tuple[float, float, float], above: str, below: str, unclear: str) -> str:
    """What an interval of a difference allows to be said."""
    _, low, high = difference
    return above if low > 0 else below if high < 0 else unclear


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    task = findings.task
    report = Report(run.report, "Pet captioner")
    report.section("What was done", findings.protocol(), findings.what_was_done())
    report.section(
        "What came of it",
        results_table(findings.rows, COLUMNS),
        findings.choice(),
        findings.against_baselines(),
        WHAT_THE_BASELINES_ARE,
        HOW_MEASURED,
    )
    report.picture(
        "models", "CIDEr of each model on test", "plot_rows", findings.rows, "cider", "CIDEr"
    )
    report.section("Did the word vectors pay?", findings.did_the_vectors_pay())
    report.section("Does it look at the photo?", findings.without_the_photo())
    _add_examples(report, findings)
    add_training(report, findings.chosen, ("cider", "CIDEr, greedy search"))
    left_out = [*task.skipped, *task.problems]
    if left_out:
        report.section("Left out", *(f"- {item}" for item in left_out))
    report.arguments(arguments)
    report.write()
    write_results(run.report, "pet-captioner", int(arguments["seed"]), findings.rows)
    write_card(
        run.path,
        "Pet captioner",
        Task("image-to-text", "Pets, few labels", task.source.parent.name, TITLES),
        findings.row,
        _card_sections(findings),
        license_id="apache-2.0" if findings.licensed else None,
        tags=["transfer-learning", "image-captioning"],
        language="en" if findings.licensed else None,
    )


def _add_examples(report: Report, findings: Findings) -> None:
    """Add ten photos with what is said of them: the best, those in the middle, and the worst."""
    task, said = findings.task, findings.chosen.captions
    test = task.split(findings.folds[0]).test
    cider = cider_of_each(said, task.captions_of(test))
    order = np.argsort(-cider, kind="stable").tolist()
    middle = (len(order) - SHOWN["median"]) // 2
    examples = {
        "best": order[: SHOWN["best"]],
        "median": order[middle : middle + SHOWN["median"]],
        "worst": order[-SHOWN["worst"] :],
    }
    report.section(
        "Ten captions",
        f"Of the {len(test)} test photos of the first fold, by the CIDEr of each: the best, those "
        "in the middle, and the worst. None is picked.",
    )
    pictures = {
        name: [(task.paths[test[i]], said[i]) for i in chosen] for name, chosen in examples.items()
    }
    description = "ten test photos, with what the model says of each"
    report.picture("captions", description, "vision_transfer.plots.plot_captions", pictures)
    report.section(
        "What is said of them",
        markdown_table(
            ["", "photo", "said", "true", "CIDEr"],
            [
                [
                    name,
                    task.paths[test[i]].name,
                    as_markdown(said[i]),
                    as_markdown("; ".join(task.captions[test[i]])),
                    f"{cider[i]:.2f}",
                ]
                for name, chosen in examples.items()
                for i in chosen
            ],
        ),
    )


def _card_sections(findings: Findings) -> list[str]:
    example = '"photo.jpg", text=""'
    return [
        "It says in a sentence what a photo shows. It was trained by NLP Transfer "
        "(`nlp-transfer run pet-captioner`).",
        "## How to use it",
        usage_with_code(
            "image-text-to-text",
            findings.reference,
            example,
            "vision_transfer",
            "'nlp-transfer[vision]'",
            "describe",
        ),
        "`text` is what the caption is to begin with.",
        "## How it was trained",
        f"{findings.protocol()} {findings.what_was_done()} The model here was trained on the "
        "training part of the first fold tested.",
        "## What it scores on photos that it was not trained on",
        results_table(findings.rows, COLUMNS),
        f"{findings.choice()} {findings.against_baselines()}",
        findings.without_the_photo(),
        f"{WHAT_THE_BASELINES_ARE} {HOW_MEASURED}",
        "## Limits",
        "It learnt from few photos, and says of every photo something in the words of theirs, also "
        "where that shows something else.",
        "## License",
        LICENSE if findings.licensed else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table, what came of it, and where to look."""
    print(f"\n{findings.protocol().replace('**', '')}\n")
    print(results_table(findings.rows, COLUMNS), "\n")
    for sentence in (
        findings.choice(),
        findings.against_baselines(),
        findings.without_the_photo(),
        findings.did_the_vectors_pay(),
    ):
        print(sentence.replace("**", ""))
    print(f"\nModel:  {shell_path(run.path)}\nReport: {shell_path(run.report / 'index.html')}")
