"""Word embeddings: from mails without labels to word vectors for a task that has few labels.

What it does:
  1. builds the vocabulary: the frequent words of the corpus, and every word of the task that the
     vectors are for, however rare it is in the corpus;
  2. learns a vector for each by skip-gram, CBOW, fastText, or a neural probabilistic language model
     over a window of words (--model window);
  3. measures what the vectors know: word similarity, analogies, and how much of the task they
     cover, beside GloVe 6B 50d where that is installed;
  4. shows the nearest neighbours of frequent words of the task, and a map of them.

What it costs: about a minute on two cores for the 7,427 mails and 1 GB of memory; --model window
takes minutes for each epoch. A corpus may be larger than memory.
What it prints: the table of scores, and where the vectors and the report are. It stops before any
work where the input cannot be used. Then: nlp-transfer run email-urgency --vectors OUTPUT_DIR
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerFast

from nlp_transfer.corpus import Corpus, corpus_vocabulary
from nlp_transfer.emails import read_texts
from nlp_transfer.evaluation import require_gensim
from nlp_transfer.language_models import train_window_model
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.word_vectors import FILE_NAME, open_vectors, save_vectors
from recipes.word_embeddings_report import Findings, print_findings, write_findings
from staged_training.experiment.run_folder import RunFolder
from staged_training.recipe import RunArguments, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.errors import InputError, flag
from staged_training.runtime.processes import is_main_process, on_main_process

DATA = Path(__file__).parent / "data"


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
        "Texts of the task that the vectors are for: mail or a table. Each of their words "
        "that the corpus has gets a vector; nothing else is learnt from them. By default the "
        "2,000 messages that come with email-urgency.",
    )
    model: Literal["skip-gram", "cbow", "fasttext", "window"] = option(
        "skip-gram",
        "What learns the vectors.",
    )
    dim: int = option(50, "Width of the vectors.")
    epochs: int = option(5, "How often the corpus is learnt from.")
    min_frequency: int = option(5, "How often words that the task lacks must occur.")
    workers: int = option(
        1,
        "Threads of skip-gram, CBOW and fastText. With more than one the same seed no longer "
        "gives the same vectors.",
    )
    quick: bool = option(False, "One epoch: does it all run?")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "word-embeddings", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    check_numbers(arguments)
    require_gensim()
    corpus = Corpus(arguments.data or DATA / "related_emails", _own_columns(arguments, "data"))
    task = Path(arguments.task or DATA / "email_urgency" / "messages.parquet")
    task_texts = read_texts(task, _own_columns(arguments, "task")).dataset["text"]
    destination = arguments.destination()

    run.open(corpus.files, list(task_texts))
    print(f"Counting the words of {corpus.path}", flush=True)
    tokenizer = corpus_vocabulary(corpus, task_texts, arguments.min_frequency)
    work = partial(learn, arguments, corpus, tokenizer)
    seconds = run.run_cached(arguments.model, work)
    run.publish(run.runs / arguments.model / "vectors")
    if not is_main_process():
        return
    findings = Findings(
        folder=run.path,
        repo_id=destination.repo_id if destination else None,
        corpus=corpus.path,
        shipped=arguments.data is None,
        task=task,
        task_texts=task_texts,
        vectors=open_vectors(run.path),
        model=arguments.model,
        epochs=_epochs(arguments),
        counts=_counts(tokenizer),
        seconds=seconds,
        quick=arguments.quick,
    )
    rows = write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings, rows)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def check_numbers(arguments: Arguments) -> None:
    """Refuse numbers that nothing can be learnt with."""
    for name in ("dim", "epochs", "min_frequency", "workers"):
        if getattr(arguments, name) < 1:
            raise InputError(f"{flag(name)} is {getattr(arguments, name)}; give 1 or more.")


def learn(
    arguments: Arguments, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> float:
    """Learn vectors and write those that were learnt, the most frequent words first.

    Words that the corpus lacks are left out, save for fastText, which makes their vectors of parts.

    Returns:
        The seconds that it took.
    """
    start = time.perf_counter()
    if arguments.model == "window":
        model = train_window_model(
            corpus,
            tokenizer,
            output_dir=folder / "model",
            embedding_size=arguments.dim,
            epochs=_epochs(arguments),
            seed=arguments.seed,
        )
        counts = _counts(tokenizer)
        words = sorted((w for w in counts if counts[w]), key=lambda word: -counts[word])
        rows = model.embedding_matrix()[tokenizer.convert_tokens_to_ids(words)]
    else:
        train = partial(
            train_word2vec,
            corpus,
            tokenizer,
            algorithm="cbow" if arguments.model == "cbow" else "skip-gram",
            subwords=arguments.model == "fasttext",
            dim=arguments.dim,
            epochs=_epochs(arguments),
            workers=arguments.workers,
            seed=arguments.seed,
        )
        vectors = on_main_process(train)
        words, rows = vectors.index_to_key, vectors.vectors
        if arguments.model != "fasttext":
            words = [word for word in words if vectors.get_vecattr(word, "count")]
            rows = rows[: len(words)]
    save_vectors(folder / "vectors" / FILE_NAME, words, rows)
    return time.perf_counter() - start


def _counts(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """How often each word of the vocabulary occurs in the corpus."""
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    counts = dict(zip(words, tokenizer.init_kwargs["token_counts"], strict=True))
    return {word: n for word, n in counts.items() if word not in tokenizer.all_special_tokens}


def _epochs(arguments: Arguments) -> int:
    return 1 if arguments.quick else arguments.epochs


def _own_columns(arguments: Arguments, source: str) -> list[str] | None:
    """The columns that were asked for, if that source is not the one that comes with the recipe."""
    return arguments.text_columns if getattr(arguments, source) else None


if __name__ == "__main__":
    main()
