"""Arguments that several commands have."""

import argparse


def add_labelled_data(parser: argparse.ArgumentParser) -> None:
    """Add the labelled data of a command, and the columns of their tables."""
    parser.add_argument(
        "data",
        help="labelled texts (a table, or a folder with one sub-folder of .eml files per label) or "
        "images (a folder, a table with a column file_name, a data set of the Hub)",
    )
    parser.add_argument("--label-column", default="label", help="column of the labels")
    add_text_columns(parser)


def add_text_columns(parser: argparse.ArgumentParser) -> None:
    """Add the columns of a table that are read as text."""
    parser.add_argument(
        "--text-columns", nargs="+", metavar="COLUMN", help="columns of a table to read as text"
    )
