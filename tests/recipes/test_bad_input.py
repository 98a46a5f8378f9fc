"""Input that cannot be used is refused before any long work, and nothing is written."""

import gzip
import json
import re

import pandas as pd
import pytest
from PIL import Image

from transfer_app.command_line import main

BROKEN_MAIL = b"Subject: x\nContent-Transfer-Encoding: base64\n\nQUJDR\n"
GOOD = "text,label\n" + "".join(
    f"number {i} word{i} other{i * 7},{'urgent' if i % 4 == 0 else 'fine'}\n" for i in range(60)
)


def csv(content):
    return lambda folder: {"--data": save(folder / "mail.csv", content)}


def vectors(content, name="v.txt"):
    def make(folder):
        data = save(folder / "mail.csv", GOOD)
        return {"--data": data, "--vectors": save(folder / name, content)}

    return make


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def only_broken_mail(folder):
    for label in ("urgent", "fine"):
        (folder / label).mkdir()
        save(folder / label / "1.eml", BROKEN_MAIL)
    return {"--data": str(folder)}


def full_folder(folder):
    (folder / "out").mkdir()
    save(folder / "out" / "thesis.tex", "years of work")
    return csv(GOOD)(folder)


GLOVE = "number 1 2 3\nword1 4 5 6\n"
COMPRESSED = gzip.compress(GLOVE.encode() * 500)

BAD_INPUT = {
    "empty file": (csv(""), r"mail\.csv: the file is empty"),
    "missing column": (csv("body,label\na,b\n"), "no column 'text'. Its columns are: body, label"),
    "one class only": (csv("text,label\na,x\nb,x\n"), "every text has the label 'x'"),
    "a label seen once": (csv("text,label\na,x\nb,x\nc,y\n"), "label 'y' occurs only once"),
    "a label in few folds": (csv(GOOD + "a,z\nb,z\n"), "Label 'z' reaches 2 of 5 folds"),
    "text all white space": (csv("text,label\n ,x\n ,y\n"), "no row has a text"),
    "not UTF-8": (csv(b"text,label\n\xe9,x\n"), "line 2 is not UTF-8"),
    "no readable message": (only_broken_mail, "no message could be read"),
    "a line too short": (
        vectors(GLOVE + "x 1 2\n"),
        r"v\.txt, line 3: found 2 numbers, expected 3",
    ),
    "two dimensions": (vectors(GLOVE + "x 1 2 3 4\n"), "found 4 numbers, expected 3"),
    "NaN": (vectors("number nan 2 3\n"), "line 1: the vector holds NaN"),
    "truncated gzip": (vectors(COMPRESSED[:-9], "v.txt.gz"), "cannot be unpacked"),
    "a header that lies": (vectors("9 3\n" + GLOVE), "says 9 vectors and the file holds 2"),
    "no overlap": (vectors("zug 1 2\nhaus 2 3\n"), r"knows none of the .* words.*coverage 0\.0%"),
    "no such vectors": (
        lambda folder: csv(GOOD)(folder) | {"--vectors": "glove-99b"},
        "The names are glove-6b-50d",
    ),
    "another output folder": (full_folder, r"holds something else \(thesis\.tex\)"),
    "no such label": (
        lambda folder: csv(GOOD)(folder) | {"--positive-label": "spam"},
        "The labels are: fine, urgent",
    ),
    "a seed below zero": (lambda folder: {"--seed": "-1"}, "--seed is -1; give a whole number"),
    "a seed without end": (lambda folder: {"--seed": str(2**40)}, f"--seed is {2**40}; give"),
    "no such flag": (lambda folder: {"--epochs": "3"}, "--epochs is not known here"),
    "a misspelt flag": (
        lambda folder: {"--labelcolumn": "x"},
        "--labelcolumn is not known here. Did you mean --label-column",
    ),
    "no seeds": (lambda folder: csv(GOOD)(folder) | {"--seeds": "0"}, "--seeds is 0"),
    "a name the Hub refuses": (
        lambda folder: csv(GOOD)(folder) | {"--push-to-hub": "a b c"},
        "is not a name for the Hub",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_it_is_refused_and_nothing_is_written(case, tmp_path, capsys):
    make, message = BAD_INPUT[case]
    flags = {"--output-dir": str(tmp_path / "out"), **make(tmp_path)}
    before = sorted(tmp_path.rglob("*"))
    status = main(["run", "email-urgency", *(item for pair in flags.items() for item in pair)])
    assert status == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "content, message",
    [
        ("folds: {a: 1}", r"run\.yaml, line 1: folds is {'a': '1'}; give one value"),
        ("text_columns: [a, [b]]", r"text_columns is \['a', \['b'\]\]; give a value, or a list"),
        ("text_columns: [a, ~]", r"text_columns is \['a', None\]; give a value, or a list"),
        ("quick: true\nseed: [1, 2]", r"run\.yaml, line 2: seed is \['1', '2'\]; give one value"),
        ("seed: 1\nquick: true\nseed: 2", r"run\.yaml, line 3: seed stands twice"),
        ("seed: 1\n'seed': 1", r"run\.yaml, line 2: seed stands twice"),
        ("{seed: 1, seed: 1}", r"run\.yaml, line 1: seed stands twice"),
        ("folds: {a: 1,\n a: 2}", r"run\.yaml, line 2: a stands twice"),
        ("quick: true\nsead: 2", r"run\.yaml: sead \(line 2\) is not an argument"),
        ("hub_revision: 1.10", "--hub-revision says how to upload"),
        ("data: no", "no: no such file or folder"),
        ("1: 2", r"1 \(line 1\) is not an argument of this recipe"),
        ("? [seed]\n: 2", "run.yaml is not YAML: while constructing a mapping"),
        ("~: 2", r"null \(line 1\) is not an argument|~ \(line 1\) is not an argument"),
        ("- quick", "is not an argument of this recipe"),
        ("seed: -1", "--seed is -1; give a whole number"),
        ("data: 7", "7: no such file or folder"),
        (r'data: "a\0b"', "--data holds a zero byte"),
        ("[" * 900, "run.yaml is not YAML: maximum recursion"),
        ("seed: " + "9" * 5000, "run.yaml, line 1: argument --seed: invalid int value"),
        ("seed: !!python/object/apply:os.getcwd []", "run.yaml is not YAML: could not determine"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told(content, message, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(content)
    flags = ["--output-dir", str(tmp_path / "out")]
    assert main(["run", "email-urgency", str(tmp_path / "run.yaml"), *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["seed: soon", "quick: perhaps", "report_to: paper"])
def test_a_value_of_another_kind_in_a_configuration_is_told(content, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(f"# settings\n{content}")
    assert main(["run", "email-urgency", str(tmp_path / "run.yaml")]) == 2
    name = content.partition(":")[0].replace("_", "-")
    assert f"run.yaml, line 2: argument --{name}" in capsys.readouterr().err


def test_broken_messages_among_good_ones_are_skipped_and_told(small_data, tmp_path, caplog):
    table = pd.read_parquet(small_data / "messages.parquet")
    for row in table.itertuples():
        (tmp_path / "mail" / row.label).mkdir(parents=True, exist_ok=True)
        save(tmp_path / "mail" / row.label / f"{row.id}.eml", f"Subject: Hi\n\n{row.text}\n")
    save(tmp_path / "mail" / "urgent" / "broken.eml", BROKEN_MAIL)
    flags = ["--data", str(tmp_path / "mail"), "--output-dir", str(tmp_path / "out"), "--quick"]
    flags += ["--base", "none", "--vectors", "none"]
    assert main(["run", "email-urgency", *flags]) == 0
    assert f"1 of {len(table) + 1} messages skipped: urgent/broken.eml" in caplog.text
    assert "dealt here" in (tmp_path / "out" / "report" / "report.md").read_text()


def test_other_labels_and_columns_work_too(small_data, tmp_path):
    texts = pd.read_parquet(small_data / "messages.parquet")["text"]
    names = ["spam", "work", "private"]
    table = pd.DataFrame(
        {
            "subject": texts.str[:20],
            "body": texts.str[20:],
            "kind": [names[i % 3] for i in range(len(texts))],
        }
    )
    table.to_json(tmp_path / "mail.jsonl", orient="records", lines=True)
    flags = ["--data", str(tmp_path / "mail.jsonl"), "--label-column", "kind", "--quick"]
    flags += ["--positive-label", "work", "--output-dir", str(tmp_path / "out")]
    flags += ["--base", "none"]
    assert main(["run", "email-urgency", *flags]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["positive_label"] == "work"
    assert set(config["label2id"]) == set(names)


ROWS = [
    {"file_name": f"{n}.jpg", "box": [5, 5, 20, 20], "caption": f"pet {n}", "label": "ab"[n % 2]}
    for n in range(6)
]
DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize("recipe", ["pet-classifier", "pet-detector", "pet-captioner"])
@pytest.mark.parametrize(
    "changed, told",
    [
        ({"file_name": "a" * 300}, "could|no image|name|least"),
        ({"file_name": "a/" * 3000}, "could|no image|name|least"),
        ({"file_name": "a\0b"}, "could|no image|name|least"),
        ({"file_name": []}, "file name|kind|name"),
        ({"file_name": 10**400}, "could|no image|name|least"),
        ({"fold": 10**400}, "column 'fold' cannot be used|could"),
        ({"box": [10**400, 1, 2, 3], "label": [10**400], "caption": [10**400]}, "row 1|kind|box"),
    ],
)
def test_a_table_of_images_with_cells_of_any_kind_is_told(changed, told, recipe, tmp_path, capsys):
    for number in range(6):
        Image.new("RGB", (64, 64), (number * 40, 10, 10)).save(tmp_path / f"{number}.jpg")
    lines = (json.dumps(row | changed) for row in ROWS)
    table = save(tmp_path / "metadata.jsonl", "".join(f"{line}\n" for line in lines))
    flags = ["--box-column", "box"] if recipe == "pet-detector" else []
    out = tmp_path / "out"
    assert main(["run", recipe, "--data", table, "--output-dir", str(out), *flags]) == 2
    shown = capsys.readouterr().err
    assert re.search(told, shown) and "Traceback" not in shown
    assert not out.exists()


@pytest.mark.parametrize("recipe", ["pet-detector", "pet-captioner"])
@pytest.mark.parametrize("part", ["images", "annotations", "categories", ""])
@pytest.mark.parametrize("value", ["null", '"x"', "7", "{}", "true", "[null]", "NaN", DEEP])
def test_annotations_of_another_kind_are_told(value, part, recipe, tmp_path, capsys):
    parts = {"images": "[]", "annotations": "[]", "categories": "[]"}
    content = ", ".join(f'"{name}": {of}' for name, of in (parts | {part: value}).items())
    file = save(tmp_path / "a.json", f"{{{content}}}" if part else value)
    out = tmp_path / "out"
    assert main(["run", recipe, "--data", file, "--output-dir", str(out)]) == 2
    shown = capsys.readouterr().err
    assert "a.json" in shown and shown.count("\n") == 1
    assert not out.exists()
