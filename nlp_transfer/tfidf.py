"""Linear models on TF-IDF of words and pairs: fitted by scikit-learn, saved like any model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import TrainerState

from nlp_transfer.models import TfidfConfig, TfidfForSequenceClassification
from nlp_transfer.text_task import LabelledTexts, TextTask
from nlp_transfer.trained_model import save_trained
from staged_training.experiment.candidate import MODELS, Candidate, Round
from staged_training.experiment.outcome import Outcome, mean_decision, outcome
from staged_training.experiment.splits import Indices
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.heads.class_weights import ClassWeight
from staged_training.heads.decision import name_positive
from staged_training.heads.head_search import score_trial
from staged_training.heads.linear_probe import fit_linear
from staged_training.tables.word_tokenizer import WordTokenizer
from staged_training.tables.words import long_words

ROWS: dict[type[Target], str] = {
    SingleLabel: "TF-IDF + logistic regression",
    MultiLabel: "TF-IDF + logistic regressions",
    Regression: "TF-IDF + ridge regression",
}
"""What the models are called, by what they predict."""

CS = (0.1, 1.0, 10.0, 100.0)
"""The inverse strengths of the L2 penalty that are tried."""


class LinearModel(NamedTuple):
    """A linear model on TF-IDF.

    Attributes:
        vectorizer: What computes TF-IDF.
        weight: What each feature adds to each logit, `[outputs, features]`.
        bias: What each logit begins with, `[outputs]`.
        C: The inverse strength of its penalty.
    """

    vectorizer: TfidfVectorizer
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    C: float

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return logits `[texts, outputs]`."""
        return np.asarray(self.vectorizer.transform(texts) @ self.weight.T + self.bias)


@dataclass(frozen=True)
class TfidfCandidate(Candidate):
    """A linear model on TF-IDF: logistic regression of labels, ridge regression of numbers.

    Attributes:
        task: The labelled texts.
        class_weight: What each label weighs in the loss.
    """

    task: TextTask
    class_weight: ClassWeight = "balanced"

    @property
    def name(self) -> str:  # type: ignore[override]
        """What people call it, and its row."""
        return ROWS[type(self.task.target)]

    def row_names(self) -> list[str]:
        """Return its name: it ends with one model."""
        return [self.name]

    def refits(self, row: str, size: int) -> bool:
        """Return true: to fit it takes a second."""
        return True

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Fit it with each C, then score and save the one that is best on validation."""
        start = time.perf_counter()
        train, validation, test = (self.task.all.select(rows) for rows in round_.split)
        model = fit_best(train, validation, self.task.target, self.class_weight)
        logits = [model.logits(part.texts) for part in (validation, test)]
        found = outcome(
            self.name,
            (validation.labels, test.labels),
            logits,
            self.task.target,
            seconds=time.perf_counter() - start,
            trainable_parameters=self._fitted_rows * (model.weight.shape[1] + 1),
            grid=[{"C": model.C}],
        )
        self._save(model, [found], folder / MODELS / self.name)
        return [found]

    @property
    def _fitted_rows(self) -> int:
        """The outputs that are fitted: of two labels one, the other is its opposite."""
        outputs = len(self.task.target.names)
        return 1 if isinstance(self.task.target, SingleLabel) and outputs == 2 else outputs

    def refit(self, rows: Indices, outcomes: Sequence[Outcome], seed: int, folder: Path) -> None:
        """Fit it to all rows, with the median of the Cs that were best."""
        C = median_low(found.grid[0]["C"] for found in outcomes)
        known = self.task.all.select(rows)
        vectorizer = tfidf_vectorizer()
        features = vectorizer.fit_transform(known.texts)
        fitted = fit_linear(features, known.labels, self.task.target, C, self.class_weight)
        self._save(LinearModel(vectorizer, *fitted, C), outcomes, folder / "model")

    def _save(self, found: LinearModel, outcomes: Sequence[Outcome], folder: Path) -> None:
        """Save a model, with the decision in its head."""
        target, (bias, temperature) = self.task.target, mean_decision(outcomes)
        head = found.weight / temperature[:, None], (found.bias + bias) / temperature
        model, tokenizer = tfidf_classifier(found.vectorizer, *head, target.names)
        model.config.problem_type = target.problem_type
        name_positive(model.config, target)
        self.task.store_columns(model.config)
        save_trained(model, tokenizer, TrainerState(), folder)


def fit_best(
    train: LabelledTexts,
    validation: LabelledTexts,
    target: Target,
    class_weight: ClassWeight = "balanced",
) -> LinearModel:
    """Fit a linear model on TF-IDF of words and pairs of words.

    Args:
        train: What to fit it to.
        validation: What the strength of the penalty is chosen on, by the metric of the target and,
            among equals, by the loss: of models that find the same the surest is taken. (By the
            loss alone, of 20 newsgroups with 100 labels a macro-F1 of 0.284 was left of 0.362.)
        target: What is predicted.
        class_weight: What each label weighs in the loss.
    """
    vectorizer = tfidf_vectorizer()
    features = vectorizer.fit_transform(train.texts)

    def rank(model: LinearModel) -> tuple[float, float]:
        logits = model.logits(validation.texts)
        return score_trial({"C": model.C}, target, validation.labels, logits).rank

    fitted = ((fit_linear(features, train.labels, target, C, class_weight), C) for C in CS)
    return max((LinearModel(vectorizer, *model, C) for model, C in fitted), key=rank)


def tfidf_vectorizer() -> TfidfVectorizer:
    """Return what computes TF-IDF of words and pairs of words, in any script; not fitted yet.

    Examples:
        >>> tfidf_vectorizer().fit(["Call me"]).get_feature_names_out().tolist()
        ['call', 'call me', 'me']
    """
    return TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, tokenizer=long_words, token_pattern=None
    )


def tfidf_classifier(
    vectorizer: TfidfVectorizer, weight: ArrayLike, bias: ArrayLike, names: Sequence[str]
) -> tuple[TfidfForSequenceClassification, WordTokenizer]:
    """Make a model of `transformers` of a linear model that scikit-learn fitted to TF-IDF.

    Args:
        vectorizer: From `tfidf_vectorizer`, fitted.
        weight: What each feature adds to each logit, `[labels, features]`.
        bias: What each logit begins with, `[labels]`.
        names: The names of the labels.

    Returns:
        The model, whose logits are `vectorizer.transform(texts) @ weight.T + bias`, and its
        tokenizer.

    Raises:
        ValueError: The vectorizer computes something else.

    Examples:
        >>> from sklearn.linear_model import Ridge
        >>> vectorizer = tfidf_vectorizer()
        >>> ridge = Ridge().fit(vectorizer.fit_transform(texts), [len(text) for text in texts])
        >>> weight, bias = ridge.coef_[None], [ridge.intercept_]
        >>> model, tokenizer = tfidf_classifier(vectorizer, weight, bias, ["length"])
        >>> logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        >>> wanted = ridge.predict(vectorizer.transform(texts))
        >>> np.allclose(logits.detach().squeeze(1), wanted, rtol=1e-5)
        True
    """
    if vectorizer.get_params() != tfidf_vectorizer().get_params():
        raise ValueError("The vectorizer has other settings; make it by `tfidf_vectorizer()`.")
    ngrams = [ngram.split() for ngram in vectorizer.get_feature_names_out()]
    words = sorted({word for ngram in ngrams for word in ngram})
    vocab = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    pairs = [(vocab[ngram[0]] if len(ngram) > 1 else 0, vocab[ngram[-1]]) for ngram in ngrams]
    codes = np.array([first * len(vocab) + last for first, last in pairs])
    order = np.argsort(codes)
    config = TfidfConfig(
        vocab_size=len(vocab),
        num_features=len(codes),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = TfidfForSequenceClassification(config).eval()
    with torch.no_grad():
        model.tfidf.codes.copy_(torch.from_numpy(codes[order]))
        model.tfidf.idf.copy_(torch.from_numpy(vectorizer.idf_[order]))
        model.classifier.weight.copy_(torch.from_numpy(np.asarray(weight)[:, order]))
        model.classifier.bias.copy_(torch.from_numpy(np.asarray(bias)))
    return model, WordTokenizer(vocab)
