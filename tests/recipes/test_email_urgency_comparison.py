"""The comparison of all ways to a model of urgency, on a slice."""

import json

import pandas as pd
import pytest

from nlp_transfer import open_vectors
from nlp_transfer.candidates import EncoderCandidate, WordVectorCandidate
from nlp_transfer.comparison import Comparison
from nlp_transfer.text_task import read_task
from recipes.email_urgency import DATA
from staged_training.experiment.outcome import Row
from staged_training.experiment.target import SingleLabel
from tests.processes import forked_workers
from transfer_app.command_line import main

WAYS = [
    *("random embedding", "glove-6b-50d", "glove-6b-50d + proxy task"),
    *("Word2Vec learnt here", "GloVe learnt here", "window model learnt here"),
    "recurrent language model",
]


@pytest.fixture(scope="module")
def compared(small_data, tmp_path_factory):
    """The output folder of a quick comparison, with few mails to learn from."""
    folder = tmp_path_factory.mktemp("compare")
    corpus = pd.read_parquet(DATA.parent / "related_emails" / "corpus.parquet")
    corpus.head(20).to_parquet(folder / "corpus.parquet")
    flags = {
        "--data": small_data / "messages.parquet",
        "--proxy": small_data / "proxy.parquet",
        "--corpus": folder / "corpus.parquet",
        "--output-dir": folder / "out",
    }
    with pytest.MonkeyPatch.context() as patch, forked_workers():
        patch.delenv("LOKY_MAX_CPU_COUNT")  # in several processes, as it is meant to be
        patch.setattr("nlp_transfer.comparison.SIZES", (16, 500))
        flat = [str(part) for item in flags.items() for part in item]
        assert main(["run", "email-urgency", "--compare", "--quick", *flat]) == 0
    return folder / "out"


def test_every_way_is_a_row_with_few_labels_and_with_all(compared):
    results = json.loads((compared / "report" / "results.json").read_text())
    rows = [row["name"] for row in results["rows"]]
    assert len(rows) == len(set(rows))
    for size in (16, 32):  # one fold of three trains, the others validate and test
        at_size = [row for row in rows if row.endswith(f"({size} labels)")]
        for way in WAYS:
            assert f"{way}, frozen embedding ({size} labels)" in at_size
        assert f"bert, head on the frozen base ({size} labels)" in at_size
    for way in [*WAYS, "bert"]:  # few labels are too few to fine-tune on
        assert f"{way}, fine-tuned (32 labels)" in rows
        assert f"{way}, fine-tuned (16 labels)" not in rows


def test_the_report_shows_the_table_and_what_few_labels_are_worth(compared):
    assert {path.name for path in compared.iterdir()} == {"report"}
    report = (compared / "report" / "report.md").read_text()
    assert "Quick run" in report
    assert "With 32 labels the random embedding scores" in report
    for name in ("models", "labels"):
        assert f"]({name}.png)" in report
        assert (compared / "report" / f"{name}.png").exists()


def test_the_verdict_names_what_does_not_beat_the_random_embedding():
    def row(name, score):
        return Row(name, {"average_precision": score})

    rows = [
        row("majority class", 0.05),
        row("random embedding, frozen embedding", 0.3),
        row("random embedding, fine-tuned", 0.4),
        row("GloVe, frozen embedding", 0.35),
        row("GloVe, fine-tuned", 0.45),
    ]
    controls, transferred = [[r.name for r in some] for some in (rows[1:3], rows[3:])]
    target = SingleLabel(["other", "urgent"], positive=1)
    told = Comparison(target, {500: rows, 1200: rows[:1]}, controls, transferred, {}).verdict()
    assert "With 500 labels the random embedding scores 0.400" in told
    assert "Not above it: GloVe, frozen embedding (0.350)." in told
    few, many = Comparison(target, {500: rows[2:], 1200: rows}, [], [], {}).everywhere().values()
    assert [r.name for r in few] == [r.name for r in many] == [r.name for r in rows[2:]]


def test_few_texts_are_gone_through_more_often(small_data):
    task = read_task(small_data / "messages.parquet")
    encoder = EncoderCandidate(name="bert", task=task, base="bert")
    for size, epochs in {100: [31, 3], 1200: [11, 3]}.items():
        assert [stage.epochs for stage in encoder.with_enough_steps(size).stages] == epochs
    net = WordVectorCandidate(name="net", task=task, vectors=open_vectors("glove-6b-50d"))
    patience = {
        size: [s.patience for s in net.with_enough_steps(size).stages] for size in (100, 1200)
    }
    assert patience == {100: [None, None], 1200: [3, 2]}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--compare", "--refit"], "--refit"),
        (["--compare", "--push-to-hub", "me/model"], "--push-to-hub"),
        (["--compare", "--corpus", "no/such/folder"], "no/such/folder"),
        (["--corpus", "mails.txt"], "--compare"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(flags, told, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["run", "email-urgency", *flags, "--output-dir", str(output)]) == 2
    assert told in capsys.readouterr().err
    assert not output.exists()
