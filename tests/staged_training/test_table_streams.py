"""Tables that are read a part at a time are the same as those that are read whole."""

import json
import random

import pandas as pd
import pyarrow as pa
import pytest

from staged_training import InputError
from staged_training.tables import delimited, parquet_files, streaming
from staged_training.tables.reading import read_table
from staged_training.tables.streaming import stream_table
from tests.staged_training.test_tables import WRITERS


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Read so little at a time that each table takes several batches."""
    monkeypatch.setattr(streaming, "_BATCH_ROWS", 2)
    monkeypatch.setattr(parquet_files, "_BATCH_ROWS", 2)
    monkeypatch.setattr(delimited, "_SMALL_BLOCK_BYTES", 1)


def check_same(path, as_text=("text",)):
    whole = read_table(path, as_text, typed=False)
    stream = stream_table(path, as_text)
    parts = list(stream.parts(3))
    assert (stream.schema, stream.count) == (whole.schema, len(whole))
    assert [len(part) for part in parts[:-1]] == [3] * (len(parts) - 1)
    assert all(part.schema == whole.schema for part in parts)
    found = pa.concat_tables(parts)
    assert repr(found.to_pylist()) == repr(whole.to_pylist())  # NaN is not equal to itself


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_is_the_same(name, tmp_path):
    WRITERS[name](tmp_path / name)
    check_same(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        b'text,id\n"a\nb",007\n"",\n,"x ""y"""\n\n\n long cell ,1\n',
        "text;Größe\nkölnisch;1,5\nschön;2\n".encode("cp1252"),
        "text\tx\nä\t1\n\U0001f431\t2\n".encode("utf-16"),
        b'\xef\xbb\xbftext,,x,x,\nb,1,2,3,\nc,,4,5,""\nd,,,,\n',
        b"sep=|\ntext|a\nx,y|1\nz|2\n",
        b'text,a\n"so\\" he",1\nb,2\n',
        b'text,a\nx,1\ny,2\n"z,1\n2,3\nw,1\n',
        b"text\nonly\nthis\n",
        b"text,a\nx,1" + b"\ny,2" * 500 + b"\n" + b"z" * 9_999 + b",3\n",
    ],
)
def test_delimited_text_is_the_same(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    check_same(tmp_path / "t.csv")


def test_json_of_any_values_is_the_same(tmp_path):
    values = [None, True, 0, 1, -7, 2**53 + 1, 2**63, 0.5, "a", "", [], [1], ["x"], [None], [0.5]]
    values += [{}, {"b": 1}, {"a": "x"}, {"b": 0.5, "c": []}, {"c": [{}]}, float("nan")]
    random.seed(0)
    for _ in range(150):
        few = random.choices(values, k=3)
        rows = [{"text": "a"} | {n: random.choice(few) for n in "xyz" if random.random() < 0.7}]
        for _ in range(random.randrange(8)):
            rows.append({n: random.choice(few) for n in "zyx" if random.random() < 0.7})
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        check_same(tmp_path / "t.jsonl")


def test_classes_are_read_by_their_names(tmp_path):
    import datasets

    classes = datasets.ClassLabel(names=["no", "yes"])
    features = {"text": datasets.Value("string"), "label": classes, "all": datasets.List(classes)}
    columns = {
        "text": list("abcde"),
        "label": [-1, -1, 0, 1, None],
        "all": [[], [], [1, 0], [], []],
    }
    table = datasets.Dataset.from_dict(columns, datasets.Features(features))
    table.to_parquet(tmp_path / "t.parquet")
    check_same(tmp_path / "t.parquet")
    (part,) = stream_table(tmp_path / "t.parquet", []).parts(9)
    assert part["label"].to_pylist() == [None, None, "no", "yes", None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"text,a\nx,1\ny,2\nz,1,2\n"),
        ("t.csv", b'text,a\n"so, he",1\n"b,2\nc,3\n'),
        ("t.csv", b"text,a\nx,1\nv\xff,1\n\xc3\xa4,1\n"),
        ("t.csv", b"text,text,\0\nx,1,2\n"),
        ("t.csv", b"text,a\n"),
        ("t.csv", b"\n\r\n\n"),
        ("t.csv", b"a;b,c\n1;2,3\n"),
        ("t.csv.gz", b"\x1f\x8bno gzip"),
        ("t.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n{"text": }\n'),
        ("t.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": "b"}\n["text"]\n'),
        ("t.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": "b"}\n{"text": [1]}\n'),
        ("t.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": "\\ud800"}\n'),
        ("t.jsonl", b'{"text": "a"}\n' + b'{"x": 1}\n' * 5 + b'{"x": "\\ud800"}\n'),
        ("t.jsonl", b"{}\n{}\n"),
        ("t.parquet", b"PAR1 no Parquet PAR1"),
        ("t.txt", b"text"),
    ],
)
def test_what_is_wrong_is_told_at_once_in_the_same_words(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as whole:
        read_table(tmp_path / name, ["text"], typed=False)
    with pytest.raises(InputError) as streamed:
        stream_table(tmp_path / name, ["text"])
    assert str(streamed.value) == str(whole.value)


def test_a_table_that_has_changed_is_refused(tmp_path):
    pd.DataFrame({"text": ["a"] * 9}).to_parquet(tmp_path / "t.parquet")
    stream = stream_table(tmp_path / "t.parquet", [])
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="was changed since it was read first"):
        list(stream.parts(2))
