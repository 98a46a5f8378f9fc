"""Alignment of word vectors to a task vocabulary: E_T, one row per word of the task."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import regex
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from nlp_transfer.word_vectors import open_vectors
from nlp_transfer.word_vectors.base import Matrix, VectorSource, WordVectors
from staged_training.runtime.errors import InputError
from staged_training.tables.words import lower_case

RULES = ("exact", "case", "punctuation", "parts")
"""How a word of the task may find its vector, in the order in which this is tried."""

# Vowel signs and points are part of a word: without them it is another one.
_PUNCTUATION = r"[^\p{L}\p{M}\p{N}]+"
_AROUND = regex.compile(rf"^{_PUNCTUATION}|{_PUNCTUATION}$")
_PARTS = regex.compile(r"(?:(?!\p{Nd})[\p{L}\p{M}\p{N}\u200d])+|\p{Nd}+")


@dataclass(frozen=True)
class Coverage:
    """How much of a vocabulary word vectors know.

    Attributes:
        types: Share of the words, special tokens aside.
        tokens: Share of the running words of the texts that the vocabulary was built from, the
            words that it dropped included; equal to `types` for a tokenizer without counts.
        by_rule: Number of words that each of `RULES` matched; under `pieces`, if there are any,
            those that the vectors made of pieces of words.
        missing: Words without a vector, the most frequent first.
    """

    types: float
    tokens: float
    by_rule: dict[str, int]
    missing: list[str]

    def __str__(self) -> str:
        rules = ", ".join(f"{rule} {count:,}" for rule, count in self.by_rule.items() if count)
        lines = [
            f"{self.types:.1%} of the words and {self.tokens:.1%} of the running text have a "
            f"vector ({rules or 'no match'})."
        ]
        if self.missing:
            most = ", ".join(self.missing[:20])
            lines.append(f"Without one: {len(self.missing):,} words. The most frequent: {most}")
        return "\n".join(lines)


@dataclass(frozen=True)
class AlignedEmbedding:
    """Word vectors in the order of a task vocabulary.

    Attributes:
        matrix: E_T, `float32 [len(tokenizer), dim]`.
        coverage: Which of its rows come from the vectors.
    """

    matrix: Matrix
    coverage: Coverage


def align(tokenizer: PreTrainedTokenizerFast, vectors: VectorSource) -> AlignedEmbedding:
    """Look up the words of a tokenizer in word vectors, in one pass over these.

    A word takes the vector of itself, else of another case of it (lower, Capitalised, UPPER), else
    of what is left without punctuation around it, else the mean of those of its parts (runs of
    letters or of digits), if all have one, else what the vectors make of its pieces, as fastText
    and static models can. The row of the padding token is zero. Rows without a vector are drawn
    from a normal distribution with the mean and variance, in each dimension, of those with one;
    they come from NumPy's global generator, which `transformers.set_seed` seeds.

    Args:
        tokenizer: The task vocabulary.
        vectors: What `open_vectors` opens, or returned.

    Returns:
        E_T and its coverage. Memory grows with the vocabulary, not with the vectors.

    Raises:
        InputError: The vectors are damaged, or know no word of the vocabulary.

    Examples:
        >>> from nlp_transfer import build_vocabulary, open_vectors
        >>> tokenizer = build_vocabulary(["Please call Qwyzzk today"], min_frequency=1)
        >>> aligned = align(tokenizer, open_vectors("glove-6b-50d"))
        >>> aligned.matrix.shape, aligned.coverage.types, aligned.coverage.missing
        ((6, 50), 0.75, ['qwyzzk'])
    """
    vectors = open_vectors(vectors)
    aligned, matched = _look_up(tokenizer, vectors)
    matrix, coverage = aligned.matrix, aligned.coverage
    if not matched.any():
        raise InputError(
            f"{vectors.name} knows none of the {len(coverage.missing):,} words of the task "
            f"(coverage 0.0%). The task has: {', '.join(coverage.missing[:10])}. Use vectors of "
            "the language and the spelling of your texts."
        )
    known = matrix[matched].astype(np.float64)
    unmatched = ~matched
    if tokenizer.pad_token_id is not None:
        unmatched[tokenizer.pad_token_id] = False
    shape = (int(unmatched.sum()), vectors.dim)
    matrix[unmatched] = np.random.normal(known.mean(axis=0), known.std(axis=0), shape)
    return aligned


def coverage_of(tokenizer: PreTrainedTokenizerFast, vectors: VectorSource) -> Coverage:
    """Return how much of a vocabulary word vectors cover, see `align`; zero is a valid answer."""
    return _look_up(tokenizer, open_vectors(vectors))[0].coverage


def _look_up(
    tokenizer: PreTrainedTokenizerFast, vectors: WordVectors
) -> tuple[AlignedEmbedding, NDArray[np.bool_]]:
    """Return the rows of known words, zeros elsewhere, and the mask of the words that are known."""
    words = cast(list[str], tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    special = set(tokenizer.all_special_tokens)
    task_words = [(number, word) for number, word in enumerate(words) if word not in special]
    spellings = {spelling for _, word in task_words for spelling in _all_spellings(word)}
    found, rows = vectors.lookup(spellings)
    row_of = {word: row for row, word in enumerate(found)}

    matrix = np.zeros((len(words), vectors.dim), np.float32)
    by_rule = dict.fromkeys(RULES, 0)
    matched = np.zeros(len(words), bool)
    for number, word in task_words:
        for rule, group in _spellings(word):
            if all(spelling in row_of for spelling in group):
                places = [row_of[spelling] for spelling in group]
                matrix[number] = rows[places[0]] if len(places) == 1 else rows[places].mean(axis=0)
                by_rule[rule] += 1
                matched[number] = True
                break
    lost = {word: number for number, word in task_words if not matched[number]}
    composed, made = vectors.compose(lost)
    if composed:
        places = [lost[word] for word in composed]
        matrix[places], matched[places] = made, True
        by_rule["pieces"] = len(composed)
    coverage = _coverage(tokenizer, task_words, matched, by_rule)
    return AlignedEmbedding(matrix, coverage), matched


def random_like(matrix: Matrix, pad_token_id: int = 0) -> Matrix:
    """Return a random embedding of the shape, mean and variance of E_T: the control of a transfer.

    It comes from NumPy's global generator, which `transformers.set_seed` seeds.
    """
    rows = np.delete(matrix, pad_token_id, axis=0)
    drawn = np.random.normal(rows.mean(axis=0), rows.std(axis=0), matrix.shape)
    drawn[pad_token_id] = 0
    return drawn.astype(np.float32)


def _spellings(word: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each rule with the spellings that must all have a vector, the best first."""
    yield "exact", [word]
    for spelling in _cases(word):
        yield "case", [spelling]
    if word.isalpha():
        return
    stripped = _AROUND.sub("", word)
    if stripped != word and any(map(str.isalnum, stripped)):
        for spelling in (stripped, *_cases(stripped)):
            yield "punctuation", [spelling]
    parts = _PARTS.findall(word)
    if len(parts) > 1:
        yield "parts", parts
        yield "parts", [lower_case(part) for part in parts]


def _cases(word: str) -> list[str]:
    cases = [lower_case(word), word.capitalize(), word.upper()]
    if word.startswith("i"):  # the Turkish capital, and what programs make of it in lower case
        cases += [f"İ{word[1:]}", f"i\u0307{word[1:]}"]
    return [case for case in cases if case != word]


def _all_spellings(word: str) -> Iterable[str]:
    if word.isalpha():
        return (word, *_cases(word))
    return (spelling for _, group in _spellings(word) for spelling in group)


def _coverage(
    tokenizer: PreTrainedTokenizerFast,
    task_words: list[tuple[int, str]],
    matched: np.ndarray,
    by_rule: dict[str, int],
) -> Coverage:
    counts = tokenizer.init_kwargs.get("token_counts")
    by_number = counts or [1] * len(matched)  # words that were added later have no count
    weight = {number: by_number[number] for number, _ in task_words if number < len(by_number)}
    dropped = by_number[tokenizer.unk_token_id] if counts and tokenizer.unk_token else 0
    missing = [(number, word) for number, word in task_words if not matched[number]]
    missing.sort(key=lambda item: -weight.get(item[0], 0))
    known = sum(count for number, count in weight.items() if matched[number])
    return Coverage(
        types=1 - len(missing) / max(1, len(task_words)),
        tokens=known / max(1, sum(weight.values()) + dropped),
        by_rule=by_rule,
        missing=[word for _, word in missing],
    )
