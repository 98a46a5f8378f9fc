"""Email urgency: from GloVe vectors to a tuned classifier of urgent mail, in stages.

What it does, on each fold and for each seed:
  1. builds the task vocabulary from the training texts and aligns it to word vectors (E_T);
  2. trains a recurrent net and its head on the frozen embedding, then fine-tunes the embedding too
     at a smaller rate; the epoch that is best on validation is kept in each stage;
  3. where there is a related task (the proxy task), trains such a net on it first in the same two
     stages, keeps of it the embedding, and goes on from there with new layers as in 2;
  4. puts a head on a pretrained encoder (--base), which computes its features of every text once,
     then fine-tunes it, each layer slower than the one above; long texts are read in windows;
  5. measures all of it beside a majority vote, logistic regression on TF-IDF and on all layers of
     the encoder, and the same net on a random embedding, which shows what word vectors gained.
Validation chooses the best of all. With --compare vectors and a language model that are learnt from
related mails come along, and all are compared in one table, with all labels and with few.

What it costs: about three minutes for one fold on two cores, and 2 GB of memory. It prints the
table of models, the stages of the chosen one, examples, and where the model and the report are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staged_training.data_checks import check_text_labels
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
from staged_training.runtime.files import existing_path

DATA = RECIPES / "data" / "email_urgency"
OURS = {None, "none", "bert", "glove-6b-50d"}  # bases whose licenses the card knows
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
    vectors: str | None = option(
        None,
        "Word vectors: a name, a file in GloVe, Word2Vec or gensim format, or `none`; by default "
        "GloVe, if it knows the words.",
    )
    base: str | None = option(
        None,
        "Encoder: `bert` (MiniLM, English) by default, `multilingual`, a folder, a name on the "
        "Hub, or `none`.",
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
    refit: bool | None = option(
        None,
        "Train the chosen model once more on all texts; by default where that is quick, or of at "
        "most 1,000.",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe; unusable input raises an `InputError` before anything is written."""
    arguments = parse_arguments(Arguments, argv, "email-urgency", __doc__)
    check_arguments(arguments)
    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer import text_report as texts
    from nlp_transfer.comparison import compare
    from nlp_transfer.defaults import NONE, chosen_base, chosen_vectors
    from nlp_transfer.drift import publish_chosen_texts
    from nlp_transfer.text_candidates import text_candidates
    from nlp_transfer.text_task import read_proxy, read_task
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.processes import is_main_process

    with start_run(arguments, "email-urgency") as run:
        messages, columns = arguments.data or DATA / "messages.parquet", arguments.text_columns
        task = read_task(messages, columns, arguments.label_column, arguments.positive_label)
        vectors, base = chosen_vectors(arguments.vectors, task), chosen_base(arguments.base)
        if arguments.compare and not (vectors and base):
            raise InputError("--compare needs both: give --vectors and --base.")
        source = arguments.proxy or (NONE if arguments.data else DATA / "proxy.parquet")
        proxy = None
        if vectors and source != NONE:
            proxy = read_proxy(source, task, columns, arguments.proxy_label_column)
        found = text_candidates(task, vectors, base, run.runs, proxy, arguments.report_to)
        if not arguments.compare:
            found = found.planned(quick=arguments.quick)
        by_default = "all" if arguments.compare and not arguments.quick else "0"
        folds = chosen_folds(arguments.folds or by_default, task.folds)
        seeds = range(arguments.seed, arguments.seed + arguments.seeds)
        if arguments.compare:
            corpus = arguments.corpus or DATA.parent / "related_emails"
            compare(run, corpus, found, proxy, folds, seeds)
            print_next("nlp-transfer", "run", "email-urgency", "--output-dir", "YOUR_MODEL")
            return

        bases = found.describe_bases()
        print(*(base.description for base in bases), sep="\n")
        run.open((), task.contents, proxy and proxy.contents)
        metric = task.target.metric
        result = cross_validate(
            run, task, found.all, metric, folds, seeds, controls=found.controls, parallel=True
        )
        refitted = publish_chosen_texts(run, result, arguments.refit)
        if not is_main_process():
            return
        shipped = arguments.data is None
        about = texts.About(
            title="Email urgency",
            card=CARD,
            example="Please send me the figures before noon.",
            tags=["email", "urgency"],
            shipped=shipped,
            licensed=shipped and {arguments.base, arguments.vectors} <= OURS,
            refitted=refitted,
        )
        texts.publish_text_classifier(run, task, result, about, bases, found.describe_gains(result))
        print_next("nlp-transfer", "predict", run.path, "YOUR_MAIL.mbox")


def check_arguments(arguments: Arguments) -> None:
    """Refuse arguments that conflict, before any work."""
    check_positive(arguments, "seeds")
    columns = arguments.text_columns, arguments.label_column
    check_text_labels(arguments.data, *columns, positive_label=arguments.positive_label)
    if arguments.corpus and not arguments.compare:
        raise InputError(
            "--corpus is what --compare learns from; give that too. To learn word vectors alone: "
            "nlp-transfer run word-embeddings --data CORPUS."
        )
    if arguments.proxy not in (None, "none") and arguments.vectors == "none":
        raise InputError("--proxy tunes word vectors; leave out --vectors none.")
    for flag, given in {"--refit": arguments.refit, "--push-to-hub": arguments.push_to_hub}.items():
        if arguments.compare and given:
            raise InputError(f"--compare saves no model, so {flag} cannot be used.")
    existing_path(arguments.corpus or DATA)  # its texts may be many: no more is looked at


if __name__ == "__main__":
    sys.exit(run_script(main))
