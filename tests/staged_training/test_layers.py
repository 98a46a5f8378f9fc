"""Layer groups: what a model is made of, and how its parts are named."""

from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from transformers import (
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    default_data_collator,
    set_seed,
)

from staged_training import GradualUnfreezingCallback, InputError, layer_groups
from staged_training.freezing import train_only
from staged_training.layers import select_parameters
from staged_training.layerwise_rates import group_by_layer, layerwise_rates


def names(model):
    return [group.name for group in layer_groups(model)]


def test_a_text_model_is_split_into_embeddings_layers_and_head(bert):
    groups = layer_groups(bert)
    assert [group.name for group in groups] == [
        "embeddings",
        "encoder.layer.0",
        "encoder.layer.1",
        "encoder.layer.2",
        "head",
    ]
    assert "bert.pooler.dense.weight" in groups[3].parameters


def test_an_image_model_is_split_into_stem_stages_and_head(resnet):
    assert names(resnet) == [
        "embedder",
        "encoder.stages.0",
        "encoder.stages.1",
        "encoder.stages.2",
        "head",
    ]


def test_normalisation_and_layers_without_parameters_belong_to_the_group_before_them(convnet):
    groups = {group.name: group for group in layer_groups(convnet)}
    assert list(groups) == ["stem", "blocks.0", "blocks.1", "head"]
    assert "norm" in groups["stem"].modules
    assert "dropout" in groups["blocks.1"].modules


@pytest.mark.parametrize(
    ("architecture", "first", "last"),
    [
        ("tf_efficientnet_lite0", "conv_stem", "blocks.6"),
        ("resnet18", "conv1", "layer4.1"),
        ("vit_tiny_patch16_224", "patch_embed", "blocks.11"),
        ("convnext_atto", "stem", "stages.3"),  # its classifier lies deep in a head module
    ],
)
def test_the_head_of_a_timm_model_is_the_classifier_within_its_base(architecture, first, last):
    config = TimmWrapperConfig(architecture=architecture, num_labels=2)
    model = TimmWrapperForImageClassification(config)
    groups = layer_groups(model)
    assert (groups[0].name, groups[-2].name) == (first, last)
    classifier = model.timm_model.get_classifier()
    assert set(map(id, groups[-1].parameters.values())) == set(map(id, classifier.parameters()))
    grouped = [name for group in groups for name in group.parameters]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("model", ["bert", "resnet", "convnet"])
def test_every_parameter_is_in_exactly_one_group(model, request):
    model = request.getfixturevalue(model)
    grouped = [name for group in layer_groups(model) for name in group.parameters]
    assert sorted(grouped) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("selector", "groups"),
    [
        ("head", ["head"]),
        ("backbone", ["embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2"]),
        ("backbone[-2:]", ["encoder.layer.1", "encoder.layer.2"]),
        ("backbone[0]", ["embeddings"]),
        ("backbone[-1], head", ["encoder.layer.2", "head"]),
        ("encoder.layer.1", ["encoder.layer.1"]),
        ("bert.encoder.layer.[01].*", ["encoder.layer.0", "encoder.layer.1"]),
    ],
)
def test_selectors_name_groups_by_position_by_name_and_by_pattern(bert, selector, groups):
    expected = [n for g in layer_groups(bert) if g.name in groups for n in g.parameters]
    assert sorted(select_parameters(bert, selector)) == sorted(expected)


@pytest.mark.parametrize("selector", ["heads", "backbone[9]", "encoder.layer.7", "head, backbon"])
def test_an_unknown_selector_names_the_groups_that_exist(bert, selector):
    with pytest.raises(InputError, match=r"embeddings, encoder\.layer\.0, .*, head"):
        select_parameters(bert, selector)


def test_a_selector_that_is_misspelt_is_guessed(bert):
    with pytest.raises(InputError, match=r"Did you mean 'encoder\.layer\.1'"):
        select_parameters(bert, "encoder.layers.1")
    with pytest.raises(InputError, match="Put a comma between selectors"):
        select_parameters(bert, "backbone[-1:] head")


def test_an_empty_selector_is_refused(bert):
    with pytest.raises(InputError, match="selector is empty"):
        select_parameters(bert, " , ")


def test_a_model_without_a_head_is_refused(bert):
    with pytest.raises(InputError, match="no head on a base"):
        layer_groups(nn.Sequential(nn.Linear(2, 2)))


def owner(model, parameter):
    """The name of the only group that a parameter lies in."""
    (name,) = [
        g.name for g in layer_groups(model) if any(p is parameter for p in g.parameters.values())
    ]
    return name


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODER = SIZES | {"vocab_size": 50, "intermediate_size": 32}
AUDIO = SIZES | {
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (3, 3),
    "conv_stride": (2, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
BART = {
    f"{part}_{size}": number
    for part in ("encoder", "decoder")
    for size, number in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 16))
} | {"vocab_size": 50, "d_model": 16}
GPT2 = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2}

OF_ENCODER = ["embeddings", "encoder.layer.0", "encoder.layer.1", "head"]
OF_AUDIO = ["feature_extractor", "encoder.layers.0", "encoder.layers.1", "head"]
OF_T5 = [
    "shared",
    *(f"{part}.block.{n}" for part in ("encoder", "decoder") for n in (0, 1)),
    "head",
]
OF_BART = [name.replace("block", "layers") for name in OF_T5]


def made(family, task, **config):
    """A small model of `transformers` with random weights."""
    set_seed(0)
    return getattr(transformers, family + task)(getattr(transformers, f"{family}Config")(**config))


@pytest.mark.parametrize(
    ("family", "task", "config", "expected"),
    [
        ("RobertaPreLayerNorm", "ForSequenceClassification", ENCODER, OF_ENCODER),
        ("MPNet", "ForTokenClassification", ENCODER, OF_ENCODER),
        ("DebertaV2", "ForQuestionAnswering", ENCODER | {"relative_attention": True}, OF_ENCODER),
        ("BigBird", "ForMultipleChoice", ENCODER, OF_ENCODER),
        ("Wav2Vec2", "ForSequenceClassification", AUDIO, OF_AUDIO),
        ("Wav2Vec2", "ForSequenceClassification", AUDIO | {"do_stable_layer_norm": True}, OF_AUDIO),
        ("WavLM", "ForSequenceClassification", AUDIO | {"do_stable_layer_norm": True}, OF_AUDIO),
        ("T5", "ForSequenceClassification", T5, OF_T5),
        ("T5", "ForQuestionAnswering", T5, OF_T5),
        ("T5", "ForConditionalGeneration", T5, OF_T5),
        ("Bart", "ForSequenceClassification", BART, OF_BART),
        ("MBart", "ForConditionalGeneration", BART, OF_BART),
        ("BigBirdPegasus", "ForQuestionAnswering", BART, OF_BART),
        ("LED", "ForConditionalGeneration", BART, OF_BART),
        ("GPT2", "ForSequenceClassification", GPT2, ["wte", "h.0", "h.1", "head"]),
        (
            "XLM",
            "ForSequenceClassification",
            {"vocab_size": 50, "emb_dim": 16, "n_layers": 2, "n_heads": 2},
            ["embeddings", "ffns.0", "ffns.1", "head"],  # attention and feed-forward of a layer
        ),
    ],
)
def test_the_groups_are_the_embedding_each_block_and_the_head(family, task, config, expected):
    model = made(family, task, **config)
    assert names(model) == expected
    grouped = [id(p) for group in layer_groups(model) for p in group.parameters.values()]
    assert sorted(grouped) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize(
    ("family", "config", "parameter", "group"),
    [
        ("Bert", ENCODER, "bert.pooler.dense.weight", "encoder.layer.1"),
        (
            "RobertaPreLayerNorm",
            ENCODER,
            "roberta_prelayernorm.LayerNorm.weight",
            "encoder.layer.1",
        ),
        # What all blocks use would change what the lower ones compute if the top one trained it.
        ("MPNet", ENCODER, "mpnet.encoder.relative_attention_bias.weight", "embeddings"),
        (
            "DebertaV2",
            ENCODER | {"relative_attention": True},
            "deberta.encoder.rel_embeddings.weight",
            "embeddings",
        ),
        ("GPT2", GPT2, "transformer.ln_f.weight", "h.1"),
        ("T5", T5, "transformer.encoder.final_layer_norm.weight", "encoder.block.1"),
        ("Bart", BART, "model.encoder.layernorm_embedding.weight", "shared"),
        ("Bart", BART, "model.decoder.embed_positions.weight", "decoder.layers.0"),
        ("Bart", BART, "model.decoder.layernorm_embedding.weight", "decoder.layers.0"),
        # Declared alike, one norm runs before the layers and the other behind them.
        ("Wav2Vec2", AUDIO, "wav2vec2.encoder.layer_norm.weight", "feature_extractor"),
        (
            "Wav2Vec2",
            AUDIO | {"do_stable_layer_norm": True},
            "wav2vec2.encoder.layer_norm.weight",
            "encoder.layers.1",
        ),
        ("Wav2Vec2", AUDIO | {"use_weighted_layer_sum": True}, "layer_weights", "head"),
    ],
)
def test_what_stands_beside_the_blocks_belongs_to_the_one_it_serves(
    family, config, parameter, group
):
    model = made(family, "ForSequenceClassification", **config)
    assert owner(model, model.get_parameter(parameter)) == group


def test_a_head_that_shares_all_its_weights_cannot_be_trained_alone():
    model = made("GPT2", "LMHeadModel", **GPT2)
    assert layer_groups(model)[-1].parameters == {}
    for train in ("head", "backbone[-1:], head"):
        with pytest.raises(InputError, match="head of GPT2LMHeadModel shares all its weights with"):
            train_only(model, train)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert list(select_parameters(model, "lm_head.*")) == ["transformer.wte.weight"]
    untied = made("GPT2", "LMHeadModel", **GPT2, tie_word_embeddings=False)
    assert list(select_parameters(untied, "head")) == ["lm_head.weight"]


def test_an_optimizer_by_layers_holds_a_shared_weight_once():
    model = made("T5", "ForConditionalGeneration", **T5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    group_by_layer(optimizer, model, layerwise_rates(model, 0.1, 0.5))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))


def test_gradual_unfreezing_begins_below_a_head_without_weights_of_its_own(arguments):
    model = made("T5", "ForConditionalGeneration", **T5, decoder_start_token_id=0, pad_token_id=0)
    args = arguments(num_train_epochs=2, optim="sgd")
    data = [{"input_ids": [3, 4, 5], "labels": [6, 7, 1]}] * 4
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    callbacks = [GradualUnfreezingCallback(layer_decay=0.5)]
    Trainer(model, args, default_data_collator, train_dataset=data, callbacks=callbacks).train()
    moved = {owner(model, p) for name, p in model.named_parameters() if not p.equal(before[name])}
    assert moved == {"decoder.block.0", "decoder.block.1"}


@pytest.mark.parametrize(
    "architecture",
    [
        "caformer_s18",
        "efficientvit_b0",
        "efficientvit_m0",
        "shvit_s1",
        "efficientformer_l1",
        "efficientformerv2_s0",
        "levit_384_s8",
        "deit_tiny_distilled_patch16_224",
        "twins_pcpvt_small",
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_head_of_a_timm_model_is_whole_and_no_part_of_the_backbone(architecture, wrapped):
    with torch.device("meta"):
        if wrapped:
            config = TimmWrapperConfig(architecture=architecture, num_labels=2)
            model = TimmWrapperForImageClassification(config)
        else:
            model = timm.create_model(architecture)
    classifier = (model.timm_model if wrapped else model).get_classifier()
    heads = classifier if isinstance(classifier, tuple) else (classifier,)
    expected = {id(parameter) for head in heads for parameter in head.parameters()}
    assert set(map(id, select_parameters(model, "head").values())) == expected
    backbone = set(map(id, select_parameters(model, "backbone").values()))
    assert backbone == set(map(id, model.parameters())) - expected


@pytest.mark.parametrize(
    ("make", "loose", "group"),
    [
        (
            lambda: timm.create_model("vit_tiny_patch16_224"),
            ["cls_token", "pos_embed"],
            "patch_embed",
        ),
        (torchvision.models.vit_b_16, ["class_token", "encoder.pos_embedding"], "conv_proj"),
    ],
)
def test_loose_parameters_of_a_plain_image_model_belong_to_its_embedding(make, loose, group):
    with torch.device("meta"):
        model = make()
    assert {owner(model, model.get_parameter(name)) for name in loose} == {group}


@pytest.mark.parametrize(
    ("architecture", "top"),
    [
        ("efficientnet_b0", "features.7"),  # with its last 1x1 convolution
        ("mobilenet_v2", "features.17"),
        ("swin_t", "features.7"),
        ("vgg11", "features.18"),  # of single layers
        ("googlenet", "inception5b"),  # of no stack, but siblings
        ("resnet18", "layer4.1"),
    ],
)
def test_the_top_group_of_a_torchvision_model_is_its_top_block(architecture, top):
    with torch.device("meta"):
        model = getattr(torchvision.models, architecture)()
    assert names(model)[-2:] == [top, "head"]


class Declared(nn.Module):
    """Runs its children in another order than it declares them in, and scales its logits."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.norm = nn.LayerNorm(8)
        self.blocks = nn.ModuleList(nn.Sequential(*(nn.Linear(8, 8),) * 2) for _ in range(2))
        self.stem = weight_norm(nn.Linear(3, 8))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        states = self.stem(inputs)
        for block in self.blocks:
            states = block(states)
        return self.logits(self.norm(states))

    def logits(self, states):
        return self.scale * self.head(states)


def test_groups_follow_the_order_in_which_children_run():
    model = Declared()
    assert names(model) == ["stem", "blocks.0", "blocks.1", "head"]
    *_, top, head = layer_groups(model)
    assert {"norm.weight", "norm.bias"} < set(top.parameters)
    assert set(head.parameters) == {"head.weight", "head.bias", "scale"}


def test_a_position_that_is_added_to_the_embedding_belongs_to_it():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 8)
            self.position = nn.Parameter(torch.zeros(5, 8))
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
            self.out = nn.Linear(8, 2)

        def forward(self, ids):
            return self.out(self.encoder(self.embedding(ids) + self.position).mean(1))

    embedding, *_ = layer_groups(Encoder())
    assert list(embedding.parameters) == ["embedding.weight", "position"]


def test_a_parametrized_layer_is_no_stack():
    model = nn.Sequential(weight_norm(nn.Linear(3, 8)), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    assert names(model) == ["0", "2", "head"]


def test_a_layer_of_the_backbone_that_is_called_head_has_a_name_of_its_own():
    model = nn.Sequential(OrderedDict(head=nn.Linear(2, 2), classifier=nn.Linear(2, 2)))
    assert names(model) == ["backbone.head", "head"]
    assert list(select_parameters(model, "head")) == ["classifier.weight", "classifier.bias"]
    assert list(select_parameters(model, "backbone.head")) == ["head.weight", "head.bias"]


def test_the_head_of_an_encoder_may_be_declared_before_it():
    class Classifier(BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.head = nn.Linear(16, 2)
            self.bert = BertModel(config)
            self.post_init()

    assert names(Classifier(BertConfig(**ENCODER))) == OF_ENCODER


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_a_wrapped_model_has_the_groups_of_what_it_wraps(bert, wrap):
    wrapped = wrap(bert)
    assert names(wrapped) == names(bert)
    train_only(wrapped, "backbone[-1:], head")
    trained = {name for name, p in bert.named_parameters() if p.requires_grad}
    assert trained == set(select_parameters(bert, "encoder.layer.2, head"))
    assert set(select_parameters(wrapped, "all")) == {n for n, _ in wrapped.named_parameters()}


def test_a_model_with_adapters_is_refused_until_they_are_merged(bert):
    bert.peft_config = {}  # PEFT leaves its settings so, on the model and on its wrapper
    with pytest.raises(InputError, match=r"adapters of PEFT.*merge_and_unload"):
        layer_groups(bert)


def test_adapters_of_peft_are_refused_and_a_merged_model_is_not(bert):
    peft = pytest.importorskip("peft")
    expected = names(bert)
    wrapped = peft.get_peft_model(bert, peft.LoraConfig(task_type="SEQ_CLS"))
    with pytest.raises(InputError, match="adapters of PEFT"):
        train_only(wrapped, "head")
    assert names(wrapped.merge_and_unload()) == expected


def test_a_base_alone_has_no_head():
    with pytest.raises(InputError, match="BertModel has no head on a base"):
        layer_groups(BertModel(BertConfig(**ENCODER)))


def test_all_that_comes_after_a_pretrained_encoder_is_the_head_of_a_plain_module(bert):
    class TwoHeads(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder, self.intent, self.slots = encoder, nn.Linear(16, 3), nn.Linear(16, 5)

        def forward(self, **inputs):
            states = self.encoder(**inputs).last_hidden_state
            return self.intent(states[:, 0]), self.slots(states)

    head = layer_groups(TwoHeads(bert.bert))[-1]
    assert {name.partition(".")[0] for name in head.parameters} == {"intent", "slots"}
