"""One message, MIME or Outlook's, however broken, to its subject and body."""

import email
import re
from contextlib import suppress
from email.errors import (
    HeaderParseError,
    InvalidBase64CharactersDefect,
    InvalidBase64LengthDefect,
)
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from importlib.util import find_spec
from itertools import islice, pairwise
from typing import NamedTuple, cast

from bs4.dammit import EncodingDetector

from nlp_transfer.emails.body_text import MAX_CHARACTERS, html_to_text, visible
from nlp_transfer.emails.charsets import codec_of, decode
from nlp_transfer.emails.containers import MAX_BYTES
from nlp_transfer.emails.replies import is_forward, without_quotes

# Kinds of text that people read without their tags, and kinds that programs read.
_TAGGED = {"text/html", "text/enriched", "text/richtext"}
_FOR_PROGRAMS = {
    *("text/calendar", "text/vcard", "text/x-vcard", "text/directory", "text/rfc822-headers"),
    *("text/css", "text/javascript", "text/xml", "text/rtf", "text/x-amp-html"),
}
# Some programs send HTML under the name of plain text.
_HTML_START = re.compile(r"\s*(?:<!doctype html|<html)\b", re.I)

_COMPOUND_FILE = bytes.fromhex("d0cf11e0a1b11ae1")  # how a .msg begins
_BEFORE_HEADERS = re.compile(rb"(?:\xef\xbb\xbf|\s)*(?:>*From [^\n]*\n)?")
_BOUNDARY = re.compile(rb"boundary\s*=\s*\"?([^\"\r\n;]+)", re.I)
_NO_BASE64 = (InvalidBase64CharactersDefect, InvalidBase64LengthDefect)
_BASE64_LINE = re.compile(rb"\s*[A-Za-z\d+/=]+[ \t\r]*(?:\n|\Z)")
_MOST_BOUNDARIES = 100
_MOST_PARTS = 10_000
_LONGEST_LINE = 1000  # bytes, with its end (RFC 5322)
_MOST_OF_PART = 12 * MAX_CHARACTERS + 2**19  # bytes: four in quoted-printable each, headers
_MOST_OF_HEADER = 10_000  # characters; the standard parser takes quadratic time on parameters


class BrokenMessageError(ValueError):
    """A message without a text that can be read; says why."""


class Content(NamedTuple):
    """What a message says.

    Attributes:
        subject: Its subject, decoded.
        body: Its text; empty if it has none.
        is_cut: Whether the text goes on, and is not read further.
    """

    subject: str
    body: str
    is_cut: bool = False


class _Text(NamedTuple):
    """A text as it stands in a message."""

    content: str
    is_tagged: bool


def parse_message(data: bytes, keep_quotes: bool = False) -> Content:
    """Return the decoded subject and the body text of one MIME message or Outlook .msg.

    Of alternatives plain text is preferred to HTML unless it is empty; of all other parts each text
    is read (RFC 2046). Attachments and attached messages are ignored, so the body may be empty. An
    unknown or wrong character set costs some characters, never the message. No more is read than
    `MAX_BYTES` of the message and `MAX_CHARACTERS` of its texts.

    Args:
        data: the message as it was stored, headers and all.
        keep_quotes: keep quoted replies and the signature in the body.

    Raises:
        BrokenMessageError: no headers, neither subject nor text, or a text that cannot be decoded.
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
    read = _read_outlook if data.startswith(_COMPOUND_FILE) else _read_mime
    subject, texts = read(data)
    body, is_cut = _body(texts, keep_quotes, is_forward(subject))
    if not subject and not body:
        raise BrokenMessageError("has neither a subject nor a text")
    return Content(subject, body, is_cut or len(data) > MAX_BYTES)


def _read_outlook(data: bytes) -> tuple[str, list[_Text]]:
    if find_spec("oxmsg") is None:
        raise BrokenMessageError(
            "is an Outlook message, which needs the extra `outlook`: "
            "pip install 'nlp-transfer[outlook]'"
        )
    if len(data) > MAX_BYTES:
        raise BrokenMessageError(f"is an Outlook message of more than {MAX_BYTES // 2**20} MB")
    from nlp_transfer.emails.outlook import read_outlook

    subject, plain, html = read_outlook(data)
    text = _Text(plain, False) if plain.strip() else _Text(html, True)
    return " ".join(visible(subject).split()), [text]


def _read_mime(data: bytes) -> tuple[str, list[_Text]]:
    message = email.message_from_bytes(_bounded(data), policy=_Lenient())
    if not message.keys():
        raise BrokenMessageError("has no mail headers")
    return _subject(message), _texts(message)


def _bounded(data: bytes) -> bytes:
    """Return the message from its headers on, and as much of each part as may be read.

    The parser keeps a string for each line.
    """
    start = _BEFORE_HEADERS.match(data)
    data = data[start.end() if start else 0 : MAX_BYTES]
    if len(data) <= _MOST_OF_PART:
        return data
    declared = islice(_BOUNDARY.finditer(data), _MOST_BOUNDARIES)
    boundaries = b"|".join({re.escape(match[1].strip()) for match in declared})
    lines = re.finditer(rb"^--(?:%s)" % boundaries, data, re.M) if boundaries else ()
    starts = [line.start() for line in islice(lines, _MOST_PARTS + 1)]
    if len(starts) > _MOST_PARTS:
        raise BrokenMessageError(f"has more than {_MOST_PARTS:,} parts")
    parts = pairwise([0, *starts, len(data)])
    return b"".join(_beginning(data[start:end]) for start, end in parts)


def _beginning(part: bytes) -> bytes:
    """Return whole lines of a part if they are of lawful length: their base64 can be decoded."""
    kept = part[:_MOST_OF_PART]
    end = kept.rfind(b"\n", len(kept) - _LONGEST_LINE)
    if len(kept) < len(part):
        kept = (kept if end < 0 else kept[:end]) + b"\n"
    return kept


def _texts(part: Message) -> list[_Text]:
    """Return one of alternative texts, all others (RFC 2046), and none of attachments."""
    kind = part.get_content_type()
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        children = [
            _texts(child)
            for child in cast("list[Message]", part.get_payload())
            if child.get_content_disposition() != "attachment"
        ]
        if kind != "multipart/alternative":
            return [text for texts in children for text in texts]
        filled = [texts for texts in children if any(text.content.strip() for text in texts)]
        return min(filled, key=lambda texts: any(text.is_tagged for text in texts), default=[])
    if part.get_content_maintype() in ("text", "multipart") and kind not in _FOR_PROGRAMS:
        content = _decoded_part(part)
        return [_Text(content, kind in _TAGGED or _HTML_START.match(content) is not None)]
    return []


def _subject(message: Message) -> str:
    raw = next((value for name, value in message.raw_items() if name.lower() == "subject"), "")
    # One character per byte: `decode_header` hands on what is not an encoded word unchanged.
    value = raw.encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        pieces = decode_header(value)
    except HeaderParseError:
        pieces = [(value, None)]
    charset = next(filter(None, map(_charset, message.walk())), None)
    words = []
    for piece, declared in pieces:
        data = piece.encode("latin-1") if isinstance(piece, str) else piece
        # What is undeclared and not ASCII is mostly of the character set of the text.
        is_ascii = data.isascii() and b"\x1b" not in data
        words.append(decode(data, declared or (None if is_ascii else charset)))
    return " ".join(visible("".join(words)).split())


def _charset(part: Message) -> str | None:
    with suppress(LookupError, UnicodeError):  # RFC 2231 declares one for the name of another
        return part.get_content_charset()
    return None


def _body(texts: list[_Text], keep_quotes: bool, forwards: bool) -> tuple[str, bool]:
    """Return the texts of a message as one, and whether they go on after `MAX_CHARACTERS`."""
    room = MAX_CHARACTERS
    shown = []
    for content, is_tagged in texts:
        kept = content[: max(room, 0)].replace("\r\n", "\n").replace("\r", "\n")
        text = html_to_text(kept, keep_quotes) if is_tagged else visible(kept)
        shown.append(text if keep_quotes else without_quotes(text, forwards))
        room -= len(content)
    body = "\n".join(line.rstrip() for text in shown for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", body).strip(), room < 0


def _decoded_part(part: Message) -> str:
    data = cast("bytes", part.get_payload(decode=True))
    if any(isinstance(defect, _NO_BASE64) for defect in part.defects):
        del part["Content-Transfer-Encoding"]
        stored = cast("bytes", part.get_payload(decode=True))
        if not _BASE64_LINE.match(stored):
            data = stored  # it was never encoded
        elif any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects):
            raise BrokenMessageError("has a base64 text that cannot be decoded")
    charset = _charset(part)
    if codec_of(charset) is None and part.get_content_subtype() == "html":
        charset = EncodingDetector.find_declared_encoding(data[:20_000], is_html=True)
    return decode(data, charset)
