"""The smallest task of each recipe that goes through all that the recipe does."""

import json

import pandas as pd

from recipes.email_urgency import DATA as MAILS
from recipes.pet_classifier import DATA as PETS
from tests.small_data import small_messages, small_photos
from tests.vision_transfer.ct.scans import write_hospital
from tests.vision_transfer.films import moving_disc, write_film

FEW = ["--counts", "12", "24", "--seeds", "2", "--steps", "12"]
SMALL = ["--size", "32", "--architecture", "test_resnet"]


def texts(folder):
    """246 texts in three folds."""
    small_messages().to_parquet(folder / "messages.parquet")
    return ["--data", str(folder / "messages.parquet")]


def mails(folder):
    """Every 15th of the mails without labels."""
    table = pd.read_parquet(MAILS.parent / "related_emails" / "corpus.parquet")
    table.iloc[::15].to_parquet(folder / "mails.parquet")
    task = ["--task", texts(folder)[1]]
    return ["--data", str(folder / "mails.parquet"), *task, "--quick", "--dim", "16"]


def pets(folder):
    """Six cats and six dogs in each of three folds, with their heads and captions."""
    kept = small_photos(folder)
    captions = pd.read_json(PETS / "captions.jsonl", lines=True)
    captions = captions[captions["file_name"].isin(kept["file_name"])]
    for name, rows in {"metadata": kept, "captions": captions}.items():
        rows.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
    return ["--data", str(folder)]


def films(folder):
    """Six films in which a disc moves."""
    for number in range(6):
        write_film(folder / f"{number}.mp4", moving_disc(number))
    return ["--videos", str(folder)]


def scans(folder):
    """80 simulated scans as DICOM files."""
    write_hospital(folder)
    return ["--data", str(folder / "scans"), "--labels", str(folder / "labels.csv")]


SLICES = {
    "word-embeddings": (mails, []),
    "pet-classifier": (
        pets,
        ["--label-column", "species", "--folds", "0", "--fine-tune", "--quick"],
    ),
    "image-classifier": (
        pets,
        ["--label-column", "species", "--folds", "0", "--fine-tune", "--quick"],
    ),
    "pet-detector": (
        pets,
        ["--box-column", "head_box", "--folds", "0", "--quick", "--size", "128", "--fine-tune"],
    ),
    "email-urgency": (texts, ["--quick", "--refit"]),
    "temporal-order": (films, [*SMALL, "--epochs", "4"]),
    "rotation-pretraining": (pets, ["--label-column", "species", *SMALL, "--epochs", "4", *FEW]),
    "ct-inpainting": (
        scans,
        ["--size", "32", "--spacing", "1.4", "--output-stride", "32", "--epochs", "4", *FEW],
    ),
    "pet-captioner": (pets, ["--folds", "0", "--quick", "--fine-tune"]),
    "email-urgency --vectors none": (texts, ["--quick"]),
}
"""For each recipe what makes its data, and its other flags."""


def flags_of(recipe, folder):
    """The arguments of `nlp-transfer run` for the slice of a recipe; its data go to a folder."""
    folder.mkdir()
    make, flags = SLICES[recipe]
    return [*recipe.split(), *make(folder), *flags]


def scores(results):
    """What a `results.json` says, but for times."""
    told = json.loads(results.read_text())
    for row in told["rows"]:
        row.pop("seconds")
        for of in ("metrics", "std"):
            row[of] = {name: value for name, value in row[of].items() if "seconds" not in name}
    return told
