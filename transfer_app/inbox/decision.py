"""Which mails get the mark: those that a trained model gives a label, or a score that is high."""

import math
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import tee
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from staged_training.runtime.errors import InputError
from transfer_app.prediction.answers import Answer, Outputs
from transfer_app.prediction.inputs import Input, usable
from transfer_app.prediction.onnx_classifier import open_classifier

if TYPE_CHECKING:
    from transfer_app.prediction.classifiers import Classifier


class Decision(NamedTuple):
    """What was decided of a mail.

    Attributes:
        score: The probability of the label, or the number that the model predicts.
        is_chosen: Whether the mail gets the mark.
        words: The words that mattered most, if they are asked for.
    """

    score: float
    is_chosen: bool
    words: str = ""


class Decider:
    """Decides which mails get the mark.

    Args:
        model: Folder or Hub name of a classifier of texts, or of a model that predicts a number.
        label: The label whose mails get the mark; by default the one that matters to the model.
        threshold: The least score of that label, or the least number, for the mark; by default the
            model decides, as it does for `predict`.
        explained: Whether the words that mattered are told, which takes PyTorch.

    Raises:
        InputError: There is no such model, or it has no such label.
    """

    def __init__(
        self,
        model: str,
        label: str | None = None,
        threshold: float | None = None,
        explained: bool = False,
    ) -> None:
        if threshold is not None and not math.isfinite(threshold):
            raise InputError(f"`threshold` is {threshold}. Give a number.", ["threshold"])
        self._classifier = _explainable(model) if explained else open_classifier(model)
        if self._classifier.task != "text-classification":
            raise InputError(f"{model}: is a model of images. Give one of texts.")
        self._explained, self._threshold = explained, threshold
        self.label = _checked(model, self._classifier.outputs, label, threshold)

    @property
    def other_label(self) -> str | None:
        """Return the label of mails that do not get the mark, where the model chooses of two."""
        labels, problem_type, _ = self._classifier.outputs
        others = [name for name in labels if name != self.label]
        is_one = problem_type == "single_label_classification" and len(others) == 1
        return others[0] if is_one else None

    def decide(self, mails: Iterable[Input]) -> Iterator[tuple[Input, Decision | None]]:
        """Yield each mail with what was decided, or with nothing where it cannot be read."""
        mails, ahead = tee(mails)
        answers = self._classifier.predict(usable(ahead))
        for mail in mails:
            if mail.problem is not None:
                yield mail, None
                continue
            _, answer = next(answers)
            decision = self._decision(answer)
            if self._explained and decision.is_chosen:
                decision = decision._replace(words=self._words(mail.load()))
            yield mail, decision

    def _decision(self, answer: Answer) -> Decision:
        fields = answer.fields
        score = fields["value"] if "value" in fields else fields["scores"][self.label]
        if self._threshold is not None:
            is_chosen = score >= self._threshold
        else:
            is_chosen = self.label in fields.get("labels", [fields.get("label")])
        return Decision(score, is_chosen and not answer.doubt)

    def _words(self, text: str) -> str:
        from nlp_transfer.explanation import explain, in_words

        classifier = cast("Classifier", self._classifier)
        model, tokenizer = classifier.pipeline.model, cast(Any, classifier.pipeline.tokenizer)
        words = explain(cast(Any, model), tokenizer, text, classifier.index_of(self.label))
        return in_words(text, words).replace("\n", "; ")


def _explainable(model: str) -> Any:
    """Open a model by PyTorch, which explanations take."""
    if not find_spec("captum"):
        raise InputError("Explanations need more: pip install 'nlp-transfer[demo]'.")
    from transfer_app.prediction.opening import open_predictor

    return open_predictor(model)


def _checked(model: str, outputs: Outputs, label: str | None, threshold: float | None) -> str:
    """Return the label whose mails get the mark."""
    if outputs.problem_type == "regression":
        if threshold is None or label is not None:
            raise InputError(
                f"{model}: predicts a number, {outputs.labels[0]}. Say from which on mail is "
                "marked, by `threshold`, and no `label`.",
                ["threshold", "label"],
            )
        return outputs.labels[0]
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"`threshold` is {threshold}. Scores are from 0 to 1.", ["threshold"])
    chosen = label or outputs.positive_label
    if chosen not in outputs.labels:
        problem = f"has no label {label!r}" if label else "does not say which label matters"
        listed = ", ".join(outputs.labels)
        raise InputError(f"{model}: {problem}. Choose by `label`: {listed}.", ["label"])
    return chosen
