"""Labels that are probably wrong, by confident learning (Northcutt et al., JAIR 2021).

A label is doubted where a model that did not learn from the example says another. How many of them
are wrong is counted by how sure the model is, on average, of the examples that have each label.
"""

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.target import Floats, MultiLabel, Target
from staged_training.runtime.errors import InputError
from staged_training.tables.labels import DECIDED


class LabelErrors(NamedTuple):
    """How much the label of each example is doubted.

    Attributes:
        suspicion: From 0 to 1, `[examples]`; above 0.5 the model says another label.
        predicted: What the model says, values as those of a `Target`.
        wrong: Which labels are probably wrong, `[examples]`.
    """

    suspicion: Floats
    predicted: NDArray[Any]
    wrong: NDArray[np.bool]

    @property
    def order(self) -> NDArray[np.int64]:
        """The numbers of the examples, the most suspicious first."""
        return np.argsort(-self.suspicion, kind="stable")


def check_cleanlab() -> None:
    """Refuse to go on without cleanlab.

    Raises:
        InputError: It is not installed.
    """
    if not find_spec("cleanlab"):
        raise InputError(
            "Wrong labels are found by a package that is not installed: pip install "
            "'nlp-transfer[labels]'."
        )


def find_label_errors(target: Target, values: ArrayLike, probabilities: Floats) -> LabelErrors:
    """Find labels that are probably wrong.

    Args:
        target: What is predicted: one label, or several.
        values: The labels, see `Target`.
        probabilities: What a model says that did not learn from these examples, `[examples,
            labels]`.

    Raises:
        InputError: cleanlab is not installed.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> from staged_training.labels.label_errors import find_label_errors
        >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.05, 0.95]])
        >>> found = find_label_errors(SingleLabel(["calm", "urgent"]), [0, 0, 1, 1, 0], sure)
        >>> int(found.order[0]), found.predicted.tolist(), found.wrong.tolist()
        (4, [0, 0, 1, 1, 1], [False, False, False, False, True])
    """
    check_cleanlab()
    from cleanlab import filter as one_label
    from cleanlab import multilabel_classification as several
    from cleanlab.rank import get_label_quality_scores

    values = np.asarray(values)
    if isinstance(target, MultiLabel):
        labels = [np.flatnonzero(row).tolist() for row in values]
        quality = several.get_label_quality_scores(labels, probabilities)
        wrong = several.filter.find_label_issues(labels, probabilities, n_jobs=1)
        return LabelErrors(1 - quality, (probabilities >= DECIDED).astype(int), wrong)
    quality = get_label_quality_scores(values, probabilities, method="normalized_margin")
    wrong = one_label.find_label_issues(values, probabilities, n_jobs=1)
    return LabelErrors(1 - quality, probabilities.argmax(axis=1), wrong)
