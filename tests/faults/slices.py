"""The smallest task of each recipe that goes through all that the recipe does."""

import json
import shutil

import numpy as np
import pandas as pd

from recipes.data.ct_lesions import LABELS, simulated_scans
from recipes.email_urgency import DATA as MAILS
from recipes.pet_classifier import DATA as PETS
from tests.vision_transfer.ct.scans import small_slice
from tests.vision_transfer.films import moving_disc, write_film

FEW = ["--counts", "12", "24", "--seeds", "2", "--steps", "12"]
SMALL = ["--size", "32", "--architecture", "test_resnet"]


def texts(folder):
    """216 texts in three folds."""
    table = pd.read_parquet(MAILS / "messages.parquet")
    kept = [
        rows.head(12 if label == "urgent" else 60)
        for (fold, label), rows in table.groupby(["fold", "label"])
        if fold < 3
    ]
    pd.concat(kept).to_parquet(folder / "messages.parquet")
    return ["--data", str(folder / "messages.parquet")]


def mails(folder):
    """Every 15th of the mails without labels."""
    table = pd.read_parquet(MAILS.parent / "related_emails" / "corpus.parquet")
    table.iloc[::15].to_parquet(folder / "mails.parquet")
    task = ["--task", texts(folder)[1]]
    return ["--data", str(folder / "mails.parquet"), *task, "--quick", "--dim", "16"]


def pets(folder):
    """Six cats and six dogs in each of three folds, with their heads and captions."""
    table = pd.read_json(PETS / "metadata.jsonl", lines=True)
    kept = table[table["fold"] < 3].groupby(["fold", "species"]).head(6)
    (folder / "images").mkdir()
    for name in kept["file_name"]:
        shutil.copy(PETS / name, folder / name)
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
    found = simulated_scans(80, seed=5)
    (folder / "scans").mkdir()
    for number, pixels in enumerate(found.hounsfield[:, 0]):
        data = small_slice()
        data.PatientID = str(number // 2)
        data.SeriesInstanceUID, data.SOPInstanceUID = f"1.2.{number}", f"1.2.{number}.1"
        data.Rows, data.Columns = pixels.shape
        data.PixelSpacing = [0.7, 0.7]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = (pixels + 1024).astype(np.uint16).tobytes()
        data.save_as(folder / "scans" / f"{number}.dcm")
    table = {"file": [f"{n}.dcm" for n in range(80)], "label": [LABELS[i] for i in found.labels]}
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)
    return ["--data", str(folder / "scans"), "--labels", str(folder / "labels.csv")]


SLICES = {
    "word-embeddings": (mails, []),
    "pet-classifier": (
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
    "email-urgency --base bert": (texts, ["--quick"]),
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
