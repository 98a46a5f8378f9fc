"""Pictures of one coloured square each, and what they show in words."""

import numpy as np
import pytest
import torch
from PIL import Image

from nlp_transfer.vocabulary import add_bounds, build_vocabulary
from vision_transfer.backbones import untrained_backbone
from vision_transfer.captioning.captioner import caption_processor, new_captioner, set_generation

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}
SIDES = ("left", "right")


def square(colour, side, shade=0):
    """A picture of 32 pixels with a square of this colour."""
    pixels = np.full((32, 32, 3), 120 + shade, np.uint8)
    start = 2 if side == "left" else 18
    pixels[10:22, start : start + 12] = COLOURS[colour]
    return Image.fromarray(pixels)


def shown(colour, side):
    """What such a picture shows, in two ways."""
    return [f"a {colour} square on the {side}", f"on the {side} there is a {colour} square"]


@pytest.fixture(scope="session")
def pictures():
    """24 pictures, four of each kind, and their captions."""
    kinds = [(colour, side) for colour in COLOURS for side in SIDES]
    images = [square(*kind, shade) for shade in (0, 4, 8, 12) for kind in kinds]
    return images, [shown(*kind) for _ in range(4) for kind in kinds]


@pytest.fixture(scope="session")
def vocabulary(pictures):
    texts = [caption for captions in pictures[1] for caption in captions]
    tokenizer = build_vocabulary(texts, min_frequency=1)
    add_bounds(tokenizer)
    return tokenizer


@pytest.fixture
def captioner(vocabulary):
    """Make an untrained captioner on a small timm model, and its processor."""

    def make(**settings):
        encoder, images = untrained_backbone("test_resnet", ["one", "two"], 32)
        random = np.random.default_rng(0).normal(0, 0.5, (len(vocabulary), 16))
        random[vocabulary.pad_token_id] = 0
        small = {"context_size": 24, "hidden_size": 32} | settings
        model = new_captioner(encoder, vocabulary, random.astype(np.float32), **small)
        set_generation(model, longest=12)
        return model.eval(), caption_processor(images, vocabulary)

    return make


@pytest.fixture
def pixels(pictures, captioner):
    """The pictures as the processor prepares them, `[24, 3, 32, 32]`."""
    _, processor = captioner()
    inputs = processor(images=pictures[0], text=[""] * len(pictures[0]), return_tensors="pt")
    assert inputs["input_ids"].shape == (24, 1)
    return inputs["pixel_values"].to(torch.float32)
