"""What a transfer has to beat: the majority class, and logistic regression on TF-IDF."""

from collections.abc import Sequence

from nlp_transfer.text_task import LabelledTexts, TextTask
from nlp_transfer.tfidf import fit_and_score
from staged_training.experiment.cross_validation import Round
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.heads.class_balance import majority_logits


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
    logits = [majority_logits(train.labels, len(names), len(p.labels)) for p in (validation, test)]
    labels = (validation.labels, test.labels)
    majority = outcome("majority class", labels, logits, positive, seconds=0.0)
    return [majority, fit_and_score(train, validation, test, positive)[1]]
