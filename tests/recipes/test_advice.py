"""The four quadrants of the table, each reached by real data."""

import bz2
import json
import re
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from transformers import TrainingArguments

from nlp_transfer import build_vocabulary
from nlp_transfer.advice import advise_on_texts
from nlp_transfer.models import RecurrentForSequenceClassification
from staged_training import InputError
from staged_training.stages import check_stages
from tests.recipes.test_pet_classifier import SHIPPED
from transfer_app.command_line import main
from vision_transfer.advice import advise_on_images

MESSAGES = SHIPPED.parent / "email_urgency" / "messages.parquet"


def digits(folder, examples):
    """Handwritten digits, which no photo of the pretraining looks like."""
    data = load_digits()
    rows = []
    for number, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        if number < examples:
            Image.fromarray((image * 15).astype(np.uint8)).save(folder / f"{number}.png")
            rows.append({"file_name": f"{number}.png", "label": str(label)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def advice(capsys, data, *flags):
    assert main(["advise", str(data), *map(str, flags)]) == 0
    out, err = capsys.readouterr()
    assert re.search(rf"(?m)^Next:   nlp-transfer run \S+ --data {data} --label-column \w+\n$", err)
    return out


def stages_of(text):
    return [line.split("'")[1] for line in text.splitlines() if line.startswith("    Stage(")]


def test_similar_and_small_photos_of_pets(capsys, photos):
    told = advice(capsys, photos, "--label-column", "species")
    assert "Similar and small: train a classifier on top" in told
    assert "36 labelled examples (large from 1,000 on): small" in told
    assert stages_of(told) == ["head"]


def test_different_and_small_digits(capsys, tmp_path):
    told = advice(capsys, digits(tmp_path, 100))
    assert "Different and small: in trouble" in told
    assert "more examples would halve them" in told
    assert stages_of(told) == ["head"]


def test_bases_are_ranked_on_mail(capsys, tmp_path):
    mails = pd.read_parquet(MESSAGES).groupby(["fold", "asks_for_action"]).head(12)
    mails.to_csv(tmp_path / "mails.csv", index=False)
    flags = ["--label-column", "asks_for_action", "--bases", "none", "bert", "none"]
    assert main(["advise", str(tmp_path / "mails.csv"), *flags]) == 0
    out, err = capsys.readouterr()
    names = re.findall(r"(?m)^\| (bert|none) +\| 0\.\d{3} ± ", out)
    assert names == ["bert", "none"]
    assert "120 of 120 texts" in out and "bert is ahead of none by" in out
    assert err.endswith("--label-column asks_for_action --base bert\n")


def test_bases_are_ranked_on_photos(capsys, photos):
    flags = ["--label-column", "species", "--bases", "efficientnet-lite0"]
    assert main(["advise", str(photos), *flags]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"(?m)^\| efficientnet-lite0 \| 1\.000 ± ", out)
    assert "ahead" not in out and err.endswith("--backbone efficientnet-lite0\n")


def test_images_in_memory_and_in_files_are_advised_on_alike(tmp_path):
    data = load_digits()
    images = [Image.fromarray((15 * image).astype(np.uint8)) for image in data.images[:100]]
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    found, of_files = (advise_on_images(some, data.target[:100]) for some in (images, paths))
    assert str(found) == str(of_files) and "Different and small" in str(found)


def test_images_that_pixels_alone_tell_apart_are_no_less_similar():
    images = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")] * 25
    similarity = advise_on_images(images, ["red", "blue"] * 25).similarity
    assert similarity.value == 1 and similarity.similar


def test_the_same_texts_get_the_same_advice_and_random_numbers_go_on():
    texts = [f"qwyzzk{n % 7} call qwert{n % 5}" for n in range(50)]
    np.random.seed(1)
    first = np.random.random()
    np.random.seed(1)
    advice = [str(advise_on_texts(texts, [n % 2 for n in range(50)])) for _ in range(2)]
    assert advice[0] == advice[1] and np.random.random() == first


def test_what_labels_cannot_show_is_refused_before_any_work(tmp_path):
    texts = ["Call me!", "See you soon"] * 5
    for labels, message in {
        ("a", "b"): "2 are given for 10 examples",
        ("a",) * 10: "there is one at most",
        ("a",) * 8 + ("b",) * 2: "Label 'b' reaches 2 of 5 folds",
        ("a", None) * 5: "number 1 is None",
        (1, "1") * 5: "number 1 is '1'",
        (0.5, 1.0) * 5: "number 0 is 0.5",
    }.items():
        with pytest.raises(InputError, match=message):
            advise_on_texts(texts, labels, vectors="not read")
    with pytest.raises(InputError, match="texts: number 0 is None"):
        advise_on_texts([None], ["a"])
    with pytest.raises(InputError, match="images: number 0 is of the type bytes"):
        advise_on_images([b"no path"], ["a"])
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(InputError, match=r"no\.png.*leave it out"):
        advise_on_images([tmp_path / "no.png"] * 10, ["a", "b"] * 5, backbone="not loaded")


@pytest.mark.slow
def test_different_and_large_digits(capsys, tmp_path):
    told = advice(capsys, digits(tmp_path, 1200))
    assert "Different and large" in told
    assert stages_of(told) == ["head", "top layers", "upper half"]


def test_similar_and_large_mail(capsys):
    told = advice(capsys, MESSAGES)
    assert "Similar and large" in told
    assert stages_of(told) == ["frozen embedding", "fine-tuned"]


def test_similar_and_small_mail(capsys, tmp_path):
    pd.read_parquet(MESSAGES).head(400).to_parquet(tmp_path / "some.parquet")
    assert "Similar and small" in advice(capsys, tmp_path / "some.parquet")


def test_different_texts_small_and_large(capsys, tmp_path):
    """Posts and replies in Bulgarian, which vectors of English hardly know."""
    dump = files("gensim") / "test/test_data/bgwiki-latest-pages-articles-shortened.xml.bz2"
    lines = bz2.decompress(dump.read_bytes()).decode("utf-16").splitlines()
    sentences = [
        {"text": sentence, "label": "reply" if line.startswith(":") else "post"}
        for line in lines
        for sentence in re.split(r"[.!?]+ ", line)
        if len(re.findall(r"[а-я]+", sentence)) > 3
    ]
    table = pd.DataFrame(sentences)
    table.to_csv(tmp_path / "large.csv", index=False)
    table.sample(300, random_state=0).to_csv(tmp_path / "small.csv", index=False)
    told = advice(capsys, tmp_path / "large.csv")
    assert "Different and large" in told
    assert stages_of(told) == ["frozen embedding", "fine-tuned", "whole net"]
    assert "Different and small" in advice(capsys, tmp_path / "small.csv")


def test_what_cannot_be_read_is_refused(capsys, tmp_path):
    assert main(["advise", str(tmp_path / "missing.csv")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "one.csv").write_text("text,label\na b,x\nb c,x\n")
    assert main(["advise", str(tmp_path / "one.csv")]) == 2
    assert "every text has the label 'x'" in capsys.readouterr().err


def test_what_is_told_can_be_pasted_and_runs(capsys, tmp_path):
    texts = [f"{word} {number}" for number in range(600) for word in ("yes", "no")]
    table = pd.DataFrame({"text": texts, "label": [text.split()[0] for text in texts]})
    table.to_csv(tmp_path / "texts.csv", index=False)
    told = advice(capsys, tmp_path / "texts.csv")
    code = told[told.index("from staged_training") :]
    tokenizer = build_vocabulary(texts, min_frequency=1)
    for given in ("vectors", "other weights"):
        matrix = np.zeros((len(tokenizer), 8), np.float32)
        model = RecurrentForSequenceClassification.from_aligned(matrix, ["no", "yes"])
        if given == "other weights":
            model = RecurrentForSequenceClassification(model.config)
        names = {"model": model, "args": TrainingArguments(str(tmp_path)), "train": [{}]}
        exec(code, names)
        assert names["trainer"].stages[0].name == "frozen embedding"
    check_stages(
        RecurrentForSequenceClassification.from_aligned(matrix, ["no", "yes"]), names["stages"]
    )
