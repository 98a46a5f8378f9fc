"""Mail on a real server is marked: each once, and none is read, lost or deleted."""

import re
import signal
from datetime import date, timedelta

import pytest

from tests.transfer_app.inbox.dovecot import Dovecot
from tests.transfer_app.inbox.processes import Marking, until
from tests.transfer_app.inbox.proxy import proxy
from transfer_app.command_line import main

URGENT = b"Subject: Server\n\nThe server is down\n"
LUNCH = b"Subject: Lunch\n\nLunch was good\n"
ONE_OF_TWO = {1: {"$Urgent"}, 2: set()}


@pytest.fixture
def mark(model):
    """Mark mail as the command does."""

    def run(source, *flags, status=0):
        assert main(["mark", str(source), "--model", str(model), *map(str, flags)]) == status

    return run


def test_urgent_mail_gets_the_keyword_and_none_counts_as_read(server, user, mark, capsys):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once")
    assert server.flags(user) == ONE_OF_TWO
    out, err = capsys.readouterr()
    assert out.startswith("UID 1  0.9") and "Server" in out
    assert out.endswith("2 mails: 1 marked, 1 not marked, 0 had the mark, 0 left out.\n")
    assert err.startswith("Next: ") and err.count("\n") == 1


def test_a_second_run_does_nothing_to_mail_that_was_looked_at(server, user, mark, capsys):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once")
    with server.client(user) as client:
        client.remove_flags([1], ["$Urgent"])
        client.add_flags([2], ["$Urgent"])
    mark(server.url(user), "--once")
    assert server.flags(user) == {1: set(), 2: {"$Urgent"}}
    out = capsys.readouterr().out
    assert "0 mails: " in out and out.endswith("2 looked at before; another --state looks again.\n")


def test_another_label_is_refused_what_was_done_by_one(server, user, mark, capsys):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once")
    mark(server.url(user), "--once", "--label", "non-urgent", status=2)
    assert "label urgent. Give another --state" in capsys.readouterr().err
    mark(server.url(user), "--once", "--label", "urgent")


def test_mail_that_has_the_mark_is_not_marked_again_where_the_journal_is_gone(
    server, user, mark, tmp_path, capsys
):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once", "--state", tmp_path / "one")
    mark(server.url(user), "--once", "--state", tmp_path / "two")
    assert server.marks(user) == {1: 1}
    assert "2 mails: 0 marked, 1 not marked, 1 had the mark" in capsys.readouterr().out


def test_a_dry_run_changes_nothing(server, user, mark, tmp_path, capsys):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once", "--dry-run")
    assert server.flags(user) == {1: set(), 2: set()} and server.marks(user) == {}
    assert not (tmp_path / "state").exists()
    assert "1 marked" in capsys.readouterr().out


def test_a_dry_run_knows_what_was_done(server, user, mark, capsys):
    server.deliver(user, URGENT)
    mark(server.url(user), "--once")
    server.deliver(user, URGENT)
    capsys.readouterr()
    mark(server.url(user), "--once", "--dry-run")
    assert capsys.readouterr().out.startswith("UID 2  0.9")


def test_another_keyword_a_flag_and_another_folder(server, user, mark):
    server.deliver(user, URGENT, LUNCH)
    with server.client(user) as client:
        client.create_folder('Größe & "mehr"')
    flags = ["--keyword", "Bill", "--flag", "--move", 'Größe & "mehr"']
    mark(server.url(user), "--once", *flags)
    assert server.flags(user) == {2: set()}
    assert server.flags(user, 'Größe & "mehr"') == {1: {"Bill", "\\Flagged"}}
    mark(server.url(user, 'Größe & "mehr"'), "--once")
    assert server.flags(user, 'Größe & "mehr"') == {1: {"Bill", "\\Flagged", "$Urgent"}}


def test_a_threshold_and_a_label_say_which_mail_is_marked(server, user, mark):
    server.deliver(user, URGENT, LUNCH)
    mark(server.url(user), "--once", "--threshold", "0.999")
    assert server.flags(user) == {1: set(), 2: set()}
    mark(server.url(user), "--once", "--keyword", "Later", "--label", "non-urgent")
    assert server.flags(user) == {1: set(), 2: {"Later"}}


def test_mail_that_was_read_or_is_old_is_left_alone_if_asked(server, user, mark):
    server.deliver(user, URGENT, URGENT)
    with server.client(user) as client:
        client.add_flags([1], ["\\Seen"])
    tomorrow = date.today() + timedelta(days=1)
    mark(server.url(user), "--once", "--since", tomorrow)
    assert server.flags(user) == {1: {"\\Seen"}, 2: set()}
    mark(server.url(user), "--once", "--unseen", "--since", date.today() - timedelta(days=1))
    assert server.flags(user) == {1: {"\\Seen"}, 2: {"$Urgent"}}


def test_users_and_folders_of_any_name(server, user, mark):
    name = f"{user}%41@ex-ample.org"
    server.deliver(name, LUNCH)
    with server.client(name) as client:
        client.create_folder("a b?#%ü/INBOX".replace("/", "."))
        client.append("a b?#%ü.INBOX", URGENT)
    mark(server.url(name, "a b?#%ü.INBOX"), "--once")
    assert server.flags(name, "a b?#%ü.INBOX") == {1: {"$Urgent"}}


def test_new_mail_is_marked_as_it_comes_and_a_signal_ends_it(server, user, model):
    with Marking(server.url(user), "--model", model) as marking:
        marking.wait_for("Waiting")
        for number in range(1, 4):
            server.deliver(user, URGENT)
            marked = {uid: {"$Urgent"} for uid in range(1, number + 1)}
            until(lambda marked=marked: server.flags(user) == marked, seconds=3)
        until(lambda: marking.out.count("Server") == 3, seconds=3)  # it is told afterwards
        assert marking.end(signal.SIGTERM) == 143
        assert marking.err.endswith("nlp-transfer: stopped\n")
        assert marking.out.count("Server") == 3


def test_mail_that_comes_in_one_piece_with_another_answer_is_not_waited_for(server, user, model):
    held = []

    def answered(data):
        """Hold the answer to IDLE back until the server tells of a mail."""
        if data.startswith(b"+ idling\r\n") and not held:
            held.append(data)
            server.deliver(user, URGENT)
            return data[len(data) :] if data == b"+ idling\r\n" else data
        if len(held) == 1:
            held.append(data)
            return held[0] + data
        return data

    with proxy(server.ports["imap"], answered) as port:
        source = f"imap://{user}@localhost:{port}/INBOX"
        with Marking(source, "--model", model):
            until(lambda: server.flags(user) == {1: {"$Urgent"}})


def test_flags_that_the_server_tells_of_besides_are_no_answer(server, user, mark):
    server.deliver(user, URGENT, URGENT)

    def answered(data):  # as if UID 1 were gone, and another mail the first now
        return re.sub(rb"UID 1 RFC822.SIZE \d+", rb"FLAGS (\\Seen)", data)

    with proxy(server.ports["imap"], answered) as port:
        mark(f"imap://{user}@localhost:{port}/INBOX", "--once")
    assert server.flags(user) == {1: set(), 2: {"$Urgent"}}


def test_an_idle_is_renewed(server, user, model):
    server.write_down(user)
    before = "import transfer_app.inbox.imap as imap; imap._RENEWAL = 0.5"
    with Marking(server.url(user), "--model", model, before=before) as marking:
        marking.wait_for("Waiting")
        said = lambda: "".join(file.read_text() for file in server.said(user))  # noqa: E731
        until(lambda: said().count("IDLE") > 3)
        assert said().count("UID SEARCH UID 1:*") > 3
        assert not marking.err.count("Lost")


def test_a_folder_of_more_mails_than_one_answer_holds(server, user, mark, monkeypatch):
    monkeypatch.setattr("transfer_app.inbox.imap._IN_AN_ANSWER", 2)
    server.deliver(user, *[URGENT, LUNCH] * 4)
    with server.client(user) as client:
        client.delete_messages([1, 2, 4])
        client.expunge()
    mark(server.url(user), "--once")
    assert server.flags(user) == {
        3: {"$Urgent"},
        5: {"$Urgent"},
        6: set(),
        7: {"$Urgent"},
        8: set(),
    }


def test_a_server_that_does_not_tell_of_mail_is_asked(server, user, model, monkeypatch):
    bare = Dovecot("imap_capability = IMAP4rev1\n")
    try:
        monkeypatch.setenv("SSL_CERT_FILE", str(bare.certificate))
        flags = ["--model", model, "--every", "1"]
        with Marking(bare.url(user), *flags) as marking:
            marking.wait_for("Waiting")
            bare.deliver(user, URGENT)
            until(lambda: bare.flags(user) == {1: {"$Urgent"}})
        assert main(["mark", bare.url(user), *map(str, flags), "--move", "Trash"]) == 2
    finally:
        bare.close()
