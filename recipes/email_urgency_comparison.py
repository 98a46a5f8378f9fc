"""Every way to a model of urgency in one table, with all labels and with few."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nlp_transfer import open_vectors
from nlp_transfer.corpus import Corpus, corpus_vocabulary
from nlp_transfer.language_models import train_window_model
from nlp_transfer.language_models.recurrent import (
    classifier_from,
    train_recurrent_model,
    unfreezing_stages,
)
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.models import RecurrentConfig, RecurrentForCausalLM
from nlp_transfer.word_vectors import FILE_NAME, save_vectors
from recipes.email_urgency_report import CARD_METRICS, TITLES
from recipes.email_urgency_ways import STAGES, Problem, Way, evaluate_all, long_enough, quick
from staged_training.experiment.outcome import Row, mean_rows
from staged_training.experiment.run_folder import RunFolder
from staged_training.reporting.report import (
    Report,
    markdown_table,
    results_table,
    tested_on,
    write_results,
)
from staged_training.runtime.processes import on_main_process

SIZES = (100, 200, 500)
DIM = 50
MIN_FREQUENCY = 20  # a softmax over rarer words takes most of the time, and they are learnt badly
METRIC = "average_precision"
BY_HOW_MUCH = (
    "With few labels every way ends after its first stage. Each model has the same texts to "
    "validate on, whatever it trains on: they choose the epochs, and the decision."
)


@dataclass(frozen=True)
class Comparison:
    """What came of the comparison.

    Attributes:
        rows: The table of models by the number of labels, in rising order; all of them come last.
        ways: The ways that were compared.
        learnt: The seconds that it took to learn from the corpus, by what was learnt.
    """

    rows: dict[int, list[Row]]
    ways: list[Way]
    learnt: dict[str, float]

    def everywhere(self) -> dict[int, list[Row]]:
        """The rows of the models that were trained on every number of labels."""
        common = set.intersection(*({row.name for row in rows} for rows in self.rows.values()))
        kept = common - {"majority class"}
        return {n: [row for row in rows if row.name in kept] for n, rows in self.rows.items()}

    def verdict(self) -> str:
        """Which transferred rows score above the random embedding at 500 labels, or at most."""
        size = max((n for n in self.rows if n <= max(SIZES)), default=max(self.rows))
        scores = {row.name: row.metrics[METRIC] for row in self.rows[size]}
        kinds = {name: way.kind for way in self.ways for name in way.rows() if name in scores}
        control = max(scores[name] for name, kind in kinds.items() if kind == "control")
        transferred = [name for name, kind in kinds.items() if kind != "control"]
        below = [name for name in transferred if scores[name] <= control]
        told = f"With {size:,} labels the random embedding scores {control:.3f}. "
        if not below:
            return told + "Every transferred model scores above it."
        return told + "Not above it: " + ", ".join(f"{n} ({scores[n]:.3f})" for n in below) + "."


def compare(
    run: RunFolder,
    problem: Problem,
    corpus: Corpus,
    folds: Sequence[int],
    seeds: Sequence[int],
    *,
    hasty: bool,
) -> Comparison:
    """Learn from the corpus, and train every way on each fold with all labels and with few.

    Args:
        run: Where what is done is kept, to go on after an interruption.
        problem: The task, and the ways that need no learning from the corpus.
        corpus: Related texts without labels.
        folds: The folds to test on.
        seeds: The seeds to train with.
        hasty: Whether every stage has one epoch only, and 500 texts are learnt from.
    """
    learnt, seconds = learn_from(run, problem, corpus, hasty=hasty)
    *vectors, encoder = problem.ways
    ways = [*vectors, *(quick(learnt) if hasty else learnt), encoder]
    whole = min(len(problem.task.split(fold).train) for fold in folds)
    rows: dict[int, list[Row]] = {}
    for size in [*(n for n in SIZES if n < whole), None]:
        ways_here = ways if size is None else [first_stage(way) for way in ways]
        if not hasty:
            ways_here = long_enough(ways_here, size or whole)
        outcomes = evaluate_all(run, problem, ways_here, folds, seeds, size, for_comparison=True)
        rows[size or whole] = mean_rows(outcomes)
    return Comparison(rows, ways, seconds)


def first_stage(way: Way) -> Way:
    """A way without its later stages, for which few labels are too few."""
    return replace(way, stages=way.stages[:1])


def learn_from(
    run: RunFolder, problem: Problem, corpus: Corpus, *, hasty: bool
) -> tuple[list[Way], dict[str, float]]:
    """Learn vectors and a language model from a corpus; the ways from there, and the seconds."""
    print(f"Counting the words of {corpus.path}", flush=True)
    tokenizer = corpus_vocabulary(corpus, problem.task.all.texts, MIN_FREQUENCY)
    texts = [text for _, text in zip(range(500), corpus, strict=False)] if hasty else corpus
    counts = tokenizer.init_kwargs["token_counts"]
    special = set(tokenizer.all_special_ids)
    known = [number for number, n in enumerate(counts) if n and number not in special]
    words = tokenizer.convert_ids_to_tokens(known)

    def word2vec(folder: Path) -> None:
        vectors = on_main_process(partial(train_word2vec, texts, tokenizer, dim=DIM, workers=1))
        save_vectors(folder / FILE_NAME, words, vectors[words])

    def window(folder: Path) -> None:
        model = train_window_model(
            texts,
            tokenizer,
            output_dir=folder / "model",
            embedding_size=DIM,
            batch_size=1024,
            learning_rate=4e-3,
            sampled_words=384,  # far faster than the exact softmax
        )
        save_vectors(folder / FILE_NAME, words, model.embedding_matrix()[known])

    def recurrent(folder: Path) -> None:
        shape = RecurrentConfig(
            vocab_size=len(tokenizer),
            embedding_size=DIM,
            separate_directions=True,
            pad_token_id=tokenizer.pad_token_id,
        )
        train_recurrent_model(texts, tokenizer, shape, output_dir=folder / "model")

    ways, seconds = [], {}
    for name, learn in {"Word2Vec": word2vec, "window model": window}.items():
        seconds[name] = _timed(run, name, learn)
        vectors = open_vectors(run.runs / name)
        ways.append(Way("vectors", f"{name} learnt here", vectors, STAGES))
    name = "recurrent language model"
    seconds[name] = _timed(run, name, recurrent)
    base = run.runs / name / "model"
    model = classifier_from(RecurrentForCausalLM.from_pretrained(base), problem.task.names, 0)
    ways.append(Way("language model", name, base, unfreezing_stages(model)))
    return ways, seconds


def _timed(run: RunFolder, name: str, learn: Callable[[Path], None]) -> float:
    """Learn something, if it was not learnt before; the seconds that it took."""

    def work(folder: Path) -> float:
        print(f"Learning from the corpus: {name}", flush=True)
        start = time.perf_counter()
        learn(folder)
        return time.perf_counter() - start

    return float(run.run_cached(name, work))


def tell(
    run: RunFolder,
    problem: Problem,
    comparison: Comparison,
    folds: Sequence[int],
    arguments: Mapping[str, Any],
) -> None:
    """Write the report of a comparison, and print its table."""
    task, (*_, all_rows) = problem.task, comparison.rows.values()
    protocol = (
        f"{len(task.all.texts):,} texts from `{task.source.name}`. Tested on "
        f"{tested_on(folds, task.fold_numbers)}. {BY_HOW_MUCH}"
    )
    if arguments["quick"]:
        protocol += " **Quick run: one epoch per stage; do not judge by it.**"
    table = results_table(all_rows, TITLES)
    report = Report(run.report, "Email urgency: where the knowledge comes from")
    report.section("What was done", protocol)
    report.section("With all labels", table)
    report.picture("models", "test AP of each model", "plot_rows", all_rows, METRIC, "AP")
    report.section("With few labels", _by_labels(comparison), comparison.verdict())
    report.picture(
        "labels",
        "test AP by the number of labels",
        "plot_label_efficiency",
        comparison.everywhere(),
        METRIC,
        CARD_METRICS[METRIC],
    )
    learnt = [(name, f"{seconds:.0f}") for name, seconds in comparison.learnt.items()]
    report.section("What was learnt from the corpus", markdown_table(("what", "seconds"), learnt))
    report.arguments(arguments)
    report.write()
    named = [
        replace(row, name=f"{row.name} ({size} labels)")
        for size, rows in comparison.rows.items()
        for row in rows
    ]
    write_results(run.report, "email-urgency --compare", arguments["seed"], named)
    print(f"\n{protocol}\n\n{table}\n\n{_by_labels(comparison)}\n\n{comparison.verdict()}\n")
    print(f"Report: {run.report / 'index.html'}")


def _by_labels(comparison: Comparison) -> str:
    """Test AP of every model by the number of labels, as a table."""
    scores = {
        size: {row.name: f"{row.metrics[METRIC]:.3f}" for row in rows}
        for size, rows in comparison.rows.items()
    }
    names = dict.fromkeys(row.name for rows in comparison.rows.values() for row in rows)
    return markdown_table(
        ["AP by labels", *(f"{size:,}" for size in scores)],
        [[name, *(at_size.get(name, "") for at_size in scores.values())] for name in names],
    )
