"""What a transfer has to beat: the majority class, and logistic regression on TF-IDF."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import Pipeline, make_pipeline


def majority_logits(labels: Sequence[int], num_labels: int, examples: int) -> NDArray[np.float64]:
    """Logits `[examples, num_labels]` that know only how frequent each training label is."""
    counts = np.bincount(labels, minlength=num_labels)
    return np.tile(np.log(counts / counts.sum()), (examples, 1))


def tfidf_logistic_regression(
    texts: Sequence[str],
    labels: Sequence[int],
    validation_texts: Sequence[str],
    validation_labels: Sequence[int],
    positive: int,
) -> Pipeline:
    """Logistic regression on TF-IDF of words and pairs of words, classes weighted equally.

    Args:
        texts: Training texts.
        labels: Their label numbers.
        validation_texts: Texts on which the strength of the regularisation is chosen.
        validation_labels: Their label numbers.
        positive: Number of the label whose average precision decides.

    Returns:
        A fitted scikit-learn pipeline; `predict_log_proba` gives its logits.
    """
    is_positive = np.asarray(validation_labels) == positive

    def fitted(strength: float) -> Pipeline:
        return make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
        ).fit(texts, labels)

    def score(model: Pipeline) -> float:
        scores = model.predict_proba(validation_texts)[:, positive]
        return float(average_precision_score(is_positive, scores))

    return max((fitted(strength) for strength in (0.1, 1.0, 10.0, 100.0)), key=score)
