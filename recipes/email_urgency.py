"""Email urgency: from GloVe vectors to a tuned model that tells urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. where there is a related task (the proxy task), trains such a net on it first in the same two
     stages, keeps of it the embedding, and goes on from there with new layers as in 2; to keep its
     recurrent layers too made urgency worse on validation;
  4. measures all of it beside a majority vote, logistic regression on TF-IDF, and the same net on a
     random embedding, which shows what the word vectors gave.
With --base bert, or any other encoder, it takes that in place of the word vectors: the encoder
computes its features of every text once, a head is trained on them, and then the encoder is
fine-tuned with it, each layer slower than the one above. Long texts are read window by window.
With --compare it trains all of these, and vectors and a language model that it learns from related
mails, and tells them apart in one table and a plot of what few labels are worth.

What it costs: about two minutes for one fold on two cores, and 1 GB of memory.
What it prints: the table of models, the stages of the one that validation chose, five predictions,
and where the model and the report are. It stops before any work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from staged_training.recipe import (
    RECIPES,
    RunArguments,
    check_positive,
    check_texts,
    option,
    parse_arguments,
    run_config,
    run_script,
)
from staged_training.runtime.errors import InputError, in_flags

if TYPE_CHECKING:
    from nlp_transfer.text_task import ProxyTask, TextTask

DATA = RECIPES / "data" / "email_urgency"
VECTORS = "glove-6b-50d"
CARD = Path(__file__).parent / "cards" / "email_urgency.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet, .xlsx), or a folder with one "
        "sub-folder of .eml files per label. Without a column `fold` they are dealt into five"
        " folds, near-duplicates in the same one. By default the 2,000 texts that come with "
        "it.",
    )
    text_columns: list[str] | None = option(
        None,
        "Columns to read as text; `text`, or `subject` and `body`.",
    )
    label_column: str = option("label", "Column of the labels.")
    positive_label: str | None = option(None, "The label that matters; the rarest by default.")
    vectors: str = option(
        VECTORS,
        "Word vectors: a name, or a file in GloVe, Word2Vec or gensim format.",
    )
    base: str | None = option(
        None,
        "A pretrained encoder in place of the word vectors: `bert` (MiniLM, from a package), "
        "a folder, or a name on the Hub.",
    )
    proxy: str | None = option(
        None,
        "Texts labelled for a related task, to train on first; `none` for none. By default "
        "those that come with the shipped data.",
    )
    proxy_label_column: str = option(
        "asks_for_action",
        "Column of the labels of that task; used of --data too, if it is there.",
    )
    compare: bool = option(
        False,
        "Train every way in place of one and tell them apart in one table: the baselines, a "
        "random embedding, the word vectors, the proxy task, vectors and a language model "
        "learnt from --corpus, and the encoder (--base, `bert` by default); with all labels, "
        "and with 100, 200 and 500.",
    )
    corpus: str | None = option(
        None,
        "Texts without labels for --compare to learn from, as `run word-embeddings --data` "
        "takes them. By default the 7,427 mails that come with it.",
    )
    folds: str | None = option(
        None,
        "`all` for the whole protocol, or the number of the fold to test on. By default 0, "
        "and with --compare all unless it is --quick.",
    )
    seed: int = option(0, "First random seed.")
    seeds: int = option(1, "How many seeds to average over.")
    refit: bool = option(
        False,
        "Save a model that is trained once more, on all labelled texts, with what validation "
        "chose. Its test scores are those of the evaluation.",
    )
    quick: bool = option(False, "One epoch per stage: does it all run, in a minute?")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "email-urgency", __doc__)
    check_arguments(arguments)

    # To import these takes seconds; what is wrong with the arguments is told before.
    from nlp_transfer import text_report as texts
    from nlp_transfer.baselines import round_baselines
    from nlp_transfer.candidates import text_candidates
    from nlp_transfer.comparison import compare, report_comparison
    from nlp_transfer.corpus import Corpus
    from nlp_transfer.encoder_classifier import PACKAGED
    from nlp_transfer.word_vectors import open_vectors
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.processes import is_main_process

    with start_run(arguments) as run:
        corpus = Corpus(arguments.corpus or DATA.parent / "related_emails")
        task, proxy = read_tasks(arguments)
        uses_vectors = arguments.compare or not arguments.base
        vectors = open_vectors(arguments.vectors) if uses_vectors else None
        base = arguments.base or ("bert" if arguments.compare else None)
        found = text_candidates(task, vectors, base, proxy, arguments.report_to)
        if not arguments.compare:
            smallest = min(len(task.split(fold).train) for fold in task.fold_numbers)
            found = found.quick() if arguments.quick else found.with_enough_steps(smallest)
        controls, candidates = found
        destination = arguments.destination()
        by_default = "all" if arguments.compare and not arguments.quick else "0"
        folds = chosen_folds(arguments.folds or by_default, task.folds)
        seeds = range(arguments.seed, arguments.seed + arguments.seeds)

        if arguments.compare:
            run.open(corpus.files, task.contents, proxy and proxy.contents)
            quick = arguments.quick
            comparison = compare(run, corpus, controls[0], candidates, folds, seeds, quick=quick)
            if is_main_process():
                report_comparison(run, task, comparison, folds, run_config(arguments))
            return

        knowledge, cut = candidates[0].describe_base()
        print(f"{knowledge}\n")
        run.open((), task.contents, proxy and proxy.contents)
        result = cross_validate(
            run,
            task,
            candidates,
            texts.METRIC,
            folds,
            seeds,
            partial(round_baselines, task),
            controls=controls,
        )
        run.publish(result.refit(run, task) if arguments.refit else result.chosen_model)
        if not is_main_process():
            return
        choice = [texts.describe_choice(task, result)]
        if vectors:
            choice.append(result.describe_gain("The vectors", candidates[0], controls[0]))
        if proxy:
            choice.append(result.describe_gain("The proxy task", candidates[1], candidates[0]))
        shipped = arguments.data is None
        texts.publish_text_classifier(
            run,
            arguments,
            "email-urgency",
            "Email urgency",
            task,
            result,
            CARD,
            protocol=texts.describe_protocol(task, result, cut=cut, quick=arguments.quick),
            choice=" ".join(choice),
            knowledge=knowledge,
            example="Please send me the figures before noon.",
            trained_on_all=arguments.refit,
            shipped=shipped,
            licensed=shipped and (base or arguments.vectors) in (*PACKAGED, VECTORS),
            tags=["email", "urgency"],
            destination=destination,
        )
        print(f"Next:   nlp-transfer predict {quote(str(run.path))} YOUR_MAIL.mbox")


def check_arguments(arguments: Arguments) -> None:
    """Refuse what does not go together, before any work."""
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
            raise InputError(
                f"--compare keeps no model, so that {flag} has none to take. "
                "Compare first, then run the candidate that you choose."
            )
    check_texts(arguments.corpus)


def read_tasks(arguments: Arguments) -> tuple["TextTask", "ProxyTask | None"]:
    """Read the labelled texts, and the related task if there is one."""
    from nlp_transfer.text_task import read_proxy, read_task

    source = arguments.data or DATA / "messages.parquet"
    columns = arguments.text_columns
    task = read_task(source, columns, arguments.label_column, arguments.positive_label)
    source = arguments.proxy or ("none" if arguments.data else DATA / "proxy.parquet")
    if source == "none" or (arguments.base and not arguments.compare):
        return task, None
    try:
        return task, read_proxy(source, task, columns, arguments.proxy_label_column)
    except InputError as error:
        raise InputError(in_flags(error, label_column="--proxy-label-column")) from error


if __name__ == "__main__":
    sys.exit(run_script(main))
