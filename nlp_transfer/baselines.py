"""What a transfer has to beat: the majority class, and logistic regression on TF-IDF."""

import time
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import Pipeline, make_pipeline

from nlp_transfer.text_task import LabelledTexts, TextTask
from staged_training.experiment.cross_validation import Round
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.heads.class_balance import majority_logits
from staged_training.tables.words import words_of


def round_baselines(task: TextTask, round_: Round) -> list[Outcome]:
    """Return the baselines of a round of cross-validation."""
    train, validation, test = (task.all.select(rows) for rows in round_.split)
    return baseline_outcomes(train, validation, test, task.names, task.positive)


def baseline_outcomes(
    train: LabelledTexts,
    validation: LabelledTexts,
    test: LabelledTexts,
    names: Sequence[str],
    positive: int,
) -> list[Outcome]:
    """Score the majority class, and logistic regression on TF-IDF, on one split."""
    start = time.perf_counter()
    logits = [majority_logits(train.labels, len(names), len(p.labels)) for p in (validation, test)]
    labels = (validation.labels, test.labels)
    majority = outcome("majority class", labels, logits, positive, seconds=0.0)
    model = tfidf_logistic_regression(train, validation, positive)
    logits = [model.predict_log_proba(part.texts) for part in (validation, test)]
    seconds = time.perf_counter() - start
    regression = outcome(
        "TF-IDF + logistic regression",
        labels,
        logits,
        positive,
        seconds=seconds,
        trainable_parameters=model[-1].coef_.size + model[-1].intercept_.size,
    )
    return [majority, regression]


def tfidf_logistic_regression(
    train: LabelledTexts, validation: LabelledTexts, positive: int
) -> Pipeline:
    """Train a logistic regression on TF-IDF of words and pairs of words, with balanced classes.

    Args:
        train: What to fit it to.
        validation: What the strength of the regularisation is chosen on, by average precision.
        positive: Number of the label that matters.

    Returns:
        A fitted scikit-learn pipeline; `predict_log_proba` gives its logits.
    """
    is_positive = np.asarray(validation.labels) == positive

    def fitted(strength: float) -> Pipeline:
        return make_pipeline(
            TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, tokenizer=_long_words, token_pattern=None
            ),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
        ).fit(train.texts, train.labels)

    def score(model: Pipeline) -> float:
        scores = model.predict_proba(validation.texts)[:, positive]
        return float(average_precision_score(is_positive, scores))

    return max((fitted(strength) for strength in (0.1, 1.0, 10.0, 100.0)), key=score)


def _long_words(text: str) -> list[str]:
    """Return the words of two characters or more, as scikit-learn takes them, in any script."""
    return [word for word in words_of(text) if len(word) > 1]
