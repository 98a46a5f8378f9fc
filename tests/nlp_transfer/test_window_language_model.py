"""The neural probabilistic language model: its contexts, its losses, its stream, its training."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModel, set_seed

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.language_models import (
    Context,
    WindowLanguageModel,
    WindowLanguageModelConfig,
    perplexity,
    train_window_model,
    window,
)
from nlp_transfer.language_models.contexts import windows
from nlp_transfer.language_models.sampled_softmax import proposal_distribution, sampled_softmax_loss
from nlp_transfer.language_models.window_stream import WindowStream, count_words, joined
from nlp_transfer.word_vectors import save_vectors
from staged_training import InputError

MESSAGES = Path(__file__).parents[2] / "recipes" / "data" / "email_urgency" / "messages.parquet"
FIXED = ["previous 1", "previous 5", "around 1", "around 3", "last"]
texts_of_numbers = st.lists(st.lists(st.integers(1, 50), max_size=9), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def texts():
    return pd.read_parquet(MESSAGES)["text"].head(400).tolist()


@pytest.fixture(scope="module")
def tokenizer(texts):
    return build_vocabulary(texts)


def windows_of(texts, context, seed=0):
    ids = np.array([number for text in texts for number in text], np.int32)
    lengths = np.array([len(text) for text in texts], np.int32)
    return windows(ids, lengths, Context.parse(context), 0, np.random.default_rng(seed))


def model(**options):
    set_seed(0)
    config = WindowLanguageModelConfig(
        vocab_size=40, embedding_size=6, hidden_size=8, context="previous 3", **options
    )
    return WindowLanguageModel(config).eval()


CONTEXTS = torch.tensor([[0, 0, 5], [3, 9, 2], [7, 7, 1]])
WORDS = torch.tensor([4, 8, 39])


# Contexts


@pytest.mark.parametrize("form", [*FIXED, "nearby 4"])
def test_a_context_is_written_as_it_is_read(form):
    assert str(Context.parse(form)) == form


@pytest.mark.parametrize("form", ["", "previous", "previous 0", "previous -1", "last 2", "next 3"])
def test_what_is_no_context_is_refused_with_those_there_are(form):
    with pytest.raises(ValueError, match="choose `previous N`, `around N`, `last` or `nearby N`"):
        Context.parse(form)


@given(texts_of_numbers, st.sampled_from(FIXED))
def test_a_word_is_predicted_from_the_words_around_it_and_padding_beyond_the_text(texts, form):
    kind, _, size = form.partition(" ")
    size = int(size or 1)
    expected = []
    for text in texts:
        for place in range(len(text)):
            offsets = range(-size, size + 1 if kind == "around" else 0)
            around = [place + offset for offset in offsets if offset]
            expected.append([text[i] if 0 <= i < len(text) else 0 for i in around])
    contexts, words = windows_of(texts, form)
    assert contexts.tolist() == expected
    assert words.tolist() == [number for text in texts for number in text]


@given(texts_of_numbers, st.integers(1, 4), st.integers(0, 99))
def test_a_nearby_word_is_another_word_of_the_same_text(texts, size, seed):
    # Each word is made unlike all others, so that the one drawn can be told.
    numbers = itertools.count(1)
    texts = [[next(numbers) for _ in text] for text in texts]
    contexts, words = windows_of(texts, f"nearby {size}", seed)
    text_of = {number: text for text in texts for number in text}
    for drawn, word in zip(contexts[:, 0].tolist(), words.tolist(), strict=True):
        if len(text_of[word]) == 1:
            assert drawn == 0
        else:
            assert drawn in text_of[word] and 1 <= abs(drawn - word) <= size


def test_each_nearby_word_is_drawn_as_often_as_the_others():
    contexts, _ = windows_of([[1, 2, 3, 4, 5]] * 4000, "nearby 2")
    around_third = contexts.reshape(4000, 5)[:, 2]
    assert np.bincount(around_third, minlength=6)[[1, 2, 4, 5]] / 4000 == pytest.approx(
        [0.25] * 4, abs=0.03
    )


# The model


def test_a_saved_model_loads_through_the_auto_classes_and_carries_its_code(tmp_path):
    saved = model(sampled_words=5)
    saved.load_counts(torch.arange(40))
    saved.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is WindowLanguageModel
    assert torch.equal(loaded(CONTEXTS).logits, saved(CONTEXTS).logits)
    assert torch.equal(loaded.proposal, saved.proposal)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()
    code = {"modeling_window.py", "configuration_window.py", "contexts.py", "sampled_softmax.py"}
    assert code <= {path.name for path in tmp_path.iterdir()}


def test_an_unknown_context_is_refused_by_the_configuration():
    with pytest.raises(Exception, match="'next 2' is not a context"):
        WindowLanguageModelConfig(context="next 2")


def test_the_loss_is_the_cross_entropy_of_the_logits_and_padding_is_never_predicted():
    output = model()(CONTEXTS, labels=WORDS)
    shares = output.logits.softmax(1)
    assert shares[:, 0].tolist() == [0, 0, 0]
    assert output.loss.item() == pytest.approx(-shares[range(3), WORDS].log().mean().item())


def test_training_starts_at_the_unigram_model():
    counts = torch.arange(1, 41)
    counts[0] = 0
    new = model()
    new.load_counts(counts)
    new.output.weight.data.zero_()
    shares = new(CONTEXTS).logits.softmax(1)
    torch.testing.assert_close(shares[0], counts / counts.sum(), atol=1e-6, rtol=1e-4)


def test_the_embedding_becomes_word_vectors_that_align(tokenizer, tmp_path):
    words = [word for word in tokenizer.get_vocab() if word not in tokenizer.all_special_tokens]
    trained = WindowLanguageModel(WindowLanguageModelConfig(vocab_size=len(tokenizer)))
    matrix = trained.embedding_matrix()
    rows = matrix[tokenizer.convert_tokens_to_ids(words)]
    save_vectors(tmp_path / "vectors.txt", words, rows)
    aligned = align(tokenizer, open_vectors(tmp_path / "vectors.txt"))
    assert aligned.coverage.types == 1
    assert np.array_equal(aligned.matrix[2:], matrix[2:])
    matrix[:] = 0  # a copy
    assert trained.embedding_matrix()[2:].any()


# Sampled softmax


def gradients(loss_of, draws):
    """The mean gradients of the output layer and its input over some draws, in one vector."""
    torch.manual_seed(0)
    states = torch.randn(6, 8, requires_grad=True)
    output = torch.nn.Linear(8, 60)
    with torch.no_grad():
        output.weight *= 2
    labels = torch.tensor([1, 2, 2, 20, 40, 59])
    counts = 600 / torch.arange(1, 61)
    total = 0
    for _ in range(draws):
        parameters = [states, output.weight, output.bias]
        got = torch.autograd.grad(loss_of(states, output, labels, counts), parameters)
        total = total + torch.cat([gradient.flatten() for gradient in got])
    return total / draws


def sampled(samples, uncorrected=False):
    def loss_of(states, output, labels, counts):
        proposal = proposal_distribution(counts, None)
        if not uncorrected:
            return sampled_softmax_loss(states, output, labels, proposal, samples)
        drawn = torch.multinomial(proposal, samples, replacement=True)
        logits = output(states)[:, drawn].masked_fill(labels[:, None] == drawn, -torch.inf)
        target = output(states).gather(1, labels[:, None])
        return (torch.cat([target, logits], 1).logsumexp(1) - target[:, 0]).mean()

    return loss_of


def exact(states, output, labels, counts):
    return torch.nn.functional.cross_entropy(output(states), labels)


def test_the_gradient_of_the_sampled_loss_comes_to_the_exact_one_as_samples_grow():
    true = gradients(exact, 1)

    def error(samples, draws, **options):
        mean = gradients(sampled(samples, **options), draws)
        return ((mean - true).norm() / true.norm()).item()

    errors = [error(5, draws=1000), error(50, draws=600), error(500, draws=300)]
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2
    assert errors[2] < 0.02
    # Without the correction it goes elsewhere, however many samples there are.
    assert error(500, draws=100, uncorrected=True) > 0.2


def test_padding_is_never_drawn_and_unseen_words_may_be():
    proposal = proposal_distribution(torch.tensor([9, 0, 16]), pad_token_id=0)
    assert proposal.tolist() == pytest.approx([0, 1 / 9, 8 / 9])


def test_sampling_is_for_training_and_evaluation_is_exact():
    sampling = model(sampled_words=5)
    assert sampling(CONTEXTS, WORDS).loss == model()(CONTEXTS, WORDS).loss
    output = sampling.train()(CONTEXTS, WORDS)
    assert output.logits is None and output.loss.requires_grad


# The stream


def all_windows(stream, workers):
    loader = DataLoader(stream, batch_size=1, collate_fn=joined, num_workers=workers)
    batches = list(loader)
    assert len(batches) <= len(stream)
    rows = [torch.cat([b["input_ids"], b["labels"][:, None]], dim=1) for b in batches]
    return batches, torch.cat(rows).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_every_window_is_seen_once_in_an_epoch(texts, tokenizer, workers, monkeypatch):
    monkeypatch.setattr("nlp_transfer.language_models.window_stream.CHARACTERS_AT_ONCE", 3000)
    monkeypatch.setattr("nlp_transfer.language_models.window_stream.WINDOWS_TO_SHUFFLE", 2000)
    words = count_words(texts, tokenizer, "texts")
    contexts, targets = windows_of(tokenizer(texts)["input_ids"], "around 2")
    expected = sorted(np.concatenate([contexts, targets[:, None]], axis=1).tolist())
    stream = WindowStream(
        texts, tokenizer, Context.parse("around 2"), 64, words=words, workers=workers, shuffle=True
    )
    batches, first = all_windows(stream, workers)
    assert sorted(first) == expected
    assert sum(len(batch["labels"]) < 64 for batch in batches) <= max(1, workers)
    assert all_windows(stream, workers)[1] == first
    stream.set_epoch(1)
    _, second = all_windows(stream, workers)
    assert second != first and sorted(second) == expected


def test_texts_are_never_held_as_a_whole(tokenizer, monkeypatch):
    monkeypatch.setattr("nlp_transfer.language_models.window_stream.WINDOWS_TO_SHUFFLE", 2000)

    class Endless:
        def __iter__(self):
            return itertools.repeat("Please call me back about the meeting today .")

    stream = WindowStream(Endless(), tokenizer, Context("last"), 64, shuffle=True)
    assert len(list(itertools.islice(stream, 5000))) == 5000


# Training


def test_training_beats_the_unigram_model_and_ends_with_the_best_epoch(texts, tokenizer, tmp_path):
    train, held_out = texts[:350], texts[350:]
    trained = train_window_model(
        train,
        tokenizer,
        output_dir=tmp_path / "model",
        epochs=4,
        batch_size=128,
        learning_rate=5e-3,
        validation=held_out,
    )
    counts = torch.tensor(tokenizer.init_kwargs["token_counts"])
    unigram = WindowLanguageModel(trained.config)
    unigram.load_counts(counts)
    unigram.output.weight.data.zero_()
    reached = perplexity(trained, held_out, tokenizer)
    assert reached < 0.8 * perplexity(unigram, held_out, tokenizer)

    state = json.loads((tmp_path / "model" / "trainer_state.json").read_text())
    measured = [entry["perplexity"] for entry in state["log_history"] if "perplexity" in entry]
    assert len(measured) == 4
    assert reached == pytest.approx(min(measured))
    loaded = AutoModel.from_pretrained(tmp_path / "model")
    assert perplexity(loaded, held_out, tokenizer) == pytest.approx(reached)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("context", ["around 2", "last", "nearby 3"])
def test_the_same_seed_gives_the_same_weights(texts, tokenizer, context, tmp_path):
    def train(seed, workers=0):
        options = {"context": context, "seed": seed, "sampled_words": 50, "workers": workers}
        return train_window_model(texts[:40], tokenizer, output_dir=tmp_path, **options)

    first = train(1).embedding_matrix()
    assert np.array_equal(train(1).embedding_matrix(), first)
    assert not np.array_equal(train(2).embedding_matrix(), first)


def test_workers_train_on_all_words(texts, tokenizer, tmp_path):
    train_window_model(texts, tokenizer, output_dir=tmp_path, workers=2, sampled_words=50)
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    words = count_words(texts, tokenizer, "texts")
    assert state["num_input_tokens_seen"] == 5 * words


def test_a_large_vocabulary_is_sampled(texts, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(window, "EXACT_SOFTMAX_WORDS", len(tokenizer) - 1)
    trained = train_window_model(texts[:20], tokenizer, output_dir=tmp_path)
    assert trained.config.sampled_words == window.SAMPLED_WORDS
    monkeypatch.setattr(window, "EXACT_SOFTMAX_WORDS", len(tokenizer))
    assert train_window_model(texts[:20], tokenizer, output_dir=tmp_path).config.sampled_words == 0


def test_unknown_words_count_in_the_perplexity(tokenizer):
    uniform = WindowLanguageModel(WindowLanguageModelConfig(vocab_size=len(tokenizer)))
    uniform.output.weight.data.zero_()
    uniform.output.bias.data.zero_()
    uniform.output.bias.data[tokenizer.unk_token_id] = math.log(7)
    uniform.double()  # in 32 bits the rounding of the loss depends on the processor
    total = len(tokenizer) - 2 + 7
    assert perplexity(uniform, ["qqq call"], tokenizer) == pytest.approx(total / math.sqrt(7))


@pytest.mark.parametrize(
    "bad, message",
    [
        ([], "texts: 0 words, and no text of two words"),
        (["call"], "texts: 1 words, and no text of two words"),
        (["", " "], "texts: 0 words"),
        (["qqq zzz", "xxx"], "knows none of the 3 words"),
        ("call me", "read again and again, such as a list, not a single text"),
        (iter(["call me"]), "not an iterator"),
        (["call me", None], "texts: number 1 is None, expected a string"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(bad, message, tokenizer, tmp_path):
    with pytest.raises(InputError, match=message):
        train_window_model(bad, tokenizer, output_dir=tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_unknown_context_is_refused_before_training(texts, tokenizer, tmp_path):
    with pytest.raises(InputError, match="context: 'next 2' is not a context"):
        train_window_model(texts, tokenizer, output_dir=tmp_path, context="next 2")


@pytest.mark.parametrize("option", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}])
def test_a_number_that_cannot_be_used_is_refused_by_name(option, texts, tokenizer, tmp_path):
    with pytest.raises(InputError, match=f"{next(iter(option))}: expected a number above 0"):
        train_window_model(texts, tokenizer, output_dir=tmp_path, **option)
