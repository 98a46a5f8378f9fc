"""The email-urgency recipe on a slice, from data to predictions, and killed on the way."""

import io
import json
import signal
from dataclasses import replace

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import Trainer, pipeline

from nlp_transfer import candidates
from nlp_transfer.models import RecurrentForSequenceClassification
from nlp_transfer.text_candidates import TextCandidates
from transfer_app.command_line import main

KILLED_AT = """
import os, signal
from dataclasses import replace
from transformers import Trainer
from nlp_transfer import candidates
from nlp_transfer.text_candidates import TextCandidates
from transfer_app.command_line import main

steps, step = {kill_at}, Trainer.training_step

def counted(*args, **kwargs):
    global steps
    steps -= 1
    if not steps:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args, **kwargs)

Trainer.training_step = counted
candidates.MIN_STEPS = 1
candidates.RECURRENT_STAGES[:] = [replace(s, epochs=3) for s in candidates.RECURRENT_STAGES]
TextCandidates.all = property(lambda found: found.staged)
main({arguments})
"""


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    """The output folder of a quick run on two seeds with a proxy task."""
    folder = tmp_path_factory.mktemp("run") / "out"
    flags = ["--quick", "--seeds", "2", "--refit", "--base", "none", "--output-dir", str(folder)]
    flags += ["--data", str(small_data / "messages.parquet")]
    flags += ["--proxy", str(small_data / "proxy.parquet")]
    with pytest.MonkeyPatch.context() as patch:  # see `nets_only`
        patch.setattr(TextCandidates, "all", property(lambda found: found.staged))
        assert main(["run", "email-urgency", *flags]) == 0
    return folder


def test_curves_are_kept_a_run_for_each_way(small_data, tmp_path):
    data = ["--data", str(small_data / "messages.parquet"), "--proxy", "none", "--base", "none"]
    flags = ["--quick", "--report-to", "tensorboard", "--output-dir", str(tmp_path / "out")]
    assert main(["run", "email-urgency", *data, *flags]) == 0
    curves = {path.parent for path in tmp_path.rglob("events.*")}
    assert {str(path.relative_to(tmp_path / "out" / "tensorboard")) for path in curves} == {
        "fold-0/seed-0/random embedding",
        "fold-0/seed-0/glove-6b-50d",
    }


def test_results_hold_every_model(trained):
    results = json.loads((trained / "report" / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == [
        "majority class",
        "random embedding, frozen embedding",
        "random embedding, fine-tuned",
        "glove-6b-50d, frozen embedding",
        "glove-6b-50d, fine-tuned",
        "glove-6b-50d + proxy task, frozen embedding",
        "glove-6b-50d + proxy task, fine-tuned",
    ]
    for row in results["rows"]:
        assert 0 < row["metrics"]["average_precision"] <= 1
        assert 0 < row["metrics"]["macro_f1"] <= 1
    assert results["recipe"] == "email-urgency"


def test_the_folder_holds_the_model_its_card_and_report_and_nothing_else(trained):
    assert {path.name for path in trained.iterdir()} == {
        "README.md",
        "config.json",
        "configuration_recurrent.py",
        "conformal.safetensors",
        "drift.safetensors",
        "SHA256SUMS",
        "model.safetensors",
        "modeling_recurrent.py",
        "recurrent_layers.py",
        "report",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer_state.json",
    }
    report = (trained / "report" / "report.md").read_text()
    assert "Quick run" in report
    assert "The proxy task" in report
    assert "Validation chose **glove-6b-50d" in report  # and never the control
    for name in ("models", "curves", "confusion", "reliability"):
        assert (trained / "report" / f"{name}.png").exists()
    card = ModelCard.load(trained / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    assert {result.metric_type for result in card.data.eval_results} == (
        {"average_precision", "macro_f1"}
    )


def test_the_model_runs_in_a_pipeline(trained):
    classifier = pipeline("text-classification", model=str(trained))
    assert type(classifier.model) is RecurrentForSequenceClassification
    assert classifier.model.config.text_columns == ["text"]
    (result,) = classifier("Please call me today, it is urgent!")
    assert result["label"] in ("urgent", "non-urgent")


def test_predictions_are_a_table_by_urgency_or_json_in_order(trained, tmp_path, capsys):
    texts = ["Lovely photo of the lake.", "Please call me asap, today!", "See you next year."]
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "mail.csv", index=False)
    assert main(["predict", str(trained), str(tmp_path / "mail.csv"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["input"] for row in rows] == ["mail.csv#1", "mail.csv#2", "mail.csv#3"]
    for row in rows:
        assert set(row["scores"]) == {"urgent", "non-urgent"}
        assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-3)
        assert row["label"] == max(row["scores"], key=row["scores"].get)
    assert main(["predict", str(trained), str(tmp_path / "mail.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_score = sorted(rows, key=lambda row: -row["scores"]["urgent"])
    assert [line.split()[2] for line in lines] == [row["input"] for row in by_score]


def test_lines_of_standard_input_are_classified(trained, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("call me now\n\nno hurry at all\n"))
    assert main(["predict", str(trained), "-", "--json"]) == 0
    names = [json.loads(line)["input"] for line in capsys.readouterr().out.splitlines()]
    assert names == ["-#1", "-#3"]


def test_predicting_with_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "mail.csv").write_text("text\nhello\n")
    assert main(["predict", str(tmp_path), str(tmp_path / "mail.csv")]) == 2
    assert "no model could be loaded from there" in capsys.readouterr().err


def test_coverage_is_told_before_any_training(small_data, capsys):
    data = str(small_data / "messages.parquet")
    assert main(["coverage", data, "glove-6b-50d"]) == 0
    *told, last = capsys.readouterr().out.splitlines()
    assert "of the running text have a vector" in "".join(told)
    assert last == f"Next:   nlp-transfer run email-urgency --data {data} --vectors glove-6b-50d"


@pytest.fixture
def short_stages(monkeypatch):
    """Let both stages of a recurrent net have three epochs, and the first as few steps."""
    monkeypatch.setattr(candidates, "MIN_STEPS", 1)
    whole = candidates.RECURRENT_STAGES.copy()
    candidates.RECURRENT_STAGES[:] = [replace(stage, epochs=3) for stage in whole]
    yield
    candidates.RECURRENT_STAGES[:] = whole


def test_a_run_killed_in_either_stage_resumes_bit_identical(
    small_data, elsewhere, tmp_path, monkeypatch, capsys, nets_only, short_stages
):
    """Four steps an epoch, 3 + 3 epochs a candidate: the second is killed in both stages."""
    epoch, first, way = 4, 3, 6
    steps, step = [], Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda *args: steps.append(1) or step(*args))

    def arguments(folder, *flags):
        data = ["--data", str(small_data / "messages.parquet"), "--base", "none", "--no-refit"]
        return ["run", "email-urgency", *data, "--output-dir", str(tmp_path / folder), *flags]

    def killed_at(step, *flags):
        code = KILLED_AT.format(kill_at=step, arguments=arguments("killed", *flags))
        return elsewhere(code, with_project=True).returncode

    assert main(arguments("whole")) == 0
    assert len(steps) == 2 * way * epoch

    in_stage_1 = way * epoch + 1 * epoch + 2
    in_stage_2 = first * epoch + 1 * epoch + 2  # of the way; one epoch of it is done by then
    assert killed_at(in_stage_1) == -signal.SIGKILL
    assert main(arguments("killed")) == 2
    assert "Add --resume to continue it" in capsys.readouterr().err
    assert killed_at(in_stage_2 - 1 * epoch, "--resume") == -signal.SIGKILL
    steps.clear()
    assert main(arguments("killed", "--resume")) == 0
    assert len(steps) <= way * epoch - in_stage_2 + epoch

    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
    rows = [
        json.loads((tmp_path / name / "report" / "results.json").read_text())["rows"]
        for name in ("whole", "killed")
    ]
    assert [row["metrics"] for row in rows[0]] == [row["metrics"] for row in rows[1]]


def test_a_finished_run_is_not_overwritten(trained, small_data, capsys):
    before = (trained / "model.safetensors").read_bytes()
    data = str(small_data / "messages.parquet")
    assert main(["run", "email-urgency", "--data", data, "--output-dir", str(trained)]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert (trained / "model.safetensors").read_bytes() == before


def test_flags_and_configurations_can_be_mixed(small_data, tmp_path, capsys):
    config = tmp_path / "urgency.yaml"
    config.write_text(f"data: {small_data / 'messages.parquet'}\nfolds: '7'\n")
    assert main(["run", "email-urgency", str(config), "--output-dir", str(tmp_path / "out")]) == 2
    assert "--folds is '7'; give `all`, or one of 0, 1, 2" in capsys.readouterr().err
    config.write_text("dato: x\n")
    assert main(["run", "email-urgency", str(config)]) == 2
    assert "dato (line 1) is not an argument of this recipe" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert main([]) == 0
    assert "To begin: nlp-transfer run email-urgency" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", "email-urgency", "--help"])
    out = capsys.readouterr().out
    assert "--vectors" in out and "  2. trains a recurrent net" in out
    assert main(["fly"]) == 2


def test_an_encoder_takes_the_place_of_word_vectors(small_data, tmp_path, capsys):
    folder = tmp_path / "out"
    flags = ["--vectors", "none", "--quick", "--data", str(small_data / "messages.parquet")]
    assert main(["run", "email-urgency", *flags, "--output-dir", str(folder)]) == 0
    results = json.loads((folder / "report" / "results.json").read_text())
    names = ["majority class", "TF-IDF + logistic regression"]
    names += ["bert, linear head"]
    names += ["bert, head on the frozen base", "bert, fine-tuned"]
    assert [row["name"] for row in results["rows"]] == names
    assert "bert reads 512 tokens at once; no text is longer." in capsys.readouterr().out
    mail = tmp_path / "mail.jsonl"
    mail.write_text(json.dumps({"text": "Call me before noon, the server is down."}) + "\n")
    assert main(["predict", str(folder), str(mail), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["scores"]) == {"urgent", "non-urgent"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--base", "no/such-encoder"], "no text encoder could be loaded from there"),
        (["--vectors", "none", "--proxy", "t.csv"], "leave out --vectors none"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_refused(flags, message, hub, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    output = ["--output-dir", str(folder / "out")]
    assert main(["run", "email-urgency", *flags, *output]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())
