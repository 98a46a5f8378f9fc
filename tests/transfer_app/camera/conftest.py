"""A classifier of cats and dogs, exported, that has not seen the photos of the films."""

import pandas as pd
import pytest

from recipes.pet_classifier import DATA as PETS
from tests.transfer_app.camera import scenes
from transfer_app.command_line import main


@pytest.fixture(scope="session")
def feeder(tmp_path_factory):
    """The folder of the model, trained on every other photo."""
    folder = tmp_path_factory.mktemp("feeder")
    photos = pd.read_json(PETS / "metadata.jsonl", lines=True)
    kept = [rows.iloc[:: 2 if fold else 6] for fold, rows in photos.groupby("fold")]
    table = pd.concat(kept).assign(file_name=lambda rows: f"{PETS}/" + rows["file_name"])
    table.to_json(folder / "photos.jsonl", orient="records", lines=True)
    data = ["--data", str(folder / "photos.jsonl"), "--label-column", "species", "--folds", "0"]
    model = str(folder / "model")
    assert main(["run", "pet-classifier", "--quick", *data, "--output-dir", model]) == 0
    assert main(["export", model]) == 0
    return model


@pytest.fixture(scope="session")
def five_visits(tmp_path_factory):
    """The film of five visits."""
    return scenes.write(tmp_path_factory.mktemp("films") / "five.mp4", scenes.five_visits())


@pytest.fixture(scope="session")
def cat_and_dog():
    """The frames of a film of a cat and a dog."""
    return list(scenes.cat_and_dog())
