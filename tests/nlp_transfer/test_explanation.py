"""Which words spoke for a label: attributions that add up, and belong to the words of the text."""

from itertools import pairwise

import pytest
import torch
from transformers import set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.explanation import explain
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification

TEXT = "Please call me before NOON, the server is (again) unreachable."
NAMES = ["non-urgent", "urgent"]


def recurrent():
    tokenizer = build_vocabulary([TEXT, "Lunch on the terrace?"], min_frequency=1)
    set_seed(0)
    config = RecurrentConfig(vocab_size=len(tokenizer), embedding_size=8, hidden_size=8)
    return RecurrentForSequenceClassification(config).eval(), tokenizer


def encoder():
    model, tokenizer = load_encoder_classifier("bert", NAMES, seed=0)
    return model.eval(), tokenizer


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]


def log_odds(model, ids):
    non_urgent, urgent = logits_of(model, ids)
    return (urgent - non_urgent).item()


def test_the_words_add_up_to_the_difference_to_a_text_of_padding():
    model, tokenizer = recurrent()
    words = explain(model, tokenizer, TEXT, label=1)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    padding = torch.full_like(ids, tokenizer.pad_token_id)
    difference = log_odds(model, ids) - log_odds(model, padding)
    assert sum(word.attribution for word in words) == pytest.approx(difference, abs=0.02)
    against = explain(model, tokenizer, TEXT, label=0)
    assert [w.attribution for w in against] == pytest.approx([-w.attribution for w in words])


@pytest.mark.parametrize(
    "problem_type, names", [("multi_label_classification", NAMES), ("regression", ["minutes"])]
)
def test_the_words_of_one_of_several_labels_or_a_number_add_up_to_its_logit(problem_type, names):
    model, tokenizer = recurrent()
    model.config.problem_type = problem_type
    model.new_head(names)
    words = explain(model.eval(), tokenizer, TEXT, label=len(names) - 1)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    padding = torch.full_like(ids, tokenizer.pad_token_id)
    wanted = (logits_of(model, ids) - logits_of(model, padding))[-1].item()
    assert sum(word.attribution for word in words) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("make", [recurrent, encoder])
def test_words_are_those_of_the_text_in_order(make):
    model, tokenizer = make()
    words = explain(model, tokenizer, TEXT, label=1)
    spans = [TEXT[word.start : word.end] for word in words]
    assert [span for span in spans if span.isalpha()] == (
        ["Please", "call", "me", "before", "NOON", "the", "server", "is", "again", "unreachable"]
    )
    assert all(before.end <= after.start for before, after in pairwise(words))


def test_a_text_longer_than_a_window_is_explained_to_its_end():
    model, tokenizer = encoder()
    model.config.window = 16
    words = explain(model, tokenizer, 3 * (TEXT + " "), label=1)
    assert [TEXT[word.start : word.end] for word in words[:2]] == ["Please", "call"]
    assert len(words) == 3 * len(explain(model, tokenizer, TEXT, label=1))


def test_a_text_without_words_has_nothing_to_explain():
    assert explain(*recurrent(), "", label=1) == []


def test_the_model_is_left_as_it_was():
    model, tokenizer = recurrent()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explain(model, tokenizer, TEXT, label=1)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
