"""Requests: a task of its own in 80 lines, with report, folds, push and resuming like any other."""

import json
import subprocess
import sys

import pytest

from transfer_app.command_line import main


@pytest.fixture(scope="module")
def flags(small_data):
    return ["requests", "--data", str(small_data / "messages.parquet"), "--quick"]


def test_a_run_that_was_cut_off_is_resumed_reported_and_pushed(flags, hub, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    output = ["--output-dir", str(folder), "--push-to-hub", "requests"]

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nlp_transfer.text_report.publish_text_classifier", cut_off)
        with pytest.raises(KeyboardInterrupt):
            main(["run", *flags, *output])
    assert main(["run", *flags, *output, "--resume"]) == 0

    results = json.loads((folder / "report" / "results.json").read_text())
    assert results["recipe"] == "requests"
    assert [row["name"] for row in results["rows"]][2:] == [
        "bert, linear head",
        "bert, head on the frozen base",
        "bert, fine-tuned",
    ]
    assert "Requests in mail" in (folder / "report" / "report.md").read_text()
    assert "asked to do something: false or true" in (folder / "README.md").read_text()
    assert "model.safetensors" in hub.repositories["someone/requests"].files("main")


def test_it_is_copied_and_run_as_a_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "requests"]) == 0
    assert {p.name for p in tmp_path.rglob("*.*")} == {"requests.py", "requests.md"}
    assert "\nNext:   python requests.py --help\n" in capsys.readouterr().out
    command = [sys.executable, "requests.py", "--data", "no.csv"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr == "nlp-transfer: no.csv: no such file or folder. Check the path.\n"
    assert main(["copy", "requests"]) == 2
    assert "requests.py is there already" in capsys.readouterr().err
