"""Report on a base that was trained on the order of video frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from staged_training.reporting.report import Report
from staged_training.runtime.errors import Problem
from vision_transfer.plots import plot_pixels
from vision_transfer.pretext.order_learning import OrderLearning, OrderResult
from vision_transfer.pretext.temporal_order import Window

if TYPE_CHECKING:
    from datasets import Dataset


def describe_protocol(
    learning: OrderLearning,
    videos: "Dataset",
    windows: Sequence[Window],
    result: OrderResult,
    *,
    quick: bool,
) -> str:
    """Describe in Markdown how the base was trained and measured.

    Args:
        learning: How it was trained.
        videos: The frames.
        windows: The windows to train on.
        result: The scores.
        quick: Whether it was a quick run.
    """
    told = " **Quick run: at most two epochs, and one fold; do not judge by it.**" if quick else ""
    return (
        f"`{learning.architecture}` was trained from random weights for {learning.epochs} epochs, "
        f"at {learning.size} pixels, to predict whether three frames are in order (Shuffle & "
        f"Learn, Misra et al. 2016). The frames are from {len(windows):,} windows with motion in "
        f"{len(set(videos['video'])):,} videos ({len(videos):,} frames). It was tested in "
        f"{len(result.folds)} fold(s), each with a model of its own that was not trained on the "
        f"test windows; the saved base was trained on all windows.{told}"
    )


def order_report(
    folder: Path, protocol: str, result: OrderResult, problems: Sequence[Problem]
) -> Report:
    """Return the report.

    Args:
        folder: Where it goes.
        protocol: How the base was trained and measured.
        result: The scores.
        problems: What was left out when the videos were read, and why.
    """
    report = Report(folder, "Temporal order")
    report.section("Was the order learnt?", result.describe(), result.by_video())
    report.section("Method", protocol)
    report.picture(
        "triplets",
        "test examples: three frames each, in order and out of order",
        plot_pixels,
        {
            f"{order}:\n{place}": triplets[:, number].numpy()
            for order, triplets in load_file(result.examples).items()
            for number, place in enumerate(("first", "middle", "last"))
        },
    )
    if problems:
        report.section("Problems in the videos", *(f"- {problem}" for problem in problems))
    return report
