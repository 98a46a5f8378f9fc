"""Inputs that are others than the training data as a whole are told of; those like it are not."""

import numpy as np
import pytest

from staged_training.heads.drift import (
    FEWEST,
    FILE_NAME,
    Watch,
    known_share,
    likeness,
    load_likeness,
    token_kinds,
    watch_of,
)
from staged_training.runtime.errors import InputError

RNG = np.random.default_rng(0)
HELD_OUT = RNG.beta(8, 2, 400)  # 0.8 on average


def told_of(values, held_out=HELD_OUT):
    watch = Watch(likeness(held_out))
    for value in values:
        watch.see(value)
    return watch.described()


@pytest.mark.parametrize("size", [30, 300])
def test_inputs_like_the_training_data_rarely_alarm(size):
    assert np.mean([told_of(RNG.beta(8, 2, size)) is not None for _ in range(200)]) <= 0.05


@pytest.mark.parametrize("size", [30, 300])
def test_inputs_that_are_less_alike_are_told_of(size):
    told = told_of(RNG.beta(4, 4, size))
    assert f"These {size} images are unlike those that the model was trained on" in told
    assert "where 0.80 is usual" in told


def test_half_of_them_are_enough():
    assert told_of([*RNG.beta(8, 2, 100), *RNG.beta(2, 4, 100)])


def test_few_inputs_and_the_training_data_itself_are_not_told_of():
    assert told_of([0.1] * (FEWEST - 1)) is None and told_of([0.1] * FEWEST)
    assert told_of([1.0] * 1000) is None


def test_a_trifle_is_none_however_many_inputs_there_are():
    assert told_of(RNG.beta(8, 2, 20_000) - 0.03) is None
    assert told_of([0.999] * 20_000, held_out=[1.0] * 400) is None


def test_held_out_examples_that_are_all_alike_do_for_a_comparison():
    assert told_of([0.0] * 100, held_out=[1.0] * 400)


def test_tokens_of_no_training_text_are_new_and_padding_does_not_count():
    kinds = token_kinds([[4, 2, 2], [3]], size=7, uncounted=[0, 4])
    assert known_share(kinds, [2, 3, 5, 6]) == 0.5
    assert known_share(kinds, [[4, 2, 5, 0, 0]]) == 0.5
    assert known_share(kinds, [4, 0]) == known_share(kinds, []) == 1
    assert known_share(kinds, [1, 1]) == 0


@pytest.mark.parametrize("tokens", [None, token_kinds([[1, 2]], 5, [0])])
def test_it_is_saved_beside_a_model(tokens, tmp_path):
    assert watch_of(str(tmp_path)) is None
    usual = likeness(HELD_OUT, tokens)
    usual.save(tmp_path)
    loaded = load_likeness(tmp_path / FILE_NAME)
    assert (loaded.mean, loaded.deviation, loaded.count) == (
        usual.mean,
        usual.deviation,
        usual.count,
    )
    assert np.array_equal(loaded.tokens, tokens)
    assert watch_of(str(tmp_path)).is_of_texts == (tokens is not None)


@pytest.mark.parametrize("damaged", [b"", "mean", "tokens"])
def test_what_is_damaged_is_refused(damaged, tmp_path):
    if damaged == "mean":
        likeness([np.nan] * 40).save(tmp_path)
    else:
        likeness(HELD_OUT, np.array([1, 9], np.uint8)).save(tmp_path)
    if damaged == b"":
        (tmp_path / FILE_NAME).write_bytes(damaged)
    with pytest.raises(InputError, match=r"drift.safetensors is damaged"):
        watch_of(str(tmp_path))
