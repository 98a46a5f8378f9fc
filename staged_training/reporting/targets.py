"""What a report says of a target: how models are chosen, the values, the columns of results."""

from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.experiment.task import LabelledTask
from staged_training.runtime.markdown import as_markdown

_POSITIVE = (
    "Epochs are chosen by average precision, which needs no threshold, and so are models where "
    "enough examples validate; else these are chosen by their loss. The decision threshold was "
    "then tuned on validation, for macro-F1, and is stored in the head of the model. AP is the "
    "average precision of the label that matters, over all thresholds; macro-F1 is taken at the "
    "tuned decision."
)
_METHODS: dict[type[Target], str] = {
    SingleLabel: "All labels matter alike: epochs and models are chosen by the first score of the "
    "table. Macro-F1 is the mean of the F1 of all labels, rare ones too; accuracy is the share of "
    "right predictions. Of three labels or more, the score of each was then divided by the square "
    "root of its mean score on validation, in the head of the model: else rare ones are hardly "
    "ever predicted. A linear head of a frozen encoder has a weighted loss instead.",
    MultiLabel: "Each label is decided by itself, at a threshold that is best for its F1 on "
    "validation and stored in the model, in the bias of its head. Macro AP is the mean of the "
    "average precision of all labels, over all thresholds; macro-F1 is the mean of their F1, and "
    "micro-F1 that of all decisions together.",
    Regression: "Numbers are learnt with mean 0 and deviation 1 over the training part; the model "
    "gives them in their own units. R² is the share of the variance that is explained, 0 for a "
    "model that always predicts the mean; Spearman is the correlation of ranks; MAE is the mean "
    "absolute error.",
}


def describe_method(target: Target) -> str:
    """Describe how models are chosen, and what their scores mean."""
    if isinstance(target, SingleLabel) and target.positive is not None:
        return _POSITIVE
    return _METHODS[type(target)]


def describe_values(task: LabelledTask) -> str:
    """Describe which labels or numbers the examples have, to follow upon how many they are."""
    target, values = task.target, task.values
    if isinstance(target, Regression):
        return f", each with a number, {values.min():g} to {values.max():g}"
    if isinstance(target, MultiLabel):
        return f", each with any number of {len(target.names)} labels"
    if isinstance(target, SingleLabel) and target.positive is not None:
        count = (values == target.positive).sum()
        return f", {count:,} of them {as_markdown(target.names[target.positive])}"
    return f" with {len(target.names)} labels"


def describe_target(target: Target) -> str:
    """Describe what a model predicts of an example, in Markdown."""
    names = ", ".join(map(as_markdown, target.names))
    if isinstance(target, Regression):
        return f"a number, {names}"
    if isinstance(target, MultiLabel):
        return f"any number of these labels: {names}"
    return f"one of these labels: {names}"


def all_labels(target: Target) -> str:
    """Return what makes a pipeline give the scores of all labels, where several may apply."""
    return f", top_k={len(target.names)}" if isinstance(target, MultiLabel) else ""


def titles_of(target: Target) -> dict[str, str]:
    """Return the columns of a table of results, with the score that models are chosen by."""
    return target.titles | {f"validation_{target.metric}": f"{target.title} on validation"}
