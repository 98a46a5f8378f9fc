"""Which columns of a table are read as text."""

from collections.abc import Sequence
from contextlib import suppress

from staged_training.runtime.errors import InputError
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
    if label_column in needed:
        raise InputError(
            f"{source}: '{label_column}' is the column of labels, and `text_columns` reads it as "
            "text, so that a model would see its answers. Leave it out there.",
            ["text_columns"],
        )
    if label_column is not None:
        needed.setdefault(label_column, "label_column")
    check_columns(source, names, needed)
    return list(wanted)


def text_columns_of_model(
    source: object, names: Sequence[str], wanted: Sequence[str] | None, trained_on: Sequence[str]
) -> list[str]:
    """Return the columns to join to a text for a trained model: the wanted ones, or its own.

    A model that was trained on `text`, or on subject and body, takes either, as they say the same.

    Args:
        source: The table, for messages.
        names: Its columns.
        wanted: The columns that were asked for.
        trained_on: The columns that the model was trained on; none where that is not known.

    Raises:
        InputError: As `choose_text_columns`; the message names what the model was trained on.
    """
    if wanted is not None or not trained_on:
        return choose_text_columns(source, names, wanted)
    try:
        return choose_text_columns(source, names, trained_on)
    except InputError as error:
        if {*trained_on} <= {*DEFAULTS}:
            with suppress(InputError):
                return choose_text_columns(source, names, None)
        raise InputError(
            f"{error} The model was trained on: {', '.join(trained_on)}.", error.arguments
        ) from error
