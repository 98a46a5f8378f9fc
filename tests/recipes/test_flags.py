"""What a command was given and cannot use is told by its flag, before anything slow."""

import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest

from staged_training.data_checks import check_captions
from transfer_app.command_line import main
from vision_transfer.captioning.layouts import read_captions

TABLE = "Subject,Body,Priority\n" + "".join(
    f"number {i},word{i} other{i * 7},{i % 2}\n" for i in range(40)
)
URGENCY = ["run", "email-urgency", "--data", "t.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "email-urgency", "--data", ""],
        ["run", "email-urgency", "--data="],
        ["run", "email-urgency", "--vectors", " "],
        ["run", "email-urgency", "--text-columns", ""],
        ["run", "pet-classifier", "--data", ""],
        ["run", "word-embeddings", "--task", ""],
        ["run", "temporal-order", "--videos", ""],
        ["predict", "model", ""],
        ["predict", "", "mail.csv"],
        ["coverage", "", "glove-6b-50d"],
        ["advise", ""],
        ["export", ""],
    ],
)
def test_an_empty_argument_is_refused(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail.eml").write_text("Subject: x\n\ny\n")  # what an empty path would find
    assert main(arguments) == 2
    assert " is empty. Give a value" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mail.eml"]


def test_an_empty_value_of_a_configuration_is_refused(tmp_path, capsys):
    (tmp_path / "run.yaml").write_text("data: ''\n")
    assert main(["run", "email-urgency", str(tmp_path / "run.yaml")]) == 2
    assert "--data is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            URGENCY,
            "t.csv: has no columns 'subject', 'body', 'label'. Its columns are: Subject, Body, "
            "Priority. Is it 'Subject' for 'subject', 'Body' for 'body'? Choose columns by "
            "--text-columns and --label-column.",
        ),
        (
            [*URGENCY, "--text-columns", "Body", "Sbject"],
            "has no columns 'Sbject', 'label'. Its columns are: Subject, Body, Priority. Is it "
            "'Subject' for 'Sbject'? Choose columns by --text-columns and --label-column.",
        ),
        (
            ["run", "word-embeddings", "--data", "t.csv"],
            "'Body' for 'body'? Choose columns by --text-columns.",
        ),
        (
            ["run", "pet-captioner", "--data", "t.csv"],
            "t.csv: has no columns 'file_name', 'caption'. Its columns are: Subject, Body, "
            "Priority. Rename what is to be 'file_name', 'caption'.",
        ),
        (["coverage", "t.csv", "none.txt"], "Choose columns by --text-columns."),
        (
            ["advise", "t.csv", "--text-columns", "Body", "--label-column", "priority"],
            "Is it 'Priority' for 'priority'? Choose columns by --label-column.",
        ),
        (["predict", ".", "t.csv"], "Choose columns by --text-columns."),
        (
            ["run", "pet-classifier", "--data", "t.csv"],
            "Choose columns by --label-column. Rename what is to be 'file_name'.",
        ),
        (
            ["run", "pet-detector", "--data", "t.csv", "--box-column", "box"],
            "has no columns 'file_name', 'box'.",
        ),
        (
            [*URGENCY, "--text-columns=Body", "--label-column=Priority", "--proxy=t.csv"],
            "has no column 'asks_for_action'. Its columns are: Subject, Body, Priority. Choose "
            "columns by --proxy-label-column.",
        ),
    ],
)
def test_missing_columns_are_told_with_the_flags_that_choose_them(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    "content",
    [
        'image,caption\n1.jpg,A 5" dog , and a cat\n',
        "image_name| comment_number| comment\n1.jpg| 0| A dog\n",
    ],
)
def test_captions_of_flickr_need_no_columns_of_ours(content, tmp_path):
    (tmp_path / "results.csv").write_text(content)
    check_captions(str(tmp_path / "results.csv"))
    assert len(read_captions(tmp_path / "results.csv").rows) == 1


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("--version", 0),
        ("predict --help", 0),
        ("advise --help", 0),
        ("review --help", 0),
        ("review t.csv", 2),
        ("label --help", 0),
        ("mark --help", 0),
        ("watch --help", 0),
        ("serve --help", 0),
        ("demo model --prot 80", 2),
        ("export", 2),
        ("predict model ''", 2),
        ("run email-urgency --data t.csv", 2),
        ("run requests --data t.csv", 2),
        ("run word-embeddings --data t.csv", 2),
        ("run word-embeddings --task t.csv", 2),
        ("run pet-classifier --data t.csv", 2),
        ("run pet-detector --data t.csv", 2),
        ("run pet-captioner --data t.csv", 2),
        ("run rotation-pretraining --data t.csv", 2),
        ("run ct-inpainting --data . --labels t.csv", 2),
        ("run temporal-order --videos none.mp4", 2),
        ("predict model t.csv --json --output out.csv", 2),
    ],
)
def test_what_needs_no_model_is_answered_before_pytorch_is_imported(arguments, status, tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    code = "from transfer_app.command_line import main\nimport sys\ntry:\n    status = main()\n"
    code += "except SystemExit as end:\n    status = end.code\n"
    code += "slow = {'torch', 'transformers', 'pandas', 'sklearn'}\n"
    code += "assert not slow & sys.modules.keys(), slow & sys.modules.keys()\nsys.exit(status)"
    command = [sys.executable, "-c", code, *shlex.split(arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, "Assertion" in ended.stderr) == (status, False)
    assert "nlp-transfer" in ended.stdout + ended.stderr


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nlp-transfer {version('nlp-transfer')}\n"
