"""Tables of every kind give the same cells; what is wrong with their columns is told at once."""

import gzip
import json
import pickle
import sys

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from staged_training import InputError
from staged_training.tables.reading import check_columns, read_table, text_column
from staged_training.tables.writing import write_table

ROWS = pd.DataFrame(
    {
        "text": ["call now", "no\nhurry", "köln", '"so", she said'],
        "label": ["1", "2", "1", "x"],
        "score": [0.5, 2, 3, -1],
        "count": [1, 2, 3, 4],
        "day": pd.to_datetime(["2024-06-03", "2024-06-04", "2025-01-01", "2025-01-02"]),
        "done": [True, False, True, True],
    }
)


def write_lines(path):
    ROWS.astype({"day": str}).to_json(path, orient="records", lines=True)


WRITERS = {
    "t.csv": lambda path: ROWS.to_csv(path, index=False),
    "t.csv.gz": lambda path: ROWS.to_csv(path, index=False),
    "t.tsv.gz": lambda path: ROWS.to_csv(path, index=False, sep="\t"),
    "t.jsonl": write_lines,
    "t.jsonl.gz": write_lines,
    "t.parquet": lambda path: ROWS.to_parquet(path),
    "t.xlsx": lambda path: ROWS.to_excel(path, index=False),
    "T.XLSX": lambda path: ROWS.to_excel(path, index=False, engine="openpyxl"),
}
READERS = {
    "csv": lambda path: pd.read_csv(path, parse_dates=["day"]),
    "tsv": lambda path: pd.read_csv(path, sep="\t", parse_dates=["day"]),
    "jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    "parquet": pd.read_parquet,
    "xlsx": pd.read_excel,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_what_pandas_reads(name, tmp_path):
    WRITERS[name](tmp_path / name)
    kind = name.lower().removesuffix(".gz").split(".")[1]
    expected = READERS[kind](tmp_path / name)
    read = read_table(tmp_path / name, ["text", "label"]).to_pandas()
    pd.testing.assert_frame_equal(
        read.astype({"label": str, "day": str}),
        expected.astype({"label": str, "day": str}),
        check_dtype=False,
    )


def test_of_a_workbook_the_first_sheet_with_cells_is_read_and_the_others_told(tmp_path, caplog):
    from openpyxl import Workbook

    book = Workbook()
    mails = book.create_sheet("mails")
    for row in [[], ["text", "label", None, "n"], ["a", 1], [], ["b", True], ["c", None, None, 2]]:
        mails.append(row)
    mails["A7"] = "second line_x000D_\nof it"  # as Excel escapes a carriage return
    book.create_sheet("notes").append(["by Ann"])
    book.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx", ["text", "label"])
    assert table.to_pydict() == {
        "text": ["a", "b", "c", "second line\r\nof it"],
        "label": ["1", "true", None, None],
        "n": [None, None, 2, None],
    }
    assert "sheet 'mails' was read. Left out: 'notes'" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "cannot be read as XLSX"),
        (b"\xd0\xcf\x11\xe0" + bytes(1000), "Save it as .xlsx .*, without a password"),
        (b"text,label\na,b\n", "cannot be read as XLSX"),
    ],
)
def test_what_is_no_workbook_is_refused(content, message, tmp_path):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.xlsx: .*{message}"):
        read_table(tmp_path / "t.xlsx", [])


def test_an_empty_workbook_is_refused(tmp_path):
    from openpyxl import Workbook

    Workbook().save(tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="has no rows"):
        read_table(tmp_path / "t.xlsx", [])


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # as where it is not installed
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"pip install 'nlp-transfer\[excel\]'"):
        read_table(tmp_path / "t.xlsx", [])


def test_names_that_stand_twice_matter_where_they_are_needed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,x,x,x\na,1,2,3\n")
    read = read_table(path, ["text"]).to_pandas()
    pd.testing.assert_frame_equal(read, pd.read_csv(path), check_dtype=False)
    with pytest.raises(InputError, match="two columns have the same name"):
        read_table(path, ["x"])


def test_a_column_of_several_kinds_becomes_texts(tmp_path):
    cells = [1, "x", None, True, [1, "a"], {"a": 1}, 2**70, 0.5]
    rows = [{"text": "a", "label": "1", "other": cell} for cell in cells]
    rows[0]["label"] = 1
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = read_table(tmp_path / "t.jsonl", ["text", "label"])
    assert table["label"].to_pylist() == ["1"] * 8
    expected = ["1", "x", None, "true", '[1, "a"]', '{"a": 1}', str(2**70), "0.5"]
    assert table["other"].to_pylist() == expected


def test_nan_among_texts_is_none(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": NaN}\n{"text": "a"}\n')
    assert read_table(tmp_path / "t.jsonl", ["text"])["text"].to_pylist() == [None, "a"]


def test_classes_that_datasets_wrote_have_their_names(tmp_path):
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        {
            "label": kinds,
            "text": datasets.Value("string"),
            "objects": {"categories": datasets.List(kinds), "n": datasets.Value("int64")},
        }
    )
    rows = {
        "label": [1, 0, -1, None],
        "text": list("abcd"),
        "objects": [{"categories": [0, 1], "n": 2}, None, {"categories": [], "n": 0}, None],
    }
    data = datasets.Dataset.from_dict(rows, features=features)
    data.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", ["label"])
    assert text_column(table, tmp_path, "label") == ["dog", "cat", None, None]
    assert table["text"].to_pylist() == rows["text"]
    assert table["objects"][0].as_py() == {"categories": ["cat", "dog"], "n": 2}
    assert [data.features["label"].int2str(n) for n in (1, 0)] == ["dog", "cat"]


def test_a_class_without_a_name_is_refused(tmp_path):
    features = datasets.Features({"label": datasets.ClassLabel(names=["cat", "dog"])})
    data = datasets.Dataset.from_dict({"label": [0, 1]}, features=features).data.table
    broken = data.set_column(0, data.field(0), [[0, 7]])
    import pyarrow.parquet

    pyarrow.parquet.write_table(broken, tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column 'label' holds a class that has no name"):
        read_table(tmp_path / "t.parquet", ["label"])


@pytest.mark.parametrize(
    ("names", "needed", "said"),
    [
        (
            ["Subject", "Body", "Prio"],
            {"subject": "text_columns", "body": "text_columns", "label": "label_column"},
            "has no columns 'subject', 'body', 'label'. Its columns are: Subject, Body, Prio. Is "
            "it 'Subject' for 'subject', 'Body' for 'body'? Choose columns by `text_columns` and "
            "`label_column`.",
        ),
        (
            ["text", " Label"],
            {"text": "text_columns", "label": "label_column"},
            "has no column 'label'. Its columns are: text,  Label. Is it ' Label' for 'label'? "
            "Choose columns by `label_column`.",
        ),
        (
            ["filename", "kind"],
            {"file_name": None, "species": "label_column"},
            "has no columns 'file_name', 'species'. Its columns are: filename, kind. Is it "
            "'filename' for 'file_name'? Choose columns by `label_column`. Rename what is to be "
            "'file_name'.",
        ),
        (["n"], ["file"], "has no column 'file'. Its columns are: n. Rename what is to be 'file'."),
    ],
)
def test_all_columns_that_are_missing_are_told_at_once_with_a_guess(names, needed, said):
    with pytest.raises(InputError) as told:
        check_columns("t.csv", names, needed)
    assert str(told.value) == f"t.csv: {said}"
    copy = pickle.loads(pickle.dumps(told.value))  # as it comes out of another process
    assert (str(copy), copy.arguments) == (str(told.value), told.value.arguments)


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(70 * 2**20))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        read_table(tmp_path / "t.xlsx", [])
    (tmp_path / "t.csv").write_bytes(gzip.compress(bytes(70 * 2**20)))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        read_table(tmp_path / "t.csv", [])


def test_a_csv_can_be_read_as_it_is_written(tmp_path):
    (tmp_path / "t.csv").write_text('id,text,,x,x,n\n007,"a\nb",,1.0,NA,""\n008,,,2024-1-2,null,\n')
    table = read_table(tmp_path / "t.csv", ["text"], typed=False)
    assert table.to_pydict() == {
        "id": ["007", "008"],
        "text": ["a\nb", None],
        "x": ["1.0", "2024-1-2"],
        "x.1": ["NA", "null"],
        "n": ["", None],
    }


def test_a_table_of_datasets_is_one_again_when_columns_were_added(tmp_path):
    path = str(tmp_path / "t.parquet")
    features = datasets.Features({"label": datasets.ClassLabel(names=["low", "high"])})
    datasets.Dataset.from_dict({"label": [1, -1]}, features).to_parquet(path)
    table = read_table(tmp_path / "t.parquet", []).append_column("more", pa.array([[1.5], []]))
    write_table(table, tmp_path / "t.parquet")
    again = datasets.Dataset.from_parquet(path, cache_dir=str(tmp_path))
    assert again.to_dict() == {"label": ["high", None], "more": [[1.5], []]}
