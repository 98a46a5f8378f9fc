"""Hostile requests to the demo of each kind of model, in a real server on loopback.

Every endpoint of the application and of Gradio gets requests whose fields are paths, files that
nobody uploaded, addresses, huge and odd values. No answer may hold anything of a file that was not
uploaded, no address may be fetched, nothing may be written but uploads, these stay below the quota
and are gone at the end, and good requests are answered as ever.
"""

import io
import json
import os
import random
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import uvicorn
from PIL import Image

from tests.fuzz.model_folders import MODELS
from transfer_app.demo import guard
from transfer_app.demo.server import web_app

KINDS = ("recurrent", "classifier", "detector", "captioner")
"""Of models: each has a page of its own."""

SECRET = "mellon-4711"  # in files that nobody uploaded
PLACE = "upload"  # a folder of uploads; what lies beside those is left over, and removed
QUOTA = 8 * 2**20  # of uploads, so that it is reached
_PATIENCE = 5.0  # seconds that an answer may take
_PAUSE = 0.2  # in an answer, after which a stream counts as read
_TOKEN = re.compile(r"\{\w+(:path)?\}")
_PICTURE = re.compile(rb'"path": ?"[^"]+\.(webp|png|jpe?g)"')  # in what the page shows
_FIELDS = ("data", "session_hash", "fn_index", "event_data", "event_id", "trigger_id", "batched")
_HEADERS = (
    {"Host": "evil.example.org"},
    {"Origin": "null"},
    {"Range": "bytes=0-9"},
    {"X-Forwarded-Host": "evil"},
    {"Content-Type": "text/plain\t;;"},
    {"Transfer-Encoding": "chunked"},
    {"Content-Length": "-1"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
)


class LeakError(AssertionError):
    """An answer or the disk holds what it must not."""


@contextmanager
def serving(app):
    """Serve an application on loopback; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        )
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


@contextmanager
def canary():
    """Yield an address that nobody has a reason to fetch, and the list of those who did."""
    visits = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            while True:
                try:
                    visits.append(listening.accept()[1])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}.eml", visits
        listening.shutdown(socket.SHUT_RDWR)


def endpoints(app):
    """Return every method and path that an application has, those of what is mounted included."""
    found = set()
    pending = list(app.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        pending += getattr(inner, "routes", None) or []
        for method in getattr(route, "methods", None) or ():
            found |= {(method, route.path), (method, f"/gradio_api{route.path}")}
    return sorted(found)


def plant(model, uploads):
    """Put secrets in reach, mails and photos, and return how they may be called."""
    (uploads / PLACE).mkdir()
    for place in (model, model.parent, uploads.parent, uploads / PLACE):
        (place / f"{SECRET}.eml").write_text(f"Subject: the secret word\n\nis {SECRET}")
        Image.new("RGB", (8, 8), "red").save(place / f"{SECRET}.png")
        with (place / f"{SECRET}.png").open("ab") as image:
            image.write(SECRET.encode())
    (model.parent / "link.eml").symlink_to(model / f"{SECRET}.eml")
    real = [path for place in (model.parent, uploads.parent) for path in place.rglob("*.*")]
    names = ["/proc/self/environ", "/proc/self/cwd/setup.cfg"]
    names += [f"{uploads}/../{path.name}" for path in real]
    names += [f"{uploads}/x/../../../{path}" for path in real]
    plain = [str(path) for path in real] * 10  # the likeliest to be read
    return [
        *plain,
        *names,
        *(f"file://{name}" for name in names),
        *(quote(name, "") for name in names),
    ]


class Requests:
    """Draws requests from a seed.

    Args:
        app: The application.
        function: The name of the function that the page calls.
        paths: What must not be shown.
        uploads: A folder whose files the page may load, by their names.
        seed: Of what is drawn.
    """

    def __init__(self, app, function, paths, uploads, seed):
        self.random = random.Random(seed)
        self.endpoints, self.function, self.paths = endpoints(app), function, paths
        self.served = tuple(
            f"/gradio_api/{at}{folder}/{SECRET}"
            for at in ("file=", "file/")
            for folder in (uploads, f"file://{uploads}", quote(str(uploads), ""))
        )

    def value(self, depth=0):
        """Draw anything that JSON can say."""
        pick = self.random.choice
        path = pick(self.paths)
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": pick(["x", path])}
        odd = {"url": path, "is_stream": pick([True, False, 3]), "size": -1, "mime_type": path}
        kinds = [
            lambda: path,
            lambda: file,
            lambda: [file],
            lambda: [file | {key: odd[key] for key in self.random.sample(sorted(odd), 2)}],
            lambda: [{"path": path}],
            lambda: pick([None, True, -1, 2**70, 1e308, float("nan"), "", "\0", "\ud800", "‮"]),
            lambda: "x" * pick([10, 10**4, 2 * 10**6]),
            lambda: {pick(["value", "path", "meta", "__type__"]): self.value(depth + 1)},
            lambda: [self.value(depth + 1), self.value(depth + 1)],
        ]
        return pick(kinds[: 7 if depth > 3 else None])()

    def call(self):
        """Draw a body with the fields that Gradio reads."""
        pick = self.random.choice
        if self.random.random() < 0.05:
            return pick([b"[" * 10**5, b'{"data":' * 900 + b"1" + b"}" * 900, b"\xff\0", b""])
        files = {"path": pick(self.paths), "meta": {"_type": "gradio.FileData"}}
        likely = ["", [files]] if self.function == "rank" else [[files]]
        others = [self.value() for _ in range(self.random.randrange(4))]
        fields = {
            "data": pick([likely, others]),
            "session_hash": pick(["known", f"s{self.random.random()}"]),
            "fn_index": pick([0, 1, 2]),
        }
        odd = pick([{}, {pick(_FIELDS): self.value()}])
        return json.dumps(fields | odd).encode()

    def upload(self):
        """Draw a form with a file of an odd name."""
        name = self.random.choice([*self.paths, "a\0b.eml", "", ".", "..", "x" * 300, '"'])
        size = self.random.choice([0, 9, 10**5, 10**6])
        content = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        end = self.random.choice(["\r\n--b--\r\n", "", "\r\n--b\r\n"])
        return (content + "x" * size + end).encode()

    def request(self):
        """Draw a method, what is asked for, what is sent, and headers."""
        pick, chance = self.random.choice, self.random.random()
        if chance < 0.45:
            method, path = "POST", f"/gradio_api/{pick(['queue/join', f'call/{self.function}'])}"
        elif chance < 0.6:
            method, path = "POST", "/gradio_api/upload"
        else:
            method, path = pick(self.endpoints)
            known = [*self.paths, "0", "known", self.function]
            path = _TOKEN.sub(lambda _: pick(known), path)
            if path.startswith(self.served):  # what the page made itself lies there, too
                path = "/gradio_api/file=/etc/passwd"
            field = pick(["deep_link", "session_hash", "page", "upload_id"])
            path += pick(["", "", f"?{field}={quote(pick([*self.paths, 'known']))}"])
        headers = {"Content-Type": "application/json"}
        content = self.call() if method == "POST" else b""
        if path.endswith("/upload"):
            content, headers["Content-Type"] = self.upload(), "multipart/form-data; boundary=b"
        if self.random.random() < 0.1:
            headers |= pick(_HEADERS)
        path = re.sub(r"[^!-~]|#", lambda found: quote(found[0]), path)
        return method, path, content, headers, self.random.random() < 0.05


def send(port, method, path, content, headers, cut=False):
    """Return what is answered, as it comes; nothing where the connection is cut half way."""
    lines = {"Host": f"localhost:{port}", "Content-Length": len(content), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
    asked = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), _PATIENCE) as connection:
            connection.sendall(asked[: len(asked) // 2] if cut else asked)
            while not cut and (part := connection.recv(2**16)):
                answer += part
                connection.settimeout(_PAUSE)
    except OSError:  # the server may end the connection in any way, and a stream does not end
        pass
    return answer


def attack(kind, count, folder, seed=0):
    """Send so many requests to the demo of a model; return how many answers there were of a kind.

    Raises:
        LeakError: One of the properties above does not hold.
    """
    model, temporary = folder / "home" / "model", folder / "temporary"
    temporary.mkdir()
    MODELS[kind](model)
    function = "rank" if kind == "recurrent" else "look"
    counts = Counter()
    outside = tempfile.tempdir, guard.MOST_UPLOADED
    tempfile.tempdir, guard.MOST_UPLOADED = str(temporary), QUOTA
    try:
        app = web_app(str(model))
        uploads = Path(os.environ["GRADIO_TEMP_DIR"])
        with canary() as (address, visits), serving(app) as port:
            paths = [*plant(model, uploads), address, "http://127.0.0.1/", "//evil/x.eml"]
            lay, planted = _listing(model.parent, Path.cwd()), _listing(temporary)
            requests = Requests(app, function, paths, uploads / PLACE, seed)
            for number in range(count):
                _check(requests.request(), port, counts)
                if number % 50 == 0 or number == count - 1:
                    _check_working(kind, port)
                    if (taken := _bytes_in(uploads)) > QUOTA + 2**16:
                        raise LeakError(f"{taken} bytes lie there")
                    for path in set(uploads.rglob("*.*")) - planted:  # as if an hour had passed
                        path.unlink(missing_ok=True)
        if visits:
            raise LeakError(f"{address} was fetched")
        left = {path for path in _listing(temporary) - planted if uploads not in path.parents}
        left |= _listing(model.parent, Path.cwd()) - lay
        if left:
            raise LeakError(f"written elsewhere: {sorted(left)[:3]}")
        if uploads.exists():
            raise LeakError("uploads outlive the demo")
    finally:
        tempfile.tempdir, guard.MOST_UPLOADED = outside
    return counts


def _check(request, port, counts):
    """Make a request; the answer holds no secret, nor a picture under the name of a planted one."""
    answer = send(port, *request)
    head, _, body = answer.partition(b"\r\n\r\n")
    counts[head.split()[1].decode() if head else "cut"] += 1
    if event := re.search(rb'"event_id":"(\w+)"', body):
        result = send(port, "GET", f"/gradio_api/call/x/{event[1].decode()}", b"", {})
        counts["call done" if b"event: complete" in result else "call refused"] += 1
        body += result
    shown = re.sub(re.escape(SECRET).encode() + rb"\.(eml|png)", b"", body)  # a name that was given
    ended = b"event: complete" in body or b"process_completed" in body
    pictured = ended and _PICTURE.search(body) and SECRET.encode() in body
    if pictured or any(word in shown for word in (SECRET.encode(), b"[metadata]", b"Traceback")):
        raise LeakError(f"{request[:2]}, {request[2][:300]!r}: {body[-600:]!r}")


def _check_working(kind, port):
    """Make a good request, which has its answer."""
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=_PATIENCE) as client:
        assert client.get("/config").status_code == 200
        if kind == "recurrent":
            function, data, wanted = "rank", ["Call me before noon", None], "Call me before noon"
        else:
            photo = io.BytesIO()
            Image.new("RGB", (32, 32), "blue").save(photo, "PNG")
            files = {"files": ("blue.png", photo.getvalue(), "image/png")}
            sent = client.post("/gradio_api/upload", files=files)
            if sent.status_code == 413:  # the quota is full, as it should be
                return
            file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
            function, data, wanted = "look", [[file]], "blue.png"
        called = client.post(f"/gradio_api/call/{function}", json={"data": data}).json()
        answer = client.get(f"/gradio_api/call/{function}/{called['event_id']}").text
    if "event: complete" not in answer or wanted not in answer:
        raise LeakError(f"a good request is answered: {answer[:300]}")


def _bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _listing(folder, *tops):
    """What lies in a folder and those below it, and at the top of others."""
    return {*folder.rglob("*"), *(path for top in tops for path in top.iterdir())}
