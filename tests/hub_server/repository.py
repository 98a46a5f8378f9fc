"""What the loopback Hub keeps: repositories with branches, commits and large files, in memory."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from tests.hub_server.card_rules import errors_in_card

LARGE_SUFFIXES = (".safetensors", ".onnx", ".png", ".parquet", ".bin")
MOST_REGULAR_BYTES = 10 * 2**20


class Refused(Exception):  # noqa: N818
    """The server answers with an error status.

    Args:
        status: The HTTP status.
        message: What the client is told.
        code: The error code of the Hub, such as `RepoNotFound`.
    """

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class File:
    """A committed file; the content of a large one is that of its object."""

    content: bytes
    sha256: str = ""

    @property
    def blob_id(self) -> str:
        """As git names it; a large file by its pointer."""
        content = self.content
        if self.sha256:
            pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
            content = pointer.format(self.sha256, len(content)).encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def entry(self) -> dict[str, Any]:
        """What listings say of it, but for its path."""
        told: dict[str, Any] = {"type": "file", "oid": self.blob_id, "size": len(self.content)}
        if self.sha256:
            told["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return told


@dataclass
class Repository:
    """A model repository.

    Attributes:
        name: `owner/name`.
        private: Whether only its owner can read it.
        objects: Large files that were uploaded, by SHA-256; committed or not.
        commits: The files of each commit, by its id.
        refs: The commit at the head of each branch and pull request.
        messages: The message of each commit, in order.
    """

    name: str
    private: bool
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._add_commit("main", {".gitattributes": File(b"")}, "initial commit")

    def files(self, revision: str) -> dict[str, File]:
        """The files at a branch or commit."""
        return self.commits[self.commit_of(revision)]

    def commit_of(self, revision: str) -> str:
        """The commit that a branch, a pull request or an id names."""
        commit = self.refs.get(revision, revision)
        if commit not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def create_branch(self, name: str, start: str = "main") -> None:
        """Add a branch."""
        if name in self.refs:
            raise Refused(409, f"Reference already exists: {name}")
        self.refs[name] = self.commit_of(start)

    def upload_mode(self, path: str, size: int) -> str:
        """Whether a file has to go by Git LFS."""
        large = path.endswith(LARGE_SUFFIXES) or size > MOST_REGULAR_BYTES
        return "lfs" if large else "regular"

    def put_object(self, sha256: str, content: bytes) -> None:
        """Take the content of a large file, if it is what it is said to be."""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Refused(400, "The content does not have the SHA-256 that was announced.")
        self.objects[sha256] = content

    def commit(self, lines: list[dict[str, Any]], revision: str, *, to_pull_request: bool) -> str:
        """Apply a commit, whole or not at all; returns the ref that it went to."""
        header, *operations = lines
        if header["key"] != "header" or not header["value"].get("summary"):
            raise Refused(400, "The first line must be a header with a summary.")
        parent = self.commit_of(revision)
        if header["value"].get("parentCommit", parent) != parent:
            raise Refused(412, "The parent commit is not the head of the branch.")
        files = dict(self.commits[parent])
        for operation in operations:
            self._apply(operation["key"], operation["value"], files)
        if errors := errors_in_card(files):
            raise Refused(400, "Invalid metadata in README.md: " + "; ".join(errors))
        ref = f"refs/pr/{len(self.refs)}" if to_pull_request else revision
        if not to_pull_request and revision not in self.refs:
            raise Refused(400, f"{revision} is not a branch.")
        self._add_commit(ref, files, header["value"]["summary"])
        return ref

    def _apply(self, kind: str, value: dict[str, Any], files: dict[str, File]) -> None:
        path = value["path"]
        if path.startswith("/") or ".." in path.split("/") or ".git" in path.split("/"):
            raise Refused(400, f"{path!r} is not a path in a repository.")
        if kind == "deletedFile":
            if path not in files:
                raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            del files[path]
        elif kind == "file":
            content = base64.b64decode(value["content"], validate=True)
            if self.upload_mode(path, len(content)) == "lfs" and content:
                raise Refused(400, f"{path} has to be uploaded by Git LFS.")
            files[path] = File(content)
        elif kind == "lfsFile":
            content_or_none = self.objects.get(value["oid"])
            if content_or_none is None:
                raise Refused(400, f"{path}: LFS pointer pointed to a file that does not exist.")
            if len(content_or_none) != value["size"]:
                raise Refused(400, f"{path}: the size is not that of the uploaded object.")
            files[path] = File(content_or_none, value["oid"])
        else:
            raise Refused(400, f"{kind} is not an operation.")

    def _add_commit(self, ref: str, files: dict[str, File], message: str) -> None:
        named = json.dumps([self.name, len(self.messages), message, sorted(files)])
        commit = hashlib.sha1(named.encode()).hexdigest()
        self.commits[commit] = files
        self.refs[ref] = commit
        self.messages.append(message)
