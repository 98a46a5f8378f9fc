"""Cards that the Hub accepts, and pushes that are refused before any work."""

import pytest
from huggingface_hub import ModelCard

from staged_training import InputError, hub
from staged_training.hub import Task, check_push, write_card
from staged_training.outcome import Row

TASK = Task("text-classification", "Email urgency", "messages", {"average_precision": "AP"})


def test_the_card_holds_the_metrics_for_the_hub(tmp_path):
    row = Row("net", {"average_precision": 0.45678, "accuracy": 0.9})
    write_card(tmp_path, "Urgency", TASK, row, ["## Limits"], license_id="mit", tags=["email"])
    card = ModelCard.load(tmp_path / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("average_precision", 0.4568)
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["nlp-transfer", "email"]
    assert card.text.strip() == "# Urgency\n\n## Limits"


def test_a_push_without_login_or_with_a_bad_name_is_refused(monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="needs a login"):
        check_push("someone/model")
    with pytest.raises(InputError, match="is not a name for the Hub"):
        check_push("not a name")
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    check_push("someone/model")
