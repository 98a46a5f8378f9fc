"""Evaluate word vectors: human judgements of similarity, analogies, nearest neighbours."""

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from nlp_transfer.word_vectors import open_vectors
from nlp_transfer.word_vectors.base import Matrix, VectorSource, WordVectors
from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

CANDIDATES = 30_000
"""The number of words, the most frequent ones, among which answers are looked for."""

_FILES = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
_QUESTIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Similarity:
    """Agreement of cosine similarity with human judgement.

    Attributes:
        pairs: Number of pairs of words.
        covered: Number of pairs of which both words have a vector.
        score: Spearman's rank correlation over the covered pairs, NaN for fewer than three.
        score_of_all: The same over all pairs; those that are not covered count as similarity 0.
    """

    pairs: int
    covered: int
    score: float
    score_of_all: float


@dataclass(frozen=True)
class Analogies:
    """Answers to questions "a is to b as c is to ..." of one category.

    Attributes:
        category: The category, such as `family`.
        questions: Number of questions.
        covered: Number of questions whose four words are all among the candidates.
        correct: Number of correct answers.
    """

    category: str
    questions: int
    covered: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share of correct answers to the covered questions; NaN without any."""
        return self.correct / self.covered if self.covered else float("nan")


def word_similarity(
    vectors: VectorSource, judgements: Literal["wordsim353", "simlex999"]
) -> Similarity:
    """Compare vectors with human judgements of how similar or related two words are.

    Case does not count. The vectors are read once, from beginning to end.

    Args:
        vectors: From `open_vectors`, or of gensim.
        judgements: WordSim-353 (Finkelstein et al. 2002), where related words such as `coffee` and
            `cup` count as similar too, or SimLex-999 (Hill et al. 2015), where they do not.

    Raises:
        InputError: The vectors are damaged, or gensim, which ships the pairs, is not installed.
    """
    vectors = open_vectors(vectors)
    file = _shipped(_FILES[judgements])
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t")[:2] for line in lines if not line.startswith("#")]
    words, rows = vectors.lookup({case for pair in pairs for word in pair for case in _cases(word)})
    known = {word.lower() for word in words}
    covered = sum(all(word.lower() in known for word in pair) for pair in pairs)
    if covered < 3:  # too few for a correlation
        return Similarity(len(pairs), covered, float("nan"), float("nan"))
    keyed = _keyed(words, rows)
    scores = [
        float(keyed.evaluate_word_pairs(file, dummy4unknown=zeros)[1].statistic)
        for zeros in (False, True)
    ]
    return Similarity(len(pairs), covered, *scores)


def analogies(vectors: VectorSource) -> list[Analogies]:
    """Answer the analogy questions of Mikolov et al. (2013), by vector offset.

    The answer is the word nearest to b - a + c among the first `CANDIDATES`, a, b and c aside. Case
    does not count.

    Args:
        vectors: From `open_vectors`, or of gensim; the most frequent words first.

    Returns:
        The answers of each category, and of `all` together at the end.

    Raises:
        InputError: The vectors are damaged, or gensim, which ships the questions, is not installed.
    """
    questions: dict[str, list[list[str]]] = {}
    for line in _shipped("questions-words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(": "):
            category = questions.setdefault(line.removeprefix(": "), [])
        else:
            category.append(line.lower().split())
    words, rows = _first(open_vectors(vectors))
    row_of = {word.lower(): row for row, word in reversed(list(enumerate(words)))}
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    results = []
    for name, asked in tqdm(questions.items(), "Analogies", delay=2, dynamic_ncols=True):
        known = [[row_of[word] for word in four] for four in asked if row_of.keys() >= set(four)]
        correct = _answered(rows, np.array(known, np.intp).reshape(-1, 4))
        results.append(Analogies(name, len(asked), len(known), correct))
    totals = (sum(getattr(r, n) for r in results) for n in ("questions", "covered", "correct"))
    return [*results, Analogies("all", *totals)]


def _answered(rows: Matrix, questions: NDArray[np.intp]) -> int:
    """Count the right answers.

    Args:
        rows: Vectors of unit length, `[words, dim]`.
        questions: Rows of a, b, c and of the expected word, `[questions, 4]`.
    """
    correct = 0
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        a, b, c, expected = questions[start : start + _QUESTIONS_AT_ONCE].T
        scores = (rows[b] - rows[a] + rows[c]) @ rows.T
        scores[np.arange(len(a)), [a, b, c]] = -np.inf
        correct += int((scores.argmax(axis=1) == expected).sum())
    return correct


def nearest(vectors: VectorSource, word: str, n: int = 10) -> list[tuple[str, float]]:
    """Return the words whose vectors have the highest cosine similarity to that of a word.

    Args:
        vectors: From `open_vectors`, or of gensim; the most frequent words first.
        word: Any word of the vectors.
        n: Number of neighbours, among the first `CANDIDATES` words.

    Returns:
        The neighbours with their cosine similarity, the nearest first.

    Raises:
        InputError: The word has no vector, or gensim is not installed.
    """
    require_gensim()
    vectors = open_vectors(vectors)
    found, rows = vectors.lookup([word])
    if not found:
        raise InputError(f"{vectors.name} has no vector of {word!r}. Ask for another word.")
    neighbours = _keyed(*_first(vectors)).similar_by_vector(rows[0], topn=n + 1)
    return [(other, float(cosine)) for other, cosine in neighbours if other != word][:n]


def require_gensim() -> None:
    """Refuse to run without gensim.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("gensim") is None:
        raise InputError(
            "Learning and evaluating word vectors needs gensim. Install it with "
            "`pip install 'nlp-transfer[embeddings]'`."
        )


def _shipped(name: str) -> Path:
    """Return a file of the test data that gensim ships."""
    require_gensim()
    from gensim.test.utils import datapath

    return Path(datapath(name))


def _cases(word: str) -> set[str]:
    return {word, word.lower(), word.capitalize(), word.upper()}


def _first(vectors: WordVectors) -> tuple[list[str], Matrix]:
    words, rows = zip(*islice(vectors, CANDIDATES), strict=True)
    return list(words), np.stack(rows)


def _keyed(words: list[str], rows: Matrix) -> "KeyedVectors":
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(rows.shape[1])
    keyed.add_vectors(words, rows)
    return keyed
