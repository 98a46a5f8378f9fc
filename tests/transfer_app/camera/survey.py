"""How often visits are told right: each photo of fold 0 comes before the camera once.

nlp-transfer run pet-classifier --folds 0 --output-dir feeder && nlp-transfer export feeder
python -m tests.transfer_app.camera.survey feeder
"""

import sys
from collections import Counter

import pandas as pd
from PIL import Image

from recipes.pet_classifier import DATA as PETS
from tests.transfer_app.camera.scenes import WIDTH, Animal, film
from transfer_app.camera.films import Frame
from transfer_app.camera.scene import WHOLE, Scene
from transfer_app.camera.visits import UNSURE
from transfer_app.camera.watcher import Watcher

_RATE = 2


def told(model, animals):
    """The labels of the visits of a film."""
    pixels = film(animals, 14, fps=_RATE)
    frames = (Frame(n / _RATE, Image.fromarray(one), "film") for n, one in enumerate(pixels))
    return [visit.label for visit in Watcher(model).watch(frames)]


def verdict(labels, noted):
    """What became of a visit."""
    return "right" if labels == [noted] else "unsure" if labels == [UNSURE] else "wrong"


def single(model, photos, size):
    """Count what becomes of visits of one animal, of a size in pixels."""
    return Counter(
        verdict(told(model, [Animal(PETS / row.file_name, 4, 10, size=size)]), row.species)
        for row in photos.itertuples()
    )


def pairs(model, photos, apart):
    """Count what becomes of a cat and a dog whose middles are so far apart."""
    files = {name: list(rows["file_name"]) for name, rows in photos.groupby("species")}
    return Counter(
        verdict(
            told(
                model,
                [
                    Animal(PETS / cat, 4, 10, place=(1 - apart) / 2, size=150),
                    Animal(PETS / dog, 4, 10, place=(1 + apart) / 2, side=1, size=150),
                ],
            ),
            UNSURE,
        )
        for cat, dog in zip(files["cat"], files["dog"], strict=False)
    )


def main(model):
    """Print what becomes of visits; and of single animals, if whole frames are classified."""
    photos = pd.read_json(PETS / "metadata.jsonl", lines=True)
    photos = photos[photos["fold"] == 0]
    sizes = {f"{size / WIDTH:.0%} of the width": size for size in (115, 170, 230)}
    for name, size in sizes.items():
        print(name, dict(single(model, photos, size)), flush=True)
    for apart in (0.54, 0.3):
        print(f"a cat and a dog, {apart:.0%} apart", dict(pairs(model, photos, apart)), flush=True)
    changes = Scene.changes
    Scene.changes = lambda scene, image: changes(scene, image) and [WHOLE]
    print("170 pixels, whole frames", dict(single(model, photos, 170)))


if __name__ == "__main__":
    main(sys.argv[1])
