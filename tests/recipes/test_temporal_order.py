"""The temporal-order recipe on a few made films: base, honest score, and what was left out."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel

from tests.vision_transfer.films import moving_disc, write_film
from transfer_app.command_line import load_recipe, main
from vision_transfer.backbones import load_backbone

SMALL = ["--size", "32", "--architecture", "test_resnet", "--epochs", "2", "--folds", "2"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six films in which a disc moves, and a file that is no film."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(6):
        write_film(folder / f"{number}.mp4", moving_disc(number, count=40))
    (folder / "broken.mp4").write_text("no film")
    return folder


def arguments(films, folder, *flags):
    data = ["--videos", str(films), "--output-dir", str(folder)]
    return ["run", "temporal-order", *data, *SMALL, *flags]


@pytest.fixture(scope="module")
def learnt(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "order"
    assert main(arguments(films, folder)) == 0
    return folder


def test_the_folder_holds_a_base_that_gives_features_and_takes_a_head(learnt):
    names = {path.name for path in learnt.iterdir()}
    assert names == {"README.md", "SHA256SUMS", "config.json", "model.safetensors", "report"}
    pixels = torch.zeros(1, 3, 32, 32)
    features = AutoModel.from_pretrained(learnt).eval()(pixels).pooler_output
    assert features.shape[0] == 1 and features.ndim == 2
    base, _ = load_backbone(learnt, ["one", "two", "three"])
    assert base.eval()(pixels).logits.shape == (1, 3)


def test_every_film_is_measured_on_by_a_model_that_did_not_learn_from_it(learnt):
    (row,) = json.loads((learnt / "report" / "results.json").read_text())["rows"]
    assert 0 <= row["metrics"]["accuracy"] <= 1 and row["std"]["accuracy"] >= 0
    report = (learnt / "report" / "report.md").read_text()
    for told in ("chance is 50 %", "standard errors", "broken.mp4", "5.mp4", "0.mp4"):
        assert told in report
    assert (learnt / "report" / "triplets.png").stat().st_size > 5000
    assert ModelCard.load(learnt / "README.md").data.license is None


def test_a_run_that_was_killed_is_resumed_to_the_same_score(films, learnt, run_killed, tmp_path):
    folder = tmp_path / "order"
    run_killed(arguments(films, folder), folder, "runs/fold-*/done.json")
    assert main(arguments(films, folder, "--resume")) == 0
    scores = [
        [row["metrics"] for row in json.loads((f / "report" / "results.json").read_text())["rows"]]
        for f in (learnt, folder)
    ]
    assert scores[0] == scores[1]


def test_gray_films_give_a_base_of_one_channel(films, tmp_path, capsys):
    flags = ["--channels", "1", "--quick", "--epochs", "9"]
    assert main(arguments(films, tmp_path / "gray", *flags)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Next:   nlp-transfer run pet-classifier --data YOUR_PHOTOS")
    assert last.endswith(f"--backbone {tmp_path / 'gray'}")
    report = (tmp_path / "gray" / "report" / "report.md").read_text()
    assert "- `epochs`: `2`" in report  # that were made
    model = AutoModel.from_pretrained(tmp_path / "gray").eval()
    assert model(torch.zeros(1, 1, 32, 32)).pooler_output.ndim == 2


def test_the_clips_of_the_package_are_there():
    recipe = load_recipe("temporal-order")
    assert all((recipe.clips() / name).exists() for name in recipe.CLIPS)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size", "8"], "--size is 8"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--window", "0"], "--window is 0"),
        (["--window", "60"], "Give more videos"),
        (["--channels", "2"], "--channels is 2"),
        (["--folds", "1"], "--folds is 1"),
        (["--architecture", "resnet1000"], "not an architecture of timm"),
        (["--videos", "nowhere"], "no such file"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(films, tmp_path, capsys, flags, said):
    assert main([*arguments(films, tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
