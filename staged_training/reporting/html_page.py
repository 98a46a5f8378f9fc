"""A Markdown report as one HTML page that needs nothing else: pictures inside, no network."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

# Should a text of the report slip through as markup: nothing runs, and nothing is fetched.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: auto; padding: 0 1rem 3rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
img { max-width: 100%; height: auto; background: #fff; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
code { overflow-wrap: anywhere; }
"""


def html_page(markdown: str, title: str, folder: Path) -> str:
    """Return a page of HTML, with its pictures inside.

    Args:
        markdown: Its content; HTML in it is shown, not obeyed.
        title: Its title.
        folder: Where its pictures are. Those that are not there are left out.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(
        renderer: RendererHTML,
        tokens: Sequence[Token],
        index: int,
        options: OptionsDict,
        env: EnvType,
    ) -> str:
        file = folder / Path(str(tokens[index].attrs["src"])).name
        if not file.is_file():
            return ""
        content = base64.b64encode(file.read_bytes()).decode()
        description = html.escape(tokens[index].content)
        return f'<img src="data:image/png;base64,{content}" alt="{description}">'

    parser.add_render_rule("image", image)
    parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>')
    parser.add_render_rule("table_close", lambda *_: "</table></div>")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
<main>
{parser.render(markdown)}</main>
</html>
"""
