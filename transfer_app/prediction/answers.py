"""What trained models say of an input; PyTorch is not needed for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.heads.conformal import LabelSets
from staged_training.heads.familiarity import Familiarity
from staged_training.runtime.printable import one_line

_SHOWN = 60  # characters of a text in a table


@dataclass(frozen=True)
class Prediction:
    """What a model predicts of an input.

    Attributes:
        fields: What programs are told, as fields of a JSON object.
        lines: What people are told, a line for each thing that was found.
        annotations: What COCO's annotations say of a photo, but for their ids and that of the
            image; of captioners and detectors.
    """

    fields: dict[str, Any]
    lines: list[str]
    annotations: Sequence[dict[str, Any]] = field(default=(), kw_only=True)


class Outputs(NamedTuple):
    """What the outputs of a classifier, or of a model that predicts a number, are.

    Attributes:
        labels: The name of each output.
        problem_type: How they are to be read, as in the configuration of the model.
        positive_label: The label that matters most, if one does.
    """

    labels: list[str]
    problem_type: str
    positive_label: str | None


@dataclass(frozen=True)
class Answer(Prediction):
    """What a model says of an input.

    The fields are `label` and `scores`; `labels`, all that apply, and `scores`; or `value`, a
    number. Where a coverage was asked for, `set` comes after them, and where a model knows its
    training data, `similarity` and `accepted`.

    Attributes:
        rank: The number that answers are sorted by, the largest first.
        cells: What is shown in the columns of a table.
        explained: The output that an explanation is of: the likeliest label, or the number.
        doubt: Why an input is not labelled.
    """

    rank: float
    cells: tuple[str, ...]
    explained: str
    doubt: str = ""

    def doubted(self, doubt: str) -> "Answer":
        """Return the answer to an input that is not labelled, and why."""
        asked = "not sure: please look"
        cells = (*self.cells[:-1], asked)
        return replace(self, lines=[f"{asked} ({doubt})"], cells=cells, doubt=doubt)

    def row(self, name: str, text: str) -> list[str]:
        """Return a row of a table: the answer, the name of the input, and how its text begins."""
        begins = " ".join(text.split())[:_SHOWN]
        told = "; ".join(filter(None, [self.doubt, begins]))
        return [*map(one_line, [*self.cells, name]), told]


def answer_of(scores: Mapping[str, float], outputs: Outputs) -> Answer:
    """Return what the scores of an input mean.

    Args:
        scores: The probability of each label, or a number, by its name.
        outputs: What the outputs of the model are.
    """
    if outputs.problem_type == "regression":
        return _number(*scores.items())
    if outputs.problem_type == "multi_label_classification":
        return _several_labels(scores, outputs.labels)
    return _one_label(scores, outputs.positive_label)


def scores_of_logits(logits: NDArray[Any], problem_type: str) -> list[float]:
    """Return the probability of each label, or numbers, as the pipelines of `transformers` do.

    Args:
        logits: Of an input, `[outputs]`.
        problem_type: How they are to be read, see `Outputs`.
    """
    if problem_type == "regression":
        return cast(list[float], logits.tolist())
    if problem_type == "multi_label_classification" or len(logits) == 1:
        return cast(list[float], (1 / (1 + np.exp(-logits))).tolist())
    exponentials = np.exp(logits - logits.max())
    return cast(list[float], (exponentials / exponentials.sum()).tolist())


def checked(answer: Answer, known: Familiarity, features: ArrayLike) -> Answer:
    """Return an answer that says whether its input is like the training data.

    Args:
        answer: The answer without that.
        known: What the model knows of its training data.
        features: Those of the input, `[width]`.
    """
    similarity = float(known.similarity(np.asarray(features)[None])[0])
    accepted = similarity >= known.threshold
    told = {"similarity": round(similarity, 4), "accepted": accepted}
    answer = replace(answer, fields=answer.fields | told)
    if accepted:
        return answer
    needed = f"{similarity:.2f}, needs {known.threshold:.2f}"
    return answer.doubted(f"similarity to the training examples {needed}")


def with_set(answer: Answer, sets: LabelSets, scores: Mapping[str, float]) -> Answer:
    """Return an answer with the set of labels that cannot be excluded.

    One label is not sure unless it is the only one in the set.

    Args:
        answer: The answer without that.
        sets: What gives the set.
        scores: The probability of each label.
    """
    found = sets.of(scores)
    answer = replace(answer, fields=answer.fields | {"set": found})
    if "label" not in answer.fields or found == [answer.fields["label"]]:
        return answer
    rest = ", ".join(found) or "no label fits"
    return answer.doubted(f"at {sets.coverage:g} coverage: {rest}")


def _one_label(scores: Mapping[str, float], positive: str | None) -> Answer:
    """Return the likeliest label with its score; ranked by that of the label that matters."""
    label = _likeliest(scores)
    score = f"{scores[label]:.2f}"
    rank = scores[label if positive is None else positive]
    fields = {"label": label, "scores": _rounded(scores)}
    return Answer(fields, [f"{label} ({score})"], rank, (score, label), label)


def _several_labels(scores: Mapping[str, float], names: Iterable[str]) -> Answer:
    """Return the labels that apply with their scores."""
    from staged_training.tables.labels import DECIDED  # beside the readers of tables

    labels = [name for name in names if scores[name] >= DECIDED]
    likeliest = _likeliest(scores)
    shown = ", ".join(f"{name} ({scores[name]:.2f})" for name in labels)
    shown = shown or f"none ({scores[likeliest]:.2f})"
    fields = {"labels": labels, "scores": _rounded(scores)}
    return Answer(fields, [shown], scores[likeliest], (shown,), likeliest)


def _number(output: tuple[str, float]) -> Answer:
    """Return a number to the seven digits that single precision holds."""
    name, value = output[0], float(f"{output[1]:.7g}")
    shown = f"{value:.12g}"
    return Answer({"value": value}, [shown], value, (shown,), name)


def _likeliest(scores: Mapping[str, float]) -> str:
    return max(scores, key=scores.__getitem__)


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {label: round(score, 4) for label, score in scores.items()}


def table(rows: Iterable[tuple[float, list[str]]]) -> str:
    """Return rows by their ranks, the largest first, in lines; no line where there is no row."""
    cells = [row for _, row in sorted(rows, key=lambda ranked: -ranked[0])]
    if not cells:
        return ""
    *widths, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = ("  ".join(map(str.ljust, row, [*widths, 0])) for row in cells)
    return "\n".join(map(str.rstrip, lines))
