"""`StagedTrainer`: stages in order, the best epoch of each, and runs that survive a kill."""

import copy
import json

import numpy as np
import pytest
import torch
from datasets import IterableDataset
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import TensorDataset
from transformers import (
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

from staged_training import (
    GradualUnfreezingCallback,
    InputError,
    LayerFreezingCallback,
    Stage,
    StagedTrainer,
)
from tests.staged_training.conftest import ConvNet, collate

STAGES = [
    Stage("head", train="head", epochs=3, learning_rate=0.05),
    Stage("top blocks", train="blocks.1, head", epochs=2, learning_rate=0.01, layer_decay=0.5),
]


def accuracy(prediction):
    return {
        "accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())
    }


def staged(model, args, data, stages=STAGES, **options):
    return StagedTrainer(model, args, stages, train_dataset=data, data_collator=collate, **options)


def new_model():
    torch.manual_seed(0)
    return ConvNet()


def test_each_stage_changes_its_layers_and_no_others(arguments, images):
    before, after = new_model().state_dict(), new_model()
    trainer = staged(after, arguments(), images)
    trainer.train()
    changed = {name for name, t in after.state_dict().items() if not torch.equal(t, before[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {"blocks.1.0", "blocks.1.1", "head"}
    assert [result.trained for result in trainer.results] == [["head"], ["blocks.1", "head"]]
    assert trainer.results[0].frozen == ["stem", "blocks.0", "blocks.1"]
    assert trainer.results[0].trainable_parameters == 18


def test_the_log_runs_on_over_the_stages(arguments, images):
    trainer = staged(new_model(), arguments(), images, eval_dataset=images)
    trainer.train()
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [(e["stage"], e["epoch"], e["step"]) for e in losses] == [
        ("head", 1, 3),
        ("head", 2, 6),
        ("head", 3, 9),
        ("top blocks", 4, 12),
        ("top blocks", 5, 15),
    ]


def test_a_tracker_sees_one_curve_with_the_stages_on_it(arguments, images, tmp_path):
    args = arguments(metric_for_best_model="loss", report_to="tensorboard")
    staged(new_model(), args, images, eval_dataset=images).train()
    (folder,) = {path.parent for path in tmp_path.rglob("events.*")}
    assert folder == tmp_path / "out" / "tensorboard"
    curves = EventAccumulator(str(folder)).Reload()
    losses = [(event.step, event.value) for event in curves.Scalars("train/loss")]
    assert [step for step, _ in losses] == [3, 6, 9, 12, 15]
    stages = {(event.step, event.value) for event in curves.Scalars("train/stage")}
    assert stages == {(3, 1), (6, 1), (9, 1), (9, 2), (12, 2), (15, 2)}
    # Scored once more before the second stage: it is kept only if it makes the model better.
    scores = [event.step for event in curves.Scalars("eval/loss")]
    assert scores == [3, 6, 9, 9, 12, 15]


def test_a_pushed_model_has_a_card_that_tells_the_stages(hub, bert, tmp_path):
    data = [{"input_ids": [1, 2, 3 + n], "labels": n % 2} for n in range(16)]
    stages = [
        Stage("head", train="head", epochs=1, learning_rate=1e-3),
        Stage("top layer", train="backbone[-1:], head", epochs=1, learning_rate=1e-4),
    ]
    args = TrainingArguments(str(tmp_path / "out"), report_to="none", hub_model_id="someone/small")
    trainer = StagedTrainer(bert, args, stages, train_dataset=data)
    trainer.train()
    trainer.push_to_hub(license="mit", tasks="text-classification")
    files = hub.repositories["someone/small"].files("main")
    assert {"README.md", "config.json", "model.safetensors"} <= set(files)
    assert not any("stage" in name or "checkpoint" in name for name in files)
    card = files["README.md"].content.decode()
    assert "| top layer | " in card
    loaded = BertForSequenceClassification.from_pretrained("someone/small")
    for name, tensor in bert.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_each_stage_ends_with_its_best_epoch(arguments, images):
    args = arguments(metric_for_best_model="accuracy")
    trainer = staged(new_model(), args, images, eval_dataset=images, compute_metrics=accuracy)
    trainer.train()
    for result in trainer.results:
        scores = [
            (entry["eval_accuracy"], -entry["eval_loss"])
            for entry in trainer.state.log_history
            if entry["stage"] == result.name and "eval_accuracy" in entry
        ]
        if result.best_epoch:
            assert result.best_score == max(scores)[0]
            assert result.best_epoch == 1 + scores.index(max(scores))
        else:
            assert result.best_score >= max(scores)[0]
    assert trainer.evaluate()["eval_accuracy"] == trainer.results[-1].best_score


def test_a_stage_that_makes_the_model_worse_is_undone(arguments, images):
    stages = [
        Stage("head", train="head", epochs=5, learning_rate=0.05),
        Stage("too fast", train="all", epochs=2, learning_rate=100.0),
    ]
    args = arguments(metric_for_best_model="loss")
    pixels, labels = images.tensors
    # One of four labels is wrong: to be sure of anything, as with large weights, costs much.
    data = TensorDataset(pixels.repeat(4, 1, 1, 1), torch.cat([*3 * [labels], 1 - labels]))
    trainer = staged(new_model(), args, images, stages, eval_dataset=data)
    trainer.train()
    head, too_fast = trainer.results
    assert head.best_epoch > 0
    assert (head.epochs, too_fast.epochs, too_fast.best_epoch) == (5, 2, 0)
    assert too_fast.best_score == head.best_score
    after = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.load_stage("head")
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, after[name]), name


def test_statistics_can_be_kept_where_parameters_are_trained(arguments, images):
    def moved(keep_statistics):
        stages = [
            Stage("head", train="head", epochs=1, learning_rate=0.05),
            Stage("top", "blocks.1, head", 1, learning_rate=0.05, keep_statistics=keep_statistics),
        ]
        model = new_model()
        before = copy.deepcopy(model.state_dict())
        staged(model, arguments(), images, stages).train()
        return {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}

    assert {"blocks.1.1.running_mean", "blocks.1.1.weight"} <= moved(False)
    kept = moved(True)
    assert "blocks.1.1.weight" in kept and "blocks.1.1.running_mean" not in kept


def test_a_stage_ends_when_its_patience_does(arguments, images):
    stages = [
        Stage("head", train="head", epochs=50, learning_rate=1e-9, patience=2),
        Stage("top", train="all", epochs=1, learning_rate=1e-3),
    ]
    args = arguments(metric_for_best_model="accuracy")
    trainer = staged(
        new_model(), args, images, stages, eval_dataset=images, compute_metrics=accuracy
    )
    trainer.train()
    assert [(r.epochs, r.best_epoch) for r in trainer.results] == [(3, 1), (1, 0)]


def test_rates_fall_from_layer_to_layer(arguments, images):
    class Rates(TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer, **kwargs):
            self.last = {g.get("layer_group"): g["lr"] for g in optimizer.param_groups}

    rates = Rates()
    staged(new_model(), arguments(), images, callbacks=[rates]).train()
    assert rates.last == pytest.approx({"blocks.1": 0.005, "head": 0.01})


def test_one_stage_on_the_head_is_what_the_plain_trainer_does(arguments, images):
    """Staging adds nothing of its own: with all layers trained the weights are Trainer's."""
    staged_model, plain_model = new_model(), new_model()
    stage = Stage("all", train="all", epochs=2, learning_rate=0.05)
    staged(staged_model, arguments(), images, [stage], allow_joint_training=True).train()
    Trainer(plain_model, arguments(), train_dataset=images, data_collator=collate).train()
    for name, tensor in plain_model.state_dict().items():
        assert torch.equal(tensor, staged_model.state_dict()[name]), name


class Killed(BaseException):
    """Stands for SIGKILL inside one process; the recipe's test sends the real one."""


class KillAfter(TrainerCallback):
    def __init__(self, steps):
        self.left = steps

    def on_step_end(self, args, state, control, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.device
@pytest.mark.parametrize("steps", [1, 3, 7, 10, 13])
def test_a_run_that_was_cut_off_resumes_bit_identical(arguments, images, steps):
    def run(model, *callbacks, resume=False):
        args = arguments(metric_for_best_model="accuracy")
        options = {"eval_dataset": images, "compute_metrics": accuracy}
        trainer = staged(model, args, images, callbacks=list(callbacks), **options)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(new_model())
    with pytest.raises(Killed):
        run(new_model(), KillAfter(steps))
    counter = KillAfter(1000)
    resumed = run(new_model(), counter, resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert 1000 - counter.left <= 15 - steps + 3  # at most one epoch of 3 steps is done twice
    assert [r.best_epoch for r in whole.results] == [r.best_epoch for r in resumed.results]
    epochs = [[e["epoch"] for e in t.state.log_history] for t in (whole, resumed)]
    assert epochs[0] == epochs[1]


def test_a_checkpoint_that_was_half_written_is_passed_over(arguments, images, tmp_path):
    whole = staged(new_model(), arguments(), images)
    whole.train()
    with pytest.raises(Killed):
        staged(new_model(), arguments(), images, callbacks=[KillAfter(7)]).train()
    half = tmp_path / "out" / "_stages" / "head" / "checkpoint-9"
    half.mkdir()
    (half / "trainer_state.json").write_text('{"epoch": 3.0, "glob')
    resumed = staged(new_model(), arguments(), images)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(whole.model.head.weight, resumed.model.head.weight)


def test_a_stage_whose_patience_ran_out_before_the_kill_is_not_prolonged(arguments, images):
    stages = [Stage("head", train="head", epochs=9, learning_rate=1e-9, patience=1)]
    args = {"metric_for_best_model": "accuracy"}
    options = {"eval_dataset": images, "compute_metrics": accuracy}

    class KillAtTheEnd(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            raise Killed

    with pytest.raises(Killed):
        staged(
            new_model(), arguments(**args), images, stages, callbacks=[KillAtTheEnd()], **options
        ).train()
    trainer = staged(new_model(), arguments(**args), images, stages, **options)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.results[0].epochs == 2


def test_a_run_that_was_cut_off_is_not_overwritten(arguments, images):
    with pytest.raises(Killed):
        staged(new_model(), arguments(), images, callbacks=[KillAfter(4)]).train()
    with pytest.raises(InputError, match="holds an interrupted run"):
        staged(new_model(), arguments(), images).train()


def test_what_is_kept_of_a_stage_is_its_weights_and_its_log(arguments, images, tmp_path):
    trainer = staged(new_model(), arguments(), images)
    trainer.train()
    stages = tmp_path / "out" / "_stages"
    files = sorted(str(f.relative_to(stages)) for f in stages.rglob("*") if f.is_file())
    assert files == [
        f"{stage}/finished/{file}"
        for stage in ("head", "top-blocks")
        for file in ("model.safetensors", "stage.json")
    ]
    last = load_file(stages / "top-blocks" / "finished" / "model.safetensors")
    assert torch.equal(last["head.weight"], trainer.model.head.weight)
    assert json.loads((stages / "head/finished/stage.json").read_text())["result"]["epochs"] == 3


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("stage.json", b"{"),
        ("stage.json", b"[]"),
        ("stage.json", b'{"asked": []}'),
        ("model.safetensors", b"half"),
        ("asked.json", b"\xff"),
        ("asked.json", b"{}"),
    ],
)
def test_what_is_damaged_of_a_stage_is_told_by_name(file, damage, arguments, images, tmp_path):
    with pytest.raises(Killed):
        staged(new_model(), arguments(), images, callbacks=[KillAfter(14)]).train()
    folder = "finished/" * (file != "asked.json")
    (damaged,) = (tmp_path / "out" / "_stages").glob(f"*/{folder}{file}")
    damaged.write_bytes(damage)
    with pytest.raises(InputError, match=rf"{file} is damaged. Delete .* to run that"):
        staged(new_model(), arguments(), images).train(resume_from_checkpoint=True)


def test_an_order_of_stages_that_would_wreck_the_base_is_refused(arguments, images, tmp_path):
    with pytest.raises(InputError, match="trains pretrained layers"):
        staged(new_model(), arguments(), images, STAGES[1:])
    assert not (tmp_path / "out").exists()


def test_the_newest_checkpoint_stays_until_its_stage_is_kept(arguments, images):
    """`Trainer` may remove it when training has ended; a kill then would cost all epochs since."""

    class KillAtTheEnd(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            raise Killed

    def run(*callbacks, resume=False):
        args = arguments(metric_for_best_model="accuracy", greater_is_better=False)  # epoch 1
        options = {"eval_dataset": images, "compute_metrics": accuracy}
        trainer = staged(new_model(), args, images, callbacks=list(callbacks), **options)
        trainer.train(resume_from_checkpoint=resume)

    with pytest.raises(Killed):
        run(KillAtTheEnd())
    run(KillAfter(6), resume=True)  # the steps of the second stage


def test_a_model_whose_stages_are_loaded_is_the_one_that_was_trained_its_configuration_too(
    arguments, bert, tmp_path
):
    ids = torch.randint(5, 50, (16, 6), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": int(row[0] > 25)} for row in ids]
    untrained = copy.deepcopy(bert)
    for model, folder in ((bert, "trained"), (untrained, "loaded")):
        stage = Stage("head", train="head", epochs=1, learning_rate=0.01)
        trainer = StagedTrainer(model, arguments(), [stage], train_dataset=data)
        trainer.train(resume_from_checkpoint=folder == "loaded")
        model.save_pretrained(tmp_path / folder)
    for name in ("config.json", "model.safetensors"):
        trained, loaded = (tmp_path / folder / name for folder in ("trained", "loaded"))
        assert trained.read_bytes() == loaded.read_bytes()


def stream_of(images):
    """The images as a stream that is shuffled anew in each epoch, and how often they were read."""
    read = []

    def rows():
        for pixels, label in images:
            read.append(int(label))
            yield {"pixel_values": pixels.numpy(), "labels": label.item()}

    stream = IterableDataset.from_generator(rows).shuffle(seed=0, buffer_size=24)
    return stream.with_format("torch"), read


def test_a_stream_is_trained_on_in_stages_and_read_once_more_to_be_counted(arguments, images):
    stream, read = stream_of(images)
    args = arguments(metric_for_best_model="accuracy")
    options = {"train_dataset": stream, "eval_dataset": stream, "compute_metrics": accuracy}
    trainer = StagedTrainer(new_model(), args, STAGES, **options)
    trainer.train()
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in losses] == [3, 6, 9, 12, 15]
    assert len(read) == 24 * (1 + 5 + 6)  # counted, trained on, evaluated on, before tuning too


def test_a_stream_goes_on_after_a_kill_with_the_weights_it_would_have_had(arguments, images):
    def run(*callbacks, resume=False):
        args, (stream, _) = arguments(), stream_of(images)
        options = {"train_dataset": stream, "callbacks": list(callbacks)}
        trainer = StagedTrainer(new_model(), args, STAGES, **options)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.model.state_dict()

    expected = run()
    with pytest.raises(Killed):
        run(KillAfter(8))
    found = run(resume=True)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_features_of_a_stream_lead_to_the_weights_that_those_of_data_do(arguments, images):
    def run(data, **options):
        model = new_model()
        stage = [Stage("head", train="head", epochs=3, learning_rate=0.05)]
        StagedTrainer(model, arguments(), stage, train_dataset=data, **options).train()
        return model.head.weight

    in_order = IterableDataset.from_generator(
        lambda: ({"pixel_values": p.numpy(), "labels": n.item()} for p, n in images)
    ).with_format("torch")
    of_data = run(images, data_collator=collate, reuse_features=True)
    assert torch.equal(run(in_order, reuse_features=True), of_data)


def test_data_that_can_be_read_once_or_are_empty_are_refused(arguments, images):
    with pytest.raises(InputError, match=r"generator, which can be read only once. Give"):
        staged(new_model(), arguments(), (row for row in images))
    nothing = IterableDataset.from_generator(lambda: iter(()))
    with pytest.raises(InputError, match="train_dataset has no example"):
        staged(new_model(), arguments(), nothing).train()


class OwnFreezing(LayerFreezingCallback):
    """A user's own kind of it."""


@pytest.mark.parametrize(
    "callback",
    [LayerFreezingCallback("head"), GradualUnfreezingCallback, OwnFreezing(), OwnFreezing],
    ids=["made", "class", "own", "own class"],
)
def test_a_callback_that_freezes_is_refused_beside_stages(arguments, images, callback):
    model = new_model()
    refused = r"callbacks holds a .* stages say what is frozen\. .*Stage\(train='head'"
    with pytest.raises(InputError, match=refused):
        staged(model, arguments(), images, callbacks=[callback])
    trainer = staged(model, arguments(), images)
    with pytest.raises(InputError, match="callbacks holds a"):
        trainer.add_callback(callback)


@pytest.mark.parametrize("reuse", [False, True])
def test_the_best_epoch_comes_back_of_a_model_that_is_saved_under_other_names(arguments, reuse):
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = ViTForImageClassification(
        ViTConfig(**sizes, intermediate_size=32, image_size=16, patch_size=4)
    )
    data = [{"pixel_values": torch.randn(3, 16, 16), "labels": n % 2} for n in range(16)]
    stages = [
        Stage("head", train="head", epochs=1, learning_rate=0.01),
        Stage("top", train="backbone[-2:], head", epochs=3, learning_rate=0.01),
    ]
    # Of a trial of the metrics, the head, the start of the top layers, and their epochs.
    scores = iter([0.0, 0.1, 0.2, 0.9, 0.3, 0.4, 0.9])
    trainer = StagedTrainer(
        model,
        arguments(metric_for_best_model="given", remove_unused_columns=False),
        stages,
        reuse_features=reuse,
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda _: {"given": next(scores)},
    )
    trainer.train()
    top = [e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e][1:]
    assert len(top) == 3 and trainer.results[1].best_epoch == 1
    assert trainer.evaluate()["eval_loss"] == pytest.approx(top[0], abs=1e-6)


def test_a_push_of_every_checkpoint_is_refused(arguments, images):
    with pytest.raises(InputError, match=r"call trainer\.push_to_hub\(\) when all stages are over"):
        staged(new_model(), arguments(push_to_hub=True), images)
