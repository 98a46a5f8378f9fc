"""What a person corrects becomes rows of a table that the next model learns from."""

import pytest

from nlp_transfer.emails import read_texts
from tests.small_models import save_text_model
from tests.transfer_app.inbox.processes import Marking, until
from transfer_app.command_line import main

URGENT = b"Subject: Server\n\nThe server is down\n"
LUNCH = b"Subject: Lunch\n\nLunch was good\n"


def rows(file):
    dataset = read_texts(file).dataset
    return sorted(zip(dataset["text"], dataset["label"], strict=True))


@pytest.fixture
def learn(server, user, model):
    """Mark mail, and learn."""

    def run(file, *flags):
        arguments = ["--model", str(model), "--once", "--learn-from", str(file), *flags]
        assert main(["mark", server.url(user), *arguments]) == 0

    return run


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_marks_that_are_given_and_taken_are_labels(ending, server, user, learn, tmp_path):
    file = tmp_path / f"corrections.{ending}"
    quote = "'" if ending in ("csv", "tsv") else ""  # or spreadsheets would compute it
    server.deliver(user, URGENT, LUNCH, URGENT, LUNCH, b"Subject: =SUM(A1)\n\nThe server is down")
    learn(file)
    assert not file.exists()
    with server.client(user) as client:
        client.remove_flags([1, 5], ["$Urgent"])
        client.add_flags([2], ["$Urgent"])
        client.delete_messages([3])
        client.expunge()
    learn(file, "--dry-run")
    assert not file.exists()
    for _ in range(2):
        learn(file)
        assert file.stat().st_mode & 0o777 == 0o600
        assert rows(file) == sorted(
            [
                (f"{quote}=SUM(A1)\nThe server is down", "non-urgent"),
                ("Lunch\nLunch was good", "urgent"),
                ("Server\nThe server is down", "non-urgent"),
            ]
        )


def test_they_are_added_to_those_that_are_there_and_each_once(server, user, learn, tmp_path):
    file = tmp_path / "corrections.csv"
    file.write_text("text,label\nOlder,urgent\n")
    server.deliver(user, LUNCH, LUNCH)
    learn(file)
    with server.client(user) as client:
        client.add_flags([1, 2], ["$Urgent"])
    learn(file)
    assert rows(file) == [("Lunch\nLunch was good", "urgent"), ("Older", "urgent")]


def test_a_correction_is_learnt_while_mail_is_waited_for(server, user, model, tmp_path):
    server.deliver(user, LUNCH)
    file = tmp_path / "corrections.csv"
    with Marking(server.url(user), "--model", model, "--learn-from", file) as marking:
        marking.wait_for("Waiting")
        with server.client(user) as client:
            client.add_flags([1], ["$Urgent"])
        until(file.exists)
    assert rows(file) == [("Lunch\nLunch was good", "urgent")]


def test_mail_that_was_marked_before_is_no_correction(server, user, learn, tmp_path):
    file = tmp_path / "corrections.csv"
    server.deliver(user, LUNCH)
    with server.client(user) as client:
        client.add_flags([1], ["$Urgent"])
    learn(file)
    with server.client(user) as client:
        client.remove_flags([1], ["$Urgent"])
    learn(file)
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("mine.csv", "text,label,fold\na,b,1\n", "a file of its own"),
        ("mine.csv", "subject\na\n", "a file of its own"),
        ("mine.txt", None, ".parquet"),
        ("no/mine.csv", None, "there is no folder"),
    ],
)
def test_a_table_that_cannot_be_added_to_is_refused_before_a_model_is_loaded(
    name, content, told, server, user, tmp_path, capsys
):
    if content:
        (tmp_path / name).write_text(content)
    flags = ["--model", "no model", "--learn-from", str(tmp_path / name)]
    assert main(["mark", server.url(user), *flags]) == 2
    assert told in capsys.readouterr().err


def test_a_model_of_more_labels_is_refused(server, user, tmp_path, capsys):
    save_text_model(tmp_path / "model", "single_label_classification")
    flags = ["--model", str(tmp_path / "model"), "--learn-from", str(tmp_path / "a.csv")]
    assert main(["mark", server.url(user), *flags, "--label", "bill"]) == 2
    assert "--learn-from needs a model that chooses one of two" in capsys.readouterr().err
