"""Linear models on TF-IDF of words and pairs: fitted by scikit-learn, saved like any model."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median_low

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import Pipeline, make_pipeline
from transformers import TrainerState

from nlp_transfer.models import TfidfConfig, TfidfForSequenceClassification
from nlp_transfer.text_task import LabelledTexts, TextTask
from nlp_transfer.trained_model import save_trained
from staged_training.experiment.cross_validation import MODELS, Candidate, Round
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.experiment.splits import Indices
from staged_training.heads.head_search import score_trial
from staged_training.heads.linear_probe import probe_of
from staged_training.tables.word_tokenizer import WordTokenizer
from staged_training.tables.words import long_words

ROW = "TF-IDF + logistic regression"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the L2 penalty that are tried."""


@dataclass(frozen=True, kw_only=True)
class TfidfCandidate(Candidate):
    """Logistic regression on TF-IDF.

    Attributes:
        name: What people call it, and its row.
        task: The labelled texts.
    """

    name: str = ROW
    task: TextTask

    def row_names(self) -> list[str]:
        """Return its name: it ends with one model."""
        return [self.name]

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Fit it with each strength, then score and save the one that is best on validation."""
        train, validation, test = (self.task.all.select(rows) for rows in round_.split)
        pipeline, found = fit_and_score(train, validation, test, self.task.positive, self.name)
        self._save(pipeline, [found], folder / MODELS / self.name)
        return [found]

    def refit(self, rows: Indices, outcomes: Sequence[Outcome], seed: int, folder: Path) -> None:
        """Fit it to all rows, with the median of the strengths that were best."""
        strength = median_low(found.grid[0]["settings"]["strength"] for found in outcomes)
        known = self.task.all.select(rows)
        pipeline = make_pipeline(tfidf_vectorizer(), _regression(strength))
        self._save(pipeline.fit(known.texts, known.labels), outcomes, folder / "model")

    def _save(self, pipeline: Pipeline, outcomes: Sequence[Outcome], folder: Path) -> None:
        """Save a model, with the decision in the bias of its head."""
        names, positive = self.task.names, self.task.positive
        vectorizer, regression = pipeline
        probe = probe_of(regression, len(names))
        probe.bias[positive] += mean(found.decision_bias for found in outcomes)
        model, tokenizer = tfidf_classifier(vectorizer, probe.weight, probe.bias, names)
        model.config.positive_label = names[positive]
        save_trained(model, tokenizer, TrainerState(), folder)


def fit_and_score(
    train: LabelledTexts,
    validation: LabelledTexts,
    test: LabelledTexts,
    positive: int,
    row: str = ROW,
) -> tuple[Pipeline, Outcome]:
    """Fit a logistic regression on TF-IDF to one split, and score it.

    Args:
        train: What to fit it to.
        validation: What the strength of the penalty is chosen on.
        test: What to score it on.
        positive: Number of the label that matters.
        row: What its row is called.

    Returns:
        The fitted pipeline of scikit-learn, and its scores. The `grid` of these holds the setting
        that was chosen.
    """
    start = time.perf_counter()
    pipeline = tfidf_logistic_regression(train, validation, positive)
    logits = [pipeline.predict_log_proba(part.texts) for part in (validation, test)]
    seconds = time.perf_counter() - start
    regression = pipeline[-1]
    trial = score_trial({"strength": regression.C}, validation.labels, logits[0])
    return pipeline, outcome(
        row,
        (validation.labels, test.labels),
        logits,
        positive,
        seconds=seconds,
        trainable_parameters=regression.coef_.size + regression.intercept_.size,
        grid=[asdict(trial)],
    )


def tfidf_logistic_regression(
    train: LabelledTexts, validation: LabelledTexts, positive: int
) -> Pipeline:
    """Train a logistic regression on TF-IDF of words and pairs of words, with balanced classes.

    Args:
        train: What to fit it to.
        validation: What the strength of the penalty is chosen on, by average precision.
        positive: Number of the label that matters.

    Returns:
        A fitted scikit-learn pipeline; `predict_log_proba` gives its logits.
    """
    vectorizer = tfidf_vectorizer()
    features, unseen = vectorizer.fit_transform(train.texts), vectorizer.transform(validation.texts)
    is_positive = np.asarray(validation.labels) == positive

    def score(regression: LogisticRegression) -> float:
        scores = regression.predict_proba(unseen)[:, positive]
        return float(average_precision_score(is_positive, scores))

    regressions = [_regression(strength).fit(features, train.labels) for strength in STRENGTHS]
    return make_pipeline(vectorizer, max(regressions, key=score))


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)


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
