"""The next examples to label: rare kinds appear, nothing is asked for twice, a part is random."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from staged_training.labels.selection import RANDOM, comparable, next_batch, scores_of
from staged_training.labels.strategies import (
    breaking_ties,
    least_confidence,
    likely,
    prediction_entropy,
    spread,
    typical,
)

SCORES = np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [0.5, 0.5, 0.0]])
NOTHING = np.zeros((3, 1))


@pytest.mark.parametrize(
    ("strategy", "first"),
    [(least_confidence, 1), (breaking_ties, 2), (prediction_entropy, 1), (likely(0), 0)],
)
def test_a_strategy_prefers(strategy, first):
    assert strategy(SCORES, NOTHING).argmax() == first


@pytest.mark.parametrize("choose", [spread, typical])
def test_examples_that_are_equal_are_not_chosen_twice(choose):
    features = np.repeat(np.eye(3), 4, axis=0)
    rows = choose(features, 6, np.random.default_rng(0))
    assert len({*rows.tolist()}) == 6
    assert len({*features[rows[:3]].argmax(1).tolist()}) == 3  # one of each kind comes first


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([None, None, None, "a", "b"]), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 8),
)
def test_what_is_labelled_or_like_it_is_not_asked_for(labels, count, kinds):
    rng = np.random.default_rng(0)
    features = comparable(rng.normal(size=(len(labels), 3)))
    groups = rng.integers(0, kinds, len(labels))
    batch = next_batch(features, labels, count, groups)
    asked = groups[batch.rows].tolist()
    known = {group for group, label in zip(groups, labels, strict=True) if label is not None}
    left = {*groups.tolist()} - known
    assert len(asked) == len({*asked}) == min(count, len(left))
    assert not known & {*asked}
    assert len(batch.drawn) == len(asked)
    assert batch.drawn.count(RANDOM) == min(len(left), max(1, round(0.2 * count)))


def test_the_same_answers_give_the_same_batch():
    features = comparable(np.random.default_rng(0).normal(size=(60, 5)))
    labels = ["a", "b", *[None] * 58]
    first, again = (next_batch(features, labels, 5, seed=3) for _ in range(2))
    assert first.rows.tolist() == again.rows.tolist()
    assert next_batch(features, labels, 5, seed=4).rows.tolist() != first.rows.tolist()


def test_a_rare_label_is_looked_for():
    rng = np.random.default_rng(0)
    rare = rng.random(600) < 0.05
    features = comparable(rng.normal(size=(600, 8)) + 2.5 * rare[:, None])
    labels = [None] * 600
    for seed in range(4):
        for row in next_batch(features, labels, 20, seed=seed).rows:
            labels[row] = "rare" if rare[row] else "usual"
    assert labels.count("rare") > 0.7 * rare.sum()


def test_a_rare_label_that_was_drawn_steers_the_choice_and_one_of_many_does_not():
    features = comparable(np.random.default_rng(0).normal(size=(200, 4)))
    order = np.arange(200)
    for labels, why in ((["no"] * 19 + ["yes"], "chosen"), (["no"] * 10 + ["yes"] * 10, "typical")):
        drawn, chosen = labels[::-1], ["no"] * 10  # the latter alone are of one label
        given = drawn + [None] * 170 + chosen
        assert why in next_batch(features, given, 10, order=order).drawn


def test_half_as_many_labels_of_digits_do_as_at_random():
    features, digits = load_digits(return_X_y=True)
    features = comparable(features)
    scores = {"chosen": [], "random": []}
    for fold, (train, test) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=0).split(features, digits)
    ):
        labels = [None] * len(train)
        for _ in range(4):
            for row in next_batch(features[train], labels, 25, seed=fold).rows:
                labels[row] = str(digits[train[row]])
        chosen = [row for row, label in enumerate(labels) if label]
        drawn = np.random.default_rng(fold).permutation(len(train))[:200]
        for name, rows in (("chosen", chosen), ("random", drawn)):
            scores[name].append(accuracy(features, digits, train[rows], test))
    assert np.mean(scores["chosen"]) > np.mean(scores["random"]) - 0.02


def accuracy(features, digits, train, test):
    names = [str(digit) for digit in range(10)]
    scores = scores_of(features[test], features[train], digits[train], names)
    return (scores.argmax(1) == digits[test]).mean()
