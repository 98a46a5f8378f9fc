"""Hints are exact: what words and places add is what the model says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nlp_transfer.text_features import encoder_features, word_contributions
from recipes.pet_classifier import DATA as PETS
from staged_training.runtime.photos import load_rgb
from transfer_app.label.answers import Answers
from transfer_app.label.hints import said_of, words_of
from transfer_app.label.labelling import Labelling
from transfer_app.label.photos import explained_picture, picture_of
from transfer_app.label.pool import read_pool
from vision_transfer.backbones import load_backbone
from vision_transfer.explanation import class_activation, on_whole_image
from vision_transfer.image_features import image_features

TEXTS = ["Call me before noon, please!", "The report is done. " * 40, "¡Él está aquí! ☃", "a"]


def test_words_add_up_to_what_is_linear_in_the_features_of_a_text():
    features = encoder_features(TEXTS, "bert", Path("features"))
    rng = np.random.default_rng(0)
    weight, centre = rng.normal(size=(2, features.shape[1]))
    for text, own in zip(TEXTS, features, strict=True):
        words, rest = word_contributions(text, "bert", weight, centre)
        total = rest + sum(word.attribution for word in words)
        assert total == pytest.approx(float(weight @ (own - centre)), rel=1e-4, abs=1e-3)
        spans = [text[word.start : word.end] for word in words]
        assert all(spans) and "".join(text.split()).startswith("".join(spans)[:20])


def test_a_hint_says_which_words_spoke_for_the_likeliest_label(mails):
    texts = ["Please call me", "Please call him", "The sun is out", "The sky is blue"] * 3
    numbered = [f"{text} {number}" for number, text in enumerate(texts)]
    pd.DataFrame({"text": numbered}).to_csv("few.csv", index=False)
    pool = read_pool("few.csv", None, "label", "bert")
    answers = Answers.in_pool(pool)
    labelling = Labelling(pool, answers)
    assert said_of(labelling, 0) is None
    for row in range(1, 12):
        answers.put(row, "asks" if row % 4 < 2 else "tells")
    said = said_of(labelling, 0)
    assert [*said.scores] == ["asks", "tells"]
    assert sum(said.scores.values()) == pytest.approx(1)
    words, told = words_of(pool, 0, said)
    _, weight, bias = labelling.head(0)
    logits = pool.features[0] @ weight.T + bias
    mean = pool.scale[0]
    _, rest = word_contributions(pool.contents[0], "bert", said.weight, mean)
    added = rest + sum(word.attribution for word in words)
    assert added + bias[0] - bias[1] == pytest.approx(float(logits[0] - logits[1]), abs=1e-3)
    assert told.startswith("Most for it: ")
    answers.put(0, "tells")  # its own answer does not count
    assert said_of(labelling, 0).scores == pytest.approx(said.scores)


def test_without_an_encoder_no_word_is_marked_and_that_is_told(pool):
    answers = Answers.in_pool(pool)
    for row in range(20):
        answers.put(row, "ab"[row % 2])
    words, told = words_of(pool, 30, said_of(Labelling(pool, answers), 30))
    assert not words and "--base none" in told


def test_places_add_up_to_what_is_linear_in_the_features_of_a_photo():
    files = sorted((PETS / "images").glob("*.jpg"))[:6]
    features = image_features(files, "efficientnet-lite0", Path("features"))
    model, processor = load_backbone("efficientnet-lite0", ["no", "yes"])
    rng = np.random.default_rng(0)
    weight, centre = rng.normal(size=features.shape[1]), features.mean(axis=0)
    pixels = processor(load_rgb(files[0]), return_tensors="pt")["pixel_values"]
    places = class_activation(model.eval(), pixels, weight, centre)
    assert places.shape == (7, 7)
    assert places.sum() == pytest.approx(float(weight @ (features[0] - centre)), abs=1e-2)


def test_heat_lies_where_the_model_saw_it():
    _, processor = load_backbone("efficientnet-lite0", ["no", "yes"])
    whole = on_whole_image(np.ones((7, 7)), (400, 256), processor)
    assert whole.shape == (256, 400)
    seen = np.argwhere(whole > 0.5)
    assert seen.min(axis=0).tolist() == [16, 88] and seen.max(axis=0).tolist() == [239, 311]


def test_a_photo_is_explained_or_not_as_its_model_allows(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in sorted((PETS / "images").glob("*.jpg"))[:8]:
        (folder / file.name).symlink_to(file)
    pool = read_pool("photos", None, "label", None)
    answers = Answers.in_pool(pool)
    for row in range(1, 8):
        answers.put(row, "ab"[row % 2])
    picture = explained_picture(pool, 0, said_of(Labelling(pool, answers), 0))
    assert picture.size == picture_of(pool, 0).size
