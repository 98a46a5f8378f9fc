"""What a service answers is what `predict` says, one answer for each input, in their order."""

import json
import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from tests.fuzz.targets import PHOTO
from tests.nlp_transfer.odd_mail import ODD_MAILS, SEPARATOR, UNREADABLE
from tests.small_models import TEXTS
from transfer_app.command_line import main

MAILS = sorted((Path(__file__).parents[2] / "data" / "raw_mail").glob("*.eml"))


@pytest.fixture
def predicted(models, capsys):
    """Tells what `predict --json` says of files."""

    def predict(name, *files):
        capsys.readouterr()
        assert main(["predict", str(models / name), *map(str, files), "--json"]) == 0
        return list(map(json.loads, capsys.readouterr().out.splitlines()))

    return predict


def check_same(found, wanted):
    assert [one["input"] for one in found] == [one["input"] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            is_number = name in ("scores", "value", "similarity")
            assert one[name] == (pytest.approx(value, abs=1e-4) if is_number else value)


def answers(response):
    assert response.status_code == 200, response.text
    return response.json()["answers"]


def ask(server, name, *files):
    """The answers to files."""
    parts = [("files", (file.name, file.read_bytes())) for file in files]
    return answers(server.client.post(f"/models/{name}/predict", files=parts))


@pytest.mark.parametrize("name", ["urgency", "complaints", "minutes"])
def test_texts_are_answered_as_rows_of_a_table(name, server, predicted, tmp_path):
    texts = [*TEXTS, " ", "ÜBER\t不看會後悔 🐈", "server " * 2000]
    table = tmp_path / "texts.jsonl"
    table.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts if text.strip()))
    wanted = predicted(name, table)
    inputs = [{"text": text} for text in texts]
    found = answers(server.client.post(f"/models/{name}/predict", json={"inputs": inputs}))
    assert found.pop(3) == {"input": "#4", "problem": "has no text"}
    check_same([one | {"input": ""} for one in found], [one | {"input": ""} for one in wanted])


def test_texts_are_called_what_their_sender_calls_them(server):
    inputs = [{"text": "Call me", "name": "a"}, {"text": "Lunch"}, {"text": "", "name": "a"}]
    found = answers(server.client.post("/models/urgency/predict", json={"inputs": inputs}))
    assert [one["input"] for one in found] == ["a", "#2", "a"]


def test_mails_are_answered_as_files(server, predicted, tmp_path):
    box = mailbox.mbox(tmp_path / "inbox.mbox")
    for text in TEXTS:
        message = EmailMessage()
        message["Subject"] = "Hello"
        message.set_content(text)
        box.add(message)
    box.close()
    files = [*MAILS[:3], tmp_path / "inbox.mbox", *MAILS[3:]]
    check_same(ask(server, "urgency", *files), predicted("urgency", *files))


def test_what_cannot_be_read_is_told_in_its_place(server, tmp_path):
    (tmp_path / "Sent").write_bytes(2 * (SEPARATOR + b"Subject: mbox\n\nThe pump has stopped.\n\n"))
    for name, content in (ODD_MAILS | UNREADABLE).items():
        (tmp_path / name.decode("ascii", "replace")).write_bytes(content)
    files = sorted(tmp_path.iterdir())
    found = ask(server, "urgency", *files)
    broken = {one["input"]: one["problem"] for one in found if "problem" in one}
    assert broken.keys() == {name.decode() for name in UNREADABLE}
    assert broken["notes.txt"] == "is not mail (.eml, .msg, mbox)"
    assert broken["headless.eml"] == "has no mail headers"
    assert len(found) == len(files) + 1  # two messages of one file


def test_photos_are_answered_as_files(server, predicted, tmp_path):
    turned = Image.open(PHOTO).rotate(90, expand=True)
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("I;16", (40, 30), 900).save(tmp_path / "deep.png")
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.webp")
    files = [PHOTO, *sorted(tmp_path.iterdir())]
    wanted = predicted("pets", *files)
    found = ask(server, "pets", *files)
    check_same(found, [one | {"input": Path(one["input"]).name} for one in wanted])
    assert "similarity" in found[0] and "accepted" in found[0]


def test_photos_that_are_none_are_told_in_their_place(server, tmp_path):
    (tmp_path / "a.jpg").write_bytes(PHOTO.read_bytes()[:5000])
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100))
    (tmp_path / "d.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    Image.new("1", (20_000, 5_100)).save(tmp_path / "e.png")
    found = ask(server, "pets", *sorted(tmp_path.iterdir()), PHOTO)
    problems = [one.get("problem", "") for one in found]
    beginnings = ["is damaged", "is not an image", "is HEIC", "is not an image", "is 20,000", ""]
    assert len(problems) == len(beginnings)
    assert all(map(str.startswith, problems, beginnings)), problems


def test_a_model_that_was_not_exported_is_run_by_pytorch(server, predicted):
    check_same(ask(server, "plain", *MAILS), predicted("plain", *MAILS))
    for name, field in (("finder", "boxes"), ("teller", "caption")):
        (wanted,) = predicted(name, PHOTO)
        (one,) = ask(server, name, PHOTO)
        assert one == wanted | {"input": PHOTO.name} and field in one
    assert server.logged().count("PyTorch runs the model") == 1


def test_models_are_described(server, models):
    runs_by = {one["name"]: one["runs_by"] for one in server.client.get("/models").json()["models"]}
    exported = dict.fromkeys(("urgency", "complaints", "minutes", "pets"), "ONNX Runtime")
    assert runs_by == exported | dict.fromkeys(("plain", "finder", "teller"), "PyTorch")
    found = server.client.get("/models/urgency").json()
    assert len(found.pop("version")) == 12
    assert found == {
        "name": "urgency",
        "task": "text-classification",
        "runs_by": "ONNX Runtime",
        "labels": ["calm", "urgent"],
        "problem_type": "single_label_classification",
        "positive_label": "urgent",
    }
    card = server.client.get("/models/urgency/card")
    assert card.text == (models / "urgency" / "README.md").read_text()
    assert card.headers["content-type"] == "text/markdown; charset=utf-8"
    assert server.client.get("/models/pets/card").status_code == 404


def test_whether_it_works_may_be_asked_without_a_body(server):
    answered = server.client.head("/health")
    assert (answered.status_code, answered.content) == (200, b"")


def test_what_is_not_there_is_not_found(server):
    for path in (
        "/models/x",
        "/models/x/card",
        "/docs",
        "/redoc",
        "/models/",
        "/../etc/passwd",
        "/x",
    ):
        assert server.client.get(path).status_code == 404
    assert server.client.post("/models/x/predict", json={}).status_code == 404
    asked = server.client.post("/predict", json={})
    assert asked.status_code == 404 and "/models/NAME/predict" in asked.text
    assert server.client.get("/models/urgency/predict").status_code == 405


def test_exported_models_are_served_without_pytorch(guarded):
    maps = Path(f"/proc/{guarded.process.pid}/maps").read_text()
    assert "onnxruntime" in maps and "libtorch" not in maps
