"""The arguments of `nlp-transfer review`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from staged_training.data_checks import check_image_labels, check_text_labels
from staged_training.runtime.errors import InputError
from staged_training.runtime.printable import shell_path
from staged_training.tables.labels import LabelFormat
from staged_training.tables.reading import is_table
from staged_training.tables.writing import check_table_file
from transfer_app.arguments import add_labelled_data
from transfer_app.kinds import are_images


def review_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        "nlp-transfer review",
        description="Find labels that are probably wrong, the most suspicious first, and say why: "
        "what a model says that learnt from the other examples, similar examples with another "
        "label, and copies whose labels contradict each other. Nothing is changed: look at them, "
        "correct those that are wrong, and train.",
    )
    add_labelled_data(parser)
    parser.add_argument(
        "--label-separator", help="what parts the labels of an example, where it has several"
    )
    parser.add_argument(
        "--base",
        help="encoder of texts: `bert` (MiniLM, English) by default, `multilingual`, a folder, a "
        "name on the Hub, or `none` to compare words alone",
    )
    parser.add_argument("--backbone", default="efficientnet-lite0", help="model of images")
    parser.add_argument(
        "--readers",
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="compare the labels of two readers in place of that: their columns; Cohen's kappa, "
        "the table of both, and the examples on which they differ",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write a table too (.csv, .tsv, .jsonl, .parquet): all rows, the most suspicious "
        "first, with all columns of a table that is the input",
    )
    return parser


def review(options: argparse.Namespace) -> None:
    """Print what the arguments ask for, and write it to a file if one is named.

    Raises:
        InputError: The labels cannot be reviewed, or the file cannot be written.
    """
    output = Path(options.output) if options.output else None
    if output:
        check_table_file(output)
        if output.exists() and Path(options.data).exists() and output.samefile(options.data):
            raise InputError(f"{output}: it is what is reviewed. Name another file.")
    if options.readers:
        from transfer_app.review.readers import compare_readers

        compare_readers(options.data, options.readers, options.text_columns, output)
    else:
        _review_labels(options, output)
    if output:
        print(f"\nWrote {shell_path(output)}.")


def _review_labels(options: argparse.Namespace, output: Path | None) -> None:
    """Print which labels are doubted, and write all rows to a file if one is named."""
    data, separator = options.data, options.label_separator
    images = are_images(Path(data))
    try:
        if images:
            check_image_labels(data, LabelFormat(options.label_column, separator))
        else:
            check_text_labels(data, options.text_columns, options.label_column, separator)
    except InputError as error:
        if "task" not in error.arguments:
            raise
        raise InputError(
            f"{data}: '{options.label_column}' holds numbers. Labels are reviewed, not numbers: "
            "choose another column by `label_column`.",
            ["label_column"],
        ) from error
    # These imports take seconds, so the labels are checked first.
    from staged_training.labels.label_errors import check_cleanlab
    from transfer_app.prediction.output import write_beside
    from transfer_app.review.examples import read_image_examples, read_text_examples
    from transfer_app.review.review import review_labels

    check_cleanlab()
    if images:
        examples = read_image_examples(data, options.label_column, separator, options.backbone)
    else:
        read = options.text_columns, options.label_column, separator, options.base
        examples = read_text_examples(data, *read)
    found = review_labels(examples)
    print(*found.lines(), sep="\n")
    if output:
        write_beside(*found.table(), output)


def next_words(options: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """Return the words of the command that usually follows.

    Args:
        options: What was asked for.
        arguments: The same, as it was written.
    """
    if not options.output:
        return ["review", *arguments, "--output", "review.csv"]
    data, label_column = Path(options.data), options.label_column
    if options.readers:
        return ["review", str(data), "--label-column", options.readers[0]]
    images = are_images(data)
    # The rows of a table of texts are all that is needed; images lie beside theirs.
    corrected = options.output if is_table(data) and not images else str(data)
    words = ["run", f"{'image' if images else 'text'}-classifier", "--data", corrected]
    words += ["--label-column", label_column]
    words += ["--text-columns", *options.text_columns] if options.text_columns else []
    return words + (
        ["--label-separator", options.label_separator] if options.label_separator else []
    )
