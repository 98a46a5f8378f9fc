"""What a classifier of texts begins with where nothing else is asked for."""

from nlp_transfer.alignment import coverage_of
from nlp_transfer.encoder_classifier import packaged_encoder
from nlp_transfer.text_task import TextTask
from nlp_transfer.vocabulary import build_vocabulary
from nlp_transfer.word_vectors import WordVectors, open_vectors
from staged_training.runtime.errors import InputError

VECTORS = "glove-6b-50d"
BASE = "bert"
NONE = "none"

SIMILAR_COVERAGE = 0.9
"""Vectors of English know 0.99 of the running words of mail, 0.97 of Wikipedia's markup and 0.55 of
Bulgarian."""


def chosen_vectors(name: str | None, task: TextTask) -> WordVectors | None:
    """Return the word vectors that were asked for, or those by default if they know the words.

    Args:
        name: As for `open_vectors`; `none` for none, `None` for those by default.
        task: The texts.

    Raises:
        InputError: There are no such vectors.
    """
    if name:
        return None if name == NONE else open_vectors(name)
    try:
        vectors = open_vectors(VECTORS)
    except InputError as error:
        print(f"Without word vectors. {error}")
        return None
    known = coverage_of(build_vocabulary(task.all.texts, min_frequency=1), vectors).tokens
    if known < SIMILAR_COVERAGE:
        print(
            f"{vectors.title} knows {known:.0%} of the running words, so it is left out. For texts "
            "that are not in English there is the base `multilingual`."
        )
        return None
    return vectors


def chosen_base(name: str | None) -> str | None:
    """Return the encoder that was asked for, or that by default if it is installed.

    Args:
        name: As for `load_encoder_classifier`; `none` for none, `None` for that by default.
    """
    if name:
        return None if name == NONE else name
    try:
        packaged_encoder(BASE)
    except InputError as error:
        print(f"Without an encoder. {error}")
        return None
    return BASE
