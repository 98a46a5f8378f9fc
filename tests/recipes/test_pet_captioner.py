"""The pet-captioner recipe on a slice, from photos and captions to captions of other photos."""

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
from transformers import AutoModelForImageTextToText, pipeline

from transfer_app.command_line import main
from transfer_app.demo.server import web_app

SHIPPED = Path(__file__).parents[2] / "recipes" / "data" / "pets"
PERSIAN = str(SHIPPED / "images" / "Persian_128.jpg")

PHOTOS = [PERSIAN, *(str(SHIPPED / "images" / f"{n}.jpg") for n in ("pug_142", "beagle_117"))]

ELSEWHERE = """
import json
print(json.dumps([type(describe.model).__module__, describe({photos!r}, text=[""] * 3)]))
"""


@pytest.fixture(scope="module")
def captioned(photos, tmp_path_factory):
    """The slice of photos with their captions, one of 300 words, and a file that is no photo."""
    folder = tmp_path_factory.mktemp("captioned")
    (folder / "images").symlink_to(photos / "images")
    (folder / "metadata.jsonl").symlink_to(photos / "metadata.jsonl")
    table = pd.read_json(SHIPPED / "captions.jsonl", lines=True)
    table = table[[(folder / name).exists() for name in table["file_name"]]].to_dict("records")
    table[0]["captions"].append("fur " * 300)
    table.append({"file_name": "images/broken.jpg", "captions": ["A photo."]})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, table)))
    return folder


def arguments(captioned, folder):
    flags = ["--data", str(captioned), "--folds", "1", "--quick", "--fine-tune"]
    return [*flags, "--output-dir", str(folder)]


@pytest.fixture(scope="module")
def trained(captioned, tmp_path_factory):
    """The output folder of a quick run with fine-tuning on one fold."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert main(["run", "pet-captioner", *arguments(captioned, folder)]) == 0
    return folder


def test_the_table_holds_every_candidate_the_baselines_and_the_control(trained):
    results = json.loads((trained / "report" / "results.json").read_text())
    rows = {row["name"]: row["metrics"] for row in results["rows"]}
    (blind,) = (name for name in rows if name.endswith("image left out"))
    assert [name for name in rows if name != blind] == [
        "the most common caption",
        "the caption of the nearest photo",
        "glove-6b-50d, frozen",
        "glove-6b-50d, fine-tuned",
        "glove-6b-50d, with the top layers of the encoder",
        "random embedding, frozen",
        "random embedding, fine-tuned",
        "random embedding, trained from the start",
    ]
    assert {"cider", "bleu", "rouge", "validation_cider"} < set(rows[blind])
    nearest, common = rows["the caption of the nearest photo"], rows["the most common caption"]
    assert nearest["cider"] > common["cider"] > 0


def test_the_folder_holds_the_model_its_card_and_report_and_nothing_else(trained):
    assert {path.name for path in trained.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "SHA256SUMS",
        "model.safetensors",
        "modeling_captioner.py",
        "processor_config.json",
        "report",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    report = (trained / "report" / "report.md").read_text()
    assert "broken.jpg is not an image" in report
    assert "has 300 words, and more than 50 are left out" in report
    assert len(re.findall(r"^\| (?:best|median|worst)", report, re.MULTILINE)) == 10
    pictures = set(re.findall(r"\]\((\w+\.png)\)", report))
    assert pictures == {"captions.png", "curves.png", "models.png"}
    assert all(Image.open(trained / "report" / name).width > 300 for name in pictures)
    card = ModelCard.load(trained / "README.md")
    assert card.data.pipeline_tag == "image-to-text"
    assert {result.metric_type for result in card.data.eval_results} == {"cider", "bleu", "rouge"}


def test_photos_are_described_and_broken_ones_reported(trained, photos, tmp_path, capsys):
    assert main(["predict", str(trained), PERSIAN, str(photos), "--json"]) == 0
    output = capsys.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    assert len(rows) == 1 + 36
    assert rows[0]["input"] == PERSIAN and len(rows[0]["caption"].split()) > 2
    assert not re.search(r"[\[\]A-Z]", "".join(row["caption"] for row in rows))
    assert "broken.jpg is not an image" in output.err
    (result,) = pipeline("image-text-to-text", model=str(trained))(PERSIAN, text="")
    assert result["generated_text"] == rows[0]["caption"]
    table = tmp_path / "out.csv"
    assert main(["predict", str(trained), PERSIAN, str(photos), "--output", str(table)]) == 0
    written = pd.read_csv(table).dropna(subset="caption")
    assert written[["input", "caption"]].to_dict("records") == rows
    capsys.readouterr()
    assert main(["predict", str(trained), PERSIAN]) == 0
    assert capsys.readouterr().out.strip() == f"{PERSIAN}  {rows[0]['caption']}"
    assert main(["export", str(trained)]) == 2
    assert "only classifiers and detectors are written as ONNX" in capsys.readouterr().err


def test_the_demo_shows_a_page_for_photos(trained):
    with TestClient(web_app(str(trained)), "http://localhost") as client:
        config = client.get("/config").json()
    labels = [component["props"].get("label") for component in config["components"]]
    assert "Photos, and what was seen" in labels


def test_a_run_that_was_killed_goes_on_ends_the_same_and_its_upload_says_the_same_elsewhere(
    captioned, trained, run_killed, hub, elsewhere, tmp_path
):
    folder = tmp_path / "out"
    flags = [*arguments(captioned, folder), "--push-to-hub", "someone/captioner"]
    stages = "runs/fold-1/seed-0/glove-6b-50d/_stages"  # the embedding is about to be tuned
    run_killed(["run", "pet-captioner", *flags[:-2]], folder, f"{stages}/frozen/finished")
    assert main(["run", "pet-captioner", *flags]) == 2  # not without --resume
    assert main(["run", "pet-captioner", *flags, "--resume"]) == 0
    resumed, whole = (load_file(path / "model.safetensors") for path in (folder, trained))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())

    told = pipeline("image-text-to-text", model=str(folder))(PHOTOS, text=[""] * 3)
    assert pipeline("image-text-to-text", model="someone/captioner")(PHOTOS, text=[""] * 3) == told
    with_project, without = re.findall(
        r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL
    )
    assert "import vision_transfer" in with_project and "someone/captioner" in with_project
    (tmp_path / "photo.jpg").symlink_to(PHOTOS[0])
    finished = elsewhere(without + ELSEWHERE.format(photos=PHOTOS))
    assert finished.returncode == 0, finished.stderr
    of_card, rest = finished.stdout.splitlines()[-2:]
    assert of_card == str(told[:1])
    module, said = json.loads(rest)
    assert module.startswith("transformers_modules.") and said == told
    assert "is not supported" not in finished.stderr


@pytest.mark.slow
def test_the_decoder_may_look_at_parts_of_photos(captioned, tmp_path):
    assert (
        main(["run", "pet-captioner", *arguments(captioned, tmp_path / "out"), "--attention"]) == 0
    )
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert model.config.attention


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "/no/such/file.json"], "no such file or folder"),
        (["--images", "/no/such/folder"], "/no/such/folder: no such file or folder"),
        (["--backbone", "/no/such/model"], "no image model could be loaded from there"),
        (["--vectors", "/no/vectors.txt"], "/no/vectors.txt"),
        (["--folds", "9"], "--folds is '9'; give `all`, or one of 0, 1, 2, 3, 4"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(flags, message, tmp_path, capsys):
    output = ["--output-dir", str(tmp_path / "out")]
    assert main(["run", "pet-captioner", *flags, *output]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
