import tempfile
import unicodedata
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import FastText
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, set_seed

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.alignment import coverage_of
from nlp_transfer.evaluation import nearest
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.models import RecurrentForSequenceClassification
from nlp_transfer.word_vectors import save_vectors
from staged_training import InputError
from tests.nlp_transfer.vector_files import WORDS, WRITERS, vector_sets


def tokenizer_of(words):
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")),
        pad_token="[PAD]",
        unk_token="[UNK]",
    )


def by_brute_force(word, table):
    """The rules, spelled out over a dictionary of all vectors."""

    def lower(text):
        return unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i")

    def cases(text):
        turkish = [dotted + text[1:] for dotted in ("İ", "i\u0307") if text.startswith("i")]
        return [text, lower(text), text.capitalize(), text.upper(), *turkish]

    def kind(character):
        category = unicodedata.category(character)
        return "digit" if category == "Nd" else "letter" if category[0] in "LMN" else ""

    runs = [(k, "".join(run)) for k, run in groupby(word, kind)]
    inner = [i for i, (k, _) in enumerate(runs) if k] or [0]
    stripped = "".join(run for _, run in runs[inner[0] : inner[-1] + 1])
    for spelling in [*cases(word), *(cases(stripped) if any(map(str.isalnum, stripped)) else [])]:
        if spelling in table:
            return table[spelling]
    parts = [run for k, run in runs if k]
    for group in (parts, list(map(lower, parts))):
        if len(parts) > 1 and all(part in table for part in group):
            return np.mean([table[part] for part in group], axis=0, dtype=np.float32)
    return None


@pytest.mark.parametrize("format", WRITERS)
@settings(max_examples=25)
@given(vector_set=vector_sets(), others=st.lists(WORDS, max_size=5), data=st.data())
def test_aligning_equals_a_brute_force_look_up(format, vector_set, others, data):
    words, rows = vector_set
    rows = np.clip(rows, -1e6, 1e6)
    known = data.draw(st.lists(st.sampled_from(words), min_size=1))
    variants = [f(word) for word in known for f in (str.upper, str.title, lambda w: f"##{w}")]
    joined = [f"{a}-{b}" for a, b in pairwise(known)]
    candidates = [*known, *data.draw(st.lists(st.sampled_from(variants))), *joined, *others]
    task = [word for word in dict.fromkeys(candidates) if word not in ("[PAD]", "[UNK]")]
    tokenizer = tokenizer_of(task)
    with tempfile.TemporaryDirectory() as folder:
        vectors = open_vectors(WRITERS[format](Path(folder), words, rows))
        aligned = align(tokenizer, vectors)
    assert aligned.matrix.shape == (len(tokenizer), rows.shape[1])
    assert aligned.matrix.dtype == np.float32
    assert not aligned.matrix[0].any()
    table = dict(zip(words, rows, strict=True))
    expected = {word: by_brute_force(word, table) for word in task}
    assert set(aligned.coverage.missing) == {w for w, row in expected.items() if row is None}
    for word, row in expected.items():
        if row is not None:
            found = aligned.matrix[tokenizer.convert_tokens_to_ids(word)]
            np.testing.assert_allclose(found, row, rtol=1e-5)


@pytest.fixture
def vectors(tmp_path):
    words = ["urgent", "Monday", "ASAP", "e", "mail", "call"]
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    save_vectors(tmp_path / "v.txt", words, rows)
    return open_vectors(tmp_path / "v.txt")


def test_each_rule_finds_its_words(vectors):
    tokenizer = tokenizer_of(["urgent", "monday", "asap", "##call", "e-mail", "zebra"])
    aligned = align(tokenizer, vectors)
    row = dict(zip(tokenizer.convert_ids_to_tokens(range(8)), aligned.matrix.tolist(), strict=True))
    assert row["urgent"] == [0, 1]
    assert row["monday"] == [2, 3]
    assert row["asap"] == [4, 5]
    assert row["##call"] == [10, 11]
    assert row["e-mail"] == [7, 8]
    coverage = aligned.coverage
    assert coverage.by_rule == {"exact": 1, "case": 2, "punctuation": 1, "parts": 1}
    assert coverage.missing == ["zebra"]
    assert coverage.types == coverage.tokens == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("पानी", ["पान", "प", "न"]),
        ("שָׁלוֹם", ["ש", "ל", "ו", "ם"]),
        ("كِتَابٌ", ["ك", "ت", "اب"]),
        ("ที่นี่", ["ท", "น"]),
        ("##ीन", ["न"]),
        ("ශ්\u200dරී", ["ශ්", "රී", "ශ", "ර"]),
    ],
)
def test_a_word_with_marks_never_takes_the_vector_of_what_is_left_without(word, others, tmp_path):
    save_vectors(tmp_path / "v.txt", [*others, "else"], np.ones((len(others) + 1, 2), np.float32))
    vectors = open_vectors(tmp_path / "v.txt")
    assert align(tokenizer_of([word, "else"]), vectors).coverage.missing == [word]
    save_vectors(tmp_path / "w.txt", [*others, word], np.eye(len(others) + 1, dtype=np.float32))
    aligned = align(tokenizer_of([word, f"«{word}»"]), open_vectors(tmp_path / "w.txt"))
    assert aligned.matrix[2:, -1].tolist() == [1, 1]


@pytest.mark.parametrize("known", ["istanbul", "İstanbul", "i\u0307stanbul"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_the_turkish_dotted_capital_finds_its_word(known, lowercase, tmp_path):
    save_vectors(tmp_path / "v.txt", [known], np.ones((1, 2), np.float32))
    tokenizer = build_vocabulary(["İstanbul"], min_frequency=1, lowercase=lowercase)
    if lowercase or known != "i\u0307stanbul":
        assert align(tokenizer, open_vectors(tmp_path / "v.txt")).coverage.types == 1


def test_a_persian_compound_that_is_unknown_is_the_mean_of_its_parts(tmp_path):
    save_vectors(tmp_path / "v.txt", ["کتاب", "ها"], np.eye(2, dtype=np.float32))
    tokenizer = build_vocabulary(["کتاب\u200cها"], min_frequency=1)
    aligned = align(tokenizer, open_vectors(tmp_path / "v.txt"))
    assert aligned.matrix[2].tolist() == [0.5, 0.5] and aligned.coverage.by_rule["parts"] == 1


def test_coverage_counts_running_words_the_dropped_ones_too(vectors):
    tokenizer = build_vocabulary(["urgent call", "urgent zebra zebra", "gnu"], min_frequency=2)
    coverage = align(tokenizer, vectors).coverage
    assert coverage.types == 1 / 2
    assert coverage.tokens == pytest.approx(2 / 6)
    assert coverage.missing == ["zebra"]
    assert "50.0% of the words and 33.3% of the running text" in str(coverage)


def test_the_most_frequent_misses_come_first(vectors):
    texts = ["gnu gnu", "zebra zebra zebra", "urgent okapi"]
    coverage = align(build_vocabulary(texts, min_frequency=1), vectors).coverage
    assert coverage.missing == ["zebra", "gnu", "okapi"]


def test_unmatched_rows_are_drawn_like_the_matched_ones():
    texts = [f"nowhere{i} " for i in range(3000)] + [
        "please call me back before the deadline today"
    ]
    tokenizer = build_vocabulary(texts, min_frequency=1)
    set_seed(0)
    aligned = align(tokenizer, open_vectors("glove-6b-50d"))
    missing = tokenizer.convert_tokens_to_ids(aligned.coverage.missing)
    matched = [i for i in range(2, len(tokenizer)) if i not in set(missing)]
    drawn, known = aligned.matrix[missing], aligned.matrix[matched]
    assert drawn.mean(0) == pytest.approx(known.mean(0), abs=0.1)
    assert drawn.std(0) == pytest.approx(known.std(0), rel=0.1)
    set_seed(0)
    again = align(tokenizer, open_vectors("glove-6b-50d"))
    assert np.array_equal(again.matrix, aligned.matrix)


def test_vectors_of_another_language_are_refused_with_examples(vectors):
    tokenizer = build_vocabulary(["срочно ответьте сегодня"], min_frequency=1)
    with pytest.raises(InputError, match=r"none of the 3 words.*coverage 0\.0%.*срочно") as error:
        align(tokenizer, vectors)
    assert "v.txt" in str(error.value)


def test_that_no_word_is_known_is_an_answer_where_coverage_alone_is_asked_for(vectors):
    tokenizer = build_vocabulary(["срочно ответьте сегодня срочно"], min_frequency=1)
    coverage = coverage_of(tokenizer, vectors)
    assert (coverage.types, coverage.tokens) == (0, 0)
    assert coverage.missing[0] == "срочно"
    assert str(coverage).startswith("0.0% of the words and 0.0% of the running text have a vector")


@pytest.mark.parametrize("subwords", [False, True])
def test_vectors_that_were_just_learnt_are_aligned(subwords):
    texts = ["please call me today about the pump", "the pump has stopped today"] * 9
    tokenizer = build_vocabulary(texts)
    learnt = train_word2vec(texts, tokenizer, dim=8, epochs=1, workers=1, subwords=subwords)
    aligned = align(tokenizer, learnt)
    assert aligned.coverage.types == 1
    words = tokenizer.convert_ids_to_tokens(range(2, len(tokenizer)))
    assert np.array_equal(aligned.matrix[2:], learnt[words])
    assert nearest(learnt, "pump", 3) == nearest(open_vectors(learnt), "pump", 3)


def test_fasttext_makes_vectors_of_words_that_it_has_not_seen():
    model = FastText([["pump", "call"]] * 9, vector_size=4, min_count=1, bucket=99, epochs=1)
    tokenizer = build_vocabulary(["pump pumps CALL"], min_frequency=1, lowercase=False)
    aligned = align(tokenizer, model.wv)
    assert aligned.coverage.by_rule["pieces"] == 1
    row = dict(zip(tokenizer.convert_ids_to_tokens(range(2, 5)), aligned.matrix[2:], strict=True))
    for word, known in {"pump": "pump", "pumps": "pumps", "CALL": "call"}.items():
        assert np.array_equal(row[word], model.wv[known])


def test_the_padding_row_stays_zero_through_fine_tuning():
    tokenizer = build_vocabulary(["please call me today", "no hurry"], min_frequency=1)
    aligned = align(tokenizer, "glove-6b-50d")
    model = RecurrentForSequenceClassification.from_aligned(aligned, ["calm", "urgent"])
    assert model.config.id2label == {0: "calm", 1: "urgent"}
    assert np.array_equal(model.embedding_matrix(), aligned.matrix)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    batch = tokenizer(["please call me today", "no hurry"], padding=True, return_tensors="pt")
    for _ in range(3):
        model(**batch, labels=torch.tensor([1, 0])).loss.backward()
        optimizer.step()
    weight = model.get_input_embeddings().weight
    assert not weight[0].any()
    assert not torch.equal(weight[2], torch.from_numpy(aligned.matrix[2]))


@pytest.mark.parametrize(
    ("matrix", "labels", "message"),
    [
        (np.ones(3, np.float32), ["a", "b"], "a matrix of finite numbers"),
        (np.full((3, 2), np.nan, np.float32), ["a", "b"], "a matrix of finite numbers"),
        (np.ones((3, 2), np.float32), ["a", "a"], "a list of different names"),
        (np.ones((3, 2), np.float32), "yes", "a list of different names"),
    ],
)
def test_a_classifier_is_not_built_on_what_is_no_embedding_or_no_labels(matrix, labels, message):
    with pytest.raises(ValueError, match=message):
        RecurrentForSequenceClassification.from_aligned(matrix, labels)
