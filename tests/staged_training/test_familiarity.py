"""Examples unlike all training examples are told from those that are like them."""

import pytest
import torch

from staged_training.heads.familiarity import FILE_NAME, familiarity, load_familiarity


def around(direction, examples, seed):
    noise = torch.randn(examples, 16, generator=torch.Generator().manual_seed(seed))
    return torch.eye(16)[direction] * 4 + noise * 0.5


@pytest.mark.parametrize("with_validation", [True, False])
def test_what_points_elsewhere_is_not_familiar(with_validation):
    validation = around(0, 100, 2) if with_validation else None
    known = familiarity(around(0, 100, 1), validation)
    accepted = known.similarity(around(0, 400, 3)) >= known.threshold
    assert 0.9 <= accepted.mean() <= 0.99
    assert (known.similarity(around(1, 400, 4)) < known.threshold).all()


def test_the_threshold_answers_the_share_of_validation_that_is_asked_for():
    validation = around(0, 200, 2)
    known = familiarity(around(0, 100, 1), validation, accepted=0.8)
    assert (known.similarity(validation) >= known.threshold).mean() == pytest.approx(0.8)


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
