"""Plots of images and of what a model computes of them."""

import textwrap
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from staged_training.runtime.photos import load_rgb

if TYPE_CHECKING:  # the extra `plots`
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY_LABELS = 12
_SIDE = 160


def plot_filters(path: Path, filters: NDArray[np.float32]) -> None:
    """Plot filters as small images, `[filters, height, width, 3]`."""
    columns = min(16, len(filters))
    rows = -(-len(filters) // columns)
    figure = _figure(0.5 * columns, 0.5 * rows)
    for axes, image in zip(_cells(figure, rows, columns), filters, strict=False):
        axes.imshow(image)
    figure.savefig(path, dpi=130)


def plot_activations(path: Path, image: Path, maps: Mapping[str, NDArray[np.float32]]) -> None:
    """Plot an image and where each layer group is active in it, from bottom to top."""
    columns = 5
    cells = [("the image", np.asarray(thumbnail(image))), *maps.items()]
    rows = -(-len(cells) // columns)
    figure = _figure(1.7 * columns, 1.9 * rows)
    for axes, (name, values) in zip(_cells(figure, rows, columns), cells, strict=False):
        axes.imshow(values, cmap="magma")
        axes.set_title(name, fontsize=8)
    figure.savefig(path, dpi=130)


def plot_images(path: Path, rows: Mapping[str, Sequence[tuple[Path, str]]]) -> None:
    """Plot rows of images with captions, each row with its name at its left."""
    figure, grid = named_rows(rows, 1.5, 1.75)
    for line, images in zip(grid, rows.values(), strict=True):
        for axes, (image, caption) in zip(line, images, strict=False):
            axes.imshow(np.asarray(thumbnail(image)))
            axes.set_title(caption, fontsize=7)
    figure.savefig(path, dpi=110)


def plot_captions(path: Path, rows: Mapping[str, Sequence[tuple[Path, str]]]) -> None:
    """Plot rows of images with their captions below, each row with its name at its left."""
    figure, grid = named_rows(rows, 2.3, 2.6)
    for line, images in zip(grid, rows.values(), strict=True):
        for axes, (image, caption) in zip(line, images, strict=False):
            axes.imshow(np.asarray(thumbnail(image)))
            axes.set_xlabel(textwrap.fill(caption, 34), fontsize=7)
    figure.savefig(path, dpi=110)


def plot_pixels(path: Path, rows: Mapping[str, NDArray[np.float32]]) -> None:
    """Plot rows of small images that are in memory, each row with its name at its left.

    Args:
        path: Where to write the picture.
        rows: By name, `[images, channels, height, width]` from -1 to 1, of 1 or 3 channels.
    """
    figure, grid = named_rows(rows, 1.1, 1.15)
    for line, images in zip(grid, rows.values(), strict=True):
        for axes, image in zip(line, images, strict=False):
            shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            axes.imshow(shown / 2 + 0.5, cmap="gray", vmin=0, vmax=1)
    figure.savefig(path, dpi=110)


def plot_projection(
    path: Path, points: NDArray[np.float32], groups: Mapping[str, NDArray[np.bool]]
) -> None:
    """Plot examples as points in two dimensions, `[examples, 2]`, coloured by group.

    Args:
        path: Where to write the picture.
        points: The examples.
        groups: Which are in each group, `[examples]`, by its name; an example of several groups has
            the colour of the last.
    """
    figure = _figure(6.4, 4.4)
    axes = figure.subplots()
    for number, (name, rows) in enumerate(groups.items()):
        chosen = points[rows]
        color = f"C{number}" if len(groups) <= 10 else None
        axes.scatter(chosen[:, 0], chosen[:, 1], s=9, alpha=0.7, color=color, label=name)
        if len(groups) > _MANY_LABELS and len(chosen):
            axes.annotate(name, chosen.mean(0), fontsize=5, ha="center")
    axes.set(xlabel="first principal component", ylabel="second")
    if len(groups) <= _MANY_LABELS:
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def named_rows(
    rows: Mapping[str, Sized], width: float, height: float
) -> "tuple[Figure, NDArray[Any]]":
    """Make a grid for rows of images, each named at its left; sizes of images are in inches."""
    columns = max(map(len, rows.values()))
    figure = _figure(width * columns + 0.6, height * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, name in zip(grid, rows, strict=True):
        line[0].set_ylabel(name, fontsize=8)
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
    return figure, grid


def _figure(width: float, height: float) -> "Figure":
    """Return a new figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _cells(figure: "Figure", rows: int, columns: int) -> "list[Axes]":
    """Return axes without ticks, row by row."""
    cells = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in cells:
        axes.axis("off")
    return cells


def thumbnail(path: Path) -> Image.Image:
    """Return an image as small as pictures show it."""
    image = load_rgb(path)
    image.thumbnail((_SIDE, _SIDE))
    return image
