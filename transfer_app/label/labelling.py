"""A pool and its answers: what to ask next, how good a model of them is, and when to stop."""

from collections import Counter
from collections.abc import Collection
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from staged_training.labels.quality import MORE, Quality, measure_quality
from staged_training.labels.selection import Batch, linear_head, next_batch, random_sample
from staged_training.labels.strategies import Floats
from transfer_app.label.answers import Answers
from transfer_app.label.pool import Pool


class Labelling:
    """The labelling of a pool.

    Args:
        pool: The examples.
        answers: What was answered so far, which may change meanwhile.
    """

    def __init__(self, pool: Pool, answers: Answers) -> None:
        self.pool, self.answers = pool, answers

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The order in which examples are drawn at random: that of digests of their names.

        So the others keep their turns where examples are added.
        """
        digests = [
            sha256(name.encode("utf-8", "surrogatepass")).digest() for name in self.pool.names
        ]
        return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)

    def next_batch(self, count: int, without: Collection[int] = ()) -> Batch:
        """Choose examples to ask next; none if all were asked, or are like one that was.

        Args:
            count: How many.
            without: Examples that are being asked.
        """
        pool, answers = self.pool, self.answers
        return next_batch(
            pool.features,
            answers.labels,
            count,
            pool.groups,
            order=self._order,
            undecided=[*answers.undecided, *without],
        )

    def quality(self) -> Quality | None:
        """Measure a model of the answers, see `measure_quality`."""
        answers, order = self.answers, list(self.answers.order)
        labels = [str(answers.labels[row]) for row in order]
        place = {row: number for number, row in enumerate(order)}
        sample = [place[row] for row in self._sample() if row in place]
        return measure_quality(self.pool.features[order], labels, np.array(sample, np.int64))

    def head(self, row: int) -> tuple[list[str], Floats, Floats] | None:
        """Return what is learnt from all answers but that of an example; nothing before two labels.

        Returns:
            The labels, their weights `[labels, width]` and biases `[labels]`.
        """
        answers = self.answers
        order = [other for other in answers.order if other != row]
        names = sorted({str(answers.labels[other]) for other in order})
        if len(names) < 2:
            return None
        values = [names.index(str(answers.labels[other])) for other in order]
        return names, *linear_head(self.pool.features[order], values, names)

    def counted(self) -> str:
        """Say in a sentence how many labels there are."""
        answers, pool = self.answers, self.pool
        counts = Counter(label for label in answers.labels if label is not None)
        often_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        which = ", ".join(f"{count:,} {label}" for label, count in often_first)
        told = f"{counts.total():,} of {len(pool.names):,} {pool.kinds} have a label"
        told += f": {which}." if which else "."
        undecided = len(answers.undecided)
        return f"{told} Asked and left without a label: {undecided:,}." if undecided else told

    def _sample(self) -> NDArray[np.int64]:
        answers = self.answers
        return random_sample(answers.labels, self.pool.groups, self._order, answers.undecided)


def describe_quality(quality: Quality | None, kinds: str) -> str:
    """Say how good a model of the labels is, and what more of them would bring.

    Args:
        quality: As `Labelling.quality` gives it.
        kinds: What the examples are called.
    """
    if quality is None:
        return (
            "How good a model of these labels is cannot be told: that takes two labels, and ten "
            "examples that were drawn at random (fifty where one of two labels is rare). With more "
            "than 3,000 labels see the report of a recipe."
        )
    low, high = quality.interval
    score, gain = quality.scores[-1], quality.gain
    of_label = f" of '{quality.label}'" if quality.label else ""
    told = (
        f"A model of these labels has {'an' if quality.metric[0] == 'a' else 'a'} {quality.metric}"
        f"{of_label} of {score:.2f} (95 % interval {low:.2f} to {high:.2f}), measured on the "
        f"{quality.sample:,} {kinds} that were drawn at random."
    )
    if gain is None:
        return told
    told += (
        f" {MORE} more labels would add {100 * gain.expected:.1f} points (95 % interval "
        f"{100 * gain.low:.1f} to {100 * gain.high:.1f})."
    )
    return f"{told} This is a good time to stop." if quality.is_enough else told
