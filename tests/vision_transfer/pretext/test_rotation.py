"""Predicting how an image was rotated: exact rotations, no cue but content, a base for transfer."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments, set_seed

from vision_transfer.backbones import load_backbone, save_classifier, untrained_backbone
from vision_transfer.images import Photos
from vision_transfer.pretext.rotation import ROTATIONS, RotatedImages

PHOTOS = sorted((Path(__file__).parents[3] / "recipes" / "data" / "pets" / "images").glob("*.jpg"))
SIZE = 32


def learn(paths, tmp_path, epochs):
    """A model that learnt from images, and its accuracy on others."""
    model, processor = untrained_backbone("test_resnet", ROTATIONS, SIZE)
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        num_train_epochs=epochs,
        learning_rate=2e-3,
        per_device_train_batch_size=16,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
    )
    half = len(paths) // 2
    trainer = Trainer(
        model,
        arguments,
        train_dataset=RotatedImages(Photos(paths[:half], 48), SIZE, augmented=True),
    )
    trainer.train()
    predicted = trainer.predict(RotatedImages(Photos(paths[half:], 48), SIZE, augmented=False))
    right = np.argmax(predicted.predictions, -1) == predicted.label_ids
    return model, processor, right


def test_every_image_comes_in_all_rotations_with_its_pixels_unchanged():
    images = RotatedImages(Photos(PHOTOS[:2], 48), SIZE, augmented=False)
    assert [int(image["labels"]) for image in images] == [0, 1, 2, 3, 0, 1, 2, 3]
    for number, image in enumerate(images):
        upright = images[number - number % 4]["pixel_values"]
        rotation = int(image["labels"])
        assert torch.equal(image["pixel_values"].rot90(-rotation, (1, 2)), upright)


def test_a_photo_is_scaled_alike_in_both_directions(tmp_path):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[10:30, 30:50] = 255  # a square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    seen = RotatedImages(Photos([tmp_path / "wide.png"], 40), 20, augmented=False)[0]
    bright = seen["pixel_values"][0] > 0
    assert bright.any(0).sum() == bright.any(1).sum() == 10


def test_images_without_content_do_not_give_their_rotation_away(tmp_path):
    set_seed(0)
    generator = np.random.default_rng(0)
    for number in range(48):
        noise = generator.integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    _, _, right = learn(sorted(tmp_path.glob("*.jpg")), tmp_path, epochs=8)
    deviation = (0.25 * 0.75 / len(right)) ** 0.5
    assert abs(right.mean() - 0.25) < 3 * deviation


def test_images_that_have_an_up_teach_it_and_the_model_is_a_base(tmp_path):
    set_seed(0)
    generator = np.random.default_rng(0)
    sky = np.linspace(255, 60, 48)[:, None, None] * np.ones((48, 64, 3))
    for number in range(40):
        image = sky * generator.uniform(0.6, 1) + generator.normal(0, 20, sky.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    model, processor, right = learn(sorted(tmp_path.glob("*.png")), tmp_path, epochs=8)
    assert right.mean() > 0.9
    assert model.config.id2label == dict(enumerate(ROTATIONS))
    save_classifier(model, processor, tmp_path / "model")
    base, _ = load_backbone(tmp_path / "model", ["cat", "dog"])
    learnt = model.state_dict()
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, learnt[name]) or "fc" in name
    photo = next(iter(RotatedImages(Photos(PHOTOS[:1], 48), SIZE, augmented=False)))["pixel_values"]
    assert base(photo[None]).logits.shape == (1, 2)


def test_tensors_of_one_channel_are_rotated_too():
    scan = torch.rand(1, 40, 40)
    rotated = RotatedImages([scan], 40, augmented=False)
    assert torch.allclose(rotated[1]["pixel_values"], scan.rot90(1, (1, 2)) * 2 - 1)
    model, _ = untrained_backbone("resnet10t", ROTATIONS, SIZE, channels=1)
    augmented = RotatedImages([scan], SIZE, augmented=True)[0]["pixel_values"]
    assert model.eval()(augmented[None]).logits.shape == (1, 4)
