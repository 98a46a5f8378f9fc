"""Word embeddings: from mails without labels to word vectors for a task that has few labels.

What it does:
  1. builds the vocabulary: the frequent words of the corpus, and every word of the task that the
     vectors are for, however rare it is in the corpus;
  2. learns a vector for each by skip-gram, CBOW, fastText, GloVe, or a neural probabilistic
     language model over a window of words (--model window);
  3. measures word similarity, analogies, and how much of the task has a vector, beside GloVe 6B 50d
     where that is installed;
  4. shows the nearest neighbours of frequent words of the task, and a map of them.

What it costs: about a minute on two cores for the 7,427 mails and 1 GB of memory; --model window
takes minutes for each epoch. A corpus may be larger than memory.
What it prints: the table of scores, and where the vectors and the report are. It stops before any
work where the input cannot be used. Then: nlp-transfer run email-urgency --vectors OUTPUT_DIR
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from staged_training.data_checks import check_texts
from staged_training.recipe import (
    RECIPES,
    RunArguments,
    check_positive,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from staged_training.tables.corpus import Corpus

DATA = RECIPES / "data"
CARD = Path(__file__).parent / "cards" / "word_embeddings.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Texts without labels: a file (.txt, .txt.gz with one text per line, .jsonl, .csv, "
        ".tsv, .parquet) or a folder of such. By default the 7,427 mails that come with it.",
    )
    text_columns: list[str] | None = option(
        None,
        "Columns to read as text; by default `text`, or `subject` and `body`.",
    )
    task: str | None = option(
        None,
        "Texts of the task that the vectors are for: mail or a table. Each of their words that "
        "the corpus has gets a vector; they are not trained on. By default the 2,000 messages "
        "that come with email-urgency.",
    )
    model: Literal["skip-gram", "cbow", "fasttext", "glove", "window"] = option(
        "skip-gram", "Model that learns the vectors."
    )
    dim: int = option(50, "Width of the vectors.")
    epochs: int | None = option(
        None,
        "Passes over the corpus, by default 5; of GloVe over the pairs of words in it, 25.",
    )
    min_frequency: int = option(5, "Minimum count of words that the task lacks.")
    workers: int = option(
        1,
        "Threads of all models but `window`. With more than one the same seed no longer "
        "gives the same vectors.",
    )
    quick: bool = option(False, "A quick check: one epoch.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "word-embeddings", __doc__)
    check_positive(arguments, "dim", "epochs", "min_frequency", "workers")
    if arguments.precision != "fp32" and arguments.model != "window":
        raise InputError("--precision is for --model window; leave it out.")
    columns = arguments.text_columns
    corpus = Corpus(arguments.data or DATA / "related_emails", columns if arguments.data else None)
    check_texts(arguments.task, columns)
    if arguments.quick:
        arguments = replace(arguments, epochs=1)

    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer import build_vocabulary, open_vectors
    from nlp_transfer.emails import read_texts
    from nlp_transfer.evaluation import require_gensim
    from nlp_transfer.language_models.glove import require_numba
    from nlp_transfer.vocabulary import corpus_vocabulary
    from nlp_transfer.word_vectors import FILE_NAME, report
    from nlp_transfer.word_vectors.learning import VectorLearning
    from staged_training.experiment.run_folder import start_run
    from staged_training.reporting.publish import Card, publish
    from staged_training.runtime.printable import shell_path
    from staged_training.runtime.processes import is_main_process

    with start_run(arguments, "word-embeddings") as run:
        require_gensim()
        if arguments.model == "glove":
            require_numba()
        task = Path(arguments.task or DATA / "email_urgency" / "messages.parquet")
        task_texts = read_texts(task, columns if arguments.task else None).dataset["text"]

        run.open(corpus.files, list(task_texts))
        print(f"Counting the words of {corpus.path}", flush=True)
        tokenizer = corpus_vocabulary(corpus, task_texts, arguments.min_frequency)
        learning = VectorLearning(
            model=arguments.model,
            dim=arguments.dim,
            epochs=arguments.epochs,
            workers=arguments.workers,
            seed=arguments.seed,
        )
        work = partial(learning.train, corpus, tokenizer)
        seconds = run.run_cached(arguments.model, work)
        run.publish(run.runs / arguments.model / "vectors")
        if not is_main_process():
            return
        vectors, vocabulary = open_vectors(run.path), build_vocabulary(task_texts, min_frequency=1)
        scores = report.score_vectors(vectors, arguments.model, vocabulary)
        rows = [scores[0].row(seconds), *(reference.row() for reference in scores[1:])]
        results = report.scores_table(scores)
        protocol = report.describe_protocol(
            learning, corpus.path, task, tokenizer, seconds, quick=arguments.quick
        )
        shipped = arguments.data is None
        card = Card(
            "Word embeddings",
            None,
            CARD,
            {
                "repo_id": run.destination.repo_id if run.destination else None,
                "folder": str(run.path),
                "quoted": shell_path(run.path),
                "file": str(run.path / FILE_NAME),
                "protocol": protocol,
                "results": results,
                "how_to_read": report.HOW_TO_READ,
                "shipped": shipped,
            },
            tags=["word-embeddings", arguments.model],
            license_id="apache-2.0" if shipped else None,
        )
        publish(
            run,
            rows,
            rows[0],
            report.vectors_report(run.report, protocol, scores, vectors, vocabulary),
            card,
            f"{protocol.replace('**', '')}\n\n{results}",
        )
        print_next("nlp-transfer", "run", "email-urgency", "--vectors", run.path)


if __name__ == "__main__":
    sys.exit(run_script(main))
