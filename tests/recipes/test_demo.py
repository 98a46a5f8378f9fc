"""What the demo reads, refuses and shows; how it is used is tested in `tests/browser`."""

import socket
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from transformers import set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.explanation import Word, in_words
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from staged_training import InputError
from staged_training.heads.conformal import LabelSets
from transfer_app.command_line import main
from transfer_app.demo import photos, texts
from transfer_app.demo.page import MOST_BYTES
from transfer_app.demo.photos import read_photos
from transfer_app.demo.server import serve, web_app
from transfer_app.demo.texts import marked, read_inbox
from transfer_app.prediction.opening import open_predictor

TEXT = "Call me before noon"


@pytest.fixture
def folder(tmp_path):
    """A model of mail that was not trained."""
    tokenizer = build_vocabulary([TEXT], min_frequency=1)
    set_seed(0)
    config = RecurrentConfig(
        vocab_size=len(tokenizer), id2label={0: "later", 1: "now"}, label2id={"later": 0, "now": 1}
    )
    RecurrentForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_page_is_served_and_bound_to_what_comes_from_here(folder):
    with TestClient(web_app(str(folder)), "http://localhost") as client:
        answer = client.get("/")
        config = client.get("/config").json()
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    labels = [component["props"].get("label") for component in config["components"]]
    assert "A mail" in labels
    assert "googleapis" not in answer.text


def test_what_is_uploaded_does_not_outlive_the_demo_and_is_not_too_large(folder):
    with TestClient(web_app(str(folder)), "http://localhost") as client:

        def upload(content):
            return client.post("/gradio_api/upload", files={"files": ("a.txt", content)})

        assert upload(b"x" * (MOST_BYTES + 1)).status_code == 413
        (path,) = upload(b"a mail").json()
        assert Path(path).read_bytes() == b"a mail"
    assert not Path(path).exists()


def test_a_port_that_is_taken_or_a_folder_without_a_model_is_told(folder, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="Give another --port"):
            serve(str(folder), "127.0.0.1", taken.getsockname()[1])
    assert main(["demo", str(tmp_path / "nothing")]) == 2
    assert "no model could be loaded" in capsys.readouterr().err


def test_what_is_pasted_and_dropped_is_read_together(tmp_path):
    (tmp_path / "a.eml").write_text("Subject: Hello\n\nThe text.")
    (tmp_path / "b.txt").write_text("plain")
    (tmp_path / "c.eml").write_text("")
    files = [str(tmp_path / name) for name in ("a.eml", "b.txt", "c.eml")]
    found, notes = read_inbox("pasted text", files)
    assert [item.content for item in found] == ["pasted text", "Hello\nThe text.", "plain"]
    (note,) = notes
    assert note.startswith("Left out: c.eml")


def test_what_is_too_much_is_cut_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "MOST_MAILS", 3)
    box = tmp_path / "box.mbox"
    mail = "From a@b Mon Jun  3 10:15:00 2024\nSubject: {}\n\nText.\n\n"
    box.write_text("".join(mail.format(n) for n in range(9)))
    found, notes = read_inbox("x" * (texts.MOST_CHARACTERS + 1), [str(box)])
    assert len(found) == 3
    assert len(found[0].content) == texts.MOST_CHARACTERS
    assert any("Only the first 3 mails" in note for note in notes)
    assert any("1 mails were cut after 20,000 characters" in note for note in notes)
    assert read_inbox("  ", [])[1] == ["There is no mail to rank: paste one, or drop files."]


def test_the_marked_text_is_the_whole_text():
    words = [Word(0, 4, 2.0), Word(5, 7, -1.0), Word(8, 14, 0.05), Word(15, 19, 0.5)]
    pieces = marked(f"{TEXT}!", words)
    assert "".join(piece for piece, _ in pieces) == f"{TEXT}!"
    assert [piece for piece in pieces if piece[1] is not None] == [
        ("Call", 1.0),
        ("me", -0.5),
        ("noon", 0.25),
    ]
    assert in_words(TEXT, words) == "Most for it: Call, noon, before\nMost against it: me"


def test_a_word_that_mattered_twice_is_named_once():
    words = [Word(0, 4, 2.0), Word(5, 8, 1.5), Word(9, 13, 1.0)]
    assert in_words("Call now Call", words) == "Most for it: Call, now\nMost against it: none"


def test_photos_that_cannot_be_decoded_or_are_too_many_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PHOTOS", 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no photo")
    files = [str(tmp_path / name) for name in ("a.png", "b.jpg", "a.png")]
    found, notes = read_photos(files)
    assert [item.name for item in found] == ["a.png"]
    assert notes[0].startswith("Left out: b.jpg")
    assert notes[1] == "Only the first 2 photos were taken."


def test_a_model_of_mail_scores_what_the_page_shows(folder):
    page = texts.blocks(open_predictor(str(folder)))
    (rank, *_) = [function for function in page.fns.values() if function.inputs]
    found, *_, text, summary = rank.fn(TEXT, None)
    assert found[0].text == TEXT
    assert sum(found[0].answer.fields["scores"].values()) == pytest.approx(1, abs=1e-3)
    assert "".join(piece["token"] for piece in text.value) == TEXT
    assert summary.value.startswith("Most for it: ")


def test_the_sample_photos_come_with_it():
    assert all((photos.PHOTOS / name).exists() for name in photos.SAMPLES)


def test_with_a_coverage_what_is_not_sure_is_left_to_people(folder):
    sets = LabelSets(0.9, {"later": 0.0, "now": 0.0})
    with TestClient(web_app(str(folder), sets=sets), "http://localhost") as client:
        sent = {"data": ["Call me before noon", None]}
        (event,) = client.post("/gradio_api/call/rank", json=sent).json().values()
        told = client.get(f"/gradio_api/call/rank/{event}").text
    assert "not sure: please look" in told
