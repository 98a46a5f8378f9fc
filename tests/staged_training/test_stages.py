"""Stages: what they may say, and the order that is refused."""

import math
import pickle
from dataclasses import replace

import pytest
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    set_seed,
)

from staged_training import InputError, Stage, StagedTrainer
from staged_training.layers import select_parameters
from staged_training.pretrained import new_parameters, pretrained_parameters
from staged_training.stages import check_stages

HEAD = Stage("head", train="head", epochs=1, learning_rate=0.1)
TOP = Stage("top", train="backbone[-1:], head", epochs=1, learning_rate=0.1)


def test_the_head_first_and_then_the_top_layers_is_accepted(bert):
    check_stages(bert, [HEAD, TOP])


@pytest.mark.parametrize("train", ["all", "backbone", "backbone[-1], head", "*.bias"])
def test_head_and_base_together_first_is_refused_with_the_reason(bert, train):
    stages = [Stage("everything", train=train, epochs=1, learning_rate=0.1), TOP]
    with pytest.raises(InputError, match=r"'everything' trains pretrained layers .*gradients"):
        check_stages(bert, stages)
    check_stages(bert, stages, allow_joint_training=True)


def test_a_head_that_was_tuned_only_in_part_is_not_tuned(bert):
    part = Stage("part", train="classifier.bias", epochs=1, learning_rate=0.1)
    with pytest.raises(InputError, match="'top' trains pretrained layers"):
        check_stages(bert, [part, TOP])


def test_only_layers_that_are_pretrained_need_protection(bert):
    """With pretrained embeddings only, the layers above them are as new as the head."""
    new = Stage("new layers", train="backbone[1:], head", epochs=1, learning_rate=0.1)
    everything = Stage("everything", train="all", epochs=1, learning_rate=0.1)
    check_stages(bert, [new, everything], pretrained="embeddings")
    with pytest.raises(InputError, match="'new layers' trains pretrained layers"):
        check_stages(bert, [new, everything])


def test_no_stages_and_names_given_twice_are_refused(bert):
    with pytest.raises(InputError, match="list of stages is empty"):
        check_stages(bert, [])
    with pytest.raises(InputError, match="same name"):
        check_stages(bert, [HEAD, HEAD])


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("name", ""),
        ("name", "../head"),
        ("epochs", 0),
        ("learning_rate", 0),
        ("learning_rate", math.inf),
        ("layer_decay", 1.1),
        ("patience", 0),
    ],
)
def test_a_value_out_of_range_is_named(attribute, value):
    options = {"name": "head", "train": "head", "epochs": 1, "learning_rate": 0.1}
    with pytest.raises(InputError, match=f"{attribute} must .* but it is {value!r}"):
        Stage(**options | {attribute: value})


def loaded(task, config, path, saved=None):
    """A model for a task, loaded from the checkpoint of another task."""
    set_seed(0)
    (saved or task).from_config(config).save_pretrained(path)
    return task.from_pretrained(path, ignore_mismatched_sizes=True, num_labels=2)


SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture
def bert_without_pooler(tmp_path):
    """A classifier from the checkpoint of a masked language model, which holds no pooler."""
    config = AutoConfig.for_model("bert", **SIZES)
    return loaded(AutoModelForSequenceClassification, config, tmp_path, AutoModelForMaskedLM)


def test_what_the_checkpoint_lacks_is_new(bert, bert_without_pooler):
    new = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    head = {"classifier.weight", "classifier.bias"}
    assert new_parameters(bert_without_pooler) == new | head
    everything = {name for name, _ in bert_without_pooler.named_parameters()}
    assert pretrained_parameters(bert_without_pooler) == everything - new - head
    assert new_parameters(bert) == set()  # made from a configuration, with no checkpoint at all
    assert pretrained_parameters(bert) == set(select_parameters(bert, "backbone"))
    again = pickle.loads(pickle.dumps(bert_without_pooler.double()))
    assert new_parameters(again) == new | head


def test_a_weight_of_another_size_than_in_the_checkpoint_is_new(tmp_path):
    config = AutoConfig.for_model("distilbert", vocab_size=50, dim=16, hidden_dim=16, n_heads=2)
    config.n_layers = 2
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, vocab_size=60, ignore_mismatched_sizes=True
    )
    assert new_parameters(model) == {"distilbert.embeddings.word_embeddings.weight"}
    with pytest.raises(InputError, match=r"distilbert\.embeddings\.word_embeddings\.\*"):
        check_stages(model, [HEAD])


def test_tied_weights_are_in_the_checkpoint_under_one_name(tmp_path):
    config = AutoConfig.for_model(
        "bart", vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )  # fmt: skip
    model = loaded(AutoModelForSequenceClassification, config, tmp_path, AutoModel)
    assert all(name.startswith("classification_head") for name in new_parameters(model))


def test_new_layers_of_the_backbone_are_trained_with_the_head(bert_without_pooler):
    top = replace(TOP, train="bert.encoder.layer.2.*, head")
    advised = r"Stage\('head', train='head, bert\.pooler\.\*', \.\.\.\)"
    with pytest.raises(InputError, match=rf"'top' trains pretrained .*bert\.pooler.*{advised}"):
        check_stages(bert_without_pooler, [HEAD, top])
    with pytest.raises(InputError, match=rf"lacks bert\.pooler\.\*: .*{advised}"):
        check_stages(bert_without_pooler, [HEAD])
    with pytest.raises(InputError, match=r"lacks bert\.pooler"):
        check_stages(bert_without_pooler, [HEAD], allow_joint_training=True)
    first = replace(HEAD, train="head, bert.pooler.*")
    check_stages(bert_without_pooler, [first])
    check_stages(bert_without_pooler, [first, top])
    check_stages(bert_without_pooler, [HEAD, top], pretrained="backbone")


def test_a_trainer_refuses_to_leave_new_layers_random(bert_without_pooler, arguments):
    with pytest.raises(InputError, match=r"head, bert\.pooler"):
        StagedTrainer(bert_without_pooler, arguments(), [HEAD], train_dataset=[{}])


def test_the_projector_of_a_speech_model_is_new(tmp_path):
    config = AutoConfig.for_model(
        "whisper", vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=1, num_mel_bins=8,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, classifier_proj_size=8, max_source_positions=20,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = loaded(AutoModelForAudioClassification, config, tmp_path, AutoModelForSpeechSeq2Seq)
    assert {name.split(".")[0] for name in new_parameters(model)} == {"projector", "classifier"}
    check_stages(model, [replace(HEAD, train="head, projector.*"), TOP])


def test_the_refusal_names_the_argument_that_tells_what_is_pretrained(bert):
    new = Stage("new layers", train="backbone[1:], head", epochs=1, learning_rate=0.1)
    with pytest.raises(InputError, match=r"pretrained='backbone\[0\]'"):
        check_stages(bert, [new])
