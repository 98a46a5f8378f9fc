"""A trained model says which labels cannot be excluded, the same by whatever runs it."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from staged_training.heads.conformal import FILE_NAME, label_sets, load_calibration
from staged_training.runtime.seal import check_seal
from tests.small_data import small_messages
from transfer_app.command_line import main
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.onnx_classifier import OnnxClassifier
from transfer_app.prediction.opening import open_predictor

LINEAR = ("--base", "none", "--vectors", "none", "--folds", "all")


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    """A table of mails with one label, several and a number each."""
    file = tmp_path_factory.mktemp("data") / "mails.csv"
    table = small_messages()[["text", "label", "fold"]]
    table["tags"] = np.where(table.text.str.contains(r"\?"), "question;" + table.label, table.label)
    table["size"] = table.text.str.len() * 1.0
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def trained(mails, tmp_path_factory):
    return train(mails, tmp_path_factory.mktemp("one") / "model", "--positive-label", "urgent")


@pytest.fixture(scope="module")
def of_a_fold(mails, tmp_path_factory):
    """A model that does not know two thirds of the mails."""
    return train(mails, tmp_path_factory.mktemp("fold") / "model", "--no-refit")


def train(mails, folder, *flags):
    data = "--data", str(mails), "--text-columns", "text", "--output-dir", str(folder)
    assert main(["run", "text-classifier", "--quick", *data, *LINEAR, *flags]) == 0
    return folder


def test_predict_gives_the_labels_that_cannot_be_excluded(of_a_fold, mails, tmp_path, capsys):
    capsys.readouterr()
    assert main(["predict", str(of_a_fold), str(mails), "--coverage", "0.8", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sets = label_sets(str(of_a_fold), 0.8)
    scores = [item["scores"] for item in found]
    assert [item["set"] for item in found] == [sets.of(given) for given in scores]
    assert {len(item["set"]) for item in found} >= {1, 2}
    output = str(tmp_path / "out.csv")
    assert (
        main(["predict", str(of_a_fold), str(mails), "--coverage", "0.8", "--output", output]) == 0
    )
    cells = pd.read_csv(output, keep_default_na=False)["set"]
    assert cells.tolist() == [";".join(item["set"]) for item in found]


def test_what_is_not_exactly_what_is_predicted_is_for_people(of_a_fold, mails, capsys):
    sets = label_sets(str(of_a_fold), 0.8)
    classifier = open_predictor(str(of_a_fold))
    classifier.sets = sets
    texts = pd.read_csv(mails)["text"]
    answers = [answer for _, answer in classifier.predict([Input("", text) for text in texts])]
    for answer in answers:
        sure = answer.fields["set"] == [answer.fields["label"]]
        assert answer.lines[0].startswith("not sure") != sure
        assert ("not sure: please look" in answer.cells) != sure
        assert answer.row("mail", "What it\nsays")[-1].endswith("What it says")
    capsys.readouterr()
    assert main(["predict", str(of_a_fold), str(mails), "--coverage", "0.8"]) == 0
    assert "at 0.8 coverage: non-urgent, urgent" in capsys.readouterr().out


def test_an_exported_model_gives_the_same_sets(of_a_fold, mails):
    assert main(["export", str(of_a_fold)]) == 0
    inputs = [Input("", text) for text in pd.read_csv(mails)["text"]]
    found = []
    for classifier in (open_predictor(str(of_a_fold)), OnnxClassifier(str(of_a_fold))):
        classifier.sets = label_sets(str(of_a_fold), 0.9)
        found.append([answer.fields["set"] for _, answer in classifier.predict(inputs)])
    assert found[0] == found[1]


def test_calibration_is_out_of_fold_and_sealed(trained, mails):
    calibration = load_calibration(trained / FILE_NAME)
    counts = pd.read_csv(mails)["label"].value_counts()
    assert np.bincount(calibration.labels).tolist() == [counts[n] for n in calibration.names]
    check_seal(str(trained))
    sealed = (trained / "SHA256SUMS").read_text()
    assert sealed.count(FILE_NAME) == 1


def test_card_and_report_say_what_scores_and_sets_are_worth(trained):
    for text in ((trained / "README.md").read_text(), (trained / "report/report.md").read_text()):
        assert "expected calibration error" in text
        assert "it changes no prediction" in text
        assert "marked `not sure`" in text
        assert "| urgent" in text.split("in its set")[1]
    assert (trained / "report" / "reliability.png").exists()


def test_a_fold_calibrates_the_model_that_was_trained_beside_it(of_a_fold, mails):
    calibration = load_calibration(of_a_fold / FILE_NAME)
    table = pd.read_csv(mails)
    validation = table[table["fold"] == sorted(table["fold"].unique())[1]]
    assert len(calibration.labels) == len(validation)
    model = open_predictor(str(of_a_fold))
    inputs = [Input("", text) for text in validation["text"]]
    answers = [answer.fields["scores"] for _, answer in model.predict(inputs)]
    own = [given[label] for given, label in zip(answers, validation["label"], strict=True)]
    assert sorted(own) == pytest.approx(sorted(calibration.scores), abs=1e-4)


def test_of_several_labels_each_has_its_place_in_the_set(mails, tmp_path, capsys):
    flags = "--label-column", "tags", "--label-separator", ";"
    folder = train(mails, tmp_path / "model", *flags)
    capsys.readouterr()
    assert main(["predict", str(folder), str(mails), "--coverage", "0.7", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert max(len(item["set"]) for item in found) > 1
    true = pd.read_csv(mails)["tags"].str.split(";")
    for label in ("question", "urgent"):
        has = [
            label in item["set"] for item, tags in zip(found, true, strict=True) if label in tags
        ]
        assert np.mean(has) >= 0.7  # it has seen them
    assert main(["predict", str(folder), str(mails), "--coverage", "0.7"]) == 0
    assert "not sure" not in capsys.readouterr().out


def test_what_cannot_be_promised_is_refused_before_torch_is_imported(trained, mails, tmp_path):
    numbers = train(mails, tmp_path / "sizes", "--label-column", "size", "--task", "regression")
    assert not (numbers / FILE_NAME).exists()
    cases = {
        (trained, "0.999"): "takes 999 calibration examples of each label; 'non-urgent' has",
        (trained, "2"): "--coverage is 2; give a share between 0 and 1",
        (numbers, "0.9"): "no coverage can be promised",
    }
    for (model, coverage), told in cases.items():
        given = ["predict", str(model), str(mails), "--coverage", coverage]
        code = (
            f"import sys\nfrom transfer_app.command_line import main\nstatus = main({given})\n"
            "print(status, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert told in done.stderr and done.stderr.count("\n") == 1
        assert done.stdout.strip() == "2 False"
