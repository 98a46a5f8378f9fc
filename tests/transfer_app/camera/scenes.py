"""Films of a feeding place, made of shipped photos: animals come before a still camera, and leave.

The photos are of fold 0, on which a model is tested that was trained with `--folds 0`.
"""

from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from recipes.pet_classifier import DATA as PETS

WIDTH, HEIGHT, FPS = 384, 288, 5
CAT, DOG, CAT_BESIDE, DOG_BESIDE = (
    PETS / "images" / f"{name}.jpg"
    for name in (
        "Birman_153",
        "english_cocker_spaniel_130",
        "Persian_14",
        "basset_hound_110",
    )
)
FIVE_VISITS = (  # as a person notes them who watches the film
    ("cat", 6, 14),
    ("dog", 20, 28),
    # from 32 to 40 nothing: a cloud, a fly, a flash of light
    ("unsure", 44, 52),  # a cat and a dog
    # from 58 to 68 the lamp is off, and a dog comes in the dark
)
_SECONDS = 74


class Animal:
    """A photo that moves in from a side, stays, moves a little and leaves."""

    def __init__(self, file, begin, end, *, side=-1, place=0.5, size=170):
        photo = Image.open(file).convert("RGB")
        photo.thumbnail((size, size))
        self.photo, self.begin, self.end, self.side, self.place = photo, begin, end, side, place
        mask = Image.new("L", photo.size, 0)
        ImageDraw.Draw(mask).ellipse([0, 0, *photo.size], fill=255)
        self.mask = mask.filter(ImageFilter.GaussianBlur(3))

    def paste(self, image, second):
        """Paste it where it is at a time."""
        if not self.begin <= second < self.end:
            return
        away = max(0, 1 - (second - self.begin), 1 - (self.end - second))
        outside = -self.photo.width if self.side < 0 else WIDTH
        there = self.place * WIDTH - self.photo.width / 2 + 5 * np.sin(second)
        scale = 1 + 0.04 * np.sin(second / 2)
        size = [round(scale * length) for length in self.photo.size]
        corner = round(away * outside + (1 - away) * there), HEIGHT - 10 - size[1]
        image.paste(self.photo.resize(size), corner, self.mask.resize(size))


def empty_place():
    """A wall, a floor and a bowl."""
    random = np.random.default_rng(1)
    pixels = np.empty((HEIGHT, WIDTH, 3))
    pixels[:], pixels[180:] = (190, 185, 170), (120, 95, 70)
    pixels[:, ::48] -= 12
    pixels += random.normal(0, 4, pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).ellipse([160, 230, 224, 264], fill=(200, 60, 50))
    return image.filter(ImageFilter.GaussianBlur(1))


def film(animals, seconds, *, fps=FPS, light=lambda second: 1.0, also=lambda image, second: None):
    """Yield frames, `uint8 [height, width, 3]`, with the noise of a camera."""
    still, random = empty_place(), np.random.default_rng(0)
    grain = random.normal(0, 5, (8, HEIGHT, WIDTH, 3)).astype(np.float32)
    for number in range(round(seconds * fps)):
        second = number / fps
        image = still.copy()
        for animal in animals:
            animal.paste(image, second)
        also(image, second)
        pixels = np.asarray(image, np.float32) * np.float32(light(second))
        yield (pixels + grain[number % len(grain)]).clip(0, 255).astype(np.uint8)


def five_visits():
    """Yield the frames of five visits: a cat, a dog, nothing, both, and in the dark."""
    animals = [
        Animal(CAT, 6, 14),
        Animal(DOG, 20, 28, side=1, place=0.45),
        Animal(CAT_BESIDE, 44, 52, place=0.23, size=150),
        Animal(DOG_BESIDE, 44, 52, side=1, place=0.77, size=150),
        Animal(DOG, 60, 66),
    ]

    def light(second):
        level = 1 + 0.08 * np.sin(second / 9)
        if 32 <= second < 40:
            level *= 1 - 0.4 * np.sin((second - 32) / 8 * np.pi)
        return 1.8 if second == 38 else 0.02 if 58 <= second < 68 else level

    def fly(image, second):
        if 33 <= second < 37:
            left = 60 + 60 * (second - 33)
            ImageDraw.Draw(image).ellipse([left, 80, left + 6, 86], fill=(10, 10, 10))

    return film(animals, _SECONDS, light=light, also=fly)


def cat_and_dog(**options):
    """Yield the frames of two visits."""
    animals = [Animal(CAT, 4, 10), Animal(DOG, 17, 23, side=1)]
    return film(animals, 28, **options)


def write(path, frames, fps=FPS, *, times=None, codec="libx264", turned=0):
    """Encode frames, shown at even times or at the given ones, in seconds."""
    with av.open(str(path), "w") as container:
        coarsest = "5" if codec == "mjpeg" else "20"  # a webcam's JPEG is better than 20 would be
        options = {"preset": "ultrafast", "qmin": "2", "qmax": coarsest}
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        if turned:
            stream.set_display_rotation(turned)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            second = number / fps if times is None else times[number]
            picture.pts, picture.time_base = round(1000 * second), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
