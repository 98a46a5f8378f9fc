"""A mailbox by its URL or its path."""

from importlib.util import find_spec

from staged_training.runtime.errors import InputError
from transfer_app.inbox.credentials import find_password, token_by
from transfer_app.inbox.mailbox import Mailbox, Marks, Wanted
from transfer_app.inbox.maildir import Maildir
from transfer_app.inbox.source import ServerFolder, parse_source


def mailbox_at(
    source: str,
    marks: Marks | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008 - it cannot be changed
    *,
    token_command: str | None = None,
    every: float = 30,
    read_only: bool = False,
) -> Mailbox:
    """Return the mailbox that a URL or a path names, to be opened by a `Marker`.

    Args:
        source: As for `parse_source`; no mbox.
        marks: What a mail on a server gets, by default the keyword `$Urgent`; in a Maildir mails
            get the flag F.
        wanted: Which mails are looked at.
        token_command: A command that prints an OAuth2 token, to log in without a password; else
            that is found as `find_password` does.
        every: Seconds until it is asked for new mail, where that is not told.
        read_only: Whether nothing is to be changed.

    Raises:
        InputError: There is none, or no password; the extra `inbox` is not installed.
    """
    place = parse_source(source)
    if isinstance(place, ServerFolder):
        return _on_server(place, marks or Marks(), wanted, token_command, every, read_only)
    if not place.is_dir():
        raise InputError(
            f"{place}: is an mbox, which is not marked itself, but copied with a header in each "
            "mail. Name the copy by `output`.",
            ["output"],
        )
    if marks or token_command:
        raise InputError(
            f"{place}: is a Maildir, where mails get the flag F; `keyword`, `flag`, `move` and "
            "`token_command` are for mail on a server.",
            ["keyword", "flag", "move", "token_command"],
        )
    return Maildir(place, wanted, every, read_only)


def _on_server(
    server: ServerFolder,
    marks: Marks,
    wanted: Wanted,
    token_command: str | None,
    every: float,
    read_only: bool,
) -> Mailbox:
    if not find_spec("imapclient"):
        raise InputError("Mail on a server needs more: pip install 'nlp-transfer[inbox]'.")
    from transfer_app.inbox.imap import ImapFolder
    from transfer_app.inbox.imap_client import by_password, by_token

    if token_command:
        log_in = by_token(server.user, token_by(token_command))
    else:
        log_in = by_password(server.user, find_password(server))
    return ImapFolder(server, log_in, marks, wanted, every, read_only)
