"""Images come with the boxes that are to be found in them, and so do their augmented views."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import DetrImageProcessor

from vision_transfer.detection.task import DetectionDataset

PROCESSOR = DetrImageProcessor(size={"height": 64, "width": 64}, do_pad=False, do_normalize=False)


@pytest.fixture
def paths(tmp_path):
    """Black images, each with a white rectangle."""
    found = []
    for number in range(6):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[20:50, 10 + 5 * number : 50 + 5 * number] = 255
        found.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


@pytest.fixture
def dataset(paths):
    boxes = [np.array([[10 + 5 * n, 20, 50 + 5 * n, 50]], np.float32) for n in range(len(paths))]
    return DetectionDataset(paths, boxes, [[0]] * len(paths), PROCESSOR, views=3, most=2)


def test_labels_are_shares_of_the_image_and_stack(dataset):
    example = dataset[0]
    assert example["pixel_values"].shape == (3, 64, 64)
    np.testing.assert_allclose(
        example["labels"], [[0, 0.3, 0.4375, 0.4, 0.375], [-1, 0, 0, 0, 0]], rtol=1e-6
    )


def test_the_boxes_of_views_lie_where_the_object_is(dataset):
    assert len(dataset) == 6 * 4
    different = 0
    for index in range(6, len(dataset)):
        example = dataset[index]
        (_, x, y, width, height), _ = example["labels"].tolist()
        white = example["pixel_values"][0] > 0.5
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        seen = [columns.min() / 64, rows.min() / 64, columns.max() / 64, rows.max() / 64]
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        np.testing.assert_allclose(corners, seen, atol=0.04)
        different += not torch.allclose(example["labels"], dataset[index % 6]["labels"])
    assert different > 9


def test_views_are_the_same_whenever_they_are_asked_for_also_in_parallel(dataset):
    order = list(range(len(dataset)))
    run_serial = [dataset[index] for index in order]
    together = dataset.__getitems__(order[::-1])[::-1]
    for alone, beside in zip(run_serial, together, strict=True):
        assert torch.equal(alone["pixel_values"], beside["pixel_values"])
        assert torch.equal(alone["labels"], beside["labels"])
    assert len(list(DataLoader(dataset, 5))) == 5


def test_the_fingerprint_changes_with_any_box(dataset, paths):
    before = dataset.fingerprint
    assert dataset.fingerprint == before
    dataset.boxes[3] = dataset.boxes[3] + 1
    assert dataset.fingerprint != before
