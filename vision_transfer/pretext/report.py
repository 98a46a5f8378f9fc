"""Reports on bases that learnt a pretext task: whether they paid with few labels, and cards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import Task
from staged_training.reporting.publish import Card, publish
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import as_markdown
from staged_training.runtime.printable import shell_path
from vision_transfer.label_efficiency import LabelEfficiency
from vision_transfer.plots import plot_pixels
from vision_transfer.pretext.bases import load_examples
from vision_transfer.pretext.data import PretrainingData

QUICK = " **Quick run: fewer epochs, steps and draws; do not judge by it.**"


def describe_pretraining(
    data: PretrainingData, architecture: str, epochs: int, pretext: str, *, quick: bool = False
) -> str:
    """Describe what was learnt from what, and how it was measured.

    Args:
        data: The archive and the labelled images.
        architecture: The architecture of the base.
        epochs: Passes over the archive.
        pretext: What the base learnt to do, such as `INPAINTING`.
        quick: Whether it was a quick run.
    """
    archive, train, test = data.sizes
    names = data.labelled.names
    mean = " (the mean over labels of each against the others)" if len(names) > 2 else ""
    return (
        f"`{architecture}` started from random weights and made {epochs} passes over {archive} "
        f"without labels, learning to {pretext}. Classifiers of {' and '.join(names)} then learnt "
        f"from some of {train} with labels; every score is the area under the ROC curve{mean} on "
        f"the same {test}.{QUICK if quick else ''}"
    )


def publish_pretraining(
    run: RunFolder,
    title: str,
    data: PretrainingData,
    efficiency: LabelEfficiency,
    card: Path,
    *,
    pretrained: Path,
    protocol: str,
    skill: Sequence[str],
    picture: str,
    model_title: str,
    dataset: tuple[str, str],
    shipped: bool,
    tags: Sequence[str] = (),
    notice: str = "",
    values: Mapping[str, Any] | None = None,
    pooled: Sequence[str] = (),
) -> None:
    """Write report, results and card of a base and its classifier, print a summary, upload them.

    Args:
        run: The run; its folder holds the classifier and the base already.
        title: The title of the report.
        data: The archive and the labelled images.
        efficiency: The scores of all candidates with few labels.
        card: The template of the card.
        pretrained: The folder of the base and its examples.
        protocol: From `describe_pretraining`.
        skill: How well the base does what it learnt; the first paragraph is printed, and stands in
            the card.
        picture: What the examples show.
        model_title: What the classifier is called.
        dataset: What the labelled images are called, and their name for the Hub.
        shipped: Whether the images are those that come with the recipe.
        tags: Tags for the Hub, besides those of all such models.
        notice: What everyone must know of the data.
        values: Further values of the template.
        pooled: Scores of what several images have a label of together, see `compare_pooled_slices`.
    """
    answer = efficiency.answer()
    report = Report(run.report, title)
    report.section("Did pretraining pay?", answer, *filter(None, [notice]))
    efficiency.add_to(report)
    if pooled:
        report.section("Slices together", *pooled)
    report.section("Method", protocol)
    report.section("The pretext task", *skill)
    shown = {kind: images.numpy() for kind, images in load_examples(pretrained).items()}
    report.picture("examples", picture, plot_pixels, shown)
    if data.left_out:
        report.section("Left out", *(f"- {item}" for item in data.left_out))
    about = {
        "labels": ", ".join(map(as_markdown, data.labelled.names)),
        "reference": run.reference,
        "protocol": protocol,
        "skill": skill[0],
        "kept": efficiency.describe_kept(),
        "results": efficiency.table(),
        "answer": answer,
        "pooled": "\n\n".join(pooled),
        "notice": notice,
        "shipped": shipped,
    }
    parts = [protocol, skill[0], efficiency.table(), answer, *pooled, notice]
    publish(
        run,
        efficiency.named_rows(),
        efficiency.kept_row(),
        report,
        Card(
            model_title,
            Task("image-classification", *dataset, {"auc": "AUC"}),
            card,
            {**about, **(values or {})},
            ["transfer-learning", "self-supervised", *tags],
            license_id="apache-2.0" if shipped else None,
        ),
        "\n\n".join(filter(None, parts)).replace("**", ""),
    )
    print(f"Base:   {shell_path(run.path / 'base')}")
