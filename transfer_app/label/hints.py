"""What a model of the answers so far says of an example, and the words that mattered."""

from typing import NamedTuple

import numpy as np

from nlp_transfer.defaults import chosen_base
from nlp_transfer.explanation import Word, in_words
from nlp_transfer.text_features import word_contributions
from staged_training.heads.class_balance import softmax
from staged_training.labels.strategies import Floats
from transfer_app.label.labelling import Labelling
from transfer_app.label.pool import Pool


class Said(NamedTuple):
    """What a model says of an example.

    Attributes:
        scores: The probability of each label, the likeliest first.
        weight: Of each feature of the base: what it adds to the log-odds of the likeliest label
            against the next, `[width]`.
    """

    scores: dict[str, float]
    weight: Floats

    @property
    def question(self) -> str:
        """What words and places speak for."""
        first, second = [*self.scores][:2]
        return f"'{first}' rather than '{second}'"


def said_of(labelling: Labelling, row: int) -> Said | None:
    """Return what a model of all other answers says of an example; None before two labels."""
    head = labelling.head(row)
    if head is None:
        return None
    names, weight, bias = head
    pool = labelling.pool
    (scores,) = softmax(pool.features[[row]] @ weight.T + bias)
    order = np.argsort(-scores, kind="stable")
    unit = pool.scale.unit
    return Said(
        {names[number]: float(scores[number]) for number in order},
        (weight[order[0]] - weight[order[1]]) / unit,
    )


def words_of(pool: Pool, row: int, said: Said) -> tuple[list[Word], str]:
    """Return what each word added to the log-odds, and the most in a sentence.

    Words that have no part in the features of a base get none.
    """
    encoder, text = chosen_base(pool.base), pool.contents[row]
    if encoder is None:
        return [], "Which words mattered can be told with an encoder, not with --base none."
    words, _ = word_contributions(text, encoder, said.weight, pool.scale[0])
    return words, in_words(text, words)
