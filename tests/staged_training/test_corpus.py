"""Corpora: any file of texts streams as texts, damage is repaired and told, nothing grows."""

import gzip
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from staged_training import InputError
from staged_training.tables import corpus as corpus_module
from staged_training.tables.corpus import Corpus

MAILS = Path(__file__).parents[2] / "recipes" / "data" / "related_emails"
TEXTS = ["Call me back today.", "Grüße aus Köln", "the third, with a, comma"]

PEAK_GROWTH = """
import sys
from pathlib import Path
from staged_training.tables.corpus import Corpus

def peak():
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024

before, chars = peak(), 0
for text in Corpus(sys.argv[1]):
    chars += len(text)
print(chars, peak() - before)
"""


def write(folder, name, texts):
    path = folder / name
    if name.endswith(".txt"):
        path.write_text("\n".join(texts), encoding="utf-8")
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress("\n".join(texts).encode()))
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
    elif name.endswith(".parquet"):
        pd.DataFrame({"n": 1, "text": texts}).to_parquet(path)
    else:
        separator = "\t" if name.endswith(".tsv") else ","
        pd.DataFrame({"n": 1, "text": texts}).to_csv(path, index=False, sep=separator)
    return path


@pytest.mark.parametrize("suffix", corpus_module.SUFFIXES)
def test_every_kind_of_file_gives_its_texts_again_and_again(suffix, tmp_path):
    corpus = Corpus(write(tmp_path, f"mails{suffix}", TEXTS))
    assert list(corpus) == TEXTS
    assert list(corpus) == TEXTS


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    (tmp_path / "b").mkdir()
    write(tmp_path / "b", "late.csv", TEXTS[2:])
    write(tmp_path, "a.txt", TEXTS[:2])
    (tmp_path / "README.md").write_text("no text of the corpus")
    assert list(Corpus(tmp_path)) == TEXTS


def test_the_shipped_mails_are_joined_from_subject_and_body():
    first = pd.read_parquet(MAILS / "corpus.parquet").iloc[0]
    assert next(iter(Corpus(MAILS))) == f"{first['subject']}\n{first['body']}"
    assert next(iter(Corpus(MAILS, ["body"]))) == first["body"]
    assert sum(1 for _ in Corpus(MAILS)) == 7427


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_bytes_that_are_no_utf8_are_replaced_and_told_once(suffix, tmp_path, caplog):
    path = write(tmp_path, f"mails{suffix}", ["caf\0QQ", "good"])
    path.write_bytes(path.read_bytes().replace(b"Q", b"\xe9").replace(b"\\u0000", b"\0"))
    corpus = Corpus(path)
    assert list(corpus) == list(corpus) == ["caf\ufffd\ufffd", "good"]
    (record,) = caplog.records
    assert f"{path}: 2 bytes are not UTF-8" in record.getMessage()


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv"])
def test_utf16_and_gzip_are_read(suffix, tmp_path):
    content = write(tmp_path, f"mails{suffix}", TEXTS).read_bytes().decode()
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        (tmp_path / f"mails{suffix}").write_bytes(content.encode(encoding))
        assert list(Corpus(tmp_path)) == TEXTS
        (tmp_path / f"mails{suffix}").write_bytes(gzip.compress(content.encode(encoding)))
        assert list(Corpus(tmp_path)) == TEXTS
    (tmp_path / f"mails{suffix}").rename(tmp_path / f"mails{suffix}.gz")
    assert list(Corpus(tmp_path)) == TEXTS


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_stray_quote_swallows_no_texts(suffix, delimiter, tmp_path, caplog):
    rows = ["n,text", "1,one", '2,"two', "3,three", '4,"four', "5,five", '6,"six" and', "7,seven"]
    path = tmp_path / f"mails.{suffix}"
    path.write_text("\n".join(rows).replace(",", delimiter))
    corpus = Corpus(path)
    expected = [row.partition(",")[2] for row in rows[1:]]
    assert list(corpus) == list(corpus) == expected
    assert caplog.text.count("line 3 begins a cell with a quote") == 1
    path.write_text("text,n\n" + '"a, b",1\n"c,2\nd,3\n')
    with pytest.raises(InputError, match="line 3 begins a cell with a quote that is not closed"):
        Corpus(path)


def test_half_of_a_surrogate_pair_that_json_escapes_is_replaced(tmp_path):
    (tmp_path / "mails.jsonl").write_text('{"text": "a \\ud83d b"}\n')
    assert list(Corpus(tmp_path)) == ["a \ufffd b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lines")


@given(text=st.text(alphabet="ab \u00e9\U0001f600", min_size=1).filter(str.strip))
def test_a_long_line_is_read_in_pieces_between_words(text, folder):
    (folder / "line.txt").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "PIECE_CHARS", 8)
        pieces = list(Corpus(folder))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) < 16 for piece in pieces)
    if max(map(len, text.split(" "))) < 8:
        assert " ".join(pieces).split() == text.split()


def stream(path):
    command = [sys.executable, "-c", PEAK_GROWTH, str(path)]
    chars, growth = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()
    return int(chars), float(growth)


def test_a_file_with_one_line_streams_with_flat_memory(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("some words " * 4 * 2**20)  # 44 MiB
    chars, growth = stream(path)
    assert chars == 44 * 2**20
    assert growth < 20


@pytest.mark.slow
def test_two_gigabytes_stream_with_flat_memory(tmp_path):
    path = tmp_path / "mails.txt"
    block = "".join(" ".join(text.split()) + "\n" for text in islice(Corpus(MAILS), 1000))
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < 2 * 10**9:
            file.write(block)
    chars, growth = stream(path)
    path.unlink()
    assert chars > 1.8e9
    assert growth < 200


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    def refused(path, message):
        with pytest.raises(InputError, match=message) as error:
            list(Corpus(path))
        assert str(path) in str(error.value)

    with pytest.raises(InputError, match="The path of what is to be read is empty"):
        Corpus("")
    refused(tmp_path / "none.txt", "no such file")
    refused(tmp_path, "the folder holds none of .txt")
    for name, content, message in [
        ("mails.pdf", "x", "not a kind of file"),
        ("empty.txt", "", "holds no text"),
        ("blank.txt", "\n \n", "holds no text"),
        ("empty.csv", "", "Empty CSV file"),
        ("other.csv", "n,m\n1,2\n", "has no column 'text'. Its columns are: n, m"),
        ("rows.csv", "text\na\nb,c\n", "Expected 1 columns, got 2"),
        ("rows.jsonl", '{"text": "a"}\n{"text": 1\n', "line 2 is not JSON"),
        ("list.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("other.jsonl", '{"body": "a"}\n', "line 1: has no column 'text'"),
        ("mails.parquet", "PAR1", "cannot be read as PARQUET"),
    ]:
        (tmp_path / name).write_text(content)
        refused(tmp_path / name, message)
    pd.DataFrame({"text": [["a"], ["b"]]}).to_parquet(tmp_path / "lists.parquet")
    refused(tmp_path / "lists.parquet", "column 'text' holds list")
    whole = gzip.compress(b"a text\n" * 10**5)
    (tmp_path / "cut.txt.gz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.txt.gz", "cannot be read as TXT")
