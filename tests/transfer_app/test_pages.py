"""What the pages of the demo show of one label, several labels and a number."""

import pytest

from tests.fuzz.targets import PHOTO
from tests.small_models import NAMES, TEXTS, save_image_model, save_text_model
from transfer_app.demo import photos, texts
from transfer_app.prediction.opening import open_predictor

ONE, SEVERAL, NUMBER = NAMES


def function_of(page, name):
    return next(function.fn for function in page.fns.values() if function.name == name)


@pytest.mark.parametrize(
    "kind, bias, first, spoke",
    [
        (ONE, [0, 0, 3], "the highest score", "What spoke for technical (+) and against"),
        (SEVERAL, [3, 2, -3], "the highest score", "What spoke for late (+) and against"),
        (NUMBER, [9], "the largest number", "What raised minutes (+) and lowered it"),
    ],
)
def test_mails_are_shown_with_all_that_is_predicted(kind, bias, first, spoke, tmp_path):
    save_text_model(tmp_path / "model", kind, bias=bias)
    rank = function_of(texts.blocks(open_predictor(str(tmp_path / "model"))), "rank")
    (mail,), inbox, notes, shown, text, summary = rank(TEXTS[0], None)
    assert notes == f"1 ranked, {first} first."
    assert inbox.choices[0][0].startswith("  ".join(mail.answer.cells))
    fields = mail.answer.fields
    if kind == NUMBER:
        assert shown.value["label"] == f"{fields['value']:.12g}"
    else:
        bars = {bar["label"]: bar["confidence"] for bar in shown.value["confidences"]}
        assert bars == fields["scores"]
    assert text.label == spoke
    assert summary.value.startswith("Most for it: ")


def test_a_positive_label_ranks_the_inbox_and_is_explained(tmp_path):
    save_text_model(tmp_path / "model", ONE, bias=[0, 0, 3], positive_label="bill")
    rank = function_of(texts.blocks(open_predictor(str(tmp_path / "model"))), "rank")
    (mail,), _, notes, _, text, _ = rank(TEXTS[0], None)
    assert notes == "1 ranked, the most likely bill first."
    assert mail.answer.fields["label"] == "technical"
    assert text.label == "What spoke for bill (+) and against"


@pytest.mark.parametrize("kind", NAMES)
def test_photos_are_shown_with_all_that_is_predicted(kind, tmp_path):
    save_image_model(tmp_path / "model", kind, bias=[2])
    look = function_of(photos.blocks(open_predictor(str(tmp_path / "model"))), "look")
    ((name, shown),), gallery, notes, _ = look([str(PHOTO)])
    assert notes.startswith(f"{PHOTO.name}: ")
    (photo,) = gallery.value
    assert photo["caption"] == notes
    if kind == NUMBER:
        assert notes == f"{name}: {shown}"
    else:
        assert set(shown) == set(NAMES[kind])
