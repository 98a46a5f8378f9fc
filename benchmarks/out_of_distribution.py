"""What a classifier of cats and dogs declines: other photos of them, and photos of other things.

Five folds of the shipped pets. Beside the photos of the test fold there are such as a user has: the
same ones blurred, dark, small, cut or before a wide background, breeds that were not trained on,
and collections of one's own, a folder `cat` and a folder `dog` in each (`--near`). What shows
neither: the sample images of scikit-image, scikit-learn and Matplotlib, digits, noise, and folders
of one's own (`--far`). The features are those of the frozen image model, the classifier is logistic
regression on them.

Three rules are compared: the cosine to the nearest training photo that 95 % of validation reach,
the same score with the threshold by cost, and what is published (`familiarity`). For both scores
there is the area below the ROC curve, of cats and dogs against each collection of other things.

    pip install 'nlp-transfer[vision,assets]' scikit-image
    python benchmarks/out_of_distribution.py [--quick] [--near FOLDER ...] [--far FOLDER ...]
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from staged_training.heads.familiarity import TAIL, WRONG, familiarity
from staged_training.runtime.markdown import markdown_table

FOLDS = 5
SUFFIXES = {".jpg", ".jpeg", ".png"}
VIEWS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.3),
    "64 pixels": lambda image: image.resize((64, 64 * image.height // image.width)),
    "half of width and height": lambda image: image.crop(
        tuple(side * part // 4 for part in (1, 3) for side in image.size)
    ),
    "a quarter of the frame": lambda image: framed(image),
}
Features = np.ndarray
Score = Callable[[Features], np.ndarray]


class Photos(NamedTuple):
    """Features of photos; with their labels if they show what is classified, else empty ones.

    `sources` are the pets that they are views of, if they are.
    """

    features: Features
    labels: np.ndarray
    sources: np.ndarray | None = None


def framed(image: Image.Image) -> Image.Image:
    wide = Image.new("RGB", (2 * image.width, 2 * image.height), "gray")
    wide.paste(image, (image.width // 2, image.height // 2))
    return wide


def unit(features: Features) -> Features:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def nearest(train: Features) -> Score:
    """The cosine to the nearest training example."""
    return lambda rows: (unit(rows) @ unit(train).T).max(axis=1)


def by_cost(train: Features, validation: Features) -> float:
    """The threshold of the nearest example by cost, as `familiarity` sets its own."""
    inside = np.quantile(nearest(train)(validation), TAIL)
    mixed = np.random.default_rng(0).permuted(unit(train), axis=0)
    outside = np.quantile(nearest(train)(mixed), 1 - TAIL)
    return float(inside - max(inside - outside, 0) / (1 + WRONG))


def rules(train: Features, validation: Features) -> dict[str, tuple[Score, float]]:
    score, known = nearest(train), familiarity(train, validation)
    return {
        "nearest, 95 %": (score, float(np.quantile(score(validation), TAIL))),
        "nearest, by cost": (score, by_cost(train, validation)),
        "`familiarity`": (known.similarity, known.threshold),
    }


def measure(
    pets: Photos, folds: np.ndarray, breeds: np.ndarray, others: dict[str, Photos]
) -> list[str]:
    """Return two tables: the shares declined, and the areas below the ROC curve."""
    declined: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    areas: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for fold in range(FOLDS):
        test, validation = folds == fold, folds == (fold + 1) % FOLDS
        train = ~test & ~validation
        found = {
            "test photos": Photos(pets.features[test], pets.labels[test]),
            **{name: seen(photos, test) for name, photos in others.items()},
        }
        compare(pets, train, validation, found, declined)
        for name, (score, _) in rules(pets.features[train], pets.features[validation]).items():
            near = [score(photos.features) for photos in found.values() if photos.labels.size]
            for kind, photos in found.items():
                if not photos.labels.size:
                    values = np.concatenate([*near, score(photos.features)])
                    is_near = np.arange(len(values)) < len(values) - len(photos.features)
                    areas[name][kind].append(roc_auc_score(is_near, values))
        left_out = np.random.default_rng(fold).choice(np.unique(breeds), 10, replace=False)
        unseen = np.isin(breeds, left_out)
        kinds = {"ten breeds left out": Photos(pets.features[unseen], pets.labels[unseen])}
        compare(pets, train & ~unseen, validation & ~unseen, kinds, declined)
    return [table("share declined", declined, "{:.0%}"), table("area", areas, "{:.3f}")]


def compare(
    pets: Photos,
    train: np.ndarray,
    validation: np.ndarray,
    found: dict[str, Photos],
    declined: dict[str, dict[str, list[float]]],
) -> None:
    """Add what each rule declines, of those that would be right and of the others."""
    head = fitted(pets, train)
    both = rules(pets.features[train], pets.features[validation])
    for name, (score, threshold) in both.items():
        for kind, photos in found.items():
            away = score(photos.features) < threshold
            if not photos.labels.size:
                declined[kind][name] += [away.mean()]
                continue
            right = head.predict(photos.features) == photos.labels
            for part, rows in (("right", right), ("wrong", ~right)):
                declined[f"{kind}, {part}"][name] += [away[rows].mean()] if rows.any() else []


def fitted(pets: Photos, train: np.ndarray) -> LogisticRegression:
    head = LogisticRegression(C=0.1, max_iter=1000)
    return head.fit(pets.features[train], pets.labels[train])


def seen(photos: Photos, test: np.ndarray) -> Photos:
    """Of views of pets, those of the test fold."""
    if photos.sources is None:
        return photos
    chosen = test[photos.sources]
    return Photos(photos.features[chosen], photos.labels[chosen])


def table(title: str, found: dict[str, dict[str, list[float]]], style: str) -> str:
    heads = list(next(iter(found.values())))
    shown = [
        [name, *(style.format(np.mean(row[head])) if row[head] else "none" for head in heads)]
        for name, row in found.items()
    ]
    return markdown_table([title, *heads], shown)


def collections(folder: Path, near: list[Path], far: list[Path], step: int) -> list[str]:
    """Measure all collections; every `step`th photo of each."""
    from staged_training.recipe import RECIPES
    from vision_transfer.backbones import load_backbone
    from vision_transfer.image_task import read_image_task

    task, breeds = (read_image_task(RECIPES / "data" / "pets", c) for c in ("species", "breed"))
    model, processor = load_backbone("efficientnet-lite0", task.names)

    def photos(paths: list[Path], labels: list[str], sources: list[int] | None = None) -> Photos:
        rows = None if sources is None else np.array(sources)
        return Photos(features_of(model, processor, paths, folder), np.array(labels), rows)

    names = np.array(task.names)[task.values]
    others = {}
    for name, change in VIEWS.items():
        rows = range(0, len(task.paths), 3 * step)
        files = [folder / f"{name} {row}.png" for row in rows]
        for row, file in zip(rows, files, strict=True):
            change(Image.open(task.paths[row]).convert("RGB")).save(file)
        others[name] = photos(files, [names[row] for row in rows], list(rows))
    for base in near:
        files = photos_in(base)[::step]
        others[base.name] = photos(files, [file.parent.name for file in files])
    for base in far:
        others[base.name] = photos(photos_in(base)[::step], [])
    for name, files in packaged(folder).items():
        others[name] = photos(files[::step], [])
    pets = photos(task.paths, list(names))
    return measure(pets, task.folds, breeds.values, others)


def packaged(folder: Path) -> dict[str, list[Path]]:
    """What comes with packages and shows neither cats nor dogs, or is drawn here."""
    import matplotlib
    import skimage
    import sklearn
    from sklearn.datasets import load_digits

    bases = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets"
    samples = [file for base in bases for file in photos_in(base) if file.stem != "chelsea"]
    samples += [Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    noise = np.random.default_rng(0).integers(0, 256, (60, 14, 14, 3), dtype=np.uint8)
    digits = (255 - 15.9 * load_digits().images[:60]).astype(np.uint8)
    drawn = {"digits": digits, "noise": noise}
    found = {"sample images": samples}
    for name, arrays in drawn.items():
        found[name] = [folder / f"{name} {number}.png" for number in range(len(arrays))]
        for file, pixels in zip(found[name], arrays, strict=True):
            Image.fromarray(pixels).convert("RGB").resize((224, 224)).save(file)
    return found


def photos_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def features_of(model, processor, paths: list[Path], folder: Path) -> Features:
    from transformers import default_data_collator

    from staged_training.features.extraction import compute_features
    from vision_transfer.image_task import ImageDataset

    images = ImageDataset(paths, [0] * len(paths), processor)
    file = Path(tempfile.mkdtemp(dir=folder)) / "features.safetensors"
    found = compute_features(model, images, default_data_collator, file)
    return found.columns["features"].flatten(1).numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--near", nargs="*", type=Path, default=[], help="cats and dogs")
    parser.add_argument("--far", nargs="*", type=Path, default=[], help="other things")
    parser.add_argument("--quick", action="store_true", help="a tenth of each collection")
    arguments = parser.parse_args()
    step = 10 if arguments.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        print(*collections(Path(folder), arguments.near, arguments.far, step), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
