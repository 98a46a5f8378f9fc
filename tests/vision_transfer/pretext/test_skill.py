"""What is said of a base: whether it is better at its task than those who learnt nothing."""

from pathlib import Path

import pytest

from vision_transfer.pretext.bases import describe_inpainting, describe_rotation
from vision_transfer.pretext.order_learning import FoldScores, OrderResult

NOT_LEARNT = "That is no better than {}: the base did not learn the task."


@pytest.mark.parametrize(("correct", "learnt"), [(70, True), (27, False), (20, False)])
def test_rotations_that_are_guessed_are_not_learnt(correct, learnt):
    sentence, _ = describe_rotation({"rotations": [[correct, 100]] * 4, "seconds": 1.0})
    assert f"{correct}.0 % of the 400" in sentence
    assert (NOT_LEARNT.format("chance") not in sentence) == learnt


@pytest.mark.parametrize(("psnr", "learnt"), [(22.0, True), (18.0, False)])
def test_holes_that_a_mean_fills_as_well_are_not_learnt(psnr, learnt):
    scores = {"psnr": psnr, "ssim": 0.9, "mean_psnr": 18.0, "mean_ssim": 0.8}
    (sentence,) = describe_inpainting({**scores, "held_out": 20, "seconds": 1.0})
    assert (NOT_LEARNT.format("that mean") not in sentence) == learnt


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.8, 0.9, 0.8, 0.7], "The base learnt the order"),
        ([0.6, 0.7, 0.6, 0.4], "No better than chance: the base did not learn the order"),
        ([0.6, 0.7, 0.6, 0.5], "It is not clear that the base learnt the order"),
        ([0.9], "It is not clear that the base learnt the order"),
    ],
)
def test_an_order_that_is_guessed_is_not_learnt(accuracies, verdict):
    scores = FoldScores(["a.mp4"] * len(accuracies), accuracies, 1.0)
    assert (
        OrderResult([scores], Path("base"), Path("examples")).describe().startswith(f"**{verdict}")
    )
