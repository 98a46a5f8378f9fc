"""Marks mail as it comes, each once, whatever happens to the connection or to this process."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

from nlp_transfer.emails.containers import MAX_BYTES
from staged_training.runtime.errors import InputError
from staged_training.runtime.printable import one_line
from transfer_app.inbox.corrections import Corrections
from transfer_app.inbox.decision import Decider, Decision
from transfer_app.inbox.journal import Journal, State
from transfer_app.inbox.mailbox import Key, Mailbox, UnreachableError, in_parts, shown_key
from transfer_app.inbox.telling import Summary, tell_aside, tell_decided, tell_drift
from transfer_app.prediction.text_inputs import mail

_LOOKED_AT = 200  # mails whose sizes are asked for at a time
_AT_ONCE = 64  # mails that are fetched at a time, at most,
_BYTES_AT_ONCE = 8 * 2**20  # and of this size, unless one is larger by itself
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds
_TRIES = 3  # to fetch a mail by itself,
_LEFT_OUT = 3600  # seconds for which it is left out then


class Marker:
    """Marks the mails of a mailbox as a model says.

    What is there already is looked at first. A mail that has the mark is left as it is; so is one
    that was looked at before, by the same journal.

    Args:
        mailbox: Where the mails are, see `mailbox_at`. Of one that is only read it is told what
            would be marked.
        model: Folder or Hub name of a classifier of texts.
        label: As for `Decider`.
        threshold: As for `Decider`.
        explained: As for `Decider`.
        journal: The file that keeps what was done, see `Journal`.
        learn_from: A table that gets a row for each mail that a person corrects, by taking the mark
            away or giving it; see `Corrections`.

    Attributes:
        summary: How many mails were marked, and not marked, so far.

    Raises:
        InputError: The mailbox cannot be used, which is found out before the model is loaded; or
            one of the others.

    Examples:
        >>> from transfer_app.inbox import Marker, mailbox_at
        >>> mailbox = mailbox_at("imaps://ann@imap.example.org/INBOX")  # doctest: +SKIP
        >>> Marker(mailbox, "my-urgency", threshold=0.8).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        mailbox: Mailbox,
        model: str,
        *,
        label: str | None = None,
        threshold: float | None = None,
        explained: bool = False,
        journal: Path | None = None,
        learn_from: Path | None = None,
    ) -> None:
        self._mailbox = mailbox
        with ExitStack() as opened:
            self._generation: str | None = mailbox.open()
            opened.callback(mailbox.close)
            self._journal = opened.enter_context(closing(Journal(mailbox, journal)))
            self._corrections = Corrections(learn_from) if learn_from else None
            self._decider = Decider(model, label, threshold, explained)
            self._journal.keep_label(self._decider.label)
            if learn_from and self._decider.other_label is None:
                raise InputError(
                    f"{model}: `learn_from` needs a model that chooses one of two labels: where "
                    "one is wrong, the other is right.",
                    ["learn_from"],
                )
            self._opened = opened.pop_all()
        self._is_settled = False
        self._broken_off: Counter[Key] = Counter()
        self._forgiven = time.monotonic()
        self.summary = Summary()

    def once(self) -> Summary:
        """Mark what is there, and return how many mails were marked."""
        self._persist(once=True)
        return self.summary

    def close(self) -> None:
        """Close the mailbox and the journal, which another process can use then."""
        self._opened.close()

    def run(self) -> NoReturn:
        """Mark what is there, and what comes, until the process is stopped."""
        self._persist(once=True)
        tell_aside(f"{self.summary} Waiting for more at {self._mailbox.name}.")
        self._persist(once=False)
        raise AssertionError("It does not end.")

    def _persist(self, *, once: bool) -> None:
        """Look at the mails again and again; wait for a mailbox that cannot be reached."""
        is_lost, pause = False, _FIRST_PAUSE
        while True:
            try:
                self._look()
                if is_lost:
                    tell_aside(f"Back at {self._mailbox.name}.")
                    is_lost, pause = False, _FIRST_PAUSE
                if once:
                    tell_drift(self._decider)
                    return
                self._mailbox.wait()
            except UnreachableError as error:
                self._mailbox.close()
                self._generation = None
                if not is_lost:
                    tell_aside(f"Lost {self._mailbox.name} ({error}). Trying again.")
                    is_lost = True
                time.sleep(pause * random.uniform(0.5, 1.5))  # not all clients at once
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self) -> None:
        """Look at the mails that may be new, once."""
        if self._generation is None:
            self._reopen()
        if not self._is_settled:
            self._settle()
            self._is_settled = True
        for keys in self._batches():
            self._handle(keys)
        if self._corrections and not self._mailbox.read_only:
            self._learn(self._corrections)

    def _reopen(self) -> None:
        try:
            self._generation, self._is_settled = self._mailbox.open(), False
        except InputError as error:  # it was all right at first, and may be so again
            raise UnreachableError(str(error)) from error

    def _settle(self) -> None:
        """Come to an end with mails that were to be marked when the connection or a process ended.

        Whether they have the mark already the mailbox knows: it is not given twice.
        """
        if self._journal.begin(str(self._generation)):
            tell_aside(
                f"{self._mailbox.name} was made anew (its UIDVALIDITY is another): all mails are "
                "looked at again; those that have the mark keep it."
            )
        if self._mailbox.read_only:
            return
        for keys in in_parts(self._journal.of_state(State.INTENDED), _LOOKED_AT):
            there = list(self._mailbox.sizes(keys))
            have_it = self._mailbox.marked(there)
            self._mailbox.mark([key for key in there if key not in have_it])
            self._mailbox.move(there)
            self._journal.note(dict.fromkeys(keys, self._done))
            self.summary["marked"] += len(there)
            for key in there:
                print(f"{one_line(shown_key(key))}  as was decided before a stop", flush=True)

    def _batches(self) -> Iterator[list[Key]]:
        """Yield mails to look at, in batches; last and one by one those that broke a connection."""
        last: list[Key] = []
        if time.monotonic() > self._forgiven + _LEFT_OUT:
            self._broken_off.clear()
            self._forgiven = time.monotonic()
        self.summary.before = 0
        for found in self._mailbox.search():
            unknown = self._journal.unknown(found)
            self.summary.before += len(found) - len(unknown)
            for keys in in_parts(unknown, _LOOKED_AT):
                sizes = dict(self._mailbox.sizes(keys))
                have_it = self._mailbox.marked(list(sizes))
                self._journal.note(dict.fromkeys(have_it, State.FOUND))
                self.summary["found"] += len(have_it)
                new = [key for key in sizes if key not in have_it]
                last += [key for key in new if key in self._broken_off]
                yield from _batches({key: sizes[key] for key in new if key not in self._broken_off})
        yield from ([key] for key in last if self._broken_off[key] <= _TRIES)

    def _handle(self, keys: Sequence[Key]) -> None:
        """Decide of mails, and mark those that are chosen; that they will be is noted before."""
        fetched = self._fetched(keys)
        decided = self._decider.decide(mail(shown_key(key), data) for key, data in fetched)
        outcomes = dict(zip([key for key, _ in fetched], decided, strict=True))
        self._journal.note({key: _state(decision) for key, (_, decision) in outcomes.items()})
        chosen = [key for key, (_, decision) in outcomes.items() if decision and decision.is_chosen]
        for key in outcomes:
            if key not in chosen:
                tell_decided(self.summary, *outcomes[key])
        if not self._mailbox.read_only:
            self._mailbox.mark(chosen)
            self._mailbox.move(chosen)
        self._journal.note(dict.fromkeys(chosen, self._done))
        for key in chosen:
            tell_decided(self.summary, *outcomes[key])

    def _fetched(self, keys: Sequence[Key]) -> list[tuple[Key, bytes]]:
        """Fetch mails; remember those that a connection breaks off at, and give one up at last."""
        try:
            fetched = list(self._mailbox.fetch(keys))
        except UnreachableError:
            self._broken_off.update(keys)
            if self._broken_off[keys[0]] > _TRIES:
                tell_aside(f"Left out for an hour: {shown_key(keys[0])} cannot be fetched.")
            raise
        for key in keys:
            self._broken_off.pop(key, None)
        return fetched

    @property
    def _done(self) -> State:
        return State.MOVED if self._mailbox.moves else State.MARKED

    def _learn(self, corrections: Corrections) -> None:
        """Write down which mails a person has given the mark, or taken it from."""
        have_it = self._mailbox.marked()
        given = [key for key in self._journal.of_state(State.UNMARKED) if key in have_it]
        taken = [key for key in self._journal.of_state(State.MARKED) if key not in have_it]
        for keys, label in ((given, self._decider.label), (taken, self._decider.other_label)):
            for some in _batches(self._mailbox.sizes(keys)):
                texts = [mail("", data).load() for _, data in self._fetched(some)]
                corrections.add((text, str(label)) for text in texts)
            self._journal.note(dict.fromkeys(keys, State.CORRECTED))  # those that are gone, too


def _batches(sizes: Mapping[Key, int]) -> Iterator[list[Key]]:
    """Yield mails in batches of few bytes."""
    batch: list[Key] = []
    room = _BYTES_AT_ONCE
    for key, size in sizes.items():
        room -= min(size, MAX_BYTES)
        if batch and (room < 0 or len(batch) == _AT_ONCE):
            yield batch
            batch, room = [], _BYTES_AT_ONCE - min(size, MAX_BYTES)
        batch.append(key)
    if batch:
        yield batch


def _state(decision: Decision | None) -> State:
    if decision is None:
        return State.UNREAD
    return State.INTENDED if decision.is_chosen else State.UNMARKED
