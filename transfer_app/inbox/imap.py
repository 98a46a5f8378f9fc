"""A folder of mail on an IMAP server (RFC 3501, 2177, 6851)."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from imapclient.exceptions import IMAPClientError, IMAPClientReadOnlyError

from nlp_transfer.emails.containers import MAX_BYTES
from staged_training.runtime.errors import InputError
from transfer_app.inbox.imap_client import Client, answering, close, connect
from transfer_app.inbox.mailbox import Key, Mailbox, Marks, Wanted, in_parts, reason
from transfer_app.inbox.source import ServerFolder, folder_name

_FLAGGED = "\\Flagged"
_RENEWAL = 5 * 60  # seconds of an IDLE, and until all of a folder is looked through again
_IN_AN_ANSWER = 50_000  # numbers of mails: imaplib reads no line of more than a megabyte
_IN_A_COMMAND = 500  # numbers of mails: servers read no line of more than 8,192 bytes
_MOST_RANGES = 1000
_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\[\]]{1,50}")  # more Dovecot refuses
_MOST_FOLDERS = 20  # that are named
_LOGGER = logging.getLogger(__name__)


class ImapFolder(Mailbox):
    """A folder on a server, over one connection.

    Args:
        server: Where it is.
        log_in: Logs a client in.
        marks: What a mail gets.
        wanted: Which mails are looked at.
        every: Seconds until the server is asked for new mail, if it does not tell of it.
        read_only: Whether nothing is to be changed.

    Raises:
        InputError: `marks` holds what no mail can get.
    """

    def __init__(
        self,
        server: ServerFolder,
        log_in: Callable[[Client], object],
        marks: Marks,
        wanted: Wanted,
        every: float,
        read_only: bool,
    ) -> None:
        if not _KEYWORD.fullmatch(marks.keyword):
            raise InputError(
                f"`keyword` is {marks.keyword!r}. Give one word of up to 50 letters, digits and "
                'marks of ASCII, but for ( ) { % * " \\ [ ].',
                ["keyword"],
            )
        if marks.move and folder_name(marks.move) == server.folder:
            raise InputError(f"`move` is {marks.move}, where the mails are already.", ["move"])
        self.name, self.mark_name = str(server), marks.keyword
        self._server, self._log_in, self._marks = server, log_in, marks
        self._wanted: list[str | date] = ["UNSEEN"] if wanted.unseen else []
        self._wanted += ["SINCE", wanted.since] if wanted.since else []
        self._every, self.read_only = every, read_only
        self.moves = marks.move is not None
        self._flags = [marks.keyword, *([_FLAGGED] if marks.flag else [])]
        self._client: Client

    def open(self) -> str:
        """Connect, select the folder and return its UIDVALIDITY."""
        self._client = connect(self._server, self._log_in)
        folder = self._selected()
        if not self.read_only:
            self._check_flags(folder.get(b"PERMANENTFLAGS"))
            self._check_move()
        self._count, self._uidnext = folder.get(b"EXISTS", 0), folder.get(b"UIDNEXT", 1)
        self._new, self._looked_through = 1, 0.0
        return str(folder.get(b"UIDVALIDITY", 0))

    def close(self) -> None:
        """Close the connection."""
        close(self._client)

    def search(self) -> Iterator[Sequence[Key]]:
        """Yield the UIDs that are wanted, in parts; now and then all, else those of new mail."""
        self._client.heard_of_mail()  # whatever came until now is found
        ranges = [f"{self._new}:*"]
        if not self._looked_through or time.monotonic() - self._looked_through > _RENEWAL:
            ranges, self._looked_through = self._all(), time.monotonic()
        for uids in ranges:
            found = self._uids(uids, *self._wanted)
            self._new = max([self._new, *(uid + 1 for uid in found)])
            yield found

    def sizes(self, keys: Sequence[Key]) -> Mapping[Key, int]:
        """Return how many bytes mails have, as the server says."""
        sizes = dict(self._fetch(keys, "RFC822.SIZE", b"RFC822.SIZE"))
        with answering():
            return {uid: int(size) for uid, size in sizes.items()}

    def marked(self, keys: Sequence[Key] | None = None) -> set[Key]:
        """Return the UIDs of mails that have the mark."""
        listed = [",".join(map(str, some)) for some in in_parts(keys or [], _IN_A_COMMAND)]
        has_mark = ["FLAGGED"] if self._flags == [_FLAGGED] else ["KEYWORD", self._flags[0]]
        ranges = self._all() if keys is None else listed
        found: set[Key] = {uid for uids in ranges for uid in self._uids(uids, *has_mark)}
        return found if keys is None else found.intersection(keys)

    def fetch(self, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        """Yield what mails say; none gets `\\\\Seen`."""
        for uid, value in self._fetch(keys, f"BODY.PEEK[]<0.{MAX_BYTES + 1}>", b"BODY["):
            yield uid, value if isinstance(value, bytes) else b""

    def mark(self, keys: Sequence[Key]) -> None:
        """Set the flags of mails."""
        with answering():
            self._client.add_flags(keys, self._flags, silent=True)

    def move(self, keys: Sequence[Key]) -> None:
        """Move mails to another folder, if they are to be moved."""
        if keys and self._marks.move:
            with answering():
                self._client.move(keys, self._marks.move)

    def wait(self) -> None:
        """Return when the server tells of something, or after a while."""
        with answering():
            self._client.wait(_RENEWAL, pause=self._every)

    def _all(self) -> list[str]:
        """Return ranges of UIDs that hold all mails, few enough in each for one answer."""
        if self._count <= _IN_AN_ANSWER:
            return ["1:*"]
        step = max(_IN_AN_ANSWER, self._uidnext // _MOST_RANGES)
        starts = range(1, self._uidnext, step)
        return [*(f"{start}:{start + step - 1}" for start in starts), f"{self._uidnext}:*"]

    def _uids(self, uids: str, *criteria: str | date) -> list[int]:
        with answering():
            return list(self._client.search(["UID", uids, *criteria]))

    def _fetch(self, keys: Sequence[Key], what: str, name: bytes) -> Iterator[tuple[Key, Any]]:
        """Yield what is asked of mails, whose name in answers begins so.

        A server may tell of flags besides, and of mails that have the number, not the UID.
        """
        for some in in_parts(keys, _IN_A_COMMAND):
            with answering():
                found = self._client.fetch(some, [what])
            for uid, data in found.items():
                yield from ((uid, value) for item, value in data.items() if item.startswith(name))

    def _selected(self) -> dict[bytes, Any]:
        """Select the folder, and return what the server says of it."""
        try:
            return dict(self._client.select_folder(self._server.folder, readonly=self.read_only))
        except IMAPClientReadOnlyError as error:
            raise InputError(
                f"{self.name}: may only be read. Ask for the right to change flags, or look what "
                "would be marked by `dry_run`.",
                ["dry_run"],
            ) from error
        except (OSError, IMAPClientError) as error:
            raise InputError(
                f"{self.name}: cannot be opened ({reason(error)}). {self._folders()}"
            ) from error

    def _check_flags(self, permanent: Sequence[bytes] | None) -> None:
        """Refuse a folder where no mail can get the mark for good; use the flag alone if asked."""
        if permanent is None:  # all can be set
            return
        allowed = {flag.lower() for flag in permanent}
        refused = [flag for flag in self._flags if flag.lower().encode() not in allowed]
        if b"\\*" in allowed:
            refused = [flag for flag in refused if flag == _FLAGGED]
        kept = [flag for flag in self._flags if flag not in refused]
        if kept != [_FLAGGED] and refused:
            raise InputError(
                f"{self.name}: takes no flag {' or '.join(refused)}. Mark by a flag that it "
                "takes: `flag`, or another `keyword`.",
                ["flag", "keyword"],
            )
        if refused:
            _LOGGER.warning("%s: takes no keyword; mail is marked by a flag alone.", self.name)
            self._flags = kept

    def _check_move(self) -> None:
        """Refuse to move mail where the server cannot, or to where there is no folder."""
        if self._marks.move is None:
            return
        if not self._client.has_capability("MOVE"):
            raise InputError(
                f"{self.name}: this server cannot move mail, but copy and delete it, which is not "
                "done here. Leave `move` out.",
                ["move"],
            )
        try:
            self._client.folder_status(self._marks.move, ["UIDVALIDITY"])
        except (OSError, IMAPClientError) as error:
            raise InputError(
                f"{self.name}: no mail can be moved to {self._marks.move} ({reason(error)}). "
                f"{self._folders()}"
            ) from error

    def _folders(self) -> str:
        """Return which folders there are, in a sentence."""
        try:
            names = [name for _, _, name in self._client.list_folders()]
        except (OSError, IMAPClientError):
            return "Check its name."
        more = f" and {len(names) - _MOST_FOLDERS} more" if len(names) > _MOST_FOLDERS else ""
        return f"There are: {', '.join(map(str, names[:_MOST_FOLDERS]))}{more}."
