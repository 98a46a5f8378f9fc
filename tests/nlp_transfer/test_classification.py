"""A recurrent classifier in stages: what is scored is what was trained, text by text."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline, set_seed

from nlp_transfer import align, build_vocabulary, open_vectors
from nlp_transfer.candidates import WordVectorCandidate
from nlp_transfer.classification import TextTrainer, staged_text_trainer
from nlp_transfer.models import RecurrentForSequenceClassification
from nlp_transfer.text_task import read_task
from staged_training import InputError, Stage
from staged_training.experiment.candidate import Round

STAGES = [
    Stage("frozen embedding", train="backbone[1:], head", epochs=1, learning_rate=1e-3),
    Stage("fine-tuned", train="backbone, head", epochs=2, learning_rate=5e-3),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Texts of very different lengths that tell their labels."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("task") / "texts.parquet"
    labels = ["urgent", "other", "other"] * 60
    texts = [
        " ".join([*rng.choice(["we", "meet", "here"], 1 + i % 40), word])
        for i, word in enumerate({"urgent": "today", "other": "someday"}[name] for name in labels)
    ]
    folds = [i // 60 for i in range(180)]
    pd.DataFrame({"text": texts, "label": labels, "fold": folds}).to_parquet(path)
    return read_task(path)


@pytest.fixture(scope="module")
def trained(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    vectors = open_vectors("glove-6b-50d")
    net = WordVectorCandidate(name="net", task=task, vectors=vectors, stages=STAGES)
    outcomes = net.evaluate(Round(0, 0, task.split(0)), folder)
    tokenizer = build_vocabulary(task.parts(0)[0].texts, min_frequency=1)
    set_seed(0)  # words without a vector are drawn
    return folder / "models", align(tokenizer, vectors).matrix, outcomes


def test_each_stage_scores_on_validation_what_chose_its_epoch(trained):
    _, _, outcomes = trained
    for item in outcomes:
        best = item.stages[-1]["best_score"]
        assert item.validation["average_precision"] == pytest.approx(best, abs=1e-6)
    assert [len(item.stages) for item in outcomes] == [1, 2]
    assert {entry["stage"] for entry in outcomes[0].log} == {"frozen embedding"}
    assert outcomes[1].seconds > outcomes[0].seconds


def test_the_saved_model_gives_each_text_its_own_score(trained, task):
    folder, _, outcomes = trained
    test = task.parts(0)[2]
    for item in outcomes:
        classify = pipeline("text-classification", model=str(folder / item.model), top_k=None)
        assert classify.model.config.positive_label == "urgent"
        for text, row in list(zip(test.texts, item.probabilities, strict=True))[::7]:
            scores = {score["label"]: score["score"] for score in classify(text)[0]}
            assert scores["urgent"] == pytest.approx(row[task.target.positive], abs=1e-4)


def test_the_frozen_embedding_is_e_t_and_the_tuned_one_is_not(trained):
    folder, matrix, outcomes = trained
    assert outcomes[1].stages[1]["best_epoch"]
    embedding = {
        name: pipeline("text-classification", model=str(folder / name)).model.embedding_matrix()
        for name in ("net, frozen embedding", "net, fine-tuned")
    }
    assert np.array_equal(embedding["net, frozen embedding"], matrix)
    assert not np.array_equal(embedding["net, fine-tuned"], matrix)
    assert not embedding["net, fine-tuned"][0].any()  # padding


def test_a_stage_that_left_the_model_as_it_was_is_not_scored_again(task, tmp_path, monkeypatch):
    calls, predict = [], TextTrainer.predict
    monkeypatch.setattr(
        TextTrainer,
        "predict",
        lambda *args, **options: calls.append(1) or predict(*args, **options),
    )
    vectors = open_vectors("glove-6b-50d")
    stages = [STAGES[0], Stage("fine-tuned", "backbone, head", epochs=1, learning_rate=1e-12)]
    net = WordVectorCandidate(name="net", task=task, vectors=vectors, stages=stages)
    before, after = net.evaluate(Round(0, 0, task.split(0)), tmp_path)
    assert after.undone and not before.undone
    assert len(calls) == 2  # validation and test, once
    assert (after.model, len(after.stages)) == ("net, fine-tuned", 2)
    assert after.probabilities == before.probabilities and after.metrics == before.metrics
    weights = [
        (tmp_path / "models" / found.model / "model.safetensors").read_bytes()
        for found in (before, after)
    ]
    assert weights[0] == weights[1]


def test_training_the_vectors_with_new_layers_first_is_refused(task, tmp_path):
    train, validation, _ = task.parts(0)
    tokenizer = build_vocabulary(train.texts, min_frequency=1)
    model = RecurrentForSequenceClassification.from_aligned(
        torch.randn(len(tokenizer), 8), task.names
    )
    with pytest.raises(InputError, match=r"trains pretrained layers .* before the new layers"):
        staged_text_trainer(
            model, tokenizer, STAGES[1:], train, validation, task.target, tmp_path / "run", seed=0
        )
    assert not (tmp_path / "run").exists()
