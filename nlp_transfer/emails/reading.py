"""Mail and tables of texts to a `datasets.Dataset`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from nlp_transfer.emails.containers import (
    is_mail,
    is_maildir,
    raw_messages,
    sent_messages,
)
from nlp_transfer.emails.messages import Email, Skipped, contents, message_of, readable, unread
from nlp_transfer.emails.text_tables import TextStream, TextTable, row_names
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path
from staged_training.tables import reading as tables
from staged_training.tables.labelled_texts import read_labelled_rows
from staged_training.tables.labels import ONE_LABEL, LabelFormat, Labels, read_labels
from staged_training.tables.streaming import stream_table
from staged_training.tables.text_columns import (
    DEFAULTS,
    MAIL,
    choose_text_columns,
    text_columns_of_model,
)

if TYPE_CHECKING:
    from datasets import Dataset


class Reading(NamedTuple):
    """What was read, and which messages had to be left out.

    Attributes:
        dataset: The texts, a row each; for its columns see the function that read them.
        skipped: The messages that could not be read; none for a table.
        text_columns: The columns of a table that texts were joined from; none for mail.

    Examples:
        >>> reading = read_emails("mail")
        >>> reading.dataset.column_names, len(reading.dataset), reading.skipped
        (['input', 'subject', 'body'], 10, [])
    """

    dataset: "Dataset"
    skipped: list[Skipped]
    text_columns: Sequence[str] = ()


def iter_emails(
    source: str | PathLike[str], keep_quotes: bool = False
) -> Iterator[Email | Skipped]:
    """Yield the messages of `source` one by one; only one is held in memory.

    Args:
        source: a `.eml` or `.msg` file, an mbox, a Maildir, or a folder with them at any depth.
        keep_quotes: keep quoted replies and signatures in the bodies.

    Raises:
        InputError: `source` is missing, empty or no mail.

    Examples:
        >>> from nlp_transfer.emails import Email
        >>> emails = [item for item in iter_emails("mail") if isinstance(item, Email)]
        >>> len(emails), emails[5].input, emails[5].subject
        (10, 'spam-1-00252.eml', '不看會後悔')
    """
    path = existing_path(source)
    if not is_mail(path):
        raise _unknown(path)
    for message in contents(raw_messages(path), keep_quotes):
        yield message_of(*message)


def read_emails(source: str | PathLike[str], keep_quotes: bool = False) -> Reading:
    """Return the messages of `source` as columns `input`, `subject`, `body`.

    Args:
        source: as for `iter_emails`, or a table of one of `SUFFIXES` with columns
            `subject` and `body`, whose other columns are kept and whose cells are taken as they
            are.
        keep_quotes: keep quoted replies and signatures in the bodies.

    Raises:
        InputError: as `iter_emails`; a table that cannot be read or lacks a column; no message
            that could be read.

    Examples:
        >>> read_emails("mail").dataset[0]["body"][:33]
        'Here is the little script I run I'
        >>> read_emails("mail", keep_quotes=True).dataset[0]["body"][:33]
        '> From: Hal DeVore <haldevore@acm'
    """
    path = existing_path(source)
    if _is_table(path):
        table = tables.read_table(path, as_text=MAIL)
        tables.check_columns(path, table.column_names, MAIL)
        texts = {name: tables.text_column(table, path, name) for name in MAIL}
        filled = {name: [cell or "" for cell in cells] for name, cells in texts.items()}
        names = row_names(path, range(1, table.num_rows + 1))
        return Reading(_dataset({"input": names, **filled}, table), [])
    emails, skipped = _read_all(path, keep_quotes)
    columns = {name: [getattr(email, name) for email in emails] for name in Email._fields}
    return Reading(_dataset(columns), skipped)


def read_texts(source: str | PathLike[str], text_columns: Sequence[str] | None = None) -> Reading:
    """Return the texts to classify as columns `input` and `text`, in the order of `source`.

    `input` names each text: `mail.eml`, `inbox.mbox#3` (the third message), `table.csv#12` (the
    twelfth row below the header; blank lines do not count). `text` of a mail is its subject, a
    line break and its body, without quoted replies and signature. All other columns of a table
    are kept, save those named `input` or `text`.

    Args:
        source: as for `read_emails`.
        text_columns: the columns of a table to be joined with a line break; by default `text`,
            or else `subject` and `body`.

    Raises:
        InputError: as `read_emails`; a row without text.

    Examples:
        >>> import pandas as pd
        >>> pd.DataFrame({"subject": ["Lunch?"], "body": ["At noon"]}).to_csv("mail.csv")
        >>> read_texts("mail.csv").dataset["text"][:]
        ['Lunch?\\nAt noon']
        >>> read_texts("mail").dataset.column_names
        ['input', 'text']
    """
    path = existing_path(source)
    if _is_table(path):
        return _texts_of_table(path, text_columns)
    emails, skipped = _read_all(path, keep_quotes=False)
    return Reading(_dataset(_mail_columns(emails)), skipped)


def iter_texts(
    source: str | PathLike[str], text_columns: Sequence[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Return an iterator over what `read_texts` reads, as name and text; it holds one mail.

    Args:
        source: as for `read_texts`.
        text_columns: as for `read_texts`.

    Raises:
        InputError: as `read_texts`; while mail is read, if no message can be.

    Examples:
        >>> next(iter_texts("mail"))[0]
        'easy-ham-1-00993.eml'
    """
    path = existing_path(source)
    if _is_table(path):
        columns = _texts_of_table(path, text_columns).dataset
        return zip(columns["input"], columns["text"], strict=True)
    return ((email.input, email.text) for email in readable(path, False, []))


def unread_mail(
    source: str | PathLike[str],
) -> Iterator[Callable[[], tuple[str, str] | Skipped]]:
    """Yield for each message what reads it: its name and its text, or why it cannot be read.

    Args:
        source: as for `iter_emails`.

    Raises:
        InputError: as `iter_emails`; at the end, if all were asked for, and none could be read.
    """
    path = existing_path(source)
    if not is_mail(path):
        raise _unknown(path)
    return (partial(_read_text, read) for read in unread(path, keep_quotes=False))


def iter_sent_mail(name: str, data: bytes) -> Iterator[tuple[str, str] | Skipped]:
    """Return what `unread_mail` reads, of a file that was sent and lies nowhere.

    Args:
        name: its name, whose suffix tells what it is: `.eml`, `.msg`, `.mbox` or none.
        data: what it holds.
    """
    messages = contents(sent_messages(name, data), keep_quotes=False)
    return (_named_text(message_of(*message)) for message in messages)


def read_text_table(
    source: str | PathLike[str], text_columns: Sequence[str] | None = None
) -> TextTable | None:
    """Return a table as it is, and its texts; `None` for what is no table.

    Args:
        source: as for `read_texts`.
        text_columns: as for `read_texts`.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    path = existing_path(source)
    if not _is_table(path):
        return None
    table = tables.read_table(path, text_columns or DEFAULTS, typed=False)
    return TextTable(path, table, choose_text_columns(path, table.column_names, text_columns))


def stream_text_table(
    source: str | PathLike[str],
    text_columns: Sequence[str] | None = None,
    trained_on: Sequence[str] = (),
) -> TextStream | None:
    """Return a table of any length as it is, for a trained model; `None` for what is no table.

    Args:
        source: as for `read_texts`.
        text_columns: as for `read_texts`.
        trained_on: the columns that the model was trained on, see `text_columns_of_model`.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    path = existing_path(source)
    if not _is_table(path):
        return None
    table = stream_table(path, text_columns or [*trained_on, *DEFAULTS])
    columns = text_columns_of_model(path, table.schema.names, text_columns, trained_on)
    return TextStream(table, columns)


class LabelledReading(NamedTuple):
    """Labelled texts.

    Attributes:
        dataset: The texts as columns `input` and `text`, and the other columns of a table.
        labels: Their labels, see `Labels`.
        text_columns: The columns of a table that the texts were joined from; none for mail.
    """

    dataset: "Dataset"
    labels: Labels
    text_columns: Sequence[str] = ()


def read_labels_and_texts(
    source: str | PathLike[str],
    text_columns: Sequence[str] | None = None,
    written: LabelFormat = ONE_LABEL,
) -> LabelledReading:
    """Return labelled texts, checked.

    A folder is read as `FOLDER/<label>/*.eml`. Rows of a table without text are left out, with a
    warning.

    Args:
        source: a table with a column of labels, or a folder with one sub-folder per label.
        text_columns: as for `read_texts`.
        written: how the labels of a table are written.

    Raises:
        InputError: as `read_texts`; labels that cannot be used, see `read_labels`.
    """
    path = existing_path(source)
    if _is_table(path):
        found = read_labelled_rows(path, text_columns, written)
        columns = {"input": row_names(path, found.rows), "text": found.texts}
        labels = read_labels(path, found.places, found.cells, written, "text")
        return LabelledReading(_dataset(columns, found.table), labels, found.text_columns)
    if not path.is_dir() or is_maildir(path):
        raise InputError(
            f"{path}: holds no labels. Give a table with a column '{written.column}', or a folder "
            "with one sub-folder of .eml files per label."
        )
    if written != LabelFormat(written.column):
        raise InputError(
            f"{path}: the folders of mail are the labels, one for each. For several labels or "
            "numbers give a table with a column of them."
        )
    emails, _ = _read_all(path, keep_quotes=False)
    dataset = _dataset(_mail_columns(emails))
    cells = [_folder_label(path, name) for name in dataset["input"]]
    return LabelledReading(dataset, read_labels(path, dataset["input"], cells, written, "text"))


def read_labelled_texts(
    source: str | PathLike[str],
    text_columns: Sequence[str] | None = None,
    label_column: str = "label",
) -> Reading:
    """Return labelled texts as columns `input`, `text` and `label`, checked.

    Like `read_texts`, with `label` as text, whatever the column's type.

    Args:
        source: as for `read_labels_and_texts`.
        text_columns: as for `read_texts`.
        label_column: the column of a table that holds the labels.

    Raises:
        InputError: as `read_labels_and_texts`.

    Examples:
        >>> import pandas as pd
        >>> pd.DataFrame({"text": texts, "label": labels}).to_csv("messages.csv", index=False)
        >>> reading = read_labelled_texts("messages.csv")
        >>> reading.dataset[3]["input"], sorted(set(reading.dataset["label"]))
        ('messages.csv#4', ['0', '1'])
    """
    dataset, labels, read = read_labels_and_texts(source, text_columns, LabelFormat(label_column))
    others = [name for name in dataset.column_names if name not in ("input", "text", "label")]
    named = {"label": [labels.names[number] for number in labels.values]}
    columns = {name: dataset[name][:] for name in ("input", "text")} | named
    return Reading(_dataset(columns, dataset.data.table.select(others)), [], read)


def _is_table(path: Path) -> bool:
    if tables.is_table(path):
        return True
    if not is_mail(path):
        raise _unknown(path)
    return False


def _unknown(path: Path) -> InputError:
    return InputError(
        f"{path}: not a kind of file that can be read here. Give mail (.eml, .msg, .mbox, a "
        f"Maildir or a folder of them) or a table ({', '.join(tables.SUFFIXES)})."
    )


def _read_all(path: Path, keep_quotes: bool) -> tuple[list[Email], list[Skipped]]:
    skipped: list[Skipped] = []
    return list(readable(path, keep_quotes, skipped)), skipped


def _mail_columns(emails: list[Email]) -> dict[str, list[str]]:
    names = [email.input for email in emails]
    return {"input": names, "text": [email.text for email in emails]}


def _read_text(read: Callable[[], Email | Skipped]) -> tuple[str, str] | Skipped:
    return _named_text(read())


def _named_text(message: Email | Skipped) -> tuple[str, str] | Skipped:
    return message if isinstance(message, Skipped) else (message.input, message.text)


def _folder_label(folder: Path, name: str) -> str:
    label, _, file = name.partition("/")
    if not file:
        raise InputError(
            f"{folder}: {name} lies in no sub-folder. Move each message into the sub-folder named "
            "after its label."
        )
    return label


def _texts_of_table(path: Path, text_columns: Sequence[str] | None) -> Reading:
    table = tables.read_table(path, text_columns or DEFAULTS)
    text_columns = choose_text_columns(path, table.column_names, text_columns)
    texts = TextTable(path, table, text_columns)
    texts.check_filled()
    return Reading(_dataset({"input": texts.names, "text": texts.texts}, table), [], text_columns)


def _dataset(columns: dict[str, list[str]], table: pa.Table | None = None) -> "Dataset":
    """Return `columns` followed by those of `table` that have other names."""
    import datasets  # takes a second

    result = pa.table({name: pa.array(cells, "string") for name, cells in columns.items()})
    if table is not None:
        for name in table.column_names:
            if name not in columns:
                result = result.append_column(table.field(name), table[name])
    return datasets.Dataset(result)
