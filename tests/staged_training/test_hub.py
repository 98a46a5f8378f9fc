"""Cards that the Hub accepts, pushes that are refused before any work, and faults on the way."""

import ast
import hashlib
import logging

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, get_token
from transformers import AutoModelForSequenceClassification, BertConfig

from staged_training import InputError
from staged_training.experiment.outcome import Row
from staged_training.reporting.hub import Destination, Task, check_push, push, usage, write_card
from staged_training.runtime.printable import printable
from tests.hub_server.card_rules import errors_in_text
from tests.hub_server.server import READ_TOKEN, TOKEN

TASK = Task("text-classification", "Email urgency", "messages", {"average_precision": "AP"})
NAME = "someone/model"
TO = Destination(NAME)


@pytest.fixture
def folder(tmp_path):
    """A model with a card, a report, and the remains of its training."""
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    path = tmp_path / "model"
    AutoModelForSequenceClassification.from_config(config).save_pretrained(path)
    row = Row("net", {"average_precision": 0.45678, "accuracy": 0.9})
    write_card(path, "Urgency", TASK, row, ["## Limits"], license_id="mit", tags=["email"])
    for stays in ("report/index.html", "runs/fold-0/model.safetensors", "_stages/head/stage.json"):
        (path / stays).parent.mkdir(parents=True)
        (path / stays).write_text("stays")
    return path


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_uploaded(hub, folder, revision="main"):
    files = hub.repositories[NAME].files(revision)
    for name in ("README.md", "config.json", "model.safetensors"):
        assert files[name].content == (folder / name).read_bytes()
    assert not any(name.startswith(("report", "runs", "_stages")) for name in files)


def test_the_card_holds_the_metrics_for_the_hub(folder):
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("average_precision", 0.4568)
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["nlp-transfer", "email"]
    assert card.text.strip() == "# Urgency\n\n## Limits"
    assert not errors_in_text((folder / "README.md").read_text())


def test_a_push_brings_the_model_and_neither_report_nor_what_was_needed_to_train_it(hub, folder):
    assert push(folder, check_push(Destination("model"))).startswith(f"{hub.url}/{NAME}/commit/")
    assert_uploaded(hub, folder)
    loaded = AutoModelForSequenceClassification.from_pretrained(NAME)
    saved = AutoModelForSequenceClassification.from_pretrained(folder)
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_push_can_be_private_to_a_branch_or_a_pull_request(hub, folder):
    push(folder, Destination(NAME, private=True, revision="trial"))
    assert hub.repositories[NAME].private
    assert_uploaded(hub, folder, "trial")
    assert "config.json" not in hub.repositories[NAME].files("main")
    assert push(folder, Destination(NAME, create_pr=True)).endswith("/discussions/2")
    assert_uploaded(hub, folder, "refs/pr/2")
    assert "config.json" not in hub.repositories[NAME].files("main")


def test_a_push_without_login_or_with_a_bad_name_is_refused(hub, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="is not a name for the Hub"):
        check_push(Destination("not a name"))
    with pytest.raises(InputError, match="can upload for someone"):
        check_push(Destination("another/model"))
    with pytest.raises(InputError, match="leave `hub_revision` out"):
        check_push(Destination(NAME, revision="trial", create_pr=True))
    HfApi().create_repo(NAME)
    with pytest.raises(InputError, match="for all to see"):
        check_push(Destination(NAME, private=True))
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(InputError, match="read-only"):
        check_push(TO)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(InputError, match="renewed by `hf auth login`"):
        check_push(TO)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert get_token() is None
    with pytest.raises(InputError, match="needs a login"):
        check_push(TO)


def test_a_hub_that_cannot_be_reached_is_told_before_any_work(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="train without `push_to_hub`"):
        check_push(TO)


PASSING = {
    "busy when the repository is made": ("POST", "repos/create", {"status": 503}),
    "too many requests, with a time": (
        *("POST", "repos/create"),
        {"status": 429, "headers": {"Retry-After": "1"}},
    ),
    "an error before the upload": ("POST", "preupload", {"status": 500}),
    "an error of the large-file batch": ("POST", "objects/batch", {"status": 502}),
    "a connection cut in the middle of an upload": ("PUT", "objects/", {"kind": "cut"}),
    "an error of the storage": ("PUT", "objects/", {"status": 500}),
    "a slow server": ("PUT", "objects/", {"kind": "slow"}),
    "an error of the commit": ("POST", "/commit/", {"status": 500}),
    "a commit whose answer is lost": ("POST", "/commit/", {"kind": "lost"}),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fault, hub, folder):
    method, part, options = PASSING[fault]
    hub.fail(method, part, **options)
    before = contents(folder)
    push(folder, TO)
    assert hub.faults_met()
    assert_uploaded(hub, folder)
    assert contents(folder) == before
    assert hub.repositories[NAME].messages == ["initial commit", "Upload model and card"]


LASTING = {
    "a token that expired": (
        *("POST", "repos/create", {"status": 401, "times": 99}),
        "hf auth login",
    ),
    "no right to write": ("POST", "preupload", {"status": 403, "times": 99}, "403 Forbidden"),
    "a server that is down": ("POST", "repos/create", {"status": 500, "times": 99}, "500"),
    "a large file that does not arrive whole": (
        *("POST", "lfs/verify", {"status": 404, "times": 99}),
        "model.safetensors",
    ),
    "a full account": ("POST", "objects/batch", {"status": 413, "times": 99}, "413"),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_does_not_pass_is_told_and_nothing_is_lost(fault, hub, folder):
    method, part, options, said = LASTING[fault]
    hub.fail(method, part, **options)
    before = contents(folder)
    with pytest.raises(InputError) as caught:
        push(folder, TO)
    assert hub.faults_met()
    assert said in str(caught.value)
    assert f"whole in {folder}" in str(caught.value)
    assert f"hf upload {NAME} {folder}" in str(caught.value)
    assert contents(folder) == before
    assert "config.json" not in getattr(hub.repositories.get(NAME), "files", lambda _: {})("main")


@pytest.mark.parametrize("folder_name", ["a b", 'x"', "it's", "😀é", "a\nb", "\x1b\u202e", "a\\b"])
def test_code_on_a_card_loads_the_folder_whatever_it_is_called(folder_name):
    code = usage("text-classification", folder_name, '"Hello"')
    assert printable(code) == code
    tree = ast.parse(code.removeprefix("```python\n").removesuffix("\n```"))
    (model,) = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    assert ast.literal_eval(model) == folder_name


def test_a_card_that_the_hub_rejects_is_told_before_the_weights_are_sent(hub, folder):
    (folder / "README.md").write_text("---\nlicense: mine\n---\n")
    with pytest.raises(InputError, match=r'"license" must be one of'):
        push(folder, TO)
    assert not hub.repositories[NAME].objects


def test_the_token_is_never_told_nor_written(hub, folder, caplog):
    caplog.set_level(logging.DEBUG)
    hub.fail("POST", "repos/create", status=500)
    hub.fail("POST", "preupload", status=403, times=99)
    with pytest.raises(InputError) as caught:
        push(folder, TO)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text
    for path in folder.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
