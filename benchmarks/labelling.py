"""Which labels to get: batches that are chosen, beside as many drawn at random.

On the features of a frozen base, labels are asked for in batches of 10, a logistic regression
learns from them, and is measured on a fold that was never asked for: average precision of the
urgent mails and of the requests, accuracy of the breeds of pets and of digits. Five folds, five
draws; the mean, and the standard deviation over all of them. The last column says how many labels
do what 95 % of the score with all labels is.

    pip install 'nlp-transfer[vision,assets]'
    python benchmarks/labelling.py [--quick]
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from nlp_transfer.text_features import encoder_features
from nlp_transfer.text_task import read_task
from staged_training.experiment.splits import near_duplicate_groups, stratified_folds
from staged_training.labels.selection import comparable, next_batch, scores_of
from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table
from vision_transfer.candidates import BackboneCandidate
from vision_transfer.image_task import read_image_task

BATCH = 10
SIZES = (50, 100, 150, 200, 250)
DRAWS = 5
ENOUGH = 0.95


class Pool(NamedTuple):
    """Examples whose labels can be asked for; near-duplicates share a group."""

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    groups: NDArray[np.int64]
    positive: int | None = None


def pools(folder: Path) -> Iterator[Pool]:
    """Yield the shipped sets, with features that are computed once."""
    data = RECIPES / "data"
    for name, file in (
        ("urgent mails", data / "email_urgency" / "messages.parquet"),
        ("requests", data / "email_urgency" / "proxy.parquet"),
    ):
        task = read_task(file, None, "label" if name == "urgent mails" else "asks_for_action")
        texts = task.all.texts
        features = encoder_features(texts, "bert", folder)
        labels, positive = np.asarray(task.values), task.target.positive
        folds, groups = np.asarray(task.folds), near_duplicate_groups(texts)
        yield Pool(name, features, labels, folds, groups, positive)
    task = read_image_task(data / "pets", "breed")
    photos = BackboneCandidate(
        name="efficientnet-lite0", task=task, backbone="efficientnet-lite0", cache=folder
    ).features.columns["features"]
    photos, own = photos.flatten(1).numpy(), np.arange(len(task.paths))
    yield Pool("breeds", photos, np.asarray(task.values), np.asarray(task.folds), own)
    pixels, digits = load_digits(return_X_y=True)
    own = np.arange(len(digits))
    yield Pool("digits", pixels, digits, stratified_folds(digits, own), own)


def curve(pool: Pool, fold: int, draw: int, *, chosen: bool, most: int) -> list[float]:
    """Return the score after each batch."""
    train, test = np.flatnonzero(pool.folds != fold), np.flatnonzero(pool.folds == fold)
    features, labels = pool.features[train], pool.labels[train]
    known: list[str | None] = [None] * len(train)
    order = np.random.default_rng([fold, draw]).permutation(len(train))
    scores = []
    while len(scores) * BATCH < min(most, len(train)):
        if chosen:
            rows = next_batch(features, known, BATCH, pool.groups[train], draw).rows
        else:
            rows = order[len(scores) * BATCH :][:BATCH]
        for row in rows:
            known[row] = str(labels[row])
        some = [row for row, label in enumerate(known) if label is not None]
        scores.append(score(pool, train[some], test))
    return scores


def score(pool: Pool, train: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Return the score on test examples of what is learnt from others."""
    seen, values = np.unique(pool.labels[train], return_inverse=True)
    true = pool.labels[test]
    if len(seen) < 2:
        return float((true == (seen[0] if pool.positive is None else pool.positive)).mean())
    names = [str(label) for label in seen]
    scores = scores_of(pool.features[test], pool.features[train], values, names)
    if pool.positive is None:
        return float((seen[scores.argmax(axis=1)] == true).mean())
    column = int(np.flatnonzero(seen == pool.positive)[0])
    return float(average_precision_score(true == pool.positive, scores[:, column]))


def row(name: str, curves: NDArray[np.float64], sizes: Sequence[int], full: float) -> list[str]:
    """Return a row of the table."""
    at = [curves[:, size // BATCH - 1] for size in sizes]
    enough = np.flatnonzero(curves.mean(axis=0) >= ENOUGH * full)
    needed = str((enough[0] + 1) * BATCH) if len(enough) else f"over {curves.shape[1] * BATCH}"
    return [name, *(f"{part.mean():.3f} ± {part.std():.3f}" for part in at), f"{full:.3f}", needed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one fold and one draw, 100 labels")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
    sizes = SIZES[:2] if options.quick else SIZES
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pool in pools(Path(folder)):
            pool = pool._replace(features=comparable(pool.features))
            folds = [0] if options.quick else range(5)
            draws = range(1 if options.quick else DRAWS)
            parts = [
                (np.flatnonzero(pool.folds != f), np.flatnonzero(pool.folds == f)) for f in folds
            ]
            full = float(np.mean([score(pool, *part) for part in parts]))
            for chosen in (False, True):
                found = [
                    curve(pool, fold, draw, chosen=chosen, most=sizes[-1] if options.quick else 400)
                    for fold in folds
                    for draw in draws
                ]
                shortest = min(map(len, found))
                curves = np.array([scores[:shortest] for scores in found])
                name = f"{pool.name}, {'chosen' if chosen else 'at random'}"
                rows.append(row(name, curves, sizes, full))
                print(*rows[-1], sep="  ", flush=True)
    header = ["", *(f"{size} labels" for size in sizes), "all labels", f"labels for {ENOUGH:.0%}"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
