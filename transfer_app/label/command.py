"""The arguments of `nlp-transfer label`, and labels by way of a spreadsheet."""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from staged_training.data_checks import check_images, check_texts
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path
from staged_training.runtime.printable import shell_path
from staged_training.tables.writing import check_table_file
from transfer_app.arguments import add_text_columns
from transfer_app.kinds import are_images
from transfer_app.listening import check_port

if TYPE_CHECKING:
    from transfer_app.label.pool import Pool

CHOSEN = (
    "Most of them were chosen: scores, sets and reports of a model that learns from them are about "
    "such rows, and not about all."
)
_NEEDED = ("fastapi", "pydantic", "uvicorn")  # by the page


def label_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        "nlp-transfer label",
        description="Label texts or photos, those first that a model learns most from. By default "
        "a page opens in the browser: a key for each label, and each answer is on disk before the "
        "next example is shown. With --batch a table is written instead, to be filled in and "
        "given back by --labels. A fifth of what is asked is drawn at random: it tells how good "
        "a model of the labels is, and what more of them would bring.",
        epilog="For example: nlp-transfer label tickets.csv --batch 50 --output next.csv; fill in "
        "the column `label`; nlp-transfer label tickets.csv --labels next.csv --batch 50 --output "
        "next2.csv; and so on. Without --batch, --labels writes all labelled rows for a recipe.",
    )
    parser.add_argument(
        "data",
        help="texts (mail, or a table) or photos (a folder, or a table with a column file_name); "
        "labels that a table has count",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="table to write (.csv, .tsv, .jsonl, .parquet): the columns of the input, the label, "
        "and a column that says which row it is. Labelling in the browser goes on where it was "
        "left if it is given again",
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="write so many rows that are to be labelled"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="FILE",
        help="tables that --batch wrote, filled in; leave empty what you cannot tell, which is not "
        "asked again",
    )
    parser.add_argument("--label-column", default="label", help="column of the labels")
    parser.add_argument(
        "--label-names",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="labels that the page has a key for from the start; others are added there",
    )
    add_text_columns(parser)
    parser.add_argument(
        "--base",
        help="encoder of texts: `bert` (MiniLM, English) by default, `multilingual`, a folder, a "
        "name on the Hub, or `none` to compare words alone; or the model of photos, by default "
        "`efficientnet-lite0`",
    )
    parser.add_argument("--port", type=int, default=7861, help="port of the page")
    return parser


def label(options: argparse.Namespace) -> None:
    """Label what the arguments ask for.

    Raises:
        InputError: It cannot be read, or the file cannot be written.
    """
    output = Path(options.output)
    check_table_file(output)
    _check_options(options)
    if are_images(existing_path(options.data)):
        check_images(options.data)
    else:
        check_texts(options.data, options.text_columns)
    # These imports take seconds, so the arguments are checked first.
    from transfer_app.label.pool import read_pool

    pool = read_pool(options.data, options.text_columns, options.label_column, options.base)
    following = _next_words(options, pool)
    if options.batch is not None or options.labels:
        _label_by_file(pool, [Path(file) for file in options.labels], options.batch, output)
    else:
        from transfer_app.label.server import serve_page

        if not serve_page(pool, output, options.label_names, options.port, following):
            return
    print_next(*following)


def _check_options(options: argparse.Namespace) -> None:
    data, output = Path(options.data), Path(options.output)
    by_file = options.batch is not None or options.labels
    if options.batch is not None and options.batch < 1:
        raise InputError(f"`batch` is {options.batch}. Ask for one row or more.", ["batch"])
    if by_file and options.label_names:
        raise InputError(
            "`label_names` are for the page. In a table write what labels you like.",
            ["label_names"],
        )
    if by_file and output.exists():
        raise InputError(
            f"{output}: is there already, and may hold your labels. Name another file."
        )
    if data.is_dir() and output.stem == "metadata" and data.samefile(output.parent):
        raise InputError(
            f"{output}: would be taken for the table of all photos in {data}. Name another file."
        )
    for file in options.labels:
        existing_path(file)
    if not by_file:
        _check_page(data, output, options.port)


def _check_page(data: Path, output: Path, port: int) -> None:
    """Refuse a page that cannot be served, or would write over what is not its own."""
    check_port(port)
    if any(find_spec(name) is None for name in _NEEDED):
        raise InputError(
            "The page needs more: pip install 'nlp-transfer[labels]'. Or label in a spreadsheet: "
            "give `batch`.",
            ["batch"],
        )
    from transfer_app.label.log import has_labels, log_of

    log = log_of(output)
    if any(file.exists() and file.samefile(data) for file in (output, log)):
        raise InputError(f"{output}: is the input, and would be lost. Name another file.")
    if output.exists() and not has_labels(log):
        raise InputError(
            f"{output}: is there already, and was not written by the page, which keeps answers in "
            f"{log.name}. Name another file."
        )


def _label_by_file(pool: "Pool", files: list[Path], batch: int | None, output: Path) -> None:
    """Read filled-in tables, and write the next one, or all rows that have a label."""
    from transfer_app.label.answers import read_answers, write_rows
    from transfer_app.label.labelling import Labelling, describe_quality

    labelling = Labelling(pool, read_answers(files, pool))
    answers = labelling.answers
    print(labelling.counted())
    if answers.order:
        print(describe_quality(labelling.quality(), pool.kinds))
    if batch is None:
        rows = sorted(answers.order)
        write_rows(pool, rows, [answers.labels[row] for row in rows], output)
        print(f"Wrote {shell_path(output)}: {len(rows):,} rows with labels. {CHOSEN}")
    else:
        rows = labelling.next_batch(batch).rows.tolist()
        if not rows:
            raise InputError(
                f"{pool.source}: all was asked, or is nearly the same as what was. Leave `batch` "
                "out to write the labels.",
                ["batch"],
            )
        write_rows(pool, rows, [None] * len(rows), output)
        print(f"Wrote {shell_path(output)}: fill in its column '{pool.label_column}'.")


def _next_words(options: argparse.Namespace, pool: "Pool") -> list[str]:
    """Return the words of the command that usually follows."""
    columns = ["--text-columns", *options.text_columns] if options.text_columns else []
    column = ["--label-column", options.label_column] if options.label_column != "label" else []
    if options.batch is None:
        words = ["run", pool.recipe, "--data", options.output]
        return ["nlp-transfer", *words, *columns, *column]
    words = ["label", options.data, "--labels", *options.labels, options.output]
    words += ["--batch", str(options.batch), "--output", str(_following(Path(options.output)))]
    words += ["--base", options.base] if options.base else []
    return ["nlp-transfer", *words, *columns, *column]


def _following(file: Path) -> Path:
    """Return the name of the file after one: `next.csv`, `next2.csv`, `next3.csv`."""
    name = file.stem.rstrip("0123456789")
    number = int(file.stem[len(name) :] or 1) + 1
    return file.with_name(f"{name}{number}{file.suffix}")
