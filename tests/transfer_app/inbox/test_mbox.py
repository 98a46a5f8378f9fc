"""An mbox is copied byte for byte, but for a header in each mail."""

import json
import mailbox
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest

from nlp_transfer.emails.containers import raw_messages
from staged_training.heads.drift import FILE_NAME as DRIFT
from staged_training.heads.drift import likeness, token_kinds
from tests.fuzz.test_hostile import MAILS
from tests.transfer_app.inbox.test_hostile_mail import RAW
from transfer_app.command_line import main

FROM = b"From ann@example.org Mon Jun  3 10:15:00 2024\n"
URGENT = b"Subject: Server\n\nThe server is down\n\n"
LUNCH = b"Subject: Lunch\n\nLunch was good\n>From here\n\n"


RAW_MAILS = [re.sub(rb"\AFrom .*\n", b"", mail).rstrip() + b"\n\n" for mail in RAW]


@pytest.fixture
def copied(tmp_path, model):
    """The copy of an mbox."""

    def run(content, *flags):
        source, copy = tmp_path / "inbox.mbox", tmp_path / "copy.mbox"
        source.write_bytes(content)
        arguments = [str(source), "--model", str(model), "--output", str(copy), *flags]
        assert main(["mark", *arguments]) == 0
        return copy.read_bytes()

    return run


def test_an_inbox_unlike_the_training_data_is_told_of_once(copied, model, tmp_path, capsys):
    words = len(json.loads((model / "vocab.json").read_text()))
    tokens = token_kinds([range(words)], words, [0])
    tokens[1] = 2  # the unknown word
    likeness([0.9, 1.0] * 20, tokens).save(tmp_path)
    (tmp_path / DRIFT).rename(model / DRIFT)
    try:
        copied((FROM + LUNCH) * 40)
        assert "unlike" not in capsys.readouterr().err
        (tmp_path / "copy.mbox").unlink()
        copied((FROM + b"Subject: Ausfall\n\nDer Rechner steht still seit gestern\n\n") * 40)
        assert capsys.readouterr().err.count("These 40 texts are unlike those") == 1
    finally:
        (model / DRIFT).unlink()


def headers(tmp_path):
    return [mail["X-Urgency"] for mail in mailbox.mbox(tmp_path / "copy.mbox")]


def without_ours(content):
    return b"".join(line for line in content.splitlines(True) if not line.startswith(b"X-Urgency"))


def test_each_mail_gets_a_header(copied, tmp_path, capsys):
    content = FROM + URGENT + FROM + LUNCH
    copy = copied(content)
    urgent, lunch = headers(tmp_path)
    assert urgent.startswith("yes; score=0.9") and lunch.startswith("no; score=0.")
    assert copy.startswith(FROM + b"X-Urgency: yes") and without_ours(copy) == content
    out = capsys.readouterr().out
    assert out.startswith("inbox.mbox#1  0.9") and "2 mails: 1 marked, 1 not marked" in out


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf\n \n" + FROM + URGENT,
        (FROM + URGENT + FROM + LUNCH).replace(b"\n", b"\r\n"),
        FROM + b">From bob@example.org Mon Jun  3 10:15:00 2024\n" + URGENT,
        FROM + b"\nThe server is down",
        FROM + b"no headers\n\n" + FROM + URGENT,
        FROM + URGENT.rstrip(),
        FROM,
        FROM + b"Subject: long\n\n" + b"x" * 2**20 + b"\nFrom \n\xff\0\n",
        b"".join(FROM + mail for mail in RAW_MAILS),
    ],
)
def test_nothing_else_changes(content, copied, tmp_path):
    copy = copied(content)
    assert without_ours(copy) == content
    boxes = [tmp_path / f"{name}.mbox" for name in ("inbox", "copy")]
    assert len({len(list(raw_messages(box))) for box in boxes}) == 1


def test_the_copy_is_read_as_the_mbox_is(copied, tmp_path, model, capsys):
    copied(b"".join(FROM + mail for mail in [*RAW_MAILS, URGENT, LUNCH]))
    marked = [header.startswith("yes") for header in headers(tmp_path)]
    capsys.readouterr()
    for name in ("inbox.mbox", "copy.mbox"):
        assert main(["predict", str(model), str(tmp_path / name), "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert ['"label": "urgent"' in line for line in lines] == marked


@pytest.mark.parametrize(
    "line",
    [
        b"X-Urgency: yes; score=1.0000\n",
        b"x-urgency : yes;\n\tscore=1\n score=2\n",
        b"X-URGENCY-Words: a\n",
        b"To: b\rX-Urgency: yes\r\n",
    ],
)
def test_a_header_that_a_stranger_wrote_is_left_out(line, copied, tmp_path):
    copied(FROM + b"To: a\n" + line + b"Cc: c\n" + LUNCH + FROM + LUNCH)
    assert [header[:3] for header in headers(tmp_path)] == ["no;", "no;"]
    (first, *_) = mailbox.mbox(tmp_path / "copy.mbox")
    assert first.get_all("X-Urgency") == [first["X-Urgency"]] and first["Cc"] == "c"
    assert "X-Urgency-Words" not in first and first["Subject"] == "Lunch"


def test_what_looks_like_the_header_in_a_text_stays(copied):
    content = FROM + b"Subject: a\n\nX-Urgent?\n>X-Urgency: yes\n"
    assert without_ours(copied(content)) == content


def test_the_words_that_mattered_are_told(copied, tmp_path):
    copied(FROM + URGENT + FROM + LUNCH, "--explain")
    urgent, lunch = mailbox.mbox(tmp_path / "copy.mbox")
    assert "down" in urgent["X-Urgency-Words"] and "X-Urgency-Words" not in lunch


def test_a_dry_run_writes_nothing(tmp_path, model, capsys):
    (tmp_path / "inbox").write_bytes(FROM + URGENT)
    assert main(["mark", str(tmp_path / "inbox"), "--model", str(model), "--dry-run"]) == 0
    assert "1 marked" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["inbox"]


def test_the_copy_is_for_those_who_could_read_the_mbox(copied, tmp_path):
    (tmp_path / "inbox.mbox").touch(mode=0o600)
    copied(FROM + URGENT)
    assert (tmp_path / "copy.mbox").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["file", "link", "link to nothing", "fifo"])
def test_what_is_there_already_is_not_replaced(kind, tmp_path, capsys):
    source, other, output = tmp_path / "inbox", tmp_path / "other", tmp_path / "copy"
    source.write_bytes(FROM + URGENT)
    other.write_text("mine")
    if kind == "fifo":
        os.mkfifo(output)
    elif kind == "file":
        output.write_text("mine")
    else:
        output.symlink_to(other if kind == "link" else tmp_path / "nothing")
    before = output.lstat()
    assert main(["mark", str(source), "--model", "no model", "--output", str(output)]) == 2
    assert "is there already. Name another" in capsys.readouterr().err
    assert output.lstat() == before and other.read_text() == "mine"


def test_where_nothing_can_be_printed_no_flag_is_advised_that_there_is_not(tmp_path, model, capfd):
    (tmp_path / "inbox").write_bytes(FROM + URGENT)
    arguments = [str(tmp_path / "inbox"), "--model", str(model), "--dry-run"]
    full = Path("/dev/full").open("w")  # noqa: SIM115 - to close it fails, too
    with redirect_stdout(full):
        assert main(["mark", *arguments]) == 2
    with suppress(OSError):  # what is left in its buffer cannot be written either
        full.close()
    err = capfd.readouterr().err
    assert "No space left" in err and "resume" not in err


@pytest.mark.slow
def test_mail_made_to_cost_much_is_copied(copied, tmp_path):
    content = b"".join(FROM + mail + b"\n\n" for mail in MAILS.values())
    assert without_ours(copied(content)) == content
    read = list(raw_messages(tmp_path / "inbox.mbox"))
    assert len(read) == len(list(raw_messages(tmp_path / "copy.mbox")))
