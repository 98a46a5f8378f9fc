"""What a transfer has to beat: what looks at no text, and a linear model on TF-IDF."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from nlp_transfer.text_task import LabelledTexts, TextTask
from staged_training.experiment.candidate import Round
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.tables.words import words_of

TITLES: dict[type[Target], str] = {
    SingleLabel: "logistic regression",
    MultiLabel: "logistic regressions",
    Regression: "ridge regression",
}
"""The linear models by what they predict."""


def round_baselines(task: TextTask, round_: Round) -> list[Outcome]:
    """Return the baselines of a round of cross-validation."""
    train, validation, test = (task.all.select(rows) for rows in round_.split)
    return baseline_outcomes(train, validation, test, task.target)


def baseline_outcomes(
    train: LabelledTexts, validation: LabelledTexts, test: LabelledTexts, target: Target
) -> list[Outcome]:
    """Score what looks at no text, and a linear model on TF-IDF, on one split."""
    start = time.perf_counter()
    logits = [target.floor_logits(train.labels, len(p.labels)) for p in (validation, test)]
    labels = (validation.labels, test.labels)
    floor = outcome(target.floor, labels, logits, target, seconds=0.0)
    model = tfidf_model(train, validation, target)
    logits = [tfidf_logits(model, part.texts, target) for part in (validation, test)]
    seconds = time.perf_counter() - start
    linear = outcome(
        f"TF-IDF + {TITLES[type(target)]}",
        labels,
        logits,
        target,
        seconds=seconds,
        trainable_parameters=_count(model[-1]),
    )
    return [floor, linear]


def tfidf_model(train: LabelledTexts, validation: LabelledTexts, target: Target) -> Pipeline:
    """Fit a linear model to TF-IDF of words and pairs of words.

    Of labels it is a logistic regression with balanced classes, for each label where a text has
    several; of numbers a ridge regression.

    Args:
        train: What to fit it to.
        validation: What `C`, the inverse of the penalty, is chosen on, by the metric of the target.
        target: What is predicted.

    Returns:
        A fitted scikit-learn pipeline, see `tfidf_logits`.
    """

    def fitted(inverse_penalty: float) -> Pipeline:
        return make_pipeline(
            TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, tokenizer=_long_words, token_pattern=None
            ),
            _linear(target, inverse_penalty),
        ).fit(train.texts, np.asarray(train.labels))

    def score(model: Pipeline) -> float:
        found = target.predictions(tfidf_logits(model, validation.texts, target))
        return target.scores(validation.labels, found)[target.metric]

    return max((fitted(inverse) for inverse in (0.1, 1.0, 10.0, 100.0)), key=score)


def tfidf_logits(model: Pipeline, texts: Sequence[str], target: Target) -> NDArray[np.float64]:
    """Return the logits `[texts, outputs]` of a fitted model."""
    if isinstance(target, SingleLabel):
        logits = np.full((len(texts), len(target.names)), -1e4)  # of labels that were not seen
        logits[:, model.classes_] = model.predict_log_proba(texts)
        return logits
    if isinstance(target, MultiLabel):
        return np.asarray(model.decision_function(texts)).reshape(len(texts), -1)
    return np.asarray(model.predict(texts)).reshape(-1, 1)


def _linear(target: Target, inverse_penalty: float) -> BaseEstimator:
    if isinstance(target, Regression):
        return Ridge(alpha=1 / inverse_penalty)
    regression = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=1000)
    return OneVsRestClassifier(regression) if isinstance(target, MultiLabel) else regression


def _count(model: Any) -> int:
    """Count the fitted numbers of a linear model."""
    parts = getattr(model, "estimators_", [model])
    fitted = (part for part in parts if hasattr(part, "coef_"))  # not of a label never seen
    return sum(np.size(part.coef_) + np.size(part.intercept_) for part in fitted)


def _long_words(text: str) -> list[str]:
    """Return the words of two characters or more, as scikit-learn takes them, in any script."""
    return [word for word in words_of(text) if len(word) > 1]
