"""A Hub on loopback: the calls of `huggingface_hub` that upload and load models, over real HTTP.

It rejects what the Hub rejects, and fails on demand: see `LoopbackHub.fail`.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_server.card_rules import errors_in_text
from tests.hub_server.repository import File, Refused, Repository

TOKEN = "hf_" + "loopback" * 4
READ_TOKEN = "hf_" + "readonly" * 4
USER = "someone"
PIECE = 4096


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind.

    Attributes:
        method: Their method.
        part: What their path contains.
        kind: `status` for an error status, `cut` to close the connection in the middle of the body,
            `lost` to do what was asked and close it before the answer, `slow` for pauses.
        times: How often.
        status: The status.
        headers: Headers of the answer.
        code: The error code of the Hub.
        met: Whether it went wrong for a request.
    """

    method: str
    part: str
    kind: str
    times: int
    status: int
    headers: dict[str, str]
    code: str
    met: bool = False


class LoopbackHub:
    """The state of the server, and what tests ask of it.

    Attributes:
        repositories: All repositories, by name.
        requests: Method and path of every request, in order.
        url: Where it listens.
        storage: Where large files are; another host, as it is for the Hub.
    """

    def __init__(self) -> None:
        self.url = self.storage = ""
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all repositories, requests and faults."""
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self._faults: list[Fault] = []

    def fail(
        self,
        method: str,
        part: str,
        kind: str = "status",
        *,
        times: int = 1,
        status: int = 500,
        headers: dict[str, str] | None = None,
        code: str = "",
    ) -> None:
        """Let the next requests of a kind go wrong, see `Fault`."""
        self._faults.append(Fault(method, part, kind, times, status, headers or {}, code))

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault that a request meets."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for fault in self._faults:
                if fault.times and fault.method == method and fault.part in path:
                    fault.times -= 1
                    fault.met = True
                    return fault
        return None

    def faults_met(self) -> bool:
        """Whether a request has met every fault."""
        return all(fault.met for fault in self._faults)

    def repository(self, name: str, *, signed_in: bool) -> Repository:
        """A repository that the caller may read."""
        found = self.repositories.get(name)
        if found is None or (found.private and not signed_in):
            raise Refused(404 if signed_in else 401, "Repository not found", "RepoNotFound")
        return found


@contextmanager
def serving() -> Iterator[LoopbackHub]:
    """Run a Hub on a free port of loopback."""
    hub = LoopbackHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        address = urlsplit(self.path)
        path = address.path
        self.query = parse_qs(address.query)
        self.slow = False
        fault = self.hub.next_fault(self.command, path)
        if fault and fault.kind == "cut" and self.command == "PUT":
            self.rfile.read(int(self.headers["Content-Length"]) // 2)
            self._hang_up()
            return
        self.slow = fault is not None and fault.kind == "slow"
        self.cut = fault is not None and fault.kind == "cut"
        self.body = self._read_body()
        try:
            if fault and fault.kind == "status":
                self.extra_headers = fault.headers
                raise Refused(fault.status, "A fault", fault.code)
            self.extra_headers = {}
            status, headers, content = self._answer(path)
        except Refused as refused:
            status, content = refused.status, json.dumps({"error": refused.message}).encode()
            headers = {"X-Error-Message": refused.message, **self.extra_headers}
            if refused.code:
                headers["X-Error-Code"] = refused.code
        if fault and fault.kind == "lost":
            self._hang_up()
            return
        self._send(status, headers, content)

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Find what a request asks for; its status, headers and content."""
        for method, pattern, function in _ROUTES:
            if method not in (self.command, "GET" if self.command == "HEAD" else ""):
                continue
            if (values := _match(pattern, path)) is not None:
                return function(self, *values)
        raise Refused(404, f"No such address: {self.command} {path}")

    def _read_body(self) -> bytes:
        left = int(self.headers.get("Content-Length") or 0)
        pieces = []
        while left:
            pieces.append(self.rfile.read(min(left, PIECE if self.slow else left)))
            left -= len(pieces[-1])
            if self.slow:
                time.sleep(0.005)
        return b"".join(pieces)

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.cut else content)
            if self.cut:
                self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    @property
    def signed_in(self) -> bool:
        """Whether the token is good."""
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}", f"Bearer {READ_TOKEN}"):
            raise Refused(401, "Invalid credentials in Authorization header")
        return given is not None

    @property
    def role(self) -> str:
        """What the token is good for."""
        return "read" if self.headers.get("Authorization") == f"Bearer {READ_TOKEN}" else "write"

    def _writable(self, name: str) -> Repository:
        if not self.signed_in:
            raise Refused(401, "Unauthorized")
        found = self.hub.repository(name, signed_in=True)
        foreign = name.split("/")[0] != USER and "create_pr" not in self.query
        if foreign or self.role == "read":
            raise Refused(403, "You don't have the rights to write to this repository")
        return found

    def who_am_i(self) -> tuple[int, dict[str, str], bytes]:
        if not self.signed_in:
            raise Refused(401, "Unauthorized")
        token = {"type": "access_token", "accessToken": {"role": self.role}}
        return _json({"name": USER, "type": "user", "orgs": [], "auth": token})

    def create(self) -> tuple[int, dict[str, str], bytes]:
        if not self.signed_in:
            raise Refused(401, "Unauthorized")
        asked = json.loads(self.body)
        owner = asked.get("organization") or USER
        if owner != USER or self.role == "read":
            raise Refused(403, f'You don\'t have the rights to create a model under "{owner}"')
        name = f"{owner}/{asked['name']}"
        told = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repositories:
            return _json({"error": "You already created this model repo", **told}, 409)
        private = asked.get("visibility") == "private" or asked.get("private", False)
        self.hub.repositories[name] = Repository(name, private)
        return _json(told)

    def validate_card(self) -> tuple[int, dict[str, str], bytes]:
        errors = [{"message": error} for error in errors_in_text(json.loads(self.body)["content"])]
        return _json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def create_branch(self, name: str, branch: str) -> tuple[int, dict[str, str], bytes]:
        asked = json.loads(self.body or b"{}")
        self._writable(name).create_branch(branch, asked.get("startingPoint", "main"))
        return _json({})

    def preupload(self, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        repository = self._writable(name)
        there = repository.files(revision)
        told = []
        for file in json.loads(self.body)["files"]:
            path, found = file["path"], there.get(file["path"])
            mode = repository.upload_mode(path, file["size"])
            oid = (found.sha256 or found.blob_id) if found else None
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _json({"files": told, "commitOid": repository.commit_of(revision)})

    def batch(self, name: str) -> tuple[int, dict[str, str], bytes]:
        repository = self._writable(name)
        asked = json.loads(self.body)
        if asked["operation"] != "upload" or asked["hash_algo"] != "sha256":
            raise Refused(422, "Only uploads by SHA-256 are known here.")
        objects = []
        for item in asked["objects"]:
            told = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in repository.objects:
                href = f"{self.hub.storage}/objects/{name}/{item['oid']}"
                verify = f"{self.hub.url}/{name}.git/info/lfs/verify"
                told["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
            objects.append(told)
        return _json({"transfer": "basic", "objects": objects})

    def put_object(self, name: str, sha256: str) -> tuple[int, dict[str, str], bytes]:
        if "Authorization" in self.headers:
            raise Refused(400, "A token was sent to the storage, which has its own keys.")
        self.hub.repositories[name].put_object(sha256, self.body)
        return 200, {}, b""

    def verify(self, name: str) -> tuple[int, dict[str, str], bytes]:
        asked = json.loads(self.body)
        content = self._writable(name).objects.get(asked["oid"])
        if content is None or len(content) != asked["size"]:
            raise Refused(404, "The object was not uploaded whole.")
        return _json({})

    def commit(self, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        repository = self._writable(name)
        if self.headers["Content-Type"] != "application/x-ndjson":
            raise Refused(415, "A commit is application/x-ndjson.")
        lines = [json.loads(line) for line in self.body.splitlines()]
        is_pull_request = self.query.get("create_pr") == ["1"]
        ref = repository.commit(lines, revision, to_pull_request=is_pull_request)
        commit = repository.refs[ref]
        told = {"success": True, "commitOid": commit}
        told["commitUrl"] = f"{self.hub.url}/{name}/commit/{commit}"
        if is_pull_request:
            told["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/{ref.split('/')[-1]}"
        return _json(told)

    def info(self, name: str, revision: str = "main") -> tuple[int, dict[str, str], bytes]:
        repository = self.hub.repository(name, signed_in=self.signed_in)
        files = [{"rfilename": path} for path in repository.files(revision)]
        told = {"id": name, "modelId": name, "private": repository.private, "siblings": files}
        return _json({**told, "sha": repository.commit_of(revision), "tags": []})

    def refs(self, name: str) -> tuple[int, dict[str, str], bytes]:
        repository = self.hub.repository(name, signed_in=self.signed_in)
        branches = [
            {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit}
            for ref, commit in repository.refs.items()
        ]
        return _json({"branches": branches, "converts": [], "tags": []})

    def tree(self, name: str, rest: str) -> tuple[int, dict[str, str], bytes]:
        repository = self.hub.repository(name, signed_in=self.signed_in)
        revision, _, folder = rest.partition("/")
        recursive = self.query.get("recursive") in (["True"], ["true"], ["1"])
        prefix = f"{folder}/" if folder else ""
        told = []
        for path, file in repository.files(revision).items():
            below = path.removeprefix(prefix)
            if path.startswith(prefix) and (recursive or "/" not in below):
                told.append({"path": path, **file.entry})
        if folder and not told:
            raise Refused(404, f"{folder} does not exist", "EntryNotFound")
        return _json(told)

    def resolve(self, name: str, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        repository = self.hub.repository(name, signed_in=self.signed_in)
        headers = {"X-Repo-Commit": repository.commit_of(revision)}
        file = repository.files(revision).get(path)
        if file is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        if not file.sha256:
            return self._range(headers | {"ETag": f'"{file.blob_id}"'}, file)
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        headers["Location"] = f"{self.hub.storage}/objects/{name}/{file.sha256}"
        return 302, headers, b""

    def get_object(self, name: str, sha256: str) -> tuple[int, dict[str, str], bytes]:
        content = self.hub.repositories[name].objects[sha256]
        return self._range({"ETag": f'"{sha256}"'}, File(content))

    def _range(self, headers: dict[str, str], file: File) -> tuple[int, dict[str, str], bytes]:
        """The content, or what a download that was cut off still lacks."""
        content = file.content
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return 206, headers, content[start:]
        if self.command == "HEAD":
            headers |= {"Content-Length": str(len(content))}
        return 200, headers, content


_Route = Callable[..., tuple[int, dict[str, str], bytes]]
# `*` stands for one part of a path, `**` for an owner and a name, `***` for all that follows.
_ROUTES: list[tuple[str, str, _Route]] = [
    ("GET", "api/whoami-v2", _Handler.who_am_i),
    ("POST", "api/repos/create", _Handler.create),
    ("POST", "api/validate-yaml", _Handler.validate_card),
    ("POST", "api/models/**/branch/***", _Handler.create_branch),
    ("POST", "api/models/**/preupload/***", _Handler.preupload),
    ("POST", "api/models/**/commit/***", _Handler.commit),
    ("GET", "api/models/**/refs", _Handler.refs),
    ("GET", "api/models/**/tree/***", _Handler.tree),
    ("GET", "api/models/**/revision/***", _Handler.info),
    ("GET", "api/models/**", _Handler.info),
    ("POST", "**.git/info/lfs/objects/batch", _Handler.batch),
    ("POST", "**.git/info/lfs/verify", _Handler.verify),
    ("PUT", "objects/**/*", _Handler.put_object),
    ("GET", "objects/**/*", _Handler.get_object),
    ("GET", "**/resolve/*/***", _Handler.resolve),
]


def _match(pattern: str, path: str) -> list[str] | None:
    """What stands in a path where a pattern has stars; `None` if it does not fit."""
    expression = re.escape(pattern)
    for stars, part in ((r"\*\*\*", "(.+)"), (r"\*\*", "([^/]+/[^/]+?)"), (r"\*", "([^/]+)")):
        expression = expression.replace(stars, part)
    found = re.fullmatch(expression, path.strip("/"))
    return [unquote(value) for value in found.groups()] if found else None


def _json(told: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(told).encode()
