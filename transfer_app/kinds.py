"""What labelled data are, known without PyTorch."""

from pathlib import Path

from nlp_transfer.emails.containers import is_mail_file
from staged_training.tables.reading import read_table, table_suffix
from staged_training.tables.text_files import marked_encoding, open_text


def are_images(data: Path) -> bool:
    """Whether labelled data are images, not texts."""
    if data.is_dir():
        return not any(map(is_mail_file, data.rglob("*")))
    if not data.exists():
        return True  # a data set of the Hub
    if table_suffix(data) == ".xlsx":
        return "file_name" in read_table(data, ()).column_names
    with open_text(data, marked_encoding(data), "replace") as stream:
        return "file_name" in stream.read(100_000)  # the column that a table of images has
