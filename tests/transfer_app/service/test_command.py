"""How a service starts, what it refuses to start with, and how it ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import httpx
import psutil
import pytest

from tests.transfer_app.service.servers import COMMAND, environment, serving
from transfer_app.command_line import main

TOKEN = "NLP_TRANSFER_TOKEN"


@pytest.fixture
def refused(capsys, monkeypatch):
    """Tells in what one line a start is refused."""
    monkeypatch.delenv(TOKEN, raising=False)

    def refuse(*arguments):
        assert main(["serve", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        (line,) = printed.err.splitlines()
        assert not printed.out
        return line

    return refuse


def test_models_that_cannot_be_served_are_refused(models, tmp_path, refused):
    (tmp_path / "urgency").mkdir()
    assert "no such folder" in refused(tmp_path / "nothing")
    assert "no such folder" in refused("someone/urgency")
    assert "both would be served as urgency" in refused(models / "urgency", tmp_path / "urgency")
    assert "both would be served as urgency" in refused(models / "urgency", models / "urgency")
    assert "no model could be loaded" in refused(tmp_path / "urgency", "--port", "0")
    assert "is a model of CT" in refused(models / "ct", "--port", "0")


def test_an_address_that_cannot_be_listened_on_is_refused_before_a_model_is_loaded(
    tmp_path, refused
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Give another --port" in refused(tmp_path, "--port", port)
    assert "Give another --port" in refused(tmp_path, "--port", "100000")
    assert "--host 127.0.0.1.1" in refused(tmp_path, "--host", "127.0.0.1.1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_others_are_not_served_without_a_token(host, tmp_path, refused):
    assert f"--host {host}: others reach" in refused(tmp_path, "--host", host, "--port", "0")


@pytest.mark.parametrize("token", ["", " ", "short", "sixteen letters, and a comma", "ü" * 20])
def test_a_token_that_is_none_is_refused_and_not_shown(token, tmp_path, refused, monkeypatch):
    monkeypatch.setenv(TOKEN, token)
    line = refused(tmp_path)
    assert f"{TOKEN} holds no token" in line
    assert not token.strip() or token not in line


@pytest.mark.parametrize("flag", ["--max-inputs", "--timeout", "--rate", "--max-megapixels"])
def test_a_limit_of_nothing_is_refused(flag, tmp_path, refused):
    assert f"{flag} is 0; give 1 or more" in refused(tmp_path, flag, "0")


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "python_multipart", "onnxruntime"])
def test_what_is_not_installed_is_told(missing, tmp_path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    assert "pip install 'nlp-transfer[serve]'" in refused(tmp_path)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends_what_is_under_way_and_then_itself(number, status, models, tmp_path):
    inputs = {"inputs": [{"text": "The server is down. " * 400}] * 30}
    found = []
    with serving(tmp_path, models / "minutes", models / "urgency") as server:

        def ask():
            with httpx.Client(base_url=server.address, timeout=30) as client:
                found.append(client.post("/models/minutes/predict", json=inputs))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(psutil.Process(server.process.pid).net_connections()) < 4:  # it listens, too
            assert all(thread.is_alive() for thread in threads)
        time.sleep(0.1)
        assert server.client.get("/health").status_code == 200  # which came after those
        server.process.send_signal(number)
        assert server.process.wait(20) == status
        for thread in threads:
            thread.join()
        assert server.logged().rstrip().endswith("nlp-transfer: stopped")
        assert "Traceback" not in server.logged()
    assert [one.status_code for one in found] == [200] * 3


def test_idle_and_half_made_connections_do_not_keep_it_from_ending(models, tmp_path):
    with serving(tmp_path, models / "minutes") as server:
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for connection in sockets[10:]:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            )
        sockets[0].sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        )
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 143
        for connection in sockets:
            connection.close()


def test_a_connection_on_which_no_request_comes_is_ended(models, tmp_path, monkeypatch):
    patched = (
        "import sys; from transfer_app.service import connections; connections.PATIENCE = 0.5; "
        "from transfer_app.command_line import main; sys.exit(main(sys.argv[1:]))"
    )
    monkeypatch.setattr(
        "tests.transfer_app.service.servers.COMMAND", [sys.executable, "-c", patched, "serve"]
    )
    with serving(tmp_path, models / "minutes") as server:

        def lives(*parts):
            """How long a connection lives on which these come, one each tenth of a second."""
            begin = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
                connection.settimeout(0.1)
                for part in [*parts, *50 * [b""]]:
                    try:
                        connection.sendall(part)
                        if not connection.recv(2**16):
                            break
                    except TimeoutError:
                        continue
                    except OSError:
                        break
            return time.monotonic() - begin

        get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        post = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        assert lives() < 3
        assert lives(*50 * [b"G"]) < 3
        assert lives(get, *50 * [b"G"]) < 3
        assert lives(post, *50 * [b"x"]) < 3  # it was answered by 404, and goes on
        assert lives(*10 * [get], *50 * [b"G"]) > 1

        # One that is busy for longer than that is not idle when it is answered.
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(head + b"Content-Length: 14\r\n\r\n")
            for _ in range(14):
                time.sleep(0.1)
                connection.sendall(b"x")
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come one by one
                answer += connection.recv(2**16)
            assert answer.startswith(b"HTTP/1.1 422")
            time.sleep(0.2)
            connection.sendall(get)
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200")


def test_many_idle_connections_keep_nobody_out(models, tmp_path, monkeypatch):
    few = ["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh", *COMMAND]
    monkeypatch.setattr("tests.transfer_app.service.servers.COMMAND", few)
    with serving(tmp_path, models / "minutes") as server, ExitStack() as connections:
        for _ in range(200):
            idle = socket.create_connection(("127.0.0.1", server.port))
            connections.enter_context(idle)
        assert server.client.get("/health").status_code == 200


def test_a_model_that_fails_is_refused(models, tmp_path, refused):
    shutil.copytree(models / "minutes", tmp_path / "model")
    vocabulary = {"[UNK]": 10**6}
    (tmp_path / "model" / "SHA256SUMS").unlink()
    (tmp_path / "model" / "tokenizer.json").unlink(missing_ok=True)
    (tmp_path / "model" / "vocab.json").write_text(json.dumps(vocabulary))
    assert "the model fails" in refused(tmp_path / "model", "--port", "0")


def test_a_service_on_loopback_needs_no_token_and_has_its_names(models, tmp_path):
    with serving(tmp_path, models / "minutes", flags=("--host", "localhost")) as server:
        found = server.client.post("/predict", json={"inputs": [{"text": "Lunch"}]})
        assert found.status_code == 200
        assert server.client.get("/health", headers={"Host": "[::1]:80"}).status_code == 200


def test_it_says_where_it_is_and_what_comes_next(models, tmp_path):
    command = [*COMMAND, models / "minutes", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert first.startswith("minutes served at http://127.0.0.1:")
    assert second.startswith("Next:   curl http://127.0.0.1:")
    assert os.environ.get(TOKEN) is None
