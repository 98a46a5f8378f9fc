"""Slices of the shipped data that are small and go through all that a recipe does."""

import pandas as pd

from recipes.email_urgency import DATA as MAILS
from recipes.pet_classifier import DATA as PETS


def small_messages():
    """12 urgent and 70 other texts in each of three folds."""
    messages = pd.read_parquet(MAILS / "messages.parquet")
    messages = messages[messages["fold"] < 3]
    kept = [
        rows.head(count)
        for (_, label), rows in messages.groupby(["fold", "label"])
        for count in [12 if label == "urgent" else 70]
    ]
    return pd.concat(kept)


def small_photos(folder):
    """Six cats and six dogs in each of three folds: links in `images/`, and their rows."""
    table = pd.read_json(PETS / "metadata.jsonl", lines=True)
    kept = table[table["fold"] < 3].groupby(["fold", "species"]).head(6)
    (folder / "images").mkdir()
    for name in kept["file_name"]:
        (folder / name).symlink_to(PETS / name)
    return kept
