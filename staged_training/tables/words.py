"""The words of texts in any script.

A tokenizer that is saved carries this code along, so it imports nothing of this project.
"""

from unicodedata import normalize

import regex

# A vowel sign or a point belongs to the letter that it marks, and a joiner to the word around it;
# for `\w` of the standard library a word ends before each of them.
_PIECE = r"[\p{L}\p{N}_][\p{L}\p{M}\p{N}_]*"
_WORD = regex.compile(rf"{_PIECE}(?:[\u200c\u200d]{_PIECE})*")

UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
"""A letter of a script that puts no spaces between words."""


def words_of(text: str) -> list[str]:
    """Return the words of a text: runs of letters with their marks, digits and underscores.

    In scripts without spaces between words any two neighbouring characters count as one.

    Examples:
        >>> words_of("Pump 3: पानी नहीं, 没有水")
        ['Pump', '3', 'पानी', 'नहीं', '没有', '有水']
    """
    found: list[str] = []
    for word in _WORD.findall(text):
        if len(word) > 2 and UNSPACED.search(word):
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
        else:
            found.append(word)
    return found


def long_words(text: str) -> list[str]:
    """Return the words of two characters or more, as scikit-learn takes them, in any script."""
    return [word for word in words_of(text) if len(word) > 1]


def lower_case(text: str) -> str:
    """Return a text in lower case, its characters composed; the Turkish `İ` is a plain `i`."""
    return normalize("NFC", text).lower().replace("i\u0307", "i")
