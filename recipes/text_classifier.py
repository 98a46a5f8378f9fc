"""Text classifier: your texts with one label each, with any number of labels, or with a number.

What it does, on each fold and for each seed, from simple to complex:
  1. fits logistic regression (ridge regression for numbers) to TF-IDF, the simple way;
  2. fits the same to what a frozen encoder computes in all layers, or in the last alone;
  3. fits it to the last layer of the encoder when this has learnt which texts have the same label;
  4. trains a recurrent net on word vectors: its head and layers on the frozen embedding, then the
     embedding too at a smaller rate; where the vectors know the words of your texts;
  5. puts another head on the encoder, trains it on the frozen base, then fine-tunes the layers
     above the embedding, each slower than the one above.
Texts with one label each get what pays with so many of them. With fewer than 120 to train on (200
in five folds) that is 1 and 3; with fewer than 600 (1,000) 1 to 3 and the new head of 5 on the
frozen base; with more, and in all other cases, all but 3. --vectors NAME adds 4 in any case.
Validation chooses the best of all, and the report says whether it differs from the others. With two
labels the rarer one counts, by average precision; with more, macro-F1 of all; with several labels
for each text (--label-separator, or a column of lists) each is decided by itself; numbers (--task
regression) are measured by R2.

What it costs: about two minutes for one fold of 2,000 texts on two cores, and 1 GB of memory. It
prints the table of models, five examples, and where the model and the report are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from staged_training.data_checks import check_text_labels
from staged_training.recipe import (
    RunArguments,
    check_positive,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError

CARD = Path(__file__).parent / "cards" / "text_classifier.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled texts: a table (.csv, .tsv, .jsonl, .parquet, .xlsx), or a folder with one "
        "sub-folder of .eml files per label. Without a column `fold` they are dealt into five "
        "folds, near-duplicates in the same one.",
    )
    text_columns: list[str] | None = option(
        None, "Columns to read as text; by default `text`, or `subject` and `body`."
    )
    label_column: str = option("label", "Column of the labels.")
    label_separator: str | None = option(
        None,
        "What parts the labels of a text, such as `;`, where it has any number of them.",
        may_be_blank=True,
    )
    task: Literal["classification", "regression"] = option(
        "classification", "Whether labels are names, or numbers to be predicted."
    )
    positive_label: str | None = option(
        None, "The one label that matters; by default the rarer of two, and of more all matter."
    )
    class_weight: list[str] | None = option(
        None,
        "Weights in the loss: `balanced`, or LABEL=WEIGHT ...; by default all weigh alike, but in "
        "linear models, which are balanced.",
    )
    base: str | None = option(
        None,
        "Encoder: `bert` (MiniLM, English) by default, `multilingual`, a folder, a name on the "
        "Hub, or `none`.",
    )
    vectors: str | None = option(
        None, "Word vectors: a name, a file, or `none`; by default GloVe, if it knows the words."
    )
    folds: str = option("0", "`all`, or the number of the fold to test on.")
    seeds: int = option(1, "How many random seeds to average over, from --seed on.")
    refit: bool | None = option(
        None,
        "Train the chosen model once more on all texts; by default where that is quick, or of at "
        "most 1,000.",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe; unusable input raises an `InputError` before anything is written."""
    arguments = parse_arguments(Arguments, argv, "text-classifier", __doc__)
    if not arguments.data:
        raise InputError("Give your labelled texts: --data FILE, a table or folders of mail.")
    check_positive(arguments, "seeds")
    if arguments.task == "regression" and arguments.class_weight:
        raise InputError("--class-weight is for labels, not for numbers; leave it out.")
    labels = arguments.label_column, arguments.label_separator, arguments.task
    chosen = arguments.positive_label, arguments.class_weight
    check_text_labels(arguments.data, arguments.text_columns, *labels, *chosen)
    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer import text_report as texts
    from nlp_transfer.defaults import chosen_base, chosen_vectors
    from nlp_transfer.drift import publish_chosen_texts
    from nlp_transfer.text_candidates import text_candidates
    from nlp_transfer.text_task import read_task
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.heads.class_weights import read_class_weight
    from staged_training.runtime.processes import is_main_process

    with start_run(arguments, "text-classifier") as run:
        task = read_task(
            arguments.data,
            arguments.text_columns,
            arguments.label_column,
            arguments.positive_label,
            label_separator=arguments.label_separator,
            task=arguments.task,
        )
        vectors, base = chosen_vectors(arguments.vectors, task), chosen_base(arguments.base)
        weights = read_class_weight(arguments.class_weight, task.names)
        found = text_candidates(task, vectors, base, run.runs, None, arguments.report_to, weights)
        suited = found.suited(vectors=arguments.vectors is not None)
        candidates = suited.planned(quick=arguments.quick).all
        if suited is not found:
            tried = ", ".join(name for candidate in candidates for name in candidate.row_names())
            print(f"With so few texts only these are tried: {tried}. `--help` says why.")
        folds = chosen_folds(arguments.folds, task.folds)
        seeds = range(arguments.seed, arguments.seed + arguments.seeds)
        bases = suited.describe_bases()
        print(*(base.description for base in bases), sep="\n")
        run.open((), task.contents)
        metric = task.target.metric
        result = cross_validate(run, task, candidates, metric, folds, seeds, parallel=True)
        refitted = publish_chosen_texts(run, result, arguments.refit)
        if is_main_process():
            about = texts.About(
                title="Text classifier" if arguments.task == "classification" else "Text regressor",
                card=CARD,
                example="The invoice is wrong, please call me.",
                refitted=refitted,
            )
            texts.publish_text_classifier(run, task, result, about, bases)
            print_next("nlp-transfer", "predict", run.path, "YOUR_TEXTS.csv", "--output", "OUT.csv")


if __name__ == "__main__":
    sys.exit(run_script(main))
