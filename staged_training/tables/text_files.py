"""Text files as programs write them: gzip or not, and the encoding that they are in."""

import codecs
import contextlib
import io
import logging
import re
from pathlib import Path

import chardet

from staged_training.runtime.errors import InputError
from staged_training.runtime.unpacking import open_unpacked

logger = logging.getLogger(__name__)

UTF8 = "utf-8-sig"  # with or without a byte order mark
_MARKS = {  # that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: UTF8,
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OFFICE = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # of .xlsx and .xls
_BEGINNING_BYTES = 4096
_SAMPLE_LINES = 2000

_USUAL = chardet.EncodingEra.MODERN_WEB  # with the code pages of Windows
_RARE = chardet.EncodingEra.LEGACY_MAC | chardet.EncodingEra.DOS  # Excel still writes them
_WESTERN = "cp1252"
# What the code pages of Windows for Latin letters (1250, 1252, 1254) have in common, in its place:
# small letters within a word, capitals that begin one, signs beside numbers, and punctuation.
_LATIN = re.compile(
    "(?<=[A-Za-z])[áâäçéëíîóôöúüß]|[áâäçéëíîóôöúüß](?=[a-z])|(?<![a-z])[ÁÂÄÇÉËÍÎÓÔÖÚÜ](?=[A-Za-z])"
    r"|(?<![^\0-\x7f])(?:[€£§°·«»©®±×µ](?![A-Za-z])|(?<![A-Za-z])[€£§°·«»©®±×µ„])(?![^\0-\x7f])"
    "|[…‘’“”•–—™\xa0]"
)
_CLEARLY = 1.03  # how much likelier the right one is than the next; wrong ones reach 1.00
_ENOUGH = 5  # characters beyond ASCII, on which to judge
_SHOWN = 40


def open_text(
    path: Path, encoding: str, errors: str = "strict", newline: str = "\n"
) -> io.TextIOWrapper:
    """Open a text file, unpacked if it is gzip; for `newline` see `open`."""
    return io.TextIOWrapper(open_unpacked(path), encoding, errors, newline)


def read_utf8(path: Path) -> str:
    """Return the text of a file that must be UTF-8, with or without a byte order mark.

    Raises:
        InputError: It is not.
    """
    try:
        return path.read_text(encoding=UTF8)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error}). Convert it.") from error


def marked_encoding(path: Path) -> str:
    """Return the Unicode encoding that a byte order mark shows, else UTF-8.

    Raises:
        InputError: It is a workbook, not text.
    """
    with open_unpacked(path) as stream:
        beginning = stream.read(_BEGINNING_BYTES)
    if beginning.startswith(_OFFICE):
        raise InputError(
            f"{path}: is a workbook or an archive, not text. If it is Excel's, name it .xlsx, or "
            "export the sheet as CSV UTF-8."
        )
    for mark, encoding in _MARKS.items():
        if beginning.startswith(mark):
            return encoding
    if beginning.count(0) > len(beginning) / 10:  # UTF-16 without a mark; a stray NUL is none
        guess = str(chardet.detect(beginning, compat_names=False)["encoding"])
        if guess.startswith(("utf-16", "utf-32")):
            return guess
    return UTF8


def text_encoding(path: Path) -> str:
    """Return the encoding of a text file; warn of one that is not Unicode.

    Raises:
        InputError: The file is damaged UTF-8, or its encoding is not clear. The message names
            the line, and the encodings that it may be in.
    """
    encoding = marked_encoding(path)
    if encoding != UTF8:
        return encoding
    in_utf8, foreign = 0, list[tuple[int, bytes]]()
    with open_unpacked(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.isascii():
                if _bad_byte(line) is None:
                    in_utf8 += 1
                elif len(foreign) < _SAMPLE_LINES:
                    foreign.append((number, line))
    if not foreign:
        return UTF8
    number, line = foreign[0]
    problem = f"{path}: line {number} is not UTF-8 (byte {_bad_byte(line)} of the line)."
    if in_utf8:
        raise InputError(f"{problem} {in_utf8:,} other lines are. Repair the line.")
    return _code_page(problem, [line for _, line in foreign])


def _bad_byte(line: bytes) -> int | None:
    """Return the first byte, counted from 1, that is not UTF-8."""
    try:
        line.decode(UTF8)
    except UnicodeDecodeError as error:
        return error.start + 1
    return None


def _code_page(problem: str, lines: list[bytes]) -> str:
    """Return the encoding in which lines hold the likeliest words, if one clearly does."""
    sample = b"".join(lines)
    if _LATIN.sub("", sample.decode(_WESTERN, "replace")).isascii():
        return _reported(problem, _WESTERN, lines[0])
    likely, unlikely = (_readings(sample, era) for era in (_USUAL, _RARE))
    says = {name: _around(lines[0], name) for name, _ in [*likely[:3], *unlikely[:2]]}
    rivals = [confidence for _, confidence in [*likely[1:2], *unlikely[:1]]]
    enough = sum(byte > 127 for byte in sample) >= _ENOUGH
    if not likely or not enough or likely[0][1] < _CLEARLY * max(rivals, default=0):
        named = [f"{name} ({text!r})" for name, text in says.items() if text.isprintable()]
        raise InputError(
            f"{problem} It may be {', '.join(named) or 'no text'}. Save the file as "
            "UTF-8 (in Excel: `CSV UTF-8`)."
        )
    return _reported(problem, likely[0][0], lines[0])


def _reported(problem: str, encoding: str, line: bytes) -> str:
    logger.warning(
        "%s It was read as %s (%r). If that is wrong, save it as UTF-8.",
        problem,
        encoding,
        _around(line, encoding),
    )
    return encoding


def _readings(sample: bytes, era: chardet.EncodingEra) -> list[tuple[str, float]]:
    """Return the encodings that give different texts, the likeliest first, with likelihoods."""
    found: dict[str, tuple[str, float]] = {}
    for guess in chardet.detect_all(
        sample, ignore_threshold=True, encoding_era=era, compat_names=False
    ):
        name = str(guess["encoding"])
        with contextlib.suppress(UnicodeError, LookupError):
            text = sample.decode(name)
            if text not in found:
                found[text] = name, guess["confidence"]
            elif name == _WESTERN:  # the name that people know
                found[text] = name, found[text][1]
    return list(found.values())


def _around(line: bytes, encoding: str) -> str:
    """Return the text around the first character beyond ASCII."""
    text = line.decode(encoding)
    first = next((place for place, character in enumerate(text) if not character.isascii()), 0)
    return " ".join(text[max(0, first - _SHOWN // 2) :][:_SHOWN].split())
