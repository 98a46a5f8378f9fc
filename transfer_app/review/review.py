"""A review of labels: which are doubted, why, and a table of it."""

from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nlp_transfer.emails.containers import shown_name
from staged_training.experiment.target import Floats, MultiLabel
from staged_training.labels.evidence import contradicting, nearest
from staged_training.labels.label_errors import LabelErrors, find_label_errors
from staged_training.labels.out_of_fold import out_of_fold_scores
from staged_training.runtime.printable import one_line
from transfer_app.review.examples import Examples

_SHOWN = 10
_ONE_OF_TWO = 0.5
_MOST_NAMED = 3


class Review(NamedTuple):
    """What is doubted of labelled examples.

    Attributes:
        examples: The examples.
        labels: The label of each, in words.
        scores: What a model says of each that learnt from others, `[examples, labels]`.
        errors: How much each label is doubted.
        why: What speaks against each; empty where nothing does.
    """

    examples: Examples
    labels: list[str]
    scores: Floats
    errors: LabelErrors
    why: list[str]

    def said(self, row: int) -> str:
        """Return what the model says of an example, in words, with its score."""
        target, scores = self.examples.task.target, self.scores[row]
        predicted = self.errors.predicted[row]
        if isinstance(target, MultiLabel):
            differ = np.flatnonzero(predicted != self.examples.task.values[row])
            told = [
                f"{'' if predicted[label] else 'not '}{target.names[label]} ({scores[label]:.2f})"
                for label in differ.tolist()
            ]
            return ", ".join(told) or f"the same, {target.describe_value(predicted)}"
        return f"{target.describe_value(predicted)} ({scores[int(predicted)]:.2f})"

    def lines(self) -> list[str]:
        """Return what people are told: how many labels are doubted, and the first of them."""
        errors, examples = self.errors, self.examples
        folds = len(set(examples.folds.tolist()))
        told = [
            f"{len(self.labels):,} {examples.kind}, of which perhaps {errors.wrong.sum():,} have a "
            f"wrong label, as far as a model can tell (cross-validated, {folds} folds)."
        ]
        doubted = [row for row in errors.order[:_SHOWN].tolist() if self.why[row]]
        told += ["The most suspicious:" if doubted else "Each label is what the model says, too."]
        for number, row in enumerate(doubted, start=1):
            parts = [f"{number:2}. {examples.names[row]}: {self.labels[row]}"]
            parts += [f"    {part}" for part in (self.why[row], examples.beginnings[row]) if part]
            told += map(one_line, parts)
        return told

    def table(self) -> tuple[pa.Table | None, pa.Table]:
        """Return the columns of the input and ours, all rows, the most suspicious first.

        What was left out of the review, as it has no text or cannot be decoded, comes last.
        """
        examples, order, target = self.examples, self.errors.order, self.examples.task.target
        fitting: list[Any] = list(map(target.describe_value, self.errors.predicted))
        if isinstance(target, MultiLabel):  # as a list, since a name may hold a comma
            fitting = [list(compress(target.names, value)) for value in self.errors.predicted]
        found = pa.table(
            {
                "input": [shown_name(examples.names[row]) for row in order],
                "label": [self.labels[row] for row in order],
                "suspicion": self.errors.suspicion[order].round(4),
                "predicted": [fitting[row] for row in order],
                "why": [self.why[row] for row in order],
            }
        )
        if examples.own is None:
            return None, found
        rows, others = examples.own.used[order], examples.own.left_out
        names = [shown_name(examples.own.names[row]) for row in others]
        last = pa.table({"input": names, "why": [examples.own.problem] * len(names)})
        found = pa.concat_tables([found.drop_columns("label"), last], promote_options="permissive")
        return examples.own.table.take(np.concatenate([rows, others])), found


def review_labels(examples: Examples) -> Review:
    """Find labels that are probably wrong, and what speaks against them.

    A copy with another label proves one of the two wrong, whatever a model says.
    """
    task = examples.task
    scores = out_of_fold_scores(examples.features, task.values, task.target, examples.folds)
    labels = [task.target.describe_value(value) for value in task.values]
    errors = find_label_errors(task.target, task.values, scores)
    suspicion, doubted = errors.suspicion.copy(), errors.doubted.copy()
    torn = list(contradicting(examples.copies, labels))
    suspicion[torn], doubted[torn] = np.maximum(suspicion[torn], _ONE_OF_TWO), True
    errors = errors._replace(suspicion=suspicion, doubted=doubted)
    found = Review(examples, labels, scores, errors, [])
    return found._replace(why=_reasons(found))


def _reasons(found: Review) -> list[str]:
    """Return what speaks against each label that is doubted; nothing of the others."""
    examples, labels = found.examples, found.labels
    why = [""] * len(labels)
    doubted = np.flatnonzero(found.errors.doubted)
    copies, similar = (contradicting(g, labels) for g in (examples.copies, examples.similar))
    neighbours = nearest(examples.features, examples.similar, doubted)
    for row, near in zip(doubted.tolist(), neighbours, strict=True):
        same = copies.get(row, [])
        alike = [other for other in similar.get(row, []) if other not in same]
        unlike = [other for other in near if labels[other] != labels[row]]
        reasons = [
            f"the model says {found.said(row)}",
            _named(found, "a copy:", same),
            _named(found, "nearly the same:", alike),
            _named(
                found, f"{len(unlike)} of the {len(near)} most similar have another label:", unlike
            ),
        ]
        why[row] = "; ".join(filter(None, reasons))
    return why


def _named(found: Review, what: str, rows: Sequence[int]) -> str:
    """Name examples with their labels, if there are any."""
    if not rows:
        return ""
    names = found.examples.names
    told = ", ".join(f"{names[row]} ({found.labels[row]})" for row in rows[:_MOST_NAMED])
    more = f" and {len(rows) - _MOST_NAMED:,} more" if len(rows) > _MOST_NAMED else ""
    return f"{what} {told}{more}"
