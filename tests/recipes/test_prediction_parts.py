"""Predictions that are written part by part: the same file, whatever happened meanwhile."""

import hashlib
import io
import json
import os
import random
import signal
import sys
import time
import tracemalloc
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest

from staged_training.heads.drift import FILE_NAME, likeness, token_kinds
from staged_training.runtime.files import state_of
from staged_training.runtime.seal import add_sealed
from staged_training.tables import delimited, streaming
from staged_training.tables.writing import write_table
from tests.nlp_transfer.odd_mail import NOT_READ, write_odd_mail
from tests.processes import finished, in_processes, launch
from tests.small_models import save_text_model
from transfer_app.command_line import main
from transfer_app.prediction.classifiers import TextClassifier
from transfer_app.prediction.parts import Parts

ROWS = 64  # of a part
WORDS = "the server is down call me before noon lunch was good see you next summer".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TextClassifier, "rows_at_once", ROWS)
    return tmp_path


def write_inputs(count, name="t.jsonl"):
    """Write a table, the first part of which has no text."""
    random.seed(0)
    rows = [{"id": f"{n:05}", "text": "", "tags": [], "n": n % 7 or None} for n in range(ROWS)]
    for number in range(ROWS, count):
        text = " ".join(random.choices(WORDS, k=random.randrange(1, 12)))
        rows.append({"id": f"{number:05}", "text": text, "tags": ["=a"], "n": number / 2})
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def predict(*arguments):
    return main(["predict", "model", *arguments])


def content(*arguments, name):
    assert predict(*arguments, "--output", name) == 0
    return Path(name).read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification"])
def test_parts_do_not_show_in_the_file(kind, suffix, folder, monkeypatch):
    save_text_model(folder / "model", kind)
    write_inputs(5 * ROWS + 1)
    in_parts = content("t.jsonl", name=f"parts.{suffix}")
    monkeypatch.setattr(TextClassifier, "rows_at_once", 10_000)
    assert in_parts == content("t.jsonl", name=f"whole.{suffix}")


def begin(count, name):
    """Begin to predict in another process; return it once two parts are there."""
    write_inputs(count)
    command = ["predict", "model", "t.jsonl", "--output", name]
    process = get_context("fork").Process(target=lambda: sys.exit(main(command)))
    process.start()
    while not Path(f"{name}.parts", ".000000001.arrow").exists():
        assert process.is_alive()
        time.sleep(0.01)
    return process


def test_what_was_killed_goes_on_to_the_same_file(folder, capsys, caplog, monkeypatch):
    save_text_model(folder / "model", "multi_label_classification")
    usual = likeness([0.9, 1.0] * 50, token_kinds([[2, 3]], 30, [0]))  # most words are new
    add_sealed(usual, folder / "model", FILE_NAME)
    process = begin(20 * ROWS, "out.csv")
    os.kill(process.pid, signal.SIGSTOP)  # so that it is not done before it is killed
    assert predict("t.jsonl", "--output", "out.csv") == 2
    assert "out.csv: is being written by another process" in capsys.readouterr().err
    process.kill()
    process.join()
    assert not Path("out.csv").exists()
    for file in Path("out.csv.parts").glob(".*[2-9].arrow"):
        file.unlink()  # as if it had been killed earlier
    kept = len([*Path("out.csv.parts").glob(".*.arrow")])
    assert kept >= 2

    asked = []
    scored = TextClassifier.predict
    monkeypatch.setattr(
        TextClassifier, "predict", lambda self, inputs: scored(self, _noted(inputs, asked))
    )
    resumed = content("t.jsonl", name="out.csv")
    assert "Goes on where it was stopped" in capsys.readouterr().out
    assert len(asked) == (20 - kept) * ROWS
    (warning,) = [told for told in caplog.messages if "are unlike those" in told]
    caplog.clear()
    assert resumed == content("t.jsonl", name="anew.csv")
    assert len(asked) == (20 - kept + 19) * ROWS and warning in caplog.messages
    assert {path.name for path in folder.iterdir()} == {"model", "t.jsonl", "out.csv", "anew.csv"}


def _noted(inputs, asked):
    for item in inputs:
        asked.append(item.name)
        yield item


def test_parts_of_something_else_are_refused(folder, capsys):
    save_text_model(folder / "model", "single_label_classification")
    process = begin(20 * ROWS, "out.jsonl")
    process.terminate()
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    before = {file: state_of(file) for file in Path("out.jsonl.parts").iterdir()}
    write = ["t.jsonl", "--output", "out.jsonl"]
    for change, told in (
        (lambda: None, "another value of text_columns"),
        (lambda: write_inputs(19 * ROWS), "another input t.jsonl"),
        (lambda: save_text_model(folder / "model", "regression"), "another model"),
    ):
        change()
        columns = ["--text-columns", "id"] if "columns" in told else []
        assert predict(*write, *columns) == 2
        err = capsys.readouterr().err
        assert f"out.jsonl.parts: what is predicted there was begun with {told}. Delete" in err
        assert err.count("\n") == 1
    assert before == {file: state_of(file) for file in Path("out.jsonl.parts").iterdir()}


def test_files_of_others_where_parts_belong_stay(folder, capsys):
    save_text_model(folder / "model", "single_label_classification")
    write_inputs(ROWS + 1)
    Path("out.csv.parts").mkdir()
    for mine in (Path("out.csv.parts/notes.txt"), Path("out.jsonl.parts")):
        mine.write_text("mine")
        assert predict("t.jsonl", "--output", f"{str(mine).partition('.parts')[0]}") == 2
        assert "something else is there. Move that" in capsys.readouterr().err
        assert mine.read_text() == "mine"


def test_columns_that_parquet_does_not_have_are_refused_at_once(folder, capsys):
    save_text_model(folder / "model", "single_label_classification")
    Path("t.jsonl").write_text('{"text": "call me", "more": {}}')
    assert predict("t.jsonl", "--output", "out.parquet") == 2
    assert "Name a file that ends in .jsonl" in capsys.readouterr().err
    assert {file.name for file in folder.iterdir()} == {"model", "t.jsonl"}


def test_parts_and_the_file_are_on_disk_before_they_count(folder, monkeypatch):
    save_text_model(folder / "model", "single_label_classification")
    write_inputs(2 * ROWS)
    wait, replace, kept = os.fsync, Path.replace, set()

    def noted(descriptor):
        kept.add(os.fstat(descriptor).st_ino)
        wait(descriptor)

    def checked(file, target):
        if target.suffix == ".arrow" or target == Path("out.csv"):
            assert file.stat().st_ino in kept
            placed.append(target.name)
        return replace(file, target)

    placed = []
    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", checked)
    content("t.jsonl", name="out.csv")
    assert placed == [".000000000.arrow", ".000000001.arrow", "out.csv"]


def test_a_file_of_a_model_is_hashed_once(folder, monkeypatch):
    save_text_model(folder / "model", "single_label_classification")
    (folder / "model" / "added_tokens.json").write_text("{}")  # not sealed
    write_inputs(ROWS + 1)
    hashed, file_digest = [], hashlib.file_digest

    def noted(file, algorithm):
        hashed.append(Path(file.name).name)
        return file_digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    content("t.jsonl", name="out.csv")
    assert {"model.safetensors", "config.json", "added_tokens.json"} <= {*hashed}
    assert len(hashed) == len({*hashed})


def test_two_processes_write_the_same_file(folder):
    save_text_model(folder / "model", "single_label_classification")
    write_inputs(9 * ROWS + 5)
    alone = content("t.jsonl", name="alone.parquet")
    command = ["t.jsonl", "--output", "together.parquet"]
    in_processes(2, _predict_together, *command)
    assert Path("together.parquet").read_bytes() == alone
    assert not Path("together.parquet.parts").exists()


def _predict_together(*command):
    saved, save = [], Parts.save
    Parts.save = lambda parts, number, *rows: (saved.append(number), save(parts, number, *rows))
    assert predict(*command) == 0
    assert saved == [*range(int(os.environ["RANK"]), 10, 2)]


@pytest.mark.slow
def test_a_launcher_may_begin_any_number_of_processes(folder):
    save_text_model(folder / "model", "single_label_classification")
    write_inputs(9_000)
    command = ["predict", "model", "t.jsonl", "--output"]
    told = finished(launch(3, "-m", "transfer_app.command_line", *command, "together.csv"))
    assert told == "Wrote together.csv: 9,000 rows, 64 of them unread, see `problem`.\n"
    told = finished(launch(1, "-m", "transfer_app.command_line", *command, "alone.csv"))
    assert Path("together.csv").read_bytes() == Path("alone.csv").read_bytes()


def test_mail_in_a_folder_with_its_output_goes_on(folder, monkeypatch):
    save_text_model(folder / "model", "single_label_classification")
    count = write_odd_mail(folder / "mail")
    monkeypatch.setattr(TextClassifier, "rows_at_once", 3)
    whole = content("mail", name="mail.csv")
    save, saved = Parts.save, []

    def killed(parts, number, *rows):
        save(parts, number, *rows)
        saved.append(number)
        if len(saved) == 2:
            raise KeyboardInterrupt  # as a signal does

    monkeypatch.setattr(Parts, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        predict("mail", "--output", "mail/out.csv")
    assert content("mail", name="mail/out.csv") == whole
    assert saved == [*range((count + len(NOT_READ)) // 3)]


def test_standard_input_begins_anew(folder, monkeypatch, capsys):
    save_text_model(folder / "model", "single_label_classification")
    lines = "".join(f"{word}\n" for word in WORDS * 30)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{lines}\0"))
    assert predict("-", "--output", "out.csv") == 2  # the last line is no text
    assert not Path("out.csv.parts").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert content("-", name="out.csv").count(b"\r\n") == 30 * len(WORDS) + 1


def test_ten_times_as_many_rows_take_the_same_memory(folder, monkeypatch):
    save_text_model(folder / "model", "single_label_classification")
    monkeypatch.setattr(delimited, "_SMALL_BLOCK_BYTES", 2**14)
    monkeypatch.setattr(streaming, "_BATCH_ROWS", 100)
    save, held = Parts.save, []

    def noted(*part):
        tracemalloc.start()  # not before: it is slow
        held.append(pa.total_allocated_bytes() + tracemalloc.get_traced_memory()[0])
        save(*part)

    monkeypatch.setattr(Parts, "save", noted)
    for suffix in ("csv", "jsonl", "parquet"):
        peaks = []
        for count in (200, 2_000):
            rows = {"text": ["call me", *[""] * (count - 1)], "more": ["x" * 2_000] * count}
            write_table(pa.table(rows), folder / f"t.{suffix}")
            assert predict(f"t.{suffix}", "--output", f"out.{suffix}") == 0
            peaks.append(max(*held, tracemalloc.get_traced_memory()[1]))
            tracemalloc.stop()
            held.clear()
        assert peaks[1] - peaks[0] < 2**20  # the rows take 4 MB
