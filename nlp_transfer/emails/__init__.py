"""Mail and tables of texts to `datasets.Dataset`: one call each to learn from and to predict."""

from nlp_transfer.emails.reading import (
    Email,
    Reading,
    Skipped,
    iter_emails,
    read_emails,
    read_labelled_texts,
    read_texts,
)

__all__ = [
    "Email",
    "Reading",
    "Skipped",
    "iter_emails",
    "read_emails",
    "read_labelled_texts",
    "read_texts",
]
