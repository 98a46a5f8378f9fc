"""Predictions for parallel requests: what waits for a model is given to it together."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from transfer_app.listening import log_place
from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.inputs import Input

BATCH = 32  # inputs that a model is given at a time


class BusyError(Exception):
    """So much waits for a model that no more is taken, or that its turn does not come in time."""


@dataclass
class _Request:
    """What inputs that came together have in common: when it is too late to begin with them."""

    until: float


class _Waiting(NamedTuple):
    item: Input
    prediction: "Future[Prediction | None]"
    request: _Request

    @property
    def length(self) -> int:
        """Return the length of a text, by which texts of a batch need little padding."""
        return len(self.item.content) if isinstance(self.item.content, str) else 0


class Batcher:
    """Predicts for parallel requests, in a thread of its own.

    Args:
        predict: Yields each input with its prediction, in order; it is called by one thread.
        most_waiting: How many inputs may wait. A request that finds none waiting may bring more.
    """

    def __init__(
        self,
        predict: Callable[[Iterable[Input]], Iterable[tuple[Input, Prediction]]],
        most_waiting: int,
    ) -> None:
        self._predict, self._most = predict, most_waiting
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="predictions", daemon=True)
        self._thread.start()

    @property
    def is_working(self) -> bool:
        """Whether inputs are still predicted of."""
        return self._thread.is_alive()

    async def predict(
        self, inputs: Sequence[Input], until: float = math.inf
    ) -> list[Prediction | None]:
        """Return the prediction of each input; None where the model fails on it.

        A caller that is cancelled makes room for others.

        Args:
            inputs: The inputs.
            until: The time, by `time.monotonic`, at which their turn has come or they are given up.

        Raises:
            BusyError: Too many inputs wait, their turn does not come, or it is closed.
        """
        request = _Request(until)
        waiting = [_Waiting(item, Future(), request) for item in inputs]
        self._put(waiting)
        return await asyncio.gather(*(asyncio.wrap_future(one.prediction) for one in waiting))

    def close(self, seconds: float) -> None:
        """Predict what waits and end the thread; after so many seconds, wait no longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _put(self, inputs: Sequence[_Waiting]) -> None:
        with self._changed:
            if self._is_closed:
                raise BusyError
            if len(self._waiting) + len(inputs) > self._most:
                wanted = (one for one in self._waiting if not one.prediction.cancelled())
                self._waiting = deque(wanted)
                if self._waiting and len(self._waiting) + len(inputs) > self._most:
                    raise BusyError
            self._waiting.extend(inputs)
            self._changed.notify()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(sorted(batch, key=lambda one: one.length))

    def _next_batch(self) -> list[_Waiting]:
        """Return what waits, as much of it as a model is given; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            count = min(BATCH, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Predict of each input; where that fails, of those that are left one by one."""
        taken: deque[_Waiting] = deque()
        try:
            for _, prediction in self._predict(_wanted(batch, taken)):
                taken.popleft().prediction.set_result(prediction)
        except BaseException as error:  # a panic of the tokenizers, too: others are to be answered
            if len(batch) > 1:
                for one in batch:
                    self._answer([one])
            elif taken:
                log_place(error)
                taken[0].prediction.set_result(None)


def _wanted(batch: Iterable[_Waiting], taken: deque[_Waiting]) -> Iterator[Input]:
    """Yield the inputs whose prediction is waited for, when a model takes them; note which."""
    for one in batch:
        future = one.prediction
        if not future.running() and (future.done() or not future.set_running_or_notify_cancel()):
            continue
        if time.monotonic() > one.request.until:
            future.set_exception(BusyError())
            continue
        one.request.until = math.inf
        taken.append(one)
        yield one.item
