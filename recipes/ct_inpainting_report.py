"""What the ct-inpainting recipe found, told: report, model card, and what it prints."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import OWN_LICENSE, Task, write_card
from staged_training.reporting.report import Report, write_results
from vision_transfer.label_efficiency import LabelEfficiency

BASE = "inpainting base"

SIMULATED = (
    "**The lesions are simulated.** Each was drawn into a slice of a real scan of one of four "
    "people: smooth and round ones are called benign, irregular ones with spicules malignant. What "
    "tells them apart says nothing about cancer, and the model is no use in a clinic."
)
LICENSE = (
    "Apache-2.0. The weights began at random and learnt from simulated lesions on slices that come "
    "with the packages pydicom and pydicom-data, which are not part of this."
)


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the model is loaded by: its name on the Hub, or its folder.
        simulated: Whether the scans are those that the recipe makes.
        architecture: The model of timm that learnt.
        window: Centre and width in Hounsfield units.
        size: Height and width of what the model sees, in pixels.
        spacing: Width of a pixel, in mm.
        names: Of the labels.
        extents: How much there is in the archive, to train on, and to test on, in words.
        epochs: How often the archive was learnt from.
        scores: What reconstruction scored on held-out scans, and how long learning took.
        efficiency: What each way of learning scored with few labels.
        examples: Scans as they were, masked and reconstructed.
        problems: What was left out in reading, and why.
        quick: Whether it was a quick run.
    """

    reference: str
    simulated: bool
    architecture: str
    window: tuple[float, float]
    size: int
    spacing: float
    names: Sequence[str]
    extents: tuple[str, str, str]
    epochs: int
    scores: Mapping[str, float]
    efficiency: LabelEfficiency
    examples: Mapping[str, torch.Tensor]
    problems: Sequence[str]
    quick: bool

    def what_was_done(self) -> str:
        """What was learnt from what."""
        archive, train, test = self.extents
        quick = " **Quick run**: fewer epochs and draws." if self.quick else ""
        apart = "" if self.simulated else ", of other patients: the split is by patient"
        each = " (the mean over labels of each against the others)" if len(self.names) > 2 else ""
        return (
            f"`{self.architecture}` began with random weights and went {self.epochs} times through "
            f"{archive} without labels, filling holes that were cut into them (context "
            "encoder, Pathak et al. 2016, with the L1 error in the holes). Then it learnt "
            f"{' and '.join(self.names)} from some of {train} with labels; every number here is "
            f"the area under the ROC curve{each} on the same {test}{apart}.{quick}"
        )

    def reconstruction(self) -> str:
        """How well holes were filled."""
        s = self.scores
        return (
            f"On {int(s['held_out'])} slices of the archive that were held out, filled holes "
            f"have a PSNR of {s['psnr']:.1f} dB (the mean of what is around them: "
            f"{s['mean_psnr']:.1f}) and whole slices an SSIM of {s['ssim']:.3f} "
            f"({s['mean_ssim']:.3f}). It took {s['seconds']:.0f} seconds."
        )


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    honest = [SIMULATED] if findings.simulated else []
    report = Report(run.report, "CT inpainting")
    report.section("Did the archive pay?", findings.efficiency.answer(), *honest)
    findings.efficiency.add_to(report)
    report.section("What was done", findings.what_was_done())
    report.section("What the base learnt to do", findings.reconstruction())
    report.picture(
        "inpainting",
        "held-out scans as they were, with holes, and filled",
        "vision_transfer.plots.plot_pixels",
        {name: findings.examples[name].numpy() for name in ("original", "masked", "reconstructed")},
    )
    if findings.problems:
        report.section("Left out in reading", *(f"- {problem}" for problem in findings.problems))
    report.arguments(arguments)
    report.write()
    write_results(
        run.report, "ct-inpainting", int(arguments["seed"]), findings.efficiency.named_rows()
    )
    write_card(
        run.path,
        "CT lesions" if findings.simulated else "CT classifier",
        Task("image-classification", "CT scans", "ct-scans", {"auc": "AUC"}),
        findings.efficiency.kept_row(),
        _card_sections(findings, honest),
        license_id="apache-2.0" if findings.simulated else None,
        tags=["transfer-learning", "self-supervised", "ct"],
    )


def _card_sections(findings: Findings, honest: Sequence[str]) -> list[str]:
    window = f"({findings.window[0]:g}, {findings.window[1]:g})"
    size, spacing = findings.size, findings.spacing
    reference = json.dumps(findings.reference)
    code = [
        "```python",
        "from transformers import AutoModelForImageClassification",
        "from vision_transfer.ct import WindowedSlices, read_ct",
        "",
        f"model = AutoModelForImageClassification.from_pretrained({reference})",
        f'scans = read_ct("scans", size={size}, spacing={spacing:g}).dataset.with_format("numpy")',
        f'slices = WindowedSlices(scans["hounsfield"], {window})',
        "print(model.eval()(slices[0][None]).logits.softmax(-1), model.config.id2label)",
        "```",
    ]
    return [
        f"A classifier of CT slices: {', '.join(findings.names)}. It was trained by NLP Transfer "
        "(`nlp-transfer run ct-inpainting`).",
        *honest,
        "## How to use it",
        "With `pip install 'nlp-transfer[vision,ct]'`:",
        "\n".join(code),
        "`base/` holds the base that the archive taught, for `load_backbone`.",
        "## How it was trained",
        findings.what_was_done(),
        findings.efficiency.describe_kept(),
        "## What it scores on scans that it was not trained on",
        findings.efficiency.table(),
        findings.efficiency.answer(),
        "## License",
        LICENSE if findings.simulated else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the table, the answer, and where to look."""
    print(f"\n{findings.what_was_done().replace('**', '')}\n")
    print(findings.efficiency.table(), "\n")
    print(findings.efficiency.answer().replace("**", ""))
    if findings.simulated:
        print(SIMULATED.replace("**", ""))
    print(f"\nModel:  {run.path}\nBase:   {run.path / 'base'}")
    print(f"Report: {run.report / 'index.html'}")
