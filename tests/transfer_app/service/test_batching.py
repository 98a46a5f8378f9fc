"""What waits for a model is predicted together, and nobody suffers from another's input."""

import asyncio
import threading
import time

import pytest

from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.inputs import Input
from transfer_app.service.batching import BATCH, Batcher, BusyError

POISON = "poison"


class Model:
    """A model that says how long a text is, once it may; and fails at poison."""

    def __init__(self):
        self.may, self.batches = threading.Event(), []

    def predict(self, inputs):
        inputs = list(inputs)
        self.batches.append([item.content for item in inputs])
        assert self.may.wait(10)
        for item in inputs:
            if item.content == POISON:
                raise BaseException(item.content)  # as a panic of Rust is
            yield item, Prediction({"length": len(item.content)}, [])


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    batcher = Batcher(model.predict, 50)
    yield batcher
    model.may.set()
    batcher.close(10)


def inputs(*texts):
    return [Input(text, text) for text in texts]


def lengths(predictions):
    return [prediction and prediction.fields["length"] for prediction in predictions]


async def until(met):
    end = time.monotonic() + 10
    while not met():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def held(model, batcher):
    """Give the model an input that it does not answer yet; the others wait."""
    task = asyncio.create_task(batcher.predict(inputs("held")))
    await until(lambda: model.batches)
    return task


def test_parallel_requests_are_predicted_together_from_short_to_long(model, batcher):
    async def ask():
        first = await held(model, batcher)
        others = [asyncio.create_task(batcher.predict(inputs(n * "a", "bb"))) for n in (5, 1, 3)]
        await asyncio.sleep(0)
        model.may.set()
        return [lengths(await task) for task in (first, *others)]

    assert asyncio.run(ask()) == [[4], [5, 2], [1, 2], [3, 2]]
    assert model.batches == [["held"], ["a", "bb", "bb", "bb", "aaa", "aaaaa"]]


def test_a_model_is_given_so_many_inputs_at_a_time(model, batcher):
    model.may.set()
    texts = [f"{number}" for number in range(BATCH + 5)]
    assert lengths(asyncio.run(batcher.predict(inputs(*texts)))) == list(map(len, texts))
    assert len(model.batches) == 2


def test_an_input_that_a_model_fails_on_does_no_harm_to_others(model, batcher, caplog):
    async def ask():
        first = await held(model, batcher)
        others = [batcher.predict(inputs("a", POISON, "bbbbbbbb")), batcher.predict(inputs("cc"))]
        tasks = list(map(asyncio.create_task, others))
        await asyncio.sleep(0)
        model.may.set()
        return [lengths(await task) for task in (first, *tasks)]

    assert asyncio.run(ask()) == [[4], [1, None, 8], [2]]
    assert batcher.is_working
    assert "BaseException" in caplog.text and POISON not in caplog.text


def test_what_is_too_much_is_refused_until_others_leave(model, batcher):
    async def ask():
        first = await held(model, batcher)
        waiting = asyncio.create_task(batcher.predict(inputs(*50 * ["a"])))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batcher.predict(inputs("b"))
        waiting.cancel()
        await asyncio.sleep(0)
        another = asyncio.create_task(batcher.predict(inputs("b")))
        await asyncio.sleep(0)
        model.may.set()
        await first
        return lengths(await another)

    assert asyncio.run(ask()) == [1]
    assert model.batches == [["held"], ["b"]]  # what nobody waits for is not predicted


def test_a_request_whose_turn_does_not_come_in_time_is_refused_one_that_began_is_ended(
    model, batcher, monkeypatch
):
    monkeypatch.setattr("transfer_app.service.batching.BATCH", 2)

    async def ask():
        first = asyncio.create_task(batcher.predict(inputs("a", "b", "c"), time.monotonic() + 1))
        late = asyncio.create_task(batcher.predict(inputs("d"), time.monotonic() + 1))
        await until(lambda: model.batches)
        await asyncio.sleep(1.1)
        model.may.set()
        with pytest.raises(BusyError):
            await late
        return lengths(await first)

    assert asyncio.run(ask()) == [1, 1, 1]


def test_a_large_request_is_taken_where_none_waits(model, batcher):
    model.may.set()
    assert len(asyncio.run(batcher.predict(inputs(*60 * ["a"])))) == 60


def test_at_the_end_what_waits_is_predicted_and_no_more_is_taken(model, batcher):
    async def ask():
        first = await held(model, batcher)
        waiting = asyncio.create_task(batcher.predict(inputs("a")))
        await asyncio.sleep(0)
        model.may.set()
        await asyncio.to_thread(batcher.close, 10)
        with pytest.raises(BusyError):
            await batcher.predict(inputs("b"))
        return lengths([*await first, *await waiting])

    assert asyncio.run(ask()) == [4, 1]
    assert not batcher.is_working
