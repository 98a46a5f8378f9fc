"""Names of labels as people type them."""

import unicodedata

from staged_training.runtime.printable import printable

LONGEST = 200
"""Characters that a label may have which is added; those of the data may have more."""

_JOINERS = "\u200c\u200d"  # of emoji, and of Persian and Indian letters
_BLANK = {*"\u115f\u1160\u2800\u3164\uffa0"}  # letters and signs of which nothing is seen


def tidy_name(name: str) -> str:
    r"""Return a label composed, with single spaces and without characters that are not seen.

    Examples:
        >>> tidy_name("\ufeff not  for\u200b us \u200f")
        'not for us'
    """
    seen = [c for c in name if unicodedata.category(c) != "Cf" or c in _JOINERS]
    return " ".join(unicodedata.normalize("NFC", "".join(seen)).split()).strip(f"{_JOINERS} ")


def why_no_name(tidy: str) -> str | None:
    """Return why a tidy name cannot be that of a label; None if it can."""
    if len(tidy) > LONGEST:
        return f"A label has at most {LONGEST} characters, and this one {len(tidy):,}."
    is_seen = any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in tidy)
    if not is_seen or printable(tidy) != tidy:
        return "A label is one line of text with a letter, digit or sign that can be seen."
    return None
