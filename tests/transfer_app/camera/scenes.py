"""Films of a feeding place, made of shipped photos: animals come before a still camera, and leave.

The photos are of fold 0, on which a model is tested that was trained with `--folds 0`.
"""

from fractions import Fraction

import av
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter

from recipes.pet_classifier import DATA as PETS

WIDTH, HEIGHT = 480, 360
FIVE_VISITS = (  # as a person notes them who watches the film
    ("cat", 6, 14),
    ("dog", 22, 30),
    # from 36 to 44 nothing: a cloud, a fly, a flash of light
    ("unsure", 50, 58),  # a cat and a dog
    # from 66 to 76 the light is off, and a dog comes in the dark
)
SECONDS = 84


def photos(species, fold=0):
    """The files of photos that a model was not trained on."""
    table = pd.read_json(PETS / "metadata.jsonl", lines=True)
    kept = table[(table["fold"] == fold) & (table["species"] == species)]
    return [PETS / name for name in kept["file_name"]]


def background():
    """A wall, a floor and a bowl."""
    random = np.random.default_rng(1)
    pixels = np.empty((HEIGHT, WIDTH, 3))
    pixels[:] = (190, 185, 170)
    pixels[220:] = (120, 95, 70)
    pixels[:, ::60] -= 12
    pixels += random.normal(0, 4, pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).ellipse([200, 290, 280, 330], fill=(200, 60, 50))
    return image.filter(ImageFilter.GaussianBlur(1))


class Animal:
    """A photo that moves in from a side, stays, moves a little and leaves."""

    def __init__(self, file, begin, end, *, side=-1, place=0.5, size=220):
        photo = Image.open(file).convert("RGB")
        photo.thumbnail((size, size))
        self.photo, self.begin, self.end, self.side, self.place = photo, begin, end, side, place
        self.mask = Image.new("L", photo.size, 0)
        ImageDraw.Draw(self.mask).ellipse([0, 0, *photo.size], fill=255)
        self.mask = self.mask.filter(ImageFilter.GaussianBlur(4))

    def paste(self, image, second):
        """Paste it where it is at a time."""
        if not self.begin <= second < self.end:
            return
        away = max(0, 1 - (second - self.begin), 1 - (self.end - second))
        outside = -self.photo.width if self.side < 0 else WIDTH
        there = self.place * WIDTH - self.photo.width / 2 + 6 * np.sin(second)
        scale = 1 + 0.04 * np.sin(second / 2)
        size = [round(scale * length) for length in self.photo.size]
        corner = round(away * outside + (1 - away) * there), HEIGHT - 10 - size[1]
        image.paste(self.photo.resize(size), corner, self.mask.resize(size))


def light(second):
    """How bright it is: slow changes, a cloud, and a lamp that is off for ten seconds."""
    level = 1 + 0.08 * np.sin(second / 9)
    if 36 <= second < 44:
        level *= 1 - 0.4 * np.sin((second - 36) / 8 * np.pi)
    return 0.02 if 66 <= second < 76 else level


def five_visits(cat, dog, other_cat, other_dog, fps=10):
    """Yield the frames of a film of five visits: cat, dog, nothing, both, and in the dark."""
    animals = [
        Animal(cat, 6, 14),
        Animal(dog, 22, 30, side=1, place=0.45),
        Animal(other_cat, 50, 58, place=0.23, size=180),
        Animal(other_dog, 50, 58, side=1, place=0.77, size=180),
        Animal(dog, 68, 74),
    ]
    still, random = background(), np.random.default_rng(0)
    grain = random.normal(0, 5, (8, HEIGHT, WIDTH, 3)).astype(np.float32)
    for number in range(round(SECONDS * fps)):
        second = number / fps
        image = still.copy()
        for animal in animals:
            animal.paste(image, second)
        if 38 <= second < 41:
            place = 60 + 100 * (second - 38)
            ImageDraw.Draw(image).ellipse([place, 90, place + 8, 98], fill=(10, 10, 10))
        level = 1.8 if second == 42 else light(second)
        pixels = np.asarray(image, np.float32) * level + grain[number % len(grain)]
        yield pixels.clip(0, 255).astype(np.uint8)


def write(path, frames, fps=10, *, times=None, codec="libx264", turned=0, **options):
    """Encode frames, shown at even times or at the given ones, in seconds."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        if turned:
            stream.set_display_rotation(turned)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.codec_context.time_base = Fraction(1, 1000)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            second = number / fps if times is None else times[number]
            picture.pts, picture.time_base = round(1000 * second), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
