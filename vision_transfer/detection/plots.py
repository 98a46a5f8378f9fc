"""Plots of images with boxes: true ones dashed, predicted ones solid."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_transfer.detection.evaluation import Boxes
from vision_transfer.plots import named_rows, thumbnail

if TYPE_CHECKING:  # the extra `plots`
    from matplotlib.axes import Axes

_LEAST = 0.5  # score of a box that is drawn


def plot_boxes(
    path: Path,
    rows: Mapping[str, Sequence[tuple[Path, Boxes, Boxes, str]]],
    names: Sequence[str],
) -> None:
    """Plot rows of images with their boxes, each row with its name at its left.

    Args:
        path: Where to write the picture.
        rows: By name, images with their true boxes, their predicted boxes and a title.
        names: The names of the classes, written beside scores where there are several.
    """
    figure, grid = named_rows(rows, 1.9, 2.1)
    for line, images in zip(grid, rows.values(), strict=True):
        for axes, (file, true, found, caption) in zip(line, images, strict=False):
            image = np.asarray(thumbnail(file))
            axes.imshow(image)
            axes.set_title(caption, fontsize=7)
            draw_boxes(axes, true, image.shape[:2], names, "--", "white")
            draw_boxes(axes, found.only(found.scores >= _LEAST), image.shape[:2], names)
    figure.savefig(path, dpi=110)


def draw_boxes(
    axes: "Axes",
    boxes: Boxes,
    size: tuple[int, ...],
    names: Sequence[str],
    style: str = "-",
    color: str | None = None,
) -> None:
    """Draw boxes on an image of some height and width, each class in its colour."""
    from matplotlib.patches import Rectangle

    height, width = size
    for corners, label, score in zip(*boxes, strict=True):
        x1, y1, x2, y2 = corners * np.asarray([width, height] * 2)
        drawn = color or f"C{int(label) % 10 + 1}"
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=drawn, ls=style))
        if color is None:
            text = f"{score:.2f}" if len(names) == 1 else f"{names[int(label)]} {score:.2f}"
            label_of = {"facecolor": drawn, "linewidth": 0, "pad": 1}
            axes.text(x1, y1, text, fontsize=5, color="white", bbox=label_of)
