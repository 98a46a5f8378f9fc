"""Which labels to get: batches that are chosen, beside as many drawn at random and small-text's.

On the features of a frozen base, labels are asked for in batches of 10, a logistic regression
learns from them, and is measured on a fold that was never asked for: average precision of the
urgent mails and of the requests, accuracy of the breeds of pets and of digits. Five folds, five
draws; the mean, and the standard deviation over all of them. The last column says how many labels
do what 95 % of the score with all labels is; twice as many are drawn as chosen, to tell if half do.

small-text says of a start without labels only that its strategy must need no model. So it starts
with each of two such: examples drawn at random, and the middles of clusters. Once two labels are
known it goes on as it recommends: where the two likeliest labels are nearly as likely by the same
logistic regression.

The second table says how honest the quality is that is told while labels are chosen: in how many
of the runs it could be told, how many of its 95 % intervals hold the score on the fold that was
never asked for, and how many of those of the gain hold what the next 50 labels brought there.

    pip install 'nlp-transfer[benchmarks]'
    python benchmarks/labelling.py [--quick]
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from nlp_transfer.text_task import read_task
from staged_training.experiment.splits import near_duplicate_groups, stratified_folds
from staged_training.labels.quality import MORE, coordinates, measure_quality
from staged_training.labels.selection import (
    C,
    comparable,
    next_batch,
    random_order,
    random_sample,
    scores_of,
)
from staged_training.labels.strategies import Floats, Rows
from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table
from transfer_app.features import features_of_images, features_of_texts
from vision_transfer.image_task import read_image_task

BATCH = 10
SIZES = (50, 100, 150, 200, 250)
MOST = 400
CLAIMED_AT = (100, 200, 300)
FOLDS = 5
DRAWS = 5
ENOUGH = 0.95

Labels = list[str | None]
Way = Callable[[Floats, Labels, Rows, int], Rows]
"""Of features, labels, groups of near-duplicates and a seed: which examples to label next."""


class Pool(NamedTuple):
    """Examples whose labels can be asked for; near-duplicates share a group."""

    name: str
    features: NDArray[np.float32]
    labels: Rows
    folds: Rows
    groups: Rows
    positive: int | None = None

    def parts(self, fold: int) -> tuple[Rows, Rows]:
        """Return what can be asked for, and what is tested on."""
        return np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)


class Claim(NamedTuple):
    """What is said of a model and of the next labels, each as low, expected, high and true."""

    score: tuple[float, float, float, float]
    gain: tuple[float, float, float, float] | None


class Run(NamedTuple):
    """The score after each batch, and what was claimed at some sizes: nothing if it was too few."""

    scores: list[float]
    claims: dict[int, Claim | None]


def pools(*, quick: bool) -> Iterator[Pool]:
    """Yield the shipped sets."""
    pixels, digits = load_digits(return_X_y=True)
    own = np.arange(len(digits))
    digits_pool = Pool("digits", pixels, digits, stratified_folds(digits, own), own)
    if quick:
        yield digits_pool
        return
    data = RECIPES / "data"
    for name, file, column in (
        ("urgent mails", "messages", "label"),
        ("requests", "proxy", "asks_for_action"),
    ):
        task = read_task(data / "email_urgency" / f"{file}.parquet", None, column)
        texts = task.all.texts
        folds, groups = np.asarray(task.folds), near_duplicate_groups(texts)
        features, labels = features_of_texts(texts, "bert"), np.asarray(task.values)
        yield Pool(name, features, labels, folds, groups, task.target.positive)
    task = read_image_task(data / "pets", "breed")
    photos, own = features_of_images(task.paths, "efficientnet-lite0"), np.arange(len(task.paths))
    yield Pool("breeds", photos, np.asarray(task.values), np.asarray(task.folds), own)
    yield digits_pool


def narrow(features: Floats) -> Floats:
    """Return comparable features in no more dimensions than there are examples.

    That rotates them: all distances stay, and so does what a model says, but for rounding.
    """
    wide = comparable(features)
    examples, width = wide.shape
    return wide if width <= examples else coordinates(wide).astype(np.float32)


def at_random(features: Floats, labels: Labels, groups: Rows, seed: int) -> Rows:
    """Draw examples."""
    order = random_order(len(labels), seed)
    return order[[labels[row] is None for row in order]][:BATCH]


def chosen(features: Floats, labels: Labels, groups: Rows, seed: int) -> Rows:
    """Choose as `nlp-transfer label` does."""
    return next_batch(features, labels, BATCH, groups, seed).rows


def by_small_text(start: str, features: Floats, labels: Labels, groups: Rows, seed: int) -> Rows:
    """Choose as small-text does, which starts without a model by a strategy of that name."""
    import small_text

    known = np.flatnonzero([label is not None for label in labels])
    left = np.setdiff1d(np.arange(len(labels)), known)
    names, values = np.unique([str(labels[row]) for row in known], return_inverse=True)
    targets = np.zeros(len(labels), np.int64)
    targets[known] = values
    dataset = small_text.SklearnDataset(features, targets, np.unique(targets))
    np.random.seed(MOST * seed + len(known))  # small-text draws from NumPy's common generator
    if len(names) < 2:
        vectors = {"embeddings": features[[*left, *known]]} if start == "EmbeddingKMeans" else {}
        strategy = getattr(small_text, start)()
        return strategy.query(None, dataset, left, known, values, BATCH, **vectors)
    regression = LogisticRegression(C=C, max_iter=1000)
    factory = small_text.SklearnClassifierFactory(regression, len(names))
    learner = small_text.PoolBasedActiveLearner(factory, small_text.BreakingTies(), dataset)
    learner.initialize_data(known, values)
    return learner.query(BATCH)


SMALL_TEXT: dict[str, Way] = {
    "small-text, drawn first": partial(by_small_text, "RandomSampling"),
    "small-text, clusters first": partial(by_small_text, "EmbeddingKMeans"),
}


def run(pool: Pool, way: Way, fold: int, draw: int, most: int) -> Run:
    """Label the examples that a way chooses, and measure what is learnt from them."""
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
    train, test = pool.parts(fold)
    features, groups, seed = pool.features[train], pool.groups[train], FOLDS * draw + fold
    labels: Labels = [None] * len(train)
    asked: list[int] = []
    for _ in range(min(most, len(train)) // BATCH):
        for row in way(features, labels, groups, seed):
            labels[row] = str(pool.labels[train[row]])
            asked.append(row)
    sizes = range(BATCH, len(asked) + 1, BATCH)
    scores = [score(pool, train[asked[:size]], test) for size in sizes]
    told = [size for size in CLAIMED_AT if way is chosen and size + MORE <= len(asked)]
    return Run(scores, {size: claim(pool, fold, seed, asked, size) for size in told})


def score(pool: Pool, train: Rows, test: Rows) -> float:
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


def claim(pool: Pool, fold: int, seed: int, asked: list[int], size: int) -> Claim | None:
    """Return what is said of the first labels and of the next, beside what is true on the fold."""
    train, test = pool.parts(fold)
    rows = asked[:size]
    labels: Labels = [None] * len(train)
    for row in rows:
        labels[row] = str(pool.labels[train[row]])
    place = {row: number for number, row in enumerate(rows)}
    sample = random_sample(labels, pool.groups[train], random_order(len(train), seed))
    quality = measure_quality(
        pool.features[train[rows]],
        [str(labels[row]) for row in rows],
        np.array([place[row] for row in sample]),
    )
    if quality is None:
        return None
    measured = pool._replace(positive=int(quality.label) if quality.label else None)
    now, later = (score(measured, train[asked[:n]], test) for n in (size, size + MORE))
    low, high = quality.interval
    gain = quality.gain
    return Claim(
        (low, quality.scores[-1], high, now),
        (gain.low, gain.expected, gain.high, later - now) if gain else None,
    )


def row(name: str, curves: NDArray[np.float64], sizes: Sequence[int], full: float) -> list[str]:
    """Return a row of the table of scores."""
    at = [curves[:, size // BATCH - 1] for size in sizes]
    enough = np.flatnonzero(curves.mean(axis=0) >= ENOUGH * full)
    needed = str((enough[0] + 1) * BATCH) if len(enough) else f"over {curves.shape[1] * BATCH}"
    return [name, *(f"{part.mean():.3f} ± {part.std():.3f}" for part in at), f"{full:.3f}", needed]


def claim_rows(name: str, runs: list[Run]) -> Iterator[list[str]]:
    """Yield a row of the table of claims for each size."""
    for size in runs[0].claims:
        claims = [claim for run in runs if (claim := run.claims[size])]
        told = [name, str(size), f"{len(claims)} of {len(runs)}"]
        scores = np.array([claim.score for claim in claims]).reshape(-1, 4).T
        gains = np.array([claim.gain for claim in claims if claim.gain]).reshape(-1, 4).T
        yield [*told, *_held(*scores), *_held(*gains)]


def _held(low: Any, expected: Any, high: Any, true: Any) -> list[str]:
    if not len(true):
        return ["", "", ""]
    held = int(((low <= true) & (true <= high)).sum())
    means = [f"{values.mean():.3f}" for values in (high - low, expected, true)]
    return [f"{held} of {len(true)}", means[0], f"{means[1]}, {means[2]}"]


def behind(name: str, curves: NDArray[np.float64], random: NDArray[np.float64]) -> tuple[bool, str]:
    """Return whether chosen labels are ever worse than drawn ones by more than their spread."""
    first = SIZES[0] // BATCH - 1
    random = random[:, : curves.shape[1]]
    leads = (curves.mean(axis=0) - random.mean(axis=0))[first:]
    spreads = random.std(axis=0)[first:]
    at = int((leads + spreads).argmin())
    is_behind = bool(leads[at] < -spreads[at])
    return is_behind, (
        f"{name}: chosen labels are {'' if is_behind else 'never '}behind drawn ones by more than "
        f"the spread of these; closest with {(first + at + 1) * BATCH} labels: "
        f"lead {leads[at]:+.3f}, spread {spreads[at]:.3f}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="digits, one fold and draw, 150 labels"
    )
    quick = parser.parse_args().quick
    most = 150 if quick else MOST
    turns = [(fold, draw) for fold in range(FOLDS) for draw in range(DRAWS)][: 1 if quick else None]
    ways = {"at random": at_random, **(SMALL_TEXT if find_spec("small_text") else {})}
    if len(ways) == 1:
        print("small-text is not installed, and left out: pip install 'nlp-transfer[benchmarks]'\n")
    sizes = [size for size in SIZES if size <= most]
    scores, claims, verdicts = [], [], []
    for pool in pools(quick=quick):
        pool = pool._replace(features=narrow(pool.features))
        full = float(
            np.mean([score(pool, *pool.parts(fold)) for fold in {fold for fold, _ in turns}])
        )
        curves = {}
        for name, way in {**ways, "chosen": chosen}.items():
            labels = 2 * most if way is at_random else most
            tasks = (delayed(run)(pool, way, *turn, labels) for turn in turns)
            runs = Parallel(n_jobs=1 if quick else -1)(tasks)
            shortest = min(len(one.scores) for one in runs)
            curves[name] = np.array([one.scores[:shortest] for one in runs])
            scores.append(row(f"{pool.name}, {name}", curves[name], sizes, full))
            print(*scores[-1], sep="  ", file=sys.stderr, flush=True)
        claims += claim_rows(pool.name, runs)
        verdicts.append(behind(pool.name, curves["chosen"], curves["at random"]))
    header = ["", *(f"{size} labels" for size in sizes), "all labels", f"labels for {ENOUGH:.0%}"]
    print(markdown_table(header, scores))
    print("", *(verdict for _, verdict in verdicts), "", sep="\n\n")
    header = ["", "labels", "told in", "score in its interval", "width", "said, true"]
    print(markdown_table([*header, "gain in its interval", "width", "said, true"], claims))
    return any(is_behind for is_behind, _ in verdicts)


if __name__ == "__main__":
    sys.exit(main())
