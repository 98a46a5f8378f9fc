"""The word-embeddings recipe on a slice, and its vectors in the hands of the next recipe."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from nlp_transfer import build_vocabulary, open_vectors
from nlp_transfer.emails import read_texts
from transfer_app.command_line import main

MAILS = Path(__file__).parents[2] / "recipes" / "data" / "related_emails" / "corpus.parquet"


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    path = tmp_path_factory.mktemp("mails") / "mails.parquet"
    pd.read_parquet(MAILS).iloc[::15].to_parquet(path)
    return path


def run(mails, small_data, folder, *flags):
    return main(
        [
            *("run", "word-embeddings", "--data", str(mails)),
            *("--task", str(small_data / "messages.parquet"), "--output-dir", str(folder)),
            *("--quick", "--dim", "16", *flags),
        ]
    )


@pytest.fixture(scope="module")
def learnt(mails, small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mail-vectors"
    assert run(mails, small_data, folder) == 0
    return folder


def test_every_word_of_the_task_that_the_corpus_has_gets_a_vector(learnt, mails, small_data):
    words = [word for word, _ in open_vectors(learnt)]
    corpus = build_vocabulary(read_texts(mails).dataset["text"], min_frequency=1)
    counts = corpus.init_kwargs["token_counts"]
    occurs = {word: counts[number] for word, number in corpus.get_vocab().items()}
    task = build_vocabulary(
        read_texts(small_data / "messages.parquet").dataset["text"], min_frequency=1
    )
    of_task = set(task.get_vocab()) - {"[PAD]", "[UNK]"}
    assert {word for word in of_task if occurs.get(word)} <= set(words)
    assert any(occurs[word] < 5 for word in words)  # rare, but of the task
    assert all(occurs[word] >= 5 or word in of_task for word in words)
    assert [occurs[w] for w in words] == sorted((occurs[w] for w in words), reverse=True)


def test_the_folder_holds_the_vectors_their_card_and_report_and_nothing_else(learnt):
    assert {path.name for path in learnt.iterdir()} == {"README.md", "report", "vectors.txt"}
    card = ModelCard.load(learnt / "README.md")
    assert "word-embeddings" in card.data.tags
    assert "open_vectors" in card.text and "glove-6b-50d" in card.text
    report = (learnt / "report" / "report.md").read_text()
    for told in (
        "Quick run",
        "WordSim-353",
        "gram8-plural",
        "Without one",
        "Nearest",
        "`epochs`: `1`",
        "(map.png)",
    ):
        assert told in report
    assert (learnt / "report" / "map.png").exists()


def test_results_stand_beside_those_of_glove(learnt):
    rows = json.loads((learnt / "report" / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["skip-gram", "glove-6b-50d"]
    ours, glove = (row["metrics"] for row in rows)
    assert glove["wordsim353"] == pytest.approx(0.503, abs=0.001)
    assert glove["analogies"] == pytest.approx(7393 / 14877)
    assert 0 < ours["wordsim353_coverage"] < glove["wordsim353_coverage"] == 1
    assert 0.5 < ours["task_types"] < ours["task_tokens"] < 1


def test_email_urgency_learns_on_the_vectors(learnt, small_data, tmp_path, capsys):
    status = main(
        [
            *("run", "email-urgency", "--quick", "--proxy", "none", "--base", "none"),
            *("--data", str(small_data / "messages.parquet")),
            *("--vectors", str(learnt), "--output-dir", str(tmp_path / "out")),
        ]
    )
    assert status == 0
    assert "mail-vectors, fine-tuned" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("model", ["fasttext", "glove", "window"])
def test_other_models_learn_too(model, mails, small_data, tmp_path):
    small = tmp_path / "mails.parquet"
    pd.read_parquet(mails).head(60).to_parquet(small)
    assert run(small, small_data, tmp_path / "out", "--model", model) == 0
    vectors = open_vectors(tmp_path / "out")
    words, rows = zip(*vectors, strict=True)
    assert vectors.dim == 16 and np.isfinite(rows).all() and np.std(rows) > 0
    task = read_texts(small_data / "messages.parquet").dataset["text"]
    absent = set(build_vocabulary(task, min_frequency=1).get_vocab()) - {"[PAD]", "[UNK]"}
    has_all = absent <= set(words)
    assert has_all == (model == "fasttext")  # it makes the others of their parts


def test_bad_input_stops_before_any_work(mails, small_data, tmp_path, capsys):
    (tmp_path / "empty.txt").touch()
    for flags, message in [
        (("--data", str(tmp_path / "empty.txt")), "empty.txt: holds no text"),
        (("--data", str(tmp_path / "none")), "none: no such file or folder"),
        (("--task", str(tmp_path / "none.csv")), "none.csv: no such file"),
        (("--text-columns", "mail"), "mails.parquet: has no column 'mail'"),
        (("--dim", "0"), "--dim is 0; give a positive number"),
        (("--push-to-hub", "a/b/c"), "is not a name for the Hub"),
    ]:
        assert run(mails, small_data, tmp_path / "out", *flags) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_reference_vectors_of_another_language_are_a_row_of_zero(tmp_path, capsys):
    words = ["насос", "остановился", "срочно", "позвоните", "сегодня", "вода", "письмо", "завтра"]
    texts = [" ".join(words[start:] + words[:start]) for start in range(len(words))] * 25
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    pd.DataFrame({"text": texts[:8]}).to_csv(tmp_path / "task.csv")
    flags = ["--data", str(tmp_path / "texts.txt"), "--task", str(tmp_path / "task.csv")]
    flags += ["--output-dir", str(tmp_path / "out"), "--quick", "--dim", "8"]
    assert main(["run", "word-embeddings", *flags]) == 0
    learnt, glove = capsys.readouterr().out.split("| skip-gram")[1].splitlines()[:2]
    assert learnt.count("100.0%") == 2
    assert glove.count(" 0.0% ") == 2
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "glove-6b-50d: 0.0% of the words and 0.0% of the running text have a vector" in report
