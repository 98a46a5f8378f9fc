"""What the rotation-pretraining recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import OWN_LICENSE, Task, usage, write_card
from staged_training.reporting.report import Report, as_markdown, markdown_table, write_results
from staged_training.runtime.printable import shell_path
from vision_transfer.image_task import Skipped
from vision_transfer.label_efficiency import LabelEfficiency
from vision_transfer.pretext.rotation import TURNS

BASE = "rotation base"

LICENSE = (
    "Apache-2.0. The weights began at random and learnt from photos under CC BY-SA 4.0 (the "
    "Oxford-IIIT Pet Dataset, Parkhi et al. 2012)."
)


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        shipped: Whether the photos are those that come with the recipe.
        architecture: The model of timm that learnt.
        size: Height and width of what the model sees, in pixels.
        names: Of the labels.
        source: Where the labelled photos are from.
        sizes: Photos of the archive, to train on, and to measure on.
        epochs: How often the archive was learnt from.
        turns: For each turn, how many photos were told right, and how many there were.
        seconds: How long the base took to learn.
        efficiency: What each way of learning scored with few labels.
        examples: Photos as the base saw them, by how it told them.
        skipped: Photos that could not be decoded.
        quick: Whether it was a quick run.
    """

    reference: str
    shipped: bool
    architecture: str
    size: int
    names: Sequence[str]
    source: Path
    sizes: tuple[int, int, int]
    epochs: int
    turns: Sequence[tuple[int, int]]
    seconds: float
    efficiency: LabelEfficiency
    examples: Mapping[str, torch.Tensor]
    skipped: Sequence[Skipped]
    quick: bool

    def what_was_done(self) -> str:
        """What was learnt from what."""
        archive, train, test = self.sizes
        quick = " **Quick run**: fewer epochs, steps and draws." if self.quick else ""
        return (
            f"`{self.architecture}` began with random weights and went {self.epochs} times through "
            f"{archive:,} photos without labels, each in all four turns, at {self.size} pixels, "
            "and learnt to tell the turns (RotNet, Gidaris et al. 2018). Then it learnt "
            f"{' and '.join(self.names)} from some of {train:,} labelled photos; every number here "
            f"is the area under the ROC curve on the same {test:,} others, which the base never "
            f"saw.{quick}"
        )

    def accuracy(self) -> str:
        """How well turns are told."""
        right, all_of_them = (sum(column) for column in zip(*self.turns, strict=True))
        return (
            f"Of the {all_of_them:,} turned photos that are measured on, "
            f"{100 * right / all_of_them:.1f} % are told right; chance is 25 %. It took "
            f"{self.seconds:.0f} seconds."
        )


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    report = Report(run.report, "Rotation pretraining")
    report.section("Did the photos without labels pay?", findings.efficiency.answer())
    findings.efficiency.add_to(report)
    report.section("What was done", findings.what_was_done())
    report.section(
        "What the base learnt to do",
        findings.accuracy(),
        markdown_table(
            ["turn", "told right", "of"],
            [[name, *counts] for name, counts in zip(TURNS, findings.turns, strict=True)],
        ),
    )
    report.picture(
        "rotation",
        "photos as the base saw them",
        "vision_transfer.plots.plot_pixels",
        {name: pixels.numpy() for name, pixels in findings.examples.items()},
    )
    if findings.skipped:
        report.section("Left out", *(f"- {item}" for item in findings.skipped))
    report.arguments(arguments)
    report.write()
    rows = findings.efficiency.named_rows()
    write_results(run.report, "rotation-pretraining", int(arguments["seed"]), rows)
    write_card(
        run.path,
        "Classifier on a rotation base",
        Task("image-classification", "Labelled photos", findings.source.stem, {"auc": "AUC"}),
        findings.efficiency.kept_row(),
        _card_sections(findings),
        license_id="apache-2.0" if findings.shipped else None,
        tags=["transfer-learning", "self-supervised"],
    )


def _card_sections(findings: Findings) -> list[str]:
    return [
        f"A classifier of images: {', '.join(map(as_markdown, findings.names))}. It was trained "
        "by NLP Transfer (`nlp-transfer run rotation-pretraining`).",
        "## How to use it",
        usage("image-classification", findings.reference, '"photo.jpg"'),
        "`base/` holds the base that the photos without labels taught; "
        "`nlp-transfer run pet-classifier --backbone` takes it.",
        "## How it was trained",
        findings.what_was_done(),
        findings.efficiency.what_was_kept(),
        "## What it scores on photos that it was not trained on",
        findings.efficiency.table(),
        findings.efficiency.answer(),
        "## License",
        LICENSE if findings.shipped else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table, the answer, and where to look."""
    print(f"\n{findings.what_was_done().replace('**', '')}\n")
    print(findings.accuracy(), "\n")
    print(findings.efficiency.table(), "\n")
    print(findings.efficiency.answer().replace("**", ""))
    print(f"\nModel:  {shell_path(run.path)}\nBase:   {shell_path(run.path / 'base')}")
    print(f"Report: {shell_path(run.report / 'index.html')}")
