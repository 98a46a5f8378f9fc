"""Texts that are given as a list."""

from collections.abc import Iterable, Iterator

from staged_training.runtime.errors import InputError


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts; refuse anything that is not one.

    Raises:
        InputError: `texts` is a single text, or one of them is something else, such as NaN.
    """
    if isinstance(texts, str | bytes):
        raise InputError("texts: it is a single text. Give a list of texts, such as [text].")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"texts: number {number} is {text!r:.40}, expected a string. Fill it, or leave it "
                "out."
            )
        yield text
