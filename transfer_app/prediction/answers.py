"""What classifiers, and models that predict a number, say of an input."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from transformers import PreTrainedConfig

from staged_training.runtime.printable import one_line
from staged_training.tables.labels import DECIDED
from transfer_app.prediction.predictor import Prediction

_SHOWN = 60  # characters of a text in a table


@dataclass(frozen=True)
class Answer(Prediction):
    """What a model says of an input.

    The fields are `label` and `scores`; `labels`, all that apply, and `scores`; or `value`, a
    number. Where a model knows its training data, `similarity` and `accepted` come after them.

    Attributes:
        rank: The number that answers are sorted by, the largest first.
        cells: What is shown in the columns of a table.
        explained: The output that an explanation is of: the likeliest label, or the number.
        doubt: Why an input that is out of distribution is not labelled.
    """

    rank: float
    cells: tuple[str, ...]
    explained: str
    doubt: str = ""

    def doubted(self, similarity: float, threshold: float) -> "Answer":
        """Return the answer to an input that is not similar enough to the training data."""
        asked = "not sure: please look"
        doubt = (
            f"similarity to the nearest training example {similarity:.2f}, needs {threshold:.2f}"
        )
        cells = (*self.cells[:-1], asked)
        return replace(self, lines=[f"{asked} ({doubt})"], cells=cells, doubt=doubt)

    def row(self, name: str, text: str) -> list[str]:
        """Return a row of a table: the answer, the name of the input, and how its text begins."""
        return [*map(one_line, [*self.cells, name]), self.doubt or " ".join(text.split())[:_SHOWN]]


def answer_of(outputs: Mapping[str, float], config: PreTrainedConfig) -> Answer:
    """Return what the outputs of a model mean, by the `problem_type` of its configuration.

    Args:
        outputs: The probability of each label, or a number, by its name.
        config: The configuration of the model.
    """
    if config.problem_type == "regression":
        return _number(*outputs.items())
    if config.problem_type == "multi_label_classification":
        return _several_labels(outputs, list((config.id2label or {}).values()))
    return _one_label(outputs, getattr(config, "positive_label", None))


def _one_label(scores: Mapping[str, float], positive: str | None) -> Answer:
    """Return the likeliest label with its score; ranked by that of the label that matters."""
    label = _likeliest(scores)
    score = f"{scores[label]:.2f}"
    rank = scores[label if positive is None else positive]
    fields = {"label": label, "scores": _rounded(scores)}
    return Answer(fields, [f"{label} ({score})"], rank, (score, label), label)


def _several_labels(scores: Mapping[str, float], names: Iterable[str]) -> Answer:
    """Return the labels that apply with their scores."""
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
    """Return rows by their ranks, the largest first, in lines."""
    cells = [row for _, row in sorted(rows, key=lambda ranked: -ranked[0])]
    *widths, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = ("  ".join(map(str.ljust, row, [*widths, 0])) for row in cells)
    return "\n".join(map(str.rstrip, lines))
