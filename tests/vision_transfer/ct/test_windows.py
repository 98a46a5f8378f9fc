"""Windows of the Hounsfield scale."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from staged_training import InputError
from vision_transfer.ct import WINDOWS, WindowedSlices, windowed


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_runs_from_nought_to_one_around_its_centre(window):
    centre, width = WINDOWS[window]
    units = np.array([-3000, centre - width / 2, centre, centre + width / 2, 3000])
    assert windowed(units, window).tolist() == [0, 0, 0.5, 1, 1]


def test_a_window_of_ones_own_works_on_tensors():
    assert windowed(torch.tensor([-75.0, 50.0, 175.0]), (50, 250)).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("window", ["brain stem", (40.0, 0.0)])
def test_an_unusable_window_is_told(window):
    with pytest.raises(InputError, match=r"window|width"):
        windowed(np.zeros(1), window)


def test_slices_of_an_array_and_of_a_data_set_are_scaled_alike():
    units = np.array([[[[-75, 50], [175, 900]]]], np.int16)
    expected = [[[-1, 0], [1, 1]]]
    column = Dataset.from_dict({"hounsfield": units}).with_format("numpy")["hounsfield"]
    for slices in (WindowedSlices(units, (50, 250)), WindowedSlices(column, (50, 250))):
        assert slices[0].tolist() == expected
        assert slices[0].dtype == torch.float32
        assert len(slices) == 1
