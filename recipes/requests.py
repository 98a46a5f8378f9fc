"""Requests: which mail asks its reader to do something.

What it does, on each fold: puts a new head on a pretrained encoder, trains it on the frozen base,
then fine-tunes the layers above the embedding at a smaller rate; measures it beside the majority
class and TF-IDF. What it costs: about three minutes for one fold on two cores.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from staged_training.data_checks import check_text_labels
from staged_training.recipe import RECIPES, RunArguments, option, parse_arguments, run_script
from staged_training.runtime.command import print_next

DATA = RECIPES / "data" / "email_urgency" / "proxy.parquet"
CARD = Path(__file__).parent / "cards" / "requests.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(None, "Labelled texts: a table, or folders of mail by label.")
    text_columns: list[str] | None = option(None, "Columns to read as text, if not `text`.")
    label_column: str = option("asks_for_action", "Column of the labels.")
    positive_label: str | None = option(None, "The label that matters; the rarest by default.")
    base: str = option(
        "bert", "Encoder: `bert` (MiniLM, English), `multilingual`, a folder, or a name on the Hub."
    )
    folds: str = option("0", "`all`, or the number of the fold to test on.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe."""
    arguments = parse_arguments(Arguments, argv, "requests", __doc__)
    columns = arguments.text_columns, arguments.label_column
    check_text_labels(arguments.data, *columns, positive_label=arguments.positive_label)
    # These imports take seconds, so the arguments are checked first.
    from nlp_transfer import text_report as texts
    from nlp_transfer.defaults import BASE
    from nlp_transfer.drift import publish_chosen_texts
    from nlp_transfer.text_candidates import text_candidates
    from nlp_transfer.text_task import read_task
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.processes import is_main_process

    with start_run(arguments, "requests") as run:
        task = read_task(arguments.data or DATA, *columns, arguments.positive_label)
        found = text_candidates(task, None, arguments.base, run.runs, report_to=arguments.report_to)
        candidates = found.planned(quick=arguments.quick).all
        folds = chosen_folds(arguments.folds, task.folds)
        bases = found.describe_bases()
        print(*(base.description for base in bases), sep="\n")
        run.open((), task.contents)
        result = cross_validate(
            run, task, candidates, task.target.metric, folds, [arguments.seed], parallel=True
        )
        publish_chosen_texts(run, result, refit=False)
        if is_main_process():
            shipped = arguments.data is None
            about = texts.About(
                title="Requests in mail",
                card=CARD,
                example="Could you send me the figures?",
                tags=["email"],
                shipped=shipped,
                licensed=shipped and arguments.base == BASE,
            )
            texts.publish_text_classifier(run, task, result, about, bases)
            print_next("nlp-transfer", "predict", run.path, "YOUR_MAIL.mbox")


if __name__ == "__main__":
    sys.exit(run_script(main))
