"""A Maildir is marked by renaming files, while others rename them too."""

import os
import threading
import time
from datetime import date

import pytest

from tests.transfer_app.inbox.processes import Marking, until
from transfer_app.command_line import main

URGENT = b"Subject: Server\n\nThe server is down\n"
LUNCH = b"Subject: Lunch\n\nLunch was good\n"


@pytest.fixture
def maildir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "Maildir"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    return folder


def names(maildir):
    return sorted(f"{file.parent.name}/{file.name}" for file in maildir.glob("[cn]*/*"))


def mark(source, model, *flags):
    assert main(["mark", str(source), "--model", str(model), "--once", *flags]) == 0


def test_urgent_mail_gets_the_flag_and_keeps_its_others(maildir, model, capsys):
    for name in ("new/a", "cur/b,S=5:2,PS", "cur/c:2,", "cur/f:2,FS"):
        (maildir / name).write_bytes(URGENT)
    for name in ("new/d", "cur/e:2,S", "cur/odd:1,S", "cur/.hidden"):
        (maildir / name).write_bytes(LUNCH)
    (maildir / "cur" / "broken:2,").write_bytes(b"no headers")
    (maildir / "cur" / "folder:2,").mkdir()
    os.mkfifo(maildir / "cur" / "fifo:2,")
    mark(maildir, model)
    assert names(maildir) == [
        *("cur/.hidden", "cur/a:2,F", "cur/b,S=5:2,FPS", "cur/broken:2,", "cur/c:2,F"),
        *("cur/e:2,S", "cur/f:2,FS", "cur/fifo:2,", "cur/folder:2,", "cur/odd:1,S", "new/d"),
    ]
    out, err = capsys.readouterr()
    assert "7 mails: 3 marked, 2 not marked, 1 had the mark, 1 left out" in out
    assert sorted(err.splitlines())[:-1] == [
        "Left out: broken has no mail headers.",
        "Left out: cur/odd:1,S has no name that a Maildir gives a mail.",
    ]


def test_a_mail_is_looked_at_once(maildir, model, monkeypatch, capsys):
    (maildir / "new" / "a").write_bytes(URGENT)
    mark(maildir, model)
    (maildir / "cur" / "a:2,F").rename(maildir / "cur" / "a:2,S")
    monkeypatch.chdir(maildir.parent)
    mark("Maildir", model)
    assert names(maildir) == ["cur/a:2,S"]
    assert "0 mails: " in capsys.readouterr().out


def test_a_dry_run_changes_nothing(maildir, model):
    (maildir / "new" / "a").write_bytes(URGENT)
    mark(maildir, model, "--dry-run")
    assert names(maildir) == ["new/a"] and not (maildir.parent / "state").exists()


def test_mail_that_was_read_or_is_old_is_left_alone_if_asked(maildir, model):
    for name in ("new/old", "cur/read:2,S", "new/new"):
        (maildir / name).write_bytes(URGENT)
    os.utime(maildir / "new" / "old", (0, 0))
    mark(maildir, model, "--since", str(date.today()), "--unseen")
    assert names(maildir) == ["cur/new:2,F", "cur/read:2,S", "new/old"]


def test_a_file_that_would_be_replaced_stays(maildir, model):
    (maildir / "new" / "a").write_bytes(URGENT)
    (maildir / "cur" / "a:2,F").write_bytes(LUNCH)
    mark(maildir, model)
    assert names(maildir) == ["cur/a:2,F", "new/a"]
    assert (maildir / "cur" / "a:2,F").read_bytes() == LUNCH


def test_a_name_of_another_system_or_of_another_mail_is_left_out_and_told_once(
    maildir, model, capsys
):
    left = ["cur/a!2,S", "cur/b:1,x", "new/c"]
    for name in (*left, "cur/c:2,S"):
        (maildir / name).write_bytes(URGENT)
    mark(maildir, model)
    assert names(maildir) == [*left[:2], "cur/c:2,FS", left[2]]
    err = capsys.readouterr().err
    for name in left:
        assert err.count(f"Left out: {name} has ") == 1


def test_names_that_are_no_text(maildir, model, capsys):
    name = os.fsdecode(b"caf\xe9\x1b[2J")
    (maildir / "new" / name).write_bytes(URGENT)
    mark(maildir, model)
    assert names(maildir) == [f"cur/{name}:2,F"]
    assert "\x1b" not in capsys.readouterr().out


def test_new_mail_is_marked_as_it_comes(maildir, model):
    with Marking(maildir, "--model", model) as marking:
        marking.wait_for("Waiting")
        for number in range(3):
            (maildir / "tmp" / f"{number}").write_bytes(URGENT)
            (maildir / "tmp" / f"{number}").rename(maildir / "new" / f"{number}")
            until((maildir / "cur" / f"{number}:2,F").exists, seconds=3)
        moved = maildir.rename(maildir.parent / "away")
        marking.wait_for("Lost")
        moved.rename(maildir)
        marking.wait_for("Back")


def test_a_program_for_mail_that_renames_files_loses_none(maildir, model):
    for number in range(300):
        (maildir / "new" / f"{number}").write_bytes(URGENT)
    stopped = threading.Event()

    def read():
        while not stopped.is_set():
            for file in [*(maildir / "new").iterdir(), *(maildir / "cur").iterdir()]:
                lasting, _, flags = file.name.partition(":2,")
                seen = "".join(sorted({*flags, "S"} if "S" not in flags else {*flags} - {"S"}))
                try:
                    file.rename(maildir / "cur" / f"{lasting}:2,{seen}")
                except FileNotFoundError:
                    time.sleep(0)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        mark(maildir, model)
    finally:
        stopped.set()
        reader.join()
    found = [name.partition(":2,") for name in names(maildir)]
    assert {lasting for lasting, _, _ in found} == {f"cur/{number}" for number in range(300)}
    assert all("F" in flags for _, _, flags in found)
