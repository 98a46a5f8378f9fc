"""How good a model is, told honestly whatever was chosen to be labelled."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from staged_training.labels.quality import _average_precision, _draws, measure_quality
from staged_training.labels.selection import (
    comparable,
    next_batch,
    random_order,
    random_sample,
    scores_of,
)


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, true, draws = rng.random(30), rng.random(30) < 0.3, _draws(30)[:20]
    expected = [average_precision_score(true, scores, sample_weight=draw) for draw in draws]
    assert _average_precision(scores, true, draws) == pytest.approx(expected)


def test_what_was_chosen_counts_only_where_its_turn_came():
    labels = [None, "a", "b", None, "a"]
    order = [4, 1, 3, 2, 0]
    assert random_sample(labels, range(5), order).tolist() == [4, 1]
    assert random_sample(labels, range(5), order, undecided=[3]).tolist() == [4, 1, 2]
    assert random_sample(labels, [0, 1, 2, 2, 3], order).tolist() == [4, 1, 2]  # 3 is like 2


def test_the_random_sample_has_the_shares_of_labels_that_all_examples_have():
    rng = np.random.default_rng(0)
    rare = rng.random(1000) < 0.1
    features = comparable(rng.normal(size=(1000, 8)) + 2 * rare[:, None])
    shares, all_shares = [], []
    for seed in range(12):
        labels, groups, order = [None] * 1000, np.arange(1000), random_order(1000, seed)
        for _ in range(15):
            for row in next_batch(features, labels, 10, groups, seed, order).rows:
                labels[row] = "rare" if rare[row] else "usual"
        sample = random_sample(labels, groups, order)
        assert 30 <= len(sample) < 60
        shares.append(rare[sample].mean())
        all_shares.append(np.mean([label == "rare" for label in labels if label]))
    assert np.mean(shares) == pytest.approx(rare.mean(), abs=0.03)
    assert np.mean(all_shares) > 2 * rare.mean()  # which is why these tell nothing


def test_the_interval_holds_what_is_true_of_all_examples():
    features, digits = load_digits(return_X_y=True)
    features, groups = comparable(features), np.arange(len(digits))
    held, gains_held = 0, 0
    for seed in range(20):
        labels, order, answered = [None] * len(digits), random_order(len(digits), seed), []
        accuracies = {}
        for _ in range(8):
            rows = next_batch(features, labels, 25, groups, seed, order).rows
            for row in rows:
                labels[row] = str(digits[row])
            answered += rows.tolist()
            if len(answered) in (150, 200):
                accuracies[len(answered)] = accuracy(features, digits, answered)
            if len(answered) == 150:
                sample = [answered.index(row) for row in random_sample(labels, groups, order)]
                quality = measure_quality(
                    features[answered], [labels[row] for row in answered], sample
                )
        low, high = quality.interval
        held += low <= accuracies[150] <= high
        gains_held += quality.gain.low <= accuracies[200] - accuracies[150] <= quality.gain.high
    assert held >= 18 and gains_held >= 18


def accuracy(features, digits, train):
    test = np.setdiff1d(np.arange(len(digits)), train)
    names = [str(digit) for digit in range(10)]
    scores = scores_of(features[test], features[train], digits[train], names)
    return (scores.argmax(1) == digits[test]).mean()


@pytest.mark.parametrize(
    ("labels", "sample"),
    [
        (["a", "b"] * 20, range(9)),  # too few at random
        (["a"] * 40, range(40)),  # one label
        (["a"] * 44 + ["b"] * 5, range(49)),  # too few where a label is rare
        (["a"] * 59 + ["b"], range(60)),  # one of a rare label
        (["a"] * 30 + ["b"] * 10, range(30)),  # none of it was drawn
    ],
)
def test_nothing_is_told_of_too_few(labels, sample):
    features = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    assert measure_quality(features, labels, np.array(sample)) is None


def test_where_nothing_was_learnt_it_is_no_time_to_stop():
    features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    quality = measure_quality(features, [f"label {row}" for row in range(40)], np.arange(40))
    assert quality.scores[-1] == 0 and not quality.is_enough


def test_more_labels_are_not_taken_to_make_it_worse():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    labels = ["a"] * 30 + rng.choice(["a", "b"], 30).tolist()
    gain = measure_quality(features, labels, np.arange(60)).gain
    assert 0 <= gain.low <= gain.expected <= gain.high <= 1


def test_a_rare_label_is_measured_by_itself():
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    labels = np.where(np.argsort(np.argsort(features[:, 0])) < 5, "rare", "usual").tolist()
    quality = measure_quality(features, labels, np.arange(50))
    assert (quality.metric, quality.label) == ("average precision", "rare")
    assert quality.scores[-1] > 0.8 and quality.interval[0] < 0.8
