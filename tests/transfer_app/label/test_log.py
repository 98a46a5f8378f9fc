"""Answers on disk: whatever was written whole is read, and nothing else is taken for an answer."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from staged_training import InputError
from transfer_app.label import log as log_module
from transfer_app.label.log import AnswerLog, Entry
from transfer_app.label.pool import read_pool

FILE = Path("labels.csv.answers.jsonl")
ROWS, WINDOWS = st.integers(0, 159), st.sampled_from(["one", "two"])
LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
ENTRIES = st.one_of(
    st.builds(Entry, ROWS, st.one_of(st.none(), LABELS), WINDOWS, st.just(False)),
    st.builds(Entry, ROWS, st.none(), WINDOWS, st.just(True)),
)


def written(pool, entries):
    FILE.unlink(missing_ok=True)
    log = AnswerLog(FILE, pool)
    for entry in entries:
        log.append(entry)
    log.close()
    return FILE.read_bytes() if entries else b""


def read(pool):
    log = AnswerLog(FILE, pool)
    log.close()
    return log.entries


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRIES, max_size=8), data=st.data())
def test_a_log_that_was_cut_anywhere_holds_the_first_of_what_was_written(pool, entries, data):
    content = written(pool, entries)
    assert read(pool) == entries
    cut = data.draw(st.integers(0, len(content)))
    FILE.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert read(pool) == entries[:whole]
    kept = b"".join(content.splitlines(keepends=True)[:whole])
    assert FILE.read_bytes() == kept if kept else not FILE.exists()
    FILE.write_bytes(content[:cut])
    log = AnswerLog(FILE, pool)
    log.append(Entry(5, "after", "one"))
    log.close()
    assert read(pool) == [*entries[:whole], Entry(5, "after", "one")]


def test_a_torn_line_is_told(pool, capsys):
    FILE.write_bytes(written(pool, [Entry(1, "asks", "one"), Entry(2, None, "one")])[:-1])
    assert read(pool) == [Entry(1, "asks", "one")]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{FILE}: the last line was not written whole, and is cut off."
    read(pool)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "null",
        "\0" * 40,
        '{"input": "a", "key": "b", "answer": "label", "label": null, "window": "", "time": ""}',
        '{"input": "a", "key": "b", "answer": "undone", "label": "c", "window": "", "time": ""}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_answer_is_refused_by_its_number(line, pool):
    content = written(pool, [Entry(1, "asks", "one")])
    FILE.write_bytes(content + line.encode() + b"\n" + content)
    with pytest.raises(InputError, match=rf"{FILE}: line 2 is damaged\. Correct or delete"):
        read(pool)


def test_a_log_of_other_data_is_refused(pool, mails):
    written(pool, [Entry(1, "asks", "one"), Entry(150, "tells", "one")])
    mails[:100].to_csv("fewer.csv", index=False)
    Path("fewer.csv").rename("mails.csv")
    with pytest.raises(InputError, match=r"line 2: 'mails.csv#151' is no example in .*mails.csv"):
        read(read_pool("mails.csv", None, "label", "none"))
    mails[::-1][["id", "text"]].to_csv("mails.csv", index=False)
    with pytest.raises(InputError, match=r"line 1: 'mails.csv#2' is about another text than is"):
        read(read_pool("mails.csv", None, "label", "none"))


def test_one_server_at_a_time_has_a_log(pool):
    code = "import filelock, sys; file = open(sys.argv[1], 'a'); filelock.lock_descriptor("
    code += "file.fileno()); print(flush=True); input()"
    written(pool, [])
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, FILE], stdin=pipe, stdout=pipe) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match="is in use: another"):
            AnswerLog(FILE, pool)
        other.communicate(b"\n")
    read(pool)
    assert not FILE.exists()  # it held no answer


def test_a_log_that_was_removed_while_it_was_waited_for_is_not_written_to(pool, monkeypatch):
    lock = log_module.lock_descriptor

    def removed_and_locked(*given, **options):
        FILE.unlink()
        return lock(*given, **options)

    monkeypatch.setattr(log_module, "lock_descriptor", removed_and_locked)
    with pytest.raises(InputError, match="is in use"):
        AnswerLog(FILE, pool)


def test_an_answer_that_a_full_disk_takes_in_part_is_not_in_the_log(pool):
    before = written(pool, [Entry(1, "asks", "one")])
    log = AnswerLog(FILE, pool)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            log.append(Entry(2, "tells", "one"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert FILE.read_bytes() == before
    log.append(Entry(3, None, "one"))
    log.close()
    assert read(pool) == [Entry(1, "asks", "one"), Entry(3, None, "one")]


def test_a_name_that_is_no_text_is_kept(pool, tmp_path):
    from dataclasses import replace

    name = os.fsdecode(b"photo-\xff.jpg")
    odd = replace(pool, names=[name, *pool.names[1:]])
    written(odd, [Entry(0, "asks", "one")])
    assert read(odd) == [Entry(0, "asks", "one")]
