"""The text a reader sees: HTML to plain lines, quoted replies and signatures taken away."""

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement

# fmt: off
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "center", "dd", "div", "dl", "dt",
    "fieldset", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main",
    "ol", "p", "pre", "section", "table", "tr", "ul",
}
# fmt: on
_CELLS = ("td", "th")
_MAX_HTML_CHARACTERS = 300_000  # no model reads this far, and a tag may take a kilobyte of memory
# What has no end, up to the end of the text; the parser would look for the end from each of them.
_UNENDED = [
    (re.compile(r"<[a-z/!?]", re.I), ">"),
    (re.compile(r"<!--"), "-->"),
    (re.compile(r"<!\["), "]>"),
]
_UNSEEN_TAGS = ["script", "style", "template", "title"]
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.I)
# Mail programs mark what they quote; a bare <blockquote> is often mere indentation.
_QUOTED_HTML = ".gmail_quote, .yahoo_quoted, blockquote[type=cite]"

# "On Monday, 3 June, Ann wrote:" in one line or two, "Ann Lee <ann@example.org> writes:"; only
# right above quoted lines, and of bounded length so that no input makes the search slow.
_ATTRIBUTION = re.compile(
    r"^(?:On\b.{0,200}\n)?.{0,200}\b(?:wrote|writes|said)\s?:[ \t]*\n+(?=[ \t]*>)", re.M
)
_QUOTED_LINE = re.compile(r"^[ \t]*>.*\n?", re.M)
# The separator is "-- "; some programs lose its blank.
_REST = re.compile(r"^(?:-- ?$|-{3,} ?(?:Original|Forwarded) Message ?-{3,})", re.M | re.I)


def html_to_text(html: str, keep_quotes: bool = False) -> str:
    """Return what a reader would see of the first 300,000 characters, one line per block element.

    Nothing is rendered or fetched; scripts, styles, comments and hidden elements are dropped.
    """
    soup = BeautifulSoup(_ended(html[:_MAX_HTML_CHARACTERS]), "html.parser")
    unseen = [*soup.find_all(_UNSEEN_TAGS), *soup.find_all(style=_UNSEEN_STYLE)]
    unseen += soup.select("[hidden]" if keep_quotes else f"[hidden], {_QUOTED_HTML}")
    for tag in unseen:
        tag.decompose()
    preformatted: set[int] = set()
    for pre in soup.find_all("pre"):
        if id(pre) not in preformatted:  # what is nested is not gone through again and again
            preformatted.update(map(id, pre.descendants))
    pieces = []
    for node in soup.descendants:
        if _is_block(node) or _is_block(node.previous_sibling):
            pieces.append("\n")
        if type(node) is NavigableString:  # its subclasses are comments, doctypes and the like
            pieces.append(node if id(node) in preformatted else re.sub(r"\s+", " ", node))
        elif isinstance(node, Tag) and node.name in _CELLS:
            pieces.append(" ")
    lines = (" ".join(line.split()) for line in "".join(pieces).splitlines())
    return "\n".join(filter(None, lines))


def _ended(html: str) -> str:
    """HTML without the tag, the comment or the section at its end that is never closed."""
    for start, end in _UNENDED:
        unended = start.search(html, html.rfind(end) + 1)
        html = html[: unended.start()] if unended else html
    return html


def _is_block(node: PageElement | None) -> bool:
    return isinstance(node, Tag) and node.name in _BLOCKS


def without_quotes(text: str) -> str:
    """Return `text` without quoted replies and signature; all of it if nothing else is left."""
    kept = _REST.split(text, maxsplit=1)[0]
    kept = _QUOTED_LINE.sub("", _ATTRIBUTION.sub("", kept))
    return kept if kept.strip() else text
