"""A pretrained encoder with a head on some of its layers, for texts of any length."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from nlp_transfer.classification import staged_text_trainer
from nlp_transfer.encoder_classifier import load_encoder_classifier
from nlp_transfer.models.modeling_conv_head import BytewiseDropout
from nlp_transfer.text_task import LabelledTexts
from staged_training import InputError, Stage, freeze, layer_groups
from staged_training.experiment.target import SingleLabel
from staged_training.features.head import FeatureHead, base_features
from staged_training.features.store import collate_features
from tests.small_models import without_dropout

TEXTS = [
    "The server is down, call me before noon.",
    "Lunch was good.",
    "Please send me the signed contract today, the bank closes at five and will not wait for us.",
    "See you next summer, maybe in June.",
]


@pytest.fixture
def classifier():
    model, tokenizer = load_encoder_classifier("bert", ["calm", "urgent"], seed=0)
    return model.eval(), tokenizer


def batch(tokenizer, texts):
    return dict(tokenizer(texts, padding=True, return_tensors="pt"))


def test_only_the_layers_that_are_read_are_there(classifier):
    model, _ = classifier
    names = [group.name for group in layer_groups(model)]
    assert names == [
        "embeddings",
        "encoder.layer.0",
        "encoder.layer.1",
        "encoder.layer.2",
        "head",
    ]
    assert model.config.window == 512
    deeper, _ = load_encoder_classifier("bert", ["calm", "urgent"], seed=0, layers=[6])
    assert len(layer_groups(deeper)) == 8


def test_what_it_scores_does_not_depend_on_the_padding(classifier):
    model, tokenizer = classifier
    together = model(**batch(tokenizer, TEXTS)).logits
    for row, text in enumerate(TEXTS):
        alone = model(**batch(tokenizer, [text])).logits[0]
        torch.testing.assert_close(alone, together[row], rtol=0, atol=1e-5)


def test_a_long_text_is_read_to_its_end_window_by_window(classifier):
    model, tokenizer = classifier
    model.config.window = 8
    inputs = batch(tokenizer, TEXTS)
    assert inputs["input_ids"].shape[1] > 2 * 8
    states = base_features(model, inputs)
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        for start in range(0, length, 8):
            ids = inputs["input_ids"][row : row + 1, start : min(start + 8, length)]
            alone = base_features(model, {"input_ids": ids})[0]
            together = states[row, start : start + ids.shape[1]]
            torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
        assert not states[row, length:].any()
    long = tokenizer("urgent " * 1000, truncation=True)
    assert len(long["input_ids"]) == 1002


def test_logits_from_stored_features_are_those_of_the_model(classifier):
    model, tokenizer = classifier
    inputs = batch(tokenizer, TEXTS) | {"labels": torch.tensor([1, 0, 1, 0])}
    inputs.pop("token_type_ids")
    states, lengths = base_features(model, inputs), inputs["attention_mask"].sum(1).tolist()
    stored = [{"features": row[:length]} for row, length in zip(states, lengths, strict=True)]
    features = collate_features(stored)["features"]
    found, expected = FeatureHead(model, inputs)(features, inputs["labels"]), model(**inputs)
    torch.testing.assert_close(found["logits"], expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(found["loss"], expected.loss, rtol=0, atol=1e-5)


def test_a_head_trained_on_features_is_that_trained_within_the_model(tmp_path, caplog):
    texts = LabelledTexts(TEXTS * 16, [1, 0, 1, 0] * 16)
    stages = [Stage("head", train="head", epochs=3, learning_rate=1e-3)]
    trained, passes = [], []
    for reuse in (False, True):
        model, tokenizer = load_encoder_classifier("bert", ["calm", "urgent"], seed=0)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        seen = []
        model.encoder.embeddings.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        folder = tmp_path / str(reuse)
        trainer = staged_text_trainer(
            *(model, tokenizer, stages, texts, None, SingleLabel(["calm", "urgent"], 1), folder, 0),
            pretrained="backbone",
            reuse_features=reuse,
        )
        trainer.args.train_sampling_strategy = "random"
        trainer.train()
        after = model.state_dict()
        assert all(torch.equal(before[n], t) for n, t in after.items() if "encoder." in n)
        trained.append(after)
        passes.append(len(seen))
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=0, atol=1e-4)
    assert "The frozen layers run in every epoch" not in caplog.text
    whole, reused = passes
    assert whole == 3 * 2 and reused <= 16 + 2  # two batches an epoch; some to try, two of 32 texts


def test_what_is_saved_carries_its_code_and_runs_in_a_pipeline(classifier, tmp_path):
    model, tokenizer = classifier
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "modeling_conv_head.py").exists()
    assert (tmp_path / "configuration_conv_head.py").exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded) is type(model)
    inputs = batch(AutoTokenizer.from_pretrained(tmp_path), TEXTS)
    expected = model(**inputs).logits
    assert torch.equal(loaded(**inputs).logits, expected)
    classify = pipeline("text-classification", model=str(tmp_path), top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classify(TEXTS[:1])[0]}
    assert scores["urgent"] == pytest.approx(expected[0].softmax(-1)[1].item(), abs=1e-5)


def test_an_encoder_that_trains_reads_texts_of_like_length_at_a_time(classifier):
    model, tokenizer = classifier
    without_dropout(model).train()
    texts = [f"Text {number}, " + "and more " * (number * 7 % 23) for number in range(20)]
    inputs = batch(tokenizer, texts) | {"labels": torch.arange(20) % 2}
    read = []
    model.encoder.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].shape), with_kwargs=True
    )
    found = []
    for frozen in ("backbone[0]", "backbone[:2]"):  # a frozen layer may be given what is stored
        freeze(model, frozen)
        outputs = model(**inputs)
        upper = [*layer_groups(model)[2].parameters.values(), *model.head.parameters()]
        found.append([outputs.logits, *torch.autograd.grad(outputs.loss, upper)])
    *some, whole = read
    assert whole == inputs["input_ids"].shape and [rows for rows, _ in some] == [8, 8, 4]
    assert sum(rows * tokens for rows, tokens in some) < 0.8 * inputs["input_ids"].numel()
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


def test_an_encoder_that_trains_reads_all_real_tokens_wherever_padding_lies(classifier):
    model, tokenizer = classifier
    without_dropout(model).train()
    inputs = batch(tokenizer, TEXTS * 3)
    shown = inputs["attention_mask"].clone()
    shown[:, 2::3] = 0
    lengths = inputs["attention_mask"].sum(1).tolist()
    left = {name: rows.clone() for name, rows in inputs.items()}
    for rows in left.values():
        for row, length in zip(rows, lengths, strict=True):
            row.copy_(row.roll(-length))
    found = {"backbone[0]": [], "backbone[:2]": []}  # a frozen layer may be given what is stored
    for frozen, logits in found.items():
        freeze(model, frozen)
        for given in (inputs | {"attention_mask": shown}, left):
            logits.append(model(**given).logits)
    torch.testing.assert_close(*found.values(), rtol=0, atol=1e-5)


def test_a_frozen_base_drops_nothing_while_the_head_does(classifier):
    model, tokenizer = classifier
    freeze(model, "backbone")
    model.train()
    inputs = batch(tokenizer, TEXTS)
    assert torch.equal(base_features(model, inputs), base_features(model, inputs))
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_dropout_keeps_the_mean_and_drops_what_it_should(share):
    torch.manual_seed(0)
    dropout, ones = BytewiseDropout(share), torch.ones(999, 1001, requires_grad=True)
    assert torch.equal(dropout.eval()(ones), ones)
    kept = dropout.train()(ones)
    assert (kept == 0).float().mean().item() == pytest.approx(share, abs=0.003)
    if share < 1:
        assert kept.mean().item() == pytest.approx(1, abs=0.01)
    kept.sum().backward()
    assert torch.equal(ones.grad, kept), "the gradient flows where the number was kept"
    assert not torch.equal(dropout(ones), kept) or share in (0, 1), "the next one is another"


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no text encoder could be loaded from there"):
        load_encoder_classifier(tmp_path, ["a", "b"], seed=0)
    with pytest.raises(InputError, match=r"layers is \[0, 9\]; give some of 0 to 6"):
        load_encoder_classifier("bert", ["a", "b"], seed=0, layers=[0, 9])
