"""The pet-detector recipe on a slice, from photos with boxes to boxes in photos."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from tests.recipes.test_hub_round_trip import snippets
from transfer_app.command_line import main
from transfer_app.demo.photos import blocks
from transfer_app.demo.server import web_app
from transfer_app.prediction.opening import open_predictor

SHIPPED = Path(__file__).parents[2] / "recipes" / "data" / "pets"
PERSIAN = str(SHIPPED / "images" / "Persian_128.jpg")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Eight photos in each of three folds, with their heads, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("heads")
    table = pd.read_json(SHIPPED / "metadata.jsonl", lines=True)
    kept = table[table["fold"] < 3].groupby("fold").head(8)
    (folder / "images").mkdir()
    for name in kept["file_name"]:
        (folder / name).symlink_to(SHIPPED / name)
    broken = {"file_name": "images/broken.jpg", "head_box": [0, 0, 9, 9], "fold": 0}
    (folder / broken["file_name"]).write_text("no photo")
    rows = pd.concat([kept, pd.DataFrame([broken])])
    rows.to_json(folder / "metadata.jsonl", orient="records", lines=True)
    return folder


def flags_of(heads, folder):
    return [
        *("--data", str(heads), "--box-column", "head_box", "--folds", "1", "--quick"),
        *("--size", "128", "--fine-tune", "--output-dir", str(folder)),
    ]


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """The output folder of a quick run with fine-tuning on one fold."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert main(["run", "pet-detector", *flags_of(heads, folder)]) == 0
    return folder


def test_the_report_covers_every_model_and_shows_boxes(trained):
    results = json.loads((trained / "report" / "results.json").read_text())
    metrics = {row["name"]: row["metrics"] for row in results["rows"]}
    assert list(metrics) == ["mean box", "head on the frozen base", "fine-tuned top layers"]
    assert set(metrics["mean box"]) >= {"map", "map_50", "map_75", "validation_map"}
    report = (trained / "report" / "report.md").read_text()
    assert "broken.jpg is not an image" in report
    assert "- `epochs`: `2`" in report and "- `views`: `1`" in report  # of a quick run
    pictures = set(re.findall(r"\]\((\w+\.png)\)", report))
    assert pictures == {"models.png", "boxes.png", "curves.png"}
    assert all(Image.open(trained / "report" / name).width > 300 for name in pictures)
    card = ModelCard.load(trained / "README.md")
    assert card.data.pipeline_tag == "object-detection"
    assert {path.name for path in trained.iterdir()} == {
        *("README.md", "config.json", "configuration.py", "head.py", "model.py"),
        *("SHA256SUMS", "model.safetensors", "preprocessor_config.json", "report"),
    }


def test_boxes_in_photos_are_printed(trained, heads, tmp_path, capsys):
    assert main(["predict", str(trained), PERSIAN, str(heads), "--json"]) == 0
    output = capsys.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    assert rows[0]["input"] == PERSIAN
    assert len(rows) == 1 + 24
    assert "broken.jpg is not an image" in output.err
    for row in rows:
        for box in row["boxes"]:
            assert (box["label"], box["score"] >= 0.5) == ("head", True)
    output = ["--output", str(tmp_path / "out.jsonl")]
    assert main(["predict", str(trained), PERSIAN, str(heads), *output]) == 0
    written = list(map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines()))
    assert [row["boxes"] for row in written if row["problem"] is None] == (
        [row["boxes"] for row in rows]
    )
    output = ["--output", str(tmp_path / "out.csv")]
    assert main(["predict", str(trained), PERSIAN, *output]) == 0
    (cell,) = pd.read_csv(tmp_path / "out.csv")["boxes"]
    assert json.loads(cell) == rows[0]["boxes"]
    capsys.readouterr()
    assert main(["predict", str(trained), PERSIAN]) == 0
    assert capsys.readouterr().out.startswith(PERSIAN)


def test_the_demo_marks_what_is_found_in_photos(trained):
    page = blocks(open_predictor(str(trained)))
    (look, _) = page.fns.values()
    gallery, notes = look.fn([PERSIAN])
    (shown,) = gallery.value
    assert notes == shown["caption"]
    assert re.match(r"Persian_128.jpg: (nothing|head 0\.\d\d at \d+ \d+ \d+ \d+)", notes)
    assert max(Image.open(shown["image"]["path"]).size) <= 360
    with TestClient(web_app(str(trained)), "http://localhost") as client:
        assert "Photos, searched" in client.get("/config").text


BOXES = """
import json, torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection
trust = {trust}
model = AutoModelForObjectDetection.from_pretrained("{name}", trust_remote_code=trust).eval()
processor = AutoImageProcessor.from_pretrained("{name}")
with torch.no_grad():
    found = model(**processor(Image.open("{photo}"), return_tensors="pt"))
print(json.dumps([type(model).__module__, found.logits.tolist(), found.pred_boxes.tolist()]))
"""


def test_a_killed_run_goes_on_ends_the_same_and_uploaded_finds_the_same_boxes_elsewhere(
    trained, heads, run_killed, hub, elsewhere, tmp_path
):
    folder = tmp_path / "out"
    arguments = ["run", "pet-detector", *flags_of(heads, folder)]
    finished = "runs/fold-1/seed-0/detector/_stages/head-on-the-frozen-base/finished"
    run_killed(arguments, folder, finished)
    arguments += ["--push-to-hub", "someone/heads"]
    assert main(arguments) == 2  # not without --resume
    assert main([*arguments, "--resume"]) == 0
    resumed, whole = (load_file(path / "model.safetensors") for path in (folder, trained))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())

    codes = {
        "here": (BOXES.format(trust=False, name=folder, photo=PERSIAN), True),
        "hub": (BOXES.format(trust=False, name="someone/heads", photo=PERSIAN), True),
        "away": (BOXES.format(trust=True, name="someone/heads", photo=PERSIAN), False),
    }
    found = {}
    for place, (code, has_project) in codes.items():
        first = "import vision_transfer\n" if has_project else ""
        finished = elsewhere(first + code, with_project=has_project)
        assert finished.returncode == 0, finished.stderr
        module, *found[place] = json.loads(finished.stdout.splitlines()[-1])
        assert module.startswith("vision_transfer." if has_project else "transformers_modules.")
    assert found["here"] == found["hub"] == found["away"]

    (tmp_path / "photo.jpg").symlink_to(PERSIAN)
    told = pipeline("object-detection", str(folder))(PERSIAN)
    with_project, without = snippets((folder / "README.md").read_text())
    for code, has_project in ((with_project, True), (without, False)):
        finished = elsewhere(code, with_project=has_project)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.splitlines()[-1] == str(told)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--box-column", "box"], "has no column 'box'"),
        (["--data", "/no/such/file.json"], "no such file or folder"),
        (["--views", "-1"], "--views is -1; give how many views"),
        (["--size", "100"], "--size is 100; give a multiple of 32 from 64 on"),
        (["--epochs", "0"], "--epochs is 0; give a positive number"),
        (["--folds", "9"], "--folds is '9'; give `all`, or one of 0, 1, 2, 3, 4"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(flags, message, tmp_path, capsys):
    output = ["--output-dir", str(tmp_path / "out")]
    assert main(["run", "pet-detector", *flags, *output]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
