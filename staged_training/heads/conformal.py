"""Sets of labels that hold the true one as often as was asked, of each label by itself.

A threshold for all examples together keeps its promise on the frequent labels: on mail, sets that
held nine in ten of all true labels held one in eight of the urgent ones. So each label has a
threshold of its own, the score that the asked share of its own examples reaches (class-conditional
conformal prediction: Vovk 2012). The scores are stored, so that any coverage can be asked for.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import file_of_model, written_whole

FILE_NAME = "conformal.safetensors"
_ROUNDING = 1e-3, 1e-6  # of logits, which ONNX Runtime computes too, and of scores, in shares
_DIGITS = 9  # so that 0.55 * 100 is 55
_NAMED = 3  # labels in a message


@dataclass(frozen=True)
class Calibration:
    """What examples that a model was not trained on scored for their own labels.

    Attributes:
        names: The labels, in the order of the outputs of the model.
        labels: The number of a label that is true of an example, `int64 [calibration scores]`.
        scores: What the example scored for it, `float32 [calibration scores]`.
    """

    names: Sequence[str]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    def thresholds(self, coverage: float) -> NDArray[np.float64]:
        """Return the least score at which each label cannot be excluded, `[labels]`.

        It is not a number where a label has too few examples, see `fewest`.
        """
        of_labels = (self.scores[self.labels == label] for label in range(len(self.names)))
        return np.array([_threshold(scores, coverage) for scores in of_labels])

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""
        tensors: dict[str, NDArray[Any]] = {"labels": self.labels, "scores": self.scores}
        with written_whole(folder / FILE_NAME) as path:
            save_file(tensors, path, {"names": json.dumps(list(self.names))})


@dataclass(frozen=True)
class LabelSets:
    """What gives each input the labels that cannot be excluded.

    Attributes:
        coverage: The share of the examples of each label whose sets hold that label.
        thresholds: The least score of each label, by its name.
    """

    coverage: float
    thresholds: Mapping[str, float]

    def of(self, scores: Mapping[str, float]) -> list[str]:
        """Return the labels that the scores of an input, by label, do not exclude.

        Raises:
            InputError: The model has other labels.
        """
        if scores.keys() != self.thresholds.keys():
            raise InputError(
                "The labels of the model are not those that it was calibrated for. Copy it anew, "
                "or leave out `coverage`.",
                ["coverage"],
            )
        return [label for label, least in self.thresholds.items() if scores[label] >= least]


def calibrated(
    names: Sequence[str], applies: NDArray[np.bool], predictions: ArrayLike
) -> Calibration:
    """Return the calibration by examples that a model was not trained on.

    Args:
        names: The labels.
        applies: Which labels are true of which examples, `bool [examples, labels]`.
        predictions: Their scores, `[examples, labels]`.
    """
    rows, labels = np.nonzero(applies)
    scores = np.asarray(predictions)[rows, labels].astype(np.float32)
    # A view of every other number would be saved as those beside them.
    return Calibration(names, np.ascontiguousarray(labels), scores)


def fewest(coverage: float) -> int:
    """Return how many calibration examples a label needs for a coverage.

    Examples:
        >>> fewest(0.9), fewest(0.95)
        (9, 19)
    """
    return math.ceil(round(coverage / (1 - coverage), _DIGITS))


def label_sets(model: str, coverage: float) -> LabelSets:
    """Return what gives the inputs of a model their sets of labels.

    Args:
        model: Folder or Hub name of the model.
        coverage: The share of the examples of each label whose sets are to hold that label.

    Raises:
        InputError: The coverage cannot be promised: it is no share, the model predicts no labels or
            was saved without calibration, or a label has too few examples for it.
    """
    if not 0 < coverage < 1:
        raise InputError(
            f"`coverage` is {coverage:g}; give a share between 0 and 1, such as 0.9.", ["coverage"]
        )
    if file_of_model(model, "config.json") is None:
        raise InputError(
            f"{model}: no model could be loaded from there. Give the folder of a trained model, or "
            "a name on the Hub."
        )
    file = file_of_model(model, FILE_NAME)
    if file is None:
        raise InputError(
            f"{model}: no coverage can be promised, as it has no {FILE_NAME}. That is so of models "
            "of numbers, captions and boxes, and of those that an older version trained: train a "
            "classifier anew, or leave out `coverage`.",
            ["coverage"],
        )
    calibration = load_calibration(file)
    thresholds = calibration.thresholds(coverage)
    short = np.flatnonzero(np.isnan(thresholds))
    if len(short):
        raise _too_few(model, calibration, coverage, short.tolist())
    return LabelSets(coverage, dict(zip(calibration.names, thresholds.tolist(), strict=True)))


def load_calibration(file: Path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(file, "np") as opened:
            labels, scores = opened.get_tensor("labels"), opened.get_tensor("scores")
            names = json.loads(opened.metadata()["names"])
        is_whole = (
            all(isinstance(name, str) for name in names)
            and labels.dtype == np.int64
            and scores.dtype == np.float32
            and labels.shape == scores.shape == (len(labels),)
            and bool(((labels >= 0) & (labels < len(names)) & (scores >= 0) & (scores <= 1)).all())
        )
    except Exception:  # safetensors raises errors of its own, of several kinds
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{file} is damaged: it does not hold calibration scores. Copy the model anew, or "
            "leave out `coverage`.",
            ["coverage"],
        )
    return Calibration(names, labels, scores)


def _threshold(scores: NDArray[np.float32], coverage: float) -> float:
    """Return the least score of a label by those of its examples, not a number of too few."""
    count = len(scores)
    reached = math.ceil(round((count + 1) * coverage, _DIGITS))
    if reached > count:
        return math.nan
    least = float(np.sort(scores)[count - reached])
    of_logits, of_scores = _ROUNDING
    return least * (1 - of_logits * (1 - least) - of_scores)


def _too_few(
    model: str, calibration: Calibration, coverage: float, short: Sequence[int]
) -> InputError:
    """Return the error that names the labels with too few examples, and what can be asked."""
    counts = np.bincount(calibration.labels, minlength=len(calibration.names))
    named = ", ".join(f"{calibration.names[n]!r} has {counts[n]}" for n in short[:_NAMED])
    more = f", and {len(short) - _NAMED} more have too few" if len(short) > _NAMED else ""
    most = math.floor(100 * counts.min() / (counts.min() + 1)) / 100
    ask = f"Ask for {most:g} at the most, or train" if most > 0 else "Train"
    return InputError(
        f"{model}: a coverage of {coverage:g} takes {fewest(coverage)} calibration examples of "
        f"each label; {named}{more}. {ask} on more examples.",
        ["coverage"],
    )
