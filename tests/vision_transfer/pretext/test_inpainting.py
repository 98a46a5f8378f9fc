"""Filling holes: what is in them is not seen, error counts there only, and a base remains."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import set_seed

from vision_transfer.backbones import load_backbone, save_classifier, untrained_backbone
from vision_transfer.pretext.inpainting import (
    ContextEncoder,
    MaskedImages,
    filled,
    inpainting_scores,
)
from vision_transfer.pretext.training import train_pretext

SIZE = 32


def new_model(architecture="test_resnet", size=SIZE, channels=1, output_stride=8, **settings):
    encoder, processor = untrained_backbone(architecture, ["it"], size, channels, output_stride)
    return ContextEncoder.around(encoder, **settings), processor


def waves(count, seed=0):
    """Images that can be filled by going on with their stripes."""
    set_seed(seed)
    along = torch.arange(SIZE) * torch.rand(count, 1) * 0.8 + 6 * torch.rand(count, 1)
    return along.sin()[:, None, None, :].expand(count, 1, SIZE, SIZE).contiguous()


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([(8, 8), (20, 33), (64, 64)]))
@settings(max_examples=30)
def test_holes_lie_inside_and_stay_the_same_for_a_seed(seed, holes, shape):
    one, other = (MaskedImages([torch.zeros(3, *shape)], holes=holes, seed=seed) for _ in range(2))
    mask = one[0]["mask"]
    assert mask.shape == (1, *shape)
    assert 0 < mask.sum() < mask.numel() * 0.5**2 * holes + 1
    assert torch.equal(mask, other[0]["mask"])


def test_holes_are_drawn_anew_without_a_seed_and_differ_between_images():
    drawn = MaskedImages([torch.zeros(1, 64, 64)])
    assert not torch.equal(drawn[0]["mask"], drawn[0]["mask"])
    fixed = MaskedImages([torch.zeros(1, 64, 64)] * 2, seed=3)
    assert not torch.equal(fixed[0]["mask"], fixed[1]["mask"])


@pytest.mark.parametrize(
    ("architecture", "size", "channels", "stride"),
    [
        ("test_resnet", 32, 1, 8),
        ("test_resnet", 64, 3, 32),
        ("test_vit", 160, 3, 32),
        ("test_efficientnet", 64, 1, 32),
    ],
)
def test_any_kind_of_backbone_makes_whole_images(architecture, size, channels, stride):
    model, _ = new_model(architecture, size, channels, stride)
    images = torch.rand(2, channels, size, size)
    made = model(images, torch.ones(2, 1, size, size, dtype=torch.bool)).reconstruction
    assert made.shape == images.shape


def test_what_is_in_the_holes_is_not_seen():
    model, _ = new_model()
    model.eval()
    batch = MaskedImages(waves(2), seed=0)
    mask = torch.stack([item["mask"] for item in batch])
    images = waves(2)
    made = model(images, mask).reconstruction
    other = images.masked_fill(mask, 0.77)
    assert torch.equal(model(other, mask).reconstruction, made)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_only_the_holes_count(loss):
    model, _ = new_model(loss=loss)
    model.eval()
    images, mask = waves(2), torch.stack([i["mask"] for i in MaskedImages(waves(2), seed=0)])
    output = model(images, mask)
    errors = (output.reconstruction - images)[mask]
    expected = errors.abs().mean() if loss == "l1" else errors.square().mean()
    assert torch.allclose(output.loss, expected)


def test_a_model_learns_to_fill_and_its_encoder_is_a_base(tmp_path):
    model, processor = new_model()
    held_out = MaskedImages(waves(32, seed=1), seed=0)
    trainer = train_pretext(
        model,
        MaskedImages(waves(256)),
        held_out,
        tmp_path / "run",
        epochs=4,
        batch_size=16,
        label="mask",
        use_cpu=True,
        disable_tqdm=True,
    )
    result = trainer.predict(held_out)
    made, mask = torch.tensor(result.predictions), torch.tensor(result.label_ids)
    scores = inpainting_scores(waves(32, seed=1), made, mask)
    blank = inpainting_scores(waves(32, seed=1), torch.zeros_like(made), mask)
    assert scores.psnr > blank.psnr + 3
    assert scores.ssim > blank.ssim

    save_classifier(model.encoder, processor, tmp_path / "base")
    base, _ = load_backbone(tmp_path / "base", ["benign", "malignant"])
    learnt = model.encoder.state_dict()
    kept = {name: tensor for name, tensor in base.state_dict().items() if "fc" not in name}
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in kept.items())
    assert base(waves(2)).logits.shape == (2, 2)


def told_apart(model, images, mask):
    """How badly the critic tells whole images from filled ones, as cross-entropy."""
    model.train()
    output = model(images, mask)
    return output.loss - (output.reconstruction - images)[mask].abs().mean()


def test_a_critic_learns_to_tell_filled_images_and_what_fills_them_to_deceive_it():
    model, _ = new_model(adversarial=1.0)
    images, mask = waves(16), torch.stack([i["mask"] for i in MaskedImages(waves(16), seed=0)])

    def descend(layers):
        optimizer = torch.optim.Adam([p for layer in layers for p in layer.parameters()], 1e-3)
        before = told_apart(model, images, mask).item()
        for _ in range(40):
            optimizer.zero_grad()
            told_apart(model, images, mask).backward()
            optimizer.step()
        return told_apart(model, images, mask).item() - before

    assert descend([model.critic]) < -0.05
    assert descend([model.encoder, model.decoder]) > 0.05  # the same loss, and yet it rises


def test_without_an_adversarial_term_and_in_evaluation_there_is_no_critic():
    plain, _ = new_model()
    critical, _ = new_model(adversarial=0.5)
    assert not hasattr(plain, "critic")
    images, mask = waves(2), torch.stack([i["mask"] for i in MaskedImages(waves(2), seed=0)])
    losses = [model.eval()(images, mask).loss for model in (plain, critical)]
    assert torch.equal(*losses)


def test_a_model_is_saved_and_loaded_whole(tmp_path):
    model, _ = new_model()
    model.eval().save_pretrained(tmp_path)
    again = ContextEncoder.from_pretrained(tmp_path).eval()
    again.to(memory_format=torch.channels_last)  # as the model is, or it is rounded otherwise
    images, mask = waves(2), torch.stack([i["mask"] for i in MaskedImages(waves(2), seed=0)])
    assert torch.equal(again(images, mask).reconstruction, model(images, mask).reconstruction)


class CutOff(MaskedImages):
    """Images that end a run in its second epoch."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        if self.asked > 1.5 * len(self):
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    def learn(folder, images):
        model, _ = new_model()
        settings = {"epochs": 3, "batch_size": 32, "use_cpu": True, "disable_tqdm": True}
        train_pretext(model, images, images, folder, label="mask", **settings)
        return model.state_dict()

    expected = learn(tmp_path / "whole", MaskedImages(waves(64)))
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", CutOff(waves(64)))
    resumed = learn(tmp_path / "killed", MaskedImages(waves(64)))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())


def test_scores_are_those_of_the_definition():
    images = waves(3)
    mask = torch.zeros(3, 1, SIZE, SIZE, dtype=torch.bool)
    mask[:, :, :8, :8] = True
    made = (images + 0.1).clamp(-1, 1)
    moved = (made - images)[:, :, :8, :8].square().mean((1, 2, 3))
    expected = (10 * torch.log10(4 / moved)).mean()
    scores = inpainting_scores(images, made, mask)
    assert scores.psnr == pytest.approx(float(expected), rel=1e-4)
    assert np.isclose(inpainting_scores(images, images, mask).ssim, 1)
    assert torch.equal(filled(images, made, mask)[:, :, 8:], images[:, :, 8:])
