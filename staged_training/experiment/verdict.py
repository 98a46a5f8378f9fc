"""Whether two models differ: their scores on the same validation examples, drawn many times."""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from staged_training.experiment.outcome import Outcome
from staged_training.experiment.task import LabelledTask

DRAWS = 100
"""Draws of the examples; they give the deviation of a difference to a tenth."""

INTERVAL = 1.96
"""Deviations to either side of a mean that hold 95 % of a normal distribution."""

AS_GOOD = 0.02
"""How much less a simpler model may score to be as good, where no difference is to be seen."""

FEWEST = 30
"""How many examples to validate on it takes to compare models."""


class Difference(NamedTuple):
    """How much more one model scores than another, on validation.

    Attributes:
        mean: The difference.
        half: Half its 95 % interval.
    """

    mean: float
    half: float

    @property
    def is_seen(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        low, high = self.mean - self.half, self.mean + self.half
        return f"{self.mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"


def drawn_scores(
    task: LabelledTask, outcomes: Sequence[Sequence[Outcome]], folds: Sequence[int], metric: str
) -> Mapping[str, NDArray[np.float64]]:
    """Score models on draws of the validation examples, the same for all (Efron 1979).

    Args:
        task: The examples.
        outcomes: For each fold, the outcomes of all models, of every seed.
        folds: The folds that were tested on.
        metric: The score.

    Returns:
        By model its scores, `[DRAWS]`: means over folds of the means over seeds.
    """
    scores: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    by_fold = zip(folds, outcomes, strict=True)
    for fold, of_fold in tqdm(by_fold, "intervals", len(folds), delay=2, leave=False):
        values = task.values[task.split(fold).validation]
        rows = np.random.default_rng(fold).integers(len(values), size=(DRAWS, len(values)))
        of_models: dict[str, list[list[float]]] = defaultdict(list)
        for found in of_fold:
            predicted = np.asarray(found.validation_probabilities)
            with warnings.catch_warnings(action="ignore"):  # of draws without a rare label
                drawn = [task.target.scores(values[some], predicted[some])[metric] for some in rows]
            of_models[found.model].append(drawn)
        for model, of_seeds in of_models.items():
            scores[model].append(np.mean(of_seeds, axis=0))
    return {model: np.mean(of_folds, axis=0) for model, of_folds in scores.items()}


def describe_differences(
    differences: Mapping[str, Difference], chosen: str, floor: str, *, by_score: bool = True
) -> str:
    """Describe how a model compares with all others.

    Args:
        differences: How much more it scores than each model, from simple to complex; itself too.
        chosen: Its name.
        floor: The name of the model that looks at no example.
        by_score: Whether it was chosen by its score, so that a simpler one may be as good.

    Examples:
        >>> found = {"mean": Difference(0.4, 0.1), "linear": Difference(0.01, 0.05)}
        >>> print(describe_differences(found | {"net": Difference(0.0, 0.0)}, "net", "mean"))
        On validation, no difference to be seen from linear. Simpler and as good is linear (+0.010,
        95 % interval -0.040 to +0.060): use that. On validation it is ahead of mean (+0.400, 95 %
        interval +0.300 to +0.500).
    """
    others = {name: found for name, found in differences.items() if name != chosen}
    alike = [name for name, found in others.items() if not found.is_seen]
    as_good = [name for name in alike if others[name].mean <= AS_GOOD]
    order = list(differences)
    told = [f"On validation, no difference to be seen from {'; '.join(alike)}."] if alike else []
    if floor in alike:
        found = f"{floor} looks at no example ({others[floor]})"
        told.append(f"That it has learnt anything is not seen yet: {found}.")
    elif by_score and as_good and order.index(as_good[0]) < order.index(chosen):
        told.append(f"Simpler and as good is {as_good[0]} ({others[as_good[0]]}): use that.")
    for ahead, word in ((True, "ahead of"), (False, "behind")):
        names = [n for n, found in others.items() if found.is_seen and (found.mean > 0) == ahead]
        if names:
            nearest = min(names, key=lambda name: abs(others[name].mean))
            more = f" and of {len(names) - 1} more" if len(names) > 1 else ""
            told.append(f"On validation it is {word} {nearest} ({others[nearest]}){more}.")
    return " ".join(told)
