"""The image-classifier recipe on a slice: one label of three, several labels, numbers."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics
from transformers import pipeline

from recipes.image_classifier import Arguments
from staged_training.experiment.candidate import Round
from staged_training.recipe import parse_arguments
from tests.small_data import small_photos
from transfer_app.command_line import main
from vision_transfer.backbones import save_classifier, untrained_backbone
from vision_transfer.candidates import TOP_LAYERS, BackboneCandidate
from vision_transfer.image_task import read_image_task

KINDS = {
    "kind": {},
    "tags": {"label_separator": ";"},
    "brightness": {"task": "regression"},
}
"""Columns of labels, and how they are written."""


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Six cats and six dogs in each of three folds, with labels of every kind."""
    folder = tmp_path_factory.mktemp("pets")
    rows = small_photos(folder)
    images = [Image.open(folder / name).convert("L") for name in rows["file_name"]]
    rows["brightness"] = [round(float(np.mean(image)), 2) for image in images]
    bright = rows["brightness"] > rows["brightness"].median()
    wide = pd.Series([image.width > image.height for image in images], rows.index)
    rows["height"] = rows["species"].map({"cat": 25.0, "dog": 50.0}) + rows["brightness"] / 100
    rows["kind"] = rows["species"].where(~bright, "bright")
    rows["tags"] = rows["species"] + bright.map({True: ";bright", False: ""})
    rows["tags"] += wide.map({True: ";wide", False: ""})
    rows.to_json(folder / "metadata.jsonl", orient="records", lines=True)
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A small image model with random weights."""
    folder = tmp_path_factory.mktemp("base") / "small"
    save_classifier(*untrained_backbone("test_resnet", ["a", "b"], 48), folder)
    return str(folder)


def expected_scores(column, values, predictions):
    """What scikit-learn says."""
    if column == "brightness":
        return {
            "r2": metrics.r2_score(values, predictions[:, 0]),
            "mae": metrics.mean_absolute_error(values, predictions[:, 0]),
        }
    if column == "tags":
        return {
            "macro_average_precision": metrics.average_precision_score(values, predictions),
            "micro_f1": metrics.f1_score(values, predictions >= 0.5, average="micro"),
        }
    predicted = predictions.argmax(axis=1)
    return {
        "macro_f1": metrics.f1_score(values, predicted, average="macro"),
        "accuracy": metrics.accuracy_score(values, predicted),
    }


@pytest.mark.parametrize("column", KINDS)
def test_scores_are_those_of_scikit_learn_and_of_the_saved_models(column, pets, backbone, tmp_path):
    task = read_image_task(pets, column, **KINDS[column])
    candidate = BackboneCandidate(
        name="small", task=task, backbone=backbone, cache=tmp_path, top_layers=TOP_LAYERS
    ).quick()
    split = task.split(0)
    for outcome in candidate.evaluate(Round(0, 0, split), tmp_path):
        predictions = np.array(outcome.probabilities)
        expected = expected_scores(column, task.values[split.test], predictions)
        assert {name: outcome.metrics[name] for name in expected} == pytest.approx(expected)
        saved = pipeline("image-classification", str(tmp_path / "models" / outcome.model))
        for row, prediction in zip(split.test, predictions, strict=True):
            scores = {found["label"]: found["score"] for found in saved(str(task.paths[row]))}
            told = dict(zip(task.names, prediction, strict=True))
            assert scores == pytest.approx(told, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("column", KINDS)
def test_a_model_is_trained_and_reported(column, pets, backbone, tmp_path):
    flags = ["--data", str(pets), "--label-column", column, "--backbone", backbone]
    flags += ["--quick", "--fine-tune"]
    for name, value in KINDS[column].items():
        flags += [f"--{name.replace('_', '-')}", value]
    out = tmp_path / "out"
    assert main(["run", "image-classifier", *flags, "--output-dir", str(out)]) == 0
    card, report = (out / "README.md").read_text(), (out / "report" / "report.md").read_text()
    rows = json.loads((out / "report" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows][1:] == [
        "linear probe on the bottleneck",
        "head trained on the bottleneck",
        "fine-tuned top layers",
    ]
    heads = (f"Validation chose **{row['name']}**" in card for row in rows[1:3])
    assert any(heads), "few images: a model that is trained on all of them afterwards"
    assert "was trained on all of them." in card
    assert "36 examples" in report  # those of all folds
    for picture in ("errors", "units", "projection"):
        assert f"]({picture}.png)" in report
    assert "of the test images of all folds" in report.lower()
    config = json.loads((out / "config.json").read_text())
    target = read_image_task(pets, column, **KINDS[column]).target
    assert config["problem_type"] == target.problem_type


def test_numbers_are_learnt(pets, tmp_path):
    flags = ["--data", str(pets), "--label-column", "height", "--task", "regression"]
    flags += ["--folds", "0", "--no-fine-tune", "--output-dir", str(tmp_path / "out")]
    assert main(["run", "image-classifier", *flags]) == 0
    results = json.loads((tmp_path / "out" / "report" / "results.json").read_text())
    floor, *heads = (row["metrics"]["r2"] for row in results["rows"])
    assert floor <= 0 < 0.3 < max(heads)
    (found,) = pipeline("image-classification", str(tmp_path / "out"))(
        [str(next((pets / "images").iterdir()))]
    )
    assert 15 < found[0]["score"] < 65


def test_the_model_of_the_first_fold_is_kept_without_refit(pets, backbone, tmp_path):
    flags = ["--data", str(pets), "--label-column", "species", "--backbone", backbone, "--quick"]
    flags += ["--no-fine-tune", "--no-refit", "--output-dir", str(tmp_path / "out")]
    assert main(["run", "image-classifier", *flags]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "was trained on the training part of the first fold tested." in card


@pytest.mark.parametrize(
    ("flags", "refits"),
    [([], True), (["--no-refit"], False), (["--refit", "false"], False), (["--refit"], True)],
)
def test_what_is_on_by_default_can_be_switched_off(flags, refits, tmp_path):
    assert parse_arguments(Arguments, flags, "image-classifier", "").refit is refits
    (tmp_path / "run.yaml").write_text(f"refit: {str(refits).lower()}\n")
    from_file = [str(tmp_path / "run.yaml")]
    assert parse_arguments(Arguments, from_file, "image-classifier", "").refit is refits


BAD = {
    "no label": (["cat", "", "dog", "cat"], [], "row 2 has no label in 'label'"),
    "one label only": (["cat"] * 4, [], "every image has the label 'cat'"),
    "a label seen once": (["cat", "cat", "dog", "cow"], [], "'dog' occurs only once (row 3)"),
    "no such label": (["cat", "dog"] * 2, ["--positive-label", "cow"], "has the label 'cow'"),
    "no number": (["1", "2", "3", "4,5"], ["--task", "regression"], "row 4 has '4,5' in 'label'"),
    "an unused separator": (["a", "b"] * 2, ["--label-separator", "|"], "holds '|', which"),
    "a doubled label": (["a;b", "a;a", "b", "a"], ["--label-separator", ";"], "'a' twice in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_labels_are_refused_before_an_image_is_looked_for(case, tmp_path, capsys):
    labels, flags, message = BAD[case]
    table = pd.DataFrame({"file_name": [f"{n}.jpg" for n in range(4)], "label": labels})
    table.to_csv(tmp_path / "t.csv", index=False)
    data = ["--data", str(tmp_path / "t.csv"), "--output-dir", str(tmp_path / "out")]
    assert main(["run", "image-classifier", *data, *flags]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_bad_labels_are_refused_before_pytorch_is_imported(tmp_path):
    (tmp_path / "t.csv").write_text("file_name,label\na.jpg,cat\nb.jpg,\n")
    code = "import sys\nfrom transfer_app.command_line import main\n"
    code += "status = main(sys.argv[1:])\nassert 'torch' not in sys.modules\nsys.exit(status)"
    command = ["run", "image-classifier", "--data", str(tmp_path / "t.csv")]
    ended = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert "row 2 has no label" in ended.stderr


def test_folders_are_labels_and_no_numbers(pets, tmp_path, capsys):
    for species in ("cat", "dog"):
        (tmp_path / "data" / species).mkdir(parents=True)
    for number, photo in enumerate(sorted((pets / "images").iterdir())[:8]):
        (tmp_path / "data" / ("cat", "dog")[number % 2] / photo.name).symlink_to(photo)
    data = ["--data", str(tmp_path / "data"), "--task", "regression"]
    assert main(["run", "image-classifier", *data]) == 2
    assert "the folders of images are the labels" in capsys.readouterr().err


def test_without_data_the_flag_is_named(capsys):
    assert main(["run", "image-classifier"]) == 2
    assert "--data is missing. Give a folder" in capsys.readouterr().err
