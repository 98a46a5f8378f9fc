"""Small files that would cost much, or break a reader, are read or refused at little cost."""

import functools
import gzip
import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from tests.fuzz.limits import TooLargeError, TooSlowError, failure, limited
from tests.fuzz.targets import TARGETS, written

MIB = 2**20
FOUND = Path(__file__).parent / "found"
"""Files that the fuzzer found, each named after the target that it broke."""


def html(text):
    return b"Subject: x\nContent-Type: text/html\n\n" + text


def plain(text):
    return b"Subject: x\n\n" + text


def content_type(text):
    return b"Subject: x\nContent-Type: text/plain" + text + b"\n\nx"


MAILS = {
    "comments without end": html(b"<!--" * (MIB // 4)),
    "instructions without end": html(b"<?" * (MIB // 2)),
    "tags without end": html(b"<meta charset=" * (MIB // 14)),
    "sections without end": html(b"<![if " * (MIB // 6)),
    "preformatted in preformatted": html(b"<pre>" * (MIB // 5)),
    "elements in elements": html(b"<div>" * (MIB // 5)),
    "parameters": content_type(b"; a=b" * (MIB // 5)),
    "empty parameters": content_type(b";" * MIB),
    "parameters in quotes": content_type(b"; a=" + b'";' * (MIB // 2)),
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * (MIB // 14) + b"\n\nx",
    "parts in parts": b"Subject: x\n"
    + b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (i, i) for i in range(5000)
    ),
    "many parts": b"Subject: x\nContent-Type: multipart/mixed; boundary=a\n\n"
    + b"--a\n\nx\n" * 30_000,
    "times in one line": b"From x 10:15 2024\nFrom "
    + b"1:" * (MIB // 2)
    + b"\n\nFrom "
    + b"11:11 " * (MIB // 6),
    "attributions": plain(b"On x\n" * (MIB // 5) + b"x wrote:\n" * 1000),
    "blank lines below an attribution": plain(b"x wrote:" + b"\n" * MIB),
}


def _parquet(rows):
    """Rows with a text that is stored once."""
    stream = io.BytesIO()
    texts = pa.array(["x" * 200] * rows)
    parquet.write_table(pa.table({"text": texts, "label": pa.array(["a"] * rows)}), stream)
    return stream.getvalue()


def _broken_parquet():
    """A text that is no UTF-8."""
    stream = io.BytesIO()
    texts = pa.array([b"a\xff", b"b"]).view(pa.string())
    parquet.write_table(pa.table({"text": texts, "label": ["a", "b"]}), stream)
    return stream.getvalue()


TABLES = {
    "a column for each row": "\n".join(
        json.dumps({"text": "x", "label": "a", f"column {row}": 1}) for row in range(20_000)
    ).encode(),
    "a million columns": (b"," * MIB + b"\n") * 2,
    "lists in lists": b'{"text":' + b"[" * 200_000,
    "a number of forty digits": b'{"text":"x","label":1' + b"0" * 40 + b"}\n",
    "a NUL in the name of a column": b"text,la\0bel\nx,a\ny,b\n",
    "rows that unpack to a gigabyte": _parquet(5_000_000),
    "bytes in place of texts": _broken_parquet(),
}


def _cut_zip(method):
    """A member whose compressed bytes are damaged."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("v.txt", b"a 1 2 3\n" * 1000)
    content = bytearray(stream.getvalue())
    content[40:60] = b"\xff" * 20
    return bytes(content)


VECTORS = {
    "a width of a billion": b"2 1000000000\na 1 2 3\n",
    "more digits than a number takes": b"2 " + b"9" * 5000 + b"\na 1 2 3\n",
    "a line that unpacks to 200 times its size": gzip.compress(b"a" * 2**27),
    "zeros that unpack to 200 times their size": gzip.compress(b"2 16000\na " + bytes(2**27)),
    "a word that stands a million times": gzip.compress(b"a 0 0\n" * MIB),
    "room for many values in a pickle": b"\x80\x04Nr\x00\x00\x00\x20.",
    "room for long bytes in a pickle": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"aa.",
    "room for a long bytearray in a pickle": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"aa.",
    "a carriage return in a row": b"a 1 2\rb 3 4\n",
    "damaged deflate": _cut_zip(zipfile.ZIP_DEFLATED),
    "damaged bzip2": _cut_zip(zipfile.ZIP_BZIP2),
    "damaged lzma": _cut_zip(zipfile.ZIP_LZMA),
}


def _image(name, mode="RGB", **options):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(stream, name, **options)
    return stream.getvalue()


def _jpeg_without_size():
    content = bytearray(_image("jpeg"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = bytes(4)
    return bytes(content)


IMAGES = {
    "no width and no height": _jpeg_without_size(),
    "an animation cut off": _image("gif", "P", save_all=True)[:40],
    "many pixels": b"P6 60000 60000 255\n" + bytes(100),
}

LARGE = ("a column for each row", "a million columns", "rows that unpack to a gigabyte")
ANNOTATIONS = {
    "no file name": b"file_name,head_box\n,\na.jpg,\n",
    "a number in place of a box": b'{"file_name": "a.jpg", "head_box": 5}\n',
    "a number in place of boxes": b'{"file_name":"a.jpg","objects":{"bbox":1,"category":2}}\n',
    "entities in entities": b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
    + b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
    + b"]><annotation><filename>&m;</filename></annotation>",
}

HOSTILE = {"mails": MAILS, "tables": TABLES, "vectors": VECTORS, "images": IMAGES}
HOSTILE |= {"annotations": ANNOTATIONS | {name: TABLES[name] for name in LARGE}}


@pytest.mark.parametrize(
    ("target", "name"), [(target, name) for target in HOSTILE for name in HOSTILE[target]]
)
def test_a_hostile_file_costs_little_and_breaks_nothing(target, name, tmp_path):
    file = written(TARGETS[target], HOSTILE[target][name], tmp_path)
    if error := failure(TARGETS[target].read, file):
        raise error


@pytest.mark.parametrize("target", TARGETS)
def test_the_real_files_that_others_are_made_of_are_read(target, tmp_path):
    for name, content in TARGETS[target].seeds(tmp_path):
        file = written(TARGETS[target], content, tmp_path)
        with limited():
            TARGETS[target].read(file)
        assert file.exists() or target == "annotations", name


@pytest.mark.parametrize("file", sorted(FOUND.iterdir()), ids=lambda file: file.stem)
def test_a_file_that_was_found_breaks_nothing_any_more(file, tmp_path):
    target = TARGETS[file.name.partition("-")[0]]
    if error := failure(target.read, written(target, file.read_bytes(), tmp_path)):
        raise error


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_damaged_real_file_is_read_or_refused(target, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(data.draw(st.sampled_from(_seeds(target))))
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 20))
        content[start:end] = data.draw(st.binary(max_size=20))
    if error := failure(TARGETS[target].read, written(TARGETS[target], bytes(content), folder)):
        raise error


@functools.cache
def _seeds(target):
    with tempfile.TemporaryDirectory() as folder:
        return [content for _, content in TARGETS[target].seeds(Path(folder))]


def test_what_takes_too_long_or_too_much_or_breaks_is_found(tmp_path):
    with pytest.raises(TooSlowError), limited(seconds=0.2):
        while True:
            pass
    with pytest.raises(TooLargeError), limited(most_bytes=100 * MIB):
        np.ones(200 * MIB // 8)
    assert isinstance(failure(lambda file: {}["a"], tmp_path), KeyError)
    assert failure(lambda file: None, tmp_path) is None
