"""Advice on labelled texts: how similar to what word vectors know, how many, what to train."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nlp_transfer.alignment import align
from nlp_transfer.candidates import RECURRENT_STAGES
from nlp_transfer.defaults import SIMILAR_COVERAGE
from nlp_transfer.vocabulary import build_vocabulary
from nlp_transfer.word_vectors import open_vectors
from nlp_transfer.word_vectors.base import VectorSource
from staged_training.heads.advisor import Advice, Ladder, Similarity, advise, label_numbers
from staged_training.tables.texts import checked_texts


def advise_on_texts(
    texts: Iterable[str],
    labels: Sequence[str] | Sequence[int],
    vectors: VectorSource = "glove-6b-50d",
) -> Advice:
    """Measure how similar texts are to what a base knows, and say which layers to train.

    Those are similar whose running words the word vectors know.

    Args:
        texts: The texts.
        labels: Of each, five times or more.
        vectors: As for `open_vectors`.

    Returns:
        The stages, and why. `print` shows it in words, and how to train as code.

    Raises:
        InputError: There are not as many labels as texts, one is too rare, or the vectors cannot be
            read.

    Examples:
        >>> from nlp_transfer.advice import advise_on_texts
        >>> texts = ["Call me at once!", "Lunch at noon?", "Stop the pump now", "See you soon"] * 5
        >>> advice = advise_on_texts(texts, ["urgent", "other"] * 10)
        >>> advice.similarity.similar, advice.large, [stage.name for stage in advice.stages]
        (True, False, ['frozen embedding'])
    """
    texts = list(checked_texts(texts))
    numbers = label_numbers(labels, len(texts))
    vectors = open_vectors(vectors)
    tokenizer = build_vocabulary(texts, min_frequency=1)
    state = np.random.get_state()
    np.random.seed(0)  # unknown words have random rows: the same whenever it is asked
    try:
        aligned = align(tokenizer, vectors)
    finally:
        np.random.set_state(state)
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] or [0] for text in texts]
    features = np.stack([aligned.matrix[row].mean(0) for row in words])
    # Who pastes them may have nothing to validate on, which patience needs.
    frozen, tuned = (replace(stage, patience=None) for stage in RECURRENT_STAGES)
    whole = replace(tuned, name="whole net", train="all", epochs=10)
    ladder = Ladder(frozen, tuned, whole, pretrained="embedding")
    measure = f"share of the running words that {vectors.title} knows,"
    similarity = Similarity(measure, aligned.coverage.tokens, SIMILAR_COVERAGE)
    return advise(similarity, features, numbers, ladder)
