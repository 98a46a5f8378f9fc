"""What cannot work is told in one line, with exit status 2, before a model is loaded."""

import os
import socket
import sqlite3
import sys
import threading
import time
from contextlib import suppress

import pytest

from tests.transfer_app.inbox.dovecot import free_ports
from tests.transfer_app.inbox.proxy import proxy
from transfer_app.command_line import main
from transfer_app.inbox.source import parse_source


@pytest.fixture
def refused(capsys):
    """What is told of a source that is refused; there is no model, which would be told, too."""

    def run(source, *flags, model="no model"):
        assert main(["mark", str(source), "--model", str(model), "--once", *map(str, flags)]) == 2
        out, err = capsys.readouterr()
        assert not out and err.count("\n") == 1 and err.startswith("nlp-transfer: ")
        return err

    return run


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("imap://ann@imap.example.org/INBOX", "plain text"),
        ("imap://ann@127.0.0.1.example.org/INBOX", "plain text"),
        ("imap://ann@localhost.example.org/INBOX", "plain text"),
        ("imaps://imap.example.org/INBOX", "names no user"),
        ("imaps://ann@/INBOX", "names no host"),
        ("imaps://ann@imap.example.org:x/INBOX", "is no URL"),
        ("imaps://ann@[::1/INBOX", "is no URL"),
        ("imaps://ann@imap.example.org/%ff", "is no URL"),
        ("imaps://ann@imap.example.org/A#B", "%23"),
        ("imaps://ann@imap.example.org/A?B", "%3F"),
        ("imaps://ann@imap.example.org/A%0d%0aB", "control characters"),
        ("https://ann@imap.example.org/", "by imaps"),
        ("nowhere", "no such file"),
        (".", "neither a Maildir"),
    ],
)
def test_a_source_that_is_none(source, told, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in refused(source)


@pytest.mark.parametrize(
    "source",
    [
        *("imaps://ann:hunter2@example.org/", "imaps:// ann:hunter2@x:y@[/"),
        *("imaps://ann:hunter2/x@example.org/INBOX", "imaps://ann:hunter2\n@example.org:x/"),
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(source, refused):
    assert "hunter2" not in refused(source)


def test_a_password_that_is_wrong(server, user, refused, monkeypatch):
    monkeypatch.setenv("NLP_TRANSFER_PASSWORD", "hunter2")
    told = refused(server.url(user))
    assert f"{user} is refused" in told and "hunter2" not in told


def test_a_certificate_of_another_host(server, user, refused):
    assert "is not to be trusted" in refused(server.url(user).replace("localhost", "127.0.0.1"))


def test_a_certificate_that_nobody_vouches_for(server, user, refused, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "SSL_CERT_FILE" in refused(server.url(user))


def test_a_folder_that_is_not_there(server, user, refused):
    told = refused(server.url(user, "Inbax"))
    assert "cannot be opened" in told and "There are: INBOX." in told


def test_a_folder_to_move_to_that_is_not_there(server, user, refused):
    assert "moved to Urgent" in refused(server.url(user), "--move", "Urgent")
    for name in ("INBOX", "inbox"):
        assert "where the mails are already" in refused(server.url(user), "--move", name)


def test_the_inbox_is_one_in_any_case():
    assert parse_source("imaps://ann@a/inbox") == parse_source("imaps://ann@a/INBOX")
    assert parse_source("imaps://ann@a/Work") != parse_source("imaps://ann@a/work")


@pytest.mark.parametrize("host", ["nowhere.invalid", "localhost"])
def test_a_server_that_is_not_there(host, server, user, refused):
    assert "no mail server answers" in refused(f"imaps://{user}@{host}:{free_ports(1)[0]}/")


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_a_server_of_something_else(scheme, server, user, refused):
    source = f"{scheme}://{user}@localhost:{server.ports['lmtp']}/"
    assert "no mail server answers" in refused(source)


@pytest.mark.parametrize("greeting", [b"", b"* OK hello\r\n"])
def test_a_server_that_trickles_is_not_waited_for_without_end(greeting, refused, monkeypatch):
    monkeypatch.setattr("transfer_app.inbox.imap_client._MOST_TO_LOG_IN", 1)
    monkeypatch.setenv("NLP_TRANSFER_PASSWORD", "hunter2")

    def trickle():
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.sendall(greeting)
            for _ in range(100):
                connection.sendall(b"*")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=trickle, daemon=True).start()
        began = time.monotonic()
        told = refused(f"imap://ann@localhost:{listening.getsockname()[1]}/")
    assert time.monotonic() - began < 5
    assert "no mail server answers" in told


@pytest.mark.parametrize("keyword", ["two words", "Größe", "\\Seen", "(a)", "%", "]", "x" * 51])
def test_a_keyword_that_is_none(keyword, server, user, refused):
    assert "--keyword" in refused(server.url(user), "--keyword", keyword)


def without_keywords(data):
    return data.replace(b" \\*)]", b"]").replace(b"\\Draft]", b"\\Draft)]")


def test_a_folder_that_takes_no_keywords(server, user, refused, model, caplog):
    server.deliver(user, b"Subject: Server\n\nThe server is down\n")
    with proxy(server.ports["imap"], without_keywords) as port:
        source = f"imap://{user}@localhost:{port}/"
        assert "takes no flag $Urgent" in refused(source)
        assert main(["mark", source, "--model", str(model), "--once", "--flag"]) == 0
    assert server.flags(user) == {1: {"\\Flagged"}}
    assert "takes no keyword; mail is marked by a flag alone" in caplog.text


def test_a_folder_that_may_only_be_read(server, user, refused, model):
    with proxy(server.ports["imap"], lambda d: d.replace(b"[READ-WRITE]", b"[READ-ONLY]")) as port:
        source = f"imap://{user}@localhost:{port}/"
        assert "may only be read" in refused(source)
        assert main(["mark", source, "--model", str(model), "--once", "--dry-run"]) == 0


def test_what_was_done_is_kept_for_one_mailbox_and_by_one_process(
    server, user, refused, model, tmp_path, capsys
):
    state = tmp_path / "state.sqlite"
    flags = ["--model", str(model), "--once", "--state", str(state)]
    assert main(["mark", server.url(user), *flags]) == 0
    capsys.readouterr()
    assert state.stat().st_mode & 0o777 == 0o600
    assert "--state" in refused(server.url(user), "--state", state, "--keyword", "Bill")
    with sqlite3.connect(state) as other:
        other.execute("BEGIN EXCLUSIVE")
        for flags in ([], ["--dry-run"]):
            assert "It is in use" in refused(server.url(user), "--state", state, *flags)
        other.rollback()
    state.write_bytes(b"no database " * 1000)
    assert "is damaged" in refused(server.url(user), "--state", state)
    assert "--state" in refused(server.url(user), "--state", tmp_path)


def test_flags_that_do_not_go_with_a_source(tmp_path, refused, server, user):
    box = tmp_path / "inbox.mbox"
    box.write_bytes(b"From ann@example.org Mon Jun  3 10:15:00 2024\nSubject: a\n\nb\n")
    for name in ("cur", "new", "tmp"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    assert "--output" in refused(box)
    assert "without --flag" in refused(box, "--output", tmp_path / "copy", "--flag")
    assert "is the mbox itself" in refused(box, "--output", box)
    assert "in none" in refused(box, "--output", tmp_path / "no" / "copy")
    assert "--keyword" in refused(tmp_path / "mail", "--keyword", "Bill")
    assert "--output" in refused(tmp_path / "mail", "--output", tmp_path / "copy")
    assert "--output" in refused(server.url(user), "--output", tmp_path / "copy")
    assert "--every" in refused(server.url(user), "--every", "nan")


def test_a_library_that_is_missing(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "imapclient", None)
    assert "pip install 'nlp-transfer[inbox]'" in refused("imaps://ann@imap.example.org/")


def test_a_day_that_is_none(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["mark", "mail", "--model", "m", "--since", "yesterday"])
    assert ended.value.code == 2 and "is no day, such as 2026-11-30" in capsys.readouterr().err


def test_a_label_or_a_score_that_the_model_does_not_have(server, user, refused, model):
    told = refused(server.url(user), "--label", "late", model=model)
    assert "has no label 'late'" in told and "non-urgent, urgent" in told
    assert "from 0 to 1" in refused(server.url(user), "--threshold", 50, model=model)
    assert "--threshold" in refused(server.url(user), "--threshold", "nan", model=model)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_maildir_that_may_not_be_written_to(tmp_path, refused):
    for name in ("cur", "new"):
        (tmp_path / name).mkdir(mode=0o500)
    assert "may not be written to" in refused(tmp_path)
