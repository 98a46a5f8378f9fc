"""Evaluation of word vectors: as gensim scores them, and honest about what is not covered."""

import math
from itertools import islice

import numpy as np
import pytest
from gensim.models import KeyedVectors
from gensim.test.utils import datapath

from nlp_transfer import evaluation, open_vectors
from nlp_transfer.evaluation import analogies, nearest, word_similarity
from nlp_transfer.plots import plot_map
from nlp_transfer.word_vectors import save_vectors
from staged_training import InputError

GLOVE = open_vectors("glove-6b-50d")


@pytest.fixture(scope="module")
def frequent():
    """The 4,000 most frequent words of GloVe."""
    return dict(islice(GLOVE, 4000))


def saved(folder, vectors):
    save_vectors(folder / "vectors.txt", list(vectors), np.stack(list(vectors.values())))
    return open_vectors(folder / "vectors.txt")


def test_glove_agrees_with_people_as_it_is_known_to():
    related, similar = (word_similarity(GLOVE, name) for name in ("wordsim353", "simlex999"))
    assert (related.pairs, related.covered) == (353, 353)
    assert (similar.pairs, similar.covered) == (999, 999)
    assert related.score == pytest.approx(0.503, abs=0.001) == related.score_of_all
    assert similar.score == pytest.approx(0.265, abs=0.001)


def test_pairs_that_are_not_covered_cost_score(frequent, tmp_path):
    found = word_similarity(saved(tmp_path, frequent), "wordsim353")
    keyed = KeyedVectors(50)
    keyed.add_vectors(list(frequent), np.stack(list(frequent.values())))
    expected = keyed.evaluate_word_pairs(datapath("wordsim353.tsv"))
    assert found.score == pytest.approx(expected[1].statistic)
    assert found.covered == round(353 * (1 - expected[2] / 100)) < 353
    assert found.score_of_all < found.score


def test_case_does_not_count(tmp_path):
    words = {"Tiger": [1.0, 0], "CAT": [1, 0.1], "sex": [0, 1.0], "Love": [0.2, 1], "car": [1, 1]}
    found = word_similarity(saved(tmp_path, words), "wordsim353")
    assert found.covered == 3  # tiger and cat, tiger and tiger, love and sex


def test_vectors_that_cover_nothing_have_no_score(tmp_path):
    vectors = saved(tmp_path, {"zzq": [1.0, 2.0]})
    found = word_similarity(vectors, "simlex999")
    assert found.covered == 0 and math.isnan(found.score) and math.isnan(found.score_of_all)
    total = analogies(vectors)[-1]
    assert (total.category, total.questions, total.covered) == ("all", 19544, 0)
    assert math.isnan(total.accuracy)


def test_analogies_are_answered_as_gensim_answers_them(frequent, tmp_path):
    keyed = KeyedVectors(50)
    keyed.add_vectors(list(frequent), np.stack(list(frequent.values())))
    _, sections = keyed.evaluate_word_analogies(datapath("questions-words.txt"))
    found = analogies(saved(tmp_path, frequent))
    assert [(a.correct, a.covered - a.correct) for a in found] == [
        (len(section["correct"]), len(section["incorrect"])) for section in sections
    ]
    assert [item.category for item in found[:2]] == ["capital-common-countries", "capital-world"]
    assert 0 < found[-1].covered < found[-1].questions


def test_the_nearest_words_are_the_most_similar_ones_without_itself():
    neighbours = nearest(GLOVE, "meeting", 5)
    assert [word for word, _ in neighbours][:2] == ["conference", "meetings"]
    cosines = [cosine for _, cosine in neighbours]
    assert cosines == sorted(cosines, reverse=True) and len(cosines) == 5
    with pytest.raises(InputError, match="glove-6b-50d has no vector of 'zzqx'"):
        nearest(GLOVE, "zzqx")


def test_without_gensim_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'nlp-transfer\[embeddings\]'"):
        word_similarity(GLOVE, "wordsim353")


def test_a_map_of_words_is_drawn_for_few_and_for_many(frequent, tmp_path):
    words = [word for word in frequent if word.isalpha()]
    for count in (2, 40):
        rows = np.stack([frequent[word] for word in words[:count]])
        plot_map(tmp_path / f"{count}.png", words[:count], rows)
        assert (tmp_path / f"{count}.png").read_bytes().startswith(b"\x89PNG")
