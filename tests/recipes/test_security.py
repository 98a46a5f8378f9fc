"""What comes from strangers runs no code, writes nothing elsewhere, and sees no secrets."""

import contextlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from transformers import set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from nlp_transfer.word_vectors import open_vectors
from staged_training import InputError
from tests.hub_server.server import TOKEN
from tests.staged_training.conftest import Touch
from transfer_app.command_line import main
from transfer_app.demo import guard
from transfer_app.demo.server import web_app
from transfer_app.prediction.photo_inputs import images

ROOT = Path(__file__).parents[2]
NAME = "someone/model"
TEXT = "Call me before noon"


@pytest.fixture
def folder(tmp_path):
    """A model of texts that was not trained."""
    folder = tmp_path / "model"
    tokenizer = build_vocabulary([TEXT], min_frequency=1)
    set_seed(0)
    RecurrentForSequenceClassification(RecurrentConfig(vocab_size=len(tokenizer))).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def predict(name, tmp_path):
    (tmp_path / "mail.eml").write_text(f"Subject: {TEXT}\n\nNow.")
    return main(["predict", str(name), str(tmp_path / "mail.eml")])


def upload(folder):
    HfApi().create_repo(NAME)
    HfApi().upload_folder(repo_id=NAME, folder_path=folder)


def test_code_that_comes_with_a_model_is_not_run(folder, hub, tmp_path, capsys):
    marker = tmp_path / "it-ran"
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    (folder / "evil.py").write_text(f"{code}class Config: pass\nclass Model: pass\n")
    described = json.loads((folder / "config.json").read_text())
    described["model_type"] = "evil"
    described["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModelForSequenceClassification": "evil.Model",
    }
    (folder / "config.json").write_text(json.dumps(described))
    upload(folder)
    for name in (folder, NAME):
        assert predict(name, tmp_path) == 2
        assert "no model could be loaded" in capsys.readouterr().err
    assert not marker.exists()


def test_pickled_weights_run_nothing(folder, hub, tmp_path, capsys):
    marker = tmp_path / "it-ran"
    (folder / "model.safetensors").unlink()
    torch.save({"embedding": Touch(marker)}, folder / "pytorch_model.bin")
    upload(folder)
    for name in (folder, NAME):
        assert predict(name, tmp_path) == 2
        assert "no model could be loaded" in capsys.readouterr().err
    assert not marker.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()  # it would have


@pytest.mark.parametrize("damage", ["cut", "claimed to be long", "no weights"])
def test_damaged_weights_are_told(damage, folder, tmp_path, capsys):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    long = b"\xff" * 7 + b"\0"
    damaged = {"cut": content[:-100], "claimed to be long": long + content[8:], "no weights": b""}
    file.write_bytes(damaged[damage])
    assert predict(folder, tmp_path) == 2
    assert "no model could be loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage, told",
    [
        ("no head", "lacks .* weights"),
        ("one weight", "lacks .* weights"),
        ("other names", "lacks .* weights"),
        ("another size", "lacks .* weights"),
        ("NaN", "holds invalid values"),
        ("infinity", "holds invalid values"),
        ("whole numbers", "holds invalid values"),
        ("too large", "holds invalid values"),
    ],
)
def test_weights_that_do_not_make_the_model_are_refused(damage, told, folder, tmp_path, capsys):
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = "embedding.weight" if "embedding.weight" in weights else min(weights)
    damaged = {
        "no head": {n: w for n, w in weights.items() if "classifier" not in n},
        "one weight": {name: weights[name]},
        "other names": {f"model.{n}": w for n, w in weights.items()},
        "another size": weights | {name: weights[name][:-1]},
        "NaN": weights | {name: weights[name] * float("nan")},
        "infinity": weights | {name: weights[name] + float("inf")},
        "whole numbers": {n: w.to(torch.int8) for n, w in weights.items()},
        "too large": {n: torch.full_like(w, 3e38) for n, w in weights.items()},
    }
    save_file(damaged[damage], file, {"format": "pt"})
    assert predict(folder, tmp_path) == 2
    shown = capsys.readouterr()
    assert re.search(told, shown.err), shown.err
    assert shown.err.count("\n") == 1 and not shown.out


def test_files_of_the_hub_stay_in_their_folder(folder, hub, tmp_path, capsys):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    parts = {"metadata": {}, "weight_map": {"embedding.weight": "../../../../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(parts))
    upload(folder)
    assert predict(NAME, tmp_path) == 2
    assert "no model could be loaded" in capsys.readouterr().err
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize("member", ["../../outside.txt", "/outside.txt"])
def test_what_is_in_a_zip_is_read_where_it_is(member, tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr(member, "a 1 2\nb 3 4\n")
    assert open_vectors(tmp_path / "v.zip").lookup(["b"])[1].tolist() == [[3, 4]]
    assert [path.name for path in tmp_path.iterdir()] == ["v.zip"]


def test_the_token_is_in_no_file_no_message_and_no_upload(hub, small_data, tmp_path, capfd, caplog):
    folder = tmp_path / "out"
    data = ["--data", str(small_data / "messages.parquet"), "--base", "none", "--quick"]
    target = ["--output-dir", str(folder), "--push-to-hub", NAME]
    hub.fail("POST", "commit/", status=500, times=1)
    assert main(["run", "email-urgency", *data, *target]) == 0
    hub.fail("GET", "whoami", status=401, times=9)
    assert main(["run", "email-urgency", *data, *target, "--output-dir", f"{folder}-2"]) == 2
    said = "".join(capfd.readouterr()) + caplog.text
    uploaded = hub.repositories[NAME].files("main")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert uploaded
    secret = TOKEN.encode()
    assert secret not in said.encode()
    assert not [path for path in written if secret in path.read_bytes()]
    assert not [name for name, file in uploaded.items() if secret in file.content]


def test_mail_does_not_steer_the_terminal_that_lists_it(folder, tmp_path, capsys, caplog):
    names = {
        "\x1b[2J.eml": f"Subject: \x1b]0;owned\x07{TEXT}\n\n\x1b[8mhidden\u202e",
        "\x1b[1m.eml": "",
    }
    for name, content in names.items():
        (tmp_path / "mail" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mail" / name).write_text(content)
    assert main(["predict", str(folder), str(tmp_path / "mail")]) == 0
    assert main(["predict", str(folder), str(tmp_path / "\x1b[2J")]) == 2
    told = capsys.readouterr()
    assert r"\x1b[2J.eml" in told.out and TEXT in told.out
    for shown in (told.out, told.err):
        assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown


@pytest.mark.parametrize(
    ("name", "flags"),
    [("--\x1b[2J", []), ("x", ["--\x1b[2J"])],
)
def test_arguments_that_cannot_be_read_are_shown_escaped(name, flags, folder, capsys):
    for command in (["predict", str(folder), name], ["run", "email-urgency", f"--quick={name}"]):
        with contextlib.suppress(SystemExit):
            assert main([*command, *flags]) == 2
        assert "\x1b" not in capsys.readouterr().err


def test_an_error_is_one_line_whatever_a_file_is_called(folder, capsys):
    assert main(["predict", str(folder), "a\nnlp-transfer: all is well"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_names_of_inputs_that_are_left_out_are_one_line_each(tmp_path, capsys):
    (tmp_path / "\x1b[2J\nb.jpg").write_text("no photo")
    with pytest.raises(InputError):
        images(tmp_path)
    told = capsys.readouterr().err
    assert r"\x1b[2J\nb.jpg" in told and told.count("\n") == 1


@pytest.mark.parametrize("path", ["/etc/passwd", "{folder}/config.json", "{folder}/../mail.eml"])
def test_a_user_of_the_demo_cannot_read_files(path, folder, tmp_path):
    (tmp_path / "mail.eml").write_text("private")
    with TestClient(web_app(str(folder)), "http://localhost") as client:
        found = client.get(f"/gradio_api/file={path.format(folder=folder)}")
    assert found.status_code in (403, 404)


def asked(client, name, *data):
    """What a page's function answers, whatever that is."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if event.status_code != 200:
        return event.text
    return client.get(f"/gradio_api/call/{name}/{event.json()['event_id']}").text


def as_upload(path):
    return [{"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "x.eml"}]


def test_a_request_for_a_file_that_was_not_uploaded_shows_nothing_of_it(folder, tmp_path):
    private = tmp_path / "private.eml"
    private.write_text("Subject: the secret word\n\nis mellon")
    with TestClient(web_app(str(folder)), "http://localhost") as client:
        files = {"files": ("mail.eml", b"Subject: the open word\n\nis friend")}
        (uploaded,) = client.post("/gradio_api/upload", files=files).json()
        assert "friend" in asked(client, "rank", "", as_upload(uploaded))
        beside = Path(uploaded).parent / "other.eml"
        shutil.copy(private, beside.parents[2] / "outside.eml")
        for path in (
            private,
            private.relative_to("/"),
            Path(uploaded).parent / ".." / ".." / ".." / "outside.eml",
            f"file://{private}",
            f"{uploaded}/../../../outside.eml",
            shutil.copy(private, beside),  # among the uploads, where Gradio itself reads all
        ):
            assert "mellon" not in asked(client, "rank", "", as_upload(path)), path


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Host": "127.0.0.1:7860", "Origin": "http://127.0.0.1:7860"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Host": "Inbox.Example.org"}, 200),
        ({"Host": "evil.example.org"}, 403),
        ({"Host": "localhost.evil.example.org"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example.org"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_the_demo_answers_to_its_own_names_and_to_its_own_page(headers, status, folder):
    app = web_app(str(folder), name="inbox.example.org")
    with TestClient(app, "http://localhost") as client:
        assert client.get("/config", headers=headers).status_code == status


def test_the_demo_keeps_no_history_and_no_links_to_it(folder):
    with TestClient(web_app(str(folder)), "http://localhost") as client:
        asked(client, "rank", "a secret mail", None)
        links = ("/gradio_api/deep_link?session_hash=x", "/?deep_link=x", "/?deep%5Flink=x")
        for path in (*links, "/gradio_api/deep%5Flink?session_hash=x", "/gradio_api/runs"):
            assert client.get(path).status_code == 404, path
        assert not client.get("/config").json()["run_history"]


def test_all_uploads_together_have_a_quota_and_do_not_outlive_the_demo(folder, monkeypatch):
    monkeypatch.setattr(guard, "MOST_UPLOADED", 25_000)
    monkeypatch.setattr(guard, "LEAST_BYTES", 0)
    with TestClient(web_app(str(folder)), "http://localhost") as client:

        def upload(count, letter):
            files = [("files", (f"{letter}{n}.txt", letter * 9_000 + str(n))) for n in range(count)]
            return client.post("/gradio_api/upload", files=files)

        assert upload(3, "a").status_code == 413  # in one request
        (first,) = upload(1, "b").json()
        assert upload(1, "c").status_code == 200
        assert upload(1, "d").status_code == 413  # in several
        assert client.post("/gradio_api/upload", content=iter([b"x"])).status_code == 411
        assert Path(first).parents[1].stat().st_mode & 0o077 == 0  # nobody else reads them
    assert not Path(first).exists()


def test_the_tests_that_the_page_names_are_there():
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
