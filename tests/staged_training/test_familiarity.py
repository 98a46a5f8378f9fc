"""Examples unlike all training examples are told from those that are like them."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from staged_training.heads.familiarity import FILE_NAME, TAIL, familiarity, load_familiarity


def around(direction, examples, seed):
    noise = torch.randn(examples, 16, generator=torch.Generator().manual_seed(seed))
    return torch.eye(16)[direction] * 4 + noise * 0.5


@pytest.mark.parametrize("with_validation", [True, False])
def test_what_points_elsewhere_is_not_familiar(with_validation):
    validation = around(0, 100, 2) if with_validation else None
    known = familiarity(around(0, 100, 1), validation)
    accepted = known.similarity(around(0, 400, 3)) >= known.threshold
    assert accepted.mean() >= 0.9
    assert (known.similarity(around(1, 400, 4)) < known.threshold).all()


def test_few_examples_are_accepted_as_often_as_asked_where_they_span_less_than_mixed_ones():
    validation = around(0, 200, 2)
    known = familiarity(around(0, 3, 1), validation)
    assert (known.similarity(validation) >= known.threshold).mean() == pytest.approx(1 - TAIL)


def test_one_example_is_enough_to_go_on():
    assert familiarity(around(0, 1, 1)).threshold == 0


def test_the_features_of_older_models_are_compared_with_the_nearest(tmp_path):
    rows = around(0, 10, 1).numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    save_file({"references": rows.astype(np.float16)}, tmp_path / FILE_NAME, {"threshold": "0.5"})
    known = load_familiarity(tmp_path / FILE_NAME)
    assert known.threshold == 0.5
    assert known.similarity(rows) == pytest.approx(np.ones(10), abs=1e-3)
    assert known.similarity(-rows).max() < 0
    known.save(tmp_path)
    assert load_familiarity(tmp_path / FILE_NAME).examples


def test_it_is_saved_beside_a_model(tmp_path):
    known = familiarity(around(0, 50, 1))
    known.save(tmp_path)
    loaded = load_familiarity(tmp_path / FILE_NAME)
    assert loaded.threshold == known.threshold
    features = around(0, 10, 2)
    assert loaded.similarity(features) == pytest.approx(known.similarity(features), abs=1e-3)


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def killed(tensors, path, metadata):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("staged_training.heads.familiarity.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        familiarity(around(0, 10, 1)).save(tmp_path)
    assert not list(tmp_path.iterdir())
