"""Freezing that really freezes, shown with the plain `transformers.Trainer`."""

import pytest
import torch
from transformers import Trainer, TrainerCallback

from staged_training import (
    GradualUnfreezingCallback,
    InputError,
    LayerFreezingCallback,
    freeze,
    layer_groups,
    unfreeze,
)
from tests.staged_training.conftest import ConvNet, collate


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def plain_trainer(model, args, data, *callbacks):
    return Trainer(
        model, args, train_dataset=data, data_collator=collate, callbacks=list(callbacks)
    )


class TwoPasses(TrainerCallback):
    """Runs the frozen part twice in the middle of each training step."""

    def __init__(self):
        self.agreed = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        assert model.training
        batch = torch.randn(4, 3, 16, 16)
        self.agreed.append(torch.equal(model.features(batch), model.features(batch)))


def test_plain_trainer_leaves_a_frozen_part_bit_identical(convnet, arguments, images):
    before, passes = snapshot(convnet), TwoPasses()
    trainer = plain_trainer(convnet, arguments(), images, LayerFreezingCallback("head"), passes)
    trainer.train()
    assert changed(before, convnet.state_dict()) == {"head.weight", "head.bias"}
    assert passes.agreed == [True] * 6


def test_requires_grad_alone_does_not_freeze(convnet, arguments, images):
    """The reason for this library: BatchNorm's statistics move and dropout goes on dropping."""
    for name, parameter in convnet.named_parameters():
        parameter.requires_grad = name.startswith("head")
    before, passes = snapshot(convnet), TwoPasses()
    plain_trainer(convnet, arguments(), images, passes).train()
    assert "blocks.1.1.running_mean" in changed(before, convnet.state_dict())
    assert not any(passes.agreed)


@pytest.mark.parametrize("model", ["resnet", "convnet"])
def test_image_models_keep_all_below_the_head(model, request, arguments, images):
    model = request.getfixturevalue(model)
    before = snapshot(model)
    plain_trainer(model, arguments(), images, LayerFreezingCallback()).train()
    head = {name for name in before if name.startswith(("head", "classifier"))}
    assert changed(before, model.state_dict()) == head


def test_frozen_layers_have_no_optimizer_state(convnet, arguments, images):
    trainer = plain_trainer(convnet, arguments(), images, LayerFreezingCallback("head"))
    trainer.train()
    held = {p for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == set(convnet.head.parameters())


def test_a_callback_that_is_added_late_freezes_too(convnet, arguments, images):
    trainer = plain_trainer(convnet, arguments(weight_decay=0.1), images)
    trainer.add_callback(LayerFreezingCallback("blocks.1, head"))
    before = snapshot(convnet)
    trainer.train()
    assert {name.split(".")[0] for name in changed(before, convnet.state_dict())} == {
        "blocks",
        "head",
    }
    assert not any(n.startswith("blocks.0") for n in changed(before, convnet.state_dict()))


def test_dropout_of_a_frozen_transformer_is_off_and_the_heads_is_on(bert):
    freeze(bert, "backbone")
    bert.train()
    ids = torch.arange(1, 9).view(2, 4)
    assert torch.equal(bert.bert(ids).pooler_output, bert.bert(ids).pooler_output)
    assert bert.dropout.training


def test_freezing_some_layers_leaves_the_others_in_training(bert):
    freeze(bert, "embeddings, encoder.layer.0")
    bert.train()
    assert not bert.bert.encoder.layer[0].attention.output.dropout.training
    assert bert.bert.encoder.layer[1].attention.output.dropout.training
    assert bert.bert.encoder.training


def test_a_frozen_norm_in_a_trained_group_keeps_its_statistics(convnet):
    freeze(convnet, "blocks.0.1.*")
    convnet.train()
    before = snapshot(convnet)
    convnet.features(torch.randn(4, 3, 16, 16))
    moved = {name.rsplit(".", 1)[0] for name in changed(before, convnet.state_dict())}
    assert moved == {"norm", "blocks.1.1"}


def test_unfreeze_undoes_freeze(convnet):
    freeze(convnet, "all")
    unfreeze(convnet, "all")
    convnet.train()
    assert all(module.training for module in convnet.modules())
    assert all(parameter.requires_grad for parameter in convnet.parameters())
    convnet.eval()
    assert not any(module.training for module in convnet.modules())


def test_an_unknown_selector_freezes_nothing(convnet):
    with pytest.raises(InputError, match="matches no parameters"):
        freeze(convnet, "layer4")
    assert all(parameter.requires_grad for parameter in convnet.parameters())


class Watch(TrainerCallback):
    """Notes which groups change in each epoch, and the optimizer's rates at its start."""

    def __init__(self):
        self.trained, self.rates = [], []

    def on_step_begin(self, args, state, control, model, optimizer, **kwargs):
        if state.epoch == round(state.epoch):
            self.before = snapshot(model)
            self.rates.append({g["layer_group"]: g["lr"] for g in optimizer.param_groups})

    def on_epoch_end(self, args, state, control, model, **kwargs):
        moved = changed(self.before, model.state_dict())
        self.trained.append([g.name for g in layer_groups(model) if moved & set(g.parameters)])


def test_gradual_unfreezing_adds_a_group_per_epoch_at_its_own_rate(convnet, arguments, images):
    watch = Watch()
    args = arguments(num_train_epochs=4, learning_rate=0.08, lr_scheduler_type="linear")
    unfreezing = GradualUnfreezingCallback(layer_decay=0.5)
    plain_trainer(convnet, args, images, unfreezing, watch).train()
    assert watch.trained == [
        ["head"],
        ["blocks.1", "head"],
        ["blocks.0", "blocks.1", "head"],
        ["stem", "blocks.0", "blocks.1", "head"],
    ]
    rates = {"stem": 0.01, "blocks.0": 0.02, "blocks.1": 0.04, "head": 0.08}
    assert watch.rates[0] == pytest.approx(rates)
    assert watch.rates[2] == pytest.approx({name: rate / 2 for name, rate in rates.items()})


def test_gradual_unfreezing_resumes_from_a_checkpoint_of_the_plain_trainer(
    arguments, images, tmp_path
):
    def run():
        torch.manual_seed(0)
        model = ConvNet()
        args = arguments(num_train_epochs=4, save_strategy="epoch")
        trainer = plain_trainer(model, args, images, GradualUnfreezingCallback(layer_decay=0.5))
        return model, trainer

    whole, trainer = run()
    trainer.train()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    resumed, trainer = run()
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    assert not changed(whole.state_dict(), resumed.state_dict())
    assert rates == [group["lr"] for group in trainer.optimizer.param_groups]


@pytest.mark.parametrize(
    "options", [{"layer_decay": 0}, {"layer_decay": 1.5}, {"epochs_per_group": 0}]
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} is"):
        GradualUnfreezingCallback(**options)
