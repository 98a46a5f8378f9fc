"""Hostile requests to the demo of each kind of model, in a real server on loopback.

Every endpoint of the application and of Gradio gets requests whose fields are paths, files that
nobody uploaded, addresses, huge and odd values. The answers hold nothing of a file that was not
uploaded, no address is fetched, nothing is written but uploads, and the demo goes on working.
"""

import io
import json
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn
from PIL import Image

from recipes import demo_guard
from recipes.demo import web_app
from tests.fuzz.demo_models import MODELS

SECRET = "mellon-4711"  # in files that nobody uploaded
SECONDS = 20.0  # that an answer may take
QUOTA = 2 * 2**20  # of uploads, so that it is reached
_TOKEN = re.compile(r"\{\w+(:path)?\}")


class Leak(AssertionError):
    """An answer or the disk holds what it must not."""


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Serve an application on loopback; the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the demo did not start"
            time.sleep(0.02)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@contextmanager
def canary() -> Iterator[tuple[str, list[object]]]:
    """An address that nobody has a reason to fetch, and who did."""
    visits: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    visits.append(listening.accept()[1])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}.eml", visits
        listening.shutdown(socket.SHUT_RDWR)


def endpoints(app: Any) -> list[tuple[str, str]]:
    """Every method and path that an application has, those of Gradio included."""
    found: set[tuple[str, str]] = set()
    pending = [app.openapi_url and app, *app.routes]
    while pending:
        route = pending.pop()
        router = getattr(route, "original_router", None) or getattr(route, "app", None)
        pending += getattr(router, "routes", None) or []
        for method in getattr(route, "methods", None) or ():
            found |= {(method, route.path), (method, f"/gradio_api{route.path}")}
    return sorted(found)


def plant(folder: Path, uploads: Path) -> list[str]:
    """Put secrets in reach, and return how they may be called."""
    mail = f"Subject: the secret word\n\nis {SECRET}"
    for place in (folder / "model", folder, uploads, uploads.parent):
        (place / f"{SECRET}.eml").write_text(mail)
    (folder / "link.eml").symlink_to(folder / f"{SECRET}.eml")
    os.environ["DEMO_SECRET"] = SECRET
    image = Image.new("RGB", (8, 8), "red")
    image.save(folder / "model" / f"{SECRET}.png")
    real = [*folder.rglob("*.eml"), *folder.rglob("*.png"), uploads / f"{SECRET}.eml"]
    names = [*map(str, real), "/proc/self/environ", "/proc/self/cwd/setup.cfg"]
    names += [f"{uploads}/../{path.name}" for path in real]
    names += [f"{uploads}/x/../../../{path}" for path in real]
    return [
        f"{before}{quote(name, safe) if safe is not None else name}"
        for name in names
        for before, safe in [("", None), ("file://", None), ("", "")]
    ]


class Fuzzer:
    """Makes requests from a seed.

    Args:
        app: The application.
        names: Of functions of the page.
        paths: Of what must not be shown, and addresses.
        seed: Of what is chosen.
    """

    def __init__(self, app: Any, names: list[str], paths: list[str], seed: int) -> None:
        self.random = random.Random(seed)
        self.endpoints, self.names, self.paths = endpoints(app), names, paths

    def value(self, depth: int = 0) -> Any:
        """Anything that JSON can say."""
        pick = self.random.choice
        path = pick(self.paths)
        file = {
            "path": path,
            "meta": {"_type": "gradio.FileData"},
            "orig_name": pick(["x.eml", path]),
        }
        odd = {"url": path, "is_stream": pick([True, False, 3]), "size": -1, "mime_type": path}
        makers: list[Callable[[], Any]] = [
            lambda: path,
            lambda: [file],
            lambda: [file | {key: odd[key] for key in self.random.sample(sorted(odd), 2)}],
            lambda: file,
            lambda: [{"path": path}],
            lambda: pick([None, True, -1, 2**70, 1e308, float("nan"), "", "\0", "\ud800", "‮"]),
            lambda: "x" * pick([10, 10**4, 2 * 10**6]),
            lambda: {pick(["value", "path", "meta", "__type__"]): self.value(depth + 1)},
            lambda: [self.value(depth + 1), self.value(depth + 1)],
        ]
        return pick(makers[: 7 if depth > 3 else None])()

    def body(self) -> bytes:
        """A JSON with the fields that Gradio reads."""
        pick = self.random.choice
        if self.random.random() < 0.05:
            return pick([b"[" * 10**5, b'{"data":' * 900 + b"1" + b"}" * 900, b"\xff\0", b""])
        fields = {
            "data": [self.value() for _ in range(self.random.randrange(4))],
            "session_hash": pick(["known", f"s{self.random.random()}"]),
            "fn_index": pick([0, 1, 2]),
        }
        fields |= {
            pick(
                [
                    *fields,
                    "event_data",
                    "event_id",
                    "trigger_id",
                    "component_id",
                    "fn_name",
                    "simple_format",
                    "batched",
                ]
            ): self.value()
        }
        return json.dumps(fields).encode()

    def upload(self) -> tuple[bytes, str]:
        """A form with a file of an odd name."""
        name = self.random.choice([*self.paths, "a\0b.eml", "", ".", "..", "x" * 300, '"'])
        size = self.random.choice([0, 9, 10**5, 10**6])
        content = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        end = self.random.choice(["\r\n--b--\r\n", "", "\r\n--b\r\n"])
        return (content + "x" * size + end).encode(), "multipart/form-data; boundary=b"

    def request(self) -> tuple[str, str, bytes, dict[str, str]]:
        """A method, what is asked for, what is sent and headers."""
        pick, chance = self.random.choice, self.random.random()
        headers = {"Content-Type": "application/json"}
        if chance < 0.45:
            name = pick(["queue/join", *(f"call/{name}" for name in self.names)])
            method, path = "POST", f"/gradio_api/{name}"
        elif chance < 0.6:
            method, path = "POST", "/gradio_api/upload"
        else:
            method, path = pick(self.endpoints)
            path = _TOKEN.sub(lambda _: pick([*self.paths, "0", "known", *self.names]), path)
            path += pick(
                [
                    "",
                    "",
                    f"?{pick(['deep_link', 'session_hash', 'page', 'upload_id'])}="
                    f"{quote(pick([*self.paths, 'known']))}",
                ]
            )
        path = re.sub(r"[^!-~]|#", lambda found: quote(found[0]), path)
        content = self.body() if method == "POST" else b""
        if path.endswith("/upload"):
            content, headers["Content-Type"] = self.upload()
        if self.random.random() < 0.1:
            headers |= pick(
                [
                    {"Host": "evil.example.org"},
                    {"Origin": "null"},
                    {"Range": "bytes=0-9"},
                    {"X-Forwarded-Host": "evil"},
                    {"Content-Type": "text/plain\t;;"},
                    {"Transfer-Encoding": "chunked"},
                    {"Content-Length": "-1"},
                    {"Content-Length": str(len(content) + 9)},  # the connection is cut before
                    {"Upgrade": "websocket", "Connection": "Upgrade"},
                ]
            )
        return method, path, content, headers


def send(port: int, method: str, path: str, content: bytes, headers: dict[str, str]) -> bytes:
    """The answer as it comes, from a connection that is cut when what was sent is answered."""
    lines = {
        "Host": f"localhost:{port}",
        "Content-Length": str(len(content)),
        "Connection": "close",
    } | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
            connection.shutdown(socket.SHUT_WR) if len(content) % 7 == 1 else None
            while part := connection.recv(2**16):
                answer += part
                connection.settimeout(0.3)  # a stream does not end
    except OSError:  # cut, or nothing more came
        pass
    return answer


def attack(kind: str, count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Send so many requests to the demo of a model; what the answers were.

    Raises:
        Leak: One of the properties above does not hold.
    """
    model = folder / "model"
    MODELS[kind](model)
    before = _listing(folder, Path.cwd())
    least, demo_guard.MOST_UPLOADED = demo_guard.MOST_UPLOADED, QUOTA
    counts: Counter[str] = Counter()
    try:
        app = web_app(str(model))
        uploads = Path(os.environ["GRADIO_TEMP_DIR"])
        with canary() as (address, visits), serving(app) as port:
            paths = [*plant(folder, uploads), address, "http://127.0.0.1/", "//evil/x.eml"]
            planted = uploads.parent / f"{SECRET}.eml"
            before |= _listing(folder, Path.cwd())
            names = ["rank"] if kind == "texts" else ["look"]
            fuzzer = Fuzzer(app, names, paths, seed)
            for number in range(count):
                request = fuzzer.request()
                answer = send(port, *request)
                _check(request, answer, port, counts)
                if number % 50 == 0 or number == count - 1:
                    _still_works(port, kind)
                    if (taken := demo_guard._bytes_in(uploads)) > QUOTA + 2**20:
                        raise Leak(f"{taken} bytes lie there")
            if visits:
                raise Leak(f"{address} was fetched by one of the requests")
            planted.unlink()
            if new := _listing(folder, Path.cwd()) - before:
                raise Leak(f"written elsewhere: {sorted(new)[:3]}")
        if uploads.exists():
            raise Leak("uploads outlive the demo")
    finally:
        demo_guard.MOST_UPLOADED = least
        os.environ.pop("DEMO_SECRET", None)
    return counts


def _check(request: tuple[Any, ...], answer: bytes, port: int, counts: Counter[str]) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split()[1].decode() if head else "cut"
    if event := re.search(rb'"event_id":"(\w+)"', body):
        result = send(port, "GET", f"/gradio_api/call/x/{event[1].decode()}", b"", {})
        counts["done" if b"event: complete" in result else "told"] += 1
        body += result
    counts[status] += 1
    shown = body.replace(SECRET.encode() + b".", b"")  # the name was given, the content was not
    if SECRET.encode() in shown or b"[metadata]" in shown or b"Traceback" in shown:
        raise Leak(f"{request[:2]}, {request[2][:300]!r}: {body[:300]!r}")


def _still_works(port: int, kind: str) -> None:
    """A good request has its answer."""
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=SECONDS) as client:
        assert client.get("/config").status_code == 200
        name, data = (
            ("rank", ["Call me before noon", None]) if kind == "texts" else ("look", [None])
        )
        event = client.post(f"/gradio_api/call/{name}", json={"data": data}).json()["event_id"]
        answer = client.get(f"/gradio_api/call/{name}/{event}").text
    wanted = "1 ranked" if kind == "texts" else "There is no photo to look at"
    if "event: complete" not in answer or wanted not in answer.replace("most urgent", "1 ranked"):
        if "Call me" not in answer:
            raise Leak(f"a good request is answered: {answer[:300]}")


def _listing(*folders: Path) -> set[str]:
    """What lies in some folders; of the project itself, at its top only."""
    model, here = folders
    return {str(path) for path in [*model.rglob("*"), *here.iterdir()]}


def main(count: int, seed: int) -> int:
    """Attack the demo of each kind of model; print what was answered."""
    for kind in MODELS:
        with TemporaryDirectory() as folder:
            print(kind, json.dumps(attack(kind, count, Path(folder), seed)), flush=True)
    return 0


if __name__ == "__main__":
    main(1000, 0)
