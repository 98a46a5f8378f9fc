"""What labelled data are, known without PyTorch."""

from pathlib import Path

from nlp_transfer.emails.containers import is_mail_file
from staged_training.tables.reading import is_table, read_table


def are_images(data: Path) -> bool:
    """Whether labelled data are images, not texts."""
    if data.is_dir():
        return not any(map(is_mail_file, data.rglob("*")))
    if not data.exists():
        return True  # a data set of the Hub
    return is_table(data) and "file_name" in read_table(data, ()).column_names
