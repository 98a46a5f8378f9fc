"""One MIME message, however broken, to its subject and body."""

import codecs
import email
import re
from collections.abc import Iterator
from email.errors import HeaderParseError, InvalidBase64LengthDefect
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from typing import NamedTuple, cast

from bs4.dammit import EncodingDetector

from nlp_transfer.emails.body_text import html_to_text
from nlp_transfer.emails.replies import is_forward, without_quotes

# What mail programs write under the name of a smaller character set (as browsers read them too).
_WIDER = {
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "cp950",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
# Codecs of Python that are no character sets of mail; the first two take quadratic time.
_NOT_FOR_MAIL = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}

# Some programs send HTML under the name of plain text.
_HTML_START = re.compile(r"\s*(?:<!doctype html|<html)\b", re.I)

_MOST_OF_HEADER = 10_000  # characters; the standard parser takes quadratic time on parameters


class BrokenMessageError(ValueError):
    """A message without a text that can be read; says why."""


class Content(NamedTuple):
    """What a message says."""

    subject: str
    body: str


def parse_message(data: bytes, keep_quotes: bool = False) -> Content:
    """Return the decoded subject and the body text of one MIME message.

    Plain text is preferred to HTML unless it is empty; attachments and attached messages are
    ignored. An unknown or wrong character set costs some characters, never the message.

    Args:
        data: the message as it was stored, headers and all.
        keep_quotes: keep quoted replies and the signature in the body.

    Raises:
        BrokenMessageError: no headers, no text part, or a text part that cannot be decoded.
    """
    try:
        return _content(data, keep_quotes)
    except BrokenMessageError:
        raise
    except Exception as error:  # the standard parser raises almost anything on hostile mail
        raise BrokenMessageError(f"cannot be parsed ({error!r})") from error


class _Lenient(Compat32):
    """Parses headers only as far as asked, and no further than an honest one would go.

    The newer policies raise on many a malformed date, address or parameter.
    """

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_MOST_OF_HEADER]


def _content(data: bytes, keep_quotes: bool) -> Content:
    message = email.message_from_bytes(data, policy=_Lenient())
    if not message.keys():
        raise BrokenMessageError("has no mail headers")
    parts = list(_text_parts(message))
    if not parts:
        raise BrokenMessageError("has no text part")
    subject = _subject(message, parts[0].get_content_charset())
    body = _body(parts, keep_quotes, is_forward(subject))
    if not subject and not body:
        raise BrokenMessageError("has neither a subject nor a text")
    return Content(subject, body)


def _text_parts(part: Message) -> Iterator[Message]:
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for child in cast("list[Message]", part.get_payload()):
            yield from _text_parts(child)
    elif (
        part.get_content_type() in ("text/plain", "text/html")
        and part.get_content_disposition() != "attachment"
    ):
        yield part


def _subject(message: Message, charset: str | None) -> str:
    raw = next((value for name, value in message.raw_items() if name.lower() == "subject"), "")
    # One character per byte: `decode_header` hands on what is not an encoded word unchanged.
    value = raw.encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        pieces = decode_header(value)
    except HeaderParseError:
        pieces = [(value, None)]
    # Undeclared 8-bit characters in a header are mostly of the character set of the text.
    subject = "".join(
        _decode(piece.encode("latin-1") if isinstance(piece, str) else piece, declared or charset)
        for piece, declared in pieces
    )
    return " ".join(subject.split())


def _body(parts: list[Message], keep_quotes: bool, forwards: bool) -> str:
    plain: list[str] = []
    html: list[str] = []
    for part in parts:
        text = _decoded_part(part)
        is_html = part.get_content_subtype() == "html" or _HTML_START.match(text)
        (html if is_html else plain).append(text)
    texts = plain
    if not any(text.strip() for text in plain):
        texts = [html_to_text(text, keep_quotes) for text in html]
    if not keep_quotes:
        texts = [without_quotes(text, forwards) for text in texts]
    body = "\n".join(line.rstrip() for text in texts for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", body).strip()


def _decoded_part(part: Message) -> str:
    data = cast("bytes", part.get_payload(decode=True))
    if any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects):
        raise BrokenMessageError("has a base64 text that cannot be decoded")
    charset = part.get_content_charset()
    if charset is None and part.get_content_subtype() == "html":
        charset = EncodingDetector.find_declared_encoding(data[:20_000], is_html=True)
    return _decode(data, charset).replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes, declared: str | None) -> str:
    """Decode by the declared character set, else UTF-8, else with replacement characters."""
    declared = _codec(declared)
    for charset in (declared, "utf-8"):
        try:
            if charset is not None:
                return _clean(data.decode(charset))
        except UnicodeError:
            continue
    charset = "cp1252" if declared in (None, "ascii") else declared
    return _clean(data.decode(charset, "replace"))


def _codec(charset: str | None) -> str | None:
    try:
        name = codecs.lookup(charset or "").name
        b"".decode(name)  # LookupError for codecs from bytes to bytes, such as "zlib"
    except (LookupError, ValueError):
        return None
    return None if name in _NOT_FOR_MAIL else _WIDER.get(name, name)


def _clean(text: str) -> str:
    """Drop NUL and whatever UTF-8 cannot hold (single surrogates)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
