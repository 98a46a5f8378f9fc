"""Trained here, uploaded, and used where this project is not installed: the same logits."""

import json
import re
import shutil
from operator import itemgetter

import pytest
from transformers import pipeline

from nlp_transfer import models  # noqa: F401 - known to the Auto classes
from tests.processes import printed_without_torch
from tests.small_models import save_encoder
from transfer_app.command_line import main

TEXTS = ["Please send me the figures before noon.", "Lunch?", ""]

LOGITS = """
import json, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
trust = {trust}
tokenizer = AutoTokenizer.from_pretrained("{name}", trust_remote_code=trust)
model = AutoModelForSequenceClassification.from_pretrained("{name}", trust_remote_code=trust)
texts = {texts!r}
with torch.no_grad():
    logits = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.tolist()
classify = pipeline("text-classification", model="{name}", trust_remote_code=trust, top_k=None)
print(json.dumps([type(model).__module__, logits, classify(texts)]))
"""


def answer(finished):
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def snippets(card):
    """The Python code of a card."""
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("someone/recurrent", ["--base", "none"]),
        ("someone/encoder", ["--vectors", "none", "--hub-private-repo"]),
    ],
)
def test_an_uploaded_text_model_gives_the_same_logits_elsewhere_and_what_its_card_prints(
    name, options, small_data, hub, elsewhere, tmp_path, nets_only, monkeypatch
):
    encoder = save_encoder(tmp_path / "encoder")  # the shipped one is a hundred times as large
    monkeypatch.setattr("nlp_transfer.encoder_classifier.packaged_encoder", lambda _: encoder)
    folder = tmp_path / "out"
    data = ["--data", str(small_data / "messages.parquet"), *options]
    target = ["--push-to-hub", name, "--output-dir", str(folder)]
    assert main(["run", "email-urgency", "--quick", *data, *target]) == 0
    assert hub.repositories[name].private == ("--hub-private-repo" in options)
    here = LOGITS.format(trust=False, name=folder, texts=TEXTS)
    module, logits, labels = answer(elsewhere(f"import nlp_transfer\n{here}", with_project=True))
    assert module.startswith("nlp_transfer.models.")

    away = LOGITS.format(trust=True, name=name, texts=TEXTS)
    assert "No module named" in elsewhere("import nlp_transfer").stderr
    remote_module, remote_logits, remote_labels = answer(elsewhere(away))
    assert remote_module.startswith("transformers_modules.")
    assert remote_logits == logits
    assert remote_labels == labels

    with_package = LOGITS.format(trust=False, name=name, texts=TEXTS)
    local = answer(elsewhere(f"import nlp_transfer\n{with_package}", with_project=True))
    assert local == [module, logits, labels]

    with_package, without, exported = snippets((folder / "README.md").read_text())
    told = pipeline("text-classification", model=str(folder))(TEXTS[0])
    for code, has_project in ((with_package, True), (without, False)):
        finished = elsewhere(code, with_project=has_project)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.splitlines()[-1] == str(told)
    assert main(["export", str(folder)]) == 0
    assert max(printed_without_torch(exported, folder).items(), key=itemgetter(1)) == (
        told[0]["label"],
        pytest.approx(told[0]["score"], abs=1e-4),
    )


@pytest.mark.parametrize("head", [[], ["--hidden", "16"]])
def test_an_uploaded_image_model_runs_elsewhere_as_its_card_says(
    head, photos, hub, elsewhere, tmp_path
):
    folder = tmp_path / "out"
    target = ["--push-to-hub", "someone/pets", "--output-dir", str(folder)]
    data = ["--data", str(photos), "--label-column", "species", "--folds", "1"]
    assert main(["run", "pet-classifier", "--quick", *data, *head, *target]) == 0
    shutil.copy(next((photos / "images").glob("*_1*.jpg")), tmp_path / "photo.jpg")
    told = pipeline("image-classification", model=str(folder))(str(tmp_path / "photo.jpg"))
    *codes, exported = snippets((folder / "README.md").read_text())
    assert len(codes) == (2 if head else 1)
    for code in codes:
        finished = elsewhere(code, with_project="vision_transfer" in code)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.splitlines()[-1] == str(told)
    assert main(["export", str(folder)]) == 0
    shutil.copy(tmp_path / "photo.jpg", folder)
    scores = {each["label"]: each["score"] for each in told}
    assert printed_without_torch(exported, folder) == pytest.approx(scores, abs=1e-4)


def test_uploaded_vectors_come_with_how_to_get_them(hub, small_data, tmp_path, elsewhere):
    folder = tmp_path / "vectors"
    target = ["--push-to-hub", "someone/vectors", "--output-dir", str(folder)]
    texts = str(small_data / "messages.parquet")
    options = ["--quick", "--dim", "5", "--data", texts, "--task", texts]
    assert main(["run", "word-embeddings", *options, *target]) == 0
    card = (folder / "README.md").read_text()
    assert f"hf download someone/vectors --local-dir {folder}" in card
    uploaded = hub.repositories["someone/vectors"].files("main")
    assert uploaded["vectors.txt"].content == (folder / "vectors.txt").read_bytes()
    (code,) = snippets(card)
    finished = elsewhere(f"{code}\nprint(vectors.dim)", with_project=True)
    assert finished.stdout.strip() == "5", finished.stderr
