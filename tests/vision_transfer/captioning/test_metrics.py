"""Scores of captions, and the captions that a captioner has to beat."""

import pytest
import torch

from vision_transfer.captioning.metrics import (
    caption_scores,
    cider_of_each,
    most_common_caption,
    nearest_captions,
)

TRUE = [
    ["a small black cat sleeps on a red sofa", "on the sofa there is a cat"],
    ["two dogs run along the wet beach", "dogs at the sea"],
    ["a horse eats grass behind a wooden fence", "a brown horse in a field"],
]


def test_true_captions_score_best_whatever_their_case_and_punctuation():
    said = ["A small black cat sleeps on a red sofa.", "Two dogs run along the wet beach!"]
    scores = caption_scores([*said, TRUE[2][0]], TRUE)
    assert scores["bleu"] == pytest.approx(1) and scores["rouge"] == pytest.approx(1)
    alone = [[captions[0]] for captions in TRUE]
    assert cider_of_each([captions[0] for captions in TRUE], alone) == pytest.approx(10)


def test_captions_of_other_images_score_next_to_nothing():
    scores = caption_scores([TRUE[1][0], TRUE[2][0], TRUE[0][0]], TRUE)
    assert scores["cider"] < 0.1 and scores["bleu"] < 0.01 and scores["rouge"] < 0.4
    assert max(caption_scores(["", "", ""], TRUE).values()) < 1e-9


def test_the_most_frequent_caption_is_the_most_common_and_else_the_most_usual():
    often = [["a cat", "a dog by a tree"], ["a dog by a lake", "a cat"], ["a dog by a fence"]]
    assert most_common_caption(often) == "a cat"
    differ = [
        ["a white dog lies on the grass"],
        ["a white dog sits on the grass"],
        ["a white dog runs on the grass and barks"],
        ["somebody else entirely"],
    ]
    usual = most_common_caption(differ)
    assert usual in ("a white dog lies on the grass", "a white dog sits on the grass")
    assert most_common_caption([["a dog"], ["cat"], ["a cat"]]) == "a cat"  # of short ones, too


def test_the_nearest_image_lends_its_first_caption():
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    features = torch.tensor([[0.1, 5.0], [-9.0, 0.1]])
    assert nearest_captions(features, known, TRUE) == [TRUE[1][0], TRUE[2][0]]
    cells = features.unsqueeze(1) + torch.tensor([[[-1.0], [1.0]]])  # of a map, their mean counts
    assert nearest_captions(cells, known.unsqueeze(1), TRUE) == [TRUE[1][0], TRUE[2][0]]
