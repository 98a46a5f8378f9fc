"""Work that follows what people do, and that nobody waits for."""

import threading
from collections.abc import Callable

from transfer_app.listening import log_place


class Background:
    """A thread that does a piece of work when it is asked to: once for all who asked meanwhile.

    Args:
        work: What it does; an error is logged, and the next time it is tried again.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._asked, self._is_busy = False, False
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be done."""
        return self._asked or self._is_busy

    def ask(self) -> None:
        """Have it done soon."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is to be done."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked)
                self._asked, self._is_busy = False, True
            try:
                self._work()
            except Exception as error:
                log_place(error)
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
