"""How often `predict` says that inputs are others than those that a model was trained on.

The model of a fold knows the words, or the features, of three folds; what is usual is measured on
the fourth, as when it is trained. Batches are drawn from the fifth, which must not alarm, and from
other collections, which must. A batch that is larger than what it is drawn from has some twice.

    pip install 'nlp-transfer[vision,ct,assets,docs]' scikit-image
    python benchmarks/drift.py [--draws 200] [--features FOLDER]
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from babel import Locale
from PIL import Image
from sklearn.datasets import load_digits
from transformers import AutoTokenizer

from nlp_transfer.encoder_classifier import packaged_encoder
from nlp_transfer.vocabulary import build_vocabulary
from staged_training.experiment.splits import fold_split
from staged_training.features.head import collected_features
from staged_training.heads.drift import Watch, known_share, likeness, token_kinds
from staged_training.heads.familiarity import familiarity
from staged_training.recipe import RECIPES
from staged_training.runtime.markdown import markdown_table
from staged_training.tables.words import long_words

DATA = RECIPES / "data"
FOLDS = 5
HELD_OUT = "held out"
BATCHES = {
    "30": (30, 1.0),
    "100": (100, 1.0),
    "300": (300, 1.0),
    "100, half of them": (100, 0.5),
    "300, a fifth of them": (300, 0.2),
}
"""How many inputs, and which share of them comes from another collection; the rest is held out."""

ALIKE = "urgent mails", "sentences that ask for action"
"""Sets of one source: sentences of the same mails."""

MOST, LEAST = 0.05, 0.95
"""Alarms of batches that are held out, and of 100 inputs from another collection."""

Likeness = Callable[[Sequence, Sequence], np.ndarray]
"""Takes the training examples and others; gives the likeness of the others."""


def mails() -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Yield the name, the texts and the folds of each set, and the texts of other collections."""
    messages = pd.read_parquet(DATA / "email_urgency" / "messages.parquet")
    proxy = pd.read_parquet(DATA / "email_urgency" / "proxy.parquet")["text"].to_numpy()
    related = pd.read_parquet(DATA / "related_emails" / "corpus.parquet")
    whole = (related["subject"] + "\n\n" + related["body"]).to_numpy()
    rng = np.random.default_rng(0)
    others = {
        f"whole mails, {name}": rng.choice(whole[chosen], 500, replace=False)
        for name, chosen in {
            "Enron": related["source"] == "enron",
            "SpamAssassin": (related["source"] != "enron") & ~related["spam"],
            "spam": related["spam"],
        }.items()
    } | {"German": in_language("de"), "Spanish": in_language("es")}
    texts, folds = messages["text"].to_numpy(), messages["fold"].to_numpy()
    yield ALIKE[0], texts, folds, {ALIKE[1]: proxy} | others
    dealt = rng.permutation(np.arange(len(proxy)) % FOLDS)
    yield ALIKE[1], proxy, dealt, {ALIKE[0]: texts} | others


def in_language(language: str) -> np.ndarray:
    """Return 300 texts of 20 names of countries, languages and scripts."""
    locale = Locale(language)
    names = [*locale.territories.values(), *locale.languages.values(), *locale.scripts.values()]
    rng = np.random.default_rng(0)
    return np.array([", ".join(rng.choice(names, 20)) for _ in range(300)])


def of_tokens(numbered: Callable[[Sequence[str]], list]) -> Likeness:
    """Return the likeness of texts by what gives their tokens numbers."""

    def found(train: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        ids = numbered([*train, *texts])
        kinds = token_kinds(ids[: len(train)], 1 + max(map(max, filter(len, ids))), [])
        return np.array([known_share(kinds, one) for one in ids[len(train) :]])

    return found


def words(texts: Sequence[str]) -> list[np.ndarray]:
    found = [long_words(text.lower()) for text in texts]
    numbers = {word: n for n, word in enumerate({word for one in found for word in one})}
    return [np.array([numbers[word] for word in one], int) for one in found]


def tokens(texts: Sequence[str]) -> list[list[int]]:
    return build_vocabulary(texts, min_frequency=1)(list(texts), truncation=True)["input_ids"]


def pieces(texts: Sequence[str]) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(packaged_encoder("bert"))
    return tokenizer(list(texts), truncation=True, add_special_tokens=False)["input_ids"]


def photos(folder: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return features and folds of cats and dogs, and features of other collections."""
    from vision_transfer.candidates import BackboneCandidate
    from vision_transfer.image_task import read_image_task

    task = read_image_task(DATA / "pets", "species")
    candidate = BackboneCandidate(
        name="base", task=task, backbone="efficientnet-lite0", cache=folder
    )
    model, processor = candidate.base

    def features(images: list[Image.Image]) -> np.ndarray:
        with collected_features(model) as rows, torch.no_grad():
            for image in images:
                model(**processor([image], return_tensors="pt"))
        return torch.stack(rows).numpy()

    found = {name: features(images) for name, images in other_images().items()}
    return candidate.features.columns["features"].flatten(1).numpy(), task.folds, found


def other_images() -> dict[str, list[Image.Image]]:
    """Return 100 digits, and 100 cuts each of sample photos and of slices of CT."""
    import skimage
    import sklearn
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    digits = [Image.fromarray(np.uint8(15 * digit)) for digit in load_digits().images[:100]]
    folders = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets"
    found = [file for folder in folders for file in folder.rglob("*.[jp][pn]g")]
    samples = [image for image in map(Image.open, found) if min(image.size) >= 256]
    files = map(get_testdata_file, ("CT_small.dcm", "eCT_Supplemental.dcm"))
    read = [dcmread(file).pixel_array.astype(float) for file in files]
    slices = [one for scan in read for one in scan.reshape(-1, *scan.shape[-2:])]
    scans = [Image.fromarray(np.uint8(255 * one / one.max())) for one in slices]
    return {
        "digits": [digit.resize((224, 224)).convert("RGB") for digit in digits],
        f"{len(samples)} sample photos": cuts(samples),
        f"{len(scans)} slices of CT": cuts(scans),
    }


def cuts(images: list[Image.Image]) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(100):
        image = images[number % len(images)].convert("RGB")
        side = int(rng.uniform(0.5, 1) * min(image.size))
        left, top = (int(rng.integers(0, most - side + 1)) for most in image.size)
        found.append(image.crop((left, top, left + side, top + side)).resize((224, 224)))
    return found


def nearest(train: Sequence, others: Sequence) -> np.ndarray:
    return familiarity(train, others).similarity(others)


def measure(
    like: Likeness, examples: np.ndarray, folds: np.ndarray, others: dict, draws: int
) -> dict[str, np.ndarray]:
    """Return in which share of the draws batches alarm, by where they come from, `[batches]`."""
    rng = np.random.default_rng(0)
    alarms = {name: np.zeros((FOLDS, len(BATCHES))) for name in (HELD_OUT, *others)}
    for fold in range(FOLDS):
        train, validation, test = fold_split(folds, fold)
        parts = [examples[validation], examples[test], *others.values()]
        found = like(examples[train], np.concatenate(parts))
        usual, *drawn = np.split(found, np.cumsum([len(part) for part in parts])[:-1])
        for shares, values in zip(alarms.values(), drawn, strict=True):
            for column, (size, share) in enumerate(BATCHES.values()):
                own = round(share * size)
                batches = (
                    np.concatenate([draw(rng, values, own), draw(rng, drawn[0], size - own)])
                    for _ in range(draws)
                )
                shares[fold, column] = np.mean([alarms_of(usual, batch) for batch in batches])
    return {name: shares.mean(axis=0) for name, shares in alarms.items()}


def draw(rng: np.random.Generator, values: np.ndarray, size: int) -> np.ndarray:
    return rng.choice(values, size, replace=size > len(values))


def alarms_of(usual: np.ndarray, values: np.ndarray) -> bool:
    watch = Watch(likeness(usual))
    for value in values.tolist():
        watch.see(value)
    return watch.described() is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="batches of a size and fold")
    parser.add_argument("--features", type=Path, help="where features of photos are kept")
    arguments = parser.parse_args()
    kinds = {"words": words, "words and marks": tokens, "word pieces": pieces}
    measured = [
        (name, kind, measure(of_tokens(numbered), texts, folds, others, arguments.draws))
        for name, texts, folds, others in mails()
        for kind, numbered in kinds.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        features, folds, others = photos(arguments.features or Path(folder))
    found = measure(nearest, features, folds, others, arguments.draws)
    measured.append(("cats and dogs", "features", found))
    rows = [
        [name, kind, source, *(f"{share:.1%}" for share in shares)]
        for name, kind, found in measured
        for source, shares in found.items()
    ]
    print(markdown_table(["trained on", "by", "batches of", *BATCHES], rows))
    is_missed = any(
        max(shares) > MOST if source == HELD_OUT else shares[1] < LEAST
        for *_, found in measured
        for source, shares in found.items()
        if source not in ALIKE
    )
    return int(is_missed)


if __name__ == "__main__":
    sys.exit(main())
