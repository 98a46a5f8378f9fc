"""Markdown: tables, and texts from outside that it shows as they are."""

import re
from collections.abc import Sequence

from staged_training.runtime.printable import one_line


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table whose columns are also aligned for those who read the source."""
    cells = [[one_line(str(cell)).replace("|", "\\|") for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def as_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>&~])", r"\\\1", " ".join(text.split()))


def as_code(text: str) -> str:
    """Escape a text so that Markdown shows it as code, on one line."""
    shown = one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{ticks} {shown} {ticks}" if "`" in shown else f"`{shown}`"
