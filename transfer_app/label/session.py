"""A session of labelling: what each window is asked, what was answered, and what came of it."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from staged_training.labels.quality import Quality
from staged_training.runtime.errors import InputError
from transfer_app.label.answers import Answers, write_rows
from transfer_app.label.background import Background
from transfer_app.label.labelling import Labelling, describe_quality
from transfer_app.label.log import AnswerLog, Entry
from transfer_app.label.names import tidy_name, why_no_name
from transfer_app.label.pool import Pool

BATCH = 10
"""Examples that are chosen together."""

_POINTS = 8  # of the curve of quality, that are measured again when labelling goes on


class RefusedError(ValueError):
    """What a window asks for cannot be done; says why."""


class Point(NamedTuple):
    """How good a model was of so many labels, with the 95 % interval."""

    labels: int
    score: float
    low: float
    high: float


class _Step(NamedTuple):
    """What a window did last: it answered, or skipped."""

    row: int
    is_skipped: bool


class Session:
    """The labelling of a pool by people in one or several windows, from any thread.

    Args:
        pool: The examples.
        log: Where answers are kept; those that it holds count.
        output: The table of all labelled examples, which follows within a second. It is not
            written before a label is given.
        names: Labels to begin with, beside those that were given.

    Raises:
        InputError: The log and the data contradict each other.

    Attributes:
        pool: The examples.
        keys: What windows call them, see `keys_of`.
        names: The labels, in the order of their keys on the page.
        problem: Why the table cannot be written, if it cannot.
    """

    def __init__(self, pool: Pool, log: AnswerLog, output: Path, names: Sequence[str]) -> None:
        self.pool, self.keys, self.problem = pool, log.keys, ""
        self._log, self._output, self._lock = log, output, threading.RLock()
        self._answers = Answers.in_pool(pool)
        self._labelling = Labelling(pool, self._answers)
        self._batch: list[int] = []
        self._queue: list[int] = []  # of the batch: what is neither answered nor skipped
        self._skipped: list[int] = []
        self._shown: dict[str, int] = {}
        self._steps: dict[str, list[_Step]] = defaultdict(list)
        self._has_table = False  # once a label was given here, beside those of the pool
        for entry in log.entries:
            self._note(entry)
        self._check_data()
        self.names: list[str] = []
        for name in dict.fromkeys(names):
            self._add_given(name)
        self.names += [name for name in self._answers.names if name not in self.names]
        self._curve: dict[int, Quality | None] = {}
        self._table, self._quality = Background(self._write_table), Background(self._measure)
        self._table.ask()
        self._begin_batch()

    def _add_given(self, name: str) -> None:
        try:
            self.add_label(name)
        except RefusedError as error:
            raise InputError(f"`label_names`: {error}", ["label_names"]) from error

    def _check_data(self) -> None:
        for row, label in enumerate(self.pool.labels):
            if label is not None and (said := self._answers.labels[row]) != label:
                raise InputError(
                    f"{self._log.file} says '{said}' of {self.pool.names[row]}, and "
                    f"{self.pool.source} says '{label}'. Correct one of them."
                )

    def example_for(self, window: str) -> int | None:
        """Return the example that a window is to show; None if all was asked.

        It stays until the window answers or skips it. Each window gets another one, if there is.
        """
        with self._lock:
            row = self._shown.get(window)
            if row is None or row not in self._queue:
                row = self._choose(window)
            if row is None:
                self._shown.pop(window, None)
            else:
                self._shown[window] = row
            return row

    def _choose(self, window: str) -> int | None:
        taken = {row for other, row in self._shown.items() if other != window}
        if taken.issuperset(self._queue):
            self._begin_batch()
        free = [row for row in self._queue if row not in taken]
        return next(iter(free or self._queue), None)

    def _begin_batch(self) -> None:
        asked = [*self._queue, *self._skipped]
        rows = self._labelling.next_batch(BATCH, without=asked).rows.tolist()
        self._queue += [*rows, *self._skipped]
        self._batch, self._skipped = [*self._queue], []
        self._quality.ask()

    def answer(self, window: str, row: int, label: str | None) -> None:
        """Keep an answer; it is on disk when this returns.

        An answer that is sent twice, as the first was not heard of, counts once.

        Args:
            window: The window that gives it.
            row: The example.
            label: Its label, a new one is added; None for "not sure".

        Raises:
            RefusedError: It was answered otherwise, or the label cannot be added.
            InputError: It cannot be written.
        """
        with self._lock:
            label = label and self._as_known(label)
            if not self._is_answered(row):
                if label is not None and label not in self.names:
                    label = self.add_label(label)  # the server did not know it any more
                self._keep(Entry(row, label, window))
            elif (said := self._answers.labels[row]) != label:
                is_own = _Step(row, is_skipped=False) in self._steps[window]
                who = "This window has" if is_own else "Another window"
                raise RefusedError(
                    f"{who} answered '{said or 'not sure'}' of this one meanwhile. Your answer was "
                    "not kept."
                )
            self._shown.pop(window, None)

    def _as_known(self, label: str) -> str:
        """Return a label as it is on the page, if it is there in another form."""
        if label in self.names:
            return label
        tidy = tidy_name(label)
        return next((known for known in self.names if tidy_name(known) == tidy), label)

    def skip(self, window: str, row: int) -> None:
        """Ask an example again with the next batch."""
        with self._lock:
            if row in self._queue:
                self._queue.remove(row)
                self._skipped.append(row)
                self._steps[window].append(_Step(row, is_skipped=True))
            self._shown.pop(window, None)

    def undo(self, window: str) -> None:
        """Take back what a window did last; it is to show that example again.

        Raises:
            RefusedError: It did nothing.
            InputError: That cannot be written.
        """
        with self._lock:
            steps = self._steps[window]
            while steps and steps[-1].is_skipped and self._is_answered(steps[-1].row):
                steps.pop()  # it was answered since, maybe by another window
            if not steps:
                raise RefusedError("This window gave no answer that could be taken back.")
            row, is_skipped = steps[-1]
            if is_skipped:
                steps.pop()
            else:
                self._keep(Entry(row, None, window, undone=True))
            if row in self._skipped:
                self._skipped.remove(row)
            if row not in self._queue:
                self._queue.insert(0, row)
            self._shown[window] = row

    def leave(self, window: str) -> None:
        """Give what a window shows to others, as it was closed."""
        with self._lock:
            self._shown.pop(window, None)

    def add_label(self, name: str) -> str:
        """Add a label, and return it tidy, see `tidy_name`.

        Raises:
            RefusedError: It is no name, or there is one that is nearly the same.
        """
        with self._lock:
            tidy = tidy_name(name)
            if why := why_no_name(tidy):
                raise RefusedError(why)
            for known in self.names:
                if tidy_name(known).casefold() == tidy.casefold():
                    raise RefusedError(f"The label '{known}' is there already.")
            self.names.append(tidy)
            return tidy

    def snapshot(self) -> Labelling:
        """Return the labelling as it is now, which does not change."""
        with self._lock:
            answers = self._answers
            copy = Answers(list(answers.labels), list(answers.order), list(answers.undecided))
        return Labelling(self.pool, copy)

    @property
    def is_busy(self) -> bool:
        """Whether the quality is being measured."""
        return self._quality.is_busy

    @property
    def labelled(self) -> int:
        """How many examples have a label."""
        return len(self._answers.order)

    def batch(self) -> tuple[int, int]:
        """Return how many of the batch are done, and how many it has."""
        with self._lock:
            left = len({*self._queue} & {*self._batch})
            return len(self._batch) - left, len(self._batch)

    def can_undo(self, window: str) -> bool:
        """Return whether a window did something."""
        return bool(self._steps.get(window))

    def counted(self) -> str:
        """Say in a sentence how many labels there are."""
        with self._lock:
            return self._labelling.counted()

    def curve(self) -> tuple[list[Point], str, bool]:
        """Return the quality by numbers of labels, the last in words, and whether to stop."""
        with self._lock:
            measured = sorted(self._curve.items())
        found = [(count, quality) for count, quality in measured if quality]
        points = [Point(count, one.scores[-1], *one.interval) for count, one in found]
        last = measured[-1][1] if measured else None
        told = describe_quality(last, self.pool.kinds)
        return points, told, last is not None and last.is_enough

    def write_table(self) -> int | None:
        """Write the table now; return how many labels it holds, None if there is none yet.

        Raises:
            InputError: It cannot be written.
        """
        self._table.ask()
        self._table.wait()
        if self.problem:
            raise InputError(self.problem)
        return self.labelled if self._has_table else None

    def _is_answered(self, row: int) -> bool:
        return self._answers.labels[row] is not None or row in self._answers.undecided

    def _keep(self, entry: Entry) -> None:
        self._log.append(entry)
        self._note(entry)
        self._table.ask()

    def _note(self, entry: Entry) -> None:
        steps, step = self._steps[entry.window], _Step(entry.row, is_skipped=False)
        if entry.undone:
            self._answers.take_back(entry.row)
            if step in steps:
                steps.remove(step)
        else:
            self._answers.put(entry.row, entry.label)
            self._has_table |= entry.label is not None
            steps.append(step)
            for rows in (self._queue, self._skipped):
                if entry.row in rows:
                    rows.remove(entry.row)

    def _write_table(self) -> None:
        if not self._has_table:
            return
        answers = self.snapshot().answers
        rows = sorted(answers.order)
        try:
            write_rows(self.pool, rows, [answers.labels[row] for row in rows], self._output)
            self.problem = ""
        except InputError as error:
            self.problem = str(error)
        except Exception as error:
            self.problem = f"{self._output} cannot be written ({type(error).__name__})."
            raise  # to be logged

    def _measure(self) -> None:
        """Measure the quality now, and on the way to it if labelling goes on."""
        answers = self.snapshot().answers
        now = len(answers.order)
        counts = [now] if self._curve else np.linspace(now, 0, _POINTS, endpoint=False).astype(int)
        for count in dict.fromkeys(int(count) for count in counts):
            quality = Labelling(self.pool, answers.first(count)).quality()
            with self._lock:
                self._curve[count] = quality
                for more in [known for known in self._curve if known > now]:
                    del self._curve[more]  # of answers that were taken back
