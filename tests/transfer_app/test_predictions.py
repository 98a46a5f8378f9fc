"""What `predict` says of one label, several labels and a number, of texts and of images."""

import json

import pandas as pd
import pytest
from transformers import pipeline

from tests.fuzz.targets import PHOTO
from tests.small_models import NAMES, TEXTS, save_image_model, save_text_model
from transfer_app.command_line import main

KINDS = list(NAMES)
LABELS, NUMBER = "multi_label_classification", "regression"


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "mail.csv"
    pd.DataFrame({"text": TEXTS}).to_csv(file, index=False)
    return file


@pytest.fixture
def predicted(tmp_path, capsys):
    """Predict with the model in `model`, and return the lines that are printed."""

    def run(source, *flags):
        assert main(["predict", str(tmp_path / "model"), str(source), *flags]) == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("save", [save_text_model, save_image_model])
def test_programs_get_what_the_pipeline_gives(save, kind, table, predicted, tmp_path):
    save(tmp_path / "model", kind)
    of_texts = save is save_text_model
    task = "text-classification" if of_texts else "image-classification"
    given = TEXTS if of_texts else [str(PHOTO)]
    wanted = pipeline(task, model=str(tmp_path / "model"))(given, top_k=3)
    rows = map(json.loads, predicted(table if of_texts else PHOTO, "--json"))
    for row, found in zip(rows, wanted, strict=True):
        scores = {output["label"]: output["score"] for output in found}
        if kind == NUMBER:
            assert row["value"] == pytest.approx(scores["minutes"], rel=1e-5)
            continue
        assert row["scores"] == pytest.approx(scores, abs=1e-4)
        if kind == LABELS:
            assert row["labels"] == [name for name in NAMES[kind] if scores[name] >= 0.5]
        else:
            assert row["label"] == found[0]["label"]


def test_the_score_shown_is_that_of_the_label_shown(table, predicted, tmp_path):
    save_text_model(tmp_path / "model", KINDS[0], bias=[-2, 0, 2])
    scores = [json.loads(line)["scores"] for line in predicted(table, "--json")]
    best = sorted((max(each.values()) for each in scores), reverse=True)
    lines = [line.split() for line in predicted(table)]
    assert [line[:2] for line in lines] == [[f"{score:.2f}", "technical"] for score in best]
    assert best[0] > 0.5


def test_a_positive_label_ranks(table, predicted, tmp_path):
    save_text_model(tmp_path / "model", KINDS[0], bias=[-2, 0, 2], positive_label="bill")
    rows = [json.loads(line) for line in predicted(table, "--json")]
    by_bill = sorted(rows, key=lambda row: -row["scores"]["bill"])
    lines = [line.split() for line in predicted(table)]
    assert [line[2] for line in lines] == [row["input"] for row in by_bill]
    assert [line[0] for line in lines] == [f"{max(row['scores'].values()):.2f}" for row in by_bill]


def test_all_labels_that_apply_are_shown_with_their_scores(table, predicted, tmp_path):
    save_text_model(tmp_path / "model", LABELS, bias=[3, 2, -3])
    rows = [json.loads(line) for line in predicted(table, "--json")]
    assert all(row["labels"] == ["late", "broken"] for row in rows)
    shown = {row["input"]: row["scores"] for row in rows}
    for line in predicted(table):
        answer, name, _ = line.split("  ", 2)
        late, broken = (shown[name][label] for label in ("late", "broken"))
        assert answer == f"late ({late:.2f}), broken ({broken:.2f})"


def test_where_no_label_applies_the_likeliest_score_is_shown(predicted, tmp_path):
    save_image_model(tmp_path / "model", LABELS, bias=[-4, -4, -3])
    (row,) = map(json.loads, predicted(PHOTO, "--json"))
    assert row["labels"] == []
    (line,) = predicted(PHOTO)
    assert line == f"none ({max(row['scores'].values()):.2f})  {PHOTO}"


def test_numbers_are_shown_in_their_units_the_largest_first(table, predicted, tmp_path):
    save_text_model(tmp_path / "model", NUMBER, bias=[250_000])
    values = {
        (row := json.loads(line))["input"]: row["value"] for line in predicted(table, "--json")
    }
    lines = [line.split()[:2] for line in predicted(table)]
    ranked = sorted(values.items(), key=lambda item: -item[1])
    assert lines == [[f"{value:.12g}", name] for name, value in ranked]
    assert all(249_990 < value < 250_010 for value in values.values())


@pytest.mark.parametrize("bias", [[3, 2, -3], [-5, -5, -5]])
def test_labels_in_a_file_are_those_that_programs_get(bias, table, predicted, tmp_path):
    save_text_model(tmp_path / "model", LABELS, bias=bias)
    rows = [json.loads(line) for line in predicted(table, "--json")]
    predicted(table, "--output", str(tmp_path / "out.csv"))
    predicted(table, "--output", str(tmp_path / "out.parquet"))
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert [list(labels) for labels in written["labels"]] == [row["labels"] for row in rows]
    cells = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)["labels"]
    assert cells.tolist() == [";".join(row["labels"]) for row in rows]
    assert written["score_late"].tolist() == [row["scores"]["late"] for row in rows]


def test_numbers_in_a_file_are_those_that_programs_get(table, predicted, tmp_path):
    save_text_model(tmp_path / "model", NUMBER)
    rows = [json.loads(line) for line in predicted(table, "--json")]
    predicted(table, "--output", str(tmp_path / "out.csv"))
    written = pd.read_csv(tmp_path / "out.csv")
    assert written["value"].tolist() == [row["value"] for row in rows]


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"problem_type": NUMBER}, "has 3 outputs"),
        ({"problem_type": LABELS, "positive_label": "late"}, "has a positive_label"),
        ({"problem_type": LABELS, "positive_label": "lost"}, "is none of"),
        ({"problem_type": "ranking"}, "'ranking', which is unknown"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(changed, told, tmp_path, capsys):
    save_text_model(tmp_path / "model", LABELS)
    (tmp_path / "model" / "SHA256SUMS").unlink()
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    assert main(["predict", str(tmp_path / "model"), "-"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
