"""CSV and TSV: the dialect is found, and no quote takes rows into a cell without a word."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from staged_training import InputError
from staged_training.tables.reading import read_table

TEXT_AND_LABEL = ("text", "label")
SEVEN = ["alpha,a", '"beta,b', "gamma,a", "delta,b", "epsilon,a", "zeta,b", "eta,a"]


def written(folder: Path, rows: list[str], name: str = "t.csv", delimiter: str = ",") -> Path:
    lines = "".join(f"{line}\n" for line in ["text,label", *rows])
    (folder / name).write_text(lines.replace(",", delimiter))
    return folder / name


def cells(path: Path) -> list[tuple[str, str]]:
    table = read_table(path, TEXT_AND_LABEL)
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("row", "text"),
    [
        (4, '"epsilon'),  # the quote before it seems to close the cell
        (4, '"epsilon" again'),
        (4, 'epsilon"'),  # which makes well-formed CSV
        (6, '"eta'),
        (6, "eta"),  # nothing closes the cell
    ],
)
def test_a_stray_quote_swallows_no_rows(delimiter, row, text, tmp_path, caplog):
    rows = SEVEN.copy()
    rows[row] = f"{text},a"
    path = written(tmp_path, rows, delimiter=delimiter)
    assert cells(path) == [tuple(line.split(",")) for line in rows]
    assert f"{path}: line 3 begins a cell" in caplog.text
    assert "Quotes were read as characters" in caplog.text


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"alpha, one",a', '"beta,b', "gamma,a", '"delta,b', "eta,a"], 3),
        (['"alpha, one",a', "beta,b", '"gamma,a', 'delta",b', "eta,a"], 4),
        (['"alpha, one",a', "beta,b", '"gamma,a'], 4),
        (['"say ""hi""",a', '"beta" here,b'], 3),
        (['"alpha","a"', '"beta" here,"b"', 'gamma,"a"'], 3),
    ],
)
def test_a_stray_quote_among_cells_in_quotes_is_refused_by_line(rows, line, tmp_path):
    path = written(tmp_path, rows)
    with pytest.raises(InputError, match=rf"t\.csv: line {line} begins a cell"):
        cells(path)


def test_rows_without_labels_are_known_by_their_numbers(tmp_path):
    (tmp_path / "t.csv").write_text('id,text\n1,alpha\n2,"beta\n3,gamma\n4,delta"\n5,eta\n')
    assert read_table(tmp_path / "t.csv", ["text"])["id"].to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_texts_of_several_lines_stay_whole(name, tmp_path, caplog):
    table = pd.DataFrame(
        {
            "text": [
                "Dear Ann,\nthe pump, it stopped.\nBye",
                "Hello, all\nbye",
                'the "pump"',
                "5\tinches",
                '"so"',
                "two\n\nparagraphs, each\r\nshort",
            ],
            "label": list("abababab"[:6]),
        }
    )
    delimiter = "\t" if name.endswith(".tsv") else ","
    table.to_csv(tmp_path / name, index=False, sep=delimiter)
    assert cells(tmp_path / name) == list(zip(table["text"], table["label"], strict=True))
    assert not caplog.records


@pytest.mark.parametrize("name", ["number", "label", "date"])
def test_what_stands_before_a_text_of_several_lines_does_not_make_them_rows(name, tmp_path):
    path = tmp_path / "t.csv"
    texts = ["Dear Ann,\nBest, Bob", "\n,", "Hi, you\nBye, me", "plain"]
    rows = {name: ["1", "2", "1", "2"], "text": texts, "label": ["a", "b", "a", "b"]}
    pd.DataFrame(rows).to_csv(path, index=False)
    assert read_table(path, TEXT_AND_LABEL)["text"].to_pylist() == texts
    path.write_text('label,text\na,"alpha\nb,beta"\na,gamma\nb,delta\n')
    assert read_table(path, TEXT_AND_LABEL)["label"].to_pylist() == ["a", "b", "a", "b"]


def test_a_delimiter_by_which_all_quotes_are_right_is_taken(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('"text";"label";"a,b"\n"x";"y";"1,2"\n')
    assert read_table(path, TEXT_AND_LABEL).column_names == ["text", "label", "a,b"]


def test_backslashes_before_quotes_are_understood(tmp_path):
    path = written(tmp_path, [r'"say \"hi, you\" now",a', "b,b"])
    assert cells(path) == [('say "hi, you" now', "a"), ("b", "b")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_delimiter_gives_what_pandas_reads(delimiter, suffix, tmp_path):
    rows = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "text": ["a, b; c", "d", "e\nf"],
            "share": [0.5, None, 2],
            "when": ["x;y", "x", "z|"],
        }
    )
    path = tmp_path / f"t.{suffix}"
    rows.to_csv(path, index=False, sep=delimiter)
    read = read_table(path, ["text"]).to_pandas()
    pd.testing.assert_frame_equal(read, pd.read_csv(path, sep=delimiter), check_dtype=False)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_delimiter_that_excel_writes_down_is_taken(mark, line_end, tmp_path):
    lines = [f"{mark}sep=;", "text;label", "a, b;x", '"c;d";y']
    (tmp_path / "t.csv").write_bytes(line_end.join(lines).encode())
    assert cells(tmp_path / "t.csv") == [("a, b", "x"), ("c;d", "y")]


def test_where_two_delimiters_would_do_the_table_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("a;text,label\n1;x,y\n2;z,y\n")
    with pytest.raises(InputError, match=r"t\.csv: its columns may be parted by commas or semico"):
        cells(tmp_path / "t.csv")


def test_columns_without_a_name_are_left_out_where_they_are_empty(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("label,text,,,\na,alpha,,,\nb,beta,,,\n")
    assert read_table(tmp_path / "t.csv", TEXT_AND_LABEL).column_names == ["label", "text"]
    assert not caplog.records
    (tmp_path / "t.csv").write_text("label,text,,\na,alpha, and more,\nb,beta,,\n")
    names = read_table(tmp_path / "t.csv", TEXT_AND_LABEL).column_names
    assert names == ["label", "text", "Unnamed: 2"]
    assert "column 3 has no name; cells in it: 1" in caplog.text


def test_a_packed_table_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"text,label\na,x\n" * 1000)[:-9])
    with pytest.raises(InputError, match=r"t\.csv\.gz: cannot be read as CSV"):
        cells(tmp_path / "t.csv.gz")
