"""Freezing that really freezes, shown with the plain `transformers.Trainer`."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    Trainer,
    TrainerCallback,
)

from staged_training import (
    GradualUnfreezingCallback,
    InputError,
    LayerFreezingCallback,
    freeze,
    layer_groups,
    unfreeze,
)
from staged_training.freezing import freeze_statistics, train_only
from tests.processes import in_processes
from tests.staged_training.conftest import AUDIO, ConvNet, collate


def snapshot(model):
    return {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name].cpu())}


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


@pytest.mark.device
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


def pinned_convnet():
    """A model two of whose norms its user keeps in evaluation, each in another way."""
    model = ConvNet()
    model.norm.train = lambda mode=True: model.norm
    model.norm.training = False
    model.blocks[1].__class__ = PinnedBlock
    return model.train()


class PinnedBlock(nn.Sequential):
    """A block that keeps its norm in evaluation, whatever it is told."""

    def train(self, mode=True):
        super().train(mode)
        self[1].training = False
        return self


@pytest.mark.parametrize("turn", [1, -1])
def test_two_callbacks_that_freeze_are_refused(turn, arguments):
    callbacks = [LayerFreezingCallback(train="head"), GradualUnfreezingCallback()][::turn]
    with pytest.raises(InputError, match="each would undo what the other freezes"):
        Trainer(ConvNet(), arguments(), callbacks=callbacks)
    for callback in callbacks:
        Trainer(ConvNet(), arguments(), callbacks=[callback])


@pytest.mark.parametrize(
    "callback",
    [None, LayerFreezingCallback("all"), GradualUnfreezingCallback()],
    ids=["by hand", "LayerFreezingCallback", "GradualUnfreezingCallback"],
)
def test_what_the_user_keeps_in_evaluation_stays_so(callback, arguments, images):
    model = pinned_convnet()
    own = model.norm.train
    before = snapshot(model)
    freeze(model, "backbone")
    assert not model.train().blocks[0].training
    unfreeze(model, "all")
    freeze_statistics(model)
    unfreeze(model, "all")
    if callback:
        plain_trainer(model, arguments(num_train_epochs=4), images, callback).train()
        assert "head.weight" in changed(before, model.state_dict())
    model.train()(pixel_values=torch.randn(4, 3, 16, 16), labels=torch.tensor([0, 1, 0, 1]))
    assert model.norm.train is own
    assert model.blocks[0][1].training
    assert not model.norm.training
    assert not model.blocks[1][1].training
    after = changed(before, model.state_dict())
    assert not after & {"norm.running_mean", "blocks.1.1.running_mean"}
    assert "blocks.0.1.running_mean" in after


def test_an_own_train_that_hears_the_mode_cannot_thaw_a_frozen_module(convnet):
    heard = []
    convnet.norm.train = lambda mode=True: (
        heard.append(mode),
        nn.Module.train(convnet.norm, mode),
    )
    freeze(convnet, "stem")
    convnet.train()
    assert heard[-1]
    assert not convnet.norm.training
    unfreeze(convnet, "stem")
    assert convnet.train().norm.training


def through_pickle(model, folder):
    return pickle.loads(pickle.dumps(model))


def through_a_file(model, folder):
    torch.save(model, folder / "model.pt")
    return torch.load(folder / "model.pt", weights_only=False)


def through_deepcopy(model, folder):
    return copy.deepcopy(model)


@pytest.mark.parametrize("copied", [through_pickle, through_a_file, through_deepcopy])
def test_a_copy_of_a_frozen_model_is_frozen_itself(convnet, tmp_path, copied):
    freeze(convnet, "backbone")
    twin = copied(convnet, tmp_path)
    unfreeze(convnet, "all")
    convnet.train()
    twin.train()
    assert convnet.norm.training
    assert not twin.norm.training
    before, batch = snapshot(twin), torch.randn(4, 3, 16, 16)
    assert torch.equal(twin.features(batch), twin.features(batch))
    assert not changed(before, twin.state_dict())
    unfreeze(twin, "all")
    assert all(module.training for module in twin.train().modules())


def test_a_frozen_model_goes_to_another_process_and_back(elsewhere, tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    freeze(model, "backbone")
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    code = "import pickle\nfrom pathlib import Path\nfile = Path('model')\n"
    code += "model = pickle.loads(file.read_bytes())\nfile.write_bytes(pickle.dumps(model.train()))"
    finished = elsewhere(code, with_project=True)
    assert finished.returncode == 0, finished.stderr
    trained = pickle.loads((tmp_path / "model").read_bytes())
    assert [layer.training for layer in trained] == [False, False, True]


def test_a_compiled_model_is_frozen_and_thawed(convnet):
    compiled = torch.compile(convnet, backend="eager")
    batch = {"pixel_values": torch.randn(4, 3, 16, 16), "labels": torch.zeros(4, dtype=torch.long)}
    freeze(convnet, "backbone")
    compiled.train()
    before = snapshot(convnet)
    losses = [compiled(**batch)["loss"] for _ in range(2)]
    assert torch.equal(*losses)
    assert not changed(before, convnet.state_dict())
    unfreeze(convnet, "all")
    compiled.train()(**batch)
    assert "norm.running_mean" in changed(before, convnet.state_dict())


@pytest.mark.parametrize("train", ["head", "encoder.layers.1, head"])
@pytest.mark.parametrize(
    "name", ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew"]
)
def test_a_frozen_audio_model_masks_no_features(name, train):
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **AUDIO)
    model = AutoModelForAudioClassification.from_config(config)
    train_only(model, train)
    model.train()
    base, sound = getattr(model, model.base_model_prefix), torch.randn(2, 400)
    seen = []
    base.encoder.layers[0].register_forward_hook(lambda *call: seen.append(call[-1][0]))
    for _ in range(2):
        model(sound)
    assert torch.equal(*seen)
    assert base.encoder.layers[1].training == (train != "head")
    unfreeze(model, "all")
    model.train()(sound)
    assert not torch.equal(seen[0], seen[-1])


def test_a_container_that_holds_the_head_goes_on_training_above_frozen_parameters(convnet):
    """It may drop between the base and the head."""
    convnet.scale = nn.Parameter(torch.ones(1))
    train_only(convnet, "head.*")
    convnet.train()
    assert not convnet.scale.requires_grad
    assert convnet.training
    assert convnet.head.training
    assert not convnet.blocks.training


@pytest.mark.parametrize(
    ("step", "accumulated"), [(1, 1), (2, 1), (4, 1), (5, 1), (6, 1), (8, 1), (5, 2)]
)
def test_gradual_unfreezing_resumes_in_the_middle_of_an_epoch(
    arguments, images, tmp_path, step, accumulated
):
    def run():
        torch.manual_seed(0)
        args = arguments(
            num_train_epochs=4,
            save_strategy="steps",
            save_steps=1,
            per_device_train_batch_size=8 // accumulated,
            gradient_accumulation_steps=accumulated,
        )
        model = ConvNet()
        return model, plain_trainer(model, args, images, GradualUnfreezingCallback())

    whole, trainer = run()
    trainer.train()
    resumed, trainer = run()
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{step}"))
    assert not changed(whole.state_dict(), resumed.state_dict())


def test_gradual_unfreezing_counts_the_passes_over_a_stream(convnet, arguments, images):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(images)

    watch = WatchTrained()
    args = arguments(max_steps=9)
    plain_trainer(convnet, args, Stream(), GradualUnfreezingCallback(), watch).train()
    assert watch.trained == [1, 1, 1, 2, 2, 2, 3, 3, 3]


class WatchTrained(TrainerCallback):
    """Notes how many groups each step trains."""

    def __init__(self):
        self.trained = []

    def on_step_begin(self, args, state, control, model, **kwargs):
        groups = [list(group.parameters.values()) for group in layer_groups(model)]
        self.trained.append(sum(any(p.requires_grad for p in group) for group in groups))


def train_or_be_refused(arguments, images):
    """What each of two processes does, and what comes of it."""

    def trained(callback, late=False, **options):
        torch.manual_seed(0)
        model = ConvNet()
        before = snapshot(model)
        args = arguments(num_train_epochs=4, **options)
        try:
            trainer = plain_trainer(model, args, images, *[] if late else [callback])
            if late:
                trainer.add_callback(callback)
            trainer.train()
        except InputError as error:
            return str(error)
        moved = changed(before, model.state_dict())
        return [group.name for group in layer_groups(model) if moved & set(group.parameters)]

    fixed = {"ddp_find_unused_parameters": False}
    all_groups = [group.name for group in layer_groups(ConvNet())]
    assert trained(GradualUnfreezingCallback()) == all_groups
    refused = trained(GradualUnfreezingCallback(), **fixed)
    assert "Set TrainingArguments(ddp_find_unused_parameters=True), or freeze by" in refused
    assert trained(LayerFreezingCallback(), **fixed) == ["head"]
    late = trained(LayerFreezingCallback(), late=True, **fixed)
    assert "pass the callback when the Trainer is made" in late
    torch.distributed.destroy_process_group()


def test_processes_that_wait_for_frozen_parameters_are_refused_before_training(arguments, images):
    in_processes(2, train_or_be_refused, arguments, images)


def test_a_head_that_shares_the_embedding_trains_with_it():
    config = AutoConfig.for_model("gpt2", vocab_size=50, n_embd=8, n_head=2, n_layer=1)
    model = AutoModelForCausalLM.from_config(config)
    train_only(model, "transformer.wte.*")
    assert model.train().lm_head.training
    train_only(model, "transformer.h.0.*")
    assert not model.train().lm_head.training
