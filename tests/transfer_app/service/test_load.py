"""Many clients, and a thousand bad requests, leave a service answering, and its memory flat."""

import asyncio

import psutil
import pytest
from service import attack, load, mails, serving, watched

FEW, MANY = (20, 10, 100), (200, 60, 1000)  # clients, seconds, bad requests


@pytest.mark.parametrize("size", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_it_answers_under_load_and_under_attack(size, models):
    clients, seconds, count = size
    with serving(str(models / "urgency"), "--timeout", "10") as (process, address):
        measured, held = asyncio.run(watched(process, load(address, mails(100), clients, seconds)))
        assert measured.statuses.keys() <= {200, 429}
        assert measured.statuses[200] >= clients
        assert held[-1] < held[len(held) // 3] + 60  # MB
        (bad, good), held = asyncio.run(watched(process, attack(address, count)))
        assert sum(bad.values()) == count
        assert "500" not in bad
        assert good.statuses.keys() <= {200, 429} and good.statuses[200] > 5
        assert held[-1] < 600  # MB; so much is held at a time, and no more with more of them
        later = asyncio.run(load(address, mails(10), 2, 1))
        assert later.statuses.keys() == {200}
        assert len(psutil.Process(process.pid).net_connections()) < 20
