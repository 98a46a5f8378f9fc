"""Advice before any training: which layers to train, by how similar and how large the data are.

| | similar to the pretraining data | different |
|---|---|---|
| small set | train a classifier on top | in trouble: get more data |
| large set | fine-tune a few more layers | fine-tune a larger number of layers |
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.splits import stratified_folds
from staged_training.heads.learning_curve import CurvePoint, learning_curve, what_more_would_bring
from staged_training.runtime.errors import InputError
from staged_training.stages import Stage

LARGE = 1_000
"""Labelled examples from which on there are enough to fine-tune layers of the base."""

_SIMILAR_AND_SMALL = (
    "Similar and small: train a classifier on top of the frozen base. To fine-tune more layers on "
    "so few examples mostly makes them forget."
)
_DIFFERENT_AND_SMALL = (
    "Different and small: in trouble. The base does not know such data, and there are too few to "
    "teach it. Train a classifier on top as a baseline, and get more labels."
)
_SIMILAR_AND_LARGE = (
    "Similar and large: train a classifier on top, then fine-tune a few more layers."
)
_DIFFERENT_AND_LARGE = (
    "Different and large: train a classifier on top, then fine-tune a larger number of layers."
)


class Similarity(NamedTuple):
    """How similar data are to what a base was pretrained on.

    Attributes:
        measure: What was measured, in words.
        value: What was found.
        threshold: From this on data are similar.

    Examples:
        >>> Similarity("share of the words that have a vector", 0.97, threshold=0.9).similar
        True
    """

    measure: str
    value: float
    threshold: float

    @property
    def similar(self) -> bool:
        """Whether they are similar."""
        return self.value >= self.threshold


class Ladder(NamedTuple):
    """The stages that advice is made of, each for the case that the one before is not enough.

    Attributes:
        classifier: A classifier on top of the frozen base.
        few_layers: A few more layers.
        many_layers: A larger number of layers.
        pretrained: Selector of the base, where that is not the whole backbone: of a recurrent
            model on word vectors it is the embedding alone.
    """

    classifier: Stage
    few_layers: Stage
    many_layers: Stage
    pretrained: str | None = None


@dataclass(frozen=True)
class Advice:
    """What to do with some data, and why.

    Attributes:
        similarity: How similar they are to the pretraining data.
        examples: How many labelled examples there are.
        stages: What to train, ready for `StagedTrainer`.
        curve: Accuracy of linear probes by the number of training examples.
        pretrained: The argument `pretrained` of `StagedTrainer`, if it needs one.
    """

    similarity: Similarity
    examples: int
    stages: list[Stage]
    curve: list[CurvePoint]
    pretrained: str | None = None

    @property
    def large(self) -> bool:
        """Whether the set is large."""
        return self.examples >= LARGE

    @property
    def quadrant(self) -> str:
        """What the table says."""
        if self.similarity.similar:
            return _SIMILAR_AND_LARGE if self.large else _SIMILAR_AND_SMALL
        return _DIFFERENT_AND_LARGE if self.large else _DIFFERENT_AND_SMALL

    def __str__(self) -> str:
        measure, value, threshold = self.similarity
        told = f", pretrained={self.pretrained!r}" if self.pretrained else ""
        accuracies = ", ".join(f"{p.accuracy:.3f} with {p.examples:,}" for p in self.curve)
        return "\n".join(
            [
                f"Similarity: {measure} {value:.3f} (similar from {threshold:g} on): "
                f"{'similar' if self.similarity.similar else 'different'}.",
                f"Size: {self.examples:,} labelled examples (large from {LARGE:,} on): "
                f"{'large' if self.large else 'small'}.",
                f"Learning curve: the accuracy of a linear probe is {accuracies} examples. "
                + what_more_would_bring(self.curve),
                "",
                self.quadrant,
                "",
                "from staged_training import Stage, StagedTrainer",
                "",
                "stages = [",
                *(f"    {_code(stage)}," for stage in self.stages),
                "]",
                f"trainer = StagedTrainer(model, args, stages{told}, train_dataset=train)",
            ]
        )


def advise(
    similarity: Similarity,
    features: NDArray[np.float32],
    labels: Sequence[int],
    ladder: Ladder,
    C: float = 1.0,
) -> Advice:
    """Place data in the table.

    Args:
        similarity: How similar they are to the pretraining data, as measured.
        features: What the base gives of every example, `[examples, width]`.
        labels: Their label numbers.
        ladder: The stages to choose from.
        C: Inverse strength of the L2 penalty of the probes.

    Returns:
        The stages, and why. `print` shows it in words, and how to train as code.

    Examples:
        >>> from staged_training import Stage
        >>> head = Stage("head", train="head", epochs=5, learning_rate=1e-3)
        >>> more, most = (Stage("layers", name, 3, 1e-4) for name in ("backbone[-1:]", "backbone"))
        >>> similarity = Similarity("share of the words that have a vector", 0.97, threshold=0.9)
        >>> advice = advise(similarity, np.eye(2)[labels], labels, Ladder(head, more, most))
        >>> advice.large, [stage.name for stage in advice.stages], advice.curve[-1].accuracy
        (False, ['head'], 1.0)
    """
    numbers = np.asarray(labels)
    held_out = stratified_folds(labels, range(len(labels))) == 0
    train, validation = ((features[rows], numbers[rows]) for rows in (~held_out, held_out))
    curve = learning_curve(train, validation, int(numbers.max()) + 1, C)
    rungs = 1 if len(labels) < LARGE else 2 if similarity.similar else 3
    return Advice(
        similarity,
        len(labels),
        [ladder.classifier, ladder.few_layers, ladder.many_layers][:rungs],
        curve,
        ladder.pretrained,
    )


def label_numbers(labels: Sequence[str] | Sequence[int], examples: int) -> list[int]:
    """Return the numbers of labels, for `advise`.

    Args:
        labels: The label of each example.
        examples: How many there are.

    Raises:
        InputError: There are not as many labels, one is neither a text nor a whole number, as the
            others are, or too rare to be measured.

    Examples:
        >>> from staged_training.heads.advisor import label_numbers
        >>> label_numbers(["cat", "dog"] * 5, examples=10)
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    """
    if len(labels) != examples:
        raise InputError(f"labels: {len(labels):,} are given for {examples:,} examples.")
    kind = str if isinstance(next(iter(labels), ""), str) else int | np.integer | np.bool
    for number, label in enumerate(labels):
        if not isinstance(label, kind):
            raise InputError(
                f"labels: number {number} is {label!r:.40}. Give a text or a whole number for each "
                "example, not both."
            )
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise InputError("labels: there is one at most. Give examples of two or more.")
    stratified_folds(labels, range(examples))
    return [int(number) for number in numbers]


def _code(stage: Stage) -> str:
    """Return a stage as code: the fields that differ from their defaults."""
    _, *others = fields(stage)
    given = [f for f in others if getattr(stage, f.name) != f.default]
    arguments = [f"{f.name}={getattr(stage, f.name)!r}" for f in given]
    return f"Stage({', '.join([repr(stage.name), *arguments])})"
