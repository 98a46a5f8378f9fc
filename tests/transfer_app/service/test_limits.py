"""What is too large, too much, too slow or from others is refused, and the service goes on."""

import io
import json
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from tests.fuzz.demo_requests import send
from tests.transfer_app.service.conftest import TOKENS
from tests.transfer_app.service.servers import serving

LIMITS = {
    "--max-megabytes": 1,
    "--max-inputs": 5,
    "--max-megapixels": 100,
    "--max-waiting": 20,
    "--timeout": 2,
}
FLAGS = [str(word) for flag in LIMITS.items() for word in flag]
SECRET = "mellon"
TOKEN, OTHER, _ = TOKENS
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A service of little patience."""
    folder = tmp_path_factory.mktemp("limited")
    with serving(folder, models / "urgency", models / "pets", flags=FLAGS) as server:
        yield server


@pytest.fixture(autouse=True)
def _goes_on(request):
    """After each test, the service answers as ever, and has told nothing of what it was sent."""
    server = request.getfixturevalue("server")
    yield
    end = time.monotonic() + 20
    while (answered := answers(server).status_code) != 200:
        assert answered in (429, 503) and time.monotonic() < end  # it ends what it began
    lines = server.logged().splitlines()
    assert all(line.startswith("INFO: ") and SECRET not in line for line in lines)


def answers(server):
    """A good request."""
    return server.client.post("/models/urgency/predict", json={"inputs": [{"text": "Lunch"}]})


def post(server, content, name="urgency", **headers):
    """The status and the reason of a refusal."""
    found = server.client.post(f"/models/{name}/predict", content=content, headers=JSON | headers)
    return found.status_code, found.json()["detail"]


def head(length):
    """The head of a request for predictions of so many bytes."""
    lines = {"Host": "localhost", "Content-Length": length} | JSON
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /models/urgency/predict HTTP/1.1\r\n{told}\r\n".encode()


def texts(count, text=SECRET):
    return json.dumps({"inputs": [{"text": text}] * count}).encode()


def test_what_is_too_large_is_refused_whether_its_length_is_told_or_not(server):
    large = texts(1, SECRET * 200_000)
    wanted = 413, "A request may have 1 MB."
    assert post(server, large) == wanted
    assert post(server, (large[n : n + 1000] for n in range(0, len(large), 1000))) == wanted
    answer = send(server.port, "POST", "/models/urgency/predict", b"", {"Content-Length": 10**12})
    assert answer.startswith(b"HTTP/1.1 413")


def test_too_many_inputs_are_refused(server):
    wanted = 413, "A request may have 5 inputs."
    assert post(server, texts(6)) == wanted
    mail = b"From a@b Mon Jun  3 10:15:00 2024\nSubject: mellon\n\nText.\n\n"
    files = {"files": ("inbox.mbox", 6 * mail)}
    found = server.client.post("/models/urgency/predict", files=files)
    assert (found.status_code, found.json()["detail"]) == wanted
    files = [("files", (f"{n}.eml", mail)) for n in range(6)]
    assert server.client.post("/models/urgency/predict", files=files).status_code == 400


def test_a_text_is_no_longer_than_what_is_read_of_a_mail(server):
    assert post(server, texts(1, "a" * 300_001)) == (
        422,
        "inputs.0.text: String should have at most 300000 characters.",
    )
    body = texts(1, "a" * 300_000)
    assert server.client.post("/models/urgency/predict", content=body, headers=JSON).is_success


def test_images_are_together_no_larger_than_one_may_be(server):
    image = io.BytesIO()
    Image.new("1", (8000, 8000)).save(image, "png")
    files = 2 * [("files", ("a.png", image.getvalue()))]
    found = server.client.post("/models/pets/predict", files=files)
    assert found.status_code == 413 and "100 million pixels" in found.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The body: Invalid JSON"),
        (b"\xff", "The body: Invalid JSON"),
        (b"[" * 10**5, "The body: Invalid JSON: recursion limit"),
        (b"[]", "The body: Input should be an object."),
        (b"{}", "inputs: Field required."),
        (b'{"inputs": []}', "inputs: List should have at least 1 item"),
        (b'{"inputs": [{"text": "a"}, {"text": 3}]}', "inputs.1.text: Input should be a valid str"),
        (b'{"inputs": [{"text": "\\ud800"}]}', "The body: Invalid JSON"),
        (b'{"inputs": [{"name": "mellon"}]}', "inputs.0.text: Field required."),
    ],
)
def test_what_is_not_as_described_is_refused_by_place(body, reason, server):
    status, told = post(server, body)
    assert status == 422
    assert told.startswith(reason)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b"mellon", 415),
        ("", b"mellon", 415),
        ("application/x-www-form-urlencoded", b"files=mellon", 415),
        ("multipart/form-data", b"mellon", 400),
        ("multipart/form-data; boundary=" + "b" * 500, b"mellon", 400),
        ("multipart/form-data; boundary=b", b"mellon", 400),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b; charset=hex", b"--b--\r\n", 422),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nmellon\r\n--b--\r\n',
            422,
        ),
    ],
)
def test_a_body_that_is_none_of_those_described_is_refused(kind, body, status, server):
    assert post(server, body, **{"Content-Type": kind})[0] == status


def test_a_model_of_images_takes_no_texts(server):
    assert post(server, texts(1), name="pets") == (415, "Send images, as multipart/form-data.")


def test_a_request_that_does_not_arrive_is_given_up(server):
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(head(99) + b'{"inputs"')
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))  # to its end
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"The request was not there within 2 seconds." in answer


def test_an_answer_that_takes_too_long_is_given_up(server):
    image = io.BytesIO()
    Image.new("RGBA", (10_000, 9_990)).save(image, "png")  # alpha takes longer to read
    files = {"files": ("a.png", image.getvalue())}

    def ask(_):
        with httpx.Client(base_url=server.address, timeout=60) as client:
            return client.post("/models/pets/predict", files=files)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert {one.status_code for one in found} <= {200, 503}
    late = [one for one in found if one.status_code == 503]
    assert late and all(one.headers["Retry-After"] == "1" for one in late)
    assert server.memory("VmHWM") < 3500


def test_a_client_that_leaves_makes_room(server):
    """Also where it was the last to come."""
    body = texts(5, "server " * 20_000)
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head(len(body)) + body)
    begin = time.monotonic()
    while "gone" not in server.logged():
        assert time.monotonic() - begin < 20
        time.sleep(0.05)


def test_other_names_and_pages_of_others_are_refused(server):
    for headers in (
        {"Host": "evil.example.org"},
        {"Host": "127.0.0.1.evil.example.org"},
        {"Host": ""},
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
    ):
        assert server.client.get("/models", headers=headers).status_code == 403
    own = {"Host": f"localhost:{server.port}", "Origin": f"http://localhost:{server.port}"}
    assert server.client.get("/models", headers=own).status_code == 200


def test_who_brings_no_token_is_told_nothing_but_that_the_service_works(guarded):
    for headers in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer \u00e9".encode("latin-1")},
    ):
        for path in ("/models", "/models/pets/card", "/openapi.json", "/x"):
            found = guarded.client.get(path, headers=headers)
            assert (found.status_code, found.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert guarded.client.post("/predict", headers=headers).status_code == 401
    assert guarded.client.get("/health").json() == {"status": "ok"}


def test_who_asks_too_often_has_to_wait_and_others_need_not(guarded):
    def ask(token, scheme="Bearer"):
        headers = {"Authorization": f"{scheme} {token}", "Host": "nlp.example.org"}
        return guarded.client.get("/models", headers=headers)

    found = [ask(TOKEN) for _ in range(6)]
    assert [one.status_code for one in found] == [200] * 5 + [429]
    assert 1 <= int(found[-1].headers["Retry-After"]) <= 12
    assert ask(OTHER, "bearer").status_code == 200
    assert TOKEN not in guarded.logged()


def test_the_log_has_a_line_for_each_request_and_quotes_nothing(server):
    server.client.get(f"/models?{SECRET}")
    server.client.get(f"/{SECRET}")
    server.client.request(SECRET.upper(), f"/models/{SECRET}/predict")
    post(server, b"", **{"Content-Type": SECRET, "Authorization": SECRET})
    wanted = ["GET /models 200", "GET - 404", "- - 405", "POST /models/urgency/predict 415"]
    end = time.monotonic() + 20
    while (lines := server.logged().splitlines()[-4:])[-1].split()[-3] != "415":
        assert time.monotonic() < end  # it is written when all is sent
    assert [re.sub(r" \d+ ms$", "", line.removeprefix("INFO: ")) for line in lines] == wanted
    assert SECRET.upper() not in server.logged()


@pytest.mark.parametrize(
    "sent",
    [
        b"mellon\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: mellon\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: localhost\r\nX: " + 10**5 * b"x" + b"\r\n\r\n",
        os.urandom(5000),
    ],
)
def test_what_is_no_http_ends_the_connection(sent, server):
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(2**16):
            pass
