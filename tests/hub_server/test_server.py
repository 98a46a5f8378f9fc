"""The loopback Hub is as strict as the Hub: what that rejects does not pass in tests either."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server.card_rules import errors_in_text
from tests.hub_server.repository import Refused, Repository

NAME = "someone/model"
WEIGHTS = bytes(range(256)) * 400


@pytest.fixture
def api(hub):
    api = HfApi()
    api.create_repo(NAME)
    return api


def upload(api, content, path, **options):
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=NAME, **options)


def test_what_was_uploaded_comes_back(api, hub):
    upload(api, WEIGHTS, "model.safetensors")
    upload(api, b"{}", "config.json")
    upload(api, b"deep", "a/b/c.txt")
    folder = snapshot_download(NAME)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.*")}
    found = {name: content for name, content in found.items() if name != ".gitattributes"}
    assert found.pop("model.safetensors") == WEIGHTS
    assert found.pop("config.json") == b"{}"
    assert found.pop("a/b/c.txt") == b"deep"
    assert list(hub.repositories[NAME].objects) == [hashlib.sha256(WEIGHTS).hexdigest()]


def test_a_commit_that_changes_nothing_is_not_made(api, hub):
    upload(api, WEIGHTS, "model.safetensors")
    upload(api, b"{}", "config.json")
    before = len(hub.repositories[NAME].messages)
    upload(api, WEIGHTS, "model.safetensors")
    upload(api, b"{}", "config.json")
    assert len(hub.repositories[NAME].messages) == before


def test_a_pull_request_leaves_main_as_it_was(api, hub):
    commit = upload(api, b"{}", "config.json", create_pr=True)
    assert commit.pr_revision == "refs/pr/1"
    assert "config.json" not in hub.repositories[NAME].files("main")
    file = hf_hub_download(NAME, "config.json", revision=commit.pr_revision)
    assert Path(file).read_bytes() == b"{}"


def test_a_private_model_is_not_there_for_others(hub, monkeypatch):
    HfApi().create_repo(NAME, private=True)
    assert HfApi().model_info(NAME).private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info(NAME)


def test_what_is_not_there_is_told_apart(api):
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(NAME, "nothing.json")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(NAME, "config.json", revision="nowhere")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("someone/else", "config.json")


def test_a_bad_token_and_foreign_names_are_refused(api):
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_wrong").whoami()
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("another/model")


def test_a_large_file_that_was_not_uploaded_cannot_be_committed(api, hub):
    operation = CommitOperationAdd("model.safetensors", WEIGHTS)
    api.preupload_lfs_files(NAME, [operation])
    hub.repositories[NAME].objects.clear()
    with pytest.raises(BadRequestError, match="does not exist"):
        api.create_commit(NAME, [operation], commit_message="no content")
    assert "model.safetensors" not in hub.repositories[NAME].files("main")


def test_an_object_with_another_digest_is_refused():
    repository = Repository(NAME, private=False)
    with pytest.raises(Refused, match="SHA-256"):
        repository.put_object("0" * 64, WEIGHTS)


def test_a_card_with_bad_front_matter_stops_the_upload(api, hub):
    bad = b"---\nlicense: mine\n---\n# Card\n"
    with pytest.raises(ValueError, match="license"):
        upload(api, bad, "README.md")
    assert "README.md" not in hub.repositories[NAME].files("main")


@pytest.mark.parametrize(
    ("front_matter", "said"),
    [
        ("license: [", "Invalid YAML"),
        ("tags: email", "array of strings"),
        ("pipeline_tag: telling-urgency", "pipeline_tag"),
        ("language: english language", "ISO 639"),
        ("base_model: /home/me/model", "base_model"),
        ("model-index:\n- results: []", "name"),
        (
            "model-index:\n- name: m\n  results:\n  - task: {type: text-classification}\n"
            "    dataset: {type: my data, name: x}\n    metrics: [{type: f1, value: .nan}]",
            "pattern",
        ),
        (
            "model-index:\n- name: m\n  results:\n  - task: {type: text-classification}\n"
            "    dataset: {type: data, name: x}\n    metrics: [{type: f1, value: .nan}]",
            "must be a number",
        ),
    ],
)
def test_front_matter_that_the_hub_refuses_is_refused(front_matter, said):
    assert said in "; ".join(errors_in_text(f"---\n{front_matter}\n---\n"))
