"""A linear head of a frozen encoder, fitted once to features of every text."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer import linear_head
from nlp_transfer.contrastive import tuned_by_pairs
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.linear_head import LinearHeadCandidate, unit_means
from nlp_transfer.text_task import read_task
from staged_training.experiment.candidate import Round
from staged_training.reporting.onnx_export import export_onnx
from tests.small_data import small_messages

WORDS = ["server", "call", "report"]


def of_one_label(texts):
    return {"label": texts.label}


def of_several_labels(texts):
    return {"label": [[word for word in WORDS if word in text] for text in texts.text]}


def of_numbers(texts):
    return {"label": texts.text.str.len() * 10.0 + 500}


KINDS = {
    "one": (of_one_label, "classification"),
    "several": (of_several_labels, "classification"),
    "number": (of_numbers, "regression"),
}


@pytest.fixture(scope="module", params=KINDS)
def task(request, tmp_path_factory):
    values, kind = KINDS[request.param]
    texts = small_messages().groupby("label").head(30).reset_index(drop=True)
    texts["text"] = [
        f"{text} {WORDS[row % 3]} {WORDS[row % 2]}" for row, text in enumerate(texts.text)
    ]
    file = tmp_path_factory.mktemp("data") / "texts.parquet"
    pd.DataFrame({"text": texts.text, **values(texts)}).to_parquet(file)
    return read_task(file, task=kind)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def fitted(task, cache, tmp_path_factory):
    """A candidate, its round, what came of it, and its model."""
    candidate = LinearHeadCandidate(task=task, base="bert", cache=cache)
    folder = tmp_path_factory.mktemp("run")
    candidate.prepare()
    round_ = Round(0, 0, task.split(0))
    (outcome,) = candidate.evaluate(round_, folder)
    return candidate, round_, outcome, folder / "models" / candidate.name


def test_the_saved_model_predicts_what_was_scored(fitted):
    candidate, round_, outcome, folder = fitted
    texts = [candidate.task.all.texts[row] for row in round_.split.test]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(inputs["input_ids"], inputs["attention_mask"]).logits
    found = candidate.task.target.predictions(logits.numpy())
    expected = np.array(outcome.probabilities)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    if candidate.task.target.problem_type != "regression":
        classify = pipeline("text-classification", model=str(folder), top_k=None)
        scores = {entry["label"]: entry["score"] for entry in classify(texts[:1])[0]}
        named = [scores[name] for name in candidate.task.names]
        np.testing.assert_allclose(named, expected[0], atol=1e-3)


def test_the_encoder_reads_each_text_once_for_all_folds(task, tmp_path, monkeypatch):
    reads = []
    load = load_encoder_classifier

    def counted(*args, **kwargs):
        model, tokenizer = load(*args, **kwargs)
        read = model.head_inputs
        model.head_inputs = lambda ids, mask: reads.append(len(ids)) or read(ids, mask)
        return model, tokenizer

    monkeypatch.setattr("nlp_transfer.text_features.load_encoder_classifier", counted)
    candidate = LinearHeadCandidate(task=task, base="bert", cache=tmp_path / "features")
    for fold in (0, 1):
        candidate.evaluate(Round(fold, 0, task.split(fold)), tmp_path / str(fold))
    assert sum(reads) == len(task.all.texts)


def test_it_is_fitted_once_more_to_all_texts(fitted, tmp_path):
    candidate, _, outcome, _ = fitted
    rows = np.arange(len(candidate.task.folds))
    candidate.refit(rows, [outcome, outcome], 0, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert model.head.weight.isfinite().all()
    assert (tmp_path / "model" / "modeling_pooled_head.py").exists()
    assert (tmp_path / "model" / "modeling_encoder_head.py").exists()


def test_the_base_is_that_which_was_loaded_to_the_bit(fitted):
    model = AutoModelForSequenceClassification.from_pretrained(fitted[3])
    loaded, _ = load_encoder_classifier("bert", ["no", "yes"], seed=0, head="linear")
    expected = loaded.encoder.state_dict()
    found = model.encoder.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_features_are_mean_and_maximum_of_each_layer_whatever_the_padding():
    model, tokenizer = load_encoder_classifier("bert", ["no", "yes"], seed=0, head="linear")
    texts = ["Call me.", "The server is down, call me before noon.", ""]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model.head_inputs(inputs["input_ids"], inputs["attention_mask"])
        for row, text in enumerate(texts):
            own = tokenizer(text, return_tensors="pt")
            own.pop("token_type_ids")
            layers = model.encoder(**own, output_hidden_states=True).hidden_states
            means, maxima = ([f(layer[0]) for layer in layers] for f in (mean, maximum))
            expected = torch.cat([*means, *maxima])
            torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-5)
        inputs["attention_mask"][0] = 0  # as of a tokenizer without special tokens
        assert model(inputs["input_ids"], inputs["attention_mask"]).logits.isfinite().all()


def test_means_of_length_one_are_the_same_in_a_model_and_for_the_head_that_is_fitted():
    model, tokenizer = load_encoder_classifier("bert", ["no", "yes"], seed=0, head="linear")
    inputs = tokenizer(["Call me.", "The server is down."], padding=True, return_tensors="pt")
    read = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        plain = model.head_inputs(*read)
        model.config.unit_means = True
        found = model.head_inputs(*read)
    means, maxima = found.view(2, 2, -1, 384).unbind(1)  # 7 layers, 384 wide
    torch.testing.assert_close(means.norm(dim=-1), torch.ones(2, 7))
    assert torch.equal(maxima.flatten(1), plain[:, plain.shape[1] // 2 :])
    expected = plain.numpy().copy()
    unit_means(expected, 384)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def mean(layer):
    return layer.mean(0)


def maximum(layer):
    return layer.amax(0)


def test_it_can_be_exported(fitted, tmp_path):
    """Features that are nearly constant would get weights whose products are rounded off."""
    model = AutoModelForSequenceClassification.from_pretrained(fitted[3]).eval()
    tokenizer = AutoTokenizer.from_pretrained(fitted[3])
    batches = []
    for texts in (["Call me.", "The server is down, call me before noon."], ["Hello"]):
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        batches.append({name: inputs[name] for name in ("input_ids", "attention_mask")})
    assert export_onnx(model, batches, tmp_path / "model.onnx").difference < 1e-5


def test_rare_labels_are_raised_by_the_loss_or_by_the_decision(tmp_path):
    file = tmp_path / "texts.csv"
    texts = small_messages().text.head(30)
    pd.DataFrame({"text": texts, "label": WORDS * 10}).to_csv(file, index=False)
    task = read_task(file)
    linear = LinearHeadCandidate(task=task, base="bert", cache=tmp_path, class_weight="balanced")
    round_ = Round(0, 0, task.split(0))
    (frozen,) = linear.evaluate(round_, tmp_path / "frozen")
    (tuned,) = tuned_by_pairs(linear).quick().evaluate(round_, tmp_path / "tuned")
    assert not any(frozen.decision_bias)
    assert all(tuned.decision_bias)


def test_its_row_says_what_it_is(fitted):
    candidate, _, outcome, _ = fitted
    assert candidate.row_names() == [outcome.model] == ["bert, linear head"]
    assert candidate.refits(outcome.model, len(candidate.task.folds))
    assert {trial["settings"]["C"] for trial in outcome.grid} == set(linear_head.CS)
