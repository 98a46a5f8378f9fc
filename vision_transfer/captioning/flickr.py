"""Captions as Flickr8k (Hodosh et al. 2013) and Flickr30k (Young et al. 2014) have them."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.parts import part_of, parts_of
from staged_training.tables.text_files import read_utf8
from vision_transfer.captioning.rows import CaptionRow

_HEADERS = (
    "image,caption",
    "image_name,comment_number,comment",
    "image_name|comment_number|comment",
)
_NUMBER = re.compile(r"\s*\d+\s*[|,]?")  # one row of results.csv lacks the bar behind it


def is_flickr(path: Path) -> bool:
    """Return whether a file is in this format, by its ending or by its header."""
    is_headed = path.suffix == ".csv" and _header(read_utf8(path).split("\n")) in _HEADERS
    return is_headed or path.suffix in (".txt", ".token")


def read_flickr(path: Path, problems: list[Problem]) -> list[CaptionRow]:
    """Read captions; lists of images beside the file are the parts of a split.

    Args:
        path: The file: a name and a caption in each row, with a comma, a bar or a tab between them,
            and maybe the number of the caption.
        problems: What is left out is added here: captions of images that are in none of the lists.

    Raises:
        InputError: A line is no such row.
    """
    rows = list(_rows(path))
    beside = sorted(set(path.parent.glob("*.txt")) - {path})
    lists = [file for file in beside if part_of(file.name)]
    parts = parts_of([file.name for file in lists])
    listed = {
        Path(line.strip()).stem: part
        for file, part in zip(lists, parts, strict=True)
        for line in read_utf8(file).split("\n")
        if part
    }
    if not any(Path(row.image).stem in listed for row in rows):
        return rows
    used = [replace(r, fold=listed[stem]) for r in rows if (stem := Path(r.image).stem) in listed]
    if len(used) < len(rows):
        told = f"{len(rows) - len(used)} of {len(rows)} captions were left out: their images are "
        problems.append(Problem(f"{path}:", f"{told}in no list of train, dev and test"))
    return used


def _rows(path: Path) -> Iterator[CaptionRow]:
    lines = read_utf8(path).split("\n")
    header = first if (first := _header(lines)) in _HEADERS else ""
    is_csv = header or path.name == "captions.txt"
    separator = "|" if "|" in header else "," if is_csv else "\t"
    for number, line in enumerate(lines, 1):
        name, found, caption = line.partition(separator)
        name, caption = name.strip(), caption.strip()
        if not line.strip() or (number == 1 and (header or name == "image")):
            continue
        if not found or not name:
            expected = "image,caption" if separator == "," else "name.jpg#0, a tab and the caption"
            raise InputError(f"{path}: line {number} is not {expected}: {line[:60]!r}. Correct it.")
        if "comment_number" in header:
            caption = _NUMBER.sub("", caption, count=1).strip()
        if len(caption) > 1 and caption[0] == caption[-1] == '"':  # as CSV quotes a comma
            caption = caption[1:-1].replace('""', '"')
        yield CaptionRow(name.partition("#")[0], caption, f"{path}: line {number}")


def _header(lines: list[str]) -> str:
    """Return the first line of a file, without spaces."""
    return "".join(lines[0].split())
