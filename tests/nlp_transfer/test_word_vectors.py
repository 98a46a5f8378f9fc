import gzip
import pickle
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import save_facebook_model
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nlp_transfer.word_vectors import open_vectors, save_vectors, text_lines
from staged_training import InputError
from tests.nlp_transfer.vector_files import WORDS, WRITERS, vector_sets, write_glove


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=25)
@given(vector_set=vector_sets())
@example(vector_set=(["0"], np.float32([[4.3639823e16, 0]])))  # in bytes, a line "0 0" of text
@example(vector_set=(["0"], np.float32([[510025, 510025]])))  # in bytes, no control character
def test_reading_gives_back_what_was_written(format, vector_set):
    words, rows = vector_set
    with tempfile.TemporaryDirectory() as folder:
        vectors = open_vectors(WRITERS[format](Path(folder), words, rows))
        read = list(vectors)
    assert [word for word, _ in read] == words
    assert np.array_equal(np.stack([row for _, row in read]), rows)
    assert vectors.dim == rows.shape[1]


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=25)
@given(vector_set=vector_sets(), others=st.lists(WORDS), data=st.data())
def test_looking_up_equals_a_dictionary(format, vector_set, others, data):
    words, rows = vector_set
    asked = {*data.draw(st.lists(st.sampled_from(words))), *others}
    with tempfile.TemporaryDirectory() as folder:
        path = WRITERS[format](Path(folder), words, rows)
        found, found_rows = open_vectors(path).lookup(asked)
    expected = {word: row for word, row in zip(words, rows, strict=True) if word in asked}
    assert len(found) == len(expected)
    assert set(found) == set(expected)
    for word, row in zip(found, found_rows, strict=True):
        assert np.array_equal(row, expected[word])


@pytest.mark.parametrize("block_bytes", [64, 80, 1000])
def test_where_blocks_end_does_not_matter(tmp_path, monkeypatch, block_bytes):
    rng = np.random.default_rng(0)
    words = [f"word{i * 7919}" for i in range(200)]
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    save_vectors(tmp_path / "v.txt", words, rows)
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block_bytes)
    found, found_rows = open_vectors(tmp_path / "v.txt").lookup(words)
    assert found == words
    assert np.array_equal(found_rows, rows)


def test_gensim_reads_the_same_from_each_format(tmp_path):
    words = ["urgent", "Köln", "e-mail"]
    rows = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    for format, options in {
        "glove": {"no_header": True},
        "word2vec": {},
        "word2vec-binary": {"binary": True},
    }.items():
        save_vectors(tmp_path / format, words, rows, format)
        read = KeyedVectors.load_word2vec_format(tmp_path / format, **options)
        assert read.index_to_key == words
        assert np.array_equal(read.vectors, rows)


def test_gensim_writes_what_is_read(tmp_path):
    vectors = KeyedVectors(4)
    rows = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    vectors.add_vectors(["urgent", "Köln", "e-mail"], rows)
    vectors.save_word2vec_format(tmp_path / "v.txt")
    vectors.save_word2vec_format(tmp_path / "v.bin", binary=True)
    vectors.save(str(tmp_path / "large.kv"), sep_limit=0)  # as gensim saves large arrays
    assert (tmp_path / "large.kv.vectors.npy").exists()
    for name in ("v.txt", "v.bin", "large.kv"):
        found, found_rows = open_vectors(tmp_path / name).lookup(["Köln", "nowhere"])
        assert found == ["Köln"]
        assert found_rows[0] == pytest.approx(rows[1], rel=1e-6)


TABBED = {
    "tabs": "the\t0.5\t2\nnew york\t3\t4\nKöln\t5\t6\n",
    "a header": "3\t2\nthe\t0.5\t2\nnew york\t3\t4\nKöln\t5\t6\n",
    "a header with a space": "3 2\nthe\t0.5\t2\nnew york\t3\t4\nKöln\t5\t6\n",
    "line ends of Windows": "the\t0.5\t2\r\nnew york\t3\t4\r\nKöln\t5\t6\r\n",
    "a tab at the end": "the\t0.5\t2\t\nnew york\t3\t4\t\nKöln\t5\t6\t",
    "two spaces behind the word": "the  0.5 2\nnew york  3 4\nKöln  5 6\n",
    "a tab before numbers with spaces": "the\t0.5 2\nnew york\t3 4\nKöln\t5 6\n",
}


@pytest.fixture(scope="module")
def fasttext():
    texts = [["the", "pump", "has", "stopped"], ["please", "call", "Köln", "पानी", "a"]] * 9
    return FastText(texts, vector_size=4, min_count=1, bucket=99, min_n=1, epochs=1, seed=1).wv


@pytest.mark.parametrize("sep_limit", [10_000_000, 0])  # the arrays within the file, or beside it
def test_fasttext_vectors_of_gensim_are_those_that_gensim_reads(fasttext, sep_limit, tmp_path):
    fasttext.save(str(tmp_path / "ft.kv"), sep_limit=sep_limit)
    vectors, read = open_vectors(tmp_path / "ft.kv"), KeyedVectors.load(str(tmp_path / "ft.kv"))
    assert [word for word, _ in vectors] == read.index_to_key
    assert all(np.array_equal(row, read[word]) for word, row in vectors)
    found, rows = vectors.lookup(["Köln", "pumps", "पानी"])
    assert found == ["Köln", "पानी"]
    assert np.array_equal(rows, read[found])
    composed, rows = vectors.compose(["pumps", "Kölner", "中文", "x"])
    assert composed == ["pumps", "Kölner", "中文", "x"]
    assert np.array_equal(rows, read[composed])


def test_fasttext_without_n_grams_makes_no_other_words(tmp_path):
    wv = FastText([["pump", "call"]] * 9, vector_size=4, min_count=1, bucket=0, epochs=1).wv
    wv.save(str(tmp_path / "ft.kv"))
    vectors = open_vectors(tmp_path / "ft.kv")
    assert all(np.array_equal(row, wv[word]) for word, row in vectors)
    assert vectors.compose(["pumps"])[0] == []


def test_a_model_of_fasttext_is_refused_by_name(tmp_path):
    model = FastText([["pump", "call"]] * 9, vector_size=4, min_count=1, bucket=9, epochs=1)
    save_facebook_model(model, str(tmp_path / "ft.bin"))
    content = (tmp_path / "ft.bin").read_bytes()
    (tmp_path / "ft.bin.gz").write_bytes(gzip.compress(content))
    for name in ("ft.bin", "ft.bin.gz"):
        with pytest.raises(InputError, match=rf"{name}: is a model of fastText. Give the \.vec"):
            open_vectors(tmp_path / name)


def test_vectors_in_memory_are_opened_as_they_are(fasttext):
    vectors = KeyedVectors(2)
    vectors.add_vectors(["urgent", "Köln"], np.float32([[1, 2], [3, 4]]))
    found, rows = open_vectors(vectors).lookup(["Köln", "nowhere"])
    assert (found, rows.tolist()) == (["Köln"], [[3, 4]])
    opened = open_vectors(fasttext)
    assert all(np.array_equal(row, fasttext[word]) for word, row in opened)
    assert open_vectors(opened) is opened


def test_a_table_of_pandas_has_its_words_in_the_index_or_in_a_column():
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    table = pd.DataFrame(rows, index=["call", "null", "noon"])
    for opened in (open_vectors(table), open_vectors(table.reset_index(names="word"))):
        assert opened.dim == 4
        words, found = opened.lookup(["noon", "null", "lunch"])
        np.testing.assert_array_equal(found, rows[[2 if word == "noon" else 1 for word in words]])
        assert sorted(words) == ["noon", "null"]


BAD_TABLES = {
    "no words": (pd.DataFrame([[1.0, 2.0]]), r"row 1: has 0 in place of a word"),
    "a word read as missing": (
        pd.DataFrame({"word": ["call", None], "x": [1.0, 2.0]}),
        r"row 2: has (None|nan) in place of a word.*keep_default_na=False",
    ),
    "two columns of texts": (
        pd.DataFrame({"word": ["call"], "vector": ["0.1 0.2"]}),
        r"the columns 'word', 'vector' hold no numbers",
    ),
    "two columns of one name": (
        pd.DataFrame([["call", 1.0, 2.0]], columns=["word", "x", "x"]),
        r"two columns have the same name",
    ),
    "words in the index and in a column": (
        pd.DataFrame({"tag": ["verb"], "x": [1.0]}, index=["call"]),
        r"its index holds texts, and so does the column 'tag'",
    ),
    "words alone": (pd.DataFrame({"word": ["call"]}), r"no column of numbers"),
}


@pytest.mark.parametrize("bad", BAD_TABLES)
def test_a_table_without_words_or_numbers_is_refused(bad):
    table, message = BAD_TABLES[bad]
    with pytest.raises(InputError, match=f"DataFrame.*{message}"):
        open_vectors(table)


@pytest.mark.parametrize("text", TABBED)
def test_tabs_part_as_spaces_do(tmp_path, text):
    content = TABBED[text].encode()
    for path in (tmp_path / "v.tsv", tmp_path / "v.tsv.gz"):
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        vectors = open_vectors(path)
        expected = {"the": [0.5, 2], "new york": [3, 4], "Köln": [5, 6]}
        assert {word: row.tolist() for word, row in vectors} == expected
        found, rows = vectors.lookup(expected)
        assert dict(zip(found, rows.tolist(), strict=True)) == expected


def test_tabs_are_read_as_pandas_reads_them(tmp_path):
    lines = ["the\t0.25\t2", "windows 95\t3\t4", "null\t5\t6", '"\t7\t8', "a b\t9\t1"]
    path = write_glove(tmp_path / "v.tsv", lines)
    table = pd.read_csv(path, sep="\t", header=None, quoting=3, keep_default_na=False)
    found, rows = open_vectors(path).lookup(list(table[0]))
    assert found == list(table[0])
    assert np.array_equal(rows, table[[1, 2]].to_numpy(np.float32))


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    for header in ("", "2 2\n"):
        (tmp_path / "v.txt").write_text(f"{header}the 1 2\na 3 4\n", "utf-8-sig")
        assert open_vectors(tmp_path / "v.txt").lookup(["the", "a"])[0] == ["the", "a"]


def test_words_with_spaces_are_read_as_in_glove_840b(tmp_path):
    lines = ["the 1 2 3", ". . . 4 5 6", "at name@domain.com 7 8 9", "trailing 1 2 3 "]
    vectors = open_vectors(write_glove(tmp_path / "v.txt", lines))
    assert [word for word, _ in vectors] == ["the", ". . .", "at name@domain.com", "trailing"]
    found, rows = vectors.lookup([". . .", "at name@domain.com"])
    assert found == [". . .", "at name@domain.com"]
    assert rows.tolist() == [[4, 5, 6], [7, 8, 9]]


def test_of_a_word_that_stands_twice_the_first_counts(tmp_path):
    path = write_glove(tmp_path / "v.txt", ["a 1 2", "b 3 4", "a 5 6"])
    found, rows = open_vectors(path).lookup(["a"])
    assert (found, rows.tolist()) == (["a"], [[1, 2]])


def test_bytes_that_are_not_utf8_match_nothing_and_stop_nothing(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"caf\xe9 1 2\nok 3 4\n")
    vectors = open_vectors(tmp_path / "v.txt")
    assert [word for word, _ in vectors] == ["caf\ufffd", "ok"]
    assert vectors.lookup(["caf\ufffd", "café", "ok"])[0] == ["ok"]


def test_a_zip_with_several_members_is_read_by_the_name_of_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("glove.2d.txt", "a 1 2\n")
        archive.writestr("glove.3d.txt", "a 1 2 3\n")
    assert open_vectors(tmp_path / "v.zip" / "glove.3d.txt").dim == 3
    with pytest.raises(InputError, match=r"v\.zip/MEMBER; the archive holds: glove\.2d\.txt, gl"):
        open_vectors(tmp_path / "v.zip")
    with pytest.raises(InputError, match=r"no member other\.txt"):
        open_vectors(tmp_path / "v.zip" / "other.txt")


def test_packaged_glove_knows_its_words():
    vectors = open_vectors("glove-6b-50d")
    found, rows = vectors.lookup(["deadline", "the", "no-such-word"])
    assert found == ["deadline", "the"]
    assert vectors.dim == 50
    assert rows[1][:3] == pytest.approx([0.418, 0.24968, -0.41242])


DAMAGED = {
    "too few numbers": (["a 1 2 3", "b 1 2"], r"v\.txt, line 2: found 2 numbers, expected 3"),
    "cut off in a number": (["a 1 2 3", "b 1 2 3", "c 1"], r"line 3: found 1 numbers, expected 3"),
    "two widths": (["a 1 2 3", "b 1 2 3 4"], r"line 2: found 4 numbers, expected 3.*several width"),
    "NaN": (["a 1 2", "b nan 2"], r"line 2: the vector holds NaN or infinity"),
    "infinity": (["a 1 2", "b inf 2"], r"line 2: the vector holds NaN or infinity"),
    "a word among numbers": (["a 1 2", "b x 2"], r"line 2: found 'x' among the numbers"),
    "an empty line": (["a 1 2", "", "b 1 2"], r"line 2: found 0 numbers, expected 2"),
    "header too large": (["3 2", "a 1 2", "b 1 2"], r"the header says 3 vectors .* holds 2"),
    "header too small": (["1 2", "a 1 2", "b 1 2"], r"the header says 1 vectors .* holds 2"),
    "header of another width": (["2 3", "a 1 2", "b 1 2"], r"line 2: found 2 numbers, expected 3"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_text_is_refused_by_file_and_line(tmp_path, damage):
    lines, message = DAMAGED[damage]
    vectors = open_vectors(write_glove(tmp_path / "v.txt", lines))
    with pytest.raises(InputError, match=message):
        vectors.lookup(["a", "b"])
    with pytest.raises(InputError, match=message):
        list(vectors)


OTHER_DAMAGE = {
    "empty": (b"", r"v\.txt: is empty"),
    "a letter": (
        b"Dear all,\nno vector here\n",
        r"v\.txt, line 1: found no numbers after the word",
    ),
    "cut gzip": (gzip.compress(b"a 1 2\n" * 999)[:-20], r"v\.txt: cannot be unpacked.*incomplete"),
    "cut binary": (
        b"2 2\na " + np.float32([1, 2]).tobytes() + b"b \0\0",
        r"says 2 vectors of 2 .* holds 1",
    ),
    "long binary": (
        b"1 2\na " + np.float32([1, 2]).tobytes() + b"b \0\0",
        r"more bytes follow them",
    ),
    "binary NaN": (
        b"1 2\na " + np.float32([1, np.nan]).tobytes(),
        r"vector 1: the vector holds NaN",
    ),
    "another pickle": (pickle.dumps({"no": "vectors"}), r"not the KeyedVectors of gensim 4"),
    "a pickle with code": (
        pickle.dumps(Path("x")),
        r"not the KeyedVectors of gensim 4 \(it holds pathlib",
    ),
}


@pytest.mark.parametrize("damage", OTHER_DAMAGE)
def test_other_damaged_files_are_refused(tmp_path, damage):
    content, message = OTHER_DAMAGE[damage]
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path / "v.txt").lookup(["a", "b"])


def test_unknown_names_and_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"The names are glove-6b-50d"):
        open_vectors("glove-7b")
    with pytest.raises(InputError, match=r"missing\.txt: no such file"):
        open_vectors(tmp_path / "missing.txt")
    with pytest.raises(InputError, match=r"is a folder"):
        open_vectors(tmp_path)


@pytest.mark.parametrize(
    ("words", "rows", "format", "message"),
    [
        (["windows 95"], [[1.0, 2.0]], "glove", "'windows 95' cannot be written"),
        (["new york"], [[1.0, 2.0]], "word2vec", "'new york' cannot be written"),
        ([""], [[1.0, 2.0]], "glove", "'' cannot be written"),
        (["a"], [[1.0, np.inf]], "glove", "'a' holds NaN or infinity"),
        (["a", "b"], [[1.0, 2.0]], "glove", "2 words do not fit"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, words, rows, format, message):
    with pytest.raises(InputError, match=message):
        save_vectors(tmp_path / "v.txt", words, rows, format)
    assert not list(tmp_path.iterdir())
