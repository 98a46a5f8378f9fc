"""Email urgency: from GloVe vectors to a tuned classifier of urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. where there is a related task (the proxy task), trains such a net on it first in the same two
     stages, keeps of it the embedding, and goes on from there with new layers as in 2;
  4. measures all of it beside a majority vote, logistic regression on TF-IDF, and the same net on a
     random embedding, which shows what the word vectors gained.
With --base bert, or any other encoder, it takes that in place of the word vectors: the encoder
computes its features of every text once, a head is trained on them, and then the encoder is
fine-tuned with it, each layer slower than the one above. Long texts are read window by window.
With --compare it trains all of these, and vectors and a language model that it learns from related
mails, and compares them in one table, with all labels and with few.

What it costs: about two minutes for one fold on two cores, and 1 GB of memory. It prints the table
of models, the stages of the chosen one, five examples, and where the model and the report are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from staged_training.recipe import (
    RECIPES,
    RunArguments,
    check_positive,
    check_texts,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path

DATA = RECIPES / "data" / "email_urgency"
VECTORS = "glove-6b-50d"
CARD = Path(__file__).parent / "cards" / "email_urgency.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet, .xlsx), or a folder with one "
        "sub-folder of .eml files per label. Without a column `fold` they are dealt into five "
        "folds, near-duplicates in the same one. By default the 2,000 texts that come with it.",
    )
    text_columns: list[str] | None = option(
        None, "Columns to read as text; by default `text`, or `subject` and `body`."
    )
    label_column: str = option("label", "Column of the labels.")
    positive_label: str | None = option(None, "The label that matters; the rarest by default.")
    vectors: str = option(
        VECTORS, "Word vectors: a name, or a file in GloVe, Word2Vec or gensim format."
    )
    base: str | None = option(
        None, "Encoder in place of word vectors: `bert` (MiniLM), a folder, or a name on the Hub."
    )
    proxy: str | None = option(
        None, "Texts labelled for a related task, to train on first; `none` for none."
    )
    proxy_label_column: str = option(
        "asks_for_action", "Column of these labels; used of --data too, if it is there."
    )
    compare: bool = option(
        False,
        "Compare all candidates in one table, with all labels and with few: a random embedding, "
        "word vectors, the proxy task, an encoder, and what is learnt from --corpus.",
    )
    corpus: str | None = option(
        None, "Texts without labels for --compare, as `run word-embeddings --data` takes them."
    )
    folds: str | None = option(
        None, "`all`, or the fold to test on; by default 0, and with --compare all."
    )
    seeds: int = option(1, "How many random seeds to average over, from --seed on.")
    refit: bool = option(False, "Save the chosen model, trained once more on all labelled texts.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe; unusable input raises an `InputError` before anything is written."""
    arguments = parse_arguments(Arguments, argv, "email-urgency", __doc__)
    check_arguments(arguments)
    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer import text_report as texts
    from nlp_transfer.baselines import round_baselines
    from nlp_transfer.candidates import text_candidates
    from nlp_transfer.comparison import compare, report_comparison
    from nlp_transfer.encoder_classifier import PACKAGED
    from nlp_transfer.evaluation import require_gensim
    from nlp_transfer.text_task import read_proxy, read_task
    from nlp_transfer.word_vectors import open_vectors
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.processes import is_main_process
    from staged_training.tables.corpus import Corpus

    with start_run(arguments, "email-urgency") as run:
        messages, columns = arguments.data or DATA / "messages.parquet", arguments.text_columns
        task = read_task(messages, columns, arguments.label_column, arguments.positive_label)
        vectors = proxy = None
        if arguments.compare or not arguments.base:
            vectors = open_vectors(arguments.vectors)
            source = arguments.proxy or ("none" if arguments.data else DATA / "proxy.parquet")
            if source != "none":
                proxy = read_proxy(source, task, columns, arguments.proxy_label_column)
        base = arguments.base or ("bert" if arguments.compare else None)
        found = text_candidates(task, vectors, base, proxy, arguments.report_to)
        if not arguments.compare:
            smallest = min(len(task.split(fold).train) for fold in task.fold_numbers)
            found = found.quick() if arguments.quick else found.with_enough_steps(smallest)
        controls, candidates = found
        by_default = "all" if arguments.compare and not arguments.quick else "0"
        folds = chosen_folds(arguments.folds or by_default, task.folds)
        seeds = range(arguments.seed, arguments.seed + arguments.seeds)
        if arguments.compare:
            require_gensim()
            corpus = Corpus(arguments.corpus or DATA.parent / "related_emails")
            run.open(corpus.files, task.contents, proxy and proxy.contents)
            comparison = compare(run, corpus, controls[0], candidates, folds, seeds)
            if is_main_process():
                report_comparison(run, task, comparison, folds)
                print_next("nlp-transfer", "run", "email-urgency", "--output-dir", "YOUR_MODEL")
            return

        base_knowledge = candidates[0].describe_base()
        print(f"{base_knowledge.description}\n")
        run.open((), task.contents, proxy and proxy.contents)
        baselines = partial(round_baselines, task)
        result = cross_validate(
            run, task, candidates, texts.METRIC, folds, seeds, baselines, controls=controls
        )
        run.publish(result.refit(run, task) if arguments.refit else result.chosen_model)
        if not is_main_process():
            return
        gains = []
        if vectors:
            gains.append(result.describe_gain("The vectors", candidates[0], controls[0]))
        if proxy:
            gains.append(result.describe_gain("The proxy task", candidates[1], candidates[0]))
        shipped = arguments.data is None
        about = texts.About(
            title="Email urgency",
            card=CARD,
            example="Please send me the figures before noon.",
            tags=["email", "urgency"],
            shipped=shipped,
            licensed=shipped and (base or arguments.vectors) in (*PACKAGED, VECTORS),
        )
        texts.publish_text_classifier(run, task, result, about, base_knowledge, gains)
        print_next("nlp-transfer", "predict", run.path, "YOUR_MAIL.mbox")


def check_arguments(arguments: Arguments) -> None:
    """Refuse arguments that conflict, before any work."""
    check_positive(arguments, "seeds")
    check_texts(arguments.data, arguments.text_columns, arguments.label_column)
    if arguments.corpus and not arguments.compare:
        raise InputError(
            "--corpus is what --compare learns from; give that too. To learn word vectors alone: "
            "nlp-transfer run word-embeddings --data CORPUS."
        )
    if arguments.base and arguments.proxy and not arguments.compare:
        raise InputError("--proxy tunes word vectors; leave it out where --base is given.")
    for flag, given in {"--refit": arguments.refit, "--push-to-hub": arguments.push_to_hub}.items():
        if arguments.compare and given:
            raise InputError(f"--compare saves no model, so {flag} cannot be used.")
    existing_path(arguments.corpus or DATA)  # its texts may be many: no more is looked at


if __name__ == "__main__":
    sys.exit(run_script(main))
