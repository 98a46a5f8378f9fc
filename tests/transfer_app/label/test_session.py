"""What windows are asked, and what becomes of their answers."""

import threading
import unicodedata
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from staged_training import InputError
from transfer_app.label import session as session_module
from transfer_app.label.log import AnswerLog, Entry, log_of
from transfer_app.label.session import BATCH, RefusedError


def label_all(session, truth, count, window="one"):
    for _ in range(count):
        row = session.example_for(window)
        session.answer(window, row, truth[row])


@pytest.fixture
def truth(mails):
    return ["asks" if asks else "tells" for asks in mails["asks_for_action"]]


def table():
    return pd.read_csv("labels.csv", keep_default_na=False)


def test_answers_become_a_table_in_the_order_of_the_data(begin, truth, mails):
    session = begin()
    label_all(session, truth, 25)
    session._table.wait(5)
    found = table()
    assert len(found) == 25
    rows = [int(name.rpartition("#")[2]) - 1 for name in found["input"]]
    assert rows == sorted(rows)
    assert found["label"].tolist() == [truth[row] for row in rows]
    assert found["text"].tolist() == mails["text"].iloc[rows].tolist()
    assert session.batch() == (5, BATCH)


def test_what_was_answered_is_there_when_labelling_goes_on(begin, truth):
    session = begin()
    label_all(session, truth, 12)
    session.answer("one", unsure := session.example_for("one"), None)
    before = session.snapshot().answers
    session.write_table()
    Path("labels.csv").unlink()
    session = begin(names=())
    assert session.snapshot().answers == before
    assert session.names == ["asks", "tells"]
    assert unsure in before.undecided
    session._table.wait(5)
    assert len(table()) == 12
    session.undo("one")  # the window is still open
    assert session.example_for("one") == unsure


def test_undo_shows_the_example_again_and_the_table_loses_it(begin):
    session = begin()
    first = session.example_for("one")
    session.answer("one", first, "asks")
    second = session.example_for("one")
    session.skip("one", second)
    third = session.example_for("one")
    assert len({first, second, third}) == 3
    session.undo("one")
    assert session.example_for("one") == second
    session.undo("one")
    assert session.example_for("one") == first
    session._table.wait(5)
    assert session.labelled == 0 and table().empty
    with pytest.raises(RefusedError, match="no answer that could be taken back"):
        session.undo("one")
    assert begin().labelled == 0


def test_what_was_skipped_comes_again_with_the_next_batch_and_what_is_unsure_never(begin, truth):
    session = begin()
    skipped, unsure = session.example_for("one"), None
    session.skip("one", skipped)
    asked = []
    for _ in range(BATCH - 1):
        asked.append(row := session.example_for("one"))
        session.answer("one", row, truth[row] if unsure else None)
        unsure = unsure or row
    assert skipped not in asked
    following = []
    while (row := session.example_for("one")) is not None:
        following.append(row)
        session.answer("one", row, truth[row])
    assert skipped in following[: BATCH + 1]
    assert unsure not in following
    assert len({*asked, *following}) == len(asked) + len(following)


def test_two_windows_get_different_examples(begin, truth):
    session = begin()
    for _ in range(2 * BATCH):
        one, two = session.example_for("one"), session.example_for("two")
        assert one != two
        session.answer("one", one, truth[one])
        assert session.example_for("two") == two
        session.answer("two", two, truth[two])
    session.undo("two")
    assert session.example_for("two") == two != session.example_for("one")
    assert session.labelled == 4 * BATCH - 1


def test_the_second_answer_is_refused_unless_it_is_the_same(begin):
    session = begin()
    row = session.example_for("one")
    session.answer("one", row, "asks")
    session.answer("two", row, "asks")
    for label in ("tells", None):
        with pytest.raises(RefusedError, match="Another window answered 'asks'"):
            session.answer("two", row, label)
    with pytest.raises(RefusedError, match="This window has answered 'asks' of this one"):
        session.answer("one", row, "tells")
    with pytest.raises(RefusedError, match="no answer"):  # it was not that of this window
        session.undo("two")
    assert len(begin()._log.entries) == 1


def test_the_last_example_is_shown_to_all_and_a_closed_window_gives_back_its_own(begin, truth):
    session = begin()
    held = session.example_for("one")
    while (row := session.example_for("two")) != held:
        session.answer("two", row, truth[row])
    session.answer("two", row, truth[row])
    assert session.example_for("two") is None is session.example_for("one")
    session.undo("two")
    session.leave("two")
    assert session.example_for("one") == held


def test_many_threads_lose_nothing(begin, truth):
    session = begin()

    def work(window):
        for _ in range(20):
            row = session.example_for(window)
            session.answer(window, row, truth[row])

    threads = [threading.Thread(target=work, args=[str(number)]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = begin().snapshot().answers
    assert len(answers.order) == 80
    assert all(answers.labels[row] == truth[row] for row in answers.order)


def test_labels_that_the_data_have_count_and_must_not_differ(begin, pool, truth):
    known = replace(pool, labels=[*truth[:20], *[None] * 140])
    session = begin(names=(), pool=known)
    assert session.labelled == 20
    assert session.example_for("one") >= 20
    assert session.write_table() is None and not Path("labels.csv").exists()
    session.answer("one", session.example_for("one"), "asks")
    assert session.write_table() == len(table()) == 21
    session.undo("one")
    session._log.close()
    log = AnswerLog(log_of(Path("labels.csv")), known)
    log.append(Entry(3, "other", "one"))
    log.close()
    with pytest.raises(
        InputError, match=r"says 'other' of mails.csv#4, and .*mails.csv says 'tells'"
    ):
        begin(pool=known)
    begin(pool=pool)


def test_labels_are_added_and_tidied(begin):
    session = begin(names=["asks"])
    assert session.add_label("  not  for us ") == "not for us"
    for name in ("Asks", "A\u200bsks", "NOT FOR US"):
        with pytest.raises(RefusedError, match="is there already"):
            session.add_label(name)
    for name in (" ", "a\x1b[2J", "\u200b", "\u0301", "\u3164", "\u200d"):
        with pytest.raises(RefusedError, match="that can be seen"):
            session.add_label(name)
    with pytest.raises(RefusedError, match="at most 200 characters, and this one 201"):
        session.add_label("a" * 201)
    assert session.names == ["asks", "not for us"]
    row = session.example_for("one")
    session.answer("one", row, "another")  # as after the server was killed
    assert session.names == ["asks", "not for us", "another"]
    assert begin(names=["asks"]).names == ["asks", "another"]
    for names in (["asks", "ASKS"], [""]):
        with pytest.raises(InputError, match="`label_names`: "):
            begin(names=names)
    begin()


@pytest.mark.parametrize(
    "name, kept",
    [
        ("\u200fשלום\u200f עולם", "שלום עולם"),
        ("نمی\u200cخواهم", "نمی\u200cخواهم"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("?", "?"),
        ("e\u0301te\u0301", "été"),
    ],
)
def test_labels_of_all_scripts_can_be_added_and_answered_in_any_form(name, kept, begin):
    session = begin()
    assert session.add_label(name) == kept
    row = session.example_for("one")
    for form in (name, unicodedata.normalize("NFD", kept), f" {kept}\ufeff"):
        session.answer("one", row, form)
    assert session.snapshot().answers.labels[row] == kept


def test_a_long_label_of_the_data_can_be_given_and_none_can_be_added(begin, pool):
    long = "a" * 300
    known = replace(pool, labels=[long, *pool.labels[1:]])
    session = begin(names=["asks"], pool=known)
    session.answer("one", row := session.example_for("one"), long)
    assert session.snapshot().answers.labels[row] == long
    with pytest.raises(InputError, match="`label_names`: A label has at most 200 characters"):
        begin(names=["b" * 201])


def test_quality_is_measured_beside_labelling_and_its_curve_comes_back(begin, truth, monkeypatch):
    at_work, go_on = threading.Event(), threading.Event()
    measure = session_module.Labelling.quality

    def measure_late(labelling):
        at_work.set()
        go_on.wait()
        return measure(labelling)

    monkeypatch.setattr(session_module.Labelling, "quality", measure_late)
    session = begin()
    assert at_work.wait(20)
    label_all(session, truth, 8 * BATCH)
    assert session.is_busy and not session.curve()[0]
    go_on.set()
    session.example_for("one")  # begins a batch
    session._quality.wait(20)
    points, told, may_stop = session.curve()
    assert [point.labels for point in points] == [8 * BATCH]
    assert points[0].low <= points[0].score <= points[0].high
    assert "95 % interval" in told and not may_stop
    session = begin()
    session._quality.wait(20)
    assert len(session.curve()[0]) > 2
    assert session.curve()[0][-1] == points[0]


@pytest.mark.parametrize(
    "error, told",
    [
        (InputError("The disk is full."), "The disk is full."),
        (RuntimeError("secret"), r"labels.csv cannot be written \(RuntimeError\)."),
    ],
)
def test_a_table_that_cannot_be_written_is_told_until_it_can_be(
    error, told, begin, truth, monkeypatch
):
    def fail(*_):
        raise error

    session = begin()
    with monkeypatch.context() as context:
        context.setattr(session_module, "write_rows", fail)
        label_all(session, truth, 1)
        with pytest.raises(InputError, match=f"^{told}$"):
            session.write_table()
    label_all(session, truth, 1)
    assert session.write_table() == len(table()) == 2
    assert not session.problem
