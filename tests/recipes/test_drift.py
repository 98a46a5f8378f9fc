"""A trained model says when the inputs as a whole are others, the same by whatever runs it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from staged_training.heads.drift import FILE_NAME, Watch, likeness, load_likeness, watch_of
from staged_training.heads.familiarity import FILE_NAME as FAMILIARITY
from staged_training.runtime.seal import check_seal, seal
from tests.fuzz.model_folders import MODELS
from tests.fuzz.targets import PHOTO
from tests.small_data import small_messages
from tests.small_models import TEXTS
from transfer_app.command_line import main
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.onnx_classifier import OnnxClassifier
from transfer_app.prediction.opening import open_predictor

GERMAN = (
    "Sehr geehrte Damen und Herren, leider konnte ich gestern niemanden von Ihnen erreichen; die "
    "Rechnung ist noch immer falsch, bitte rufen Sie mich heute Nachmittag vor vier Uhr zurück"
)
TOLD = "These 60 texts are unlike those that the model was trained on"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Mails, German texts, and models of a fold and of all mails."""
    folder = tmp_path_factory.mktemp("drift")
    mails = small_messages()[["text", "label", "fold"]]
    mails.to_csv(folder / "mails.csv", index=False)
    draw = np.random.default_rng(0)
    german = [" ".join(draw.choice(GERMAN.split(), 9)) for _ in range(60)]
    pd.DataFrame({"text": german}).to_csv(folder / "german.csv", index=False)
    for name, flags in {"fold": ["--no-refit"], "all": ["--folds", "all"]}.items():
        data = "--data", str(folder / "mails.csv"), "--text-columns", "text", "--base", "none"
        given = ["run", "text-classifier", "--quick", *data, "--vectors", "none", *flags]
        assert main([*given, "--output-dir", str(folder / name)]) == 0
    return folder


@pytest.mark.parametrize("model", ["fold", "all"])
def test_predict_says_that_an_inbox_is_another_one(folder, model, tmp_path, caplog, capsys):
    check_seal(str(folder / model))
    without = tmp_path / "model"  # as an older version saved it
    shutil.copytree(folder / model, without)
    (without / FILE_NAME).unlink()
    seal(without)
    printed = {}
    for name in (folder / model, without):
        capsys.readouterr()
        caplog.clear()
        assert main(["predict", str(name), str(folder / "german.csv"), "--json"]) == 0
        printed[name] = capsys.readouterr().out
        told = [record.getMessage() for record in caplog.records]
        assert [TOLD in line for line in told] == ([] if name == without else [True])
    assert len({*printed.values()}) == 1


@pytest.mark.parametrize("model", ["fold", "all"])
def test_nothing_is_said_of_its_own_inbox(folder, model, caplog):
    mails = pd.read_csv(folder / "mails.csv")
    new = folder / f"new-{model}.csv"
    mails[mails["fold"] == mails["fold"].min()][["text"]].to_csv(new, index=False)  # its test part
    for file in (new, folder / "mails.csv"):
        assert main(["predict", str(folder / model), str(file), "--json"]) == 0
    assert not caplog.records


def test_words_are_held_against_those_of_other_mails(folder):
    fold, every = (load_likeness(folder / name / FILE_NAME) for name in ("fold", "all"))
    mails = pd.read_csv(folder / "mails.csv")
    assert fold.count == (mails["fold"] == mails["fold"].min() + 1).sum()
    assert every.count == len(mails)
    assert 0.4 < fold.mean < every.mean < 0.95
    vocabulary = json.loads((folder / "all" / "vocab.json").read_text())
    assert len(every.tokens) == len(vocabulary)
    assert set(every.tokens[2:]) == {1}  # a model of all mails knows all words of theirs


@pytest.mark.parametrize("kind", ["recurrent", "tfidf", "encoder"])
def test_an_exported_model_of_texts_says_the_same(kind, tmp_path):
    MODELS[kind](tmp_path)
    assert main(["export", str(tmp_path)]) == 0
    opened = open_predictor(str(tmp_path))
    size = max(opened.pipeline.tokenizer.get_vocab().values()) + 1
    unknown = opened.pipeline.tokenizer.unk_token_id
    tokens = np.ones(size, np.uint8)
    tokens[opened.pipeline.tokenizer.all_special_ids] = 0
    tokens[unknown] = 2
    texts = [*TEXTS, "down with xyzzy plugh", "", "call xyzzy"] * 10
    told = []
    for classifier in (opened, OnnxClassifier(str(tmp_path))):
        classifier.watch = Watch(likeness([0.99, 1.0] * 20, tokens))
        list(classifier.predict([Input("", text) for text in texts]))
        told.append(classifier.watch.described())
    assert told[0] == told[1]
    assert "21% of their words" in told[0]  # 3 of 4 in one of six, 1 of 2 in another


def test_of_photos_the_nearest_training_photo_counts(tmp_path):
    MODELS["classifier"](tmp_path)
    assert main(["export", str(tmp_path)]) == 0
    likeness([0.995, 1.0] * 20).save(tmp_path)
    photo = Image.open(PHOTO).convert("RGB")
    seal(tmp_path)
    told = []
    for classifier in (open_predictor(str(tmp_path)), OnnxClassifier(str(tmp_path))):
        classifier.watch = watch_of(str(tmp_path))
        answers = list(classifier.predict([Input("", photo)] * 40))
        similarity = answers[0][1].fields["similarity"]
        told.append(classifier.watch.described())
        assert "40 images are unlike" in told[-1] and f"{similarity:.2f} is their" in told[-1]
    assert told[0] == told[1]
    (tmp_path / FAMILIARITY).unlink()
    (tmp_path / "SHA256SUMS").unlink()
    without = open_predictor(str(tmp_path))
    without.watch = watch_of(str(tmp_path))
    assert len(list(without.predict([Input("", photo)] * 40))) == 40
    assert without.watch.described() is None
