"""Which columns of a table are read as text."""

from collections.abc import Sequence

from staged_training.tables.reading import check_columns

MAIL = ("subject", "body")
DEFAULTS = ("text", *MAIL)


def choose_text_columns(
    source: object,
    names: Sequence[str],
    wanted: Sequence[str] | None,
    label_column: str | None = None,
) -> list[str]:
    """Return the columns to join to a text: the wanted ones, `text`, or subject and body.

    Args:
        source: The table, for messages.
        names: Its columns.
        wanted: The columns that were asked for.
        label_column: The column of labels, if there must be one.

    Raises:
        InputError: Some are not there; the message names all of them.
    """
    if wanted is None:
        folded = {name.strip().casefold() for name in names}
        wanted = MAIL if "text" not in names and folded.issuperset(MAIL) else ("text",)
    needed: dict[str, str | None] = dict.fromkeys(wanted, "text_columns")
    if label_column is not None:
        needed.setdefault(label_column, "label_column")
    check_columns(source, names, needed)
    return list(wanted)
