"""An encoder tuned by pairs of few texts, before a linear head is fitted to it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer.contrastive import (
    BATCH,
    TEMPERATURE,
    ContrastiveCandidate,
    _Reader,
    balanced_batches,
    contrastive_loss,
)
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.text_task import read_task
from staged_training.experiment.candidate import Round
from staged_training.reporting.onnx_export import export_onnx
from tests.processes import finished, launch
from tests.small_models import without_dropout
from transfer_app.command_line import main

TOPICS = {
    "food": ["The soup was warm and sweet.", "We ate bread and cheese.", "A cake with cream."],
    "sky": ["The moon rose over the sea.", "A star fell last night.", "Clouds hid the sun."],
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    rows = [
        {"text": f"{text} {more}", "label": label}
        for label, texts in TOPICS.items()
        for text in texts
        for more in ("Really.", "So they said.", "I saw it.", "It was late.")
    ]
    file = tmp_path_factory.mktemp("data") / "texts.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return read_task(file)


@pytest.fixture(scope="module")
def tuned(task, tmp_path_factory):
    """A candidate, its round, what came of it, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    candidate = ContrastiveCandidate(task=task, base="bert", cache=folder, steps=3)
    round_ = Round(0, 0, task.split(0))
    (outcome,) = candidate.evaluate(round_, folder)
    return candidate, round_, outcome, folder


def test_the_loss_is_that_of_the_paper():
    torch.manual_seed(0)
    features, labels = torch.randn(6, 5), torch.tensor([0, 1, 0, 2, 1, 0])
    normal = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    losses = []
    for i, label in enumerate(labels):
        others = [a for a in range(6) if a != i]
        total = sum(np.exp(normal[i] @ normal[a] / TEMPERATURE) for a in others)
        alike = [p for p in others if labels[p] == label]
        logs = [np.log(np.exp(normal[i] @ normal[p] / TEMPERATURE) / total) for p in alike]
        losses.append(-sum(logs) / max(1, len(alike)))
    assert contrastive_loss(features, labels).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_short_text_is_read_as_if_the_long_ones_of_its_batch_were_not_there():
    model, tokenizer = load_encoder_classifier("bert", ["a", "b"], seed=0, head="linear")
    texts = [f"Text {number}, " + "and more " * (number * 7 % 23) for number in range(20)]
    inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    read = []

    def alone(text):
        own = tokenizer(text, return_tensors="pt")
        return model.head_inputs(own["input_ids"], own["attention_mask"])

    model.encoder.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].shape), with_kwargs=True
    )
    with torch.no_grad():
        of_each = [alone(text) for text in texts]
        read.clear()
    reader = without_dropout(_Reader(model.config, model.encoder)).train()
    found = reader(**inputs).logits.detach()
    assert sum(rows for rows, _ in read) == len(texts)
    assert sum(rows * tokens for rows, tokens in read) < 0.8 * inputs["input_ids"].numel()
    torch.testing.assert_close(found, torch.cat(of_each), rtol=0, atol=1e-5)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=80), st.integers(1, 3))
def test_every_text_of_a_batch_has_another_of_its_label(labels, steps):
    labels = np.array(labels)
    batches = balanced_batches(labels, steps, seed=0)
    assert batches.shape == (steps, BATCH)
    for batch in batches:
        counts = np.unique_counts(labels[batch]).counts
        assert counts.min() >= 2


def test_the_layers_above_the_embedding_are_tuned_and_the_head_fits_them(tuned):
    candidate, _, outcome, folder = tuned
    saved = AutoModelForSequenceClassification.from_pretrained(folder / "models" / candidate.name)
    base, _ = load_encoder_classifier("bert", candidate.task.names, seed=0, head="linear")
    found, expected = saved.encoder.state_dict(), base.encoder.state_dict()
    moved = {name for name in expected if not torch.equal(found[name], expected[name])}
    assert moved
    assert not any(name.startswith("embeddings") for name in moved)
    assert outcome.metrics["accuracy"] == 1


def test_the_saved_model_predicts_what_was_scored(tuned):
    candidate, round_, outcome, folder = tuned
    texts = [candidate.task.all.texts[row] for row in round_.split.test]
    classify = pipeline(
        "text-classification", model=str(folder / "models" / candidate.name), top_k=None
    )
    for found, expected in zip(classify(texts), outcome.probabilities, strict=True):
        scores = {entry["label"]: entry["score"] for entry in found}
        np.testing.assert_allclose(
            [scores[name] for name in candidate.task.names], expected, atol=1e-3
        )


def test_it_is_exported_with_the_one_layer_that_it_reads(tuned, tmp_path):
    candidate, _, _, folder = tuned
    saved = folder / "models" / candidate.name
    model = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    assert len(model.config.layers) == 1
    inputs = AutoTokenizer.from_pretrained(saved)(TOPICS["sky"], padding=True, return_tensors="pt")
    batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    assert export_onnx(model, [batch], tmp_path / "model.onnx").difference < 1e-5


@pytest.mark.slow
def test_two_processes_tune_it_as_one_does(task, tmp_path):
    flags = ["text-classifier", "--data", str(task.source), "--quick", "--output-dir"]
    assert main(["run", *flags, str(tmp_path / "one")]) == 0
    run = launch(2, "-m", "transfer_app.command_line", "run", *flags, str(tmp_path / "two"))
    finished(run)
    rows = [
        json.loads((tmp_path / name / "report" / "results.json").read_text())["rows"]
        for name in ("one", "two")
    ]
    assert rows[0][-1]["name"] == "bert, tuned by pairs"
    assert [row["metrics"] for row in rows[0]] == [row["metrics"] for row in rows[1]]
    models = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    assert models[0].keys() == models[1].keys()
    for name, tensor in models[0].items():
        torch.testing.assert_close(tensor, models[1][name], rtol=0, atol=1e-5)


def test_it_is_trained_once_more_on_all_texts(tuned, tmp_path):
    candidate, _, outcome, _ = tuned
    candidate.refit(np.arange(len(candidate.task.folds)), [outcome], 0, tmp_path)
    found = pipeline("text-classification", model=str(tmp_path / "model"))(TOPICS["sky"])
    assert [entry["label"] for entry in found] == ["sky"] * 3
