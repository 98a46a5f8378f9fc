"""The pet-classifier recipe on a slice, from photos to predictions."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from recipes.pet_classifier import Arguments
from staged_training.heads.familiarity import load_familiarity
from transfer_app.command_line import main
from vision_transfer.backbones import load_backbone
from vision_transfer.candidates import TOP_LAYERS

SHIPPED = Path(__file__).parents[2] / "recipes" / "data" / "pets"


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """The output folder of a quick run with fine-tuning on one fold."""
    folder = tmp_path_factory.mktemp("run") / "out"
    flags = ["--data", str(photos), "--label-column", "species", "--folds", "1", "--quick"]
    flags += ["--fine-tune", "--output-dir", str(folder)]
    assert main(["run", "pet-classifier", *flags]) == 0
    return folder


def test_results_hold_every_model(trained):
    results = json.loads((trained / "report" / "results.json").read_text())
    metrics = {row["name"]: row["metrics"] for row in results["rows"]}
    assert list(metrics) == [
        "majority class",
        "linear probe on the bottleneck",
        "head trained on the bottleneck",
        "fine-tuned top layers",
    ]
    assert metrics["majority class"]["accuracy"] == 0.5
    assert metrics["linear probe on the bottleneck"]["accuracy"] > 0.8


def test_the_folder_holds_the_model_its_card_and_report_and_nothing_else(trained):
    assert {path.name for path in trained.iterdir()} == (
        {"README.md", "SHA256SUMS", "config.json", "conformal.safetensors"}
        | {"familiarity.safetensors", "model.safetensors", "report"}
    )
    report = (trained / "report" / "report.md").read_text()
    assert "broken.jpg is not an image" in report
    assert "1 images could not be decoded" in report
    assert "timm_model.global_pool.flatten` gives 1,280 numbers" in report
    assert "rate 0.01, weight decay 0.1" in report
    pictures = set(re.findall(r"\]\((\w+\.png)\)", report))
    assert {"filters.png", "activations.png", "units.png", "projection.png"} < pictures
    assert all(Image.open(trained / "report" / name).width > 300 for name in pictures)
    assert ModelCard.load(trained / "README.md").data.pipeline_tag == "image-classification"


def test_the_base_of_a_linear_probe_is_the_pretrained_one_to_the_bit(photos, tmp_path):
    flags = ["--data", str(photos), "--label-column", "species", "--refit"]
    assert main(["run", "pet-classifier", *flags, "--output-dir", str(tmp_path / "out")]) == 0
    saved, _ = load_backbone(tmp_path / "out", ["a", "b"])
    pretrained, _ = load_backbone("efficientnet-lite0", ["a", "b"])
    for name, tensor in pretrained.state_dict().items():
        if "classifier" not in name:
            assert torch.equal(tensor, saved.state_dict()[name]), name
    (result,) = pipeline("image-classification", model=str(tmp_path / "out"), top_k=1)(
        Image.open(SHIPPED / "images" / "Persian_128.jpg")
    )
    assert result["label"] == "cat"


def test_photos_are_classified_and_broken_ones_told(trained, photos, capsys):
    persian = str(SHIPPED / "images" / "Persian_128.jpg")
    assert main(["predict", str(trained), persian, str(photos), "--json"]) == 0
    output = capsys.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    assert rows[0]["input"] == persian
    assert len(rows) == 1 + 36
    assert set(rows[0]["scores"]) == {"cat", "dog"}
    assert "broken.jpg is not an image" in output.err
    assert main(["predict", str(trained), persian]) == 0
    assert persian in capsys.readouterr().out


def test_pipeline_and_predict_see_the_same_pixels(trained, tmp_path, capsys):
    photo = Image.open(SHIPPED / "images" / "Persian_128.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    cut_out = photo.convert("RGBA")
    cut_out.putalpha(Image.radial_gradient("L").resize(photo.size))
    cut_out.save(tmp_path / "cut.png")
    cut_out.convert("LA").save(tmp_path / "gray.png")
    photo.quantize(60).save(tmp_path / "palette.png", transparency=bytes(range(60)))
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg")
    photo.save(tmp_path / "turned.jpg", exif=turned)
    for name, bits in (("deep.png", 16), ("camera.tif", 12)):
        gray = np.asarray(photo.convert("L"), np.uint16) << (bits - 8)
        Image.fromarray(gray).save(tmp_path / name)
    classifier = pipeline("image-classification", model=str(trained))
    assert main(["predict", str(trained), str(tmp_path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 7
    for row in rows:
        found = {result["label"]: result["score"] for result in classifier(row["input"])}
        assert row["scores"] == pytest.approx(found, abs=1e-4), row["input"]


def test_what_shows_no_pet_is_marked(trained, photos, tmp_path, capsys):
    others = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    assert main(["predict", str(trained), str(others), str(photos), "--json"]) == 0
    hopper, *pets = map(json.loads, capsys.readouterr().out.splitlines())
    assert not hopper["accepted"]
    assert sum(pet["accepted"] for pet in pets) > 0.8 * len(pets)
    output = ["--output", str(tmp_path / "out.parquet")]
    assert main(["predict", str(trained), str(others), str(photos), *output]) == 0
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert list(written)[1:] == [
        *("label", "score_cat", "score_dog", "similarity", "accepted", "problem"),
    ]
    written = written[written["problem"].isna()]
    for name in ("similarity", "accepted"):
        assert written[name].tolist() == [answer[name] for answer in (hopper, *pets)]
    assert main(["predict", str(trained), str(others)]) == 0
    threshold = load_familiarity(trained / "familiarity.safetensors").threshold
    line, told = capsys.readouterr()
    assert told.endswith(f"Next:   nlp-transfer demo {trained}\n")  # not among the predictions
    assert f"not sure: please look  {others}  similarity to the training examples " in line
    assert line.endswith(f"{hopper['similarity']:.2f}, needs {threshold:.2f}\n")


def test_a_cat_of_another_collection_is_answered(trained, tmp_path, capsys):
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "chelsea.png")
    assert main(["predict", str(trained), str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == "cat" and answer["accepted"]


def test_a_head_with_hidden_layers_learns_from_views_and_is_saved(photos, tmp_path):
    flags = ["--data", str(photos), "--label-column", "species", "--folds", "0", "--refit"]
    flags += ["--hidden", "16", "--views", "1", "--output-dir", str(tmp_path / "out")]
    assert main(["run", "pet-classifier", *flags]) == 0
    results = json.loads((tmp_path / "out" / "report" / "results.json").read_text())
    (majority, head) = results["rows"]
    assert head["name"] == "head trained on the bottleneck"
    assert head["metrics"]["accuracy"] > majority["metrics"]["accuracy"] + 0.2
    assert head["trainable_parameters"] == 1280 * 16 + 16 + 16 * 2 + 2
    (result,) = pipeline("image-classification", model=str(tmp_path / "out"), top_k=1)(
        Image.open(SHIPPED / "images" / "Persian_128.jpg")
    )
    assert result["label"] == "cat"


def test_a_run_that_was_killed_goes_on_where_it_was_and_ends_the_same(
    photos, trained, run_killed, tmp_path
):
    folder = tmp_path / "out"
    flags = ["--data", str(photos), "--label-column", "species", "--folds", "1", "--quick"]
    flags += ["--fine-tune", "--output-dir", str(folder)]
    # The features are stored, and the top layers train.
    run_killed(["run", "pet-classifier", *flags], folder, "runs/fold-1/**/_stages")
    (features,) = (folder / "runs").glob("*.safetensors")
    written = features.stat().st_mtime_ns
    assert main(["run", "pet-classifier", *flags]) == 2  # not without --resume
    assert features.stat().st_mtime_ns == written
    assert main(["run", "pet-classifier", *flags, "--resume"]) == 0
    resumed, whole = (load_file(path / "model.safetensors") for path in (folder, trained))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--label-column", "animal"], "has no column 'animal'"),
        (["--data", "/no/such/folder"], "no such file or folder"),
        (["--backbone", "no/such-model"], "no image model could be loaded from there"),
        (["--views", "-1"], "--views is -1; give how many views"),
        (["--hidden", "0"], "--hidden is [0]; give widths of 1 and more"),
        (["--folds", "9"], "--folds is '9'; give `all`, or one of 0, 1, 2, 3, 4"),
        (["--fine-tune", "--train", "top"], "The selector 'top' matches no parameters"),
        (["--learning-rate", "1e-3"], "--train and --learning-rate are of --fine-tune"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(flags, message, hub, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    output = ["--output-dir", str(folder / "out")]
    assert main(["run", "pet-classifier", *flags, *output]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_the_defaults_of_fine_tuning_are_those_of_the_library():
    assert (Arguments.train, Arguments.learning_rate) == (
        TOP_LAYERS.train,
        TOP_LAYERS.learning_rate,
    )
