"""Adapters: the layers below them are frozen to the bit, and hold them when the stage is over."""

import re
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    TrainerCallback,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

from staged_training import (
    InputError,
    LayerFreezingCallback,
    Stage,
    StagedTrainer,
    freeze,
    layer_groups,
)
from staged_training.adapters import adapters, check_adapters, without_adapters
from staged_training.freezing import train_only
from tests.staged_training.conftest import ConvNet, collate
from tests.staged_training.test_precision import padded, texts
from tests.staged_training.test_trainer import KillAfter, Killed

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra `lora`")
HEAD = Stage("head", train="head", epochs=1, learning_rate=0.01)
TUNED = Stage("adapters", train="backbone[-2:].lora(4), head", epochs=3, learning_rate=0.02)
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32}


def bert():
    set_seed(0)
    return BertForSequenceClassification(BertConfig(vocab_size=50, **SMALL))


def vit():
    set_seed(0)
    return ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, num_labels=2, **SMALL))


def timm_vit():
    from vision_transfer.backbones import untrained_backbone

    set_seed(0)
    return untrained_backbone("test_vit", ["a", "b"], 32, 3)[0]


def trained(make, arguments, images, stages=(HEAD, TUNED), *callbacks, resume=False, **options):
    """A trainer that went through the stages, which start with a model of its own."""
    data, collator = texts(), padded
    if make is not bert:
        pixels, labels = images.tensors
        size = 16 if make is vit else 32
        data = TensorDataset(nn.functional.interpolate(pixels, size=size), labels)
        collator = collate
    given = {"train_dataset": data, "eval_dataset": data, "data_collator": collator}
    args = arguments(metric_for_best_model="loss")
    model = make()
    given["callbacks"] = [*callbacks]
    trainer = StagedTrainer(model, args, stages, **given, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Watch(TrainerCallback):
    """Notes what is trained, and whether anything else has changed after a stage."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.before = {n: p.detach().clone() for n, p in model.named_parameters()}

    def on_train_end(self, args, state, control, model, **kwargs):
        self.trained = {n for n, p in model.named_parameters() if p.requires_grad}
        self.changed = {
            n for n, p in model.named_parameters() if not torch.equal(p, self.before[n])
        }


@needs_peft
@pytest.mark.device
@pytest.mark.parametrize("make", [bert, vit, timm_vit])
def test_the_base_is_frozen_to_the_bit_and_takes_the_adapters_up(make, arguments, images):
    watch, before = Watch(), make()
    trainer = trained(make, arguments, images, (HEAD, TUNED), watch)
    assert watch.changed == watch.trained
    of_head = layer_groups(before)[-1].parameters
    assert all(".lora_" in name or name in of_head for name in watch.trained)
    assert any(".lora_B" in name for name in watch.changed)
    after = trainer.model.state_dict()
    assert after.keys() == before.state_dict().keys()
    adapted = {n for n, t in before.state_dict().items() if not torch.equal(t, after[n].cpu())}
    *_, second, first, head = layer_groups(before)
    assert adapted <= {*second.parameters, *first.parameters, *head.parameters}
    assert all(set(group.parameters) & adapted for group in (second, first, head))
    assert trainer.results[1].trained == [second.name, first.name, "head"]
    least = sum(p.numel() for p in second.parameters.values())
    assert trainer.results[1].trainable_parameters < least


@needs_peft
def test_patterns_name_the_same_layers_when_adapters_are_beside_them():
    model, selector = bert(), "*.2.*.query.weight.lora(2), *.query.bias"
    with adapters(model, selector, seed=0):
        train_only(model, selector)
        trained = sorted(name for name, p in model.named_parameters() if p.requires_grad)
    layer = "bert.encoder.layer.{}.attention.self.query.{}"
    names = ["base_layer.bias", "lora_A.default.weight", "lora_B.default.weight"]
    assert trained == [layer.format(0, "bias"), layer.format(1, "bias")] + [
        layer.format(2, name) for name in names
    ]


@needs_peft
def test_the_merged_model_computes_what_the_adapted_one_did_and_loads_as_ever(
    arguments, images, tmp_path
):
    class Logits(TrainerCallback):
        def on_train_end(self, args, state, control, model, **kwargs):
            self.found = logits_of(model)

    def logits_of(model):
        model.eval()
        with torch.no_grad():
            return model(**{k: v for k, v in padded(texts()).items() if k != "labels"}).logits

    last = Logits()
    trainer = trained(bert, arguments, images, (HEAD, TUNED), last)
    merged = logits_of(trainer.model)
    assert trainer.results[1].best_epoch == 3  # the one that it was computed after
    torch.testing.assert_close(merged, last.found, rtol=0, atol=1e-5)
    trainer.save_model(str(tmp_path / "saved"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(loaded), merged)
    trainer.load_stage("head")
    head = logits_of(trainer.model)
    trainer.load_stage("adapters")
    assert torch.equal(logits_of(trainer.model), merged) and not torch.equal(head, merged)


@needs_peft
@pytest.mark.device
@pytest.mark.parametrize("make", [bert, vit])
def test_adapters_on_stored_features_are_those_within_the_whole_model(make, arguments, images):
    class Count(TrainerCallback):
        def on_init_end(self, args, state, control, model, **kwargs):
            self.seen = []
            lowest = next(m for m in model.modules() if [*m.parameters(recurse=False)])
            lowest.register_forward_hook(
                lambda *call: self.seen.append(len(call[2]) * any(call[2].stride()))
            )

    counts = Count(), Count()
    whole = trained(make, arguments, images, (HEAD, TUNED), counts[0])
    reused = trained(make, arguments, images, (HEAD, TUNED), counts[1], reuse_features=True)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(reused.model.state_dict()[name], tensor, rtol=0, atol=1e-4)
    assert sum(counts[1].seen) < sum(counts[0].seen)


@needs_peft
@pytest.mark.device
@pytest.mark.parametrize("steps", [1, 8])
def test_a_stage_of_adapters_that_was_cut_off_resumes_bit_identical(steps, arguments, images):
    whole = trained(bert, arguments, images)
    with pytest.raises(Killed):
        trained(bert, arguments, images, (HEAD, TUNED), KillAfter(steps))
    resumed = trained(bert, arguments, images, (HEAD, TUNED), resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@needs_peft
def test_adapters_that_an_error_cuts_off_leave_the_model_as_it_was():
    model, before = bert(), bert().state_dict()
    with pytest.raises(Killed), adapters(model, "backbone.lora", seed=0):
        train_only(model, "backbone.lora")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 1
        raise Killed
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert not hasattr(model, "peft_config")


@needs_peft
@pytest.mark.parametrize(
    ("model", "selector", "told"),
    [
        (ConvNet, "backbone.lora", "adapters are for linear layers, and 'backbone' of ConvNet"),
        (bert, "backbone[-1:].lora(0)", "rank of an adapter is at least 1"),
        (bert, "backbone[-1:].lora(33)", "here the widest has 32"),
        (bert, "encoder.layer.7.lora", "'encoder.layer.7' matches no parameters"),
    ],
)
def test_what_cannot_be_adapted_is_refused_before_any_training(model, selector, told):
    with pytest.raises(InputError, match=re.escape(told)):
        check_adapters(model(), selector)


@needs_peft
def test_a_model_is_as_it_was_when_its_adapters_were_checked():
    model, before = bert(), bert().state_dict()
    freeze(model, "embeddings")
    state = torch.get_rng_state()
    trained = [parameter.requires_grad for parameter in model.parameters()]
    check_adapters(model, "backbone[-2:].lora(4), head")
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert model.state_dict().keys() == before.keys()
    assert torch.equal(torch.get_rng_state(), state)


@needs_peft
def test_what_peft_cannot_adapt_is_refused(monkeypatch):
    def refuse(*_):
        raise ValueError("Module 'out_proj' is incompatible with Mamba-based models")

    monkeypatch.setattr("peft.inject_adapter_in_model", refuse)
    with pytest.raises(InputError, match="PEFT cannot adapt these layers of BertForSequence"):
        check_adapters(bert(), "backbone.lora")


def test_adapters_outside_a_stage_are_refused(arguments):
    from transformers import Trainer

    with pytest.raises(InputError, match="A stage of `StagedTrainer` makes them"):
        Trainer(bert(), arguments(), callbacks=[LayerFreezingCallback("backbone.lora, head")])
    assert without_adapters("backbone[-2:].lora(16), head") == "backbone[-2:], head"


def test_without_peft_adapters_are_refused_with_what_to_install(monkeypatch, arguments):
    monkeypatch.setattr("staged_training.adapters.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"need PEFT: pip install 'nlp-transfer\[lora\]'"):
        StagedTrainer(bert(), arguments(), [HEAD, TUNED], train_dataset=texts())
