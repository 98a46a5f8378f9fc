"""Stages: what they may say, and the order that is refused."""

import math

import pytest

from staged_training import InputError, Stage
from staged_training.stages import check_stages

HEAD = Stage("head", train="head", epochs=1, learning_rate=0.1)
TOP = Stage("top", train="backbone[-1:], head", epochs=1, learning_rate=0.1)


def test_the_head_first_and_then_the_top_layers_is_accepted(bert):
    check_stages(bert, [HEAD, TOP])


@pytest.mark.parametrize("train", ["all", "backbone", "backbone[-1], head", "*.bias"])
def test_head_and_base_together_first_is_refused_with_the_reason(bert, train):
    stages = [Stage("everything", train=train, epochs=1, learning_rate=0.1), TOP]
    with pytest.raises(InputError, match=r"'everything' trains pretrained layers .*gradients"):
        check_stages(bert, stages)
    check_stages(bert, stages, allow_joint_training=True)


def test_a_head_that_was_tuned_only_in_part_is_not_tuned(bert):
    part = Stage("part", train="classifier.bias", epochs=1, learning_rate=0.1)
    with pytest.raises(InputError, match="'top' trains pretrained layers"):
        check_stages(bert, [part, TOP])


def test_only_layers_that_are_pretrained_need_protection(bert):
    """With pretrained embeddings only, the layers above them are as new as the head."""
    new = Stage("new layers", train="backbone[1:], head", epochs=1, learning_rate=0.1)
    everything = Stage("everything", train="all", epochs=1, learning_rate=0.1)
    check_stages(bert, [new, everything], pretrained="embeddings")
    with pytest.raises(InputError, match="'new layers' trains pretrained layers"):
        check_stages(bert, [new, everything])


def test_no_stages_and_names_given_twice_are_refused(bert):
    with pytest.raises(InputError, match="list of stages is empty"):
        check_stages(bert, [])
    with pytest.raises(InputError, match="same name"):
        check_stages(bert, [HEAD, HEAD])


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", ""),
        ("name", "../head"),
        ("epochs", 0),
        ("learning_rate", 0),
        ("learning_rate", math.inf),
        ("layer_decay", 1.1),
        ("patience", 0),
    ],
)
def test_a_value_out_of_range_is_named(attribute, value):
    options = {"name": "head", "train": "head", "epochs": 1, "learning_rate": 0.1}
    with pytest.raises(InputError, match=f"{attribute} must .* but it is {value!r}"):
        Stage(**options | {attribute: value})
