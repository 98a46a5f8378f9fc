"""Labelled texts in folds, and a related task beside them that gives nothing away."""

import json

import numpy as np
import pytest

from nlp_transfer.text_task import read_proxy, read_task
from staged_training import InputError

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def rows(count, **columns):
    """Rows that differ in their words, one in four of them urgent."""
    return [
        {
            "text": f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {i}",
            "label": "urgent" if i % 4 == 0 else "other",
            **{name: make(i) for name, make in columns.items()},
        }
        for i in range(count)
    ]


def write(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def test_folds_that_come_with_the_texts_are_kept(tmp_path):
    task = read_task(write(tmp_path / "t.jsonl", rows(60, fold=lambda i: i // 20)))
    train, validation, test = task.parts(0)
    assert test.texts == [row["text"] for row in rows(20)]
    assert len(validation.texts) == len(train.texts) == 20
    assert task.names == ["other", "urgent"]
    assert task.target.positive == 1  # the rarer one
    assert task.own_folds


def test_the_parts_of_a_split_that_come_with_the_texts_are_kept(tmp_path, caplog):
    names = ("Training", "valid", "test")
    task = read_task(write(tmp_path / "t.jsonl", rows(60, split=lambda i: names[i // 20])))
    train, validation, test = task.parts(0)
    assert [part.texts[0] for part in (train, validation, test)] == [
        rows(60)[first]["text"] for first in (0, 20, 40)
    ]
    assert task.own_folds and task.fold_numbers == [0]
    assert "20 texts to train on, 20 to validate on, 20 to test on" in caplog.text


def test_parts_that_do_not_teach_a_label_are_dealt_anew_and_other_columns_mean_nothing(
    tmp_path, caplog
):
    table = rows(60, split=lambda i: "train" if i % 4 else "test")
    task = read_task(write(tmp_path / "t.jsonl", table))
    assert task.fold_numbers == [0, 1, 2, 3, 4] and not task.own_folds
    assert "no text to train on has the label 'urgent'" in caplog.text
    task = read_task(write(tmp_path / "u.jsonl", rows(60, split=lambda i: f"part {i}")))
    assert not task.own_folds


def test_without_folds_texts_are_dealt_and_near_duplicates_stay_together(tmp_path):
    table = rows(100)
    table += [{**row, "text": row["text"].upper() + "!"} for row in table[:30]]
    task = read_task(write(tmp_path / "t.jsonl", table))
    assert not task.own_folds
    assert np.array_equal(task.folds[:30], task.folds[100:])
    train, validation, test = task.parts(2)
    assert len(test.texts) == pytest.approx(26, abs=3)
    assert len(validation.texts) == pytest.approx(26, abs=3)
    assert not {text.lower().strip("!") for text in train.texts} & {
        text.lower().strip("!") for text in test.texts + validation.texts
    }


def test_the_label_that_matters_can_be_chosen(tmp_path):
    path = write(tmp_path / "t.jsonl", rows(60))
    assert read_task(path, positive_label="other").target.positive == 0
    with pytest.raises(InputError, match=r"no example has the label 'spam'.*are: other, urgent"):
        read_task(path, positive_label="spam")


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        (lambda i: i % 2, "at least three"),
        (lambda i: "first", "not a whole number"),
        (lambda i: 1 + i % 3, "must be numbered 0, 1, 2"),
        (lambda i: i % 4, "fold 0 has nothing but examples of the label 'urgent'"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(tmp_path, fold, message):
    path = write(tmp_path / "t.jsonl", rows(60, fold=fold))
    with pytest.raises(InputError, match=message):
        read_task(path)


def test_the_proxy_labels_of_validation_and_test_texts_are_not_learnt_from(tmp_path):
    asks = {"asks": lambda i: i % 2 == 0}
    data = write(tmp_path / "t.jsonl", rows(60, fold=lambda i: i // 20, **asks))
    own = rows(90, **asks)[50:]  # ten of them are texts of the task
    task = read_task(data)
    proxy = read_proxy(write(tmp_path / "p.jsonl", own), task, None, "asks")
    assert len(proxy.own.texts) == 30
    split = task.split(0)
    learnt = proxy.beside(split.train)
    forbidden = set(task.parts(0)[1].texts + task.parts(0)[2].texts)
    assert not forbidden & set(learnt.texts)
    assert len(learnt.texts) == 30 + 20
    assert {proxy.names[label] for label in learnt.labels} == {"false", "true"}
    truth = {row["text"]: str(row["asks"]).lower() for row in rows(90, **asks)}
    assert [proxy.names[label] for label in learnt.labels] == [truth[t] for t in learnt.texts]


def test_a_proxy_without_texts_of_its_own_uses_those_of_the_task(tmp_path):
    path = write(tmp_path / "t.jsonl", rows(60, asks=lambda i: i % 2))
    proxy = read_proxy(path, read_task(path), None, "asks")
    assert proxy.own.texts == []
    assert len(proxy.beside(range(60)).texts) == 60


def test_a_proxy_that_gives_nothing_to_learn_is_refused(tmp_path):
    data = write(tmp_path / "t.jsonl", rows(60))
    proxy = write(tmp_path / "p.jsonl", rows(60, asks=lambda i: i % 2))
    with pytest.raises(InputError, match=r"besides the texts of .*t\.jsonl it has no texts"):
        read_proxy(proxy, read_task(data), None, "asks")
    with pytest.raises(InputError, match="has no column 'urges'"):
        read_proxy(proxy, read_task(data), None, "urges")


def test_a_share_is_held_out_of_each_label(tmp_path):
    task = read_task(write(tmp_path / "t.jsonl", rows(80)))
    kept, out = task.all.without(0.25, seed=1)
    assert len(out.texts) == 20 and sum(out.labels) == 5
    assert sorted(kept.texts + out.texts) == sorted(task.all.texts)
