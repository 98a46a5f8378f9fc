"""Whatever the architecture: on stored features a model ends with the weights of whole passes."""

import copy
import logging
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import TensorDataset
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    Trainer,
    ViTConfig,
    Wav2Vec2Config,
    set_seed,
)

from staged_training import Stage, StagedTrainer, freeze, on_features
from staged_training.features import reuse as reuse_module
from tests.staged_training.conftest import collate as collate_images

pytestmark = pytest.mark.usefixtures("every_warning_is_told")

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}
BERT = BertConfig(**SMALL)
ROBERTA = RobertaConfig(**{**SMALL, "pad_token_id": 1})
DEBERTA = DebertaV2Config(
    **SMALL,
    relative_attention=True,
    position_buckets=8,
    pos_att_type=["p2c", "c2p"],
    norm_rel_ebd="layer_norm",
    share_att_key=True,
)
DISTILBERT = DistilBertConfig(
    vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=32, pad_token_id=0
)
GPT2 = GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, pad_token_id=0)
LLAMA = LlamaConfig(**SMALL, num_key_value_heads=1)
VIT = ViTConfig(
    **{name: SMALL[name] for name in SMALL if name not in ("vocab_size", "pad_token_id")},
    image_size=16,
    patch_size=4,
)
WAV2VEC2 = Wav2Vec2Config(
    **{name: value for name, value in SMALL.items() if name != "pad_token_id"},
    conv_dim=[8, 8],
    conv_kernel=[5, 3],
    conv_stride=[4, 2],
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    classifier_proj_size=8,
    layerdrop=0.0,
)


def texts(label=lambda length: length % 2, count=16):
    """Texts of 4 to 11 tokens, as a tokenizer gives them."""
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.permutation(np.arange(count) % 8 + 4)]
    return [
        {
            "input_ids": rng.integers(2, 50, length).tolist(),
            "attention_mask": [1] * length,
            "labels": label(length),
        }
        for length in lengths
    ]


def padded(examples):
    """Pad as a collator of `transformers` does."""
    fill = {"labels": -100, "input_ids": 1 if len(examples[0]) == 4 else 0}
    batch = {}
    for name in examples[0]:
        rows = [torch.tensor(example[name]) for example in examples]
        alike = len({row.shape for row in rows}) == 1
        longest = max(row.shape[-1] for row in rows) if rows[0].ndim else 0
        batch[name] = torch.stack(
            rows
            if alike
            else [
                nn.functional.pad(r, (0, longest - r.shape[-1]), value=fill.get(name, 0))
                for r in rows
            ]
        )
    return batch


def choices(count=16):
    """A question with two answers, padded to the longer of them."""
    found = []
    for ones, others in zip(texts(count=count), texts(count=count)[::-1], strict=True):
        longest = max(len(ones["input_ids"]), len(others["input_ids"]))
        example = {
            name: [row[name] + [0] * (longest - len(row[name])) for row in (ones, others)]
            for name in ("input_ids", "attention_mask")
        }
        found.append({**example, "labels": len(found) % 2})
    return found


def answers():
    """Texts in which the answer lies between two of their tokens."""
    examples = texts(label=lambda length: 0)
    for number, example in enumerate(examples):
        del example["labels"]
        example |= {"start_positions": number % 3, "end_positions": 3}
    return examples


def sounds(count=12):
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(count, 400)).astype(np.float32)
    return [{"input_values": wave, "labels": row % 2} for row, wave in enumerate(waves)]


def photos(count=12):
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(count, 3, 16, 16)).astype(np.float32)
    return [{"pixel_values": image, "labels": row % 2} for row, image in enumerate(pixels)]


def made(auto, config):
    set_seed(0)
    return auto.from_config(config)


def trained(model, arguments, data, frozen, *, reuse, kind=Trainer, **options):
    """Train on features or on whole passes; the weights, and what evaluation says."""
    model = copy.deepcopy(model)
    freeze(model, frozen)
    # Plain descent, since AdamW makes whole steps of gradients that are only rounded off.
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "optim": "sgd"}
    settings["remove_unused_columns"] = "text" in data[0]
    chosen = {"train_dataset": data, "eval_dataset": data[:6] if isinstance(data, list) else data}
    trainer = kind(
        model,
        arguments(**settings | options.pop("settings", {})),
        **chosen | {"data_collator": padded} | options,
    )
    with on_features(trainer) if reuse else nullcontext():
        trainer.train()
        metrics = trainer.evaluate()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return weights, {n: v for n, v in metrics.items() if "per_second" not in n and "time" not in n}


def assert_same(model, arguments, data, frozen="backbone", *, caplog, falls_back=False, **options):
    whole, scores = trained(model, arguments, data, frozen, reuse=False, **options)
    with caplog.at_level(logging.WARNING):
        reused, scores_reused = trained(model, arguments, data, frozen, reuse=True, **options)
    assert ("The frozen layers run in every epoch" in caplog.text) == falls_back, caplog.text
    for name, tensor in whole.items():
        torch.testing.assert_close(reused[name], tensor, rtol=0, atol=1e-5, msg=name)
    assert scores_reused == pytest.approx(scores, abs=1e-5)
    before = model.state_dict()
    return {name for name, tensor in reused.items() if not torch.equal(tensor, before[name])}


SEQUENCE = AutoModelForSequenceClassification
TOKENS = texts(label=lambda length: [*(n % 3 - 1 for n in range(length))])
for _example in TOKENS:
    _example["labels"] = [label if label >= 0 else -100 for label in _example["labels"]]
MODELS = {
    "BERT": (SEQUENCE, BERT, texts()),
    "RoBERTa": (SEQUENCE, ROBERTA, texts()),
    "DistilBERT": (SEQUENCE, DISTILBERT, texts()),
    "DeBERTa": (SEQUENCE, DEBERTA, texts()),
    "GPT-2": (SEQUENCE, GPT2, texts()),
    "Llama": (SEQUENCE, LLAMA, texts()),
    "tokens": (AutoModelForTokenClassification, BERT, TOKENS),
    "tokens, DeBERTa": (AutoModelForTokenClassification, DEBERTA, TOKENS),
    "answers": (AutoModelForQuestionAnswering, BERT, answers()),
    "choices": (AutoModelForMultipleChoice, BERT, choices()),
    "ViT": (AutoModelForImageClassification, VIT, photos()),
    "wav2vec2": (AutoModelForAudioClassification, WAV2VEC2, sounds()),
}


@pytest.mark.parametrize("frozen", ["backbone", "backbone[:-1]"], ids=["head", "top"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_on_features_as_it_would_whole(name, frozen, arguments, caplog):
    auto, config, data = MODELS[name]
    labels = [n for n in data[0] if n.endswith(("labels", "positions"))]
    settings = {"label_names": labels}
    moved = assert_same(
        made(auto, config), arguments, data, frozen, caplog=caplog, settings=settings
    )
    assert any("layer" in name or "h.2" in name for name in moved) == (frozen != "backbone")


def test_a_top_stage_on_texts_of_other_lengths_ends_with_the_model_of_whole_passes(arguments):
    def run(reuse):
        model = made(SEQUENCE, ROBERTA)
        stages = [
            Stage("head", train="head", epochs=2, learning_rate=0.02),
            Stage("top", train="backbone[-1:], head", epochs=2, learning_rate=0.01),
        ]
        data = texts()
        options = {"train_dataset": data, "eval_dataset": data, "data_collator": padded}
        trainer = StagedTrainer(model, arguments(), stages, reuse_features=reuse, **options)
        trainer.train()
        return trainer

    whole, reused = run(False), run(True)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(reused.model.state_dict()[name], tensor, rtol=0, atol=1e-5)
    assert [r.best_epoch for r in whole.results] == [r.best_epoch for r in reused.results]
    scores = [r.best_score for r in whole.results]
    assert [r.best_score for r in reused.results] == pytest.approx(scores, abs=1e-5)


class Scaled(BertForSequenceClassification):
    """Holds a parameter of its own."""

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, labels=None, **inputs):
        logits = super().forward(**inputs).logits * self.scale
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Dropped(BertForSequenceClassification):
    """Drops between base and head, several times over, and by a function."""

    def forward(self, labels=None, **inputs):
        pooled = self.bert(**inputs).pooler_output
        logits = torch.stack(
            [
                self.classifier(nn.functional.dropout(pooled, 0.5, self.training))
                for _ in range(3 if self.training else 1)
            ]
        ).mean(0)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Smoothed(BertForSequenceClassification):
    """Has another loss in training."""

    def forward(self, labels=None, **inputs):
        logits = super().forward(**inputs).logits
        smoothing = 0.2 if self.training else 0.0
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        return {"loss": loss, "logits": logits}


class Unnamed(BertForSequenceClassification):
    """Gives no `logits`."""

    def forward(self, labels=None, **inputs):
        scores = super().forward(**inputs).logits
        return {"loss": nn.functional.cross_entropy(scores, labels), "scores": scores}


@pytest.mark.parametrize("kind", [Scaled, Dropped, Smoothed, Unnamed])
def test_what_a_model_does_of_its_own_it_does_on_features(kind, arguments, caplog):
    set_seed(0)
    moved = assert_same(kind(BERT), arguments, texts(), caplog=caplog)
    assert "classifier.weight" in moved
    assert ("scale" in moved) == (kind is Scaled)


def test_relative_positions_that_all_layers_share_are_trained_where_selected(arguments):
    def run(reuse):
        model = made(SEQUENCE, DEBERTA)
        top = "backbone[-1:], deberta.encoder.rel_embeddings.*, head"
        stages = [
            Stage("head", train="head", epochs=1, learning_rate=0.02),
            Stage("top", train=top, epochs=2, learning_rate=0.02),
        ]
        options = {"train_dataset": texts(), "data_collator": padded}
        settings = {"optim": "sgd"}
        StagedTrainer(model, arguments(**settings), stages, reuse_features=reuse, **options).train()
        return model.state_dict()

    name = "deberta.encoder.rel_embeddings.weight"
    before, whole, reused = made(SEQUENCE, DEBERTA).state_dict()[name], run(False), run(True)
    assert not torch.equal(before, whole[name])
    for name, tensor in whole.items():
        torch.testing.assert_close(reused[name], tensor, rtol=0, atol=1e-5)


class Mean(BertForSequenceClassification):
    """Takes the mean of all states, those of padding too."""

    def forward(self, labels=None, **inputs):
        logits = self.classifier(self.bert(**inputs).last_hidden_state.mean(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_what_is_computed_for_padding_is_kept_where_a_model_makes_use_of_it(arguments, caplog):
    set_seed(0)
    assert_same(Mean(BERT), arguments, texts(), caplog=caplog)


class Mixed(BertForSequenceClassification):
    """Mixes what there is of an example with what there is of its padding, in a frozen layer."""

    def forward(self, labels=None, **inputs):
        states = self.bert(**inputs).last_hidden_state
        logits = self.classifier(self.bert.encoder.layer[0](states)[:, 0])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_a_model_in_which_examples_depend_on_those_beside_them_runs_whole(arguments, caplog):
    set_seed(0)
    assert_same(Mixed(BERT), arguments, texts(), caplog=caplog, falls_back=True)
    assert "its upper layers give another result on features, in evaluation (Mixed)" in caplog.text


def test_batches_that_are_no_tensors_run_whole(arguments, caplog):
    def collate(examples):
        return {**padded(examples), "names": ["someone"] * len(examples)}

    class Named(BertForSequenceClassification):
        def forward(self, names, **inputs):
            return super().forward(**inputs)

    set_seed(0)
    options = {"data_collator": collate, "settings": {"remove_unused_columns": False}}
    assert_same(Named(BERT), arguments, texts(), caplog=caplog, falls_back=True, **options)


def test_a_column_that_the_model_does_not_take_is_left_out(arguments, caplog):
    rows = [{**example, "text": "as it was written"} for example in texts()]
    data = Dataset.from_list(rows)
    assert_same(made(SEQUENCE, BERT), arguments, data, caplog=caplog)
    assert_same(made(SEQUENCE, BERT), arguments, rows, caplog=caplog)


def test_a_loss_of_the_trainer_reads_the_outputs_of_the_model(arguments, caplog):
    class Weighted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            weight = torch.tensor([1.0, 3.0])
            loss = nn.functional.cross_entropy(outputs.logits, labels, weight)
            return (loss, outputs) if return_outputs else loss

    assert_same(made(SEQUENCE, BERT), arguments, texts(), caplog=caplog, kind=Weighted)


def test_metrics_may_ask_for_the_inputs(arguments, caplog):
    def brightness(prediction):
        return {"inputs": float(np.abs(prediction.inputs).sum())}

    for name in ("ViT", "BERT"):
        auto, config, data = MODELS[name]
        options = {"settings": {"include_for_metrics": ["inputs"]}, "compute_metrics": brightness}
        assert_same(made(auto, config), arguments, data, caplog=caplog, **options)


def test_evaluation_data_may_be_several_and_others_may_come_later(arguments, caplog):
    data = texts()
    several = {"first": data[:6], "second": data[6:]}
    assert_same(made(SEQUENCE, BERT), arguments, data, caplog=caplog, eval_dataset=several)

    model = made(SEQUENCE, BERT)
    freeze(model, "backbone")
    trainer = Trainer(model, arguments(), train_dataset=data, data_collator=padded)
    with on_features(trainer):
        within = trainer.predict(data[:5]).predictions
    assert np.array_equal(within, trainer.predict(data[:5]).predictions)


def test_texts_grouped_by_length_come_in_the_same_order(arguments, caplog):
    settings = {"train_sampling_strategy": "group_by_length"}
    assert_same(made(SEQUENCE, BERT), arguments, texts(), caplog=caplog, settings=settings)


@pytest.mark.parametrize("side", ["left", "multiples of 4", "always 16"])
def test_texts_are_padded_as_their_collator_pads_them(side, arguments, caplog):
    def collate(examples):
        batch = padded(examples)
        length = batch["input_ids"].shape[1]
        if side == "left":
            for name in ("input_ids", "attention_mask"):
                rows = [torch.tensor(example[name]) for example in examples]
                batch[name] = torch.stack([r.new_zeros(length) for r in rows])
                for padded_row, row in zip(batch[name], rows, strict=True):
                    padded_row[length - len(row) :] = row
            return batch
        missing = -length % 4 if side == "multiples of 4" else 16 - length
        for name in ("input_ids", "attention_mask"):
            batch[name] = nn.functional.pad(batch[name], (0, missing))
        return batch

    model = made(SEQUENCE, LLAMA)
    assert_same(model, arguments, texts(), "backbone[:-1]", caplog=caplog, data_collator=collate)


def test_a_model_saved_while_it_trains_on_features_is_the_whole_model(arguments, tmp_path):
    model = made(SEQUENCE, BERT)
    freeze(model, "backbone")
    trainer = Trainer(model, arguments(), train_dataset=texts(), data_collator=padded)
    with on_features(trainer):
        trainer.train()
        trainer.save_model(str(tmp_path / "saved"))
    saved = SEQUENCE.from_pretrained(tmp_path / "saved").state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(saved[name], tensor), name


@pytest.mark.parametrize("draw", [torch.rand, np.random.rand, lambda _: random.random()])
def test_augmentation_is_found_however_seldom_it_strikes(draw, arguments, images, caplog):
    class Augmented(TensorDataset):
        def __getitem__(self, index):
            pixels, label = super().__getitem__(index)
            return (pixels.flip(-1) if draw(1) < 0.05 else pixels), label

    set_seed(0)
    model = made(AutoModelForImageClassification, VIT)
    freeze(model, "backbone")
    for seed in range(5):
        set_seed(seed)
        caplog.clear()
        reuse_module._warn_once.cache_clear()
        data = Augmented(*images.tensors)
        trainer = Trainer(model, arguments(), train_dataset=data, data_collator=collate_images)
        with on_features(trainer):
            pass
        assert "an example gives other inputs each time" in caplog.text


def test_falling_back_is_told_once_and_not_in_every_fold(arguments, caplog):
    set_seed(0)
    for _ in range(3):
        trained(Mixed(BERT), arguments, texts(), "backbone", reuse=True)
    assert caplog.text.count("The frozen layers run in every epoch") == 1


def test_training_on_features_leaves_no_trace_on_the_model(arguments):
    model = made(SEQUENCE, BERT)
    freeze(model, "backbone")
    trainer = Trainer(model, arguments(), train_dataset=texts(), data_collator=padded)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    attributes = set(vars(trainer))
    with on_features(trainer):
        assert len(trainer.train_dataset) == 16
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert set(vars(trainer)) == attributes
    assert not model._forward_pre_hooks


class Photographed(nn.Module):
    """A plain module on photos, to be made a little unusual."""

    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head = nn.Linear(8, 2)

    def forward(self, pixel_values, labels=None):
        logits = self.head(self.features(pixel_values))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def features(self, pixels):
        return self.base(pixels).mean((2, 3))


class Blinking(Photographed):
    """Augments within the model, now and then."""

    def features(self, pixels):
        if self.training and torch.rand(1).item() < 0.3:
            pixels = pixels + 5 * pixels.flip(1)
        return super().features(pixels)


class Gated(Photographed):
    """Compares what a frozen layer gives with a number, which no gradient tells of."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.Flatten(), nn.Linear(768, 1))

    def forward(self, pixel_values, labels=None):
        is_open = (self.gate(pixel_values) > 0.8).float()
        logits = self.head(self.features(pixel_values)) + 2 * is_open * torch.tensor([1.0, -1.0])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Expert(nn.Linear):
    """Has room for no more than two examples of a batch."""

    def forward(self, features):
        has_room = torch.arange(len(features)) < 2
        return super().forward(features) * has_room[:, None]


class Capped(Photographed):
    """Sends its features past an expert."""

    def __init__(self):
        super().__init__()
        self.expert = Expert(8, 8)

    def features(self, pixels):
        features = super().features(pixels)
        return features + 5 * self.expert(features)


@pytest.mark.parametrize("kind", [Blinking, Gated, Capped])
def test_what_no_trial_of_two_examples_meets_with_runs_whole(kind, arguments, caplog):
    set_seed(0)
    frozen = {Gated: "base.*, gate.*", Capped: "base.*, expert.*"}.get(kind, "base.*")
    assert_same(kind(), arguments, photos(), frozen, caplog=caplog, falls_back=True)


def test_a_base_that_runs_without_gradients_is_computed_once(arguments, caplog):
    class Extracted(BertForSequenceClassification):
        def forward(self, labels=None, **inputs):
            with torch.no_grad():
                pooled = self.bert(**inputs).pooler_output
            logits = self.classifier(pooled)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    set_seed(0)
    assert_same(Extracted(BERT), arguments, texts(), caplog=caplog)


def test_a_trainer_that_changes_what_a_model_is_given_runs_it_whole(arguments, caplog):
    class Masking(Trainer):
        def training_step(self, model, inputs, *others, **options):
            masked = inputs["input_ids"].clone()
            masked[:, 1] = 3
            return super().training_step(model, {**inputs, "input_ids": masked}, *others, **options)

    assert_same(
        made(SEQUENCE, BERT), arguments, texts(), caplog=caplog, kind=Masking, falls_back=True
    )
    assert "Masking has its own training_step" in caplog.text


def test_an_empty_evaluation_set_is_none_to_compute_features_of(arguments, caplog):
    model = made(SEQUENCE, BERT)
    freeze(model, "backbone")
    options = {"train_dataset": texts(), "eval_dataset": [], "data_collator": padded}
    trainer = Trainer(model, arguments(), **options)
    with on_features(trainer):
        trainer.train()
        assert trainer.eval_dataset == []
    assert "The frozen layers run in every epoch" not in caplog.text


@pytest.mark.parametrize("changed", ["configuration", "collator"])
def test_features_in_a_cache_are_those_of_their_model_and_collator(changed, arguments, tmp_path):
    data = Dataset.from_list(texts())

    def run(config, collate, cache):
        model = made(SEQUENCE, config)
        stages = [Stage("head", train="head", epochs=2, learning_rate=0.1)]
        options = {"train_dataset": data, "data_collator": collate}
        StagedTrainer(model, arguments(), stages, reuse_features=cache, **options).train()
        return model.classifier.weight

    def truncated(examples):
        return {
            name: values if values.ndim == 1 else values[:, :5]
            for name, values in padded(examples).items()
        }

    run(BERT, padded, str(tmp_path / "cache"))
    config = BertConfig(**SMALL, hidden_act="relu") if changed == "configuration" else BERT
    collate = truncated if changed == "collator" else padded
    cached = run(config, collate, tmp_path / "cache")
    torch.testing.assert_close(cached, run(config, collate, False), rtol=0, atol=1e-5)
