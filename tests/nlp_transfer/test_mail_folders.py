"""Folders of mail in any state are read, and what is left out of them is counted and named."""

import os
import resource
import subprocess
import sys
import time

import pytest

from nlp_transfer.emails import iter_texts, read_labelled_texts, read_texts
from nlp_transfer.emails.message import BrokenMessageError, parse_message
from staged_training import InputError
from tests.nlp_transfer.odd_mail import NOT_READ, SEPARATOR, write_odd_mail

MIB = 2**20


def test_all_mail_of_a_folder_is_read_and_the_rest_named(tmp_path, caplog):
    count = write_odd_mail(tmp_path)
    reading = read_texts(tmp_path)
    names = reading.dataset["input"][:]
    assert len(names) == len(set(names)) == count
    assert {"caf\\xe9.eml", "folder.eml/a.eml", "inbox.mbox#2", "Sent#1", "letter.MSG"} <= set(
        names
    )
    assert {skipped.input.encode() for skipped in reading.skipped} == NOT_READ
    told = caplog.messages
    assert f"{len(NOT_READ)} of {count + len(NOT_READ)} messages skipped: " in told[0]
    assert "fifo.eml is not a readable file or folder; " in told[0]
    assert "1 of 18 messages have no text of their own and are read by their subject" in told[1]
    assert told[1].endswith(": scan.eml")
    assert "1 of 18 messages are read in part, up to 300,000 characters: long.eml" in told[2]
    assert list(iter_texts(tmp_path)) == list(zip(names, reading.dataset["text"], strict=True))


def test_more_than_a_few_are_counted(tmp_path, caplog):
    for number in range(25):
        (tmp_path / f"{number:02}.eml").write_text("no headers")
    (tmp_path / "good.eml").write_text("Subject: x\n\ny")
    read_texts(tmp_path)
    assert "25 of 26 messages skipped" in caplog.text
    assert "19.eml has no mail headers; and 5 more" in caplog.text


def test_class_folders_may_be_links_and_hold_an_mbox(tmp_path):
    (tmp_path / "mail" / "fine").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mail" / "urgent").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mail" / "fine" / "a.mbox").write_bytes((SEPARATOR + b"Subject: x\n\nx\n\n") * 2)
    for name in "ab":
        (tmp_path / "elsewhere" / f"{name}.eml").write_text("Subject: y\n\ny")
    dataset = read_labelled_texts(tmp_path / "mail").dataset
    assert dataset["input"][:] == ["fine/a.mbox#1", "fine/a.mbox#2", "urgent/a.eml", "urgent/b.eml"]
    assert dataset["label"][:] == ["fine", "fine", "urgent", "urgent"]


def test_what_is_neither_file_nor_folder_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead.eml").symlink_to("nowhere")
    for name, reason in {
        "pipe": "neither a file nor a folder",
        "dead.eml": "no such file",
        "a" * 300: "cannot be opened .*too long",
        "nul\0.eml": "cannot be opened",
    }.items():
        for read in (read_texts, iter_texts):
            with pytest.raises(InputError, match=reason):
                read(tmp_path / name)


PART = b"Subject: x\nContent-Type: %s\n%s\n"


@pytest.mark.parametrize(
    "mail",
    [
        PART % (b"text/plain", b"") + b">" * 10 * MIB,
        PART % (b"text/plain", b"") + b"> a b c d\n" * MIB,
        PART % (b"text/plain", b"") + b"-" * 10 * MIB,
        PART % (b"text/plain", b"") + (b"-" * 70 + b"\n") * (MIB // 7),
        PART % (b"text/plain", b"") + b"begin 644 a\n" + (b"M" + b"A" * 60 + b"\n") * (MIB // 6),
        PART % (b"text/plain", b"Content-Transfer-Encoding: x-uuencode\n")
        + b"begin 644 a\n"
        + (b"M" + b"A" * 60 + b"\n") * (MIB // 6),
        PART % (b"multipart/mixed; boundary=b", b"") + b"--b\n\n" + b"a b c d e f g h\n" * MIB,
        PART % (b"text/html", b"") + b"<p>a b c d e f g h" * MIB,
    ],
    ids=["one line", "quoted", "dash", "dashes", "uuencoded", "encoding", "part", "HTML"],
)
def test_a_large_mail_is_read_in_part_at_little_cost(mail):
    start = time.process_time()
    content = parse_message(mail)
    assert content.is_cut
    assert 1000 < len(content.body) <= 300_000
    assert time.process_time() - start < 5


def test_a_text_after_a_large_attachment_is_read_whole():
    attachment = b"--b\nContent-Type: image/png\n\n" + (b"A" * 76 + b"\n") * (MIB // 10)
    mail = PART % (b'multipart/mixed; boundary="b"', b"") + b"--b\n\nabove\n" + attachment
    mail += b"--b\nContent-Type: text/html\n\n<p>below\n--b--\n"
    assert len(mail) > 6 * MIB
    assert parse_message(mail) == ("x", "above\nbelow", False)


def test_a_mail_of_too_many_parts_is_refused():
    mail = PART % (b"multipart/mixed; boundary=b", b"") + b"--b\n\nx\n" * MIB
    with pytest.raises(BrokenMessageError, match="more than 10,000 parts"):
        parse_message(mail)


READ = """
import sys, time
from nlp_transfer.emails import iter_texts
first = len(list(iter_texts(sys.argv[1])))
start = time.process_time()
print(sum(1 for _ in iter_texts(sys.argv[2])), time.process_time() - start)
"""


@pytest.mark.slow
def test_a_large_mbox_takes_little_memory_and_linear_time(tmp_path):
    mail = (
        SEPARATOR + b"Subject: Pump\n\n" + b"The pump has stopped, please call me.\n" * 80 + b"\n"
    )
    for name, size in [("small", 20), ("middle", 100), ("large", 400)]:
        (tmp_path / name).write_bytes(mail * (size * MIB // len(mail)))
    seconds = {}
    for name in ("middle", "large"):
        command = [sys.executable, "-c", READ, tmp_path / "small", tmp_path / name]
        printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        count, spent = printed.split()
        assert int(count) == (tmp_path / name).stat().st_size // len(mail)
        seconds[name] = float(spent)
    assert seconds["large"] < 4 * seconds["middle"] * 1.5
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak < 1.5 * 2**30
