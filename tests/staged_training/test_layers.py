"""Layer groups: what a model is made of, and how its parts are named."""

import pytest
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from staged_training import InputError, layer_groups
from staged_training.layers import select_parameters


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


def test_an_empty_selector_is_refused(bert):
    with pytest.raises(InputError, match="selector is empty"):
        select_parameters(bert, " , ")


def test_a_model_without_a_head_is_refused(bert):
    with pytest.raises(InputError, match="no head on a base"):
        layer_groups(nn.Sequential(nn.Linear(2, 2)))
