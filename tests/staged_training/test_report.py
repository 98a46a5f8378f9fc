"""Reports: tables, pictures, and the part about one classifier."""

import json
import re

import numpy as np
import pytest

from staged_training.classifier_report import add_classifier_sections
from staged_training.outcome import Outcome, Row
from staged_training.report import Report, markdown_table, results_table, write_results

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.95, 0.05]]
STAGE = {
    "name": "head",
    "epochs": 2,
    "best_epoch": 1,
    "best_score": 0.5,
    "trainable_parameters": 10,
    "trained": ["head"],
    "frozen": ["embedding"],
    "seconds": 1.5,
}
LOG = [
    {"stage": "head", "epoch": 1.0, "loss": 0.7, "eval_loss": 0.8, "eval_average_precision": 0.5},
    {"stage": "top", "epoch": 2.0, "loss": 0.5, "eval_loss": 0.7, "eval_average_precision": 0.4},
]
OUTCOME = Outcome("net", {}, {}, PROBABILITIES, 0.0, 1.5, 10, [STAGE], LOG)


@pytest.fixture
def report(tmp_path):
    return Report(tmp_path, "Pets")


def test_a_report_on_a_classifier_has_its_stages_pictures_and_worst_errors(report):
    add_classifier_sections(report, OUTCOME, LABELS, ["cat", "dog"], 1, ["a", "b", "c|", "d"])
    report.picture(
        "rows", "models", "plot_rows", [Row("net", {"ap": 0.5}, {"ap": 0.1})], "ap", "AP"
    )
    text = report.write().read_text()
    assert re.search(r"\| head +\| head +\| embedding \| 10 ", text)
    assert text.index("| 0.95  | cat       | dog  | d ") < text.index(
        "| 0.80  | dog       | cat  | b "
    )
    for name in ("curves", "confusion", "reliability", "rows"):
        assert f"]({name}.png)" in text
        assert (report.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_without_errors_the_report_says_so(report):
    right = Outcome("net", {}, {}, np.eye(2)[LABELS].tolist(), 0.0, 1.5, 10, [STAGE], LOG)
    add_classifier_sections(report, right, LABELS, ["cat", "dog"], 1, list("abcd"))
    assert "There are none." in report.write().read_text()


def test_without_matplotlib_pictures_are_told_how_to_get(report, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    add_classifier_sections(report, OUTCOME, LABELS, ["cat", "dog"], 1, list("abcd"))
    assert "pip install 'nlp-transfer[plots]'" in report.write().read_text()
    assert not list(report.folder.glob("*.png"))


def test_results_are_kept_for_programs(tmp_path):
    rows = [Row("net", {"average_precision": 0.5}, {"average_precision": 0.1}, 2.0, 7)]
    write_results(tmp_path, "pets", 3, rows)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["recipe"] == "pets"
    assert results["seed"] == 3
    assert results["rows"] == [
        {
            "name": "net",
            "metrics": {"average_precision": 0.5},
            "std": {"average_precision": 0.1},
            "seconds": 2.0,
            "trainable_parameters": 7,
        }
    ]
    assert {"python", "torch", "transformers"} <= set(results["versions"])


def test_tables_show_deviations_and_escape_bars():
    rows = [Row("net", {"ap": 0.5}, {"ap": 0.25}, 2.0, 7000)]
    assert "| net   | 0.500 ± 0.250 | 2.0     | 7,000 " in results_table(rows, {"ap": "AP"})
    assert "a\\|b" in markdown_table(["x"], [["a|b"]])
