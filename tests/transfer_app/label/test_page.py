"""The page over HTTP: answers that a killed server had told of, and requests that are refused."""

import io
import json
import random
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.small_data import small_photos
from tests.transfer_app.label.pages import labelling
from transfer_app.command_line import main
from transfer_app.label.log import log_of

WORDS = ("mails.csv", "--base", "none", "--output", "labels.csv", "--label-names", "asks", "tells")


@pytest.fixture
def page(mails, tmp_path, forks):
    with labelling(*WORDS, folder=tmp_path, forks=forks) as page:
        yield page


@pytest.fixture(scope="module")
def shared(_mails, tmp_path_factory):
    """A page that no test ends, in a process as a person starts it."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(_mails[1].source, folder)
    with labelling(*WORDS, folder=folder) as page:
        yield page


def test_no_answer_is_lost_however_often_the_server_is_killed(mails, tmp_path, forks):
    told = {}
    draw = random.Random(0)
    for _ in range(2):
        with labelling(*WORDS, folder=tmp_path, forks=forks) as page:
            killer = threading.Timer(draw.uniform(0.1, 0.6), page.process.kill)
            killer.start()
            try:
                while True:
                    example, label = page.shown(), draw.choice(["asks", "tells"])
                    assert example["key"] not in told
                    said = page.ask("/answer", key=example["key"], label=label)
                    assert said.status_code == 200
                    told[example["key"]] = label
            except httpx.TransportError:
                killer.join()
    with labelling(*WORDS, folder=tmp_path, forks=forks) as page:
        kept = {line["key"]: line["label"] for line in page.logged()}
        assert told and told.items() <= kept.items()
        assert len(kept) <= len(told) + 2  # what was kept, and not told of
        if open_ones := kept.keys() - told.keys():  # the page sends such an answer again
            key = open_ones.pop()
            assert page.ask("/answer", key=key, label=kept[key]).status_code == 200
        assert page.ask("/next").json()["labelled"] == len(kept) == len(page.logged())
        page.stop()
    table = pd.read_csv("labels.csv")
    assert sorted(table["label"]) == sorted(kept.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_ended_leaves_a_whole_table(number, page):
    for label in ("asks", "tells", None):
        page.answer(label)
    told, problems = page.stop(number)
    assert len(pd.read_csv("labels.csv")) == 2
    assert told.splitlines()[0] == "labels.csv holds 2 labels."
    following = "Next:   nlp-transfer run text-classifier --data labels.csv"
    if number == signal.SIGINT:  # as the page says
        assert page.process.returncode == 0
        assert told.splitlines()[1] == following and not problems
    else:
        assert page.process.returncode == 143
        assert problems.strip() == "nlp-transfer: stopped"


def test_the_button_ends_it_with_the_command_that_follows(page):
    page.answer("asks")
    ended = page.ask("/end").json()
    assert ended["following"] == "nlp-transfer run text-classifier --data labels.csv"
    told, problems = page.process.communicate(timeout=30)
    assert page.process.returncode == 0 and not problems
    assert told.splitlines() == ["labels.csv holds 1 label.", f"Next:   {ended['following']}"]
    assert len(pd.read_csv("labels.csv")) == 1


def test_a_second_server_on_the_same_answers_is_refused(page, capsys):
    assert main(["label", *WORDS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "labels.csv.answers.jsonl is in use" in line
    page.answer("asks")


def test_a_table_that_is_not_its_own_is_not_written_over(mails, capsys):
    Path("labels.csv").write_text("mine")
    assert main(["label", *WORDS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nlp-transfer: labels.csv: is there already")
    assert Path("labels.csv").read_text() == "mine" and not log_of(Path("labels.csv")).exists()


def test_a_table_beside_the_log_of_another_is_not_written_over(page, capsys):
    page.answer("asks")
    page.stop()
    Path("labels.tsv").write_text("mine")
    assert main(["label", *WORDS[:4], "labels.tsv"]) == 2
    assert "labels.tsv: is there already" in capsys.readouterr().err
    assert Path("labels.tsv").read_text() == "mine"


def test_the_input_is_not_written_over(mails, tmp_path, capsys):
    before = Path("mails.csv").read_bytes()
    log_of(Path("mails.csv")).write_text('{"answer":"label"}\n')
    assert main(["label", "mails.csv", "--output", str(tmp_path / "mails.csv")]) == 2
    assert "mails.csv: is the input" in capsys.readouterr().err
    assert Path("mails.csv").read_bytes() == before
    (tmp_path / "photos").mkdir()
    small_photos(tmp_path)
    assert main(["label", "photos", "--output", "photos/metadata.csv"]) == 2
    assert "metadata.csv: would be taken for the table of all photos" in capsys.readouterr().err


def test_nothing_is_left_and_no_command_follows_where_no_label_was_given(mails, tmp_path, forks):
    with labelling(*WORDS, folder=tmp_path, forks=forks) as page:
        before = {*tmp_path.iterdir()}
        assert page.ask("/end").json()["following"] is None
        told, _ = page.process.communicate(timeout=30)
        assert told == "No label was given, so labels.csv was not written.\n"
        assert page.process.returncode == 0
    assert {*tmp_path.iterdir()} == before - {log_of(tmp_path / "labels.csv")}


def test_a_start_that_fails_leaves_no_log(mails, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["label", *WORDS, "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("(Address already in use). Give another --port.")
    assert main(["label", *WORDS, "--port", "99999"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "nlp-transfer: --port 99999: ports go from 0 to 65535. Give another --port."
    assert not log_of(Path("labels.csv")).exists()


def test_a_table_that_could_not_be_written_is_told_at_the_end(mails, tmp_path, forks):
    name = f"{'l' * 236}.csv"  # too long for what is written beside it first, not for the log
    with labelling(*WORDS[:4], name, "--label-names", "asks", folder=tmp_path, forks=forks) as page:
        page.answer("asks")
        assert page.ask("/end").json()["following"] is None
        told, problems = page.process.communicate(timeout=30)
    assert page.process.returncode == 2 and not told
    assert f"All answers are in {log_of(Path(name))}: the same command writes" in problems


def test_an_answer_of_another_window_is_not_written_over(shared):
    before, example = len(shared.logged()), shared.shown("one")
    assert shared.shown("two")["key"] != example["key"]
    shared.ask("/answer", "one", key=example["key"], label="asks")
    late = shared.ask("/answer", "two", key=example["key"], label="tells")
    assert late.status_code == 409
    assert "Another window answered 'asks' of this one meanwhile." in late.json()["detail"]
    assert len(shared.logged()) == before + 1


def test_a_page_of_other_data_answers_nothing(shared):
    said = shared.ask("/answer", key="0" * 16, label="asks")
    assert said.status_code == 404 and "Load it again" in said.json()["detail"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({}, 200),
    ],
)
def test_pages_of_others_get_and_change_nothing(headers, status, shared):
    before, example = len(shared.logged()), shared.shown()
    body = {"window": "first", "key": example["key"], "label": "asks"}
    for method, path, given in [("GET", "/", None), ("POST", "/answer", body)]:
        assert (
            shared.client.request(method, path, json=given, headers=headers).status_code == status
        )
    assert len(shared.logged()) == before + (status == 200)


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/answer", {"window": "a", "key": "x", "label": "asks"}, 422),
        ("/answer", {"window": "a", "key": "0" * 16, "label": 3}, 422),
        ("/answer", {"window": "a", "key": "0" * 16, "label": float("nan")}, 422),
        ("/answer", {"window": "a", "key": "0" * 16, "label": "\ud800"}, 404),
        ("/labels", {"window": "a", "name": "a\ud800"}, 409),
        ("/labels", {"window": "a", "name": "a" * 201}, 409),
        ("/answer", {"window": "a", "key": "0" * 16, "label": "a", "more": 1}, 422),
        ("/next", {"window": "../../a"}, 422),
        ("/next", {"window": "a" * 2_000_000}, 413),
        ("/labels", {"window": "a", "name": "\x1b[2J"}, 409),
    ],
)
def test_bodies_are_checked(path, body, status, shared):
    headers = {"Content-Type": "application/json"}
    answered = shared.client.post(path, content=json.dumps(body), headers=headers)
    assert answered.status_code == status
    if status == 422:  # and what was sent is not repeated
        assert answered.json()["detail"] == "This is not what the page asks for. Load it again."


def test_nothing_of_the_disk_is_served(shared):
    for path in ("/photos/../labels.csv", "/photos/%2e%2e%2fmails.csv", "/mails.csv", "/docs"):
        assert shared.client.get(path).status_code == 404
    key = shared.shown()["key"]
    assert shared.client.get(f"/photos/{key}").status_code == 404


def test_the_page_may_load_nothing_of_others_and_no_script_but_its_own(shared):
    answered = shared.client.get("/")
    policy = answered.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert not re.findall(r"(?:src|href)=\"(?!data:,)", answered.text)
    assert "innerHTML" not in answered.text
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'", policy)


def test_photos_are_shown_upright_and_as_browsers_can(tmp_path, forks):
    (tmp_path / "photos").mkdir()
    deep = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(deep).save("photos/deep.tif")
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.new("RGB", (40, 20), "red").save("photos/turned.jpg", exif=exif)
    Image.new("RGB", (40, 20), "blue").save("photos/gone.jpg")
    Image.new("RGB", (3000, 20)).save("photos/large.png")
    small_photos(tmp_path)
    arguments = ("photos", "--output", "labels.csv")
    with labelling(*arguments, folder=tmp_path, forks=forks) as page:
        Path("photos/gone.jpg").unlink()
        sizes = {}
        for _ in range(4):
            example = page.answer("it")
            answered = page.client.get(f"/photos/{example['key']}")
            if answered.status_code == 200:
                assert answered.headers["content-type"] == "image/jpeg"
                sizes[example["name"]] = Image.open(io.BytesIO(answered.content)).size
            else:
                assert answered.status_code == 404 and example["name"] == "gone.jpg"
        assert sizes == {"deep.tif": (40, 30), "turned.jpg": (20, 40), "large.png": (1600, 11)}
        assert page.shown() is None


def test_the_next_batch_does_not_wait_for_the_quality(shared):
    taken = []
    for _ in range(60):
        start = time.perf_counter()
        shared.answer("asks" if len(taken) % 3 else "tells")
        taken.append(time.perf_counter() - start)
    assert np.median(taken) < 1
