"""Bytes of mail to text, by the names that mail programs give to character sets."""

import codecs
import re
from contextlib import suppress

import webencodings

# Names that the Encoding Standard lacks or that it would have browsers refuse.
_OTHER_NAMES = {
    "big5-eten": "big5",
    "cn-gb": "gb18030",
    "cp20866": "koi8-r",
    "cp20936": "gb18030",
    "cp21866": "koi8-u",
    "cp51932": "euc-jp",
    "iso-2022-jp-ms": "iso-2022-jp",
    "mac-ce": "mac-latin2",
    "mac-icelandic": "mac-iceland",
}
_CODE_PAGE = re.compile(r"(?:ansi|cp|dos|ibm|ms|oem|win|windows)[-_ ]?0*(\d{3,5})")
_JAPANESE_CODE_PAGES = {"cp50220", "cp50221", "cp50222"}
# What mail programs write under the name of a smaller character set.
_WIDER = {"gbk": "gb18030", "iso2022_jp": "iso2022_jp_ext", "utf-16-le": "utf-16"}
# Codecs of Python that are no character sets of mail; the first two take quadratic time. What is
# called ASCII and is not is most likely UTF-8, as if nothing had been declared.
_NOT_FOR_MAIL = {
    "ascii",
    "charmap",
    "idna",
    "punycode",
    "raw-unicode-escape",
    "undefined",
    "unicode-escape",
}
_SHIFT = re.compile(rb"\x1b|~\{")  # where ISO 2022 and HZ change to another character set
_JAPANESE = re.compile(rb"\x1b\$[@B]")  # in ISO-2022-JP, which old programs did not declare


def decode(data: bytes, declared: str | None) -> str:
    """Decode by the declared character set, else UTF-8, else with replacement characters.

    NUL and whatever UTF-8 cannot hold (single surrogates) are dropped.

    Args:
        data: the bytes of a text.
        declared: the name that the mail gives to their character set, whether or not it exists.
    """
    codec = codec_of(declared)
    if codec is not None and codec.startswith(("utf-16", "utf-32")) and b"\0" not in data:
        codec = None  # a line break alone would hold a NUL
    if codec in (None, "utf-8") and data.isascii() and _JAPANESE.search(data):
        codec = "iso2022_jp_ext"
    attempts = [codec, "utf-8"]
    # What is 7-bit is always valid UTF-8, which would show its escape codes.
    is_shifted = codec is not None and codec.startswith(("iso2022", "hz")) and _SHIFT.search(data)
    if codec is not None and (data.isascii() or is_shifted):
        attempts = [codec]
    for attempt in attempts:
        with suppress(UnicodeError):
            if attempt is not None:
                return _clean(data.decode(attempt))
    return _clean(data.decode(codec or "cp1252", "replace"))


def codec_of(label: str | None) -> str | None:
    """Return the name of Python's codec for a character set, or `None` if there is none.

    Args:
        label: its name as found, with `x-`, a language (RFC 2231) or another spelling.
    """
    name = (label or "").partition("*")[0].strip(" \t'\"").lower()
    for known in (name, name.removeprefix("x-")):
        if codec := _known(known):
            return None if codec in _NOT_FOR_MAIL else _WIDER.get(codec, codec)
    return None


def _known(name: str) -> str | None:
    if page := _CODE_PAGE.fullmatch(name):
        name = f"cp{page[1]}"
    name = "iso-2022-jp" if name in _JAPANESE_CODE_PAGES else _OTHER_NAMES.get(name, name)
    codec = listed = None
    with suppress(LookupError, ValueError):
        listed = webencodings.lookup(name)
        codec = _text_codec(name)
        listed = listed or webencodings.lookup(codec.replace("_", "-"))
    if codec == "ascii" or listed is None or listed.name in ("replacement", "x-user-defined"):
        return codec
    return str(listed.codec_info.name)


def _text_codec(name: str) -> str:
    """Return Python's name of a codec; `LookupError` for those of bytes to bytes such as zlib."""
    codec = codecs.lookup(name).name
    with suppress(UnicodeError):
        b"0000".decode(codec)
    return codec


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
