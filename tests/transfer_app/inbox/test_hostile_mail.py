"""Mail of any kind is marked as `predict` says, or left out and told; the rest is marked."""

import pytest

from tests.fuzz.targets import ROOT, TARGETS
from tests.fuzz.test_hostile import FOUND, MAILS
from tests.nlp_transfer.odd_mail import ODD_MAILS, UNREADABLE
from tests.transfer_app.inbox.processes import marked, predicted
from transfer_app.command_line import main

URGENT = b"Subject: Server\n\nThe server is down\n"
RAW = [file.read_bytes() for file in sorted((ROOT / "tests/data/raw_mail").glob("*.eml"))]


def check(server, user, model, tmp_path):
    """Deliver an urgent mail behind those that are there, and compare with `predict`."""
    server.deliver(user, URGENT)
    assert main(["mark", server.url(user), "--model", str(model), "--once"]) == 0
    expected = predicted(server, user, model, tmp_path / "served")
    assert marked(server, user) == expected
    assert max(server.flags(user)) in expected
    assert not any(flags - {"$Urgent"} for flags in server.flags(user).values())


def test_real_mail(server, user, model, tmp_path, capsys):
    server.deliver(user, *RAW)
    check(server, user, model, tmp_path)
    assert "11 mails: " in capsys.readouterr().out


def test_odd_and_broken_mail(server, user, model, tmp_path, capsys):
    found = [file.read_bytes() for file in FOUND.glob("mails-*")]
    seeds = [content for _, content in TARGETS["mails"].seeds(tmp_path)]
    mails = [*ODD_MAILS.values(), *UNREADABLE.values(), *found, *seeds, b"\n", b"\r", b":", b"\xff"]
    with server.client(user) as client:
        for content in filter(None, mails):
            client.append("INBOX", content.replace(b"\0", b"\x80"))
    check(server, user, model, tmp_path)
    err = capsys.readouterr().err
    assert err.count("Left out: UID") >= 5 and "has no mail headers" in err


@pytest.mark.slow
def test_mail_made_to_cost_much(server, user, model, tmp_path):
    with server.client(user) as client:
        for content in MAILS.values():
            client.append("INBOX", content)
    check(server, user, model, tmp_path)


def test_a_subject_does_not_steer_the_terminal(server, user, model, capsys):
    server.deliver(
        user, b"Subject: =?utf-8?q?=1B[2J=0AServer_is_down_=E2=80=AE?=\n\nServer is down\n"
    )
    assert main(["mark", server.url(user), "--model", str(model), "--once"]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2J" in out and "\x1b" not in out and "\u202e" not in out
    assert out.count("\n") == 2


def test_no_more_of_a_mail_is_fetched_than_is_read(server, user, model, monkeypatch, capsys):
    monkeypatch.setattr("transfer_app.inbox.imap.MAX_BYTES", 1000)
    server.write_down(user)
    server.deliver(user, b"Subject: long\n\n" + b"The server is down. \n" * 100)
    assert main(["mark", server.url(user), "--model", str(model), "--once"]) == 0
    said = "".join(file.read_text() for file in server.said(user))
    assert "BODY.PEEK[]<0.1001>" in said and marked(server, user) == {1}
