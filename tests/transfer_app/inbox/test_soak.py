"""A thousand mails while the server is restarted and the command killed: each is marked once."""

import random
import re
import signal
import threading
import time
from collections import Counter
from statistics import median

import pytest

from tests.transfer_app.inbox.processes import Marking, mails, marked, predicted, until

MAILS, KILLS, RESTARTS = 1000, 10, 3
SECONDS = 80  # in which they come


def deliver_in_bursts(server, user, chance):
    """Deliver them, some at a time."""
    left, pause = list(mails(MAILS)), 25 * SECONDS / MAILS
    while left:
        burst = [left.pop() for _ in range(min(len(left), chance.randrange(1, 50)))]
        server.deliver(user, *burst)
        time.sleep(chance.uniform(0, 2) * pause)


def stored(server, user):
    """The numbers of mails in each STORE that the server was sent, in what it wrote down of all."""
    said = "".join(file.read_text(errors="replace") for file in server.said(user))
    return re.findall(r"UID STORE ([\d,]+) \+FLAGS", said)


def times(server, user, event):
    """When something was done with each mail, by its Message-ID; in seconds."""
    lines = re.findall(rf"^([\d.]+) \w+\({user}\).* {event}", server.log(), re.M)
    return {number: float(second) for second, number in lines}


@pytest.mark.slow
def test_each_mail_is_marked_once_whatever_happens(server, user, model, tmp_path):
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    server.write_down(user)
    delivering = threading.Thread(target=deliver_in_bursts, args=(server, user, chance))
    moments = sorted(chance.uniform(0, SECONDS) for _ in range(KILLS + RESTARTS))
    restarts = {*chance.sample(moments, RESTARTS)}
    begin = time.monotonic()
    with Marking(server.url(user), "--model", model) as marking:
        delivering.start()
        for moment in moments:
            time.sleep(max(0, moment - (time.monotonic() - begin)))
            if moment in restarts:
                server.stop()
                server.start()
            else:
                marking.end(signal.SIGKILL)
                marking.start()
        delivering.join()
        expected = predicted(server, user, model, tmp_path / "mails")
        until(lambda: marked(server, user) == expected, seconds=60)
        time.sleep(2)  # in which nothing more happens
        err = marking.err
    flags = server.flags(user)
    ids = {
        re.search(rb"<(\d+)@example.org>", file.read_bytes())[1]
        for file in (tmp_path / "mails").iterdir()
    }
    assert len(ids) == MAILS <= len(flags) and MAILS / 4 < len(expected) < MAILS / 2
    assert not any(found - {"$Urgent"} for found in flags.values())
    assert server.marks(user) == Counter(expected)
    assert not re.search(rf"\({user}\).* (delete|expunge|copy):", server.log())
    assert err.count("Back") <= err.count("Lost") <= RESTARTS
    came, got = (
        times(server, user, "msgid=<(.*?)@example.org>: saved"),
        times(server, user, "flag_change.*msgid=<(.*?)@example.org>"),
    )
    waits = [got[number] - came[number] for number in got]
    print(f"{len(waits)} marked; from delivery to keyword {median(waits):.2f} s (median)")
    assert median(waits) < 2
    twice = Counter(uid for some in stored(server, user) for uid in some.split(","))
    print("sent again after a kill or a restart:", sum(twice.values()) - len(twice))
