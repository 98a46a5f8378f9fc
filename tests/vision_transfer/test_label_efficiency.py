"""Few labels: balanced draws, a base that helps where it should, and an honest answer."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import set_seed
from transformers.modeling_outputs import ImageClassifierOutput

from vision_transfer.backbones import new_head, untrained_backbone
from vision_transfer.few_labels import (
    LabelledImages,
    features,
    learn_from_scratch,
    learn_on_base,
    probe_roc_auc,
    roc_auc,
    stratified_sample,
)
from vision_transfer.label_efficiency import LabelEfficiency, Score, mean_interval

SIZE = 32


def stripes(count, seed, labels=2):
    """Images whose label is the direction of their stripes."""
    set_seed(seed)
    directions = torch.arange(count) % labels
    along = torch.arange(SIZE) * (0.4 + 0.4 * torch.rand(count, 1)) + 6 * torch.rand(count, 1)
    images = along.sin()[:, None, None, :].repeat(1, 1, SIZE, 1)
    for number in directions.nonzero().flatten().tolist():
        images[number] = images[number].rot90(1, (-2, -1))
    return LabelledImages(images + 0.3 * torch.randn_like(images), directions.numpy())


def draws(*values):
    return [{"from scratch": Score(s, 1.0), "it, fine-tuned": Score(t, 1.0)} for s, t in values]


@pytest.mark.parametrize("count", [10, 30, 100])
def test_few_labels_have_the_shares_of_all_and_are_drawn_by_a_seed(count):
    labels = np.repeat([0, 1], [70, 30])
    rows = stratified_sample(labels, count, seed=1)
    assert len(set(rows.tolist())) == count
    assert labels[rows].sum() == pytest.approx(0.3 * count, abs=1)
    assert np.array_equal(rows, stratified_sample(labels, count, seed=1))
    assert count == 100 or not np.array_equal(rows, stratified_sample(labels, count, seed=2))


def test_a_base_that_knows_the_task_beats_learning_from_scratch_and_its_probe_does_too(tmp_path):
    fresh, _ = untrained_backbone("test_resnet", ["a", "b"], SIZE, channels=1)
    base = copy.deepcopy(fresh)
    learn_from_scratch(base, stripes(256, 0), 0, 30, 2e-3, tmp_path / "base")
    few_images, test = stripes(16, 1), stripes(200, 2)
    tuned = new_head(copy.deepcopy(base), ["a", "b"])
    scratch = copy.deepcopy(fresh)
    learn_on_base(tuned, few_images, 0, 12, 5e-4, tmp_path / "tuned")
    learn_from_scratch(scratch, few_images, 0, 12, 5e-4, tmp_path / "scratch")
    assert roc_auc(tuned, test) > 0.95
    assert roc_auc(tuned, test) > roc_auc(scratch, test)
    known = [(features(base, part).numpy(), part.labels) for part in (few_images, test)]
    assert probe_roc_auc(*known) > 0.95


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_the_area_is_the_mean_over_labels_of_each_against_the_others(labels):
    random = np.random.default_rng(0)
    numbers = np.arange(60) % labels
    images = torch.from_numpy(random.normal(size=(60, labels, 1, 1))).float()
    images[np.arange(60), numbers] += 1  # the scores of the model
    model = untrained_backbone("test_resnet", list(map(str, range(labels))), SIZE)[0]
    model.forward = lambda pixel_values: ImageClassifierOutput(logits=pixel_values[:, :, 0, 0])
    found = roc_auc(model, LabelledImages(images, numbers))
    shares = images[:, :, 0, 0].softmax(1).double().numpy()
    by_hand = shares[:, 1] if labels == 2 else shares
    expected = roc_auc_score(numbers, by_hand, multi_class="ovr")
    assert found == pytest.approx(expected, abs=1e-9)
    scores = images[:, :, 0, 0].numpy()
    for count in (60, 3 * labels):  # of each label fewer than there are folds
        known = scores[:count], numbers[:count]
        assert probe_roc_auc(known, (scores, numbers)) == pytest.approx(expected, abs=0.2)


def test_features_leave_the_model_as_it_was():
    model, _ = untrained_backbone("test_resnet", ["a", "b"], SIZE, channels=1)
    before = copy.deepcopy(model.state_dict())
    found = features(model, stripes(4, 0))
    assert found.shape == (4, 96)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_answer_is_yes_no_or_not_clear():
    paid = LabelEfficiency("it", {100: draws((0.6, 0.7), (0.62, 0.74), (0.61, 0.72))})
    assert paid.answer().startswith("**It paid**: with 100 labels")
    assert "+11.0 points" in paid.answer()
    harm = LabelEfficiency("it", {100: draws((0.7, 0.6), (0.74, 0.62), (0.72, 0.61))})
    assert harm.answer().startswith("**It did harm**")
    noise = LabelEfficiency("it", {100: draws((0.7, 0.6), (0.6, 0.72), (0.65, 0.66))})
    assert noise.answer().startswith("**It is not clear**")
    assert LabelEfficiency("it", {100: draws((0.6, 0.7))}).answer().startswith("**One draw cannot")


def test_the_answer_speaks_of_about_a_hundred_labels():
    efficiency = LabelEfficiency("it", {n: draws((0.6, 0.7)) for n in (25, 50, 120, 600)})
    assert "with 120 labels" in efficiency.answer()
    assert [len(rows) for rows in efficiency.rows().values()] == [2, 2, 2, 2]


def test_the_interval_of_the_mean_holds_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    intervals = [mean_interval(random.normal(3, 1, 5)) for _ in range(1000)]
    share = np.mean([low < 3 < high for low, high in intervals])
    assert abs(share - 0.95) < 3 * (0.95 * 0.05 / 1000) ** 0.5


class KillAtStep:
    """Data that end the process, or what stands for it, when so many were asked for."""

    def __init__(self, data, examples):
        self.data, self.left = data, examples

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.data[index]


def test_learning_that_was_cut_off_goes_on_with_the_epoch_and_ends_the_same(tmp_path):
    """Three epochs of 64 in all: the third is cut off, and what is left takes no more than one."""

    def learn(folder, examples):
        model, _ = untrained_backbone("test_resnet", ["a", "b"], SIZE, channels=1)
        data = KillAtStep(stripes(64, 0), examples)
        try:
            learn_from_scratch(model, data, 0, 12, 2e-3, tmp_path / folder)
        except KeyboardInterrupt:
            return None
        return model.state_dict()

    looked_at = 8  # have they labels?
    whole = learn("whole", looked_at + 6 * 64)
    assert learn("cut", looked_at + 5 * 64 + 32) is None
    resumed = learn("cut", looked_at + 64)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
