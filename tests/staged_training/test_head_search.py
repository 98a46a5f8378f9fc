"""A head trained on features with the rate and weight decay that validation likes best."""

import shutil
import tempfile

import pytest
import torch
from transformers import Trainer

from staged_training.experiment.target import SingleLabel
from staged_training.features.extraction import compute_features
from staged_training.features.head import FeatureHead
from staged_training.heads.head_search import search_head
from tests.staged_training.conftest import collate

TARGET = SingleLabel(["cat", "dog"])


@pytest.fixture
def parts(convnet, images):
    """A head, and the features of its base to train on and to validate on."""
    batch = collate([images[0], images[1]])
    features = compute_features(convnet, images, collate)
    return FeatureHead(convnet, batch), features


def test_the_best_settings_on_validation_are_kept_and_put_into_the_model(parts, convnet, arguments):
    head, features = parts
    base = {name: t.clone() for name, t in convnet.state_dict().items() if "head" not in name}
    found = search_head(head, features, features, TARGET, arguments(), (1e-5, 0.5), (0.0, 0.1))
    assert [trial.settings for trial in found.grid] == [
        {"rate": rate, "weight decay": decay} for rate in (1e-5, 0.5) for decay in (0.0, 0.1)
    ]
    best = max(found.grid, key=lambda trial: (trial.score, -trial.loss))
    with torch.no_grad():
        scored = head(**features.columns)
    assert scored["loss"].item() == pytest.approx(best.loss, abs=1e-5)
    assert torch.equal(convnet.head.weight, found.weights["layers.0.weight"])
    assert all(torch.equal(convnet.state_dict()[name], tensor) for name, tensor in base.items())


def test_each_trial_starts_from_the_same_weights_and_seed(parts, arguments):
    head, features = parts
    start = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    losses = []
    for rates in [(0.5,), (0.1, 0.5)]:
        head.load_state_dict(start)
        losses.append(
            search_head(head, features, features, TARGET, arguments(), rates, (0.0,)).grid[-1]
        )
    assert losses[0] == losses[1]


def test_nothing_temporary_is_written_that_a_kill_would_leave(
    parts, arguments, tmp_path, monkeypatch
):
    def killed(self):
        raise KeyboardInterrupt

    head, features = parts
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # as SIGKILL lets nothing
    monkeypatch.setattr(Trainer, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        search_head(head, features, features, TARGET, arguments(), (0.5,), (0.0,))
    assert not list(tmp_path.glob("tmp*"))
