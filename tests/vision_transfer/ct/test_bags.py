"""Scores of patients from their slices: pooled as a plain loop does, in any order of slices."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from vision_transfer.ct.bags import (
    Bags,
    GatedAttention,
    attention_logits,
    learn_attention,
    pooled_logits,
    probe_of_slices,
    roc_auc_of_bags,
)
from vision_transfer.ct.simulated import simulated_patients
from vision_transfer.few_labels import probe_logits

RANDOM = np.random.default_rng(0)


def bags_of(count, seed, labels=2, width=12):
    """Bags of 3 to 8 slices, one of which shows the label, and which that is."""
    random = np.random.default_rng(seed)
    sizes = random.integers(3, 9, count)
    numbers, kinds = np.arange(count).repeat(sizes), (np.arange(count) % labels).repeat(sizes)
    features = random.normal(size=(len(numbers), width)).astype(np.float32)
    shown = np.cumsum(sizes) - 1 - random.integers(0, sizes)
    features[shown, kinds[shown]] += 4
    features[shown, labels] += 4  # of any lesion
    return Bags(features, kinds, numbers, numbers), shown


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_logits_are_pooled_as_a_plain_loop_does(labels, pooling):
    numbers = RANDOM.permutation(np.repeat([3, 5, 9, 4], [1, 6, 2, 3]))
    logits = RANDOM.normal(0, 3, (12, labels))
    found = torch.from_numpy(pooled_logits(logits, numbers, pooling)).softmax(1)
    for number, scores in zip((3, 4, 5, 9), found, strict=True):
        own = [
            torch.from_numpy(row) for row, of in zip(logits, numbers, strict=True) if of == number
        ]
        if pooling == "mean":
            expected = (sum(own) / len(own)).softmax(0)
        else:
            largest = torch.tensor([max(row.softmax(0)[k] for row in own) for k in range(labels)])
            expected = largest / largest.sum()
        assert torch.allclose(scores, expected)
    moved = logits + RANDOM.normal(0, 3, (12, 1))  # the same probabilities
    assert torch.allclose(
        torch.from_numpy(pooled_logits(moved, numbers, pooling)).softmax(1), found
    )


def test_weights_sum_to_one_and_neither_order_nor_filling_up_changes_anything():
    torch.manual_seed(0)
    head = GatedAttention(width=6, labels=3).eval()
    slices = torch.randn(2, 5, 6)
    assert torch.allclose(head(slices).weights, torch.full((2, 5), 0.2))  # new ones are alike
    torch.nn.init.normal_(head.weight.weight)
    found = head(slices)
    assert found.weights.std() > 0.01
    assert torch.allclose(found.weights.sum(1), torch.ones(2))
    order = torch.randperm(5)
    moved = head(slices[:, order])
    assert torch.allclose(moved.logits, found.logits, atol=1e-6)
    assert torch.allclose(moved.weights, found.weights[:, order], atol=1e-6)
    filled = torch.cat([slices, 100 * torch.randn(2, 3, 6)], 1)
    masked = head(filled, mask=(torch.arange(8) < 5).expand(2, 8))
    assert torch.allclose(masked.logits, found.logits, atol=1e-6)
    assert not masked.weights[:, 5:].any()


@pytest.mark.parametrize("labels", [2, 3])
def test_attention_finds_the_slices_that_show_the_label(labels):
    (train, _), (test, shown) = bags_of(120, 0, labels), bags_of(120, 1, labels)
    probe = probe_of_slices(train)
    head = learn_attention(train, probe)
    people, kinds = np.arange(120), np.arange(120) % labels
    by_mean = pooled_logits(probe_logits(probe, test.features), test.numbers, "mean")
    attended = roc_auc_of_bags(attention_logits(head, test), kinds, people)
    assert attended.value > max(roc_auc_of_bags(by_mean, kinds, people).value, 0.9)
    rows = list(test.rows())
    on_shown = [
        head(torch.from_numpy(test.features[own])[None]).weights[0, int(shown[n] - own[0])].item()
        for n, own in enumerate(rows)
    ]
    assert np.mean(on_shown) > 1.3 * np.mean([1 / len(own) for own in rows])


def test_the_interval_is_that_of_samples_of_patients():
    patients = np.repeat(np.arange(20), 2)
    labels = RANDOM.permutation(np.arange(40) % 2)
    logits = np.stack([np.zeros(40), (labels + RANDOM.normal(0, 1, 40)).round(1)], 1)  # with ties
    found = roc_auc_of_bags(logits, labels, patients)
    assert found.value == pytest.approx(roc_auc_score(labels, logits[:, 1]))
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 1000)
    areas = []
    for sample in drawn:
        scores, kinds = (np.repeat(one, sample[patients]) for one in (logits[:, 1], labels))
        one, other = scores[kinds == 1, None], scores[None, kinds == 0]
        areas.append((one > other).mean() + (one == other).mean() / 2)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))


def test_few_slices_of_a_patient_show_a_lesion_and_the_others_do_not():
    scans = simulated_patients(40, seed=0, slices=6, lesions=2)
    by_patient = scans.labels.reshape(40, 6)
    assert (by_patient == by_patient[:, :1]).all() and by_patient[:, 0].sum() == 20
    assert (scans.shown.reshape(40, 6).sum(1) == 2).all()
    again = simulated_patients(40, seed=0, slices=6, lesions=2)
    assert np.array_equal(again.hounsfield, scans.hounsfield)
    # A lesion is 40 to 90 HU off what is around it, which varies less.
    pixels = scans.hounsfield[:, 0].astype(float)
    inner, outer = pixels[:, 28:36, 28:36].mean((1, 2)), pixels[:, 12:52, 12:52].mean((1, 2))
    contrast = np.abs(inner - outer)
    assert roc_auc_score(scans.shown, contrast) > 0.8
