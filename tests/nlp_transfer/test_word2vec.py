"""Word2Vec: every word of the vocabulary has a row, the same seed the same one, and it learns."""

import os
import signal
import tempfile
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from gensim.models import Word2Vec

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.word_vectors import save_vectors
from staged_training import InputError
from staged_training.tables.corpus import Corpus

MAILS = Path(__file__).parents[2] / "recipes" / "data" / "related_emails"

algorithms = pytest.mark.parametrize(
    "options",
    [{"algorithm": "skip-gram"}, {"algorithm": "cbow"}, {"subwords": True}],
    ids=["skip-gram", "cbow", "fastText"],
)


@pytest.fixture(scope="module")
def mails():
    return list(islice(Corpus(MAILS), 150))


@pytest.fixture(scope="module")
def tokenizer(mails):
    return build_vocabulary(mails, min_frequency=1)


def train(texts, tokenizer, **options):
    return train_word2vec(texts, tokenizer, **{"dim": 8, "epochs": 1, "workers": 1} | options)


@algorithms
def test_every_word_of_the_vocabulary_has_a_row_however_rare(options, mails, tokenizer):
    vectors = train(mails, tokenizer, **options)
    words = tokenizer.get_vocab()
    assert set(vectors.index_to_key) == set(words) - {"[PAD]", "[UNK]"}
    counts = [vectors.get_vecattr(word, "count") for word in vectors.index_to_key]
    assert counts == [tokenizer.init_kwargs["token_counts"][words[w]] for w in vectors.index_to_key]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1
    assert vectors.vectors.dtype == np.float32 and np.isfinite(vectors.vectors).all()


@algorithms
def test_the_same_seed_gives_the_same_vectors_on_one_worker(options, mails, tokenizer):
    first, again, other = (train(mails, tokenizer, seed=seed, **options) for seed in (1, 1, 2))
    assert first.index_to_key == again.index_to_key
    assert np.array_equal(first.vectors, again.vectors)
    assert not np.array_equal(first.vectors, other.vectors)


def sentences(fillers):
    """Sentences of two kinds, with one of the fillers of the kind in each."""
    rng = np.random.default_rng(0)
    frames = ["please {} the report by noon", "{} flew over a lake yesterday"]
    return [frames[kind].format(rng.choice(fillers[kind])) for kind in rng.integers(2, size=3000)]


@pytest.mark.parametrize("algorithm", ["skip-gram", "cbow"])
def test_words_with_the_same_neighbours_become_alike(algorithm):
    texts = sentences([["send", "mail"], ["geese", "ducks"]])
    vectors = train(texts, build_vocabulary(texts), algorithm=algorithm, dim=10, epochs=10)
    assert vectors.similarity("send", "mail") > vectors.similarity("send", "geese") + 0.3
    assert vectors.similarity("geese", "ducks") > vectors.similarity("mail", "ducks") + 0.3


def test_subwords_give_a_word_that_does_not_occur_the_vector_of_its_parts():
    texts = sentences([["message", "messaging"], ["birdie", "birdies"]])
    tokenizer = build_vocabulary([*texts, "messages birdy"], min_frequency=1)
    vectors = train(texts, tokenizer, subwords=True, dim=10, epochs=10)
    assert vectors.get_vecattr("messages", "count") == vectors.get_vecattr("birdy", "count") == 0
    assert vectors.similarity("messages", "message") > vectors.similarity("messages", "birdie")
    assert vectors.similarity("birdy", "birdies") > vectors.similarity("birdy", "messaging")


def test_the_vectors_are_saved_and_aligned_to_the_vocabulary(mails, tokenizer, tmp_path):
    vectors = train(mails, tokenizer)
    save_vectors(tmp_path / "vectors.txt", vectors.index_to_key, vectors.vectors)
    aligned = align(tokenizer, open_vectors(tmp_path))
    assert aligned.coverage.types == 1
    word = tokenizer.get_vocab()["the"]
    assert np.array_equal(aligned.matrix[word], vectors["the"])


def test_a_text_is_read_once_and_may_come_from_a_generator(mails, tokenizer):
    streamed = train((text for text in mails), tokenizer)
    assert np.array_equal(streamed.vectors, train(mails, tokenizer).vectors)


def test_a_long_text_is_learnt_from_to_its_end():
    end = sentences([["send", "mail"], ["geese", "ducks"]])
    text = " ".join(["one two three"] * 4000 + end)
    tokenizer = build_vocabulary([text])
    tokenizer(text, truncation=True, max_length=2)  # which the tokenizer remembers
    vectors = train([text], tokenizer, dim=10, epochs=10)
    assert vectors.similarity("send", "mail") > vectors.similarity("send", "geese") + 0.2


def test_what_cannot_be_learnt_from_is_refused(tokenizer):
    with pytest.raises(InputError, match="hold no word of the vocabulary"):
        train(["zzqx", ""], tokenizer)
    with pytest.raises(InputError, match="epochs is 0; give 1 or more"):
        train(["the mail"], tokenizer, epochs=0)


def test_nothing_temporary_has_a_name_that_a_kill_would_leave(tokenizer, tmp_path, monkeypatch):
    def killed(*args, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Word2Vec, "train", killed)
    process = get_context("fork").Process(target=train, args=(["the mail"], tokenizer))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())
