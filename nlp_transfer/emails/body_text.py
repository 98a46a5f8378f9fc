"""The text a reader sees: HTML to plain lines."""

import re

import regex
from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement

from nlp_transfer.emails.replies import begins_forwarded, without_quotes

__all__ = ["html_to_text", "without_quotes"]

# fmt: off
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt",
    "fieldset", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main",
    "ol", "p", "pre", "section", "table", "tr", "ul",
}
# fmt: on
_CELLS = ("td", "th")
MAX_CHARACTERS = 300_000
"""How much of a mail is read; no model reads this far, and a tag may take a kilobyte of memory."""

# Comments as the HTML standard ends them, Outlook's conditional ones too, declarations and
# processing instructions; what stands in a script or a style is neither.
_COMMENT = re.compile(
    r"(<(script|style)\b.*?(?:</\2|\Z))|<!---?>|<!--.*?(?:--!?>|\Z)|<[!?][^>]*(?:>|\Z)", re.I | re.S
)
_TAG_START = re.compile(r"<[a-z/]", re.I)
_UNSEEN_TAGS = ["script", "style", "template", "title", "xml"]
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
# What Unicode says to show nothing of, such as soft hyphens and the fillers of newsletters; not the
# joiners, which Persian, Hindi and emoji need within a word, nor variants and flags of emoji.
_INVISIBLE = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}--[\u200c\u200d\ufe00-\ufe0f\U000e0000-\U000e0fff]]",
    regex.V1,
)
_LONE_JOINER = re.compile(r"(?<!\S)[\u200c\u200d]+|\u200c+(?!\S)")
# These scripts part words by it, if at all.
_WORD_BREAK = regex.compile(
    r"(?<=[\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}])\u200b+", regex.V1
)
# Mail programs mark what they quote; a bare <blockquote> is often mere indentation.
_QUOTED_HTML = ".gmail_quote, [class*=yahoo_quoted], blockquote[type=cite]"
# Above the headers of what Outlook answers or forwards, in whatever language.
_OUTLOOK_REPLY = "[id$=divRplyFwdMsg], div[style*='border-top:solid #'][style*='padding:3.0pt 0']"
_OUTLOOK_LINE = "_" * 32  # as Outlook itself has it in plain text


def html_to_text(html: str, keep_quotes: bool = False) -> str:
    """Return what a reader would see of the first 300,000 characters, one line per block element.

    Quotes come as in plain text, with `>` before each line, unless they are kept as they are.
    Nothing is rendered or fetched; scripts, styles, comments and hidden elements are dropped, and
    so is what only Outlook shows.
    """
    soup = BeautifulSoup(_without_comments(html[:MAX_CHARACTERS]), "html.parser")
    unseen = [*soup.find_all(_UNSEEN_TAGS), *soup.find_all(style=_UNSEEN_STYLE)]
    unseen += soup.select("[hidden]" if keep_quotes else "[hidden], .moz-cite-prefix")
    for tag in unseen:
        tag.decompose()
    if not keep_quotes:
        _mark_quotes(soup)
    return "\n".join(_lines(soup))


def _mark_quotes(soup: BeautifulSoup) -> None:
    """Write what is quoted, and where Outlook begins the mail that it answers, as plain text."""
    for tag in soup.select(_OUTLOOK_REPLY):
        tag.insert_before(_preformatted(soup, _OUTLOOK_LINE))
    holders: set[int] = set()  # of quotes; what they hold besides may be an answer
    for quote in soup.find_all("blockquote"):
        for parent in quote.parents:
            if id(parent) in holders:
                break
            holders.add(id(parent))
    begins: dict[int, str] = {}  # the first text in each element, or else after it
    text = ""
    for node in reversed(list(soup.descendants)):
        if isinstance(node, Tag):
            begins[id(node)] = text
        elif isinstance(node, NavigableString) and node.strip():
            text = node.strip()
    marked: set[int] = set()
    for tag in soup.select(_QUOTED_HTML):
        holds_answers = tag.name != "blockquote" and id(tag) in holders
        if not (holds_answers or id(tag) in marked or begins_forwarded(begins[id(tag)])):
            marked.update(map(id, tag.descendants))
            quoted = "\n".join(f"> {line}" for line in _lines(tag))
            tag.replace_with(_preformatted(soup, quoted))


def _preformatted(soup: BeautifulSoup, text: str) -> Tag:
    tag = soup.new_tag("pre")
    tag.string = text
    return tag


def _lines(root: Tag) -> list[str]:
    """Return the lines that are not blank."""
    preformatted: set[int] = set()
    for pre in root.find_all("pre"):
        if id(pre) not in preformatted:  # what is nested is not gone through again and again
            preformatted.update(map(id, pre.descendants))
    pieces = []
    for node in root.descendants:
        if _is_block(node) or _is_block(node.previous_sibling):
            pieces.append("\n")
        if type(node) is NavigableString:  # its subclasses are comments, doctypes and the like
            pieces.append(node if id(node) in preformatted else re.sub(r"\s+", " ", node))
        elif isinstance(node, Tag) and node.name in _CELLS:
            pieces.append(" ")
    lines = (" ".join(line.split()) for line in visible("".join(pieces)).splitlines())
    return list(filter(None, lines))


def _without_comments(html: str) -> str:
    html = _COMMENT.sub(lambda match: match[1] or "", html)
    # From each tag that is never closed the parser would look for its end.
    unended = _TAG_START.search(html, html.rfind(">") + 1)
    return html[: unended.start()] if unended else html


def visible(text: str) -> str:
    """Return `text` without characters that show nothing, which would make a word unknown."""
    shown: str = _INVISIBLE.sub("", _WORD_BREAK.sub(" ", text))
    return _LONE_JOINER.sub("", shown)


def _is_block(node: PageElement | None) -> bool:
    return isinstance(node, Tag) and node.name in _BLOCKS
