"""The words of captions: their vocabulary, and its embedding from word vectors."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast, set_seed

from nlp_transfer.alignment import align, random_like
from nlp_transfer.vocabulary import add_bounds, build_vocabulary
from nlp_transfer.word_vectors.base import Matrix, WordVectors


def caption_vocabulary(captions: Sequence[Sequence[str]]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words that occur at least twice, with tokens around captions.

    Args:
        captions: The captions of each image.
    """
    tokenizer = build_vocabulary(caption for of_image in captions for caption in of_image)
    add_bounds(tokenizer)
    return tokenizer


def caption_embedding(
    vectors: WordVectors, tokenizer: PreTrainedTokenizerFast, seed: int, *, random: bool = False
) -> Matrix:
    """Return E_T of a vocabulary, or as a control random numbers like it.

    Args:
        vectors: The word vectors.
        tokenizer: The vocabulary.
        seed: Random seed, of the words without a vector too.
        random: Whether to return random numbers.
    """
    set_seed(seed)
    matrix = align(tokenizer, vectors).matrix
    return random_like(matrix, tokenizer.pad_token_id) if random else matrix
