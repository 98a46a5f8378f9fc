"""A service under load, and under attack.

The service runs in a process of its own on loopback; clients in this one send it a mail of 1 to
100 kB each, and the next when they are answered. Beside it stands what ONNX Runtime alone takes for
such mails, one after the other, from the bytes to the scores. Then come requests that are
malformed, huge, slow, cut off or bombs, while a client goes on asking.

    nlp-transfer export MODEL
    python benchmarks/service.py MODEL [--clients 200] [--seconds 60] [--bad 1000]
"""

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage

import httpx
import numpy as np
import psutil

KILOBYTES = 1, 100  # of a mail
PATIENCE = 120  # seconds that a client waits
AT_A_TIME = 100  # bad requests
GOOD = b'{"inputs": [{"text": "Call me before noon"}]}'
_WORDS = str(__doc__).split()


@dataclass
class Measured:
    """What clients saw.

    Attributes:
        statuses: How often each was answered.
        seconds: How long each answer took that is one.
        wall: How long all took together.
    """

    statuses: Counter = field(default_factory=Counter)
    seconds: list = field(default_factory=list)
    wall: float = 0.0

    def __str__(self):
        p50, p99 = 1000 * np.percentile(self.seconds or [np.nan], [50, 99])
        rate = len(self.seconds) / self.wall
        return f"{rate:.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms {dict(self.statuses)}"


def mails(count, seed=0):
    """Draw mails, each size as likely as its double; a third of them has HTML, too."""
    draw, found = random.Random(seed), []
    for number in range(count):
        size = 1000 * KILOBYTES[0] * (KILOBYTES[1] / KILOBYTES[0]) ** draw.random()
        lines, has_html = [], number % 3 == 0
        while size > 0:
            lines.append(" ".join(draw.choices(_WORDS, k=12)).capitalize() + ".")
            size -= len(lines[-1]) * (2 if has_html else 1)
        message = EmailMessage()
        message["From"], message["Subject"] = "ann@example.org", " ".join(draw.choices(_WORDS, k=5))
        message.set_content("\n".join(lines))
        if has_html:
            message.add_alternative(f"<p>{'</p><p>'.join(lines)}</p>", subtype="html")
        found.append(bytes(message))
    return found


@contextmanager
def serving(model, *flags):
    """Serve a model; yields the process, and the address."""
    command = [sys.executable, "-m", "transfer_app.command_line", "serve", model, "--port", "0"]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        address = process.stdout.readline().partition(" served at ")[2].split()[0]
        try:
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()
            process.wait(30)


def alone(model, sent):
    """Predict of mails by ONNX Runtime alone."""
    from transfer_app.prediction.onnx_classifier import OnnxClassifier
    from transfer_app.prediction.text_inputs import mail_of

    classifier, measured = OnnxClassifier(model), Measured()
    begin = time.perf_counter()
    for content in sent:
        start = time.perf_counter()
        list(classifier.predict(mail_of("mail.eml", content)))
        measured.seconds.append(time.perf_counter() - start)
    measured.wall = time.perf_counter() - begin
    return measured


async def load(address, sent, clients, seconds):
    """Have clients send mails for so long; one that is refused comes again when it may."""
    measured, begin = Measured(), time.perf_counter()

    async def ask(client, draw):
        while time.perf_counter() < begin + seconds:
            content = draw.choice(sent)
            refusal = await _asked(client, measured, files={"files": ("mail.eml", content)})
            await asyncio.sleep(float(refusal.headers["Retry-After"]) if refusal else 0)

    async with _client(address, clients) as client:
        await asyncio.gather(*(ask(client, random.Random(number)) for number in range(clients)))
    measured.wall = time.perf_counter() - begin
    return measured


async def attack(address, count, seed=0):
    """Send so many bad requests; return what was answered, and to a good one all the while."""
    bad, good, begin = Counter(), Measured(), time.perf_counter()
    draw, few = random.Random(seed), asyncio.Semaphore(AT_A_TIME)

    async def send(request):
        async with few:
            bad[await _answer(address, *request)] += 1

    async def go_on():
        async with _client(address, 1) as client:
            while True:
                kind = {"Content-Type": "application/json"}
                await _asked(client, good, content=GOOD, headers=kind)
                await asyncio.sleep(0.1)

    going_on = asyncio.create_task(go_on())
    await asyncio.gather(*(send(bad_request(draw)) for _ in range(count)))
    going_on.cancel()
    good.wall = time.perf_counter() - begin
    return bad, good


async def watched(process, work):
    """Return what work gives, and the memory of a process at each second of it, in MB."""
    working, held = asyncio.ensure_future(work), []
    while not working.done():
        held.append(process.memory_info().rss / 2**20)
        await asyncio.wait([working], timeout=1)
    return working.result(), held


def _client(address, connections):
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=limits)


async def _asked(client, measured, **request):
    """Ask for a prediction, and note the answer; return it if it is a refusal."""
    begin = time.perf_counter()
    answered = await client.post("/predict", **request)
    measured.statuses[answered.status_code] += 1
    if answered.status_code != 200:
        return answered
    assert "label" in answered.json()["answers"][0]
    measured.seconds.append(time.perf_counter() - begin)
    return None


async def _answer(address, parts, pause, leaves):
    """Return the status that is answered to what is sent in parts, to a client that stays."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    status = b""
    with suppress(OSError):  # the service may end the connection at any time
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    with suppress(OSError):
        if not leaves:
            status = (await asyncio.wait_for(reader.read(100), PATIENCE))[9:12]
    writer.close()
    return status.decode("ascii", "replace") or "closed"


def bad_request(draw):
    """Draw a bad request: its parts, the seconds after each, and whether the client leaves then."""
    junk = draw.randbytes(draw.choice([10, 10**4]))
    compound = bytes.fromhex("d0cf11e0a1b11ae1")  # how a .msg begins
    parts = b"Subject: a\nContent-Type: multipart/mixed; boundary=c\n\n" + b"--c\n\n" * 10**4
    whole = [
        junk,
        b"GET /predict HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10**4,
        _post(junk),
        _post(b"[" * 10**6),
        _post(b'{"inputs": [' + b'{"text":""},' * 10**5 + b'{"text":""}]}'),
        _post(GOOD, length=10**12),
        _post(bytes(11 * 10**6)),
        _form("a.eml", junk),
        _form("a.msg", compound + junk),
        _form("a.eml", parts),
        _form("a.mbox", b"From a@b Mon Jun  3 10:15:00 2024\nSubject: a\n\n" * 10**4),
        _form("a.eml", b"Subject: a\nContent-Type: text/html\n\n" + b"<div>" * 10**4),
    ]
    bytewise = [bytes([byte]) for byte in _post(GOOD)[:60]]
    cut_off = draw.choice([_post(GOOD)[:-1], _form("a.eml", parts)[: draw.randrange(10**5)]])
    others = [(bytewise, 0.2, False), ([_post(GOOD, 10**5)], 5, False), ([cut_off], 0, True)]
    return draw.choice([*(([one], 0, False) for one in whole), *others])


def _post(content, length=None, kind="application/json"):
    length = len(content) if length is None else length
    lines = ("POST /predict HTTP/1.1", "Host: localhost", f"Content-Type: {kind}")
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode() + content


def _form(name, content):
    part = f'--b\r\nContent-Disposition: form-data; name="a"; filename="{name}"\r\n\r\n'.encode()
    kind = "multipart/form-data; boundary=b"
    return _post(part + content + b"\r\n--b--\r\n", kind=kind)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="folder of a model of mail that was exported")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--bad", type=int, default=1000)
    arguments = parser.parse_args()
    sent = mails(200)
    print(f"ONNX Runtime alone: {alone(arguments.model, sent)}", flush=True)
    with serving(arguments.model) as (process, address):
        work = load(address, sent, arguments.clients, arguments.seconds)
        measured, held = asyncio.run(watched(process, work))
        print(f"{arguments.clients} clients, {arguments.seconds} s: {measured}")
        print("memory, MB:", *(f"{one:.0f}" for one in held[:: max(1, len(held) // 12)]))
        (bad, good), held = asyncio.run(watched(process, attack(address, arguments.bad)))
        print(f"{arguments.bad} bad requests in {good.wall:.0f} s: {dict(bad)}")
        print(f"a good one meanwhile: {good}")
        print("memory, MB:", *(f"{one:.0f}" for one in held[:: max(1, len(held) // 12)]))


if __name__ == "__main__":
    main()
