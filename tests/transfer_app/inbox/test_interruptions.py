"""A connection or a process ends at any moment: nothing is done twice, and nothing is missed."""

import re
from contextlib import closing

import pytest

from tests.transfer_app.inbox.processes import Marking, until
from tests.transfer_app.inbox.proxy import proxy
from transfer_app.inbox import Marker, mailbox_at
from transfer_app.inbox import marker as marker_module
from transfer_app.inbox.imap import ImapFolder
from transfer_app.inbox.journal import Journal, State
from transfer_app.inbox.mailbox import Marks, UnreachableError
from transfer_app.inbox.maildir import Maildir

URGENT = b"Subject: Server\n\nThe server is down\n"
LUNCH = b"Subject: Lunch\n\nLunch was good\n"
SHORT_PAUSES = "import transfer_app.inbox.marker as marker; marker._FIRST_PAUSE = 0.2"


@pytest.fixture
def once(model):
    """Mark what is there, as a process does that may be killed."""

    def run(source, marks=None):
        marker = Marker(mailbox_at(source, marks), str(model))
        try:
            return marker.once()
        finally:
            marker.close()

    return run


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(marker_module, "_FIRST_PAUSE", 0.1)


def dying(method, at):
    """A method that ends the process before or after it does something."""

    def run(self, *arguments):
        if at(*arguments) == "before":
            raise KeyboardInterrupt
        method(self, *arguments)
        if at(*arguments) == "after":
            raise KeyboardInterrupt

    return run


MOMENTS = {
    "before it is noted": (Journal, "note", lambda states: "before"),
    "after it is noted": (Journal, "note", lambda states: "after"),
    "before it is marked": (ImapFolder, "mark", lambda keys: "before"),
    "after it is marked": (ImapFolder, "mark", lambda keys: "after"),
    "before it is moved": (ImapFolder, "move", lambda keys: "before"),
    "after it is moved": (ImapFolder, "move", lambda keys: "after"),
    "before it is noted as done": (
        *(Journal, "note"),
        lambda states: "before" if {*states.values()} & {State.MARKED, State.MOVED} else "",
    ),
}


@pytest.mark.parametrize("moves", [False, True], ids=["", "and moves"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_is_killed(moment, moves, server, user, once, monkeypatch):
    server.deliver(user, URGENT, LUNCH, URGENT)
    with server.client(user) as client:
        client.create_folder("Urgent")
    server.write_down(user)
    marks = Marks(move="Urgent") if moves else None
    owner, name, at = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name), at))
        with pytest.raises(KeyboardInterrupt):
            once(server.url(user), marks)
    once(server.url(user), marks)
    if moves:
        assert server.flags(user) == {2: set()}
        assert server.flags(user, "Urgent") == {1: {"$Urgent"}, 2: {"$Urgent"}}
    else:
        assert server.flags(user) == {1: {"$Urgent"}, 2: set(), 3: {"$Urgent"}}
    assert server.marks(user) == {1: 1, 3: 1}
    said = "".join(file.read_text() for file in server.said(user))
    assert len(re.findall("UID STORE", said)) == 1


@pytest.mark.parametrize("lost", ["question", "answer"])
@pytest.mark.parametrize("word", [b"SEARCH", b"RFC822.SIZE", b"BODY.PEEK", b"STORE"])
def test_a_connection_that_breaks_off(word, lost, server, user, once, capsys):
    server.deliver(user, URGENT, LUNCH)
    events = []

    def asked(data):
        if word in data and not events:
            events.append("asked")
            return data if lost == "answer" else None
        return data

    def answered(data):
        if events == ["asked"]:
            events.append("not answered")
            return None
        return data

    with proxy(server.ports["imap"], answered, asked) as port:
        assert once(f"imap://{user}@localhost:{port}/INBOX")["marked"] == 1
    assert server.flags(user) == {1: {"$Urgent"}, 2: set()} and server.marks(user) == {1: 1}
    err = capsys.readouterr().err
    assert err.count("Lost imap://") == err.count("Back at imap://") == 1 == err.count("\nBack")


def test_a_mail_that_breaks_every_connection_is_left_out_and_told(server, user, once, capsys):
    server.deliver(user, URGENT, b"Subject: poison\n\nThe server is down\n", URGENT)

    def answered(data):
        return None if b"Subject: poison" in data else data

    with proxy(server.ports["imap"], answered) as port:
        source = f"imap://{user}@localhost:{port}/INBOX"
        assert once(source)["marked"] == 2
        told = capsys.readouterr().err
        assert told.count("Left out for an hour: UID 2") == told.count("Lost") == 1
    assert server.flags(user) == {1: {"$Urgent"}, 2: set(), 3: {"$Urgent"}}
    once(server.url(user))
    assert server.flags(user)[2] == {"$Urgent"}


def test_a_server_that_goes_and_comes_back_is_told_of_once(server, user, model):
    source = server.url(user, scheme="imap")  # TLS ends in a process that says no farewell
    with Marking(source, "--model", model, before=SHORT_PAUSES) as marking:
        marking.wait_for("Waiting")
        server.stop()
        marking.wait_for("(Server shutting down.)")
        server.start()
        server.deliver(user, URGENT)
        marking.wait_for("Back")
        until(lambda: server.flags(user) == {1: {"$Urgent"}})
        assert marking.err.count("Lost") == marking.err.count("Back") == 1


def test_once_it_is_back_pauses_are_short_again(tmp_path, model, monkeypatch):
    for name in ("cur", "new"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    lost, pauses = UnreachableError("lost"), []
    looks = iter([lost, lost, None, KeyboardInterrupt()])

    def happen(event):
        if event:
            raise event

    marker = Marker(mailbox_at(str(tmp_path / "mail")), str(model), journal=tmp_path / "state")
    monkeypatch.setattr(marker, "_look", lambda: happen(next(looks)))
    monkeypatch.setattr(Maildir, "wait", lambda _: happen(lost))
    monkeypatch.setattr(marker_module.time, "sleep", pauses.append)
    monkeypatch.setattr(marker_module.random, "uniform", lambda *_: 1)
    with pytest.raises(KeyboardInterrupt), closing(marker):
        marker._persist(once=False)
    assert pauses == [0.1, 0.2, 0.1]


def test_a_folder_that_vanishes_and_is_made_anew(server, user, model):
    with server.client(user) as client:
        client.create_folder("Work")
        client.append("Work", URGENT)
        client.append("Work", URGENT)
    with Marking(server.url(user, "Work"), "--model", model, before=SHORT_PAUSES) as marking:
        marking.wait_for("Waiting")
        with server.client(user) as client:
            client.delete_folder("Work")
            marking.wait_for("Lost")
            client.create_folder("Work")
            client.append("Work", LUNCH)
            client.append("Work", URGENT)
            client.append("Work", URGENT, ["$Urgent"])
        marking.wait_for("made anew", seconds=40)
        until(lambda: server.flags(user, "Work")[2] == {"$Urgent"})
        until(lambda: "Back" in marking.err)
    assert server.flags(user, "Work") == {1: set(), 2: {"$Urgent"}, 3: {"$Urgent"}}
