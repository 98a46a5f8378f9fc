"""Reports: tables, pictures, and the part about one classifier."""

import base64
import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome, Row, mean_rows
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.experiment.task import LabelledTask
from staged_training.model_card import stage_table
from staged_training.reporting import plots
from staged_training.reporting.classifier_report import add_classifier_sections
from staged_training.reporting.report import Report, results_table, write_results
from staged_training.runtime.markdown import as_code, as_markdown, markdown_table
from staged_training.stages import StageResult
from tests.staged_training.candidates import Net

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
OUTCOME = Outcome("net", {"a": 0}, {}, PROBABILITIES, [0.0, 0.0], 1.5, 10, [STAGE], LOG)


@dataclass(frozen=True, kw_only=True)
class Pets(LabelledTask):
    """Six pets, of which fold 0 tests the first four."""

    target: Target = SingleLabel(["cat", "dog"], positive=1)  # noqa: RUF009
    truth: np.ndarray = field(default_factory=lambda: np.append(LABELS, [0, 1]))

    @property
    def values(self):
        return self.truth


PETS = Pets(folds=np.array([0, 0, 0, 0, 1, 2]))


def add_sections(report, outcome=OUTCOME, task=PETS, describe=["a", "b", "c|", "d"].__getitem__):
    outcome = replace(outcome, validation={task.target.metric: 0.0})
    result = CrossValidation(task, [Net()], [[outcome]], [0], [0], task.target.metric)
    add_classifier_sections(report, task, result, describe)


@pytest.fixture
def report(tmp_path):
    return Report(tmp_path, "Pets")


def test_a_report_on_a_classifier_has_its_stages_pictures_and_worst_errors(report):
    add_sections(report)
    report.picture(
        "rows", "models", plots.plot_rows, [Row("net", {"ap": 0.5}, {"ap": 0.1})], "ap", "AP"
    )
    report.write()
    text = (report.folder / "report.md").read_text()
    assert re.search(r"\| head +\| head +\| embedding \| 10 ", text)
    assert text.index("| 0.95  | cat       | dog  | d ") < text.index(
        "| 0.80  | dog       | cat  | b "
    )
    for name in ("curves", "confusion", "rows"):
        assert f"]({name}.png)" in text
        assert (report.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_axis_of_a_share_ends_at_1_whatever_the_interval(tmp_path):
    rows = [Row("net", {"auc": 0.97}, {"auc": 0.2}), Row("probe", {"auc": 0.1}, {"auc": 0.2})]
    plots.plot_label_efficiency(tmp_path / "few.svg", {25: rows, 50: rows}, "auc", "AUC", runs=3)
    plots.plot_rows(tmp_path / "rows.svg", rows, "auc", "AUC")
    assert ticks_of(tmp_path / "few.svg") == ticks_of(tmp_path / "rows.svg")
    assert ticks_of(tmp_path / "few.svg") == [0, 0.2, 0.4, 0.6, 0.8, 1]


def test_a_score_above_1_is_on_its_axis(tmp_path):
    rows = [Row("captioner", {"cider": 1.3}), Row("baseline", {"cider": 0.4})]
    plots.plot_rows(tmp_path / "rows.svg", rows, "cider", "CIDEr")
    assert max(ticks_of(tmp_path / "rows.svg")) > 1


def ticks_of(picture):
    """The numbers with a decimal point along the axes of an SVG, in ascending order."""
    return sorted({float(text) for text in re.findall(r"<!-- (\S*\.\d) -->", picture.read_text())})


def test_without_errors_the_report_says_so(report):
    right = Outcome(
        "net", {"a": 0}, {}, np.eye(2)[LABELS].tolist(), [0.0, 0.0], 1.5, 10, [STAGE], LOG
    )
    add_sections(report, right)
    assert "There are none." in report.write().read_text()


def test_more_than_two_labels_have_a_table_of_each(report):
    labels = SingleLabel(["bird", "cat", "dog"])
    probabilities = np.eye(3)[[0, 1, 1, 2]].tolist()
    task = Pets(folds=PETS.folds, target=labels, truth=np.array([0, 1, 2, 2, 0, 1]))
    add_sections(report, replace(OUTCOME, probabilities=probabilities), task)
    text = report.write().with_name("report.md").read_text()
    assert re.search(r"\| cat +\| 0\.500 +\| 1\.000 +\| 0\.667 +\| 1 ", text)
    assert "The largest label, dog, is 50.0% of the examples." in text


def test_several_labels_have_a_table_and_their_worst_errors(report):
    values = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 0], [0, 1]])
    probabilities = [[0.9, 0.1], [0.8, 0.3], [0.1, 0.2], [0.6, 0.95]]
    task = Pets(folds=PETS.folds, target=MultiLabel(["late", "broken"]), truth=values)
    add_sections(report, replace(OUTCOME, probabilities=probabilities), task)
    text = report.write().with_name("report.md").read_text()
    assert re.search(r"\| late +\| 0\.667 +\| 1\.000 +\| 0\.800 +\| 2 ", text)
    assert re.search(r"\| 0\.70 +\| late +\| late, broken +\| b ", text)


def test_numbers_are_drawn_and_the_largest_errors_listed(report):
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    probabilities = [[1.0], [2.5], [1.0], [4.0]]
    task = Pets(folds=PETS.folds, target=Regression(["price"]), truth=values)
    add_sections(report, replace(OUTCOME, probabilities=probabilities), task)
    text = report.write().with_name("report.md").read_text()
    assert "](numbers.png)" in text
    assert text.index("| 2 ") < text.index("| 0.5 ")


def test_without_matplotlib_pictures_are_told_how_to_get(report, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    add_sections(report)
    assert "pip install 'nlp-transfer[plots]'" in report.write().read_text()
    assert not list(report.folder.glob("*.png"))


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_its_pictures_and_says_what_is_on_them(report):
    add_sections(report)
    page = Page(report.write().read_text())
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [picture["alt"] for picture in pictures][1] == "true and predicted labels"
    for picture, name in zip(pictures, ("curves", "confusion"), strict=True):
        content = picture["src"].removeprefix("data:image/png;base64,")
        assert base64.b64decode(content) == (report.folder / f"{name}.png").read_bytes()
    tags = {tag for tag, _ in page.elements}
    assert {"table", "h1", "h2"} <= tags
    assert not tags & {"script", "link", "iframe"}


HOSTILE = (
    "<script>alert(1)</script> ![x](http://a.example/x.png) <img src=x onerror=alert(1)> *b* "
    "[l](javascript:1)"
)


@pytest.mark.parametrize("text", [HOSTILE, as_markdown(HOSTILE)])
def test_what_a_text_of_the_data_says_is_shown_and_not_obeyed(report, text):
    report.section("Errors", markdown_table(["example"], [[text]]))
    content = report.write().read_text()
    page = Page(content)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "img"} & set(tags)
    assert not any("javascript" in str(attributes) for _, attributes in page.elements)
    assert "<script>alert(1)</script>" in page.text
    assert "default-src 'none'" in content
    if text != HOSTILE:
        assert HOSTILE in page.text


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_any_text_is_shown_as_it_is(text):
    rendered = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render(markdown_table(["x"], [[as_markdown(text)]]))
    )
    assert Page(rendered).text.split() == ["x", *text.split()]


@pytest.mark.parametrize("name", ["a`b", "```", "a\n## b", "x | y", "`", "*b* <b>"])
def test_a_name_stays_on_one_line_in_lists_and_tables(name, report):
    report.section("Labels", markdown_table(["label", "n"], [[name, 1]]), as_code(name))
    report.arguments({"data": name})
    page = Page(report.write().read_text())
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h2") == 2 and tags.count("td") == 2
    assert page.text.count(name.replace("\n", r"\n")) >= 2


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
            "undone": False,
        }
    ]
    assert {"python", "torch", "transformers"} <= set(results["versions"])


def test_tables_show_deviations_and_escape_bars():
    rows = [Row("net", {"ap": 0.5}, {"ap": 0.25}, 2.0, 7000)]
    assert "| net   | 0.500 ± 0.250 | 2.0     | 7,000 " in results_table(rows, {"ap": "AP"})
    assert "a\\|b" in markdown_table(["x"], [["a|b"]])


def test_fine_tuning_that_was_undone_is_a_row_that_says_so_and_no_result():
    tuned = STAGE | {"name": "top", "best_epoch": 0, "best_score": 0.5}
    kept = Outcome("net", {"ap": 0.5}, {}, [], 0.0, 1.0, 7, [STAGE])
    undone = replace(kept, model="tuned net", stages=[STAGE, tuned])
    better = replace(undone, stages=[STAGE, tuned | {"best_epoch": 2}])
    before, row = mean_rows([[kept, undone]])
    words = "undone: no epoch was better than its start"
    table = results_table([before, row], {"ap": "AP"})
    assert table.count("0.500") == 1 and table.count(f"| tuned net ({words}) |") == 1
    assert not mean_rows([[kept, undone], [kept, better]])[1].undone  # it counts in one fold
    table = stage_table([StageResult(**stage) for stage in undone.stages])
    assert table.count("0.500") == 1 and table.count(f"| {words} |") == 1


def test_a_picture_or_page_that_was_not_drawn_to_its_end_is_not_there(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def killed(figure, path, **kwargs):
        path.write_bytes(b"PN")
        raise KeyboardInterrupt

    report = Report(tmp_path, "Title")
    monkeypatch.setattr(Figure, "savefig", killed)
    with pytest.raises(KeyboardInterrupt):
        report.picture("models", "scores", plots.plot_rows, [Row("it", {"ap": 0.5})], "ap", "AP")
    assert not list(tmp_path.iterdir())
