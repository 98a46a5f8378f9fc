"""What strangers send to a demo in a real server: it fills no disk, no memory and no log."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI

from tests.fuzz.demo_requests import send, serving
from tests.fuzz.model_folders import MODELS
from transfer_app.demo import guard
from transfer_app.demo import page as demo_page
from transfer_app.demo.server import web_app

UPLOAD = "/gradio_api/upload"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
CLIENT = httpx.Client(timeout=30)
SECRET = "mellon \x1b[2J"


def part(name, file, content):
    head = f'Content-Disposition: form-data; name="{name}"; filename="{file}"'
    return f"--b\r\n{head}\r\n\r\n{content}\r\n"


def upload(port, *parts):
    """Upload a form, and return the first line of the answer."""
    content = "".join([*parts, "--b--\r\n"]).encode()
    return send(port, "POST", UPLOAD, content, FORM).partition(b"\r\n")[0]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of the demo of a model of mail."""
    folder = tmp_path_factory.mktemp("demo") / "model"
    MODELS["recurrent"](folder)
    with serving(web_app(str(folder))) as port:
        yield port


@pytest.fixture
def left(port):
    """Lists the files that lie there beyond those that lay there before the test."""
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    before = {*uploads.rglob("*")}
    return lambda: [path for path in uploads.rglob("*") if path not in before and path.is_file()]


@pytest.fixture
def room(port):
    """Tells of what size all uploads may be, for so many bytes more than lie there."""
    return lambda size: guard._bytes_in(Path(os.environ["GRADIO_TEMP_DIR"])) + size


def wait_until(met):
    end = time.monotonic() + 20
    while not met():
        assert time.monotonic() < end
        time.sleep(0.01)


def ask(port, function, data):
    """Call a function of the page; return the status, and what it answers."""
    address = f"http://localhost:{port}/gradio_api/call/{function}"
    called = CLIENT.post(address, json={"data": data})
    if called.status_code != 200:
        return called.status_code, called.text
    return 200, CLIENT.get(f"{address}/{called.json()['event_id']}").text


def test_what_is_uploaded_in_another_way_does_not_stay(port, left):
    for name, file in (("other", "a.eml"), ("files", "..")):
        upload(port, part(name, file, "a mail"))
        assert not left()


@pytest.mark.parametrize("patience", [0.5, 600])
def test_an_upload_that_is_cut_off_or_too_slow_makes_room(patience, port, left, room, monkeypatch):
    monkeypatch.setattr(guard, "LEAST_BYTES", 0)
    monkeypatch.setattr(guard, "MOST_UPLOADED", room(100_000))
    monkeypatch.setattr(guard, "LONGEST_UPLOAD", patience)
    content = part("files", "a.eml", "x" * 60_000).encode()
    lines = {"Host": "localhost", "Content-Length": 90_000} | FORM
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"POST {UPLOAD} HTTP/1.1\r\n{head}\r\n".encode() + content)
        wait_until(left)
        assert b"413" in upload(port, part("files", "b.eml", "b" * 20_000))
        if patience < 1:
            assert b"408" in connection.recv(100)
    wait_until(lambda: not left())
    assert b"200" in upload(port, part("files", "b.eml", "b" * 20_000))


def test_a_file_that_is_read_again_and_again_takes_no_room(port, left):
    content = f"{part('files', 'd.eml', 'Subject: Lunch')}--b--\r\n".encode()
    path = json.loads(send(port, "POST", UPLOAD, content, FORM).partition(b"\r\n\r\n")[2])[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert "event: complete" in ask(port, "rank", ["", [file] * 3])[1]
    assert "at most 500 files" in ask(port, "rank", ["", [file] * 501])[1]
    upload(port, part("files", "d.eml", "Subject: Lunch"))
    assert left() == [Path(path)]


def test_a_length_that_does_not_count_is_not_believed(port, left):
    form = f"{part('files', 'c.eml', 'x' * 100)}--b--\r\n"
    content = f"{len(form):x}\r\n{form}\r\n0\r\n\r\n".encode()
    headers = FORM | {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    assert b"411" in send(port, "POST", UPLOAD, content, headers)
    assert not left()


def test_many_empty_files_fill_the_room_too(port, left, room, monkeypatch):
    monkeypatch.setattr(guard, "MOST_UPLOADED", room(10 * guard.LEAST_BYTES))
    for number in range(5):
        upload(port, *(part("files", f"{number}-{name}.eml", "") for name in range(4)))
    assert 8 <= len(left()) <= 16


@pytest.mark.parametrize(
    "data", [["", {"path": 3, "name": SECRET}], [SECRET], [[SECRET], SECRET], [{"a": SECRET}, [3]]]
)
def test_the_log_says_where_a_request_failed_and_quotes_nothing_of_it(data, port, capfd, caplog):
    status, answer = ask(port, "rank", data)
    assert status == 200 and "event: error" in answer and "That did not work." in answer
    told = caplog.text + "".join(capfd.readouterr())
    assert "demo/page.py" in told
    assert "mellon" not in told and "\x1b" not in told


def test_a_function_that_the_page_does_not_have_is_not_found(port, caplog):
    assert ask(port, "%1b[2J", [])[0] == 404
    for number in (99, -1):
        body = {"data": [], "fn_index": number, "session_hash": "x"}
        asked = CLIENT.post(f"http://localhost:{port}/gradio_api/queue/join", json=body)
        assert asked.status_code == 404
    assert "\x1b" not in caplog.text


def test_functions_of_a_page_wait_for_each_other_and_few_are_remembered(monkeypatch):
    monkeypatch.setattr(demo_page, "MOST_SESSIONS", 2)
    monkeypatch.setattr(demo_page, "MOST_WAITING", 3)
    at_work, seen = [], []

    def work():
        at_work.append(1)
        time.sleep(0.1)
        seen.append(len(at_work))
        at_work.pop()

    page = demo_page.new_page("A page")
    with page:
        for name in ("one", "two"):
            gr.Button().click(work, api_name=name)
        gr.State([])
    app = FastAPI()
    demo_page.mount(app, page)
    with serving(app) as port, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, port, name, []) for name in ("one", "two") * 4]
        statuses = {answer.result()[0] for answer in asked}
    assert seen and set(seen) == {1}
    assert statuses == {200, 503}
    assert len(page.state_holder.session_data) <= 2
