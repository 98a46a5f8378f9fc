"""The rotation-pretraining recipe on a few pets: base, comparison, answer, and a model to use."""

import json
import shutil

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from transformers import pipeline

from recipes.rotation_pretraining import DATA
from transfer_app.command_line import main
from vision_transfer.backbones import load_backbone
from vision_transfer.image_task import content, read_image_task
from vision_transfer.pretext.data import photo_data
from vision_transfer.pretext.rotation import ROTATIONS

SMALL = ["--size", "32", "--architecture", "test_resnet", "--epochs", "2"]
FEW = ["--counts", "12", "24", "--seeds", "2", "--steps", "2"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of 20 cats and 20 dogs, in a folder each, and one file that is no photo."""
    folder = tmp_path_factory.mktemp("photos") / "pets"
    rows = [json.loads(line) for line in (DATA / "metadata.jsonl").read_text().splitlines()]
    for species in ("cat", "dog"):
        (folder / species).mkdir(parents=True)
        for row in [row for row in rows if row["species"] == species][:20]:
            file = DATA / row["file_name"]
            shutil.copy(file, folder / species / file.name)
    (folder / "cat" / "broken.jpg").write_text("no photo")
    return folder


def arguments(photos, folder, *flags):
    data = ["--data", str(photos), "--output-dir", str(folder)]
    return ["run", "rotation-pretraining", *data, *SMALL, *FEW, *flags]


@pytest.fixture(scope="module")
def learnt(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "rotation"
    assert main(arguments(photos, folder)) == 0
    return folder


def test_the_folder_holds_a_model_that_pipeline_runs_and_the_base(learnt, photos):
    names = {path.name for path in learnt.iterdir()}
    files = {"README.md", "SHA256SUMS", "config.json", "model.safetensors"}
    assert names == {*files, "base", "report"}
    photo = str(next((photos / "dog").glob("*.jpg")))
    told = pipeline("image-classification", model=str(learnt))(photo)
    assert {item["label"] for item in told} == {"cat", "dog"}
    rotated = pipeline("image-classification", model=str(learnt / "base"))(photo)
    assert {item["label"] for item in rotated} == set(ROTATIONS)
    base, _ = load_backbone(learnt / "base", ["one", "two", "three"])
    assert base.config.num_labels == 3


def test_every_candidate_has_a_score_at_every_number_of_labels(learnt):
    rows = json.loads((learnt / "report" / "results.json").read_text())["rows"]
    names = ["from scratch", "rotation base, frozen", "rotation base, fine-tuned"]
    names.append("ImageNet (EfficientNet-Lite0), frozen")
    assert [row["name"] for row in rows] == [f"{c}, {n} labels" for n in (12, 24) for c in names]
    aucs = {row["name"]: row["metrics"]["auc"] for row in rows}
    assert all(0 <= auc <= 1 for auc in aucs.values())
    assert aucs["ImageNet (EfficientNet-Lite0), frozen, 24 labels"] > 0.9  # it knows cats and dogs


def test_the_report_answers_whether_it_paid_and_counts_rotations(learnt):
    report = (learnt / "report" / "report.md").read_text()
    for told in ("Did pretraining pay?", "95 % interval", *ROTATIONS, "broken.jpg"):
        assert told in report
    for picture in ("label_efficiency", "examples"):
        assert (learnt / "report" / f"{picture}.png").stat().st_size > 5000
    card = ModelCard.load(learnt / "README.md")
    assert "rotated test photos is predicted correctly; chance is 25 %" in card.text
    assert card.data.license is None  # these photos are not those of the recipe


def test_a_run_that_was_killed_is_resumed_to_the_same_scores(photos, learnt, run_killed, tmp_path):
    folder = tmp_path / "rotation"
    run_killed(arguments(photos, folder), folder, "runs/labels-*/done.json")
    assert main(arguments(photos, folder, "--resume")) == 0
    scores = [
        [row["metrics"] for row in json.loads((f / "report" / "results.json").read_text())["rows"]]
        for f in (learnt, folder)
    ]
    assert scores[0] == scores[1]


def test_nothing_is_learnt_from_photos_that_are_measured_on_wherever_they_lie(photos, tmp_path):
    archive = tmp_path / "archive"
    shutil.copytree(photos, archive / "deep")
    task = read_image_task(photos)
    data, own = (photo_data(task, folder, 32) for folder in (str(archive), None))
    measured = set(map(content, data.labelled.test.images.paths))
    assert not measured & set(map(content, data.archive.paths))
    assert len(data.archive) == len(data.labelled.train) == 40 - len(measured)
    assert not measured & set(map(content, own.archive.paths))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size", "8"], "--size is 8"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--counts", "5"], "--counts is"),
        (["--counts", "600"], "Give smaller --counts"),
        (["--architecture", "resnet1000"], "not an architecture of timm"),
        (["--data", "nowhere"], "no such file"),
        (["--archive", "nowhere"], "no such file or folder"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(photos, tmp_path, capsys, flags, said):
    assert main([*arguments(photos, tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_more_than_two_labels_are_refused(tmp_path, capsys):
    table = pd.read_json(DATA / "metadata.jsonl", lines=True).groupby("breed").head(5).head(15)
    table["file_name"] = [str(DATA / name) for name in table["file_name"]]
    table.to_json(tmp_path / "metadata.jsonl", orient="records", lines=True)
    flags = ["--data", str(tmp_path), "--label-column", "breed"]
    assert main(["run", "rotation-pretraining", *flags, "--output-dir", str(tmp_path / "out")]) == 2
    assert "there are 3 labels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
