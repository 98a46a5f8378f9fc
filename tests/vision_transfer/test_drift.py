"""What is usual of photos is measured on those that their model was not trained on."""

import numpy as np
import pytest

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.drift import known_and_held_out
from staged_training.experiment.task import Task
from staged_training.heads.drift import FILE_NAME, load_likeness
from staged_training.heads.familiarity import familiarity
from staged_training.runtime.seal import check_seal, seal
from vision_transfer.drift import add_image_drift


def result_of(folds, examples=250):
    task = Task(folds=np.arange(examples) % 5)
    return CrossValidation(task, [], [], folds, [0], "accuracy")


@pytest.mark.parametrize("refitted", [False, True])
def test_no_example_is_held_against_itself(refitted):
    parts = known_and_held_out(result_of([0, 1, 2, 3, 4]), refitted=refitted)
    assert not any(set(known) & set(held) for known, held in parts)
    assert [len(known) for known, _ in parts] == ([200] * 5 if refitted else [150])
    held = np.concatenate([held for _, held in parts])
    assert len({*held}) == len(held) == (250 if refitted else 50)


@pytest.mark.parametrize("refitted", [False, True])
def test_similarity_to_the_training_images_is_kept(refitted, tmp_path):
    features = np.random.default_rng(0).normal(size=(250, 64, 1)).astype(np.float32)
    (tmp_path / "config.json").write_text("{}")
    seal(tmp_path)
    result = result_of([2])
    add_image_drift(tmp_path, features, result, refitted=refitted)
    check_seal(str(tmp_path))
    found = load_likeness(tmp_path / FILE_NAME)
    ((known, held),) = known_and_held_out(result, refitted=refitted)
    similar = familiarity(features[known], features[held]).similarity(features[held])
    assert found.count == 50 and found.tokens is None
    assert found.mean == pytest.approx(similar.mean())
    assert found.deviation == pytest.approx(max(similar.std(ddof=1), 0.01))


def test_of_few_examples_nothing_is_kept(tmp_path):
    features = np.random.default_rng(0).random((100, 8), np.float32)
    add_image_drift(tmp_path, features, result_of([0], 100), refitted=False)
    assert not list(tmp_path.iterdir())
