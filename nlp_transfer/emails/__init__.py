"""Mail and tables of texts to `datasets.Dataset`: one call each to learn from and to predict."""

from nlp_transfer.emails.messages import Email, Skipped
from nlp_transfer.emails.reading import (
    Reading,
    iter_emails,
    iter_texts,
    read_emails,
    read_labelled_texts,
    read_texts,
)

__all__ = [
    "Email",
    "Reading",
    "Skipped",
    "iter_emails",
    "iter_texts",
    "read_emails",
    "read_labelled_texts",
    "read_texts",
]
