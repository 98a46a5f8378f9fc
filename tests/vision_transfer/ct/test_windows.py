"""Windows of the Hounsfield scale."""

import numpy as np
import pytest
import torch

from staged_training import InputError
from vision_transfer.ct import WINDOWS, windowed


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
