"""GloVe: counted and fitted as in the paper."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_transfer import build_vocabulary
from nlp_transfer.language_models import glove
from nlp_transfer.language_models.cooccurrence import Cells, Cooccurrences
from nlp_transfer.language_models.glove import POWER, GloVe, train_glove
from staged_training import InputError

TEXTS = ["call me before noon", "you call me or i call you", "lunch at noon", "me", ""] * 3
WORDS = 6


def dense(texts, window):
    """The matrix X of the paper, cell by cell."""
    matrix = np.zeros((WORDS, WORDS))
    for text in texts:
        for i, word in enumerate(text):
            for j, other in enumerate(text):
                if i != j and abs(i - j) <= window:
                    matrix[word, other] += 1 / abs(i - j)
    return matrix


def counted(texts, window, folder, most=2**20):
    counts = Cooccurrences(WORDS, window, folder, most)
    for block in (texts[:2], texts[2:]):
        counts.add(np.array([*chain(*block)], np.int32), np.array([*map(len, block)], np.int32))
        counts._reduce()
    return list(counts.shards())


def whole(shards):
    """X of its parts, no cell of which is in two."""
    matrix = np.zeros((WORDS, WORDS))
    for rows, columns, counts in shards:
        assert (rows <= columns).all()
        assert not matrix[rows, columns].any()
        matrix[rows, columns] = counts
    return matrix + np.triu(matrix, 1).T


texts_of_ids = st.lists(st.lists(st.integers(0, WORDS - 1), max_size=12), min_size=1, max_size=6)


@given(texts_of_ids, st.integers(1, 5))
def test_words_count_by_their_distance_in_both_directions(tmp_path_factory, texts, window):
    shards = counted(texts, window, tmp_path_factory.mktemp("cells"))
    np.testing.assert_allclose(whole(shards), dense(texts, window), rtol=1e-5)


@given(texts_of_ids)
def test_what_does_not_fit_into_memory_is_counted_on_disk(tmp_path_factory, texts):
    shards = counted(texts, 3, tmp_path_factory.mktemp("cells"), most=1)
    np.testing.assert_allclose(whole(shards), dense(texts, 3), rtol=1e-5)


def steps_of_the_paper(cells, order, parameters, x_max, rate):
    """AdaGrad on equation 8, a cell at a time, in numpy."""
    words, contexts = parameters.astype(np.float64)
    squares = np.ones((2, *words.shape))
    loss = 0.0
    for cell in order:
        i, j, count = cells.rows[cell], cells.columns[cell], cells.counts[cell]
        for row, column in [(i, j), (j, i)][: 1 if i == j else 2]:
            word, context = words[row].copy(), contexts[column].copy()
            error = word[:-1] @ context[:-1] + word[-1] + context[-1] - np.log(count)
            weight = min(1, (count / x_max) ** POWER)
            loss += weight * error**2
            slope = weight * error
            for own, which, number, other in (
                (words, 0, row, context),
                (contexts, 1, column, word),
            ):
                downhill = slope * np.append(other[:-1], 1)
                squares[which, number] += downhill**2
                own[number] -= rate * downhill / np.sqrt(squares[which, number])
    return np.stack([words, contexts]), loss


def test_an_epoch_takes_the_steps_of_the_paper():
    (cells,) = counted([[0, 1, 2, 1, 3], [4, 4, 2, 0]], 3, None)
    model = GloVe(WORDS, dim=5, x_max=2.0, seed=3)
    order = np.random.default_rng(3)
    order.random(model.parameters.shape, np.float32)  # as the model has drawn its vectors
    expected, loss = steps_of_the_paper(
        cells, order.permutation(len(cells.rows)), model.parameters, 2.0, 0.05
    )
    steps = 2 * len(cells.rows) - (cells.rows == cells.columns).sum()
    assert model.epoch([cells]) == pytest.approx(loss / steps, rel=1e-5)
    np.testing.assert_allclose(model.parameters, expected, rtol=1e-4, atol=1e-6)


def test_products_become_the_logarithms_of_the_counts():
    rng = np.random.default_rng(0)
    rows, columns = np.triu_indices(WORDS)
    counts = rng.uniform(1, 50, len(rows)).astype(np.float32)
    cells = Cells(rows.astype(np.int32), columns.astype(np.int32), counts)
    model = GloVe(WORDS, dim=8)
    losses = [model.epoch([cells]) for _ in range(2000)]
    assert losses[-1] < 0.001 * losses[0]
    (words, of_words), (contexts, of_contexts) = (
        (part[:, :-1], part[:, -1]) for part in model.parameters
    )
    products = words @ contexts.T + of_words[:, None] + of_contexts
    np.testing.assert_allclose(products[rows, columns], np.log(counts), atol=0.1)
    np.testing.assert_array_equal(model.vectors(), words + contexts)


def test_a_text_teaches_its_words_and_the_same_seed_gives_the_same_vectors():
    tokenizer = build_vocabulary(TEXTS, min_frequency=2)
    losses = []
    vectors = train_glove(TEXTS, tokenizer, dim=8, epochs=30, workers=1, on_epoch=losses.append)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]
    counts = [vectors.get_vecattr(word, "count") for word in vectors.index_to_key]
    assert counts == sorted(counts, reverse=True)
    assert vectors.get_vecattr("call", "count") == 9
    assert set(vectors.index_to_key) == set(tokenizer.get_vocab()) - {"[PAD]", "[UNK]"}
    again = train_glove(TEXTS, tokenizer, dim=8, epochs=30, workers=1)
    np.testing.assert_array_equal(again.vectors, vectors.vectors)


def test_unknown_words_are_left_out_before_the_window_is_laid():
    tokenizer = build_vocabulary(["call noon"], min_frequency=1)
    near = train_glove(["call qwyzzk noon"] * 5, tokenizer, dim=4, window=1, epochs=3, workers=1)
    adjacent = train_glove(["call noon"] * 5, tokenizer, dim=4, window=1, epochs=3, workers=1)
    np.testing.assert_array_equal(near.vectors, adjacent.vectors)


@pytest.mark.parametrize(
    "numbers",
    [{"dim": 0}, {"window": -1}, {"epochs": 0}, {"x_max": 0}, {"x_max": np.nan}, {"epochs": 2.5}],
)
def test_numbers_are_positive(numbers):
    tokenizer = build_vocabulary(TEXTS, min_frequency=2)
    with pytest.raises(InputError, match=f"{next(iter(numbers))} is"):
        train_glove(TEXTS, tokenizer, **numbers)


def test_texts_of_one_word_teach_nothing():
    tokenizer = build_vocabulary(TEXTS, min_frequency=2)
    with pytest.raises(InputError, match="two words"):
        train_glove(["call", "me", ""], tokenizer)


def test_a_single_text_is_refused_as_such():
    tokenizer = build_vocabulary(["call me at noon"], min_frequency=1)
    with pytest.raises(InputError, match="it is a single text"):
        train_glove("call me at noon", tokenizer)


def test_without_numba_it_is_refused_before_the_texts_are_read(monkeypatch):
    tokenizer = build_vocabulary(TEXTS, min_frequency=2)
    monkeypatch.setattr(glove, "find_spec", lambda name: None)
    texts = iter(TEXTS)
    with pytest.raises(InputError, match=r"needs numba.*nlp-transfer\[embeddings\]"):
        train_glove(texts, tokenizer)
    assert next(texts) == TEXTS[0]
