"""Labelling is simulated with the examples as they are, only in fewer dimensions."""

import sys

import labelling
import numpy as np
import pytest

from staged_training.labels.selection import comparable, scores_of


@pytest.fixture(scope="module")
def wide():
    rng = np.random.default_rng(0)
    return comparable(rng.normal(size=(60, 5)) @ rng.normal(size=(5, 300)))


def test_fewer_dimensions_change_no_distance_and_no_score(wide):
    labels, narrow = np.arange(20) % 2, labelling.narrow(wide)
    assert narrow.shape == (60, 60)
    assert np.allclose(narrow @ narrow.T, wide @ wide.T, atol=1e-5)
    scores = [scores_of(of, of[:20], labels, ["no", "yes"]) for of in (wide, narrow)]
    assert np.allclose(*scores, atol=1e-5)


def test_every_way_asks_for_each_example_once(wide):
    pytest.importorskip("small_text", reason="needs the extra `benchmarks`")
    for way in (labelling.at_random, labelling.chosen, *labelling.SMALL_TEXT.values()):
        labels, asked = [None] * len(wide), []
        for _ in range(6):
            for row in way(wide, labels, np.arange(len(wide)), seed=0):
                labels[row] = "yes" if row % 3 else "no"
                asked.append(row)
        assert sorted(asked) == [*range(len(wide))]


def test_it_says_where_chosen_labels_are_behind_drawn_ones():
    drawn, size = np.array([[0.50] * 10, [0.60] * 10]), labelling.BATCH
    assert labelling.behind("mails", drawn - 0.04, drawn)[0] is False
    chosen = drawn.copy()
    chosen[:, 6] -= 0.06
    is_behind, sentence = labelling.behind("mails", chosen, drawn)
    assert is_behind
    assert (
        "are behind drawn ones" in sentence and f"with {7 * size} labels: lead -0.060" in sentence
    )


def test_quick_run_prints_both_tables(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["labelling.py", "--quick"])
    assert labelling.main() == 0
    printed = capsys.readouterr().out
    assert "| digits, chosen " in printed
    assert "digits: chosen labels are never behind" in printed
    assert "| digits | 100 " in printed
