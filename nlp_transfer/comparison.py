"""Candidates for a classifier of texts in one table, with all labels and with few."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nlp_transfer.candidates import LanguageModelCandidate, TextCandidate, WordVectorCandidate
from nlp_transfer.evaluation import require_gensim
from nlp_transfer.language_models import train_window_model
from nlp_transfer.language_models.glove import require_numba, train_glove
from nlp_transfer.language_models.recurrent import train_recurrent_model
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.models import RecurrentConfig
from nlp_transfer.text_candidates import TextCandidates
from nlp_transfer.text_task import ProxyTask, TextTask
from nlp_transfer.vocabulary import corpus_vocabulary
from nlp_transfer.word_vectors import FILE_NAME, open_vectors, save_vectors
from staged_training.experiment.candidate import Round
from staged_training.experiment.cross_validation import cross_validate
from staged_training.experiment.outcome import Row
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.target import Target
from staged_training.reporting import plots
from staged_training.reporting.report import QUICK, Report, results_table, tested_on, write_results
from staged_training.reporting.targets import titles_of
from staged_training.runtime.markdown import as_code, markdown_table
from staged_training.runtime.printable import shell_path
from staged_training.runtime.processes import is_main_process, on_main_process
from staged_training.tables.corpus import Corpus

SIZES = (100, 200, 500)
DIM = 50
MIN_FREQUENCY = 20  # a softmax over rarer words takes most of the time, and they are learnt badly
FEW_LABELS = (
    "With few labels no candidate fine-tunes its embedding or its encoder. Each model has the same "
    "texts to validate on, whatever it trains on: they choose the epochs, and the decision."
)


@dataclass(frozen=True)
class Comparison:
    """Candidates with all labels and with few.

    Attributes:
        target: What is predicted.
        rows: The table of models by the number of labels, in rising order; all of them come last.
        controls: The names of the rows that nothing was transferred to.
        transferred: The names of the other rows, without the baselines.
        learnt: The seconds that it took to learn from the corpus, by what was learnt.
    """

    target: Target
    rows: dict[int, list[Row]]
    controls: list[str]
    transferred: list[str]
    learnt: dict[str, float]

    def everywhere(self) -> dict[int, list[Row]]:
        """Return the rows of the models that were trained on every number of labels."""
        common = set.intersection(*({row.name for row in rows} for rows in self.rows.values()))
        kept = common - {self.target.floor}
        return {n: [row for row in rows if row.name in kept] for n, rows in self.rows.items()}

    def verdict(self) -> str:
        """Describe which transferred rows score above the control at 500 labels, or at most."""
        size = max((n for n in self.rows if n <= max(SIZES)), default=max(self.rows))
        scores = {row.name: row.metrics[self.target.metric] for row in self.rows[size]}
        control = max(scores[name] for name in self.controls if name in scores)
        below = [name for name in self.transferred if scores.get(name, 1.0) <= control]
        told = f"With {size:,} labels the random embedding scores {control:.3f}. "
        if not below:
            return told + "Every transferred model scores above it."
        return told + "Not above it: " + ", ".join(f"{n} ({scores[n]:.3f})" for n in below) + "."


def compare(
    run: RunFolder,
    source: str | Path,
    found: TextCandidates,
    proxy: ProxyTask | None,
    folds: Sequence[int],
    seeds: Sequence[int],
) -> None:
    """Compare candidates, and what is learnt from related texts; write a report and print tables.

    Args:
        run: The run; it is opened here.
        source: Related texts without labels, as for `Corpus`.
        found: The candidates that need no learning from the corpus; the last is put last.
        proxy: The task that some train on first, if any.
        folds: The folds to test on.
        seeds: Random seeds.

    Raises:
        InputError: gensim or numba is not installed, or there are no such texts.
    """
    require_gensim()
    require_numba()
    corpus = Corpus(source)
    task = found.simple.task
    run.open(corpus.files, task.contents, proxy and proxy.contents)
    comparison = train_and_score(run, corpus, found, folds, seeds)
    if is_main_process():
        report_comparison(run, task, comparison, folds)


def train_and_score(
    run: RunFolder,
    corpus: Corpus,
    found: TextCandidates,
    folds: Sequence[int],
    seeds: Sequence[int],
) -> Comparison:
    """Learn from a corpus, and train every candidate on each fold with all labels and with few."""
    (control,), simple = found.controls, found.simple
    quick = run.arguments["quick"]  # every stage has one epoch, and 500 texts are learnt from
    learnt, seconds = learn_candidates(run, corpus, control, quick=quick)
    task = control.task
    *first, last = found.staged
    everyone = [control, *first, *learnt, last]
    if quick:
        everyone = [candidate.quick() for candidate in everyone]
    whole = min(len(task.split(fold).train) for fold in folds)
    rows: dict[int, list[Row]] = {}
    for size in [*(n for n in SIZES if n < whole), None]:
        some = everyone if size is None else [c.without_later_stages() for c in everyone]
        if not quick:
            some = [candidate.with_enough_steps(size or whole) for candidate in some]

        def draw(round_: Round, size: int | None = size) -> Round:
            train = np.asarray(task.training_rows(round_.fold, size, round_.seed))
            return round_._replace(split=round_.split._replace(train=train))

        result = cross_validate(
            run,
            task,
            [simple, *some[1:]],
            task.target.metric,
            controls=some[:1],
            folds=folds,
            seeds=seeds,
            draw=draw,
            prefix="" if size is None else f"{size}-labels/",
            scores_only=True,
            parallel=True,
        )
        rows[size or whole] = result.rows
    transferred = [name for candidate in everyone[1:] for name in candidate.row_names()]
    return Comparison(task.target, rows, control.row_names(), transferred, seconds)


def learn_candidates(
    run: RunFolder, corpus: Corpus, like: WordVectorCandidate, *, quick: bool
) -> tuple[list[TextCandidate], dict[str, float]]:
    """Learn vectors and a language model from a corpus.

    Args:
        run: Where what is done is kept.
        corpus: Related texts without labels.
        like: A candidate of the task; others begin with what was learnt, and are like it else.
        quick: Whether 500 texts are learnt from.

    Returns:
        The other candidates, and the seconds that it took to learn what they begin with.
    """
    task = like.task
    print(f"Counting the words of {corpus.path}", flush=True)
    tokenizer = corpus_vocabulary(corpus, task.all.texts, MIN_FREQUENCY)
    texts = [text for _, text in zip(range(500), corpus, strict=False)] if quick else corpus
    counts = tokenizer.init_kwargs["token_counts"]
    special = set(tokenizer.all_special_ids)
    known = [number for number, n in enumerate(counts) if n and number not in special]
    words = tokenizer.convert_ids_to_tokens(known)

    def by_counts(train: Callable[..., Any], folder: Path) -> None:
        vectors = on_main_process(partial(train, texts, tokenizer, dim=DIM, workers=1))
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
        train_recurrent_model(
            texts, tokenizer, shape, output_dir=folder / "model", epochs=2, sampled_words=512
        )

    candidates: list[TextCandidate] = []
    seconds = {}
    ways: dict[str, Callable[[Path], None]] = {
        "Word2Vec": partial(by_counts, train_word2vec),
        "GloVe": partial(by_counts, train_glove),
        "window model": window,
    }
    for name, learn in ways.items():
        seconds[name] = _timed(run, name, learn)
        vectors = open_vectors(run.runs / name)
        title = f"{name} learnt here"
        candidates.append(replace(like, name=title, vectors=vectors, random=False))
    name = "recurrent language model"
    seconds[name] = _timed(run, name, recurrent)
    base = run.runs / name / "model"
    candidates.append(
        LanguageModelCandidate(name=name, task=task, base=base, report_to=like.report_to)
    )
    return candidates, seconds


def _timed(run: RunFolder, name: str, learn: Callable[[Path], None]) -> float:
    """Train something unless it was trained before, and return the seconds that it took."""

    def work(folder: Path) -> float:
        print(f"Learning from the corpus: {name}", flush=True)
        start = time.perf_counter()
        learn(folder)
        return time.perf_counter() - start

    return float(run.run_cached(name, work))


def report_comparison(
    run: RunFolder,
    task: TextTask,
    comparison: Comparison,
    folds: Sequence[int],
) -> None:
    """Write the report of a comparison, print its tables, and close the run.

    Args:
        run: The run.
        task: The labelled texts.
        comparison: The results of the candidates.
        folds: The folds that were tested on.
    """
    target = task.target
    *_, all_rows = comparison.rows.values()
    quick = QUICK if run.arguments["quick"] else ""
    protocol = (
        f"{len(task.all.texts):,} texts from {as_code(task.source.name)}. Tested on "
        f"{tested_on(folds, task.fold_numbers)}. {FEW_LABELS}{quick}"
    )
    table = results_table(all_rows, titles_of(target))
    report = Report(run.report, "Email urgency: where the knowledge comes from")
    report.section("Method", protocol)
    report.section("With all labels", table)
    drawn = plots.plot_rows, all_rows, target.metric, target.title
    report.picture("models", f"test {target.title} of each model", *drawn)
    report.section("With few labels", _by_labels(comparison), comparison.verdict())
    report.picture(
        "labels",
        f"test {target.title} by the number of labels",
        plots.plot_label_efficiency,
        comparison.everywhere(),
        target.metric,
        target.title,
    )
    learnt = [(name, f"{seconds:.0f}") for name, seconds in comparison.learnt.items()]
    report.section("Learnt from the corpus", markdown_table(("what", "seconds"), learnt))
    report.arguments(run.arguments)
    report.write()
    named = [
        replace(row, name=f"{row.name} ({size} labels)")
        for size, rows in comparison.rows.items()
        for row in rows
    ]
    write_results(run.report, f"{run.name}, compared", run.arguments["seed"], named)
    print(f"\n{protocol}\n\n{table}\n\n{_by_labels(comparison)}\n\n{comparison.verdict()}\n")
    print(f"Report: {shell_path(run.report / 'index.html')}")
    run.close()


def _by_labels(comparison: Comparison) -> str:
    """Return the test score of every model by the number of labels, as a table."""
    scores = {
        size: {row.name: f"{row.metrics[comparison.target.metric]:.3f}" for row in rows}
        for size, rows in comparison.rows.items()
    }
    names = dict.fromkeys(row.name for rows in comparison.rows.values() for row in rows)
    return markdown_table(
        [f"{comparison.target.title} by labels", *(f"{size:,}" for size in scores)],
        [[name, *(at_size.get(name, "") for at_size in scores.values())] for name in names],
    )
