"""Text classifier: three labels, several labels and numbers from one command, end to end."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn import metrics
from transformers import pipeline

import nlp_transfer  # noqa: F401  # makes its models known
from tests.small_data import small_messages
from transfer_app.command_line import main


def three_labels(texts):
    """Tickets with an id, one label of three each, and rows without a text."""
    kinds = texts.label.mask(texts.label != "urgent", "other")
    kinds = kinds.mask(texts.text.str.contains(r"\?"), "question")
    table = pd.DataFrame({"ticket": [f"{n:04d}" for n in range(len(texts))], "text": texts.text})
    table["label"] = kinds
    table.loc[[3, 17], "text"] = ["", "  "]
    return table


def several_labels(texts):
    """Texts with any number of labels."""
    parts = {"question": r"\?", "time": "today|tomorrow|day|week", "money": r"\$|cost|price|pay"}
    has = [texts.text.str.contains(part, case=False) for part in parts.values()]
    cells = [";".join(np.array([*parts])[list(row)]) for row in zip(*has, strict=True)]
    return pd.DataFrame({"text": texts.text, "tags": cells})


def numbers(texts):
    """Texts with a number each."""
    return pd.DataFrame({"text": texts.text, "size": texts.text.str.len() * 10.0 + 500})


CASES = {
    "three": (three_labels, "--base", "none"),
    "several": (several_labels, "--label-column", "tags", "--label-separator", ";", *[]),
    "numbers": (numbers, "--label-column", "size", "--task", "regression"),
}
WITHOUT_NETS = ("--base", "none", "--vectors", "none")


@pytest.fixture(scope="module", params=CASES)
def run(request, tmp_path_factory):
    """A quick run on one kind of label: its name, data, output folder and rows of results."""
    make, *flags = CASES[request.param]
    flags += [] if request.param == "three" else WITHOUT_NETS
    folder = tmp_path_factory.mktemp(request.param)
    table = make(small_messages().reset_index(drop=True))
    table.to_csv(folder / "data.csv", index=False)
    data = ["--data", str(folder / "data.csv"), "--no-refit", "--output-dir", str(folder / "out")]
    assert main(["run", "text-classifier", "--quick", *data, *flags]) == 0
    results = json.loads((folder / "out" / "report" / "results.json").read_text())
    return request.param, table, folder / "out", {row["name"]: row for row in results["rows"]}


def scored(name, values, found):
    """Return the scores of scikit-learn."""
    if name == "three":
        predicted = [max(scores, key=scores.get) for scores in found]
        return {
            "macro_f1": metrics.f1_score(values, predicted, average="macro"),
            "accuracy": metrics.accuracy_score(values, predicted),
        }
    if name == "numbers":
        predicted = [scores["size"] for scores in found]
        return {
            "r2": metrics.r2_score(values, predicted),
            "spearman": spearmanr(values, predicted).statistic,
            "mae": metrics.mean_absolute_error(values, predicted),
        }
    names = sorted(found[0])
    true = np.array([[label in cell.split(";") for label in names] for cell in values])
    scores = np.array([[scores[label] for label in names] for scores in found])
    return {
        "macro_average_precision": metrics.average_precision_score(true, scores),
        "macro_f1": metrics.f1_score(true, scores >= 0.5, average="macro"),
        "micro_f1": metrics.f1_score(true, scores >= 0.5, average="micro"),
    }


def test_the_saved_model_scores_on_test_what_the_report_says_by_scikit_learn(run):
    name, table, folder, rows = run
    report = (folder / "report" / "report.md").read_text()
    chosen = re.search(r"Validation chose \*\*(.+?)\*\*", report)[1]
    model = pipeline("text-classification", model=str(folder), top_k=None)
    table = table[table.text.str.strip() != ""].reset_index(drop=True)
    from nlp_transfer.text_task import read_task

    column = table.columns[-1]
    task = read_task(
        folder.parent / "data.csv",
        label_column=column,
        label_separator=";" if name == "several" else None,
        task="regression" if name == "numbers" else "classification",
    )
    test = task.split(0).test
    found = [
        {one["label"]: one["score"] for one in scores}
        for scores in model(table.text[test].tolist(), truncation=True)
    ]
    values = table[column][test].tolist()
    for metric, score in scored(name, values, found).items():
        assert rows[chosen]["metrics"][metric] == pytest.approx(score, abs=1e-4), metric


def test_the_card_and_the_report_name_what_is_predicted_and_how_good_it_is(run):
    name, _, folder, rows = run
    card, report = (folder / "README.md").read_text(), (folder / "report" / "report.md").read_text()
    predicts, title = {
        "three": ("one of these labels: other, question, urgent", "macro-F1"),
        "several": ("any number of these labels: money, question, time", "macro AP"),
        "numbers": ("a number, size", "Spearman"),
    }[name]
    assert predicts in card and title in card and title in report
    assert "urgency" not in card.lower()
    assert {"three": "majority class", "several": "frequency of each label"}.get(
        name, "mean"
    ) in rows
    assert ("Each label" in report) == (name != "numbers")


def test_validation_chooses_among_all_and_the_simple_way_is_one_of_them(run):
    name, _, _, rows = run
    nets = [row for row in rows if row.startswith("glove")]
    assert len(nets) == (2 if name == "three" else 0)
    assert any(row.startswith("TF-IDF") for row in rows)


BAD = {
    "no data": ([], "Give your labelled texts: --data"),
    "numbers as labels": (["--label-column", "size"], "choose regression by --task"),
    "labels as numbers": (["--label-column", "kind", "--task", "regression"], "which is no number"),
    "free text": (
        ["--label-column", "text", "--text-columns", "kind"],
        "choose another column by --label-column",
    ),
    "labels as text": (["--label-column", "kind", "--text-columns", "kind"], "see its answers"),
    "a separator that is none": (["--label-column", "kind", "--label-separator", "|"], "holds '|'"),
    "weights of numbers": (
        ["--label-column", "size", "--task", "regression", "--class-weight", "balanced"],
        "--class-weight is for labels",
    ),
    "a positive number": (
        ["--label-column", "size", "--task", "regression", "--positive-label", "7"],
        "--positive-label is for examples that have one label each",
    ),
    "a weight of no label": (
        ["--label-column", "kind", "--class-weight", "x=2"],
        "--class-weight is",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_cannot_be_used_are_refused_with_the_flag_that_mends_it(case, tmp_path, capsys):
    flags, message = BAD[case]
    texts = small_messages()
    table = pd.DataFrame({"text": texts.text, "kind": texts.label, "size": range(len(texts))})
    table.to_csv(tmp_path / "data.csv", index=False)
    data = ["--data", str(tmp_path / "data.csv")] if flags else []
    output = ["--output-dir", str(tmp_path / "out"), *WITHOUT_NETS]
    assert main(["run", "text-classifier", *data, *output, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("label", "flags", "told"),
    [
        ("d{}", [], "most occur only once"),
        ("d{0:.1}", ["--class-weight", "x=2"], "The labels are: d1"),
        ("d{0:.1}", ["--positive-label", "x"], "no example has the label"),
    ],
)
def test_bad_labels_are_refused_before_torch_is_imported(label, flags, told, tmp_path):
    rows = "".join(f"a{n},{label.format(str(n))}\n" for n in range(10, 60))
    (tmp_path / "data.csv").write_text("text,label\n" + rows)
    given = ["run", "text-classifier", "--data", str(tmp_path / "data.csv"), *flags]
    code = (
        f"import sys\nfrom transfer_app.command_line import main\nmain({given})\n"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told in done.stderr
    assert done.stdout.strip() == "[]"
