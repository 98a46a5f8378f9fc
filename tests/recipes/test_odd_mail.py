"""Commands on a folder that mixes all oddities of mail: all is read, or counted and named."""

import json

import pytest
from transformers import set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from tests.nlp_transfer.odd_mail import NOT_READ, write_odd_mail
from transfer_app.command_line import main

WORDS = "the pump has stopped mail number one two"


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {len(word)} 2 {n}\n" for n, word in enumerate(WORDS.split())))
    return str(path)


def test_coverage_and_predictions_name_what_is_left_out(tmp_path, vectors, capsys, caplog):
    tokenizer = build_vocabulary([WORDS], min_frequency=1)
    set_seed(0)
    RecurrentForSequenceClassification(RecurrentConfig(vocab_size=len(tokenizer))).save_pretrained(
        tmp_path / "model"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    count = write_odd_mail(tmp_path / "mail")
    assert main(["coverage", str(tmp_path / "mail"), vectors]) == 0
    _check_told(caplog)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "mail"), "--json"]) == 0
    _check_told(caplog)
    predicted = [json.loads(line)["input"] for line in capsys.readouterr().out.splitlines()]
    assert len(predicted) == len(set(predicted)) == count


def test_advice_names_what_is_left_out(tmp_path, vectors, capsys, caplog):
    for label in ("urgent", "fine"):
        write_odd_mail(tmp_path / "mail" / label)
    assert main(["advise", str(tmp_path / "mail"), "--vectors", vectors]) == 0
    assert "22 labelled examples" in capsys.readouterr().out
    _check_told(caplog)


def _check_told(caplog):
    for name in {*NOT_READ, b"scan.eml", b"long.eml"}:
        assert name.decode() in caplog.text
    caplog.clear()
