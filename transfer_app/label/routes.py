"""What the page asks for, examples and hints, and what it tells: answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from staged_training.runtime.command import command_line
from staged_training.runtime.errors import InputError
from staged_training.runtime.printable import one_line
from transfer_app.label.hints import said_of, words_of
from transfer_app.label.session import RefusedError, Session

router = APIRouter()
_KEY = Field(pattern="^[0-9a-f]{16}$")


class Window(BaseModel):
    """A window of a browser."""

    model_config = ConfigDict(extra="forbid", strict=True)

    window: str = Field(pattern="^[0-9a-z]{1,40}$")


class About(Window):
    """Something about an example."""

    key: str = _KEY


class Answer(About):
    """An answer; no label means "not sure"."""

    label: str | None


class Name(Window):
    """The name of a label."""

    name: str


def _session(request: Request) -> Session:
    session: Session = request.app.state.session
    return session


Current = Annotated[Session, Depends(_session)]


def row_of(session: Session, key: str) -> int:
    """Return the number of an example.

    Raises:
        HTTPException: There is none, as the page was opened for other data.
    """
    try:
        return session.keys.index(key)
    except ValueError:
        raise HTTPException(404, "This page was opened for other data. Load it again.") from None


@contextmanager
def _told(failed: str) -> Iterator[None]:
    """Answer why something is refused, or cannot be written to disk.

    Args:
        failed: What did not come of it then.
    """
    try:
        yield
    except RefusedError as error:
        raise HTTPException(409, str(error)) from None
    except InputError as error:
        raise HTTPException(507, f"{failed}: {error}") from None


@router.get("/")
def page(request: Request) -> HTMLResponse:
    """Return the page."""
    headers = {
        "Content-Security-Policy": request.app.state.policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(request.app.state.page, headers=headers)


@router.post("/next")
def following(session: Current, window: Window) -> dict[str, Any]:
    """Return what a window shows now."""
    return _state(session, window.window)


@router.post("/answer")
def answer(session: Current, given: Answer) -> dict[str, Any]:
    """Keep an answer, and return the next example."""
    row = row_of(session, given.key)
    with _told("Your answer was not kept"):
        session.answer(given.window, row, given.label)
    return _state(session, given.window)


@router.post("/skip")
def skip(session: Current, about: About) -> dict[str, Any]:
    """Ask an example later, and return the next one."""
    session.skip(about.window, row_of(session, about.key))
    return _state(session, about.window)


@router.post("/undo")
def undo(session: Current, window: Window) -> dict[str, Any]:
    """Take back what a window did last, and return that example."""
    with _told("Nothing was taken back"):
        session.undo(window.window)
    return _state(session, window.window)


@router.post("/labels")
def add_label(session: Current, name: Name) -> dict[str, Any]:
    """Add a label."""
    with _told("The label was not added"):
        session.add_label(name.name)
    return _state(session, name.window)


@router.post("/leave")
def leave(session: Current, window: Window) -> None:
    """Forget a window that was closed."""
    session.leave(window.window)


@router.get("/progress")
def progress(session: Current) -> dict[str, Any]:
    """Return how far labelling has come, and how good a model of it is."""
    return _progress(session)


@router.get("/hints/{key}")
def hint(session: Current, key: str) -> dict[str, Any]:
    """Return what a model of the other answers says of an example, and the words that mattered."""
    row = row_of(session, key)
    said = said_of(session.snapshot(), row)
    if said is None:
        raise HTTPException(409, "A model can say something once two labels were given.")
    found: dict[str, Any] = {"scores": said.scores, "question": said.question}
    if session.pool.kind == "text":
        words, told = words_of(session.pool, row, said)
        found["words"] = [[word.start, word.end, word.attribution] for word in words]
        found["told"] = told
    return found


@router.post("/end")
def end(session: Current, request: Request) -> dict[str, Any]:
    """End the server, and return the command that usually follows, if there is a table for it."""
    try:
        count = session.write_table()
    except InputError:  # the page and the terminal tell why
        count = None
    request.app.state.end()
    following = command_line(*request.app.state.following) if count else None
    return {**_progress(session), "following": following}


def _state(session: Session, window: str) -> dict[str, Any]:
    row = session.example_for(window)
    return {
        "example": None if row is None else _example(session, row),
        "can_undo": session.can_undo(window),
        **_progress(session),
    }


def _example(session: Session, row: int) -> dict[str, Any]:
    pool = session.pool
    about = {"key": session.keys[row], "name": one_line(pool.names[row]), "kind": pool.kind}
    if pool.kind == "image":
        return about
    text = str(pool.contents[row]).encode(errors="replace").decode()  # halves of characters
    return {**about, "text": text, "subject": _length_of_subject(session, row)}


def _length_of_subject(session: Session, row: int) -> int:
    """Return how many characters of a text are its first column, where it has several."""
    pool = session.pool
    if len(pool.text_columns) < 2:
        return 0
    subject = str(pool.rows[pool.text_columns[0]][row].as_py() or "").strip()
    return len(subject) if pool.contents[row].startswith(f"{subject}\n") else 0


def _progress(session: Session) -> dict[str, Any]:
    points, told, may_stop = session.curve()
    done, of = session.batch()
    return {
        "labels": session.names,
        "labelled": session.labelled,
        "total": len(session.keys),
        "batch": [done, of],
        "counted": session.counted(),
        "curve": points,
        "quality": told,
        "may_stop": may_stop,
        "is_busy": session.is_busy,
        "problem": session.problem,
    }
