"""Where a password comes from, and that it goes nowhere else."""

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from staged_training.runtime.errors import InputError
from tests.transfer_app.inbox.dovecot import PASSWORD, token
from tests.transfer_app.inbox.processes import Marking, until
from transfer_app.command_line import main
from transfer_app.inbox.credentials import find_password, token_by
from transfer_app.inbox.source import ServerFolder

SERVER = ServerFolder("imaps", "ann", "imap.example.org", 993, "INBOX")
NOWHERE = ["--model", "no model", "--once"]


class Keyring(KeyringBackend):
    """A keyring that holds one password."""

    priority = 1

    def get_password(self, service, username):
        return "kept" if (service, username) == ("imap.example.org", "ann") else None

    def set_password(self, service, username, password):
        raise AssertionError("nothing is kept")


@pytest.fixture(autouse=True)
def _nothing_is_there(monkeypatch):
    monkeypatch.delenv("NLP_TRANSFER_PASSWORD", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


def test_the_environment_comes_before_systemd_and_that_before_the_keyring(monkeypatch, tmp_path):
    keyring.set_keyring(Keyring())
    assert find_password(SERVER) == "kept"
    (tmp_path / "imap-password").write_text("handed over\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert find_password(SERVER) == "handed over"
    monkeypatch.setenv("NLP_TRANSFER_PASSWORD", "set")
    assert find_password(SERVER) == "set"


def test_a_password_that_is_not_utf8_is_refused(monkeypatch, tmp_path):
    (tmp_path / "imap-password").write_bytes(b"secr\xe9t\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(InputError, match="the password is not UTF-8"):
        find_password(SERVER)
    monkeypatch.setenv("NLP_TRANSFER_PASSWORD", os.fsdecode(b"secr\xe9t"))
    with pytest.raises(InputError, match="the password is not UTF-8") as error:
        find_password(SERVER)
    assert "secr" not in str(error.value)


def test_a_program_that_is_not_there_is_told_before_connecting(capsys):
    assert (
        main(["mark", "imaps://ann@nowhere.invalid/", *NOWHERE, "--token-command", "no-such"]) == 2
    )
    assert "no-such: there is no such program" in capsys.readouterr().err


def test_without_a_terminal_the_ways_are_told(capsys):
    assert main(["mark", str(SERVER), *NOWHERE]) == 2
    err = capsys.readouterr().err
    assert "NLP_TRANSFER_PASSWORD" in err and "keyring set imap.example.org ann" in err


def test_in_a_terminal_it_is_asked_for_and_not_shown(server, user, model, monkeypatch):
    monkeypatch.delenv("NLP_TRANSFER_PASSWORD")
    code = "import sys; from transfer_app.command_line import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "mark", server.url(user), "--model", model, "--once"]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    )
    os.close(follower)
    shown = os.read(leader, 1000)
    assert f"Password of {user} at localhost: ".encode() in shown
    os.write(leader, f"{PASSWORD}\n".encode())
    assert process.wait(20) == 0
    shown += os.read(leader, 1000)
    assert PASSWORD.encode() not in shown and b"0 mails: " in shown


def command_that_prints(text):
    return shlex.join([sys.executable, "-c", f"print({text!r})"])


def test_a_token_of_a_command_logs_in(server, user, model, capsys, monkeypatch):
    monkeypatch.delenv("NLP_TRANSFER_PASSWORD")
    flags = ["--model", str(model), "--once", "--token-command"]
    assert main(["mark", server.url(user), *flags, command_that_prints(token(user))]) == 0
    assert main(["mark", server.url(user), *flags, command_that_prints("expired")]) == 2
    err = capsys.readouterr().err
    assert f"{user} is refused" in err and "expired" not in err
    assert main(["mark", server.url(user), *flags, "false"]) == 2
    assert capsys.readouterr().err.startswith("nlp-transfer: false: prints no token")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-program --secret hunter2", "no-such-program: there is no such program"),
        ("false hunter2", "it ended with status 1"),
        ("true", "not one token"),
        (command_that_prints("hunter2 hunter2"), "not one token"),
        (command_that_prints("hünter2"), "not ASCII"),
        ("'hunter2", "no command"),
    ],
)
def test_a_command_that_prints_no_token_is_told_without_what_it_prints(command, told):
    with pytest.raises(InputError) as error:
        token_by(command)()
    assert told in str(error.value) and "hunter2" not in str(error.value)


def test_a_password_is_in_no_argument_no_file_and_no_output(server, user, model, tmp_path):
    server.deliver(user, b"Subject: Server\n\nThe server is down\n")
    with Marking(server.url(user), "--model", model) as marking:
        until(lambda: "Waiting" in marking.err)
        arguments = Path(f"/proc/{marking.process.pid}/cmdline").read_bytes()
        marking.end()
        shown = marking.out + marking.err
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 1
    for place in (arguments, shown.encode(), *files):
        assert PASSWORD.encode() not in place
    assert b"down" not in files[0]
